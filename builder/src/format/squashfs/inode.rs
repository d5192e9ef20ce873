//! Inodes and directories.
//!
//! In: nodes, which holds which, and where their data and attributes lie. Out: the two tables.
//!
//! Source: the Linux kernel's `Documentation/filesystems/squashfs.rst`, sections 3.3 and 3.4, and
//! the structures in `fs/squashfs/squashfs_fs.h`.
//!
//! Not here: indices of large directories, which only make looking a name up faster.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::data::Data;
use super::metadata::{Metadata, Ref, length};
use super::xattr::NO_INDEX;
use super::{Kind, Node, SquashfsError, Tree};

/// Entries under one directory header, at most.
const RUN: usize = 256;

/// The inodes and directories under way. A node's inode number is its index plus 1.
#[derive(Default)]
pub(super) struct Inodes<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) tree: Tree<'a>,
    pub(super) files: Vec<Data>,
    pub(super) attributes: Vec<u32>,
    pub(super) epoch: u32,
    pub(super) inodes: Metadata,
    pub(super) dirs: Metadata,
    /// Where each node's inode lies, once written.
    pub(super) places: Vec<Ref>,
}

/// squashfs_fs.h, the fields that all inodes begin with.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InodeBase {
    inode_type: U16,
    mode: U16,
    uid: U16,
    guid: U16,
    mtime: U32,
    inode_number: U32,
}
const _: () = assert!(size_of::<InodeBase>() == 16);

/// squashfs_fs.h, `squashfs_ldir_inode` after the base.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct DirInode {
    nlink: U32,
    file_size: U32,
    start_block: U32,
    parent_inode: U32,
    i_count: U16,
    offset: U16,
    xattr: U32,
}
const _: () = assert!(size_of::<DirInode>() == 24);

/// squashfs_fs.h, `squashfs_lreg_inode` after the base, without its block list.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct FileInode {
    start_block: U64,
    file_size: U64,
    sparse: U64,
    nlink: U32,
    fragment: U32,
    offset: U32,
    xattr: U32,
}
const _: () = assert!(size_of::<FileInode>() == 40);

/// squashfs_fs.h, `squashfs_dir_header`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct DirHeader {
    count: U32,
    start_block: U32,
    inode_number: U32,
}
const _: () = assert!(size_of::<DirHeader>() == 12);

/// squashfs_fs.h, `squashfs_dir_entry`, without its name.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct DirEntry {
    offset: U16,
    inode_number: U16,
    entry_type: U16,
    size: U16,
}
const _: () = assert!(size_of::<DirEntry>() == 8);

impl Inodes<'_> {
    /// Writes every inode and directory, and says where the root's inode lies.
    pub(super) fn write_all(&mut self) -> Result<Ref, SquashfsError> {
        u32::try_from(self.nodes.len()).map_err(|_| SquashfsError::TooLarge)?;
        self.places = vec![Ref::default(); self.nodes.len()];
        // A directory tells where the inodes of its entries lie, so what it holds goes first.
        for index in (0..self.nodes.len()).rev() {
            let body = match &self.nodes[index].kind {
                Kind::Dir => self.dir(index)?,
                Kind::File(_) | Kind::Copy(_) => self.file(index),
                Kind::Symlink(target) => self.symlink(index, target),
            };
            self.places[index] = self.inodes.position();
            let base = self.base(index);
            self.inodes.push(base.as_bytes());
            self.inodes.push(&body);
        }
        Ok(self.places[0])
    }

    fn base(&self, index: usize) -> InodeBase {
        let node = &self.nodes[index];
        InodeBase {
            // An inode's extended kind is its basic kind plus 7.
            inode_type: U16::new(basic_type(&node.kind) + 7),
            mode: U16::new(node.permissions & 0o7777),
            uid: U16::ZERO,
            guid: U16::ZERO,
            mtime: U32::new(self.epoch),
            inode_number: number(index),
        }
    }

    fn dir(&mut self, index: usize) -> Result<Vec<u8>, SquashfsError> {
        let listing = self.listing(index);
        let place = self.dirs.position();
        self.dirs.push(&listing);
        let is_dir = |&&child: &&usize| matches!(self.nodes[child].kind, Kind::Dir);
        let subdirs = self.tree.children[index].values().filter(is_dir).count();
        // The kernel counts `.` and `..` as 3 bytes that are not there.
        let size = u32::try_from(listing.len() + 3).map_err(|_| SquashfsError::TooLarge)?;
        let parent = self.tree.parents[index];
        // The root's parent has the number after the last node's.
        let parent = if index == 0 { number(self.nodes.len()) } else { number(parent) };
        let inode = DirInode {
            nlink: U32::new(length(subdirs + 2)),
            file_size: U32::new(size),
            start_block: U32::new(place.block),
            parent_inode: parent,
            i_count: U16::ZERO,
            offset: U16::new(place.offset),
            xattr: U32::new(self.attributes[index]),
        };
        Ok(inode.as_bytes().to_vec())
    }

    /// A directory's entries in order of name, in runs that share a header.
    fn listing(&self, index: usize) -> Vec<u8> {
        let children: Vec<_> = self.tree.children[index].iter().collect();
        let mut out = Vec::new();
        let mut rest = children.as_slice();
        while let Some((&(_, &first), _)) = rest.split_first() {
            let fits = |&&(_, &child): &&(&&str, &usize)| {
                self.places[child].block == self.places[first].block
                    && delta(first, child).is_some()
            };
            let count = rest.iter().take(RUN).take_while(fits).count();
            let (run, others) = rest.split_at(count);
            let header = DirHeader {
                count: U32::new(length(count - 1)),
                start_block: U32::new(self.places[first].block),
                inode_number: number(first),
            };
            out.extend(header.as_bytes());
            for &(name, &child) in run {
                out.extend(self.entry(first, child, name).as_bytes());
                out.extend(name.as_bytes());
            }
            rest = others;
        }
        out
    }

    fn entry(&self, first: usize, child: usize, name: &str) -> DirEntry {
        let delta = delta(first, child).expect("a run ends before its numbers are too far apart");
        let size = u16::try_from(name.len() - 1).expect("names are checked to have 1 to 255 bytes");
        DirEntry {
            offset: U16::new(self.places[child].offset),
            inode_number: U16::from_bytes(delta.to_le_bytes()),
            entry_type: U16::new(basic_type(&self.nodes[child].kind)),
            size: U16::new(size),
        }
    }

    fn file(&self, index: usize) -> Vec<u8> {
        let Data { start, sizes, len } = &self.files[index];
        let inode = FileInode {
            start_block: U64::new(*start),
            file_size: U64::new(*len),
            sparse: U64::ZERO,
            nlink: U32::new(1),
            fragment: U32::new(NO_INDEX),
            offset: U32::ZERO,
            xattr: U32::new(self.attributes[index]),
        };
        let sizes = sizes.iter().flat_map(|size| size.to_le_bytes());
        inode.as_bytes().iter().copied().chain(sizes).collect()
    }

    /// squashfs_fs.h, `squashfs_symlink_inode` after the base; the extended kind ends in the
    /// attributes' index.
    fn symlink(&self, index: usize, target: &str) -> Vec<u8> {
        let mut out = 1_u32.to_le_bytes().to_vec();
        out.extend(length(target.len()).to_le_bytes());
        out.extend(target.as_bytes());
        out.extend(self.attributes[index].to_le_bytes());
        out
    }
}

fn basic_type(kind: &Kind) -> u16 {
    match kind {
        Kind::Dir => 1,
        Kind::File(_) | Kind::Copy(_) => 2,
        Kind::Symlink(_) => 3,
    }
}

/// The inode number of the node at `index`.
fn number(index: usize) -> U32 {
    U32::new(length(index + 1))
}

/// How far a node's number is from that of its run's first, if 16 bits can tell.
fn delta(first: usize, child: usize) -> Option<i16> {
    let (first, child) = (i64::try_from(first).ok()?, i64::try_from(child).ok()?);
    i16::try_from(child - first).ok()
}
