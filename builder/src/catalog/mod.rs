//! Profiles and overlays: kinds of media and variations of them, as data.
//!
//! In: YAML, ours (inside the program) or a user's own. Out: [`Profile`], [`Overlay`] and
//! their JSON Schemas.
//!
//! Source: Talos `pkg/imager/profile/default.go` (what its own imager ships) and each platform's
//! `KernelArgs`, <https://github.com/siderolabs/talos/tree/main/pkg/imager/profile>.
//!
//! Not here: opening files (`site` reads a user's own), and what a profile leads to (`plan`).

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, Version};
use crate::units::{MIB, SectorSize, Size};
use crate::yaml::{self, Node};

pub mod board;
pub mod expand;
pub mod kernel_arg;
pub mod overlay;
mod template;
pub mod value;

use overlay::{Declared, Manifest, Patch};
use value::{Amount, Compression, FileVersion, Firmware, Format, Platform, SecureBootEnroll};

/// The profiles that we ship: names and texts, in the order in which messages list them.
const PROFILES: [(&str, &str); 29] = [
    ("metal-iso", include_str!("../../../profiles/metal-iso.yaml")),
    ("metal-iso-hybrid", include_str!("../../../profiles/metal-iso-hybrid.yaml")),
    ("metal-disk", include_str!("../../../profiles/metal-disk.yaml")),
    ("metal-disk-4k", include_str!("../../../profiles/metal-disk-4k.yaml")),
    ("metal-pxe", include_str!("../../../profiles/metal-pxe.yaml")),
    ("nocloud-disk", include_str!("../../../profiles/nocloud-disk.yaml")),
    ("vm", include_str!("../../../profiles/vm.yaml")),
    ("vm-qcow2", include_str!("../../../profiles/vm-qcow2.yaml")),
    ("vm-overlay", include_str!("../../../profiles/vm-overlay.yaml")),
    ("vm-vhdx", include_str!("../../../profiles/vm-vhdx.yaml")),
    ("vm-vmdk", include_str!("../../../profiles/vm-vmdk.yaml")),
    ("metal-seed", include_str!("../../../profiles/metal-seed.yaml")),
    ("nocloud-seed", include_str!("../../../profiles/nocloud-seed.yaml")),
    ("akamai", include_str!("../../../profiles/akamai.yaml")),
    ("alibabacloud", include_str!("../../../profiles/alibabacloud.yaml")),
    ("aws", include_str!("../../../profiles/aws.yaml")),
    ("azure", include_str!("../../../profiles/azure.yaml")),
    ("cloudstack", include_str!("../../../profiles/cloudstack.yaml")),
    ("digital-ocean", include_str!("../../../profiles/digital-ocean.yaml")),
    ("exoscale", include_str!("../../../profiles/exoscale.yaml")),
    ("gcp", include_str!("../../../profiles/gcp.yaml")),
    ("hcloud", include_str!("../../../profiles/hcloud.yaml")),
    ("opennebula", include_str!("../../../profiles/opennebula.yaml")),
    ("openstack", include_str!("../../../profiles/openstack.yaml")),
    ("oracle", include_str!("../../../profiles/oracle.yaml")),
    ("scaleway", include_str!("../../../profiles/scaleway.yaml")),
    ("upcloud", include_str!("../../../profiles/upcloud.yaml")),
    ("vmware", include_str!("../../../profiles/vmware.yaml")),
    ("vultr", include_str!("../../../profiles/vultr.yaml")),
];

/// The overlays that we ship: variations, then boards.
const OVERLAYS: [(&str, &str); 40] = [
    ("serial-console", include_str!("../../../overlays/serial-console.yaml")),
    ("no-kexec", include_str!("../../../overlays/no-kexec.yaml")),
    ("no-dashboard", include_str!("../../../overlays/no-dashboard.yaml")),
    ("predictable-names-off", include_str!("../../../overlays/predictable-names-off.yaml")),
    ("cilium", include_str!("../../../overlays/cilium.yaml")),
    ("cilium-bgp", include_str!("../../../overlays/cilium-bgp.yaml")),
    ("bgp", include_str!("../../../overlays/bgp.yaml")),
    ("ipv6-only", include_str!("../../../overlays/ipv6-only.yaml")),
    ("single-node", include_str!("../../../overlays/single-node.yaml")),
    ("registry-mirror", include_str!("../../../overlays/registry-mirror.yaml")),
    ("self-bootstrap", include_str!("../../../overlays/self-bootstrap.yaml")),
    ("bananapi_m64", include_str!("../../../overlays/bananapi_m64.yaml")),
    ("friendlyelec-cm3588-nas", include_str!("../../../overlays/friendlyelec-cm3588-nas.yaml")),
    ("helios64", include_str!("../../../overlays/helios64.yaml")),
    ("jetson_nano", include_str!("../../../overlays/jetson_nano.yaml")),
    ("libretech_all_h3_cc_h5", include_str!("../../../overlays/libretech_all_h3_cc_h5.yaml")),
    ("nanopi-r4s", include_str!("../../../overlays/nanopi-r4s.yaml")),
    ("nanopi-r5s", include_str!("../../../overlays/nanopi-r5s.yaml")),
    ("odroid-m1", include_str!("../../../overlays/odroid-m1.yaml")),
    ("orangepi-5", include_str!("../../../overlays/orangepi-5.yaml")),
    ("orangepi-5-max", include_str!("../../../overlays/orangepi-5-max.yaml")),
    ("orangepi-5-plus", include_str!("../../../overlays/orangepi-5-plus.yaml")),
    ("orangepi-r1-plus-lts", include_str!("../../../overlays/orangepi-r1-plus-lts.yaml")),
    ("pine64", include_str!("../../../overlays/pine64.yaml")),
    ("radxa-zero-3e", include_str!("../../../overlays/radxa-zero-3e.yaml")),
    ("revpi_generic", include_str!("../../../overlays/revpi_generic.yaml")),
    ("rock3b", include_str!("../../../overlays/rock3b.yaml")),
    ("rock4cplus", include_str!("../../../overlays/rock4cplus.yaml")),
    ("rock4se", include_str!("../../../overlays/rock4se.yaml")),
    ("rock5a", include_str!("../../../overlays/rock5a.yaml")),
    ("rock5b", include_str!("../../../overlays/rock5b.yaml")),
    ("rock5b-plus", include_str!("../../../overlays/rock5b-plus.yaml")),
    ("rock5t", include_str!("../../../overlays/rock5t.yaml")),
    ("rock64", include_str!("../../../overlays/rock64.yaml")),
    ("rockpi4", include_str!("../../../overlays/rockpi4.yaml")),
    ("rockpi4c", include_str!("../../../overlays/rockpi4c.yaml")),
    ("rockpro64", include_str!("../../../overlays/rockpro64.yaml")),
    ("rpi_5", include_str!("../../../overlays/rpi_5.yaml")),
    ("rpi_generic", include_str!("../../../overlays/rpi_generic.yaml")),
    ("turingrk1", include_str!("../../../overlays/turingrk1.yaml")),
];

/// The largest profile or overlay that is read; ours have about 1 KiB.
pub const MAX_BYTES: u64 = 64 << 10;

/// A kind of medium.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The version of this file's format.
    pub version: FileVersion,
    /// What the medium is for, in a line.
    pub about: String,
    /// The architectures that it can be made for.
    #[serde(deserialize_with = "value::architectures")]
    #[schemars(with = "Vec<value::ArchName>", length(min = 1))]
    pub arch: Vec<Arch>,
    /// Where the machine runs: the value of `talos.platform`.
    pub platform: Platform,
    /// What the platform's kernel needs: Talos' own platform arguments.
    pub kernel_args: KernelArgs,
    /// What is made. Exactly one of the keys is given.
    #[serde(with = "serde_yaml::with::singleton_map")]
    #[schemars(with = "Output")]
    pub output: Output,
}

/// A variation that can be laid over any profile.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// What it changes, in a line.
    pub about: String,
    /// The architectures that it is for.
    pub arch: Vec<Arch>,
    /// Kernel arguments to add, or with a leading `-` to take away.
    pub kernel_args: KernelArgs,
    /// What a site gives it, by name.
    pub values: BTreeMap<String, Declared>,
    patches: Vec<Patch>,
    manifests: Vec<Manifest>,
    board: Option<board::Spec>,
}

/// Kernel arguments by architecture; a list that is not given is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct KernelArgs {
    /// On amd64, in order.
    #[serde(default, deserialize_with = "value::kernel_args")]
    pub amd64: Vec<String>,
    /// On arm64, in order.
    #[serde(default, deserialize_with = "value::kernel_args")]
    pub arm64: Vec<String>,
}

impl KernelArgs {
    /// The list of an architecture.
    pub fn of(&self, arch: Arch) -> &[String] {
        match arch {
            Arch::Amd64 => &self.amd64,
            Arch::Arm64 => &self.arm64,
        }
    }
}

/// What is made of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Output {
    /// An ISO that starts as a CD and, written as it is, as a USB stick.
    Iso(Iso),
    /// A disk on which Talos is installed already.
    Disk(Disk),
    /// Kernel, initramfs and command line, to be served over a network.
    Pxe(Pxe),
    /// A small ISO that holds the machine config alone, beside media that boot without one.
    Seed(Seed),
}

impl Output {
    /// The key that names it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Iso(_) => "iso",
            Self::Disk(_) => "disk",
            Self::Pxe(_) => "pxe",
            Self::Seed(_) => "seed",
        }
    }
}

/// An ISO.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Iso {
    /// Which firmware it starts under. `uefi-and-bios` is for amd64 alone.
    pub firmware: Firmware,
    /// How many seconds the boot menu waits.
    pub timeout: u16,
    /// Whether Talos stops where it finds itself installed already.
    pub halt_if_installed: bool,
    /// What systemd-boot does with Secure Boot keys.
    pub secure_boot_enroll: SecureBootEnroll,
    /// How the file is compressed; not at all where it is not given.
    #[serde(default)]
    pub compress: Compression,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Disk {
    /// The bytes of a logical sector: 512, or 4096 for "4Kn" disks.
    #[serde(deserialize_with = "value::sector")]
    #[schemars(schema_with = "value::sector_schema")]
    pub sector: SectorSize,
    /// The EFI system partition's size: `auto` or such as `512MiB`. An upgrade needs room in it
    /// for two UKIs.
    pub esp: Amount,
    /// The disk's size: `auto`, the least, or such as `4GiB`. Talos grows to the disk it is written
    /// to.
    pub size: Amount,
    /// How many seconds the boot menu waits.
    pub timeout: u16,
    /// The format of the disk's file; `raw` where it is not given.
    #[serde(default)]
    pub format: Format,
    /// How the file is compressed; not at all where it is not given.
    #[serde(default)]
    pub compress: Compression,
}

/// Files for a network boot; there is nothing to choose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Pxe {}

/// An ISO with a machine config and nothing to boot; there is nothing to choose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Seed {}

/// The bytes of the META partition: Talos takes it for one only if it has exactly these.
pub const META_BYTES: u64 = MIB;

/// What lies before a disk's first partition, unless a board needs more.
pub const FRONT: Size = Size(MIB);

/// The least that a disk has behind its EFI partition: META and a MiB for the partition table.
const LEAST_BEHIND_ESP: u64 = META_BYTES + MIB;

/// The bytes of a partition for the machine config, whose length says nothing of the config's: about
/// the least of a FAT32, whose clusters are sectors at least.
pub const fn config_volume_bytes(sector: SectorSize) -> u64 {
    match sector {
        SectorSize::B512 => 36 * MIB,
        SectorSize::B4096 => 272 * MIB,
    }
}

impl Disk {
    /// The size of the EFI partition with a version of Talos.
    pub const fn esp_size(&self, talos: &Version) -> Size {
        match self.esp {
            Amount::Auto => Size(talos.uki_esp_bytes()),
            Amount::Bytes(size) => size,
        }
    }

    /// The size of the disk with a version of Talos; `besides` is as for [`Disk::least_size`], and
    /// `auto` is the least. Talos' own images have 141 MiB more of nothing at their end, which every
    /// further node's checksum would have to pass over again.
    pub const fn disk_size(&self, talos: &Version, besides: Size) -> Size {
        match self.size {
            Amount::Auto => self.least_size(talos, besides),
            Amount::Bytes(size) => size,
        }
    }

    /// The least that the disk must have for its partitions with a version of Talos; `besides` is
    /// what lies before the first of them, and the one for the machine config if there is one.
    pub const fn least_size(&self, talos: &Version, besides: Size) -> Size {
        let besides = besides.bytes().saturating_add(LEAST_BEHIND_ESP);
        Size(self.esp_size(talos).bytes().saturating_add(besides))
    }
}

impl Overlay {
    /// The name of the image, in Sidero's catalogue of overlays, that holds the files of the board
    /// that this overlay is for; nothing where it is for none.
    pub fn artifacts(&self) -> Option<&str> {
        self.board.as_ref().map(board::Spec::artifacts)
    }

    /// Where the first partition starts for the board that this overlay is for.
    pub fn first_partition(&self) -> Option<Size> {
        self.board.as_ref().map(board::Spec::first_partition)
    }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// The first mistake in it.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let (profile, _): (Self, _) = read(file, bytes, "profile")?;
        if let Output::Seed(_) = profile.output
            && profile.platform.config_label().is_none()
        {
            let message = format!(
                "on the platform `{}` Talos looks for no volume with a machine config",
                profile.platform.name()
            );
            let help = "write `platform: metal` or `platform: nocloud`";
            return Err(Diagnostic::error("profile-seed", message).at(start(file)).help(help));
        }
        check_packing(file, &profile.output)?;
        if let Output::Iso(Iso { firmware: Firmware::UefiAndBios, .. }) = profile.output
            && profile.arch.contains(&Arch::Arm64)
        {
            let message = "firmware `uefi-and-bios` is for amd64 alone: arm64 has no BIOS";
            let help = "write `arch: [amd64]`, or `firmware: uefi`";
            return Err(Diagnostic::error("profile-firmware", message).at(start(file)).help(help));
        }
        Ok(profile)
    }
}

/// What a compressed file is: an archive of `disk.raw` has a raw disk in it, and images that are
/// used where they lie are not compressed as a whole.
fn check_packing(file: &str, output: &Output) -> Result<(), Diagnostic> {
    let (format, compress) = match output {
        Output::Disk(disk) => (Some(disk.format), disk.compress),
        Output::Iso(iso) => (None, iso.compress),
        Output::Pxe(_) | Output::Seed(_) => (None, Compression::None),
    };
    let wrong = |message: &str, help: &str| {
        Err(Diagnostic::error("profile-compress", message).at(start(file)).help(help))
    };
    match (format, compress) {
        (format, Compression::TarGz) if format != Some(Format::Raw) => wrong(
            "an archive `tar.gz` holds `disk.raw`, a raw disk and nothing else",
            "write `format: raw`, or another `compress`",
        ),
        (Some(Format::Qcow2Overlay), compress) if compress != Compression::None => wrong(
            "an overlay is used where it lies, beside its base, and is small already",
            "drop `compress`, or write `format: qcow2`",
        ),
        _ => Ok(()),
    }
}

/// The names of the profiles that we ship.
pub fn profile_names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

/// The names of the overlays that we ship.
pub fn overlay_names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|(name, _)| *name)
}

/// A profile that we ship.
pub fn profile(name: &str) -> Option<Profile> {
    let (_, text) = PROFILES.iter().find(|(known, _)| *known == name)?;
    Some(Profile::parse(name, text.as_bytes()).expect("a test reads all that we ship"))
}

/// An overlay that we ship.
pub fn overlay(name: &str) -> Option<Overlay> {
    let (_, text) = OVERLAYS.iter().find(|(known, _)| *known == name)?;
    Some(Overlay::parse(name, text.as_bytes()).expect("a test reads all that we ship"))
}

/// The JSON Schema of a profile.
pub fn profile_schema() -> Value {
    schema_for!(Profile).to_value()
}

/// The JSON Schema of an overlay.
pub fn overlay_schema() -> Value {
    schema_for!(overlay::File).to_value()
}

/// Reads a data file: first within the limits of a person's file, then into its type. The tree is
/// there for the places in it.
fn read<T: DeserializeOwned>(
    file: &str,
    bytes: &[u8],
    what: &str,
) -> Result<(T, Node), Diagnostic> {
    let mut documents = yaml::parse(file, bytes)?;
    if documents.len() != 1 {
        let message = format!("the {what} has {} documents and must have one", documents.len());
        let place = documents.get(1).map_or_else(|| start(file), Node::place);
        return Err(Diagnostic::error("catalog-documents", message).at(place));
    }
    let root = documents.remove(0);
    // `serde_yaml` refuses a byte order mark before `---`.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let data = serde_yaml::from_slice(bytes).map_err(|error| {
        let place = error.location().map_or_else(
            || start(file),
            |at| Place {
                file: file.to_owned(),
                line: u32::try_from(at.line()).unwrap_or(u32::MAX),
                column: u32::try_from(at.column()).unwrap_or(u32::MAX),
            },
        );
        let text = error.to_string();
        // The place is told in our own way.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        // An escape such as "\e" in quotes could otherwise reach the terminal.
        let text = text.replace(char::is_control, "\u{fffd}");
        let message = format!("this is no {what}: {text}");
        let help = format!("see `{what}.schema.json` and our own {what}s for the keys");
        Diagnostic::error("catalog-shape", message).at(place).help(help)
    })?;
    Ok((data, root))
}

fn start(file: &str) -> Place {
    Place { file: file.to_owned(), line: 1, column: 1 }
}

#[cfg(test)]
mod tests;
