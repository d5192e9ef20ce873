//! Files compressed by gzip, what nodes have in common but once; archives of one disk.
//!
//! In: a blob. Out: a blob.
//!
//! A file is one member, so that readers that stop after the first have all of it. Its pieces are
//! made apart: each ends in a full flush, on a whole byte, and refers to nothing before it; the
//! checksum of the whole follows from theirs.
//!
//! Source: RFC 1951, RFC 1952; for archives GNU tar's manual, "Basic Tar Format" and "Old GNU
//! Format"; Google Cloud, "Manually import boot disks", for the member and the form.
//!
//! Not here: how files are written (`file`).

use std::io;
use std::ops::Range;
use std::path::Path;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::blob::{Blob, Builder};
use crate::sink::Tell;
use crate::sink::pieces::{Pieces, zero_runs};
use crate::units::{KIB, align_up};

/// As Talos' own images are made (`pigz -6`).
const LEVEL: u32 = 6;

/// RFC 1952, "Member header": deflate, no name, no time, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// RFC 1951, "Details of block format": the last block, by fixed codes, without any data.
const END: [u8; 2] = [0x03, 0x00];

/// The only member of an archive; Google takes no other name.
const MEMBER: &str = "disk.raw";

/// GNU tar's manual, "Blocking": archives end at a multiple of this.
const RECORD: u64 = 20 * 512;

/// Zeros are left out of an archive in steps of so many bytes.
const HOLE: u64 = 64 * KIB;

/// What compresses by gzip, with memory of what it compressed.
#[derive(Debug)]
pub struct Packer {
    pieces: Pieces<Sum>,
}

/// The CRC-32 of a chunk, and its length.
#[derive(Clone, Debug)]
struct Sum(Hasher);

impl Packer {
    /// Nothing compressed so far. Pieces go into nameless files of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { pieces: Pieces::new(folder, press) }
    }

    /// Compresses a file. The result depends on the file alone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, a piece cannot be written, or `tell` wants an end.
    pub fn pack(&self, file: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
        let packed = self.pieces.pack(file, tell)?;
        let mut whole = Hasher::new();
        for Sum(chunk) in &packed.facts {
            whole.combine(chunk);
        }
        let [a, b, c, d, ..] = file.len().to_le_bytes();
        let trailer = [whole.finalize().to_le_bytes(), [a, b, c, d]].concat();
        let trailer = Blob::from_bytes("gzip trailer", trailer);
        let trailer = if file.own().is_empty() { trailer } else { trailer.owned() };
        let out = Builder::default().bytes("gzip header", HEADER).blob(&packed.blob);
        Ok(out.bytes("gzip, last block", END).blob(&trailer).finish())
    }
}

/// Deflates a chunk, up to a full flush.
fn press(bytes: &[u8]) -> io::Result<(Vec<u8>, Sum)> {
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 64 + 64);
    let mut left = bytes;
    // Deflate is done with a flush when it leaves some of the room.
    while !left.is_empty() || out.len() == out.capacity() {
        out.reserve(64);
        let before = deflate.total_in();
        deflate.compress_vec(left, &mut out, FlushCompress::Full).map_err(io::Error::other)?;
        let taken = usize::try_from(deflate.total_in() - before).map_err(io::Error::other)?;
        left = &left[taken..];
    }
    let mut sum = Hasher::new();
    sum.update(bytes);
    Ok((out, Sum(sum)))
}

/// An archive, not yet compressed, whose one member is `disk.raw`.
///
/// Zeros are left out as GNU tar does with `--format=oldgnu --sparse`: Google asks for that form and
/// Talos' own images have it, an unpacked disk takes no more room than its data, and the runs left
/// out need not be compressed. GNU tar, libarchive, Python and Go read it.
///
/// # Errors
///
/// Where the header does not take the name.
pub fn archive(disk: &Blob, epoch: u32) -> io::Result<Blob> {
    let data = data(disk);
    let taken: u64 = data.iter().map(|range| range.end - range.start).sum();
    // A last range of no length says how long the file is, where that ends with a hole.
    let is_open = data.last().map_or(!disk.is_empty(), |last| last.end < disk.len());
    let end = is_open.then_some(disk.len()..disk.len());
    let map: Vec<Range<u64>> = data.iter().cloned().chain(end).collect();
    let headers = Blob::from_bytes("tar headers", headers(disk.len(), taken, &map, epoch)?);
    // Which runs are zeros may depend on the node.
    let headers = if disk.own().is_empty() { headers } else { headers.owned() };
    let out = data
        .into_iter()
        .fold(Builder::default().blob(&headers), |out, range| out.blob(&disk.slice(range)));
    let end = out.len() + 2 * 512;
    Ok(out.fill_to(align_up(end, RECORD)).finish())
}

/// The ranges that an archive holds, each of whole blocks but for the disk's end.
fn data(disk: &Blob) -> Vec<Range<u64>> {
    let (mut data, mut at) = (Vec::new(), 0);
    for zeros in zero_runs(disk) {
        let start = align_up(zeros.start, HOLE);
        let end = if zeros.end == disk.len() { zeros.end } else { zeros.end / HOLE * HOLE };
        if start < end {
            data.push(at..start);
            at = end;
        }
    }
    data.push(at..disk.len());
    data.retain(|range| range.start < range.end);
    data
}

/// The member's header, and those that go on with its map.
fn headers(len: u64, taken: u64, map: &[Range<u64>], epoch: u32) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_path(MEMBER)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::from(epoch));
    header.set_size(taken);
    let mut rest = &[][..];
    if taken < len {
        header.set_entry_type(EntryType::GNUSparse);
        let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
        gnu.set_real_size(len);
        rest = fill(&mut gnu.sparse, map);
        gnu.set_is_extended(!rest.is_empty());
    } else {
        header.set_entry_type(EntryType::Regular);
    }
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    while !rest.is_empty() {
        let mut more = GnuExtSparseHeader::new();
        rest = fill(more.sparse_mut(), rest);
        more.set_is_extended(!rest.is_empty());
        out.extend(more.as_bytes());
    }
    Ok(out)
}

/// Stores the first ranges; gives those that had no room.
fn fill<'a>(slots: &mut [GnuSparseHeader], map: &'a [Range<u64>]) -> &'a [Range<u64>] {
    let (now, rest) = map.split_at(slots.len().min(map.len()));
    for (slot, range) in slots.iter_mut().zip(now) {
        slot.set_offset(range.start);
        slot.set_length(range.end - range.start);
    }
    rest
}

#[cfg(test)]
mod tests;
