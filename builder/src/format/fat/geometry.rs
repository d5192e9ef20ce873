//! How a volume is divided, and the sectors before its clusters.
//!
//! In: a volume's length. Out: where its parts lie; boot sector, FSInfo and empty FATs, written.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03, sections 3 to 5.
//!
//! Not here: what lies in clusters.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::super::recorder::Recorder;
use super::{FatError, Label, Volume};
use crate::units::{MIB, PAYLOAD_ALIGN, SectorSize, Size};

/// Clusters below which a volume is FAT16, and as many more as keep us clear of readers that draw
/// the line a little higher.
const LEAST_CLUSTERS: u64 = 65_525 + 2048;
/// Clusters that 28 bits can count, special values left out.
const MOST_CLUSTERS: u64 = 0x0fff_fff4;
/// Clusters larger than this make no chain shorter that matters.
const MAX_CLUSTER: u64 = 4096;
/// Sectors before the first FAT, as other tools leave.
const RESERVED: u64 = 32;
/// Sectors of a track. Tools distrust a volume that is not a whole number of tracks.
const TRACK: u16 = 32;
/// Tracks of a cylinder: with 32 sectors of 512 bytes, 1 MiB.
const HEADS: u16 = 64;
/// Sectors of the FSInfo and of the boot sector's copy; the FSInfo's copy comes after that.
const INFO_SECTOR: u16 = 1;
const BACKUP_SECTOR: u16 = 6;
/// The number of the first cluster of the data area, which holds the root directory.
pub(super) const FIRST_CLUSTER: u64 = 2;

/// How a volume is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// Bytes of a cluster.
    pub(super) cluster: u64,
    /// Sectors of the volume.
    sectors: u64,
    /// Sectors before the first FAT.
    reserved: u64,
    /// Sectors of a FAT.
    fat: u64,
    /// Clusters of the data area.
    pub(super) clusters: u64,
}

impl Geometry {
    /// The division with the largest clusters, up to 4096 bytes, that leaves enough of them.
    pub(super) fn of(len: u64, sector: SectorSize) -> Result<Self, FatError> {
        let too_short =
            || FatError::TooShort { len: Size(len), least: Size(Self::least_len(sector)) };
        let geometry = Self::fit(len, sector).ok_or_else(too_short)?;
        let counts = u32::try_from(geometry.sectors).is_ok();
        if counts && geometry.clusters <= MOST_CLUSTERS {
            Ok(geometry)
        } else {
            Err(FatError::TooLong(Size(len)))
        }
    }

    /// The least length, in whole MiB, of a volume.
    pub(super) fn least_len(sector: SectorSize) -> u64 {
        let mut len = MIB;
        while Self::fit(len, sector).is_none() {
            len += MIB;
        }
        len
    }

    fn fit(len: u64, sector: SectorSize) -> Option<Self> {
        [MAX_CLUSTER, MAX_CLUSTER / 2, MAX_CLUSTER / 4, MAX_CLUSTER / 8]
            .into_iter()
            .filter(|&cluster| cluster >= sector.bytes())
            .filter_map(|cluster| Self::with_cluster(len, sector.bytes(), cluster))
            .find(|geometry| geometry.clusters >= LEAST_CLUSTERS)
    }

    /// The division with clusters of `cluster` bytes, if any are left.
    fn with_cluster(len: u64, sector: u64, cluster: u64) -> Option<Self> {
        let sectors = len / sector / u64::from(TRACK) * u64::from(TRACK);
        let per_cluster = cluster / sector;
        // A FAT of `fat` sectors tells of `fat * sector / 4` clusters, the two that are not there
        // included; with both FATs away, the rest must hold no more.
        let shared = sectors.checked_sub(RESERVED)?;
        let fat = (shared + 2 * per_cluster).div_ceil(cluster / 4 + 2);
        let is_aligned =
            |reserved: &u64| ((reserved + 2 * fat) * sector).is_multiple_of(PAYLOAD_ALIGN);
        let reserved = (RESERVED..RESERVED + PAYLOAD_ALIGN).find(is_aligned)?;
        let clusters = sectors.checked_sub(reserved + 2 * fat)? / per_cluster;
        Some(Self { sector, cluster, sectors, reserved, fat, clusters })
    }

    /// Where the data area starts, in bytes.
    fn data(&self) -> u64 {
        (self.reserved + 2 * self.fat) * self.sector
    }

    /// Where a cluster starts, in bytes; clusters are counted from the data area's first one.
    pub(super) fn offset(&self, cluster: u64) -> u64 {
        self.data() + cluster * self.cluster
    }

    /// Where the first FAT tells of a cluster, in bytes; clusters have the numbers of the format.
    pub(super) fn fat_entry(&self, number: u32) -> u64 {
        self.reserved * self.sector + 4 * u64::from(number)
    }

    /// The name of the part that holds an offset.
    pub(super) fn region(&self, offset: u64) -> &'static str {
        match offset {
            0..4096 => "fat boot sector",
            _ if offset < self.data() => "fat",
            _ => "fat directories",
        }
    }

    /// Writes the boot sector, both FATs and the label, of a volume without files.
    pub(super) fn format(&self, device: &mut Recorder, volume: &Volume) {
        device.write_at(self.boot_sector(volume).as_bytes(), 0);
        // The media type, the second reserved entry, and the root directory's end of chain.
        let entries = [0x0fff_fff8, 0x0fff_ffff, 0x0fff_ffff_u32].map(U32::new);
        for fat in 0..2 {
            device.write_at(entries.as_bytes(), (self.reserved + fat * self.fat) * self.sector);
        }
        let Label(label) = volume.label;
        let entry = [label.as_slice(), &[LABEL_ATTRIBUTE]].concat();
        device.write_at(&entry, self.offset(0));
    }

    /// Writes the FSInfo sector. Clusters are counted from the data area's first one.
    pub(super) fn set_free(&self, device: &mut Recorder, free: u64, next: u64) {
        let info = Info {
            lead: *b"RRaA",
            reserved: [0; 480],
            signature: *b"rrAa",
            free: small(free),
            next: small(next + FIRST_CLUSTER),
            reserved_2: [0; 12],
            trail: [0, 0, 0x55, 0xaa],
        };
        device.write_at(info.as_bytes(), u64::from(INFO_SECTOR) * self.sector);
    }

    /// Copies boot sector and FSInfo to where readers look for them if the first are damaged.
    pub(super) fn back_up(&self, device: &mut Recorder) {
        for sector in [0, INFO_SECTOR] {
            let mut bytes = [0; 512];
            device.read_at(&mut bytes, u64::from(sector) * self.sector);
            device.write_at(&bytes, u64::from(BACKUP_SECTOR + sector) * self.sector);
        }
    }

    fn boot_sector(&self, volume: &Volume) -> BootSector {
        let Label(label) = volume.label;
        BootSector {
            jump: [0xeb, 0x58, 0x90],
            oem_name: *b"talforge",
            bytes_per_sector: tiny(self.sector),
            sectors_per_cluster: u8::try_from(self.cluster / self.sector).expect("8 at most"),
            reserved_sectors: tiny(self.reserved),
            fats: 2,
            root_entries: U16::ZERO,
            sectors_16: U16::ZERO,
            media: 0xf8,
            fat_sectors_16: U16::ZERO,
            sectors_per_track: U16::new(TRACK),
            heads: U16::new(HEADS),
            hidden_sectors: U32::new(volume.hidden_sectors),
            sectors: small(self.sectors),
            fat_sectors: small(self.fat),
            flags: U16::ZERO,
            version: U16::ZERO,
            root_cluster: small(FIRST_CLUSTER),
            info_sector: U16::new(INFO_SECTOR),
            backup_sector: U16::new(BACKUP_SECTOR),
            reserved: [0; 12],
            drive: 0x80,
            state: 0,
            boot_signature: 0x29,
            serial: U32::new(volume.serial),
            label,
            kind: *b"FAT32   ",
            boot_code: [0; 420],
            signature: [0x55, 0xaa],
        }
    }
}

/// The attribute of the root directory's entry that is the volume's label.
pub(super) const LABEL_ATTRIBUTE: u8 = 0x08;

fn small(n: u64) -> U32 {
    U32::new(u32::try_from(n).expect("a geometry counts in 32 bits"))
}

fn tiny(n: u64) -> U16 {
    U16::new(u16::try_from(n).expect("sectors and reserved sectors are few"))
}

/// "FAT File System Specification", sections 3.1 and 3.3.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct BootSector {
    jump: [u8; 3],
    oem_name: [u8; 8],
    bytes_per_sector: U16,
    sectors_per_cluster: u8,
    reserved_sectors: U16,
    fats: u8,
    root_entries: U16,
    sectors_16: U16,
    media: u8,
    fat_sectors_16: U16,
    sectors_per_track: U16,
    heads: U16,
    hidden_sectors: U32,
    sectors: U32,
    fat_sectors: U32,
    flags: U16,
    version: U16,
    root_cluster: U32,
    info_sector: U16,
    backup_sector: U16,
    reserved: [u8; 12],
    drive: u8,
    state: u8,
    boot_signature: u8,
    serial: U32,
    label: [u8; 11],
    kind: [u8; 8],
    boot_code: [u8; 420],
    signature: [u8; 2],
}
const _: () = assert!(size_of::<BootSector>() == 512);

/// "FAT File System Specification", section 5.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    lead: [u8; 4],
    reserved: [u8; 480],
    signature: [u8; 4],
    free: U32,
    next: U32,
    reserved_2: [u8; 12],
    trail: [u8; 4],
}
const _: () = assert!(size_of::<Info>() == 512);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(mib: u64, sector: SectorSize) -> Geometry {
        Geometry::of(mib * MIB, sector).unwrap()
    }

    #[test]
    fn volumes_are_divided_so() {
        let line = |mib, sector| {
            let Geometry { cluster, reserved, fat, clusters, .. } = of(mib, sector);
            format!("{mib} MiB: {clusters} of {cluster} bytes after {reserved} + 2 * {fat}\n")
        };
        let sizes = [34, 51, 100, 120, 300, 2101].map(|mib| line(mib, SectorSize::B512));
        insta::assert_snapshot!(sizes.concat(), @r"
        34 MiB: 68528 of 512 bytes after 32 + 2 * 536
        51 MiB: 102808 of 512 bytes after 32 + 2 * 804
        100 MiB: 101588 of 1024 bytes after 36 + 2 * 794
        120 MiB: 121908 of 1024 bytes after 38 + 2 * 953
        300 MiB: 76646 of 4096 bytes after 34 + 2 * 599
        2101 MiB: 536803 of 4096 bytes after 36 + 2 * 4194
        ");
        let sizes = [265, 2101].map(|mib| line(mib, SectorSize::B4096));
        insta::assert_snapshot!(sizes.concat(), @r"
        265 MiB: 67674 of 4096 bytes after 32 + 2 * 67
        2101 MiB: 536774 of 4096 bytes after 32 + 2 * 525
        ");
    }

    #[test]
    fn what_fat32_cannot_be_is_refused() {
        let error = |len, sector| Geometry::of(len, sector).unwrap_err().to_string();
        insta::assert_snapshot!(error(33 * MIB, SectorSize::B512), @"a FAT32 volume needs at least 34MiB, and is to have 33MiB");
        insta::assert_snapshot!(error(0, SectorSize::B4096), @"a FAT32 volume needs at least 265MiB, and is to have 0B");
        insta::assert_snapshot!(error(1 << 41, SectorSize::B512), @"a FAT32 volume cannot have 2048GiB");
        insta::assert_snapshot!(error(u64::MAX, SectorSize::B4096), @"a FAT32 volume cannot have 18446744073709551615B");
    }

    proptest! {
        #[test]
        fn a_fat_tells_of_all_clusters(len in 34 * MIB..1 << 40, large: bool) {
            let sector = if large { SectorSize::B4096 } else { SectorSize::B512 };
            let Ok(it) = Geometry::of(len, sector) else { return Ok(()) };
            prop_assert!(it.fat * it.sector / 4 >= it.clusters + FIRST_CLUSTER);
            prop_assert!(it.offset(it.clusters) <= len);
            prop_assert_eq!(it.offset(0) % PAYLOAD_ALIGN, 0);
            prop_assert!(it.clusters >= LEAST_CLUSTERS);
        }
    }
}
