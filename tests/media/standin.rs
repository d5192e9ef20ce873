//! Media of a real kernel, systemd-boot and systemd-stub, read by systemd's own `ukify`.
//!
//! `ukify` and the library that it needs are packages of Debian 13, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::apt::Suite;
use lab::standin::{self, Options, Standin};
use lab::{parts, tools};
use serde_json::Value;
use talforge::digest::Digest;
use talforge::talos::Arch;

use crate::fixture::{self, Site, TALOS};
use crate::oracle::{self, Volume};

/// The stand-in, or nothing where this machine cannot have it.
fn standin(arch: Arch) -> Result<Option<Standin>> {
    let Some(parts) = parts::ready(arch) else { return Ok(None) };
    if !tools::have(&standin::tools(arch)) || !fixture::have(&oracle::TOOLS) {
        return Ok(None);
    }
    standin::build(&parts, Options::default()).map(Some)
}

/// The folder of `ukify` and its library, or nothing where they cannot be had.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn ukify() -> Option<PathBuf> {
    match fetch() {
        Ok(folder) => Some(folder),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no ukify: {error:#}");
            eprintln!("skipped: no ukify: {error:#}");
            None
        }
    }
}

fn fetch() -> Result<PathBuf> {
    // The lists of the suite are those of the boot parts.
    let _alone = parts::lock("parts")?;
    let cache = parts::cache()?;
    let folder = cache.join("ukify");
    if !folder.exists() {
        let suite = Suite::open("trixie", cache.join("apt/trixie"))?;
        let aside = tempfile::Builder::new().prefix(".partial-").tempdir_in(&cache)?;
        for package in ["systemd-ukify", "python3-pefile"] {
            suite.unpack(package, &aside.path().join(package))?;
        }
        std::fs::rename(aside.keep(), &folder)?;
    }
    Ok(folder)
}

/// What `ukify inspect` says of a program.
fn inspect(ukify: &Path, program: &Path) -> Result<Value> {
    let script = ukify.join("systemd-ukify/usr/bin/ukify");
    let library = ukify.join("python3-pefile/usr/lib/python3/dist-packages");
    let mut command = Command::new(tools::find("python3").context("python3 is here")?);
    command.arg(script).args(["--json=short", "inspect"]).arg(program);
    let out = command.env("PYTHONPATH", library).env("PYTHONDONTWRITEBYTECODE", "1").output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(serde_json::from_slice(&out.stdout)?)
}

#[test]
fn ukify_finds_real_boot_assets_in_ukis_and_addons_as_they_were() {
    if !tools::have(&["python3", "apt-get", "dpkg-deb"]) {
        return;
    }
    for arch in Arch::ALL {
        let Some(standin) = standin(arch).unwrap() else { return };
        let Some(ukify) = ukify() else { return };
        let site = Site::new(arch).unwrap();
        for name in Standin::FILES {
            let bytes = std::fs::read(standin.file(name)).unwrap();
            site.write(&format!("assets/{name}"), &bytes).unwrap();
        }
        site.nodes(&["name: cp, role: controlplane, config: cp.yaml, profile: metal-iso"]).unwrap();
        site.build().unwrap();

        let volume = Volume::of(&site.path("out/cp.iso"), 512).unwrap();
        volume.check().unwrap();
        let uki = format!("EFI/Linux/Talos-{TALOS}.efi");
        site.write("uki.efi", &volume.content(&uki).unwrap()).unwrap();
        let addon = volume.content(&format!("{uki}.extra.d/talforge.addon.efi")).unwrap();
        site.write("addon.efi", &addon).unwrap();

        let told = inspect(&ukify, &site.path("uki.efi")).unwrap();
        for (section, file) in [(".linux", "vmlinuz"), (".initrd", "initramfs.xz")] {
            let bytes = std::fs::read(standin.file(file)).unwrap();
            assert_eq!(told[section]["size"], bytes.len(), "{section}");
            assert_eq!(told[section]["sha256"], Digest::of(&bytes).to_string(), "{section}");
        }
        let plan = site.run(&["plan"]).unwrap().well().unwrap().text();
        // Of sections with one name `ukify` shows the last: here that of the entry that wipes.
        let line = told[".cmdline"]["text"].as_str().unwrap();
        let line = line.strip_suffix(" talos.experimental.wipe=system").unwrap();
        assert!(plan.contains(&format!("cmdline  {line}\n")), "{plan}");

        let told = inspect(&ukify, &site.path("addon.efi")).unwrap();
        let initrd = oracle::section(arch, &addon, ".initrd").unwrap();
        assert_eq!(told[".initrd"]["sha256"], Digest::of(&initrd).to_string());
        let uname = told[".uname"]["text"].as_str();
        assert_eq!(uname.is_some(), arch == Arch::Amd64);
        uname.into_iter().for_each(|uname| assert!(uname.starts_with("6.1."), "{uname}"));
    }
}
