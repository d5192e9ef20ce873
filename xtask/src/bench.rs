//! `cargo xtask bench`: speed, memory and room, each as a ratio to a peer in the same run.
//!
//! In: stand-in boot assets of a release's size. Out: a table, and the same as JSON.
//!
//! The peer of a build is `cp` of what it wrote, on the same disk; of a node on a file system that
//! shares extents, the bounds that were promised. Times are the least of several runs: other work
//! on the machine only ever adds.
//!
//! Source: none.
//!
//! Not here: judging what was built (`tests`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use lab::standin::{self, Options};
use lab::{parts, tools};
use serde_json::json;
use talforge::talos::Arch;
use talforge::units::{KIB, MIB};

use crate::{Done, complain, demo, pull, say, workspace};

mod custom;

/// How often a time is taken.
const RUNS: usize = 5;
/// The kernel's length: that of Talos' own.
const KERNEL: u64 = 20 * MIB;
/// With so much in its root file system the initramfs has a release's size.
const PAD_MIB: u32 = 85;
/// The nodes of the fleet, beyond the first.
const NODES: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Writes the table as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One measurement.
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// The most that it may be.
    target: Option<f64>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, target: None }
    }

    pub(crate) fn at_most(self, target: f64) -> Self {
        Self { target: Some(target), ..self }
    }

    fn line(&self) -> String {
        let verdict = match self.target {
            Some(target) if self.value <= target => format!("≤ {target} {}: yes", self.unit),
            Some(target) => format!("≤ {target} {}: NO", self.unit),
            None => String::new(),
        };
        format!("{:<58} {:>9.2} {:<6} {verdict}", self.what, self.value, self.unit)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let root = workspace();
    let program = demo::program(&root)?;
    let folder = parts::cache()?.join("bench");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let assets = assets(&folder)?;
    let mut rows = configs(&program, &folder)?;
    rows.extend(single(&program, &folder, &assets)?);
    match fleet(&program, &folder, &assets) {
        Ok(more) => rows.extend(more),
        Err(error) => complain(&format!("warning: no fleet on XFS: {error:#}")),
    }
    match custom::rows(&program, &folder, &assets) {
        Ok(more) => rows.extend(more),
        Err(error) => complain(&format!("warning: no changes of finished media: {error:#}")),
    }
    match pull::rows(&root, &folder) {
        Ok(more) => rows.extend(more),
        Err(error) => complain(&format!("warning: nothing is pulled: {error:#}")),
    }
    let machine = machine()?;
    say(&format!("{machine}\n"));
    rows.iter().for_each(|row| say(&row.line()));
    if let Some(file) = &arguments.json {
        let row =
            |r: &Row| json!({"what": r.what, "value": r.value, "unit": r.unit, "target": r.target});
        let table = json!({"machine": machine, "rows": rows.iter().map(row).collect::<Vec<_>>()});
        fs::write(file, format!("{table:#}\n"))?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(ExitCode::SUCCESS)
}

/// Boot assets of a release's size.
fn assets(folder: &Path) -> Result<PathBuf> {
    let standin = standin::build(&parts::fetch(Arch::Amd64)?, Options { pad_mib: PAD_MIB })?;
    let assets = folder.join("assets");
    fs::create_dir_all(&assets)?;
    for entry in fs::read_dir(&standin.folder)? {
        let entry = entry?;
        fs::copy(entry.path(), assets.join(entry.file_name()))?;
    }
    let kernel = fs::OpenOptions::new().write(true).open(assets.join("vmlinuz"))?;
    kernel.set_len(kernel.metadata()?.len().max(KERNEL))?;
    Ok(assets)
}

/// Writes a site of so many nodes, whose configs differ.
fn site(folder: &Path, nodes: u32, profiles: &[&str]) -> Result<PathBuf> {
    let config = fs::read_to_string(workspace().join("profiles/example/homelab/configs/w-1.yaml"))?;
    fs::create_dir_all(folder.join("configs"))?;
    let mut text = "version: 1\ncluster: {name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}\n\
                    boot: {assets: \"dir:assets\"}\nnodes:\n"
        .to_owned();
    for node in 0..nodes {
        for profile in profiles {
            let name = format!("{profile}-{node}");
            fs::write(folder.join(format!("configs/{name}.yaml")), format!("# {name}\n{config}"))?;
            text += &format!(
                "  - {{name: {name}, role: worker, config: configs/{name}.yaml, profile: {profile}}}\n"
            );
        }
    }
    let path = folder.join(format!("site-{nodes}-{}.yaml", profiles.len()));
    fs::write(&path, text)?;
    Ok(path)
}

/// Writes a site of so many nodes whose configs are made from what it says.
fn generated(folder: &Path, nodes: u32) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let tests = workspace().join("tests");
    fs::copy(tests.join("talos-gen/secrets.yaml"), folder.join("secrets.yaml"))?;
    fs::write(folder.join("all.yaml"), "machine: {sysctls: {net.core.somaxconn: \"65535\"}}\n")?;
    let mut text = "version: 1\ncluster:\n  name: bench\n  endpoint: https://[2001:db8::a]:6443\n  \
                    talos: v1.14.1\n  secrets: secrets.yaml\n  patches: [all.yaml]\n\
                    boot: {assets: \"dir:assets\"}\n\
                    network: {addressing: static, prefix: \"2001:db8::/64\", gateway: \"2001:db8::1\", \
                    vip: \"2001:db8::a\", time: {servers: [\"2001:db8::123\"]}}\n\
                    defaults: {overlays: [cilium, ipv6-only]}\nnodes:\n"
        .to_owned();
    for node in 0..nodes {
        let role = if node < 3 { "controlplane" } else { "worker" };
        let mac = format!("02:00:00:00:{:02x}:{:02x}", node >> 8, node & 0xff);
        text += &format!(
            "  - {{name: n-{node}, role: {role}, mac: \"{mac}\", \
             install: {{selector: {{serial: \"S{node}\"}}}}}}\n"
        );
    }
    let path = folder.join(format!("site-{nodes}.yaml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// Making and checking configs, against `cp` of the same files.
fn configs(program: &Path, folder: &Path) -> Result<Vec<Row>> {
    let folder = folder.join("configs");
    let (hundred, thousand) = (generated(&folder, 100)?, generated(&folder, 1000)?);
    let check =
        |site: &Path| least(|| timed(Command::new(program).arg("check").arg(site).arg("--quiet")));
    let (few, made) = (check(&hundred)?, check(&thousand)?);
    let start = least(|| timed(Command::new(program).arg("--version").stdout(Stdio::null())))?;
    let out = folder.join("out");
    let render = least(|| {
        clear(&out)?;
        timed(
            Command::new(program)
                .arg("render")
                .arg(&thousand)
                .arg("--out")
                .arg(&out)
                .arg("--quiet"),
        )
    })?;
    let copy = folder.join("copy");
    let cp = least(|| {
        clear(&copy)?;
        timed(Command::new("cp").arg("-r").arg(&out).arg(&copy))
    })?;
    clear(&folder)?;
    Ok(vec![
        Row::new("check of 100 nodes", few.as_secs_f64() * 1e3, "ms").at_most(100.0),
        Row::new("  starting the program", start.as_secs_f64() * 1e3, "ms"),
        Row::new("1,000 configs: made and checked", made.as_secs_f64(), "s").at_most(1.0),
        Row::new("  and written, synced together", render.as_secs_f64(), "s"),
        Row::new("  cp of them, not synced", cp.as_secs_f64(), "s"),
    ])
}

/// One ISO and one raw disk, against `cp` of the same two files.
fn single(program: &Path, folder: &Path, assets: &Path) -> Result<Vec<Row>> {
    let site = site(folder, 1, &["metal-iso", "metal-disk"])?;
    let out = folder.join("out");
    let mut memory = 0;
    let build = least(|| {
        clear(&out)?;
        let (time, peak) = build(program, &site, &out)?;
        memory = memory.max(peak);
        Ok(time)
    })?;
    let copy = folder.join("copy");
    let cp = |options: &str| {
        least(|| {
            clear(&copy)?;
            fs::create_dir_all(&copy)?;
            let script = format!("cp {options} out/*.iso out/*.raw copy/ && sync copy/*");
            timed(Command::new("sh").args(["-c", &script]).current_dir(folder))
        })
    };
    let (sparse, dense) = (cp("--reflink=never")?, cp("--reflink=never --sparse=never")?);
    let calls = execs(program, &site, &out, folder)?;
    let size: u64 = ["vmlinuz", "initramfs.xz"].iter().map(|name| len(&assets.join(name))).sum();
    clear(&out)?;
    clear(&copy)?;
    let (build, sparse, dense) = (build.as_secs_f64(), sparse.as_secs_f64(), dense.as_secs_f64());
    Ok(vec![
        Row::new("kernel and initramfs", mib(size), "MiB"),
        Row::new("ISO and raw disk: build, synced, hashed, read back", build, "s"),
        Row::new("  cp of all their bytes, synced", dense, "s"),
        Row::new("  cp of their data, holes kept, synced", sparse, "s"),
        Row::new("  build / cp of the same bytes", build / dense, "×").at_most(1.5),
        Row::new("  build / cp that keeps holes", build / sparse, "×"),
        Row::new("  peak memory", mib(memory), "MiB").at_most(64.0),
        Row::new("  programs executed beside itself", f64::from(calls) - 1.0, "").at_most(0.0),
    ])
}

/// Many nodes on a file system that shares extents, beyond the first.
fn fleet(program: &Path, folder: &Path, assets: &Path) -> Result<Vec<Row>> {
    let disk = Mounted::new(folder)?;
    let inside = disk.folder.join("site");
    fs::create_dir_all(inside.join("assets"))?;
    for entry in fs::read_dir(assets)? {
        let entry = entry?;
        fs::copy(entry.path(), inside.join("assets").join(entry.file_name()))?;
    }
    let mut rows = Vec::new();
    for profile in ["metal-iso", "metal-disk"] {
        let (one, all) = (site(&inside, 1, &[profile])?, site(&inside, 1 + NODES, &[profile])?);
        let out = inside.join("out");
        // Never over what was deleted: XFS gives room back some time later.
        let room = |site: &Path, name: &str| -> Result<u64> {
            let before = disk.used()?;
            build(program, site, &inside.join(format!("{profile}-{name}")))?;
            Ok(disk.used()?.saturating_sub(before))
        };
        let (first, fleet) = (room(&one, "one")?, room(&all, "all")?);
        let room = fleet.saturating_sub(first) / u64::from(NODES);
        let time = |site: &Path| {
            least(|| {
                clear(&out)?;
                Ok(build(program, site, &out)?.0)
            })
        };
        let each = time(&all)?.saturating_sub(time(&one)?) / NODES;
        let what = format!("{profile} on XFS: each of {NODES} nodes beyond the first");
        rows.push(Row::new(what, each.as_secs_f64() * 1e3, "ms").at_most(10.0));
        rows.push(Row::new("  new data", kib(room), "KiB").at_most(64.0));
    }
    Ok(rows)
}

/// Runs a build; gives its time and the most memory that it held, in bytes.
fn build(program: &Path, site: &Path, out: &Path) -> Result<(Duration, u64)> {
    let mut command = Command::new(program);
    watched(command.arg("build").arg(site).arg("--out").arg(out).arg("--quiet"))
}

/// Runs a program; gives its time and the most memory that it held, in bytes.
pub(crate) fn watched(command: &mut Command) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().context("the program did not start")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        if let Some(code) = child.try_wait()? {
            break code;
        }
        // The kernel keeps the peak, so that it need not be met; only the last moments are missed.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * KIB);
        std::thread::park_timeout(Duration::from_micros(500));
    };
    ensure!(code.success(), "{command:?} ended with {code}");
    Ok((start.elapsed(), peak))
}

/// How many programs a build executes, itself included.
fn execs(program: &Path, site: &Path, out: &Path, folder: &Path) -> Result<u32> {
    let log = folder.join("strace.log");
    let mut command = Command::new(tools::find("strace").context("`strace` is not installed")?);
    command.args(["-f", "-e", "trace=execve,execveat", "-o"]).arg(&log).arg(program);
    command.arg("build").arg(site).arg("--out").arg(out).arg("--quiet");
    ensure!(command.status()?.success(), "the build under strace failed");
    let calls = fs::read_to_string(&log)?.lines().filter(|line| line.contains("execve")).count();
    Ok(u32::try_from(calls)?)
}

pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(start.elapsed())
}

pub(crate) fn least(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.into_iter().min().context("there are runs")
}

pub(crate) fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with two digits")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with two digits")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / KIB as f64
}

/// The machine's processor and cores.
fn machine() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{}, {cores} cores", model.unwrap_or("unknown processor").trim()))
}

/// An XFS file system in a file, mounted while this lives.
struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    fn new(folder: &Path) -> Result<Self> {
        let image = folder.join("xfs.img");
        let mount = folder.join("xfs");
        fs::create_dir_all(&mount)?;
        fs::File::create(&image)?.set_len(8 << 30)?;
        let (image, at) = (image.display().to_string(), mount.display().to_string());
        tools::stdout("mkfs.xfs", &["-q", "-m", "reflink=1", &image], folder)?;
        tools::stdout("mount", &["-o", "loop", &image, &at], folder)?;
        Ok(Self { folder: mount })
    }

    /// The bytes in use, once all is written.
    fn used(&self) -> Result<u64> {
        let at = self.folder.display().to_string();
        tools::stdout("sync", &["-f", &at], &self.folder)?;
        let text = tools::stdout("df", &["--block-size=1", "--output=used", &at], &self.folder)?;
        text.lines().nth(1).context("df says a number")?.trim().parse().context("df says a number")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let at = self.folder.display().to_string();
        let _ = tools::run("umount", &[&at], Path::new("/"));
    }
}
