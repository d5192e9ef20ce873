//! FAT volumes, as `fsck.fat`, the mtools and the kernel read them.

use super::at_hand::{noise, save};
use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::{fs, path::Path};
use talforge::blob::Blob;
use talforge::format::fat::{FatError, File, Label, Place, Volume, least_len, write};
use talforge::units::{MIB, SectorSize};

const TOOLS: [&str; 5] = ["fsck.fat", "mdir", "mcopy", "mattrib", "minfo"];

fn file(path: &str, bytes: Vec<u8>) -> File {
    let content = Blob::from_bytes("content", bytes);
    File { path: path.into(), content, read_only: false, place: Place::First }
}

fn volume(len: u64, sector: SectorSize, files: Vec<File>) -> Volume {
    let label = Label::new("EFI").unwrap();
    let (serial, epoch, hidden_sectors) = (0x1234_abcd, 1_700_000_001, 2048);
    Volume { len, sector, label, serial, epoch, hidden_sectors, files }
}

/// The files that Talos wants on an ESP.
fn esp() -> Vec<File> {
    vec![
        file("EFI/boot/BOOTX64.efi", noise(1, 123_456)),
        file("EFI/Linux/Talos-v1.13.9.efi", noise(2, 3_000_001)),
        file("loader/loader.conf", b"timeout 10\n".to_vec()),
        File { read_only: true, ..file("loader/random-seed", vec![0; 32]) },
        file("empty", vec![]),
        File {
            place: Place::Last,
            ..file("EFI/Linux/Talos-v1.13.9.efi.extra.d/n.efi", noise(3, 9000))
        },
    ]
}

/// Writes a volume as `image`, and lets `fsck.fat` look for the least fault.
fn checked(volume: &Volume, dir: &Path) {
    save(&write(volume).unwrap().blob, &dir.join("image"));
    let out = run("fsck.fat", &["-n", "image"], dir).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}");
    // It says who it is, and how many files there are. Any other line is a fault.
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("image: "), "{text}");
}

/// What `mcopy` takes out of the image, by path.
fn unpacked(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::create_dir(dir.join("out")).unwrap();
    stdout("mcopy", &["-s", "-n", "-i", "image", "::*", "out"], dir).unwrap();
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.join("out")];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                dirs.push(entry);
                continue;
            }
            let path = entry.strip_prefix(dir.join("out")).unwrap().to_str().unwrap();
            files.insert(path.to_owned(), fs::read(&entry).unwrap());
        }
    }
    files
}

fn contents(files: &[File]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|file| (file.path.clone(), file.content.to_vec().unwrap())).collect()
}

#[test]
fn tools_show_the_esp() {
    if !have(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    checked(&volume(51 * MIB, SectorSize::B512, esp()), dir.path());
    assert_eq!(unpacked(dir.path()), contents(&esp()));
    let show = |program, args: &[&str]| stdout(program, args, dir.path()).unwrap();
    insta::assert_snapshot!(show("mdir", &["-/", "-i", "image", "::"]), @r"
     Volume in drive : is EFI        
     Volume Serial Number is 1234-ABCD
    Directory for ::/

    EFI          <DIR>     2023-11-14  22:13  EFI
    EMPTY                0 2023-11-14  22:13  empty
    LOADER       <DIR>     2023-11-14  22:13  loader
            3 files                   0 bytes

    Directory for ::/EFI

    .            <DIR>     2023-11-14  22:13 
    ..           <DIR>     2023-11-14  22:13 
    BOOT         <DIR>     2023-11-14  22:13  boot
    LINUX        <DIR>     2023-11-14  22:13  Linux
            4 files                   0 bytes

    Directory for ::/EFI/boot

    .            <DIR>     2023-11-14  22:13 
    ..           <DIR>     2023-11-14  22:13 
    BOOTX64  EFI    123456 2023-11-14  22:13  BOOTX64.efi
            3 files             123 456 bytes

    Directory for ::/EFI/Linux

    .            <DIR>     2023-11-14  22:13 
    ..           <DIR>     2023-11-14  22:13 
    TALOS-~1 EFI   3000001 2023-11-14  22:13  Talos-v1.13.9.efi
    TALOS-~1 D   <DIR>     2023-11-14  22:13  Talos-v1.13.9.efi.extra.d
            4 files           3 000 001 bytes

    Directory for ::/EFI/Linux/Talos-v1.13.9.efi.extra.d

    .            <DIR>     2023-11-14  22:13 
    ..           <DIR>     2023-11-14  22:13 
    N        EFI      9000 2023-11-14  22:13  n.efi
            3 files               9 000 bytes

    Directory for ::/loader

    .            <DIR>     2023-11-14  22:13 
    ..           <DIR>     2023-11-14  22:13 
    LOADER~1 CON        11 2023-11-14  22:13  loader.conf
    RANDOM~1            32 2023-11-14  22:13  random-seed
            4 files                  43 bytes

    Total files listed:
           21 files           3 132 500 bytes
                             49 500 160 bytes free
    ");
    insta::assert_snapshot!(show("mattrib", &["-/", "-i", "image", "::"]), @r"
          ::/
          ::/EFI
          ::/EFI/boot
          ::/EFI/boot/BOOTX64.efi
          ::/EFI/Linux
          ::/EFI/Linux/Talos-v1.13.9.efi
          ::/EFI/Linux/Talos-v1.13.9.efi.extra.d
          ::/EFI/Linux/Talos-v1.13.9.efi.extra.d/n.efi
          ::/empty
          ::/loader
          ::/loader/loader.conf
    R     ::/loader/random-seed
    ");
    insta::assert_snapshot!(show("minfo", &["-i", "image", "::"]), @r#"
    device information:
    ===================
    filename="image"
    sectors per track: 32
    heads: 64
    cylinders: 51

    media byte: f8

    mformat command line:
      mformat -t 51 -h 64 -s 32 -r 0 -c 1 -m 248 -i "image" ::

    bootsector information
    ======================
    banner:"talforge"
    sector size: 512 bytes
    cluster size: 1 sectors
    reserved (boot) sectors: 32
    fats: 2
    max available root directory slots: 0
    small size: 0 sectors
    media descriptor byte: 0xf8
    sectors per fat: 0
    sectors per track: 32
    heads: 64
    hidden sectors: 2048
    big size: 104448 sectors
    physical drive id: 0x80
    reserved=0x0
    dos4=0x29
    serial number: 1234ABCD
    disk label="EFI        "
    disk type="FAT32   "
    Big fatlen=804
    Extended flags=0x0000
    FS version=0x0000
    rootCluster=2
    infoSector location=1
    backup boot sector=6

    Infosector:
    signature=0x41615252
    free clusters=96680
    last allocated cluster=6138
    "#);
}

#[test]
fn tools_show_an_esp_of_4096_byte_sectors() {
    if !have(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    checked(&volume(2101 * MIB, SectorSize::B4096, esp()), dir.path());
    assert_eq!(unpacked(dir.path()), contents(&esp()));
}

/// As many files as need several clusters of directory, whose short names collide.
#[test]
fn long_directories_are_read_whole() {
    if !have(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |n: u32| format!("a/long-name-of-a-file-{n}.conf");
    let files: Vec<_> = (0..150).map(|n| file(&path(n), noise(n, 10))).collect();
    for mib in [40, 300] {
        checked(&volume(mib * MIB, SectorSize::B512, files.clone()), dir.path());
        assert_eq!(unpacked(dir.path()), contents(&files));
        fs::remove_dir_all(dir.path().join("out")).unwrap();
    }
}

#[test]
fn a_volume_may_be_filled_to_the_last_cluster() {
    if !have(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let of = |len| volume(40 * MIB, SectorSize::B512, vec![file("all", vec![7; len])]);
    let Err(FatError::Full { there, .. }) = write(&of(40 << 20)) else {
        panic!("the file is as long as the volume")
    };
    // The directory takes 1 cluster, and the file starts at the next multiple of 4096.
    let room = usize::try_from(there.bytes()).unwrap() - 4096;
    checked(&of(room), dir.path());
    assert_eq!(unpacked(dir.path())["all"].len(), room);
    assert!(matches!(write(&of(room + 1)), Err(FatError::Full { .. })));
}

/// Linux is the reader that counts on a running node: it tells upper from lower case.
#[test]
fn the_kernel_shows_names_as_written() {
    if !have(&["mount", "umount", "mkfs.vfat", "find"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |program, args: &[&str]| run(program, args, dir.path()).unwrap();
    fs::create_dir(dir.path().join("at")).unwrap();
    assert!(run("mkfs.vfat", &["-C", "theirs", "4096"]).status.success());
    let mount = |image| run("mount", &["-t", "vfat", "-o", "loop,ro", image, "at"]);
    if !mount("theirs").status.success() {
        return;
    }
    assert!(run("umount", &["at"]).status.success());
    save(
        &write(&volume(51 * MIB, SectorSize::B512, esp())).unwrap().blob,
        &dir.path().join("image"),
    );
    assert!(mount("image").status.success());
    let found = run("find", &["at", "-type", "f"]);
    assert!(run("umount", &["at"]).status.success());
    let text = String::from_utf8(found.stdout).unwrap();
    let mut names: Vec<_> = text.lines().map(|line| line.trim_start_matches("at/")).collect();
    names.sort_unstable();
    assert_eq!(names, contents(&esp()).into_keys().collect::<Vec<_>>());
}

fn random_files() -> impl Strategy<Value = Vec<File>> {
    let name = "[a-zA-Z0-9$%'_@~`!(){}^#&+,;=\\[\\]-]([a-zA-Z0-9. _~-]{0,40}[a-z0-9_~])?";
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let len = prop_oneof![Just(0_usize), 1..5000_usize, 0..200_000_usize];
    let one = (path, len, any::<bool>(), any::<bool>()).prop_map(|(path, len, read_only, last)| {
        let place = if last { Place::Last } else { Place::First };
        File { read_only, place, ..file(&path, noise(1, len)) }
    });
    prop::collection::vec(one, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn mcopy_unpacks_what_was_packed(
        files in random_files(), spare in 0_u64..300, is_large in prop::bool::weighted(0.2),
    ) {
        if !have(&TOOLS) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let sector = if is_large { SectorSize::B4096 } else { SectorSize::B512 };
        let len = match least_len(sector, &files) {
            Ok(len) => len + spare * MIB,
            Err(FatError::Duplicate(_)) => return Ok(()),
            Err(other) => panic!("{other}"),
        };
        let volume = volume(len, sector, files.clone());
        let laid = match write(&volume) {
            Err(FatError::Duplicate(_)) => return Ok(()),
            other => other.unwrap(),
        };
        prop_assert!(laid.files.values().all(|at| at % 4096 == 0));
        checked(&volume, dir.path());
        prop_assert!(unpacked(dir.path()) == contents(&files));
    }
}
