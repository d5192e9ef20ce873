//! The values of CEL: what is equal, and what comes before what.
//!
//! In: values. Out: answers about them.
//!
//! Source: the CEL language definition, "Values" and "Equality and Ordering",
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md#values>; cel-go
//! `common/types/compare.go`, `list.go`, `map.go`.
//!
//! Not here: operators and functions (`call`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::schema::{Field, Kind, Message};

/// A value. A copy is cheap.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    /// Keys and values in the written order.
    Map(Arc<Vec<(Value, Value)>>),
    /// A type, by its name.
    Type(&'static str),
    /// A message: its table, and its set fields.
    Message(&'static Message, Arc<Vec<(&'static str, Value)>>),
}

/// The least double that is larger than every `i64`, and the same of `u64`.
const INT_END: f64 = 9_223_372_036_854_775_808.0;
const UINT_END: f64 = 18_446_744_073_709_551_616.0;

impl Value {
    /// A list of texts.
    pub(super) fn texts(texts: &[String]) -> Self {
        Self::List(Arc::new(texts.iter().map(|text| Self::String(text.as_str().into())).collect()))
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Message(message, _) => message.name,
        }
    }

    /// A field's value where nothing is set.
    pub(super) fn zero(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(false),
            Kind::Bytes => Self::Bytes(Arc::new([])),
            Kind::Int => Self::Int(0),
            Kind::String => Self::String("".into()),
            Kind::Strings | Kind::Messages(_) => Self::List(Arc::default()),
            Kind::Uint => Self::Uint(0),
            Kind::Duration => Self::Null,
            Kind::Message(message) => Self::Message(message, Arc::default()),
        }
    }

    /// Whether it is a scalar's zero, or an empty list: what a message does not count as set.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => value.to_bits() == 0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            Self::Null => true,
            Self::Type(_) | Self::Message(..) => false,
        }
    }

    /// A message's field, set or not.
    pub(super) fn field(fields: &[(&'static str, Self)], field: &Field) -> Self {
        let set = fields.iter().find(|(name, _)| *name == field.name);
        set.map_or_else(|| Self::zero(field.kind), |(_, value)| value.clone())
    }

    /// How many values it is made of, as far as its own vector tells.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len(),
            _ => 1,
        }
    }
}

/// Which of two comes first; nothing where they have no order, which numbers of all types have.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => Some(int_uint(*a, *b)),
        (Value::Uint(a), Value::Int(b)) => Some(int_uint(*b, *a).reverse()),
        (Value::Int(a), Value::Double(b)) => int_double(*a, *b),
        (Value::Double(a), Value::Int(b)) => int_double(*b, *a).map(Ordering::reverse),
        (Value::Uint(a), Value::Double(b)) => uint_double(*a, *b),
        (Value::Double(a), Value::Uint(b)) => uint_double(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

fn int_uint(a: i64, b: u64) -> Ordering {
    u64::try_from(a).map_or(Ordering::Less, |a| a.cmp(&b))
}

fn int_double(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        None
    } else if b >= INT_END {
        Some(Ordering::Less)
    } else if b < -INT_END {
        Some(Ordering::Greater)
    } else {
        (a as f64).partial_cmp(&b)
    }
}

fn uint_double(a: u64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        None
    } else if b >= UINT_END {
        Some(Ordering::Less)
    } else if b < 0.0 {
        Some(Ordering::Greater)
    } else {
        (a as f64).partial_cmp(&b)
    }
}

/// Whether two values are equal: values of unlike types are not, numbers are as their values are.
/// Nothing, where the steps, one for each value looked at, do not suffice to tell.
pub(super) fn equal(a: &Value, b: &Value, steps: &mut u64) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    Some(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Some(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b, steps)? {
                    return Some(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.len() != b.len() {
                return Some(false);
            }
            for (key, value) in a.iter() {
                match position(b, key, steps)?.and_then(|at| b.get(at)) {
                    Some((_, other)) if equal(value, other, steps)? => {}
                    _ => return Some(false),
                }
            }
            true
        }
        (Value::Message(a, set), Value::Message(b, others)) => {
            if a != b {
                return Some(false);
            }
            for field in a.fields {
                let (x, y) = (Value::field(set, field), Value::field(others, field));
                if !equal(&x, &y, steps)? {
                    return Some(false);
                }
            }
            true
        }
        _ => order(a, b) == Some(Ordering::Equal),
    })
}

/// Where in a map a key is; nothing at all, where the steps do not suffice to tell.
pub(super) fn position(
    entries: &[(Value, Value)],
    key: &Value,
    steps: &mut u64,
) -> Option<Option<usize>> {
    for (at, (own, _)) in entries.iter().enumerate() {
        if equal(own, key, steps)? {
            return Some(Some(at));
        }
    }
    Some(None)
}
