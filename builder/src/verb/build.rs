//! `talforge build`: every node's medium, read back before it gets its name.
//!
//! In: the site file. Out: media, `SHA256SUMS` and `manifest.json` in the output folder.
//!
//! Source: none.
//!
//! Not here: what a medium is made of (`payload`, `layout`), and the manifest (`manifest`).

use std::time::SystemTime;

use serde_json::json;

use crate::asset::grub::{self, Grub};
use crate::asset::{self, Assets};
use crate::blob::Blob;
use crate::catalog::value::Firmware;
use crate::cli::Build;
use crate::inspect::memo::Memo;
use crate::layout::{self, FileKind, LayoutError, OutputFile, esp};
use crate::payload::{self, PayloadError};
use crate::plan::{Embedding, Line, Medium, NodePlan};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::file::{Batch, Extra, Pending};
use crate::sink::name::Name;
use crate::sink::{Access, SinkError};
use crate::site::{AssetSource, Site};
use crate::verb::manifest::{MANIFEST, Manifest};
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
    let assets = asset::open(&site.boot.assets, site.boot.arch, &mut memo);
    let assets = assets.map_err(|error| asset_failure(&error))?;
    warn_of_signature(&assets, &plans, progress);
    let grub = open_grub(&site, &plans)?;
    let batch = Batch::open(&args.out).map_err(|error| sink_failure(&error))?;
    let manifest = Manifest::new(&site, &assets, &args.out);
    let mut build = Run {
        assets,
        grub,
        batch,
        memo,
        manifest,
        laid: esp::Memo::default(),
        progress,
        has_read: false,
    };
    let mut failures = Vec::new();
    for plan in &plans {
        if let Err(failure) = build.node(plan) {
            failures.push((plan, failure));
        }
    }
    build.finish(&plans, failures)
}

/// A build under way.
struct Run<'a> {
    assets: Assets,
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
    fn node(&mut self, plan: &NodePlan) -> Result<(), Failure> {
        let payload = payload::build(plan, &self.assets);
        let payload = payload.map_err(|error| payload_failure(plan, &error))?;
        let grub = self.grub.as_ref().filter(|_| starts_by_bios(plan));
        let parts = layout::Parts { plan, assets: &self.assets, payload: &payload, grub };
        let files = layout::lay_out(&parts, &mut self.laid)
            .map_err(|error| layout_failure(plan, &error))?;
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
        let is_kept = plan.line != Line::Custom && !matches!(plan.embed, Embedding::Initramfs(_));
        let keeps_line = self.assets.ready_uki.is_some() && is_kept;
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
fn open_grub(site: &Site, plans: &[NodePlan]) -> Result<Option<Grub>, Failure> {
    if !plans.iter().any(starts_by_bios) {
        return Ok(None);
    }
    let beside = match &site.boot.assets {
        AssetSource::Dir(folder) => folder.as_path(),
        AssetSource::Uki(file) => file.parent().unwrap_or(file),
        // Refused when the assets are opened.
        AssetSource::Other(_) => return Ok(None),
    };
    grub::open(site.boot.grub.as_deref(), beside).map(Some).map_err(|error| {
        let diagnostic = Diagnostic::error("grub", chain(&error)).help(error.help());
        Failure::new(Cause::Assets, diagnostic)
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
