//! What `talforge build` makes, booted in every way that it promises; and twins that must not find
//! their config.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lab::qemu::{Bus, Files, Firmware, Machine, Medium, Reason, Start, Verdict};
use lab::standin::{self, Options};
use lab::{foreign, parts, tools};
use serde_json::Value;
use talforge::cli::Cli;
use talforge::digest::Digest;
use talforge::report::progress::{Mode, Progress};
use talforge::talos::Arch;
use talforge::units::SectorSize;
use talforge::verb;
use tempfile::TempDir;

const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);
const DISK_4K: Medium = Medium::Disk(Bus::Virtio, SectorSize::B4096);

/// A site, built.
struct Site {
    folder: TempDir,
}

/// The sites of this matrix: by loose files and by a ready UKI, for both architectures, and over a
/// base that holds a layer already.
struct Sites {
    loose: Site,
    uki: Site,
    layered: Site,
    arm64: Site,
}

/// Builds all media, once for all tests; nothing where this machine cannot.
fn sites() -> Option<&'static Sites> {
    static SITES: OnceLock<Option<Sites>> = OnceLock::new();
    SITES.get_or_init(|| make_sites().expect("the media can be built")).as_ref()
}

fn make_sites() -> Result<Option<Sites>> {
    let programs =
        Arch::ALL.map(|arch| [&standin::tools(arch)[..], &foreign::tools(arch)].concat());
    if !tools::have(&programs.concat()) || !tools::have(&["grub-mkimage"]) {
        return Ok(None);
    }
    let standin = |arch| {
        parts::ready(arch).map(|parts| standin::build(&parts, Options::default())).transpose()
    };
    let (Some(amd64), Some(arm64)) = (standin(Arch::Amd64)?, standin(Arch::Arm64)?) else {
        return Ok(None);
    };
    let loose = Site::new("amd64", "dir:assets", NODES, &amd64.folder)?;
    let uki = Site::new("amd64", "uki:assets/metal-uki.efi", UKI_NODES, &amd64.folder)?;
    let layered = Site::new("amd64", "dir:assets", LAYERED_NODES, &amd64.folder)?;
    let work = tempfile::tempdir()?;
    let segment = foreign::segment(b"version: v1alpha1\n", work.path())?;
    let initramfs = foreign::initramfs(&amd64, &segment, work.path())?;
    fs::copy(initramfs, layered.path("assets/initramfs.xz"))?;
    let arm64 = Site::new("arm64", "dir:assets", ARM64_NODES, &arm64.folder)?;
    loose.build()?;
    fs::copy(loose.out("pxe/metal-amd64-uki.efi"), uki.path("assets/metal-uki.efi"))?;
    for site in [&uki, &layered, &arm64] {
        site.build()?;
    }
    Ok(Some(Sites { loose, uki, layered, arm64 }))
}

/// Name, profile, and how the config is embedded.
type Node = (&'static str, &'static str, &'static str);

const NODES: &[Node] = &[
    ("iso", "metal-iso", "addon"),
    ("iso-initramfs", "metal-iso", "initramfs"),
    ("iso-none", "metal-iso", "none"),
    ("hybrid", "metal-iso-hybrid", "auto"),
    ("disk", "metal-disk", "auto"),
    ("disk-initramfs", "metal-disk", "initramfs"),
    ("disk-4k", "metal-disk-4k", "auto"),
    ("pxe", "metal-pxe", "auto"),
];
const UKI_NODES: &[Node] = &[("shipped", "metal-iso", "addon")];
const LAYERED_NODES: &[Node] = &[("layered", "metal-disk", "auto")];
const ARM64_NODES: &[Node] = &[("disk", "metal-disk", "auto"), ("iso", "metal-iso", "initramfs")];

impl Site {
    fn new(arch: &str, source: &str, nodes: &[Node], assets: &Path) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()? };
        fs::create_dir(site.path("assets"))?;
        for entry in fs::read_dir(assets)? {
            let entry = entry?;
            fs::copy(entry.path(), site.path("assets").join(entry.file_name()))?;
        }
        let mut text = format!(
            "version: 1\ncluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}}\n\
             boot: {{assets: \"{source}\", arch: {arch}}}\nnodes:\n"
        );
        for (name, profile, embed) in nodes {
            let config = if *embed == "none" { "" } else { ", config: " };
            let file = if *embed == "none" { "" } else { &format!("{name}.yaml") };
            text += &format!(
                "  - {{name: {name}, role: worker, profile: {profile}, embed: {embed}{config}{file}}}\n"
            );
            fs::write(site.path(&format!("{name}.yaml")), config_of(name))?;
        }
        fs::write(site.path("site.yaml"), text)?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// Makes this the site of the folder `sites/ipv6-fabric`, for a release and with other assets.
    fn generated(&self, talos: &str, assets: &Path) -> Result<()> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("sites/ipv6-fabric");
        for name in ["secrets.yaml", "patches/all.yaml", "patches/controlplane.yaml"] {
            fs::create_dir_all(self.path("patches"))?;
            fs::copy(from.join(name), self.path(name))?;
        }
        fs::create_dir(self.path("assets"))?;
        for entry in fs::read_dir(assets)? {
            let entry = entry?;
            fs::hard_link(entry.path(), self.path("assets").join(entry.file_name()))?;
        }
        let text = fs::read_to_string(from.join("site.yaml"))?;
        let lines = text.lines().map(|line| match line.trim_start().split(':').next() {
            Some("talos") => format!("  talos: {talos}"),
            Some("assets") => "  assets: dir:assets".to_owned(),
            _ => line.to_owned(),
        });
        fs::write(self.path("site.yaml"), lines.collect::<Vec<_>>().join("\n"))?;
        Ok(())
    }

    fn build(&self) -> Result<()> {
        self.run(&["build", "--out", "out"])
    }

    /// Runs a command on the site. Paths below it follow options of `--out`.
    fn run(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["talforge".into()];
        for (at, arg) in args.iter().enumerate() {
            let is_out = at > 0 && args[at - 1] == "--out";
            all.push(if is_out { self.path(arg).into_os_string() } else { arg.into() });
        }
        all.push(self.path("site.yaml").into_os_string());
        let cli = Cli::try_parse_from(all)?;
        match verb::run(&cli, &Progress::new(Mode::Quiet)) {
            Ok(()) => Ok(()),
            Err(failure) => bail!("{:?}", failure.diagnostics),
        }
    }

    /// Boots an image as it is.
    fn boot(&self, image: &str, firmware: Firmware, medium: Medium) -> Verdict {
        boot(&self.out(image), firmware, medium)
    }

    /// A copy of an image with a byte changed, `skip` after the first `mark` in its last extent of
    /// that label.
    fn twin(&self, image: &str, label: &str, mark: &[u8], skip: usize) -> Result<PathBuf> {
        let manifest: Value = serde_json::from_slice(&fs::read(self.out("manifest.json"))?)?;
        let node = image.split('.').next().context("a file has a name")?;
        let file = &manifest["nodes"][node]["files"][0];
        let layout = file["layout"].as_str().context("a file has a layout")?;
        let extents = &manifest["layouts"][layout]["extents"];
        let extents = extents.as_array().context("the manifest lists extents")?;
        let twin = self.path(&format!("twin-{}-{image}", label.trim_start_matches('.')));
        fs::copy(self.out(image), &twin)?;
        let file = File::options().read(true).write(true).open(&twin)?;
        let find = |extent: &Value| {
            let start = extent["start"].as_u64().context("a start")?;
            let len = usize::try_from(extent["bytes"].as_u64().context("a length")?)?;
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, start)?;
            let at = bytes.windows(mark.len()).position(|window| window == mark);
            Ok(at.map(|at| (start + (at + skip) as u64, bytes[at + skip])))
        };
        let labelled = extents.iter().rev().filter(|e| e["label"] == label);
        let found: Vec<Option<(u64, u8)>> = labelled.map(find).collect::<Result<_>>()?;
        let found = found.into_iter().flatten().next();
        let (at, byte) = found.with_context(|| format!("the mark is in an extent `{label}`"))?;
        file.write_all_at(&[byte ^ 1], at)?;
        Ok(twin)
    }
}

/// A config that Talos takes, another for each name.
fn config_of(name: &str) -> String {
    format!("# {name}\n{}", include_str!("talos-gen/talos-1.13/worker.yaml"))
}

fn boot(image: &Path, firmware: Firmware, medium: Medium) -> Verdict {
    let name = image.file_stem().unwrap_or_default().to_string_lossy();
    let start = Start::Medium(firmware, medium, image.to_owned());
    Machine::new(&format!("{name}-{firmware:?}"), start).boot().expect("QEMU starts")
}

/// The boot found the node's config, as Talos wants it, and the command line that was meant.
#[track_caller]
fn assert_found(verdict: &Verdict, node: &str) {
    let log = verdict.log.display();
    assert_eq!(verdict.expect_config(Digest::of(config_of(node).as_bytes())), Ok(()), "{log}");
    let told = |key: &str| verdict.report.get(key).unwrap_or_default();
    assert_eq!((told("config.mode"), told("config.uid")), ("0400", "0"), "{log}");
    assert_eq!(told("config.selinux"), "system_u:object_r:system_state_t:s0", "{log}");
    assert!(told("cmdline").contains("talos.platform=metal "), "{log}");
    assert!(told("cmdline").ends_with(" proc_mem.force_override=never"), "{log}");
}

/// The site of five nodes whose configs are made from what it says, with each release of Talos: its
/// ISOs and its disk boot with the very bytes that `render` shows.
#[test]
fn a_generated_site_boots_with_its_configs() {
    let Some(sites) = sites() else { return };
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        site.generated(talos, &sites.loose.path("assets")).unwrap();
        site.build().unwrap();
        site.run(&["render", "--out", "configs"]).unwrap();
        let nodes = [
            ("cp-1", "cp-1.iso", Medium::Cd),
            ("w-1", "w-1.iso", Medium::Usb),
            ("w-2", "w-2.raw", DISK),
        ];
        for (node, image, medium) in nodes {
            let config = fs::read(site.path(&format!("configs/{node}.yaml"))).unwrap();
            let verdict = site.boot(image, Firmware::Ovmf, medium);
            let log = verdict.log.display();
            assert_eq!(verdict.expect_config(Digest::of(&config)), Ok(()), "{talos}: {log}");
        }
    }
}

#[test]
fn an_iso_boots_by_uefi_as_cd() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("iso.iso", Firmware::Ovmf, Medium::Cd);
    assert_found(&verdict, "iso");
    assert!(verdict.report.get("cmdline").unwrap().contains(" talos.halt_if_installed=1 "));
}

#[test]
fn an_iso_boots_by_uefi_as_usb_stick() {
    let Some(sites) = sites() else { return };
    assert_found(&sites.loose.boot("iso.iso", Firmware::Ovmf, Medium::Usb), "iso");
}

#[test]
fn an_iso_with_its_config_in_the_initramfs_boots() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("iso-initramfs.iso", Firmware::Ovmf, Medium::Cd);
    assert_found(&verdict, "iso-initramfs");
}

#[test]
fn a_hybrid_iso_boots_by_bios_as_cd() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("hybrid.iso", Firmware::SeaBios, Medium::Cd);
    assert_found(&verdict, "hybrid");
    assert_eq!(verdict.report.get("efi"), Some("0"));
}

#[test]
fn a_hybrid_iso_boots_by_bios_as_disk() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("hybrid.iso", Firmware::SeaBios, DISK);
    assert_found(&verdict, "hybrid");
}

#[test]
fn a_hybrid_iso_boots_by_uefi_as_cd_and_as_usb_stick() {
    let Some(sites) = sites() else { return };
    assert_found(&sites.loose.boot("hybrid.iso", Firmware::Ovmf, Medium::Cd), "hybrid");
    assert_found(&sites.loose.boot("hybrid.iso", Firmware::Ovmf, Medium::Usb), "hybrid");
}

#[test]
fn a_disk_of_512_byte_sectors_boots() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("disk.raw", Firmware::Ovmf, DISK);
    assert_found(&verdict, "disk");
    assert!(!verdict.report.get("cmdline").unwrap().contains("halt_if_installed"));
}

#[test]
fn a_disk_of_4096_byte_sectors_boots() {
    let Some(sites) = sites() else { return };
    assert_found(&sites.loose.boot("disk-4k.raw", Firmware::Ovmf, DISK_4K), "disk-4k");
}

#[test]
fn a_disk_with_its_config_in_the_initramfs_boots() {
    let Some(sites) = sites() else { return };
    let nvme = Medium::Disk(Bus::Nvme, SectorSize::B512);
    let verdict = sites.loose.boot("disk-initramfs.raw", Firmware::Ovmf, nvme);
    assert_found(&verdict, "disk-initramfs");
}

#[test]
fn loose_files_boot() {
    let Some(sites) = sites() else { return };
    let out = |name: &str| sites.loose.out(&format!("pxe/{name}"));
    let files = Files {
        arch: Arch::Amd64,
        kernel: out("kernel-amd64"),
        initramfs: out("initramfs-metal-amd64.xz"),
        cmdline: fs::read_to_string(out("cmdline-metal-amd64")).unwrap(),
    };
    assert_found(&Machine::new("pxe", Start::Files(files)).boot().unwrap(), "pxe");
}

#[test]
fn a_shipped_uki_finds_the_config_beside_it() {
    let Some(sites) = sites() else { return };
    assert_found(&sites.uki.boot("shipped.iso", Firmware::Ovmf, Medium::Usb), "shipped");
}

/// The base's layer holds a config of its own: ours must lie above it.
#[test]
fn the_config_lies_above_the_layers_of_the_base() {
    let Some(sites) = sites() else { return };
    let verdict = sites.layered.boot("layered.raw", Firmware::Ovmf, DISK);
    assert_found(&verdict, "layered");
    assert_eq!(verdict.report.get("layers"), Some("2"));
}

#[test]
fn arm64_media_boot() {
    let Some(sites) = sites() else { return };
    assert_found(&sites.arm64.boot("disk.raw", Firmware::Aavmf, DISK), "disk");
    assert_found(&sites.arm64.boot("iso.iso", Firmware::Aavmf, Medium::Usb), "iso");
}

/// Without a config the same medium boots, and finds none: so what the others find is ours.
#[test]
fn a_medium_without_a_config_finds_none() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("iso-none.iso", Firmware::Ovmf, Medium::Cd);
    assert!(verdict.is_ok(), "{}", verdict.log.display());
    assert_eq!(verdict.expect_config(Digest::of(b"")), Err("no config was found".into()));
}

#[test]
fn a_flipped_bit_in_the_config_layer_is_not_read_as_the_config() {
    let Some(sites) = sites() else { return };
    // Past the superblock, whose 96 bytes the kernel checks, and the options of its compressor.
    let twin = sites.loose.twin("disk.raw", "own", b"hsqs", 96 + 8 + 40).unwrap();
    let verdict = boot(&twin, Firmware::Ovmf, DISK);
    let why = verdict.expect_config(Digest::of(config_of("disk").as_bytes())).unwrap_err();
    let is_due_to_it = why.contains("could not be read")
        || why.contains("another config")
        || verdict.failure.is_some_and(|failure| failure.reason == Reason::Report);
    assert!(is_due_to_it, "{why}");
}

/// The stub takes no addon that was made for another kernel.
#[test]
fn an_addon_for_another_uki_is_not_taken() {
    let Some(sites) = sites() else { return };
    let twin = sites.loose.twin("disk.raw", ".uname", b".", 1).unwrap();
    let verdict = boot(&twin, Firmware::Ovmf, DISK);
    assert!(verdict.is_ok(), "{}", verdict.log.display());
    assert_eq!(verdict.expect_config(Digest::of(b"")), Err("no config was found".into()));
}

#[test]
fn a_disk_for_other_sectors_does_not_boot() {
    let Some(sites) = sites() else { return };
    let verdict = sites.loose.boot("disk.raw", Firmware::Ovmf, DISK_4K);
    assert_eq!(verdict.failure.map(|failure| failure.reason), Some(Reason::NothingBootable));
}
