//! What is known of compressed segments already, so that the base initramfs of a whole build is
//! decoded once.
//!
//! In: segments by where their bytes come from. Out: what is in them.
//!
//! Two runs of bytes are one where they come from one place: the same range of the same open file
//! or of the same bytes in memory. No byte is compared. A finished image has a file of its own, so
//! the caller may say with [`Memo::alias`] which of its ranges were copied from where.
//!
//! Source: none.
//!
//! Not here: decoding (`unpack`, `cpio`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::cpio::Facts;
use crate::blob::{Blob, Extent, Source};
use crate::units::MIB;

/// The most segments that are remembered; each may keep a file open.
const SEGMENTS: usize = 16;
/// What even the smallest medium may unpack to, in bytes.
const ALLOWANCE: u64 = 8 * MIB;
/// How many times its own length a medium may unpack to, beyond that.
const RATIO: u64 = 256;

/// What is known of compressed segments, and how much may still be unpacked.
///
/// One memo serves many media, one after another; its clones, which share what they know so far, serve
/// several at once. Its memory is bounded: it forgets the oldest of more than 16 segments, and aliases
/// hold for one medium.
#[derive(Clone, Debug)]
pub struct Memo {
    segments: VecDeque<Known>,
    aliases: BTreeMap<(usize, u64), Alias>,
    pub(super) allowance: u64,
}

#[derive(Clone, Debug)]
struct Known {
    runs: Vec<Run>,
    facts: Arc<Facts>,
    /// Keeps the places in use, so that no other file or memory takes their addresses.
    _held: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Alias {
    len: u64,
    original: Run,
    copied_from: Source,
    _copied_to: Source,
}

/// A run of bytes by its place: an address in this process, and an offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// The address of the open file or of the bytes; 0 for zeros.
    place: usize,
    offset: u64,
    len: u64,
}

impl Default for Memo {
    fn default() -> Self {
        Self { segments: VecDeque::new(), aliases: BTreeMap::new(), allowance: ALLOWANCE }
    }
}

impl Memo {
    /// Says that the bytes of `copy`, which lie in a file, were copied from `original`. Both have
    /// one length. The caller vouches for it: the copy's bytes are not read again.
    ///
    /// It holds until the next medium was read.
    pub fn alias(&mut self, copy: &Blob, original: &Blob) {
        for extent in copy.extents() {
            let end = extent.end().min(original.len());
            let Some(from) = original.get(extent.start..end) else { return };
            for part in from.extents() {
                let run = run(extent);
                let alias = Alias {
                    len: part.len,
                    original: self::run(part),
                    copied_from: part.source.clone(),
                    _copied_to: extent.source.clone(),
                };
                if run.place != 0 {
                    self.aliases.insert((run.place, run.offset + part.start), alias);
                }
            }
        }
    }

    /// Sets how much may be unpacked, for a medium of this length: 8 MiB and 256 times the length.
    pub fn allow(&mut self, len: u64) {
        self.allowance = len.saturating_mul(RATIO).saturating_add(ALLOWANCE);
    }

    /// Forgets the aliases.
    pub(super) fn end_medium(&mut self) {
        self.aliases.clear();
    }

    /// What is in the segment that starts at `at`, where that is known.
    pub(super) fn get(&self, blob: &Blob, at: u64) -> Option<Arc<Facts>> {
        let first = self.runs(&blob.get(at..at.checked_add(1)?)?);
        let known = |known: &&Known| {
            let same_start = known
                .runs
                .first()
                .zip(first.first())
                .is_some_and(|(a, b)| (a.place, a.offset) == (b.place, b.offset));
            let part = || blob.get(at..at.checked_add(known.facts.packed_len)?);
            same_start && part().is_some_and(|part| self.runs(&part) == known.runs)
        };
        self.segments.iter().find(known).map(|known| known.facts.clone())
    }

    /// Remembers what is in the segment that starts at `at`.
    pub(super) fn put(&mut self, blob: &Blob, at: u64, facts: Arc<Facts>) {
        let Some(part) = at.checked_add(facts.packed_len).and_then(|end| blob.get(at..end)) else {
            return;
        };
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        let runs = self.runs(&part);
        let own = part.extents().iter().map(|e| &e.source);
        let originals = self.aliases.values().map(|a| &a.copied_from);
        let mut wanted: BTreeSet<_> = runs.iter().map(|run| run.place).collect();
        let is_wanted = |s: &&Source| wanted.remove(&place(s).0);
        let _held = own.chain(originals).filter(is_wanted).cloned().collect();
        self.segments.push_back(Known { runs, facts, _held });
    }

    /// A blob's runs, by where their bytes come from in the end.
    fn runs(&self, blob: &Blob) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for extent in blob.extents() {
            let mut left = run(extent);
            while left.len > 0 {
                let (known, len) = self.resolve(left);
                left.offset += len;
                left.len -= len;
                match runs.last_mut().filter(|last| last.is_followed_by(&known)) {
                    Some(last) => last.len += known.len,
                    None => runs.push(known),
                }
            }
        }
        runs
    }

    /// The start of a run by its original, and how much of the run that is.
    fn resolve(&self, run: Run) -> (Run, u64) {
        let here = (run.place, run.offset);
        if let Some(((place, start), alias)) = self.aliases.range(..=here).next_back()
            && *place == run.place
            && run.offset - start < alias.len
        {
            let skip = run.offset - start;
            let len = run.len.min(alias.len - skip);
            let Run { place, offset, .. } = alias.original;
            let offset = if place == 0 { 0 } else { offset + skip };
            return (Run { place, offset, len }, len);
        }
        let next = self.aliases.range(here..).next().filter(|((place, _), _)| *place == run.place);
        let len = next.map_or(run.len, |((_, start), _)| run.len.min(start - run.offset));
        (Run { len, ..run }, len)
    }
}

impl Run {
    fn is_followed_by(&self, next: &Self) -> bool {
        self.place == next.place && (self.place == 0 || self.offset + self.len == next.offset)
    }
}

fn run(extent: &Extent) -> Run {
    let (place, offset) = place(&extent.source);
    Run { place, offset, len: extent.len }
}

fn place(source: &Source) -> (usize, u64) {
    match source {
        Source::Zeros => (0, 0),
        Source::Bytes(bytes, from) => (Arc::as_ptr(bytes).addr(), *from as u64),
        Source::File(input, from) => (Arc::as_ptr(input).addr(), *from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    fn file(bytes: &[u8]) -> Blob {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Blob::from_file("file", file).unwrap()
    }

    fn facts(packed_len: u64) -> Arc<Facts> {
        Arc::new(Facts { items: Vec::new(), packed_len, unpacked_len: 0 })
    }

    #[test]
    fn a_segment_is_known_again_in_another_medium() {
        let base = file(&[1; 100]);
        let image = |lead: u64| Builder::default().zeros("lead", lead).blob(&base).finish();
        let mut memo = Memo::default();
        memo.put(&image(10), 10, facts(100));
        assert!(memo.get(&image(20), 20).is_some());
        assert!(memo.get(&image(20), 19).is_none());
        assert!(memo.get(&file(&[1; 100]), 0).is_none(), "another file of the same bytes");
    }

    #[test]
    fn a_copy_is_known_by_its_original() {
        let base = file(&[1; 100]);
        let copy = file(&[1; 300]);
        let mut memo = Memo::default();
        memo.put(&base, 0, facts(100));
        // The copy lies in two pieces, out of order, as a FAT file may.
        memo.alias(&copy.slice(200..240), &base.slice(0..40));
        memo.alias(&copy.slice(50..110), &base.slice(40..100));
        let joined =
            Builder::default().blob(&copy.slice(200..240)).blob(&copy.slice(50..110)).finish();
        assert!(memo.get(&joined, 0).is_some());
        memo.end_medium();
        assert!(memo.get(&joined, 0).is_none());
    }
}
