//! Whether two runs of bytes are the same.
//!
//! In: two blobs. Out: where they differ first.
//!
//! Source: none.
//!
//! Not here: what the bytes mean.

use std::io;

use crate::blob::Blob;

/// How much is compared at a time.
const STEP: usize = 1 << 20;

/// The place of the first byte that differs; the length of the shorter where it begins the longer.
pub(super) fn first(before: &Blob, after: &Blob) -> io::Result<Option<u64>> {
    let len = before.len().min(after.len());
    let mut buffers = [vec![0; STEP], vec![0; STEP]];
    let mut at = 0;
    while at < len {
        let step = usize::try_from(len - at).unwrap_or(STEP).min(STEP);
        let [old, new] = &mut buffers;
        before.read_exact_at(&mut old[..step], at)?;
        after.read_exact_at(&mut new[..step], at)?;
        if old[..step] != new[..step] {
            let within = old.iter().zip(&*new).take_while(|(old, new)| old == new).count();
            return Ok(Some(at + within as u64));
        }
        at += step as u64;
    }
    Ok((before.len() != after.len()).then_some(len))
}
