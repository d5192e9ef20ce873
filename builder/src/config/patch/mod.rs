//! Patching a config as talosctl does: strategic merge, `$patch: delete`, JSON 6902.
//!
//! In: the text of a patch. Out: a [`Patch`], which changes [`Documents`].
//!
//! Source: Talos `pkg/machinery/config/configpatcher/` (`load.go`, `apply.go`, `strategic.go`),
//! `pkg/machinery/config/merge/merge.go`, `pkg/machinery/config/configloader/internal/decoder/`
//! (`delete.go`, `selector.go`); RFC 6902.
//!
//! Not here: what a patch in the style of older releases means on a newer one (`translate`).
//! Two things differ from Talos on purpose. An operation of JSON 6902 works on the document of
//! machine and cluster whatever stands beside it: Talos refuses it as soon as there is a second
//! document, which every config has since 1.12. And it touches what it names alone, where Talos
//! takes the whole config through YAML 1.1. What would panic in Talos is an error here.

use super::decode;
use super::documents::{Document, Documents};
use super::schema::{MAIN, Schema};
use crate::report::Diagnostic;
use crate::yaml::{self, Node};

mod delete;
mod json;
mod merge;

use delete::Deletion;

/// A patch, read and typed.
#[derive(Clone, Debug)]
pub struct Patch {
    parts: Vec<Part>,
}

/// A part of a patch.
#[derive(Clone, Debug)]
pub(in crate::config) enum Part {
    /// What is to be taken out of a document.
    Delete(Deletion),
    /// What is to be laid over a document, or added.
    Merge(Document),
    /// An operation of JSON 6902.
    Operation(json::Operation),
}

impl Patch {
    /// Reads a patch. `file` is its path as the user would write it.
    ///
    /// # Errors
    ///
    /// Everything that Talos' decoder refuses in it, each with its place.
    pub fn read(
        schema: &'static Schema,
        file: &str,
        bytes: &[u8],
    ) -> Result<Self, Vec<Diagnostic>> {
        let nodes = yaml::parse(file, bytes).map_err(|error| vec![error])?;
        Self::of(schema, &nodes)
    }

    /// Makes a patch of documents that are read already.
    ///
    /// # Errors
    ///
    /// As [`Patch::read`].
    pub fn of(schema: &'static Schema, nodes: &[Node]) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut parts = Vec::new();
        for node in nodes.iter().filter(|node| !node.is_null()) {
            if let Some(items) = node.items() {
                for item in items {
                    match json::Operation::read(item) {
                        Ok(operation) => parts.push(Part::Operation(operation)),
                        Err(problem) => problems.push(problem),
                    }
                }
                continue;
            }
            let (deletions, rest) = match delete::split(node) {
                Ok(split) => split,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            parts.extend(deletions.into_iter().map(Part::Delete));
            let rest = rest.and_then(|rest| decode::document(schema, &rest, &mut problems));
            parts.extend(rest.map(Part::Merge));
        }
        let idle = nodes.iter().find(|node| node.entries().is_some());
        if let (Some(idle), true, true) = (idle, parts.is_empty(), problems.is_empty()) {
            let problem = Diagnostic::error("patch-empty", "the patch changes nothing");
            problems.push(problem.at(idle.place()).help("write what is to change, or drop it"));
        }
        if problems.is_empty() { Ok(Self { parts }) } else { Err(problems) }
    }

    /// Its parts, in order: what is to be taken out of a document stands before what is laid over.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl Part {
    /// The keys that lead to what this deletes in the document of machine and cluster, if it does;
    /// an item of a list is named by the text that tells it.
    pub(super) fn deleted_in_main(&self) -> Option<Vec<String>> {
        match self {
            Self::Delete(deletion) => deletion.path_in_main(),
            Self::Merge(_) | Self::Operation(_) => None,
        }
    }
}

impl Documents {
    /// Changes the documents by a patch. What is returned are warnings.
    ///
    /// # Errors
    ///
    /// What cannot be done, with its place in the patch, beside the warnings. The documents are
    /// then half changed, and of no use.
    pub fn apply(&mut self, patch: &Patch) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let (mut findings, mut failed) = (Vec::new(), false);
        for part in &patch.parts {
            let done = self.apply_part(part);
            failed |= done.is_err();
            findings.extend(done.unwrap_or_else(Some));
        }
        if failed { Err(findings) } else { Ok(findings) }
    }

    /// Changes the documents by a part of a patch. What is returned is a warning.
    pub(super) fn apply_part(&mut self, part: &Part) -> Result<Option<Diagnostic>, Diagnostic> {
        match part {
            Part::Delete(deletion) => deletion.apply(self),
            Part::Merge(document) => self.merge(document).map(|()| None),
            Part::Operation(operation) => self.operate(operation).map(|()| None),
        }
    }

    /// Lays a document over the one of its kind and name, or adds it.
    ///
    /// # Errors
    ///
    /// A value of one type over a value of another, in what has no type of its own.
    pub fn merge(&mut self, document: &Document) -> Result<(), Diagnostic> {
        let schema = self.schema;
        let (kind, name) = (document.kind(), document.name());
        let Some(known) = schema.kind(kind) else { return Ok(()) };
        let named = known.named.then_some(name);
        match self.get_mut(kind, named) {
            Some(tree) => merge::merge(schema, &schema.root(known), tree, document.tree()),
            None => {
                self.push(document.clone());
                Ok(())
            }
        }
    }

    fn operate(&mut self, operation: &json::Operation) -> Result<(), Diagnostic> {
        let schema = self.schema;
        let Some(main) = self.get_mut(MAIN, None) else {
            return Err(operation.error("the config has no document of machine and cluster"));
        };
        let mut value = main.clone();
        operation.apply(schema, &mut value)?;
        *main = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
