//! The values that stand in profiles and overlays.
//!
//! In: scalars of our data files. Out: types that hold only right values, and their schemas.
//!
//! Source: Talos `internal/app/machined/pkg/runtime/v1alpha1/platform/platform.go` for platforms,
//! systemd's `loader.conf(5)` for `secure-boot-enroll`.
//!
//! Not here: the files' shapes (`super`).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::kernel_arg;
use crate::talos::Arch;
use crate::units::{MIB, SectorSize, Size};

/// The version of a data file's format: 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct FileVersion(());

impl TryFrom<u32> for FileVersion {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 { Ok(Self(())) } else { Err(format!("version {number} is unknown; use 1")) }
    }
}

impl JsonSchema for FileVersion {
    fn schema_name() -> Cow<'static, str> {
        "FileVersion".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"const": 1})
    }
}

/// The names that `talos.platform` may have.
const PLATFORMS: [&str; 20] = [
    "akamai",
    "alibabacloud",
    "aws",
    "azure",
    "cloudstack",
    "container",
    "digital-ocean",
    "equinixMetal",
    "exoscale",
    "gcp",
    "hcloud",
    "metal",
    "nocloud",
    "opennebula",
    "openstack",
    "oracle",
    "scaleway",
    "upcloud",
    "vmware",
    "vultr",
];

/// Where a machine runs, in Talos' own word for it: `metal`, `nocloud`, …
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Platform(&'static str);

impl Platform {
    /// The value of `talos.platform`.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// Whether Talos installs itself to a disk here, and so asks for an install section.
    pub fn is_metal(self) -> bool {
        self.0 == "metal"
    }

    /// Whether its machines start by BIOS and can do nothing else, so that a disk for UEFI is no use
    /// there. Of other clouds some machines do, or do unless they are told otherwise.
    pub fn knows_no_uefi(self) -> bool {
        matches!(self.0, "akamai" | "digital-ocean")
    }

    /// The name of the volume on which Talos looks for its machine config; nothing where it looks
    /// for none (Talos `platform/metal/metal.go#readConfigFromISO`, which wants to be asked by
    /// `talos.config=metal-iso`, and `platform/nocloud/metadata.go#configFromCD`).
    pub fn config_label(self) -> Option<&'static str> {
        match self.0 {
            "metal" => Some("metal-iso"),
            "nocloud" => Some("cidata"),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known = PLATFORMS.into_iter().find(|known| *known == name);
        let refuse = || {
            let all = PLATFORMS.join(", ");
            D::Error::custom(format!("platform: Talos knows none `{name}`; use {all}"))
        };
        known.map(Self).ok_or_else(refuse)
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl JsonSchema for Platform {
    fn schema_name() -> Cow<'static, str> {
        "Platform".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": PLATFORMS})
    }
}

/// A size that Talos decides by its version, or one that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Amount {
    /// By the release of Talos.
    Auto,
    /// This many, a whole number of MiB.
    Bytes(Size),
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let size = Size::parse(&text)?;
        match size.bytes() {
            0 => Err("a size of nothing; use `auto` or a size such as `512MiB`".to_owned()),
            bytes if bytes % MIB != 0 => Err(format!("`{text}` is no whole number of MiB")),
            _ => Ok(Self::Bytes(size)),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(auto|[1-9][0-9]*(B|KiB|MiB|GiB))$",
            "examples": ["auto", "512MiB"]
        })
    }
}

/// Which firmware a medium starts under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Firmware {
    /// UEFI, by systemd-boot.
    Uefi,
    /// UEFI by systemd-boot, and PC BIOS by GRUB.
    UefiAndBios,
}

/// The format of a disk's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Format {
    /// The disk's bytes; zeros take no room.
    #[default]
    Raw,
    /// QEMU's own, version 3.
    Qcow2,
    /// The same, its clusters compressed by deflate.
    Qcow2Zlib,
    /// The same, its clusters compressed by Zstandard (QEMU 5.1 or newer).
    Qcow2Zstd,
    /// A qcow2 of the node's own bytes over a base that the nodes share.
    Qcow2Overlay,
    /// VHD of a fixed size, as Azure takes it.
    Vhd,
    /// VHD that leaves zeros out.
    VhdDynamic,
    /// Hyper-V's own.
    Vhdx,
    /// VMDK in one file that leaves zeros out ("monolithicSparse").
    Vmdk,
    /// VMDK for transport, compressed ("streamOptimized").
    VmdkStream,
    /// An appliance for VMware: the same with a description of its machine.
    Ova,
}

impl Format {
    /// The end of a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 | Self::Qcow2Zlib | Self::Qcow2Zstd | Self::Qcow2Overlay => "qcow2",
            Self::Vhd | Self::VhdDynamic => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk | Self::VmdkStream => "vmdk",
            Self::Ova => "ova",
        }
    }

    /// Its name in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow2Zlib => "qcow2-zlib",
            Self::Qcow2Zstd => "qcow2-zstd",
            Self::Qcow2Overlay => "qcow2-overlay",
            Self::Vhd => "vhd",
            Self::VhdDynamic => "vhd-dynamic",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::VmdkStream => "vmdk-stream",
            Self::Ova => "ova",
        }
    }
}

/// How a finished file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By Zstandard.
    Zst,
    /// By xz.
    Xz,
    /// By gzip.
    Gz,
    /// As the file `disk.raw` in an archive, by gzip: what Google's cloud imports.
    #[serde(rename = "tar.gz")]
    TarGz,
}

impl Compression {
    /// What it adds to a file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zst => ".zst",
            Self::Xz => ".xz",
            Self::Gz => ".gz",
            Self::TarGz => ".tar.gz",
        }
    }

    /// Its name in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zst => "zst",
            Self::Xz => "xz",
            Self::Gz => "gz",
            Self::TarGz => "tar.gz",
        }
    }
}

/// What systemd-boot does with Secure Boot keys on the medium while the firmware is in setup mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum SecureBootEnroll {
    /// Nothing.
    Off,
    /// It offers them in its menu.
    Manual,
    /// It enrols them on virtual machines, and offers them elsewhere.
    IfSafe,
    /// It enrols them.
    Force,
}

impl SecureBootEnroll {
    /// The value in `loader.conf`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Manual => "manual",
            Self::IfSafe => "if-safe",
            Self::Force => "force",
        }
    }
}

/// Talos' names of the architectures.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ArchName {
    Amd64,
    Arm64,
}

/// Reads a list of architectures that is not empty and names none twice.
pub(super) fn architectures<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arch>, D::Error> {
    let mut list = Vec::new();
    for name in Vec::<ArchName>::deserialize(from)? {
        let arch = match name {
            ArchName::Amd64 => Arch::Amd64,
            ArchName::Arm64 => Arch::Arm64,
        };
        if list.contains(&arch) {
            return Err(D::Error::custom(format!("arch: `{arch}` is named twice")));
        }
        list.push(arch);
    }
    if list.is_empty() {
        return Err(D::Error::custom("arch: no architecture is named; use amd64, arm64 or both"));
    }
    Ok(list)
}

/// Reads a list of kernel arguments.
pub(super) fn kernel_args<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(from)?;
    for item in &list {
        kernel_arg::check(item)
            .map_err(|why| D::Error::custom(format!("{}: {}", why.message, why.help)))?;
    }
    Ok(list)
}

/// Reads a sector size in bytes.
pub(super) fn sector<'de, D: Deserializer<'de>>(from: D) -> Result<SectorSize, D::Error> {
    match u32::deserialize(from)? {
        512 => Ok(SectorSize::B512),
        4096 => Ok(SectorSize::B4096),
        other => Err(D::Error::custom(format!("{other} is no sector size; use 512 or 4096"))),
    }
}

/// The schema of what [`sector`] reads.
pub(super) fn sector_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": [512, 4096]})
}
