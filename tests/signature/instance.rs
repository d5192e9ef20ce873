//! A private instance of Sigstore: a CA, a CT log and a transparency log, and what is signed with
//! their help. All times are near [`NOW`].
//!
//! Source: RFC 5280, RFC 6962 (SCTs, Merkle trees); sigstore/fulcio `docs/oid-info.md`,
//! sigstore/rekor `pkg/types`, golang.org/x/mod `sumdb/note` (checkpoints).

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// When all is signed: 2025-06-15, 12:00, in Unix time.
pub(crate) const NOW: u64 = 1_749_988_800;
const FROM: &str = "250615115500Z";
const TO: &str = "250615120500Z";

pub(crate) fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value in DER.
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let len = u16::try_from(content.len()).unwrap();
    let [high, low] = len.to_be_bytes();
    let head = match len {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// An extension; its identifier is in DER without its head.
fn extension(id: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if is_critical { &[1, 1, 0xff] } else { &[] };
    der(0x30, &[&der(6, &[id]), critical, &der(4, &[value])])
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

/// The key as certificates have it.
fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn pem(cert: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", b64(cert))
}

fn copy(key: &EcdsaKeyPair) -> EcdsaKeyPair {
    let pkcs8 = key.to_pkcs8v1().unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap()
}

const ECDSA_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// 1.3.6.1.4.1.57264.1, to which Fulcio adds a number.
const FULCIO: [u8; 9] = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1];

pub(crate) struct Instance {
    ca: EcdsaKeyPair,
    ct: EcdsaKeyPair,
    log: EcdsaKeyPair,
    logged_at: u64,
}

impl Instance {
    pub(crate) fn new() -> Self {
        Self { ca: key(), ct: key(), log: key(), logged_at: NOW }
    }

    fn copied(&self) -> Self {
        let (ca, ct, log) = (copy(&self.ca), copy(&self.ct), copy(&self.log));
        Self { ca, ct, log, logged_at: self.logged_at }
    }

    /// The same, whose log is so many seconds late.
    pub(crate) fn logging_at(&self, late: i64) -> Self {
        Self { logged_at: NOW.checked_add_signed(late).unwrap(), ..self.copied() }
    }

    pub(crate) fn with_ct_log_of(&self, other: &Self) -> Self {
        Self { ct: copy(&other.ct), ..self.copied() }
    }

    pub(crate) fn with_log_of(&self, other: &Self) -> Self {
        Self { log: copy(&other.log), ..self.copied() }
    }

    /// What users of the instance trust.
    pub(crate) fn trusted_root(&self) -> String {
        let log = |key: &EcdsaKeyPair, url: &str| {
            json!({
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": b64(&spki(key)),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": { "start": "2025-01-01T00:00:00Z" },
                },
                "logId": { "keyId": b64(&sha256(&spki(key))) },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.log, "https://rekor.example")],
            "certificateAuthorities": [{
                "subject": { "organization": "example", "commonName": "ca" },
                "uri": "https://fulcio.example",
                "certChain": { "certificates": [{ "rawBytes": b64(&self.root()) }] },
                "validFor": { "start": "2025-01-01T00:00:00Z" },
            }],
            "ctlogs": [log(&self.ct, "https://ct.example")],
        })
        .to_string()
    }

    /// A certificate, signed by the CA.
    fn certificate(&self, subject: &[u8], times: [&str; 2], spki: &[u8], ext: &[u8]) -> Vec<u8> {
        let tbs = self.tbs(subject, times, spki, ext);
        let signature = sign(&self.ca, &tbs);
        der(0x30, &[&tbs, ECDSA_SHA256, &der(3, &[&[0], &signature])])
    }

    fn tbs(&self, subject: &[u8], times: [&str; 2], spki: &[u8], ext: &[u8]) -> Vec<u8> {
        let validity = times.map(|time| der(0x17, &[time.as_bytes()]));
        der(
            0x30,
            &[
                &[0xa0, 3, 2, 1, 2],
                &der(2, &[&[0x21, 0x43]]),
                ECDSA_SHA256,
                &Self::name(),
                &der(0x30, &[&validity[0], &validity[1]]),
                subject,
                spki,
                &der(0xa3, &[&der(0x30, &[ext])]),
            ],
        )
    }

    /// The CA's name.
    fn name() -> Vec<u8> {
        let attribute = der(0x30, &[&der(6, &[&[0x55, 4, 3]]), &der(12, &[b"ca"])]);
        der(0x30, &[&der(0x31, &[&attribute])])
    }

    fn root(&self) -> Vec<u8> {
        let ext = [
            extension(&[0x55, 0x1d, 0x13], true, &der(0x30, &[&[1, 1, 0xff]])),
            extension(&[0x55, 0x1d, 0x0f], true, &[3, 2, 1, 6]),
            extension(&[0x55, 0x1d, 0x0e], false, &der(4, &[&sha256(&spki(&self.ca))[..20]])),
        ];
        let times = ["250101000000Z", "350101000000Z"];
        self.certificate(&Self::name(), times, &spki(&self.ca), &ext.concat())
    }

    /// A certificate for an address of mail, with the CT log's word.
    fn leaf(&self, key: &EcdsaKeyPair, mail: &str, issuer: &str) -> Vec<u8> {
        let fulcio = |number: u8| [&FULCIO[..], &[number]].concat();
        let mail = der(0x30, &[&der(0x81, &[mail.as_bytes()])]);
        let ext = [
            extension(&[0x55, 0x1d, 0x0f], true, &[3, 2, 7, 0x80]),
            extension(
                &[0x55, 0x1d, 0x25],
                false,
                &der(0x30, &[&[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3]]),
            ),
            extension(&[0x55, 0x1d, 0x0e], false, &der(4, &[&sha256(&spki(key))[..20]])),
            extension(
                &[0x55, 0x1d, 0x23],
                false,
                &der(0x30, &[&der(0x80, &[&sha256(&spki(&self.ca))[..20]])]),
            ),
            extension(&[0x55, 0x1d, 0x11], true, &mail),
            extension(&fulcio(1), false, issuer.as_bytes()),
            extension(&fulcio(8), false, &der(12, &[issuer.as_bytes()])),
        ]
        .concat();
        let (subject, spki) = (der(0x30, &[]), spki(key));
        let before = self.tbs(&subject, [FROM, TO], &spki, &ext);
        let sct_id = [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
        let sct = extension(&sct_id, false, &der(4, &[&self.sct(&before)]));
        self.certificate(&subject, [FROM, TO], &spki, &[ext, sct].concat())
    }

    /// RFC 6962, 3.2 and 3.3: the list with the log's word about a certificate without the list.
    fn sct(&self, tbs: &[u8]) -> Vec<u8> {
        let time = (NOW * 1000).to_be_bytes();
        let len = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let ca = sha256(&spki(&self.ca));
        let signed = [&[0, 0], &time[..], &[0, 1], &ca, &len[1..], tbs, &[0, 0]].concat();
        let signature = sign(&self.ct, &signed);
        let two = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        let id = sha256(&spki(&self.ct));
        let head: [&[u8]; 5] = [&[0], &id, &time, &[0, 0], &[4, 3]];
        let sct = [&head.concat(), &two(signature.len())[..], &signature].concat();
        [&two(sct.len() + 2)[..], &two(sct.len()), &sct].concat()
    }

    /// The log's answer: its promise and its proof, as the second entry of two.
    fn entry(&self, kind: &str, body: &Value) -> Value {
        let body = body.to_string();
        let id = sha256(&spki(&self.log));
        let promise = self.promise(&body);
        let first = sha256(b"\0another entry");
        let own = sha256(&[b"\0", body.as_bytes()].concat());
        let root = sha256(&[&[1], &first[..], &own].concat());
        let note = format!("rekor.example\n2\n{}\n", b64(&root));
        let line = [&id[..4], &sign(&self.log, note.as_bytes())].concat();
        json!({
            "logIndex": "1",
            "logId": { "keyId": b64(&id) },
            "kindVersion": { "kind": kind, "version": "0.0.1" },
            "integratedTime": self.logged_at.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": b64(&promise) },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": b64(&root),
                "treeSize": "2",
                "hashes": [b64(&first)],
                "checkpoint": { "envelope": format!("{note}\n— rekor.example {}\n", b64(&line)) },
            },
            "canonicalizedBody": b64(body.as_bytes()),
        })
    }

    /// RFC 8785 of four fields, signed.
    fn promise(&self, body: &str) -> Vec<u8> {
        let id = hex(&sha256(&spki(&self.log)));
        let (body, time) = (b64(body.as_bytes()), self.logged_at);
        let signed =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":1}}"#);
        sign(&self.log, signed.as_bytes())
    }

    fn record(cert: &[u8], signature: &[u8], file: &[u8]) -> Value {
        json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": hex(&sha256(file)) } },
                "signature": {
                    "content": b64(signature),
                    "publicKey": { "content": b64(pem(cert).as_bytes()) },
                },
            },
        })
    }

    fn whole(cert: &[u8], entry: &Value, name: &str, content: &Value) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": b64(cert) },
                "tlogEntries": [entry],
            },
            name: content,
        })
    }

    /// What `cosign sign-blob --bundle` would write.
    pub(crate) fn bundle(&self, mail: &str, issuer: &str, file: &[u8]) -> Value {
        let key = key();
        let (cert, signature) = (self.leaf(&key, mail, issuer), sign(&key, file));
        let entry = self.entry("hashedrekord", &Self::record(&cert, &signature, file));
        Self::whole(
            &cert,
            &entry,
            "messageSignature",
            &json!({
                "messageDigest": { "algorithm": "SHA2_256", "digest": b64(&sha256(file)) },
                "signature": b64(&signature),
            }),
        )
    }

    /// What `cosign sign` would write of an image.
    pub(crate) fn image_bundle(&self, mail: &str, issuer: &str, image: &str) -> Value {
        self.statement(
            mail,
            issuer,
            &json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{ "digest": { "sha256": image } }],
                "predicateType": "https://sigstore.dev/cosign/sign/v1",
                "predicate": {},
            }),
        )
    }

    pub(crate) fn statement(&self, mail: &str, issuer: &str, statement: &Value) -> Value {
        let key = key();
        let cert = self.leaf(&key, mail, issuer);
        let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
        let (kind_len, len) = (kind.len(), payload.len());
        let signature = sign(&key, format!("DSSEv1 {kind_len} {kind} {len} {payload}").as_bytes());
        let envelope = json!({
            "payload": b64(payload.as_bytes()),
            "payloadType": kind,
            "signatures": [{ "sig": b64(&signature) }],
        });
        let hash =
            |bytes: &str| json!({ "algorithm": "sha256", "value": hex(&sha256(bytes.as_bytes())) });
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": hash(&envelope.to_string()),
                "payloadHash": hash(&payload),
                "signatures": [{
                    "signature": b64(&signature),
                    "verifier": b64(pem(&cert).as_bytes()),
                }],
            },
        });
        Self::whole(&cert, &self.entry("dsse", &body), "dsseEnvelope", &envelope)
    }

    /// What cosign wrote before bundles: signature, certificate and the log's promise.
    pub(crate) fn old(&self, mail: &str, issuer: &str, file: &[u8]) -> Value {
        let key = key();
        let (cert, signature) = (self.leaf(&key, mail, issuer), sign(&key, file));
        let body = Self::record(&cert, &signature, file).to_string();
        json!({
            "signature": b64(&signature),
            "cert": pem(&cert),
            "log": {
                "SignedEntryTimestamp": b64(&self.promise(&body)),
                "Payload": {
                    "body": b64(body.as_bytes()),
                    "integratedTime": self.logged_at,
                    "logIndex": 1,
                    "logID": hex(&sha256(&spki(&self.log))),
                },
            },
        })
    }
}
