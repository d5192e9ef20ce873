//! Many nodes: the site of the tests, `ipv6-fabric`, with a thousand of them.
//!
//! In: that site's files. Out: rows beside one node, and beside `cp`.
//!
//! Source: none.
//!
//! Not here: how cost grows with the number of nodes (`growth`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bench, DISK, FileSystem, Mounted, Row, build, clear, copy_files, kib, mib, timed};
use crate::workspace;

/// The nodes of one build on ext4, where each takes all its room: 100 of 300 MB would be 30 GB.
const COPIES: u32 = 20;
/// The bounds: what many nodes may take beyond the first, in milliseconds.
const MILLISECONDS_EACH: f64 = 1.0;
const KIB_EACH: f64 = 64.0;
const OVERLAY_KIB: f64 = 300.0;
/// What a build may hold in memory, and what each node adds.
const MEMORY_MIB: f64 = 64.0;
const MEMORY_KIB_EACH: f64 = 8.0;

/// Puts `ipv6-fabric` into a folder with boot assets.
pub(super) fn home(folder: &Path, assets: &Path) -> Result<()> {
    let from = workspace().join("tests/sites/ipv6-fabric");
    fs::create_dir_all(folder.join("patches"))?;
    for name in ["secrets.yaml", "patches/all.yaml", "patches/controlplane.yaml"] {
        fs::copy(from.join(name), folder.join(name))?;
    }
    copy_files(assets, &folder.join("assets"))
}

/// Writes a site file with so many nodes: the three control planes of `ipv6-fabric` and workers like
/// its own, each with its own hardware address and disk.
pub(super) fn site(folder: &Path, nodes: u32, profile: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(workspace().join("tests/sites/ipv6-fabric/site.yaml"))?;
    let (head, _) = text.split_once("nodes:\n").context("the site has nodes")?;
    let lines = head.lines().map(|line| match line.trim_start().split(':').next() {
        Some("assets") => "  assets: dir:assets".to_owned(),
        Some("profile") => format!("  profile: {profile}"),
        _ => line.to_owned(),
    });
    let mut site: Vec<_> = lines.chain(["nodes:".to_owned()]).collect();
    for node in 1..=nodes {
        let [_, _, high, low] = node.to_be_bytes();
        let mac = format!("mac: \"52:54:00:01:{high:02x}:{low:02x}\"");
        site.push(match node {
            1..=3 => format!(
                "  - {{name: cp-{node}, role: controlplane, {mac}, \
                 address: 2001:db8:0:1::1{node}/64, install: {{disk: /dev/nvme0n1}}}}"
            ),
            _ => format!(
                "  - {{name: w-{node}, role: worker, {mac}, \
                 install: {{selector: {{serial: \"S4EV{node:05}*\"}}}}}}"
            ),
        });
    }
    let name: String = profile.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("{name}-{nodes}.yaml"));
    fs::write(&path, site.join("\n") + "\n")?;
    Ok(path)
}

/// Many nodes on a file system that shares blocks, beyond the first.
pub(super) fn shared(bench: &Bench) -> Result<Vec<Row>> {
    let disk = Mounted::new(&bench.folder, FileSystem::Xfs, DISK)?;
    let home_of = disk.folder.join("site");
    home(&home_of, &bench.assets)?;
    let mut rows = Vec::new();
    for (profile, number) in [("metal-iso", 100), ("metal-disk", 100), ("metal-iso", 1000)] {
        let nodes = bench.nodes(number);
        let (one, all) = (site(&home_of, 1, profile)?, site(&home_of, 1 + nodes, profile)?);
        let out = home_of.join("out");
        let first = bench.build_anew(&one, &out)?.0;
        let (time, memory) = bench.build_anew(&all, &out)?;
        let what = format!("{nodes} nodes, {profile}: beyond the first, durable");
        let beyond = time.saturating_sub(first).as_secs_f64() * 1e3;
        rows.push(Row::new(what, beyond, "ms").at_most(MILLISECONDS_EACH * f64::from(nodes)));
        rows.push(Row::new("  the first", first.as_secs_f64() * 1e3, "ms"));
        if number == 1000 {
            let most = MEMORY_MIB + MEMORY_KIB_EACH * f64::from(nodes) / 1024.0;
            rows.push(Row::new("  peak memory", mib(memory), "MiB").at_most(most.round()));
            let again = bench.least(|| Ok(build(&bench.program, &all, &out)?.0))?;
            let again = again.as_secs_f64() * 1e3;
            let most = MILLISECONDS_EACH * f64::from(nodes);
            rows.push(Row::new("  built again, unchanged", again, "ms").at_most(most));
        }
        clear(&out)?;
        let each = room(bench, &disk, &[&one, &all])? / u64::from(nodes);
        rows.push(Row::new("  new data, each", kib(each), "KiB").at_most(KIB_EACH));
    }
    Ok(rows)
}

/// What the second site takes on a disk more than the first, in bytes.
fn room(bench: &Bench, disk: &Mounted, sites: &[&Path; 2]) -> Result<u64> {
    // Never over what was deleted: XFS gives room back some time later.
    let taken = sites.map(|site| -> Result<u64> {
        let before = disk.used()?;
        let name = site.file_stem().context("a site has a name")?.to_string_lossy().into_owned();
        build(&bench.program, site, &disk.folder.join(format!("room-{name}")))?;
        Ok(disk.used()?.saturating_sub(before))
    });
    let [first, all] = taken;
    let room = all?.saturating_sub(first?);
    for site in sites {
        let name = site.file_stem().context("a site has a name")?.to_string_lossy().into_owned();
        clear(&disk.folder.join(format!("room-{name}")))?;
    }
    Ok(room)
}

/// Nodes on a file system where each takes all its room, beside `cp` of the same.
pub(super) fn copied(bench: &Bench) -> Result<Vec<Row>> {
    let disk = Mounted::new(&bench.folder, FileSystem::Ext4, DISK)?;
    let home_of = disk.folder.join("site");
    home(&home_of, &bench.assets)?;
    let nodes = bench.nodes(COPIES);
    let all = site(&home_of, nodes, "metal-iso")?;
    let out = home_of.join("out");
    let copy = home_of.join("copy");
    let cp = |script: &str| {
        clear(&copy)?;
        fs::create_dir_all(&copy)?;
        timed(Command::new("sh").args(["-ec", script]).current_dir(&home_of))
    };
    let same = "cp --reflink=never out/*.iso copy/ && sync copy/*";
    let first = format!(
        "for n in $(seq {nodes}); do cp --reflink=never out/cp-1.iso copy/$n.iso; done; sync copy/*"
    );
    // In turn: who is the first to write to a block of the file system's own file waits for that to
    // grow.
    let mut turns = Vec::new();
    for _ in 0..bench.runs {
        clear(&out)?;
        let ours = build(&bench.program, &all, &out)?.0;
        turns.push([ours, cp(same)?, cp(&first)?]);
    }
    clear(&copy)?;
    let least = |at: usize| {
        let least = turns.iter().map(|turn| turn[at]).min().context("there are runs");
        least.map(|time| time.as_secs_f64())
    };
    let (ours, same, one) = (least(0)?, least(1)?, least(2)?);
    let bytes: u64 = fs::read_dir(&out)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<Result<u64, std::io::Error>>()?;
    Ok(vec![
        Row::new(format!("{nodes} nodes, metal-iso: all bytes, synced"), ours, "s"),
        Row::new("  their bytes", mib(bytes), "MiB"),
        Row::new("  cp of them, synced", same, "s"),
        Row::new("  build / cp", ours / same, "×").at_most(1.05),
        Row::new("  build / cp of the first, so many times", ours / one, "×"),
    ])
}

/// Nodes as small files over a base that they share, where blocks cannot be shared.
pub(super) fn overlays(bench: &Bench) -> Result<Vec<Row>> {
    let disk = Mounted::new(&bench.folder, FileSystem::Ext4, DISK)?;
    let home_of = disk.folder.join("site");
    home(&home_of, &bench.assets)?;
    let (profile, nodes) = ("vm-overlay", bench.nodes(1000));
    let (one, all) = (site(&home_of, 1, profile)?, site(&home_of, 1 + nodes, profile)?);
    let out = home_of.join("out");
    let first = bench.build_anew(&one, &out)?.0;
    let time = bench.build_anew(&all, &out)?.0;
    let beyond = time.saturating_sub(first).as_secs_f64() * 1e3;
    clear(&out)?;
    let each = room(bench, &disk, &[&one, &all])? / u64::from(nodes);
    let most = MILLISECONDS_EACH * f64::from(nodes);
    Ok(vec![
        Row::new(format!("{nodes} nodes, {profile}: beyond the first, durable"), beyond, "ms")
            .at_most(most),
        Row::new("  the first", first.as_secs_f64() * 1e3, "ms"),
        Row::new("  new data, each", kib(each), "KiB").at_most(OVERLAY_KIB),
    ])
}
