//! Signatures of files and images: by a private instance of Sigstore, made here, by OpenSSL, and by
//! cosign (`signature/README.md`).

#[cfg(test)]
#[path = "signature/instance.rs"]
mod instance;

#[cfg(test)]
mod verifying {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, UNIX_EPOCH};

    use lab::tools::have;
    use serde_json::{Value, json};
    use talforge::digest::Digest;
    use talforge::signature::attached::{self, Attached, Listed};
    use talforge::signature::error::SignatureError;
    use talforge::signature::key::PublicKey;
    use talforge::signature::roots::Roots;
    use talforge::signature::{Signee, Trust, blob};

    use crate::instance::{Instance, NOW, b64};

    const RELEASER: &str = "releasemgr-svc@talos-production.iam.gserviceaccount.com";
    const GOOGLE: &str = "https://accounts.google.com";
    const FILE: &[u8] = b"0123  vmlinuz-amd64\n";
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

    fn image() -> Digest {
        Digest::of(b"a manifest")
    }

    /// A layer of a signature manifest, as a registry gives it.
    fn attach(kind: &str, content: &[u8], annotations: BTreeMap<&str, String>) -> Attached {
        let manifest = json!({ "schemaVersion": 2, "layers": [{
            "mediaType": kind,
            "digest": format!("sha256:{}", Digest::of(content)),
            "size": content.len(),
            "annotations": annotations,
        }]});
        let found = attached::listed(manifest.to_string().as_bytes()).unwrap();
        let [Listed::Signature(place)] = &found[..] else { panic!("{found:?}") };
        Attached { place: place.clone(), content: content.to_vec() }
    }

    fn bundled(bundle: &Value) -> Attached {
        attach(BUNDLE, bundle.to_string().as_bytes(), BTreeMap::new())
    }

    /// Every place in a document that has a text or a number.
    fn leaves(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), out));
            }
            Value::Array(list) => {
                let each = list.iter().enumerate();
                each.for_each(|(at, value)| leaves(value, &format!("{path}/{at}"), out));
            }
            _ => out.push(path.to_owned()),
        }
    }

    /// The document with one value changed: another character of a text, a number one higher.
    fn tampered(document: &Value, path: &str) -> Value {
        let mut document = document.clone();
        let value = document.pointer_mut(path).unwrap();
        *value = match &*value {
            Value::String(text) if text.parse::<i64>().is_ok() => {
                (text.parse::<i64>().unwrap() + 1).to_string().into()
            }
            Value::String(text) => {
                let at = text.len() / 2;
                let at = (at..text.len()).find(|at| text.as_bytes()[*at].is_ascii_alphanumeric());
                let at = at.unwrap();
                let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
                format!("{}{other}{}", &text[..at], &text[at + 1..]).into()
            }
            Value::Number(number) => (number.as_i64().unwrap() + 1).into(),
            other => panic!("{path}: {other}"),
        };
        document
    }

    /// Holds a document that is accepted, and changes each of its values in turn.
    fn refuses_each_change(document: &Value, verify: &dyn Fn(&Value) -> bool) {
        assert!(verify(document));
        let mut paths = Vec::new();
        leaves(document, "", &mut paths);
        assert!(paths.len() >= 5, "{paths:?}");
        for path in paths {
            assert!(!verify(&tampered(document, &path)), "{path} was changed and nobody saw");
        }
    }

    #[test]
    fn a_release_file_by_talos_release_manager_is_verified_and_no_field_can_be_changed() {
        let instance = Instance::new();
        let roots = Roots::parse(instance.trusted_root().as_bytes()).unwrap();
        let bundle = instance.bundle(RELEASER, GOOGLE, FILE);
        let verify = |bundle: &Value| {
            blob(&Trust::Sidero, Signee::Bytes(FILE), bundle.to_string().as_bytes(), &roots)
        };
        let signed = verify(&bundle).unwrap();
        assert_eq!((signed.by.as_str(), signed.issuer.as_deref()), (RELEASER, Some(GOOGLE)));
        assert_eq!(signed.at, Some(UNIX_EPOCH + Duration::from_secs(NOW)));
        let digest = Signee::Digest(Digest::of(FILE));
        blob(&Trust::Sidero, digest, bundle.to_string().as_bytes(), &roots).unwrap();
        refuses_each_change(&bundle, &|bundle| verify(bundle).is_ok());
        let public = Roots::public().unwrap();
        let other = blob(&Trust::Sidero, digest, bundle.to_string().as_bytes(), &public);
        other.expect_err("another instance's");
    }

    #[test]
    fn an_image_by_an_employee_is_verified_and_no_field_can_be_changed() {
        let instance = Instance::new();
        let roots = Roots::parse(instance.trusted_root().as_bytes()).unwrap();
        let bundle = instance.image_bundle("a.b@siderolabs.com", GOOGLE, &image().to_string());
        let verify = |trust: &Trust, bundle: &Value, image| {
            attached::image(trust, image, &[bundled(bundle)], &roots)
        };
        verify(&Trust::Sidero, &bundle, image()).unwrap();
        refuses_each_change(&bundle, &|bundle| verify(&Trust::Sidero, bundle, image()).is_ok());
        let other = verify(&Trust::Sidero, &bundle, Digest::of(b"other")).unwrap_err();
        assert_eq!(other, SignatureError::Other);
        let stranger = instance.image_bundle("a@b.c", GOOGLE, &image().to_string());
        let error = verify(&Trust::Sidero, &stranger, image()).unwrap_err();
        assert!(matches!(error, SignatureError::Identity { .. }), "{error}");
        let elsewhere = instance.image_bundle(RELEASER, "https://evil", &image().to_string());
        let error = verify(&Trust::Sidero, &elsewhere, image()).unwrap_err();
        assert!(matches!(error, SignatureError::Issuer { .. }), "{error}");
        // One that holds is enough, wherever it is.
        let all = [bundled(&stranger), bundled(&bundle)];
        attached::image(&Trust::Sidero, image(), &all, &roots).unwrap();
        let none = attached::image(&Trust::Sidero, image(), &[], &roots);
        assert_eq!(none, Err(SignatureError::Absent));
    }

    #[test]
    fn an_image_with_a_signature_of_the_old_kind_is_verified_and_no_field_can_be_changed() {
        let instance = Instance::new();
        let roots = Roots::parse(instance.trusted_root().as_bytes()).unwrap();
        let payload = json!({ "critical": {
            "identity": { "docker-reference": "ghcr.io/siderolabs/talos" },
            "image": { "docker-manifest-digest": format!("sha256:{}", image()) },
            "type": "cosign container image signature",
        }, "optional": null });
        let payload = payload.to_string();
        let old = instance.old(RELEASER, GOOGLE, payload.as_bytes());
        let verify = |old: &Value, payload: &str, image| {
            let annotations = BTreeMap::from([
                ("dev.cosignproject.cosign/signature", old["signature"].as_str().unwrap().into()),
                ("dev.sigstore.cosign/certificate", old["cert"].as_str().unwrap().into()),
                ("dev.sigstore.cosign/bundle", old["log"].to_string()),
            ]);
            let signature = attach(SIMPLE, payload.as_bytes(), annotations);
            attached::image(&Trust::Sidero, image, &[signature], &roots)
        };
        verify(&old, &payload, image()).unwrap();
        refuses_each_change(&old, &|old| verify(old, &payload, image()).is_ok());
        verify(&old, &payload.replace("talos", "other"), image()).expect_err("another payload");
        let other = Digest::of(b"other");
        assert_eq!(verify(&old, &payload, other), Err(SignatureError::Other));
    }

    #[test]
    fn a_certificate_counts_only_while_it_is_valid_and_in_the_ct_log() {
        let instance = Instance::new();
        let roots = Roots::parse(instance.trusted_root().as_bytes()).unwrap();
        let verify = |bundle: &Value| {
            let bundle = bundle.to_string();
            blob(&Trust::Sidero, Signee::Bytes(FILE), bundle.as_bytes(), &roots)
        };
        for late in [-3600, 3600] {
            let instance = instance.logging_at(late);
            let error = verify(&instance.bundle(RELEASER, GOOGLE, FILE)).unwrap_err();
            assert!(matches!(error, SignatureError::Certificate(_)), "{error}");
        }
        let other = Instance::new();
        let unlisted = instance.with_ct_log_of(&other).bundle(RELEASER, GOOGLE, FILE);
        let error = verify(&unlisted).unwrap_err();
        assert!(matches!(error, SignatureError::Certificate(_)), "{error}");
        let unlogged = instance.with_log_of(&other).bundle(RELEASER, GOOGLE, FILE);
        verify(&unlogged).expect_err("another log");
    }

    #[test]
    fn other_statements_about_an_image_do_not_sign_it() {
        let instance = Instance::new();
        let roots = Roots::parse(instance.trusted_root().as_bytes()).unwrap();
        let provenance = instance.statement(
            RELEASER,
            GOOGLE,
            &json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{ "digest": { "sha256": image().to_string() } }],
                "predicateType": "https://slsa.dev/provenance/v1",
                "predicate": {},
            }),
        );
        let error = attached::image(&Trust::Sidero, image(), &[bundled(&provenance)], &roots);
        assert!(matches!(error, Err(SignatureError::Kind(_))), "{error:?}");
    }

    fn run(folder: &Path, program: &str, args: &[&str]) {
        let mut command = Command::new(program);
        let out = command.current_dir(folder).args(args).output();
        let out = out.unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{program} {args:?}: {error}");
    }

    #[test]
    fn what_openssl_signs_with_each_kind_of_key_is_verified() {
        if !have(&["openssl"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::public().unwrap();
        let path = folder.path();
        std::fs::write(path.join("file"), FILE).unwrap();
        for algorithm in [
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            &["ED25519"],
        ] {
            run(path, "openssl", &[&["genpkey", "-out", "key", "-algorithm"], algorithm].concat());
            run(path, "openssl", &["pkey", "-in", "key", "-pubout", "-out", "pub"]);
            let how: &[&str] = match algorithm {
                ["ED25519"] => &["pkeyutl", "-sign", "-rawin", "-inkey", "key", "-in", "file"],
                _ => &["dgst", "-sha256", "-sign", "key", "file"],
            };
            let tail: &[&str] = &["-out", "sig"];
            let (last, head) = how.split_last().unwrap();
            match algorithm {
                ["ED25519"] => run(path, "openssl", &[how, tail].concat()),
                _ => run(path, "openssl", &[head, tail, &[*last]].concat()),
            }
            let key = PublicKey::parse(&std::fs::read(path.join("pub")).unwrap()).unwrap();
            let trust = Trust::Key(key);
            let signature = b64(&std::fs::read(path.join("sig")).unwrap());
            let old = json!({ "base64Signature": signature });
            let verify =
                |old: &Value, signee| blob(&trust, signee, old.to_string().as_bytes(), &roots);
            // cosign calls it by its digest; of Ed25519 the digest is nothing.
            verify(&old, Signee::Bytes(FILE)).unwrap();
            let by_digest = verify(&old, Signee::Digest(Digest::of(FILE)));
            assert_eq!(by_digest.is_ok(), algorithm != ["ED25519"], "{algorithm:?}");
            let error = verify(&old, Signee::Bytes(b"other")).unwrap_err();
            assert_eq!(error, SignatureError::Signature);
            verify(&tampered(&old, "/base64Signature"), Signee::Bytes(FILE)).unwrap_err();
        }
    }

    /// What cosign 2.6.1 wrote, in both of its formats.
    const COSIGN_FILES: [&[u8]; 2] = [
        include_bytes!("signature/cosign/file.json"),
        include_bytes!("signature/cosign/old-file.json"),
    ];

    fn cosign_key() -> Trust {
        Trust::Key(PublicKey::parse(include_bytes!("signature/cosign/cosign.pub")).unwrap())
    }

    #[test]
    fn files_that_cosign_signed_with_a_key_are_verified() {
        let roots = Roots::public().unwrap();
        for bundle in COSIGN_FILES {
            for signee in [Signee::Bytes(FILE), Signee::Digest(Digest::of(FILE))] {
                let signed = blob(&cosign_key(), signee, bundle, &roots).unwrap();
                assert!(signed.by.starts_with("the key sha256:"), "{signed:?}");
                let error = blob(&Trust::Sidero, signee, bundle, &roots).unwrap_err();
                assert!(matches!(error, SignatureError::Kind(_)), "{error}");
            }
            let verify = |bundle: &Value| {
                let bundle = bundle.to_string();
                blob(&cosign_key(), Signee::Bytes(FILE), bundle.as_bytes(), &roots)
            };
            let document: Value = serde_json::from_slice(bundle).unwrap();
            let path = match document.get("base64Signature") {
                Some(_) => "/base64Signature",
                None => "/messageSignature/signature",
            };
            let error = verify(&tampered(&document, path)).unwrap_err();
            assert_eq!(error, SignatureError::Signature);
        }
    }

    #[test]
    fn images_that_cosign_signed_with_a_key_are_found_and_verified() {
        let roots = Roots::public().unwrap();
        let image = "3966454e23feafe42cd4fe7a998a20e705d67a76e02151dbed884b782bbddde5";
        let image: Digest = image.parse().unwrap();
        // Under the tag `sha256-…` is an index, under `sha256-….sig` a manifest.
        let index = attached::listed(include_bytes!("signature/cosign/index.json")).unwrap();
        let manifest = include_bytes!("signature/cosign/manifest.json");
        let [Listed::Manifest(named)] = &index[..] else { panic!("{index:?}") };
        assert_eq!(named.digest, Digest::of(manifest));
        for (manifest, content) in [
            (&manifest[..], &include_bytes!("signature/cosign/image.json")[..]),
            (
                include_bytes!("signature/cosign/old-manifest.json"),
                include_bytes!("signature/cosign/old-image.json"),
            ),
        ] {
            let found = attached::listed(manifest).unwrap();
            let [Listed::Signature(place)] = &found[..] else { panic!("{found:?}") };
            assert_eq!(place.descriptor.digest, Digest::of(content));
            let verify = |content: &[u8], image| {
                let signature = Attached { place: place.clone(), content: content.to_vec() };
                attached::image(&cosign_key(), image, &[signature], &roots)
            };
            verify(content, image).unwrap();
            let other = Digest::of(b"other");
            assert_eq!(verify(content, other), Err(SignatureError::Other));
            // What is signed names another image, and the signature is left.
            let changed = String::from_utf8(content.to_vec()).unwrap();
            let changed = match place.descriptor.media_type.as_str() {
                SIMPLE => changed.replace(&image.to_string(), &other.to_string()),
                _ => {
                    let statement = json!({
                        "_type": "https://in-toto.io/Statement/v1",
                        "subject": [{ "digest": { "sha256": other.to_string() } }],
                        "predicateType": "https://sigstore.dev/cosign/sign/v1",
                    });
                    let mut bundle: Value = serde_json::from_str(&changed).unwrap();
                    bundle["dsseEnvelope"]["payload"] =
                        b64(statement.to_string().as_bytes()).into();
                    bundle.to_string()
                }
            };
            assert_eq!(verify(changed.as_bytes(), other), Err(SignatureError::Signature));
        }
    }
}
