//! Addresses with the length of their network's prefix, and MAC addresses.
//!
//! In: texts such as `2001:db8::11/64` and `52:54:00:00:00:11`. Out: [`Prefix`], [`Mac`].
//!
//! Source: RFC 4291, chapter 2.3; RFC 4632, chapter 3.1; RFC 5952 (how IPv6 addresses are written);
//! Talos `pkg/machinery/cel/celenv/celenv.go` (`mac()` gives lower case).
//!
//! Not here: which addresses a node may have (`lint`, `address`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The bits of an address.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The network of pods that Talos takes where nobody says another.
    pub const fn pod_subnet(self) -> &'static str {
        match self {
            Self::V4 => "10.244.0.0/16",
            Self::V6 => "fc00:db8:10::/56",
        }
    }

    /// The network of services that Talos takes where nobody says another.
    pub const fn service_subnet(self) -> &'static str {
        match self {
            Self::V4 => "10.96.0.0/12",
            Self::V6 => "fc00:db8:20::/112",
        }
    }

    /// The prefix that holds all of its addresses.
    pub const fn everything(self) -> Prefix {
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Prefix { address, length: 0 }
    }
}

/// An address and the length of its network's prefix, or, where the address is the network's first,
/// the network itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Reads `ADDRESS/LENGTH`.
    ///
    /// # Errors
    ///
    /// Nothing, where the text is none; IPv4 in IPv6's clothes (`::ffff:192.0.2.1/120`) is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let plain = length.bytes().all(|b| b.is_ascii_digit())
            && (length == "0" || !length.starts_with('0'));
        let length = length.parse().ok().filter(|_| plain)?;
        let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        (length <= Family::of(address).bits() && !mapped).then_some(Self { address, length })
    }

    /// The prefix that holds one address only.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: Family::of(address).bits() }
    }

    /// Another address of the same network, with the network's length. Nothing, where it is in
    /// another network.
    pub fn with(self, address: IpAddr) -> Option<Self> {
        self.contains(address).then_some(Self { address, length: self.length })
    }

    /// The address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length in bits.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The family.
    pub const fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The bits that number the addresses in the network.
    pub const fn host_bits(self) -> u8 {
        self.family().bits() - self.length
    }

    /// The network's address of a number: 0 is the network's own. Higher bits than
    /// [`Prefix::host_bits`] are dropped.
    pub fn nth(self, number: u128) -> IpAddr {
        let mask = self.host_mask();
        let bits = (bits(self.address) & !mask) | (number & mask);
        match self.address {
            IpAddr::V4(_) => {
                let low = u32::try_from(bits).unwrap_or_else(|_| unreachable!("32 bits"));
                IpAddr::V4(Ipv4Addr::from_bits(low))
            }
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    /// Whether an address is in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        let mask = self.host_mask();
        Family::of(address) == self.family() && bits(address) & !mask == bits(self.address) & !mask
    }

    /// Whether the address is one that no host of the network may have: the network's own (in IPv6
    /// the anycast address of its routers), or IPv4's broadcast. Networks of one or two addresses
    /// have none (RFC 3021, RFC 6164).
    pub fn is_reserved(self) -> bool {
        let host = bits(self.address) & self.host_mask();
        let broadcast = self.family() == Family::V4 && host == self.host_mask();
        self.host_bits() > 1 && (host == 0 || broadcast)
    }

    /// Ones where the host's bits are, as a number of 128 bits.
    fn host_mask(self) -> u128 {
        match self.host_bits() {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The MAC address of a network card. It prints in lower case: an expression that compares it with
/// upper case is taken by Talos, and never matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads six pairs of hexadecimal digits with colons or hyphens between them.
    ///
    /// # Errors
    ///
    /// Nothing, where the text is none, or one that no card has: a group's, or all zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut pairs = text.split(separator);
        for byte in &mut bytes {
            let pair = pairs.next()?;
            let hex = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| hex)?;
        }
        let card = bytes != [0; 6] && bytes[0] & 1 == 0;
        (pairs.next().is_none() && card).then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_print_as_talos_prints_them() {
        for text in ["2001:db8::11/64", "10.0.0.1/8", "0.0.0.0/0", "::/0", "fe80::1/128"] {
            assert_eq!(Prefix::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Prefix::parse("2001:DB8:0::1/64").unwrap().to_string(), "2001:db8::1/64");
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/08", "10.0.0.1/+8", "10.0.0/8"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
        for text in ["::/129", "::ffff:10.0.0.1/120", "fe80::1%eth0/64", "::1/", "/64"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let net = Prefix::parse("10.0.1.5/24").unwrap();
        assert!(net.contains("10.0.1.255".parse().unwrap()));
        assert!(!net.contains("10.0.2.0".parse().unwrap()));
        assert!(!net.contains("::a00:105".parse().unwrap()));
        assert_eq!(net.nth(7).to_string(), "10.0.1.7");
        assert!(Family::V6.everything().contains("fe80::1".parse().unwrap()));
        let all = Family::V6.everything().nth(u128::MAX).to_string();
        assert_eq!(all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn reserved_addresses_are_known() {
        let reserved = |text: &str| Prefix::parse(text).unwrap().is_reserved();
        for text in ["10.0.0.0/24", "10.0.0.255/24", "2001:db8::/64", "10.0.0.3/30"] {
            assert!(reserved(text), "{text}");
        }
        for text in ["10.0.0.0/31", "10.0.0.1/32", "2001:db8::/127", "2001:db8::ffff/112"] {
            assert!(!reserved(text), "{text}");
        }
    }

    #[test]
    fn mac_addresses_print_in_lower_case() {
        for text in ["52:54:00:AA:00:01", "52-54-00-aa-00-01"] {
            assert_eq!(Mac::parse(text).unwrap().to_string(), "52:54:00:aa:00:01");
        }
        let wrong = ["", "52:54:00:aa:00", "52:54:00:aa:00:01:02", "52:54:00:aa:00:+1"];
        for text in wrong.into_iter().chain(["00:00:00:00:00:00", "01:00:5e:00:00:01"]) {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
    }
}
