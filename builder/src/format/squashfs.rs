//! squashfs 4.0 images with extended attributes.
//!
//! In: a tree of directories, files and symbolic links. Out: an image as a [`Blob`].
//!
//! Every block is compressed with zstd where that makes it smaller, several at a time; the bytes are
//! the same for any number of threads. Inodes are all of the extended kinds: they hold attributes
//! and any size, so that one form serves each kind. Files have no fragments: a file's tail is a
//! short block of its own, which costs a few percent where most files are small.
//!
//! Source: the Linux kernel's `Documentation/filesystems/squashfs.rst`,
//! <https://docs.kernel.org/filesystems/squashfs.html>, and its structures in
//! `fs/squashfs/squashfs_fs.h`.
//!
//! Not here: devices, hard links, owners other than root, reading images.

mod data;
mod inode;
mod metadata;
mod xattr;

use std::collections::BTreeMap;
use std::io::{self, Write};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use self::data::Data;
use self::inode::Inodes;
use self::metadata::{LEVEL, METADATA_RAW, Metadata, Ref, length};
use self::xattr::{NO_TABLE, Xattrs};
use crate::blob::{Blob, Builder};

/// The most bytes that the files of a tree may have together where compressed blocks are kept in
/// memory ([`write()`]).
pub const MAX_CONTENT: u64 = 64 << 20;

/// The bytes of a data block as a power of two: 128 KiB, as `mksquashfs` takes them by default.
const BLOCK_LOG: u16 = 17;
/// Loop devices drop a last page that is not whole.
const PAGE: u64 = 4096;

/// A directory, file or symbolic link of a tree, owned by root.
#[derive(Clone, Debug)]
pub struct Node {
    /// The path from the root, without a leading slash: `usr/local`. The root's is empty.
    pub path: String,
    /// The twelve permission bits: `0o644`. Higher bits are dropped.
    pub permissions: u16,
    /// What it is.
    pub kind: Kind,
    /// Its extended attributes, in the order in which they are listed.
    pub xattrs: Vec<Xattr>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file of these bytes.
    File(Blob),
    /// A file of the bytes of an earlier file, by that one's index. They are stored once.
    Copy(usize),
    /// A symbolic link to this path.
    Symlink(String),
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The whole name, in the namespace `user`, `trusted` or `security`: `security.selinux`.
    pub name: String,
    /// The value, stored as given.
    pub value: Vec<u8>,
}

/// Why nodes make no image.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// The path is absolute, has an empty, `.` or `..` part or a NUL, or a part over 255 bytes.
    #[error("`{0}` is no path inside an image")]
    Path(String),
    /// The path comes twice.
    #[error("`{0}` is in the image twice")]
    Duplicate(String),
    /// The first node is not the root, or another one is.
    #[error("the first node of an image, and no other, is its root: a directory without a path")]
    Root,
    /// A node's directory is not listed before it.
    #[error("`{0}` comes before the directory that holds it")]
    Orphan(String),
    /// The link leads nowhere, or its target is longer than the kernel reads.
    #[error("the link `{0}` has an empty target, or one over 4095 bytes")]
    Target(String),
    /// The attribute comes twice at one node, has an unknown namespace, or is too long.
    #[error("`{path}` cannot have the extended attribute `{name}`")]
    Xattr {
        /// The node.
        path: String,
        /// The attribute's name.
        name: String,
    },
    /// The files are larger than [`MAX_CONTENT`], or there are more nodes than the format can tell.
    #[error("the tree is too large: its files may have 64 MiB together")]
    TooLarge,
    /// The file that a [`Kind::Copy`] names is none, or comes after it.
    #[error("`{0}` is the copy of no earlier file")]
    Copy(String),
    /// A file's content could not be read, or not be compressed.
    #[error("the content of `{path}` cannot be read")]
    Content {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes an image of `nodes`, all last changed at `epoch` (seconds since 1970).
///
/// The first node is the root, with an empty path; a directory comes before what it holds.
///
/// # Errors
///
/// Where a path, link or attribute is not one, the order is another, or the tree is too large.
pub fn write(nodes: &[Node], epoch: u32) -> Result<Blob, SquashfsError> {
    let mut total = 0_u64;
    for node in nodes {
        let len = if let Kind::File(content) = &node.kind { content.len() } else { 0 };
        total = total.checked_add(len).ok_or(SquashfsError::TooLarge)?;
    }
    if total > MAX_CONTENT {
        return Err(SquashfsError::TooLarge);
    }
    let tree = Tree::of(nodes)?;
    let mut data = Some(Builder::default());
    let files = data::write(nodes, LEVEL, HEAD as u64, &mut |block| {
        data = data.take().map(|data| data.blob(block));
        Ok(())
    })?;
    let data = data.unwrap_or_default().finish();
    Ok(Frame::of(nodes, tree, files, data.len(), LEVEL, epoch)?.around(&data))
}

/// Writes the blocks of all files to `data`, and gives what belongs around them. For trees that
/// memory would not hold: it keeps 16 MiB of blocks at a time.
///
/// # Errors
///
/// As [`write()`], but for the size; and where `data` cannot be written to.
pub fn write_apart(
    nodes: &[Node],
    epoch: u32,
    data: &mut dyn Write,
) -> Result<Frame, SquashfsError> {
    let tree = Tree::of(nodes)?;
    let mut len = 0;
    let files = data::write(nodes, LEVEL, HEAD as u64, &mut |block| {
        len += io::copy(&mut block.reader(), data)?;
        Ok(())
    })?;
    Frame::of(nodes, tree, files, len, LEVEL, epoch)
}

/// What belongs around the data blocks of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

/// The bytes before the data: the superblock and the compressor's options.
const HEAD: usize = size_of::<Superblock>() + 6;

impl Frame {
    fn of(
        nodes: &[Node],
        tree: Tree<'_>,
        files: Vec<Data>,
        data_len: u64,
        level: u8,
        epoch: u32,
    ) -> Result<Self, SquashfsError> {
        let (xattrs, attributes) = Xattrs::of(nodes)?;
        let mut inodes = Inodes { nodes, tree, files, attributes, epoch, ..Inodes::default() };
        let root = inodes.write_all()?;
        let tables = Tables::of(inodes, xattrs, HEAD as u64 + data_len);
        let head = superblock(nodes.len(), epoch, root, &tables);
        let options = compressor_options(level);
        Ok(Self([head.as_bytes(), &options, &tables.bytes].concat()))
    }

    /// A frame as [`Frame::bytes`] gave it, or nothing where it is too short.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() > HEAD).then_some(Self(bytes))
    }

    /// Its bytes, to be kept.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The image around its data.
    pub fn around(&self, data: &Blob) -> Blob {
        let (head, tables) = self.0.split_at(HEAD);
        let image = Builder::default()
            .bytes("squashfs superblock", head)
            .blob(data)
            .bytes("squashfs tables", tables);
        image.align(PAGE).finish()
    }
}

/// Which node holds which: for each, its name, its directory, and what it holds in order of name.
#[derive(Default)]
struct Tree<'a> {
    parents: Vec<usize>,
    children: Vec<BTreeMap<&'a str, usize>>,
}

impl<'a> Tree<'a> {
    fn of(nodes: &'a [Node]) -> Result<Self, SquashfsError> {
        let mut tree = Self::default();
        let mut dirs: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            check(node, index == 0)?;
            check_copy(nodes, index)?;
            tree.children.push(BTreeMap::new());
            let parent = if index == 0 { 0 } else { tree.hang(index, &node.path, &dirs)? };
            tree.parents.push(parent);
            if let Kind::Dir = node.kind {
                dirs.insert(&node.path, index);
            }
        }
        if nodes.is_empty() { Err(SquashfsError::Root) } else { Ok(tree) }
    }

    /// Adds a node to the directory that holds it, and says which that is.
    fn hang(
        &mut self,
        index: usize,
        path: &'a str,
        dirs: &BTreeMap<&str, usize>,
    ) -> Result<usize, SquashfsError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = *dirs.get(parent).ok_or_else(|| SquashfsError::Orphan(path.into()))?;
        match self.children[parent].insert(name, index) {
            Some(_) => Err(SquashfsError::Duplicate(path.into())),
            None => Ok(parent),
        }
    }
}

fn check(node: &Node, is_first: bool) -> Result<(), SquashfsError> {
    let is_root = node.path.is_empty() && matches!(node.kind, Kind::Dir);
    if is_root != is_first {
        return Err(SquashfsError::Root);
    }
    let bad = |p: &str| matches!(p, "" | "." | "..") || p.contains('\0') || p.len() > 255;
    if !is_root && node.path.split('/').any(bad) {
        return Err(SquashfsError::Path(node.path.clone()));
    }
    match &node.kind {
        Kind::Symlink(to) if to.is_empty() || to.len() > 4095 || to.contains('\0') => {
            Err(SquashfsError::Target(node.path.clone()))
        }
        _ => Ok(()),
    }
}

/// The bytes of a copy must be known when its turn comes.
fn check_copy(nodes: &[Node], index: usize) -> Result<(), SquashfsError> {
    match nodes[index].kind {
        Kind::Copy(of) if of >= index || !matches!(nodes[of].kind, Kind::File(_)) => {
            Err(SquashfsError::Copy(nodes[index].path.clone()))
        }
        _ => Ok(()),
    }
}

/// What `mksquashfs` notes for a level other than its own default: a metadata block, stored raw.
fn compressor_options(level: u8) -> [u8; 6] {
    let [a, b] = (4 | METADATA_RAW).to_le_bytes();
    [a, b, level, 0, 0, 0]
}

/// All tables after the data, and where in the image each starts.
struct Tables {
    bytes: Vec<u8>,
    inodes: u64,
    dirs: u64,
    fragments: u64,
    lookup: u64,
    ids: u64,
    xattrs: u64,
    end: u64,
}

impl Tables {
    /// The kernel demands this order, and that each table ends where the next one starts.
    fn of(done: Inodes<'_>, xattrs: Xattrs, start: u64) -> Self {
        let (mut bytes, _) = done.inodes.finish(start);
        let dirs = start + bytes.len() as u64;
        bytes.extend(done.dirs.finish(dirs).0);
        let fragments = start + bytes.len() as u64;
        let mut places = Metadata::default();
        done.places.iter().for_each(|place| places.push(place.packed().as_bytes()));
        let lookup = push_indexed(&mut bytes, start, places);
        let mut root_only = Metadata::default();
        root_only.push(&[0; 4]);
        let ids = push_indexed(&mut bytes, start, root_only);
        let (table, xattrs) = xattrs.finish(start + bytes.len() as u64);
        bytes.extend(table);
        let end = start + bytes.len() as u64;
        Self { bytes, inodes: start, dirs, fragments, lookup, ids, xattrs, end }
    }
}

/// Adds a table and the index of its blocks, and says where in the image the index starts.
fn push_indexed(bytes: &mut Vec<u8>, start: u64, table: Metadata) -> u64 {
    let (stored, index) = table.finish(start + bytes.len() as u64);
    bytes.extend(stored);
    let at = start + bytes.len() as u64;
    bytes.extend(index);
    at
}

/// squashfs_fs.h, `squashfs_super_block`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Superblock {
    magic: [u8; 4],
    inodes: U32,
    mkfs_time: U32,
    block_size: U32,
    fragments: U32,
    compression: U16,
    block_log: U16,
    flags: U16,
    no_ids: U16,
    major: U16,
    minor: U16,
    root_inode: U64,
    bytes_used: U64,
    id_table_start: U64,
    xattr_id_table_start: U64,
    inode_table_start: U64,
    directory_table_start: U64,
    fragment_table_start: U64,
    lookup_table_start: U64,
}
const _: () = assert!(size_of::<Superblock>() == 96);

/// squashfs_fs.h, `ZSTD_COMPRESSION`.
const ZSTD: u16 = 6;
/// squashfs_fs.h: no fragments (bit 4), exportable (7), compressor options (10).
const FLAGS: u16 = 1 << 4 | 1 << 7 | 1 << 10;
/// squashfs_fs.h: no attributes.
const FLAG_NO_XATTRS: u16 = 1 << 9;

fn superblock(inodes: usize, epoch: u32, root: Ref, tables: &Tables) -> Superblock {
    let no_xattrs = if tables.xattrs == NO_TABLE { FLAG_NO_XATTRS } else { 0 };
    Superblock {
        magic: *b"hsqs",
        inodes: U32::new(length(inodes)),
        mkfs_time: U32::new(epoch),
        block_size: U32::new(1 << BLOCK_LOG),
        fragments: U32::ZERO,
        compression: U16::new(ZSTD),
        block_log: U16::new(BLOCK_LOG),
        flags: U16::new(FLAGS | no_xattrs),
        no_ids: U16::new(1),
        major: U16::new(4),
        minor: U16::ZERO,
        root_inode: root.packed(),
        bytes_used: U64::new(tables.end),
        id_table_start: U64::new(tables.ids),
        xattr_id_table_start: U64::new(tables.xattrs),
        inode_table_start: U64::new(tables.inodes),
        directory_table_start: U64::new(tables.dirs),
        fragment_table_start: U64::new(tables.fragments),
        lookup_table_start: U64::new(tables.lookup),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, kind: Kind) -> Node {
        Node { path: path.into(), permissions: 0o755, kind, xattrs: Vec::new() }
    }

    fn tree(paths: &[&str]) -> Vec<Node> {
        paths.iter().map(|path| node(path, Kind::Dir)).collect()
    }

    #[test]
    fn an_image_is_laid_out_so() {
        let noise: Vec<u8> =
            (0..40_u32).map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect();
        let nodes = [
            node("", Kind::Dir),
            node("zeros", Kind::File(Blob::from_bytes("zeros", vec![0; 300_000]))),
            node("noise", Kind::File(Blob::from_bytes("noise", noise))),
        ];
        let image = write(&nodes, 1).unwrap();
        insta::assert_snapshot!(format!("{image:?}"), @"
        0x0000000000        102 bytes squashfs superblock
        0x0000000066         21 bytes squashfs data
        0x000000007b         21 bytes squashfs data
        0x0000000090         19 bytes squashfs data
        0x00000000a3         40 bytes noise
        0x00000000cb        178 bytes squashfs tables
        0x000000017d       3715 zeros gap
        ");
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let error = |nodes: &[Node]| write(nodes, 0).unwrap_err().to_string();
        insta::assert_snapshot!(error(&[]), @"the first node of an image, and no other, is its root: a directory without a path");
        insta::assert_snapshot!(error(&tree(&["a"])), @"the first node of an image, and no other, is its root: a directory without a path");
        insta::assert_snapshot!(error(&tree(&["", ""])), @"the first node of an image, and no other, is its root: a directory without a path");
        insta::assert_snapshot!(error(&tree(&["", "a/b"])), @"`a/b` comes before the directory that holds it");
        insta::assert_snapshot!(error(&tree(&["", "a", "a"])), @"`a` is in the image twice");
        insta::assert_snapshot!(error(&tree(&["", "a/../b"])), @"`a/../b` is no path inside an image");
        let copies = |of| [node("", Kind::Dir), node("c", Kind::Copy(of)), node("d", Kind::Dir)];
        for of in [0, 1, 2, 9] {
            assert_eq!(error(&copies(of)), "`c` is the copy of no earlier file");
        }
        let link = node("l", Kind::Symlink(String::new()));
        insta::assert_snapshot!(error(&[node("", Kind::Dir), link]), @"the link `l` has an empty target, or one over 4095 bytes");
    }

    #[test]
    fn a_tree_that_memory_would_not_hold_is_refused() {
        let content = Builder::default().zeros("long", MAX_CONTENT + 1).finish();
        let nodes = [node("", Kind::Dir), node("long", Kind::File(content))];
        assert!(matches!(write(&nodes, 0), Err(SquashfsError::TooLarge)));
    }
}
