//! Boot assets from outside, opened and checked.
//!
//! In: a [`Supply`]: a folder of loose or release files, a UKI, an ISO, a disk, an image's files.
//! Out: [`Assets`]: every piece open, what it claims to be, of one release, and known by its digest;
//! the same bytes whichever way they came.
//!
//! Source: the layout of `/usr/install/<arch>/` in Talos' imager (`pkg/imager/profile/input.go`);
//! the names of Talos' release files; systemd `src/boot` for what its programs say of themselves.
//!
//! Not here: nodes, and what is built from the assets (`payload`).

use std::path::{Path, PathBuf};

use crate::asset::gather::Gather;
use crate::asset::initramfs::Initramfs;
use crate::asset::input::Inputs;
use crate::asset::release::Got;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::format::pe::Image;
use crate::inspect::memo::Memo;
use crate::store::Store;
use crate::talos::Arch;
use crate::tree::Tree;

pub mod sums;
pub mod unpack;
pub mod kernel;
pub mod error;
pub mod initramfs;
pub mod grub;
pub mod board;
pub mod input;
mod program;
mod medium;
mod release;
mod gather;

use error::AssetError;

/// Where boot assets come from.
#[derive(Clone, Debug)]
pub enum Supply {
    /// A folder of files by the names of Talos' imager (`vmlinuz`, `initramfs.xz`,
    /// `systemd-stub.efi`, `systemd-boot.efi`, `splash.bmp`, `grub/i386-pc/`) or of its releases
    /// (`vmlinuz-amd64`, `metal-amd64-uki.efi`, `metal-amd64.iso`, `metal-amd64.raw.zst`,
    /// `sha256sum.txt`), or with folders `amd64` and `arm64` of such files.
    Folder(PathBuf),
    /// One file, told apart by what is in it: a UKI, an ISO, a disk, or a disk compressed.
    File {
        /// What messages and manifests call it.
        name: String,
        /// Its bytes.
        blob: Blob,
    },
    /// The files of an image: of Talos' imager, or an installer.
    Tree(Tree),
    /// More than one: the first that has a piece gives it.
    Several(Vec<Supply>),
}

impl Supply {
    /// A file by its path.
    ///
    /// # Errors
    ///
    /// Where it is not there, no plain file, or cannot be read.
    pub fn file(path: &Path) -> Result<Self, AssetError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self::File { blob: input::open_file(path, &name)?, name })
    }

    /// What messages call it.
    fn place(&self) -> String {
        match self {
            Self::Folder(path) => format!("`{}`", path.display()),
            Self::File { name, .. } => format!("`{name}`"),
            Self::Tree(_) => "the image".to_owned(),
            Self::Several(all) => all.iter().map(Self::place).collect::<Vec<_>>().join(" and "),
        }
    }
}

/// The boot assets of a site.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The release of Talos, where a UKI among them says it: `v1.13.9`.
    pub talos: Option<String>,
    /// The kernel.
    pub kernel: Blob,
    /// The kernel's release, where it is known.
    pub uname: Option<String>,
    /// The base initramfs.
    pub initramfs: Initramfs,
    /// systemd's stub.
    pub stub: Image,
    /// The stub's version, where it tells one: 257.
    pub stub_version: Option<u32>,
    /// systemd's boot loader.
    pub sd_boot: Blob,
    /// A picture for UKIs that are assembled.
    pub splash: Option<Blob>,
    /// The UKI as it was shipped, where the assets are one.
    pub ready_uki: Option<ReadyUki>,
    /// GRUB for BIOS, where the assets have it.
    pub grub: Option<grub::Source>,
    /// Every file that was opened.
    pub inputs: Vec<InputFile>,
}

/// A UKI that someone else assembled.
#[derive(Clone, Debug)]
pub struct ReadyUki {
    /// The whole file.
    pub blob: Blob,
    /// Whether it carries a signature.
    pub is_signed: bool,
    /// Its first command line.
    pub cmdline: String,
}

/// A file that media are made from.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Its name: below the assets' folder, in the image, or `sha256:…` for a disk that was unpacked.
    pub name: String,
    /// Its bytes.
    pub blob: Blob,
    /// Their digest.
    pub digest: Digest,
    /// The lists of checksums that have this very digest, by their own names among the inputs: who
    /// vouches for such a list's bytes vouches for these. Empty where no list has the file.
    pub vouched_by: Vec<String>,
}

/// Opens boot assets and checks them. Compressed disks are unpacked into the store.
///
/// # Errors
///
/// Where something is missing, damaged, of another release, or not what it should be.
pub fn open(
    supply: &Supply,
    arch: Arch,
    store: &Store,
    memo: &mut Memo,
) -> Result<Assets, AssetError> {
    let mut inputs = Inputs::default();
    let mut gather = Gather::new(arch, store, &mut inputs);
    let gathered = gather.supply(supply);
    match gathered.and_then(|()| gather.finish(supply.place(), memo)) {
        Ok(assets) => Ok(Assets { inputs: inputs.finish()?, ..assets }),
        // A file that is not the one in its list explains all else.
        Err(error) => Err(inputs.mismatch().unwrap_or(error)),
    }
}

fn check_kernel(file: &Got<Blob>, wanted: Arch) -> Result<Option<String>, AssetError> {
    let name = || file.place.clone();
    let kernel =
        kernel::read(&file.value).map_err(|error| AssetError::Kernel { name: name(), error })?;
    match kernel.arch {
        found if found != wanted => Err(AssetError::Arch { name: name(), found, wanted }),
        _ => Ok(kernel.release),
    }
}

#[cfg(test)]
mod tests;
