//! Hyper-V's disk format.
//!
//! In: a file whose first bytes say that it is one. Out: where the disk's bytes lie.
//!
//! A file with a log to be replayed is refused: to read it is to change it.
//!
//! Source: [MS-VHDX] 7.0, chapter 2.
//!
//! Not here: disks that are differences to others, which are refused.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::map::{Map, Place};
use crate::blob::Blob;
use crate::catalog::value::Format;
use crate::inspect::damage::Damage;
use crate::inspect::field;
use crate::units::MIB;

/// Where the headers and the region tables lie, the first and the second of each.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
/// The length of a region table and of the metadata table.
const TABLE: u64 = 64 << 10;
/// The most entries of either.
const ENTRIES: usize = 2047;
/// The largest disk.
const DISK_LIMIT: u64 = 64 << 40;
/// The longest block allocation table that is read: a disk of 4 TiB in blocks of 1 MiB.
const BAT_LIMIT: u64 = 32 << 20;

/// "Known Region Properties".
const BAT: u128 = 0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08;
const METADATA: u128 = 0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e;
/// "Known Metadata Items".
const FILE_PARAMETERS: u128 = 0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b;
const VIRTUAL_DISK_SIZE: u128 = 0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8;
const VIRTUAL_DISK_ID: u128 = 0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746;
const LOGICAL_SECTOR_SIZE: u128 = 0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f;
const PHYSICAL_SECTOR_SIZE: u128 = 0xcda3_48c7_445d_4471_9cc9_e988_5251_c556;
const PARENT_LOCATOR: u128 = 0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c;

/// A GUID, its first three fields little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Guid {
    data1: U32,
    data2: U16,
    data3: U16,
    data4: [u8; 8],
}

/// "Headers".
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    checksum: U32,
    sequence_number: U64,
    file_write_guid: Guid,
    data_write_guid: Guid,
    log_guid: Guid,
    log_version: U16,
    version: U16,
    log_length: U32,
    log_offset: U64,
}
const _: () = assert!(size_of::<Header>() == 80);

/// "Region Table Header" and, of its entries, "Region Table Entry".
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct TableHeader {
    signature: [u8; 4],
    checksum: U32,
    entry_count: U32,
    reserved: U32,
}

#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RegionEntry {
    guid: Guid,
    file_offset: U64,
    length: U32,
    required: U32,
}
const _: () = assert!(size_of::<RegionEntry>() == 32);

/// "Metadata Table Header" and "Metadata Table Entry".
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MetadataHeader {
    signature: [u8; 8],
    reserved: U16,
    entry_count: U16,
    reserved2: [u8; 20],
}
const _: () = assert!(size_of::<MetadataHeader>() == 32);

#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MetadataEntry {
    item_id: Guid,
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<MetadataEntry>() == 32);

/// What the metadata say of the disk.
#[derive(Debug, Default)]
struct Disk {
    block: u64,
    len: u64,
    sector: u64,
}

impl Guid {
    fn number(self) -> u128 {
        let head = u128::from(self.data1.get()) << 96
            | u128::from(self.data2.get()) << 80
            | u128::from(self.data3.get()) << 64;
        head | u128::from(u64::from_be_bytes(self.data4))
    }
}

/// Reads the tables of a disk.
///
/// # Errors
///
/// [`Damage`] where a checksum is wrong, there is a log to replay, or regions and blocks do not lie
/// as they must.
pub(super) fn open(file: &Blob) -> Result<(&'static str, Map), Damage> {
    let log = log(file)?;
    let (bat, metadata) = regions(file, &log)?;
    let disk = disk(&field::slice(file, "metadata region", metadata.clone())?)?;
    let ratio = (disk.sector << 23) / disk.block;
    let blocks = disk.len.div_ceil(disk.block);
    let entries = blocks + blocks.saturating_sub(1) / ratio;
    if entries * 8 > bat.end - bat.start {
        let wrong = format!("its region has {} bytes", bat.end - bat.start);
        let should = format!("{} for a disk of {} bytes", entries * 8, disk.len);
        return Err(Damage::new("block allocation table", bat.start, wrong).should(should));
    }
    let range = bat.start..bat.start + entries * 8;
    let table = field::bytes(file, "block allocation table", range, BAT_LIMIT)?;
    let mut map = Map::new(file, disk.len);
    let mut taken = vec![0..MIB, log, bat.clone(), metadata];
    for (index, entry) in table.as_chunks().0.iter().enumerate() {
        let (index, entry) = (index as u64, u64::from_le_bytes(*entry));
        let fault = |wrong: String| {
            Err(Damage::new("block allocation table", bat.start + index * 8, wrong))
        };
        if index % (ratio + 1) == ratio {
            match entry {
                0 => continue,
                _ => return fault("there is a bitmap of sectors".to_owned()),
            }
        }
        let start = (entry >> 20) * MIB;
        match entry & 0xf_ffff {
            // Not there, undefined, zeros, unmapped: nothing that a guest may count on.
            0..=3 => map.push(disk.block, Place::Zeros)?,
            6 => {
                taken.push(start..start.saturating_add(disk.block));
                map.push(disk.block, Place::Plain { file: 0, at: start })?;
            }
            state => return fault(format!("a block has the state {state:#x}")),
        }
    }
    check_apart(&mut taken)?;
    Ok((Format::Vhdx.name(), map))
}

/// The log, which is empty.
fn log(file: &Blob) -> Result<Range<u64>, Damage> {
    let mut current: Option<(u64, Header)> = None;
    for at in HEADERS {
        if !is_intact(file, "vhdx header", at, 4096)? {
            continue;
        }
        let header: Header = field::load(file, "vhdx header", at)?;
        let is_newer =
            |(_, old): &(u64, Header)| header.sequence_number.get() > old.sequence_number.get();
        if header.signature == *b"head" && current.as_ref().is_none_or(is_newer) {
            current = Some((at, header));
        }
    }
    let (at, header) = current.ok_or_else(|| {
        Damage::new("vhdx header", HEADERS[0], "neither of both has the right checksum")
    })?;
    let fault = |wrong: String| Damage::new("vhdx header", at, wrong);
    if header.version.get() != 1 {
        return Err(fault(format!("version {} is unknown", header.version.get())).should("1"));
    }
    if header.log_guid.number() != 0 {
        let wrong = "it was not closed: its log is to be replayed".to_owned();
        return Err(fault(wrong).should("a disk that was detached"));
    }
    region(file, header.log_offset.get(), header.log_length.get(), at)
}

/// Whether the structure of `len` bytes at `at` has the checksum that it says.
fn is_intact(file: &Blob, place: &'static str, at: u64, len: u64) -> Result<bool, Damage> {
    let mut bytes = field::bytes(file, place, at..at + len, len)?;
    let stored = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    bytes[4..8].fill(0);
    Ok(crc32c(&bytes) == stored)
}

/// CRC-32C (Castagnoli), of RFC 3720.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let (mut index, mut number) = (0, 0);
        while index < 256 {
            let mut value: u32 = number;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            (index, number) = (index + 1, number + 1);
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ crc >> 8
    })
}

/// A region that must lie on whole MiB behind the headers.
fn region(file: &Blob, start: u64, len: u32, at: u64) -> Result<Range<u64>, Damage> {
    let len = u64::from(len);
    let is_aligned = start >= MIB && start.is_multiple_of(MIB) && len.is_multiple_of(MIB);
    match start.checked_add(len).filter(|end| *end <= file.len()) {
        Some(end) if is_aligned => Ok(start..end),
        _ => {
            let wrong = format!("a region of {len:#x} bytes lies at {start:#x}");
            Err(Damage::new("vhdx region", at, wrong).should("on whole MiB of the file"))
        }
    }
}

/// Where the block allocation table and the metadata lie.
fn regions(file: &Blob, log: &Range<u64>) -> Result<(Range<u64>, Range<u64>), Damage> {
    let mut good = None;
    for at in REGION_TABLES {
        if is_intact(file, "region table", at, TABLE)? {
            good = good.or(Some(at));
        }
    }
    let wrong = "neither of both has the right checksum";
    let at = good.ok_or_else(|| Damage::new("region table", REGION_TABLES[0], wrong))?;
    let fault = |wrong: &str| Damage::new("region table", at, wrong);
    let header: TableHeader = field::load(file, "region table", at)?;
    let count = usize::try_from(header.entry_count.get()).unwrap_or(usize::MAX);
    if header.signature != *b"regi" || count > ENTRIES {
        return Err(fault("its head is damaged"));
    }
    let (mut bat, mut metadata) = (None, None);
    for index in 0..count {
        let place = at + 16 + index as u64 * 32;
        let entry: RegionEntry = field::load(file, "region table", place)?;
        let range = region(file, entry.file_offset.get(), entry.length.get(), place)?;
        let slot = match entry.guid.number() {
            BAT => &mut bat,
            METADATA => &mut metadata,
            _ if entry.required.get() & 1 == 0 => continue,
            _ => return Err(fault("it has an unknown region that must be understood")),
        };
        if slot.replace(range).is_some() {
            return Err(fault("it has a region twice"));
        }
    }
    let (Some(bat), Some(metadata)) = (bat, metadata) else {
        return Err(fault("it lacks the block allocation table or the metadata"));
    };
    check_apart(&mut [log.clone(), bat.clone(), metadata.clone()])?;
    Ok((bat, metadata))
}

fn check_apart(ranges: &mut [Range<u64>]) -> Result<(), Damage> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    match ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => {
            let wrong = "it lies over something else";
            Err(Damage::new("vhdx region or block", pair[1].start, wrong))
        }
        None => Ok(()),
    }
}

/// Reads the metadata.
fn disk(metadata: &Blob) -> Result<Disk, Damage> {
    let fault = |wrong: String| Damage::new("vhdx metadata", 0, wrong);
    let header: MetadataHeader = field::load(metadata, "vhdx metadata", 0)?;
    let count = usize::from(header.entry_count.get());
    if header.signature != *b"metadata" || count > ENTRIES {
        return Err(fault("their head is damaged".to_owned()));
    }
    let mut disk = Disk::default();
    for index in 0..count {
        let at = 32 + index as u64 * 32;
        let entry: MetadataEntry = field::load(metadata, "vhdx metadata", at)?;
        let at = u64::from(entry.offset.get());
        let is_user = entry.flags.get() & 1 != 0;
        let is_required = entry.flags.get() & 4 != 0;
        let number = |len: u64| -> Result<u64, Damage> {
            if u64::from(entry.length.get()) != len || at < TABLE {
                return Err(Damage::new("vhdx metadata item", at, "it is not where it must be"));
            }
            let bytes = field::bytes(metadata, "vhdx metadata item", at..at + len, 8)?;
            Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        match entry.item_id.number() {
            _ if is_user && !is_required => {}
            FILE_PARAMETERS => {
                let parameters = number(8)?;
                if parameters >> 33 & 1 != 0 {
                    return Err(fault("the disk is a difference to another".to_owned()));
                }
                disk.block = parameters & u64::from(u32::MAX);
            }
            VIRTUAL_DISK_SIZE => disk.len = number(8)?,
            LOGICAL_SECTOR_SIZE => disk.sector = number(4)?,
            PHYSICAL_SECTOR_SIZE | VIRTUAL_DISK_ID | PARENT_LOCATOR => {}
            _ if !is_required => {}
            _ => return Err(fault("an unknown item must be understood".to_owned())),
        }
    }
    let Disk { block, len, sector } = disk;
    if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) {
        return Err(fault(format!("its blocks have {block} bytes")).should("1 MiB to 256 MiB"));
    }
    if sector != 512 && sector != 4096 {
        return Err(fault(format!("its sectors have {sector} bytes")).should("512 or 4096"));
    }
    if len == 0 || len > DISK_LIMIT || !len.is_multiple_of(sector) {
        return Err(fault(format!("the disk has {len} bytes")).should("whole sectors"));
    }
    Ok(disk)
}
