//! The components of Kubernetes: images, arguments, resources.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/k8s`: `apiserver.go`, `controller_manager.go`,
//! `scheduler.go`, `proxy.go`, `kubelet.go`, `flannel.go`, `common.go`; `pkg/machinery/kubelet`.
//!
//! Not here: which version of an image a Talos runs (`kubernetes`).

use super::found::Found;
use super::{Context, view};
use crate::config::tree::Tree;

fn image(doc: &Tree, found: &mut Found) {
    if view::text(doc, &["image"]).is_empty() {
        let message = "the component has no image";
        let help = "add `image`, with the version of Kubernetes as its tag";
        found.refuse(view::place(doc, &["image"]), "talos-image", message, help);
    }
}

/// Says which resources of a pod are neither processor nor memory.
pub(super) fn resources(resources: &Tree, found: &mut Found) {
    for path in ["requests", "limits"] {
        for (key, value) in view::entries(resources, &[path]) {
            if key != "cpu" && key != "memory" {
                let message = format!("`{key}` is no resource that Talos sets for its pods");
                found.refuse(value, "talos-pod-resource", message, "keep to `cpu` and `memory`");
            }
        }
    }
}

fn own_resources(doc: &Tree, found: &mut Found) {
    if let Some(at) = doc.get("resources") {
        resources(at, found);
    }
}

/// The controller manager, or the scheduler.
pub(super) fn component(doc: &Tree, _: Context, found: &mut Found) {
    if !view::is_off(doc, &["enabled"]) {
        image(doc, found);
        own_resources(doc, found);
    }
}

/// The arguments of the API server that documents have taken the place of.
const DENIED: [(&str, &str); 7] = [
    ("oidc-signing-algs", "drop it: all asymmetric algorithms are accepted"),
    ("anonymous-auth", "write a KubeAuthenticationConfig"),
    ("oidc-", "write a KubeAuthenticationConfig"),
    ("authentication-config", "write a KubeAuthenticationConfig"),
    ("authorization-config", "write a KubeAuthorizerConfig"),
    ("authorization-mode", "write a KubeAuthorizerConfig"),
    ("authorization-webhook-", "write a KubeAuthorizerConfig"),
];

pub(super) fn api_server(doc: &Tree, _: Context, found: &mut Found) {
    image(doc, found);
    for (argument, value) in view::entries(doc, &["extraArgs"]) {
        if let Some((_, help)) = DENIED.iter().find(|(prefix, _)| argument.starts_with(prefix)) {
            let message = format!("the API server may not be given `--{argument}` here");
            found.refuse(value, "talos-api-server-argument", message, *help);
        }
    }
    own_resources(doc, found);
}

pub(super) fn proxy(doc: &Tree, _: Context, found: &mut Found) {
    if view::is_off(doc, &["enabled"]) {
        return;
    }
    image(doc, found);
    let at = view::place(doc, &["mode"]);
    match view::text(doc, &["mode"]) {
        "" | "nftables" => {}
        mode @ ("iptables" | "ipvs") => {
            let message = format!("the mode `{mode}` of kube-proxy is on its way out");
            found.warn(at, "talos-proxy-old-mode", message, "write `nftables`");
        }
        mode => {
            let message = format!("kube-proxy has no mode `{mode}`");
            found.refuse(at, "talos-proxy-mode", message, "write `nftables`");
        }
    }
    if view::is_set(doc, &["extraArgs"]) {
        let at = view::place(doc, &["extraArgs"]);
        let message = "kube-proxy takes most arguments from its configuration alone";
        found.warn(at, "talos-proxy-arguments", message, "put them under `config`");
    }
    own_resources(doc, found);
}

pub(super) fn flannel(doc: &Tree, _: Context, found: &mut Found) {
    if view::text(doc, &["backendType"]).is_empty() {
        let message = "flannel has no backend";
        found.refuse(doc, "talos-flannel-backend", message, "write `backendType: vxlan`");
    }
    own_resources(doc, found);
}

/// The fields of the kubelet's configuration that Talos sets itself.
const KUBELET_FIELDS: [&str; 13] = [
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "kubeletCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "systemCgroups",
    "staticPodPath",
    "seccompDefault",
];

/// Says which fields of the kubelet's configuration may not be set.
pub(super) fn kubelet_fields(doc: &Tree, key: &str, found: &mut Found) {
    for (field, value) in view::entries(doc, &[key]) {
        if KUBELET_FIELDS.contains(&field.as_str()) {
            let message = format!("Talos sets `{field}` of the kubelet itself");
            found.refuse(value, "talos-kubelet-field", message, "drop it");
        }
    }
}

pub(super) fn kubelet(doc: &Tree, _: Context, found: &mut Found) {
    image(doc, found);
    kubelet_fields(doc, "config", found);
}
