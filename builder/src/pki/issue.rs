//! Certificates that are made: CAs, and clients' from them.
//!
//! In: a CA or its name, roles, times. Out: [`Authority`], [`Credentials`].
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/ca.go` and
//! `pkg/kubeconfig/generate.go`, siderolabs/crypto `x509/certificate_authority.go` and
//! `x509/certificate.go`; the order of extensions and attributes is that of Go's
//! `x509.CreateCertificate`. The encoding is RFC 5280, chapter 4.1.
//!
//! Not here: where credentials are written (`write`).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use der::asn1::{Any, BitString, ObjectIdentifier, OctetString, PrintableStringRef, SetOfVec};
use der::flagset::FlagSet;
use der::oid::AssociatedOid;
use der::{Encode, Sequence};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use super::certificate::Certificate;
use super::key::{Kind, PrivateKey};
use super::random::bytes;
use super::{Authority, Error, pem};

/// How long a CA is valid (`CAValidityTime` in Talos' `generate/secrets/secrets.go`).
pub const CA_LIFETIME: Duration = Duration::from_secs(87_600 * 3600);

/// How long a client's certificate is valid where nobody says otherwise
/// (`TalosAPIDefaultCertificateValidityDuration`, and `adminKubeconfig.certLifetime`'s default).
pub const CLIENT_LIFETIME: Duration = Duration::from_secs(8760 * 3600);

/// How far the nodes' clocks may be behind (`allowedTimeSkew` in `pkg/kubeconfig/generate.go`).
const CLOCK_SKEW: Duration = Duration::from_secs(10);

const ID_ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ID_COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// RFC 5280, chapter 4.1.
#[derive(Sequence)]
struct Signed {
    tbs_certificate: ToBeSigned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// RFC 5280, chapter 4.1.2, without the unique identifiers, which nobody uses.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: RdnSequence,
    validity: Validity,
    subject: RdnSequence,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// What a certificate is to say.
pub(super) struct Template {
    /// The subject: one part each, with all of its values.
    pub(super) subject: Vec<Part>,
    /// From when on.
    pub(super) not_before: SystemTime,
    /// Until when.
    pub(super) not_after: SystemTime,
    /// The serial number, big-endian.
    pub(super) serial: [u8; 16],
    /// What the key is for.
    pub(super) usages: FlagSet<KeyUsages>,
    /// Whom the certificate is of.
    pub(super) holder: Holder,
}

/// One part of a subject.
pub(super) enum Part {
    /// Organisations, in one set as Go writes them.
    Organizations(Vec<&'static str>),
    /// A common name.
    CommonName(&'static str),
}

/// Whom a certificate is of.
pub(super) enum Holder {
    /// A CA, with the identifier of its key.
    Authority([u8; 20]),
    /// A client.
    Client,
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: PrivateKey,
}

/// What a client may do with Talos' API (`pkg/machinery/role/role.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything.
    Admin,
    /// What [`Role::Reader`] may, and rebooting and the like.
    Operator,
    /// What shows no secrets and changes nothing.
    Reader,
    /// Backups of etcd.
    EtcdBackup,
    /// Verifying images; Talos 1.14 and newer.
    ImageVerifier,
    /// Writing META values.
    MetaWriter,
    /// Acting for another user; Talos' own services do.
    Impersonator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Admin,
        Self::Operator,
        Self::Reader,
        Self::EtcdBackup,
        Self::ImageVerifier,
        Self::MetaWriter,
        Self::Impersonator,
    ];

    /// Its name, as a certificate has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "os:admin",
            Self::Operator => "os:operator",
            Self::Reader => "os:reader",
            Self::EtcdBackup => "os:etcd:backup",
            Self::ImageVerifier => "os:image:verifier",
            Self::MetaWriter => "os:meta:writer",
            Self::Impersonator => "os:impersonator",
        }
    }

    /// The role of a name, if Talos knows one of it.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Makes a CA with a key of its own.
///
/// # Errors
///
/// [`Error::Generator`], and [`Error::Lifetime`] where `now` is outside of 1970 to 9989.
pub(super) fn authority(
    organization: Option<&'static str>,
    kind: Kind,
    now: SystemTime,
) -> Result<Authority, Error> {
    let key = PrivateKey::generate(kind)?;
    let template = Template {
        subject: organization.map(|name| Part::Organizations(vec![name])).into_iter().collect(),
        not_before: now,
        not_after: now.checked_add(CA_LIFETIME).ok_or(Error::Lifetime)?,
        serial: bytes()?,
        usages: KeyUsages::DigitalSignature | KeyUsages::KeyCertSign,
        holder: Holder::Authority(bytes()?),
    };
    let certificate = certify(&template, &key, None, &key)?;
    Authority::new(certificate, key)
}

/// Issues a certificate for Talos' API: Ed25519, an organisation a role. `os` is the CA of Talos'
/// API. It is not valid before `now`: where this machine's clock is ahead of the nodes', they
/// refuse it until theirs has caught up.
///
/// # Errors
///
/// [`Error::NoRole`], [`Error::Lifetime`] and [`Error::Generator`].
pub fn talos_client(
    os: &Authority,
    roles: &BTreeSet<Role>,
    now: SystemTime,
    lifetime: Duration,
) -> Result<Credentials, Error> {
    if roles.is_empty() {
        return Err(Error::NoRole);
    }
    let roles = roles.iter().map(|role| role.name()).collect();
    let template = Template {
        subject: vec![Part::Organizations(roles)],
        not_before: now,
        not_after: end(now, lifetime)?,
        serial: bytes()?,
        usages: KeyUsages::DigitalSignature.into(),
        holder: Holder::Client,
    };
    client(os, &template, Kind::Ed25519)
}

/// Issues the certificate of Kubernetes' administrator: P-256, user `admin` of the group
/// `system:masters`, valid from ten seconds before `now`. `k8s` is Kubernetes' CA.
///
/// # Errors
///
/// [`Error::Lifetime`] and [`Error::Generator`].
pub fn kubernetes_admin(
    k8s: &Authority,
    now: SystemTime,
    lifetime: Duration,
) -> Result<Credentials, Error> {
    let template = Template {
        subject: vec![Part::Organizations(vec!["system:masters"]), Part::CommonName("admin")],
        not_before: now.checked_sub(CLOCK_SKEW).ok_or(Error::Lifetime)?,
        not_after: end(now, lifetime)?,
        serial: bytes()?,
        usages: KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment,
        holder: Holder::Client,
    };
    client(k8s, &template, Kind::EcdsaP256)
}

fn end(now: SystemTime, lifetime: Duration) -> Result<SystemTime, Error> {
    if lifetime < Duration::from_secs(1) {
        return Err(Error::Lifetime);
    }
    now.checked_add(lifetime).ok_or(Error::Lifetime)
}

fn client(ca: &Authority, template: &Template, kind: Kind) -> Result<Credentials, Error> {
    let key = PrivateKey::generate(kind)?;
    let certificate = certify(template, &key, Some(ca.certificate()), ca.key())?;
    Ok(Credentials { certificate, key })
}

/// Makes a certificate for `holder`'s key, signed with `signer`. Without an issuer it is
/// self-signed.
pub(super) fn certify(
    template: &Template,
    holder: &PrivateKey,
    issuer: Option<&Certificate>,
    signer: &PrivateKey,
) -> Result<Certificate, Error> {
    let time = |time| Time::try_from(time).map_err(|_| Error::Lifetime);
    let subject = subject(&template.subject)?;
    let tbs_certificate = ToBeSigned {
        version: 2, // v3 counts from 0.
        serial_number: SerialNumber::new(&template.serial).map_err(encoding)?,
        signature: signer.signature_algorithm(),
        issuer: issuer.map_or_else(|| subject.clone(), Certificate::name),
        validity: Validity::new(time(template.not_before)?, time(template.not_after)?),
        subject,
        subject_public_key_info: holder.public()?,
        extensions: extensions(template, issuer)?,
    };
    let message = tbs_certificate.to_der().map_err(encoding)?;
    let signed = Signed {
        tbs_certificate,
        signature_algorithm: signer.signature_algorithm(),
        signature: BitString::from_bytes(&signer.sign(&message)?).map_err(encoding)?,
    };
    let der = signed.to_der().map_err(encoding)?;
    Certificate::parse(pem::encode(pem::CERTIFICATE, &der).reveal().to_owned())
}

fn subject(parts: &[Part]) -> Result<RdnSequence, Error> {
    let part = |part: &Part| {
        let (oid, texts) = match part {
            Part::Organizations(names) => (ID_ORGANIZATION, names.as_slice()),
            Part::CommonName(name) => (ID_COMMON_NAME, std::slice::from_ref(name)),
        };
        let attribute = |text: &&str| {
            let value = Any::from(PrintableStringRef::new(text)?);
            Ok(AttributeTypeAndValue { oid, value })
        };
        let attributes: der::Result<Vec<_>> = texts.iter().map(attribute).collect();
        Ok(RelativeDistinguishedName::from(SetOfVec::try_from(attributes?)?))
    };
    let parts: der::Result<Vec<_>> = parts.iter().map(part).collect();
    parts.map(RdnSequence::from).map_err(encoding)
}

/// The extensions, in Go's order.
fn extensions(template: &Template, issuer: Option<&Certificate>) -> Result<Vec<Extension>, Error> {
    let usage = KeyUsage(template.usages);
    let mut extensions = vec![extension(Critical::Yes, &usage)?];
    match &template.holder {
        Holder::Authority(key_id) => {
            let purposes = ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]);
            let constraints = BasicConstraints { ca: true, path_len_constraint: None };
            let key_id = OctetString::new(key_id.as_slice()).map_err(encoding)?;
            extensions.push(extension(Critical::No, &purposes)?);
            extensions.push(extension(Critical::Yes, &constraints)?);
            extensions.push(extension(Critical::No, &SubjectKeyIdentifier(key_id))?);
        }
        Holder::Client => {
            // Exactly one purpose: apid refuses a certificate with any other beside it.
            extensions.push(extension(Critical::No, &ExtendedKeyUsage(vec![CLIENT_AUTH]))?);
        }
    }
    if let Some(key_id) = issuer.and_then(Certificate::key_id) {
        let key_identifier = Some(OctetString::new(key_id).map_err(encoding)?);
        let issuer = AuthorityKeyIdentifier { key_identifier, ..Default::default() };
        extensions.push(extension(Critical::No, &issuer)?);
    }
    Ok(extensions)
}

/// Whether a reader that does not know an extension must refuse the certificate.
#[derive(PartialEq)]
enum Critical {
    Yes,
    No,
}

fn extension<T: AssociatedOid + Encode>(critical: Critical, value: &T) -> Result<Extension, Error> {
    let extn_value = OctetString::new(value.to_der().map_err(encoding)?).map_err(encoding)?;
    Ok(Extension { extn_id: T::OID, critical: critical == Critical::Yes, extn_value })
}

fn encoding(_: der::Error) -> Error {
    Error::Encoding
}
