//! Proofs of the catalog: all that we ship reads, and mistakes are told.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// The names of the YAML files in a folder beside the workspace's `Cargo.toml`.
fn files(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned)).collect()
}

#[test]
fn what_we_ship_is_what_the_folders_hold() {
    assert_eq!(files("profiles"), profile_names().map(str::to_owned).collect());
    assert_eq!(files("overlays"), overlay_names().map(str::to_owned).collect());
}

#[test]
fn every_profile_and_overlay_reads() {
    for name in profile_names() {
        assert!(!profile(name).unwrap().about.is_empty());
    }
    for name in overlay_names() {
        let overlay = overlay(name).unwrap();
        let is_config = !overlay.patches.is_empty() || !overlay.manifests.is_empty();
        assert!(
            is_config || overlay.arch.iter().all(|&arch| !overlay.kernel_args.of(arch).is_empty()),
            "{name}"
        );
    }
    assert_eq!(profile("metal"), None);
}

#[test]
fn platforms_have_talos_own_arguments() {
    let args = |name: &str, arch| profile(name).unwrap().kernel_args.of(arch).join(" ");
    assert_eq!(args("metal-iso", Arch::Amd64), "console=tty0");
    assert_eq!(args("metal-iso", Arch::Arm64), "console=ttyAMA0 console=tty0");
    assert_eq!(args("nocloud-disk", Arch::Amd64), "console=tty1 console=ttyS0 net.ifnames=0");
}

/// Format and compression are those of Talos' own images (`pkg/imager/profile/default.go`).
#[test]
fn clouds_get_the_files_that_talos_has_for_them() {
    let files = |name: &&str| match profile(name).unwrap().output {
        Output::Disk(disk) => {
            let (format, compress) = (disk.format.extension(), disk.compress.suffix());
            format!("{name}.{format}{compress}")
        }
        other => panic!("{name} makes {other:?}"),
    };
    let clouds: Vec<_> =
        profile_names().filter(|name| !name.contains('-') && *name != "vm").collect();
    let all: Vec<_> = clouds.iter().chain(&["digital-ocean"]).map(files).collect();
    insta::assert_snapshot!(all.join("\n"), @"
    akamai.raw.gz
    alibabacloud.qcow2
    aws.raw.zst
    azure.vhd.zst
    cloudstack.raw.zst
    exoscale.qcow2.zst
    gcp.raw.tar.gz
    hcloud.raw.zst
    opennebula.raw.zst
    openstack.raw.zst
    oracle.qcow2.zst
    scaleway.raw.zst
    upcloud.raw.zst
    vmware.ova
    vultr.raw.zst
    digital-ocean.raw.gz
    ");
}

#[test]
fn a_release_has_its_own_arguments_for_a_platform() {
    let [old, new] = ["v1.13.9", "v1.14.0"].map(|tag| Version::parse(tag).unwrap());
    assert_eq!(old.platform_args("aws"), [""; 0]);
    assert_eq!(new.platform_args("aws"), ["nvme_core.io_timeout=4294967295"]);
    assert_eq!(new.platform_args("gcp"), [""; 0]);
    assert!(!old.knows("alibabacloud") && new.knows("alibabacloud") && old.knows("aws"));
}

#[test]
fn disks_have_talos_own_partitions_and_nothing_behind() {
    let profile = profile("metal-disk").unwrap();
    let Output::Disk(disk) = profile.output else { panic!("metal-disk makes a disk") };
    let sizes = |tag: &str| {
        let talos = Version::parse(tag).unwrap();
        (disk.esp_size(&talos).bytes(), disk.disk_size(&talos, FRONT).bytes())
    };
    // The EFI partitions are those of Talos v1.10's and v1.13's images of the systemd-boot layout.
    assert_eq!(sizes("v1.10.0"), (1101 * MIB, 1104 * MIB));
    assert_eq!(sizes("v1.13.9"), (2101 * MIB, 2104 * MIB));
}

const GOOD: &str = "version: 1
about: mine
arch: [amd64]
platform: metal
kernel_args: {amd64: [console=ttyS1]}
output: {disk: {sector: 512, esp: 600MiB, size: auto, timeout: 3}}
";

#[test]
fn a_profile_of_ones_own_reads() {
    let profile = Profile::parse("mine.yaml", GOOD.as_bytes()).unwrap();
    let Output::Disk(disk) = profile.output else { panic!("it makes a disk") };
    assert_eq!(disk.esp, Amount::Bytes(Size(600 * MIB)));
    let bom = format!("\u{feff}---\n{GOOD}");
    assert!(Profile::parse("mine.yaml", bom.as_bytes()).is_ok());
}

#[test]
fn mistakes_in_a_profile_are_told() {
    let message = |from: &str, to: &str| {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let error = Profile::parse("mine.yaml", text.as_bytes()).unwrap_err();
        format!("{} --> {}\n", error.message, error.place.unwrap())
    };
    let all = [
        message("version: 1", "version: 2"),
        message("about: mine", "abuot: mine"),
        message("[amd64]", "[]"),
        message("[amd64]", "[amd64, amd64]"),
        message("[amd64]", "[riscv]"),
        message("platform: metal", "platform: metall"),
        message("console=ttyS1", "-slab_nomerge"),
        message("console=ttyS1", "'a b'"),
        message("disk: {", "tape: {"),
        message("sector: 512", "sector: 520"),
        message("600MiB", "600MB"),
        message("600MiB", "600"),
        message("600MiB", "1KiB"),
        message("timeout: 3", "timeout: 70000"),
        message("timeout: 3", "timeout: 3, timeout: 3"),
        message("timeout: 3", "timeout: 3, extra: 1"),
        message("timeout: 3", "timeout: 3, format: vmdk, compress: tar.gz"),
        message("timeout: 3", "timeout: 3, format: qcow2-overlay, compress: zst"),
        message("timeout: 3", "timeout: 3, format: floppy"),
        message("output: {disk: {", "output: {pxe: {}, disk: {"),
        message("version: 1", "--- {}\n---\nversion: 1"),
    ]
    .concat();
    insta::assert_snapshot!(all, @"
    this is no profile: version 2 is unknown; use 1 --> mine.yaml:1:1
    this is no profile: unknown field `abuot`, expected one of `version`, `about`, `arch`, `platform`, `kernel_args`, `output` --> mine.yaml:2:1
    this is no profile: arch: no architecture is named; use amd64, arm64 or both --> mine.yaml:1:1
    this is no profile: arch: `amd64` is named twice --> mine.yaml:1:1
    this is no profile: arch[0]: unknown variant `riscv`, expected `amd64` or `arm64` --> mine.yaml:3:8
    this is no profile: platform: Talos knows none `metall`; use akamai, alibabacloud, aws, azure, cloudstack, container, digital-ocean, equinixMetal, exoscale, gcp, hcloud, metal, nocloud, opennebula, openstack, oracle, scaleway, upcloud, vmware, vultr --> mine.yaml:1:1
    this is no profile: kernel_args: the kernel argument `-slab_nomerge` would keep Talos from booting: it refuses to run without `slab_nomerge` and `pti=on`: drop the item --> mine.yaml:5:14
    this is no profile: kernel_args: a kernel argument holds white space: write one list item for each argument; the kernel ends one at white space --> mine.yaml:5:14
    this is no profile: output: unknown variant `tape`, expected one of `iso`, `disk`, `pxe`, `seed` --> mine.yaml:6:10
    this is no profile: output.disk: 520 is no sector size; use 512 or 4096 --> mine.yaml:6:16
    this is no profile: output.disk: `MB` is no unit; use B, KiB, MiB or GiB --> mine.yaml:6:16
    this is no profile: output.disk: `600` is no whole number of MiB --> mine.yaml:6:16
    this is no profile: output.disk: `1KiB` is no whole number of MiB --> mine.yaml:6:16
    this is no profile: output.disk.timeout: invalid value: integer `70000`, expected u16 --> mine.yaml:6:64
    this key is in the mapping already, on line 6 --> mine.yaml:6:67
    this is no profile: output.disk: unknown field `extra`, expected one of `sector`, `esp`, `size`, `timeout`, `format`, `compress` --> mine.yaml:6:67
    an archive `tar.gz` holds `disk.raw`, a raw disk and nothing else --> mine.yaml:1:1
    an overlay is used where it lies, beside its base, and is small already --> mine.yaml:1:1
    this is no profile: output.disk.format: unknown variant `floppy`, expected one of `raw`, `qcow2`, `qcow2-zlib`, `qcow2-zstd`, `qcow2-overlay`, `vhd`, `vhd-dynamic`, `vhdx`, `vmdk`, `vmdk-stream`, `ova` --> mine.yaml:6:75
    this is no profile: output: invalid value: map, expected map with a single key --> mine.yaml:6:9
    the profile has 2 documents and must have one --> mine.yaml:3:1
    ");
}

#[test]
fn bios_is_for_amd64_alone() {
    let iso = "iso: {firmware: uefi-and-bios, timeout: 1, halt_if_installed: true, \
               secure_boot_enroll: if-safe}";
    let from = "disk: {sector: 512, esp: 600MiB, size: auto, timeout: 3}";
    let text = GOOD.replace(from, iso);
    assert!(Profile::parse("f", text.as_bytes()).is_ok());
    let both = text.replace("[amd64]", "[amd64, arm64]");
    assert_eq!(Profile::parse("f", both.as_bytes()).unwrap_err().code, "profile-firmware");
}
