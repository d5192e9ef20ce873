//! What must be true of CAs and keys that come from outside, beyond what Talos asks.
//!
//! In: PEM texts and the places that they came from. Out: CAs and keys, and [`Diagnostic`]s.
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/bundle.go#Validate` asks that
//! certificates and keys can be read. That they belong together, are of CAs and are valid now is
//! asked here: else it shows when a node first issues from them.
//!
//! Not here: where the texts stand in a file (`read`, `kubeadm`).

use std::time::{Duration, SystemTime};

use der::DateTime;

use super::certificate::Certificate;
use super::key::PrivateKey;
use super::random;
use super::secret::Secret;
use super::{Authority, Error};
use crate::report::{Diagnostic, Place};

/// How long before its end a CA is warned of.
const SOON: Duration = Duration::from_secs(90 * 24 * 3600);

/// A value, where it stands, and its name for messages.
pub(super) struct Found {
    /// The value's name, such as `certs.etcd.crt`.
    pub(super) name: String,
    /// Where it stands.
    pub(super) place: Place,
    /// The value.
    pub(super) text: Secret,
}

/// The findings so far.
pub(super) struct Check {
    /// The time.
    pub(super) now: SystemTime,
    /// What was found.
    pub(super) findings: Vec<Diagnostic>,
}

impl Check {
    /// Says what is wrong with a value.
    pub(super) fn error(&mut self, code: &'static str, message: String, at: &Place, help: &str) {
        self.findings.push(Diagnostic::error(code, message).at(at.clone()).help(help));
    }

    /// Says what is worth a look.
    pub(super) fn warn(&mut self, code: &'static str, message: String, at: &Place, help: &str) {
        self.findings.push(Diagnostic::warning(code, message).at(at.clone()).help(help));
    }

    /// A CA from its certificate and key, where all of it is sound.
    pub(super) fn authority(
        &mut self,
        name: &str,
        crt: Option<Found>,
        key: Option<Found>,
    ) -> Option<Authority> {
        let crt_at = crt.as_ref().map(|crt| crt.place.clone());
        let key_at = key.as_ref().map(|key| key.place.clone());
        let certificate = crt.and_then(|crt| self.certificate(crt));
        let key = key.and_then(|key| self.key(key));
        let (certificate, crt_at) = (certificate?, crt_at?);
        self.validity(name, &certificate, &crt_at);
        if !certificate.is_ca() || !certificate.may_sign_certificates() {
            let message = format!("`{name}` is not a certificate of a CA that may sign others");
            let help = "it needs the basic constraint CA and the key usage keyCertSign";
            self.error("pki-no-ca", message, &crt_at, help);
            return None;
        }
        let (key, key_at) = (key?, key_at?);
        let authority = Authority::new(certificate, key);
        if authority.is_err() {
            let message = format!("the key of `{name}` does not belong to its certificate");
            let help = "take both from the same CA; Talos would fail only when it issues from it";
            self.error("pki-foreign-key", message, &key_at, help);
        }
        authority.ok()
    }

    fn certificate(&mut self, crt: Found) -> Option<Certificate> {
        let certificate = Certificate::parse(crt.text.reveal().to_owned());
        let Found { name, place, .. } = crt;
        match certificate {
            Ok(certificate) => return Some(certificate),
            Err(Error::Pem | Error::Label(_)) => self.error(
                "pki-pem",
                format!("`{name}` does not begin with a certificate in PEM"),
                &place,
                "its first block must start with `-----BEGIN CERTIFICATE-----`",
            ),
            Err(_) => self.error(
                "pki-certificate",
                format!("the certificate in `{name}` cannot be read"),
                &place,
                "see what `openssl x509 -text` says of it; it is damaged or breaks RFC 5280",
            ),
        }
        None
    }

    /// A private key, where it can be read.
    pub(super) fn key(&mut self, key: Found) -> Option<PrivateKey> {
        let Found { name, place, text } = key;
        match PrivateKey::parse(text) {
            Ok(key) => return Some(key),
            Err(Error::Pem | Error::Label(_)) => self.error(
                "pki-pem",
                format!("`{name}` does not begin with a private key in PEM"),
                &place,
                "its first block must be an unencrypted private key; drop `EC PARAMETERS` before it",
            ),
            Err(_) => self.error(
                "pki-key",
                format!("the private key in `{name}` cannot be read"),
                &place,
                "Talos takes unencrypted Ed25519, ECDSA and RSA keys, the last of 2048 bits or more",
            ),
        }
        None
    }

    fn validity(&mut self, name: &str, certificate: &Certificate, at: &Place) {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        let help = "Talos and Kubernetes cannot renew a CA by themselves; rotate it";
        if to < self.now {
            let message = format!("the certificate in `{name}` expired at {}", date(to));
            self.error("pki-expired", message, at, help);
        } else if to.duration_since(self.now).is_ok_and(|left| left < SOON) {
            let message = format!("the certificate in `{name}` expires at {}", date(to));
            self.warn("pki-expires-soon", message, at, help);
        }
        if self.now < from {
            let message = format!("the certificate in `{name}` is valid only from {}", date(from));
            let help = "compare this machine's clock with that of the one which made it";
            self.warn("pki-not-yet-valid", message, at, help);
        }
    }

    /// A bootstrap token, where it has its form.
    pub(super) fn bootstrap_token(&mut self, token: Found) -> Option<Secret> {
        let Found { name, place, text } = token;
        if random::is_token(text.reveal()) {
            return Some(text);
        }
        let message = format!("`{name}` is no bootstrap token, so no kubelet could join with it");
        let help = "write 6, a dot and 16 characters, each of `0-9a-z`";
        self.error("pki-token", message, &place, help);
        None
    }
}

/// A time as RFC 3339 writes it.
fn date(time: SystemTime) -> String {
    DateTime::from_system_time(time).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
