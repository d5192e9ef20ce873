//! An address for a node that has none, from the node's name.
//!
//! In: a network, a node's name, the addresses in use. Out: an address in the network.
//!
//! Source: RFC 2526 (the highest IPv6 addresses are anycast), RFC 5453 (reserved identifiers).
//!
//! Not here: which nodes want one (`site`).
//!
//! The address is a digest of network and name and of nothing else, so that it stays when other
//! nodes come or go. That is why a collision is an error, and never resolved by moving a node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::prefix::{Family, Prefix};
use crate::digest::Digest;
use crate::report::Diagnostic;

/// What the name is hashed with. A change of it would move every node.
const DOMAIN: &str = "talforge node address";

/// The most bits of an IPv6 address that are derived. The 16 above them stay zero in a /64: so no
/// address is reserved (those start with 0200 or fdff), or one that a card would take by SLAAC.
const V6_BITS: u8 = 48;

/// The address of the node `name` in `prefix`. `taken` has the addresses that others have, each with
/// who has it: `` node `cp-1` ``, `the gateway`.
///
/// It is none of the lowest 256 of an IPv6 network, nor of the highest 256; in an IPv4 network none
/// of the lowest eighth (256 at most), nor the broadcast.
///
/// # Errors
///
/// Where the network is too small, or another has the address.
pub fn derive(
    prefix: Prefix,
    name: &str,
    taken: &BTreeMap<IpAddr, String>,
) -> Result<IpAddr, Diagnostic> {
    let Some((low, high)) = range(prefix) else {
        let message = format!("network `{prefix}` is too small to derive the address of `{name}`");
        let smallest = match prefix.family() {
            Family::V4 => "a /29",
            Family::V6 => "a /118",
        };
        let help = format!("give the node an `address`, or a network of at least {smallest}");
        return Err(Diagnostic::error("address-network", message).help(help));
    };
    let network = prefix.nth(0);
    let digest = Digest::of(format!("{DOMAIN}\0{network}/{}\0{name}", prefix.length()).as_bytes());
    let mut number = [0; 16];
    number.copy_from_slice(&digest.0[..16]);
    let address = prefix.nth(low + u128::from_be_bytes(number) % (high - low));
    match taken.get(&address) {
        None => Ok(address),
        Some(owner) => {
            let message =
                format!("address `{address}`, derived for node `{name}`, is taken by {owner}");
            let help = format!("give node `{name}` an `address` that is free");
            Err(Diagnostic::error("address-taken", message).help(help))
        }
    }
}

/// The first number that a node may have, and the one behind the last.
fn range(prefix: Prefix) -> Option<(u128, u128)> {
    let (low, high) = match prefix.family() {
        Family::V4 => {
            let size = 1u128 << prefix.host_bits();
            ((size / 8).clamp(2, 256), size - 1)
        }
        Family::V6 => {
            let size = 1u128 << prefix.host_bits().min(V6_BITS);
            (256, size.saturating_sub(256))
        }
    };
    let smallest = match prefix.family() {
        Family::V4 => 3,
        Family::V6 => 10,
    };
    (prefix.host_bits() >= smallest).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    /// An address that moved would be a node that is not found any more.
    #[test]
    fn addresses_stay_from_release_to_release() {
        let none = BTreeMap::new();
        let derived = |prefix, name| derive(net(prefix), name, &none).unwrap().to_string();
        let all = [
            derived("2001:db8:0:1::/64", "w-1"),
            derived("2001:db8:0:1::5/64", "w-1"),
            derived("2001:db8:0:1::/64", "w-2"),
            derived("10.70.0.0/24", "w-1"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        2001:db8:0:1:0:d86a:a938:67ae
        2001:db8:0:1:0:d86a:a938:67ae
        2001:db8:0:1:0:f24b:65a:80fb
        10.70.0.117
        ");
    }

    #[test]
    fn a_collision_names_both() {
        let address = derive(net("10.70.0.0/24"), "w-1", &BTreeMap::new()).unwrap();
        let taken = BTreeMap::from([(address, "node `cp-1`".to_owned())]);
        let problem = derive(net("10.70.0.0/24"), "w-1", &taken).unwrap_err();
        insta::assert_snapshot!(problem, @r"
        error: address `10.70.0.117`, derived for node `w-1`, is taken by node `cp-1`
        help: give node `w-1` an `address` that is free
        ");
    }

    #[test]
    fn a_network_that_is_too_small_is_refused() {
        for text in ["10.0.0.0/30", "10.0.0.1/32", "2001:db8::/119", "2001:db8::1/128"] {
            let problem = derive(net(text), "w-1", &BTreeMap::new()).unwrap_err();
            assert_eq!(problem.code, "address-network", "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_stable_in_its_network_and_never_reserved(
            bits in any::<u128>(),
            v4 in any::<bool>(),
            length in any::<prop::sample::Index>(),
            name in "[a-z0-9-]{1,63}",
            others in prop::collection::btree_set(any::<u32>(), 0..20),
        ) {
            let prefix = if v4 {
                let address = std::net::Ipv4Addr::from_bits((bits >> 96) as u32);
                net(&format!("{address}/{}", 1 + length.index(29)))
            } else {
                let address = std::net::Ipv6Addr::from_bits(bits | 1 << 127);
                net(&format!("{address}/{}", length.index(119)))
            };
            let address = derive(prefix, &name, &BTreeMap::new()).unwrap();
            let taken = others.into_iter().map(|bits| std::net::Ipv4Addr::from_bits(bits).into());
            let taken = taken.filter(|&other| other != address).map(|other| (other, "x".to_owned()));
            prop_assert_eq!(derive(prefix, &name, &taken.collect()).unwrap(), address);
            prop_assert!(prefix.contains(address));
            let size = 1u128.checked_shl(prefix.host_bits().into()).unwrap_or(u128::MAX);
            let low = if v4 { (size / 8).clamp(2, 256) } else { 256 };
            prop_assert!((0..low.min(256)).all(|number| prefix.nth(number) != address));
            let high = if v4 { 1 } else { 256 };
            prop_assert!((size - high..size).all(|number| prefix.nth(number) != address));
        }
    }
}
