//! The age identities of whoever builds.
//!
//! In: the environment and files, by two functions of the caller. Out: [`Identities`].
//!
//! Source: SOPS 3.13, `age/keysource.go`, `loadIdentities` and `parseIdentities`: every place that
//! is there counts, and the first identity that fits is taken.
//!
//! Not here: reading the environment and the disk (`verb`), SSH keys, and running programs, so that
//! `SOPS_AGE_KEY_CMD` and identities of plugins only show in the advice.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::report::{Diagnostic, Place};

/// Age identities, and where they were looked for. They are wiped when they are dropped.
#[derive(Default)]
pub struct Identities {
    keys: Vec<age::x25519::Identity>,
    /// The places that were looked at.
    places: Vec<String>,
    /// What was seen there and cannot be used.
    unused: Vec<String>,
}

impl Identities {
    /// Looks where SOPS does: at the texts in `SOPS_AGE_KEY`, the file that `SOPS_AGE_KEY_FILE`
    /// names, and the file `sops/age/keys.txt` below `XDG_CONFIG_HOME` or `HOME/.config`. `variable`
    /// gives the value of an environment variable, `read` the bytes of a file. There may be none.
    ///
    /// # Errors
    ///
    /// A file that is named and cannot be read, or a place whose text is no list of identities.
    pub fn find(
        variable: &dyn Fn(&str) -> Option<OsString>,
        read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Diagnostic> {
        let mut found = Self::default();
        found.places.push("`SOPS_AGE_KEY`".into());
        if let Some(text) = variable("SOPS_AGE_KEY") {
            let text = Zeroizing::new(text.into_encoded_bytes());
            found.add("SOPS_AGE_KEY", &text)?;
        }
        found.places.push("`SOPS_AGE_KEY_FILE`".into());
        if let Some(path) = variable("SOPS_AGE_KEY_FILE") {
            let path = PathBuf::from(path);
            let bytes = read(&path).map_err(|error| unreadable(&path, &error))?;
            found.add(&path.to_string_lossy(), &Zeroizing::new(bytes))?;
        }
        if variable("SOPS_AGE_KEY_CMD").is_some() {
            found.unused.push("`SOPS_AGE_KEY_CMD` names a program, and none is run".into());
        }
        if let Some(path) = user_file(variable) {
            found.places.push(format!("`{}`", path.display()));
            match read(&path) {
                Ok(bytes) => found.add(&path.to_string_lossy(), &Zeroizing::new(bytes))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&path, &error)),
            }
        }
        Ok(found)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| -> &dyn age::Identity { key })
    }

    /// What to do when none of them opens a file.
    pub(super) fn advice(&self) -> String {
        let mut text =
            "set `SOPS_AGE_KEY_FILE` to the file of an identity that it is for".to_owned();
        if !self.places.is_empty() {
            text.push_str(&format!("; looked at {}", self.places.join(", ")));
        }
        for unused in &self.unused {
            text.push_str("; ");
            text.push_str(unused);
        }
        text
    }

    /// Takes the identities of a place: words, on lines that do not start with `#`.
    fn add(&mut self, place: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        if super::is_age(bytes) {
            self.unused.push(format!("`{place}` is itself encrypted"));
            return Ok(());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| no_identity(place, 1))?;
        for (line, text) in (1_u32..).zip(text.lines()) {
            for word in text.split_whitespace().take_while(|_| !text.starts_with('#')) {
                if word.starts_with("AGE-PLUGIN-") || word.starts_with("AGE-SECRET-KEY-PQ-") {
                    let what = "is of a kind that is not supported";
                    self.unused.push(format!("the identity at `{place}:{line}` {what}"));
                    continue;
                }
                self.keys.push(word.parse().map_err(|_| no_identity(place, line))?);
            }
        }
        Ok(())
    }
}

/// The number of identities, never one of them.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.keys.len())
    }
}

/// The file of a user who set nothing. A relative `XDG_CONFIG_HOME` is none (XDG Base Directory
/// Specification 0.8, "Environment variables").
fn user_file(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = match folder("XDG_CONFIG_HOME") {
        Some(folder) => folder.is_absolute().then_some(folder)?,
        None => folder("HOME")?.join(".config"),
    };
    Some(config.join("sops/age/keys.txt"))
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("the age identities in `{}` cannot be read: {error}", path.display());
    Diagnostic::error("sops-identity-file", message)
        .help("mend `SOPS_AGE_KEY_FILE`, or the file's permissions")
}

fn no_identity(file: &str, line: u32) -> Diagnostic {
    Diagnostic::error("sops-identity-text", "this is no age identity")
        .at(Place { file: file.to_owned(), line, column: 1 })
        .help("give the line that starts with `AGE-SECRET-KEY-1`, as `age-keygen` wrote it")
}
