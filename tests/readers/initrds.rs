//! Initrds of GNU cpio, zstd and xz, and what the kernel makes of them.

use lab::tools::have;
use talforge::blob::Blob;
use talforge::inspect::initrd::{self, Tree};
use talforge::inspect::memo::Memo;
use talforge::inspect::unpack::Packing;

use crate::rig::{PROGRAMS, blob, folder, shell};

fn unpack(script: &str, name: &str) -> Result<Tree, String> {
    let dir = folder(name);
    let newc = "newc() { find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet -R 3:4; }";
    shell(
        &dir,
        &format!(
            "{newc}\nmkdir -p a/sub b; echo one > a/sub/f; echo two > b/f; ln a/sub/f a/sub/hard; ln -s f a/sub/soft
             chmod 640 a/sub/f; (cd a; newc) > a.cpio; (cd b; newc) > b.cpio\n( {script} ) > i"
        ),
    );
    let mut memo = Memo::default();
    initrd::unpack(&blob(&dir.join("i")), &mut memo).map_err(|e| e.to_string())
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    let file = tree.get(path).unwrap_or_else(|| panic!("{path}"));
    tree.content(file, 1 << 20, &mut Memo::default()).unwrap().to_vec().unwrap()
}

#[test]
fn segments_of_all_kinds_are_unpacked_in_order() {
    if !have(PROGRAMS) {
        return;
    }
    use Packing::{Xz, Zstd};
    let cases: &[(&str, &[Option<Packing>])] = &[
        ("cat a.cpio b.cpio", &[None, None]),
        ("zstd < a.cpio; zstd < b.cpio", &[Some(Zstd), Some(Zstd)]),
        ("xz -C crc32 < a.cpio; xz -C none < b.cpio", &[Some(Xz), Some(Xz)]),
        ("cat a.cpio; zstd -19 < b.cpio", &[None, Some(Zstd)]),
        (
            "zstd --no-check < a.cpio; head -c 3 /dev/zero; xz -C crc32 -9 < b.cpio",
            &[Some(Zstd), Some(Xz)],
        ),
        ("cat a.cpio b.cpio | zstd", &[Some(Zstd)]),
        (
            "xz -C crc32 --block-size=512 < a.cpio > x; truncate -s %4096 x; cat x b.cpio",
            &[Some(Xz), None],
        ),
    ];
    for (index, (script, packings)) in cases.iter().enumerate() {
        let tree = unpack(script, &format!("initrd{index}"));
        let tree = tree.unwrap_or_else(|e| panic!("{script}: {e}"));
        let found: Vec<_> = tree.segments.iter().map(|s| s.packing).collect();
        assert_eq!(found, *packings, "{script}");
        assert_eq!(content(&tree, "sub/f"), b"one\n");
        assert_eq!(content(&tree, "/sub/hard"), b"one\n", "a hard link has the contents too");
        assert_eq!(content(&tree, "f"), b"two\n");
        let file = tree.get("./sub/f").unwrap();
        assert_eq!((file.mode, file.uid, file.gid, file.len), (0o100_640, 3, 4, 4));
        let paths: Vec<_> = tree.paths().collect();
        assert_eq!(paths, ["dev", "f", "root", "sub", "sub/f", "sub/hard", "sub/soft"]);
        assert!(!tree.get("sub/soft").unwrap().is_regular());
    }
}

#[test]
fn a_later_file_takes_the_place_of_an_earlier() {
    if !have(PROGRAMS) {
        return;
    }
    let tree =
        unpack("rm a/sub/soft; echo three > a/sub/f; cat a.cpio; (cd a; newc)", "later").unwrap();
    assert_eq!(content(&tree, "sub/f"), b"three\n");
    let over = "mkdir c; echo > c/sub; cat a.cpio; (cd c; newc)";
    assert!(unpack(over, "over").unwrap_err().contains("cannot replace a directory"));
}

/// The kernel unpacks one frame or stream at a time, and an entry must not go on in the next.
#[test]
fn an_entry_does_not_go_on_in_the_next_frame() {
    if !have(PROGRAMS) {
        return;
    }
    let split = "head -c 130 a.cpio | zstd; tail -c +131 a.cpio | zstd";
    assert!(unpack(split, "split").unwrap_err().contains("ends inside of the entry"));
    let split = "head -c 130 a.cpio | xz -C crc32; tail -c +131 a.cpio | xz -C crc32";
    assert!(unpack(split, "splitxz").unwrap_err().contains("ends inside of the entry"));
}

#[test]
fn a_cut_or_flipped_segment_is_a_damage() {
    if !have(PROGRAMS) {
        return;
    }
    for packer in ["zstd", "xz -C crc32"] {
        let name = &packer[..2];
        let cut = unpack(&format!("{packer} < a.cpio | head -c -9"), name).unwrap_err();
        assert!(cut.contains("it is cut"), "{cut}");
        let flip = format!(
            "{packer} < a.cpio > x; printf '\\377\\0\\377' | dd of=x bs=1 seek=60 conv=notrunc status=none; cat x"
        );
        assert!(unpack(&flip, name).is_err());
    }
}

/// A few KiB that unpack to 64 MiB are refused before they do.
#[test]
fn a_bomb_is_refused() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("bomb");
    shell(
        &dir,
        "mkdir t; truncate -s 64M t/f; (cd t; echo f | cpio -o -H newc --quiet) | zstd -q -1 > i",
    );
    let initrd = blob(&dir.join("i"));
    let damage = initrd::unpack(&initrd, &mut Memo::default()).unwrap_err().to_string();
    assert!(damage.contains("far more bytes"), "{damage}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_empty_initrd_has_no_files() {
    let tree = initrd::unpack(&Blob::default(), &mut Memo::default()).unwrap();
    assert_eq!(tree.paths().collect::<Vec<_>>(), ["dev", "root"]);
}
