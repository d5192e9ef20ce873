//! The EFI system partition: what firmware and systemd-boot look for, and under which names.
//!
//! In: a node's payload. Out: the files of a FAT volume.
//!
//! Source: Talos `pkg/imager/iso/uefi.go#CreateUEFI`, `bootloader/sdboot/sdboot.go`; UEFI
//! Specification 2.10, "Removable Media Boot Behavior"; systemd-boot(7), systemd-stub(7).
//!
//! Not here: the volume's place on a medium.

use crate::blob::Blob;
use crate::format::fat::{File, Place};
use crate::layout::Parts;
use crate::plan::Loader;
use crate::talos::Arch;

/// The kind of medium that the partition lies on. Talos spells the boot loader's path in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk that boots for good: a running Talos looks for `EFI/boot/BOOT*.efi`, in this case.
    Disk,
    /// An ISO. It carries a random seed that cannot be written: systemd-boot 261 writes a missing
    /// one, which some firmware does not survive (<https://github.com/siderolabs/talos/issues/14029>).
    Iso,
}

/// The files, in the order in which they lie on the volume: those that a boot reads first come
/// first, and the node's own last.
pub fn files(kind: Kind, parts: &Parts<'_>, loader: &Loader) -> Vec<File> {
    let file =
        |path: String, content: Blob| File { path, content, read_only: false, place: Place::First };
    let plan = parts.plan;
    // A running Talos looks for `EFI/Linux/Talos-*.efi`, in this case.
    let uki = format!("EFI/Linux/Talos-{}.efi", plan.talos);
    let mut files = vec![
        file(loader_path(kind, plan.arch), parts.assets.sd_boot.clone()),
        file("loader/loader.conf".into(), loader_conf(loader)),
        file(uki.clone(), parts.payload.uki.clone()),
    ];
    if kind == Kind::Iso {
        let seed = file("loader/random-seed".into(), Blob::from_bytes("random seed", [0; 32]));
        files.push(File { read_only: true, ..seed });
    }
    if let Some(addon) = &parts.payload.addon {
        let path = format!("{uki}.extra.d/talforge.addon.efi");
        files.push(File { place: Place::Last, ..file(path, addon.clone()) });
    }
    files
}

fn loader_path(kind: Kind, arch: Arch) -> String {
    let path = match (kind, arch) {
        (Kind::Disk, Arch::Amd64) => "EFI/boot/BOOTX64.efi",
        (Kind::Disk, Arch::Arm64) => "EFI/boot/BOOTAA64.efi",
        (Kind::Iso, Arch::Amd64) => "EFI/BOOT/BOOTX64.EFI",
        (Kind::Iso, Arch::Arm64) => "EFI/BOOT/BOOTAA64.EFI",
    };
    path.to_owned()
}

fn loader_conf(loader: &Loader) -> Blob {
    let mut text = format!("# systemd-boot configuration\n\ntimeout {}\n", loader.timeout);
    if let Some(enroll) = &loader.secure_boot_enroll {
        text += &format!("\nsecure-boot-enroll {enroll}\n");
    }
    Blob::from_bytes("loader.conf", text.into_bytes())
}
