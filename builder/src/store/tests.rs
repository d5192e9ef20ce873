//! What a store promises, on a real file system.
//!
//! In: stores in new folders. Out: verdicts.
//!
//! Source: the head of `store`.
//!
//! Not here: whole programs that share a store (`tests/registry.rs`).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use super::keep::Unused;
use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("store"));
    (folder, store)
}

fn keep(store: &Store, bytes: &[u8]) -> Digest {
    let mut incoming = store.incoming().unwrap();
    incoming.append(bytes).unwrap();
    incoming.finish(None).unwrap().0
}

fn partial(store: &Store, digest: Digest, len: Option<u64>) -> Incoming {
    match store.download(digest, len, &|| panic!("nobody has it")).unwrap() {
        Download::Partial(incoming) => incoming,
        Download::Found(blob) => panic!("{blob:?}"),
    }
}

fn count(store: &Store, folder: &str) -> usize {
    std::fs::read_dir(store.root().join(folder)).map_or(0, Iterator::count)
}

#[test]
fn what_is_kept_is_found_by_any_run_and_only_its_owner_can_read_it() {
    let (_folder, store) = store();
    assert!(store.get(Digest::of(b"x")).unwrap().is_none());
    assert!(!store.root().exists(), "nothing is made before something is kept");
    let mut bytes = vec![7; 5000];
    bytes.extend([0; 20_000]);
    bytes.extend([8; 3]);
    let digest = keep(&store, &bytes);
    for store in [store.clone(), Store::at(store.root())] {
        assert_eq!(store.get(digest).unwrap().unwrap().to_vec().unwrap(), bytes);
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.root()), 0o700);
    assert_eq!(mode(&store.path(WHOLE, digest)), 0o600);
    assert_eq!(mode(&store.root().join("CACHEDIR.TAG")), 0o600);
    assert_eq!(count(&store, INCOMING), 0);
}

#[test]
fn bytes_with_another_digest_are_never_kept() {
    let (_folder, store) = store();
    let wanted = Digest::of(b"right");
    let mut incoming = store.incoming().unwrap();
    incoming.append(b"wrong").unwrap();
    let error = incoming.finish(Some(wanted)).unwrap_err();
    assert!(matches!(error, StoreError::Digest { found, .. } if found == Digest::of(b"wrong")));
    let mut incoming = partial(&store, wanted, Some(5));
    incoming.append(b"wrong").unwrap();
    incoming.finish(None).unwrap_err();
    assert_eq!((count(&store, INCOMING), count(&store, PARTIAL), count(&store, WHOLE)), (0, 0, 0));
    assert!(partial(&store, wanted, Some(5)).is_empty());
}

#[test]
fn a_download_goes_on_where_the_last_one_stopped() {
    let (_folder, store) = store();
    let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&bytes);
    let (first, second) = bytes.split_at(150_001);
    let mut incoming = partial(&store, digest, Some(400_000));
    incoming.append(first).unwrap();
    drop(incoming);
    let mut incoming = partial(&store, digest, Some(400_000));
    assert_eq!(incoming.len(), 150_001);
    incoming.append(second).unwrap();
    let (found, blob) = incoming.finish(None).unwrap();
    assert_eq!((found, blob.to_vec().unwrap()), (digest, bytes));
    assert_eq!(count(&store, PARTIAL), 0);
    let again = store.download(digest, None, &|| ()).unwrap();
    assert!(matches!(again, Download::Found(_)));
    assert_eq!(count(&store, PARTIAL), 0);
}

#[test]
fn more_bytes_than_there_should_be_are_dropped() {
    let (_folder, store) = store();
    let digest = Digest::of(b"abc");
    partial(&store, digest, None).append(b"abcdef").unwrap();
    assert_eq!(partial(&store, digest, Some(3)).len(), 0);
}

#[test]
fn of_many_that_want_a_blob_one_fetches_it() {
    let (_folder, store) = store();
    let bytes = vec![3; 1 << 20];
    let digest = Digest::of(&bytes);
    let fetched = Mutex::new(0);
    let begin = std::sync::Barrier::new(50);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                // Each as a process of its own would.
                let store = Store::at(store.root());
                begin.wait();
                if let Download::Partial(mut incoming) =
                    store.download(digest, Some(1 << 20), &|| ()).unwrap()
                {
                    *fetched.lock().unwrap() += 1;
                    incoming.append(&bytes).unwrap();
                    incoming.finish(None).unwrap();
                }
                assert!(store.get(digest).unwrap().is_some());
            });
        }
    });
    assert_eq!(*fetched.lock().unwrap(), 1);
}

#[test]
fn a_broken_file_is_dropped_as_if_it_had_never_been() {
    let (_folder, store) = store();
    let digest = keep(&store, b"whole");
    std::fs::write(store.path(WHOLE, digest), b"broke").unwrap();
    assert!(store.get(digest).unwrap().is_none());
    assert_eq!(count(&store, WHOLE), 0);
    keep(&store, b"whole");
    assert!(store.get(digest).unwrap().is_some());
}

#[test]
fn links_and_folders_are_no_blobs() {
    let (folder, store) = store();
    let digest = keep(&store, b"whole");
    let path = store.path(WHOLE, digest);
    let aside = folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    store.get(digest).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    store.get(digest).unwrap_err();
}

#[test]
fn what_ended_before_its_time_is_swept_but_not_what_is_at_work() {
    let (_folder, store) = store();
    let old = SystemTime::UNIX_EPOCH;
    let incoming = store.incoming().unwrap();
    incoming.file.set_modified(old).unwrap();
    let left = store.root().join(INCOMING).join("left");
    std::fs::File::create(&left).unwrap().set_modified(old).unwrap();
    std::fs::write(store.root().join(INCOMING).join("new"), b"").unwrap();
    drop(store.incoming().unwrap());
    assert!(!left.exists());
    assert_eq!(count(&store, INCOMING), 2);
}

#[test]
fn a_full_disk_is_told_as_such() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let error = StoreError::io(Path::new("/s/partial/x"), kind.into());
        assert!(matches!(error, StoreError::Full(_)), "{error}");
        assert!(error.help().contains("store prune"));
    }
}

#[test]
fn what_waits_for_a_download_goes_on_with_it_where_it_fails() {
    let (_folder, store) = store();
    let digest = Digest::of(b"abc");
    let mut first = partial(&store, digest, Some(3));
    first.append(b"ab").unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| store.download(digest, Some(3), &|| waits.send(()).unwrap()));
        waiting.recv().unwrap();
        drop(first);
        let Download::Partial(mut second) = second.join().unwrap().unwrap() else {
            panic!("nobody has it")
        };
        assert_eq!(second.len(), 2);
        second.append(b"c").unwrap();
        assert_eq!(second.finish(None).unwrap().0, digest);
    });
}

#[test]
fn records_that_were_touched_are_none() {
    let (_folder, store) = store();
    let key = Digest::of(b"key");
    assert_eq!(store.record("tree", key).unwrap(), None);
    store.keep_record("tree", key, b"text").unwrap();
    assert_eq!(store.record("tree", key).unwrap().as_deref(), Some(&b"text"[..]));
    for text in [&b""[..], b"short", &[b'0'; 64], &[b'0'; 70]] {
        std::fs::write(store.path("tree", key), text).unwrap();
        assert_eq!(store.record("tree", key).unwrap(), None);
    }
}

#[test]
fn pruning_keeps_what_is_named_and_what_that_names() {
    let (_folder, store) = store();
    let layer = keep(&store, b"layer");
    let made = keep(&store, b"made of a layer");
    let text = format!("{{\"layers\":[{{\"digest\":\"sha256:{layer}\"}}]}}");
    let manifest = keep(&store, text.as_bytes());
    let other = keep(&store, b"other");
    store.keep_record("made", layer, made.to_string().as_bytes()).unwrap();
    store.keep_record("made", other, b"-").unwrap();
    drop(partial(&store, Digest::of(b"begun"), None));
    let listed: BTreeSet<_> = store.list().unwrap().iter().map(|entry| entry.digest).collect();
    assert_eq!(listed, [layer, made, manifest, other].into());

    let named: BTreeSet<_> = keep::named(format!("a@sha256:{manifest}\n").as_bytes()).collect();
    let all = store.closure(&named).unwrap();
    assert_eq!(all, [layer, made, manifest].into());
    let since = Unused::Since(SystemTime::UNIX_EPOCH);
    assert_eq!(store.prune(&all, since).unwrap().files, 0, "all was used since 1970");
    let pruned = store.prune(&all, Unused::Ever).unwrap();
    assert_eq!((pruned.files, pruned.bytes), (2, 5));
    assert_eq!(store.record_kinds(other).unwrap(), Vec::<String>::new());
    assert_eq!(store.record_kinds(layer).unwrap(), ["made"]);
    assert_eq!(store.list().unwrap().len(), 3);
    assert_eq!(store.prune(&BTreeSet::new(), Unused::Ever).unwrap().files, 3);
}

#[test]
fn pruning_goes_by_the_last_use_and_verifying_is_none() {
    let (_folder, store) = store();
    let (old, new) = (keep(&store, b"old"), keep(&store, b"new"));
    let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    for digest in [old, new] {
        let file = OpenOptions::new().write(true).open(store.path(WHOLE, digest)).unwrap();
        file.set_times(std::fs::FileTimes::new().set_accessed(day(1))).unwrap();
    }
    store.get(new).unwrap().unwrap();
    store.verify(&|_| ()).unwrap();
    store.closure(&[old].into()).unwrap();
    assert_eq!(store.prune(&BTreeSet::new(), Unused::Since(day(2))).unwrap().files, 1);
    assert!(store.get(old).unwrap().is_none());
    assert!(store.get(new).unwrap().is_some());
}

#[test]
fn verifying_tells_and_removes_what_is_broken() {
    let (_folder, store) = store();
    let (good, bad) = (keep(&store, b"good"), keep(&store, b"bad"));
    std::fs::write(store.path(WHOLE, bad), b"worse").unwrap();
    store.keep_record("made", good, b"fine").unwrap();
    store.keep_record("made", bad, b"fine").unwrap();
    std::fs::write(store.path("made", bad), b"worse").unwrap();
    let read = Cell::new(0);
    let verified = store.verify(&|len| read.set(read.get() + len)).unwrap();
    assert_eq!((verified.good, verified.bytes, read.get()), (1, 4, 9));
    let name = bad.to_string();
    assert_eq!(verified.broken, [Path::new(WHOLE).join(&name), Path::new("made").join(&name)]);
    assert_eq!(store.verify(&|_| ()).unwrap().broken, Vec::<PathBuf>::new());
    assert_eq!(store.record("made", good).unwrap().as_deref(), Some(&b"fine"[..]));
}

#[test]
fn the_place_of_the_store_is_that_of_the_xdg_specification() {
    let root = |cache: Option<&str>, home: Option<&str>| {
        let (cache, home) = (cache.map(Into::into), home.map(Into::into));
        default_root(&|name| match name {
            "XDG_CACHE_HOME" => cache.clone(),
            "HOME" => home.clone(),
            _ => None,
        })
    };
    assert_eq!(root(Some("/c"), Some("/h")), Some("/c/talforge".into()));
    assert_eq!(root(Some("relative"), Some("/h")), Some("/h/.cache/talforge".into()));
    assert_eq!(root(None, None), None);
}
