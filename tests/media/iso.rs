//! ISOs, judged by xorriso and partition tools.

use std::path::Path;

use anyhow::Result;
use lab::tools;
use talforge::talos::Arch;

use crate::fixture;
use crate::kinds::{Kind, build};
use crate::oracle::{self, Partition};

/// What xorriso reports of boot records, without what depends on how many folders there are.
fn report(iso: &Path) -> Result<String> {
    let path = iso.display().to_string();
    let args = ["-indev", &path, "-report_el_torito", "plain", "-report_system_area", "plain"];
    let out = tools::run("xorriso", &args, Path::new("/"))?;
    let text = String::from_utf8(out.stdout)?;
    let heads = [
        "El Torito",
        "System area",
        "Partition",
        "MBR partition ",
        "GPT part",
        "GPT type",
        "GPT start",
        "GPT lba",
        "GPT entry",
    ];
    let movable = ["El Torito catalog", "El Torito img blks"];
    let told = |line: &&str| {
        let starts = |head: &&str| line.starts_with(head);
        heads.iter().any(starts) && !movable.iter().any(starts)
    };
    // GRUB's image lies behind the folders.
    let shown = |line: &str| match line.contains("  BIOS  ") {
        true => line.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().to_owned() + "\n",
        false => line.trim_end().to_owned() + "\n",
    };
    Ok(text.lines().filter(told).map(shown).collect())
}

#[test]
fn xorriso_finds_the_boot_image_of_an_iso_for_uefi() {
    if !fixture::have(&["xorriso"]) {
        return;
    }
    for arch in Arch::ALL {
        let (_site, media) = build(arch, &[Kind::Iso]).unwrap();
        for medium in media {
            insta::allow_duplicates! {
                insta::assert_snapshot!(report(&medium.path).unwrap(), @r"
                El Torito cat path : /boot.catalog
                El Torito images   :   N  Pltf  B   Emul  Ld_seg  Hdpt  Ldsiz         LBA
                El Torito boot img :   1  UEFI  y   none  0x0000  0x00      0         512
                System area options: 0x00000900
                System area summary: MBR cyl-align-on
                Partition offset   : 16
                MBR partition table:   N Status  Type        Start       Blocks
                MBR partition      :   1   0x00  0x83           64         1984
                MBR partition      :   2   0x00  0xef         2048        69632
                ");
            }
        }
    }
}

#[test]
fn xorriso_finds_both_boot_images_of_a_hybrid_iso() {
    if !fixture::have(&["xorriso", "grub-mkimage"]) {
        return;
    }
    let (_site, media) = build(Arch::Amd64, &[Kind::Hybrid]).unwrap();
    for medium in media {
        insta::allow_duplicates! {
            insta::assert_snapshot!(report(&medium.path).unwrap(), @r"
            El Torito cat path : /boot.catalog
            El Torito images   :   N  Pltf  B   Emul  Ld_seg  Hdpt  Ldsiz         LBA
            El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4
            El Torito boot img :   2  UEFI  y   none  0x0000  0x00      0         512
            El Torito img path :   1  /boot/grub/i386-pc/eltorito.img
            El Torito img opts :   1  boot-info-table grub2-boot-info
            System area options: 0x00004201
            System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT
            Partition offset   : 16
            MBR partition table:   N Status  Type        Start       Blocks
            MBR partition      :   1   0x00  0xee            1        72279
            GPT entry array    :      2  128  separated
            GPT lba range      :      34  72246  72279
            GPT partition name :   1  490053004f003900360036003000
            GPT partname local :   1  ISO9660
            GPT partition GUID :   1  5784593fe68d5a8a8e931e8279521bce
            GPT type GUID      :   1  a2a0d0ebe5b9334487c068b6b72699c7
            GPT partition flags:   1  0x1000000000000001
            GPT start and size :   1  64  1984
            GPT partition name :   2  450046004900
            GPT partname local :   2  EFI
            GPT partition GUID :   2  9bb152c23b16c885843059dd8dc3335e
            GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b
            GPT partition flags:   2  0x0000000000000000
            GPT start and size :   2  2048  69632
            ");
        }
    }
}

/// The catalog's EFI image is the EFI partition, in blocks of 2048 bytes.
#[test]
fn the_boot_catalog_and_the_partition_table_name_one_efi_volume() {
    if !fixture::have(&["xorriso", "grub-mkimage", "fdisk"]) {
        return;
    }
    let (_site, media) = build(Arch::Amd64, &[Kind::Iso, Kind::Hybrid]).unwrap();
    for medium in media {
        let partitions = oracle::partitions(&medium.path, 512).unwrap();
        let [own, esp] = partitions.try_into().unwrap();
        let report = report(&medium.path).unwrap();
        let image = report.lines().find(|line| line.contains("UEFI")).unwrap();
        let block: u64 = image.split_whitespace().last().unwrap().parse().unwrap();
        assert_eq!(esp.start, block * 2048, "{report}");
        let kinds = match medium.kind {
            Kind::Hybrid => {
                ["EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"]
            }
            _ => ["83", "ef"],
        };
        // The ISO's own partition starts at its second volume descriptors and ends at the volume.
        let want =
            Partition { start: 32 << 10, len: esp.start - (32 << 10), kind: kinds[0].into() };
        assert_eq!((own, esp.kind.as_str()), (want, kinds[1]));
    }
}

#[test]
fn sgdisk_verifies_a_hybrid_iso() {
    if !fixture::have(&["sgdisk", "grub-mkimage"]) {
        return;
    }
    let (_site, media) = build(Arch::Amd64, &[Kind::Hybrid]).unwrap();
    for medium in media {
        let path = medium.path.display().to_string();
        let text = tools::stdout("sgdisk", &["-v", "-p", &path], Path::new("/")).unwrap();
        assert!(text.contains("\nNo problems found."), "{text}");
        assert!(!text.contains("Caution") && !text.contains("Warning"), "{text}");
    }
}

/// The tree shows the EFI volume's files without holding them twice.
#[test]
fn the_isos_own_tree_shows_the_files_of_its_efi_volume() {
    if !fixture::have(&["xorriso", "fdisk", "mdir", "mcopy"]) {
        return;
    }
    let (site, media) = build(Arch::Amd64, &[Kind::Iso]).unwrap();
    for medium in media {
        let out = tempfile::tempdir_in(site.folder()).unwrap();
        let (iso, tree) = (medium.path.display().to_string(), out.path().display().to_string());
        let args = ["-osirrox", "on", "-indev", &iso, "-extract", "/", &tree];
        tools::stdout("xorriso", &args, site.folder()).unwrap();
        let volume = oracle::Volume::of(&medium.path, 512).unwrap();
        for name in volume.names().unwrap() {
            let shown = std::fs::read(out.path().join(&name)).unwrap();
            assert_eq!(shown, volume.content(&name).unwrap(), "{name}");
        }
    }
}
