//! Signatures by an identity: a certificate of minutes, and a log that remembers.
//!
//! In: who may have signed, a signature, [`Roots`]. Out: who signed and when.
//!
//! Source: sigstore/architecture-docs `client-spec.md`, "Verification"; sigstore/fulcio
//! `docs/oid-info.md` (the issuer's extensions).
//!
//! Not here: how bundles are read (`bundle`).

use std::time::SystemTime;

use sigstore_verify::VerificationPolicy;
use sigstore_verify::types::{Artifact, Sha256Hash};

use super::bundle::{Evidence, Read};
use super::error::{SignatureError, shown};
use super::roots::Roots;
use super::{Signed, Signee};

/// Verifies a signature, then asks whose it is.
pub(super) fn verify(
    identities: &[&str],
    issuer: &str,
    signee: Signee<'_>,
    read: &Read,
    roots: &Roots,
) -> Result<Signed, SignatureError> {
    if read.bundle.signing_certificate().is_none() {
        return Err(SignatureError::Kind("a key signed it, nobody with a certificate"));
    }
    let anyone = VerificationPolicy::any_identity();
    let policy = match read.evidence {
        Evidence::Proof => anyone,
        // The name is about proofs alone: the promise is verified, it is the source of the time,
        // and what the log promises is compared with this signature.
        Evidence::Promise => anyone.skip_tlog_unsafe(),
    };
    let artifact = match signee {
        Signee::Digest(digest) => Artifact::from(Sha256Hash::new(digest.0)),
        Signee::Bytes(bytes) => Artifact::from(bytes),
    };
    let result = roots.verifier.verify(artifact, &read.bundle, &policy)?;
    if !result.certificate_verified() || !result.sct_verified() {
        return Err(SignatureError::Certificate("it was not verified".to_owned()));
    }
    let times = result.verified_timestamps().iter();
    let at = times.map(|time| SystemTime::from(*time)).min();
    let at = at.ok_or_else(|| SignatureError::Time("no time is given".to_owned()))?;
    let found = result.issuer().unwrap_or("nobody");
    if found != issuer {
        let (found, wanted) = (shown(found), shown(issuer));
        return Err(SignatureError::Issuer { found, wanted });
    }
    let found = result.identity().map_or("nobody", |name| name.as_str());
    if !identities.iter().any(|pattern| matches(pattern, found)) {
        let wanted = shown(&identities.join(" or "));
        return Err(SignatureError::Identity { found: shown(found), wanted });
    }
    Ok(Signed { by: shown(found), issuer: Some(shown(issuer)), at: Some(at) })
}

/// Whether a whole text fits a pattern, in which `*` stands for any characters, or none.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
