//! The document of machine and cluster: its cluster.
//!
//! In: the document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_validation.go`
//! (`ClusterConfig.Validate`, `ValidateCNI`), `v1alpha1_apiserverconfig.go`,
//! `v1alpha1_authorizaationconfigauthorizer.go`.
//!
//! Not here: the machine (`machine`).

use std::collections::BTreeSet;

use super::found::Found;
use super::k8s::AUTHORIZERS;
use super::machine::Role;
use super::network::{subnet, subnets};
use super::url::{Url, endpoint_problem};
use super::{Context, plane, view};
use crate::config::tree::Tree;

pub(super) fn check(main: &Tree, role: Role, context: Context, found: &mut Found) {
    let empty = Tree::empty();
    let present = view::pointer(main, &["cluster"]);
    if role == Role::ControlPlane {
        cni(present.unwrap_or(&empty), context, found);
    }
    let Some(cluster) = present else {
        let message = "the document has no `cluster` section";
        return found.refuse(main, "talos-cluster", message, "add `cluster`, be it `{}` on 1.14");
    };
    if role == Role::Worker && view::is_set(cluster, &["ca", "key"]) {
        let at = view::place(cluster, &["ca"]);
        let message = "a worker has the key of the CA of Kubernetes";
        found.refuse(at, "talos-worker-ca-key", message, "empty `cluster.ca.key`");
    }
    if !endpoint(cluster, context, found) {
        return;
    }
    let domain = view::text(cluster, &["network", "dnsDomain"]);
    if !domain.is_empty() && !is_domain(domain) {
        let at = view::place(cluster, &["network", "dnsDomain"]);
        let message = "the domain of the cluster is no DNS name";
        found.refuse(at, "talos-dns-domain", message, "write `cluster.local`");
    }
    cloud_provider(cluster, found);
    etcd(cluster, role, found);
    inline_manifests(cluster, found);
    discovery(cluster, found);
    api_server(cluster, found);
    for key in ["apiServer", "controllerManager", "scheduler"] {
        if let Some(resources) = view::pointer(cluster, &[key, "resources"]) {
            plane::resources(resources, found);
        }
    }
}

/// Checks the endpoint. Without one, Talos looks no further.
fn endpoint(cluster: &Tree, context: Context, found: &mut Found) -> bool {
    let plane = view::pointer(cluster, &["controlPlane"]);
    let endpoint = view::pointer(cluster, &["controlPlane", "endpoint"]);
    if endpoint.is_none() && (plane.is_some() || context.minor < 14) {
        let at = plane.unwrap_or(cluster);
        let message = "the cluster has no endpoint";
        let help = if context.minor < 14 {
            "add `cluster.controlPlane.endpoint: https://host.example:6443`"
        } else {
            "add `endpoint`, or drop all of `cluster.controlPlane` and write a KubeClusterConfig"
        };
        found.refuse(at, "talos-cluster-endpoint", message, help);
        return false;
    }
    if let Some((at, problem)) = endpoint
        .and_then(|at| endpoint_problem(at.text().unwrap_or_default()).map(|problem| (at, problem)))
    {
        let message = format!("the endpoint of the cluster {problem}");
        found.refuse(at, "talos-cluster-endpoint", message, "write `https://host.example:6443`");
    }
    let account = view::pointer(cluster, &["serviceAccount"]);
    if let Some(at) = account.filter(|_| context.minor >= 14 && endpoint.is_none()) {
        let message = "`cluster.serviceAccount` is of no use without an endpoint beside it";
        let help = "write a KubeServiceAccountConfig, as the endpoint has a document of its own";
        found.refuse(at, "talos-service-account", message, help);
    }
    true
}

/// Whether a text is a DNS name as Talos has it: `_` may stand in it, and a dot or `_` at its end.
fn is_domain(domain: &str) -> bool {
    let body = domain.strip_suffix('.').unwrap_or(domain);
    let part = |part: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let length = part.len() - usize::from(part.len() == 64 && part.ends_with('_'));
        (1..=63).contains(&length) && part.bytes().all(known) && !part.starts_with('-')
    };
    domain.len() - domain.matches('.').count() <= 255 && body.split('.').all(part)
}

fn cloud_provider(cluster: &Tree, found: &mut Found) {
    let Some(provider) = view::pointer(cluster, &["externalCloudProvider"]) else { return };
    let manifests = view::items(provider, &["manifests"]);
    if !view::is_on(provider, &["enabled"]) && !manifests.is_empty() {
        let message = "the cloud provider is off, and has manifests";
        return found.refuse(provider, "talos-cloud-provider", message, "write `enabled: true`");
    }
    urls(manifests, found);
}

fn urls(items: &[Tree], found: &mut Found) {
    for item in items {
        if let Some(problem) = endpoint_problem(item.text().unwrap_or_default()) {
            let message = format!("the URL of a manifest {problem}");
            found.refuse(
                item,
                "talos-manifest-url",
                message,
                "write `https://host.example/x.yaml`",
            );
        }
    }
}

fn etcd(cluster: &Tree, role: Role, found: &mut Found) {
    let Some(etcd) = view::pointer(cluster, &["etcd"]) else { return };
    if role != Role::ControlPlane {
        let message = "a machine that is no control plane has a config of etcd";
        return found.refuse(etcd, "talos-etcd", message, "drop `cluster.etcd`");
    }
    if view::pointer(etcd, &["ca"]).is_none() {
        let message = "etcd has no CA";
        found.refuse(etcd, "talos-etcd-ca", message, "add `cluster.etcd.ca` from the bundle");
    }
    let at = view::place(etcd, &["subnet"]);
    match (view::is_set(etcd, &["subnet"]), view::is_set(etcd, &["advertisedSubnets"])) {
        (true, true) => {
            let message = "etcd has both `subnet` and `advertisedSubnets`";
            found.refuse(at, "talos-etcd-subnet", message, "drop the older, `subnet`");
        }
        (true, false) => subnet(at, "subnet of etcd", found),
        (false, _) => {}
    }
    for key in ["advertisedSubnets", "listenSubnets"] {
        subnets(etcd, &[key], "subnet of etcd", found);
    }
}

fn inline_manifests(cluster: &Tree, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for manifest in view::items(cluster, &["inlineManifests"]) {
        let name = view::text(manifest, &["name"]);
        let twice = !seen.insert(name);
        if name.trim().is_empty() || twice {
            let message = "an inline manifest has no name, or that of another";
            found.refuse(manifest, "talos-inline-manifest", message, "give each a name of its own");
        }
    }
}

fn discovery(cluster: &Tree, found: &mut Found) {
    let path = ["discovery", "registries", "service"];
    let service = view::place(cluster, &path);
    let on = view::is_on(cluster, &["discovery", "enabled"]);
    if !on || view::is_on(cluster, &["discovery", "registries", "service", "disabled"]) {
        return;
    }
    let endpoint = view::text(cluster, &["discovery", "registries", "service", "endpoint"]);
    let url =
        Url::parse(endpoint).filter(|url| !url.scheme.is_empty() || url.path.starts_with('/'));
    let good = url.is_some_and(|url| matches!(url.path, "" | "/"));
    if !endpoint.is_empty() && (!good || endpoint.contains('#')) {
        let message = "the discovery service has no URL without a path";
        let help = "write `https://discovery.talos.dev/`";
        found.refuse(service, "talos-discovery-endpoint", message, help);
    }
    for (key, code) in [("id", "talos-cluster-id"), ("secret", "talos-cluster-secret")] {
        if view::text(cluster, &[key]).is_empty() {
            let message = format!("discovery is on, and the cluster has no `{key}`");
            let help = format!("add `cluster.{key}` from the secrets bundle");
            found.refuse(view::place(cluster, &["discovery"]), code, message, help);
        }
    }
}

fn api_server(cluster: &Tree, found: &mut Found) {
    let authorizers = view::pointer(cluster, &["apiServer", "authorizationConfig"]);
    let Some(authorizers) = authorizers else { return };
    for (argument, value) in view::entries(cluster, &["apiServer", "extraArgs"]) {
        if argument == "authorization-mode" || argument.starts_with("authorization-webhook-") {
            let message = format!("`--{argument}` does not go with `authorizationConfig`");
            found.refuse(value, "talos-api-server-argument", message, "drop one of them");
        }
    }
    for authorizer in authorizers.items() {
        let kind = view::text(authorizer, &["type"]);
        if !AUTHORIZERS.contains(&kind) || view::text(authorizer, &["name"]).is_empty() {
            let message = "an authorizer has no name, or no type that Kubernetes knows";
            let help = "write `name`, and `type: Node`, `RBAC` or `Webhook`";
            found.refuse(authorizer, "talos-authorizer-type", message, help);
        }
    }
}

fn cni(cluster: &Tree, context: Context, found: &mut Found) {
    let Some(cni) = view::pointer(cluster, &["network", "cni"]) else { return };
    let name = view::text(cni, &["name"]);
    let urls_given = view::items(cni, &["urls"]);
    let mut refuse = |message: &str, help: &str| {
        found.refuse(cni, "talos-cni-settings", message.to_owned(), help.to_owned());
    };
    if matches!(name, "flannel" | "none") && !urls_given.is_empty() {
        refuse("the CNI has URLs, which only a custom one has", "write `name: custom`");
    }
    let policies = view::is_on(cni, &["flannel", "kubeNetworkPoliciesEnabled"]);
    let flannel = view::is_set(cni, &["flannel", "extraArgs"]) || (policies && context.minor >= 13);
    if matches!(name, "custom" | "none") && flannel {
        refuse("the CNI is not flannel, and flannel is set up", "drop `flannel`");
    }
    match name {
        "flannel" | "none" => {}
        "custom" => {
            urls(urls_given, found);
            if urls_given.is_empty() {
                let message = "the custom CNI has no URLs";
                let help = "write `name: none`, where manifests bring the CNI";
                found.warn(cni, "talos-main-cni-urls", message, help);
            }
        }
        _ => {
            let message = "Talos has no such CNI";
            found.refuse(cni, "talos-cni", message, "write `flannel`, `none` or `custom`");
        }
    }
}
