//! The fields of `cluster` whose values have to be looked at.
//!
//! In: a fragment. Out: its documents.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/v1alpha1/v1alpha1_k8s_bridge.go`,
//! `v1alpha1_clusterconfig.go`, `pkg/machinery/config/types/k8s/`,
//! `internal/app/machined/pkg/controllers/k8s/control_plane.go` (the order of authorizers),
//! `internal/app/machined/pkg/controllers/k8s/internal/k8stemplates/apiserver.go` (the order and
//! the names of the keys that encrypt etcd).
//!
//! Not here: what is only renamed (`table`).

use super::output::{self, Fields, Output};
use super::registry::{certificate, pem};
use crate::config::MachineType;
use crate::config::tree::{Data, Tree};
use crate::digest::Digest;

const FLANNEL: &str = "KubeFlannelCNIConfig";
const CONTROL_PLANE_TAINT: &str = "node-role.kubernetes.io/control-plane";

/// Translates the section.
pub(super) fn translate(rest: &mut Tree, output: &mut Output) {
    endpoint(rest, output);
    subnets(rest, output);
    authorities(rest, output);
    etcd_encryption(rest, output);
    api_server_args(rest, output);
    admission(rest, output);
    authorizers(rest, output);
    scheduling(rest, output);
    discovery(rest, output);
    let urls = cni(rest, output);
    manifests(urls, rest, output);
}

fn endpoint(rest: &mut Tree, output: &mut Output) {
    let Some(endpoint) = output::take(rest, "cluster.controlPlane.endpoint") else { return };
    // The issuer of service accounts' tokens was the endpoint.
    output.put("KubeServiceAccountConfig", "issuer.issuerURL", endpoint.clone());
    output.put("KubeClusterConfig", "endpoint", endpoint);
}

fn subnets(rest: &mut Tree, output: &mut Output) {
    // An empty list was Talos' own.
    for (key, default) in [("podSubnets", "10.244.0.0/16"), ("serviceSubnets", "10.96.0.0/12")] {
        let Some(list) = output::take(rest, &format!("cluster.network.{key}")) else { continue };
        let empty = list.items().is_empty();
        let list = if empty { Tree::list([Tree::from(default)]) } else { list };
        output.put("KubeNetworkConfig", key, list);
    }
}

fn authorities(rest: &mut Tree, output: &mut Output) {
    const API_CA: &str = "KubeAPIServerCAConfig";
    let ca = output::take(rest, "cluster.ca");
    if let Some(pair) = ca.and_then(|ca| certificate(&ca, output)) {
        if output.role == MachineType::ControlPlane {
            output.put(API_CA, "issuingCA", pair);
        } else if let Some(cert) = pair.get("cert") {
            output.delete(API_CA, None, &["acceptedCAs"]);
            output.put(API_CA, "acceptedCAs", Tree::list([cert.clone()]));
        }
    }
    if let Some(list) = output::take(rest, "cluster.acceptedCAs") {
        for item in list.items() {
            let cert = item.get("crt").and_then(|cert| pem(cert, output));
            let document = output.open(API_CA, None, item);
            document.open("acceptedCAs").items_mut().extend(cert);
        }
    }
    let aggregator = output::take(rest, "cluster.aggregatorCA");
    if let Some(pair) = aggregator.and_then(|ca| certificate(&ca, output)) {
        output.put("KubeAggregatorCAConfig", "issuingCA", pair);
    }
    let account = output::take(rest, "cluster.serviceAccount");
    let key = account.as_ref().and_then(|account| account.get("key"));
    if let Some(key) = key.and_then(|key| pem(key, output)) {
        output.put("KubeServiceAccountConfig", "issuer.privateKey", key);
    }
}

fn etcd_encryption(rest: &mut Tree, output: &mut Output) {
    const KIND: &str = "KubeEtcdEncryptionConfig";
    let secretbox = output::take(rest, "cluster.secretboxEncryptionSecret");
    let aescbc = output::take(rest, "cluster.aescbcEncryptionSecret");
    let (secretbox, aescbc) = match (secretbox, aescbc) {
        (Some(secretbox), Some(aescbc)) => (secretbox, aescbc),
        (Some(one), None) | (None, Some(one)) => {
            let message = "one secret alone does not tell all keys that encrypt etcd";
            let help = "keep it in the secrets of the cluster, or write all keys:\n\
                        kind: KubeEtcdEncryptionConfig\nconfig:\n  resources: ...";
            output.refuse(&one, message, help);
            return;
        }
        (None, None) => return,
    };
    let provider = |kind, name, secret| {
        let key = Tree::map([("name", Tree::from(name)), ("secret", secret)]);
        Tree::map([(kind, Tree::map([("keys", Tree::list([key]))]))])
    };
    let providers = [provider("secretbox", "key2", secretbox), provider("aescbc", "key1", aescbc)];
    let resource =
        Tree::map([("providers", Tree::list(providers)), ("resources", Tree::list(["secrets"]))]);
    // Lists in there would be appended.
    output.delete(KIND, None, &["config"]);
    output.put(KIND, "config.resources", Tree::list([resource]));
}

/// Arguments that the documents take the place of.
const DENIED_ARGUMENTS: [(&str, &str); 6] = [
    ("anonymous-auth", "kind: KubeAuthenticationConfig\nconfiguration:\n  anonymous: ..."),
    ("oidc-", "kind: KubeAuthenticationConfig\nconfiguration:\n  jwt: ..."),
    ("authentication-config", "kind: KubeAuthenticationConfig\nconfiguration: ..."),
    ("authorization-config", "kind: KubeAuthorizerConfig\nname: NAME\ntype: ..."),
    ("authorization-mode", "kind: KubeAuthorizerConfig\nname: NAME\ntype: ..."),
    (
        "authorization-webhook-",
        "kind: KubeAuthorizerConfig\nname: NAME\ntype: Webhook\nwebhook: ...",
    ),
];

fn api_server_args(rest: &mut Tree, output: &mut Output) {
    let Some(mut arguments) = output::take(rest, "cluster.apiServer.extraArgs") else { return };
    for (name, value) in arguments.entries() {
        let denied = DENIED_ARGUMENTS.iter().find(|(prefix, _)| name.starts_with(prefix));
        if let Some((_, form)) = denied {
            let message = format!("Talos 1.14 takes no argument `{name}` for kube-apiserver");
            output.refuse(value, message, &format!("write the document for it:\n{form}"));
        }
    }
    let denied = |name: &str| DENIED_ARGUMENTS.iter().any(|(prefix, _)| name.starts_with(prefix));
    arguments.entries_mut().retain(|(name, _)| !denied(name));
    if !arguments.entries().is_empty() {
        output.put("KubeAPIServerConfig", "extraArgs", arguments);
    }
}

fn admission(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "cluster.apiServer.admissionControl") else { return };
    for item in list.items() {
        let mut plugin = Fields::new("cluster.apiServer.admissionControl", item.clone());
        let name = plugin.text("name").map(|(_, name)| name);
        let configuration = plugin.take("configuration");
        plugin.finish(output);
        let Some(name) = name else {
            output.invalid(item, "this plug-in has no name", "write its `name`");
            continue;
        };
        let document = output.open("KubeAdmissionControlConfig", Some(&name), item);
        if let Some(configuration) = configuration {
            document.set("configuration", configuration);
        }
    }
}

fn authorizers(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "cluster.apiServer.authorizationConfig") else { return };
    // `node` and `rbac` come first in every config of 1.14, as they did where nobody named them.
    let mut before = 0;
    for item in list.items() {
        let mut authorizer = Fields::new("cluster.apiServer.authorizationConfig", item.clone());
        let name = authorizer.text("name").map(|(_, name)| name).unwrap_or_default();
        let kind = authorizer.take("type");
        let webhook = authorizer.take("webhook");
        authorizer.finish(output);
        let rank = match (kind.as_ref().and_then(Tree::text), name.as_str()) {
            (Some("Node"), "node") => 1,
            (Some("RBAC"), "rbac") => 2,
            (Some("Node" | "RBAC"), _) => 0,
            _ => 3,
        };
        if rank < before || rank == 0 || name.is_empty() {
            let message = "Talos 1.14 asks `node`, then `rbac`, then all others";
            let help = "name the first two so and put them first, or write each as a document:\n\
                        kind: KubeAuthorizerConfig\nname: NAME\ntype: ...";
            output.refuse(item, message, help);
            continue;
        }
        before = rank;
        let document = output.open("KubeAuthorizerConfig", Some(&name), item);
        for (key, value) in [("type", kind), ("webhook", webhook)] {
            if let Some(value) = value {
                document.set(key, value);
            }
        }
    }
}

fn scheduling(rest: &mut Tree, output: &mut Output) {
    let masters = output::take(rest, "cluster.allowSchedulingOnMasters");
    let planes = output::take(rest, "cluster.allowSchedulingOnControlPlanes");
    match planes.or(masters).and_then(|value| value.bool()) {
        Some(true) => output.delete("KubeNodeConfig", None, &["taints", CONTROL_PLANE_TAINT]),
        Some(false) => {
            let document = output.open("KubeNodeConfig", None, &Tree::empty());
            document.set_at(&["taints", CONTROL_PLANE_TAINT], "NoSchedule");
        }
        None => {}
    }
}

fn discovery(rest: &mut Tree, output: &mut Output) {
    const KIND: &str = "DiscoveryServiceConfig";
    let Some(mut discovery) = output::section(rest, "cluster.discovery") else { return };
    let enabled = discovery.bool("enabled");
    let mut registries = discovery.section("registries");
    let (mut kubernetes, mut service) =
        (registries.section("kubernetes"), registries.section("service"));
    if let Some(value) = kubernetes.take("disabled").filter(|_| enabled != Some(false))
        && value.bool() == Some(false)
    {
        let message = "Talos 1.14 keeps the discovery by Kubernetes only in its older style";
        let help = "discover by a service:\nkind: DiscoveryServiceConfig\nname: default\n\
                    endpoint: https://discovery.talos.dev/";
        output.refuse(&value, message, help);
    }
    let disabled = service.bool("disabled");
    let endpoint = service.take("endpoint");
    for fields in [kubernetes, service, registries, discovery] {
        fields.finish(output);
    }
    if enabled == Some(false) || disabled == Some(true) {
        output.delete(KIND, None, &[]);
        return;
    }
    if let Some(endpoint) = endpoint {
        output.open(KIND, Some("default"), &endpoint).set("endpoint", endpoint.clone());
    } else if enabled == Some(true) || disabled == Some(false) {
        output.beneath(KIND, Some("default"), &["endpoint"], "https://discovery.talos.dev/");
    }
}

/// Translates the network plug-in; gives the URLs of its manifests.
fn cni(rest: &mut Tree, output: &mut Output) -> Vec<Tree> {
    let Some(mut cni) = output::section(rest, "cluster.network.cni") else { return Vec::new() };
    let name = cni.text("name");
    let urls = cni.items("urls");
    let mut flannel = cni.section("flannel");
    let is_flannel = match &name {
        Some((_, name)) if name == "flannel" => true,
        Some((_, name)) if name == "none" || name == "custom" => {
            output.delete(FLANNEL, None, &[]);
            false
        }
        Some((value, _)) => {
            let help = "write flannel, none or custom";
            output.invalid(value, "this is no network plug-in that Talos knows", help);
            false
        }
        None => !flannel.is_empty(),
    };
    for key in ["extraArgs", "kubeNetworkPoliciesEnabled"] {
        if let Some(value) = flannel.take(key).filter(|_| is_flannel) {
            output.put(FLANNEL, key, value);
        }
    }
    if is_flannel {
        output.beneath(FLANNEL, None, &["backendType"], "vxlan");
        output.beneath(FLANNEL, None, &["backendPort"], Tree::from(Data::Int(4789)));
    }
    flannel.finish(output);
    cni.finish(output);
    urls
}

fn manifests(cni: Vec<Tree>, rest: &mut Tree, output: &mut Output) {
    let extra = output::take(rest, "cluster.extraManifests");
    let headers = output::take(rest, "cluster.extraManifestHeaders");
    let extra = extra.map(|list| list.items().to_vec()).unwrap_or_default();
    if let Some(headers) = headers.as_ref().filter(|_| extra.is_empty() && cni.is_empty()) {
        let help = "write them at each manifest:\nkind: KubeExternalManifestConfig\nname: NAME\n\
                    url: ...\nheaders: ...";
        output.refuse(headers, "Talos 1.14 has no headers for all manifests", help);
    }
    let single = cni.len() == 1;
    let cni = cni.into_iter().map(|url| (single.then_some("custom-cni"), url));
    for (name, url) in extra.into_iter().map(|url| (None, url)).chain(cni) {
        let text = url.text().unwrap_or_default();
        if !text.starts_with("https://") && !text.starts_with("http://") {
            let message = "Talos 1.14 fetches manifests by http and https alone";
            output.refuse(&url, message, "write an URL that begins with https://");
            continue;
        }
        let name = name.map_or_else(|| manifest_name(text), str::to_owned);
        let document = output.open("KubeExternalManifestConfig", Some(&name), &url);
        document.set("url", url.clone());
        if let Some(headers) = &headers {
            document.set("headers", headers.clone());
        }
    }
    let Some(list) = output::take(rest, "cluster.inlineManifests") else { return };
    for item in list.items() {
        let mut manifest = Fields::new("cluster.inlineManifests", item.clone());
        let name = manifest.text("name").map(|(_, name)| name).unwrap_or_default();
        let contents = manifest.take("contents").unwrap_or_else(|| Tree::from(""));
        manifest.finish(output);
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if name.is_empty() || !name.chars().all(named) {
            let message = "a manifest's name has lower-case letters, digits, `-` and `.` in it";
            output.invalid(item, message, "rename it");
            continue;
        }
        output.open("KubeInlineManifestConfig", Some(&name), item).set("manifest", contents);
    }
}

/// A name for the manifest at a URL: its file's, and what tells it from all others.
fn manifest_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_ascii_lowercase();
    let sane: String = stem
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(40)
        .collect();
    let digest = Digest::of(url.as_bytes()).to_string();
    format!("{}-{digest:.6}", sane.trim_matches('-')).trim_start_matches('-').to_owned()
}
