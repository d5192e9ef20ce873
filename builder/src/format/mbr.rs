//! Master boot records: boot code and a table of at most four partitions.
//!
//! In: boot code, partitions. Out: the first 512 bytes of a disk.
//!
//! Source: UEFI Specification 2.10, 5.2 ("LBA 0 Format"),
//! <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>. The places in cylinders,
//! heads and sectors follow what xorriso writes: 64 heads and 32 sectors a track, so that a cylinder
//! is 1 MiB.
//!
//! Not here: extended partitions, and GUID partition tables (`gpt`).

use std::ops::Range;

use zerocopy::little_endian::U32;
use zerocopy::{Immutable, IntoBytes};

/// The bytes that a boot record has room for before its table.
pub const BOOT_CODE_BYTES: usize = 446;

/// The partition type of a Linux file system, which xorriso gives to the ISO itself.
pub const LINUX: u8 = 0x83;
/// The partition type that says "here is a GUID partition table".
pub const PROTECTIVE: u8 = 0xee;
/// The partition type of an EFI system partition.
pub const EFI_SYSTEM: u8 = 0xef;

/// Heads of the geometry that places are written in.
const HEADS: u32 = 64;
/// Sectors a track of that geometry.
const SECTORS: u32 = 32;
/// The last cylinder that the field of 10 bits can name.
const LAST_CYLINDER: u32 = 1023;

/// A partition. It is never marked active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it holds: [`LINUX`], [`PROTECTIVE`], [`EFI_SYSTEM`].
    pub kind: u8,
    /// Its sectors of 512 bytes; the end is the first past it.
    pub sectors: Range<u32>,
}

/// UEFI Specification, "Legacy MBR".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct BootRecord {
    boot_code: [u8; BOOT_CODE_BYTES],
    partitions: [Record; 4],
    signature: [u8; 2],
}
const _: () = assert!(size_of::<BootRecord>() == 512);

/// UEFI Specification, "Legacy MBR Partition Record".
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    boot_indicator: u8,
    starting_chs: [u8; 3],
    os_type: u8,
    ending_chs: [u8; 3],
    starting_lba: U32,
    size_in_lba: U32,
}
const _: () = assert!(size_of::<Record>() == 16);

/// Writes a boot record. Boot code of more than 440 bytes covers the disk signature, which is
/// otherwise 0.
///
/// # Panics
///
/// If the code is longer than [`BOOT_CODE_BYTES`], there are more than four partitions, or one
/// is empty.
pub fn table(boot_code: &[u8], entries: &[Entry]) -> [u8; 512] {
    let mut record = BootRecord {
        boot_code: [0; BOOT_CODE_BYTES],
        partitions: [Record::default(); 4],
        signature: [0x55, 0xaa],
    };
    record.boot_code[..boot_code.len()].copy_from_slice(boot_code);
    assert!(entries.len() <= record.partitions.len(), "a boot record has four partitions");
    for (slot, entry) in record.partitions.iter_mut().zip(entries) {
        *slot = partition(entry);
    }
    zerocopy::transmute!(record)
}

fn partition(entry: &Entry) -> Record {
    let Range { start, end } = entry.sectors;
    assert!(start < end, "a partition has a sector");
    Record {
        boot_indicator: 0,
        starting_chs: chs(start),
        os_type: entry.kind,
        ending_chs: chs(end - 1),
        starting_lba: U32::new(start),
        size_in_lba: U32::new(end - start),
    }
}

/// A sector as head, sector (from 1) and cylinder; past the last cylinder, the last that the field
/// can name.
fn chs(lba: u32) -> [u8; 3] {
    let cylinder = lba / (HEADS * SECTORS);
    let (cylinder, head, sector) = if cylinder > LAST_CYLINDER {
        (LAST_CYLINDER, HEADS - 1, SECTORS)
    } else {
        (cylinder, lba / SECTORS % HEADS, lba % SECTORS + 1)
    };
    let [low, high, ..] = cylinder.to_le_bytes();
    [head.to_le_bytes()[0], sector.to_le_bytes()[0] | high << 6, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places that xorriso 1.5.4 wrote for the same partitions.
    #[test]
    fn places_are_written_as_xorriso_writes_them() {
        for (lba, want) in [
            (1, [0x00, 0x02, 0x00]),
            (64, [0x02, 0x01, 0x00]),
            (2047, [0x3f, 0x20, 0x00]),
            (2048, [0x00, 0x01, 0x01]),
            (8191, [0x3f, 0x20, 0x03]),
            (14999, [0x14, 0x18, 0x07]),
            (2048 + 2_539_520 - 1, [0x3f, 0xe0, 0xff]),
        ] {
            assert_eq!(chs(lba), want, "sector {lba}");
        }
    }

    #[test]
    fn a_table_holds_code_partitions_and_signature() {
        let code = [0xa5; 440];
        let esp = Entry { kind: EFI_SYSTEM, sectors: 2048..8192 };
        let table = table(&code, &[Entry { kind: LINUX, sectors: 64..2048 }, esp]);
        assert_eq!(table[..440], code);
        assert_eq!(table[440..446], [0; 6]);
        assert_eq!(table[446..462], *b"\x00\x02\x01\x00\x83\x3f\x20\x00\x40\0\0\0\xc0\x07\0\0");
        assert_eq!(table[462..478], *b"\x00\x00\x01\x01\xef\x3f\x20\x03\0\x08\0\0\0\x18\0\0");
        assert_eq!(table[478..510], [0; 32]);
        assert_eq!(table[510..], [0x55, 0xaa]);
    }
}
