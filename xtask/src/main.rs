//! Chores of the workspace, as `cargo xtask <chore>`.
//!
//! In: arguments. Out: a chore done, and an exit code.
//!
//! Source: <https://github.com/matklad/cargo-xtask>, the custom that it follows.
//!
//! Not here: what the product does (`builder`), what the chores are done with (`lab`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod audit;
mod bench;
mod boot;
mod conformance;
mod demo;
mod fuzz;
mod pull;
mod schema;
mod test;
mod tidy;

/// Chores of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Boot an image under QEMU and say what it found
    Boot(boot::Arguments),
    /// Install what the tests need, then run all of them
    Test(test::Arguments),
    /// Build the example site, boot one of its nodes and show which config it found
    Demo(demo::Arguments),
    /// Measure speed, memory and room, each against a peer in the same run
    Bench(bench::Arguments),
    /// Check the house rules that no compiler checks
    Tidy,
    /// Feed every parser with random bytes for a while
    Fuzz(fuzz::Arguments),
    /// Compare what ours makes of configs with what Talos' own packages make of them
    Conformance(conformance::Arguments),
    /// Read the types of Talos' configs anew from Talos' own packages
    Schema,
    /// Check licences, advisories and sources of the dependencies
    Audit,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Boot(arguments) => boot::run(&arguments),
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Tidy => tidy::check(&workspace(), &mut complain).map(|()| ExitCode::SUCCESS),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Conformance(arguments) => conformance::run(&arguments),
        Chore::Schema => schema::run(),
        Chore::Audit => audit::run(),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A chore's exit code.
type Done = Result<ExitCode>;

/// The workspace's root.
fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Says a line on standard output.
#[expect(clippy::print_stdout, reason = "a chore's result is for a person or a pipe")]
fn say(line: &str) {
    println!("{line}");
}

/// Says a line on standard error.
#[expect(clippy::print_stderr, reason = "a chore's progress is for a person")]
fn complain(line: &str) {
    eprintln!("{line}");
}
