//! The values of a machine config, as Talos' own types would hold them.
//!
//! In: what `decode` read or a caller made. Out: [`Tree`]s to look into, change and merge.
//!
//! Source: none; that a label `1.20` is a text and a mode `0644` a number is what `schema` says.
//!
//! Not here: which keys there are (`schema`), reading (`decode`) and writing (`emit`) text.

use std::fmt;

use crate::report::{Diagnostic, Place};
use crate::yaml::Mark;

/// A value, and where it was written if it came from a file.
#[derive(Clone)]
pub struct Tree {
    mark: Option<Mark>,
    data: Data,
}

/// What a value is.
#[derive(Clone, PartialEq)]
pub enum Data {
    /// Nothing, in a value without a type of its own (`kubelet.extraConfig`).
    Null,
    /// A switch.
    Bool(bool),
    /// A whole number; every one of Go's fits.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A time, in a value without a type of its own: the text as written.
    Time(String),
    /// A list.
    List(Vec<Tree>),
    /// Keys and values in order: a structure or a mapping.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// A value that stands in a file.
    pub fn marked(mark: Mark, data: Data) -> Self {
        Self { mark: Some(mark), data }
    }

    /// A mapping of the given keys, in their order.
    pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        Data::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).into()
    }

    /// An empty mapping.
    pub fn empty() -> Self {
        Data::Map(Vec::new()).into()
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Data::List(items.into_iter().map(Into::into).collect()).into()
    }

    /// What it is.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// What it is, to change it.
    pub fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// What it is, taken out.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Where it stands, if it came from a file.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Where it stands, if it came from a file.
    pub fn place(&self) -> Option<Place> {
        self.mark.as_ref().map(Mark::place)
    }

    /// A finding about this value.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let error = Diagnostic::error(code, message);
        match self.place() {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// A finding about this value that refuses nothing.
    pub fn warning(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let warning = Diagnostic::warning(code, message);
        match self.place() {
            Some(place) => warning.at(place),
            None => warning,
        }
    }

    /// The value at a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The value at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, key| tree.get(key))
    }

    /// The value at a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.data {
            Data::Map(entries) => {
                entries.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The value at a path of keys, to change it.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |tree, key| tree.get_mut(key))
    }

    /// The value at a key, made an empty mapping where there is none. What is no mapping becomes
    /// an empty one first.
    pub fn open(&mut self, key: &str) -> &mut Self {
        let entries = self.entries_mut();
        let at = entries.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            entries.push((key.to_owned(), Self::empty()));
            entries.len() - 1
        });
        &mut entries[at].1
    }

    /// Puts a value at a key, in place of the old one or behind all others.
    pub fn set(&mut self, key: &str, value: impl Into<Self>) {
        *self.open(key) = value.into();
    }

    /// Puts a value at a path of keys, opening what is not there.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Self>) {
        let Some((last, parents)) = path.split_last() else { return };
        parents.iter().fold(self, |tree, key| tree.open(key)).set(last, value);
    }

    /// Takes out the value at a key.
    pub fn remove(&mut self, key: &str) -> Option<Self> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = entries.iter().position(|(known, _)| known == key)?;
        Some(entries.remove(at).1)
    }

    /// Its entries, none if it is no mapping.
    pub fn entries(&self) -> &[(String, Self)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Its entries, to change them. What is no mapping becomes an empty one first.
    pub fn entries_mut(&mut self) -> &mut Vec<(String, Self)> {
        if !matches!(self.data, Data::Map(_)) {
            self.data = Data::Map(Vec::new());
        }
        match &mut self.data {
            Data::Map(entries) => entries,
            _ => unreachable!("it is a mapping by now"),
        }
    }

    /// Its items, none if it is no list.
    pub fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// Its items, to change them. What is no list becomes an empty one first.
    pub fn items_mut(&mut self) -> &mut Vec<Self> {
        if !matches!(self.data, Data::List(_)) {
            self.data = Data::List(Vec::new());
        }
        match &mut self.data {
            Data::List(items) => items,
            _ => unreachable!("it is a list by now"),
        }
    }

    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text at a key that is not empty: an empty one is as good as none in Go's types.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text().filter(|text| !text.is_empty())
    }

    /// Its switch, if it is one.
    pub fn bool(&self) -> Option<bool> {
        match self.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Its whole number, if it is one.
    pub fn int(&self) -> Option<i128> {
        match self.data {
            Data::Int(value) => Some(value),
            _ => None,
        }
    }
}

impl From<Data> for Tree {
    fn from(data: Data) -> Self {
        Self { mark: None, data }
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Data::Text(text.to_owned()).into()
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Data::Text(text).into()
    }
}

impl From<bool> for Tree {
    fn from(value: bool) -> Self {
        Data::Bool(value).into()
    }
}

impl From<u32> for Tree {
    fn from(value: u32) -> Self {
        Data::Int(value.into()).into()
    }
}

/// What it holds; where it came from does not matter.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

/// The kind and the place, never a value: it may be a secret.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.data)?;
        self.mark.iter().try_for_each(|mark| write!(f, " at {mark:?}"))
    }
}

/// The kind and the number of children, never a value: it may be a secret.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(_) => f.write_str("a switch"),
            Self::Int(_) | Self::Float(_) => f.write_str("a number"),
            Self::Text(text) => write!(f, "a text of {} bytes", text.len()),
            Self::Time(_) => f.write_str("a time"),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Map(entries) => write!(f, "a mapping of {}", entries.len()),
        }
    }
}
