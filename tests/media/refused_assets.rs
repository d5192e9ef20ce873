//! Boot assets that cannot be used: each is refused with what is wrong, and nothing is written.

use anyhow::{Result, ensure};
use talforge::talos::Arch;

use crate::assets::{self, Base, initramfs, kernel, pe, program};
use crate::fixture::{self, Site};

const ISO: &str = "name: cp, role: controlplane, config: cp.yaml";

/// What a build says that must fail, after its exit code; and that it leaves nothing.
///
/// # Errors
///
/// Where it does not fail so.
pub(crate) fn refusal(site: &Site, args: &[&str]) -> Result<String> {
    let said = site.run(args)?;
    let code = said.code.unwrap_or(-1);
    ensure!(code != 0, "it went well: {}", said.text());
    ensure!(said.out.is_empty(), "on standard output: {}", said.text());
    let left = site.path("out").read_dir().map_or(0, Iterator::count);
    ensure!(left == 0, "{left} files are left");
    Ok(format!("exit code {code}\n{}", said.err))
}

/// What a build says of an asset in the place of the right one.
fn with(site: &Site, name: &str, asset: &[u8]) -> Result<String> {
    let right = site.read(&format!("assets/{name}"))?;
    site.write(&format!("assets/{name}"), asset)?;
    let said = refusal(site, &["build"]);
    site.write(&format!("assets/{name}"), &right)?;
    said
}

fn site(nodes: &[&str]) -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.nodes(nodes)?;
    Ok(site)
}

#[test]
fn an_asset_that_is_missing_is_named() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let mut said = String::new();
    for name in ["vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"] {
        let right = site.read(&format!("assets/{name}")).unwrap();
        std::fs::remove_file(site.path(&format!("assets/{name}"))).unwrap();
        said += &refusal(&site, &["build"]).unwrap();
        site.write(&format!("assets/{name}"), &right).unwrap();
    }
    std::fs::rename(site.path("assets"), site.path("elsewhere")).unwrap();
    said += &refusal(&site, &["build"]).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 4
    error: the boot assets in `assets` lack the kernel
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      the kernel: `vmlinuz-amd64` of the same Talos release
    exit code 4
    error: the boot assets in `assets` lack the initramfs
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      the initramfs: `initramfs-amd64.xz` of the same Talos release
    exit code 4
    error: the boot assets in `assets` lack systemd-boot
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-boot: `metal-amd64.iso` of the same Talos release; or `systemd-boot.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`; or `systemd-bootx64.efi` of Debian's package `systemd-boot-efi`, renamed to `systemd-boot.efi`
    exit code 4
    error: the boot assets in `assets` lack systemd-stub
    help: put what is missing beside the rest, and name the folder in `boot.assets`:
      systemd-stub: `metal-amd64-uki.efi` or `metal-amd64.iso` of the same Talos release; or `systemd-stub.efi`, at `/usr/install/amd64/` in the image `ghcr.io/siderolabs/imager`
    exit code 4
    error: the boot assets lack `assets`
    help: check the path in `boot.assets` and the file's permissions
    ");
}

#[test]
fn a_kernel_that_is_none_or_cut_short_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let right = kernel(Arch::Amd64);
    let mut said = with(&site, "vmlinuz", &right[..right.len() / 2]).unwrap();
    said += &with(&site, "vmlinuz", b"\x7fELF").unwrap();
    said += &with(&site, "vmlinuz", b"").unwrap();
    said += &with(&site, "vmlinuz", &kernel(Arch::Arm64)).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 4
    error: `assets/vmlinuz` is cut short: it has 162304 bytes, its header says at least 324608
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/vmlinuz` is not a Linux kernel with an EFI stub (a bzImage, or an arm64 Image or zboot image)
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/vmlinuz` is not a Linux kernel with an EFI stub (a bzImage, or an arm64 Image or zboot image)
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/vmlinuz` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    ");
}

#[test]
fn an_initramfs_that_linux_would_not_unpack_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let right = site.read("assets/initramfs.xz").unwrap();
    let mut said = with(&site, "initramfs.xz", &right[..right.len() / 2]).unwrap();
    said += &with(&site, "initramfs.xz", b"no archive").unwrap();
    said += &with(&site, "initramfs.xz", b"").unwrap();
    let no_archive = initramfs(Base::Plain, &["cat > /dev/null; echo no archive | zstd -q -c"]);
    said += &with(&site, "initramfs.xz", &no_archive.unwrap()).unwrap();
    let empty = initramfs(Base::Plain, &["cat > /dev/null; echo | cpio --quiet -o -H newc"]);
    said += &with(&site, "initramfs.xz", &empty.unwrap()).unwrap();
    insta::assert_snapshot!(fixture::steady(&said), @r"
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: segment at 0x0: zstd frame at 0x…: it is cut
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: initrd segment at 0x0: neither an archive nor a compressed one
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: initramfs at 0x0: it has no `init`, should be that of Talos
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: segment at 0x0: unpacked segment at 0x0: what follows the entry before is no entry, should be at a multiple of 4
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: initramfs at 0x0: it has no `init`, should be that of Talos
    help: fetch the file again and compare its checksum
    ");
}

/// The kernels of Talos can unpack two formats, of which xz only with the checksum that Linux knows.
#[test]
fn an_initramfs_is_packed_in_a_way_that_talos_kernels_unpack() {
    if !fixture::have(&["gzip", "xz"]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let mut said = String::new();
    for packer in ["gzip -n -9", "xz --check=sha256 -1"] {
        let packed = initramfs(Base::WithTools, &[packer]).unwrap();
        said += &with(&site, "initramfs.xz", &packed).unwrap();
    }
    insta::assert_snapshot!(said, @r"
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: initrd segment at 0x0: it is compressed with gzip, which Talos' kernels cannot unpack, should be zstd, or xz with CRC32
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/initramfs.xz` is no initramfs that Linux unpacks: initrd segment at 0x0: it is compressed with xz with a check other than CRC32, which Talos' kernels cannot unpack, should be zstd, or xz with CRC32
    help: fetch the file again and compare its checksum
    ");
    for packer in ["xz --check=crc32 -1", "cat"] {
        let packed = initramfs(Base::WithTools, &[packer]).unwrap();
        site.write("assets/initramfs.xz", &packed).unwrap();
        site.build().unwrap();
        let found = site.run(&["config", "show", "out/cp.iso"]).unwrap().well().unwrap();
        assert!(found.out == site.read("cp.yaml").unwrap(), "{packer}");
    }
}

#[test]
fn efi_programs_that_are_not_systemds_or_for_another_machine_are_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let stub = "systemd-stub.efi";
    let mut said = with(&site, stub, &pe(Arch::Amd64, &[(".text", 0x6000_0020, b"code")])).unwrap();
    said += &with(&site, stub, &program(Arch::Amd64, "systemd-boot 257.9-1")).unwrap();
    said += &with(&site, stub, &program(Arch::Arm64, "systemd-stub 257.9-1")).unwrap();
    let right = program(Arch::Amd64, "systemd-stub 257.9-1");
    said += &with(&site, stub, &right[..right.len() - 512]).unwrap();
    said += &with(&site, stub, b"no program").unwrap();
    said += &with(&site, "systemd-boot.efi", &program(Arch::Arm64, "systemd-boot 257")).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 4
    error: `assets/systemd-stub.efi` is not systemd-stub: it has no section `.sdmagic`
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/systemd-stub.efi` is not systemd-stub: it calls itself `#### LoaderInfo: systemd-boot 257.9-1 ####`
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/systemd-stub.efi` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    exit code 4
    error: `assets/systemd-stub.efi` is no EFI program: section `.sdmagic` ends past the end of the file: the file is cut short
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/systemd-stub.efi` is no EFI program: not a PE32+ image: no DOS header
    help: fetch the file again and compare its checksum
    exit code 4
    error: `assets/systemd-boot.efi` is for arm64, the site is for amd64
    help: set `boot.arch: arm64`, or take the assets of the other architecture
    ");
}

/// The stub of Debian 12 leaves an addon's initramfs alone: Talos would start without a config.
#[test]
fn an_old_stub_is_refused_for_an_addon_and_taken_for_an_initramfs() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    for name in ["systemd-stub 252.36-1~deb12u1", "systemd-stub"] {
        let old = program(Arch::Amd64, name);
        let said = with(&site, "systemd-stub.efi", &old).unwrap();
        assert_eq!(said.contains("252"), name.contains("252"), "{said}");
        if name.contains("252") {
            insta::assert_snapshot!(said, @"
            exit code 4
            error: node `cp`: the boot assets' systemd-stub 252 ignores an initramfs in an addon; it takes one since 257
            help: take boot assets of Talos v1.12 or newer, or set `embed: initramfs` or `embed: volume`
            ");
        }
        site.write("assets/systemd-stub.efi", &old).unwrap();
        site.nodes(&[&format!("{ISO}, embed: initramfs")]).unwrap();
        site.build().unwrap();
        let found = site.run(&["config", "show", "out/cp.iso"]).unwrap().well().unwrap();
        assert_eq!(found.out, site.read("cp.yaml").unwrap());
        std::fs::remove_dir_all(site.path("out")).unwrap();
        let right = &assets::of(Arch::Amd64).unwrap()["systemd-stub.efi"];
        site.write("assets/systemd-stub.efi", right).unwrap();
        site.nodes(&[ISO]).unwrap();
    }
}

#[test]
fn a_base_with_a_list_of_layers_that_is_none_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[ISO]).unwrap();
    let script = "cat > /dev/null; rm -r ../tree/*; echo [ > extensions.yaml; echo x > init; \
                  (echo init; echo extensions.yaml) | cpio --quiet -o -H newc";
    let base = initramfs(Base::Plain, &[script]).unwrap();
    insta::assert_snapshot!(with(&site, "initramfs.xz", &base).unwrap(), @r"
    exit code 4
    error: node `cp`: `extensions.yaml` of the initramfs is no list of layers: invalid type: sequence, expected a YAML mapping
    help: check that `initramfs.xz` is of a Talos release
    ");
}

#[test]
fn assets_that_are_larger_than_their_efi_partition_are_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site =
        site(&["name: cp, role: controlplane, config: cp.yaml, profile: small.yaml"]).unwrap();
    site.write("small.yaml", fixture::small_disk(512, "36MiB").as_bytes()).unwrap();
    let mut large = kernel(Arch::Amd64);
    large.resize(40 << 20, 0);
    insta::assert_snapshot!(with(&site, "vmlinuz", &large).unwrap(), @r"
    exit code 1
    error: node `cp`: the EFI partition cannot be laid out: the files need 41096KiB; the volume has room for 36280KiB
    help: give its profile a larger `esp`, or take smaller boot assets
    ");
}

#[test]
fn a_hybrid_iso_without_grub_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = Site::new(Arch::Amd64).unwrap();
    std::fs::create_dir(site.path("empty")).unwrap();
    let boot = "{assets: \"dir:assets\", grub: empty}";
    let node = format!("{ISO}, profile: metal-iso-hybrid");
    site.site(fixture::TALOS, boot, &[&node]).unwrap();
    insta::assert_snapshot!(refusal(&site, &["build"]).unwrap(), @r"
    exit code 4
    error: GRUB's files for BIOS are not in `empty` (no `boot_hybrid.img`)
    help: install GRUB for BIOS (Debian: grub-pc-bin and grub-common), or name its folder as `boot.grub`, or take the profile `metal-iso`, which starts by UEFI alone
    ");
    // Media that need no GRUB are made without.
    site.site(fixture::TALOS, boot, &[ISO]).unwrap();
    site.build().unwrap();
}
