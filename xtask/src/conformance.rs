//! `cargo xtask conformance`: what ours makes of configs, beside what Talos' own packages make of
//! them, in every supported release.
//!
//! In: a number of random cases, and a seed. Out: the tests' own output and exit code.
//!
//! Source: none.
//!
//! Not here: the oracles (`tests/talos`, `lab::talos`) and the comparison (`tests/conformance`).

use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;
use lab::{talos, tools};

use crate::{Done, complain, workspace};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many random cases of each kind each release is asked about
    #[arg(long, value_name = "N", default_value = "5000")]
    cases: u64,
    /// The seed of the first; the next ones follow it
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// How many failures are made small and shown
    #[arg(long, value_name = "N", default_value = "1")]
    failures: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    if !tools::have(&["go"]) {
        return Ok(ExitCode::SUCCESS);
    }
    complain("building the oracles, where they are not there; from nothing that takes minutes");
    talos::build()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--package", "lab", "--test", "conformance"]).current_dir(workspace());
    command.env("TALFORGE_CASES", arguments.cases.to_string());
    command.env("TALFORGE_SEED", arguments.seed.to_string());
    command.env("TALFORGE_FAILURES", arguments.failures.to_string());
    let status = command.status().context("`cargo test`")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
