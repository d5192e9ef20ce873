//! `cargo xtask audit`: licences, advisories and sources of all that the program is linked with.
//!
//! In: `Cargo.lock` and `deny.toml`. Out: what `cargo deny` says.
//!
//! The database of advisories comes from the internet. Where that cannot be reached, the rest is
//! checked and a line says what was not.
//!
//! Source: <https://embarkstudios.github.io/cargo-deny/>.
//!
//! Not here: the rules (`deny.toml`).

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{Done, complain, workspace};

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";

pub(crate) fn run() -> Done {
    let program = program()?;
    let check = |what: &[&str]| -> Result<bool> {
        let mut command = Command::new(&program);
        command.args(["--log-level", "error", "check"]).args(what).current_dir(workspace());
        Ok(command.status().with_context(|| format!("`{}`", program.display()))?.success())
    };
    if !check(&["licenses", "bans", "sources"])? {
        return Ok(ExitCode::FAILURE);
    }
    if !check(&["advisories"])? {
        // A finding and a database that cannot be had end alike; only the second may pass.
        if advisories_are_here() {
            return Ok(ExitCode::FAILURE);
        }
        complain("warning: the advisory database could not be fetched; advisories not checked");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a database of advisories was fetched, now or before.
fn advisories_are_here() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let folder = home.map(|home| home.join("advisory-dbs"));
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    entries.into_iter().flatten().flatten().any(|db| db.path().join("crates").is_dir())
}

fn program() -> Result<PathBuf> {
    if let Some(found) = lab::tools::find("cargo-deny") {
        return Ok(found);
    }
    let root = workspace().join("target/tools");
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        complain("installing cargo-deny; once, some minutes");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let install =
            ["install", "--debug", "--quiet", "--locked", "cargo-deny", "--version", VERSION];
        let status = Command::new(cargo).args(install).arg("--root").arg(&root).status()?;
        if !status.success() {
            bail!("cargo-deny could not be installed; `cargo install cargo-deny` tells why");
        }
    }
    Ok(program)
}
