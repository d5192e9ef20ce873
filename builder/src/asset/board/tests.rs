//! Proofs of a board's files: what is taken from an image, and what is refused.

use std::collections::BTreeMap;

use super::*;
use crate::blob::Builder;
use crate::digest::Digest;
use crate::tree::Entry;
use crate::units::{KIB, MIB};

fn tree(entries: &[(&str, Kind)]) -> Tree {
    let mut tree = Tree::default();
    let mut add = |path: &str, kind| {
        tree.insert(path, Entry { mode: 0o644, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind });
    };
    add("artifacts", Kind::Folder);
    for (path, kind) in entries {
        add(&format!("artifacts/{path}"), kind.clone());
    }
    tree
}

fn file(text: &str) -> Kind {
    let bytes = text.as_bytes();
    Kind::File(Blob::from_bytes("file", bytes.to_vec()), Digest::of(bytes))
}

fn long(len: u64) -> Kind {
    Kind::File(Builder::default().zeros("long", len).finish(), Digest::of(b""))
}

fn needs(first_mib: u64, raw: &[(&str, u64)], esp: Vec<Esp>) -> board::Board {
    let raw = raw.iter().map(|&(from, at)| Raw { from: from.into(), at: Size(at) });
    board::Board {
        name: "mine".into(),
        artifacts: "sbc-mine".into(),
        first_partition: Size(first_mib * MIB),
        raw: raw.collect(),
        esp,
    }
}

fn folder(from: &str, to: &str) -> Esp {
    Esp::Folder { from: from.into(), to: to.into() }
}

fn told(result: Result<Board, BoardError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn files_and_folders_are_taken_and_later_ones_win() {
    let tree = tree(&[
        ("boot", Kind::Folder),
        ("boot/overlays", Kind::Folder),
        ("boot/overlays/a.dtbo", file("old")),
        ("boot/start.elf", file("elf")),
        ("boot/link", Kind::Symlink("start.elf".into())),
        ("bootless", file("no")),
        ("new", Kind::Folder),
        ("new/A.dtbo", file("new")),
    ]);
    let esp = vec![
        folder("boot", ""),
        folder("new", "overlays"),
        Esp::File { from: "bootless".into(), to: "dtb/x".into() },
        Esp::Text { text: "first".into(), to: "config.txt".into() },
        Esp::Text { text: "second".into(), to: "CONFIG.TXT".into() },
    ];
    let board = open(&needs(1, &[], esp), &tree).unwrap();
    let text = |file: &File| String::from_utf8(file.content.to_vec().unwrap()).unwrap();
    let files: Vec<_> = board.esp.iter().map(|f| format!("{} {}", f.path, text(f))).collect();
    let want =
        ["link elf", "overlays/a.dtbo new", "start.elf elf", "dtb/x no", "config.txt second"];
    assert_eq!(files, want);
}

#[test]
fn what_an_image_does_not_have_is_told() {
    let tree = tree(&[
        ("empty", Kind::Folder),
        ("pipes", Kind::Folder),
        ("pipes/p", Kind::Other("a pipe")),
        ("links", Kind::Folder),
        ("links/up", Kind::Symlink("..".into())),
        ("file", file("x")),
    ]);
    let one = |esp: Esp| told(open(&needs(1, &[], vec![esp]), &tree));
    let all = [
        told(open(&needs(11, &[("u-boot.bin", 32 * KIB)], vec![]), &tree)),
        one(Esp::File { from: "empty".into(), to: "a".into() }),
        one(folder("file", "")),
        one(folder("none", "")),
        one(folder("empty", "")),
        one(folder("pipes", "")),
        one(folder("links", "")),
    ]
    .join("\n");
    insta::assert_snapshot!(all, @r"
    the image `sbc-mine` has nothing for the board `mine` at `artifacts/u-boot.bin`: there is no `artifacts/u-boot.bin`
    `artifacts/empty` in the image `sbc-mine` is a folder, and the board `mine` needs a file
    `artifacts/file` in the image `sbc-mine` is a file, and the board `mine` needs a folder
    the image `sbc-mine` has nothing for the board `mine` at `artifacts/none`: there is no `artifacts/none`
    `artifacts/empty` in the image `sbc-mine` is an empty folder, and the board `mine` needs its files
    `artifacts/pipes/p` in the image `sbc-mine` is a pipe, and the board `mine` needs a file
    `artifacts/links/up` in the image `sbc-mine` is a folder, and the board `mine` needs a file
    ");
}

#[test]
fn what_is_in_the_way_is_refused_with_numbers() {
    let entries = 20_482 * 512;
    let fits = |first, raw: &[(&'static str, u64, u64)]| {
        let files: Vec<_> = raw.iter().map(|&(name, _, len)| (name, long(len))).collect();
        let raw: Vec<_> = raw.iter().map(|&(name, at, _)| (name, at)).collect();
        open(&needs(first, &raw, vec![]), &tree(&files))
    };
    let at = 32 * KIB;
    assert_eq!(fits(11, &[("u", at, entries - at)]).unwrap().raw[0].0, at);
    assert!(fits(11, &[("u", 1024, 1), ("v", entries + 16_384, 17_408)]).is_ok());
    assert!(fits(1, &[("u", 17_408, MIB - 17_408)]).is_ok());
    let all = [
        told(fits(11, &[("u", at, entries - at + 1)])),
        told(fits(11, &[("u", 1023, 1)])),
        told(fits(2, &[("u", 8 * KIB, 2 * MIB)])),
        told(fits(1, &[("u", 8 * KIB, 1)])),
        told(fits(11, &[("u", 11 * MIB - 1, 2)])),
        told(fits(11, &[("u", at, 512), ("v", at + 511, 1)])),
    ]
    .join("\n");
    insta::assert_snapshot!(all, @r"
    `u` of the board `mine` takes bytes 32768 to 10486785 of the disk, and the partition table takes 10486784 to 10503168
    `u` of the board `mine` takes bytes 1023 to 1024 of the disk, and the protective MBR and the table's header takes 0 to 1024
    `u` of the board `mine` takes bytes 8192 to 2105344 of the disk, and the partition table takes 1049600 to 1065984
    `u` of the board `mine` takes bytes 8192 to 8193 of the disk, and the partition table takes 1024 to 17408
    `u` of the board `mine` takes bytes 11534335 to 11534337 of the disk, and the first partition takes 11534336 to 18446744073709551615
    `v` of the board `mine` takes bytes 33279 to 33280 of the disk, and `u` takes 32768 to 33280
    ");
}
