//! A finished medium, read the way firmware, kernel and Talos will.
//!
//! In: an ISO, a raw disk, a UKI or an initramfs, as a [`Blob`]. Out: every boot that it offers, with
//! the machine config that Talos would find, or the [`Damage`] that stops it.
//!
//! This room shares no code with the writers (`format`): what they get wrong, it must not get wrong
//! in the same way. It trusts nothing that it reads: no medium makes it panic, hang, or take more
//! memory than a few times the medium's own length or a stated limit.
//!
//! Source: the head of each file names its own.
//!
//! Not here: writing, signatures, BOOT partitions on XFS (the BIOS half of a raw disk).

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::units::SectorSize;

pub mod damage;
mod field;
pub mod partitions;
pub mod iso;
pub mod fat;
pub mod pe;
pub mod uki;
pub mod grub;
pub mod meta;
pub mod unpack;
mod cpio;
pub mod memo;
mod skim;
pub mod initrd;
pub mod squashfs;
pub mod init;
pub mod volume;
mod esp;
mod media;
pub mod container;

use damage::Damage;
use init::{Found, Layer};
use memo::Memo;
use meta::Meta;
use volume::{Given, Seeker, Volume};

/// What a medium offers.
#[derive(Clone, Debug)]
pub struct Medium {
    /// What its file wraps it in, the outermost first: `zst`, `qcow2`. [`open`] takes bare media
    /// only; who unwrapped one says so here.
    pub containers: Vec<&'static str>,
    /// What it is.
    pub kind: Kind,
    /// An ISO's volume id: `TALOS_V1_13_9`.
    pub volume_id: Option<String>,
    /// The ways by which firmware can start it.
    pub doors: BTreeSet<Door>,
    /// What its menus offer.
    pub boots: Vec<Boot>,
    /// A disk's META.
    pub meta: Option<Meta>,
    /// Volumes on which Talos may look for its machine config, in the order in which it looks.
    pub volumes: Vec<Volume>,
    /// What lies where, by its start. Regions may hold one another.
    pub regions: Vec<Region>,
    /// What is odd but stops no boot.
    pub notes: Vec<String>,
}

/// Where a boot finds its machine config.
#[derive(Clone, Copy, Debug)]
pub enum Config<'a> {
    /// In a layer of its initramfs.
    Embedded(&'a Found),
    /// On a volume of the medium.
    Volume(&'a Volume, &'a Given),
}

impl Config<'_> {
    /// The config's digest.
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Embedded(found) => found.digest,
            Self::Volume(_, given) => given.digest,
        }
    }

    /// The config's bytes.
    pub const fn bytes(&self) -> &Arc<[u8]> {
        match self {
            Self::Embedded(found) => &found.bytes,
            Self::Volume(_, given) => &given.bytes,
        }
    }
}

impl Medium {
    /// The machine config that Talos finds first in a boot: one in its initramfs, or else one on the
    /// first volume of the medium that its command line makes it look for.
    pub fn config_of<'a>(&'a self, boot: &'a Boot) -> Option<Config<'a>> {
        if let Some(found) = &boot.found {
            return Some(Config::Embedded(found));
        }
        let seeker = Seeker::of_line(&boot.cmdline)?;
        let volume = self.volumes.iter().find(|volume| volume.seeker == seeker)?;
        Some(Config::Volume(volume, volume.config.as_ref()?))
    }

    /// What it is, wrapped in what: `qcow2 of a raw disk, 512-byte sectors`.
    pub fn title(&self) -> String {
        if self.containers.is_empty() {
            return self.kind.to_string();
        }
        let article = match self.kind {
            Kind::Disk { .. } | Kind::Uki => "a",
            Kind::Iso | Kind::Initrd => "an",
        };
        format!("{} of {article} {}", self.containers.join(" of "), self.kind)
    }

    /// Whether it is a seed: a config for a machine that boots from another medium.
    pub fn is_seed(&self) -> bool {
        self.boots.is_empty() && self.volumes.iter().any(|volume| volume.config.is_some())
    }
}

/// The kind of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ISO 9660 image.
    Iso,
    /// A raw disk.
    Disk {
        /// The size of its sectors.
        sector: SectorSize,
    },
    /// A unified kernel image.
    Uki,
    /// An initramfs.
    Initrd,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iso => f.write_str("ISO"),
            Self::Disk { sector } => write!(f, "raw disk, {}-byte sectors", sector.bytes()),
            Self::Uki => f.write_str("unified kernel image"),
            Self::Initrd => f.write_str("initramfs"),
        }
    }
}

/// A way by which firmware can start a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// UEFI, from an optical or virtual drive.
    UefiCd,
    /// UEFI, from a disk or a stick.
    UefiDisk,
    /// A BIOS, from an optical or virtual drive.
    BiosCd,
    /// A BIOS, from a disk or a stick.
    BiosDisk,
}

impl Door {
    /// A name for people and machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UefiCd => "UEFI as CD",
            Self::UefiDisk => "UEFI as disk or USB stick",
            Self::BiosCd => "BIOS as CD",
            Self::BiosDisk => "BIOS as disk or USB stick",
        }
    }
}

/// A range of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its bytes.
    pub range: Range<u64>,
    /// What it is.
    pub label: String,
}

/// One boot: what a menu's entry starts.
#[derive(Clone, Debug)]
pub struct Boot {
    /// How it comes to be started.
    pub firmware: Firmware,
    /// The menu entry's title.
    pub title: String,
    /// The UKI profile's id.
    pub profile: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
    /// The kernel's release, where it is told.
    pub kernel: Option<String>,
    /// The major version of systemd-stub.
    pub stub: Option<u32>,
    /// The layers over the base system, the lowest first.
    pub layers: Vec<Layer>,
    /// The machine config that Talos finds, where there is one.
    pub found: Option<Found>,
}

/// How a boot comes to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// By UEFI.
    Uefi {
        /// Where its EFI system partition starts on the medium; 0 where the medium is the UKI.
        esp: u64,
        /// The path of the UKI; empty where the medium is the UKI.
        uki: String,
        /// The paths of the addons that are taken.
        addons: Vec<String>,
    },
    /// By GRUB, which a BIOS starts, or UEFI where its EFI system partition is GRUB's.
    Bios {
        /// The path of the kernel.
        linux: String,
        /// The paths of the initrds.
        initrds: Vec<String>,
    },
    /// By a loader that is not on the medium: an initramfs alone.
    Elsewhere,
}

/// Reads a medium.
///
/// `memo` holds what is known of compressed segments from media before.
///
/// # Errors
///
/// The first [`Damage`] that would stop a boot.
pub fn open(medium: &Blob, memo: &mut Memo) -> Result<Medium, Damage> {
    memo.allow(medium.len());
    let read = media::read(medium, memo);
    memo.end_medium();
    let mut read = read?;
    read.regions.sort_by_key(|r| (r.range.start, std::cmp::Reverse(r.range.end)));
    read.notes.sort();
    read.notes.dedup();
    Ok(read)
}
