//! Whole media, and the faults in them that other tools miss.

use std::path::Path;

use lab::tools::have;
use talforge::blob::{Blob, Builder};
use talforge::digest::Digest;
use talforge::inspect::memo::Memo;
use talforge::inspect::{self, Boot, Door, Firmware, Kind, Medium};
use talforge::units::SectorSize;

use crate::rig::{CONFIG, PROGRAMS, blob, folder, label, rig, shell};

fn open(path: &Path) -> Medium {
    inspect::open(&blob(path), &mut Memo::default()).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

fn damage(path: &Path) -> String {
    let read = inspect::open(&blob(path), &mut Memo::default());
    read.map_or_else(|e| e.to_string(), |medium| panic!("{path:?} reads: {medium:?}"))
}

/// The boot has the samples' config.
fn assert_config(boot: &Boot) {
    let found = boot.found.as_ref().unwrap();
    assert_eq!(&*found.bytes, CONFIG.as_bytes());
    assert_eq!(found.digest, Digest::of(CONFIG.as_bytes()));
    assert_eq!((found.mode, found.uid, found.gid), (0o400, 0, 0));
    assert_eq!(found.label.as_deref(), label());
    assert_eq!(found.image, "0.sqsh");
    assert_eq!(found.version, found.digest.to_string());
    assert_eq!(boot.layers.len(), 1);
    assert_eq!(boot.layers[0].name, "embedded-config");
}

fn assert_addon_boots(medium: &Medium, esp: u64) {
    let [main, reset] = medium.boots.as_slice() else { panic!("{:?}", medium.boots) };
    let addon = "EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi";
    let firmware = Firmware::Uefi {
        esp,
        uki: "EFI/Linux/Talos-v1.13.9.efi".into(),
        addons: vec![addon.into()],
    };
    for boot in [main, reset] {
        assert_eq!(boot.firmware, firmware);
        assert_eq!(boot.kernel.as_deref(), Some("6.18.45-talos"));
        assert_eq!(boot.stub, Some(257));
        assert_config(boot);
    }
    assert_eq!(main.title, "Talos (v1.13.9)");
    assert_eq!(main.profile.as_deref(), Some("main"));
    assert_eq!(main.cmdline, "talos.platform=metal console=tty0 extra=1");
    assert_eq!(reset.title, "Talos (v1.13.9) (Reset system disk)");
    assert_eq!(reset.profile.as_deref(), Some("reset"));
    assert_eq!(reset.cmdline, "talos.platform=metal wipe extra=1");
    let other = medium.notes.iter().any(|n| n.contains("other.addon.efi` is passed over"));
    assert!(other, "{:?}", medium.notes);
}

#[test]
fn a_disk_boots_its_uki_with_the_addon() {
    if !have(PROGRAMS) {
        return;
    }
    let medium = open(&rig().join("disk.raw"));
    assert_eq!(medium.kind, Kind::Disk { sector: SectorSize::B512 });
    assert!(medium.meta.as_ref().unwrap().values.is_empty());
    assert_eq!(medium.doors.iter().collect::<Vec<_>>(), [&Door::UefiDisk]);
    assert_addon_boots(&medium, 1 << 20);
    assert_eq!(medium.notes.len(), 1, "{:?}", medium.notes);
    let labels: Vec<_> = medium.regions.iter().map(|r| r.label.as_str()).collect();
    let (front, rest) = labels.split_at(3);
    assert_eq!(front, ["mbr", "gpt header", "partition 1 `EFI`"]);
    let (files, back) = rest.split_at(rest.len() - 2);
    assert_eq!(back, ["partition 2 `META`", "backup gpt header"]);
    assert!(files.iter().any(|label| label.ends_with(".addon.efi`")), "{files:?}");
}

#[test]
fn a_disk_of_4096_byte_sectors_boots_alike() {
    if !have(PROGRAMS) {
        return;
    }
    let medium = open(&rig().join("disk4k.raw"));
    assert_eq!(medium.kind, Kind::Disk { sector: SectorSize::B4096 });
    assert_addon_boots(&medium, 1 << 20);
}

#[test]
fn an_iso_for_uefi_boots_from_cd_and_stick() {
    if !have(PROGRAMS) {
        return;
    }
    let medium = open(&rig().join("uefi.iso"));
    assert_eq!(medium.kind, Kind::Iso);
    assert_eq!(medium.volume_id.as_deref(), Some("TALOS_V1_13_9"));
    assert_eq!(medium.doors, [Door::UefiCd, Door::UefiDisk].into());
    let esp = medium.regions.iter().find(|r| r.label == "partition 2").unwrap();
    assert_addon_boots(&medium, esp.range.start);
}

#[test]
fn a_hybrid_iso_boots_through_all_four_doors() {
    if !have(PROGRAMS) {
        return;
    }
    let mut medium = open(&rig().join("hybrid.iso"));
    let doors = [Door::UefiCd, Door::UefiDisk, Door::BiosCd, Door::BiosDisk];
    assert_eq!(medium.doors, doors.into());
    let bios = medium.boots.split_off(2);
    let esp = medium.regions.iter().find(|r| r.label == "partition 2 `Appended2`").unwrap();
    assert_addon_boots(&medium, esp.range.start);
    assert_config(&bios[0]);
    assert_eq!(bios[0].title, "Talos ISO");
    assert_eq!(bios[0].cmdline, "talos.platform=metal a=${b}");
    assert_eq!(bios[0].kernel.as_deref(), Some("6.18.45-talos"));
    let initrds = vec!["/boot/initramfs.xz".into(), "/boot/config.cpio".into()];
    assert_eq!(bios[0].firmware, Firmware::Bios { linux: "/boot/vmlinuz".into(), initrds });
    assert!(bios[1].found.is_none(), "the second entry has no config segment");
}

#[test]
fn a_uki_and_an_initramfs_are_media_by_themselves() {
    if !have(PROGRAMS) {
        return;
    }
    let uki = open(&rig().join("whole.efi"));
    assert_eq!(uki.kind, Kind::Uki);
    assert_eq!(uki.boots.len(), 2);
    assert_config(&uki.boots[1]);
    assert!(uki.regions.iter().any(|r| r.label == ".initrd"));
    for name in ["both.xz", "zstd.xz", "xz.xz"] {
        let initrd = open(&rig().join(name));
        assert_eq!(initrd.kind, Kind::Initrd);
        assert_config(&initrd.boots[0]);
        assert_eq!(initrd.boots[0].firmware, Firmware::Elsewhere);
        assert!(initrd.notes.is_empty(), "{:?}", initrd.notes);
    }
    assert!(open(&rig().join("initramfs.xz")).boots[0].found.is_none());
}

#[test]
fn an_older_stub_passes_the_config_over() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("stub254");
    let raw = rig().join("disk.raw");
    let script = format!(
        "cp --sparse=always {} d; dd if={}/esp254.img of=d bs=1M seek=1 conv=notrunc status=none",
        raw.display(),
        rig().display()
    );
    shell(&dir, &script);
    let medium = open(&dir.join("d"));
    assert_eq!(medium.boots[0].stub, Some(254));
    assert!(medium.boots.iter().all(|b| b.found.is_none() && b.layers.is_empty()));
    let why = "systemd-stub 254 takes no initrd";
    assert!(medium.notes.iter().any(|n| n.contains(why)), "{:?}", medium.notes);
}

/// Scripts that break a copy `d` of a sample, and what the reader must say of it.
const FAULTS: &[(&str, &str, &str)] = &[
    ("disk.raw", "sgdisk -t 1:8300 d", "there is no EFI system partition"),
    ("disk.raw", "truncate -s -1M d", "inside the disk"),
    ("disk.raw", "printf x | dd of=d bs=1 seek=568 conv=notrunc", "its checksum is"),
    ("disk.raw", "printf x | dd of=d bs=1 seek=1100 conv=notrunc", "the header has the checksum"),
    ("disk.raw", "dd if=/dev/zero of=d bs=512 count=1 conv=notrunc", "no MBR that protects it"),
    ("disk.raw", "dd if=/dev/zero of=d bs=512 count=1 seek=1 conv=notrunc", "there is none"),
    ("disk.raw", "sgdisk -d 2 -n 2:0:+2M -c 2:META d", "it has 2097152 bytes, should be 1048576"),
    ("disk.raw", "mdel -i d@@1M ::EFI/boot/BOOTX64.efi", "it has no boot loader"),
    ("disk.raw", "mmove -i d@@1M ::EFI/Linux/Talos-v1.13.9.efi ::/", "systemd-boot finds no UKI"),
    (
        "disk.raw",
        "mdel -i d@@1M ::EFI/boot/BOOTX64.efi; mcopy -i d@@1M grub.cfg ::EFI/boot/BOOTX64.EFI",
        "MZ",
    ),
    ("uefi.iso", "truncate -s -20M d", "and the medium"),
    ("hybrid.iso", "printf xx | dd of=d bs=1 seek=432 conv=notrunc", "it looks for GRUB in sector"),
    ("hybrid.iso", "truncate -s -20M d", "and the medium"),
    ("whole.efi", "truncate -s 13000 d", "lies past the file"),
    ("whole.efi", "objcopy -R .osrel whole.efi d", "no section `.osrel`"),
    ("whole.efi", "objcopy -R .linux whole.efi d", "no section `.linux`"),
    ("both.xz", "truncate -s -600 d", "ends at"),
    ("both.xz", "(cat padded.xz; printf x; cat config.cpio) > d", "neither an archive nor"),
    ("both.xz", "(cat padded.xz; printf 0; cat config.cpio) > d", "its magic number is wrong"),
    (
        "both.xz",
        "(cat config.cpio; printf '\\0'; cat initramfs.xz) > d",
        "should be at a multiple of 4",
    ),
    ("both.xz", "(cat initramfs.xz; xz < config.cpio) > d", "xz with CRC64"),
    ("both.xz", "(cat initramfs.xz; gzip < config.cpio) > d", "gzip"),
    ("both.xz", "(cat padded.xz; cd seg; ls | cpio -o -H odc --quiet) > d", "old archive"),
    (
        "both.xz",
        "(cat padded.xz; cd seg; printf 'extensions.yaml\\n' | cpio -o -H newc --quiet) > d",
        "`0.sqsh` is not in the initrd",
    ),
    (
        "both.xz",
        "(cat padded.xz; printf 'usr/f\\n' > l; mkdir -p usr; echo > usr/f; cpio -o -H newc --quiet < l) > d",
        "no directory before it",
    ),
    (
        "both.xz",
        "cp -rL seg s; echo layers: [ > s/extensions.yaml; (cat padded.xz; cd s; ls | cpio -o -H newc --quiet) > d",
        "it is malformed",
    ),
    (
        "both.xz",
        "cp -rL seg s; : > s/extensions.yaml; (cat padded.xz; cd s; ls | cpio -o -H newc --quiet) > d",
        "it is malformed",
    ),
    (
        "both.xz",
        "cp -rL seg s; sed -i s/version:.[0-9a-f]/version:\\ x/ s/extensions.yaml; (cat padded.xz; cd s; ls | cpio -o -H newc --quiet) > d",
        "the config's digest is",
    ),
    (
        "both.xz",
        "cp -rL seg s; mksquashfs ext s/0.sqsh -comp gzip -noappend -quiet -no-progress; (cat padded.xz; cd s; ls | cpio -o -H newc --quiet) > d",
        "its compressor has the number 1",
    ),
    (
        "both.xz",
        "cp -rL seg s; mksquashfs ext s/0.sqsh -comp xz -nopad -noappend -quiet -no-progress; (cat padded.xz; cd s; ls | cpio -o -H newc --quiet) > d",
        "the device for it has",
    ),
];

#[test]
fn each_fault_is_named() {
    if !have(PROGRAMS) {
        return;
    }
    for (number, (sample, script, want)) in FAULTS.iter().enumerate() {
        let dir = folder(&format!("fault{number}"));
        let rig = rig().display();
        shell(
            &dir,
            &format!(
                "cp --sparse=always {rig}/{sample} d; ln -s {rig}/* . 2>/dev/null || :\n( {script} ) 2>&1"
            ),
        );
        let said = damage(&dir.join("d"));
        assert!(said.contains(want), "{script}: {said}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

/// Scripts that alter a copy `d` of a sample so that it still boots, and the note that it gets.
const ODDITIES: &[(&str, &str, &str)] = &[
    (
        "disk.raw",
        "dd if=/dev/zero of=d bs=512 count=1 seek=81919 conv=notrunc",
        "backup GPT is missing",
    ),
    ("disk.raw", "truncate -s +1M d", "not in the disk's last one"),
    ("disk.raw", "sgdisk -c 2:STATE d", "there is no partition `META`"),
    (
        "disk.raw",
        "mcopy -n -i d@@1M ::EFI/boot/BOOTX64.efi x; mdel -i d@@1M ::EFI/boot/BOOTX64.efi; mcopy -i d@@1M x ::EFI/boot/BOOTX64.EFI",
        "is not named `BOOTX64.efi`",
    ),
    ("hybrid.iso", "dd if=/dev/zero of=d bs=440 count=1 conv=notrunc", "the MBR has no boot code"),
    (
        "uefi.iso",
        "dd if=/dev/zero of=d bs=512 count=1 conv=notrunc",
        "no UEFI starts it from a stick",
    ),
    (
        "uefi.iso",
        "printf '\\0' | dd of=d bs=1 seek=34823 conv=notrunc",
        "no UEFI starts it from a CD",
    ),
];

#[test]
fn what_is_odd_but_boots_is_noted() {
    if !have(PROGRAMS) {
        return;
    }
    for (number, (sample, script, want)) in ODDITIES.iter().enumerate() {
        let dir = folder(&format!("oddity{number}"));
        let rig = rig().display();
        shell(&dir, &format!("cp --sparse=always {rig}/{sample} d\n( {script} ) 2>&1"));
        let medium = open(&dir.join("d"));
        assert_config(&medium.boots[0]);
        let noted = medium.notes.iter().any(|note| note.contains(want));
        assert!(noted, "{script}: {:?}", medium.notes);
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_base_is_decoded_once_for_many_media() {
    if !have(PROGRAMS) {
        return;
    }
    let base = blob(&rig().join("initramfs.xz"));
    let config = Blob::from_bytes("config", std::fs::read(rig().join("config.cpio")).unwrap());
    let image = Builder::default().blob(&base).align(4).blob(&config).finish();
    let mut memo = Memo::default();
    inspect::open(&image, &mut memo).unwrap();
    // A copy of which only the first bytes are right: where it is known for one, it is not read.
    let mut bytes = base.to_vec().unwrap();
    bytes[16..].fill(0xff);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let copy = Blob::from_file("copy", file).unwrap();
    let image = Builder::default().blob(&copy).align(4).blob(&config).finish();
    assert!(inspect::open(&image, &mut memo).is_err());
    memo.alias(&copy, &base);
    let medium = inspect::open(&image, &mut memo).unwrap();
    assert!(medium.notes.is_empty(), "{:?}", medium.notes);
    assert_config(&medium.boots[0]);
}
