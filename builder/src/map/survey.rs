//! Every region of a medium that a reader knows, without order.
//!
//! In: a medium. Out: ranges, each with a name, and whether it is one node's own.
//!
//! A file in several pieces is one region a piece, and so is what lies in it.
//!
//! Source: none.
//!
//! Not here: which regions hold which (`nest`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::Kind;
use crate::blob::Blob;
use crate::inspect::damage::Damage;
use crate::inspect::fat::Fat;
use crate::inspect::init;
use crate::inspect::initrd::{self, Tree};
use crate::inspect::iso::{BLOCK, Iso, Platform};
use crate::inspect::memo::Memo;
use crate::inspect::meta;
use crate::inspect::partitions::{self, Partition};
use crate::inspect::pe::{self, Pe};
use crate::inspect::unpack::Packing;
use crate::inspect::volume::{Seeker, Volume};
use crate::inspect::{Firmware, Kind as MediumKind, Medium};

/// The most regions of a map. A release's ISO has some hundred.
pub(super) const REGIONS_LIMIT: usize = 4096;
/// How many times its own length of a medium is taken apart as initramfs: a hostile one may have one
/// file under many names.
const RATIO: u64 = 4;
/// The longest name that is kept, in characters.
const NAME_LIMIT: usize = 256;
/// The files of a config volume (Talos `platform/{metal,nocloud}`).
const METAL: [&str; 1] = ["config.yaml"];
const NOCLOUD: [&str; 4] = ["user-data", "meta-data", "network-config", "vendor-data"];

/// A region, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes on the medium.
    pub(super) range: Range<u64>,
    /// What kind of thing it is.
    pub(super) kind: Kind,
    /// What it is.
    pub(super) name: String,
    /// Whether it is one node's own.
    pub(super) is_own: bool,
}

/// A file, or a part of one: its bytes, and where on the medium they lie.
struct Piece {
    blob: Blob,
    places: Vec<Range<u64>>,
}

impl Piece {
    /// A part of it, cut to what there is.
    fn part(&self, part: Range<u64>) -> Self {
        let end = part.end.min(self.blob.len());
        let part = part.start.min(end)..end;
        let (mut places, mut at) = (Vec::new(), 0);
        for place in &self.places {
            let len = place.end - place.start;
            let (from, to) = (part.start.max(at), part.end.min(at + len));
            if from < to {
                places.push(place.start + (from - at)..place.start + (to - at));
            }
            at += len;
        }
        Self { blob: self.blob.slice(part), places }
    }
}

struct Survey<'a> {
    medium: &'a Blob,
    memo: &'a mut Memo,
    /// Paths that boot menus name.
    kernels: BTreeSet<String>,
    initrds: BTreeSet<String>,
    /// Where initramfs start that were taken apart already.
    seen: BTreeSet<u64>,
    /// How many bytes more are taken apart as initramfs.
    budget: u64,
    found: Vec<Found>,
}

/// A place in one piece.
fn one(range: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(range).collect()
}

/// The regions of a medium, without itself, and how many were left out.
///
/// # Errors
///
/// [`Damage`] where the outermost tables cannot be read.
pub(super) fn survey(
    blob: &Blob,
    medium: &Medium,
    memo: &mut Memo,
) -> Result<(Vec<Found>, usize), Damage> {
    let mut survey = Survey {
        medium: blob,
        memo,
        kernels: BTreeSet::new(),
        initrds: BTreeSet::new(),
        seen: BTreeSet::new(),
        budget: blob.len().saturating_mul(RATIO),
        found: Vec::new(),
    };
    let plain = |path: &String| path.trim_start_matches('/').to_owned();
    for boot in &medium.boots {
        if let Firmware::Bios { linux, initrds: of_boot } = &boot.firmware {
            survey.kernels.insert(plain(linux));
            survey.initrds.extend(of_boot.iter().map(plain));
        }
    }
    let whole = Piece { blob: blob.clone(), places: one(0..blob.len()) };
    match medium.kind {
        MediumKind::Iso => survey.iso(&medium.volumes)?,
        MediumKind::Disk { .. } => survey.table(&medium.volumes)?,
        MediumKind::Uki => survey.program(&whole).map(drop).unwrap_or_default(),
        MediumKind::Initrd => survey.initramfs(&whole).map(drop).unwrap_or_default(),
    }
    let mut found = survey.found;
    let left_out = found.len().saturating_sub(REGIONS_LIMIT);
    if left_out > 0 {
        // What is a node's own stays, and then what is large.
        found.sort_by_key(|f| (!f.is_own, u64::MAX - (f.range.end - f.range.start)));
        found.truncate(REGIONS_LIMIT);
    }
    Ok((found, left_out))
}

impl Survey<'_> {
    fn add(&mut self, places: &[Range<u64>], kind: Kind, name: &str, is_own: bool) {
        let name: String = name.chars().take(NAME_LIMIT).collect();
        for (number, range) in (1..).zip(places) {
            let name = match places.len() {
                1 => name.clone(),
                count => format!("{name}, part {number} of {count}"),
            };
            self.found.push(Found { range: range.clone(), kind, name, is_own });
        }
    }

    /// A disk's partition table, and what is in its partitions.
    fn table(&mut self, volumes: &[Volume]) -> Result<(), Damage> {
        let Some(table) = partitions::read(self.medium)? else { return Ok(()) };
        for (range, name) in &table.structures {
            self.add(std::slice::from_ref(range), Kind::Structure, name, false);
        }
        for partition in &table.partitions {
            let mut volumes = volumes.iter().filter(|volume| volume.config.is_some());
            let is_own = volumes.any(|volume| volume.partition == Some(partition.number));
            self.partition(partition, is_own);
        }
        Ok(())
    }

    fn partition(&mut self, partition: &Partition, mut is_own: bool) {
        let content = self.medium.slice(partition.range.clone());
        let mut name = format!("partition {}", partition.number);
        if !partition.name.is_empty() {
            name += &format!(" `{}`", partition.name);
        }
        let mut magic = [0; 4];
        let has_magic = content.read_exact_at(&mut magic, 0).is_ok();
        match Fat::read(&content) {
            Ok(fat) => {
                name += &format!(", {:?}", fat.width).to_uppercase();
                self.volume(&fat, partition.range.start, is_own);
                // What is free on it is nobody's.
                is_own = false;
            }
            Err(_) if has_magic && magic == *b"XFSB" => name += ", XFS",
            Err(_) if partition.name == "META" => self.meta(&content, partition.range.start),
            Err(_) => {}
        }
        self.add(std::slice::from_ref(&partition.range), Kind::Partition, &name, is_own);
    }

    fn meta(&mut self, content: &Blob, start: u64) {
        let place = |range: &Range<u64>| one(start + range.start..start + range.end);
        for (number, copy) in (1..).zip(meta::copies(content)) {
            self.add(&place(&copy.range), Kind::Store, &format!("copy {number} of META"), false);
            self.add(&place(&copy.values), Kind::Store, "values of META", true);
            let first = copy.keys.first().map_or(copy.values.end, |(_, range)| range.start);
            let head = copy.values.start..first;
            self.add(&place(&head), Kind::Value, "head of META", true);
            for (key, range) in &copy.keys {
                self.add(&place(range), Kind::Value, &format!("META key {key:#04x}"), true);
            }
            self.add(&place(&copy.end), Kind::Value, "digest of META", true);
        }
    }

    /// A FAT volume that starts at `start` of the medium. What cannot be read is left out.
    fn volume(&mut self, fat: &Fat, start: u64, is_own: bool) {
        let shift = |range: Range<u64>| start + range.start..start + range.end;
        for (range, name) in fat.structures().unwrap_or_default() {
            self.add(&[shift(range)], Kind::Structure, name, is_own);
        }
        for (path, file) in fat.walk().unwrap_or_default() {
            let Ok(ranges) = fat.ranges(&file) else { continue };
            let Ok(blob) = fat.content(&file) else { continue };
            let piece = Piece { blob, places: ranges.into_iter().map(shift).collect() };
            self.file(&path, &piece, is_own);
        }
    }

    /// An ISO's own tree, its partitions, and the volumes that only its boot catalog knows.
    fn iso(&mut self, volumes: &[Volume]) -> Result<(), Damage> {
        let iso = Iso::read(self.medium)?;
        for (range, name) in iso.structures()? {
            self.add(&[range], Kind::Structure, name, false);
        }
        self.table(&[])?;
        for entry in iso.boots.iter().filter(|entry| entry.platform == Platform::Efi) {
            let start = u64::from(entry.block) * BLOCK;
            let rest = self.medium.get(start..self.medium.len()).unwrap_or_default();
            let Ok(fat) = Fat::read(&rest) else { continue };
            let place = start..start + fat.len;
            if !self.found.iter().any(|f| f.kind == Kind::Partition && f.range.start == start) {
                self.volume(&fat, start, false);
                self.add(&[place], Kind::Partition, "EFI volume of the boot catalog", false);
            }
        }
        let seeker = volumes.iter().find(|v| v.partition.is_none() && v.config.is_some());
        let names: &[&str] = match seeker.map(|volume| volume.seeker) {
            Some(Seeker::Metal) => &METAL,
            Some(Seeker::Nocloud) => &NOCLOUD,
            None => &[],
        };
        for (path, file) in iso.walk()? {
            let piece = Piece { blob: iso.content(&file), places: file.ranges.clone() };
            self.file(&path, &piece, names.contains(&path.as_str()));
        }
        Ok(())
    }

    fn file(&mut self, path: &str, piece: &Piece, is_own: bool) {
        let mut kind = Kind::File;
        let mut holds_config = false;
        if self.kernels.contains(path) {
            kind = Kind::Kernel;
        } else if self.initrds.contains(path) {
            kind = Kind::Initramfs;
            self.initramfs(piece);
        } else if pe::is_pe(&piece.blob) {
            kind = Kind::Program;
            // An addon with a config is its node's; a UKI has the nodes' kernel, too.
            holds_config = self.program(piece).is_some_and(|found| found == Inside::ConfigAlone);
        }
        self.add(&piece.places, kind, &format!("`{path}`"), is_own || holds_config);
    }

    /// The sections of a UKI or an addon; other programs are one region.
    fn program(&mut self, piece: &Piece) -> Option<Inside> {
        let Ok(program) = Pe::read(&piece.blob) else { return None };
        let has = |name: &str| program.section(name).is_some();
        if ![".linux", ".initrd", ".ucode", ".cmdline"].into_iter().any(has) {
            return None;
        }
        let mut holds_config = false;
        let stored = program.sections.iter().filter(|section| section.stored > 0);
        let mut first = piece.blob.len();
        for section in stored {
            let start = u64::from(section.offset);
            first = first.min(start);
            let part = piece.part(start..start + section.stored);
            let kind = match section.name.as_str() {
                ".linux" => Kind::Kernel,
                ".initrd" => {
                    holds_config |= self.initramfs(&part).is_some();
                    Kind::Initramfs
                }
                _ => Kind::Section,
            };
            let is_own = kind == Kind::Initramfs && holds_config && !has(".linux");
            self.add(&part.places, kind, &format!("`{}`", section.name), is_own);
        }
        self.add(&piece.part(0..first).places, Kind::Structure, "PE headers", false);
        Some(match (holds_config, has(".linux")) {
            (true, false) => Inside::ConfigAlone,
            _ => Inside::More,
        })
    }

    /// The archives of an initramfs. Something, where one of them is a config's.
    fn initramfs(&mut self, piece: &Piece) -> Option<()> {
        let start = piece.places.first()?.start;
        self.budget = self.budget.checked_sub(piece.blob.len())?;
        if !self.seen.insert(start) {
            return None;
        }
        let tree = initrd::unpack(&piece.blob, self.memo).ok()?;
        let config = init::config(&tree, self.memo).ok().flatten().map(|found| found.image);
        let packed = config.as_deref().and_then(|image| tree.segment_of(image));
        // Where the base system comes out of the same archive, it is not the node's.
        let base = tree.segment_of("rootfs.sqsh").map(|segment| segment.start);
        let own_at = packed.map(|segment| segment.start).filter(|start| Some(*start) != base);
        for segment in &tree.segments {
            let name = match segment.packing {
                Some(Packing::Zstd) => "archive, zstd",
                Some(Packing::Xz) => "archive, xz",
                None => continue,
            };
            let places = piece.part(segment.start..segment.end).places;
            self.add(&places, Kind::Archive, name, own_at == Some(segment.start));
        }
        let own_plain = self.plain_archives(piece, &tree, config.as_deref());
        (own_at.is_some() || own_plain).then_some(())
    }

    /// The archives that are not compressed, with their entries. Whether one is the config's.
    fn plain_archives(&mut self, piece: &Piece, tree: &Tree, config: Option<&str>) -> bool {
        let image = |entry: &initrd::Placed| config.is_some() && entry.path.as_deref() == config;
        // Of two files with one path, Talos sees the later one.
        let own_at = tree.entries.iter().rposition(image);
        let (mut first, mut is_found) = (0, false);
        for (index, entry) in tree.entries.iter().enumerate() {
            let next = tree.entries.get(index + 1);
            let follows = next.is_some_and(|next| next.range.start == entry.range.end);
            if entry.path.is_some() && follows {
                continue;
            }
            let archive = &tree.entries[first..=index];
            let is_own = own_at.is_some_and(|at| (first..=index).contains(&at));
            is_found |= is_own;
            let range = archive[0].range.start..entry.range.end;
            self.add(&piece.part(range).places, Kind::Archive, "archive", is_own);
            for entry in archive {
                let name = match entry.path.as_deref() {
                    None => "end of the archive".to_owned(),
                    Some(path) if config == Some(path) => format!("`{path}`, machine config"),
                    Some(path) => format!("`{path}`"),
                };
                self.add(&piece.part(entry.range.clone()).places, Kind::Entry, &name, is_own);
            }
            first = index + 1;
        }
        is_found
    }
}

/// What a program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// A machine config, and no kernel.
    ConfigAlone,
    /// Something else.
    More,
}
