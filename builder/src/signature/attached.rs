//! Signatures of images, which lie beside them in the registry.
//!
//! In: an image's digest, what the registry has beside it. Out: what to fetch, and who signed.
//!
//! Source: sigstore/cosign `specs/SIGNATURE_SPEC.md` (the tag `sha256-….sig`) and `specs/
//! BUNDLE_SPEC.md`; OCI Distribution Specification 1.1, "Listing Referrers" and "Referrers Tag
//! Schema" (the tag `sha256-…`). Sidero's images have the first up to about Talos 1.11.0 and the
//! second from 1.11.5: on `ghcr.io`, which lists no referrers, under the tag.
//!
//! Not here: fetching (`registry`).

use std::collections::BTreeMap;

use serde::Deserialize;
use sigstore_verify::types::SignatureContent;

use super::bundle::{self, DOCUMENT_MAX, Read};
use super::error::SignatureError;
use super::roots::Roots;
use super::{Signed, Signee, Trust, verify};
use crate::digest::Digest;
use crate::oci::Descriptor;

/// The most signatures of an image that are looked at.
pub const SIGNATURES_MAX: usize = 32;
/// The most bytes of a signature, or of a document that lists signatures.
pub const BYTES_MAX: u64 = DOCUMENT_MAX as u64;

/// What the type of a bundle starts with; a version follows.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// What cosign calls a manifest with a bundle in an index under a tag: the type of its config.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The type of what cosign signs of an image without bundles.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What such a payload says it is.
const PAYLOAD: &str = "cosign container image signature";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const REKOR: &str = "dev.sigstore.cosign/bundle";

/// The tags of an image's repository that may have its signatures, the newer first: an index or a
/// manifest each. Either may be missing.
pub fn tags(image: Digest) -> [String; 2] {
    [format!("sha256-{image}"), format!("sha256-{image}.sig")]
}

/// What an index or a manifest of signatures names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A manifest, to fetch and to read with [`listed`].
    Manifest(Descriptor),
    /// A signature, to fetch.
    Signature(Place),
}

/// A signature that is still to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What to fetch.
    pub descriptor: Descriptor,
    annotations: BTreeMap<String, String>,
}

/// A signature, fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where it was.
    pub place: Place,
    /// The content that the descriptor names.
    pub content: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    manifests: Vec<Item>,
    #[serde(default)]
    layers: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Item {
    /// What to fetch. None is what cannot be a signature: it is too large, or of another hash.
    fn place(self) -> Option<Place> {
        let digest = self.digest.strip_prefix("sha256:")?.parse().ok()?;
        let len = Some(self.size).filter(|len| *len <= BYTES_MAX)?;
        let descriptor = Descriptor { media_type: self.media_type, digest, len };
        Some(Place { descriptor, annotations: self.annotations.unwrap_or_default() })
    }
}

/// Reads what a tag of [`tags`], a registry's list of referrers, or a manifest of such an index
/// gave: what of it are signatures. What is none is passed over.
///
/// # Errors
///
/// [`SignatureError::Format`] and [`SignatureError::TooLarge`].
pub fn listed(document: &[u8]) -> Result<Vec<Listed>, SignatureError> {
    let Document { manifests, layers } = bundle::json(document)?;
    let is_bundle = |kind: &str| kind.starts_with(BUNDLE);
    let may_be_bundle = |kind: &str| is_bundle(kind) || kind == EMPTY;
    let manifests = manifests
        .into_iter()
        .filter(|item| item.artifact_type.as_deref().is_none_or(may_be_bundle))
        .filter_map(|item| item.place().map(|place| Listed::Manifest(place.descriptor)));
    let layers = layers
        .into_iter()
        .filter(|item| is_bundle(&item.media_type) || item.media_type == SIMPLE_SIGNING)
        .filter_map(|item| item.place().map(Listed::Signature));
    Ok(manifests.chain(layers).take(SIGNATURES_MAX).collect())
}

/// Verifies an image's signatures: one that holds is enough.
///
/// # Errors
///
/// [`SignatureError::Absent`] without any; else what is wrong with the one that came furthest.
pub fn image(
    trust: &Trust,
    image: Digest,
    signatures: &[Attached],
    roots: &Roots,
) -> Result<Signed, SignatureError> {
    let mut worst = SignatureError::Absent;
    for signature in signatures.iter().take(SIGNATURES_MAX) {
        match signature.verify(trust, image, roots) {
            Ok(signed) => return Ok(signed),
            Err(error) if error.reach() > worst.reach() => worst = error,
            Err(_) => {}
        }
    }
    Err(worst)
}

impl Attached {
    fn verify(
        &self,
        trust: &Trust,
        image: Digest,
        roots: &Roots,
    ) -> Result<Signed, SignatureError> {
        if self.place.descriptor.media_type.starts_with(BUNDLE) {
            let signee = Signee::Digest(image);
            let read = bundle::read(&self.content, &signee)?;
            let SignatureContent::DsseEnvelope(envelope) = &read.bundle.content else {
                return Err(SignatureError::Kind("it is a signature of a file"));
            };
            bundle::statement(envelope, image)?;
            return verify(trust, signee, &read, roots);
        }
        let read = self.simple(image)?;
        verify(trust, Signee::Bytes(&self.content), &read, roots)
    }

    /// A signature without a bundle: the content is what is signed, and names the image.
    fn simple(&self, image: Digest) -> Result<Read, SignatureError> {
        let payload: serde_json::Value = bundle::json(&self.content)?;
        let text = |path| payload.pointer(path).and_then(serde_json::Value::as_str);
        if text("/critical/type") != Some(PAYLOAD) {
            return Err(SignatureError::Kind("what is signed names no image"));
        }
        let named = text("/critical/image/docker-manifest-digest");
        if named != Some(&format!("sha256:{image}")) {
            return Err(SignatureError::Other);
        }
        let note = |name: &str| self.place.annotations.get(name).map(String::as_str);
        let signature = note(SIGNATURE).ok_or(SignatureError::Absent)?;
        let log = note(REKOR).map(|text| bundle::json(text.as_bytes())).transpose()?;
        let signed = Digest::of(&self.content);
        bundle::legacy(signature, note(CERTIFICATE), log.as_ref(), signed)
    }
}
