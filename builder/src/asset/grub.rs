//! GRUB for BIOS: the code in a medium's first sector, and the boot image of a CD.
//!
//! In: a folder with GRUB's `i386-pc` files. Out: [`Grub`]. The boot image is made by GRUB's own
//! `grub-mkimage`, the one program that a build may call: it packs GRUB's modules in a way that
//! only GRUB knows.
//!
//! Source: GRUB manual, "Making a GRUB bootable CD-ROM"; grub-mkimage(1); Talos
//! `pkg/imager/iso/hybrid.go` for what its menu needs.
//!
//! Not here: the menu, and where things lie.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

/// Where Debian and others install GRUB's files for BIOS.
const INSTALLED: &str = "/usr/lib/grub/i386-pc";

/// All that the menu needs, so that no module is loaded from the medium.
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

/// The folder of the menu on the medium.
const PREFIX: &str = "/boot/grub";

/// GRUB's two pieces for a hybrid ISO.
#[derive(Clone, Debug)]
pub struct Grub {
    /// The code for the medium's first sector, read from `boot_hybrid.img`.
    pub boot_code: Vec<u8>,
    /// The boot image for El Torito.
    pub image: Vec<u8>,
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

/// Finds GRUB: in the folder that the site names, or beside the boot assets, or where it is
/// installed.
///
/// # Errors
///
/// Where files or program are missing.
pub fn open(named: Option<&Path>, assets: &Path) -> Result<Grub, GrubError> {
    let beside = assets.join("grub/i386-pc");
    let folder = match named {
        Some(folder) => folder,
        None if beside.is_dir() => &beside,
        None => Path::new(INSTALLED),
    };
    let code = folder.join("boot_hybrid.img");
    if !code.is_file() {
        return Err(GrubError::NoFiles(folder.to_owned()));
    }
    let boot_code =
        std::fs::read(&code).map_err(|e| GrubError::Io(code.display().to_string(), e))?;
    Ok(Grub { boot_code, image: make_image(folder)? })
}

fn make_image(folder: &Path) -> Result<Vec<u8>, GrubError> {
    let io = |error| GrubError::Io("a temporary file".to_owned(), error);
    // Not by a pipe: the program syncs what it has written, and fails where it cannot.
    let image = tempfile::NamedTempFile::new().map_err(io)?;
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
    std::fs::read(image.path()).map_err(io)
}
