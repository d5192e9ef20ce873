//! QEMU's disk format, versions 2 and 3.
//!
//! In: a file whose first bytes say that it is one; the file on which it rests. Out: where the disk's
//! bytes lie.
//!
//! What QEMU would have to mend or cannot read without more is refused: files that were not closed,
//! encrypted ones, internal snapshots, data in a file beside. Tables and clusters must lie apart from
//! one another, and every one must be counted as used once, so that a machine may write to them.
//!
//! Source: QEMU `docs/interop/qcow2.rst`.
//!
//! Not here: decoding clusters (`stream`).

use std::ops::Range;

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::map::{Map, Piece, Place};
use super::stream::Cluster;
use super::uses::{Kind, Uses};
use crate::blob::Blob;
use crate::catalog::value::Format;
use crate::inspect::damage::Damage;
use crate::inspect::field;

/// The longest first-level table and the longest refcount table: QEMU's own limits.
const L1_LIMIT: u64 = 32 << 20;
const REFCOUNT_TABLE_LIMIT: u64 = 8 << 20;
/// The longest name of a backing file.
const NAME_LIMIT: u32 = 1023;
/// The bits of an entry that hold an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// An entry of a first- or second-level table: the cluster is used once.
const COPIED: u64 = 1 << 63;
/// An entry of a second-level table: the cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// An entry of a second-level table: the cluster reads as zeros.
const ZERO: u64 = 1;
/// The version of the format that has features.
const VERSION_3: u32 = 3;
/// The unit of a compressed cluster's length.
const SECTOR: u64 = 512;

#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: U32,
    version: U32,
    backing_file_offset: U64,
    backing_file_size: U32,
    cluster_bits: U32,
    size: U64,
    crypt_method: U32,
    l1_size: U32,
    l1_table_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    nb_snapshots: U32,
    snapshots_offset: U64,
}
const _: () = assert!(size_of::<Header>() == 72);

/// What version 3 adds.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Features {
    incompatible: U64,
    compatible: U64,
    autoclear: U64,
    refcount_order: U32,
    header_length: U32,
}
const _: () = assert!(size_of::<Features>() == 32);

/// What the header says, checked.
#[derive(Debug)]
struct Image<'a> {
    file: &'a Blob,
    /// The size of a cluster, as a power of two.
    bits: u32,
    disk_len: u64,
    l1: Range<u64>,
    counts: Range<u64>,
    /// The width of a reference count, as a power of two of bits.
    count_order: u32,
    compression: Cluster,
    has_subclusters: bool,
    has_zero_flag: bool,
    backing: Option<Backing>,
}

#[derive(Debug)]
struct Backing {
    name: String,
    format: Option<String>,
}

/// Reads the tables of an image.
///
/// # Errors
///
/// [`Damage`] where QEMU would refuse the image, mend it, or find fault with it.
pub(super) fn open(
    file: &Blob,
    backing: &dyn Fn(&str) -> Option<Blob>,
) -> Result<(&'static str, Map), Damage> {
    let image = header(file)?;
    let base = image.backing.as_ref().map(|named| base(named, backing)).transpose()?;
    let mut uses = Uses::new(image.bits);
    let map = image.map(base.as_ref(), &mut uses)?;
    uses.add_bytes(0..1, Kind::Table)?;
    image.check_counts(uses)?;
    let is_packed = map.runs().iter().any(|run| matches!(run.place, Place::Packed(_)));
    let format = match (image.backing, is_packed, image.compression) {
        (Some(_), ..) => Format::Qcow2Overlay,
        (None, false, _) => Format::Qcow2,
        (None, true, Cluster::Zstd) => Format::Qcow2Zstd,
        (None, true, _) => Format::Qcow2Zlib,
    };
    Ok((format.name(), map))
}

fn fault(at: u64, wrong: impl Into<String>) -> Damage {
    Damage::new("qcow2 header", at, wrong)
}

fn header(file: &Blob) -> Result<Image<'_>, Damage> {
    let header: Header = field::load(file, "qcow2 header", 0)?;
    let version = header.version.get();
    let (features, header_len) = match version {
        2 => (None, size_of::<Header>() as u64),
        VERSION_3 => {
            let start = size_of::<Header>() as u64;
            let features: Features = field::load(file, "qcow2 header", start)?;
            let len = u64::from(features.header_length.get());
            if len < 104 || !len.is_multiple_of(8) {
                return Err(fault(100, format!("it is {len} bytes long")).should("104 or 112"));
            }
            (Some(features), len)
        }
        _ => return Err(fault(4, format!("version {version} is unknown")).should("2 or 3")),
    };
    let bits = header.cluster_bits.get();
    if !(9..=21).contains(&bits) {
        return Err(fault(20, format!("its clusters have 2^{bits} bytes")).should("2^9 to 2^21"));
    }
    let cluster = 1u64 << bits;
    if header_len > cluster {
        return Err(fault(100, "it is longer than a cluster"));
    }
    let incompatible = features.as_ref().map_or(0, |features| features.incompatible.get());
    check_features(&header, incompatible)?;
    let count_order = features.as_ref().map_or(4, |features| features.refcount_order.get());
    if count_order > 6 {
        return Err(fault(96, format!("a reference count has 2^{count_order} bits")));
    }
    let has_subclusters = incompatible & 0x10 != 0;
    if has_subclusters && bits < 14 {
        return Err(fault(20, "its clusters are too small for extended entries"));
    }
    let disk_len = header.size.get();
    let entry = if has_subclusters { 16 } else { 8 };
    let needed = disk_len.div_ceil((cluster << bits) / entry);
    let l1_entries = u64::from(header.l1_size.get());
    if l1_entries * 8 > L1_LIMIT || l1_entries < needed {
        let wrong = format!("{l1_entries} entries of the first-level table");
        return Err(fault(36, wrong).should(format!("{needed} for a disk of {disk_len} bytes")));
    }
    let l1 = table(file, 40, header.l1_table_offset.get(), needed * 8, cluster)?;
    let counts_len = u64::from(header.refcount_table_clusters.get()) * cluster;
    if counts_len == 0 || counts_len > REFCOUNT_TABLE_LIMIT {
        return Err(fault(56, format!("the refcount table has {counts_len} bytes")));
    }
    let counts = table(file, 48, header.refcount_table_offset.get(), counts_len, cluster)?;
    Ok(Image {
        file,
        bits,
        disk_len,
        l1,
        counts,
        count_order,
        compression: compression(file, header_len, incompatible)?,
        has_subclusters,
        has_zero_flag: version >= VERSION_3 && !has_subclusters,
        backing: backing_of(file, &header, header_len)?,
    })
}

/// What stands in the way of reading the image as it is.
fn check_features(header: &Header, incompatible: u64) -> Result<(), Damage> {
    let refuse = |at, wrong: &str, should: &str| Err(fault(at, wrong).should(should));
    if header.crypt_method.get() != 0 {
        return refuse(32, "the disk is encrypted", "a disk in plain");
    }
    if header.nb_snapshots.get() != 0 {
        return refuse(
            60,
            "it holds internal snapshots",
            "a disk of one state: `qemu-img convert`",
        );
    }
    if incompatible & 1 != 0 {
        return refuse(72, "it was not closed", "mended by `qemu-img check -r all`");
    }
    if incompatible & 2 != 0 {
        return refuse(72, "it is marked as corrupt", "made anew");
    }
    if incompatible & 4 != 0 {
        return refuse(72, "its disk lies in another file", "one file: `qemu-img convert`");
    }
    match incompatible & !0x1f {
        0 => Ok(()),
        bits => Err(fault(72, format!("it has unknown features {bits:#x}"))),
    }
}

/// The range of a table that must start at a cluster and lie in the file.
fn table(file: &Blob, at: u64, start: u64, len: u64, cluster: u64) -> Result<Range<u64>, Damage> {
    if len > 0 && (start == 0 || !start.is_multiple_of(cluster)) {
        return Err(fault(at, format!("a table starts at {start:#x}")).should("a whole cluster"));
    }
    let end = start.checked_add(len).filter(|end| *end <= file.len());
    let past = || fault(at, format!("a table at {start:#x} ends past the file"));
    Ok(start..end.ok_or_else(past)?)
}

fn compression(file: &Blob, header_len: u64, incompatible: u64) -> Result<Cluster, Damage> {
    let kind: u8 = if header_len > 104 { field::load(file, "qcow2 header", 104)? } else { 0 };
    match (incompatible & 8 != 0, kind) {
        (false, 0) => Ok(Cluster::Deflate),
        (true, 1) => Ok(Cluster::Zstd),
        (_, kind) => Err(fault(104, format!("its compression is {kind}")).should("zlib or zstd")),
    }
}

/// The file on which the image rests, as header and extensions name it.
fn backing_of(file: &Blob, header: &Header, header_len: u64) -> Result<Option<Backing>, Damage> {
    let start = header.backing_file_offset.get();
    if start == 0 {
        return Ok(None);
    }
    let cluster = 1u64 << header.cluster_bits.get();
    let len = header.backing_file_size.get();
    let end = start.checked_add(u64::from(len)).filter(|end| *end <= cluster);
    let (Some(end), 1..=NAME_LIMIT) = (end, len) else {
        return Err(fault(8, "its backing file's name does not lie in the first cluster"));
    };
    let name = field::bytes(file, "backing file's name", start..end, NAME_LIMIT.into())?;
    let unreadable = |_| fault(start, "its backing file's name is no UTF-8");
    let name = String::from_utf8(name).map_err(unreadable)?;
    let mut at = header_len;
    let mut format = None;
    while at + 8 <= start {
        let [kind, len]: [U32; 2] = field::load(file, "qcow2 header extension", at)?;
        let len = u64::from(len.get());
        let end = at + 8 + len;
        match kind.get() {
            0 => break,
            0xe279_2aca => {
                let bytes = field::bytes(file, "backing file's format", at + 8..end, 16)?;
                format = Some(field::text(&bytes));
            }
            _ => {}
        }
        at = end.next_multiple_of(8);
    }
    Ok(Some(Backing { name, format }))
}

/// The disk on which the image rests. It rests on no further one.
fn base(named: &Backing, backing: &dyn Fn(&str) -> Option<Blob>) -> Result<Map, Damage> {
    let shown = named.name.escape_debug();
    let missing = || {
        fault(8, format!("its backing file `{shown}` is not there")).should("in the same folder")
    };
    let file = backing(&named.name).ok_or_else(missing)?;
    if named.format.as_deref() == Some("raw") {
        return Map::raw(&file);
    }
    let inside = |damage: Damage| damage.within(format!("backing file `{shown}`"));
    match super::disk(&file, &|_| None).map_err(inside)? {
        Some((_, map)) => Ok(map),
        None if named.format.is_none() => Map::raw(&file),
        None => {
            let format = named.format.as_deref().unwrap_or_default().escape_debug();
            Err(fault(8, format!("its backing file `{shown}` is not in the format `{format}`")))
        }
    }
}

impl Image<'_> {
    fn cluster(&self) -> u64 {
        1 << self.bits
    }

    /// Walks both levels of tables.
    fn map(&self, base: Option<&Map>, uses: &mut Uses) -> Result<Map, Damage> {
        let mut map = Map::new(self.file, self.disk_len).over(base);
        uses.add_bytes(self.l1.clone(), Kind::Table)?;
        let l1 = field::bytes(self.file, "first-level table", self.l1.clone(), L1_LIMIT)?;
        let mut tables = Vec::new();
        for (index, entry) in entries(&l1).enumerate() {
            let at = self.l1.start + index as u64 * 8;
            if entry & !(OFFSET | COPIED) != 0 {
                return Err(Damage::new("first-level table", at, "reserved bits are set"));
            }
            tables.push((entry & OFFSET, at, entry & COPIED != 0));
        }
        // A table in two places would let a small file stand for much work.
        let mut offsets: Vec<_> = tables.iter().map(|table| table.0).filter(|&at| at > 0).collect();
        offsets.sort_unstable();
        if let Some(pair) = offsets.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Damage::new("second-level table", pair[0], "it is used twice"));
        }
        let entry_len = if self.has_subclusters { 16 } else { 8 };
        let span = (self.cluster() / entry_len) << self.bits;
        for (start, at, is_sole) in tables {
            if start == 0 {
                map.push_below(base, span)?;
                continue;
            }
            uses.add_bytes(start..start + self.cluster(), Kind::of_table(is_sole))?;
            if !start.is_multiple_of(self.cluster()) {
                let wrong = format!("a table starts at {start:#x}");
                return Err(Damage::new("first-level table", at, wrong).should("a whole cluster"));
            }
            let range = start..start + self.cluster();
            let table = field::bytes(self.file, "second-level table", range, self.cluster())?;
            self.map_table(&table, start, &mut map, base, uses)?;
        }
        Ok(map)
    }

    /// Walks a second-level table.
    fn map_table(
        &self,
        table: &[u8],
        start: u64,
        map: &mut Map,
        base: Option<&Map>,
        uses: &mut Uses,
    ) -> Result<(), Damage> {
        let step = if self.has_subclusters { 2 } else { 1 };
        let words: Vec<u64> = entries(table).collect();
        for (index, words) in words.chunks_exact(step).enumerate() {
            if map.left() == 0 {
                break;
            }
            let at = start + (index * step) as u64 * 8;
            let entry = words[0];
            if entry & COMPRESSED != 0 {
                self.map_compressed(entry, at, map, uses)?;
                continue;
            }
            let zero = if self.has_zero_flag { ZERO } else { 0 };
            if entry & !(OFFSET | COPIED | zero) != 0 {
                return Err(Damage::new("second-level table", at, "reserved bits are set"));
            }
            let place = entry & OFFSET;
            if place > 0 {
                if !place.is_multiple_of(self.cluster()) {
                    let wrong = format!("a cluster starts at {place:#x}");
                    let damage = Damage::new("second-level table", at, wrong);
                    return Err(damage.should("a multiple of the clusters' size"));
                }
                let kind = Kind::of_data(entry & COPIED != 0);
                uses.add_bytes(place..place + self.cluster(), kind)?;
            } else if entry & COPIED != 0 {
                return Err(Damage::new("second-level table", at, "a cluster has no place"));
            }
            match words.get(1) {
                Some(&bitmap) => self.map_subclusters(place, bitmap, at, map, base)?,
                None if entry & zero != 0 => map.push(self.cluster(), Place::Zeros)?,
                None if place == 0 => map.push_below(base, self.cluster())?,
                None => map.push(self.cluster(), Place::Plain { file: 0, at: place })?,
            }
        }
        Ok(())
    }

    fn map_subclusters(
        &self,
        place: u64,
        bitmap: u64,
        at: u64,
        map: &mut Map,
        base: Option<&Map>,
    ) -> Result<(), Damage> {
        let len = self.cluster() / 32;
        for index in 0..32u64 {
            match (bitmap >> index & 1, bitmap >> (32 + index) & 1) {
                (0, 0) => map.push_below(base, len)?,
                (0, _) => map.push(len, Place::Zeros)?,
                (_, 0) if place > 0 => {
                    map.push(len, Place::Plain { file: 0, at: place + index * len })?;
                }
                _ => return Err(Damage::new("second-level table", at, "a subcluster is amiss")),
            }
        }
        Ok(())
    }

    fn map_compressed(
        &self,
        entry: u64,
        at: u64,
        map: &mut Map,
        uses: &mut Uses,
    ) -> Result<(), Damage> {
        let split = 62 - (self.bits - 8);
        let start = entry & ((1 << split) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> split;
        if entry & COPIED != 0 || start == 0 {
            return Err(Damage::new("second-level table", at, "a compressed cluster is amiss"));
        }
        // Its last sector may be cut by the file's end: the compressed bytes are shorter.
        let full =
            (start / SECTOR).checked_add(sectors + 1).and_then(|end| end.checked_mul(SECTOR));
        let end = full.map_or(self.file.len(), |end| end.min(self.file.len()));
        let len = end.checked_sub(start).and_then(|len| u32::try_from(len).ok());
        let past = || Damage::new("compressed cluster", start, "it ends past the file");
        let len = len.filter(|len| *len > 0).ok_or_else(past)?;
        uses.add_bytes(start..end, Kind::Compressed)?;
        let unpacked_len = 1u32 << self.bits;
        let coding = self.compression;
        let piece = Piece { file: 0, at: start, len, unpacked_len, skip: 0, coding };
        map.push(self.cluster(), Place::Packed(piece))
    }

    /// Compares how often clusters are used with how often they are counted.
    fn check_counts(&self, mut uses: Uses) -> Result<(), Damage> {
        uses.add_bytes(self.counts.clone(), Kind::Table)?;
        let table = self.counts.clone();
        let table = field::bytes(self.file, "refcount table", table, REFCOUNT_TABLE_LIMIT)?;
        let blocks: Vec<u64> = entries(&table).collect();
        for (index, &block) in blocks.iter().enumerate().filter(|(_, block)| **block > 0) {
            if !block.is_multiple_of(self.cluster()) || block > OFFSET {
                let at = self.counts.start + index as u64 * 8;
                let wrong = format!("a block starts at {block:#x}");
                return Err(Damage::new("refcount table", at, wrong).should("a whole cluster"));
            }
            uses.add_bytes(block..block + self.cluster(), Kind::Table)?;
        }
        let mut held = (0, Vec::new());
        uses.check(&mut |cluster| self.count(&blocks, &mut held, cluster))
    }

    /// How often a cluster is counted. `held` is the block that was read last, and where it lies.
    fn count(
        &self,
        blocks: &[u64],
        held: &mut (u64, Vec<u8>),
        cluster: u64,
    ) -> Result<u64, Damage> {
        let in_block = self.bits + 3 - self.count_order;
        let index = usize::try_from(cluster >> in_block).unwrap_or(usize::MAX);
        let Some(&block) = blocks.get(index).filter(|block| **block > 0) else { return Ok(0) };
        if held.0 != block {
            let range = block..block + self.cluster();
            *held = (block, field::bytes(self.file, "refcount block", range, self.cluster())?);
        }
        let bit = (cluster & ((1 << in_block) - 1)) << self.count_order;
        let width = 1u64 << self.count_order;
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let bytes = held.1.get(at..).unwrap_or_default().iter();
        if width < 8 {
            let byte = bytes.map(|byte| u64::from(*byte)).next().unwrap_or(0);
            return Ok(byte >> (bit % 8) & ((1 << width) - 1));
        }
        let width = usize::try_from(width / 8).unwrap_or(0);
        Ok(bytes.take(width).fold(0, |count, byte| count << 8 | u64::from(*byte)))
    }
}

/// A table's entries.
fn entries(table: &[u8]) -> impl Iterator<Item = u64> {
    table.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry))
}
