//! Many media at once: the same from any number of workers and anywhere, none built without need, none
//! half-written whatever ends the build, and one bad node spoils no other.
//!
//! In: sites of small media, signals, file systems. Out: verdicts.
//!
//! Not here: how one file is written (`sink`), and what media hold (`media`).

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use lab::product::{self, Said};
use lab::standin::{self, Options};
use lab::{parts, tools};
use serde_json::Value;
use talforge::digest::Digest;
use talforge::talos::Arch;
use tempfile::TempDir;

/// A config that Talos takes.
const CONFIG: &str = include_str!("talos-gen/talos-1.13/worker.yaml");

/// A site's folder.
struct Site {
    folder: TempDir,
}

impl Site {
    /// Nodes by name and profile; `assets` is a folder that need not be there where all are seeds.
    fn new(nodes: &[(String, &str)], assets: &Path) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let mut text = format!(
            "version: 1\ncluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}}\n\
             boot: {{assets: \"dir:{}\"}}\nsilence: [planes-none, planes-even]\nnodes:\n",
            assets.display()
        );
        for (name, profile) in nodes {
            text += &format!(
                "  - {{name: {name}, role: worker, profile: {profile}, config: {name}.yaml}}\n"
            );
            site.config(name, "");
        }
        site.write("site.yaml", &text);
        site.write("tight.yaml", TIGHT);
        let small = TIGHT.replace("8MiB, size: 64MiB", "64MiB, size: auto");
        let packed = |how: &str| small.replace("timeout: 1", &format!("timeout: 1, {how}"));
        site.write("over.yaml", &packed("format: qcow2-overlay"));
        site.write("packed.yaml", &packed("format: vmdk-stream, compress: xz"));
        site.write("small.yaml", &small);
        site
    }

    /// A site of seeds alone, which are small and need no boot assets.
    fn of_seeds(count: usize) -> Self {
        let nodes: Vec<_> = (0..count).map(|n| (format!("w-{n}"), "metal-seed")).collect();
        Self::new(&nodes, Path::new("/nowhere"))
    }

    /// Some of each kind of medium; nothing where this machine has no stand-in for Talos.
    fn of_all_kinds() -> Option<Self> {
        if !tools::have(&standin::tools(Arch::Amd64)) || !tools::have(&["grub-mkimage"]) {
            return None;
        }
        let parts = parts::ready(Arch::Amd64)?;
        let assets = standin::build(&parts, Options::default()).unwrap();
        let profiles = [
            "metal-iso",
            "metal-seed",
            "metal-pxe",
            "small.yaml",
            "metal-iso-hybrid",
            "over.yaml",
            "packed.yaml",
        ];
        let nodes = (0..21).map(|n| (format!("w-{n}"), profiles[n % profiles.len()]));
        Some(Self::new(&nodes.collect::<Vec<_>>(), &assets.folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Gives a node another config.
    fn config(&self, name: &str, more: &str) {
        let config = CONFIG.replace(":v1.13.0", ":v1.13.9");
        self.write(&format!("{name}.yaml"), &format!("# {name} {more}\n{config}"));
    }

    fn build(&self, more: &[&str]) -> Said {
        let args = [&["build"], more].concat();
        product::run(self.folder.path(), &args).unwrap()
    }

    fn child(&self, by: &[&str], more: &[&str]) -> Child {
        let args = [&["build"], more].concat();
        let mut command = product::command(by, self.folder.path(), &args).unwrap();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The digests of all files in the output folder, by path; hidden ones too, but for the note of
    /// what was built, which has times.
    fn files(&self, out: &Path) -> BTreeMap<String, Digest> {
        let paths = walk(out).into_iter().filter(|path| !path.ends_with(".talforge-state"));
        let name = |path: &Path| path.strip_prefix(out).unwrap().display().to_string();
        paths.map(|path| (name(&path), Digest::of(&fs::read(&path).unwrap()))).collect()
    }

    /// The number of each medium's file: another one for each that was written anew.
    fn numbers(&self) -> BTreeMap<String, u64> {
        let is_iso = |path: &PathBuf| path.extension().is_some_and(|end| end == "iso");
        walk(&self.path("out"))
            .into_iter()
            .filter(is_iso)
            .map(|path| (path.display().to_string(), fs::metadata(&path).unwrap().ino()))
            .collect()
    }
}

/// A disk too small for its files.
const TIGHT: &str = "version: 1\nabout: a disk that is too small\narch: [amd64]\nplatform: metal\n\
    kernel_args: {}\noutput:\n  disk: {sector: 512, esp: 8MiB, size: 64MiB, timeout: 1}\n";

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// What `sha256sum` says of the list.
fn check_sums(out: &Path) {
    tools::stdout("sha256sum", &["--check", "--strict", "--quiet", "SHA256SUMS"], out).unwrap();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A file system in a file, or in memory, mounted while it lives.
struct Mounted(TempDir);

impl Mounted {
    fn new(kind: &str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("at")).unwrap();
        let run = |program: &str, args: &[&str]| tools::stdout(program, args, home.path()).ok();
        if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "none", "at"])?;
        } else {
            run("truncate", &["-s", "900M", "disk"])?;
            run(&format!("mkfs.{kind}"), &["-q", "disk"])?;
            run("mount", &["-o", "loop", "disk", "at"])?;
        }
        Some(Self(home))
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("at/out")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = tools::run("umount", &["at"], self.0.path());
    }
}

/// The events that tell of results.
fn results(said: &Said) -> Vec<Value> {
    let mut events = said.events().unwrap();
    events.retain(|event| ["node", "written", "unchanged"].iter().any(|e| event["event"] == *e));
    events
}

#[test]
fn media_are_the_same_from_any_number_of_workers() {
    let Some(site) = Site::of_all_kinds() else { return };
    let first = site.build(&["-j", "1", "--json"]).well().unwrap();
    let files = site.files(&site.path("out"));
    // ISOs, seeds, hybrids and packed disks have a file each, overlays too, and a base for all;
    // raw disks have a map, loose files are four; and there are two lists.
    assert_eq!(files.len(), 3 + 3 + 3 + 3 + (3 + 1) + 2 * 3 + 4 * 3 + 2);
    check_sums(&site.path("out"));
    for jobs in ["2", "7"] {
        fs::remove_dir_all(site.path("out")).unwrap();
        let said = site.build(&["--jobs", jobs, "--json"]).well().unwrap();
        assert_eq!(site.files(&site.path("out")), files, "{jobs} jobs");
        assert_eq!(results(&said), results(&first), "{jobs} jobs");
    }
}

/// The folder that one is in, what is known of it, the umask, the locale, the file system.
#[test]
fn media_are_the_same_wherever_they_are_built() {
    let Some(site) = Site::of_all_kinds() else { return };
    site.build(&[]).well().unwrap();
    let files = site.files(&site.path("out"));
    let place = site.path("site.yaml");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut folders = vec![elsewhere.path().join("a/b")];
    let disks: Vec<_> = ["tmpfs", "ext4", "xfs"]
        .into_iter()
        .filter(|_| is_root())
        .filter_map(Mounted::new)
        .collect();
    folders.extend(disks.iter().map(Mounted::out));
    for (n, out) in folders.iter().enumerate() {
        let umask = ["000", "027", "077", "777"][n % 4];
        let script = format!("umask {umask}; exec \"$@\"");
        let args = ["build", place.to_str().unwrap(), "-o", out.to_str().unwrap()];
        let by = ["sh", "-c", &script, "sh"];
        let mut command = product::command(&by, elsewhere.path(), &args).unwrap();
        command.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Asia/Kathmandu");
        Said::of(command.output().unwrap()).well().unwrap();
        assert_eq!(site.files(out), files, "{} umask {umask}", out.display());
    }
}

#[test]
fn what_would_come_out_the_same_is_left_as_it_is() {
    let site = Site::of_seeds(5);
    let first = site.build(&[]).well().unwrap();
    let (files, numbers) = (site.files(&site.path("out")), site.numbers());
    assert_eq!(numbers.len(), 5);
    let second = site.build(&[]).well().unwrap();
    assert_eq!(site.numbers(), numbers);
    assert_eq!(second.text(), first.text());
    assert_eq!(second.err.matches("unchanged").count(), 5, "{}", second.err);

    // One with another config; one that somebody touched; one that is gone; one that is another.
    let count = |said: &Said| said.err.matches("read back").count();
    site.config("w-1", "changed");
    let said = site.build(&[]).well().unwrap();
    assert_eq!(count(&said), 1, "{}", said.err);
    site.config("w-1", "");
    assert_eq!(count(&site.build(&[]).well().unwrap()), 1);
    fs::remove_file(site.path("out/w-2-seed.iso")).unwrap();
    let medium = fs::read(site.path("out/w-3-seed.iso")).unwrap();
    fs::write(site.path("out/w-3-seed.iso"), &medium).unwrap();
    fs::remove_file(site.path("out/w-4-seed.iso")).unwrap();
    fs::copy(site.path("out/w-0-seed.iso"), site.path("out/w-4-seed.iso")).unwrap();
    let said = site.build(&[]).well().unwrap();
    assert_eq!((count(&said), said.err.matches("unchanged").count()), (3, 2), "{}", said.err);
    assert_eq!(site.files(&site.path("out")), files);
    let numbers = site.numbers();

    // The lists, and the note itself.
    for name in ["SHA256SUMS", "manifest.json", ".talforge-state"] {
        fs::remove_file(site.path("out").join(name)).unwrap();
        site.build(&[]).well().unwrap();
        assert_eq!(site.files(&site.path("out")), files, "{name}");
        // Without a list of digests nothing is built; without the others nothing is known.
        assert_eq!(site.numbers() == numbers, name == "SHA256SUMS", "{name}");
    }
    let note = fs::read(site.path("out/.talforge-state")).unwrap();
    for damaged in [&note[..note.len() / 2], &[note.as_slice(), b" "].concat(), b"\n", b""] {
        fs::write(site.path("out/.talforge-state"), damaged).unwrap();
        assert_eq!(count(&site.build(&[]).well().unwrap()), 5);
    }
    let numbers = site.numbers();
    let said = site.build(&["--force"]).well().unwrap();
    assert_eq!((count(&said), site.files(&site.path("out"))), (5, files));
    assert!(site.numbers().iter().all(|(path, number)| numbers[path] != *number));
}

/// Boot assets that change make other media; those that are only touched do not.
#[test]
fn media_follow_their_boot_assets() {
    let Some(site) = Site::of_all_kinds() else { return };
    let text = fs::read_to_string(site.path("site.yaml")).unwrap();
    let assets = text.split("dir:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    tools::stdout("cp", &["-r", &assets, "assets"], site.folder.path()).unwrap();
    site.write("site.yaml", &text.replace(&format!("dir:{assets}"), "dir:assets"));
    site.build(&[]).well().unwrap();
    let numbers = site.numbers();
    assert!(site.build(&[]).well().unwrap().err.contains("unchanged"));
    tools::stdout("touch", &["assets/vmlinuz"], site.folder.path()).unwrap();
    site.build(&[]).well().unwrap();
    assert_eq!(site.numbers(), numbers);
    let kernel = fs::read(site.path("assets/vmlinuz")).unwrap();
    fs::write(site.path("assets/vmlinuz"), [kernel, vec![0; 4096]].concat()).unwrap();
    site.build(&[]).well().unwrap();
    let changed = site.numbers().iter().filter(|(path, n)| numbers[*path] != **n).count();
    // The seeds, too: a manifest of other inputs says nothing of them.
    assert_eq!(changed, 9);
}

#[test]
fn a_bad_node_among_many_spoils_no_other() {
    let mut nodes: Vec<_> = (0..40).map(|n| (format!("w-{n}"), "metal-seed")).collect();
    let Some(of_all) = Site::of_all_kinds() else { return };
    let text = fs::read_to_string(of_all.path("site.yaml")).unwrap();
    let assets = text.split("dir:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    nodes[17].1 = "tight.yaml";
    let site = Site::new(&nodes, Path::new(&assets));
    let said = site.build(&["-j", "3"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let last: Vec<_> = said.err.lines().rev().take(3).collect();
    assert!(last[2].ends_with("39 built; not built: w-17"), "{}", said.err);
    assert!(last[1].starts_with("error: node `w-17`"), "{}", said.err);
    assert_eq!(site.numbers().len(), 39);
    check_sums(&site.path("out"));
    let manifest = fs::read(site.path("out/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["nodes"].as_object().unwrap().len(), 39);
    // For so many there is no line each.
    let lines = said.err.lines().filter(|line| line.contains("read back")).count();
    assert_eq!(lines, 1, "{}", said.err);
    assert_eq!(said.text().lines().count(), 39);
}

/// One file of all nodes' kind, and each node on a line.
#[test]
fn the_manifest_is_short() {
    let site = Site::of_seeds(200);
    site.build(&["--quiet"]).well().unwrap();
    let text = fs::read_to_string(site.path("out/manifest.json")).unwrap();
    assert!(text.len() < 200 * 1200, "{}", text.len());
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["version"], 2);
    assert_eq!(manifest["layouts"].as_object().unwrap().len(), 1);
    assert_eq!(text.lines().filter(|line| line.starts_with("  \"w-")).count(), 200);
}

fn signal(child: &Child, name: &str) {
    let number = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &number]).status().unwrap();
    assert!(sent.success());
}

/// What is under a final name is whole, and listed or from before; nothing hidden is left.
fn check_cut_short(site: &Site, said: &Said, code: i32) {
    let out = site.path("out");
    let is_over = said.code == Some(0);
    assert!(is_over || said.code == Some(code), "{:?}\n{}", said.code, said.err);
    if !out.exists() {
        return;
    }
    if out.join("SHA256SUMS").exists() {
        check_sums(&out);
    }
    let hidden: Vec<_> = walk(&out)
        .into_iter()
        .filter(|path| path.display().to_string().contains("/.talforge"))
        .filter(|path| !path.ends_with(".talforge-state"))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    let media = site.numbers().len();
    if !is_over {
        let told = said.err.lines().find(|line| line.starts_with("error: ended by a signal: "));
        let told = told.unwrap_or_else(|| panic!("{}", said.err));
        assert!(told.contains(&format!(": {media} built")), "{media}: {told}");
    }
}

#[test]
fn a_build_that_is_interrupted_leaves_nothing_half_written() {
    let site = Site::of_seeds(60);
    site.build(&["-j", "3"]).well().unwrap();
    let started = Instant::now();
    site.build(&["-j", "3", "--force"]).well().unwrap();
    let time = started.elapsed();
    let mut ended = 0;
    for n in 0..16 {
        fs::remove_dir_all(site.path("out")).unwrap();
        let (name, code) = if n % 2 == 0 { ("INT", 130) } else { ("TERM", 143) };
        let child = site.child(&[], &["-j", "3"]);
        thread::sleep(time * (4 + n) / 20);
        let before = fs::read_dir(site.path("out")).is_ok();
        signal(&child, name);
        let said = Said::of(child.wait_with_output().unwrap());
        // Before it has the folder it ends as any program does.
        if before && said.code.is_some() {
            check_cut_short(&site, &said, code);
            ended += usize::from(said.code == Some(code));
        }
        fs::create_dir_all(site.path("out")).unwrap();
    }
    assert!(ended > 0, "none was cut short");
    // The next build makes it whole.
    site.build(&[]).well().unwrap();
    assert_eq!(site.numbers().len(), 60);
    check_sums(&site.path("out"));
}
