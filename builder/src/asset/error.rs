//! Why boot assets cannot be used, in words that say what to do.
//!
//! In: findings of the rooms beside. Out: [`AssetError`].
//!
//! Source: Talos' releases, images and file names: `Dockerfile`, `Makefile` (`release`),
//! `pkg/imager/profile/input.go`.
//!
//! Not here: how an error is shown (`report`).

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::asset::kernel::KernelError;
use crate::asset::sums::Sum;
use crate::asset::unpack::UnpackError;
use crate::format::pe::PeError;
use crate::inspect::damage::Damage;
use crate::talos::Arch;

/// Why assets cannot be used.
#[derive(Debug, Error)]
pub enum AssetError {
    /// A source that cannot be opened yet, by its scheme.
    #[error("boot assets from `{0}:` cannot be opened by this version")]
    Unsupported(String),
    /// A file or folder is not there.
    #[error("the boot assets lack `{}`", .0.display())]
    Missing(PathBuf),
    /// A file cannot be opened or read.
    #[error("`{}` cannot be read", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Pieces are missing. All of them are named.
    #[error(transparent)]
    Lacking(Box<Lacking>),
    /// The kernel is none.
    #[error("`{name}` is {error}")]
    Kernel {
        /// The file.
        name: String,
        /// What is wrong.
        error: KernelError,
    },
    /// An EFI program is none.
    #[error("`{name}` is no EFI program: {error}")]
    Pe {
        /// The file.
        name: String,
        /// What is wrong.
        error: Box<PeError>,
    },
    /// A file for another processor.
    #[error("`{name}` is for {found}, the site is for {wanted}")]
    Arch {
        /// The file.
        name: String,
        /// What it is for.
        found: Arch,
        /// What the site says.
        wanted: Arch,
    },
    /// An EFI program that is not the one that its name says.
    #[error("`{name}` is not {wanted}: {found}")]
    Program {
        /// The file.
        name: String,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// The initramfs is none, or damaged.
    #[error("`{name}` is no initramfs that Linux unpacks: {error}")]
    Initramfs {
        /// The file.
        name: String,
        /// What is wrong.
        error: Box<Damage>,
    },
    /// An ISO or a disk is damaged.
    #[error("`{name}` is damaged: {error}")]
    Medium {
        /// The file.
        name: String,
        /// What is wrong.
        error: Box<Damage>,
    },
    /// A file of no kind that has boot assets.
    #[error("`{0}` is neither a UKI, an ISO, a disk, nor a compressed one")]
    Foreign(String),
    /// A medium that was upgraded, or is no release's.
    #[error("`{name}` has more than one UKI: {}", quoted(.found))]
    ManyUkis {
        /// The file.
        name: String,
        /// Their names.
        found: Vec<String>,
    },
    /// A UKI that would lose its signature.
    #[error(
        "`{0}` is signed for Secure Boot; what is made of its parts is not, and would be refused"
    )]
    SecureBoot(String),
    /// Two places whose pieces do not belong together.
    #[error("{a} and {b} are not of one release: {why}")]
    Mix {
        /// The one place, and what is known of it.
        a: String,
        /// The other.
        b: String,
        /// What differs.
        why: &'static str,
    },
    /// A file is not the one that a list of checksums names.
    #[error("`{name}` has the digest {found}; `{list}` says {wanted}")]
    Sum {
        /// The file.
        name: String,
        /// The list.
        list: String,
        /// The file's digest.
        found: Box<Sum>,
        /// What the list says.
        wanted: Box<Sum>,
    },
    /// A list of checksums that is none.
    #[error("`{name}`, line {line}, is no `<digest>  <name>`")]
    SumLine {
        /// The list.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// A list of checksums of a length that none has.
    #[error("`{name}` has {len} bytes; a list of checksums has at most {most}")]
    SumLen {
        /// The list.
        name: String,
        /// Its length in bytes.
        len: u64,
        /// The limit.
        most: u64,
    },
    /// A compressed disk.
    #[error("`{name}` {error}")]
    Unpack {
        /// The file.
        name: String,
        /// What is wrong.
        error: UnpackError,
    },
}

/// Pieces that are missing.
#[derive(Debug, Error)]
#[error("the boot assets in {place} lack {}{}", list(.pieces.iter()), because(.reasons))]
pub struct Lacking {
    /// Where they were looked for, for people.
    pub place: String,
    /// What is missing.
    pub pieces: Vec<Piece>,
    /// The architecture that they are wanted for.
    pub arch: Arch,
    /// Why that is, where something tells.
    pub reasons: Vec<Reason>,
}

/// A boot asset that no medium is made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Linux.
    Kernel,
    /// Talos' own.
    Initramfs,
    /// What UKIs are made with.
    Stub,
    /// What starts UKIs.
    SdBoot,
}

impl Piece {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Initramfs, Self::Stub, Self::SdBoot];

    /// Its file's name in Talos' imager.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Initramfs => "initramfs.xz",
            Self::Stub => "systemd-stub.efi",
            Self::SdBoot => "systemd-boot.efi",
        }
    }

    /// Where to get it.
    fn found_in(self, arch: Arch) -> String {
        let imager = format!(
            "`{}`, at `/usr/install/{arch}/` in the image `ghcr.io/siderolabs/imager`",
            self.file()
        );
        match self {
            Self::Kernel => format!("`vmlinuz-{arch}` of the same Talos release"),
            Self::Initramfs => format!("`initramfs-{arch}.xz` of the same Talos release"),
            Self::Stub => {
                format!(
                    "`metal-{arch}-uki.efi` or `metal-{arch}.iso` of the same Talos release; or {imager}"
                )
            }
            Self::SdBoot => {
                let short = if arch == Arch::Amd64 { "x64" } else { "aa64" };
                format!(
                    "`metal-{arch}.iso` of the same Talos release; or {imager}; or `systemd-boot{short}.efi` \
                     of Debian's package `systemd-boot-efi`, renamed to `{}`",
                    self.file()
                )
            }
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "the kernel",
            Self::Initramfs => "the initramfs",
            Self::Stub => "systemd-stub",
            Self::SdBoot => "systemd-boot",
        })
    }
}

/// Why something has fewer pieces than it seems.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// An ISO without a UKI.
    #[error("`{0}` starts by GRUB alone, as ISOs of Talos 1.9 and older do: it has no UKI")]
    GrubIso(String),
    /// A disk without a UKI.
    #[error(
        "`{0}` starts by GRUB alone, as disks of Talos 1.9 and older do: its kernel lies on an XFS \
         volume, which is not read"
    )]
    GrubDisk(String),
    /// A disk that starts by nothing known.
    #[error("`{0}` has no EFI system partition with a UKI")]
    NoUki(String),
    /// A UKI, for those who think that it is all.
    #[error("a UKI has no boot loader in it")]
    UkiAlone,
    /// An installer from before UKIs.
    #[error(
        "the image is a Talos installer of 1.9 or older, which has neither systemd-stub nor \
         systemd-boot"
    )]
    OldInstaller,
    /// The installer without what it installs.
    #[error("the image is Talos' `installer-base`, which has no boot assets")]
    InstallerBase,
    /// An image that is none of Talos'.
    #[error("the image has no folder `usr/install`, so it is no imager or installer of Talos")]
    NoInstall,
    /// An image for other machines.
    #[error("the image has boot assets for {0} alone")]
    OtherArch(Arch),
    /// Files that were left aside, by their names.
    #[error("{} not for {arch} by name", passed(.files))]
    PassedOver {
        /// Their names.
        files: Vec<String>,
        /// What they would have to be for.
        arch: Arch,
    },
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn passed(names: &[String]) -> String {
    format!("{} {}", quoted(names), if names.len() == 1 { "is" } else { "are" })
}

fn because(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("; {reason}")).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn list<'a>(items: impl Iterator<Item = &'a Piece>) -> String {
    let names: Vec<_> = items.map(Piece::to_string).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

impl Lacking {
    fn help(&self) -> String {
        let arch = self.arch;
        if self.reasons.iter().any(Reason::is_of_image) {
            return "name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), \
                    which has all of them"
                .to_owned();
        }
        if self.pieces.len() == Piece::ALL.len() || self.reasons.iter().any(Reason::is_of_grub) {
            return format!(
                "take `metal-{arch}.iso` of a Talos release (1.10 or newer), which has all of them, \
                 or the files at `/usr/install/{arch}/` in the image `ghcr.io/siderolabs/imager`; \
                 put them into a folder and name it in `boot.assets`"
            );
        }
        let item = |piece: &Piece| format!("\n  {piece}: {}", piece.found_in(arch));
        let items: String = self.pieces.iter().map(item).collect();
        format!("put what is missing beside the rest, and name the folder in `boot.assets`:{items}")
    }
}

impl Reason {
    /// Whether it speaks of an image.
    const fn is_of_image(&self) -> bool {
        matches!(
            self,
            Self::OldInstaller | Self::InstallerBase | Self::NoInstall | Self::OtherArch(_)
        )
    }

    /// Whether it speaks of a medium without systemd-boot.
    const fn is_of_grub(&self) -> bool {
        matches!(self, Self::GrubIso(_) | Self::GrubDisk(_) | Self::NoUki(_))
    }
}

impl AssetError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Unsupported(_) => "take the files out of it, and name their folder, \
                 `assets: dir:assets`, or a UKI, `assets: uki:metal-amd64-uki.efi`"
                .to_owned(),
            Self::Lacking(lacking) => lacking.help(),
            Self::Missing(_) | Self::Io(..) => {
                "check the path in `boot.assets` and the file's permissions".to_owned()
            }
            Self::Arch { found, .. } => {
                format!("set `boot.arch: {found}`, or take the assets of the other architecture")
            }
            Self::Foreign(_) => {
                "take `metal-amd64.iso`, `metal-amd64.raw.zst` or `metal-amd64-uki.efi` of a Talos \
                 release, or the same for arm64"
                    .to_owned()
            }
            Self::ManyUkis { .. } => {
                "take the medium as a release has it, from before it was booted and upgraded"
                    .to_owned()
            }
            Self::SecureBoot(_) => "take the release's files without `secureboot` in their names, \
                 or keep the UKI whole: name it alone, `assets: uki:`"
                .to_owned(),
            Self::Mix { .. } => {
                "take all files of one release, or those of one place alone".to_owned()
            }
            Self::SumLine { .. } | Self::SumLen { .. } => {
                "fetch the list again from the release, or take it out of the folder".to_owned()
            }
            Self::Unpack { error, .. } => error.help().to_owned(),
            Self::Kernel { .. }
            | Self::Pe { .. }
            | Self::Program { .. }
            | Self::Medium { .. }
            | Self::Sum { .. }
            | Self::Initramfs { .. } => "fetch the file again and compare its checksum".to_owned(),
        }
    }
}
