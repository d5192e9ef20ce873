//! From trees to text again: YAML that readers of any version take for the same.
//!
//! In: nodes. Out: text, two spaces a level. A plain scalar stays as it is written, so that `1.20`
//! is no text and `"1.20"` no number; other texts get quotes wherever a reader could take them for
//! anything else.
//!
//! Source: YAML 1.2.2, chapters 7.3 and 8.1; YAML 1.1 for what else is a switch or a number,
//! <https://yaml.org/type/>.
//!
//! Not here: machine configs, whose types say how a value is written (`config`). Tags of
//! collections, anchors and comments are not written.

use std::fmt::Write as _;

use super::{Entry, Node, Style, Value};

/// The spaces of a level.
const STEP: usize = 2;

/// The longest key in characters that may stand before its `:` on one line (YAML 1.2.2, 7.4.2),
/// less what quotes and escapes can add.
const LONGEST_KEY: usize = 90;

/// Writes documents, with `---` between them.
pub fn documents(nodes: &[Node]) -> String {
    let mut text = String::new();
    for (number, node) in nodes.iter().enumerate() {
        if number > 0 {
            text.push_str("---\n");
        }
        block(&mut text, node, 0);
    }
    text
}

/// A node on lines of its own.
fn block(text: &mut String, node: &Node, indent: usize) {
    match node.value() {
        Value::Mapping(entries) if !entries.is_empty() => {
            entries.iter().for_each(|entry| self::entry(text, entry, indent));
        }
        Value::Sequence(items) if !items.is_empty() => {
            for item in items {
                if let Some(inline) = inline(item, indent) {
                    spaces(text, indent);
                    text.push_str("- ");
                    text.push_str(&inline);
                    text.push('\n');
                    continue;
                }
                // The hyphen takes the place of the first two columns of what is in the item.
                let start = text.len() + indent;
                block(text, item, indent + STEP);
                text.replace_range(start..start + STEP, "- ");
            }
        }
        _ => {
            spaces(text, indent);
            // At the top a block of text has its indentation all the same.
            text.push_str(&inline(node, indent).unwrap_or_default());
            text.push('\n');
        }
    }
}

fn entry(text: &mut String, entry: &Entry, indent: usize) {
    spaces(text, indent);
    let key = key(entry);
    if entry.key.chars().count() > LONGEST_KEY {
        text.push_str("? ");
        text.push_str(&key);
        text.push('\n');
        spaces(text, indent);
    } else {
        text.push_str(&key);
    }
    text.push(':');
    if let Some(inline) = inline(&entry.value, indent) {
        text.push(' ');
        text.push_str(&inline);
        text.push('\n');
    } else {
        text.push('\n');
        block(text, &entry.value, indent + STEP);
    }
}

fn key(entry: &Entry) -> String {
    match entry.style {
        Style::Plain if stays_plain(&entry.key) => entry.key.clone(),
        Style::Plain | Style::Text => quoted(&entry.key),
    }
}

/// What stands behind a key or a hyphen; nothing for a collection that has something in it.
/// `indent` is that of the key.
fn inline(node: &Node, indent: usize) -> Option<String> {
    let scalar = match node.value() {
        Value::Mapping(entries) if entries.is_empty() => return Some("{}".to_owned()),
        Value::Sequence(items) if items.is_empty() => return Some("[]".to_owned()),
        Value::Mapping(_) | Value::Sequence(_) => return None,
        Value::Scalar(scalar) => scalar,
    };
    let text = scalar.text.as_str();
    Some(match node.tag().map(|tag| tag.strip_prefix("tag:yaml.org,2002:")) {
        None if scalar.style == Style::Plain && text.is_empty() => "null".to_owned(),
        None if scalar.style == Style::Plain && stays_plain(text) => text.to_owned(),
        // The readers' own types, such as `!!binary`; what others mean is a text to all readers.
        Some(Some(tag @ ("binary" | "bool" | "float" | "int" | "null" | "timestamp"))) => {
            format!("!!{tag} {}", quoted(text))
        }
        _ => lines(text, indent + STEP).unwrap_or_else(|| quoted(text)),
    })
}

/// Whether a plain scalar can be written as it was read: on one line, in characters that all
/// readers see alike.
fn stays_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_shown)
}

/// A character of one column or more that ends no line in any version of YAML.
const fn is_shown(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// A text of several lines as a literal block, where that gives it back exactly.
fn lines(text: &str, indent: usize) -> Option<String> {
    let first = text.chars().next()?;
    let is_block = text.trim_end_matches('\n').contains('\n')
        && text.chars().all(|c| matches!(c, '\n' | '\t') || is_shown(c))
        // From the first line a reader takes the indentation.
        && !first.is_whitespace();
    if !is_block {
        return None;
    }
    let mut block = match text.len() - text.trim_end_matches('\n').len() {
        0 => "|-".to_owned(),
        1 => "|".to_owned(),
        _ => "|+".to_owned(),
    };
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        block.push('\n');
        if !line.is_empty() {
            spaces(&mut block, indent);
            block.push_str(line);
        }
    }
    Some(block)
}

/// A text on one line: as it is where every reader takes it for that text, or in quotes.
fn quoted(text: &str) -> String {
    if is_word(text) {
        return text.to_owned();
    }
    if text.chars().all(is_shown) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_shown(c) => quoted.push(c),
            c => _ = write!(quoted, "\\U{:08x}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a text is one to every reader without quotes: a letter or a slash first, no indicator,
/// no word of YAML 1.1.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+=:@ ".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    fn again(text: &str) -> String {
        documents(&parse("f", text.as_bytes()).unwrap())
    }

    /// What a tree means: texts, whether a scalar is plain, and the shape.
    fn meaning(node: &Node) -> String {
        match node.value() {
            Value::Scalar(_) if node.is_null() => "null".to_owned(),
            Value::Scalar(scalar) => {
                // A plain scalar is more than a text only where it could be on one line.
                let text = node.tag().is_some()
                    || scalar.style == Style::Text
                    || is_word(&scalar.text)
                    || !stays_plain(&scalar.text);
                format!("{}{:?}", if text { "t" } else { "p" }, scalar.text)
            }
            Value::Sequence(items) => {
                format!("[{}]", items.iter().map(meaning).collect::<Vec<_>>().join(","))
            }
            Value::Mapping(entries) => {
                let pair = |entry: &Entry| format!("{:?}:{}", entry.key, meaning(&entry.value));
                format!("{{{}}}", entries.iter().map(pair).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn scalars_stay_plain_or_texts() {
        let text = "version: 1.20\nname: '1.20'\non: \"on\"\nmode: 0644\nempty: ''\nnone: ~\n\
                    list:\n  - a: 1\n    b:\n      - x\n      - - y\n  - []\nmore: {}\n";
        let want = "version: 1.20\nname: '1.20'\non: 'on'\nmode: 0644\nempty: ''\nnone: ~\n\
                    list:\n  - a: 1\n    b:\n      - x\n      - - y\n  - []\nmore: {}\n";
        assert_eq!(again(text), want);
    }

    #[test]
    fn texts_of_several_lines_are_blocks_where_these_give_them_back() {
        assert_eq!(again("a: \"x\\ny\\n\"\n"), "a: |\n  x\n  y\n");
        assert_eq!(again("- \"x\\n\\n  y\"\n"), "- |-\n  x\n\n    y\n");
        assert_eq!(again("a: \" x\\ny\"\n"), "a: \" x\\ny\"\n");
        assert_eq!(again("a: \"x\\ny\\r\"\n"), "a: \"x\\ny\\U0000000d\"\n");
    }

    #[test]
    fn documents_have_lines_between_them() {
        assert_eq!(again("a: 1\n---\n- !!binary Zm9v\n"), "a: 1\n---\n- !!binary Zm9v\n");
    }

    #[test]
    fn long_keys_are_kept() {
        let key = "k".repeat(2000);
        let text = again(&format!("? {key}\n: [v]\n"));
        assert_eq!(text, format!("? {key}\n:\n  - v\n"));
        assert_eq!(again(&text), text);
    }

    fn piece() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            "a", "1", "0x1", ": ", " #", "-", "---", "\n", " ", "'", "\"", "{", "}", "[", ",", "&",
            "*", "!", "|", "yes", "~", "\t", "\u{85}", "\u{2028}", "é", "%", "@", "`", "?", "\\",
            "=", "<<", "\u{feff}", "...",
        ]);
        prop::collection::vec(odd, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn tree() -> impl Strategy<Value = Node> {
        let node = |value| Node::whole("f", String::new()).with(value);
        let leaf = piece().prop_map(move |text| Node::whole("f", text));
        leaf.prop_recursive(4, 30, 4, move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4);
            let map = prop::collection::btree_map(piece(), inner, 0..4);
            prop_oneof![
                list.prop_map(move |items| node(Value::Sequence(items))),
                map.prop_map(move |map| {
                    let entry = |(key, value): (String, Node)| Entry {
                        key,
                        style: Style::Text,
                        place: value.place(),
                        value,
                    };
                    node(Value::Mapping(map.into_iter().map(entry).collect()))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_texts_are_read_again(tree in tree()) {
            let text = documents(std::slice::from_ref(&tree));
            let read = parse("f", text.as_bytes()).unwrap();
            prop_assert_eq!(read.iter().map(meaning).collect::<Vec<_>>(), [meaning(&tree)], "{}", text);
        }

        #[test]
        fn what_was_read_means_the_same_again(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", ": ", "- ", "\n", "\n  ", "[", "]", "{", "}", ", ", "1.20", "'", "\"", "|\n  ", "x",
                "!!str ", "!x ", "~", "yes", "? ", ">-\n  ",
            ]), 0..30),
        ) {
            let Ok(nodes) = parse("f", pieces.concat().as_bytes()) else { return Ok(()) };
            let text = documents(&nodes);
            let read = parse("f", text.as_bytes());
            prop_assert!(read.is_ok(), "{}", text);
            let of = |nodes: &[Node]| nodes.iter().map(meaning).collect::<Vec<_>>();
            prop_assert_eq!(of(&read.unwrap()), of(&nodes), "{}", text);
        }
    }
}
