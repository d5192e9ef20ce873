//! Disks for Hyper-V and Azure: VHD, of a fixed size or without zeros.
//!
//! In: a disk. Out: a file's blob.
//!
//! The footer names Windows as its maker: QEMU takes the disk's size from it then, and for unknown
//! makers from cylinders, heads and sectors, which cannot tell most sizes. Nothing in a footer,
//! header or table depends on a node's bytes but the places of blocks that are its own alone.
//!
//! Source: Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0; QEMU
//! `block/vpc.c` for the makers; Azure, "Prepare a Windows VHD or VHDX to upload to Azure", for whole
//! MiB.
//!
//! Not here: how files are written (`file`); differencing disks.

use std::sync::Arc;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::blob::{Blob, Builder};
use crate::layout::guid;
use crate::sink::blocks;
use crate::units::{GIB, MIB, PAYLOAD_ALIGN, Size, align_up};

/// The largest disk that Hyper-V takes.
const MAX: u64 = 2040 * GIB;
/// The bytes of a sector, whatever the disk's.
const SECTOR: u64 = 512;
/// The bytes of a block, the default of Hyper-V.
const BLOCK: u64 = 2 * MIB;
/// The bytes of a block's sector bitmap: a bit a sector.
const BITMAP: usize = 512;
/// The bytes from one block's data to the next one's: its bitmap lies at the end of a page of its
/// own, so that the data lie on pages, as on the disk.
const STRIDE: u64 = BLOCK + PAYLOAD_ALIGN;
/// Where the table lies: after the footer's copy and the header.
const TABLE: u64 = 512 + 1024;
/// The table's entry for a block without data.
const UNUSED: [u8; 4] = [0xff; 4];
/// 2000-01-01 00:00:00 UTC, from which the format counts seconds, in those since 1970.
const TIME_BASE: u32 = 946_684_800;

/// Specification, "Hard Disk Footer Format".
#[derive(Clone, IntoBytes, Immutable)]
#[repr(C)]
struct Footer {
    cookie: [u8; 8],
    features: U32,
    file_format_version: U32,
    data_offset: U64,
    time_stamp: U32,
    creator_application: [u8; 4],
    creator_version: U32,
    creator_host_os: [u8; 4],
    original_size: U64,
    current_size: U64,
    cylinders: U16,
    heads: u8,
    sectors: u8,
    disk_type: U32,
    checksum: U32,
    unique_id: [u8; 16],
    saved_state: u8,
    reserved: [u8; 427],
}
const _: () = assert!(size_of::<Footer>() == 512);

/// Specification, "Dynamic Disk Header Format".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    cookie: [u8; 8],
    data_offset: U64,
    table_offset: U64,
    header_version: U32,
    max_table_entries: U32,
    block_size: U32,
    checksum: U32,
    parent_unique_id: [u8; 16],
    parent_time_stamp: U32,
    reserved: U32,
    parent_unicode_name: [u8; 512],
    parent_locators: [u8; 192],
    reserved_too: [u8; 256],
}
const _: () = assert!(size_of::<Header>() == 1024);

/// Why a disk makes no VHD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VhdError {
    /// The disk is larger than the format can tell.
    #[error("a disk of {0} is too large for VHD, which ends at {most}", most = Size(MAX))]
    TooLarge(Size),
    /// The disk is empty, or no whole number of sectors.
    #[error("a disk of {0} is no VHD: it must be a whole number of sectors of 512 bytes")]
    Sectors(Size),
}

/// A VHD of a fixed size, as Azure takes it: the disk's bytes and a footer, of `epoch` (seconds since
/// 1970).
///
/// Azure refuses disks that are not whole MiB. Such a disk grows by zeros to the next: what boots
/// from it sees a disk that is larger than its partition table says, as after any change of size.
///
/// # Errors
///
/// Where the disk is empty, too large, or no whole number of sectors.
pub fn fixed(disk: &Blob, epoch: u32) -> Result<Blob, VhdError> {
    check(disk.len())?;
    let len = align_up(disk.len(), MIB);
    let footer = Footer::new(len, Kind::Fixed, epoch);
    let file = Builder::default().blob(disk).fill_to(len);
    Ok(file.bytes("vhd footer", footer.as_bytes()).finish())
}

/// A VHD that leaves out blocks without data, of `epoch` (seconds since 1970). The disk's size is
/// kept.
///
/// # Errors
///
/// Where the disk is empty, too large, or no whole number of sectors.
pub fn dynamic(disk: &Blob, epoch: u32) -> Result<Blob, VhdError> {
    check(disk.len())?;
    let blocks = disk.len().div_ceil(BLOCK);
    let runs = blocks::runs(disk, BLOCK);
    let table_len = align_up(blocks * 4, SECTOR);
    let start = align_up(TABLE + table_len + BITMAP as u64, PAYLOAD_ALIGN);
    // The places are those of the bitmaps.
    let entry = |bytes: &mut Vec<u8>, _: u64, n: u64| {
        let sector = (start + n * STRIDE - BITMAP as u64) / SECTOR;
        bytes.extend(number(sector).to_be_bytes());
    };
    let unused = Blob::from_bytes("vhd table", UNUSED.repeat(1024));
    let gap = |mut out: Builder, range: std::ops::Range<u64>| {
        let mut left = (range.end - range.start) * 4;
        while left > 0 {
            let now = left.min(unused.len());
            out = out.blob(&unused.slice(0..now));
            left -= now;
        }
        out
    };
    let table = blocks::table("vhd table", table_len / 4, &runs, entry, gap);
    let footer = Footer::new(disk.len(), Kind::Dynamic, epoch);
    let mut file = Builder::default()
        .bytes("vhd footer", footer.as_bytes())
        .bytes("vhd header", Header::new(blocks).as_bytes())
        .blob(&table);
    let (space, map): (Arc<str>, Arc<str>) = ("gap".into(), "vhd bitmap".into());
    let bitmap: Arc<[u8]> = [0xff; BITMAP].into();
    let mut at = start;
    for block in runs.iter().flat_map(|run| run.blocks.clone()) {
        let before = at - BITMAP as u64 - file.len();
        file = file.zeros(space.clone(), before).bytes(map.clone(), bitmap.clone());
        file = file.blob(&blocks::data(disk, &(block..block + 1), BLOCK));
        at += STRIDE;
    }
    Ok(file.bytes("vhd footer", footer.as_bytes()).finish())
}

fn check(len: u64) -> Result<(), VhdError> {
    match len {
        0 => Err(VhdError::Sectors(Size(0))),
        len if len > MAX => Err(VhdError::TooLarge(Size(len))),
        len if !len.is_multiple_of(SECTOR) => Err(VhdError::Sectors(Size(len))),
        _ => Ok(()),
    }
}

fn number(n: u64) -> u32 {
    u32::try_from(n).expect("a file of 2040 GiB and its bitmaps has fewer than 2^32 sectors")
}

#[derive(Clone, Copy)]
enum Kind {
    Fixed = 2,
    Dynamic = 3,
}

impl Footer {
    fn new(len: u64, kind: Kind, epoch: u32) -> Self {
        let (cylinders, heads, sectors) = geometry(len / SECTOR);
        let data_offset = match kind {
            Kind::Fixed => u64::MAX,
            Kind::Dynamic => size_of::<Self>() as u64,
        };
        let mut footer = Self {
            cookie: *b"conectix",
            // "Reserved", which is always set.
            features: U32::new(2),
            file_format_version: U32::new(0x0001_0000),
            data_offset: U64::new(data_offset),
            time_stamp: U32::new(epoch.saturating_sub(TIME_BASE)),
            creator_application: *b"win ",
            creator_version: U32::new(0x000a_0000),
            creator_host_os: *b"Wi2k",
            original_size: U64::new(len),
            current_size: U64::new(len),
            cylinders: U16::new(cylinders),
            heads,
            sectors,
            disk_type: U32::new(kind as u32),
            checksum: U32::new(0),
            unique_id: guid::of_label(&format!("talforge vhd {len}")).into_bytes(),
            saved_state: 0,
            reserved: [0; 427],
        };
        footer.checksum = U32::new(checksum(footer.as_bytes()));
        footer
    }
}

impl Header {
    fn new(blocks: u64) -> Self {
        let mut header = Self {
            cookie: *b"cxsparse",
            data_offset: U64::new(u64::MAX),
            table_offset: U64::new(TABLE),
            header_version: U32::new(0x0001_0000),
            max_table_entries: U32::new(number(blocks)),
            block_size: U32::new(number(BLOCK)),
            checksum: U32::new(0),
            parent_unique_id: [0; 16],
            parent_time_stamp: U32::new(0),
            reserved: U32::new(0),
            parent_unicode_name: [0; 512],
            parent_locators: [0; 192],
            reserved_too: [0; 256],
        };
        header.checksum = U32::new(checksum(header.as_bytes()));
        header
    }
}

/// The one's complement of the sum of the bytes, the checksum's own being 0.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>()
}

/// Cylinders, heads and sectors for so many sectors; specification, "Appendix: CHS Calculation".
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let sectors = sectors.min(65535 * 16 * 255);
    let (heads, per_track) = if sectors >= 65535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        match () {
            () if heads <= 16 && tracks < heads * 1024 => (heads, 17),
            () if sectors / 31 < 16 * 1024 => (16, 31),
            () => (16, 63),
        }
    };
    let cylinders = sectors / per_track / heads;
    let small = |n: u64| u8::try_from(n).expect("there are 255 heads and sectors at most");
    let cylinders = u16::try_from(cylinders).expect("there are 65535 cylinders at most");
    (cylinders, small(heads), small(per_track))
}

#[cfg(test)]
mod tests;
