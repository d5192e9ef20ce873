//! Reading typed values out of a tree, keeping every mistake.
//!
//! In: nodes of a YAML tree. Out: texts and lists with their places; problems beside them.
//!
//! Source: none.
//!
//! Not here: which keys there are (`key`), and what values mean.

use super::key::{Refused, Section};
use crate::report::{Diagnostic, Place};
use crate::yaml::Node;

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    /// The value.
    pub(super) value: T,
    /// Where it starts.
    pub(super) place: Place,
}

/// A mapping whose keys are known to belong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'n> {
    node: &'n Node,
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
        let help = format!("its keys are {}", section.keys.join(", "));
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
    Some(Fields { node, section })
}

impl<'n> Fields<'n> {
    /// Where the mapping starts.
    pub(super) fn place(&self) -> Place {
        self.node.place()
    }

    /// The value of a key; one that is left blank counts as not given.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        debug_assert!(self.section.keys.contains(&key), "{key} is a key of {}", self.section.name);
        self.node.get(key).filter(|node| !node.is_null())
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

    /// The texts of a list that may be given.
    pub(super) fn texts(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<Written<&'n str>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let items = items(node, key, problems).iter();
        items.filter_map(|item| text(item, key, problems)).collect()
    }
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
        (_, Some(_)) => Diagnostic::error("yaml-tag", format!("`{key}` has a YAML tag"))
            .help("drop the word that starts with `!`"),
        (None, None) => {
            let message = format!("`{key}` must be a text, and this is {}", node.kind());
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
