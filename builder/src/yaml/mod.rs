//! YAML that a person wrote, as trees that know where everything stands.
//!
//! In: the bytes of a file. Out: one [`Node`] a document, with the scalars as they are written:
//! `0644`, `1.20` and `yes` stay text, and whoever uses them says what they mean. [`emit`] writes
//! them again.
//!
//! Source: YAML 1.2.2, <https://yaml.org/spec/1.2.2/>, by the crate `granit-parser`; which
//! characters a stream may hold is chapter 5.1, and go-yaml, with which Talos reads its machine
//! configs, is as strict.
//!
//! Not here: what keys a file may have (`site`, `config`), and our own data files, which
//! `serde_yaml` reads (`catalog`). No message quotes the text it is about: a machine config is
//! full of secrets.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize as _;

use crate::report::{Diagnostic, Place};

pub mod block;
mod build;
pub mod emit;
pub mod meant;

/// How deep collections may nest, aliases followed. Machine configs stay below 20.
pub const MAX_DEPTH: usize = 128;

/// How many nodes a file may have, counting what an alias repeats. A machine config of 4 MiB that
/// is all manifests has about 50,000.
pub const MAX_NODES: u64 = 1 << 18;

/// A value and the place where it starts. A copy is cheap; what an alias repeats is shared.
#[derive(Clone)]
pub struct Node {
    file: Arc<str>,
    spot: Spot,
    tag: Option<Arc<str>>,
    value: Arc<Value>,
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    line: u32,
    column: u32,
}

/// Where a value stands, for one who keeps many: a copy costs a count.
#[derive(Clone, PartialEq, Eq)]
pub struct Mark {
    file: Arc<str>,
    spot: Spot,
}

impl Mark {
    /// The place.
    pub fn place(&self) -> Place {
        place(&self.file, self.spot)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place())
    }
}

/// What a node is.
pub enum Value {
    /// A text, and whether it was quoted.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the written order; no key comes twice.
    Mapping(Vec<Entry>),
}

/// A scalar as it is written, after quotes, escapes and folding.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text.
    pub text: String,
    /// How it is written.
    pub style: Style,
}

/// Half of what people write here is secret: it does not stay in memory that is given back.
impl Drop for Scalar {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// How a scalar is written. Only a plain one may mean a number, a switch or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In quotes, or as a block after `|` or `>`.
    Text,
}

/// One key of a mapping and its value.
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// How the key is written: only a plain `<<` merges mappings.
    pub style: Style,
    /// Where the key starts.
    pub place: Place,
    /// The value.
    pub value: Node,
}

/// Reads all documents of a file.
///
/// # Errors
///
/// The first thing that is no YAML, or breaks a limit, with its place.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Node>, Diagnostic> {
    let file: Arc<str> = file.into();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = place(&file, Spot::after(&bytes[..error.valid_up_to()]));
        Diagnostic::error("yaml-encoding", "this is no UTF-8 text")
            .at(place)
            .help("save it as UTF-8")
    })?;
    if let Some((at, c)) = text.char_indices().find(|&(_, c)| !is_printable(c)) {
        let message = format!("the character U+{:04X} is not allowed in YAML", u32::from(c));
        let place = place(&file, Spot::after(&bytes[..at]));
        return Err(Diagnostic::error("yaml-character", message).at(place).help("delete it"));
    }
    build::documents(&file, text)
}

/// YAML 1.2.2, production 1, `c-printable`.
const fn is_printable(c: char) -> bool {
    matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

impl Spot {
    /// The spot that follows the bytes, the start of a file in UTF-8.
    fn after(bytes: &[u8]) -> Self {
        let line = bytes.iter().filter(|&&b| b == b'\n').count() + 1;
        let start = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        // A byte of the form 10xxxxxx continues a character.
        let column = bytes[start..].iter().filter(|&&b| b & 0xc0 != 0x80).count() + 1;
        Self::new(line, column)
    }

    fn new(line: usize, column: usize) -> Self {
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: number(line), column: number(column) }
    }
}

fn place(file: &str, spot: Spot) -> Place {
    Place { file: file.to_owned(), line: spot.line, column: spot.column }
}

impl Node {
    /// The text of a whole file, which is no YAML or not read as such, at its start.
    pub fn whole(file: &str, text: String) -> Self {
        let value = Value::Scalar(Scalar { text, style: Style::Text });
        let spot = Spot { line: 1, column: 1 };
        Self { file: file.into(), spot, tag: None, value: Arc::new(value) }
    }

    /// Another value in the same place.
    pub fn with(&self, value: Value) -> Self {
        Self { value: Arc::new(value), ..self.clone() }
    }

    /// Where it starts; of an alias, where the alias is.
    pub fn place(&self) -> Place {
        place(&self.file, self.spot)
    }

    /// The same place, in a form that is cheap to keep.
    pub fn mark(&self) -> Mark {
        Mark { file: Arc::clone(&self.file), spot: self.spot }
    }

    /// Its tag as written in full, such as `tag:yaml.org,2002:binary` or `!vault`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// What it is.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match self.value() {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The text of its scalar, if it is one that is not [null](Self::is_null).
    pub fn text(&self) -> Option<&str> {
        self.scalar().filter(|_| !self.is_null()).map(|scalar| scalar.text.as_str())
    }

    /// Its items, if it is a sequence.
    pub fn items(&self) -> Option<&[Self]> {
        match self.value() {
            Value::Sequence(items) => Some(items),
            Value::Scalar(_) | Value::Mapping(_) => None,
        }
    }

    /// Its entries, if it is a mapping.
    pub fn entries(&self) -> Option<&[Entry]> {
        match self.value() {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// The value at a key, if it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Whether it is nothing: `null`, `~` or no text at all (YAML 1.2.2, chapter 10.3.2).
    pub fn is_null(&self) -> bool {
        self.tag().is_none()
            && self.scalar().is_some_and(|scalar| {
                scalar.style == Style::Plain
                    && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            })
    }

    /// What it is, in a word for messages.
    pub fn kind(&self) -> &'static str {
        match self.value() {
            Value::Scalar(_) if self.is_null() => "nothing",
            Value::Scalar(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Entry {
    /// Another value at the same key.
    pub fn with(&self, value: Node) -> Self {
        Self { key: self.key.clone(), style: self.style, place: self.place.clone(), value }
    }
}

/// The kind and the place, never the text: it may be a secret.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind(), self.place())
    }
}

/// The length, never the text.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} scalar of {} bytes", self.style, self.text.len())
    }
}

/// The number of children.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Sequence(items) => write!(f, "sequence of {}", items.len()),
            Self::Mapping(entries) => write!(f, "mapping of {}", entries.len()),
        }
    }
}

/// The key's place.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry at {}", self.place)
    }
}

#[cfg(test)]
mod tests;
