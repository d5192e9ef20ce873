//! What a scalar means to SOPS: its type, the bytes that its MAC is of, and how it is written.
//!
//! In: a scalar of the file, or the plain bytes of an encrypted one. Out: a [`Value`].
//!
//! Source: SOPS 3.13, `sops.go`, `ToBytes`, and `aes/cipher.go`, `Decrypt`; go-yaml v3, with which
//! it reads and writes scalars: `resolve.go`, and `encode.go` for numbers. Its JSON gives the same
//! values for what JSON can say.
//!
//! Not here: which scalars are encrypted (`super::rule`), quoting (`super::write`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::time;
use crate::report::Diagnostic;
use crate::yaml::{Node, Scalar, Style};

/// What the tags of YAML itself start with.
const CORE: &str = "tag:yaml.org,2002:";

/// A value.
pub(super) enum Value<'a> {
    /// Nothing, which the MAC does not know.
    Null,
    /// A comment, which SOPS keeps as an item of its list.
    Comment,
    /// A text of the file.
    Text(&'a str),
    /// A text that was encrypted, or bytes.
    Secret(Zeroizing<Vec<u8>>),
    /// A number, a switch or a time.
    Plain(Plain),
}

/// A value that is written without quotes.
pub(super) struct Plain {
    /// What the MAC is of.
    hashed: Zeroizing<String>,
    /// How it is written in YAML.
    pub(super) written: Zeroizing<String>,
}

impl Plain {
    fn same(text: String) -> Self {
        let hashed = Zeroizing::new(text);
        Self { written: hashed.clone(), hashed }
    }

    fn switch(on: bool) -> Self {
        let (hashed, written) = if on { ("True", "true") } else { ("False", "false") };
        Self { hashed: Zeroizing::new(hashed.into()), written: Zeroizing::new(written.into()) }
    }

    fn float(number: f64) -> Self {
        let (hashed, written) = if number.is_nan() {
            ("NaN".to_owned(), ".nan".to_owned())
        } else if number.is_infinite() {
            let sign = if number > 0.0 { '+' } else { '-' };
            (format!("{sign}Inf"), format!("{sign}.inf").replace('+', ""))
        } else {
            (number.to_string(), exponent_form(number))
        };
        Self { hashed: Zeroizing::new(hashed), written: Zeroizing::new(written) }
    }
}

impl Value<'_> {
    /// The bytes that the MAC is of.
    pub(super) fn hashed(&self) -> &[u8] {
        match self {
            Self::Null | Self::Comment => &[],
            Self::Text(text) => text.as_bytes(),
            Self::Secret(bytes) => bytes,
            Self::Plain(plain) => plain.hashed.as_bytes(),
        }
    }
}

/// What a scalar of the file means.
///
/// # Errors
///
/// One that is tagged as binary and holds no Base64.
pub(super) fn written<'a>(node: &Node, scalar: &'a Scalar) -> Result<Value<'a>, Diagnostic> {
    let text = scalar.text.as_str();
    let tag = node.tag().map(|tag| tag.strip_prefix(CORE));
    Ok(match tag {
        None if scalar.style == Style::Plain => resolve(text),
        Some(Some("int" | "float" | "bool" | "null" | "timestamp")) => resolve(text),
        Some(Some("binary")) => {
            let bytes = STANDARD.decode(text.replace(char::is_whitespace, ""));
            let bytes = bytes.map_err(|_| {
                let help = "drop the tag, or encrypt the file anew";
                Diagnostic::error("sops-value", "this is tagged as binary and is no Base64")
                    .at(node.place())
                    .help(help)
            })?;
            Value::Secret(Zeroizing::new(bytes))
        }
        _ => Value::Text(text),
    })
}

/// What the plain bytes of an encrypted value mean, by the type that stands beside it.
pub(super) fn opened(kind: &str, bytes: Zeroizing<Vec<u8>>) -> Option<Value<'static>> {
    if matches!(kind, "str" | "bytes") {
        return Some(Value::Secret(bytes));
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let plain = match kind {
        "int" => Plain::same(text.parse::<i64>().ok()?.to_string()),
        "float" => Plain::float(float(text)?),
        // What Go's `strconv.ParseBool` takes.
        "bool" => Plain::switch(match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return None,
        }),
        "time" => Plain::same(time::canonical(text)?),
        "comment" => return Some(Value::Comment),
        _ => return None,
    };
    Some(Value::Plain(plain))
}

/// What a scalar without quotes means.
fn resolve(text: &str) -> Value<'_> {
    let plain = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => Plain::switch(true),
        "false" | "False" | "FALSE" => Plain::switch(false),
        ".nan" | ".NaN" | ".NAN" => Plain::float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Plain::float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Plain::float(f64::NEG_INFINITY),
        _ => match number(text) {
            Some(plain) => plain,
            None => return Value::Text(text),
        },
    };
    Value::Plain(plain)
}

fn number(text: &str) -> Option<Plain> {
    match text.as_bytes().first()? {
        b'.' => finite(text).map(Plain::float),
        b'0'..=b'9' | b'+' | b'-' => {
            if let Some(time) = time::canonical(text) {
                return Some(Plain::same(time));
            }
            let digits = text.replace('_', "");
            let integer = integer(&digits).map(|n| Plain::same(n.to_string()));
            integer.or_else(|| finite(&digits).map(Plain::float))
        }
        _ => None,
    }
}

/// A number in Go's own notation: `0x1F`, `0b1`, `0o17` and, as in C, `017`.
fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', _, ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', _, ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // The parser of Rust takes a sign of its own.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if is_negative { -number } else { number }).ok()
}

/// A number with a point or an exponent, or one too large for [`integer`].
fn finite(text: &str) -> Option<f64> {
    let fits = |b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let number = text.bytes().all(fits).then(|| text.parse::<f64>())?.ok()?;
    number.is_finite().then_some(number)
}

/// A number as SOPS encrypts it.
fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => finite(text),
    }
}

/// A number as Go's format `g` writes it: with an exponent where that is below -4 or above 5, which
/// tells a whole number from an integer.
fn exponent_form(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}
