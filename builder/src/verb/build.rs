//! `talforge build`: every node's medium, read back before it gets its name.
//!
//! In: the site file. Out: media, `SHA256SUMS` and `manifest.json` in the output folder.
//!
//! Source: none.
//!
//! Not here: what a medium is made of (`payload`, `layout`), how many are built at once (`fleet`),
//! which need not be built (`state`), and the manifest (`manifest`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use crate::asset::grub::{self, Grub};
use crate::asset::{self, Assets};
use crate::blob::Blob;
use crate::catalog::Output;
use crate::catalog::value::Firmware;
use crate::cli::Build;
use crate::digest::Digest;
use crate::layout::LayoutError;
use crate::oci::ImageSource;
use crate::payload::PayloadError;
use crate::plan::{Embedding, Medium, NodePlan};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::file::{Batch, Extra, Written};
use crate::sink::name::Name;
use crate::sink::{Access, SinkError};
use crate::site::{AssetSource, Site};
use crate::talos::Version;
use crate::verb::encode::Formats;
use crate::verb::fleet::{self, Fleet, Outcome, Parts, Worker};
use crate::verb::interrupt::Interrupt;
use crate::verb::manifest::{self, MANIFEST, Manifest};
use crate::verb::state::{self, MadeFrom, Present, State};
use crate::verb::supply::{Look, Supplier};
use crate::verb::variants::{self, Boards, Variants};
use crate::verb::{Cause, Failure, asset_failure, chain, decide, shard};

/// The most nodes that a message names.
const NAMED: usize = 20;

/// Builds the media.
///
/// # Errors
///
/// Where the site, the assets or the machine do not allow it. A node that fails does not keep the
/// others from being built; no failed node leaves a file under a final name.
pub fn build(args: &Build, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let (site, mut plans) = decide(&args.site, &args.nodes, now, progress)?;
    let part = shard::take(args.shard, &site, &mut plans, progress);
    let known = State::load(&args.out);
    let local = state::sources(&site, &plans);
    if !args.force && manifest::is_of(&args.out, part.as_ref()) {
        let sources = state::with_lock(local.as_ref(), &site);
        if let Some(files) = known.all_unchanged(&plans, sources.as_ref(), &args.out) {
            tell_unchanged(&plans, &files, &args.out, progress);
            return Ok(());
        }
    }
    let mut worker = Worker::default();
    let mut supplier = Supplier::open(&site, &args.sources, Look::Locked, progress)?;
    let mut ready = Ready::default();
    let mut inputs = Vec::new();
    if !boots_nothing(&site) {
        let supply = supplier.assets()?;
        let assets = asset::open(&supply, site.boot.arch, &supplier.store, &mut worker.memo);
        let assets = assets.map_err(|error| asset_failure(&error))?;
        check_release(&site, &assets)?;
        supplier.judge(&assets.inputs)?;
        warn_of_signature(&assets, &plans, progress);
        ready.grub = open_grub(&site, &assets, &plans)?;
        let memo = &mut worker.memo;
        ready.variants = Variants::make(&site, &assets, &plans, &mut supplier, memo, progress);
        inputs = assets.inputs;
    }
    ready.boards = Boards::open(&plans, &mut supplier)?;
    let batch = Batch::open(&args.out).map_err(|error| sink_failure(&error))?;
    let manifest = Manifest::new(&site, &inputs, &supplier, part, &args.out);
    supplier.keep(args.nodes.is_empty() && args.shard.is_none())?;
    // What was read is what is there still: else nothing is known of it.
    let local = local.filter(|local| state::sources(&site, &plans).as_ref() == Some(local));
    let sources = state::with_lock(local.as_ref(), &site);
    let run = Run { args, plans: &plans, ready, sources, progress };
    run.build(batch, manifest, known, worker)
}

/// Whether all of a site's media are seeds, so that its boot assets are not looked at.
fn boots_nothing(site: &Site) -> bool {
    site.nodes.iter().all(|node| matches!(node.profile.output, Output::Seed(_)))
}

/// All that media are made from, opened.
#[derive(Debug, Default)]
struct Ready {
    variants: Variants,
    grub: Option<Grub>,
    boards: Boards,
}

impl Ready {
    /// The digest of all that a node's medium is made from, beside its plan; nothing where
    /// something cannot be had.
    fn digest(&self, plan: &NodePlan, grub: Option<Digest>) -> Option<String> {
        let assets = match plan.medium {
            Medium::Seed => Digest::of(b""),
            _ => self.variants.digest(plan)?,
        };
        let grub = match starts_by_bios(plan) {
            true => grub?.to_string(),
            false => String::new(),
        };
        let text = format!("{assets} {grub} {}", self.boards.digest(plan)?);
        Some(Digest::of(text.as_bytes()).to_string())
    }
}

/// A build that has all that it needs.
struct Run<'a> {
    args: &'a Build,
    plans: &'a [NodePlan],
    ready: Ready,
    /// What the system says of the site's sources.
    sources: Option<String>,
    progress: &'a Progress,
}

impl Run<'_> {
    fn build(
        &self,
        batch: Batch,
        mut manifest: Manifest,
        mut state: State,
        worker: Worker,
    ) -> Result<(), Failure> {
        let interrupt = Interrupt::catch();
        let interrupt = interrupt.map_err(|error| Failure::of(Cause::World, "signals", &error))?;
        let batch = batch.until(interrupt.flag());
        let grub = self.ready.grub.as_ref().and_then(grub_digest);
        let inputs = |plan: &NodePlan| self.ready.digest(plan, grub);
        let inputs: Vec<Option<String>> = self.plans.iter().map(inputs).collect();
        let unchanged = self.unchanged(&state, &manifest, &inputs);
        for file in unchanged.values().flatten() {
            let name = Name::parse(&file.path).map_err(|error| sink_failure(&error))?;
            batch.stays(&name, file.digest);
        }
        let parts = Parts {
            plans: self.plans,
            boards: &self.ready.boards,
            variants: &self.ready.variants,
            grub: self.ready.grub.as_ref(),
            formats: &Formats::new(&self.args.out, batch.digests()),
            out: &self.args.out,
        };
        let fleet = Fleet::new(parts, &batch, &mut manifest, &interrupt, self.progress);
        let (outcomes, fatal) = fleet.run(unchanged, self.args.jobs, worker);
        if fatal.is_some() || interrupt.cause().is_some() {
            return Err(self.cut_short(&batch, &outcomes, fatal, interrupt.cause()));
        }
        for ((plan, outcome), inputs) in self.plans.iter().zip(&outcomes).zip(inputs) {
            if let Outcome::Built(files) | Outcome::Unchanged(files) = outcome {
                let made_from = MadeFrom { inputs, sources: self.sources.clone() };
                state.built(plan, made_from, files);
            }
        }
        let is_any =
            |outcome: &Outcome| matches!(outcome, Outcome::Built(_) | Outcome::Unchanged(_));
        let mut written = Ok(Vec::new());
        // A shard without nodes has a manifest, too: `merge` looks for it.
        if outcomes.iter().any(is_any) || self.plans.is_empty() {
            let manifest = manifest.finish();
            written = self.finish(&batch, &manifest, state);
        }
        match written {
            Ok(written) => {
                self.tell_files(&outcomes, &written);
                failures(self.plans, outcomes, self.progress)
            }
            Err(error) => {
                let fatal = Some(sink_failure(&error));
                Err(self.cut_short(&batch, &outcomes, fatal, interrupt.cause()))
            }
        }
    }

    /// The files of the nodes whose media would come out the same.
    fn unchanged(
        &self,
        state: &State,
        manifest: &Manifest,
        inputs: &[Option<String>],
    ) -> BTreeMap<usize, Vec<Present>> {
        if self.args.force {
            return BTreeMap::new();
        }
        let unchanged = |(at, (plan, inputs)): (usize, (&NodePlan, &Option<String>))| {
            let files = state.unchanged(plan, inputs.as_ref(), &self.args.out)?;
            // The manifest, too, must have them.
            let listed = manifest.earlier(plan.name.as_str())?;
            let listed = listed.iter().map(|file| (&file.path, file.sha256.clone()));
            let is_listed =
                listed.eq(files.iter().map(|file| (&file.path, file.digest.to_string())));
            is_listed.then_some((at, files))
        };
        self.plans.iter().zip(inputs).enumerate().filter_map(unchanged).collect()
    }

    /// Puts all in place.
    fn finish(
        &self,
        batch: &Batch,
        manifest: &Blob,
        mut state: State,
    ) -> Result<Vec<Written>, SinkError> {
        let text = manifest
            .to_vec()
            .map_err(|source| SinkError::Read { name: MANIFEST.to_owned(), source })?;
        let digest = Digest::of(&text);
        let is_new = !std::fs::read(self.args.out.join(MANIFEST)).is_ok_and(|old| old == text);
        let name = Name::parse(MANIFEST)?;
        let extra = Extra { name, content: manifest.clone(), access: Access::World };
        let extras: Vec<_> = is_new.then_some(extra).into_iter().collect();
        batch.finish_with(&extras, |written| {
            state.finish(written, digest);
            state.render()
        })
    }

    /// Tells of all files of the nodes that are there, in the order of the site.
    fn tell_files(&self, outcomes: &[Outcome], written: &[Written]) {
        let written: BTreeSet<&str> = written.iter().map(|file| file.name.as_str()).collect();
        let mut told = BTreeSet::new();
        for outcome in outcomes {
            let (Outcome::Built(files) | Outcome::Unchanged(files)) = outcome else { continue };
            for file in files {
                if told.insert(&file.path) {
                    let event = match written.contains(file.path.as_str()) {
                        true => "written",
                        false => "unchanged",
                    };
                    tell_file(event, file, &self.args.out, self.progress);
                }
            }
        }
    }

    /// What is said where the whole ended early: what is in place stays there.
    fn cut_short(
        &self,
        batch: &Batch,
        outcomes: &[Outcome],
        fatal: Option<Failure>,
        cause: Option<Cause>,
    ) -> Failure {
        let placed = batch.placed();
        let placed: BTreeSet<&str> = placed.iter().map(|file| file.name.as_str()).collect();
        let is_there = |outcome: &Outcome| match outcome {
            Outcome::Built(files) => files.iter().all(|file| placed.contains(file.path.as_str())),
            Outcome::Unchanged(_) => true,
            Outcome::Failed(_) | Outcome::Left => false,
        };
        let there: BTreeSet<usize> =
            (0..outcomes.len()).filter(|at| is_there(&outcomes[*at])).collect();
        for (_, outcome) in outcomes.iter().enumerate().filter(|(at, _)| there.contains(at)) {
            if let Outcome::Built(files) = outcome {
                files.iter().for_each(|file| {
                    tell_file("written", file, &self.args.out, self.progress);
                });
            }
        }
        match (fatal, cause) {
            (Some(fatal), None) => {
                if !there.is_empty() {
                    self.progress.note(&built_and_not(self.plans, &there));
                }
                fatal
            }
            (_, cause) => ended(self.plans, &there, cause.unwrap_or(Cause::Interrupted)),
        }
    }
}

/// A build that somebody has ended.
fn ended(plans: &[NodePlan], there: &BTreeSet<usize>, cause: Cause) -> Failure {
    let message = format!("ended by a signal: {}", built_and_not(plans, there));
    Failure::new(cause, Diagnostic::error("interrupted", message).help("build again"))
}

/// Which nodes were built, and which were not.
fn built_and_not(plans: &[NodePlan], there: &BTreeSet<usize>) -> String {
    let missing: Vec<String> = plans
        .iter()
        .enumerate()
        .filter(|(at, _)| !there.contains(at))
        .map(|(_, plan)| plan.name.to_string())
        .collect();
    match missing.is_empty() {
        true => format!("{} built", there.len()),
        false => format!("{} built; not built: {}", there.len(), names(&missing)),
    }
}

/// Names, but not too many.
fn names(all: &[String]) -> String {
    match all.len().checked_sub(NAMED) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..NAMED].join(", ")),
    }
}

/// What failed, after all else was said.
fn failures(
    plans: &[NodePlan],
    outcomes: Vec<Outcome>,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut failed: Option<Failure> = None;
    let mut there = BTreeSet::new();
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let Outcome::Failed(failure) = outcome else {
            there.insert(at);
            continue;
        };
        let all = failed.get_or_insert(Failure { cause: failure.cause, diagnostics: Vec::new() });
        all.cause = all.cause.max(failure.cause);
        for diagnostic in failure.diagnostics {
            if !all.diagnostics.contains(&diagnostic) {
                all.diagnostics.push(diagnostic);
            }
        }
    }
    let Some(failed) = failed else { return Ok(()) };
    if !there.is_empty() {
        progress.note(&built_and_not(plans, &there));
    }
    Err(failed)
}

/// Tells that nothing had to be done.
fn tell_unchanged(plans: &[NodePlan], files: &[Vec<Present>], out: &Path, progress: &Progress) {
    let has_few = progress.total("media", plans.len() as u64).has_few();
    for plan in plans {
        fleet::tell_node(plan, true, has_few, progress);
    }
    if !has_few {
        progress.note(&format!("media: all {} unchanged", plans.len()));
    }
    let mut told = BTreeSet::new();
    for file in files.iter().flatten() {
        if told.insert(&file.path) {
            tell_file("unchanged", file, out, progress);
        }
    }
}

fn tell_file(event: &str, file: &Present, out: &Path, progress: &Progress) {
    let path = out.join(&file.path);
    progress.say(&format!("{}  {}", file.digest, path.display()));
    if progress.is_json() {
        progress.event(json!({
            "event": event, "path": path.display().to_string(),
            "bytes": file.len, "sha256": file.digest.to_string(),
        }));
    }
}

/// The digest of GRUB's files; nothing where one cannot be read.
fn grub_digest(grub: &Grub) -> Option<Digest> {
    let code = [&grub.boot_code, &grub.image].map(|code| Blob::from_bytes("grub", &**code));
    let modules = grub.modules.iter().map(|(_, blob)| blob);
    let names: String = grub.modules.iter().map(|(path, _)| format!("{path}\n")).collect();
    let names = Blob::from_bytes("names", names.into_bytes());
    variants::digest_of(code.iter().chain([&names]).chain(modules))
}

/// Sees to it that the boot assets are of the release that configs and command lines are made for, as
/// far as they or the tags of Talos' own images tell.
fn check_release(site: &Site, assets: &Assets) -> Result<(), Failure> {
    let wanted = site.cluster.talos.to_string();
    let tagged = site.boot.assets.iter().filter_map(|source| match source {
        AssetSource::Image { source: ImageSource::Registry(name), .. } => {
            let is_talos =
                ["/imager", "/installer"].iter().any(|own| name.repository().ends_with(own));
            name.tag().filter(|tag| is_talos && Version::parse(tag).is_some())
        }
        _ => None,
    });
    let told = assets.talos.as_deref().into_iter().chain(tagged);
    let Some(other) = told.into_iter().find(|told| *told != wanted) else { return Ok(()) };
    let message = format!("the boot assets are of Talos {other}, and the site is for {wanted}");
    let place = site.cluster.talos_place.clone();
    let help = format!("write `talos: {other}`, or name the assets of {wanted}");
    Err(Failure::new(
        Cause::Files,
        Diagnostic::error("assets-release", message).at(place).help(help),
    ))
}

/// An addon that nobody signed beside a UKI that someone did: firmware that checks takes the UKI alone.
fn warn_of_signature(assets: &Assets, plans: &[NodePlan], progress: &Progress) {
    let is_signed = assets.ready_uki.as_ref().is_some_and(|uki| uki.is_signed);
    let has_addon = plans.iter().any(|plan| matches!(plan.embed, Embedding::Addon(_)));
    if is_signed && has_addon {
        let message = "the boot assets' UKI is signed, and the addons with the configs are not: with \
                       Secure Boot on, Talos starts without its config";
        let help = "turn Secure Boot off on these machines, or give them their configs over Talos' \
                    API (`embed: none`)";
        progress.diagnostic(&Diagnostic::warning("unsigned-addon", message).help(help));
    }
}

pub(super) fn starts_by_bios(plan: &NodePlan) -> bool {
    matches!(plan.medium, Medium::Iso { firmware: Firmware::UefiAndBios, .. })
}

/// GRUB, if any medium wants it.
fn open_grub(site: &Site, assets: &Assets, plans: &[NodePlan]) -> Result<Option<Grub>, Failure> {
    if !plans.iter().any(starts_by_bios) {
        return Ok(None);
    }
    grub::open(site.boot.grub.as_deref(), assets.grub.as_ref()).map(Some).map_err(|error| {
        let diagnostic = Diagnostic::error("grub", chain(&error)).help(error.help());
        Failure::new(Cause::Assets, diagnostic)
    })
}

pub(super) fn sink_failure(error: &SinkError) -> Failure {
    Failure::new(Cause::World, error.diagnostic())
}

pub(super) fn payload_failure(plan: &NodePlan, error: &PayloadError) -> Failure {
    let cause = if matches!(error, PayloadError::Meta(_)) { Cause::Files } else { Cause::Assets };
    let diagnostic =
        Diagnostic::error("payload", format!("node `{}`: {}", plan.name, chain(error)));
    Failure::new(
        cause,
        match error.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        },
    )
}

pub(super) fn layout_failure(plan: &NodePlan, error: &LayoutError) -> Failure {
    let message = format!("node `{}`: {}", plan.name, chain(error));
    let help = "give its profile a larger `esp`, or take smaller boot assets";
    Failure::new(Cause::Files, Diagnostic::error("layout", message).help(help))
}
