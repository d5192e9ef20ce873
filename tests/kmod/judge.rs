//! Releases of kmod's tools, and what they say of our indexes.
//!
//! Not here: which modules there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use lab::apt::Suite;
use lab::parts;
use lab::tools::{find, have};

use super::machine::{Files, Machine};

/// The release of kmod that writes binary indexes as we do.
const NEW: u32 = 34;
/// The packages of Debian 13 without which its kmod does not run on Debian 12.
const PACKAGES: [&str; 4] = ["kmod", "libkmod2", "libc6", "libssl3t64"];

/// One release of kmod.
pub(crate) struct Judge {
    /// For messages.
    pub(crate) name: &'static str,
    /// The folder of Debian 13's packages, or nothing for the installed tools.
    folder: Option<PathBuf>,
    /// Whether all that it writes must be as ours is.
    pub(crate) is_new: bool,
}

/// The judges that there are: none without an installed kmod.
///
/// # Panics
///
/// In CI, where one is missing.
pub(crate) fn judges() -> Vec<Judge> {
    if !have(&["depmod", "modprobe", "modinfo"]) {
        return Vec::new();
    }
    let installed = Judge { name: "the installed kmod", folder: None, is_new: false };
    let mut judges = vec![Judge { is_new: installed.release() >= NEW, ..installed }];
    match debian_13() {
        Ok(folder) => {
            let judge = Judge { name: "Debian 13's kmod", folder: Some(folder), is_new: true };
            assert!(judge.release() >= NEW);
            judges.push(judge);
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no kmod of Debian 13: {error:#}");
            say(&format!("skipped: no kmod of Debian 13: {error:#}"));
        }
    }
    judges
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn debian_13() -> Result<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let _alone = parts::lock("parts")?;
    let folder = parts::cache()?.join("parts/kmod");
    fs::create_dir_all(&folder)?;
    let missing = PACKAGES.into_iter().filter(|package| !folder.join(package).exists());
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        let suite = Suite::open("trixie", parts::cache()?.join("apt/trixie"))?;
        for package in missing {
            suite.unpack(&format!("{package}:{arch}"), &folder.join(package))?;
        }
    }
    Ok(folder)
}

impl Judge {
    fn run(&self, tool: &str, args: &[&str], dir: &Path) -> Result<Output> {
        let mut command = match &self.folder {
            None => Command::new(find(tool).context("it is installed")?),
            Some(folder) => {
                let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
                let libraries = PACKAGES.map(|package| folder.join(package).join(&libraries));
                let loaders = fs::read_dir(&libraries[2])?.flatten().map(|entry| entry.path());
                let is_loader = |path: &PathBuf| path.to_string_lossy().contains("/ld-linux");
                let loader = loaders.into_iter().find(is_loader).context("a loader")?;
                let mut command = Command::new(loader);
                let path = std::env::join_paths(libraries)?;
                command.arg("--library-path").arg(path).args(["--argv0", tool]);
                command.arg(folder.join("kmod/usr/bin/kmod"));
                command
            }
        };
        Ok(command.args(args).current_dir(dir).env("LC_ALL", "C").output()?)
    }

    fn release(&self) -> u32 {
        let said = self.run("depmod", &["--version"], Path::new("/")).unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let number = said.trim_start_matches("kmod version ");
        let number = number.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        number.parse().unwrap_or_else(|_| panic!("no release in {said:?}"))
    }

    /// What a tool answers about a machine, with its complaints.
    pub(crate) fn ask(&self, tool: &str, args: &[&str], machine: &Machine) -> String {
        let place: &[&str] = match tool {
            "modinfo" => &["-b", ".", "-k", &machine.release],
            _ => &["-C", "/dev/null", "-d", ".", "-S", &machine.release],
        };
        let out = self.run(tool, &[place, args].concat(), machine.root.path()).unwrap();
        let [said, complained] = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
        // The tools name the folder that they were given in full.
        let root = machine.root.path().to_str().unwrap();
        format!("{}{said}{complained}", out.status).replace(root, "")
    }

    /// Whether depmod is content with a machine's modules, what it says, and what it writes, which
    /// is taken away again.
    pub(crate) fn depmod(&self, machine: &Machine) -> (bool, String, Files) {
        // A bare name of a file, without a folder, breaks depmod's memory.
        let place = ["--basedir", ".", "--config", "./depmod.conf"];
        let args = [&["--all"], &place[..], &[&machine.release]].concat();
        let out = self.run("depmod", &args, machine.root.path()).unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap(), machine.take())
    }

    /// Compares what depmod writes with ours, and gives what it says.
    pub(crate) fn agrees(&self, machine: &Machine, ours: &Files) -> String {
        let (is_content, said, theirs) = self.depmod(machine);
        assert!(is_content, "{}: {said}", self.name);
        let mut names: Vec<_> = ours.keys().collect();
        if !self.is_new {
            names.retain(|name| *name != "modules.weakdep");
        }
        assert_eq!(names, theirs.keys().collect::<Vec<_>>(), "{}", self.name);
        for (name, theirs) in &theirs {
            if name.ends_with(".bin") {
                assert_eq!(keys(&ours[name]), keys(theirs), "{name} of {}", self.name);
            }
            if self.is_new || !name.ends_with(".bin") {
                assert_same(&format!("{name} of {}", self.name), &ours[name], theirs);
            }
        }
        said
    }
}

/// Names the first difference: the files have a megabyte.
fn assert_same(name: &str, ours: &[u8], theirs: &[u8]) {
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    if ours != theirs {
        let show = |bytes: &[u8]| {
            let from = same.saturating_sub(60);
            bytes[from..bytes.len().min(same + 60)].escape_ascii().to_string()
        };
        let (us, them) = (show(ours), show(theirs));
        panic!("{name} differs at {same}:\n  ours   {us}\n  theirs {them}");
    }
}

/// Keys of a binary index, each with its values and their priorities.
type Keys = BTreeMap<String, Vec<(u32, String)>>;

fn keys(index: &[u8]) -> Keys {
    let mut keys = Keys::new();
    // Where a table is missing, depmod leaves its index empty.
    if !index.is_empty() {
        assert_eq!(index[..8], [0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1]);
        read_node(index, word(index, 8), String::new(), &mut keys);
    }
    keys
}

fn read_node(index: &[u8], reference: u32, mut key: String, keys: &mut Keys) {
    let mut at = usize::try_from(reference & 0x0fff_ffff).unwrap();
    if reference & 0x8000_0000 != 0 {
        key.push_str(&text(index, &mut at));
    }
    if reference & 0x2000_0000 != 0 {
        let (first, last) = (index[at], index[at + 1]);
        at += 2;
        for letter in first..=last {
            match word(index, at) {
                0 => (),
                child => read_node(index, child, format!("{key}{}", char::from(letter)), keys),
            }
            at += 4;
        }
    }
    if reference & 0x4000_0000 != 0 {
        let count = word(index, at);
        at += 4;
        let values = (0..count).map(|_| {
            let priority = word(index, at);
            at += 4;
            (priority, text(index, &mut at))
        });
        assert!(keys.insert(key, values.collect()).is_none());
    }
}

fn word(index: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(index[at..at + 4].try_into().unwrap())
}

fn text(index: &[u8], at: &mut usize) -> String {
    let len = index[*at..].iter().position(|byte| *byte == 0).unwrap();
    let text = String::from_utf8(index[*at..*at + len].to_vec()).unwrap();
    *at += len + 1;
    text
}
