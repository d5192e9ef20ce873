//! Media that were damaged after they were built: `inspect` tells, and never falls over.
//!
//! What a machine would do without (a copy of a table, say) is told as a note; all else ends with
//! exit code 5, or finds no config.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use proptest::prelude::*;
use serde_json::Value;
use talforge::blob::{Blob, Builder};
use talforge::inspect::{self, memo::Memo};
use talforge::talos::Arch;

use crate::fixture::{self, Site, TALOS};
use crate::kinds::{Embed, Kind, Medium, build};
use crate::oracle::{self, Volume};

/// A medium that can be damaged and mended.
struct Patient<'a> {
    site: &'a Site,
    /// Its path from the site's folder.
    name: String,
    bytes: Vec<u8>,
    /// The digest of the config that was meant.
    config: String,
}

impl<'a> Patient<'a> {
    fn new(site: &'a Site, medium: &Medium) -> Result<Self> {
        let name = medium.path.strip_prefix(site.folder())?.display().to_string();
        let config = talforge::digest::Digest::of(&site.read("cp.yaml")?).to_string();
        Ok(Self { site, bytes: site.read(&name)?, name, config })
    }

    /// Where the bytes occur in the medium, if they do once.
    fn find(&self, what: &[u8]) -> Result<usize> {
        let mut found = memchr(&self.bytes, what);
        let first = found.next().context("the medium holds the bytes")?;
        ensure!(found.next().is_none(), "the medium holds them twice");
        Ok(first)
    }

    /// What `inspect` says, where bytes are overwritten.
    fn with(&self, at: usize, new: &[u8]) -> Result<String> {
        let file = fs::File::options().write(true).open(self.site.path(&self.name))?;
        ensure!(self.bytes.get(at..at + new.len()) != Some(new), "nothing would change");
        file.write_all_at(new, at as u64)?;
        let said = self.inspect(&self.name);
        file.write_all_at(&self.bytes[at..at + new.len()], at as u64)?;
        said
    }

    /// What `inspect` says, where one byte has all its bits flipped.
    fn flip(&self, at: usize) -> Result<String> {
        self.with(at, &[!self.bytes[at]])
    }

    /// What `inspect` says of the first bytes alone.
    fn cut(&self, len: usize) -> Result<String> {
        self.site.write("cut", &self.bytes[..len])?;
        self.inspect("cut")
    }

    /// In a line: the damage, or what is still found and what is noted.
    fn inspect(&self, name: &str) -> Result<String> {
        let said = self.site.run(&["inspect", "--json", name])?;
        let events = said.events()?;
        let event = events.first().context("something is said")?;
        match said.code {
            Some(0) => Ok(self.found(event)),
            Some(5) => Ok(format!("damage: {}\n", event["message"].as_str().unwrap_or_default())),
            code => anyhow::bail!("exit code {code:?}: {}", said.err),
        }
    }

    fn found(&self, medium: &Value) -> String {
        let boots = medium["boots"].as_array().map_or(&[][..], Vec::as_slice);
        let configs = boots.iter().map(|boot| match boot["config"]["sha256"].as_str() {
            None => "none",
            Some(digest) if digest == self.config => "meant",
            Some(_) => "other",
        });
        let notes = medium["notes"].as_array().map_or(&[][..], Vec::as_slice);
        let notes: Vec<_> = notes.iter().filter_map(Value::as_str).collect();
        format!("configs {}; notes: {}\n", configs.collect::<Vec<_>>().join(", "), notes.join("; "))
    }
}

/// The places where `what` occurs in `bytes`.
fn memchr<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        // A position of the first byte, then the rest: images are long and mostly zeros.
        loop {
            let at = from + bytes.get(from..)?.iter().position(|byte| *byte == what[0])?;
            from = at + 1;
            if bytes[at..].starts_with(what) {
                return Some(at);
            }
        }
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize> {
    let four = bytes.get(at..at + 4).context("four bytes")?.try_into()?;
    Ok(usize::try_from(u32::from_le_bytes(four))?)
}

/// A line that says what was damaged and what came of it.
fn line(what: &str, said: Result<String>) -> String {
    format!("{what}: {}", said.expect("inspect ends with exit code 0 or 5"))
}

fn one(arch: Arch, kind: Kind) -> Result<(Site, Medium)> {
    let (site, media) = build(arch, &[kind])?;
    let medium = media.into_iter().find(|medium| medium.embed == Embed::Auto);
    Ok((site, medium.context("the site has one")?))
}

#[test]
fn damage_to_an_isos_own_structures_is_told() {
    if !fixture::have(&oracle::TOOLS) || !fixture::have(&["grub-mkimage"]) {
        return;
    }
    let (site, medium) = one(Arch::Amd64, Kind::Hybrid).unwrap();
    let iso = Patient::new(&site, &medium).unwrap();
    let boot_record = 17 * 2048;
    let catalog = u32_at(&iso.bytes, boot_record + 0x47).unwrap() * 2048;
    let kernel = memchr(&iso.bytes, b"linux /boot/vmlinuz").next().unwrap() + 12;
    let volume = Volume::of(&medium.path, 512).unwrap();
    let addon = format!("EFI/Linux/Talos-{TALOS}.efi.extra.d/talforge.addon.efi");
    let addon = volume.content(&addon).unwrap();
    // The same segment lies in the ISO's own tree, before the EFI volume.
    let segment = oracle::section(medium.arch, &addon, ".initrd").unwrap();
    let segment = memchr(&iso.bytes, &segment).next().unwrap();
    let said = [
        line("nothing", iso.inspect(&iso.name)),
        line("descriptor", iso.flip(16 * 2048 + 1)),
        line("boot record", iso.flip(boot_record + 7)),
        line("catalog's first entry", iso.flip(catalog)),
        line("catalog's checksum", iso.flip(catalog + 0x1c)),
        line("catalog's EFI platform", iso.with(catalog + 0x41, &[0x33])),
        line("boot code's sector", iso.flip(0x1b0)),
        line("primary GPT", iso.flip(512 + 16)),
        line("backup GPT", iso.flip(iso.bytes.len() - 512)),
        line("menu's kernel", iso.flip(kernel)),
        line("GRUB's segment", iso.with(segment, b"070702")),
        line("half", iso.cut(iso.bytes.len() / 2)),
        line("system area", iso.cut(32 << 10)),
        line("nothing left", iso.cut(0)),
    ];
    insta::assert_snapshot!(fixture::steady(&said.concat()), @r"
    nothing: configs meant, meant, meant, meant; notes: 
    descriptor: configs meant, meant; notes: `BOOTX64.EFI` on the EFI partition is not named `BOOTX64.efi`, so upgrades will not find it; `BOOT` on the EFI partition is not named `boot`, so upgrades will not find it; there is no partition `META`, so Talos is not installed
    boot record: configs meant, meant; notes: no BIOS starts it: there is a `boot/grub/grub.cfg`, but no boot entry for it; no UEFI starts it from a CD drive: the boot catalog has no EFI entry
    catalog's first entry: damage: `out/hybrid-auto.iso` does not boot as it is: boot catalog at 0x…: it does not start with a validation entry
    catalog's checksum: damage: `out/hybrid-auto.iso` does not boot as it is: boot catalog at 0x…: the sum of its validation entry is not 0
    catalog's EFI platform: configs meant, meant, meant, meant; notes: no UEFI starts it from a CD drive: the boot catalog has no EFI entry
    boot code's sector: damage: `out/hybrid-auto.iso` does not boot as it is: mbr boot code at 0x1b0: it looks for GRUB in sector 35, should be 220
    primary GPT: damage: `out/hybrid-auto.iso` does not boot as it is: gpt header at 0x200: its checksum is 0x…, should be 0x…
    backup GPT: configs meant, meant, meant, meant; notes: the backup GPT is missing: there is none in sector 72279
    menu's kernel: damage: `out/hybrid-auto.iso` does not boot as it is: `boot/grub/grub.cfg`: grub.cfg at 0x0: it is no UTF-8
    GRUB's segment: damage: `out/hybrid-auto.iso` does not boot as it is: menu entry `Talos ISO`, initrd: cpio entry at 0x…: the sum of its bytes is 0x…, should be 0x0
    half: damage: `cut` does not boot as it is: volume descriptor at 0x…: the volume has 37007360 bytes and the medium 18503680
    system area: damage: `cut` does not boot as it is: gpt header at 0x200: partitions may lie from 0x… to 0x…, should be inside the disk of 0x… bytes
    nothing left: damage: `cut` does not boot as it is: medium at 0x0: it is neither an ISO, a disk, a UKI nor an initramfs
    ");
}

#[test]
fn damage_to_a_disks_tables_and_volumes_is_told() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    let (site, medium) = one(Arch::Amd64, Kind::Disk512).unwrap();
    let disk = Patient::new(&site, &medium).unwrap();
    let esp = 1 << 20;
    let sectors = |at| u16::from_le_bytes([disk.bytes[esp + at], disk.bytes[esp + at + 1]]);
    let fat = esp + usize::from(sectors(0x0e)) * 512;
    let root = fat + 2 * u32_at(&disk.bytes, esp + 0x24).unwrap() * 512;
    let folder = root + memchr(&disk.bytes[root..root + 512], b"EFI        \x10").next().unwrap();
    let both = {
        let last = disk.bytes.len() - 512;
        let file = fs::File::options().write(true).open(site.path(&disk.name)).unwrap();
        file.write_all_at(b"x", last as u64).unwrap();
        let said = disk.flip(512);
        file.write_all_at(&disk.bytes[last..=last], last as u64).unwrap();
        said
    };
    let said = [
        line("nothing", disk.inspect(&disk.name)),
        line("protective MBR", disk.flip(510)),
        line("primary GPT", disk.flip(512)),
        line("primary GPT's checksum", disk.flip(512 + 16)),
        line("an entry", disk.flip(1024)),
        line("both GPTs", both),
        line("boot sector", disk.flip(esp + 510)),
        line("bytes per sector", disk.with(esp + 11, &[0, 0])),
        line("file table", disk.with(fat + 8, &[0; 4])),
        line("root's folder `EFI`", disk.with(folder, &[0xe5])),
        line("root's end", disk.with(root, &[0; 64])),
        line("half of the volume", disk.cut(esp + (18 << 20))),
        line("no backup", disk.cut(disk.bytes.len() - (1 << 20))),
    ];
    insta::assert_snapshot!(fixture::steady(&said.concat()), @r"
    nothing: configs meant, meant; notes: 
    protective MBR: damage: `out/disk-auto.raw` does not boot as it is: mbr at 0x1fe: there is a GPT, but no MBR that protects it
    primary GPT: damage: `out/disk-auto.raw` does not boot as it is: gpt header at 0x200: the MBR says that there is a GPT, and there is none
    primary GPT's checksum: damage: `out/disk-auto.raw` does not boot as it is: gpt header at 0x200: its checksum is 0x…, should be 0x…
    an entry: damage: `out/disk-auto.raw` does not boot as it is: gpt entries at 0x400: the header has the checksum 0x…, should be 0x…
    both GPTs: damage: `out/disk-auto.raw` does not boot as it is: gpt header at 0x200: the MBR says that there is a GPT, and there is none
    boot sector: damage: `out/disk-auto.raw` does not boot as it is: efi partition: fat boot sector at 0x0: its signature is missing, should be 55 aa at 0x1fe
    bytes per sector: damage: `out/disk-auto.raw` does not boot as it is: efi partition: fat boot sector at 0x0: it is no FAT volume's
    file table: damage: `out/disk-auto.raw` does not boot as it is: efi partition: fat at 0x…: a chain goes to cluster 0, should be 2 to 72561
    root's folder `EFI`: damage: `out/disk-auto.raw` does not boot as it is: efi partition: efi partition at 0x…: it has no boot loader, should be EFI/BOOT/BOOTX64.EFI or EFI/BOOT/BOOTAA64.EFI
    root's end: damage: `out/disk-auto.raw` does not boot as it is: efi partition: efi partition at 0x…: it has no boot loader, should be EFI/BOOT/BOOTX64.EFI or EFI/BOOT/BOOTAA64.EFI
    half of the volume: damage: `cut` does not boot as it is: gpt header at 0x200: partitions may lie from 0x… to 0x…, should be inside the disk of 0x… bytes
    no backup: damage: `cut` does not boot as it is: gpt header at 0x200: partitions may lie from 0x… to 0x…, should be inside the disk of 0x… bytes
    ");
}

#[test]
fn damage_to_what_talos_boots_is_told() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    let (site, medium) = one(Arch::Amd64, Kind::Iso).unwrap();
    let iso = Patient::new(&site, &medium).unwrap();
    let volume = Volume::of(&medium.path, 512).unwrap();
    let uki = format!("EFI/Linux/Talos-{TALOS}.efi");
    let place = |name: &str| {
        let content = volume.content(name).unwrap();
        // The headers alone may occur twice: loader and stub are alike.
        iso.find(&content).unwrap()
    };
    let addon = place(&format!("{uki}.extra.d/talforge.addon.efi"));
    let uki = place(&uki);
    let loader = place("EFI/BOOT/BOOTX64.EFI");
    let in_addon = |what: &[u8]| addon + memchr(&iso.bytes[addon..], what).next().unwrap();
    let layer = in_addon(b"hsqs");
    let list = in_addon(b"layers:");
    let own = in_addon(b"image: 1.sqsh");
    let version = own + memchr(&iso.bytes[own..], b"version: ").next().unwrap() + 9;
    let name = iso.find(b"t\0a\0l\0f\0o\0\x0f").unwrap();
    let initrd = uki + memchr(&iso.bytes[uki..], b"\x28\xb5\x2f\xfd").next().unwrap();
    let said = [
        line("loader", iso.flip(loader)),
        line("loader's machine", iso.with(loader + 0x84, &[0x64, 0xaa])),
        line("UKI's signature", iso.flip(uki + 0x80)),
        line("UKI's section table", iso.flip(uki + 0x80 + 24 + 240 + 14)),
        line(
            "UKI's kernel",
            iso.flip(uki + memchr(&iso.bytes[uki + 1..], b"MZ").next().unwrap() + 1),
        ),
        line("base initramfs", iso.flip(initrd)),
        line("base initramfs' end", iso.flip(initrd + 50_000)),
        line("addon's signature", iso.flip(addon + 0x80)),
        line("addon's machine", iso.with(addon + 0x84, &[0x64, 0xaa])),
        line("addon's kernel", iso.with(in_addon(b"6.18.45"), b"6.19")),
        line("archive's magic", iso.with(in_addon(b"070701"), b"070702")),
        line("archive's length", iso.flip(in_addon(b"070701") + 54)),
        line("layer's magic", iso.flip(layer)),
        line("layer's superblock", iso.flip(layer + 0x40)),
        line("layer's data", iso.flip(layer + 120)),
        line("layer's length", iso.flip(layer + 40)),
        line("list", iso.with(list, b"lay[rs:")),
        line("list's key", iso.with(list, b"lagers:")),
        line("list's image", iso.with(own, b"image: 2.sqsh")),
        line(
            "list's digest",
            iso.with(version, if iso.bytes[version] == b'0' { b"1" } else { b"0" }),
        ),
        // Without its long name it is `TALFOR~1.EFI`, which is no addon's.
        line("addon's name", iso.flip(name + 12)),
    ];
    insta::assert_snapshot!(fixture::steady(&said.concat()), @"
    loader: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/BOOT/BOOTX64.EFI`: dos header at 0x0: it is no PE image, should be MZ and PE
    loader's machine: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/BOOT/BOOTX64.EFI`: pe header at 0x0: its machine is 0x…, should be 0x…
    UKI's signature: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`: dos header at 0x0: it is no PE image, should be MZ and PE
    UKI's section table: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`: pe section header at 0x188: `.text` lies past SizeOfImage
    UKI's kernel: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`: pe section at 0x…: `.linux` is no EFI program
    base initramfs: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, initrd: initrd segment at 0x0: neither an archive nor a compressed one
    base initramfs' end: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, initrd, segment at 0x0: zstd frame at 0x…: its bytes are damaged
    addon's signature: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, `EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi`: dos header at 0x0: it is no PE image, should be MZ and PE
    addon's machine: configs none, none; notes: addon `EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi` is passed over: it is for machine 0x…
    addon's kernel: configs none, none; notes: addon `EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi` is passed over: it is for the kernel `6.19.45-talos`
    archive's magic: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, initrd: cpio entry at 0x…: the sum of its bytes is 0x…, should be 0x0
    archive's length: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, initrd: cpio header at 0x…: a field of it is no number
    layer's magic: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, layer `1.sqsh`: squashfs superblock at 0x0: it is no squashfs of version 4.0
    layer's superblock: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, layer `1.sqsh`: squashfs metadata at 0x…: it ends at 0x… of 0x… bytes
    layer's data: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, layer `1.sqsh`: squashfs block at 0x66: it does not unpack
    layer's length: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, layer `1.sqsh`: squashfs table at 0x…: it ends at 0x…, should be 0x…
    list: configs none, none; notes: 
    list's key: configs none, none; notes: 
    list's image: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`: extensions.yaml at 0x0: the image `2.sqsh` is not in the initrd
    list's digest: damage: `out/iso-auto.iso` does not boot as it is: efi partition, `EFI/Linux/Talos-v1.13.9.efi`, layer `1.sqsh`: embedded config at 0x0: the config's digest is 61e32ea1e00240b79f40676a33d5eaecb3d119f3555e4e78a5b5de1fe07a1013, should be as `extensions.yaml` has it: 01e32ea1e00240b79f40676a33d5eaecb3d119f3555e4e78a5b5de1fe07a1013
    addon's name: configs none, none; notes:
    ");
}

/// A medium with one byte changed.
fn changed(good: &Blob, at: u64, bits: u8) -> Blob {
    let byte = good.slice(at..at + 1).to_vec().map(|byte| byte[0]).unwrap_or_default();
    let (before, after) = (good.slice(0..at), good.slice(at + 1..good.len()));
    Builder::default().blob(&before).bytes("damage", [byte ^ bits]).blob(&after).finish()
}

/// The offsets of all bytes that are not zero.
fn written(path: &Path) -> Result<Vec<u64>> {
    let bytes = fs::read(path)?;
    let blocks = bytes.chunks(4096).zip((0u64..).step_by(4096));
    let blocks = blocks.filter(|(block, _)| **block != [0; 4096][..block.len()]);
    let written = blocks.flat_map(|(block, start)| block.iter().zip(start..));
    Ok(written.filter(|(byte, _)| **byte != 0).map(|(_, at)| at).collect())
}

/// Whatever byte is wrong, no boot is said to find a config that was not meant.
#[test]
fn no_wrong_byte_gives_another_config() {
    if !fixture::have(&["grub-mkimage"]) {
        return;
    }
    for kind in [Kind::Hybrid, Kind::Disk512] {
        let (site, medium) = one(Arch::Amd64, kind).unwrap();
        let meant = site.read("cp.yaml").unwrap();
        let file = fs::File::open(&medium.path).unwrap();
        let good = Blob::from_file("medium", file).unwrap();
        let written = written(&medium.path).unwrap();
        let cases =
            ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
        let damage = (any::<prop::sample::Index>(), 1u8..);
        proptest!(cases, |((at, bits) in damage)| {
            let at = *at.get(&written);
            let damaged = changed(&good, at, bits);
            if let Ok(medium) = inspect::open(&damaged, &mut Memo::default()) {
                let found = medium.boots.iter().filter_map(|boot| boot.found.as_ref());
                let other = found.filter(|found| *found.bytes != *meant).count();
                prop_assert_eq!(other, 0, "byte {:#x} ^ {:#x}", at, bits);
            }
        });
    }
}
