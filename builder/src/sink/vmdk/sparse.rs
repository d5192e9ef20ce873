//! VMDKs whose grains are as they are on the disk.
//!
//! In: a disk. Out: a file's blob.
//!
//! Everything is there twice that leads to grains: directory and tables, then the same again. The
//! tables lie side by side, empty ones too, as VMware makes them.
//!
//! Source: VMware, "Virtual Disk Format 5.0", "Hosted Sparse Extents".
//!
//! Not here: compressed ones (`stream`).

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::{
    DESCRIPTOR, DESCRIPTOR_SECTORS, ENTRIES, GRAIN, Header, NEW_LINE_TEST, REDUNDANT, SECTOR,
    TABLE, descriptor,
};
use crate::blob::{Blob, Builder};
use crate::sink::blocks;
use crate::units::align_up;

/// Writes a disk whose length the format has.
pub(super) fn write(disk: &Blob, name: &str) -> Blob {
    let tables = disk.len().div_ceil(GRAIN).div_ceil(ENTRIES);
    let directory_len = align_up(tables * 4, SECTOR);
    // The redundant directory comes first.
    let first = (DESCRIPTOR + DESCRIPTOR_SECTORS) * SECTOR;
    let second = first + directory_len + tables * TABLE;
    let grains = align_up(second + directory_len + tables * TABLE, GRAIN);
    let runs = blocks::runs(disk, GRAIN);
    let entry = |bytes: &mut Vec<u8>, _: u64, n: u64| {
        bytes.extend(number((grains + n * GRAIN) / SECTOR).to_le_bytes());
    };
    let gap = |out: Builder, range: Range<u64>| {
        out.zeros("vmdk grain table", (range.end - range.start) * 4)
    };
    let all_tables = blocks::table("vmdk grain table", tables * ENTRIES, &runs, entry, gap);
    let directory = |at: u64| {
        let place = |table| number((at + directory_len + table * TABLE) / SECTOR).to_le_bytes();
        let bytes: Vec<u8> = (0..tables).flat_map(place).collect();
        Builder::default().bytes("vmdk grain directory", bytes).align(SECTOR).finish()
    };
    let header = Header {
        flags: U32::new(NEW_LINE_TEST | REDUNDANT),
        rgd_offset: U64::new(first / SECTOR),
        gd_offset: U64::new(second / SECTOR),
        over_head: U64::new(grains / SECTOR),
        ..Header::new(disk.len())
    };
    // It has the file's name, which is a node's own.
    let text = descriptor("monolithicSparse", disk.len(), name).into_bytes();
    let mut file = Builder::default()
        .bytes("vmdk header", header.as_bytes())
        .blob(&Blob::from_bytes("vmdk descriptor", text).owned())
        .fill_to(first)
        .blob(&directory(first))
        .blob(&all_tables)
        .blob(&directory(second))
        .blob(&all_tables)
        .fill_to(grains);
    for run in &runs {
        file = file.blob(&blocks::data(disk, &run.blocks, GRAIN));
    }
    file.finish()
}

fn number(n: u64) -> u32 {
    u32::try_from(n).expect("a disk of 2040 GiB and its tables have fewer than 2^32 sectors")
}
