//! Decoders: of whole compressed files, and of single clusters.
//!
//! In: compressed bytes. Out: the bytes, every checksum of the format compared.
//!
//! Files may have many members, frames or streams, one after another; what follows them is a
//! damage. A compressed cpio archive is no container but an initramfs, which kernels unpack
//! themselves.
//!
//! Source: RFC 1950, 1951 and 1952 (zlib, deflate, gzip); RFC 8878 (zstd); The .xz File Format 1.2.1.
//!
//! Not here: initramfs segments (`inspect::unpack`), how much may come out (`packed`).

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress};
use lzma_rust2::XzReader;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::blob::{Blob, Reader};
use crate::catalog::value::Compression;
use crate::inspect::damage::Damage;

/// The bytes that are read at a time.
const PIECE: usize = 1 << 17;
/// The largest window of zstd, as a power of two: what `zstd -d` takes without being told to.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The largest dictionary of xz, in KiB, with what its decoder needs beside it: that of `xz -9`.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;
/// How far a file is looked into for a cpio archive: the longest first block that there may be.
const PEEK: u64 = 1 << 20;

/// How a whole file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
    Xz,
}

/// How a cluster is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Bare deflate with a window of 4 KiB, as qcow2 has it.
    Deflate,
    /// Deflate between zlib's header and checksum.
    Zlib,
    /// A zstd frame.
    Zstd,
}

impl Coding {
    /// The coding by a file's first bytes; nothing where there is none that we read, or an initramfs.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the file cannot be read.
    pub(super) fn detect(file: &Blob) -> Result<Option<Self>, Damage> {
        let mut head = [0; 6];
        if file.len() < head.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0).map_err(|e| Damage::read("file", 0, e))?;
        let coding = match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // A frame, or one that is to be passed over.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            _ => return Ok(None),
        };
        let start = file.slice(0..file.len().min(PEEK));
        let mut decoder = coding.decoder(&start, &Rc::default())?;
        let is_cpio = decoder.read_exact(&mut head).is_ok() && head.starts_with(b"0707");
        Ok((!is_cpio).then_some(coding))
    }

    /// Its name in a profile.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => Compression::Gz.name(),
            Self::Zstd => Compression::Zst.name(),
            Self::Xz => Compression::Xz.name(),
        }
    }

    /// A file's contents as a stream; `used` is told how many of the file's bytes it took so far.
    pub(super) fn decoder(
        self,
        file: &Blob,
        used: &Rc<Cell<u64>>,
    ) -> Result<Box<dyn Read>, Damage> {
        let input = Counted { reader: file.reader(), used: used.clone() };
        let input = BufReader::with_capacity(PIECE, input);
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Zstd => {
                let decoder = zstd::Decoder::with_buffer(input);
                let mut decoder = decoder.map_err(|e| Damage::read("zstd frame", 0, e))?;
                let set = decoder.window_log_max(ZSTD_WINDOW_LOG);
                set.map_err(|e| Damage::read("zstd frame", 0, e))?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        })
    }

    /// What a decoder's error says of the file; `at` bytes had come out before.
    pub(super) fn damage(self, error: io::Error, at: u64) -> Damage {
        let place = match self {
            Self::Gzip => "contents of a gzip file",
            Self::Zstd => "contents of a zstd file",
            Self::Xz => "contents of an xz file",
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Damage::new(place, at, "the file is cut"),
            io::ErrorKind::OutOfMemory => {
                Damage::new(place, at, "unpacking takes too much memory").should("at most 64 MiB")
            }
            _ if error.raw_os_error().is_some() => Damage::read(place, at, error),
            _ => Damage::new(place, at, "the file's bytes are damaged"),
        }
    }
}

/// A file, read front to back.
struct Counted {
    reader: Reader,
    used: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(out)?;
        self.used.set(self.reader.offset());
        Ok(len)
    }
}

impl Cluster {
    /// The decoded bytes of a cluster that lies at `at`; at most `len`, which are all that it may
    /// have.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it cannot be decoded or has more.
    pub(super) fn decode(self, packed: &[u8], len: u32, at: u64) -> Result<Vec<u8>, Damage> {
        let len = usize::try_from(len).map_err(|_| broken(at))?;
        let mut out = vec![0; len];
        let len = match self {
            Self::Deflate => {
                let mut decoder = Decompress::new_with_window_bits(false, 12);
                let done = decoder.decompress(packed, &mut out, FlushDecompress::Finish);
                done.map_err(|_| broken(at))?;
                usize::try_from(decoder.total_out())
            }
            Self::Zlib => {
                let mut decoder = Decompress::new(true);
                let done = decoder.decompress(packed, &mut out, FlushDecompress::Finish);
                match done {
                    Ok(flate2::Status::StreamEnd) => usize::try_from(decoder.total_out()),
                    _ => return Err(broken(at)),
                }
            }
            Self::Zstd => Ok(zstd_frame(packed, &mut out).map_err(|_| broken(at))?),
        };
        out.truncate(len.map_err(|_| broken(at))?);
        Ok(out)
    }
}

fn broken(at: u64) -> Damage {
    Damage::new("compressed cluster", at, "its bytes are damaged")
}

/// Decodes a frame, what follows it ignored, and gives the length of what came out.
fn zstd_frame(packed: &[u8], out: &mut [u8]) -> io::Result<usize> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
    let mut input = InBuffer::around(packed);
    let mut output = OutBuffer::around(out);
    loop {
        let before = (input.pos, output.pos());
        if decoder.run(&mut input, &mut output)? == 0 {
            return Ok(output.pos());
        }
        if before == (input.pos, output.pos()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
