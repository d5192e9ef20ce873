//! Values as YAML.
//!
//! In: [`Value`]s. Out: their text in block style, which means the same to every reader of YAML 1.2.
//!
//! Source: YAML 1.2.2, chapters 7.3.1 (double-quoted), 8.1.2 (literal), 8.2 (blocks).
//!
//! Not here: machine configs, which have an order of their own (`config`).

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::value::{Data, Value};
use crate::yaml::{Scalar, Style};

/// How much deeper the lines of a collection start than those around it.
const STEP: usize = 2;

/// Writes a document: a mapping or a list.
pub(super) fn document(value: &Value) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    match value.data() {
        Data::Map(entries) if !entries.is_empty() => map(entries, 0, &mut out),
        Data::List(items) if !items.is_empty() => list(items, 0, &mut out),
        _ => {
            inline(value, 0, &mut out);
            // It starts the line: there is no key before it.
            let text = out.trim_start().to_owned();
            *out = text;
        }
    }
    out
}

fn map(entries: &[(String, Value)], column: usize, out: &mut String) {
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            indent(column, out);
        }
        self::key(key, column, out);
        out.push(':');
        below(value, column, out);
    }
}

/// Writes what a key has: its collections start on the next line.
fn below(value: &Value, column: usize, out: &mut String) {
    let deeper = column + STEP;
    match value.data() {
        Data::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            indent(deeper, out);
            map(entries, deeper, out);
        }
        Data::List(items) if !items.is_empty() => {
            out.push('\n');
            indent(deeper, out);
            list(items, deeper, out);
        }
        _ => inline(value, column, out),
    }
}

fn list(items: &[Value], column: usize, out: &mut String) {
    let deeper = column + STEP;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            indent(column, out);
        }
        out.push('-');
        match item.data() {
            Data::Map(entries) if !entries.is_empty() => {
                out.push(' ');
                map(entries, deeper, out);
            }
            Data::List(items) if !items.is_empty() => {
                out.push(' ');
                list(items, deeper, out);
            }
            _ => inline(item, column, out),
        }
    }
}

/// Writes a scalar or an empty collection behind a key or a dash, and ends the line.
fn inline(value: &Value, column: usize, out: &mut String) {
    match value.data() {
        Data::Map(_) => out.push_str(" {}\n"),
        Data::List(_) => out.push_str(" []\n"),
        Data::Scalar(scalar) => self::scalar(scalar, column, out),
    }
}

fn scalar(scalar: &Scalar, column: usize, out: &mut String) {
    if scalar.style == Style::Plain && !scalar.text.contains('\n') {
        if !scalar.text.is_empty() {
            out.push(' ');
            out.push_str(&scalar.text);
        }
        out.push('\n');
    } else if is_block(&scalar.text) {
        literal(&scalar.text, column + STEP, out);
    } else {
        out.push(' ');
        quoted(&scalar.text, out);
        out.push('\n');
    }
}

/// Whether a text keeps its meaning after `|`: lines that have something in them, nothing that must
/// be escaped, and no blanks where readers differ.
fn is_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let fits = |line: &str| !line.ends_with([' ', '\t']) && !line.starts_with('\t');
    lines.contains('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && lines.lines().all(fits)
        && text.chars().all(|c| c == '\n' || (!c.is_control() && !is_odd(c)))
}

/// Characters that end lines for some readers, or that none may hold.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn literal(text: &str, column: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            indent(column, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn key(key: &str, column: usize, out: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let word = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(plain);
    let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if word && !meant.contains(&key.to_ascii_lowercase().as_str()) {
        out.push_str(key);
    } else {
        // A key that has more than one line, or 1024 characters, needs a mark of its own.
        if key.len() > 128 {
            out.push_str("? ");
            quoted(key, out);
            out.push('\n');
            indent(column, out);
            return;
        }
        quoted(key, out);
    }
}

/// Writes a text in double quotes.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_odd(c) => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn indent(column: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', column));
}
