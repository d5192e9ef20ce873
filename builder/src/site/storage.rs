//! Disks and volumes: `install`, `encryption`, `volumes`.
//!
//! In: their mappings. Out: what `config::facts` has for them.
//!
//! Source: none, the file is ours.
//!
//! Not here: what cannot work (`config::facts`). No message quotes a key.

use std::collections::BTreeMap;

use super::field::{FLAG, Fields, Form, Written, choose, items, open, text, value, whole};
use super::key::storage::{DISK_SELECTOR, ENCRYPTION, INSTALL, KEY, TPM, VOLUME};
use crate::config::facts::disk::{Disk, DiskKind, DiskSelector, SizeMatch};
use crate::config::facts::install::Install;
use crate::config::facts::volume::{
    Backing, Encryption, Filesystem, Formatted, Key, KeySource, SystemVolume, UserVolume,
};
use crate::pki::secret::Secret;
use crate::report::Diagnostic;
use crate::yaml::Node;

/// A comparison with a disk's size.
const SIZE: Form<SizeMatch> =
    Form { what: "no size of a disk", example: ">= 200GB", parse: SizeMatch::parse };

/// A register of a TPM.
const PCR: Form<u8> = Form {
    what: "no register of a TPM",
    example: "7",
    parse: |text| whole(text).filter(|&pcr: &u8| pcr < 24),
};

/// The keys of which one names a disk.
const DISKS: [&str; 3] = ["disk", "selector", "match"];

/// Reads `install`. Without a disk, there is nothing to install to: where `defaults` alone are read,
/// that is no problem yet.
pub(super) fn install(node: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Install> {
    let fields = node.part("install", &INSTALL, problems)?;
    let wipe = fields.flag("wipe", problems);
    let image = fields.string("image", problems);
    Some(Install { disk: disk(&fields, problems)?, wipe, image })
}

/// Whether a node or what is below it says to which disk it installs, rightly or not.
pub(super) fn says_disk(node: &Fields<'_>) -> bool {
    let says = |install: &Node| {
        install.entries().is_none_or(|_| DISKS.iter().any(|key| install.get(key).is_some()))
    };
    [node.own("install"), node.below("install")].into_iter().flatten().any(says)
}

fn disk(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Disk> {
    let (key, node) = fields.choice(&DISKS, problems)?;
    let text = |problems: &mut _| text(node, key, problems).map(|text| text.value.to_owned());
    match key {
        "disk" => text(problems).map(Disk::Path),
        "match" => text(problems).map(Disk::Match),
        _ => selector(&open(node, &DISK_SELECTOR, problems)?, problems).map(Disk::Selector),
    }
}

fn selector(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<DiskSelector> {
    let before = problems.len();
    let kinds = DiskKind::ALL.map(|kind| (kind.name(), kind));
    let selector = DiskSelector {
        size: fields.value("size", &SIZE, problems).map(|size| size.value),
        model: fields.string("model", problems),
        serial: fields.string("serial", problems),
        modalias: fields.string("modalias", problems),
        uuid: fields.string("uuid", problems),
        wwid: fields.string("wwid", problems),
        kind: fields.word("type", &kinds, problems),
        bus_path: fields.string("bus_path", problems),
    };
    if problems.len() == before && selector == DiskSelector::default() {
        let problem = Diagnostic::error("disk-selector", "the selector says nothing of the disk");
        problems.push(problem.at(fields.place()).help("say what the disk is: `serial: S4EV*`"));
    }
    (problems.len() == before).then_some(selector)
}

/// Reads `encryption` of Talos' own volumes.
pub(super) fn encryption(
    node: &Fields<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<SystemVolume, Encryption> {
    let Some(fields) = node.part("encryption", &ENCRYPTION, problems) else {
        return BTreeMap::new();
    };
    let volumes = [("state", SystemVolume::State), ("ephemeral", SystemVolume::Ephemeral)];
    let keys = |(key, volume): (&str, _)| Some((volume, keys(&fields, key, problems)?));
    volumes.into_iter().filter_map(keys).collect()
}

/// The keys of a volume.
fn keys(fields: &Fields<'_>, key: &str, problems: &mut Vec<Diagnostic>) -> Option<Encryption> {
    fields.get(key)?;
    let parts = fields.parts(key, &KEY, problems);
    let keys = parts.iter().filter_map(|part| self::key(part, problems)).collect();
    Some(Encryption { keys })
}

fn key(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Key> {
    const SOURCES: [&str; 4] = ["static", "node_id", "tpm", "kms"];
    let lock_to_state = fields.flag("lock_to_state", problems);
    let Some((key, node)) = fields.choice(&SOURCES, problems) else {
        let problem = Diagnostic::error("missing-key", "nothing says where the key comes from");
        let help = "write one of `static: …`, `node_id: true`, `tpm: true`, `kms: https://…`";
        problems.push(problem.at(fields.place()).help(help));
        return None;
    };
    let source = match key {
        "static" => KeySource::Static(secret(&text(node, key, problems)?)),
        "kms" => KeySource::Kms { endpoint: text(node, key, problems)?.value.to_owned() },
        "node_id" => yes(node, key, problems).map(|()| KeySource::NodeId)?,
        _ if node.entries().is_some() => tpm(&open(node, &TPM, problems)?, problems),
        _ => yes(node, key, problems)
            .map(|()| KeySource::Tpm { pcrs: Vec::new(), check_secure_boot: false })?,
    };
    Some(Key { source, lock_to_state })
}

fn tpm(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> KeySource {
    let pcrs = fields.texts("pcrs", problems);
    let pcrs = pcrs.iter().filter_map(|pcr| value(pcr, &PCR, problems)).map(|pcr| pcr.value);
    KeySource::Tpm {
        pcrs: pcrs.collect(),
        check_secure_boot: fields.flag("check_secure_boot", problems),
    }
}

/// Sees to it that a switch is on that has no other side.
fn yes(node: &Node, key: &str, problems: &mut Vec<Diagnostic>) -> Option<()> {
    let flag = value(&text(node, key, problems)?, &FLAG, problems)?;
    if !flag.value {
        let message = format!("`{key}: false` says nothing");
        let problem = Diagnostic::error("value", message).at(flag.place);
        problems.push(problem.help(format!("write `{key}: true`, or drop it")));
    }
    flag.value.then_some(())
}

/// A text that no one is to see.
pub(super) fn secret(text: &Written<&str>) -> Secret {
    Secret::new(text.value.to_owned())
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Disk,
    Partition,
}

const KINDS: [(&str, Kind); 3] =
    [("directory", Kind::Directory), ("disk", Kind::Disk), ("partition", Kind::Partition)];

impl Kind {
    /// The keys that say nothing of it.
    const fn unused(self) -> &'static [&'static str] {
        match self {
            Self::Directory => &[
                "disk",
                "selector",
                "match",
                "min_size",
                "max_size",
                "grow",
                "filesystem",
                "encryption",
            ],
            Self::Disk => &["min_size", "max_size", "grow"],
            Self::Partition => &[],
        }
    }
}

/// Reads `volumes`: the defaults', and instead of them those of the node that have their names.
pub(super) fn volumes(
    node: &Fields<'_>,
    defaults: Option<&Fields<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<UserVolume> {
    let mut read = |node: Option<&Node>| -> Vec<UserVolume> {
        let items = node.map(|node| items(node, "volumes", problems)).unwrap_or_default();
        let items: Vec<_> = items.iter().filter_map(|item| open(item, &VOLUME, problems)).collect();
        items.iter().filter_map(|item| volume(item, problems)).collect()
    };
    let mut all = read(defaults.and_then(|defaults| defaults.own("volumes")));
    let own = read(node.own("volumes"));
    all.retain(|volume| !own.iter().any(|other| other.name == volume.name));
    all.extend(own);
    all
}

fn volume(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<UserVolume> {
    let name = fields.need_text("name", "data", problems);
    let kind = match fields.text("type", problems) {
        None => Some(Kind::Partition),
        Some(text) => choose("type", &text, &KINDS, problems),
    }?;
    for key in kind.unused() {
        if let Some(node) = fields.own(key) {
            let named = KINDS.iter().find(|(_, of)| *of == kind).map_or("", |(name, _)| name);
            let message = format!("`{key}` says nothing of a volume of type `{named}`");
            let problem = Diagnostic::error("unused-key", message).at(node.place());
            problems.push(problem.help("drop it, or choose another `type`"));
        }
    }
    let on = |problems: &mut Vec<Diagnostic>| {
        if DISKS.iter().all(|key| fields.own(key).is_none()) {
            fields.need("selector", "{serial: S4EV*}", problems);
        }
        let filesystems = Filesystem::ALL.map(|filesystem| (filesystem.name(), filesystem));
        let filesystem = fields.word("filesystem", &filesystems, problems);
        let encryption = keys(fields, "encryption", problems);
        Some(Formatted { disk: disk(fields, problems)?, filesystem, encryption })
    };
    let backing = match kind {
        Kind::Directory => Backing::Directory,
        Kind::Disk => Backing::Disk(on(problems)?),
        Kind::Partition => Backing::Partition {
            on: on(problems)?,
            min_size: fields.string("min_size", problems),
            max_size: fields.string("max_size", problems),
            grow: fields.flag("grow", problems),
        },
    };
    Some(UserVolume { name: name?.value.to_owned(), backing })
}
