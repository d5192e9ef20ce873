//! What of a node's network cannot work, though Talos would take it.
//!
//! In: links under their names. Out: problems.
//!
//! Source: Linux `net/core/dev.c` (`dev_valid_name`), `Documentation/networking/bonding.rst`;
//! RFC 8200, chapter 5 (1280 bytes); Talos `pkg/machinery/config/types/network/link.go`,
//! `pkg/machinery/config/types/v1alpha1/v1alpha1_validation.go` (bonds, as its older form checks
//! them), `pkg/machinery/resources/network/network.go` (`DefaultRouteMetric`).
//!
//! Not here: what Talos refuses by itself in any document (`valid`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Problems;
use super::link::{Named, Names, What};
use super::network::{Bond, BondMode, Dynamic, Route, Settings};
use super::prefix::{Family, Prefix};

/// The metric of a route that gives none.
const METRIC: u32 = 1024;

/// The longest name of a link in bytes.
const NAME_BYTES: usize = 15;

/// The smallest largest packet of an IPv6 link, in bytes.
const IPV6_MTU: u32 = 1280;

/// Looks at all links.
pub(super) fn check(names: &Names<'_>, problems: &mut Problems<'_>) {
    check_names(names, problems);
    let mut addresses = BTreeSet::new();
    let mut defaults = BTreeMap::new();
    for link in &names.links {
        match &link.what {
            What::Bond(bond, _) => check_bond(bond, problems),
            What::Vlan(id, parent) => check_vlan(link, *id, parent, names, problems),
            What::Physical => {}
        }
        check_mtu(link, problems);
        for &address in &link.settings.addresses {
            check_address(link, address, problems);
            if !addresses.insert(address.address()) {
                let subject = format!("address `{}`", address.address());
                let help = "give each address to one link";
                problems.add("link-address", &subject, "is given twice", help);
            }
        }
        for route in &link.settings.routes {
            check_route(link, route, problems);
            check_default(link, route, &mut defaults, problems);
        }
    }
    for link in &names.links {
        check_vips(link, &addresses, problems);
    }
}

fn check_names(names: &Names<'_>, problems: &mut Problems<'_>) {
    let mut seen = BTreeSet::new();
    let links = names.links.iter().map(|link| &link.name);
    let members = names.links.iter().flat_map(|link| match &link.what {
        What::Bond(_, members) => members.as_slice(),
        _ => &[],
    });
    for name in links.chain(members) {
        let subject = format!("link `{name}`");
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
        if name.is_empty()
            || name.len() > NAME_BYTES
            || name.contains(odd)
            || name == "."
            || name == ".."
        {
            let help = "use 1 to 15 letters, digits, hyphens and dots; a VLAN's name is its link's, \
                        a dot and its number";
            problems.add("link-name", &subject, "has a name that Linux does not take", help);
        }
        if !seen.insert(name) {
            let help = "describe each link and each VLAN once";
            problems.add("link-duplicate", &subject, "is there twice", help);
        }
    }
}

fn check_bond(bond: &Bond, problems: &mut Problems<'_>) {
    let subject = format!("bond `{}`", bond.name);
    if bond.members.is_empty() {
        problems.add("bond-members", &subject, "has no ports", "list at least one port");
    }
    let monitor = bond.monitor;
    let delays = [monitor.updelay, monitor.downdelay];
    if delays.iter().any(|delay| delay.checked_rem(monitor.miimon).unwrap_or(*delay) != 0) {
        let help = "give multiples of `miimon`, such as 100, 200 and 200";
        problems.add(
            "bond-monitor",
            &subject,
            "has delays that are no multiples of `miimon`",
            help,
        );
    }
    if bond.lacp_rate.is_some() && bond.mode != BondMode::Lacp {
        let help = "use mode `802.3ad`, or drop the rate";
        problems.add("bond-lacp", &subject, "has a rate of LACP and does not use LACP", help);
    }
    if bond.xmit_hash_policy.is_some() && !bond.mode.hashes() {
        let help = "use mode `802.3ad`, `balance-xor` or `balance-tlb`, or drop the policy";
        problems.add("bond-hash", &subject, "has a hash policy, and its mode no hash", help);
    }
}

fn check_vlan(
    link: &Named<'_>,
    id: u16,
    parent: &str,
    names: &Names<'_>,
    problems: &mut Problems<'_>,
) {
    let subject = format!("VLAN `{}`", link.name);
    if !(1..=4094).contains(&id) {
        problems.add("vlan-id", &subject, "has no number of a VLAN", "use 1 to 4094");
    }
    let below = names.links.iter().find(|link| link.name == parent);
    let below = below.and_then(|link| link.settings.mtu);
    if let (Some(mtu), Some(below)) = (link.settings.mtu, below)
        && mtu > below
    {
        let rest = format!("has an MTU of {mtu}, and the link that it is on one of {below}");
        problems.add("link-mtu", &subject, &rest, "raise the link's, or lower the VLAN's");
    }
}

fn check_mtu(link: &Named<'_>, problems: &mut Problems<'_>) {
    let Some(mtu) = link.settings.mtu else { return };
    let addresses = link.settings.addresses.iter();
    let v6 = addresses.map(|address| address.family()).any(|family| family == Family::V6)
        || gets(link.settings, Family::V6);
    let (least, of) = if v6 { (IPV6_MTU, "a link with IPv6") } else { (68, "a link") };
    if !(least..=65536).contains(&mtu) {
        let subject = format!("link `{}`", link.name);
        let help = format!("give {of} an MTU from {least} to 65536");
        problems.add("link-mtu", &subject, &format!("cannot have an MTU of {mtu}"), &help);
    }
}

fn check_address(link: &Named<'_>, prefix: Prefix, problems: &mut Problems<'_>) {
    let subject = format!("address `{prefix}` of link `{}`", link.name);
    if !is_unicast(prefix.address()) {
        let help = "use an address that one host may have";
        problems.add("link-address", &subject, "is no address of a host", help);
    } else if prefix.is_reserved() {
        let help = "use another address of the network: its first is the network's own or its \
                    routers', and IPv4's last is for all";
        problems.add("link-address", &subject, "is reserved in its network", help);
    }
}

/// Whether it is an address that a link of a node may have, or a gateway.
fn is_unicast(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

fn check_route(link: &Named<'_>, route: &Route, problems: &mut Problems<'_>) {
    let subject = match route.destination.filter(|_| !route.is_default()) {
        Some(destination) => format!("route to `{destination}` by link `{}`", link.name),
        None => format!("default route by link `{}`", link.name),
    };
    let Some(gateway) = route.gateway else {
        if route.is_default() {
            let help = "give it a `gateway`";
            problems.add("route-gateway", &subject, "has no gateway", help);
        }
        return;
    };
    let source = route.source.map(Family::of);
    let ends = [route.destination.map(Prefix::family), source];
    if ends.into_iter().flatten().any(|family| family != Family::of(gateway)) {
        let help = "give the route a gateway, a destination and a source of one family";
        problems.add("route-family", &subject, "mixes IPv4 and IPv6", help);
    } else if !is_unicast(gateway) {
        let rest = format!("has the gateway `{gateway}`, which is no address of a host");
        problems.add("route-gateway", &subject, &rest, "give the router's address");
    } else if !is_on(link.settings, gateway) {
        let rest = format!("has the gateway `{gateway}`, which is in no network of the link");
        let help = "give the router's address in the link's own network or its link-local one, or \
                    a further route to it without a gateway";
        problems.add("route-gateway", &subject, &rest, help);
    }
}

/// Whether a link reaches an address without a gateway, or may get an address with which it does.
fn is_on(settings: &Settings, address: IpAddr) -> bool {
    let local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let direct = settings.routes.iter().filter(|route| route.gateway.is_none());
    let mut networks =
        settings.addresses.iter().copied().chain(direct.filter_map(|route| route.destination));
    local || gets(settings, Family::of(address)) || networks.any(|net| net.contains(address))
}

fn gets(settings: &Settings, family: Family) -> bool {
    settings.dynamic.iter().any(|dynamic| match dynamic {
        Dynamic::Dhcp4 => family == Family::V4,
        Dynamic::Slaac | Dynamic::Dhcp6 => family == Family::V6,
    })
}

/// Two default routes of one metric: the second is refused by Linux, and which that is depends on
/// the order in which the links come up.
fn check_default<'f>(
    link: &'f Named<'_>,
    route: &Route,
    seen: &mut BTreeMap<(Family, u32), &'f str>,
    problems: &mut Problems<'_>,
) {
    let Some(gateway) = route.gateway.filter(|_| route.is_default()) else { return };
    let family = Family::of(gateway);
    let metric = route.metric.filter(|&metric| metric != 0).unwrap_or(METRIC);
    if let Some(other) = seen.insert((family, metric), &link.name) {
        let subject = format!("default route of {} by link `{}`", family.name(), link.name);
        let rest = format!("has the metric {metric}, as has the one by link `{other}`");
        problems.add("route-default", &subject, &rest, "give the worse one a higher `metric`");
    }
}

fn check_vips(link: &Named<'_>, addresses: &BTreeSet<IpAddr>, problems: &mut Problems<'_>) {
    for &vip in &link.settings.vips {
        let subject = format!("shared address `{vip}` on link `{}`", link.name);
        if !is_unicast(vip) {
            let help = "use an address that one host may have";
            problems.add("link-vip", &subject, "is no address of a host", help);
        } else if addresses.contains(&vip) {
            let help = "use an address that no node has";
            problems.add("link-vip", &subject, "is the node's own already", help);
        } else if !is_on(link.settings, vip) {
            let help = "put it on the link that has an address of its network";
            problems.add("link-vip", &subject, "is in no network of the link", help);
        }
    }
}
