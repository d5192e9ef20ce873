//! What Talos itself says of one config, before a node sees it.
//!
//! In: the documents of one node. Out: findings, errors and warnings divided as Talos divides
//! them; its strict mode takes the warnings about the document of machine and cluster for errors,
//! and so may our caller ([`STRICT`]).
//!
//! Source: Talos `pkg/machinery/config/container` (`container.go`, `validate.go`) and each
//! `Validate` and `V1Alpha1ConflictValidate` under `pkg/machinery/config/types`, in the releases
//! v1.12.7, v1.13.9 and v1.14.1. What one release checks and another does not says so where it is.
//!
//! Not here: what the decoder refuses (`decode`), and what only a running node can tell: whether
//! a disk matches, whether a volume may still move.

use super::documents::Documents;
use super::schema::MAIN;
use super::tree::Tree;
use crate::report::Diagnostic;

mod bgp;
mod block;
mod cluster;
pub mod codes;
mod conflict;
mod container;
mod device;
mod discovery;
mod found;
mod go;
mod image;
mod k8s;
pub mod kubernetes;
mod link;
mod machine;
mod manifest;
mod name;
mod network;
mod pem;
mod plane;
mod runtime;
mod selector;
mod spec;
mod storage;
mod subnet;
mod url;
mod view;
mod whole;

use found::Found;

/// Where Talos runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a machine that it is installed on.
    Metal,
    /// In a cloud, which brings the disk image.
    Cloud,
    /// In a container.
    Container,
}

/// The prefix of the codes of warnings that Talos' strict mode takes for errors.
pub const STRICT: &str = "talos-main-";

/// What a rule may know besides its document.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// The minor version of Talos 1.
    minor: u32,
    mode: Mode,
}

/// The rules of one kind of document.
type Rule = fn(&Tree, Context, &mut Found);

/// Says what Talos would: of each document, of the document of machine and cluster and another
/// together, and of all of them.
pub fn check(documents: &Documents, mode: Mode) -> Vec<Diagnostic> {
    let context = Context { minor: documents.schema.minor, mode };
    let mut found = Found::new();
    for document in documents.iter() {
        if document.kind() == MAIN {
            machine::check(document.tree(), context, &mut found);
        } else if let Some(rule) = rule(document.kind()) {
            rule(document.tree(), context, &mut found);
        }
    }
    if let Some(main) = documents.main() {
        conflict::with_main(documents, main, &mut found);
    }
    conflict::of_kinds(documents, &mut found);
    if context.minor >= 14 {
        whole::check(documents, context, &mut found);
    }
    found.into_list()
}

/// The rules of a kind; nothing where Talos has none.
fn rule(kind: &str) -> Option<Rule> {
    let tables: [&[(&str, Rule)]; 9] = [
        link::RULES,
        network::RULES,
        bgp::RULES,
        block::RULES,
        storage::RULES,
        k8s::RULES,
        runtime::RULES,
        discovery::RULES,
        container::RULES,
    ];
    let mut rules = tables.into_iter().flatten();
    rules.find(|(name, _)| *name == kind).map(|&(_, rule)| rule)
}

#[cfg(test)]
mod tests;
