//! Findings as they are made: which node has what, and where.
//!
//! In: a code, a node, a place, texts. Out: [`Diagnostic`]s.
//!
//! Source: none.
//!
//! Not here: what is wrong (the checks), and the codes' weight (`code`).

use std::collections::BTreeMap;

use super::code;
use super::view::Node;
use crate::config::tree::Tree;
use crate::report::{Diagnostic, Place, Severity};

/// All findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// Where in the list a code, a place and a text are.
    known: BTreeMap<(&'static str, Place, String), usize>,
}

#[derive(Debug)]
struct Finding {
    code: &'static str,
    /// The first node that has it, and how many others do.
    node: Option<(String, usize)>,
    place: Option<Place>,
    text: String,
    help: String,
}

impl Findings {
    /// Adds what is wrong with a node: the text goes on after "node `NAME`: ". The place is that
    /// of the value, or else of the node. What other nodes have from the same place is counted.
    pub(super) fn node(
        &mut self,
        code: &'static str,
        node: &Node<'_>,
        at: Option<&Tree>,
        text: impl Into<String>,
        help: impl Into<String>,
    ) {
        let text = text.into();
        let place = at.and_then(Tree::place).unwrap_or_else(|| node.member.place.clone());
        let name = node.member.name;
        let key = (code, place.clone(), text.clone());
        if let Some(&known) = self.known.get(&key) {
            let others = self.list[known].node.as_mut().filter(|(first, _)| first != name);
            others.into_iter().for_each(|(_, others)| *others += 1);
            return;
        }
        self.known.insert(key, self.list.len());
        let node = Some((name.to_owned(), 0));
        self.list.push(Finding { code, node, place: Some(place), text, help: help.into() });
    }

    /// Adds a finding that was made without knowing whose config it is about.
    pub(super) fn of(&mut self, node: &Node<'_>, finding: Diagnostic) {
        let place = finding.place.or_else(|| Some(node.member.place.clone()));
        let help = finding.help.unwrap_or_default();
        let owner = Some((node.member.name.to_owned(), 0));
        let Diagnostic { code, message: text, .. } = finding;
        self.list.push(Finding { code, node: owner, place, text, help });
    }

    /// Adds what is wrong with the site.
    pub(super) fn site(&mut self, code: &'static str, text: &str, help: &str) {
        let (text, help) = (text.to_owned(), help.to_owned());
        self.list.push(Finding { code, node: None, place: None, text, help });
    }

    /// All of them, in the order in which they were added.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.list.into_iter().map(Finding::into_diagnostic).collect()
    }
}

impl Finding {
    fn into_diagnostic(self) -> Diagnostic {
        let message = match self.node {
            None => self.text,
            Some((node, 0)) => format!("node `{node}`: {}", self.text),
            Some((node, 1)) => format!("node `{node}` and one other: {}", self.text),
            Some((node, others)) => format!("node `{node}` and {others} others: {}", self.text),
        };
        let diagnostic = diagnostic(self.code, message).help(self.help);
        match self.place {
            Some(place) => diagnostic.at(place),
            None => diagnostic,
        }
    }
}

/// A finding of a code, as heavy as the code is.
pub(super) fn diagnostic(code: &'static str, message: impl Into<String>) -> Diagnostic {
    let Some(known) = code::find(code) else { unreachable!("`{code}` is in the table") };
    match known.severity {
        Severity::Error => Diagnostic::error(code, message),
        Severity::Warning => Diagnostic::warning(code, message),
    }
}
