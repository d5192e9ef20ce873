//! Names as Kubernetes and Talos want them.
//!
//! In: a text. Out: what is wrong with it, or nothing.
//!
//! Source: Talos `pkg/machinery/labels/validate.go`, and the names' rules of the documents under
//! `pkg/machinery/config/types`.
//!
//! Not here: where the names stand.

use super::found::Found;
use super::view;
use crate::config::tree::Tree;

/// Says so where a document that needs a name has none.
pub(super) fn required(doc: &Tree, what: &str, found: &mut Found) -> bool {
    let named = !view::text(doc, &["name"]).is_empty();
    if !named {
        let message = format!("the {what} has no name");
        found.refuse(doc, "talos-name", message, "add `name`");
    }
    named
}

/// The names of things that become a label of 36 characters on a disk, or a device.
pub(super) struct Label {
    /// The most characters.
    pub(super) max: usize,
    /// Whether `_` may stand in it.
    pub(super) underscore: bool,
}

/// Says what is wrong with the name of a volume, a group or an array.
pub(super) fn label(doc: &Tree, what: &str, rule: &Label, found: &mut Found) {
    let name = view::text(doc, &["name"]);
    let at = view::place(doc, &["name"]);
    if required(doc, what, found) && name.len() > rule.max {
        let message = format!("the name `{name}` has more than {} characters", rule.max);
        found.refuse(at, "talos-name-length", message, "shorten it");
    }
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || (rule.underscore && c == '_');
    if !name.chars().all(known) {
        let message = format!("the name `{name}` has characters that no {what} may have");
        let more = if rule.underscore { ", `-` and `_`" } else { " and `-`" };
        found.refuse(
            at,
            "talos-name-characters",
            message,
            format!("keep to letters, digits{more}"),
        );
    }
}

/// What is wrong with a DNS name as RFC 1123 has it: `a.b-c`.
pub(super) fn dns_1123_problem(name: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    match () {
        () if name.len() > 253 => Some("has more than 253 characters"),
        () if !name.split('.').all(part) => {
            Some("is not of lower-case letters, digits, `-` and `.`")
        }
        () => None,
    }
}

fn is_qualified(name: &str) -> bool {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    outer(name.bytes().next()) && outer(name.bytes().last()) && name.bytes().all(inner)
}

/// What is wrong with a label's key: `example.org/name`.
pub(super) fn key_problem(key: &str) -> Option<&'static str> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(a, b)| (Some(a), b));
    match prefix {
        _ if name.contains('/') => return Some("has more than one `/`"),
        Some("") => return Some("has nothing before its `/`"),
        Some(prefix) if dns_1123_problem(prefix).is_some() => {
            return Some("has no DNS name before its `/`");
        }
        _ => {}
    }
    match () {
        () if name.is_empty() => Some("has no name"),
        () if name.len() > 63 => Some("has a name of more than 63 characters"),
        () if !is_qualified(name) => {
            Some("does not begin and end with a letter or digit, with `-`, `_` and `.` between")
        }
        () => None,
    }
}

/// Whether a label may have a value.
pub(super) fn is_label_value(value: &str) -> bool {
    value.len() <= 63 && (value.is_empty() || is_qualified(value))
}

const KEY_HELP: &str = "write `name` or `example.org/name`";
const VALUE_HELP: &str = "write at most 63 letters, digits, `-`, `_` and `.`";

fn keys(at: &Tree, what: &str, found: &mut Found) {
    for (key, value) in at.entries() {
        if let Some(problem) = key_problem(key) {
            found.refuse(
                value,
                "talos-label-key",
                format!("the {what} `{key}` {problem}"),
                KEY_HELP,
            );
        }
    }
}

/// Says what is wrong with labels.
fn labels(at: &Tree, found: &mut Found) {
    keys(at, "label", found);
    for (key, value) in at.entries() {
        if !is_label_value(value.text().unwrap_or_default()) {
            let message = format!("the value of the label `{key}` is none that a label may have");
            found.refuse(value, "talos-label-value", message, VALUE_HELP);
        }
    }
}

/// The annotations that Talos keeps its books in.
const RESERVED: [&str; 3] =
    ["talos.dev/owned-labels", "talos.dev/owned-annotations", "talos.dev/owned-taints"];

/// The most bytes of all annotations together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Says what is wrong with annotations.
fn annotations(at: &Tree, found: &mut Found) {
    keys(at, "annotation", found);
    for (key, value) in at.entries() {
        if RESERVED.contains(&key.as_str()) {
            let message = format!("the annotation `{key}` is Talos' own");
            found.refuse(value, "talos-annotation-reserved", message, "drop it");
        }
    }
    let lengths = at.entries().iter();
    let total: usize =
        lengths.map(|(key, value)| key.len() + value.text().map_or(0, str::len)).sum();
    if total > MAX_ANNOTATIONS {
        let message = format!("the annotations together have more than {MAX_ANNOTATIONS} bytes");
        found.refuse(at, "talos-annotation-size", message, "shorten or drop some");
    }
}

/// Says what is wrong with taints: `key: value:NoSchedule`.
fn taints(at: &Tree, found: &mut Found) {
    keys(at, "taint", found);
    for (key, value) in at.entries() {
        if key_problem(key).is_some() {
            continue;
        }
        let text = value.text().unwrap_or_default();
        let (label, effect) = text.split_once(':').unwrap_or(("", text));
        if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            let message = format!("the taint `{key}` has no effect that Kubernetes knows");
            let help =
                "end it with `NoSchedule`, `PreferNoSchedule` or `NoExecute`: `value:NoSchedule`";
            found.refuse(value, "talos-taint-effect", message, help);
        } else if !is_label_value(label) {
            let message = format!("the taint `{key}` has a value that no taint may have");
            found.refuse(value, "talos-label-value", message, VALUE_HELP);
        }
    }
}

/// Says what is wrong with the labels, annotations and taints of a node, by their keys.
pub(super) fn node(doc: &Tree, keys: [&str; 3], found: &mut Found) {
    for (key, rule) in keys.into_iter().zip([labels, annotations, taints]) {
        if let Some(at) = doc.get(key) {
            rule(at, found);
        }
    }
}
