//! Extensions over a base, held to what Talos' imager makes of them by foreign programs: `depmod`,
//! `mksquashfs`, `cpio`, `zstd`; and booted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::noise::noise;
use lab::parts::{self, Parts};
use lab::qemu::{Files, Machine, Start};
use lab::standin::{self, Standin};
use lab::tools::{have, stdout};
use talforge::asset::initramfs::{self, Initramfs};
use talforge::blob::Blob;
use talforge::digest::Digest;
use talforge::extension::{self, Extension};
use talforge::inspect::initrd::{self, Segment};
use talforge::inspect::memo::Memo;
use talforge::inspect::{self, Medium};
use talforge::payload::extension::segment;
use talforge::store::Store;
use talforge::talos::{Arch, Version};
use talforge::tree::{Entry, Kind, Tree};

const EPOCH: u32 = 1_700_000_000;
const CONFIG: &[u8] = b"version: v1alpha1\nmachine:\n  type: worker\n";
/// A module of the extension, and those of the base that it needs.
const MODULE: &str = "drivers/net/vxlan/vxlan.ko";
const NEEDED: [&str; 2] = ["net/ipv4/udp_tunnel.ko", "net/ipv6/ip6_udp_tunnel.ko"];
/// Another module of the base, which needs nothing.
const OTHER: &str = "drivers/net/dummy.ko";

const TOOLS: [&str; 6] = ["bash", "cpio", "depmod", "mksquashfs", "unsquashfs", "zstd"];

/// A folder with a base, `base.img`, and extensions, `0/` and `1/`.
struct Lab {
    parts: Parts,
    standin: Standin,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Result<Option<Self>> {
        let Some(parts) = parts::ready(Arch::Amd64) else { return Ok(None) };
        if !have(&standin::tools(Arch::Amd64)) || !have(&TOOLS) {
            return Ok(None);
        }
        let standin = standin::build(&parts, standin::Options::default())?;
        let lab = Self { parts, standin, folder: tempfile::tempdir()? };
        lab.make_base()?;
        lab.make_extensions()?;
        Ok(Some(lab))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn run(&self, script: &str) -> Result<String> {
        let head = format!("K=usr/lib/modules/{}\nset -o pipefail\n", self.parts.release);
        stdout("bash", &["-ec", &(head + script)], self.folder.path())
    }

    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("a path of folders")?)?;
        fs::write(&path, bytes)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    }

    /// The stand-in with a few kernel modules, indexed, as a release's root file system has them.
    fn make_base(&self) -> Result<()> {
        let kernel = self.parts.modules.display().to_string();
        let modules = [NEEDED[0], NEEDED[1], OTHER].join(" ");
        let initramfs = self.standin.file("initramfs.xz").display().to_string();
        self.run(&format!(
            "mkdir base && cd base
             zstd -dcq < {initramfs} | cpio --quiet -idm
             unsquashfs -q -n -d ../root rootfs.sqsh > /dev/null && rm rootfs.sqsh && cd ..
             for m in {modules}; do install -D -m644 {kernel}/kernel/$m root/$K/kernel/$m; done
             cp {kernel}/modules.order {kernel}/modules.builtin* root/$K/
             depmod -b root/usr ${{K##*/}}
             mksquashfs root base/rootfs.sqsh -all-root -noappend -no-progress -quiet -comp zstd
             cd base && find . -mindepth 1 | sed 's,^./,,' | LC_ALL=C sort \
                 | cpio --quiet -o -H newc -R +0:+0 | zstd -q -9 > ../base.img"
        ))
        .map(drop)
    }

    fn make_extensions(&self) -> Result<()> {
        for (number, name) in ["net", "tools"].into_iter().enumerate() {
            let manifest = format!(
                "version: v1alpha1\nmetadata:\n  name: {name}\n  version: 1.{number}0\n  author: \
                 A\n  description: |\n    Two\n    lines.\n  compatibility:\n    talos:\n      \
                 version: \">= v1.5.0\"\n"
            );
            self.write(&format!("{number}/manifest.yaml"), manifest.as_bytes(), 0o644)?;
            let files = format!("{number}/rootfs");
            let put = |path: &str, bytes: &[u8], mode| {
                self.write(&format!("{files}/{path}"), bytes, mode)
            };
            let seed = number as u64;
            put("usr/local/share/lab/shared", name.as_bytes(), 0o640)?;
            put(&format!("usr/local/bin/{name}"), &noise(seed, 300_000), 0o755)?;
            put(&format!("usr/local/lib/{name}.txt"), &b"text ".repeat(100_000), 0o644)?;
            put(&format!("usr/local/lib/{name}.copy"), &b"text ".repeat(100_000), 0o600)?;
            put("usr/local/lib/empty", b"", 0o644)?;
            put("usr/lib/firmware/intel-ucode/06-01-02", &noise(seed + 10, 2048), 0o644)?;
            put("usr/lib/firmware/intel-ucode/06-00-02", &noise(seed + 20, 2048), 0o644)?;
            put("usr/lib/firmware/amd-ucode/microcode_amd.bin", &noise(seed + 30, 99), 0o644)?;
            put("usr/lib/firmware/amd-ucode/README", b"read me", 0o644)?;
            put("usr/lib/firmware/lab.bin", &noise(seed + 40, 70_000 - number), 0o644)?;
            put(&format!("usr/lib/firmware/{name}/a.bin"), &b"fw".repeat(5000), 0o600)?;
        }
        let kernel = self.parts.modules.display().to_string();
        self.run(&format!(
            "install -D -m644 {kernel}/kernel/{MODULE} 0/rootfs/$K/extras/vxlan.ko
             echo stale > 0/rootfs/$K/modules.dep
             printf 'vxlan\\ndummy\\n' > 1/rootfs/usr/local/share/lab/modules
             ln -s tools 1/rootfs/usr/local/bin/also && ln -s ../../none 1/rootfs/usr/local/lib/gone
             mkdir -p 1/rootfs/usr/local/empty && chmod -R u+rwX,go-w,go+X 0 1"
        ))
        .map(drop)
    }

    /// What Talos' imager does, by its own programs: `reference/` is the new part's content,
    /// `microcode/` that of the first part.
    fn make_reference(&self) -> Result<()> {
        let script = "
            cp -a 0 r0 && cp -a 1 r1 && mkdir -p reference microcode/kernel/x86/microcode
            printf 'search extras built-in\\n' > depmod.conf
            unsquashfs -q -n -no-xattrs -d deps base/rootfs.sqsh usr/lib/modules > /dev/null
            cp -rT r0/rootfs/$K deps/$K
            depmod --all --basedir $PWD/deps/usr --config ./depmod.conf ${K##*/}
            mkdir -p r2/rootfs/$K && find deps/$K -maxdepth 1 -name 'modules.*' -exec mv {} r2/rootfs/$K ';'
            for r in 0 1; do
                fw=r$r/rootfs/usr/lib/firmware mc=microcode/kernel/x86/microcode
                for f in $fw/intel-ucode/*; do cat $f >> $mc/GenuineIntel.bin; rm $f; done
                for f in $fw/amd-ucode/microcode_amd*.bin; do cat $f >> $mc/AuthenticAMD.bin; rm $f; done
                mkdir -p reference/usr/lib/firmware && cp -rLT $fw reference/usr/lib/firmware && rm -r $fw
            done
            pack='-all-root -noappend -no-progress -quiet -comp zstd -no-xattrs'
            mksquashfs r0/rootfs reference/0.sqsh $pack
            mksquashfs r1/rootfs reference/1.sqsh $pack
            mksquashfs r2/rootfs reference/modules.dep.sqsh $pack
            echo layers: > reference/extensions.yaml
            for d in reference microcode; do
                (cd $d && find . -mindepth 1 | sed 's,^./,,' | LC_ALL=C sort \
                    | cpio --quiet -o -H newc -R +0:+0 > ../$d.cpio)
            done";
        self.run(script).map(drop)
    }

    fn extensions(&self) -> Result<Vec<Extension>> {
        let talos = Version::parse("v1.13.9").context("a tag")?;
        let check = |number: u32| {
            let tree = tree(&self.path(&number.to_string()))?;
            let checked = extension::check(&number.to_string(), &tree, &talos, Arch::Amd64);
            checked.map_err(|problems| anyhow::anyhow!("{problems:?}"))
        };
        (0..2).map(check).collect()
    }

    fn base(&self, memo: &mut Memo) -> Result<Initramfs> {
        let blob = Blob::from_file("base", File::open(self.path("base.img"))?)?;
        Ok(initramfs::read(&blob, memo)?)
    }

    fn lay(&self, memo: &mut Memo) -> Result<Initramfs> {
        let (base, store) = (self.base(memo)?, Store::at(self.path("store")));
        Ok(extension::lay_over(&base, &self.extensions()?, EPOCH, &store, memo)?)
    }

    /// Writes a blob, and gives its path.
    fn save(&self, blob: &Blob, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::io::copy(&mut blob.reader(), &mut File::create(&path)?)?;
        Ok(path)
    }
}

/// A folder on disk as the tree that an image of it would be.
fn tree(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            let about = path.symlink_metadata()?;
            let kind = if about.is_dir() {
                folders.push(path.clone());
                Kind::Folder
            } else if about.is_symlink() {
                Kind::Symlink(fs::read_link(&path)?.display().to_string())
            } else {
                let blob = Blob::from_file("file", File::open(&path)?)?;
                let digest = Digest::of_blob(&blob)?;
                Kind::File(blob, digest)
            };
            let mode = about.permissions().mode() & 0o7777;
            let inside = path.strip_prefix(folder)?.display().to_string();
            let entry = Entry { mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind };
            tree.insert(&inside, entry);
        }
    }
    Ok(tree)
}

/// The lines of `cpio -tv` by path, without inode, links and times: kind and modes, owner, size.
fn listing(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let size = if fields[0].starts_with('d') { "0" } else { fields[4] };
        let about = format!("{} {} {} {size}", fields[0], fields[2], fields[3]);
        (fields[8..].join(" "), about)
    };
    text.lines().map(line).collect()
}

/// A segment's archive, listed by `cpio` and unpacked into `folder`.
fn unpack(
    lab: &Lab,
    whole: &Blob,
    segment: &Segment,
    folder: &str,
) -> Result<BTreeMap<String, String>> {
    lab.save(&whole.slice(segment.start..segment.end), "segment")?;
    let cat = if segment.packing.is_some() { "zstd -dcq" } else { "cat" };
    fs::create_dir_all(lab.path(folder))?;
    let script = format!(
        "{cat} < segment > segment.cpio && cpio --quiet -tv < segment.cpio
         cd {folder} && cpio --quiet -idum < ../segment.cpio"
    );
    Ok(listing(&lab.run(&script)?))
}

#[test]
fn the_initramfs_is_that_of_the_reference() {
    let Some(lab) = Lab::new().unwrap() else { return };
    lab.make_reference().unwrap();
    let mut memo = Memo::default();
    let laid = lab.lay(&mut memo).unwrap();
    let segments = initrd::unpack(&laid.blob, &mut memo).unwrap().segments;
    assert_eq!(segments.len(), 5, "microcode, base, two of firmware, layers: {segments:?}");

    // The first archive, to the byte but for inodes and times.
    let ours = unpack(&lab, &laid.blob, &segments[0], "first").unwrap();
    let want = listing(&lab.run("cpio --quiet -tv < microcode.cpio").unwrap());
    assert_eq!(ours, want);
    lab.run("diff -r first microcode").unwrap();

    // The base's bytes.
    let base = &laid.blob.slice(segments[1].start..segments[1].end);
    assert_eq!(base.to_vec().unwrap(), fs::read(lab.path("base.img")).unwrap());

    // All that follows, one over the other, as Linux unpacks it.
    let mut ours = BTreeMap::new();
    for segment in &segments[2..] {
        ours.extend(unpack(&lab, &laid.blob, segment, "ours").unwrap());
    }
    let mut want = listing(&lab.run("cpio --quiet -tv < reference.cpio").unwrap());
    for listing in [&mut ours, &mut want] {
        for (path, about) in listing.iter_mut() {
            if path.ends_with(".sqsh") || path == "extensions.yaml" {
                about.truncate(about.rfind(' ').unwrap());
            }
        }
    }
    assert_eq!(ours, want);
    lab.run("diff -r ours/usr reference/usr").unwrap();
    for layer in ["0.sqsh", "1.sqsh", "modules.dep.sqsh"] {
        same_layer(&lab, layer).unwrap();
    }
}

/// The layer as the reference has it: names, modes, owners, sizes, links, contents. Binary indexes
/// are as long as this host's depmod writes them, and otherwise its newest release's (`kmod`).
fn same_layer(lab: &Lab, layer: &str) -> Result<()> {
    let list = |folder: &str| -> Result<BTreeSet<String>> {
        let text = lab.run(&format!("unsquashfs -lln {folder}/{layer}"))?;
        let line = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // A folder's size is its own table's, which depends on where inodes lie.
            let size = if line.starts_with('d') { "" } else { fields[2] };
            format!("{} {} {size} {}", fields[0], fields[1], fields[5..].join(" "))
        };
        let lines = text.lines().filter(|line| line.contains("squashfs-root"));
        // This host's depmod may not write all files yet.
        Ok(lines.map(line).filter(|line| !line.ends_with("modules.weakdep")).collect())
    };
    assert_eq!(list("ours")?, list("reference")?, "{layer}");
    let script = format!(
        "rm -rf a b
         unsquashfs -q -n -d a ours/{layer} > /dev/null && unsquashfs -q -n -d b reference/{layer} > /dev/null
         diff -r --no-dereference -x modules.weakdep -x 'modules.*.bin' a b
         unsquashfs -s ours/{layer}"
    );
    let about = lab.run(&script)?;
    assert!(about.contains("Compression zstd"), "{about}");
    Ok(())
}

fn open(blob: &Blob) -> Result<Medium> {
    Ok(inspect::open(blob, &mut Memo::default())?)
}

#[test]
fn inspection_shows_the_layers_in_order() {
    let Some(lab) = Lab::new().unwrap() else { return };
    let laid = lab.lay(&mut Memo::default()).unwrap();
    let config = segment(CONFIG, &laid, EPOCH).unwrap();
    let whole = talforge::blob::Builder::default().blob(&laid.blob).align(4).blob(&config).finish();
    let medium = open(&whole).unwrap();
    let layers = &medium.boots[0].layers;
    let names: Vec<_> = layers.iter().map(|layer| (&*layer.image, &*layer.name)).collect();
    let want = [
        ("0.sqsh", "net"),
        ("1.sqsh", "tools"),
        ("modules.dep.sqsh", "modules.dep"),
        ("3.sqsh", "embedded-config"),
    ];
    assert_eq!(names, want);
    assert_eq!((&*layers[0].version, &layers[2].version), ("1.00", &lab.parts.release));
    assert_eq!(medium.boots[0].found.as_ref().unwrap().digest, Digest::of(CONFIG));
    assert!(medium.notes.is_empty(), "{:?}", medium.notes);

    // Over what was made so, more can be laid: there is one layer of indexes, again the topmost.
    let mut memo = Memo::default();
    let base = initramfs::read(&laid.blob, &mut memo).unwrap();
    let store = Store::at(lab.path("store"));
    let mut again = lab.extensions().unwrap();
    again.truncate(1);
    let twice = extension::lay_over(&base, &again, EPOCH, &store, &mut memo).unwrap();
    let images: Vec<_> =
        open(&twice.blob).unwrap().boots[0].layers.iter().map(|l| l.image.clone()).collect();
    assert_eq!(images, ["0.sqsh", "1.sqsh", "2.sqsh", "modules.dep.sqsh"]);
}

#[test]
fn another_build_gives_the_same_bytes() {
    let Some(lab) = Lab::new().unwrap() else { return };
    let bytes = |lab: &Lab| lab.lay(&mut Memo::default()).unwrap().blob.to_vec().unwrap();
    let first = bytes(&lab);
    assert!(bytes(&lab) == first, "from the store");
    fs::remove_dir_all(lab.path("store")).unwrap();
    assert!(bytes(&lab) == first, "made anew");
}

/// Both extensions and the config, and a twin whose second layer has one byte of its magic number
/// changed: what the machine says of layers is due to them.
#[test]
fn extensions_boot_and_a_damaged_twin_does_not() {
    let Some(lab) = Lab::new().unwrap() else { return };
    let laid = lab.lay(&mut Memo::default()).unwrap();
    let config = segment(CONFIG, &laid, EPOCH).unwrap();
    let whole = talforge::blob::Builder::default().blob(&laid.blob).align(4).blob(&config).finish();
    let path = lab.save(&whole, "initramfs.img").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let magic = bytes.windows(4).enumerate().filter(|(_, at)| *at == b"hsqs").map(|(at, _)| at);
    let second = magic.into_iter().nth(1).unwrap();
    bytes[second] ^= 1;
    let twin = lab.path("twin.img");
    fs::write(&twin, bytes).unwrap();
    let boot = |label: &str, initramfs: &Path| {
        let files = Files {
            arch: Arch::Amd64,
            kernel: lab.standin.file("vmlinuz"),
            initramfs: initramfs.to_owned(),
            cmdline: "talos.platform=metal".into(),
        };
        Machine::new(label, Start::Files(files)).boot().unwrap()
    };
    let good = boot("extensions", &path);
    assert_eq!(good.expect_config(Digest::of(CONFIG)), Ok(()), "{}", good.log.display());
    let told = |key: &str| good.report.get(key).unwrap_or_default().to_owned();
    assert_eq!(told("layers"), "4");
    assert_eq!(told("layer.0"), "0.sqsh net 1.00");
    assert_eq!(told("layer.1"), "1.sqsh tools 1.10");
    assert_eq!(told("shared.sha256"), Digest::of(b"tools").to_string(), "the later one is seen");
    assert_eq!(told("firmware.sha256"), Digest::of(&noise(41, 69_999)).to_string());
    let firmware: BTreeSet<_> = told("firmware").split(' ').map(str::to_owned).collect();
    let want = ["amd-ucode", "intel-ucode", "lab.bin", "net", "tools"].map(str::to_owned);
    assert_eq!(firmware, want.into());
    assert_eq!((&*told("module.vxlan"), &*told("module.dummy")), ("loaded", "loaded"));

    let bad = boot("extensions-twin", &twin);
    let failure = bad.failure.as_ref().map(|failure| failure.detail.clone()).unwrap_or_default();
    assert!(failure.contains("layer 1.sqsh"), "{:?}", bad.failure);
}
