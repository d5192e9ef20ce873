//! Chores of the workspace, as `cargo xtask <chore>`.
//!
//! In: arguments. Out: a chore done, and an exit code.
//!
//! Source: <https://github.com/matklad/cargo-xtask>, the custom that it follows.
//!
//! Not here: what the product does (`builder`), what the chores are done with (`lab`).

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod boot;
mod test;

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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Boot(arguments) => boot::run(&arguments),
        Chore::Test(arguments) => test::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A chore's exit code.
type Done = Result<ExitCode>;

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
