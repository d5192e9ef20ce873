//! Encrypted files: SOPS documents, and whole files in age, opened in memory alone.
//!
//! In: the bytes of a file, and [`Identities`]. Out: the plain bytes, wiped when they are dropped.
//!
//! Source: SOPS 3.13, <https://github.com/getsops/sops>: `sops.go` (the walk and the MAC),
//! `aes/cipher.go` (a value), `age/keysource.go` (where identities are), `stores/` (the `sops`
//! mapping); age, <https://age-encryption.org/v1>, by the crate `age`.
//!
//! Not here: encrypting; where a file comes from; what the plain document means. No message quotes
//! a value. No program is run and nobody is asked for a key: plugins, passphrases and the key
//! services of clouds are refused by name.

use zeroize::Zeroizing;

use crate::report::{Diagnostic, Place};
use crate::yaml::{self, Node};

mod cipher;
mod envelope;
pub mod identity;
mod metadata;
mod rule;
mod time;
mod value;
mod walk;
mod write;

use envelope::Wrong;
use identity::Identities;
use metadata::Metadata;

/// The largest plain file that is given back, in bytes, four times a machine config; of a few bytes,
/// aliases could make any number.
pub const MAX_BYTES: usize = 16 << 20;

/// The key of the mapping in which SOPS keeps what it needs to decrypt.
const KEY: &str = "sops";

/// Whether documents are encrypted with SOPS: one has a mapping `sops` with a `mac`.
pub fn is_encrypted(documents: &[Node]) -> bool {
    documents.iter().any(|node| node.get(KEY).is_some_and(|sops| sops.get("mac").is_some()))
}

/// Whether bytes are a file that is encrypted as a whole with age, in binary or in armor.
pub fn is_age(bytes: &[u8]) -> bool {
    envelope::is_age(bytes)
}

/// Opens a file that is encrypted with SOPS, in YAML or JSON, or as a whole with age.
///
/// Of a SOPS file this gives YAML: the documents, keys and values in their order, each value of the
/// type that it had when it was encrypted, without the `sops` mappings, comments and anchors. A
/// scalar that is not encrypted stays as it is written. Of a file in age it gives what is in it.
///
/// # Errors
///
/// A file that is not encrypted, or in a way that is not known here; one that none of the
/// identities opens; one that was changed since, cut short or put together anew; one whose plain
/// form is larger than [`MAX_BYTES`].
pub fn decrypt(
    file: &str,
    bytes: &[u8],
    identities: &Identities,
) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    if is_age(bytes) {
        let start = Place { file: file.to_owned(), line: 1, column: 1 };
        return envelope::open(bytes, identities, MAX_BYTES)
            .map_err(|wrong| envelope_error(wrong, &start, identities));
    }
    let documents = yaml::parse(file, bytes)?;
    if !is_encrypted(&documents) {
        let message = format!("`{file}` is encrypted neither with SOPS nor with age");
        return Err(Diagnostic::error("sops-plain", message));
    }
    let metadata = Metadata::read(&documents)?;
    let key = metadata.data_key(identities)?;
    walk::decrypt(&documents, &metadata, &key)
}

/// Says why age did not open what stands at a place.
fn envelope_error(wrong: Wrong, place: &Place, identities: &Identities) -> Diagnostic {
    let (code, message, help) = match wrong {
        Wrong::NoIdentity if identities.is_empty() => {
            let help = identities.advice();
            ("sops-no-identity", "this is encrypted, and there is no age identity", help)
        }
        Wrong::NoIdentity => {
            let help = identities.advice();
            ("sops-identity", "none of the age identities opens this", help)
        }
        Wrong::Passphrase => {
            let help = "encrypt it to an age recipient: `age -r age1…`".to_owned();
            ("sops-passphrase", "this is encrypted with a passphrase, which is not supported", help)
        }
        Wrong::Damaged => {
            let help = "take it anew from where it was encrypted".to_owned();
            ("sops-damaged", "this was changed or cut short since age encrypted it", help)
        }
        Wrong::TooLarge => return too_large(place),
    };
    Diagnostic::error(code, message).at(place.clone()).help(help)
}

fn too_large(place: &Place) -> Diagnostic {
    let message = format!("this is larger than {} MiB when it is decrypted", MAX_BYTES >> 20);
    Diagnostic::error("sops-too-large", message)
        .at(place.clone())
        .help("split the file, or write out fewer aliases")
}

#[cfg(test)]
mod tests;
