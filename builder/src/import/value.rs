//! A talhelper file as trees in which every variable has its value.
//!
//! In: YAML nodes and an [`Environment`]. Out: [`Value`]s, which know their places and whether a
//! secret went into them.
//!
//! Source: talhelper `pkg/substitute/envsubst.go` (variables are replaced in the text of the file,
//! without its comments, before it is read).
//!
//! Not here: what variables there are (`env`), and what keys mean (`talconfig`).

use std::sync::Arc;

use super::env::{Environment, Replaced};
use crate::report::{Diagnostic, Place};
use crate::units::Size;
use crate::yaml::{self, Mark, Node, Scalar, Style};

/// How many bytes of text all trees of an import may have, counting what aliases repeat.
const MAX_TEXT: usize = 32 << 20;

/// A value of a file of talhelper's, or one that is made of it.
#[derive(Clone)]
pub(super) struct Value {
    mark: Mark,
    data: Data,
    /// The variable of an encrypted file that it was made with.
    secret: Option<Arc<str>>,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Data {
    /// A text, and how it is written.
    Scalar(Scalar),
    /// A list.
    List(Vec<Value>),
    /// Keys and values in the written order.
    Map(Vec<(String, Value)>),
}

/// Makes values of nodes, within one budget for all of them.
pub(super) struct Reader<'e> {
    env: &'e Environment<'e>,
    left: usize,
    problems: Vec<Diagnostic>,
    used: bool,
}

impl<'e> Reader<'e> {
    /// None is read yet.
    pub(super) fn new(env: &'e Environment<'e>) -> Self {
        Self { env, left: MAX_TEXT, problems: Vec::new(), used: false }
    }

    /// Reads a value, its variables replaced. The second says whether there was any.
    ///
    /// # Errors
    ///
    /// Every variable without a value, and what is no YAML any more with its value.
    pub(super) fn read(&mut self, node: &Node) -> Result<(Value, bool), Vec<Diagnostic>> {
        self.used = false;
        let value = self.value(node);
        match self.problems.is_empty() {
            true => Ok((value, self.used)),
            false => Err(std::mem::take(&mut self.problems)),
        }
    }

    /// Replaces the variables of a text that comes from another file than the place tells.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(super) fn again_in(&mut self, value: &Value) -> Result<Value, Vec<Diagnostic>> {
        let replaced = value.text().and_then(|text| self.replace(text, &value.place()));
        if !self.problems.is_empty() {
            return Err(std::mem::take(&mut self.problems));
        }
        let Some(replaced) = replaced else { return Ok(value.clone()) };
        let secret = replaced.secret.clone();
        Ok(Value { secret, ..value.text_here(replaced.text) })
    }

    fn value(&mut self, node: &Node) -> Value {
        let mark = node.mark();
        if let Some(items) = node.items() {
            let items = items.iter().map(|item| self.value(item)).collect();
            return Value { mark, data: Data::List(items), secret: None };
        }
        if let Some(entries) = node.entries() {
            let mut map = Vec::new();
            let mut merged = Vec::new();
            for entry in entries {
                if entry.key == "<<" && entry.style == Style::Plain {
                    merged.push(self.value(&entry.value));
                    continue;
                }
                let (key, secret) = match self.replace(&entry.key, &entry.place) {
                    Some(replaced) => (replaced.text, replaced.secret),
                    None => (entry.key.clone(), None),
                };
                let mut value = self.value(&entry.value);
                value.secret = value.secret.or(secret);
                map.push((key, value));
            }
            merged.into_iter().for_each(|from| merge(from, &mut map));
            return Value { mark, data: Data::Map(map), secret: None };
        }
        let Some(scalar) = node.scalar() else { return Value::plain_at(mark, "") };
        match self.replace(&scalar.text, &node.place()) {
            None => Value { mark, data: Data::Scalar(scalar.clone()), secret: None },
            Some(replaced) if scalar.style == Style::Plain => self.again(node, replaced),
            Some(replaced) => {
                let scalar = Scalar { text: replaced.text, style: Style::Text };
                Value { mark, data: Data::Scalar(scalar), secret: replaced.secret }
            }
        }
    }

    /// A plain scalar is what its text means once its variables are replaced: a list, perhaps.
    fn again(&mut self, node: &Node, replaced: Replaced) -> Value {
        let place = node.place();
        let parsed = yaml::parse(&place.file, replaced.text.as_bytes());
        let mark = node.mark();
        let Ok(mut nodes) = parsed else {
            let message = "this is no YAML with the values of its variables";
            let problem = Diagnostic::error("import-variable", message).at(place);
            self.problems.push(problem.help("put it in quotes"));
            return Value::plain_at(mark, "");
        };
        let data = match nodes.pop().filter(|_| nodes.is_empty()) {
            Some(node) => self.copy(&node, &mark),
            None => Data::Scalar(Scalar { text: String::new(), style: Style::Plain }),
        };
        Value { mark, data, secret: replaced.secret }
    }

    fn copy(&mut self, node: &Node, mark: &Mark) -> Data {
        let mut inner =
            |node: &Node| Value { mark: mark.clone(), data: self.copy(node, mark), secret: None };
        if let Some(items) = node.items() {
            return Data::List(items.iter().map(inner).collect());
        }
        if let Some(entries) = node.entries() {
            let entries = entries.iter().map(|entry| (entry.key.clone(), inner(&entry.value)));
            return Data::Map(entries.collect());
        }
        let scalar = node.scalar().filter(|scalar| self.spend(scalar.text.len(), &mark.place()));
        let empty = || Scalar { text: String::new(), style: Style::Plain };
        Data::Scalar(scalar.cloned().unwrap_or_else(empty))
    }

    /// Replaces variables; nothing where there are none.
    fn replace(&mut self, text: &str, place: &Place) -> Option<Replaced> {
        if !self.spend(text.len(), place) || !text.contains('$') {
            return None;
        }
        self.used = true;
        match self.env.replace(text, self.left) {
            Ok(replaced) => self.spend(replaced.text.len(), place).then_some(replaced),
            Err(wrong) => {
                self.problems.push(wrong.diagnostic().at(place.clone()));
                None
            }
        }
    }

    fn spend(&mut self, bytes: usize, place: &Place) -> bool {
        let Some(left) = self.left.checked_sub(bytes) else {
            if self.left > 0 {
                self.left = 0;
                let limit = Size(u64::try_from(MAX_TEXT).unwrap_or(u64::MAX));
                let message = format!("with its aliases and variables this is larger than {limit}");
                let problem = Diagnostic::error("import-too-large", message).at(place.clone());
                self.problems.push(problem.help("write fewer aliases"));
            }
            return false;
        };
        self.left = left;
        true
    }
}

/// Adds the keys of a mapping, or of several in order, that are not there yet.
/// YAML's type <https://yaml.org/type/merge.html>.
fn merge(from: Value, map: &mut Vec<(String, Value)>) {
    match from.data {
        Data::List(items) => items.into_iter().for_each(|item| merge(item, map)),
        Data::Map(entries) => {
            for (key, value) in entries {
                if map.iter().all(|(known, _)| *known != key) {
                    map.push((key, value));
                }
            }
        }
        Data::Scalar(_) => {}
    }
}

impl Value {
    /// A value that is made, for something that another one says.
    pub(super) fn made(&self, data: Data) -> Self {
        Self { mark: self.mark.clone(), data, secret: None }
    }

    /// A text in the place of this one.
    pub(super) fn text_here(&self, text: impl Into<String>) -> Self {
        self.made(Data::Scalar(Scalar { text: text.into(), style: Style::Text }))
    }

    /// A name, a path or an address in the place of this one: without quotes where it needs none.
    pub(super) fn word_here(&self, text: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:".contains(c);
        let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
        let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
            && text.chars().all(plain)
            && !text.ends_with(':')
            && !meant.contains(&text.to_ascii_lowercase().as_str());
        if is_word { self.plain_here(text) } else { self.text_here(text) }
    }

    /// A number or a switch in the place of this one.
    pub(super) fn plain_here(&self, text: &str) -> Self {
        Self::plain_at(self.mark.clone(), text)
    }

    /// A mapping in the place of this one.
    pub(super) fn map_here<'k>(&self, entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
        self.made(Data::Map(entries.collect()))
    }

    /// A list in the place of this one.
    pub(super) fn list_here(&self, items: impl IntoIterator<Item = Self>) -> Self {
        self.made(Data::List(items.into_iter().collect()))
    }

    fn plain_at(mark: Mark, text: &str) -> Self {
        let scalar = Scalar { text: text.to_owned(), style: Style::Plain };
        Self { mark, data: Data::Scalar(scalar), secret: None }
    }

    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        self.mark.place()
    }

    /// What it is.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// The value at a key that says something.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Its entries; none where it is no mapping.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.data {
            Data::Map(entries) => entries,
            Data::Scalar(_) | Data::List(_) => &[],
        }
    }

    /// Its items; none where it is no list.
    pub(super) fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            Data::Scalar(_) | Data::Map(_) => &[],
        }
    }

    /// Its text, if it is a scalar that says something.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(scalar) if !self.is_null() => Some(&scalar.text),
            _ => None,
        }
    }

    /// The text at a key, if it is not empty.
    pub(super) fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.text().filter(|text| !text.is_empty())
    }

    /// Whether it is a switch that is on, by the words that Go's reader takes for one.
    pub(super) fn is_on(&self) -> bool {
        let on = ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"];
        matches!(&self.data, Data::Scalar(s) if s.style == Style::Plain && on.contains(&s.text.as_str()))
    }

    /// Whether the switch at a key is on.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(Self::is_on)
    }

    /// Whether it says nothing.
    pub(super) fn is_null(&self) -> bool {
        let words = ["", "~", "null", "Null", "NULL"];
        matches!(&self.data, Data::Scalar(s) if s.style == Style::Plain && words.contains(&s.text.as_str()))
    }

    /// The variable of an encrypted file that it, or something in it, was made with.
    pub(super) fn secret(&self) -> Option<&str> {
        let inner = || match &self.data {
            Data::Scalar(_) => None,
            Data::List(items) => items.iter().find_map(Self::secret),
            Data::Map(entries) => entries.iter().find_map(|(_, value)| value.secret()),
        };
        self.secret.as_deref().or_else(inner)
    }
}
