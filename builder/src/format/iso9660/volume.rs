//! Volume descriptors.
//!
//! In: the volume's names and places. Out: descriptors of one block each.
//!
//! Source: ECMA-119, 2nd edition, 8 ("Volume Descriptors"),
//! <https://ecma-international.org/publications-and-standards/standards/ecma-119/>; El Torito
//! Bootable CD-ROM Format Specification 1.0, figure 7.
//!
//! Not here: what the descriptors point to (`directory`, `eltorito`).

use zerocopy::{Immutable, IntoBytes, big_endian, little_endian};

use super::Block;
use super::date::{NO_DATE, Stamp};
use super::record::{BLOCK_BYTES_USIZE, Both16, Both32};

const STANDARD_IDENTIFIER: [u8; 5] = *b"CD001";

/// ECMA-119 8.4, "Primary Volume Descriptor".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Primary {
    kind: u8,
    standard_identifier: [u8; 5],
    version: u8,
    unused_7: u8,
    system_identifier: [u8; 32],
    volume_identifier: [u8; 32],
    unused_72: [u8; 8],
    volume_space_size: Both32,
    unused_88: [u8; 32],
    volume_set_size: Both16,
    volume_sequence_number: Both16,
    logical_block_size: Both16,
    path_table_size: Both32,
    type_l_path_table: little_endian::U32,
    optional_type_l_path_table: little_endian::U32,
    type_m_path_table: big_endian::U32,
    optional_type_m_path_table: big_endian::U32,
    root_directory_record: [u8; 34],
    volume_set_identifier: [u8; 128],
    publisher_identifier: [u8; 128],
    data_preparer_identifier: [u8; 128],
    application_identifier: [u8; 128],
    copyright_file: [u8; 37],
    abstract_file: [u8; 37],
    bibliographic_file: [u8; 37],
    creation_date: [u8; 17],
    modification_date: [u8; 17],
    expiration_date: [u8; 17],
    effective_date: [u8; 17],
    file_structure_version: u8,
    reserved_882: u8,
    application_use: [u8; 512],
    reserved_1395: [u8; 653],
}
const _: () = assert!(size_of::<Primary>() == BLOCK_BYTES_USIZE);

/// El Torito, figure 7: "Boot Record Volume Descriptor".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct BootRecord {
    kind: u8,
    standard_identifier: [u8; 5],
    version: u8,
    boot_system_identifier: [u8; 32],
    unused_27: [u8; 32],
    boot_catalog: little_endian::U32,
    unused_4b: [u8; 1973],
}
const _: () = assert!(size_of::<BootRecord>() == BLOCK_BYTES_USIZE);

/// ECMA-119 8.3, "Volume Descriptor Set Terminator".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Terminator {
    kind: u8,
    standard_identifier: [u8; 5],
    version: u8,
    reserved_7: [u8; 2041],
}
const _: () = assert!(size_of::<Terminator>() == BLOCK_BYTES_USIZE);

/// What a primary volume descriptor says. All blocks are counted from the volume's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume<'a> {
    /// The volume identifier.
    pub(super) id: &'a str,
    /// The volume set identifier.
    pub(super) set_id: &'a str,
    /// The blocks of the volume.
    pub(super) blocks: u32,
    /// The bytes of one path table.
    pub(super) table_bytes: u32,
    /// Where the path tables of type L and M start.
    pub(super) tables: [Block; 2],
    /// The root's directory record.
    pub(super) root: [u8; 34],
    /// When it was made and last changed; GRUB takes the latter for the volume's UUID.
    pub(super) stamp: Stamp,
}

/// The primary volume descriptor.
pub(super) fn primary(volume: &Volume<'_>) -> Vec<u8> {
    let descriptor = Primary {
        kind: 1,
        standard_identifier: STANDARD_IDENTIFIER,
        version: 1,
        unused_7: 0,
        system_identifier: padded(""),
        volume_identifier: padded(volume.id),
        unused_72: [0; 8],
        volume_space_size: volume.blocks.into(),
        unused_88: [0; 32],
        volume_set_size: 1.into(),
        volume_sequence_number: 1.into(),
        logical_block_size: 2048.into(),
        path_table_size: volume.table_bytes.into(),
        type_l_path_table: volume.tables[0].0.into(),
        optional_type_l_path_table: 0.into(),
        type_m_path_table: volume.tables[1].0.into(),
        optional_type_m_path_table: 0.into(),
        root_directory_record: volume.root,
        volume_set_identifier: padded(volume.set_id),
        publisher_identifier: padded(""),
        data_preparer_identifier: padded(""),
        application_identifier: padded(""),
        copyright_file: padded(""),
        abstract_file: padded(""),
        bibliographic_file: padded(""),
        creation_date: volume.stamp.long(),
        modification_date: volume.stamp.long(),
        expiration_date: NO_DATE,
        effective_date: NO_DATE,
        file_structure_version: 1,
        reserved_882: 0,
        application_use: [0; 512],
        reserved_1395: [0; 653],
    };
    descriptor.as_bytes().to_vec()
}

/// The boot record, which says where the boot catalog lies.
pub(super) fn boot_record(catalog: Block) -> Vec<u8> {
    let mut boot_system_identifier = [0; 32];
    let name = b"EL TORITO SPECIFICATION";
    boot_system_identifier[..name.len()].copy_from_slice(name);
    let record = BootRecord {
        kind: 0,
        standard_identifier: STANDARD_IDENTIFIER,
        version: 1,
        boot_system_identifier,
        unused_27: [0; 32],
        boot_catalog: catalog.0.into(),
        unused_4b: [0; 1973],
    };
    record.as_bytes().to_vec()
}

/// The descriptor that ends a set.
pub(super) fn terminator() -> Vec<u8> {
    let terminator = Terminator {
        kind: 255,
        standard_identifier: STANDARD_IDENTIFIER,
        version: 1,
        reserved_7: [0; 2041],
    };
    terminator.as_bytes().to_vec()
}

/// A text padded with spaces. Its length was looked at where it came in.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    out[..text.len()].copy_from_slice(text.as_bytes());
    out
}
