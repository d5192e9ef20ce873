//! The types of CEL, and the messages of which fields are read.
//!
//! In: nothing. Out: [`Type`], bounded in size, that prints as cel-go prints it.
//!
//! Source: the CEL language definition, "Values",
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md#values>; cel-go
//! `common/types/types.go`.
//!
//! Not here: which types agree (`unify`), which fields a message has (`schema`).

use std::fmt;
use std::sync::Arc;

use super::schema::Message;

/// How many parts a type may have. Those of selectors have three; a chain of macros doubles them.
pub(super) const MAX_PARTS: u32 = 1 << 10;

/// A type of CEL. A copy is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Bytes,
    Double,
    Duration,
    Dyn,
    Int,
    Null,
    String,
    Timestamp,
    Uint,
    /// A message of protobuf.
    Message(&'static Message),
    /// Not known yet: `[]` is a list of any one of these.
    Variable(usize),
    /// Made of other types.
    Made(Arc<Made>),
}

/// A type made of other types.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) head: Head,
    /// One for lists, optionals and types of types, two for maps, none for the type of all types.
    pub(super) parts: Vec<Type>,
    /// How many types it is made of, itself included.
    size: u32,
}

/// What a made type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    List,
    Map,
    Optional,
    /// The type of a type.
    Type,
}

impl Type {
    /// A type made of others, unless it is too large.
    pub(super) fn made(head: Head, parts: Vec<Self>) -> Option<Self> {
        let size = parts.iter().fold(1_u32, |sum, part| sum.saturating_add(part.size()));
        (size <= MAX_PARTS).then(|| Self::Made(Arc::new(Made { head, parts, size })))
    }

    fn size(&self) -> u32 {
        match self {
            Self::Made(made) => made.size,
            _ => 1,
        }
    }

    /// The parts of a type with this head.
    pub(super) fn parts(&self, head: Head) -> Option<&[Self]> {
        match self {
            Self::Made(made) if made.head == head => Some(&made.parts),
            _ => None,
        }
    }

    /// What a list has in it.
    pub(super) fn item(&self) -> Option<&Self> {
        self.parts(Head::List)?.first()
    }

    /// What an optional has in it.
    pub(super) fn optional(&self) -> Option<&Self> {
        self.parts(Head::Optional)?.first()
    }

    /// A map's keys and values.
    pub(super) fn entry(&self) -> Option<(&Self, &Self)> {
        match self.parts(Head::Map)? {
            [key, value] => Some((key, value)),
            _ => None,
        }
    }

    /// The name of the type itself, without what it is made of: what `type(x)` gives.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Duration => "google.protobuf.Duration",
            Self::Dyn | Self::Variable(_) => "dyn",
            Self::Int => "int",
            Self::Null => "null_type",
            Self::String => "string",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Uint => "uint",
            Self::Message(message) => message.name,
            Self::Made(made) => match made.head {
                Head::List => "list",
                Head::Map => "map",
                Head::Optional => "optional_type",
                Head::Type => "type",
            },
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            other => other.name(),
        })?;
        let Self::Made(made) = self else { return Ok(()) };
        for (at, part) in made.parts.iter().enumerate() {
            write!(f, "{}{part}", if at == 0 { "(" } else { ", " })?;
        }
        if made.parts.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}
