//! Boot assets from every kind of supply: the same pieces, whichever way they came; and what is said
//! where a supply has not all of them.
//!
//! The media are made by foreign programs, in the layout of Talos' imager.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::foreign::release::{self, Output, Release};
use lab::foreign::{self, iso, raw};
use lab::product::{self, Said};
use lab::qemu::{Firmware, Limits, Machine, Medium, Start};
use lab::standin::{self, Options, Standin};
use lab::{parts, tools};
use sha2::{Digest as _, Sha512};
use talforge::asset::error::AssetError;
use talforge::asset::{self, Assets, Supply};
use talforge::blob::{Blob, Source};
use talforge::digest::Digest;
use talforge::inspect::memo::Memo;
use talforge::store::Store;
use talforge::talos::Arch;
use talforge::tree::{Entry, Kind, Tree};
use talforge::units::SectorSize;
use tempfile::TempDir;

/// A release's files of one architecture.
struct World {
    folder: TempDir,
    standin: Standin,
}

/// The files, made once for all tests; nothing where this machine cannot.
fn world(arch: Arch) -> Option<&'static World> {
    static WORLDS: [OnceLock<Option<World>>; 2] = [const { OnceLock::new() }; 2];
    let place = match arch {
        Arch::Amd64 => &WORLDS[0],
        Arch::Arm64 => &WORLDS[1],
    };
    place.get_or_init(|| make(arch).expect("the release can be made")).as_ref()
}

fn make(arch: Arch) -> Result<Option<World>> {
    let Some(parts) = parts::ready(arch) else { return Ok(None) };
    let programs = [
        &standin::tools(arch)[..],
        &release::tools(arch),
        &foreign::tools(arch),
        &iso::TOOLS,
        &raw::TOOLS,
        &["xz", "gzip"],
    ];
    if !tools::have(&programs.concat()) {
        return Ok(None);
    }
    let standin = standin::build(&parts, Options::default())?;
    let world = World { folder: tempfile::tempdir()?, standin };
    let release = Release::plain(&world.standin);
    fs::copy(world.standin.file("vmlinuz"), world.path("vmlinuz"))?;
    fs::copy(world.standin.file("initramfs.xz"), world.path("initramfs"))?;
    release.uki(Output::Disk, &world.path("uki"))?;
    raw::sdboot(&release, SectorSize::B4096, &world.path("raw-4k"))?;
    iso::uefi(&release, &world.path("uefi.iso"))?;
    if arch == Arch::Amd64 {
        iso::hybrid(&release, &world.path("iso"))?;
        iso::grub(&Release { talos: "v1.9.6", ..release.clone() }, &world.path("grub.iso"))?;
        raw::dual(&release, &world.path("raw"))?;
        // One that is small: it is unpacked more than once.
        let esp = foreign::esp(&world.standin, &world.path("uki"), world.folder.path())?;
        foreign::disk(&esp, world.folder.path())?;
        for (program, end) in [("zstd -q -1", "zst"), ("xz -0", "xz"), ("gzip -n -1", "gz")] {
            let script = format!("{program} -c disk.raw > raw.{end}");
            tools::stdout("sh", &["-ec", &script], world.folder.path())?;
        }
    }
    Ok(Some(world))
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with files of the release and of the stand-in, by their new names.
    fn lay(&self, files: &[(&str, &str)]) -> Result<TempDir> {
        let folder = tempfile::tempdir()?;
        for (from, to) in files {
            let from = match Standin::FILES.contains(from) {
                true => self.standin.file(from),
                false => self.path(from),
            };
            let to = folder.path().join(to);
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
        }
        Ok(folder)
    }

    fn file(&self, name: &str) -> Result<Supply> {
        Ok(Supply::file(&self.path(name))?)
    }

    fn open(&self, supply: &Supply) -> Result<Assets, AssetError> {
        let store = Store::at(self.path("store"));
        asset::open(supply, self.standin.arch, &store, &mut Memo::default())
    }

    /// What is said of a supply that cannot be used, without the folder's own name.
    #[track_caller]
    fn refusal(&self, supply: &Supply) -> String {
        match self.open(supply) {
            Ok(_) => panic!("it is taken: {supply:?}"),
            Err(error) => said(&error, supply),
        }
    }
}

fn said(error: &AssetError, supply: &Supply) -> String {
    let text = format!("error: {error}\nhelp: {}\n", error.help());
    match supply {
        Supply::Folder(path) => text.replace(&path.display().to_string(), "assets"),
        _ => text,
    }
}

/// An image's files, from files here.
fn tree(files: &[(PathBuf, String)]) -> Result<Supply> {
    let mut tree = Tree::default();
    for (from, to) in files {
        let blob = Blob::from_file(to, File::open(from)?)?;
        let kind = Kind::File(blob.clone(), Digest::of_blob(&blob)?);
        let entry = Entry { mode: 0o644, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind };
        tree.insert(to, entry);
    }
    Ok(Supply::Tree(tree))
}

/// The imager's files at `/usr/install/<arch>`, and GRUB's.
fn imager(world: &World) -> Result<Supply> {
    let arch = world.standin.arch;
    let install = |name: &&str| (world.standin.file(name), format!("usr/install/{arch}/{name}"));
    let mut files: Vec<_> = Standin::FILES.iter().map(install).collect();
    for entry in fs::read_dir("/usr/lib/grub/i386-pc")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((entry.path(), format!("usr/lib/grub/i386-pc/{name}")));
    }
    tree(&files)
}

/// An installer's files: a UKI and systemd-boot.
fn installer(world: &World) -> Result<Supply> {
    let install = format!("usr/install/{}", world.standin.arch);
    tree(&[
        (world.path("uki"), format!("{install}/vmlinuz.efi")),
        (world.standin.file("systemd-boot.efi"), format!("{install}/systemd-boot.efi")),
    ])
}

/// The digests of all pieces. A stub is what UKIs made of it start with: its sections.
fn pieces(assets: &Assets) -> Result<Vec<(String, Digest)>> {
    let mut all = vec![
        ("kernel".to_owned(), Digest::of_blob(&assets.kernel)?),
        ("initramfs".to_owned(), Digest::of_blob(&assets.initramfs.blob)?),
        ("systemd-boot".to_owned(), Digest::of_blob(&assets.sd_boot)?),
    ];
    for section in &assets.stub.sections {
        let digest = Digest::of_blob(&section.data())?;
        let (name, at) = (section.name, section.virtual_address);
        all.push((format!("stub {name} at {at:#x} of {}", section.virtual_size), digest));
    }
    Ok(all)
}

const LOOSE: [(&str, &str); 4] = [
    ("vmlinuz", "vmlinuz"),
    ("initramfs.xz", "initramfs.xz"),
    ("systemd-boot.efi", "systemd-boot.efi"),
    ("systemd-stub.efi", "systemd-stub.efi"),
];
const RELEASED: [(&str, &str); 4] = [
    ("vmlinuz", "vmlinuz-amd64"),
    ("initramfs", "initramfs-amd64.xz"),
    ("uki", "metal-amd64-uki.efi"),
    ("iso", "metal-amd64.iso"),
];

#[test]
fn every_supply_gives_the_same_pieces() {
    let Some(world) = world(Arch::Amd64) else { return };
    let loose = world.lay(&LOOSE).unwrap();
    let want = world.open(&Supply::Folder(loose.path().to_owned())).unwrap();
    assert_eq!(want.stub_version, Some(257));
    let inner = LOOSE.map(|(from, to)| (from, format!("amd64/{to}")));
    let inner = inner.each_ref().map(|(from, to)| (*from, to.as_str()));
    let iso_only = [("iso", "metal-amd64.iso"), ("uefi.iso", "metal-arm64.iso")];
    let folders = [
        world.lay(&inner).unwrap(),
        world.lay(&RELEASED).unwrap(),
        world.lay(&RELEASED[2..]).unwrap(),
        world.lay(&iso_only).unwrap(),
        world.lay(&[("raw.zst", "metal-amd64.raw.zst")]).unwrap(),
    ];
    let mut supplies: Vec<(String, Supply)> = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        supplies.push((format!("folder {number}"), Supply::Folder(folder.path().to_owned())));
    }
    for name in ["iso", "uefi.iso", "raw", "raw-4k", "raw.zst", "raw.xz", "raw.gz"] {
        supplies.push((name.to_owned(), world.file(name).unwrap()));
    }
    let beside = Supply::Folder(world.standin.folder.clone());
    let several = Supply::Several(vec![world.file("uki").unwrap(), beside]);
    supplies.extend([
        ("uki".to_owned(), several),
        ("imager".to_owned(), imager(world).unwrap()),
        ("installer".to_owned(), installer(world).unwrap()),
    ]);
    let wanted = pieces(&want).unwrap();
    for (name, supply) in supplies {
        let assets = world.open(&supply).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(pieces(&assets).unwrap(), wanted, "{name}");
        assert_eq!((assets.uname, assets.stub_version), (want.uname.clone(), Some(257)), "{name}");
        for input in &assets.inputs {
            assert_eq!(
                Digest::of_blob(&input.blob).unwrap(),
                input.digest,
                "{name} {}",
                input.name
            );
        }
    }
}

#[test]
fn every_supply_for_arm64_gives_the_same_pieces() {
    let Some(world) = world(Arch::Arm64) else { return };
    let loose = world.lay(&LOOSE).unwrap();
    let want = world.open(&Supply::Folder(loose.path().to_owned())).unwrap();
    let wanted = pieces(&want).unwrap();
    for supply in [
        world.file("uefi.iso").unwrap(),
        world.file("raw-4k").unwrap(),
        imager(world).unwrap(),
        installer(world).unwrap(),
    ] {
        assert_eq!(pieces(&world.open(&supply).unwrap()).unwrap(), wanted);
    }
}

/// What lies on a medium stays there: the pieces are ranges of its file.
#[test]
fn pieces_of_media_are_not_copied() {
    let Some(world) = world(Arch::Amd64) else { return };
    for name in ["iso", "raw", "raw-4k"] {
        let assets = world.open(&world.file(name).unwrap()).unwrap();
        for blob in [&assets.kernel, &assets.initramfs.blob, &assets.sd_boot] {
            for extent in blob.extents() {
                let Source::File(input, _) = &extent.source else { panic!("{blob:?}") };
                assert_eq!(input.name, name);
            }
        }
        let names: Vec<_> = assets.inputs.iter().map(|input| &*input.name).collect();
        assert_eq!(names, [name]);
    }
}

#[test]
fn a_compressed_disk_is_unpacked_once_and_stays_sparse() {
    let Some(world) = world(Arch::Amd64) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let supply = world.file("raw.zst").unwrap();
    let open = || asset::open(&supply, Arch::Amd64, &store, &mut Memo::default()).unwrap();
    let names = |assets: &Assets| assets.inputs.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    let first = open();
    let raw = Digest::of_blob(&first.inputs[1].blob).unwrap();
    assert_eq!(names(&first), ["raw.zst".to_owned(), format!("sha256:{raw}")]);
    let kept = folder.path().join("sha256").join(raw.to_string());
    let about = kept.metadata().unwrap();
    let len = world.path("disk.raw").metadata().unwrap().len();
    assert_eq!(about.len(), len);
    assert!(about.blocks() * 512 < len - (4 << 20), "{} blocks", about.blocks());
    assert_eq!(names(&open()), names(&first));
    let again = kept.metadata().unwrap();
    assert_eq!((about.ino(), about.mtime_nsec()), (again.ino(), again.mtime_nsec()));
}

#[test]
fn checksums_of_a_release_are_held_to() {
    let Some(world) = world(Arch::Amd64) else { return };
    let folder = world.lay(&RELEASED).unwrap();
    let supply = Supply::Folder(folder.path().to_owned());
    let list = tools::stdout("sh", &["-ec", "sha256sum vmlinuz-* metal-*"], folder.path()).unwrap();
    let long = tools::stdout("sh", &["-ec", "sha512sum initramfs-* metal-*"], folder.path());
    fs::write(folder.path().join("sha256sum.txt"), &list).unwrap();
    let long = long.unwrap();
    fs::write(folder.path().join("sha512sum.txt"), &long).unwrap();
    let assets = world.open(&supply).unwrap();
    let vouched: Vec<_> =
        assets.inputs.iter().map(|i| format!("{}: {}", i.name, i.vouched_by.join(" "))).collect();
    insta::assert_snapshot!(vouched.join("\n"), @r"
    sha256sum.txt: 
    sha512sum.txt: 
    vmlinuz-amd64: sha256sum.txt
    initramfs-amd64.xz: sha512sum.txt
    metal-amd64-uki.efi: sha256sum.txt sha512sum.txt
    metal-amd64.iso: sha256sum.txt sha512sum.txt
    ");
    let sums = assets.inputs.iter().find(|input| input.name == "sha256sum.txt").unwrap();
    assert_eq!(sums.blob.to_vec().unwrap(), list.as_bytes());

    let kernel = Digest::of(&fs::read(world.path("vmlinuz")).unwrap()).to_string();
    let initramfs: String = Sha512::digest(fs::read(world.path("initramfs")).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let zeros = "0".repeat(128);
    let mut text = String::new();
    for (file, bad) in [
        ("sha256sum.txt", list.replace(&kernel, &zeros[..64])),
        ("sha512sum.txt", long.replace(&initramfs, &zeros)),
        ("sha256sum.txt", list.replacen("  ", " ", 1)),
    ] {
        let right = fs::read(folder.path().join(file)).unwrap();
        fs::write(folder.path().join(file), bad).unwrap();
        let said = world.refusal(&supply);
        text += &said.replace(&kernel, "<kernel>").replace(&initramfs, "<initramfs>");
        fs::write(folder.path().join(file), right).unwrap();
    }
    insta::assert_snapshot!(text.replace(&zeros, "0…").replace(&zeros[..64], "0…"), @r"
    error: `assets/vmlinuz-amd64` has the digest sha256:<kernel>; `sha256sum.txt` says sha256:0…
    help: fetch the file again and compare its checksum
    error: `assets/initramfs-amd64.xz` has the digest sha512:<initramfs>; `sha512sum.txt` says sha512:0…
    help: fetch the file again and compare its checksum
    error: `assets/sha256sum.txt`, line 1, is no `<digest>  <name>`
    help: fetch the list again from the release, or take it out of the folder
    ");

    // A file that is cut is damaged, and its checksum says why.
    let iso = fs::read(world.path("iso")).unwrap();
    fs::remove_file(folder.path().join("metal-amd64.iso")).unwrap();
    fs::write(folder.path().join("metal-amd64.iso"), &iso[..iso.len() / 2]).unwrap();
    let said = world.refusal(&supply);
    assert!(said.contains("`assets/metal-amd64.iso` has the digest sha256:"), "{said}");
}

#[test]
fn what_is_missing_is_named_with_where_to_get_it() {
    let Some(world) = world(Arch::Amd64) else { return };
    let mut text = String::new();
    let folders: [&[(&str, &str)]; 7] = [
        &[],
        &RELEASED[..2],
        &[RELEASED[2]],
        &[("grub.iso", "metal-amd64.iso")],
        &[RELEASED[0], RELEASED[2]],
        &[("uefi.iso", "metal-arm64.iso"), ("uki", "metal-arm64-uki.efi")],
        &[LOOSE[0], LOOSE[3]],
    ];
    for files in folders {
        let folder = world.lay(files).unwrap();
        let names: Vec<_> = files.iter().map(|(_, to)| *to).collect();
        let said = world.refusal(&Supply::Folder(folder.path().to_owned()));
        text += &format!("{}\n{said}\n", names.join(", "));
    }
    for supply in [world.file("uki").unwrap(), world.file("grub.iso").unwrap()] {
        text += &format!("{}\n", world.refusal(&supply));
    }
    let install = "usr/install/amd64";
    let old = tree(&[
        (world.path("vmlinuz"), format!("{install}/vmlinuz")),
        (world.path("initramfs"), format!("{install}/initramfs.xz")),
    ]);
    text += &format!("{}\n", world.refusal(&old.unwrap()));
    insta::assert_snapshot!(text, @r"

    error: the boot assets in `assets` lack the kernel, the initramfs, systemd-stub and systemd-boot
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`

    vmlinuz-amd64, initramfs-amd64.xz
    error: the boot assets in `assets` lack systemd-stub and systemd-boot
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-stub: `metal-amd64-uki.efi` or `metal-amd64.iso` of the same Talos release; or `systemd-stub.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`

    metal-amd64-uki.efi
    error: the boot assets in `assets` lack systemd-boot; a UKI has no boot loader in it
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`

    metal-amd64.iso
    error: the boot assets in `assets` lack systemd-stub and systemd-boot; `assets/metal-amd64.iso` starts by GRUB alone, as ISOs of Talos 1.9 and older do: it has no UKI
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`

    vmlinuz-amd64, metal-amd64-uki.efi
    error: the boot assets in `assets` lack systemd-boot; a UKI has no boot loader in it
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`

    metal-arm64.iso, metal-arm64-uki.efi
    error: the boot assets in `assets` lack the kernel, the initramfs, systemd-stub and systemd-boot; `metal-arm64-uki.efi`, `metal-arm64.iso` are not for amd64 by name
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`

    vmlinuz, systemd-stub.efi
    error: the boot assets in `assets` lack the initramfs and systemd-boot
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      the initramfs: `initramfs-amd64.xz` of the same Talos release
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`

    error: the boot assets in `uki` lack systemd-boot; a UKI has no boot loader in it
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`

    error: the boot assets in `grub.iso` lack systemd-stub and systemd-boot; `grub.iso` starts by GRUB alone, as ISOs of Talos 1.9 and older do: it has no UKI
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`

    error: the boot assets in the image lack systemd-stub and systemd-boot; the image is a Talos installer of 1.9 or older, which has neither systemd-stub nor systemd-boot
    help: name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them
    ");
}

/// A disk that starts by GRUB alone: its EFI partition has another program under systemd-boot's name,
/// and no UKI.
#[test]
fn media_that_cannot_be_used_say_why() {
    let Some(world) = world(Arch::Amd64) else { return };
    let mut text = String::new();

    // Another architecture.
    if let Some(arm64) = self::world(Arch::Arm64) {
        for name in ["uefi.iso", "raw-4k", "uki"] {
            text += &world.refusal(&arm64.file(name).unwrap());
        }
        let boot = arm64.lay(&[("systemd-boot.efi", "systemd-boot.efi")]).unwrap();
        text += &world.refusal(&Supply::Folder(boot.path().to_owned()));
    }

    // Secure Boot: a UKI with a directory of signatures.
    let work = tempfile::tempdir().unwrap();
    let mut signed = fs::read(world.path("uki")).unwrap();
    sign(&mut signed);
    fs::write(work.path().join("signed.efi"), &signed).unwrap();
    let esp = foreign::esp(&world.standin, &work.path().join("signed.efi"), work.path()).unwrap();
    let disk = foreign::disk(&esp, work.path()).unwrap();
    text += &world.refusal(&Supply::file(&disk).unwrap());
    let loose = world.lay(&[RELEASED[0], RELEASED[1], LOOSE[2]]).unwrap();
    fs::write(loose.path().join("metal-amd64-uki.efi"), &signed).unwrap();
    text += &world.refusal(&Supply::Folder(loose.path().to_owned()));

    // Two UKIs, as after an upgrade; then none.
    let esp = esp.display().to_string();
    let uki = work.path().join("signed.efi").display().to_string();
    let second = "::EFI/Linux/Talos-v1.13.10.efi";
    tools::stdout("truncate", &["-s", "+1M", &uki], work.path()).unwrap();
    tools::stdout("mdel", &["-i", &esp, "::EFI/Linux/*"], work.path()).unwrap();
    let none = foreign::disk(Path::new(&esp), work.path()).unwrap();
    text += &world.refusal(&Supply::file(&none).unwrap());
    tools::stdout("sgdisk", &["-c", "1:BOOT", "disk.raw"], work.path()).unwrap();
    text += &world.refusal(&Supply::file(&none).unwrap());
    fs::write(work.path().join("small"), "MZ").unwrap();
    let small = work.path().join("small").display().to_string();
    for name in [second, "::EFI/Linux/Talos-v1.13.9.efi"] {
        tools::stdout("mcopy", &["-i", &esp, &small, name], work.path()).unwrap();
    }
    let two = foreign::disk(Path::new(&esp), work.path()).unwrap();
    text += &world.refusal(&Supply::file(&two).unwrap());

    // No medium, and one that is cut.
    text += &world.refusal(&world.file("initramfs").unwrap());
    let iso = fs::read(world.path("iso")).unwrap();
    let cut = Blob::from_bytes("cut", &iso[..iso.len() / 2]);
    text += &world.refusal(&Supply::File { name: "cut.iso".into(), blob: cut });
    let nothing = Supply::File { name: "zeros.raw".into(), blob: Blob::from_bytes("0", [0; 4096]) };
    text += &world.refusal(&nothing);
    // The stand-in's length is that of its kernel.
    let text =
        text.replace(&iso.len().to_string(), "N").replace(&(iso.len() / 2).to_string(), "N/2");
    let mut parts = text.split("0x");
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        steady += "0x…";
        steady += part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    insta::assert_snapshot!(steady, @r"
    error: `uefi.iso: EFI/Linux/Talos-v1.13.9.efi` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    error: `raw-4k: EFI/Linux/Talos-v1.13.9.efi` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    error: `uki` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    error: `assets/systemd-boot.efi` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    error: `disk.raw: EFI/Linux/Talos-v1.13.9.efi` is signed for Secure Boot; what is made of its parts is not, and would be refused
    help: take the release's files without `secureboot` in their names, or keep the UKI whole: name it alone, `assets: uki:`
    error: `assets/metal-amd64-uki.efi` is signed for Secure Boot; what is made of its parts is not, and would be refused
    help: take the release's files without `secureboot` in their names, or keep the UKI whole: name it alone, `assets: uki:`
    error: the boot assets in `disk.raw` lack the kernel, the initramfs and systemd-stub; `disk.raw` has no EFI system partition with a UKI
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`
    error: the boot assets in `disk.raw` lack the kernel, the initramfs and systemd-stub; `disk.raw` starts by GRUB alone, as disks of Talos 1.9 and older do: its kernel lies on an XFS volume, which is not read
    help: take `metal-amd64.iso` of a Talos release (1.10 or newer), which has all of them, or the files at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; put them into a folder and name it in `boot.assets`
    error: `disk.raw` has more than one UKI: `Talos-v1.13.10.efi`, `Talos-v1.13.9.efi`
    help: take the medium as a release has it, from before it was booted and upgraded
    error: `initramfs` holds no disk and no ISO
    help: take a disk of Talos, `metal-amd64.raw.zst` of a release
    error: `cut.iso` is damaged: volume descriptor at 0x…: the volume has N bytes and the medium N/2
    help: fetch the file again and compare its checksum
    error: `zeros.raw` is neither a UKI, an ISO, a disk, nor a compressed one
    help: take `metal-amd64.iso`, `metal-amd64.raw.zst` or `metal-amd64-uki.efi` of a Talos release, or the same for arm64
    ");
}

/// Sets the directory of signatures to bytes at the end, as a signed program has it.
fn sign(uki: &mut Vec<u8>) {
    let header = usize::from(u16::from_le_bytes([uki[0x3c], uki[0x3d]]));
    let certificates = header + 24 + 112 + 4 * 8;
    // PE Format, "The Attribute Certificate Table": length, revision, type.
    let certificate = [16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let at = u32::try_from(uki.len()).expect("a UKI is small");
    uki.extend(certificate);
    uki[certificates..certificates + 4].copy_from_slice(&at.to_le_bytes());
    uki[certificates + 4..certificates + 8].copy_from_slice(&16_u32.to_le_bytes());
}

#[test]
fn pieces_of_two_releases_are_not_mixed() {
    let Some(world) = world(Arch::Amd64) else { return };
    let folder = world.lay(&RELEASED).unwrap();
    let supply = Supply::Folder(folder.path().to_owned());
    let mut text = String::new();
    for (file, from) in [("vmlinuz-amd64", "vmlinuz"), ("initramfs-amd64.xz", "initramfs")] {
        let right = fs::read(world.path(from)).unwrap();
        let mut other = right.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        let path = folder.path().join(file);
        fs::remove_file(&path).unwrap();
        fs::write(&path, &other).unwrap();
        text += &world.refusal(&supply);
        fs::write(&path, &right).unwrap();
    }
    // The ISO of another release.
    let release = Release { talos: "v1.12.11", ..Release::plain(&world.standin) };
    let iso = folder.path().join("metal-amd64.iso");
    fs::remove_file(&iso).unwrap();
    lab::foreign::iso::uefi(&release, &iso).unwrap();
    text += &world.refusal(&supply);
    let release = &world.standin.file("vmlinuz");
    let kernel = fs::read(release).unwrap();
    let at = 0x200 + usize::from(u16::from_le_bytes([kernel[0x20e], kernel[0x20f]]));
    let word = kernel[at..].split(|b| *b == b' ').next().unwrap();
    let word = String::from_utf8(word.to_vec()).unwrap();
    insta::assert_snapshot!(text.replace(&word, "<release>"), @r"
    error: `assets/vmlinuz-amd64` (Linux <release>) and `assets/metal-amd64-uki.efi` (Talos v1.13.9, Linux <release>) are not of one release: their kernels differ
    help: take all files of one release, or those of one place alone
    error: `assets/initramfs-amd64.xz` and `assets/metal-amd64-uki.efi` (Talos v1.13.9, Linux <release>) are not of one release: their initramfs differ, and neither is the other with more behind it
    help: take all files of one release, or those of one place alone
    error: `assets/metal-amd64-uki.efi` (Talos v1.13.9, Linux <release>) and `assets/metal-amd64.iso: EFI/Linux/Talos-v1.12.11.efi` (Talos v1.12.11, Linux <release>) are not of one release: their releases differ
    help: take all files of one release, or those of one place alone
    ");
}

const CONFIG: &str = include_str!("talos-gen/talos-1.13/worker.yaml");

/// A site of one node with a hybrid ISO, built where there is no `grub-mkimage`.
fn build(folder: &Path, assets: &str) -> Result<Said> {
    let config = CONFIG.replace(":v1.13.0", ":v1.13.9");
    fs::write(folder.join("w.yaml"), config)?;
    let site = format!(
        "version: 1\n\
         cluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}}\n\
         boot: {{assets: \"{assets}\"}}\n\
         nodes:\n  - {{name: w, role: worker, config: w.yaml, profile: metal-iso-hybrid}}\n\
         silence: [planes-none, planes-even]\n"
    );
    fs::write(folder.join("site.yaml"), site)?;
    let mut command = product::command(&[], folder, &["build"])?;
    Said::of(command.env("PATH", "/nonexistent").output()?).well()
}

/// From a release's own files alone, without a program of GRUB's: the ISO's GRUB starts ours.
#[test]
fn media_are_built_of_release_files_alone_and_boot() {
    let Some(world) = world(Arch::Amd64) else { return };
    let site = world.lay(&RELEASED.map(|(from, to)| (from, to))).unwrap();
    fs::create_dir(site.path().join("assets")).unwrap();
    for (_, name) in RELEASED {
        fs::rename(site.path().join(name), site.path().join("assets").join(name)).unwrap();
    }
    build(site.path(), "dir:assets").unwrap();
    let config = fs::read(site.path().join("w.yaml")).unwrap();
    let image = site.path().join("out/w.iso");
    let report = tools::stdout(
        "xorriso",
        &["-indev", &image.display().to_string(), "-find", "/boot/grub/i386-pc", "-type", "f"],
        site.path(),
    );
    let files = report.unwrap().lines().filter(|line| line.contains(".mod")).count();
    assert!(files > 100, "{files} modules");
    let boots = [
        (Firmware::SeaBios, Medium::Cd),
        (Firmware::SeaBios, Medium::Usb),
        (Firmware::Ovmf, Medium::Cd),
    ];
    for (firmware, medium) in boots {
        let label = format!("assets-{firmware:?}-{medium:?}");
        let start = Start::Medium(firmware, medium, image.clone());
        // By BIOS calls GRUB is slow to load a kernel, and says nothing meanwhile.
        let limits = Limits { silence: Duration::from_secs(180), total: Duration::from_secs(400) };
        let verdict = Machine { limits, ..Machine::new(&label, start) }.boot().unwrap();
        let found = verdict.expect_config(Digest::of(&config));
        assert_eq!(found, Ok(()), "{}", verdict.log.display());
    }
}

/// GRUB's files as an image has them are packed by the program that is installed.
#[test]
fn grub_of_an_image_is_packed() {
    let Some(world) = world(Arch::Amd64) else { return };
    let assets = world.open(&imager(world).unwrap()).unwrap();
    let packed = asset::grub::open(None, assets.grub.as_ref()).unwrap();
    let installed = asset::grub::open(None, None).unwrap();
    assert_eq!(packed.image, installed.image);
    assert_eq!(packed.boot_code, installed.boot_code);
    assert!(packed.modules.is_empty());
}
