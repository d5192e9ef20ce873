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
use std::ops::Range;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use super::recorder::Recorder;
use crate::blob::{Blob, Builder};
use crate::units::{Lba, MIB, SectorSize, Size, align_up};

/// Where a table's entries lie if nothing is in their way: behind MBR and header.
pub const ENTRIES: Lba = Lba(2);

/// The furthest that entries are moved back; it keeps sums within 64 bits.
const MAX_ENTRIES: Lba = Lba(1 << 32);

/// Entries of a table: with them it fills 16 KiB, the least that the specification allows.
const COUNT: usize = 128;
/// The bytes of a table's entries.
const ENTRY_BYTES: u64 = 128 * 128;
/// The bytes of a header that its checksum covers.
const HEADER_BYTES: usize = 92;
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
    /// Where the entries lie: [`ENTRIES`], or further back where a board's firmware needs the room
    /// before them, see [`entries_before`].
    pub entries: Lba,
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
    /// The disk's first sectors: protective MBR, header, and the entries where they follow.
    pub primary: Vec<u8>,
    /// The entries where they lie further back, and at which byte.
    pub moved: Option<(u64, Vec<u8>)>,
    /// The disk's last sectors: entries, header.
    pub backup: Vec<u8>,
}

/// Why partitions make no table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk is no whole number of sectors, or has no room for a table.
    #[error("a disk cannot have {0}: it is too short for a table, or no whole number of sectors")]
    Disk(Size),
    /// The entries would lie where MBR and header do, or nowhere near.
    #[error("a table's entries lie at sectors 2 to 2^32, not at {0}")]
    Entries(u64),
    /// What is written to the disk itself lies where something else does.
    #[error("{len} at byte {at} of the disk lie in the way of a table, a partition or each other")]
    Raw {
        /// The byte of the disk at which it starts.
        at: u64,
        /// Its length.
        len: Size,
    },
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

/// Where the entries lie on a disk whose first partition starts at the byte `first`, a whole MiB: as
/// far behind MBR and header as the partition is behind the first MiB. Talos has it the other way
/// about: it skips sectors before the entries, and the partition starts at the next MiB behind them.
pub fn entries_before(sector: SectorSize, first: u64) -> Lba {
    Lba(ENTRIES.0 + first.saturating_sub(MIB) / sector.bytes())
}

/// The bytes of a disk at which its entries lie.
pub fn entry_bytes(sector: SectorSize, entries: Lba) -> Range<u64> {
    let start = entries.offset(sector);
    start..start + align_up(ENTRY_BYTES, sector.bytes())
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
        let mut bytes = vec![0; index(len)];
        device.read_at(&mut bytes, offset);
        bytes
    };
    let primary = read(0, table.sector.bytes() + backup_len);
    let backup = read(table.len - backup_len, backup_len);
    let written = Written { primary, moved: None, backup };
    Ok(if table.entries == ENTRIES { written } else { moved(table, written) })
}

/// Moves the entries back, for which `gpt` has no call. The backup's stay before its header.
fn moved(table: &Table, mut written: Written) -> Written {
    let sector = table.sector.bytes();
    let first_usable = first_usable(table).to_le_bytes();
    let entries = written.primary.split_off(index(ENTRIES.offset(table.sector)));
    let header = index(sector);
    written.primary[header + 72..header + 80].copy_from_slice(&table.entries.0.to_le_bytes());
    let backup_header = written.backup.len() - header;
    for (bytes, at) in [(&mut written.primary, header), (&mut written.backup, backup_header)] {
        let header = &mut bytes[at..at + HEADER_BYTES];
        header[40..48].copy_from_slice(&first_usable);
        header[16..20].fill(0);
        let sum = crc32fast::hash(header).to_le_bytes();
        header[16..20].copy_from_slice(&sum);
    }
    Written { moved: Some((table.entries.offset(table.sector), entries)), ..written }
}

/// A place in a table's bytes.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("a table has a few KiB")
}

/// The first sector for partitions: the one behind the entries, and behind entries that were moved
/// the next whole MiB, as Talos has it.
fn first_usable(table: &Table) -> u64 {
    let end = entry_bytes(table.sector, table.entries).end;
    let end = if table.entries == ENTRIES { end } else { align_up(end, MIB) };
    end / table.sector.bytes()
}

/// Writes a whole disk: the table, contents in partitions given by their index, and what is written
/// to the disk itself, at its bytes.
///
/// # Errors
///
/// Where the partitions make no table, a content does not fit, or something is in another's way.
pub fn assemble(
    table: &Table,
    contents: &[(usize, Blob)],
    raw: &[(u64, Blob)],
) -> Result<Blob, GptError> {
    let written = write(table)?;
    let front = Builder::default().bytes("gpt", written.primary).finish();
    let mut placed = BTreeMap::from([(0, front)]);
    if let Some((at, entries)) = written.moved {
        placed.insert(at, Builder::default().bytes("gpt, entries", entries).finish());
    }
    let room = first_usable(table) * table.sector.bytes();
    for (at, blob) in raw {
        let error = || GptError::Raw { at: *at, len: Size(blob.len()) };
        let end = at.checked_add(blob.len()).filter(|&end| end <= room).ok_or_else(error)?;
        let is_free = placed.range(..end).next_back().is_none_or(|(at_2, b)| at_2 + b.len() <= *at);
        if !is_free || placed.insert(*at, blob.clone()).is_some() {
            return Err(error());
        }
    }
    for (index, content) in contents {
        let error = || GptError::Content { number: index + 1, len: Size(content.len()) };
        let span = table.partitions.get(*index).ok_or_else(error)?.span;
        let is_first = placed.insert(span.start.offset(table.sector), content.clone()).is_none();
        if !is_first || content.len() > span.len(table.sector) {
            return Err(error());
        }
    }
    let backup_at = table.len - written.backup.len() as u64;
    let add = |disk: Builder, (at, content): (u64, &Blob)| disk.fill_to(at).blob(content);
    let disk = placed.iter().map(|(at, blob)| (*at, blob)).fold(Builder::default(), add);
    Ok(disk.fill_to(backup_at).bytes("gpt, backup", written.backup).finish())
}

/// The bytes of the entries and a header.
fn backup_bytes(sector: SectorSize) -> u64 {
    align_up(ENTRY_BYTES, sector.bytes()) + sector.bytes()
}

fn check(table: &Table) -> Result<(), GptError> {
    let sector = table.sector.bytes();
    if !(ENTRIES..=MAX_ENTRIES).contains(&table.entries) {
        return Err(GptError::Entries(table.entries.0));
    }
    let (before, after) = (first_usable(table), backup_bytes(table.sector) / sector);
    let to = (table.len / sector).checked_sub(after).filter(|&to| to > before);
    let to = to.filter(|_| table.len.is_multiple_of(sector));
    let to = to.ok_or(GptError::Disk(Size(table.len)))?;
    if table.partitions.len() > COUNT {
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
        Table { disk, sector, len, entries: ENTRIES, partitions, boot_code: Vec::new() }
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
            assemble(&table, &[(1, content(9)), (0, content(3 << 20))], &[]).unwrap()
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
        let Written { primary, backup, .. } = write(&table).unwrap();
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
            |contents: &[(usize, Blob)]| assemble(&table, contents, &[]).unwrap_err().to_string();
        insta::assert_snapshot!(error(&[(0, content(MIB + 1))]), @"content of 1048577B is no content for partition 1");
        insta::assert_snapshot!(error(&[(2, content(1))]), @"content of 1B is no content for partition 3");
        insta::assert_snapshot!(error(&[(1, content(1)), (1, content(1))]), @"content of 1B is no content for partition 2");
    }

    /// Rockchip's disks: Talos skips 20480 sectors.
    fn rockchip() -> Table {
        let entries = entries_before(SectorSize::B512, 11 * MIB);
        let spans = place(SectorSize::B512, 11 * MIB, &[MIB]);
        let table = table(SectorSize::B512, &[partition(1, spans[0].start.0, spans[0].end.0)]);
        Table { entries, ..table }
    }

    #[test]
    fn moved_entries_lie_where_talos_has_them() {
        let table = rockchip();
        assert_eq!(table.entries, Lba(20_482));
        assert_eq!(entries_before(SectorSize::B512, 2 * MIB), Lba(2050));
        assert_eq!(entries_before(SectorSize::B512, MIB), ENTRIES);
        let plain = write(&Table { entries: ENTRIES, ..table.clone() }).unwrap();
        let Written { primary, moved, backup } = write(&table).unwrap();
        let (at, entries) = moved.unwrap();
        assert_eq!((at, entries.as_slice()), (20_482 * 512, &plain.primary[1024..]));
        let last = table.len / 512 - 1;
        let header = |bytes: &[u8]| {
            let unsigned = [&bytes[..16], &[0; 4], &bytes[20..92]].concat();
            assert_eq!(bytes[16..20], crc32fast::hash(&unsigned).to_le_bytes());
            [24, 32, 40, 48, 72].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
        };
        assert_eq!(primary.len(), 1024);
        assert_eq!(header(&primary[512..]), [1, last, 22_528, last - 33, 20_482]);
        let second = &backup[backup.len() - 512..];
        assert_eq!(header(second), [last, 1, 22_528, last - 33, last - 32]);
        assert_eq!(backup[..16384], entries);
    }

    #[test]
    fn what_is_written_to_the_disk_itself_is_in_nobodys_way() {
        let table = rockchip();
        let content = |len: u64| Builder::default().zeros("content", len).finish();
        let disk = |raw: &[(u64, u64)]| {
            let raw: Vec<_> = raw.iter().map(|&(at, len)| (at, content(len))).collect();
            assemble(&table, &[(0, content(9))], &raw).map_err(|error| error.to_string())
        };
        let entries = 20_482 * 512;
        let blob = disk(&[(entries + 16_384, 7), (32_768, entries - 32_768)]).unwrap();
        insta::assert_snapshot!(format!("{blob:?}"), @r"
        0x0000000000       1024 bytes gpt
        0x0000000400      31744 zeros gap
        0x0000008000   10454016 zeros content
        0x0000a00400      16384 bytes gpt, entries
        0x0000a04400          7 zeros content
        0x0000a04407    1031161 zeros gap
        0x0000b00000          9 zeros content
        0x0000b00009    2080247 zeros gap
        0x0000cfbe00      16896 bytes gpt, backup
        ");
        let error = |raw: &[(u64, u64)]| disk(raw).unwrap_err();
        insta::assert_snapshot!(error(&[(32_768, entries - 32_767)]), @"10454017B at byte 32768 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(1023, 1)]), @"1B at byte 1023 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(entries + 16_383, 1)]), @"1B at byte 10503167 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(11 * MIB - 1, 2)]), @"2B at byte 11534335 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(8192, 2), (8193, 2)]), @"2B at byte 8193 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(8192, 2), (8191, 2)]), @"2B at byte 8191 of the disk lie in the way of a table, a partition or each other");
        insta::assert_snapshot!(error(&[(u64::MAX, 2)]), @"2B at byte 18446744073709551615 of the disk lie in the way of a table, a partition or each other");
        for entries in [1, 1 << 33] {
            let table = Table { entries: Lba(entries), ..rockchip() };
            assert!(matches!(write(&table), Err(GptError::Entries(_))));
        }
    }

    #[test]
    fn names_have_36_units_at_most() {
        assert!(PartitionName::new(&"\u{1f600}".repeat(18)).is_some());
        assert!(PartitionName::new(&"\u{1f600}".repeat(19)).is_none());
        assert!(PartitionName::new("a\0b").is_none());
    }
}
