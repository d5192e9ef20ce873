//! A site with each finding and one like it without, and what must hold for any documents.
//!
//! In: `tests/check/sites.txt`. Out: nothing.
//!
//! Source: none.
//!
//! Not here: whether Talos does what the checks say of it.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::config::schema::Schema;
use crate::config::tree::{Data, Tree};
use crate::pki::{Bundle, pem};
use crate::report::Severity;

/// A code, a release of Talos 1, and nodes that have the finding and that have not.
///
/// A node is a line with its role and medium, and a line a document: its kind and its keys.
struct Case {
    code: &'static str,
    minor: u32,
    bad: Vec<&'static str>,
    good: Vec<&'static str>,
}

/// The cases with a finding, and the sites without any.
static CASES: LazyLock<(Vec<Case>, Vec<Case>)> = LazyLock::new(|| {
    let text = include_str!("../../../tests/check/sites.txt");
    let case = |text: &'static str| {
        let (head, nodes) = text.split_once('\n').unwrap();
        let (code, minor) = head.split_once(' ').unwrap();
        let nodes = nodes.trim_end();
        let starts = nodes.match_indices(['-', '+']).map(|(at, _)| at);
        let starts = starts.filter(|&at| at == 0 || nodes.as_bytes()[at - 1] == b'\n');
        let starts: Vec<usize> = starts.chain([nodes.len()]).collect();
        let nodes: Vec<&str> =
            starts.windows(2).map(|ends| nodes[ends[0]..ends[1]].trim_end()).collect();
        let of = |sign| nodes.iter().filter_map(|node| node.strip_prefix(sign)).collect();
        Case { code, minor: minor.parse().unwrap(), bad: of("- "), good: of("+ ") }
    };
    text.split("\n= ").skip(1).map(case).partition(|case| case.code != "sound")
});

const NAMES: [&str; 9] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];

/// 2026-01-01.
const NOW: Duration = Duration::from_secs(1_767_225_600);

fn read(minor: u32, node: &str) -> Documents {
    let (_, lines) = node.split_once('\n').unwrap_or((node, ""));
    let document = |line: &str| match line.trim().split_once(" {").unwrap() {
        ("main", rest) => format!("--- {{{rest}\n"),
        (kind, rest) => format!("--- {{apiVersion: v1alpha1, kind: {kind}, {rest}\n"),
    };
    let text: String = lines.lines().map(document).collect();
    let decoded = Documents::decode(Schema::of_minor(minor), "node.yaml", text.as_bytes());
    decoded.unwrap_or_else(|problems| panic!("{node}\n{problems:?}"))
}

fn member<'a>(number: usize, node: &str, documents: &'a Documents) -> Member<'a> {
    let head = node.lines().next().unwrap_or_default();
    let role = if head.contains("worker") { Role::Worker } else { Role::ControlPlane };
    let medium = match () {
        () if head.contains("disk") => Medium::Disk,
        () if head.contains("pxe") => Medium::Pxe,
        () => Medium::Iso { halts_if_installed: !head.contains("loops") },
    };
    let line = u32::try_from(number).unwrap() + 1;
    let place = Place { file: "site.yaml".to_owned(), line, column: 1 };
    Member { name: NAMES[number], role, documents, place, medium, disks: None }
}

fn look(minor: u32, all: &[Documents], nodes: &[&str], now: SystemTime) -> Vec<Diagnostic> {
    let talos = Version { major: 1, minor, patch: 0, pre: None };
    let kubernetes = Version { major: 1, minor: minor + 23, patch: 0, pre: None };
    let members = nodes.iter().zip(all).enumerate();
    let members = members.map(|(number, (node, documents))| member(number, node, documents));
    fleet(&Fleet {
        cluster_name: "lab",
        endpoint: "https://192.0.2.10:6443",
        talos: &talos,
        kubernetes: Some(&kubernetes),
        now,
        members: members.collect(),
    })
}

fn findings(minor: u32, nodes: &[&str]) -> Vec<Diagnostic> {
    let all: Vec<Documents> = nodes.iter().map(|node| read(minor, node)).collect();
    look(minor, &all, nodes, SystemTime::UNIX_EPOCH + NOW)
}

fn has(findings: &[Diagnostic], code: &str) -> bool {
    findings.iter().any(|finding| finding.code == code)
}

#[test]
fn each_code_is_found_where_it_is_and_nowhere_else() {
    for Case { code, minor, bad, good } in &CASES.0 {
        let found = findings(*minor, bad);
        assert!(has(&found, code), "{code} of {bad:?}: {found:?}");
        let found = findings(*minor, good);
        assert!(!has(&found, code), "{code} of {good:?}: {found:?}");
    }
}

/// What is proven by a test of its own.
const OTHERS: [&str; 10] = [
    "ca-expired",
    "ca-expires-soon",
    "ca-foreign-key",
    "ca-not-yet-valid",
    "endpoint-url",
    "install-ambiguous",
    "install-bad-disk",
    "install-no-match",
    "selector-refused",
    "volume-no-match",
];

#[test]
fn every_code_is_proven_and_in_order() {
    let cases = CASES.0.iter().map(|case| case.code).chain(OTHERS);
    let proven: BTreeSet<&str> = cases.collect();
    let known: Vec<&str> = code::CODES.iter().map(|code| code.name).collect();
    assert_eq!(known, proven.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_finding_says_where_and_what_to_do_as_heavy_as_its_code() {
    for Case { minor, bad, .. } in &CASES.0 {
        for finding in findings(*minor, bad) {
            let code = code::find(finding.code).unwrap();
            assert_eq!(finding.severity, code.severity, "{finding}");
            assert!(finding.help.is_some_and(|help| !help.is_empty()), "{}", finding.message);
            let of_site = !finding.message.starts_with("node ");
            assert!(finding.place.is_some() || of_site, "{}", finding.message);
            assert!(!finding.message.ends_with('.'), "{}", finding.message);
        }
    }
}

#[test]
fn a_sound_site_has_no_findings() {
    assert_eq!(CASES.1.len(), 2);
    for Case { minor, good, .. } in &CASES.1 {
        assert_eq!(findings(*minor, good), []);
    }
}

#[test]
fn what_many_nodes_have_from_one_place_is_said_once() {
    let node = "controlplane\nmain {machine: {certSANs: [a.example, a.example]}}";
    let all = [read(14, node), read(14, node), read(14, node)];
    let found = look(14, &all, &[node; 3], SystemTime::UNIX_EPOCH + NOW);
    let found: Vec<_> = found.iter().filter(|finding| finding.code == "list-twice").collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.starts_with("node `n0` and 2 others: "), "{}", found[0].message);
    assert_eq!(found[0].place.as_ref().unwrap().file, "node.yaml");
}

#[test]
fn an_endpoint_is_a_url_of_https() {
    let talos = Version { major: 1, minor: 14, patch: 0, pre: None };
    for (endpoint, good) in [
        ("https://api.example.net:6443", true),
        ("https://[2001:db8::1]:6443", true),
        ("https://[2001:db8::1", false),
        ("http://api.example.net", false),
        ("https://", false),
        ("", false),
    ] {
        let site = Fleet {
            cluster_name: "lab",
            endpoint,
            talos: &talos,
            kubernetes: None,
            now: SystemTime::UNIX_EPOCH,
            members: Vec::new(),
        };
        assert_eq!(has(&fleet(&site), "endpoint-url"), !good, "{endpoint}");
    }
}

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let talos = Version { major: 1, minor: 14, patch: 0, pre: None };
    Bundle::generate(&talos, SystemTime::UNIX_EPOCH + NOW).unwrap()
});

/// A node of each style with Kubernetes' CA, and a key.
fn with_ca(key: &crate::pki::key::PrivateKey) -> [Documents; 2] {
    let crt = BUNDLE.k8s().certificate().pem();
    let key = key.pem().reveal();
    let mut newer = read(14, "controlplane");
    let ca = newer.open("KubeAPIServerCAConfig", None);
    ca.set_at(&["issuingCA", "cert"], crt);
    ca.set_at(&["issuingCA", "key"], key);
    let mut older = read(14, "controlplane\nmain {machine: {type: controlplane}}");
    let main = older.open("v1alpha1", None);
    main.set_at(&["cluster", "ca", "crt"], pem::to_base64(crt).reveal());
    main.set_at(&["cluster", "ca", "key"], pem::to_base64(key).reveal());
    [newer, older]
}

#[test]
fn a_ca_is_looked_at_in_both_styles() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let made = SystemTime::UNIX_EPOCH + NOW;
    for (now, code) in [
        (made - DAY, Some("ca-not-yet-valid")),
        (made + DAY, None),
        (made + 3500 * DAY, None),
        (made + 3600 * DAY, Some("ca-expires-soon")),
        (made + 3651 * DAY, Some("ca-expired")),
    ] {
        for documents in with_ca(BUNDLE.k8s().key()) {
            let found = look(14, &[documents], &["controlplane"], now);
            let found: Vec<_> =
                found.iter().map(|f| f.code).filter(|c| c.starts_with("ca-")).collect();
            assert_eq!(found, code.into_iter().collect::<Vec<_>>());
        }
    }
    for documents in with_ca(BUNDLE.etcd().key()) {
        let found = look(14, &[documents], &["controlplane"], made);
        assert!(has(&found, "ca-foreign-key"));
        let key = BUNDLE.etcd().key().pem().reveal();
        let line = key.lines().nth(1).unwrap();
        assert!(found.iter().all(|finding| !finding.to_string().contains(line)));
    }
    // The same CA in both styles is the same; another is not.
    let [newer, older] = with_ca(BUNDLE.k8s().key());
    let mut other = older.clone();
    let crt = pem::to_base64(BUNDLE.etcd().certificate().pem());
    other.open("v1alpha1", None).set_at(&["cluster", "ca", "crt"], crt.reveal());
    let nodes = ["controlplane"; 2];
    assert!(!has(&look(14, &[newer.clone(), older], &nodes, made), "secrets-mixed"));
    assert!(has(&look(14, &[newer, other], &nodes, made), "secrets-mixed"));
}

fn disk(id: &str, transport: &str, serial: &str) -> Disk {
    Disk {
        id: id.to_owned(),
        size: 500_000_000_000,
        serial: serial.to_owned(),
        transport: transport.to_owned(),
        dev_path: format!("/dev/{id}"),
        symlinks: vec![format!("/dev/disk/by-id/{transport}-{serial}")],
        pretty_size: "500 GB".to_owned(),
        ..Disk::default()
    }
}

#[test]
fn the_disk_that_talos_takes_is_told() {
    let have =
        [disk("sdb", "usb", "U1"), disk("nvme1n1", "nvme", "N2"), disk("nvme0n1", "nvme", "N1")];
    let newer = |text: &str| {
        let text = text.replace('"', "\\\"");
        let document = format!(
            "n\nUnattendedInstallConfig {{provisioning: {{diskSelector: {{match: \"{text}\"}}}}}}"
        );
        read(14, &document)
    };
    let older = |install: &str| read(13, &format!("n\nmain {{machine: {{install: {install}}}}}"));
    for (documents, id, code) in [
        (newer("disk.serial == \"N2\""), Some("nvme1n1"), None),
        (newer("disk.transport == \"nvme\""), Some("nvme0n1"), Some("install-ambiguous")),
        (newer("disk.transport == \"usb\""), Some("sdb"), Some("install-bad-disk")),
        (newer("disk.serial == \"N3\""), None, Some("install-no-match")),
        (newer("disk.serial > 3"), None, Some("selector-refused")),
        (newer("system_disk"), None, Some("install-no-match")),
        (older("{disk: /dev/nvme1n1}"), Some("nvme1n1"), None),
        (older("{disk: /dev/disk/by-id/nvme-N1}"), Some("nvme0n1"), None),
        (older("{disk: /dev/sdz}"), None, Some("install-no-match")),
        (older("{disk: /dev/sdz, diskSelector: {serial: N1}}"), Some("nvme0n1"), None),
        (older("{diskSelector: {type: nvme}}"), Some("nvme0n1"), Some("install-ambiguous")),
        (older("{diskSelector: {serial: U*}}"), Some("sdb"), Some("install-bad-disk")),
        (older("{diskSelector: {name: sda}}"), None, Some("selector-refused")),
        (older("{image: ghcr.io/siderolabs/installer:v1.13.0}"), None, None),
    ] {
        let found = disks::check(&documents, &have);
        let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{found:?}");
        let pick = disks::pick(&documents, &have).ok().flatten();
        assert_eq!(pick.map(|pick| pick.disk.id.as_str()), id, "{found:?}");
    }
    let pick = disks::pick(&newer("true"), &have).unwrap().unwrap();
    assert_eq!(
        pick.others.iter().map(|disk| disk.id.as_str()).collect::<Vec<_>>(),
        ["nvme1n1", "sdb"]
    );
    assert!(pick.wipe);
    assert!(!disks::pick(&older("{disk: /dev/sdb}"), &have).unwrap().unwrap().wipe);
}

#[test]
fn a_volume_has_a_disk() {
    let have = [disk("sda", "sata", "S1"), disk("sdb", "sata", "S2")];
    let volume = |text: &str| {
        let document = format!(
            "n\nmain {{machine: {{install: {{disk: /dev/sda}}}}}}\n\
             UserVolumeConfig {{name: data, provisioning: {{diskSelector: {{match: '{text}'}}}}}}"
        );
        read(14, &document)
    };
    assert_eq!(disks::check(&volume("!system_disk"), &have), []);
    assert!(has(&disks::check(&volume("!system_disk"), &have[..1]), "volume-no-match"));
    assert!(has(&disks::check(&volume("disk.transport == \"nvme\""), &have), "volume-no-match"));
    assert!(has(&disks::check(&volume("disk.size"), &have), "selector-refused"));
}

#[test]
fn a_nodes_known_disks_are_looked_at() {
    let node = "controlplane\nmain {machine: {install: {disk: /dev/disk/by-id/x}}}";
    let documents = read(13, node);
    let have = [disk("sda", "sata", "S1")];
    let talos = Version { major: 1, minor: 13, patch: 0, pre: None };
    let mut site = Fleet {
        cluster_name: "lab",
        endpoint: "https://api.example.net:6443",
        talos: &talos,
        kubernetes: None,
        now: SystemTime::UNIX_EPOCH + NOW,
        members: vec![Member { disks: Some(&have), ..member(0, node, &documents) }],
    };
    assert!(has(&fleet(&site), "install-no-match"));
    site.members[0].medium = Medium::Disk;
    assert!(!has(&fleet(&site), "install-no-match"));
}

#[test]
fn warnings_are_silenced_and_errors_only_where_judged() {
    let of = |code| found::diagnostic(code, "x");
    let all =
        vec![of("planes-even"), of("cni-two"), of("secrets-mixed"), Diagnostic::error("x", "x")];
    let codes = ["planes-even", "cni-two", "secrets-mixed", "x"].map(str::to_owned);
    let (left, unknown) = silence(all, &codes);
    let left: Vec<(&str, Severity)> = left.iter().map(|f| (f.code, f.severity)).collect();
    assert_eq!(left, [("secrets-mixed", Severity::Error), ("x", Severity::Error)]);
    assert_eq!(unknown, ["x"]);
}

/// How many values a tree has.
fn count(tree: &Tree) -> usize {
    let items = tree.items().iter().map(count).sum::<usize>();
    1 + items + tree.entries().iter().map(|(_, value)| count(value)).sum::<usize>()
}

/// Puts another value in the place of the one of a number.
fn put(tree: &mut Tree, number: &mut usize, data: &Data) {
    if *number == 0 {
        *tree.data_mut() = data.clone();
    }
    *number = number.wrapping_sub(1);
    match tree.data_mut() {
        Data::List(items) => items.iter_mut().for_each(|item| put(item, number, data)),
        Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| put(value, number, data)),
        _ => {}
    }
}

fn any_data() -> impl Strategy<Value = Data> {
    prop_oneof![
        Just(Data::Null),
        any::<bool>().prop_map(Data::Bool),
        any::<i128>().prop_map(Data::Int),
        "\\PC{0,12}".prop_map(Data::Text),
        "(https://)?[\\[\\]:/.0-9a-f@v${}]{0,12}".prop_map(Data::Text),
        Just(Data::List(vec![Tree::from(""), Tree::empty()])),
        Just(Data::Map(vec![("name".to_owned(), Tree::from("x"))])),
    ]
}

proptest! {
    #[test]
    fn no_documents_make_it_panic(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_data()), 0..12),
    ) {
        let cases = || picks.iter().map(|pick| pick.get(&CASES.0));
        let nodes: Vec<&str> = cases().map(|case| case.bad[0]).collect();
        let mut all: Vec<Documents> = cases().map(|case| read(case.minor, case.bad[0])).collect();
        for (at, data) in &changes {
            let documents = &mut all[at.index(picks.len())];
            let list = documents.list_mut();
            if list.is_empty() {
                continue;
            }
            let number = at.index(list.len());
            let tree = list[number].tree_mut();
            let mut number = at.index(count(tree));
            put(tree, &mut number, data);
        }
        let found = look(14, &all, &nodes, SystemTime::UNIX_EPOCH + NOW);
        prop_assert!(found.iter().all(|finding| code::find(finding.code).is_some()));
        for documents in &all {
            disks::check(documents, &[disk("sda", "sata", "S1")]);
        }
    }
}
