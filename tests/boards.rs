//! Sidero's boards: every board's raw disk, judged by others' programs against a table that was
//! written from upstream's own installers and not from our overlays.
//!
//! Source: `installers/*/src/main.go` of siderolabs/sbc-rockchip v0.2.0, sbc-raspberrypi v0.2.0,
//! sbc-allwinner v0.1.5, sbc-jetson v0.1.5.

#[path = "media/assets.rs"]
mod assets;
#[path = "boards/uboot.rs"]
mod uboot;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use lab::noise::noise;
use lab::{product, tools};
use serde_json::Value;
use talforge::talos::Arch;
use tempfile::TempDir;

/// What a board's disk has: its first partition's LBA, U-Boot's path below `artifacts/arm64/u-boot/`
/// and its byte, the device tree's path below `dtb/`, the consoles.
type Row = (&'static str, u64, Option<(&'static str, u64)>, &'static str, &'static str);

const ROCKCHIP: u64 = 22_528;
const ALLWINNER: u64 = 4096;
const S: &str = "console=tty0 console=ttyS2,1500000n8";
const C: &str = "cma=128MB console=tty0 console=ttyS9,115200 console=ttyS2,115200";
const O: &str = "console=tty1 console=ttyS2,1500000";
const A: &str = "console=tty0 console=ttyS0,115200";

const fn rk(name: &'static str, blob: &'static str, dtb: &'static str, args: &'static str) -> Row {
    (name, ROCKCHIP, Some((blob, 32_768)), dtb, args)
}

const fn sunxi(name: &'static str, blob: &'static str, dtb: &'static str) -> Row {
    (name, ALLWINNER, Some((blob, 8192)), dtb, A)
}

const BOARDS: &[Row] = &[
    rk(
        "friendlyelec-cm3588-nas",
        "friendlyelec-cm3588-nas/u-boot-rockchip.bin",
        "rockchip/rk3588-friendlyelec-cm3588-nas.dtb",
        C,
    ),
    rk(
        "helios64",
        "helios64/u-boot-rockchip.bin",
        "rockchip/rk3399-kobol-helios64.dtb",
        "console=tty1 console=ttyS2,1500000n8 usb-storage.quirks=0x2537:0x1066:u,0x2537:0x1068:u",
    ),
    rk("nanopi-r4s", "nanopi-r4s/u-boot-rockchip.bin", "rockchip/rk3399-nanopi-r4s.dtb", S),
    rk("nanopi-r5s", "nanopi-r5s/u-boot-rockchip.bin", "rockchip/rk3568-nanopi-r5s.dtb", S),
    rk("odroid-m1", "odroid-m1/u-boot-rockchip.bin", "rockchip/rk3568-odroid-m1.dtb", S),
    rk(
        "orangepi-5-max",
        "orangepi-5-max/u-boot-rockchip.bin",
        "rockchip/rk3588-orangepi-5-max.dtb",
        O,
    ),
    rk(
        "orangepi-5-plus",
        "orangepi-5-plus/u-boot-rockchip.bin",
        "rockchip/rk3588-orangepi-5-plus.dtb",
        O,
    ),
    rk(
        "orangepi-5",
        "orangepi-5/u-boot-rockchip.bin",
        "rockchip/rk3588s-orangepi-5.dtb",
        "console=tty0 console=ttyS2,115200",
    ),
    rk(
        "orangepi-r1-plus-lts",
        "orangepi-r1-plus-lts/u-boot-rockchip.bin",
        "rockchip/rk3328-orangepi-r1-plus-lts.dtb",
        S,
    ),
    rk("radxa-zero-3e", "radxa-zero-3/u-boot-rockchip.bin", "rockchip/rk3566-radxa-zero-3e.dtb", S),
    rk("rock3b", "rock3b/u-boot-rockchip.bin", "rockchip/rk3568-rock-3b.dtb", S),
    rk("rock4cplus", "rock4cplus/u-boot-rockchip.bin", "rockchip/rk3399-rock-4c-plus.dtb", S),
    rk("rock4se", "rock4se/u-boot-rockchip.bin", "rockchip/rk3399-rock-4se.dtb", S),
    rk("rock5a", "rock5a/u-boot-rockchip.bin", "rockchip/rk3588s-rock-5a.dtb", C),
    rk("rock5b-plus", "rock5b-plus/u-boot-rockchip.bin", "rockchip/rk3588-rock-5b-plus.dtb", C),
    rk("rock5b", "rock5b/u-boot-rockchip.bin", "rockchip/rk3588-rock-5b.dtb", C),
    rk("rock5t", "rock5t/u-boot-rockchip.bin", "rockchip/rk3588-rock-5t.dtb", C),
    // Upstream's second argument has no `console=`, which is a slip.
    rk(
        "rock64",
        "rock64/u-boot-rockchip.bin",
        "rockchip/rk3328-rock64.dtb",
        "console=tty0 console=ttyS2,115200n8",
    ),
    rk("rockpi4", "rockpi4/u-boot-rockchip.bin", "rockchip/rk3399-rock-pi-4b.dtb", S),
    rk("rockpi4c", "rockpi4c/u-boot-rockchip.bin", "rockchip/rk3399-rock-pi-4c.dtb", S),
    rk("rockpro64", "rockpro64/u-boot-rockchip.bin", "rockchip/rk3399-rockpro64-v2.dtb", S),
    rk("turingrk1", "turingrk1/u-boot-rockchip.bin", "rockchip/rk3588-turing-rk1.dtb", C),
    sunxi(
        "bananapi_m64",
        "bananapi_m64/u-boot-sunxi-with-spl.bin",
        "allwinner/sun50i-a64-bananapi-m64.dtb",
    ),
    sunxi(
        "libretech_all_h3_cc_h5",
        "libretech_all_h3_cc_h5/u-boot-sunxi-with-spl.bin",
        "allwinner/sun50i-h5-libretech-all-h3-cc.dtb",
    ),
    sunxi("pine64", "pine64/u-boot-sunxi-with-spl.bin", "allwinner/sun50i-a64-pine64-plus.dtb"),
    ("jetson_nano", 2048, None, "nvidia/tegra210-p3450-0000.dtb", A),
];

/// Raspberry Pis: the console, and pairs of a file on the EFI partition and its path in the image.
type Pi = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PIS: &[Pi] = &[
    (
        "rpi_generic",
        "console=tty0 console=ttyAMA0,115200",
        &[
            ("start4.elf", "arm64/firmware/boot/start4.elf"),
            ("overlays/disable-bt.dtbo", "arm64/firmware/boot/overlays/disable-bt.dtbo"),
            ("u-boot.bin", "arm64/u-boot/rpi_generic/u-boot.bin"),
        ],
    ),
    (
        "rpi_5",
        "console=tty0 console=ttyAMA10,115200",
        &[
            ("bcm2712-rpi-5-b.dtb", "rpi_5/bcm2712-rpi-5-b.dtb"),
            ("u-boot.bin", "arm64/u-boot/rpi_generic/u-boot.bin"),
        ],
    ),
    (
        "revpi_generic",
        "console=tty0 console=ttyAMA0,115200",
        &[
            ("start4.elf", "arm64/firmware/boot/start4.elf"),
            // Revolution Pi's own goes before Raspberry Pi's of that name.
            (
                "overlays/disable-bt.dtbo",
                "arm64/firmware/revpi_generic/boot/overlays/disable-bt.dtbo",
            ),
            ("u-boot.bin", "arm64/u-boot/rpi_generic/u-boot.bin"),
        ],
    ),
];

const TALOS: &str = "v1.13.9";
const PROFILE: &str = "version: 1
about: small disks
arch: [arm64]
platform: metal
kernel_args: {arm64: [console=ttyAMA0, console=tty0]}
output: {disk: {sector: 512, esp: 64MiB, size: auto, timeout: 3}}
";

struct Site(TempDir);

impl Site {
    fn new(nodes: &str) -> Result<Self> {
        let site = Self(tempfile::tempdir()?);
        for (name, bytes) in assets::of(Arch::Arm64)? {
            site.write(&format!("assets/{name}"), bytes)?;
        }
        site.write("small.yaml", PROFILE.as_bytes())?;
        write_site(&site, nodes)?;
        Ok(site)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.path().join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        Ok(fs::write(path, bytes)?)
    }

    fn artifact(&self, path: &str) -> Vec<u8> {
        fs::read(self.0.path().join("boards/artifacts").join(path)).expect("the bench works")
    }

    fn run(&self, args: &[&str]) -> product::Said {
        product::run(self.0.path(), args).expect("the bench works")
    }

    fn build(&self) -> product::Said {
        self.run(&["build", "site.yaml", "--out", "out", "--store", "store"])
    }
}

/// Writes a site file whose boards' files lie in `boards`.
fn write_site(site: &Site, nodes: &str) -> Result<()> {
    let sources = ["sbc-rockchip", "sbc-allwinner", "sbc-jetson", "sbc-raspberrypi"]
        .map(|name| format!("{name}: \"dir:boards\""));
    let text = format!(
        "version: 1\n\
         cluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: {TALOS}}}\n\
         boot: {{assets: \"dir:assets\", arch: arm64, artifacts: {{{}}}}}\n\
         nodes:\n{nodes}silence: [planes-none, planes-even]\n",
        sources.join(", ")
    );
    site.write("site.yaml", text.as_bytes())
}

/// A node's name for a board: no underscores.
fn node(board: &str) -> String {
    board.replace('_', "-")
}

/// A site with a node for every board, and noise for every file of theirs; built.
fn all_boards() -> Result<Site> {
    let names = BOARDS.iter().map(|row| row.0).chain(PIS.iter().map(|row| row.0));
    let nodes: String = names
        .map(|board| format!("  - {{name: {}, role: worker, profile: small.yaml, embed: none, overlays: [{board}]}}\n", node(board)))
        .collect();
    let site = Site::new(&nodes)?;
    let mut files: Vec<String> = Vec::new();
    for (_, _, blob, dtb, _) in BOARDS {
        files.extend(blob.map(|(path, _)| format!("arm64/u-boot/{path}")));
        files.push(format!("arm64/dtb/{dtb}"));
    }
    files.extend(PIS.iter().flat_map(|pi| pi.2).map(|(_, from)| (*from).to_owned()));
    for (seed, path) in (1..).zip(&files) {
        // Allwinner's U-Boot ends before the entries, a little above 1 MiB.
        let len = if path.contains("u-boot-") { 900_000 + usize::try_from(seed)? } else { 30_001 };
        site.write(&format!("boards/artifacts/{path}"), &noise(seed, len))?;
    }
    site.build().well()?;
    Ok(site)
}

fn le(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the bench works"))
}

/// The header, `sgdisk` and `sfdisk` have the table where Talos has it.
fn assert_table(image: &Path, first: u64) {
    let (name, here) = (image.to_str().expect("the bench works"), Path::new("."));
    let said = tools::stdout("sgdisk", &["--verify", name], here).expect("the bench works");
    assert!(said.contains("No problems found"), "{name}: {said}");
    let said = tools::stdout("sfdisk", &["--json", name], here).expect("the bench works");
    let table: Value = serde_json::from_str(&said).expect("the bench works");
    let parts = table["partitiontable"]["partitions"].as_array().expect("the bench works");
    assert_eq!(parts[0]["start"].as_u64(), Some(first), "{name}");
    assert_eq!(parts[1]["start"].as_u64(), Some(first + 64 * 2048), "{name}");
    assert_eq!((&parts[0]["name"], &parts[1]["name"]), (&"EFI".into(), &"META".into()));
    let mut header = [0; 512];
    File::open(image)
        .expect("the bench works")
        .read_exact_at(&mut header, 512)
        .expect("the bench works");
    assert_eq!(le(&header, 72), first - 2048 + 2, "{name}: entries");
    if first > 2048 {
        assert_eq!(le(&header, 40), first, "{name}: first usable");
    }
}

/// A file of the EFI partition, as mtools has it.
fn esp(image: &Path, first: u64, path: &str) -> Vec<u8> {
    let volume = format!("{}@@{}", image.display(), first * 512);
    let out = tools::run("mcopy", &["-i", &volume, &format!("::/{path}"), "-"], Path::new("."));
    let out = out.expect("the bench works");
    assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn assert_args(site: &Site, board: &str, args: &str) {
    let said = site
        .run(&["plan", "site.yaml", "--json", "--node", &node(board)])
        .well()
        .expect("the bench works");
    let line = said.events().expect("the bench works")[0]["plan"]["cmdline"]
        .as_str()
        .expect("the bench works")
        .to_owned();
    let want = format!("{args} sysctl.kernel.kexec_load_disabled=1 talos.dashboard.disabled=1");
    let is_there = |word: &str| line.split(' ').any(|other| other == word);
    assert!(want.split(' ').all(is_there), "{board}: {line}");
    // Consoles stand where the platform's stood, which they replace.
    let consoles = |line: &str| {
        let words = line.split(' ').filter(|word| word.starts_with("console="));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(consoles(&line), consoles(&want), "{board}");
}

#[test]
fn every_board_has_upstreams_bytes_on_its_disk() {
    if !tools::have(&[&assets::TOOLS[..], &["sgdisk", "sfdisk", "mcopy", "fsck.fat"]].concat()) {
        return;
    }
    let site = all_boards().unwrap();
    let out = |board: &str| site.0.path().join(format!("out/{}.raw", node(board)));
    for &(board, first, blob, dtb, args) in BOARDS {
        let image = out(board);
        assert_table(&image, first);
        if let Some((path, at)) = blob {
            let want = site.artifact(&format!("arm64/u-boot/{path}"));
            let mut found = vec![0; want.len()];
            File::open(&image).unwrap().read_exact_at(&mut found, at).unwrap();
            assert!(found == want, "{board}: {path} at {at}");
        }
        let want = site.artifact(&format!("arm64/dtb/{dtb}"));
        assert!(esp(&image, first, &format!("dtb/{dtb}")) == want, "{board}: {dtb}");
        assert!(!esp(&image, first, "EFI/BOOT/BOOTAA64.EFI").is_empty(), "{board}");
        assert_args(&site, board, args);
    }
    for &(board, args, files) in PIS {
        let image = out(board);
        assert_table(&image, 2048);
        for (path, from) in files {
            assert!(esp(&image, 2048, path) == site.artifact(from), "{board}: {path}");
        }
        let text = String::from_utf8(esp(&image, 2048, "config.txt")).unwrap();
        assert!(text.starts_with("gpu_mem=32\n") && text.ends_with("\n\n"), "{board}: {text}");
        assert!(text.contains("\nkernel=u-boot.bin\n"), "{board}: {text}");
        assert_args(&site, board, args);
    }
}

#[test]
fn what_is_no_place_for_a_board_is_refused() {
    let refused = |nodes: &str, code: &str| {
        let site = Site::new(nodes).unwrap();
        let said = site.run(&["plan", "site.yaml", "--json"]);
        assert_ne!(said.code, Some(0), "{nodes}");
        let all = format!("{}{}", said.text(), said.err);
        assert!(all.contains(&format!("\"{code}\"")), "{nodes}: {all}");
    };
    if !tools::have(&assets::TOOLS) {
        return;
    }
    let node = |more: &str| format!("  - {{name: a, role: worker, embed: none, {more}}}\n");
    refused(&node("overlays: [rock64, pine64], profile: small.yaml"), "board-twice");
    refused(&node("overlays: [rock64], profile: metal-iso"), "board-medium");
    refused(&node("overlays: [rock64], profile: metal-pxe"), "board-medium");
    refused(&node("overlays: [rock64], profile: metal-disk-4k"), "board-sector");
    refused(
        &node("overlays: [rock5b], profile: small.yaml, values: {spi_boot: perhaps}"),
        "overlay-value-kind",
    );
}

#[test]
fn a_blob_that_is_missing_or_too_long_is_refused() {
    if !tools::have(&assets::TOOLS) {
        return;
    }
    let site = Site::new(
        "  - {name: a, role: worker, profile: small.yaml, embed: none, overlays: [pine64]}\n",
    )
    .unwrap();
    let dtb = "boards/artifacts/arm64/dtb/allwinner/sun50i-a64-pine64-plus.dtb";
    site.write(dtb, b"dtb").unwrap();
    let blob = "arm64/u-boot/pine64/u-boot-sunxi-with-spl.bin";
    let said = site.build();
    assert!(said.code != Some(0) && said.err.contains(blob), "{}", said.err);
    // The entries lie at LBA 2050.
    let room = 2050 * 512 - 8192;
    let path = format!("boards/artifacts/{blob}");
    site.write(&path, &noise(1, room + 1)).unwrap();
    let said = site.build();
    assert!(said.code != Some(0) && said.err.contains("1049600"), "{}", said.err);
    site.write(&path, &noise(1, room)).unwrap();
    site.build().well().unwrap();
}
