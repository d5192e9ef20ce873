//! The install section as a UnattendedInstallConfig.
//!
//! In: `machine.install`. Out: the document.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/runtime/unattended_install.go`.
//!
//! Not here: expressions (`selector`).

use super::output::{self, Output};
use super::selector;
use crate::config::tree::Tree;

const INSTALL: &str = "UnattendedInstallConfig";

/// Translates the section.
pub(super) fn translate(rest: &mut Tree, output: &mut Output) {
    let Some(mut install) = output::section(rest, "machine.install") else { return };
    if install.is_empty() {
        return;
    }
    let disk = install.text("disk");
    // The selector wins, as it did.
    let chosen = match install.take("diskSelector") {
        Some(selector) => {
            let fields = output::Fields::new("machine.install.diskSelector", selector.clone());
            selector::disk(fields, output).map(|expression| (selector, expression))
        }
        None => disk.map(|(value, path)| (value, selector::disk_path(&path))),
    };
    if let Some((value, expression)) = chosen {
        // The new choice takes the place of the old one as a whole.
        output.delete(INSTALL, None, &["provisioning", "diskSelector"]);
        output
            .open(INSTALL, None, &value)
            .set_at(&["provisioning", "diskSelector", "match"], Tree::from(expression));
    }
    if let Some(image) = install.take("image") {
        output.put(INSTALL, "installer.image", image);
    }
    if let Some(wipe) = install.take("wipe") {
        output.put(INSTALL, "provisioning.wipe", wipe);
    }
    if output.has(INSTALL) {
        // The document alone would wipe the disk.
        output.beneath(INSTALL, None, &["provisioning", "wipe"], false);
    }
    for (key, message, help) in [
        (
            "extraKernelArgs",
            "Talos 1.14 adds no kernel arguments when it installs: the image has its own",
            "put them into the image that is booted and the schematic of the installer's",
        ),
        (
            "extensions",
            "Talos adds no extensions when it installs: the installer's image has its own",
            "name an installer image of a schematic that has them:\n\
             kind: UnattendedInstallConfig\ninstaller:\n  image: ...",
        ),
    ] {
        if let Some(value) = install.take(key) {
            output.refuse(&value, message, help);
        }
    }
    let legacy = install.take("legacyBIOSSupport");
    if let Some(value) = legacy.filter(|value| value.bool() == Some(true)) {
        let message = "Talos 1.14 marks no partition as bootable for old firmware";
        output.refuse(&value, message, "drop it, or boot by UEFI");
    }
    let grub = install.take("grubUseUKICmdline");
    if let Some(value) = grub.filter(|value| value.bool() == Some(false)) {
        let message = "Talos 1.14 always takes the kernel's arguments from the image";
        output.refuse(&value, message, "drop it, and put the arguments into the image");
    }
    // It has been without effect since Talos writes the boot loader in any case.
    install.take("bootloader");
    install.finish(output);
}
