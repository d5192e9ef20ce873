//! The config that foreign programs find on a medium is the config that was meant, to the byte.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lab::tools;
use proptest::prelude::*;
use talforge::asset::initramfs::Initramfs;
use talforge::payload::extension;
use talforge::talos::Arch;

use crate::fixture::{self, Site, small_disk};
use crate::kinds::DISK_512;
use crate::oracle::{self, Segment, Volume};
use lab::noise::noise;

/// Where Talos looks for its config.
const CONFIG: &str = "usr/local/etc/talos/config.yaml";
const TALOS: &str = "v1.14.0";
const MIB: usize = 1 << 20;
/// A config that Talos takes.
const WORKER: &str = include_str!("../talos-gen/talos-1.14/worker.yaml");

/// What a config is filled up with.
#[derive(Clone, Copy, Debug)]
enum Filling {
    /// The same line again and again.
    Lines,
    /// Text that hardly compresses, some of it of several bytes a character.
    Noise,
}

/// A config of about that length.
fn config(seed: u64, len: usize, filling: Filling) -> Vec<u8> {
    let mut text = WORKER.trim_end().to_owned();
    let noise = noise(seed, len.saturating_sub(text.len()));
    for (at, byte) in noise.into_iter().enumerate() {
        match (at % 80, filling) {
            (0, _) => text.push('\n'),
            (1, _) => text.push('#'),
            (_, Filling::Lines) => text.push('x'),
            (_, Filling::Noise) => {
                text.push(if byte == 0xff { 'ß' } else { (b' ' + byte % 95).into() })
            }
        }
    }
    text.into_bytes()
}

/// Lengths up to a MiB, short ones as often as long ones; none is shorter than what Talos takes.
fn lengths() -> impl Strategy<Value = usize> {
    (0u32..=20).prop_flat_map(|shift| (1usize << shift.saturating_sub(1))..=(1usize << shift))
}

fn configs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let filling = prop_oneof![Just(Filling::Lines), Just(Filling::Noise)];
    let config = (any::<u64>(), lengths(), filling).prop_map(|(seed, len, f)| config(seed, len, f));
    prop::collection::vec(config, 4..=4)
}

/// The config in a segment that is not compressed, the first of whose files is the layer.
fn unpack(segment: &[u8]) -> Result<Vec<u8>> {
    let segment = Segment::unpack(segment)?;
    segment.content(segment.names.first().context("the segment holds files")?, CONFIG)
}

/// `.initrd` of a program in the site's folder, taken out by `objcopy`.
fn initrd(site: &Site, program: &[u8]) -> Result<Vec<u8>> {
    site.write("program.efi", program)?;
    let args = ["-O", "binary", "--only-section=.initrd", "program.efi", "initrd"];
    tools::stdout(oracle::copier(Arch::Amd64), &args, site.folder())?;
    site.read("initrd")
}

/// What follows the base in an initramfs, from the next multiple of 4.
fn tail(site: &Site, initramfs: &[u8]) -> Result<Vec<u8>> {
    let base = site.read("assets/initramfs.xz")?;
    let tail = initramfs.get(base.len().next_multiple_of(4)..);
    Ok(tail.context("a segment follows the base")?.to_vec())
}

/// The configs on the media of `addon`, `inside`, `bios` and `net`, in this order.
fn found(site: &Site) -> Result<[Vec<u8>; 4]> {
    let uki = format!("EFI/Linux/Talos-{TALOS}.efi");
    let volume = |file: &str| Volume::of(&site.path(file), 512);
    let addon = volume("out/addon.iso")?.content(&format!("{uki}.extra.d/talforge.addon.efi"))?;
    let inside = volume("out/inside.raw")?.content(&uki)?;
    let extract =
        ["-osirrox", "on", "-indev", "out/bios.iso", "-extract", "/boot/config.cpio", "bios.cpio"];
    let _ = fs::remove_file(site.path("bios.cpio"));
    tools::stdout("xorriso", &extract, site.folder())?;
    Ok([
        unpack(&initrd(site, &addon)?)?,
        unpack(&tail(site, &initrd(site, &inside)?)?)?,
        unpack(&site.read("bios.cpio")?)?,
        unpack(&tail(site, &site.read("out/net/initramfs-metal-amd64.xz")?)?)?,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn foreign_programs_alone_find_any_config_unchanged(configs in configs()) {
        if !fixture::have(&oracle::TOOLS) || !fixture::have(&["xorriso", "grub-mkimage", "objcopy"]) {
            return Ok(());
        }
        let site = Site::new(Arch::Amd64).unwrap();
        site.write(DISK_512, small_disk(512, "36MiB").as_bytes()).unwrap();
        for (name, config) in ["addon", "inside", "bios", "net"].iter().zip(&configs) {
            site.write(&format!("{name}.yaml"), config).unwrap();
        }
        site.site(TALOS, "{assets: \"dir:assets\"}", &[
            "name: addon, role: worker, config: addon.yaml, profile: metal-iso, embed: addon",
            "name: inside, role: worker, config: inside.yaml, profile: disk-512.yaml, embed: initramfs",
            "name: bios, role: worker, config: bios.yaml, profile: metal-iso-hybrid",
            "name: net, role: worker, config: net.yaml, profile: metal-pxe",
        ]).unwrap();
        site.build().unwrap();
        let found = found(&site).unwrap();
        // Not by `==` in the assertion: a failure would print a MiB.
        let right = found.iter().zip(&configs).map(|(found, meant)| found == meant);
        prop_assert_eq!(right.collect::<Vec<_>>(), [true; 4]);
    }

    /// Also bytes that are no config at all: the payload does not look into them.
    #[test]
    fn a_segment_of_any_bytes_unpacks_to_them(seed: u64, len in lengths()) {
        if !tools::have(&["cpio", "unsquashfs"]) {
            return Ok(());
        }
        let bytes = noise(seed, len);
        let segment = extension::segment(&bytes, &Initramfs::default(), 0).unwrap();
        let found = unpack(&segment.to_vec().unwrap()).unwrap();
        prop_assert!(found == bytes, "{} bytes of {len}", found.len());
    }
}

/// `config show` gives the same bytes, and nothing else.
#[test]
fn the_config_is_shown_as_it_is() {
    if !fixture::have(&[]) {
        return;
    }
    let site = Site::new(Arch::Amd64).unwrap();
    let config = config(1, MIB, Filling::Noise);
    site.write("w.yaml", &config).unwrap();
    site.site(TALOS, "{assets: \"dir:assets\"}", &["name: w, role: worker, config: w.yaml"])
        .unwrap();
    site.build().unwrap();
    for extra in [None, Some("--json"), Some("--quiet")] {
        let args: Vec<_> = ["config", "show", "out/w.iso"].into_iter().chain(extra).collect();
        let said = site.run(&args).unwrap().well().unwrap();
        assert!(said.out == config && said.err.is_empty(), "{}", said.err);
    }
    assert!(Path::new(&site.path("out/w.iso")).is_file());
}
