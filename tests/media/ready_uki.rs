//! A ready UKI as boot asset: kept as it is wherever that can be.

use anyhow::Result;
use talforge::talos::Arch;

use crate::fixture::{self, Site, TALOS};
use crate::oracle::{self, Volume};
use crate::refused_assets::refusal;

const ISO: &str = "name: cp, role: controlplane, config: cp.yaml, profile: metal-iso";
const READY: &str = "ready/metal-amd64-uki.efi";

/// A site with loose assets, and with a ready UKI made of them, as Talos releases one.
fn site() -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.nodes(&["name: net, role: worker, profile: metal-pxe, embed: none"])?;
    site.build()?;
    site.write(READY, &site.read("out/net/metal-amd64-uki.efi")?)?;
    site.write("ready/systemd-boot.efi", &site.read("assets/systemd-boot.efi")?)?;
    std::fs::remove_dir_all(site.path("out"))?;
    Ok(site)
}

/// Builds a node from assets and gives the UKI on its ISO.
fn uki(site: &Site, assets: &str, node: &str) -> Result<Vec<u8>> {
    site.site(TALOS, &format!("{{assets: \"{assets}\"}}"), &[node])?;
    site.build()?;
    let shown = site.run(&["config", "show", "out/cp.iso"])?.well()?;
    anyhow::ensure!(shown.out == site.read("cp.yaml")?, "another config is found");
    Volume::of(&site.path("out/cp.iso"), 512)?.content(&format!("EFI/Linux/Talos-{TALOS}.efi"))
}

/// Sets the directory of signatures to bytes at the end, as a signed program has it.
fn sign(uki: &mut Vec<u8>) {
    const CERTIFICATES: usize = 0x80 + 24 + 112 + 4 * 8;
    // PE Format, "The Attribute Certificate Table": length, revision, type.
    let certificate = [16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let at = u32::try_from(uki.len()).unwrap_or(u32::MAX);
    uki.extend(certificate);
    uki[CERTIFICATES..CERTIFICATES + 4].copy_from_slice(&at.to_le_bytes());
    uki[CERTIFICATES + 4..CERTIFICATES + 8].copy_from_slice(&16_u32.to_le_bytes());
}

#[test]
fn an_addon_leaves_a_ready_uki_as_it_is() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    let site = site().unwrap();
    for assets in [format!("uki:{READY}"), "dir:ready".to_owned()] {
        assert!(uki(&site, &assets, ISO).unwrap() == site.read(READY).unwrap(), "{assets}");
    }
    let mut signed = site.read(READY).unwrap();
    sign(&mut signed);
    site.write(READY, &signed).unwrap();
    assert!(uki(&site, "dir:ready", ISO).unwrap() == signed);
}

/// What is assembled anew from a ready UKI is what loose files give, to the byte.
#[test]
fn a_ready_uki_taken_apart_gives_what_loose_files_give() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    let site = site().unwrap();
    for more in ["kernel_args: [panic=10]", "embed: initramfs", "meta: {0x0c: rack 7}"] {
        let node = format!("{ISO}, {more}");
        let loose = uki(&site, "dir:assets", &node).unwrap();
        assert!(uki(&site, "dir:ready", &node).unwrap() == loose, "{more}");
        assert!(loose != site.read(READY).unwrap(), "{more}");
    }
}

#[test]
fn a_signed_uki_is_not_taken_apart() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let mut signed = site.read(READY).unwrap();
    sign(&mut signed);
    site.write(READY, &signed).unwrap();
    let mut said = String::new();
    for more in ["embed: initramfs", "kernel_args: [panic=10]"] {
        site.site(TALOS, "{assets: \"dir:ready\"}", &[&format!("{ISO}, {more}")]).unwrap();
        said += &refusal(&site, &["build"]).unwrap();
    }
    insta::assert_snapshot!(said, @r"
    exit code 4
    error: node `cp`: the boot assets' UKI is signed; a config inside the initramfs would need another one
    help: set `embed: addon` and drop `kernel_args`, or take loose boot assets (`dir:`)
    exit code 4
    warning: the boot assets' UKI is signed, and the addons with the configs are not: with Secure Boot on, Talos starts without its config
    help: turn Secure Boot off on these machines, or give them their configs over Talos' API (`embed: none`)
    error: node `cp`: the boot assets' UKI is signed; another command line would need another one
    help: set `embed: addon` and drop `kernel_args`, or take loose boot assets (`dir:`)
    ");
}

#[test]
fn a_ready_uki_without_its_boot_loader_or_its_parts_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    site.site(TALOS, "{assets: \"dir:ready\"}", &[ISO]).unwrap();
    let right = site.read(READY).unwrap();
    site.write(READY, &site.read("assets/systemd-stub.efi").unwrap()).unwrap();
    let mut said = refusal(&site, &["build"]).unwrap();
    site.write(READY, &right[..right.len() / 2]).unwrap();
    said += &refusal(&site, &["build"]).unwrap();
    site.write(READY, &right).unwrap();
    std::fs::remove_file(site.path("ready/systemd-boot.efi")).unwrap();
    said += &refusal(&site, &["build"]).unwrap();
    site.site(TALOS, "{assets: \"ready/metal-amd64-uki.efi\"}", &[ISO]).unwrap();
    said += &refusal(&site, &["build"]).unwrap();
    insta::assert_snapshot!(said, @"
    exit code 4
    error: `ready/metal-amd64-uki.efi` is not a unified kernel image: it has no section `.linux`
    help: fetch the file again and compare its checksum
    exit code 4
    error: `ready/metal-amd64-uki.efi` is no EFI program: section `.linux` ends past the end of the file: the file is cut short
    help: fetch the file again and compare its checksum
    exit code 4
    error: the boot assets in `ready` lack systemd-boot; a UKI has no boot loader in it
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`
    exit code 1
    error: a file of boot assets is named by its kind, `uki:`
      --> site.yaml:3:16
    help: write `uki:ready/metal-amd64-uki.efi`
    ");
}
