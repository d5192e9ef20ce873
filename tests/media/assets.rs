//! Boot assets made here: small, and right in all that builder and foreign readers look at. None
//! of them boots (`boot` has those that do).
//!
//! In: an architecture. Out: the files of Talos' `/usr/install/<arch>`.
//!
//! Source: Microsoft "PE Format"; Linux `Documentation/arch/x86/boot.rst`,
//! `Documentation/arch/arm64/booting.rst`; Talos `Dockerfile`, target `initramfs-archive`.
//!
//! Not here: what is built from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use lab::noise::noise;
use lab::tools;
use talforge::talos::Arch;

/// The programs that assets are made with.
pub(crate) const TOOLS: [&str; 3] = ["mksquashfs", "cpio", "zstd"];

/// The kernel's release.
pub(crate) const RELEASE: &str = "6.18.45-talos";

/// The image of a layer that the amd64 initramfs holds already.
pub(crate) const BASE_LAYER: &str = "000.tools.sqsh";

/// The list that it has.
const BASE_LIST: &str = "layers:\n    - image: 000.tools.sqsh\n      metadata:\n        name: tools\n        version: \"1.20\"\n";

/// Files by their names.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// The files of an architecture. They are made once.
///
/// # Errors
///
/// Where a tool fails.
pub(crate) fn of(arch: Arch) -> Result<&'static Files> {
    static MADE: [OnceLock<Result<Files, String>>; 2] = [const { OnceLock::new() }; 2];
    let made = match arch {
        Arch::Amd64 => &MADE[0],
        Arch::Arm64 => &MADE[1],
    };
    let made = made.get_or_init(|| make(arch).map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow!(error.clone()))
}

fn make(arch: Arch) -> Result<Files> {
    let base = match arch {
        Arch::Amd64 => Base::WithTools,
        Arch::Arm64 => Base::Plain,
    };
    Ok(Files::from([
        ("vmlinuz", kernel(arch)),
        ("initramfs.xz", initramfs(base, &["zstd", "-q", "-3", "-c"])?),
        ("systemd-boot.efi", program(arch, "systemd-boot 257.9-1")),
        ("systemd-stub.efi", program(arch, "systemd-stub 257.9-1")),
    ]))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// "Machine Types".
pub(crate) const fn machine(arch: Arch) -> u16 {
    match arch {
        Arch::Amd64 => 0x8664,
        Arch::Arm64 => 0xaa64,
    }
}

/// An EFI program with a section `.sdmagic` in which it names itself.
pub(crate) fn program(arch: Arch, name: &str) -> Vec<u8> {
    let magic = format!("#### LoaderInfo: {name} ####\0");
    let text = noise(u64::from(machine(arch)), 1500);
    let sbat = b"sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";
    pe(
        arch,
        &[
            (".text", 0x6000_0020, &text),
            (".sbat", 0x4000_0040, sbat),
            (".sdmagic", 0x4000_0040, magic.as_bytes()),
        ],
    )
}

/// A PE32+ image: file alignment 512, section alignment 4096.
pub(crate) fn pe(arch: Arch, sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
    const PE: usize = 0x80;
    const OPTIONAL: usize = PE + 24;
    const TABLE: usize = OPTIONAL + 240;
    let mut image = vec![0; 0x400];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &0x80_u32.to_le_bytes());
    put(&mut image, PE, b"PE\0\0");
    put(&mut image, PE + 4, &machine(arch).to_le_bytes());
    put(&mut image, PE + 6, &[u8::try_from(sections.len()).unwrap_or(u8::MAX)]);
    put(&mut image, PE + 20, &240_u16.to_le_bytes());
    // Executable, no line numbers, no symbols, large addresses.
    put(&mut image, PE + 22, &0x002e_u16.to_le_bytes());
    put(&mut image, OPTIONAL, &0x20b_u16.to_le_bytes());
    put(&mut image, OPTIONAL + 16, &[0x1000_u32.to_le_bytes(), 0x1000_u32.to_le_bytes()].concat());
    put(&mut image, OPTIONAL + 32, &[0x1000_u32.to_le_bytes(), 0x200_u32.to_le_bytes()].concat());
    put(&mut image, OPTIONAL + 60, &0x400_u32.to_le_bytes());
    put(&mut image, OPTIONAL + 68, &10_u16.to_le_bytes());
    put(&mut image, OPTIONAL + 108, &16_u32.to_le_bytes());
    let mut address = 0x1000_u32;
    for (number, (name, flags, data)) in sections.iter().enumerate() {
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let at = u32::try_from(image.len()).unwrap_or(u32::MAX);
        let header = TABLE + 40 * number;
        put(&mut image, header, name.as_bytes());
        let raw = size.next_multiple_of(0x200);
        put(&mut image, header + 8, &[size, address, raw, at].map(u32::to_le_bytes).concat());
        put(&mut image, header + 36, &flags.to_le_bytes());
        image.extend_from_slice(data);
        image.resize(image.len().next_multiple_of(0x200), 0);
        address = (address + size).next_multiple_of(0x1000);
    }
    put(&mut image, OPTIONAL + 56, &address.to_le_bytes());
    image
}

/// A kernel as far as its headers go.
pub(crate) fn kernel(arch: Arch) -> Vec<u8> {
    let mut image = noise(u64::from(machine(arch)) + 1, 512 * 9 + 16 * 20_000);
    image[..0x1000].fill(0);
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &0x40_u32.to_le_bytes());
    put(&mut image, 0x40, b"PE\0\0");
    match arch {
        Arch::Amd64 => {
            put(&mut image, 0x1f1, &[8]);
            put(&mut image, 0x1f4, &20_000_u32.to_le_bytes());
            put(&mut image, 0x1fe, b"\x55\xaa");
            put(&mut image, 0x202, b"HdrS");
            put(&mut image, 0x20e, &0x200_u16.to_le_bytes());
            put(&mut image, 0x400, format!("{RELEASE} (talos@buildkitd) #1 SMP\0").as_bytes());
        }
        Arch::Arm64 => put(&mut image, 0x38, b"ARM\x64"),
    }
    image
}

/// What an initramfs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// `init` and `rootfs.sqsh`, as a release's own.
    Plain,
    /// The same, and one system extension.
    WithTools,
}

/// An initramfs in Talos' form, packed by a program that takes standard input to standard output.
///
/// # Errors
///
/// Where a tool fails.
pub(crate) fn initramfs(base: Base, packer: &[&str]) -> Result<Vec<u8>> {
    let work = tempfile::tempdir()?;
    let tree = work.path().join("tree");
    fs::create_dir(&tree)?;
    fs::write(tree.join("init"), noise(7, 40_000))?;
    squashfs(work.path(), "rootfs.sqsh", &noise(8, 60_000))?;
    if base == Base::WithTools {
        squashfs(work.path(), BASE_LAYER, &noise(9, 5000))?;
        fs::write(tree.join("extensions.yaml"), BASE_LIST)?;
    }
    let script = format!(
        "find . -exec touch -h -d @0 {{}} +
         find . -mindepth 1 | sed 's,^\\./,,' | LC_ALL=C sort \
         | cpio --quiet -o -H newc --reproducible -R +0:+0 | {} > ../initramfs",
        packer.join(" ")
    );
    tools::stdout("sh", &["-ec", &script], &tree)?;
    Ok(fs::read(work.path().join("initramfs"))?)
}

/// Writes `tree/<name>`, a squashfs with one file.
fn squashfs(work: &Path, name: &str, content: &[u8]) -> Result<()> {
    let root = work.join("root");
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::write(root.join("usr/bin/tool"), content)?;
    let image = format!("tree/{name}");
    let args = ["root", &image, "-all-root", "-noappend", "-no-progress", "-quiet"];
    let fixed = ["-all-time", "0", "-mkfs-time", "0", "-comp", "zstd"];
    tools::stdout("mksquashfs", &[args.as_slice(), &fixed].concat(), work)?;
    Ok(())
}
