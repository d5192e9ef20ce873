//! Media in the layout of Talos' imager, made by foreign programs alone: each boots as it is, and
//! is read as what it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use lab::foreign::layers::Extension;
use lab::foreign::release::{self, Output, Release};
use lab::foreign::{image, iso, layers, raw};
use lab::qemu::{Bus, Firmware, Limits, Machine, Medium, Start, Verdict};
use lab::standin::{self, Options, Standin};
use lab::{foreign, parts, product, tools};
use talforge::blob::Blob;
use talforge::inspect::{self, Boot, Door, Kind, memo::Memo};
use talforge::talos::Arch;
use talforge::units::SectorSize;

const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);
const DISK_4K: Medium = Medium::Disk(Bus::Virtio, SectorSize::B4096);

/// The stand-in, or nothing where this machine cannot have it, or lacks a program.
fn standin(arch: Arch) -> Result<Option<Standin>> {
    let Some(parts) = parts::ready(arch) else { return Ok(None) };
    let programs = [
        &standin::tools(arch)[..],
        &release::tools(arch),
        &layers::TOOLS,
        &iso::TOOLS,
        &raw::TOOLS,
        &image::TOOLS,
    ];
    if !tools::have(&programs.concat()) {
        return Ok(None);
    }
    standin::build(&parts, Options::default()).map(Some)
}

/// A medium, what it is of, and where it lies.
struct Made {
    _work: tempfile::TempDir,
    image: PathBuf,
    cmdline: String,
    layers: Vec<String>,
}

/// Makes a medium, and names it for the logs.
fn make(
    name: &str,
    release: &Release<'_>,
    output: Output,
    write: impl FnOnce(&Release<'_>, &Path) -> Result<()>,
) -> Result<Made> {
    let work = tempfile::tempdir()?;
    let image = work.path().join(name);
    write(release, &image)?;
    Ok(Made { _work: work, image, cmdline: release.cmdline(output), layers: vec![] })
}

impl Made {
    fn read(&self) -> Result<inspect::Medium> {
        let blob = Blob::from_file("medium", fs::File::open(&self.image)?)?;
        Ok(inspect::open(&blob, &mut Memo::default())?)
    }

    /// Boots it, and checks that the boot found no config and what was laid on the medium.
    #[track_caller]
    fn boots(&self, firmware: Firmware, medium: Medium) -> Verdict {
        let name = self.image.file_stem().unwrap_or_default().to_string_lossy();
        let start = Start::Medium(firmware, medium, self.image.clone());
        let label = format!("foreign-{name}-{firmware:?}-{medium:?}");
        // The kernel of a release talks to the screen alone: from its start on, there is nothing to
        // hear until the end.
        let limits = Limits { silence: Duration::from_secs(100), total: Duration::from_secs(180) };
        let machine = Machine { limits, ..Machine::new(&label, start) };
        let verdict = machine.boot().expect("QEMU starts");
        let log = verdict.log.display();
        assert!(verdict.is_ok(), "{:?} {log}", verdict.failure);
        assert_eq!(verdict.report.get("config"), Some("absent"), "{log}");
        let cmdline = verdict.report.get("cmdline").unwrap_or_default();
        // GRUB says what it started before all else.
        let own = cmdline.strip_prefix("BOOT_IMAGE=").and_then(|line| line.split_once(' '));
        assert_eq!(own.map_or(cmdline, |(_, rest)| rest), self.cmdline, "{log}");
        for (number, layer) in self.layers.iter().enumerate() {
            let told = verdict.report.get(&format!("layer.{number}"));
            assert_eq!(told, Some(&**layer), "{log}");
        }
        let count = self.layers.len().to_string();
        assert_eq!(verdict.report.get("layers"), Some(&*count), "{log}");
        verdict
    }

    /// Checks what the program reads in it: the entries, in order, and in each the layers.
    #[track_caller]
    fn reads(&self, kind: Kind, doors: &[Door], titles: &[&str], reset: &str) {
        let read = self.read().expect("the medium is whole");
        assert_eq!(read.kind, kind);
        assert!(read.doors.iter().eq(doors), "{:?}", read.doors);
        let found: Vec<&str> = read.boots.iter().map(|boot| &*boot.title).collect();
        assert_eq!(found, titles);
        let wiped = format!("{} {reset}", self.cmdline);
        for boot in &read.boots {
            assert!(boot.cmdline == self.cmdline || boot.cmdline == wiped, "{}", boot.cmdline);
            assert_eq!(layers_of(boot), self.layers);
            assert!(boot.found.is_none());
        }
        assert!(read.boots.iter().any(|boot| boot.cmdline == wiped));
    }
}

fn layers_of(boot: &Boot) -> Vec<String> {
    let text = |l: &inspect::init::Layer| format!("{} {} {}", l.image, l.name, l.version);
    boot.layers.iter().map(text).collect()
}

const UEFI: [Door; 2] = [Door::UefiCd, Door::UefiDisk];
const ALL: [Door; 4] = [Door::UefiCd, Door::UefiDisk, Door::BiosCd, Door::BiosDisk];
const UKI_ISO: [&str; 2] = ["Talos (v1.13.9)", "Talos (v1.13.9) (Reset system disk)"];
const UKI_DISK: [&str; 2] = ["Talos (v1.13.9)", "Talos (v1.13.9) (Reset to maintenance mode)"];
const WIPE_ISO: &str = "talos.experimental.wipe=system";
const WIPE_DISK: &str = "talos.experimental.wipe=system:EPHEMERAL,STATE";

#[test]
fn a_hybrid_iso_boots_by_bios_and_uefi() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let release = Release::plain(&standin);
    let made = make("hybrid.iso", &release, Output::Iso, iso::hybrid).unwrap();
    let titles = [&UKI_ISO[..], &["Talos ISO", "Reset Talos installation"]].concat();
    made.reads(Kind::Iso, &ALL, &titles, WIPE_ISO);
    for firmware in [Firmware::SeaBios, Firmware::Ovmf] {
        for medium in [Medium::Cd, Medium::Usb] {
            made.boots(firmware, medium);
        }
    }
}

#[test]
fn an_iso_for_uefi_boots() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let made = make("uefi.iso", &Release::plain(&standin), Output::Iso, iso::uefi).unwrap();
    made.reads(Kind::Iso, &UEFI, &UKI_ISO, WIPE_ISO);
    made.boots(Firmware::Ovmf, Medium::Cd);
    made.boots(Firmware::Ovmf, Medium::Usb);
}

/// Since 1.14 there is a random seed on the volume, which may not be written.
#[test]
fn an_iso_of_1_14_boots() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let release = Release { talos: "v1.14.1", ..Release::plain(&standin) };
    let made = make("uefi-1.14.iso", &release, Output::Iso, iso::uefi).unwrap();
    let titles = ["Talos (v1.14.1)", "Talos (v1.14.1) (Reset system disk)"];
    made.reads(Kind::Iso, &UEFI, &titles, WIPE_ISO);
    assert_eq!(made.read().unwrap().volume_id.as_deref(), Some("TALOS_V1_14_1"));
    made.boots(Firmware::Ovmf, Medium::Cd);
}

#[test]
fn an_iso_for_arm64_boots() {
    let Some(standin) = standin(Arch::Arm64).unwrap() else { return };
    let made = make("arm64.iso", &Release::plain(&standin), Output::Iso, iso::uefi).unwrap();
    made.reads(Kind::Iso, &UEFI, &UKI_ISO, WIPE_ISO);
    made.boots(Firmware::Aavmf, Medium::Cd);
    made.boots(Firmware::Aavmf, Medium::Usb);
}

#[test]
fn a_disk_for_bios_and_uefi_boots() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let made = make("dual.raw", &Release::plain(&standin), Output::Disk, raw::dual).unwrap();
    assert_eq!(fs::metadata(&made.image).unwrap().len(), raw::DUAL_LEN);
    let kind = Kind::Disk { sector: SectorSize::B512 };
    made.reads(kind, &[Door::UefiDisk], &UKI_DISK, WIPE_DISK);
    let meta = made.read().unwrap().meta.unwrap();
    assert_eq!(meta.values[&0x11], b"dual-boot");
    made.boots(Firmware::Ovmf, DISK);
    made.boots(Firmware::SeaBios, DISK);
    made.boots(Firmware::SeaBios, Medium::Usb);
}

#[test]
fn disks_for_uefi_boot() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let sizes =
        [("sdboot.raw", SectorSize::B512, DISK), ("sdboot-4k.raw", SectorSize::B4096, DISK_4K)];
    for (name, sector, medium) in sizes {
        let write = |release: &Release<'_>, to: &Path| raw::sdboot(release, sector, to);
        let made = make(name, &Release::plain(&standin), Output::Disk, write).unwrap();
        assert_eq!(fs::metadata(&made.image).unwrap().len(), raw::SDBOOT_LEN);
        made.reads(Kind::Disk { sector }, &[Door::UefiDisk], &UKI_DISK, WIPE_DISK);
        made.boots(Firmware::Ovmf, medium);
    }
}

#[test]
fn a_disk_for_arm64_boots() {
    let Some(standin) = standin(Arch::Arm64).unwrap() else { return };
    let sector = SectorSize::B512;
    let write = |release: &Release<'_>, to: &Path| raw::sdboot(release, sector, to);
    let made = make("arm64.raw", &Release::plain(&standin), Output::Disk, write).unwrap();
    made.reads(Kind::Disk { sector }, &[Door::UefiDisk], &UKI_DISK, WIPE_DISK);
    made.boots(Firmware::Aavmf, DISK);
}

/// With two extensions in a segment of its own, and microcode in front of all.
#[test]
fn media_with_extensions_and_microcode_boot() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let work = tempfile::tempdir().unwrap();
    let [extended, early] = ["extended.img", "early.img"].map(|name| work.path().join(name));
    layers::extended(&standin.file("initramfs.xz"), &layers::two(), &extended).unwrap();
    layers::with_microcode(&extended, &early).unwrap();
    let named = ["0.sqsh util-linux-tools 2.41.1", "1.sqsh iscsi-tools v0.2.0"];
    let release = Release::with_initramfs(&standin, extended);
    let mut disk = make("extended.raw", &release, Output::Disk, raw::dual).unwrap();
    disk.layers = named.map(str::to_owned).to_vec();
    let kind = Kind::Disk { sector: SectorSize::B512 };
    disk.reads(kind, &[Door::UefiDisk], &UKI_DISK, WIPE_DISK);
    disk.boots(Firmware::Ovmf, DISK);
    disk.boots(Firmware::SeaBios, DISK);
    let release = Release::with_initramfs(&standin, early);
    let mut iso = make("extended.iso", &release, Output::Iso, iso::hybrid).unwrap();
    iso.layers = named.map(str::to_owned).to_vec();
    let titles = [&UKI_ISO[..], &["Talos ISO", "Reset Talos installation"]].concat();
    iso.reads(Kind::Iso, &ALL, &titles, WIPE_ISO);
    iso.boots(Firmware::Ovmf, Medium::Cd);
    iso.boots(Firmware::SeaBios, Medium::Usb);
}

/// What `umoci` unpacks of an image, as `path length` lines.
fn unpacked(layout: &Path) -> Result<String> {
    let work = tempfile::tempdir()?;
    let image = format!("{}:{}", layout.display(), standin::TALOS);
    tools::stdout("umoci", &["unpack", "--rootless", "--image", &image, "out"], work.path())?;
    let script = "find usr/install usr/lib/grub/i386-pc/boot.img -type f -printf '%p %s\\n' | sort";
    tools::stdout("sh", &["-ec", script], &work.path().join("out/rootfs"))
}

#[test]
fn an_imager_image_holds_the_release_of_both_architectures() {
    let (Some(amd64), Some(arm64)) = (standin(Arch::Amd64).unwrap(), standin(Arch::Arm64).unwrap())
    else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("imager");
    image::imager(&[&amd64, &arm64], &layout).unwrap();
    let mut lines: Vec<_> = [&amd64, &arm64]
        .into_iter()
        .flat_map(|standin| Standin::FILES.map(|name| (standin, name)))
        .map(|(standin, name)| {
            let len = fs::metadata(standin.file(name)).unwrap().len();
            format!("usr/install/{}/{name} {len}\n", standin.arch)
        })
        .collect();
    lines.push("usr/lib/grub/i386-pc/boot.img 512\n".into());
    lines.sort();
    assert_eq!(unpacked(&layout).unwrap(), lines.concat());

    let archive = work.path().join("imager.tar");
    image::docker_archive(&layout, "ghcr.io/siderolabs/imager:v1.13.9", &archive).unwrap();
    let names = tools::stdout("tar", &["-tf", "imager.tar"], work.path()).unwrap();
    assert!(names.lines().any(|name| name == "manifest.json"), "{names}");
    let archive = work.path().join("imager-oci.tar");
    image::oci_archive(&layout, &archive).unwrap();
    let names = tools::stdout("tar", &["-tf", "imager-oci.tar"], work.path()).unwrap();
    assert!(names.lines().any(|name| name == "index.json"), "{names}");
}

#[test]
fn an_installer_image_holds_a_uki_and_a_boot_loader() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("installer");
    let release = Release::plain(&standin);
    image::installer(&release, &layout).unwrap();
    let uki = work.path().join("uki.efi");
    release.uki(Output::Disk, &uki).unwrap();
    let len = |path: &Path| fs::metadata(path).unwrap().len();
    let want = format!(
        "usr/install/amd64/systemd-boot.efi {}\nusr/install/amd64/vmlinuz.efi {}\n",
        len(&standin.file("systemd-boot.efi")),
        len(&uki)
    );
    let found = unpacked(&layout).unwrap();
    assert_eq!(found, want);
}

/// The UKI has the sections of Talos' own, in the same order.
#[test]
fn a_uki_has_talos_sections_in_talos_order() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let work = tempfile::tempdir().unwrap();
    let uki = work.path().join("uki.efi");
    Release::plain(&standin).uki(Output::Disk, &uki).unwrap();
    let blob = Blob::from_file("uki", fs::File::open(uki).unwrap()).unwrap();
    let medium = inspect::open(&blob, &mut Memo::default()).unwrap();
    let added = medium.regions.iter().skip_while(|region| region.label != ".osrel");
    let names: Vec<&str> = added.map(|region| &*region.label).collect();
    assert_eq!(
        names,
        [
            ".osrel", ".cmdline", ".uname", ".splash", ".linux", ".initrd", ".profile", ".profile",
            ".cmdline"
        ]
    );
    let profiles: Vec<_> = medium.boots.iter().map(|boot| boot.profile.as_deref()).collect();
    assert_eq!(profiles, [Some("main"), Some("reset-maintenance")]);
}

/// An ISO with GRUB for both firmwares boots.
#[test]
fn an_iso_of_grub_boots_by_bios_and_uefi() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let release = Release { talos: "v1.9.6", ..Release::plain(&standin) };
    let made = make("grub.iso", &release, Output::Iso, iso::grub).unwrap();
    let titles = ["Talos ISO", "Reset Talos installation"];
    for firmware in [Firmware::SeaBios, Firmware::Ovmf] {
        for medium in [Medium::Cd, Medium::Usb] {
            made.boots(firmware, medium);
        }
    }
    made.reads(Kind::Iso, &ALL, &titles, WIPE_ISO);
}

const CONFIG: &str = "version: v1alpha1
machine:
  type: worker
  token: aaaaaa.1111111111111111
  network:
    hostname: cp-1
    interfaces:
      - interface: eth0
        mtu: 1500
      - interface: eth1
        dhcp: true
cluster:
  controlPlane:
    endpoint: https://192.0.2.10:6443
";

/// An ISO of a release with extensions and a config.
fn iso_of(standin: &Standin, talos: &'static str, config: &str, all: &[Extension]) -> Result<Made> {
    let work = tempfile::tempdir()?;
    let segment = foreign::segment(config.as_bytes(), work.path())?;
    let mut bytes = fs::read(foreign::initramfs(standin, &segment, work.path())?)?;
    if !all.is_empty() {
        // The last list of layers is the one that counts: here it has no config.
        let extended = work.path().join("extended.img");
        layers::extended(&standin.file("initramfs.xz"), all, &extended)?;
        bytes = fs::read(extended)?;
    }
    let initramfs = work.path().join("whole.img");
    fs::write(&initramfs, bytes)?;
    let release = Release { talos, ..Release::with_initramfs(standin, initramfs) };
    make("compared.iso", &release, Output::Iso, iso::hybrid)
}

/// What `talforge diff` says of two media, and its exit code.
fn diff(before: &Made, after: &Made) -> Result<(String, Option<i32>)> {
    let paths = [before, after].map(|made| made.image.display().to_string());
    let said = product::run(Path::new("/"), &["diff", &paths[0], &paths[1]])?;
    assert_eq!(said.err, "");
    Ok((said.text(), said.code))
}

/// What is said that does not hang on how long the kernel is, or on who may set labels.
fn without_layout(text: &str) -> String {
    let parts = text.split("\n\n").filter(|part| !part.starts_with("layout\n"));
    let text = parts.collect::<Vec<_>>().join("\n\n");
    let lines = text.lines().filter(|line| !line.contains("SELinux label"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn two_media_are_compared_by_what_they_boot() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let before = iso_of(&standin, "v1.13.9", CONFIG, &[]).unwrap();
    let other = CONFIG
        .replace("aaaaaa", "bbbbbb")
        .replace("cp-1", "cp-2")
        .replace("mtu: 1500", "mtu: 9000");
    let after = iso_of(&standin, "v1.14.1", &other, &[]).unwrap();
    let (text, code) = diff(&before, &after).unwrap();
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(without_layout(&text), @r"
    medium
      ~ volume: TALOS_V1_13_9 → TALOS_V1_14_1
      ~ boot entry: Talos (v1.13.9) (UEFI) → Talos (v1.14.1) (UEFI)
      ~ boot entry: Talos (v1.13.9) (Reset system disk) (UEFI) → Talos (v1.14.1) (Reset system disk) (UEFI)

    boot entry Talos (v1.13.9) (UEFI), Talos (v1.13.9) (Reset system disk) (UEFI)
      - starts: EFI/Linux/Talos-v1.13.9.efi
      + starts: EFI/Linux/Talos-v1.14.1.efi
      - argument `init_on_alloc`: 1
      - argument `nvme_core.io_timeout`: 4294967295

    boot entry Talos ISO (GRUB), Reset Talos installation (GRUB)
      - argument `init_on_alloc`: 1
      - argument `nvme_core.io_timeout`: 4294967295

    machine config
      ~ sha256: b5913f23b9bd6ab7dc853f79901c632ba941f8e5ede6006fa9564dc694e51b71 → 4dc612e08e2dd1521d323c73d3d972b7b48338b4b97f84a2ac97fa455cec92ab
      ~ machine.network.hostname: cp-1 → cp-2
      ~ machine.network.interfaces[interface: eth0].mtu: 1500 → 9000
      ~ machine.token: differs, and is not shown
    ");
    assert!(text.contains("bytes of `boot/initramfs.xz`"), "{text}");

    let extended = iso_of(&standin, "v1.13.9", CONFIG, &layers::two()).unwrap();
    let (text, code) = diff(&before, &extended).unwrap();
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(without_layout(&text), @r"
    boot entry Talos (v1.13.9) (UEFI), Talos (v1.13.9) (Reset system disk) (UEFI), Talos ISO (GRUB), Reset Talos installation (GRUB)
      - layer `embedded-config`: b5913f23b9bd6ab7dc853f79901c632ba941f8e5ede6006fa9564dc694e51b71
      + layer `util-linux-tools`: 2.41.1
      + layer `iscsi-tools`: v0.2.0

    machine config
      - sha256: b5913f23b9bd6ab7dc853f79901c632ba941f8e5ede6006fa9564dc694e51b71
      - mode: 0400
      - owner: 0:0
    ");
}

#[test]
fn a_medium_differs_from_itself_in_nothing() {
    let Some(standin) = standin(Arch::Amd64).unwrap() else { return };
    let work = tempfile::tempdir().unwrap();
    let uki = work.path().join("uki.efi");
    Release::plain(&standin).uki(Output::Iso, &uki).unwrap();
    let run = |before: &str, after: &str| {
        let said = product::run(work.path(), &["diff", before, after]).unwrap();
        (said.text(), said.err, said.code)
    };
    fs::copy(&uki, work.path().join("copy.efi")).unwrap();
    let same = "the media are the same, bit for bit\n".to_owned();
    assert_eq!(run("uki.efi", "copy.efi"), (same, String::new(), Some(0)));
    // Past the last section: no boot reads it.
    let mut bytes = fs::read(&uki).unwrap();
    let end = bytes.len();
    bytes.push(0);
    fs::write(work.path().join("longer.efi"), bytes).unwrap();
    let (text, _, code) = run("uki.efi", "longer.efi");
    assert_eq!(text, format!("layout\n  ~ length: {end} bytes → {} bytes\n", end + 1));
    assert_eq!(code, Some(1));
    let (_, error, code) = run("uki.efi", "none.efi");
    assert!(error.starts_with("error: `none.efi` cannot be read"), "{error}");
    assert_eq!(code, Some(3));
}
