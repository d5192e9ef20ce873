//! Reading typed values out of a tree, keeping every mistake.
//!
//! In: nodes of a YAML tree. Out: texts, values and lists with their places; problems beside them.
//!
//! Source: none.
//!
//! Not here: which keys there are (`key`), and what values mean.

use super::key::{Refused, Section};
use crate::report::{Diagnostic, Place};
use crate::yaml::meant::nearest;
use crate::yaml::{Entry, Node};

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    /// The value.
    pub(super) value: T,
    /// Where it starts.
    pub(super) place: Place,
}

impl<T> Written<T> {
    /// Another value in the same place.
    pub(super) fn with<U>(self, make: impl FnOnce(T) -> U) -> Written<U> {
        Written { value: make(self.value), place: self.place }
    }
}

/// What a text is to be: what it is called, how one looks, and how it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form<T> {
    /// "an IP address", in messages.
    pub(super) what: &'static str,
    /// One that is right.
    pub(super) example: &'static str,
    /// Reads it.
    pub(super) parse: fn(&str) -> Option<T>,
}

/// `true` or `false`.
pub(super) const FLAG: Form<bool> =
    Form { what: "no switch", example: "true` or `false", parse: |text| text.parse().ok() };

/// A whole number.
pub(super) const NUMBER: Form<u32> =
    Form { what: "no whole number", example: "1500", parse: whole };

/// Reads digits, and nothing but digits.
pub(super) fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A mapping whose keys are known to belong, and perhaps one below it: a key that the upper one does
/// not have counts as the lower one's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'n> {
    node: &'n Node,
    under: Option<&'n Node>,
    section: &'static Section,
}

/// Takes a mapping apart. Keys that do not belong are problems, and it goes on without them.
pub(super) fn open<'n>(
    node: &'n Node,
    section: &'static Section,
    problems: &mut Vec<Diagnostic>,
) -> Option<Fields<'n>> {
    let Some(entries) = node.entries().filter(|_| node.tag().is_none()) else {
        let message = format!("{} must be a mapping, and this is {}", section.name, node.kind());
        let help = format!("its keys are {}", section.list());
        problems.push(Diagnostic::error("wrong-type", message).at(node.place()).help(help));
        return None;
    };
    for entry in entries {
        let key = quote(&entry.key);
        let problem = match section.refuse(&entry.key) {
            None => continue,
            Some(Refused::Later(help)) => {
                let message = format!("{key} is not supported by this version");
                Diagnostic::error("unsupported-key", message).help(help)
            }
            Some(Refused::Unknown(help)) => {
                let message = format!("{} has no key {key}", section.name);
                Diagnostic::error("unknown-key", message).help(help)
            }
        };
        problems.push(problem.at(entry.place.clone()));
    }
    Some(Fields { node, under: None, section })
}

impl<'n> Fields<'n> {
    /// The same with another below it. What that has below it is lost.
    pub(super) fn over(self, under: Option<Self>) -> Self {
        Self { under: under.map(|under| under.node), ..self }
    }

    /// Where the mapping starts.
    pub(super) fn place(&self) -> Place {
        self.node.place()
    }

    /// Where a key itself says something: not the mapping below.
    pub(super) fn own(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key).filter(|node| !node.is_null())
    }

    /// What the mapping below says of a key.
    pub(super) fn below(&self, key: &str) -> Option<&'n Node> {
        self.under?.get(key).filter(|node| !node.is_null())
    }

    /// The value of a key; one that is left blank counts as not given.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        debug_assert!(self.section.has(key), "{key} is a key of {}", self.section.name);
        self.own(key).or_else(|| self.below(key))
    }

    /// The mapping of a key, the lower one's below the upper one's.
    pub(super) fn part(
        &self,
        key: &str,
        section: &'static Section,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Fields<'n>> {
        let mut open = |node: Option<&'n Node>| node.and_then(|node| open(node, section, problems));
        let (upper, lower) = (open(self.own(key)), open(self.below(key)));
        match upper {
            Some(upper) => Some(upper.over(lower)),
            None => lower,
        }
    }

    /// The entries of a mapping of any keys: the upper one's, and those of the lower one whose keys
    /// are not among them. Blank ones count as not given.
    pub(super) fn map(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<&'n Entry> {
        let mut all: Vec<&'n Entry> = Vec::new();
        for node in [self.own(key), self.below(key)].into_iter().flatten() {
            let Some(entries) = node.entries().filter(|_| node.tag().is_none()) else {
                let message = format!("`{key}` must be a mapping, and this is {}", node.kind());
                problems.push(Diagnostic::error("wrong-type", message).at(node.place()));
                continue;
            };
            let known: std::collections::BTreeSet<&str> =
                all.iter().map(|entry| entry.key.as_str()).collect();
            let new = entries.iter().filter(|entry| !known.contains(entry.key.as_str()));
            let new: Vec<_> = new.filter(|entry| !entry.value.is_null()).collect();
            all.extend(new);
        }
        all
    }

    /// The one of several keys that is given, the upper mapping's before the lower one's.
    pub(super) fn choice(
        &self,
        keys: &[&'static str],
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(&'static str, &'n Node)> {
        let given = |get: &dyn Fn(&str) -> Option<&'n Node>| -> Vec<_> {
            keys.iter().filter_map(|&key| Some((key, get(key)?))).collect()
        };
        let mut found = given(&|key| self.own(key));
        if found.is_empty() {
            found = given(&|key| self.below(key));
        }
        if let [(first, _), (second, node), ..] = found[..] {
            let message = format!("{} has both `{first}` and `{second}`", self.section.name);
            let problem = Diagnostic::error("one-of", message).at(node.place());
            problems.push(problem.help(format!("keep one of {}", keys.join(", "))));
        }
        found.first().copied()
    }

    /// The value of a key that must be given.
    pub(super) fn need(
        &self,
        key: &str,
        example: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("{} has no `{key}`", self.section.name);
            let problem = Diagnostic::error("missing-key", message).at(self.place());
            problems.push(problem.help(format!("add `{key}: {example}`")));
        }
        found
    }

    /// The text of a key that must be given.
    pub(super) fn need_text(
        &self,
        key: &str,
        example: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Written<&'n str>> {
        text(self.need(key, example, problems)?, key, problems)
    }

    /// The text of a key that may be given.
    pub(super) fn text(
        &self,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Written<&'n str>> {
        text(self.get(key)?, key, problems)
    }

    /// The same as a text of its own.
    pub(super) fn string(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<String> {
        self.text(key, problems).map(|text| text.value.to_owned())
    }

    /// The texts of a list that may be given.
    pub(super) fn texts(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<Written<&'n str>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let items = items(node, key, problems).iter();
        items.filter_map(|item| text(item, key, problems)).collect()
    }

    /// The same as texts of their own.
    pub(super) fn strings(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<String> {
        self.texts(key, problems).into_iter().map(|text| text.value.to_owned()).collect()
    }

    /// The value of a key that may be given.
    pub(super) fn value<T>(
        &self,
        key: &str,
        form: &Form<T>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Written<T>> {
        value(&self.text(key, problems)?, form, problems)
    }

    /// The values of a key that may have one, or a list of them.
    pub(super) fn values<T>(
        &self,
        key: &str,
        form: &Form<T>,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Written<T>> {
        let texts = match self.get(key) {
            Some(node) if node.items().is_none() => self.text(key, problems).into_iter().collect(),
            _ => self.texts(key, problems),
        };
        texts.iter().filter_map(|text| value(text, form, problems)).collect()
    }

    /// Whether a switch is on; it is off where it is not given.
    pub(super) fn flag(&self, key: &str, problems: &mut Vec<Diagnostic>) -> bool {
        self.value(key, &FLAG, problems).is_some_and(|flag| flag.value)
    }

    /// The named value that a key has.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        choices: &[(&'static str, T)],
        problems: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        choose(key, &self.text(key, problems)?, choices, problems)
    }

    /// The mappings of a list that may be given.
    pub(super) fn parts(
        &self,
        key: &str,
        section: &'static Section,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Fields<'n>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let items = items(node, key, problems).iter();
        items.filter_map(|item| open(item, section, problems)).collect()
    }
}

/// Reads a text as what it is to be.
pub(super) fn value<T>(
    text: &Written<&str>,
    form: &Form<T>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Written<T>> {
    let value = (form.parse)(text.value);
    if value.is_none() {
        let message = format!("{} is {}", quote(text.value), form.what);
        let problem = Diagnostic::error("value", message).at(text.place.clone());
        problems.push(problem.help(format!("write it as in `{}`", form.example)));
    }
    Some(Written { value: value?, place: text.place.clone() })
}

/// Takes one of the named values.
pub(super) fn choose<T: Copy>(
    key: &str,
    text: &Written<&str>,
    choices: &[(&'static str, T)],
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    let found = choices.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
    if found.is_none() {
        let names = || choices.iter().map(|(name, _)| *name);
        let all = names().collect::<Vec<_>>().join(", ");
        let help = nearest(text.value, names())
            .map_or_else(|| format!("use one of {all}"), |near| format!("did you mean `{near}`?"));
        let message = format!("{} is no value of `{key}`", quote(text.value));
        problems.push(Diagnostic::error("value", message).at(text.place.clone()).help(help));
    }
    found
}

/// The items of a list. Where the node is none, that is a problem.
pub(super) fn items<'n>(node: &'n Node, key: &str, problems: &mut Vec<Diagnostic>) -> &'n [Node] {
    node.items().filter(|_| node.tag().is_none()).unwrap_or_else(|| {
        let message = format!("`{key}` must be a list, and this is {}", node.kind());
        let problem = Diagnostic::error("wrong-type", message).at(node.place());
        problems.push(problem.help("put brackets around it, or a `-` before each item"));
        &[]
    })
}

/// The text of a scalar. Where the node is none, that is a problem.
pub(super) fn text<'n>(
    node: &'n Node,
    key: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<Written<&'n str>> {
    let problem = match (node.text(), node.tag()) {
        (Some(value), None) => return Some(Written { value, place: node.place() }),
        (_, Some(_)) => Diagnostic::error("yaml-tag", format!("{} has a YAML tag", quote(key)))
            .help("drop the word that starts with `!`"),
        (None, None) => {
            let message = format!("{} must be a text, and this is {}", quote(key), node.kind());
            Diagnostic::error("wrong-type", message)
        }
    };
    problems.push(problem.at(node.place()));
    None
}

/// A person's text in backticks, cut where it is long, without what could steer a terminal.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
