//! Disks as qcow2, judged by QEMU; and `talforge convert`, run as a person runs it.
//!
//! In: disks of random parts, `qemu-img`, `strace`. Out: verdicts.
//!
//! Not here: what metadata say, byte by byte (`builder/src/sink/qcow2/tests.rs`).

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use lab::product::{self, Said};
use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use talforge::blob::{Blob, Builder, Source};
use talforge::sink::qcow2::{Backing, BackingFormat, Pack, Packer, overlay, plain};
use tempfile::TempDir;

/// Writes a blob as a sparse file.
fn save(blob: &Blob, path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(blob.len()).unwrap();
    for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
        let bytes = blob.slice(extent.start..extent.end()).to_vec().unwrap();
        file.write_all_at(&bytes, extent.start).unwrap();
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(step).collect()
}

/// Bytes that compress to a third or so.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let words = noise(seed, len / 4 + 1).into_iter();
    words.flat_map(|byte| format!("{:03} ", byte & 63).into_bytes()).take(len).collect()
}

fn disks() -> Vec<(&'static str, Blob)> {
    let start = || Builder::default().bytes("boot", text(1, 70_000));
    let own = |len| Blob::from_bytes("config", text(9, len)).owned();
    vec![
        ("empty", Blob::default()),
        ("zeros", Builder::default().zeros("zeros", 3 << 20).finish()),
        ("odd-sectors", start().fill_to((1 << 20) + 3 * 512).finish()),
        ("odd-bytes", start().zeros("gap", 1 << 20).bytes("end", [7; 1001]).finish()),
        ("text", Blob::from_bytes("text", text(2, 5 << 20))),
        ("noise", Blob::from_bytes("noise", noise(3, 5 << 20))),
        ("own", own(300_000)),
        (
            "large",
            start()
                .fill_to((5 << 30) - 100)
                .bytes("far", noise(4, 200_000))
                .blob(&own(32 << 10))
                .fill_to((9 << 30) - 512)
                .bytes("backup", [1; 512])
                .finish(),
        ),
        (
            "mixed",
            start()
                .bytes("noise", noise(5, 1 << 20))
                .blob(&own(10_000))
                .bytes("text", text(6, 700_000))
                .zeros("gap", 20 << 20)
                .bytes("noise", noise(7, 65_536))
                .blob(&own(100))
                .fill_to(32 << 20)
                .finish(),
        ),
    ]
}

fn info(folder: &Path, name: &str) -> Value {
    let json = stdout("qemu-img", &["info", "--output=json", name], folder).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// What QEMU says of a file that is to be `disk.raw`: no error, no leak, the same bytes.
fn judge(folder: &Path, name: &str) {
    let json = run("qemu-img", &["check", "--output=json", "-f", "qcow2", name], folder).unwrap();
    assert!(json.status.success(), "{name}: {}", String::from_utf8_lossy(&json.stdout));
    let checked: Value = serde_json::from_slice(&json.stdout).unwrap();
    for problem in ["corruptions", "leaks"] {
        assert!(checked.get(problem).is_none_or(|n| n == 0), "{name}: {checked}");
    }
    let args = ["compare", "-f", "raw", "-F", "qcow2", "disk.raw", name];
    let said = stdout("qemu-img", &args, folder).unwrap();
    assert_eq!(said, "Images are identical.\n", "{name}");
}

/// Writes a disk, and itself as one file of each kind.
fn write_all(disk: &Blob) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    save(disk, &path("disk.raw"));
    save(&plain(disk), &path("plain.qcow2"));
    for (name, pack) in [("zlib.qcow2", Pack::Zlib), ("zstd.qcow2", Pack::Zstd)] {
        let packed = Packer::new(folder.path(), pack).pack(disk, &|_| Ok(())).unwrap();
        save(&packed, &path(name));
    }
    folder
}

/// The same, and overlays over both kinds of base; each is judged.
fn judge_all(disk: &Blob) -> TempDir {
    let folder = write_all(disk);
    let path = |name: &str| folder.path().join(name);
    save(&disk.base(), &path("base.raw"));
    save(&plain(&disk.base()), &path("base.qcow2"));
    let bases = [("base.raw", BackingFormat::Raw), ("base.qcow2", BackingFormat::Qcow2)];
    for (name, format) in bases {
        let over = format!("over-{name}.qcow2");
        save(&overlay(disk, &Backing { name, format }), &path(&over));
    }
    for name in ["plain", "zlib", "zstd", "over-base.raw", "over-base.qcow2"] {
        judge(folder.path(), &format!("{name}.qcow2"));
    }
    folder
}

#[test]
fn qemu_finds_every_kind_of_disk_whole() {
    if !have(&["qemu-img"]) {
        return;
    }
    for (name, disk) in disks() {
        let folder = judge_all(&disk);
        let files = ["plain", "zlib", "zstd", "over-base.raw", "over-base.qcow2"];
        for file in files {
            let info = info(folder.path(), &format!("{file}.qcow2"));
            let what = format!("{name} {file}: {info}");
            assert_eq!(info["virtual-size"], disk.len().next_multiple_of(512), "{what}");
            let data = &info["format-specific"]["data"];
            assert_eq!(data["compat"], "1.1", "{what}");
            let compression = if file == "zstd" { "zstd" } else { "zlib" };
            assert_eq!(data["compression-type"], compression, "{what}");
            let (cluster, base) = match file.strip_prefix("over-") {
                Some(base) => (8 << 10, Some(base)),
                None => (64 << 10, None),
            };
            assert_eq!(info["cluster-size"], cluster, "{what}");
            assert_eq!(info["backing-filename"].as_str(), base, "{what}");
            let format = base.map(|base| &base[5..]);
            assert_eq!(info["backing-filename-format"].as_str(), format, "{what}");
        }
        // The chain, as other tools would flatten it.
        for over in &files[3..] {
            let args = ["convert", "-O", "raw", &format!("{over}.qcow2"), "flat.raw"];
            stdout("qemu-img", &args, folder.path()).unwrap();
            let same = ["compare", "-f", "raw", "-F", "raw", "disk.raw", "flat.raw"];
            if disk.len() % 512 == 0 {
                stdout("qemu-img", &same, folder.path()).unwrap();
            }
        }
    }
}

#[test]
fn a_file_is_no_larger_than_that_of_qemu() {
    if !have(&["qemu-img"]) {
        return;
    }
    for (name, disk) in disks() {
        // One node's bytes are not compressed, on purpose.
        let folder = write_all(&disk.base());
        let kinds = [
            ("plain", &[][..]),
            ("zlib", &["-c"]),
            ("zstd", &["-c", "-o", "compression_type=zstd"]),
        ];
        for (kind, options) in kinds {
            let theirs = format!("qemu-{kind}");
            let args = [&["convert", "-f", "raw", "-O", "qcow2"], options, &["disk.raw", &theirs]];
            stdout("qemu-img", &args.concat(), folder.path()).unwrap();
            let len = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
            let (ours, theirs) = (len(&format!("{kind}.qcow2")), len(&theirs));
            // Whole clusters, and 4 KiB a cluster that is better left as it is.
            assert!(ours <= theirs + (64 << 10) + theirs / 16, "{name} {kind}: {ours} {theirs}");
        }
    }
}

#[test]
fn qemu_finds_random_disks_whole() {
    if !have(&["qemu-img"]) {
        return;
    }
    let len = prop::sample::select(vec![1_usize, 512, 4096, 65_536, 100_001, 1 << 20]);
    let part = (0_u8..3, prop::bool::weighted(0.2), len, any::<u64>());
    let parts = prop::collection::vec(part, 1..9);
    let mut runner =
        TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let judged = runner.run(&parts, |parts| {
        let mut disk = Builder::default();
        for (kind, is_own, len, seed) in parts {
            let blob = match kind {
                0 => {
                    disk = disk.zeros("zeros", len as u64);
                    continue;
                }
                1 => Blob::from_bytes("text", text(seed, len)),
                _ => Blob::from_bytes("noise", noise(seed, len)),
            };
            disk = disk.blob(&if is_own { blob.owned() } else { blob });
        }
        judge_all(&disk.align(512).finish());
        Ok(())
    });
    judged.unwrap();
}

#[test]
fn an_overlay_takes_little_more_than_the_nodes_own_bytes() {
    if !have(&["qemu-img"]) {
        return;
    }
    let own = Blob::from_bytes("config", noise(8, 32 << 10)).owned();
    let disk = Builder::default()
        .bytes("boot", text(1, 1 << 20))
        .fill_to((2 << 30) - (1 << 20) - 5000)
        .blob(&own)
        .fill_to(2 << 30)
        .finish();
    let folder = judge_all(&disk);
    let file = fs::metadata(folder.path().join("over-base.raw.qcow2")).unwrap();
    assert!(file.len() <= 100 << 10, "{} bytes", file.len());
}

/// A folder with a disk of holes, data, and zeros stored as data.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let disk = Builder::default()
        .bytes("boot", text(1, 300_000))
        .bytes("zeros as data", vec![0; 3 << 20])
        .bytes("noise", noise(2, 100_000))
        .zeros("hole", 1 << 30)
        .bytes("end", [1; 512])
        .finish();
    save(&disk, &folder.path().join("disk.raw"));
    folder
}

fn convert(folder: &Path, args: &[&str]) -> Said {
    product::run(folder, &[&["convert"], args].concat()).unwrap()
}

#[test]
fn convert_writes_what_qemu_finds_whole_and_nobody_else_reads() {
    if !have(&["qemu-img"]) {
        return;
    }
    let folder = folder();
    let kinds = [
        (&["disk.raw", "a.qcow2"][..], "a.qcow2"),
        (&["disk.raw", "b.img", "--format", "qcow2-zlib"], "b.img"),
        (&["disk.raw", "c", "--format", "qcow2-zstd"], "c"),
    ];
    for (args, out) in kinds {
        convert(folder.path(), args).well().unwrap();
        judge(folder.path(), out);
        let meta = fs::metadata(folder.path().join(out)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        // Neither the zeros in holes nor those in data are there.
        assert!(meta.len() < 1 << 20, "{out}: {} bytes", meta.len());
    }
    let events = product::run(folder.path(), &["--json", "convert", "disk.raw", "d.raw"]).unwrap();
    let events = events.well().unwrap().events().unwrap();
    let last = events.iter().find(|event| event["event"] == "converted").unwrap();
    assert_eq!((&last["format"], &last["path"]), (&"raw".into(), &"d.raw".into()));
    let (before, after) = ("disk.raw", "d.raw");
    stdout("cmp", &[before, after], folder.path()).unwrap();
    let blocks = |name| fs::metadata(folder.path().join(name)).unwrap().blocks();
    assert!(blocks(after) * 512 < 1 << 20 && blocks(before) * 512 > 3 << 20);
}

/// What was said, and that nothing was written.
fn refusal(folder: &Path, args: &[&str]) -> String {
    let names = || fs::read_dir(folder).unwrap().count();
    let before = names();
    let said = product::run(folder, &[&["--quiet", "convert"], args].concat()).unwrap();
    assert_eq!(names(), before);
    format!("exit code {}\n{}", said.code.unwrap(), said.err)
}

#[test]
fn convert_refuses_what_it_cannot_do() {
    let folder = folder();
    fs::write(folder.path().join("there.qcow2"), "mine").unwrap();
    fs::write(folder.path().join("a.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    fs::write(folder.path().join("cut.raw"), "").unwrap();
    fs::write(folder.path().join(".cut.raw.talforge-undo"), "").unwrap();
    let mut said = String::new();
    for args in [
        &["disk.raw", "there.qcow2"][..],
        &["disk.raw", "disk.raw"],
        &["a.qcow2", "b.raw"],
        &["cut.raw", "b.qcow2"],
        &["none.raw", "b.qcow2"],
        &["/dev/null", "b.qcow2"],
        &["disk.raw", "b.vdi"],
        &["disk.raw", "none/b.qcow2"],
        &["disk.raw", "none/b", "--format", "qcow2-zstd"],
        &["disk.raw", "b.qcow2.tar.gz"],
    ] {
        said += &refusal(folder.path(), args);
    }
    insta::assert_snapshot!(said, @"
    exit code 3
    error: `there.qcow2` is there already
    help: name another file, or remove this one first
    exit code 3
    error: `disk.raw` is there already
    help: name another file, or remove this one first
    exit code 5
    error: `a.qcow2` cannot be opened: qcow2 header at 0x0: it ends past its container
    help: copy or build it again, or make a plain disk of it with `qemu-img convert`
    exit code 5
    error: a change of `cut.raw` was cut short
    help: take it back first: `talforge config set` or `remove` on it does so
    exit code 3
    error: there is no medium `none.raw`
    help: check the path
    exit code 3
    error: `/dev/null` is a character device, and files alone are converted
    help: name an image in a file
    exit code 1
    error: the name `b.vdi` tells no format
    help: end it in `.raw`, `.qcow2`, `.vhd`, `.vhdx` or `.vmdk`, or add `--format`
    exit code 3
    error: `none` is not writable: No such file or directory (os error 2)
    help: choose another output folder, or mend its permissions
    exit code 3
    error: `none` is not writable: No such file or directory (os error 2)
    help: choose another output folder, or mend its permissions
    exit code 1
    error: a `.tar.gz` holds a raw disk, not `qcow2`
    help: end the file's name in `.gz` alone
    ");
    assert_eq!(fs::read(folder.path().join("there.qcow2")).unwrap(), b"mine");
    let overlay = refusal(folder.path(), &["disk.raw", "b", "--format", "qcow2-overlay"]);
    assert!(overlay.starts_with("exit code 2\n") && overlay.contains("qcow2-zstd"), "{overlay}");
}

/// A full disk, a broken one, and a kill, at every call that writes: there is nothing, or the whole.
#[test]
fn convert_leaves_nothing_or_the_whole() {
    if !have(&["strace", "qemu-img"]) {
        return;
    }
    let folder = folder();
    let list = || {
        let names = fs::read_dir(folder.path()).unwrap();
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let args = ["--quiet", "convert", "disk.raw", "out", "--format", "qcow2-zstd"];
    let mut failed = 0;
    let calls = ["write", "pwrite64", "copy_file_range", "ftruncate", "fsync", "linkat"];
    for fault in ["error=ENOSPC", "error=EIO", "signal=KILL"] {
        for call in calls {
            for when in 1.. {
                let inject = format!("inject={call}:{fault}:when={when}");
                let trace = format!("trace={call}");
                let by = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &inject, "-e", &trace];
                let mut command = product::command(&by, folder.path(), &args).unwrap();
                let said = Said::of(command.output().unwrap());
                let what = format!("{call} {when} {fault}: {}", said.err);
                let is_there = list().contains(&"out".to_owned());
                assert_eq!(list().len(), 1 + usize::from(is_there), "{what}: {:?}", list());
                if is_there {
                    judge_out(folder.path());
                    fs::remove_file(folder.path().join("out")).unwrap();
                }
                if said.code == Some(0) {
                    assert!(is_there, "{what}");
                    break;
                }
                failed += 1;
                assert!(said.code.is_none_or(|code| code == 3), "{what}");
            }
        }
    }
    assert!(failed > 20, "{failed}");
}

/// A name is given last: what has one is whole.
fn judge_out(folder: &Path) {
    let args = ["compare", "-f", "raw", "-F", "qcow2", "disk.raw", "out"];
    stdout("qemu-img", &args, folder).unwrap();
}
