//! Boot media made by foreign programs alone: what the bench itself is proven with, and what our
//! own media are compared with.
//!
//! In: a stand-in, a config. Out: an initramfs segment, a UKI, an EFI system partition, a raw disk:
//! the least that boots. The rooms below make media as releases ship them, without any config.
//!
//! Source: the manual pages of `mksquashfs`, `cpio`, `objcopy`, `mkfs.vfat`, `mcopy`, `sgdisk`;
//! systemd-stub(7) for a UKI's sections.
//!
//! Not here: anything of our own writers.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use talforge::talos::Arch;
use talforge::units::{MIB, align_up};

use crate::standin::{Standin, TALOS};
use crate::tools;

pub mod release;
pub mod layers;
pub mod iso;
pub mod raw;
pub mod image;

/// The label that Talos gives the config.
const LABEL: &str = "system_u:object_r:system_state_t:s0";

/// Where `segment` leaves the config that it packs.
pub const CONFIG: &str = "extension/usr/local/etc/talos/config.yaml";

/// The least size of a FAT32 volume of 512-byte clusters: fewer of them would make it a FAT16.
const ESP_MIN: u64 = 36 * MIB;

/// The programs that the functions here need.
pub fn tools(arch: Arch) -> [&'static str; 8] {
    [dumper(arch), copier(arch), "mksquashfs", "cpio", "mkfs.vfat", "mcopy", "sgdisk", "setfattr"]
}

/// Writes `segment.cpio`: the initramfs segment that embeds a config, not compressed.
///
/// # Errors
///
/// Where a tool fails.
pub fn segment(config: &[u8], work: &Path) -> Result<PathBuf> {
    let file = work.join(CONFIG);
    fs::create_dir_all(file.parent().context("a path of folders")?)?;
    fs::create_dir(work.join("segment"))?;
    fs::write(file, config)?;
    let list = format!(
        "layers:\n    - image: 000.sqsh\n      metadata:\n        name: embedded-config\n        \
         version: {}\n",
        talforge::digest::Digest::of(config)
    );
    fs::write(work.join("segment/extensions.yaml"), list)?;
    // Not everyone may set the label; the medium is as good without.
    let script = format!(
        "setfattr -n security.selinux -v {LABEL} {CONFIG} || true
         chmod 0400 {CONFIG}
         mksquashfs extension segment/000.sqsh -all-root -noappend -no-progress -quiet -comp zstd
         cd segment
         printf '000.sqsh\\nextensions.yaml\\n' | cpio --quiet -o -H newc -R +0:+0 > ../segment.cpio"
    );
    tools::stdout("sh", &["-ec", &script], work)?;
    Ok(work.join("segment.cpio"))
}

/// Writes `initramfs`: the stand-in's own and a segment after it.
///
/// # Errors
///
/// Where a file cannot be read or written.
pub fn initramfs(standin: &Standin, segment: &Path, work: &Path) -> Result<PathBuf> {
    let mut bytes = fs::read(standin.file("initramfs.xz"))?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(segment)?);
    let path = work.join("initramfs.img");
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Writes `uki.efi`.
///
/// # Errors
///
/// Where a tool fails.
pub fn uki(standin: &Standin, initramfs: &Path, cmdline: &str, work: &Path) -> Result<PathBuf> {
    let os = format!("NAME=\"Talos\"\nID=talos\nVERSION_ID={TALOS}\nPRETTY_NAME=\"Talos\"\n");
    fs::write(work.join("osrel"), os)?;
    fs::write(work.join("cmdline"), cmdline)?;
    let stub = standin.file("systemd-stub.efi").display().to_string();
    let sections = [
        (".osrel", work.join("osrel")),
        (".cmdline", work.join("cmdline")),
        (".linux", standin.file("vmlinuz")),
        (".initrd", initramfs.to_owned()),
    ];
    let mut address = end_of_sections(standin.arch, &stub, work)?;
    let mut args = vec![];
    for (name, file) in sections {
        args.push("--add-section".to_owned());
        args.push(format!("{name}={}", file.display()));
        args.push("--change-section-vma".to_owned());
        args.push(format!("{name}={address:#x}"));
        address = align_up(address + fs::metadata(file)?.len(), 4096);
    }
    let mut args: Vec<_> = args.iter().map(String::as_str).collect();
    args.extend([&stub, "uki.efi"]);
    tools::stdout(copier(standin.arch), &args, work)?;
    Ok(work.join("uki.efi"))
}

/// The first free address after a program's sections. `objdump -h` says of each its number, name,
/// size and address.
fn end_of_sections(arch: Arch, program: &str, work: &Path) -> Result<u64> {
    let text = tools::stdout(dumper(arch), &["-h", program], work)?;
    let end = |line: &str| {
        let mut fields = line.split_whitespace();
        fields.next()?.parse::<u32>().ok()?;
        let size = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        Some(size + u64::from_str_radix(fields.next()?, 16).ok()?)
    };
    let end = text.lines().filter_map(end).max().context("`objdump` shows no section")?;
    Ok(align_up(end, 4096))
}

/// Writes `esp.img`: an EFI system partition with systemd-boot and one UKI.
///
/// # Errors
///
/// Where a tool fails.
pub fn esp(standin: &Standin, uki: &Path, work: &Path) -> Result<PathBuf> {
    let loader = match standin.arch {
        Arch::Amd64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
    };
    let tree = work.join("esp");
    for folder in ["EFI/BOOT", "EFI/Linux", "loader"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::copy(standin.file("systemd-boot.efi"), tree.join(loader))?;
    fs::copy(uki, tree.join(format!("EFI/Linux/Talos-{TALOS}.efi")))?;
    fs::write(tree.join("loader/loader.conf"), "timeout 10\n")?;
    let path = work.join("esp.img");
    let length = align_up(fs::metadata(uki)?.len() + 4 * MIB, MIB).max(ESP_MIN);
    File::create(&path)?.set_len(length)?;
    let format = ["-F", "32", "-s", "1", "-n", "EFI", "--invariant", "esp.img"];
    tools::stdout("mkfs.vfat", &format, work)?;
    let copy = ["-s", "-Q", "-i", "esp.img", "esp/EFI", "esp/loader", "::"];
    tools::stdout("mcopy", &copy, work)?;
    Ok(path)
}

/// Writes `disk.raw`: a disk of 512-byte sectors with one partition.
///
/// # Errors
///
/// Where a tool fails.
pub fn disk(esp: &Path, work: &Path) -> Result<PathBuf> {
    let path = work.join("disk.raw");
    let mut disk = File::create(&path)?;
    let length = fs::metadata(esp)?.len();
    disk.set_len(length + 2 * MIB)?;
    let size = format!("1:2048:+{}M", length / MIB);
    tools::stdout("sgdisk", &["-n", &size, "-t", "1:EF00", "-c", "1:EFI", "disk.raw"], work)?;
    disk.seek(SeekFrom::Start(MIB))?;
    std::io::copy(&mut File::open(esp)?, &mut disk)?;
    Ok(path)
}

fn dumper(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "objdump",
        Arch::Arm64 => "aarch64-linux-gnu-objdump",
    }
}

fn copier(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "objcopy",
        Arch::Arm64 => "aarch64-linux-gnu-objcopy",
    }
}
