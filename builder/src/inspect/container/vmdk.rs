//! VMware's disk format in one file: "monolithicSparse" and "streamOptimized".
//!
//! In: a file whose first bytes say that it is one. Out: where the disk's bytes lie.
//!
//! Source: VMware, "Virtual Disk Format 5.0"; for the text, the same, "Disk Descriptor File".
//!
//! Not here: disks in many files, and differences to others, which are refused.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::map::{Map, Piece, Place};
use super::stream::Cluster;
use crate::blob::Blob;
use crate::catalog::value::Format;
use crate::inspect::damage::Damage;
use crate::inspect::field;

/// The unit of offsets and lengths.
const SECTOR: u64 = 512;
/// The offset of a directory that the footer tells.
const AT_END: u64 = u64::MAX;
/// The entries of a grain table.
const TABLE_ENTRIES: u32 = 512;
/// The length of a grain table in bytes.
const TABLE: u64 = TABLE_ENTRIES as u64 * 4;
/// The longest directory that is read: a disk of 64 TiB in grains of 64 KiB.
const DIRECTORY_LIMIT: u64 = 8 << 20;
/// The longest descriptor that is read.
const DESCRIPTOR_LIMIT: u64 = 64 << 10;
/// The sizes that grains may have, in sectors: 4 KiB to 1 MiB. The default is 64 KiB.
const GRAINS: Range<u64> = 8..2049;

/// "flags" of the header.
const HAS_NEWLINES: u32 = 1;
const HAS_COPY: u32 = 1 << 1;
const HAS_ZERO_GRAINS: u32 = 1 << 2;
const IS_COMPRESSED: u32 = 1 << 16;
const HAS_MARKERS: u32 = 1 << 17;
const KNOWN: u32 = HAS_NEWLINES | HAS_COPY | HAS_ZERO_GRAINS | IS_COMPRESSED | HAS_MARKERS;

/// "Hosted Sparse Extent Header".
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    capacity: U64,
    grain_size: U64,
    descriptor_offset: U64,
    descriptor_size: U64,
    entries_per_table: U32,
    redundant_offset: U64,
    directory_offset: U64,
    overhead: U64,
    unclean_shutdown: u8,
    newlines: [u8; 4],
    compression: U16,
    pad: [u8; 433],
}
const _: () = assert!(size_of::<Header>() == 512);

/// The head of a compressed grain.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Marker {
    lba: U64,
    size: U32,
}
const _: () = assert!(size_of::<Marker>() == 12);

/// What the header says, checked.
#[derive(Debug)]
struct Extent<'a> {
    file: &'a Blob,
    disk_len: u64,
    grain: u64,
    is_compressed: bool,
    has_zero_grains: bool,
    /// Where the grains begin: what lies before are header, descriptor and tables.
    overhead: u64,
}

/// Reads the tables of a disk.
///
/// # Errors
///
/// [`Damage`] where they do not lie as they must, or the two copies of them differ.
pub(super) fn open(file: &Blob) -> Result<(&'static str, Map), Damage> {
    let header: Header = field::load(file, "vmdk header", 0)?;
    check_header(&header, 0)?;
    let format = check_descriptor(file, &header)?;
    let mut last = field::load(file, "vmdk header", 0)?;
    if header.directory_offset.get() == AT_END {
        last = footer(file)?;
    }
    let flags = header.flags.get();
    let extent = Extent {
        file,
        disk_len: header.capacity.get() * SECTOR,
        grain: header.grain_size.get() * SECTOR,
        is_compressed: flags & IS_COMPRESSED != 0,
        has_zero_grains: flags & HAS_ZERO_GRAINS != 0,
        overhead: sectors("vmdk header", 64, header.overhead.get())?,
    };
    let tables = extent.tables(last.directory_offset.get())?;
    let map = extent.map(&tables)?;
    if flags & HAS_COPY != 0 {
        let copies = extent.tables(last.redundant_offset.get())?;
        extent.compare(&tables, &copies)?;
    }
    Ok((format.name(), map))
}

fn fault(at: u64, wrong: impl Into<String>) -> Damage {
    Damage::new("vmdk header", at, wrong)
}

/// Sectors as bytes.
fn sectors(place: &'static str, at: u64, count: u64) -> Result<u64, Damage> {
    let far = || Damage::new(place, at, format!("sector {count:#x} is out of reach"));
    count.checked_mul(SECTOR).filter(|bytes| *bytes < 1 << 62).ok_or_else(far)
}

fn check_header(header: &Header, at: u64) -> Result<(), Damage> {
    let flags = header.flags.get();
    let refuse =
        |offset, wrong: String, should: &str| Err(fault(at + offset, wrong).should(should));
    if !matches!(header.version.get(), 1..=3) {
        return refuse(4, format!("version {} is unknown", header.version.get()), "1 to 3");
    }
    if flags & !KNOWN != 0 {
        return refuse(8, format!("its flags are {flags:#x}"), "known ones");
    }
    // A transfer as text turns one of these bytes into others.
    if flags & HAS_NEWLINES != 0 && header.newlines != *b"\n \r\n" {
        return refuse(73, "its line ends were changed on the way".to_owned(), "LF, space, CR, LF");
    }
    if header.unclean_shutdown != 0 {
        return refuse(72, "it was not closed".to_owned(), "a disk that is not in use");
    }
    let grain = header.grain_size.get();
    if !grain.is_power_of_two() || !GRAINS.contains(&grain) {
        return refuse(20, format!("a grain has {grain} sectors"), "128");
    }
    if header.entries_per_table.get() != TABLE_ENTRIES {
        let wrong = format!("a grain table has {} entries", header.entries_per_table.get());
        return refuse(44, wrong, "512");
    }
    let is_compressed = flags & IS_COMPRESSED != 0;
    if header.compression.get() != u16::from(is_compressed) {
        return refuse(77, format!("its compression is {}", header.compression.get()), "deflate");
    }
    if is_compressed && flags & HAS_MARKERS == 0 {
        return refuse(8, "its grains are compressed, without markers".to_owned(), "markers");
    }
    sectors("vmdk header", at + 12, header.capacity.get())?;
    Ok(())
}

/// What the text says of the disk.
fn check_descriptor(file: &Blob, header: &Header) -> Result<Format, Damage> {
    let start = sectors("vmdk descriptor", 28, header.descriptor_offset.get())?;
    let len = sectors("vmdk descriptor", 36, header.descriptor_size.get())?;
    let fault = |wrong: String| Damage::new("vmdk descriptor", start, wrong);
    if start == 0 || len == 0 {
        return Err(fault("there is none: the file is a part of a disk".to_owned()));
    }
    let range = start..start.saturating_add(len);
    let bytes = field::bytes(file, "vmdk descriptor", range, DESCRIPTOR_LIMIT)?;
    let text = field::text(&bytes);
    if !text.starts_with("# Disk DescriptorFile") {
        return Err(fault("it is none".to_owned()));
    }
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let parent = value("parentCID").unwrap_or_default();
    if !parent.eq_ignore_ascii_case("ffffffff") {
        return Err(fault("the disk is a difference to another".to_owned()));
    }
    let kind = value("createType").unwrap_or_default();
    let is_compressed = header.flags.get() & IS_COMPRESSED != 0;
    let format = match (&*kind, is_compressed) {
        ("monolithicSparse", false) => Format::Vmdk,
        ("streamOptimized", true) => Format::VmdkStream,
        _ => {
            let wrong = format!("its type is `{}`", kind.escape_debug());
            return Err(fault(wrong).should("monolithicSparse or streamOptimized, in one file"));
        }
    };
    let extents: Vec<_> = text.lines().filter_map(|line| line.split_once(" SPARSE ")).collect();
    let is_whole = |(head, _): &(&str, &str)| {
        head.split_whitespace().nth(1).and_then(|len| len.parse().ok())
            == Some(header.capacity.get())
    };
    match &extents[..] {
        [extent] if is_whole(extent) => Ok(format),
        _ => Err(fault("it does not name one extent of the disk's length".to_owned())),
    }
}

/// The header at the file's end, between two markers.
fn footer(file: &Blob) -> Result<Header, Damage> {
    let missing = || fault(56, "there is no footer: the file is cut");
    let start = file.len().checked_sub(3 * SECTOR).ok_or_else(missing)?;
    // Of a marker: value, size and, where the size is 0, its type.
    let [_, rest]: [U64; 2] = field::load(file, "vmdk footer", start)?;
    let end: [U64; 2] = field::load(file, "vmdk footer", start + 2 * SECTOR)?;
    let header: Header = field::load(file, "vmdk footer", start + SECTOR)?;
    let is_marked = rest.get() == 3 << 32 && end.iter().all(|u| u.get() == 0);
    if !is_marked || header.magic != *b"KDMV" {
        return Err(missing());
    }
    check_header(&header, start + SECTOR)?;
    let first: Header = field::load(file, "vmdk header", 0)?;
    let pairs = [
        (header.capacity, first.capacity),
        (header.grain_size, first.grain_size),
        (header.overhead, first.overhead),
    ];
    if header.flags != first.flags || pairs.iter().any(|(a, b)| a != b) {
        return Err(Damage::new("vmdk footer", start + SECTOR, "it differs from the header"));
    }
    match header.directory_offset.get() {
        AT_END => Err(Damage::new("vmdk footer", start + SECTOR, "it names no grain directory")),
        _ => Ok(header),
    }
}

impl Extent<'_> {
    /// The grain tables, by a directory; 0 where there is none.
    fn tables(&self, directory: u64) -> Result<Vec<u64>, Damage> {
        let start = sectors("grain directory", 56, directory)?;
        let count = self.disk_len.div_ceil(self.grain * u64::from(TABLE_ENTRIES));
        let end = start.saturating_add(count * 4);
        if start == 0 {
            return Err(fault(56, "it names no grain directory"));
        }
        let bytes = field::bytes(self.file, "grain directory", start..end, DIRECTORY_LIMIT)?;
        let sector = |entry: &[u8; 4]| u64::from(u32::from_le_bytes(*entry)) * SECTOR;
        let tables: Vec<_> = bytes.as_chunks().0.iter().map(sector).collect();
        let mut taken: Vec<_> =
            tables.iter().filter(|at| **at > 0).map(|at| *at..*at + TABLE).collect();
        taken.push(start..end);
        apart("grain table", taken)?;
        Ok(tables)
    }

    fn table(&self, at: u64) -> Result<Vec<u32>, Damage> {
        let bytes = field::bytes(self.file, "grain table", at..at + TABLE, TABLE)?;
        Ok(bytes.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect())
    }

    fn map(&self, tables: &[u64]) -> Result<Map, Damage> {
        let mut map = Map::new(self.file, self.disk_len);
        let mut taken = Vec::new();
        for &at in tables {
            if at == 0 {
                map.push(self.grain * u64::from(TABLE_ENTRIES), Place::Zeros)?;
                continue;
            }
            for entry in self.table(at)? {
                let left = map.left();
                if left == 0 {
                    break;
                }
                let start = u64::from(entry) * SECTOR;
                let place = match entry {
                    0 => Place::Zeros,
                    1 if self.has_zero_grains => Place::Zeros,
                    _ if start < self.overhead => {
                        let wrong = "a grain lies among the tables";
                        return Err(Damage::new("grain table", at, wrong));
                    }
                    _ if self.is_compressed => self.grain_at(start, self.disk_len - left)?,
                    _ => Place::Plain { file: 0, at: start },
                };
                match place {
                    Place::Zeros => {}
                    Place::Plain { at, .. } => taken.push(at..at + self.grain),
                    Place::Packed(piece) => taken.push(start..piece.at + u64::from(piece.len)),
                }
                map.push(self.grain, place)?;
            }
        }
        taken.extend(tables.iter().filter(|at| **at > 0).map(|at| *at..*at + TABLE));
        apart("grain", taken)?;
        Ok(map)
    }

    /// A compressed grain, by its marker.
    fn grain_at(&self, start: u64, disk_offset: u64) -> Result<Place, Damage> {
        let marker: Marker = field::load(self.file, "grain marker", start)?;
        if marker.lba.get().checked_mul(SECTOR) != Some(disk_offset) {
            let wrong = format!("it is of sector {:#x}", marker.lba.get());
            let damage = Damage::new("grain marker", start, wrong);
            return Err(damage.should(format!("{:#x}", disk_offset / SECTOR)));
        }
        let len = marker.size.get();
        // What does not compress becomes longer by a few bytes a block.
        if len == 0 || u64::from(len) > self.grain * 2 {
            return Err(Damage::new("grain marker", start, format!("it has {len} bytes")));
        }
        let unpacked = u32::try_from(self.grain);
        let unpacked_len = unpacked.map_err(|_| fault(20, "its grains are too large"))?;
        let at = start + size_of::<Marker>() as u64;
        let coding = Cluster::Zlib;
        Ok(Place::Packed(Piece { file: 0, at, len, unpacked_len, skip: 0, coding }))
    }

    /// Sees to it that the copies of the tables say the same.
    fn compare(&self, tables: &[u64], copies: &[u64]) -> Result<(), Damage> {
        for (table, copy) in tables.iter().zip(copies) {
            let is_same = match (*table, *copy) {
                (0, 0) => true,
                (0, _) | (_, 0) => false,
                (table, copy) => self.table(table)? == self.table(copy)?,
            };
            if !is_same {
                return Err(Damage::new("grain table", *copy, "it differs from its copy"));
            }
        }
        Ok(())
    }
}

/// Sees to it that no ranges lie over one another.
fn apart(place: &'static str, mut ranges: Vec<Range<u64>>) -> Result<(), Damage> {
    ranges.sort_unstable_by_key(|range| range.start);
    match ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => Err(Damage::new(place, pair[1].start, "it lies over something else")),
        None => Ok(()),
    }
}
