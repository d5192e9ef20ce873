//! Manifests that a config brings along, and what of Talos' own they must not meet.
//!
//! In: nodes. Out: findings.
//!
//! Source: Cilium, "Kubernetes Without kube-proxy" and the keys of its ConfigMap `cilium-config`,
//! <https://docs.cilium.io/en/stable/>; Talos
//! `internal/app/machined/pkg/controllers/network/hostdns_config.go`, and
//! `pkg/machinery/config/types/v1alpha1/v1alpha1_k8s_bridge.go` (without its document the proxy is
//! deployed, and Flannel where there is the older `cluster.network`).
//!
//! Not here: the images in manifests, and manifests behind URLs.

use std::collections::BTreeMap;

use super::found::Findings;
use super::view::Node;
use crate::config::tree::Tree;

/// What a manifest brings.
struct Brought<'a> {
    /// A network of pods, by name.
    cni: Option<&'static str>,
    masquerades: bool,
    replaces_proxy: bool,
    /// The first variable in it that nothing sets.
    variable: Option<&'a str>,
}

/// Looks at the manifests of all control planes; workers' are not applied.
pub(super) fn check(nodes: &[Node<'_>], found: &mut Findings) {
    let mut known: BTreeMap<&str, Brought<'_>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.is_controlplane()) {
        for (name, tree) in manifests(node) {
            let Some(text) = tree.text() else { continue };
            let brought = known.entry(text).or_insert_with(|| read(name, text));
            meets(node, tree, name, brought, found);
        }
    }
}

/// The manifests in a config, with their names.
fn manifests<'a>(node: &Node<'a>) -> Vec<(&'a str, &'a Tree)> {
    let named =
        |tree: &'a Tree, key| Some((tree.text_at(&["name"]).unwrap_or_default(), tree.get(key)?));
    let documents = node.member.documents.iter();
    let documents = documents.filter(|document| document.kind() == "KubeInlineManifestConfig");
    let older = node.main(&["cluster", "inlineManifests"]);
    let older = older.into_iter().flat_map(Tree::items);
    let all = documents.filter_map(|document| named(document.tree(), "manifest"));
    all.chain(older.filter_map(|tree| named(tree, "contents"))).collect()
}

fn read<'a>(name: &str, text: &'a str) -> Brought<'a> {
    let cni = match () {
        () if text.contains("name: cilium-config") || name == "cilium" => Some("Cilium"),
        () if text.contains("name: calico-node") || name == "calico" => Some("Calico"),
        () => None,
    };
    let is_on = |key: &str, words: &[&str]| {
        text.lines().filter_map(|line| line.trim_start().strip_prefix(key)).any(|rest| {
            let value = rest.strip_prefix(':').unwrap_or_default().trim();
            words.contains(&value.trim_matches(['"', '\'']))
        })
    };
    let is_cilium = cni == Some("Cilium");
    Brought {
        cni,
        masquerades: is_cilium && is_on("enable-bpf-masquerade", &["true"]),
        replaces_proxy: is_cilium && is_on("kube-proxy-replacement", &["true", "strict"]),
        variable: variable(text),
    }
}

/// The first `${NAME}` whose name the text does not define, as an environment variable or in a
/// script.
fn variable(text: &str) -> Option<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in text.split("${").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let is_whole = part[end..].starts_with('}') || part[end..].starts_with(":-");
        let name = &part[..end];
        let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if is_whole && starts && !names.contains(&name) && names.len() < MAX_NAMES {
            names.push(name);
        }
    }
    let defines = |name: &str| {
        [format!("name: {name}"), format!("{name}="), format!("{name} in "), format!("read {name}")]
            .iter()
            .any(|form| text.contains(form))
    };
    names.into_iter().find(|name| !defines(name))
}

/// How many variables of a manifest are looked for.
const MAX_NAMES: usize = 32;

fn meets(node: &Node<'_>, tree: &Tree, name: &str, brought: &Brought<'_>, found: &mut Findings) {
    if let Some(variable) = brought.variable {
        let text =
            format!("has the manifest `{name}` with `${{{variable}}}`, which nothing replaces");
        let help = "render the manifest first; silence this if a script in it is meant";
        found.node("manifest-variable", node, Some(tree), text, help);
    }
    if let Some(cni) = brought.cni.filter(|_| keeps_flannel(node)) {
        let text = format!("brings {cni}, and keeps Talos' own Flannel");
        let help = match node.member.documents.schema.minor {
            0..=13 => "set `cluster.network.cni.name: none`",
            _ => {
                "delete the document KubeFlannelCNIConfig, or set `cluster.network.cni.name: none`"
            }
        };
        found.node("cni-two", node, Some(tree), text, help);
    }
    if brought.replaces_proxy && keeps_proxy(node) {
        let text = "brings Cilium in kube-proxy's place, and keeps kube-proxy";
        let help = "set `enabled: false` in KubeProxyConfig, or `cluster.proxy.disabled: true`";
        found.node("proxy-two", node, Some(tree), text, help);
    }
    if brought.masquerades && forwards_dns(node) {
        let text = "brings Cilium with BPF masquerading, and forwards pods' DNS to the host: names \
                    do not resolve in pods";
        let help = "set `hostDNS.forwardKubeDNSToHost: false`, or `bpf.masquerade=false` in Cilium";
        found.node("dns-masquerade", node, Some(tree), text, help);
    }
}

/// Whether Talos would deploy Flannel.
fn keeps_flannel(node: &Node<'_>) -> bool {
    let documents = node.member.documents;
    if documents.get("KubeFlannelCNIConfig", None).is_some() {
        return true;
    }
    let network = node.main(&["cluster", "network"]);
    match network.and_then(|network| network.get("cni")) {
        Some(cni) => cni.text_at(&["name"]) == Some("flannel"),
        None => documents.schema.minor < 14 || network.is_some(),
    }
}

/// Whether Talos would deploy the proxy: unless a config says no.
fn keeps_proxy(node: &Node<'_>) -> bool {
    if let Some(proxy) = node.member.documents.get("KubeProxyConfig", None) {
        return proxy.get("enabled").and_then(Tree::bool) != Some(false);
    }
    node.main(&["cluster", "proxy", "disabled"]).and_then(Tree::bool) != Some(true)
}

fn forwards_dns(node: &Node<'_>) -> bool {
    let main = ["machine", "features", "hostDNS"];
    let dns = node.either("ResolverConfig", &["hostDNS"], &main);
    let is = |key| dns.and_then(|dns| dns.get(key)).and_then(Tree::bool);
    is("forwardKubeDNSToHost") == Some(true) && is("enabled") == Some(true)
}
