//! Places and sizes on a disk, so that a sector's number is never taken for a byte offset.
//!
//! In: numbers and texts such as `"1246MiB"`. Out: typed sizes and places.
//!
//! Source: none; the names are those of the UEFI Specification and of IEC 80000-13.
//!
//! Not here: how any format stores them.

use std::fmt;

/// The bytes of 1 KiB.
pub const KIB: u64 = 1 << 10;
/// The bytes of 1 MiB, the alignment of every partition.
pub const MIB: u64 = 1 << 20;
/// The bytes of 1 GiB.
pub const GIB: u64 = 1 << 30;

/// The alignment in bytes of every payload in every layout: file systems that share extents do so
/// in blocks of this size.
pub const PAYLOAD_ALIGN: u64 = 4096;

/// The size of a disk's logical sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk, and every ISO hybrid.
    B512,
    /// 4096 bytes: "4Kn" disks.
    B4096,
}

impl SectorSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// A logical block address: a sector's number, counted from the start of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lba(pub u64);

impl Lba {
    /// The byte at which the sector starts.
    pub const fn offset(self, sector: SectorSize) -> u64 {
        self.0 * sector.bytes()
    }
}

/// Rounds `n` up to a multiple of `step`.
pub const fn align_up(n: u64, step: u64) -> u64 {
    n.div_ceil(step) * step
}

/// A size that a person writes and reads with its unit: `512`, `16KiB`, `1246MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size: a whole number and one of the units `B`, `KiB`, `MiB`, `GiB`; none is bytes.
    ///
    /// Decimal units (`MB`) are refused: they differ from the binary ones by a few percent, which
    /// nobody sees until a partition does not fit.
    ///
    /// # Errors
    ///
    /// What is wrong, in words for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor = match unit.trim() {
            "" | "B" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            "GiB" => GIB,
            other => return Err(format!("`{other}` is no unit; use B, KiB, MiB or GiB")),
        };
        let number: u64 = number.parse().map_err(|_| format!("`{text}` is no size"))?;
        let bytes = number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))?;
        Ok(Self(bytes))
    }
}

/// The largest unit that leaves a whole number: `1246MiB`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % GIB == 0 => write!(f, "{}GiB", n / GIB),
            n if n > 0 && n % MIB == 0 => write!(f, "{}MiB", n / MIB),
            n if n > 0 && n % KIB == 0 => write!(f, "{}KiB", n / KIB),
            n => write!(f, "{n}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_printed_size_reads_as_itself(bytes: u64) {
            prop_assert_eq!(Size::parse(&Size(bytes).to_string()), Ok(Size(bytes)));
        }
    }

    #[test]
    fn a_decimal_unit_is_refused() {
        assert_eq!(Size::parse("5MB"), Err("`MB` is no unit; use B, KiB, MiB or GiB".into()));
        assert_eq!(Size::parse("99999999999GiB"), Err("`99999999999GiB` is too large".into()));
    }
}
