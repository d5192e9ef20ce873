//! Which disk: to install to, or to make a volume on.
//!
//! In: the site's words. Out: the older form of an install disk, or an expression in CEL.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_types.go` (`InstallDiskSelector`),
//! `v1alpha1_provider.go` (`DiskMatchExpression`, what the older form means),
//! `pkg/machinery/cel/celenv/celenv.go` (units of sizes).
//!
//! Not here: what an expression may say (`valid`).

use std::fmt;

use super::Problems;
use crate::config::expression;
use crate::config::tree::Tree;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// By its path, `/dev/nvme0n1`. Those under `/dev/disk/` stay the same from boot to boot.
    Path(String),
    /// By what it is. CD-ROMs, read-only disks and what is no hardware are never meant.
    Selector(DiskSelector),
    /// By an expression in CEL, taken as it is: nothing is excluded that it does not exclude.
    Match(String),
}

/// What a disk is: all that is given must be true of it. Texts may have `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSelector {
    /// Its size.
    pub size: Option<SizeMatch>,
    /// Its model's name.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its modalias in Linux, `scsi:t-0x00`.
    pub modalias: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its world-wide name.
    pub wwid: Option<String>,
    /// Its technology.
    pub kind: Option<DiskKind>,
    /// Its place, `/pci0000:00/0000:00:17.0/*`.
    pub bus_path: Option<String>,
}

/// The technology of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// No moving parts; NVMe is one too.
    Ssd,
    /// Moving parts.
    Hdd,
    /// NVMe.
    Nvme,
    /// A memory card.
    Sd,
}

impl DiskKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ssd, Self::Hdd, Self::Nvme, Self::Sd];

    /// Its name in Talos.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
            Self::Nvme => "nvme",
            Self::Sd => "sd",
        }
    }

    const fn expression(self) -> &'static str {
        match self {
            Self::Ssd => "!disk.rotational",
            Self::Hdd => "disk.rotational",
            Self::Nvme => "disk.transport == \"nvme\"",
            Self::Sd => "disk.transport == \"mmc\"",
        }
    }
}

/// A comparison with a disk's size, `>= 200GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeMatch {
    comparison: &'static str,
    number: u64,
    unit: &'static str,
}

/// The units that Talos knows in CEL.
const UNITS: [&str; 10] = ["kB", "MB", "GB", "TB", "PB", "KiB", "MiB", "GiB", "TiB", "PiB"];

impl SizeMatch {
    /// Reads a comparison; one without an operator is `==`.
    ///
    /// # Errors
    ///
    /// Nothing, where the text is none of a whole number and a unit.
    pub fn parse(text: &str) -> Option<Self> {
        let operators = ["==", ">=", "<=", ">", "<"];
        let comparison = operators.into_iter().find(|operator| text.trim().starts_with(operator));
        let size = text.trim().trim_start_matches(comparison.unwrap_or_default()).trim();
        let digits = size.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = size.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let known = |known: &&&str| known.eq_ignore_ascii_case(unit.trim());
        let unit = UNITS.iter().find(known)?;
        let power = UNITS.iter().position(|known| known == unit)? % 5 + 1;
        let base: u64 = if unit.contains('i') { 1024 } else { 1000 };
        base.checked_pow(u32::try_from(power).ok()?)?.checked_mul(number)?;
        Some(Self { comparison: comparison.unwrap_or("=="), number, unit })
    }
}

/// As Talos' older form has it.
impl fmt::Display for SizeMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.comparison, self.number, self.unit)
    }
}

impl Disk {
    /// The disk as an expression. A selector's never means a USB stick: the medium that a node boots
    /// from is one, and with several matches Talos takes the first.
    pub(super) fn expression(&self) -> String {
        match self {
            Self::Path(path) if path.starts_with("/dev/disk/") => {
                format!("{} in disk.symlinks", expression::literal(path))
            }
            Self::Path(path) => format!("disk.dev_path == {}", expression::literal(path)),
            Self::Match(expression) => expression.clone(),
            Self::Selector(selector) => selector.expression(),
        }
    }

    /// What is wrong with the disk of `subject`.
    pub(super) fn check(&self, subject: &str, problems: &mut Problems<'_>) {
        match self {
            Self::Selector(selector) if *selector == DiskSelector::default() => {
                let help = "say what the disk is, such as `serial`, `wwid` or `size`";
                problems.add("disk-selector", subject, "has a selector that is empty", help);
            }
            Self::Path(path) if !path.starts_with("/dev/") => {
                let help =
                    "give the disk's path, such as `/dev/nvme0n1` or one of `/dev/disk/by-id`";
                problems.add("disk-path", subject, "is to be on what is no path of a disk", help);
            }
            Self::Match(expression) if expression.trim().is_empty() => {
                let help = "write what is true of the disk, such as `disk.serial == \"S4EV\"`";
                problems.add("disk-match", subject, "has an expression that is empty", help);
            }
            _ => {}
        }
    }
}

impl DiskSelector {
    fn expression(&self) -> String {
        let size = |size: SizeMatch| {
            format!("disk.size {} {}u * {}", size.comparison, size.number, size.unit)
        };
        let texts = self.texts().into_iter().filter_map(|(_, field, pattern)| {
            Some(expression::matches(pattern?, &format!("disk.{field}")))
        });
        let mut terms: Vec<String> = self.size.map(size).into_iter().chain(texts).collect();
        terms.extend(self.kind.map(|kind| kind.expression().to_owned()));
        terms.extend(["!disk.readonly", "!disk.cdrom"].map(str::to_owned));
        // These two have said which transport it is.
        if !matches!(self.kind, Some(DiskKind::Nvme | DiskKind::Sd)) {
            terms.extend(["", "usb"].map(|not| format!("disk.transport != \"{not}\"")));
        }
        terms.join(" && ")
    }

    /// The selector in Talos' older form.
    pub(super) fn tree(&self) -> Tree {
        let size = self.size.map(|size| ("size", Tree::from(size.to_string())));
        let texts = self.texts().into_iter().filter_map(|(key, _, text)| Some((key, text?.into())));
        let kind = self.kind.map(|kind| ("type", kind.name().into()));
        Tree::map(size.into_iter().chain(texts).chain(kind))
    }

    /// The texts, each with its key in the older form and its field in CEL.
    fn texts(&self) -> [(&'static str, &'static str, Option<&str>); 6] {
        [
            ("model", "model", self.model.as_deref()),
            ("serial", "serial", self.serial.as_deref()),
            ("modalias", "modalias", self.modalias.as_deref()),
            ("uuid", "uuid", self.uuid.as_deref()),
            ("wwid", "wwid", self.wwid.as_deref()),
            ("busPath", "bus_path", self.bus_path.as_deref()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_talos_reads_them() {
        let shown = |text| SizeMatch::parse(text).unwrap().to_string();
        assert_eq!(shown(">= 200GB"), ">= 200GB");
        assert_eq!(shown(" <2 tib "), "< 2TiB");
        assert_eq!(shown("4GB"), "== 4GB");
        for text in ["", "GB", "1.5TB", ">", "=> 1GB", "1GG", "99999999999PiB", "-1GB", "100"] {
            assert_eq!(SizeMatch::parse(text), None, "{text}");
        }
    }
}
