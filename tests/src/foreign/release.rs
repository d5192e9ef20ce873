//! What the media of a release are made of: an initramfs, command lines, a UKI, an EFI system
//! partition.
//!
//! In: a stand-in, and perhaps another initramfs for it. Out: files, in the layout and with the
//! names of Talos' imager.
//!
//! Source: Talos `pkg/imager/imager.go#buildCmdline`, `internal/pkg/uki/uki.go#Build`,
//! `pkg/imager/iso/uefi.go#CreateUEFI`, `pkg/makefs/vfat.go`, `pkg/imager/iso/loader.conf.tmpl`; the
//! manual pages of `objcopy`, `mkfs.vfat`, `mcopy`, `mattrib`.
//!
//! Not here: the media around them (`iso`, `raw`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use talforge::talos::Arch;
use talforge::units::{MIB, SectorSize, align_up};

use super::{ESP_MIN, copier, end_of_sections};
use crate::standin::{Standin, TALOS};
use crate::tools;

/// The time of all files on the media, in seconds since 1970.
pub const EPOCH: u32 = 1_700_000_000;

/// The length of the splash screen's picture: 400 x 400 points of 4 bytes after a header.
const SPLASH_LEN: usize = 138 + 400 * 400 * 4;

/// A release to make media of.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// Kernel, boot loader and stub.
    pub standin: &'a Standin,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The version: `v1.13.9`. Command lines and file names follow it.
    pub talos: &'static str,
}

/// What a command line, an EFI system partition or a UKI is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// An ISO.
    Iso,
    /// A raw disk.
    Disk,
}

/// The programs that making these needs.
pub fn tools(arch: Arch) -> [&'static str; 5] {
    [super::dumper(arch), copier(arch), "mkfs.vfat", "mcopy", "mattrib"]
}

impl<'a> Release<'a> {
    /// The stand-in as it is, without extensions.
    pub fn plain(standin: &'a Standin) -> Self {
        Self { standin, initramfs: standin.file("initramfs.xz"), talos: TALOS }
    }

    /// The stand-in with another initramfs.
    pub fn with_initramfs(standin: &'a Standin, initramfs: PathBuf) -> Self {
        Self { standin, initramfs, talos: TALOS }
    }

    /// The minor version.
    pub fn minor(&self) -> u32 {
        self.talos.split('.').nth(1).and_then(|n| n.parse().ok()).expect("a version has a minor")
    }

    /// The command line of the platform `metal`.
    pub fn cmdline(&self, output: Output) -> String {
        let minor = self.minor();
        let consoles = match self.standin.arch {
            Arch::Amd64 => "console=tty0",
            Arch::Arm64 => "console=ttyAMA0 console=tty0",
        };
        let arguments = [
            (true, "talos.platform=metal"),
            (true, consoles),
            (output == Output::Iso, "talos.halt_if_installed=1"),
            (minor < 14, "init_on_alloc=1"),
            (true, "slab_nomerge pti=on consoleblank=0"),
            (minor < 14, "nvme_core.io_timeout=4294967295"),
            (true, "printk.devkmsg=on"),
            (minor <= 10, "ima_template=ima-ng ima_appraise=fix ima_hash=sha512"),
            (minor >= 10, "selinux=1"),
            (minor >= 12, "module.sig_enforce=1"),
            (minor >= 13, "proc_mem.force_override=never"),
        ];
        let taken = arguments.iter().filter(|(is_in, _)| *is_in).map(|(_, text)| *text);
        taken.collect::<Vec<_>>().join(" ")
    }

    /// What the entry that resets a machine adds to the command line.
    pub fn reset(output: Output) -> &'static str {
        match output {
            Output::Iso => "talos.experimental.wipe=system",
            Output::Disk => "talos.experimental.wipe=system:EPHEMERAL,STATE",
        }
    }

    /// Writes the UKI: the stub's own sections, then Talos' in its order, the last two of which are
    /// the second profile's.
    ///
    /// # Errors
    ///
    /// Where a tool fails.
    pub fn uki(&self, output: Output, to: &Path) -> Result<()> {
        let work = aside(to)?;
        let file = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = work.path().join(name);
            fs::write(&path, bytes)?;
            Ok(path)
        };
        let cmdline = self.cmdline(output);
        let (id, title) = match output {
            Output::Iso => ("reset", "Reset system disk"),
            Output::Disk => ("reset-maintenance", "Reset to maintenance mode"),
        };
        let kernel = self.standin.file("vmlinuz");
        let mut sections = vec![
            (".osrel", file("osrel", self.os_release().as_bytes())?),
            (".cmdline", file("cmdline", cmdline.as_bytes())?),
        ];
        if let Some(release) = kernel_release(&fs::read(&kernel)?) {
            sections.push((".uname", file("uname", release.as_bytes())?));
        }
        let reset = format!("{cmdline} {}", Self::reset(output));
        sections.extend([
            (".splash", file("splash", &splash())?),
            (".linux", kernel),
            (".initrd", self.initramfs.clone()),
            // objcopy adds no two sections of one name: these two are renamed afterwards.
            (".profile", file("main", b"ID=main")?),
            (".profil1", file("reset", format!("ID={id}\nTITLE={title}").as_bytes())?),
            (".cmdlin1", file("reset-cmdline", reset.as_bytes())?),
        ]);
        let stub = self.standin.file("systemd-stub.efi").display().to_string();
        let mut address = end_of_sections(self.standin.arch, &stub, work.path())?;
        let mut args = vec![];
        for (name, file) in &sections {
            args.extend(["--add-section".into(), format!("{name}={}", file.display())]);
            args.extend(["--change-section-vma".into(), format!("{name}={address:#x}")]);
            address = align_up(address + fs::metadata(file)?.len(), 4096);
        }
        let copier = copier(self.standin.arch);
        let mut args: Vec<_> = args.iter().map(String::as_str).collect();
        args.extend([&stub, "added.efi"]);
        tools::stdout(copier, &args, work.path())?;
        let renames = ["--rename-section", ".profil1=.profile", "--rename-section"];
        let args = [&renames[..], &[".cmdlin1=.cmdline", "added.efi", "uki.efi"]].concat();
        tools::stdout(copier, &args, work.path())?;
        fs::rename(work.path().join("uki.efi"), to)?;
        Ok(())
    }

    fn os_release(&self) -> String {
        format!(
            "NAME=\"Talos\"\nID=talos\nVERSION_ID={0}\nPRETTY_NAME=\"Talos ({0})\"\n\
             HOME_URL=\"https://www.talos.dev/\"\n\
             BUG_REPORT_URL=\"https://github.com/siderolabs/talos/issues\"\n\
             VENDOR_NAME=\"Sidero Labs\"\nVENDOR_URL=\"https://www.siderolabs.com/\"\n",
            self.talos
        )
    }

    /// Lays the files of an EFI system partition into a folder: boot loader, UKI, settings.
    ///
    /// # Errors
    ///
    /// Where a tool fails.
    pub fn lay_esp(&self, output: Output, folder: &Path) -> Result<()> {
        let loader = match (output, self.standin.arch) {
            (Output::Iso, Arch::Amd64) => "EFI/BOOT/BOOTX64.EFI",
            (Output::Iso, Arch::Arm64) => "EFI/BOOT/BOOTAA64.EFI",
            (Output::Disk, Arch::Amd64) => "EFI/boot/BOOTX64.efi",
            (Output::Disk, Arch::Arm64) => "EFI/boot/BOOTAA64.efi",
        };
        for path in [loader, "EFI/Linux/x", "loader/x"] {
            fs::create_dir_all(folder.join(path).parent().context("a file lies in a folder")?)?;
        }
        fs::copy(self.standin.file("systemd-boot.efi"), folder.join(loader))?;
        self.uki(output, &folder.join(format!("EFI/Linux/Talos-{}.efi", self.talos)))?;
        let mut settings = "# systemd-boot configuration\n\ntimeout 10\n".to_owned();
        if output == Output::Iso {
            settings += "\nsecure-boot-enroll off\n";
            if self.minor() >= 14 {
                fs::write(folder.join("loader/random-seed"), [0; 32])?;
            }
        }
        fs::write(folder.join("loader/loader.conf"), settings)?;
        date(folder)
    }
}

/// Writes a FAT32 volume named `EFI` with the folders `EFI` and `loader` of `tree`.
///
/// # Errors
///
/// Where a tool fails.
pub fn esp(tree: &Path, len: u64, sector: SectorSize, to: &Path) -> Result<()> {
    File::create(to)?.set_len(len)?;
    let to = to.display().to_string();
    let sector = sector.bytes().to_string();
    let format = ["-F", "32", "-n", "EFI", "--invariant", "-S", &sector, &to];
    tools::stdout("mkfs.vfat", &format, tree)?;
    for entry in ["EFI", "loader"] {
        tools::stdout("mcopy", &["-s", "-p", "-Q", "-m", "-i", &to, entry, "::"], tree)?;
    }
    if tree.join("loader/random-seed").exists() {
        tools::stdout("mattrib", &["+r", "-i", &to, "::/loader/random-seed"], tree)?;
    }
    Ok(())
}

/// The length of an ISO's EFI system partition by Talos' rule, and no less than FAT32 needs: the
/// stand-in is smaller than any release.
///
/// # Errors
///
/// Where the folder cannot be read.
pub fn iso_esp_len(release: &Release<'_>, tree: &Path) -> Result<u64> {
    let uki = tree.join(format!("EFI/Linux/Talos-{}.efi", release.talos));
    let files = [release.standin.file("systemd-boot.efi"), uki];
    let lens = files.iter().map(|file| Ok(align_up(fs::metadata(file)?.len(), MIB)));
    Ok((10 * MIB + lens.sum::<Result<u64>>()?).max(ESP_MIN))
}

/// Gives all files of a folder the time of the media.
pub(super) fn date(folder: &Path) -> Result<()> {
    let script = format!("find . -exec touch -h -d @{EPOCH} {{}} +");
    tools::stdout("sh", &["-ec", &script], folder)?;
    Ok(())
}

/// A folder for work, beside the file to be made.
pub(super) fn aside(to: &Path) -> Result<tempfile::TempDir> {
    let parent = to.parent().context("a file lies in a folder")?;
    Ok(tempfile::Builder::new().prefix(".work-").tempdir_in(parent)?)
}

/// What a bzImage says its release is (Linux `Documentation/arch/x86/boot.rst`, `kernel_version`);
/// kernels for arm64 do not say.
fn kernel_release(kernel: &[u8]) -> Option<String> {
    if kernel.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = 0x200 + usize::from(u16::from_le_bytes([*kernel.get(0x20e)?, *kernel.get(0x20f)?]));
    let end = |b: &u8| *b == 0 || *b == b' ';
    let text = kernel.get(at..)?.split(end).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A black picture in the splash screen's form: a bitmap with a header of the fifth version.
fn splash() -> Vec<u8> {
    let mut bytes = vec![0; SPLASH_LEN];
    let mut word = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    word(2, u32::try_from(SPLASH_LEN).expect("it fits"));
    for (at, value) in [(10, 138), (14, 124), (18, 400), (22, 400), (26, 1 | 32 << 16)] {
        word(at, value);
    }
    bytes[..2].copy_from_slice(b"BM");
    bytes
}

/// Checks that a file has come to be.
pub(super) fn made(path: &Path) -> Result<()> {
    ensure!(path.is_file(), "no `{}` was made", path.display());
    Ok(())
}
