//! Random disks as VMDK, read back by a reader of its own.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::blob::Builder;
use crate::sink::blocks::tests::{disks, example};
use crate::units::MIB;
use flate2::read::ZlibDecoder;
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

/// The grain at a place in a compressed file, which must say that it is this one.
fn inflate(file: &[u8], place: usize, grain: usize) -> Vec<u8> {
    assert_eq!(at::<8>(file, place), grain * 128);
    let len = at::<4>(file, place + 8);
    let mut out = Vec::new();
    let mut decoder = ZlibDecoder::new(&file[place + 12..place + 12 + len]);
    decoder.read_to_end(&mut out).unwrap();
    assert_eq!((out.len(), decoder.total_in()), (64 << 10, len as u64));
    out
}

/// The disk in a file, by the directory that `field` of the header at `header` leads to.
fn read(file: &[u8], header: usize, field: usize) -> Vec<u8> {
    let header = &file[header..header + 512];
    assert_eq!((&header[..4], &header[73..77]), (&b"KDMV"[..], &b"\n \r\n"[..]));
    let capacity = at::<8>(header, 12);
    assert_eq!((at::<8>(header, 20), at::<4>(header, 44)), (128, 512));
    let is_compressed = at::<4>(header, 8) & 1 << 16 != 0;
    assert_eq!(at::<2>(header, 77) == 1, is_compressed);
    let directory = at::<8>(header, field) * 512;
    let mut disk = Vec::new();
    for n in 0..capacity.div_ceil(128) {
        let place = match at::<4>(file, directory + n / 512 * 4) * 512 {
            0 => 0,
            table => at::<4>(file, table + n % 512 * 4) * 512,
        };
        match place {
            0 => disk.resize(disk.len() + (64 << 10), 0),
            place if is_compressed => disk.extend(inflate(file, place, n)),
            place => disk.extend_from_slice(&file[place..place + (64 << 10)]),
        }
    }
    disk.truncate(capacity * 512);
    disk
}

/// The disk in a compressed file, read front to back by its markers.
fn read_stream(file: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; at::<8>(file, 12) * 512];
    let mut place = at::<8>(file, 64) * 512;
    let mut last = None;
    loop {
        let (value, size) = (at::<8>(file, place), at::<4>(file, place + 8));
        if size > 0 {
            assert!(last < Some(value), "grains are in order");
            last = Some(value);
            let from = value * 512;
            let to = disk.len().min(from + (64 << 10));
            disk[from..to].copy_from_slice(&inflate(file, place, value / 128)[..to - from]);
            place = (place + 12 + size).next_multiple_of(512);
            continue;
        }
        let kind = at::<4>(file, place + 12);
        place += 512 + value * 512;
        if kind == 0 {
            assert_eq!(place, file.len());
            return disk;
        }
    }
}

fn packer() -> (tempfile::TempDir, Packer) {
    let folder = tempfile::tempdir().unwrap();
    let packer = Packer::new(folder.path());
    (folder, packer)
}

fn silent(_: u64) -> io::Result<()> {
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// What both directories of a sparse file lead to is the disk.
    #[test]
    fn a_sparse_disk_is_read_back(disk in disks(700)) {
        let bytes = disk.to_vec().unwrap();
        let file = sparse(&disk, "cp-1.vmdk").unwrap().to_vec().unwrap();
        prop_assert_eq!(file.len() as u64 % GRAIN, 0);
        prop_assert_eq!(&read(&file, 0, 48), &bytes);
        prop_assert_eq!(&read(&file, 0, 56), &bytes);
    }

    /// What a compressed file holds is the disk, read by the footer or by the markers; and what was
    /// packed before makes no difference to its bytes.
    #[test]
    fn a_compressed_disk_is_read_back(disk in disks(700), other in disks(700)) {
        let bytes = disk.to_vec().unwrap();
        let (_folder, fresh) = packer();
        let file = fresh.pack(&disk, &silent).unwrap().to_vec().unwrap();
        prop_assert_eq!(le::<8>(&file, 56), u64::MAX);
        prop_assert_eq!(&read(&file, file.len() - 1024, 56), &bytes);
        prop_assert_eq!(&read_stream(&file), &bytes);
        let (_folder, used) = packer();
        for before in [&other, &disk.base(), &disk] {
            used.pack(before, &silent).unwrap();
        }
        prop_assert_eq!(used.pack(&disk, &silent).unwrap().to_vec().unwrap(), file);
    }

    /// Files of two nodes differ in what is told as their own, and nowhere else.
    #[test]
    fn nodes_files_differ_in_their_own_bytes(disk in disks(700), change in 1_u8..) {
        let change = |e: &crate::blob::Extent| {
            let blob = disk.slice(e.start..e.end());
            let bytes = blob.to_vec().unwrap().iter().map(|b| b ^ change).collect::<Vec<_>>();
            if e.is_own { Blob::from_bytes("own", bytes).owned() } else { blob }
        };
        let parts = disk.extents().iter().map(change);
        let other = parts.fold(Builder::default(), |b, part| b.blob(&part)).finish();
        let (_folder, packer) = packer();
        let pack = |disk: &Blob| packer.pack(disk, &silent).unwrap();
        let sparse = |disk: &Blob, name| sparse(disk, name).unwrap();
        for (a, b) in [
            (pack(&disk), pack(&other)),
            (sparse(&disk, "a.vmdk"), sparse(&other, "node-b.vmdk")),
        ] {
            prop_assert_eq!(a.base().to_vec().unwrap(), b.base().to_vec().unwrap());
        }
    }
}

#[test]
fn what_nodes_have_in_common_is_read_once() {
    let shared = Blob::from_bytes("shared", vec![1; 3 << 20]);
    let node = |own: u8| {
        let own = Blob::from_bytes("own", vec![own; 5000]).owned();
        Builder::default().blob(&shared).blob(&own).align(MIB).blob(&shared).finish()
    };
    let (folder, packer) = packer();
    let a = packer.pack(&node(2), &silent).unwrap();
    drop(folder);
    // Nothing can be written now.
    let b = packer.pack(&node(3), &silent).unwrap();
    assert_eq!(a.own(), b.own());
    let len: u64 = a.own().iter().map(|range| range.end - range.start).sum();
    assert_eq!(len, 5000 + 4);
    assert_eq!(read_stream(&b.to_vec().unwrap()), node(3).to_vec().unwrap());
}

#[test]
fn all_bytes_are_told_and_an_error_ends_the_work() {
    let data = vec![1; 20 << 20];
    let disk =
        Builder::default().zeros("zeros", MIB).bytes("data", data).zeros("end", 512).finish();
    let (_folder, packer) = packer();
    let stop = |_| Err(io::ErrorKind::Interrupted.into());
    assert_eq!(packer.pack(&disk, &stop).unwrap_err().kind(), io::ErrorKind::Interrupted);
    for _ in 0..2 {
        let told = AtomicU64::new(0);
        let tell = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        };
        packer.pack(&disk, &tell).unwrap();
        assert_eq!(told.into_inner(), disk.len());
    }
}

#[test]
fn a_description_names_the_file_and_nothing_of_the_machine() {
    let text = descriptor("monolithicSparse", 1246 * MIB, "cp-1.vmdk");
    insta::assert_snapshot!("description", text);
}

#[test]
fn a_disk_that_the_format_cannot_have_is_refused() {
    let zeros = |len| Builder::default().zeros("zeros", len).finish();
    let (_folder, packer) = packer();
    for (len, want) in [
        (0, VmdkError::Sectors(Size(0))),
        (4097, VmdkError::Sectors(Size(4097))),
        (MAX + 512, VmdkError::TooLarge(Size(MAX + 512))),
    ] {
        assert_eq!(sparse(&zeros(len), "a.vmdk").unwrap_err(), want);
        let error = packer.pack(&zeros(len), &silent).unwrap_err();
        assert_eq!(error.to_string(), want.to_string());
    }
    let long = "a".repeat(256);
    for name in ["", "a\"b", "a\nb", "../a", "a\\b", &long] {
        assert_eq!(sparse(&zeros(512), name).unwrap_err(), VmdkError::Name(name.into()));
    }
}

#[test]
fn zeros_of_the_largest_disk_take_directories_alone() {
    let disk = Builder::default().zeros("zeros", MAX).finish();
    let file = sparse(&disk, "a.vmdk").unwrap();
    assert!(file.extents().len() < 20);
    let (_folder, packer) = packer();
    let file = packer.pack(&disk, &silent).unwrap();
    assert!(file.len() < MIB);
}

#[test]
fn the_map_of_an_example_is_as_it_was() {
    insta::assert_debug_snapshot!("sparse", sparse(&example(), "cp-1.vmdk").unwrap());
    let (_folder, packer) = packer();
    insta::assert_debug_snapshot!("stream", packer.pack(&example(), &silent).unwrap());
}
