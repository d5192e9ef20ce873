//! `cargo xtask boot`: an image on a machine, and what the stand-in on it told.
//!
//! In: an image, how to boot it, perhaps the config that it should hold. Out: a verdict, as lines or
//! as JSON; exit code 0 only where the medium booted and held what was expected.
//!
//! Source: none.
//!
//! Not here: machines and verdicts (`lab::qemu`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use lab::qemu::{Bus, Files, Firmware, Machine, Medium, Start, Verdict};
use serde_json::json;
use talforge::digest::Digest;
use talforge::units::{KIB, SectorSize};

use crate::{Done, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image of a disk or CD; with `--initramfs`, a kernel
    image: PathBuf,
    /// The firmware; without it the architecture's UEFI
    #[arg(long, value_enum)]
    firmware: Option<FirmwareName>,
    /// What the machine sees the image as; without it a CD where its name ends with `.iso`
    #[arg(long = "as", value_enum)]
    medium: Option<MediumName>,
    /// What a disk hangs on
    #[arg(long, value_enum, default_value = "virtio")]
    bus: BusName,
    /// The bytes of a disk's logical sectors
    #[arg(long, value_parser = ["512", "4096"], default_value = "512")]
    sector: String,
    /// The machine's architecture; without it the firmware's, or amd64
    #[arg(long, value_parser = ["amd64", "arm64"])]
    arch: Option<String>,
    /// Boots loose files instead: a kernel and this initramfs
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,
    /// The command line of loose files
    #[arg(long, value_name = "TEXT", default_value = "", requires = "initramfs")]
    cmdline: String,
    /// Fails unless this config was found, given as a file or as its SHA-256
    #[arg(long, value_name = "SHA256|FILE")]
    expect_config: Option<String>,
    /// The machine's memory in MiB
    #[arg(long, value_name = "MIB", default_value = "1024")]
    memory: u32,
    /// Shows all that came by the console
    #[arg(long)]
    serial: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FirmwareName {
    Ovmf,
    Seabios,
    Aavmf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MediumName {
    Disk,
    Usb,
    Cd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BusName {
    Virtio,
    Ahci,
    Nvme,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let want = arguments.expect_config.as_deref().map(digest).transpose()?;
    let label = arguments.image.file_name().unwrap_or_default().to_string_lossy();
    let mut machine = Machine::new(&format!("xtask-{label}"), start(arguments)?);
    machine.memory_mib = arguments.memory;
    let verdict = machine.boot()?;
    let result = match want {
        Some(want) => verdict.expect_config(want),
        None => verdict.failure.as_ref().map_or(Ok(()), |failure| Err(failure.to_string())),
    };
    if arguments.serial {
        say(&String::from_utf8_lossy(&fs::read(&verdict.log)?));
    }
    if arguments.json {
        say(&as_json(arguments, &verdict, &result));
    } else {
        as_lines(&verdict, &result, want.is_some()).iter().for_each(|line| say(line));
    }
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(arguments: &Arguments) -> Result<Start> {
    let firmware = firmware(arguments)?;
    let image = canonical(&arguments.image)?;
    if let Some(initramfs) = &arguments.initramfs {
        return Ok(Start::Files(Files {
            arch: firmware.arch(),
            kernel: image,
            initramfs: canonical(initramfs)?,
            cmdline: arguments.cmdline.clone(),
        }));
    }
    let is_iso = image.extension().is_some_and(|extension| extension == "iso");
    let otherwise = if is_iso { MediumName::Cd } else { MediumName::Disk };
    let medium = match arguments.medium.unwrap_or(otherwise) {
        MediumName::Cd => Medium::Cd,
        MediumName::Usb => Medium::Usb,
        MediumName::Disk => Medium::Disk(bus(arguments.bus), sector(&arguments.sector)),
    };
    Ok(Start::Medium(firmware, medium, image))
}

fn firmware(arguments: &Arguments) -> Result<Firmware> {
    let firmware = match (arguments.firmware, arguments.arch.as_deref()) {
        (Some(FirmwareName::Ovmf), _) => Firmware::Ovmf,
        (Some(FirmwareName::Seabios), _) => Firmware::SeaBios,
        (Some(FirmwareName::Aavmf), _) | (None, Some("arm64")) => Firmware::Aavmf,
        (None, _) => Firmware::Ovmf,
    };
    let arch = arguments.arch.as_deref().unwrap_or(firmware.arch().name());
    ensure!(arch == firmware.arch().name(), "that firmware is not for {arch}");
    Ok(firmware)
}

fn bus(name: BusName) -> Bus {
    match name {
        BusName::Virtio => Bus::Virtio,
        BusName::Ahci => Bus::Ahci,
        BusName::Nvme => Bus::Nvme,
    }
}

fn sector(bytes: &str) -> SectorSize {
    if bytes == "4096" { SectorSize::B4096 } else { SectorSize::B512 }
}

/// The digest that a person gives as such, or as the file that has it.
fn digest(text: &str) -> Result<Digest> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16);
        let bytes: Vec<u8> = (0..32).map(byte).collect::<Result<_, _>>()?;
        let Ok(bytes) = bytes.try_into() else { bail!("`{text}` is no SHA-256") };
        return Ok(Digest(bytes));
    }
    let bytes = fs::read(text).with_context(|| format!("`{text}` is no SHA-256 and no file"))?;
    Ok(Digest::of(&bytes))
}

fn as_json(arguments: &Arguments, verdict: &Verdict, result: &Result<(), String>) -> String {
    let failure = verdict.failure.as_ref();
    let value = json!({
        "image": arguments.image,
        "ok": result.is_ok(),
        "why": result.as_ref().err(),
        "reason": failure.map(|failure| failure.reason.name()),
        "seconds": verdict.wall.as_secs_f64(),
        "report": verdict.report.values,
        "log": verdict.log,
    });
    format!("{value:#}")
}

fn as_lines(verdict: &Verdict, result: &Result<(), String>, expected: bool) -> Vec<String> {
    let mut lines = vec![];
    let mut line = |name: &str, text: String| lines.push(format!("{name:>8}  {text}"));
    let seconds = verdict.wall.as_secs_f64();
    match &verdict.failure {
        None => line("booted", format!("in {seconds:.1} s by {}", path_taken(verdict))),
        Some(failure) => line("failed", format!("after {seconds:.1} s: {failure}")),
    }
    if verdict.report.get("config").is_some() {
        let as_expected = if expected && result.is_ok() { ", as expected" } else { "" };
        line("config", format!("{}{as_expected}", config(verdict)));
    }
    if let (None, Err(why)) = (&verdict.failure, result) {
        line("but", why.clone());
    }
    if let Some(cmdline) = verdict.report.get("cmdline") {
        line("cmdline", cmdline.to_owned());
    }
    line("console", shorter(&verdict.log));
    lines
}

/// `systemd-boot 257.13, systemd-stub 257.13, Linux 6.1.0`.
fn path_taken(verdict: &Verdict) -> String {
    let told = |key: &str| verdict.report.get(key).map(str::to_owned);
    let firmware = if told("efi").as_deref() == Some("1") { "UEFI" } else { "BIOS" };
    let kernel = told("kernel").map(|release| format!("Linux {release}"));
    let steps = [Some(firmware.into()), told("efi.LoaderInfo"), told("efi.StubInfo"), kernel];
    steps.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `of 1.4 KiB, mode 0400, sha256 0123…`.
fn config(verdict: &Verdict) -> String {
    let told = |key: &str| verdict.report.get(key).unwrap_or("?");
    if told("config") != "present" {
        return told("config").to_owned();
    }
    let size = told("config.size").parse().unwrap_or(0);
    let size = if size < KIB { format!("{size} B") } else { format!("{} KiB", size / KIB) };
    let [mode, sha256] = [told("config.mode"), told("config.sha256")];
    format!("{size}, mode {mode}, sha256 {sha256}")
}

/// A path from here, where that is shorter to read.
fn shorter(file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).display().to_string()
}

/// The emulator runs in a folder of its own.
fn canonical(file: &Path) -> Result<PathBuf> {
    file.canonicalize().with_context(|| format!("{}", file.display()))
}
