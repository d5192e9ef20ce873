//! Plain documents, written as YAML.
//!
//! In: keys and values, in order. Out: the text.
//!
//! Source: YAML 1.2.2, chapters 7.3.1 (double-quoted), 7.4 (empty collections), 8.2 (blocks).
//!
//! Not here: which values there are (`super::walk`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::value::Value;
use super::{MAX_BYTES, too_large};
use crate::report::{Diagnostic, Place};

/// How many bytes of a key are written before its colon on one line. A reader must take 1024
/// characters, an escape being six of them (YAML 1.2.2, chapter 7.4.2).
const SIMPLE_KEY_BYTES: usize = 100;

/// How much deeper the lines of a collection start than those around it.
const STEP: usize = 2;

/// What stands before a value on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: the value is the document.
    Nothing,
    /// A key and its colon.
    Key,
    /// The dash of an item.
    Dash,
}

/// Where a value is written.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) after: After,
    /// In which column its lines start, from 0.
    pub(super) column: usize,
}

impl At {
    /// A whole document.
    pub(super) const DOCUMENT: Self = Self { after: After::Nothing, column: 0 };

    /// A value in the collection that is written here.
    pub(super) const fn inner(self, after: After) -> Self {
        Self { after, column: self.column + STEP }
    }
}

/// A text in the making. It is wiped when it is dropped, and whenever it moves as it grows.
pub(super) struct Writer {
    text: Zeroizing<Vec<u8>>,
    /// The bytes that were written, and those that were read to no end.
    spent: usize,
    /// The start of the file, for messages.
    start: Place,
}

impl Writer {
    /// An empty text of the file that starts at a place.
    pub(super) fn new(start: Place) -> Self {
        Self { text: Zeroizing::new(Vec::new()), spent: 0, start }
    }

    /// The text.
    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.text
    }

    /// Counts bytes that leave no text, such as those of a comment.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Diagnostic> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MAX_BYTES { Err(too_large(&self.start)) } else { Ok(()) }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.spend(bytes.len())?;
        let need = self.text.len() + bytes.len();
        if need > self.text.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(need.max(4096).saturating_mul(2)));
            larger.extend_from_slice(&self.text);
            self.text = larger;
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the document before and starts the next.
    pub(super) fn separator(&mut self) -> Result<(), Diagnostic> {
        self.push(b"---\n")
    }

    /// A mapping or list without anything in it.
    pub(super) fn empty(&mut self, at: At, brackets: &str) -> Result<(), Diagnostic> {
        self.lead(at)?;
        self.push(brackets.as_bytes())?;
        self.push(b"\n")
    }

    /// The start of the line of an entry or item of the collection that is written here.
    pub(super) fn start(&mut self, at: At, is_first: First) -> Result<(), Diagnostic> {
        match (is_first, at.after) {
            (First::Yes, After::Nothing) => Ok(()),
            (First::Yes, After::Dash) => self.push(b" "),
            (First::Yes, After::Key) => {
                self.push(b"\n")?;
                self.indent(at.column)
            }
            (First::No, _) => self.indent(at.column),
        }
    }

    fn indent(&mut self, column: usize) -> Result<(), Diagnostic> {
        (0..column).try_for_each(|_| self.push(b" "))
    }

    /// A key, in a line that starts at a column.
    pub(super) fn key(&mut self, key: &str, column: usize) -> Result<(), Diagnostic> {
        if key.len() > SIMPLE_KEY_BYTES {
            self.push(b"? ")?;
            self.quoted(key)?;
            self.push(b"\n")?;
            self.indent(column)?;
        } else if is_word(key) {
            self.push(key.as_bytes())?;
        } else {
            self.quoted(key)?;
        }
        self.push(b":")
    }

    /// The dash of an item.
    pub(super) fn dash(&mut self) -> Result<(), Diagnostic> {
        self.push(b"-")
    }

    /// A scalar as it is.
    pub(super) fn verbatim(&mut self, at: At, text: &str) -> Result<(), Diagnostic> {
        self.lead(at)?;
        self.push(text.as_bytes())?;
        self.push(b"\n")
    }

    /// A scalar of a type.
    pub(super) fn value(&mut self, at: At, value: &Value<'_>) -> Result<(), Diagnostic> {
        let bytes = match value {
            Value::Null | Value::Comment => return self.verbatim(at, "null"),
            Value::Plain(plain) => return self.verbatim(at, &plain.written),
            Value::Text(text) => text.as_bytes(),
            Value::Secret(bytes) => bytes,
        };
        self.lead(at)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.quoted(text)?,
            Err(_) => {
                self.push(b"!!binary \"")?;
                for bytes in bytes.chunks(3 << 10) {
                    self.push(Zeroizing::new(STANDARD.encode(bytes)).as_bytes())?;
                }
                self.push(b"\"")?;
            }
        }
        self.push(b"\n")
    }

    /// What stands between a key or dash and a value on the same line.
    fn lead(&mut self, at: At) -> Result<(), Diagnostic> {
        if at.after == After::Nothing { Ok(()) } else { self.push(b" ") }
    }

    fn quoted(&mut self, text: &str) -> Result<(), Diagnostic> {
        self.push(b"\"")?;
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|&(_, c)| needs_escape(c)) {
            self.push(&text.as_bytes()[plain..at])?;
            match c {
                '"' | '\\' => self.push(&[b'\\', if c == '"' { b'"' } else { b'\\' }])?,
                '\n' => self.push(b"\\n")?,
                '\t' => self.push(b"\\t")?,
                c => self.push(format!("\\u{:04x}", u32::from(c)).as_bytes())?,
            }
            plain = at + c.len_utf8();
        }
        self.push(&text.as_bytes()[plain..])?;
        self.push(b"\"")
    }
}

/// Whether an entry or item is the first of its collection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

/// Whether a character cannot stand for itself between double quotes on one line. None of these
/// has more than four hexadecimal digits.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a key needs no quotes: a word that means nothing but itself.
fn is_word(key: &str) -> bool {
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
        && !means_more.contains(&key.to_ascii_lowercase().as_str())
}
