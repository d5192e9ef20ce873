//! Sites of other tools, as sites of ours.
//!
//! In: talhelper's `talconfig.yaml` and the files that it names. Out: [`Imported`]: a `site.yaml`
//! that renders the same machine configs, the patches that it names, and what is not carried over.
//!
//! Source: talhelper, <https://github.com/budimanjojo/talhelper>, `pkg/config`, `pkg/generate`,
//! `pkg/talos`, `pkg/patcher`, `pkg/substitute`; each file here cites its part.
//!
//! Not here: writing files (`verb`), and reading the site again (`site`).
//!
//! Nothing that is encrypted is written in plain: encrypted files are copied as they are, and what
//! a variable of an encrypted file went into is left out and told.

use std::path::Path;

use zeroize::Zeroizing;

use crate::config::schema::Schema;
use crate::report::{Diagnostic, Severity};
use crate::site::World;
use crate::talos::{OLDEST_EMBEDDING, Version};
use crate::yaml;

mod emit;
mod env;
mod feature;
mod files;
mod image;
mod network;
mod patch;
mod site;
mod talconfig;
mod value;

use env::Environment;
use feature::Shop;
use files::{Files, Read};
use patch::{Piece, Shelf, Stack};
use site::{Draft, Made};
use talconfig::Member;
use value::{Reader, Value};

/// The files that may hold the cluster's secrets. The last that is there counts.
const SECRETS: [&str; 4] =
    ["talsecret.yaml", "talsecret.sops.yaml", "talsecret.yml", "talsecret.sops.yml"];

/// The release that talhelper 3.1 takes where the file names none.
const TALOS: &str = "v1.13.9";

/// A site, to be written.
pub struct Imported {
    /// The files by their paths from the site's folder, `site.yaml` first.
    pub files: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// What is not carried over, or not as it was.
    pub notes: Vec<Diagnostic>,
}

/// The paths, never the bytes: there are secrets among them.
impl std::fmt::Debug for Imported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<_> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("Imported").field("files", &paths).field("notes", &self.notes).finish()
    }
}

/// Imports a site of talhelper's. `path` is its `talconfig.yaml`.
///
/// # Errors
///
/// What talhelper would refuse too; a variable of an encrypted file in what has to stand in
/// `site.yaml`; a release of Talos whose configs are not known.
pub fn talhelper(path: &Path, world: &World<'_>) -> Result<Imported, Vec<Diagnostic>> {
    let mut files = Files::new(path, world);
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    let mut environment = Environment::new(world.variable);
    for name in env::FILES {
        if files.has(name) {
            match files.read(name, None) {
                Ok(read) => {
                    let is_secret = read.opened.is_some();
                    environment.add(&read.path, read.plain(), is_secret, &mut problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let read = files.read(&name, None).map_err(|problem| vec![problem])?;
    let nodes = yaml::parse(&read.path, read.plain()).map_err(|problem| vec![problem])?;
    let Some(node) = nodes.first().filter(|node| node.entries().is_some()) else {
        let message = format!("`{}` is no mapping", read.path);
        return Err(vec![
            Diagnostic::error("import-empty", message).help("is this the right file?"),
        ]);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut reader = Reader::new(&environment);
    let (file, _) = reader.read(node)?;
    let mut shop =
        Shop { files: &mut files, reader: &mut reader, problems: &mut problems, notes: &mut notes };
    let imported = import(&read.path, &file, &mut shop);
    notes.dedup();
    let mut told: Vec<Diagnostic> = Vec::new();
    for note in notes {
        if !told.contains(&note) {
            told.push(note);
        }
    }
    match imported {
        Some(files) if problems.is_empty() => Ok(Imported { files, notes: told }),
        _ => {
            problems.dedup();
            Err(problems)
        }
    }
}

type Bytes = Zeroizing<Vec<u8>>;

fn import(source: &str, file: &Value, shop: &mut Shop<'_, '_, '_>) -> Option<Vec<(String, Bytes)>> {
    let members = talconfig::members(file, shop.problems, shop.notes);
    let talos = version(file, shop)?;
    let schema = Schema::of(&talos);
    let secrets = secrets(file, shop);
    let mut shelf = Shelf::default();
    let [all, own] = feature::cluster(file, shop);
    let all: Vec<Piece> = shelf.made("all.yaml", &all, shop).into_iter().collect();
    let own: Vec<Piece> = shelf.made("controlplane.yaml", &own, shop).into_iter().collect();
    let global =
        given(&mut shelf, schema, "all", file.get("patches").map_or(&[], Value::items), shop);
    let (mut made, mut stacks) = (Vec::new(), Vec::new());
    for member in &members {
        let (node, stack) = carry(file, member, schema, &talos, &mut shelf, shop);
        made.push(node);
        stacks.push(stack);
    }
    let arranged = patch::arrange(&stacks, [&all, &own], &global, talos.at_least(1, 14));
    let name = secrets.as_ref().map_or("secrets.yaml", |(name, _)| name);
    let draft = Draft {
        file,
        talos: &talos,
        secrets: name,
        members: &members,
        made: &made,
        arranged: &arranged,
        shelf: &shelf,
    };
    if shop.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return None;
    }
    let text = draft.text(source, shop);
    let site = ("site.yaml".to_owned(), Zeroizing::new(text.as_bytes().to_vec()));
    Some([site].into_iter().chain(secrets).chain(shelf.files).collect())
}

/// What becomes of a node.
fn carry(
    file: &Value,
    member: &Member<'_>,
    schema: &'static Schema,
    talos: &Version,
    shelf: &mut Shelf,
    shop: &mut Shop<'_, '_, '_>,
) -> (Made, Stack) {
    let version = talos.to_string();
    site::tell(file, member, &version, shop.notes);
    if let Some(hostname) = member.node.get("hostname") {
        site::needed(hostname, shop);
    }
    let image = image::installer(file, member, &version, shop.notes);
    let (install, disk) = site::install(member, image.as_deref(), shop);
    let short = member.hostname.split('.').next().unwrap_or_default();
    let name = |what: &str| format!("{short}{what}.yaml");
    let mut features = Vec::new();
    let documents = feature::node(member, disk, shop);
    features.extend(shelf.made(&name(""), &documents, shop));
    let interfaces = member.get("networkInterfaces").filter(|list| !list.items().is_empty());
    let mut links = None;
    if let Some(list) = interfaces.filter(|list| site::needed_whole(list, shop)) {
        match network::carry(schema, list, site::machine(member.role), shop.notes) {
            Some(network::Network::Links(value)) => links = Some(value),
            Some(network::Network::Patch(text)) => {
                features.extend(shelf.text(&name("-links"), &text, shop));
            }
            None => {}
        }
    }
    let group = given(shelf, schema, member.role.name(), member.group_patches(), shop);
    let own = given(shelf, schema, short, member.own_patches(), shop);
    let mut last = Vec::new();
    for path in member.both("extraManifests", "overrideExtraManifests") {
        if let Some(text) = path.text() {
            let text = text.trim_start_matches('@');
            last.extend(shelf.file(schema, text, &path.place(), shop));
        }
    }
    (Made { links, install, image }, Stack { role: member.role, features, group, own, last })
}

/// The patches of a list.
fn given(
    shelf: &mut Shelf,
    schema: &'static Schema,
    stem: &str,
    list: &[Value],
    shop: &mut Shop<'_, '_, '_>,
) -> Vec<Piece> {
    let one = |(at, patch): (usize, &Value)| {
        shelf.given(schema, &format!("{stem}-{}.yaml", at + 1), patch, shop)
    };
    list.iter().enumerate().filter_map(one).collect()
}

/// The release of Talos.
fn version(file: &Value, shop: &mut Shop<'_, '_, '_>) -> Option<Version> {
    let Some(given) = file.get("talosVersion") else {
        let message = format!("`talosVersion` is missing, and the site names {TALOS}");
        let note = Diagnostic::warning("import-talos", message).at(file.place());
        shop.notes.push(note.help("name the release that your nodes run: `talos` of `cluster`"));
        return Version::parse(TALOS);
    };
    let text = site::needed(given, shop)?;
    let version = Version::parse(text);
    if version.as_ref().is_some_and(Version::reads_embedded_config) {
        return version;
    }
    let problem = Diagnostic::error(
        "import-talos",
        "this is no release of Talos whose machine configs are known",
    );
    let help = format!("name {OLDEST_EMBEDDING} or a newer one: `talosVersion: {TALOS}`");
    shop.problems.push(problem.at(given.place()).help(help));
    None
}

/// The cluster's secrets as they are, encrypted or not.
fn secrets(file: &Value, shop: &mut Shop<'_, '_, '_>) -> Option<(String, Bytes)> {
    let Some(name) = SECRETS.into_iter().rev().find(|name| shop.files.has(name)) else {
        let message = "there is no `talsecret.yaml`, and a site needs its secrets";
        let note = Diagnostic::warning("import-secrets", message).at(file.place());
        let help = "take them from a control plane: `talforge secrets --from-controlplane-config`; \
                    or make some: `talforge secrets`";
        shop.notes.push(note.help(help));
        return None;
    };
    let read = shop.files.read(name, None);
    let read = read.map_err(|problem| shop.problems.push(problem)).ok()?;
    tell_of_secrets(&read, shop);
    let name = if read.opened.is_some() { "secrets.sops.yaml" } else { "secrets.yaml" };
    Some((name.to_owned(), read.raw))
}

/// Tells what in the secrets talhelper treats in its own way.
fn tell_of_secrets(read: &Read, shop: &mut Shop<'_, '_, '_>) {
    let Ok(nodes) = yaml::parse(&read.path, read.plain()) else { return };
    let Some(node) = nodes.first() else { return };
    match shop.reader.read(node) {
        Ok((_, false)) => {}
        Ok((_, true)) => {
            let message = format!("`{}` has variables in it", read.path);
            let problem = Diagnostic::error("import-secrets", message).at(node.place());
            let help = "write their values into it, and encrypt it with sops";
            shop.problems.push(problem.help(help));
        }
        Err(problems) => shop.problems.extend(problems),
    }
    let both = |keys: [&str; 2]| {
        let secrets = node.get("secrets");
        keys.iter().all(|key| {
            let text = secrets.and_then(|secrets| secrets.get(key)).and_then(yaml::Node::text);
            text.is_some_and(|text| !text.is_empty())
        })
    };
    if both(["secretboxencryptionsecret", "aescbcencryptionsecret"]) {
        let message = "of two keys for secrets in etcd, only the one of secretbox is used";
        let note = Diagnostic::warning("import-aescbc", message).at(node.place());
        let help = "if etcd holds what the other one encrypted, set `cluster.\
                    aescbcEncryptionSecret` in a patch, and encrypt that with sops";
        shop.notes.push(note.help(help));
    }
}

#[cfg(test)]
mod tests;
