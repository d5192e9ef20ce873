//! Certificates that are there already: what they say.
//!
//! In: PEM. Out: [`Certificate`].
//!
//! Source: RFC 5280, "Internet X.509 Public Key Infrastructure Certificate and CRL Profile", by the
//! crate `x509-cert`.
//!
//! Not here: chains of certificates and their signatures, and making certificates (`issue`).

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use der::Decode;
use der::asn1::{Any, Utf8StringRef};
use der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef};
use der::oid::AssociatedOid;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::name::RdnSequence;

use super::key::PrivateKey;
use super::{Error, pem};

const ID_ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ID_COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate and the PEM text that it was read from or is written as.
#[derive(Clone)]
pub struct Certificate {
    pem: String,
    parsed: x509_cert::Certificate,
    is_ca: bool,
    usage: Option<KeyUsage>,
    key_id: Option<Vec<u8>>,
    names: Vec<AltName>,
}

/// A name of the extension "subject alternative name".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltName {
    /// A host name, or a pattern for some.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
    /// A mail address.
    Email(String),
}

impl Certificate {
    /// Reads the first certificate of a text. The text is kept as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Pem`], [`Error::Label`] and [`Error::Certificate`].
    pub fn parse(pem: String) -> Result<Self, Error> {
        let block = pem::first_block(&pem).ok_or(Error::Pem)?;
        if block.label != pem::CERTIFICATE {
            return Err(Error::Label("a certificate"));
        }
        let parsed =
            x509_cert::Certificate::from_der(&block.der).map_err(|_| Error::Certificate)?;
        drop(block);
        Self::new(pem, parsed)
    }

    fn new(pem: String, parsed: x509_cert::Certificate) -> Result<Self, Error> {
        let constraints: Option<BasicConstraints> = extension(&parsed)?;
        let key_id: Option<SubjectKeyIdentifier> = extension(&parsed)?;
        let names: Option<SubjectAltName> = extension(&parsed)?;
        Ok(Self {
            is_ca: constraints.is_some_and(|constraints| constraints.ca),
            usage: extension(&parsed)?,
            key_id: key_id.map(|id| id.0.as_bytes().to_vec()),
            names: names.map(|names| names.0).iter().flatten().filter_map(alt_name).collect(),
            pem,
            parsed,
        })
    }

    /// The PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The whole subject, such as `CN=admin,O=system:masters` (RFC 4514: the last part first).
    /// Empty, where the subject is.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The subject's organisations. Talos takes them for roles, Kubernetes for groups.
    pub fn organizations(&self) -> Vec<String> {
        self.attributes(ID_ORGANIZATION)
    }

    /// The subject's common name. Kubernetes takes it for a user.
    pub fn common_name(&self) -> Option<String> {
        self.attributes(ID_COMMON_NAME).into_iter().next()
    }

    fn attributes(&self, oid: ObjectIdentifier) -> Vec<String> {
        let all = self.parsed.tbs_certificate().subject().iter();
        all.filter(|part| part.oid == oid).filter_map(|part| text(&part.value)).collect()
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_before.to_system_time()
    }

    /// The last second in which it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_after.to_system_time()
    }

    /// The subject alternative names of the kinds that TLS compares.
    pub fn alt_names(&self) -> &[AltName] {
        &self.names
    }

    /// Whether it says that it is of a CA.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether its key may sign certificates, as far as the key's uses are told (RFC 5280, chapter
    /// 4.2.1.3: where none are told, all are allowed).
    pub fn may_sign_certificates(&self) -> bool {
        self.usage.is_none_or(|usage| usage.key_cert_sign())
    }

    /// Whether its public key is that of a private key.
    pub fn is_of(&self, key: &PrivateKey) -> bool {
        let own = self.parsed.tbs_certificate().subject_public_key_info();
        key.public().is_ok_and(|public| public == *own)
    }

    /// Its subject, as a certificate that it issues names it.
    pub(super) fn name(&self) -> RdnSequence {
        RdnSequence::from(self.parsed.tbs_certificate().subject().clone())
    }

    /// The identifier of its key (RFC 5280, chapter 4.2.1.2), where it has one.
    pub(super) fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }
}

/// An extension, where it is there.
fn extension<T>(certificate: &x509_cert::Certificate) -> Result<Option<T>, Error>
where
    T: for<'a> Decode<'a> + AssociatedOid,
{
    let found = certificate.tbs_certificate().get_extension::<T>();
    found.map(|found| found.map(|(_, value)| value)).map_err(|_| Error::Certificate)
}

fn alt_name(name: &GeneralName) -> Option<AltName> {
    match name {
        GeneralName::DnsName(name) => Some(AltName::Dns(name.to_string())),
        GeneralName::UniformResourceIdentifier(uri) => Some(AltName::Uri(uri.to_string())),
        GeneralName::Rfc822Name(address) => Some(AltName::Email(address.to_string())),
        GeneralName::IpAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            v4.or(v6).ok().map(AltName::Ip)
        }
        _ => None,
    }
}

/// The text of a name's part, in any of the types that have one.
fn text(value: &Any) -> Option<String> {
    let utf8 = || value.decode_as::<Utf8StringRef<'_>>().ok().map(|s| s.as_str().to_owned());
    let printable = value.decode_as::<PrintableStringRef<'_>>().ok();
    let printable = printable.map(|s| s.as_str().to_owned());
    let ia5 = || value.decode_as::<Ia5StringRef<'_>>().ok().map(|s| s.as_str().to_owned());
    let teletex = || value.decode_as::<TeletexStringRef<'_>>().ok().map(|s| s.as_str().to_owned());
    printable.or_else(utf8).or_else(ia5).or_else(teletex)
}

/// The subject.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject())
    }
}
