//! From documents to text: YAML that means one thing to every reader.
//!
//! In: documents. Out: their text, in Talos' own layout: four spaces, keys in Talos' order.
//!
//! Source: YAML 1.2.2, chapters 7.3 and 8.1; what YAML 1.1 takes for switches, numbers and times
//! (<https://yaml.org/type/>): a text that any of them would read as something else is quoted.
//!
//! Not here: which values there are. A document that nobody changed is not written anew.

use std::fmt::Write as _;

use super::documents::{Document, Documents};
use super::leaf::Leaf;
use super::scalar::{Scalar, plain};
use super::schema::{MAIN, Schema, Type};
use super::tree::{Data, Tree};

/// The indentation of Talos' own files.
const STEP: usize = 4;

/// Writes a config.
pub(super) fn config(documents: &Documents) -> String {
    let mut text = String::new();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            text.push_str("---\n");
        }
        match document.source() {
            Some(source) => text.push_str(source),
            None => self::document(documents.schema, document, &mut text),
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

fn document(schema: &'static Schema, document: &Document, text: &mut String) {
    match document.kind() {
        MAIN => text.push_str("version: v1alpha1\n"),
        kind => {
            text.push_str("apiVersion: v1alpha1\nkind: ");
            text.push_str(kind);
            text.push('\n');
        }
    }
    let Some(kind) = schema.kind(document.kind()) else { return };
    let mut tree = document.tree().clone();
    if document.kind() == MAIN {
        tree.remove("version");
        // Without one of these nobody takes it for this document.
        if !super::MAIN_KEYS.iter().any(|key| tree.get(key).is_some()) {
            text.push_str("machine: null\n");
        }
    }
    Writer { schema, text }.entries(&schema.root(kind), &tree, 0);
}

struct Writer<'t> {
    schema: &'static Schema,
    text: &'t mut String,
}

impl Writer<'_> {
    /// The entries of a mapping, each on lines of its own.
    fn entries(&mut self, ty: &Type, tree: &Tree, indent: usize) {
        match ty {
            Type::Pointer(inner) => self.entries(inner, tree, indent),
            Type::Struct(number) => {
                for field in &self.schema.structure(*number).fields {
                    if let Some(value) = tree.get(field.key) {
                        self.entry(field.key, &field.ty, value, indent);
                    }
                }
            }
            Type::Map(value) => {
                tree.entries().iter().for_each(|(key, tree)| self.entry(key, value, tree, indent));
            }
            _ => {
                let entries = tree.entries().iter();
                entries.for_each(|(key, tree)| self.entry(key, &Type::Any, tree, indent));
            }
        }
    }

    fn entry(&mut self, key: &str, ty: &Type, tree: &Tree, indent: usize) {
        self.spaces(indent);
        self.text.push_str(&quoted(key));
        self.text.push(':');
        if let Some(inline) = self.inline(ty, tree, indent) {
            self.text.push(' ');
            self.text.push_str(&inline);
            self.text.push('\n');
        } else {
            self.text.push('\n');
            self.block(ty, tree, indent + STEP);
        }
    }

    /// A value that is a collection with something in it, on lines of its own.
    fn block(&mut self, ty: &Type, tree: &Tree, indent: usize) {
        let Data::List(items) = tree.data() else {
            match self.inline(ty, tree, indent) {
                Some(inline) => {
                    self.spaces(indent);
                    self.text.push_str(&inline);
                    self.text.push('\n');
                }
                None => self.entries(ty, tree, indent),
            }
            return;
        };
        let item = item_type(ty);
        for tree in items {
            if let Some(inline) = self.inline(item, tree, indent) {
                self.spaces(indent);
                self.text.push_str("- ");
                self.text.push_str(&inline);
                self.text.push('\n');
                continue;
            }
            // What is in the item stands two columns further right; the hyphen takes their place.
            let start = self.text.len() + indent;
            self.block(item, tree, indent + 2);
            self.text.replace_range(start..start + 2, "- ");
        }
    }

    /// A value that stands behind its key; nothing for a collection with something in it.
    fn inline(&self, ty: &Type, tree: &Tree, indent: usize) -> Option<String> {
        Some(match tree.data() {
            Data::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Data::List(items) if items.is_empty() => "[]".to_owned(),
            Data::Map(_) | Data::List(_) => return None,
            Data::Null => "null".to_owned(),
            Data::Bool(value) => value.to_string(),
            Data::Int(value) if is_mode(ty) => format!("0o{value:o}"),
            Data::Int(value) => value.to_string(),
            Data::Float(value) => float(*value),
            Data::Time(text) => text.clone(),
            Data::Text(text) => block_text(text, indent + STEP).unwrap_or_else(|| quoted(text)),
        })
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }
}

fn item_type(ty: &Type) -> &Type {
    match ty {
        Type::Pointer(inner) => item_type(inner),
        Type::List(item) => item,
        _ => &Type::Any,
    }
}

fn is_mode(ty: &Type) -> bool {
    match ty {
        Type::Pointer(inner) => is_mode(inner),
        Type::Leaf(leaf) => *leaf == Leaf::FileMode,
        _ => false,
    }
}

/// A number that is read as one with a fraction again.
fn float(value: f64) -> String {
    match value {
        _ if value.is_nan() => ".nan".to_owned(),
        _ if value.is_infinite() && value > 0.0 => ".inf".to_owned(),
        _ if value.is_infinite() => "-.inf".to_owned(),
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.1}"),
        _ => format!("{value:e}"),
    }
}

/// A text of several lines as a literal block, where that gives it back exactly.
fn block_text(text: &str, indent: usize) -> Option<String> {
    let printable = |c: char| {
        matches!(c, '\t' | '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
    };
    if !text.trim_end_matches('\n').contains('\n') || !text.chars().all(printable) {
        return None;
    }
    let first = text.lines().find(|line| !line.is_empty())?;
    // A reader takes the indentation from the first line; where that begins with white space, or
    // is not the first one, the writer must say it.
    if text.starts_with('\n') || first.starts_with([' ', '\t']) {
        return None;
    }
    let chomp = match text.len() - text.trim_end_matches('\n').len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut block = format!("|{chomp}\n");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            block.extend(std::iter::repeat_n(' ', indent));
            block.push_str(line);
        }
        block.push('\n');
    }
    block.pop();
    Some(block)
}

/// A text on one line: as it is where no version of YAML reads anything else, or in quotes.
pub(super) fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    if text
        .chars()
        .all(|c| matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}'))
    {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            ' '..='~' => quoted.push(c),
            '\u{a0}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' => quoted.push(c),
            c if u32::from(c) < 0x100 => _ = write!(quoted, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) < 0x10000 => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => _ = write!(quoted, "\\U{:08x}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a text may stand without quotes. Safe is: a letter, a slash or a dot first, then what is
/// no indicator anywhere, and nothing that a reader could take for more than a text.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_./+=:@,()<>;$ ".contains(b);
    let starts = first.is_ascii_alphanumeric() || b"/._".contains(first);
    let colon_space = text.contains(": ") || *last == b':';
    starts
        && bytes.iter().all(safe)
        && !colon_space
        && *last != b' '
        && matches!(plain(text), Scalar::Text(..))
        && !is_old(text)
}

/// Whether YAML 1.1 takes a text for a switch, nothing, or a number, base 60 and all.
fn is_old(text: &str) -> bool {
    const WORDS: [&str; 12] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"];
    let lower = text.to_ascii_lowercase();
    let numeric = |b: u8| b.is_ascii_digit() || b"._:+-,ex".contains(&b);
    WORDS.contains(&lower.as_str())
        || (lower.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
            && lower.bytes().all(numeric))
}

#[cfg(test)]
mod tests;
