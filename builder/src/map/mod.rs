//! What lies where on a medium, level by level: partitions, files, sections, segments, and which of it
//! is one node's own.
//!
//! In: a medium and what was read of it. Out: a tree of regions; drawn, a text or an SVG.
//!
//! A node's own bytes are found by what they are, not by who wrote them: the archive of an initramfs
//! that holds a machine config, and the addon around it; a volume or files where Talos looks for a
//! config; META's values.
//!
//! Source: none.
//!
//! Not here: reading formats (`inspect`), terminals and files (`verb`).

use std::fmt;
use std::ops::Range;

use crate::blob::Blob;
use crate::inspect::Medium;
use crate::inspect::damage::Damage;
use crate::inspect::memo::Memo;
use crate::units::Size;

mod survey;
mod nest;
mod scale;
mod chart;
pub mod text;
pub mod svg;

/// A medium's regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The medium's name, for a heading.
    pub name: String,
    /// What it is, for a person.
    pub about: String,
    /// All of it.
    pub root: Region,
    /// How many regions were left out, because nobody could read so many.
    pub left_out: usize,
}

/// A range of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its bytes on the medium.
    pub range: Range<u64>,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What it is, for a person. It comes from the medium: it may hold any characters.
    pub name: String,
    /// Whether it is one node's own. Then all of it is, even what another node's happens to equal,
    /// such as headers.
    pub is_own: bool,
    /// What is in it, in order. None overlaps another, and all lie inside of it. Either there are
    /// none, or they fill it but for padding.
    pub parts: Vec<Region>,
}

/// What kind of thing a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The whole medium.
    Medium,
    /// A partition.
    Partition,
    /// What a partition table or a file system needs for itself.
    Structure,
    /// A copy of META's values.
    Store,
    /// A file, or a part of one.
    File,
    /// An EFI program.
    Program,
    /// A section of an EFI program.
    Section,
    /// A Linux kernel.
    Kernel,
    /// An initramfs.
    Initramfs,
    /// An archive in an initramfs.
    Archive,
    /// A file in an archive.
    Entry,
    /// A value of META, or what closes a copy of them.
    Value,
    /// Bytes that nothing on the medium names.
    Data,
    /// What is free, or fills up.
    Free,
}

impl Kind {
    /// Its name for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Partition => "partition",
            Self::Structure => "structure",
            Self::Store => "store",
            Self::File => "file",
            Self::Program => "program",
            Self::Section => "section",
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Archive => "archive",
            Self::Entry => "entry",
            Self::Value => "value",
            Self::Data => "data",
            Self::Free => "free",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Region {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The ranges in it that are one node's own, in order, neighbours joined.
    pub fn own(&self) -> Vec<Range<u64>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        let mut todo = vec![self];
        while let Some(region) = todo.pop() {
            if !region.is_own {
                todo.extend(region.parts.iter().rev());
                continue;
            }
            match out.last_mut() {
                Some(last) if last.end == region.range.start => last.end = region.range.end,
                _ => out.push(region.range.clone()),
            }
        }
        out
    }
}

/// Maps a medium, that was read before.
///
/// # Errors
///
/// [`Damage`] where its outermost tables cannot be read. What is damaged inside is a region without
/// parts.
pub fn survey(name: &str, blob: &Blob, medium: &Medium, memo: &mut Memo) -> Result<Map, Damage> {
    memo.allow(blob.len());
    let (found, left_out) = survey::survey(blob, medium, memo)?;
    let root = nest::nest(blob, medium.kind, found);
    let volume = medium.volume_id.as_ref().map_or(String::new(), |id| format!(", volume `{id}`"));
    Ok(Map { name: name.to_owned(), about: format!("{}{volume}", medium.kind), root, left_out })
}

/// A length for a person: exact in one unit, or cut to the largest that keeps two digits.
fn rough(bytes: u64) -> String {
    let units = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (unit, shift) = units.into_iter().rfind(|(_, s)| bytes >> s >= 10).unwrap_or(units[0]);
    match bytes % (1 << shift) {
        0 => Size(bytes).to_string(),
        _ => format!("~{}{unit}", bytes >> shift),
    }
}

#[cfg(test)]
mod tests;
