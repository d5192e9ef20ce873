//! Fragments in the older style of Talos as the documents of Talos 1.14 that mean the same.
//!
//! In: the document of machine and cluster of a patch. Out: what of it stays there, the documents
//! that have the rest, and what is to be deleted; or why not, with the new form beside.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/v1alpha1/v1alpha1_k8s_bridge.go`,
//! `v1alpha1_network_bridge.go`, `v1alpha1_cri_bridge.go`, `v1alpha1_provider.go` (what the older
//! fields answer to the questions that the documents answer too), each document's
//! `V1Alpha1ConflictValidate` (1.14 refuses a field in both styles), and
//! `internal/app/machined/pkg/controllers/network/` (what an older interface becomes).
//!
//! Not here: how documents are merged (`patch`), and whether the outcome is a good config (`valid`).

use super::MachineType;
use super::documents::{Document, Documents};
use super::patch::Patch;
use super::schema::{MAIN, Schema};
use super::tree::Tree;
use crate::report::{Diagnostic, Severity};
use crate::talos::Role;

mod apply;
mod clean;
mod cluster;
mod delete;
mod install;
mod links;
mod machine;
mod output;
mod registry;
mod selector;
mod table;

use output::Output;

/// A fragment, translated.
#[derive(Clone, Debug)]
pub struct Translated {
    /// What stays in the document of machine and cluster; empty where nothing does.
    pub main: Tree,
    /// What has to go first. What is not there need not go.
    pub deletes: Vec<Delete>,
    /// Values that a config takes where it has none of its own, older Talos' defaults among them.
    pub beneath: Vec<Document>,
    /// The documents to merge, each at most once.
    pub documents: Vec<Document>,
    /// What is worth knowing of the outcome.
    pub warnings: Vec<Diagnostic>,
}

/// A part of a config to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The kind of document, [`MAIN`] for the one without.
    pub kind: &'static str,
    /// The document's name; none is all of the kind.
    pub name: Option<String>,
    /// The keys that lead to the value; none is the document as a whole.
    pub path: Vec<String>,
}

impl Translated {
    /// Changes a config as the fragment would have changed one of the older style: deletes, lays
    /// `beneath` under what the config has, and merges the rest.
    ///
    /// # Errors
    ///
    /// As [`Documents::merge`]. The config is then half changed, and of no use.
    pub fn apply(&self, config: &mut Documents) -> Result<(), Vec<Diagnostic>> {
        self.prepare(config);
        let main = config.schema.kind(MAIN).filter(|_| !self.main.entries().is_empty());
        let main = main.map(|kind| Document::new(kind, self.main.clone()));
        let merged = main.iter().chain(&self.documents).map(|document| config.merge(document));
        let problems: Vec<Diagnostic> = merged.filter_map(Result::err).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The same, with nothing left for the document of machine and cluster.
    fn without_main(&self) -> Self {
        Self { main: Tree::empty(), ..self.clone() }
    }

    fn prepare(&self, config: &mut Documents) {
        for delete in &self.deletes {
            let Some((last, parents)) = delete.path.split_last() else {
                config.remove(delete.kind, delete.name.as_deref());
                continue;
            };
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            let found = config.get_mut(delete.kind, delete.name.as_deref());
            if let Some(parent) = found.and_then(|tree| tree.at_mut(&parents)) {
                parent.remove(last);
            }
        }
        for document in &self.beneath {
            let name = Some(document.name()).filter(|name| !name.is_empty());
            if config.schema.kind(document.kind()).is_some() {
                fill(config.open(document.kind(), name), document.tree());
            }
        }
    }
}

/// Sets what is absent.
fn fill(tree: &mut Tree, from: &Tree) {
    for (key, value) in from.entries() {
        match tree.get_mut(key) {
            Some(present) if !value.entries().is_empty() => fill(present, value),
            Some(_) => {}
            None => tree.set(key, value.clone()),
        }
    }
}

/// Translates a fragment for a machine of a type.
///
/// `fragment` is the document of machine and cluster as a patch has it, `deletes` the paths of its
/// `$patch: delete` marks (the last key of a list's element is the element's name).
///
/// What only control planes read is left out for any other machine: Talos refuses the documents
/// there, and never read the older fields.
///
/// What `fragment` says of itself has to be merged in the older style before: two fragments that
/// both name search domains, say, are translated as one.
///
/// # Errors
///
/// Each field that has no certain counterpart, at its place, with the new form as help.
pub fn fragment(
    schema: &'static Schema,
    fragment: &Tree,
    role: MachineType,
    deletes: &[Vec<String>],
) -> Result<Translated, Vec<Diagnostic>> {
    let mut rest = fragment.clone();
    if let Some(main) = schema.kind(MAIN) {
        clean::clean(schema, &schema.root(main), &mut rest);
    }
    let mut output = Output::new(schema, role);
    if role != MachineType::ControlPlane {
        table::drop_control_plane(&mut rest);
    }
    table::translate(&mut rest, &mut output);
    machine::translate(&mut rest, &mut output);
    cluster::translate(&mut rest, &mut output);
    delete::translate(deletes, fragment, &mut output);
    output.leftovers("", &rest);
    finish(output)
}

/// Changes a config by a patch, in whichever style each of them is: where the config is one of Talos
/// 1.14's documents, what the patch says in the older style is translated. What is returned are
/// warnings.
///
/// # Errors
///
/// As [`fragment`] and [`Documents::apply`]. The config is then half changed, and of no use.
pub fn apply(
    documents: &mut Documents,
    patch: &Patch,
    role: Role,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let machine = match role {
        Role::ControlPlane => MachineType::ControlPlane,
        Role::Worker => MachineType::Worker,
    };
    apply::apply(documents, patch, machine)
}

/// Translates `machine.network.interfaces` alone: there are documents for links since Talos 1.12.
///
/// # Errors
///
/// As [`fragment`].
pub fn interfaces(
    schema: &'static Schema,
    interfaces: &Tree,
    role: MachineType,
) -> Result<Translated, Vec<Diagnostic>> {
    let mut output = Output::new(schema, role);
    links::translate(interfaces, &mut output);
    finish(output)
}

fn finish(output: Output) -> Result<Translated, Vec<Diagnostic>> {
    let (translated, problems) = output.finish();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(translated)
}

#[cfg(test)]
mod tests;
