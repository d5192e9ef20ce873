//! EFI system partitions, judged by fsck.fat and mtools.

use talforge::talos::Arch;

use crate::fixture::{self, TALOS};
use crate::kinds::{Embed, Kind, build};
use crate::oracle::{self, Volume};

const UEFI: [Kind; 4] = [Kind::Iso, Kind::Hybrid, Kind::Disk512, Kind::Disk4096];

/// The names that must be on a volume, in this very case, sorted.
fn wanted(arch: Arch, kind: Kind, embed: Embed) -> Vec<String> {
    let loader = match (kind, arch) {
        (Kind::Iso | Kind::Hybrid, Arch::Amd64) => "EFI/BOOT/BOOTX64.EFI",
        (Kind::Iso | Kind::Hybrid, Arch::Arm64) => "EFI/BOOT/BOOTAA64.EFI",
        (_, Arch::Amd64) => "EFI/boot/BOOTX64.efi",
        (_, Arch::Arm64) => "EFI/boot/BOOTAA64.efi",
    };
    let uki = format!("EFI/Linux/Talos-{TALOS}.efi");
    let mut names = vec![loader.to_owned(), uki.clone(), "loader/loader.conf".to_owned()];
    if embed == Embed::Auto {
        names.push(format!("{uki}.extra.d/talforge.addon.efi"));
    }
    if matches!(kind, Kind::Iso | Kind::Hybrid) {
        names.push("loader/random-seed".to_owned());
    }
    names.sort();
    names
}

fn sector(kind: Kind) -> u64 {
    if kind == Kind::Disk4096 { 4096 } else { 512 }
}

#[test]
fn every_efi_volume_is_clean_and_holds_the_files_that_firmware_and_talos_look_for() {
    if !fixture::have(&oracle::TOOLS) || !fixture::have(&["grub-mkimage"]) {
        return;
    }
    for arch in Arch::ALL {
        let (_site, media) = build(arch, &UEFI).unwrap();
        for medium in media {
            let volume = Volume::of(&medium.path, sector(medium.kind)).unwrap();
            volume.check().unwrap();
            let names = volume.names().unwrap();
            assert_eq!(names, wanted(arch, medium.kind, medium.embed), "{medium:?}");
            let is_iso = matches!(medium.kind, Kind::Iso | Kind::Hybrid);
            let marked = if is_iso { vec!["loader/random-seed"] } else { vec![] };
            assert_eq!(volume.read_only().unwrap(), marked, "{medium:?}");
        }
    }
}

/// The boot loader and its files are on the volume as they came, or as they must read.
#[test]
fn mcopy_finds_the_boot_loader_and_its_files_as_they_should_be() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    for arch in Arch::ALL {
        let (site, media) = build(arch, &[Kind::Iso, Kind::Disk512]).unwrap();
        for medium in media {
            let volume = Volume::of(&medium.path, 512).unwrap();
            let mut names = wanted(arch, medium.kind, Embed::None);
            names.retain(|name| name.contains("/BOOT") || name.contains("/boot/"));
            let content = volume.content(&names[0]);
            assert_eq!(content.unwrap(), site.read("assets/systemd-boot.efi").unwrap());
            let conf = String::from_utf8(volume.content("loader/loader.conf").unwrap()).unwrap();
            match medium.kind {
                Kind::Iso => {
                    assert_eq!(
                        conf,
                        "# systemd-boot configuration\n\ntimeout 10\n\nsecure-boot-enroll off\n"
                    );
                    assert_eq!(volume.content("loader/random-seed").unwrap(), [0; 32]);
                }
                _ => assert_eq!(conf, "# systemd-boot configuration\n\ntimeout 3\n"),
            }
        }
    }
}

/// `inspect` names the files that mtools finds, and tells of them what objdump finds.
#[test]
fn inspect_tells_what_foreign_programs_find() {
    if !fixture::have(&oracle::TOOLS) || !fixture::have(&["grub-mkimage"]) {
        return;
    }
    for arch in Arch::ALL {
        let (site, media) = build(arch, &UEFI).unwrap();
        for medium in media {
            let volume = Volume::of(&medium.path, sector(medium.kind)).unwrap();
            let path = medium.path.display().to_string();
            let told =
                site.run(&["inspect", "--json", &path]).unwrap().well().unwrap().json().unwrap();
            let boot = &told["boots"][0];
            let uefi = &boot["firmware"]["uefi"];
            assert_eq!(uefi["esp"], volume.place.start);
            let uki = volume.content(uefi["uki"].as_str().unwrap()).unwrap();
            let lines = oracle::sections(arch, &uki).unwrap();
            let lines = lines.iter().filter(|section| section.name == ".cmdline");
            let lines: Vec<_> =
                lines.map(|s| String::from_utf8(s.bytes.clone()).unwrap()).collect();
            let shown: Vec<_> = told["boots"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|boot| boot["firmware"]["uefi"].is_object())
                .map(|boot| boot["cmdline"].as_str().unwrap())
                .collect();
            assert_eq!(shown, lines);
            let addons: Vec<_> =
                uefi["addons"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            let names = volume.names().unwrap();
            let found: Vec<_> = names.iter().filter(|name| name.ends_with(".addon.efi")).collect();
            assert_eq!(addons, found);
            assert_eq!(boot["config"].is_null(), medium.embed == Embed::None);
        }
    }
}
