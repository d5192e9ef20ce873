//! A cluster's secrets: CAs, keys and tokens, in Talos' secrets bundle and in clients' files.
//!
//! In: a bundle's or a kubeadm folder's bytes, or nothing but a version of Talos; the time.
//! Out: [`Bundle`], [`issue::Credentials`], and the texts of bundle, talosconfig and kubeconfig.
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/`, siderolabs/crypto `x509/`.
//! What is generated has exactly the form that `talosctl gen secrets` gives it, so that either tool
//! takes the other's files.
//!
//! Not here: files (`verb`), the clock (every function that needs the time is given it), and where
//! secrets go in a machine config. This is the one room above `verb` that draws random numbers:
//! keys must differ from run to run, and `aws-lc-rs` draws them where it makes them. Nothing of it
//! reaches a medium but through a bundle, which is an input like any other.

use std::fmt;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::report::Diagnostic;
use crate::talos::Version;

pub mod certificate;
pub mod client;
pub mod issue;
pub mod key;
pub mod kubeadm;
pub mod pem;
pub mod secret;
mod check;
mod random;
mod read;
mod write;

use certificate::Certificate;
use key::{Kind, PrivateKey};
use secret::Secret;

/// The largest bundle that is read, in bytes: thirty times what Talos makes.
pub const MAX_BYTES: u64 = 256 << 10;

/// Why a key or a certificate cannot be read or made. None quotes what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// No block of PEM.
    #[error("this is no PEM text")]
    Pem,
    /// A block of PEM, with another label.
    #[error("the PEM text does not hold {0}")]
    Label(&'static str),
    /// A private key of no supported kind, or damaged.
    #[error("the private key cannot be read")]
    Key,
    /// A certificate that breaks RFC 5280, or is damaged.
    #[error("the certificate cannot be read")]
    Certificate,
    /// A CA's key that is not that of its certificate.
    #[error("the private key does not belong to the certificate")]
    ForeignKey,
    /// A certificate that is not of a CA, or whose key must not sign certificates.
    #[error("the certificate is not one of a CA that may sign certificates")]
    NoAuthority,
    /// A client without roles, whom Talos would refuse everything.
    #[error("a client needs at least one role")]
    NoRole,
    /// A lifetime of less than a second, or dates that X.509 cannot write.
    #[error("the certificate's lifetime cannot be written in a certificate")]
    Lifetime,
    /// The cryptographic library could not make a key, a random number or a signature.
    #[error("the system's random generator gave nothing, or a key could not be used")]
    Generator,
    /// A value that does not fit DER.
    #[error("the value cannot be written as DER")]
    Encoding,
}

/// A CA: its certificate, and the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

impl Authority {
    /// Puts a certificate and a key together.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignKey`] and [`Error::NoAuthority`].
    pub fn new(certificate: Certificate, key: PrivateKey) -> Result<Self, Error> {
        match () {
            () if !certificate.is_ca() || !certificate.may_sign_certificates() => {
                Err(Error::NoAuthority)
            }
            () if !certificate.is_of(&key) => Err(Error::ForeignKey),
            () => Ok(Self { certificate, key }),
        }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// With what Kubernetes encrypts its secrets in etcd. The text is base64.
#[derive(Clone, Debug)]
pub enum EncryptionSecret {
    /// XSalsa20 and Poly1305, with a key of 32 bytes; since Talos 1.3.
    Secretbox(Secret),
    /// AES-CBC, with a key of 16, 24 or 32 bytes; what clusters that began before 1.3 have. To
    /// render it as anything else makes what is stored unreadable.
    AesCbc(Secret),
}

/// All secrets of a cluster. Who has them can do anything with it.
#[derive(Clone)]
pub struct Bundle {
    cluster_id: Secret,
    cluster_secret: Secret,
    bootstrap_token: Secret,
    encryption: EncryptionSecret,
    trustd_token: Secret,
    etcd: Authority,
    k8s: Authority,
    k8s_aggregator: Authority,
    k8s_service_account: PrivateKey,
    os: Authority,
}

/// A bundle that was read, and what about it is worth a look.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The bundle.
    pub bundle: Bundle,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

impl Bundle {
    /// Makes all secrets of a cluster that starts with this version of Talos. The RSA key takes up
    /// to some seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Generator`], and [`Error::Lifetime`] where `now` lies outside of 1970 to 9989.
    pub fn generate(version: &Version, now: SystemTime) -> Result<Self, Error> {
        let ecdsa = Kind::EcdsaP256;
        let service_account = if version.at_least(1, 7) { Kind::Rsa4096 } else { ecdsa };
        let kubernetes = Kubernetes {
            etcd: issue::authority(Some("etcd"), ecdsa, now)?,
            k8s: issue::authority(Some("kubernetes"), ecdsa, now)?,
            // Talos gives this one a common name, which its own constructor passes over.
            aggregator: issue::authority(None, ecdsa, now)?,
            service_account: PrivateKey::generate(service_account)?,
            bootstrap_token: random::token()?,
        };
        Self::complete(kubernetes, version, now)
    }

    /// Makes what Kubernetes does not bring with it.
    fn complete(part: Kubernetes, version: &Version, now: SystemTime) -> Result<Self, Error> {
        let encryption = random_base64(&STANDARD)?;
        // `ClusterIDEncoding` of `types/cluster/discovery_identity.go`, new in 1.14.
        let id_alphabet = if version.at_least(1, 14) { &STANDARD } else { &URL_SAFE };
        Ok(Self {
            cluster_id: random_base64(id_alphabet)?,
            cluster_secret: random_base64(&STANDARD)?,
            bootstrap_token: part.bootstrap_token,
            encryption: if version.at_least(1, 3) {
                EncryptionSecret::Secretbox(encryption)
            } else {
                EncryptionSecret::AesCbc(encryption)
            },
            trustd_token: random::token()?,
            etcd: part.etcd,
            k8s: part.k8s,
            k8s_aggregator: part.aggregator,
            k8s_service_account: part.service_account,
            os: issue::authority(Some("talos"), Kind::Ed25519, now)?,
        })
    }

    /// Reads a bundle as Talos does, and checks it more closely. `file` is its path as the user
    /// would write it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with the warnings among it.
    pub fn parse(file: &str, bytes: &[u8], now: SystemTime) -> Result<Loaded, Vec<Diagnostic>> {
        read::bundle(file, bytes, now)
    }

    /// The bundle's text, as `talosctl gen secrets` writes it.
    pub fn to_yaml(&self) -> Secret {
        write::bundle(self)
    }

    /// `cluster.id`: any text; compared, never decoded.
    pub fn cluster_id(&self) -> &Secret {
        &self.cluster_id
    }

    /// `cluster.secret`: base64 of 32 bytes.
    pub fn cluster_secret(&self) -> &Secret {
        &self.cluster_secret
    }

    /// `secrets.bootstraptoken`, with which kubelets join.
    pub fn bootstrap_token(&self) -> &Secret {
        &self.bootstrap_token
    }

    /// `secrets.secretboxencryptionsecret` or `secrets.aescbcencryptionsecret`.
    pub fn encryption(&self) -> &EncryptionSecret {
        &self.encryption
    }

    /// `trustdinfo.token`, with which workers get their certificates: `machine.token`.
    pub fn trustd_token(&self) -> &Secret {
        &self.trustd_token
    }

    /// `certs.etcd`.
    pub fn etcd(&self) -> &Authority {
        &self.etcd
    }

    /// `certs.k8s`.
    pub fn k8s(&self) -> &Authority {
        &self.k8s
    }

    /// `certs.k8saggregator`.
    pub fn k8s_aggregator(&self) -> &Authority {
        &self.k8s_aggregator
    }

    /// `certs.k8sserviceaccount.key`.
    pub fn k8s_service_account(&self) -> &PrivateKey {
        &self.k8s_service_account
    }

    /// `certs.os`: the CA of Talos' API.
    pub fn os(&self) -> &Authority {
        &self.os
    }
}

/// The part of a bundle that a cluster of kubeadm has, too.
struct Kubernetes {
    etcd: Authority,
    k8s: Authority,
    aggregator: Authority,
    service_account: PrivateKey,
    bootstrap_token: Secret,
}

/// The length of the secrets that are no keys of certificates, in bytes (`DefaultClusterIDSize`,
/// `DefaultClusterSecretSize`, `config/internal/cis/cis.go`).
const SECRET_BYTES: usize = 32;

fn random_base64(alphabet: &GeneralPurpose) -> Result<Secret, Error> {
    let bytes = Zeroizing::new(random::bytes::<SECRET_BYTES>()?);
    Ok(Secret::new(alphabet.encode(bytes.as_slice())))
}

/// The names of the CAs' subjects, and no value.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = |ca: &Authority| ca.certificate.subject();
        f.debug_struct("Bundle")
            .field("etcd", &subject(&self.etcd))
            .field("k8s", &subject(&self.k8s))
            .field("k8s_aggregator", &subject(&self.k8s_aggregator))
            .field("os", &subject(&self.os))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
