//! Proofs of the writer: its layout, and what has to be quoted.

use super::*;
use crate::talos::Version;

fn round_trip(text: &str) -> String {
    let schema = Schema::of(&Version::parse("v1.14.1").unwrap());
    let mut documents = Documents::decode(schema, "test.yaml", text.as_bytes()).unwrap();
    documents.list_mut().iter_mut().for_each(|document| _ = document.tree_mut());
    documents.encode()
}

#[test]
fn a_changed_document_is_written_in_the_layout_of_talos() {
    let text = "\
version: v1alpha1
machine:
    type: worker
    certSANs: []
    files:
        - content: |
              one
              two
          permissions: 0o644
          path: /var/etc/a
          op: create
---
apiVersion: v1alpha1
kind: VLANConfig
name: bond0.100
vlanID: 100
parent: bond0
addresses:
    - address: 2001:db8::1/64
";
    assert_eq!(round_trip(text), text);
}

#[test]
fn texts_that_some_reader_takes_for_more_are_quoted() {
    for text in [
        "yes",
        "On",
        "1.20",
        "0x10",
        "1e3",
        "0777",
        "1_000",
        "12:30:45",
        "2024-01-02",
        "~",
        "null",
        "",
        "=",
        "<<",
        "- a",
        "a: b",
        "a #b",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "{a}",
        "[a]",
        "true",
        ".5",
        "+1",
        "a:",
        " a",
        "a ",
        "?",
        "'a'",
        "\"a\"",
    ] {
        let written = quoted(text);
        assert!(written.starts_with(['\'', '"']), "{text} is written {written}");
    }
    for text in
        ["bond0", "2001:db8::1/64", "https://a.example:6443", "v1.34.1", "/dev/sda", "168h0m0s"]
    {
        assert_eq!(quoted(text), text);
    }
}
