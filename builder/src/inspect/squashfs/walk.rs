//! All that is below a folder of an image.
//!
//! In: a path. Out: folders and files, sorted.
//!
//! Source: Linux `Documentation/filesystems/squashfs.rst`, section 3.4.
//!
//! Not here: contents, links, devices.

use zerocopy::FromBytes;

use super::{
    BASIC_DIRECTORY, BASIC_FILE, DIRECTORY_LIMIT, DirectoryEntry, DirectoryRun, File, Inode,
    Squashfs,
};
use crate::inspect::damage::Damage;

/// The most entries that are listed.
const ENTRIES_LIMIT: usize = 1 << 14;
/// The deepest folder below the one that is asked for.
const DEPTH_LIMIT: usize = 32;

/// An entry below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The path from that folder.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File(Place),
    /// Anything else.
    Other,
}

/// Where a file's inode lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Squashfs {
    /// All that is below the folder at a path, sorted by path; nothing where there is no such
    /// folder. Symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a directory is damaged, or there are more than 16384 entries, or folders
    /// more than 32 deep.
    pub fn walk(&self, path: &str) -> Result<Option<Vec<Below>>, Damage> {
        let mut below = Vec::new();
        let Some(Inode::Directory { block, offset, len }) = self.lookup(path)? else {
            return Ok(None);
        };
        let mut folders = vec![(String::new(), 0, block, offset, len)];
        while let Some((folder, depth, block, offset, len)) = folders.pop() {
            for (name, reference, kind) in self.listing(block, offset, len)? {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = match kind {
                    BASIC_DIRECTORY => {
                        if let Inode::Directory { block, offset, len } = self.inode(reference)? {
                            folders.push((path.clone(), depth + 1, block, offset, len));
                        }
                        Kind::Folder
                    }
                    BASIC_FILE => Kind::File(Place(reference)),
                    _ => Kind::Other,
                };
                below.push(Below { path, kind });
                if below.len() > ENTRIES_LIMIT || depth > DEPTH_LIMIT {
                    let table = self.superblock.directory_table_start.get();
                    let wrong = format!("there are too many entries, or too deep ones: `{folder}`");
                    return Err(Damage::new("squashfs directory", table, wrong));
                }
            }
        }
        below.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(below))
    }

    /// The file whose inode lies at a place.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the inode is damaged or that of no file.
    pub fn file(&self, place: Place) -> Result<File, Damage> {
        match self.inode(place.0)? {
            Inode::File(file) => Ok(file),
            Inode::Directory { .. } | Inode::Other => {
                let table = self.superblock.inode_table_start.get();
                Err(Damage::new("squashfs inode", table, "a directory calls it a file's"))
            }
        }
    }

    /// The names of a directory, the references of their inodes, and their kinds.
    fn listing(&self, block: u32, offset: u16, len: u32) -> Result<Vec<Listed>, Damage> {
        let table = self.superblock.directory_table_start.get();
        if len > DIRECTORY_LIMIT {
            let wrong = format!("a directory has {len} bytes");
            return Err(Damage::new("squashfs directory", table, wrong));
        }
        let mut metadata = self.metadata(table, u64::from(block) << 16 | u64::from(offset))?;
        let listing = metadata.bytes(len.saturating_sub(3))?;
        entries(&listing).ok_or_else(|| {
            Damage::new("squashfs directory", table, "a listing is cut, or a name is none")
        })
    }
}

/// A name, the reference of its inode, and the basic type of that.
type Listed = (String, u64, u16);

fn entries(mut listing: &[u8]) -> Option<Vec<Listed>> {
    let mut entries = Vec::new();
    while !listing.is_empty() {
        let (run, mut rest) = DirectoryRun::read_from_prefix(listing).ok()?;
        for _ in 0..=run.count.get().min(255) {
            let (entry, after) = DirectoryEntry::read_from_prefix(rest).ok()?;
            let (name, after) = after.split_at_checked(usize::from(entry.size.get()) + 1)?;
            let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
            let block = u64::from(run.start_block.get());
            let reference = block << 16 | u64::from(entry.offset.get());
            entries.push((name.to_owned(), reference, entry.kind.get()));
            rest = after;
        }
        listing = rest;
    }
    Some(entries)
}

fn is_name(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}
