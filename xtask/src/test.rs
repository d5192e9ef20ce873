//! `cargo xtask test`: all tests, with what they need put in place before.
//!
//! In: arguments for `cargo test`. Out: its own output and exit code.
//!
//! At home what cannot be installed or fetched makes the tests that need it skip; in CI (`CI` is
//! set) it fails the run.
//!
//! Source: none.
//!
//! Not here: the tests.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lab::{parts, tools};
use talforge::talos::Arch;

use crate::{Done, complain, say};

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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--no-fail-fast"]).args(&arguments.cargo);
    let mut child = command.stdout(Stdio::piped()).spawn().context("`cargo test`")?;
    let mut sum = Sum::default();
    for line in BufReader::new(child.stdout.take().context("a pipe was asked for")?).lines() {
        let line = line?;
        say(&line);
        sum.add(&line);
    }
    let status = child.wait()?;
    say(&format!("\nall targets together:\n{}", sum.line(status.success())));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    fn summaries_add_up() {
        let mut sum = Sum::default();
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        sum.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured");
        sum.add("test other ... ok");
        assert_eq!(sum.line(false), "test result: FAILED. 5 passed; 4 failed; 1 ignored");
    }
}
