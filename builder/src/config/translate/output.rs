//! What a translation has found so far.
//!
//! In: values and where they belong. Out: a `Translated`, and the findings.
//!
//! Source: none.
//!
//! Not here: what belongs where.

use std::mem;

use super::{Delete, Translated, clean};
use crate::config::MachineType;
use crate::config::documents::Document;
use crate::config::schema::{Schema, Type};
use crate::config::tree::{Data, Tree};
use crate::report::{Diagnostic, Place};

/// A document that grows: its kind, its name and its values.
#[derive(Debug)]
struct Draft {
    kind: &'static str,
    name: Option<String>,
    tree: Tree,
    place: Option<Place>,
}

/// Where all parts of a translation write to.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) schema: &'static Schema,
    pub(super) role: MachineType,
    pub(super) main: Tree,
    drafts: Vec<Draft>,
    beneath: Vec<Draft>,
    deletes: Vec<Delete>,
    warnings: Vec<Diagnostic>,
    problems: Vec<Diagnostic>,
}

impl Output {
    pub(super) fn new(schema: &'static Schema, role: MachineType) -> Self {
        Self {
            schema,
            role,
            main: Tree::empty(),
            drafts: Vec::new(),
            beneath: Vec::new(),
            deletes: Vec::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A document to merge; `because` is the value that asks for it.
    pub(super) fn open(
        &mut self,
        kind: &'static str,
        name: Option<&str>,
        because: &Tree,
    ) -> &mut Tree {
        open(&mut self.drafts, kind, name, because.place())
    }

    /// Puts a value into a document without a name.
    pub(super) fn put(&mut self, kind: &'static str, path: &str, value: Tree) {
        let path: Vec<&str> = path.split('.').collect();
        let because = value.place();
        open(&mut self.drafts, kind, None, because).set_at(&path, value);
    }

    /// Puts a value where the config has none.
    pub(super) fn beneath(
        &mut self,
        kind: &'static str,
        name: Option<&str>,
        path: &[&str],
        value: impl Into<Tree>,
    ) {
        open(&mut self.beneath, kind, name, None).set_at(path, value);
    }

    /// Deletes something first.
    pub(super) fn delete(&mut self, kind: &'static str, name: Option<&str>, path: &[&str]) {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        let delete = Delete { kind, name: name.map(str::to_owned), path };
        if !self.deletes.contains(&delete) {
            self.deletes.push(delete);
        }
    }

    /// Refuses a value.
    pub(super) fn refuse(&mut self, at: &Tree, message: impl Into<String>, help: &str) {
        self.problem(at.error("translate-refused", message).help(help));
    }

    /// Refuses a value that is none of its kind.
    pub(super) fn invalid(&mut self, at: &Tree, message: impl Into<String>, help: &str) {
        self.problem(at.error("translate-value", message).help(help));
    }

    pub(super) fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }

    /// Whether there is a document of a kind to merge.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.drafts.iter().any(|draft| draft.kind == kind)
    }

    /// The document of a kind and a name, if it has been opened.
    pub(super) fn get_mut(&mut self, kind: &str, name: &str) -> Option<&mut Tree> {
        let is = |draft: &&mut Draft| draft.kind == kind && draft.name.as_deref() == Some(name);
        self.drafts.iter_mut().find(is).map(|draft| &mut draft.tree)
    }

    /// The kind of the first of some documents that has a name.
    pub(super) fn kind_of(&self, kinds: &[&str], name: &str) -> Option<&'static str> {
        let is =
            |draft: &&Draft| kinds.contains(&draft.kind) && draft.name.as_deref() == Some(name);
        self.drafts.iter().find(is).map(|draft| draft.kind)
    }

    /// Refuses what nobody took: a field that a translation forgets is never lost.
    pub(super) fn leftovers(&mut self, path: &str, rest: &Tree) {
        match rest.data() {
            Data::Map(entries) => {
                for (key, value) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.leftovers(&format!("{path}{dot}{key}"), value);
                }
            }
            Data::List(items) if items.is_empty() => {}
            _ => {
                let minor = self.schema.minor;
                let message =
                    format!("`{path}` has no counterpart that is known for Talos 1.{minor}");
                let help = "write the document of Talos that has it now, or drop it";
                self.problem(rest.error("translate-unknown", message).help(help));
            }
        }
    }

    /// The outcome, and the findings that are in its way.
    pub(super) fn finish(mut self) -> (Translated, Vec<Diagnostic>) {
        let (drafts, beneath) = (mem::take(&mut self.drafts), mem::take(&mut self.beneath));
        let documents = self.documents(drafts);
        let beneath = self.documents(beneath);
        let (schema, role) = (self.schema, self.role);
        self.deletes.retain(|delete| !foreign(schema, role, delete.kind));
        let translated = Translated {
            main: self.main,
            deletes: self.deletes,
            beneath,
            documents,
            warnings: self.warnings,
        };
        (translated, self.problems)
    }

    /// The drafts as documents, where this version of Talos has their kinds and keys.
    fn documents(&mut self, drafts: Vec<Draft>) -> Vec<Document> {
        let mut documents = Vec::new();
        for draft in drafts {
            if foreign(self.schema, self.role, draft.kind) {
                continue;
            }
            let lacking = lacking(self.schema, &draft);
            let Some(kind) = self.schema.kind(draft.kind).filter(|_| lacking.is_none()) else {
                let what = lacking.unwrap_or_default();
                let minor = self.schema.minor;
                let message = format!("Talos 1.{minor} has no {what}, which this asks for");
                let problem = Diagnostic::error("translate-version", message)
                    .help("drop it, or take a Talos that has it");
                self.problem(match draft.place {
                    Some(place) => problem.at(place),
                    None => problem,
                });
                continue;
            };
            clean::conform(self.schema, &self.schema.root(kind), &draft.tree, &mut self.problems);
            documents.push(Document::new(kind, draft.tree));
        }
        documents
    }
}

/// Whether a document is for control planes and the machine is none.
fn foreign(schema: &Schema, role: MachineType, kind: &str) -> bool {
    let controlplane = schema.kind(kind).is_some_and(|kind| kind.controlplane);
    controlplane && role != MachineType::ControlPlane
}

/// What a version has not: the kind of a document, or a key at its root.
fn lacking(schema: &Schema, draft: &Draft) -> Option<String> {
    let Some(kind) = schema.kind(draft.kind) else { return Some(draft.kind.to_owned()) };
    let Type::Struct(root) = schema.root(kind) else { return None };
    let structure = schema.structure(root);
    let mut keys = draft.tree.entries().iter().map(|(key, _)| key);
    let key = keys.find(|key| structure.field(key).is_none())?;
    Some(format!("`{key}` in {}", draft.kind))
}

fn open<'d>(
    drafts: &'d mut Vec<Draft>,
    kind: &'static str,
    name: Option<&str>,
    place: Option<Place>,
) -> &'d mut Tree {
    let at = drafts.iter().position(|draft| draft.kind == kind && draft.name.as_deref() == name);
    let at = at.unwrap_or_else(|| {
        let tree = Tree::map(name.map(|name| ("name", Tree::from(name))));
        let draft = Draft { kind, name: name.map(str::to_owned), tree, place };
        drafts.push(draft);
        drafts.len() - 1
    });
    &mut drafts[at].tree
}

/// A mapping whose keys are taken one after the other, so that none is forgotten.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where it stands, for messages.
    pub(super) path: String,
    /// What nobody has taken yet.
    pub(super) rest: Tree,
}

impl Fields {
    pub(super) fn new(path: impl Into<String>, rest: Tree) -> Self {
        Self { path: path.into(), rest }
    }

    /// Takes the value at a key out.
    pub(super) fn take(&mut self, key: &str) -> Option<Tree> {
        self.rest.remove(key)
    }

    /// Takes a mapping at a key out, empty where there is none.
    pub(super) fn section(&mut self, key: &str) -> Self {
        let path = format!("{}.{key}", self.path);
        Self::new(path, self.take(key).unwrap_or_else(Tree::empty))
    }

    /// Takes the text at a key out. One that is empty is none.
    pub(super) fn text(&mut self, key: &str) -> Option<(Tree, String)> {
        let value = self.take(key)?;
        let text = value.text()?.to_owned();
        (!text.is_empty()).then_some((value, text))
    }

    /// Takes the switch at a key out.
    pub(super) fn bool(&mut self, key: &str) -> Option<bool> {
        self.take(key)?.bool()
    }

    /// Takes the items of the list at a key out.
    pub(super) fn items(&mut self, key: &str) -> Vec<Tree> {
        self.take(key).map(|list| list.items().to_vec()).unwrap_or_default()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.entries().is_empty()
    }

    /// Refuses what is left.
    pub(super) fn finish(self, output: &mut Output) {
        output.leftovers(&self.path, &self.rest);
    }
}

/// Takes the value at a path of keys out.
pub(super) fn take(tree: &mut Tree, path: &str) -> Option<Tree> {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let parents: Vec<&str> = parents.split('.').filter(|key| !key.is_empty()).collect();
    tree.at_mut(&parents)?.remove(last)
}

/// Takes a mapping at a path of keys out, if there is one.
pub(super) fn section(tree: &mut Tree, path: &str) -> Option<Fields> {
    take(tree, path).map(|section| Fields::new(path, section))
}
