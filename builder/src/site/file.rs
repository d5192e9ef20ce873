//! Files that a site names, each read once.
//!
//! In: paths. Out: bytes, never more than a limit allows; profiles, overlays and configs of them.
//!
//! Source: none.
//!
//! Not here: boot assets, which are large and are read in place (`asset`), and what patches and
//! secrets mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::field::{Fields, Written, items, quote, text};
use super::{Source, Text, World, boot};
use crate::catalog::{self, Overlay, Profile};
use crate::config::{self, MachineConfig};
use crate::pki::secret::Secret;
use crate::report::{Diagnostic, Severity};
use crate::sops::{self, identity::Identities};
use crate::units::Size;
use crate::yaml::meant::nearest;
use crate::yaml::{self, Node};

/// The largest file of certificates or keys that is read, in bytes: room for all public CAs.
const MAX_PEM: u64 = 512 << 10;

/// The largest file of identities that is read, in bytes.
const MAX_IDENTITIES: u64 = 64 << 10;

/// How many bytes of certificates and keys all nodes may have together.
const MAX_GIVEN: u64 = 256 << 20;

/// Reads at most `limit` bytes and one more of a plain file.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a pipe waits for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says that a file cannot be read.
pub(crate) fn unreadable(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    let path = quote(&path.display().to_string());
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no {what} {path}");
        return Diagnostic::error("no-file", message).help("check the path");
    }
    Diagnostic::error("unreadable-file", format!("the {what} {path} cannot be read: {error}"))
}

/// Says that a file is larger than it may be.
pub(crate) fn too_large(what: &str, limit: u64) -> Diagnostic {
    let message = format!("the {what} is larger than {}", Size(limit));
    Diagnostic::error("file-too-large", message).help("is this the right file?")
}

/// Whether it stops nothing.
pub(super) fn is_warning(problem: &Diagnostic) -> bool {
    problem.severity == Severity::Warning
}

/// The bytes of a file under its path.
type Plain = (PathBuf, Arc<Zeroizing<Vec<u8>>>);

/// The files of a site, each read once; nothing stands for one that is wrong, and was told.
pub(super) struct Files<'a> {
    folder: &'a Path,
    world: World<'a>,
    profiles: BTreeMap<String, Option<Profile>>,
    overlays: BTreeMap<String, Option<Overlay>>,
    configs: BTreeMap<String, Option<MachineConfig>>,
    plain: BTreeMap<String, Option<Plain>>,
    values: BTreeMap<String, Option<Node>>,
    /// The identities, looked for once something is encrypted.
    identities: Option<Option<Identities>>,
    given: u64,
}

/// A kind of thing in the catalog.
struct Shelf<T> {
    what: &'static str,
    shipped: fn(&str) -> Option<T>,
    names: Vec<&'static str>,
    parse: fn(&str, &[u8]) -> Result<T, Diagnostic>,
}

impl<'a> Files<'a> {
    /// The folder that paths start at.
    pub(super) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// No file is read yet. Paths start at the folder.
    pub(super) fn new(folder: &'a Path, world: World<'a>) -> Self {
        Self {
            folder,
            world,
            profiles: BTreeMap::new(),
            overlays: BTreeMap::new(),
            configs: BTreeMap::new(),
            plain: BTreeMap::new(),
            values: BTreeMap::new(),
            identities: None,
            given: 0,
        }
    }

    /// The profile of a name.
    pub(super) fn profile(
        &mut self,
        name: &Written<String>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Profile> {
        if let Some(known) = self.profiles.get(&name.value) {
            return known.clone();
        }
        let shelf = Shelf {
            what: "profile",
            shipped: catalog::profile,
            names: catalog::profile_names().collect(),
            parse: Profile::parse,
        };
        let found = self.take(&shelf, name, problems);
        self.profiles.insert(name.value.clone(), found.clone());
        found
    }

    /// The overlay of a name.
    pub(super) fn overlay(
        &mut self,
        name: &Written<String>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Overlay> {
        if let Some(known) = self.overlays.get(&name.value) {
            return known.clone();
        }
        let shelf = Shelf {
            what: "overlay",
            shipped: catalog::overlay,
            names: catalog::overlay_names().collect(),
            parse: Overlay::parse,
        };
        let found = self.take(&shelf, name, problems);
        self.overlays.insert(name.value.clone(), found.clone());
        found
    }

    /// One that we ship, or a user's own: its name has a `/` in it or ends in `.yaml`.
    fn take<T>(
        &self,
        shelf: &Shelf<T>,
        name: &Written<String>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        let what = shelf.what;
        let is_file = name.value.contains('/') || name.value.ends_with(".yaml");
        if is_file {
            let (path, bytes) = self.bytes(what, name, catalog::MAX_BYTES, problems)?;
            let file = path.display().to_string();
            return (shelf.parse)(&file, &bytes).map_err(|error| problems.push(error)).ok();
        }
        let found = (shelf.shipped)(&name.value);
        if found.is_none() {
            let help = nearest(&name.value, shelf.names.iter().copied()).map_or_else(
                || format!("use one of {}, or a file: `./mine.yaml`", shelf.names.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("there is no {what} {}", quote(&name.value));
            let problem = Diagnostic::error("unknown-name", message).at(name.place.clone());
            problems.push(problem.help(help));
        }
        found
    }

    /// The ready machine config of a path.
    pub(super) fn config(
        &mut self,
        name: &Written<String>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<MachineConfig> {
        if let Some(known) = self.configs.get(&name.value) {
            return known.clone();
        }
        let found = self.plain("machine config", name, config::MAX_BYTES, problems);
        let found = found.and_then(|(path, bytes)| {
            let parsed = MachineConfig::parse(&path.display().to_string(), bytes.as_slice());
            parsed.map_err(|errors| problems.extend(errors)).ok()
        });
        self.configs.insert(name.value.clone(), found.clone());
        found
    }

    /// What a path names, for others to read.
    pub(super) fn source(
        &mut self,
        what: &str,
        name: &Written<&str>,
        limit: u64,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Source> {
        let place = name.place.clone();
        let name = name.clone().with(str::to_owned);
        let (path, bytes) = self.plain(what, &name, limit, problems)?;
        Some(Source { file: path.display().to_string(), text: Text::Bytes(bytes), place })
    }

    /// A list of patches: paths, and patches themselves.
    pub(super) fn patches(
        &mut self,
        fields: &Fields<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Source> {
        let Some(node) = fields.get("patches") else { return Vec::new() };
        let items = items(node, "patches", problems).iter();
        items.filter_map(|item| self.patch(item, problems)).collect()
    }

    fn patch(&mut self, item: &Node, problems: &mut Vec<Diagnostic>) -> Option<Source> {
        if item.scalar().is_none() {
            let place = item.place();
            return Some(Source {
                file: place.file.clone(),
                text: Text::Tree(item.clone()),
                place,
            });
        }
        let name = text(item, "patches", problems)?;
        self.source("patch", &name, config::MAX_BYTES, problems)
    }

    /// The text of a file that a value names. All nodes share it.
    pub(super) fn value(&mut self, path: &Node, problems: &mut Vec<Diagnostic>) -> Option<Node> {
        let name = text(path, "values", problems)?.with(str::to_owned);
        if let Some(known) = self.values.get(&name.value) {
            return known.clone();
        }
        let found = self.plain("file", &name, config::MAX_BYTES, problems);
        let found = found.and_then(|(path, bytes)| {
            let file = path.display().to_string();
            let Ok(text) = std::str::from_utf8(&bytes) else {
                let message = format!("{} is no text", quote(&file));
                let problem = Diagnostic::error("value-file", message).at(name.place.clone());
                problems.push(problem.help("save it as UTF-8"));
                return None;
            };
            Some(Node::whole(&file, text.to_owned()))
        });
        self.values.insert(name.value, found.clone());
        found
    }

    /// The text of a file of certificates.
    pub(super) fn pem(
        &mut self,
        name: &Written<&str>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Secret> {
        let place = name.place.clone();
        let name = name.clone().with(str::to_owned);
        let (path, bytes) = self.plain("file", &name, MAX_PEM, problems)?;
        let before = self.given;
        self.given = before.saturating_add(bytes.len() as u64);
        if self.given > MAX_GIVEN {
            if before <= MAX_GIVEN {
                let message =
                    format!("the nodes have more than {} of certificates", Size(MAX_GIVEN));
                let problem = Diagnostic::error("files-too-large", message).at(place);
                problems.push(problem.help("give each node those alone that it needs"));
            }
            return None;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            let path = quote(&path.display().to_string());
            let problem = Diagnostic::error("pem", format!("{path} is no text")).at(place);
            problems.push(problem.help("give it in PEM"));
            return None;
        };
        Some(Secret::new(text.to_owned()))
    }

    /// The bytes of a file, decrypted where they are encrypted.
    pub(super) fn plain(
        &mut self,
        what: &str,
        name: &Written<String>,
        limit: u64,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Plain> {
        if let Some(known) = self.plain.get(&name.value) {
            return known.clone();
        }
        let found = self.bytes(what, name, limit, problems).and_then(|(path, bytes)| {
            let bytes = self.decrypted(&path, Zeroizing::new(bytes), problems)?;
            Some((path, Arc::new(bytes)))
        });
        self.plain.insert(name.value.clone(), found.clone());
        found
    }

    fn decrypted(
        &mut self,
        path: &Path,
        bytes: Zeroizing<Vec<u8>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let file = path.display().to_string();
        // What is no YAML is told by who reads it.
        let sops = || yaml::parse(&file, &bytes).is_ok_and(|nodes| sops::is_encrypted(&nodes));
        if !sops::is_age(&bytes) && !sops() {
            return Some(bytes);
        }
        if self.identities.is_none() {
            let read = |path: &Path| (self.world.read)(path, MAX_IDENTITIES);
            let found = Identities::find(self.world.variable, &read);
            let start = crate::report::Place { file: file.clone(), line: 1, column: 1 };
            let found = found.map_err(|problem| {
                problems.push(Diagnostic { place: problem.place.or(Some(start)), ..problem });
            });
            self.identities = Some(found.ok());
        }
        let identities = self.identities.as_ref()?.as_ref()?;
        sops::decrypt(&file, &bytes, identities).map_err(|problem| problems.push(problem)).ok()
    }

    fn bytes(
        &self,
        what: &str,
        name: &Written<String>,
        limit: u64,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(PathBuf, Vec<u8>)> {
        let text = Written { value: name.value.as_str(), place: name.place.clone() };
        let path = boot::path(&text, what, self.folder, problems)?;
        let problem = match (self.world.read)(&path, limit) {
            Ok(bytes) if bytes.len() as u64 <= limit => return Some((path, bytes)),
            Ok(_) => too_large(what, limit),
            Err(error) => unreadable(what, &path, &error),
        };
        problems.push(problem.at(name.place.clone()));
        None
    }
}
