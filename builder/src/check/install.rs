//! Where a node would be installed, as far as its config tells without knowing its disks.
//!
//! In: a node, the release of Talos. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/runtime/unattended_install.go` (everything is cleared
//! unless the config says otherwise), `internal/app/machined/pkg/runtime/v1alpha1/`
//! (`talos.halt_if_installed`); Linux `Documentation/admin-guide/devices.rst` (disks are numbered as
//! they are found).
//!
//! Not here: known disks (`disks`).

use super::Medium;
use super::disks::{self, Target};
use super::found::Findings;
use super::view::Node;
use crate::cel::disks::Disk;
use crate::cel::{Bindings, Program, SystemDisk};
use crate::config::tree::Tree;
use crate::talos::Version;

/// Looks at where a node installs.
pub(super) fn check(node: &Node<'_>, talos: &Version, found: &mut Findings) {
    let documents = node.member.documents;
    if node.member.medium == (Medium::Iso { halts_if_installed: false }) {
        let text = "boots an ISO that starts Talos from it again when Talos is installed already";
        let help = "put the disk before it in the boot order, or keep `talos.halt_if_installed=1`";
        found.node("iso-boot-order", node, None, text, help);
    }
    if node.member.medium == Medium::Disk {
        return;
    }
    let known = node.member.disks.map(|disks| disks::check(documents, disks));
    for finding in known.into_iter().flatten() {
        found.of(node, finding);
    }
    let Ok(target) = disks::target(documents) else { return };
    let Some(target) = target else {
        if !talos.requires_install_section() && documents.main().is_some() {
            let text = "names no disk to install on, so that Talos runs from memory alone";
            let help = "add UnattendedInstallConfig with a `diskSelector`";
            found.node("install-none", node, None, text, help);
        }
        return;
    };
    if disks::wipes(documents) {
        let newer = documents.get("UnattendedInstallConfig", None);
        let at = newer.and_then(|tree| tree.at(&["provisioning", "wipe"])).or(Some(target.tree()));
        let text = "clears all of the disk that it installs on";
        let help = "set `wipe: false` to clear no more than Talos needs";
        found.node("install-wipe", node, at, text, help);
    }
    unstable(node, &target, found);
    if let (None, Target::Expression(text, tree)) = (node.member.disks, &target) {
        selector(node, text, tree, found);
    }
}

/// A disk's number changes when one is added, or is slow to answer.
fn unstable(node: &Node<'_>, target: &Target<'_>, found: &mut Findings) {
    let (text, tree) = match target {
        Target::Path(path, tree) => (*path, *tree),
        Target::Expression(text, tree) => (text.as_str(), *tree),
    };
    let is_number = |name: &str| ["/dev/sd", "/dev/nvme"].iter().any(|of| name.contains(of));
    if is_number(text) {
        let text = "installs on a disk by its number, such as `/dev/sda`, which may be another's at \
                    the next boot";
        let help = "choose it by `serial` or `wwid`, or by a path in `/dev/disk/by-id`";
        found.node("install-disk-name", node, Some(tree), text, help);
    }
}

/// What only one disk has, or few have.
const IDENTITIES: [&str; 8] = [
    "disk.serial",
    "disk.wwid",
    "disk.uuid",
    "disk.bus_path",
    "disk.model",
    "disk.modalias",
    "disk.symlinks",
    "disk.dev_path",
];

fn selector(node: &Node<'_>, text: &str, tree: &Tree, found: &mut Findings) {
    let Ok(program) = disks::compile(node.member.documents, text, tree) else { return };
    let by_name = text.contains("disk.dev_path");
    let from_stick = matches!(node.member.medium, Medium::Iso { .. });
    if from_stick && !by_name && sticks().any(|stick| matches(&program, &stick)) {
        let text = "may install on a USB stick, even on the one that it boots from";
        let help = "add `disk.transport != \"usb\"` to the selector";
        found.node("install-usb", node, Some(tree), text, help);
    }
    if !IDENTITIES.iter().any(|identity| text.contains(identity)) {
        let text = "chooses the disk to install on by what several disks may have, and Talos takes \
                    the first";
        let help = "choose by `serial` or `wwid`, or have the selector tried on the disks' list";
        found.node("install-loose", node, Some(tree), text, help);
    }
}

fn matches(program: &Program, disk: &Disk) -> bool {
    program.evaluate(&Bindings::Disk(disk, SystemDisk::No)).unwrap_or(false)
}

/// Sticks and disks on USB as the kernel shows them: of all sizes, and some that say they turn.
fn sticks() -> impl Iterator<Item = Disk> {
    let sizes = [4_u64, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000];
    sizes.into_iter().flat_map(|size| {
        [false, true].map(|rotational| Disk {
            id: "sda".to_owned(),
            size: size * 1_000_000_000,
            io_size: 512,
            sector_size: 512,
            model: "Flash Drive".to_owned(),
            modalias: "scsi:t-0x00".to_owned(),
            bus_path: "/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0".to_owned(),
            sub_system: "/sys/class/block".to_owned(),
            transport: "usb".to_owned(),
            rotational,
            dev_path: "/dev/sda".to_owned(),
            ..Disk::default()
        })
    })
}
