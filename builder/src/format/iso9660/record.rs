//! Directory records and the Rock Ridge entries that follow each.
//!
//! In: what a name stands for. Out: bytes that go into a directory's extent.
//!
//! Source: ECMA-119, 2nd edition, 7 ("Numerical values") and 9.1 ("Format of a Directory Record"),
//! <https://ecma-international.org/publications-and-standards/standards/ecma-119/>; System Use
//! Sharing Protocol (IEEE P1281), version 1.12, chapter 5; Rock Ridge Interchange Protocol (IEEE
//! P1282), version 1.12, chapter 4.
//!
//! Not here: where directories lie (`directory`).

use zerocopy::{Immutable, IntoBytes, big_endian, little_endian};

use super::date::Stamp;
use super::{BLOCK_BYTES, Block};

/// A number of 16 bits in both byte orders.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Both16 {
    little: little_endian::U16,
    big: big_endian::U16,
}

/// A number of 32 bits in both byte orders.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Both32 {
    little: little_endian::U32,
    big: big_endian::U32,
}

impl From<u16> for Both16 {
    fn from(n: u16) -> Self {
        Self { little: n.into(), big: n.into() }
    }
}

impl From<u32> for Both32 {
    fn from(n: u32) -> Self {
        Self { little: n.into(), big: n.into() }
    }
}

/// ECMA-119 9.1, "Directory Record", up to the identifier.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Record {
    length: u8,
    extended_attribute_length: u8,
    extent: Both32,
    data_length: Both32,
    recording_date: [u8; 7],
    flags: u8,
    file_unit_size: u8,
    interleave_gap: u8,
    volume_sequence_number: Both16,
    identifier_length: u8,
}
const _: () = assert!(size_of::<Record>() == 33);

/// The flag of a directory.
pub(super) const DIRECTORY: u8 = 0x02;
/// The flag of every section of a file but its last.
pub(super) const MORE_SECTIONS: u8 = 0x80;

/// The identifier of a directory's record of itself; also the root's in a path table.
pub(super) const SELF: &[u8] = &[0];
/// The identifier of a directory's record of its parent.
pub(super) const PARENT: &[u8] = &[1];

/// The most bytes of a record: its length is even and held in one byte.
const MOST: usize = 254;
/// The bytes of a CE entry.
const CE_BYTES: usize = 28;

/// A record yet to be put in its place.
#[derive(Clone, Debug)]
pub(super) struct Row {
    record: Record,
    identifier: Vec<u8>,
    /// The entries that fit beside the record.
    near: Vec<u8>,
    /// The entries that do not, for the continuation area.
    far: Vec<u8>,
}

/// What a record says of its extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Its first block, as the reader counts.
    pub(super) start: Block,
    /// Its length in bytes.
    pub(super) len: u32,
    /// [`DIRECTORY`], [`MORE_SECTIONS`], or 0.
    pub(super) flags: u8,
}

impl Row {
    /// Makes a record with its entries, in order; those past the room go to the continuation area.
    ///
    /// # Panics
    ///
    /// If the identifier is longer than ISO 9660 allows.
    pub(super) fn new(
        identifier: &[u8],
        extent: Extent,
        stamp: Stamp,
        entries: &[Vec<u8>],
    ) -> Self {
        let fixed = size_of::<Record>() + pad_to_odd(identifier.len());
        let all: usize = entries.iter().map(Vec::len).sum();
        let room = if fixed + all <= MOST { MOST } else { MOST - CE_BYTES } - fixed;
        let mut near = Vec::new();
        let mut entries = entries.iter();
        while let Some(entry) = entries.as_slice().first().filter(|e| near.len() + e.len() <= room)
        {
            near.extend_from_slice(entry);
            entries.next();
        }
        let far: Vec<u8> = entries.flatten().copied().collect();
        let mut row =
            Self { record: record(extent, stamp), identifier: identifier.into(), near, far };
        row.record.length = u8::try_from(row.len()).expect("entries past the room are far");
        row.record.identifier_length =
            u8::try_from(identifier.len()).expect("an identifier has at most 33 bytes");
        row
    }

    /// The length of the record with its near entries, in bytes.
    pub(super) fn len(&self) -> usize {
        let ce = if self.far.is_empty() { 0 } else { CE_BYTES };
        let len = size_of::<Record>() + pad_to_odd(self.identifier.len()) + self.near.len() + ce;
        len.next_multiple_of(2)
    }

    /// The entries for the continuation area; often none.
    pub(super) fn far(&self) -> &[u8] {
        &self.far
    }

    /// The record's bytes, when its far entries lie `offset` bytes into `block`.
    pub(super) fn bytes(&self, block: Block, offset: u32) -> Vec<u8> {
        let mut out = self.record.as_bytes().to_vec();
        out.extend_from_slice(&self.identifier);
        out.resize(size_of::<Record>() + pad_to_odd(self.identifier.len()), 0);
        out.extend_from_slice(&self.near);
        if !self.far.is_empty() {
            out.extend(continued_at(block, offset, self.far.len()));
        }
        out.resize(self.len(), 0);
        out
    }
}

/// The root's record in a volume descriptor, which has room for no entries.
pub(super) fn root(extent: Extent, stamp: Stamp) -> [u8; 34] {
    let row = Row::new(SELF, extent, stamp, &[]);
    let bytes = row.bytes(Block(0), 0);
    *bytes.first_chunk().expect("a record without entries has 34 bytes")
}

fn record(extent: Extent, stamp: Stamp) -> Record {
    Record {
        length: 0,
        extended_attribute_length: 0,
        extent: extent.start.0.into(),
        data_length: extent.len.into(),
        recording_date: stamp.short(),
        flags: extent.flags,
        file_unit_size: 0,
        interleave_gap: 0,
        volume_sequence_number: 1.into(),
        identifier_length: 0,
    }
}

/// The length of an identifier with the byte after it that makes the record's fixed part even.
fn pad_to_odd(identifier: usize) -> usize {
    identifier + usize::from(identifier.is_multiple_of(2))
}

/// Packs items one after another; none crosses the border of a block.
#[derive(Debug, Default)]
pub(super) struct Packer {
    next: usize,
}

impl Packer {
    /// The offset in bytes at which an item of `len` bytes goes.
    pub(super) fn place(&mut self, len: usize) -> usize {
        let used = self.next % BLOCK_BYTES_USIZE;
        if used + len > BLOCK_BYTES_USIZE {
            self.next += BLOCK_BYTES_USIZE - used;
        }
        self.next += len;
        self.next - len
    }

    /// The blocks that all items take.
    pub(super) fn blocks(&self) -> usize {
        self.next.div_ceil(BLOCK_BYTES_USIZE)
    }
}

/// [`BLOCK_BYTES`] for lengths in memory.
pub(super) const BLOCK_BYTES_USIZE: usize = 2048;
const _: () = assert!(BLOCK_BYTES_USIZE as u64 == BLOCK_BYTES);

/// SUSP 5.3, "SP": the root's first record says that entries are in use.
pub(super) fn sharing_in_use() -> Vec<u8> {
    entry(*b"SP", &[0xbe, 0xef, 0])
}

/// SUSP 5.5, "ER": the entries are Rock Ridge's. Readers look at the identifier at most, so the
/// texts that describe it stay empty.
pub(super) fn rock_ridge_in_use() -> Vec<u8> {
    let identifier = b"IEEE_P1282";
    let lengths = [u8::try_from(identifier.len()).expect("ten bytes"), 0, 0];
    let version = [1];
    entry(*b"ER", &[&lengths[..], &version, identifier].concat())
}

/// SUSP 5.1, "CE": more entries follow elsewhere.
fn continued_at(block: Block, offset: u32, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("a row's entries fit in a block");
    let area = [Both32::from(block.0), offset.into(), len.into()];
    entry(*b"CE", area.as_bytes())
}

/// RRIP 4.1.1, "PX": mode, links, owner and serial number. Everything belongs to root.
pub(super) fn posix(mode: u32, links: u32, serial: u32) -> Vec<u8> {
    let (user, group) = (0, 0);
    entry(*b"PX", [mode, links, user, group, serial].map(Both32::from).as_bytes())
}

/// RRIP 4.1.6, "TF": when it was modified, accessed, and its attributes changed.
pub(super) fn times(stamp: Stamp) -> Vec<u8> {
    let short = stamp.short();
    let modified_accessed_changed = [0x02 | 0x04 | 0x08];
    entry(*b"TF", &[&modified_accessed_changed[..], &short, &short, &short].concat())
}

/// RRIP 4.1.4, "NM": the true name, of at most 250 bytes.
pub(super) fn name(name: &str) -> Vec<u8> {
    let whole = [0];
    entry(*b"NM", &[&whole, name.as_bytes()].concat())
}

fn entry(signature: [u8; 2], data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(data.len() + 4).expect("an entry has at most 255 bytes");
    let version = 1;
    [&signature, &[len, version][..], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(long_name: usize) -> Row {
        let stamp = Stamp::new(0).unwrap();
        let extent = Extent { start: Block(7), len: 9, flags: 0 };
        let entries = [posix(0o100_444, 1, 3), times(stamp), name(&"n".repeat(long_name))];
        Row::new(b"NAME.;1", extent, stamp, &entries)
    }

    #[test]
    fn a_record_holds_what_the_standard_says() {
        let bytes = row(1).bytes(Block(0), 0);
        assert_eq!(bytes[..10], [116, 0, 7, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(bytes[10..18], [9, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(bytes[18..33], [70, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 7]);
        assert_eq!(bytes[33..40], *b"NAME.;1");
        assert_eq!(bytes[40..52], *b"PX\x2c\x01\x24\x81\0\0\0\0\x81\x24");
        assert_eq!(bytes[84..89], *b"TF\x1a\x01\x0e");
        assert_eq!(bytes[110..], *b"NM\x06\x01\0n");
    }

    /// The entry that no longer fits goes to the continuation area, and no sooner.
    #[test]
    fn a_long_name_is_continued_elsewhere() {
        assert_eq!((row(139).len(), row(139).far().len()), (254, 0));
        let long = row(140);
        assert_eq!((long.len(), long.far().len()), (138, 145));
        let bytes = long.bytes(Block(0x123), 0x40);
        assert_eq!(bytes[110..118], *b"CE\x1c\x01\x23\x01\0\0");
        assert_eq!(bytes[122..126], [0x40, 0, 0, 0]);
        assert_eq!(bytes[130..134], [145, 0, 0, 0]);
    }

    proptest! {
        /// Items lie in order, apart, and each in one block.
        #[test]
        fn no_item_crosses_a_block(lens in prop::collection::vec(1usize..=2048, 0..40)) {
            let mut packer = Packer::default();
            let mut end = 0;
            for len in lens {
                let at = packer.place(len);
                prop_assert!(at >= end && at / 2048 == (at + len - 1) / 2048);
                end = at + len;
            }
            prop_assert_eq!(packer.blocks(), end.div_ceil(2048));
        }
    }
}
