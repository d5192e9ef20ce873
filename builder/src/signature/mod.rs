//! Who signed what comes from outside.
//!
//! In: a file's or an image's digest, its signatures, whom to trust. Out: who signed it, or which
//! check failed.
//!
//! Source: Sigstore's client specification (sigstore/architecture-docs `client-spec.md`), bundles
//! (sigstore/protobuf-specs `sigstore_bundle.proto`), cosign (sigstore/cosign `specs/`). What Sidero
//! publishes: siderolabs/talos `.github/workflows/ci.yaml` (`cosign sign-blob --bundle`, for each
//! release file) and `internal/pkg/containers/image/verify/internal/cosign/cosign.go` (images).
//!
//! All is verified offline. A signature by a key needs nothing else: whoever has the key has
//! signed, and logs and timestamps are passed over. One by an identity needs a certificate that a CA
//! of [`roots::Roots`] issued and a CT log knows, valid at each time that the transparency log or a
//! timestamp authority vouches for, and the log's promise or proof that it has this very signature.
//! The checks of the second kind are those of the crate `sigstore-verify`. It asks for the time of
//! day, but only to refuse what is dated in the future.
//!
//! Not here: fetching; what a site asks for (`site`).

use std::time::SystemTime;

use crate::digest::Digest;

pub mod error;
pub mod roots;
pub mod key;
mod bundle;
mod keyless;
pub mod attached;

use error::SignatureError;
use key::PublicKey;
use roots::Roots;

/// Who vouches for the identities of those who make Talos.
const SIDERO_ISSUER: &str = "https://accounts.google.com";
/// Those who make Talos, from Image Factory's `internal/image/verify/verify_test.go` and Talos'
/// `internal/pkg/containers/image/verify/internal/cosign/cosign_test.go`.
const SIDERO: [&str; 2] =
    ["*@siderolabs.com", "releasemgr-svc@talos-production.iam.gserviceaccount.com"];

/// Who must have signed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those who make Talos, by Sigstore's public instance.
    Sidero,
    /// Whoever has the private half of a key.
    Key(PublicKey),
    /// Someone with a certificate of Sigstore's.
    Identity {
        /// Whom it names: an address of mail, or the URL of a workflow. `*` stands for any
        /// characters.
        identity: String,
        /// Who vouched for that, to the letter.
        issuer: String,
    },
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Signee<'a> {
    /// The SHA-256 digest of a file. Enough for all but keys of Ed25519, which sign files alone.
    Digest(Digest),
    /// A file's bytes.
    Bytes(&'a [u8]),
}

impl Signee<'_> {
    /// Its digest.
    fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Bytes(bytes) => Digest::of(bytes),
        }
    }
}

/// Who signed, where all holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whom the certificate names; of a key, its digest.
    pub by: String,
    /// Who vouched for that.
    pub issuer: Option<String>,
    /// The earliest time that is proven. None is where a key signed.
    pub at: Option<SystemTime>,
}

/// Verifies a file's signature: what `cosign sign-blob --bundle` writes beside it, in either of its
/// two formats.
///
/// # Errors
///
/// Which check failed.
pub fn blob(
    trust: &Trust,
    signee: Signee<'_>,
    bundle: &[u8],
    roots: &Roots,
) -> Result<Signed, SignatureError> {
    let read = bundle::read(bundle, &signee)?;
    if read.is_statement() {
        return Err(SignatureError::Kind("it is a statement about a file, not a signature of one"));
    }
    verify(trust, signee, &read, roots)
}

/// Verifies what was read, by the one or the other way.
fn verify(
    trust: &Trust,
    signee: Signee<'_>,
    read: &bundle::Read,
    roots: &Roots,
) -> Result<Signed, SignatureError> {
    match trust {
        Trust::Key(key) => key.verify(signee, read),
        Trust::Sidero => keyless::verify(&SIDERO, SIDERO_ISSUER, signee, read, roots),
        Trust::Identity { identity, issuer } => {
            keyless::verify(&[identity], issuer, signee, read, roots)
        }
    }
}

#[cfg(test)]
mod tests;
