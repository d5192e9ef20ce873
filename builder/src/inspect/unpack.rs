//! Compressed segments of an initrd, decoded front to back in small pieces.
//!
//! In: a blob that starts with a zstd frame or an xz stream. Out: its bytes, and where it ends.
//!
//! Source: RFC 8878 (zstd); The .xz File Format 1.2.1; Linux `lib/decompress_unzstd.c`,
//! `lib/decompress_unxz.c`: one frame or stream is one segment.
//!
//! Not here: what is in it (`cpio`).

use std::io;

use lzma_rust2::{Action, Status, XzStream};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::damage::Damage;
use super::field;
use crate::blob::Blob;

/// The bytes that are read, and the bytes that are decoded, at a time.
const PIECE: usize = 1 << 16;
/// The largest window of zstd, as a power of two: the kernel's own limit.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The largest dictionary of xz, in KiB, with what its decoder needs beside it: that of `xz -9`.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;

/// How a segment is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A zstd frame.
    Zstd,
    /// An xz stream.
    Xz,
}

impl Packing {
    /// The packing by the first bytes.
    ///
    /// # Errors
    ///
    /// [`Damage`] where Talos' kernels cannot unpack it: they have zstd and xz only.
    pub(super) fn detect(blob: &Blob, at: u64) -> Result<Self, Damage> {
        let len = usize::try_from((blob.len() - at).min(8)).expect("8 fits");
        let mut head = [0; 8];
        let read = blob.read_exact_at(&mut head[..len], at);
        read.map_err(|e| Damage::read("initrd segment", at, e))?;
        let refused = |name: &str| {
            let wrong = format!("it is compressed with {name}, which Talos' kernels cannot unpack");
            Err(Damage::new("initrd segment", at, wrong).should("zstd, or xz with CRC32"))
        };
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // Stream flags: a zero, and the kind of check. Linux knows none and CRC32.
            [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0 | 1] => Ok(Self::Xz),
            [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4] => refused("xz with CRC64"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refused("xz with a check other than CRC32"),
            [0x1f, 0x8b | 0x9e, ..] => refused("gzip"),
            [b'B', b'Z', b'h', ..] => refused("bzip2"),
            [0x5d, 0, ..] => refused("lzma"),
            [0x89, 0x4c, ..] => refused("lzo"),
            [0x02, 0x21, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => refused("lz4"),
            [b'0', ..] if !at.is_multiple_of(4) => {
                let wrong = "an uncompressed archive starts here";
                Err(Damage::new("initrd segment", at, wrong).should("at a multiple of 4"))
            }
            [b'0', b'7', b'0', b'7', b'0', b'7', ..] => {
                Err(Damage::new("initrd segment", at, "it is an old cpio archive").should("newc"))
            }
            _ => Err(Damage::new("initrd segment", at, "neither an archive nor a compressed one")),
        }
    }
}

/// A segment under decoding.
pub(super) struct Unpacker<'a> {
    input: Blob,
    start: u64,
    read: u64,
    pending: Vec<u8>,
    used: usize,
    decoder: Machine,
    out: Vec<u8>,
    out_used: usize,
    out_len: usize,
    done: bool,
    given: u64,
    allowance: &'a mut u64,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, never stored")]
enum Machine {
    Zstd(Decoder<'static>),
    Xz(XzStream),
}

impl<'a> Unpacker<'a> {
    /// Starts to decode what begins at `start`. Each decoded byte is taken off `allowance`; none
    /// left is a damage, so that a few bytes cannot unpack for hours.
    pub(super) fn new(
        blob: &Blob,
        start: u64,
        packing: Packing,
        allowance: &'a mut u64,
    ) -> Result<Self, Damage> {
        let decoder = match packing {
            Packing::Zstd => {
                let read = |e| Damage::read("zstd frame", start, e);
                let mut decoder = Decoder::new().map_err(read)?;
                let limit = DParameter::WindowLogMax(ZSTD_WINDOW_LOG);
                decoder.set_parameter(limit).map_err(read)?;
                Machine::Zstd(decoder)
            }
            Packing::Xz => Machine::Xz(XzStream::new_mem_limit(false, XZ_MEMORY_KIB)),
        };
        let input = field::slice(blob, "initrd segment", start..blob.len())?;
        Ok(Self {
            input,
            start,
            read: 0,
            pending: Vec::new(),
            used: 0,
            decoder,
            out: vec![0; PIECE],
            out_used: 0,
            out_len: 0,
            done: false,
            given: 0,
            allowance,
        })
    }

    /// The decoded bytes handed out so far.
    pub(super) fn offset(&self) -> u64 {
        self.given
    }

    /// The bytes of input that the frame or stream takes, once it has ended.
    pub(super) fn packed_len(&self) -> u64 {
        self.read - (self.pending.len() - self.used) as u64
    }

    /// Some of the bytes that come next; none at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8], Damage> {
        while self.out_used == self.out_len && !self.done {
            self.step()?;
        }
        Ok(&self.out[self.out_used..self.out_len])
    }

    /// Passes over bytes that [`Self::peek`] gave.
    pub(super) fn consume(&mut self, len: usize) {
        self.out_used += len;
        self.given += len as u64;
    }

    /// Fills `out`, or gives nothing where the frame or stream ends before.
    pub(super) fn read_exact(&mut self, out: &mut [u8]) -> Result<Option<()>, Damage> {
        let mut filled = 0;
        while filled < out.len() {
            let bytes = self.peek()?;
            let len = bytes.len().min(out.len() - filled);
            if len == 0 {
                return Ok(None);
            }
            out[filled..filled + len].copy_from_slice(&bytes[..len]);
            self.consume(len);
            filled += len;
        }
        Ok(Some(()))
    }

    /// Passes over `len` bytes, or gives nothing where the frame or stream ends before.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<Option<()>, Damage> {
        while len > 0 {
            let here = self.peek()?.len();
            let step = usize::try_from(len).map_or(here, |len| here.min(len));
            if step == 0 {
                return Ok(None);
            }
            self.consume(step);
            len -= step as u64;
        }
        Ok(Some(()))
    }

    /// One round of the decoder.
    fn step(&mut self) -> Result<(), Damage> {
        if self.used == self.pending.len() {
            self.refill()?;
        }
        let at = self.start + self.packed_len();
        let action = if self.read == self.input.len() { Action::Finish } else { Action::Run };
        let input = &self.pending[self.used..];
        let (name, round) = match &mut self.decoder {
            Machine::Zstd(decoder) => ("zstd frame", zstd_round(decoder, input, &mut self.out)),
            Machine::Xz(stream) => ("xz stream", xz_round(stream, input, &mut self.out, action)),
        };
        let round = match round {
            Ok(round) if round.done || round.read > 0 || round.written > 0 => round,
            Ok(_) => return Err(Damage::new(name, at, "it is cut")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Damage::new(name, at, "it is cut"));
            }
            Err(_) => return Err(Damage::new(name, at, "its bytes are damaged")),
        };
        self.used += round.read;
        (self.out_used, self.out_len, self.done) = (0, round.written, round.done);
        *self.allowance = self.allowance.checked_sub(round.written as u64).ok_or_else(|| {
            Damage::new(name, at, "it unpacks to far more bytes than an initramfs has")
        })?;
        Ok(())
    }

    fn refill(&mut self) -> Result<(), Damage> {
        let left = self.input.len() - self.read;
        let len = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        self.pending.resize(len, 0);
        self.used = 0;
        let at = self.read;
        let read = self.input.read_exact_at(&mut self.pending, at);
        read.map_err(|e| Damage::read("initrd segment", self.start + at, e))?;
        self.read += len as u64;
        Ok(())
    }
}

/// What one call of a decoder did.
struct Round {
    read: usize,
    written: usize,
    done: bool,
}

fn zstd_round(decoder: &mut Decoder<'_>, input: &[u8], out: &mut [u8]) -> io::Result<Round> {
    let status = decoder.run_on_buffers(input, out)?;
    let (read, written) = (status.bytes_read, status.bytes_written);
    Ok(Round { read, written, done: status.remaining == 0 })
}

fn xz_round(
    stream: &mut XzStream,
    input: &[u8],
    out: &mut [u8],
    action: Action,
) -> io::Result<Round> {
    let result = stream.process(input, out, action)?;
    let done = result.status == Status::StreamEnd;
    Ok(Round { read: result.bytes_consumed, written: result.bytes_produced, done })
}
