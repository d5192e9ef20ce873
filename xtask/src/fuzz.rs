//! `cargo xtask fuzz`: every parser, fed with random bytes that are steered by coverage.
//!
//! In: seconds for each target. Out: nothing, if all hold; else the bytes that broke one, and where
//! they are kept.
//!
//! Source: <https://rust-fuzz.github.io/book/cargo-fuzz.html>.
//!
//! Not here: the targets (`tests/fuzz`).

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{Done, complain, workspace};

/// The version that is installed where there is none.
const VERSION: &str = "0.13.2";

/// More than the one of `cargo fuzz`, which takes minutes longer to build than it saves in a short run.
const CODEGEN_UNITS: &str = "16";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value = "60")]
    seconds: u32,
    /// Only these targets
    targets: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    if let Err(error) = have_cargo_fuzz() {
        if std::env::var_os("CI").is_some() {
            return Err(error);
        }
        complain(&format!("warning: {error:#}; nothing was fuzzed"));
        return Ok(ExitCode::SUCCESS);
    }
    let targets = match arguments.targets.is_empty() {
        true => list()?,
        false => arguments.targets.clone(),
    };
    for target in &targets {
        complain(&format!("fuzzing {target} for {} s", arguments.seconds));
        let limits = [
            format!("-max_total_time={}", arguments.seconds),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=512".to_owned(),
            "-print_final_stats=0".to_owned(),
        ];
        let mut command =
            fuzz(&["run", "--sanitizer", "none", "--codegen-units", CODEGEN_UNITS, target, "--"]);
        let out = command.args(&limits).output().context("`cargo fuzz` did not start")?;
        if !out.status.success() {
            complain(&String::from_utf8_lossy(&out.stderr));
            complain(&format!(
                "error: {target} broke; its input is kept under tests/fuzz/artifacts"
            ));
            return Ok(ExitCode::FAILURE);
        }
    }
    complain(&format!("{} targets held", targets.len()));
    Ok(ExitCode::SUCCESS)
}

fn fuzz(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    let tools = workspace().join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)));
    // A toolchain that rustup set for this process would win over `+nightly`.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").args(["+nightly", "fuzz"]);
    command.args(args).current_dir(workspace().join("tests"));
    if let Ok(path) = path {
        command.env("PATH", path);
    }
    command
}

fn list() -> Result<Vec<String>> {
    let out = fuzz(&["list"]).output().context("`cargo fuzz` did not start")?;
    Ok(String::from_utf8(out.stdout)?.lines().map(str::to_owned).collect())
}

fn have_cargo_fuzz() -> Result<()> {
    if fuzz(&["--version"]).output().is_ok_and(|out| out.status.success()) {
        return Ok(());
    }
    complain("installing cargo-fuzz; once, some minutes");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let install = ["install", "--debug", "--quiet", "--locked", "cargo-fuzz", "--version", VERSION];
    let root = workspace().join("target/tools");
    let status = Command::new(cargo).args(install).arg("--root").arg(root).status()?;
    if !status.success() || !fuzz(&["--version"]).output().is_ok_and(|out| out.status.success()) {
        bail!("cargo-fuzz needs a nightly toolchain: `rustup toolchain install nightly`");
    }
    Ok(())
}
