//! Manifests that are applied at the bootstrap, and static pods.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/k8s`: `inline_manifest.go`, `external_manifest.go`,
//! `static_pod.go`.
//!
//! Not here: what the manifests hold; Talos does not look either.

use super::found::Found;
use super::url::Url;
use super::{Context, name, view};
use crate::config::tree::Tree;

fn named(doc: &Tree, what: &str, found: &mut Found) {
    let text = view::text(doc, &["name"]);
    let named = name::required(doc, what, found);
    if let Some(problem) = name::dns_1123_problem(text).filter(|_| named) {
        let message = format!("the name `{text}` {problem}");
        let at = view::place(doc, &["name"]);
        found.refuse(at, "talos-dns-name", message, "write a name such as `10-cilium`");
    }
}

pub(super) fn inline(doc: &Tree, _: Context, found: &mut Found) {
    named(doc, "manifest", found);
}

pub(super) fn external(doc: &Tree, _: Context, found: &mut Found) {
    named(doc, "manifest", found);
    let url = Url::parse(view::text(doc, &["url"])).unwrap_or_default();
    if !matches!(url.scheme.to_lowercase().as_str(), "http" | "https") {
        let at = view::place(doc, &["url"]);
        let message = "the manifest has no URL of `http` or `https`";
        found.refuse(at, "talos-manifest-url", message, "write `url: https://host.example/x.yaml`");
    }
}

pub(super) fn static_pod(doc: &Tree, _: Context, found: &mut Found) {
    named(doc, "static pod", found);
    if !view::is_set(doc, &["pod"]) {
        let message = "the static pod has no `pod`";
        found.refuse(doc, "talos-static-pod", message, "add it, as Kubernetes has it");
    }
}
