//! The `sops` mapping: how a file is encrypted, and for whom.
//!
//! In: the documents. Out: [`Metadata`], and the [`DataKey`].
//!
//! Source: SOPS 3.13, `stores/stores.go`, `stores/metadata.go` (the first document's mapping holds
//! for all), `sops.go`, `GetDataKeyWithKeyServices`.
//!
//! Not here: which values are encrypted (`super::rule`); key groups, of which several must give a
//! part of the key, and key services other than age.

use zeroize::Zeroizing;

use super::cipher::DataKey;
use super::envelope::{self, Wrong};
use super::identity::Identities;
use super::rule::Rule;
use super::{KEY, envelope_error};
use crate::report::Diagnostic;
use crate::yaml::Node;

/// The bytes of a data key.
const DATA_KEY_BYTES: usize = 32;

/// The most recipients of a file, and the most bytes of the data key's copy for one. A copy has some
/// 400 bytes; each recipient in one costs a Diffie-Hellman exchange per identity, and aliases could
/// make any number of copies.
const MAX_RECIPIENTS: usize = 512;
const MAX_COPY_BYTES: usize = 8 << 10;

/// The key services other than age, by their keys in the mapping.
const SERVICES: [(&str, &str); 6] = [
    ("pgp", "PGP"),
    ("kms", "AWS KMS"),
    ("gcp_kms", "GCP KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "HashiCorp Vault"),
    ("hckms", "Huawei Cloud KMS"),
];

/// The `sops` mapping of a file.
pub(super) struct Metadata<'a> {
    sops: &'a Node,
    pub(super) rule: Rule,
    /// What the MAC is of.
    pub(super) scope: Scope,
    /// The encrypted MAC.
    pub(super) mac: Spot<'a>,
    /// When the file was last changed, which the MAC authenticates.
    pub(super) last_modified: &'a str,
}

/// A text and the node that it is of.
pub(super) struct Spot<'a> {
    pub(super) node: &'a Node,
    pub(super) text: &'a str,
}

/// Which values the MAC is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Encrypted,
}

impl<'a> Metadata<'a> {
    /// Reads the first document's mapping.
    pub(super) fn read(documents: &'a [Node]) -> Result<Self, Diagnostic> {
        let first = documents.first().map(|node| (node, node.get(KEY)));
        let sops = match first {
            Some((_, Some(sops))) => sops,
            Some((node, None)) => return Err(broken(node, "the first document has no `sops`")),
            None => return Err(Diagnostic::error("sops-metadata", "the file is empty")),
        };
        let need = |key: &str| {
            let missing = || broken(sops, &format!("`sops` has no text `{key}`"));
            let node = sops.get(key).ok_or_else(missing)?;
            Ok(Spot { node, text: node.text().ok_or_else(missing)? })
        };
        let scope = match sops.get("mac_only_encrypted").and_then(Node::text) {
            Some("true" | "True" | "TRUE") => Scope::Encrypted,
            _ => Scope::All,
        };
        let (mac, last_modified) = (need("mac")?, need("lastmodified")?.text);
        Ok(Self { sops, rule: Rule::read(sops)?, scope, mac, last_modified })
    }

    /// The key of the values, by the first identity that opens one of its copies.
    pub(super) fn data_key(&self, identities: &Identities) -> Result<DataKey, Diagnostic> {
        let group = self.group()?;
        let recipients = list(group, "age");
        if recipients.is_empty() {
            return Err(self.no_age(group));
        }
        if let Some(more) = recipients.get(MAX_RECIPIENTS) {
            let message = format!("the file has more than {MAX_RECIPIENTS} age recipients");
            return Err(broken(more, &message));
        }
        let mut worst = (Wrong::NoIdentity, group);
        for recipient in recipients {
            let Some(text) = recipient.get("enc").and_then(Node::text) else {
                return Err(broken(recipient, "this recipient has no text `enc`"));
            };
            if text.len() > MAX_COPY_BYTES {
                let message = format!("this data key has more than {} KiB", MAX_COPY_BYTES >> 10);
                return Err(broken(recipient, &message));
            }
            match envelope::open(text.as_bytes(), identities, DATA_KEY_BYTES) {
                Ok(bytes) => return data_key(recipient, &bytes),
                Err(Wrong::NoIdentity) => {}
                // A data key that is too long is none of SOPS.
                Err(Wrong::TooLarge) => worst = (Wrong::Damaged, recipient),
                Err(wrong) => worst = (wrong, recipient),
            }
        }
        Err(envelope_error(worst.0, &worst.1.place(), identities))
    }

    /// The node that has the recipients: the mapping itself, or its only group.
    fn group(&self) -> Result<&'a Node, Diagnostic> {
        let services = SERVICES.iter().map(|&(key, _)| key);
        let is_flat = services.chain(["age"]).any(|key| !list(self.sops, key).is_empty());
        match list(self.sops, "key_groups") {
            [] => Ok(self.sops),
            _ if is_flat => Ok(self.sops),
            [group] => Ok(group),
            [group, ..] => {
                let message = "the key of this file is shared between several key groups, which is \
                               not supported";
                Err(Diagnostic::error("sops-key-groups", message)
                    .at(group.place())
                    .help("encrypt it with one group: `sops --age age1…`"))
            }
        }
    }

    fn no_age(&self, group: &Node) -> Diagnostic {
        let of_service = |&(key, _): &(&str, _)| !list(group, key).is_empty();
        let names: Vec<_> =
            SERVICES.iter().filter(|service| of_service(service)).map(|&(_, name)| name).collect();
        let message = match names.as_slice() {
            [] => "this file is encrypted for nobody".to_owned(),
            _ => format!("this file is encrypted with {}, and not with age", names.join(", ")),
        };
        Diagnostic::error("sops-no-age", message)
            .at(self.sops.place())
            .help("add an age recipient: `sops rotate --in-place --add-age age1…`")
    }
}

/// The items of a list; none where there is no list.
fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::items).unwrap_or_default()
}

fn data_key(recipient: &Node, bytes: &Zeroizing<Vec<u8>>) -> Result<DataKey, Diagnostic> {
    let message = "the data key of this recipient is not of 32 bytes";
    DataKey::new(bytes).ok_or_else(|| broken(recipient, message))
}

fn broken(node: &Node, message: &str) -> Diagnostic {
    Diagnostic::error("sops-metadata", message)
        .at(node.place())
        .help("take the file anew from where it was encrypted")
}
