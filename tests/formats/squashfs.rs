//! squashfs images, as `unsquashfs` and the kernel read them.

use super::at_hand::{noise, save};
use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};
use talforge::blob::Blob;
use talforge::format::squashfs::{Kind, Node, Xattr, write};

const EPOCH: u32 = 1_700_000_000;

fn node(path: &str, permissions: u16, kind: Kind) -> Node {
    Node { path: path.into(), permissions, kind, xattrs: Vec::new() }
}

fn file(path: &str, bytes: &[u8]) -> Node {
    node(path, 0o644, Kind::File(Blob::from_bytes("file", bytes)))
}

fn root() -> Node {
    node("", 0o755, Kind::Dir)
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.into() }
}

/// A small tree with each kind of node.
fn tree() -> Vec<Node> {
    let label = xattr("security.selinux", b"system_u:object_r:system_state_t:s0");
    vec![
        root(),
        node("usr", 0o755, Kind::Dir),
        node("usr/etc", 0o700, Kind::Dir),
        Node { xattrs: vec![label], ..file("usr/etc/config.yaml", &b"a: 1\n".repeat(99)) },
        node("usr/link", 0o777, Kind::Symlink("etc/config.yaml".into())),
        Node {
            xattrs: vec![xattr("user.a", b"1"), xattr("user.b", &[b'2'; 3000])],
            ..file("usr/long", &noise(1, 300_000))
        },
    ]
}

/// The lines of `unsquashfs -lls`: `drwxr-xr-x root/root 27 2023-11-14 22:13 squashfs-root/a`.
fn list(dir: &Path) -> String {
    stdout("unsquashfs", &["-lls", "image"], dir).unwrap()
}

#[test]
fn unsquashfs_lists_the_tree() {
    if !have(&["unsquashfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    save(&write(&tree(), EPOCH).unwrap(), &dir.path().join("image"));
    insta::assert_snapshot!(list(dir.path()), @r"
    drwxr-xr-x root/root                26 2023-11-14 22:13 squashfs-root
    drwxr-xr-x root/root                50 2023-11-14 22:13 squashfs-root/usr
    drwx------ root/root                34 2023-11-14 22:13 squashfs-root/usr/etc
    -rw-r--r-- root/root               495 2023-11-14 22:13 squashfs-root/usr/etc/config.yaml
    lrwxrwxrwx root/root                15 2023-11-14 22:13 squashfs-root/usr/link -> etc/config.yaml
    -rw-r--r-- root/root            300000 2023-11-14 22:13 squashfs-root/usr/long
    ");
    insta::assert_snapshot!(stdout("unsquashfs", &["-s", "image"], dir.path()).unwrap(), @"
    Found a valid SQUASHFS 4:0 superblock on image.
    Creation or last append time Tue Nov 14 22:13:20 2023
    Filesystem size 300575 bytes (293.53 Kbytes / 0.29 Mbytes)
    Compression zstd
    	compression-level 9
    Block size 131072
    Filesystem is exportable via NFS
    Inodes are compressed
    Data is compressed
    Uids/Gids (Id table) are compressed
    Fragments are not stored
    Xattrs are compressed
    Duplicates are not removed
    Number of fragments 0
    Number of inodes 6
    Number of ids 1
    Number of xattr ids 2
    ");
}

#[test]
fn unsquashfs_unpacks_attributes() {
    if !have(&["unsquashfs", "getfattr"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    save(&write(&tree(), EPOCH).unwrap(), &dir.path().join("image"));
    stdout("unsquashfs", &["-d", "out", "image"], dir.path()).unwrap();
    let dump = ["-d", "-m", "^user", "out/usr/long"];
    let want = format!("# file: out/usr/long\nuser.a=\"1\"\nuser.b=\"{}\"\n\n", "2".repeat(3000));
    assert_eq!(stdout("getfattr", &dump, dir.path()).unwrap(), want);
}

/// A directory may have more entries than a header counts, in more than one block of inodes, and
/// with inode numbers further apart than an entry can tell.
#[test]
fn large_directories_are_read_whole() {
    if !have(&["unsquashfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let many = (0..33_000).map(|n| node(&format!("a/{n:05}"), 0o600, Kind::File(Blob::default())));
    let mut nodes = vec![root(), node("a", 0o755, Kind::Dir)];
    nodes.extend(many);
    nodes.push(node("z", 0o755, Kind::Dir));
    save(&write(&nodes, EPOCH).unwrap(), &dir.path().join("image"));
    let listing = list(dir.path());
    assert_eq!(listing.lines().count(), nodes.len());
    assert!(listing.lines().nth(20_002).unwrap().ends_with("squashfs-root/a/20000"));
    assert!(listing.ends_with("squashfs-root/z\n"));
    mounted(dir.path(), |at| {
        let find = ["at", "-printf", "%i\\n"];
        let inodes: BTreeSet<_> =
            stdout("find", &find, at).unwrap().lines().map(String::from).collect();
        assert_eq!(inodes.len(), nodes.len());
        assert!(at.join("at/a/32999").is_file());
    });
}

#[test]
fn the_kernel_shows_labels() {
    if !have(&["getfattr"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    save(&write(&tree(), EPOCH).unwrap(), &dir.path().join("image"));
    mounted(dir.path(), |dir| {
        let args = ["--only-values", "-n", "security.selinux", "at/usr/etc/config.yaml"];
        let label = stdout("getfattr", &args, dir).unwrap();
        assert_eq!(label, "system_u:object_r:system_state_t:s0");
        assert_eq!(fs::read(dir.join("at/usr/link")).unwrap(), b"a: 1\n".repeat(99));
        assert_eq!(fs::read(dir.join("at/usr/long")).unwrap(), noise(1, 300_000));
    });
}

/// Mounts `image` at `at` in `dir` while `look` runs. Where the kernel does not even mount an
/// image of `mksquashfs` (no root, no loop devices), `look` does not run.
fn mounted(dir: &Path, look: impl FnOnce(&Path)) {
    if !have(&["mount", "umount", "mksquashfs"]) {
        return;
    }
    let at = dir.join("at");
    fs::create_dir(&at).unwrap();
    let theirs = ["at", "theirs", "-noappend", "-no-progress", "-comp", "zstd"];
    stdout("mksquashfs", &theirs, dir).unwrap();
    let mount = |image| run("mount", &["-t", "squashfs", "-o", "loop,ro", image, "at"], dir);
    if !mount("theirs").unwrap().status.success() {
        return;
    }
    stdout("umount", &["at"], dir).unwrap();
    let out = mount("image").unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let guard = Mounted(dir);
    look(dir);
    drop(guard);
}

/// Unmounts `at` in a directory, also where a test fails.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        stdout("umount", &["at"], self.0).unwrap();
    }
}

/// What a random node is, apart from its place.
#[derive(Clone, Debug)]
enum Thing {
    Dir(u16),
    File(u16, usize),
    Symlink(String),
}

fn thing() -> impl Strategy<Value = Thing> {
    let len = prop_oneof![Just(0_usize), 1..9_usize, Just(131_072), 0..400_000_usize];
    prop_oneof![
        (0..0o1000_u16).prop_map(|bits| Thing::Dir(bits | 0o700)),
        ((0..0o1000_u16), len).prop_map(|(bits, len)| Thing::File(bits | 0o400, len)),
        "[a-z/.]{1,40}".prop_map(Thing::Symlink),
    ]
}

/// A tree of random things: each hangs in one of the directories before it.
fn random_tree() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    let item = (any::<prop::sample::Index>(), "[a-zA-Z0-9_-]{1,30}", thing());
    prop::collection::vec(item, 0..40).prop_map(|items| {
        let mut dirs = vec![String::new()];
        let mut tree = BTreeMap::new();
        for (parent, name, thing) in items {
            let parent = parent.get(&dirs);
            let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
            if tree.contains_key(&path) {
                continue;
            }
            if let Thing::Dir(_) = thing {
                dirs.push(path.clone());
            }
            tree.insert(path, thing);
        }
        tree
    })
}

/// Half of each content compresses.
fn content(path: &str, len: usize) -> Vec<u8> {
    let mut bytes = noise(u32::try_from(path.len()).unwrap(), len);
    bytes[len / 2..].fill(7);
    bytes
}

fn to_node((path, thing): (&String, &Thing)) -> Node {
    match thing {
        Thing::Dir(bits) => node(path, *bits, Kind::Dir),
        Thing::File(bits, len) => {
            let content = Blob::from_bytes("file", content(path, *len));
            node(path, *bits, Kind::File(content))
        }
        Thing::Symlink(to) => node(path, 0o777, Kind::Symlink(to.clone())),
    }
}

fn permissions(letter: char, bits: u16) -> String {
    let one = |n: u16| {
        let bit = |at: u16, letter| if n & at == 0 { '-' } else { letter };
        [bit(4, 'r'), bit(2, 'w'), bit(1, 'x')]
    };
    [bits >> 6, bits >> 3 & 7, bits & 7]
        .into_iter()
        .fold(letter.to_string(), |text, n| text + &one(n).iter().collect::<String>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn unsquashfs_unpacks_what_was_packed(tree in random_tree()) {
        if !have(&["unsquashfs"]) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let nodes: Vec<_> = [root()].into_iter().chain(tree.iter().map(to_node)).collect();
        save(&write(&nodes, EPOCH).unwrap(), &dir.path().join("image"));
        stdout("unsquashfs", &["-no-progress", "-d", "out", "image"], dir.path()).unwrap();
        let listing = list(dir.path());
        prop_assert_eq!(listing.lines().count(), nodes.len());
        for (path, thing) in &tree {
            let unpacked = dir.path().join("out").join(path);
            let (mode, end) = match thing {
                Thing::Dir(bits) => (permissions('d', *bits), path.clone()),
                Thing::File(bits, len) => {
                    prop_assert!(fs::read(unpacked).unwrap() == content(path, *len));
                    (permissions('-', *bits), path.clone())
                }
                Thing::Symlink(to) => ("lrwxrwxrwx".into(), format!("{path} -> {to}")),
            };
            let end = format!("2023-11-14 22:13 squashfs-root/{end}");
            let is_it = |line: &&str| line.starts_with(&format!("{mode} root/root ")) && line.ends_with(&end);
            prop_assert_eq!(listing.lines().filter(is_it).count(), 1, "{}: {}", end, listing);
        }
    }
}
