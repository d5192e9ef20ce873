//! Proofs of the trees: what is kept as written, what is refused, and that nothing panics.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Node {
    parse("f.yaml", text.as_bytes()).unwrap().remove(0)
}

fn refused(bytes: &[u8]) -> (&'static str, String) {
    let error = parse("f.yaml", bytes).unwrap_err();
    (error.code, error.place.unwrap().to_string())
}

#[test]
fn scalars_stay_as_they_are_written() {
    for text in ["0644", "1.20", "yes", "1e3", "0x1F", "2024-01-02", "12:30:45", "on", "1_000"] {
        let node = one(&format!("a: {text}"));
        assert_eq!(node.get("a").unwrap().text(), Some(text));
    }
    assert_eq!(one("a: |\n  x\n  y\n").get("a").unwrap().text(), Some("x\ny\n"));
    assert_eq!(one(r#"a: "\x41""#).get("a").unwrap().text(), Some("A"));
}

#[test]
fn nothing_is_told_from_its_quoted_name() {
    for text in ["", "~", "null", "Null", "NULL"] {
        assert!(one(&format!("a: {text}")).get("a").unwrap().is_null(), "{text}");
    }
    for text in ["'null'", "\"\"", "nULL", "!!str null"] {
        assert!(!one(&format!("a: {text}")).get("a").unwrap().is_null(), "{text}");
    }
}

#[test]
fn places_count_characters_from_one() {
    let node = one("ä: [ö, ü]\nb:\n    - c: d\n");
    let second = &node.get("ä").unwrap().items().unwrap()[1];
    assert_eq!(second.place().to_string(), "f.yaml:1:8");
    let inner = node.get("b").unwrap().items().unwrap()[0].get("c").unwrap();
    assert_eq!(inner.place().to_string(), "f.yaml:3:10");
    assert_eq!(node.entries().unwrap()[1].place.to_string(), "f.yaml:2:1");
}

#[test]
fn tags_are_kept() {
    let node = one("a: !!binary Zm9v\nb: !vault x\n");
    assert_eq!(node.get("a").unwrap().tag(), Some("tag:yaml.org,2002:binary"));
    assert_eq!(node.get("b").unwrap().tag(), Some("!vault"));
}

#[test]
fn a_stream_has_as_many_nodes_as_documents() {
    let kinds = |text: &str| -> Vec<_> {
        parse("f", text.as_bytes()).unwrap().iter().map(Node::kind).collect()
    };
    assert_eq!(kinds("a: 1\n---\n- b\n---\n# none\n"), ["a mapping", "a list", "nothing"]);
    assert_eq!(kinds("\u{feff}---\na: 1\n"), ["a mapping"]);
    assert!(kinds("").is_empty());
}

#[test]
fn an_alias_is_the_node_at_its_own_place() {
    let node = one("a: &x [1, 2]\nb: *x\n");
    let alias = node.get("b").unwrap();
    assert_eq!(alias.items().unwrap().len(), 2);
    assert_eq!(alias.place().to_string(), "f.yaml:2:4");
}

#[test]
fn anchors_end_with_their_document() {
    assert_eq!(refused(b"a: &x 1\n---\nb: *x\n"), ("yaml-syntax", "f.yaml:3:4".into()));
}

#[test]
fn what_breaks_yaml_is_refused_at_its_place() {
    let cases: [(&[u8], &str, &str); 9] = [
        (b"a: 1\nb: \xff\n", "yaml-encoding", "f.yaml:2:4"),
        (b"a: 1\nb: x\0y\n", "yaml-character", "f.yaml:2:5"),
        (b"a: \x1b[31m\n", "yaml-character", "f.yaml:1:4"),
        (b"a: 1\nb: 2\na: 3\n", "yaml-duplicate-key", "f.yaml:3:1"),
        (b"a: {x: 1, 'x': 2}\n", "yaml-duplicate-key", "f.yaml:1:11"),
        (b"? [a]\n: b\n", "yaml-key", "f.yaml:1:3"),
        (b"a: &x [*x]\n", "yaml-alias", "f.yaml:1:8"),
        (b"a:\n\t- b\n", "yaml-syntax", "f.yaml:2:2"),
        (b"a: [1, 2\n", "yaml-syntax", "f.yaml:1:4"),
    ];
    for (bytes, code, at) in cases {
        assert_eq!(refused(bytes), (code, at.to_owned()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    assert_eq!(refused(text.as_bytes()).0, "yaml-too-large");
}

#[test]
fn aliases_do_not_hide_depth() {
    let mut text = "a0: &a0 []\n".to_owned();
    for n in 1..200 {
        text.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    assert_eq!(refused(text.as_bytes()), ("yaml-too-deep", "f.yaml:128:14".into()));
}

#[test]
fn deep_nesting_is_refused() {
    let block: String = (0..3000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let deep = |text: &str| refused(text.as_bytes()).0;
    assert_eq!(deep(&"[".repeat(1 << 20)), "yaml-too-deep");
    assert_eq!(deep(&"- ".repeat(1 << 20)), "yaml-too-deep");
    assert_eq!(deep(&"{a: ".repeat(1 << 16)), "yaml-too-deep");
    assert_eq!(deep(&block), "yaml-too-deep");
    assert!(parse("f", "[".repeat(128).as_bytes()).is_err());
    let fits = format!("{}{}", "[".repeat(128), "]".repeat(128));
    assert!(parse("f", fits.as_bytes()).is_ok());
}

#[test]
fn many_nodes_are_refused() {
    assert_eq!(refused("- a\n".repeat(300_000).as_bytes()).0, "yaml-too-large");
}

#[test]
fn a_scalar_of_64_mib_is_one_node() {
    let text = format!("a: {}", "x".repeat(64 << 20));
    assert_eq!(one(&text).get("a").unwrap().text().unwrap().len(), 64 << 20);
}

#[test]
fn no_debug_output_holds_a_text() {
    let node = one("token: hunter2\n");
    let text = format!("{node:?} {:?} {:?}", node.value(), node.entries().unwrap());
    assert!(!text.contains("hunter2"), "{text}");
}

/// Pieces of YAML that meet in odd ways.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        ": ",
        "- ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "!!str ",
        "? ",
        "| ",
        "> ",
        "'",
        "\"",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\t",
        "\r",
        "\u{feff}",
        "<<",
        "ä",
        "\\",
        "~",
        "|2-\n",
        "!<a>",
        "@",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn odd_yaml_gives_a_tree_or_an_error_with_a_place(text in soup()) {
        if let Err(error) = parse("f", text.as_bytes()) {
            prop_assert!(error.place.is_some());
        }
    }

    #[test]
    fn random_bytes_give_a_tree_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(parse("f", &bytes));
    }
}

#[test]
fn in_braces_no_text_begins_with_a_colon() {
    assert_eq!(parse("f.yaml", b"{a: ::1}\n").unwrap_err().code, "yaml-syntax");
    for good in ["{a: '::1'}\n", "[::1]\n", "a: ::1\n", "{a: [::1]}\n"] {
        assert!(parse("f.yaml", good.as_bytes()).is_ok(), "{good}");
    }
}
