//! Kernel modules of extensions, and the indexes of all modules together.
//!
//! In: extensions' roots, the base initramfs. Out: a layer with `modules.dep` and its like.
//!
//! A module that no index names cannot be loaded by name. So the base's modules and those of all
//! extensions are laid over each other, in order, and indexed anew. The layer has every file
//! `modules.*` of that folder, as Talos' own has.
//!
//! The base is read in pieces: its root file system goes through a temporary file, and one module
//! at a time is in memory.
//!
//! Source: Talos `internal/pkg/extensions/kernel_modules.go`, `hack/extra-modules.conf`.
//!
//! Not here: the indexes' formats (`kmod`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use thiserror::Error;

use crate::asset::initramfs::Initramfs;
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::extension::content::new_folder;
use crate::extension::list::{self, ListError};
use crate::extension::manifest::Metadata;
use crate::extension::{Extension, links, pack};
use crate::format::squashfs::{self as writer, SquashfsError};
use crate::inspect::damage::Damage;
use crate::inspect::initrd;
use crate::inspect::memo::Memo;
use crate::inspect::squashfs::Squashfs;
use crate::inspect::squashfs::walk::{Kind as Found, Place as Inside};
use crate::kmod::{self, KmodError, Module, Search, Tables};
use crate::store::{Store, StoreError};
use crate::tree::{Entry, Kind, Tree};

/// Where modules lie (since Talos 1.10): folders by the kernel's release.
const FOLDER: &str = "usr/lib/modules";
/// The base's root file system.
const ROOT: &str = "rootfs.sqsh";
/// The layer's image.
pub(super) const IMAGE: &str = "modules.dep.sqsh";
/// Part of every record's key: another number for every change of what is made of the same files.
const RULES: &str = "modules 1";
/// The folder of records in the store.
const RECORDS: &str = "modules";
/// The largest layer of a base that is looked into.
const LAYER_LIMIT: u64 = 2 << 30;
/// The largest module, and the largest of the files beside.
const FILE_LIMIT: u64 = 128 << 20;
/// The most bytes of all modules together: a release's have about 100 MiB.
const TOTAL_LIMIT: u64 = 2 << 30;
/// The most bytes of a release's name that is kept.
const NAME_LIMIT: usize = 255;

/// Why modules cannot be indexed.
#[derive(Debug, Error)]
pub enum ModulesError {
    /// Modules of another kernel.
    #[error("extension `{extension}` has modules for the kernel {found}, the base has {wanted}")]
    Release {
        /// The extension.
        extension: String,
        /// What it has.
        found: String,
        /// The base's release.
        wanted: String,
    },
    /// The base has no modules, or those of several kernels.
    #[error("the base initramfs has modules of {0} kernels, not of one")]
    Kernels(usize),
    /// A part of the base.
    #[error("the base initramfs cannot be looked into: {0}")]
    Base(Box<Damage>),
    /// The temporary file for the base's root file system.
    #[error("a temporary file cannot be used")]
    Spool(#[source] io::Error),
    /// A module.
    #[error(transparent)]
    Kmod(#[from] KmodError),
    /// The base's list of layers.
    #[error(transparent)]
    List(#[from] ListError),
    /// The layer.
    #[error("the layer of indexes cannot be written")]
    Layer(#[from] SquashfsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Damage> for ModulesError {
    fn from(damage: Damage) -> Self {
        Self::Base(Box::new(damage))
    }
}

/// A layer of indexes.
#[derive(Clone, Debug)]
pub(super) struct Indexes {
    /// The layer.
    pub(super) layer: Blob,
    /// What it says of itself.
    pub(super) metadata: Metadata,
}

/// The layer for a base and extensions; nothing where no extension has a folder for modules.
pub(super) fn indexes(
    base: &Initramfs,
    extensions: &[Extension],
    epoch: u32,
    store: &Store,
    memo: &mut Memo,
) -> Result<Option<Indexes>, ModulesError> {
    if extensions.iter().all(|extension| extension.root.get(FOLDER).is_none()) {
        return Ok(None);
    }
    let key = key(base, extensions, epoch)?;
    if let Some((release, layer)) = kept(key, store)? {
        return Ok(Some(Indexes { layer, metadata: metadata(release) }));
    }
    let base = Base::open(base, memo)?;
    let folder = Folder::of(&base, extensions)?;
    let root = layer_root(&folder.release, folder.files()?);
    let image = writer::write(&pack::nodes(&new_folder(), &root), epoch)?;
    let digest = keep(&image, store)?;
    store.keep_record(RECORDS, key, format!("{digest} {}", folder.release).as_bytes())?;
    Ok(Some(Indexes { layer: image, metadata: metadata(folder.release) }))
}

fn metadata(release: String) -> Metadata {
    Metadata {
        name: "modules.dep".to_owned(),
        version: release,
        author: "Talos Machinery".to_owned(),
        description: "Combined modules.dep for all extensions".to_owned(),
        ..Metadata::default()
    }
}

/// Whether a path is that of an index: `usr/lib/modules/<release>/modules.*`.
pub(super) fn is_index(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    matches!(parts.as_slice(), ["usr", "lib", "modules", _, name] if name.starts_with("modules."))
}

/// A digest of all that the layer depends on.
fn key(base: &Initramfs, extensions: &[Extension], epoch: u32) -> Result<Digest, ModulesError> {
    let mut hasher = Hasher::default();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(RULES.as_bytes());
    add(&epoch.to_le_bytes());
    let unreadable = |error| Damage::read("initramfs", 0, error);
    add(&Digest::of_blob(&base.blob).map_err(unreadable)?.0);
    for extension in extensions {
        add(b"extension");
        let below = format!("{FOLDER}/");
        for (path, entry) in extension.root.iter() {
            match &entry.kind {
                // A link may lead to a module from anywhere.
                Kind::Symlink(to) => add(format!("{path} to {to}").as_bytes()),
                Kind::File(_, digest) if path.starts_with(&below) => {
                    add(path.as_bytes());
                    add(&digest.0);
                }
                _ => {}
            }
        }
    }
    Ok(hasher.finish())
}

fn kept(key: Digest, store: &Store) -> Result<Option<(String, Blob)>, StoreError> {
    let Some(record) = store.record(RECORDS, key)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&record).into_owned();
    let Some((digest, release)) = text.split_once(' ') else { return Ok(None) };
    let Ok(digest) = digest.parse() else { return Ok(None) };
    Ok(store.get(digest)?.map(|layer| (release.to_owned(), layer)))
}

fn keep(image: &Blob, store: &Store) -> Result<Digest, StoreError> {
    let mut incoming = store.incoming()?;
    let copied = io::copy(&mut image.reader(), &mut incoming);
    copied.map_err(|error| StoreError::Io("incoming".into(), error))?;
    Ok(incoming.finish(None)?.0)
}

/// The images of a base, the lowest first.
struct Base {
    images: Vec<Squashfs>,
}

impl Base {
    fn open(base: &Initramfs, memo: &mut Memo) -> Result<Self, ModulesError> {
        memo.allow(base.blob.len().saturating_mul(2));
        let tree = initrd::unpack(&base.blob, memo)?;
        let layers = list::layers(base)?;
        let layers = layers.iter().filter_map(list::image).filter(|image| *image != IMAGE);
        let mut images = Vec::new();
        for path in [ROOT].into_iter().chain(layers) {
            let missing = || Damage::new("initramfs", 0, format!("it has no `{path}`"));
            let file = tree.get(path).filter(|file| file.is_regular()).ok_or_else(missing)?;
            let image = if file.is_packed() {
                spool(&tree, file, memo)?
            } else {
                tree.content(file, LAYER_LIMIT, memo)?
            };
            images.push(Squashfs::read(&image)?);
        }
        Ok(Self { images })
    }
}

/// A packed file of an initrd in a temporary file, which is gone with the blob.
fn spool(tree: &initrd::Tree, file: &initrd::File, memo: &mut Memo) -> Result<Blob, ModulesError> {
    let mut spool = tempfile::tempfile().map_err(ModulesError::Spool)?;
    tree.copy(file, LAYER_LIMIT, &mut spool, memo)?;
    Blob::from_file("root file system", spool).map_err(ModulesError::Spool)
}

/// A file among the modules.
enum Place<'a> {
    Base(&'a Squashfs, Inside),
    Extension(Blob),
}

impl Place<'_> {
    fn content(&self) -> Result<Blob, ModulesError> {
        match self {
            Self::Base(image, place) => {
                let bytes = image.content(&image.file(*place)?, FILE_LIMIT)?;
                Ok(Blob::from_bytes("module of the base", bytes))
            }
            Self::Extension(blob) => Ok(blob.clone()),
        }
    }

    /// A file beside the modules, in memory.
    fn bytes(&self) -> Result<Vec<u8>, ModulesError> {
        let content = self.content()?;
        if content.len() > FILE_LIMIT {
            let wrong = format!("a table has {} bytes", content.len());
            return Err(Damage::new("kernel modules", 0, wrong).into());
        }
        Ok(content.to_vec().map_err(|error| Damage::read("kernel modules", 0, error))?)
    }
}

/// The folder of the kernel's modules, all layers over each other.
struct Folder<'a> {
    release: String,
    files: BTreeMap<String, Place<'a>>,
}

impl<'a> Folder<'a> {
    fn of(base: &'a Base, extensions: &[Extension]) -> Result<Self, ModulesError> {
        let mut releases = BTreeSet::new();
        let mut files = BTreeMap::new();
        for image in &base.images {
            for below in image.walk(FOLDER)?.unwrap_or_default() {
                match (below.path.split_once('/'), below.kind) {
                    (None, Found::Folder) => {
                        releases.insert(below.path);
                    }
                    (Some((_, path)), Found::File(place)) => {
                        files.insert(path.to_owned(), Place::Base(image, place));
                    }
                    _ => {}
                }
            }
        }
        let count = releases.len();
        let release = releases.pop_first().filter(|_| count == 1);
        let release = release.ok_or(ModulesError::Kernels(count))?;
        for extension in extensions {
            for (path, content) in extension_files(extension, &release)? {
                files.insert(path, Place::Extension(content));
            }
        }
        Ok(Self { release, files })
    }

    /// Every file `modules.*` of the folder, with the indexes.
    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, ModulesError> {
        let mut modules = Vec::new();
        let mut total = 0_u64;
        for (path, place) in self.files.iter().filter(|(path, _)| kmod::is_module(path)) {
            let content = place.content()?;
            total = total.saturating_add(content.len());
            if total > TOTAL_LIMIT {
                let wrong = "all modules together have more than 2 GiB";
                return Err(Damage::new("kernel modules", 0, wrong).into());
            }
            modules.push(Module::read(path, &content)?);
        }
        let mut files = BTreeMap::new();
        for (path, place) in &self.files {
            if path.starts_with("modules.") && !path.contains('/') {
                files.insert(path.clone(), place.bytes()?);
            }
        }
        let table = |name: &str| files.get(name).cloned().unwrap_or_default();
        let tables = Tables {
            order: table("modules.order"),
            builtin: table("modules.builtin"),
            builtin_modinfo: table("modules.builtin.modinfo"),
        };
        let search = [Search::Folder("extras".to_owned()), Search::BuiltIn];
        let indexes = kmod::index(&modules, &tables, &search)?;
        files.extend(indexes.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
        Ok(files)
    }
}

/// An extension's files among the modules of a release, links to files followed.
fn extension_files(
    extension: &Extension,
    release: &str,
) -> Result<Vec<(String, Blob)>, ModulesError> {
    let mut files = Vec::new();
    let below = format!("{FOLDER}/");
    for (path, entry) in extension.root.iter() {
        let Some(inside) = path.strip_prefix(&below) else { continue };
        let (found, path) = inside.split_once('/').unwrap_or((inside, ""));
        if found != release {
            return Err(ModulesError::Release {
                extension: extension.name.clone(),
                found: found.chars().take(NAME_LIMIT).flat_map(char::escape_debug).collect(),
                wanted: release.to_owned(),
            });
        }
        let blob = match &entry.kind {
            Kind::File(blob, _) => Some(blob.clone()),
            Kind::Symlink(_) => {
                let to = links::resolve(&extension.root, &format!("{below}{inside}"));
                to.and_then(|to| extension.root.file(&to).map(|(blob, _)| blob.clone()))
            }
            Kind::Folder | Kind::Other(_) => None,
        };
        files.extend(blob.filter(|_| !path.is_empty()).map(|blob| (path.to_owned(), blob)));
    }
    Ok(files)
}

/// The root of the layer.
fn layer_root(release: &str, files: BTreeMap<String, Vec<u8>>) -> Tree {
    let mut root = Tree::default();
    let folder = format!("{FOLDER}/{release}");
    for (at, _) in folder.match_indices('/') {
        root.insert(&folder[..at], new_folder());
    }
    root.insert(&folder, new_folder());
    for (name, bytes) in files {
        let digest = Digest::of(&bytes);
        let kind = Kind::File(Blob::from_bytes(name.as_str(), bytes), digest);
        let entry = Entry { mode: 0o644, kind, ..new_folder() };
        root.insert(&format!("{folder}/{name}"), entry);
    }
    root
}
