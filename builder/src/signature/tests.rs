//! Signatures of Sigstore's public instance, patterns of names, hostile documents. What needs keys
//! of its own is in `tests/signature.rs`.

use std::time::{Duration, Instant};

use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

use super::attached::{Listed, listed, tags};
use super::error::SignatureError;
use super::key::PublicKey;
use super::roots::Roots;
use super::{Signee, Trust, blob, keyless};
use crate::digest::Digest;

const FILE: &str = include_str!("../../../tests/signature/public-file.json");
const ATTESTATION: &str = include_str!("../../../tests/signature/public-attestation.json");
const WORKFLOW: &str = "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml@*";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn file() -> Signee<'static> {
    let digest = "c4e92e9ecc828bef2aa7dba1de8ac983511f7532a0df11c770d39099a25cf201";
    Signee::Digest(digest.parse().unwrap())
}

fn workflow() -> Trust {
    Trust::Identity { identity: WORKFLOW.to_owned(), issuer: GITHUB.to_owned() }
}

/// sigstore/root-signing `metadata/targets.json`, which the root's keepers sign, has this digest.
/// Another means that the public instance's keys have changed: compare it with that file there.
#[test]
fn what_is_built_in_is_the_root_that_its_keepers_signed() {
    let want = "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66";
    assert_eq!(Digest::of(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()).to_string(), want);
    Roots::public().unwrap();
}

#[test]
fn a_file_that_a_workflow_signed_publicly_is_verified() {
    let roots = Roots::public().unwrap();
    let signed = blob(&workflow(), file(), FILE.as_bytes(), &roots).unwrap();
    assert_eq!(signed.by, WORKFLOW.replace('*', "refs/tags/v0.1.2"));
    assert_eq!(signed.issuer.as_deref(), Some(GITHUB));
    let at = signed.at.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // The certificate is of 2024-03-19, 22:41 to 22:51.
    assert!((1_710_888_075..1_710_888_675).contains(&at), "{at}");
}

/// cosign's own format has the same evidence but the proof.
#[test]
fn the_same_in_cosigns_own_format_is_verified_and_each_field_of_it_matters() {
    let roots = Roots::public().unwrap();
    let bundle: serde_json::Value = serde_json::from_str(FILE).unwrap();
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let number = |value: &serde_json::Value| text(value).parse::<i64>().unwrap();
    let bytes = |value: &serde_json::Value| {
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text(value)).unwrap()
    };
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let chain = &bundle["verificationMaterial"]["x509CertificateChain"]["certificates"];
    let cert = text(&chain[0]["rawBytes"]);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{cert}\n-----END CERTIFICATE-----\n");
    let old = serde_json::json!({
        "base64Signature": bundle["messageSignature"]["signature"],
        "cert": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem),
        "rekorBundle": {
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {
                "body": entry["canonicalizedBody"],
                "integratedTime": number(&entry["integratedTime"]),
                "logIndex": number(&entry["logIndex"]),
                "logID": hex(bytes(&entry["logId"]["keyId"])),
            },
        },
    });
    let verify =
        |old: &serde_json::Value| blob(&workflow(), file(), old.to_string().as_bytes(), &roots);
    verify(&old).unwrap();
    for (path, other) in [
        ("/base64Signature", serde_json::json!("MEUCIQ==")),
        ("/cert", serde_json::json!("")),
        ("/rekorBundle", serde_json::Value::Null),
        ("/rekorBundle/SignedEntryTimestamp", serde_json::json!("MEUCIQ==")),
        ("/rekorBundle/Payload/body", serde_json::json!("e30=")),
        ("/rekorBundle/Payload/integratedTime", serde_json::json!(1_710_888_100)),
        ("/rekorBundle/Payload/logIndex", serde_json::json!(1)),
        ("/rekorBundle/Payload/logID", serde_json::json!("00".repeat(32))),
    ] {
        let mut changed = old.clone();
        *changed.pointer_mut(path).unwrap() = other;
        verify(&changed).expect_err(path);
    }
}

#[test]
fn another_file_another_workflow_another_issuer_and_a_key_are_refused() {
    let roots = Roots::public().unwrap();
    let other = Signee::Bytes(b"other");
    let verify = |trust: &Trust, signee| blob(trust, signee, FILE.as_bytes(), &roots).unwrap_err();
    assert_eq!(verify(&workflow(), other), SignatureError::Other);
    let issuer = verify(&Trust::Sidero, file());
    assert!(matches!(issuer, SignatureError::Issuer { .. }), "{issuer}");
    let trust = Trust::Identity { identity: "*@siderolabs.com".into(), issuer: GITHUB.into() };
    let identity = verify(&trust, file());
    assert!(matches!(identity, SignatureError::Identity { .. }), "{identity}");
    let pem = b"-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8OnaXgP7Oj//llRdP76GRDNIx8yT\n\
        mXm8tra6qck1nt3ZmNvbTcKQu2WXL3kpBNYK3wMg9I3BfeWA36OlUQYL0Q==\n\
        -----END PUBLIC KEY-----\n";
    let key = Trust::Key(PublicKey::parse(pem).unwrap());
    assert_eq!(verify(&key, file()), SignatureError::Signature);
}

#[test]
fn a_statement_is_no_signature_of_a_file() {
    let roots = Roots::public().unwrap();
    let signee = Signee::Digest(Digest([0; 32]));
    let error = blob(&workflow(), signee, ATTESTATION.as_bytes(), &roots).unwrap_err();
    assert!(matches!(error, SignatureError::Kind(_)), "{error}");
}

#[test]
fn a_pattern_fits_a_whole_text() {
    for (pattern, text, fits) in [
        ("a@b.c", "a@b.c", true),
        ("a@b.c", "xa@b.c", false),
        ("a@b.c", "a@b.cx", false),
        ("*@b.c", "a@b.c", true),
        ("*@b.c", "a@b.c.evil", false),
        ("*@b.c", "@b.c", true),
        ("a*", "abc", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("ab*ba", "aba", false),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(keyless::matches(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn signatures_are_listed_and_what_is_none_is_not() {
    let digest = "11".repeat(32);
    let item = |kind: &str, artifact: Option<&str>, len: u64| {
        let mut item = serde_json::json!({
            "mediaType": kind, "digest": format!("sha256:{digest}"), "size": len,
        });
        if let Some(artifact) = artifact {
            item["artifactType"] = artifact.into();
        }
        item
    };
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let index = serde_json::json!({ "manifests": [
        item(manifest, Some(bundle), 10),
        item(manifest, Some("application/spdx+json"), 10),
        item(manifest, None, 10),
    ]});
    assert_eq!(listed(index.to_string().as_bytes()).unwrap().len(), 2);
    let layers = serde_json::json!({ "layers": [
        item(bundle, None, 10),
        item("application/vnd.dev.cosign.simplesigning.v1+json", None, 10),
        item(bundle, None, 2 << 20),
        item("application/octet-stream", None, 10),
    ]});
    let found = listed(layers.to_string().as_bytes()).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|found| matches!(found, Listed::Signature(_))));
    assert_eq!(tags(Digest([0x11; 32]))[1], format!("sha256-{digest}.sig"));
}

#[test]
fn hostile_documents_are_refused_at_once() {
    let roots = Roots::public().unwrap();
    let bundle: serde_json::Value = serde_json::from_str(FILE).unwrap();
    let many = |path: &str, count: usize| {
        let mut bundle = bundle.clone();
        let list = bundle.pointer_mut(path).unwrap().as_array_mut().unwrap();
        let first = list[0].clone();
        list.resize(count, first);
        bundle.to_string()
    };
    let mut long = bundle.clone();
    let path = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
    let note = long.pointer_mut(path).unwrap();
    let line = note.as_str().unwrap().lines().last().unwrap().to_owned() + "\n";
    *note = (note.as_str().unwrap().to_owned() + &line.repeat(4000)).into();
    let documents = [
        "[".repeat(1 << 20),
        "{\"base64Signature\":".repeat(50_000),
        " ".repeat(2 << 20),
        many("/verificationMaterial/tlogEntries", 200),
        many("/verificationMaterial/x509CertificateChain/certificates", 600),
        long.to_string(),
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
    ];
    for document in documents {
        let start = Instant::now();
        blob(&workflow(), file(), document.as_bytes(), &roots).unwrap_err();
        // A debug build is not held to the 50 ms of a release.
        let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
        assert!(start.elapsed() < limit, "{}: {:?}", document.len(), start.elapsed());
    }
}

/// Wherever a byte is another, the document is read or refused, and never accepted for another file.
#[test]
fn changed_bytes_never_panic_and_never_sign_another_file() {
    let roots = Roots::public().unwrap();
    for (document, stride) in [(FILE, 53), (ATTESTATION, 101)] {
        for at in (0..document.len()).step_by(stride) {
            for byte in [0, b'"', b'9', b'A', 0xff] {
                let mut bytes = document.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = blob(&workflow(), file(), &bytes, &roots);
                blob(&workflow(), Signee::Bytes(b"other"), &bytes, &roots).unwrap_err();
            }
        }
    }
}
