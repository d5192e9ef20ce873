//! What must be true of all documents together: since 1.14 Talos asks.
//!
//! In: all documents. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/container/validate.go` (`validateContainer`) and
//! `container_deps.go`.
//!
//! Not here: two documents that set the same (`conflict`).

use std::collections::{BTreeMap, BTreeSet};

use super::found::Found;
use super::machine::{self, Role};
use super::network::is_plain_dns;
use super::{Context, Mode, view};
use crate::config::documents::{Document, Documents};
use crate::config::tree::Tree;

/// All documents, and the places at which findings go that are about no single one.
struct Whole<'d> {
    documents: &'d Documents,
    main: &'d Tree,
    has_main: bool,
}

pub(super) fn check(documents: &Documents, context: Context, found: &mut Found) {
    let empty = Tree::empty();
    let main = documents.main();
    let whole = Whole { documents, main: main.unwrap_or(&empty), has_main: main.is_some() };
    dns(&whole, context, found);
    discovery(&whole, found);
    containers(documents, found);
    let role = if whole.has_main { machine::role(whole.main) } else { Role::Unknown };
    if role == Role::ControlPlane {
        plane(&whole, found);
    } else {
        plane_only(documents, found);
    }
    let cluster = documents.get("KubeClusterConfig", None).is_some()
        || view::pointer(whole.main, &["cluster", "controlPlane", "endpoint"]).is_some();
    if let Some(at) = kubernetes(&whole).filter(|_| !cluster) {
        let message = "Kubernetes is configured, and the cluster has no name and endpoint";
        found.refuse(at, "talos-cluster-missing", message, "write a KubeClusterConfig");
    }
}

/// The CA of Kubernetes, with which a machine is part of Kubernetes.
fn kubernetes<'d>(whole: &Whole<'d>) -> Option<&'d Tree> {
    let cluster = |key| view::pointer(whole.main, &["cluster", key]);
    let document = whole.documents.get("KubeAPIServerCAConfig", None);
    document.or_else(|| cluster("ca")).or_else(|| cluster("acceptedCAs"))
}

fn dns(whole: &Whole<'_>, context: Context, found: &mut Found) {
    let resolver = whole.documents.get("ResolverConfig", None);
    let own = resolver.and_then(|doc| doc.get("hostDNS"));
    let own = own.filter(|dns| view::is_on(dns, &["enabled"]));
    let dns = own.or_else(|| view::pointer(whole.main, &["machine", "features", "hostDNS"]));
    let enabled = dns.is_some_and(|dns| view::is_on(dns, &["enabled"]));
    let forward = dns.is_some_and(|dns| view::is_on(dns, &["forwardKubeDNSToHost"]));
    let at = dns.or(resolver).unwrap_or(whole.main);
    if context.mode == Mode::Container && !(enabled && forward) {
        let message = "in a container, Talos needs its own DNS on the host";
        let help = "write a ResolverConfig with `hostDNS`: `enabled` and `forwardKubeDNSToHost`";
        found.refuse(at, "talos-container-mode-dns", message, help);
    }
    let servers = resolver.map_or(&[][..], |doc| view::items(doc, &["nameservers"]));
    if !enabled && !servers.iter().all(is_plain_dns) {
        let message = "a name server is encrypted, and Talos' own DNS on the host is off";
        found.refuse(at, "talos-encrypted-dns", message, "write `hostDNS.enabled: true`");
    }
}

fn discovery(whole: &Whole<'_>, found: &mut Found) {
    let legacy = view::place(whole.main, &["cluster", "discovery"]);
    let on = view::is_on(whole.main, &["cluster", "discovery", "enabled"]);
    let off = view::is_on(legacy, &["registries", "service", "disabled"]);
    let document = whole.documents.all("DiscoveryServiceConfig").next();
    let service = document.or_else(|| (on && !off).then_some(legacy));
    let cluster = |key| !view::text(whole.main, &["cluster", key]).is_empty();
    let identity = whole.documents.get("DiscoveryIdentityConfig", None);
    let known = if cluster("id") || cluster("secret") {
        cluster("id") && cluster("secret")
    } else {
        identity.is_some_and(|doc| {
            !view::text(doc, &["clusterID"]).is_empty()
                && !view::text(doc, &["clusterSecret"]).is_empty()
        })
    };
    if let Some(at) = service.filter(|_| !known) {
        let message = "discovery is on, and the cluster has no ID or no secret";
        let help = "write a DiscoveryIdentityConfig, from the secrets bundle";
        found.refuse(at, "talos-discovery-identity", message, help);
    }
    let kubespan = whole.documents.get("KubeSpanConfig", None);
    let kubespan =
        kubespan.or_else(|| view::pointer(whole.main, &["machine", "network", "kubespan"]));
    let kubespan = kubespan.filter(|at| view::is_on(at, &["enabled"]));
    if let Some(at) = kubespan.filter(|_| service.is_none()) {
        let message = "KubeSpan is on, and there is no discovery";
        found.refuse(at, "talos-kubespan-discovery", message, "write a DiscoveryServiceConfig");
    }
}

fn plane(whole: &Whole<'_>, found: &mut Found) {
    let cluster = |key| !view::text(whole.main, &["cluster", key]).is_empty();
    let encrypted = cluster("secretboxEncryptionSecret")
        || cluster("aescbcEncryptionSecret")
        || whole.documents.get("KubeEtcdEncryptionConfig", None).is_some();
    if let Some(at) = kubernetes(whole).filter(|_| !encrypted) {
        let message = "the control plane has no key for secrets in etcd";
        found.refuse(at, "talos-etcd-encryption", message, "write a KubeEtcdEncryptionConfig");
    }
    let label = "node-role.kubernetes.io/control-plane";
    let Some(node) = whole.documents.get("KubeNodeConfig", None) else { return };
    let labels = view::entries(node, &["labels"]);
    let labelled = labels.iter().any(|(key, _)| key == label);
    if !labelled && !view::is_on(node, &["skipNodeRegistration"]) {
        let message = format!("the control plane is not labelled `{label}`");
        let help = format!(
            "add `{label}: \"\"` to `labels`, and unless it runs anything, \
             `{label}: :NoSchedule` to `taints`"
        );
        found.warn(view::place(node, &["labels"]), "talos-node-label", message, help);
    }
}

/// Says which documents are for control planes alone.
fn plane_only(documents: &Documents, found: &mut Found) {
    let only = |document: &&Document| {
        documents.schema.kind(document.kind()).is_some_and(|kind| kind.controlplane)
    };
    for document in documents.iter().filter(only) {
        let message = format!("a {} is for control planes alone", document.kind());
        let help = "drop it from workers; a config without `machine` is one of a worker here";
        found.refuse(document.tree(), "talos-control-plane-only", message, help);
    }
}

/// Says which containers wait for one that is not there, or in a circle.
fn containers(documents: &Documents, found: &mut Found) {
    let all = || documents.iter().filter(|document| document.kind() == "ContainerConfig");
    let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for document in all() {
        let items = view::items(document.tree(), &["dependsOn", "containers"]);
        waits.insert(document.name(), items.iter().filter_map(Tree::text).collect());
    }
    for document in all() {
        for item in view::items(document.tree(), &["dependsOn", "containers"]) {
            if !item.text().is_some_and(|name| waits.contains_key(name)) {
                let message = "the container waits for one that there is not";
                found.refuse(item, "talos-container-unknown", message, "add it, or drop the line");
            }
        }
        if reaches_itself(document.name(), &waits) {
            let at = view::place(document.tree(), &["dependsOn", "containers"]);
            let message = format!("the container `{}` waits for itself", document.name());
            found.refuse(at, "talos-container-circle", message, "break the circle somewhere");
        }
    }
}

fn reaches_itself(start: &str, waits: &BTreeMap<&str, Vec<&str>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        for next in waits.get(name).into_iter().flatten() {
            if *next == start {
                return true;
            }
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    false
}
