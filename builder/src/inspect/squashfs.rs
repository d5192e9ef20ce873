//! Squashfs 4.0 images, read as far as one file is wanted.
//!
//! In: an image. Out: the file at a path, with owner, mode and extended attributes.
//!
//! Source: Linux `Documentation/filesystems/squashfs.rst`, `fs/squashfs/squashfs_fs.h`.
//!
//! Not here: exporting, hard links, devices; compressors that Talos' kernels lack.

use std::cell::RefCell;
use std::io::{self, Read};

use lzma_rust2::XzReader;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};
use zstd::bulk::Decompressor;

use super::damage::Damage;
use super::field;
use crate::blob::Blob;

pub mod walk;

/// The bytes of a superblock.
pub const SUPERBLOCK: u64 = 96;
/// The bytes that a metadata block unpacks to, at most.
const METADATA: usize = 8192;
/// The longest directory that is read.
const DIRECTORY_LIMIT: u32 = 1 << 20;
/// The longest file whose blocks are listed.
const FILE_LIMIT: u64 = 256 << 20;
/// The longest value of an extended attribute that is read.
const VALUE_LIMIT: u32 = 1 << 16;
/// The most extended attributes of a file.
const XATTRS_LIMIT: u32 = 256;
/// The deepest path that is followed.
const DEPTH_LIMIT: usize = 64;
/// The memory for xz, in KiB: a block is 1 MiB at most.
const XZ_MEMORY_KIB: u32 = 4096;
/// The number that stands for "none" in fragment and attribute fields.
const NONE: u32 = u32::MAX;
/// The bit of a block's size that says that it is not compressed.
const PLAIN_BLOCK: u32 = 1 << 24;
/// Inode types of directories and files, basic and extended.
const BASIC_DIRECTORY: u16 = 1;
const BASIC_FILE: u16 = 2;
const EXTENDED_DIRECTORY: u16 = 8;
const EXTENDED_FILE: u16 = 9;

/// The compressor of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// squashfs_fs.h, "struct squashfs_super_block".
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout)]
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

/// squashfs_fs.h, "struct squashfs_dir_header".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DirectoryRun {
    count: U32,
    start_block: U32,
    inode_number: U32,
}

/// squashfs_fs.h, "struct squashfs_dir_entry", up to the name.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DirectoryEntry {
    offset: U16,
    inode_number: U16,
    kind: U16,
    size: U16,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Squashfs {
    image: Blob,
    superblock: Superblock,
    /// How its blocks are compressed.
    pub compressor: Compressor,
}

/// A regular file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The permissions.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The length in bytes.
    pub len: u64,
    /// Where its blocks start.
    start: u64,
    /// The sizes of its blocks, as stored.
    blocks: Vec<u32>,
    /// The fragment that holds its end, and where in it.
    fragment: Option<(u32, u32)>,
    xattrs: u32,
}

/// An inode, as far as the path's last part needs it.
enum Inode {
    Directory { block: u32, offset: u16, len: u32 },
    File(File),
    Other,
}

/// What a superblock says, before the image itself is at hand. `image_len` is the length of the
/// image's file.
///
/// # Errors
///
/// [`Damage`] where Talos' kernel would not mount it.
pub fn check_superblock(head: &[u8], image_len: u64) -> Result<Compressor, Damage> {
    let damage = |wrong: String| Damage::new("squashfs superblock", 0, wrong);
    let Ok((superblock, _)) = Superblock::read_from_prefix(head) else {
        return Err(damage(format!("it has {} bytes", head.len())).should("96"));
    };
    let version = (superblock.major.get(), superblock.minor.get());
    if superblock.magic != *b"hsqs" || version != (4, 0) {
        return Err(damage("it is no squashfs of version 4.0".into()));
    }
    let size = superblock.block_size.get();
    let log = u32::from(superblock.block_log.get());
    if !(12..=20).contains(&log) || size != 1 << log {
        return Err(damage(format!("its blocks have {size} bytes")).should("4 KiB to 1 MiB"));
    }
    // A loop device has whole sectors of 512 bytes only.
    let device = image_len / 512 * 512;
    let used = superblock.bytes_used.get();
    if used > device {
        let wrong = format!("it takes {used} bytes, and the device for it has {device}");
        return Err(damage(wrong).should("padded to a multiple of 4096"));
    }
    match superblock.compression.get() {
        4 => Ok(Compressor::Xz),
        6 => Ok(Compressor::Zstd),
        other => Err(damage(format!("its compressor has the number {other}"))
            .should("4 (xz) or 6 (zstd): Talos' kernels have no other")),
    }
}

impl Squashfs {
    /// Reads the superblock.
    ///
    /// # Errors
    ///
    /// [`Damage`] where Talos' kernel would not mount it.
    pub fn read(image: &Blob) -> Result<Self, Damage> {
        let head = field::bytes(image, "squashfs superblock", 0..SUPERBLOCK, SUPERBLOCK)?;
        let compressor = check_superblock(&head, image.len())?;
        let (superblock, _) =
            Superblock::read_from_prefix(&head).expect("the superblock was checked");
        let squashfs = Self { image: image.clone(), superblock, compressor };
        squashfs.check_tables()?;
        Ok(squashfs)
    }

    /// The last tables follow one another to the end without a byte between them (`super.c`,
    /// `id.c`, `xattr_id.c`): the kernel mounts no other image.
    fn check_tables(&self) -> Result<(), Damage> {
        // The list of a table's blocks: 8 bytes for each 8 KiB of rows.
        let list = |rows: u64, row_len: u64| (rows * row_len).div_ceil(METADATA as u64) * 8;
        let ends = |start: u64, len: u64, end: u64| match start.checked_add(len) {
            Some(found) if found == end && len > 0 => Ok(()),
            _ => {
                let wrong = format!("it ends at {:#x}", start.saturating_add(len));
                Err(Damage::new("squashfs table", start, wrong).should(format!("{end:#x}")))
            }
        };
        let mut end = self.superblock.bytes_used.get();
        let xattrs = self.superblock.xattr_id_table_start.get();
        if xattrs != u64::MAX {
            let [start, count_and_unused]: [U64; 2] =
                field::load(&self.image, "squashfs xattrs", xattrs)?;
            let count = count_and_unused.get() & u64::from(u32::MAX);
            ends(xattrs.saturating_add(16), list(count, 16), end)?;
            end = start.get();
        }
        let ids = self.superblock.no_ids.get();
        ends(self.superblock.id_table_start.get(), list(ids.into(), 4), end)
    }

    /// The regular file at a path such as `usr/local/etc/talos/config.yaml`, or nothing where
    /// there is none. Symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// [`Damage`] where an inode or directory on the way is damaged.
    pub fn find(&self, path: &str) -> Result<Option<File>, Damage> {
        Ok(match self.lookup(path)? {
            Some(Inode::File(file)) => Some(file),
            _ => None,
        })
    }

    fn lookup(&self, path: &str) -> Result<Option<Inode>, Damage> {
        let mut inode = self.inode(self.superblock.root_inode.get())?;
        for (depth, name) in path.split('/').filter(|n| !n.is_empty()).enumerate() {
            let Inode::Directory { block, offset, len } = inode else { return Ok(None) };
            if depth > DEPTH_LIMIT {
                return Ok(None);
            }
            match self.entry(block, offset, len, name.as_bytes())? {
                Some(reference) => inode = self.inode(reference)?,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    /// A file's bytes.
    ///
    /// # Errors
    ///
    /// [`Damage`] where there are more than `limit` or 256 MiB, or a block is damaged.
    pub fn content(&self, file: &File, limit: u64) -> Result<Vec<u8>, Damage> {
        let limit = limit.min(FILE_LIMIT);
        if file.len > limit {
            let wrong = format!("the file has {} bytes", file.len);
            return Err(
                Damage::new("squashfs file", file.start, wrong).should(format!("at most {limit}"))
            );
        }
        let len = usize::try_from(file.len).map_err(|_| too_large(file.start))?;
        let mut out: Vec<u8> = Vec::new();
        let mut at = file.start;
        for &size in &file.blocks {
            let want = (len - out.len()).min(self.block_size());
            if size == 0 {
                out.resize(out.len() + want, 0);
                continue;
            }
            let block = self.block(at, size)?;
            if block.len() != want {
                let wrong = format!("it unpacks to {} bytes", block.len());
                return Err(Damage::new("squashfs block", at, wrong).should(want.to_string()));
            }
            out.extend(block);
            at += stored_len(size);
        }
        if let Some((index, offset)) = file.fragment {
            let tail = self.fragment(index)?;
            let from = usize::try_from(offset).map_err(|_| too_large(at))?;
            let end = from.checked_add(len - out.len());
            let bytes = end.and_then(|end| tail.get(from..end)).ok_or_else(|| {
                Damage::new("squashfs fragment", at, "the file's end lies past it")
            })?;
            out.extend_from_slice(bytes);
        }
        Ok(out)
    }

    /// The value of an extended attribute in the space `security.`, such as `selinux`.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the attribute's tables are damaged.
    pub fn security_xattr(&self, file: &File, name: &str) -> Result<Option<Vec<u8>>, Damage> {
        const SECURITY: u16 = 2;
        let table = self.superblock.xattr_id_table_start.get();
        if file.xattrs == NONE || table == u64::MAX {
            return Ok(None);
        }
        let [start, count_and_unused]: [U64; 2] =
            field::load(&self.image, "squashfs xattrs", table)?;
        let count = u32::try_from(count_and_unused.get() & u64::from(u32::MAX)).unwrap_or(0);
        let damage = |wrong: &str| Damage::new("squashfs xattrs", table, wrong);
        if file.xattrs >= count {
            return Err(damage("a file has attributes past the table"));
        }
        let mut row = self.row(table.saturating_add(16), file.xattrs, 16)?;
        let place = row.number::<8>().map(u64::from_le_bytes)?;
        let pairs = row.number::<4>().map(u32::from_le_bytes)?;
        if pairs > XATTRS_LIMIT {
            return Err(damage("a file has more than 256 attributes"));
        }
        let mut pair = self.metadata(start.get(), place)?;
        for _ in 0..pairs {
            let kind = pair.number::<2>().map(u16::from_le_bytes)?;
            let key_len = pair.number::<2>().map(u16::from_le_bytes)?;
            let key = pair.bytes(key_len.into())?;
            let mut value = self.xattr_value(&mut pair, start.get(), VALUE_LIMIT)?;
            if kind & 0x100 != 0 {
                let place = value.as_slice().try_into().map(u64::from_le_bytes);
                let place = place.map_err(|_| damage("a value elsewhere has no place"))?;
                let mut elsewhere = self.metadata(start.get(), place)?;
                value = self.xattr_value(&mut elsewhere, start.get(), VALUE_LIMIT)?;
            }
            if kind & 0xff == SECURITY && key == name.as_bytes() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn xattr_value(
        &self,
        metadata: &mut Metadata<'_>,
        start: u64,
        limit: u32,
    ) -> Result<Vec<u8>, Damage> {
        let len = metadata.number::<4>().map(u32::from_le_bytes)?;
        if len > limit {
            let wrong = format!("a value has {len} bytes");
            return Err(Damage::new("squashfs xattrs", start, wrong).should(format!("<= {limit}")));
        }
        metadata.bytes(len)
    }

    /// The inode that a reference points to: the offset of its block from the inode table, and
    /// its offset in the block.
    fn inode(&self, reference: u64) -> Result<Inode, Damage> {
        let table = self.superblock.inode_table_start.get();
        let mut metadata = self.metadata(table, reference)?;
        let kind = metadata.number::<2>().map(u16::from_le_bytes)?;
        let mode = metadata.number::<2>().map(u16::from_le_bytes)?;
        let owner = metadata.number::<2>().map(u16::from_le_bytes)?;
        let group = metadata.number::<2>().map(u16::from_le_bytes)?;
        metadata.bytes(8)?;
        match kind {
            BASIC_DIRECTORY => {
                let [block, _, len_and_offset, _] = metadata.words::<4>()?;
                let offset = u16::try_from(len_and_offset >> 16).expect("the upper half");
                Ok(Inode::Directory { block, offset, len: len_and_offset & 0xffff })
            }
            EXTENDED_DIRECTORY => {
                let [_, len, block, _, indexes_and_offset, _] = metadata.words::<6>()?;
                let offset = u16::try_from(indexes_and_offset >> 16).expect("the upper half");
                Ok(Inode::Directory { block, offset, len })
            }
            BASIC_FILE | EXTENDED_FILE => {
                let (uid, gid) = (self.id(owner)?, self.id(group)?);
                let file = match kind {
                    BASIC_FILE => self.basic_file(&mut metadata)?,
                    _ => self.extended_file(&mut metadata)?,
                };
                Ok(Inode::File(File { mode, uid, gid, ..file }))
            }
            3..=7 | 10..=14 => Ok(Inode::Other),
            other => {
                let wrong = format!("an inode has the type {other}");
                Err(Damage::new("squashfs inode", table, wrong))
            }
        }
    }

    fn basic_file(&self, metadata: &mut Metadata<'_>) -> Result<File, Damage> {
        let [start, fragment, offset, len] = metadata.words::<4>()?;
        let file = File {
            mode: 0,
            uid: 0,
            gid: 0,
            len: u64::from(len),
            start: u64::from(start),
            blocks: Vec::new(),
            fragment: (fragment != NONE).then_some((fragment, offset)),
            xattrs: NONE,
        };
        self.with_blocks(file, metadata)
    }

    fn extended_file(&self, metadata: &mut Metadata<'_>) -> Result<File, Damage> {
        let start = metadata.number::<8>().map(u64::from_le_bytes)?;
        let len = metadata.number::<8>().map(u64::from_le_bytes)?;
        let [_, _, _, fragment, offset, xattrs] = metadata.words::<6>()?;
        let file = File {
            mode: 0,
            uid: 0,
            gid: 0,
            len,
            start,
            blocks: Vec::new(),
            fragment: (fragment != NONE).then_some((fragment, offset)),
            xattrs,
        };
        self.with_blocks(file, metadata)
    }

    /// The file with the sizes of its blocks. Of one that is too long the contents cannot be asked
    /// for, and no size is read.
    fn with_blocks(&self, mut file: File, metadata: &mut Metadata<'_>) -> Result<File, Damage> {
        let size = self.block_size() as u64;
        let count = match file.fragment {
            _ if file.len > FILE_LIMIT => 0,
            Some(_) => file.len / size,
            None => file.len.div_ceil(size),
        };
        for _ in 0..count {
            file.blocks.push(metadata.number::<4>().map(u32::from_le_bytes)?);
        }
        Ok(file)
    }

    /// The reference of a directory's entry.
    fn entry(&self, block: u32, offset: u16, len: u32, name: &[u8]) -> Result<Option<u64>, Damage> {
        let table = self.superblock.directory_table_start.get();
        if len > DIRECTORY_LIMIT {
            let wrong = format!("a directory has {len} bytes");
            return Err(Damage::new("squashfs directory", table, wrong));
        }
        let mut metadata = self.metadata(table, u64::from(block) << 16 | u64::from(offset))?;
        // The length counts three bytes more than there are, for `.` and `..`.
        let listing = metadata.bytes(len.saturating_sub(3))?;
        let found = find_entry(&listing, name);
        found.ok_or_else(|| Damage::new("squashfs directory", table, "a listing is cut"))
    }

    /// The number of an owner or group.
    fn id(&self, index: u16) -> Result<u32, Damage> {
        let table = self.superblock.id_table_start.get();
        if index >= self.superblock.no_ids.get() {
            return Err(Damage::new("squashfs ids", table, format!("there is no number {index}")));
        }
        self.row(table, index.into(), 4)?.number::<4>().map(u32::from_le_bytes)
    }

    fn fragment(&self, index: u32) -> Result<Vec<u8>, Damage> {
        let table = self.superblock.fragment_table_start.get();
        if index >= self.superblock.fragments.get() {
            return Err(Damage::new("squashfs fragments", table, format!("there is no {index}")));
        }
        let mut row = self.row(table, index, 16)?;
        let start = row.number::<8>().map(u64::from_le_bytes)?;
        let size = row.number::<4>().map(u32::from_le_bytes)?;
        self.block(start, size)
    }

    /// The row of a table whose blocks are listed at `list`.
    fn row(&self, list: u64, index: u32, row_len: u64) -> Result<Metadata<'_>, Damage> {
        let at = u64::from(index) * row_len;
        let entry = list.saturating_add(at / METADATA as u64 * 8);
        let block: U64 = field::load(&self.image, "squashfs table", entry)?;
        self.metadata(block.get(), at % METADATA as u64)
    }

    /// Metadata from a table's start and a reference into it.
    fn metadata(&self, table: u64, reference: u64) -> Result<Metadata<'_>, Damage> {
        let skip = usize::try_from(reference & 0xffff).expect("16 bits fit");
        let next = table.saturating_add(reference >> 16);
        let mut metadata = Metadata { image: self, next, block: Vec::new(), used: 0 };
        metadata.refill()?;
        if skip > metadata.block.len() {
            return Err(Damage::new("squashfs metadata", next, "a place in it lies past its end"));
        }
        metadata.used = skip;
        Ok(metadata)
    }

    fn block_size(&self) -> usize {
        usize::try_from(self.superblock.block_size.get()).expect("it is 1 MiB at most")
    }

    /// The block at `at`; `size` is as stored: bit 24 says that it is not compressed.
    fn block(&self, at: u64, size: u32) -> Result<Vec<u8>, Damage> {
        let limit = self.block_size();
        let range = at..at.saturating_add(stored_len(size));
        let bytes = field::bytes(&self.image, "squashfs block", range, limit as u64)?;
        if size & PLAIN_BLOCK != 0 {
            return Ok(bytes);
        }
        self.unpack(&bytes, limit)
            .ok_or_else(|| Damage::new("squashfs block", at, "it does not unpack"))
    }

    /// The bytes of a compressed block, or nothing where it is damaged or has more than `limit`.
    fn unpack(&self, bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
        match self.compressor {
            Compressor::Zstd => unzstd(bytes, limit),
            Compressor::Xz => {
                let mut out = Vec::new();
                let reader = XzReader::new_mem_limit(bytes, false, XZ_MEMORY_KIB);
                reader.take(limit as u64 + 1).read_to_end(&mut out).ok()?;
                Some(out).filter(|out| out.len() <= limit)
            }
        }
    }
}

/// Decompresses a frame. Blocks have one context in turn: to make one takes longer than to use it.
fn unzstd(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<io::Result<Decompressor<'static>>> =
            RefCell::new(Decompressor::new());
    }
    CONTEXT.with_borrow_mut(|context| context.as_mut().ok()?.decompress(bytes, limit).ok())
}

/// The bytes that a block takes in the image.
fn stored_len(size: u32) -> u64 {
    u64::from(size & !PLAIN_BLOCK)
}

/// The reference of a name in a directory's listing; nothing at all where the listing is cut.
fn find_entry(mut listing: &[u8], name: &[u8]) -> Option<Option<u64>> {
    while !listing.is_empty() {
        let (run, mut rest) = DirectoryRun::read_from_prefix(listing).ok()?;
        for _ in 0..=run.count.get().min(255) {
            let (entry, after) = DirectoryEntry::read_from_prefix(rest).ok()?;
            let (found, after) = after.split_at_checked(usize::from(entry.size.get()) + 1)?;
            if found == name {
                let block = u64::from(run.start_block.get());
                return Some(Some(block << 16 | u64::from(entry.offset.get())));
            }
            rest = after;
        }
        listing = rest;
    }
    Some(None)
}

fn too_large(at: u64) -> Damage {
    Damage::new("squashfs file", at, "its length is beyond all bounds")
}

/// Metadata under reading: blocks of 8192 bytes, one after another.
struct Metadata<'a> {
    image: &'a Squashfs,
    next: u64,
    block: Vec<u8>,
    used: usize,
}

impl Metadata<'_> {
    fn refill(&mut self) -> Result<(), Damage> {
        let at = self.next;
        let image = &self.image.image;
        let header: U16 = field::load(image, "squashfs metadata", at)?;
        let len = header.get() & 0x7fff;
        let start = at.saturating_add(2);
        let end = start.saturating_add(len.into());
        let bytes = field::bytes(image, "squashfs metadata", start..end, METADATA as u64)?;
        let is_plain = header.get() & 0x8000 != 0;
        let block = if is_plain { Some(bytes) } else { self.image.unpack(&bytes, METADATA) };
        self.block = block.filter(|block| !block.is_empty()).ok_or_else(|| {
            Damage::new("squashfs metadata", at, "a block of it is empty or does not unpack")
        })?;
        (self.next, self.used) = (end, 0);
        Ok(())
    }

    fn bytes(&mut self, len: u32) -> Result<Vec<u8>, Damage> {
        let len = usize::try_from(len).expect("32 bits fit");
        let mut out = Vec::new();
        while out.len() < len {
            if self.used == self.block.len() {
                self.refill()?;
            }
            let rest = &self.block[self.used..];
            let step = rest.len().min(len - out.len());
            out.extend_from_slice(&rest[..step]);
            self.used += step;
        }
        Ok(out)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let len = u32::try_from(N).expect("a number has 8 bytes at most");
        Ok(self.bytes(len)?.try_into().expect("that many bytes were read"))
    }

    fn words<const N: usize>(&mut self) -> Result<[u32; N], Damage> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.number::<4>().map(u32::from_le_bytes)?;
        }
        Ok(words)
    }
}
