//! A byte string made of extents: what every stage hands to the next.
//!
//! In: bytes made here, ranges of files, runs of zeros. Out: any range, read on demand.
//!
//! A blob never holds a file's bytes. So an image of 1.2 GiB costs memory for its headers only,
//! and two nodes' images share every extent but those that differ.
//!
//! Source: none.
//!
//! Not here: what the bytes mean (`format`, `inspect`), and where they go (`sink`).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::units::align_up;

/// An immutable byte string of known length. Cloning shares the extents.
///
/// Invariant: the extents are in order, none is empty, and each starts where the last ended.
#[derive(Clone, Default)]
pub struct Blob {
    extents: Arc<[Extent]>,
    len: u64,
}

/// A run of bytes with one source.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The offset in the blob, in bytes.
    pub start: u64,
    /// The length in bytes, never 0.
    pub len: u64,
    /// What the run is, for maps and messages: `"gpt header"`.
    pub label: Arc<str>,
    /// Where its bytes come from.
    pub source: Source,
    /// Whether the bytes are one node's own, so that another node of the site has others here.
    pub is_own: bool,
}

/// Where an extent's bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nowhere: the run reads as zeros, and a sparse sink leaves it out.
    Zeros,
    /// Bytes made by a format writer, from this index.
    Bytes(Arc<[u8]>, usize),
    /// A file, from this offset.
    File(Arc<Input>, u64),
}

/// A file that extents refer to.
#[derive(Debug)]
pub struct Input {
    /// Its name for maps, manifests and messages.
    pub name: String,
    /// The open file. It is read at offsets only, so that it can be shared.
    pub file: File,
}

impl Extent {
    /// The offset just past the run, in bytes.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Whether both runs lie at one place and have one source, so that their bytes are equal.
    ///
    /// `false` does not say that the bytes differ: files are told apart by where they were opened.
    /// Whose the runs are is not looked at.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.start == other.start
            && self.len == other.len
            && match (&self.source, &other.source) {
                (Source::Zeros, Source::Zeros) => true,
                (Source::File(a, at), Source::File(b, bt)) => Arc::ptr_eq(a, b) && at == bt,
                (Source::Bytes(a, at), Source::Bytes(b, bt)) => {
                    (Arc::ptr_eq(a, b) && at == bt)
                        || bytes_of(a, *at, self.len) == bytes_of(b, *bt, self.len)
                }
                _ => false,
            }
    }
}

fn bytes_of(bytes: &[u8], from: usize, len: u64) -> &[u8] {
    let len = usize::try_from(len).expect("an extent's bytes fit in memory");
    &bytes[from..from + len]
}

impl Source {
    fn read_exact_at(&self, out: &mut [u8], skip: u64) -> io::Result<()> {
        match self {
            Self::Zeros => out.fill(0),
            Self::Bytes(bytes, from) => {
                let from = from + usize::try_from(skip).expect("an extent's bytes fit in memory");
                out.copy_from_slice(&bytes[from..from + out.len()]);
            }
            Self::File(input, from) => input.file.read_exact_at(out, from + skip)?,
        }
        Ok(())
    }

    fn skip(&self, by: u64) -> Self {
        match self {
            Self::Zeros => Self::Zeros,
            Self::Bytes(bytes, from) => {
                let by = usize::try_from(by).expect("an extent's bytes fit in memory");
                Self::Bytes(bytes.clone(), from + by)
            }
            Self::File(input, from) => Self::File(input.clone(), from + by),
        }
    }
}

impl Blob {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The extents, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Whether both blobs are the same runs, one after another, so that their bytes are equal. No file
    /// is read; see [`Extent::is_same_run`] for what `false` does not say.
    pub fn is_same(&self, other: &Self) -> bool {
        self.extents.len() == other.extents.len()
            && self.extents.iter().zip(other.extents()).all(|(a, b)| a.is_same_run(b))
    }

    /// A blob of bytes at hand.
    pub fn from_bytes(label: impl Into<Arc<str>>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Builder::default().bytes(label, bytes).finish()
    }

    /// A whole file as a blob, of the length that it has now.
    ///
    /// # Errors
    ///
    /// Where the file's length cannot be told.
    pub fn from_file(name: &str, file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let source = Source::File(Arc::new(Input { name: name.to_owned(), file }), 0);
        Ok(Builder::default().push(name, len, source).finish())
    }

    /// The bytes of `range` as a blob of their own; no byte is read.
    ///
    /// # Panics
    ///
    /// If the range ends past the blob. See [`Blob::get`] for ranges from foreign bytes.
    pub fn slice(&self, range: Range<u64>) -> Self {
        self.get(range).expect("the range lies in the blob")
    }

    /// The bytes of `range` as a blob of their own, or nothing where it ends past the blob.
    pub fn get(&self, range: Range<u64>) -> Option<Self> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let first = self.extents.partition_point(|e| e.end() <= range.start);
        let mut out = Builder::default();
        for extent in self.extents[first..].iter().take_while(|e| e.start < range.end) {
            let from = range.start.max(extent.start);
            let to = range.end.min(extent.end());
            let source = extent.source.skip(from - extent.start);
            out = out.run(extent.label.clone(), to - from, source, extent.is_own);
        }
        Some(out.finish())
    }

    /// Fills `out` with the bytes from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` where the range ends past the blob, or a file has shrunk.
    pub fn read_exact_at(&self, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        let mut next = self.extents.partition_point(|e| e.end() <= offset);
        while !out.is_empty() {
            let extent = self.extents.get(next).ok_or(io::ErrorKind::UnexpectedEof)?;
            let skip = offset - extent.start;
            let len = usize::try_from(extent.len - skip).map_or(out.len(), |n| n.min(out.len()));
            let (now, rest) = out.split_at_mut(len);
            extent.source.read_exact_at(now, skip)?;
            offset += now.len() as u64;
            out = rest;
            next += 1;
        }
        Ok(())
    }

    /// All bytes, in memory. For small blobs: the caller has looked at [`Blob::len`].
    ///
    /// # Errors
    ///
    /// As [`Blob::read_exact_at`].
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut out = vec![0; len];
        self.read_exact_at(&mut out, 0)?;
        Ok(out)
    }

    /// The bytes as a stream.
    pub fn reader(&self) -> Reader {
        Reader { blob: self.clone(), offset: 0 }
    }

    /// The same bytes, every extent under one label.
    pub fn labelled(&self, label: impl Into<Arc<str>>) -> Self {
        let label = label.into();
        let relabel =
            |b: Builder, e: &Extent| b.run(label.clone(), e.len, e.source.clone(), e.is_own);
        self.extents.iter().fold(Builder::default(), relabel).finish()
    }

    /// The same bytes, marked as one node's own. Zeros are nobody's.
    pub fn owned(&self) -> Self {
        let mark = |b: Builder, e: &Extent| {
            let is_own = !matches!(e.source, Source::Zeros);
            b.run(e.label.clone(), e.len, e.source.clone(), is_own)
        };
        self.extents.iter().fold(Builder::default(), mark).finish()
    }

    /// The ranges that are one node's own, in order, neighbours joined.
    pub fn own(&self) -> Vec<Range<u64>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        for extent in self.extents.iter().filter(|extent| extent.is_own) {
            match out.last_mut() {
                Some(last) if last.end == extent.start => last.end = extent.end(),
                _ => out.push(extent.start..extent.end()),
            }
        }
        out
    }

    /// What nodes have in common: the same bytes with zeros for those that are one node's own.
    pub fn base(&self) -> Self {
        let blank = |b: Builder, e: &Extent| match e.is_own {
            true => b.zeros(e.label.clone(), e.len),
            false => b.push(e.label.clone(), e.len, e.source.clone()),
        };
        self.extents.iter().fold(Builder::default(), blank).finish()
    }
}

/// One line an extent: offset, length, kind, label. This is what goldens and `inspect` show.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Extent { start, len, label, source, .. } in self.extents() {
            let kind = match source {
                Source::Zeros => "zeros",
                Source::Bytes(..) => "bytes",
                Source::File(..) => "file",
            };
            writeln!(f, "{start:#012x} {len:>10} {kind} {label}")?;
        }
        Ok(())
    }
}

/// A [`Blob`] read front to back.
#[derive(Debug)]
pub struct Reader {
    blob: Blob,
    offset: u64,
}

impl Reader {
    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len - self.offset;
        let len = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        self.blob.read_exact_at(&mut out[..len], self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}

/// Joins runs into a [`Blob`], front to back.
#[derive(Debug, Default)]
pub struct Builder {
    extents: Vec<Extent>,
    len: u64,
}

impl Builder {
    /// The length so far, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was added so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes.
    pub fn bytes(self, label: impl Into<Arc<str>>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        self.push(label, bytes.len() as u64, Source::Bytes(bytes, 0))
    }

    /// Adds `len` zeros.
    pub fn zeros(self, label: impl Into<Arc<str>>, len: u64) -> Self {
        self.push(label, len, Source::Zeros)
    }

    /// Adds a whole blob, its extents kept apart.
    pub fn blob(self, blob: &Blob) -> Self {
        let add = |b: Self, e: &Extent| b.run(e.label.clone(), e.len, e.source.clone(), e.is_own);
        blob.extents().iter().fold(self, add)
    }

    /// Adds zeros up to the next multiple of `step` bytes.
    pub fn align(self, step: u64) -> Self {
        let end = align_up(self.len, step);
        self.fill_to(end)
    }

    /// Adds zeros up to `offset`.
    ///
    /// # Panics
    ///
    /// If the blob is longer already: the caller placed two things on one spot.
    pub fn fill_to(self, offset: u64) -> Self {
        let gap = offset.checked_sub(self.len).expect("placements are in order and apart");
        self.zeros("gap", gap)
    }

    /// Ends the blob.
    pub fn finish(self) -> Blob {
        Blob { extents: self.extents.into(), len: self.len }
    }

    fn push(self, label: impl Into<Arc<str>>, len: u64, source: Source) -> Self {
        self.run(label, len, source, false)
    }

    fn run(mut self, label: impl Into<Arc<str>>, len: u64, source: Source, is_own: bool) -> Self {
        if len > 0 {
            self.extents.push(Extent { start: self.len, len, label: label.into(), source, is_own });
            self.len += len;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)
    }

    fn join(parts: &[Vec<u8>]) -> Blob {
        parts.iter().fold(Builder::default(), |b, p| b.bytes("part", p.as_slice())).finish()
    }

    proptest! {
        /// Any range of a blob is that range of its parts, joined.
        #[test]
        fn a_range_reads_as_its_parts_joined(
            parts in parts(), from in 0usize..40, len in 0usize..40,
        ) {
            let blob = join(&parts);
            let whole = parts.concat();
            let mut out = vec![0xa5; len];
            let read = blob.read_exact_at(&mut out, from as u64);
            match whole.get(from..from + len) {
                Some(want) => { read.unwrap(); prop_assert_eq!(out, want); }
                None => prop_assert!(read.is_err() || len == 0),
            }
        }

        /// A slice holds what a read of its range gives, and is refused where the read would be.
        #[test]
        fn a_slice_holds_its_range(parts in parts(), from in 0usize..40, len in 0usize..40) {
            let whole = parts.concat();
            let slice = join(&parts).get(from as u64..(from + len) as u64);
            match whole.get(from..from + len) {
                Some(want) => prop_assert_eq!(slice.unwrap().to_vec().unwrap(), want),
                None => prop_assert!(slice.is_none()),
            }
        }

        /// The base has zeros where the bytes are a node's own, wherever the blob was cut and joined.
        #[test]
        fn a_base_has_zeros_for_what_is_own(
            parts in prop::collection::vec((any::<bool>(), 1usize..9), 0..9), cut in 0usize..40,
        ) {
            let (mut blob, mut base) = (Builder::default(), Vec::new());
            for (is_own, len) in parts {
                let part = Blob::from_bytes("part", vec![7; len]);
                blob = blob.blob(&if is_own { part.owned() } else { part });
                base.extend(vec![if is_own { 0 } else { 7 }; len]);
            }
            let blob = blob.finish();
            let (len, cut) = (blob.len(), (cut as u64).min(blob.len()));
            let (a, b) = (blob.slice(0..cut), blob.slice(cut..len).labelled("tail"));
            let joined = Builder::default().blob(&a).blob(&b).finish();
            prop_assert_eq!(joined.base().to_vec().unwrap(), base.clone());
            let own: u64 = joined.own().iter().map(|range| range.end - range.start).sum();
            prop_assert_eq!(own, base.iter().filter(|&&byte| byte == 0).count() as u64);
        }

        /// A stream gives all bytes, whatever the size of its reads.
        #[test]
        fn a_reader_gives_all_bytes(parts in parts(), step in 1usize..20) {
            let mut reader = join(&parts).reader();
            let mut out = Vec::new();
            let mut chunk = vec![0xa5; step];
            loop {
                let n = reader.read(&mut chunk).unwrap();
                if n == 0 { break; }
                out.extend_from_slice(&chunk[..n]);
            }
            prop_assert_eq!(out, parts.concat());
        }
    }
}
