//! Unified kernel images (UKIs) and the addons beside them.
//!
//! In: stub, kernel, initramfs, command line. Out: the UKI; or an addon that brings a UKI one more
//! initramfs segment.
//!
//! Source: Talos `internal/pkg/uki/uki.go#Build`, `generate.go`, `pkg/imager/imager.go#buildUKI`;
//! The Unified Kernel Image Specification, <https://uapi-group.org/specifications/specs/unified_kernel_image/>;
//! systemd-stub(7).
//!
//! Not here: the PE format, and where on a medium UKIs and addons lie.

use crate::blob::Blob;
use crate::format::pe::section::{CMDLINE, INITRD, LINUX, OSREL, PROFILE, SBAT, SPLASH, UNAME};
use crate::format::pe::{self, Image, Machine, PeError, SectionName};
use crate::plan::cmdline::Cmdline;
use crate::talos::Version;

/// What shim's revocation reads of an addon: generation 1 of its format, and of ours.
const ADDON_SBAT: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
                          talforge-addon,1,talforge,talforge,1,https://github.com/talforge/talforge\n";

/// What a UKI is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// systemd's stub.
    pub stub: &'a Image,
    /// The release of Talos, for boot menus.
    pub talos: &'a Version,
    /// The command line of the first boot menu entry.
    pub cmdline: &'a Cmdline,
    /// A second boot menu entry, if any.
    pub reset: Option<Reset>,
    /// The kernel's release, where it is known.
    pub uname: Option<&'a str>,
    /// The picture, where there is one.
    pub splash: Option<&'a Blob>,
    /// The kernel.
    pub kernel: &'a Blob,
    /// The initramfs.
    pub initrd: &'a Blob,
}

/// The boot menu entry that wipes the disk, by kind of medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// On an ISO: the whole system disk.
    Disk,
    /// On an installed disk: state and data, back to maintenance mode.
    Maintenance,
}

impl Reset {
    /// The kernel argument that makes Talos do it.
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Disk => "talos.experimental.wipe=system",
            Self::Maintenance => "talos.experimental.wipe=system:EPHEMERAL,STATE",
        }
    }

    const fn profile(self) -> &'static str {
        match self {
            Self::Disk => "ID=reset\nTITLE=Reset system disk",
            Self::Maintenance => "ID=reset-maintenance\nTITLE=Reset to maintenance mode",
        }
    }
}

/// Assembles an unsigned UKI, in the order of Talos' own.
///
/// # Errors
///
/// Where it would pass 4 GiB.
pub fn assemble(parts: &Parts<'_>, epoch: u32) -> Result<Blob, PeError> {
    let text = |name: SectionName, text: String| {
        (name, Blob::from_bytes(name.to_string(), text.into_bytes()))
    };
    let mut sections =
        vec![text(OSREL, os_release(parts.talos)), text(CMDLINE, parts.cmdline.to_string())];
    sections.extend(parts.uname.map(|uname| text(UNAME, uname.to_owned())));
    sections.extend(parts.splash.map(|splash| (SPLASH, splash.clone())));
    sections.push((LINUX, parts.kernel.clone()));
    sections.push((INITRD, parts.initrd.clone()));
    sections.push(text(PROFILE, "ID=main".to_owned()));
    if let Some(reset) = parts.reset {
        sections.push(text(PROFILE, reset.profile().to_owned()));
        sections.push(text(CMDLINE, parts.cmdline.with(reset.argument())));
    }
    parts.stub.append(&sections, epoch)
}

/// What an addon brings.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddonParts<'a> {
    /// The release of the kernel that the UKI must have, where it is known.
    pub uname: Option<&'a str>,
    /// What follows the UKI's command line, if anything: `console=ttyS1 panic=30`.
    pub cmdline: Option<&'a str>,
    /// One more initramfs segment, if any.
    pub segment: Option<&'a Blob>,
}

/// Builds an addon.
///
/// # Errors
///
/// Where it would pass 4 GiB.
pub fn addon(machine: Machine, parts: &AddonParts<'_>, epoch: u32) -> Result<Blob, PeError> {
    let text =
        |name: SectionName, text: &str| (name, Blob::from_bytes(name.to_string(), text.as_bytes()));
    let mut sections = vec![text(SBAT, ADDON_SBAT)];
    sections.extend(parts.uname.map(|uname| text(UNAME, uname)));
    sections.extend(parts.cmdline.map(|cmdline| text(CMDLINE, cmdline)));
    sections.extend(parts.segment.map(|segment| (INITRD, segment.clone())));
    pe::addon(machine, &sections, epoch)
}

/// Talos' `/etc/os-release` (`constants.go#OSReleaseTemplate`). Boot menus show the pretty name.
fn os_release(talos: &Version) -> String {
    format!(
        "NAME=\"Talos\"\nID=talos\nVERSION_ID={talos}\nPRETTY_NAME=\"Talos ({talos})\"\n\
         HOME_URL=\"https://www.talos.dev/\"\n\
         BUG_REPORT_URL=\"https://github.com/siderolabs/talos/issues\"\n\
         VENDOR_NAME=\"Sidero Labs\"\nVENDOR_URL=\"https://www.siderolabs.com/\"\n"
    )
}
