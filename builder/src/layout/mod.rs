//! Where payloads lie on a medium.
//!
//! In: a node's plan, its payload and the boot assets. Out: the files to write, each a
//! [`Blob`].
//!
//! Source: Talos `pkg/imager/out.go`, by the chapters named in each room.
//!
//! Not here: the formats themselves, and how files are written.

use thiserror::Error;

use crate::asset::Assets;
use crate::asset::board::Board;
use crate::asset::grub::Grub;
use crate::blob::Blob;
use crate::format::fat::FatError;
use crate::format::gpt::GptError;
use crate::format::iso9660::IsoError;
use crate::layout::esp::Memo;
use crate::payload::Payload;
use crate::plan::{Medium, NodePlan};

pub mod disk;
pub mod esp;
pub mod files;
pub mod guid;
pub mod iso;
pub mod seed;
pub mod volume;

/// The serial number that `mkfs.vfat --invariant` gives, as Talos' images have it.
const FAT_SERIAL: u32 = 0x1234_abcd;

/// What a medium is laid out from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The node's plan.
    pub plan: &'a NodePlan,
    /// The boot assets.
    pub assets: &'a Assets,
    /// What the node boots.
    pub payload: &'a Payload,
    /// GRUB, where the medium starts by BIOS too.
    pub grub: Option<&'a Grub>,
    /// The files of the node's board, if it is one and the medium is a disk.
    pub board: Option<&'a Board>,
}

/// A file to write.
#[derive(Clone, Debug)]
pub struct OutputFile {
    /// Its path below the output folder: `cp-1.iso`, `cp-1/cmdline-metal-amd64`.
    pub path: String,
    /// Its bytes.
    pub blob: Blob,
    /// What it is on its own.
    pub kind: FileKind,
}

/// What a file is on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Something that holds the node's config, if it has one: it can be read back.
    Bootable,
    /// A part that says nothing by itself: a kernel, a command line.
    Part,
}

/// Why a medium cannot be laid out.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The partition with the config.
    #[error("the config's partition cannot be laid out: {0}")]
    ConfigVolume(FatError),
    /// The EFI partition.
    #[error("the EFI partition cannot be laid out: {0}")]
    Fat(#[from] FatError),
    /// The partition table.
    #[error("the partition table cannot be laid out: {0}")]
    Gpt(#[from] GptError),
    /// The ISO.
    #[error("the ISO cannot be laid out: {0}")]
    Iso(#[from] IsoError),
    /// A seed without a config.
    #[error("a seed holds a machine config, and the node has none")]
    EmptySeed,
    /// GRUB's code for the first sector.
    #[error("GRUB's `boot_hybrid.img` is too short to be one")]
    BootCode,
}

/// Lays out the plan's medium; `memo` knows what the media before had in common with it.
///
/// # Errors
///
/// Where something does not fit.
pub fn lay_out(parts: &Parts<'_>, memo: &mut Memo) -> Result<Vec<OutputFile>, LayoutError> {
    let image =
        |blob| vec![OutputFile { path: parts.plan.output(), blob, kind: FileKind::Bootable }];
    match &parts.plan.medium {
        Medium::Iso { loader, .. } => Ok(image(iso::lay_out(parts, loader, memo)?)),
        Medium::Disk { sector, esp_bytes, disk_bytes, loader, .. } => {
            let space =
                disk::Space { sector: *sector, esp_bytes: *esp_bytes, disk_bytes: *disk_bytes };
            Ok(image(disk::lay_out(parts, space, loader, memo)?))
        }
        Medium::Files => Ok(files::lay_out(parts)),
        Medium::Seed => seed(parts.plan),
    }
}

/// Lays out a seed, which takes no boot assets.
///
/// # Errors
///
/// As [`seed::lay_out`].
pub fn seed(plan: &NodePlan) -> Result<Vec<OutputFile>, LayoutError> {
    let blob = seed::lay_out(plan)?;
    Ok(vec![OutputFile { path: plan.output(), blob, kind: FileKind::Bootable }])
}
