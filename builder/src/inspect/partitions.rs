//! Partition tables as firmware and kernel read them: plain MBR, and GPT in sectors of 512 or 4096
//! bytes.
//!
//! In: a disk. Out: its partitions, every checksum and range checked.
//!
//! Source: UEFI Specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"),
//! <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>.
//!
//! Not here: what the partitions hold, extended MBR partitions, writing tables.

use std::fmt;
use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::damage::Damage;
use super::field;
use crate::blob::Blob;
use crate::units::{MIB, SectorSize};

/// The longest entry array that is read: eight times what any tool writes.
const TABLE_LIMIT: u64 = MIB;

/// A GUID in the mixed-endian order that GPT stores. It prints in the usual form, lower case.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Guid(pub [u8; 16]);

/// The type of an EFI system partition: `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
pub const EFI_SYSTEM: Guid = Guid([
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
]);

/// The MBR type of an EFI system partition.
const MBR_EFI_SYSTEM: u8 = 0xef;
/// The MBR type that says "look at the GPT".
const MBR_PROTECTIVE: u8 = 0xee;
/// The MBR types of extended partitions.
const MBR_EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        stored.iter().enumerate().try_for_each(|(i, &at)| {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02x}", self.0[at])
        })
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A disk's partitions.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which kind of table it is.
    pub scheme: Scheme,
    /// The partitions, in the table's order.
    pub partitions: Vec<Partition>,
    /// What is odd but stops nothing.
    pub notes: Vec<String>,
    /// Where its own parts lie, by name.
    pub structures: Vec<(Range<u64>, &'static str)>,
}

/// The kind of a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A master boot record; sectors of 512 bytes.
    Mbr,
    /// A GUID partition table.
    Gpt {
        /// The size of the sectors that it counts in.
        sector: SectorSize,
        /// The disk's own GUID.
        disk: Guid,
    },
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: its slot in the table.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// Its label; empty in an MBR.
    pub name: String,
    /// Its own GUID; nothing in an MBR.
    pub guid: Option<Guid>,
    /// GPT attribute bits; 0 in an MBR.
    pub attributes: u64,
    /// Its bytes on the disk.
    pub range: Range<u64>,
}

/// A partition's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An MBR type.
    Mbr(u8),
    /// A GPT type.
    Gpt(Guid),
}

impl Partition {
    /// Whether firmware looks for a boot loader in it.
    pub fn is_esp(&self) -> bool {
        matches!(self.kind, Kind::Mbr(MBR_EFI_SYSTEM) | Kind::Gpt(EFI_SYSTEM))
    }
}

impl Table {
    /// The size of the sectors that the table counts in.
    pub fn sector(&self) -> SectorSize {
        match self.scheme {
            Scheme::Mbr => SectorSize::B512,
            Scheme::Gpt { sector, .. } => sector,
        }
    }

    /// The EFI system partitions.
    pub fn esps(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(|p| p.is_esp())
    }
}

/// UEFI Specification, "Legacy Master Boot Record".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Mbr {
    boot_code: [u8; 440],
    disk_signature: U32,
    unknown: U16,
    partitions: [MbrEntry; 4],
    signature: [u8; 2],
}
const _: () = assert!(size_of::<Mbr>() == 512);

/// UEFI Specification, "Legacy MBR Partition Record".
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MbrEntry {
    boot_indicator: u8,
    starting_chs: [u8; 3],
    os_type: u8,
    ending_chs: [u8; 3],
    starting_lba: U32,
    size_in_lba: U32,
}

/// UEFI Specification, "GPT Header".
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc32: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable_lba: U64,
    last_usable_lba: U64,
    disk_guid: Guid,
    partition_entry_lba: U64,
    number_of_partition_entries: U32,
    size_of_partition_entry: U32,
    partition_entry_array_crc32: U32,
}
const _: () = assert!(size_of::<Header>() == 92);

/// UEFI Specification, "GPT Partition Entry".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    partition_type_guid: Guid,
    unique_partition_guid: Guid,
    starting_lba: U64,
    ending_lba: U64,
    attributes: U64,
    partition_name: [U16; 36],
}
const _: () = assert!(size_of::<Entry>() == 128);

/// Reads the table of a disk, or nothing where there is no table at all.
///
/// # Errors
///
/// [`Damage`] where a checksum is wrong, a partition lies past the disk or over another, or the
/// two copies of a GPT differ. A backup that is not there is a note only: firmware reads the first.
pub fn read(disk: &Blob) -> Result<Option<Table>, Damage> {
    if disk.len() < 512 {
        return Ok(None);
    }
    let mbr: Mbr = field::load(disk, "mbr", 0)?;
    let gpt = find_gpt(disk)?;
    if mbr.signature != [0x55, 0xaa] {
        return match gpt {
            Some(_) => Err(Damage::new("mbr", 510, "there is a GPT, but no MBR that protects it")),
            None => Ok(None),
        };
    }
    let protective = mbr.partitions.iter().any(|p| p.os_type == MBR_PROTECTIVE);
    match gpt {
        Some(sector) if protective => read_gpt(disk, sector).map(Some),
        Some(_) => Err(Damage::new("mbr", 446, "there is a GPT, but no entry that protects it")
            .should("one of type 0xee")),
        None if protective => Err(Damage::new(
            "gpt header",
            512,
            "the MBR says that there is a GPT, and there is none",
        )),
        None => read_mbr(disk, &mbr),
    }
}

fn find_gpt(disk: &Blob) -> Result<Option<SectorSize>, Damage> {
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let at = sector.bytes();
        if disk.len() >= at + 512 && field::load::<[u8; 8]>(disk, "gpt header", at)? == *b"EFI PART"
        {
            return Ok(Some(sector));
        }
    }
    Ok(None)
}

fn read_mbr(disk: &Blob, mbr: &Mbr) -> Result<Option<Table>, Damage> {
    let mut table = empty_table(Scheme::Mbr);
    for (number, entry) in (1..).zip(&mbr.partitions).filter(|(_, e)| e.os_type != 0) {
        let start = u64::from(entry.starting_lba.get()) * 512;
        let range = start..start + u64::from(entry.size_in_lba.get()) * 512;
        if start == 0 || range.is_empty() {
            let wrong = format!("partition {number} has no place of its own");
            return Err(Damage::new("mbr", 446, wrong));
        }
        if MBR_EXTENDED.contains(&entry.os_type) {
            table.notes.push(format!("partition {number} is an extended one and is not read"));
        }
        table.partitions.push(Partition {
            number,
            kind: Kind::Mbr(entry.os_type),
            name: String::new(),
            guid: None,
            attributes: 0,
            range,
        });
    }
    check_ranges("mbr", 446, &table.partitions, 0..disk.len())?;
    // Boot code alone, or a FAT boot sector, ends in the same signature.
    Ok(Some(table).filter(|t| !t.partitions.is_empty()))
}

fn read_gpt(disk: &Blob, sector: SectorSize) -> Result<Table, Damage> {
    let header = read_header(disk, sector, 1)?;
    let entries = read_entries(disk, sector, &header)?;
    let scheme = Scheme::Gpt { sector, disk: header.disk_guid };
    let mut table = empty_table(scheme);
    let at = header.partition_entry_lba.get().saturating_mul(sector.bytes());
    table.structures.push((sector.bytes()..2 * sector.bytes(), "GPT header"));
    table.structures.push((at..at.saturating_add(entries.len() as u64), "GPT entries"));
    let size = usize_of(header.size_of_partition_entry.get());
    for (number, bytes) in (1..).zip(entries.chunks_exact(size)) {
        let (entry, _) = Entry::read_from_prefix(bytes).expect("an entry is 128 bytes at least");
        if entry.partition_type_guid != Guid([0; 16]) {
            table.partitions.push(partition(number, &entry, sector, at)?);
        }
    }
    let usable = usable(&header, sector, disk.len())?;
    check_ranges("gpt entries", at, &table.partitions, usable)?;
    check_guids(&table.partitions, at)?;
    check_backup(disk, sector, &header, &mut table)?;
    Ok(table)
}

fn empty_table(scheme: Scheme) -> Table {
    let structures = vec![(0..512, "MBR")];
    Table { scheme, partitions: Vec::new(), notes: Vec::new(), structures }
}

fn partition(number: u32, entry: &Entry, sector: SectorSize, at: u64) -> Result<Partition, Damage> {
    let (first, last) = (entry.starting_lba.get(), entry.ending_lba.get());
    let bytes = |lba: u64| lba.checked_mul(sector.bytes());
    let range = bytes(first).zip(last.checked_add(1).and_then(bytes)).map(|(s, e)| s..e);
    let Some(range) = range.filter(|r| !r.is_empty()) else {
        let wrong = format!("partition {number} goes from sector {first} to {last}");
        return Err(Damage::new("gpt entries", at, wrong));
    };
    Ok(Partition {
        number,
        kind: Kind::Gpt(entry.partition_type_guid),
        name: field::utf16(&entry.partition_name.map(U16::get)),
        guid: Some(entry.unique_partition_guid),
        attributes: entry.attributes.get(),
        range,
    })
}

fn read_header(disk: &Blob, sector: SectorSize, lba: u64) -> Result<Header, Damage> {
    let at = lba.saturating_mul(sector.bytes());
    let header: Header = field::load(disk, "gpt header", at)?;
    let damage = |wrong: String| Damage::new("gpt header", at, wrong);
    let size = u64::from(header.header_size.get());
    if header.signature != *b"EFI PART" || header.revision.get() != 0x0001_0000 {
        return Err(damage("signature or revision is wrong".into()));
    }
    if !(92..=sector.bytes()).contains(&size) {
        return Err(damage(format!("its size is {size}")).should("92 to one sector"));
    }
    let mut bytes = field::bytes(disk, "gpt header", at..at + size, sector.bytes())?;
    bytes[16..20].fill(0);
    let crc = crc32fast::hash(&bytes);
    if crc != header.header_crc32.get() {
        let wrong = format!("its checksum is {:#010x}", header.header_crc32.get());
        return Err(damage(wrong).should(format!("{crc:#010x}")));
    }
    if header.my_lba.get() != lba {
        let wrong = format!("it says that it lies in sector {}", header.my_lba.get());
        return Err(damage(wrong).should(lba.to_string()));
    }
    Ok(header)
}

fn read_entries(disk: &Blob, sector: SectorSize, header: &Header) -> Result<Vec<u8>, Damage> {
    let at = header.partition_entry_lba.get().saturating_mul(sector.bytes());
    let size = header.size_of_partition_entry.get();
    if size < 128 || !size.is_power_of_two() || u64::from(size) > TABLE_LIMIT {
        let wrong = format!("its entries are {size} bytes long");
        return Err(Damage::new("gpt header", at, wrong).should("128 or a doubling of it"));
    }
    let len = u64::from(size) * u64::from(header.number_of_partition_entries.get());
    let range = at..at.saturating_add(len);
    let bytes = field::bytes(disk, "gpt entries", range, TABLE_LIMIT)?;
    let crc = crc32fast::hash(&bytes);
    let want = header.partition_entry_array_crc32.get();
    if crc != want {
        let wrong = format!("the header has the checksum {want:#010x}");
        return Err(Damage::new("gpt entries", at, wrong).should(format!("{crc:#010x}")));
    }
    Ok(bytes)
}

/// The bytes that partitions may lie in.
fn usable(header: &Header, sector: SectorSize, disk_len: u64) -> Result<Range<u64>, Damage> {
    let first = header.first_usable_lba.get().saturating_mul(sector.bytes());
    let end = header.last_usable_lba.get().saturating_add(1).saturating_mul(sector.bytes());
    if first >= end || end > disk_len || header.first_usable_lba.get() < 2 {
        let wrong = format!("partitions may lie from {first:#x} to {end:#x}");
        return Err(Damage::new("gpt header", sector.bytes(), wrong)
            .should(format!("inside the disk of {disk_len:#x} bytes")));
    }
    Ok(first..end)
}

fn check_ranges(
    place: &'static str,
    at: u64,
    partitions: &[Partition],
    usable: Range<u64>,
) -> Result<(), Damage> {
    for p in partitions {
        if p.range.start < usable.start || p.range.end > usable.end {
            let Range { start, end } = p.range;
            let wrong = format!("partition {} lies from {start:#x} to {end:#x}", p.number);
            let should = format!("inside {:#x} to {:#x}", usable.start, usable.end);
            return Err(Damage::new(place, at, wrong).should(should));
        }
    }
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_by_key(|p| p.range.start);
    match sorted.windows(2).find(|pair| pair[1].range.start < pair[0].range.end) {
        Some(pair) => {
            let wrong = format!("partitions {} and {} overlap", pair[0].number, pair[1].number);
            Err(Damage::new(place, at, wrong))
        }
        None => Ok(()),
    }
}

fn check_guids(partitions: &[Partition], at: u64) -> Result<(), Damage> {
    let mut guids: Vec<_> = partitions.iter().map(|p| p.guid).collect();
    guids.sort_unstable();
    match guids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(_) => Err(Damage::new("gpt entries", at, "two partitions have one GUID")),
        None => Ok(()),
    }
}

fn check_backup(
    disk: &Blob,
    sector: SectorSize,
    primary: &Header,
    table: &mut Table,
) -> Result<(), Damage> {
    let notes = &mut table.notes;
    let lba = primary.alternate_lba.get();
    let at = lba.saturating_mul(sector.bytes());
    let there = at.checked_add(sector.bytes()).is_some_and(|end| end <= disk.len());
    if !there || field::load::<[u8; 8]>(disk, "gpt header", at)? != *b"EFI PART" {
        notes.push(format!("the backup GPT is missing: there is none in sector {lba}"));
        return Ok(());
    }
    if lba + 1 != disk.len() / sector.bytes() {
        notes.push(format!("the backup GPT is in sector {lba}, not in the disk's last one"));
    }
    let backup = read_header(disk, sector, lba)?;
    let mirrored = Header {
        header_crc32: primary.header_crc32,
        my_lba: primary.my_lba,
        alternate_lba: primary.alternate_lba,
        partition_entry_lba: primary.partition_entry_lba,
        ..backup
    };
    if mirrored.as_bytes() != primary.as_bytes() || backup.alternate_lba.get() != 1 {
        return Err(Damage::new("gpt header", at, "the backup differs from the primary"));
    }
    let entries = read_entries(disk, sector, &backup)?;
    let entries_at = backup.partition_entry_lba.get().saturating_mul(sector.bytes());
    let entries_end = entries_at.saturating_add(entries.len() as u64);
    table.structures.push((entries_at..entries_end, "backup GPT entries"));
    table.structures.push((at..at + sector.bytes(), "backup GPT header"));
    Ok(())
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_prints_in_the_usual_form() {
        assert_eq!(EFI_SYSTEM.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn a_disk_of_zeros_has_no_table() {
        assert!(read(&Blob::from_bytes("disk", vec![0; 4096])).unwrap().is_none());
        assert!(read(&Blob::default()).unwrap().is_none());
    }
}
