//! Disks in the formats of VMware, Hyper-V and Azure, judged by the tools that others read them with.

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use lab::noise::noise;
    use lab::tools::{have, run, stdout};
    use proptest::prelude::*;
    use serde_json::Value;
    use sha2::{Digest as _, Sha256};
    use talforge::blob::{Blob, Builder, Source};
    use talforge::digest::Digest;
    use talforge::sink::{ova, vhd, vhdx, vmdk};
    use talforge::units::{GIB, MIB, SectorSize};

    const EPOCH: u32 = 1_700_000_000;

    /// Writes a blob as a sparse file.
    fn save(blob: &Blob, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(blob.len()).unwrap();
        for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
            let bytes = blob.slice(extent.start..extent.end()).to_vec().unwrap();
            file.write_all_at(&bytes, extent.start).unwrap();
        }
    }

    /// A disk with data at both ends and, a node's own among them, between; of any length.
    fn disk(len: u64) -> Blob {
        let text = b"a line that compresses\n".repeat(20_000);
        let own = Blob::from_bytes("own", noise(3, 30_000)).owned();
        Builder::default()
            .bytes("start", noise(1, 5_000))
            .fill_to(3 * MIB + 512)
            .bytes("text", text)
            .bytes("noise", noise(2, 3 << 20))
            .blob(&own)
            .fill_to(len - 70_000)
            .bytes("end", noise(4, 70_000))
            .finish()
    }

    fn pack(disk: &Blob, dir: &Path) -> Blob {
        vmdk::Packer::new(dir).pack(disk, &|_| Ok(())).unwrap()
    }

    /// The formats: the file's name, what QEMU calls it, the file.
    fn files(disk: &Blob, dir: &Path) -> Vec<(&'static str, &'static str, Blob)> {
        vec![
            ("fixed.vhd", "vpc", vhd::fixed(disk, EPOCH).unwrap()),
            ("dynamic.vhd", "vpc", vhd::dynamic(disk, EPOCH).unwrap()),
            ("disk.vhdx", "vhdx", vhdx::dynamic(disk, SectorSize::B512).unwrap()),
            ("sparse.vmdk", "vmdk", vmdk::sparse(disk, "sparse.vmdk").unwrap()),
            ("stream.vmdk", "vmdk", pack(disk, dir)),
        ]
    }

    /// Writes the disk and its files, and gives the disk's bytes.
    fn written(disk: &Blob, dir: &Path) -> Vec<(&'static str, &'static str, Blob)> {
        save(disk, &dir.join("disk.raw"));
        let files = files(disk, dir);
        for (name, _, file) in &files {
            save(file, &dir.join(name));
        }
        files
    }

    fn info(format: &str, name: &str, dir: &Path) -> Value {
        let text = stdout("qemu-img", &["info", "-f", format, "--output=json", name], dir).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// What QEMU says of a disk and a file that are the same: fixed VHDs are whole MiB.
    fn same(name: &str, len: u64) -> &'static str {
        match name == "fixed.vhd" && !len.is_multiple_of(MIB) {
            true => "Warning: Image size mismatch!\nImages are identical.\n",
            false => "Images are identical.\n",
        }
    }

    #[test]
    fn qemu_finds_the_disk_in_every_format() {
        if !have(&["qemu-img"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let qemu = |args: &[&str]| stdout("qemu-img", args, dir.path()).unwrap();
        for len in [40 * MIB, 67 * MIB + 1536] {
            for (name, format, _) in written(&disk(len), dir.path()) {
                let said = qemu(&["compare", "-f", "raw", "-F", format, "disk.raw", name]);
                assert_eq!(said, same(name, len), "{name}");
                let size = info(format, name, dir.path())["virtual-size"].as_u64().unwrap();
                let whole = if name == "fixed.vhd" { len.next_multiple_of(MIB) } else { len };
                assert_eq!(size, whole, "{name}");
                // QEMU checks no disks of the other formats.
                if ["vhdx", "vmdk"].contains(&format) {
                    let said = qemu(&["check", "-f", format, name]);
                    assert!(
                        said.starts_with("No errors were found on the image."),
                        "{name}: {said}"
                    );
                }
            }
        }
    }

    /// Zeros take no room, but for tables.
    #[test]
    fn a_large_disk_costs_its_tables_and_has_its_size() {
        if !have(&["qemu-img"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let len = 2040 * GIB;
        let disk = Builder::default()
            .bytes("start", noise(1, 70_000))
            .fill_to(len / 2)
            .bytes("middle", noise(2, 70_000))
            .fill_to(len - MIB)
            .bytes("end", noise(3, 1 << 20))
            .finish();
        for (name, format, file) in files(&disk, dir.path()) {
            let data = file.extents().iter().filter(|e| !matches!(e.source, Source::Zeros));
            assert!(data.map(|e| e.len).sum::<u64>() < 24 * MIB, "{name}");
            assert!(file.extents().len() < 3000, "{name}");
            if name == "fixed.vhd" {
                continue;
            }
            save(&file, &dir.path().join(name));
            assert_eq!(info(format, name, dir.path())["virtual-size"], len, "{name}");
            for (at, want) in [(0, noise(1, 70_000)), (len / 2, noise(2, 70_000))] {
                let (skip, from) = (format!("skip={}", at / 512), format!("if={name}"));
                let args = ["dd", "-f", format, "-O", "raw", "bs=512", &skip, "count=136"];
                let count = format!("count={}", at / 512 + 136);
                let args = [&args[..7], &[&count, &from, "of=part"]].concat();
                stdout("qemu-img", &args, dir.path()).unwrap();
                assert_eq!(fs::read(dir.path().join("part")).unwrap(), want[..136 * 512], "{name}");
            }
        }
    }

    #[test]
    fn seven_zip_unpacks_every_format() {
        if !have(&["7z"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(40 * MIB);
        for (name, ..) in written(&disk, dir.path()) {
            // Without the disk's partitions: it has none.
            let kind = format!("-t{}", name.rsplit('.').next().unwrap());
            let out = run("7z", &["e", "-so", &kind, name], dir.path()).unwrap();
            assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
            assert!(out.stdout == disk.to_vec().unwrap(), "{name}");
        }
    }

    #[test]
    fn libvhdi_and_libvmdk_open_what_they_know() {
        if !have(&["vhdiinfo", "vmdkinfo"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        written(&disk(40 * MIB), dir.path());
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (name, words) in [
            ("fixed.vhd", ["Disk type : Fixed", "Media size : 40 MiB (41943040 bytes)"]),
            ("dynamic.vhd", ["Disk type : Dynamic", "Media size : 40 MiB (41943040 bytes)"]),
            ("disk.vhdx", ["Disk type : Dynamic", "Media size : 40 MiB (41943040 bytes)"]),
        ] {
            let said = plain(&stdout("vhdiinfo", &[name], dir.path()).unwrap());
            assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        }
        for (name, kind) in
            [("sparse.vmdk", "Monolithic sparse"), ("stream.vmdk", "Stream optimized")]
        {
            let said = stdout("vmdkinfo", &[name], dir.path()).unwrap();
            assert!(said.contains(kind) && said.contains("41943040 bytes"), "{name}: {said}");
        }
    }

    #[test]
    fn a_vhdx_has_sectors_of_4096_bytes() {
        if !have(&["qemu-img", "vhdiinfo"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(40 * MIB);
        save(&disk, &dir.path().join("disk.raw"));
        save(&vhdx::dynamic(&disk, SectorSize::B4096).unwrap(), &dir.path().join("disk.vhdx"));
        // QEMU reads such disks in sectors of 512 bytes, if at all.
        let said = stdout("vhdiinfo", &["disk.vhdx"], dir.path()).unwrap();
        assert!(said.contains("4096"), "{said}");
    }

    #[test]
    fn tar_and_xmllint_take_an_appliance_apart() {
        if !have(&["tar", "xmllint", "qemu-img"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(40 * MIB);
        save(&disk, &dir.path().join("disk.raw"));
        let vmdk = pack(&disk, dir.path());
        let digest = Digest::of_blob(&vmdk).unwrap();
        let appliance = ova::Appliance { disk_bytes: disk.len(), epoch: EPOCH };
        save(&ova::wrap(&vmdk, digest, &appliance), &dir.path().join("node.ova"));
        let tool = |program, args: &[&str]| stdout(program, args, dir.path()).unwrap();
        assert_eq!(tool("tar", &["tf", "node.ova"]), "disk.ovf\ndisk.mf\ndisk.vmdk\n");
        let list = tool("tar", &["tvf", "node.ova", "--utc", "--full-time", "--numeric-owner"]);
        assert!(list.lines().all(|line| line.starts_with("-rw-r--r-- 0/0")), "{list}");
        assert!(list.lines().all(|line| line.contains("2023-11-14 22:13:20")), "{list}");
        tool("tar", &["xf", "node.ova"]);
        let sum = |name: &str| {
            let bytes = fs::read(dir.path().join(name)).unwrap();
            Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        let want = ["disk.vmdk", "disk.ovf"].map(|name| format!("SHA256({name})= {}\n", sum(name)));
        assert_eq!(fs::read_to_string(dir.path().join("disk.mf")).unwrap(), want.concat());
        let same = ["compare", "-f", "raw", "-F", "vmdk", "disk.raw", "disk.vmdk"];
        assert_eq!(tool("qemu-img", &same), "Images are identical.\n");
        tool("xmllint", &["--noout", "--nonet", "disk.ovf"]);
        let find = |path: &str| tool("xmllint", &["--nonet", "--xpath", path, "disk.ovf"]);
        let size = format!("{}\n", vmdk.len());
        assert_eq!(find("string(//*[local-name()='File']/@*[local-name()='size'])"), size);
        assert_eq!(find("string(//*[local-name()='Disk']/@*[local-name()='capacity'])"), "40\n");
        let property = "//*[local-name()='Property'][@*[local-name()='key']='talos.config']";
        assert_eq!(
            find(&format!("string({property}/@*[local-name()='userConfigurable'])")),
            "true\n"
        );
        assert_eq!(find(&format!("string({property}/@*[local-name()='value'])")), "\n");
        let firmware = "//*[local-name()='Config'][@*[local-name()='key']='firmware']";
        assert_eq!(find(&format!("string({firmware}/@*[local-name()='value'])")), "efi\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

        /// Random disks, as QEMU reads them from the formats.
        #[test]
        fn qemu_reads_random_disks(
            parts in prop::collection::vec((0..3_u8, 1..9000_u64, any::<u8>()), 1..9),
        ) {
            if !have(&["qemu-img"]) {
                return Ok(());
            }
            let dir = tempfile::tempdir().unwrap();
            let disk = parts.into_iter().fold(Builder::default(), |disk, (kind, sectors, seed)| {
                let len = usize::try_from(sectors * 512).unwrap();
                let bytes = Blob::from_bytes("data", noise(seed.into(), len));
                match kind {
                    0 => disk.zeros("zeros", sectors * 512),
                    1 => disk.blob(&bytes),
                    _ => disk.blob(&bytes.owned()),
                }
            });
            let disk = disk.finish();
            for (name, format, _) in written(&disk, dir.path()) {
                let args = ["compare", "-f", "raw", "-F", format, "disk.raw", name];
                let said = stdout("qemu-img", &args, dir.path()).unwrap();
                prop_assert_eq!(said, same(name, disk.len()), "{}", name);
            }
        }
    }
}
