//! Supplies that have no assets: each is refused for what it is.

use proptest::prelude::*;

use super::*;
use crate::tree::{Entry, Kind};

fn opened(supply: &Supply) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    match open(supply, Arch::Amd64, &store, &mut Memo::default()) {
        Ok(_) => String::new(),
        Err(error) => format!("{error}\n{}", error.help()),
    }
}

fn tree(paths: &[&str]) -> Supply {
    let mut tree = Tree::default();
    for path in paths {
        let bytes = path.as_bytes();
        let file = Kind::File(Blob::from_bytes("file", bytes), Digest::of(bytes));
        let entry = Entry { mode: 0o644, uid: 0, gid: 0, xattrs: Default::default(), kind: file };
        tree.insert(path, entry);
    }
    Supply::Tree(tree)
}

#[test]
fn an_image_without_assets_is_named_for_what_it_is() {
    let old = ["usr/install/amd64/vmlinuz", "usr/install/amd64/initramfs.xz", "usr/bin/installer"];
    let arm64 = ["usr/install/arm64/vmlinuz", "usr/bin/imager"];
    let mut said = String::new();
    for paths in [&old[..], &["usr/bin/installer"], &arm64, &["usr/bin/sh"], &[]] {
        said += &format!("{}\n\n", opened(&tree(paths)));
    }
    insta::assert_snapshot!(said, @r"
    the boot assets in the image lack systemd-stub and systemd-boot; the image is a Talos installer of 1.9 or older, which has neither systemd-stub nor systemd-boot
    name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them

    the boot assets in the image lack the kernel, the initramfs, systemd-stub and systemd-boot; the image is Talos' `installer-base`, which has no boot assets
    name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them

    the boot assets in the image lack the kernel, the initramfs, systemd-stub and systemd-boot; the image has boot assets for arm64 alone
    name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them

    the boot assets in the image lack the kernel, the initramfs, systemd-stub and systemd-boot; the image has no folder `usr/install`, so it is no imager or installer of Talos
    name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them

    the boot assets in the image lack the kernel, the initramfs, systemd-stub and systemd-boot; the image has no folder `usr/install`, so it is no imager or installer of Talos
    name the image `ghcr.io/siderolabs/imager` of a Talos release (1.10 or newer), which has all of them
    ");
}

#[test]
fn a_file_of_no_kind_is_refused() {
    for bytes in [&b""[..], b"MZ", b"x", &[0; 4096]] {
        let supply = Supply::File { name: "a".into(), blob: Blob::from_bytes("a", bytes) };
        let said = opened(&supply);
        assert!(said.starts_with("`a` is "), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_it_panic(
        magic in prop::sample::select(vec![
            &b"MZ"[..], b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x1f\x8b\x08", b"", b"EFI PART",
        ]),
        at in prop::sample::select(vec![0_usize, 512]),
        rest in prop::collection::vec(any::<u8>(), 0..2000),
        iso in any::<bool>(),
    ) {
        let mut bytes = vec![0; at];
        bytes.extend_from_slice(magic);
        bytes.extend_from_slice(&rest);
        bytes.resize(bytes.len().max(512), 0);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        if iso {
            bytes.resize(40_000, 0);
            bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
            for (byte, random) in bytes[0x8006..].iter_mut().zip(&rest) { *byte = *random; }
        }
        let supply = Supply::File { name: "a".into(), blob: Blob::from_bytes("a", bytes) };
        prop_assert!(!opened(&supply).is_empty());
    }
}
