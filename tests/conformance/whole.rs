//! Whole configs: those that are generated, and what is said of them before a node sees them.

use std::time::{Duration, SystemTime};

use lab::talos::{Oracle, Said};
use serde_json::json;
use talforge::config::documents::Document;
use talforge::config::generate::{self, Input, defaults};
use talforge::config::schema::{MAIN, Schema};
use talforge::config::tree::{Data, Tree};
use talforge::config::valid::{self, Mode};
use talforge::pki::Bundle;
use talforge::report::Severity;
use talforge::talos::Role;
use talforge::talos::Version;

use crate::bench::{decode, each_release, first, seeds, stand};
use crate::draw::{Dice, Draw};
use crate::known::known;
use crate::raw::{Raw, shrink, stream};

/// A bundle that belongs to no cluster.
const SECRETS: &str = include_str!("../talos-gen/secrets.yaml");

fn strings(dice: &mut Dice, from: &[&str]) -> Vec<String> {
    from.iter().filter(|_| dice.percent(50)).map(|text| (*text).to_owned()).collect()
}

/// Generates configs of random options both ways, and says where they differ.
fn generated(oracle: &mut Oracle, bundle: &Bundle, seed: u64) -> Option<String> {
    let dice = &mut Dice::new(seed);
    let talos = Version::parse(&format!("v1.{}.0", oracle.minor)).unwrap();
    let cluster = dice.pick(&["fabric", "a", "1000", "no"]);
    let endpoint = dice.pick(&[
        "https://[2001:db8:0:1::10]:6443",
        "https://api.fabric.example:6443",
        "https://192.0.2.10:443",
    ]);
    let disk = *dice.pick(&[&None, &Some("/dev/sda"), &Some("/dev/disk/by-id/a\"b\\c")]);
    let domain = dice.pick(&["cluster.local", "fabric.example"]);
    let sans = strings(dice, &["2001:db8:0:1::11", "api.fabric.example", "192.0.2.11"]);
    let (discovery, kubespan) = (dice.percent(50), dice.percent(50));
    let pods = strings(dice, &["10.244.0.0/16", "fc00:db8:10::/56"]);
    let pods = if pods.is_empty() { vec!["10.0.0.0/8".to_owned()] } else { pods };
    let services: Vec<String> = pods
        .iter()
        .map(|pods| {
            if pods.contains(':') { "fc00:db8:20::/112" } else { "10.96.0.0/12" }.to_owned()
        })
        .collect();
    let image = defaults::installer_image(&talos);
    let kubernetes = defaults::kubernetes(&talos);
    let options = json!({
        "disk": disk.unwrap_or_default(), "image": image, "domain": domain, "sans": sans,
        "discovery": discovery, "kubespan": kubespan, "pods": pods, "services": services,
    });
    let request = json!({
        "do": "generate", "secrets": SECRETS, "cluster": cluster, "endpoint": endpoint,
        "kubernetes": kubernetes, "options": options,
    });
    let theirs = oracle.ask(&request).unwrap();
    let Said::Yes(theirs) = theirs else { return Some(format!("{options}: {}", theirs.reason())) };
    for (role, key) in [(Role::ControlPlane, "controlplane"), (Role::Worker, "worker")] {
        let input = Input {
            talos: &talos,
            role,
            cluster,
            endpoint,
            kubernetes,
            install_disk: disk,
            install_image: &image,
            additional_sans: &sans,
            dns_domain: domain,
            pod_subnets: &pods,
            service_subnets: &services,
            discovery,
            kubespan,
            secrets: bundle,
        };
        let ours = oracle.decode(&generate::base(&input).encode()).unwrap();
        if ours.text() != theirs[key].as_str() {
            // What they hold is secret, if not here then where someone copies this.
            let lines = ours.text().unwrap_or_default().lines();
            let theirs = theirs[key].as_str().unwrap_or_default().lines();
            let line = lines.zip(theirs).position(|(ours, theirs)| ours != theirs);
            return Some(format!("{options}: {key} differs on line {line:?}; {}", ours.reason()));
        }
    }
    None
}

#[test]
fn generated_configs_are_those_of_talos() {
    each_release(|oracle| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let bundle = Bundle::parse("secrets.yaml", SECRETS.as_bytes(), now).unwrap().bundle;
        for seed in seeds(200).take(200) {
            let different = generated(oracle, &bundle, seed);
            assert_eq!(different, None, "1.{}, seed {seed}", oracle.minor);
        }
    });
}

/// Whether Talos refuses a config that it reads, and whether it warns; what it says.
fn verdict(oracle: &mut Oracle, text: &str) -> Option<(bool, bool, String)> {
    let request = json!({"do": "validate", "config": text, "mode": "metal", "strict": false});
    match oracle.ask(&request).unwrap() {
        Said::Yes(answer) => {
            let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
            let (errors, warnings) = (list("errors"), list("warnings"));
            Some((!errors.is_empty(), !warnings.is_empty(), format!("{errors:?} {warnings:?}")))
        }
        Said::No(_) => None,
        Said::Panic(reason) => Some((true, false, reason)),
    }
}

/// How the two judge a config differently, if they do. One that they do not both read says nothing.
fn misjudged(oracle: &mut Oracle, text: &str) -> Option<String> {
    let documents = decode(oracle.minor, text).ok()?;
    let (refuses, _, said) = verdict(oracle, text)?;
    let found = valid::check(&documents, Mode::Metal);
    let errors: Vec<_> =
        found.into_iter().filter(|found| found.severity == Severity::Error).collect();
    match (refuses, errors.is_empty()) {
        (true, true) if known(oracle.minor, text, Some(&said), None).is_none() => {
            Some(format!("Talos alone refuses: {said}"))
        }
        (false, false) if known(oracle.minor, text, None, Some(&first(&errors))).is_none() => {
            Some(format!("ours alone refuses: {}", first(&errors)))
        }
        _ => None,
    }
}

/// A random document, or a good config that is changed in one place or has one more document.
fn case(draw: &mut Draw, bases: &[Vec<Raw>]) -> Vec<Raw> {
    let mut case = match draw.dice.below(3) {
        0 => return vec![draw.document()],
        _ => bases[draw.dice.below(bases.len())].clone(),
    };
    let at = draw.dice.below(case.len());
    let Raw::Map(entries) = &case[at] else { return case };
    let word = |key: &str| match entries.iter().find(|(known, _)| known == key) {
        Some((_, Raw::Word(word))) => word.clone(),
        _ => MAIN.to_owned(),
    };
    let (kind, name) = (word("kind"), word("name"));
    if draw.dice.percent(50) {
        case.push(draw.document());
    } else if let Raw::Map(drawn) = draw.document_of(&kind, &name) {
        let mut changed = entries.clone();
        let (key, value) = drawn[draw.dice.below(drawn.len())].clone();
        changed.retain(|(known, _)| *known != key);
        changed.push((key, value));
        case[at] = Raw::Map(changed);
    }
    case
}

/// What a tree would be spelled as, by what ours writes of it.
fn spelled(tree: &Tree) -> Raw {
    match tree.data() {
        Data::Map(entries) => Raw::Map(
            entries.iter().map(|(key, value)| (format!("{key:?}"), spelled(value))).collect(),
        ),
        Data::List(items) => Raw::List(items.iter().map(spelled).collect()),
        Data::Text(text) | Data::Time(text) => Raw::word(serde_json::to_string(text).unwrap()),
        Data::Int(value) => Raw::word(value.to_string()),
        Data::Float(value) => Raw::word(value.to_string()),
        Data::Bool(value) => Raw::word(value.to_string()),
        Data::Null => Raw::word("null"),
    }
}

/// Good configs of a release, by their documents.
fn bases(minor: u32) -> Vec<Vec<Raw>> {
    let names =
        ["controlplane.yaml", "worker.yaml", "controlplane-options.yaml", "worker-options.yaml"];
    let read = |name: &str| {
        let file = format!("{}/talos-gen/talos-1.{minor}/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).unwrap();
        let documents = decode(minor, &text).unwrap();
        let spell = |document: &Document| {
            let Raw::Map(entries) = spelled(document.tree()) else { panic!("it is a mapping") };
            let head = match document.kind() {
                MAIN => vec![],
                kind => vec![
                    ("apiVersion".to_owned(), Raw::word("v1alpha1")),
                    ("kind".to_owned(), Raw::word(kind)),
                ],
            };
            let entries =
                entries.into_iter().map(|(key, value)| (key.trim_matches('"').to_owned(), value));
            Raw::Map(head.into_iter().chain(entries).collect())
        };
        documents.iter().map(spell).collect()
    };
    names.map(read).into()
}

#[test]
fn random_configs_are_judged_as_talos_judges_them() {
    each_release(|oracle| {
        let schema = Schema::of_minor(oracle.minor);
        let mut failed = Vec::new();
        let bases = bases(oracle.minor);
        let (mut good, mut bad) = (0, 0);
        for seed in seeds(2000) {
            let mut draw = Draw::new(seed, schema);
            draw.odd = 0;
            let case = case(&mut draw, &bases);
            match verdict(oracle, &stream(&case)) {
                Some((true, ..)) => bad += 1,
                Some((false, ..)) => good += 1,
                None => {}
            }
            if misjudged(oracle, &stream(&case)).is_none() {
                continue;
            }
            let small =
                shrink(&case, &mut |smaller: &[Raw]| misjudged(oracle, &stream(smaller)).is_some());
            let different = misjudged(oracle, &stream(&small)).unwrap_or_default();
            failed.push(format!(
                "1.{}, seed {seed}: {different}\n=== in\n{}",
                oracle.minor,
                stream(&small)
            ));
            if failed.len() >= stand() {
                break;
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n##########\n"));
        assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
    });
}
