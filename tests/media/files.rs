//! The files of an output folder: who may read them, and what a second build does to them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use talforge::digest::Digest;
use talforge::talos::Arch;

use crate::fixture::{self, Site, config};

/// The names and modes of all below a folder, sorted.
fn modes(folder: &Path) -> Result<Vec<(String, u32)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            let mode = path.symlink_metadata()?.permissions().mode();
            found.push((path.strip_prefix(folder)?.display().to_string(), mode));
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found.sort();
    Ok(found)
}

fn site(nodes: &[&str]) -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.nodes(nodes)?;
    Ok(site)
}

/// The lines of `SHA256SUMS` by their names, and the nodes of `manifest.json`.
fn lists(site: &Site) -> Result<(Vec<String>, Value)> {
    let sums = String::from_utf8(site.read("out/SHA256SUMS")?)?;
    let manifest: Value = serde_json::from_slice(&site.read("out/manifest.json")?)?;
    Ok((sums.lines().map(str::to_owned).collect(), manifest["nodes"].clone()))
}

fn digest(site: &Site, name: &str) -> Result<String> {
    Ok(Digest::of(&site.read(name)?).to_string())
}

#[test]
fn media_are_for_their_owner_alone_and_nothing_else_is_left() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[
        "name: cp, role: controlplane, config: cp.yaml",
        "name: net, role: worker, config: w.yaml, profile: metal-pxe",
    ])
    .unwrap();
    // What a killed build leaves is removed by the next.
    site.write("out/.talforge-1-0.tmp", b"left").unwrap();
    site.build().unwrap();
    assert_eq!(
        modes(&site.path("out")).unwrap(),
        [
            (".talforge-state", 0o100_600),
            ("SHA256SUMS", 0o100_644),
            ("cp.iso", 0o100_600),
            ("manifest.json", 0o100_644),
            ("net", 0o040_755),
            ("net/cmdline-metal-amd64", 0o100_600),
            ("net/initramfs-metal-amd64.xz", 0o100_600),
            ("net/kernel-amd64", 0o100_600),
            ("net/metal-amd64-uki.efi", 0o100_600),
        ]
        .map(|(name, mode)| (name.to_owned(), mode))
    );
}

/// Who has a medium open, to flash it, reads the old one to its end.
#[test]
fn a_second_build_puts_new_files_in_the_place_of_old_ones() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&["name: cp, role: controlplane, config: cp.yaml"]).unwrap();
    site.build().unwrap();
    let old = site.read("out/cp.iso").unwrap();
    let mut open = File::open(site.path("out/cp.iso")).unwrap();
    // A looser mode of an earlier file is not taken over.
    fs::set_permissions(site.path("out/cp.iso"), fs::Permissions::from_mode(0o644)).unwrap();
    let changed = config("controlplane") + "# changed\n";
    site.write("cp.yaml", changed.as_bytes()).unwrap();
    site.build().unwrap();

    let mut read = Vec::new();
    open.read_to_end(&mut read).unwrap();
    assert!(read == old, "the open file changed");
    assert!(site.read("out/cp.iso").unwrap() != old, "the medium did not change");
    let shown = site.run(&["config", "show", "out/cp.iso"]).unwrap().well().unwrap();
    assert_eq!(shown.text(), changed);
    let mode = fs::metadata(site.path("out/cp.iso")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A build that fails changes nothing, neither file nor list.
#[test]
fn a_build_that_fails_leaves_what_was_there() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&["name: cp, role: controlplane, config: cp.yaml"]).unwrap();
    site.build().unwrap();
    let names = ["out/cp.iso", "out/SHA256SUMS", "out/manifest.json"];
    let before = names.map(|name| digest(&site, name).unwrap());
    let cut = site.read("assets/initramfs.xz").unwrap();
    site.write("assets/initramfs.xz", &cut[..cut.len() / 2]).unwrap();
    assert_eq!(site.run(&["build"]).unwrap().code, Some(4));
    site.write("assets/initramfs.xz", &cut).unwrap();
    site.nodes(&["name: cp, role: worker, config: cp.yaml"]).unwrap();
    assert_eq!(site.run(&["build"]).unwrap().code, Some(1));
    assert_eq!(names.map(|name| digest(&site, name).unwrap()), before);
    assert_eq!(modes(&site.path("out")).unwrap().len(), names.len() + 1);
}

/// Of two nodes, one cannot be built: the other one is, and the exit code tells.
#[test]
fn a_node_that_fails_does_not_keep_the_others_from_being_built() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site(&[
        "name: bad, role: worker, config: w.yaml, profile: tight.yaml",
        "name: good, role: worker, config: w.yaml",
    ])
    .unwrap();
    site.write("tight.yaml", fixture::small_disk(512, "8MiB").as_bytes()).unwrap();
    let said = site.run(&["build"]).unwrap();
    assert_eq!(said.code, Some(1));
    let shown = said.err.lines().filter(|line| !line.contains("written"));
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r"
    1 built; not built: bad
    error: node `bad`: the EFI partition cannot be laid out: a FAT32 volume needs at least 34MiB, and is to have 8MiB
    help: give its profile a larger `esp`, or take smaller boot assets
    ");
    let (sums, nodes) = lists(&site).unwrap();
    assert_eq!(sums, [format!("{}  good.iso", digest(&site, "out/good.iso").unwrap())]);
    assert_eq!(nodes.as_object().unwrap().keys().collect::<Vec<_>>(), ["good"]);
    assert!(!site.path("out/bad.raw").exists());
}

#[test]
fn one_node_alone_is_built_and_the_lists_keep_the_others() {
    if !fixture::have(&[]) {
        return;
    }
    let nodes = ["a", "b", "c"]
        .map(|name| format!("name: {name}, role: worker, config: w.yaml, profile: metal-iso"));
    let site = site(&nodes.each_ref().map(String::as_str)).unwrap();
    site.build().unwrap();
    let (sums, before) = lists(&site).unwrap();
    let kept = fs::metadata(site.path("out/a.iso")).unwrap();

    site.write("w.yaml", (config("worker") + "# changed\n").as_bytes()).unwrap();
    let said = site.run(&["build", "-n", "b"]).unwrap().well().unwrap();
    assert_eq!(said.text(), format!("{}  out/b.iso\n", digest(&site, "out/b.iso").unwrap()));
    let (new_sums, after) = lists(&site).unwrap();
    assert_eq!((&new_sums[0], &new_sums[2]), (&sums[0], &sums[2]));
    assert_eq!(new_sums[1], format!("{}  b.iso", digest(&site, "out/b.iso").unwrap()));
    assert_eq!((&after["a"], &after["c"]), (&before["a"], &before["c"]));
    assert_ne!(after["b"], before["b"]);
    let now = fs::metadata(site.path("out/a.iso")).unwrap();
    assert_eq!(now.modified().unwrap(), kept.modified().unwrap());
}

/// A file that is gone is not listed any more.
#[test]
fn the_lists_forget_files_that_are_gone() {
    if !fixture::have(&[]) {
        return;
    }
    let site =
        site(&["name: a, role: worker, config: w.yaml", "name: b, role: worker, config: w.yaml"]);
    let site = site.unwrap();
    site.build().unwrap();
    fs::remove_file(site.path("out/a.iso")).unwrap();
    site.run(&["build", "--node", "b"]).unwrap().well().unwrap();
    let (sums, nodes) = lists(&site).unwrap();
    let names: Vec<_> =
        sums.iter().map(|line| line.split_once("  ").context("a pair").unwrap().1).collect();
    assert_eq!(names, ["b.iso"]);
    assert_eq!(nodes.as_object().unwrap().keys().collect::<Vec<_>>(), ["b"]);
}
