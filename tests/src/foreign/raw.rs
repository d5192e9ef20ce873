//! Raw disks in the layouts that releases have.
//!
//! In: a release. Out: a sparse disk image that boots, without any machine config.
//!
//! Source: Talos `internal/app/machined/pkg/runtime/v1alpha1/bootloader/{dual,sdboot,grub}`,
//! `pkg/makefs`, `pkg/imager/profile/default.go` for names, sizes and arguments; `internal/pkg/meta`
//! for META; the manual pages of `fdisk`, `sfdisk`, `mkfs.xfs`, `grub-mkimage`.
//!
//! Not here: what is on the EFI system partition (`release`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use talforge::units::{MIB, SectorSize};

use super::release::{Output, Release, aside, date, esp};
use crate::tools;

/// The programs that making disks needs, besides those of `release`.
pub const TOOLS: [&str; 4] = ["fdisk", "mkfs.xfs", "grub-mkimage", "dd"];

/// The length of the EFI system partition, in MiB.
pub const ESP_MIB: u64 = 2101;
const BIOS_MIB: u64 = 1;
const BOOT_MIB: u64 = 2000;
/// The length of META.
const META_LEN: usize = 1 << 20;

/// The lengths of the disks.
pub const DUAL_LEN: u64 = 4_453_302_272;
/// The same without GRUB.
pub const SDBOOT_LEN: u64 = 2_355_101_696;

/// The disk's GUID, and each partition's: those of every release since 1.13.
const DISK_GUID: &str = "D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11";
const BOOT_GUID: &str = "24C73076-4092-85DD-9D98-686A2DBF6D81";

const EFI_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const BIOS_TYPE: &str = "21686148-6449-6E6F-744E-656564454649";
const LINUX_TYPE: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// What GRUB's core image has in it.
const MODULES: &str = "part_gpt ext2 fat xfs normal configfile linux boot search search_fs_uuid \
                       search_fs_file ls cat echo test help reboot halt all_video biosdisk \
                       part_msdos";

/// The features of the file system: those of `lts_6.1.conf`, which is what Talos takes where GRUB is
/// 2.12 or older. Debian 12's own copy of that file is one that its `mkfs.xfs` does not take.
const XFS_METADATA: &str = "crc=1,bigtime=1,finobt=1,inobtcount=1,reflink=1,rmapbt=0";
/// The same of its inodes.
const XFS_INODES: &str = "sparse=1,nrext64=0";

/// A partition: name, type, GUID, length in MiB, attributes.
type Partition = (&'static str, &'static str, &'static str, u64, &'static str);

const EFI: Partition = ("EFI", EFI_TYPE, "BCA5174B-0118-8A6A-AF0B-2C6E1585ACAE", ESP_MIB, "");
const BIOS: Partition =
    ("BIOS", BIOS_TYPE, "A2A02FF5-D88D-8E6E-9C95-26B9B6C80BC3", BIOS_MIB, "LegacyBIOSBootable");
const BOOT: Partition = ("BOOT", LINUX_TYPE, BOOT_GUID, BOOT_MIB, "");
const META: Partition = ("META", LINUX_TYPE, "CF04F137-101E-8EC6-9627-FA3F51CDABB8", 1, "");

/// Writes a disk of 512-byte sectors that a BIOS starts by GRUB and UEFI by systemd-boot: for amd64.
///
/// # Errors
///
/// Where a tool fails.
pub fn dual(release: &Release<'_>, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let disk = work.path().join("disk.raw");
    partition(&disk, DUAL_LEN, SectorSize::B512, &[EFI, BIOS, BOOT, META])?;
    lay_esp(release, SectorSize::B512, work.path())?;
    boot_volume(release, work.path())?;
    let bios = 1 + ESP_MIB;
    let boot = bios + BIOS_MIB;
    paste(work.path(), "efi.img", 1)?;
    paste(work.path(), "boot.img", boot)?;
    install_grub(&disk, bios, work.path())?;
    let file = File::options().write(true).open(&disk)?;
    file.write_all_at(&meta(&[(0x11, b"dual-boot")])?, (boot + BOOT_MIB) * MIB)?;
    fs::rename(disk, to)?;
    Ok(())
}

/// Writes a disk that UEFI alone starts, by systemd-boot: for arm64, and where it is asked for.
///
/// # Errors
///
/// Where a tool fails.
pub fn sdboot(release: &Release<'_>, sector: SectorSize, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let disk = work.path().join("disk.raw");
    partition(&disk, SDBOOT_LEN, sector, &[EFI, META])?;
    lay_esp(release, sector, work.path())?;
    paste(work.path(), "efi.img", 1)?;
    fs::rename(disk, to)?;
    Ok(())
}

/// Makes a disk with a partition table. The first partition begins at 1 MiB, each other behind the
/// one before.
fn partition(disk: &Path, len: u64, sector: SectorSize, partitions: &[Partition]) -> Result<()> {
    File::create(disk)?.set_len(len)?;
    let mib = MIB / sector.bytes();
    let mut table = format!(
        "label: gpt\nlabel-id: {DISK_GUID}\nunit: sectors\nfirst-lba: {mib}\nsector-size: {}\n",
        sector.bytes()
    );
    let mut start = 1;
    for (name, kind, guid, len_mib, attributes) in partitions {
        let (first, count) = (start * mib, len_mib * mib);
        write!(table, "start={first}, size={count}, type={kind}, uuid={guid}, name=\"{name}\"")?;
        table += &match *attributes {
            "" => "\n".to_owned(),
            some => format!(", attrs=\"{some}\"\n"),
        };
        start += len_mib;
    }
    fs::write(disk.with_extension("sfdisk"), table)?;
    // `sfdisk` takes no size of sectors for a file; `fdisk` does, and reads its scripts.
    let program = tools::find("fdisk").context("`fdisk` is not installed")?;
    let mut command = Command::new(program);
    command.args(["-b", &sector.bytes().to_string()]).arg(disk).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let script = format!("I\n{}\nw\n", disk.with_extension("sfdisk").display());
    child.stdin.take().context("a pipe was asked for")?.write_all(script.as_bytes())?;
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(out.status.success() && said.contains("Script successfully applied"), "fdisk: {said}");
    Ok(())
}

/// Writes `efi.img`.
fn lay_esp(release: &Release<'_>, sector: SectorSize, work: &Path) -> Result<()> {
    let tree = work.join("esp");
    fs::create_dir(&tree)?;
    release.lay_esp(Output::Disk, &tree)?;
    esp(&tree, ESP_MIB * MIB, sector, &work.join("efi.img"))
}

/// Lays a file onto the disk, so many MiB from its start, but for its zeros.
fn paste(work: &Path, file: &str, at_mib: u64) -> Result<()> {
    let (from, seek) = (format!("if={file}"), format!("seek={at_mib}"));
    let args = ["of=disk.raw", "bs=1M", "conv=notrunc,sparse", "status=none", &from, &seek];
    tools::stdout("dd", &args, work)?;
    fs::remove_file(work.join(file))?;
    Ok(())
}

/// Writes `boot.img`: an XFS volume with kernel, initramfs and menu.
fn boot_volume(release: &Release<'_>, work: &Path) -> Result<()> {
    let tree = work.join("boot");
    fs::create_dir(&tree)?;
    fs::copy(release.standin.file("vmlinuz"), tree.join("vmlinuz"))?;
    fs::copy(&release.initramfs, tree.join("initramfs.xz"))?;
    fs::write(tree.join("grub.cfg"), menu(release))?;
    date(&tree)?;
    let prototype = "/\n0 0\nd--755 0 0\n\
         A d--755 0 0\n\
         vmlinuz ---644 0 0 boot/vmlinuz\n\
         initramfs.xz ---644 0 0 boot/initramfs.xz\n$\n\
         grub d--700 0 0\n\
         grub.cfg ---600 0 0 boot/grub.cfg\n$\n$\n";
    fs::write(work.join("prototype"), prototype)?;
    File::create(work.join("boot.img"))?.set_len(BOOT_MIB * MIB)?;
    let metadata = format!("{XFS_METADATA},uuid={}", BOOT_GUID.to_lowercase());
    let mut args = vec!["-q", "-f", "-n", "ftype=1", "-L", "BOOT", "-p", "prototype"];
    args.extend(["-m", &metadata, "-i", XFS_INODES, "boot.img"]);
    tools::stdout("mkfs.xfs", &args, work)?;
    Ok(())
}

fn menu(release: &Release<'_>) -> String {
    let (talos, cmdline) = (release.talos, release.cmdline(Output::Disk));
    let entry = |title: &str, more: &str| {
        format!(
            "menuentry \"{title}\" {{\n  set gfxmode=auto\n  set gfxpayload=text\n  \
             linux /A/vmlinuz {cmdline}{more}\n  initrd /A/initramfs.xz\n}}\n"
        )
    };
    let reset = format!(" {}", Release::reset(Output::Disk));
    format!(
        "set default=\"A - Talos {talos}\"\n\nset timeout=3\n\ninsmod all_video\n\n\
         terminal_input console\nterminal_output console\n\n{}{}",
        entry(&format!("A - Talos {talos}"), ""),
        entry("Reset Talos installation and return to maintenance mode", &reset)
    )
}

/// Lays GRUB into the partition `BIOS` and the first sector, with the sectors' numbers that each
/// part looks for the next by.
fn install_grub(disk: &Path, at_mib: u64, work: &Path) -> Result<()> {
    let mut args = vec!["--format", "i386-pc", "--output", "core.img"];
    args.extend(["--prefix", "(hd0,gpt3)/grub"]);
    args.extend(MODULES.split_whitespace());
    tools::stdout("grub-mkimage", &args, work)?;
    let lba = at_mib * MIB / 512;
    let mut core = fs::read(work.join("core.img"))?;
    ensure!(core.len() as u64 <= BIOS_MIB * MIB, "GRUB's core image has {} bytes", core.len());
    core[0x1f4..0x1fc].copy_from_slice(&(lba + 1).to_le_bytes());
    let mut boot = fs::read("/usr/lib/grub/i386-pc/boot.img")?;
    boot[0x5c..0x64].copy_from_slice(&lba.to_le_bytes());
    boot[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    let file = File::options().write(true).open(disk)?;
    file.write_all_at(&boot[..446], 0)?;
    file.write_all_at(&core, at_mib * MIB)?;
    Ok(())
}

/// A partition META with values by their keys.
///
/// # Errors
///
/// Where they do not fit.
pub fn meta(values: &[(u8, &[u8])]) -> Result<Vec<u8>> {
    const COPY: usize = 262_144;
    let mut records = 0x5a4b_3c2d_u32.to_be_bytes().to_vec();
    for (key, value) in values {
        records.extend(u32::from(*key).to_be_bytes());
        records.extend(u32::try_from(value.len())?.to_be_bytes());
        records.extend(*value);
    }
    ensure!(records.len() < COPY - 40, "the values are too long for META");
    records.resize(COPY - 4, 0);
    records.extend(0xa5b4_c3d2_u32.to_be_bytes());
    let sum = Sha256::digest(&records);
    records[COPY - 36..COPY - 4].copy_from_slice(&sum);
    let mut bytes = records.repeat(2);
    bytes.resize(META_LEN, 0);
    Ok(bytes)
}
