//! Foreign programs that judge what we write.
//!
//! In: their names. Out: whether a test can run, and what they say.
//!
//! Not here: what a verdict means.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// Whether all programs are here. Where one is missing, the test that asks skips: at home with a
/// line on standard error, and in CI (`CI` is set) by failing.
///
/// # Panics
///
/// In CI, where a program is missing.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|p| find(p).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "missing: {missing:?}; `cargo xtask test` installs");
    say(&format!("skipped: missing {missing:?}; `cargo xtask test` installs them"));
    false
}

/// The path of a program, looked for in `PATH` and where Debian keeps administrators' programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a program to its end, in the C locale.
///
/// # Errors
///
/// Where it is not here or cannot be started. Its own exit code is for the caller to judge.
pub fn run(program: &str, args: &[&str], dir: &Path) -> Result<Output> {
    let path = find(program).with_context(|| format!("`{program}` is not installed"))?;
    let mut command = Command::new(path);
    command.args(args).current_dir(dir).env("LC_ALL", "C").env("TZ", "UTC");
    command.output().with_context(|| format!("`{program}` did not start"))
}

/// Runs a program that must succeed, and gives its standard output.
///
/// # Errors
///
/// Where it fails; the error holds what it said.
pub fn stdout(program: &str, args: &[&str], dir: &Path) -> Result<String> {
    let out = run(program, args, dir)?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "`{program} {}`: {}\n{text}\n{errors}",
        args.join(" "),
        out.status
    );
    Ok(text)
}

/// Says a line on standard error.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
