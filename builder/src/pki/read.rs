//! A secrets bundle's text, as values.
//!
//! In: the bytes of `secrets.yaml`, or of its rendition in JSON. Out: a [`Bundle`], or every
//! problem with its place.
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/secrets.go` (the keys: names of
//! Go's fields, lower-cased in YAML and as they are in JSON) and `bundle.go`; like Talos' reader it
//! passes over keys that it does not know, but says where one is nearly a known one: Talos would
//! load such a bundle as if the value were missing.
//!
//! Not here: what must be true of CAs and keys (`check`). No message quotes a value.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::check::{Check, Found};
use super::key::PrivateKey;
use super::secret::Secret;
use super::{Authority, Bundle, EncryptionSecret, Loaded, MAX_BYTES, SECRET_BYTES, pem, random};
use crate::report::{Diagnostic, Place, Severity};
use crate::yaml::{self, Node, Value, meant};

/// The longest value that is looked at, in bytes: ten times the base64 of an RSA key of 4096 bits.
const MAX_VALUE: usize = 48 << 10;

/// What stands in Talos' output in place of a private key that is not shown.
const REDACTED: &str = "******";

const SECTIONS: &[&str] = &["cluster", "secrets", "trustdinfo", "certs"];
const CLUSTER: &[&str] = &["id", "secret"];
const SECRETS: &[&str] = &["bootstraptoken", "aescbcencryptionsecret", "secretboxencryptionsecret"];
const TRUSTD: &[&str] = &["token"];
const CERTS: &[&str] = &["etcd", "k8s", "k8saggregator", "k8sserviceaccount", "os"];
const PAIR: &[&str] = &["crt", "key"];
const KEY: &[&str] = &["key"];

/// Reads a bundle.
pub(super) fn bundle(file: &str, bytes: &[u8], now: SystemTime) -> Result<Loaded, Vec<Diagnostic>> {
    let start = Place { file: file.to_owned(), line: 1, column: 1 };
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the bundle is larger than {}", crate::units::Size(MAX_BYTES));
        let error = Diagnostic::error("bundle-too-large", message).at(start);
        return Err(vec![error.help("is this the right file?")]);
    }
    let documents = yaml::parse(file, bytes).map_err(|error| vec![error])?;
    let Some(root) = documents.first().filter(|root| root.entries().is_some()) else {
        let error = Diagnostic::error("bundle-document", "this is no secrets bundle");
        return Err(vec![error.at(start).help("`talosctl gen secrets` writes one")]);
    };
    let names = match bytes.trim_ascii_start().first() {
        Some(b'{') => Names::Json,
        _ => Names::Yaml,
    };
    let mut reader = Reader { names, check: Check { now, findings: Vec::new() } };
    if let Some(second) = documents[1..].iter().find(|node| !node.is_null()) {
        let message = "Talos reads the first document of a bundle alone".to_owned();
        reader.check.warn("bundle-documents", message, &second.place(), "drop the others");
    }
    let bundle = reader.bundle(root);
    let mut findings = reader.check.findings;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    match bundle.filter(|_| !failed) {
        Some(bundle) => Ok(Loaded { bundle, warnings: findings }),
        None => Err(findings),
    }
}

/// How the keys of a file are compared.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// To the letter, as go-yaml does.
    Yaml,
    /// Without regard to case, as Go's `encoding/json` does.
    Json,
}

struct Reader {
    names: Names,
    check: Check,
}

/// A mapping of the bundle, and its path for messages.
struct Section<'a> {
    path: String,
    node: &'a Node,
}

impl Section<'_> {
    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

impl Reader {
    fn bundle(&mut self, root: &Node) -> Option<Bundle> {
        let root = &Section { path: String::new(), node: root };
        self.near_misses(root, SECTIONS);
        let cluster = self.section(root, "cluster", CLUSTER);
        let cluster_id = cluster.as_ref().and_then(|section| self.cluster_id(section));
        let cluster_secret = cluster.as_ref().and_then(|section| self.cluster_secret(section));
        let secrets = self.section(root, "secrets", SECRETS);
        let bootstrap_token =
            secrets.as_ref().and_then(|section| self.text(section, "bootstraptoken"));
        let bootstrap_token = bootstrap_token.and_then(|text| self.check.bootstrap_token(text));
        let encryption = secrets.as_ref().and_then(|section| self.encryption(section));
        let trustd = self.section(root, "trustdinfo", TRUSTD);
        let trustd_token = trustd.as_ref().and_then(|section| self.trustd_token(section));
        let certs = &self.section(root, "certs", CERTS)?;
        let etcd = self.authority(certs, "etcd");
        let k8s = self.authority(certs, "k8s");
        let k8s_aggregator = self.authority(certs, "k8saggregator");
        let k8s_service_account = self.service_account(certs);
        let os = self.authority(certs, "os");
        Some(Bundle {
            cluster_id: cluster_id?,
            cluster_secret: cluster_secret?,
            bootstrap_token: bootstrap_token?,
            encryption: encryption?,
            trustd_token: trustd_token?,
            etcd: etcd?,
            k8s: k8s?,
            k8s_aggregator: k8s_aggregator?,
            k8s_service_account: k8s_service_account?,
            os: os?,
        })
    }

    /// Any text: it is compared and never decoded.
    fn cluster_id(&mut self, cluster: &Section<'_>) -> Option<Secret> {
        let found = self.text(cluster, "id")?;
        if found.text.reveal().chars().any(char::is_control) {
            let message = format!("`{}` holds a control character", found.name);
            self.check.error("bundle-cluster-id", message, &found.place, "take it out");
            return None;
        }
        Some(found.text)
    }

    /// The key of AES-256 for what the discovery service stores.
    fn cluster_secret(&mut self, cluster: &Section<'_>) -> Option<Secret> {
        let found = self.text(cluster, "secret")?;
        if decoded_len(found.text.reveal()) != Some(SECRET_BYTES) {
            let message = format!("`{}` is not the base64 of {SECRET_BYTES} bytes", found.name);
            let help =
                "copy it again, with its padding; one can be made by `openssl rand -base64 32`";
            self.check.error("bundle-cluster-secret", message, &found.place, help);
            return None;
        }
        Some(found.text)
    }

    /// Any text, but all that Talos makes are tokens.
    fn trustd_token(&mut self, trustd: &Section<'_>) -> Option<Secret> {
        let found = self.text(trustd, "token")?;
        let text = found.text.reveal();
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let message = format!("`{}` holds a space or a control character", found.name);
            self.check.error("pki-token", message, &found.place, "take it out");
            return None;
        }
        if !random::is_token(text) {
            let message = format!("`{}` does not look like one that Talos made", found.name);
            let help = "make sure that it is the cluster's, and as hard to guess";
            self.check.warn("pki-token", message, &found.place, help);
        }
        Some(found.text)
    }

    fn encryption(&mut self, secrets: &Section<'_>) -> Option<EncryptionSecret> {
        let secretbox = self.optional(secrets, "secretboxencryptionsecret");
        let aescbc = self.optional(secrets, "aescbcencryptionsecret");
        let (found, lengths): (_, &[usize]) = match (&secretbox, &aescbc) {
            (Some(found), None) => (found, &[32]),
            (None, Some(found)) => (found, &[16, 24, 32]),
            (Some(_), Some(second)) => {
                let message = "the bundle has two encryption secrets".to_owned();
                let help = "keep the one that the cluster's data in etcd are encrypted with";
                self.check.error("bundle-encryption", message, &second.place, help);
                return None;
            }
            (None, None) => {
                let message = "the bundle has no encryption secret for etcd".to_owned();
                let help = "add `secrets.secretboxencryptionsecret`, or the old cluster's \
                            `secrets.aescbcencryptionsecret`";
                self.check.error("bundle-encryption", message, &secrets.node.place(), help);
                return None;
            }
        };
        if !decoded_len(found.text.reveal()).is_some_and(|len| lengths.contains(&len)) {
            let message = format!("`{}` is not the base64 of a key of 32 bytes", found.name);
            let place = found.place.clone();
            let help = "copy it again, with its padding";
            self.check.error("bundle-encryption", message, &place, help);
            return None;
        }
        let secretbox = secretbox.map(|found| EncryptionSecret::Secretbox(found.text));
        secretbox.or(aescbc.map(|found| EncryptionSecret::AesCbc(found.text)))
    }

    fn authority(&mut self, certs: &Section<'_>, key: &str) -> Option<Authority> {
        let section = self.section(certs, key, PAIR)?;
        let (crt, key) = (self.pem(&section, "crt"), self.pem(&section, "key"));
        self.check.authority(&section.path, crt, key)
    }

    fn service_account(&mut self, certs: &Section<'_>) -> Option<PrivateKey> {
        let section = self.section(certs, "k8sserviceaccount", KEY)?;
        let key = self.pem(&section, "key")?;
        self.check.key(key)
    }

    /// The PEM text in a value.
    fn pem(&mut self, section: &Section<'_>, key: &str) -> Option<Found> {
        let found = self.text(section, key)?;
        let problem = match pem::from_base64(found.text.reveal()) {
            Some(text) => return Some(Found { text, ..found }),
            None if found.text.reveal() == REDACTED => Diagnostic::error(
                "bundle-redacted",
                format!("`{}` was taken out before the bundle was shown", found.name),
            )
            .help("take the bundle from where it was saved whole"),
            None if found.text.reveal().contains("-----BEGIN ") => Diagnostic::error(
                "bundle-base64",
                format!("`{}` is PEM, and must be the base64 of PEM", found.name),
            )
            .help("encode it once more: `base64 -w0`"),
            None => Diagnostic::error(
                "bundle-base64",
                format!("`{}` is not the base64 of a PEM text", found.name),
            )
            .help("copy it again, with its padding"),
        };
        self.check.findings.push(problem.at(found.place));
        None
    }

    fn get<'a>(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let same = |name: &str| match self.names {
            Names::Yaml => name == key,
            Names::Json => name.eq_ignore_ascii_case(key),
        };
        let mut entries = node.entries()?.iter();
        entries.find(|entry| same(&entry.key)).map(|entry| &entry.value)
    }

    /// A part of the bundle that must be there.
    fn section<'a>(
        &mut self,
        parent: &Section<'a>,
        key: &str,
        keys: &[&str],
    ) -> Option<Section<'a>> {
        let name = parent.path_of(key);
        let Some(node) = self.get(parent.node, key).filter(|node| !node.is_null()) else {
            self.missing(parent, &name);
            return None;
        };
        if node.entries().is_none() {
            let message = format!("`{name}` is {}, and must be a mapping", node.kind());
            let help = format!("its keys are `{}`", keys.join("`, `"));
            self.check.error("bundle-type", message, &node.place(), &help);
            return None;
        }
        let section = Section { path: name, node };
        self.near_misses(&section, keys);
        Some(section)
    }

    /// A text that must be there.
    fn text(&mut self, section: &Section<'_>, key: &str) -> Option<Found> {
        match self.get(section.node, key).filter(|node| !is_empty(node)) {
            Some(_) => self.optional(section, key),
            None => {
                self.missing(section, &section.path_of(key));
                None
            }
        }
    }

    /// A text, where it is there and not empty.
    fn optional(&mut self, section: &Section<'_>, key: &str) -> Option<Found> {
        let node = self.get(section.node, key).filter(|node| !is_empty(node))?;
        let (name, place) = (section.path_of(key), node.place());
        let is_binary = node.tag() == Some("tag:yaml.org,2002:binary");
        let Some(text) = node.text().filter(|_| !is_binary) else {
            let what = if is_binary { "binary" } else { node.kind() };
            let message = format!("`{name}` is {what}, and must be a text");
            self.check.error("bundle-type", message, &place, "write its text, on one line");
            return None;
        };
        if text.len() > MAX_VALUE {
            let message = format!("`{name}` is longer than any secret");
            self.check.error("bundle-value", message, &place, "is this the right value?");
            return None;
        }
        Some(Found { name, place, text: Secret::new(text.to_owned()) })
    }

    fn missing(&mut self, section: &Section<'_>, name: &str) {
        let message = format!("the bundle has no `{name}`");
        let help = "a bundle's keys are written in small letters and without separators";
        self.check.error("bundle-missing", message, &section.node.place(), help);
    }

    /// Warns of keys that are nearly known ones.
    fn near_misses(&mut self, section: &Section<'_>, keys: &[&str]) {
        let Value::Mapping(entries) = section.node.value() else { return };
        for entry in entries {
            let is_known = |key: &&&str| match self.names {
                Names::Yaml => entry.key == **key,
                Names::Json => entry.key.eq_ignore_ascii_case(key),
            };
            if keys.iter().any(|key| is_known(&key)) {
                continue;
            }
            if let Some(key) = meant::nearest(&entry.key, keys.iter().copied()) {
                let message = format!("this key is nearly `{key}`, and Talos passes over it");
                let help = format!("write `{key}`");
                self.check.warn("bundle-key", message, &entry.place, &help);
            }
        }
    }
}

/// Whether Go would read it as an empty text.
fn is_empty(node: &Node) -> bool {
    node.is_null() || node.text() == Some("")
}

/// The length of what a base64 with padding holds.
fn decoded_len(text: &str) -> Option<usize> {
    STANDARD.decode(text).ok().map(Zeroizing::new).map(|bytes| bytes.len())
}
