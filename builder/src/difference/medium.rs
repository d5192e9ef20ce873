//! What differs between two media as such: kind, name, layout, META.
//!
//! In: two media. Out: parts.
//!
//! Source: none.
//!
//! Not here: what their entries boot (`boot`).

use std::collections::BTreeMap;
use std::io;

use super::{Part, Side, Subject, Topic, bytes};
use crate::inspect::meta::Meta;
use crate::inspect::{Medium, Region};

/// META's key whose value is no secret: who boots the disk.
const BOOTLOADER: u8 = 0x11;

/// Regions of tables, which hold dates and checksums too: what matters of them is told by itself.
const TABLES: [&str; 6] =
    ["mbr", "gpt header", "backup gpt header", "system area", "volume descriptor", "boot catalog"];

/// What is true of the whole.
pub(super) fn whole(before: &Medium, after: &Medium) -> Part {
    let mut part = Part::new(Topic::Medium);
    part.compare("kind", Some(&before.kind.to_string()), Some(&after.kind.to_string()));
    part.compare("volume", before.volume_id.as_deref(), after.volume_id.as_deref());
    let doors = |medium: &Medium| medium.doors.iter().map(|d| d.name()).collect::<Vec<_>>();
    let (old, new) = (doors(before), doors(after));
    part.compare_sets("starts by", old.iter().copied(), new.iter().copied());
    let notes = |medium: &Medium| medium.notes.clone();
    let (old, new) = (notes(before), notes(after));
    part.compare_sets("note", old.iter().map(String::as_str), new.iter().map(String::as_str));
    part
}

/// What lies where. Regions of one name are told apart by their order.
pub(super) fn layout(before: Subject<'_>, after: Subject<'_>) -> io::Result<Part> {
    let mut part = Part::new(Topic::Layout);
    let (old, new) = (by_name(&before.medium.regions), by_name(&after.medium.regions));
    part.compare("length", Some(&len(before.blob.len())), Some(&len(after.blob.len())));
    let mut moved = 0_u64;
    for (name, (region, is_leaf)) in &old {
        let place = || name.0.to_owned();
        let Some((other, other_is_leaf)) = new.get(name) else {
            part.push(place, Side::Shown(extent(region)), Side::Absent);
            continue;
        };
        let lens = [region, other].map(|region| region.range.end - region.range.start);
        if lens[0] != lens[1] {
            part.push(place, Side::Shown(extent(region)), Side::Shown(extent(other)));
            continue;
        }
        moved += u64::from(region.range.start != other.range.start);
        if *is_leaf && *other_is_leaf && !TABLES.contains(&name.0) {
            let slices =
                (before.blob.get(region.range.clone()), after.blob.get(other.range.clone()));
            let (Some(old), Some(new)) = slices else { continue };
            if let Some(at) = bytes::first(&old, &new)? {
                let place = || format!("bytes of {}", name.0);
                let from = Side::Shown(format!("{}, others from {at:#x} on", len(lens[0])));
                part.push(place, from.clone(), from);
            }
        }
    }
    for (name, (region, _)) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        part.push(|| name.0.to_owned(), Side::Absent, Side::Shown(extent(region)));
    }
    if moved > 0 && !part.changes.is_empty() {
        let text = format!("{moved} regions of one length lie elsewhere");
        part.push(|| "places".into(), Side::Shown(text.clone()), Side::Shown(text));
    }
    Ok(part)
}

/// The regions by name and number, and whether each holds no other.
fn by_name(regions: &[Region]) -> BTreeMap<(&str, u64), (&Region, bool)> {
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut found = BTreeMap::new();
    for (at, region) in regions.iter().enumerate() {
        let count = counts.entry(&region.label).or_default();
        let next = regions.get(at + 1);
        let is_leaf = next.is_none_or(|next| next.range.start >= region.range.end);
        found.insert((region.label.as_str(), *count), (region, is_leaf));
        *count += 1;
    }
    found
}

fn extent(region: &Region) -> String {
    format!("{} at {:#x}", len(region.range.end - region.range.start), region.range.start)
}

fn len(bytes: u64) -> String {
    format!("{bytes} bytes")
}

/// META, by its keys.
pub(super) fn meta(before: Option<&Meta>, after: Option<&Meta>) -> Part {
    let mut part = Part::new(Topic::Meta);
    let none = BTreeMap::new();
    let values = |meta: Option<&'_ Meta>| meta.map_or(none.clone(), |meta| meta.values.clone());
    let (old, new) = (values(before), values(after));
    let keys: std::collections::BTreeSet<u8> = old.keys().chain(new.keys()).copied().collect();
    for key in keys {
        let (before, after) = (old.get(&key), new.get(&key));
        if before != after {
            let side = |value: Option<&Vec<u8>>| match value {
                None => Side::Absent,
                Some(value) if key == BOOTLOADER => Side::shown(&String::from_utf8_lossy(value)),
                Some(_) => Side::Hidden,
            };
            part.push(|| format!("key {key:#04x}"), side(before), side(after));
        }
    }
    part
}
