//! Which regions hold which, by containment; and the gaps between them.
//!
//! In: ranges without order, which may overlap. Out: a tree whose siblings do not.
//!
//! What has the very range of something else is one region with it, under both names. What lies across
//! the end of another is cut there, and both pieces have their place.
//!
//! Source: none.
//!
//! Not here: what is in a region (`survey`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::survey::{Found, REGIONS_LIMIT};
use super::{Kind, Region};
use crate::blob::Blob;
use crate::inspect::Kind as MediumKind;
use crate::units::MIB;

/// The most levels. A disk has seven: disk, partition, UKI, section, archive, file.
const DEPTH_LIMIT: usize = 12;
/// The most pieces that regions are cut into.
const CUTS_LIMIT: usize = REGIONS_LIMIT;
/// The shortest gap that is told of, whatever the region around it is.
const GAP: u64 = 4096;
/// How many bytes of gaps are looked at for data that nothing names, such as a board's boot loader.
const LOOKED_AT: u64 = 64 * MIB;
/// The longest name of a region that goes by several.
const NAMES_LIMIT: usize = 400;

/// The order in which regions are placed: by start, what is longer first, and what may hold others of
/// its own range before those.
type Key = (u64, Reverse<u64>, Kind, String, bool);

fn key(found: Found) -> Reverse<Key> {
    let Found { range, kind, name, is_own } = found;
    Reverse((range.start, Reverse(range.end), kind, name, is_own))
}

/// The tree of a medium's regions.
pub(super) fn nest(medium: &Blob, kind: MediumKind, found: Vec<Found>) -> Region {
    let (kind, name) = match kind {
        MediumKind::Iso | MediumKind::Disk { .. } => (Kind::Medium, "medium"),
        MediumKind::Uki => (Kind::Program, "UKI"),
        MediumKind::Initrd => (Kind::Initramfs, "initramfs"),
    };
    let mut todo: BinaryHeap<_> = found
        .into_iter()
        .map(|f| Found { range: f.range.start..f.range.end.min(medium.len()), ..f })
        .filter(|f| !f.range.is_empty())
        .map(key)
        .collect();
    let mut cuts = 0;
    // The regions that are open, each inside of the one before.
    let mut open = vec![Region {
        range: 0..medium.len(),
        kind,
        name: name.to_owned(),
        is_own: false,
        parts: Vec::new(),
    }];
    while let Some(Reverse((start, Reverse(end), kind, name, is_own))) = todo.pop() {
        while open.len() > 1 && open.last().is_some_and(|last| last.range.end <= start) {
            close(&mut open);
        }
        let depth = open.len();
        let Some(last) = open.last_mut() else { continue };
        if end > last.range.end {
            cuts += 1;
            let at = last.range.end;
            let piece = |range| key(Found { range, kind, name: name.clone(), is_own });
            todo.extend([piece(start..at)]);
            todo.extend((cuts <= CUTS_LIMIT).then(|| piece(at..end)));
            continue;
        }
        let is_alias = last.range == (start..end) && !holds(last.kind, kind);
        if is_alias {
            add_name(last, &name);
            last.is_own |= is_own;
        } else if depth <= DEPTH_LIMIT {
            open.push(Region { range: start..end, kind, name, is_own, parts: Vec::new() });
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    let mut root = open.pop().expect("the medium stays open");
    if root.parts.is_empty() && !root.is_empty() {
        root.parts.push(gap(root.range.clone(), Kind::Data, "data that nothing names"));
    }
    let mut budget = LOOKED_AT;
    fill(&mut root, medium, &mut budget);
    root
}

/// Whether one thing may hold another of its own length.
fn holds(outer: Kind, inner: Kind) -> bool {
    use Kind::{Archive, Initramfs, Medium};
    matches!((outer, inner), (Medium, _) | (Initramfs, Archive))
}

/// Gives a region a further name. One that differs by case alone is the same: FAT does not tell them
/// apart.
fn add_name(region: &mut Region, name: &str) {
    let is_known = region.name.split(" = ").any(|known| known.eq_ignore_ascii_case(name));
    if !is_known && region.name.len() + name.len() <= NAMES_LIMIT {
        region.name += &format!(" = {name}");
    }
}

fn close(open: &mut Vec<Region>) {
    let Some(done) = open.pop() else { return };
    let Some(parent) = open.last_mut() else { return };
    match parent.parts.last_mut() {
        // Tables that lie one behind the other are one.
        Some(before)
            if before.kind == Kind::Structure
                && (&before.name, before.kind, before.is_own)
                    == (&done.name, done.kind, done.is_own)
                && before.range.end == done.range.start
                && before.parts.is_empty()
                && done.parts.is_empty() =>
        {
            before.range.end = done.range.end;
        }
        _ => parent.parts.push(done),
    }
}

fn gap(range: Range<u64>, kind: Kind, name: &str) -> Region {
    Region { range, kind, name: name.to_owned(), is_own: false, parts: Vec::new() }
}

/// Fills the gaps of regions that have parts. The depth is bounded.
fn fill(region: &mut Region, medium: &Blob, budget: &mut u64) {
    if region.parts.is_empty() {
        return;
    }
    let (name, share) = match region.kind {
        Kind::Medium | Kind::Partition => ("free", 64),
        _ => ("padding", 8),
    };
    let least = GAP.min((region.len() / share).max(1));
    let mut parts = Vec::new();
    let mut at = region.range.start;
    let ends = region.range.end;
    let mut free = |range: Range<u64>, parts: &mut Vec<Region>| {
        if range.is_empty() || range.end - range.start < least {
            return;
        }
        let data = match region.kind {
            Kind::Medium => data(medium, range.clone(), budget),
            _ => None,
        };
        let Some(data) = data else { return parts.push(gap(range, Kind::Free, name)) };
        let before = range.start..data.start;
        let after = data.end..range.end;
        parts.extend(Some(before).filter(|r| !r.is_empty()).map(|r| gap(r, Kind::Free, name)));
        parts.push(gap(data, Kind::Data, "data that nothing names"));
        parts.extend(Some(after).filter(|r| !r.is_empty()).map(|r| gap(r, Kind::Free, name)));
    };
    for part in std::mem::take(&mut region.parts) {
        free(at..part.range.start, &mut parts);
        at = part.range.end;
        parts.push(part);
    }
    free(at..ends, &mut parts);
    for part in &mut parts {
        fill(part, medium, budget);
    }
    region.parts = parts;
}

/// From the first to the last piece of a gap that is no zeros, as far as there is budget to look.
fn data(medium: &Blob, gap: Range<u64>, budget: &mut u64) -> Option<Range<u64>> {
    let mut buffer = vec![0; 64 << 10];
    let (mut found, mut at): (Option<Range<u64>>, u64) = (None, gap.start);
    while at < gap.end && *budget > 0 {
        // Up to the next multiple of a sector, so that pieces are whole sectors.
        let len = (gap.end - at).min(buffer.len() as u64 - at % 512).min(*budget);
        let piece = &mut buffer[..usize::try_from(len).ok()?];
        medium.read_exact_at(piece, at).ok()?;
        *budget -= len;
        for (number, sector) in (0..).zip(piece.chunks(512)) {
            if sector.iter().any(|&byte| byte != 0) {
                let start = at + number * 512;
                let end = start + sector.len() as u64;
                found = Some(found.map_or(start, |range| range.start)..end);
            }
        }
        at += len;
    }
    found
}
