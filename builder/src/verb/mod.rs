//! One function a command.
//!
//! In: its arguments. Out: what it printed and wrote, or a [`Failure`] with its exit code.
//!
//! Source: none.
//!
//! Not here: flags (`cli`), and how messages look (`report`).

use std::error::Error;
use std::path::Path;

use crate::asset::AssetError;
use crate::cli::{Cli, Command};
use crate::plan::{self, NodePlan};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::site::{self, Site};

pub mod build;
pub mod init;
pub mod manifest;
pub mod inspect;
pub mod plans;
pub mod readback;
pub mod schema;

/// Why a command ended, by exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A file of the user's is wrong.
    Files = 1,
    /// The machine said no: disk, permission.
    World = 3,
    /// The boot assets cannot be used.
    Assets = 4,
    /// A medium is not what it should be.
    Medium = 5,
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
            Cause::Files => 1,
            Cause::World => 3,
            Cause::Assets => 4,
            Cause::Medium => 5,
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
    match &cli.command {
        Command::Init(args) => init::init(args, progress),
        Command::Plan(args) => plans::show(args, progress),
        Command::Build(args) => build::build(args, progress),
        Command::Inspect(args) => inspect::inspect(args, progress),
        Command::Schema(args) => schema::print(args, progress),
        Command::Completions(args) => schema::completions(args, progress),
    }
}

/// Reads the site file and decides what to build for the named nodes, or for all.
fn decide(
    path: &Path,
    nodes: &[String],
    progress: &Progress,
) -> Result<(Site, Vec<NodePlan>), Failure> {
    let files = |diagnostics| Failure { cause: Cause::Files, diagnostics };
    let site = site::load(path).map_err(files)?;
    site.warnings.iter().for_each(|warning| progress.diagnostic(warning));
    let unknown: Vec<_> = nodes
        .iter()
        .filter(|name| !site.nodes.iter().any(|node| node.name.as_str() == *name))
        .map(|name| {
            let known: Vec<_> = site.nodes.iter().map(|node| node.name.as_str()).collect();
            Diagnostic::error("unknown-node", format!("the site has no node `{name}`"))
                .help(format!("its nodes are {}", known.join(", ")))
        })
        .collect();
    if !unknown.is_empty() {
        return Err(files(unknown));
    }
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
