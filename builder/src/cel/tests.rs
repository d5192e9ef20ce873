//! Proofs of expressions: verdicts equal to Talos' own, limits, disks, old selectors, and that
//! nothing panics.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::disks::{Disk, read};
use super::links::Link;
use super::*;

const VERDICTS: &str = include_str!("../../../tests/cel/verdicts.txt");
const DISKS: &[u8] = include_bytes!("../../../tests/cel/disks.yaml");

fn env(scope: Scope, talos: &str) -> Env {
    Env::new(scope, &Version::parse(talos).unwrap()).unwrap()
}

fn disks() -> Vec<Disk> {
    read("disks.yaml", DISKS).unwrap()
}

/// The links that the verdicts were made with.
fn links() -> [Link; 3] {
    let mac = vec![0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e];
    let other = vec![0x72, 0x8c, 0x41, 0xbf, 0xd4, 0x43];
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    [
        Link::default(),
        Link {
            index: 2,
            link_type: 1,
            link_index: 2,
            flags: 69699,
            hardware_addr: mac.clone(),
            broadcast_addr: vec![255; 6],
            mtu: 1500,
            queue_disc: "mq".into(),
            operational_state: 6,
            bus_path: "0000:01:00.0".into(),
            pciid: "8086:1533".into(),
            driver: "igb".into(),
            driver_version: "6.18.1".into(),
            firmware_version: "3.25".into(),
            product_id: "0x1533".into(),
            vendor_id: "0x8086".into(),
            product: "I210 Gigabit Network Connection".into(),
            vendor: "Intel Corporation".into(),
            link_state: true,
            speed_megabits: 1000,
            port: 3,
            duplex: 1,
            permanent_addr: mac,
            alt_names: texts(&["enp1s0", "enx001a2b3c4d5e"]),
            ..Link::default()
        },
        Link {
            index: 3,
            link_type: 1,
            link_index: 3,
            hardware_addr: other.clone(),
            permanent_addr: other,
            mtu: 9000,
            driver: "e1000".into(),
            alias: "uplink0".into(),
            speed_megabits: 25000,
            alt_names: texts(&["enx728c41bfd443"]),
            operational_state: 6,
            ..Link::default()
        },
    ]
}

fn scope(name: &str) -> Scope {
    match name {
        "disk" => Scope::Disk,
        "volume" => Scope::Volume,
        "member" => Scope::MemberVolume,
        "link" => Scope::Link,
        "trigger" => Scope::OomTrigger,
        "ranking" => Scope::OomRanking,
        _ => panic!("no scope {name}"),
    }
}

/// What this room says of an expression, in the letters of the table.
fn verdict(scope: Scope, talos: &str, text: &str) -> String {
    let Some(env) = Env::new(scope, &Version::parse(talos).unwrap()) else {
        return "none".to_owned();
    };
    let Ok(program) = compile(env, text) else { return "-".to_owned() };
    let letter = |bindings: &Bindings<'_>| match program.evaluate(bindings) {
        Ok(true) => 'T',
        Ok(false) => 'F',
        Err(_) => 'E',
    };
    let (disks, links) = (disks(), links());
    match scope {
        Scope::Disk => {
            use SystemDisk::{No, Unknown, Yes};
            let systems = [Yes, No, No, No, Unknown];
            let each = disks.iter().zip(systems);
            each.map(|(disk, system)| letter(&Bindings::Disk(disk, system))).collect()
        }
        Scope::Link => links.iter().map(|link| letter(&Bindings::Link(link))).collect(),
        _ => "ok".to_owned(),
    }
}

/// The expressions that are known to be judged otherwise than by Talos: those that evaluate a time,
/// make a message, or name an enumeration's value.
const KNOWN: [&str; 12] = [
    "type(duration(\"1s\")) == google.protobuf.Duration",
    "google.protobuf.Timestamp == type(timestamp(0))",
    "duration(\"1h\") > duration(\"1s\")",
    "duration(\"1h\").getHours() == 1",
    "timestamp(\"2024-01-01T00:00:00Z\").getFullYear() == 2024",
    "timestamp(\"2024-01-01T00:00:00Z\") + duration(\"1h\") > timestamp(0)",
    "timestamp(0) - timestamp(0) == duration(\"0s\")",
    "timestamp(0).getHours(\"UTC\") == 0",
    "google.protobuf.Duration{seconds: 1} == duration(\"1s\")",
    "talos.resource.definitions.block.DiskSpec{size: 1u} == disk",
    "talos.resource.definitions.enums.NethelpersDuplex.FULL == 1",
    "link.duplex == talos.resource.definitions.enums.NethelpersDuplex.FULL",
];

#[test]
fn every_expression_is_judged_as_by_talos() {
    let mut otherwise = BTreeSet::new();
    let mut report = String::new();
    for line in VERDICTS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.splitn(5, '\t').collect();
        let text = columns[4];
        for (talos, want) in ["v1.12.7", "v1.13.9", "v1.14.1"].into_iter().zip(&columns[1..4]) {
            let found = verdict(scope(columns[0]), talos, text);
            if found != **want {
                otherwise.insert(text);
                report += &format!("{talos} {}: {want}, here {found}: {text}\n", columns[0]);
            }
        }
    }
    assert_eq!(otherwise, BTreeSet::from(KNOWN), "\n{report}");
}

/// The message and the help of an expression that is refused, and the text from its place on.
fn refusal(scope: Scope, text: &str) -> String {
    let error = compile(env(scope, "v1.14.1"), text).unwrap_err();
    let help = error.help.unwrap_or_default();
    format!("{} | {help} | {}", error.message, &text[error.offset..])
}

#[test]
fn a_refusal_says_what_where_and_how_to_mend_it() {
    let all: Vec<_> = [
        (Scope::Disk, "disk.size > 500 * GB"),
        (Scope::Disk, "disk.size > 500"),
        (Scope::Disk, "!system_disk && disk.transprot == 'nvme'"),
        (Scope::Disk, "disk.size > 5u * KB"),
        (Scope::Disk, "disk.model.startswith('a')"),
        (Scope::Disk, "disk.size"),
        (Scope::Disk, "disk.size > "),
        (Scope::Disk, "disk.transport === 'nvme'"),
        (Scope::Disk, "disk.serial == 'secret"),
        (Scope::Link, "link.pci_id == '8086:1533'"),
        (Scope::Link, "mac(link.driver) == 'x'"),
        (Scope::OomRanking, "path == ''"),
    ]
    .into_iter()
    .map(|(scope, text)| refusal(scope, text))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    `*` does not take int and uint | sizes and counters are unsigned: write whole numbers with a `u`, `500u` | * GB
    `>` does not take uint and int | sizes and counters are unsigned: write whole numbers with a `u`, `500u` | > 500
    DiskSpec has no field `transprot` | did you mean `transport`? | .transprot == 'nvme'
    there is no `KB` | did you mean `kB`? | KB
    there is no function `startswith` | did you mean `startsWith`? | startswith('a')
    this is of type uint, and must be of type bool | compare it with something | .size
    the text ends where a value is expected |  | 
    this character means nothing in CEL |  | = 'nvme'
    this text is not closed |  | 'secret
    LinkStatusSpec has no field `pci_id` | did you mean `pciid`? | .pci_id == '8086:1533'
    `mac` does not take string |  | mac(link.driver) == 'x'
    this is of type bool, and must be of type double |  | == ''
    ");
}

#[test]
fn a_field_that_came_later_is_told_from_one_that_never_was() {
    let error = compile(env(Scope::Disk, "v1.13.9"), "disk.firmware_version == ''").unwrap_err();
    assert_eq!(error.message, "`firmware_version` of DiskSpec is new in Talos 1.14");
}

#[test]
fn there_are_environments_only_where_talos_has_them() {
    let of = |scope, talos| Env::new(scope, &Version::parse(talos).unwrap());
    assert_eq!(of(Scope::Disk, "v1.11.9"), None);
    assert_eq!(of(Scope::MemberVolume, "v1.13.9"), None);
    assert_eq!(of(Scope::Disk, "v1.14.0-rc.1"), of(Scope::Disk, "v1.20.0"));
    assert_eq!(of(Scope::Disk, "v2.0.0"), of(Scope::Disk, "v1.14.1"));
}

#[test]
fn nesting_ends_in_an_error_where_cel_go_ends() {
    let compiles = |text: &str| compile(env(Scope::Disk, "v1.14.1"), text).is_ok();
    for (open, close, most) in DEPTHS {
        let nested = |n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
        assert!(compiles(&nested(most)), "{open}");
        assert!(!compiles(&nested(most + 1)), "{open}");
        assert!(!compiles(&nested(20_000)), "{open}");
    }
    assert!(compiles(&format!("true{}", " && true".repeat(12_000))));
    assert!(compiles(&format!("{}true", "!".repeat(50_000))));
}

/// How deep Talos lets brackets and operators nest: what is before `true`, what is behind it, and
/// how often.
const DEPTHS: [(&str, &str, usize); 7] = [
    ("(", ")", 249),
    ("!(", ")", 249),
    ("(true && ", ")", 249),
    ("true ? true : ", "", 249),
    ("", " == true", 250),
    ("true == (", ")", 124),
    ("true == dyn([", "][0])", 83),
];

/// Pieces of which random expressions are made.
const PIECES: [&str; 48] = [
    "disk",
    "link",
    ".size",
    ".model",
    ".symlinks",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ":",
    ",",
    "?",
    " && ",
    " || ",
    " == ",
    " < ",
    " in ",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "1",
    "1u",
    "1.5",
    "'a'",
    "b'\\xff'",
    "true",
    "null",
    "[]",
    "{}",
    "GiB",
    ".map(x, ",
    ".filter(x, ",
    ".exists(x, ",
    "x",
    ".all(x, ",
    "size(",
    "dyn(",
    "type(",
    "string(",
    "has(",
    ".matches(",
    ".contains(",
    "\\",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![
            any::<String>(),
            prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|p| p.concat()),
        ],
    ) {
        for scope in [Scope::Disk, Scope::Link, Scope::OomTrigger] {
            match compile(env(scope, "v1.14.1"), &text) {
                Ok(program) => {
                    let disk = Disk::default();
                    let _ = program.evaluate(&Bindings::Disk(&disk, SystemDisk::No));
                    let _ = program.evaluate(&Bindings::Link(&Link::default()));
                }
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }
    }

    #[test]
    fn no_bytes_make_the_list_of_disks_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read("x", &bytes);
    }
}

#[test]
fn what_would_never_end_ends_in_an_error() {
    let list = format!("[{}]", ["1"; 100].join(","));
    let loops = format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, a == 1))))");
    let doubled = format!("['aaaaaaaa']{}.size() > 0", ".map(x, x + x)".repeat(100));
    for text in [loops, doubled] {
        let program = compile(env(Scope::Disk, "v1.14.1"), &text).unwrap();
        let disk = Disk::default();
        let error = program.evaluate(&Bindings::Disk(&disk, SystemDisk::No)).unwrap_err();
        assert_eq!(error.message, "the expression is more work than a selector may be");
    }
    let types = format!("[1]{}.size() > 0", ".map(x, {x: x})".repeat(60));
    let error = compile(env(Scope::Disk, "v1.14.1"), &types).unwrap_err();
    assert_eq!(error.message, "the types of this expression are too complex");
}

#[test]
fn an_old_selector_becomes_the_expression_that_talos_makes() {
    let table = include_str!("../../../tests/cel/legacy.txt");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (selector, want) = line.split_once('\t').unwrap();
        let document = crate::yaml::parse("x", selector.as_bytes()).unwrap().remove(0);
        let entries = document.entries().unwrap();
        let text = |node: &crate::yaml::Node| node.scalar().unwrap().text.clone();
        let pairs: Vec<_> = entries.iter().map(|e| (e.key.as_str(), text(&e.value))).collect();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let made = legacy::expression(&pairs).map(|text| text.replace('\n', "⏎"));
        assert_eq!(made.as_deref().unwrap_or("-"), want, "{selector}");
        if let Ok(made) = made {
            compile(env(Scope::Disk, "v1.12.0"), &made.replace('⏎', "\n")).unwrap();
        }
    }
}

#[test]
fn an_old_selector_is_refused_by_key_and_without_its_value() {
    let error = legacy::expression(&[("type", "secret")]).unwrap_err();
    assert_eq!(error.to_string(), "`diskSelector.type`: there is no such type of disk");
    let error = legacy::expression(&[("busPath", "x"), ("bus_path", "secret")]).unwrap_err();
    assert_eq!(error.to_string(), "`diskSelector.bus_path`: there is no such key");
}

#[test]
fn disks_are_read_with_all_that_is_told_of_them() {
    let disks = disks();
    let ids: Vec<_> = disks.iter().map(|disk| disk.id.as_str()).collect();
    assert_eq!(ids, ["nvme0n1", "sda", "sr0", "dm-0", "mmcblk0"]);
    assert_eq!(disks[0].node, "192.0.2.10");
    assert_eq!(disks[0].size, 1_000_204_886_016);
    assert_eq!(disks[0].symlinks.len(), 3);
    assert_eq!(disks[0].firmware_version, "4B2QJXD7");
    assert_eq!((disks[1].serial.as_str(), disks[1].rotational), ("12345678", true));
    assert!(disks[2].readonly && disks[2].cdrom);
    assert_eq!(disks[3].secondary_disks, ["nvme0n1", "sda"]);
    assert_eq!(disks[3].transport, "");
}

#[test]
fn disks_are_read_from_json_one_object_after_another_or_in_a_list() {
    let one = |id: &str| {
        format!(
            "{{\n    \"metadata\": {{\n        \"type\": \"Disks.block.talos.dev\",\n        \"id\": \"{id}\"\n    }},\n    \
             \"node\": \"n\",\n    \"spec\": {{\n        \"dev_path\": \"/dev/{id}\",\n        \"size\": 5,\n        \
             \"model\": \"a }} \\\"{{ b\",\n        \"new_key\": 1\n    }}\n}}\n"
        )
    };
    let expected = |id: &str| Disk {
        node: "n".into(),
        id: id.into(),
        dev_path: format!("/dev/{id}"),
        size: 5,
        model: "a } \"{ b".into(),
        ..Disk::default()
    };
    let both = vec![expected("sda"), expected("sdb")];
    assert_eq!(read("x", format!("{}{}", one("sda"), one("sdb")).as_bytes()).unwrap(), both);
    let list = format!("[{},{}]", one("sda"), one("sdb"));
    assert_eq!(read("x", list.as_bytes()).unwrap(), both);
}

#[test]
fn all_that_is_wrong_with_a_list_of_disks_is_told_at_once() {
    let text = "\
metadata: {type: Disks.block.talos.dev}
spec: {size: many, dev_path: [secret], readonly: maybe, symlinks: secret}
---
metadata: {type: Members.cluster.talos.dev}
spec: {}
---
metadata: {type: Disks.block.talos.dev}
spec: {model: x}
";
    let problems = read("disks.yaml", text.as_bytes()).unwrap_err();
    let lines: Vec<_> = problems
        .iter()
        .map(|p| format!("{} {} {}", p.code, p.place.as_ref().unwrap(), p.message))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    disks-value disks.yaml:2:14 this is a text, and must be a whole number below 2^64
    disks-value disks.yaml:2:50 this is a text, and must be `true` or `false`
    disks-value disks.yaml:2:30 this is a list, and must be a text
    disks-value disks.yaml:2:67 this is a text, and must be a list of texts
    disks-resource disks.yaml:4:1 this is no `Disks.block.talos.dev` resource
    disks-value disks.yaml:8:7 the disk has no `size`
    disks-value disks.yaml:8:7 the disk has no `dev_path`
    ");
    let problems = read("disks.yaml", b"").unwrap_err();
    assert_eq!(problems[0].code, "disks-none");
}
