//! UKIs, addons and initramfs segments, judged by objdump, cpio, unsquashfs and sbverify.

use std::path::Path;

use anyhow::Result;
use lab::tools;
use talforge::talos::Arch;

use crate::assets::{BASE_LAYER, RELEASE};
use crate::fixture::{self, Site, TALOS};
use crate::kinds::{Embed, Kind, Medium, build};
use crate::oracle::{self, Segment, Volume};

/// The UKI of a medium.
fn uki(medium: &Medium) -> Result<Vec<u8>> {
    match medium.kind {
        Kind::Pxe => Ok(std::fs::read(medium.path.join(format!("metal-{}-uki.efi", medium.arch)))?),
        _ => Volume::of(&medium.path, 512)?.content(&format!("EFI/Linux/Talos-{TALOS}.efi")),
    }
}

/// The addon beside it.
fn addon(medium: &Medium) -> Result<Vec<u8>> {
    let path = format!("EFI/Linux/Talos-{TALOS}.efi.extra.d/talforge.addon.efi");
    Volume::of(&medium.path, 512)?.content(&path)
}

/// The kernel's release, which only x86 kernels tell.
fn release(arch: Arch) -> Option<&'static str> {
    (arch == Arch::Amd64).then_some(RELEASE)
}

/// The names of the sections after the stub's own.
fn appended(arch: Arch, reset: bool) -> Vec<&'static str> {
    let mut names = vec![".osrel", ".cmdline"];
    names.extend(release(arch).map(|_| ".uname"));
    names.extend([".linux", ".initrd", ".profile"]);
    names.extend([".profile", ".cmdline"].into_iter().filter(|_| reset));
    names
}

/// The base's initramfs with what must follow it: `None` where the config lies elsewhere.
fn split_initrd<'a>(site: &Site, initrd: &'a [u8]) -> Result<Option<&'a [u8]>> {
    let base = site.read("assets/initramfs.xz")?;
    anyhow::ensure!(initrd.starts_with(&base), "the base initramfs comes first");
    let rest = &initrd[base.len()..];
    let padding = (4 - base.len() % 4) % 4;
    anyhow::ensure!(rest.iter().take(padding).all(|byte| *byte == 0), "zeros come between");
    Ok(rest.get(padding..).filter(|segment| !segment.is_empty()))
}

#[test]
fn objdump_finds_the_sections_of_a_uki_in_talos_order_and_to_the_byte() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    for arch in Arch::ALL {
        let (site, media) = build(arch, &[Kind::Iso, Kind::Disk512, Kind::Pxe]).unwrap();
        let stub = oracle::sections(arch, &site.read("assets/systemd-stub.efi").unwrap()).unwrap();
        for medium in media {
            let uki = uki(&medium).unwrap();
            let sections = oracle::sections(arch, &uki).unwrap();
            let (own, added) = sections.split_at(stub.len());
            assert_eq!(own, stub, "the stub's own sections stay as they are");
            let names: Vec<_> = added.iter().map(|section| section.name.as_str()).collect();
            assert_eq!(names, appended(arch, medium.kind != Kind::Pxe), "{medium:?}");
            let find = |name: &str| {
                let all = added.iter().filter(|section| section.name == name);
                all.map(|section| section.bytes.clone()).collect::<Vec<_>>()
            };
            assert_eq!(find(".linux"), [site.read("assets/vmlinuz").unwrap()]);
            assert_eq!(
                find(".uname"),
                Vec::from_iter(release(arch).map(|r| r.as_bytes().to_vec()))
            );
            let segment = split_initrd(&site, &find(".initrd")[0]).unwrap().is_some();
            let inside = medium.embed == Embed::Initramfs
                || (medium.kind == Kind::Pxe && medium.embed == Embed::Auto);
            assert_eq!(segment, inside, "{medium:?}");
            let addresses = sections
                .windows(2)
                .map(|pair| (pair[0].address + pair[0].bytes.len() as u64).next_multiple_of(4096));
            assert_eq!(
                addresses.collect::<Vec<_>>(),
                sections[1..].iter().map(|section| section.address).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_ukis_texts_are_those_of_talos() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    let (_site, media) = build(Arch::Amd64, &[Kind::Iso, Kind::Disk512]).unwrap();
    let texts = |medium: &Medium| {
        let sections = oracle::sections(Arch::Amd64, &uki(medium).unwrap()).unwrap();
        let texts =
            sections.into_iter().filter(|s| [".osrel", ".profile", ".cmdline"].contains(&&*s.name));
        let text = |section: oracle::Section| {
            format!("{}\n{}\n", section.name, String::from_utf8(section.bytes).unwrap())
        };
        texts.map(text).collect::<String>()
    };
    insta::assert_snapshot!(texts(&media[0]), @r#"
    .osrel
    NAME="Talos"
    ID=talos
    VERSION_ID=v1.13.9
    PRETTY_NAME="Talos (v1.13.9)"
    HOME_URL="https://www.talos.dev/"
    BUG_REPORT_URL="https://github.com/siderolabs/talos/issues"
    VENDOR_NAME="Sidero Labs"
    VENDOR_URL="https://www.siderolabs.com/"

    .cmdline
    talos.platform=metal console=tty0 talos.halt_if_installed=1 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never
    .profile
    ID=main
    .profile
    ID=reset
    TITLE=Reset system disk
    .cmdline
    talos.platform=metal console=tty0 talos.halt_if_installed=1 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never talos.experimental.wipe=system
    "#);
    let disk = media.iter().find(|medium| medium.kind == Kind::Disk512).unwrap();
    let disk = texts(disk);
    let profiles = disk.find(".profile").unwrap();
    insta::assert_snapshot!(&disk[profiles..], @r"
    .profile
    ID=main
    .profile
    ID=reset-maintenance
    TITLE=Reset to maintenance mode
    .cmdline
    talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never talos.experimental.wipe=system:EPHEMERAL,STATE
    ");
}

#[test]
fn objdump_finds_an_addon_for_the_ukis_machine_and_kernel() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    for arch in Arch::ALL {
        let (_site, media) = build(arch, &[Kind::Iso, Kind::Disk512]).unwrap();
        for medium in media.iter().filter(|medium| medium.embed == Embed::Auto) {
            let sections = oracle::sections(arch, &addon(medium).unwrap()).unwrap();
            let names: Vec<_> = sections.iter().map(|section| section.name.as_str()).collect();
            let mut want = vec![".text", ".sbat"];
            want.extend(release(arch).map(|_| ".uname"));
            want.push(".initrd");
            assert_eq!(names, want);
            let sbat = String::from_utf8(sections[1].bytes.clone()).unwrap();
            assert!(sbat.starts_with("sbat,1,") && sbat.contains("\ntalforge-addon,1,"), "{sbat}");
            if let Some(release) = release(arch) {
                let told = |program: &[u8]| oracle::section(arch, program, ".uname").unwrap();
                assert_eq!(told(&addon(medium).unwrap()), release.as_bytes());
                assert_eq!(told(&uki(medium).unwrap()), release.as_bytes());
            }
        }
    }
}

/// Both ways to embed carry the same segment, and the UKI of an addon holds the base's initramfs
/// alone.
#[test]
fn an_addon_and_an_initramfs_bring_the_same_segment() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    for arch in Arch::ALL {
        let (site, media) = build(arch, &[Kind::Iso, Kind::Pxe]).unwrap();
        let of = |kind, embed| media.iter().find(|m| (m.kind, m.embed) == (kind, embed)).unwrap();
        let beside = oracle::section(arch, &addon(of(Kind::Iso, Embed::Auto)).unwrap(), ".initrd");
        let inside =
            oracle::section(arch, &uki(of(Kind::Iso, Embed::Initramfs)).unwrap(), ".initrd");
        let inside = inside.unwrap();
        assert_eq!(split_initrd(&site, &inside).unwrap(), Some(&*beside.unwrap()));
        for embed in [Embed::Auto, Embed::Initramfs] {
            let file = of(Kind::Pxe, embed).path.join(format!("initramfs-metal-{arch}.xz"));
            assert_eq!(std::fs::read(file).unwrap(), inside);
        }
    }
}

/// The layer is what Talos' own imager embeds: a file that root alone reads, with the label of
/// Talos' state, behind the layers that were there.
#[test]
fn cpio_and_unsquashfs_find_the_config_where_talos_looks() {
    if !fixture::have(&oracle::TOOLS) {
        return;
    }
    for (arch, layer) in [(Arch::Amd64, "1.sqsh"), (Arch::Arm64, "0.sqsh")] {
        let (site, media) = build(arch, &[Kind::Iso]).unwrap();
        let initrd = oracle::section(arch, &addon(&media[0]).unwrap(), ".initrd").unwrap();
        let segment = Segment::unpack(&initrd).unwrap();
        assert_eq!(segment.names, [layer, "extensions.yaml"]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(segment.list(layer).unwrap(), @"
            drwxr-xr-x root/root 26 1980-01-01 00:00
            drwxr-xr-x root/root 28 1980-01-01 00:00 /usr
            drwxr-xr-x root/root 26 1980-01-01 00:00 /usr/local
            drwxr-xr-x root/root 28 1980-01-01 00:00 /usr/local/etc
            drwxr-xr-x root/root 34 1980-01-01 00:00 /usr/local/etc/talos
            -r-------- root/root 11127 1980-01-01 00:00 /usr/local/etc/talos/config.yaml
            ");
        }
        let config = segment.content(layer, "usr/local/etc/talos/config.yaml").unwrap();
        assert_eq!(config, site.read("cp.yaml").unwrap());
        let list = std::fs::read_to_string(segment.path("extensions.yaml")).unwrap();
        let images: Vec<_> = list.lines().filter_map(|line| line.split_once("image: ")).collect();
        let images: Vec<_> = images.into_iter().map(|(_, image)| image).collect();
        match arch {
            Arch::Amd64 => assert_eq!(images, [BASE_LAYER, layer]),
            Arch::Arm64 => assert_eq!(images, [layer]),
        }
        let sum = tools::stdout("sha256sum", &["cp.yaml"], site.folder()).unwrap();
        assert!(list.contains(&format!("version: {}", &sum[..64])), "{list}");
    }
}

/// `unsquashfs` writes the label of the config into a file, from where `getfattr` reads it. Only
/// root may do that.
#[test]
fn the_config_is_labelled_as_talos_labels_its_state() {
    if !fixture::have(&oracle::TOOLS) || !fixture::have(&["getfattr"]) || !fixture::is_root() {
        return;
    }
    let (_site, media) = build(Arch::Amd64, &[Kind::Iso]).unwrap();
    let initrd = oracle::section(Arch::Amd64, &addon(&media[0]).unwrap(), ".initrd").unwrap();
    let segment = Segment::unpack(&initrd).unwrap();
    let tree = segment.path("tree").display().to_string();
    tools::stdout("unsquashfs", &["-d", &tree, "1.sqsh"], &segment.path(".")).unwrap();
    let file = format!("{tree}/usr/local/etc/talos/config.yaml");
    let said =
        tools::stdout("getfattr", &["-m", "-", "-d", "--absolute-names", &file], Path::new("/"));
    assert!(said.unwrap().contains("security.selinux=\"system_u:object_r:system_state_t:s0\"\n"));
}

#[test]
fn sbverify_reads_ukis_and_addons_and_finds_them_unsigned() {
    if !fixture::have(&oracle::TOOLS) || !fixture::have(&["sbverify"]) {
        return;
    }
    let (site, media) = build(Arch::Amd64, &[Kind::Iso]).unwrap();
    for medium in media {
        let mut programs = vec![uki(&medium).unwrap()];
        if medium.embed == Embed::Auto {
            programs.push(addon(&medium).unwrap());
        }
        for program in programs {
            site.write("program.efi", &program).unwrap();
            let out = tools::run("sbverify", &["--list", "program.efi"], site.folder()).unwrap();
            let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
            assert!(out.status.success(), "{said}");
            assert_eq!(said, "No signature table present\n");
        }
    }
}
