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

pub mod expand;
pub mod kernel_arg;
pub mod overlay;
mod template;
pub mod value;

use overlay::{Declared, Manifest, Patch};
use value::{Amount, FileVersion, Firmware, Platform, SecureBootEnroll};

/// The profiles that we ship: names and texts, in the order in which messages list them.
const PROFILES: [(&str, &str); 7] = [
    ("metal-iso", include_str!("../../../profiles/metal-iso.yaml")),
    ("metal-iso-hybrid", include_str!("../../../profiles/metal-iso-hybrid.yaml")),
    ("metal-disk", include_str!("../../../profiles/metal-disk.yaml")),
    ("metal-disk-4k", include_str!("../../../profiles/metal-disk-4k.yaml")),
    ("metal-pxe", include_str!("../../../profiles/metal-pxe.yaml")),
    ("nocloud-disk", include_str!("../../../profiles/nocloud-disk.yaml")),
    ("vm", include_str!("../../../profiles/vm.yaml")),
];

/// The overlays that we ship.
const OVERLAYS: [(&str, &str); 11] = [
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
    /// A raw disk on which Talos is installed already.
    Disk(Disk),
    /// Kernel, initramfs and command line, to be served over a network.
    Pxe(Pxe),
}

impl Output {
    /// The key that names it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Iso(_) => "iso",
            Self::Disk(_) => "disk",
            Self::Pxe(_) => "pxe",
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
}

/// A raw disk.
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
}

/// Files for a network boot; there is nothing to choose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Pxe {}

/// The bytes of the META partition: Talos takes it for one only if it has exactly these.
pub const META_BYTES: u64 = MIB;

/// The least that a disk has besides its EFI partition: META and a MiB for each partition table.
const LEAST_BESIDES_ESP: u64 = META_BYTES + 2 * MIB;

impl Disk {
    /// The size of the EFI partition with a version of Talos.
    pub const fn esp_size(&self, talos: &Version) -> Size {
        match self.esp {
            Amount::Auto => Size(talos.uki_esp_bytes()),
            Amount::Bytes(size) => size,
        }
    }

    /// The size of the disk with a version of Talos; `auto` is the least. Talos' own images have
    /// 141 MiB more of nothing at their end, which every further node's checksum would have to pass
    /// over again.
    pub const fn disk_size(&self, talos: &Version) -> Size {
        match self.size {
            Amount::Auto => Size(self.least_size(talos).bytes()),
            Amount::Bytes(size) => size,
        }
    }

    /// The least that the disk must have for its partitions with a version of Talos.
    pub const fn least_size(&self, talos: &Version) -> Size {
        Size(self.esp_size(talos).bytes().saturating_add(LEAST_BESIDES_ESP))
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
