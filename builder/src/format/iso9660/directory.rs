//! A tree's directories and path tables, placed and written.
//!
//! In: a tree, where its files lie. Out: blocks of directory records, path tables.
//!
//! Source: ECMA-119, 2nd edition, 6.8.1 ("Directory"), 6.9 ("Path Table"), 9.4 ("Format of a Path
//! Table Record"), <https://ecma-international.org/publications-and-standards/standards/ecma-119/>.
//!
//! Not here: how one record is written (`record`).

use std::iter;

use super::date::Stamp;
use super::name::Identifier;
use super::record::{self, BLOCK_BYTES_USIZE, Extent, Packer, Row};
use super::tree::{Node, Tree};
use super::{Block, IsoError, PlacedFile};

/// A tree's directories, placed one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directories {
    tree: Tree,
    places: Vec<Place>,
    /// The blocks that all directories take.
    pub(super) blocks: u32,
    /// The bytes of one path table.
    pub(super) table_bytes: u32,
}

/// Where a directory lies, in blocks from the first directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    start: u32,
    /// The blocks of its records. Those of its continuation area follow.
    records: u32,
}

/// A tree as one volume descriptor shows it: all blocks are counted from the volume's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The first directory's block, counted from the image's start.
    pub(super) base: Block,
    /// The block at which the volume starts.
    pub(super) volume: Block,
    /// Where the tree's files lie in the image.
    pub(super) files: &'a [PlacedFile],
    /// The date of everything.
    pub(super) stamp: Stamp,
}

/// The byte order of a path table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Type L.
    Little,
    /// Type M.
    Big,
}

/// The most bytes of a file's section but its last: whole blocks, counted in 32 bits.
pub(super) const SECTION_BYTES: u64 = 0xffff_f800;

impl Directories {
    /// Places the tree's directories. Of the files, only the lengths matter here.
    ///
    /// # Errors
    ///
    /// Where a directory or the path table passes 4 GiB.
    pub(super) fn place(tree: Tree, files: &[PlacedFile], stamp: Stamp) -> Result<Self, IsoError> {
        let count = tree.directories.len();
        let table_bytes = (0..count).map(|i| path_record_bytes(&tree, i)).sum::<usize>();
        let table_bytes = u32::try_from(table_bytes).map_err(|_| IsoError::TooLarge)?;
        let places = vec![Place::default(); count];
        let mut placed = Self { tree, places, blocks: 0, table_bytes };
        let view = View { base: Block(0), volume: Block(0), files, stamp };
        for i in 0..count {
            let (mut records, mut far) = (Packer::default(), Packer::default());
            for row in placed.rows(i, view) {
                records.place(row.len());
                far.place(row.far().len());
            }
            let blocks = [records.blocks(), far.blocks()].map(u32::try_from);
            let [Ok(records), Ok(far)] = blocks else { return Err(IsoError::TooLarge) };
            placed.places[i] = Place { start: placed.blocks, records };
            let blocks = records.checked_add(far).and_then(|n| placed.blocks.checked_add(n));
            placed.blocks = blocks.filter(|n| *n < 1 << 21).ok_or(IsoError::TooLarge)?;
        }
        Ok(placed)
    }

    /// The root directory's extent.
    pub(super) fn root(&self, view: View<'_>) -> Extent {
        self.extent(0, view)
    }

    /// All directories, in whole blocks.
    pub(super) fn bytes(&self, view: View<'_>) -> Vec<u8> {
        let mut out = vec![0; in_memory(self.blocks) * BLOCK_BYTES_USIZE];
        for (i, place) in self.places.iter().enumerate() {
            let start = in_memory(place.start) * BLOCK_BYTES_USIZE;
            let (mut records, mut far) = (Packer::default(), Packer::default());
            for row in self.rows(i, view) {
                let far_at =
                    in_memory(place.records) * BLOCK_BYTES_USIZE + far.place(row.far().len());
                let far_block = self.block(i, view).0 + on_disk(far_at / BLOCK_BYTES_USIZE);
                let bytes = row.bytes(Block(far_block), on_disk(far_at % BLOCK_BYTES_USIZE));
                put(&mut out, start + records.place(bytes.len()), &bytes);
                put(&mut out, start + far_at, row.far());
            }
        }
        out
    }

    /// The path table, not padded.
    pub(super) fn path_table(&self, view: View<'_>, order: Order) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, directory) in self.tree.directories.iter().enumerate() {
            let identifier = path_identifier(directory.identifier.as_ref());
            let parent = u16::try_from(directory.parent + 1).expect("the tree is small enough");
            out.push(u8::try_from(identifier.len()).expect("an identifier is short"));
            let extended_attribute_length = 0;
            out.push(extended_attribute_length);
            match order {
                Order::Little => {
                    out.extend(self.block(i, view).0.to_le_bytes());
                    out.extend(parent.to_le_bytes());
                }
                Order::Big => {
                    out.extend(self.block(i, view).0.to_be_bytes());
                    out.extend(parent.to_be_bytes());
                }
            }
            out.extend_from_slice(&identifier);
            out.resize(out.len().next_multiple_of(2), 0);
        }
        out
    }

    /// The block of a directory, as the view counts.
    fn block(&self, directory: usize, view: View<'_>) -> Block {
        Block(view.base.0 + self.places[directory].start - view.volume.0)
    }

    fn extent(&self, directory: usize, view: View<'_>) -> Extent {
        let len = self.places[directory].records * on_disk(BLOCK_BYTES_USIZE);
        Extent { start: self.block(directory, view), len, flags: record::DIRECTORY }
    }

    /// The records of a directory, in order.
    fn rows(&self, i: usize, view: View<'_>) -> Vec<Row> {
        let directory = &self.tree.directories[i];
        let mut own = vec![self.posix(i), record::times(view.stamp)];
        if i == 0 {
            own.insert(0, record::sharing_in_use());
            own.push(record::rock_ridge_in_use());
        }
        let up = [self.posix(directory.parent), record::times(view.stamp)];
        let parent = self.extent(directory.parent, view);
        let mut rows = vec![
            Row::new(record::SELF, self.extent(i, view), view.stamp, &own),
            Row::new(record::PARENT, parent, view.stamp, &up),
        ];
        for child in &directory.children {
            let (posix, extents) = match child.node {
                Node::Directory(below) => (self.posix(below), vec![self.extent(below, view)]),
                Node::File(file) => {
                    (self.file_posix(file), sections(&view.files[file], view.volume))
                }
            };
            let entries = [posix, record::times(view.stamp), record::name(&child.name)];
            let identifier = child.identifier.to_string();
            let row = |e| Row::new(identifier.as_bytes(), e, view.stamp, &entries);
            rows.extend(extents.into_iter().map(row));
        }
        rows
    }

    /// A directory's links are its name, its own `.`, and the `..` of each directory in it.
    fn posix(&self, directory: usize) -> Vec<u8> {
        let links = on_disk(2 + self.tree.directories_in(directory));
        record::posix(0o040_555, links, on_disk(directory + 1))
    }

    fn file_posix(&self, file: usize) -> Vec<u8> {
        record::posix(0o100_444, 1, on_disk(self.tree.directories.len() + file + 1))
    }
}

/// A file's sections: one, but for a file of 4 GiB and more. An empty file lies nowhere.
fn sections(file: &PlacedFile, volume: Block) -> Vec<Extent> {
    let full = usize::try_from(file.len.saturating_sub(1) / SECTION_BYTES).expect("few sections");
    let lens = iter::repeat_n(SECTION_BYTES, full);
    let last = file.len - SECTION_BYTES * full as u64;
    let mut start = if file.len == 0 { 0 } else { file.start.0 - volume.0 };
    let mut extents = Vec::new();
    for len in lens.chain([last]) {
        let len = u32::try_from(len).expect("a section's length has 32 bits");
        extents.push(Extent { start: Block(start), len, flags: record::MORE_SECTIONS });
        start += on_disk(in_memory(len).div_ceil(BLOCK_BYTES_USIZE));
    }
    if let Some(last) = extents.last_mut() {
        last.flags = 0;
    }
    extents
}

fn path_identifier(identifier: Option<&Identifier>) -> Vec<u8> {
    identifier.map_or(record::SELF.to_vec(), |identifier| identifier.to_string().into_bytes())
}

fn path_record_bytes(tree: &Tree, directory: usize) -> usize {
    let identifier = path_identifier(tree.directories[directory].identifier.as_ref());
    8 + identifier.len().next_multiple_of(2)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn in_memory(n: u32) -> usize {
    usize::try_from(n).expect("lengths of 32 bits fit in memory")
}

/// A count of things held in memory, which `place` has bounded.
fn on_disk(n: usize) -> u32 {
    u32::try_from(n).expect("directories have less than 4 GiB")
}
