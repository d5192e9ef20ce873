//! Changes to a byte string, in the order in which they must reach a disk.
//!
//! In: writes in steps. Out: the changed string as a [`Blob`], or what undoes the change.
//!
//! Source: none.
//!
//! Not here: what is changed and why (`custom`), and how it gets onto a disk (`sink`).

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::blob::{Blob, Builder};

/// Changes that keep a byte string's length. The writes of one step may reach the disk in any order;
/// those of the next step only after all of them.
///
/// Invariant: no write is empty, and no two writes of one step overlap.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    steps: Vec<Vec<Write>>,
}

/// Bytes for one place.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// The offset of the first byte.
    pub at: u64,
    /// The new bytes.
    pub bytes: Arc<[u8]>,
}

/// The bytes may be secret.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes.len(), self.at)
    }
}

impl Write {
    /// The bytes that it covers.
    pub fn range(&self) -> Range<u64> {
        self.at..self.at + self.bytes.len() as u64
    }
}

impl Edit {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Vec<Write>] {
        &self.steps
    }

    /// Adds a step after all others. Empty writes, and a step of none, are left out.
    ///
    /// # Panics
    ///
    /// Where two of its writes overlap: the caller placed two things on one spot.
    pub fn push(&mut self, mut writes: Vec<Write>) {
        writes.retain(|write| !write.bytes.is_empty());
        writes.sort_by_key(|write| write.at);
        let apart = writes.windows(2).all(|pair| pair[0].range().end <= pair[1].at);
        assert!(apart, "the writes of a step lie apart");
        if !writes.is_empty() {
            self.steps.push(writes);
        }
    }

    /// The string after all steps; its unchanged bytes stay where they are.
    ///
    /// # Panics
    ///
    /// Where a write ends past the string.
    pub fn apply(&self, base: &Blob) -> Blob {
        self.steps.iter().fold(base.clone(), |base, step| {
            let mut next = 0;
            let mut out = Builder::default();
            for write in step {
                let Range { start, end } = write.range();
                out = out.blob(&base.slice(next..start)).bytes("change", write.bytes.clone());
                next = end;
            }
            out.blob(&base.slice(next..base.len())).finish()
        })
    }

    /// One step that gives `base` back what it had wherever this edit writes.
    ///
    /// # Errors
    ///
    /// Where the old bytes cannot be read.
    pub fn undo(&self, base: &Blob) -> io::Result<Self> {
        let mut undo = Self::default();
        let writes = self.ranges().into_iter().map(|range| {
            let bytes = base.slice(range.clone()).to_vec()?;
            Ok(Write { at: range.start, bytes: bytes.into() })
        });
        undo.push(writes.collect::<io::Result<_>>()?);
        Ok(undo)
    }

    /// Every range that any step writes to, in order, joined where they touch.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<_> = self.steps.iter().flatten().map(Write::range).collect();
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edits() -> impl Strategy<Value = Vec<Vec<(u64, Vec<u8>)>>> {
        let write = (0u64..50, prop::collection::vec(any::<u8>(), 0..5));
        prop::collection::vec(prop::collection::vec(write, 0..4), 0..4)
    }

    fn edit(steps: Vec<Vec<(u64, Vec<u8>)>>) -> Edit {
        let mut edit = Edit::default();
        for mut step in steps {
            step.sort();
            let mut end = 0;
            step.retain(|(at, bytes)| {
                let fits = *at >= end;
                if fits {
                    end = at + bytes.len() as u64;
                }
                fits
            });
            edit.push(step.into_iter().map(|(at, b)| Write { at, bytes: b.into() }).collect());
        }
        edit
    }

    proptest! {
        /// An edit does what its writes do one after another, and its undoing takes all of it back.
        #[test]
        fn an_edit_is_its_writes_in_order(base in prop::collection::vec(any::<u8>(), 60), steps in edits()) {
            let edit = edit(steps);
            let blob = Blob::from_bytes("base", base.as_slice());
            let mut want = base.clone();
            for write in edit.steps().iter().flatten() {
                let at = usize::try_from(write.at).unwrap();
                want[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            let changed = edit.apply(&blob);
            prop_assert_eq!(changed.to_vec().unwrap(), want);
            let back = edit.undo(&blob).unwrap().apply(&changed);
            prop_assert_eq!(back.to_vec().unwrap(), base);
        }
    }
}
