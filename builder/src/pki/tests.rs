//! Proofs of the bundle: against files that Talos' own library made, and with damaged ones.
//!
//! `tests/talos-gen/` is what `pkg/machinery` of v1.12.11, v1.13.9 and v1.14.0-rc.1 generates, from
//! a bundle that no cluster uses.
//!
//! Of what Ed25519 signs, equal means equal to the last byte: it signs without random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use der::flagset::FlagSet;
use der::{DateTime, Decode, Encode};
use proptest::prelude::*;
use x509_cert::ext::pkix::KeyUsages;

use super::certificate::AltName;
use super::client::{kubeconfig, talosconfig};
use super::issue::{
    CA_LIFETIME, CLIENT_LIFETIME, Credentials, Holder, Part, Role, Template, certify,
    kubernetes_admin, talos_client,
};
use super::kubeadm::{FILES, Folder};
use super::*;
use crate::report::Severity;

const BUNDLE: &str = include_str!("../../../tests/talos-gen/secrets.yaml");
const TALOSCONFIGS: [&str; 3] = [
    include_str!("../../../tests/talos-gen/talos-1.12/talosconfig.yaml"),
    include_str!("../../../tests/talos-gen/talos-1.13/talosconfig.yaml"),
    include_str!("../../../tests/talos-gen/talos-1.14/talosconfig.yaml"),
];

/// A day after Talos' library made the files.
fn now() -> SystemTime {
    DateTime::new(2026, 11, 23, 18, 30, 0).unwrap().to_system_time()
}

fn parse(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    Bundle::parse("s.yaml", text.as_bytes(), now())
}

fn talos() -> Bundle {
    parse(BUNDLE).unwrap().bundle
}

fn version(tag: &str) -> Version {
    Version::parse(tag).unwrap()
}

/// The value on the line that starts with this, after a line that starts with the section.
fn value<'a>(text: &'a str, section: &str, key: &str) -> &'a str {
    let mut lines = text.lines().skip_while(|line| line.trim() != section);
    lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": ")).unwrap()
}

fn pem_of(text: &str, section: &str, key: &str) -> String {
    pem::from_base64(value(text, section, key)).unwrap().reveal().to_owned()
}

fn x509(certificate: &Certificate) -> x509_cert::Certificate {
    let block = pem::first_block(certificate.pem()).unwrap();
    x509_cert::Certificate::from_der(&block.der).unwrap()
}

fn serial(certificate: &Certificate) -> [u8; 16] {
    let certificate = x509(certificate);
    let bytes = certificate.tbs_certificate().serial_number().as_bytes();
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut serial = [0; 16];
    serial[16 - bytes.len()..].copy_from_slice(bytes);
    serial
}

/// Makes a CA of Talos once more, from its key and what differs from run to run.
fn again(ca: &Authority, organization: Option<&'static str>) -> Certificate {
    let template = Template {
        subject: organization.map(|name| Part::Organizations(vec![name])).into_iter().collect(),
        not_before: ca.certificate().not_before(),
        not_after: ca.certificate().not_before() + CA_LIFETIME,
        serial: serial(ca.certificate()),
        usages: KeyUsages::DigitalSignature | KeyUsages::KeyCertSign,
        holder: Holder::Authority(ca.certificate().key_id().unwrap().try_into().unwrap()),
    };
    certify(&template, ca.key(), None, ca.key()).unwrap()
}

/// An extension's identifier, whether it is critical, and its value where it does not differ from
/// certificate to certificate.
fn extensions(certificate: &Certificate) -> Vec<(String, bool, Vec<u8>)> {
    let certificate = x509(certificate);
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let told = |id: &str| !matches!(id, "2.5.29.14" | "2.5.29.35");
    let all =
        extensions.iter().map(|e| (e.extn_id.to_string(), e.critical, e.extn_value.as_bytes()));
    all.map(|(id, critical, bytes)| {
        let value = if told(&id) { bytes.to_vec() } else { vec![] };
        (id, critical, value)
    })
    .collect()
}

#[test]
fn a_bundle_of_talos_is_written_as_it_was_read() {
    let loaded = parse(BUNDLE).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.bundle.to_yaml().reveal(), BUNDLE);
    assert_eq!(loaded.bundle.trustd_token().reveal(), "a7n04b.5vbxi8x6f4ws5d5z");
    assert!(matches!(loaded.bundle.encryption(), EncryptionSecret::Secretbox(_)));
}

#[test]
fn a_ca_of_talos_is_made_again_byte_for_byte() {
    let bundle = talos();
    assert_eq!(again(bundle.os(), Some("talos")).pem(), bundle.os().certificate().pem());
    for (ca, organization) in [
        (bundle.etcd(), Some("etcd")),
        (bundle.k8s(), Some("kubernetes")),
        (bundle.k8s_aggregator(), None),
    ] {
        let (own, theirs) = (x509(&again(ca, organization)), x509(ca.certificate()));
        let der =
            |certificate: &x509_cert::Certificate| certificate.tbs_certificate().to_der().unwrap();
        assert_eq!(der(&own), der(&theirs), "{organization:?}");
        assert_eq!(own.signature_algorithm(), theirs.signature_algorithm());
    }
}

#[test]
fn a_talosconfig_is_made_again_byte_for_byte() {
    for text in TALOSCONFIGS {
        let certificate = Certificate::parse(pem_of(text, "contexts:", "crt")).unwrap();
        let key = PrivateKey::parse(Secret::new(pem_of(text, "contexts:", "key"))).unwrap();
        let ca = talos().os().clone();
        let template = Template {
            subject: vec![Part::Organizations(vec!["os:admin"])],
            not_before: certificate.not_before(),
            not_after: certificate.not_before() + CLIENT_LIFETIME,
            serial: serial(&certificate),
            usages: KeyUsages::DigitalSignature.into(),
            holder: Holder::Client,
        };
        let own = certify(&template, &key, Some(ca.certificate()), ca.key()).unwrap();
        assert_eq!(own.pem(), certificate.pem());
        let client = Credentials { certificate: own, key };
        let written = talosconfig("fabric", &[], &[], ca.certificate(), &client);
        assert_eq!(written.reveal(), text);
    }
}

#[test]
fn a_talosconfig_lists_endpoints_and_nodes_as_go_does() {
    let ca = talos().os().clone();
    let roles = BTreeSet::from([Role::Reader]);
    let client = talos_client(&ca, &roles, now(), CLIENT_LIFETIME).unwrap();
    let text = talosconfig("12", &["10.0.0.1", "::1"], &["x"], ca.certificate(), &client);
    let head: String = text.reveal().split_inclusive('\n').take(8).collect();
    insta::assert_snapshot!(head, @r#"
    context: "12"
    contexts:
        "12":
            endpoints:
                - 10.0.0.1
                - ::1
            nodes:
                - x
    "#);
}

#[test]
fn a_kubeconfig_has_the_names_of_talos() {
    let ca = talos().k8s().clone();
    let admin = kubernetes_admin(&ca, now(), CLIENT_LIFETIME).unwrap();
    let text = kubeconfig("prod", "https://[2001:db8::1]:6443", ca.certificate(), &admin);
    let mut text = text.reveal().to_owned();
    for (pem, mark) in [
        (ca.certificate().pem(), "CA"),
        (admin.certificate.pem(), "CRT"),
        (admin.key.pem().reveal(), "KEY"),
    ] {
        text = text.replace(pem::to_base64(pem).reveal(), mark);
    }
    insta::assert_snapshot!(text, @r"
    apiVersion: v1
    clusters:
    - cluster:
        certificate-authority-data: CA
        server: https://[2001:db8::1]:6443
      name: prod
    contexts:
    - context:
        cluster: prod
        namespace: default
        user: admin@prod
      name: admin@prod
    current-context: admin@prod
    kind: Config
    users:
    - name: admin@prod
      user:
        client-certificate-data: CRT
        client-key-data: KEY
    ");
}

#[test]
fn a_generated_bundle_has_the_form_of_talos() {
    let own = Bundle::generate(&version("v1.13.9"), now()).unwrap();
    let theirs = talos();
    for (own, theirs) in [
        (own.etcd(), theirs.etcd()),
        (own.k8s(), theirs.k8s()),
        (own.k8s_aggregator(), theirs.k8s_aggregator()),
        (own.os(), theirs.os()),
    ] {
        let (a, b) = (own.certificate(), theirs.certificate());
        assert_eq!(a.subject(), b.subject());
        assert_eq!(extensions(a), extensions(b));
        assert_eq!(a.not_before(), now());
        assert_eq!(a.not_after(), now() + Duration::from_secs(315_360_000));
        assert_eq!(a.key_id().unwrap().len(), 20);
        assert_ne!(a.key_id(), b.key_id());
        assert_ne!(serial(a), serial(b));
        let form = |key: &PrivateKey| {
            let block = pem::first_block(key.pem().reveal()).unwrap();
            // The form of the key without the key: 32 bytes, and 65 of a public point.
            let skipped = if block.label.starts_with("EC") { 7..39 } else { 16..48 };
            let kept = block.der.iter().enumerate().filter(|(n, _)| !skipped.contains(n));
            let kept: Vec<u8> = kept.map(|(_, byte)| *byte).take(24).collect();
            (block.label.to_owned(), block.der.len(), kept)
        };
        assert_eq!(form(own.key()), form(theirs.key()));
    }
    let service_account = own.k8s_service_account().pem().reveal();
    assert!(service_account.starts_with("-----BEGIN RSA PRIVATE KEY-----\nMII"));
    let block = pem::first_block(service_account).unwrap();
    let rsa = RsaKeyPair::from_der(&block.der).unwrap();
    assert_eq!(rsa.public_modulus_len(), 512);
    // What is written is read again, without a finding, and means the same.
    let again = parse(own.to_yaml().reveal()).unwrap();
    assert_eq!(again.warnings, []);
    assert_eq!(again.bundle.to_yaml().reveal(), own.to_yaml().reveal());
}

#[test]
fn what_differs_between_releases_is_as_in_each() {
    let of = |tag| {
        let part = Kubernetes {
            etcd: talos().etcd,
            k8s: talos().k8s,
            aggregator: talos().k8s_aggregator,
            service_account: talos().k8s_service_account,
            bootstrap_token: talos().bootstrap_token,
        };
        Bundle::complete(part, &version(tag), now()).unwrap()
    };
    let any = |tag, signs: [char; 2]| (0..64).any(|_| of(tag).cluster_id.reveal().contains(signs));
    let (url, standard) = (['-', '_'], ['+', '/']);
    assert!(any("v1.13.9", url) && !any("v1.13.9", standard));
    assert!(any("v1.14.0-rc.1", standard) && !any("v1.14.1", url));
    assert!(matches!(of("v1.3.0").encryption, EncryptionSecret::Secretbox(_)));
    let old = of("v1.2.9");
    assert!(matches!(old.encryption, EncryptionSecret::AesCbc(_)));
    assert!(old.to_yaml().reveal().contains("\n    aescbcencryptionsecret: "));
    let key = Bundle::generate(&version("v1.6.8"), now()).unwrap().k8s_service_account;
    assert!(key.pem().reveal().starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
}

#[test]
fn tokens_use_every_character_and_keep_their_form() {
    let tokens: Vec<_> = (0..200).map(|_| random::token().unwrap()).collect();
    let mut counts = BTreeMap::new();
    for token in &tokens {
        assert!(random::is_token(token.reveal()));
        token.reveal().chars().for_each(|c| *counts.entry(c).or_insert(0) += 1);
    }
    assert_eq!(counts.len(), 37);
    for text in
        ["", ".", "abcdef.0123456789abcde", "abcdef.0123456789abcdefg", "ABCDEF.0123456789abcdef"]
    {
        assert!(!random::is_token(text), "{text}");
    }
}

#[test]
fn a_client_has_one_set_of_roles() {
    let ca = talos().os().clone();
    let roles = BTreeSet::from(Role::ALL);
    let client = talos_client(&ca, &roles, now(), Duration::from_secs(3600)).unwrap();
    let subject = x509(&client.certificate);
    assert_eq!(subject.tbs_certificate().subject().len(), 1);
    let found: BTreeSet<_> = client.certificate.organizations().into_iter().collect();
    assert_eq!(found, Role::ALL.iter().map(|role| role.name().to_owned()).collect());
    assert_eq!(client.certificate.common_name(), None);
    assert_eq!(client.certificate.not_after(), now() + Duration::from_secs(3600));
    assert!(!client.certificate.is_ca());
    assert!(client.key.pem().reveal().starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n"));
    for role in Role::ALL {
        assert_eq!(Role::find(role.name()), Some(role));
    }
    assert_eq!(Role::find("admin"), None);
}

#[test]
fn an_administrator_has_name_group_and_time_of_talos() {
    let ca = talos().k8s().clone();
    let admin = kubernetes_admin(&ca, now(), CLIENT_LIFETIME).unwrap();
    assert_eq!(admin.certificate.subject(), "CN=admin,O=system:masters");
    assert_eq!(admin.certificate.not_before(), now() - Duration::from_secs(10));
    assert_eq!(admin.certificate.not_after(), now() + CLIENT_LIFETIME);
    let ids: Vec<_> =
        extensions(&admin.certificate).into_iter().map(|(id, c, _)| (id, c)).collect();
    let want = [("2.5.29.15", true), ("2.5.29.37", false), ("2.5.29.35", false)];
    assert_eq!(ids, want.map(|(id, critical)| (id.to_owned(), critical)));
    // digitalSignature and keyEncipherment: bits 0 and 2.
    assert_eq!(extensions(&admin.certificate)[0].2, [3, 2, 5, 0xa0]);
}

#[test]
fn what_cannot_be_issued_is_refused() {
    let bundle = talos();
    let none = talos_client(bundle.os(), &BTreeSet::new(), now(), CLIENT_LIFETIME);
    assert_eq!(none.unwrap_err(), Error::NoRole);
    for lifetime in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        let error = kubernetes_admin(bundle.k8s(), now(), lifetime).unwrap_err();
        assert_eq!(error, Error::Lifetime);
    }
    let year_9999 = kubernetes_admin(bundle.k8s(), now(), Duration::from_secs(8000 * 31_556_952));
    assert_eq!(year_9999.unwrap_err(), Error::Lifetime);
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(Bundle::generate(&version("v1.6.0"), early).unwrap_err(), Error::Lifetime);
    let mixed = Authority::new(bundle.etcd().certificate().clone(), bundle.k8s().key().clone());
    assert_eq!(mixed.unwrap_err(), Error::ForeignKey);
    let leaf = kubernetes_admin(bundle.k8s(), now(), CLIENT_LIFETIME).unwrap();
    assert_eq!(Authority::new(leaf.certificate, leaf.key).unwrap_err(), Error::NoAuthority);
}

#[test]
fn a_year_after_2049_is_written_in_full() {
    let late = DateTime::new(2045, 1, 1, 0, 0, 0).unwrap().to_system_time();
    let ca = issue::authority(Some("talos"), Kind::Ed25519, late).unwrap();
    assert_eq!(ca.certificate().not_before(), late);
    assert_eq!(ca.certificate().not_after(), late + CA_LIFETIME);
}

#[test]
fn keys_in_foreign_forms_are_read_and_kept() {
    let of = |key: &PrivateKey| pem::first_block(key.pem().reveal()).unwrap().der.to_vec();
    let bundle = talos();
    let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&of(bundle.os().key())).unwrap();
    let rsa = of(bundle.k8s_service_account());
    let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(&RsaKeyPair::from_der(&rsa).unwrap()).unwrap();
    let p256 = aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let p256: &'static _ = Box::leak(Box::new(p256));
    let ecdsa = EcdsaKeyPair::from_private_key_der(p256, &of(bundle.k8s().key())).unwrap();
    let v2 = ed25519.to_pkcs8().unwrap();
    assert!(v2.as_ref().len() > 48);
    let cases = [
        (pem::encode("PRIVATE KEY", v2.as_ref()), Some(bundle.os())),
        (pem::encode("ED25519 PRIVATE KEY", v2.as_ref()), Some(bundle.os())),
        (pem::encode("PRIVATE KEY", &of(bundle.os().key())), Some(bundle.os())),
        (pem::encode("PRIVATE KEY", ecdsa.to_pkcs8v1().unwrap().as_ref()), Some(bundle.k8s())),
        (pem::encode("PRIVATE KEY", rsa.as_ref()), None),
    ];
    for (text, ca) in cases {
        let key = PrivateKey::parse(text.clone()).unwrap();
        assert_eq!(key.pem().reveal(), text.reveal());
        let public = ca.map(|ca| ca.certificate().is_of(&key));
        assert_ne!(public, Some(false), "{key:?}");
    }
    // Talos takes PKCS #8 under its own two labels alone.
    for (label, der) in [
        ("EC PRIVATE KEY", ecdsa.to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("RSA PRIVATE KEY", rsa.as_ref().to_vec()),
        ("PRIVATE KEY", of(bundle.k8s().key())),
        ("PRIVATE KEY", of(bundle.k8s_service_account())),
        ("ED25519 PRIVATE KEY", rsa.as_ref().to_vec()),
    ] {
        assert_eq!(PrivateKey::parse(pem::encode(label, &der)).unwrap_err(), Error::Key, "{label}");
    }
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let p384 = pem::encode("PRIVATE KEY", p384.to_pkcs8v1().unwrap().as_ref());
    assert!(PrivateKey::parse(p384).is_ok());
}

#[test]
fn an_rsa_ca_issues_too() {
    let key = talos().k8s_service_account().clone();
    let template = Template {
        subject: vec![Part::CommonName("kubernetes")],
        not_before: now(),
        not_after: now() + CA_LIFETIME,
        serial: [0; 16],
        usages: KeyUsages::DigitalSignature | KeyUsages::KeyCertSign,
        holder: Holder::Authority([7; 20]),
    };
    let ca = Authority::new(certify(&template, &key, None, &key).unwrap(), key).unwrap();
    let admin = kubernetes_admin(&ca, now(), CLIENT_LIFETIME).unwrap();
    assert_eq!(
        x509(&admin.certificate).signature_algorithm().oid.to_string(),
        "1.2.840.113549.1.1.11"
    );
    let template = Template { usages: FlagSet::from(KeyUsages::DigitalSignature), ..template };
    let weak = certify(&template, ca.key(), None, ca.key()).unwrap();
    assert_eq!(Authority::new(weak, ca.key().clone()).unwrap_err(), Error::NoAuthority);
}

#[test]
fn pem_is_found_as_go_finds_it() {
    let pem = talos().os().certificate().pem().to_owned();
    let der = pem::first_block(&pem).unwrap().der.to_vec();
    let cases = [
        format!("subject=talos\n{pem}"),
        pem.replace('\n', "\r\n"),
        format!("{pem}{}", talos().etcd().certificate().pem()),
        format!("-----BEGIN NOTHING-----\n{pem}"),
        pem.trim_end().to_owned(),
        pem.replacen("-----\n", "-----\nComment: x\n\n", 1),
    ];
    for text in cases {
        assert_eq!(
            pem::first_block(&text).map(|block| block.der.to_vec()),
            Some(der.clone()),
            "{text}"
        );
        assert_eq!(Certificate::parse(text.clone()).unwrap().pem(), text);
    }
    for text in [
        "",
        "-----BEGIN ",
        "-----BEGIN X-----",
        "-----BEGIN X-----\n",
        "x -----BEGIN X-----\n-----END X-----\n",
        "-----BEGIN X-----\n-----END Y-----\n",
        "-----BEGIN X-----\nä===\n-----END X-----\n",
    ] {
        assert!(pem::first_block(text).is_none(), "{text}");
    }
    assert_eq!(
        Certificate::parse(talos().os().key().pem().reveal().to_owned()).unwrap_err(),
        Error::Label("a certificate")
    );
}

#[test]
fn a_certificate_tells_its_names() {
    // A leaf with names, made by OpenSSL 3.0.
    let pem = include_str!("../../../tests/talos-gen/names.crt").to_owned();
    let certificate = Certificate::parse(pem).unwrap();
    assert_eq!(certificate.subject(), "CN=api,O=fabric,C=DE");
    assert_eq!(certificate.common_name().as_deref(), Some("api"));
    assert_eq!(
        certificate.alt_names(),
        [
            AltName::Dns("api.fabric.example".to_owned()),
            AltName::Ip("2001:db8::1".parse().unwrap()),
            AltName::Ip("192.0.2.1".parse().unwrap()),
            AltName::Uri("spiffe://fabric/api".to_owned()),
            AltName::Email("ops@fabric.example".to_owned()),
        ]
    );
    assert!(!certificate.is_ca());
}

/// The secrets of the bundle, as base64 and as what is in it.
fn secrets() -> Vec<String> {
    let values = BUNDLE.lines().filter_map(|line| line.trim().split_once(": "));
    let values: Vec<_> = values.map(|(_, value)| value.to_owned()).collect();
    let texts = values.iter().filter_map(|value| pem::from_base64(value));
    let lines = texts.flat_map(|text| {
        text.reveal().lines().filter(|l| !l.contains('-')).map(str::to_owned).collect::<Vec<_>>()
    });
    let lines: Vec<_> = lines.filter(|line| line.len() > 12).collect();
    [values, lines].concat()
}

#[test]
fn nothing_shows_a_secret() {
    let bundle = talos();
    let client = talos_client(bundle.os(), &BTreeSet::from([Role::Admin]), now(), CLIENT_LIFETIME);
    let shown = format!(
        "{bundle:?} {:?} {:?} {:?} {:?} {client:?} {:?}",
        bundle.os(),
        bundle.encryption(),
        bundle.cluster_secret(),
        bundle.to_yaml(),
        parse(BUNDLE),
    );
    for secret in secrets() {
        assert!(!shown.contains(&secret), "{shown}");
    }
}

/// The bundle with a value in place of another; the value's line stays where it is.
fn with(section: &str, key: &str, new: &str) -> String {
    BUNDLE.replacen(value(BUNDLE, section, key), new, 1)
}

#[test]
fn every_problem_of_a_bundle_has_a_code_and_a_place() {
    let pem = |text: &str| pem::to_base64(text).reveal().to_owned();
    let etcd_key = value(BUNDLE, "etcd:", "key");
    let os_crt = value(BUNDLE, "os:", "crt");
    let cases: Vec<(String, &str, &str)> = vec![
        (String::new(), "bundle-document", "1:1"),
        ("- a\n".into(), "bundle-document", "1:1"),
        ("a: [\n".into(), "yaml-syntax", "1:4"),
        ("a: \"x\0\"\n".into(), "yaml-character", "1:6"),
        (with("cluster:", "id", "''"), "bundle-missing", "2:5"),
        (with("cluster:", "id", "[a]"), "bundle-type", "2:9"),
        (with("cluster:", "id", "\"a\\0\""), "bundle-cluster-id", "2:9"),
        (with("cluster:", "id", "!!binary aGFsbG8="), "bundle-type", "2:18"),
        (with("cluster:", "secret", "aGFsbG8="), "bundle-cluster-secret", "3:13"),
        (with("cluster:", "secret", "hunter2"), "bundle-cluster-secret", "3:13"),
        (with("secrets:", "bootstraptoken", "hunter2"), "pki-token", "5:21"),
        (with("secrets:", "secretboxencryptionsecret", "hunter2"), "bundle-encryption", "6:32"),
        (with("secrets:", "secretboxencryptionsecret", "~"), "bundle-encryption", "5:5"),
        (
            BUNDLE.replace("    secretbox", "    aescbcencryptionsecret: aGE=\n    secretbox"),
            "bundle-encryption",
            "6:29",
        ),
        (with("trustdinfo:", "token", "\"a\\nb\""), "pki-token", "8:12"),
        (with("etcd:", "crt", "hunter2"), "bundle-base64", "11:14"),
        (with("etcd:", "crt", "aGFsbG8="), "pki-pem", "11:14"),
        (with("etcd:", "crt", etcd_key), "pki-pem", "11:14"),
        (
            with(
                "etcd:",
                "crt",
                &pem("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            ),
            "pki-certificate",
            "11:14",
        ),
        (with("etcd:", "crt", "'-----BEGIN CERTIFICATE-----'"), "bundle-base64", "11:14"),
        (with("etcd:", "key", "'******'"), "bundle-redacted", "12:14"),
        (with("etcd:", "key", os_crt), "pki-pem", "12:14"),
        (
            with(
                "etcd:",
                "key",
                &pem("-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n"),
            ),
            "pki-key",
            "12:14",
        ),
        (with("etcd:", "key", value(BUNDLE, "k8s:", "key")), "pki-foreign-key", "12:14"),
        (with("etcd:", "crt", value(TALOSCONFIGS[0], "contexts:", "crt")), "pki-no-ca", "11:14"),
        (with("k8sserviceaccount:", "key", "aGFsbG8="), "pki-pem", "20:14"),
        (with("cluster:", "id", &"x".repeat(50_000)), "bundle-value", "2:9"),
        (format!("{BUNDLE}# {}", "x".repeat(1 << 18)), "bundle-too-large", "1:1"),
        (BUNDLE.replace("certs:", "cert: x\nother:"), "bundle-missing", "1:1"),
        (BUNDLE.replace("trustdinfo:\n    token: ", "trustdinfo: "), "bundle-type", "7:13"),
    ];
    for (text, code, place) in cases {
        let problems = parse(&text).unwrap_err();
        let told = format!("{problems:?}");
        let secrets = secrets();
        assert!(!told.contains("hunter2") && !secrets.iter().any(|s| told.contains(s)), "{told}");
        let found = problems.iter().find(|problem| problem.severity == Severity::Error).unwrap();
        let at = found.place.as_ref().unwrap().to_string();
        assert_eq!((found.code, at.as_str()), (code, &*format!("s.yaml:{place}")), "{told}");
        assert!(found.help.is_some() || found.code.starts_with("yaml"), "{told}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = with("cluster:", "secret", "x").replace("a7n04b.5vbxi8x6f4ws5d5z", "'a b'");
    let text = text.replace("    k8s:\n", "    K8s:\n");
    let codes: Vec<_> = parse(&text).unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["bundle-cluster-secret", "pki-token", "bundle-missing", "bundle-key"]);
}

#[test]
fn keys_that_talos_passes_over_are_warned_of() {
    let text = BUNDLE.replace("trustdinfo:", "note: x\ntrustdInfo: {}\ntrustdinfo:");
    let warnings = parse(&text).unwrap().warnings;
    insta::assert_snapshot!(warnings[0], @r"
    warning: this key is nearly `trustdinfo`, and Talos passes over it
      --> s.yaml:8:1
    help: write `trustdinfo`
    ");
    assert_eq!(warnings.len(), 1);
    let weak = parse(&BUNDLE.replace("a7n04b.5vbxi8x6f4ws5d5z", "Secret-of-2019")).unwrap();
    assert_eq!(weak.warnings[0].code, "pki-token");
    assert_eq!(parse(&format!("{BUNDLE}---\n# nothing\n")).unwrap().warnings, []);
    let two = parse(&format!("{BUNDLE}---\na: b\n")).unwrap();
    assert_eq!(two.warnings[0].code, "bundle-documents");
    let camel = BUNDLE.replace("certs:", "Certs:");
    let codes: Vec<_> = parse(&camel).unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["bundle-missing", "bundle-key"]);
}

#[test]
fn the_rendition_in_json_is_read() {
    let v = |section, key| value(BUNDLE, section, key);
    let pair = |section| serde_json::json!({"Crt": v(section, "crt"), "Key": v(section, "key")});
    let json = serde_json::json!({
        "Cluster": {"Id": v("cluster:", "id"), "Secret": v("cluster:", "secret")},
        "Secrets": {
            "BootstrapToken": v("secrets:", "bootstraptoken"),
            "SecretboxEncryptionSecret": v("secrets:", "secretboxencryptionsecret"),
        },
        "TrustdInfo": {"Token": v("trustdinfo:", "token")},
        "Certs": {
            "Etcd": pair("etcd:"), "K8s": pair("k8s:"), "K8sAggregator": pair("k8saggregator:"),
            "K8sServiceAccount": {"Key": v("k8sserviceaccount:", "key")}, "OS": pair("os:"),
        },
    });
    let loaded = parse(&serde_json::to_string_pretty(&json).unwrap()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.bundle.to_yaml().reveal(), BUNDLE);
}

#[test]
fn the_time_decides_which_cas_are_taken() {
    let at = |year| {
        let now = DateTime::new(year, 11, 1, 0, 0, 0).unwrap().to_system_time();
        match Bundle::parse("s.yaml", BUNDLE.as_bytes(), now) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        }
    };
    for (year, code, severity) in [
        (2025, "pki-not-yet-valid", Severity::Warning),
        (2036, "pki-expires-soon", Severity::Warning),
        (2037, "pki-expired", Severity::Error),
    ] {
        let found = at(year);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|one| (one.code, one.severity) == (code, severity)), "{found:?}");
    }
    assert_eq!(at(2030), []);
    insta::assert_snapshot!(at(2037)[0], @r"
    error: the certificate in `certs.etcd` expired at 2036-11-19T18:27:13Z
      --> s.yaml:11:14
    help: Talos and Kubernetes cannot renew a CA by themselves; rotate it
    ");
}

fn folder() -> Folder {
    let bundle = talos();
    let pair =
        |ca: &Authority| [ca.certificate().pem().to_owned(), ca.key().pem().reveal().to_owned()];
    let [a, b] = pair(bundle.k8s());
    let [c, d] = pair(bundle.etcd());
    let [e, f] = pair(bundle.k8s_aggregator());
    let key = bundle.k8s_service_account().pem().reveal().to_owned();
    let files = [a, b, c, d, e, f, key].map(|text| Zeroizing::new(text.into_bytes()));
    Folder { path: "pki".to_owned(), files, bootstrap_token: None }
}

#[test]
fn a_folder_of_kubeadm_is_taken_over_byte_for_byte() {
    let token = "abcdef.0123456789abcdef";
    let taken = Folder { bootstrap_token: Some(Secret::new(token.to_owned())), ..folder() };
    let loaded = Bundle::from_kubeadm(taken, &version("v1.14.1"), now()).unwrap();
    let (own, theirs) = (loaded.bundle, talos());
    assert_eq!(own.k8s().certificate().pem(), theirs.k8s().certificate().pem());
    assert_eq!(own.etcd().key().pem().reveal(), theirs.etcd().key().pem().reveal());
    assert_eq!(own.bootstrap_token().reveal(), token);
    assert_ne!(own.os().certificate().pem(), theirs.os().certificate().pem());
    assert!(parse(own.to_yaml().reveal()).is_ok());
    let made = Bundle::from_kubeadm(folder(), &version("v1.14.1"), now()).unwrap();
    assert!(random::is_token(made.bundle.bootstrap_token().reveal()));
}

#[test]
fn what_is_wrong_with_a_folder_is_told_by_file() {
    let mut bad = folder();
    bad.files.swap(1, 3);
    bad.files[5] = Zeroizing::new(vec![0xff]);
    bad.files[6] = Zeroizing::new(vec![b'x'; 300 << 10]);
    bad.bootstrap_token = Some(Secret::new("hunter2".to_owned()));
    assert_eq!(format!("{bad:?}"), "Folder { path: \"pki\", .. }");
    let problems = Bundle::from_kubeadm(bad, &version("v1.14.1"), now()).unwrap_err();
    let told =
        |problem: &Diagnostic| format!("{} {}", problem.code, problem.place.as_ref().unwrap().file);
    let told: Vec<_> = problems.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "pki-foreign-key pki/ca.key",
            "pki-foreign-key pki/etcd/ca.key",
            "pki-pem pki/front-proxy-ca.key",
            "pki-too-large pki/sa.key",
            "pki-token pki",
        ]
    );
    assert!(!format!("{problems:?}").contains("hunter2"));
    assert_eq!(FILES.len(), folder().files.len());
}

/// What go-yaml v4.0.0-rc.6 makes of each text, as a value of a mapping.
#[test]
fn texts_are_quoted_as_go_yaml_quotes_them() {
    for (text, want) in [
        ("123456.1234567890123456", "\"123456.1234567890123456\""),
        ("123456", "\"123456\""),
        ("0x12", "\"0x12\""),
        ("0o17", "\"0o17\""),
        ("089", "\"089\""),
        ("1_000", "\"1_000\""),
        ("1e3", "\"1e3\""),
        ("0b11", "\"0b11\""),
        ("0b2", "0b2"),
        ("0x", "0x"),
        (".5", "\".5\""),
        ("-1", "\"-1\""),
        (".inf", "\".inf\""),
        ("infinity", "infinity"),
        ("nan", "nan"),
        ("12e456.7890123456789012", "12e456.7890123456789012"),
        ("yes", "'yes'"),
        ("No", "'No'"),
        ("true", "\"true\""),
        ("Null", "\"Null\""),
        ("~", "\"~\""),
        ("", "\"\""),
        ("-abc", "-abc"),
        ("---abc", "'---abc'"),
        ("-", "'-'"),
        ("+abc/=", "+abc/="),
        ("/x", "/x"),
        ("=", "="),
        ("<<", "'<<'"),
        ("2024-01-02", "\"2024-01-02\""),
        ("2024-1-2", "\"2024-1-2\""),
        ("24-01-02", "24-01-02"),
        ("a: b", "'a: b'"),
        ("a:b", "a:b"),
        ("a:", "'a:'"),
        ("a #b", "'a #b'"),
        ("#a", "'#a'"),
        (" a", "' a'"),
        ("\x07", "\"\\U00000007\""),
        ("'a'", "'''a'''"),
        ("it's", "it's"),
        ("\"a\"", "'\"a\"'"),
        ("@a", "'@a'"),
        ("?a", "?a"),
        (":a", ":a"),
        ("1:30", "'1:30'"),
        ("::1", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("admin@prod", "admin@prod"),
        ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
    ] {
        assert_eq!(write::scalar(text).reveal(), want, "{text}");
    }
}

proptest! {
    #[test]
    fn every_text_is_read_as_it_was_written(text in "[ -~\\PC\n\t\x07\u{85}é]{0,20}") {
        let line = format!("k: {}\n", write::scalar(&text).reveal());
        let nodes = crate::yaml::parse("t", line.as_bytes()).unwrap();
        let node = nodes[0].get("k").unwrap();
        prop_assert!(!node.is_null());
        prop_assert_eq!(&node.scalar().unwrap().text, &text);
    }

    #[test]
    fn a_mutated_bundle_is_taken_or_refused(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let mut bytes = BUNDLE.as_bytes().to_vec();
        for (at, with, how) in cuts {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = with,
                1 => bytes.insert(at, with),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        match Bundle::parse("s.yaml", &bytes, now()) {
            Ok(loaded) => {
                let text = loaded.bundle.to_yaml();
                let again = Bundle::parse("s.yaml", text.reveal().as_bytes(), now()).unwrap();
                let again = again.bundle.to_yaml();
                prop_assert_eq!(again.reveal(), text.reveal());
            }
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.place.is_some())),
        }
    }

    #[test]
    fn mutated_der_is_taken_or_refused(
        which in 0usize..6,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let bundle = talos();
        let texts = [
            bundle.os().certificate().pem().to_owned(),
            bundle.k8s().certificate().pem().to_owned(),
            include_str!("../../../tests/talos-gen/names.crt").to_owned(),
            bundle.os().key().pem().reveal().to_owned(),
            bundle.k8s().key().pem().reveal().to_owned(),
            bundle.k8s_service_account().pem().reveal().to_owned(),
        ];
        let block = pem::first_block(&texts[which]).unwrap();
        let mut der = block.der.to_vec();
        for (at, with, how) in cuts {
            let at = at.index(der.len());
            match how {
                0 => der[at] = with,
                1 => der.insert(at, with),
                _ => drop(der.remove(at)),
            }
        }
        let text = pem::encode(block.label, &der);
        if let Ok(certificate) = Certificate::parse(text.reveal().to_owned()) {
            let _ = (certificate.subject(), certificate.alt_names().len(), certificate.not_after());
        }
        if let Ok(key) = PrivateKey::parse(text) {
            prop_assert!(key.sign(b"message").is_ok());
        }
    }
}
