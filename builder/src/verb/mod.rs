//! One function a command.
//!
//! In: its arguments. Out: what it printed and wrote, or a [`Failure`] with its exit code.
//!
//! Source: none.
//!
//! Not here: flags (`cli`), and how messages look (`report`).

use std::error::Error;
use std::path::Path;
use std::time::SystemTime;

use crate::asset::error::AssetError;
use crate::cli::{Cli, Command};
use crate::plan::{self, NodePlan};
use crate::render::Rendered;
use crate::report::progress::Progress;
use crate::report::{Diagnostic, Severity};
use crate::site::Site;

mod file;
pub mod shard;
mod place;
mod trust;
mod supply;
mod encode;
mod variants;
mod interrupt;
pub mod output;
mod state;
mod fleet;
pub mod lock;
pub mod build;
pub mod config;
pub mod customize;
pub mod convert;
pub mod merge;
pub mod export;
pub mod fetch;
pub mod import;
pub mod init;
pub mod manifest;
mod open;
pub mod inspect;
mod map;
pub mod diff;
pub mod plans;
pub mod readback;
pub mod schema;
pub mod secrets;
pub mod store;
pub mod clients;
pub mod render;
pub mod check;

/// Why a command ended, by exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Two media differ, which was the question: no message, but an exit code of its own.
    Differ = 0,
    /// A file of the user's is wrong.
    Files = 1,
    /// The machine said no: disk, permission.
    World = 3,
    /// The boot assets cannot be used.
    Assets = 4,
    /// A medium is not what it should be.
    Medium = 5,
    /// Somebody asked it to end, by SIGINT.
    Interrupted = 130,
    /// Somebody asked it to end, by SIGTERM.
    Terminated = 143,
}

/// A command that did not do its work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whose fault it is.
    pub cause: Cause,
    /// All that is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// A failure of one finding.
    pub fn new(cause: Cause, diagnostic: Diagnostic) -> Self {
        Self { cause, diagnostics: vec![diagnostic] }
    }

    /// A failure from an error and all that caused it, in one line.
    pub fn of(cause: Cause, code: &'static str, error: &dyn Error) -> Self {
        Self::new(cause, Diagnostic::error(code, chain(error)))
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self.cause {
            Cause::Differ | Cause::Files => 1,
            Cause::World => 3,
            Cause::Assets => 4,
            Cause::Medium => 5,
            Cause::Interrupted => 130,
            Cause::Terminated => 143,
        }
    }
}

/// An error and its causes, none said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Runs the command that the arguments name.
///
/// # Errors
///
/// What the command could not do.
pub fn run(cli: &Cli, progress: &Progress) -> Result<(), Failure> {
    let now = now();
    match &cli.command {
        Command::Init(args) => init::init(args, progress),
        Command::Secrets(args) => secrets::secrets(args, now, progress),
        Command::Check(args) => check::check(args, now, progress),
        Command::Render(args) => render::render(args, now, progress),
        Command::Plan(args) => plans::show(args, now, progress),
        Command::Lock(args) => lock::lock(args, progress),
        Command::Build(args) => build::build(args, now, progress),
        Command::Convert(args) => convert::convert(args, progress),
        Command::Merge(args) => merge::merge(args, progress),
        Command::Export(args) => export::export(args, progress),
        Command::Fetch(args) => fetch::fetch(args, progress),
        Command::Customize(args) => customize::customize(args, progress),
        Command::Config(args) => config::config(args, progress),
        Command::Talosconfig(args) => clients::talosconfig(args, now, progress),
        Command::Kubeconfig(args) => clients::kubeconfig(args, now, progress),
        Command::Import(args) => import::import(args, progress),
        Command::Inspect(args) => inspect::inspect(args, progress),
        Command::Store(args) => store::store(args, now, progress),
        Command::Diff(args) => diff::diff(args, progress),
        Command::Schema(args) => schema::print(args, progress),
        Command::Completions(args) => schema::completions(args, progress),
    }
}

/// The time. It decides which certificates are good, and is in new ones; media do not have it.
fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "certificates begin and end")]
    SystemTime::now()
}

/// A site and its final configs.
#[derive(Debug)]
struct Loaded {
    site: Site,
    rendered: Rendered,
}

/// Reads the site file, makes every node's config and looks at all of it. Findings are told or, if
/// there is an error among them, returned.
fn load(path: &Path, now: SystemTime, progress: &Progress) -> Result<Loaded, Failure> {
    let (loaded, findings) = check::examine(path, now);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    match loaded {
        Some(loaded) if !failed => {
            findings.iter().for_each(|finding| progress.diagnostic(finding));
            Ok(loaded)
        }
        _ => Err(Failure { cause: Cause::Files, diagnostics: findings }),
    }
}

/// Sees to it that the site has the nodes that the arguments name.
fn known_nodes(site: &Site, nodes: &[String]) -> Result<(), Failure> {
    let unknown: Vec<_> = nodes
        .iter()
        .filter(|name| !site.nodes.iter().any(|node| node.name.as_str() == *name))
        .map(|name| {
            let known: Vec<_> = site.nodes.iter().map(|node| node.name.as_str()).collect();
            Diagnostic::error("unknown-node", format!("the site has no node `{name}`"))
                .help(format!("its nodes are {}", known.join(", ")))
        })
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Failure { cause: Cause::Files, diagnostics: unknown }),
    }
}

/// Reads the site file and decides what to build for the named nodes, or for all.
fn decide(
    path: &Path,
    nodes: &[String],
    now: SystemTime,
    progress: &Progress,
) -> Result<(Site, Vec<NodePlan>), Failure> {
    let Loaded { mut site, rendered } = load(path, now, progress)?;
    known_nodes(&site, nodes)?;
    for (node, config) in site.nodes.iter_mut().zip(rendered.nodes) {
        node.config = config.map(|config| config.text);
    }
    let files = |diagnostics| Failure { cause: Cause::Files, diagnostics };
    let mut plans = plan::resolve(&site, epoch()?).map_err(files)?;
    plans.retain(|plan| nodes.is_empty() || nodes.iter().any(|name| plan.name.as_str() == name));
    Ok((site, plans))
}

/// The time that every file on every medium gets: `SOURCE_DATE_EPOCH`, or the start of 1980, the
/// first that FAT can hold.
///
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
fn epoch() -> Result<u32, Failure> {
    const START_OF_1980: u32 = 315_532_800;
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(START_OF_1980) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds.ok_or_else(|| {
        let message = format!("`SOURCE_DATE_EPOCH` is `{}`, no time", text.to_string_lossy());
        let help = "set it to seconds since 1970, before the year 2106, or unset it";
        Failure::new(Cause::World, Diagnostic::error("epoch", message).help(help))
    })
}

fn asset_failure(error: &AssetError) -> Failure {
    let cause = if matches!(error, AssetError::Io(..)) { Cause::World } else { Cause::Assets };
    Failure::new(cause, Diagnostic::error("asset", chain(error)).help(error.help()))
}
