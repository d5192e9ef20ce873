//! Which blocks of a disk are to be written, for `bmaptool` and flashers that know its files.
//!
//! In: a disk. Out: a block map, version 2.0.
//!
//! What may be left out is what is known to be zeros and to mean nothing (`free`): not zeros of a
//! file allocation table, or of a partition whose content is not known, because there what a used
//! medium held before would stay. Ranges are cut where one node's own bytes begin and end, so that
//! those that nodes have in common are hashed for the first of them.
//!
//! Source: yoctoproject/bmaptool `bmaptool/BmapCreate.py` and `BmapHelpers.py`, for the format.
//!
//! Not here: how files are written (`file`).

mod free;

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::blob::Blob;
use crate::digest::Digest;
use crate::sink::pieces::{own_parts, zero_runs};
use crate::units::{KIB, align_up};

/// The bytes of a block.
const BLOCK: u64 = 4 * KIB;

/// How many ranges' digests are kept, and the bytes of the shortest that is worth it.
const KNOWN: usize = 64;
const WORTH: u64 = 64 * KIB;

/// What stands for the checksum of the map where that is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What makes block maps, with memory of what it hashed.
#[derive(Debug, Default)]
pub struct Mapper {
    known: Mutex<Vec<(Blob, Digest)>>,
}

impl Mapper {
    /// The map of a disk, as XML.
    ///
    /// # Errors
    ///
    /// Where the disk cannot be read.
    pub fn render(&self, disk: &Blob) -> io::Result<Vec<u8>> {
        let mapped = mapped(disk)?;
        let blocks: u64 = mapped.iter().map(|r| r.end.div_ceil(BLOCK) - r.start / BLOCK).sum();
        let mut ranges = String::new();
        for range in &mapped {
            let (first, last) = (range.start / BLOCK, range.end.div_ceil(BLOCK) - 1);
            let digest = self.digest(disk.slice(range.clone()))?;
            let place = if first == last { first.to_string() } else { format!("{first}-{last}") };
            writeln!(ranges, r#"        <Range chksum="{digest}"> {place} </Range>"#)
                .expect("a string takes any text");
        }
        let map = |checksum: &str| {
            format!(
                r#"<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {len} </ImageSize>
    <BlockSize> {BLOCK} </BlockSize>
    <BlocksCount> {count} </BlocksCount>
    <MappedBlocksCount> {blocks} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {checksum} </BmapFileChecksum>
    <BlockMap>
{ranges}    </BlockMap>
</bmap>
"#,
                len = disk.len(),
                count = disk.len().div_ceil(BLOCK),
            )
        };
        let checksum = Digest::of(map(BLANK).as_bytes());
        Ok(map(&checksum.to_string()).into_bytes())
    }

    /// The digest of a range; from memory, where nodes have it in common.
    fn digest(&self, range: Blob) -> io::Result<Digest> {
        if range.len() < WORTH || !range.own().is_empty() {
            return Digest::of_blob(&range);
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = known().iter().find(|(blob, _)| blob.is_same(&range)) {
            return Ok(*digest);
        }
        let digest = Digest::of_blob(&range)?;
        let mut known = known();
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push((range, digest));
        Ok(digest)
    }
}

/// The ranges to be written: whole blocks but for the disk's end, in order, cut around own bytes.
fn mapped(disk: &Blob) -> io::Result<Vec<Range<u64>>> {
    let zeros: Vec<Range<u64>> = zero_runs(disk).collect();
    let free = free::ranges(disk)?;
    let mut cuts: Vec<u64> =
        own_parts(disk).into_iter().flat_map(|part| [part.start, part.end]).collect();
    cuts.push(disk.len());
    let mut cuts = cuts.into_iter().peekable();
    let (mut mapped, mut at) = (Vec::new(), 0);
    let mut map_to = |from: u64, to: u64| {
        let mut from = from;
        while from < to {
            while cuts.next_if(|cut| *cut <= from).is_some() {}
            let end = cuts.peek().map_or(to, |cut| to.min(*cut));
            mapped.push(from..end);
            from = end;
        }
    };
    for gap in both(&zeros, &free) {
        let start = align_up(gap.start, BLOCK);
        let end = if gap.end == disk.len() { gap.end } else { gap.end / BLOCK * BLOCK };
        if start < end {
            map_to(at, start);
            at = end;
        }
    }
    map_to(at, disk.len());
    Ok(mapped)
}

/// What lies in ranges of both lists; each is in order.
fn both(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut out, mut i, mut j) = (Vec::new(), 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (start, end) = (x.start.max(y.start), x.end.min(y.end));
        if start < end {
            out.push(start..end);
        }
        if x.end <= y.end { i += 1 } else { j += 1 }
    }
    out
}

#[cfg(test)]
mod tests;
