//! EFI programs: systemd's stub and boot loader, and UKIs taken apart.
//!
//! In: a file. Out: the program, for the right machine and of the right name, and its version.
//!
//! Source: systemd `src/boot` for what its programs say of themselves; The Unified Kernel Image
//! Specification, <https://uapi-group.org/specifications/specs/unified_kernel_image/>; Talos
//! `internal/pkg/uki/uki.go#Build` for the order of sections.
//!
//! Not here: the PE format, and which pieces are taken (`gather`).

use crate::asset::error::AssetError;
use crate::blob::Blob;
use crate::format::pe::section::{CMDLINE, INITRD, LINUX, OSREL, SDMAGIC, SPLASH, UNAME};
use crate::format::pe::{Image, Machine, SectionName};
use crate::talos::Arch;

/// Texts in programs and UKIs are no longer than this.
const TEXT_LEN: u64 = 4096;

/// A program of systemd's.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Itself.
    pub(super) image: Image,
    /// Its version, where it tells one: 257.
    pub(super) version: Option<u32>,
}

/// A UKI taken apart.
#[derive(Debug)]
pub(super) struct Uki {
    /// The stub that it was made with.
    pub(super) stub: Program,
    /// The kernel.
    pub(super) kernel: Blob,
    /// The initramfs.
    pub(super) initramfs: Blob,
    /// The picture.
    pub(super) splash: Option<Blob>,
    /// The kernel's release.
    pub(super) uname: Option<String>,
    /// The release of Talos: `v1.13.9`.
    pub(super) talos: Option<String>,
    /// Its first command line.
    pub(super) cmdline: Option<String>,
    /// Whether it carries a signature.
    pub(super) is_signed: bool,
}

/// Reads an EFI program for a machine.
///
/// # Errors
///
/// Where it is none, or for another machine.
pub(super) fn image(name: &str, file: &Blob, wanted: Arch) -> Result<Image, AssetError> {
    let image = Image::read(file)
        .map_err(|error| AssetError::Pe { name: name.to_owned(), error: Box::new(error) })?;
    let found = match image.machine {
        Machine::Amd64 => Arch::Amd64,
        Machine::Arm64 => Arch::Arm64,
    };
    match found == wanted {
        true => Ok(image),
        false => Err(AssetError::Arch { name: name.to_owned(), found, wanted }),
    }
}

/// What a program of systemd's calls itself: `#### LoaderInfo: systemd-stub 257.9-1 ####`.
///
/// # Errors
///
/// Where it cannot be read.
pub(super) fn magic(name: &str, image: &Image) -> Result<Option<String>, AssetError> {
    image.section(SDMAGIC).map(|section| text(name, &section.data())).transpose()
}

/// Sees to it that an image is the program of systemd's that it should be.
///
/// # Errors
///
/// Where it is not.
pub(super) fn systemd(
    name: &str,
    image: Image,
    program: &'static str,
) -> Result<Program, AssetError> {
    let magic = magic(name, &image)?;
    let wrong = |found| AssetError::Program { name: name.to_owned(), wanted: program, found };
    let magic = magic.ok_or_else(|| wrong("it has no section `.sdmagic`".to_owned()))?;
    let (_, version) = magic
        .split_once(program)
        .ok_or_else(|| wrong(format!("it calls itself `{}`", magic.escape_default())))?;
    let digits: String = version.trim_start().chars().take_while(char::is_ascii_digit).collect();
    Ok(Program { image, version: digits.parse().ok() })
}

/// Takes a UKI apart.
///
/// # Errors
///
/// Where it is none, or for another machine.
pub(super) fn uki(name: &str, file: &Blob, wanted: Arch) -> Result<Uki, AssetError> {
    let image = image(name, file, wanted)?;
    let part = |section: SectionName| {
        let found = image.section(section).map(|found| found.data());
        found.ok_or_else(|| AssetError::Program {
            name: name.to_owned(),
            wanted: "a unified kernel image",
            found: format!("it has no section `{section}`"),
        })
    };
    let told = |section| image.section(section).map(|found| text(name, &found.data())).transpose();
    let release = told(OSREL)?.unwrap_or_default();
    Ok(Uki {
        kernel: part(LINUX)?,
        initramfs: part(INITRD)?,
        splash: image.section(SPLASH).map(|section| section.data()),
        cmdline: told(CMDLINE)?,
        uname: told(UNAME)?,
        talos: version_id(&release),
        is_signed: image.is_signed(),
        stub: systemd(name, image.before(OSREL), "systemd-stub")?,
    })
}

/// The value of `VERSION_ID` in an os-release(5).
fn version_id(release: &str) -> Option<String> {
    let mut values = release.lines().filter_map(|line| line.strip_prefix("VERSION_ID="));
    let value = values.next()?.trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

fn text(name: &str, blob: &Blob) -> Result<String, AssetError> {
    let blob = blob.slice(0..blob.len().min(TEXT_LEN));
    let bytes = blob.to_vec().map_err(|error| AssetError::Io(name.into(), error))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_that_of_os_release() {
        let release = "NAME=\"Talos\"\nVERSION_ID=v1.13.9\nPRETTY_NAME=\"Talos (v1.13.9)\"\n";
        assert_eq!(version_id(release).as_deref(), Some("v1.13.9"));
        assert_eq!(version_id("VERSION_ID=\"v1.14.0\"").as_deref(), Some("v1.14.0"));
        assert_eq!(version_id("VERSION_ID=\n"), None);
        assert_eq!(version_id(""), None);
    }
}
