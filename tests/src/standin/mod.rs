//! Boot assets that stand in for Talos': a real kernel, systemd-boot and systemd-stub, and an
//! initramfs whose programs walk Talos' steps and tell what they found.
//!
//! In: boot parts, the C sources in `tests/standin`. Out: a folder as Talos' imager holds it at
//! `/usr/install/<arch>`, cached by the digest of all that goes into it.
//!
//! Source: Talos' `Dockerfile`, targets `initramfs-archive-*` and `rootfs-*`: the initramfs holds
//! `init` and `rootfs.sqsh`; its name ends with `.xz` and it is a zstd frame.
//!
//! Not here: the steps themselves (`tests/standin/*.c`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use talforge::digest::{Digest, Hasher};
use talforge::talos::Arch;

use crate::parts::{self, Parts};
use crate::tools;

mod modules;

/// The release that the stand-in says it is.
pub const TALOS: &str = "v1.13.9";

/// What Talos' kernel has built in and Debian's has as modules.
const MODULES: [&str; 14] = [
    "loop",
    "squashfs",
    "overlay",
    "configfs",
    "efivarfs",
    // Config volumes: their file systems, and the drives that this kernel knows.
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "sd_mod",
    "sr_mod",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
];

/// The programs' sources.
const SOURCES: [(&str, &str); 14] = [
    ("main.c", include_str!("../../standin/main.c")),
    ("init.c", include_str!("../../standin/init.c")),
    ("machined.c", include_str!("../../standin/machined.c")),
    ("load.c", include_str!("../../standin/load.c")),
    ("volume.c", include_str!("../../standin/volume.c")),
    ("stages.h", include_str!("../../standin/stages.h")),
    ("mounts.c", include_str!("../../standin/mounts.c")),
    ("mounts.h", include_str!("../../standin/mounts.h")),
    ("read.c", include_str!("../../standin/read.c")),
    ("report.c", include_str!("../../standin/report.c")),
    ("report.h", include_str!("../../standin/report.h")),
    ("sha256.c", include_str!("../../standin/sha256.c")),
    ("sha256.h", include_str!("../../standin/sha256.h")),
    // The recipe below counts as a source.
    ("mod.rs", include_str!("mod.rs")),
];

/// The root file system's folders that Talos' own has and that /init mounts on.
const FOLDERS: [&str; 10] = [
    ".extra",
    "dev",
    "etc",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/lib/firmware",
    "usr/local/etc",
];

/// How a stand-in differs from the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many MiB of incompressible bytes its root file system holds besides. With 85 the
    /// initramfs has a release's size.
    pub pad_mib: u32,
}

/// Boot assets in the layout of `/usr/install/<arch>`.
#[derive(Clone, Debug)]
pub struct Standin {
    /// The architecture.
    pub arch: Arch,
    /// The folder of the four files.
    pub folder: PathBuf,
}

impl Standin {
    /// The names of the files, as Talos names them.
    pub const FILES: [&str; 4] =
        ["vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"];

    /// The path of one of [`Self::FILES`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts the files into `<install>/<arch>/`, as hard links where that can be.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be written.
    pub fn lay_into(&self, install: &Path) -> Result<()> {
        let folder = install.join(self.arch.name());
        fs::create_dir_all(&folder)?;
        for name in Self::FILES {
            let to = folder.join(name);
            if to.exists() {
                fs::remove_file(&to)?;
            }
            if fs::hard_link(self.file(name), &to).is_err() {
                fs::copy(self.file(name), &to)?;
            }
        }
        Ok(())
    }
}

/// The programs that building a stand-in needs.
pub fn tools(arch: Arch) -> [&'static str; 4] {
    [compiler(arch), "mksquashfs", "cpio", "zstd"]
}

/// Builds a stand-in, or takes it from the cache.
///
/// # Errors
///
/// Where a tool is missing or fails.
pub fn build(parts: &Parts, options: Options) -> Result<Standin> {
    let _alone = parts::lock("standin")?;
    let cache = parts::cache()?.join("standin");
    fs::create_dir_all(&cache)?;
    let key = digest(parts, options)?.to_string();
    let folder = cache.join(format!("{}-{}", parts.arch, &key[..16]));
    if !folder.exists() {
        let work = tempfile::Builder::new().prefix(".partial-").tempdir_in(&cache)?;
        let made = make(parts, options, work.path())?;
        fs::rename(made, &folder)?;
    }
    Ok(Standin { arch: parts.arch, folder })
}

fn digest(parts: &Parts, options: Options) -> Result<Digest> {
    let mut hasher = Hasher::default();
    for (name, text) in SOURCES {
        hasher.update(format!("{name} {}\n{text}", text.len()).as_bytes());
    }
    hasher.update(format!("{options:?} {}\n", parts.release).as_bytes());
    for path in [&parts.kernel, &parts.stub, &parts.boot_loader] {
        hasher.update(&Digest::of(&fs::read(path)?).0);
    }
    Ok(hasher.finish())
}

fn make(parts: &Parts, options: Options, work: &Path) -> Result<PathBuf> {
    let program = compile(parts.arch, work)?;
    let tree = work.join("initramfs");
    fs::create_dir_all(tree.join("lib/standin"))?;
    place(&program, &tree.join("init"))?;
    root_squashfs(&program, options, work)?;
    kernel_modules(parts, &tree)?;

    let folder = work.join("install");
    fs::create_dir(&folder)?;
    archive(work, &folder.join("initramfs.xz"))?;
    fs::copy(&parts.kernel, folder.join("vmlinuz"))?;
    fs::copy(&parts.boot_loader, folder.join("systemd-boot.efi"))?;
    fs::copy(&parts.stub, folder.join("systemd-stub.efi"))?;
    for name in Standin::FILES {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(folder)
}

fn compiler(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-linux-gnu-gcc",
        Arch::Arm64 => "aarch64-linux-gnu-gcc",
    }
}

fn compile(arch: Arch, work: &Path) -> Result<PathBuf> {
    let folder = work.join("source");
    fs::create_dir(&folder)?;
    let mut args = vec!["-std=gnu11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror"];
    for (name, text) in SOURCES {
        fs::write(folder.join(name), text)?;
        if name.ends_with(".c") {
            args.push(name);
        }
    }
    args.extend(["-o", "../program"]);
    tools::stdout(compiler(arch), &args, &folder)?;
    Ok(work.join("program"))
}

fn place(program: &Path, to: &Path) -> Result<()> {
    fs::copy(program, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Writes `initramfs/rootfs.sqsh`.
fn root_squashfs(program: &Path, options: Options, work: &Path) -> Result<()> {
    let root = work.join("root");
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    place(program, &root.join("sbin/init"))?;
    fs::write(root.join("etc/extensions.yaml"), "")?;
    let release = format!("NAME=\"Talos\"\nID=talos\nVERSION_ID={TALOS}\n");
    fs::write(root.join("etc/os-release"), release)?;
    if options.pad_mib > 0 {
        fs::write(root.join("usr/lib/pad.bin"), pad(options.pad_mib))?;
    }
    let mut args = vec!["root", "initramfs/rootfs.sqsh", "-all-root", "-noappend", "-no-progress"];
    args.extend(["-all-time", "0", "-mkfs-time", "0", "-quiet", "-comp", "zstd"]);
    // A pad shrinks at no level; a high one only takes long to find that out.
    args.extend(["-Xcompression-level", if options.pad_mib > 0 { "1" } else { "18" }]);
    tools::stdout("mksquashfs", &args, work)?;
    Ok(())
}

/// Bytes that do not compress, and are the same everywhere: the generator SplitMix64 from 0.
fn pad(mib: u32) -> Vec<u8> {
    let words = u64::from(mib) << 17;
    let word = |n: u64| {
        let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (1..=words).flat_map(|n| word(n).to_le_bytes()).collect()
}

/// Copies the modules and the list of them in loading order.
fn kernel_modules(parts: &Parts, tree: &Path) -> Result<()> {
    let mut list = vec![];
    for file in modules::closure(&parts.modules, &MODULES)? {
        let name = file.file_name().context("a module's path ends with its name")?;
        let inside = Path::new("lib/standin").join(name);
        fs::copy(&file, tree.join(&inside))?;
        list.push(format!("/{}", inside.display()));
    }
    fs::write(tree.join("lib/standin/modules.list"), list.join("\n") + "\n")?;
    Ok(())
}

/// Packs the tree as Talos' build does: a newc archive in name order, in one zstd frame.
fn archive(work: &Path, to: &Path) -> Result<()> {
    let script = "find . -exec touch -h -d @0 {} + \
        && find . -mindepth 1 | sed 's,^\\./,,' | LC_ALL=C sort \
        | cpio --quiet -o -H newc --reproducible -R +0:+0 > ../initramfs.cpio";
    tools::stdout("sh", &["-ec", script], &work.join("initramfs"))?;
    let to = to.display().to_string();
    tools::stdout("zstd", &["-q", "-T0", "-9", "initramfs.cpio", "-o", &to], work)?;
    Ok(())
}
