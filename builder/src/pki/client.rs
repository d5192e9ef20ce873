//! Clients' files: talosconfig and kubeconfig.
//!
//! In: names, addresses, a CA's certificate, credentials. Out: the files' texts.
//!
//! Source: siderolabs/talos `pkg/machinery/client/config/config.go` (talosconfig) and
//! `pkg/kubeconfig/generate.go`; "kubeconfig (v1)",
//! <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.
//!
//! Not here: issuing the credentials (`issue`), and merging with files that are there already.

use super::certificate::Certificate;
use super::issue::Credentials;
use super::secret::Secret;
use super::write::{Content, Line, scalar, yaml};

/// The text of a talosconfig with one context, as Talos writes it. `ca` is the CA of Talos' API;
/// `endpoints` are those that talosctl asks, each a host or an address, with a port or without;
/// `nodes` are those that it asks about, and may be empty.
pub fn talosconfig(
    context: &str,
    endpoints: &[&str],
    nodes: &[&str],
    ca: &Certificate,
    client: &Credentials,
) -> Secret {
    let name = scalar(context);
    let scalars = |texts: &[&str]| texts.iter().map(|text| scalar(text)).collect::<Vec<_>>();
    let (endpoint_items, node_items) = (scalars(endpoints), scalars(nodes));
    let mut lines = vec![
        Line::text(0, "context", context),
        Line::below(0, "contexts"),
        Line::below(4, name.reveal()),
    ];
    let value = if endpoints.is_empty() { Content::EmptyList } else { Content::Below };
    lines.push(Line { indent: 8, key: "endpoints", value });
    lines.extend(endpoint_items.iter().map(item));
    if !nodes.is_empty() {
        lines.push(Line::below(8, "nodes"));
        lines.extend(node_items.iter().map(item));
    }
    lines.push(Line::pem(8, "ca", ca.pem()));
    lines.push(Line::pem(8, "crt", client.certificate.pem()));
    lines.push(Line::pem(8, "key", client.key.pem().reveal()));
    yaml(&lines)
}

fn item(scalar: &Secret) -> Line<'_> {
    Line { indent: 12, key: scalar.reveal(), value: Content::Item }
}

/// The text of an administrator's kubeconfig. `endpoint` is the URL of Kubernetes' API, `ca`
/// Kubernetes' CA.
pub fn kubeconfig(cluster: &str, endpoint: &str, ca: &Certificate, admin: &Credentials) -> Secret {
    let user = format!("admin@{cluster}");
    yaml(&[
        Line::text(0, "apiVersion", "v1"),
        Line::below(0, "clusters"),
        Line::below(0, "- cluster"),
        Line::pem(4, "certificate-authority-data", ca.pem()),
        Line::text(4, "server", endpoint),
        Line::text(2, "name", cluster),
        Line::below(0, "contexts"),
        Line::below(0, "- context"),
        Line::text(4, "cluster", cluster),
        Line::text(4, "namespace", "default"),
        Line::text(4, "user", &user),
        Line::text(2, "name", &user),
        Line::text(0, "current-context", &user),
        Line::text(0, "kind", "Config"),
        Line::below(0, "users"),
        Line::text(0, "- name", &user),
        Line::below(2, "user"),
        Line::pem(4, "client-certificate-data", admin.certificate.pem()),
        Line::pem(4, "client-key-data", admin.key.pem().reveal()),
    ])
}
