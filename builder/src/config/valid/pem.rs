//! Certificates and keys in a config.
//!
//! In: PEM. Out: what is wrong with it.
//!
//! Source: Go `encoding/pem` and `crypto/x509` (`AppendCertsFromPEM`); Talos
//! `pkg/machinery/config/types/meta/certificate_key.go`; `github.com/siderolabs/crypto/x509`.
//!
//! Not here: whether a key is that of a certificate; Talos does not ask when it validates.

use super::found::Found;
use super::{go, view};
use crate::config::tree::Tree;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::secret::Secret;

/// The labels of the blocks of a text, and where each begins.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = line_start(rest, "-----BEGIN ") {
        let begin = &rest[at..];
        rest = &begin["-----BEGIN ".len()..];
        let Some((label, body)) = rest.split_once("-----") else { break };
        let end = format!("-----END {label}-----");
        let Some(end) = line_start(body, &end) else { continue };
        let lines = body[..end].lines().filter(|line| !line.contains(':'));
        let packed: String = lines.map(|line| line.trim_matches([' ', '\t', '\r'])).collect();
        if go::base64(&packed).is_some() && !label.contains('\n') {
            found.push((label, begin));
            rest = &body[end..];
        }
    }
    found
}

fn line_start(text: &str, mark: &str) -> Option<usize> {
    let starts = text.match_indices(mark).map(|(at, _)| at);
    starts.into_iter().find(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// Whether a text is PEM of certificates alone, whatever they hold.
fn is_certificates(text: &str) -> bool {
    let blocks = blocks(text);
    !blocks.is_empty() && blocks.iter().all(|(label, _)| *label == "CERTIFICATE")
}

/// Whether the first certificate of a text loads.
fn certificate_loads(text: &str) -> bool {
    Certificate::parse(text.to_owned()).is_ok()
}

/// Whether the first private key of a text loads.
pub(super) fn key_loads(text: &str) -> bool {
    PrivateKey::parse(Secret::new(text.to_owned())).is_ok()
}

/// Whether any certificate of a text loads.
pub(super) fn holds_certificate(text: &str) -> bool {
    let blocks = blocks(text);
    blocks.iter().any(|(label, block)| *label == "CERTIFICATE" && certificate_loads(block))
}

/// How much is asked of a pair of certificate and key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// That both are PEM.
    Text,
    /// That both load.
    Loads,
}

/// Says what is wrong with a pair of `cert` and `key`.
pub(super) fn pair(at: &Tree, depth: Depth, found: &mut Found) {
    let (cert, key) = (view::text(at, &["cert"]), view::text(at, &["key"]));
    let loads = depth == Depth::Loads;
    if !is_certificates(cert) || (loads && !certificate_loads(cert)) {
        let at = view::place(at, &["cert"]);
        let message = "the certificate is missing, or is no PEM of a certificate";
        found.refuse(at, "talos-certificate", message, "put the whole PEM text under `cert: |`");
    }
    if blocks(key).is_empty() || (loads && !key_loads(key)) {
        let at = view::place(at, &["key"]);
        let message = "the key is missing, or is no PEM of a private key";
        found.refuse(at, "talos-private-key", message, "put the whole PEM text under `key: |`");
    }
}

/// Says which certificates of a list are none.
pub(super) fn accepted(doc: &Tree, found: &mut Found) {
    for item in view::items(doc, &["acceptedCAs"]) {
        if !is_certificates(item.text().unwrap_or_default()) {
            let message = "an accepted CA is no PEM of a certificate";
            found.refuse(item, "talos-certificate", message, "put the whole PEM text there");
        }
    }
}

/// Says what is wrong with the `cert` and `key` that a registry is shown: before 1.14 both must
/// load, and the key be PKCS #8.
pub(super) fn registry_identity(at: &Tree, found: &mut Found) {
    pair(at, Depth::Loads, found);
    let key = blocks(view::text(at, &["key"]));
    if key.first().is_some_and(|(label, _)| matches!(*label, "RSA PRIVATE KEY" | "EC PRIVATE KEY"))
    {
        let at = view::place(at, &["key"]);
        let message = "the key is not in PKCS #8, which Talos before 1.14 wants here";
        let help = "write it anew with `openssl pkcs8 -topk8 -nocrypt`";
        found.refuse(at, "talos-private-key", message, help);
    }
}
