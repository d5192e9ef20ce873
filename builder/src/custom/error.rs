//! Why a medium cannot be read or changed, and what to do about it.
//!
//! In: what went wrong. Out: one sentence, a stable code, a line of help.
//!
//! Source: none.
//!
//! Not here: how it is shown (`verb`).

use std::io;

use thiserror::Error;

use crate::format::fat::edit::EditError;
use crate::format::iso9660::edit::IsoEditError;
use crate::format::pe::PeError;
use crate::inspect::damage::Damage;
use crate::payload::extension::ExtensionError;
use crate::talos::Version;

/// Why a medium cannot be read or changed. Nothing secret is in it.
#[derive(Debug, Error)]
pub enum CustomError {
    /// Neither an ISO nor a raw disk.
    #[error("it is neither an ISO nor a raw disk")]
    Kind,
    /// No EFI system partition with a UKI.
    #[error("it has no unified kernel image in `EFI/Linux` of an EFI system partition")]
    NoUki,
    /// Several EFI system partitions.
    #[error("it has {0} EFI system partitions; a change would have to be made on each")]
    Esps(usize),
    /// The stub would ignore what is put beside it.
    #[error(
        "its systemd-stub ({found}) ignores what lies beside it; it takes {what} since {since}"
    )]
    Stub {
        /// Its version.
        found: String,
        /// What it is to take.
        what: &'static str,
        /// Since when it takes it.
        since: u32,
    },
    /// The release would ignore a config.
    #[error("it holds Talos {0}, which reads no config from its boot medium; v1.12 and later do")]
    Talos(Version),
    /// Nobody knows which release it is.
    #[error("its unified kernel image does not say which release of Talos it holds")]
    NoVersion,
    /// A config that cannot be taken out.
    #[error("a machine config is inside its unified kernel image, and would stay on it")]
    Inside,
    /// A kernel argument that cannot be had.
    #[error("the kernel argument `{arg}` cannot be put on a finished medium: {why}")]
    Argument {
        /// The argument.
        arg: String,
        /// Why not.
        why: &'static str,
    },
    /// A kernel command line longer than the kernel takes.
    #[error("with these arguments the kernel command line has {len} bytes; a kernel takes {limit}")]
    Line {
        /// The bytes that it would have.
        len: usize,
        /// The bytes that there may be.
        limit: usize,
    },
    /// GRUB's menu is none that we can change.
    #[error("its `{0}` is not written as Talos writes it")]
    Menu(&'static str),
    /// The ISO's folder has no room.
    #[error("the ISO's folder `{0}` has no room for one more file")]
    Folder(&'static str),
    /// The record of a change is no such thing.
    #[error("the record of its last change is damaged: {0}")]
    Record(&'static str),
    /// Somebody else wrote to what a change had written.
    #[error("it was written to since talforge changed it, so it cannot be taken back")]
    Changed,
    /// After a change, something else was found than was meant.
    #[error("it does not hold what was meant: {0}")]
    Mismatch(String),
    /// It cannot be read as firmware reads it.
    #[error("{0}")]
    Damage(#[from] Box<Damage>),
    /// Its EFI partition.
    #[error(transparent)]
    Esp(#[from] EditError),
    /// The ISO's folders.
    #[error(transparent)]
    Tree(#[from] IsoEditError),
    /// The config's segment.
    #[error(transparent)]
    Segment(#[from] ExtensionError),
    /// The addon.
    #[error(transparent)]
    Addon(#[from] PeError),
    /// It cannot be read at all.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

impl From<Damage> for CustomError {
    fn from(damage: Damage) -> Self {
        Self::Damage(Box::new(damage))
    }
}

impl CustomError {
    /// A stable name for programs: `old-stub`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kind => "medium-kind",
            Self::NoUki => "no-uki",
            Self::Esps(_) => "many-esps",
            Self::Stub { .. } => "old-stub",
            Self::Talos(_) => "old-talos",
            Self::NoVersion => "no-version",
            Self::Inside => "config-inside",
            Self::Argument { .. } => "kernel-arg",
            Self::Line { .. } => "cmdline-length",
            Self::Menu(_) => "grub-menu",
            Self::Folder(_) | Self::Tree(_) => "iso-folders",
            Self::Esp(_) => "efi-partition",
            Self::Record(_) => "undo-record",
            Self::Changed => "changed-since",
            Self::Mismatch(_) => "mismatch",
            Self::Damage(_) => "damage",
            Self::Segment(_) => "segment",
            Self::Addon(_) => "addon",
            Self::Io(_) => "read",
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Kind => {
                "take an ISO or a raw disk image; unpack a compressed one, convert a qcow2 to raw"
            }
            Self::NoUki | Self::Esps(_) => {
                "take an image of Talos v1.12 or later that starts by systemd-boot: metal-amd64.iso, \
                 metal-arm64.iso, metal-amd64.raw"
            }
            Self::Stub { .. } | Self::Talos(_) => {
                "take an image of Talos v1.12 or later; an older one reads its config from a second \
                 medium, a volume named `metal-iso` with `config.yaml`"
            }
            Self::NoVersion => "take an image as Talos or its Image Factory makes it",
            Self::Inside => "take the image without a config, or build one with `embed: addon`",
            Self::Argument { .. } => "leave it out, or let `talforge build` make the medium",
            Self::Line { .. } => "leave arguments out, or shorten them",
            Self::Menu(_) | Self::Folder(_) | Self::Tree(_) | Self::Esp(_) => {
                "take the image as Talos or its Image Factory makes it, or let `talforge build` make one"
            }
            Self::Record(_) | Self::Changed => {
                "take a fresh image and customize that; a disk that has booted belongs to Talos"
            }
            Self::Mismatch(_) => "try again; if it stays so, check the disk that it lies on",
            Self::Damage(_) => "fetch the image again and compare its checksum",
            Self::Segment(_) | Self::Addon(_) => "check that the image is of a Talos release",
            Self::Io(_) => "check the file's permissions and the disk that it lies on",
        }
    }
}
