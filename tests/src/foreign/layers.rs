//! An initramfs with system extensions, and one with microcode before it.
//!
//! In: a stand-in's initramfs, extensions. Out: what Talos' imager makes of them.
//!
//! Source: Talos `pkg/imager/extensions/rebuild.go`, `internal/pkg/extensions/compress.go`,
//! `pkg/machinery/extensions/config.go`; the manual pages of `mksquashfs`, `cpio`, `zstd`.
//!
//! Not here: kernel modules, firmware outside of layers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::release::{EPOCH, aside};
use crate::noise::noise;
use crate::tools;

/// A system extension.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name: `util-linux-tools`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its files by their path, which begins with `usr/`.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

/// The programs that making these needs.
pub const TOOLS: [&str; 3] = ["mksquashfs", "cpio", "zstd"];

/// Two extensions, for whoever needs some.
pub fn two() -> [Extension; 2] {
    [
        Extension {
            name: "util-linux-tools",
            version: "2.41.1",
            files: vec![("usr/local/sbin/nsenter", noise(1, 70_000))],
        },
        Extension {
            name: "iscsi-tools",
            version: "v0.2.0",
            files: vec![
                ("usr/local/etc/containers/iscsid.yaml", b"name: iscsid\n".to_vec()),
                ("usr/local/lib/containers/iscsid/iscsid", noise(2, 3000)),
            ],
        },
    ]
}

/// Writes an initramfs: the base as it is and, where there are extensions, a segment with theirs
/// behind it.
///
/// # Errors
///
/// Where a tool fails.
pub fn extended(base: &Path, extensions: &[Extension], to: &Path) -> Result<()> {
    let mut bytes = fs::read(base)?;
    if !extensions.is_empty() {
        bytes.extend(segment(extensions, to)?);
    }
    fs::write(to, bytes)?;
    Ok(())
}

fn segment(extensions: &[Extension], to: &Path) -> Result<Vec<u8>> {
    let work = aside(to)?;
    let tree = work.path().join("segment");
    fs::create_dir(&tree)?;
    let mut list = "layers:\n".to_owned();
    for (number, extension) in extensions.iter().enumerate() {
        let root = work.path().join(number.to_string());
        for (path, content) in &extension.files {
            let file = root.join(path);
            fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
            fs::write(file, content)?;
        }
        let (from, image) = (number.to_string(), format!("segment/{number}.sqsh"));
        let mut args = vec![&*from, &image, "-all-root", "-noappend", "-no-progress", "-quiet"];
        args.extend(["-comp", "zstd", "-Xcompression-level", "18", "-no-xattrs"]);
        args.extend(["-all-time", "0", "-mkfs-time", "0"]);
        tools::stdout("mksquashfs", &args, work.path())?;
        let Extension { name, version, .. } = extension;
        writeln!(
            list,
            "    - image: {number}.sqsh\n      metadata:\n        name: {name}\n        \
             version: {version}\n        author: Sidero Labs\n        description: |\n          \
             Stands in for {name}.\n        compatibility:\n          talos:\n            \
             version: '>= v1.0.0'"
        )?;
    }
    fs::write(tree.join("extensions.yaml"), list)?;
    archive(&tree)?;
    tools::stdout("zstd", &["-q", "-T0", "-18", "segment.cpio"], work.path())?;
    Ok(fs::read(work.path().join("segment.cpio.zst"))?)
}

/// Packs a folder as `<folder>.cpio` beside it.
fn archive(tree: &Path) -> Result<()> {
    let name = tree.file_name().context("a folder has a name")?.to_string_lossy();
    let script = format!(
        "find . -exec touch -h -d @{EPOCH} {{}} +
         find . -mindepth 1 | sed 's,^\\./,,' | LC_ALL=C sort \
         | cpio -H newc --create --reproducible --quiet -R +0:+0 > ../{name}.cpio"
    );
    tools::stdout("sh", &["-ec", &script], tree)?;
    Ok(())
}

/// Writes an initramfs with a segment of microcode before another, for processors that the emulator
/// has none of.
///
/// # Errors
///
/// Where a tool fails.
pub fn with_microcode(initramfs: &Path, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let tree = work.path().join("early");
    let folder = tree.join("kernel/x86/microcode");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("GenuineIntel.bin"), noise(3, 5000))?;
    archive(&tree)?;
    let mut bytes = fs::read(work.path().join("early.cpio"))?;
    bytes.extend(fs::read(initramfs)?);
    fs::write(to, bytes)?;
    Ok(())
}
