//! What a scalar means to Go's YAML library, before anyone says which type it is to have.
//!
//! In: a node's scalar. Out: [`Scalar`].
//!
//! Source: go-yaml v4, `internal/libyaml/resolver.go`: a mix of YAML 1.2 (`yes` is a text) and 1.1
//! (`0644` is octal, `1_000` a number, a date a time).
//!
//! Not here: what a type takes (`decode`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::yaml::{Node, Style};

/// A scalar's meaning.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// Nothing.
    Null,
    /// `true` or `false`; `yes` is a text.
    Bool(bool),
    /// A whole number of 64 bits, with a sign or without.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A date or a time.
    Time,
    /// A text; the flag says that it was given as bytes in base64.
    Text(String, bool),
}

/// Tells what a scalar means; nothing where its tag contradicts its text.
pub(super) fn resolve(node: &Node) -> Option<Scalar> {
    let scalar = node.scalar()?;
    let text = || Some(Scalar::Text(scalar.text.clone(), false));
    let meant = plain(&scalar.text);
    match node.tag().map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag)) {
        None if scalar.style == Style::Plain => Some(meant),
        None | Some("str" | "!") => text(),
        Some("binary") => {
            let packed: String = scalar.text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let bytes = STANDARD.decode(packed).ok()?;
            Some(Scalar::Text(String::from_utf8(bytes).ok()?, true))
        }
        Some("null") => (meant == Scalar::Null).then_some(meant),
        Some("bool") => matches!(meant, Scalar::Bool(_)).then_some(meant),
        Some("int") => matches!(meant, Scalar::Int(_)).then_some(meant),
        Some("timestamp") => (meant == Scalar::Time).then_some(meant),
        Some("float") => match meant {
            Scalar::Int(value) => to_float(&value.to_string()),
            Scalar::Float(_) => Some(meant),
            _ => None,
        },
        // A tag that nobody knows leaves the text as it is.
        Some(_) => text(),
    }
}

/// What a text means where neither quotes nor a tag say so.
pub(super) fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        "-0" | "-0.0" => return Scalar::Float(-0.0),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => is_float(text).then(|| to_float(text)).flatten(),
        b'+' | b'-' | b'0'..=b'9' if is_time(text) => return Scalar::Time,
        b'+' | b'-' | b'0'..=b'9' => {
            let digits = text.replace('_', "");
            int(&digits)
                .map(Scalar::Int)
                .or_else(|| is_float(&digits).then(|| to_float(&digits)).flatten())
        }
        _ => None,
    };
    number.unwrap_or_else(|| Scalar::Text(text.to_owned(), false))
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0: `0x`, `0o`, `0b`, and `0` for octal.
fn int(text: &str) -> Option<i128> {
    let (negative, signed, digits) = match text.as_bytes() {
        [b'-', ..] => (true, true, &text[1..]),
        [b'+', ..] => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    let largest = if signed { i64::MAX.into() } else { u64::MAX.into() };
    (i128::from(i64::MIN)..=largest).contains(&value).then_some(value)
}

/// `^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    exponent
        && match mantissa.split_once('.') {
            Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => !mantissa.is_empty() && digits(mantissa),
        }
}

/// Go refuses what is too large for a float; it stays a text.
fn to_float(text: &str) -> Option<Scalar> {
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Scalar::Float)
}

/// The four forms of a time that go-yaml takes: `2006-1-2`, and with a time behind a `T`, a `t` or
/// a space.
fn is_time(text: &str) -> bool {
    let Some((date, time)) =
        text.split_at_checked(text.find(['T', 't', ' ']).unwrap_or(text.len()))
    else {
        return false;
    };
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_date = year.len() == 4
        && number(year, 4).is_some()
        && is_day(number(year, 4), number(month, 2), number(day, 2));
    is_date && (time.is_empty() || is_clock(&time[1..], !time.starts_with(' ')))
}

fn number(text: &str, digits: usize) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= digits;
    (plain && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn is_day(year: Option<u32>, month: Option<u32>, day: Option<u32>) -> bool {
    let (Some(year), Some(month), Some(day)) = (year, month, day) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => return false,
    };
    (1..=last).contains(&day)
}

fn is_clock(text: &str, zoned: bool) -> bool {
    let text = match (zoned, text.strip_suffix('Z')) {
        (false, _) => text,
        (true, Some(text)) => text,
        (true, None) => {
            let Some(at) = text.rfind(['+', '-']) else { return false };
            let Some((hours, minutes)) = text[at + 1..].split_once(':') else { return false };
            if hours.len() != 2 || minutes.len() != 2 {
                return false;
            }
            if number(hours, 2).is_none_or(|n| n > 24) || number(minutes, 2).is_none_or(|n| n > 60)
            {
                return false;
            }
            &text[..at]
        }
    };
    let (clock, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let below = |part: Option<Option<u32>>, limit| part.flatten().is_some_and(|n| n < limit);
    below(parts.next(), 24)
        && below(parts.next(), 60)
        && below(parts.next(), 60)
        && parts.next().is_none()
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
}
