//! The networks of pods and services: their families and their place among the nodes' own.
//!
//! In: nodes. Out: findings.
//!
//! Source: Talos `internal/app/machined/pkg/controllers/k8s/nodeip_config.go` (the kubelet's
//! addresses are of the services' families), `nodeip.go` (without any the kubelet never starts),
//! `pkg/machinery/config/types/k8s/network.go` (what the newer style refuses and the older takes).
//!
//! Not here: the networks' sizes (`config::valid`).

use std::collections::BTreeSet;

use super::found::Findings;
use super::view::{Node, What};
use crate::config::facts::prefix::{Family, Prefix};
use crate::config::tree::Tree;

/// Networks, and where each was written.
type Subnets<'a> = Vec<(Prefix, &'a Tree)>;

/// Looks at pods' and services' networks.
pub(super) fn check(nodes: &[Node<'_>], found: &mut Findings) {
    let mut first: Option<(&Node<'_>, BTreeSet<Prefix>, BTreeSet<Prefix>)> = None;
    for node in nodes {
        let (pods, services) = (node.subnets("podSubnets"), node.subnets("serviceSubnets"));
        counts(node, &pods, &services, found);
        overlaps(node, &pods, &services, found);
        served(node, &services, found);
        let set = |subnets: &Subnets<'_>| subnets.iter().map(|(prefix, _)| *prefix).collect();
        let (pod_set, service_set) = (set(&pods), set(&services));
        if pods.is_empty() && services.is_empty() {
            continue;
        }
        match &first {
            None => first = Some((node, pod_set, service_set)),
            Some((other, pods, services)) if *pods != pod_set || *services != service_set => {
                let name = other.member.name;
                let text = format!("has other networks of pods or services than node `{name}`");
                let help = "give all nodes of a cluster the same `podSubnets` and `serviceSubnets`";
                found.node("subnet-differs", node, None, text, help);
            }
            Some(_) => {}
        }
    }
}

fn counts(node: &Node<'_>, pods: &Subnets<'_>, services: &Subnets<'_>, found: &mut Findings) {
    let families = |subnets: &Subnets<'_>| -> BTreeSet<Family> {
        subnets.iter().map(|(prefix, _)| prefix.family()).collect()
    };
    for (what, subnets) in [("pods", pods), ("services", services)] {
        if subnets.len() > 2 || families(subnets).len() < subnets.len() {
            let text = format!("has several networks of {what} of one family");
            let help =
                "give at most one of IPv4 and one of IPv6; a patch may have added to the list";
            found.node("subnet-families", node, subnets.first().map(|(_, tree)| *tree), text, help);
        }
    }
    if !pods.is_empty() && !services.is_empty() && families(pods) != families(services) {
        let text = "has networks of pods and of services of unlike families";
        let help = "give both one of IPv4, one of IPv6, or one of each";
        found.node("subnet-families", node, services.first().map(|(_, tree)| *tree), text, help);
    }
}

fn overlaps(node: &Node<'_>, pods: &Subnets<'_>, services: &Subnets<'_>, found: &mut Findings) {
    let overlap = |a: Prefix, b: Prefix| a.contains(b.address()) || b.contains(a.address());
    for (pod, tree) in pods {
        for (service, _) in services.iter().filter(|(service, _)| overlap(*pod, *service)) {
            let text = format!(
                "has the pods' network `{pod}` and the services' `{service}`, which overlap"
            );
            found.node("subnet-overlap", node, Some(tree), text, "give each a network of its own");
        }
    }
    let links = node.links.iter().filter(|link| link.what == What::Wire);
    let own: Vec<Prefix> = links.flat_map(|link| link.addresses.iter().map(|(p, _)| *p)).collect();
    for (what, subnets) in [("pods", pods), ("services", services)] {
        for (subnet, tree) in subnets {
            if let Some(address) = own.iter().find(|own| overlap(**own, *subnet)) {
                let text = format!(
                    "has the address `{address}`, and the {what}' network `{subnet}` overlaps with it"
                );
                let help = "give pods and services networks that no machine has an address in";
                found.node("subnet-overlap", node, Some(tree), text, help);
            }
        }
    }
}

/// Whether a node has addresses of the services' families.
fn served(node: &Node<'_>, services: &Subnets<'_>, found: &mut Findings) {
    let missing: Vec<_> =
        services.iter().filter(|(prefix, _)| !has(node, prefix.family())).collect();
    let Some((subnet, tree)) = missing.first() else { return };
    let name = subnet.family().name();
    // Routers may give IPv6 addresses to any link; nothing of that is in a config.
    let sure = missing.len() == services.len()
        && missing.iter().all(|(prefix, _)| prefix.family() == Family::V4 || !may_slaac(node));
    if sure {
        let text =
            format!("has no address of {name}, as services do, so that its kubelet never starts");
        let help =
            format!("give it one of {name}, or pods and services networks of its own family");
        found.node("service-family", node, Some(tree), text, help);
    } else {
        let text = format!("has services of {name}, and no address of {name} in its config");
        let help = "give it one; silence this if routers or a network outside the config do";
        found.node("service-family-unsure", node, Some(tree), text, help);
    }
}

fn has(node: &Node<'_>, family: Family) -> bool {
    if node.default_dhcp && family == Family::V4 && node.links.is_empty() {
        return true;
    }
    let dynamic = |link: &super::view::Link<'_>| match family {
        Family::V4 => link.dhcp4,
        Family::V6 => link.dhcp6,
    };
    node.links.iter().any(dynamic)
        || node.addresses().any(|(prefix, _)| prefix.family() == family && !is_local(prefix))
}

/// Whether some link listens to routers: any that is up.
fn may_slaac(node: &Node<'_>) -> bool {
    node.default_dhcp || node.links.iter().any(|link| link.what == What::Wire)
}

/// An address that the kubelet cannot be reached by.
fn is_local(prefix: Prefix) -> bool {
    let address = prefix.address();
    address.is_loopback()
        || matches!(address, std::net::IpAddr::V6(address) if address.is_unicast_link_local())
}
