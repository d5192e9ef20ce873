//! Compressed files, archives and block maps, judged by the programs that unpack and write them.

#[cfg(test)]
mod judged {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use lab::tools::{have, run, stdout};
    use talforge::blob::{Blob, Builder, Source};
    use talforge::format::fat::{self, File as Entry, Label, Place, Volume};
    use talforge::format::gpt::{self, Partition, PartitionName, Table};
    use talforge::sink::{bmap, gz, xz, zst};
    use talforge::units::{MIB, SectorSize};
    use uuid::{Uuid, uuid};

    /// Debian's own: it sees the modules that Debian packs.
    const PYTHON: &str = "/usr/bin/python3";

    /// Words that come again, near and far, between noise.
    fn text(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut out: Vec<u8> = Vec::with_capacity(len + 16);
        while out.len() < len {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let back = (state >> 8) as usize % 300_000;
            match state % 3 {
                0 if back < out.len() => {
                    let from = out.len() - 1 - back;
                    out.extend_from_within(from..(from + 14).min(out.len()));
                }
                _ => out.extend(state.to_le_bytes()),
            }
        }
        out.truncate(len);
        out
    }

    /// A disk with an EFI partition, whose last file is the node's own, a partition that all nodes
    /// have behind it, and room.
    fn disk(node: u32) -> Blob {
        let spans = gpt::place(SectorSize::B512, MIB, &[40 * MIB, 6 * MIB]);
        let file = |path: &str, content, place| Entry {
            path: path.into(),
            content,
            read_only: false,
            place,
        };
        let base = Blob::from_bytes("base", text(1, 9_000_000));
        let own = Blob::from_bytes("config", text(100 + node, 20_000)).owned();
        let volume = Volume {
            len: 40 * MIB,
            sector: SectorSize::B512,
            label: Label::new("EFI").unwrap(),
            serial: 1,
            epoch: 1_700_000_000,
            hidden_sectors: 2048,
            files: vec![file("base", base, Place::First), file("config", own, Place::Last)],
        };
        let partition = |kind, guid, label, span| Partition {
            kind,
            guid: Uuid::from_u128(guid),
            name: PartitionName::new(label).unwrap(),
            attributes: 0,
            span,
        };
        let esp = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        let data = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
        let table = Table {
            disk: Uuid::from_u128(3),
            sector: SectorSize::B512,
            len: 80 * MIB,
            entries: gpt::ENTRIES,
            partitions: vec![
                partition(esp, 1, "EFI", spans[0]),
                partition(data, 2, "IMAGECACHE", spans[1]),
            ],
            boot_code: Vec::new(),
        };
        let cache = Blob::from_bytes("cache", text(2, 5_000_000));
        let contents = [(0, fat::write(&volume).unwrap().blob), (1, cache)];
        gpt::assemble(&table, &contents, &[]).unwrap()
    }

    /// Nothing, little, a whole chunk, and disks of two nodes.
    fn files() -> Vec<(&'static str, Blob)> {
        vec![
            ("empty", Blob::default()),
            ("little", Blob::from_bytes("little", *b"talforge").owned()),
            ("chunk", Builder::default().zeros("zeros", 4 * MIB).finish()),
            ("first", disk(1)),
            ("second", disk(2)),
        ]
    }

    fn save(blob: &Blob, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(blob.len()).unwrap();
        for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
            let bytes = blob.slice(extent.start..extent.end()).to_vec().unwrap();
            file.write_all_at(&bytes, extent.start).unwrap();
        }
    }

    /// Runs each program on `packed`, and compares what it writes to standard output.
    fn unpacks(programs: &[&[&str]], dir: &Path, what: &str, want: &[u8]) {
        for command in programs {
            let out = run(command[0], &command[1..], dir).unwrap();
            let errors = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{command:?} of {what}: {errors}");
            assert!(out.stdout == want, "{command:?} of {what}: {} bytes", out.stdout.len());
        }
    }

    const GUNZIP_FIRST: &str = "import sys, zlib\n\
        d = zlib.decompressobj(31)\n\
        sys.stdout.buffer.write(d.decompress(open('packed.gz', 'rb').read()))\n\
        assert d.eof and not d.unused_data";
    const GUNZIP: &str = "import sys, gzip\n\
        sys.stdout.buffer.write(gzip.open('packed.gz').read())";

    #[test]
    fn gzip_files_are_unpacked() {
        if !have(&["gzip", "busybox", "7z", "bsdcat", PYTHON]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let packer = gz::Packer::new(dir.path());
        for (what, file) in files() {
            let packed = packer.pack(&file, &|_| Ok(())).unwrap();
            save(&packed, &dir.path().join("packed.gz"));
            let programs: &[&[&str]] = &[
                &["gzip", "-dc", "packed.gz"],
                &["busybox", "gunzip", "-c", "packed.gz"],
                &["7z", "x", "-so", "packed.gz"],
                &["bsdcat", "packed.gz"],
                &[PYTHON, "-c", GUNZIP],
                &[PYTHON, "-c", GUNZIP_FIRST],
            ];
            unpacks(programs, dir.path(), what, &file.to_vec().unwrap());
        }
    }

    const UNXZ_FIRST: &str = "import sys, lzma\n\
        d = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)\n\
        sys.stdout.buffer.write(d.decompress(open('packed.xz', 'rb').read()))\n\
        assert d.eof and not d.unused_data";

    #[test]
    fn xz_files_are_unpacked() {
        if !have(&["xz", "busybox", "7z", "bsdcat", PYTHON]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let packer = xz::Packer::new(dir.path());
        for (what, file) in files() {
            let packed = packer.pack(&file, &|_| Ok(())).unwrap();
            save(&packed, &dir.path().join("packed.xz"));
            let programs: &[&[&str]] = &[
                &["xz", "-dc", "packed.xz"],
                &["xz", "-dc", "-T2", "packed.xz"],
                &["busybox", "unxz", "-c", "packed.xz"],
                &["7z", "x", "-so", "packed.xz"],
                &["bsdcat", "packed.xz"],
                &[PYTHON, "-c", UNXZ_FIRST],
            ];
            unpacks(programs, dir.path(), what, &file.to_vec().unwrap());
            let list = stdout("xz", &["--robot", "-lv", "packed.xz"], dir.path()).unwrap();
            let totals = list.lines().find(|line| line.starts_with("totals")).unwrap();
            let totals: Vec<&str> = totals.split('\t').collect();
            let want = ["1", &packed.len().to_string(), &file.len().to_string(), "CRC32"];
            assert_eq!([totals[1], totals[3], totals[4], totals[6]], want, "{list}");
        }
    }

    const UNZSTD_FIRST: &str = "import sys, zstandard\n\
        reader = zstandard.ZstdDecompressor().stream_reader(open('packed.zst', 'rb'))\n\
        sys.stdout.buffer.write(reader.read())";
    const UNZSTD: &str = "import sys, zstandard\n\
        d = zstandard.ZstdDecompressor()\n\
        sys.stdout.buffer.write(d.decompress(open('packed.zst', 'rb').read()))";

    #[test]
    fn zstd_files_are_unpacked() {
        if !have(&["zstd", "bsdcat", PYTHON]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let packer = zst::Packer::new(dir.path());
        for (what, file) in files() {
            let packed = packer.pack(&file, &|_| Ok(())).unwrap();
            save(&packed, &dir.path().join("packed.zst"));
            let programs: &[&[&str]] = &[
                &["zstd", "-dc", "packed.zst"],
                // A reader of 8 MiB of memory, which all must have.
                &["zstd", "-dc", "--memory=8MiB", "packed.zst"],
                &["bsdcat", "packed.zst"],
                &[PYTHON, "-c", UNZSTD_FIRST],
                &[PYTHON, "-c", UNZSTD],
            ];
            unpacks(programs, dir.path(), what, &file.to_vec().unwrap());
            let list = stdout("zstd", &["-lv", "packed.zst"], dir.path()).unwrap();
            assert!(list.contains("# Zstandard Frames: 1\n"), "{list}");
            assert!(list.contains(&format!("({} B)", file.len())), "{list}");
            assert!(list.contains("Check: XXH64"), "{list}");
        }
    }

    /// A flipped bit is found by each format's own check.
    #[test]
    fn damage_is_found() {
        if !have(&["gzip", "xz", "zstd"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = disk(1);
        let tell = |_| Ok(());
        let packed = [
            ("gzip", gz::Packer::new(dir.path()).pack(&file, &tell)),
            ("xz", xz::Packer::new(dir.path()).pack(&file, &tell)),
            ("zstd", zst::Packer::new(dir.path()).pack(&file, &tell)),
        ];
        for (program, packed) in packed {
            let mut bytes = packed.unwrap().to_vec().unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(dir.path().join("damaged"), bytes).unwrap();
            let read = format!("{program} -dc < damaged > /dev/null");
            assert!(!run("sh", &["-c", &read], dir.path()).unwrap().status.success(), "{program}");
        }
    }

    const UNTAR: &str = "import tarfile\n\
        a = tarfile.open('archive.tar.gz')\n\
        m = a.getmembers()\n\
        assert [(x.name, x.uid, x.gid, x.mtime) for x in m] == [('disk.raw', 0, 0, 1700000000)]\n\
        a.extractall()";

    #[test]
    fn archives_are_unpacked() {
        if !have(&["tar", "bsdtar", PYTHON]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let packer = gz::Packer::new(dir.path());
        // The last has more runs of data than a header has room for.
        let step = Builder::default().bytes("data", [1; 512]).zeros("zeros", 200_000).finish();
        let comb = (0..100).fold(Builder::default(), |comb, _| comb.blob(&step)).finish();
        let full = Blob::from_bytes("full", text(9, 100_000));
        for disk in [disk(1), disk(2), full, comb] {
            let archive = gz::archive(&disk, 1_700_000_000).unwrap();
            let packed = packer.pack(&archive, &|_| Ok(())).unwrap();
            save(&packed, &dir.path().join("archive.tar.gz"));
            let list = stdout("tar", &["-tvzf", "archive.tar.gz"], dir.path()).unwrap();
            assert!(
                list.contains(&format!("0/0 {:>15} 2023-11-14 22:13 disk.raw\n", disk.len())),
                "{list}"
            );
            let want = disk.to_vec().unwrap();
            let programs: [&[&str]; 3] = [
                &["tar", "-xzf", "archive.tar.gz"],
                &["bsdtar", "-xf", "archive.tar.gz"],
                &[PYTHON, "-c", UNTAR],
            ];
            for command in programs {
                stdout(command[0], &command[1..], dir.path()).unwrap();
                let member = dir.path().join("disk.raw");
                assert!(fs::read(&member).unwrap() == want, "{command:?}");
                fs::remove_file(member).unwrap();
            }
        }
    }

    /// `bmaptool` takes a disk by its map, compressed or not; what it leaves out, on a medium that
    /// was full before, no partition has for its own.
    #[test]
    fn bmaptool_writes_disks_by_their_maps() {
        if !have(&["bmaptool", "fsck.fat", "sgdisk"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mapper = bmap::Mapper::default();
        let packer = zst::Packer::new(dir.path());
        for node in 1..3 {
            let disk = disk(node);
            fs::write(dir.path().join("map"), mapper.render(&disk).unwrap()).unwrap();
            save(&disk, &dir.path().join("disk"));
            save(&packer.pack(&disk, &|_| Ok(())).unwrap(), &dir.path().join("disk.zst"));
            for file in ["disk", "disk.zst"] {
                let copy = ["copy", "--bmap", "map", file, "out"];
                stdout("bmaptool", &copy, dir.path()).unwrap();
                assert!(fs::read(dir.path().join("out")).unwrap() == disk.to_vec().unwrap());
                fs::remove_file(dir.path().join("out")).unwrap();
            }
            let map = fs::read_to_string(dir.path().join("map")).unwrap();
            fs::write(dir.path().join("medium"), over_a_full_medium(&disk, &map)).unwrap();
            let verdict = stdout("sgdisk", &["-v", "medium"], dir.path()).unwrap();
            assert!(verdict.contains("No problems found"), "{verdict}");
            let medium = fs::read(dir.path().join("medium")).unwrap();
            let esp = &medium[1 << 20..41 << 20];
            fs::write(dir.path().join("esp"), esp).unwrap();
            stdout("fsck.fat", &["-n", "esp"], dir.path()).unwrap();
            let cache = 41 << 20..47 << 20;
            assert!(medium[cache.clone()] == disk.to_vec().unwrap()[cache]);
        }
    }

    /// What a medium that was full before holds when the ranges of a map were written to it.
    fn over_a_full_medium(disk: &Blob, map: &str) -> Vec<u8> {
        let bytes = disk.to_vec().unwrap();
        let mut medium = vec![0xa5; bytes.len()];
        for line in map.lines().filter(|line| line.contains("<Range")) {
            let place = line.split(['>', '<']).nth(2).unwrap().trim();
            let (first, last) = place.split_once('-').unwrap_or((place, place));
            let block = |number: &str| number.parse::<usize>().unwrap() * 4096;
            let range = block(first)..block(last) + 4096;
            medium[range.clone()].copy_from_slice(&bytes[range]);
        }
        medium
    }
}
