//! The keys that each part of a site file may have.
//!
//! In: a key. Out: whether it belongs, and what to say if not.
//!
//! Source: none, the file is ours.
//!
//! Not here: the keys' values.

use crate::yaml::meant::nearest;

/// A mapping of the site file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name in messages.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) keys: &'static [&'static str],
}

/// The file itself.
pub(super) const SITE: Section =
    Section { name: "the site file", keys: &["version", "cluster", "boot", "defaults", "nodes"] };

/// `cluster`.
pub(super) const CLUSTER: Section =
    Section { name: "`cluster`", keys: &["name", "endpoint", "talos", "kubernetes"] };

/// `boot`.
pub(super) const BOOT: Section =
    Section { name: "`boot`", keys: &["assets", "arch", "grub", "kernel_args"] };

/// `defaults`.
pub(super) const DEFAULTS: Section =
    Section { name: "`defaults`", keys: &["profile", "overlays", "kernel_args", "embed", "meta"] };

/// An item of `nodes`.
pub(super) const NODE: Section = Section {
    name: "a node",
    keys: &["name", "role", "config", "profile", "overlays", "kernel_args", "embed", "meta"],
};

const SECTIONS: [&Section; 5] = [&SITE, &CLUSTER, &BOOT, &DEFAULTS, &NODE];

const READY_CONFIG: &str =
    "give each node a ready machine config, with this in it: `config: configs/cp-1.yaml`";

/// What a site may come to say in a later version, and what to do today.
const LATER: [(&str, &str); 13] = [
    ("address", READY_CONFIG),
    ("controlplane", READY_CONFIG),
    (
        "extensions",
        "name a UKI that has them, `assets: uki:metal-amd64-uki.efi`; Talos' Image Factory makes one",
    ),
    ("install", READY_CONFIG),
    ("mac", READY_CONFIG),
    ("network", READY_CONFIG),
    ("patches", READY_CONFIG),
    (
        "schematic",
        "name a UKI that the Image Factory made of it: `assets: uki:metal-amd64-uki.efi`",
    ),
    ("secrets", READY_CONFIG),
    ("secure_boot", "sign the finished media with your own tools"),
    ("secureboot", "sign the finished media with your own tools"),
    ("selector", READY_CONFIG),
    ("worker", READY_CONFIG),
];

/// Why a key is refused: a code, and what to do.
pub(super) enum Refused {
    /// A later version may take it.
    Later(&'static str),
    /// It is no key here.
    Unknown(String),
}

impl Section {
    /// Nothing, where the key belongs here.
    pub(super) fn refuse(&self, key: &str) -> Option<Refused> {
        if self.keys.contains(&key) {
            return None;
        }
        if let Some((_, help)) = LATER.iter().find(|(later, _)| *later == key) {
            return Some(Refused::Later(help));
        }
        let elsewhere = SECTIONS.iter().find(|section| section.keys.contains(&key));
        let near = nearest(key, self.keys.iter().copied());
        Some(Refused::Unknown(match (elsewhere, near) {
            (Some(section), _) => format!("it belongs to {}", section.name),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("the keys here are {}", self.keys.join(", ")),
        }))
    }
}
