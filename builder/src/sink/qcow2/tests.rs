//! Random disks, read back by a reader that shares nothing with the writer.

use std::io::{Error, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// A run of a disk: its kind (0 zeros, 1 bytes that pack, 2 noise, 3 zeros in bytes), whether it is
/// a node's own, and its length.
type Part = (u8, bool, usize);

fn part() -> impl Strategy<Value = Part> {
    let len =
        prop::sample::select(vec![1_usize, 511, 4096, 8192, 30_000, 65_536, 200_000, 700_001]);
    (0_u8..4, prop::bool::weighted(0.2), len)
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(part(), 0..8)
}

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(step).collect()
}

fn disk(parts: &[Part], seed: usize) -> Blob {
    let add = |b: Builder, (n, (kind, is_own, len)): (usize, &Part)| {
        let seed = n + if *is_own { seed } else { 0 };
        let bytes = match kind {
            0 => return b.zeros("zeros", *len as u64),
            1 => vec![seed.to_le_bytes()[0] | 1; *len],
            2 => noise(seed, *len),
            _ => vec![0; *len],
        };
        let blob = Blob::from_bytes("part", bytes);
        b.blob(&if *is_own { blob.owned() } else { blob })
    };
    parts.iter().enumerate().fold(Builder::default(), add).finish()
}

/// What a reader makes of a file.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    /// The clusters that the file has itself.
    mapped: Vec<u64>,
    cluster: u64,
    backing: Option<(String, String)>,
}

fn number<const N: usize>(file: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    file[at..at + N].iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
}

fn text(file: &[u8], at: u64, len: u64) -> String {
    let at = usize::try_from(at).unwrap();
    String::from_utf8(file[at..at + usize::try_from(len).unwrap()].to_vec()).unwrap()
}

/// Reads a file, over the bytes of its base, and counts what its refcounts should be.
fn read(file: &Blob, base: Option<&[u8]>) -> Found {
    let file = file.to_vec().unwrap();
    assert_eq!((number::<4>(&file, 0), number::<4>(&file, 4)), (0x5146_49fb, 3));
    let (bits, size) = (number::<4>(&file, 20), number::<8>(&file, 24));
    let (cluster, l1_size, l1) = (1 << bits, number::<4>(&file, 36), number::<8>(&file, 40));
    assert_eq!(file.len() as u64 % cluster, 0, "whole clusters");
    let is_zstd = number::<8>(&file, 72) == 8;
    assert_eq!(number::<1>(&file, 104) == 1, is_zstd);
    let mut used = vec![0_u64; file.len() >> bits];
    let mut bytes = base.map_or(Vec::new(), <[u8]>::to_vec);
    bytes.resize(usize::try_from(size).unwrap(), 0);
    let (mut mapped, per_table) = (Vec::new(), cluster / 8);
    let mut uses = |range: Range<u64>| {
        (range.start >> bits..range.end.div_ceil(cluster))
            .for_each(|n| used[usize::try_from(n).unwrap()] += 1);
    };
    uses(0..112);
    uses(l1..l1 + l1_size * 8);
    let (counts, counts_len) = (number::<8>(&file, 48), number::<4>(&file, 56) << bits);
    uses(counts..counts + counts_len);
    let blocks: Vec<_> = (0..counts_len / 8)
        .map(|n| number::<8>(&file, counts + n * 8))
        .filter(|b| *b > 0)
        .collect();
    blocks.iter().for_each(|block| uses(*block..block + cluster));
    for n in 0..size.div_ceil(cluster) {
        let table = number::<8>(&file, l1 + n / per_table * 8);
        assert!(n / per_table < l1_size);
        if n % per_table == 0 && table != 0 {
            uses((table << 1 >> 1)..(table << 1 >> 1) + cluster);
        }
        if table == 0 {
            continue;
        }
        let entry = number::<8>(&file, (table << 1 >> 1) + n % per_table * 8);
        let plain = match entry >> 62 {
            0 => {
                assert_eq!(entry, 0);
                continue;
            }
            2 => {
                let at = entry << 2 >> 2;
                assert_eq!(at % cluster, 0);
                uses(at..at + cluster);
                file[usize::try_from(at).unwrap()..][..1 << bits].to_vec()
            }
            1 => {
                let split = 62 - (bits - 8);
                let at = entry & ((1 << split) - 1);
                let sectors = ((entry << 2 >> 2) >> split) + 1;
                let end = at / 512 * 512 + sectors * 512;
                uses(at..end);
                let packed = &file[usize::try_from(at).unwrap()..usize::try_from(end).unwrap()];
                unpack(packed, is_zstd, 1 << bits)
            }
            _ => panic!("no such entry: {entry:x}"),
        };
        mapped.push(n);
        let at = usize::try_from(n * cluster).unwrap();
        let len = plain.len().min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&plain[..len]);
    }
    for (n, used) in used.iter().enumerate() {
        let at = blocks[n / (1 << (bits - 1))] + n as u64 % (cluster / 2) * 2;
        assert_eq!(number::<2>(&file, at), *used, "cluster {n}");
    }
    let backing = (number::<8>(&file, 8) > 0).then(|| {
        assert_eq!(number::<4>(&file, 112), 0xe279_2aca);
        let format = text(&file, 120, number::<4>(&file, 116));
        (text(&file, number::<8>(&file, 8), number::<4>(&file, 16)), format)
    });
    Found { bytes, mapped, cluster, backing }
}

fn unpack(packed: &[u8], is_zstd: bool, len: usize) -> Vec<u8> {
    let mut out = vec![0xa5; len];
    if is_zstd {
        zstd::Decoder::new(packed).unwrap().single_frame().read_exact(&mut out).unwrap();
    } else {
        let mut codec = flate2::Decompress::new_with_window_bits(false, 12);
        codec.decompress(packed, &mut out, flate2::FlushDecompress::None).unwrap();
        assert_eq!(codec.total_out(), len as u64);
    }
    out
}

/// The disk's bytes, in whole sectors.
fn sectors(disk: &Blob) -> Vec<u8> {
    let mut bytes = disk.to_vec().unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn silent(_: u64) -> io::Result<()> {
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A plain file reads as the disk, and has just the clusters that are not zeros.
    #[test]
    fn a_plain_file_reads_as_the_disk(parts in parts()) {
        let disk = disk(&parts, 100);
        let found = read(&plain(&disk), None);
        prop_assert!(found.bytes == sectors(&disk));
        let data: Vec<_> = Clusters::new(16, disk.len()).data(&disk).into_iter().flatten().collect();
        prop_assert_eq!(found.mapped, data);
    }

    /// What nodes have in common is the same in all their files, whatever their own bytes are.
    #[test]
    fn files_of_two_nodes_differ_in_their_own_bytes_only(parts in parts()) {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (disk(&parts, 100), disk(&parts, 200));
        let mut pairs = vec![(plain(&a), plain(&b))];
        for pack in [Pack::Zlib, Pack::Zstd] {
            let packer = Packer::new(folder.path(), pack);
            pairs.push((packer.pack(&a, &silent).unwrap(), packer.pack(&b, &silent).unwrap()));
        }
        for (a, b) in pairs {
            prop_assert_eq!(a.own(), b.own());
            prop_assert!(a.base().to_vec().unwrap() == b.base().to_vec().unwrap());
        }
    }

    /// A packed file reads as the disk; with pieces from the shelf it is the file without.
    #[test]
    fn a_packed_file_reads_as_the_disk(parts in parts(), others in parts()) {
        let folder = tempfile::tempdir().unwrap();
        for pack in [Pack::Zlib, Pack::Zstd] {
            let used = Packer::new(folder.path(), pack);
            for parts in [&others, &parts, &parts] {
                let disk = disk(parts, 100);
                let told = AtomicU64::new(0);
                let tell = |n| { told.fetch_add(n, Ordering::Relaxed); Ok(()) };
                let file = used.pack(&disk, &tell).unwrap();
                prop_assert!(read(&file, None).bytes == sectors(&disk));
                prop_assert_eq!(told.into_inner(), disk.len());
                let alone = Packer::new(folder.path(), pack).pack(&disk, &silent).unwrap();
                prop_assert!(file.to_vec().unwrap() == alone.to_vec().unwrap());
            }
        }
    }

    /// An overlay over the base reads as the disk, and has just the clusters with own bytes.
    #[test]
    fn an_overlay_over_the_base_reads_as_the_disk(parts in parts()) {
        let disk = disk(&parts, 100);
        let backing = Backing { name: "metal.raw", format: BackingFormat::Raw };
        let found = read(&overlay(&disk, &backing), Some(&disk.base().to_vec().unwrap()));
        prop_assert!(found.bytes == sectors(&disk));
        let own: std::collections::BTreeSet<_> = disk
            .own()
            .into_iter()
            .flat_map(|range| range.start / found.cluster..range.end.div_ceil(found.cluster))
            .collect();
        prop_assert_eq!(found.mapped, own.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(found.backing, Some(("metal.raw".into(), "raw".into())));
    }
}

#[test]
fn an_overlay_of_a_few_kib_at_the_end_of_a_large_disk_is_small() {
    let own = Blob::from_bytes("config", noise(1, 32 << 10)).owned();
    let disk = Builder::default()
        .zeros("disk", (2 << 30) - (1 << 20) - 100)
        .blob(&own)
        .fill_to(2 << 30)
        .finish();
    let backing = Backing { name: "../base:1.qcow2", format: BackingFormat::Qcow2 };
    let file = overlay(&disk, &backing);
    assert_eq!(file.len(), 80 << 10);
    assert_eq!(file.own().iter().map(|range| range.end - range.start).sum::<u64>(), 32 << 10);
}

#[test]
fn a_name_is_not_taken_for_a_protocol() {
    let path = |name| Backing { name, format: BackingFormat::Raw }.path();
    assert_eq!(path("a:b"), "./a:b");
    assert_eq!(path("../a:b"), "../a:b");
    assert_eq!(path("base.raw"), "base.raw");
}

#[test]
fn blocks_lie_as_they_lie_in_the_disk() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(3 << 20).unwrap();
    let asset = Blob::from_file("asset", file).unwrap();
    let disk = Builder::default().bytes("head", [1; 512]).fill_to(12_288).blob(&asset).finish();
    let shifted = plain(&disk);
    let extents = shifted.extents().iter().filter(|e| &*e.label == "asset");
    assert!(extents.clone().count() > 0 && extents.clone().all(|e| e.start % 4096 == 0));
}

#[test]
fn the_largest_disks_have_larger_clusters_and_no_larger_tables() {
    for (len, cluster) in [(1 << 51, 16), (1 << 52, 17), (1 << 60, 21), (1 << 63, 21)] {
        let disk = Builder::default().zeros("zeros", len - 512).bytes("end", [1; 512]).finish();
        let file = plain(&disk);
        let mut head = [0; 48];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(number::<4>(&head, 20), cluster);
        assert_eq!(number::<8>(&head, 24), len);
        assert!(file.extents().len() < 30 && file.len() < 1 << 31, "{file:?}");
    }
}

#[test]
fn what_tell_says_ends_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Blob::from_bytes("disk", vec![1; 1 << 20]);
    let tell = |_| Err(Error::from(ErrorKind::Interrupted));
    let packed = Packer::new(folder.path(), Pack::Zlib).pack(&disk, &tell);
    assert_eq!(packed.unwrap_err().kind(), ErrorKind::Interrupted);
}
