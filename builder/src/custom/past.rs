//! What a medium was before it was changed.
//!
//! In: a medium. Out: every range that a change wrote, with the bytes that it had; none where the
//! medium is pristine.
//!
//! A medium with a record is believed only as far as a change may have written: data in the clusters
//! of its own files, the volume's table, directories. One that talforge built with its config has an
//! addon without a record; its past is made up, the same for every config.
//!
//! Source: `layout` for what is built.
//!
//! Not here: the record's format (`record`), and new changes (`plan`).

use std::ops::Range;

use crate::blob::Blob;
use crate::custom::error::CustomError;
use crate::custom::medium::{Bios, Medium, UKIS};
use crate::custom::record::{self, Kind, Old, Record};
use crate::edit::{Edit, Write};
use crate::format::fat::edit::{Changes, Editor, Item};
use crate::format::iso9660::edit::{Place, Tree};
use crate::inspect::iso::{self, Iso};

/// The files that a change adds beside a UKI: the addon, the record, and for GRUB a segment of the
/// initramfs and a menu.
pub(super) const ADDON: &str = "talforge.addon.efi";
pub(super) const RECORD: &str = "talforge.und";
pub(super) const SEGMENT: &str = "talforge.cpi";
pub(super) const GRUB_CFG: &str = "talforge.cfg";
/// The segment of a built ISO.
const BUILT_SEGMENT: &str = "boot/config.cpio";
/// The largest record.
const RECORD_LIMIT: u64 = 1 << 20;

/// What a medium was.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// What was changed, in the order of offsets and apart.
    pub(super) ranges: Vec<Old>,
}

impl Past {
    /// The past of a medium, and an editor of its EFI system partition as that was.
    ///
    /// # Errors
    ///
    /// Where the record of its change is damaged, or somebody else wrote to the medium since.
    pub(super) fn of(medium: &Medium) -> Result<(Self, Editor), CustomError> {
        let mut editor = Editor::open(&medium.volume())?;
        let mut folders = Vec::new();
        for own in &medium.ukis {
            let items = editor.list(&format!("{UKIS}/{}", own.folder()))?;
            folders.push((own.folder(), items.unwrap_or_default()));
        }
        let named = |name: &'static str| {
            move |item: &&Item| !item.is_dir && item.name.eq_ignore_ascii_case(name)
        };
        let mut items = folders.iter().flat_map(|(_, items)| items);
        let ranges = if let Some(item) = items.clone().find(named(RECORD)) {
            recorded(medium, &mut editor, &folders, item)?
        } else if items.any(|item| named(ADDON)(&item)) {
            built(medium, editor, &folders)?
        } else {
            return Ok((Self::default(), editor));
        };
        let past = Self { ranges };
        let editor = Editor::open(&past.apply(&medium.blob).slice(medium.esp.clone()))?;
        Ok((past, editor))
    }

    /// The medium as it was.
    pub(super) fn apply(&self, medium: &Blob) -> Blob {
        let bytes = |old: &Old| match &old.bytes {
            Some(bytes) => bytes.clone(),
            None => vec![0; usize::try_from(old.range.end - old.range.start).unwrap_or(0)],
        };
        let write = |old: &Old| Write { at: old.range.start, bytes: bytes(old).into() };
        let mut edit = Edit::default();
        edit.push(self.ranges.iter().map(write).collect());
        edit.apply(medium)
    }

    /// The ranges of one kind.
    pub(super) fn of_kind(&self, kind: Kind) -> Vec<Range<u64>> {
        let ranges = self.ranges.iter().filter(|old| old.kind == kind);
        ranges.map(|old| old.range.clone()).collect()
    }
}

/// What the record says, believed as far as a change may have written.
fn recorded(
    medium: &Medium,
    editor: &mut Editor,
    folders: &[(String, Vec<Item>)],
    item: &Item,
) -> Result<Vec<Old>, CustomError> {
    if item.len > RECORD_LIMIT {
        return Err(CustomError::Record("it is too long"));
    }
    let volume = medium.volume();
    let mut file = Vec::new();
    for range in &item.ranges {
        file.extend(volume.slice(range.clone()).to_vec()?);
    }
    let record = Record::read(&file)?;
    let is_written = record::digest(&medium.blob, &record.ranges)? == record.written;
    if record.medium_len != medium.blob.len() || !is_written {
        return Err(CustomError::Changed);
    }
    let allowed = Allowed::of(medium, editor, folders)?;
    match record.ranges.iter().all(|old| allowed.has(old)) {
        true => Ok(record.ranges),
        false => Err(CustomError::Record("it has ranges that no change writes to")),
    }
}

/// Where a change may have written, on the medium.
struct Allowed {
    data: Vec<Range<u64>>,
    table: Vec<Range<u64>>,
    entries: Vec<Range<u64>>,
    records: Vec<Range<u64>>,
}

impl Allowed {
    fn of(
        medium: &Medium,
        editor: &mut Editor,
        folders: &[(String, Vec<Item>)],
    ) -> Result<Self, CustomError> {
        let start = medium.esp.start;
        let on_medium = |range: &Range<u64>| start + range.start..start + range.end;
        let is_own = |item: &&Item| {
            [ADDON, RECORD, SEGMENT, GRUB_CFG].iter().any(|own| item.name.eq_ignore_ascii_case(own))
        };
        let parents = editor.list("EFI")?.unwrap_or_default();
        let above = parents.iter().filter(|item| item.name.eq_ignore_ascii_case("Linux"));
        let listed = editor.list(UKIS)?.unwrap_or_default();
        let is_folder = |item: &&Item| folders.iter().any(|(name, _)| item.name == *name);
        let inner = listed.iter().filter(is_folder);
        let entries: Vec<_> = above.chain(inner).flat_map(|i| &i.ranges).map(on_medium).collect();
        let files = folders.iter().flat_map(|(_, items)| items).filter(is_own);
        let files = files.flat_map(|item| &item.ranges).map(on_medium);
        let records = match &medium.bios {
            Bios::Iso(_) => {
                let tree = Tree::first(&medium.blob)?;
                let folders = [tree.find("boot")?, tree.find("boot/grub")?];
                folders.into_iter().flatten().filter(|p| p.is_dir).map(|p| p.range).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            data: files.chain(entries.iter().cloned()).collect(),
            table: editor.tables().iter().map(on_medium).collect(),
            entries,
            records,
        })
    }

    fn has(&self, old: &Old) -> bool {
        let within = |ranges: &[Range<u64>]| {
            ranges.iter().any(|r| r.start <= old.range.start && old.range.end <= r.end)
        };
        match old.kind {
            Kind::Data => old.bytes.is_none() && within(&self.data),
            Kind::Table => within(&self.table),
            Kind::Record => within(&self.records),
            Kind::Door => within(&self.entries) || within(&self.table) || within(&self.records),
        }
    }
}

/// What a medium that was built with its config would be without it.
fn built(
    medium: &Medium,
    mut editor: Editor,
    folders: &[(String, Vec<Item>)],
) -> Result<Vec<Old>, CustomError> {
    let with_items = folders.iter().filter(|(_, items)| !items.is_empty());
    for (folder, items) in with_items.clone() {
        if items.len() != 1 || !items[0].name.eq_ignore_ascii_case(ADDON) {
            return Err(CustomError::Changed);
        }
        editor.remove(UKIS, folder)?;
    }
    let Changes { data, table, info, entries } = editor.finish()?;
    let mut olds = Vec::new();
    let mut add = |kind, writes: Vec<Write>, from: u64| {
        olds.extend(writes.into_iter().map(|write| {
            let Range { start, end } = write.range();
            let is_zero = write.bytes.iter().all(|b| *b == 0);
            let bytes = (!is_zero).then(|| write.bytes.to_vec());
            Old { kind, range: start + from..end + from, bytes }
        }));
    };
    let start = medium.esp.start;
    add(Kind::Data, data, start);
    add(Kind::Table, table, start);
    add(Kind::Table, info, start);
    add(Kind::Door, entries, start);
    if iso::is_iso(&medium.blob) {
        let iso = Iso::read(&medium.blob)?;
        let first = Tree::first(&medium.blob)?;
        for (folder, _) in with_items {
            if let Some(place) = first.find(&format!("{UKIS}/{folder}/{ADDON}"))? {
                add(Kind::Record, vec![first.point(&place, &(0..0))?], 0);
            }
        }
        if let Some(place) = first.find(BUILT_SEGMENT)?.filter(|place| !place.range.is_empty()) {
            let second = Tree::second(&medium.blob)?;
            let again = second.as_ref().map(|tree| tree.find(BUILT_SEGMENT)).transpose()?.flatten();
            let again = again.filter(|again| again.range == place.range);
            add(Kind::Record, vec![first.point(&place, &(0..0))?], 0);
            if let (Some(tree), Some(again)) = (second, again) {
                add(Kind::Record, vec![tree.point(&again, &(0..0))?], 0);
            }
            check_alone(medium, &iso, &place)?;
            olds.push(Old { kind: Kind::Data, range: place.range, bytes: None });
        }
    }
    Ok(joined(olds))
}

/// Nothing but the segment lies where it lies.
fn check_alone(medium: &Medium, iso: &Iso, place: &Place) -> Result<(), CustomError> {
    let mut magic = [0; 6];
    medium.blob.read_exact_at(&mut magic, place.range.start)?;
    let files = iso.walk()?;
    let others = files.iter().filter(|(path, _)| path != BUILT_SEGMENT);
    let mut ranges = others.flat_map(|(_, file)| &file.ranges).chain([&medium.esp]);
    let shares = ranges.any(|r| r.start < place.range.end && place.range.start < r.end);
    match magic == *b"070701" && !shares {
        true => Ok(()),
        false => Err(CustomError::Changed),
    }
}

/// The ranges in order, those of one kind that touch as one.
fn joined(mut olds: Vec<Old>) -> Vec<Old> {
    olds.sort_by_key(|old| old.range.start);
    let mut out: Vec<Old> = Vec::new();
    for old in olds {
        match out.last_mut().filter(|last| {
            let is_like = last.kind == old.kind && last.bytes.is_some() == old.bytes.is_some();
            is_like && last.range.end == old.range.start
        }) {
            Some(last) => {
                last.range.end = old.range.end;
                if let (Some(bytes), Some(more)) = (&mut last.bytes, old.bytes) {
                    bytes.extend(more);
                }
            }
            None => out.push(old),
        }
    }
    out
}
