//! Random disks as VHD, read back by a reader of its own.

use super::*;
use crate::blob::Source;
use crate::sink::blocks::tests::{disks, example};
use proptest::prelude::*;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn size(n: impl TryInto<usize>) -> usize {
    n.try_into().ok().unwrap()
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Whether the bytes sum up to the checksum at `at`.
fn is_summed(bytes: &[u8], at: usize) -> bool {
    let sum: u32 = bytes.iter().map(|&b| u32::from(b)).sum();
    let own: u32 = bytes[at..at + 4].iter().map(|&b| u32::from(b)).sum();
    be32(bytes, at) == !(sum - own)
}

/// The disk in a file, read as the specification says.
fn read(file: &[u8]) -> Vec<u8> {
    let footer = &file[file.len() - 512..];
    assert_eq!(&footer[..8], b"conectix");
    assert!(is_summed(footer, 64));
    let len = size(be64(footer, 48));
    if be32(footer, 60) == 2 {
        assert_eq!((file.len(), be64(footer, 16)), (len + 512, u64::MAX));
        return file[..len].to_vec();
    }
    assert_eq!(be32(footer, 60), 3);
    assert_eq!(&file[..512], footer);
    let header = size(be64(footer, 16));
    let header = &file[header..header + 1024];
    assert_eq!(&header[..8], b"cxsparse");
    assert!(is_summed(header, 36));
    let (table, count) = (size(be64(header, 16)), size(be32(header, 28)));
    let block = size(be32(header, 32));
    assert!(count * block >= len);
    let mut disk = vec![0; count * block];
    for at in 0..count {
        let place = be32(file, table + at * 4);
        if place == u32::MAX {
            continue;
        }
        let bitmap = size(place) * 512;
        let data = bitmap + (block / 512 / 8).next_multiple_of(512);
        for sector in 0..block / 512 {
            if file[bitmap + sector / 8] & 0x80 >> (sector % 8) != 0 {
                let from = data + sector * 512;
                let to = at * block + sector * 512;
                disk[to..to + 512].copy_from_slice(&file[from..from + 512]);
            }
        }
    }
    disk.truncate(len);
    disk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// What is read from a file is the disk; a fixed one ends at a whole MiB.
    #[test]
    fn a_disk_is_read_back(disk in disks(3000)) {
        let bytes = disk.to_vec().unwrap();
        prop_assert_eq!(&read(&dynamic(&disk, 0).unwrap().to_vec().unwrap()), &bytes);
        let fixed = read(&fixed(&disk, 0).unwrap().to_vec().unwrap());
        prop_assert_eq!(fixed.len() as u64, align_up(disk.len(), MIB));
        prop_assert_eq!(&fixed[..bytes.len()], &bytes);
        prop_assert!(fixed[bytes.len()..].iter().all(|&byte| byte == 0));
    }

    /// Data lie as they do on the disk's pages, and own bytes of the file are those of the disk and
    /// entries of blocks that are own alone.
    #[test]
    fn data_are_sliced_and_keep_their_pages(disk in disks(3000)) {
        let file = dynamic(&disk, 0).unwrap();
        let own = |blob: &Blob| blob.own().iter().map(|r| r.end - r.start).sum::<u64>();
        let alone = blocks::runs(&disk, BLOCK).into_iter().filter(|run| run.is_own);
        let entries: u64 = alone.map(|run| (run.blocks.end - run.blocks.start) * 4).sum();
        prop_assert_eq!(own(&file), own(&disk) + entries);
        let place = |blob: &Blob| -> Vec<u64> {
            let data = |e: &&crate::blob::Extent| ["own", "shared"].contains(&&*e.label);
            let of = |e: &crate::blob::Extent| match &e.source {
                Source::Bytes(_, from) => (e.start + (1 << 40) - *from as u64) % 4096,
                _ => 0,
            };
            let mut places: Vec<_> = blob.extents().iter().filter(data).map(of).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        prop_assert_eq!(place(&file), place(&disk));
    }
}

/// The specification's calculation, worked out by hand.
#[test]
fn geometry_is_as_specified() {
    assert_eq!(geometry(2048), (30, 4, 17));
    assert_eq!(geometry(40 << 11), (963, 5, 17));
    assert_eq!(geometry(8192 << 11), (16644, 16, 63));
    assert_eq!(geometry(2040 << 21), (65535, 16, 255));
}

#[test]
fn a_disk_that_the_format_cannot_have_is_refused() {
    let zeros = |len| Builder::default().zeros("zeros", len).finish();
    for make in [fixed, dynamic] {
        assert_eq!(make(&zeros(0), 0).unwrap_err(), VhdError::Sectors(Size(0)));
        assert_eq!(make(&zeros(513), 0).unwrap_err(), VhdError::Sectors(Size(513)));
        let large = make(&zeros(MAX + 512), 0).unwrap_err();
        assert_eq!(large, VhdError::TooLarge(Size(MAX + 512)));
        assert!(make(&zeros(MAX), 0).is_ok());
    }
    let said = VhdError::TooLarge(Size(4096 * GIB)).to_string();
    assert_eq!(said, "a disk of 4096GiB is too large for VHD, which ends at 2040GiB");
}

#[test]
fn zeros_of_the_largest_disk_take_its_table_alone() {
    let disk = Builder::default().zeros("zeros", MAX).finish();
    let file = dynamic(&disk, 0).unwrap();
    assert_eq!(file.len(), 512 + 1024 + MAX / BLOCK * 4 + 512);
    assert!(file.extents().len() < 2000);
}

#[test]
fn the_map_of_an_example_is_as_it_was() {
    insta::assert_debug_snapshot!("dynamic", dynamic(&example(), 1_700_000_000).unwrap());
    insta::assert_debug_snapshot!("fixed", fixed(&example(), 1_700_000_000).unwrap());
}
