//! Private keys: made, read in the forms that Talos reads, and used to sign.
//!
//! In: PEM, or the random generator. Out: [`PrivateKey`], and signatures.
//!
//! Source: RFC 5958 and RFC 8410 (PKCS #8, Ed25519), RFC 5915 (`EC PRIVATE KEY`), RFC 8017
//! (`RSA PRIVATE KEY`), RFC 5758 and RFC 8410 (names of signatures). Which labels go with which
//! form: siderolabs/crypto `x509/key.go` and `x509/certificate_key.go`.
//!
//! Not here: certificates. The arithmetic is the crate `aws-lc-rs`.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use der::asn1::{Any, AnyRef, BitString, Null, ObjectIdentifier, OctetStringRef};
use der::{Decode, Sequence};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::secret::Secret;
use super::{Error, pem};

const ED25519: &str = "ED25519 PRIVATE KEY";
const EC: &str = "EC PRIVATE KEY";
const RSA: &str = "RSA PRIVATE KEY";
const PKCS8: &str = "PRIVATE KEY";

const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// A curve of NIST, with the names that go with it.
struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    name: ObjectIdentifier,
    signature: ObjectIdentifier,
}

/// The curves that Go signs with, the one that Talos makes first.
static CURVES: [Curve; 3] = [
    Curve {
        signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
        name: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        signature: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
    },
    Curve {
        signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
        name: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        signature: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
    },
    Curve {
        signing: &ECDSA_P521_SHA512_ASN1_SIGNING,
        name: ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        signature: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"),
    },
];

/// A kind of key that Talos makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ed25519, as PKCS #8 version 1 under `ED25519 PRIVATE KEY`.
    Ed25519,
    /// ECDSA on P-256, under `EC PRIVATE KEY`.
    EcdsaP256,
    /// RSA of 4096 bits, as PKCS #1 under `RSA PRIVATE KEY`. Making one takes up to some seconds.
    Rsa4096,
}

/// A private key and the PEM text that it was read from or is written as.
#[derive(Clone)]
pub struct PrivateKey {
    pem: Secret,
    pair: Arc<Pair>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
    Rsa(RsaKeyPair),
}

/// RFC 5208, `PrivateKeyInfo`, as `aws-lc-rs` writes it.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierOwned,
    private_key: &'a OctetStringRef,
}

impl PrivateKey {
    /// Makes a key, written as Talos writes one of its kind.
    ///
    /// # Errors
    ///
    /// [`Error::Generator`].
    pub fn generate(kind: Kind) -> Result<Self, Error> {
        let failed = |_| Error::Generator;
        let (pair, pem) = match kind {
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                let pem = pem::encode(ED25519, pair.to_pkcs8v1().map_err(failed)?.as_ref());
                (Pair::Ed25519(pair), pem)
            }
            Kind::EcdsaP256 => {
                let pair = EcdsaKeyPair::generate(CURVES[0].signing).map_err(failed)?;
                let der: EcPrivateKeyRfc5915Der<'_> =
                    pair.private_key().as_der().map_err(failed)?;
                let pem = pem::encode(EC, der.as_ref());
                (Pair::Ecdsa(pair, &CURVES[0]), pem)
            }
            Kind::Rsa4096 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                let pem = pem::encode(RSA, pkcs1(der.as_ref())?);
                (Pair::Rsa(pair), pem)
            }
        };
        Ok(Self { pem, pair: Arc::new(pair) })
    }

    /// Reads a key. The text is kept as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Pem`], [`Error::Label`] and [`Error::Key`].
    pub fn parse(pem: Secret) -> Result<Self, Error> {
        let block = pem::first_block(pem.reveal()).ok_or(Error::Pem)?;
        let der = block.der.as_slice();
        let pair = match block.label {
            ED25519 => ed25519(der),
            EC if is_sec1(der) => CURVES.iter().find_map(|curve| {
                let pair = EcdsaKeyPair::from_private_key_der(curve.signing, der).ok()?;
                Some(Pair::Ecdsa(pair, curve))
            }),
            RSA => RsaKeyPair::from_der(der).ok().map(Pair::Rsa),
            EC => None,
            PKCS8 => pkcs8(der),
            _ => return Err(Error::Label("a private key")),
        };
        Ok(Self { pair: Arc::new(pair.ok_or(Error::Key)?), pem })
    }

    /// The PEM text.
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// The public key, as certificates hold it.
    pub(super) fn public(&self) -> Result<SubjectPublicKeyInfoOwned, Error> {
        let (oid, parameters, bytes) = match &*self.pair {
            Pair::Ed25519(pair) => (ID_ED25519, None, pair.public_key().as_ref()),
            Pair::Ecdsa(pair, curve) => {
                let name = Any::encode_from(&curve.name).map_err(|_| Error::Encoding)?;
                (ID_EC, Some(name), pair.public_key().as_ref())
            }
            Pair::Rsa(pair) => (ID_RSA, Some(Any::from(Null)), pair.public_key().as_ref()),
        };
        Ok(SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid, parameters },
            subject_public_key: BitString::from_bytes(bytes).map_err(|_| Error::Encoding)?,
        })
    }

    /// The name of the signatures that it makes.
    pub(super) fn signature_algorithm(&self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match &*self.pair {
            Pair::Ed25519(_) => (ID_ED25519, None),
            Pair::Ecdsa(_, curve) => (curve.signature, None),
            Pair::Rsa(_) => (SHA256_WITH_RSA, Some(Any::from(Null))),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }

    /// Signs a message.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let signature = match &*self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
            Pair::Ecdsa(pair, _) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature)
            }
        };
        signature.map_err(|_| Error::Generator)
    }
}

/// Whether DER is a sequence that starts with the INTEGER 1 and an OCTET STRING, as RFC 5915 has
/// it: `aws-lc-rs` would take PKCS #8 in its place, and Talos does not.
fn is_sec1(der: &[u8]) -> bool {
    AnyRef::from_der(der).is_ok_and(|key| key.value().starts_with(&[2, 1, 1, 4]))
}

fn ed25519(der: &[u8]) -> Option<Pair> {
    // Version 1 and version 2: what is unchecked is the public key of the latter, which is not used.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::Ed25519)
}

fn pkcs8(der: &[u8]) -> Option<Pair> {
    let ecdsa = |curve: &'static Curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.signing, der).ok()?;
        Some(Pair::Ecdsa(pair, curve))
    };
    ed25519(der)
        .or_else(|| CURVES.iter().find_map(ecdsa))
        .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))
}

/// The PKCS #1 key in a PKCS #8 one.
fn pkcs1(der: &[u8]) -> Result<&[u8], Error> {
    let info = PrivateKeyInfo::from_der(der).map_err(|_| Error::Encoding)?;
    Ok(info.private_key.as_bytes())
}

/// The kind, never the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.pair {
            Pair::Ed25519(_) => "Ed25519",
            Pair::Ecdsa(..) => "ECDSA",
            Pair::Rsa(_) => "RSA",
        };
        write!(f, "PrivateKey({kind})")
    }
}
