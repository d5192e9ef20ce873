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

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lab::{parts, tools};
use talforge::talos::Arch;

use crate::{Done, complain};

/// The Debian packages whose programs and files the tests use.
const PACKAGES: [&str; 27] = [
    "attr",
    "binutils",
    "btrfs-progs",
    "cpio",
    "dosfstools",
    "fdisk",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "gdisk",
    "grub-common",
    "grub-pc-bin",
    "libc6-dev",
    "libc6-dev-arm64-cross",
    "mtools",
    "openssl",
    "qemu-efi-aarch64",
    "qemu-system-arm",
    "qemu-system-x86",
    "qemu-utils",
    "sbsigntool",
    "squashfs-tools",
    "strace",
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
    let status = command.args(["test", "--workspace"]).args(&arguments.cargo).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    let missing: Vec<_> = PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
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
