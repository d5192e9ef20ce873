//! Signatures by a key.
//!
//! In: a public key, what is signed, a signature. Out: whether it is by that key.
//!
//! Source: RFC 5280, "SubjectPublicKeyInfo"; sigstore/cosign `specs/SIGNATURE_SPEC.md`; DSSE
//! (secure-systems-lab/dsse `protocol.md`).
//!
//! Not here: logs and times, which add nothing to a key that one trusts; private keys.

use sigstore_verify::crypto::{
    KeyAlgorithm, SigningScheme, verify_signature, verify_signature_prehashed,
};
use sigstore_verify::types::{
    DerPublicKey, DsseEnvelope, HashAlgorithm, MessageSignature, SignatureContent,
};

use super::bundle::Read;
use super::error::SignatureError;
use super::{Signed, Signee};
use crate::digest::Digest;

/// The longest PEM text of a key that is read, in bytes: ten times that of RSA with 8192 bits.
const PEM_MAX: usize = 16 << 10;

/// A public key: P-256 (cosign's default), P-384, Ed25519 or RSA.
#[derive(Clone, Debug)]
pub struct PublicKey {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
}

impl PublicKey {
    /// Reads a key as `cosign generate-key-pair` and `openssl pkey -pubout` write it: PEM, with
    /// the label `PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Key`].
    pub fn parse(pem: &[u8]) -> Result<Self, SignatureError> {
        let text = std::str::from_utf8(pem).ok().filter(|text| text.len() <= PEM_MAX);
        let der = text.and_then(|text| DerPublicKey::from_pem(text).ok());
        let der = der.ok_or(SignatureError::Key)?;
        match KeyAlgorithm::from_spki(&der).map_err(|_| SignatureError::Key)? {
            algorithm @ (KeyAlgorithm::EcdsaP256
            | KeyAlgorithm::EcdsaP384
            | KeyAlgorithm::Ed25519
            | KeyAlgorithm::Rsa) => Ok(Self { der, algorithm }),
            _ => Err(SignatureError::Key),
        }
    }

    /// The digest of its DER, by which messages name it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.der.as_bytes())
    }

    /// Verifies a signature.
    pub(super) fn verify(&self, signee: Signee<'_>, read: &Read) -> Result<Signed, SignatureError> {
        match &read.bundle.content {
            SignatureContent::MessageSignature(signature) => self.message(signee, signature)?,
            SignatureContent::DsseEnvelope(envelope) => self.statement(signee, envelope)?,
            _ => return Err(SignatureError::Kind("it has no signature")),
        }
        let by = format!("the key sha256:{}", self.digest());
        Ok(Signed { by, issuer: None, at: None })
    }

    fn message(
        &self,
        signee: Signee<'_>,
        signature: &MessageSignature,
    ) -> Result<(), SignatureError> {
        let stated = signature.message_digest.as_ref();
        let is_sha256 = stated.is_some_and(|stated| stated.algorithm == HashAlgorithm::Sha2256);
        let digest = signee.digest();
        if is_sha256 && stated.is_some_and(|stated| stated.digest != &digest.0[..]) {
            return Err(SignatureError::Other);
        }
        let scheme = match stated {
            Some(stated) => self.algorithm.resolve_signing_scheme(stated.algorithm),
            None => Ok(self.algorithm.default_signing_scheme()),
        };
        let scheme = scheme.map_err(|_| SignatureError::Kind("its hash does not fit the key"))?;
        let verified = match (signee, scheme.hash_algorithm()) {
            (Signee::Bytes(bytes), _) => {
                verify_signature(&self.der, bytes, &signature.signature, scheme)
            }
            (Signee::Digest(_), Some(HashAlgorithm::Sha2256)) => {
                verify_signature_prehashed(&self.der, &digest.0, &signature.signature, scheme)
            }
            (Signee::Digest(_), None) => {
                return Err(SignatureError::Kind(
                    "a key of Ed25519 signs files whole, which is verified for lists alone",
                ));
            }
            (Signee::Digest(_), Some(_)) => {
                return Err(SignatureError::Kind("its hash is not SHA-256"));
            }
        };
        verified.map_err(|_| SignatureError::Signature)
    }

    fn statement(&self, signee: Signee<'_>, envelope: &DsseEnvelope) -> Result<(), SignatureError> {
        super::bundle::statement(envelope, signee.digest())?;
        let schemes: &[SigningScheme] = match self.algorithm {
            // cosign signs with SHA-256 whatever the curve, others as the curve suggests.
            KeyAlgorithm::EcdsaP384 => {
                &[SigningScheme::EcdsaP384Sha384, SigningScheme::EcdsaP384Sha256]
            }
            other => &[other.default_signing_scheme()],
        };
        let (pae, signature) = (envelope.pae(), &envelope.signature.sig);
        let fits = |scheme| verify_signature(&self.der, &pae, signature, scheme).is_ok();
        match schemes.iter().copied().any(fits) {
            true => Ok(()),
            false => Err(SignatureError::Signature),
        }
    }
}
