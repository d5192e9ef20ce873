//! Archives, images, volumes and tables, judged by the tools that others read them with.

#[cfg(test)]
mod at_hand {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use talforge::blob::{Blob, Source};

    /// Writes a blob as a sparse file.
    pub(crate) fn save(blob: &Blob, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(blob.len()).unwrap();
        for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
            let bytes = blob.slice(extent.start..extent.end()).to_vec().unwrap();
            file.write_all_at(&bytes, extent.start).unwrap();
        }
    }

    /// `len` bytes that differ from seed to seed and do not compress.
    pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        (0..len).map(step).collect()
    }
}

#[cfg(test)]
mod cpio_archives {
    use super::at_hand::{noise, save};
    use lab::tools::{have, run, stdout};
    use proptest::prelude::*;
    use std::{fs, path::Path};
    use talforge::blob::{Blob, Builder};
    use talforge::format::cpio::{Entry, Kind, write};

    fn entry(path: &str, permissions: u16, kind: Kind) -> Entry {
        Entry { path: path.into(), permissions, kind }
    }

    /// `cpio` reads its archive from standard input, so a shell has to hand it over.
    fn cpio(args: &str, dir: &Path) -> String {
        let out = run("sh", &["-c", &format!("cpio {args} < archive.cpio")], dir).unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn cpio_lists_what_was_written() {
        if !have(&["cpio", "sh"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = |len| Kind::File(Blob::from_bytes("file", vec![1_u8; len]));
        let entries = [
            entry("kernel", 0o755, Kind::Dir),
            entry("kernel/x86", 0o700, Kind::Dir),
            entry("kernel/x86/config", 0o400, file(5)),
            entry("empty", 0o644, file(0)),
        ];
        save(&write(&entries, 1_700_000_000).unwrap(), &dir.path().join("archive.cpio"));
        insta::assert_snapshot!(cpio("-itvn --quiet", dir.path()), @r"
        drwxr-xr-x   2 0        0               0 Nov 14  2023 kernel
        drwx------   2 0        0               0 Nov 14  2023 kernel/x86
        -r--------   1 0        0               5 Nov 14  2023 kernel/x86/config
        -rw-r--r--   1 0        0               0 Nov 14  2023 empty
        ");
    }

    /// An early archive of microcode must be found by programs that read one archive after another.
    #[test]
    fn a_second_archive_may_follow() {
        if !have(&["cpio", "sh"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let one = |name| write(&[entry(name, 0o755, Kind::Dir)], 0).unwrap();
        let both = Builder::default().blob(&one("a")).blob(&one("b")).finish();
        save(&both, &dir.path().join("archive.cpio"));
        let script = "(cpio -it --quiet; cpio -it --quiet) < archive.cpio";
        assert_eq!(stdout("sh", &["-c", script], dir.path()).unwrap(), "a\nb\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn cpio_unpacks_what_was_packed(lens in prop::collection::vec(0_usize..5000, 0..9)) {
            if !have(&["cpio", "sh"]) {
                return Ok(());
            }
            let dir = tempfile::tempdir().unwrap();
            let contents: Vec<_> = (0..).zip(&lens).map(|(n, &len)| noise(n, len)).collect();
            // Names of different lengths, so that each padding occurs.
            let name = |n: usize| format!("f{}", "x".repeat(n));
            let file = |(n, bytes): (usize, &Vec<u8>)| {
                let content = Blob::from_bytes("file", bytes.clone());
                entry(&name(n), 0o644, Kind::File(content))
            };
            let entries: Vec<_> = contents.iter().enumerate().map(file).collect();
            save(&write(&entries, 0).unwrap(), &dir.path().join("archive.cpio"));
            cpio("-i --quiet", dir.path());
            for (n, bytes) in contents.iter().enumerate() {
                prop_assert_eq!(&fs::read(dir.path().join(name(n))).unwrap(), bytes);
            }
        }
    }
}

#[cfg(test)]
mod squashfs_images {
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
        insta::assert_snapshot!(stdout("unsquashfs", &["-s", "image"], dir.path()).unwrap(), @r"
        Found a valid SQUASHFS 4:0 superblock on image.
        Creation or last append time Tue Nov 14 22:13:20 2023
        Filesystem size 300545 bytes (293.50 Kbytes / 0.29 Mbytes)
        Compression zstd
        	compression-level 18
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
        let want =
            format!("# file: out/usr/long\nuser.a=\"1\"\nuser.b=\"{}\"\n\n", "2".repeat(3000));
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
        let many =
            (0..33_000).map(|n| node(&format!("a/{n:05}"), 0o600, Kind::File(Blob::default())));
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
}

#[cfg(test)]
mod fat_volumes {
    use super::at_hand::{noise, save};
    use lab::tools::{have, run, stdout};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::{fs, path::Path};
    use talforge::blob::Blob;
    use talforge::format::fat::{FatError, File, Label, Place, Volume, least_len, write};
    use talforge::units::{MIB, SectorSize};

    const TOOLS: [&str; 5] = ["fsck.fat", "mdir", "mcopy", "mattrib", "minfo"];

    fn file(path: &str, bytes: Vec<u8>) -> File {
        let content = Blob::from_bytes("content", bytes);
        File { path: path.into(), content, read_only: false, place: Place::First }
    }

    fn volume(len: u64, sector: SectorSize, files: Vec<File>) -> Volume {
        let label = Label::new("EFI").unwrap();
        let (serial, epoch, hidden_sectors) = (0x1234_abcd, 1_700_000_001, 2048);
        Volume { len, sector, label, serial, epoch, hidden_sectors, files }
    }

    /// The files that Talos wants on an ESP.
    fn esp() -> Vec<File> {
        vec![
            file("EFI/boot/BOOTX64.efi", noise(1, 123_456)),
            file("EFI/Linux/Talos-v1.13.9.efi", noise(2, 3_000_001)),
            file("loader/loader.conf", b"timeout 10\n".to_vec()),
            File { read_only: true, ..file("loader/random-seed", vec![0; 32]) },
            file("empty", vec![]),
            File {
                place: Place::Last,
                ..file("EFI/Linux/Talos-v1.13.9.efi.extra.d/n.efi", noise(3, 9000))
            },
        ]
    }

    /// Writes a volume as `image`, and lets `fsck.fat` look for the least fault.
    fn checked(volume: &Volume, dir: &Path) {
        save(&write(volume).unwrap().blob, &dir.join("image"));
        let out = run("fsck.fat", &["-n", "image"], dir).unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}");
        // It says who it is, and how many files there are. Any other line is a fault.
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[1].starts_with("image: "), "{text}");
    }

    /// What `mcopy` takes out of the image, by path.
    fn unpacked(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        fs::create_dir(dir.join("out")).unwrap();
        stdout("mcopy", &["-s", "-n", "-i", "image", "::*", "out"], dir).unwrap();
        let mut files = BTreeMap::new();
        let mut dirs = vec![dir.join("out")];
        while let Some(at) = dirs.pop() {
            for entry in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                    continue;
                }
                let path = entry.strip_prefix(dir.join("out")).unwrap().to_str().unwrap();
                files.insert(path.to_owned(), fs::read(&entry).unwrap());
            }
        }
        files
    }

    fn contents(files: &[File]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|file| (file.path.clone(), file.content.to_vec().unwrap())).collect()
    }

    #[test]
    fn tools_show_the_esp() {
        if !have(&TOOLS) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        checked(&volume(51 * MIB, SectorSize::B512, esp()), dir.path());
        assert_eq!(unpacked(dir.path()), contents(&esp()));
        let show = |program, args: &[&str]| stdout(program, args, dir.path()).unwrap();
        insta::assert_snapshot!(show("mdir", &["-/", "-i", "image", "::"]), @r"
         Volume in drive : is EFI        
         Volume Serial Number is 1234-ABCD
        Directory for ::/

        EFI          <DIR>     2023-11-14  22:13  EFI
        EMPTY                0 2023-11-14  22:13  empty
        LOADER       <DIR>     2023-11-14  22:13  loader
                3 files                   0 bytes

        Directory for ::/EFI

        .            <DIR>     2023-11-14  22:13 
        ..           <DIR>     2023-11-14  22:13 
        BOOT         <DIR>     2023-11-14  22:13  boot
        LINUX        <DIR>     2023-11-14  22:13  Linux
                4 files                   0 bytes

        Directory for ::/EFI/boot

        .            <DIR>     2023-11-14  22:13 
        ..           <DIR>     2023-11-14  22:13 
        BOOTX64  EFI    123456 2023-11-14  22:13  BOOTX64.efi
                3 files             123 456 bytes

        Directory for ::/EFI/Linux

        .            <DIR>     2023-11-14  22:13 
        ..           <DIR>     2023-11-14  22:13 
        TALOS-~1 EFI   3000001 2023-11-14  22:13  Talos-v1.13.9.efi
        TALOS-~1 D   <DIR>     2023-11-14  22:13  Talos-v1.13.9.efi.extra.d
                4 files           3 000 001 bytes

        Directory for ::/EFI/Linux/Talos-v1.13.9.efi.extra.d

        .            <DIR>     2023-11-14  22:13 
        ..           <DIR>     2023-11-14  22:13 
        N        EFI      9000 2023-11-14  22:13  n.efi
                3 files               9 000 bytes

        Directory for ::/loader

        .            <DIR>     2023-11-14  22:13 
        ..           <DIR>     2023-11-14  22:13 
        LOADER~1 CON        11 2023-11-14  22:13  loader.conf
        RANDOM~1            32 2023-11-14  22:13  random-seed
                4 files                  43 bytes

        Total files listed:
               21 files           3 132 500 bytes
                                 49 500 160 bytes free
        ");
        insta::assert_snapshot!(show("mattrib", &["-/", "-i", "image", "::"]), @r"
              ::/
              ::/EFI
              ::/EFI/boot
              ::/EFI/boot/BOOTX64.efi
              ::/EFI/Linux
              ::/EFI/Linux/Talos-v1.13.9.efi
              ::/EFI/Linux/Talos-v1.13.9.efi.extra.d
              ::/EFI/Linux/Talos-v1.13.9.efi.extra.d/n.efi
              ::/empty
              ::/loader
              ::/loader/loader.conf
        R     ::/loader/random-seed
        ");
        insta::assert_snapshot!(show("minfo", &["-i", "image", "::"]), @r#"
        device information:
        ===================
        filename="image"
        sectors per track: 32
        heads: 64
        cylinders: 51

        media byte: f8

        mformat command line:
          mformat -t 51 -h 64 -s 32 -r 0 -c 1 -m 248 -i "image" ::

        bootsector information
        ======================
        banner:"talforge"
        sector size: 512 bytes
        cluster size: 1 sectors
        reserved (boot) sectors: 32
        fats: 2
        max available root directory slots: 0
        small size: 0 sectors
        media descriptor byte: 0xf8
        sectors per fat: 0
        sectors per track: 32
        heads: 64
        hidden sectors: 2048
        big size: 104448 sectors
        physical drive id: 0x80
        reserved=0x0
        dos4=0x29
        serial number: 1234ABCD
        disk label="EFI        "
        disk type="FAT32   "
        Big fatlen=804
        Extended flags=0x0000
        FS version=0x0000
        rootCluster=2
        infoSector location=1
        backup boot sector=6

        Infosector:
        signature=0x41615252
        free clusters=96680
        last allocated cluster=6138
        "#);
    }

    #[test]
    fn tools_show_an_esp_of_4096_byte_sectors() {
        if !have(&TOOLS) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        checked(&volume(2101 * MIB, SectorSize::B4096, esp()), dir.path());
        assert_eq!(unpacked(dir.path()), contents(&esp()));
    }

    /// As many files as need several clusters of directory, whose short names collide.
    #[test]
    fn long_directories_are_read_whole() {
        if !have(&TOOLS) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |n: u32| format!("a/long-name-of-a-file-{n}.conf");
        let files: Vec<_> = (0..150).map(|n| file(&path(n), noise(n, 10))).collect();
        for mib in [40, 300] {
            checked(&volume(mib * MIB, SectorSize::B512, files.clone()), dir.path());
            assert_eq!(unpacked(dir.path()), contents(&files));
            fs::remove_dir_all(dir.path().join("out")).unwrap();
        }
    }

    #[test]
    fn a_volume_may_be_filled_to_the_last_cluster() {
        if !have(&TOOLS) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let of = |len| volume(40 * MIB, SectorSize::B512, vec![file("all", vec![7; len])]);
        let Err(FatError::Full { there, .. }) = write(&of(40 << 20)) else {
            panic!("the file is as long as the volume")
        };
        // The directory takes 1 cluster, and the file starts at the next multiple of 4096.
        let room = usize::try_from(there.bytes()).unwrap() - 4096;
        checked(&of(room), dir.path());
        assert_eq!(unpacked(dir.path())["all"].len(), room);
        assert!(matches!(write(&of(room + 1)), Err(FatError::Full { .. })));
    }

    /// Linux is the reader that counts on a running node: it tells upper from lower case.
    #[test]
    fn the_kernel_shows_names_as_written() {
        if !have(&["mount", "umount", "mkfs.vfat", "find"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = |program, args: &[&str]| run(program, args, dir.path()).unwrap();
        fs::create_dir(dir.path().join("at")).unwrap();
        assert!(run("mkfs.vfat", &["-C", "theirs", "4096"]).status.success());
        let mount = |image| run("mount", &["-t", "vfat", "-o", "loop,ro", image, "at"]);
        if !mount("theirs").status.success() {
            return;
        }
        assert!(run("umount", &["at"]).status.success());
        save(
            &write(&volume(51 * MIB, SectorSize::B512, esp())).unwrap().blob,
            &dir.path().join("image"),
        );
        assert!(mount("image").status.success());
        let found = run("find", &["at", "-type", "f"]);
        assert!(run("umount", &["at"]).status.success());
        let text = String::from_utf8(found.stdout).unwrap();
        let mut names: Vec<_> = text.lines().map(|line| line.trim_start_matches("at/")).collect();
        names.sort_unstable();
        assert_eq!(names, contents(&esp()).into_keys().collect::<Vec<_>>());
    }

    fn random_files() -> impl Strategy<Value = Vec<File>> {
        let name = "[a-zA-Z0-9$%'_@~`!(){}^#&+,;=\\[\\]-]([a-zA-Z0-9. _~-]{0,40}[a-z0-9_~])?";
        let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
        let len = prop_oneof![Just(0_usize), 1..5000_usize, 0..200_000_usize];
        let one =
            (path, len, any::<bool>(), any::<bool>()).prop_map(|(path, len, read_only, last)| {
                let place = if last { Place::Last } else { Place::First };
                File { read_only, place, ..file(&path, noise(1, len)) }
            });
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn mcopy_unpacks_what_was_packed(
            files in random_files(), spare in 0_u64..300, is_large in prop::bool::weighted(0.2),
        ) {
            if !have(&TOOLS) {
                return Ok(());
            }
            let dir = tempfile::tempdir().unwrap();
            let sector = if is_large { SectorSize::B4096 } else { SectorSize::B512 };
            let len = match least_len(sector, &files) {
                Ok(len) => len + spare * MIB,
                Err(FatError::Duplicate(_)) => return Ok(()),
                Err(other) => panic!("{other}"),
            };
            let volume = volume(len, sector, files.clone());
            if let Err(FatError::Duplicate(_)) = write(&volume) {
                return Ok(());
            }
            checked(&volume, dir.path());
            prop_assert!(unpacked(dir.path()) == contents(&files));
        }
    }
}
