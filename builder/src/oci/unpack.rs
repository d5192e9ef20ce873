//! Plain archives and folders as trees.
//!
//! In: a tar archive, plain or compressed, or a folder on disk. Out: a [`Tree`].
//!
//! Source: POSIX.1-2017, "pax Interchange Format"; GNU tar manual, "Basic Tar Format".
//!
//! Not here: layers of images, in which some names mean something else (`image`).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::OciError;
use super::layer::{self, Contents, Failure, Item, Listing, What};
use super::merge::{Merge, Missing, Names};
use super::packing::Budget;
use super::tar::TarError;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::store::Store;
use crate::tree::Tree;

/// The files of an archive: `.tar`, `.tar.gz`, `.tar.zst` or `.tar.xz`, told apart by content.
///
/// `wanted` and `watch` are as for [`tree`](super::image::tree); `name` is for messages.
///
/// # Errors
///
/// Where it is no such archive, is damaged, or breaks a limit.
pub fn tarball(
    name: &str,
    archive: &Blob,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    store: &Store,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Tree, OciError> {
    let io = |source| OciError::Io { name: name.to_owned(), source };
    let digest = Digest::of_blob(archive).map_err(io)?;
    let known = layer::recall(store, digest)?;
    if let Some(known) = known.as_ref().filter(|known| known.has(wanted))
        && let Ok(tree) = lay(name, known, wanted)?
    {
        watch(archive.len());
        return Ok(tree);
    }
    // Contents that others wanted stay.
    let stored = known.as_ref().map(Listing::stored).unwrap_or_default();
    let wanted_first = |path: &str| wanted(path) || stored.contains(path);
    let listing = listing(name, archive, &wanted_first, store, watch)?;
    let missing = match lay(name, &listing, wanted)? {
        Ok(tree) => {
            layer::remember(store, digest, &listing)?;
            return Ok(tree);
        }
        Err(missing) => missing,
    };
    let is_missing = |path: &str| missing.contains(&(0, path.to_owned()));
    let wanted_too = |path: &str| wanted_first(path) || is_missing(path);
    let listing = self::listing(name, archive, &wanted_too, store, &|_| {})?;
    let changed = |_| OciError::document(name, "it changed while it was read");
    let tree = lay(name, &listing, wanted)?.map_err(changed)?;
    layer::remember(store, digest, &listing)?;
    Ok(tree)
}

fn listing(
    name: &str,
    archive: &Blob,
    wanted: &dyn Fn(&str) -> bool,
    store: &Store,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Listing, OciError> {
    let unpacked = layer::unpack(archive, wanted, store, &Budget::default(), watch);
    let listing = unpacked.map_err(|failure| failure.of(name))?;
    // Nothing but its end says that it is whole.
    if listing.has_end { Ok(listing) } else { Err(OciError::archive(name)(TarError::Truncated)) }
}

fn lay(
    name: &str,
    listing: &Listing,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Result<Tree, Missing>, OciError> {
    let budget = Budget::default();
    let mut merge = Merge::new(Names::Plain, &budget);
    merge.apply(0, listing).map_err(OciError::archive(name))?;
    Ok(merge.finish(std::slice::from_ref(listing), wanted))
}

/// The files below a folder. What they hold now is kept: a later change does not show.
///
/// Owners are left out, as those of files that a person made: all is root's. So are extended
/// attributes, which a host gives its files for itself.
///
/// # Errors
///
/// Where something in it cannot be read, or it breaks a limit.
pub fn folder(
    path: &Path,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    store: &Store,
) -> Result<Tree, OciError> {
    let name = path.display().to_string();
    let mut walk = Walk {
        wanted,
        contents: Contents::new(store),
        items: Vec::new(),
        budget: Budget::default(),
    };
    let mut open = vec![(path.to_owned(), String::new())];
    while let Some((folder, inside)) = open.pop() {
        let entries = entries(&folder).map_err(OciError::io(&folder))?;
        for (path, file_name) in entries {
            let inside = match inside.as_str() {
                "" => file_name,
                folder => format!("{folder}/{file_name}"),
            };
            let status = fs::symlink_metadata(&path).map_err(OciError::io(&path))?;
            walk.add(&path, &inside, &status)?;
            if status.is_dir() {
                open.push((path, inside));
            }
        }
    }
    let Walk { items, contents, .. } = walk;
    let listing = Listing::of(items, contents).map_err(|failure| failure.of(&name))?;
    let changed = |_| OciError::document(&name, "it changed while it was read");
    lay(&name, &listing, wanted)?.map_err(changed)
}

/// The files of a folder and their names, sorted.
fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            let text = format!("the name {name:?} in it is no UTF-8");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        entries.push((entry.path(), name));
    }
    entries.sort();
    Ok(entries)
}

/// A folder under reading.
struct Walk<'a> {
    wanted: &'a (dyn Fn(&str) -> bool + Sync),
    contents: Contents<'a>,
    items: Vec<Item>,
    budget: Budget,
}

impl Walk<'_> {
    fn add(&mut self, path: &Path, inside: &str, status: &Metadata) -> Result<(), OciError> {
        let kind = status.file_type();
        let what = if kind.is_dir() {
            What::Folder
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(OciError::io(path))?;
            let target = target.into_os_string().into_string().map_err(|_| {
                OciError::document(&path.display().to_string(), "it links to what is no UTF-8")
            })?;
            What::Symlink(target)
        } else if kind.is_file() {
            self.file(path, inside)?
        } else if kind.is_char_device() {
            What::Other("a character device")
        } else if kind.is_block_device() {
            What::Other("a block device")
        } else if kind.is_fifo() {
            What::Other("a pipe")
        } else {
            What::Other("a socket")
        };
        let mode = status.mode() & 0o7777;
        let path = inside.to_owned();
        let item = Item { path, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), what };
        let counted = self.budget.member(item.names());
        counted.map_err(OciError::archive(inside))?;
        self.items.push(item);
        Ok(())
    }

    fn file(&mut self, path: &Path, inside: &str) -> Result<What, OciError> {
        if !(self.wanted)(inside) {
            return Ok(What::File(None));
        }
        // What was a file a moment ago may be a link or a pipe now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        let mut file = File::from(file.map_err(|e| OciError::io(path)(e.into()))?);
        let budget = &self.budget;
        let stored = self.contents.add(|out| {
            let len = file.read(out)?;
            budget.bytes(len as u64)?;
            Ok(len)
        });
        match stored {
            Ok(stored) => Ok(What::File(Some(stored))),
            Err(Failure::Archive(TarError::Io(source))) => Err(OciError::io(path)(source)),
            Err(failure) => Err(failure.of(&path.display().to_string())),
        }
    }
}
