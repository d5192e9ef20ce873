//! Random disks as VHDX, read back by a reader of its own.

use super::*;
use crate::sink::blocks::tests::{disks, example};
use proptest::prelude::*;

fn le<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(out)
}

/// The same for places and lengths.
fn at<const N: usize>(bytes: &[u8], at: usize) -> usize {
    usize::try_from(le::<N>(bytes, at)).unwrap()
}

/// Whether the checksum after the signature is that of the bytes.
fn is_summed(bytes: &[u8]) -> bool {
    let mut blank = bytes.to_vec();
    blank[4..8].fill(0);
    le::<4>(bytes, 4) == u64::from(crc32c(&blank))
}

/// The place of what has an id in a table of entries of 32 bytes.
fn find(table: &[u8], id: Uuid) -> &[u8] {
    table.chunks(32).find(|entry| entry[..16] == id.to_bytes_le()).unwrap()
}

/// The disk in a file and its sectors' size, read as the specification says.
fn read(file: &[u8]) -> (Vec<u8>, u64) {
    assert_eq!(&file[..8], b"vhdxfile");
    for (from, sequence) in [(64 << 10, 1), (128 << 10, 2)] {
        let header = &file[from..from + 4096];
        assert_eq!((&header[..4], le::<8>(header, 8)), (&b"head"[..], sequence));
        assert!(is_summed(header) && header[48..64] == [0; 16]);
        assert_eq!((le::<2>(header, 64), le::<2>(header, 66)), (0, 1));
    }
    let regions = &file[192 << 10..256 << 10];
    assert_eq!(regions, &file[256 << 10..320 << 10]);
    assert!(is_summed(regions) && &regions[..4] == b"regi");
    let region = |id| {
        let entry = find(&regions[16..], id);
        (at::<8>(entry, 16), at::<4>(entry, 24))
    };
    let (from, len) = region(METADATA_REGION);
    let metadata = &file[from..from + len];
    assert_eq!((&metadata[..8], le::<2>(metadata, 10)), (&b"metadata"[..], 5));
    let item = |id| {
        let entry = find(&metadata[32..], id);
        let from = at::<4>(entry, 16);
        &metadata[from..from + at::<4>(entry, 20)]
    };
    let block = at::<4>(item(FILE_PARAMETERS), 0);
    let size = at::<8>(item(VIRTUAL_DISK_SIZE), 0);
    let sector = le::<4>(item(LOGICAL_SECTOR_SIZE), 0);
    assert_eq!(item(VIRTUAL_DISK_ID).len(), 16);
    let chunk = (usize::try_from(sector).unwrap() << 23) / block;
    let (bat, bat_len) = region(BAT_REGION);
    let mut disk = vec![0; size.next_multiple_of(block)];
    let last = (size - 1) / block;
    assert!((last + last / chunk + 1) * 8 <= bat_len);
    for n in 0..=last {
        let entry = le::<8>(file, bat + (n + n / chunk) * 8);
        match entry & 7 {
            PRESENT => {
                let from = usize::try_from(entry >> 20 << 20).unwrap();
                disk[n * block..][..block].copy_from_slice(&file[from..from + block]);
            }
            state => assert_eq!((state, entry), (ZERO, ZERO)),
        }
    }
    disk.truncate(size);
    (disk, sector)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// What is read from a file is the disk; its own bytes are the file's, and entries of blocks that
    /// are own alone.
    #[test]
    fn a_disk_is_read_back(disk in disks(3000)) {
        let file = dynamic(&disk, SectorSize::B512).unwrap();
        prop_assert_eq!(file.len() % MIB, 0);
        prop_assert_eq!(read(&file.to_vec().unwrap()), (disk.to_vec().unwrap(), 512));
        let own = |blob: &Blob| blob.own().iter().map(|r| r.end - r.start).sum::<u64>();
        let alone = blocks::runs(&disk, BLOCK).into_iter().filter(|run| run.is_own);
        let entries: u64 = alone.map(|run| (run.blocks.end - run.blocks.start) * 8).sum();
        prop_assert_eq!(own(&file), own(&disk) + entries);
    }

    /// Entries of bitmaps lie between those of chunks, wherever the data are.
    #[test]
    fn entries_of_bitmaps_are_between_chunks(
        chunk in 1_u64..9, blocks in 1_u64..60, starts in prop::collection::vec((0_u64..60, 1_u64..9), 0..4),
    ) {
        let shape = Shape { blocks, chunk, entries: blocks + (blocks - 1) / chunk };
        let zeros = shape.zero_entries();
        let mut disk = Builder::default();
        for (start, len) in starts {
            let at = disk.len().max(start * MIB).min(blocks * MIB);
            let len = (len * MIB).min(blocks * MIB - at);
            disk = disk.fill_to(at).bytes("data", vec![1; usize::try_from(len).unwrap()]);
        }
        let runs = blocks::runs(&disk.fill_to(blocks * MIB).finish(), BLOCK);
        let entry = |bytes: &mut Vec<u8>, block: u64, n: u64| {
            bytes.extend((n << 20 | PRESENT).to_le_bytes());
            if shape.has_bitmap_after(block) {
                bytes.extend([0; 8]);
            }
        };
        let gap = |out: Builder, range: Range<u64>| shape.gap(out, &zeros, range);
        let table = blocks::table("bat", blocks, &runs, entry, gap).to_vec().unwrap();
        prop_assert_eq!(table.len() as u64, shape.entries * 8);
        for (at, entry) in table.chunks(8).enumerate() {
            let is_bitmap = (at as u64 + 1).is_multiple_of(chunk + 1);
            prop_assert_eq!(entry == [0; 8], is_bitmap, "{}", at);
        }
    }
}

/// RFC 3720, appendix B.4.
#[test]
fn checksums_are_as_published() {
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

#[test]
fn a_disk_tells_the_size_of_its_sectors() {
    let disk = Builder::default().zeros("zeros", 3 * MIB).bytes("data", vec![7; 8192]).finish();
    let file = dynamic(&disk, SectorSize::B4096).unwrap();
    assert_eq!(read(&file.to_vec().unwrap()), (disk.to_vec().unwrap(), 4096));
}

#[test]
fn a_disk_that_the_format_cannot_have_is_refused() {
    let zeros = |len| Builder::default().zeros("zeros", len).finish();
    let of = |len, sector| dynamic(&zeros(len), sector).unwrap_err();
    let sectors = |len, sector| VhdxError::Sectors { len: Size(len), sector: Size(sector) };
    assert_eq!(of(0, SectorSize::B512), sectors(0, 512));
    assert_eq!(of(512, SectorSize::B4096), sectors(512, 4096));
    assert_eq!(of(MAX + 4096, SectorSize::B4096), VhdxError::TooLarge(Size(MAX + 4096)));
    let said = sectors(513, 512).to_string();
    assert_eq!(said, "a disk of 513B is no VHDX: it must be a whole number of sectors of 512B");
}

#[test]
fn zeros_of_the_largest_disk_take_its_table_alone() {
    let disk = Builder::default().zeros("zeros", MAX).finish();
    let file = dynamic(&disk, SectorSize::B512).unwrap();
    assert_eq!(file.len(), BAT + 513 * MIB);
    assert!(file.extents().len() < 20_000);
}

#[test]
fn the_map_of_an_example_is_as_it_was() {
    insta::assert_debug_snapshot!("dynamic", dynamic(&example(), SectorSize::B512).unwrap());
}
