//! `talforge build`: every node's medium, read back before it gets its name.
//!
//! In: the site file. Out: media, `SHA256SUMS` and `manifest.json` in the output folder.
//!
//! Source: none.
//!
//! Not here: what a medium is made of (`payload`, `layout`), and the manifest (`manifest`).

use std::time::SystemTime;

use serde_json::json;

use crate::asset::board::{self, Board};
use crate::asset::grub::{self, Grub};
use crate::asset::{self, Assets};
use crate::blob::Blob;
use crate::catalog::Output;
use crate::catalog::value::Firmware;
use crate::cli::Build;
use crate::inspect::memo::Memo;
use crate::layout::{self, FileKind, LayoutError, OutputFile, esp};
use crate::oci::ImageSource;
use crate::payload::{self, PayloadError};
use crate::plan::{Embedding, Medium, NodePlan};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::file::{Batch, Extra, Pending};
use crate::sink::name::Name;
use crate::sink::{Access, SinkError};
use crate::site::{AssetSource, Site};
use crate::talos::Version;
use crate::verb::manifest::{MANIFEST, Manifest};
use crate::verb::supply::{Look, Supplier};
use crate::verb::variants::Variants;
use crate::verb::{Cause, Failure, asset_failure, chain, decide, readback};

/// Builds the media.
///
/// # Errors
///
/// Where the site, the assets or the machine do not allow it. A node that fails does not keep the
/// others from being built; no failed node leaves a file under a final name.
pub fn build(args: &Build, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let (site, plans) = decide(&args.site, &args.nodes, now, progress)?;
    let mut memo = Memo::default();
    let mut supplier = Supplier::open(&site, &args.sources, Look::Locked, progress)?;
    let mut variants = Variants::default();
    let mut grub = None;
    let mut inputs = Vec::new();
    if !boots_nothing(&site) {
        let supply = supplier.assets()?;
        let assets = asset::open(&supply, site.boot.arch, &supplier.store, &mut memo);
        let assets = assets.map_err(|error| asset_failure(&error))?;
        check_release(&site, &assets)?;
        supplier.judge(&assets.inputs)?;
        warn_of_signature(&assets, &plans, progress);
        grub = open_grub(&site, &assets, &plans)?;
        variants = Variants::make(&site, &assets, &plans, &mut supplier, &mut memo, progress);
        inputs = assets.inputs;
    }
    let boards = plans.iter().map(|plan| open_board(plan, &mut supplier));
    let boards = boards.collect::<Result<Vec<_>, _>>()?;
    let batch = Batch::open(&args.out).map_err(|error| sink_failure(&error))?;
    let manifest = Manifest::new(&site, &inputs, &supplier, &args.out);
    supplier.keep(args.nodes.is_empty())?;
    let mut build = Run {
        variants,
        grub,
        batch,
        memo,
        manifest,
        laid: esp::Memo::default(),
        progress,
        has_read: false,
    };
    let mut failures = Vec::new();
    for (plan, board) in plans.iter().zip(&boards) {
        if let Err(failure) = build.node(plan, board.as_ref()) {
            failures.push((plan, failure));
        }
    }
    build.finish(&plans, failures)
}

/// Whether all of a site's media are seeds, so that its boot assets are not looked at.
fn boots_nothing(site: &Site) -> bool {
    site.nodes.iter().all(|node| matches!(node.profile.output, Output::Seed(_)))
}

/// A build under way.
struct Run<'a> {
    variants: Variants,
    grub: Option<Grub>,
    batch: Batch,
    memo: Memo,
    manifest: Manifest,
    laid: esp::Memo,
    progress: &'a Progress,
    /// Whether a medium was read back whole, so that what later ones share with it is known.
    has_read: bool,
}

impl Run<'_> {
    /// Builds one node's medium; all of it, or nothing.
    fn node(&mut self, plan: &NodePlan, board: Option<&Board>) -> Result<(), Failure> {
        let files = self.lay_out(plan, board)?;
        let mut pending = Vec::new();
        for file in &files {
            pending.push(self.write(plan, file)?);
        }
        for (file, written) in files.iter().zip(pending) {
            self.manifest.add(plan, file, written.digest());
            self.batch.keep(written).map_err(|error| sink_failure(&error))?;
        }
        let config = plan.embed.config().map(|config| config.digest().to_string());
        self.progress.event(json!({
            "event": "node", "node": plan.name.to_string(), "output": plan.output(),
            "embed": plan.embed.name(), "config_sha256": config,
        }));
        Ok(())
    }

    /// Lays out a node's medium.
    fn lay_out(
        &mut self,
        plan: &NodePlan,
        board: Option<&Board>,
    ) -> Result<Vec<OutputFile>, Failure> {
        let failed = |error: LayoutError| layout_failure(plan, &error);
        if plan.medium == Medium::Seed {
            return layout::seed(plan).map_err(failed);
        }
        let assets = self.variants.of(plan)?;
        let payload = payload::build(plan, assets);
        let payload = payload.map_err(|error| payload_failure(plan, &error))?;
        let grub = self.grub.as_ref().filter(|_| starts_by_bios(plan));
        let parts = layout::Parts { plan, assets, payload: &payload, grub, board };
        layout::lay_out(&parts, &mut self.laid).map_err(failed)
    }

    /// Writes one file aside and reads it back.
    fn write(&mut self, plan: &NodePlan, file: &OutputFile) -> Result<Pending, Failure> {
        let sink = |error: SinkError| sink_failure(&error);
        let name = Name::parse(&file.path).map_err(sink)?;
        let task = self.progress.task(&file.path, file.blob.len());
        let pending = self.batch.write(&name, &file.blob, &task).map_err(sink)?;
        match file.kind {
            FileKind::Bootable => {
                self.read_back(plan, &file.blob, &pending)?;
                task.done("written and read back");
            }
            FileKind::Part => task.done("written"),
        }
        Ok(pending)
    }

    /// The first medium is read from the disk to its last byte of initramfs. What later ones copied
    /// from the same place is known then, and is not unpacked again.
    fn read_back(&mut self, plan: &NodePlan, meant: &Blob, file: &Pending) -> Result<(), Failure> {
        let written =
            file.blob().map_err(|error| Failure::of(Cause::World, "read-back", &error))?;
        if self.has_read {
            self.memo.alias(&written, meant);
        }
        let keeps_line = match plan.medium {
            Medium::Seed => false,
            _ => payload::keeps_uki(plan, self.variants.of(plan)?)
                .map_err(|error| payload_failure(plan, &error))?,
        };
        readback::check(plan, &written, keeps_line, &mut self.memo).map_err(|mismatch| {
            let message = format!("`{}` is not what was meant: {mismatch}", file.name().as_str());
            let help = "nothing was kept of it; check the disk and the boot assets, and report \
                        this if it comes again";
            Failure::new(Cause::Medium, Diagnostic::error("read-back", message).help(help))
        })?;
        self.has_read = true;
        Ok(())
    }

    fn finish(self, plans: &[NodePlan], failed: Vec<(&NodePlan, Failure)>) -> Result<(), Failure> {
        let manifest = Extra {
            name: Name::parse(MANIFEST).map_err(|error| sink_failure(&error))?,
            content: self.manifest.finish(),
            access: Access::World,
        };
        let built = plans.len() - failed.len();
        if built > 0 {
            let written = self.batch.finish(&[manifest]).map_err(|error| sink_failure(&error))?;
            for file in &written {
                self.progress.say(&format!("{}  {}", file.digest, file.path.display()));
                self.progress.event(json!({
                    "event": "written", "path": file.path.display().to_string(),
                    "bytes": file.len, "sha256": file.digest.to_string(),
                }));
            }
        }
        let Some(cause) = failed.iter().map(|(_, failure)| failure.cause).max() else {
            return Ok(());
        };
        if built > 0 {
            let names: Vec<_> = failed.iter().map(|(plan, _)| plan.name.to_string()).collect();
            self.progress.note(&format!("{built} built; not built: {}", names.join(", ")));
        }
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        for diagnostic in failed.into_iter().flat_map(|(_, failure)| failure.diagnostics) {
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
        Err(Failure { cause, diagnostics })
    }
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

fn starts_by_bios(plan: &NodePlan) -> bool {
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

/// The files of a node's board, if it is one.
fn open_board(plan: &NodePlan, supplier: &mut Supplier<'_>) -> Result<Option<Board>, Failure> {
    let Some(needs) = &plan.board else { return Ok(None) };
    let tree = supplier.artifacts(&needs.artifacts)?;
    board::open(needs, &tree).map(Some).map_err(|error| {
        let message = format!("node `{}`: {}", plan.name, chain(&error));
        Failure::new(Cause::Assets, Diagnostic::error("board", message).help(error.help()))
    })
}

fn sink_failure(error: &SinkError) -> Failure {
    Failure::new(Cause::World, error.diagnostic())
}

fn payload_failure(plan: &NodePlan, error: &PayloadError) -> Failure {
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

fn layout_failure(plan: &NodePlan, error: &LayoutError) -> Failure {
    let message = format!("node `{}`: {}", plan.name, chain(error));
    let help = "give its profile a larger `esp`, or take smaller boot assets";
    Failure::new(Cause::Files, Diagnostic::error("layout", message).help(help))
}
