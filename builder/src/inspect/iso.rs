//! ISO 9660 volumes with Rock Ridge names, and their El Torito boot catalog.
//!
//! In: a medium whose sector 16 holds a volume descriptor. Out: its volume id, boot entries and
//! files.
//!
//! Source: ECMA-119 (ISO 9660), <https://ecma-international.org/publications-and-standards/standards/ecma-119/>;
//! "El Torito" Bootable CD-ROM Format Specification 1.0;
//! System Use Sharing Protocol 1.12 (SP, CE) and Rock Ridge Interchange Protocol 1.12 (NM).
//!
//! Not here: Joliet, relocated directories, what the files mean.

use std::collections::BTreeSet;
use std::ops::Range;

use zerocopy::little_endian::U32 as Le32;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::damage::Damage;
use super::field;
use crate::blob::{Blob, Builder};

/// The bytes of a logical block.
pub const BLOCK: u64 = 2048;
/// The bytes of directories that are read at one go.
const DIRECTORIES_LIMIT: u64 = 32 << 20;
/// The most files of a volume that are listed.
const FILES_LIMIT: usize = 1 << 16;
/// The deepest path that is followed.
const DEPTH_LIMIT: usize = 32;
/// The most volume descriptors and continuation areas that are looked at in a row.
const HOPS_LIMIT: u64 = 32;

/// An ISO 9660 volume.
#[derive(Clone, Debug)]
pub struct Iso {
    medium: Blob,
    /// The volume's name, without the padding: `TALOS_V1_13_9`.
    pub volume_id: String,
    /// The bytes that the volume says it takes.
    pub len: u64,
    /// Whether a second primary descriptor lies in block 32, for a kernel that is given the
    /// partition that starts at block 16.
    pub second_descriptor: bool,
    /// The block of the boot catalog, where there is one.
    pub catalog: Option<u64>,
    /// What the boot catalog offers, in its order.
    pub boots: Vec<BootEntry>,
    root: File,
    /// Where descriptors and path tables lie.
    tables: Vec<Range<u64>>,
    /// Where the System Use Sharing Protocol's fields start in a record's system use area.
    skip: Option<u8>,
}

/// An entry of the boot catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootEntry {
    /// Which firmware it is for.
    pub platform: Platform,
    /// Whether firmware may boot it.
    pub bootable: bool,
    /// Whether firmware takes it as it is, not as the image of a floppy or a disk.
    pub no_emulation: bool,
    /// The block where it starts.
    pub block: u32,
    /// The sectors of 512 bytes that a BIOS loads.
    pub sectors: u16,
}

/// The firmware that a boot entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// A BIOS.
    X86,
    /// UEFI.
    Efi,
    /// Another one, with its number.
    Other(u8),
}

/// A file or a directory of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name: Rock Ridge's, or else ISO 9660's without the version.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its bytes on the medium; more than one range for a file of more than 4 GiB.
    pub ranges: Vec<Range<u64>>,
}

impl File {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Files with their paths.
type Files = Vec<(String, File)>;

/// ECMA-119, 8.4, "Primary Volume Descriptor": the fields that are read.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Primary {
    kind: u8,
    identifier: [u8; 5],
    version: u8,
    unused_1: u8,
    system_identifier: [u8; 32],
    volume_identifier: [u8; 32],
    unused_2: [u8; 8],
    volume_space_size: [u8; 8],
    unused_3: [u8; 32],
    volume_set_size: [u8; 4],
    volume_sequence_number: [u8; 4],
    logical_block_size: [u8; 4],
    path_tables: [u8; 24],
    root: [u8; 34],
}
const _: () = assert!(size_of::<Primary>() == 190);

/// ECMA-119, 9.1, "Directory Record", up to the name.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    length: u8,
    extended_attributes: u8,
    location: [u8; 8],
    data_length: [u8; 8],
    recorded: [u8; 7],
    flags: u8,
    unit_size: u8,
    gap_size: u8,
    volume_sequence_number: [u8; 4],
    identifier_length: u8,
}
const _: () = assert!(size_of::<Record>() == 33);

/// `Record::flags`: a directory.
const DIRECTORY: u8 = 2;
/// `Record::flags`: the file goes on in the next record.
const MULTI_EXTENT: u8 = 0x80;

/// Whether block 16 holds a volume descriptor.
pub fn is_iso(medium: &Blob) -> bool {
    let mut bytes = [0; 5];
    medium.read_exact_at(&mut bytes, 16 * BLOCK + 1).is_ok() && bytes == *b"CD001"
}

impl Iso {
    /// Reads the descriptors and the boot catalog.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a descriptor or the catalog is not as the standards say, or the volume is
    /// longer than the medium.
    pub fn read(medium: &Blob) -> Result<Self, Damage> {
        let at = 16 * BLOCK;
        let primary: Primary = field::load(medium, "volume descriptor", at)?;
        let damage = |wrong: String| Damage::new("volume descriptor", at, wrong);
        if (primary.kind, primary.identifier, primary.version) != (1, *b"CD001", 1) {
            return Err(damage("it is no primary volume descriptor".into()));
        }
        if primary.logical_block_size != [0, 8, 8, 0] {
            return Err(damage("its block size differs".into()).should("2048"));
        }
        let blocks = both(primary.volume_space_size)
            .ok_or_else(|| damage("its two volume sizes differ".into()))?;
        let len = u64::from(blocks) * BLOCK;
        if len > medium.len() {
            let wrong = format!("the volume has {len} bytes and the medium {}", medium.len());
            return Err(damage(wrong));
        }
        let (record, _) = Record::read_from_prefix(&primary.root).expect("a record fits");
        let root = extent(medium, &record, at + 156)?;
        let root = File { name: String::new(), is_dir: true, ranges: vec![root] };
        let mut iso = Self {
            medium: medium.clone(),
            volume_id: field::text(&primary.volume_identifier).trim_end_matches(' ').to_owned(),
            len,
            second_descriptor: is_primary(medium, 32),
            catalog: None,
            boots: Vec::new(),
            root,
            tables: path_tables(&primary.path_tables),
            skip: None,
        };
        let sets = [16].into_iter().chain(iso.second_descriptor.then_some(32));
        iso.tables.extend(sets.map(|block| descriptors(medium, block)));
        iso.skip = iso.sharing_protocol()?;
        iso.catalog = find_catalog(medium)?;
        if let Some(block) = iso.catalog {
            iso.boots = read_catalog(medium, block)?;
        }
        Ok(iso)
    }

    /// The root directory.
    pub fn root(&self) -> &File {
        &self.root
    }

    /// The file at a path such as `boot/grub/grub.cfg`, upper and lower case as stored.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a directory on the way is damaged.
    pub fn find(&self, path: &str) -> Result<Option<File>, Damage> {
        let mut budget = DIRECTORIES_LIMIT;
        let mut here = self.root.clone();
        for (depth, name) in path.split('/').filter(|n| !n.is_empty()).enumerate() {
            if depth >= DEPTH_LIMIT || !here.is_dir {
                return Ok(None);
            }
            match self.list_within(&here, &mut budget)?.into_iter().find(|f| f.name == name) {
                Some(file) => here = file,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// A file's bytes.
    pub fn content(&self, file: &File) -> Blob {
        let join = |b: Builder, r: &Range<u64>| b.blob(&self.medium.slice(r.clone()));
        file.ranges.iter().fold(Builder::default(), join).finish()
    }

    /// All files that are no directories, with their paths.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a directory is damaged or holds itself, or there are more than 65,536.
    pub fn walk(&self) -> Result<Vec<(String, File)>, Damage> {
        self.walk_all().map(|(files, _)| files)
    }

    /// Where the volume's own structures lie, by name.
    ///
    /// # Errors
    ///
    /// As [`Self::walk`].
    pub fn structures(&self) -> Result<Vec<(Range<u64>, &'static str)>, Damage> {
        let (_, directories) = self.walk_all()?;
        let mut out = vec![(0..16 * BLOCK, "system area")];
        out.extend(self.catalog.map(|block| (block * BLOCK..(block + 1) * BLOCK, "boot catalog")));
        let tables = self.tables.iter().map(|range| (range.clone(), "ISO 9660 tables"));
        out.extend(tables);
        let directories = directories.into_iter().flat_map(|dir| dir.ranges);
        out.extend(directories.map(|range| (range, "ISO 9660 tables")));
        Ok(out)
    }

    /// Files and directories.
    fn walk_all(&self) -> Result<(Files, Vec<File>), Damage> {
        let mut budget = DIRECTORIES_LIMIT;
        let (mut found, mut directories) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let mut todo = vec![(String::new(), 0, self.root.clone())];
        while let Some((path, depth, dir)) = todo.pop() {
            let at = dir.ranges.first().map_or(0, |r| r.start);
            if depth > DEPTH_LIMIT || !seen.insert(at) {
                return Err(Damage::new("directory", at, "it is inside of itself, or too deep"));
            }
            for file in self.list_within(&dir, &mut budget)? {
                let path = if path.is_empty() {
                    file.name.clone()
                } else {
                    format!("{path}/{}", file.name)
                };
                if file.is_dir {
                    todo.push((path, depth + 1, file));
                } else {
                    found.push((path, file));
                }
            }
            directories.push(dir);
            if found.len() + todo.len() > FILES_LIMIT {
                return Err(Damage::new("directory", at, "there are more than 65536 files"));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((found, directories))
    }

    /// The files of a directory, without the entries for itself and its parent.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a record is cut, its two byte orders differ, or it points past the medium.
    pub fn list(&self, dir: &File) -> Result<Vec<File>, Damage> {
        self.list_within(dir, &mut { DIRECTORIES_LIMIT })
    }

    /// As [`Self::list`]; the bytes read are taken off a budget.
    fn list_within(&self, dir: &File, budget: &mut u64) -> Result<Vec<File>, Damage> {
        let mut files: Vec<File> = Vec::new();
        let mut open = false;
        for range in &dir.ranges {
            let bytes = self.spend("directory", range.clone(), budget)?;
            for (at, record) in records(&bytes, range.start)? {
                let Some(file) = self.file(record, at, budget)? else { continue };
                match files.last_mut().filter(|last| open && last.name == file.name) {
                    Some(last) => last.ranges.extend(file.ranges),
                    None => files.push(file),
                }
                open = record[25] & MULTI_EXTENT != 0;
            }
        }
        Ok(files)
    }

    fn spend(
        &self,
        place: &'static str,
        range: Range<u64>,
        budget: &mut u64,
    ) -> Result<Vec<u8>, Damage> {
        let bytes = field::bytes(&self.medium, place, range, *budget)?;
        *budget -= bytes.len() as u64;
        Ok(bytes)
    }

    fn file(&self, bytes: &[u8], at: u64, budget: &mut u64) -> Result<Option<File>, Damage> {
        let (record, rest) = Record::read_from_prefix(bytes).expect("a record has its fields");
        let name_len = usize::from(record.identifier_length);
        let Some((name, system)) = rest.split_at_checked(name_len) else {
            return Err(Damage::new("directory record", at, "its name ends past it"));
        };
        if matches!(name, [0] | [1]) {
            return Ok(None);
        }
        // A padding byte follows a name of even length.
        let system = system.get(1 - name_len % 2..).unwrap_or_default();
        let rock_ridge = match self.skip {
            Some(skip) => self.rock_ridge_name(system.get(usize::from(skip)..), at, budget)?,
            None => None,
        };
        let name = rock_ridge.unwrap_or_else(|| plain_name(name));
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Damage::new("directory record", at, "its name is no file's name"));
        }
        let is_dir = record.flags & DIRECTORY != 0;
        Ok(Some(File { name, is_dir, ranges: vec![extent(&self.medium, &record, at)?] }))
    }

    /// Whether the root's own record starts with the SP field, and what it says to skip in others.
    fn sharing_protocol(&self) -> Result<Option<u8>, Damage> {
        let range = self.root.ranges[0].clone();
        let bytes = self.spend("directory", range.clone(), &mut { DIRECTORIES_LIMIT })?;
        let records = records(&bytes, range.start)?;
        let system = records.first().and_then(|(_, record)| record.get(34..));
        Ok(match system {
            Some([b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..]) => Some(*skip),
            _ => None,
        })
    }

    fn rock_ridge_name(
        &self,
        area: Option<&[u8]>,
        at: u64,
        budget: &mut u64,
    ) -> Result<Option<String>, Damage> {
        let mut name = Vec::new();
        let mut area = area.unwrap_or_default().to_vec();
        for _ in 0..HOPS_LIMIT {
            let more = read_area(&area, &mut name)
                .ok_or_else(|| Damage::new("directory record", at, "a system use field is cut"))?;
            let Some((block, offset, len)) = more else {
                let name = Some(name).filter(|n| !n.is_empty());
                return Ok(name.map(|n| String::from_utf8_lossy(&n).into_owned()));
            };
            let start = u64::from(block) * BLOCK + u64::from(offset);
            let range = start..start + u64::from(len);
            area = self.spend("continuation area", range, budget)?;
        }
        Err(Damage::new("directory record", at, "its continuation areas do not end"))
    }
}

/// The parts of a name in a system use area, and where it goes on: block, offset, length. Nothing
/// where a field is cut.
fn read_area(mut area: &[u8], name: &mut Vec<u8>) -> Option<Option<(u32, u32, u32)>> {
    let mut more = None;
    while area.len() >= 4 && area[0] != 0 {
        let (field, rest) = area.split_at_checked(usize::from(area[2]))?;
        match (field.get(..2)?, field.get(4..)?) {
            (b"NM", [flags, part @ ..]) if flags & 6 == 0 => name.extend_from_slice(part),
            (b"CE", place) => {
                let number = |at: usize| both(place.get(at..at + 8)?.try_into().ok()?);
                more = Some((number(0)?, number(8)?, number(16)?));
            }
            (b"ST", _) => break,
            _ => (),
        }
        area = rest;
    }
    Some(more)
}

/// The records of a directory's bytes, each with its place on the medium.
fn records(bytes: &[u8], start: u64) -> Result<Vec<(u64, &[u8])>, Damage> {
    let block = usize::try_from(BLOCK).expect("2048 fits");
    let mut found = Vec::new();
    for (number, block_bytes) in (0..).zip(bytes.chunks(block)) {
        let mut rest = block_bytes;
        while let Some(&len) = rest.first().filter(|&&len| len != 0) {
            let at = start + number * BLOCK + (block_bytes.len() - rest.len()) as u64;
            let split = rest.split_at_checked(usize::from(len)).filter(|_| len > 33);
            let Some((record, after)) = split else {
                return Err(Damage::new("directory record", at, "it does not fit its block"));
            };
            found.push((at, record));
            rest = after;
        }
    }
    Ok(found)
}

/// `NAME.TXT;1` without its version, and without the dot of an empty extension.
fn plain_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let stem = name.split(';').next().unwrap_or_default();
    stem.strip_suffix('.').unwrap_or(stem).to_owned()
}

fn extent(medium: &Blob, record: &Record, at: u64) -> Result<Range<u64>, Damage> {
    let numbers = both(record.location).zip(both(record.data_length));
    let Some((block, len)) = numbers else {
        return Err(Damage::new("directory record", at, "its two byte orders differ"));
    };
    let start = (u64::from(block) + u64::from(record.extended_attributes)) * BLOCK;
    let range = start..start + u64::from(len);
    if record.unit_size != 0 || record.gap_size != 0 {
        return Err(Damage::new("directory record", at, "the file is interleaved"));
    }
    if len == 0 {
        return Ok(0..0);
    }
    if range.end > medium.len() {
        let wrong = format!("the file lies from {:#x} to {:#x}", range.start, range.end);
        return Err(Damage::new("directory record", at, wrong)
            .should(format!("inside the medium of {:#x} bytes", medium.len())));
    }
    Ok(range)
}

/// A number stored in both byte orders, or nothing where they differ.
fn both(bytes: [u8; 8]) -> Option<u32> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let little = u32::from_le_bytes([a, b, c, d]);
    (little == u32::from_be_bytes([e, f, g, h])).then_some(little)
}

fn is_primary(medium: &Blob, block: u64) -> bool {
    field::load::<[u8; 7]>(medium, "volume descriptor", block * BLOCK)
        .is_ok_and(|b| b == *b"\x01CD001\x01")
}

/// The volume descriptors from a block on, up to the one that ends them.
fn descriptors(medium: &Blob, first: u64) -> Range<u64> {
    let kind = |block: u64| field::load::<[u8; 6]>(medium, "volume descriptor", block * BLOCK);
    let is_one = |block: &u64| kind(*block).is_ok_and(|head| head[1..] == *b"CD001");
    let is_last = |block: &u64| kind(*block).is_ok_and(|head| head[0] == 255);
    let mut set = (first..first + HOPS_LIMIT).take_while(is_one);
    let end = set.find(is_last).unwrap_or(first) + 1;
    first * BLOCK..end * BLOCK
}

/// ECMA-119, 8.4.14 to 8.4.18: the length of a path table in both orders, and where copies of it lie,
/// two in little endian and two in big.
fn path_tables(fields: &[u8; 24]) -> Vec<Range<u64>> {
    let word = |at: usize| [fields[at], fields[at + 1], fields[at + 2], fields[at + 3]];
    let len = u64::from(u32::from_le_bytes(word(0)));
    let places = [
        u32::from_le_bytes(word(8)),
        u32::from_le_bytes(word(12)),
        u32::from_be_bytes(word(16)),
        u32::from_be_bytes(word(20)),
    ];
    let range = |block: u32| u64::from(block) * BLOCK..u64::from(block) * BLOCK + len;
    places.into_iter().filter(|&block| block != 0).map(range).collect()
}

fn find_catalog(medium: &Blob) -> Result<Option<u64>, Damage> {
    for block in 17..17 + HOPS_LIMIT {
        let at = block * BLOCK;
        let head: [u8; 75] = field::load(medium, "volume descriptor", at)?;
        if head[1..6] != *b"CD001" {
            return Err(Damage::new("volume descriptor", at, "the set has no terminator"));
        }
        match head[0] {
            255 => return Ok(None),
            0 if head[7..].starts_with(b"EL TORITO SPECIFICATION") => {
                let block = Le32::read_from_bytes(&head[71..]).expect("four bytes");
                return Ok(Some(u64::from(block.get())));
            }
            _ => (),
        }
    }
    Err(Damage::new("volume descriptor", 17 * BLOCK, "the set does not end"))
}

fn read_catalog(medium: &Blob, block: u64) -> Result<Vec<BootEntry>, Damage> {
    let at = block * BLOCK;
    let bytes = field::bytes(medium, "boot catalog", at..at + BLOCK, BLOCK)?;
    let damage = |wrong: &str| Damage::new("boot catalog", at, wrong);
    let mut entries = bytes.chunks_exact(32);
    let (Some(validation), Some(initial)) = (entries.next(), entries.next()) else {
        return Err(damage("it is cut"));
    };
    if validation[0] != 1 || validation[30..] != [0x55, 0xaa] {
        return Err(damage("it does not start with a validation entry"));
    }
    let sum = validation
        .chunks_exact(2)
        .fold(0u16, |sum, w| sum.wrapping_add(u16::from_le_bytes([w[0], w[1]])));
    if sum != 0 {
        return Err(damage("the sum of its validation entry is not 0"));
    }
    let mut boots = vec![boot_entry(medium, platform(validation[1]), initial, at)?];
    let mut last = false;
    while let Some(header) = entries.next().filter(|h| !last && matches!(h[0], 0x90 | 0x91)) {
        last = header[0] == 0x91;
        let mut left = u16::from_le_bytes([header[2], header[3]]);
        while left > 0 {
            let entry = entries.next().ok_or_else(|| damage("a section of it is cut"))?;
            // 0x44 goes on with the selection criteria of the entry before.
            if entry[0] != 0x44 {
                boots.push(boot_entry(medium, platform(header[1]), entry, at)?);
                left -= 1;
            }
        }
    }
    Ok(boots)
}

fn platform(id: u8) -> Platform {
    match id {
        0 => Platform::X86,
        0xef => Platform::Efi,
        other => Platform::Other(other),
    }
}

fn boot_entry(
    medium: &Blob,
    platform: Platform,
    entry: &[u8],
    at: u64,
) -> Result<BootEntry, Damage> {
    let block = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
    let sectors = u16::from_le_bytes([entry[6], entry[7]]);
    let bootable = match entry[0] {
        0x88 => true,
        0 => false,
        other => {
            let wrong = format!("a boot indicator is {other:#04x}");
            return Err(Damage::new("boot catalog", at, wrong).should("0x88 or 0"));
        }
    };
    let end = u64::from(block) * BLOCK + u64::from(sectors) * 512;
    if bootable && (block == 0 || end > medium.len() || u64::from(block) * BLOCK >= medium.len()) {
        let wrong = format!("an entry starts in block {block} and has {sectors} sectors");
        return Err(Damage::new("boot catalog", at, wrong).should("inside the medium"));
    }
    Ok(BootEntry { platform, bootable, no_emulation: entry[1] & 0xf == 0, block, sectors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_has_no_version() {
        assert_eq!(plain_name(b"GRUB.CFG;1"), "GRUB.CFG");
        assert_eq!(plain_name(b"VMLINUZ.;1"), "VMLINUZ");
    }

    #[test]
    fn a_name_is_joined_of_its_parts() {
        let area = b"PX\x05\x01\0NM\x09\x01\x01ini.NM\x08\x01\x00cfgST\x04\x01";
        // The first part says that it is 9 bytes long: `ini.`.
        let mut name = Vec::new();
        assert_eq!(read_area(area, &mut name), Some(None));
        assert_eq!(name, b"ini.cfg");
        assert_eq!(read_area(b"NM\xff\x01\0", &mut name), None, "a cut field");
        assert_eq!(read_area(b"NM\x00\x01\0", &mut name), None, "a field without length");
    }
}
