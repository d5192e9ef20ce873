//! The node itself: name, labels, resolver, time, environment, trust, and its own addresses.
//!
//! In: [`Facts`]. Out: `HostnameConfig`, `ResolverConfig`, `TimeSyncConfig`, `TrustedRootsConfig`
//! documents; labels, environment and node addresses, each where the version has them.
//!
//! Source: Talos `pkg/machinery/config/types/network/` (`hostname.go`, `resolver.go`,
//! `time_sync.go`), `k8s/node.go`, `runtime/environment.go`, `security/trusted_roots.go`;
//! `v1alpha1/v1alpha1_types.go` for the versions before.
//!
//! Not here: links (`link`).

use std::collections::BTreeMap;

use super::network::{Network, Time};
use super::prefix::Prefix;
use super::{Facts, Problems};
use crate::config::documents::Documents;
use crate::config::schema::MAIN;
use crate::config::tree::Tree;
use crate::pki::secret::Secret;

/// By whom a node reaches the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The proxy's URL for `http`; it may have credentials.
    pub http: Option<Secret>,
    /// The proxy's URL for `https`; it may have credentials.
    pub https: Option<Secret>,
    /// The hosts, domains, addresses and networks that are reached without.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let url = |url: &Option<Secret>| url.as_ref().map(|url| url.reveal().to_owned());
        let not = (!self.no_proxy.is_empty()).then(|| self.no_proxy.join(","));
        let all =
            [("http_proxy", url(&self.http)), ("https_proxy", url(&self.https)), ("no_proxy", not)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Whether a text has a certificate in PEM.
pub(super) fn is_certificate(pem: &str) -> bool {
    let start = pem.find("-----BEGIN CERTIFICATE-----");
    let end = pem.find("-----END CERTIFICATE-----");
    start.zip(end).is_some_and(|(start, end)| start < end)
}

/// Says what is wrong.
pub(super) fn check(facts: &Facts, problems: &mut Problems<'_>) {
    for (name, _) in facts.proxy.variables() {
        let same = |known: &&String| known.eq_ignore_ascii_case(name);
        if let Some(known) = facts.environment.keys().find(same) {
            let subject = format!("variable `{known}`");
            let help = "give it as `proxy`, or in the environment";
            problems.add("node-proxy", &subject, "is given twice, once as a proxy", help);
        }
    }
    for (name, pem) in &facts.trusted_roots {
        if !is_certificate(pem) {
            let subject = format!("trusted certificate `{name}`");
            let help = "give what is between `BEGIN CERTIFICATE` and `END CERTIFICATE`, with both";
            problems.add("node-certificate", &subject, "is no PEM", help);
        }
    }
}

/// Writes it down.
pub(super) fn write(documents: &mut Documents, facts: &Facts, is_controlplane: bool) {
    let hostname = documents.open("HostnameConfig", None);
    hostname.remove("auto");
    hostname.set("hostname", facts.hostname.as_str());
    write_network(documents, &facts.network);
    write_kubernetes(documents, facts);
    write_addresses(documents, facts, is_controlplane);
    write_environment(documents, facts);
    for (name, pem) in &facts.trusted_roots {
        documents.open("TrustedRootsConfig", Some(name)).set("certificates", pem.as_str());
    }
}

fn write_network(documents: &mut Documents, network: &Network) {
    if !network.nameservers.is_empty() {
        let servers = network.nameservers.iter();
        let servers = servers.map(|server| Tree::map([("address", server.to_string().into())]));
        documents.open("ResolverConfig", None).set("nameservers", Tree::list(servers));
    }
    if !network.search_domains.is_empty() {
        let domains = Tree::list(network.search_domains.iter().map(String::as_str));
        documents.open("ResolverConfig", None).set_at(&["searchDomains", "domains"], domains);
    }
    let Some(time) = &network.time else { return };
    let tree = documents.open("TimeSyncConfig", None);
    match time {
        Time::Servers(servers) => {
            tree.set_at(&["ntp", "servers"], Tree::list(servers.iter().map(String::as_str)));
        }
        Time::Ptp(devices) => {
            tree.set_at(&["ptp", "devices"], Tree::list(devices.iter().map(String::as_str)));
        }
        Time::Off => tree.set("enabled", false),
    }
}

/// What Kubernetes shall know of the node. Talos 1.14 has a document for it.
fn write_kubernetes(documents: &mut Documents, facts: &Facts) {
    let document = documents.schema.minor >= 14;
    let maps = [
        ("labels", "nodeLabels", &facts.labels),
        ("annotations", "nodeAnnotations", &facts.annotations),
        ("taints", "nodeTaints", &facts.taints),
    ];
    for (key, before, map) in maps.into_iter().filter(|(_, _, map)| !map.is_empty()) {
        let tree = match document {
            true => documents.open("KubeNodeConfig", None).open(key),
            false => documents.open(MAIN, None).open("machine").open(before),
        };
        map.iter().for_each(|(name, value)| tree.set(name, value.as_str()));
    }
}

/// Pins the addresses by which kubelet and etcd go, where there would be a choice.
fn write_addresses(documents: &mut Documents, facts: &Facts, is_controlplane: bool) {
    let networks = super::family::node_networks(documents, facts);
    let Some(primary) = networks.first() else { return };
    let subnets = Tree::list(networks.iter().map(Prefix::to_string));
    if documents.schema.minor >= 14 {
        let node = documents.open("KubeNodeConfig", None);
        node.set_at(&["nodeIP", "validSubnets"], subnets);
    } else {
        let main = documents.open(MAIN, None);
        main.set_at(&["machine", "kubelet", "nodeIP", "validSubnets"], subnets);
    }
    if is_controlplane && primary.length() > 0 {
        let etcd = Tree::list([primary.to_string()]);
        documents.open(MAIN, None).set_at(&["cluster", "etcd", "advertisedSubnets"], etcd);
    }
}

/// Talos 1.13 has a document for it.
fn write_environment(documents: &mut Documents, facts: &Facts) {
    let proxy = facts.proxy.variables().map(|(name, value)| (name.to_owned(), value));
    let given = facts.environment.iter();
    let given = given.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let all: BTreeMap<String, String> = proxy.chain(given).collect();
    if all.is_empty() {
        return;
    }
    let tree = match documents.schema.minor >= 13 {
        true => documents.open("EnvironmentConfig", None).open("variables"),
        false => documents.open(MAIN, None).open("machine").open("env"),
    };
    all.into_iter().for_each(|(name, value)| tree.set(&name, value));
}
