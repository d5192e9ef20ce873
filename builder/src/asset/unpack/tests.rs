//! Compressed disks: what is kept, and what is refused.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};

use super::*;

/// A disk as far as its first look goes, with a hole of 3 MiB in it.
fn raw() -> Vec<u8> {
    // Not the same over and over: a decoder would not see whence it copies.
    let noise = |n: u32| n.wrapping_mul(0x9e37_79b1).to_le_bytes()[3];
    let mut raw: Vec<u8> = (0..5 << 20).map(noise).collect();
    raw[1 << 20..4 << 20].fill(0);
    raw[510..512].copy_from_slice(&[0x55, 0xaa]);
    raw
}

fn pack(packing: Packing, raw: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Zstd => {
            let mut writer = zstd::Encoder::new(Vec::new(), 1).unwrap();
            writer.include_checksum(true).unwrap();
            writer.write_all(raw).unwrap();
            writer.finish().unwrap()
        }
        Packing::Xz => {
            let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
            writer.write_all(raw).unwrap();
            writer.finish().unwrap()
        }
        Packing::Gzip => {
            let mut writer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(raw).unwrap();
            writer.finish().unwrap()
        }
    }
}

const ALL: [Packing; 3] = [Packing::Zstd, Packing::Xz, Packing::Gzip];

fn unpack(packed: &[u8], digest: Digest, store: &Store) -> Result<(Blob, Digest), UnpackError> {
    let packing = Packing::of(packed).unwrap();
    disk(&Blob::from_bytes("packed", packed), digest, packing, store)
}

#[test]
fn a_disk_is_unpacked_with_its_holes_and_known_again() {
    let raw = raw();
    for packing in ALL {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let packed = pack(packing, &raw);
        assert_eq!(Packing::of(&packed), Some(packing));
        let (disk, digest) = unpack(&packed, Digest::of(&packed), &store).unwrap();
        assert_eq!(digest, Digest::of(&raw));
        assert!(disk.to_vec().unwrap() == raw);
        let kept = folder.path().join("sha256").join(digest.to_string()).metadata().unwrap();
        assert!(kept.blocks() * 512 < 3 << 20, "{packing:?}: {} blocks", kept.blocks());
        // The compressed bytes are not needed any more.
        let (again, _) = unpack(&packed[..8], Digest::of(&packed), &store).unwrap();
        assert_eq!(again.len(), disk.len());
    }
}

#[test]
fn a_file_that_is_cut_or_damaged_leaves_nothing_in_the_store() {
    for packing in ALL {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let packed = pack(packing, &raw());
        let mut flipped = packed.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        for bad in [&packed[..packed.len() - 5], &packed[..packed.len() / 2], &flipped] {
            let found = unpack(bad, Digest::of(bad), &store);
            assert!(matches!(found, Err(UnpackError::Damaged(_))), "{packing:?}: {found:?}");
        }
        assert!(!folder.path().join("sha256").exists());
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let packed = pack(Packing::Zstd, &raw());
    let before = Digest::of(b"before");
    let found = unpack(&packed, before, &store);
    assert!(matches!(found, Err(UnpackError::Changed)), "{found:?}");
    assert_eq!(store.record(RECORD, before).unwrap(), None);
}

#[test]
fn what_holds_no_disk_is_not_unpacked() {
    for packing in ALL {
        for raw in [&vec![0; 5 << 20][..], b"no disk", b""] {
            let folder = tempfile::tempdir().unwrap();
            let packed = pack(packing, raw);
            let found = unpack(&packed, Digest::of(&packed), &Store::at(folder.path()));
            assert!(matches!(found, Err(UnpackError::NoDisk)), "{packing:?}: {found:?}");
            assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        }
    }
}

#[test]
fn a_disk_has_limits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let raw = raw();
    let fits = |len, data| fill(&mut raw.as_slice(), &store, Limits { len, data }).is_ok();
    assert!(fits(5 << 20, 2 << 20));
    assert!(!fits((5 << 20) - 1, 2 << 20));
    assert!(!fits(5 << 20, (2 << 20) - 1));
    let said = UnpackError::TooLarge.to_string();
    assert_eq!(said, "unpacks to more than 64 GiB, or 16 GiB that are not zeros");
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(&raw()).unwrap();
    let packed = encoder.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let found = unpack(&packed, Digest::of(&packed), &Store::at(folder.path()));
    assert!(matches!(found, Err(UnpackError::Damaged(_))), "{found:?}");
}
