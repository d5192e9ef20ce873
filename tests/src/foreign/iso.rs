//! ISOs in the three layouts that releases have.
//!
//! In: a release. Out: an ISO that boots, without any machine config.
//!
//! Source: Talos `pkg/imager/iso/{hybrid,uefi,grub,iso}.go` for the arguments; the manual pages of
//! `grub-mkrescue`, `xorrisofs`, `xorriso`.
//!
//! Not here: what is on the EFI system partition (`release`).

use std::fs;
use std::path::Path;

use anyhow::Result;
use talforge::units::SectorSize;

use super::release::{EPOCH, Output, Release, aside, date, esp, iso_esp_len, made};
use crate::tools;

/// The programs that making ISOs needs, besides those of `release`.
pub const TOOLS: [&str; 4] = ["xorrisofs", "xorriso", "grub-mkrescue", "mformat"];

/// Where GRUB's parts for BIOS are.
const GRUB: &str = "/usr/lib/grub/i386-pc";

/// The arguments that lay the EFI system partition behind the tree, as partition 2.
const APPENDED: [&str; 13] = [
    "-e",
    "--interval:appended_partition_2:all::",
    "-append_partition",
    "2",
    "0xef",
    "tree/efiboot.img",
    "-partition_cyl_align",
    "all",
    "-partition_offset",
    "16",
    "-iso_mbr_part_type",
    "0x83",
    "-no-emul-boot",
];

/// Writes an ISO that a BIOS starts by GRUB and UEFI by systemd-boot: for amd64, the rule since 1.10.
///
/// # Errors
///
/// Where a tool fails.
pub fn hybrid(release: &Release<'_>, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let tree = work.path().join("tree");
    lay_grub(release, &tree)?;
    lay_efi(release, &tree)?;
    let directory = format!("--directory={GRUB}");
    let mut args = vec!["grub-mkrescue", "--compress=xz", "--output=new.iso", &directory];
    args.extend(["-m", "efiboot.img", "-iso-level", "3", "tree", "-eltorito-alt-boot"]);
    args.extend(APPENDED);
    args.push("-appended_part_as_gpt");
    run(release, &args, to, work.path())
}

/// Writes an ISO for UEFI alone: for arm64, and where systemd-boot is asked for.
///
/// # Errors
///
/// Where a tool fails.
pub fn uefi(release: &Release<'_>, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let tree = work.path().join("tree");
    lay_efi(release, &tree)?;
    let mut args = vec!["xorrisofs", "-quiet"];
    args.extend(APPENDED);
    args.extend(["-m", "efiboot.img", "-iso-level", "3", "-o", "new.iso", "tree"]);
    run(release, &args, to, work.path())
}

/// Writes an ISO that BIOS and UEFI start by GRUB: the rule before 1.10, for amd64.
///
/// # Errors
///
/// Where a tool fails.
pub fn grub(release: &Release<'_>, to: &Path) -> Result<()> {
    let work = aside(to)?;
    let tree = work.path().join("tree");
    lay_grub(release, &tree)?;
    let args = ["grub-mkrescue", "--compress=xz", "--output=new.iso", "tree", "-iso-level", "3"];
    run(release, &args, to, work.path())
}

/// Lays kernel, initramfs and menu.
fn lay_grub(release: &Release<'_>, tree: &Path) -> Result<()> {
    let boot = tree.join("boot");
    fs::create_dir_all(boot.join("grub"))?;
    fs::copy(release.standin.file("vmlinuz"), boot.join("vmlinuz"))?;
    fs::copy(&release.initramfs, boot.join("initramfs.xz"))?;
    let cmdline = release.cmdline(Output::Iso);
    let entry = |title: &str, more: &str| {
        format!(
            "menuentry \"{title}\" {{\n\tset gfxmode=auto\n\tset gfxpayload=text\n\t\
             linux /boot/vmlinuz {cmdline}{more}\n\tinitrd /boot/initramfs.xz\n}}\n"
        )
    };
    let reset = format!(" {}", Release::reset(Output::Iso));
    let menu = format!(
        "set default=0\nset timeout=3\n\ninsmod all_video\n\nterminal_input console\n\
         terminal_output console\n\n{}\n{}",
        entry("Talos ISO", ""),
        entry("Reset Talos installation", &reset)
    );
    fs::write(boot.join("grub/grub.cfg"), menu)?;
    date(tree)
}

/// Lays `EFI` and `loader`, and a volume of both.
fn lay_efi(release: &Release<'_>, tree: &Path) -> Result<()> {
    fs::create_dir_all(tree)?;
    release.lay_esp(Output::Iso, tree)?;
    let len = iso_esp_len(release, tree)?;
    esp(tree, len, SectorSize::B512, &tree.join("efiboot.img"))?;
    date(tree)
}

/// Runs a program that writes `new.iso`, with the volume's name and dates.
fn run(release: &Release<'_>, args: &[&str], to: &Path, work: &Path) -> Result<()> {
    let label = format!("Talos-{}", release.talos);
    let id = label.to_uppercase().replace(['-', '.'], "_");
    let dates = format!("={EPOCH}");
    let variables =
        [format!("SOURCE_DATE_EPOCH={EPOCH}"), format!("GRUB_FAT_SERIAL_NUMBER={EPOCH:x}")];
    let mut all: Vec<&str> = variables.iter().map(String::as_str).collect();
    all.extend(args);
    all.extend(["--", "-volume_date", "all_file_dates", &dates]);
    // EPOCH, as the program has it.
    all.extend(["-volume_date", "uuid", "2023111422132000"]);
    // Volumes have names since 1.8.
    if release.minor() >= 8 {
        all.extend(["-volid", &id, "-volset-id", &label]);
    }
    tools::stdout("env", &all, work)?;
    made(&work.join("new.iso"))?;
    fs::rename(work.join("new.iso"), to)?;
    Ok(())
}
