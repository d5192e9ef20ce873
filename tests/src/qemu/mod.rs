//! Machines that boot a medium once, and a verdict on how it went.
//!
//! In: an image, how the machine sees it, the firmware. Out: a [`Verdict`], with what the stand-in
//! on the medium told.
//!
//! A boot counts only if all of this holds: the guest asked to be powered off, the emulator ended
//! well, nothing known to be fatal was seen on the console, and the report came whole, by a port
//! that nothing else writes to (amd64), from this very machine. The image is never written to.
//!
//! Source: QEMU's `qemu-system(1)` and "QEMU QMP Reference Manual".
//!
//! Not here: what is on the medium.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::SectorSize;

use crate::report::{Port, Report};
use crate::{nvram, parts};

mod arguments;
mod guest;
mod judge;
mod turns;

/// A machine that is switched on once.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What its logs are kept under.
    pub label: String,
    /// What it starts from.
    pub start: Start,
    /// A second drive, from which nothing is started.
    pub beside: Option<(Medium, PathBuf)>,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// When it is given up.
    pub limits: Limits,
}

/// What a machine starts from.
#[derive(Clone, Debug)]
pub enum Start {
    /// Its firmware, from the image of a medium.
    Medium(Firmware, Medium, PathBuf),
    /// Loose files, handed over as a network boot does.
    Files(Files),
}

/// A kernel and what it is given.
#[derive(Clone, Debug)]
pub struct Files {
    /// The machine's architecture.
    pub arch: Arch,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The command line.
    pub cmdline: String,
}

/// A firmware, and with it the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI on amd64.
    Ovmf,
    /// BIOS on amd64.
    SeaBios,
    /// UEFI on arm64.
    Aavmf,
}

impl Firmware {
    /// The architecture that it is for.
    pub const fn arch(self) -> Arch {
        match self {
            Self::Ovmf | Self::SeaBios => Arch::Amd64,
            Self::Aavmf => Arch::Arm64,
        }
    }
}

/// How a machine sees an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// As a disk of logical sectors of this size. AHCI knows 512 bytes only.
    Disk(Bus, SectorSize),
    /// As a USB stick.
    Usb,
    /// As a CD.
    Cd,
    /// As a CD on virtio-scsi, which the stand-in's kernel sees, too: it knows neither SATA nor USB.
    ScsiCd,
}

/// What a disk hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// SATA.
    Ahci,
    /// NVMe.
    Nvme,
}

/// When a machine is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So long after it last said something.
    pub silence: Duration,
    /// So long after it was switched on.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), total: Duration::from_secs(90) }
    }
}

/// How a boot went.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Why it does not count, or nothing where it does.
    pub failure: Option<Failure>,
    /// What the stand-in told; perhaps not whole where the boot failed.
    pub report: Report,
    /// How long the machine ran.
    pub wall: Duration,
    /// The console's log. It is kept until a machine with the same label is switched on.
    pub log: PathBuf,
}

/// Why a boot does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of reason.
    pub reason: Reason,
    /// What was seen: a line of the console, mostly.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

/// The kinds of reasons why a boot does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The firmware found nothing to start.
    NothingBootable,
    /// The firmware refused an image for its signature.
    Refused,
    /// systemd-boot or systemd-stub gave up.
    BootLoader,
    /// GRUB gave up.
    Grub,
    /// The kernel could not unpack the initramfs.
    Initramfs,
    /// The kernel died.
    Panic,
    /// The stand-in stopped where Talos would.
    Stopped,
    /// Nothing was said for too long.
    Silent,
    /// It took too long.
    TooSlow,
    /// The machine was reset, or ended otherwise than by power-off.
    Ended,
    /// The report is not whole, or not this machine's.
    Report,
}

impl Reason {
    /// A name for people and machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingBootable => "nothing bootable",
            Self::Refused => "refused by secure boot",
            Self::BootLoader => "boot loader error",
            Self::Grub => "grub error",
            Self::Initramfs => "bad initramfs",
            Self::Panic => "kernel panic",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::TooSlow => "too slow",
            Self::Ended => "ended early",
            Self::Report => "bad report",
        }
    }
}

impl Verdict {
    /// Whether the boot counts.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether the boot counts and the machine read exactly the bytes of this digest as its config.
    ///
    /// # Errors
    ///
    /// What was found instead.
    pub fn expect_config(&self, want: Digest) -> Result<(), String> {
        if let Some(failure) = &self.failure {
            return Err(failure.to_string());
        }
        match (self.report.get("config"), self.report.get("config.sha256")) {
            (Some("present"), Some(found)) if found == want.to_string() => Ok(()),
            (Some("present"), Some(found)) => Err(format!("another config was read: {found}")),
            (Some("absent"), _) => Err("no config was found".into()),
            (Some("unreadable"), _) => {
                let why = self.report.get("config.error").unwrap_or_default();
                Err(format!("the config could not be read: {why}"))
            }
            _ => Err("the report does not speak of a config".into()),
        }
    }
}

impl Machine {
    /// A machine of 1 GiB with the usual limits.
    pub fn new(label: &str, start: Start) -> Self {
        Self {
            label: label.into(),
            start,
            beside: None,
            memory_mib: 1024,
            limits: Limits::default(),
        }
    }

    /// Its architecture.
    pub const fn arch(&self) -> Arch {
        match &self.start {
            Start::Medium(firmware, ..) => firmware.arch(),
            Start::Files(files) => files.arch,
        }
    }

    /// The program that emulates it.
    pub const fn emulator(&self) -> &'static str {
        match self.arch() {
            Arch::Amd64 => "qemu-system-x86_64",
            Arch::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Switches it on, waits for its end, and judges. As many machines run at a time as there are
    /// processors; the rest wait for their turn.
    ///
    /// # Errors
    ///
    /// Where the machine could not be built: its firmware, its emulator or a file is missing.
    /// A boot that fails is a verdict.
    pub fn boot(&self) -> Result<Verdict> {
        let (folder, _alone) = claim(&self.label)?;
        let firmware = self.firmware(&folder)?;
        // No other machine has this number: what it echoes was said by it.
        let number = format!("{}-{}", std::process::id(), turns::number());
        let arguments = arguments::all(self, firmware.as_ref(), &folder, &number)?;
        let evidence = {
            let _turn = turns::wait();
            guest::run(self.emulator(), &arguments, &folder, self.limits)?
        };
        if let Some(firmware) = firmware {
            fs::remove_file(firmware.vars)?;
        }
        let report = match self.arch() {
            Arch::Amd64 => Report::read(&evidence.report, Port::Private),
            Arch::Arm64 => Report::read(&evidence.console, Port::Shared),
        };
        Ok(Verdict {
            failure: judge::judge(&evidence, &report, &number),
            report,
            wall: evidence.wall,
            log: folder.join(guest::CONSOLE),
        })
    }

    /// The firmware's files; SeaBIOS is the emulator's own.
    fn firmware(&self, folder: &Path) -> Result<Option<Flash>> {
        match (&self.start, self.arch()) {
            (Start::Medium(Firmware::SeaBios, ..), _) | (Start::Files(_), Arch::Amd64) => Ok(None),
            (_, arch) => {
                let parts = parts::fetch(arch)?;
                let vars = folder.join("vars.fd");
                fs::write(&vars, nvram::without_menu(&fs::read(parts.firmware_vars)?)?)?;
                Ok(Some(Flash { code: parts.firmware_code, vars }))
            }
        }
    }
}

/// The two flash chips of a machine with UEFI.
struct Flash {
    code: PathBuf,
    vars: PathBuf,
}

/// An empty folder for a machine's logs, kept from others until the file is dropped.
fn claim(label: &str) -> Result<(PathBuf, File)> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let label: String = label.chars().map(plain).collect();
    let boots = parts::cache()?.join("boots");
    fs::create_dir_all(&boots)?;
    for n in 0..100 {
        let name = if n == 0 { label.clone() } else { format!("{label}.{n}") };
        let lock = File::create(boots.join(format!("{name}.lock")))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => continue,
            other => other?,
        }
        let folder = boots.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        return Ok((folder, lock));
    }
    bail!("a hundred machines labelled `{label}` are running")
}
