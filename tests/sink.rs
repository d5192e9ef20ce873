//! Files reach their names whole or not at all, take no more room than they need, and are nobody
//! else's to read: on real file systems, under injected errors, and killed at any moment.
//!
//! In: random blobs, disks in files, `strace`. Out: verdicts.
//!
//! Source: strace(1) on `-e inject`; limits as in `builder/src/sink`.
//!
//! Not here: what images hold.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use talforge::blob::{Blob, Builder};
use talforge::digest::Digest;
use talforge::report::progress::{Mode, Progress};
use talforge::sink::file::{Batch, Extra, MOST, Pending, Written};
use talforge::sink::name::Name;
use talforge::sink::{Access, SinkError};

/// The folder that the child test writes to. Without it that test does nothing.
const CHILD: &str = "TALFORGE_SINK_CHILD";
/// How the child writes: the name of a [`Way`].
const WAY: &str = "TALFORGE_SINK_WAY";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn write(batch: &Batch, at: &str, blob: &Blob) -> Result<Pending, SinkError> {
    batch.write(&name(at), blob, &Progress::new(Mode::Quiet).task(at, blob.len()))
}

/// Writes blobs under the names `0`, `1`, … in one batch.
fn write_all(dir: &Path, blobs: &[Blob]) -> Vec<Written> {
    let batch = Batch::open(dir).unwrap();
    for (n, blob) in blobs.iter().enumerate() {
        let pending = write(&batch, &n.to_string(), blob).unwrap();
        assert_eq!(pending.blob().unwrap().to_vec().unwrap(), blob.to_vec().unwrap());
        batch.keep(pending).unwrap();
    }
    batch.finish(&[]).unwrap()
}

/// Everything in a folder and the folders in it, hidden files too.
fn listing(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let at = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(listing(&entry.path()).iter().map(|inner| format!("{at}/{inner}")));
        } else {
            found.insert(at);
        }
    }
    found
}

/// Bytes without a pattern, always the same.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(step).collect();
    bytes.truncate(len);
    bytes
}

/// A file of noise, the same in each MiB, as a blob.
fn asset(path: &Path, len: usize) -> Blob {
    let (mut file, pattern) = (File::create(path).unwrap(), noise(1 << 20, 7));
    for start in (0..len).step_by(pattern.len()) {
        file.write_all(&pattern[..pattern.len().min(len - start)]).unwrap();
    }
    Blob::from_file("asset", File::open(path).unwrap()).unwrap()
}

/// A fresh file system in a file, mounted. Nothing where this user may not mount.
struct Disk {
    at: PathBuf,
    _home: tempfile::TempDir,
}

impl Disk {
    fn new(kind: &str, size: &str) -> Option<Self> {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if !is_root || !have(&["mount", "umount"]) {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("mounted");
        fs::create_dir(&at).unwrap();
        if kind == "tmpfs" {
            let size = format!("size={size}");
            stdout("mount", &["-t", "tmpfs", "-o", &size, "none", "mounted"], home.path()).unwrap();
        } else {
            let mkfs = format!("mkfs.{kind}");
            if !have(&[&mkfs]) {
                return None;
            }
            stdout("truncate", &["-s", size, "disk"], home.path()).unwrap();
            stdout(&mkfs, &["-q", "disk"], home.path()).unwrap();
            stdout("mount", &["-o", "loop", "disk", "mounted"], home.path()).unwrap();
        }
        Some(Self { at, _home: home })
    }

    /// The bytes in use, once all is on the disk.
    fn used(&self) -> u64 {
        stdout("sync", &["-f", "."], &self.at).unwrap();
        let text = stdout("stat", &["-f", "-c", "%b %f %S", "."], &self.at).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        (numbers[0] - numbers[1]) * numbers[2]
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &[self.at.to_str().unwrap()], Path::new("/"));
    }
}

/// A part of a random blob.
#[derive(Clone, Debug)]
enum Part {
    Zeros(u64),
    Bytes(u64, usize),
    Asset(u64, u64),
}

const ASSET_LEN: u64 = 3 << 20;

fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..600, Just(4096), Just(12_288), 1_u64..20_000, 1_000_000_u64..1_200_000]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        lengths().prop_map(Part::Zeros),
        (0_u64..3, lengths())
            .prop_map(|(seed, len)| Part::Bytes(seed, usize::try_from(len).unwrap())),
        (prop_oneof![Just(0), Just(4096), 0..ASSET_LEN / 2], lengths())
            .prop_map(|(from, len)| Part::Asset(from, len)),
    ]
}

/// Blobs that are variations of the first: one part replaced or dropped, or all new.
fn family() -> impl Strategy<Value = Vec<Vec<Part>>> {
    let change = (any::<prop::sample::Index>(), prop::option::of(part()));
    (prop::collection::vec(part(), 0..12), prop::collection::vec(change, 0..5)).prop_map(
        |(first, changes)| {
            let vary = |(at, new): &(prop::sample::Index, Option<Part>)| {
                let mut parts = first.clone();
                if !parts.is_empty() {
                    let at = at.index(parts.len());
                    parts.splice(at..=at, new.clone());
                }
                parts
            };
            std::iter::once(first.clone()).chain(changes.iter().map(vary)).collect()
        },
    )
}

fn blob(parts: &[Part], asset: &Blob) -> Blob {
    let add = |b: Builder, part: &Part| match part {
        Part::Zeros(len) => b.zeros("zeros", *len),
        Part::Bytes(seed, len) => b.bytes("bytes", noise(*len, *seed)),
        Part::Asset(from, len) => b.blob(&asset.slice(*from..*from + *len)),
    };
    parts.iter().fold(Builder::default(), add).finish()
}

/// Whatever blobs a batch writes, each file is its blob, and each digest that of the file.
fn files_are_their_blobs(dir: &Path, cases: u32) {
    let asset_len = usize::try_from(ASSET_LEN).unwrap();
    let asset = asset(&dir.join("asset"), asset_len);
    let out = dir.join("out");
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let check = |family: Vec<Vec<Part>>| {
        let blobs: Vec<_> = family.iter().map(|parts| blob(parts, &asset)).collect();
        let written = write_all(&out, &blobs);
        prop_assert_eq!(written.len(), blobs.len());
        for (file, blob) in written.iter().zip(&blobs) {
            let bytes = fs::read(&file.path).unwrap();
            prop_assert!(bytes == blob.to_vec().unwrap(), "{} differs", file.name);
            prop_assert_eq!(file.digest, Digest::of(&bytes));
            prop_assert_eq!(file.len, bytes.len() as u64);
        }
        Ok(())
    };
    runner.run(&family(), check).unwrap();
}

#[test]
fn files_are_their_blobs_in_the_temporary_folder() {
    let dir = tempfile::tempdir().unwrap();
    files_are_their_blobs(dir.path(), 40);
}

/// Where blocks are shared, other calls do the work.
#[test]
fn files_are_their_blobs_where_blocks_are_shared() {
    for kind in ["xfs", "btrfs"] {
        if let Some(disk) = Disk::new(kind, "600M") {
            files_are_their_blobs(&disk.at, 15);
        }
    }
}

/// An input on another file system than the output: the kernel may refuse to copy.
#[test]
fn files_are_their_blobs_across_file_systems() {
    let Some(disk) = Disk::new("tmpfs", "64m") else { return };
    let home = tempfile::tempdir().unwrap();
    let asset = asset(&disk.at.join("asset"), 3_000_001);
    let image = Builder::default().bytes("head", [1; 10]).blob(&asset).zeros("end", 99).finish();
    let written = write_all(home.path(), &[image.clone(), image.clone()]);
    assert_eq!(fs::read(&written[1].path).unwrap(), image.to_vec().unwrap());
}

#[test]
fn holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let asset = asset(&dir.path().join("asset"), 1 << 20);
    let image = Builder::default()
        .bytes("head", [1; 512])
        .fill_to(1 << 30)
        .blob(&asset)
        .fill_to(2 << 30)
        .bytes("backup", [1; 512])
        .finish();
    let batch = Batch::open(&dir.path().join("out")).unwrap();
    let pending = write(&batch, "disk.raw", &image).unwrap();
    batch.keep(pending).unwrap();
    let written = batch.finish(&[]).unwrap();
    let metadata = fs::metadata(&written[0].path).unwrap();
    assert_eq!(metadata.len(), (2 << 30) + 512);
    let taken = metadata.blocks() * 512;
    assert!(taken <= (1 << 20) + 64 * 1024, "{taken} bytes taken");
}

/// The second node's image costs its delta: 16 KiB of 300 MB.
#[test]
fn a_second_image_costs_its_delta_where_blocks_are_shared() {
    for kind in ["xfs", "btrfs"] {
        let Some(disk) = Disk::new(kind, "600M") else { return };
        let base = asset(&disk.at.join("asset"), 300_000_000);
        let image = |seed| {
            Builder::default()
                .bytes("head", [1; 512])
                .align(4096)
                .blob(&base.slice(0..200_000_000))
                .align(65_536)
                .bytes("config", noise(16_384, seed))
                .blob(&base.slice(200_000_768..300_000_000))
                .align(4096)
                .finish()
        };
        let batch = Batch::open(&disk.at.join("out")).unwrap();
        let first = write(&batch, "1.iso", &image(1)).unwrap();
        batch.keep(first).unwrap();
        let before = disk.used();
        let write_one = |n| write(&batch, &format!("{n}.iso"), &image(n)).unwrap();
        let pending: Vec<_> = (2..6).map(write_one).collect();
        let each = (disk.used() - before) / pending.len() as u64;
        assert!(each <= 64 * 1024, "{kind}: {each} bytes for each further image");
        for pending in pending {
            batch.keep(pending).unwrap();
        }
        let last = batch.finish(&[]).unwrap().pop().unwrap();
        let file = Blob::from_file("5.iso", File::open(&last.path).unwrap()).unwrap();
        assert_eq!(Digest::of_blob(&file).unwrap(), last.digest);
        assert_eq!(Digest::of_blob(&image(5)).unwrap(), last.digest);
    }
}

/// An image that does not fit is refused before it is begun, with the figures; what was there stays.
#[test]
fn a_full_disk_is_told_with_path_and_figures() {
    let Some(disk) = Disk::new("tmpfs", "8m") else { return };
    let small = Blob::from_bytes("small", noise(1 << 20, 1));
    write_all(&disk.at, &[small]);
    let before = listing(&disk.at);
    let large = Builder::default().bytes("large", noise(9 << 20, 2)).zeros("gap", 1 << 30).finish();
    let batch = Batch::open(&disk.at).unwrap();
    match write(&batch, "large.iso", &large).unwrap_err() {
        SinkError::NoSpace { path, needed, free } => {
            assert_eq!(path, disk.at.join("large.iso"));
            assert_eq!(needed, 9 << 20);
            assert!((6 << 20..7 << 20).contains(&free), "{free}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(listing(&disk.at), before);
}

/// A list of an earlier run keeps its lines for files that still are; `sha256sum` finds all right.
#[test]
fn the_list_of_digests_covers_earlier_files_that_still_are() {
    let dir = tempfile::tempdir().unwrap();
    let text = |text: &str| Blob::from_bytes("text", text.as_bytes());
    for (round, names) in [["a", "b", "w-1/c"], ["b", "d", "w-1/e"]].iter().enumerate() {
        let batch = Batch::open(dir.path()).unwrap();
        for at in names {
            let pending = write(&batch, at, &text(&format!("{at}{round}"))).unwrap();
            batch.keep(pending).unwrap();
        }
        let manifest =
            Extra { name: name("manifest.json"), content: text("{}"), access: Access::World };
        batch.finish(&[manifest]).unwrap();
        if round == 0 {
            fs::remove_file(dir.path().join("a")).unwrap();
        }
    }
    let list = fs::read_to_string(dir.path().join("SHA256SUMS")).unwrap();
    let names: Vec<_> = list.lines().map(|line| &line[66..]).collect();
    assert_eq!(names, ["b", "d", "w-1/c", "w-1/e"]);
    stdout("sha256sum", &["--check", "--strict", "SHA256SUMS"], dir.path()).unwrap();
}

/// A name given twice, and a file dropped or thrown away, leave nothing.
#[test]
fn what_is_not_kept_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::open(dir.path()).unwrap();
    let blob = Blob::from_bytes("a", [1; 100]);
    drop(write(&batch, "a", &blob).unwrap());
    let (first, second) = (write(&batch, "b", &blob).unwrap(), write(&batch, "b", &blob).unwrap());
    batch.keep(first).unwrap();
    assert!(matches!(batch.keep(second), Err(SinkError::Twice { .. })));
    assert!(matches!(write(&batch, "b", &blob), Err(SinkError::Twice { .. })));
    drop(batch);
    assert!(listing(dir.path()).is_empty());
    assert!(Batch::open(dir.path()).unwrap().finish(&[]).unwrap().is_empty());
    assert!(listing(dir.path()).is_empty());
}

/// More files than wait for their names at once.
#[test]
fn thousands_of_files_have_no_more_open_than_may_wait() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::open(dir.path()).unwrap();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (mut most, files) = (0, MOST + 300);
    for n in 0..files {
        let blob = Blob::from_bytes("node", format!("{n}").into_bytes());
        let pending = write(&batch, &format!("{n}.iso"), &blob).unwrap();
        batch.keep(pending).unwrap();
        if n % 100 == 0 {
            most = most.max(open());
        }
    }
    assert_eq!(batch.finish(&[]).unwrap().len(), files);
    assert!(most < MOST + 100, "{most} files open");
    stdout("sha256sum", &["--check", "--strict", "--quiet", "SHA256SUMS"], dir.path()).unwrap();
}

/// Whatever several threads write into one batch at once, each file is its blob.
fn files_written_at_once_are_their_blobs(dir: &Path, cases: u32) {
    let asset_len = usize::try_from(ASSET_LEN).unwrap();
    let asset = asset(&dir.join("asset"), asset_len);
    let out = dir.join("out");
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let check = |(families, threads): (Vec<Vec<Vec<Part>>>, usize)| {
        let blobs: Vec<_> = families.iter().flatten().map(|parts| blob(parts, &asset)).collect();
        let batch = Batch::open(&out).unwrap();
        let next = AtomicUsize::new(0);
        let work = || loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(blob) = blobs.get(n) else { return };
            let pending = write(&batch, &n.to_string(), blob).unwrap();
            batch.keep(pending).unwrap();
        };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        let written = batch.finish(&[]).unwrap();
        prop_assert_eq!(written.len(), blobs.len());
        for file in &written {
            let (bytes, n) = (fs::read(&file.path).unwrap(), file.name.as_str());
            let blob = &blobs[n.parse::<usize>().unwrap()];
            prop_assert!(bytes == blob.to_vec().unwrap(), "{} differs", file.name);
            prop_assert_eq!(file.digest, Digest::of(&bytes));
        }
        Ok(())
    };
    let families = (prop::collection::vec(family(), 1..4), 2_usize..8);
    runner.run(&families, check).unwrap();
}

#[test]
fn files_written_at_once_are_their_blobs_with_and_without_shared_blocks() {
    let dir = tempfile::tempdir().unwrap();
    files_written_at_once_are_their_blobs(dir.path(), 20);
    if let Some(disk) = Disk::new("xfs", "600M") {
        files_written_at_once_are_their_blobs(&disk.at, 10);
    }
}

/// What several files refer to is written once, also where they ask for it at once.
#[test]
fn a_shared_file_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::open(dir.path()).unwrap();
    let base = Blob::from_bytes("base", noise(3 << 20, 5));
    let progress = Progress::new(Mode::Quiet);
    let ask = || batch.write_shared(&name("base"), &base, &progress.task("base", base.len()));
    let digests: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == Digest::of(&noise(3 << 20, 5))));
    let other = Blob::from_bytes("base", noise(3 << 20, 6));
    let task = progress.task("base", other.len());
    assert!(matches!(
        batch.write_shared(&name("base"), &other, &task),
        Err(SinkError::Twice { .. })
    ));
    assert_eq!(batch.finish(&[]).unwrap().len(), 1);
    let list = fs::read_to_string(dir.path().join("SHA256SUMS")).unwrap();
    assert_eq!(list, format!("{}  base\n", digests[0]));
}

/// A stream that sets a flag once so much was told.
struct Flag(Arc<AtomicBool>);

impl Write for Flag {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("started") {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Told to end while it writes, it gives up that file; told later, it gives no names.
#[test]
fn a_batch_that_is_told_to_end_names_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let asset = asset(&dir.path().join("asset"), 40 << 20);
    let out = dir.path().join("out");
    let stop = Arc::new(AtomicBool::new(false));
    let batch = Batch::open(&out).unwrap().until(stop.clone());
    let small = Blob::from_bytes("a", [1; 100]);
    batch.keep(write(&batch, "a", &small).unwrap()).unwrap();
    let flag = Box::new(Flag(stop.clone()));
    let progress = Progress::to(Mode::Json, flag, Box::new(std::io::sink()));
    let task = progress.task("b", asset.len());
    let error = batch.write(&name("b"), &asset, &task).unwrap_err();
    assert!(matches!(&error, SinkError::Stopped { path } if *path == out.join("b")), "{error:?}");
    assert!(matches!(batch.finish(&[]), Err(SinkError::Stopped { .. })));
    assert!(listing(&out).is_empty());
}

/// A list that would say the same is not written again, and files that stay are on it.
#[test]
fn files_that_stay_are_on_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = ["0", "1"].map(|text| Blob::from_bytes("text", text.as_bytes()));
    let written = write_all(dir.path(), &blobs);
    let list = dir.path().join("SHA256SUMS");
    let before = fs::read(&list).unwrap();
    let number = fs::metadata(&list).unwrap().ino();
    for is_gone in [false, true] {
        if is_gone {
            fs::remove_file(&list).unwrap();
        }
        let batch = Batch::open(dir.path()).unwrap();
        written.iter().for_each(|file| batch.stays(&file.name, file.digest));
        assert_eq!(batch.finish(&[]).unwrap().len(), 0);
        assert_eq!(fs::read(&list).unwrap(), before);
        assert!(is_gone || fs::metadata(&list).unwrap().ino() == number);
    }
}

/// An input that became shorter is named, and nothing is left.
#[test]
fn a_shrunk_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asset");
    let blob = asset(&path, 3 << 20);
    File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    let out = dir.path().join("out");
    let error = write(&Batch::open(&out).unwrap(), "a", &blob).unwrap_err();
    assert!(matches!(&error, SinkError::Read { name, .. } if name == "asset"), "{error:?}");
    assert!(listing(&out).is_empty());
}

/// A stream whose content a test can see.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn progress_ends_at_the_blobs_length() {
    let dir = tempfile::tempdir().unwrap();
    let asset = asset(&dir.path().join("asset"), 3 << 20);
    let image = |n| {
        let head = Builder::default().blob(&asset).zeros("short", 9).bytes("config", [n; 99]);
        head.zeros("gap", 1 << 22).bytes("end", vec![n; 3 << 20]).finish()
    };
    let page = Page::default();
    let progress = Progress::to(Mode::Json, Box::new(page.clone()), Box::new(std::io::sink()));
    let batch = Batch::open(&dir.path().join("out")).unwrap();
    for n in 1..4 {
        let blob = image(n);
        let task = progress.task("image", blob.len());
        let pending = batch.write(&name(&n.to_string()), &blob, &task).unwrap();
        batch.keep(pending).unwrap();
        task.done("written");
    }
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ends: Vec<_> = events.filter(|e| e["state"] == "done").collect();
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|e| e["bytes"] == e["total"] && e["bytes"] == image(1).len()));
}

// What follows looks at a process from outside: this program runs itself, with one test that writes
// a batch.

/// How a child writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One file: so few that each is synced.
    One,
    /// Some files, which are synced together.
    Some,
    /// More, by three threads at once.
    AtOnce,
}

impl Way {
    const ALL: [Self; 3] = [Self::One, Self::Some, Self::AtOnce];

    fn files(self) -> usize {
        match self {
            Self::One => 1,
            Self::Some => 3,
            Self::AtOnce => 7,
        }
    }

    fn threads(self) -> usize {
        if self == Self::AtOnce { 3 } else { 1 }
    }
}

/// The files that the child writes: each of bytes, holes and an input's ranges.
fn child_images(home: &Path, generation: u8, way: Way) -> Vec<(&'static str, Blob)> {
    let input = File::open(home.join("asset")).unwrap();
    let asset = Blob::from_file("asset", input).unwrap();
    let image = |n: u8| {
        let head = Builder::default().bytes("head", [n; 512]).align(4096).blob(&asset);
        head.bytes("config", vec![generation; 70_000])
            .fill_to(1 << 20)
            .bytes("end", [n; 512])
            .finish()
    };
    let names =
        ["cp-1.iso", "cp-2.iso", "w-1/vmlinuz", "cp-3.iso", "w-2/vmlinuz", "w-2/uki", "w-3.iso"];
    names.into_iter().zip(1..).take(way.files()).map(|(name, n)| (name, image(n))).collect()
}

/// Not a test of its own: the process that the tests below look at.
#[test]
fn child() {
    let Some(home) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let wanted = std::env::var(WAY).unwrap();
    let way = Way::ALL.into_iter().find(|way| format!("{way:?}") == wanted).unwrap();
    let batch = Batch::open(&home.join("out")).unwrap();
    let images = child_images(&home, 2, way);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((at, blob)) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
            let pending = write(&batch, at, blob)?;
            batch.keep(pending)?;
        }
        Ok::<_, SinkError>(())
    };
    let done = thread::scope(|scope| {
        let others: Vec<_> = (1..way.threads()).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().fold(own, |done, other| done.and(other.join().unwrap()))
    });
    done.unwrap();
    let content = Blob::from_bytes("manifest", *b"{}");
    let extra = Extra { name: name("manifest.json"), content, access: Access::World };
    batch.finish(&[extra]).unwrap();
}

/// A home with an asset and, in `out`, the files of an earlier run.
fn home(way: Way) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    asset(&home.path().join("asset"), 700_000);
    let batch = Batch::open(&home.path().join("out")).unwrap();
    for (at, blob) in child_images(home.path(), 1, way) {
        // One name is new to the child.
        if at != "cp-2.iso" {
            let pending = write(&batch, at, &blob).unwrap();
            batch.keep(pending).unwrap();
        }
    }
    batch.finish(&[]).unwrap();
    home
}

/// Each name leads to nothing, to what was there, or to the whole of the new; and the next run
/// sweeps what this one left. Gives the names of hidden files that were left.
fn check_home(home: &Path, way: Way) -> Vec<String> {
    let out = home.join("out");
    let (old, new) = (child_images(home, 1, way), child_images(home, 2, way));
    for ((at, old), (_, new)) in old.iter().zip(&new) {
        match fs::read(out.join(at)) {
            Ok(bytes) if bytes == new.to_vec().unwrap() => {}
            Ok(bytes) if bytes == old.to_vec().unwrap() && *at != "cp-2.iso" => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && *at == "cp-2.iso" => {}
            other => panic!("{at}: {:?}", other.map(|bytes| bytes.len())),
        }
    }
    let hidden = |found: BTreeSet<String>| found.into_iter().filter(|n| n.contains(".talforge"));
    let left: Vec<_> = hidden(listing(&out)).collect();
    drop(Batch::open(&out).unwrap());
    assert_eq!(hidden(listing(&out)).count(), 0);
    left
}

/// The command that runs the child, behind the words of `before`.
fn child_command(before: &[&str], home: &Path, way: Way) -> Command {
    let this = std::env::current_exe().unwrap();
    let words = before.iter().map(PathBuf::from).chain([this]).collect::<Vec<_>>();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", "child"]).env(CHILD, home);
    command.env(WAY, format!("{way:?}"));
    command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.output().unwrap().status.success()
}

/// Runs the child with injections by strace, each of calls and what becomes of them. The trace of
/// the calls is left in the home.
fn inject_each(home: &Path, way: Way, injections: &[(&str, &str)]) -> Output {
    let trace = home.join("trace");
    let mut words =
        ["strace", "-f", "-qqq", "-o", trace.to_str().unwrap()].map(String::from).to_vec();
    for (calls, what) in injections {
        words.extend(["-e".to_owned(), format!("inject={calls}:{what}")]);
    }
    let calls: Vec<_> = injections.iter().map(|(calls, _)| *calls).collect();
    words.extend(["-e".to_owned(), format!("trace={}", calls.join(","))]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    child_command(&words, home, way).output().unwrap()
}

fn inject(home: &Path, way: Way, calls: &str, what: &str) -> Output {
    inject_each(home, way, &[(calls, what)])
}

/// The calls that change what others see, or could.
const CALLS: [&str; 11] = [
    "flock",
    "fchmod",
    "ftruncate",
    "copy_file_range",
    "pwrite64",
    "mkdirat",
    "fsync",
    "syncfs",
    "linkat",
    "renameat",
    "unlinkat",
];

/// Kills the child at each of the calls in turn, and looks at what it leaves. Gives how often, and
/// how many hidden files were left at most.
fn kill_at_each_call(way: Way, also: &[(&str, &str)]) -> (u32, usize) {
    let (mut kills, mut most) = (0, 0);
    for call in CALLS {
        for when in 1.. {
            let home = home(way);
            let kill = format!("signal=KILL:when={when}");
            let injections: Vec<_> = also.iter().copied().chain([(call, kill.as_str())]).collect();
            let out = inject_each(home.path(), way, &injections);
            let left = check_home(home.path(), way);
            most = most.max(left.len());
            if out.status.success() {
                assert!(left.is_empty());
                break;
            }
            kills += 1;
        }
    }
    (kills, most)
}

#[test]
fn killed_at_any_call_no_name_leads_to_half_a_file() {
    if !have(&["strace"]) {
        return;
    }
    let (kills, most) = kill_at_each_call(Way::Some, &[]);
    assert!(kills >= 40, "{kills} kills");
    // The one that was to take an old file's place.
    assert_eq!(most, 1);
    let (kills, most) = kill_at_each_call(Way::One, &[]);
    assert!(kills >= 20, "{kills} kills");
    assert_eq!(most, 1);
}

/// As one of several threads that write at once.
#[test]
fn killed_at_any_call_of_any_thread_no_name_leads_to_half_a_file() {
    if !have(&["strace"]) {
        return;
    }
    let (kills, most) = kill_at_each_call(Way::AtOnce, &[]);
    assert!(kills >= 40, "{kills} kills");
    assert_eq!(most, 1);
}

/// File systems without `O_TMPFILE`: temporary names, swept by the next run.
#[test]
fn killed_where_files_cannot_be_nameless_no_name_leads_to_half_a_file() {
    if !have(&["strace"]) {
        return;
    }
    let whole = home(Way::Some);
    let traced = inject(whole.path(), Way::Some, "openat", "delay_enter=0:when=1");
    assert!(traced.status.success());
    let trace = fs::read_to_string(whole.path().join("trace")).unwrap();
    let probe = trace.lines().find(|line| line.contains("O_TMPFILE")).unwrap();
    let thread = probe.split(' ').next().unwrap();
    let of_thread = |line: &&str| line.starts_with(thread) && line.contains("openat(");
    let place = 1 + trace.lines().filter(of_thread).take_while(|line| *line != probe).count();
    let refusal = format!("error=EOPNOTSUPP:when={place}");
    let (kills, most) = kill_at_each_call(Way::Some, &[("openat", &refusal)]);
    assert!(kills >= 30, "{kills} kills");
    // Three images, the list, the manifest.
    assert_eq!(most, 5);
}

#[test]
fn killed_at_any_time_no_name_leads_to_half_a_file() {
    for way in [Way::Some, Way::AtOnce] {
        let whole = home(way);
        let started = Instant::now();
        assert!(succeeds(&mut child_command(&["env"], whole.path(), way)));
        let time = started.elapsed();
        for n in 0..30 {
            let home = home(way);
            let mut child = child_command(&["env"], home.path(), way).spawn().unwrap();
            thread::sleep(time * n / 30);
            child.kill().unwrap();
            child.wait().unwrap();
            check_home(home.path(), way);
        }
    }
}

/// An error of the first such call, and of each: as long as it comes before a name was given, no name
/// is.
#[test]
fn an_error_of_any_call_is_told_and_leaves_no_name() {
    if !have(&["strace"]) {
        return;
    }
    for (way, calls, error, said) in [
        (Way::Some, "copy_file_range", "ENOSPC", "NoSpace"),
        (Way::Some, "copy_file_range", "EIO", "Write"),
        (Way::Some, "pwrite64", "ENOSPC", "NoSpace"),
        (Way::Some, "pwrite64", "EIO", "Write"),
        (Way::AtOnce, "pwrite64", "ENOSPC", "NoSpace"),
        (Way::AtOnce, "pwrite64", "EIO", "Write"),
        (Way::Some, "ftruncate", "EFBIG", "Write"),
        (Way::Some, "fchmod", "EIO", "Write"),
        (Way::One, "fsync", "EIO", "Sync"),
        (Way::Some, "syncfs", "EIO", "Sync"),
        (Way::AtOnce, "syncfs", "EIO", "Sync"),
        (Way::Some, "linkat", "ENOSPC", "Place"),
        (Way::Some, "flock", "EAGAIN", "Busy"),
    ] {
        let home = home(way);
        let before = listing(&home.path().join("out"));
        let out = inject(home.path(), way, calls, &format!("error={error}"));
        let text = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success(), "{calls} {error}");
        assert!(text.contains(said), "{calls} {error}: {text}");
        assert_eq!(listing(&home.path().join("out")), before, "{calls} {error}");
        check_home(home.path(), way);
    }
}

/// A full or broken disk at each write in turn, whichever thread meets it.
#[test]
fn an_error_of_each_write_is_told_and_leaves_no_name() {
    if !have(&["strace"]) {
        return;
    }
    for (call, error, said) in [
        ("pwrite64", "ENOSPC", "NoSpace"),
        ("pwrite64", "EIO", "Write"),
        ("ftruncate", "EIO", "Write"),
    ] {
        for when in 1.. {
            let home = home(Way::AtOnce);
            let before = listing(&home.path().join("out"));
            let what = format!("error={error}:when={when}");
            let out = inject(home.path(), Way::AtOnce, call, &what);
            if out.status.success() {
                assert!(when > 2, "{call} {error}");
                break;
            }
            let text = String::from_utf8_lossy(&out.stdout).into_owned()
                + &String::from_utf8_lossy(&out.stderr);
            assert!(text.contains(said), "{call} {what}: {text}");
            assert_eq!(listing(&home.path().join("out")), before, "{call} {what}");
            check_home(home.path(), Way::AtOnce);
        }
    }
}

/// Where the kernel does not copy, or is interrupted, reading and writing do.
#[test]
fn what_the_kernel_refuses_is_done_by_hand() {
    if !have(&["strace"]) {
        return;
    }
    for (calls, what) in [
        ("copy_file_range", "error=EXDEV"),
        ("copy_file_range", "error=EINVAL"),
        ("copy_file_range", "error=EOPNOTSUPP"),
        ("copy_file_range", "error=ENOSYS"),
        ("copy_file_range", "retval=0"),
        ("copy_file_range,pwrite64,fsync,syncfs,ftruncate,flock", "error=EINTR:when=1+2"),
    ] {
        let home = home(Way::Some);
        let out = inject(home.path(), Way::Some, calls, what);
        assert!(out.status.success(), "{what}: {}", String::from_utf8_lossy(&out.stdout));
        for (at, blob) in child_images(home.path(), 2, Way::Some) {
            let bytes = fs::read(home.path().join("out").join(at)).unwrap();
            assert!(bytes == blob.to_vec().unwrap(), "{what}: {at}");
        }
    }
}

/// A failed sync is asked for once: a second try would succeed and prove nothing.
#[test]
fn a_failed_sync_is_not_tried_again() {
    if !have(&["strace"]) {
        return;
    }
    for (way, call) in [(Way::One, "fsync"), (Way::Some, "syncfs"), (Way::AtOnce, "syncfs")] {
        let home = home(way);
        let before = listing(&home.path().join("out"));
        assert!(!inject(home.path(), way, call, "error=EIO:when=1").status.success());
        let trace = fs::read_to_string(home.path().join("trace")).unwrap();
        assert_eq!(trace.lines().filter(|line| line.contains(call)).count(), 1, "{trace}");
        assert_eq!(listing(&home.path().join("out")), before, "{call}");
    }
}

/// Many files are synced together, and nothing else is but their folders, at the end.
#[test]
fn a_batch_is_synced_once() {
    if !have(&["strace"]) {
        return;
    }
    let home = home(Way::AtOnce);
    assert!(
        inject(home.path(), Way::AtOnce, "fsync,syncfs,linkat,renameat", "delay_enter=0:when=1")
            .status
            .success()
    );
    let trace = fs::read_to_string(home.path().join("trace")).unwrap();
    let calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| {
            ["fsync(", "syncfs(", "linkat(", "renameat("]
                .into_iter()
                .find(|call| line.contains(call))
        })
        .collect();
    let named = calls.iter().position(|call| *call == "linkat(").unwrap();
    assert_eq!(calls[..named], ["syncfs("], "{trace}");
    // Of the folder and the two in it.
    let last = calls.iter().rposition(|call| matches!(*call, "linkat(" | "renameat(")).unwrap();
    let synced = calls[last + 1..].iter().filter(|call| **call == "fsync(").count();
    assert_eq!((synced, calls[last + 1..].len()), (3, 3), "{trace}");
}

/// Whatever the umask, files are created with mode 0600 at most and end with the mode they are
/// meant to have.
#[test]
fn no_umask_opens_a_file_to_others() {
    if !have(&["strace"]) {
        return;
    }
    for umask in ["000", "022", "077", "777"] {
        let home = home(Way::Some);
        let trace = home.path().join("trace");
        // Made here, so that the umask is not for it.
        File::create(&trace).unwrap();
        let script = format!(
            "umask {umask}; exec strace -f -qqq -e trace=openat,chmod,fchmod,fchmodat -o \"$0\" \"$@\""
        );
        let words = ["sh", "-c", &script, trace.to_str().unwrap()];
        assert!(succeeds(&mut child_command(&words, home.path(), Way::Some)), "umask {umask}");
        let mode =
            |at: &str| fs::metadata(home.path().join("out").join(at)).unwrap().mode() & 0o7777;
        for (at, _) in child_images(home.path(), 2, Way::Some) {
            assert_eq!(mode(at), 0o600, "umask {umask}: {at}");
        }
        assert_eq!((mode("SHA256SUMS"), mode("manifest.json")), (0o644, 0o644));
        let text = fs::read_to_string(&trace).unwrap();
        let made = text.lines().filter(|l| l.contains("O_CREAT") || l.contains("O_TMPFILE"));
        let modes: Vec<_> =
            made.map(|l| l.split(')').next().unwrap().rsplit(' ').next().unwrap()).collect();
        assert!(modes.len() >= 7 && modes.iter().all(|mode| *mode == "0600"), "{modes:?}");
        let opened = text.lines().filter(|l| l.contains("chmod(")).filter(|l| l.contains("0644"));
        assert_eq!(opened.count(), 2);
    }
}

/// Of many builds into one folder at once, some succeed, the others say why not; no file is torn.
#[test]
fn builds_into_one_folder_at_once_do_not_mix() {
    let home = home(Way::AtOnce);
    let child = |_| child_command(&["env"], home.path(), Way::AtOnce).spawn().unwrap();
    let children: Vec<_> = (0..8).map(child).collect();
    let mut won = 0;
    for child in children {
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || text.contains("Busy"), "{text}");
        won += u32::from(out.status.success());
    }
    assert!(won >= 1);
    assert!(check_home(home.path(), Way::AtOnce).is_empty());
    stdout("sha256sum", &["--check", "--strict", "SHA256SUMS"], &home.path().join("out")).unwrap();
}
