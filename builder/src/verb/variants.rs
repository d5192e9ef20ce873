//! The boot assets with the system extensions that each node wants.
//!
//! In: boot assets, and the nodes' plans. Out: assets for each set of extensions, made once.
//!
//! Source: none.
//!
//! Not here: how extensions are checked and laid over a base (`extension`).

use crate::asset::Assets;
use crate::extension::lay::LayError;
use crate::extension::problem::ExtensionProblem;
use crate::extension::{self, Extension};
use crate::inspect::memo::Memo;
use crate::plan::NodePlan;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::site::{Site, TreeSource};
use crate::verb::supply::Supplier;
use crate::verb::{Cause, Failure, chain};

/// Assets by the extensions that are laid over them.
#[derive(Debug, Default)]
pub(super) struct Variants(Vec<(Vec<TreeSource>, Result<Assets, Failure>)>);

impl Variants {
    /// Makes all that the plans want. What cannot be made fails the nodes that want it.
    pub(super) fn make(
        site: &Site,
        base: &Assets,
        plans: &[NodePlan],
        supplier: &mut Supplier<'_>,
        memo: &mut Memo,
        progress: &Progress,
    ) -> Self {
        let mut made: Vec<(Vec<TreeSource>, Result<Assets, Failure>)> = Vec::new();
        for plan in plans {
            if made.iter().all(|(set, _)| *set != plan.extensions) {
                let assets = extended(site, base, plan, supplier, memo, progress);
                made.push((plan.extensions.clone(), assets));
            }
        }
        Self(made)
    }

    /// The assets of a plan.
    pub(super) fn of(&self, plan: &NodePlan) -> Result<&Assets, Failure> {
        let found = self.0.iter().find(|(set, _)| *set == plan.extensions);
        let (_, assets) = found.expect("the plan was among those that they were made for");
        assets.as_ref().map_err(Clone::clone)
    }
}

fn extended(
    site: &Site,
    base: &Assets,
    plan: &NodePlan,
    supplier: &mut Supplier<'_>,
    memo: &mut Memo,
    progress: &Progress,
) -> Result<Assets, Failure> {
    if plan.extensions.is_empty() {
        return Ok(base.clone());
    }
    let mut extensions = Vec::new();
    let mut failed: Option<Failure> = None;
    for source in &plan.extensions {
        match checked(site, source, supplier) {
            Ok(extension) => extensions.push(extension),
            Err(failure) => match &mut failed {
                Some(all) => {
                    all.cause = all.cause.max(failure.cause);
                    all.diagnostics.extend(failure.diagnostics);
                }
                None => failed = Some(failure),
            },
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    tell(&extensions, progress);
    let laid = extension::lay_over(&base.initramfs, &extensions, plan.epoch, &supplier.store, memo);
    let initramfs = laid.map_err(|error| lay_failure(&error))?;
    Ok(Assets { initramfs, ..base.clone() })
}

/// An extension that Talos takes.
fn checked(
    site: &Site,
    source: &TreeSource,
    supplier: &mut Supplier<'_>,
) -> Result<Extension, Failure> {
    let tree = supplier.extension(source)?;
    let found = extension::check(&source.name(), &tree, &site.cluster.talos, site.boot.arch);
    found.map_err(|problems| {
        let about = |problem: &ExtensionProblem| {
            Diagnostic::error("extension", problem.to_string()).help(problem.wrong.help())
        };
        Failure { cause: Cause::Assets, diagnostics: problems.iter().map(about).collect() }
    })
}

/// What is odd about extensions, alone and together.
fn tell(extensions: &[Extension], progress: &Progress) {
    let own = extensions.iter().flat_map(|extension| extension.notes.clone());
    for note in own.chain(extension::overlaps(extensions)) {
        progress.diagnostic(&Diagnostic::warning("extension-odd", note.to_string()));
    }
}

fn lay_failure(error: &LayError) -> Failure {
    let diagnostic = Diagnostic::error("extension", chain(error)).help(error.help());
    Failure::new(Cause::Assets, diagnostic)
}
