//! Disks in every format that `talforge build` writes: judged by `qemu-img`, unpacked by others'
//! programs, and booted.
//!
//! In: a site with one node for each format and compression. Out: verdicts.
//!
//! Source: none.
//!
//! Not here: the formats byte by byte (`qcow2`, `disks`, `compressed`).

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use lab::qemu::{Bus, Firmware, Machine, Medium, Start};
use lab::standin::{self, Options};
use lab::{parts, product, tools};
use serde_json::Value;
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::SectorSize;
use tempfile::TempDir;

/// Name of the node, `format` and `compress` of its profile, and QEMU's name of the format.
const NODES: &[(&str, &str, &str, &str)] = &[
    ("plain", "raw", "none", "raw"),
    ("qcow2", "qcow2", "none", "qcow2"),
    ("zlib", "qcow2-zlib", "none", "qcow2"),
    ("zstd", "qcow2-zstd", "none", "qcow2"),
    ("over-1", "qcow2-overlay", "none", "qcow2"),
    ("over-2", "qcow2-overlay", "none", "qcow2"),
    ("fixed", "vhd", "none", "vpc"),
    ("dynamic", "vhd-dynamic", "none", "vpc"),
    ("vhdx", "vhdx", "none", "vhdx"),
    ("sparse", "vmdk", "none", "vmdk"),
    ("stream", "vmdk-stream", "none", "vmdk"),
    ("ova", "ova", "none", "vmdk"),
    ("zst", "raw", "zst", "raw"),
    ("xz", "raw", "xz", "raw"),
    ("gz", "raw", "gz", "raw"),
    ("tgz", "raw", "tar.gz", "raw"),
    ("both", "qcow2", "zst", "qcow2"),
];

/// The site's folder, built; nothing where this machine cannot.
fn site() -> Option<&'static TempDir> {
    static SITE: OnceLock<Option<TempDir>> = OnceLock::new();
    SITE.get_or_init(|| make().expect("the site can be built")).as_ref()
}

fn make() -> Result<Option<TempDir>> {
    let programs = ["qemu-img", "zstd", "xz", "gzip", "tar"];
    let Some(parts) = parts::ready(Arch::Amd64) else { return Ok(None) };
    if !tools::have(&[&standin::tools(Arch::Amd64)[..], &programs].concat()) {
        return Ok(None);
    }
    let standin = standin::build(&parts, Options::default())?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    copy(&standin.folder, &at("assets"))?;
    let mut text = "version: 1\ncluster: {name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}\n\
                    boot: {assets: \"dir:assets\"}\nnodes:\n"
        .to_owned();
    for (name, format, compress, _) in NODES {
        fs::write(at(&format!("{name}.yaml")), config(name))?;
        let profile = format!(
            "version: 1\nabout: a test's\narch: [amd64]\nplatform: metal\n\
             kernel_args: {{amd64: [console=ttyS0]}}\n\
             output:\n  disk: {{sector: 512, esp: 320MiB, size: auto, timeout: 0, \
             format: {format}, compress: {compress}}}\n"
        );
        fs::write(at(&format!("{name}.profile.yaml")), profile)?;
        text += &format!(
            "  - {{name: {name}, role: worker, config: {name}.yaml, profile: ./{name}.profile.yaml}}\n"
        );
    }
    fs::write(at("site.yaml"), text)?;
    product::run(folder.path(), &["build"])?.well()?;
    Ok(Some(folder))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A config that Talos takes; of one length for all nodes, so that all disks are alike but for it.
fn config(node: &str) -> String {
    format!("# {node:>8}\n{}", include_str!("talos-gen/talos-1.13/worker.yaml"))
}

/// What a manifest says of the file with a node's disk.
fn file<'a>(manifest: &'a Value, node: &str) -> Result<&'a Value> {
    let files = manifest["nodes"][node]["files"].as_array().context("a node has files")?;
    let is_disk = |file: &&Value| {
        let path = file["path"].as_str().unwrap_or_default();
        path.starts_with(&format!("{node}.")) && !path.ends_with(".bmap")
    };
    files.iter().find(is_disk).context("one of them is its disk")
}

/// A node's file in the output folder, by the manifest.
fn image(site: &Path, node: &str) -> Result<PathBuf> {
    let manifest: Value = serde_json::from_slice(&fs::read(site.join("out/manifest.json"))?)?;
    let file = file(&manifest, node)?;
    Ok(site.join("out").join(file["path"].as_str().context("a path")?))
}

/// A node's disk as QEMU takes it: unpacked by others' programs where it is packed.
fn unpacked(site: &Path, node: &str) -> Result<PathBuf> {
    let image = image(site, node)?;
    let name = image.file_name().and_then(|name| name.to_str()).context("a name")?;
    let to = site.join(format!("{node}.unpacked"));
    fs::create_dir_all(&to)?;
    let script = match name.split_once('.').map(|(_, end)| end) {
        Some("raw.zst") => format!("zstd -qdc ../out/{name} > disk.raw"),
        Some("raw.xz") => format!("xz -dc ../out/{name} > disk.raw"),
        Some("raw.gz") => format!("gzip -dc ../out/{name} > disk.raw"),
        Some("qcow2.zst") => format!("zstd -qdc ../out/{name} > disk.qcow2"),
        Some("raw.tar.gz") => format!("tar -xzf ../out/{name}"),
        Some("ova") => format!("tar -xf ../out/{name}"),
        _ => return Ok(image),
    };
    tools::stdout("sh", &["-ec", &script], &to)?;
    let disk =
        ["disk.raw", "disk.qcow2", "disk.vmdk"].into_iter().find(|name| to.join(name).exists());
    Ok(to.join(disk.context("a disk in it")?))
}

/// The ranges of a node's file that the manifest calls its own.
fn own(site: &Path, node: &str) -> Result<Vec<Range<u64>>> {
    let manifest: Value = serde_json::from_slice(&fs::read(site.join("out/manifest.json"))?)?;
    let own = file(&manifest, node)?["own"].as_array().context("own ranges")?;
    let range = |range: &Value| {
        let (start, len) = (range[0].as_u64()?, range[1].as_u64()?);
        Some(start..start + len)
    };
    own.iter().map(|own| range(own).context("a start and a length")).collect()
}

/// The bytes, by their offsets, in which two files of one length differ.
fn differing(a: &Path, b: &Path) -> Result<Vec<u64>> {
    const ROOM: usize = 1 << 20;
    let (a, b) = (File::open(a)?, File::open(b)?);
    ensure!(a.metadata()?.len() == b.metadata()?.len(), "they have different lengths");
    let (mut x, mut y) = (vec![0; ROOM], vec![0; ROOM]);
    let (mut out, mut offset) = (Vec::new(), 0);
    loop {
        let len = a.read_at(&mut x, offset)?;
        if len == 0 {
            return Ok(out);
        }
        b.read_exact_at(&mut y[..len], offset)?;
        if x[..len] != y[..len] {
            let unlike = (0..len).filter(|&at| x[at] != y[at]);
            out.extend(unlike.map(|at| offset + at as u64));
        }
        offset += len as u64;
    }
}

/// All disks are of one length and alike but for the config: so each is the plain one, but for the
/// bytes that are its node's own.
#[test]
fn every_format_is_taken_by_qemu_img_and_holds_the_disk() {
    let Some(site) = site() else { return };
    let site = site.path();
    let own = own(site, "plain").unwrap();
    assert!(!own.is_empty());
    for (node, _, _, format) in NODES {
        let disk = unpacked(site, node).unwrap();
        let file = disk.display().to_string();
        if matches!(*format, "qcow2" | "vhdx" | "vmdk") {
            tools::stdout("qemu-img", &["check", "-q", "-f", format, &file], site).unwrap();
        }
        let raw = site.join(format!("{node}.as.raw")).display().to_string();
        tools::stdout("qemu-img", &["convert", "-f", format, "-O", "raw", &file, &raw], site)
            .unwrap();
        let said = product::run(site, &["config", "show", &raw]).unwrap().well().unwrap();
        assert_eq!(said.text(), config(node), "{node}");
        let plain = site.join("out/plain.raw");
        for at in differing(Path::new(&raw), &plain).unwrap() {
            let is_own = own.iter().any(|range| range.contains(&at));
            assert!(is_own, "{node}: byte {at:#x} is not that of the plain disk");
        }
        fs::remove_file(&raw).unwrap();
    }
}

/// The overlays' base is one file, and an overlay is small.
#[test]
fn overlays_share_one_base_and_are_small() {
    let Some(site) = site() else { return };
    let site = site.path();
    let bases = fs::read_dir(site.join("out")).unwrap().map(|entry| entry.unwrap().file_name());
    let bases = bases.filter(|name| name.to_string_lossy().starts_with("base-")).count();
    assert_eq!(bases, 1);
    for node in ["over-1", "over-2"] {
        let len = fs::metadata(image(site, node).unwrap()).unwrap().len();
        assert!(len <= 300 << 10, "{node}: {len} bytes");
    }
}

/// Through a folder in the layout of OCI images: what comes out is what was built.
#[test]
fn what_was_built_is_exported_and_fetched_as_it_is() {
    let Some(site) = site() else { return };
    let site = site.path();
    product::run(site, &["export", "out", "shared"]).unwrap().well().unwrap();
    let text = fs::read(site.join("out/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    for node in ["plain", "over-2", "ova", "xz"] {
        let args = ["fetch", "shared", node, "-o", "got", "--store", "store"];
        product::run(site, &args).unwrap().well().unwrap();
        for file in manifest["nodes"][node]["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let (built, got) = (site.join("out").join(path), site.join("got").join(path));
            assert_eq!(differing(&built, &got).unwrap(), [0; 0], "{path}");
        }
    }
}

#[test]
fn a_disk_of_each_format_boots() {
    let Some(site) = site() else { return };
    for (node, format, compress, _) in NODES {
        // What is only compressed was compared above, and boots as the plain disk does.
        if *node == "over-1" || *compress != "none" {
            continue;
        }
        let image = unpacked(site.path(), node).unwrap();
        let medium = Medium::Disk(Bus::Virtio, SectorSize::B512);
        let start = Start::Medium(Firmware::Ovmf, medium, image);
        let verdict = Machine::new(&format!("format-{format}"), start).boot().expect("QEMU starts");
        let log = verdict.log.display();
        assert_eq!(verdict.expect_config(Digest::of(config(node).as_bytes())), Ok(()), "{log}");
    }
}
