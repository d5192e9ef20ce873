//! Talos' own packages as an oracle: a Go program for each release, asked line by line.
//!
//! In: a release, a request. Out: what Talos says.
//!
//! Source: `tests/talos`, built with the version of Talos that one of its `go-1.1x.mod` pins.
//!
//! Not here: what ours says.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use talforge::config::kinds;
use talforge::config::schema::{NEWEST, OLDEST};
use talforge::digest::Digest;

use crate::tools;

/// The minor versions of Talos 1 that there are oracles for.
pub const MINORS: [u32; 3] = [12, 13, 14];

const _: () = assert!(MINORS[0] == OLDEST && MINORS[2] == NEWEST);

/// The oracle of one release.
#[derive(Debug)]
pub struct Oracle {
    /// The minor version of Talos 1.
    pub minor: u32,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What Talos says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The value of an answer: see `answer` in `tests/talos/main.go`.
    Yes(Value),
    /// It refuses.
    No(String),
    /// It panics.
    Panic(String),
}

impl Said {
    /// The text of an answer, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Yes(value) => Some(value["text"].as_str().unwrap_or_default()),
            Self::No(_) | Self::Panic(_) => None,
        }
    }

    /// Why it refuses; empty where it does not.
    pub fn reason(&self) -> &str {
        match self {
            Self::Yes(_) => "",
            Self::No(reason) | Self::Panic(reason) => reason,
        }
    }
}

impl Oracle {
    /// Starts the oracle of Talos 1.`minor`. It is built first, if it is not there or not current.
    /// Nothing is returned where there is no `go`.
    ///
    /// # Errors
    ///
    /// Where it cannot be built or started.
    ///
    /// # Panics
    ///
    /// In CI, where there is no `go`.
    pub fn start(minor: u32) -> Result<Option<Self>> {
        if !tools::have(&["go"]) {
            return Ok(None);
        }
        static BUILT: OnceLock<std::result::Result<(), String>> = OnceLock::new();
        BUILT
            .get_or_init(|| build().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!(error))?;
        let mut child = Command::new(program(minor))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the oracle did not start")?;
        let requests = child.stdin.take().context("a pipe was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Some(Self { minor, child, requests, answers }))
    }

    /// Asks it.
    ///
    /// # Errors
    ///
    /// Where the program itself fails. What Talos refuses is an answer.
    pub fn ask(&mut self, request: &Value) -> Result<Said> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.requests.write_all(line.as_bytes())?;
        self.requests.flush()?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the oracle ended");
        let answer: Value = serde_json::from_str(&line)?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        Ok(match (text("panic"), text("error")) {
            (Some(panic), _) => Said::Panic(panic),
            (None, Some(error)) => Said::No(error),
            (None, None) => Said::Yes(answer),
        })
    }

    /// What Talos makes of a config: the same, read and written.
    ///
    /// # Errors
    ///
    /// As [`Oracle::ask`].
    pub fn decode(&mut self, config: &str) -> Result<Said> {
        self.ask(&json!({"do": "decode", "config": config}))
    }

    /// What Talos makes of a config and patches.
    ///
    /// # Errors
    ///
    /// As [`Oracle::ask`].
    pub fn patch(&mut self, config: &str, patches: &[&str]) -> Result<Said> {
        self.ask(&json!({"do": "patch", "config": config, "patches": patches}))
    }

    /// What Talos' types look like, as the files of the room `config::schema` have it.
    ///
    /// # Errors
    ///
    /// As [`Oracle::ask`].
    pub fn schema(&mut self) -> Result<String> {
        let kinds: Vec<&str> = kinds::names().collect();
        let said = self.ask(&json!({"do": "schema", "kinds": kinds}))?;
        Ok(said.text().context("the oracle has no schema")?.to_owned())
    }
}

/// Its end of the pipe goes first, at which it ends by itself.
impl Drop for Oracle {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

fn folder() -> PathBuf {
    root().join("target/talos")
}

fn program(minor: u32) -> PathBuf {
    folder().join(format!("oracle-1.{minor}"))
}

/// The file that has the types of Talos 1.`minor`.
pub fn schema_file(minor: u32) -> PathBuf {
    root().join(format!("builder/src/config/schema/talos-1.{minor}.txt"))
}

/// Builds the oracles that are not there, or whose sources have changed.
///
/// # Errors
///
/// What `go` says.
pub fn build() -> Result<()> {
    fs::create_dir_all(folder())?;
    let sources = root().join("tests/talos");
    let lock = fs::File::create(folder().join("lock"))?;
    lock.lock().context("the oracles are being built elsewhere")?;
    for minor in MINORS {
        let stamp = folder().join(format!("stamp-1.{minor}"));
        let current = digest(&sources, minor)?;
        let known = fs::read_to_string(&stamp).unwrap_or_default();
        if known == current && program(minor).is_file() {
            continue;
        }
        let mods = format!("-modfile=go-1.{minor}.mod");
        let tags = format!("-tags=talos1{minor}");
        let to = program(minor).display().to_string();
        let flags = ["build", &mods, &tags, "-o", &to, "."];
        tools::stdout("go", &flags, &sources).with_context(|| format!("oracle of 1.{minor}"))?;
        fs::write(&stamp, current)?;
    }
    Ok(())
}

/// The digest of all that an oracle is built from.
fn digest(sources: &Path, minor: u32) -> Result<String> {
    let mut names: Vec<_> =
        fs::read_dir(sources)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".go") || name.starts_with(&format!("go-1.{minor}."))
    });
    names.sort();
    let mut all = Vec::new();
    for path in names {
        all.extend_from_slice(path.as_os_str().as_encoded_bytes());
        all.extend(fs::read(path)?);
    }
    Ok(format!("{:?}", Digest::of(&all)))
}
