//! What differs between two media, by what a boot makes of them.
//!
//! In: two media, read. Out: a [`Difference`]: their parts that differ, and in each what. Secrets are
//! never in it, only that they differ.
//!
//! Source: none; lists are matched by what Talos merges them by
//! (`pkg/machinery/config/merge/merge.go`).
//!
//! Not here: reading media (`inspect`), and how differences look (`verb`).

use std::io;

use crate::blob::Blob;
use crate::inspect::Medium;

mod boot;
mod bytes;
mod cmdline;
mod config;
mod medium;

/// The most differences of one part that are told; the others are counted.
const CHANGES_LIMIT: usize = 1000;
/// The longest text that is shown, in bytes; of a longer one the length is told.
const SHOWN_LIMIT: usize = 120;

/// A medium and what was read in it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its bytes.
    pub blob: &'a Blob,
    /// What they offer.
    pub medium: &'a Medium,
}

/// What differs between two media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where the bytes differ first: the length of the shorter where it begins the longer. Nothing
    /// where the two are the same, bit for bit.
    pub first_byte: Option<u64>,
    /// The parts that differ.
    pub parts: Vec<Part>,
}

/// A part of the media that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub topic: Topic,
    /// The boot entries that differ in this way; none where it is not about boot entries.
    pub entries: Vec<String>,
    /// What differs.
    pub changes: Vec<Change>,
    /// How much more differs than is told.
    pub more: u64,
}

/// What a part is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The medium as a whole: its kind, its name, who starts it, which entries it has.
    Medium,
    /// What lies where.
    Layout,
    /// What an entry boots.
    Boot,
    /// The machine config.
    Config,
    /// A disk's META.
    Meta,
}

/// One difference. Where both sides say the same, that is what they have in common, and it is in what
/// cannot be shown that they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where: `machine.network.hostname`.
    pub place: String,
    /// What the first medium has there.
    pub before: Side,
    /// What the second one has.
    pub after: Side,
}

/// What a medium has at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nothing.
    Absent,
    /// Something that may be shown.
    Shown(String),
    /// A secret, or what may be one.
    Hidden,
}

/// Compares two media.
///
/// # Errors
///
/// Where one cannot be read.
pub fn of(before: Subject<'_>, after: Subject<'_>) -> io::Result<Difference> {
    let first_byte = bytes::first(before.blob, after.blob)?;
    let mut parts = Vec::new();
    if first_byte.is_some() {
        let (old, new) = (&before.medium.boots, &after.medium.boots);
        let mut whole = medium::whole(before.medium, after.medium);
        boot::names(&mut whole, old, new);
        parts.push(whole);
        parts.push(medium::layout(before, after)?);
        parts.extend(boot::parts(old, new));
        parts.extend(config::parts(before.medium, after.medium));
        parts.push(medium::meta(before.medium.meta.as_ref(), after.medium.meta.as_ref()));
        parts.retain(|part| !part.changes.is_empty());
    }
    Ok(Difference { first_byte, parts })
}

impl Topic {
    /// A name for people and machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Layout => "layout",
            Self::Boot => "boot",
            Self::Config => "config",
            Self::Meta => "meta",
        }
    }
}

impl Part {
    fn new(topic: Topic) -> Self {
        Self { topic, entries: Vec::new(), changes: Vec::new(), more: 0 }
    }

    /// Adds a difference, as long as there are few enough.
    fn push(&mut self, place: impl FnOnce() -> String, before: Side, after: Side) {
        match self.changes.len() < CHANGES_LIMIT {
            true => self.changes.push(Change { place: place(), before, after }),
            false => self.more += 1,
        }
    }

    /// Adds a difference where there is one.
    fn compare(&mut self, place: &str, before: Option<&str>, after: Option<&str>) {
        if before != after {
            self.push(|| place.to_owned(), Side::of(before), Side::of(after));
        }
    }

    /// Adds what only one of two sets has, each at a place of its own kind.
    fn compare_sets<'t>(
        &mut self,
        place: &str,
        before: impl Iterator<Item = &'t str> + Clone,
        after: impl Iterator<Item = &'t str> + Clone,
    ) {
        for gone in left_out(before.clone(), after.clone()) {
            self.push(|| place.to_owned(), Side::shown(gone), Side::Absent);
        }
        for new in left_out(after, before) {
            self.push(|| place.to_owned(), Side::Absent, Side::shown(new));
        }
    }
}

impl Side {
    /// A text that may be shown. A long one, or one of several lines, is told by its length.
    fn shown(text: &str) -> Self {
        match text.len() > SHOWN_LIMIT || text.contains('\n') {
            true => Self::Shown(format!("<a text of {} bytes>", text.len())),
            false => Self::Shown(text.to_owned()),
        }
    }

    fn of(text: Option<&str>) -> Self {
        text.map_or(Self::Absent, Self::shown)
    }
}

/// What is in the first and not in the second, each as often as it is there more often.
fn left_out<'t>(
    of: impl Iterator<Item = &'t str>,
    without: impl Iterator<Item = &'t str>,
) -> Vec<&'t str> {
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    without.for_each(|text| *counts.entry(text).or_default() += 1);
    let is_left = |text: &&str| match counts.get_mut(*text) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    of.filter(is_left).collect()
}

#[cfg(test)]
mod tests;
