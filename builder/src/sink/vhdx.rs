//! Disks for Hyper-V: VHDX.
//!
//! In: a disk. Out: a file's blob.
//!
//! The log is empty and both headers are valid, as after a clean shutdown. Blocks without data have
//! the state "zero": the default state, "not present", lets a reader give whatever it likes. Nothing
//! but the places of blocks that are one node's own alone depends on a node's bytes.
//!
//! Source: Microsoft, [MS-VHDX] 7.0; QEMU `block/vhdx.c` for what Hyper-V wants of block states.
//!
//! Not here: how files are written (`file`); differencing disks, logs.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::blob::{Blob, Builder};
use crate::layout::guid;
use crate::sink::blocks;
use crate::units::{GIB, KIB, MIB, SectorSize, Size, align_up};

/// The largest disk of the format.
const MAX: u64 = 64 * 1024 * GIB;
/// The bytes of a block: the least, as Microsoft advises for Linux.
const BLOCK: u64 = MIB;
/// Where the parts of the file lie that have a fixed place, section 2.2.
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const REGION_TABLES: [u64; 2] = [192 * KIB, 256 * KIB];
/// Where the others lie.
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const BAT: u64 = 3 * MIB;
/// Where in its region the metadata's first item lies, behind the table; its least.
const ITEMS: u32 = 64 << 10;

/// Section 2.5.1.1, the states "zero" and "fully present".
const ZERO: u64 = 2;
const PRESENT: u64 = 6;

const BAT_REGION: Uuid = Uuid::from_u128(0x2dc27766_f623_4200_9d64_115e9bfd4a08);
const METADATA_REGION: Uuid = Uuid::from_u128(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);

const FILE_PARAMETERS: Uuid = Uuid::from_u128(0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b);
const VIRTUAL_DISK_SIZE: Uuid = Uuid::from_u128(0x2fa54224_cd1b_4876_b211_5dbed83bf4b8);
const VIRTUAL_DISK_ID: Uuid = Uuid::from_u128(0xbeca12ab_b2e6_4523_93ef_c309e000c746);
const LOGICAL_SECTOR_SIZE: Uuid = Uuid::from_u128(0x8141bf1d_a96f_4709_ba47_f233a8faab5f);
const PHYSICAL_SECTOR_SIZE: Uuid = Uuid::from_u128(0xcda348c7_445d_4471_9cc9_e9885251c556);

/// Section 2.2.2.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    checksum: U32,
    sequence_number: U64,
    file_write_guid: [u8; 16],
    data_write_guid: [u8; 16],
    log_guid: [u8; 16],
    log_version: U16,
    version: U16,
    log_length: U32,
    log_offset: U64,
    reserved: [u8; 4016],
}
const _: () = assert!(size_of::<Header>() == 4096);

/// Section 2.2.3.1.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RegionTableHeader {
    signature: [u8; 4],
    checksum: U32,
    entry_count: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<RegionTableHeader>() == 16);

/// Section 2.2.3.2.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RegionTableEntry {
    guid: [u8; 16],
    file_offset: U64,
    length: U32,
    required: U32,
}
const _: () = assert!(size_of::<RegionTableEntry>() == 32);

/// Section 2.6.1.1.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MetadataTableHeader {
    signature: [u8; 8],
    reserved: U16,
    entry_count: U16,
    reserved_too: [u8; 20],
}
const _: () = assert!(size_of::<MetadataTableHeader>() == 32);

/// Section 2.6.1.2.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MetadataTableEntry {
    item_id: [u8; 16],
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<MetadataTableEntry>() == 32);

/// Why a disk makes no VHDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VhdxError {
    /// The disk is larger than the format can tell.
    #[error("a disk of {0} is too large for VHDX, which ends at {most}", most = Size(MAX))]
    TooLarge(Size),
    /// The disk is empty, or no whole number of sectors.
    #[error("a disk of {len} is no VHDX: it must be a whole number of sectors of {sector}")]
    Sectors {
        /// The disk's length.
        len: Size,
        /// A sector's length.
        sector: Size,
    },
}

/// A VHDX that leaves out blocks without data, of a disk with sectors of this size.
///
/// # Errors
///
/// Where the disk is empty, too large, or no whole number of sectors.
pub fn dynamic(disk: &Blob, sector: SectorSize) -> Result<Blob, VhdxError> {
    let len = disk.len();
    if len > MAX {
        return Err(VhdxError::TooLarge(Size(len)));
    }
    if len == 0 || !len.is_multiple_of(sector.bytes()) {
        return Err(VhdxError::Sectors { len: Size(len), sector: Size(sector.bytes()) });
    }
    let runs = blocks::runs(disk, BLOCK);
    let shape = Shape::of(len, sector);
    let bat_len = align_up(shape.entries * 8, MIB);
    let start = BAT + bat_len;
    let entry = |bytes: &mut Vec<u8>, block: u64, n: u64| {
        let place = start / MIB + n;
        bytes.extend((place << 20 | PRESENT).to_le_bytes());
        if shape.has_bitmap_after(block) {
            bytes.extend([0; 8]);
        }
    };
    let zeros = shape.zero_entries();
    let gap = |out: Builder, range: Range<u64>| shape.gap(out, &zeros, range);
    let bat = blocks::table("vhdx bat", shape.blocks, &runs, entry, gap);
    let mut file = Builder::default().bytes("vhdx identifier", identifier());
    for (place, sequence) in HEADERS.into_iter().zip(1..) {
        file = file.fill_to(place).bytes("vhdx header", header(len, sector, sequence));
    }
    let regions: Arc<[u8]> = region_table(bat_len).into();
    for place in REGION_TABLES {
        file = file.fill_to(place).bytes("vhdx regions", regions.clone());
    }
    file = file.fill_to(METADATA).blob(&metadata(len, sector));
    file = file.fill_to(BAT).blob(&bat).fill_to(start);
    for run in &runs {
        file = file.blob(&blocks::data(disk, &run.blocks, BLOCK));
    }
    Ok(file.finish())
}

/// How the block allocation table has its entries: after those of each chunk, one for the chunk's
/// sector bitmap, which dynamic disks do not use. After the last block's there is none.
struct Shape {
    blocks: u64,
    /// How many blocks a chunk has.
    chunk: u64,
    entries: u64,
}

impl Shape {
    /// Section 2.5.
    fn of(len: u64, sector: SectorSize) -> Self {
        let blocks = len.div_ceil(BLOCK);
        let chunk = (sector.bytes() << 23) / BLOCK;
        Self { blocks, chunk, entries: blocks + (blocks - 1) / chunk }
    }

    fn has_bitmap_after(&self, block: u64) -> bool {
        (block + 1).is_multiple_of(self.chunk) && block + 1 < self.blocks
    }

    /// The entries of one chunk without data, and its bitmap's.
    fn zero_entries(&self) -> Blob {
        let count = usize::try_from(self.chunk.min(self.blocks)).expect("a chunk has few blocks");
        let mut bytes = ZERO.to_le_bytes().repeat(count);
        bytes.extend([0; 8]);
        Blob::from_bytes("vhdx bat", bytes)
    }

    /// Adds entries of blocks without data, by the chunk.
    fn gap(&self, mut out: Builder, zeros: &Blob, range: Range<u64>) -> Builder {
        let mut at = range.start;
        while at < range.end {
            let in_chunk = at % self.chunk;
            let end = range.end.min(at - in_chunk + self.chunk);
            let bitmap = u64::from(self.has_bitmap_after(end - 1));
            let from = in_chunk * 8;
            out = out.blob(&zeros.slice(from..from + (end - at + bitmap) * 8));
            at = end;
        }
        out
    }
}

/// Section 2.2.1.
fn identifier() -> Vec<u8> {
    let creator = "talforge".encode_utf16().flat_map(u16::to_le_bytes);
    b"vhdxfile".iter().copied().chain(creator).collect()
}

fn header(len: u64, sector: SectorSize, sequence: u64) -> Vec<u8> {
    let mut header = Header {
        signature: *b"head",
        checksum: U32::new(0),
        sequence_number: U64::new(sequence),
        file_write_guid: guid_of("file", len, sector),
        data_write_guid: guid_of("data", len, sector),
        // None: there is nothing in the log.
        log_guid: [0; 16],
        log_version: U16::new(0),
        version: U16::new(1),
        log_length: U32::new(1 << 20),
        log_offset: U64::new(LOG),
        reserved: [0; 4016],
    };
    header.checksum = U32::new(crc32c(header.as_bytes()));
    header.as_bytes().to_vec()
}

fn region_table(bat_len: u64) -> Vec<u8> {
    let entry = |guid: Uuid, file_offset, len| RegionTableEntry {
        guid: guid.to_bytes_le(),
        file_offset: U64::new(file_offset),
        length: U32::new(u32::try_from(len).expect("a table of 64 TiB has 513 MiB")),
        required: U32::new(1),
    };
    let entries = [entry(BAT_REGION, BAT, bat_len), entry(METADATA_REGION, METADATA, MIB)];
    let table = |checksum: u32| {
        let head = RegionTableHeader {
            signature: *b"regi",
            checksum: U32::new(checksum),
            entry_count: U32::new(2),
            reserved: U32::new(0),
        };
        let mut bytes = [head.as_bytes(), entries.as_bytes()].concat();
        bytes.resize(64 << 10, 0);
        bytes
    };
    table(crc32c(&table(0)))
}

fn metadata(len: u64, sector: SectorSize) -> Blob {
    // Bit 1: of the virtual disk, not of the file; bit 2: whoever opens the file must know it.
    const OF_FILE: u32 = 4;
    const OF_DISK: u32 = 6;
    let logical = match sector {
        SectorSize::B512 => 512_u32,
        SectorSize::B4096 => 4096,
    };
    // A block's length, and no flags: not of a fixed size, no parent.
    let block = u32::try_from(BLOCK).expect("a block is 1 MiB");
    let parameters = [block.to_le_bytes(), [0; 4]].concat();
    let items: [(Uuid, u32, Vec<u8>); 5] = [
        (FILE_PARAMETERS, OF_FILE, parameters),
        (VIRTUAL_DISK_SIZE, OF_DISK, len.to_le_bytes().to_vec()),
        (VIRTUAL_DISK_ID, OF_DISK, guid_of("disk", len, sector).to_vec()),
        (LOGICAL_SECTOR_SIZE, OF_DISK, logical.to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR_SIZE, OF_DISK, 4096_u32.to_le_bytes().to_vec()),
    ];
    let head = MetadataTableHeader {
        signature: *b"metadata",
        reserved: U16::new(0),
        entry_count: U16::new(5),
        reserved_too: [0; 20],
    };
    let (mut table, mut values) = (head.as_bytes().to_vec(), Vec::new());
    let mut offset = ITEMS;
    for (id, flags, value) in items {
        let length = u32::try_from(value.len()).expect("items are short");
        let entry = MetadataTableEntry {
            item_id: id.to_bytes_le(),
            offset: U32::new(offset),
            length: U32::new(length),
            flags: U32::new(flags),
            reserved: U32::new(0),
        };
        table.extend(entry.as_bytes());
        values.extend(value);
        offset += length;
    }
    let table = Builder::default().bytes("vhdx metadata", table).fill_to(ITEMS.into());
    table.bytes("vhdx metadata", values).finish()
}

/// A GUID that all disks of this shape have: files of many nodes share their headers.
fn guid_of(what: &str, len: u64, sector: SectorSize) -> [u8; 16] {
    guid::of_label(&format!("talforge vhdx {what} {len} {}", sector.bytes())).to_bytes_le()
}

/// CRC-32C (Castagnoli), as RFC 3720, appendix B.4, has it.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

#[cfg(test)]
mod tests;
