//! Bundles that come back, and all that can be amiss.

use std::time::{Duration, SystemTime};

use super::*;
use crate::config::schema::Schema;

fn golden(name: &str) -> String {
    let path = format!("{}/../tests/talos-gen/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Reads the config of a control plane of Talos 1.`minor` with a part of its text changed.
fn config(minor: u32, from: &str, to: &str) -> Documents {
    let text = golden(&format!("talos-1.{minor}/controlplane.yaml"));
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    Documents::decode(Schema::of_minor(minor), "cp.yaml", text.as_bytes()).unwrap()
}

fn whole(minor: u32) -> Documents {
    config(minor, "", "")
}

fn findings(config: &Documents) -> Vec<Diagnostic> {
    match bundle(config, now()) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    }
}

fn codes(config: &Documents) -> Vec<&'static str> {
    findings(config).iter().map(|finding| finding.code).collect()
}

#[test]
fn every_release_gives_back_the_bundle_to_the_byte() {
    for minor in [12, 13, 14] {
        let loaded = bundle(&whole(minor), now()).unwrap();
        assert_eq!(loaded.bundle.to_yaml().reveal(), golden("secrets.yaml"), "1.{minor}");
        assert_eq!(loaded.warnings, [], "1.{minor}");
    }
}

#[test]
fn a_worker_is_refused() {
    for minor in [12, 13, 14] {
        let text = golden(&format!("talos-1.{minor}/worker.yaml"));
        let worker = Documents::decode(Schema::of_minor(minor), "w.yaml", text.as_bytes()).unwrap();
        let findings = findings(&worker);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, "recover-worker");
        assert_eq!(findings[0].place.as_ref().unwrap().line, 5);
    }
    assert_eq!(codes(&config(13, "    type: controlplane\n", "")), ["recover-worker"]);
    assert_eq!(codes(&Documents::new(Schema::of_minor(14))), ["recover-missing"]);
}

#[test]
fn all_that_is_missing_is_named() {
    let mut config = whole(14);
    for kind in ["KubeAPIServerCAConfig", "KubeServiceAccountConfig", "KubeEtcdEncryptionConfig"] {
        config.remove(kind, None);
    }
    config.get_mut(MAIN, None).unwrap().open("machine").remove("token");
    let found = findings(&config);
    let named = |finding: &Diagnostic| {
        let name = finding.message.split('`').nth(1).unwrap().to_owned();
        assert_eq!(finding.code, "recover-missing");
        assert!(finding.help.is_some());
        name
    };
    let named: Vec<_> = found.iter().map(named).collect();
    assert_eq!(
        named,
        [
            "secrets.secretboxencryptionsecret",
            "trustdinfo.token",
            "certs.k8s.crt",
            "certs.k8s.key",
            "certs.k8sserviceaccount.key",
        ]
    );
    let help = found[3].help.as_deref().unwrap();
    assert_eq!(
        help,
        "it would stand in `issuingCA.key` of KubeAPIServerCAConfig or `cluster.ca.key`"
    );
}

#[test]
fn every_value_is_missed_and_every_document_or_place_is_looked_at() {
    for line in &LAYOUT {
        let Value(_, name, spots) = line else { continue };
        for minor in [13, 14] {
            let mut config = whole(minor);
            let before = spots.iter().filter(|(kind, path, _)| {
                let Some(tree) = config.schema.kind(kind).and_then(|_| config.get_mut(kind, None))
                else {
                    return false;
                };
                let (last, parents) = path.split_last().unwrap();
                tree.at_mut(parents).and_then(|tree| tree.remove(last)).is_some()
            });
            assert_eq!(before.count(), 1, "{name} of 1.{minor}");
            let found = findings(&config);
            assert_eq!(found.len(), 1, "{name} of 1.{minor}");
            assert!(found[0].message.contains(&format!("`{name}`")), "{:?}", found[0]);
        }
    }
}

#[test]
fn an_aescbc_secret_is_found_in_every_release() {
    let old = golden("secrets.yaml").replace("secretboxencryption", "aescbcencryption");
    let legacy = config(13, "secretboxEncryptionSecret", "aescbcEncryptionSecret");
    assert_eq!(bundle(&legacy, now()).unwrap().bundle.to_yaml().reveal(), old);

    let mut multi = whole(14);
    let secrets = bundle(&legacy, now()).unwrap().bundle;
    let document = multi.get_mut("KubeEtcdEncryptionConfig", None).unwrap();
    document.set("config", encryption_at_rest(secrets.encryption()));
    let loaded = bundle(&multi, now()).unwrap();
    assert_eq!(loaded.bundle.to_yaml().reveal(), old);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn two_encryption_secrets_are_one_too_many() {
    let second = "    aescbcEncryptionSecret: AAAA\n    secretboxEncryptionSecret";
    let found = findings(&config(12, "    secretboxEncryptionSecret", second));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "recover-encryption");
    assert_eq!(found[0].severity, Severity::Error);
}

#[test]
fn an_encryption_config_of_its_own_is_kept_or_refused() {
    let cases = [
        // Keys in another order say the same.
        ("            - secretbox:", "            - secretbox:", None),
        ("name: key2", "name: key9", Some(Severity::Warning)),
        ("          resources:\n", "            - identity: {}\n          resources:\n", {
            Some(Severity::Warning)
        }),
        ("            - secrets\n", "            - secrets\n            - configmaps\n", {
            Some(Severity::Warning)
        }),
        ("            - secrets\n", "            - configmaps\n", Some(Severity::Error)),
        ("            - secretbox:", "            - identity: {}\n            - secretbox:", {
            Some(Severity::Error)
        }),
        ("            - secretbox:", "            - aesgcm:", Some(Severity::Error)),
    ];
    for (from, to, expected) in cases {
        let found = findings(&config(14, from, to));
        let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, Vec::from_iter(expected), "{to}");
        assert!(found.iter().all(|finding| finding.code == "recover-encryption"), "{found:?}");
    }
}

#[test]
fn what_is_wrong_is_said_where_it_stands_in_the_config() {
    let text = golden("talos-1.13/controlplane.yaml");
    let key = text.lines().find(|line| line.starts_with("            key: ")).unwrap();
    let line = text.lines().position(|line| line == key).unwrap() + 1;
    let found = findings(&config(13, key, "            key: LS0tLS1CRUdJTg=="));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "pki-pem");
    let place = found[0].place.as_ref().unwrap();
    assert_eq!((place.file.as_str(), place.line), ("cp.yaml", u32::try_from(line).unwrap()));
    assert_eq!(codes(&config(13, key, "            key: '******'")), ["recover-redacted"]);
}

#[test]
fn a_key_of_another_ca_is_noticed() {
    let mut config = whole(14);
    let aggregator = config.get("KubeAggregatorCAConfig", None).unwrap();
    let key = aggregator.at(&["issuingCA", "key"]).unwrap().clone();
    config.get_mut("KubeAPIServerCAConfig", None).unwrap().set_at(&["issuingCA", "key"], key);
    assert_eq!(codes(&config), ["pki-foreign-key"]);
}

#[test]
fn no_text_can_break_out_of_its_line() {
    let texts = [
        "a: b\nsecrets: {}",
        "q\"q: q",
        "q'q: q",
        "q\u{85}q: q",
        "q\u{2028}q: q",
        "q # q",
        "q\u{0}q",
        "!!int 123456",
        "&q *q",
    ];
    for text in texts {
        for path in [["machine", "token"], ["cluster", "token"]] {
            let mut config = whole(13);
            config.get_mut(MAIN, None).unwrap().set_at(&path, text);
            for finding in findings(&config) {
                assert!(!finding.to_string().contains(text), "{finding}");
            }
        }
    }
    let mut config = whole(13);
    config.get_mut(MAIN, None).unwrap().set_at(&["cluster", "id"], "1.20 # \"x\": ' y");
    let loaded = bundle(&config, now()).unwrap();
    assert_eq!(loaded.bundle.cluster_id().reveal(), "1.20 # \"x\": ' y");
}
