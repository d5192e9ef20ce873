//! `cargo xtask test`: all tests, with what they need put in place before.
//!
//! In: arguments for `cargo test`. Out: its own output and exit code.
//!
//! Test programs run two at a time, each with half of the processors: much of a boot waits for
//! another machine's one processor, and the last tests of a program often wait for one of them.
//!
//! At home what cannot be installed or fetched makes the tests that need it skip; in CI (`CI` is
//! set) it fails the run.
//!
//! Source: The Cargo Book, "External tools", for the messages of a build.
//!
//! Not here: the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lab::{parts, tools};
use serde_json::Value;
use talforge::parallel;
use talforge::talos::Arch;

use crate::{Done, complain, say};

/// How many test programs run at once.
const LANES: usize = 2;

/// The test programs that take longest, so that none of them is left alone at the end.
const LONG: [&str; 9] =
    ["matrix", "custom", "foreign", "packed", "volume", "sources", "assets", "media", "talforge"];

/// The Debian packages whose programs and files the tests use.
const PACKAGES: &[&str] = &[
    "age",
    "apache2-utils",
    "attr",
    "binutils",
    "bmap-tools",
    "btrfs-progs",
    "busybox-static",
    "cpio",
    "curl",
    "docker-registry",
    "dosfstools",
    "fdisk",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "gdisk",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "kmod",
    "libarchive-tools",
    "libc6-dev",
    "libc6-dev-arm64-cross",
    "libvhdi-utils",
    "libvmdk-utils",
    "libxml2-utils",
    "mtools",
    "nginx-light",
    "openssl",
    "p7zip-full",
    "python3",
    "python3-zstandard",
    "qemu-efi-aarch64",
    "qemu-system-arm",
    "qemu-system-x86",
    "qemu-utils",
    "sbsigntool",
    "skopeo",
    "squashfs-tools",
    "strace",
    "u-boot-qemu",
    "umoci",
    "util-linux",
    "xfsprogs",
    "xorriso",
    "xz-utils",
    "zstd",
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Arguments for `cargo test`
    #[arg(last = true)]
    cargo: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    excuse(install())?;
    for arch in Arch::ALL {
        excuse(parts::fetch(arch).map(drop).with_context(|| format!("boot parts for {arch}")))?;
    }
    let words = &arguments.cargo;
    let (build, test) = words.split_at(words.iter().position(|w| w == "--").unwrap_or(words.len()));
    let Some(programs) = programs(build)? else { return Ok(ExitCode::FAILURE) };
    let threads = (parallel::processors() / LANES).max(1).to_string();
    let sum = Mutex::new(Sum::default());
    let mut results = parallel::in_order(LANES, &programs, |program| -> Result<bool> {
        let mut command = Command::new(&program.path);
        command.args(test.iter().skip(1)).env("RUST_TEST_THREADS", &threads);
        let out = command.current_dir(&program.folder).stdin(Stdio::null()).output();
        let out = out.with_context(|| format!("`{}`", program.path.display()))?;
        tell(&program.name, &out, &sum);
        Ok(out.status.success())
    });
    // Examples in the documentation are no programs of their own.
    let out = cargo(&["test", "--workspace", "--doc"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("`cargo test --doc`")?;
    tell("documentation", &out, &sum);
    results.push(Ok(out.status.success()));
    let results: Vec<bool> = results.into_iter().collect::<Result<_>>()?;
    let is_ok = !results.contains(&false);
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("all targets together:\n{}", sum.line(is_ok)));
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program with tests.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    path: PathBuf,
    /// Its package's folder, in which tests run.
    folder: PathBuf,
}

impl Program {
    /// Reads a message of a build.
    fn of(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let is_test = message["profile"]["test"].as_bool()?;
        let path = message["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        let name = message["target"]["name"].as_str()?;
        Some(Self { name: name.to_owned(), path: path.into(), folder: folder.to_owned() })
    }
}

/// Builds the test programs, and lists them, those that take longest first; nothing where they
/// cannot be built.
fn programs(arguments: &[String]) -> Result<Option<Vec<Program>>> {
    let build = ["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let out = cargo(&build).args(arguments).stderr(Stdio::inherit()).output();
    let out = out.context("`cargo test` did not start")?;
    if !out.status.success() {
        return Ok(None);
    }
    let mut programs: Vec<_> =
        String::from_utf8_lossy(&out.stdout).lines().filter_map(Program::of).collect();
    let place = |program: &Program| LONG.iter().position(|name| *name == program.name);
    programs.sort_by_key(|program| place(program).unwrap_or(LONG.len()));
    Ok(Some(programs))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments);
    command
}

/// Tells what a program said, all of it together.
fn tell(name: &str, out: &Output, sum: &Mutex<Sum>) {
    let text = String::from_utf8_lossy(&out.stdout);
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    text.lines().for_each(|line| sum.add(line));
    say(&format!("     Running {name}\n{text}{}", String::from_utf8_lossy(&out.stderr)));
    if !out.status.success() {
        say(&format!("`{name}` ended with {}\n", out.status));
    }
}

/// The summaries of all test programs, added up.
#[derive(Debug, Default)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sum {
    /// Adds `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.ignored += count,
                _ => {}
            }
        }
    }

    fn line(&self, is_ok: bool) -> String {
        let Self { passed, failed, ignored } = self;
        let verdict = if is_ok { "ok" } else { "FAILED" };
        format!("test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored")
    }
}

/// Lets the tests run at home with less than all.
fn excuse(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if std::env::var_os("CI").is_none() => {
            complain(&format!("warning: {error:#}; tests that need it will skip"));
            Ok(())
        }
        other => other,
    }
}

/// Installs the packages that are missing, as root or where `sudo` asks for no password.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<_> =
        PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    let here = Path::new(".");
    let become_root: &[&str] = match tools::stdout("id", &["-u"], here)?.trim() {
        "0" => &["env"],
        _ if tools::run("sudo", &["-n", "true"], here).is_ok_and(|out| out.status.success()) => {
            &["sudo", "-n", "env"]
        }
        _ => bail!("packages are missing; run as root: {line}"),
    };
    complain(&format!("installing {}", missing.join(" ")));
    let apt = |args: &[&str]| {
        let (program, rest) = become_root.split_first().context("`env` at least")?;
        let rest = rest.iter().chain(&["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        let args: Vec<&str> = rest.chain(args).copied().collect();
        tools::stdout(program, &args, here)
    };
    apt(&["update"])?;
    let options = ["install", "--no-install-recommends"];
    apt(&[&options[..], &missing[..]].concat()).with_context(|| format!("`{line}`"))?;
    ensure!(missing.iter().all(|package| is_installed(package)), "`{line}` left some out");
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let show = ["-W", "-f", "${db:Status-Status}", package];
    tools::run("dpkg-query", &show, Path::new(".")).is_ok_and(|out| out.stdout == b"installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_tests_are_found_in_a_builds_messages() {
        let message = |is_test: bool, executable: &str| {
            format!(
                r#"{{"reason": "compiler-artifact", "manifest_path": "/w/tests/Cargo.toml",
                "target": {{"name": "boot"}}, "profile": {{"test": {is_test}}},
                "executable": {executable}}}"#
            )
        };
        let program = Program::of(&message(true, "\"/w/target/boot-1\"")).unwrap();
        assert_eq!(
            (program.name.as_str(), program.folder.as_path()),
            ("boot", Path::new("/w/tests"))
        );
        assert_eq!(Program::of(&message(false, "\"/w/target/boot\"")), None);
        assert_eq!(Program::of(&message(true, "null")), None);
        assert_eq!(Program::of(r#"{"reason": "build-finished", "success": true}"#), None);
    }

    #[test]
    fn summaries_add_up() {
        let mut sum = Sum::default();
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        sum.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured");
        sum.add("test other ... ok");
        assert_eq!(sum.line(false), "test result: FAILED. 5 passed; 4 failed; 1 ignored");
    }
}
