//! A node's routes, and numbers that were written in another base than they are read in.
//!
//! In: a node. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/container/container.go` (`RunDefaultDHCPOperators`),
//! `internal/app/machined/pkg/controllers/network/operator_config.go`; Linux
//! `net/ipv4/fib_semantics.c` (a gateway must be on a link); YAML 1.1, "Integer" (a leading zero
//! means octal).
//!
//! Not here: aliases and BGP (`network`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::found::Findings;
use super::view::{LINK_KINDS, Link, Node, Route, What};
use crate::config::facts::prefix::Family;
use crate::config::tree::Tree;

/// Looks at a node's addresses and routes.
pub(super) fn check(node: &Node<'_>, found: &mut Findings) {
    gateways(node, found);
    default_routes(node, found);
    dhcp(node, found);
    octal(node, found);
}

fn gateways(node: &Node<'_>, found: &mut Findings) {
    for link in &node.links {
        for route in &link.routes {
            let Some(gateway) = route.gateway else { continue };
            if !reaches(link, gateway) {
                let text =
                    format!("has the gateway `{gateway}`, which is in no network of its link");
                let help = "give the router's address in the link's network, or its link-local one";
                found.node("gateway-network", node, Some(at(route)), text, help);
            }
        }
    }
}

/// Where a route is best shown: its gateway.
fn at<'a>(route: &Route<'a>) -> &'a Tree {
    route.tree.get("gateway").unwrap_or(route.tree)
}

/// Whether a link reaches an address without a router, as far as can be known.
fn reaches(link: &Link<'_>, address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(address) => address.is_link_local(),
    };
    let family = Family::of(address);
    let gets = match family {
        Family::V4 => link.dhcp4,
        // A router may announce any network.
        Family::V6 => link.dhcp6 || !link.addresses.iter().any(|(own, _)| own.family() == family),
    };
    let direct = link.routes.iter().filter(|route| route.gateway.is_none());
    let direct = direct.filter_map(|route| route.destination);
    let mut networks = link.addresses.iter().map(|(own, _)| *own).chain(direct);
    local || gets || link.what == What::Tunnel || networks.any(|network| network.contains(address))
}

fn default_routes(node: &Node<'_>, found: &mut Findings) {
    let mut seen: BTreeMap<(Option<Family>, i128), IpAddr> = BTreeMap::new();
    let mut any = false;
    for link in node.links.iter().filter(|link| link.what != What::Tunnel) {
        for route in link.defaults() {
            any = true;
            let Some(gateway) = route.gateway else { continue };
            let key = (route.family(), route.metric);
            if let Some(other) = seen.insert(key, gateway) {
                let text = format!("has default routes by `{other}` and `{gateway}` of one metric");
                let help = "drop one, or give the worse a higher `metric`; a patch adds to lists";
                found.node("default-route-twice", node, Some(at(route)), text, help);
            }
        }
    }
    any |= node.links.iter().any(|link| link.what == What::Tunnel && link.defaults().count() > 0);
    let wires = || node.links.iter().filter(|link| link.what == What::Wire);
    let first = wires().find(|link| !link.addresses.is_empty());
    let bgp = node.member.documents.all("BGPInstanceConfig").count() > 0;
    if let Some(link) = first.filter(|_| !any && !bgp && !node.is_dynamic()) {
        let text = "has addresses of its own and no default route";
        let help = "add a route with a `gateway` alone, or `DHCPv4Config` for the link that it is \
                    reached by: describing one link stops DHCP on all";
        found.node("default-route-missing", node, Some(link.tree), text, help);
    }
}

/// Describing one link takes DHCP from all others.
fn dhcp(node: &Node<'_>, found: &mut Findings) {
    let wires: Vec<&Link<'_>> = node.links.iter().filter(|link| link.what == What::Wire).collect();
    let Some(first) = wires.first().filter(|_| !node.default_dhcp) else { return };
    let has_any = wires.iter().any(|link| link.dhcp4 || link.dhcp6 || !link.addresses.is_empty());
    let services = node.subnets("serviceSubnets");
    let v6 = !services.is_empty() && services.iter().all(|(p, _)| p.family() == Family::V6);
    let routed = node.member.documents.all("BGPInstanceConfig").count() > 0;
    if !has_any && !v6 && !routed {
        let text = "describes links, which stops DHCP on all of them, and gives none an address";
        let help = "add a `DHCPv4Config` for the link that it boots by, or an address";
        found.node("dhcp-lost", node, Some(first.tree), text, help);
    }
}

/// Modes of files as people write them, in octal.
const MODES: [i128; 17] =
    [400, 440, 444, 500, 550, 555, 600, 640, 644, 660, 664, 666, 700, 750, 755, 770, 775];

/// MTUs that people write.
const MTUS: [i128; 8] = [1300, 1400, 1420, 1440, 1450, 1460, 1500, 1550];

fn octal(node: &Node<'_>, found: &mut Findings) {
    let documents = node.member.documents;
    let files = node.main(&["machine", "files"]).into_iter().flat_map(Tree::items);
    let modes = files.filter_map(|tree| tree.get("permissions"));
    for tree in modes.chain(documents.all("EtcFileConfig").filter_map(|tree| tree.get("mode"))) {
        if tree.int().is_some_and(|mode| MODES.contains(&mode)) {
            let text =
                "has a file's mode without a leading zero, which is read as a decimal number";
            found.node("file-mode", node, Some(tree), text, "write it in octal: `0o644`");
        }
    }
    let links = LINK_KINDS.iter().flat_map(|kind| documents.all(kind));
    let mtus = links.filter_map(|tree| tree.get("mtu"));
    let older = node.links.iter().filter_map(|link| link.tree.get("mtu"));
    let older = older.filter(|_| node.default_dhcp);
    for tree in mtus.chain(older) {
        let Some(mtu) = tree.int().and_then(|mtu| u32::try_from(mtu).ok()) else { continue };
        let written = format!("{mtu:o}").parse().unwrap_or_default();
        if MTUS.contains(&written) {
            let text = format!("has an MTU of {mtu}, which is what `0{written}` in octal means");
            found.node("mtu-octal", node, Some(tree), text, format!("write `{written}`"));
        }
    }
}
