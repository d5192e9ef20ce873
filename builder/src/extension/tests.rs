//! Extensions, small ones made here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::blob::Blob;
use crate::format::cpio;
use crate::format::squashfs as writer;
use crate::inspect::initrd;
use crate::inspect::squashfs::Squashfs;

const EPOCH: u32 = 1_700_000_000;

fn talos() -> Version {
    Version::parse("v1.13.9").unwrap()
}

fn entry(mode: u32, kind: Kind) -> Entry {
    Entry { mode, uid: 1000, gid: 1000, xattrs: BTreeMap::new(), kind }
}

fn file(bytes: &[u8]) -> Entry {
    entry(0o644, Kind::File(Blob::from_bytes("file", bytes), Digest::of(bytes)))
}

fn link(to: &str) -> Entry {
    entry(0o777, Kind::Symlink(to.to_owned()))
}

fn manifest(name: &str, more: &str) -> Entry {
    let text = format!("version: v1alpha1\nmetadata:\n  name: {name}\n  version: v1\n{more}");
    file(text.as_bytes())
}

fn tree(name: &str, files: &[(&str, Entry)]) -> Tree {
    let mut tree = Tree::default();
    tree.insert("manifest.yaml", manifest(name, ""));
    tree.insert("rootfs", entry(0o700, Kind::Folder));
    for (path, entry) in files {
        tree.insert(&format!("rootfs/{path}"), entry.clone());
    }
    tree
}

fn extension(name: &str, files: &[(&str, Entry)]) -> Extension {
    check(name, &tree(name, files), &talos(), Arch::Amd64).unwrap()
}

fn problems(tree: &Tree) -> Vec<String> {
    let problems = check("x", tree, &talos(), Arch::Amd64).unwrap_err();
    assert!(problems.iter().all(|problem| !problem.wrong.help().is_empty()));
    problems.iter().map(ToString::to_string).collect()
}

fn elf(machine: u8) -> Entry {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = machine;
    file(&bytes)
}

/// A base of one plain archive, as Talos' is but for its compression.
fn base(files: &[(&str, &[u8])]) -> Initramfs {
    let file = |(path, bytes): &(&str, &[u8])| cpio::Entry {
        path: (*path).to_owned(),
        permissions: 0o755,
        kind: cpio::Kind::File(Blob::from_bytes("base", *bytes)),
    };
    let entries: Vec<_> = files.iter().map(file).collect();
    let blob = cpio::write(&entries, 0).unwrap();
    crate::asset::initramfs::read(&blob, &mut Memo::default()).unwrap()
}

struct Laid {
    initramfs: Initramfs,
    tree: initrd::Tree,
    memo: Memo,
}

fn lay(base: &Initramfs, extensions: &[Extension]) -> Laid {
    let folder = tempfile::tempdir().unwrap();
    let mut memo = Memo::default();
    let store = Store::at(folder.path());
    let initramfs = lay_over(base, extensions, EPOCH, &store, &mut memo).unwrap();
    let tree = initrd::unpack(&initramfs.blob, &mut memo).unwrap();
    Laid { initramfs, tree, memo }
}

impl Laid {
    fn read(&mut self, path: &str) -> Vec<u8> {
        let file = self.tree.get(path).unwrap_or_else(|| panic!("no `{path}`"));
        self.tree.content(file, 1 << 30, &mut self.memo).unwrap().to_vec().unwrap()
    }

    fn in_layer(&mut self, layer: &str, path: &str) -> Option<Vec<u8>> {
        let image = Squashfs::read(&Blob::from_bytes("layer", self.read(layer))).unwrap();
        image.find(path).unwrap().map(|file| image.content(&file, 1 << 30).unwrap())
    }

    fn list(&self) -> Vec<(String, String)> {
        let list: serde_yaml::Value =
            serde_yaml::from_slice(self.initramfs.list.as_ref().unwrap()).unwrap();
        let text = |value: &serde_yaml::Value| value.as_str().unwrap().to_owned();
        let layers = list["layers"].as_sequence().unwrap().iter();
        layers.map(|layer| (text(&layer["image"]), text(&layer["metadata"]["name"]))).collect()
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let mut tree = tree(
        "tools",
        &[
            ("boot/vmlinuz", file(b"k")),
            ("usr/lib64/a.so", file(b"k")),
            ("usr/local/open", entry(0o666, file(b"").kind)),
            ("usr/local/null", entry(0o600, Kind::Other("a device"))),
            ("usr/local/up", link("../../../etc")),
            ("usr/local/here", link("../../etc")),
            ("usr/local/b", file(b"")),
            ("usr/local/b/c", file(b"")),
        ],
    );
    tree.insert("config.json", file(b"{}"));
    let bad = "  compatibility:\n    talos:\n      version: \">= v1.14.0\"\n";
    tree.insert("manifest.yaml", manifest("\"\"", bad));
    insta::assert_snapshot!(problems(&tree).join("\n"), @r"
    extension `x`: `config.json` lies beside `manifest.yaml` and `rootfs/`, where nothing may
    extension `x`: `manifest.yaml` has no `metadata.name`
    extension `x`: it is for Talos >= v1.14.0, the site is for v1.13.9
    extension `x`: `boot/vmlinuz` lies where Talos allows no files of extensions
    extension `x`: `usr/lib64/a.so` lies where Talos allows no files of extensions
    extension `x`: `usr/local/b` is no folder, and something lies below it
    extension `x`: `usr/local/null` is a device; extensions have files, folders and links
    extension `x`: `usr/local/open` may be written to by everyone
    extension `x`: the link `usr/local/up` leads out of the root, to `../../../etc`
    ");
}

#[test]
fn what_is_no_extension_is_told_so() {
    insta::assert_snapshot!(problems(&Tree::default()).join("\n"), @r"
    extension `x`: it has no file `manifest.yaml`
    extension `x`: it has no folder `rootfs`
    ");
    let mut tree = tree("a", &[]);
    tree.insert("manifest.yaml", file(b"version: v1beta1\n"));
    insta::assert_snapshot!(problems(&tree).join("\n"), @"extension `x`: `manifest.yaml` has the version `v1beta1`; Talos reads `v1alpha1`");
    tree.insert("manifest.yaml", file(&vec![b'#'; 70_000]));
    insta::assert_snapshot!(problems(&tree).join("\n"), @"extension `x`: `manifest.yaml` cannot be read: it is longer than 64 KiB");
    tree.insert("manifest.yaml", manifest("a", "  compatibility: {talos: {version: latest}}\n"));
    insta::assert_snapshot!(problems(&tree).join("\n"), @"extension `x`: `metadata.compatibility.talos.version` is no range of versions: `latest`");
    tree.insert("rootfs", file(b""));
    tree.insert("manifest.yaml", manifest("a", ""));
    insta::assert_snapshot!(problems(&tree).join("\n"), @"extension `x`: it has no folder `rootfs`");
}

#[test]
fn an_image_of_the_other_architecture_is_found() {
    let (arm, amd) = (elf(183), elf(62));
    let only = tree("a", &[("usr/local/bin/a", arm.clone()), ("usr/local/bin/b", arm.clone())]);
    insta::assert_snapshot!(problems(&only).join("\n"), @"extension `x`: its programs are for arm64, the site is for amd64: `usr/local/bin/a` is one of 2");
    assert!(check("a", &only, &talos(), Arch::Arm64).is_ok());
    let both = extension("a", &[("usr/local/bin/a", arm.clone()), ("usr/local/bin/b", amd)]);
    insta::assert_snapshot!(both.notes[0].to_string(), @"extension `a`: `usr/local/bin/a` is for arm64, one of 1 of its programs");
    // Firmware and BPF run elsewhere.
    let other = extension("a", &[("usr/lib/firmware/a", arm), ("usr/local/b", elf(247))]);
    assert_eq!(other.notes, []);
}

#[test]
fn unknown_keys_and_hidden_files_are_told() {
    let mut tree = tree("a", &[("usr/local/x", file(b"1")), ("usr/local/same", file(b"="))]);
    tree.insert("manifest.yaml", manifest("a", "  tags: []\n"));
    let a = check("a", &tree, &talos(), Arch::Amd64).unwrap();
    let b = extension("b", &[("usr/local/x", file(b"2")), ("usr/local/same", file(b"="))]);
    insta::assert_snapshot!(a.notes[0].to_string(), @"extension `a`: `manifest.yaml` has the unknown key `metadata.tags`");
    let notes: Vec<_> = overlaps(&[a, b]).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"), @"`usr/local/x` is in the extensions `a` and `b`; the machine sees that of `b`");
}

#[test]
fn a_hostile_tree_is_refused_soon() {
    let deep = vec!["a"; 1000].join("/");
    let mut many = tree("a", &[(&deep, file(b"")), (&"n".repeat(256), file(b""))]);
    for n in 0..100_001 {
        many.insert(&format!("rootfs/usr/local/{n}"), link("."));
    }
    let mut steep = Tree::default();
    steep.insert("manifest.yaml", manifest("a", ""));
    for n in 0..300 {
        let path = format!("rootfs/usr/local/{n}/{}", vec!["x"; 50].join("/"));
        steep.insert(&path, link("."));
    }
    let large = Blob::default();
    let large = crate::blob::Builder::default().blob(&large).zeros("long", u64::MAX / 2).finish();
    let large = entry(0o644, Kind::File(large, Digest::of(b"")));
    let large = tree("a", &[("usr/local/a", large.clone()), ("usr/local/b", large)]);
    for (tree, wants) in [(many, "files"), (steep, "10000 folders"), (large, "4 GiB")] {
        let start = Instant::now();
        let problems = problems(&tree);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(problems.iter().any(|problem| problem.contains(wants)), "{problems:?}");
        assert!(problems.len() <= 110);
    }
}

#[test]
fn names_are_shown_short_and_plain() {
    assert_eq!(content::shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    assert!(content::shown(&"x".repeat(9000)).len() < 300);
}

#[test]
fn without_extensions_the_base_stays_as_it_is() {
    let base = base(&[("init", b"1")]);
    let laid = lay_over(&base, &[], EPOCH, &Store::at("/nowhere"), &mut Memo::default()).unwrap();
    assert_eq!((laid.blob.len(), laid.list), (base.blob.len(), None));
}

#[test]
fn layers_come_in_the_order_of_the_list() {
    let base = base(&[("init", b"1"), ("0.sqsh", b"x"), ("extensions.yaml", b"layers:\n")]);
    let extensions: Vec<_> =
        (0..12).map(|n| extension(&format!("e{n}"), &[("usr/local/name", file(&[n]))])).collect();
    let mut laid = lay(&base, &extensions);
    let list = laid.list();
    let names: Vec<_> = list.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, (0..12).map(|n| format!("e{n}")).collect::<Vec<_>>());
    for (n, (image, _)) in (0..12).zip(&list) {
        assert_ne!(image, "0.sqsh", "the base's own file");
        assert_eq!(laid.in_layer(image, "usr/local/name"), Some(vec![n]));
    }
    assert!(laid.initramfs.names.contains("12.sqsh"));
}

#[test]
fn a_layer_has_roots_files_labels_and_modes() {
    let mut labelled = file(b"x");
    labelled.mode = 0o4750;
    labelled.xattrs.insert("security.selinux".into(), b"a:b".to_vec());
    labelled.xattrs.insert("user.other".into(), b"c".to_vec());
    let extension = extension("a", &[("usr/local/bin/x", labelled), ("usr/local/y", file(b"x"))]);
    let mut laid = lay(&base(&[("init", b"1")]), &[extension]);
    let image = Squashfs::read(&Blob::from_bytes("layer", laid.read("0.sqsh"))).unwrap();
    let file = image.find("usr/local/bin/x").unwrap().unwrap();
    assert_eq!((file.mode & 0o7777, file.uid, file.gid), (0o4750, 0, 0));
    assert_eq!(image.security_xattr(&file, "selinux").unwrap(), Some(b"a:b".to_vec()));
    // One content, stored once, read twice.
    let copy = image.find("usr/local/y").unwrap().unwrap();
    assert_eq!((copy.mode & 0o7777, image.content(&copy, 9).unwrap()), (0o644, b"x".to_vec()));
    assert_eq!(image.security_xattr(&copy, "selinux").unwrap(), None);
}

#[test]
fn firmware_and_microcode_leave_the_layer() {
    let ucode = |extension: &str, bytes: &[u8]| {
        let files = [
            ("usr/lib/firmware/intel-ucode/06-02", file(&[bytes, b"2"].concat())),
            ("usr/lib/firmware/intel-ucode/06-01", file(&[bytes, b"1"].concat())),
            ("usr/lib/firmware/amd-ucode/microcode_amd_f.bin", file(&[bytes, b"a"].concat())),
            ("usr/lib/firmware/amd-ucode/microcode_amd_f.bin.asc", file(b"signature")),
            ("usr/lib/firmware/gpu/a.bin", file(bytes)),
            ("usr/lib/firmware/gpu/link.bin", link("../all/b.bin")),
            ("usr/lib/firmware/all/b.bin", file(b"b")),
            ("usr/lib/firmware/same", link("all")),
            ("usr/local/stays", file(b"")),
        ];
        self::extension(extension, &files)
    };
    let base = base(&[("init", b"1")]);
    let mut laid = lay(&base, &[ucode("one", b"1"), ucode("two", b"2")]);
    let segments = laid.tree.segments.clone();
    assert_eq!(segments[0].start, 0);
    let first = laid.initramfs.blob.slice(0..segments[0].end).to_vec().unwrap();
    let text = String::from_utf8_lossy(&first);
    let at = |name: &str| text.find(name).unwrap();
    let folders = "kernel/x86/microcode\0";
    assert!(at(folders) < at("AuthenticAMD.bin") && at(folders) < at("GenuineIntel.bin"));
    assert_eq!(laid.read("kernel/x86/microcode/GenuineIntel.bin"), b"11122122");
    assert_eq!(laid.read("kernel/x86/microcode/AuthenticAMD.bin"), b"1a2a");
    assert_eq!(laid.read("usr/lib/firmware/gpu/a.bin"), b"2", "the later one wins");
    assert_eq!(laid.read("usr/lib/firmware/gpu/link.bin"), b"b");
    assert_eq!(laid.read("usr/lib/firmware/same/b.bin"), b"b");
    assert!(laid.tree.get("usr/lib/firmware/intel-ucode/06-01").is_none());
    assert!(laid.tree.get("usr/lib/firmware/intel-ucode").is_some(), "as the reference leaves it");
    assert!(laid.tree.get("usr/lib/firmware/amd-ucode/microcode_amd_f.bin.asc").is_some());
    assert_eq!(laid.in_layer("0.sqsh", "usr/lib/firmware/gpu/a.bin"), None);
    assert!(laid.in_layer("0.sqsh", "usr/local/stays").is_some());
}

#[test]
fn the_microcode_of_a_base_is_kept() {
    let intel = [("usr/lib/firmware/intel-ucode/a", file(b"one"))];
    let base = lay(&base(&[("init", b"1")]), &[extension("a", &intel)]).initramfs;
    let more = [("usr/lib/firmware/intel-ucode/a", file(b"two"))];
    let laid = lay(&base, &[extension("b", &more)]);
    let blob = laid.initramfs.blob.slice(0..4096).to_vec().unwrap();
    let text = String::from_utf8_lossy(&blob);
    assert!(text.contains("onetwo"));
    assert_eq!(laid.list().len(), 2);
}

#[test]
fn firmware_that_makes_no_tree_is_refused() {
    let error = |extensions: &[Extension]| {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut memo) = (Store::at(folder.path()), Memo::default());
        let error = lay_over(&base(&[("init", b"1")]), extensions, 0, &store, &mut memo);
        let error = error.unwrap_err();
        assert!(!error.help().is_empty());
        error.to_string()
    };
    let one = |path: &str, entry: Entry| {
        extension("one", &[(&format!("usr/lib/firmware/{path}"), entry)])
    };
    let other = extension("two", &[("usr/lib/firmware/a/b", file(b""))]);
    insta::assert_snapshot!(error(&[one("a", file(b"")), other]), @"`usr/lib/firmware/a` is a file in the extension `one` and a folder in `two`");
    insta::assert_snapshot!(error(&[one("a", link("b"))]), @"extension `one`: the link `usr/lib/firmware/a` leads to no file of the extension");
    insta::assert_snapshot!(error(&[one("a", link("a"))]), @"extension `one`: the link `usr/lib/firmware/a` leads to no file of the extension");
    insta::assert_snapshot!(error(&[one("a", link("."))]), @"extension `one`: `usr/lib/firmware/a` is too deep; links may lead round in circles");
    insta::assert_snapshot!(error(&[one("a", file(b"")), one("b", file(b""))]), @"the extensions `one` and `one` are both `one`");
    let bomb: Vec<_> = (0..20)
        .flat_map(|n| {
            ["x", "y"].map(|name| {
                (format!("usr/lib/firmware/{n}/{name}"), link(&format!("../{}", n + 1)))
            })
        })
        .collect();
    let mut bomb: Vec<_> = bomb.iter().map(|(path, link)| (path.as_str(), link.clone())).collect();
    bomb.push(("usr/lib/firmware/20", entry(0o755, Kind::Folder)));
    insta::assert_snapshot!(error(&[extension("bomb", &bomb)]), @"extension `bomb` has more than 60000 files of firmware, links to folders followed");
}

#[test]
fn a_second_build_takes_all_from_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let noise: Vec<u8> =
        (0..400_000_u32).map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect();
    let files = [("usr/local/a", file(&noise)), ("usr/lib/firmware/b", file(&noise[1..]))];
    let all = [extension("a", &files)];
    let base = base(&[("init", b"1")]);
    let build = |all: &[Extension]| {
        let laid = lay_over(&base, all, EPOCH, &store, &mut Memo::default()).unwrap();
        laid.blob.to_vec().unwrap()
    };
    let count = || std::fs::read_dir(folder.path().join("sha256")).unwrap().count();
    let first = build(&all);
    assert_eq!(count(), 3);
    // Contents that cannot be read any more: nothing is asked for them.
    let mut gone = all.clone();
    let gone_file = tempfile::tempfile().unwrap();
    gone_file.set_len(400_000).unwrap();
    let blob = Blob::from_file("gone", gone_file.try_clone().unwrap()).unwrap();
    gone_file.set_len(0).unwrap();
    let kind = Kind::File(blob, Digest::of(&noise));
    gone[0].root.insert("usr/local/a", entry(0o644, kind));
    assert_eq!(build(&gone), first);
    assert_eq!(count(), 3);
    // Without the store's files they are made again, and are the same.
    std::fs::remove_dir_all(folder.path().join("sha256")).unwrap();
    assert_eq!(build(&all), first);
}

#[test]
fn modules_of_another_kernel_are_refused() {
    let node = |path: &str| writer::Node {
        path: path.to_owned(),
        permissions: 0o755,
        kind: writer::Kind::Dir,
        xattrs: Vec::new(),
    };
    let rootfs = |folders: &[&str]| {
        let nodes: Vec<_> = folders.iter().map(|path| node(path)).collect();
        writer::write(&nodes, 0).unwrap().to_vec().unwrap()
    };
    let error = |rootfs: &[u8]| {
        let module = [("usr/lib/modules/6.12.2-talos/extras/a.ko", file(b"x"))];
        let folder = tempfile::tempdir().unwrap();
        let (store, mut memo) = (Store::at(folder.path()), Memo::default());
        let base = base(&[("init", b"1"), ("rootfs.sqsh", rootfs)]);
        let laid = lay_over(&base, &[extension("a", &module)], 0, &store, &mut memo);
        laid.unwrap_err().to_string()
    };
    let modules = ["", "usr", "usr/lib", "usr/lib/modules"];
    insta::assert_snapshot!(error(&rootfs(&modules)), @"the base initramfs has modules of 0 kernels, not of one");
    let one = [&modules[..], &["usr/lib/modules/6.12.1-talos"]].concat();
    insta::assert_snapshot!(error(&rootfs(&one)), @"extension `a` has modules for the kernel 6.12.2-talos, the base has 6.12.1-talos");
    let two = [&one[..], &["usr/lib/modules/6.12.2-talos"]].concat();
    insta::assert_snapshot!(error(&rootfs(&two)), @"the base initramfs has modules of 2 kernels, not of one");
    insta::assert_snapshot!(error(b"hsqs"), @"the base initramfs cannot be looked into: squashfs superblock at 0x0: it ends at 0x60 of 0x4 bytes");
}
