//! Which secrets a machine config holds: yes or no, never their values; and what must not be shown.
//!
//! In: the documents of a config. Out: names of secrets, and whether each is there. Or in: a place.
//! Out: whether a value that stands there may be a secret.
//!
//! Source: what Talos itself takes out before it shows a config, the `Redact` methods under
//! `pkg/machinery/config/types/`.
//!
//! Not here: finding secrets in places that Talos cannot know either, such as files and manifests.

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

/// Keys below which people write what they like, secrets too.
const FREE: [&str; 11] = [
    "content",
    "contents",
    "env",
    "environment",
    "variables",
    "headers",
    "extraManifestHeaders",
    "pods",
    "pod",
    "auth",
    "key",
];

/// What the names of secrets have in them, in lower case.
const WORDS: [&str; 8] = [
    "secret",
    "token",
    "password",
    "passphrase",
    "privatekey",
    "presharedkey",
    "credential",
    "apikey",
];

/// Whether a value at a place of a machine config may be a secret: it is one of Talos', or in a place
/// where anything may be, or it is named like one.
///
/// `kind` is the document's, empty for the one without; in `path`, `*` is an item of a list.
pub fn hides(kind: &str, path: &[&str]) -> bool {
    let known = SECRETS.iter().flat_map(|(_, spots)| *spots).any(|&(of, spot)| {
        let mut spot = spot.split('.');
        let mut steps = path.iter();
        (of == "*" || of == kind)
            && spot.all(|want| steps.next().is_some_and(|step| want == "*" || *step == want))
    });
    known || path.iter().any(|step| FREE.contains(step) || is_name(step))
}

/// Whether something that has this name may be a secret.
pub fn is_name(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '_', '.'], "");
    WORDS.iter().any(|word| name.contains(word))
}

/// Whether a value looks like a secret wherever it stands: a key in PEM, or a URL with credentials
/// or a query, where keys are often put.
pub fn is_value(text: &str) -> bool {
    let url = text.split_once("://").map(|(_, rest)| rest);
    let authority = url.and_then(|rest| rest.split(['/', '?', '#']).next());
    text.contains("PRIVATE KEY")
        || authority.is_some_and(|authority| authority.contains('@'))
        || url.is_some_and(|rest| rest.contains('?'))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        let main: [&[&str]; 8] = [
            &["machine", "token"],
            &["machine", "ca", "key"],
            &["cluster", "secretboxEncryptionSecret"],
            &["machine", "files", "*", "content"],
            &["machine", "env", "HTTPS_PROXY"],
            &["machine", "systemDiskEncryption", "state", "keys", "*", "static", "passphrase"],
            &["cluster", "apiServer", "extraArgs", "oidc-client-secret"],
            &["machine", "network", "interfaces", "*", "wireguard", "privateKey"],
        ];
        main.iter().for_each(|path| assert!(hides("", path), "{path:?}"));
        assert!(hides("SideroLinkConfig", &["apiUrl"]));
        assert!(hides("UserVolumeConfig", &["encryption", "keys", "*", "static", "passphrase"]));
        assert!(!hides("KmsgLogConfig", &["apiUrl"]));
        assert!(!hides("", &["machine", "network", "hostname"]));
        assert!(!hides("", &["machine", "ca", "crt"]));
    }

    #[test]
    fn what_looks_like_a_secret_is_one() {
        assert!(is_value("https://user:word@proxy.example:3128"));
        assert!(is_value("https://x.example/config?key=1"));
        assert!(is_value("-----BEGIN EC PRIVATE KEY-----"));
        assert!(!is_value("https://192.0.2.1:6443/a@b"));
        assert!(is_name("http_api-Key") && is_name("GITHUB_TOKEN") && !is_name("hostname"));
    }
}
