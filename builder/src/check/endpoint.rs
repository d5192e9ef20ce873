//! The cluster's endpoint and name: the same on all nodes, and somebody's.
//!
//! In: the site's endpoint and name, nodes. Out: findings.
//!
//! Source: Talos `internal/app/machined/pkg/controllers/secrets/kubernetes_cert_sans.go` (the API
//! server's certificate has the endpoint's host, the node's names and addresses).
//!
//! Not here: whether the endpoint can be reached.

use std::net::IpAddr;

use super::Fleet;
use super::found::Findings;
use super::view::Node;
use crate::config::tree::Tree;

/// Looks at the endpoint.
pub(super) fn check(fleet: &Fleet<'_>, nodes: &[Node<'_>], found: &mut Findings) {
    for node in nodes {
        same_cluster(fleet, node, found);
    }
    let Some(host) = host(fleet.endpoint) else {
        let help = "write it as `https://api.example.net:6443` or `https://[2001:db8::1]:6443`";
        return found.site("endpoint-url", "the cluster's endpoint is no URL of https", help);
    };
    match host.parse::<IpAddr>() {
        Ok(address) => address_of(address, nodes, found),
        Err(_) => name_of(host, nodes, found),
    }
}

fn same_cluster(fleet: &Fleet<'_>, node: &Node<'_>, found: &mut Findings) {
    let name = node.either("KubeClusterConfig", &["clusterName"], &["cluster", "clusterName"]);
    if name.and_then(Tree::text).is_some_and(|text| !text.is_empty() && text != fleet.cluster_name)
    {
        let text = format!("is of another cluster than the site's, `{}`", fleet.cluster_name);
        let help = "take the config of this cluster, or correct its `clusterName`";
        found.node("fleet-cluster-name", node, name, text, help);
    }
    let endpoint =
        node.either("KubeClusterConfig", &["endpoint"], &["cluster", "controlPlane", "endpoint"]);
    let trimmed = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let differs = |text: &str| !text.is_empty() && trimmed(text) != trimmed(fleet.endpoint);
    if endpoint.and_then(Tree::text).is_some_and(differs) {
        let text = format!("has another endpoint than the site's, `{}`", fleet.endpoint);
        let help = "give all nodes of a cluster one endpoint";
        found.node("fleet-endpoint", node, endpoint, text, help);
    }
    let kind = node.main(&["machine", "type"]);
    let planes = matches!(kind.and_then(Tree::text), Some("controlplane" | "init"));
    if node.member.documents.main().is_some() && planes != node.is_controlplane() {
        let role = if node.is_controlplane() { "a control plane" } else { "a worker" };
        let text = format!("is {role} in the site and is not in its config");
        let help = "correct the role, or `machine.type`: none means worker";
        found.node("fleet-role", node, kind, text, help);
    }
}

/// The host in a URL of https, an IPv6 address without its brackets.
pub(super) fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

fn address_of(address: IpAddr, nodes: &[Node<'_>], found: &mut Findings) {
    let mut planes = nodes.iter().filter(|node| node.is_controlplane());
    let has = |node: &Node<'_>| node.addresses().any(|(prefix, _)| prefix.address() == address);
    let shares = |node: &Node<'_>| node.vips.iter().any(|vip| vip.address == address);
    if let Some(worker) = nodes.iter().find(|node| !node.is_controlplane() && has(node)) {
        let text =
            format!("is a worker and has the address of the cluster's endpoint, `{address}`");
        let help =
            "let the endpoint be a control plane's address, a shared one or a load balancer's";
        return found.node("endpoint-worker", worker, None, text, help);
    }
    let named = |node: &Node<'_>| sans(node).any(|san| san.parse() == Ok(address));
    if planes.clone().next().is_none()
        || planes.any(|node| has(node) || shares(node) || node.is_dynamic() || named(node))
    {
        return;
    }
    let text = format!(
        "the cluster's endpoint `{address}` is no control plane's address and no shared one"
    );
    let help = "correct it; if it is a load balancer's, say so by adding it to the API server's `certSANs`";
    found.site("endpoint-nobody", &text, help);
}

fn name_of(name: &str, nodes: &[Node<'_>], found: &mut Findings) {
    let is = |node: &&Node<'_>| {
        let own = node.hostname().and_then(Tree::text);
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    };
    if let Some(worker) = nodes.iter().filter(|node| !node.is_controlplane()).find(is) {
        let text = format!("is a worker and has the name of the cluster's endpoint, `{name}`");
        let help = "let the endpoint be the name of a control plane, or of all of them";
        found.node("endpoint-worker", worker, worker.hostname(), text, help);
    }
}

/// The names and addresses that the API server's certificate has on a node beside Talos' own.
fn sans<'a>(node: &Node<'a>) -> impl Iterator<Item = &'a str> {
    let main = ["cluster", "apiServer", "certSANs"];
    let found = node.either("KubeAPIServerConfig", &["certExtraSANs"], &main);
    found.into_iter().flat_map(Tree::items).filter_map(Tree::text)
}
