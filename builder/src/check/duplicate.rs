//! What two nodes must not both have, and what all nodes of a cluster must have alike.
//!
//! In: nodes. Out: findings.
//!
//! Source: Talos `internal/app/machined/pkg/controllers/etcd/spec.go` (an etcd member's name is its
//! host name), `internal/app/machined/pkg/controllers/k8s/nodename.go`,
//! `internal/app/machined/pkg/controllers/network/operator/vip.go` (elected in etcd, which workers
//! have no access to).
//!
//! Not here: secrets (`secret`), and lists in one config (`service`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::found::Findings;
use super::view::{Node, What};
use crate::config::facts::prefix::Prefix;
use crate::config::tree::Tree;

/// Looks at what nodes have in common.
pub(super) fn check(nodes: &[Node<'_>], found: &mut Findings) {
    count_planes(nodes, found);
    hostnames(nodes, found);
    let owners = addresses(nodes, found);
    macs(nodes, found);
    vips(nodes, &owners, found);
}

fn count_planes(nodes: &[Node<'_>], found: &mut Findings) {
    let count = nodes.iter().filter(|node| node.is_controlplane()).count();
    match count {
        0 => found.site(
            "planes-none",
            "the site has no control plane",
            "give one node, or three, the role `controlplane`",
        ),
        _ if count % 2 == 0 => found.site(
            "planes-even",
            &format!(
                "the site has {count} control planes, which bear no more losses than {}",
                count - 1
            ),
            "take one away or add one: etcd needs more than half of its members",
        ),
        8.. => found.site(
            "planes-many",
            &format!("the site has {count} control planes"),
            "have 3, 5 or 7: each further member of etcd makes each write slower",
        ),
        _ => {}
    }
}

fn hostnames(nodes: &[Node<'_>], found: &mut Findings) {
    let mut seen: BTreeMap<String, &Node<'_>> = BTreeMap::new();
    for node in nodes {
        let Some(tree) = node.hostname() else { continue };
        // Kubernetes and etcd know a node by the first label alone.
        let text = tree.text().unwrap_or_default().to_ascii_lowercase();
        let label = text.split('.').next().unwrap_or_default().to_owned();
        if let Some(first) = seen.get(&label) {
            let text = format!("has the host name `{label}`, as has node `{}`", first.member.name);
            let help = "give each node its own: etcd and Kubernetes know nodes by it";
            found.node("fleet-hostname", node, Some(tree), text, help);
        } else {
            seen.insert(label, node);
        }
    }
}

/// The nodes that addresses belong to.
fn addresses<'n, 'a>(
    nodes: &'n [Node<'a>],
    found: &mut Findings,
) -> BTreeMap<IpAddr, &'n Node<'a>> {
    let mut owners: BTreeMap<IpAddr, &Node<'_>> = BTreeMap::new();
    for node in nodes {
        // What lies in a tunnel may be seen from this node alone.
        let links = node.links.iter().filter(|link| link.what != What::Tunnel);
        for (prefix, tree) in links.flat_map(|link| &link.addresses) {
            let address = prefix.address();
            let local = address.is_loopback()
                || matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
            if local {
                continue;
            }
            let first = *owners.entry(address).or_insert(node);
            if first.member.name != node.member.name {
                let text =
                    format!("has the address `{address}`, as has node `{}`", first.member.name);
                let help = "give each node its own address";
                found.node("fleet-address", node, Some(tree), text, help);
            }
        }
    }
    owners
}

fn macs(nodes: &[Node<'_>], found: &mut Findings) {
    let mut seen: BTreeMap<String, &Node<'_>> = BTreeMap::new();
    for node in nodes {
        for (mac, tree) in selected_macs(node) {
            let first = *seen.entry(mac.to_ascii_lowercase()).or_insert(node);
            if first.member.name != node.member.name {
                let text =
                    format!("looks for the MAC `{mac}`, as does node `{}`", first.member.name);
                let help = "give each node the MAC of its own port; one of them would find none";
                found.node("fleet-mac", node, Some(tree), text, help);
            }
        }
    }
}

/// The MACs that a config knows links by, as written: in an alias, a selector, or as the address
/// that a link is to have.
pub(super) fn selected_macs<'a>(node: &Node<'a>) -> Vec<(&'a str, &'a Tree)> {
    let mut macs = Vec::new();
    let documents = node.member.documents;
    for alias in documents.all("LinkAliasConfig") {
        let Some(tree) = alias.at(&["selector", "match"]) else { continue };
        let literals = tree.text().unwrap_or_default().split(['"', '\'']);
        macs.extend(literals.filter(|text| is_mac(text)).map(|text| (text, tree)));
    }
    for kind in ["BondConfig", "BridgeConfig", "DummyLinkConfig"] {
        let addresses = documents.all(kind).filter_map(|tree| tree.get("hardwareAddr"));
        macs.extend(addresses.filter_map(|tree| Some((tree.text()?, tree))));
    }
    let interfaces = node.main(&["machine", "network", "interfaces"]);
    for interface in interfaces.into_iter().flat_map(Tree::items) {
        let own = interface.get("deviceSelector");
        let ports = interface.at(&["bond", "deviceSelectors"]);
        for selector in own.into_iter().chain(ports.into_iter().flat_map(Tree::items)) {
            let keys = ["hardwareAddr", "permanentAddr"].map(|key| selector.get(key));
            macs.extend(keys.into_iter().flatten().filter_map(|tree| Some((tree.text()?, tree))));
        }
    }
    macs.retain(|(mac, _)| is_mac(mac));
    macs
}

/// Six bytes in hexadecimal with colons between.
fn is_mac(text: &str) -> bool {
    let parts = text.split(':');
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.len() == 17 && parts.clone().count() == 6 && parts.clone().all(is_byte)
}

fn vips(nodes: &[Node<'_>], owners: &BTreeMap<IpAddr, &Node<'_>>, found: &mut Findings) {
    for node in nodes {
        for vip in &node.vips {
            let address = vip.address;
            if !node.is_controlplane() {
                let text = format!("has the shared address `{address}` and is a worker");
                let help = "put it on control planes alone: who has it is agreed upon in etcd";
                found.node("vip-worker", node, Some(vip.tree), text, help);
            }
            if let Some(owner) = owners.get(&address) {
                let text = format!(
                    "shares the address `{address}`, which node `{}` has",
                    owner.member.name
                );
                let help = "use an address that no node has";
                found.node("vip-address", node, Some(vip.tree), text, help);
            }
            vip_network(node, vip.link, address, vip.tree, found);
        }
    }
}

/// A shared address answers only where its link is in its network.
fn vip_network(node: &Node<'_>, link: &str, address: IpAddr, tree: &Tree, found: &mut Findings) {
    let Some(link) = node.links.iter().find(|known| known.name == link) else { return };
    let family = Prefix::host(address).family();
    let own = link.addresses.iter().map(|(prefix, _)| *prefix);
    let own: Vec<Prefix> = own.filter(|prefix| prefix.family() == family).collect();
    if own.is_empty() || own.iter().any(|prefix| prefix.contains(address)) {
        return;
    }
    if own.iter().all(|prefix| prefix.host_bits() == 0) {
        let text = format!(
            "shares the address `{address}` on link `{}`, which routes and has no neighbours",
            link.name
        );
        let help = "announce the address by BGP, or put a load balancer before the control planes";
        found.node("vip-routed", node, Some(tree), text, help);
    } else {
        let text = format!(
            "shares the address `{address}` on link `{}`, which is in no network with it",
            link.name
        );
        let help = "use an address of the link's network, or the link of the address' network";
        found.node("vip-network", node, Some(tree), text, help);
    }
}
