//! Proofs of the reader: what Go makes of scalars, and what is refused at which place.

use super::*;
use crate::config::documents::Documents;

fn decode(minor: u32, text: &str) -> Result<Documents, Vec<Diagnostic>> {
    Documents::decode(Schema::of_minor(minor), "test.yaml", text.as_bytes())
}

fn codes(text: &str) -> Vec<&'static str> {
    decode(14, text).unwrap_err().iter().map(|problem| problem.code).collect()
}

const LINK: &str = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\n";

#[test]
fn a_document_that_nobody_changes_keeps_its_text() {
    let text = format!(
        "# head\n---\n# one\n{LINK}mtu: 0x2328 # hex\n--- # two\nkind: HostnameConfig\napiVersion: v1alpha1\nauto: off\n...\n---\n---\n"
    );
    let documents = decode(14, &text).unwrap();
    let sources: Vec<_> = documents.iter().map(|d| d.source().unwrap().to_owned()).collect();
    let first = format!("# one\n{LINK}mtu: 0x2328 # hex\n");
    assert_eq!(
        sources,
        [first, "kind: HostnameConfig\napiVersion: v1alpha1\nauto: off\n".to_owned()]
    );
    let link = documents.get("LinkConfig", Some("eth0")).unwrap();
    assert_eq!(link.get("mtu").unwrap().int(), Some(9000));
}

#[test]
fn numbers_switches_and_texts_are_what_go_makes_of_them() {
    let link = |rest: &str| decode(14, &format!("{LINK}{rest}")).unwrap();
    let value = |rest: &str, key: &str| {
        link(rest).get("LinkConfig", None).unwrap().get(key).unwrap().data().clone()
    };
    assert!(value("mtu: 01500\n", "mtu") == Data::Int(832));
    assert!(value("mtu: 9_000\n", "mtu") == Data::Int(9000));
    assert!(value("mtu: 1500.0\n", "mtu") == Data::Int(1500));
    assert!(value("up: yes\n", "up") == Data::Bool(true));
    for bad in ["mtu: \"1500\"\n", "mtu: -1\n", "mtu: 4294967296\n", "up: 1\n", "up: \"true\"\n"] {
        assert!(decode(14, &format!("{LINK}{bad}")).is_err(), "{bad}");
    }
}

#[test]
fn what_talos_refuses_to_read_is_refused_at_its_place() {
    assert_eq!(codes(&format!("{LINK}MTU: 9000\n")), ["config-unknown-key"]);
    assert_eq!(codes(&format!("{LINK}---\n{LINK}")), ["config-duplicate"]);
    assert_eq!(codes("apiVersion: v1alpha1\nkind: NopeConfig\n"), ["config-kind-unknown"]);
    assert_eq!(codes(&format!("{LINK}addresses: 1\n")), ["config-type"]);
    assert_eq!(codes(&format!("{LINK}addresses: [{{address: nope}}]\n")), ["config-value"]);
    let problems = decode(14, &format!("{LINK}addresses:\n- addres: a\n")).unwrap_err();
    assert_eq!(problems[0].place.as_ref().unwrap().to_string(), "test.yaml:5:3");
    assert_eq!(problems[0].help.as_deref(), Some("did you mean `address`?"));
}

#[test]
fn a_date_is_a_text_until_1_13() {
    let text = "apiVersion: v1alpha1\nkind: EnvironmentConfig\nvariables: {a: 2024-01-02}\n";
    assert!(decode(13, text).is_ok());
    assert!(decode(14, text).is_err());
}

#[test]
fn a_value_without_a_type_keeps_its_own() {
    let text = "apiVersion: v1alpha1\nkind: KubeletConfig\nimage: a\nconfig: {a: yes, b: 0755, c: 2024-01-02, d: {<<: {x: 1}, y: 2}, e: 100000000000000000000}\n";
    let documents = decode(14, text).unwrap();
    let config = documents.get("KubeletConfig", None).unwrap().get("config").unwrap().clone();
    assert_eq!(config.get("a").unwrap().text(), Some("yes"));
    assert_eq!(config.get("b").unwrap().int(), Some(493));
    assert!(*config.get("c").unwrap().data() == Data::Time("2024-01-02".into()));
    assert_eq!(config.at(&["d", "x"]).unwrap().int(), Some(1));
    assert!(*config.get("e").unwrap().data() == Data::Float(1e20));
}
