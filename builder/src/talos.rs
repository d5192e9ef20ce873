//! Talos versions, and what each can do since when.
//!
//! In: a tag such as `v1.13.9`. Out: [`Version`] and answers about it.
//!
//! Source: Talos `pkg/machinery/imager/quirks/quirks.go` and `partitions.go`,
//! `pkg/machinery/constants/constants.go`,
//! <https://github.com/siderolabs/talos/tree/main/pkg/machinery/imager/quirks>.
//!
//! Not here: where the answers are used.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::MIB;

/// The oldest release that reads an embedded machine config.
pub const OLDEST_EMBEDDING: Version = Version { major: 1, minor: 12, patch: 0, pre: None };

/// The oldest release that this builder makes media for: with it UEFI boots use systemd-boot and
/// UKIs with profiles.
pub const OLDEST: Version = Version { major: 1, minor: 10, patch: 0, pre: None };

/// A processor architecture that Talos is released for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Arch {
    /// Both, in the order in which messages list them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Talos' and Go's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a machine is for its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Role {
    /// It runs etcd and the Kubernetes API, and holds all of the cluster's secrets.
    ControlPlane,
    /// It runs workloads, and holds only what it needs to join.
    Worker,
}

impl Role {
    /// Talos' name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// A release of Talos. It prints as its tag, with the leading `v`.
///
/// Equality is of the whole tag; questions ([`Version::at_least`]) pass over the pre-release part,
/// as Talos' own do: `v1.12.0-alpha.1` can do what `v1.12.0` can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `1` in `v1.13.9`.
    pub major: u32,
    /// `13` in `v1.13.9`.
    pub minor: u32,
    /// `9` in `v1.13.9`.
    pub patch: u32,
    /// `rc.1` in `v1.14.0-rc.1`.
    pub pre: Option<String>,
}

impl Version {
    /// Reads a tag, with or without its leading `v`.
    ///
    /// # Errors
    ///
    /// Nothing, where the text is no version of three numbers. It is never taken for "the newest".
    pub fn parse(tag: &str) -> Option<Self> {
        let text = tag.strip_prefix('v').unwrap_or(tag);
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) if is_pre_release(pre) => (numbers, Some(pre.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let mut parts = numbers.split('.').map(number);
        let version =
            Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()??, pre };
        parts.next().is_none().then_some(version)
    }

    /// Whether this is `major.minor.0` or newer, pre-releases of it included.
    pub const fn at_least(&self, major: u32, minor: u32) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }

    /// Whether the release reads a machine config from the boot medium's extension
    /// (`SupportsEmbeddedConfig`).
    pub const fn reads_embedded_config(&self) -> bool {
        self.at_least(OLDEST_EMBEDDING.major, OLDEST_EMBEDDING.minor)
    }

    /// Whether a metal config must have an install section, or Talos rejects it at every boot
    /// (`v1alpha1_validation.go#Validate`: optional since 1.14).
    pub const fn requires_install_section(&self) -> bool {
        !self.at_least(1, 14)
    }

    /// What the platform's kernel arguments have besides those of its profile: a longer patience with
    /// EBS volumes on AWS since 1.14 (`quirks.go#NvmeCoreIoTimeoutAWSOnly`).
    pub fn platform_args(&self, platform: &str) -> &'static [&'static str] {
        match platform {
            "aws" if self.at_least(1, 14) => &["nvme_core.io_timeout=4294967295"],
            _ => &[],
        }
    }

    /// Whether the release knows the platform (`platform.go#newPlatform`).
    pub fn knows(&self, platform: &str) -> bool {
        platform != "alibabacloud" || self.at_least(1, 14)
    }

    /// The bytes of the EFI partition of a systemd-boot disk: the three partitions EFI, BIOS and
    /// BOOT of the GRUB layout in one (`PartitionSizes`: BOOT grew from 1000 to 2000 MiB in 1.11).
    pub const fn uki_esp_bytes(&self) -> u64 {
        let boot = if self.at_least(1, 11) { 2000 } else { 1000 };
        (100 + 1 + boot) * MIB
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// Semantic Versioning 2.0.0, item 9: dot-separated identifiers of `[0-9A-Za-z-]`.
fn is_pre_release(text: &str) -> bool {
    text.split('.')
        .all(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        self.pre.iter().try_for_each(|pre| write!(f, "-{pre}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_prints_as_it_was_read() {
        for tag in ["v1.12.0", "v1.13.9", "v1.14.0-rc.1", "v1.15.0-alpha.0-12-gabc"] {
            assert_eq!(Version::parse(tag).unwrap().to_string(), tag);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in
            ["", "v1", "1.13", "v1.13.x", "latest", "v1.13.9.1", "v01.2.3", "v1.2.3-", "v1.2.3-a b"]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pre_release_can_do_what_its_release_can() {
        assert!(Version::parse("v1.12.0-alpha.1").unwrap().reads_embedded_config());
        assert!(!Version::parse("v1.11.9").unwrap().reads_embedded_config());
        assert!(!Version::parse("v1.14.0-rc.1").unwrap().requires_install_section());
    }

    #[test]
    fn the_esp_grew_in_1_11() {
        assert_eq!(Version::parse("v1.10.3").unwrap().uki_esp_bytes(), 1101 * MIB);
        assert_eq!(Version::parse("v1.13.9").unwrap().uki_esp_bytes(), 2101 * MIB);
    }
}
