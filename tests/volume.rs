//! Configs on volumes: what foreign programs and booted machines find on them, and twins on which
//! nothing may be found.
//!
//! The stand-in looks for volumes as Talos does. Its kernel knows neither SATA nor USB, so a CD
//! hangs on virtio-scsi, and a stick is a disk on virtio: Talos sees no difference.
//!
//! Not here: embedded configs (`matrix`), and the formats by themselves (`formats`, `iso9660`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lab::qemu::{Bus, Firmware, Limits, Machine, Medium, Start, Verdict};
use lab::standin::{self, Options};
use lab::{parts, tools};
use proptest::prelude::*;
use serde_json::Value;
use talforge::blob::Blob;
use talforge::cli::Cli;
use talforge::digest::Digest;
use talforge::inspect::memo::Memo;
use talforge::inspect::{self, Config};
use talforge::report::progress::{Mode, Progress};
use talforge::talos::Arch;
use talforge::units::{MIB, SectorSize};
use talforge::verb;
use tempfile::TempDir;

const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);
const DISK_4K: Medium = Medium::Disk(Bus::Virtio, SectorSize::B4096);

/// Name, profile, and how the config is embedded.
const NODES: &[(&str, &str, &str)] = &[
    ("iso", "metal-iso", "volume"),
    ("hybrid", "metal-iso-hybrid", "volume"),
    ("disk", "metal-disk", "volume"),
    ("disk-4k", "metal-disk-4k", "volume"),
    ("cloud", "nocloud-disk", "volume"),
    ("bare", "nocloud-disk", "none"),
    ("cloud-iso", "./nocloud-iso.yaml", "volume"),
    ("seeded", "nocloud-seed", "auto"),
    ("metal-seeded", "metal-seed", "auto"),
];

/// A kind of medium that we do not ship: an ISO for nocloud.
const NOCLOUD_ISO: &str = "version: 1\nabout: an ISO\narch: [amd64]\nplatform: nocloud\n\
    kernel_args: {}\noutput:\n  iso: {firmware: uefi-and-bios, timeout: 1, \
    halt_if_installed: false, secure_boot_enroll: \"off\"}\n";

/// A site, built.
struct Site {
    folder: TempDir,
}

/// Builds all media, once for all tests; nothing where this machine cannot.
fn site() -> Option<&'static Site> {
    static SITE: OnceLock<Option<Site>> = OnceLock::new();
    let make = || {
        if !tools::have(&standin::tools(Arch::Amd64)) || !tools::have(&["grub-mkimage"]) {
            return Ok(None);
        }
        let Some(parts) = parts::ready(Arch::Amd64) else { return Ok(None) };
        let assets = standin::build(&parts, Options::default())?;
        let site = Site::new("v1.13.9", NODES, &assets.folder)?;
        site.run(&["build", "--out", "out"])?;
        anyhow::Ok(Some(site))
    };
    SITE.get_or_init(|| make().expect("the media can be built")).as_ref()
}

/// A config that Talos takes, older ones too; another for each name.
fn config_of(name: &str) -> String {
    let main = include_str!("talos-gen/talos-1.13/worker.yaml").split("\n---").next();
    format!("# {name}\n{}\n", main.unwrap_or_default())
}

fn digest_of(name: &str) -> String {
    Digest::of(config_of(name).as_bytes()).to_string()
}

impl Site {
    fn new(talos: &str, nodes: &[(&str, &str, &str)], assets: &Path) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()? };
        let mut text = format!(
            "version: 1\ncluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: {talos}}}\n\
             boot: {{assets: \"dir:{}\"}}\nnodes:\n",
            assets.display()
        );
        for (name, profile, embed) in nodes {
            let config = if *embed == "none" { "" } else { &format!(", config: {name}.yaml") };
            text += &format!(
                "  - {{name: {name}, role: worker, profile: {profile}, embed: {embed}{config}}}\n"
            );
            fs::write(site.path(&format!("{name}.yaml")), config_of(name))?;
        }
        fs::write(site.path("site.yaml"), text)?;
        fs::write(site.path("nocloud-iso.yaml"), NOCLOUD_ISO)?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["talforge".into()];
        for (at, arg) in args.iter().enumerate() {
            let is_out = at > 0 && args[at - 1] == "--out";
            all.push(if is_out { self.path(arg).into_os_string() } else { arg.into() });
        }
        all.push(self.path("site.yaml").into_os_string());
        match verb::run(&Cli::try_parse_from(all)?, &Progress::new(Mode::Quiet)) {
            Ok(()) => Ok(()),
            Err(failure) => bail!("{:?}", failure.diagnostics),
        }
    }

    fn boot(&self, image: &str, firmware: Firmware, medium: Medium) -> Verdict {
        boot(&self.out(image), firmware, medium, None)
    }

    /// A copy of an image with all of one text replaced by another of its length.
    fn twin(&self, image: &str, old: &str, new: &str) -> Result<PathBuf> {
        assert_eq!(old.len(), new.len());
        let mut bytes = fs::read(self.out(image))?;
        let hits: Vec<usize> = bytes
            .windows(old.len())
            .enumerate()
            .filter(|(_, window)| *window == old.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!hits.is_empty(), "`{old}` is in the image");
        for at in hits {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
        let twin = self.path(&format!("twin-{new}-{image}"));
        fs::write(&twin, bytes)?;
        Ok(twin)
    }
}

fn boot(
    image: &Path,
    firmware: Firmware,
    medium: Medium,
    beside: Option<(Medium, PathBuf)>,
) -> Verdict {
    let name = image.file_stem().unwrap_or_default().to_string_lossy();
    let start = Start::Medium(firmware, medium, image.to_owned());
    let mut machine = Machine::new(&format!("volume-{name}-{firmware:?}-{medium:?}"), start);
    machine.beside = beside;
    // A BIOS reads a CD on virtio-scsi slowly, and a kernel says nothing on a console that is a screen.
    machine.limits = Limits { silence: Duration::from_secs(120), total: Duration::from_secs(300) };
    machine.boot().expect("QEMU starts")
}

/// The boot took the node's config from a volume of this name and kind, and found none embedded.
#[track_caller]
fn assert_taken(verdict: &Verdict, node: &str, label: &str, file: &str, fs: &str) {
    let log = verdict.log.display();
    assert_eq!(verdict.failure, None, "{log}");
    let told = |key: &str| verdict.report.get(key).unwrap_or_default().to_owned();
    assert_eq!(told("config"), "absent", "{log}");
    assert_eq!((&*told("volume.fs"), &*told("volume.label")), (fs, label), "{log}");
    assert_eq!(told("volume.error"), "", "{log}");
    assert_eq!(told(&format!("volume.{file}.sha256")), digest_of(node), "{log}");
}

#[track_caller]
fn assert_metal(verdict: &Verdict, node: &str, fs: &str) {
    assert_taken(verdict, node, "metal-iso", "config.yaml", fs);
    let cmdline = verdict.report.get("cmdline").unwrap_or_default();
    assert!(cmdline.contains("talos.config=metal-iso"), "{cmdline}");
}

#[test]
fn an_iso_is_its_own_volume_as_cd_and_as_stick() {
    let Some(site) = site() else { return };
    assert_metal(&site.boot("iso.iso", Firmware::Ovmf, Medium::ScsiCd), "iso", "iso9660");
    assert_metal(&site.boot("iso.iso", Firmware::Ovmf, DISK), "iso", "iso9660");
}

#[test]
fn a_hybrid_iso_is_its_own_volume_as_cd_and_as_stick() {
    let Some(site) = site() else { return };
    for medium in [Medium::ScsiCd, DISK] {
        assert_metal(&site.boot("hybrid.iso", Firmware::SeaBios, medium), "hybrid", "iso9660");
    }
    assert_metal(&site.boot("hybrid.iso", Firmware::Ovmf, DISK), "hybrid", "iso9660");
    let verdict = site.boot("cloud-iso.iso", Firmware::SeaBios, Medium::ScsiCd);
    assert_taken(&verdict, "cloud-iso", "cidata", "user-data", "iso9660");
}

#[test]
fn a_disk_has_its_volume_as_a_partition() {
    let Some(site) = site() else { return };
    let verdict = site.boot("disk.raw", Firmware::Ovmf, DISK);
    assert_metal(&verdict, "disk", "vfat");
    assert_eq!(verdict.report.get("volume"), Some("/dev/vda3"));
    assert_metal(&site.boot("disk-4k.raw", Firmware::Ovmf, DISK_4K), "disk-4k", "vfat");
}

#[test]
fn a_disk_for_nocloud_has_its_volume_as_a_partition() {
    let Some(site) = site() else { return };
    let verdict = site.boot("cloud.raw", Firmware::Ovmf, DISK);
    assert_taken(&verdict, "cloud", "CIDATA", "user-data", "vfat");
    let meta = Digest::of(b"instance-id: \"cloud\"\nlocal-hostname: \"cloud\"\n").to_string();
    assert_eq!(verdict.report.get("volume.meta-data.sha256"), Some(&*meta));
    assert_eq!(verdict.report.get("volume.network-config.sha256"), None);
}

#[test]
fn a_seed_is_found_beside_a_disk_without_a_config() {
    let Some(site) = site() else { return };
    for medium in [DISK, Medium::ScsiCd] {
        let beside = Some((medium, site.out("seeded-seed.iso")));
        let verdict = boot(&site.out("bare.raw"), Firmware::Ovmf, DISK, beside);
        assert_taken(&verdict, "seeded", "cidata", "user-data", "iso9660");
    }
    // A seed for another platform is none.
    let beside = Some((DISK, site.out("metal-seeded-seed.iso")));
    let verdict = boot(&site.out("bare.raw"), Firmware::Ovmf, DISK, beside);
    assert_eq!(verdict.failure, None);
    assert_eq!(verdict.report.get("volume"), Some("absent"));
}

/// All else being equal, what is found is due to the name of the volume and that of the file.
#[test]
fn an_iso_of_another_name_or_without_its_file_is_not_taken() {
    let Some(site) = site() else { return };
    let renamed = site.path("twin-name.iso");
    let mut bytes = fs::read(site.out("iso.iso")).unwrap();
    for descriptor in [0x8000, 0x10000] {
        assert_eq!(&bytes[descriptor + 40..descriptor + 49], b"metal-iso");
        bytes[descriptor + 40..descriptor + 49].copy_from_slice(b"METAL-ISO");
    }
    fs::write(&renamed, bytes).unwrap();
    let verdict = boot(&renamed, Firmware::Ovmf, Medium::ScsiCd, None);
    assert_eq!(verdict.failure, None, "{}", verdict.log.display());
    assert_eq!(verdict.report.get("volume"), Some("absent"));

    let empty = site.twin("iso.iso", "config.yaml", "confog.yaml").unwrap();
    let verdict = boot(&empty, Firmware::Ovmf, Medium::ScsiCd, None);
    assert_eq!(verdict.failure, None, "{}", verdict.log.display());
    assert_eq!(verdict.report.get("volume.label"), Some("metal-iso"));
    assert_eq!(verdict.report.get("volume.config.yaml.sha256"), None);

    for (twin, has_volume) in [(renamed, false), (empty, true)] {
        let medium = read(&twin).unwrap();
        assert!(medium.boots.iter().all(|boot| medium.config_of(boot).is_none()));
        assert_eq!(!medium.volumes.is_empty(), has_volume);
    }
}

fn read(path: &Path) -> Result<inspect::Medium> {
    let blob = Blob::from_file("medium", fs::File::open(path)?)?;
    inspect::open(&blob, &mut Memo::default()).map_err(|damage| anyhow::anyhow!("{damage}"))
}

#[test]
fn inspect_finds_what_talos_would() {
    let Some(site) = site() else { return };
    for (node, image, label) in [
        ("iso", "iso.iso", "metal-iso"),
        ("hybrid", "hybrid.iso", "metal-iso"),
        ("disk", "disk.raw", "metal-iso"),
        ("cloud", "cloud.raw", "CIDATA"),
        ("cloud-iso", "cloud-iso.iso", "cidata"),
    ] {
        let medium = read(&site.out(image)).unwrap();
        for boot in &medium.boots {
            let Some(Config::Volume(volume, given)) = medium.config_of(boot) else {
                panic!("{image}: no config on a volume")
            };
            assert_eq!((&*volume.label, given.digest.to_string()), (label, digest_of(node)));
        }
    }
    let seed = read(&site.out("seeded-seed.iso")).unwrap();
    assert!(seed.is_seed() && seed.doors.is_empty() && seed.notes.is_empty());
    assert_eq!(seed.volumes[0].files, ["meta-data", "user-data"]);
}

#[test]
fn foreign_programs_take_the_partition_for_a_sound_volume() {
    let Some(site) = site() else { return };
    if !tools::have(&["sgdisk", "fsck.fat", "mtype", "blkid"]) {
        return;
    }
    for (node, name, file, label) in [
        ("disk", "metal-iso", "config.yaml", "METAL-ISO"),
        ("cloud", "cidata", "user-data", "CIDATA"),
    ] {
        let image = site.out(&format!("{node}.raw")).display().to_string();
        let table = tools::stdout("sgdisk", &["-v", "-i", "3", &image], Path::new(".")).unwrap();
        assert!(table.contains("No problems found"), "{table}");
        assert!(table.contains(&format!("Partition name: '{name}'")), "{table}");
        let volume = partition(site, node).unwrap();
        let path = volume.display().to_string();
        tools::stdout("fsck.fat", &["-n", &path], Path::new(".")).unwrap();
        let from = format!("::/{file}");
        let found = tools::run("mtype", &["-i", &path, &from], Path::new(".")).unwrap();
        assert_eq!(found.stdout, config_of(node).as_bytes());
        let told = tools::stdout("blkid", &["-p", "-o", "export", &path], Path::new(".")).unwrap();
        assert!(told.lines().any(|line| line == format!("LABEL={label}")), "{told}");
    }
}

/// The third partition of a node's disk, in a file of its own.
fn partition(site: &Site, node: &str) -> Result<PathBuf> {
    let manifest: Value = serde_json::from_slice(&fs::read(site.out("manifest.json"))?)?;
    let esp = manifest["nodes"][node]["plan"]["medium"]["disk"]["esp_bytes"].as_u64();
    let start = MIB + esp.context("the plan says it")? + MIB;
    let disk = Blob::from_file("disk", fs::File::open(site.out(&format!("{node}.raw")))?)?;
    let volume = site.path(&format!("{node}.fat"));
    fs::write(&volume, disk.slice(start..start + 36 * MIB).to_vec()?)?;
    Ok(volume)
}

#[test]
fn foreign_programs_read_isos_by_their_names() {
    let Some(site) = site() else { return };
    if !tools::have(&["xorriso", "blkid"]) {
        return;
    }
    for (node, image, label, file) in [
        ("iso", "iso.iso", "metal-iso", "config.yaml"),
        ("seeded", "seeded-seed.iso", "cidata", "user-data"),
        ("metal-seeded", "metal-seeded-seed.iso", "metal-iso", "config.yaml"),
    ] {
        let path = site.out(image).display().to_string();
        let told = tools::stdout("blkid", &["-p", "-o", "export", &path], Path::new(".")).unwrap();
        for line in [&format!("LABEL={label}"), "TYPE=iso9660"] {
            assert!(told.lines().any(|found| found == line), "{line}: {told}");
        }
        let to = site.path(&format!("extracted-{node}"));
        let target = to.display().to_string();
        let args = ["-osirrox", "on", "-indev", &path, "-extract", &format!("/{file}"), &target];
        tools::stdout("xorriso", &args, Path::new(".")).unwrap();
        assert_eq!(fs::read(to).unwrap(), config_of(node).as_bytes());
    }
}

/// Nothing before the volume says whose disk it is, and nothing but the config's place says whose
/// ISO: another config can be put there.
#[test]
fn disks_differ_in_their_volumes_alone() {
    let Some(from) = site() else { return };
    let nodes = [("n-1", "metal-disk", "volume"), ("n-2", "metal-disk", "volume")];
    let text = fs::read_to_string(from.path("site.yaml")).unwrap();
    let assets = text.split("dir:").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let site = Site::new("v1.13.9", &nodes, Path::new(assets)).unwrap();
    fs::write(site.path("n-2.yaml"), config_of(&"n-2".repeat(9000))).unwrap();
    site.run(&["build", "--out", "out"]).unwrap();
    let disk = |name| Blob::from_file("d", fs::File::open(site.out(name)).unwrap()).unwrap();
    let [one, two] = ["n-1.raw", "n-2.raw"].map(disk);
    assert_eq!(one.len(), two.len());
    let table = talforge::inspect::partitions::read(&one).unwrap().unwrap();
    let volume = table.partitions[2].range.clone();
    for range in [0..volume.start, volume.end..one.len()] {
        let mut at = range.start;
        while at < range.end {
            let end = (at + (64 << 20)).min(range.end);
            let [a, b] = [&one, &two].map(|disk| disk.slice(at..end).to_vec().unwrap());
            assert!(a == b, "bytes {at} to {end} differ");
            at = end;
        }
    }
}

/// For a release that reads no embedded config, `auto` is a volume, and what it would not read is
/// refused.
#[test]
fn an_old_talos_gets_a_volume() {
    let Some(from) = site() else { return };
    let text = fs::read_to_string(from.path("site.yaml")).unwrap();
    let assets = text.split("dir:").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let old = |embed| Site::new("v1.11.6", &[("old", "metal-iso", embed)], Path::new(assets));
    for embed in ["addon", "initramfs"] {
        let refused = old(embed).unwrap().run(&["build", "--out", "out"]).unwrap_err();
        assert!(refused.to_string().contains("embed-too-old"), "{refused}");
    }
    let site = old("auto").unwrap();
    site.run(&["build", "--out", "out"]).unwrap();
    let verdict = site.boot("old.iso", Firmware::Ovmf, Medium::ScsiCd);
    assert_metal(&verdict, "old", "iso9660");
}

/// Seeds are made without boot assets.
#[test]
fn a_site_of_seeds_needs_no_boot_assets() {
    let nodes = [("a", "nocloud-seed", "auto"), ("b", "metal-seed", "volume")];
    let site = Site::new("v1.13.9", &nodes, Path::new("/nowhere")).unwrap();
    site.run(&["build", "--out", "out"]).unwrap();
    assert!(read(&site.out("a-seed.iso")).unwrap().is_seed());
    let manifest: Value =
        serde_json::from_slice(&fs::read(site.out("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["inputs"], serde_json::json!([]));
    assert_eq!(manifest["nodes"]["b"]["files"][0]["path"], "b-seed.iso");
    assert_eq!(manifest["nodes"]["b"]["plan"]["embed"], "volume");
}

/// Where Talos would ignore the config it is refused.
#[test]
fn what_talos_would_not_look_at_is_refused() {
    let site =
        Site::new("v1.13.9", &[("a", "nocloud-seed", "auto")], Path::new("/nowhere")).unwrap();
    let config = format!("#cloud-config\n{}", config_of("a"));
    fs::write(site.path("a.yaml"), config).unwrap();
    let refused = site.run(&["plan"]).unwrap_err().to_string();
    assert!(refused.contains("config-first-line"), "{refused}");

    let site =
        Site::new("v1.13.9", &[("a", "metal-iso", "volume")], Path::new("/nowhere")).unwrap();
    let text = fs::read_to_string(site.path("site.yaml")).unwrap();
    let text = text.replace("embed: volume", "embed: volume, kernel_args: [talos.config=none]");
    fs::write(site.path("site.yaml"), text).unwrap();
    let refused = site.run(&["plan"]).unwrap_err().to_string();
    assert!(refused.contains("config-source"), "{refused}");
}

/// A disk with one FAT partition, by foreign programs alone.
fn foreign_disk(work: &Path, bits: &str, label: &str, name: &str, config: &str) -> Result<PathBuf> {
    let path = |file: &str| work.join(file).display().to_string();
    fs::write(path("user-data"), config)?;
    let (mib, per_cluster) = match bits {
        "12" => (8, "8"),
        "16" => (8, "1"),
        _ => (40, "1"),
    };
    let volume = fs::File::create(path("volume"))?;
    volume.set_len(mib * MIB)?;
    let make = ["-F", bits, "-s", per_cluster, "-n", label, &path("volume")];
    tools::stdout("mkfs.fat", &make, work)?;
    tools::stdout("mcopy", &["-i", &path("volume"), &path("user-data"), "::/user-data"], work)?;
    let mut bytes = vec![0; usize::try_from(MIB)?];
    bytes.extend(fs::read(path("volume"))?);
    bytes.resize(bytes.len() + usize::try_from(MIB)?, 0);
    fs::write(path("disk.raw"), bytes)?;
    let end = (mib + 1) * 2048 - 1;
    let (new, name) = (format!("1:2048:{end}"), format!("1:{name}"));
    tools::stdout("sgdisk", &["-n", &new, "-c", &name, &path("disk.raw")], work)?;
    Ok(work.join("disk.raw"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_foreign_volume_is_found_by_either_name(
        bits in prop::sample::select(vec!["12", "16", "32"]),
        label in prop::sample::select(vec!["CIDATA", "CIDATA2", "EFI"]),
        name in prop::sample::select(vec!["cidata", "CIDATA", "Cidata", "data"]),
        config in "[a-z]{1,40}: [a-z]{0,2000}\n",
    ) {
        if !tools::have(&["mkfs.fat", "mcopy", "sgdisk"]) {
            return Ok(());
        }
        let work = tempfile::tempdir().unwrap();
        let disk = foreign_disk(work.path(), bits, label, name, &config).unwrap();
        let is_wanted = label == "CIDATA" || matches!(name, "cidata" | "CIDATA");
        match read(&disk) {
            Ok(medium) => {
                prop_assert!(is_wanted);
                let given = medium.volumes[0].config.as_ref().unwrap();
                prop_assert_eq!(&*given.bytes, config.as_bytes());
            }
            Err(damage) => prop_assert!(!is_wanted, "{}", damage),
        }
    }
}
