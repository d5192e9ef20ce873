//! `cargo xtask demo`: the product's main job, on a site of three nodes, and one of them booted.
//!
//! In: the example site of `profiles/`. Out: its media in `out/demo/out`, and what one of them found
//! when it was booted.
//!
//! The boot assets are stand-ins: a kernel of Debian's, systemd's own stub and boot loader, and an
//! initramfs that finds its config by Talos' rules.
//!
//! Source: none.
//!
//! Not here: how media are built (`builder`) and booted (`lab::qemu`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use lab::parts;
use lab::qemu::{Bus, Firmware, Machine, Medium, Start};
use lab::standin::{self, Options};
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::SectorSize;

use crate::{Done, complain, say, test, workspace};

/// The node that is booted: a raw disk.
const BOOTED: (&str, &str, &str) = ("w-1", "w-1.raw", "configs/w-1.yaml");

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder that the site and its media are put into
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    test::install()?;
    complain("fetching a kernel, systemd's EFI programs and firmware; once");
    let parts = parts::fetch(Arch::Amd64)?;
    let standin = standin::build(&parts, Options::default())?;
    let root = workspace();
    let folder = root.join(&arguments.folder);
    copy(&root.join("profiles/example/homelab"), &folder)?;
    copy(&standin.folder, &folder.join("assets"))?;
    let program = program(&root)?;
    talforge(&program, &folder, &["plan"])?;
    talforge(&program, &folder, &["build"])?;
    talforge(&program, &folder, &["inspect", &format!("out/{}", BOOTED.1)])?;
    boot(&folder)
}

/// Builds the program, for it is what a user runs.
pub(crate) fn program(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "--locked", "--package", "talforge"];
    let status = Command::new(cargo).args(build).current_dir(root).status()?;
    ensure!(status.success(), "`cargo {}`: {status}", build.join(" "));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/talforge"))
}

fn talforge(program: &Path, folder: &Path, args: &[&str]) -> Result<()> {
    say(&format!("\n$ talforge {}", args.join(" ")));
    let status = Command::new(program).args(args).current_dir(folder).status()?;
    ensure!(status.success(), "`talforge {}`: {status}", args.join(" "));
    Ok(())
}

/// Copies a folder's files and folders over what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("`{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("`{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn boot(folder: &Path) -> Done {
    let (node, image, config) = BOOTED;
    say(&format!("\nbooting {node} from {image}: QEMU, UEFI, a disk"));
    let image = folder.join("out").join(image);
    let disk = Medium::Disk(Bus::Virtio, SectorSize::B512);
    let verdict = Machine::new("demo", Start::Medium(Firmware::Ovmf, disk, image)).boot()?;
    let want = Digest::of(&fs::read(folder.join(config))?);
    for key in ["efi.StubInfo", "layers", "layer.0", "config.sha256", "cmdline"] {
        say(&format!("  {key:<14} {}", verdict.report.get(key).unwrap_or("-")));
    }
    if let Err(why) = verdict.expect_config(want) {
        complain(&format!("error: {node} did not find {config}: {why}"));
        return Ok(ExitCode::FAILURE);
    }
    say(&format!(
        "  it is {config} of {node}, found after {:.1} s; the media are in {}",
        verdict.wall.as_secs_f64(),
        folder.join("out").display()
    ));
    Ok(ExitCode::SUCCESS)
}
