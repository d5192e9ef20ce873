//! Proofs of what is read from a machine config, and that no message holds a secret.

use proptest::prelude::*;

use super::*;

const WORKER: &str = "version: v1alpha1
machine:
  type: worker
  token: hunter2
  install: {disk: /dev/vda}
cluster:
  ca: {crt: abc, key: ''}
---
apiVersion: v1alpha1
kind: HostnameConfig
auto: stable
---
# nothing
";

fn parse(text: &str) -> Result<MachineConfig, Vec<Diagnostic>> {
    MachineConfig::parse("c.yaml", text.as_bytes())
}

#[test]
fn a_config_keeps_its_bytes() {
    let config = parse(WORKER).unwrap();
    assert_eq!(&**config.bytes(), WORKER.as_bytes());
    assert_eq!(config.digest(), Digest::of(WORKER.as_bytes()));
    assert_eq!(config.documents().len(), 2);
    assert!(config.has("HostnameConfig") && !config.has("LinkConfig"));
    let main = config.main().unwrap();
    assert_eq!((main.machine_type, main.install), (MachineType::Worker, Install::Complete));
    assert_eq!(main.machine_type_place.to_string(), "c.yaml:3:9");
}

#[test]
fn a_config_shows_its_length_and_digest_alone() {
    let text = format!("{:?}", parse(WORKER).unwrap());
    assert!(text.starts_with("MachineConfig(195 bytes, sha256:"), "{text}");
}

#[test]
fn types_and_install_sections_are_told_apart() {
    let main = |machine: &str| {
        let config = parse(&format!("version: v1alpha1\nmachine: {machine}\n")).unwrap();
        let main = config.main().unwrap().clone();
        (main.machine_type, main.install)
    };
    assert_eq!(main("{type: init}"), (MachineType::ControlPlane, Install::Missing));
    assert_eq!(main("{type: join, install: }"), (MachineType::Worker, Install::Missing));
    assert_eq!(main("{install: {}}"), (MachineType::Missing, Install::WithoutDisk));
    assert_eq!(main("{install: {disk: ''}}").1, Install::WithoutDisk);
    assert_eq!(main("{install: {diskSelector: {}}}").1, Install::WithoutDisk);
    assert_eq!(main("{install: {diskSelector: {serial: x}}}").1, Install::Complete);
}

#[test]
fn an_incomplete_config_has_no_main_document() {
    let config = parse("apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\n").unwrap();
    assert_eq!(config.main(), None);
}

#[test]
fn secrets_are_told_by_name_alone() {
    let text = format!(
        "{WORKER}---\napiVersion: v1alpha1\nkind: WireguardConfig\nprivateKey: x\n---
apiVersion: v1alpha1\nkind: VolumeConfig\nname: STATE
encryption: {{keys: [{{slot: 0, static: {{passphrase: x}}}}]}}\n"
    );
    let present = |text: &str| -> Vec<_> {
        let config = parse(text).unwrap();
        config.secrets().iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
    };
    assert_eq!(present(WORKER), ["machine token"]);
    assert_eq!(
        present(&text),
        ["machine token", "disk encryption passphrase", "WireGuard private key"]
    );
}

#[test]
fn what_talos_would_not_read_is_refused() {
    let cases = [
        ("", "config-empty", "c.yaml:1:1"),
        ("---\n# nothing\n---\n", "config-empty", "c.yaml:1:1"),
        ("hunter2\n", "config-document", "c.yaml:1:1"),
        ("- hunter2\n", "config-document", "c.yaml:1:1"),
        ("version: v1alpha1\n", "config-kind", "c.yaml:1:1"),
        ("apiVersion: v1alpha1\nhunter2: 1\n", "config-kind", "c.yaml:1:1"),
        ("kind: hunter2\n", "config-kind", "c.yaml:1:1"),
        ("kind: [hunter2]\napiVersion: v1alpha1\n", "config-kind", "c.yaml:1:7"),
        ("kind: LinkConfig\napiVersion: hunter2\n", "config-version", "c.yaml:2:13"),
        ("version: hunter2\nmachine: {}\n", "config-version", "c.yaml:1:10"),
        ("cluster: {token: hunter2}\n", "config-machine", "c.yaml:1:1"),
        ("machine: hunter2\n", "config-machine", "c.yaml:1:10"),
        ("machine: {type: hunter2}\n", "config-type", "c.yaml:1:17"),
        ("machine: {type: [hunter2]}\n", "config-type", "c.yaml:1:17"),
        ("machine: {}\n---\nmachine: {}\n", "config-duplicate", "c.yaml:3:1"),
        ("machine: {hunter2: 1, hunter2: 1}\n", "yaml-duplicate-key", "c.yaml:1:23"),
        ("machine: {token: hunter2\n", "yaml-syntax", "c.yaml:1:10"),
        ("machine: !hunter2! x\n", "yaml-syntax", "c.yaml:1:10"),
        ("machine: *hunter2\n", "yaml-syntax", "c.yaml:1:10"),
    ];
    for (text, code, place) in cases {
        let problems = parse(text).unwrap_err();
        let told = format!("{problems:?}");
        assert!(!told.contains("hunter2"), "{told}");
        let first = &problems[0];
        assert_eq!((first.code, first.place.as_ref().unwrap().to_string().as_str()), (code, place));
    }
}

#[test]
fn documents_of_one_kind_may_differ_by_name() {
    let link = |name| format!("---\napiVersion: v1alpha1\nkind: LinkConfig\nname: {name}\n");
    assert!(parse(&[link("a"), link("b")].concat()).is_ok());
    let twice = parse(&[link("a"), link("a")].concat()).unwrap_err();
    assert_eq!(twice[0].code, "config-duplicate");
}

#[test]
fn a_config_that_is_too_large_is_refused_unread() {
    let problems = MachineConfig::parse("c.yaml", vec![b'['; (4 << 20) + 1]).unwrap_err();
    assert_eq!(problems[0].code, "config-too-large");
}

proptest! {
    #[test]
    fn a_mutated_config_is_taken_or_refused(
        cuts in prop::collection::vec((0..WORKER.len(), any::<prop::sample::Index>(), 0u8..3), 1..8),
    ) {
        let mut bytes = WORKER.as_bytes().to_vec();
        for (at, with, how) in cuts {
            let at = at.min(bytes.len() - 1);
            let byte = b"[]{}:-#&*!|>'\"\n \t\0\xffax"[with.index(21)];
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        match MachineConfig::parse("c.yaml", bytes.clone()) {
            Ok(config) => prop_assert_eq!(&**config.bytes(), &bytes[..]),
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.place.is_some())),
        }
    }
}
