//! The record of a change: what every changed byte was before.
//!
//! In: old bytes, by where they were. Out: the record as a file; or read from one.
//!
//! ```text
//! 16  "talforge undo 1\n"
//!  8  the record's length in bytes, without the zeros that fill its file up
//!  8  the medium's length in bytes
//! 32  SHA-256 of what the change wrote to tables, records and doors, in the order of the ranges
//!  4  number of ranges; 4 zeros
//!     each range: 8 offset on the medium, 4 length, 1 kind (0 data, 1 table, 2 record, 3 door),
//!     1 whether it was all zeros (1) or its bytes follow (0), 2 zeros
//! 32  SHA-256 of all before
//! ```
//!
//! Numbers are little-endian.
//!
//! Source: none, the format is ours.
//!
//! Not here: where the record lies, and whether it fits the medium (`past`).

use std::ops::Range;

use crate::blob::Blob;
use crate::custom::error::CustomError;
use crate::digest::Digest;

/// The bytes of a record's file. It is written before its length is known.
pub(super) const RECORD_BYTES: u64 = 16 << 10;
const MAGIC: &[u8; 16] = b"talforge undo 1\n";
/// The bytes before the ranges, and those of a range.
const HEAD: usize = 72;
const RANGE: usize = 16;
const DIGEST: usize = 32;

/// What a range of a medium is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Contents of files that were added.
    Data,
    /// The table and the count of free clusters.
    Table,
    /// An ISO's records that no boot needs by themselves.
    Record,
    /// What leads a boot to the change: one write each.
    Door,
}

/// The kinds, by their numbers.
const KINDS: [Kind; 4] = [Kind::Data, Kind::Table, Kind::Record, Kind::Door];

/// What was somewhere before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Old {
    /// What it is for.
    pub(super) kind: Kind,
    /// Where it is on the medium.
    pub(super) range: Range<u64>,
    /// What was there: zeros where nothing is said.
    pub(super) bytes: Option<Vec<u8>>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The medium's length in bytes.
    pub(super) medium_len: u64,
    /// The digest of what the change wrote.
    pub(super) written: Digest,
    /// What was changed, in the order of offsets and apart.
    pub(super) ranges: Vec<Old>,
}

/// The digest of what stands in the ranges that are no data.
///
/// # Errors
///
/// Where the medium cannot be read, or a range ends past it.
pub(super) fn digest(medium: &Blob, ranges: &[Old]) -> Result<Digest, CustomError> {
    let mut bytes = Vec::new();
    for old in ranges.iter().filter(|old| old.kind != Kind::Data) {
        let part = medium.get(old.range.clone()).ok_or(CustomError::Changed)?;
        bytes.extend(part.to_vec()?);
    }
    Ok(Digest::of(&bytes))
}

impl Record {
    /// The record's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let inline: usize =
            self.ranges.iter().filter_map(|old| old.bytes.as_ref()).map(Vec::len).sum();
        let len = HEAD + RANGE * self.ranges.len() + inline + DIGEST;
        out.extend((len as u64).to_le_bytes());
        out.extend(self.medium_len.to_le_bytes());
        out.extend(self.written.0);
        let count = u32::try_from(self.ranges.len()).expect("a change has few ranges");
        out.extend(count.to_le_bytes());
        out.extend([0; 4]);
        for old in &self.ranges {
            let len = u32::try_from(old.range.end - old.range.start).expect("files below 4 GiB");
            out.extend(old.range.start.to_le_bytes());
            out.extend(len.to_le_bytes());
            let kind = KINDS.iter().zip(0..).find(|(kind, _)| **kind == old.kind);
            out.extend([kind.map_or(0, |(_, n)| n), u8::from(old.bytes.is_none()), 0, 0]);
            out.extend(old.bytes.iter().flatten());
        }
        let digest = Digest::of(&out);
        out.extend(digest.0);
        out
    }

    /// Reads a record from its file.
    ///
    /// # Errors
    ///
    /// Where it is cut or damaged, or its ranges overlap.
    pub(super) fn read(file: &[u8]) -> Result<Self, CustomError> {
        let wrong = CustomError::Record;
        let mut head = Fields(file);
        if head.take::<16>()? != *MAGIC {
            return Err(wrong("it starts with other bytes"));
        }
        let len = usize::try_from(u64::from_le_bytes(head.take()?)).ok();
        let body = len.and_then(|len| len.checked_sub(DIGEST)).filter(|len| *len >= HEAD);
        let (body, rest) =
            body.and_then(|body| file.split_at_checked(body)).ok_or(wrong("it is cut"))?;
        if rest.get(..DIGEST) != Some(Digest::of(body).0.as_slice()) {
            return Err(wrong("its digest is another"));
        }
        let mut fields = Fields(&body[24..]);
        let medium_len = u64::from_le_bytes(fields.take()?);
        let written = Digest(fields.take()?);
        let count = u32::from_le_bytes(fields.take()?);
        fields.take::<4>()?;
        let mut ranges: Vec<Old> = Vec::new();
        for _ in 0..count {
            let old = fields.old()?;
            if ranges.last().is_some_and(|last| last.range.end > old.range.start) {
                return Err(wrong("its ranges overlap"));
            }
            if old.range.end > medium_len || old.range.is_empty() {
                return Err(wrong("a range lies past the medium"));
            }
            ranges.push(old);
        }
        Ok(Self { medium_len, written, ranges })
    }
}

/// Bytes, read front to back.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CustomError> {
        let (now, rest) = self.0.split_first_chunk().ok_or(CustomError::Record("it is cut"))?;
        self.0 = rest;
        Ok(*now)
    }

    fn old(&mut self) -> Result<Old, CustomError> {
        let start = u64::from_le_bytes(self.take()?);
        let len = u32::from_le_bytes(self.take()?);
        let [kind, zeros, ..] = self.take::<4>()?;
        let kind =
            KINDS.get(usize::from(kind)).ok_or(CustomError::Record("it has unknown ranges"))?;
        let end =
            start.checked_add(len.into()).ok_or(CustomError::Record("it has no such range"))?;
        let bytes = match zeros {
            0 => {
                let len = usize::try_from(len).map_err(|_| CustomError::Record("it is cut"))?;
                let (now, rest) =
                    self.0.split_at_checked(len).ok_or(CustomError::Record("it is cut"))?;
                self.0 = rest;
                Some(now.to_vec())
            }
            _ => None,
        };
        Ok(Old { kind: *kind, range: start..end, bytes })
    }
}

#[cfg(test)]
mod tests;
