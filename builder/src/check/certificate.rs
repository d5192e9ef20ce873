//! The CAs in configs: whether they are valid now, and whether their keys are theirs.
//!
//! In: nodes, the time. Out: findings.
//!
//! Source: RFC 5280, chapter 4.1.2.5; Talos `pkg/machinery/config/types/v1alpha1/`, where PEM is in
//! base64, and `pkg/machinery/config/types/k8s/`, where it is not.
//!
//! Not here: what cannot be read at all (`config::valid`), and whether nodes have the same CAs
//! (`secret`).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use der::DateTime;

use super::found::Findings;
use super::view::{Node, either};
use crate::config::tree::Tree;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::pem;
use crate::pki::secret::Secret;

/// How long before its end a CA is warned of.
const SOON: Duration = Duration::from_secs(90 * 24 * 3600);

/// CAs: name, kind of document, path of the older one.
const CAS: [(&str, &str, &[&str]); 4] = [
    ("Talos", "", &["machine", "ca"]),
    ("Kubernetes", "KubeAPIServerCAConfig", &["cluster", "ca"]),
    ("the aggregator", "KubeAggregatorCAConfig", &["cluster", "aggregatorCA"]),
    ("etcd", "", &["cluster", "etcd", "ca"]),
];

/// Looks at each CA once, however many nodes have it.
pub(super) fn check(nodes: &[Node<'_>], now: SystemTime, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for node in nodes {
        for (name, kind, main) in CAS {
            let Some(pair) = either(node.member.documents, kind, &["issuingCA"], main) else {
                continue;
            };
            let (crt, key) = (pair.get("cert").or_else(|| pair.get("crt")), pair.get("key"));
            let (crt_text, key_text) = (crt.and_then(Tree::text), key.and_then(Tree::text));
            if !seen.insert((crt_text, key_text)) {
                continue;
            }
            let Some(certificate) = crt_text.and_then(certificate) else { continue };
            validity(node, name, &certificate, crt, now, found);
            let key = key_text.and_then(|text| PrivateKey::parse(plain(text)?).ok());
            if key.is_some_and(|key| !certificate.is_of(&key)) {
                let text = format!("has a key of the CA of {name} that is not its certificate's");
                let help = "take both from one secrets bundle; it shows only when the node issues";
                found.node("ca-foreign-key", node, pair.get("key"), text, help);
            }
        }
    }
}

/// PEM, which stands as such or in base64.
fn plain(text: &str) -> Option<Secret> {
    if text.contains("-----BEGIN") {
        return Some(Secret::new(text.to_owned()));
    }
    pem::from_base64(text)
}

fn certificate(text: &str) -> Option<Certificate> {
    Certificate::parse(plain(text)?.reveal().to_owned()).ok()
}

fn validity(
    node: &Node<'_>,
    name: &str,
    certificate: &Certificate,
    at: Option<&Tree>,
    now: SystemTime,
    found: &mut Findings,
) {
    let (from, to) = (certificate.not_before(), certificate.not_after());
    let help = "rotate it: neither Talos nor Kubernetes renews a CA";
    if to < now {
        let text = format!("has a CA of {name} that expired at {}", date(to));
        found.node("ca-expired", node, at, text, help);
    } else if to.duration_since(now).is_ok_and(|left| left < SOON) {
        let text = format!("has a CA of {name} that expires at {}", date(to));
        found.node("ca-expires-soon", node, at, text, help);
    }
    if now < from {
        let text = format!("has a CA of {name} that is valid only from {}", date(from));
        let help = "compare this machine's clock with that of the one which made it";
        found.node("ca-not-yet-valid", node, at, text, help);
    }
}

/// A time as RFC 3339 writes it.
fn date(time: SystemTime) -> String {
    DateTime::from_system_time(time).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
