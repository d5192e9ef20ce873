//! What machines are booted with and from: kernels, boot loaders, firmware.
//!
//! In: Debian packages. Out: their files, unpacked in a cache under the target folder.
//!
//! * The kernel is Debian 12's for clouds: small, with an EFI stub, of the series that the
//!   emulator of Debian 12 runs without fault.
//! * systemd-boot and systemd-stub are those of Debian 13, of the major version (257) that Talos
//!   1.10 to 1.12 ship: older stubs do not unpack an addon's initramfs.
//! * The firmware for amd64 is Debian 13's, which starts a boot loader in a third of the time that
//!   Debian 12's needs. That for arm64 is the installed one.
//!
//! Source: the Debian packages named below.
//!
//! Not here: what is made of them (`standin`), and how they run (`qemu`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use talforge::talos::Arch;

use crate::apt::Suite;
use crate::tools;

/// The suite that gives the kernels.
const KERNEL_SUITE: &str = "bookworm";
/// The suite that gives boot loaders and firmware.
const BOOT_SUITE: &str = "trixie";

/// The boot parts of one architecture.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The architecture.
    pub arch: Arch,
    /// The kernel: a bzImage on amd64, an `Image` on arm64.
    pub kernel: PathBuf,
    /// The kernel's release, such as `6.1.0-40-cloud-amd64`.
    pub release: String,
    /// The folder of the kernel's modules, `lib/modules/<release>`.
    pub modules: PathBuf,
    /// systemd-stub.
    pub stub: PathBuf,
    /// systemd-boot.
    pub boot_loader: PathBuf,
    /// The firmware's code: OVMF or AAVMF.
    pub firmware_code: PathBuf,
    /// The firmware's variables, as they are on a new machine.
    pub firmware_vars: PathBuf,
}

/// The folder that all of the bench's files are cached in.
///
/// # Errors
///
/// Where it cannot be made.
pub fn cache() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let cache = workspace.join(target).join("lab");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    Ok(cache)
}

/// Keeps other tests and programs from working in the cache until it is dropped.
///
/// # Errors
///
/// Where the cache cannot be written.
pub fn lock(name: &str) -> Result<File> {
    let file = File::create(cache()?.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The parts, fetched where they are not in the cache yet.
///
/// # Errors
///
/// Where they cannot be fetched, or the packages hold something else than expected.
pub fn fetch(arch: Arch) -> Result<Parts> {
    let _alone = lock("parts")?;
    let mut store = Store { folder: cache()?.join("parts"), suites: BTreeMap::new() };
    fs::create_dir_all(&store.folder)?;
    let (kernel, release) = kernel(&mut store, arch)?;
    let programs = store.part(BOOT_SUITE, "systemd-boot-efi", Some(arch))?;
    let programs = programs.join("usr/lib/systemd/boot/efi");
    let (firmware_code, firmware_vars) = firmware(&mut store, arch)?;
    let suffix = match arch {
        Arch::Amd64 => "x64",
        Arch::Arm64 => "aa64",
    };
    let parts = Parts {
        arch,
        kernel: kernel.join(format!("boot/vmlinuz-{release}")),
        modules: kernel.join(format!("lib/modules/{release}")),
        release,
        stub: programs.join(format!("linux{suffix}.efi.stub")),
        boot_loader: programs.join(format!("systemd-boot{suffix}.efi")),
        firmware_code,
        firmware_vars,
    };
    check(&parts)?;
    Ok(parts)
}

/// The parts, or nothing where they cannot be had: at home a line says why and the test that asks
/// skips.
///
/// # Panics
///
/// In CI (`CI` is set), where they cannot be had.
pub fn ready(arch: Arch) -> Option<Parts> {
    let programs = match arch {
        Arch::Amd64 => ["apt-get", "dpkg-deb", "qemu-system-x86_64"],
        Arch::Arm64 => ["apt-get", "dpkg-deb", "qemu-system-aarch64"],
    };
    if !tools::have(&programs) {
        return None;
    }
    match fetch(arch) {
        Ok(parts) => Some(parts),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no boot parts for {arch}: {error:#}");
            tools::say(&format!("skipped: no boot parts for {arch}: {error:#}"));
            None
        }
    }
}

fn kernel(store: &mut Store, arch: Arch) -> Result<(PathBuf, String)> {
    let folder = store.folder.join(format!("linux-image-cloud-{arch}"));
    if !folder.exists() {
        // The package that always means the newest kernel only names it.
        let newest = format!("linux-image-cloud-{arch}:{arch}");
        let suite = store.suite(KERNEL_SUITE)?;
        let names = suite.depends(&newest)?;
        let name = names.iter().find(|name| name.starts_with("linux-image-"));
        let name = name.with_context(|| format!("`{newest}` names no kernel"))?;
        suite.unpack(&format!("{name}:{arch}"), &folder)?;
    }
    let mut releases = fs::read_dir(folder.join("lib/modules"))?.flatten();
    let release = releases.next().context("the kernel package holds no modules")?;
    Ok((folder, release.file_name().to_string_lossy().into_owned()))
}

fn firmware(store: &mut Store, arch: Arch) -> Result<(PathBuf, PathBuf)> {
    Ok(match arch {
        Arch::Amd64 => {
            let folder = store.part(BOOT_SUITE, "ovmf", None)?.join("usr/share/OVMF");
            (folder.join("OVMF_CODE_4M.fd"), folder.join("OVMF_VARS_4M.fd"))
        }
        Arch::Arm64 => {
            let folder = Path::new("/usr/share/AAVMF");
            ensure!(folder.exists(), "the package `qemu-efi-aarch64` is not installed");
            (folder.join("AAVMF_CODE.fd"), folder.join("AAVMF_VARS.fd"))
        }
    })
}

fn check(parts: &Parts) -> Result<()> {
    let Parts { kernel, modules, stub, boot_loader, firmware_code, firmware_vars, .. } = parts;
    for path in [kernel, modules, stub, boot_loader, firmware_code, firmware_vars] {
        ensure!(path.exists(), "{} is not in its package", path.display());
    }
    Ok(())
}

/// The unpacked packages, and the lists to fetch missing ones by. The lists are fetched only when
/// something is missing, and then anew: an old list names files that the mirror has dropped.
struct Store {
    folder: PathBuf,
    suites: BTreeMap<&'static str, Suite>,
}

impl Store {
    fn suite(&mut self, name: &'static str) -> Result<&Suite> {
        if !self.suites.contains_key(name) {
            let suite = Suite::open(name, cache()?.join("apt").join(name))?;
            self.suites.insert(name, suite);
        }
        Ok(&self.suites[name])
    }

    fn part(&mut self, suite: &'static str, package: &str, arch: Option<Arch>) -> Result<PathBuf> {
        let (folder, package) = match arch {
            Some(arch) => (format!("{package}-{arch}"), format!("{package}:{arch}")),
            None => (package.to_owned(), package.to_owned()),
        };
        let folder = self.folder.join(folder);
        if !folder.exists() {
            self.suite(suite)?.unpack(&package, &folder)?;
        }
        Ok(folder)
    }
}
