//! Whom signatures by identities rest on: CAs, logs and timestamp authorities.
//!
//! In: a trusted root, built in or the user's. Out: [`Roots`].
//!
//! Source: sigstore/protobuf-specs `sigstore_trustroot.proto`; what is built in is
//! sigstore/root-signing `targets/trusted_root.json`, by the crate `sigstore-trust-root`. A test
//! holds it to the digest that `metadata/targets.json` there, which the root's keepers sign, has.
//!
//! Not here: who may sign (`Trust`), updates of the root: they come with the crate's.

use std::fmt;

use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

use super::error::{SignatureError, shown};

/// The largest trusted root that is read, in bytes: a hundred times the built-in one.
const DOCUMENT_MAX: usize = 1 << 20;

/// CAs, logs and timestamp authorities that are trusted.
pub struct Roots {
    pub(super) verifier: Verifier,
}

impl Roots {
    /// Those of Sigstore's public instance, with which Sidero signs.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Roots`], never for what is built in.
    pub fn public() -> Result<Self, SignatureError> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes())
    }

    /// Those of a private instance, from its `trusted_root.json`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Roots`].
    pub fn parse(json: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: &dyn fmt::Display| SignatureError::Roots(shown(&why.to_string()));
        if json.len() > DOCUMENT_MAX {
            return Err(failed(&format_args!("it has more than {DOCUMENT_MAX} bytes")));
        }
        let text = std::str::from_utf8(json).map_err(|why| failed(&why))?;
        let root = TrustedRoot::from_json(text).map_err(|why| failed(&why))?;
        let verifier = Verifier::new(&root).map_err(|why| failed(&why))?;
        Ok(Self { verifier })
    }
}

/// Keys are public, but long.
impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots")
    }
}
