//! Entries of newc cpio archives.
//!
//! In: an archive in a blob, or one that comes out of a decoder. Out: its entries.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`.
//!
//! Not here: how entries make a tree (`initrd`).

use std::io::{BufReader, Read as _};
use std::sync::Arc;

use super::damage::Damage;
use super::field;
use super::unpack::Unpacker;
use crate::blob::Blob;
use crate::units::{KIB, MIB, align_up};

/// The bytes of a header.
const HEADER: usize = 110;
/// The longest name, with its NUL: the kernel's `PATH_MAX`.
const NAME_LIMIT: u32 = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// The bytes at the start of a packed squashfs that are kept: its superblock.
const HEAD: u64 = 96;
/// The largest packed squashfs that is kept whole: that of a machine config is a few KiB.
const SMALL_SQUASHFS: u64 = 256 * KIB;
/// The largest packed text that is kept.
const SMALL_TEXT: u64 = MIB;
/// The bytes of contents that are kept of one segment.
const KEPT_LIMIT: u64 = 4 * MIB;
/// The most entries of one segment.
const ENTRIES_LIMIT: usize = 1 << 16;

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The path as stored.
    pub(super) name: String,
    /// Type and permissions.
    pub(super) mode: u32,
    /// The owner.
    pub(super) uid: u32,
    /// The group.
    pub(super) gid: u32,
    /// The number of names of the file.
    pub(super) links: u32,
    /// Inode, and major and minor number of its device.
    pub(super) inode: [u32; 3],
    /// The length of the contents in bytes.
    pub(super) len: u64,
    /// Where the contents start, from the start of what the archive is in.
    pub(super) body: u64,
}

/// What a header says, with the length of the name.
struct Header {
    entry: Entry,
    name_len: u64,
    /// The sum of the contents' bytes, where the archive has sums.
    sum: Option<u32>,
}

/// One step through an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A file, with the first of its bytes where they were kept.
    Entry(Entry, Arc<[u8]>),
    /// The end of an archive.
    Trailer,
}

/// What is in a compressed segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its entries, in order.
    pub(super) items: Vec<Item>,
    /// The bytes of the frame or stream.
    pub(super) packed_len: u64,
    /// The bytes that it unpacks to.
    pub(super) unpacked_len: u64,
}

fn parse(bytes: &[u8; HEADER], at: u64) -> Result<Header, Damage> {
    let damage = |wrong: &str| Damage::new("cpio header", at, wrong);
    match &bytes[..6] {
        b"070701" | b"070702" => (),
        b"070707" => return Err(damage("it is of an old archive").should("newc: 070701")),
        _ => return Err(damage("its magic number is wrong").should("070701 or 070702")),
    }
    let number = |index: usize| {
        let digits = &bytes[6 + index * 8..14 + index * 8];
        let plain = digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| plain);
        text.and_then(|t| u32::from_str_radix(t, 16).ok())
            .ok_or_else(|| damage("a field of it is no number"))
    };
    let name_len = number(11)?;
    if name_len == 0 || name_len > NAME_LIMIT {
        return Err(damage("its name is empty or longer than 4096 bytes"));
    }
    let sum = if bytes[..6] == *b"070702" { Some(number(12)?) } else { None };
    let body = align_up(at + HEADER as u64 + u64::from(name_len), 4);
    let entry = Entry {
        name: String::new(),
        mode: number(1)?,
        uid: number(2)?,
        gid: number(3)?,
        links: number(4)?,
        inode: [number(0)?, number(7)?, number(8)?],
        len: u64::from(number(6)?),
        body,
    };
    Ok(Header { entry, name_len: u64::from(name_len), sum })
}

impl Header {
    fn finish(self, name: &[u8], at: u64) -> Result<Option<Entry>, Damage> {
        let damage = |wrong: &str| Damage::new("cpio name", at + HEADER as u64, wrong);
        let Some((0, name)) = name.split_last() else {
            return Err(damage("it does not end in a NUL"));
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(damage("it is no UTF-8"));
        };
        if name.contains('\0') {
            return Err(damage("there is a NUL in it"));
        }
        Ok((name != TRAILER).then(|| Entry { name: name.to_owned(), ..self.entry }))
    }
}

/// The entry at `at` of an archive in a blob, nothing for the trailer, and where the next one may
/// start.
pub(super) fn plain_entry(blob: &Blob, at: u64) -> Result<(Option<Entry>, u64), Damage> {
    let header = parse(&field::load(blob, "cpio header", at)?, at)?;
    let name_at = at + HEADER as u64;
    let range = name_at..name_at + header.name_len;
    let name = field::bytes(blob, "cpio name", range, NAME_LIMIT.into())?;
    let end = header.entry.body + header.entry.len;
    if end > blob.len() {
        let wrong = format!("the file ends at {end:#x} of {:#x} bytes", blob.len());
        return Err(Damage::new("cpio header", at, wrong));
    }
    check_sum(&header, &blob.slice(header.entry.body..end), at)?;
    Ok((header.finish(&name, at)?, align_up(end, 4).min(blob.len())))
}

/// The kernel stops at a wrong sum, in archives that have sums. In a compressed segment they are
/// not looked at: such have sums of their own.
fn check_sum(header: &Header, body: &Blob, at: u64) -> Result<(), Damage> {
    let Some(want) = header.sum.filter(|_| header.entry.mode & 0o170_000 == 0o100_000) else {
        return Ok(());
    };
    let sum = BufReader::new(body.reader())
        .bytes()
        .try_fold(0u32, |sum, byte| byte.map(|byte| sum.wrapping_add(byte.into())));
    match sum.map_err(|error| Damage::read("cpio entry", at, error))? {
        sum if sum == want => Ok(()),
        sum => Err(Damage::new("cpio entry", at, format!("the sum of its bytes is {sum:#x}"))
            .should(format!("{want:#x}"))),
    }
}

/// Reads a compressed segment to its end.
pub(super) fn packed_facts(unpacker: &mut Unpacker<'_>) -> Result<Facts, Damage> {
    let mut items = Vec::new();
    let mut kept = 0;
    while let Some(first) = next_byte(unpacker)? {
        let at = unpacker.offset();
        if first != b'0' || !at.is_multiple_of(4) {
            let wrong = "what follows the entry before is no entry";
            return Err(Damage::new("unpacked segment", at, wrong).should("at a multiple of 4"));
        }
        items.push(packed_item(unpacker, &mut kept)?);
        if items.len() > ENTRIES_LIMIT {
            return Err(Damage::new("unpacked segment", at, "it has more than 65536 entries"));
        }
    }
    let (packed_len, unpacked_len) = (unpacker.packed_len(), unpacker.offset());
    Ok(Facts { items, packed_len, unpacked_len })
}

/// The next byte that is no NUL, or nothing at the end.
fn next_byte(unpacker: &mut Unpacker<'_>) -> Result<Option<u8>, Damage> {
    loop {
        let bytes = unpacker.peek()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zeros = bytes.iter().take_while(|&&b| b == 0).count();
        let found = bytes.get(zeros).copied();
        unpacker.consume(zeros);
        if found.is_some() {
            return Ok(found);
        }
    }
}

fn packed_item(unpacker: &mut Unpacker<'_>, kept: &mut u64) -> Result<Item, Damage> {
    let at = unpacker.offset();
    let (entry, [body, body_len]) = packed_entry(unpacker)?;
    let Some(entry) = entry else {
        // A trailer at the very end may lack its padding.
        let padded = unpacker.skip(align_up(body + body_len, 4) - unpacker.offset())?;
        return if body_len > 0 && padded.is_none() { Err(cut(at)) } else { Ok(Item::Trailer) };
    };
    unpacker.skip(body - unpacker.offset())?.ok_or_else(|| cut(at))?;
    let keep = keep(&entry, KEPT_LIMIT - *kept);
    *kept += if keep > HEAD { keep } else { 0 };
    let mut bytes = vec![0; usize::try_from(keep).expect("it is 1 MiB at most")];
    unpacker.read_exact(&mut bytes)?.ok_or_else(|| cut(at))?;
    unpacker.skip(entry.len - keep)?.ok_or_else(|| cut(at))?;
    // The last entry's padding may be missing.
    unpacker.skip(align_up(entry.body + entry.len, 4) - unpacker.offset())?;
    Ok(Item::Entry(entry, bytes.into()))
}

/// The header and name of an entry, or nothing for a trailer; where its contents start, and their
/// length. The contents come next.
pub(super) fn packed_entry(
    unpacker: &mut Unpacker<'_>,
) -> Result<(Option<Entry>, [u64; 2]), Damage> {
    let at = unpacker.offset();
    let mut header = [0; HEADER];
    unpacker.read_exact(&mut header)?.ok_or_else(|| cut(at))?;
    let header = parse(&header, at)?;
    let len = usize::try_from(header.name_len).expect("a name has 4096 bytes at most");
    let mut name = vec![0; len];
    unpacker.read_exact(&mut name)?.ok_or_else(|| cut(at))?;
    let content = [header.entry.body, header.entry.len];
    Ok((header.finish(&name, at)?, content))
}

fn cut(at: u64) -> Damage {
    Damage::new("cpio header", at, "the frame or stream ends inside of the entry")
}

/// How many of an entry's bytes are kept, where there is room for `room` more.
fn keep(entry: &Entry, room: u64) -> u64 {
    let name = entry.name.trim_start_matches(['.', '/']);
    let (whole, else_keep) = match name {
        "extensions.yaml" => (SMALL_TEXT, 0),
        _ if name.ends_with(".sqsh") => (SMALL_SQUASHFS, HEAD),
        _ => (0, 0),
    };
    if entry.len <= whole.min(room) { entry.len } else { else_keep.min(entry.len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, body: &[u8]) -> Vec<u8> {
        let mut out = format!(
            "070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            1,
            0o100_400,
            0,
            0,
            1,
            0,
            body.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0
        )
        .into_bytes();
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(body);
        out
    }

    #[test]
    fn a_sum_must_be_right_where_there_are_sums() {
        let mut bytes = archive("a.txt", b"hello");
        bytes[5] = b'2';
        bytes[102..110].copy_from_slice(b"00000214");
        assert!(plain_entry(&Blob::from_bytes("cpio", bytes.clone()), 0).is_ok());
        bytes[109] = b'5';
        let error = plain_entry(&Blob::from_bytes("cpio", bytes), 0).unwrap_err().to_string();
        assert_eq!(error, "cpio entry at 0x0: the sum of its bytes is 0x214, should be 0x215");
    }

    #[test]
    fn an_entry_says_where_its_body_is() {
        let bytes = archive("a.txt", b"hello");
        let (entry, next) = plain_entry(&Blob::from_bytes("cpio", bytes.as_slice()), 0).unwrap();
        let entry = entry.unwrap();
        assert_eq!((entry.name.as_str(), entry.mode, entry.len), ("a.txt", 0o100_400, 5));
        assert_eq!((entry.body, next), (116, 121));
    }

    #[test]
    fn a_trailer_is_no_entry() {
        let bytes = archive(TRAILER, b"");
        let (entry, next) = plain_entry(&Blob::from_bytes("cpio", bytes.as_slice()), 0).unwrap();
        assert_eq!((entry, next), (None, bytes.len() as u64));
    }

    #[test]
    fn a_cut_entry_is_a_damage() {
        let bytes = archive("a.txt", b"hello");
        for len in 0..bytes.len() {
            assert!(plain_entry(&Blob::from_bytes("cpio", &bytes[..len]), 0).is_err(), "{len}");
        }
    }
}
