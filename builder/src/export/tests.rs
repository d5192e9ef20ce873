//! Splitting and joining, and what must be refused.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::folder::Folder;
use super::*;

/// A node's name, the bytes of its file, the starts and lengths of its own ranges.
type Made<'a> = (&'a str, &'a [u8], &'a [(u64, u64)]);

/// What is built.
fn built(at: &Path, nodes: &[Made<'_>]) {
    let mut list = serde_json::Map::new();
    for (name, bytes, own) in nodes {
        let path = format!("{name}.raw");
        fs::write(at.join(&path), bytes).unwrap();
        let file = json!({
            "path": path, "bytes": bytes.len(), "sha256": Digest::of(bytes).to_string(), "own": own,
        });
        list.insert((*name).to_owned(), json!({ "plan": {}, "files": [file] }));
    }
    let list = json!({ "version": 2, "nodes": list });
    fs::write(at.join("manifest.json"), list.to_string()).unwrap();
    fs::write(at.join("SHA256SUMS"), "sums\n").unwrap();
}

fn put<P: Place>(from: &Path, to: &P) -> Result<u64, ExportError> {
    put_by(from, to, CHUNK)
}

fn put_by<P: Place>(from: &Path, to: &P, chunk: u64) -> Result<u64, ExportError> {
    let list = List::read(from)?;
    let work = Export { chunk, ..Export::new(to, from) };
    for node in &list.nodes {
        work.node(node, &|_| Ok(()))?;
    }
    work.finish(Some(&list))?;
    Ok(work.sent())
}

fn fetched<P: Place>(from: &P, node: &str, room: &Path) -> Result<Vec<u8>, ExportError> {
    let (image, files) = take(from, node, room)?;
    let bytes = files[0].to_vec().unwrap();
    assert_eq!(image.files[0].digest, Digest::of(&bytes));
    Ok(bytes)
}

/// A place that is gone with the test.
#[derive(Default)]
struct Memory {
    blobs: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
    names: Mutex<BTreeMap<String, Descriptor>>,
}

impl Place for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, ExportError> {
        Ok(lock(&self.blobs).contains_key(&blob.digest))
    }

    fn put(&self, blob: &Descriptor, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        assert_eq!((Digest::of(bytes), bytes.len() as u64), (blob.digest, blob.len));
        assert!(lock(&self.blobs).insert(blob.digest, bytes.clone()).is_none(), "it was there");
        Ok(())
    }

    fn publish(&self, entry: &Entry, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        let artifact = Artifact::parse(bytes, "x").unwrap();
        let named = artifact.layers.iter().map(|layer| layer.descriptor.digest);
        assert!(named.chain([artifact.config.digest]).all(|d| lock(&self.blobs).contains_key(&d)));
        lock(&self.blobs).insert(entry.manifest.digest, bytes.clone());
        lock(&self.names).insert(entry.tag.clone(), entry.manifest.clone());
        Ok(())
    }

    fn finish(&self, _: &Lists) -> Result<(), ExportError> {
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Descriptor, ExportError> {
        Ok(lock(&self.names)[name].clone())
    }

    fn get(&self, wanted: &Descriptor) -> Result<Blob, ExportError> {
        Ok(Blob::from_bytes("blob", lock(&self.blobs)[&wanted.digest].clone()))
    }
}

/// The length of a chunk in most tests.
const SHORT: u64 = 4096;

/// Bytes with runs of zeros, of a chunk and more or less.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), prop_oneof![Just(SHORT), 1..5_000_u64, SHORT - 9..SHORT + 9]);
    prop::collection::vec((run, any::<bool>()), 0..9).prop_map(|runs| {
        let mut out = Vec::new();
        for ((byte, len), is_zero) in runs {
            let len = usize::try_from(len).unwrap();
            out.resize(out.len() + len, if is_zero { 0 } else { byte | 1 });
        }
        out
    })
}

/// Ranges in order and apart, of a file of so many bytes.
fn own_ranges(cuts: &[u64], len: u64) -> Vec<Range<u64>> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (len + 1)).collect();
    cuts.sort_unstable();
    let pairs = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]);
    pairs.filter(|range| range.start < range.end).collect()
}

proptest! {
    /// What is split and joined is what it was, wherever its own bytes are; and its base does not
    /// depend on them.
    #[test]
    fn a_file_is_what_it_was(bytes in bytes(), cuts in prop::collection::vec(any::<u64>(), 0..9)) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = own_ranges(&cuts, bytes.len() as u64);
        let mut other = bytes.clone();
        for range in &own {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            other[range].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        let own: Vec<_> = own.iter().map(|range| (range.start, range.end - range.start)).collect();
        built(from.path(), &[("a", &bytes, &own), ("b", &other, &own)]);
        let place = Memory::default();
        put_by(from.path(), &place, SHORT).unwrap();
        prop_assert_eq!(fetched(&place, "a", to.path()).unwrap(), bytes);
        prop_assert_eq!(fetched(&place, "b", to.path()).unwrap(), other);
        let chunks = |node: &str| {
            let (image, _) = take(&place, node, to.path()).unwrap();
            image.files[0].chunks.clone()
        };
        prop_assert_eq!(chunks("a"), chunks("b"));
        prop_assert_eq!(put_by(from.path(), &place, SHORT).unwrap(), 0, "all is there already");
    }

    /// No config of an image does any harm.
    #[test]
    fn any_config_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let image = Image {
            node: "a".into(),
            own: vec![Own { len: 4, layer: Digest::of(b"own") }],
            files: vec![Part {
                path: "a.raw".into(),
                len: 100,
                digest: Digest::of(b"file"),
                own: vec![7..9, 20..22],
                chunks: vec![Chunk { start: 0, len: 50, layer: Digest::of(b"chunk") }],
            }],
        };
        let mut text = image.to_json();
        prop_assert_eq!(Image::parse(&text).unwrap(), image);
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(image) = Image::parse(&text) {
            let folder = tempfile::tempdir().unwrap();
            let layer = |_| Ok(Blob::from_bytes("layer", compressed(&[1; 50]).unwrap()));
            let _ = join::join(&image, &layer, folder.path());
        }
    }
}

#[test]
fn ranges_that_are_not_in_their_file_are_refused() {
    let good = json!({"version": 1, "node": "a", "own": [{"bytes": 4, "layer": "L"}], "files": [{
        "path": "a", "bytes": 100, "sha256": "S", "own": [[10, 4]],
        "chunks": [{"start": 0, "bytes": 50, "layer": "L"}]}]});
    let digest = Digest::of(b"x").to_string();
    let read = |value: &Value| {
        let text = value.to_string().replace("\"L\"", &format!("\"sha256:{digest}\""));
        Image::parse(text.replace("\"S\"", &format!("\"{digest}\"")).as_bytes())
    };
    read(&good).unwrap();
    let changes = [
        ("/version", json!(2)),
        ("/own/0/bytes", json!(5)),
        ("/own/0/bytes", json!(u64::MAX)),
        ("/own/0/layer", json!("sha256:x")),
        ("/files/0/bytes", json!(49)),
        ("/files/0/bytes", json!(u64::MAX)),
        ("/files/0/sha256", json!("x")),
        ("/files/0/own", json!([[98, 4]])),
        ("/files/0/own", json!([[12, 2], [10, 2]])),
        ("/files/0/own", json!([[10, 3], [12, 1]])),
        ("/files/0/own", json!([[u64::MAX, 4]])),
        ("/files/0/chunks/0/start", json!(51)),
        ("/files/0/chunks/0/bytes", json!(0)),
        ("/files/0/chunks/0/bytes", json!(1u64 << 40)),
    ];
    for (pointer, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(read(&bad).is_err(), "{pointer}: {bad}");
    }
}

#[test]
fn a_folder_is_private_and_keeps_what_others_put_there() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = to.path().join("images");
    let place = Folder::at(root.clone());
    built(from.path(), &[("a", b"one own", &[(4, 3)])]);
    put(from.path(), &place).unwrap();
    built(from.path(), &[("b", b"one two", &[(4, 3)])]);
    let sent = put(from.path(), &Folder::at(root.clone())).unwrap();
    assert!(sent > 0);
    assert_eq!(fetched(&place, "a", to.path()).unwrap(), b"one own");
    assert_eq!(fetched(&place, "b", to.path()).unwrap(), b"one two");
    let error = fetched(&place, "c", to.path()).unwrap_err();
    assert!(matches!(error, ExportError::Absent { .. }), "{error}");
    // The lists, as an artifact and as files.
    let list = place.find(SITE).unwrap();
    let list = Artifact::parse(&place.get(&list).unwrap().to_vec().unwrap(), "x").unwrap();
    let titles: Vec<_> = list.layers.iter().map(|layer| layer.title.as_deref().unwrap()).collect();
    assert_eq!(titles, ["manifest.json", "SHA256SUMS"]);
    assert_eq!(fs::read(root.join("SHA256SUMS")).unwrap(), b"sums\n");
    for entry in
        fs::read_dir(root.join("blobs/sha256")).unwrap().chain(fs::read_dir(&root).unwrap())
    {
        let meta = entry.unwrap().metadata().unwrap();
        assert!(meta.is_dir() || meta.permissions().mode() & 0o077 == 0);
    }
}

#[test]
fn what_a_killed_export_left_is_swept_after_a_while() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = Folder::at(to.path().to_owned());
    built(from.path(), &[("a", b"one own", &[(4, 3)])]);
    put(from.path(), &place).unwrap();
    let (old, new) = (".talforge-old", ".talforge-new");
    let blobs = to.path().join("blobs/sha256");
    for name in [old, new] {
        fs::write(blobs.join(name), "half").unwrap();
    }
    let now = fs::metadata(blobs.join(new)).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(blobs.join(old)).unwrap();
    file.set_modified(now - std::time::Duration::from_secs(7200)).unwrap();
    put(from.path(), &place).unwrap();
    assert!(!blobs.join(old).exists() && blobs.join(new).exists());
    assert_eq!(fetched(&place, "a", to.path()).unwrap(), b"one own");
}

#[test]
fn shards_that_end_at_once_lose_no_node() {
    let to = tempfile::tempdir().unwrap();
    let root = to.path().join("images");
    let names: Vec<_> = (0..16).map(|number| format!("n-{number}")).collect();
    crate::parallel::in_order(8, &names, |name: &String| {
        let from = tempfile::tempdir().unwrap();
        built(from.path(), &[(name, name.as_bytes(), &[])]);
        put(from.path(), &Folder::at(root.clone())).unwrap();
    });
    let place = Folder::at(root);
    for name in &names {
        assert_eq!(fetched(&place, name, to.path()).unwrap(), name.as_bytes());
    }
}

#[test]
fn what_is_not_what_was_built_is_refused_and_shows_nowhere() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = Folder::at(to.path().join("images"));
    built(from.path(), &[("a", b"one own", &[(4, 3)])]);
    for bytes in [b"one oWn".as_slice(), b"one", b"one own and more"] {
        fs::write(from.path().join("a.raw"), bytes).unwrap();
        let error = put(from.path(), &place).unwrap_err();
        assert!(matches!(error, ExportError::Changed { .. }), "{error}");
        assert!(matches!(place.find("a"), Err(ExportError::Absent { .. })));
    }
    fs::remove_file(from.path().join("a.raw")).unwrap();
    assert!(matches!(put(from.path(), &place), Err(ExportError::Read { .. })));
    for (key, value) in [
        ("path", json!("../a.raw")),
        ("path", json!("/etc/passwd")),
        ("own", json!([[4, 4]])),
        ("own", json!(null)),
        ("sha256", json!("x")),
        ("bytes", json!(u64::MAX)),
    ] {
        built(from.path(), &[("a", b"one own", &[(4, 3)])]);
        let path = from.path().join("manifest.json");
        let mut list: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        list["nodes"]["a"]["files"][0][key] = value;
        fs::write(&path, list.to_string()).unwrap();
        assert!(matches!(put(from.path(), &place), Err(ExportError::List { .. })), "{key}");
    }
    for bad in ["", "{}", "[]", "{\"nodes\":{\"a\":{}}}"] {
        fs::write(from.path().join("manifest.json"), bad).unwrap();
        assert!(matches!(put(from.path(), &place), Err(ExportError::List { .. })), "{bad}");
    }
}

#[test]
fn layers_that_were_tampered_with_are_refused_and_sent_anew() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = to.path().join("images");
    let place = Folder::at(root.clone());
    built(from.path(), &[("a", &[7; 5000], &[(4, 3)])]);
    put(from.path(), &place).unwrap();
    let blobs: BTreeMap<_, _> = fs::read_dir(root.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let manifest = place.find("a").unwrap();
    let artifact = Artifact::parse(&place.get(&manifest).unwrap().to_vec().unwrap(), "x").unwrap();
    let layers = artifact.layers.iter().map(|layer| layer.descriptor.digest);
    for digest in layers.chain([manifest.digest, artifact.config.digest]) {
        let path = root.join(format!("blobs/sha256/{digest}"));
        let mut bytes = blobs[&path].clone();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = fetched(&place, "a", to.path()).unwrap_err();
        assert!(matches!(error, ExportError::Artifact { .. }), "{error}");
        bytes.pop();
        fs::write(&path, &bytes).unwrap();
        assert!(fetched(&place, "a", to.path()).is_err());
        put(from.path(), &place).unwrap();
        assert_eq!(fetched(&place, "a", to.path()).unwrap(), [7; 5000]);
    }
}

#[test]
fn layers_that_unpack_to_something_else_are_refused() {
    let image = |len: u64| Image {
        node: "a".into(),
        own: vec![Own { len: 0, layer: Digest::of(b"none") }],
        files: vec![Part {
            path: "a".into(),
            len: 100,
            digest: Digest::of(b"a"),
            own: vec![],
            chunks: vec![Chunk { start: 0, len, layer: Digest::of(b"chunk") }],
        }],
    };
    let folder = tempfile::tempdir().unwrap();
    let join = |len: u64, chunk: &[u8]| {
        let layer = |digest: Digest| match digest == Digest::of(b"none") {
            true => Ok(Blob::from_bytes("layer", compressed(b"").unwrap())),
            false => Ok(Blob::from_bytes("layer", chunk)),
        };
        join::join(&image(len), &layer, folder.path())
    };
    // A thousand to one.
    let bomb = compressed(&vec![0; 64 << 20]).unwrap();
    assert!(join(50, &compressed(&[1; 50]).unwrap()).is_ok());
    for bad in
        [compressed(&[1; 49]).unwrap(), compressed(&[1; 51]).unwrap(), bomb, vec![], vec![1; 9]]
    {
        assert!(matches!(join(50, &bad), Err(ExportError::Artifact { .. })));
    }
}

#[test]
fn chunks_are_shared_and_holes_are_not_read() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.raw");
    let file = fs::File::create(&path).unwrap();
    let len = 40 * CHUNK + 5;
    file.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 20 * CHUNK - 2).unwrap();
    let blob = sparse("a", fs::File::open(&path).unwrap()).unwrap();
    let data =
        blob.extents().iter().filter(|extent| !matches!(extent.source, crate::blob::Source::Zeros));
    assert_eq!((blob.len(), data.map(|extent| extent.len).sum::<u64>()), (len, 2 * CHUNK));
    let digest = Digest::of_blob(&blob).unwrap();
    let file = json!({"path": "a.raw", "bytes": len, "sha256": digest.to_string(), "own": []});
    let list = json!({"nodes": {"a": {"files": [file]}}});
    fs::write(from.path().join("manifest.json"), list.to_string()).unwrap();
    let place = Memory::default();
    put(from.path(), &place).unwrap();
    let (image, files) = take(&place, "a", to.path()).unwrap();
    assert_eq!(image.files[0].chunks.len(), 2);
    assert_eq!(Digest::of_blob(&files[0]).unwrap(), digest);
    // The two chunks, no own bytes, config, manifest, lists.
    assert!(lock(&place.blobs).values().map(|bytes| bytes.len()).sum::<usize>() < 10_000);
}

#[test]
fn own_bytes_of_several_files_are_more_than_a_layer() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one: Vec<u8> = (0..=250).cycle().take(10_000).collect();
    let two: Vec<u8> = (0..=240).cycle().take(9_000).collect();
    let file = |name: &str, bytes: &[u8], own: [u64; 2]| {
        fs::write(from.path().join(name), bytes).unwrap();
        let sha256 = Digest::of(bytes).to_string();
        json!({"path": name, "bytes": bytes.len(), "sha256": sha256, "own": [own]})
    };
    let files = [file("one", &one, [0, 10_000]), file("two", &two, [100, 8_000])];
    let list = json!({"shard": {"index": 2, "count": 3}, "nodes": {"a": {"files": files}}});
    fs::write(from.path().join("manifest.json"), list.to_string()).unwrap();
    let place = Memory::default();
    put_by(from.path(), &place, SHORT).unwrap();
    let (image, files) = take(&place, "a", to.path()).unwrap();
    assert_eq!(
        image.own.iter().map(|own| own.len).collect::<Vec<_>>(),
        [4096, 4096, 4096, 4096, 1616]
    );
    assert_eq!(files[0].to_vec().unwrap(), one);
    assert_eq!(files[1].to_vec().unwrap(), two);
    let own = files[1].own();
    assert_eq!((own.len(), own[0].clone()), (1, 100..8100));
    assert!(lock(&place.names).contains_key("_site-shard-2-of-3"));
}
