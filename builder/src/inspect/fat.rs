//! FAT volumes, read as firmware reads them.
//!
//! In: a volume. Out: its type, its label, files and directories with the names that Linux shows.
//!
//! Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (fatgen103);
//! UEFI Specification 2.10, 13.3 ("File System Format").
//!
//! Not here: writing volumes, and what the files mean.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::damage::Damage;
use super::field;
use crate::blob::{Blob, Builder};

/// The most entries of a directory that are read, those of long names counted. The specification
/// has eight times as many, and an EFI partition some dozens.
const DIRECTORY_ENTRIES: u64 = 1 << 13;
/// The clusters below which a volume is a FAT12.
const FAT12_BELOW: u64 = 4085;
/// The clusters below which a volume is a FAT16.
const FAT16_BELOW: u64 = 65_525;
/// The bytes of the table that are read at a time, and at first: most chains are short.
const WINDOW: u64 = 64 << 10;
const FIRST_WINDOW: u64 = 512;

/// The type of a volume: the bits of a table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Fewer than 4085 clusters.
    Fat12,
    /// Fewer than 65,525 clusters.
    Fat16,
    /// The rest.
    Fat32,
}

/// A FAT volume.
#[derive(Clone, Debug)]
pub struct Fat {
    volume: Blob,
    /// Its type.
    pub width: Width,
    /// The clusters for contents.
    pub clusters: u64,
    /// The bytes of a cluster.
    pub cluster_len: u64,
    /// The bytes of a sector.
    pub sector_len: u64,
    /// The bytes that the volume takes.
    pub len: u64,
    table: Range<u64>,
    root: Root,
    data: u64,
}

#[derive(Clone, Debug)]
enum Root {
    Range(Range<u64>),
    Cluster(u32),
}

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The name that Linux shows: the long one, or the short one in its stored case.
    pub name: String,
    /// The short name, upper case: `TALOS-~1.EFI`.
    pub short: String,
    /// The attribute bits.
    pub attributes: u8,
    /// The length in bytes; 0 for a directory.
    pub len: u64,
    first: u32,
}

/// `File::attributes`: read only.
pub const READ_ONLY: u8 = 0x01;

/// Bounds of [`Fat::walk`]: an EFI partition has a dozen files, three folders deep.
const WALK_FILES: usize = 512;
const WALK_DEPTH: usize = 8;
const VOLUME_ID: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;

impl File {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    fn is_named(&self, name: &str) -> bool {
        same(&self.name, name) || same(&self.short, name)
    }
}

/// FAT names are compared without regard to case.
fn same(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_uppercase).eq(b.chars().flat_map(char::to_uppercase))
}

/// Files with their paths.
type Files = Vec<(String, File)>;

/// fatgen103, "Boot Sector and BPB Structure", with the fields of FAT32 after them.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct BootSector {
    jump: [u8; 3],
    oem_name: [u8; 8],
    bytes_per_sector: U16,
    sectors_per_cluster: u8,
    reserved_sectors: U16,
    fats: u8,
    root_entries: U16,
    total_sectors_16: U16,
    media: u8,
    fat_size_16: U16,
    sectors_per_track: U16,
    heads: U16,
    hidden_sectors: U32,
    total_sectors_32: U32,
    fat_size_32: U32,
    ext_flags: U16,
    version: U16,
    root_cluster: U32,
    fs_info: U16,
}
const _: () = assert!(size_of::<BootSector>() == 50);

/// fatgen103, "FAT 32 Byte Directory Entry Structure".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    name: [u8; 11],
    attributes: u8,
    nt_reserved: u8,
    created_tenths: u8,
    created: U32,
    accessed: U16,
    first_cluster_high: U16,
    written: U32,
    first_cluster_low: U16,
    file_size: U32,
}
const _: () = assert!(size_of::<Entry>() == 32);

impl Fat {
    /// Reads the boot sector of a volume that may be shorter than its container.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it is no FAT volume, is longer than its container, or its number of
    /// clusters says another type than its layout.
    pub fn read(volume: &Blob) -> Result<Self, Damage> {
        let boot: BootSector = field::load(volume, "fat boot sector", 0)?;
        let damage = |wrong: String| Damage::new("fat boot sector", 0, wrong);
        let sector_len = u64::from(boot.bytes_per_sector.get());
        let per_cluster = u64::from(boot.sectors_per_cluster);
        if !matches!(sector_len, 512 | 1024 | 2048 | 4096)
            || !per_cluster.is_power_of_two()
            || boot.fats == 0
            || boot.reserved_sectors.get() == 0
        {
            return Err(damage("it is no FAT volume's".into()));
        }
        if field::load::<[u8; 2]>(volume, "fat boot sector", 510)? != [0x55, 0xaa] {
            return Err(damage("its signature is missing".into()).should("55 aa at 0x1fe"));
        }
        let total = either(boot.total_sectors_16, boot.total_sectors_32);
        let fat_sectors = either(boot.fat_size_16, boot.fat_size_32);
        let reserved = u64::from(boot.reserved_sectors.get());
        let fats = u64::from(boot.fats) * fat_sectors;
        let root_sectors = (u64::from(boot.root_entries.get()) * 32).div_ceil(sector_len);
        let data = reserved + fats + root_sectors;
        if fat_sectors == 0 || data >= total {
            return Err(damage(format!("it has {total} sectors, {data} of them for its tables")));
        }
        if total * sector_len > volume.len() {
            let wrong = format!("the volume has {} bytes", total * sector_len);
            return Err(damage(wrong).should(format!("at most {}", volume.len())));
        }
        let clusters = (total - data) / per_cluster;
        let width = width(clusters, &boot)?;
        let table = reserved * sector_len..(reserved + fat_sectors) * sector_len;
        if width.offset(clusters + 2) > table.end - table.start {
            return Err(damage(format!("its table is too short for {clusters} clusters")));
        }
        let root = match width {
            Width::Fat32 => Root::Cluster(boot.root_cluster.get()),
            _ => Root::Range((reserved + fats) * sector_len..data * sector_len),
        };
        Ok(Self {
            volume: volume.clone(),
            width,
            clusters,
            cluster_len: per_cluster * sector_len,
            sector_len,
            len: total * sector_len,
            table,
            root,
            data: data * sector_len,
        })
    }

    /// The volume's label, from its root directory.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the root directory is damaged.
    pub fn label(&self) -> Result<Option<String>, Damage> {
        let bytes = self.directory(None)?;
        Ok(entries(&bytes)
            .find(|e| e.attributes & (VOLUME_ID | DIRECTORY) == VOLUME_ID && !is_long(e))
            .map(|e| ascii(&e.name).trim_end().to_owned()))
    }

    /// The files of a directory, or of the root for nothing, in stored order; neither `.` nor `..`.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the chain of the directory's clusters is damaged.
    pub fn list(&self, dir: Option<&File>) -> Result<Vec<File>, Damage> {
        let bytes = self.directory(dir)?;
        let mut files = Vec::new();
        let mut long = LongName::default();
        for (entry, raw) in entries(&bytes).zip(bytes.chunks_exact(32)) {
            if entry.name[0] == 0xe5 {
                long = LongName::default();
            } else if is_long(&entry) {
                long.add(raw);
            } else if entry.attributes & VOLUME_ID != 0 || entry.name[0] == b'.' {
                long = LongName::default();
            } else {
                files.push(self.file(&entry, std::mem::take(&mut long)));
            }
        }
        Ok(files)
    }

    /// The file at a path such as `EFI/Linux`, without regard to case.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a directory on the way is damaged.
    pub fn find(&self, path: &str) -> Result<Option<File>, Damage> {
        let mut here: Option<File> = None;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            if here.as_ref().is_some_and(|f| !f.is_dir()) {
                return Ok(None);
            }
            here = self.list(here.as_ref())?.into_iter().find(|f| f.is_named(name));
            if here.is_none() {
                return Ok(None);
            }
        }
        Ok(here)
    }

    /// A file's bytes, joined of its clusters.
    ///
    /// # Errors
    ///
    /// [`Damage`] where its chain of clusters is shorter or longer than its length says, leaves
    /// the volume, or comes back to itself.
    pub fn content(&self, file: &File) -> Result<Blob, Damage> {
        let ranges = self.ranges(file)?;
        let join = |out: Builder, range: Range<u64>| out.blob(&self.volume.slice(range));
        Ok(ranges.into_iter().fold(Builder::default(), join).finish())
    }

    /// Where a file's bytes lie in the volume.
    ///
    /// # Errors
    ///
    /// As [`Fat::content`].
    pub fn ranges(&self, file: &File) -> Result<Vec<Range<u64>>, Damage> {
        let damage = |wrong: String| {
            Damage::new("fat", self.table.start, wrong).within(format!("`{}`", file.name))
        };
        let count = file.len.div_ceil(self.cluster_len);
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > self.clusters {
            return Err(damage(format!("the file takes {count} clusters of {}", self.clusters)));
        }
        let mut chain =
            self.chain(file.first, count).map_err(|e| e.within(format!("`{}`", file.name)))?;
        let found: u64 = chain.iter().map(|run| run.end - run.start).sum();
        if found < file.len {
            return Err(damage("its chain of clusters ends before the file".into()));
        }
        // The file ends somewhere in the last cluster, so in the last run.
        if let Some(last) = chain.last_mut() {
            last.end -= found - file.len;
        }
        Ok(chain)
    }

    /// All files below the root, by path; at most 512 of them, in folders at most 8 deep.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a directory is damaged, or there is more.
    pub fn walk(&self) -> Result<Vec<(String, File)>, Damage> {
        self.walk_all().map(|(files, _)| files)
    }

    /// Where the volume's own structures lie, by name: boot sector, tables, directories.
    ///
    /// # Errors
    ///
    /// As [`Fat::walk`].
    pub fn structures(&self) -> Result<Vec<(Range<u64>, &'static str)>, Damage> {
        let (_, folders) = self.walk_all()?;
        let mut out = vec![(0..self.table.start, "boot sector")];
        let mut root = match &self.root {
            Root::Range(range) => vec![range.clone()],
            Root::Cluster(first) => self.chain(*first, self.directory_clusters())?,
        };
        let tables_end = root.first().map_or(self.data, |range| range.start).min(self.data);
        out.push((self.table.start..tables_end, "allocation tables"));
        for folder in &folders {
            root.extend(self.chain(folder.first, self.directory_clusters())?);
        }
        out.extend(root.into_iter().map(|range| (range, "directories")));
        Ok(out)
    }

    /// Files and directories.
    fn walk_all(&self) -> Result<(Files, Vec<File>), Damage> {
        let (mut files, mut found) = (Vec::new(), Vec::new());
        let mut folders = vec![(String::new(), None, 0)];
        while let Some((path, folder, depth)) = folders.pop() {
            for file in self.list(folder.as_ref())? {
                let path = format!("{path}{}", file.name);
                if files.len() + folders.len() == WALK_FILES || depth == WALK_DEPTH {
                    return Err(Damage::new("fat", self.data, "there are too many files")
                        .should(format!("at most {WALK_FILES}, {WALK_DEPTH} folders deep")));
                }
                match file.is_dir() {
                    true => folders.push((format!("{path}/"), Some(file), depth + 1)),
                    false => files.push((path, file)),
                }
            }
            found.extend(folder);
        }
        Ok((files, found))
    }

    fn file(&self, entry: &Entry, long: LongName) -> File {
        let short = short_name(entry, 0);
        let name = long.finish(entry).unwrap_or_else(|| short_name(entry, entry.nt_reserved));
        let high = match self.width {
            Width::Fat32 => u32::from(entry.first_cluster_high.get()),
            _ => 0,
        };
        let first = high << 16 | u32::from(entry.first_cluster_low.get());
        let is_dir = entry.attributes & DIRECTORY != 0;
        let len = if is_dir { 0 } else { u64::from(entry.file_size.get()) };
        File { name, short, attributes: entry.attributes, len, first }
    }

    /// A directory's bytes, at most 8192 entries.
    fn directory(&self, dir: Option<&File>) -> Result<Vec<u8>, Damage> {
        let limit = DIRECTORY_ENTRIES * 32;
        let first = match (dir, &self.root) {
            (Some(dir), _) if !dir.is_dir() => {
                return Err(Damage::new("fat", self.data, "a file stands where a directory must")
                    .within(format!("`{}`", dir.name)));
            }
            (Some(dir), _) => dir.first,
            (None, Root::Cluster(first)) => *first,
            (None, Root::Range(range)) => {
                return field::bytes(&self.volume, "root directory", range.clone(), limit);
            }
        };
        let mut out = Vec::new();
        for run in self.chain(first, self.directory_clusters())? {
            out.extend(field::bytes(&self.volume, "directory", run, limit)?);
        }
        Ok(out)
    }

    /// The most clusters of a directory that are read.
    fn directory_clusters(&self) -> u64 {
        (DIRECTORY_ENTRIES * 32).div_ceil(self.cluster_len).min(self.clusters)
    }

    /// The runs of bytes of a chain of at most `most` clusters.
    fn chain(&self, first: u32, most: u64) -> Result<Vec<Range<u64>>, Damage> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut table = Window { start: u64::MAX, bytes: Vec::new() };
        let (mut cluster, mut left) = (u64::from(first), most);
        while left > 0 {
            left -= 1;
            if !(2..self.clusters + 2).contains(&cluster) {
                let wrong = format!("a chain goes to cluster {cluster}");
                return Err(Damage::new("fat", self.table.start, wrong)
                    .should(format!("2 to {}", self.clusters + 1)));
            }
            let start = self.data + (cluster - 2) * self.cluster_len;
            let end = start + self.cluster_len;
            match runs.last_mut().filter(|run| run.end == start) {
                Some(run) => run.end = end,
                None => runs.push(start..end),
            }
            match self.next(cluster, &mut table)? {
                Some(next) if next == cluster + 1 => {
                    // The last run goes on over all that lead to the one behind them.
                    let count = self.straight(next, &table).min(left);
                    if let Some(run) = runs.last_mut() {
                        run.end += count * self.cluster_len;
                    }
                    left -= count;
                    cluster = next + count;
                }
                Some(next) => cluster = next,
                None => return Ok(runs),
            }
        }
        Err(Damage::new("fat", self.table.start, "a chain of clusters does not end where it must"))
    }

    /// How many clusters from this one on lead to the one behind them, as far as the table is at
    /// hand. None of a volume that is no FAT32: those are small.
    fn straight(&self, cluster: u64, table: &Window) -> u64 {
        let at = self.table.start + self.width.offset(cluster);
        let from = at.checked_sub(table.start).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| table.bytes.get(from..)).unwrap_or_default();
        let mut next = cluster;
        let (entries, _) = bytes.as_chunks::<4>();
        let leads_on = |entry: &&[u8; 4]| {
            next += 1;
            u64::from(u32::from_le_bytes(**entry) & 0x0fff_ffff) == next
        };
        match self.width {
            Width::Fat32 => entries.iter().take_while(leads_on).count() as u64,
            Width::Fat12 | Width::Fat16 => 0,
        }
    }

    /// The cluster after this one, or nothing at the end.
    fn next(&self, cluster: u64, table: &mut Window) -> Result<Option<u64>, Damage> {
        let at = self.table.start + self.width.offset(cluster);
        let (value, end) = match self.width {
            Width::Fat12 => {
                let pair = u64::from(u16::from_le_bytes(table.get(self, at)?));
                (if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }, 0xff8)
            }
            Width::Fat16 => (u64::from(u16::from_le_bytes(table.get(self, at)?)), 0xfff8),
            Width::Fat32 => {
                let entry = u32::from_le_bytes(table.get(self, at)?);
                (u64::from(entry & 0x0fff_ffff), 0x0fff_fff8)
            }
        };
        Ok((value < end).then_some(value))
    }
}

/// A piece of the table in memory, so that a long chain is not one read an entry.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn get<const N: usize>(&mut self, fat: &Fat, at: u64) -> Result<[u8; N], Damage> {
        let end = at + N as u64;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let room = if self.bytes.is_empty() { FIRST_WINDOW } else { WINDOW };
            let last = (at + room).min(fat.table.end);
            self.bytes = field::bytes(&fat.volume, "fat", at..last, WINDOW)?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).expect("the window is 64 KiB at most");
        let bytes = self.bytes.get(from..from + N).and_then(|b| b.try_into().ok());
        bytes.ok_or_else(|| Damage::new("fat", at, "an entry lies past the table"))
    }
}

impl Width {
    /// Where the entry of a cluster starts in the table.
    fn offset(self, cluster: u64) -> u64 {
        match self {
            Self::Fat12 => cluster * 3 / 2,
            Self::Fat16 => cluster * 2,
            Self::Fat32 => cluster * 4,
        }
    }
}

fn either(short: U16, long: U32) -> u64 {
    match short.get() {
        0 => u64::from(long.get()),
        n => u64::from(n),
    }
}

fn width(clusters: u64, boot: &BootSector) -> Result<Width, Damage> {
    let width = match clusters {
        n if n < FAT12_BELOW => Width::Fat12,
        n if n < FAT16_BELOW => Width::Fat16,
        _ => Width::Fat32,
    };
    let laid_out_as_32 = boot.fat_size_16.get() == 0;
    if laid_out_as_32 != (width == Width::Fat32) {
        let layout = if laid_out_as_32 { "FAT32" } else { "FAT12 or FAT16" };
        let wrong = format!("it is laid out as {layout}, with {clusters} clusters");
        let damage = Damage::new("fat boot sector", 0, wrong);
        return Err(damage.should(format!("{FAT16_BELOW} clusters or more for FAT32, else fewer")));
    }
    Ok(width)
}

/// The entries up to the one that ends the directory.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes
        .chunks_exact(32)
        .map(|raw| Entry::read_from_bytes(raw).expect("an entry is 32 bytes"))
        .take_while(|e| e.name[0] != 0)
}

fn is_long(entry: &Entry) -> bool {
    entry.attributes & 0x3f == LONG_NAME
}

/// Bytes of the code page as text; what is no ASCII shows as U+FFFD.
fn ascii(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| if b.is_ascii() { char::from(b) } else { '\u{fffd}' }).collect()
}

/// The 8.3 name. Bit 3 of `case` makes the stem lower case, bit 4 the extension.
fn short_name(entry: &Entry, case: u8) -> String {
    let mut name = entry.name;
    if name[0] == 0x05 {
        name[0] = 0xe5;
    }
    let part = |bytes: &[u8], lower: bool| {
        let text = ascii(bytes).trim_end_matches(' ').to_owned();
        if lower { text.to_ascii_lowercase() } else { text }
    };
    let stem = part(&name[..8], case & 0x08 != 0);
    let extension = part(&name[8..], case & 0x10 != 0);
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

/// A long name under collection: its parts are stored last first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// The number of the next part, 0 when all are there.
    next: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, raw: &[u8]) {
        let (order, checksum) = (raw[0], raw[13]);
        let number = order & 0x3f;
        if order & 0x40 != 0 {
            *self = Self { units: Vec::new(), next: number, checksum };
        } else if number != self.next || checksum != self.checksum {
            *self = Self::default();
        }
        if number == 0 || self.next == 0 {
            *self = Self::default();
            return;
        }
        let unit = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        self.units.splice(0..0, places.map(unit));
        self.next -= 1;
    }

    /// The name, where it is whole and belongs to the short name.
    fn finish(self, entry: &Entry) -> Option<String> {
        let sum = |sum: u8, &b: &u8| sum.rotate_right(1).wrapping_add(b);
        let whole = self.next == 0 && !self.units.is_empty();
        (whole && entry.name.iter().fold(0, sum) == self.checksum)
            .then(|| field::utf16(&self.units))
            .filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8; 11], case: u8) -> Entry {
        let mut raw = [0; 32];
        raw[..11].copy_from_slice(name);
        raw[12] = case;
        Entry::read_from_bytes(&raw).unwrap()
    }

    #[test]
    fn a_short_name_shows_its_stored_case() {
        let loader = entry(b"BOOTX64 EFI", 0x10);
        assert_eq!(short_name(&loader, loader.nt_reserved), "BOOTX64.efi");
        assert_eq!(short_name(&entry(b"BOOT       ", 0x08), 0x08), "boot");
        assert_eq!(short_name(&entry(b"EFI        ", 0), 0), "EFI");
    }

    #[test]
    fn names_are_equal_without_regard_to_case() {
        assert!(same("EFI/Linux", "efi/LINUX"));
        assert!(!same("a", "b"));
    }
}
