//! The files of a talhelper site, each within a limit, and opened in memory where it is encrypted.
//!
//! In: paths as talhelper reads them. Out: their bytes.
//!
//! Source: talhelper `pkg/substitute/pathsubst.go` (paths start at the folder of the site's file),
//! `pkg/decrypt/decrypt.go`.
//!
//! Not here: what is in them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config;
use crate::report::{Diagnostic, Place};
use crate::site::World;
use crate::sops::{self, identity::Identities};
use crate::units::Size;
use crate::yaml;

/// The largest file of identities that is read, in bytes.
const MAX_IDENTITIES: u64 = 64 << 10;

/// How many bytes all files of an import may have together.
const MAX_ALL: u64 = 64 << 20;

/// The files of a site.
pub(super) struct Files<'w> {
    folder: PathBuf,
    world: &'w World<'w>,
    identities: Option<Identities>,
    left: u64,
}

/// A file as it lies there, and what is in it.
pub(super) struct Read {
    /// Its path, as the user would write it.
    pub(super) path: String,
    /// Its bytes as they are.
    pub(super) raw: Zeroizing<Vec<u8>>,
    /// What is in it, where it is encrypted.
    pub(super) opened: Option<Zeroizing<Vec<u8>>>,
}

impl Read {
    /// What is in it.
    pub(super) fn plain(&self) -> &[u8] {
        self.opened.as_ref().unwrap_or(&self.raw)
    }
}

impl<'w> Files<'w> {
    /// The files beside a site's own.
    pub(super) fn new(site: &Path, world: &'w World<'w>) -> Self {
        let folder = site.parent().unwrap_or_else(|| Path::new("")).to_owned();
        Self { folder, world, identities: None, left: MAX_ALL }
    }

    /// Whether there is a file of a name in the folder.
    pub(super) fn has(&self, name: &str) -> bool {
        let found = (self.world.read)(&self.folder.join(name), 0);
        !found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Reads a file, and opens it where it is encrypted. `at` is where it is named.
    pub(super) fn read(&mut self, name: &str, at: Option<&Place>) -> Result<Read, Diagnostic> {
        let path = self.folder.join(name.trim());
        let shown = path.display().to_string();
        let placed = |problem: Diagnostic| match at {
            Some(at) if problem.place.is_none() => problem.at(at.clone()),
            _ => problem,
        };
        let raw = self.bytes(&path).map_err(placed)?;
        let is_sops = || yaml::parse(&shown, &raw).is_ok_and(|nodes| sops::is_encrypted(&nodes));
        let is_encrypted = sops::is_age(&raw) || is_sops();
        let opened = match is_encrypted {
            true => {
                let identities = self.identities().map_err(placed)?;
                Some(sops::decrypt(&shown, &raw, identities).map_err(placed)?)
            }
            false => None,
        };
        Ok(Read { path: shown, raw, opened })
    }

    fn bytes(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
        let shown = path.display();
        let limit = config::MAX_BYTES.min(self.left);
        let bytes =
            (self.world.read)(path, limit).map(Zeroizing::new).map_err(|error| {
                match error.kind() {
                    ErrorKind::NotFound => {
                        Diagnostic::error("no-file", format!("there is no file `{shown}`"))
                            .help("check the path; it starts at the folder of the site's file")
                    }
                    _ => {
                        let message = format!("the file `{shown}` cannot be read: {error}");
                        Diagnostic::error("unreadable-file", message)
                    }
                }
            })?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > limit {
            let message = format!("the file `{shown}` is larger than {}", Size(limit));
            return Err(
                Diagnostic::error("file-too-large", message).help("is this the right file?")
            );
        }
        self.left -= length;
        Ok(bytes)
    }

    fn identities(&mut self) -> Result<&Identities, Diagnostic> {
        if self.identities.is_none() {
            let read = |path: &Path| (self.world.read)(path, MAX_IDENTITIES);
            self.identities = Some(Identities::find(self.world.variable, &read)?);
        }
        match &self.identities {
            Some(identities) => Ok(identities),
            None => unreachable!("they were found above"),
        }
    }
}
