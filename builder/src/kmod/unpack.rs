//! Compressed modules, unpacked.
//!
//! In: a module's file. Out: its ELF bytes.
//!
//! A plain module stays where it is, and only the parts that are needed are read. The packing is
//! told by the first bytes, as kmod tells it, not by the name.
//!
//! Source: kmod's `libkmod/libkmod-file.c`; Linux `scripts/Makefile.modinst`.
//!
//! Not here: what the bytes mean (`elf`).

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::blob::Blob;

/// The endings of a module's file.
pub(super) const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// The longest module that is unpacked, in bytes. The largest known, of graphics cards, have 100 MB.
const MAX_LEN: u64 = 128 << 20;
/// Modules unpack to some three times their length; no more than this often is believed.
const MAX_RATIO: u64 = 256;
/// The largest window of zstd, as a power of two: what `zstd --ultra -22` uses.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The largest dictionary of xz, in KiB, with what its decoder needs beside it: that of `xz -9`.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;

/// The module's bytes; those of a plain module are not read yet.
///
/// # Errors
///
/// Where the packed bytes are damaged, or unpack to far more than a module has.
pub(super) fn unpack(file: &Blob) -> io::Result<Blob> {
    let mut head = [0; 6];
    let len = usize::try_from(file.len().min(6)).expect("6 fits");
    file.read_exact_at(&mut head[..len], 0)?;
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::new(file.reader())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            drain(decoder, file.len())
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            drain(XzReader::new_mem_limit(file.reader(), true, XZ_MEMORY_KIB), file.len())
        }
        [0x1f, 0x8b, ..] => drain(MultiGzDecoder::new(file.reader()), file.len()),
        _ => Ok(file.clone()),
    }
}

fn drain(decoder: impl Read, packed_len: u64) -> io::Result<Blob> {
    let limit = packed_len.saturating_mul(MAX_RATIO).min(MAX_LEN);
    let mut plain = Vec::new();
    decoder.take(limit + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > limit {
        let wrong = "it unpacks to far more bytes than a module has";
        return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
    }
    Ok(Blob::from_bytes("kernel module", plain))
}
