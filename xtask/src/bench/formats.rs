//! What is done with whole images: checksums, compression, other formats.
//!
//! In: boot assets. Out: rows beside one node, and beside `qemu-img`.
//!
//! Source: the manual page of `qemu-img`.
//!
//! Not here: whether other programs read the formats (`tests`), but for `qemu-img` itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lab::tools;

use super::{Bench, DISK, FileSystem, Mounted, Row, assets, build, clear, fleet, len, mib, timed};
use crate::workspace;

/// With so much in its root file system an image has some 300 MB.
const PAD_MIB: u32 = 250;
/// The nodes whose cost is compared with one's.
const NODES: u32 = 100;
/// The formats: our names, and QEMU's.
const FORMATS: [(&str, &str); 3] = [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhdx", "vhdx")];

/// Images of 300 MB, whose shared part is hashed and compressed but once.
pub(super) fn shared(bench: &Bench) -> Result<Vec<Row>> {
    let large = assets(&bench.folder.join("large"), PAD_MIB)?;
    let disk = Mounted::new(&bench.folder, FileSystem::Xfs, DISK)?;
    let home = disk.folder.join("site");
    fleet::home(&home, &large)?;
    clear(&large)?;
    let profile = fs::read_to_string(workspace().join("profiles/metal-disk.yaml"))?;
    fs::write(home.join("zst.yaml"), format!("{}\n    compress: zst\n", profile.trim_end()))?;
    let (nodes, out) = (bench.nodes(NODES), home.join("out"));
    let mut rows = Vec::new();
    let sites = [("metal-iso", "checksums of"), ("./zst.yaml", "`.zst` of")];
    for (profile, what) in sites {
        let times = [1, nodes].map(|nodes| -> Result<_> {
            let site = fleet::site(&home, nodes, profile)?;
            Ok(bench.build_anew(&site, &out)?.0.as_secs_f64())
        });
        let [one, all] = times;
        let (one, all) = (one?, all?);
        rows.push(
            Row::new(format!("{what} {nodes} nodes: build / build of one"), all / one, "×")
                .at_most(2.0),
        );
        rows.push(Row::new("  the build of one", one, "s"));
        rows.push(Row::new("  the build of all", all, "s"));
        let first = fs::read_dir(&out)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cp-1"))
        });
        let first = first.context("the first node has a file")?;
        rows.push(Row::new("  an image", mib(len(&first)), "MiB"));
        let sum = bench.least(|| {
            timed(Command::new("sha256sum").arg(&first).stdout(std::process::Stdio::null()))
        })?;
        rows.push(Row::new("  sha256sum of one image", sum.as_secs_f64(), "s"));
        clear(&out)?;
    }
    Ok(rows)
}

/// A raw disk in other formats, synced, beside `qemu-img`, which must find ours right.
pub(super) fn converted(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.folder.join("formats");
    fleet::home(&home, &bench.assets)?;
    let site = fleet::site(&home, 1, "metal-disk")?;
    build(&bench.program, &site, &home.join("out"))?;
    fs::rename(home.join("out/cp-1.raw"), home.join("disk.raw"))?;
    let mut rows =
        vec![Row::new("the raw disk, with its holes", mib(len(&home.join("disk.raw"))), "MiB")];
    for (ours, theirs) in FORMATS {
        rows.extend(format(bench, &home, ours, theirs)?);
    }
    clear(&home)?;
    Ok(rows)
}

/// One format: the times of both programs, once what ours wrote was found to be the disk.
fn format(bench: &Bench, home: &Path, ours: &str, theirs: &str) -> Result<[Row; 3]> {
    let name = format!("ours.{ours}");
    let time = bench.least(|| {
        let _ = fs::remove_file(home.join(&name));
        let mut command = Command::new(&bench.program);
        timed(command.args(["--quiet", "convert", "disk.raw", &name]).current_dir(home))
    })?;
    tools::stdout("qemu-img", &["check", "-q", "-f", theirs, &name], home)?;
    tools::stdout(
        "qemu-img",
        &["compare", "-q", "-f", "raw", "-F", theirs, "disk.raw", &name],
        home,
    )?;
    let script = format!("qemu-img convert -f raw -O {theirs} disk.raw peer && sync peer");
    let peer = bench.least(|| {
        let _ = fs::remove_file(home.join("peer"));
        timed(Command::new("sh").args(["-ec", &script]).current_dir(home))
    })?;
    for name in [&name, "peer"] {
        fs::remove_file(home.join(name))?;
    }
    let (time, peer) = (time.as_secs_f64(), peer.as_secs_f64());
    Ok([
        Row::new(format!("raw → {ours}: speed beside `qemu-img convert`"), peer / time, "×")
            .at_least(1.0),
        Row::new("  ours, synced; found right by `qemu-img`", time, "s"),
        Row::new("  `qemu-img convert`, synced", peer, "s"),
    ])
}
