//! Which blocks of a disk have data, and the tables of formats that leave the others out.
//!
//! In: a disk, the bytes of a block. Out: runs of blocks in the order in which files have them, and a
//! table that says where each is.
//!
//! Blocks of one node's own bytes alone come last: so the blocks that nodes have in common lie at the
//! same places in the files of all nodes, also where one node's config fills a block more than
//! another's.
//!
//! Source: none.
//!
//! Not here: what a format writes around its blocks (`vhd`, `vhdx`, `vmdk`).

use std::ops::Range;

use crate::blob::{Blob, Builder, Source};

/// Neighbouring blocks that have data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Their numbers on the disk.
    pub(super) blocks: Range<u64>,
    /// The number of the first in the file, counted in blocks that have data.
    pub(super) first: u64,
    /// Whether none of them has data that nodes have in common.
    pub(super) is_own: bool,
}

/// The runs of a disk's blocks that have data, in the order in which they lie in the file.
pub(super) fn runs(disk: &Blob, block: u64) -> Vec<Run> {
    let shared = touched(disk, block, false);
    let own = touched(disk, block, true);
    let alone = own.iter().flat_map(|range| without(range, &shared)).map(|range| (range, true));
    let mut first = 0;
    let all = shared.iter().map(|range| (range.clone(), false)).chain(alone);
    all.map(|(blocks, is_own)| {
        let run = Run { first, is_own, blocks };
        first += run.blocks.end - run.blocks.start;
        run
    })
    .collect()
}

/// The blocks in which there is data of one node alone, or such as nodes have in common.
pub(super) fn touched(disk: &Blob, block: u64, is_own: bool) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for extent in disk.extents() {
        if matches!(extent.source, Source::Zeros) || extent.is_own != is_own {
            continue;
        }
        let range = extent.start / block..extent.end().div_ceil(block);
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = range.end,
            _ => out.push(range),
        }
    }
    out
}

/// What is left of a range without `holes`, which are in order and apart.
fn without(range: &Range<u64>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    let mut from = range.start;
    let first = holes.partition_point(|hole| hole.end <= range.start);
    for hole in holes[first..].iter().take_while(|hole| hole.start < range.end) {
        out.push(from..hole.start);
        from = hole.end;
    }
    out.push(from..range.end);
    out.retain(|range| range.start < range.end);
    out
}

/// The bytes of neighbouring blocks; zeros where the last one is cut short by the disk's end.
pub(super) fn data(disk: &Blob, blocks: &Range<u64>, block: u64) -> Blob {
    let range = blocks.start * block..blocks.end * block;
    let whole = range.end - range.start;
    let data = disk.slice(range.start..range.end.min(disk.len()));
    match whole - data.len() {
        0 => data,
        rest => Builder::default().blob(&data).zeros("after the disk", rest).finish(),
    }
}

/// A table with entries for `blocks` blocks, in the disk's order.
///
/// `entry` adds that of a block which is the n-th in the file: `entry(bytes, block, n)`. `gap` adds
/// those of neighbouring blocks without data. Entries of blocks that are one node's own are too.
pub(super) fn table(
    label: &str,
    blocks: u64,
    runs: &[Run],
    entry: impl Fn(&mut Vec<u8>, u64, u64),
    gap: impl Fn(Builder, Range<u64>) -> Builder,
) -> Blob {
    let mut sorted: Vec<&Run> = runs.iter().collect();
    sorted.sort_by_key(|run| run.blocks.start);
    let (mut out, mut next) = (Builder::default(), 0);
    for run in sorted {
        let mut bytes = Vec::new();
        for (block, n) in run.blocks.clone().zip(run.first..) {
            entry(&mut bytes, block, n);
        }
        let entries = Blob::from_bytes(label, bytes);
        out = gap(out, next..run.blocks.start);
        out = out.blob(&if run.is_own { entries.owned() } else { entries });
        next = run.blocks.end;
    }
    gap(out, next..blocks).finish()
}

#[cfg(test)]
pub(super) mod tests;
