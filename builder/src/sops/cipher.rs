//! One encrypted value.
//!
//! In: the text of a value, the data key, the value's path. Out: the plain bytes.
//!
//! Source: SOPS 3.13, `aes/cipher.go`: AES-256-GCM with a nonce of 32 bytes, the tag apart, the
//! path authenticated. NIST SP 800-38D, 7.1, for nonces that are not of 12 bytes.
//!
//! Not here: what the plain bytes mean (`super::value`), the MAC of the file (`super::walk`).

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInPlace, AesGcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// How every encrypted value starts.
const START: &str = "ENC[AES256_GCM,data:";

/// The key of a file's values. It is wiped when it is dropped.
pub(super) struct DataKey(AesGcm<Aes256, U32>);

/// An encrypted value, taken apart.
pub(super) struct Sealed<'a> {
    data: Vec<u8>,
    iv: [u8; 32],
    tag: [u8; 16],
    /// The type of the plain value, which is not authenticated: `str`, `int`.
    pub(super) kind: &'a str,
}

/// Whether a text looks like an encrypted value.
pub(super) fn is_sealed(text: &str) -> bool {
    text.starts_with(START)
}

impl<'a> Sealed<'a> {
    /// Takes a value apart, if it is one.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(START)?.strip_suffix(']')?;
        let (data, rest) = rest.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        Some(Self {
            data: STANDARD.decode(data).ok()?,
            iv: STANDARD.decode(iv).ok()?.try_into().ok()?,
            tag: STANDARD.decode(tag).ok()?.try_into().ok()?,
            kind,
        })
    }
}

impl DataKey {
    /// The key of 32 bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        AesGcm::new_from_slice(bytes).ok().map(Self)
    }

    /// The plain bytes of a value at a path, unless one of the two was changed.
    pub(super) fn open(&self, sealed: Sealed<'_>, path: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(sealed.data);
        let (iv, tag) = (GenericArray::from(sealed.iv), GenericArray::from(sealed.tag));
        self.0.decrypt_in_place_detached(&iv, path.as_bytes(), &mut bytes, &tag).ok()?;
        Some(bytes)
    }
}
