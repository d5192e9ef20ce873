//! Each case of `cases`, judged by us and by Talos, and what the cases do not show.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::schema::Schema;
use crate::report::Severity;

const FAMILIES: [&str; 12] = [
    include_str!("cases/link.yaml"),
    include_str!("cases/network.yaml"),
    include_str!("cases/bgp.yaml"),
    include_str!("cases/block.yaml"),
    include_str!("cases/storage.yaml"),
    include_str!("cases/runtime.yaml"),
    include_str!("cases/discovery.yaml"),
    include_str!("cases/k8s.yaml"),
    include_str!("cases/container.yaml"),
    include_str!("cases/main.yaml"),
    include_str!("cases/device.yaml"),
    include_str!("cases/conflict.yaml"),
];

/// The configs by their names; a line `#### name` stands before each.
fn cases() -> BTreeMap<&'static str, &'static str> {
    let cases = FAMILIES.iter().flat_map(|family| family.split("#### ").skip(1));
    cases.map(|case| case.split_once('\n').unwrap()).collect()
}

fn find(minor: u32, text: &str, mode: Mode) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let documents = Documents::decode(Schema::of_minor(minor), "test.yaml", text.as_bytes())?;
    Ok(check(&documents, mode))
}

fn mode_of(name: &str) -> Mode {
    if name.starts_with("container-mode") { Mode::Container } else { Mode::Metal }
}

/// The word that `cases/verdicts.txt` has for what we say; `load` counts as `reject`.
fn verdict(minor: u32, name: &str, text: &str) -> (&'static str, Vec<&'static str>) {
    let Ok(found) = find(minor, text, mode_of(name)) else { return ("reject", vec!["decode"]) };
    let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
    let word = match () {
        () if found.iter().any(|finding| finding.severity == Severity::Error) => "reject",
        () if codes.iter().any(|code| code.starts_with(STRICT)) => "strict",
        () if !found.is_empty() => "warn",
        () => "accept",
    };
    (word, codes)
}

#[test]
fn every_case_is_judged_as_talos_judges_it_in_each_release() {
    let cases = cases();
    let verdicts: Vec<Vec<&str>> = include_str!("cases/verdicts.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(verdicts.len(), cases.len());
    let mut unlike = Vec::new();
    for words in &verdicts {
        for (minor, theirs) in (12..).zip(&words[1..]) {
            let theirs = if *theirs == "load" { "reject" } else { theirs };
            let (ours, codes) = verdict(minor, words[0], cases[words[0]]);
            if ours != theirs {
                unlike.push(format!("{} on 1.{minor}: {theirs}, not {ours} {codes:?}", words[0]));
            }
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

#[test]
fn every_code_is_described_and_given_by_some_case() {
    let mut given = BTreeSet::new();
    for (name, text) in cases() {
        for minor in 12..=14 {
            let found = find(minor, text, mode_of(name)).unwrap_or_default();
            for finding in found {
                assert!(finding.place.is_some(), "{name}: {} has no place", finding.code);
                assert!(finding.help.is_some(), "{name}: {} has no help", finding.code);
                given.insert(finding.code);
            }
        }
    }
    let elsewhere = ["talos-annotation-size", "talos-kubernetes-tag", "talos-kubernetes-version"];
    let given: Vec<&str> = given.into_iter().chain(elsewhere).collect();
    let given: BTreeSet<&str> = given.into_iter().collect();
    let described: BTreeSet<&str> = codes::CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(described.len(), codes::CODES.len());
    assert_eq!(given, described);
}

#[test]
fn a_finding_stands_at_the_value_it_is_about() {
    let text = "apiVersion: v1alpha1\nkind: VLANConfig\nname: a\nvlanID: 5000\nparent: eth0\n";
    let found = find(14, text, Mode::Metal).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "talos-vlan-id");
    assert_eq!(found[0].place.as_ref().unwrap().to_string(), "test.yaml:4:9");
}

#[test]
fn no_finding_quotes_a_key() {
    let secret = "c2VjcmV0LXNlY3JldA==";
    for text in [
        format!("apiVersion: v1alpha1\nkind: WireguardConfig\nname: a\nprivateKey: {secret}\n"),
        format!(
            "apiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\nclusterID: a\nclusterSecret: {secret}\n"
        ),
        format!("machine:\n  type: worker\n  ca: {{crt: \"\", key: {secret}}}\ncluster: {{}}\n"),
    ] {
        let found = find(14, &text, Mode::Metal).unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|finding| !finding.to_string().contains(secret)));
    }
}

#[test]
fn annotations_have_256_kib_together() {
    let config = |length: usize| {
        let value = "x".repeat(length);
        format!(
            "apiVersion: v1alpha1\nkind: KubeNodeConfig\nnodeIP: {{}}\nannotations: {{a: {value}}}\n"
        )
    };
    assert!(find(14, &config((256 << 10) - 1), Mode::Metal).unwrap().is_empty());
    let found = find(14, &config(256 << 10), Mode::Metal).unwrap();
    assert_eq!(found[0].code, "talos-annotation-size");
}

#[test]
fn a_cloud_needs_no_install_section() {
    let text = cases()["main-no-install"];
    assert_eq!(find(13, text, Mode::Metal).unwrap()[0].code, "talos-install");
    assert!(find(13, text, Mode::Cloud).unwrap().is_empty());
}

#[test]
fn the_node_runs_some_versions_of_kubernetes_only() {
    let codes = |minor: u32, tag: &str| -> Vec<&'static str> {
        let text = format!("machine: {{type: worker, kubelet: {{image: \"a/kubelet:{tag}\"}}}}\n");
        let schema = Schema::of_minor(minor);
        let documents = Documents::decode(schema, "test.yaml", text.as_bytes()).unwrap();
        kubernetes::check(&documents).iter().map(|finding| finding.code).collect()
    };
    for (minor, oldest, newest) in [(12, 30, 35), (13, 31, 36), (14, 32, 37)] {
        assert!(codes(minor, &format!("v1.{oldest}.0")).is_empty());
        assert!(codes(minor, &format!("v1.{newest}.4")).is_empty());
        assert_eq!(codes(minor, &format!("v1.{}.9", oldest - 1)), ["talos-kubernetes-version"]);
        assert_eq!(codes(minor, &format!("v1.{}.0", newest + 1)), ["talos-kubernetes-version"]);
    }
    assert_eq!(codes(14, "latest"), ["talos-kubernetes-tag"]);
}
