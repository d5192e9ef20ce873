//! Signatures as documents: Sigstore's bundles, and what cosign wrote before them.
//!
//! In: JSON. Out: a bundle within limits, and what evidence of the log it has.
//!
//! Source: sigstore/protobuf-specs `sigstore_bundle.proto`; cosign's own format, sigstore/cosign
//! `pkg/cosign/fetch.go#LocalSignedPayload` and `pkg/cosign/bundle/rekor.go`; statements, in-toto
//! `spec/v1/statement.md` with cosign's predicate (`pkg/types/predicate.go`).
//!
//! Not here: whether any of it is true (`key`, `keyless`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sigstore_verify::types::{
    Bundle, DerCertificate, DsseEnvelope, Sha256Hash, SignatureContent, Statement,
    VerificationMaterialContent,
};

use super::Signee;
use super::error::SignatureError;
use crate::digest::Digest;

/// The largest bundle or payload that is read, in bytes, as in Talos.
pub(super) const DOCUMENT_MAX: usize = 1 << 20;
/// The most log entries, and the most timestamps, of a bundle: each costs a verification. There is
/// one.
const EVIDENCE_MAX: usize = 4;
/// The most certificates of a bundle: the signer's, and CAs between it and a root.
const CERTIFICATES_MAX: usize = 8;
/// The longest checkpoint, in bytes: twenty times one with the log's own signature.
const CHECKPOINT_MAX: usize = 4 << 10;

const STATEMENT: &str = "application/vnd.in-toto+json";
/// What a statement says that signs an image and says nothing else.
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const OLD_BUNDLE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";

/// What of the log comes with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A proof that it is in the log.
    Proof,
    /// The log's signed promise to add it: all that cosign kept before bundles.
    Promise,
}

/// A signature, read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bundle: Bundle,
    pub(super) evidence: Evidence,
}

impl Read {
    /// Whether a statement about something is signed, and not the thing.
    pub(super) fn is_statement(&self) -> bool {
        !matches!(self.bundle.content, SignatureContent::MessageSignature(_))
    }
}

/// cosign's own format for files.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Old {
    base64_signature: String,
    #[serde(default)]
    cert: String,
    rekor_bundle: Option<RekorBundle>,
}

/// What cosign kept of the log's answer, for files and images.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RekorBundle {
    signed_entry_timestamp: String,
    payload: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// The kind of a log's entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    kind: String,
    api_version: String,
}

/// Reads a file's signature, in either format.
pub(super) fn read(bytes: &[u8], signee: &Signee<'_>) -> Result<Read, SignatureError> {
    let value: Value = json(bytes)?;
    if value.get("base64Signature").is_none() {
        return bundle(value);
    }
    let old: Old = serde_json::from_value(value).map_err(|why| SignatureError::format(&why))?;
    // The certificate is PEM, most often in base64 once more; of a key it is the public key.
    let cert = match STANDARD.decode(&old.cert).map(String::from_utf8) {
        Ok(Ok(pem)) => pem,
        _ => old.cert,
    };
    let cert = Some(cert).filter(|pem| pem.contains("BEGIN CERTIFICATE"));
    legacy(&old.base64_signature, cert.as_deref(), old.rekor_bundle.as_ref(), signee.digest())
}

/// A document of JSON within the limit.
pub(super) fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, SignatureError> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(SignatureError::TooLarge { what: "bytes", limit: DOCUMENT_MAX });
    }
    serde_json::from_slice(bytes).map_err(|why| SignatureError::format(&why))
}

/// Reads a bundle. Its log entry must come with a proof: where the format lets that be missing,
/// version 0.1, the promise must be there.
fn bundle(value: Value) -> Result<Read, SignatureError> {
    if value.get("mediaType").is_none() {
        return Err(SignatureError::Format("it is no bundle of Sigstore or cosign".to_owned()));
    }
    let is_old = value.get("mediaType").and_then(Value::as_str) == Some(OLD_BUNDLE);
    let bundle: Bundle =
        serde_json::from_value(value).map_err(|why| SignatureError::format(&why))?;
    let material = &bundle.verification_material;
    let evidence = match &material.tlog_entries {
        entries if is_old && entries.iter().all(|entry| entry.inclusion_proof.is_none()) => {
            Evidence::Promise
        }
        _ => Evidence::Proof,
    };
    let at_most = |what, count, limit| match count <= limit {
        true => Ok(()),
        false => Err(SignatureError::TooLarge { what, limit }),
    };
    at_most("log entries", material.tlog_entries.len(), EVIDENCE_MAX)?;
    let timestamps = &material.timestamp_verification_data.rfc3161_timestamps;
    at_most("timestamps", timestamps.len(), EVIDENCE_MAX)?;
    if let VerificationMaterialContent::X509CertificateChain { certificates } = &material.content {
        at_most("certificates", certificates.len(), CERTIFICATES_MAX)?;
    }
    for proof in material.tlog_entries.iter().filter_map(|entry| entry.inclusion_proof.as_ref()) {
        let len = proof.checkpoint.envelope().len();
        at_most("bytes of a log's checkpoint", len, CHECKPOINT_MAX)?;
    }
    Ok(Read { bundle, evidence })
}

/// A signature with cosign's own evidence, as a bundle.
pub(super) fn legacy(
    signature: &str,
    certificate: Option<&str>,
    log: Option<&RekorBundle>,
    signed: Digest,
) -> Result<Read, SignatureError> {
    let material = match certificate {
        Some(pem) => {
            let cert = DerCertificate::from_pem(pem).map_err(|why| SignatureError::format(&why))?;
            json!({ "certificates": [{ "rawBytes": STANDARD.encode(cert.as_bytes()) }] })
        }
        None => json!({ "hint": "" }),
    };
    let name = if certificate.is_some() { "x509CertificateChain" } else { "publicKey" };
    let entries = log.map(entry).transpose()?;
    let entries: Vec<Value> = entries.into_iter().collect();
    let document = json!({
        "mediaType": OLD_BUNDLE,
        "verificationMaterial": { name: material, "tlogEntries": entries },
        "messageSignature": {
            "messageDigest": { "algorithm": "SHA2_256", "digest": STANDARD.encode(signed.0) },
            "signature": signature.trim(),
        },
    });
    bundle(document)
}

/// A log's entry as bundles have it.
fn entry(log: &RekorBundle) -> Result<Value, SignatureError> {
    let Entry { body, integrated_time, log_index, log_id } = &log.payload;
    let id: Digest = log_id.parse().map_err(|why| SignatureError::format(&why))?;
    let decoded = STANDARD.decode(body).map_err(|why| SignatureError::format(&why))?;
    let Kind { kind, api_version } =
        serde_json::from_slice(&decoded).map_err(|why| SignatureError::format(&why))?;
    Ok(json!({
        "logIndex": log_index.to_string(),
        "logId": { "keyId": STANDARD.encode(id.0) },
        "kindVersion": { "kind": kind, "version": api_version },
        "integratedTime": integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": log.signed_entry_timestamp },
        "canonicalizedBody": body,
    }))
}

/// What `cosign sign` signs of an image: a statement that has the image's digest, and says nothing
/// more. Other statements (provenance, lists of software) are no signatures of it.
pub(super) fn statement(envelope: &DsseEnvelope, image: Digest) -> Result<(), SignatureError> {
    if envelope.payload_type != STATEMENT {
        return Err(SignatureError::Kind("what is signed is no statement"));
    }
    let statement: Statement = json(envelope.payload.as_bytes())?;
    if statement.predicate_type != SIGN {
        return Err(SignatureError::Kind("it states something else about the image"));
    }
    match statement.matches_sha256(&Sha256Hash::new(image.0)) {
        true => Ok(()),
        false => Err(SignatureError::Other),
    }
}
