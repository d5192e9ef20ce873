//! What a site costs: blocks on disk for each further node, programs that are run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::product::{self, Said};
use lab::tools;
use talforge::talos::Arch;

use crate::fixture::{self, Site, config, small_disk};
use lab::noise::noise;

/// A file system that can share blocks, in a file; unmounted when this is dropped.
struct Xfs {
    folder: tempfile::TempDir,
}

impl Xfs {
    fn mount() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let script = "truncate -s 320M image; mkfs.xfs -q -m reflink=1 image
                      mkdir mount; mount -o loop image mount";
        tools::stdout("sh", &["-ec", script], folder.path())?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// The bytes in use, after all is written.
    fn used(&self) -> Result<u64> {
        let script = "sync -f mount; df --output=used -B1 mount | tail -n1";
        let text = tools::stdout("sh", &["-ec", script], self.folder.path())?;
        text.trim().parse().context("df tells a number")
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        // A drop cannot fail; a mount that stays would show in the next run.
        let _ = tools::run("umount", &["mount"], self.folder.path());
    }
}

#[test]
fn a_further_node_takes_no_more_than_64_kib_where_blocks_can_be_shared() {
    if !fixture::have(&["mkfs.xfs", "mount"]) || !fixture::is_root() {
        return;
    }
    const NODES: u64 = 30;
    let site = Site::new(Arch::Amd64).unwrap();
    let mut kernel = site.read("assets/vmlinuz").unwrap();
    kernel.extend(noise(1, 4 << 20));
    site.write("assets/vmlinuz", &kernel).unwrap();
    site.write("disk.yaml", small_disk(512, "40MiB").as_bytes()).unwrap();
    for profile in ["metal-iso", "disk.yaml"] {
        let node = |n: u64| {
            let unlike = format!("{}# node {n}\n", config("worker"));
            site.write(&format!("w-{n}.yaml"), unlike.as_bytes()).unwrap();
            format!(
                "name: w-{n}, role: worker, config: w-{n}.yaml, profile: {profile}, embed: addon"
            )
        };
        let nodes: Vec<_> = (0..NODES).map(node).collect();
        site.nodes(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let xfs = Xfs::mount().unwrap();
        let out = xfs.path().join("out").display().to_string();
        site.run(&["build", "--out", &out, "--node", "w-0"]).unwrap().well().unwrap();
        let first = xfs.used().unwrap();
        std::fs::remove_dir_all(&out).unwrap();
        site.run(&["build", "--out", &out]).unwrap().well().unwrap();
        let all = xfs.used().unwrap();
        let each = all.saturating_sub(first) / (NODES - 1);
        assert!(each <= 64 << 10, "{profile}: {each} bytes a node");
    }
}

/// The programs that a build starts, itself first.
fn programs(site: &Site) -> Result<Vec<String>> {
    let log = site.path("calls").display().to_string();
    let by = ["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-o", &log];
    Said::of(product::command(&by, site.folder(), &["build"])?.output()?).well()?;
    let text = String::from_utf8(site.read("calls")?)?;
    let started = text.lines().filter(|line| line.contains("exec") && line.ends_with("= 0"));
    let name =
        |line: &str| Some(Path::new(line.split('"').nth(1)?).file_name()?.to_str()?.to_owned());
    started.map(|line| name(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn a_build_runs_no_other_program_but_grubs_for_bios() {
    if !fixture::have(&["strace", "grub-mkimage"]) {
        return;
    }
    let site = Site::new(Arch::Amd64).unwrap();
    site.write("disk.yaml", small_disk(512, "36MiB").as_bytes()).unwrap();
    let nodes = [
        "name: iso, role: worker, config: w.yaml",
        "name: disk, role: worker, config: w.yaml, profile: disk.yaml",
        "name: net, role: worker, config: w.yaml, profile: metal-pxe",
        "name: both, role: worker, config: w.yaml, profile: metal-iso-hybrid",
    ];
    site.nodes(&nodes[..3]).unwrap();
    assert_eq!(programs(&site).unwrap(), ["talforge"]);
    site.nodes(&nodes).unwrap();
    assert_eq!(programs(&site).unwrap(), ["talforge", "grub-mkimage"]);
}
