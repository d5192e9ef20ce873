//! Finished media, changed: an ISO in a release's layout and size, as a copy and in place.
//!
//! In: boot assets. Out: rows beside `cp` and xorriso.
//!
//! Source: the manual page of `xorriso`.
//!
//! Not here: whether the media boot (`tests/custom`).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use lab::foreign::iso;
use lab::foreign::release::Release;
use lab::standin::Standin;
use lab::tools;
use talforge::talos::Arch;

use super::{DISK, FileSystem, Mounted, Row, least, len, mib, timed, watched};
use crate::workspace;

/// How often what takes milliseconds is done: the least counts.
const OFTEN: usize = 4;

/// An ISO that both firmwares start, changed on a disk that shares blocks, and on one that does not.
pub(super) fn rows(program: &Path, folder: &Path, assets: &Path) -> Result<Vec<Row>> {
    let home = folder.join("custom");
    fs::create_dir_all(&home)?;
    let standin = Standin { arch: Arch::Amd64, folder: assets.to_owned() };
    let iso = home.join("a.iso");
    iso::hybrid(&Release::plain(&standin), &iso)?;
    let example = workspace().join("profiles/example/homelab/configs/w-1.yaml");
    fs::copy(example, home.join("c.yaml"))?;
    let start = often(|| timed(Command::new(program).arg("--version").stdout(Stdio::null())))?;
    let mut rows = vec![Row::new("an ISO for BIOS and UEFI to change", mib(len(&iso)), "MiB")];
    rows.extend(copied(program, &home)?);
    let disk = Mounted::new(folder, FileSystem::Xfs, DISK)?;
    for name in ["a.iso", "c.yaml"] {
        fs::copy(home.join(name), disk.folder.join(name))?;
    }
    rows.extend(shared(program, &disk.folder, start)?);
    fs::remove_dir_all(&home)?;
    Ok(rows)
}

/// Beside `cp`, on a disk that shares no blocks with `cp` so asked.
fn copied(program: &Path, home: &Path) -> Result<Vec<Row>> {
    let ours = least(|| {
        let _ = fs::remove_file(home.join("b.iso"));
        timed(&mut customize(program, home))
    })?;
    let cp = least(|| {
        let _ = fs::remove_file(home.join("b.iso"));
        let script = "cp --reflink=never a.iso b.iso && sync b.iso";
        timed(Command::new("sh").args(["-c", script]).current_dir(home))
    })?;
    let (ours, cp) = (ours.as_secs_f64(), cp.as_secs_f64());
    Ok(vec![
        Row::new("customize to a copy, all bytes, synced", ours, "s"),
        Row::new("  cp of the same, synced", cp, "s"),
        Row::new("  customize / cp", ours / cp, "×").at_most(1.05),
    ])
}

/// On a disk that shares blocks, beside xorriso, which writes an ISO anew; and in place.
fn shared(program: &Path, home: &Path, start: Duration) -> Result<Vec<Row>> {
    tools::stdout("sync", &["a.iso"], home)?;
    let copy = often(|| {
        let _ = fs::remove_file(home.join("b.iso"));
        timed(&mut customize(program, home))
    })?;
    let mut turn = false;
    let config = fs::read_to_string(home.join("c.yaml"))?;
    fs::write(home.join("d.yaml"), format!("# another\n{config}"))?;
    let mut set = || {
        turn = !turn;
        let mut command = Command::new(program);
        let file = if turn { "d.yaml" } else { "c.yaml" };
        command.args(["--quiet", "config", "set", "b.iso", file]).current_dir(home);
        command
    };
    let in_place = often(|| timed(&mut set()))?;
    let mut remove = Command::new(program);
    remove.args(["--quiet", "config", "remove", "b.iso"]).current_dir(home);
    let removed = often(|| {
        timed(&mut set())?;
        timed(&mut remove)
    })?;
    let anew = often(|| {
        timed(&mut remove)?;
        timed(&mut set())
    })?;
    let mut memory = watched(&mut set())?.1;
    fs::remove_file(home.join("b.iso"))?;
    memory = memory.max(watched(&mut customize(program, home))?.1);
    let xorriso = least(|| {
        let _ = fs::remove_file(home.join("x.iso"));
        // It says that it is sorry: the EFI boot entry is lost.
        let script = "xorriso -return_with FAILURE 32 -indev a.iso -outdev x.iso -map c.yaml /config.yaml \
                      -boot_image any replay 2> xorriso.log && sync x.iso";
        timed(Command::new("sh").args(["-c", script]).current_dir(home))
    })?;
    let beyond = |time: Duration| time.saturating_sub(start).as_secs_f64() * 1e3;
    Ok(vec![
        Row::new("customize to a copy on XFS, synced, beyond the start", beyond(copy), "ms")
            .at_most(5.0),
        Row::new("  starting the program", start.as_secs_f64() * 1e3, "ms"),
        Row::new("  xorriso with another file on it, synced", xorriso.as_secs_f64() * 1e3, "ms"),
        Row::new("config set in place on XFS, synced, beyond the start", beyond(in_place), "ms")
            .at_most(10.0),
        Row::new("  the same where there was none", beyond(anew), "ms").at_most(10.0),
        Row::new("  config remove", beyond(removed), "ms").at_most(10.0),
        Row::new("  peak memory", mib(memory), "MiB").at_most(32.0),
    ])
}

fn customize(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    let args = ["--quiet", "customize", "a.iso", "--config", "c.yaml", "-o", "b.iso"];
    command.args(args).current_dir(home);
    command
}

/// The least time of many runs.
fn often(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    least(|| {
        let mut time = run()?;
        for _ in 1..OFTEN {
            time = time.min(run()?);
        }
        Ok(time)
    })
}
