//! Which secrets a machine config holds: yes or no, never their values.
//!
//! In: the documents of a config. Out: names of secrets, and whether each is there.
//!
//! Source: what Talos itself takes out before it shows a config, the `Redact` methods under
//! `pkg/machinery/config/types/`.
//!
//! Not here: secrets in places that Talos cannot know either, such as files and manifests.

use crate::yaml::{Node, Value};

/// A place where a secret may be: the kind of the document (empty: the one without a kind, `*`:
/// any) and the path in it, where `*` is every key or item.
type Spot = (&'static str, &'static str);

/// The secrets and where each may be.
const SECRETS: [(&str, &[Spot]); 15] = [
    ("machine CA key", &[("", "machine.ca.key")]),
    ("machine token", &[("", "machine.token")]),
    ("cluster CA key", &[("", "cluster.ca.key"), ("KubeAPIServerCAConfig", "issuingCA.key")]),
    ("cluster secret", &[("", "cluster.secret"), ("DiscoveryIdentityConfig", "clusterSecret")]),
    ("bootstrap token", &[("", "cluster.token")]),
    ("etcd CA key", &[("", "cluster.etcd.ca.key")]),
    (
        "aggregator CA key",
        &[("", "cluster.aggregatorCA.key"), ("KubeAggregatorCAConfig", "issuingCA.key")],
    ),
    (
        "service account key",
        &[("", "cluster.serviceAccount.key"), ("KubeServiceAccountConfig", "issuer.privateKey")],
    ),
    (
        "encryption secret of etcd's data",
        &[
            ("", "cluster.secretboxEncryptionSecret"),
            ("", "cluster.aescbcEncryptionSecret"),
            ("KubeEtcdEncryptionConfig", "config.resources.*.providers.*.*.keys.*.secret"),
        ],
    ),
    (
        "disk encryption passphrase",
        &[
            ("", "machine.systemDiskEncryption.*.keys.*.static.passphrase"),
            ("*", "encryption.keys.*.static.passphrase"),
        ],
    ),
    (
        "WireGuard private key",
        &[
            ("", "machine.network.interfaces.*.wireguard.privateKey"),
            ("WireguardConfig", "privateKey"),
        ],
    ),
    ("WireGuard preshared key", &[("WireguardConfig", "peers.*.presharedKey")]),
    (
        "registry credentials",
        &[
            ("", "machine.registries.config.*.auth.password"),
            ("", "machine.registries.config.*.auth.auth"),
            ("", "machine.registries.config.*.auth.identityToken"),
            ("", "machine.registries.config.*.tls.clientIdentity.key"),
            ("RegistryAuthConfig", "password"),
            ("RegistryAuthConfig", "auth"),
            ("RegistryAuthConfig", "identityToken"),
            ("RegistryTLSConfig", "clientIdentity.key"),
        ],
    ),
    (
        "cloud API token",
        &[
            ("", "machine.network.interfaces.*.vip.*.apiToken"),
            ("", "machine.network.interfaces.*.vlans.*.vip.*.apiToken"),
            ("HCloudVIPConfig", "apiToken"),
        ],
    ),
    (
        "SideroLink join token",
        &[("SideroLinkConfig", "apiUrl"), ("SideroLinkConfig", "uniqueToken")],
    ),
];

/// Every known secret, and whether one of the documents has it.
pub(super) fn present(documents: &[&Node]) -> Vec<(&'static str, bool)> {
    let found = |spots: &[Spot]| {
        spots.iter().any(|&(kind, path)| {
            let of_kind =
                |node: &&Node| kind == "*" || node.get("kind").and_then(Node::text) == named(kind);
            documents.iter().copied().filter(of_kind).any(|node| has(node, path))
        })
    };
    SECRETS.iter().map(|&(name, spots)| (name, found(spots))).collect()
}

fn named(kind: &str) -> Option<&str> {
    (!kind.is_empty()).then_some(kind)
}

/// Whether a text that is not empty stands at the path.
fn has(node: &Node, path: &str) -> bool {
    let Some((key, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, "")))
    else {
        return node.text().is_some_and(|text| !text.is_empty());
    };
    match node.value() {
        Value::Sequence(items) => key == "*" && items.iter().any(|item| has(item, rest)),
        Value::Mapping(entries) => {
            entries.iter().any(|entry| (key == "*" || entry.key == key) && has(&entry.value, rest))
        }
        Value::Scalar(_) => false,
    }
}
