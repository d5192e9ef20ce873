//! Values as Go's types would show them: what is absent is empty, zero or false.
//!
//! In: a tree and a path. Out: a text, a number, a switch, a list.
//!
//! Source: the zero values of Go, <https://go.dev/ref/spec#The_zero_value>.
//!
//! Not here: what the values mean.

use crate::config::leaf::amount;
use crate::config::tree::{Data, Tree};

/// The text at a path, empty where there is none.
pub(super) fn text<'t>(tree: &'t Tree, path: &[&str]) -> &'t str {
    tree.text_at(path).unwrap_or_default()
}

/// Whether a switch is on.
pub(super) fn is_on(tree: &Tree, path: &[&str]) -> bool {
    tree.at(path).and_then(Tree::bool) == Some(true)
}

/// Whether a switch is set to off.
pub(super) fn is_off(tree: &Tree, path: &[&str]) -> bool {
    tree.at(path).and_then(Tree::bool) == Some(false)
}

/// The number at a path, 0 where there is none.
pub(super) fn number(tree: &Tree, path: &[&str]) -> i128 {
    tree.at(path).and_then(Tree::int).unwrap_or_default()
}

/// The length of time at a path in nanoseconds, 0 where there is none.
pub(super) fn duration(tree: &Tree, path: &[&str]) -> i128 {
    match tree.at(path).map(Tree::data) {
        Some(Data::Int(value)) => *value,
        Some(Data::Text(text)) => amount::duration(text).unwrap_or_default(),
        _ => 0,
    }
}

/// The value at a path that in Go is a pointer, if it is not nil.
pub(super) fn pointer<'t>(tree: &'t Tree, path: &[&str]) -> Option<&'t Tree> {
    tree.at(path).filter(|value| !matches!(value.data(), Data::Null))
}

/// The items at a path, none where there is no list.
pub(super) fn items<'t>(tree: &'t Tree, path: &[&str]) -> &'t [Tree] {
    tree.at(path).map_or(&[], Tree::items)
}

/// The entries at a path, none where there is no mapping.
pub(super) fn entries<'t>(tree: &'t Tree, path: &[&str]) -> &'t [(String, Tree)] {
    tree.at(path).map_or(&[], Tree::entries)
}

/// The value at a path, or the one that ought to hold it: where to point.
pub(super) fn place<'t>(tree: &'t Tree, path: &[&str]) -> &'t Tree {
    let mut at = tree;
    for key in path {
        match at.get(key) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// Whether a value is set to anything but its type's zero.
pub(super) fn is_set(tree: &Tree, path: &[&str]) -> bool {
    match tree.at(path).map(Tree::data) {
        None | Some(Data::Null) => false,
        Some(Data::Text(text)) => !text.is_empty(),
        Some(Data::Int(value)) => *value != 0,
        Some(Data::Bool(value)) => *value,
        Some(Data::List(items)) => !items.is_empty(),
        Some(Data::Map(entries)) => !entries.is_empty(),
        Some(Data::Float(_) | Data::Time(_)) => true,
    }
}

/// Whether a word of a choice is the one at a path; Talos takes either case.
pub(super) fn is_word(tree: &Tree, path: &[&str], word: &str) -> bool {
    text(tree, path).eq_ignore_ascii_case(word)
}
