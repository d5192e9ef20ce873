//! Structures and short byte strings out of a blob, never past its end.
//!
//! In: a blob, a place in it. Out: a typed structure, or bytes up to a stated limit.
//!
//! Source: none.
//!
//! Not here: what the fields mean.

use std::ops::Range;

use zerocopy::FromBytes;

use super::damage::Damage;
use crate::blob::Blob;

/// The structure at `offset`. `place` names it in messages.
///
/// # Errors
///
/// [`Damage`] where it ends past the blob or cannot be read.
pub(super) fn load<T: FromBytes>(
    blob: &Blob,
    place: &'static str,
    offset: u64,
) -> Result<T, Damage> {
    let mut bytes = vec![0; size_of::<T>()];
    blob.read_exact_at(&mut bytes, offset).map_err(|e| Damage::read(place, offset, e))?;
    Ok(T::read_from_bytes(&bytes).expect("the buffer has the structure's size"))
}

/// `len` bytes from `offset`, at most `limit`.
///
/// # Errors
///
/// [`Damage`] where there are more than `limit`, or they end past the blob.
pub(super) fn bytes(
    blob: &Blob,
    place: &'static str,
    range: Range<u64>,
    limit: u64,
) -> Result<Vec<u8>, Damage> {
    let part = slice(blob, place, range.clone())?;
    if part.len() > limit {
        let wrong = format!("it is {} bytes long", part.len());
        return Err(Damage::new(place, range.start, wrong).should(format!("at most {limit}")));
    }
    part.to_vec().map_err(|e| Damage::read(place, range.start, e))
}

/// The blob of `range`; no byte is read.
///
/// # Errors
///
/// [`Damage`] where the range ends past the blob.
pub(super) fn slice(blob: &Blob, place: &'static str, range: Range<u64>) -> Result<Blob, Damage> {
    blob.get(range.clone()).ok_or_else(|| {
        let wrong = format!("it ends at {:#x} of {:#x} bytes", range.end, blob.len());
        Damage::new(place, range.start, wrong)
    })
}

/// The text up to the first NUL; bytes that are no UTF-8 show as U+FFFD.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// UTF-16 units up to the first zero; unpaired surrogates show as U+FFFD.
pub(super) fn utf16(units: &[u16]) -> String {
    let end = units.iter().position(|&u| u == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}
