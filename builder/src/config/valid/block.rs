//! The documents of volumes and filesystems.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/block`.
//!
//! Not here: volume groups and arrays (`storage`).

use std::collections::BTreeSet;

use super::found::Found;
use super::name::Label;
use super::network::not_negative;
use super::selector::{self, Scope};
use super::{Context, Rule, name, view};
use crate::config::leaf::amount;
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("VolumeConfig", system_volume),
    ("UserVolumeConfig", user_volume),
    ("RawVolumeConfig", bare_volume),
    ("SwapVolumeConfig", bare_volume),
    ("ExistingVolumeConfig", existing_volume),
    ("ExternalVolumeConfig", external_volume),
    ("ZswapConfig", zswap),
    ("FilesystemTrimConfig", |doc, _, found| not_negative(doc, &["interval"], found)),
    ("FilesystemScrubConfig", |doc, _, found| scrub_interval(doc, &["interval"], found)),
];

/// A partition's label has 36 characters, of which Talos takes 2.
const VOLUME_NAME: Label = Label { max: 34, underscore: false };

/// The volumes of Talos itself that are partitions, and those that may become some since 1.14.
const PARTITIONS: [&str; 3] = ["STATE", "EPHEMERAL", "IMAGECACHE"];
const PROMOTABLE: [&str; 4] = ["ETCD", "CRI", "KUBELET", "LOG"];

fn system_volume(doc: &Tree, context: Context, found: &mut Found) {
    let name = view::text(doc, &["name"]);
    let promotable = context.minor >= 14 && PROMOTABLE.contains(&name);
    if !PARTITIONS.contains(&name) && !promotable {
        let at = view::place(doc, &["name"]);
        let mut known = PARTITIONS.to_vec();
        known.extend(PROMOTABLE.into_iter().filter(|_| context.minor >= 14));
        let message = format!("Talos has no volume of its own named `{name}`");
        let help = format!("name one of {}, or write a UserVolumeConfig", known.join(", "));
        return found.refuse(at, "talos-volume-name", message, help);
    }
    let mut forbid = |key: &str| {
        let at = view::place(doc, &[key]);
        let message = format!("the volume `{name}` may have no `{key}`");
        found.refuse(at, "talos-volume-section", message, format!("drop `{key}`"));
    };
    let provisioned = is_provisioned(doc);
    if name == "STATE" && provisioned {
        forbid("provisioning");
    }
    let mounted = !view::entries(doc, &["mount"]).is_empty() && context.minor >= 14;
    if mounted && (name == "STATE" || name == "IMAGECACHE" || (promotable && !provisioned)) {
        forbid("mount");
    }
    if name == "IMAGECACHE"
        && context.minor >= 14
        && view::pointer(doc, &["filesystem", "xfs"]).is_some()
    {
        forbid("filesystem");
    }
    if name == "STATE" {
        for key in view::items(doc, &["encryption", "keys"]) {
            if view::is_on(key, &["lockToState"]) {
                let at = view::place(key, &["lockToState"]);
                let message = "a key of the volume `STATE` is locked to that volume";
                found.refuse(at, "talos-volume-state-key", message, "drop `lockToState`");
            }
        }
    }
    provisioning(doc, Provisioning { required: false, sized: true }, context, found);
    encryption(doc, found);
    upkeep(doc, context, found);
}

fn user_volume(doc: &Tree, context: Context, found: &mut Found) {
    name::label(doc, "volume", &VOLUME_NAME, found);
    let kind = match view::text(doc, &["volumeType"]) {
        "" => "partition".to_owned(),
        kind => kind.to_lowercase(),
    };
    match kind.as_str() {
        "directory" => directory(doc, context, found),
        "disk" | "partition" => {
            let sized = kind == "partition";
            provisioning(doc, Provisioning { required: true, sized }, context, found);
            filesystem(doc, context, found);
            encryption(doc, found);
        }
        _ => {
            let at = view::place(doc, &["volumeType"]);
            let message = format!("a user volume is no `{kind}`");
            let help = "write `partition`, `disk` or `directory`";
            found.refuse(at, "talos-volume-type", message, help);
        }
    }
    upkeep(doc, context, found);
}

/// What a volume that is a directory may not have.
fn directory(doc: &Tree, context: Context, found: &mut Found) {
    let filesystem = ["type", "projectQuotaSupport", "xfs"];
    let filesystem = filesystem.iter().any(|key| match view::place(doc, &["filesystem", key]) {
        value if *key == "type" => !matches!(value.text().unwrap_or("none"), "" | "none"),
        _ => view::pointer(doc, &["filesystem", key]).is_some(),
    });
    let mount: &[&str] = match context.minor {
        12 => &[],
        13 => &["disableAccessTime", "secure"],
        _ => &["disableAccessTime"],
    };
    let mount = mount.iter().any(|key| view::pointer(doc, &["mount", key]).is_some());
    let sections = [
        ("provisioning", is_provisioned(doc)),
        ("encryption", is_encrypted(doc)),
        ("filesystem", filesystem),
        ("mount", mount),
    ];
    for (key, set) in sections {
        if set {
            let at = view::place(doc, &[key]);
            let message = format!("a volume that is a directory may have no `{key}`");
            found.refuse(at, "talos-volume-section", message, format!("drop `{key}`"));
        }
    }
}

fn bare_volume(doc: &Tree, context: Context, found: &mut Found) {
    name::label(doc, "volume", &VOLUME_NAME, found);
    provisioning(doc, Provisioning { required: true, sized: true }, context, found);
    encryption(doc, found);
}

fn existing_volume(doc: &Tree, context: Context, found: &mut Found) {
    name::label(doc, "volume", &Label { max: usize::MAX, underscore: false }, found);
    selector::required(
        doc,
        &["discovery", "volumeSelector", "match"],
        Scope::Volume,
        context,
        found,
    );
    upkeep(doc, context, found);
}

fn external_volume(doc: &Tree, _: Context, found: &mut Found) {
    name::label(doc, "volume", &VOLUME_NAME, found);
    let at = view::place(doc, &["filesystemType"]);
    if !view::is_word(doc, &["filesystemType"], "virtiofs") {
        let message = "an external volume has a filesystem other than `virtiofs`";
        found.refuse(at, "talos-volume-external", message, "write `filesystemType: virtiofs`");
    } else if view::text(doc, &["mount", "virtiofs", "tag"]).is_empty() {
        let message = "the external volume has no tag of virtiofs";
        found.refuse(at, "talos-volume-virtiofs", message, "add `mount.virtiofs.tag`");
    }
}

fn zswap(doc: &Tree, _: Context, found: &mut Found) {
    if !(0..=100).contains(&view::number(doc, &["maxPoolPercent"])) {
        let at = view::place(doc, &["maxPoolPercent"]);
        let message = "`maxPoolPercent` is not from 0 to 100";
        found.refuse(at, "talos-zswap-percent", message, "write `20`");
    }
}

/// What a volume's provisioning must and may have.
#[derive(Clone, Copy)]
struct Provisioning {
    required: bool,
    sized: bool,
}

const SIZES: [&str; 3] = ["grow", "minSize", "maxSize"];

fn is_provisioned(doc: &Tree) -> bool {
    let sized = |key: &&str| {
        let size = view::pointer(doc, &["provisioning", key]);
        size.is_some_and(|size| size.text() != Some(""))
    };
    SIZES.iter().any(sized)
        || !view::text(doc, &["provisioning", "diskSelector", "match"]).is_empty()
}

fn provisioning(doc: &Tree, wanted: Provisioning, context: Context, found: &mut Found) {
    let path = ["provisioning", "diskSelector", "match"];
    if wanted.required {
        selector::required(doc, &path, Scope::Disk, context, found);
    } else {
        selector::optional(doc, &path, Scope::Disk, context, found);
    }
    let [grow, min, max] = SIZES.map(|key| view::pointer(doc, &["provisioning", key]));
    let set = |size: &&Tree| size.text() != Some("");
    let (min, max) = (min.filter(set), max.filter(set));
    if !wanted.sized {
        if let Some(at) = grow.or(min).or(max) {
            let message = "a volume that is a whole disk has a size";
            found.refuse(
                at,
                "talos-volume-whole-disk",
                message,
                "drop `grow`, `minSize` and `maxSize`",
            );
        }
        return;
    }
    if let (Some(least), Some(most)) = (min.and_then(size), max.and_then(size))
        && least > most
        && !is_negative(max)
    {
        let message = "the least size of the volume is above the most";
        found.refuse(view::place(doc, &path[..1]), "talos-volume-size", message, "raise `maxSize`");
    }
    if wanted.required && min.is_none() && max.is_none() {
        let message = "the volume has no size";
        let at = view::place(doc, &path[..1]);
        found.refuse(at, "talos-volume-no-size", message, "add `minSize`, `maxSize` or both");
    }
    // A most that is below zero is what to leave free, since 1.13.
    let negative = |size: &&Tree| is_negative(Some(size));
    let max = max.filter(|_| context.minor < 13);
    if let Some(at) = min.filter(negative).or(max.filter(negative)) {
        let message = "the size of the volume is below zero";
        found.refuse(at, "talos-negative", message, "drop the sign");
    }
}

fn is_negative(size: Option<&Tree>) -> bool {
    size.and_then(Tree::text).is_some_and(|text| text.starts_with('-'))
}

/// The bytes of a size without its sign; nothing where it is a share of the disk.
pub(super) fn size(size: &Tree) -> Option<u128> {
    match size.text() {
        Some(text) => amount::bytes(text.strip_prefix('-').unwrap_or(text)).map(u128::from),
        None => size.int().and_then(|bytes| u128::try_from(bytes).ok()),
    }
}

fn is_encrypted(doc: &Tree) -> bool {
    let provider = view::text(doc, &["encryption", "provider"]).to_lowercase();
    !matches!(provider.as_str(), "" | "none")
        || !view::items(doc, &["encryption", "keys"]).is_empty()
}

fn encryption(doc: &Tree, found: &mut Found) {
    if !is_encrypted(doc) {
        return;
    }
    let at = view::place(doc, &["encryption"]);
    if !view::is_word(at, &["provider"], "luks2") {
        let message = "the encryption has no provider that Talos knows";
        found.refuse(at, "talos-encryption-provider", message, "write `provider: luks2`");
    }
    keys(at, &["static", "nodeID", "kms", "tpm"], found);
    for key in view::items(at, &["keys"]) {
        for register in view::items(key, &["tpm", "options", "pcrs"]) {
            if !register.int().is_some_and(|pcr| (0..=23).contains(&pcr)) {
                let message = "the TPM has no such register";
                found.refuse(
                    register,
                    "talos-encryption-pcr",
                    message,
                    "write a number from 0 to 23",
                );
            }
        }
    }
}

/// The keys of an encryption: at least one, each with a slot of its own, and of some kind.
pub(super) fn keys(encryption: &Tree, kinds: &[&str], found: &mut Found) {
    let keys = view::items(encryption, &["keys"]);
    if keys.is_empty() {
        let message = "the encryption has no keys";
        found.refuse(encryption, "talos-encryption-keys", message, "add one under `keys`");
    }
    let mut slots = BTreeSet::new();
    for key in keys {
        let slot = view::number(key, &["slot"]);
        if !slots.insert(slot) {
            let message = format!("two keys have the slot {slot}");
            found.refuse(key, "talos-encryption-slot", message, "give each a `slot` of its own");
        }
        if !kinds.iter().any(|kind| view::pointer(key, &[kind]).is_some()) {
            let message = format!("the key of slot {slot} is of no kind");
            let help = format!("add one of `{}`", kinds.join("`, `"));
            found.refuse(key, "talos-encryption-key", message, help);
        }
    }
}

fn filesystem(doc: &Tree, context: Context, found: &mut Found) {
    let kind = view::text(doc, &["filesystem", "type"]).to_lowercase();
    let at = view::place(doc, &["filesystem", "type"]);
    let known = match kind.as_str() {
        "" | "none" | "xfs" | "ext4" => true,
        "btrfs" => context.minor >= 14,
        _ => false,
    };
    if !known {
        let message = format!("no user volume has the filesystem `{kind}`");
        return found.refuse(at, "talos-filesystem-type", message, "write `xfs` or `ext4`");
    }
    if matches!(kind.as_str(), "" | "none" | "xfs") {
        return;
    }
    let quota = view::is_on(doc, &["filesystem", "projectQuotaSupport"]);
    if quota || view::pointer(doc, &["filesystem", "xfs"]).is_some() {
        let message = format!("quotas and options of XFS are set for the filesystem `{kind}`");
        found.refuse(at, "talos-filesystem-xfs", message, "drop them, or write `type: xfs`");
    }
}

/// Trimming and scrubbing.
fn upkeep(doc: &Tree, context: Context, found: &mut Found) {
    if context.minor >= 14 {
        not_negative(doc, &["trim", "interval"], found);
        scrub_interval(doc, &["scrub", "interval"], found);
    }
}

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// Whether a length of time that is set is below 10 seconds.
pub(super) fn is_too_short(doc: &Tree, path: &[&str]) -> bool {
    let interval = view::duration(doc, path);
    interval != 0 && interval < 10 * SECOND
}

fn scrub_interval(doc: &Tree, path: &[&str], found: &mut Found) {
    if is_too_short(doc, path) {
        let at = view::place(doc, path);
        let message = "the filesystem is scrubbed more often than every 10 seconds";
        found.refuse(at, "talos-scrub-interval", message, "write `168h`");
    }
}
