//! Maps of made-up media: containment, bars, drawings.

use proptest::prelude::*;

use super::nest::nest;
use super::survey::Found;
use super::*;
use crate::blob::Builder;
use crate::inspect::Kind as MediumKind;
use crate::report::Paint;
use crate::units::{MIB, SectorSize};

const DISK: MediumKind = MediumKind::Disk { sector: SectorSize::B512 };

fn zeros(len: u64) -> Blob {
    Builder::default().zeros("zeros", len).finish()
}

fn found(range: Range<u64>, kind: Kind, name: &str, is_own: bool) -> Found {
    Found { range, kind, name: name.to_owned(), is_own }
}

/// A disk with an EFI partition: a UKI, and an addon at its end; and META with a value.
fn disk() -> Map {
    let (esp, uki, addon) = (MIB..101 * MIB, 2 * MIB, 101 * MIB - 18_944);
    let initrd = uki + 20 * MIB;
    let meta = esp.end;
    let all = vec![
        found(0..512, Kind::Structure, "MBR", false),
        found(512..1024, Kind::Structure, "GPT header", false),
        found(1024..17_408, Kind::Structure, "GPT entries", false),
        found(esp.clone(), Kind::Partition, "partition 1 `EFI`, FAT32", false),
        found(esp.start..esp.start + 18_432, Kind::Structure, "boot sector", false),
        found(uki..uki + 81 * MIB, Kind::Program, "`EFI/Linux/Talos-v1.13.9.efi`", false),
        found(uki..uki + 1024, Kind::Structure, "PE headers", false),
        found(uki + 1024..initrd, Kind::Kernel, "`.linux`", false),
        found(initrd..uki + 81 * MIB, Kind::Initramfs, "`.initrd`", false),
        found(initrd..uki + 81 * MIB, Kind::Archive, "archive, zstd", false),
        found(
            addon..esp.end,
            Kind::Program,
            "`EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi`",
            true,
        ),
        found(addon..addon + 2560, Kind::Structure, "PE headers", false),
        found(addon + 2560..esp.end, Kind::Initramfs, "`.initrd`", true),
        found(meta..meta + MIB, Kind::Partition, "partition 2 `META`", false),
        found(meta..meta + MIB / 4, Kind::Store, "copy 1 of META", false),
        found(meta..meta + 36, Kind::Store, "values of META", true),
        found(meta..meta + 4, Kind::Value, "head of META", true),
        found(meta + 4..meta + 36, Kind::Value, "META key 0x0a", true),
        found(meta + MIB / 4 - 36..meta + MIB / 4, Kind::Value, "digest of META", true),
    ];
    let root = nest(&zeros(104 * MIB), DISK, all);
    let about = "raw disk, 512-byte sectors".to_owned();
    Map { name: "cp-1.raw".to_owned(), about, root, left_out: 0 }
}

#[test]
fn a_disk_is_drawn_so() {
    insta::assert_snapshot!(text::draw(&disk(), 80, Paint::Plain));
}

#[test]
fn a_terminal_gets_the_same_in_colours() {
    let ansi = text::draw(&disk(), 80, Paint::Ansi);
    let mut bare = String::new();
    for (number, part) in ansi.split("\x1b[").enumerate() {
        bare += if number == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    let plain = text::draw(&disk(), 80, Paint::Plain);
    let lines = |text: &str| {
        text.lines().map(|l| l.replace('=', " ").trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&bare), lines(&plain));
    // Own bytes have colours that nothing else has.
    let own = "\x1b[38;5;231;48;5;161m";
    assert!(ansi.matches(own).count() > 5);
    insta::assert_snapshot!(
        ansi.replace('\x1b', "ESC").lines().take(14).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn a_disk_is_an_svg_so() {
    insta::assert_snapshot!(svg::draw(&disk()));
}

#[test]
fn an_initramfs_of_segments_is_drawn_so() {
    let all = vec![
        found(0..70 * MIB + 2, Kind::Archive, "archive, xz", false),
        found(70 * MIB + 4..70 * MIB + 4764, Kind::Archive, "archive", true),
        found(70 * MIB + 4..70 * MIB + 4216, Kind::Entry, "`0.sqsh`, machine config", true),
        found(70 * MIB + 4216..70 * MIB + 4764, Kind::Entry, "`extensions.yaml`", true),
    ];
    let root = nest(&zeros(70 * MIB + 4764), MediumKind::Initrd, all);
    let about = "initramfs".to_owned();
    let map = Map { name: "initramfs.xz".to_owned(), about, root, left_out: 3 };
    insta::assert_snapshot!(text::draw(&map, 80, Paint::Plain), @r"
    initramfs.xz: initramfs
    # one node's own: 4760 bytes (4760B) in 1 place

    1  initramfs                                                              ~70MiB
       a archive, xz ==============================================================#
       a  0x0000000000       73400322   ~70MiB  archive, xz
       #  0x0004600004           4760    4760B  archive -> 2

    2  archive                                                                 4760B
       # 0.sqsh ####################################################################
       #  0x0004600004           4212    4212B  `0.sqsh`, machine config
       #  0x0004601078            548     548B  `extensions.yaml`

    3 further regions are not shown
    ");
}

#[test]
fn one_range_under_two_names_is_one_region() {
    let all = vec![
        found(4096..8192, Kind::Partition, "partition 2", false),
        found(4096..8192, Kind::File, "`efi.img`", false),
        found(4096..6000, Kind::File, "`EFI/BOOT/BOOTX64.EFI`", false),
        found(4096..6000, Kind::File, "`efi/boot/bootx64.efi`", false),
    ];
    let root = nest(&zeros(8192), DISK, all);
    let names: Vec<_> = root.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["free", "partition 2 = `efi.img`"]);
    assert_eq!(root.parts[1].parts[0].name, "`EFI/BOOT/BOOTX64.EFI`");
}

#[test]
fn what_lies_across_an_end_is_cut_there() {
    let all = vec![
        found(0..6000, Kind::Structure, "area", false),
        found(4000..9000, Kind::File, "`file`", false),
    ];
    let root = nest(&zeros(9000), DISK, all);
    let ranges: Vec<_> = root.parts.iter().map(|part| part.range.clone()).collect();
    assert_eq!(ranges, [0..6000, 6000..9000]);
    assert_eq!(root.parts[0].parts[1].range, 4000..6000);
}

#[test]
fn data_that_nothing_names_is_found_between_partitions() {
    let disk = Builder::default().zeros("gap", 8192).bytes("loader", [7; 700]).fill_to(MIB);
    let all = vec![found(0..512, Kind::Structure, "MBR", false)];
    let root = nest(&disk.finish(), DISK, all);
    let parts: Vec<_> = root.parts.iter().map(|p| (p.kind, p.range.clone())).collect();
    let want = [
        (Kind::Structure, 0..512),
        (Kind::Free, 512..8192),
        (Kind::Data, 8192..9216),
        (Kind::Free, 9216..MIB),
    ];
    assert_eq!(parts, want);
}

/// Names of a hostile medium, in a text and in an SVG.
#[test]
fn names_steer_neither_a_terminal_nor_a_browser() {
    let name = "`\x1b[2J</title><script>\u{202e}&\"\u{ffff}\u{e9}`";
    let all = vec![found(0..90_000, Kind::File, name, true)];
    let root = nest(&zeros(100_000), DISK, all);
    let map = Map { name: name.to_owned(), about: name.to_owned(), root, left_out: 0 };
    for paint in [Paint::Plain, Paint::Ansi] {
        let text = text::draw(&map, 80, paint);
        assert!(!text.contains("\x1b[2J"));
        assert!(text.chars().all(|c| matches!(c, '\n' | ' '..='~') || paint == Paint::Ansi));
    }
    let svg = svg::draw(&map);
    assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"));
    assert!(!svg.chars().any(|c| matches!(c, '\x1b' | '\u{202e}' | '\u{ffff}')));
}

fn regions() -> impl Strategy<Value = Vec<Found>> {
    let kinds = [
        Kind::Partition,
        Kind::Structure,
        Kind::File,
        Kind::Program,
        Kind::Initramfs,
        Kind::Archive,
        Kind::Entry,
    ];
    let one = (0u64..70_000, 0u64..70_000, 0..kinds.len(), any::<bool>());
    let region = move |(number, (a, b, kind, is_own)): (usize, (u64, u64, usize, bool))| {
        found(a.min(b)..a.max(b), kinds[kind], &format!("`a/{number}`"), is_own)
    };
    prop::collection::vec(one, 0..120)
        .prop_map(move |all| all.into_iter().enumerate().map(region).collect())
}

fn check(region: &Region) {
    let mut at = region.range.start;
    for part in &region.parts {
        assert!(!part.is_empty() && part.range.start >= at, "{part:?}");
        assert!(part.range.end <= region.range.end, "{part:?}");
        at = part.range.end;
        check(part);
    }
}

proptest! {
    #[test]
    fn regions_lie_in_their_parents_in_order_and_apart(all in regions()) {
        check(&nest(&zeros(65_536), DISK, all));
    }

    /// What is own of a medium is in one of the ranges that were found to be.
    #[test]
    fn nothing_becomes_own_that_was_not(all in regions()) {
        let own: Vec<_> = all.iter().filter(|f| f.is_own).map(|f| f.range.clone()).collect();
        for range in nest(&zeros(65_536), DISK, all).own() {
            for at in [range.start, range.end - 1] {
                prop_assert!(own.iter().any(|own| own.contains(&at)));
            }
        }
    }

    #[test]
    fn bars_are_as_wide_as_they_must_be(all in regions(), width in 60usize..160) {
        let root = nest(&zeros(65_536), DISK, all);
        let map = Map { name: "name".into(), about: "about".into(), root, left_out: 0 };
        let text = text::draw(&map, width, Paint::Plain);
        let lines: Vec<_> = text.lines().collect();
        let mut bars = 0;
        for pair in lines.windows(2) {
            // A heading starts with a number, and its bar comes next.
            if pair[0].starts_with(|c: char| c.is_ascii_digit()) {
                prop_assert_eq!(pair[0].len(), width);
                prop_assert_eq!(pair[1].len(), width);
                bars += 1;
            }
        }
        prop_assert!(bars > 0);
        svg::draw(&map);
    }
}
