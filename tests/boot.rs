//! Media that boot, and media that must not: the bench is proven both ways.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::parts;
use lab::qemu::{Bus, Files, Firmware, Machine, Medium, Reason, Start};
use lab::standin::{self, Standin};
use lab::{foreign, tools};
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::{MIB, SectorSize};
use tempfile::TempDir;

const CONFIG: &[u8] = b"version: v1alpha1\nmachine:\n  type: controlplane\n  install:\n    \
    disk: /dev/vda\ncluster:\n  controlPlane:\n    endpoint: https://192.0.2.10:6443\n";

const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);

/// A disk made by foreign programs alone.
struct Disk {
    work: TempDir,
    segment: PathBuf,
    image: PathBuf,
}

/// The stand-in, or nothing where this machine cannot have it.
fn standin(arch: Arch) -> Result<Option<Standin>> {
    let Some(parts) = parts::ready(arch) else { return Ok(None) };
    if !tools::have(&standin::tools(arch)) || !tools::have(&foreign::tools(arch)) {
        return Ok(None);
    }
    standin::build(&parts, standin::Options::default()).map(Some)
}

fn disk(arch: Arch, cmdline: &str) -> Result<Option<Disk>> {
    let Some(standin) = standin(arch)? else { return Ok(None) };
    let work = tempfile::tempdir()?;
    let segment = foreign::segment(CONFIG, work.path())?;
    let initramfs = foreign::initramfs(&standin, &segment, work.path())?;
    let uki = foreign::uki(&standin, &initramfs, cmdline, work.path())?;
    let esp = foreign::esp(&standin, &uki, work.path())?;
    let image = foreign::disk(&esp, work.path())?;
    Ok(Some(Disk { work, segment, image }))
}

fn machine(label: &str, firmware: Firmware, image: &Path) -> Machine {
    Machine::new(label, Start::Medium(firmware, DISK, image.to_owned()))
}

/// Where the config's bytes lie in an image: a fragment, which `mksquashfs` writes after the
/// superblock's 96 bytes, before any table.
fn config_in(image: &[u8], segment: &Path) -> Result<usize> {
    let segment = fs::read(segment)?;
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|at| at == what);
    let at = find(image, &segment).context("the image holds the segment")?;
    Ok(at + find(&segment, b"hsqs").context("the segment holds a squashfs")? + 96)
}

/// The good disk, and its twin with one bit of the config's squashfs flipped: all else being equal,
/// what the bench says of the config is due to the config.
#[test]
fn a_disk_boots_with_its_config_and_its_damaged_twin_without() {
    let cmdline = "talos.platform=metal console=ttyS0";
    let Some(disk) = disk(Arch::Amd64, cmdline).unwrap() else { return };
    let good = machine("good-disk", Firmware::Ovmf, &disk.image);
    let mut bytes = fs::read(&disk.image).unwrap();
    let at = config_in(&bytes, &disk.segment).unwrap() + 40;
    bytes[at] ^= 1;
    let twin = disk.work.path().join("twin.raw");
    fs::write(&twin, bytes).unwrap();
    let twin = machine("damaged-config", Firmware::Ovmf, &twin);
    let (good, twin) = std::thread::scope(|scope| {
        let twin = scope.spawn(|| twin.boot().unwrap());
        (good.boot().unwrap(), twin.join().unwrap())
    });

    assert_eq!(good.expect_config(Digest::of(CONFIG)), Ok(()), "{}", good.log.display());
    let told = |key: &str| good.report.get(key).unwrap_or_default();
    assert_eq!(told("cmdline"), cmdline);
    assert_eq!(told("config.size"), CONFIG.len().to_string());
    assert_eq!((told("config.mode"), told("config.uid")), ("0400", "0"));
    let label = label(&disk).unwrap();
    assert_eq!((told("config.selinux"), told("layer.0.selinux")), (&*label, &*label));
    assert_eq!((told("efi"), told("efi.SecureBoot")), ("1", "absent"));
    assert!(told("efi.LoaderInfo").starts_with("systemd-boot 257"), "{:?}", good.report);
    assert!(told("efi.StubInfo").starts_with("systemd-stub 257"), "{:?}", good.report);

    let found = twin.expect_config(Digest::of(CONFIG)).unwrap_err();
    let reasons = ["another config was read", "the config could not be read"];
    assert!(reasons.iter().any(|reason| found.starts_with(reason)), "{found}");
    assert_ne!(twin.report.get("config.sha256"), good.report.get("config.sha256"));
}

/// The label that `mksquashfs` found on the config: not everyone may set it, nor everywhere.
fn label(disk: &Disk) -> Result<String> {
    let args = ["--only-values", "-n", "security.selinux", foreign::CONFIG];
    let found = tools::run("getfattr", &args, disk.work.path())?;
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

#[test]
fn a_disk_boots_with_its_config_on_arm64() {
    let cmdline = "talos.platform=metal console=ttyAMA0";
    let Some(disk) = disk(Arch::Arm64, cmdline).unwrap() else { return };
    let verdict = machine("good-disk-arm64", Firmware::Aavmf, &disk.image).boot().unwrap();
    assert_eq!(verdict.expect_config(Digest::of(CONFIG)), Ok(()), "{}", verdict.log.display());
    assert_eq!(verdict.report.get("machine"), Some("aarch64"));
    assert_eq!(verdict.report.get("cmdline"), Some(cmdline));
}

#[test]
fn loose_files_boot_with_their_config() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let work = tempfile::tempdir().unwrap();
    let segment = foreign::segment(CONFIG, work.path()).unwrap();
    let files = Files {
        arch: Arch::Amd64,
        kernel: standin.file("vmlinuz"),
        initramfs: foreign::initramfs(&standin, &segment, work.path()).unwrap(),
        cmdline: "talos.platform=metal".into(),
    };
    let verdict = Machine::new("loose-files", Start::Files(files)).boot().unwrap();
    assert_eq!(verdict.expect_config(Digest::of(CONFIG)), Ok(()), "{}", verdict.log.display());
    assert_eq!(verdict.report.get("efi"), Some("0"));
}

#[test]
fn a_blank_disk_is_found_not_to_boot() {
    if parts::ready(Arch::Amd64).is_none() {
        return;
    }
    let image = tempfile::NamedTempFile::new().unwrap();
    File::set_len(image.as_file(), 36 * MIB).unwrap();
    for (label, firmware) in [("blank-uefi", Firmware::Ovmf), ("blank-bios", Firmware::SeaBios)] {
        let verdict = machine(label, firmware, image.path()).boot().unwrap();
        let reason = verdict.failure.as_ref().map(|failure| failure.reason);
        assert_eq!(reason, Some(Reason::NothingBootable), "{:?}", verdict.failure);
        assert!(verdict.report.values.is_empty(), "{:?}", verdict.report);
    }
}
