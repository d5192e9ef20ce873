//! Images made by the crate `tar`, and what is no image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;
use tempfile::TempDir;

use super::archive::Archive;
use super::error::OciError;
use super::image::{self, Platform};
use super::layout::Layout;
use super::manifest::Manifest;
use super::unpack::{folder, tarball};
use super::{Content, Descriptor, Unavailable};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::store::Store;
use crate::talos::Arch;
use crate::tree::{Kind, Tree};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Content in memory, and how often it was asked for.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<Digest, Vec<u8>>,
    asked: AtomicUsize,
}

impl Content for Memory {
    fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let bytes = self.blobs.get(&wanted.digest).filter(|b| b.len() as u64 == wanted.len);
        let bytes = bytes.ok_or_else(|| Unavailable(format!("no {:?}", wanted.digest).into()))?;
        Ok(Blob::from_bytes("memory", bytes.as_slice()))
    }
}

impl Memory {
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let (digest, len) = (Digest::of(&bytes), bytes.len() as u64);
        self.blobs.insert(digest, bytes);
        Descriptor { media_type: media_type.to_owned(), digest, len }
    }

    fn json(&mut self, media_type: &str, value: serde_json::Value) -> Descriptor {
        self.add(media_type, value.to_string().into_bytes())
    }

    /// An image of layers that are archives.
    fn image(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Descriptor {
        let ids: Vec<_> = layers.iter().map(|tar| format!("{:?}", Digest::of(tar))).collect();
        let config = serde_json::json!({
            "os": "linux",
            "architecture": architecture,
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = self.json(CONFIG, config);
        let layers = layers.iter().enumerate();
        let layers: Vec<_> = layers.map(|(i, tar)| self.add(LAYER, packed(i, tar))).collect();
        self.json(MANIFEST, written(&config, &layers))
    }
}

fn descriptor(of: &Descriptor) -> serde_json::Value {
    let digest = format!("{:?}", of.digest);
    serde_json::json!({ "mediaType": of.media_type, "digest": digest, "size": of.len })
}

fn written(config: &Descriptor, layers: &[Descriptor]) -> serde_json::Value {
    let layers: Vec<_> = layers.iter().map(descriptor).collect();
    serde_json::json!({ "schemaVersion": 2, "config": descriptor(config), "layers": layers })
}

/// Not, by gzip, by zstd: in turns.
fn packed(turn: usize, tar: &[u8]) -> Vec<u8> {
    match turn % 3 {
        0 => tar.to_vec(),
        1 => gzip(tar),
        _ => zstd::encode_all(tar, 1).unwrap(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Made {
    Folder,
    File(Vec<u8>),
    Hard(String),
    Symlink(String),
}

fn header(kind: EntryType, mode: u32, len: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(len as u64);
    header
}

fn archive<'a>(members: impl IntoIterator<Item = (&'a str, u32, Made)>) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, mode, made) in members {
        match made {
            Made::Folder => {
                let mut header = header(EntryType::Directory, mode, 0);
                tar.append_data(&mut header, format!("{path}/"), &[][..]).unwrap();
            }
            Made::File(bytes) => {
                let mut header = header(EntryType::Regular, mode, bytes.len());
                tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
            }
            Made::Hard(target) => {
                let mut header = header(EntryType::Link, mode, 0);
                tar.append_link(&mut header, path, target).unwrap();
            }
            Made::Symlink(target) => {
                let mut header = header(EntryType::Symlink, mode, 0);
                tar.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn file(text: &str) -> Made {
    Made::File(text.as_bytes().to_vec())
}

fn layer(members: &[(&str, Made)]) -> Vec<u8> {
    archive(members.iter().map(|(path, made)| (*path, 0o644, made.clone())))
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("store"));
    (folder, store)
}

fn open(memory: &Memory, root: &Descriptor) -> Manifest {
    image::manifest(memory, root, Platform::Only(Arch::Amd64)).unwrap()
}

fn tree_of(layers: &[Vec<u8>], wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Tree, OciError> {
    let mut memory = Memory::default();
    let root = memory.image("amd64", layers);
    let (_folder, store) = store();
    image::tree(&memory, &open(&memory, &root), wanted, &store, &|_| {})
}

/// One line an entry, with a file's content.
fn listing(tree: &Tree) -> String {
    let line = |(path, entry): (&str, &crate::tree::Entry)| match &entry.kind {
        Kind::Folder => format!("{path}/"),
        Kind::File(blob, digest) => {
            let bytes = blob.to_vec().unwrap();
            assert_eq!(Digest::of(&bytes), *digest, "{path}");
            format!("{path}={}", String::from_utf8_lossy(&bytes))
        }
        Kind::Symlink(target) => format!("{path}->{target}"),
        Kind::Other(what) => format!("{path}: {what}"),
    };
    tree.iter().map(line).collect::<Vec<_>>().join(" ")
}

/// An error's text, digests left out.
fn said<T: std::fmt::Debug>(result: Result<T, OciError>) -> String {
    let mut error: &dyn std::error::Error = &result.unwrap_err();
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        // A source that is shown already adds nothing.
        if !text.ends_with(&source.to_string()) {
            text = format!("{text}: {source}");
        }
        error = source;
    }
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let mut short = String::new();
    while let Some(at) = text.find(is_hex) {
        let len = text[at..].find(|c| !is_hex(c)).unwrap_or(text.len() - at);
        let (before, run) = text.split_at(at);
        short.push_str(before);
        short.push_str(if len == 64 { "…" } else { &run[..len] });
        text = run[len..].to_owned();
    }
    short + &text
}

#[test]
fn whiteouts_hide_what_lower_layers_have_and_nothing_else() {
    let lower = layer(&[
        ("a/old", file("1")),
        ("a/sub/old", file("2")),
        ("b/x/y", file("3")),
        ("c", file("4")),
        ("d/e", file("5")),
    ]);
    let upper = layer(&[
        ("a/new", file("6")),
        ("a/.wh..wh..opq", file("")),
        ("a/sub/new", file("7")),
        (".wh.b", file("")),
        ("b/x/z", file("8")),
        ("c/in", file("9")),
        (".wh.c", file("")),
        ("d", file("10")),
        (".wh..wh.plnk", file("")),
        (".wh.none", file("")),
    ]);
    let tree = tree_of(&[lower.clone(), upper], &|_| true).unwrap();
    insta::assert_snapshot!(listing(&tree), @"a/ a/new=6 a/sub/ a/sub/new=7 b/ b/x/ b/x/z=8 c/ c/in=9 d=10");
    let all = layer(&[(".wh..wh..opq", file("")), ("e", file("1"))]);
    assert_eq!(listing(&tree_of(&[lower.clone(), all], &|_| true).unwrap()), "e=1");
    for bad in [".wh.", "a/.wh...", ".wh.."] {
        assert!(tree_of(&[lower.clone(), layer(&[(bad, file(""))])], &|_| true).is_err(), "{bad}");
    }
}

#[test]
fn a_wanted_hard_link_has_its_content_even_from_what_is_not_wanted() {
    let lower = layer(&[("lib/real", file("x")), ("lib/other", file("y"))]);
    let upper = layer(&[
        ("lib/near", file("z")),
        ("want/near", Made::Hard("lib/near".into())),
        ("want/far", Made::Hard("/lib/real".into())),
        ("want/twice", Made::Hard("want/far".into())),
    ]);
    let tree = tree_of(&[lower.clone(), upper], &|path| path.starts_with("want/")).unwrap();
    assert_eq!(listing(&tree), "lib/ want/ want/far=x want/near=z want/twice=x");
    for bad in ["none", "lib", "want/self"] {
        let upper = layer(&[("want/self", Made::Hard(bad.into()))]);
        assert!(tree_of(&[lower.clone(), upper], &|_| true).is_err(), "{bad}");
    }
}

#[test]
fn members_go_where_links_on_their_way_lead_and_never_out() {
    let lower = layer(&[
        ("usr/lib/a", file("1")),
        ("lib", Made::Symlink("usr/lib".into())),
        ("out", Made::Symlink("../../../etc".into())),
        ("loop", Made::Symlink("loop".into())),
        ("file", file("")),
    ]);
    let upper = layer(&[("lib/b", file("2")), ("out/passwd", file("3")), ("lib/.wh.a", file(""))]);
    let tree = tree_of(&[lower.clone(), upper], &|path| path != "file").unwrap();
    insta::assert_snapshot!(listing(&tree), @"etc/ etc/passwd=3 lib->usr/lib loop->loop out->../../../etc usr/ usr/lib/ usr/lib/b=2");
    for bad in ["loop/x", "file/x", "loop/.wh.x"] {
        assert!(tree_of(&[lower.clone(), layer(&[(bad, file(""))])], &|_| true).is_err(), "{bad}");
    }
}

#[test]
fn what_was_unpacked_before_is_not_fetched_again() {
    let mut memory = Memory::default();
    let one = layer(&[("a", file("1")), ("b", file("2"))]);
    let two = layer(&[("c", file(&"3".repeat(5000))), ("empty", file(""))]);
    let root = memory.image("amd64", &[one, two]);
    let manifest = open(&memory, &root);
    let (folder, store) = store();
    let heard = AtomicUsize::new(0);
    let watch = |len: u64| {
        heard.fetch_add(usize::try_from(len).unwrap(), Ordering::Relaxed);
    };
    let unpack = |wanted: &(dyn Fn(&str) -> bool + Sync)| {
        let before = memory.asked.load(Ordering::Relaxed);
        heard.store(0, Ordering::Relaxed);
        let tree = image::tree(&memory, &manifest, wanted, &store, &watch).unwrap();
        let whole: u64 = manifest.layers.iter().map(|layer| layer.descriptor.len).sum();
        assert_eq!(heard.load(Ordering::Relaxed) as u64, whole);
        (listing(&tree), memory.asked.load(Ordering::Relaxed) - before)
    };
    assert_eq!(unpack(&|path| path == "a"), ("a=1".into(), 2));
    assert_eq!(unpack(&|path| path == "a"), ("a=1".into(), 0));
    // Another use that wants more has that layer unpacked again, and both uses have theirs then.
    assert_eq!(unpack(&|path| path == "b"), ("b=2".into(), 1));
    assert_eq!(unpack(&|path| path == "a"), ("a=1".into(), 0));
    let all = unpack(&|_| true);
    assert_eq!((all.0.len(), all.1), ("a=1 b=2 c= empty=".len() + 5000, 1));
    assert_eq!(unpack(&|_| true), (all.0.clone(), 0));
    // A content that was damaged in the store is unpacked again.
    for blob in std::fs::read_dir(folder.path().join("store/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(unpack(&|_| true), (all.0, 2));
}

#[test]
fn the_image_for_the_machine_is_chosen() {
    let mut memory = Memory::default();
    let amd64 = memory.image("amd64", &[layer(&[("amd64", file(""))])]);
    let arm64 = memory.image("arm64", &[layer(&[("arm64", file(""))])]);
    let with = |of: &Descriptor, os: &str, architecture: &str| {
        let mut item = descriptor(of);
        item["platform"] = serde_json::json!({ "os": os, "architecture": architecture });
        item
    };
    let mut attestation = with(&amd64, "unknown", "unknown");
    attestation["annotations"] =
        serde_json::json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let list = |items: &[serde_json::Value]| serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": items });
    let items = [attestation, with(&amd64, "linux", "amd64"), with(&arm64, "linux", "arm64")];
    let index = memory.json(INDEX, list(&items));
    let nested = memory.json(INDEX, list(&[descriptor(&index)]));
    let mut deep = nested.clone();
    for _ in 0..5 {
        deep = memory.json(INDEX, list(&[descriptor(&deep)]));
    }
    let only_arm = memory.json(INDEX, list(&items[2..]));
    let nothing = memory.json(INDEX, list(&items[..1]));
    let get = |root: &Descriptor, platform| {
        image::manifest(&memory, root, platform).map(|manifest| manifest.descriptor)
    };
    use Platform::{Only, Rather};
    for root in [&index, &nested] {
        assert_eq!(get(root, Only(Arch::Amd64)).unwrap(), amd64);
        assert_eq!(get(root, Rather(Arch::Arm64)).unwrap(), arm64);
    }
    assert_eq!(get(&only_arm, Rather(Arch::Amd64)).unwrap(), arm64);
    assert_eq!(get(&arm64, Rather(Arch::Amd64)).unwrap(), arm64);
    let errors = [
        said(get(&only_arm, Only(Arch::Amd64))),
        said(get(&arm64, Only(Arch::Amd64))),
        said(get(&nothing, Rather(Arch::Amd64))),
        said(get(&deep, Only(Arch::Amd64))),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    there is no image for linux/amd64, only for linux/arm64
    there is no image for linux/amd64, only for linux/arm64
    there is no image for linux/amd64, only for attestations
    the index sha256:…: more than 4 indexes lie in each other
    "#);
}

/// Documents that are wrong each in one way.
#[test]
fn documents_that_break_their_specification_are_refused() {
    let mut memory = Memory::default();
    let tar = layer(&[("a", file("1"))]);
    let good = memory.image("amd64", std::slice::from_ref(&tar));
    let other = memory.image("amd64", &[layer(&[("b", file("1"))])]);
    let manifest = open(&memory, &good);
    let base = written(&manifest.config, &[manifest.layers[0].descriptor.clone()]);
    let change = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = base.clone();
        change(&mut document);
        document
    };
    let other_config = descriptor(&open(&memory, &other).config);
    let wrong_id = change(&|d| d["config"] = other_config.clone());
    let layer_type = |kind: &str| change(&|d| d["layers"][0]["mediaType"] = kind.into());
    let documents = [
        change(&|d| d["schemaVersion"] = 1.into()),
        change(&|d| d["mediaType"] = INDEX.into()),
        change(&|d| d["manifests"] = serde_json::json!([])),
        change(&|d| d["layers"] = serde_json::Value::Null),
        change(&|d| d["layers"][0]["digest"] = "sha512:00".into()),
        change(&|d| d["layers"][0]["size"] = (-1).into()),
        change(&|d| d["layers"][0]["size"] = u64::MAX.into()),
        change(&|d| d["layers"] = serde_json::json!([])),
        change(&|d| d["config"]["mediaType"] = "application/vnd.oci.empty.v1+json".into()),
        change(&|d| d["config"]["size"] = (5 << 20).into()),
        layer_type("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        layer_type("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        layer_type("application/vnd.oci.image.layer.v1.tar+lz4"),
        layer_type("application/vnd.in-toto+json"),
        wrong_id,
        serde_json::json!([[[[]]]]),
    ];
    let (_folder, store) = store();
    let mut errors = Vec::new();
    for document in documents {
        let root = memory.json(MANIFEST, document);
        let tree = image::manifest(&memory, &root, Platform::Only(Arch::Amd64))
            .and_then(|manifest| image::tree(&memory, &manifest, &|_| true, &store, &|_| {}));
        errors.push(said(tree));
    }
    let roots = [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}".to_vec()),
        ("text/html", b"<html>".to_vec()),
        (MANIFEST, b"{\"schemaVersion\":2}\0".to_vec()),
        (MANIFEST, vec![b'['; 1 << 20]),
        (INDEX, b"{\"schemaVersion\":2,\"manifests\":[{\"size\":1e400}]}".to_vec()),
    ];
    for (media_type, bytes) in roots {
        let root = memory.add(media_type, bytes);
        let error = said(image::manifest(&memory, &root, Platform::Only(Arch::Amd64)));
        errors.push(error);
    }
    insta::assert_snapshot!(errors.join("\n"), @r#"
    the manifest sha256:…: it is of schema version 1, not 2
    the manifest sha256:…: it calls itself `application/vnd.oci.image.index.v1+json`, its descriptor `application/vnd.oci.image.manifest.v1+json`
    the manifest sha256:…: a manifest has `config` and `layers` and nothing else
    the manifest sha256:…: a manifest has `config` and `layers` and nothing else
    the manifest sha256:…: `sha512:00` is no digest of the kind `sha256:…`
    the manifest sha256:…: invalid value: integer `-1`, expected u64 at line 1 column 317
    the manifest sha256:…: the layer sha256:… has 18446744073709551615 bytes, and may have 17179869184
    the manifest sha256:…: it has 0 layers, and its config 1 digests of them
    the manifest sha256:…: its config is of the type `application/vnd.oci.empty.v1+json`: it is no container image
    the config sha256:…: it has 5242880 bytes, and may have 4194304
    the manifest sha256:…: a layer is of the type `application/vnd.docker.image.rootfs.foreign.diff.tar.gzip`: it is not distributed with the image
    the manifest sha256:…: a layer is of the type `application/vnd.oci.image.layer.nondistributable.v1.tar`: it is not distributed with the image
    the manifest sha256:…: a layer is of the type `application/vnd.oci.image.layer.v1.tar+lz4`: it is compressed in a way that is not known here
    the manifest sha256:…: a layer is of the type `application/vnd.in-toto+json`: it is no container image
    the layer sha256:… unpacks to sha256:…, not to sha256:…
    the manifest sha256:…: invalid type: sequence, expected u64 at line 1 column 1
    the manifest sha256:… is of the type `application/vnd.docker.distribution.manifest.v1+prettyjws`: schema 1 is withdrawn; push the image again with a newer program
    the manifest sha256:… is of the type `text/html`: it is neither an index nor a manifest of an image
    the manifest sha256:…: trailing characters at line 1 column 20
    the manifest sha256:…: invalid type: sequence, expected u64 at line 1 column 1
    the manifest sha256:…: number out of range at line 1 column 45
    "#);
}

/// A header with a right sum, its fields changed by hand.
fn forged(change: &dyn Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = layer(&[("a", file("12345"))]);
    change(&mut bytes);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

fn pax(records: &[u8]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let mut extension = header(EntryType::XHeader, 0o644, records.len());
    tar.append_data(&mut extension, "pax", records).unwrap();
    let mut one = header(EntryType::Regular, 0o644, 1);
    tar.append_data(&mut one, "a", &b"1"[..]).unwrap();
    tar.into_inner().unwrap()
}

/// As `umoci insert` leaves a layer: nothing follows the bytes of its last file.
#[test]
fn the_last_file_of_a_layer_needs_no_padding() {
    let whole = layer(&[("a", file("12345")), ("b", file("67890"))]);
    let end = 3 * 512 + 5;
    assert_eq!(whole[..end].last(), Some(&b'0'));
    for end in [end, end + 1, end + 506, end + 507] {
        let tree = tree_of(&[whole[..end].to_vec()], &|_| true).unwrap();
        assert_eq!(tree.file("b").unwrap().0.to_vec().unwrap(), b"67890", "{end}");
    }
    for end in [end - 1, 2 * 512 + 9] {
        assert!(tree_of(&[whole[..end].to_vec()], &|_| true).is_err(), "{end}");
    }
    let (_folder, store) = store();
    let cut = Blob::from_bytes("archive", whole[..end].to_vec());
    assert!(tarball("x.tar", &cut, &|_| true, &store, &|_| {}).is_err(), "no end, no archive");
}

#[test]
fn hostile_archives_are_refused_in_words() {
    let name = |text: &'static [u8]| forged(&|bytes| bytes[..text.len()].copy_from_slice(text));
    let kind = |kind: u8| forged(&|bytes| bytes[156] = kind);
    let good = layer(&[("a", file("12345"))]);
    let zeros = vec![0; 20 << 20];
    let deep = "a/".repeat(200);
    let huge = |bytes: &mut [u8]| {
        bytes[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")
    };
    let most = |bytes: &mut [u8]| {
        bytes[124..136].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
    };
    let cases = [
        name(b"../a"),
        name(b"a/../../b"),
        name(b"\xff"),
        name(b"/"),
        forged(&huge),
        forged(&most),
        forged(&|bytes| bytes[100] = b'9'),
        kind(b'S'),
        kind(b'K'),
        kind(b'Z'),
        kind(b'2'),
        kind(b'5'),
        pax(b"10 path=b"),
        pax(b"99999999999999999999 path=b\n"),
        pax(b"0 "),
        pax(b"+9 path=b\n"),
        pax(b"22 GNU.sparse.major=1\n"),
        pax(b"29 size=18446744073709551615\n"),
        pax(b"13 size=5000\n"),
        layer(&[(&deep, file(""))]),
        good[..512 + 3].to_vec(),
        good[..1024].to_vec(),
        good[..300].to_vec(),
        gzip(&zeros),
        gzip(&good)[..40].to_vec(),
        zstd::encode_all(zeros.as_slice(), 1).unwrap(),
        b"BZh91AY".to_vec(),
        b"\xfd7zXZ\0\0\x04garbage, not a stream".to_vec(),
        b"no archive at all".repeat(400),
        Vec::new(),
    ];
    let (_folder, store) = store();
    let refuse = |bytes: Vec<u8>| {
        let blob = Blob::from_bytes("archive", bytes);
        let first = blob.slice(0..blob.len().min(40)).to_vec().unwrap();
        let tree = tarball("x.tar", &blob, &|_| true, &store, &|_| {});
        assert!(tree.is_err(), "{first:?}: {tree:?}");
        said(tree)
    };
    let refused: Vec<_> = cases.into_iter().map(refuse).collect();
    insta::assert_snapshot!(refused.join("\n"), @r#"
    x.tar: `../a`: its path leads out of the archive, or nowhere
    x.tar: `a/../../b`: its path leads out of the archive, or nowhere
    x.tar: `\u{fffd}`: its name is no UTF-8
    x.tar: `/`: it is no file and has a length: programs differ in what that means
    x.tar: the bytes of a file: more than 4294967295 is not unpacked
    x.tar: the bytes of a file: more than 4294967295 is not unpacked
    x.tar: `a`: a number in its header is none
    x.tar: `a`: it is stored as a sparse file; pack it without `--sparse`
    x.tar: it ends early: it is cut off
    x.tar: `a`: it is of a kind that is not known here
    x.tar: `a`: it links nowhere
    x.tar: `a`: it is no file and has a length: programs differ in what that means
    x.tar: a pax header in it is damaged
    x.tar: a pax header in it is damaged
    x.tar: a pax header in it is damaged
    x.tar: a pax header in it is damaged
    x.tar: it is stored as a sparse file; pack it without `--sparse`
    x.tar: the bytes of a file: more than 4294967295 is not unpacked
    x.tar: it ends early: it is cut off
    x.tar: `a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/…`: its path is too long
    x.tar: it ends early: it is cut off
    x.tar: it ends early: it is cut off
    x.tar: it ends early: it is cut off
    x.tar: the bytes that one compressed byte unpacks to: more than 256 is not unpacked
    x.tar: it ends early: it is cut off
    x.tar: the bytes that one compressed byte unpacks to: more than 256 is not unpacked
    x.tar: it is compressed with bzip2; use gzip, zstd or xz
    x.tar: it cannot be read or unpacked: XZ stream header CRC32 mismatch
    x.tar: it is no tar archive, or a header in it is damaged
    x.tar: it ends early: it is cut off
    "#);
}

#[test]
fn long_names_and_attributes_are_read() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let mut tar = Builder::new(Vec::new());
    // A value may have line ends.
    let xattrs =
        [("SCHILY.xattr.security.selinux", &b"t\0"[..]), ("SCHILY.xattr.user.x", b"1\n2\n")];
    tar.append_pax_extensions(xattrs).unwrap();
    tar.append_data(&mut header(EntryType::Regular, 0o4755, 1), &long, &b"1"[..]).unwrap();
    tar.append_pax_extensions([("path", "pax/ä".as_bytes()), ("uid", b"4294967297")]).unwrap();
    tar.append_data(&mut header(EntryType::Regular, 0o600, 1), "x", &b"2"[..]).unwrap();
    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), "l", &long).unwrap();
    let bytes = tar.into_inner().unwrap();
    let (_folder, store) = store();
    for bytes in [bytes.clone(), gzip(&bytes)] {
        let blob = Blob::from_bytes("archive", bytes);
        for _ in 0..2 {
            let tree = tarball("x.tar", &blob, &|_| true, &store, &|_| {}).unwrap();
            let entry = tree.get(&long).unwrap();
            assert_eq!(entry.mode, 0o4755);
            assert_eq!(entry.xattrs["security.selinux"], b"t\0");
            assert_eq!(entry.xattrs["user.x"], b"1\n2\n");
            assert_eq!(tree.get("pax/ä").unwrap().uid, (1 << 32) + 1);
            assert_eq!(tree.follow("l").as_deref(), Ok(long.as_str()));
        }
    }
}

#[test]
fn names_of_whiteouts_are_names_in_an_archive_and_a_folder() {
    let (folder_path, store) = store();
    let path = folder_path.path().join("tree");
    std::fs::create_dir_all(path.join("a")).unwrap();
    std::fs::write(path.join("a/.wh.x"), "1").unwrap();
    std::fs::write(path.join("a/x"), "2").unwrap();
    std::os::unix::fs::symlink("../a/x", path.join("a/l")).unwrap();
    let tree = folder(&path, &|_| true, &store).unwrap();
    assert_eq!(listing(&tree), "a/ a/.wh.x=1 a/l->../a/x a/x=2");
    let tar = layer(&[("a/x", file("2")), ("a/.wh.x", file("1"))]);
    let tree = tarball("x", &Blob::from_bytes("x", tar), &|_| true, &store, &|_| {}).unwrap();
    assert_eq!(listing(&tree), "a/ a/.wh.x=1 a/x=2");
    assert!(folder(&path.join("none"), &|_| true, &store).is_err());
}

/// A layout in an archive.
fn layout(memory: &Memory, items: &[serde_json::Value]) -> Vec<u8> {
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": items }).to_string();
    let mut members = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.into_bytes()),
    ];
    let blobs = memory.blobs.iter();
    members.extend(blobs.map(|(digest, bytes)| (format!("blobs/sha256/{digest}"), bytes.clone())));
    archive(members.iter().map(|(path, bytes)| (path.as_str(), 0o644, Made::File(bytes.clone()))))
}

fn named(of: &Descriptor, name: &str) -> serde_json::Value {
    let mut item = descriptor(of);
    item["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": name });
    item
}

#[test]
fn a_layout_says_what_it_has() {
    let mut memory = Memory::default();
    let amd64 = memory.image("amd64", &[layer(&[("which", file("amd64"))])]);
    let arm64 = memory.image("arm64", &[layer(&[("which", file("arm64"))])]);
    let open = |items: &[serde_json::Value]| {
        let blob = Blob::from_bytes("layout", layout(&memory, items));
        Layout::of_archive("x.tar", blob).unwrap()
    };
    let (_folder, store) = store();
    let which = |layout: &Layout, pick, arch| {
        let root = layout.pick(pick)?;
        let manifest = image::manifest(layout, &root, Platform::Only(arch))?;
        image::tree(layout, &manifest, &|_| true, &store, &|_| {}).map(|tree| listing(&tree))
    };
    let one = open(&[descriptor(&amd64)]);
    assert_eq!(which(&one, None, Arch::Amd64).unwrap(), "which=amd64");
    let two = open(&[named(&amd64, "v1"), named(&arm64, "v2")]);
    assert_eq!(which(&two, Some("v2"), Arch::Arm64).unwrap(), "which=arm64");
    let by_digest = format!("{:?}", amd64.digest);
    assert_eq!(which(&two, Some(&by_digest), Arch::Amd64).unwrap(), "which=amd64");
    // Two images for two machines, side by side, are one.
    let platform = |of: &Descriptor, architecture: &str| {
        let mut item = named(of, "v1");
        item["platform"] = serde_json::json!({ "os": "linux", "architecture": architecture });
        item
    };
    let both = open(&[platform(&amd64, "amd64"), platform(&arm64, "arm64")]);
    for pick in [None, Some("v1")] {
        assert_eq!(which(&both, pick, Arch::Arm64).unwrap(), "which=arm64");
        assert_eq!(which(&both, pick, Arch::Amd64).unwrap(), "which=amd64");
    }
    let same = open(&[named(&amd64, "v1"), named(&arm64, "v1")]);
    let errors = [
        said(two.pick(None)),
        said(two.pick(Some("v3"))),
        said(open(&[]).pick(None)),
        said(same.pick(Some("v1"))),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    `x.tar` has several images, and none is picked; there is v1, v2
    `x.tar` has no image `v3`; there is v1, v2
    `x.tar` has no image; there is none
    `x.tar` has several images `v1`; there is v1@sha256:…, v1@sha256:…
    "#);
}

#[test]
fn what_is_no_layout_or_lies_about_content_is_refused() {
    let mut memory = Memory::default();
    let image = memory.image("amd64", &[layer(&[("a", file("1"))])]);
    let good = layout(&memory, &[descriptor(&image)]);
    let mut damaged = good.clone();
    let at = good.windows(11).position(|bytes| bytes == b"\"rootfs\":{\"").unwrap();
    damaged[at] = b'\'';
    let read = |bytes: Vec<u8>| {
        let layout = Layout::of_archive("x.tar", Blob::from_bytes("x", bytes))?;
        image::manifest(&layout, &layout.pick(None)?, Platform::Only(Arch::Amd64))
    };
    assert!(read(good.clone()).is_ok());
    memory.blobs.remove(&image.digest);
    let cases = [
        gzip(&good),
        good[..good.len() - 2048].to_vec(),
        damaged,
        layout(&memory, &[descriptor(&image)]),
        layer(&[("a", file(""))]),
        layer(&[("oci-layout", file("{\"imageLayoutVersion\":\"2.0\"}"))]),
        layer(&[("oci-layout", Made::Symlink("oci-layout".into()))]),
        layer(&[
            ("oci-layout", file("{\"imageLayoutVersion\":\"1.0.0\"}")),
            ("index.json", file("[]")),
        ]),
    ];
    let errors = cases.map(|bytes| said(read(bytes)));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    x.tar: it is compressed, but its parts are read where they lie; unpack it first
    x.tar: it ends early: it is cut off
    `blobs/sha256/…` in `x.tar`: its digest is sha256:…, not sha256:…
    `blobs/sha256/…` in `x.tar`: it is not there
    x.tar: it is no OCI image layout: there is no `oci-layout` in it
    x.tar: oci-layout: it is of version 2.0, not 1
    x.tar: it is no OCI image layout: there is no `oci-layout` in it
    x.tar: index.json: invalid length 0, expected struct WireDocument with 5 elements at line 1 column 2
    "#);
}

/// An archive as `docker save` of versions before 25 makes it.
fn saved(layers: &[Vec<u8>], tags: &[&str]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|tar| format!("{:?}", Digest::of(tar))).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = config.to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()));
    let names: Vec<_> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let list = serde_json::json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
    let mut members: Vec<(String, Made)> = Vec::new();
    for (i, (name, tar)) in names.iter().zip(layers).enumerate() {
        let first = layers.iter().position(|other| other == tar).unwrap();
        // A layer that comes twice is a link, and some are compressed.
        let made = match first == i {
            true => Made::File(packed(i, tar)),
            false => Made::Symlink(format!("../{first}/layer.tar")),
        };
        members.push((name.clone(), made));
    }
    members.push((config_name, file(&config)));
    members.push(("manifest.json".into(), file(&list.to_string())));
    archive(members.iter().map(|(path, made)| (path.as_str(), 0o644, made.clone())))
}

#[test]
fn an_archive_of_docker_save_is_an_image() {
    let layers = [
        layer(&[("a", file("1"))]),
        layer(&[("b", file("2"))]),
        layer(&[("a", file("1"))]),
        layer(&[(".wh.b", file("")), ("c", file("3"))]),
    ];
    let name = "ghcr.io/siderolabs/imager:v1.13.9";
    let blob = Blob::from_bytes("x", saved(&layers, &[name]));
    let archive = Archive::of_archive("x.tar", blob).unwrap();
    let (_folder, store) = store();
    for pick in [None, Some(name)] {
        let root = archive.pick(pick).unwrap();
        let manifest = image::manifest(&archive, &root, Platform::Only(Arch::Amd64)).unwrap();
        let tree = image::tree(&archive, &manifest, &|_| true, &store, &|_| {}).unwrap();
        assert_eq!(listing(&tree), "a=1 c=3");
    }
    let none = Archive::of_archive("x.tar", Blob::from_bytes("x", layer(&[("a", file(""))])));
    let errors = [said(archive.pick(Some("imager"))), said(none)];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    `x.tar` has no image `imager`; there is ghcr.io/siderolabs/imager:v1.13.9
    x.tar: it is no archive of `docker save`: there is no `manifest.json` in it
    "#);
}

/// What a path is: a folder, a file with a content, a link.
type Model = BTreeMap<String, (u32, Made)>;

fn models() -> impl Strategy<Value = Vec<Model>> {
    let made = prop_oneof![
        Just(Made::Folder),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(Made::File),
        "[xyz]{1,3}".prop_map(Made::Symlink),
    ];
    let mode = prop_oneof![Just(0o755), Just(0o644), Just(0o4711)];
    let entry = ("[abc](/[abc]){0,3}", mode, made);
    let model = prop::collection::vec(entry, 0..12).prop_map(|entries| {
        let mut model = Model::new();
        for (path, mode, made) in entries {
            let parents: Vec<_> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
            let is_folder =
                |path: &&str| !matches!(model.get(*path), Some((_, kind)) if *kind != Made::Folder);
            let below = format!("{path}/");
            let is_leaf = !model.keys().any(|path| path.starts_with(&below));
            if parents.iter().all(is_folder) && (is_leaf || made == Made::Folder) {
                for parent in parents {
                    model.entry(parent.to_owned()).or_insert((0o755, Made::Folder));
                }
                model.insert(path, (mode, made));
            }
        }
        model
    });
    prop::collection::vec(model, 1..5)
}

/// The layer that makes one state of another, as image builders write it.
fn difference(old: &Model, new: &Model, whiteouts_last: bool, opaque: bool) -> Vec<u8> {
    let mut hidden: BTreeSet<String> = BTreeSet::new();
    let mut again: BTreeSet<&str> = BTreeSet::new();
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_alive = parent.is_empty() || matches!(new.get(parent), Some((_, Made::Folder)));
        let was_folder = parent.is_empty() || matches!(old.get(parent), Some((_, Made::Folder)));
        if !is_alive || !was_folder {
            continue;
        }
        let slash = if parent.is_empty() { "" } else { "/" };
        if opaque && !parent.is_empty() {
            // All of the folder is hidden, and what is left of it is written again.
            hidden.insert(format!("{parent}/.wh..wh..opq"));
            let below = format!("{parent}/");
            again.extend(new.keys().filter(|p| p.starts_with(&below)).map(String::as_str));
        } else {
            hidden.insert(format!("{parent}{slash}.wh.{name}"));
        }
    }
    let changed = new
        .iter()
        .filter(|(path, entry)| old.get(*path) != Some(entry) || again.contains(path.as_str()));
    let changed = changed.map(|(path, (mode, made))| (path.as_str(), *mode, made.clone()));
    let hidden = hidden.iter().map(|path| (path.as_str(), 0o600, file("")));
    match whiteouts_last {
        true => archive(changed.chain(hidden)),
        false => archive(hidden.chain(changed)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever states an image went through, its layers give the last one.
    #[test]
    fn layers_give_the_state_that_they_were_made_of(
        states in models(), whiteouts_last: bool, opaque: bool,
    ) {
        let mut old = Model::new();
        let mut layers = Vec::new();
        for state in &states {
            layers.push(difference(&old, state, whiteouts_last, opaque));
            old = state.clone();
        }
        let tree = tree_of(&layers, &|_| true).unwrap();
        let found: Model = tree.iter().map(|(path, entry)| {
            let made = match &entry.kind {
                Kind::Folder => Made::Folder,
                Kind::File(blob, _) => Made::File(blob.to_vec().unwrap()),
                Kind::Symlink(target) => Made::Symlink(target.clone()),
                Kind::Other(_) => Made::Hard(String::new()),
            };
            (path.to_owned(), (entry.mode, made))
        }).collect();
        prop_assert_eq!(found, old);
    }

    /// Archives that were damaged anywhere are read or refused.
    #[test]
    fn a_damaged_archive_is_read_or_refused(
        changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..8), cut in 0usize..8192,
    ) {
        let mut bytes = layer(&[
            ("a/b", file("1")),
            (&"long".repeat(60), file("2")),
            ("l", Made::Symlink("a".into())),
            ("l/c", Made::Hard("a/b".into())),
            ("a/.wh.b", file("")),
        ]);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut % 3 * 700));
        let _ = tree_of(&[bytes.clone()], &|path| path.len() > 1);
        let (_folder, store) = store();
        let _ = tarball("x", &Blob::from_bytes("x", bytes), &|_| true, &store, &|_| {});
    }
}
