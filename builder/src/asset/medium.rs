//! Boot assets on a medium of Talos': an ISO or a disk.
//!
//! In: the medium. Out: what lies where on it, as ranges of it: nothing is copied.
//!
//! Source: Talos `pkg/imager/iso/uefi.go`, `hybrid.go`, `grub.go`; `internal/pkg/partition`; UEFI
//! Specification 2.10, 13.3 for where firmware looks.
//!
//! Not here: volumes and tables (`inspect`), and whether the pieces are good (`gather`).

use crate::asset::error::{AssetError, Reason};
use crate::asset::grub::Grub;
use crate::asset::program;
use crate::blob::Blob;
use crate::inspect::damage::Damage;
use crate::inspect::fat::Fat;
use crate::inspect::iso::{BLOCK, Iso, Platform};
use crate::inspect::partitions::{self, Table};
use crate::talos::Arch;

/// The folder that systemd-boot looks for UKIs in.
const UKIS: &str = "EFI/Linux";
/// The folder of GRUB for BIOS on an ISO.
const GRUB: &str = "boot/grub/i386-pc";
/// GRUB's boot image in it.
const ELTORITO: &str = "eltorito.img";
/// The most EFI partitions of a medium.
const ESPS: usize = 16;
/// The longest boot image of GRUB's.
const ELTORITO_LEN: u64 = 4 << 20;
/// The most files of GRUB's, and the bytes of all.
const MODULES: usize = 1024;
const MODULES_LEN: u64 = 32 << 20;
/// The boot code of a medium's first sector.
const BOOT_CODE: u64 = 440;

/// What a medium has.
#[derive(Debug, Default)]
pub(super) struct Medium {
    /// What messages call it.
    pub(super) name: String,
    /// Its UKI, and where that lies.
    pub(super) uki: Option<(String, Blob)>,
    /// systemd-boot, and where that lies.
    pub(super) sd_boot: Option<(String, Blob)>,
    /// Kernel and initramfs that lie there for GRUB.
    pub(super) loose: Option<(Blob, Blob)>,
    /// GRUB for BIOS.
    pub(super) grub: Option<Grub>,
    /// Why there is no UKI.
    pub(super) reason: Option<Reason>,
}

/// Looks through an ISO.
///
/// # Errors
///
/// Where it is damaged, or for another machine.
pub(super) fn iso(name: &str, blob: &Blob, arch: Arch) -> Result<Medium, AssetError> {
    let damaged = |error| damaged(name, error);
    let iso = Iso::read(blob).map_err(damaged)?;
    let mut medium = Medium { name: name.to_owned(), ..Medium::default() };
    let efi = iso
        .boots
        .iter()
        .find(|entry| entry.platform == Platform::Efi && entry.bootable && entry.no_emulation);
    match efi {
        Some(entry) => {
            let start = u64::from(entry.block) * BLOCK;
            let volume = blob.get(start..blob.len()).unwrap_or_default();
            medium.look(name, &volume, arch)?;
        }
        // Those whose catalog has none may have one by the partition table.
        None => {
            if let Some(table) = partitions::read(blob).map_err(damaged)? {
                medium.look_by(name, blob, &table, arch)?;
            }
        }
    }
    let file = |path: &str| -> Result<Option<Blob>, AssetError> {
        let found = iso.find(path).map_err(damaged)?.filter(|file| !file.is_dir);
        Ok(found.map(|file| iso.content(&file)))
    };
    if medium.uki.is_none() {
        medium.loose = file("boot/vmlinuz")?.zip(file("boot/initramfs.xz")?);
        medium.reason = Some(match medium.loose {
            Some(_) => Reason::GrubIso(name.to_owned()),
            None => Reason::NoUki(name.to_owned()),
        });
    }
    medium.grub = grub(&iso, blob).map_err(damaged)?;
    Ok(medium)
}

/// Looks through a disk.
///
/// # Errors
///
/// Where it is damaged, or for another machine.
pub(super) fn disk(
    name: &str,
    blob: &Blob,
    table: &Table,
    arch: Arch,
) -> Result<Medium, AssetError> {
    let mut medium = Medium { name: name.to_owned(), ..Medium::default() };
    medium.look_by(name, blob, table, arch)?;
    if medium.uki.is_none() {
        let has_boot = table.partitions.iter().any(|partition| partition.name == "BOOT");
        medium.reason = Some(match has_boot {
            true => Reason::GrubDisk(name.to_owned()),
            false => Reason::NoUki(name.to_owned()),
        });
    }
    Ok(medium)
}

fn damaged(name: &str, error: Damage) -> AssetError {
    AssetError::Medium { name: name.to_owned(), error: Box::new(error) }
}

impl Medium {
    /// Looks through the EFI partitions of a table.
    fn look_by(
        &mut self,
        name: &str,
        blob: &Blob,
        table: &Table,
        arch: Arch,
    ) -> Result<(), AssetError> {
        for partition in table.esps().take(ESPS) {
            let volume = blob.get(partition.range.clone()).unwrap_or_default();
            self.look(name, &volume, arch)?;
        }
        Ok(())
    }

    /// Looks through an EFI partition. What was found before stays.
    fn look(&mut self, name: &str, volume: &Blob, arch: Arch) -> Result<(), AssetError> {
        let damaged = |error: Damage| damaged(name, error.within("efi partition"));
        let fat = Fat::read(volume).map_err(damaged)?;
        if self.uki.is_none() {
            self.uki = uki(name, &fat)?;
        }
        let path = loader(arch);
        let found = fat.find(path).map_err(damaged)?.filter(|file| !file.is_dir());
        if let Some(file) = found.filter(|_| self.sd_boot.is_none()) {
            let program = fat.content(&file).map_err(damaged)?;
            let at = format!("{name}: {path}");
            let image = program::image(&at, &program, arch)?;
            // Media of GRUB's have it under this name.
            let magic = program::magic(&at, &image)?.unwrap_or_default();
            self.sd_boot = magic.contains("systemd-boot").then_some((at, program));
        }
        Ok(())
    }
}

/// The boot loader's name on a medium that has not been booted.
const fn loader(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
    }
}

/// The one UKI of an EFI partition.
fn uki(name: &str, fat: &Fat) -> Result<Option<(String, Blob)>, AssetError> {
    let damaged = |error: Damage| damaged(name, error.within("efi partition"));
    let folder = fat.find(UKIS).map_err(damaged)?.filter(|file| file.is_dir());
    let Some(folder) = folder else { return Ok(None) };
    let mut files = fat.list(Some(&folder)).map_err(damaged)?;
    let is_efi = |file: &str| file.to_ascii_lowercase().ends_with(".efi");
    files.retain(|file| !file.is_dir() && is_efi(&file.name));
    let [file] = files.as_slice() else {
        let found = files.into_iter().map(|file| file.name).collect::<Vec<_>>();
        return match found.is_empty() {
            true => Ok(None),
            false => Err(AssetError::ManyUkis { name: name.to_owned(), found }),
        };
    };
    let content = fat.content(file).map_err(damaged)?;
    Ok(Some((format!("{name}: {UKIS}/{}", file.name), content)))
}

/// GRUB as an ISO has it: the first sector's code, the boot image, and the modules that the image
/// loads from the ISO. Nothing where a piece is missing.
fn grub(iso: &Iso, blob: &Blob) -> Result<Option<Grub>, Damage> {
    let unread = |error| Damage::read("grub", 0, error);
    let Some(folder) = iso.find(GRUB)?.filter(|file| file.is_dir) else { return Ok(None) };
    let boot_code = blob.slice(0..BOOT_CODE.min(blob.len())).to_vec().map_err(unread)?;
    let mut image = None;
    let mut modules = Vec::new();
    let mut len = 0;
    for file in iso.list(&folder)?.into_iter().filter(|file| !file.is_dir) {
        if file.name == ELTORITO && file.len() <= ELTORITO_LEN {
            image = Some(iso.content(&file).to_vec().map_err(unread)?);
        } else if is_module(&file.name) {
            len += file.len();
            modules.push((format!("{GRUB}/{}", file.name), iso.content(&file)));
        }
        if modules.len() > MODULES || len > MODULES_LEN {
            return Ok(None);
        }
    }
    let has_code = boot_code.iter().any(|byte| *byte != 0);
    Ok(image.filter(|_| has_code).and_then(|image| Grub::shipped(boot_code, image, modules)))
}

/// The files that GRUB loads by itself: modules, and lists of what is in which.
fn is_module(name: &str) -> bool {
    let stem = name.strip_suffix(".mod").or_else(|| name.strip_suffix(".lst"));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    stem.is_some_and(|stem| !stem.is_empty() && stem.len() <= 64 && stem.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_lists_are_told_by_their_names() {
        for good in ["normal.mod", "gcry_md5.mod", "915resolution.mod", "moddep.lst"] {
            assert!(is_module(good), "{good}");
        }
        for bad in [".mod", "eltorito.img", "a/b.mod", "modinfo.sh", "\u{e4}.mod", "boot.cat"] {
            assert!(!is_module(bad), "{bad}");
        }
    }
}
