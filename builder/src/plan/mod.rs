//! Site × catalog → node plans: wholly decided, printable; equal plans make equal bytes.
//!
//! In: a [`Site`]. Out: one [`NodePlan`] a node.
//!
//! Source: Talos `pkg/imager/profile/output.go`, `pkg/imager/imager.go`; systemd-stub(7) for what an
//! addon may bring.
//!
//! Not here: files, the clock, sinks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::catalog::Output;
use crate::catalog::value::{Firmware, Platform};
use crate::config::MachineConfig;
use crate::plan::cmdline::{Cmdline, Parts};
use crate::report::Diagnostic;
use crate::site::{AssetSource, Embed, Node, NodeName, Site};
use crate::talos::{Arch, Role, Version};
use crate::units::{MIB, SectorSize};

pub mod cmdline;

/// One node's medium, decided.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The node.
    pub name: NodeName,
    /// What it does in the cluster.
    pub role: Role,
    /// Its processor.
    pub arch: Arch,
    /// The release of Talos.
    pub talos: Version,
    /// The kind of image, by its profile's name.
    pub profile: String,
    /// The platform that Talos runs on: `metal`, `nocloud` …
    pub platform: Platform,
    /// What is written.
    pub medium: Medium,
    /// The kernel command line.
    pub cmdline: Cmdline,
    /// Whether the user asked for a command line other than the profile's.
    pub line: Line,
    /// The machine config to embed, and how.
    pub embed: Embedding,
    /// Values for the META partition, by key.
    pub meta: BTreeMap<u8, String>,
    /// Every time on the medium, in seconds since 1970.
    pub epoch: u32,
}

/// What is written for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// An ISO, for CD and USB stick.
    Iso {
        /// What can start it.
        firmware: Firmware,
        /// What the boot loader does.
        loader: Loader,
    },
    /// A raw disk with a GUID partition table.
    Disk {
        /// Its logical sectors.
        sector: SectorSize,
        /// The length of the EFI partition, in bytes.
        esp_bytes: u64,
        /// The length of the disk, in bytes.
        disk_bytes: u64,
        /// What the boot loader does.
        loader: Loader,
    },
    /// Loose files, for network boot.
    Files,
}

/// What `loader.conf` tells systemd-boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// Seconds that the menu waits.
    pub timeout: u32,
    /// Whether keys on the medium are enrolled: `off`, `manual`, `if-safe`, `force`; disks of Talos
    /// do not say.
    pub secure_boot_enroll: Option<&'static str>,
}

/// Where a command line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// From version, platform and profile alone: a ready UKI keeps its own.
    Usual,
    /// The same, and the boot assets are a ready UKI, which is all that the medium starts: its own
    /// line holds.
    Shipped,
    /// The user added to it: a ready UKI must be assembled anew.
    Custom,
}

/// How the machine config gets into the medium.
#[derive(Clone, Debug)]
pub enum Embedding {
    /// In an addon beside the UKI, which stays as it is; for BIOS as GRUB's second initrd.
    Addon(MachineConfig),
    /// In the initramfs.
    Initramfs(MachineConfig),
    /// Not at all: Talos waits in maintenance mode.
    None,
}

impl Embedding {
    /// The config, where there is one.
    pub fn config(&self) -> Option<&MachineConfig> {
        match self {
            Self::Addon(config) | Self::Initramfs(config) => Some(config),
            Self::None => None,
        }
    }

    /// The mode's name in the site file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Addon(_) => "addon",
            Self::Initramfs(_) => "initramfs",
            Self::None => "none",
        }
    }

    /// Why this mode, for a person.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Addon(_) => "the UKI stays as it is; the config lies beside it",
            Self::Initramfs(_) => "the config is part of the initramfs",
            Self::None => "Talos waits in maintenance mode for its config",
        }
    }
}

impl NodePlan {
    /// The name of the file or, for loose files, of the folder that the medium is written to.
    pub fn output(&self) -> String {
        match self.medium {
            Medium::Iso { .. } => format!("{}.iso", self.name),
            Medium::Disk { .. } => format!("{}.raw", self.name),
            Medium::Files => self.name.to_string(),
        }
    }

    /// The command line for a person or a program; nothing where it is a shipped UKI's own, which
    /// only the UKI tells.
    pub fn shown_line(&self) -> Option<String> {
        (self.line != Line::Shipped).then(|| self.cmdline.shown())
    }

    /// The plan for machines. The config shows by its digest only.
    pub fn to_json(&self) -> Value {
        let config = self.embed.config();
        json!({
            "node": self.name.to_string(),
            "role": self.role.name(),
            "arch": self.arch.name(),
            "talos": self.talos.to_string(),
            "profile": self.profile,
            "medium": self.medium.to_json(),
            "output": self.output(),
            "cmdline": self.shown_line(),
            "embed": self.embed.name(),
            "config": config.map(|c| json!({"sha256": c.digest().to_string(), "bytes": c.bytes().len()})),
            "meta": self.meta.keys().map(|key| format!("{key:#04x}")).collect::<Vec<_>>(),
            "epoch": self.epoch,
        })
    }
}

impl Medium {
    /// One line for a person.
    pub fn about(&self) -> String {
        match self {
            Self::Iso { firmware: Firmware::Uefi, .. } => {
                "ISO for UEFI, as CD and USB stick".into()
            }
            Self::Iso { .. } => "ISO for UEFI and BIOS, as CD and USB stick".into(),
            Self::Disk { sector, disk_bytes, .. } => {
                format!("raw disk of {} MiB, {}-byte sectors", disk_bytes / MIB, sector.bytes())
            }
            Self::Files => "loose files for network boot".into(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Iso { firmware, loader } => json!({
                "iso": {"bios": *firmware == Firmware::UefiAndBios, "timeout": loader.timeout},
            }),
            Self::Disk { sector, esp_bytes, disk_bytes, loader } => json!({
                "disk": {
                    "sector": sector.bytes(), "esp_bytes": esp_bytes, "bytes": disk_bytes,
                    "timeout": loader.timeout,
                },
            }),
            Self::Files => json!({"pxe": {}}),
        }
    }
}

/// Decides every node's medium.
///
/// # Errors
///
/// All nodes for which there is none, each with its place in the site file.
pub fn resolve(site: &Site, epoch: u32) -> Result<Vec<NodePlan>, Vec<Diagnostic>> {
    let mut plans = Vec::new();
    let mut wrong = Vec::new();
    for node in &site.nodes {
        match plan(site, node, epoch) {
            Ok(plan) => plans.push(plan),
            Err(diagnostic) => wrong.push(diagnostic.at(node.place.clone())),
        }
    }
    if wrong.is_empty() { Ok(plans) } else { Err(wrong) }
}

fn plan(site: &Site, node: &Node, epoch: u32) -> Result<NodePlan, Diagnostic> {
    let arch = site.boot.arch;
    let talos = &site.cluster.talos;
    let medium = medium(node, talos);
    let on_disk = matches!(medium, Medium::Disk { .. });
    let parts = Parts {
        platform: node.profile.platform.name(),
        platform_args: node.profile.kernel_args.of(arch),
        halt_if_installed: matches!(&node.profile.output, Output::Iso(iso) if iso.halt_if_installed),
        meta: if on_disk { &BTreeMap::new() } else { &node.meta },
        user: &node.kernel_args,
    };
    let cmdline = Cmdline::assemble(talos, &parts).map_err(|error| {
        Diagnostic::error("cmdline", format!("node `{}`: {error}", node.name))
            .help("shorten or mend its `kernel_args` and `meta`")
    })?;
    let starts_uki_alone = match &medium {
        Medium::Iso { firmware, .. } => *firmware == Firmware::Uefi,
        Medium::Disk { .. } => true,
        Medium::Files => false,
    };
    let is_shipped = matches!(site.boot.assets, AssetSource::Uki(_)) && starts_uki_alone;
    let is_usual = node.kernel_args.is_empty() && (on_disk || node.meta.is_empty());
    let embedding = embedding(node, &medium);
    Ok(NodePlan {
        name: node.name.clone(),
        role: node.role,
        arch,
        talos: talos.clone(),
        profile: node.profile_name.clone(),
        platform: node.profile.platform,
        line: match embedding {
            _ if !is_usual => Line::Custom,
            Embedding::Initramfs(_) => Line::Usual,
            _ if is_shipped => Line::Shipped,
            _ => Line::Usual,
        },
        embed: embedding,
        medium,
        cmdline,
        meta: if on_disk { node.meta.clone() } else { BTreeMap::new() },
        epoch,
    })
}

fn medium(node: &Node, talos: &Version) -> Medium {
    match &node.profile.output {
        Output::Iso(iso) => Medium::Iso {
            firmware: iso.firmware,
            loader: Loader {
                timeout: iso.timeout.into(),
                secure_boot_enroll: Some(iso.secure_boot_enroll.name()),
            },
        },
        Output::Disk(disk) => Medium::Disk {
            sector: disk.sector,
            esp_bytes: disk.esp_size(talos).bytes(),
            disk_bytes: disk.disk_size(talos).bytes(),
            loader: Loader { timeout: disk.timeout.into(), secure_boot_enroll: None },
        },
        Output::Pxe(_) => Medium::Files,
    }
}

fn embedding(node: &Node, medium: &Medium) -> Embedding {
    let Some(config) = node.config.clone() else { return Embedding::None };
    match (node.embed, medium) {
        (Embed::None, _) => Embedding::None,
        (Embed::Initramfs, _) | (_, Medium::Files) => Embedding::Initramfs(config),
        (Embed::Auto | Embed::Addon, _) => Embedding::Addon(config),
    }
}
