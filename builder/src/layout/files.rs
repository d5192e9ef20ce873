//! Loose files, for network boot.
//!
//! In: a node's payload. Out: kernel, initramfs, command line and UKI.
//!
//! Source: Talos `pkg/imager/profile/profile.go#OutputPath` for the names.
//!
//! Not here: serving them.

use crate::blob::Blob;
use crate::layout::{FileKind, OutputFile, Parts};

/// The files, in a folder of the node's name.
pub fn lay_out(parts: &Parts<'_>) -> Vec<OutputFile> {
    let (plan, payload) = (parts.plan, parts.payload);
    let (folder, arch, platform) = (plan.output(), plan.arch, plan.platform.name());
    let cmdline = Blob::from_bytes("command line", plan.cmdline.to_string().into_bytes());
    [
        (format!("kernel-{arch}"), parts.assets.kernel.clone(), FileKind::Part),
        (format!("initramfs-{platform}-{arch}.xz"), payload.initramfs.clone(), FileKind::Bootable),
        (format!("cmdline-{platform}-{arch}"), cmdline, FileKind::Part),
        (format!("{platform}-{arch}-uki.efi"), payload.uki.clone(), FileKind::Bootable),
    ]
    .into_iter()
    .map(|(name, blob, kind)| OutputFile { path: format!("{folder}/{name}"), blob, kind })
    .collect()
}
