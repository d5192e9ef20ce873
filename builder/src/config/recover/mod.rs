//! A cluster's secrets bundle out of the config of one of its control planes.
//!
//! In: [`Documents`] of any release, and the time. Out: the bundle, with warnings.
//!
//! Source: Talos `pkg/machinery/config/generate/secrets/bundle.go` (`NewBundleFromConfig`) in the
//! release v1.14.1. Talos gives back whatever it finds, be it half a bundle; here all that is
//! missing is named, and an AES-CBC secret is found in Talos 1.14's documents, too.
//!
//! Not here: what must be true of CAs, keys and tokens (`pki`). No message quotes a value.

use std::time::SystemTime;

use zeroize::Zeroizing;

use super::documents::Documents;
use super::generate::encryption_at_rest;
use super::schema::MAIN;
use super::tree::{Data, Tree};
use crate::pki::secret::Secret;
use crate::pki::{Bundle, EncryptionSecret, Loaded, pem};
use crate::report::{Diagnostic, Place, Severity};

/// Recovers the bundle that a config was made from.
///
/// # Errors
///
/// What the config does not hold, and everything that is wrong with what it holds. A worker's config
/// is refused: it never has more than a part.
pub fn bundle(config: &Documents, now: SystemTime) -> Result<Loaded, Vec<Diagnostic>> {
    let main = control_plane(config).map_err(|error| vec![error])?;
    let mut draft = Draft::new(config, main);
    for line in LAYOUT {
        match line {
            Line::Section(text) => draft.push(text, None),
            Line::Value(key, name, spots) => draft.value(key, name, spots),
            Line::Encryption => draft.encryption(),
        }
    }
    let Draft { text, places, mut findings, .. } = draft;
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    // What a sound bundle is, its own reader alone says. In the text that it is given every value
    // has a line of its own, so that what it finds goes back to where the value came from.
    let back = |finding: Diagnostic| {
        let line = finding.place.as_ref().and_then(|place| usize::try_from(place.line).ok());
        let place = line.and_then(|line| places.get(line.checked_sub(1)?)?.clone());
        Diagnostic { place, ..finding }
    };
    match Bundle::parse("", text.as_bytes(), now) {
        Ok(loaded) => {
            findings.extend(loaded.warnings.into_iter().map(back));
            Ok(Loaded { bundle: loaded.bundle, warnings: findings })
        }
        Err(errors) => {
            findings.extend(errors.into_iter().map(back));
            Err(findings)
        }
    }
}

/// The document of machine and cluster, if it is that of a control plane.
fn control_plane(config: &Documents) -> Result<&Tree, Diagnostic> {
    let Some(main) = config.main() else {
        let message = "the config has no document of machine and cluster";
        let error = Diagnostic::error("recover-missing", message);
        return Err(error.help("take the whole config of a control plane"));
    };
    let kind = main.at(&["machine", "type"]);
    match kind.and_then(Tree::text) {
        Some("controlplane" | "init") => Ok(main),
        _ => {
            let message = "only the config of a control plane holds all secrets of its cluster";
            let error = kind.unwrap_or(main).error("recover-worker", message);
            Err(error.help("take that of a node whose `machine.type` is `controlplane`"))
        }
    }
}

/// Where a value may stand: the kind of the document, the path in it, and its form.
type Spot = (&'static str, &'static [&'static str], Form);

/// How a config holds a value.
#[derive(Clone, Copy)]
enum Form {
    /// As the bundle does.
    Same,
    /// As plain PEM, where the bundle has its base64.
    Pem,
}

/// A line of the bundle.
enum Line {
    /// The head of a section.
    Section(&'static str),
    /// A value: its key with its indentation, its path in the bundle, and where it may stand.
    Value(&'static str, &'static str, &'static [Spot]),
    /// The secret with which Kubernetes encrypts its own.
    Encryption,
}

use Form::{Pem, Same};
use Line::{Encryption, Section, Value};

/// The bundle, and where its values stand: up to 1.13 all in the document of machine and cluster.
/// No config that Talos takes has one in two places.
const LAYOUT: [Line; 23] = [
    Section("cluster:"),
    Value(
        "  id",
        "cluster.id",
        &[(MAIN, &["cluster", "id"], Same), ("DiscoveryIdentityConfig", &["clusterID"], Same)],
    ),
    Value(
        "  secret",
        "cluster.secret",
        &[
            (MAIN, &["cluster", "secret"], Same),
            ("DiscoveryIdentityConfig", &["clusterSecret"], Same),
        ],
    ),
    Section("secrets:"),
    Value("  bootstraptoken", "secrets.bootstraptoken", &[(MAIN, &["cluster", "token"], Same)]),
    Encryption,
    Section("trustdinfo:"),
    Value("  token", "trustdinfo.token", &[(MAIN, &["machine", "token"], Same)]),
    Section("certs:"),
    Section("  etcd:"),
    Value("    crt", "certs.etcd.crt", &[(MAIN, &["cluster", "etcd", "ca", "crt"], Same)]),
    Value("    key", "certs.etcd.key", &[(MAIN, &["cluster", "etcd", "ca", "key"], Same)]),
    Section("  k8s:"),
    Value(
        "    crt",
        "certs.k8s.crt",
        &[
            ("KubeAPIServerCAConfig", &["issuingCA", "cert"], Pem),
            (MAIN, &["cluster", "ca", "crt"], Same),
        ],
    ),
    Value(
        "    key",
        "certs.k8s.key",
        &[
            ("KubeAPIServerCAConfig", &["issuingCA", "key"], Pem),
            (MAIN, &["cluster", "ca", "key"], Same),
        ],
    ),
    Section("  k8saggregator:"),
    Value(
        "    crt",
        "certs.k8saggregator.crt",
        &[
            ("KubeAggregatorCAConfig", &["issuingCA", "cert"], Pem),
            (MAIN, &["cluster", "aggregatorCA", "crt"], Same),
        ],
    ),
    Value(
        "    key",
        "certs.k8saggregator.key",
        &[
            ("KubeAggregatorCAConfig", &["issuingCA", "key"], Pem),
            (MAIN, &["cluster", "aggregatorCA", "key"], Same),
        ],
    ),
    Section("  k8sserviceaccount:"),
    Value(
        "    key",
        "certs.k8sserviceaccount.key",
        &[
            ("KubeServiceAccountConfig", &["issuer", "privateKey"], Pem),
            (MAIN, &["cluster", "serviceAccount", "key"], Same),
        ],
    ),
    Section("  os:"),
    Value("    crt", "certs.os.crt", &[(MAIN, &["machine", "ca", "crt"], Same)]),
    Value("    key", "certs.os.key", &[(MAIN, &["machine", "ca", "key"], Same)]),
];

/// What Talos shows in place of a secret (`RedactSecrets`).
const REDACTED: &str = "******";

/// A bundle's text that is being written.
struct Draft<'c> {
    config: &'c Documents,
    main: &'c Tree,
    text: Zeroizing<String>,
    /// For every line, where its value came from.
    places: Vec<Option<Place>>,
    findings: Vec<Diagnostic>,
}

impl<'c> Draft<'c> {
    fn new(config: &'c Documents, main: &'c Tree) -> Self {
        let text = Zeroizing::new(String::new());
        Self { config, main, text, places: Vec::new(), findings: Vec::new() }
    }

    fn push(&mut self, line: &str, place: Option<Place>) {
        self.text.extend([line, "\n"]);
        self.places.push(place);
    }

    /// Adds a text, whatever is in it: strings of JSON are such of YAML.
    fn push_text(&mut self, key: &str, text: &str, origin: &Tree) {
        let quoted = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
        let line = Zeroizing::new(format!("{key}: {}", *quoted));
        self.push(&line, origin.place());
    }

    fn value(&mut self, key: &str, name: &str, spots: &[Spot]) {
        let found = spots.iter().find_map(|&(kind, path, form)| {
            let tree = self.config.get(kind, None)?.at(path)?;
            tree.text().filter(|text| !text.is_empty()).map(|text| (tree, text, form))
        });
        match found {
            Some((tree, REDACTED, _)) => {
                let message = format!("the bundle's `{name}` was taken out of this config");
                let help = "take the config as the node has it, not as it is shown";
                self.findings.push(tree.error("recover-redacted", message).help(help));
            }
            Some((tree, text, Same)) => self.push_text(key, text, tree),
            Some((tree, text, Pem)) => self.push_text(key, pem::to_base64(text).reveal(), tree),
            None => {
                let place = |&(kind, path, _): &Spot| match kind {
                    MAIN => format!("`{}`", path.join(".")),
                    kind => format!("`{}` of {kind}", path.join(".")),
                };
                let places: Vec<String> = spots.iter().map(place).collect();
                let message = format!("the config does not hold the bundle's `{name}`");
                let help = format!("it would stand in {}", places.join(" or "));
                self.findings.push(self.main.error("recover-missing", message).help(help));
            }
        }
    }

    fn encryption(&mut self) {
        let main = self.main;
        if let Some(document) = self.config.get("KubeEtcdEncryptionConfig", None) {
            return self.encryption_document(document);
        }
        let secretbox: Spot = (MAIN, &["cluster", "secretboxEncryptionSecret"], Same);
        let aescbc: Spot = (MAIN, &["cluster", "aescbcEncryptionSecret"], Same);
        let old = main.at(aescbc.1).filter(|_| main.text_at(aescbc.1).is_some());
        match (main.text_at(secretbox.1), old) {
            (Some(_), Some(old)) => {
                let message = "the config has two encryption secrets, and a bundle holds one";
                let help = "write all of Kubernetes' secrets anew, which encrypts them with \
                            `secretboxEncryptionSecret`; then take this one out of all control planes";
                self.findings.push(old.error("recover-encryption", message).help(help));
            }
            (None, Some(_)) => {
                let name = "secrets.aescbcencryptionsecret";
                self.value("  aescbcencryptionsecret", name, &[aescbc]);
            }
            _ => {
                let name = "secrets.secretboxencryptionsecret";
                self.value("  secretboxencryptionsecret", name, &[secretbox]);
            }
        }
    }

    /// Takes the key that Kubernetes writes its secrets with: the first of the first provider.
    fn encryption_document(&mut self, document: &Tree) {
        let resources = document.at(&["config", "resources"]).map(Tree::items).unwrap_or_default();
        let of_secrets = resources.iter().find(|resource| {
            let names = resource.get("resources").map(Tree::items).unwrap_or_default();
            names.iter().any(|name| name.text() == Some("secrets"))
        });
        let provider = of_secrets.and_then(|resource| resource.get("providers")?.items().first());
        let key = |kind: &str| {
            let secret = provider?.at(&[kind, "keys"])?.items().first()?.get("secret")?;
            let text = secret.text().filter(|text| !text.is_empty())?;
            Some((secret, Secret::new(text.to_owned())))
        };
        let secretbox =
            key("secretbox").map(|(tree, text)| (tree, EncryptionSecret::Secretbox(text)));
        let aescbc = || key("aescbc").map(|(tree, text)| (tree, EncryptionSecret::AesCbc(text)));
        let Some((tree, secret)) = secretbox.or_else(aescbc) else {
            let message = "what Kubernetes encrypts its secrets with first is neither `secretbox` \
                           nor `aescbc`, and a bundle holds nothing else";
            let help = "write the bundle by hand, with a new encryption secret; let one patch \
                        delete the generated document and the next add this one";
            let at = provider.or(of_secrets).unwrap_or(document);
            self.findings.push(at.error("recover-encryption", message).help(help));
            return;
        };
        let generated = encryption_at_rest(&secret);
        if !document.get("config").is_some_and(|config| is_same(config, &generated)) {
            let message = "KubeEtcdEncryptionConfig says more than a bundle holds";
            let help = "keep it: let one patch delete the generated document and the next add this \
                        one; what its other keys and providers have encrypted could not be read \
                        without them";
            self.findings.push(document.warning("recover-encryption", message).help(help));
        }
        match &secret {
            EncryptionSecret::Secretbox(text) => {
                self.push_text("  secretboxencryptionsecret", text.reveal(), tree);
            }
            EncryptionSecret::AesCbc(text) => {
                self.push_text("  aescbcencryptionsecret", text.reveal(), tree);
            }
        }
    }
}

/// Whether two values say the same; the order of keys says nothing.
fn is_same(one: &Tree, other: &Tree) -> bool {
    match (one.data(), other.data()) {
        (Data::Map(one), Data::Map(entries)) => {
            let has = |(key, value): &(String, Tree)| {
                other.get(key).is_some_and(|other| is_same(value, other))
            };
            one.len() == entries.len() && one.iter().all(has)
        }
        (Data::List(one), Data::List(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| is_same(one, other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
