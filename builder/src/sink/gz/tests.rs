//! Archives, read by the crate that made their headers but has its own reader.

use super::*;
use crate::units::{GIB, MIB};
use proptest::prelude::*;
use std::io::Read;

/// The member of an archive: name, time, bytes.
fn member(archive: &Blob) -> (String, u64, Vec<u8>) {
    let mut archive = tar::Archive::new(archive.reader());
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    let header = entry.header();
    assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
    let (name, time) = (entry.path().unwrap().display().to_string(), header.mtime().unwrap());
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    assert!(entries.next().is_none());
    (name, time, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn an_archive_holds_the_disk(
        parts in prop::collection::vec((any::<bool>(), 1_usize..300), 0..60), end in 0_u64..600,
    ) {
        let add = |disk: Builder, (is_data, kib): &(bool, usize)| match is_data {
            true => disk.bytes("data", vec![7; *kib << 10]),
            false => disk.zeros("zeros", (*kib as u64) << 10),
        };
        let disk = parts.iter().fold(Builder::default(), add).zeros("end", end * 512).finish();
        let archive = archive(&disk, 1_700_000_000).unwrap();
        prop_assert_eq!(archive.len() % RECORD, 0);
        let (name, time, bytes) = member(&archive);
        prop_assert_eq!((name.as_str(), time), ("disk.raw", 1_700_000_000));
        prop_assert!(bytes == disk.to_vec().unwrap());
    }
}

#[test]
fn a_disk_of_more_than_8_gib_has_its_length_in_the_header() {
    let ends = |len| {
        let disk =
            Builder::default().bytes("first", [1; 512]).zeros("gap", len).bytes("last", [2; 512]);
        archive(&disk.finish(), 0).unwrap()
    };
    let archive = ends(20 * GIB);
    assert!(archive.len() < MIB, "{}", archive.len());
    let mut reader = tar::Archive::new(archive.reader());
    let entry = reader.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.size(), 20 * GIB + 1024);
    let full = Blob::from_bytes("chunk", [1; 4096]);
    let full = (0..1000).fold(Builder::default(), |b, _| b.blob(&full)).finish();
    let full = (0..3000).fold(Builder::default(), |b, _| b.blob(&full)).finish();
    let archive = super::archive(&full, 0).unwrap();
    let mut reader = tar::Archive::new(archive.reader());
    let entry = reader.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((entry.size(), entry.header().entry_type()), (full.len(), EntryType::Regular));
    assert!(full.len() > 8 * GIB);
}
