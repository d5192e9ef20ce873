//! Which families of addresses nodes have, and what follows from it.
//!
//! In: [`Facts`]. Out: families, networks of pods and services, the node's own address.
//!
//! Source: Talos `internal/app/machined/pkg/controllers/k8s/nodeip_config.go`, `nodeip.go`,
//! `internal/app/machined/pkg/controllers/etcd/spec.go`, `pkg/machinery/constants/constants.go`
//! (`DefaultIPv4PodNet` and the three beside it).
//!
//! Not here: writing it down (`node`).
//!
//! The kubelet takes an address of each family that the services have. On a node without one it
//! never starts, and nothing says so: pods and services must follow the nodes.

use super::Facts;
use super::network::{Dynamic, Settings};
use super::prefix::{Family, Prefix};
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::report::Diagnostic;

/// The families of a node, the primary one first: those in which it has an address on a link with a
/// default route, or gets one. Where no link has a default route, those in which it has an address.
/// Without any link it is IPv4, by DHCP.
pub fn families(facts: &Facts) -> Vec<Family> {
    if facts.network.links.is_empty() {
        return vec![Family::V4];
    }
    let routed = ordered(facts.network.settings().flat_map(routed));
    if routed.is_empty() { ordered(facts.network.settings().flat_map(had)) } else { routed }
}

/// The families that all nodes have, in the first one's order.
pub fn common<'f>(nodes: impl IntoIterator<Item = &'f Facts>) -> Vec<Family> {
    let mut nodes = nodes.into_iter().map(families);
    let first = nodes.next().unwrap_or_default();
    nodes.fold(first, |common, node| {
        common.into_iter().filter(|family| node.contains(family)).collect()
    })
}

/// The networks of pods and of services for nodes of these families, in their order: the first is
/// the primary one. They are Talos' own defaults.
pub fn subnets(families: &[Family]) -> (Vec<&'static str>, Vec<&'static str>) {
    let families = families.iter();
    (
        families.clone().map(|of| of.pod_subnet()).collect(),
        families.map(|of| of.service_subnet()).collect(),
    )
}

/// What is wrong with the services' families in a finished config: each needs an address of the
/// node's, or the kubelet never starts.
pub fn unserved(documents: &Documents, facts: &Facts) -> Vec<Diagnostic> {
    if facts.network.links.is_empty() {
        return Vec::new();
    }
    let had = ordered(facts.network.settings().flat_map(had));
    let missing = services(documents).into_iter().filter(|family| !had.contains(family));
    let problem = |family: Family| {
        let (name, node) = (family.name(), &facts.hostname);
        let message = format!("services have {name} addresses, and node `{node}` has none");
        let help = format!("give the node an {name} address, or the services a network it has");
        Diagnostic::error("node-family", message).help(help)
    };
    missing.map(problem).collect()
}

/// The networks that the kubelet's addresses are to be chosen from, the primary family's first, or
/// none where there is no choice to make.
///
/// There is one in IPv4 where the node has several addresses, and in IPv6 always: a router's
/// advertisements may bring a second one at any time.
pub(super) fn node_networks(documents: &Documents, facts: &Facts) -> Vec<Prefix> {
    let mut families = services(documents);
    if families.is_empty() {
        families = self::families(facts);
    }
    let own: Vec<_> = families.iter().map(|&family| address(facts, family)).collect();
    let unsure = own.iter().flatten().any(|&own| has_choice(facts, own));
    let whole = |(family, own): (&Family, Option<Prefix>)| {
        own.map_or(family.everything(), |own| Prefix::host(own.address()))
    };
    if unsure { families.iter().zip(own).map(whole).collect() } else { Vec::new() }
}

/// The node's own address of a family: the first on a link with a default route, or the first.
fn address(facts: &Facts, family: Family) -> Option<Prefix> {
    let first = |settings: &Settings| {
        settings.addresses.iter().copied().find(|address| address.family() == family)
    };
    let routed = |settings: &&Settings| has_default(settings, family);
    let mut found = facts.network.settings().filter(routed).filter_map(first);
    found.next().or_else(|| facts.network.settings().find_map(first))
}

fn has_choice(facts: &Facts, own: Prefix) -> bool {
    let family = own.family();
    let further = |settings: &Settings| {
        let others =
            settings.addresses.iter().any(|&other| other.family() == family && other != own);
        others || gets(settings).any(|got| got == family)
    };
    family == Family::V6 || facts.network.settings().any(further)
}

/// The families of the services' networks as a config has them.
fn services(documents: &Documents) -> Vec<Family> {
    let subnets = match documents.get("KubeNetworkConfig", None) {
        Some(network) => network.get("serviceSubnets"),
        None => {
            documents.main().and_then(|main| main.at(&["cluster", "network", "serviceSubnets"]))
        }
    };
    let texts = subnets.map_or(&[][..], Tree::items).iter().filter_map(Tree::text);
    ordered(texts.filter_map(Prefix::parse).map(Prefix::family))
}

/// The families in which a link has or gets an address and has a default route.
fn routed(settings: &Settings) -> impl Iterator<Item = Family> + '_ {
    had(settings).filter(|&family| has_default(settings, family))
}

/// Whether a link has a default route. One that gets its addresses gets a route too.
fn has_default(settings: &Settings, family: Family) -> bool {
    let gateways = settings.routes.iter().filter(|route| route.is_default());
    let mut families = gateways.filter_map(|route| route.gateway).map(Family::of);
    families.any(|of| of == family) || gets(settings).any(|got| got == family)
}

/// The families in which a link has or gets an address.
fn had(settings: &Settings) -> impl Iterator<Item = Family> + '_ {
    settings.addresses.iter().map(|address| address.family()).chain(gets(settings))
}

fn gets(settings: &Settings) -> impl Iterator<Item = Family> + '_ {
    settings.dynamic.iter().map(|dynamic| match dynamic {
        Dynamic::Dhcp4 => Family::V4,
        Dynamic::Slaac | Dynamic::Dhcp6 => Family::V6,
    })
}

/// Each once, in the order in which it came first.
fn ordered(families: impl Iterator<Item = Family>) -> Vec<Family> {
    families.fold(Vec::new(), |mut seen, family| {
        if !seen.contains(&family) {
            seen.push(family);
        }
        seen
    })
}
