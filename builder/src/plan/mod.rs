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

use crate::catalog::board::{Board, Esp};
use crate::catalog::value::{Compression, Firmware, Format, Platform};
use crate::catalog::{FRONT, Output, config_volume_bytes};
use crate::config::MachineConfig;
use crate::plan::cmdline::{Cmdline, Parts};
use crate::report::Diagnostic;
use crate::site::{AssetSource, Embed, Node, NodeName, Site, TreeSource};
use crate::talos::{Arch, Role, Version};
use crate::units::{MIB, SectorSize, Size};

pub mod cmdline;

/// What makes Talos look for the volume `metal-iso` (`constants.go#MetalConfigISOLabel`).
pub const FROM_VOLUME: &str = "talos.config=metal-iso";

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
    /// The system extensions, the lowest layer first.
    pub extensions: Vec<TreeSource>,
    /// What the disk has for the node's board, if it is one.
    pub board: Option<Board>,
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
        /// How the file is compressed.
        compress: Compression,
    },
    /// A disk with a GUID partition table.
    Disk {
        /// Its logical sectors.
        sector: SectorSize,
        /// The length of the EFI partition, in bytes.
        esp_bytes: u64,
        /// The length of the disk, in bytes.
        disk_bytes: u64,
        /// What the boot loader does.
        loader: Loader,
        /// The format of its file.
        format: Format,
        /// How the file is compressed.
        compress: Compression,
    },
    /// Loose files, for network boot.
    Files,
    /// An ISO with the machine config alone, beside a medium that boots without one.
    Seed,
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
    /// On a volume that Talos looks for by its name.
    Volume(MachineConfig),
    /// Not at all: Talos waits in maintenance mode.
    None,
}

impl Embedding {
    /// The config, where there is one.
    pub fn config(&self) -> Option<&MachineConfig> {
        match self {
            Self::Addon(config) | Self::Initramfs(config) | Self::Volume(config) => Some(config),
            Self::None => None,
        }
    }

    /// The mode's name in the site file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Addon(_) => "addon",
            Self::Initramfs(_) => "initramfs",
            Self::Volume(_) => "volume",
            Self::None => "none",
        }
    }

    /// Why this mode, for a person.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Addon(_) => "the UKI stays as it is; the config lies beside it",
            Self::Initramfs(_) => "the config is part of the initramfs",
            Self::Volume(_) => {
                "the config lies on a volume of its own, the one place where Talos before v1.12 looks"
            }
            Self::None => "Talos waits in maintenance mode for its config",
        }
    }
}

impl NodePlan {
    /// The name of the file or, for loose files, of the folder that the medium is written to.
    pub fn output(&self) -> String {
        match self.medium {
            Medium::Iso { compress, .. } => format!("{}.iso{}", self.name, compress.suffix()),
            Medium::Disk { format, compress, .. } => {
                format!("{}.{}{}", self.name, format.extension(), compress.suffix())
            }
            Medium::Files => self.name.to_string(),
            Medium::Seed => format!("{}-seed.iso", self.name),
        }
    }

    /// The command line for a person or a program; nothing where it is a shipped UKI's own, which
    /// only the UKI tells, or there is nothing to boot.
    pub fn shown_line(&self) -> Option<String> {
        let is_known = self.line != Line::Shipped && self.medium != Medium::Seed;
        is_known.then(|| self.cmdline.shown())
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
            "board": self.board.as_ref().map(board_json),
            "config": config.map(|c| json!({"sha256": c.digest().to_string(), "bytes": c.bytes().len()})),
            "extensions": self.extensions.iter().map(TreeSource::name).collect::<Vec<_>>(),
            "meta": self.meta.keys().map(|key| format!("{key:#04x}")).collect::<Vec<_>>(),
            "epoch": self.epoch,
        })
    }
}

impl Medium {
    /// One line for a person.
    pub fn about(&self) -> String {
        match self {
            Self::Iso { firmware, compress, .. } => {
                let firmware = match firmware {
                    Firmware::Uefi => "UEFI",
                    Firmware::UefiAndBios => "UEFI and BIOS",
                };
                format!("ISO for {firmware}, as CD and USB stick{}", packed(*compress))
            }
            Self::Disk { sector, disk_bytes, format, compress, .. } => format!(
                "{} disk of {} MiB, {}-byte sectors{}",
                format.name(),
                disk_bytes / MIB,
                sector.bytes(),
                packed(*compress)
            ),
            Self::Files => "loose files for network boot".into(),
            Self::Seed => "ISO with the config alone, as CD, USB stick or disk".into(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Iso { firmware, loader, compress } => json!({
                "iso": {
                    "bios": *firmware == Firmware::UefiAndBios, "timeout": loader.timeout,
                    "compress": compress.name(),
                },
            }),
            Self::Disk { sector, esp_bytes, disk_bytes, loader, format, compress } => json!({
                "disk": {
                    "sector": sector.bytes(), "esp_bytes": esp_bytes, "bytes": disk_bytes,
                    "timeout": loader.timeout, "format": format.name(),
                    "compress": compress.name(),
                },
            }),
            Self::Files => json!({"pxe": {}}),
            Self::Seed => json!({"seed": {}}),
        }
    }
}

/// How a file is compressed, for a person.
fn packed(compress: Compression) -> String {
    match compress {
        Compression::None => String::new(),
        other => format!(", compressed ({})", other.name()),
    }
}

fn board_json(board: &Board) -> Value {
    let esp = |file: &Esp| match file {
        Esp::File { from, to } => json!({"from": from, "to": to}),
        Esp::Folder { from, to } => json!({"from": format!("{from}/"), "to": format!("{to}/")}),
        Esp::Text { text, to } => json!({"bytes": text.len(), "to": to}),
    };
    let raw = board.raw.iter().map(|raw| json!({"from": raw.from, "at": raw.at.bytes()}));
    json!({
        "overlay": board.name,
        "artifacts": board.artifacts,
        "first_partition": board.first_partition.bytes(),
        "raw": raw.collect::<Vec<_>>(),
        "esp": board.esp.iter().map(esp).collect::<Vec<_>>(),
    })
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
            Err(wrong_here) if wrong_here.place.is_some() => wrong.push(wrong_here),
            Err(wrong_here) => wrong.push(wrong_here.at(node.place.clone())),
        }
    }
    if wrong.is_empty() { Ok(plans) } else { Err(wrong) }
}

fn plan(site: &Site, node: &Node, epoch: u32) -> Result<NodePlan, Diagnostic> {
    let arch = site.boot.arch;
    let talos = &site.cluster.talos;
    let platform = node.profile.platform.name();
    if !talos.knows(platform) {
        let message = format!("Talos {talos} does not know the platform `{platform}`");
        return Err(Diagnostic::error("platform", message).help("take Talos v1.14.0 or newer"));
    }
    let board = board(node)?;
    let embedding = embedding(node, talos)?;
    let medium = medium(node, talos, board.as_ref(), &embedding);
    let asked = asked_for(node, &embedding, &medium)?;
    let user: Vec<String> =
        asked.iter().map(|arg| (*arg).to_owned()).chain(node.kernel_args.iter().cloned()).collect();
    let on_disk = matches!(medium, Medium::Disk { .. });
    let mut platform_args = node.profile.kernel_args.of(arch).to_vec();
    platform_args.extend(talos.platform_args(platform).iter().map(|arg| (*arg).to_owned()));
    let parts = Parts {
        platform,
        platform_args: &platform_args,
        halt_if_installed: matches!(&node.profile.output, Output::Iso(iso) if iso.halt_if_installed),
        meta: if on_disk { &BTreeMap::new() } else { &node.meta },
        user: &user,
    };
    let cmdline = Cmdline::assemble(talos, &parts).map_err(|error| {
        Diagnostic::error("cmdline", format!("node `{}`: {error}", node.name))
            .help("shorten or mend its `kernel_args` and `meta`")
    })?;
    let starts_uki_alone = match &medium {
        Medium::Iso { firmware, .. } => *firmware == Firmware::Uefi,
        Medium::Disk { .. } => true,
        Medium::Files | Medium::Seed => false,
    };
    let is_shipped = matches!(site.boot.assets[..], [AssetSource::Uki(_)]) && starts_uki_alone;
    let is_usual = user.is_empty() && (on_disk || node.meta.is_empty());
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
            _ if !node.extensions.is_empty() => Line::Usual,
            _ if is_shipped => Line::Shipped,
            _ => Line::Usual,
        },
        embed: embedding,
        medium,
        board,
        cmdline,
        extensions: node.extensions.clone(),
        meta: if on_disk { node.meta.clone() } else { BTreeMap::new() },
        epoch,
    })
}

/// What the node's board asks for; the site has no two boards on one node.
fn board(node: &Node) -> Result<Option<Board>, Diagnostic> {
    let mut boards = node.overlays.iter().filter(|(_, overlay)| overlay.artifacts().is_some());
    let Some((name, overlay)) = boards.next() else { return Ok(None) };
    overlay.board(name, &node.place, &node.values)
}

fn medium(node: &Node, talos: &Version, board: Option<&Board>, embedding: &Embedding) -> Medium {
    match &node.profile.output {
        Output::Iso(iso) => Medium::Iso {
            firmware: iso.firmware,
            loader: Loader {
                timeout: iso.timeout.into(),
                secure_boot_enroll: Some(iso.secure_boot_enroll.name()),
            },
            compress: iso.compress,
        },
        Output::Disk(disk) => Medium::Disk {
            sector: disk.sector,
            esp_bytes: disk.esp_size(talos).bytes(),
            disk_bytes: {
                let front = board.map_or(FRONT, |board| board.first_partition).bytes();
                let config = match embedding {
                    Embedding::Volume(_) => config_volume_bytes(disk.sector),
                    _ => 0,
                };
                disk.disk_size(talos, Size(front + config)).bytes()
            },
            loader: Loader { timeout: disk.timeout.into(), secure_boot_enroll: None },
            format: disk.format,
            compress: disk.compress,
        },
        Output::Pxe(_) => Medium::Files,
        Output::Seed(_) => Medium::Seed,
    }
}

fn embedding(node: &Node, talos: &Version) -> Result<Embedding, Diagnostic> {
    let Some(config) = node.config.clone() else { return Ok(Embedding::None) };
    Ok(match node.embed.settled(&node.profile, talos) {
        Embed::None => Embedding::None,
        Embed::Initramfs => Embedding::Initramfs(config),
        Embed::Addon | Embed::Auto => Embedding::Addon(config),
        Embed::Volume => {
            check_first_line(node, &config)?;
            Embedding::Volume(config)
        }
    })
}

/// Talos `platform/nocloud/nocloud.go#Configuration`: the first line may say that the rest is no
/// machine config.
fn check_first_line(node: &Node, config: &MachineConfig) -> Result<(), Diagnostic> {
    let first = config.bytes().split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    if node.profile.platform.is_metal() || !matches!(first, b"#cloud-config" | b"#include") {
        return Ok(());
    }
    let message = format!(
        "the config of node `{}` starts with `{}`: on nocloud Talos takes it for something else",
        node.name,
        String::from_utf8_lossy(first)
    );
    Err(Diagnostic::error("config-first-line", message).help("drop its first line"))
}

/// The argument by which Talos is asked to look for the volume: on metal it waits for a config
/// otherwise (`platform/metal/metal.go#Configuration`).
fn asked_for(
    node: &Node,
    embedding: &Embedding,
    medium: &Medium,
) -> Result<Option<&'static str>, Diagnostic> {
    let is_asked = matches!(embedding, Embedding::Volume(_)) && *medium != Medium::Seed;
    if !is_asked || !node.profile.platform.is_metal() {
        return Ok(None);
    }
    let is_other = |arg: &&String| {
        let key = arg.trim_start_matches('-').split('=').next();
        key == Some("talos.config") && *arg != FROM_VOLUME
    };
    match node.kernel_args.iter().find(is_other) {
        None => Ok(Some(FROM_VOLUME)),
        Some(arg) => {
            let message = format!(
                "node `{}` has the kernel argument `{arg}` and its config on a volume: Talos would \
                 not look there",
                node.name
            );
            let help = "drop the argument, or write `embed: none`";
            Err(Diagnostic::error("config-source", message).help(help))
        }
    }
}
