//! The kinds of media, each followed from its first sector to its boots.
//!
//! In: a medium. Out: its kind and what it offers.
//!
//! Source: UEFI Specification 2.10, 13.3 (El Torito and partitions); GNU GRUB 2.12,
//! `grub-core/boot/i386/pc` (where `boot_hybrid.img` and `eltorito.img` look for their next
//! sectors); Talos `pkg/imager/iso`, `pkg/machinery/imager/quirks/partitions.go`.
//!
//! Not here: the volumes and images inside (`esp`, `iso`, `uki`, `initrd`).

use std::collections::BTreeSet;
use std::ops::Range;

use zerocopy::little_endian::{U32, U64};

use super::damage::Damage;
use super::esp;
use super::fat::Fat;
use super::field;
use super::grub;
use super::init;
use super::initrd;
use super::iso::{self, BLOCK, Iso, Platform};
use super::memo::Memo;
use super::meta;
use super::partitions::{self, Partition, Scheme, Table};
use super::pe::{self, Pe};
use super::uki::{self, Uki};
use super::volume;
use super::{Boot, Door, Firmware, Kind, Medium, Region};
use crate::blob::Blob;
use crate::talos::Arch;
use crate::units::SectorSize;

/// The longest `grub.cfg` that is read.
const MENU_LIMIT: u64 = 1 << 20;
/// The longest GRUB image in a boot catalog.
const ELTORITO_LIMIT: u64 = 4 << 20;
/// The most entries of a menu, the most initrds of one, and the most EFI volumes of a medium.
const ENTRIES_LIMIT: usize = 16;
/// Where an ISO's own `grub.cfg` is.
const MENU: &str = "boot/grub/grub.cfg";

/// Reads a medium of any kind.
///
/// # Errors
///
/// [`Damage`] where it is of no known kind, or would not boot.
pub(super) fn read(medium: &Blob, memo: &mut Memo) -> Result<Medium, Damage> {
    if iso::is_iso(medium) {
        return read_iso(medium, memo);
    }
    if pe::is_pe(medium) {
        return read_uki(medium, memo);
    }
    if let Some(table) = partitions::read(medium)? {
        return read_disk(medium, &table, memo);
    }
    if medium.len() >= 6 {
        return read_initrd(medium, memo);
    }
    Err(Damage::new("medium", 0, "it is neither an ISO, a disk, a UKI nor an initramfs"))
}

fn medium(kind: Kind) -> Medium {
    Medium {
        containers: Vec::new(),
        kind,
        volume_id: None,
        doors: BTreeSet::new(),
        boots: Vec::new(),
        meta: None,
        volumes: Vec::new(),
        regions: Vec::new(),
        notes: Vec::new(),
    }
}

/// No medium that anybody makes has more; a hostile one would be read for long.
fn check_count(place: &'static str, what: &str, count: usize) -> Result<(), Damage> {
    if count > ENTRIES_LIMIT {
        let wrong = format!("there are {count} {what}");
        return Err(Damage::new(place, 0, wrong).should(format!("at most {ENTRIES_LIMIT}")));
    }
    Ok(())
}

fn region(range: Range<u64>, label: impl Into<String>) -> Region {
    Region { range, label: label.into() }
}

fn read_initrd(blob: &Blob, memo: &mut Memo) -> Result<Medium, Damage> {
    let tree = initrd::unpack(blob, memo)?;
    if tree.segments.is_empty() {
        let wrong = "it is neither an ISO, a disk, a UKI nor an initramfs";
        return Err(Damage::new("medium", 0, wrong));
    }
    let system = init::start(&tree, memo)?;
    let label = |s: &initrd::Segment| match s.packing {
        None => "cpio archive",
        Some(_) => "compressed cpio archive",
    };
    let regions = tree.segments.iter().map(|s| region(s.start..s.end, label(s))).collect();
    let boot = Boot {
        firmware: Firmware::Elsewhere,
        title: String::new(),
        profile: None,
        cmdline: String::new(),
        kernel: None,
        stub: None,
        layers: system.layers,
        found: system.found,
    };
    let notes = system.notes;
    Ok(Medium { boots: vec![boot], regions, notes, ..medium(Kind::Initrd) })
}

fn read_uki(blob: &Blob, memo: &mut Memo) -> Result<Medium, Damage> {
    let image = Uki::read(blob)?;
    let firmware = Firmware::Uefi { esp: 0, uki: String::new(), addons: Vec::new() };
    let (boots, notes) = esp::boots(&image, &[], &firmware, memo)?;
    let sections = Pe::read(blob)?.sections;
    let place = |s: &pe::Section| {
        let start = u64::from(s.offset);
        region(start..(start + s.data.len()).min(blob.len()), s.name.clone())
    };
    let regions = sections.iter().filter(|s| !s.data.is_empty()).map(place).collect();
    Ok(Medium { boots, notes, regions, ..medium(Kind::Uki) })
}

fn read_disk(disk: &Blob, table: &Table, memo: &mut Memo) -> Result<Medium, Damage> {
    let mut out = medium(Kind::Disk { sector: table.sector() });
    out.notes.clone_from(&table.notes);
    out.regions = table_regions(disk, table);
    check_count("partition table", "EFI system partitions", table.esps().count())?;
    for partition in table.esps() {
        read_esp(disk, partition.range.clone(), table.sector(), &mut out, memo)?;
        out.doors.insert(Door::UefiDisk);
    }
    let (volumes, notes) = volume::of_disk(disk, table)?;
    out.volumes = volumes;
    out.notes.extend(notes);
    if out.is_seed() {
        return Ok(out);
    }
    if out.boots.is_empty() {
        return Err(Damage::new("partition table", 0, "there is no EFI system partition"));
    }
    let mut metas = table.partitions.iter().filter(|p| p.name == "META");
    match metas.next() {
        Some(partition) => {
            let content = meta::read(&disk.slice(partition.range.clone()));
            let content = content.map_err(|e| e.within("partition `META`"))?;
            out.notes.extend(content.notes.iter().cloned());
            out.meta = Some(content);
        }
        None => out.notes.push("there is no partition `META`, so Talos is not installed".into()),
    }
    if metas.next().is_some() {
        return Err(Damage::new("partition table", 0, "there are two partitions `META`"));
    }
    Ok(out)
}

/// Follows one EFI system partition.
fn read_esp(
    disk: &Blob,
    range: Range<u64>,
    sector: SectorSize,
    out: &mut Medium,
    memo: &mut Memo,
) -> Result<(), Damage> {
    let start = range.start;
    let within = |e: Damage| e.within("efi partition");
    let fat = Fat::read(&disk.slice(range)).map_err(within)?;
    if fat.sector_len < sector.bytes() {
        let wrong = format!("its sectors have {} bytes", fat.sector_len);
        return Err(within(
            Damage::new("fat boot sector", 0, wrong)
                .should(format!("at least the disk's {}, or Linux mounts it not", sector.bytes())),
        ));
    }
    let found = esp::read(&fat, start, memo).map_err(within)?;
    out.boots.extend(found.boots);
    out.notes.extend(found.notes);
    if matches!(out.kind, Kind::Disk { .. }) {
        check_case(&fat, &mut out.notes).map_err(within)?;
        // An ISO shows them in its own tree.
        out.regions.extend(esp_regions(&fat, start).map_err(within)?);
    }
    Ok(())
}

fn esp_regions(fat: &Fat, start: u64) -> Result<Vec<Region>, Damage> {
    let mut regions = Vec::new();
    for (path, file) in fat.walk()? {
        let place =
            |range: Range<u64>| region(start + range.start..start + range.end, format!("`{path}`"));
        regions.extend(fat.ranges(&file)?.into_iter().map(place));
    }
    Ok(regions)
}

/// A running node looks for its boot loader and UKIs by names in this very case.
fn check_case(fat: &Fat, notes: &mut Vec<String>) -> Result<(), Damage> {
    let efi = fat.find("EFI")?;
    let boot = fat.find("EFI/BOOT")?;
    let linux = fat.find("EFI/Linux")?;
    let mut names = vec![("EFI", efi), ("boot", boot.clone()), ("Linux", linux)];
    for (shown, stored) in [("BOOTX64.efi", "BOOTX64.EFI"), ("BOOTAA64.efi", "BOOTAA64.EFI")] {
        names.push((shown, fat.find(&format!("EFI/BOOT/{stored}"))?));
    }
    for (want, file) in names {
        if let Some(file) = file.filter(|f| f.name != want) {
            notes.push(format!(
                "`{}` on the EFI partition is not named `{want}`, so upgrades will not find it",
                file.name
            ));
        }
    }
    Ok(())
}

fn table_regions(disk: &Blob, table: &Table) -> Vec<Region> {
    let mut regions = vec![region(0..512, "mbr")];
    if let Scheme::Gpt { sector, .. } = table.scheme {
        let size = sector.bytes();
        regions.push(region(size..2 * size, "gpt header"));
        regions.push(region(disk.len() - size..disk.len(), "backup gpt header"));
    }
    let label = |p: &Partition| match p.name.as_str() {
        "" => format!("partition {}", p.number),
        name => format!("partition {} `{name}`", p.number),
    };
    regions.extend(table.partitions.iter().map(|p| region(p.range.clone(), label(p))));
    regions
}

fn read_iso(blob: &Blob, memo: &mut Memo) -> Result<Medium, Damage> {
    let iso = Iso::read(blob)?;
    let table = partitions::read(blob)?;
    let mut out = medium(Kind::Iso);
    out.volume_id = Some(iso.volume_id.clone());
    out.regions = iso_regions(blob, &iso, table.as_ref())?;
    if let Some(table) = &table {
        out.notes.clone_from(&table.notes);
    }
    let esps = esp_ranges(blob, &iso, table.as_ref(), &mut out);
    check_count("boot catalog", "EFI system partitions", esps.len())?;
    let mut by_grub = false;
    for range in esps {
        if is_grub(&blob.slice(range.clone()))? {
            by_grub = true;
        } else {
            read_esp(blob, range, SectorSize::B512, &mut out, memo)?;
        }
    }
    out.volumes.extend(volume::of_iso(&iso)?);
    if iso.boots.is_empty() && out.is_seed() {
        return Ok(out);
    }
    let menu = iso.find(MENU)?.filter(|f| !f.is_dir);
    let by_bios = read_bios(blob, &iso, menu.is_some(), &mut out)?;
    if let Some(menu) = menu.filter(|_| by_grub || by_bios) {
        read_menu(&iso, &menu, &mut out, memo)?;
    }
    for (door, what) in [
        (Door::UefiCd, "no UEFI starts it from a CD drive: the boot catalog has no EFI entry"),
        (Door::UefiDisk, "no UEFI starts it from a stick: there is no EFI system partition"),
    ] {
        if !out.doors.contains(&door) {
            out.notes.push(what.into());
        }
    }
    if out.boots.is_empty() {
        return Err(Damage::new("boot catalog", 0, "the ISO offers nothing to boot"));
    }
    if !iso.second_descriptor {
        out.notes.push("there is no second volume descriptor in block 32".into());
    }
    Ok(out)
}

/// Whether an EFI system partition is GRUB's, which takes the ISO's menu.
fn is_grub(volume: &Blob) -> Result<bool, Damage> {
    let within = |e: Damage| e.within("efi partition");
    esp::is_grub(&Fat::read(volume).map_err(within)?).map_err(within)
}

/// The EFI system partitions that UEFI finds, by the boot catalog and by the partition table.
fn esp_ranges(blob: &Blob, iso: &Iso, table: Option<&Table>, out: &mut Medium) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for partition in table.into_iter().flat_map(Table::esps) {
        out.doors.insert(Door::UefiDisk);
        ranges.push(partition.range.clone());
    }
    let efi = |e: &&iso::BootEntry| e.platform == Platform::Efi && e.bootable && e.no_emulation;
    for entry in iso.boots.iter().filter(efi) {
        out.doors.insert(Door::UefiCd);
        let start = u64::from(entry.block) * BLOCK;
        if ranges.iter().all(|r| r.start != start) {
            if !ranges.is_empty() {
                out.notes
                    .push("the boot catalog has another EFI volume than the partitions".into());
            }
            ranges.push(start..blob.len());
        }
    }
    ranges
}

fn iso_regions(blob: &Blob, iso: &Iso, table: Option<&Table>) -> Result<Vec<Region>, Damage> {
    let mut regions = table.map(|table| table_regions(blob, table)).unwrap_or_default();
    regions.push(region(0..16 * BLOCK, "system area"));
    regions.push(region(16 * BLOCK..17 * BLOCK, "volume descriptor"));
    if let Some(block) = iso.catalog {
        regions.push(region(block * BLOCK..(block + 1) * BLOCK, "boot catalog"));
    }
    for (path, file) in iso.walk()? {
        regions.extend(file.ranges.into_iter().map(|range| region(range, format!("`{path}`"))));
    }
    Ok(regions)
}

/// Whether a BIOS starts GRUB, which then takes the ISO's menu.
fn read_bios(blob: &Blob, iso: &Iso, has_menu: bool, out: &mut Medium) -> Result<bool, Damage> {
    let x86 = |e: &&iso::BootEntry| e.platform == Platform::X86 && e.bootable && e.no_emulation;
    let entry = iso.boots.iter().find(x86);
    let entry = match (entry, has_menu) {
        (Some(entry), true) => entry,
        (Some(_), false) => {
            out.notes.push(format!("a BIOS starts it, but not by GRUB: there is no `{MENU}`"));
            return Ok(false);
        }
        (None, true) => {
            let note = format!("no BIOS starts it: there is a `{MENU}`, but no boot entry for it");
            out.notes.push(note);
            return Ok(false);
        }
        (None, false) => return Ok(false),
    };
    check_eltorito(blob, entry.block)?;
    out.doors.insert(Door::BiosCd);
    if check_boot_code(blob, entry.block)? {
        out.doors.insert(Door::BiosDisk);
    } else {
        out.notes.push("no BIOS starts it from a stick: the MBR has no boot code".into());
    }
    Ok(true)
}

/// Follows GRUB through the ISO's menu.
fn read_menu(iso: &Iso, menu: &iso::File, out: &mut Medium, memo: &mut Memo) -> Result<(), Damage> {
    let text = field::bytes(&iso.content(menu), "grub.cfg", 0..menu.len(), MENU_LIMIT)?;
    let text = String::from_utf8(text)
        .map_err(|_| Damage::new("grub.cfg", 0, "it is no UTF-8").within(format!("`{MENU}`")))?;
    let entries = grub::read(&text).map_err(|e| e.within(format!("`{MENU}`")))?;
    check_count("grub.cfg", "menu entries", entries.len())?;
    for entry in entries {
        let within = format!("menu entry `{}`", entry.title);
        let boot = grub_boot(iso, entry, &mut out.notes, memo).map_err(|e| e.within(within))?;
        out.boots.push(boot);
    }
    Ok(())
}

fn grub_boot(
    iso: &Iso,
    entry: grub::MenuEntry,
    notes: &mut Vec<String>,
    memo: &mut Memo,
) -> Result<Boot, Damage> {
    let content = |path: &str| match iso.find(path)?.filter(|f| !f.is_dir) {
        Some(file) => Ok(iso.content(&file)),
        None => Err(Damage::new("grub.cfg", 0, format!("`{path}` is not on the ISO"))),
    };
    check_count("grub.cfg", "initrds", entry.initrds.len())?;
    let kernel = kernel_release(&content(&entry.linux)?)
        .map_err(|e| e.within(format!("`{}`", entry.linux)))?;
    let initrds = entry.initrds.iter().map(|p| content(p)).collect::<Result<Vec<_>, _>>()?;
    let tree = initrd::unpack(&uki::join(&initrds), memo).map_err(|e| e.within("initrd"))?;
    let system = init::start(&tree, memo)?;
    notes.extend(system.notes);
    Ok(Boot {
        firmware: Firmware::Bios { linux: entry.linux, initrds: entry.initrds },
        title: entry.title,
        profile: None,
        cmdline: entry.cmdline,
        kernel,
        stub: None,
        layers: system.layers,
        found: system.found,
    })
}

/// The release that an x86 kernel says, after the check that GRUB makes: its boot protocol. A kernel
/// for arm64 says none.
fn kernel_release(kernel: &Blob) -> Result<Option<String>, Damage> {
    let header: [u8; 0x22] = field::load(kernel, "linux header", 0x1f0)?;
    if header[0x0e..0x10] != *b"\x55\xaa" || header[0x12..0x16] != *b"HdrS" {
        let is_arm64 = |pe: Pe| pe.arch() == Some(Arch::Arm64);
        if pe::is_pe(kernel) && Pe::read(kernel).is_ok_and(is_arm64) {
            return Ok(None);
        }
        return Err(Damage::new("linux header", 0x1f0, "it is no kernel that GRUB can start"));
    }
    let offset = u64::from(u16::from_le_bytes([header[0x1e], header[0x1f]]));
    let sectors = u64::from(header[1]);
    if offset == 0 || offset > sectors * 512 {
        return Ok(None);
    }
    let start = offset + 0x200;
    let range = start..(start + 128).min(kernel.len()).max(start);
    let bytes = field::bytes(kernel, "linux version", range, 128)?;
    Ok(field::text(&bytes).split(' ').next().filter(|r| !r.is_empty()).map(str::to_owned))
}

/// GRUB's image in the boot catalog knows its own place: by the boot info table and by a pointer to
/// its second sector.
fn check_eltorito(blob: &Blob, block: u32) -> Result<(), Damage> {
    let start = u64::from(block) * BLOCK;
    let place = "grub eltorito image";
    let [descriptor, own, len, sum]: [U32; 4] = field::load(blob, place, start + 8)?;
    let damage = |wrong: &str| Damage::new(place, start + 8, wrong);
    if descriptor.get() != 16 || own.get() != block {
        return Err(damage("its boot info table has another place").should(block.to_string()));
    }
    let range = start..start + u64::from(len.get());
    let words = field::bytes(blob, place, range, ELTORITO_LIMIT)?;
    let words = words.get(64..).unwrap_or_default().chunks(4).map(|word| {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        u32::from_le_bytes(padded)
    });
    if words.fold(0u32, u32::wrapping_add) != sum.get() {
        return Err(damage("the checksum of its boot info table is wrong"));
    }
    let next: U64 = field::load(blob, place, start + 2548)?;
    let want = u64::from(block) * 4 + 5;
    if next.get() != want {
        let wrong = format!("it looks for itself in sector {}", next.get());
        return Err(Damage::new(place, start + 2548, wrong).should(want.to_string()));
    }
    Ok(())
}

/// Whether the MBR has boot code. It must point to GRUB's image.
fn check_boot_code(blob: &Blob, block: u32) -> Result<bool, Damage> {
    let code: [u8; 440] = field::load(blob, "mbr boot code", 0)?;
    if code.iter().all(|&b| b == 0) {
        return Ok(false);
    }
    let next: U64 = field::load(blob, "mbr boot code", 0x1b0)?;
    let want = u64::from(block) * 4 + 4;
    if next.get() != want {
        let wrong = format!("it looks for GRUB in sector {}", next.get());
        return Err(Damage::new("mbr boot code", 0x1b0, wrong).should(want.to_string()));
    }
    Ok(true)
}
