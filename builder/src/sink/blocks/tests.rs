//! Random disks, and how their blocks are placed.

use super::*;
use proptest::prelude::*;

/// A disk of extents: zeros, data that nodes share, one node's own.
pub(in crate::sink) fn disks(longest: u64) -> impl Strategy<Value = Blob> {
    let extent = (0..3_u8, 1..longest, any::<u8>());
    prop::collection::vec(extent, 1..12).prop_map(|extents| {
        let mut disk = Builder::default();
        for (kind, sectors, seed) in extents {
            let len = sectors * 512;
            let bytes: Vec<u8> =
                (0..sectors).flat_map(|n| [seed | 1 | n.to_le_bytes()[0]; 512]).collect();
            disk = match kind {
                0 => disk.zeros("zeros", len),
                1 => disk.bytes("shared", bytes),
                _ => disk.blob(&Blob::from_bytes("own", bytes).owned()),
            };
        }
        disk.finish()
    })
}

/// A disk of 8 MiB for maps.
pub(in crate::sink) fn example() -> Blob {
    Builder::default()
        .bytes("gpt", vec![1; 1024])
        .fill_to(3 << 20)
        .bytes("kernel", vec![2; 100 << 10])
        .blob(&Blob::from_bytes("config", vec![3; 3000]).owned())
        .fill_to(5 << 20)
        .blob(&Blob::from_bytes("config", vec![4; 512]).owned())
        .fill_to(6 << 20)
        .bytes("meta", vec![5; 512])
        .fill_to(8 << 20)
        .finish()
}

proptest! {
    /// Every block with data is in one run; those that nodes share come first, each in order.
    #[test]
    fn runs_have_every_block_with_data_once(disk in disks(20), sectors in 1_u64..30) {
        let block = sectors * 512;
        let runs = runs(&disk, block);
        let mut numbers = Vec::new();
        for run in &runs {
            prop_assert_eq!(run.first, numbers.len() as u64);
            numbers.extend(run.blocks.clone().map(|block| (run.is_own, block)));
        }
        let has = |n: u64, test: &dyn Fn(bool) -> bool| {
            let range = n * block..((n + 1) * block).min(disk.len());
            let slice = disk.slice(range);
            let mut data = slice.extents().iter().filter(|e| !matches!(e.source, Source::Zeros));
            data.any(|e| test(e.is_own))
        };
        let all = 0..disk.len().div_ceil(block);
        let shared = all.clone().filter(|&n| has(n, &|own| !own)).map(|n| (false, n));
        let own = all.filter(|&n| has(n, &|own| own) && !has(n, &|own| !own)).map(|n| (true, n));
        prop_assert_eq!(numbers, shared.chain(own).collect::<Vec<_>>());
    }

    /// A table has each block's entry at its place, and only own blocks' entries are own.
    #[test]
    fn a_table_has_an_entry_for_each_block(disk in disks(20)) {
        let (block, blocks) = (4096, disk.len().div_ceil(4096) + 3);
        let runs = runs(&disk, block);
        let entry = |bytes: &mut Vec<u8>, _: u64, n: u64| bytes.push(n.to_le_bytes()[0] + 1);
        let gap = |out: Builder, range: Range<u64>| out.zeros("gap", range.end - range.start);
        let table = table("table", blocks, &runs, entry, gap);
        let mut want = vec![0; usize::try_from(blocks).unwrap()];
        let mut own = 0;
        for run in &runs {
            for (at, n) in run.blocks.clone().zip(run.first..) {
                want[usize::try_from(at).unwrap()] = n.to_le_bytes()[0] + 1;
                own += u64::from(run.is_own);
            }
        }
        prop_assert_eq!(table.to_vec().unwrap(), want);
        prop_assert_eq!(table.own().iter().map(|r| r.end - r.start).sum::<u64>(), own);
    }
}
