//! ISO images, read by xorriso, GRUB and the kernel, and booted by a BIOS.
//!
//! In: images of `format::iso9660`. Out: what foreign readers say of them.
//!
//! Not here: whole media (`media`), and UEFI boots (`boot`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proptest::prelude::*;

use lab::noise::noise;
use lab::tools;
use talforge::blob::{Blob, Builder, Source};
use talforge::format::grub;
use talforge::format::iso9660::{
    self, BiosBoot, Block, Boot, Content, File, Image, Placed, SECOND_VOLUME, VolumeId,
};
use talforge::format::mbr::{self, Entry};

const EPOCH: u64 = 1_700_000_000;
const ESP_BYTES: usize = 3 << 20;
const ELTORITO: &str = "boot/grub/i386-pc/eltorito.img";

/// Paths and bytes, as they are meant and as they are found.
type Files = BTreeMap<String, Vec<u8>>;

fn esp() -> Vec<u8> {
    noise(999, ESP_BYTES)
}

fn own(path: &str, bytes: &[u8]) -> File {
    File { path: path.to_owned(), content: Content::Own(Blob::from_bytes("content", bytes)) }
}

fn image(files: Vec<File>) -> Image {
    Image {
        volume_id: VolumeId::new("TEST_V1").expect("d-characters"),
        volume_set_id: "Test-v1".to_owned(),
        epoch: EPOCH,
        files,
        boot: Some(Boot { esp: Blob::from_bytes("esp", esp()), bios: None }),
    }
}

/// Paths of ordinary kinds, and some in the ESP.
fn small_tree() -> (Image, Files) {
    let mut want: Files =
        ["boot/grub/grub.cfg", "empty", "EFI/Linux/a-v1.2.efi.extra.d/x.addon.efi"]
            .into_iter()
            .enumerate()
            .map(|(i, path)| (path.to_owned(), noise(i as u64, 2047 * (i ^ 1))))
            .collect();
    let mut image = image(want.iter().map(|(path, bytes)| own(path, bytes)).collect());
    let content = Content::InEsp { offset: 6144, len: 100_000 };
    image.files.push(File { path: "EFI/Linux/a-v1.2.efi".to_owned(), content });
    want.insert("EFI/Linux/a-v1.2.efi".to_owned(), esp()[6144..106_144].to_vec());
    (image, want)
}

/// The system area of an ISO without boot code: the ISO as partition 1, the ESP as partition 2.
fn plain_system_area(placed: &Placed) -> [u8; 512] {
    let (start, end) = (placed.esp.start.sector(), placed.esp.end.sector());
    let iso = Entry { kind: mbr::LINUX, sectors: SECOND_VOLUME.sector()..start };
    mbr::table(&[], &[iso, Entry { kind: mbr::EFI_SYSTEM, sectors: start..end }])
}

/// Writes a blob to a file, zeros as holes.
fn save(blob: &Blob, path: &Path) -> Result<()> {
    let file = fs::File::create(path)?;
    file.set_len(blob.len())?;
    for extent in blob.extents() {
        if !matches!(extent.source, Source::Zeros) {
            let bytes = blob.slice(extent.start..extent.end()).to_vec()?;
            file.write_all_at(&bytes, extent.start)?;
        }
    }
    Ok(())
}

/// An ISO in a folder of its own, and the same from its second volume on.
struct Bench {
    dir: tempfile::TempDir,
    placed: Placed,
}

impl Bench {
    /// The ISO of `image` with two partitions and no boot code.
    fn new(image: &Image) -> Result<Self> {
        let placed = iso9660::place(image)?;
        let area = plain_system_area(&placed);
        Self::with(image, placed, &area)
    }

    fn with(image: &Image, placed: Placed, system_area: &[u8]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let iso = placed.emit(image, system_area, &[]);
        save(&iso, &dir.path().join("whole.iso"))?;
        let second = iso.slice(SECOND_VOLUME.offset()..iso.len());
        save(&second, &dir.path().join("second.iso"))?;
        Ok(Self { dir, placed })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What xorriso says of an ISO.
    fn xorriso(&self, iso: &str, args: &[&str]) -> Result<String> {
        let all = [&["-osirrox", "on:auto_chmod_on", "-indev", iso][..], args].concat();
        tools::stdout("xorriso", &all, self.path())
    }

    /// All files as xorriso extracts them, but for the boot catalog.
    fn extracted(&self, iso: &str) -> Result<Files> {
        let out = self.path().join("out");
        self.xorriso(iso, &["-extract", "/", "out"])?;
        tools::stdout("chmod", &["-R", "u+w", "out"], self.path())?;
        let mut found = Files::new();
        collect(&out, "", &mut found)?;
        fs::remove_dir_all(&out)?;
        found.remove("boot.catalog").context("the boot catalog is a file")?;
        Ok(found)
    }
}

fn collect(dir: &Path, prefix: &str, found: &mut Files) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

fn assert_same(found: &Files, want: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(want));
    let differing: Vec<_> = want.keys().filter(|path| found[*path] != want[*path]).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// The files that the second volume lists: those that do not lie in the ESP.
fn outside_esp(image: &Image, files: &Files) -> Files {
    let is_inside = |path: &str| {
        let file = image.files.iter().find(|file| file.path == path);
        file.is_some_and(|file| matches!(file.content, Content::InEsp { .. }))
    };
    files.iter().filter(|(path, _)| !is_inside(path)).map(|(p, b)| (p.clone(), b.clone())).collect()
}

#[test]
fn xorriso_extracts_every_file_of_both_volumes() {
    if !tools::have(&["xorriso"]) {
        return;
    }
    let (image, want) = small_tree();
    let bench = Bench::new(&image).unwrap();
    assert_same(&bench.extracted("whole.iso").unwrap(), &want);
    assert_same(&bench.extracted("second.iso").unwrap(), &outside_esp(&image, &want));
}

/// Lines of a report of xorriso that begin with one of the given words.
fn lines<'a>(report: &'a str, starts: &[&str]) -> Vec<&'a str> {
    report.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect()
}

const REPORT: &[&str] = &["-report_el_torito", "plain", "-report_system_area", "plain"];

#[test]
fn xorriso_reports_an_image_for_uefi_as_its_own() {
    if !tools::have(&["xorriso"]) {
        return;
    }
    let mut image = small_tree().0;
    let report = Bench::new(&image).unwrap().xorriso("whole.iso", REPORT).unwrap();
    let all = lines(&report, &["El Torito", "System area", "Partition offset", "MBR"]);
    insta::assert_snapshot!(all.join("\n"), @r"
    El Torito catalog  : 50  1
    El Torito cat path : /boot.catalog
    El Torito images   :   N  Pltf  B   Emul  Ld_seg  Hdpt  Ldsiz         LBA
    El Torito boot img :   1  UEFI  y   none  0x0000  0x00   6144         512
    El Torito img blks :   1  3
    System area options: 0x00000900
    System area summary: MBR cyl-align-on
    Partition offset   : 16
    MBR heads per cyl  : 64
    MBR secs per head  : 32
    MBR partition table:   N Status  Type        Start       Blocks
    MBR partition      :   1   0x00  0x83           64         1984
    MBR partition      :   2   0x00  0xef         2048         6144
    ");
    // A sector count that does not fit the field says "up to the end".
    let esp = Builder::default().zeros("esp", 32 << 20).finish();
    image.boot = Some(Boot { esp, bios: None });
    let report = Bench::new(&image).unwrap().xorriso("whole.iso", REPORT).unwrap();
    let want = "El Torito boot img :   1  UEFI  y   none  0x0000  0x00      0         512";
    assert_eq!(lines(&report, &["El Torito boot img"]), [want]);
}

#[test]
fn xorriso_lists_names_modes_dates_and_the_volume() {
    if !tools::have(&["xorriso", "blkid"]) {
        return;
    }
    let bench = Bench::new(&small_tree().0).unwrap();
    for (iso, shows_esp) in [("whole.iso", true), ("second.iso", false)] {
        let list = bench.xorriso(iso, &["-find", "/", "-exec", "lsdl"]).unwrap();
        let is_in_esp = |line: &&str| line.ends_with("100000 Nov 14  2023 '/EFI/Linux/a-v1.2.efi'");
        assert_eq!(list.lines().any(|line| is_in_esp(&line)), shows_esp, "{list}");
        let others = list.lines().filter(|line| !line.contains("boot.catalog") && !is_in_esp(line));
        let list: Vec<_> = others.collect();
        insta::allow_duplicates! { insta::assert_snapshot!(list.join("\n"), @r"
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/'
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/EFI'
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/EFI/Linux'
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/EFI/Linux/a-v1.2.efi.extra.d'
        -r--r--r--    1 0        0            6141 Nov 14  2023 '/EFI/Linux/a-v1.2.efi.extra.d/x.addon.efi'
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/boot'
        dr-xr-xr-x    1 0        0               0 Nov 14  2023 '/boot/grub'
        -r--r--r--    1 0        0            2047 Nov 14  2023 '/boot/grub/grub.cfg'
        -r--r--r--    1 0        0               0 Nov 14  2023 '/empty'
    "); }
        let blkid = tools::stdout("blkid", &["-p", "-o", "export", iso], bench.path()).unwrap();
        for line in ["TYPE=iso9660", "LABEL=TEST_V1", "UUID=2023-11-14-22-13-20-00"] {
            assert!(blkid.lines().any(|l| l == line), "{line} in {blkid}");
        }
    }
    let info = bench.xorriso("whole.iso", &["-pvd_info"]).unwrap();
    for line in ["Volume Set Id: Test-v1", "Creation Time: 2023111422132000"] {
        assert!(info.lines().any(|l| l.split_whitespace().eq(line.split_whitespace())), "{info}");
    }
}

/// Records and continuation areas fill many blocks; names differ only past what ISO 9660 keeps.
#[test]
fn a_directory_of_hundreds_of_long_names_is_whole() {
    if !tools::have(&["xorriso", "grub-fstest"]) {
        return;
    }
    let name = |i: usize| format!("many/{}{i}.Tar-gz", "Long_name.".repeat(i % 25));
    let want: Files = (0..700).map(|i| (name(i), noise(i as u64, i % 3))).collect();
    let image = image(want.iter().map(|(path, bytes)| own(path, bytes)).collect());
    let bench = Bench::new(&image).unwrap();
    assert_same(&bench.extracted("whole.iso").unwrap(), &want);
    assert_same(&bench.extracted("second.iso").unwrap(), &want);
    let list = tools::stdout("grub-fstest", &["whole.iso", "ls", "(loop0)/many/"], bench.path());
    let list = list.unwrap();
    assert_eq!(list.split_whitespace().filter(|name| name.ends_with(".Tar-gz")).count(), 700);
}

#[test]
fn grub_reads_every_file_of_both_volumes() {
    if !tools::have(&["grub-fstest"]) {
        return;
    }
    let (image, want) = small_tree();
    let bench = Bench::new(&image).unwrap();
    for (path, bytes) in want.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        fs::write(bench.path().join("want"), bytes).unwrap();
        let isos: &[&str] = match outside_esp(&image, &want).contains_key(path) {
            true => &["whole.iso", "second.iso"],
            false => &["whole.iso"],
        };
        for iso in isos {
            let args = [*iso, "cmp", &format!("(loop0)/{path}"), "want"];
            tools::stdout("grub-fstest", &args, bench.path()).unwrap();
        }
    }
}

/// The bytes around the border of two sections, read through GRUB's and xorriso's idea of them.
#[test]
fn a_file_of_more_than_4_gib_is_one_file() {
    if !tools::have(&["xorriso", "grub-fstest"]) {
        return;
    }
    let border = 0xffff_f800u64;
    let marks = noise(1, 4096);
    let big = Builder::default()
        .zeros("hole", border - 2048)
        .bytes("marks", marks.as_slice())
        .zeros("hole", 100)
        .finish();
    let len = big.len();
    let content = Content::Own(big);
    let bench = Bench::new(&image(vec![File { path: "big".to_owned(), content }])).unwrap();
    for iso in ["whole.iso", "second.iso"] {
        let list = bench.xorriso(iso, &["-lsl", "/big"]).unwrap();
        assert!(list.split_whitespace().any(|word| word == len.to_string()), "{list}");
        let places = bench.xorriso(iso, &["-find", "/big", "-exec", "report_lba"]).unwrap();
        assert_eq!(lines(&places, &["File data lba"]).len(), 2, "{places}");
        let skip = (border - 2048).to_string();
        let args = [iso, "cat", "-s", &skip, "-n", "4096", "(loop0)/big"];
        let out = tools::run("grub-fstest", &args, bench.path()).unwrap();
        assert!(out.stdout == marks, "{iso}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// The kernel's driver, where a kernel has it and the test may mount.
#[test]
fn the_kernel_mounts_both_volumes() {
    let kernel = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let root = tools::stdout("id", &["-u"], Path::new("/")).unwrap();
    if !kernel.contains("iso9660") || root.trim() != "0" || !tools::have(&["mount", "umount"]) {
        return;
    }
    let (image, want) = small_tree();
    let bench = Bench::new(&image).unwrap();
    fs::create_dir(bench.path().join("mnt")).unwrap();
    for (offset, want) in [(0, &want), (SECOND_VOLUME.offset(), &outside_esp(&image, &want))] {
        let options = format!("loop,ro,offset={offset}");
        tools::stdout("mount", &["-o", &options, "whole.iso", "mnt"], bench.path()).unwrap();
        let mut found = Files::new();
        let read = collect(&bench.path().join("mnt"), "", &mut found);
        tools::stdout("umount", &["mnt"], bench.path()).unwrap();
        read.unwrap();
        found.remove("boot.catalog");
        assert_same(&found, want);
    }
}

/// A random file: its path, its length, and whether it lies in the ESP.
fn random_file() -> impl Strategy<Value = (String, usize, bool)> {
    let name =
        "[a-zA-Z0-9_.~ -]{1,40}".prop_filter("is no name", |name| name != "." && name != "..");
    let names = prop::collection::vec(prop_oneof![3 => "[abAB]", 1 => name], 1..=8);
    let lens = prop::sample::select(vec![0usize, 1, 2047, 2048, 2049, 4095, 4096, 4097, 70_000]);
    (names.prop_map(|names| names.join("/")), lens, prop::bool::weighted(0.2))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Whatever the tree, each file comes back whole from either volume.
    #[test]
    fn random_trees_come_back(random in prop::collection::vec(random_file(), 0..40)) {
        if !tools::have(&["xorriso"]) {
            return Ok(());
        }
        let mut image = image(Vec::new());
        let mut want = Files::new();
        let esp = esp();
        for (i, (path, len, in_esp)) in random.into_iter().enumerate() {
            // A path through a file, or one that is there already, is refused: leave it out.
            let bytes = noise(i as u64, len);
            let file = if in_esp {
                let offset = 2048 * i as u64;
                File { path: path.clone(), content: Content::InEsp { offset, len: len as u64 } }
            } else {
                own(&path, &bytes)
            };
            image.files.push(file);
            if iso9660::place(&image).is_err() {
                image.files.pop();
                continue;
            }
            let bytes = if in_esp { esp[2048 * i..2048 * i + len].to_vec() } else { bytes };
            want.insert(path, bytes);
        }
        let bench = Bench::new(&image).unwrap();
        for placed in bench.placed.files.iter().filter(|f| f.len > 0) {
            let in_esp = placed.start >= bench.placed.esp.start;
            prop_assert!(in_esp || placed.start.offset().is_multiple_of(4096));
        }
        assert_same(&bench.extracted("whole.iso").unwrap(), &want);
        assert_same(&bench.extracted("second.iso").unwrap(), &outside_esp(&image, &want));
    }
}

/// What a booted GRUB writes to the serial port.
const MARKER: &str = "the-menu-was-read";

const BOOT_HYBRID: &str = "/usr/lib/grub/i386-pc/boot_hybrid.img";
const MODULES: &str = "biosdisk iso9660 part_msdos part_gpt normal configfile linux echo halt \
                       serial terminal test all_video";

/// Whether GRUB's images and the program that joins them are here.
fn have_grub() -> bool {
    tools::have(&["grub-mkimage", BOOT_HYBRID])
}

/// A hybrid ISO with GRUB on it, which boots from a CD and from a disk.
fn hybrid() -> Result<(Bench, Image)> {
    let dir = tempfile::tempdir()?;
    let mut args = vec!["-O", "i386-pc-eltorito", "-p", "/boot/grub", "-o", "eltorito.img"];
    args.extend(MODULES.split_whitespace());
    tools::stdout("grub-mkimage", &args, dir.path())?;
    let menu = format!("serial --unit=0\nterminal_output serial\necho {MARKER}\nhalt\n");
    let mut image = small_tree().0;
    image.files.retain(|file| file.path != "boot/grub/grub.cfg");
    image.files.push(own("boot/grub/grub.cfg", menu.as_bytes()));
    let eltorito = fs::read(dir.path().join("eltorito.img"))?;
    let bios = BiosBoot { image: eltorito, path: ELTORITO.to_owned() };
    image.boot = image.boot.map(|boot| Boot { bios: Some(bios), ..boot });
    let placed = iso9660::place(&image)?;
    let start = placed.eltorito.context("a boot image")?.sector();
    let code = grub::hybrid_code(&fs::read(BOOT_HYBRID)?, start).context("boot code")?;
    let whole = Entry { kind: mbr::PROTECTIVE, sectors: 1..placed.end.sector() };
    let area = mbr::table(&code, &[whole]);
    Ok((Bench::with(&image, placed, &area)?, image))
}

#[test]
fn xorriso_reports_a_hybrid_image_as_its_own() {
    if !tools::have(&["xorriso"]) || !have_grub() {
        return;
    }
    let (bench, image) = hybrid().unwrap();
    let report = bench.xorriso("whole.iso", REPORT).unwrap();
    let Block(start) = bench.placed.eltorito.unwrap();
    let all = lines(&report, &["El Torito", "System area", "Partition offset"]).join("\n");
    insta::assert_snapshot!(all.replace(&format!(" {start}\n"), " START\n"), @r"
    El Torito catalog  : 52  1
    El Torito cat path : /boot.catalog
    El Torito images   :   N  Pltf  B   Emul  Ld_seg  Hdpt  Ldsiz         LBA
    El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4          START
    El Torito boot img :   2  UEFI  y   none  0x0000  0x00   6144         512
    El Torito img path :   1  /boot/grub/i386-pc/eltorito.img
    El Torito img opts :   1  boot-info-table grub2-boot-info
    El Torito img blks :   2  3
    System area options: 0x00004201
    System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off
    Partition offset   : 0
    ");
    let found = &bench.extracted("whole.iso").unwrap()[ELTORITO];
    let bytes = image.boot.unwrap().bios.unwrap().image;
    assert_eq!((&found[..8], found.len()), (&bytes[..8], bytes.len()));
    assert!(found[64..2548] == bytes[64..2548] && found[2556..] == bytes[2556..]);
}

/// A machine that is ended with the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a machine with a BIOS from `drive`, and gives what it wrote to its serial port until the
/// marker came, it ended, or 20 seconds were over.
fn boot(dir: &Path, drive: &[&str]) -> Result<String> {
    let serial = dir.join("serial");
    fs::write(&serial, "")?;
    let common = "-accel tcg -machine q35 -m 256 -nodefaults -display none -no-reboot -serial";
    let qemu = tools::find("qemu-system-x86_64").context("QEMU is here")?;
    let mut command = Command::new(qemu);
    command.args(common.split_whitespace()).arg(format!("file:{}", serial.display()));
    command.args(drive).current_dir(dir).stdin(Stdio::null());
    let mut machine = Machine(command.spawn()?);
    let start = Instant::now();
    loop {
        let ended = machine.0.try_wait()?.is_some();
        let text = String::from_utf8_lossy(&fs::read(&serial)?).into_owned();
        if ended || text.contains(MARKER) || start.elapsed() > Duration::from_secs(20) {
            return Ok(text);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_bios_boots_grub_from_a_cd_a_disk_and_a_usb_stick() {
    if !tools::have(&["qemu-system-x86_64"]) || !have_grub() {
        return;
    }
    let (bench, _) = hybrid().unwrap();
    let disk = ["-drive", "if=none,id=d,format=raw,file=whole.iso,readonly=on", "-device"];
    for device in ["ide-cd,drive=d,bootindex=0", "virtio-blk-pci,drive=d,bootindex=0"] {
        let text = boot(bench.path(), &[&disk[..], &[device]].concat()).unwrap();
        assert!(text.contains(MARKER), "{device}: {text:?}");
    }
    let usb = ["qemu-xhci", "-device", "usb-storage,drive=d,bootindex=0"];
    let text = boot(bench.path(), &[&disk[..], &usb].concat()).unwrap();
    assert!(text.contains(MARKER), "usb: {text:?}");
}
