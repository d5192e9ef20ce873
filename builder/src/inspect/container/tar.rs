//! Archives that hold one disk: an appliance (OVA), or what was packed with `tar`.
//!
//! In: a file whose first block is an archive's header. Out: where the disk's bytes lie; holes of
//! sparse members are zeros.
//!
//! Source: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Interchange Format"; GNU tar
//! manual, "Storing Sparse Files" (old GNU format, PAX format 1.0) and "Basic Tar Format"; DMTF
//! DSP0243, "Open Virtualization Format", for the order of an OVA's members.
//!
//! Not here: what the appliance's description says, and archives of many files.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::map::{Map, Place};
use crate::blob::Blob;
use crate::catalog::value::Format;
use crate::inspect::damage::Damage;
use crate::inspect::field;

/// The unit of an archive.
const BLOCK: u64 = 512;
/// The most members of an archive.
const MEMBERS_LIMIT: usize = 256;
/// The most pieces of a sparse member.
const PIECES_LIMIT: u64 = 1 << 17;
/// The longest member that only describes the next.
const PAX_LIMIT: u64 = 64 << 10;
/// The longest map of a sparse member in PAX format.
const MAP_LIMIT: u64 = 4 << 20;

/// "ustar Header Block"; what GNU tar has of its own lies in the tail.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    name: [u8; 100],
    mode: [u8; 8],
    uid: [u8; 8],
    gid: [u8; 8],
    size: [u8; 12],
    mtime: [u8; 12],
    chksum: [u8; 8],
    typeflag: u8,
    linkname: [u8; 100],
    magic: [u8; 6],
    version: [u8; 2],
    uname: [u8; 32],
    gname: [u8; 32],
    devmajor: [u8; 8],
    devminor: [u8; 8],
    prefix: [u8; 155],
    pad: [u8; 12],
}
const _: () = assert!(size_of::<Header>() == 512);

/// Where the old GNU format has a member's pieces and length, in its header and in what follows it.
const OLD_PIECES: usize = 386;
const OLD_IS_EXTENDED: usize = 482;
const OLD_REAL_SIZE: usize = 483;
const EXTENSION_IS_EXTENDED: usize = 504;

/// A plain file in an archive.
#[derive(Debug)]
struct Member {
    name: String,
    map: Map,
}

/// What a PAX header says of the member after it.
#[derive(Debug, Default)]
struct Pax {
    size: Option<u64>,
    path: Option<String>,
    is_sparse: bool,
    real_size: Option<u64>,
}

/// The disk in an archive, or nothing where the file is none.
///
/// # Errors
///
/// [`Damage`] where the archive is cut or damaged, or holds no disk, or more than one.
pub(super) fn open(file: &Blob) -> Result<Option<(&'static str, Map)>, Damage> {
    if file.len() < 2 * BLOCK {
        return Ok(None);
    }
    let first: Header = field::load(file, "tar header", 0)?;
    if !first.magic.starts_with(b"ustar") || !is_intact(&first) {
        return Ok(None);
    }
    let members = members(file)?;
    let is_appliance = members.first().is_some_and(|first| has_end(&first.name, &[".ovf"]));
    let beside = if is_appliance { &[".ovf", ".mf", ".cert"][..] } else { &[] };
    let format = if is_appliance { Format::Ova.name() } else { "tar" };
    let mut disks = members.into_iter().filter(|member| !has_end(&member.name, beside));
    match (disks.next(), disks.next()) {
        (Some(disk), None) => Ok(Some((format, disk.map))),
        (None, _) => Err(Damage::new("archive", 0, "it holds no file").should("a disk")),
        _ => Err(Damage::new("archive", 0, "it holds many files").should("one disk")),
    }
}

fn has_end(name: &str, ends: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    ends.iter().any(|end| name.ends_with(end))
}

/// The plain files of an archive, up to the block of zeros that ends it.
fn members(file: &Blob) -> Result<Vec<Member>, Damage> {
    let mut members = Vec::new();
    let mut pax = Pax::default();
    let mut at = 0;
    for _ in 0..MEMBERS_LIMIT {
        let header: Header = field::load(file, "tar header", at)?;
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return Ok(members);
        }
        if !is_intact(&header) {
            return Err(Damage::new("tar header", at, "its checksum is wrong"));
        }
        let size = number(&header.size).ok_or_else(|| amiss("tar header", at))?;
        let size = pax.size.unwrap_or(size);
        let mut start = at + BLOCK;
        match header.typeflag {
            b'x' => pax = Pax::read(&describing(file, start, size)?, start)?,
            b'L' => {
                pax.path = Some(field::text(&describing(file, start, size)?));
            }
            b'K' | b'g' => {}
            b'0' | 0 | b'7' | b'S' => {
                let name = pax.path.take().unwrap_or_else(|| field::text(&header.name));
                let map = match header.typeflag {
                    b'S' => old_sparse(file, &header, &mut start, size)?,
                    _ if pax.is_sparse => pax_sparse(file, start, size, pax.real_size)?,
                    _ => {
                        let mut map = Map::new(file, size);
                        map.push(size, Place::Plain { file: 0, at: start })?;
                        map
                    }
                };
                members.push(Member { name, map });
                pax = Pax::default();
            }
            _ => pax = Pax::default(),
        }
        let end = start.checked_add(size).filter(|end| *end <= file.len());
        at = end.ok_or_else(|| Damage::new("tar member", at, "the archive is cut"))?;
        at = at.next_multiple_of(BLOCK);
    }
    Err(Damage::new("archive", 0, format!("it holds more than {MEMBERS_LIMIT} members")))
}

fn amiss(place: &'static str, at: u64) -> Damage {
    Damage::new(place, at, "a number in it is none")
}

fn describing(file: &Blob, start: u64, size: u64) -> Result<Vec<u8>, Damage> {
    field::bytes(file, "tar header", start..start.saturating_add(size), PAX_LIMIT)
}

/// Whether a header's bytes, with spaces for the checksum, add up to it.
fn is_intact(header: &Header) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let found = sum(header.as_bytes()) - sum(&header.chksum) + 8 * u64::from(b' ');
    number(&header.chksum) == Some(found)
}

/// A number in octal digits, or as GNU tar writes larger ones: in binary behind a set bit.
fn number(bytes: &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if *first == 0x80 {
        let add = |sum: u64, byte: &u8| Some(sum.checked_mul(256)? + u64::from(*byte));
        return rest.iter().try_fold(0, add);
    }
    let text = str::from_utf8(bytes).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// Adds pieces of a sparse file, which lie one after another in the archive.
#[derive(Debug)]
struct Pieces {
    map: Map,
    next: u64,
    count: u64,
}

impl Pieces {
    /// Of a file of `len` bytes, its data from `start` in the archive.
    fn new(file: &Blob, len: u64, start: u64) -> Self {
        Self { map: Map::new(file, len), next: start, count: 0 }
    }

    fn add(&mut self, offset: u64, len: u64, header: u64) -> Result<(), Damage> {
        let wrong = |wrong: &str| Err(Damage::new("sparse tar member", header, wrong));
        let done = self.map.len() - self.map.left();
        let Some(gap) = offset.checked_sub(done) else {
            return wrong("its pieces are out of order");
        };
        if offset.checked_add(len).is_none_or(|end| end > self.map.len()) {
            return wrong("a piece ends past the file");
        }
        self.count += 1;
        if self.count > PIECES_LIMIT {
            return wrong("it has too many pieces");
        }
        self.map.push(gap, Place::Zeros)?;
        self.map.push(len, Place::Plain { file: 0, at: self.next })?;
        self.next += len;
        Ok(())
    }

    /// The file, if its data took `size` bytes.
    fn finish(mut self, size: u64, start: u64, header: u64) -> Result<Map, Damage> {
        if self.next - start != size {
            let wrong = format!("its pieces have {} bytes", self.next - start);
            let damage = Damage::new("sparse tar member", header, wrong);
            return Err(damage.should(format!("{size}")));
        }
        let left = self.map.left();
        self.map.push(left, Place::Zeros)?;
        Ok(self.map)
    }
}

/// A sparse member in the old GNU format. Headers with more pieces come before its data: `start` is
/// moved over them.
fn old_sparse(file: &Blob, header: &Header, start: &mut u64, size: u64) -> Result<Map, Damage> {
    let at = *start - BLOCK;
    let bytes = header.as_bytes();
    let real = &bytes[OLD_REAL_SIZE..OLD_REAL_SIZE + 12];
    let real = number(real).ok_or_else(|| amiss("sparse tar member", at))?;
    let mut entries = bytes[OLD_PIECES..OLD_IS_EXTENDED].to_vec();
    let mut is_extended = bytes[OLD_IS_EXTENDED] != 0;
    while is_extended {
        let more = field::bytes(file, "sparse tar member", *start..*start + BLOCK, BLOCK)?;
        if entries.len() as u64 > PIECES_LIMIT * 24 {
            return Err(Damage::new("sparse tar member", at, "it has too many pieces"));
        }
        entries.extend(&more[..EXTENSION_IS_EXTENDED]);
        is_extended = more[EXTENSION_IS_EXTENDED] != 0;
        *start += BLOCK;
    }
    let mut pieces = Pieces::new(file, real, *start);
    for entry in entries.as_chunks::<24>().0.iter().take_while(|entry| entry[0] != 0) {
        let pair = number(&entry[..12]).zip(number(&entry[12..]));
        let (offset, len) = pair.ok_or_else(|| amiss("sparse tar member", at))?;
        pieces.add(offset, len, at)?;
    }
    pieces.finish(size, *start, at)
}

/// A sparse member in PAX format 1.0: its data begin with its map, in decimal lines.
fn pax_sparse(file: &Blob, start: u64, size: u64, real: Option<u64>) -> Result<Map, Damage> {
    let amiss = || amiss("sparse tar member", start);
    let real = real.ok_or_else(amiss)?;
    let end = start.checked_add(size).ok_or_else(amiss)?.min(start.saturating_add(MAP_LIMIT));
    let bytes = field::bytes(file, "sparse tar member", start..end, MAP_LIMIT)?;
    let mut used = 0;
    let mut next = || -> Option<u64> {
        let rest = &bytes[used..];
        let len = rest.iter().take(21).position(|&byte| byte == b'\n')?;
        used += len + 1;
        str::from_utf8(&rest[..len]).ok()?.parse().ok()
    };
    let count = next().filter(|count| *count <= PIECES_LIMIT).ok_or_else(amiss)?;
    let list: Option<Vec<_>> = (0..count).map(|_| next().zip(next())).collect();
    let list = list.ok_or_else(amiss)?;
    let map_len = (used as u64).next_multiple_of(BLOCK);
    let data_len = size.checked_sub(map_len).ok_or_else(amiss)?;
    let mut pieces = Pieces::new(file, real, start + map_len);
    list.into_iter().try_for_each(|(offset, len)| pieces.add(offset, len, start))?;
    pieces.finish(data_len, start + map_len, start)
}

impl Pax {
    /// Records `LENGTH KEY=VALUE`, each with a line's end.
    fn read(mut bytes: &[u8], at: u64) -> Result<Self, Damage> {
        let amiss = || Damage::new("pax header", at, "a record in it is damaged");
        let mut pax = Self::default();
        let mut version = [None, None];
        while !bytes.is_empty() {
            let space = bytes.iter().take(8).position(|&b| b == b' ').ok_or_else(amiss)?;
            let len = str::from_utf8(&bytes[..space]).ok().and_then(|len| len.parse().ok());
            let len: usize = len.ok_or_else(amiss)?;
            let record = bytes.get(space + 1..len).ok_or_else(amiss)?;
            let record = str::from_utf8(record).unwrap_or_default().trim_end_matches('\n');
            let (key, value) = record.split_once('=').unwrap_or_default();
            let number = || value.parse().map(Some).map_err(|_| amiss());
            match key {
                "size" => pax.size = number()?,
                "path" | "GNU.sparse.name" => pax.path = Some(value.to_owned()),
                "GNU.sparse.realsize" => pax.real_size = number()?,
                "GNU.sparse.major" => version[0] = number()?,
                "GNU.sparse.minor" => version[1] = number()?,
                "GNU.sparse.size" | "GNU.sparse.map" | "GNU.sparse.numblocks" => {
                    let wrong = "a sparse member in an old PAX format";
                    return Err(Damage::new("pax header", at, wrong).should("format 1.0"));
                }
                _ => {}
            }
            bytes = &bytes[len..];
        }
        pax.is_sparse = match version {
            [None, None] => false,
            [Some(1), Some(0)] => true,
            _ => return Err(Damage::new("pax header", at, "a sparse member in an unknown format")),
        };
        Ok(pax)
    }
}
