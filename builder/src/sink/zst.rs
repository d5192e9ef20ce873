//! Files compressed by Zstandard, what nodes have in common but once.
//!
//! In: a blob. Out: a blob.
//!
//! A file is one frame, so that readers that stop after the first have all of it. Its pieces are
//! blocks that need nothing from the blocks before them: no bytes of the window, no tables and no
//! offsets. libzstd makes such blocks where it compresses in several threads: each of its jobs but
//! the first starts like that, because none waits for the one before. So each piece is made as the
//! second job of a frame whose header and first job, of one byte, are thrown away.
//!
//! The frame's checksum alone runs over the whole, front to back: its state after what nodes begin
//! with is kept, and what comes after is read for each of them.
//!
//! Source: RFC 8878; facebook/zstd `lib/compress/zstdmt_compress.c`, `ZSTDMT_compressionJob`.
//!
//! Not here: how files are written (`file`).

use std::hash::Hasher as _;
use std::io;
use std::ops::Range;
use std::path::Path;

use twox_hash::XxHash64;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::CParameter;

use crate::blob::{Blob, Builder, Source};
use crate::sink::Tell;
use crate::sink::pieces::{CHUNK, Pieces, own_parts};
use crate::sink::shelf::Shelf;

/// The binary logarithm of the window: a chunk. Readers are asked to have twice as much.
const WINDOW_LOG: u32 = 22;

/// Payloads are compressed already: of a kernel and an initramfs, 104.7 MB, levels 1, 3, 9 and 18
/// leave 102.9, 102.8, 102.7 and 101.4 MB, in 0.4, 0.5, 2.4 and 64 seconds. Talos takes 18.
const LEVEL: i32 = 3;

/// RFC 8878, section 3.1.1: the number every frame starts with.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Section 3.1.1.1.1, "Frame_Header_Descriptor": a content size of 8 bytes, a checksum.
const DESCRIPTOR: u8 = 0xc4;

/// Section 3.1.1.1.2, "Window_Descriptor".
const WINDOW: u8 = 12 << 3;
const _: () = assert!(10 + (WINDOW >> 3) as u32 == WINDOW_LOG && 1 << WINDOW_LOG == CHUNK);

/// Section 3.1.1.2, "Blocks": the last one, raw, without any data.
const END: [u8; 3] = [1, 0, 0];

/// The bytes read at once for the checksum.
const ROOM: usize = 1 << 18;

/// What compresses by Zstandard, with memory of what it compressed.
#[derive(Debug)]
pub struct Packer {
    pieces: Pieces<()>,
    sums: Shelf<XxHash64>,
}

impl Packer {
    /// Nothing compressed so far. Pieces go into nameless files of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { pieces: Pieces::new(folder, press), sums: Shelf::new(folder) }
    }

    /// Compresses a file. The result depends on the file alone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, a piece cannot be written, or `tell` wants an end.
    pub fn pack(&self, file: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
        let packed = self.pieces.pack(file, tell)?;
        let header = [&MAGIC[..], &[DESCRIPTOR, WINDOW], &file.len().to_le_bytes()].concat();
        let [a, b, c, d, ..] = self.sum(file)?.to_le_bytes();
        let sum = Blob::from_bytes("zstd checksum", [a, b, c, d]);
        let sum = if file.own().is_empty() { sum } else { sum.owned() };
        let out = Builder::default().bytes("zstd frame header", header).blob(&packed.blob);
        Ok(out.bytes("zstd, last block", END).blob(&sum).finish())
    }

    /// XXH64 of a file; what nodes begin with is read for the first of them.
    fn sum(&self, file: &Blob) -> io::Result<u64> {
        let fork = own_parts(file).first().map_or(file.len(), |own| own.start);
        let begin = self.sums.piece(&file.slice(0..fork), |begin, _| {
            let mut sum = XxHash64::with_seed(0);
            add(&mut sum, begin, 0..fork)?;
            Ok(sum)
        })?;
        let mut sum = begin.facts;
        add(&mut sum, file, fork..file.len())?;
        Ok(sum.finish())
    }
}

fn add(sum: &mut XxHash64, file: &Blob, range: Range<u64>) -> io::Result<()> {
    let mut room = vec![0; ROOM];
    let zeros = vec![0; ROOM];
    for extent in file.slice(range.clone()).extents() {
        let (mut at, end) = (range.start + extent.start, range.start + extent.end());
        while at < end {
            let len = usize::try_from(end - at).map_or(ROOM, |left| left.min(ROOM));
            if let Source::Zeros = extent.source {
                sum.write(&zeros[..len]);
            } else {
                file.read_exact_at(&mut room[..len], at)?;
                sum.write(&room[..len]);
            }
            at += len as u64;
        }
    }
    Ok(())
}

/// Compresses a chunk into blocks that stand alone.
fn press(bytes: &[u8]) -> io::Result<(Vec<u8>, ())> {
    let mut encoder = Encoder::new(LEVEL)?;
    let job = u32::try_from(CHUNK).map_err(io::Error::other)?;
    for parameter in [
        CParameter::NbWorkers(1),
        CParameter::JobSize(job),
        // A job does not look into the one before.
        CParameter::OverlapSizeLog(1),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::ChecksumFlag(false),
    ] {
        encoder.set_parameter(parameter)?;
    }
    run(&mut encoder, &[0])?;
    Ok((run(&mut encoder, bytes)?, ()))
}

/// Compresses bytes, as a job of their own.
fn run(encoder: &mut Encoder<'_>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()) + 64);
    let mut input = InBuffer::around(bytes);
    loop {
        let len = out.len();
        let mut output = OutBuffer::around_pos(&mut out, len);
        let is_taken = input.pos() == bytes.len();
        let left = match is_taken {
            true => encoder.flush(&mut output)?,
            false => encoder.run(&mut input, &mut output)?,
        };
        if is_taken && left == 0 {
            return Ok(out);
        }
        out.reserve(CHUNK / 16);
    }
}

#[cfg(test)]
mod tests;
