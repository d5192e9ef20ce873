//! YAML as it is spelled: what the random cases are made of, and made smaller in.

use std::fmt::Write as _;

/// A value in its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A scalar, an alias or a flow collection, as it stands. A block scalar has its lines without
    /// indentation.
    Word(String),
    /// A list.
    List(Vec<Raw>),
    /// A mapping.
    Map(Vec<(String, Raw)>),
    /// An anchor or a tag before a value.
    Marked(String, Box<Raw>),
}

impl Raw {
    pub(crate) fn word(text: impl Into<String>) -> Self {
        Self::Word(text.into())
    }

    /// The text of a document.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Map(entries) if !entries.is_empty() => self.lines(0, &mut text),
            _ => self.behind(0, &mut text),
        }
        text
    }

    /// The value behind a key or a hyphen.
    fn behind(&self, indent: usize, text: &mut String) {
        match self {
            Self::Word(word) if word.is_empty() => text.push('\n'),
            Self::Word(word) => {
                for (number, line) in word.split('\n').enumerate() {
                    let before = if number == 0 { 1 } else { indent + 2 };
                    _ = writeln!(text, "{:before$}{line}", "");
                }
            }
            Self::List(items) if items.is_empty() => text.push_str(" []\n"),
            Self::Map(entries) if entries.is_empty() => text.push_str(" {}\n"),
            Self::List(_) | Self::Map(_) => {
                text.push('\n');
                self.lines(indent + 2, text);
            }
            Self::Marked(mark, value) => {
                _ = write!(text, " {mark}");
                value.behind(indent, text);
            }
        }
    }

    fn lines(&self, indent: usize, text: &mut String) {
        match self {
            Self::List(items) => items.iter().for_each(|item| {
                _ = write!(text, "{:indent$}-", "");
                item.behind(indent, text);
            }),
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                _ = write!(text, "{:indent$}{key}:", "");
                value.behind(indent, text);
            }),
            Self::Word(_) | Self::Marked(..) => self.behind(indent, text),
        }
    }

    /// All values that are one step smaller.
    fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        match self {
            Self::Word(_) => {}
            Self::Marked(mark, value) => {
                found.push((**value).clone());
                found.extend(
                    value.smaller().into_iter().map(|v| Self::Marked(mark.clone(), Box::new(v))),
                );
            }
            Self::List(items) => {
                for at in 0..items.len() {
                    let mut fewer = items.clone();
                    fewer.remove(at);
                    found.push(Self::List(fewer));
                }
                for (at, item) in items.iter().enumerate() {
                    found.extend(item.smaller().into_iter().map(|smaller| {
                        let mut items = items.clone();
                        items[at] = smaller;
                        Self::List(items)
                    }));
                }
            }
            Self::Map(entries) => {
                for at in 0..entries.len() {
                    let mut fewer = entries.clone();
                    fewer.remove(at);
                    found.push(Self::Map(fewer));
                }
                for (at, (_, value)) in entries.iter().enumerate() {
                    found.extend(value.smaller().into_iter().map(|smaller| {
                        let mut entries = entries.clone();
                        entries[at].1 = smaller;
                        Self::Map(entries)
                    }));
                }
            }
        }
        found
    }
}

/// The smallest case near a failing one that fails still.
pub(crate) fn shrink(case: &[Raw], fails: &mut dyn FnMut(&[Raw]) -> bool) -> Vec<Raw> {
    let mut case = case.to_vec();
    let mut budget = 3000;
    loop {
        let mut found = None;
        'parts: for at in 0..case.len() {
            for smaller in case[at].smaller() {
                let mut candidate = case.clone();
                candidate[at] = smaller;
                budget -= 1;
                if budget > 0 && fails(&candidate) {
                    found = Some(candidate);
                    break 'parts;
                }
            }
        }
        match found {
            Some(smaller) => case = smaller,
            None => return case,
        }
    }
}

/// The text of several documents.
pub(crate) fn stream(documents: &[Raw]) -> String {
    documents.iter().map(Raw::text).collect::<Vec<_>>().join("---\n")
}
