//! What differs between what two media boot.
//!
//! In: the entries of both. Out: those that only one has, and a part for each way in which those differ
//! that both have.
//!
//! Source: none.
//!
//! Not here: their machine configs (`config`).

use super::{Part, Side, Topic, cmdline};
use crate::inspect::init::Layer;
use crate::inspect::{Boot, Firmware};

/// The layer that holds the machine config, whose version is the config's digest.
const CONFIG_LAYER: &str = "embedded-config";

/// Who starts an entry, and its profile's id or else its title: what two entries are one by.
type Name<'a> = (&'static str, &'a str);

fn name(boot: &Boot) -> Name<'_> {
    (firmware(&boot.firmware), boot.profile.as_deref().unwrap_or(&boot.title))
}

fn firmware(firmware: &Firmware) -> &'static str {
    match firmware {
        Firmware::Uefi { .. } => "UEFI",
        Firmware::Bios { .. } => "GRUB",
        Firmware::Elsewhere => "elsewhere",
    }
}

/// The entries that both media have, in the first one's order. Where they have none in common, their
/// first ones: a UKI and the ISO around it say the same by other names.
pub(super) fn pairs<'a>(before: &'a [Boot], after: &'a [Boot]) -> Vec<(&'a Boot, &'a Boot)> {
    let other = |boot: &Boot| after.iter().find(|other| name(other) == name(boot));
    let pairs: Vec<_> = before.iter().filter_map(|boot| Some((boot, other(boot)?))).collect();
    match pairs.is_empty() {
        true => before.first().zip(after.first()).into_iter().collect(),
        false => pairs,
    }
}

/// What differs. Entries that differ in the same way share a part.
pub(super) fn parts(before: &[Boot], after: &[Boot]) -> Vec<Part> {
    let mut parts = Vec::<Part>::new();
    for (old, new) in pairs(before, after) {
        let mut part = Part::new(Topic::Boot);
        entry(&mut part, old, new);
        if part.changes.is_empty() {
            continue;
        }
        let same = |known: &&mut Part| known.changes == part.changes && known.more == part.more;
        match parts.iter_mut().find(same) {
            Some(known) => known.entries.push(label(old)),
            None => {
                part.entries.push(label(old));
                parts.push(part);
            }
        }
    }
    parts
}

/// An entry's title and who starts it.
fn label(boot: &Boot) -> String {
    match (&boot.firmware, boot.title.is_empty()) {
        (Firmware::Elsewhere, _) => "initramfs".to_owned(),
        (by, true) => firmware(by).to_owned(),
        (by, false) => format!("{} ({})", boot.title, firmware(by)),
    }
}

/// Adds the entries that have other titles, and those that only one medium has.
pub(super) fn names(part: &mut Part, before: &[Boot], after: &[Boot]) {
    let pairs = pairs(before, after);
    for (old, new) in &pairs {
        part.compare("boot entry", Some(&label(old)), Some(&label(new)));
    }
    let is_old = |boot: &Boot| pairs.iter().any(|(old, _)| std::ptr::eq(*old, boot));
    let is_new = |boot: &Boot| pairs.iter().any(|(_, new)| std::ptr::eq(*new, boot));
    for boot in before.iter().filter(|boot| !is_old(boot)) {
        part.push(|| "boot entry".into(), Side::shown(&label(boot)), Side::Absent);
    }
    for boot in after.iter().filter(|boot| !is_new(boot)) {
        part.push(|| "boot entry".into(), Side::Absent, Side::shown(&label(boot)));
    }
}

fn entry(part: &mut Part, before: &Boot, after: &Boot) {
    part.compare("profile", before.profile.as_deref(), after.profile.as_deref());
    let (old, new) = (files(&before.firmware), files(&after.firmware));
    part.compare_sets("starts", old.iter().copied(), new.iter().copied());
    part.compare("kernel", before.kernel.as_deref(), after.kernel.as_deref());
    let stub = |boot: &Boot| boot.stub.map(|version| version.to_string());
    part.compare("systemd-stub", stub(before).as_deref(), stub(after).as_deref());
    cmdline::compare(part, &before.cmdline, &after.cmdline);
    layers(part, &before.layers, &after.layers);
}

/// The paths of what an entry starts.
fn files(firmware: &Firmware) -> Vec<&str> {
    let mut files = Vec::new();
    match firmware {
        Firmware::Uefi { uki, addons, .. } => {
            files.extend([uki.as_str()].into_iter().filter(|path| !path.is_empty()));
            files.extend(addons.iter().map(String::as_str));
        }
        Firmware::Bios { linux, initrds } => {
            files.push(linux);
            files.extend(initrds.iter().map(String::as_str));
        }
        Firmware::Elsewhere => {}
    }
    files
}

/// The layers by name. The order counts: a higher one hides what is below.
fn layers(part: &mut Part, before: &[Layer], after: &[Layer]) {
    let version = |layers: &'_ [Layer], name: &str| {
        layers.iter().find(|layer| layer.name == name).map(|layer| layer.version.clone())
    };
    let mut names: Vec<&str> = before.iter().chain(after).map(|l| l.name.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    for name in names {
        let (old, new) = (version(before, name), version(after, name));
        if name != CONFIG_LAYER || old.is_none() || new.is_none() {
            part.compare(&format!("layer `{name}`"), old.as_deref(), new.as_deref());
        }
    }
    let common = |layers: &[Layer], others: &[Layer]| {
        let is_in = |layer: &&Layer| others.iter().any(|other| other.name == layer.name);
        layers.iter().filter(is_in).map(|layer| layer.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let (old, new) = (common(before, after), common(after, before));
    part.compare("order of layers", Some(&old), Some(&new));
}
