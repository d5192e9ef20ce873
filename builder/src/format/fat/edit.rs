//! FAT32 volumes that somebody else wrote, changed: files added in a folder beside others, folders
//! taken away.
//!
//! In: a volume, files to add. Out: [`Changes`]: writes, by what they do to the volume.
//!
//! A new file takes the lowest run of clusters in one piece that are free and hold zeros alone: so
//! what was there is known. All entries of new files lie in one sector; until it is written, nothing
//! shows of them. Before anything is changed, every chain of the volume is followed: one that is
//! cut, runs in a circle or shares a cluster with another is an error.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03.
//!
//! Not here: FAT12 and FAT16, which no EFI partition of Talos has, and the order of writes.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::entry::{self, Entry, FREE, New, SLOT};
use super::mend::Stamp;
use super::table::Table;
use crate::blob::Blob;
use crate::edit::Write;

/// The most files and folders of a volume, and the deepest folder.
const FILES_LIMIT: usize = 4096;
const DEPTH_LIMIT: usize = 16;
/// The most bytes of a directory.
const DIRECTORY_LIMIT: u64 = 256 << 10;
/// The most clusters that all files may have: 2 GiB in clusters of 512 bytes.
const CLUSTERS_LIMIT: u64 = 1 << 22;
/// The most bytes that are read in search of room that holds zeros.
const SEARCH_LIMIT: u64 = 64 << 20;
/// How many of them are read at a time.
const SEARCH_PIECE: u64 = 64 << 10;
/// The number that ends a chain.
const END: u32 = 0x0fff_ffff;
/// Where an FSInfo counts free clusters, and what it has there when nobody counted.
const FREE_COUNT_AT: u64 = 488;
const UNCOUNTED: u32 = 0xffff_ffff;

/// Why a volume cannot be changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// It is no volume of the kind that can be changed.
    #[error("the EFI partition cannot be changed: {0}")]
    Foreign(&'static str),
    /// Its chains or directories are damaged.
    #[error("the EFI partition is damaged: {0}")]
    Damaged(&'static str),
    /// There is no free room in one piece.
    #[error("the EFI partition has no {0} bytes of free room in one piece that is all zeros")]
    Full(u64),
    /// A folder is not there, or a file stands in its place.
    #[error("the EFI partition has no folder `{0}`")]
    Folder(String),
    /// A name cannot be given.
    #[error("`{0}` is no name that a FAT volume can hold, or is there already")]
    Name(String),
    /// It cannot be read.
    #[error("the EFI partition cannot be read")]
    Io(#[from] io::Error),
}

/// Writes to a volume, by what they do. Offsets count from its start.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// To clusters that no file has yet, or no longer has.
    pub data: Vec<Write>,
    /// To the table's entries of such clusters.
    pub table: Vec<Write>,
    /// To the count of free clusters.
    pub info: Vec<Write>,
    /// To directories: they make files show, or go.
    pub entries: Vec<Write>,
}

/// Free clusters in one piece, kept for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The offset of the first byte in the volume.
    pub offset: u64,
    /// The bytes that the file has.
    pub len: u64,
    run: Range<u32>,
}

/// What a folder holds under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The name that Linux shows.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// The length in bytes; 0 for a folder.
    pub len: u64,
    /// The clusters that it has, as bytes of the volume.
    pub ranges: Vec<Range<u64>>,
}

/// A volume under change.
#[derive(Debug)]
pub struct Editor {
    volume: Blob,
    table: Table,
    /// Clusters that files have, and those kept for new ones: first and end.
    used: BTreeMap<u32, u32>,
    /// Clusters that are free and are not to be used.
    avoided: Vec<Range<u32>>,
    /// Clusters less in use than before, if positive.
    freed: i64,
    changes: Changes,
}

/// A folder, read.
struct Folder {
    /// Its clusters.
    runs: Vec<Range<u32>>,
    entries: Vec<Entry>,
    /// The slots before the one that ends it.
    end: usize,
    bytes: Vec<u8>,
}

impl Editor {
    /// Opens a volume, and follows every chain in it.
    ///
    /// # Errors
    ///
    /// Where it is no FAT32, or damaged.
    pub fn open(volume: &Blob) -> Result<Self, EditError> {
        let table = Table::read(volume)?;
        let mut editor = Self {
            volume: volume.clone(),
            table,
            used: BTreeMap::new(),
            avoided: Vec::new(),
            freed: 0,
            changes: Changes::default(),
        };
        editor.follow_all()?;
        Ok(editor)
    }

    /// Where the copies of the table lie, and the sector that counts free clusters.
    pub fn tables(&self) -> Vec<Range<u64>> {
        let len = 4 * u64::from(self.table.end());
        let info = self.table.info..self.table.info + self.table.sector;
        self.table.copies.iter().map(|at| *at..at + len).chain([info]).collect()
    }

    /// Leaves these bytes of the volume alone, though they are free.
    pub fn avoid(&mut self, ranges: &[Range<u64>]) {
        let clusters = |range: &Range<u64>| {
            let first = self.table.cluster_at(range.start)?;
            let last = self.table.cluster_at(range.end.checked_sub(1)?)?;
            Some(first..last + 1)
        };
        self.avoided.extend(ranges.iter().filter_map(clusters).collect::<Vec<_>>());
    }

    /// What the folder at a path holds, such as `EFI/Linux`; nothing where there is no such folder.
    ///
    /// # Errors
    ///
    /// Where the volume cannot be read.
    pub fn list(&mut self, path: &str) -> Result<Option<Vec<Item>>, EditError> {
        let Some(first) = self.find(path)? else { return Ok(None) };
        let folder = self.folder(first)?;
        let mut items = Vec::new();
        for entry in folder.entries {
            let runs = self.runs(&entry)?;
            let ranges = runs.iter().map(|run| self.table.bytes(run)).collect();
            let (name, is_dir, len) = (entry.name, entry.is_dir, entry.len.into());
            items.push(Item { name, is_dir, len, ranges });
        }
        Ok(Some(items))
    }

    /// Keeps room for a file of `len` bytes, at a multiple of `align` bytes from the volume's start.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn reserve(&mut self, len: u64, align: u64) -> Result<Room, EditError> {
        let count = len.div_ceil(self.table.cluster).max(1);
        let count = u32::try_from(count).map_err(|_| EditError::Full(len))?;
        let first = self.find_room(count, align)?.ok_or(EditError::Full(len))?;
        let run = first..first + count;
        let next = |cluster: u32| if cluster + 1 == run.end { END } else { cluster + 1 };
        self.set_table(run.start, run.clone().map(next));
        self.used.insert(run.start, run.end);
        self.freed -= i64::from(count);
        Ok(Room { offset: self.table.offset(first), len, run })
    }

    /// Puts bytes into the room that was kept for them.
    ///
    /// # Panics
    ///
    /// If there are more bytes than the room was kept for.
    pub fn fill(&mut self, room: &Room, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        assert!(bytes.len() as u64 <= room.len, "room was kept for all bytes");
        self.changes.data.push(Write { at: room.offset, bytes });
    }

    /// Adds files to the folder `name` in the folder `parent`. The folder is made where it is not
    /// there.
    ///
    /// # Errors
    ///
    /// Where there is no `parent`, a name is no name or is taken, or there is no room.
    pub fn add(
        &mut self,
        parent: &str,
        name: &str,
        files: &[(&str, &Room)],
        epoch: u64,
    ) -> Result<(), EditError> {
        let stamp = Stamp::of(epoch);
        let above = self.find(parent)?.ok_or_else(|| EditError::Folder(parent.to_owned()))?;
        if let Some(first) = self.find(&format!("{parent}/{name}"))? {
            let folder = self.folder(first)?;
            let slots = slots(&folder.entries, files, &stamp)?;
            return self.insert(&folder, &slots);
        }
        let room = self.reserve(self.table.cluster, 1)?;
        let up = if above == self.table.root { 0 } else { above };
        let first = room.run.start;
        let mut bytes = [entry::dots(".", first, &stamp), entry::dots("..", up, &stamp)].concat();
        bytes.extend(slots(&[], files, &stamp)?);
        if bytes.len() as u64 > self.table.sector {
            return Err(EditError::Name(name.to_owned()));
        }
        self.fill(&room, bytes);
        let folder = self.folder(above)?;
        let new = New { name, is_dir: true, first, len: 0 };
        let slots = slot(&folder.entries, new, &stamp)?;
        self.insert(&folder, &slots)
    }

    /// Takes a folder away with the files in it, as if they had never been: their clusters are
    /// filled with zeros, and their entries, too, where no others follow.
    ///
    /// # Errors
    ///
    /// Where there is no such folder, or it holds another folder.
    pub fn remove(&mut self, parent: &str, name: &str) -> Result<(), EditError> {
        let none = || EditError::Folder(format!("{parent}/{name}"));
        let above = self.find(parent)?.ok_or_else(none)?;
        let above = self.folder(above)?;
        let own = above.entries.iter().find(|e| e.is_dir && e.is_named(name)).ok_or_else(none)?;
        let inner = self.folder(own.first)?;
        if inner.entries.iter().any(|entry| entry.is_dir) {
            return Err(EditError::Folder(format!("{parent}/{name}")));
        }
        let mut runs = inner.runs;
        for entry in &inner.entries {
            runs.extend(self.runs(entry)?);
        }
        for run in runs {
            let Range { start, end } = self.table.bytes(&run);
            let len = usize::try_from(end - start).map_err(|_| EditError::Full(end - start))?;
            self.changes.data.push(Write { at: start, bytes: vec![0; len].into() });
            self.set_table(run.start, run.clone().map(|_| 0));
            self.freed += i64::from(run.end - run.start);
        }
        let is_last = own.slots.end == above.end;
        for index in own.slots.clone() {
            let mut slot = [0; SLOT];
            slot[0] = if is_last { 0 } else { FREE };
            let at = self.place(&above.runs, index).expect("it was read from there");
            self.changes.entries.push(Write { at, bytes: slot.as_slice().into() });
        }
        Ok(())
    }

    /// All that was changed.
    ///
    /// # Errors
    ///
    /// Where the count of free clusters cannot be read.
    pub fn finish(mut self) -> Result<Changes, EditError> {
        let mut info = [0; 512];
        self.volume.read_exact_at(&mut info, self.table.info)?;
        let is_info = info[..4] == *b"RRaA" && info[484..488] == *b"rrAa";
        let free = u32::from_le_bytes([info[488], info[489], info[490], info[491]]);
        if is_info
            && free != UNCOUNTED
            && self.freed != 0
            && let Ok(count) = u32::try_from(i64::from(free) + self.freed)
        {
            let at = self.table.info + FREE_COUNT_AT;
            let bytes = count.to_le_bytes();
            self.changes.info.push(Write { at, bytes: bytes.as_slice().into() });
        }
        Ok(self.changes)
    }

    /// Follows every chain, and takes note of all clusters that are in use.
    fn follow_all(&mut self) -> Result<(), EditError> {
        let root = self.table.root;
        let most = DIRECTORY_LIMIT.div_ceil(self.table.cluster);
        let runs = self.table.chain(root, most)?;
        let mut clusters = self.use_up(&runs)?;
        let (mut todo, mut files) = (vec![(root, 0)], 0);
        while let Some((first, depth)) = todo.pop() {
            for entry in self.folder(first)?.entries {
                files += 1;
                if files > FILES_LIMIT || depth > DEPTH_LIMIT {
                    return Err(EditError::Damaged("it has more files than an EFI partition has"));
                }
                let runs = self.runs(&entry)?;
                clusters += self.use_up(&runs)?;
                if clusters > CLUSTERS_LIMIT {
                    return Err(EditError::Damaged("its files are larger than Talos' are"));
                }
                if entry.is_dir {
                    todo.push((entry.first, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// Marks clusters as in use; gives their number.
    fn use_up(&mut self, runs: &[Range<u32>]) -> Result<u64, EditError> {
        for run in runs {
            let before = self.used.range(..run.end).next_back();
            if before.is_some_and(|(_, end)| *end > run.start) {
                return Err(EditError::Damaged("two chains share a cluster"));
            }
            self.used.insert(run.start, run.end);
        }
        Ok(runs.iter().map(|run| u64::from(run.end - run.start)).sum())
    }

    /// The clusters of a file or folder.
    fn runs(&mut self, entry: &Entry) -> Result<Vec<Range<u32>>, EditError> {
        let cluster = self.table.cluster;
        if entry.is_dir {
            return self.table.chain(entry.first, DIRECTORY_LIMIT.div_ceil(cluster));
        }
        let count = u64::from(entry.len).div_ceil(cluster);
        if count > CLUSTERS_LIMIT || count > self.table.clusters.into() {
            return Err(EditError::Damaged("a file is larger than Talos' are"));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let runs = self.table.chain(entry.first, count)?;
        let found: u64 = runs.iter().map(|run| u64::from(run.end - run.start)).sum();
        match found == count {
            true => Ok(runs),
            false => Err(EditError::Damaged("a file's chain of clusters is too short")),
        }
    }

    fn folder(&mut self, first: u32) -> Result<Folder, EditError> {
        let most = DIRECTORY_LIMIT.div_ceil(self.table.cluster);
        let runs = self.table.chain(first, most)?;
        let mut bytes = Vec::new();
        for run in &runs {
            let range = self.table.bytes(run);
            bytes.extend(self.volume.slice(range).to_vec()?);
        }
        let (entries, end) = entry::read(&bytes);
        Ok(Folder { runs, entries, end, bytes })
    }

    /// The first cluster of the folder at a path.
    fn find(&mut self, path: &str) -> Result<Option<u32>, EditError> {
        let mut here = self.table.root;
        for name in path.split('/') {
            let entries = self.folder(here)?.entries;
            match entries.iter().find(|entry| entry.is_dir && entry.is_named(name)) {
                Some(entry) => here = entry.first,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// Where a slot of a folder lies in the volume; nothing where it has no such slot.
    fn place(&self, runs: &[Range<u32>], index: usize) -> Option<u64> {
        let mut skip = (index * SLOT) as u64;
        for run in runs {
            let bytes = self.table.bytes(run);
            if skip < bytes.end - bytes.start {
                return Some(bytes.start + skip);
            }
            skip -= bytes.end - bytes.start;
        }
        None
    }

    /// Writes entries to a folder's end, all of them into one sector.
    fn insert(&mut self, folder: &Folder, slots: &[u8]) -> Result<(), EditError> {
        let per_sector = usize::try_from(self.table.sector).expect("4096 at most") / SLOT;
        let count = slots.len() / SLOT;
        if count > per_sector {
            return Err(EditError::Name("so many new files".to_owned()));
        }
        if folder.bytes[folder.end * SLOT..].iter().any(|b| *b != 0) {
            return Err(EditError::Damaged("a directory goes on after its end"));
        }
        let left = (per_sector - folder.end % per_sector) % per_sector;
        if count <= left {
            let at = self.place(&folder.runs, folder.end).expect("slots are left in the sector");
            self.changes.entries.push(Write { at, bytes: slots.into() });
            return Ok(());
        }
        // The sector's last slots are marked as free: that shows what stands in the next sector.
        let fill: Vec<u8> =
            (0..left * SLOT).map(|i| if i % SLOT == 0 { FREE } else { 0 }).collect();
        let next = self.place(&folder.runs, folder.end + left);
        let (at, link) = match next {
            Some(at) => (at, None),
            None => {
                let room = self.reserve(self.table.cluster, 1)?;
                let last = folder.runs.last().expect("a folder has a cluster").end - 1;
                (room.offset, Some((last, room.run.start)))
            }
        };
        let links = link.map(|(last, new)| self.table_writes(last, [new])).unwrap_or_default();
        let new = Write { at, bytes: slots.into() };
        let shows = if left > 0 { self.place(&folder.runs, folder.end) } else { None };
        match shows {
            Some(at) => {
                self.changes.data.push(new);
                self.changes.table.extend(links);
                self.changes.entries.push(Write { at, bytes: fill.into() });
            }
            None if links.is_empty() => self.changes.entries.push(new),
            None => {
                self.changes.data.push(new);
                self.changes.entries.extend(links);
            }
        }
        Ok(())
    }

    /// Sets the table's entries from a cluster on, in every copy.
    fn set_table(&mut self, first: u32, values: impl IntoIterator<Item = u32>) {
        let writes = self.table_writes(first, values);
        self.changes.table.extend(writes);
    }

    fn table_writes(&self, first: u32, values: impl IntoIterator<Item = u32>) -> Vec<Write> {
        let bytes: Arc<[u8]> = values.into_iter().flat_map(u32::to_le_bytes).collect();
        let at = |copy: &u64| copy + 4 * u64::from(first);
        let write = |copy| Write { at: at(copy), bytes: bytes.clone() };
        self.table.copies.iter().map(write).collect()
    }

    /// The first of the lowest `count` clusters in one piece that are free and hold zeros.
    fn find_room(&mut self, count: u32, align: u64) -> Result<Option<u32>, EditError> {
        let (mut start, mut budget) = (2, SEARCH_LIMIT);
        loop {
            // The alignment comes round after so many clusters, or never.
            let aligned = (0..align).find(|skip| {
                let skip = u32::try_from(*skip).unwrap_or(u32::MAX);
                let at = self.table.offset(start) + u64::from(skip) * self.table.cluster;
                at.is_multiple_of(align)
            });
            let Some(skip) = aligned.and_then(|skip| u32::try_from(skip).ok()) else {
                return Ok(None);
            };
            start += skip;
            let end = start.checked_add(count).filter(|end| *end <= self.table.end());
            let Some(end) = end else { return Ok(None) };
            let busy = match self.last_used(start..end)? {
                Some(end) => Some(end),
                None => self.last_written(start..end, &mut budget)?,
            };
            match busy {
                Some(end) => start = end,
                None => return Ok(Some(start)),
            }
        }
    }

    /// The cluster after the last of these that is in use.
    fn last_used(&mut self, run: Range<u32>) -> Result<Option<u32>, EditError> {
        let used = self.used.range(..run.end).next_back().map(|(_, end)| *end);
        let avoided = self.avoided.iter().filter(|range| range.start < run.end);
        let end = avoided.map(|range| range.end).chain(used).filter(|end| *end > run.start).max();
        if end.is_some() {
            return Ok(end);
        }
        for cluster in run.rev() {
            if self.table.entry(cluster)? != 0 {
                return Ok(Some(cluster + 1));
            }
        }
        Ok(None)
    }

    /// The cluster after the last of these that does not hold zeros alone.
    fn last_written(&self, run: Range<u32>, budget: &mut u64) -> Result<Option<u32>, EditError> {
        let Range { start, mut end } = self.table.bytes(&run);
        let all = end - start;
        while end > start {
            let piece = end.saturating_sub(SEARCH_PIECE).max(start)..end;
            *budget = budget.checked_sub(piece.end - piece.start).ok_or(EditError::Full(all))?;
            let bytes = self.volume.slice(piece.clone()).to_vec()?;
            if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
                return Ok(self.table.cluster_at(piece.start + last as u64).map(|c| c + 1));
            }
            end = piece.start;
        }
        Ok(None)
    }
}

/// The entries for new files in a folder that holds `there`.
fn slots(there: &[Entry], files: &[(&str, &Room)], stamp: &Stamp) -> Result<Vec<u8>, EditError> {
    let mut taken: Vec<_> = there.iter().map(|entry| entry.short).collect();
    let mut out = Vec::new();
    for (name, room) in files {
        let wrong = || EditError::Name((*name).to_owned());
        let len = u32::try_from(room.len).map_err(|_| wrong())?;
        let new = New { name, is_dir: false, first: room.run.start, len };
        if there.iter().any(|entry| entry.is_named(name)) {
            return Err(wrong());
        }
        out.extend(entry::make(new, stamp, &mut taken).ok_or_else(wrong)?);
    }
    Ok(out)
}

/// The entries for one new name in a folder that holds `there`.
fn slot(there: &[Entry], new: New<'_>, stamp: &Stamp) -> Result<Vec<u8>, EditError> {
    let mut taken: Vec<_> = there.iter().map(|entry| entry.short).collect();
    let is_free = !there.iter().any(|entry| entry.is_named(new.name));
    let slots = entry::make(new, stamp, &mut taken).filter(|_| is_free);
    slots.ok_or_else(|| EditError::Name(new.name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edit::Edit;
    use crate::format::fat::{File, Label, Place, Volume, write};
    use crate::units::{MIB, SectorSize};

    fn volume(names: &[&str]) -> Blob {
        let file = |name: &&str| File {
            path: format!("EFI/Linux/{name}"),
            content: Blob::from_bytes("file", [1; 3000]),
            read_only: false,
            place: Place::First,
        };
        let label = Label::new("EFI").unwrap();
        let (sector, serial, epoch, hidden_sectors) = (SectorSize::B512, 1, 1_700_000_000, 0);
        let files = names.iter().map(file).collect();
        let volume = Volume { len: 36 * MIB, sector, label, serial, epoch, hidden_sectors, files };
        write(&volume).unwrap().blob
    }

    fn apply(volume: &Blob, changes: Changes) -> Blob {
        let Changes { data, table, info, entries } = changes;
        let mut edit = Edit::default();
        edit.push([data, table, info, entries].concat());
        edit.apply(volume)
    }

    /// A volume with a file of `bytes` in the folder `f` of `EFI/Linux`.
    fn with_file(volume: &Blob, bytes: &[u8]) -> (Blob, Changes) {
        let mut editor = Editor::open(volume).unwrap();
        let room = editor.reserve(bytes.len() as u64, 1).unwrap();
        editor.fill(&room, bytes);
        editor.add("EFI/Linux", "f", &[("some.addon.efi", &room)], 0).unwrap();
        let changes = editor.finish().unwrap();
        (apply(volume, changes.clone()), changes)
    }

    fn names(volume: &Blob, path: &str) -> Vec<String> {
        let items = Editor::open(volume).unwrap().list(path).unwrap().unwrap();
        items.into_iter().map(|item| item.name).collect()
    }

    #[test]
    fn a_new_file_shows_by_one_write_within_a_sector() {
        // With one to forty names before it, the folder's end is anywhere in a sector and a cluster.
        let all: Vec<String> = (0..40).map(|n| format!("Talos-{n}.efi")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        for count in 1..all.len() {
            let before = volume(&all[..count]);
            let (after, changes) = with_file(&before, &[5; 1000]);
            let [door] = changes.entries.as_slice() else {
                // A link to a new cluster, in both tables.
                assert_eq!(changes.entries.len(), 2);
                assert!(changes.entries.iter().all(|write| write.bytes.len() == 4));
                continue;
            };
            assert_eq!(door.at / 512, (door.range().end - 1) / 512);
            assert_eq!(names(&after, "EFI/Linux").len(), count + 1);
            assert_eq!(names(&after, "EFI/Linux/f"), ["some.addon.efi"]);
            let hidden = apply(&before, Changes { entries: Vec::new(), ..changes });
            assert_eq!(names(&hidden, "EFI/Linux").len(), count, "nothing shows before");
        }
    }

    #[test]
    fn a_removed_folder_leaves_no_trace() {
        let before = volume(&["Talos-v1.13.9.efi"]);
        let (after, _) = with_file(&before, &[5; 70_000]);
        let mut editor = Editor::open(&after).unwrap();
        editor.remove("efi/linux", "F").unwrap();
        let back = apply(&after, editor.finish().unwrap());
        assert_eq!(back.to_vec().unwrap(), before.to_vec().unwrap());
    }

    #[test]
    fn room_is_free_and_holds_zeros() {
        let before = volume(&["a.efi"]);
        let first = Editor::open(&before).unwrap().reserve(5000, 1).unwrap();
        let mut dirt = Edit::default();
        dirt.push(vec![Write { at: first.offset + 3000, bytes: [1].as_slice().into() }]);
        let dirty = dirt.apply(&before);
        let second = Editor::open(&dirty).unwrap().reserve(5000, 1).unwrap();
        assert!(second.offset > first.offset + 3000);
        let mut editor = Editor::open(&dirty).unwrap();
        editor.avoid(std::slice::from_ref(&(second.offset..second.offset + second.len)));
        let third = editor.reserve(5000, 4096).unwrap();
        assert!(third.offset >= second.offset + second.len && third.offset.is_multiple_of(4096));
        assert!(matches!(editor.reserve(1 << 30, 1), Err(EditError::Full(_))));
    }

    #[test]
    fn names_are_stored_as_other_tools_store_them() {
        let slots = |name| {
            let new = New { name, is_dir: false, first: 5, len: 7 };
            entry::make(new, &Stamp::of(0), &mut vec![*b"TALFOR~1EFI"]).map(|slots| {
                let last = slots.len() - SLOT;
                let short = String::from_utf8(slots[last..last + 11].to_vec()).unwrap();
                (slots.len() / SLOT, short, slots[last + 12])
            })
        };
        let name = |slots, short: &str, case| Some((slots, short.to_owned(), case));
        assert_eq!(slots("talforge.und"), name(1, "TALFORGEUND", 0x18));
        assert_eq!(slots("BOOTX64.efi"), name(1, "BOOTX64 EFI", 0x10));
        assert_eq!(slots("Linux"), name(2, "LINUX~1    ", 0));
        assert_eq!(slots("talforge.addon.efi"), name(3, "TALFOR~2EFI", 0));
        assert_eq!(slots("Talos-v1.13.9.efi.extra.d"), name(3, "TALOS-~1D  ", 0));
        for bad in ["", "a/b", "a:b", "ä"] {
            assert_eq!(slots(bad), None, "{bad}");
        }
    }

    #[test]
    fn damaged_chains_are_named() {
        let (good, _) = with_file(&volume(&["a.efi", "b.efi"]), &[5; 70_000]);
        let mut table = Table::read(&good).unwrap();
        let mut editor = Editor::open(&good).unwrap();
        let items = editor.list("EFI/Linux").unwrap().unwrap();
        let first = |name: &str| {
            let item = items.iter().find(|item| item.name == name).unwrap();
            table.cluster_at(item.ranges[0].start).unwrap()
        };
        let (a, b, folder) = (first("a.efi"), first("b.efi"), first("f"));
        let entry = |cluster: u32| table.copies[0] + 4 * u64::from(cluster);
        for (cluster, value) in
            [(a, a), (a, b), (a, 0), (a, 1), (b, 0x0fff_ffff), (folder, a), (folder, folder)]
        {
            let mut edit = Edit::default();
            edit.push(vec![Write {
                at: entry(cluster),
                bytes: value.to_le_bytes().as_slice().into(),
            }]);
            let opened = Editor::open(&edit.apply(&good));
            assert!(matches!(opened, Err(EditError::Damaged(_))), "{cluster} leads to {value}");
        }
        assert_eq!(table.entry(a).unwrap(), a + 1);
    }

    proptest! {
        /// A damaged volume is refused or changed, never a panic.
        #[test]
        fn a_damaged_volume_does_no_harm(flips in prop::collection::vec((any::<u64>(), any::<u8>()), 1..8)) {
            let (good, changes) = with_file(&volume(&["a.efi"]), &[5; 7000]);
            let starts = [0, 512, 0x4000, changes.entries[0].at - 512, changes.data[0].at];
            let write = |(at, byte): &(u64, u8)| {
                let start = starts[usize::try_from(at % 5).unwrap()];
                Write { at: start + at / 5 % 512, bytes: [*byte].as_slice().into() }
            };
            let mut bad = good;
            for flip in &flips {
                let mut edit = Edit::default();
                edit.push(vec![write(flip)]);
                bad = edit.apply(&bad);
            }
            if let Ok(mut editor) = Editor::open(&bad) {
                let _ = editor.list("EFI/Linux/f");
                let _ = editor.remove("EFI/Linux", "f");
                if let Ok(room) = editor.reserve(600, 2048) {
                    let _ = editor.add("EFI/Linux", "g", &[("x", &room)], 0);
                }
                let _ = editor.finish();
            }
        }
    }
}
