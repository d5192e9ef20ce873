//! GRUB for BIOS: the code in a medium's first sector, and the boot image of a CD.
//!
//! In: GRUB's `i386-pc` files, in a folder or elsewhere, or what an ISO has ready. Out: [`Grub`]. From
//! files the boot image is made by GRUB's own `grub-mkimage`, the one program that a build may call:
//! it packs GRUB's modules in a way that only GRUB knows. From an ISO it is taken as it is, with the
//! modules that it loads.
//!
//! Source: GRUB manual, "Making a GRUB bootable CD-ROM"; grub-mkimage(1); grub-mkrescue(1); Talos
//! `pkg/imager/iso/hybrid.go` for what its menu needs.
//!
//! Not here: the menu, and where things lie.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::blob::Blob;
use crate::units::MIB;

/// Where Debian and others install GRUB's files for BIOS.
const INSTALLED: &str = "/usr/lib/grub/i386-pc";

/// All that the menu needs. An image that is made has them in it, so that none is loaded from the
/// medium.
const MODULES: [&str; 14] = [
    "biosdisk",
    "iso9660",
    "part_msdos",
    "part_gpt",
    "normal",
    "configfile",
    "linux",
    "all_video",
    "test",
    "echo",
    "ls",
    "search",
    "reboot",
    "halt",
];

/// The file of the first sector's code.
pub(super) const CODE: &str = "boot_hybrid.img";

/// The most bytes of all of its files: they have some 3 MiB.
const FILES_LEN: u64 = 64 * MIB;

/// The fewest bytes of a boot image: its last place that is told where it lies ends here.
const LEAST_IMAGE_BYTES: usize = 2556;

/// The folder of the menu on the medium.
const PREFIX: &str = "/boot/grub";

/// GRUB's pieces for a hybrid ISO.
#[derive(Clone, Debug)]
pub struct Grub {
    /// The code for the medium's first sector, read from `boot_hybrid.img` or from an ISO.
    pub boot_code: Vec<u8>,
    /// The boot image for El Torito.
    pub image: Vec<u8>,
    /// The modules that the image loads from the ISO, by their paths there; none where it has all.
    pub modules: Vec<(String, Blob)>,
}

impl Grub {
    /// GRUB as a hybrid ISO has it, or nothing where it cannot run the menu: a module is missing, or
    /// the image is too short for what it must be told.
    pub(super) fn shipped(
        boot_code: Vec<u8>,
        image: Vec<u8>,
        modules: Vec<(String, Blob)>,
    ) -> Option<Self> {
        let has = |name: &&str| {
            let file = format!("/{name}.mod");
            modules.iter().any(|(path, _)| path.ends_with(&file))
        };
        let is_whole = MODULES.iter().all(has);
        (is_whole && image.len() >= LEAST_IMAGE_BYTES).then_some(Self { boot_code, image, modules })
    }
}

/// Where GRUB's pieces are.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a folder, as GRUB installs them.
    Folder(PathBuf),
    /// The same files, by their names, from elsewhere.
    Files(BTreeMap<String, Blob>),
    /// On an ISO, ready.
    Iso(Grub),
}

/// Why there is no GRUB.
#[derive(Debug, Error)]
pub enum GrubError {
    /// No folder with its files.
    #[error("GRUB's files for BIOS are not in `{}` (no `boot_hybrid.img`)", .0.display())]
    NoFiles(PathBuf),
    /// No program to make the boot image.
    #[error("`grub-mkimage` is not installed; it makes the ISO's boot image for BIOS")]
    NoProgram,
    /// More than GRUB has.
    #[error("GRUB's files for BIOS have more than {} MiB", FILES_LEN / MIB)]
    TooLarge,
    /// The program failed.
    #[error("`grub-mkimage` made no boot image: {0}")]
    Program(String),
    /// A file cannot be read, or the program not be started.
    #[error("`{0}` cannot be used")]
    Io(String, #[source] io::Error),
}

impl GrubError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        "install GRUB for BIOS (Debian: grub-pc-bin and grub-common), or name its folder as \
         `boot.grub`, or take the profile `metal-iso`, which starts by UEFI alone"
    }
}

/// Opens GRUB: in the folder that the site names, or as the boot assets have it, or where it is
/// installed.
///
/// # Errors
///
/// Where files or program are missing.
pub fn open(named: Option<&Path>, shipped: Option<&Source>) -> Result<Grub, GrubError> {
    match (named, shipped) {
        (Some(folder), _) => pack(folder),
        (None, Some(Source::Folder(folder))) => pack(folder),
        (None, Some(Source::Files(files))) => {
            let folder = tempfile::tempdir().map_err(temporary)?;
            unfold(files, folder.path())?;
            pack(folder.path())
        }
        (None, Some(Source::Iso(grub))) => Ok(grub.clone()),
        (None, None) => pack(Path::new(INSTALLED)),
    }
}

/// Makes GRUB's pieces of the files in a folder.
fn pack(folder: &Path) -> Result<Grub, GrubError> {
    let code = folder.join(CODE);
    if !code.is_file() {
        return Err(GrubError::NoFiles(folder.to_owned()));
    }
    let boot_code =
        std::fs::read(&code).map_err(|e| GrubError::Io(code.display().to_string(), e))?;
    Ok(Grub { boot_code, image: make_image(folder)?, modules: Vec::new() })
}

/// Writes the files into a folder, where `grub-mkimage` finds them.
fn unfold(files: &BTreeMap<String, Blob>, folder: &Path) -> Result<(), GrubError> {
    if files.values().map(Blob::len).sum::<u64>() > FILES_LEN {
        return Err(GrubError::TooLarge);
    }
    for (name, blob) in files {
        let bytes = blob.to_vec().map_err(|error| GrubError::Io(name.clone(), error))?;
        std::fs::write(folder.join(name), bytes).map_err(temporary)?;
    }
    Ok(())
}

fn temporary(error: io::Error) -> GrubError {
    GrubError::Io("a temporary file".to_owned(), error)
}

fn make_image(folder: &Path) -> Result<Vec<u8>, GrubError> {
    // Not by a pipe: the program syncs what it has written, and fails where it cannot.
    let image = tempfile::NamedTempFile::new().map_err(temporary)?;
    let mut command = Command::new("grub-mkimage");
    command.arg("--format=i386-pc-eltorito").arg("--directory").arg(folder);
    command.arg("--output").arg(image.path()).args(["--prefix", PREFIX]).args(MODULES);
    let out = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => GrubError::NoProgram,
        _ => GrubError::Io("grub-mkimage".to_owned(), error),
    })?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(GrubError::Program(text));
    }
    std::fs::read(image.path()).map_err(temporary)
}
