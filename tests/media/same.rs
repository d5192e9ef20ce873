//! Same inputs, same bytes: in any folder, on any day, for anyone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use lab::product::{self, Said};
use lab::tools;
use talforge::talos::Arch;

use crate::fixture::{self, Site};

const NODES: [&str; 3] = [
    "name: iso, role: controlplane, config: cp.yaml, profile: metal-iso",
    "name: disk, role: worker, config: w.yaml, profile: disk-512.yaml, embed: initramfs, meta: {0x0c: \"rack 7\"}",
    "name: net, role: worker, config: w.yaml, profile: metal-pxe",
];

fn site() -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.write("disk-512.yaml", fixture::small_disk(512, "36MiB").as_bytes())?;
    site.nodes(&NODES)?;
    Ok(site)
}

/// Every file below a folder with its bytes' digest, as `sha256sum` tells it; but for the note that a
/// build leaves for the next one.
fn sums(folder: &Path) -> Result<BTreeMap<String, String>> {
    let script = "find . -type f -not -name .talforge-state | LC_ALL=C sort | xargs sha256sum";
    let text = tools::stdout("sh", &["-ec", script], folder)?;
    let pair = |line: &str| line.split_once("  ").map(|(sum, name)| (name.into(), sum.into()));
    Ok(text.lines().filter_map(pair).collect())
}

/// Sets all files' times below a folder.
fn touch(folder: &Path, time: SystemTime) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            touch(&path, time)?;
        } else {
            File::options().append(true).open(path)?.set_modified(time)?;
        }
    }
    Ok(())
}

/// What one build has around it.
struct World<'a> {
    umask: &'a str,
    /// The folder that it runs in, and the arguments that name site and output from there.
    folder: &'a Path,
    args: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
}

fn build(world: &World<'_>) -> Result<()> {
    let script = format!("umask {}; exec \"$0\" \"$@\"", world.umask);
    let args = [["build"].as_slice(), world.args].concat();
    let mut command = product::command(&["sh", "-ec", &script], world.folder, &args)?;
    Said::of(command.envs(world.env.iter().copied()).output()?).well()?;
    Ok(())
}

#[test]
fn builds_in_different_worlds_give_the_same_bytes() {
    if !fixture::have(&["sha256sum"]) {
        return;
    }
    let (here, there) = (site().unwrap(), site().unwrap());
    touch(there.folder(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890)).unwrap();
    build(&World { umask: "022", folder: here.folder(), args: &[], env: &[] }).unwrap();
    let (file, out) = (there.path("site.yaml"), there.path("deep/er/out"));
    let args = [&file.display().to_string(), "--out", &out.display().to_string(), "--quiet"];
    let env = [("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "tr_TR.UTF-8")];
    build(&World { umask: "077", folder: Path::new("/"), args: &args, env: &env }).unwrap();
    let here = sums(&here.path("out")).unwrap();
    assert_eq!(here.len(), 1 + 2 + 4 + 2, "{here:?}");
    assert_eq!(here, sums(&out).unwrap());
}

/// Another build of one node only, or in another order, changes no other byte.
#[test]
fn a_mediums_bytes_do_not_depend_on_the_others() {
    if !fixture::have(&["sha256sum"]) {
        return;
    }
    let (all, one) = (site().unwrap(), site().unwrap());
    all.build().unwrap();
    one.nodes(&[NODES[2], NODES[1], NODES[0]]).unwrap();
    for node in ["disk", "net", "iso"] {
        one.run(&["build", "--node", node]).unwrap().well().unwrap();
    }
    assert_eq!(sums(&all.path("out")).unwrap(), sums(&one.path("out")).unwrap());
}

#[test]
fn source_date_epoch_moves_every_medium() {
    if !fixture::have(&["sha256sum"]) {
        return;
    }
    let site = site().unwrap();
    let with = |epoch: &str, out: &str| {
        let env = [("SOURCE_DATE_EPOCH", epoch)];
        let args = ["--out", out];
        build(&World { umask: "022", folder: site.folder(), args: &args, env: &env })
    };
    with("1700000000", "new").unwrap();
    with("1700000000", "again").unwrap();
    build(&World { umask: "022", folder: site.folder(), args: &[], env: &[] }).unwrap();
    let (usual, new) = (sums(&site.path("out")).unwrap(), sums(&site.path("new")).unwrap());
    assert_eq!(new, sums(&site.path("again")).unwrap());
    let same: Vec<_> = usual.iter().filter(|(name, sum)| new.get(*name) == Some(sum)).collect();
    let names: Vec<_> = same.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["./net/cmdline-metal-amd64", "./net/kernel-amd64"], "these have no times");
    let said = with("tomorrow", "never").unwrap_err().to_string();
    assert!(said.contains("`SOURCE_DATE_EPOCH` is `tomorrow`, no time"), "{said}");
    assert!(!site.path("never").exists());
}

#[test]
fn coreutils_check_the_list_of_digests() {
    if !fixture::have(&["sha256sum"]) {
        return;
    }
    let site = site().unwrap();
    site.build().unwrap();
    let text = tools::stdout("sha256sum", &["--strict", "-c", "SHA256SUMS"], &site.path("out"));
    insta::assert_snapshot!(text.unwrap(), @r"
    disk.raw: OK
    disk.raw.bmap: OK
    iso.iso: OK
    net/cmdline-metal-amd64: OK
    net/initramfs-metal-amd64.xz: OK
    net/kernel-amd64: OK
    net/metal-amd64-uki.efi: OK
    ");
}
