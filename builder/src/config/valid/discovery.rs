//! The documents of the cluster's discovery, and of SideroLink.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/cluster`, `pkg/machinery/config/types/siderolink`.
//!
//! Not here: what discovery needs besides (`whole`).

use super::found::Found;
use super::url::Url;
use super::{Context, Rule, go, name, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("DiscoveryIdentityConfig", identity),
    ("DiscoveryServiceConfig", service),
    ("SideroLinkConfig", siderolink),
];

fn identity(doc: &Tree, _: Context, found: &mut Found) {
    if view::text(doc, &["clusterID"]).is_empty() {
        let message = "the cluster has no ID";
        found.refuse(doc, "talos-cluster-id", message, "add `clusterID`, the same for all nodes");
    }
    let secret = go::base64(view::text(doc, &["clusterSecret"]));
    if secret.is_none_or(|secret| secret.len() != 32) {
        let at = view::place(doc, &["clusterSecret"]);
        let message = "the secret of the cluster is missing, or is not of 32 bytes in base64";
        found.refuse(at, "talos-cluster-secret", message, "take it from the secrets bundle");
    }
}

fn service(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "discovery service", found);
    let url = Url::parse(view::text(doc, &["endpoint"])).unwrap_or_default();
    let known = matches!(url.scheme.to_lowercase().as_str(), "http" | "https" | "grpc");
    if !known || url.hostname().is_empty() {
        let at = view::place(doc, &["endpoint"]);
        let message = "the discovery service has no URL of `http`, `https` or `grpc` with a host";
        found.refuse(
            at,
            "talos-discovery-endpoint",
            message,
            "write `https://discovery.talos.dev/`",
        );
    }
}

fn siderolink(doc: &Tree, _: Context, found: &mut Found) {
    let url = Url::parse(view::text(doc, &["apiUrl"])).unwrap_or_default();
    let known = matches!(url.scheme.to_lowercase().as_str(), "https" | "grpc");
    if !known || !matches!(url.path, "" | "/") {
        let at = view::place(doc, &["apiUrl"]);
        let message = "the API of SideroLink has no URL of `https` or `grpc` without a path";
        found.refuse(
            at,
            "talos-siderolink-url",
            message,
            "write `apiUrl: grpc://host.example:8099`",
        );
    }
}
