//! The built program, run as a person runs it.
//!
//! In: a folder, arguments. Out: what it said, and its exit code.
//!
//! Source: `cargo help build` for where programs are built.
//!
//! Not here: what is in the folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::tools;

/// What the program said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: Vec<u8>,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Reads what a finished program said.
    pub fn of(output: Output) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), out: output.stdout, err }
    }

    /// The standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The same, if it did its work.
    ///
    /// # Errors
    ///
    /// What it said, where its exit code is not 0.
    pub fn well(self) -> Result<Self> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}{}", self.code, self.text(), self.err);
        Ok(self)
    }

    /// The whole standard output as one JSON value.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.out).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// The standard output as one JSON object a line.
    ///
    /// # Errors
    ///
    /// Where a line is none.
    pub fn events(&self) -> Result<Vec<Value>> {
        let event = |line: &str| {
            let value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
            value.and_then(|value: Value| {
                ensure!(value.is_object(), "no object: {line}");
                Ok(value)
            })
        };
        self.text().lines().map(event).collect()
    }
}

/// The program, built from the sources as they are.
///
/// # Errors
///
/// Where cargo does not build it.
pub fn program() -> Result<PathBuf> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

/// Builds the program beside the running test: in the same target folder and profile.
fn build() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test lies in `<target>/<profile>/deps`")?;
    let target = profile.parent().context("a profile's folder lies in the target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "talforge", "--bin", "talforge"]);
    command.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let out = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().context("cargo starts")?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let program = profile.join("talforge");
    ensure!(program.is_file(), "cargo built no `{}`", program.display());
    Ok(program)
}

/// The program with arguments, ready to run in a folder: in the C locale, UTC, and with no other
/// variables than those that programs are found by. It is started by the program `by`, such as
/// `strace` with its own arguments, or where that is empty as it is.
///
/// # Errors
///
/// Where it cannot be built.
pub fn command(by: &[&str], folder: &Path, args: &[&str]) -> Result<Command> {
    command_of(&program()?, by, folder, args)
}

/// The same for a program that lies elsewhere, such as a copy.
///
/// # Errors
///
/// Where there is no `by`.
pub fn command_of(program: &Path, by: &[&str], folder: &Path, args: &[&str]) -> Result<Command> {
    let mut command = match by.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(tools::find(first).context("the starter is here")?);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(args).current_dir(folder).env_clear();
    command.env("LC_ALL", "C").env("TZ", "UTC");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ok(command)
}

/// Runs the program in a folder to its end.
///
/// # Errors
///
/// Where it cannot be built or started.
pub fn run(folder: &Path, args: &[&str]) -> Result<Said> {
    Ok(Said::of(command(&[], folder, args)?.output().context("talforge starts")?))
}
