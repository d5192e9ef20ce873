//! A file, cut into what nodes have in common and what is one node's own.
//!
//! ```text
//! file   ┌────────┬──own──┬─────────────────┬─────────hole─────────┬──own──┬───────┐
//! base   │ data   │ zeros │ data            │ zeros                │ zeros │ data  │
//! cut at multiples of 16 MiB:  chunk 0 │ chunk 1 │ (zeros: none)  │ chunk 3         │
//! ```
//!
//! The base of nodes of one kind is the same bytes, so that its chunks are. What differs in it costs
//! the chunk that it is in. A chunk of zeros is left out.
//!
//! In: a file, its own ranges. Out: chunks, own bytes, the digest of the whole, in one pass.
//!
//! Source: lseek(2) (`SEEK_DATA`, `SEEK_HOLE`).
//!
//! Not here: where they go (`export`), and how they are joined (`join`).

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::blob::{Blob, Builder, Source};
use crate::digest::{Digest, Hasher};
use crate::sink::Tell;

/// The length of a chunk in bytes; the last of a file is shorter. A chunk is held in memory, and
/// sent whole.
pub const CHUNK: u64 = 16 << 20;

/// A part of a file.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A chunk of the base that is not all zeros.
    Base {
        /// Where it lies, in bytes.
        start: u64,
        /// Its bytes, with zeros for those that are own.
        bytes: &'a [u8],
    },
    /// Own bytes: those of all ranges, in order, come one after another.
    Own(&'a [u8]),
}

/// A file as a blob, its holes as zeros; as it is where the file system tells of none.
///
/// # Errors
///
/// Where its length cannot be told.
pub fn sparse(name: &str, file: File) -> io::Result<Blob> {
    let mut runs = Vec::new();
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start.min(len),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start)).map_or(len, |end| end.min(len));
        // A chunk is read or not; finer runs are of no use.
        let (start, end) = (start / CHUNK * CHUNK, end.max(start + 1).next_multiple_of(CHUNK));
        let (start, end) = (start.max(at), end.min(len));
        runs.push(start..end);
        at = end.max(at + 1);
    }
    let whole = Blob::from_file(name, file)?;
    let mut out = Builder::default();
    for run in runs.into_iter().filter(|run| run.start < run.end && run.end <= whole.len()) {
        out = out.fill_to(run.start).blob(&whole.slice(run));
    }
    Ok(out.fill_to(whole.len()).finish())
}

/// Cuts a file at multiples of `chunk` bytes, and gives its digest. The ranges lie in the file, in order, and do not meet. `tell`
/// is told of every byte that is done with.
///
/// # Errors
///
/// Where the file cannot be read, and those of `take` and `tell`.
///
/// # Panics
///
/// Where the ranges are not as they must be.
pub fn split<E: From<io::Error>>(
    file: &Blob,
    own: &[Range<u64>],
    chunk: u64,
    take: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    tell: Tell<'_>,
) -> Result<Digest, E> {
    let mut hasher = Hasher::default();
    let step = usize::try_from(chunk.min(file.len())).expect("a chunk fits in memory");
    let mut buffer = vec![0; step];
    let mut next = 0;
    for start in (0..file.len()).step_by(step.max(1)) {
        let end = file.len().min(start + chunk);
        let len = usize::try_from(end - start).expect("a chunk fits in memory");
        let bytes = &mut buffer[..len];
        let is_hole = is_hole(file, start..end);
        if is_hole {
            bytes.fill(0);
        } else {
            file.read_exact_at(bytes, start)?;
        }
        hasher.update(bytes);
        while let Some(range) = own.get(next).filter(|range| range.start < end) {
            let part = range.start.max(start) - start..range.end.min(end) - start;
            let place = |at: u64| usize::try_from(at).expect("a chunk fits in memory");
            let part = &mut bytes[place(part.start)..place(part.end)];
            take(Piece::Own(part))?;
            part.fill(0);
            if range.end > end {
                break;
            }
            next += 1;
        }
        if !is_hole && bytes.iter().any(|byte| *byte != 0) {
            take(Piece::Base { start, bytes })?;
        }
        tell(end - start)?;
    }
    Ok(hasher.finish())
}

/// Whether a range is known to be zeros without reading it.
fn is_hole(file: &Blob, range: Range<u64>) -> bool {
    let first = file.extents().partition_point(|extent| extent.end() <= range.start);
    let inside = file.extents()[first..].iter().take_while(|extent| extent.start < range.end);
    inside.into_iter().all(|extent| matches!(extent.source, Source::Zeros))
}
