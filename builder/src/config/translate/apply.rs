//! A patch in either style on a config in either style.
//!
//! In: documents and a patch. Out: the documents, changed.
//!
//! Source: as `super`.
//!
//! Not here: what a field becomes.

use super::{MachineType, fragment};
use crate::config::documents::Documents;
use crate::config::patch::{Part, Patch};
use crate::config::schema::MAIN;
use crate::config::tree::Tree;
use crate::report::{Diagnostic, Severity};

/// The document that a config in Talos 1.14's style always has, and an older one never.
const NEW_STYLE: &str = "KubeClusterConfig";

pub(super) fn apply(
    documents: &mut Documents,
    patch: &Patch,
    role: MachineType,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    if documents.all(NEW_STYLE).next().is_none() {
        return documents.apply(patch);
    }
    let mut work = Work { documents, role, deletes: Vec::new(), findings: Vec::new() };
    for part in patch.parts() {
        match (part, part.deleted_in_main()) {
            (_, Some(path)) => work.deletes.push(path),
            (Part::Merge(document), None) if document.kind() == MAIN => {
                work.fragment(document.tree());
            }
            (Part::Operation(_), None) => work.operation(part),
            (_, None) => work.part(part),
        }
    }
    if !work.deletes.is_empty() {
        work.fragment(&Tree::empty());
    }
    let findings = work.findings;
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    if failed { Err(findings) } else { Ok(findings) }
}

struct Work<'d> {
    documents: &'d mut Documents,
    role: MachineType,
    /// What the next fragment deletes.
    deletes: Vec<Vec<String>>,
    findings: Vec<Diagnostic>,
}

impl Work<'_> {
    fn part(&mut self, part: &Part) {
        let done = self.documents.apply_part(part);
        self.findings.extend(done.unwrap_or_else(Some));
    }

    fn fragment(&mut self, tree: &Tree) {
        let deletes = std::mem::take(&mut self.deletes);
        match fragment(self.documents.schema, tree, self.role, &deletes) {
            Ok(translated) => {
                self.findings.extend_from_slice(&translated.warnings);
                self.findings.extend(translated.apply(self.documents).err().unwrap_or_default());
            }
            Err(problems) => self.findings.extend(problems),
        }
    }

    /// An operation works on the document of machine and cluster; what it puts there in the older
    /// style is translated then.
    fn operation(&mut self, part: &Part) {
        self.part(part);
        let Some(main) = self.documents.main().cloned() else { return };
        match fragment(self.documents.schema, &main, self.role, &[]) {
            Ok(translated) => {
                if let Some(tree) = self.documents.get_mut(MAIN, None) {
                    tree.clone_from(&translated.main);
                }
                let merged = translated.without_main().apply(self.documents);
                self.findings.extend_from_slice(&translated.warnings);
                self.findings.extend(merged.err().unwrap_or_default());
            }
            Err(problems) => self.findings.extend(problems),
        }
    }
}
