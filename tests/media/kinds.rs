//! The kinds of media, and a site that has each of them.
//!
//! In: an architecture, kinds. Out: a built site with one node for each kind and way to embed.
//!
//! Source: `profiles/`.
//!
//! Not here: what must be on them.

use std::path::PathBuf;

use anyhow::Result;
use talforge::talos::Arch;

use crate::fixture::{Site, small_disk};

/// The profiles of small disks, beside the site file.
pub(crate) const DISK_512: &str = "disk-512.yaml";
pub(crate) const DISK_4096: &str = "disk-4096.yaml";

/// A kind of medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Iso,
    Hybrid,
    Disk512,
    Disk4096,
    Pxe,
}

/// How a config is embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embed {
    /// As the builder chooses: an addon, but not for a network boot.
    Auto,
    Initramfs,
    None,
}

impl Embed {
    pub(crate) const ALL: [Self; 3] = [Self::Auto, Self::Initramfs, Self::None];

    /// Its name in a site file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Initramfs => "initramfs",
            Self::None => "none",
        }
    }
}

impl Kind {
    /// The profile that makes it.
    pub(crate) const fn profile(self) -> &'static str {
        match self {
            Self::Iso => "metal-iso",
            Self::Hybrid => "metal-iso-hybrid",
            Self::Disk512 => DISK_512,
            Self::Disk4096 => DISK_4096,
            Self::Pxe => "metal-pxe",
        }
    }

    /// What names of its nodes begin with.
    const fn name(self) -> &'static str {
        match self {
            Self::Iso => "iso",
            Self::Hybrid => "hybrid",
            Self::Disk512 => "disk",
            Self::Disk4096 => "disk4k",
            Self::Pxe => "pxe",
        }
    }

    /// Whether there can be such media for an architecture.
    const fn is_for(self, arch: Arch) -> bool {
        matches!(
            (self, arch),
            (_, Arch::Amd64) | (Self::Iso | Self::Disk512 | Self::Disk4096 | Self::Pxe, _)
        )
    }
}

/// A finished medium.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    pub(crate) arch: Arch,
    pub(crate) kind: Kind,
    pub(crate) embed: Embed,
    /// Its file or, for a network boot, its folder.
    pub(crate) path: PathBuf,
}

/// Builds a site of the kinds, each with every way to embed; those that cannot be are left out.
///
/// # Errors
///
/// Where the build fails.
pub(crate) fn build(arch: Arch, kinds: &[Kind]) -> Result<(Site, Vec<Medium>)> {
    let site = Site::new(arch)?;
    site.write(DISK_512, small_disk(512, "36MiB").as_bytes())?;
    site.write(DISK_4096, small_disk(4096, "265MiB").as_bytes())?;
    let kinds = kinds.iter().filter(|kind| kind.is_for(arch));
    let all = kinds.flat_map(|&kind| Embed::ALL.map(|embed| (kind, embed)));
    let (mut nodes, mut media) = (Vec::new(), Vec::new());
    for (kind, embed) in all {
        let (name, embedded) = (format!("{}-{}", kind.name(), embed.name()), embed.name());
        let config = if embed == Embed::None { "" } else { "config: cp.yaml, " };
        let profile = kind.profile();
        nodes.push(format!(
            "name: {name}, role: controlplane, {config}profile: {profile}, embed: {embedded}"
        ));
        let file = match kind {
            Kind::Iso | Kind::Hybrid => format!("out/{name}.iso"),
            Kind::Disk512 | Kind::Disk4096 => format!("out/{name}.raw"),
            Kind::Pxe => format!("out/{name}"),
        };
        media.push(Medium { arch, kind, embed, path: site.path(&file) });
    }
    site.nodes(&nodes.iter().map(String::as_str).collect::<Vec<_>>())?;
    site.build()?;
    Ok((site, media))
}
