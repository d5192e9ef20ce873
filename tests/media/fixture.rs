//! A site's folder: boot assets, machine configs, site file.
//!
//! In: an architecture, nodes. Out: a folder that `talforge build` takes, and what it says there.
//!
//! Source: none.
//!
//! Not here: what the media hold.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::product::{self, Said};
use lab::tools;
use talforge::talos::Arch;
use tempfile::TempDir;

use crate::assets::{self, TOOLS};

/// The release that sites name if a test says nothing.
pub(crate) const TALOS: &str = "v1.13.9";

/// What a config must never show.
pub(crate) const CANARY: &str = "c4n4ry-7f3e9d";

/// A site's folder. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    arch: Arch,
}

/// Whether the programs that assets are made with are here, and those besides.
pub(crate) fn have(programs: &[&str]) -> bool {
    tools::have(&[TOOLS.as_slice(), programs].concat())
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

impl Site {
    /// A folder with assets in `assets/` and the configs `cp.yaml` and `w.yaml`.
    ///
    /// # Errors
    ///
    /// Where assets cannot be made, or files not be written.
    pub(crate) fn new(arch: Arch) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()?, arch };
        for (name, bytes) in assets::of(arch)? {
            site.write(&format!("assets/{name}"), bytes)?;
        }
        site.write("cp.yaml", config("controlplane").as_bytes())?;
        site.write("w.yaml", config("worker").as_bytes())?;
        Ok(site)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads a file of the folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.path(name)).with_context(|| name.to_owned())
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, bytes).with_context(|| name.to_owned())
    }

    /// Writes `site.yaml` with nodes, one in braces a line.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub(crate) fn nodes(&self, nodes: &[&str]) -> Result<()> {
        let arch = self.arch;
        let boot = format!("{{assets: \"dir:assets\", arch: {arch}}}");
        self.site(TALOS, &boot, nodes)
    }

    /// Writes `site.yaml` for a release of Talos and boot assets.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub(crate) fn site(&self, talos: &str, boot: &str, nodes: &[&str]) -> Result<()> {
        let mut text = format!(
            "version: 1\n\
             cluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: {talos}}}\n\
             boot: {boot}\nnodes:\n"
        );
        nodes.iter().for_each(|node| text += &format!("  - {{{node}}}\n"));
        text += "silence: [planes-none, planes-even]\n";
        self.write("site.yaml", text.as_bytes())
    }

    /// Runs talforge in the folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Said> {
        product::run(self.folder(), args)
    }

    /// Builds the site, which must go well.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub(crate) fn build(&self) -> Result<Said> {
        self.run(&["build"])?.well()
    }
}

/// A text without its large hexadecimal numbers: they depend on how foreign programs compress.
pub(crate) fn steady(text: &str) -> String {
    let mut parts = text.split("0x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        out += if end < 4 { "0x" } else { "0x…" };
        out += if end < 4 { part } else { &part[end..] };
    }
    out
}

/// A machine config that Talos takes, with a canary wherever there is a secret that may have any
/// text.
pub(crate) fn config(role: &str) -> String {
    let text = match role {
        "controlplane" => include_str!("../talos-gen/talos-1.13/controlplane.yaml"),
        _ => include_str!("../talos-gen/talos-1.13/worker.yaml"),
    };
    let old = if role == "controlplane" { "type: controlplane" } else { "type: worker" };
    let mut config = format!("# {CANARY}\n");
    let text = text.replace(old, &format!("type: {role}")).replace(":v1.13.0", ":v1.13.9");
    for line in text.replace("/dev/nvme0n1", "/dev/disk/by-id/nvme-1").lines() {
        let (key, _) = line.split_once(':').unwrap_or_default();
        match key.trim() {
            "token" | "id" => config += &format!("{key}: {CANARY}\n"),
            "certSANs" => {
                config += &format!(
                    "{line}\n    files:\n        - {{content: {CANARY}, path: /var/x, op: create}}\n"
                );
            }
            _ => config += &format!("{line}\n"),
        }
    }
    config
}

/// A profile of a disk that is as small as its file system allows.
pub(crate) fn small_disk(sector: u32, esp: &str) -> String {
    format!(
        "version: 1\nabout: small disk\narch: [amd64, arm64]\nplatform: metal\n\
         kernel_args: {{amd64: [console=tty0], arm64: [console=ttyAMA0]}}\n\
         output: {{disk: {{sector: {sector}, esp: {esp}, size: auto, timeout: 3}}}}\n"
    )
}
