//! Disks for VMware: sparse in one file, or compressed for transport.
//!
//! In: a disk. Out: a file's blob.
//!
//! Both are "hosted sparse extents": a header, a text that describes the disk, and grains of 64 KiB,
//! found by tables of 512 entries, found by a directory.
//!
//! Source: VMware, "Virtual Disk Format 5.0", "Hosted Sparse Extents"; open-vmdk `vmdk/sparse.c`;
//! QEMU `block/vmdk.c`.
//!
//! Not here: how files are written (`file`); disks in several files, snapshots.

mod sparse;
mod stream;

use std::io;
use std::path::Path;
use std::sync::Arc;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use self::stream::Made;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::sink::Tell;
use crate::sink::shelf::Shelf;
use crate::units::{GIB, KIB, Size};

/// The largest disk: with its tables its sectors are less than 2^32, which is what entries can tell.
const MAX: u64 = 2040 * GIB;
/// The bytes of a sector, whatever the disk's.
const SECTOR: u64 = 512;
/// The bytes of a grain.
const GRAIN: u64 = 64 * KIB;
/// The entries of a grain table.
const ENTRIES: u64 = 512;
/// The bytes of a grain table.
const TABLE: u64 = ENTRIES * 4;
/// Where the description lies and how long it may be, in sectors.
const DESCRIPTOR: u64 = 1;
const DESCRIPTOR_SECTORS: u64 = 20;

/// What a header's flags say: that it has bytes which a transfer as text would change; that there is
/// a second directory; that grains are compressed; that they have markers.
const NEW_LINE_TEST: u32 = 1;
const REDUNDANT: u32 = 1 << 1;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;

/// "Hosted Sparse Extent Header".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    magic_number: [u8; 4],
    version: U32,
    flags: U32,
    capacity: U64,
    grain_size: U64,
    descriptor_offset: U64,
    descriptor_size: U64,
    num_gtes_per_gt: U32,
    rgd_offset: U64,
    gd_offset: U64,
    over_head: U64,
    unclean_shutdown: u8,
    new_line_test: [u8; 4],
    compress_algorithm: U16,
    pad: [u8; 433],
}
const _: () = assert!(size_of::<Header>() == 512);

impl Header {
    /// A header without directories.
    fn new(disk_len: u64) -> Self {
        Self {
            magic_number: *b"KDMV",
            version: U32::new(1),
            flags: U32::new(NEW_LINE_TEST),
            capacity: U64::new(disk_len / SECTOR),
            grain_size: U64::new(GRAIN / SECTOR),
            descriptor_offset: U64::new(DESCRIPTOR),
            descriptor_size: U64::new(DESCRIPTOR_SECTORS),
            num_gtes_per_gt: U32::new(512),
            rgd_offset: U64::new(0),
            gd_offset: U64::new(0),
            over_head: U64::new(0),
            unclean_shutdown: 0,
            new_line_test: *b"\n \r\n",
            compress_algorithm: U16::new(0),
            pad: [0; 433],
        }
    }
}

/// Why a disk makes no VMDK.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmdkError {
    /// The disk is larger than the format can tell.
    #[error("a disk of {0} is too large for VMDK, which ends at {most}", most = Size(MAX))]
    TooLarge(Size),
    /// The disk is empty, or no whole number of sectors.
    #[error("a disk of {0} is no VMDK: it must be a whole number of sectors of 512 bytes")]
    Sectors(Size),
    /// What the disk holds is larger than the format can tell when it is compressed.
    #[error("what the disk holds has 2 TiB or more when it is compressed, too large for VMDK")]
    Packed,
    /// The file's name cannot stand in the description.
    #[error("`{}` is no name for a VMDK: it is empty, over 255 bytes long, has a slash, a quote or \
             a control character", .0.escape_debug())]
    Name(String),
}

/// A VMDK that leaves out grains without data ("monolithicSparse"), for a file of this name: the
/// description in it names its own file, and VMware opens it by that name.
///
/// # Errors
///
/// Where the disk is empty, too large, or no whole number of sectors, or the name is none.
pub fn sparse(disk: &Blob, name: &str) -> Result<Blob, VmdkError> {
    check(disk.len())?;
    let odd = |c: char| c.is_control() || ['"', '/', '\\'].contains(&c);
    if name.is_empty() || name.len() > 255 || name.contains(odd) {
        return Err(VmdkError::Name(name.to_owned()));
    }
    Ok(sparse::write(disk, name))
}

/// Makes VMDKs for transport, what they have in common but once.
#[derive(Debug)]
pub struct Packer {
    shelf: Shelf<Arc<[Made]>>,
}

impl Packer {
    /// A packer that keeps what it compressed in nameless files of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { shelf: Shelf::new(folder) }
    }

    /// A compressed VMDK ("streamOptimized", version 3).
    ///
    /// Grains without one node's own bytes are compressed for the first disk that has them. Grains
    /// with such bytes are not: so they have one length whatever is in them, all that follows lies
    /// where it lies in the files of other nodes, and nothing of them is made twice.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or written, `tell` says so, or the disk is none for the format:
    /// a [`VmdkError`] is inside then.
    pub fn pack(&self, disk: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
        let refuse = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        check(disk.len()).map_err(refuse)?;
        stream::write(disk, &self.shelf, tell)
    }
}

fn check(len: u64) -> Result<(), VmdkError> {
    match len {
        0 => Err(VmdkError::Sectors(Size(0))),
        len if len > MAX => Err(VmdkError::TooLarge(Size(len))),
        len if !len.is_multiple_of(SECTOR) => Err(VmdkError::Sectors(Size(len))),
        _ => Ok(()),
    }
}

/// The text that describes a disk whose extent is the file `name`: "The Descriptor File".
fn descriptor(kind: &str, disk_len: u64, name: &str) -> String {
    let sectors = disk_len / SECTOR;
    let id = Digest::of(format!("talforge vmdk {disk_len}").as_bytes()).to_string();
    // The highest values mean "none".
    let content = format!("0{}", &id[1..8]);
    let cylinders = sectors.div_ceil(255 * 63).min(65535);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         encoding=\"UTF-8\"\n\
         CID={content}\n\
         parentCID=ffffffff\n\
         createType=\"{kind}\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"{name}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\n\
         ddb.longContentID = \"{long}{content}\"\n\
         ddb.virtualHWVersion = \"4\"\n",
        long = &id[8..32],
    )
}

#[cfg(test)]
mod tests;
