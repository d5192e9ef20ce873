//! What takes back a change of a file that was cut short.
//!
//! In: an edit, the file before it. Out: a [`Journal`]: the old bytes and the new ones, as bytes with
//! a digest; and of a file that a part of the edit reached, the way back.
//!
//! ```text
//! "talforge undo 1\n"
//! u64 length of the file, u64 its inode number          all numbers little-endian
//! edit: the old bytes, one step
//! edit: the change                                      edit  = u64 steps, each step
//! SHA-256 of all before                                 step  = u64 writes, each write
//!                                                       write = u64 offset, u64 length, bytes
//! ```
//!
//! Source: none; the format is ours.
//!
//! Not here: where it lies, when it is synced, what is done with it (`patch`).

use std::io;
use std::ops::Range;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::edit::{Edit, Write};

/// What a journal starts with.
const MAGIC: &[u8] = b"talforge undo 1\n";

/// The length of the digest at the end, in bytes.
const DIGEST: usize = 32;

/// The most bytes of a journal. An edit that would need more is refused before it begins; one of the
/// largest machine config needs a quarter.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The most steps of an edit.
const MAX_STEPS: u64 = 256;

/// How many bytes are compared at once.
const PIECE: u64 = 64 << 10;

/// An edit of one file, and what it takes back.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    /// The file's length in bytes.
    pub(super) len: u64,
    /// The file's inode number: a file of its name that took its place has another.
    pub(super) inode: u64,
    /// One step that gives every range of the edit the bytes that it had.
    old: Edit,
    /// The edit.
    edit: Edit,
}

impl Journal {
    /// What takes back `edit` of a file that holds `medium`.
    pub(super) fn new(edit: &Edit, medium: &Blob, inode: u64) -> io::Result<Self> {
        Ok(Self { len: medium.len(), inode, old: edit.undo(medium)?, edit: edit.clone() })
    }

    /// Whether an edit's journal keeps to the limits.
    pub(super) fn holds(edit: &Edit) -> bool {
        /// The numbers of a write and of the range that it may have for itself.
        const NUMBERS: u64 = 32;
        let writes = edit.steps().iter().flatten();
        let bytes: u64 = writes.map(|write| 2 * write.bytes.len() as u64 + NUMBERS).sum();
        edit.steps().len() as u64 <= MAX_STEPS && bytes <= MAX_BYTES - (8 << 10)
    }

    /// The journal as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.len.to_le_bytes());
        out.extend(self.inode.to_le_bytes());
        encode_edit(&self.old, &mut out);
        encode_edit(&self.edit, &mut out);
        let digest = Digest::of(&out);
        out.extend(digest.0);
        out
    }

    /// Reads a journal; nothing where it is not whole, or not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if Digest::of(body).0 != digest {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let (len, inode) = (number(&mut rest)?, number(&mut rest)?);
        let old = decode_edit(&mut rest, len)?;
        let edit = decode_edit(&mut rest, len)?;
        let is_whole = rest.is_empty() && old.steps().len() <= 1 && old.ranges() == edit.ranges();
        is_whole.then_some(Self { len, inode, old, edit })
    }

    /// What leads a file that some of the edit reached back to what it was: the steps in reverse,
    /// then all old bytes once more. Nothing where the file holds what no part of the edit leaves.
    ///
    /// In reverse, so that the file is after each step what it was on the way there.
    pub(super) fn way_back(&self, medium: &Blob) -> io::Result<Option<Edit>> {
        let mut before = self.old.apply(medium);
        let ranges = self.old.ranges();
        let mut backs = Vec::new();
        for step in self.edit.steps() {
            let mut one = Edit::default();
            one.push(step.clone());
            let after = one.apply(&before);
            backs.push(one.undo(&before)?);
            if is_between(medium, &before, &after, &ranges)? {
                let mut way = Edit::default();
                let steps = backs.iter().rev().chain([&self.old]).flat_map(Edit::steps);
                steps.for_each(|step| way.push(step.clone()));
                return Ok(Some(way));
            }
            before = after;
        }
        Ok(None)
    }
}

/// Whether each byte of the ranges is the one or the other.
fn is_between(
    medium: &Blob,
    before: &Blob,
    after: &Blob,
    ranges: &[Range<u64>],
) -> io::Result<bool> {
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let piece = at..range.end.min(at + PIECE);
            let read = |blob: &Blob| blob.slice(piece.clone()).to_vec();
            let (now, one, other) = (read(medium)?, read(before)?, read(after)?);
            let pairs = one.iter().zip(&other);
            if !now.iter().zip(pairs).all(|(now, (one, other))| now == one || now == other) {
                return Ok(false);
            }
            at = piece.end;
        }
    }
    Ok(true)
}

fn encode_edit(edit: &Edit, out: &mut Vec<u8>) {
    out.extend((edit.steps().len() as u64).to_le_bytes());
    for step in edit.steps() {
        out.extend((step.len() as u64).to_le_bytes());
        for write in step {
            out.extend(write.at.to_le_bytes());
            out.extend((write.bytes.len() as u64).to_le_bytes());
            out.extend(write.bytes.iter());
        }
    }
}

/// Reads an edit of a file of `len` bytes. Each turn of a loop takes bytes, so that it ends.
fn decode_edit(rest: &mut &[u8], len: u64) -> Option<Edit> {
    let mut edit = Edit::default();
    let steps = number(rest).filter(|steps| *steps <= MAX_STEPS)?;
    for _ in 0..steps {
        let mut step: Vec<Write> = Vec::new();
        for _ in 0..number(rest)? {
            let (at, count) = (number(rest)?, number(rest)?);
            let (bytes, left) = rest.split_at_checked(usize::try_from(count).ok()?)?;
            *rest = left;
            let is_apart = step.last().is_none_or(|last| last.range().end <= at);
            if bytes.is_empty() || !is_apart || at.checked_add(count)? > len {
                return None;
            }
            step.push(Write { at, bytes: bytes.into() });
        }
        edit.push(step);
    }
    Some(edit)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: u64 = 300;

    fn edits() -> impl Strategy<Value = Edit> {
        let write = (0..LEN - 20, prop::collection::vec(any::<u8>(), 1..20));
        prop::collection::vec(prop::collection::vec(write, 1..4), 1..5).prop_map(|steps| {
            let mut edit = Edit::default();
            for mut step in steps {
                step.sort();
                let mut end = 0;
                step.retain(|(at, bytes)| {
                    let fits = *at >= end;
                    end = if fits { at + bytes.len() as u64 } else { end };
                    fits
                });
                edit.push(step.into_iter().map(|(at, b)| Write { at, bytes: b.into() }).collect());
            }
            edit
        })
    }

    fn medium() -> Blob {
        let bytes: Vec<u8> = (0..LEN).map(|n| u8::try_from(n % 251).unwrap()).collect();
        Blob::from_bytes("medium", bytes)
    }

    proptest! {
        /// From whatever state a crash leaves, the way back leads to the old bytes, by states that a
        /// crash could have left.
        #[test]
        fn the_way_back_leads_to_the_old_bytes(
            edit in edits(), steps in 0_usize..6, torn in prop::collection::vec(any::<bool>(), 300),
        ) {
            let medium = medium();
            let journal = Journal::new(&edit, &medium, 7).unwrap();
            let journal = Journal::decode(&journal.encode()).unwrap();
            let mut now = medium.to_vec().unwrap();
            for (n, write) in edit.steps().iter().enumerate().flat_map(|(n, step)| {
                step.iter().map(move |write| (n, write))
            }) {
                for (i, byte) in write.bytes.iter().enumerate() {
                    let at = usize::try_from(write.at).unwrap() + i;
                    if n < steps || (n == steps && torn[at]) {
                        now[at] = *byte;
                    }
                }
            }
            let now = Blob::from_bytes("now", now);
            let way = journal.way_back(&now).unwrap().expect("the edit led there");
            for so_far in 0..=way.steps().len() {
                let mut part = Edit::default();
                way.steps()[..so_far].iter().for_each(|step| part.push(step.clone()));
                prop_assert!(journal.way_back(&part.apply(&now)).unwrap().is_some());
            }
            prop_assert_eq!(way.apply(&now).to_vec().unwrap(), medium.to_vec().unwrap());
        }

        /// A byte that neither the old nor the new state has is somebody else's.
        #[test]
        fn what_no_part_of_the_edit_leaves_is_not_touched(edit in edits(), pick in any::<prop::sample::Index>()) {
            let medium = medium();
            let journal = Journal::new(&edit, &medium, 7).unwrap();
            let ranges = edit.ranges();
            let range = &ranges[pick.index(ranges.len())];
            let at = usize::try_from(range.start).unwrap();
            let mut now = medium.to_vec().unwrap();
            let known: Vec<u8> = edit.steps().iter().flatten()
                .filter(|write| write.range().contains(&range.start))
                .map(|write| write.bytes[usize::try_from(range.start - write.at).unwrap()])
                .chain([now[at]]).collect();
            now[at] = (0..=255).find(|byte| !known.contains(byte)).unwrap();
            prop_assert!(journal.way_back(&Blob::from_bytes("now", now)).unwrap().is_none());
        }

        /// Nothing but the journal as it was written is taken for one, and nothing makes it panic.
        #[test]
        fn a_changed_journal_is_none(edit in edits(), at in any::<prop::sample::Index>(), by in 1_u8..) {
            let journal = Journal::new(&edit, &medium(), 7).unwrap();
            let mut bytes = journal.encode();
            let at = at.index(bytes.len());
            prop_assert!(Journal::decode(&bytes[..at]).is_none());
            bytes[at] ^= by;
            prop_assert!(Journal::decode(&bytes).is_none());
            // With a digest that is right.
            let end = bytes.len() - DIGEST;
            let digest = Digest::of(&bytes[..end]);
            bytes[end..].copy_from_slice(&digest.0);
            if let Some(journal) = Journal::decode(&bytes) {
                let same = Blob::from_bytes("medium", vec![0; 300]);
                if journal.len == LEN { journal.way_back(&same).unwrap(); }
            }
        }
    }
}
