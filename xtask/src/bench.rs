//! `cargo xtask bench`: speed, memory and room, each as a ratio to a peer in the same run.
//!
//! In: stand-in boot assets of a release's size. Out: a table; the same as JSON and as a report.
//!
//! The peer of a build is `cp` of what it wrote, on the same disk; of a fleet, one of its nodes; of a
//! conversion, `qemu-img`. Times are the least of several runs: other work on the machine only ever
//! adds. File systems are made in files, so that it does not matter which one the folder is on.
//!
//! Source: none.
//!
//! Not here: judging what was built (`tests`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use lab::standin::{self, Options};
use lab::{parts, tools};
use talforge::talos::Arch;
use talforge::units::{KIB, MIB};

use crate::{Done, complain, demo, pull, say, workspace};

mod custom;
mod fleet;
mod formats;
mod growth;
mod report;

/// How often a time is taken.
const RUNS: usize = 5;
/// The kernel's length: that of Talos' own.
const KERNEL: u64 = 20 * MIB;
/// With so much in its root file system the initramfs has a release's size.
const PAD_MIB: u32 = 85;
/// The most bytes of a file system that is made.
const DISK: u64 = 8 << 30;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Measures only this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Writes the table as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a report in Markdown, too, and `growth.svg` beside it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Measures this program, such as another release, instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// With a tenth of the nodes and each time taken once, to try the bench itself
    #[arg(long)]
    quick: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Making and checking configs
    Configs,
    /// One ISO and one raw disk
    Single,
    /// Many nodes on file systems that share blocks
    Fleet,
    /// Many nodes on a file system that does not
    Copies,
    /// Many nodes as qcow2 overlays
    Overlays,
    /// Checksums and compression of many nodes
    Shared,
    /// Disks in other formats
    Formats,
    /// From ten nodes to ten thousand
    Growth,
    /// Finished media, changed
    Custom,
    /// Images from a registry
    Pull,
}

impl Part {
    /// What it is, for a table's head.
    fn title(self) -> &'static str {
        match self {
            Self::Configs => "Configs",
            Self::Single => "One ISO and one raw disk",
            Self::Fleet => "A fleet on XFS, which shares blocks",
            Self::Copies => "A fleet on ext4, which does not",
            Self::Overlays => "A fleet of qcow2 overlays, on ext4",
            Self::Shared => "Checksums and compression of a fleet, on XFS",
            Self::Formats => "A raw disk in other formats",
            Self::Growth => "Growth, from 10 nodes to 10,000, on XFS",
            Self::Custom => "Finished media, changed",
            Self::Pull => "An image from a registry",
        }
    }
}

/// What all parts measure with.
#[derive(Debug)]
struct Bench {
    program: PathBuf,
    /// The bench's own folder, which is deleted at the end.
    folder: PathBuf,
    assets: PathBuf,
    /// What numbers of nodes are divided by.
    divisor: u32,
    runs: usize,
}

impl Bench {
    /// So many nodes; fewer to try the bench.
    fn nodes(&self, number: u32) -> u32 {
        (number / self.divisor).max(2)
    }

    /// The least of several times.
    fn least(&self, mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
        let times = (0..self.runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
        times.into_iter().min().context("there are runs")
    }

    /// Runs a build into a new folder, several times; gives the least time and the most memory.
    fn build_anew(&self, site: &Path, out: &Path) -> Result<(Duration, u64)> {
        let mut memory = 0;
        let time = self.least(|| {
            clear(out)?;
            let (time, peak) = build(&self.program, site, out)?;
            memory = memory.max(peak);
            Ok(time)
        })?;
        Ok((time, memory))
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    bound: Option<Bound>,
}

/// What a measurement must keep to.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn text(self, unit: &str) -> String {
        let (sign, value) = match self {
            Self::AtMost(most) => ('≤', most),
            Self::AtLeast(least) => ('≥', least),
        };
        format!("{sign} {value} {unit}").trim_end().to_owned()
    }
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, bound: None }
    }

    pub(crate) fn at_most(self, most: f64) -> Self {
        Self { bound: Some(Bound::AtMost(most)), ..self }
    }

    fn at_least(self, least: f64) -> Self {
        Self { bound: Some(Bound::AtLeast(least)), ..self }
    }

    /// Its bound and whether it is kept.
    fn verdict(&self) -> Option<(String, bool)> {
        self.bound.map(|bound| (bound.text(self.unit), bound.is_kept(self.value)))
    }

    fn line(&self) -> String {
        let verdict = self.verdict().map(|(bound, is_kept)| {
            let word = if is_kept { "yes" } else { "NO" };
            format!("{bound}: {word}")
        });
        let verdict = verdict.unwrap_or_default();
        format!("{:<62} {:>9.2} {:<6} {verdict}", self.what, self.value, self.unit)
    }
}

/// A part and what was measured, or why it could not be.
#[derive(Debug)]
struct Section {
    part: Part,
    rows: Result<Vec<Row>, String>,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let root = workspace();
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program).context("the program to measure")?,
        None => demo::program(&root)?,
    };
    let folder = parts::cache()?.join("bench");
    clear(&folder)?;
    fs::create_dir_all(&folder)?;
    let assets = assets(&folder.join("assets"), PAD_MIB)?;
    let (divisor, runs) = if arguments.quick { (10, 1) } else { (1, RUNS) };
    let bench = Bench { program, folder, assets, divisor, runs };
    let mut curve = None;
    let mut sections = Vec::new();
    for part in Part::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            say(&format!("\n{}", part.title()));
            // A report is for others, too: this machine's folders are none of its.
            let own = |text: String| {
                let text = text.replace(&bench.folder.display().to_string(), "bench");
                text.replace(&bench.program.display().to_string(), "talforge")
            };
            let rows =
                measure(*part, &bench, &mut curve).map_err(|error| own(format!("{error:#}")));
            match &rows {
                Ok(rows) => rows.iter().for_each(|row| say(&row.line())),
                Err(why) => complain(&format!("warning: not measured: {why}")),
            }
            sections.push(Section { part: *part, rows });
        }
    }
    let machine = machine()?;
    say(&format!("\n{machine}"));
    if let Some(file) = &arguments.json {
        fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
        fs::write(file, format!("{:#}\n", report::json(&machine, &sections)))?;
    }
    if let Some(file) = &arguments.report {
        let setting = report::Setting { machine, version: version(&bench.program)? };
        report::write(file, &setting, &sections, curve.as_ref())?;
    }
    clear(&bench.folder)?;
    let is_whole = sections.iter().all(|section| section.rows.is_ok());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(part: Part, bench: &Bench, curve: &mut Option<growth::Curve>) -> Result<Vec<Row>> {
    let Bench { program, folder, assets, .. } = bench;
    match part {
        Part::Configs => configs(program, folder),
        Part::Single => single(program, folder, assets),
        Part::Fleet => fleet::shared(bench),
        Part::Copies => fleet::copied(bench),
        Part::Overlays => fleet::overlays(bench),
        Part::Shared => formats::shared(bench),
        Part::Formats => formats::converted(bench),
        Part::Growth => {
            let measured = growth::measure(bench)?;
            let rows = measured.rows();
            *curve = Some(measured);
            rows
        }
        Part::Custom => custom::rows(program, folder, assets),
        Part::Pull => pull::rows(&workspace(), folder),
    }
}

/// Boot assets, with so much in the root file system that it does not compress.
fn assets(folder: &Path, pad_mib: u32) -> Result<PathBuf> {
    let standin = standin::build(&parts::fetch(Arch::Amd64)?, Options { pad_mib })?;
    copy_files(&standin.folder, folder)?;
    let kernel = fs::OpenOptions::new().write(true).open(folder.join("vmlinuz"))?;
    kernel.set_len(kernel.metadata()?.len().max(KERNEL))?;
    Ok(folder.to_owned())
}

/// Copies a folder's files into a new folder.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
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

/// The machine's processor, cores, memory and kernel.
fn machine() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let model = model.unwrap_or("unknown processor").trim();
    let cores = std::thread::available_parallelism()?;
    let text = fs::read_to_string("/proc/meminfo")?;
    let memory = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let memory = memory.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let memory = memory.unwrap_or(0) / (MIB / KIB);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {cores} cores, {memory} MiB of memory, Linux {}", kernel.trim()))
}

/// What a program says of its version.
fn version(program: &Path) -> Result<String> {
    let out = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The kinds of file systems that are made.
#[derive(Clone, Copy, Debug)]
enum FileSystem {
    /// Files may share blocks.
    Xfs,
    /// They may not.
    Ext4,
}

/// A file system in a file, mounted while this lives.
struct Mounted {
    folder: PathBuf,
    image: PathBuf,
}

impl Mounted {
    /// One of at most so many bytes. Its file has holes where nothing was written.
    fn new(folder: &Path, kind: FileSystem, bytes: u64) -> Result<Self> {
        let (name, make): (_, &[&str]) = match kind {
            FileSystem::Xfs => ("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"]),
            // All is written now, and not while times are taken.
            FileSystem::Ext4 => (
                "ext4",
                &["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            ),
        };
        let (image, mount) = (folder.join(format!("{name}.img")), folder.join(name));
        fs::create_dir_all(&mount)?;
        fs::File::create(&image)?.set_len(bytes)?;
        let (shown, at) = (image.display().to_string(), mount.display().to_string());
        let make: Vec<_> = make.iter().copied().chain([shown.as_str()]).collect();
        tools::stdout(make[0], &make[1..], folder)?;
        tools::stdout("mount", &["-o", "loop", &shown, &at], folder)?;
        Ok(Self { folder: mount, image })
    }

    /// The bytes in use, once all is written and what was deleted is free: XFS frees later, but not
    /// later than it is frozen.
    fn used(&self) -> Result<u64> {
        let at = self.folder.display().to_string();
        for how in ["--freeze", "--unfreeze"] {
            tools::stdout("fsfreeze", &[how, &at], Path::new("/"))?;
        }
        let text = tools::stdout("df", &["--block-size=1", "--output=used", &at], &self.folder)?;
        text.lines().nth(1).context("df says a number")?.trim().parse().context("df says a number")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let at = self.folder.display().to_string();
        let _ = tools::run("umount", &[&at], Path::new("/"));
        let _ = fs::remove_file(&self.image);
    }
}
