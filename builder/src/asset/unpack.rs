//! Compressed disks, unpacked into the store once.
//!
//! In: a file compressed with zstd, xz or gzip. Out: the disk in it, in the store, with its zeros as
//! holes; the store remembers which file it came from.
//!
//! Source: RFC 8878 (zstd), The .xz File Format 1.2.1, RFC 1952 (gzip); Talos `pkg/imager/post.go`
//! for which of them images have.
//!
//! Not here: what is on the disk (`medium`).

use std::fmt;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use thiserror::Error;

use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::store::{Store, StoreError};
use crate::units::GIB;

/// How large a disk may be: with an image cache it has some GiB of data, and the largest that Talos
/// makes has 8 GiB in all if nobody asks for more.
const LIMITS: Limits = Limits { len: 64 * GIB, data: 16 * GIB };
/// The bytes that are read at a time, and that the first look at a disk needs.
const PIECE: usize = 1 << 20;
/// The bytes that are a hole or not.
const BLOCK: usize = 4096;
/// The largest window of zstd, as a power of two: that of `zstd --ultra -22`.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The memory for xz in KiB: that of `xz -9`, and what the decoder needs beside it.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;
/// What the store calls its records of what was unpacked.
const RECORD: &str = "unpacked";

/// Why a compressed disk cannot be used.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// It is damaged.
    #[error("cannot be unpacked: {0}")]
    Damaged(io::Error),
    /// It holds something else.
    #[error("holds no disk and no ISO")]
    NoDisk,
    /// It never ends, or nearly so.
    #[error("unpacks to more than {LIMITS}")]
    TooLarge,
    /// It was written to meanwhile.
    #[error("changed while it was read")]
    Changed,
    /// The store for what is unpacked.
    #[error("cannot be unpacked into the store: {}", told(.0))]
    Store(StoreError),
}

/// The most that is unpacked.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// In bytes.
    len: u64,
    /// In bytes that are not zeros in blocks of 4 KiB.
    data: u64,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, data) = (self.len / GIB, self.data / GIB);
        write!(f, "{len} GiB, or {data} GiB that are not zeros")
    }
}

/// The store's words and their cause.
fn told(error: &StoreError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl UnpackError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Damaged(_) | Self::Changed => "fetch the file again and compare its checksum",
            Self::NoDisk | Self::TooLarge => {
                "take a disk of Talos, `metal-amd64.raw.zst` of a release"
            }
            Self::Store(_) => "make room on its disk, or unpack the file yourself",
        }
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Zstd,
    Xz,
    Gzip,
}

impl Packing {
    /// The packing by a file's first bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| head.starts_with(magic);
        match () {
            () if starts(&[0x28, 0xb5, 0x2f, 0xfd]) => Some(Self::Zstd),
            () if starts(b"\xfd7zXZ\0") => Some(Self::Xz),
            () if starts(&[0x1f, 0x8b]) => Some(Self::Gzip),
            () => None,
        }
    }

    fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let packed = BufReader::with_capacity(1 << 16, packed);
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
        })
    }
}

/// The disk in a compressed file of this digest: from the store, or unpacked into it. With it comes
/// the disk's own digest.
///
/// # Errors
///
/// Where the file is damaged or holds no disk, or the store cannot be used.
pub(super) fn disk(
    file: &Blob,
    digest: Digest,
    packing: Packing,
    store: &Store,
) -> Result<(Blob, Digest), UnpackError> {
    if let Some(known) = known(digest, store).map_err(UnpackError::Store)? {
        return Ok(known);
    }
    let mut hasher = Hasher::default();
    let mut packed = Watched { packed: file.reader(), hasher: &mut hasher };
    let (found, disk) = {
        let mut reader = packing.reader(&mut packed).map_err(UnpackError::Damaged)?;
        fill(&mut reader, store, LIMITS)?
    };
    // What the decoder left behind the last frame.
    io::copy(&mut packed, &mut io::sink()).map_err(UnpackError::Damaged)?;
    if hasher.finish() != digest {
        return Err(UnpackError::Changed);
    }
    store.keep_record(RECORD, digest, found.to_string().as_bytes()).map_err(UnpackError::Store)?;
    Ok((disk, found))
}

fn known(packed: Digest, store: &Store) -> Result<Option<(Blob, Digest)>, StoreError> {
    let record = store.record(RECORD, packed)?.unwrap_or_default();
    let digest = str::from_utf8(&record).ok().and_then(|text| text.parse().ok());
    let Some(digest) = digest else { return Ok(None) };
    Ok(store.get(digest)?.map(|disk| (disk, digest)))
}

/// The compressed bytes on their way, hashed: what is remembered must be of the very file.
struct Watched<'a, R> {
    packed: R,
    hasher: &'a mut Hasher,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.packed.read(out)?;
        self.hasher.update(&out[..len]);
        Ok(len)
    }
}

fn fill(
    reader: &mut dyn Read,
    store: &Store,
    limits: Limits,
) -> Result<(Digest, Blob), UnpackError> {
    let mut buffer = vec![0; PIECE];
    let first = next(reader, &mut buffer)?;
    if !is_disk(&buffer[..first]) {
        return Err(UnpackError::NoDisk);
    }
    let mut incoming = store.incoming().map_err(UnpackError::Store)?;
    let (mut len, mut data, mut piece) = (0, 0, first);
    while piece > 0 {
        len += piece as u64;
        data += data_in(&buffer[..piece]);
        if len > limits.len || data > limits.data {
            return Err(UnpackError::TooLarge);
        }
        io::Write::write_all(&mut incoming, &buffer[..piece])
            .map_err(|error| UnpackError::Store(StoreError::Io("incoming".into(), error)))?;
        piece = next(reader, &mut buffer)?;
    }
    incoming.finish(None).map_err(UnpackError::Store)
}

/// Fills the buffer as far as there are bytes.
fn next(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, UnpackError> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(UnpackError::Damaged(error)),
        }
    }
    Ok(len)
}

/// The bytes in blocks that are no holes.
fn data_in(piece: &[u8]) -> u64 {
    let blocks = piece.chunks(BLOCK).filter(|block| **block != [0; BLOCK][..block.len()]);
    blocks.map(|block| block.len() as u64).sum()
}

/// Whether a disk or an ISO starts so: nothing else is worth its room.
fn is_disk(head: &[u8]) -> bool {
    let has = |at: usize, what: &[u8]| head.get(at..at + what.len()) == Some(what);
    has(510, &[0x55, 0xaa]) || has(16 * 2048 + 1, b"CD001")
}

#[cfg(test)]
mod tests;
