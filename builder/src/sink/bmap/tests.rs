//! What is left out means nothing, and the map does not depend on the maps before.

use super::*;
use crate::blob::{Builder, Source};
use crate::format::fat::{self, File, Label, Place, Volume};
use crate::format::gpt::{self, Partition, PartitionName, Table};
use crate::units::{MIB, SectorSize};
use proptest::prelude::*;
use uuid::{Uuid, uuid};

const ESP: u64 = 40 * MIB;
const DISK: u64 = 300 * MIB;

/// A disk with an EFI partition, which has a file of all nodes and one of this, and a partition of
/// zeros.
fn disk(config: &[u8]) -> Blob {
    let spans = gpt::place(SectorSize::B512, MIB, &[ESP, MIB]);
    let file =
        |path: &str, content, place| File { path: path.into(), content, read_only: false, place };
    let base = Blob::from_bytes("base", vec![1; 3_000_000]);
    let own = Blob::from_bytes("config", config).owned();
    let volume = Volume {
        len: ESP,
        sector: SectorSize::B512,
        label: Label::new("EFI").unwrap(),
        serial: 1,
        epoch: 1_700_000_000,
        hidden_sectors: 2048,
        files: vec![file("base", base, Place::First), file("config", own, Place::Last)],
    };
    let partition = |kind, guid, label, span| Partition {
        kind,
        guid: Uuid::from_u128(guid),
        name: PartitionName::new(label).unwrap(),
        attributes: 0,
        span,
    };
    let esp = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    let data = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    let table = Table {
        disk: Uuid::from_u128(3),
        sector: SectorSize::B512,
        len: DISK,
        entries: gpt::ENTRIES,
        partitions: vec![partition(esp, 1, "EFI", spans[0]), partition(data, 2, "META", spans[1])],
        boot_code: Vec::new(),
    };
    let contents = [
        (0, fat::write(&volume).unwrap().blob),
        (1, Builder::default().zeros("meta", MIB).finish()),
    ];
    gpt::assemble(&table, &contents, &[]).unwrap()
}

/// The ranges of a map, in bytes, with their digests.
fn parse(map: &[u8], len: u64) -> Vec<(Range<u64>, String)> {
    let text = std::str::from_utf8(map).unwrap();
    let range = |line: &str| {
        let rest = line.trim().strip_prefix("<Range chksum=\"")?;
        let (digest, rest) = rest.split_once("\"> ")?;
        let place = rest.strip_suffix(" </Range>")?;
        let (first, last) = place.split_once('-').unwrap_or((place, place));
        let at = |block: &str| block.parse::<u64>().unwrap() * BLOCK;
        Some((at(first)..(at(last) + BLOCK).min(len), digest.to_owned()))
    };
    text.lines().filter_map(range).collect()
}

#[test]
fn what_is_left_out_is_free() {
    let disk = disk(&[9; 5000]);
    let map = Mapper::default().render(&disk).unwrap();
    let ranges = parse(&map, DISK);
    let is_mapped = |range: Range<u64>| {
        (range.start..range.end).step_by(512).all(|at| ranges.iter().any(|(r, _)| r.contains(&at)))
    };
    // The tables, file allocation tables to their ends, a partition of zeros, the tables' copy.
    assert!(is_mapped(0..2 * MIB));
    assert!(is_mapped(MIB + ESP..MIB + ESP + MIB));
    assert!(is_mapped(DISK - MIB..DISK));
    let bytes: u64 = ranges.iter().map(|(range, _)| range.end - range.start).sum();
    assert!((5 * MIB..8 * MIB).contains(&bytes), "{bytes}");
    let free = free::ranges(&disk).unwrap();
    let files = crate::inspect::fat::Fat::read(&disk.slice(MIB..MIB + ESP)).unwrap();
    for (_, file) in files.walk().unwrap() {
        for used in files.ranges(&file).unwrap() {
            let used = MIB + used.start..MIB + used.end;
            assert_eq!(both(std::slice::from_ref(&used), &free), [], "{file:?}");
        }
    }
}

/// Every range has its digest, no data is left out, and memory changes nothing.
#[test]
fn a_map_does_not_depend_on_those_before() {
    let after = Mapper::default();
    for len in [5000, 5001, 70_000, 5000, 1] {
        let disk = disk(&vec![8; len]);
        let map = after.render(&disk).unwrap();
        assert_eq!(map, Mapper::default().render(&disk).unwrap());
        let ranges = parse(&map, DISK);
        for (range, digest) in &ranges {
            let bytes = disk.slice(range.clone()).to_vec().unwrap();
            assert_eq!(*digest, Digest::of(&bytes).to_string());
        }
        let ranges: Vec<Range<u64>> = ranges.into_iter().map(|(range, _)| range).collect();
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for extent in disk.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
            let run = extent.start..extent.end();
            let whole: u64 =
                both(&ranges, std::slice::from_ref(&run)).iter().map(|r| r.end - r.start).sum();
            assert_eq!(whole, extent.len);
        }
    }
    assert!(after.known.lock().unwrap().len() < 12);
}

/// Of what has no partition table, all is to be written; zeros of an ISO too.
#[test]
fn nothing_is_left_out_where_nothing_is_known() {
    let plain = Builder::default().bytes("data", [1; 100]).zeros("zeros", MIB).finish();
    let mut iso = crate::edit::Edit::default();
    let mark = crate::edit::Write { at: 32_769, bytes: (*b"CD001").into() };
    iso.push(vec![mark]);
    for blob in [plain, iso.apply(&disk(&[1]))] {
        let ranges = parse(&Mapper::default().render(&blob).unwrap(), blob.len());
        let bytes: u64 = ranges.iter().map(|(range, _)| range.end - range.start).sum();
        assert_eq!(bytes, blob.len());
    }
}

/// A volume may be anything: what is free lies in it.
#[test]
fn boot_sectors_of_any_content_are_no_harm() {
    let disk = disk(&[1; 5000]);
    for at in 0..512 {
        for byte in [0, 1, 0x80, 0xff] {
            let mut edit = crate::edit::Edit::default();
            edit.push(vec![crate::edit::Write { at: MIB + at, bytes: [byte].into() }]);
            let free = free::ranges(&edit.apply(&disk)).unwrap();
            assert!(free.windows(2).all(|pair| pair[0].end < pair[1].start));
            assert!(free.iter().all(|range| range.start < range.end && range.end <= DISK));
        }
    }
}

proptest! {
    /// What lies in both lists lies in a range of each.
    #[test]
    fn both_is_what_lies_in_both(
        a in prop::collection::btree_set(0_u64..60, 0..12),
        b in prop::collection::btree_set(0_u64..60, 0..12),
    ) {
        let ranges = |set: std::collections::BTreeSet<u64>| -> Vec<Range<u64>> {
            let ends: Vec<u64> = set.into_iter().collect();
            ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
        };
        let (a, b) = (ranges(a), ranges(b));
        let found = both(&a, &b);
        for n in 0..60 {
            let is_in = |list: &[Range<u64>]| list.iter().any(|range| range.contains(&n));
            prop_assert_eq!(is_in(&found), is_in(&a) && is_in(&b));
        }
    }
}
