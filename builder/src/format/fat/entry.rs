//! Directory entries, of volumes that somebody else wrote: names read and made.
//!
//! In: a directory's bytes; or a name. Out: what the directory holds; or the entries for the name.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03, sections 6 and 7; the bits of
//! byte 12 (lower case) are those of Windows NT.
//!
//! Not here: where directories lie.

use std::ops::Range;

use super::mend::Stamp;

/// The bytes of an entry.
pub(super) const SLOT: usize = 32;
/// The first byte of an entry that is free.
pub(super) const FREE: u8 = 0xe5;
/// Attributes.
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const VOLUME: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;
/// Where an entry of a long name has its characters.
const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// What a directory holds under a name.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The name that Linux shows.
    pub(super) name: String,
    /// The short name, padded with spaces.
    pub(super) short: [u8; 11],
    /// Whether it is a directory.
    pub(super) is_dir: bool,
    /// The length in bytes; 0 for a directory.
    pub(super) len: u32,
    /// The first cluster.
    pub(super) first: u32,
    /// Its entries, counted from the directory's first.
    pub(super) slots: Range<usize>,
}

impl Entry {
    /// Whether the name is this one: case does not count.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || short_text(&self.short, 0).eq_ignore_ascii_case(name)
    }
}

/// The entries of a directory, and how many slots are before the one that ends it.
pub(super) fn read(bytes: &[u8]) -> (Vec<Entry>, usize) {
    let mut found = Vec::new();
    let mut long = Vec::new();
    let slots: Vec<&[u8]> = bytes.chunks_exact(SLOT).collect();
    let end = slots.iter().position(|slot| slot[0] == 0).unwrap_or(slots.len());
    let mut from = 0;
    for (index, slot) in slots[..end].iter().enumerate() {
        match slot {
            [FREE, ..] => from = index + 1,
            slot if slot[11] & 0x3f == LONG_NAME => {
                // They come last part first.
                if slot[0] & 0x40 != 0 {
                    (from, long) = (index, Vec::new());
                }
                let unit = |at: usize| u16::from_le_bytes([slot[at], slot[at + 1]]);
                long.splice(0..0, PLACES.map(unit));
                continue;
            }
            slot if slot[11] & VOLUME != 0 || slot[0] == b'.' => from = index + 1,
            slot => {
                found.push(entry(slot, &long, from..index + 1));
                from = index + 1;
            }
        }
        long.clear();
    }
    (found, end)
}

fn entry(slot: &[u8], long: &[u16], slots: Range<usize>) -> Entry {
    let short: [u8; 11] = *slot.first_chunk().expect("a slot has 32 bytes");
    let end = long.iter().position(|unit| *unit == 0).unwrap_or(long.len());
    let name = match end {
        0 => short_text(&short, slot[12]),
        _ => String::from_utf16_lossy(&long[..end]),
    };
    let is_dir = slot[11] & DIRECTORY != 0;
    let number = |at: usize| u32::from(u16::from_le_bytes([slot[at], slot[at + 1]]));
    let len = if is_dir { 0 } else { number(28) | number(30) << 16 };
    Entry { name, short, is_dir, len, first: number(20) << 16 | number(26), slots }
}

/// The short name as text. Bit 3 of `case` makes the stem lower case, bit 4 the extension.
fn short_text(short: &[u8; 11], case: u8) -> String {
    let part = |bytes: &[u8], is_lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
        if is_lower { text.to_ascii_lowercase() } else { text }
    };
    let (stem, extension) = (part(&short[..8], case & 8 != 0), part(&short[8..], case & 16 != 0));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

/// What a new entry says beside its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct New<'a> {
    /// The name, in ASCII.
    pub(super) name: &'a str,
    /// Whether it is a directory.
    pub(super) is_dir: bool,
    /// The first cluster.
    pub(super) first: u32,
    /// The length in bytes; 0 for a directory.
    pub(super) len: u32,
}

/// The entries for a new name, in their order; `taken` are the directory's short names, of which
/// this one becomes one. Nothing where the name cannot be one.
pub(super) fn make(new: New<'_>, stamp: &Stamp, taken: &mut Vec<[u8; 11]>) -> Option<Vec<u8>> {
    let is_fine = |b: u8| (b.is_ascii_graphic() && !b"\"*/:<>?\\|".contains(&b)) || b == b' ';
    if new.name.is_empty() || new.name.len() > 255 || !new.name.bytes().all(is_fine) {
        return None;
    }
    let plain = plain_short(new.name).filter(|(short, _)| !taken.contains(short));
    let (short, case, parts) = match plain {
        Some((short, case)) => (short, case, 0),
        None => {
            let units = new.name.len();
            (numbered_short(new.name, taken)?, 0, units.div_ceil(PLACES.len()))
        }
    };
    taken.push(short);
    let mut out = Vec::new();
    for part in (1..=parts).rev() {
        let last = if part == parts { 0x40 } else { 0 };
        let order = u8::try_from(part).expect("255 characters are 20 parts") | last;
        out.extend(long_part(new.name, part, order, checksum(&short)));
    }
    let mut slot = [0; SLOT];
    slot[..11].copy_from_slice(&short);
    slot[11] = if new.is_dir { DIRECTORY } else { ARCHIVE };
    slot[12] = case;
    set_place(&mut slot, new.first, new.len);
    stamp.set(&mut slot);
    out.extend(slot);
    Some(out)
}

/// The entry `.` or `..` of a directory.
pub(super) fn dots(name: &str, first: u32, stamp: &Stamp) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..11].fill(b' ');
    slot[..name.len()].copy_from_slice(name.as_bytes());
    slot[11] = DIRECTORY;
    set_place(&mut slot, first, 0);
    stamp.set(&mut slot);
    slot
}

fn set_place(slot: &mut [u8; SLOT], first: u32, len: u32) {
    let [low_0, low_1, high_0, high_1] = first.to_le_bytes();
    slot[20..22].copy_from_slice(&[high_0, high_1]);
    slot[26..28].copy_from_slice(&[low_0, low_1]);
    slot[28..].copy_from_slice(&len.to_le_bytes());
}

fn long_part(name: &str, part: usize, order: u8, checksum: u8) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    (slot[0], slot[11], slot[13]) = (order, LONG_NAME, checksum);
    let mut units = name.encode_utf16().chain([0]).skip((part - 1) * PLACES.len());
    for at in PLACES {
        // What comes after the name's end is all ones.
        let unit = units.next().unwrap_or(0xffff);
        slot[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    slot
}

fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, &b| sum.rotate_right(1).wrapping_add(b))
}

fn is_short_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&b)
}

/// The short name that shows as `name` by itself, and its bits of lower case.
fn plain_short(name: &str) -> Option<([u8; 11], u8)> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = !stem.is_empty() && stem.len() <= 8 && extension.len() <= 3;
    let has_dot_at_end = extension.is_empty() && name.contains('.');
    if !fits || has_dot_at_end || !stem.bytes().chain(extension.bytes()).all(is_short_byte) {
        return None;
    }
    let case = |part: &str, bit: u8| {
        let has = |is: fn(&u8) -> bool| part.as_bytes().iter().any(is);
        match (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase)) {
            (true, true) => None,
            (true, false) => Some(bit),
            _ => Some(0),
        }
    };
    let bits = case(stem, 8)? | case(extension, 16)?;
    Some((short_of(stem, extension), bits))
}

fn short_of(stem: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.to_ascii_uppercase().as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.to_ascii_uppercase().as_bytes());
    short
}

/// `TALFOR~1.EFI`, with the first number that is not taken.
fn numbered_short(name: &str, taken: &[[u8; 11]]) -> Option<[u8; 11]> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let clean = |part: &str, most: usize| -> String {
        part.chars().filter(|c| u8::try_from(*c).is_ok_and(is_short_byte)).take(most).collect()
    };
    let extension = clean(extension, 3);
    (1..=999u32)
        .map(|number| {
            let tail = format!("~{number}");
            short_of(&format!("{}{tail}", clean(stem, 8 - tail.len())), &extension)
        })
        .find(|short| !taken.contains(short))
}
