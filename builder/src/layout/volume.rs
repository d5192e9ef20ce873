//! The config volume: a partition of a disk, or the files of an ISO.
//!
//! In: its name and files. Out: a FAT volume of one length for every config, or files with room to
//! grow: another config may take the place of the one that is there.
//!
//! A disk's partition goes by its name in the partition table, for a FAT volume's own has no small
//! letters. An ISO goes by its volume id: Talos looks for a file system on the whole medium first,
//! and at partitions only where there is none.
//!
//! Source: siderolabs/go-blockdevice `blkid/internal/chain/chain.go` (what is looked for, in which
//! order) and `blkid/internal/filesystems/{vfat,iso9660}`; Talos
//! `platform/internal/blockutils/blockutils.go#VolumeMatch`.
//!
//! Not here: which files there are (`payload::volume`).

use crate::blob::Blob;
use crate::format::fat::{self, FatError, Label, Place, Volume};
use crate::format::gpt::Span;
use crate::format::iso9660::{self, Content};
use crate::layout::FAT_SERIAL;
use crate::payload::volume::ConfigVolume;
use crate::plan::NodePlan;
use crate::units::{KIB, SectorSize, align_up};

/// Files on an ISO have room for a multiple of this. Configs of a site mostly take one.
const ROOM_STEP: u64 = 256 * KIB;

/// Writes the partition's FAT volume; all of it is the node's own.
///
/// # Errors
///
/// Where the config does not fit.
pub fn fat(
    plan: &NodePlan,
    volume: &ConfigVolume,
    sector: SectorSize,
    span: Span,
) -> Result<Blob, FatError> {
    let file = |(name, content): &(&str, Blob)| fat::File {
        path: (*name).to_owned(),
        content: content.clone(),
        read_only: false,
        place: Place::First,
    };
    let label = volume.label.to_ascii_uppercase();
    let laid = fat::write(&Volume {
        len: (span.end.0 - span.start.0) * sector.bytes(),
        sector,
        label: Label::new(&label).expect("Talos' names are short, of letters and hyphens"),
        serial: FAT_SERIAL,
        epoch: plan.epoch.into(),
        hidden_sectors: u32::try_from(span.start.0).unwrap_or(u32::MAX),
        files: volume.files.iter().map(file).collect(),
    })?;
    Ok(laid.blob.owned())
}

/// The files of an ISO that is the volume.
pub fn iso_files(volume: &ConfigVolume) -> Vec<iso9660::File> {
    let file = |(name, content): &(&str, Blob)| iso9660::File {
        path: (*name).to_owned(),
        content: Content::Slot {
            content: content.owned(),
            room: align_up(content.len().max(1), ROOM_STEP),
        },
    };
    volume.files.iter().map(file).collect()
}
