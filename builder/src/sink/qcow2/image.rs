//! The file around a disk's clusters: header, refcounts and the two levels of tables that map them.
//!
//! In: data, and which cluster of the disk lies where in it. Out: the file, its metadata first.
//!
//! Source: QEMU, `docs/interop/qcow2.rst`; what QEMU refuses is in its `block/qcow2.h` (the longest
//! L1 table).
//!
//! Not here: which clusters are written, and how they are compressed (`qcow2`, `squeeze`).

use std::ops::Range;

use zerocopy::big_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::{Backing, Pack};
use crate::blob::{Blob, Builder, Source};
use crate::units::align_up;

/// The disk's length counts in these.
const SECTOR: u64 = 512;
/// The most entries of an L1 table that QEMU reads: 32 MiB.
const MAX_L1: u64 = 1 << 22;
/// The largest clusters, as a power of two.
const MAX_BITS: u32 = 21;
/// Set in entries of L1 and L2 tables whose cluster has one reference: it may be written to.
const COPIED: u64 = 1 << 63;
/// Set in entries of L2 tables whose cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// The compression is not deflate: an incompatible feature.
const OTHER_COMPRESSION: u64 = 1 << 3;
/// Header extension: the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Header extension: names of features, for the messages of programs that do not know them.
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Entries that lie no further apart are stored with the zeros between them.
const NEAR: u64 = 512;

/// `docs/interop/qcow2.rst`, "Header".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
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
    incompatible_features: U64,
    compatible_features: U64,
    autoclear_features: U64,
    refcount_order: U32,
    header_length: U32,
    compression_type: u8,
    padding: [u8; 7],
}
const _: () = assert!(size_of::<Header>() == 112);

/// The size of clusters, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clusters(u32);

impl Clusters {
    /// Clusters of at least `2^bits` bytes, larger where the disk would have more than QEMU maps.
    pub(super) fn new(bits: u32, disk_len: u64) -> Self {
        let fits = |bits: &u32| disk_len.div_ceil(Self(*bits).mapped()) <= MAX_L1;
        Self((bits..MAX_BITS).find(fits).unwrap_or(MAX_BITS))
    }

    /// A cluster's length in bytes.
    pub(super) const fn bytes(self) -> u64 {
        1 << self.0
    }

    /// The entries of an L2 table.
    const fn entries(self) -> u64 {
        self.bytes() / 8
    }

    /// The bytes of the disk that an L2 table maps.
    const fn mapped(self) -> u64 {
        self.bytes() * self.entries()
    }

    /// The clusters that ranges of bytes touch; ranges in order, and joined where they meet.
    pub(super) fn touched(self, ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            let (start, end) = (range.start / self.bytes(), range.end.div_ceil(self.bytes()));
            match out.last_mut() {
                Some(last) if start <= last.end => last.end = end,
                _ => out.push(start..end),
            }
        }
        out
    }

    /// The clusters of a disk that hold more than zeros.
    pub(super) fn data(self, disk: &Blob) -> Vec<Range<u64>> {
        let extents = disk.extents().iter().filter(|e| !matches!(e.source, Source::Zeros));
        self.touched(extents.map(|extent| extent.start..extent.end()))
    }

    /// The bytes of clusters of a disk, up to its end.
    pub(super) fn slice(self, disk: &Blob, clusters: &Range<u64>) -> Blob {
        let end = (clusters.end * self.bytes()).min(disk.len());
        disk.slice(clusters.start * self.bytes()..end)
    }
}

/// A cluster of the disk that is not zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number.
    pub(super) cluster: u64,
    /// Where its first byte lies in the data.
    pub(super) at: u64,
    /// How it lies there.
    pub(super) form: Form,
}

/// How a cluster is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// As it is, at a multiple of its length.
    Plain,
    /// Compressed to so many bytes.
    Packed(u64),
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// The disk's length in bytes.
    pub(super) len: u64,
    pub(super) clusters: Clusters,
    /// How its compressed clusters are compressed, if there may be any.
    pub(super) pack: Option<Pack>,
    pub(super) backing: Option<&'a Backing<'a>>,
    /// What is mapped, in the order of the disk.
    pub(super) entries: Vec<Entry>,
    /// Whole clusters.
    pub(super) data: Blob,
}

/// Where the parts of a file lie, in clusters.
#[derive(Debug)]
struct Places {
    refcount_table: Range<u64>,
    refcount_blocks: Range<u64>,
    l1: Range<u64>,
    l2: Range<u64>,
    data: Range<u64>,
}

impl Image<'_> {
    /// The file.
    pub(super) fn emit(&self) -> Blob {
        let tables = self.tables();
        let head_len = 112 + self.extensions().len() + self.backing_name().len();
        let places = self.place(head_len as u64, tables.len() as u64);
        let bytes = self.clusters.bytes();
        let blocks = places.refcount_blocks.clone().map(|block| block * bytes);
        let l2 = places.l2.clone().map(|table| (table * bytes) | COPIED);
        let (blocks, l2): (Vec<_>, Vec<_>) =
            ((0..).zip(blocks).collect(), tables.iter().copied().zip(l2).collect());
        Builder::default()
            .bytes("qcow2 header", self.head(&places))
            .fill_to(places.refcount_table.start * bytes)
            .blob(&table("qcow2 refcount table", &blocks))
            .fill_to(places.refcount_blocks.start * bytes)
            .bytes("qcow2 refcounts", self.refcounts(&places))
            .fill_to(places.l1.start * bytes)
            .blob(&table("qcow2 l1 table", &l2))
            .fill_to(places.l2.start * bytes)
            .blob(&table("qcow2 l2 tables", &self.map(&places, &tables)))
            .fill_to(places.data.start * bytes)
            .blob(&self.data)
            .finish()
    }

    /// The numbers of the L2 tables that have an entry.
    fn tables(&self) -> Vec<u64> {
        let mut out: Vec<_> =
            self.entries.iter().map(|entry| entry.cluster / self.clusters.entries()).collect();
        out.dedup();
        out
    }

    fn place(&self, head_len: u64, tables: u64) -> Places {
        let bytes = self.clusters.bytes();
        let head = head_len.div_ceil(bytes);
        let l1 = (self.l1_size() * 8).div_ceil(bytes);
        let data = self.data.len() / bytes;
        let (mut table, mut blocks) = (0, 0);
        // Refcounts count their own clusters, too.
        loop {
            let all = head + table + blocks + l1 + tables + data;
            let now = all.div_ceil(bytes / 2);
            if now == blocks {
                break;
            }
            (table, blocks) = (now.div_ceil(bytes / 8), now);
        }
        let mut at = head;
        let mut next = |count| {
            at += count;
            at - count..at
        };
        Places {
            refcount_table: next(table),
            refcount_blocks: next(blocks),
            l1: next(l1),
            l2: next(tables),
            data: next(data),
        }
    }

    /// The disk's length in whole sectors, in bytes.
    fn size(&self) -> u64 {
        align_up(self.len, SECTOR)
    }

    fn l1_size(&self) -> u64 {
        self.size().div_ceil(self.clusters.mapped())
    }

    fn backing_name(&self) -> String {
        self.backing.map(Backing::path).unwrap_or_default()
    }

    fn head(&self, places: &Places) -> Vec<u8> {
        let bytes = self.clusters.bytes();
        let extensions = self.extensions();
        let name = self.backing_name();
        let is_zstd = self.pack == Some(Pack::Zstd);
        let count = |n: u64| U32::new(u32::try_from(n).expect("tables have fewer entries"));
        let header = Header {
            magic: *b"QFI\xfb",
            version: 3.into(),
            backing_file_offset: match name.len() {
                0 => 0.into(),
                _ => (112 + extensions.len() as u64).into(),
            },
            backing_file_size: count(name.len() as u64),
            cluster_bits: self.clusters.0.into(),
            size: self.size().into(),
            crypt_method: 0.into(),
            l1_size: count(self.l1_size()),
            l1_table_offset: (places.l1.start * bytes).into(),
            refcount_table_offset: (places.refcount_table.start * bytes).into(),
            refcount_table_clusters: count(places.refcount_table.end - places.refcount_table.start),
            nb_snapshots: 0.into(),
            snapshots_offset: 0.into(),
            incompatible_features: if is_zstd { OTHER_COMPRESSION } else { 0 }.into(),
            compatible_features: 0.into(),
            autoclear_features: 0.into(),
            // 2^4 bits.
            refcount_order: 4.into(),
            header_length: 112.into(),
            compression_type: is_zstd.into(),
            padding: [0; 7],
        };
        [header.as_bytes(), &extensions, name.as_bytes()].concat()
    }

    /// The header's extensions, with the one that ends them.
    fn extensions(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut add = |kind: u32, data: &[u8]| {
            let len = u32::try_from(data.len()).expect("extensions are short");
            out.extend([kind.to_be_bytes(), len.to_be_bytes()].concat());
            out.extend(data);
            out.resize(out.len().next_multiple_of(8), 0);
        };
        if let Some(backing) = self.backing {
            add(BACKING_FORMAT, backing.format.name().as_bytes());
        }
        if self.pack == Some(Pack::Zstd) {
            // An incompatible feature, its bit, its name in 46 bytes.
            let mut name = [0; 48];
            name[1] = 3;
            name[2..18].copy_from_slice(b"compression type");
            add(FEATURE_NAMES, &name);
        }
        add(0, &[]);
        out
    }

    /// How often each cluster of the file is used: compressed ones share theirs.
    fn refcounts(&self, places: &Places) -> Vec<u8> {
        let index = |n: u64| usize::try_from(n).expect("what is in memory fits");
        let bytes = self.clusters.bytes();
        let mut counts = vec![1_u16; index(places.data.end)];
        counts[index(places.data.start)..].fill(0);
        for entry in &self.entries {
            let len = match entry.form {
                Form::Plain => bytes,
                Form::Packed(len) => len,
            };
            let first = index(places.data.start + entry.at / bytes);
            let last = index(places.data.start + (entry.at + len - 1) / bytes);
            for count in &mut counts[first..=last] {
                // The shortest frame is too long for so many in one cluster.
                *count = count.saturating_add(1);
            }
        }
        counts.into_iter().flat_map(u16::to_be_bytes).collect()
    }

    /// The entries of the L2 tables, which lie one behind another.
    fn map(&self, places: &Places, tables: &[u64]) -> Vec<(u64, u64)> {
        let per_table = self.clusters.entries();
        let start = places.data.start * self.clusters.bytes();
        let mut table = 0;
        let mut out = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            if tables[table] != entry.cluster / per_table {
                table += 1;
            }
            let at = start + entry.at;
            let number = match entry.form {
                Form::Plain => at | COPIED,
                Form::Packed(len) => {
                    let further = (at + len - 1) / SECTOR - at / SECTOR;
                    COMPRESSED | (further << (62 - (self.clusters.0 - 8))) | at
                }
            };
            out.push((table as u64 * per_table + entry.cluster % per_table, number));
        }
        out
    }
}

/// Numbers at their places, which are in order; zeros between them.
fn table(label: &str, numbers: &[(u64, u64)]) -> Blob {
    let mut out = Builder::default();
    for run in numbers.chunk_by(|a, b| b.0 - a.0 <= NEAR) {
        let mut bytes = Vec::new();
        for (place, number) in run {
            let at = usize::try_from((place - run[0].0) * 8).expect("a run fits in memory");
            bytes.resize(at, 0);
            bytes.extend(number.to_be_bytes());
        }
        out = out.fill_to(run[0].0 * 8).bytes(label, bytes);
    }
    out.finish()
}
