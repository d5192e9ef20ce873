//! A medium, as far as a change concerns it.
//!
//! In: a medium. Out: its EFI system partition, the UKIs there, and whether GRUB starts it for a BIOS.
//! It is looked at once, whatever is asked then; a base initramfs is walked once.
//!
//! Source: UEFI Specification 2.10, 13.3; Talos `pkg/imager/iso`, `pkg/imager/out.go`.
//!
//! Not here: what lies beside the UKIs (`past`), and changes (`plan`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::asset::initramfs::Initramfs;
use crate::blob::{Blob, Builder};
use crate::custom::error::CustomError;
use crate::custom::plan;
use crate::edit::Edit;
use crate::inspect::Door;
use crate::inspect::fat::Fat;
use crate::inspect::iso::{self, BLOCK, Iso, Platform};
use crate::inspect::partitions::{self, Scheme};
use crate::inspect::uki::{self, Uki};
use crate::units::SectorSize;

/// The folder that systemd-boot looks for UKIs in.
pub(super) const UKIS: &str = "EFI/Linux";
/// GRUB's menu and initramfs on an ISO.
pub(super) const MENU: &str = "boot/grub/grub.cfg";
pub(super) const INITRAMFS: &str = "boot/initramfs.xz";
/// The most UKIs of a medium. Talos' media have one, an upgraded disk two.
const UKIS_LIMIT: usize = 4;

/// A medium, looked at: an ISO or a raw disk with UKIs.
#[derive(Debug)]
pub struct Medium {
    /// All of it.
    pub(super) blob: Blob,
    /// Its EFI system partition.
    pub(super) esp: Range<u64>,
    /// The UKIs, by name; at least one.
    pub(super) ukis: Vec<Own>,
    /// How a BIOS starts it.
    pub(super) bios: Bios,
    /// The ways by which UEFI starts it.
    pub(super) doors: BTreeSet<Door>,
    /// The base initramfs files that were walked, by where they lie.
    bases: RefCell<Vec<Arc<Initramfs>>>,
}

/// A UKI of a medium.
#[derive(Debug)]
pub(super) struct Own {
    /// Its name in [`UKIS`].
    pub(super) name: String,
    /// What it holds.
    pub(super) uki: Uki,
}

impl Own {
    /// The folder beside it, in which its stub looks for addons.
    pub(super) fn folder(&self) -> String {
        format!("{}.extra.d", self.name)
    }

    /// Its path.
    pub(super) fn path(&self) -> String {
        format!("{UKIS}/{}", self.name)
    }

    /// What it brings the kernel as its first initramfs.
    pub(super) fn initramfs(&self) -> Result<Blob, CustomError> {
        let profile = self.uki.profiles()?.into_iter().next();
        Ok(uki::join(&profile.map(|profile| profile.initrds).unwrap_or_default()))
    }
}

/// How a BIOS starts a medium.
#[derive(Debug)]
pub(super) enum Bios {
    /// Not at all.
    None,
    /// By GRUB, from the ISO's own tree.
    Iso(Box<Iso>),
    /// From a partition of a disk.
    Disk,
}

impl Medium {
    /// Looks at a medium.
    ///
    /// # Errors
    ///
    /// Where it is no ISO and no raw disk, has no UKI or several EFI system partitions, or is damaged.
    pub fn open(blob: &Blob) -> Result<Self, CustomError> {
        let table = partitions::read(blob)?;
        let iso = if iso::is_iso(blob) { Some(Iso::read(blob)?) } else { None };
        if table.is_none() && iso.is_none() {
            return Err(CustomError::Kind);
        }
        let mut doors = BTreeSet::new();
        let mut esps: Vec<Range<u64>> =
            table.iter().flat_map(|table| table.esps()).map(|p| p.range.clone()).collect();
        if !esps.is_empty() {
            doors.insert(Door::UefiDisk);
        }
        let entries = iso.iter().flat_map(|iso| &iso.boots);
        let efi = entries.filter(|e| e.platform == Platform::Efi && e.bootable && e.no_emulation);
        for start in efi.map(|entry| u64::from(entry.block) * BLOCK) {
            doors.insert(Door::UefiCd);
            if esps.iter().all(|esp| esp.start != start) {
                esps.push(start..blob.len());
            }
        }
        let [esp] = <[Range<u64>; 1]>::try_from(esps).map_err(|esps| match esps.len() {
            0 => CustomError::NoUki,
            several => CustomError::Esps(several),
        })?;
        let ukis = ukis(&Fat::read(&blob.slice(esp.clone()))?)?;
        let bios = match iso {
            Some(iso) => iso_bios(blob, iso, &mut doors)?,
            None => disk_bios(blob, table.map(|table| table.scheme))?,
        };
        let bases = RefCell::default();
        Ok(Self { blob: blob.clone(), esp, ukis, bios, doors, bases })
    }

    /// The medium after a change that was written to `written`: this one itself, or a copy. Only what
    /// was changed is taken from there; of the rest that both have it is not read again.
    ///
    /// # Errors
    ///
    /// As [`Medium::open`]; or where it has another length.
    pub fn after(&self, edit: &Edit, written: &Blob) -> Result<Self, CustomError> {
        if written.len() != self.blob.len() {
            return Err(CustomError::Mismatch("the medium has another length".to_owned()));
        }
        let (mut out, mut next) = (Builder::default(), 0);
        for Range { start, end } in edit.ranges() {
            out = out.blob(&self.blob.slice(next..start)).blob(&written.slice(start..end));
            next = end;
        }
        let blob = out.blob(&self.blob.slice(next..self.blob.len())).finish();
        Ok(Self { bases: self.bases.clone(), ..Self::open(&blob)? })
    }

    /// What a base initramfs without a config holds. One that lies where a known one does is that.
    pub(super) fn base(&self, initrd: &Blob) -> Result<Arc<Initramfs>, CustomError> {
        let is_known = |known: &&Arc<Initramfs>| {
            let (one, other) = (known.blob.extents(), initrd.extents());
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.is_same_run(b))
        };
        if let Some(known) = self.bases.borrow().iter().find(is_known) {
            return Ok(known.clone());
        }
        let base = Arc::new(plan::base(initrd)?);
        self.bases.borrow_mut().push(base.clone());
        Ok(base)
    }

    /// The EFI system partition.
    pub(super) fn volume(&self) -> Blob {
        self.blob.slice(self.esp.clone())
    }
}

fn ukis(fat: &Fat) -> Result<Vec<Own>, CustomError> {
    let folder = fat.find(UKIS)?.filter(|folder| folder.is_dir());
    let mut files = folder.map(|folder| fat.list(Some(&folder))).transpose()?.unwrap_or_default();
    let is_uki = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.is_ascii() && name.ends_with(".efi") && !name.starts_with("auto-")
    };
    files.retain(|file| !file.is_dir() && is_uki(&file.name));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    if files.is_empty() || files.len() > UKIS_LIMIT {
        return Err(CustomError::NoUki);
    }
    let own = |file: crate::inspect::fat::File| {
        let uki = fat.content(&file).and_then(|blob| Uki::read(&blob));
        let uki = uki.map_err(|damage| damage.within(format!("`{UKIS}/{}`", file.name)))?;
        Ok(Own { name: file.name, uki })
    };
    files.into_iter().map(own).collect()
}

fn iso_bios(blob: &Blob, iso: Iso, doors: &mut BTreeSet<Door>) -> Result<Bios, CustomError> {
    let x86 = |e: &iso::BootEntry| e.platform == Platform::X86 && e.bootable && e.no_emulation;
    if !iso.boots.iter().any(x86) || iso.find(MENU)?.is_none_or(|menu| menu.is_dir) {
        return Ok(Bios::None);
    }
    doors.insert(Door::BiosCd);
    if has_boot_code(blob)? {
        doors.insert(Door::BiosDisk);
    }
    Ok(Bios::Iso(Box::new(iso)))
}

fn disk_bios(blob: &Blob, scheme: Option<Scheme>) -> Result<Bios, CustomError> {
    let counts_512 = !matches!(scheme, Some(Scheme::Gpt { sector: SectorSize::B4096, .. }));
    Ok(if counts_512 && has_boot_code(blob)? { Bios::Disk } else { Bios::None })
}

/// Whether the first sector has code for a BIOS.
fn has_boot_code(blob: &Blob) -> Result<bool, CustomError> {
    let mut code = [0; 440];
    blob.read_exact_at(&mut code, 0)?;
    Ok(code.iter().any(|b| *b != 0))
}
