//! A machine config that is being made: its documents, typed and changeable.
//!
//! In: text, or documents that a caller makes. Out: text again, Talos' own of the same values. A
//! document that nobody changes keeps its text, byte for byte.
//!
//! Source: Talos `pkg/machinery/config/configloader/internal/decoder/decoder.go` (identity),
//! `pkg/machinery/config/container/container.go`.
//!
//! Not here: reading (`decode`), writing (`emit`) and patching (`patch`) themselves.

use std::fmt;
use std::sync::Arc;

use super::schema::{Kind, MAIN, Schema};
use super::tree::Tree;
use super::{decode, emit};
use crate::report::Diagnostic;

/// The documents of one config, for one version of Talos.
#[derive(Clone)]
pub struct Documents {
    /// What that version reads.
    pub schema: &'static Schema,
    list: Vec<Document>,
}

/// A document.
#[derive(Clone)]
pub struct Document {
    kind: &'static str,
    tree: Tree,
    /// Its text as it was read, as long as it is unchanged.
    source: Option<Arc<str>>,
}

impl Documents {
    /// None yet.
    pub fn new(schema: &'static Schema) -> Self {
        Self { schema, list: Vec::new() }
    }

    /// Reads a config as Talos reads it at boot. `file` is its path as the user would write it.
    ///
    /// # Errors
    ///
    /// Everything that Talos' decoder refuses, each with its place.
    pub fn decode(
        schema: &'static Schema,
        file: &str,
        bytes: &[u8],
    ) -> Result<Self, Vec<Diagnostic>> {
        Ok(Self { schema, list: decode::config(schema, file, bytes)? })
    }

    /// Writes the config.
    pub fn encode(&self) -> String {
        emit::config(self)
    }

    /// The documents in order.
    pub fn iter(&self) -> impl Iterator<Item = &Document> {
        self.list.iter()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a document behind the others.
    pub fn push(&mut self, document: Document) {
        self.list.push(document);
    }

    /// The document of machine and cluster.
    pub fn main(&self) -> Option<&Tree> {
        self.get(MAIN, None)
    }

    /// The document of a kind, and of a name where the kind has names.
    pub fn get(&self, kind: &str, name: Option<&str>) -> Option<&Tree> {
        self.list.iter().find(|document| document.is(kind, name)).map(Document::tree)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, kind: &str, name: Option<&str>) -> Option<&mut Tree> {
        let found = self.list.iter_mut().find(|document| document.is(kind, name));
        found.map(Document::tree_mut)
    }

    /// The same, made with nothing in it but its name where there is none.
    ///
    /// # Panics
    ///
    /// Where the version has no such kind: callers write only kinds that they know it has.
    pub fn open(&mut self, kind: &str, name: Option<&str>) -> &mut Tree {
        let at = self.list.iter().position(|document| document.is(kind, name));
        let at = at.unwrap_or_else(|| {
            let known = self.schema.kind(kind).map(|kind| Document::new(kind, Tree::empty()));
            let Some(mut document) = known else { unreachable!("{kind} is a kind") };
            name.iter().for_each(|&name| document.tree.set("name", name));
            self.list.push(document);
            self.list.len() - 1
        });
        self.list[at].tree_mut()
    }

    /// All documents of a kind.
    pub fn all<'d>(&'d self, kind: &'d str) -> impl Iterator<Item = &'d Tree> {
        self.list.iter().filter(move |document| document.kind == kind).map(Document::tree)
    }

    /// Takes out a document. Nothing happens where there is none.
    pub fn remove(&mut self, kind: &str, name: Option<&str>) {
        self.list.retain(|document| !document.is(kind, name));
    }

    /// The documents, to change them at will.
    pub fn list_mut(&mut self) -> &mut Vec<Document> {
        &mut self.list
    }
}

impl Document {
    /// A document of a kind. `apiVersion` and `kind` need not be in the tree.
    pub fn new(kind: &Kind, tree: Tree) -> Self {
        Self { kind: kind.name, tree, source: None }
    }

    /// The same document, with the text that it was read from.
    pub(super) fn with_source(self, source: &str) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The name of its kind, [`MAIN`] for the one without.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its name; empty where it has none.
    pub fn name(&self) -> &str {
        self.tree.text_at(&["name"]).unwrap_or_default()
    }

    /// Its values.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Its values, to change them: from now on it is written anew.
    pub fn tree_mut(&mut self) -> &mut Tree {
        self.source = None;
        &mut self.tree
    }

    /// Its text as it was read, if it is unchanged.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether it is the one of a kind and, where one is given, a name.
    pub fn is(&self, kind: &str, name: Option<&str>) -> bool {
        self.kind == kind && name.is_none_or(|name| self.name() == name)
    }
}

/// The kinds, never the values: they are full of secrets.
impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

/// The kind, never the values: they are full of secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}
