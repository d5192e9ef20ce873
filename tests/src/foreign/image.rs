//! Container images in the layout of Talos' imager and installer.
//!
//! In: stand-ins. Out: OCI layouts made by `umoci`, and archives made of them by `skopeo`.
//!
//! Source: Talos `Dockerfile`, targets `imager` and `installer-base`; the manual pages of
//! `umoci insert` and `skopeo copy`.
//!
//! Not here: registries.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::release::{Output, Release, aside, date};
use crate::noise::noise;
use crate::standin::{Standin, TALOS};
use crate::tools;

/// The programs that making images needs.
pub const TOOLS: [&str; 2] = ["umoci", "skopeo"];

/// Writes a folder in the layout of the OCI image specification with the imager, tagged with the
/// release: `/usr/install/<arch>` of each stand-in and GRUB for BIOS.
///
/// A file of a lower layer is replaced in an upper one, another is taken away by a whiteout.
///
/// # Errors
///
/// Where a tool fails.
pub fn imager(standins: &[&Standin], to: &Path) -> Result<()> {
    let work = aside(to)?;
    let image = start(to)?;
    let old = work.path().join("old");
    for standin in standins {
        let folder = old.join(standin.arch.name());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("vmlinuz"), noise(4, 9000))?;
        fs::write(folder.join("removed.bin"), noise(5, 900))?;
    }
    date(work.path())?;
    let source = |path: &Path| path.display().to_string();
    insert(&image, &[&source(&old), "/usr/install"], work.path())?;
    insert(&image, &["/usr/lib/grub/i386-pc", "/usr/lib/grub/i386-pc"], work.path())?;
    for standin in standins {
        standin.lay_into(&work.path().join("install"))?;
        let arch = standin.arch.name();
        let removed = format!("/usr/install/{arch}/removed.bin");
        insert(&image, &["--whiteout", &removed], work.path())?;
    }
    insert(&image, &[&source(&work.path().join("install")), "/usr/install"], work.path())
}

/// Writes such a folder with the installer: a UKI and systemd-boot.
///
/// # Errors
///
/// Where a tool fails.
pub fn installer(release: &Release<'_>, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let image = start(to)?;
    let folder = work.path().join("install").join(release.standin.arch.name());
    fs::create_dir_all(&folder)?;
    fs::copy(release.standin.file("systemd-boot.efi"), folder.join("systemd-boot.efi"))?;
    release.uki(Output::Disk, &folder.join("vmlinuz.efi"))?;
    date(work.path())?;
    let source = work.path().join("install").display().to_string();
    insert(&image, &[&source, "/usr/install"], work.path())
}

/// Writes such a folder with the files and folders that a folder holds: an extension, a catalogue.
///
/// # Errors
///
/// Where a tool fails.
pub fn of_folder(folder: &Path, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let image = start(to)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let target = format!("/{}", entry.file_name().to_string_lossy());
        insert(&image, &[&entry.path().display().to_string(), &target], work.path())?;
    }
    Ok(())
}

/// Writes an archive as `docker save` does, of the image that an OCI layout holds under the
/// release's tag.
///
/// # Errors
///
/// Where a tool fails.
pub fn docker_archive(layout: &Path, name: &str, to: &Path) -> Result<()> {
    let from = format!("oci:{}:{TALOS}", layout.display());
    let into = format!("docker-archive:{}:{name}", to.display());
    copy(&from, &into, to)
}

/// Writes an archive of an OCI layout.
///
/// # Errors
///
/// Where a tool fails.
pub fn oci_archive(layout: &Path, to: &Path) -> Result<()> {
    let from = format!("oci:{}:{TALOS}", layout.display());
    copy(&from, &format!("oci-archive:{}:{TALOS}", to.display()), to)
}

fn copy(from: &str, into: &str, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    tools::stdout("skopeo", &["copy", "-q", "--insecure-policy", from, into], folder)?;
    Ok(())
}

/// Begins an empty image, and gives its name for `umoci`.
fn start(to: &Path) -> Result<String> {
    let parent = to.parent().context("a folder lies in a folder")?;
    let image = format!("{}:{TALOS}", to.display());
    tools::stdout("umoci", &["init", "--layout", &to.display().to_string()], parent)?;
    tools::stdout("umoci", &["new", "--image", &image], parent)?;
    Ok(image)
}

/// Adds a layer.
fn insert(image: &str, what: &[&str], work: &Path) -> Result<()> {
    let created = "2023-11-14T22:13:20Z";
    let mut args = vec!["insert", "--rootless", "--image", image, "--history.created", created];
    args.extend(what);
    tools::stdout("umoci", &args, work)?;
    Ok(())
}
