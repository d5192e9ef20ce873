//! Texts as Go's library reads them.
//!
//! In: a text. Out: an address, a network, a port, bytes.
//!
//! Source: Go `net/netip`, `net` (`ParseIP`, `ParseCIDR`, `SplitHostPort`),
//! `encoding/base64`; `github.com/siderolabs/net`.
//!
//! Not here: URLs (`url`), lengths of time and sizes (`leaf`).

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) bits: u32,
}

impl Prefix {
    /// `2001:db8::/64`, as `netip.ParsePrefix` reads it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.rsplit_once('/')?;
        let plain = bits == "0" || !bits.starts_with('0');
        if !plain || !bits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Self { address: address.parse().ok()?, bits: bits.parse().ok()? }.within()
    }

    /// The same as `net.ParseCIDR` reads it: zeros before the length do not matter.
    pub(super) fn parse_cidr(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Self { address: address.parse().ok()?, bits: bits.parse().ok()? }.within()
    }

    /// A network, or a single address.
    pub(super) fn parse_subnet_or_address(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            let address = parse_address(text)?;
            Some(Self { address, bits: width(address) })
        })
    }

    fn within(self) -> Option<Self> {
        (self.bits <= width(self.address)).then_some(self)
    }

    /// How many bits the address has behind the prefix.
    pub(super) fn host_bits(self) -> u32 {
        width(self.address) - self.bits
    }

    /// Whether the address has nothing behind the prefix.
    pub(super) fn is_masked(self) -> bool {
        self.number() == self.masked()
    }

    /// Whether two networks share an address.
    pub(super) fn overlaps(self, other: Self) -> bool {
        let shorter = if self.bits <= other.bits { self } else { other };
        let longer =
            Self { bits: shorter.bits, ..if self.bits <= other.bits { other } else { self } };
        width(self.address) == width(other.address) && shorter.masked() == longer.masked()
    }

    fn number(self) -> u128 {
        match self.address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn masked(self) -> u128 {
        let behind = self.host_bits();
        if behind >= u128::BITS { 0 } else { self.number() >> behind << behind }
    }
}

/// The number of bits of an address.
pub(super) const fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address, perhaps with a zone, as `netip.ParseAddr` reads it. The zone is dropped.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => {
            Some(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?))
        }
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// An address without a zone, as `net.ParseIP` reads it.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// The host and the port of `host:port` or `[address]:port`.
pub(super) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (before, port) = text.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    let clean = |part: &str| !part.contains(['[', ']']);
    (clean(host) && clean(port)).then_some((host, port))
}

/// Bytes in base64 with padding; line ends in it do not count.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(plain).ok()
}

/// Whether a text is a number of 1 to 65535 in digits.
pub(super) fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty();
    number && text.parse::<i64>().is_ok_and(|port| (1..=65535).contains(&port))
}
