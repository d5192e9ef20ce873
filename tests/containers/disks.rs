//! Disks of virtual machines, as QEMU writes them.

use std::path::Path;

use lab::tools::have;

use crate::rig::{PROGRAMS, assert_holds, folder, has_holes, read, shell};

/// Formats and options of `qemu-img convert`, and what the reader calls them.
const DISKS: &[(&str, &str)] = &[
    ("-O qcow2", "qcow2"),
    ("-O qcow2 -o compat=0.10", "qcow2"),
    ("-O qcow2 -o cluster_size=512", "qcow2"),
    ("-O qcow2 -o cluster_size=4096,refcount_bits=1", "qcow2"),
    ("-O qcow2 -o cluster_size=2M,refcount_bits=64", "qcow2"),
    ("-O qcow2 -o extended_l2=on,cluster_size=128k", "qcow2"),
    ("-O qcow2 -o lazy_refcounts=on", "qcow2"),
    ("-O qcow2 -o preallocation=metadata", "qcow2"),
    ("-O qcow2 -o preallocation=full,refcount_bits=8", "qcow2"),
    ("-c -O qcow2", "qcow2-zlib"),
    ("-c -O qcow2 -o cluster_size=4096,refcount_bits=16", "qcow2-zlib"),
    ("-c -O qcow2 -o compat=0.10,cluster_size=2M", "qcow2-zlib"),
    ("-c -O qcow2 -o compression_type=zstd", "qcow2-zstd"),
    ("-c -O qcow2 -o compression_type=zstd,cluster_size=512", "qcow2-zstd"),
    ("-c -O qcow2 -o compression_type=zstd,extended_l2=on,cluster_size=16k", "qcow2-zstd"),
    ("-O vpc -o force_size=on", "vhd-dynamic"),
    ("-O vpc -o force_size=on,subformat=fixed", "vhd"),
    ("-O vhdx", "vhdx"),
    ("-O vhdx -o block_size=1M", "vhdx"),
    ("-O vhdx -o block_size=256M,log_size=2M", "vhdx"),
    ("-O vhdx -o subformat=fixed", "vhdx"),
    ("-O vhdx -o block_state_zero=off", "vhdx"),
    ("-O vmdk", "vmdk"),
    ("-O vmdk -o compat6", "vmdk"),
    ("-O vmdk -o zeroed_grain=on,adapter_type=lsilogic", "vmdk"),
    ("-O vmdk -o subformat=streamOptimized", "vmdk-stream"),
];

fn convert(dir: &Path, options: &str, to: &str) {
    shell(dir, &format!("qemu-img convert -f raw {options} disk.raw {to}"));
}

#[test]
fn every_format_of_qemu_holds_the_disk() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, bytes) = folder();
    let path = dir.path().join("out");
    for (options, format) in DISKS {
        convert(dir.path(), options, "out");
        assert_holds(&path, &[format], &bytes);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_disk_of_geometry_is_padded_with_zeros() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, mut bytes) = folder();
    for subformat in ["dynamic", "fixed"] {
        convert(dir.path(), &format!("-O vpc -o subformat={subformat}"), "out.vhd");
        let path = dir.path().join("out.vhd");
        let len = read(&path).unwrap().content.len();
        assert!(len >= bytes.len() as u64 && len.is_multiple_of(512));
        bytes.resize(usize::try_from(len).unwrap(), 0);
        let format = if subformat == "fixed" { "vhd" } else { "vhd-dynamic" };
        assert_holds(&path, &[format], &bytes);
    }
}

#[test]
fn holes_are_holes_and_nothing_is_copied() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    // Longer by some of the largest clusters.
    shell(dir.path(), "truncate -s 12M disk.raw");
    for format in ["qcow2", "vpc", "vhdx -o block_size=1M", "vmdk"] {
        convert(dir.path(), &format!("-O {format}"), "out");
        let content = read(&dir.path().join("out")).unwrap().content;
        assert!(has_holes(&content), "{format}");
        assert!(content.extents().len() < 40, "{format}: {content:?}");
    }
}

#[test]
fn overlays_hold_what_qemu_reads_from_them() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    let bases = [
        ("raw", "-O raw"),
        ("qcow2", "-O qcow2 -o cluster_size=4k"),
        ("qcow2", "-c -O qcow2"),
        ("qcow2", "-c -O qcow2 -o compression_type=zstd,cluster_size=2M"),
        ("vpc", "-O vpc -o force_size=on"),
        ("vhdx", "-O vhdx"),
        ("vmdk", "-O vmdk -o subformat=streamOptimized"),
    ];
    let tops = ["", ",cluster_size=4k", ",extended_l2=on,cluster_size=16k"];
    for (index, (format, base)) in bases.iter().enumerate() {
        let top = tops[index % tops.len()];
        convert(dir.path(), base, "base");
        shell(
            dir.path(),
            &format!(
                "rm -f over want
                qemu-img create -q -f qcow2 -b base -F {format} -o lazy_refcounts=off{top} over 11M
                qemu-io -f qcow2 -c 'write -P 7 60000 10000' -c 'write -z 1M 128k' \
                    -c 'write -P 8 5300000 70000' -c 'write -P 9 10M 1000' over
                qemu-img convert -f qcow2 -O raw over want"
            ),
        );
        let want = std::fs::read(dir.path().join("want")).unwrap();
        assert_holds(&dir.path().join("over"), &["qcow2-overlay"], &want);
    }
}

#[test]
fn a_compressed_overlay_holds_what_qemu_reads_from_it() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    shell(
        dir.path(),
        "qemu-img convert -f raw -c -O qcow2 disk.raw base
        qemu-img create -q -f qcow2 -b base -F qcow2 mid
        qemu-io -f qcow2 -c 'write -P 7 60000 10000' mid
        qemu-img convert -f qcow2 -O qcow2 -c -B base -F qcow2 -o cluster_size=4k mid over
        qemu-img convert -f qcow2 -O raw over want",
    );
    let want = std::fs::read(dir.path().join("want")).unwrap();
    assert_holds(&dir.path().join("over"), &["qcow2-overlay"], &want);
}

/// How a disk is made that cannot be read as it is, and what the reader says.
const REFUSED: &[(&str, &str)] = &[
    (
        "qemu-img convert -f raw -O qcow2 disk.raw out; qemu-img snapshot -c one out",
        "internal snapshots",
    ),
    (
        "qemu-img convert -f raw -O qcow2 -o data_file=data,data_file_raw=on disk.raw out",
        "another file",
    ),
    (
        "qemu-img create -q -f qcow2 --object secret,id=s,data=x \
            -o encrypt.format=aes,encrypt.key-secret=s out 1M",
        "encrypted",
    ),
    (
        "qemu-img create -q -f qcow2 out 1M; printf '\\1' | dd of=out bs=1 seek=79 conv=notrunc",
        "closed",
    ),
    (
        "qemu-img create -q -f qcow2 out 1M; printf '\\2' | dd of=out bs=1 seek=79 conv=notrunc",
        "corrupt",
    ),
    (
        "qemu-img create -q -f qcow2 out 1M; printf '\\100' | dd of=out bs=1 seek=79 conv=notrunc",
        "unknown",
    ),
    ("qemu-img create -q -f qcow2 -b none -F raw -u out 1M", "`none` is not there"),
    (
        "qemu-img create -q -f qcow2 low 1M; qemu-img create -q -f qcow2 -b low -F qcow2 mid
        qemu-img create -q -f qcow2 -b mid -F qcow2 out",
        "backing file `mid`",
    ),
    ("qemu-img create -q -f vmdk -o subformat=monolithicFlat out 1M", "other files"),
    ("qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse out 1M", "other files"),
    (
        "qemu-img create -q -f vmdk low 1M; qemu-img create -q -f vmdk -b low -F vmdk out",
        "a difference",
    ),
];

#[test]
fn what_cannot_be_read_as_it_is_is_refused_with_a_word() {
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
