//! Installing: to which disk, with which image.
//!
//! In: an [`Install`]. Out: `machine.install`, or from Talos 1.14 on an `UnattendedInstallConfig`.
//!
//! Source: Talos `pkg/machinery/config/types/runtime/unattended_install.go`,
//! `pkg/machinery/config/types/v1alpha1/v1alpha1_types.go` (`InstallConfig`).
//!
//! Not here: which image it is (`generate`).

use super::Problems;
use super::disk::Disk;
use crate::config::documents::Documents;
use crate::config::schema::MAIN;

/// How a node is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The disk.
    pub disk: Disk,
    /// Whether the disk is wiped as a whole first. It is always written: Talos' own default differs
    /// from release to release.
    pub wipe: bool,
    /// The installer's image; none leaves the config's own.
    pub image: Option<String>,
}

/// Whether Talos 1.`minor` has documents for it.
const fn has_document(minor: u32) -> bool {
    minor >= 14
}

/// Says what of it Talos 1.`minor` cannot do.
pub(super) fn check(install: &Install, minor: u32, problems: &mut Problems<'_>) {
    install.disk.check("install disk", problems);
    if matches!(install.disk, Disk::Match(_)) && !has_document(minor) {
        let rest = format!("is chosen by an expression, which Talos 1.{minor} cannot");
        let help = "choose it by `selector`, or use Talos 1.14 or newer";
        problems.add("install-match", "install disk", &rest, help);
    }
}

/// Writes it down.
pub(super) fn write(documents: &mut Documents, install: &Install) {
    if has_document(documents.schema.minor) {
        let tree = documents.open("UnattendedInstallConfig", None);
        if let Some(image) = &install.image {
            tree.set_at(&["installer", "image"], image.as_str());
        }
        tree.set_at(&["provisioning", "diskSelector", "match"], install.disk.expression());
        tree.set_at(&["provisioning", "wipe"], install.wipe);
        return;
    }
    let tree = documents.open(MAIN, None).open("machine").open("install");
    tree.remove("disk");
    tree.remove("diskSelector");
    match &install.disk {
        Disk::Path(path) => tree.set("disk", path.as_str()),
        Disk::Selector(selector) => tree.set("diskSelector", selector.tree()),
        Disk::Match(_) => unreachable!("refused by `check`"),
    }
    if let Some(image) = &install.image {
        tree.set("image", image.as_str());
    }
    tree.set("wipe", install.wipe);
}
