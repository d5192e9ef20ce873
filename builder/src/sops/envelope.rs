//! What age encrypted: whole files, and the data keys of SOPS.
//!
//! In: bytes and identities. Out: the plain bytes.
//!
//! Source: age, <https://age-encryption.org/v1>, by the crate `age`.
//!
//! Not here: messages (`super`), identities' places (`super::identity`).

use std::io::Read;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor};
use zeroize::Zeroizing;

use super::identity::Identities;

/// How a file in binary starts, whatever its version.
const MAGIC: &[u8] = b"age-encryption.org/";

/// How a file in armor starts, after white space.
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Why nothing came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is for others.
    NoIdentity,
    /// It asks for a passphrase.
    Passphrase,
    /// It is no age file, of an unknown version, changed or cut short.
    Damaged,
    /// The plain bytes are more than the limit.
    TooLarge,
}

/// Whether bytes start as a file in age does.
pub(super) fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.trim_ascii_start().starts_with(ARMOR)
}

/// Opens a file of at most `limit` plain bytes.
pub(super) fn open(
    bytes: &[u8],
    identities: &Identities,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    // The white space around an armor is none of age's; a binary file has none.
    let bytes = if bytes.starts_with(MAGIC) { bytes } else { bytes.trim_ascii() };
    let decryptor = Decryptor::new(ArmoredReader::new(bytes)).map_err(|error| wrong(&error))?;
    if decryptor.is_scrypt() {
        return Err(Wrong::Passphrase);
    }
    let reader = decryptor.decrypt(identities.iter()).map_err(|error| wrong(&error))?;
    // Encrypting adds bytes, so that this never grows, which would leave a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len().min(limit) + 1));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut plain).map_err(|_| Wrong::Damaged)?;
    if plain.len() > limit { Err(Wrong::TooLarge) } else { Ok(plain) }
}

fn wrong(error: &DecryptError) -> Wrong {
    match error {
        DecryptError::NoMatchingKeys => Wrong::NoIdentity,
        DecryptError::ExcessiveWork { .. } => Wrong::Passphrase,
        _ => Wrong::Damaged,
    }
}
