//! What functions and operators do.
//!
//! In: a function's name and its arguments. Out: a value, or why there is none.
//!
//! Source: the CEL language definition, "List of Standard Definitions",
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions>;
//! cel-go `common/types/`; Go `net.HardwareAddr.String`, `strconv`; `ryanuber/go-glob`, which knows
//! `*` and nothing else.
//!
//! Not here: `&&`, `||`, `?:` and macros, which do not evaluate all that they are given (`eval`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::regexp;
use super::value::{Value, equal, order, position};

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Failure {
    /// It would be too much work.
    Steps,
    /// Anything else, in a sentence.
    Because(String),
}

fn because<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Because(message.into()))
}

/// Calls a function; what it is written behind is its first argument.
pub(super) fn call(function: &str, args: &[Value], steps: &mut u64) -> Result<Value, Failure> {
    let function = function.strip_prefix('.').unwrap_or(function);
    match (function, args) {
        ("==", [a, b]) => equal(a, b, steps).map(Value::Bool).ok_or(Failure::Steps),
        ("!=", [a, b]) => equal(a, b, steps).map(|is| Value::Bool(!is)).ok_or(Failure::Steps),
        ("<", [a, b]) => compare(a, b, Ordering::is_lt),
        ("<=", [a, b]) => compare(a, b, Ordering::is_le),
        (">", [a, b]) => compare(a, b, Ordering::is_gt),
        (">=", [a, b]) => compare(a, b, Ordering::is_ge),
        ("!", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("-_", [Value::Int(n)]) => n.checked_neg().map(Value::Int).ok_or_else(overflow),
        ("-_", [Value::Double(n)]) => Ok(Value::Double(-n)),
        ("+" | "-" | "*" | "/" | "%", [a, b]) => arithmetic(function, a, b),
        ("[]", [of, at]) => index(of, at, steps),
        ("in", [value, of]) => is_in(value, of, steps).map(Value::Bool),
        ("size", [value]) => size(value),
        ("type", [value]) => Ok(Value::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("bool" | "bytes" | "double" | "int" | "string" | "uint", [value]) => {
            match convert(function, value) {
                Some(Some(made)) => Ok(made),
                Some(None) => because(format!("this value cannot be made a value of {function}")),
                None => because(unfit(function, args)),
            }
        }
        ("contains", [Value::String(a), Value::String(b)]) => Ok(Value::Bool(a.contains(&**b))),
        ("endsWith", [Value::String(a), Value::String(b)]) => Ok(Value::Bool(a.ends_with(&**b))),
        ("startsWith", [Value::String(a), Value::String(b)]) => {
            Ok(Value::Bool(a.starts_with(&**b)))
        }
        ("matches", [Value::String(text), Value::String(pattern)]) => {
            match regexp::is_match(pattern, text) {
                Ok(is) => Ok(Value::Bool(is)),
                Err(message) => because(message),
            }
        }
        ("glob", [Value::String(pattern), Value::String(text)]) => {
            Ok(Value::Bool(glob(pattern, text)))
        }
        ("mac", [Value::Bytes(bytes)]) => Ok(Value::String(mac(bytes).into())),
        ("duration" | "timestamp", _) => because("times are not evaluated"),
        _ => because(unfit(function, args)),
    }
}

fn unfit(function: &str, args: &[Value]) -> String {
    let names: Vec<_> = args.iter().map(Value::type_name).collect();
    format!("`{function}` does not take {}", names.join(" and "))
}

fn overflow() -> Failure {
    Failure::Because("the result is larger than its type can be".to_owned())
}

fn compare(a: &Value, b: &Value, is: fn(Ordering) -> bool) -> Result<Value, Failure> {
    let number = |value: &Value| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    match order(a, b) {
        Some(order) => Ok(Value::Bool(is(order))),
        // Nothing is less than what is not a number, or more.
        None if number(a) && number(b) => Ok(Value::Bool(false)),
        None => because(unfit("<", &[a.clone(), b.clone()])),
    }
}

fn arithmetic(sign: &str, a: &Value, b: &Value) -> Result<Value, Failure> {
    if matches!(sign, "/" | "%") && matches!(b, Value::Int(0) | Value::Uint(0)) {
        return because("this divides by zero");
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let made = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            made.map(Value::Int).ok_or_else(overflow)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            let made = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            made.map(Value::Uint).ok_or_else(overflow)
        }
        (Value::Double(a), Value::Double(b)) if sign != "%" => Ok(Value::Double(match sign {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            _ => a / b,
        })),
        (Value::String(a), Value::String(b)) if sign == "+" => {
            Ok(Value::String(format!("{a}{b}").into()))
        }
        (Value::Bytes(a), Value::Bytes(b)) if sign == "+" => {
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::List(a), Value::List(b)) if sign == "+" => {
            Ok(Value::List(Arc::new([&a[..], &b[..]].concat())))
        }
        _ => because(unfit(sign, &[a.clone(), b.clone()])),
    }
}

/// The item of a list, or the value at a key of a map.
pub(super) fn index(of: &Value, at: &Value, steps: &mut u64) -> Result<Value, Failure> {
    match of {
        Value::List(items) => {
            let at = match at {
                Value::Int(at) => usize::try_from(*at).ok(),
                Value::Uint(at) => usize::try_from(*at).ok(),
                Value::Double(at) => to_int(*at)
                    .filter(|whole| {
                        order(&Value::Int(*whole), &Value::Double(*at)).is_some_and(Ordering::is_eq)
                    })
                    .and_then(|whole| usize::try_from(whole).ok()),
                _ => return because(unfit("[]", &[of.clone(), at.clone()])),
            };
            match at.and_then(|at| items.get(at)) {
                Some(item) => Ok(item.clone()),
                None => because("the list has no item of this number"),
            }
        }
        Value::Map(entries) => match position(entries, at, steps).ok_or(Failure::Steps)? {
            Some(at) => Ok(entries[at].1.clone()),
            None => because("the map has no such key"),
        },
        _ => because(unfit("[]", &[of.clone(), at.clone()])),
    }
}

fn is_in(value: &Value, of: &Value, steps: &mut u64) -> Result<bool, Failure> {
    match of {
        Value::List(items) => {
            for item in items.iter() {
                if equal(value, item, steps).ok_or(Failure::Steps)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(entries) => Ok(position(entries, value, steps).ok_or(Failure::Steps)?.is_some()),
        _ => because(unfit("in", &[value.clone(), of.clone()])),
    }
}

fn size(value: &Value) -> Result<Value, Failure> {
    let len = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.len(),
        _ => return because(unfit("size", std::slice::from_ref(value))),
    };
    i64::try_from(len).map(Value::Int).map_err(|_| overflow())
}

/// A value made one of another type; nothing within, where this value cannot be, and nothing at
/// all, where none of its type can.
fn convert(to: &str, value: &Value) -> Option<Option<Value>> {
    Some(match (to, value) {
        (to, value) if to == value.type_name() => Some(value.clone()),
        ("bool", Value::String(text)) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        ("bytes", Value::String(text)) => Some(Value::Bytes(text.as_bytes().into())),
        ("double", Value::Int(n)) => Some(Value::Double(*n as f64)),
        ("double", Value::Uint(n)) => Some(Value::Double(*n as f64)),
        ("double", Value::String(text)) => {
            let finite = |n: &f64| n.is_finite() || !text.contains(|c: char| c.is_ascii_digit());
            text.parse().ok().filter(finite).map(Value::Double)
        }
        ("int", Value::Uint(n)) => i64::try_from(*n).ok().map(Value::Int),
        ("int", Value::Double(n)) => to_int(*n).map(Value::Int),
        ("int", Value::String(text)) => text.parse().ok().map(Value::Int),
        ("uint", Value::Int(n)) => u64::try_from(*n).ok().map(Value::Uint),
        ("uint", Value::Double(n)) => to_uint(*n).map(Value::Uint),
        ("uint", Value::String(text)) if text.starts_with('+') => None,
        ("uint", Value::String(text)) => text.parse().ok().map(Value::Uint),
        ("string", Value::Bool(value)) => Some(Value::String(value.to_string().into())),
        ("string", Value::Int(n)) => Some(Value::String(n.to_string().into())),
        ("string", Value::Uint(n)) => Some(Value::String(n.to_string().into())),
        ("string", Value::Double(n)) => Some(Value::String(shortest(*n).into())),
        ("string", Value::Bytes(bytes)) => {
            std::str::from_utf8(bytes).ok().map(|text| Value::String(text.into()))
        }
        _ => return None,
    })
}

/// The whole part of a double, if an int can be it; not the least int, which cel-go leaves out.
fn to_int(n: f64) -> Option<i64> {
    let whole = n.trunc();
    (whole.abs() < 9_223_372_036_854_775_808.0).then(|| format!("{whole:.0}").parse().ok())?
}

/// The whole part of a double, if a uint can be it.
pub(super) fn to_uint(n: f64) -> Option<u64> {
    (0.0..18_446_744_073_709_551_616.0).contains(&n).then(|| {
        let whole = n.trunc().abs();
        format!("{whole:.0}").parse().ok()
    })?
}

/// A double as Go prints it with `%g`: the fewest digits that tell it from others.
fn shortest(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{n:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(-4..6) => n.to_string(),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => text,
    }
}

/// `ryanuber/go-glob`: `*` stands for any text, all else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Bytes in hexadecimal, with colons between.
fn mac(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
