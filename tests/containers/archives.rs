//! Compressed files and archives, as the tools of Linux and BSD write them.

use lab::tools::have;

use crate::rig::{PROGRAMS, assert_holds, folder, read, shell};

/// What wraps the disk in a file, and in what the reader finds it.
const FILES: &[(&str, &[&str])] = &[
    ("zstd -q -3 < disk.raw > out", &["zst"]),
    ("zstd -q --no-check disk.raw -o out", &["zst"]),
    ("zstd -q --long=27 -10 -T2 disk.raw -o out", &["zst"]),
    (
        "(head -c 5000000 disk.raw | zstd -q; tail -c +5000001 disk.raw | zstd -q -1) > out",
        &["zst"],
    ),
    ("(printf '\\120\\52\\115\\30\\4\\0\\0\\0abcd'; zstd -q < disk.raw) > out", &["zst"]),
    ("gzip -c disk.raw > out", &["gz"]),
    ("gzip -nc9 disk.raw > out", &["gz"]),
    ("(head -c 5000000 disk.raw | gzip; tail -c +5000001 disk.raw | gzip -1) > out", &["gz"]),
    ("xz -1 -c disk.raw > out", &["xz"]),
    ("xz -0 -T2 --block-size=1MiB --check=sha256 -c disk.raw > out", &["xz"]),
    ("xz -9 -C crc32 -c disk.raw > out", &["xz"]),
    ("xz -0 -C none --x86 --lzma2 -c disk.raw > out", &["xz"]),
    ("(head -c 5000000 disk.raw | xz -0; tail -c +5000001 disk.raw | xz -1) > out", &["xz"]),
    ("tar --format=ustar -cf out disk.raw", &["tar"]),
    ("tar --format=gnu -cf out disk.raw", &["tar"]),
    ("tar --format=oldgnu -Scf out disk.raw", &["tar"]),
    ("tar --format=posix -Scf out disk.raw", &["tar"]),
    ("tar --format=posix -cf out disk.raw", &["tar"]),
    ("tar --format=oldgnu -Sczf out disk.raw", &["gz", "tar"]),
    ("bsdtar -cf out disk.raw", &["tar"]),
    ("bsdtar --format=ustar -czf out disk.raw", &["gz", "tar"]),
    ("bsdtar --format=gnutar -cf out disk.raw", &["tar"]),
    (
        "name=$(printf 'n%.0s' {1..150}); cp disk.raw $name; tar --format=gnu -cf out $name",
        &["tar"],
    ),
    ("qemu-img convert -f raw -O qcow2 disk.raw d; zstd -q d -o out", &["zst", "qcow2"]),
    (
        "qemu-img convert -f raw -O vpc -o force_size=on disk.raw d; xz -0c d > out",
        &["xz", "vhd-dynamic"],
    ),
    (
        "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw d.vmdk
        echo '<Envelope/>' > d.ovf; sha256sum --tag d.ovf d.vmdk > d.mf
        tar --format=ustar -cf out d.ovf d.mf d.vmdk",
        &["ova", "vmdk-stream"],
    ),
];

#[test]
fn every_wrapping_holds_the_disk() {
    if !have(PROGRAMS) {
        return;
    }
    for (script, formats) in FILES {
        let (dir, bytes) = folder();
        shell(dir.path(), script);
        assert_holds(&dir.path().join("out"), formats, &bytes);
    }
}

#[test]
fn a_sparse_member_of_many_pieces_is_read() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    let pieces: String = (0..200).map(|n| format!("-c 'write -P {n} {}k 4k' ", n * 12)).collect();
    shell(
        dir.path(),
        &format!(
            "truncate -s 4M many; qemu-io -f raw {pieces} many
            tar --format=oldgnu -Scf old many; tar --format=posix -Scf posix many"
        ),
    );
    let want = std::fs::read(dir.path().join("many")).unwrap();
    assert_holds(&dir.path().join("old"), &["tar"], &want);
    assert_holds(&dir.path().join("posix"), &["tar"], &want);
}

/// What wraps something that is no disk, or wraps it badly.
const REFUSED: &[(&str, &str)] = &[
    ("zstd -q disk.raw -o out; echo garbage >> out", "damaged"),
    ("zstd -q disk.raw -o out; truncate -s -1 out", "cut"),
    ("gzip -c disk.raw > out; truncate -s -1 out", "cut"),
    ("xz -0c disk.raw > out; truncate -s -1 out", "xz file"),
    ("tar -cf out disk.raw; truncate -s 1M out", "ends past the file"),
    ("head -c 1000 disk.raw > small; tar -cf out small disk.raw", "many files"),
    ("mkdir d; tar -cf out d", "holds no file"),
    // Nothing but zeros is no bomb up to the limit; the rig's is 64 MiB.
    ("truncate -s 65M zeros; zstd -q zeros -o out", "more than 67108864 bytes"),
    ("head -c 60M /dev/zero | tr '\\0' b | zstd -q > out", "that are not zero"),
    ("zstd -q --ultra --long=31 -1 < disk.raw > out", "zstd file"),
];

#[test]
fn damaged_and_foreign_wrappings_are_refused() {
    if !have(PROGRAMS) {
        return;
    }
    for (script, word) in REFUSED {
        let (dir, _) = folder();
        shell(dir.path(), script);
        let error = read(&dir.path().join("out")).expect_err(script).to_string();
        assert!(error.contains(word), "{script}: {error}");
    }
}

/// One changed byte anywhere in what a checksum covers is found.
#[test]
fn a_changed_byte_is_found_by_its_checksum() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    shell(
        dir.path(),
        "head -c 200000 disk.raw > part
        zstd -q part -o zst; gzip -nc part > gz; xz -0c part > xz
        qemu-img convert -f raw -O vmdk -o subformat=streamOptimized part vmdk",
    );
    // The grains of a VMDK begin at 64 KiB.
    for (name, start) in [("zst", 1000), ("gz", 1000), ("xz", 1000), ("vmdk", 70_000)] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        for part in 1..16 {
            let mut bad = good.clone();
            bad[start + part * 3000] ^= 0x10;
            std::fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err(), "{name} {part}");
        }
    }
}

#[test]
fn a_compressed_initramfs_is_no_container() {
    if !have(PROGRAMS) || !have(&["cpio"]) {
        return;
    }
    let (dir, _) = folder();
    shell(
        dir.path(),
        "echo disk.raw | cpio -o -H newc > cpio; xz -0kC crc32 cpio; zstd -q cpio; gzip -k cpio",
    );
    for name in ["cpio", "cpio.xz", "cpio.zst", "cpio.gz"] {
        assert!(read(&dir.path().join(name)).unwrap().formats.is_empty(), "{name}");
    }
}
