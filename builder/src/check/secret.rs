//! Secrets that all nodes of a cluster share, and keys that workers must not have.
//!
//! In: nodes. Out: findings, which never show a secret.
//!
//! Source: Talos `pkg/machinery/config/generate/{controlplane,worker}.go` (who has what),
//! `pkg/machinery/config/config/cluster.go` (accepted CAs).
//!
//! Not here: whether certificates are good (`certificate`).

use super::found::Findings;
use super::view::{Node, either};
use crate::config::tree::Tree;
use crate::pki::pem;
use crate::pki::secret::Secret;

/// A secret and where it stands: kind of document and path there, path in the older document.
struct Shared {
    /// What it is, in messages.
    name: &'static str,
    kind: &'static str,
    path: &'static [&'static str],
    main: &'static [&'static str],
    /// Whether only control planes have it.
    planes: bool,
}

const SHARED: [Shared; 9] = [
    Shared {
        name: "Talos' token",
        kind: "",
        path: &[],
        main: &["machine", "token"],
        planes: false,
    },
    Shared {
        name: "the bootstrap token",
        kind: "",
        path: &[],
        main: &["cluster", "token"],
        planes: false,
    },
    Shared {
        name: "the cluster's ID",
        kind: "DiscoveryIdentityConfig",
        path: &["clusterID"],
        main: &["cluster", "id"],
        planes: false,
    },
    Shared {
        name: "the cluster's secret",
        kind: "DiscoveryIdentityConfig",
        path: &["clusterSecret"],
        main: &["cluster", "secret"],
        planes: false,
    },
    Shared {
        name: "the encryption of Kubernetes' secrets",
        kind: "KubeEtcdEncryptionConfig",
        path: &["config"],
        main: &["cluster", "secretboxEncryptionSecret"],
        planes: true,
    },
    Shared {
        name: "the older encryption of Kubernetes' secrets",
        kind: "",
        path: &[],
        main: &["cluster", "aescbcEncryptionSecret"],
        planes: true,
    },
    Shared {
        name: "the service accounts' key",
        kind: "KubeServiceAccountConfig",
        path: &["issuer", "privateKey"],
        main: &["cluster", "serviceAccount", "key"],
        planes: true,
    },
    Shared {
        name: "etcd's CA",
        kind: "",
        path: &[],
        main: &["cluster", "etcd", "ca", "crt"],
        planes: true,
    },
    Shared {
        name: "the aggregator's CA",
        kind: "KubeAggregatorCAConfig",
        path: &["issuingCA", "cert"],
        main: &["cluster", "aggregatorCA", "crt"],
        planes: true,
    },
];

/// A CA that all nodes trust, and others that they may trust beside it.
struct Trusted {
    name: &'static str,
    kind: &'static str,
    main: &'static str,
}

const TRUSTED: [Trusted; 2] = [
    Trusted { name: "Talos' CA", kind: "", main: "machine" },
    Trusted { name: "Kubernetes' CA", kind: "KubeAPIServerCAConfig", main: "cluster" },
];

/// Keys that only control planes have: kind of document and path there, path in the older one.
const PLANES_KEYS: [(&str, &str, &[&str], &[&str]); 7] = [
    ("Talos' CA", "", &[], &["machine", "ca", "key"]),
    ("Kubernetes' CA", "KubeAPIServerCAConfig", &["issuingCA", "key"], &["cluster", "ca", "key"]),
    (
        "the aggregator's CA",
        "KubeAggregatorCAConfig",
        &["issuingCA", "key"],
        &["cluster", "aggregatorCA", "key"],
    ),
    ("etcd's CA", "", &[], &["cluster", "etcd", "ca", "key"]),
    (
        "service accounts",
        "KubeServiceAccountConfig",
        &["issuer", "privateKey"],
        &["cluster", "serviceAccount", "key"],
    ),
    (
        "Kubernetes' secrets",
        "KubeEtcdEncryptionConfig",
        &["config"],
        &["cluster", "secretboxEncryptionSecret"],
    ),
    ("Kubernetes' secrets", "", &[], &["cluster", "aescbcEncryptionSecret"]),
];

/// Compares the nodes' secrets.
pub(super) fn check(nodes: &[Node<'_>], found: &mut Findings) {
    for shared in &SHARED {
        alike(nodes, shared, found);
    }
    for trusted in &TRUSTED {
        trust(nodes, trusted, found);
    }
    for node in nodes.iter().filter(|node| !node.is_controlplane()) {
        for (name, kind, path, main) in PLANES_KEYS {
            let held = either(node.member.documents, kind, path, main);
            if let Some(tree) = held.filter(|tree| !is_nothing(tree)) {
                let text = format!("is a worker and holds the key of {name}");
                let help = "take it out of the worker's config: who has it rules the cluster";
                found.node("worker-key", node, Some(tree), text, help);
            }
        }
    }
}

fn is_nothing(tree: &Tree) -> bool {
    tree.text().map_or(tree.entries().is_empty(), str::is_empty)
}

/// A secret to compare, whichever of the two forms it has.
enum Value<'a> {
    Tree(&'a Tree),
    Pem(Secret),
}

impl Value<'_> {
    /// What a value holds: PEM stands as such, or in base64.
    fn of(tree: &Tree) -> Value<'_> {
        let text = tree.text().unwrap_or_default();
        let packed = text.starts_with("LS0t").then(|| pem::from_base64(text)).flatten();
        match packed {
            Some(pem) => Value::Pem(pem),
            None if text.trim_start().starts_with("-----BEGIN") => {
                Value::Pem(Secret::new(text.to_owned()))
            }
            None => Value::Tree(tree),
        }
    }

    fn is(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Tree(one), Value::Tree(other)) => one == other,
            (Self::Pem(one), Value::Pem(other)) => one.reveal().trim() == other.reveal().trim(),
            _ => false,
        }
    }
}

const HELP: &str = "make all nodes' configs from one secrets bundle";

fn alike(nodes: &[Node<'_>], shared: &Shared, found: &mut Findings) {
    let mut first: Option<(&str, Value<'_>)> = None;
    for node in nodes.iter().filter(|node| node.is_controlplane() || !shared.planes) {
        let held = either(node.member.documents, shared.kind, shared.path, shared.main);
        let Some(tree) = held.filter(|tree| !is_nothing(tree)) else { continue };
        let value = Value::of(tree);
        match &first {
            None => first = Some((node.member.name, value)),
            // An older config and a newer one hold the encryption in ways that do not compare.
            Some((_, Value::Tree(one))) if one.text().is_some() != tree.text().is_some() => {}
            Some((other, one)) if !one.is(&value) => {
                let text = format!("differs from node `{other}` in {}", shared.name);
                found.node("secrets-mixed", node, Some(tree), text, HELP);
            }
            Some(_) => {}
        }
    }
}

fn trust(nodes: &[Node<'_>], trusted: &Trusted, found: &mut Findings) {
    let mut first: Option<(&str, Value<'_>)> = None;
    // A worker's newer config has no CA of its own, but those that it accepts.
    let (planes, workers): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.is_controlplane());
    for node in planes.into_iter().chain(workers) {
        let documents = node.member.documents;
        let main = [trusted.main, "ca", "crt"];
        let own = either(documents, trusted.kind, &["issuingCA", "cert"], &main);
        let main = [trusted.main, "acceptedCAs"];
        let accepted = either(documents, trusted.kind, &["acceptedCAs"], &main);
        let accepted = accepted.into_iter().flat_map(Tree::items);
        let accepted = accepted.map(|tree| tree.get("crt").unwrap_or(tree));
        let all: Vec<&Tree> = own.into_iter().chain(accepted).filter(|t| !is_nothing(t)).collect();
        let Some(&tree) = all.first() else { continue };
        match &first {
            None => first = Some((node.member.name, Value::of(tree))),
            Some((other, one)) if !all.iter().any(|own| one.is(&Value::of(own))) => {
                let text = format!("does not trust {} of node `{other}`", trusted.name);
                found.node("secrets-mixed", node, Some(tree), text, HELP);
            }
            Some(_) => {}
        }
    }
}
