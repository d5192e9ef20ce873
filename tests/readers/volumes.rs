//! FAT volumes, squashfs images and partition tables of foreign tools.

use lab::tools::have;
use talforge::blob::Blob;
use talforge::inspect::fat::{Fat, READ_ONLY, Width};
use talforge::inspect::iso::Iso;
use talforge::inspect::partitions::{self, Scheme};
use talforge::inspect::squashfs::{Compressor, Squashfs};

use crate::rig::{PROGRAMS, blob, folder, rig, shell};

/// Kinds of volumes: the options of mkfs.vfat, the size, and the type that it has.
const VOLUMES: &[(&str, &str, Width)] = &[
    ("-F 12", "1440K", Width::Fat12),
    ("-F 12 -s 4", "4M", Width::Fat12),
    ("-F 16", "16M", Width::Fat16),
    ("-F 16 -S 4096 -s 1", "64M", Width::Fat16),
    ("-F 32 -s 1", "36M", Width::Fat32),
    ("-F 32 -s 2 -f 1", "80M", Width::Fat32),
    ("-F 32 -S 4096 -s 1", "270M", Width::Fat32),
];

const NAMES: &[&str] = &[
    "BOOTX64.EFI",
    "BOOTX65.efi",
    "lower.txt",
    "Talos-v1.13.9~2.efi",
    "a long name with spaces, of more than 26 letters.txt",
    "thirteen.char",
    "übergröße ✓.yaml",
    "noextension",
];

/// Bytes that no compressor shortens to nothing.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(i) >> 7).to_le_bytes()[0]).collect()
}

#[test]
fn volumes_of_mkfs_are_read() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("fat");
    std::fs::create_dir_all(dir.join("Sub/deeper")).unwrap();
    for (index, name) in NAMES.iter().enumerate() {
        let bytes = noise(index * 7001);
        std::fs::write(dir.join("Sub/deeper").join(name), bytes).unwrap();
    }
    for (options, size, width) in VOLUMES {
        let said = shell(
            &dir,
            &format!(
                "rm -f v; truncate -s {size} v; mkfs.vfat -n LABEL {options} v >/dev/null
                LC_ALL=C.UTF-8 mcopy -s -i v Sub ::
                printf x | mcopy -i v - ::/fragment; mdel -i v ::/Sub/deeper/lower.txt
                LC_ALL=C.UTF-8 mcopy -i v Sub/deeper/lower.txt ::/Sub/deeper/; mattrib +r -i v ::/fragment
                fsck.fat -n -v v"
            ),
        );
        let fat = Fat::read(&blob(&dir.join("v"))).unwrap();
        assert_eq!(fat.width, *width, "{options}");
        assert!(said.contains(&format!("/{} clusters", fat.clusters)), "{said}");
        assert_eq!(fat.label().unwrap().as_deref(), Some("LABEL"));
        for name in NAMES {
            let path = format!("SUB/Deeper/{}", name.to_uppercase());
            let file = fat.find(&path).unwrap().unwrap_or_else(|| panic!("{options}: {path}"));
            assert_eq!(&file.name, name, "{options}");
            let want = std::fs::read(dir.join("Sub/deeper").join(name)).unwrap();
            assert!(fat.content(&file).unwrap().to_vec().unwrap() == want, "{options}: {name}");
        }
        let deeper = fat.find("Sub/deeper").unwrap().unwrap();
        assert_eq!(fat.list(Some(&deeper)).unwrap().len(), NAMES.len());
        assert_eq!(fat.find("fragment").unwrap().unwrap().attributes & READ_ONLY, READ_ONLY);
        assert!(fat.find("fragment/x").unwrap().is_none());
    }
}

/// Firmware takes such a volume for a FAT16 and does not find its root directory.
#[test]
fn a_fat32_of_too_few_clusters_is_refused() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("fat32small");
    shell(&dir, "truncate -s 36M v; mkfs.vfat -F 32 -s 2 v >/dev/null 2>&1");
    let damage = Fat::read(&blob(&dir.join("v"))).unwrap_err().to_string();
    assert!(damage.contains("laid out as FAT32"), "{damage}");
    shell(&dir, "rm v; truncate -s 36M v; mkfs.vfat -F 32 -s 1 v >/dev/null; truncate -s -1 v");
    assert!(
        Fat::read(&blob(&dir.join("v"))).unwrap_err().to_string().contains("should be at most")
    );
}

#[test]
fn images_of_mksquashfs_are_read() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("squashfs");
    let big = noise(700_001);
    std::fs::create_dir_all(dir.join("t/usr/many")).unwrap();
    std::fs::write(dir.join("t/usr/big"), &big).unwrap();
    std::fs::write(dir.join("t/usr/hole"), vec![0; 300_000]).unwrap();
    std::fs::write(dir.join("t/usr/empty"), []).unwrap();
    std::fs::write(dir.join("t/usr/small"), "small").unwrap();
    for number in 0..3000 {
        std::fs::write(dir.join(format!("t/usr/many/file-{number}")), number.to_string()).unwrap();
    }
    shell(
        &dir,
        "label t/usr/small; setfattr -n user.a -v b t/usr/small; chmod 4711 t/usr/small; ln -s small t/usr/link",
    );
    let options = [
        "-comp zstd",
        "-comp xz",
        "-comp zstd -no-fragments",
        "-comp xz -always-use-fragments -b 4096",
        "-comp zstd -noI -noD -noF -noX",
        "-comp zstd -b 1M -no-exports",
        "-comp xz -Xdict-size 100%",
        "-comp zstd -no-sparse -no-duplicates",
    ];
    for options in options {
        shell(
            &dir,
            &format!(
                "mksquashfs t i -noappend -quiet -no-progress -force-uid 7 -force-gid 70000 {options}"
            ),
        );
        let image = Squashfs::read(&blob(&dir.join("i"))).unwrap();
        assert_eq!(image.compressor == Compressor::Xz, options.contains("xz"));
        let read = |path: &str| {
            let file = image.find(path).unwrap().unwrap_or_else(|| panic!("{options}: {path}"));
            image.content(&file, 1 << 20).unwrap_or_else(|e| panic!("{options}: {path}: {e}"))
        };
        assert!(read("usr/big") == big, "{options}");
        assert_eq!(read("usr/hole"), vec![0; 300_000]);
        assert_eq!(read("/usr/empty"), b"");
        for number in [0, 1, 999, 1000, 2999] {
            assert_eq!(read(&format!("usr/many/file-{number}")), number.to_string().as_bytes());
        }
        let small = image.find("usr/small").unwrap().unwrap();
        assert_eq!((small.mode, small.uid, small.gid, small.len), (0o4711, 7, 70000, 5));
        let label = image.security_xattr(&small, "selinux").unwrap();
        let want = crate::rig::label().map(str::as_bytes);
        assert_eq!(label.as_deref(), want, "{options}");
        assert_eq!(image.security_xattr(&small, "a").unwrap(), None, "it is not in `security.`");
        for path in ["usr", "usr/link", "usr/none", "usr/small/x", "none/x"] {
            assert_eq!(image.find(path).unwrap(), None, "{path}");
        }
        let damage = image.content(&small, 4).unwrap_err().to_string();
        assert!(damage.contains("should be at most 4"), "{damage}");
    }
}

#[test]
fn compressors_that_talos_lacks_are_refused() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("compressors");
    for name in ["gzip", "lz4", "lzo"] {
        shell(
            &dir,
            &format!("mkdir -p t; mksquashfs t i -noappend -quiet -no-progress -comp {name}"),
        );
        let damage = Squashfs::read(&blob(&dir.join("i"))).unwrap_err().to_string();
        assert!(damage.contains("its compressor has the number"), "{damage}");
    }
}

#[test]
fn tables_of_sgdisk_and_fdisk_are_read() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("tables");
    let name = "thirty-six letters of ünïcode, ✓✓✓✓✓";
    shell(
        &dir,
        &format!(
            "truncate -s 64M g; LC_ALL=C.UTF-8 sgdisk -n 5:2048:+8M -t 5:EF00 -c 5:'{name}' -A 5:set:2 \
             -u 5:11111111-2222-3333-4444-555555555555 -n 2:40960:+4M -U AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE g
             truncate -s 64M m; printf 'o\\nn\\np\\n1\\n\\n+8M\\nt\\nef\\nn\\np\\n3\\n\\n+8M\\nw\\n' | fdisk m"
        ),
    );
    let table = partitions::read(&blob(&dir.join("g"))).unwrap().unwrap();
    let Scheme::Gpt { disk, .. } = table.scheme else { panic!("{table:?}") };
    assert_eq!(disk.to_string(), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    let [two, five] = table.partitions.as_slice() else { panic!("{table:?}") };
    assert_eq!((two.number, two.range.clone()), (2, 20 << 20..24 << 20));
    assert_eq!((five.number, five.range.clone()), (5, 1 << 20..9 << 20));
    assert_eq!(five.name, name);
    assert_eq!((five.attributes, five.is_esp(), two.is_esp()), (4, true, false));
    assert_eq!(five.guid.unwrap().to_string(), "11111111-2222-3333-4444-555555555555");
    assert!(table.notes.is_empty());

    let table = partitions::read(&blob(&dir.join("m"))).unwrap().unwrap();
    assert_eq!(table.scheme, Scheme::Mbr);
    let esps: Vec<_> = table.esps().map(|p| (p.range.start, p.range.end)).collect();
    assert_eq!(esps, [(1 << 20, 9 << 20)]);
    assert_eq!(table.partitions[1].number, 3);
}

#[test]
fn files_of_an_iso_have_their_names_and_bytes() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("iso");
    let long = "x".repeat(240);
    shell(
        &dir,
        &format!(
            "mkdir -p t/a/b/c/d/e/f/g; printf deep > t/a/b/c/d/e/f/g/file; printf long > 't/Name with {long}'
             for i in $(seq 400); do printf $i > t/a/file-$i; done
             xorrisofs -quiet -o with.iso t; xorrisofs -quiet -no-rock -o without.iso t 2>/dev/null || \
             xorriso -as mkisofs -quiet --norock -o without.iso t"
        ),
    );
    let iso = Iso::read(&blob(&dir.join("with.iso"))).unwrap();
    let read = |path: &str| {
        let file = iso.find(path).unwrap().unwrap_or_else(|| panic!("{path}"));
        iso.content(&file).to_vec().unwrap()
    };
    assert_eq!(read("a/b/c/d/e/f/g/file"), b"deep");
    assert_eq!(read(&format!("/Name with {long}")), b"long");
    assert_eq!(read("a/file-399"), b"399");
    assert!(iso.find("A/file-399").unwrap().is_none(), "case is as stored");
    assert_eq!(iso.walk().unwrap().len(), 402);
    assert!(iso.boots.is_empty());
}

#[test]
fn a_catalog_says_what_xorriso_reports() {
    if !have(PROGRAMS) {
        return;
    }
    let said = shell(rig(), "xorriso -indev hybrid.iso -report_el_torito plain 2>/dev/null");
    let iso = Iso::read(&blob(&rig().join("hybrid.iso"))).unwrap();
    let blocks: Vec<_> = iso.boots.iter().map(|b| b.block.to_string()).collect();
    let reported: Vec<_> = said
        .lines()
        .filter(|l| l.starts_with("El Torito boot img :"))
        .filter_map(|l| l.split_whitespace().last())
        .collect();
    assert_eq!(blocks, reported);
    assert_eq!(blocks.len(), 2);
    assert!(iso.second_descriptor);
    assert!(iso.find("boot/grub/i386-pc/normal.mod").unwrap().is_some());
}

#[test]
fn what_is_empty_is_nothing() {
    let empty = Blob::default();
    assert!(Fat::read(&empty).is_err());
    assert!(Squashfs::read(&empty).is_err());
    assert!(Iso::read(&empty).is_err());
    assert!(partitions::read(&empty).unwrap().is_none());
}
