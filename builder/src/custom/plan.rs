//! A change, planned: what is written where, and in which order.
//!
//! In: a medium, its past, what it is to hold. Out: the [`Plan`].
//!
//! New files take room that is free now and was free before, so that old and new lie side by side
//! until the doors are turned: one sector of the EFI system partition for every UKI, one record of the
//! ISO for GRUB. Then what was old is filled with zeros.
//!
//! Source: systemd-stub(7): an addon's `.cmdline` is taken since 254, its `.initrd` since 257; Talos
//! `internal/app/machined/pkg/runtime/v1alpha1/platform` for arguments of which the first counts.
//!
//! Not here: the formats, and who writes to a disk.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::asset::initramfs::{self, Initramfs};
use crate::blob::Blob;
use crate::catalog::kernel_arg::COMMAND_LINE_BYTES;
use crate::custom::error::CustomError;
use crate::custom::medium::{Bios, INITRAMFS, MENU, Medium, Own, UKIS};
use crate::custom::past::{ADDON, GRUB_CFG, Past, RECORD, SEGMENT};
use crate::custom::record::{self, Kind, Old, RECORD_BYTES, Record};
use crate::custom::{Change, Note, Plan, menu};
use crate::edit::{Edit, Write};
use crate::format::fat::edit::{Changes, Editor, Room};
use crate::format::iso9660::edit::Tree;
use crate::format::pe::Machine;
use crate::inspect::damage::Damage;
use crate::inspect::init;
use crate::inspect::iso::{BLOCK, Iso};
use crate::inspect::memo::Memo;
use crate::payload::extension;
use crate::payload::uki::{self, AddonParts};
use crate::talos::{Arch, Version};

/// The first stubs that take an addon's command line, and its initramfs.
const STUB_CMDLINE: u32 = 254;
const STUB_INITRD: u32 = 257;
/// What GRUB puts before a command line.
const GRUB_ADDS: &str = "BOOT_IMAGE=/boot/vmlinuz ";
/// Arguments of which Talos takes the first value alone.
const FIRST_COUNTS: [&str; 2] = ["talos.platform", "talos.config"];
/// The folder of an ISO's kernel, and the segment's name there.
const BOOT: &str = "boot";
const ISO_IDENTIFIER: &str = "TALFORGE.CPI;1";
pub(super) const ISO_SEGMENT: &str = "/boot/talforge.cpi";
/// The longest menu of GRUB.
const MENU_LIMIT: u64 = 1 << 20;

/// New writes, on the medium, by what they are for. The count of free clusters is for itself.
#[derive(Debug, Default)]
struct New {
    data: Vec<Write>,
    table: Vec<Write>,
    info: Vec<Write>,
    records: Vec<Write>,
    doors: Vec<Write>,
}

/// Plans the change of a medium.
///
/// # Errors
///
/// Where the medium cannot hold it.
pub(super) fn plan(medium: &Medium, change: &Change) -> Result<Plan, CustomError> {
    let (past, editor) = Past::of(medium)?;
    let pristine = past.apply(&medium.blob);
    let is_empty = change.config.is_none() && change.kernel_args.is_empty();
    let mut notes = Vec::new();
    let new = if is_empty {
        New::default()
    } else {
        notes = check(medium, change)?;
        let segments = RefCell::default();
        Builder { medium, pristine: &pristine, change, segments }.build(&past, editor)?
    };
    let target = after(&pristine, &new);
    let edit = order(medium, &target, &past, &new)?;
    Ok(Plan { edit, doors: medium.doors.clone(), notes })
}

/// Whether the medium's stubs, release and command line can do what is asked for.
fn check(medium: &Medium, change: &Change) -> Result<Vec<Note>, CustomError> {
    let mut notes = Vec::new();
    for own in &medium.ukis {
        let (what, since) = match change.config {
            Some(_) => ("an addon's initramfs", STUB_INITRD),
            None => ("an addon's command line", STUB_CMDLINE),
        };
        if own.uki.stub.is_none_or(|stub| stub < since) {
            let found = own.uki.stub.map_or("of no version".to_owned(), |stub| stub.to_string());
            return Err(CustomError::Stub { found, what, since });
        }
        if change.config.is_some() {
            let talos = own.uki.version.as_deref().and_then(Version::parse);
            let talos = talos.ok_or(CustomError::NoVersion)?;
            if !talos.reads_embedded_config() {
                return Err(CustomError::Talos(talos));
            }
        }
        if own.uki.is_signed {
            notes.push(Note::Signed { uki: own.path() });
        }
        for profile in own.uki.profiles()? {
            check_line(&profile.cmdline, &change.kernel_args, &mut notes)?;
        }
    }
    if matches!(medium.bios, Bios::Disk) {
        notes.push(Note::BiosUnchanged);
    }
    notes.sort();
    notes.dedup();
    Ok(notes)
}

fn check_line(line: &str, args: &[String], notes: &mut Vec<Note>) -> Result<(), CustomError> {
    let key = |arg: &str| arg.split('=').next().unwrap_or_default().to_owned();
    for arg in args {
        let refuse =
            |why| Err(CustomError::Argument { arg: arg.escape_default().to_string(), why });
        if arg.is_empty() || !arg.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("it is empty, or holds a character that is not printable ASCII");
        }
        if arg.starts_with('-') {
            return refuse(
                "what lies beside a UKI adds to its command line, and takes nothing away",
            );
        }
        let own: Vec<&str> = line.split(' ').filter(|own| key(own) == key(arg)).collect();
        if FIRST_COUNTS.contains(&&*key(arg)) && own.first().is_some_and(|own| own != arg) {
            return refuse("Talos takes the first value, and that is the medium's own");
        }
        if !own.is_empty() && key(arg) != "console" {
            notes.push(Note::Repeated { arg: arg.clone() });
        }
    }
    let added: usize = args.iter().map(|arg| 1 + arg.len()).sum();
    let (len, limit) = (GRUB_ADDS.len() + line.len() + added, COMMAND_LINE_BYTES - 1);
    if len > limit { Err(CustomError::Line { len, limit }) } else { Ok(()) }
}

/// A base initramfs without a config.
///
/// # Errors
///
/// Where it cannot be read, or a config is in it.
pub(super) fn base(initrd: &Blob) -> Result<Initramfs, CustomError> {
    let base = initramfs::skim(initrd, &mut Memo::default())?;
    let layers = base.list.as_deref().map(init::parse).transpose();
    let layers = layers.map_err(|why| Damage::new("extensions.yaml", 0, why))?;
    let is_config = |layer: &init::Layer| layer.name == init::CONFIG_EXTENSION;
    match layers.is_some_and(|layers| layers.iter().any(is_config)) {
        true => Err(CustomError::Inside),
        false => Ok(base),
    }
}

struct Builder<'a> {
    medium: &'a Medium,
    pristine: &'a Blob,
    change: &'a Change,
    /// What was made, by the base that it goes with.
    segments: RefCell<Vec<(Arc<Initramfs>, Blob)>>,
}

impl Builder<'_> {
    fn build(&self, past: &Past, mut editor: Editor) -> Result<New, CustomError> {
        let esp = self.medium.esp.clone();
        let old = past.of_kind(Kind::Data).into_iter();
        let old = old.filter(|old| esp.start <= old.start && old.end <= esp.end);
        let old = old.map(|old| old.start - esp.start..old.end - esp.start);
        editor.avoid(&old.collect::<Vec<_>>());
        let record = editor.reserve(RECORD_BYTES, 1)?;
        let mut new = New::default();
        for (index, own) in self.medium.ukis.iter().enumerate() {
            let addon = put(&mut editor, self.addon(own)?, 1)?;
            let mut files = vec![(ADDON, addon)];
            if index == 0 {
                files.push((RECORD, record.clone()));
                files.extend(self.grub(&mut editor, &mut new)?);
            }
            let files: Vec<_> = files.iter().map(|(name, room)| (*name, room)).collect();
            editor.add(UKIS, &own.folder(), &files, self.change.epoch.into())?;
        }
        let Changes { data, table, info, entries } = editor.finish()?;
        let shift = |write: Write| Write { at: write.at + esp.start, ..write };
        new.data = data.into_iter().map(shift).collect();
        new.table = table.into_iter().map(shift).collect();
        new.info = info.into_iter().map(shift).collect();
        new.doors.extend(entries.into_iter().map(shift));
        let at = esp.start + record.offset;
        new.data.push(Write { at, bytes: self.record(&new, at)? });
        Ok(new)
    }

    fn addon(&self, own: &Own) -> Result<Vec<u8>, CustomError> {
        let segment = match &self.change.config {
            Some(config) => Some(self.segment(config, self.medium.base(&own.initramfs()?)?)?),
            None => None,
        };
        let line = self.change.kernel_args.join(" ");
        let parts = AddonParts {
            uname: own.uki.uname.as_deref(),
            cmdline: Some(&*line).filter(|line| !line.is_empty()),
            segment: segment.as_ref(),
        };
        let machine = match own.uki.arch {
            Arch::Amd64 => Machine::Amd64,
            Arch::Arm64 => Machine::Arm64,
        };
        Ok(uki::addon(machine, &parts, self.change.epoch)?.to_vec()?)
    }

    /// The config for a base. A second one that holds the same gets the same.
    fn segment(&self, config: &[u8], base: Arc<Initramfs>) -> Result<Blob, CustomError> {
        let mut made = self.segments.borrow_mut();
        let is_like = |other: &Initramfs| (&other.list, &other.names) == (&base.list, &base.names);
        if let Some((_, segment)) = made.iter().find(|(other, _)| is_like(other)) {
            return Ok(segment.clone());
        }
        let segment = extension::segment(config, &base, self.change.epoch)?;
        made.push((base, segment.clone()));
        Ok(segment)
    }

    /// What GRUB needs: a menu, and a segment that the ISO's folder leads to. Both are on the EFI
    /// system partition.
    fn grub(
        &self,
        editor: &mut Editor,
        new: &mut New,
    ) -> Result<Vec<(&'static str, Room)>, CustomError> {
        let Bios::Iso(_) = &self.medium.bios else { return Ok(Vec::new()) };
        let iso = Iso::read(self.pristine)?;
        let tree = Tree::first(self.pristine)?;
        let start = self.medium.esp.start;
        let place = |room: &Room| start + room.offset..start + room.offset + room.len;
        let mut files = Vec::new();
        let mut initrd = None;
        if let Some(config) = &self.change.config {
            let file = iso.find(INITRAMFS)?.ok_or(CustomError::Menu(MENU))?;
            let base = self.medium.base(&iso.content(&file))?;
            let segment = self.segment(config, base)?;
            let room = put(editor, segment.to_vec()?, BLOCK)?;
            let folder = tree.find(BOOT)?.ok_or(CustomError::Folder(BOOT))?;
            let write = tree.add(&folder, ISO_IDENTIFIER, SEGMENT, &place(&room))?;
            new.records.push(write.ok_or(CustomError::Folder(BOOT))?);
            files.push((SEGMENT, room));
            initrd = Some(ISO_SEGMENT);
        }
        let file = iso.find(MENU)?.ok_or(CustomError::Menu(MENU))?;
        let menu = iso.content(&file);
        if menu.len() > MENU_LIMIT {
            return Err(CustomError::Menu(MENU));
        }
        let text = String::from_utf8(menu.to_vec()?).map_err(|_| CustomError::Menu(MENU))?;
        let text = menu::extend(&text, &self.change.kernel_args, initrd)?;
        let room = put(editor, text.into_bytes(), BLOCK)?;
        let record = tree.find(MENU)?.ok_or(CustomError::Menu(MENU))?;
        new.doors.push(tree.point(&record, &place(&room))?);
        files.push((GRUB_CFG, room));
        Ok(files)
    }

    /// The record's file, for what was planned but itself.
    fn record(&self, new: &New, at: u64) -> Result<Arc<[u8]>, CustomError> {
        let mut ranges = vec![Old { kind: Kind::Data, range: at..at + RECORD_BYTES, bytes: None }];
        let kinds = [
            (Kind::Data, &new.data),
            (Kind::Table, &new.table),
            (Kind::Table, &new.info),
            (Kind::Record, &new.records),
            (Kind::Door, &new.doors),
        ];
        for (kind, write) in kinds.iter().flat_map(|(k, writes)| writes.iter().map(|w| (*k, w))) {
            let old = self.pristine.slice(write.range()).to_vec()?;
            let bytes = old.iter().any(|b| *b != 0).then_some(old);
            ranges.push(Old { kind, range: write.range(), bytes });
        }
        ranges.sort_by_key(|old| old.range.start);
        let target = after(self.pristine, new);
        let written = record::digest(&target, &ranges)?;
        let record = Record { medium_len: self.pristine.len(), written, ranges };
        let mut bytes = record.to_bytes();
        let len = usize::try_from(RECORD_BYTES).expect("16 KiB");
        if bytes.len() > len {
            return Err(CustomError::Record("it is too long"));
        }
        bytes.resize(len, 0);
        Ok(bytes.into())
    }
}

/// Puts a file's bytes where there is room.
fn put(editor: &mut Editor, bytes: Vec<u8>, align: u64) -> Result<Room, CustomError> {
    let room = editor.reserve(bytes.len() as u64, align)?;
    editor.fill(&room, bytes);
    Ok(room)
}

/// The pristine medium after all new writes.
fn after(pristine: &Blob, new: &New) -> Blob {
    let New { data, table, info, records, doors } = new;
    let mut edit = Edit::default();
    edit.push([data, table, info, records, doors].into_iter().flatten().cloned().collect());
    edit.apply(pristine)
}

/// The writes from the medium as it is to the target, in steps: what no boot looks at yet; what
/// leads there; what no boot looks at any more.
fn order(medium: &Medium, target: &Blob, past: &Past, new: &New) -> Result<Edit, CustomError> {
    let medium_has_segment = match &medium.bios {
        Bios::Iso(iso) => iso.find(ISO_SEGMENT)?.is_some(),
        Bios::None | Bios::Disk => false,
    };
    let medium = &medium.blob;
    let ranges = |writes: &[Write]| writes.iter().map(Write::range).collect::<Vec<_>>();
    let was: Vec<_> = past.ranges.iter().map(|old| old.range.clone()).collect();
    // Bytes that a reader of the old files looks at are a door, too.
    let is_new =
        |range: &Range<u64>| was.iter().all(|old| old.end <= range.start || range.end <= old.start);
    let (fresh, seen): (Vec<_>, Vec<_>) = ranges(&new.data).into_iter().partition(is_new);
    let doors = [seen, ranges(&new.doors), past.of_kind(Kind::Door)].concat();
    // Where the old menu leads to the record, its data come before it. Else nothing leads there
    // before the doors do.
    let (early, late) = match medium_has_segment {
        true => (Vec::new(), ranges(&new.records)),
        false => (ranges(&new.records), Vec::new()),
    };
    let old = [Kind::Record, Kind::Table, Kind::Data].map(|kind| past.of_kind(kind));
    let steps = [
        [fresh, ranges(&new.table), ranges(&new.info), early].concat(),
        [late, doors].concat(),
        old.concat(),
    ];
    let (mut edit, mut here) = (Edit::default(), medium.clone());
    for step in steps {
        let mut writes = Vec::new();
        for range in joined(step) {
            let bytes = target.slice(range.clone()).to_vec()?;
            if here.slice(range.clone()).to_vec()? != bytes {
                writes.push(Write { at: range.start, bytes: bytes.into() });
            }
        }
        edit.push(writes);
        here = edit.apply(medium);
    }
    Ok(edit)
}

/// The ranges in order, those that overlap as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end > range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
