//! Where a disk's bytes lie in its files.
//!
//! In: runs, front to back, from a format's tables. Out: the disk as a blob, or as what must be
//! decoded.
//!
//! Source: none.
//!
//! Not here: the tables.

use std::ops::Range;

use super::Content;
use super::packed::Packed;
use super::stream::Cluster;
use crate::blob::{Blob, Builder};
use crate::inspect::damage::Damage;

/// The most runs of a disk: 64 GiB in clusters of 64 KiB, no two of them side by side.
const RUNS_LIMIT: usize = 1 << 20;

/// A disk, and where its bytes lie.
///
/// Invariant: the runs are in order and without gaps, no two could be one, and each lies in its file.
#[derive(Clone, Debug)]
pub(super) struct Map {
    files: Vec<Blob>,
    runs: Vec<Run>,
    end: u64,
    len: u64,
}

/// A run of the disk's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) place: Place,
}

/// Where a run's bytes lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Nowhere.
    Zeros,
    /// In a file, as they are.
    Plain { file: u8, at: u64 },
    /// In a file, compressed.
    Packed(Piece),
}

/// A compressed cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) file: u8,
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) unpacked_len: u32,
    /// How many of the decoded bytes come before the run's.
    pub(super) skip: u32,
    pub(super) coding: Cluster,
}

impl Map {
    /// An empty map of a disk of `len` bytes in `file`.
    pub(super) fn new(file: &Blob, len: u64) -> Self {
        Self { files: vec![file.clone()], runs: Vec::new(), end: 0, len }
    }

    /// The same, over the disk `base`.
    pub(super) fn over(self, base: Option<&Self>) -> Self {
        let below = base.iter().flat_map(|base| base.files.iter().cloned());
        let files = self.files.iter().cloned().chain(below).collect();
        Self { files, ..self }
    }

    /// A file that is a disk as it is.
    pub(super) fn raw(file: &Blob) -> Result<Self, Damage> {
        let mut map = Self::new(file, file.len());
        map.push(file.len(), Place::Plain { file: 0, at: 0 })?;
        Ok(map)
    }

    /// The disk's length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn files(&self) -> &[Blob] {
        &self.files
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// A range of a file, which holds it.
    pub(super) fn part(&self, file: u8, range: Range<u64>) -> Blob {
        self.files[usize::from(file)].slice(range)
    }

    /// How much of the disk is left to map.
    pub(super) fn left(&self) -> u64 {
        self.len - self.end
    }

    /// Adds a run; what lies past the disk's end is left out.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it ends past its file, or there are too many.
    pub(super) fn push(&mut self, len: u64, place: Place) -> Result<(), Damage> {
        let len = len.min(self.left());
        if len == 0 {
            return Ok(());
        }
        let range = match place {
            Place::Zeros => None,
            Place::Plain { file, at } => Some((file, at, len)),
            Place::Packed(piece) => Some((piece.file, piece.at, u64::from(piece.len))),
        };
        if let Some((file, at, len)) = range {
            let file_len = self.files[usize::from(file)].len();
            if at.checked_add(len).is_none_or(|end| end > file_len) {
                let wrong = format!("it ends past the file, which has {file_len:#x} bytes");
                return Err(Damage::new("cluster", at, wrong));
            }
        }
        match self.runs.last_mut() {
            Some(last) if last.is_followed_by(&place) => last.len += len,
            _ => self.runs.push(Run { start: self.end, len, place }),
        }
        self.end += len;
        match self.runs.len() > RUNS_LIMIT {
            true => {
                let wrong = format!("the disk lies in more than {RUNS_LIMIT} pieces");
                Err(Damage::new("disk", self.end, wrong))
            }
            false => Ok(()),
        }
    }

    /// Adds what lies below, in the disk that this one was laid [over](Self::over): zeros past its
    /// end, or where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub(super) fn push_below(&mut self, base: Option<&Self>, len: u64) -> Result<(), Damage> {
        let len = len.min(self.left());
        let stop = self.end + len;
        let runs = base.map_or(&[][..], |base| {
            let first = base.runs.partition_point(|run| run.start + run.len <= self.end);
            &base.runs[first..]
        });
        for run in runs.iter().take_while(|run| run.start < stop) {
            let skip = self.end - run.start;
            let len = (run.len - skip).min(stop - self.end);
            self.push(len, run.place.skip(skip)?)?;
        }
        self.push(stop - self.end, Place::Zeros)
    }

    /// The disk.
    pub(super) fn content(self) -> Content {
        if self.runs.iter().any(|run| matches!(run.place, Place::Packed(_))) {
            return Content::Packed(Packed::disk(self));
        }
        let add = |out: Builder, run: &Run| match run.place {
            Place::Plain { file, at } => out.blob(&self.part(file, at..at + run.len)),
            Place::Zeros | Place::Packed(_) => out.zeros("hole", run.len),
        };
        Content::Mapped(self.runs.iter().fold(Builder::default(), add).finish())
    }
}

impl Run {
    fn is_followed_by(&self, next: &Place) -> bool {
        match (self.place, next) {
            (Place::Zeros, Place::Zeros) => true,
            (Place::Plain { file, at }, Place::Plain { file: other, at: next }) => {
                file == *other && at + self.len == *next
            }
            _ => false,
        }
    }
}

impl Place {
    /// The same in the files of a map that lies over this one, without the first `by` bytes.
    fn skip(self, by: u64) -> Result<Self, Damage> {
        Ok(match self {
            Self::Zeros => Self::Zeros,
            Self::Plain { file, at } => Self::Plain { file: file + 1, at: at + by },
            Self::Packed(piece) => {
                let far = |_| Damage::new("compressed cluster", piece.at, "it is too long");
                let by = u32::try_from(by).map_err(far)?;
                Self::Packed(Piece { file: piece.file + 1, skip: piece.skip + by, ..piece })
            }
        })
    }
}
