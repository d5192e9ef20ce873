//! From names to what they stand for: profiles, overlays, machine configs.
//!
//! In: the text of a site file. Out: the [`Site`], where all is right.
//!
//! Source: none, the file is ours.
//!
//! Not here: what goes together with what (`check`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::boot::{self, Talos};
use super::check::{self, Parts};
use super::field::{Fields, Written, open, quote};
use super::node::{self, Common, DEFAULT_PROFILE, WrittenNode};
use super::{Embed, MAX_BYTES, Node, ReadFile, Site, file, key};
use crate::catalog::{self, Overlay, Profile};
use crate::config::{self, MachineConfig};
use crate::report::{Diagnostic, Place};
use crate::talos::Arch;
use crate::units::Size;
use crate::yaml::meant::nearest;
use crate::yaml::{self, Node as Tree};

/// Reads a whole site. Nothing comes back only where there are problems.
pub(super) fn site(
    path: &Path,
    text: &[u8],
    read: ReadFile<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Site> {
    let root = root(path, text, problems)?;
    let fields = open(&root, &key::SITE, problems)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    version(&fields, problems);
    let cluster = fields.need("cluster", "{name: …, endpoint: …, talos: …}", problems);
    let (cluster, talos) = cluster.map_or((None, None), |node| boot::cluster(node, problems));
    let boot = fields.need("boot", "{assets: \"dir:assets\"}", problems);
    let boot = boot.map(|node| boot::boot(node, folder, problems)).unwrap_or_default();
    let defaults = node::defaults(fields.get("defaults"), problems);
    let nodes = fields.need("nodes", "[{name: cp-1, role: controlplane, config: …}]", problems);
    let nodes = nodes.map(|node| node::nodes(node, problems)).unwrap_or_default();

    let shared = Shared { talos, arch: boot.arch, args: boot.kernel_args.clone(), defaults };
    let mut files = Files::new(folder, read);
    // Each node is looked at, also after one that is wrong.
    let nodes: Vec<_> =
        nodes.iter().map(|node| shared.resolve(node, &mut files, problems)).collect();
    Some(Site {
        path: path.to_owned(),
        cluster: cluster?,
        boot: boot.finish()?,
        nodes: nodes.into_iter().collect::<Option<_>>()?,
        warnings: Vec::new(),
    })
}

/// The one document of the file.
fn root(path: &Path, text: &[u8], problems: &mut Vec<Diagnostic>) -> Option<Tree> {
    let file = path.display().to_string();
    let place = Place { file: file.clone(), line: 1, column: 1 };
    if text.len() as u64 > MAX_BYTES {
        let message = format!("the site file is larger than {}", Size(MAX_BYTES));
        problems.push(Diagnostic::error("site-too-large", message).at(place));
        return None;
    }
    let documents = yaml::parse(&file, text).map_err(|error| problems.push(error)).ok()?;
    let mut documents = documents.into_iter().filter(|node| !node.is_null());
    let root = documents.next();
    if root.is_none() {
        let problem = Diagnostic::error("site-empty", "the site file is empty").at(place);
        problems.push(problem.help("`talforge init` writes one to start from"));
    }
    if let Some(second) = documents.next() {
        let problem = Diagnostic::error("site-documents", "a site file has one document alone");
        problems.push(problem.at(second.place()).help("drop the `---` line and what follows"));
    }
    root
}

fn version(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(text) = fields.need_text("version", "1", problems) else { return };
    if text.value != "1" {
        let message = format!("{} is no version of the site file", quote(text.value));
        let problem = Diagnostic::error("site-version", message).at(text.place);
        problems.push(problem.help("this program reads version 1"));
    }
}

/// What all nodes share, where it is right.
struct Shared {
    talos: Option<Talos>,
    arch: Option<Arch>,
    args: Vec<String>,
    defaults: Common,
}

impl Shared {
    fn resolve(
        &self,
        written: &WrittenNode,
        files: &mut Files<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Node> {
        let common = self.defaults.with(&written.common);
        let profile_name = common.profile.clone().unwrap_or_else(|| Written {
            value: DEFAULT_PROFILE.to_owned(),
            place: written.place.clone(),
        });
        let profile = files.profile(&profile_name, problems);
        let overlays: Vec<_> =
            common.overlays.iter().map(|name| (name, files.overlay(name, problems))).collect();
        let config = written.config.as_ref().and_then(|path| files.config(path, problems));
        let parts = Parts {
            written,
            embed: common.embed.as_ref(),
            profile: profile.as_ref().map(|profile| (&profile_name, profile)),
            overlays: &overlays,
            config: config.as_ref(),
            talos: self.talos.as_ref(),
            arch: self.arch,
        };
        check::node(&parts, problems);

        let mut kernel_args = self.args.clone();
        kernel_args.extend_from_slice(&self.defaults.kernel_args);
        for (_, overlay) in &overlays {
            kernel_args.extend_from_slice(overlay.as_ref()?.kernel_args.of(self.arch?));
        }
        kernel_args.extend_from_slice(&written.common.kernel_args);
        Some(Node {
            name: written.name.clone()?,
            role: written.role?,
            config,
            profile_name: profile_name.value,
            profile: profile?,
            overlays: common.overlays.iter().map(|name| name.value.clone()).collect(),
            kernel_args,
            meta: common.meta,
            embed: common.embed.map_or(Embed::Auto, |embed| embed.value),
            place: written.place.clone(),
        })
    }
}

/// The files of a site, each read once; nothing stands for one that is wrong, and was told.
struct Files<'a> {
    folder: &'a Path,
    read: ReadFile<'a>,
    profiles: BTreeMap<String, Option<Profile>>,
    overlays: BTreeMap<String, Option<Overlay>>,
    configs: BTreeMap<String, Option<MachineConfig>>,
}

/// A kind of thing in the catalog.
struct Shelf<T> {
    what: &'static str,
    shipped: fn(&str) -> Option<T>,
    names: Vec<&'static str>,
    parse: fn(&str, &[u8]) -> Result<T, Diagnostic>,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path, read: ReadFile<'a>) -> Self {
        let (profiles, overlays, configs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { folder, read, profiles, overlays, configs }
    }

    fn profile(
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

    fn overlay(
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

    fn config(
        &mut self,
        name: &Written<String>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<MachineConfig> {
        if let Some(known) = self.configs.get(&name.value) {
            return known.clone();
        }
        let found = self.bytes("machine config", name, config::MAX_BYTES, problems);
        let found = found.and_then(|(path, bytes)| {
            let parsed = MachineConfig::parse(&path.display().to_string(), bytes);
            parsed.map_err(|errors| problems.extend(errors)).ok()
        });
        self.configs.insert(name.value.clone(), found.clone());
        found
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
        let problem = match (self.read)(&path, limit) {
            Ok(bytes) if bytes.len() as u64 <= limit => return Some((path, bytes)),
            Ok(_) => {
                let message = format!("the {what} is larger than {}", Size(limit));
                Diagnostic::error("file-too-large", message).help("is this the right file?")
            }
            Err(error) => file::unreadable(what, &path, &error),
        };
        problems.push(problem.at(name.place.clone()));
        None
    }
}
