//! Virtual PC's disk format, fixed and dynamic.
//!
//! In: a file. Out: where the disk's bytes lie, if the file's last sector says that it is one.
//!
//! Source: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! Not here: disks that are differences to others, which are refused.

use std::ops::Range;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::map::{Map, Place};
use crate::blob::Blob;
use crate::catalog::value::Format;
use crate::inspect::damage::Damage;
use crate::inspect::field;

/// The unit of offsets, lengths and bitmaps.
const SECTOR: u64 = 512;
/// An entry of the table: the block is not in the file.
const UNUSED: u32 = u32::MAX;
/// The longest table that is read: 8 TiB in blocks of 2 MiB, more than the format holds.
const TABLE_LIMIT: u64 = 16 << 20;
/// The sizes that blocks may have. The default is 2 MiB.
const BLOCKS: Range<u64> = 4096..(256 << 20) + 1;

/// "Hard Disk Footer Format".
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Footer {
    cookie: [u8; 8],
    features: U32,
    version: U32,
    data_offset: U64,
    time_stamp: U32,
    creator: [U32; 3],
    original_size: U64,
    current_size: U64,
    geometry: [u8; 4],
    disk_type: U32,
    checksum: U32,
    unique_id: [u8; 16],
    saved_state: u8,
    reserved: [u8; 427],
}
const _: () = assert!(size_of::<Footer>() == 512);

/// "Dynamic Disk Header Format".
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    cookie: [u8; 8],
    data_offset: U64,
    table_offset: U64,
    version: U32,
    max_table_entries: U32,
    block_size: U32,
    checksum: U32,
    parent: [u8; 24],
    parent_name: [U16; 256],
    locators: [u8; 192],
    reserved: [u8; 256],
}
const _: () = assert!(size_of::<Header>() == 1024);

/// Reads the tables of a disk, or gives nothing where the file is none.
///
/// # Errors
///
/// [`Damage`] where a checksum is wrong, or tables and blocks do not lie as they must.
pub(super) fn open(file: &Blob) -> Result<Option<(&'static str, Map)>, Damage> {
    if file.len() < SECTOR {
        return Ok(None);
    }
    let end = file.len() - SECTOR;
    let footer: Footer = field::load(file, "vhd footer", end)?;
    let head: [u8; 8] = field::load(file, "vhd footer", 0)?;
    if footer.cookie != *b"conectix" {
        if head == *b"conectix" {
            return Err(Damage::new("vhd footer", end, "it is missing: the file is cut"));
        }
        return Ok(None);
    }
    check_footer(&footer, end)?;
    let disk_len = footer.current_size.get();
    match footer.disk_type.get() {
        2 if disk_len == end => {
            let mut map = Map::new(file, disk_len);
            map.push(disk_len, Place::Plain { file: 0, at: 0 })?;
            Ok(Some((Format::Vhd.name(), map)))
        }
        2 => {
            let wrong = format!("it is of a disk of {disk_len} bytes");
            Err(Damage::new("vhd footer", end, wrong).should(format!("{end}, as in the file")))
        }
        3 => {
            let copy: Footer = field::load(file, "vhd footer", 0)?;
            if copy.as_bytes() != footer.as_bytes() {
                return Err(Damage::new("vhd footer", 0, "the copy differs from the footer"));
            }
            let map = dynamic(file, footer.data_offset.get(), disk_len)?;
            Ok(Some((Format::VhdDynamic.name(), map)))
        }
        4 => Err(Damage::new("vhd footer", end, "it is a difference to another disk")
            .should("a disk of its own")),
        kind => Err(Damage::new("vhd footer", end, format!("disks of kind {kind} are unknown"))),
    }
}

fn check_footer(footer: &Footer, at: u64) -> Result<(), Damage> {
    let fault = |wrong: String| Err(Damage::new("vhd footer", at, wrong));
    let sum = checksum(footer.as_bytes(), footer.checksum);
    if footer.checksum.get() != sum {
        return fault(format!("its checksum is {:#x}, should be {sum:#x}", footer.checksum.get()));
    }
    if footer.version.get() >> 16 != 1 {
        return fault(format!("its version is {:#x}, should be 0x10000", footer.version.get()));
    }
    if footer.saved_state != 0 {
        return fault("it belongs to a machine that was suspended".to_owned());
    }
    if !footer.current_size.get().is_multiple_of(SECTOR) {
        return fault(format!("{} bytes are no whole sectors", footer.current_size.get()));
    }
    Ok(())
}

/// The bytes but those of the checksum added up, every bit turned.
fn checksum(bytes: &[u8], stored: U32) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
    !sum(bytes).wrapping_sub(sum(stored.as_bytes()))
}

fn dynamic(file: &Blob, at: u64, disk_len: u64) -> Result<Map, Damage> {
    let header: Header = field::load(file, "vhd header", at)?;
    let fault = |wrong: String| Damage::new("vhd header", at, wrong);
    if header.cookie != *b"cxsparse" || !at.is_multiple_of(SECTOR) || at < SECTOR {
        return Err(fault("there is none".to_owned()));
    }
    let sum = checksum(header.as_bytes(), header.checksum);
    if header.checksum.get() != sum {
        let text = format!("its checksum is {:#x}, should be {sum:#x}", header.checksum.get());
        return Err(fault(text));
    }
    let block = u64::from(header.block_size.get());
    if !block.is_power_of_two() || !BLOCKS.contains(&block) {
        return Err(fault(format!("its blocks have {block} bytes")).should("2 MiB"));
    }
    let needed = disk_len.div_ceil(block);
    let entries = u64::from(header.max_table_entries.get());
    if entries < needed || entries * 4 > TABLE_LIMIT {
        let wrong = format!("its table has {entries} entries");
        return Err(fault(wrong).should(format!("{needed} for a disk of {disk_len} bytes")));
    }
    let table = header.table_offset.get();
    if table < SECTOR || !table.is_multiple_of(SECTOR) {
        return Err(fault(format!("its table starts at {table:#x}")));
    }
    let range = table..table.saturating_add(needed * 4);
    let bytes = field::bytes(file, "block allocation table", range.clone(), TABLE_LIMIT)?;
    let blocks: Vec<u32> =
        bytes.as_chunks().0.iter().map(|entry| u32::from_be_bytes(*entry)).collect();
    let bitmap = (block / SECTOR / 8).next_multiple_of(SECTOR);
    let taken = [0..SECTOR, at..at + size_of::<Header>() as u64, range];
    check_apart(file, &blocks, bitmap + block, &taken)?;
    let mut map = Map::new(file, disk_len);
    for start in blocks {
        match start {
            UNUSED => map.push(block, Place::Zeros)?,
            start => push_block(file, u64::from(start) * SECTOR, bitmap, block, &mut map)?,
        }
    }
    Ok(map)
}

/// Sees to it that no blocks lie over one another, the tables or the footer.
fn check_apart(file: &Blob, blocks: &[u32], len: u64, taken: &[Range<u64>]) -> Result<(), Damage> {
    let used = blocks.iter().filter(|start| **start != UNUSED).map(|start| u64::from(*start));
    let mut ranges: Vec<_> = used.map(|start| start * SECTOR..start * SECTOR + len).collect();
    ranges.extend(taken.iter().cloned());
    ranges.sort_unstable_by_key(|range| range.start);
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
        return Err(Damage::new("vhd block", pair[1].start, "it lies over something else"));
    }
    match ranges.last() {
        Some(last) if last.end > file.len() - SECTOR => {
            Err(Damage::new("vhd block", last.start, "it ends past the file"))
        }
        _ => Ok(()),
    }
}

/// Adds a block: the sectors of which its bitmap says that they were written.
fn push_block(
    file: &Blob,
    start: u64,
    bitmap_len: u64,
    len: u64,
    map: &mut Map,
) -> Result<(), Damage> {
    let bitmap = field::bytes(file, "vhd bitmap", start..start + bitmap_len, bitmap_len)?;
    let sectors = len.min(map.left()) / SECTOR;
    let data = start + bitmap_len;
    let bits = bitmap.iter().flat_map(|byte| (0..8u32).rev().map(move |bit| byte >> bit & 1));
    for (sector, bit) in (0..sectors).zip(bits) {
        let place = match bit {
            0 => Place::Zeros,
            _ => Place::Plain { file: 0, at: data + sector * SECTOR },
        };
        map.push(SECTOR, place)?;
    }
    Ok(())
}
