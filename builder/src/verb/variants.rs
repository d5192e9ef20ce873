//! The boot assets with the system extensions that each node wants, and the files of its board.
//!
//! In: boot assets, and the nodes' plans. Out: assets for each set of extensions, and the files of each
//! board, made once; digests of all of them.
//!
//! Source: none.
//!
//! Not here: how extensions are checked and laid over a base (`extension`).

use crate::asset::Assets;
use crate::asset::board::{self, Board};
use crate::blob::Blob;
use crate::catalog;
use crate::digest::Digest;
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
pub(super) struct Variants(Vec<Variant>);

#[derive(Debug)]
struct Variant {
    set: Vec<TreeSource>,
    assets: Result<Assets, Failure>,
    /// The digest of all that the assets are; nothing where there are none.
    digest: Option<Digest>,
}

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
        let mut made: Vec<Variant> = Vec::new();
        for plan in plans {
            if made.iter().all(|variant| variant.set != plan.extensions) {
                let assets = extended(site, base, plan, supplier, memo, progress);
                let digest =
                    assets.as_ref().ok().and_then(|assets| digest(assets, &plan.extensions));
                made.push(Variant { set: plan.extensions.clone(), assets, digest });
            }
        }
        Self(made)
    }

    /// The assets of a plan.
    pub(super) fn of(&self, plan: &NodePlan) -> Result<&Assets, Failure> {
        let variant = self.variant(plan).expect("the plan was among those that they were made for");
        variant.assets.as_ref().map_err(Clone::clone)
    }

    /// The digest of the assets of a plan, where there are any.
    pub(super) fn digest(&self, plan: &NodePlan) -> Option<Digest> {
        self.variant(plan)?.digest
    }

    fn variant(&self, plan: &NodePlan) -> Option<&Variant> {
        self.0.iter().find(|variant| variant.set == plan.extensions)
    }
}

/// The digest of assets, by their inputs' and what was laid over them.
fn digest(assets: &Assets, set: &[TreeSource]) -> Option<Digest> {
    let inputs = assets.inputs.iter().map(|input| format!("{} {}\n", input.name, input.digest));
    let mut text: String = inputs.collect();
    if !set.is_empty() {
        text += &Digest::of_blob(&assets.initramfs.blob).ok()?.to_string();
    }
    Some(Digest::of(text.as_bytes()))
}

/// The files of boards.
#[derive(Debug, Default)]
pub(super) struct Boards(Vec<(catalog::board::Board, Board, Option<Digest>)>);

impl Boards {
    /// Opens those that the plans want.
    ///
    /// # Errors
    ///
    /// Where one cannot be had.
    pub(super) fn open(plans: &[NodePlan], supplier: &mut Supplier<'_>) -> Result<Self, Failure> {
        let mut open: Vec<(catalog::board::Board, Board, Option<Digest>)> = Vec::new();
        for plan in plans {
            let Some(needs) = &plan.board else { continue };
            if open.iter().any(|(known, ..)| known == needs) {
                continue;
            }
            let tree = supplier.artifacts(&needs.artifacts)?;
            let board = board::open(needs, &tree).map_err(|error| {
                let message = format!("node `{}`: {}", plan.name, chain(&error));
                let diagnostic = Diagnostic::error("board", message).help(error.help());
                Failure::new(Cause::Assets, diagnostic)
            })?;
            let files = board.raw.iter().map(|(_, blob)| blob);
            let files = files.chain(board.esp.iter().map(|file| &file.content));
            let digest = digest_of(files);
            open.push((needs.clone(), board, digest));
        }
        Ok(Self(open))
    }

    /// The files of a plan's board, if it is one.
    pub(super) fn of(&self, plan: &NodePlan) -> Option<&Board> {
        self.find(plan).map(|(_, board, _)| board)
    }

    /// The digest of the files of a plan's board: that of nothing where it is none.
    pub(super) fn digest(&self, plan: &NodePlan) -> Option<Digest> {
        match &plan.board {
            None => Some(Digest::of(b"")),
            Some(_) => self.find(plan).and_then(|(.., digest)| *digest),
        }
    }

    fn find(&self, plan: &NodePlan) -> Option<&(catalog::board::Board, Board, Option<Digest>)> {
        self.0.iter().find(|(needs, ..)| Some(needs) == plan.board.as_ref())
    }
}

/// The digest of files, one after another; nothing where one cannot be read.
pub(super) fn digest_of<'b>(files: impl Iterator<Item = &'b Blob>) -> Option<Digest> {
    let digest = |file: &Blob| Digest::of_blob(file).ok().map(|digest| digest.to_string());
    let text: String = files.map(digest).collect::<Option<_>>()?;
    Some(Digest::of(text.as_bytes()))
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
