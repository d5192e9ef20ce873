//! The documents of Kubernetes.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/k8s`.
//!
//! Not here: components (`plane`), manifests and pods (`manifest`), networks (`subnet`), and which
//! versions a Talos runs (`kubernetes`).

use super::found::Found;
use super::network::subnets;
use super::url::{Url, endpoint_problem};
use super::{Context, Rule, manifest, name, pem, plane, subnet, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("KubeAdmissionControlConfig", |doc, _, found| {
        name::required(doc, "admission plugin", found);
    }),
    ("KubeAggregatorCAConfig", aggregator_ca),
    ("KubeAPIServerCAConfig", api_server_ca),
    ("KubeAPIServerConfig", plane::api_server),
    ("KubeAuthorizerConfig", authorizer),
    ("KubeClusterConfig", cluster),
    ("KubeControllerManagerConfig", plane::component),
    ("KubeEtcdEncryptionConfig", etcd_encryption),
    ("KubeExternalManifestConfig", manifest::external),
    ("KubeFlannelCNIConfig", plane::flannel),
    ("KubeInlineManifestConfig", manifest::inline),
    ("KubeletConfig", plane::kubelet),
    ("KubeNetworkConfig", subnet::check),
    ("KubeNodeConfig", node),
    ("KubePrismConfig", kubeprism),
    ("KubeProxyConfig", plane::proxy),
    ("KubeSchedulerConfig", plane::component),
    ("KubeServiceAccountConfig", service_account),
    ("KubeStaticPodConfig", manifest::static_pod),
    ("KubeTalosAPIAccessConfig", api_access),
];

fn aggregator_ca(doc: &Tree, context: Context, found: &mut Found) {
    if view::pointer(doc, &["issuingCA"]).is_none() {
        let message = "the aggregator has no CA to issue with";
        found.refuse(doc, "talos-aggregator-ca", message, "add `issuingCA` with `cert` and `key`");
    }
    api_server_ca(doc, context, found);
}

fn api_server_ca(doc: &Tree, _: Context, found: &mut Found) {
    if let Some(ca) = view::pointer(doc, &["issuingCA"]) {
        pem::pair(ca, pem::Depth::Loads, found);
    }
    pem::accepted(doc, found);
}

/// What authorizes requests to the API server.
pub(super) const AUTHORIZERS: [&str; 3] = ["Node", "RBAC", "Webhook"];

fn authorizer(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "authorizer", found);
    let kind = view::text(doc, &["type"]);
    if !AUTHORIZERS.contains(&kind) {
        let at = view::place(doc, &["type"]);
        let message = "the authorizer has no type that Kubernetes knows";
        found.refuse(at, "talos-authorizer-type", message, "write `Node`, `RBAC` or `Webhook`");
    }
    let at = view::place(doc, &["webhook"]);
    let configured = view::is_set(doc, &["webhook"]);
    if kind == "Webhook" && !configured {
        let message = "the authorizer is a webhook, and has no `webhook`";
        found.refuse(at, "talos-authorizer-webhook", message, "add it, as Kubernetes has it");
    } else if kind != "Webhook" && configured {
        let message = "the authorizer is no webhook, and has a `webhook`";
        found.warn(at, "talos-authorizer-no-webhook", message, "drop it");
    }
}

fn cluster(doc: &Tree, _: Context, found: &mut Found) {
    if view::text(doc, &["clusterName"]).is_empty() {
        let message = "the cluster has no name";
        found.refuse(doc, "talos-cluster-name", message, "add `clusterName`");
    }
    if let Some(problem) = endpoint_problem(view::text(doc, &["endpoint"])) {
        let at = view::place(doc, &["endpoint"]);
        let message = format!("the endpoint of the cluster {problem}");
        found.refuse(at, "talos-cluster-endpoint", message, "write `https://host.example:6443`");
    }
}

fn etcd_encryption(doc: &Tree, _: Context, found: &mut Found) {
    if !view::is_set(doc, &["config"]) {
        let message = "the encryption of etcd has no configuration";
        found.refuse(doc, "talos-etcd-encryption-config", message, "add `config` with `providers`");
    }
}

fn node(doc: &Tree, _: Context, found: &mut Found) {
    subnets(doc, &["nodeIP", "validSubnets"], "subnet of the node's address", found);
    name::node(doc, ["labels", "annotations", "taints"], found);
}

fn kubeprism(doc: &Tree, _: Context, found: &mut Found) {
    if !(1..=65535).contains(&view::number(doc, &["port"])) {
        let at = view::place(doc, &["port"]);
        let message = "KubePrism has no port from 1 to 65535";
        found.refuse(at, "talos-kubeprism-port", message, "write `port: 7445`");
    }
}

fn service_account(doc: &Tree, _: Context, found: &mut Found) {
    if !pem::key_loads(view::text(doc, &["issuer", "privateKey"])) {
        let at = view::place(doc, &["issuer", "privateKey"]);
        let message = "the key of the service accounts is missing, or is no PEM of a private key";
        found.refuse(at, "talos-private-key", message, "put the whole PEM text there");
    }
    let url = view::text(doc, &["issuer", "issuerURL"]);
    if url.is_empty() || Url::parse(url).is_none() {
        let at = view::place(doc, &["issuer", "issuerURL"]);
        let message = "the service accounts have no issuer";
        found.refuse(at, "talos-issuer-url", message, "write the endpoint of the cluster");
    }
}

/// The roles of Talos' API, and since which minor version.
const ROLES: [(&str, u32); 7] = [
    ("os:admin", 0),
    ("os:operator", 0),
    ("os:reader", 0),
    ("os:etcd:backup", 0),
    ("os:impersonator", 0),
    ("os:image:verifier", 13),
    ("os:meta:writer", 13),
];

/// Says which roles Talos does not have.
pub(super) fn roles(items: &[Tree], context: Context, found: &mut Found) {
    let known = ROLES.iter().filter(|(_, since)| *since <= context.minor);
    let known: Vec<&str> = known.map(|(role, _)| *role).collect();
    for item in items {
        if !item.text().is_some_and(|role| known.contains(&role)) {
            let message = "Talos has no such role";
            let help = format!("keep to {}", known.join(", "));
            found.refuse(item, "talos-role", message, help);
        }
    }
}

fn api_access(doc: &Tree, context: Context, found: &mut Found) {
    let allowed = view::items(doc, &["allowedRoles"]);
    if allowed.is_empty() {
        let at = view::place(doc, &["allowedRoles"]);
        let message = "no role is allowed, so that nobody has access";
        found.warn(at, "talos-api-access-roles", message, "add `os:reader` to `allowedRoles`");
    }
    roles(allowed, context, found);
}
