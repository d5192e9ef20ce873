//! A change of a file where it lies, and a copy of it: killed at every call, under errors of every
//! call, on a full disk. This program runs itself, with one test that makes the change.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lab::noise::noise;
use lab::tools::{have, run, stdout};
use talforge::blob::Blob;
use talforge::edit::{Edit, Write};
use talforge::report::progress::{Mode, Progress};
use talforge::sink::SinkError;
use talforge::sink::duplicate::Duplicate;
use talforge::sink::patch::{self, Leftover, Medium, PatchError};

/// The folder in which the child works. Without it that test does nothing.
const CHILD: &str = "TALFORGE_PATCH_CHILD";
/// What the child does there: `change` or `copy`.
const DEED: &str = "TALFORGE_PATCH_DEED";

/// The medium's length: beyond the first half it is a hole.
const LEN: usize = 256 << 10;

/// The medium as it was.
fn old() -> Vec<u8> {
    let mut bytes = noise(1, LEN / 2);
    bytes.resize(LEN, 0);
    bytes
}

/// A change as `custom` makes them: data into free room, then what leads there, then what was there
/// before. It writes to one place twice.
fn edit() -> Edit {
    let write = |at, bytes: Vec<u8>| Write { at, bytes: bytes.into() };
    let mut edit = Edit::default();
    edit.push(vec![write(150_000, noise(2, 70_000)), write(100_001, noise(3, 5000))]);
    edit.push(vec![write(512, noise(4, 512)), write(1024, noise(5, 512))]);
    edit.push(vec![write(4096, noise(6, 512))]);
    edit.push(vec![write(100_001, vec![0; 3000]), write(60_000, vec![0; 9000])]);
    edit
}

/// The medium after so many steps.
fn after(steps: usize) -> Vec<u8> {
    let mut bytes = old();
    for write in edit().steps()[..steps].iter().flatten() {
        let at = usize::try_from(write.at).unwrap();
        bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    bytes
}

fn new() -> Vec<u8> {
    after(edit().steps().len())
}

/// Whether a step reached the bytes in part, and all steps before it wholly.
fn is_on_the_way(bytes: &[u8]) -> bool {
    (0..edit().steps().len()).any(|n| {
        let (one, other) = (after(n), after(n + 1));
        bytes.iter().zip(one.iter().zip(&other)).all(|(now, (a, b))| now == a || now == b)
    })
}

/// A folder with the medium.
fn home_in(folder: &Path) -> tempfile::TempDir {
    let home = tempfile::tempdir_in(folder).unwrap();
    let file = File::create(home.path().join("a.iso")).unwrap();
    file.set_len(LEN as u64).unwrap();
    file.write_all_at(&old()[..LEN / 2], 0).unwrap();
    file.sync_all().unwrap();
    home
}

fn home() -> tempfile::TempDir {
    home_in(&std::env::temp_dir())
}

fn listing(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name != "trace").collect()
}

fn change(home: &Path) -> Result<(), PatchError> {
    let mut medium = Medium::open(&home.join("a.iso"))?;
    let changed = medium.change(&edit())?;
    assert_eq!(Blob::to_vec(&changed.blob().unwrap()).unwrap(), new());
    changed.keep()
}

fn copy(home: &Path) -> Result<(), PatchError> {
    let medium = patch::read(&home.join("a.iso"))?;
    let task = Progress::new(Mode::Quiet).task("b.iso", medium.len());
    let copy = Duplicate::write(&medium, &edit(), &home.join("b.iso"), &task)?;
    assert_eq!(copy.blob().unwrap().to_vec().unwrap(), new());
    Ok(copy.keep()?)
}

/// Not a test of its own: the process that the tests below look at.
#[test]
fn child() {
    let Some(home) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    match std::env::var(DEED).unwrap().as_str() {
        "change" => change(&home).unwrap(),
        _ => copy(&home).unwrap(),
    }
}

fn child_command(before: &[String], deed: &str, home: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let words = before.iter().map(PathBuf::from).chain([this]).collect::<Vec<_>>();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", "crash::child"]).env(CHILD, home).env(DEED, deed);
    // What the runner itself calls is counted, too: it is the same however this runner was started.
    command.env_remove("RUST_TEST_THREADS").env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the child with something done to its calls by strace, whose trace is left in the home.
fn inject(deed: &str, home: &Path, calls: &str, what: &str) -> Output {
    let trace = home.join("trace").display().to_string();
    let (inject, traced) = (format!("inject={calls}:{what}"), format!("trace={calls}"));
    let words = ["strace", "-f", "-qqq", "-o", &trace, "-e", &inject, "-e", &traced];
    child_command(&words.map(str::to_owned), deed, home).output().unwrap()
}

/// The calls that a change and a copy are made of.
const CALLS: [&str; 13] = [
    "flock",
    "fchmod",
    "ftruncate",
    "copy_file_range",
    "ioctl",
    "lseek",
    "pread64",
    "pwrite64",
    "fsync",
    "fdatasync",
    "linkat",
    "unlinkat",
    "statx",
];

/// After a kill the medium is on the way; the next command makes it what it was, or it is what it
/// was to become; and nothing is left beside it.
fn check_change(home: &Path, what: &str) -> bool {
    let path = home.join("a.iso");
    let inode = fs::metadata(&path).unwrap().ino();
    let bytes = fs::read(&path).unwrap();
    assert!(is_on_the_way(&bytes), "{what}: no step led there");
    let is_unfinished = listing(home).contains(".a.iso.talforge-undo");
    let leftover = patch::leftover(&path).unwrap();
    assert_eq!(leftover == Leftover::CutShort, is_unfinished, "{what}");
    if is_unfinished {
        let mode = home.join(".a.iso.talforge-undo").metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{what}");
    } else {
        assert!(bytes == old() || bytes == new(), "{what}: nothing takes it back");
    }
    let medium = Medium::open(&path).unwrap();
    assert_eq!(medium.was_cut_short(), is_unfinished, "{what}");
    drop(medium);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes == old() || (!is_unfinished && bytes == new()), "{what}");
    assert_eq!(listing(home), BTreeSet::from(["a.iso".to_owned()]), "{what}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "{what}");
    is_unfinished
}

#[test]
fn killed_at_any_call_a_medium_is_taken_back_or_changed() {
    if !have(&["strace"]) {
        return;
    }
    let (mut kills, mut unfinished) = (0, 0);
    for call in CALLS {
        for when in 1.. {
            let home = home();
            let out = inject("change", home.path(), call, &format!("signal=KILL:when={when}"));
            unfinished += u32::from(check_change(home.path(), &format!("{call} {when}")));
            if out.status.success() {
                assert!(fs::read(home.path().join("a.iso")).unwrap() == new());
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 40 && unfinished >= 12, "{kills} kills, {unfinished} on the way");
}

/// Killed while it takes back, too, it is taken back in the end.
#[test]
fn killed_while_it_is_taken_back_a_medium_is_taken_back() {
    if !have(&["strace"]) {
        return;
    }
    let mut kills = 0;
    for first in [3, 5, 7] {
        for call in ["pwrite64", "fdatasync", "unlinkat", "fsync"] {
            for when in 1.. {
                let home = home();
                let kill = format!("signal=KILL:when={first}");
                assert!(!inject("change", home.path(), "pwrite64", &kill).status.success());
                let kill = format!("signal=KILL:when={when}");
                let out = inject("change", home.path(), call, &kill);
                check_change(home.path(), &format!("{first}: {call} {when}"));
                if out.status.success() {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills >= 50, "{kills} kills");
}

#[test]
fn killed_at_any_call_no_name_leads_to_half_a_copy() {
    if !have(&["strace"]) {
        return;
    }
    let mut kills = 0;
    for call in CALLS {
        for when in 1.. {
            let home = home();
            let out = inject("copy", home.path(), call, &format!("signal=KILL:when={when}"));
            assert!(fs::read(home.path().join("a.iso")).unwrap() == old());
            let mut names = listing(home.path());
            names.remove("a.iso");
            if names.remove("b.iso") {
                assert!(fs::read(home.path().join("b.iso")).unwrap() == new(), "{call} {when}");
            }
            assert!(names.is_empty(), "{call} {when}: {names:?}");
            if out.status.success() {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 25, "{kills} kills");
}

/// An error of any call, once or from then on, is told and leaves the medium as it was: at once, or,
/// where the disk does not let it be taken back, with the next command.
#[test]
fn an_error_of_any_call_is_told_and_the_medium_is_as_before() {
    if !have(&["strace"]) {
        return;
    }
    let mut errors = 0;
    for (call, error) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("linkat", "ENOSPC"),
        ("unlinkat", "EIO"),
        ("pread64", "EIO"),
    ] {
        for (rest, is_lasting) in [("", false), ("+", true)] {
            for when in 1..20 {
                let home = home();
                let what = format!("error={error}:when={when}{rest}");
                let out = inject("change", home.path(), call, &what);
                let text = String::from_utf8_lossy(&out.stdout).into_owned()
                    + &String::from_utf8_lossy(&out.stderr);
                if out.status.success() {
                    assert!(fs::read(home.path().join("a.iso")).unwrap() == new());
                    break;
                }
                // The program was not even loaded.
                if text.contains("shared libraries") {
                    continue;
                }
                errors += 1;
                assert!(text.contains("called `Result::unwrap()`"), "{call} {what}: {text}");
                if !is_lasting {
                    let bytes = fs::read(home.path().join("a.iso")).unwrap();
                    assert!(bytes == old(), "{call} {what}: {text}");
                }
                check_change(home.path(), &format!("{call} {what}"));
                assert!(fs::read(home.path().join("a.iso")).unwrap() == old(), "{call} {what}");
            }
        }
    }
    assert!(errors >= 45, "{errors} errors");
}

#[test]
fn an_error_of_any_call_leaves_no_copy() {
    if !have(&["strace"]) {
        return;
    }
    for (call, error, said) in [
        ("pwrite64", "ENOSPC", "NoSpace"),
        ("pwrite64", "EIO", "Write"),
        ("copy_file_range", "ENOSPC", "NoSpace"),
        ("ftruncate", "EFBIG", "Write"),
        ("fsync", "EIO", "Sync"),
        ("linkat", "ENOSPC", "Place"),
        ("linkat", "EEXIST", "Exists"),
    ] {
        let home = home();
        let out = inject("copy", home.path(), call, &format!("error={error}:when=1+"));
        let text = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        // Where blocks are shared nothing is copied.
        if out.status.success() && ["copy_file_range", "ftruncate"].contains(&call) {
            continue;
        }
        assert!(!out.status.success() && text.contains(said), "{call} {error}: {text}");
        assert_eq!(listing(home.path()), BTreeSet::from(["a.iso".to_owned()]), "{call} {error}");
    }
}

/// Where the kernel neither shares nor copies, reading and writing do; holes stay.
#[test]
fn what_the_kernel_refuses_is_copied_by_hand() {
    if !have(&["strace"]) {
        return;
    }
    for (calls, what) in [
        ("ioctl", "error=EOPNOTSUPP"),
        ("ioctl,copy_file_range", "error=EXDEV"),
        ("ioctl,copy_file_range", "error=EINVAL"),
        ("ioctl,lseek", "error=EINVAL"),
        ("copy_file_range,pwrite64,fsync,ftruncate,flock", "error=EINTR:when=1+2"),
    ] {
        let home = home();
        let out = inject("copy", home.path(), calls, what);
        assert!(out.status.success(), "{what}: {}", String::from_utf8_lossy(&out.stdout));
        let path = home.path().join("b.iso");
        assert!(fs::read(&path).unwrap() == new(), "{calls} {what}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
}

#[test]
fn two_do_not_change_one_medium() {
    let home = home();
    let path = home.path().join("a.iso");
    let first = Medium::open(&path).unwrap();
    assert!(matches!(Medium::open(&path), Err(PatchError::Busy { .. })));
    assert!(matches!(patch::read(&path), Err(PatchError::Busy { .. })));
    drop(first);
    let (one, other) = (patch::read(&path).unwrap(), patch::read(&path).unwrap());
    assert!(matches!(Medium::open(&path), Err(PatchError::Busy { .. })));
    drop((one, other));
    let mut medium = Medium::open(&path).unwrap();
    let changed = medium.change(&edit()).unwrap();
    assert_eq!(patch::leftover(&path).unwrap(), Leftover::Busy);
    changed.keep().unwrap();
    assert_eq!(patch::leftover(&path).unwrap(), Leftover::None);
}

/// A change that is not kept is none.
#[test]
fn a_change_that_is_dropped_is_taken_back() {
    let home = home();
    let path = home.path().join("a.iso");
    let mut medium = Medium::open(&path).unwrap();
    drop(medium.change(&edit()).unwrap());
    assert!(fs::read(&path).unwrap() == old());
    medium.change(&edit()).unwrap().take_back().unwrap();
    assert!(fs::read(&path).unwrap() == old());
    assert_eq!(listing(home.path()), BTreeSet::from(["a.iso".to_owned()]));
    medium.change(&edit()).unwrap().keep().unwrap();
    assert!(fs::read(&path).unwrap() == new());
    let mut long = Edit::default();
    long.push(vec![Write { at: LEN as u64 - 1, bytes: [1, 2].into() }]);
    assert!(matches!(medium.change(&long), Err(PatchError::Short { .. })));
    assert_eq!(fs::metadata(&path).unwrap().len(), LEN as u64);
}

/// Leaves a medium on its way, with the journal beside it.
fn cut_short() -> Option<tempfile::TempDir> {
    let home = home();
    if !have(&["strace"]) {
        return None;
    }
    assert!(!inject("change", home.path(), "pwrite64", "signal=KILL:when=4").status.success());
    assert_eq!(patch::leftover(&home.path().join("a.iso")).unwrap(), Leftover::CutShort);
    Some(home)
}

/// Another file of the name, a longer one, one that somebody wrote to: nothing of the old medium is
/// put on any of them.
#[test]
fn a_journal_of_another_medium_is_not_applied() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path.with_extension("new"), bytes).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
        |path| File::options().write(true).open(path).unwrap().set_len(LEN as u64 + 1).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap(),
        |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&noise(9, 512), 512).unwrap();
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let Some(home) = cut_short() else { return };
        let path = home.path().join("a.iso");
        change(&path);
        let before = fs::read(&path).unwrap();
        let error = Medium::open(&path).unwrap_err();
        assert!(matches!(error, PatchError::Foreign { .. }), "{n}: {error:?}");
        assert!(fs::read(&path).unwrap() == before, "{n}");
        fs::remove_file(home.path().join(".a.iso.talforge-undo")).unwrap();
        Medium::open(&path).unwrap();
    }
}

#[test]
fn a_journal_that_is_damaged_or_open_to_others_is_not_applied() {
    type Change = fn(&Path);
    let changes: [Change; 5] = [
        |journal| {
            File::options().write(true).open(journal).unwrap().write_all_at(b"x", 99).unwrap()
        },
        |journal| File::options().write(true).open(journal).unwrap().set_len(200).unwrap(),
        |journal| File::options().write(true).open(journal).unwrap().set_len(1 << 40).unwrap(),
        |journal| fs::set_permissions(journal, fs::Permissions::from_mode(0o666)).unwrap(),
        |journal| {
            fs::remove_file(journal).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", journal).unwrap();
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let Some(home) = cut_short() else { return };
        let path = home.path().join("a.iso");
        change(&home.path().join(".a.iso.talforge-undo"));
        let before = fs::read(&path).unwrap();
        let error = Medium::open(&path).unwrap_err();
        assert!(matches!(error, PatchError::Untrusted { .. }), "{n}: {error:?}");
        assert!(fs::read(&path).unwrap() == before, "{n}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let home = home();
    let fifo = home.path().join("fifo");
    stdout("mkfifo", &["fifo"], home.path()).unwrap();
    for path in [home.path(), Path::new("/dev/null"), &fifo] {
        assert!(matches!(Medium::open(path), Err(PatchError::NotAFile { .. })), "{path:?}");
        assert!(matches!(patch::read(path), Err(PatchError::NotAFile { .. })), "{path:?}");
    }
    let missing = home.path().join("missing.iso");
    assert!(matches!(Medium::open(&missing), Err(PatchError::Missing { .. })));
    assert!(matches!(patch::read(&missing), Err(PatchError::Missing { .. })));
}

/// A link leads to the medium, which has its journal beside itself.
#[test]
fn a_link_leads_to_the_medium() {
    let Some(home) = cut_short() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.iso");
    std::os::unix::fs::symlink(home.path().join("a.iso"), &link).unwrap();
    assert_eq!(patch::leftover(&link).unwrap(), Leftover::CutShort);
    assert!(Medium::open(&link).unwrap().was_cut_short());
    assert!(fs::read(home.path().join("a.iso")).unwrap() == old());
}

#[test]
fn a_copy_takes_nobodys_place() {
    let home = home();
    let medium = patch::read(&home.path().join("a.iso")).unwrap();
    let task = || Progress::new(Mode::Quiet).task("copy", medium.len());
    std::os::unix::fs::symlink("nowhere", home.path().join("link")).unwrap();
    for name in ["a.iso", "link"] {
        let error = Duplicate::write(&medium, &edit(), &home.path().join(name), &task());
        assert!(matches!(error, Err(SinkError::Exists { .. })), "{name}: {error:?}");
    }
    let error = Duplicate::write(&medium, &edit(), home.path(), &task());
    assert!(matches!(error, Err(SinkError::Exists { .. } | SinkError::IsAFolder { .. })));
    let late = Duplicate::write(&medium, &edit(), &home.path().join("b.iso"), &task()).unwrap();
    fs::write(home.path().join("b.iso"), "precious").unwrap();
    assert!(matches!(late.keep(), Err(SinkError::Exists { .. })));
    assert_eq!(fs::read(home.path().join("b.iso")).unwrap(), b"precious");
}

/// A file system in a file, mounted.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(kind: &str, size: &str) -> Option<Self> {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mkfs = format!("mkfs.{kind}");
        if !is_root || !have(&["mount", "umount", &mkfs]) {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("at")).unwrap();
        stdout("truncate", &["-s", size, "disk"], home.path()).unwrap();
        stdout(&mkfs, &["-q", "disk"], home.path()).unwrap();
        stdout("mount", &["-o", "loop", "disk", "at"], home.path()).unwrap();
        Some(Self(home))
    }

    fn at(&self) -> PathBuf {
        self.0.path().join("at")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &[self.at().to_str().unwrap()], Path::new("/"));
    }
}

/// A medium with holes on a disk that is full: the change is refused, nothing is left of it.
#[test]
fn on_a_full_disk_the_medium_is_as_before() {
    for (kind, size) in [("ext4", "16M"), ("xfs", "320M")] {
        let Some(disk) = Disk::new(kind, size) else { return };
        let home = home_in(&disk.at());
        let mut filler = File::create(disk.at().join("filler")).unwrap();
        for len in [1 << 20, 64 << 10, 4 << 10] {
            while std::io::Write::write_all(&mut filler, &vec![1; len]).is_ok() {}
        }
        filler.sync_all().unwrap();
        for room in (0_u64..).map(|n| n << 15) {
            let len = filler.metadata().unwrap().len();
            let step = if room == 0 { 0 } else { 32 << 10 };
            filler.set_len(len - step).unwrap();
            filler.sync_all().unwrap();
            match change(home.path()) {
                Ok(()) => break,
                Err(error) => {
                    let said = error.diagnostic().to_string();
                    let is_told = said.contains("bytes are free") || said.contains("No space");
                    assert!(is_told, "{kind} {room}: {error:?}");
                }
            }
            assert!(fs::read(home.path().join("a.iso")).unwrap() == old(), "{kind} {room}");
            assert_eq!(listing(home.path()), BTreeSet::from(["a.iso".to_owned()]), "{kind} {room}");
            assert!(room < 8 << 20, "{kind}: it never succeeds");
        }
        assert!(fs::read(home.path().join("a.iso")).unwrap() == new(), "{kind}");
    }
}

/// The copy shares what it did not change.
#[test]
fn a_copy_shares_blocks_and_keeps_holes() {
    for kind in ["xfs", "btrfs"] {
        let Some(disk) = Disk::new(kind, "400M") else { return };
        let path = disk.at().join("a.iso");
        fs::write(&path, noise(1, 100 << 20)).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        file.sync_all().unwrap();
        let used = || {
            stdout("sync", &["-f", "."], &disk.at()).unwrap();
            let text = stdout("stat", &["-f", "-c", "%b %f %S", "."], &disk.at()).unwrap();
            let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
            (numbers[0] - numbers[1]) * numbers[2]
        };
        let before = used();
        let medium = patch::read(&path).unwrap();
        let task = Progress::new(Mode::Quiet).task("b.iso", medium.len());
        let out = disk.at().join("b.iso");
        Duplicate::write(&medium, &edit(), &out, &task).unwrap().keep().unwrap();
        let taken = used() - before;
        assert!(taken < 2 << 20, "{kind}: {taken} bytes taken");
        let copy = Blob::from_file("b.iso", File::open(&out).unwrap()).unwrap();
        let want = edit().apply(&medium);
        let digest = |blob: &Blob| talforge::digest::Digest::of_blob(blob).unwrap();
        assert_eq!(digest(&copy), digest(&want), "{kind}");
    }
}
