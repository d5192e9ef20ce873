//! Media and configs that differ in one thing or another, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::inspect::init::{Found, Layer};
use crate::inspect::meta::Meta;
use crate::inspect::{Boot, Door, Firmware, Kind, Region};
use crate::units::SectorSize;

const CONFIG: &str = "version: v1alpha1
machine:
  token: aaaaaa.1111111111111111
  network:
    hostname: cp-1
    nameservers: [192.0.2.1, 192.0.2.2]
    interfaces:
      - {interface: eth0, mtu: 1500, vlans: [{vlanId: 5, dhcp: true}]}
      - {interface: eth1, dhcp: true}
  nodeLabels: {example.com/rack: a}
cluster:
  controlPlane: {endpoint: https://192.0.2.10:6443}
---
apiVersion: v1alpha1
kind: LinkConfig
name: eth5
mtu: 1500
";

fn found(config: &str) -> Found {
    let digest = Digest::of(config.as_bytes());
    Found {
        bytes: Arc::from(config.as_bytes()),
        digest,
        image: "0.sqsh".into(),
        version: digest.to_string(),
        mode: 0o400,
        uid: 0,
        gid: 0,
        label: None,
    }
}

fn layer(name: &str, version: &str) -> Layer {
    Layer { image: "0.sqsh".into(), name: name.into(), version: version.into() }
}

fn boot(title: &str, cmdline: &str, config: &str) -> Boot {
    Boot {
        firmware: Firmware::Uefi { esp: 0, uki: "EFI/Linux/Talos.efi".into(), addons: vec![] },
        title: title.into(),
        profile: None,
        cmdline: cmdline.into(),
        kernel: Some("6.18.45-talos".into()),
        stub: Some(257),
        layers: vec![],
        found: Some(found(config)),
    }
}

fn medium(boots: Vec<Boot>) -> Medium {
    Medium {
        containers: Vec::new(),
        kind: Kind::Iso,
        volume_id: Some("TALOS_V1_13_9".into()),
        doors: BTreeSet::from([Door::UefiCd]),
        boots,
        meta: None,
        volumes: Vec::new(),
        regions: vec![],
        notes: vec![],
    }
}

/// The differences of two media whose bytes differ, a line each.
fn lines_of(before: &Medium, after: &Medium) -> Vec<String> {
    let blobs = [b"a", b"b"].map(|bytes| Blob::from_bytes("medium", *bytes));
    let [old, new] = &blobs;
    let (before, after) =
        (Subject { blob: old, medium: before }, Subject { blob: new, medium: after });
    lines(&of(before, after).unwrap())
}

fn lines(found: &Difference) -> Vec<String> {
    let line = |part: &Part| {
        let (topic, entries) = (part.topic.name(), part.entries.join(", "));
        let line =
            |c: &Change| format!("{topic} {entries}|{}|{:?}|{:?}", c.place, c.before, c.after);
        part.changes.iter().map(line).collect::<Vec<_>>()
    };
    found.parts.iter().flat_map(line).collect()
}

/// The differences of two configs, a line each.
fn configs(before: &str, after: &str) -> Vec<String> {
    let mut part = Part::new(Topic::Config);
    config::texts(&mut part, before.as_bytes(), after.as_bytes());
    let side = |side: &Side| match side {
        Side::Absent => "-".to_owned(),
        Side::Hidden => "hidden".to_owned(),
        Side::Shown(text) => text.clone(),
    };
    let line = |c: &Change| format!("{}: {} > {}", c.place, side(&c.before), side(&c.after));
    part.changes.iter().map(line).collect()
}

fn cmdlines(before: &str, after: &str) -> Vec<String> {
    let mut part = Part::new(Topic::Boot);
    cmdline::compare(&mut part, before, after);
    part.changes.iter().map(|c| format!("{}: {:?} > {:?}", c.place, c.before, c.after)).collect()
}

#[test]
fn equal_bytes_are_equal_and_nothing_more_is_looked_at() {
    let blob = Blob::from_bytes("medium", *b"same");
    let (old, new) = (medium(vec![]), medium(vec![boot("a", "", "")]));
    let subject = |medium| Subject { blob: &blob, medium };
    let found = of(subject(&old), subject(&new)).unwrap();
    assert_eq!(found, Difference { first_byte: None, parts: vec![] });
}

#[test]
fn the_first_byte_that_differs_is_found() {
    let blob = |bytes: Vec<u8>| Blob::from_bytes("medium", bytes);
    let mut long = vec![7; (1 << 20) + 9];
    let base = blob(long.clone());
    long[(1 << 20) + 3] = 8;
    assert_eq!(bytes::first(&base, &blob(long)).unwrap(), Some((1 << 20) + 3));
    assert_eq!(bytes::first(&base, &blob(vec![7; 3])).unwrap(), Some(3));
    assert_eq!(bytes::first(&base, &base).unwrap(), None);
}

#[test]
fn media_are_compared_as_such() {
    let old = medium(vec![boot("Talos (v1.13.9)", "a", CONFIG)]);
    let mut new = medium(vec![]);
    new.kind = Kind::Disk { sector: SectorSize::B512 };
    new.volume_id = None;
    new.doors = BTreeSet::from([Door::UefiDisk]);
    let meta = [(0x11, b"dual-boot".to_vec()), (0x0c, b"word".to_vec())];
    new.meta = Some(Meta { values: BTreeMap::from(meta), notes: vec![] });
    insta::assert_snapshot!(lines_of(&old, &new).join("\n"), @r#"
    medium |kind|Shown("ISO")|Shown("raw disk, 512-byte sectors")
    medium |volume|Shown("TALOS_V1_13_9")|Absent
    medium |starts by|Shown("UEFI as CD")|Absent
    medium |starts by|Absent|Shown("UEFI as disk or USB stick")
    medium |boot entry|Shown("Talos (v1.13.9) (UEFI)")|Absent
    meta |key 0x0c|Absent|Hidden
    meta |key 0x11|Absent|Shown("dual-boot")
    "#);
}

#[test]
fn entries_that_differ_alike_are_told_once() {
    let entries = |args: &str, version: &str| {
        let mut boots = vec![boot("Talos", args, CONFIG), boot("Reset", args, CONFIG)];
        for boot in &mut boots {
            boot.layers = vec![layer("gvisor", version), layer("embedded-config", "1")];
        }
        medium(boots)
    };
    let old = entries("console=tty0 quiet", "1");
    let mut new = entries("console=ttyS0 quiet", "2");
    new.boots.push(boot("Third", "", CONFIG));
    insta::assert_snapshot!(lines_of(&old, &new).join("\n"), @r#"
    medium |boot entry|Absent|Shown("Third (UEFI)")
    boot Talos (UEFI), Reset (UEFI)|argument `console`|Shown("tty0")|Shown("ttyS0")
    boot Talos (UEFI), Reset (UEFI)|layer `gvisor`|Shown("1")|Shown("2")
    "#);
}

#[test]
fn layers_in_another_order_differ() {
    let of = |names: [&str; 2]| {
        let mut boot = boot("Talos", "", CONFIG);
        boot.layers = names.map(|name| layer(name, "1")).to_vec();
        medium(vec![boot])
    };
    let lines = lines_of(&of(["a", "b"]), &of(["b", "a"]));
    assert_eq!(lines, [r#"boot Talos (UEFI)|order of layers|Shown("a, b")|Shown("b, a")"#]);
}

#[test]
fn regions_are_compared_by_name_length_and_bytes() {
    let region = |range, label: &str| Region { range, label: label.into() };
    let subject = |regions: Vec<Region>| Medium { regions, ..medium(vec![]) };
    let old = subject(vec![
        region(0..8, "partition 1"),
        region(0..2, "`kernel`"),
        region(2..4, "`same`"),
        region(4..8, "`longer`"),
        region(8..9, "`gone`"),
        region(9..10, "mbr"),
    ]);
    let new = subject(vec![
        region(0..8, "partition 1"),
        region(0..2, "`same`"),
        region(2..4, "`kernel`"),
        region(4..9, "`longer`"),
        region(9..10, "mbr"),
    ]);
    let blobs = [b"kksslllldm", b"sskxlllllM"].map(|bytes| Blob::from_bytes("medium", *bytes));
    let found =
        of(Subject { blob: &blobs[0], medium: &old }, Subject { blob: &blobs[1], medium: &new });
    insta::assert_snapshot!(lines(&found.unwrap()).join("\n"), @r#"
    layout |`gone`|Shown("1 bytes at 0x8")|Absent
    layout |bytes of `kernel`|Shown("2 bytes, others from 0x1 on")|Shown("2 bytes, others from 0x1 on")
    layout |`longer`|Shown("4 bytes at 0x4")|Shown("5 bytes at 0x4")
    layout |places|Shown("2 regions of one length lie elsewhere")|Shown("2 regions of one length lie elsewhere")
    "#);
}

#[test]
fn arguments_are_compared_by_their_keys() {
    insta::assert_snapshot!(
        cmdlines(
            "a b=1 console=tty0 console=ttyS0 x=1 x=2 ip=::1",
            "b=2 a c=3 console=ttyS0 console=tty0 x=2 x=3",
        ).join("\n"),
        @r#"
    argument `b`: Shown("1") > Shown("2")
    order of `console`: Shown("tty0, ttyS0") > Shown("ttyS0, tty0")
    argument `x`: Shown("1") > Absent
    argument `x`: Absent > Shown("3")
    argument `ip`: Shown("::1") > Absent
    argument `c`: Absent > Shown("3")
    "#
    );
    assert!(cmdlines("a b=1", "b=1 a").is_empty());
}

#[test]
fn arguments_that_may_be_secret_are_hidden() {
    let lines = cmdlines(
        "talos.config.inline=c2VjcmV0 talos.environment=INSTALLER_META_BASE64=c2VjcmV0 \
         talos.config.oauth.client_secret=secret1",
        "talos.config.early=secret2 talos.config=https://u:secret3@x/ \
         talos.environment=HTTPS_PROXY=http://u:secret4@y talos.environment=A=open",
    );
    let text = lines.join("\n");
    assert!(!text.contains("secret1") && !text.contains("secret2"), "{text}");
    assert!(!text.contains("c2VjcmV0") && !text.contains("secret3@"), "{text}");
    assert!(!text.contains("secret4") && text.contains("A=open"), "{text}");
}

#[test]
fn configs_are_compared_by_path() {
    let other = CONFIG
        .replace("aaaaaa", "bbbbbb")
        .replace("cp-1", "cp-2")
        .replace("192.0.2.1,", "192.0.2.9, 192.0.2.1,")
        .replace("mtu: 1500, vlans", "vlans")
        .replace("{vlanId: 5, dhcp: true}", "{vlanId: 6, dhcp: true}, {vlanId: 5}")
        .replace("rack: a", "rack: b")
        .replace("LinkConfig\nname: eth5", "VLANConfig\nname: eth5.7");
    insta::assert_snapshot!(configs(CONFIG, &other).join("\n"), @r#"
    machine.network.hostname: cp-1 > cp-2
    machine.network.interfaces[interface: eth0].mtu: 1500 > -
    machine.network.interfaces[interface: eth0].vlans[vlanId: 5].dhcp: true > -
    machine.network.interfaces[interface: eth0].vlans[vlanId: 6].vlanId: - > 6
    machine.network.interfaces[interface: eth0].vlans[vlanId: 6].dhcp: - > true
    machine.network.nameservers[0]: - > 192.0.2.9
    machine.nodeLabels."example.com/rack": a > b
    machine.token: hidden > hidden
    LinkConfig eth5: a document > -
    VLANConfig eth5.7: - > a document
    "#);
}

#[test]
fn items_told_by_a_key_may_change_places() {
    let other = CONFIG
        .replace("      - {interface: eth1, dhcp: true}\n", "")
        .replace("interfaces:\n", "interfaces:\n      - {interface: eth1, dhcp: false}\n");
    let lines = configs(CONFIG, &other);
    assert_eq!(lines, ["machine.network.interfaces[interface: eth1].dhcp: true > false"]);
}

#[test]
fn what_is_written_otherwise_is_the_same() {
    let other = CONFIG.replace("hostname: cp-1", "hostname: \"cp-1\" # a comment");
    let same = "the same values, written otherwise";
    assert_eq!(configs(CONFIG, &other), [format!("text: {same} > {same}")]);
    assert_eq!(configs("a: 1\nb: null\n", "a: 2\n"), ["a: 1 > 2"], "null is nothing");
}

#[test]
fn what_is_no_yaml_is_not_quoted() {
    let lines = configs("machine: {token: \"aaaaaa.1111111111111111", CONFIG);
    assert_eq!(lines, ["text: no YAML > YAML"]);
}

/// Every secret of a whole cluster, in the configs that Talos' own library makes.
#[test]
fn no_secret_of_a_config_is_shown() {
    let read = |name: &str| {
        let path = format!("{}/../tests/talos-gen/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let bundle = read("secrets.yaml");
    let is_secret = |line: &&str| !["id:", "crt:"].iter().any(|key| line.trim().starts_with(key));
    let values = bundle.lines().filter(is_secret).filter_map(|line| line.split_once(": "));
    let secrets: Vec<&str> =
        values.map(|(_, value)| value.trim()).filter(|v| v.len() > 8).collect();
    assert!(secrets.len() >= 9, "the bundle has {}", secrets.len());
    for minor in [12, 13, 14] {
        for name in ["controlplane", "controlplane-options", "worker-options"] {
            let config = read(&format!("talos-1.{minor}/{name}.yaml"));
            // Against a config that has each value, but reversed; and against none of them.
            let reversed = config.lines().map(|line| match line.split_once(": ") {
                Some((key, value)) if secrets.contains(&value.trim()) => {
                    format!("{key}: {}", value.trim().chars().rev().collect::<String>())
                }
                _ => line.to_owned(),
            });
            let reversed = reversed.collect::<Vec<_>>().join("\n");
            for other in [reversed.as_str(), "version: v1alpha1\nmachine: {}\n"] {
                let text = configs(&config, other).join("\n");
                assert!(text.contains("hidden"), "{text}");
                for secret in &secrets {
                    let back: String = secret.chars().rev().collect();
                    assert!(!text.contains(secret) && !text.contains(&back), "{minor} {name}");
                }
            }
        }
    }
}

#[test]
fn long_lists_of_differences_end() {
    let many = |c: char| (0..3000).map(|n| format!("k{n}: {c}\n")).collect::<String>();
    let mut part = Part::new(Topic::Config);
    config::texts(&mut part, many('a').as_bytes(), many('b').as_bytes());
    assert_eq!((part.changes.len(), part.more), (CHANGES_LIMIT, 2000));
    assert_eq!(part.changes[0].place, "k0");
}

proptest! {
    /// Nothing in two texts makes it panic, and a text is no other than itself.
    #[test]
    fn any_two_texts_are_compared(
        before in "[a-c:\\-\\[\\]{}, \\n\"'|&*0-9]{0,80}",
        after in "[a-c:\\-\\[\\]{}, \\n\"'|&*0-9]{0,80}",
    ) {
        configs(&before, &after);
        cmdlines(&before, &after);
        prop_assert!(cmdlines(&before, &before).is_empty());
        let same = configs(&before, &before);
        prop_assert!(same.iter().all(|line| line.starts_with("text: ")), "{same:?}");
    }
}
