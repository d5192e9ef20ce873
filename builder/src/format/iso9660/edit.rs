//! Directories of an ISO 9660 volume that somebody else wrote, changed: a file's record made to
//! point elsewhere, a record added where a block has room for it.
//!
//! In: an image, a path. Out: writes, each inside one block.
//!
//! A new record has what its neighbours have (Rock Ridge's mode, owner and times), and stands in the
//! order of names. No directory grows and none moves, so path tables and descriptors stay true.
//!
//! Source: ECMA-119, 2nd edition (ISO 9660), 6.8 and 9.1; System Use Sharing Protocol (IEEE P1281)
//! 1.12, chapter 5; Rock Ridge Interchange Protocol (IEEE P1282) 1.12, chapter 4.
//!
//! Not here: new directories, and volumes without Rock Ridge.

use std::io;
use std::ops::Range;

use thiserror::Error;
use zerocopy::IntoBytes;

use super::record::{self, BLOCK_BYTES_USIZE, Both32};
use super::{BLOCK_BYTES, Block, PRIMARY, SECOND_PRIMARY, SECOND_VOLUME};
use crate::blob::Blob;
use crate::edit::Write;

/// The most bytes of a directory.
const DIRECTORY_LIMIT: u64 = 4 << 20;
/// The bytes of a record before its identifier.
const FIXED: usize = 33;
/// The flags of a record: a directory, and a file that goes on in the next record.
const FLAGS_AT: usize = 25;

/// Why a volume's directories cannot be changed.
#[derive(Debug, Error)]
pub enum IsoEditError {
    /// It is no volume, or one that is damaged.
    #[error("the ISO cannot be changed: {0}")]
    Damaged(&'static str),
    /// It cannot be read.
    #[error("the ISO cannot be read")]
    Io(#[from] io::Error),
}

/// A volume's tree of directories.
#[derive(Clone, Debug)]
pub struct Tree {
    image: Blob,
    /// The block from which the volume counts.
    start: Block,
    root: Range<u64>,
    /// The bytes of a record's system use area before its entries.
    skip: usize,
}

/// A file or directory, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset of its record in the image.
    pub record: u64,
    /// Its bytes in the image. Of a file in several sections, the first one's.
    pub range: Range<u64>,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A record of a directory.
struct Row {
    at: u64,
    bytes: Vec<u8>,
}

impl Row {
    fn identifier(&self) -> &[u8] {
        &self.bytes[FIXED..FIXED + usize::from(self.bytes[32])]
    }

    /// The entries of the system use area. What is cut is left out.
    fn entries(&self, skip: usize) -> Vec<&[u8]> {
        let from = FIXED + usize::from(self.bytes[32]);
        let mut area = self.bytes.get(from.next_multiple_of(2) + skip..).unwrap_or_default();
        let mut entries = Vec::new();
        while let Some(len) = area.get(2).map(|len| usize::from(*len)) {
            if len < 4 || len > area.len() {
                break;
            }
            let (entry, rest) = area.split_at(len);
            entries.push(entry);
            area = rest;
        }
        entries
    }

    /// Rock Ridge's name, where it is all in this record.
    fn name(&self, skip: usize) -> Option<Vec<u8>> {
        let names = self.entries(skip).into_iter().filter(|entry| entry.starts_with(b"NM"));
        let name: Vec<u8> = names.flat_map(|entry| entry[4..].iter().skip(1)).copied().collect();
        (!name.is_empty()).then_some(name)
    }

    fn is_dir(&self) -> bool {
        self.bytes[FLAGS_AT] & record::DIRECTORY != 0
    }
}

impl Tree {
    /// Opens the image's own volume.
    ///
    /// # Errors
    ///
    /// Where the descriptor or the root directory is damaged, or there are no Rock Ridge names.
    pub fn first(image: &Blob) -> Result<Self, IsoEditError> {
        let tree = Self::open(image, PRIMARY, Block(0))?;
        tree.ok_or(IsoEditError::Damaged("it has no volume descriptor"))
    }

    /// Opens the volume that a partition from block 16 on shows; nothing where there is none.
    ///
    /// # Errors
    ///
    /// As [`Tree::first`].
    pub fn second(image: &Blob) -> Result<Option<Self>, IsoEditError> {
        Self::open(image, SECOND_PRIMARY, SECOND_VOLUME)
    }

    fn open(image: &Blob, descriptor: Block, start: Block) -> Result<Option<Self>, IsoEditError> {
        let mut bytes = [0; 190];
        let is_there = image.read_exact_at(&mut bytes, descriptor.offset()).is_ok();
        if !is_there || bytes[..7] != *b"\x01CD001\x01" {
            return Ok(None);
        }
        let mut tree = Self { image: image.clone(), start, root: 0..0, skip: 0 };
        tree.root = tree.extent(&bytes[156..])?;
        let rows = tree.rows(&tree.root)?;
        let own = rows.first().and_then(|row| row.bytes.get(34..));
        let Some([b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..]) = own else {
            return Err(IsoEditError::Damaged("it has no Rock Ridge names"));
        };
        tree.skip = usize::from(*skip);
        Ok(Some(tree))
    }

    /// The file or directory at a path such as `boot/grub/grub.cfg`.
    ///
    /// # Errors
    ///
    /// Where a directory on the way is damaged.
    pub fn find(&self, path: &str) -> Result<Option<Place>, IsoEditError> {
        let mut here = Place { record: 0, range: self.root.clone(), is_dir: true };
        for name in path.split('/') {
            let rows = if here.is_dir { self.rows(&here.range)? } else { Vec::new() };
            let named = |row: &Row| row.name(self.skip).as_deref() == Some(name.as_bytes());
            let Some(row) = rows.into_iter().find(named) else { return Ok(None) };
            let range = self.extent(&row.bytes)?;
            here = Place { record: row.at, range, is_dir: row.is_dir() };
        }
        Ok(Some(here))
    }

    /// Makes a file's record point to other bytes of the image, at a multiple of 2048; an empty
    /// range makes it an empty file.
    ///
    /// # Errors
    ///
    /// Where they do not lie so, or the file has several sections.
    pub fn point(&self, place: &Place, to: &Range<u64>) -> Result<Write, IsoEditError> {
        let mut flags = [0];
        self.image.read_exact_at(&mut flags, place.record + FLAGS_AT as u64)?;
        if flags[0] & (record::DIRECTORY | record::MORE_SECTIONS) != 0 {
            return Err(IsoEditError::Damaged("a file that is to lie elsewhere has sections"));
        }
        let bytes = self.pointer(to)?;
        Ok(Write { at: place.record + 2, bytes: bytes.as_slice().into() })
    }

    /// Adds a file to a directory; nothing where the block in which its record belongs has no room,
    /// or no other file is there to take mode, owner and times from.
    ///
    /// # Errors
    ///
    /// Where the directory is damaged, or the file's bytes do not lie at a multiple of 2048.
    pub fn add(
        &self,
        folder: &Place,
        identifier: &str,
        name: &str,
        to: &Range<u64>,
    ) -> Result<Option<Write>, IsoEditError> {
        let rows = self.rows(&folder.range)?;
        let is_plain = |row: &&Row| {
            let entries = row.entries(self.skip);
            let has = |kind: &[u8]| entries.iter().any(|entry| entry.starts_with(kind));
            !row.is_dir() && has(b"NM") && has(b"PX") && !has(b"CE")
        };
        let Some(model) = rows.iter().find(is_plain) else { return Ok(None) };
        let new = self.record(model, identifier, name, to)?;
        // The first two records are the directory itself and its parent.
        let after = rows.iter().skip(2).find(|row| row.identifier() > identifier.as_bytes());
        let last = rows.last().map_or(folder.range.start, |row| row.at);
        let at = after.map_or(last, |row| row.at);
        let block = at / BLOCK_BYTES * BLOCK_BYTES;
        let in_block = rows.iter().filter(|row| row.at / BLOCK_BYTES == at / BLOCK_BYTES);
        let is_behind = |row: &&Row| after.is_some_and(|after| row.at >= after.at);
        let (behind, before): (Vec<_>, Vec<_>) = in_block.partition(is_behind);
        let end = |rows: &[&Row]| rows.last().map(|row| row.at + row.bytes.len() as u64);
        let start = end(&before).unwrap_or(block);
        let bytes: Vec<u8> = behind.iter().fold(new, |mut bytes, row| {
            bytes.extend_from_slice(&row.bytes);
            bytes
        });
        let fits = start + bytes.len() as u64 <= block + BLOCK_BYTES;
        Ok(fits.then(|| Write { at: start, bytes: bytes.into() }))
    }

    /// A record like `model`, of another name and place.
    fn record(
        &self,
        model: &Row,
        identifier: &str,
        name: &str,
        to: &Range<u64>,
    ) -> Result<Vec<u8>, IsoEditError> {
        let pointer = self.pointer(to)?;
        let mut bytes = model.bytes[..FIXED].to_vec();
        bytes[1] = 0;
        bytes[2..2 + pointer.len()].copy_from_slice(&pointer);
        bytes[FLAGS_AT] = 0;
        bytes[32] =
            u8::try_from(identifier.len()).expect("identifiers are constants of the caller");
        bytes.extend_from_slice(identifier.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(2) + self.skip, 0);
        for entry in model.entries(self.skip) {
            match &entry[..2] {
                b"NM" | b"ST" => {}
                b"PX" => {
                    let mut entry = entry.to_vec();
                    // A serial number of its own: equal ones would say that both are one file.
                    if entry.len() >= 44 {
                        entry[36..44].copy_from_slice(&pointer[..8]);
                    }
                    bytes.extend(entry);
                }
                _ => bytes.extend_from_slice(entry),
            }
        }
        bytes.extend(record::name(name));
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = u8::try_from(bytes.len())
            .map_err(|_| IsoEditError::Damaged("a directory record is too long"))?;
        Ok(bytes)
    }

    /// A record's first block and length, both in both byte orders.
    fn pointer(&self, to: &Range<u64>) -> Result<Vec<u8>, IsoEditError> {
        let wrong = || IsoEditError::Damaged("a file cannot lie where it is to lie");
        let len = u32::try_from(to.end - to.start).map_err(|_| wrong())?;
        if len == 0 {
            return Ok(vec![0; 16]);
        }
        let block = to.start.checked_sub(self.start.offset()).filter(|at| at % BLOCK_BYTES == 0);
        let block = block.and_then(|at| u32::try_from(at / BLOCK_BYTES).ok()).ok_or_else(wrong)?;
        Ok([Both32::from(block), len.into()].as_bytes().to_vec())
    }

    /// Where the bytes of a record's file lie in the image.
    fn extent(&self, record: &[u8]) -> Result<Range<u64>, IsoEditError> {
        let number = |at: usize| {
            let bytes = record.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
        };
        let (block, len) = (number(2), number(10));
        if len == 0 {
            return Ok(0..0);
        }
        let start = self.start.offset() + block * BLOCK_BYTES;
        match start + len <= self.image.len() {
            true => Ok(start..start + len),
            false => Err(IsoEditError::Damaged("a file lies past its end")),
        }
    }

    /// The records of a directory.
    fn rows(&self, range: &Range<u64>) -> Result<Vec<Row>, IsoEditError> {
        if range.end - range.start > DIRECTORY_LIMIT {
            return Err(IsoEditError::Damaged("a directory is too long"));
        }
        let bytes = self.image.slice(range.clone()).to_vec()?;
        let mut rows = Vec::new();
        for (block, start) in
            bytes.chunks(BLOCK_BYTES_USIZE).zip((range.start..).step_by(BLOCK_BYTES_USIZE))
        {
            let mut at = 0;
            while let Some(len) = block.get(at).map(|len| usize::from(*len)).filter(|len| *len > 0)
            {
                let record = block.get(at..at + len).filter(|r| r.len() > FIXED);
                let record = record.filter(|r| FIXED + usize::from(r[32]) <= r.len());
                let record = record.ok_or(IsoEditError::Damaged("a directory record is cut"))?;
                rows.push(Row { at: start + at as u64, bytes: record.to_vec() });
                at += len;
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BiosBoot, Boot, Content, File, Image, VolumeId, place};
    use super::*;
    use crate::edit::Edit;

    /// An ISO with files in `boot`, of which there are `count` more than two.
    fn image(count: usize) -> Blob {
        let own = |path: String| {
            let content = Content::Own(Blob::from_bytes("file", path.clone().into_bytes()));
            File { path, content }
        };
        let names = ["boot/vmlinuz", "boot/grub/grub.cfg"].map(str::to_owned);
        let more = (0..count).map(|n| format!("boot/file-{n:03}"));
        let image = Image {
            volume_id: VolumeId::new("TALOS").unwrap(),
            volume_set_id: "Talos".into(),
            epoch: 1_700_000_000,
            files: names.into_iter().chain(more).map(own).collect(),
            boot: Some(Boot {
                esp: Blob::from_bytes("esp", [0xa5; 8192]),
                bios: Some(BiosBoot { image: vec![3; 4096], path: "boot/eltorito.img".into() }),
            }),
        };
        let placed = place(&image).unwrap();
        placed.emit(&image, &[0; 512], &[])
    }

    fn apply(image: &Blob, write: Write) -> Blob {
        let mut edit = Edit::default();
        edit.push(vec![write]);
        edit.apply(image)
    }

    /// What is in a folder, in order.
    fn names(image: &Blob, folder: &str) -> Vec<String> {
        let tree = Tree::first(image).unwrap();
        let folder = tree.find(folder).unwrap().unwrap();
        let rows = tree.rows(&folder.range).unwrap();
        let names = rows.iter().filter_map(|row| row.name(tree.skip));
        names.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_file_is_added_in_order_and_another_moved() {
        let before = image(3);
        let tree = Tree::first(&before).unwrap();
        let boot = tree.find("boot").unwrap().unwrap();
        let to = before.len() / 2048 * 2048 - 4096..before.len() / 2048 * 2048 - 4000;
        let added = tree.add(&boot, "NEW.FIL;1", "new.file", &to).unwrap().unwrap();
        assert_eq!(added.at / 2048, (added.range().end - 1) / 2048);
        let after = apply(&before, added);
        let menu = tree.find("boot/grub/grub.cfg").unwrap().unwrap();
        let after = apply(&after, tree.point(&menu, &to).unwrap());
        let tree = Tree::first(&after).unwrap();
        for path in ["boot/new.file", "boot/grub/grub.cfg"] {
            assert_eq!(tree.find(path).unwrap().unwrap().range, to);
        }
        let sorted =
            ["eltorito.img", "file-000", "file-001", "file-002", "grub", "new.file", "vmlinuz"];
        assert_eq!(names(&after, "boot"), sorted);
        assert_eq!(tree.point(&menu, &(0..0)).unwrap().bytes[..], [0; 16]);
        assert!(tree.point(&menu, &(1..9)).is_err());
    }

    /// Directories of every filling: a record is added inside one block, or not at all.
    #[test]
    fn a_full_block_takes_no_record() {
        let mut refused = 0;
        for count in 0..40 {
            let before = image(count);
            let tree = Tree::first(&before).unwrap();
            let boot = tree.find("boot").unwrap().unwrap();
            let Some(write) = tree.add(&boot, "FILE_000.5;1", "file-000.5", &(0..2048)).unwrap()
            else {
                refused += 1;
                continue;
            };
            let after = apply(&before, write);
            assert_eq!(names(&after, "boot").len(), count + 4, "{count}");
        }
        assert!((1..39).contains(&refused), "{refused}");
    }

    #[test]
    fn the_second_volume_counts_from_its_own_start() {
        let image = image(0);
        let (first, second) =
            (Tree::first(&image).unwrap(), Tree::second(&image).unwrap().unwrap());
        let [one, other] = [first, second].map(|tree| tree.find("boot/vmlinuz").unwrap().unwrap());
        assert_eq!(one.range, other.range);
        assert!(one.record != other.record);
    }

    proptest! {
        /// A damaged ISO is refused or changed, never a panic.
        #[test]
        fn a_damaged_tree_does_no_harm(flips in prop::collection::vec((0u64..20 * 2048, any::<u8>()), 1..9)) {
            let mut image = image(3);
            for (at, byte) in flips {
                image = apply(&image, Write { at: 16 * 2048 + at, bytes: [byte].as_slice().into() });
            }
            if let Ok(tree) = Tree::first(&image) {
                let _ = tree.find("boot/grub/grub.cfg").map(|menu| menu.map(|menu| tree.point(&menu, &(0..0))));
                if let Ok(Some(boot)) = tree.find("boot") {
                    let _ = tree.add(&boot, "NEW.FIL;1", "new.file", &(0..2048));
                }
            }
        }
    }
}
