//! GUID partition tables, written whole, on the crate `gpt`.
//!
//! In: partitions and their places. Out: a disk's first and last sectors, or the whole disk as a
//! [`Blob`].
//!
//! `gpt` 4 writes what it is given, also partitions that overlap or lie past the disk's end. So all
//! that is wrong with a table is found here before.
//!
//! Source: UEFI Specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"),
//! <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>.
//!
//! Not here: reading tables, and tables of other than 128 entries.

use std::collections::{BTreeMap, BTreeSet};

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use super::recorder::Recorder;
use crate::blob::{Blob, Builder};
use crate::units::{Lba, MIB, SectorSize, Size, align_up};

/// Entries of a table: with them it fills 16 KiB, the least that the specification allows.
const ENTRIES: usize = 128;
/// The bytes of a table's entries.
const ENTRY_BYTES: u64 = 128 * 128;
/// The bytes of the protective MBR that programs may use.
const BOOT_CODE: usize = 440;

/// A disk's partitions.
#[derive(Clone, Debug)]
pub struct Table {
    /// The disk's own GUID.
    pub disk: Uuid,
    /// The disk's logical sectors.
    pub sector: SectorSize,
    /// The disk's length in bytes, a multiple of the sector's.
    pub len: u64,
    /// The partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// The program at the disk's start, for BIOS machines: 440 bytes at most, and none where empty.
    pub boot_code: Vec<u8>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// What it holds, as a well-known GUID.
    pub kind: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its label.
    pub name: PartitionName,
    /// The flags, as the table stores them: bit 2 is "legacy BIOS bootable".
    pub attributes: u64,
    /// Where it lies.
    pub span: Span,
}

/// A partition's label: at most 36 UTF-16 units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionName(String);

impl PartitionName {
    /// Takes the label, or nothing where it is too long or has a NUL, which would end it.
    pub fn new(label: &str) -> Option<Self> {
        let fits = label.encode_utf16().count() <= 36 && !label.contains('\0');
        fits.then(|| Self(label.to_owned()))
    }
}

/// The sectors of a partition. `end` is the first one past it; the table stores the last one in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first sector.
    pub start: Lba,
    /// The first sector past it.
    pub end: Lba,
}

impl Span {
    /// The length in bytes.
    pub fn len(&self, sector: SectorSize) -> u64 {
        self.end.offset(sector) - self.start.offset(sector)
    }
}

/// A table's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The disk's first sectors: protective MBR, header, entries.
    pub primary: Vec<u8>,
    /// The disk's last sectors: entries, header.
    pub backup: Vec<u8>,
}

/// Why partitions make no table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk is no whole number of sectors, or has no room for a table.
    #[error("a disk cannot have {0}: it is too short for a table, or no whole number of sectors")]
    Disk(Size),
    /// There are more partitions than entries.
    #[error("a table holds 128 partitions, not {0}")]
    Count(usize),
    /// The program does not fit before the MBR's own partition table.
    #[error("the boot code has {0} bytes; 440 fit")]
    BootCode(usize),
    /// The partition is empty, or lies where the table does or past the disk's end.
    #[error(
        "partition `{name}` at sectors {start} to {end} does not lie in sectors {from} to {to}"
    )]
    Range {
        /// The partition's label.
        name: String,
        /// Its first sector.
        start: u64,
        /// The first sector past it.
        end: u64,
        /// The first sector for partitions.
        from: u64,
        /// The first sector past all partitions.
        to: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions `{0}` and `{1}` overlap")]
    Overlap(String, String),
    /// The GUID is that of another partition or of the disk, or is zero.
    #[error("partition `{name}` cannot have the GUID {guid}: it is zero, or another's")]
    Guid {
        /// The partition's label.
        name: String,
        /// The GUID.
        guid: Uuid,
    },
    /// The content is longer than its partition, or is for one that is not there or has one already.
    #[error("content of {len} is no content for partition {number}")]
    Content {
        /// The partition's number, from 1.
        number: usize,
        /// The content's length.
        len: Size,
    },
    /// `gpt` refused.
    #[error("the partition table could not be written")]
    Refused(#[from] gpt::GptError),
}

/// Places partitions of these lengths in bytes one after another from `first`, in bytes, on. Each
/// starts at a whole MiB, and is as many whole MiB long as it needs, at least one.
pub fn place(sector: SectorSize, first: u64, lens: &[u64]) -> Vec<Span> {
    let mut next = align_up(first, MIB);
    let lba = |offset: u64| Lba(offset / sector.bytes());
    let mut span = |&len: &u64| {
        let start = next;
        next += align_up(len.max(1), MIB);
        Span { start: lba(start), end: lba(next) }
    };
    lens.iter().map(&mut span).collect()
}

/// The length in bytes, in whole MiB, of the shortest disk that holds partitions at these places.
pub fn least_len(sector: SectorSize, spans: &[Span]) -> u64 {
    let end = spans.iter().map(|span| span.end.offset(sector)).max().unwrap_or(MIB);
    align_up(end + backup_bytes(sector), MIB)
}

/// Writes a table.
///
/// # Errors
///
/// Where the partitions do not make one, see [`GptError`].
pub fn write(table: &Table) -> Result<Written, GptError> {
    check(table)?;
    let mut device = Recorder::new(table.len);
    device.write_at(&protective_mbr(table), 0);
    let block = match table.sector {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    };
    let config = GptConfig::new().writable(true).logical_block_size(block);
    let mut disk = config.create_from_device(device, Some(table.disk))?;
    disk.update_partitions((1..).zip(table.partitions.iter().map(entry)).collect())?;
    let device = disk.write()?;

    let backup_len = backup_bytes(table.sector);
    let read = |offset, len: u64| {
        let mut bytes = vec![0; usize::try_from(len).expect("a table has a few KiB")];
        device.read_at(&mut bytes, offset);
        bytes
    };
    let primary = read(0, table.sector.bytes() + backup_len);
    Ok(Written { primary, backup: read(table.len - backup_len, backup_len) })
}

/// Writes a whole disk: the table, and contents in partitions given by their index.
///
/// # Errors
///
/// Where the partitions make no table, or a content does not fit.
pub fn assemble(table: &Table, contents: &[(usize, Blob)]) -> Result<Blob, GptError> {
    let written = write(table)?;
    let mut placed = BTreeMap::new();
    for (index, content) in contents {
        let error = || GptError::Content { number: index + 1, len: Size(content.len()) };
        let span = table.partitions.get(*index).ok_or_else(error)?.span;
        let is_first = placed.insert(span.start.offset(table.sector), content).is_none();
        if !is_first || content.len() > span.len(table.sector) {
            return Err(error());
        }
    }
    let backup_at = table.len - written.backup.len() as u64;
    let disk = Builder::default().bytes("gpt", written.primary);
    let add = |disk: Builder, (at, content): (u64, &Blob)| disk.fill_to(at).blob(content);
    let disk = placed.into_iter().fold(disk, add).fill_to(backup_at);
    Ok(disk.bytes("gpt, backup", written.backup).finish())
}

/// The bytes of the entries and a header.
fn backup_bytes(sector: SectorSize) -> u64 {
    align_up(ENTRY_BYTES, sector.bytes()) + sector.bytes()
}

fn check(table: &Table) -> Result<(), GptError> {
    let sector = table.sector.bytes();
    let (before, after) =
        (1 + backup_bytes(table.sector) / sector, backup_bytes(table.sector) / sector);
    let to = (table.len / sector).checked_sub(after).filter(|&to| to > before);
    let to = to.filter(|_| table.len.is_multiple_of(sector));
    let to = to.ok_or(GptError::Disk(Size(table.len)))?;
    if table.partitions.len() > ENTRIES {
        return Err(GptError::Count(table.partitions.len()));
    }
    if table.boot_code.len() > BOOT_CODE {
        return Err(GptError::BootCode(table.boot_code.len()));
    }
    check_guids(table)?;
    check_places(table, before, to)
}

fn check_guids(table: &Table) -> Result<(), GptError> {
    let mut seen = BTreeSet::from([Uuid::nil(), table.disk]);
    for Partition { kind, guid, name: PartitionName(name), .. } in &table.partitions {
        // An entry of the kind zero is no partition.
        let bad = if kind.is_nil() { Some(kind) } else { (!seen.insert(*guid)).then_some(guid) };
        if let Some(&guid) = bad {
            return Err(GptError::Guid { name: name.clone(), guid });
        }
    }
    Ok(())
}

fn check_places(table: &Table, from: u64, to: u64) -> Result<(), GptError> {
    let mut sorted: Vec<_> = table.partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.span.start);
    for Partition { span, name: PartitionName(name), .. } in &sorted {
        let (start, end) = (span.start.0, span.end.0);
        if start < from || start >= end || end > to {
            return Err(GptError::Range { name: name.clone(), start, end, from, to });
        }
    }
    match sorted.windows(2).find(|pair| pair[0].span.end > pair[1].span.start) {
        Some(pair) => {
            let name = |partition: &Partition| partition.name.0.clone();
            Err(GptError::Overlap(name(pair[0]), name(pair[1])))
        }
        None => Ok(()),
    }
}

fn protective_mbr(table: &Table) -> [u8; 512] {
    // The field holds 32 bits; a longer disk is given as all ones.
    let sectors = table.len / table.sector.bytes() - 1;
    let mut mbr = ProtectiveMBR::with_lb_size(u32::try_from(sectors).unwrap_or(u32::MAX));
    let mut code = [0; BOOT_CODE];
    code[..table.boot_code.len()].copy_from_slice(&table.boot_code);
    mbr.set_bootcode(code);
    mbr.to_bytes()
}

fn entry(partition: &Partition) -> gpt::partition::Partition {
    gpt::partition::Partition {
        part_type_guid: Type { guid: partition.kind, os: OperatingSystem::None },
        part_guid: partition.guid,
        first_lba: partition.span.start.0,
        last_lba: partition.span.end.0 - 1,
        flags: partition.attributes,
        name: partition.name.0.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Uuid = Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);

    fn partition(number: u128, start: u64, end: u64) -> Partition {
        Partition {
            kind: KIND,
            guid: Uuid::from_u128(number),
            name: PartitionName::new(&format!("P{number}")).unwrap(),
            attributes: 0,
            span: Span { start: Lba(start), end: Lba(end) },
        }
    }

    fn table(sector: SectorSize, partitions: &[Partition]) -> Table {
        let spans: Vec<_> = partitions.iter().map(|partition| partition.span).collect();
        let len = least_len(sector, &spans);
        let (disk, partitions) = (Uuid::from_u128(99), partitions.to_vec());
        Table { disk, sector, len, partitions, boot_code: Vec::new() }
    }

    fn placed(sector: SectorSize, lens: &[u64]) -> Table {
        let spans = place(sector, MIB, lens);
        let of = |(number, span): (u128, &Span)| partition(number, span.start.0, span.end.0);
        table(sector, &(1..).zip(&spans).map(of).collect::<Vec<_>>())
    }

    #[test]
    fn a_disk_is_laid_out_so() {
        let content = |len: usize| Blob::from_bytes("content", vec![7; len]);
        let disk = |sector| {
            let table = placed(sector, &[3 * MIB, 1]);
            assemble(&table, &[(1, content(9)), (0, content(3 << 20))]).unwrap()
        };
        insta::assert_snapshot!(format!("{:?}", disk(SectorSize::B512)), @r"
        0x0000000000      17408 bytes gpt
        0x0000004400    1031168 zeros gap
        0x0000100000    3145728 bytes content
        0x0000400000          9 bytes content
        0x0000400009    2080247 zeros gap
        0x00005fbe00      16896 bytes gpt, backup
        ");
        insta::assert_snapshot!(format!("{:?}", disk(SectorSize::B4096)), @r"
        0x0000000000      24576 bytes gpt
        0x0000006000    1024000 zeros gap
        0x0000100000    3145728 bytes content
        0x0000400000          9 bytes content
        0x0000400009    2076663 zeros gap
        0x00005fb000      20480 bytes gpt, backup
        ");
    }

    /// The fields that others' tools do not show at sectors of 4096 bytes, one by one.
    #[test]
    fn a_header_of_4096_byte_sectors_tells_the_right_places() {
        let table = placed(SectorSize::B4096, &[MIB]);
        let Written { primary, backup } = write(&table).unwrap();
        let sectors = table.len / 4096;
        let (header, entries) = (&primary[4096..4188], &primary[8192..]);
        let (header_2, entries_2) = (&backup[16384..16476], &backup[..16384]);
        let u64_at =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at =
            |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((primary.len(), backup.len()), (6 * 4096, 5 * 4096));
        assert_eq!(entries, entries_2);
        let places = |header| [24, 32, 40, 48, 72].map(|at| u64_at(header, at));
        assert_eq!(places(header), [1, sectors - 1, 6, sectors - 6, 2]);
        assert_eq!(places(header_2), [sectors - 1, 1, 6, sectors - 6, sectors - 5]);
        for header in [header, header_2] {
            assert_eq!(&header[..8], b"EFI PART");
            assert_eq!([8, 12, 80, 84].map(|at| u32_at(header, at)), [0x1_0000, 92, 128, 128]);
            assert_eq!(u32_at(header, 88), crc32fast::hash(entries));
            let unsigned = [&header[..16], &[0; 4], &header[20..]].concat();
            assert_eq!(u32_at(header, 16), crc32fast::hash(&unsigned));
        }
        assert_eq!((u64_at(entries, 32), u64_at(entries, 40)), (256, 511));
    }

    #[test]
    fn the_protective_mbr_covers_the_disk() {
        let mut table = placed(SectorSize::B512, &[MIB]);
        table.boot_code = vec![0x90; 440];
        let mbr = write(&table).unwrap().primary;
        assert_eq!(mbr[..440], [0x90; 440]);
        assert_eq!(mbr[446..454], [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        assert_eq!(mbr[454..458], 1_u32.to_le_bytes());
        assert_eq!(u64::from(mbr[458]) | u64::from(mbr[459]) << 8, table.len / 512 - 1);
        assert_eq!(mbr[462..512], [[0; 48].as_slice(), &[0x55, 0xaa]].concat());
    }

    #[test]
    fn the_same_table_has_the_same_bytes() {
        let table = placed(SectorSize::B512, &[MIB]);
        assert_eq!(write(&table).unwrap(), write(&table).unwrap());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let good = placed(SectorSize::B512, &[MIB, MIB]);
        let error = |change: &dyn Fn(&mut Table)| {
            let mut table = good.clone();
            change(&mut table);
            write(&table).unwrap_err().to_string()
        };
        insta::assert_snapshot!(error(&|t| t.partitions[1].span.start.0 -= 1), @"partitions `P1` and `P2` overlap");
        insta::assert_snapshot!(error(&|t| t.partitions[1].span.end.0 += 4096), @"partition `P2` at sectors 4096 to 10240 does not lie in sectors 34 to 8159");
        insta::assert_snapshot!(error(&|t| t.partitions[0].span.start.0 = 33), @"partition `P1` at sectors 33 to 4096 does not lie in sectors 34 to 8159");
        insta::assert_snapshot!(error(&|t| t.partitions[0].span.end.0 = 2048), @"partition `P1` at sectors 2048 to 2048 does not lie in sectors 34 to 8159");
        insta::assert_snapshot!(error(&|t| t.partitions[1].guid = t.partitions[0].guid), @"partition `P2` cannot have the GUID 00000000-0000-0000-0000-000000000001: it is zero, or another's");
        insta::assert_snapshot!(error(&|t| t.partitions[1].kind = Uuid::nil()), @"partition `P2` cannot have the GUID 00000000-0000-0000-0000-000000000000: it is zero, or another's");
        insta::assert_snapshot!(error(&|t| t.partitions = vec![t.partitions[0].clone(); 129]), @"a table holds 128 partitions, not 129");
        insta::assert_snapshot!(error(&|t| t.boot_code = vec![0; 441]), @"the boot code has 441 bytes; 440 fit");
        insta::assert_snapshot!(error(&|t| t.len += 1), @"a disk cannot have 4194305B: it is too short for a table, or no whole number of sectors");
        insta::assert_snapshot!(error(&|t| t.len = 67 * 512), @"a disk cannot have 34304B: it is too short for a table, or no whole number of sectors");
    }

    #[test]
    fn content_that_does_not_fit_is_refused() {
        let table = placed(SectorSize::B512, &[MIB, MIB]);
        let content = |len: u64| Builder::default().zeros("content", len).finish();
        let error =
            |contents: &[(usize, Blob)]| assemble(&table, contents).unwrap_err().to_string();
        insta::assert_snapshot!(error(&[(0, content(MIB + 1))]), @"content of 1048577B is no content for partition 1");
        insta::assert_snapshot!(error(&[(2, content(1))]), @"content of 1B is no content for partition 3");
        insta::assert_snapshot!(error(&[(1, content(1)), (1, content(1))]), @"content of 1B is no content for partition 2");
    }

    #[test]
    fn names_have_36_units_at_most() {
        assert!(PartitionName::new(&"\u{1f600}".repeat(18)).is_some());
        assert!(PartitionName::new(&"\u{1f600}".repeat(19)).is_none());
        assert!(PartitionName::new("a\0b").is_none());
    }
}
