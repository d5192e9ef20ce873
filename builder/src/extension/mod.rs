//! System extensions of Talos: checked, packed, laid over the base.
//!
//! In: extensions as trees of files, and the base initramfs. Out: an initramfs with them.
//!
//! ```text
//! [microcode, plain cpio] base [firmware, zstd cpio]… [N.sqsh…, extensions.yaml: plain cpio]
//! ```
//!
//! The layers' archive is not compressed: they are already, and so they stay runs of the store's
//! files, which no medium copies before its sink. A config's segment follows it as it would follow
//! the base.
//!
//! Source: Talos `pkg/machinery/extensions`, `internal/pkg/extensions`, `pkg/imager/extensions`.
//!
//! Not here: where the trees come from, the node's own config (`payload`).

use std::collections::BTreeMap;

use crate::asset::initramfs::Initramfs;
use crate::digest::Digest;
use crate::extension::constraint::Constraint;
use crate::extension::manifest::{Malformed, Metadata};
use crate::extension::problem::{ExtensionNote, ExtensionProblem, Wrong};
use crate::inspect::memo::Memo;
use crate::store::Store;
use crate::talos::{Arch, Version};
use crate::tree::{Entry, Kind, Tree};

pub mod constraint;
pub mod manifest;
pub mod list;
pub mod problem;
mod content;
mod links;
pub mod firmware;
pub mod pack;
pub mod modules;
pub mod lay;

#[cfg(test)]
mod tests;

/// The most overlaps that are told.
const OVERLAPS_LIMIT: usize = 100;

/// An extension that Talos takes.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The name by which the user knows it.
    pub name: String,
    /// What it says of itself.
    pub metadata: Metadata,
    /// What is odd about it.
    pub notes: Vec<ExtensionNote>,
    /// Its folder `rootfs` itself.
    top: Entry,
    /// What is in that.
    root: Tree,
}

/// Holds an extension to Talos' rules, for a release and an architecture. `name` is what the user
/// calls it.
///
/// # Errors
///
/// All that is wrong with it.
pub fn check(
    name: &str,
    tree: &Tree,
    talos: &Version,
    arch: Arch,
) -> Result<Extension, Vec<ExtensionProblem>> {
    let mut wrong = strangers(tree);
    let mut notes = Vec::new();
    let mut metadata = Metadata::default();
    match read_manifest(tree) {
        Ok((found, unknown)) => {
            wrong.extend(check_metadata(&found, talos));
            metadata = found;
            let extension = || name.to_owned();
            let keys = unknown.into_iter().take(OVERLAPS_LIMIT);
            notes.extend(keys.map(|key| ExtensionNote::Key { extension: extension(), key }));
        }
        Err(error) => wrong.push(error),
    }
    let top = tree.get("rootfs").cloned().unwrap_or_else(content::new_folder);
    let has_root = tree.iter().any(|(path, _)| path == "rootfs" || path.starts_with("rootfs/"));
    if !has_root || !matches!(top.kind, Kind::Folder) {
        wrong.push(Wrong::NoRootfs);
    }
    let root = content::root(tree).unwrap_or_else(|more| {
        wrong.extend(more);
        Tree::default()
    });
    match check_programs(name, &root, arch) {
        Ok(note) => notes.extend(note),
        Err(error) => wrong.push(error),
    }
    if wrong.is_empty() {
        return Ok(Extension { name: name.to_owned(), metadata, notes, top, root });
    }
    let problem = |wrong| ExtensionProblem { extension: name.to_owned(), wrong };
    Err(wrong.into_iter().map(problem).collect())
}

/// What lies beside the manifest and the files, by its first name.
fn strangers(tree: &Tree) -> Vec<Wrong> {
    let tops = tree.iter().map(|(path, _)| path.split_once('/').map_or(path, |(top, _)| top));
    let mut tops: Vec<_> = tops.filter(|top| !matches!(*top, "manifest.yaml" | "rootfs")).collect();
    tops.dedup();
    tops.truncate(OVERLAPS_LIMIT);
    tops.into_iter().map(|top| Wrong::Stranger(content::shown(top))).collect()
}

fn read_manifest(tree: &Tree) -> Result<(Metadata, Vec<String>), Wrong> {
    let (blob, _) = tree.file("manifest.yaml").ok_or(Wrong::NoManifest)?;
    if blob.len() > manifest::LIMIT {
        return Err(Wrong::Manifest("it is longer than 64 KiB".to_owned()));
    }
    let bytes = blob.to_vec().map_err(|error| Wrong::Manifest(error.to_string()))?;
    manifest::read(&bytes).map_err(|error| match error {
        Malformed::Yaml(why) => Wrong::Manifest(content::shown(&why)),
        Malformed::Version(version) => Wrong::ManifestVersion(content::shown(&version)),
    })
}

fn check_metadata(metadata: &Metadata, talos: &Version) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if metadata.name.is_empty() {
        wrong.push(Wrong::Unnamed);
    }
    let constraint = content::shown(&metadata.talos);
    match Constraint::parse(&metadata.talos) {
        _ if metadata.talos.is_empty() => {}
        None => wrong.push(Wrong::Constraint(constraint)),
        Some(range) if range.allows(talos) => {}
        Some(_) => wrong.push(Wrong::Talos { constraint, talos: talos.clone() }),
    }
    wrong
}

/// Programs for the other architecture alone are an image of the other architecture. Beside others
/// they may be meant for an emulator.
fn check_programs(name: &str, root: &Tree, wanted: Arch) -> Result<Option<ExtensionNote>, Wrong> {
    let programs = content::programs(root, wanted)?;
    let found = if wanted == Arch::Amd64 { Arch::Arm64 } else { Arch::Amd64 };
    let (path, count) = (programs.first, programs.foreign);
    let extension = || name.to_owned();
    match programs.own {
        _ if count == 0 => Ok(None),
        0 => Err(Wrong::Arch { found, wanted, path, count }),
        _ => Ok(Some(ExtensionNote::Arch { extension: extension(), found, path, count })),
    }
}

/// Files of different contents at one path of several extensions; the later one's is seen. Modules'
/// indexes are not told: they are made anew.
pub fn overlaps(extensions: &[Extension]) -> Vec<ExtensionNote> {
    let mut seen: BTreeMap<&str, (&str, Option<Digest>)> = BTreeMap::new();
    let mut notes = Vec::new();
    for extension in extensions {
        for (path, entry) in extension.root.iter() {
            let content = match &entry.kind {
                Kind::File(_, digest) => Some(*digest),
                Kind::Symlink(target) => Some(Digest::of(target.as_bytes())),
                Kind::Folder | Kind::Other(_) => None,
            };
            let before = seen.insert(path, (&extension.name, content));
            let other = before.filter(|(_, other)| *other != content);
            if let Some((below, _)) = other.filter(|_| !modules::is_index(path)) {
                let (below, above) = (below.to_owned(), extension.name.clone());
                notes.push(ExtensionNote::Hidden { path: content::shown(path), below, above });
            }
        }
    }
    notes.truncate(OVERLAPS_LIMIT);
    notes
}

/// Lays extensions over a base, the last on top; indexes of kernel modules come above them all,
/// where any has modules. Without extensions the base is given back as it is.
///
/// # Errors
///
/// Where the extensions do not go together, do not fit the base, or the store cannot be used.
pub fn lay_over(
    base: &Initramfs,
    extensions: &[Extension],
    epoch: u32,
    store: &Store,
    memo: &mut Memo,
) -> Result<Initramfs, lay::LayError> {
    if extensions.is_empty() {
        return Ok(base.clone());
    }
    lay::lay_over(base, extensions, epoch, store, memo)
}
