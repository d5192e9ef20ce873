//! Archives and layers, decompressed on a thread of their own.
//!
//! In: a blob, compressed or not. Out: a stream of what it unpacks to, and the stream's digest.
//!
//! Source: RFC 1952 (gzip), RFC 8878 (zstd), The .xz File Format 1.2.1. Which one it is is told by
//! the first bytes, as containerd does: types in manifests are wrong at times.
//!
//! Not here: what is in the stream (`tar`).

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::tar::{Input, TarError};
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::units::{GIB, MIB};

/// The most bytes that an image unpacks to. Disks of Talos machines hold less.
const UNPACKED_MAX: u64 = 16 * GIB;
/// The most members of an image. Official ones have some 10,000.
const MEMBERS_MAX: u64 = 200_000;
/// The most bytes of names and attributes of an image: they are in memory.
const NAMES_MAX: u64 = 64 * MIB;
/// What may come of one compressed byte, [`SPARE`] aside. Deflate's most is 1032, for zeros alone.
const RATIO: u64 = 256;
const SPARE: u64 = 8 * MIB;
/// The largest window of zstd, as a power of two: what `zstd --long` makes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The largest dictionary of xz, in KiB, with what its decoder needs beside it: that of `xz -9`.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;
/// The bytes that go from thread to thread at a time, and how many such pieces wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// What an image, or an archive, has taken of its limits so far. Its layers share it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    unpacked: AtomicU64,
    members: AtomicU64,
    names: AtomicU64,
}

impl Budget {
    /// Takes room for a member, which has so many bytes of names and attributes.
    pub(super) fn member(&self, names: usize) -> Result<(), TarError> {
        take(&self.members, 1, MEMBERS_MAX, "the members of an image")?;
        take(&self.names, names as u64, NAMES_MAX, "the bytes of names in an image")
    }

    /// Takes room for bytes of files.
    pub(super) fn bytes(&self, len: u64) -> Result<(), TarError> {
        take(&self.unpacked, len, UNPACKED_MAX, "the bytes of an image")
    }
}

fn take(counter: &AtomicU64, by: u64, most: u64, what: &'static str) -> Result<(), TarError> {
    let before = counter.fetch_add(by, Ordering::Relaxed);
    let is_within = before.checked_add(by).is_some_and(|now| now <= most);
    if is_within { Ok(()) } else { Err(TarError::Limit { what, most }) }
}

/// Lets `read` have what a blob unpacks to, and gives the digest of all of that. `watch` hears of
/// the compressed bytes.
pub(super) fn unpacked<T>(
    blob: &Blob,
    budget: &Budget,
    watch: &(dyn Fn(u64) + Sync),
    read: impl FnOnce(&mut Piped) -> Result<T, TarError>,
) -> Result<(T, Digest), TarError> {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(PIECES);
        let unpacking = scope.spawn(move || feed(blob, budget, watch, &send));
        let mut input = Piped { pieces: receive, piece: Vec::new(), used: 0 };
        let result = read(&mut input).and_then(|out| {
            io::copy(&mut input, &mut io::sink())?;
            Ok(out)
        });
        // A thread that has more to send stops.
        drop(input);
        let digest = unpacking.join().map_err(|_| TarError::Damaged("it cannot be unpacked"))?;
        Ok((result?, digest))
    })
}

/// Sends all that a blob unpacks to, or the error that ends it.
fn feed(
    blob: &Blob,
    budget: &Budget,
    watch: &(dyn Fn(u64) + Sync),
    send: &SyncSender<io::Result<Vec<u8>>>,
) -> Digest {
    let mut hasher = Hasher::default();
    let most = blob.len().saturating_mul(RATIO).saturating_add(SPARE);
    let mut sent = 0;
    let mut stream = match decoder(blob, watch) {
        Ok(stream) => stream,
        Err(error) => {
            let _ = send.send(Err(error.into()));
            return hasher.finish();
        }
    };
    loop {
        let mut piece = vec![0; PIECE];
        let filled = fill(&mut *stream, &mut piece).and_then(|len| {
            sent += len as u64;
            if sent > most {
                let what = "the bytes that one compressed byte unpacks to";
                return Err(TarError::Limit { what, most: RATIO }.into());
            }
            budget.bytes(len as u64)?;
            Ok(len)
        });
        let message = match filled {
            Ok(0) => return hasher.finish(),
            Ok(len) => {
                piece.truncate(len);
                hasher.update(&piece);
                Ok(piece)
            }
            Err(error) => Err(error),
        };
        let is_end = message.is_err();
        if send.send(message).is_err() || is_end {
            return hasher.finish();
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(stream: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match stream.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The decoder for a blob's first bytes; another one may be a plain archive.
fn decoder<'a>(
    blob: &Blob,
    watch: &'a (dyn Fn(u64) + Sync),
) -> Result<Box<dyn Read + 'a>, TarError> {
    let input = BufReader::with_capacity(PIECE, Watched { input: blob.reader(), watch });
    let refused = |why| Err(TarError::Damaged(why));
    match packing(blob)? {
        Packing::Gzip => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Ok(Box::new(decoder))
        }
        Packing::Xz => {
            Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)))
        }
        Packing::Bzip2 => refused("it is compressed with bzip2; use gzip, zstd or xz"),
        Packing::Lz4 => refused("it is compressed with lz4; use gzip, zstd or xz"),
        Packing::None => Ok(Box::new(input)),
    }
}

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    None,
}

/// Tells it by the first bytes.
pub(super) fn packing(blob: &Blob) -> io::Result<Packing> {
    let mut head = [0; 6];
    let len = usize::try_from(blob.len()).map_or(head.len(), |len| len.min(head.len()));
    blob.read_exact_at(&mut head[..len], 0)?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        // A frame, or one that is skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Packing::Xz,
        [b'B', b'Z', b'h', ..] => Packing::Bzip2,
        [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Lz4,
        _ => Packing::None,
    })
}

/// A reader that tells how much was read.
struct Watched<'a, R> {
    input: R,
    watch: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(out)?;
        (self.watch)(len as u64);
        Ok(len)
    }
}

/// A stream that another thread makes.
#[derive(Debug)]
pub(super) struct Piped {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    used: usize,
}

impl Piped {
    /// Makes sure that there are bytes, unless it is over.
    fn refill(&mut self) -> io::Result<()> {
        if self.used == self.piece.len() {
            self.used = 0;
            // The other side hangs up at its end.
            self.piece = self.pieces.recv().unwrap_or(Ok(Vec::new()))?;
        }
        Ok(())
    }
}

impl Read for Piped {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.refill()?;
        let len = out.len().min(self.piece.len() - self.used);
        out[..len].copy_from_slice(&self.piece[self.used..self.used + len]);
        self.used += len;
        Ok(len)
    }
}

impl Input for Piped {
    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            self.refill()?;
            let ready = self.piece.len() - self.used;
            if ready == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = usize::try_from(len).map_or(ready, |len| len.min(ready));
            self.used += step;
            len -= step as u64;
        }
        Ok(())
    }
}

impl<R: Input> Input for &mut R {
    fn skip(&mut self, len: u64) -> io::Result<()> {
        (**self).skip(len)
    }
}
