//! Files compressed in pieces that stand alone, so that nodes share those of what they share.
//!
//! In: a blob, and how to compress some bytes without looking at any others. Out: the compressed
//! bytes of the whole, one piece after another, and what the format's maker must know of each.
//!
//! A file is cut where one node's own bytes begin and end, and around long zeros; where the cuts are
//! depends on that file alone. What nodes have in common is compressed for the first of them and kept
//! ([`crate::sink::shelf`]), a stretch of zeros is compressed once for all, and only own bytes are
//! compressed for each node. Within a piece, chunks of fixed length are compressed side by side: the
//! result is the same from any number of threads.
//!
//! Source: none.
//!
//! Not here: what is around the pieces: headers, checksums, indexes (`zst`, `xz`, `gz`).

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::blob::{Blob, Builder, Extent, Source};
use crate::parallel;
use crate::sink::Tell;
use crate::sink::shelf::{Piece, Shelf};
use crate::units::{KIB, MIB, align_up};

/// The bytes compressed at once, without looking at others.
pub(super) const CHUNK: usize = 1 << 22;

/// The same, as a length in a blob.
pub(super) const CHUNK_BYTES: u64 = 4 * MIB;

/// What is shorter is not worth a place on the shelf, nor to be cut out from between own bytes.
pub(super) const GRAIN: u64 = 256 * KIB;

/// Parts that hold own bytes begin and end at multiples of this.
const STEP: u64 = 64 * KIB;

/// How many pieces of one file are kept at most; the shelf has room for those of some files.
const KEPT: usize = 6;

/// The most threads. Each holds a chunk, its outcome and a compressor's tables: some 20 MiB.
const THREADS: usize = 4;

/// Compresses a chunk: gives the bytes, and what must be known of them later.
pub(super) type Press<F> = fn(&[u8]) -> io::Result<(Vec<u8>, F)>;

/// What makes files of one format, with memory of what it made.
#[derive(Debug)]
pub(super) struct Pieces<F> {
    folder: PathBuf,
    press: Press<F>,
    shelf: Shelf<Vec<F>>,
    /// A chunk of zeros.
    zeros: OnceLock<(Arc<[u8]>, F)>,
}

/// All pieces of a file, and what is known of their chunks, in order.
#[derive(Debug)]
pub(super) struct Packed<F> {
    /// The compressed bytes; what came from own bytes is own.
    pub(super) blob: Blob,
    /// One for each chunk.
    pub(super) facts: Vec<F>,
}

impl<F: Clone + Send + Sync> Pieces<F> {
    /// Nothing made so far. What does not fit memory goes into nameless files of a folder.
    pub(super) fn new(folder: &Path, press: Press<F>) -> Self {
        let (folder, shelf) = (folder.to_owned(), Shelf::new(folder));
        Self { folder, press, shelf, zeros: OnceLock::new() }
    }

    /// The pieces of a file.
    pub(super) fn pack(&self, file: &Blob, tell: Tell<'_>) -> io::Result<Packed<F>> {
        let (mut blob, mut facts) = (Builder::default(), Vec::new());
        for part in cut(file) {
            let source = file.slice(part.range.clone());
            let piece = match part.kind {
                Kind::Zeros => self.zeros(source.len() / CHUNK_BYTES)?,
                Kind::Shared if source.len() >= GRAIN => self.kept(&source, tell)?,
                Kind::Shared | Kind::Own => self.fresh(&source, tell)?,
            };
            match part.kind {
                Kind::Zeros => tell(source.len())?,
                Kind::Shared | Kind::Own => {}
            }
            blob = match part.kind {
                Kind::Own => blob.blob(&piece.blob.owned()),
                Kind::Shared | Kind::Zeros => blob.blob(&piece.blob),
            };
            facts.extend(piece.facts);
        }
        Ok(Packed { blob: blob.finish(), facts })
    }

    /// So many chunks of zeros.
    fn zeros(&self, chunks: u64) -> io::Result<Piece<Vec<F>>> {
        let (bytes, fact) = match self.zeros.get() {
            Some(made) => made,
            None => {
                let (bytes, fact) = (self.press)(&vec![0; CHUNK])?;
                // Another thread may have been faster; its bytes are the same.
                self.zeros.get_or_init(|| (bytes.into(), fact))
            }
        };
        let add = |blob: Builder, _| blob.bytes("compressed zeros", bytes.clone());
        let blob = (0..chunks).fold(Builder::default(), add).finish();
        Ok(Piece { blob, facts: (0..chunks).map(|_| fact.clone()).collect() })
    }

    /// A piece from the shelf.
    fn kept(&self, source: &Blob, tell: Tell<'_>) -> io::Result<Piece<Vec<F>>> {
        let mut is_new = false;
        let piece = self.shelf.piece(source, |source, out| {
            is_new = true;
            self.squeeze(source, out, tell)
        })?;
        if !is_new {
            tell(source.len())?;
        }
        Ok(piece)
    }

    /// A piece for this file alone: in memory where it is short.
    fn fresh(&self, source: &Blob, tell: Tell<'_>) -> io::Result<Piece<Vec<F>>> {
        if source.len() <= CHUNK_BYTES {
            let mut bytes = Vec::new();
            let facts = self.squeeze(source, &mut bytes, tell)?;
            return Ok(Piece { blob: Blob::from_bytes("compressed", bytes), facts });
        }
        let mut file = tempfile::tempfile_in(&self.folder)?;
        let facts = self.squeeze(source, &mut file, tell)?;
        Ok(Piece { blob: Blob::from_file("compressed", file)?, facts })
    }

    /// Compresses chunk by chunk, some at a time.
    fn squeeze(&self, source: &Blob, out: &mut dyn Write, tell: Tell<'_>) -> io::Result<Vec<F>> {
        let threads = parallel::processors().min(THREADS);
        let mut facts = Vec::new();
        let starts: Vec<u64> = (0..source.len()).step_by(CHUNK).collect();
        for starts in starts.chunks(threads) {
            let made = parallel::try_in_order(threads, starts, |start| self.chunk(source, *start))?;
            for (bytes, fact) in made {
                out.write_all(&bytes)?;
                facts.push(fact);
            }
            let end = source.len().min(starts[starts.len() - 1] + CHUNK_BYTES);
            tell(end - starts[0])?;
        }
        Ok(facts)
    }

    fn chunk(&self, source: &Blob, start: u64) -> io::Result<(Vec<u8>, F)> {
        let end = source.len().min(start + CHUNK_BYTES);
        (self.press)(&source.slice(start..end).to_vec()?)
    }
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    range: Range<u64>,
    kind: Kind,
}

/// Whose a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One node's.
    Own,
    /// All nodes'.
    Shared,
    /// Nobody's: whole chunks of zeros.
    Zeros,
}

/// Cuts a file into parts, so that few of them are to be kept.
fn cut(file: &Blob) -> Vec<Part> {
    let mut grain = GRAIN;
    loop {
        let parts = cut_by(file, grain);
        let is_kept =
            |part: &&Part| part.kind == Kind::Shared && part.range.end - part.range.start >= GRAIN;
        if grain >= file.len() || parts.iter().filter(is_kept).count() <= KEPT {
            return parts;
        }
        grain = grain.saturating_mul(2);
    }
}

/// Cuts a file into parts; own bytes that lie closer than `grain` are one part with what is between
/// them, and shorter zeros are not cut out.
fn cut_by(file: &Blob, grain: u64) -> Vec<Part> {
    let mut own: Vec<Range<u64>> = Vec::new();
    for range in own_parts(file) {
        match own.last_mut() {
            Some(last) if range.start - last.end < grain => last.end = range.end,
            _ => own.push(range),
        }
    }
    let (mut parts, mut at) = (Vec::new(), 0);
    let zeros: Vec<Range<u64>> =
        zero_runs(file).filter(|run| run.end - run.start >= grain).collect();
    for range in own {
        shared(at..range.start, &zeros, &mut parts);
        at = range.end;
        parts.push(Part { range, kind: Kind::Own });
    }
    shared(at..file.len(), &zeros, &mut parts);
    parts
}

/// Cuts what nodes have in common around whole chunks of zeros.
fn shared(range: Range<u64>, zeros: &[Range<u64>], parts: &mut Vec<Part>) {
    let mut push = |range: Range<u64>, kind| {
        if range.start < range.end {
            parts.push(Part { range, kind });
        }
    };
    let mut at = range.start;
    let first = zeros.partition_point(|run| run.end <= range.start);
    for run in zeros[first..].iter().take_while(|run| run.start < range.end) {
        let (start, end) = (run.start.max(range.start), run.end.min(range.end));
        let chunks = (end - start) / CHUNK_BYTES;
        if chunks > 0 {
            push(at..start, Kind::Shared);
            at = start + chunks * CHUNK_BYTES;
            push(start..at, Kind::Zeros);
        }
    }
    push(at..range.end, Kind::Shared);
}

/// Where own bytes are, in order and apart, widened to places where those of other nodes, longer or
/// shorter by a little, begin and end too.
pub(super) fn own_parts(file: &Blob) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in file.own() {
        let (start, end) = (range.start / STEP * STEP, align_up(range.end, STEP).min(file.len()));
        match out.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => out.push(start..end),
        }
    }
    out
}

/// The runs that are known to be zeros, neighbours joined.
pub(super) fn zero_runs(file: &Blob) -> impl Iterator<Item = Range<u64>> {
    let is_zeros = |source: &Source| matches!(source, Source::Zeros);
    let joined = file.extents().chunk_by(move |a, b| is_zeros(&a.source) && is_zeros(&b.source));
    let run = move |run: &[Extent]| {
        let (first, last) = (run.first()?, run.last()?);
        is_zeros(&first.source).then(|| first.start..last.end())
    };
    joined.filter_map(run)
}

#[cfg(test)]
mod tests;
