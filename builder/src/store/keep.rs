//! What a store holds, and what of it stays.
//!
//! In: a store, digests to keep, a time. Out: lists of what is there, went, or was broken.
//!
//! Source: none.
//!
//! Not here: single files (`store`), and what is asked for by whom (`verb`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::store::{
    INCOMING, PARTIAL, Stamp, Store, StoreError, WHOLE, open, remove_if, remove_unlocked,
};

/// The most bytes of a blob that are looked at for the digests that it names: an index and a
/// manifest have less.
const NAMES_LIMIT: u64 = 4 << 20;

/// A blob of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its digest, as its name says.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What [`Store::prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The blobs, and what there was of unfinished downloads.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The blobs that have their digests.
    pub good: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Blobs and records that were broken, by their paths in the store. They are gone.
    pub broken: Vec<PathBuf>,
}

/// Which blobs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Those that were not used since.
    Since(SystemTime),
    /// All.
    Ever,
}

impl Store {
    /// The blobs, by their digests. They are not read.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for (digest, path) in self.files(WHOLE)? {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let used = meta.accessed().map_err(|error| StoreError::io(&path, error))?;
            entries.push(Entry { digest, len: meta.len(), used });
        }
        Ok(entries)
    }

    /// The kinds of records that are kept for a digest.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub fn record_kinds(&self, key: Digest) -> Result<Vec<String>, StoreError> {
        let mut kinds = self.kinds()?;
        kinds.retain(|kind| self.path(kind, key).exists());
        Ok(kinds)
    }

    /// These digests and all that they need: every digest that one of their blobs or records names,
    /// and so on.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub fn closure(&self, digests: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, StoreError> {
        let kinds = self.kinds()?;
        let mut known = BTreeSet::new();
        let mut open_ends: Vec<Digest> = digests.iter().copied().collect();
        while let Some(digest) = open_ends.pop() {
            if !known.insert(digest) {
                continue;
            }
            for kind in &kinds {
                if let Some(text) = self.record(kind, digest)? {
                    open_ends.extend(named(&text));
                }
            }
            let path = self.path(WHOLE, digest);
            let io = |error| StoreError::io(&path, error);
            let Some(file) = open(&path).map_err(io)? else { continue };
            let blob = Blob::from_file("blob", file).map_err(io)?;
            if blob.len() <= NAMES_LIMIT {
                let bytes = blob.to_vec().map_err(io)?;
                if bytes.first() == Some(&b'{') {
                    open_ends.extend(named(&bytes));
                }
            }
        }
        Ok(known)
    }

    /// Removes the blobs that are not in `keep` and were not used, their records, and what is left
    /// of downloads that ended before their time.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn prune(&self, keep: &BTreeSet<Digest>, unused: Unused) -> Result<Pruned, StoreError> {
        let is_old = |time: SystemTime| match unused {
            Unused::Since(then) => time < then,
            Unused::Ever => true,
        };
        let mut pruned = Pruned::default();
        for entry in self.list()? {
            if keep.contains(&entry.digest) || !is_old(entry.used) {
                continue;
            }
            remove(&self.path(WHOLE, entry.digest))?;
            pruned.files += 1;
            pruned.bytes += entry.len;
        }
        for kind in self.kinds()? {
            for (digest, path) in self.files(&kind)? {
                let is_kept = keep.contains(&digest) || self.path(WHOLE, digest).exists();
                let modified = fs::symlink_metadata(&path).and_then(|meta| meta.modified());
                if !is_kept && modified.is_ok_and(is_old) {
                    remove(&path)?;
                }
            }
        }
        for path in entries(&self.root.join(PARTIAL))? {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let modified = meta.modified().map_err(|error| StoreError::io(&path, error))?;
            if is_old(modified) && remove_unlocked(&path) {
                pruned.files += 1;
                pruned.bytes += meta.len();
            }
        }
        if self.root.join(INCOMING).exists() {
            // Whatever comes in sweeps what others left.
            drop(self.incoming()?);
        }
        Ok(pruned)
    }

    /// Reads every blob and record, and removes the broken ones. `each` is told of each blob's
    /// length once it is read.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read, or what is broken cannot be removed.
    pub fn verify(&self, each: &dyn Fn(u64)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for (digest, path) in self.files(WHOLE)? {
            let io = |error| StoreError::io(&path, error);
            let Some(file) = open(&path).map_err(io)? else { continue };
            let (stamp, len) = (Stamp::of(&file).map_err(io)?, length(&file).map_err(io)?);
            let blob = Blob::from_file("blob", file).map_err(io)?;
            if Digest::of_blob(&blob).is_ok_and(|found| found == digest) {
                verified.good += 1;
                verified.bytes += len;
            } else {
                remove_if(&path, stamp);
                verified.broken.push(Path::new(WHOLE).join(digest.to_string()));
            }
            each(len);
        }
        for kind in self.kinds()? {
            for (digest, path) in self.files(&kind)? {
                if self.record(&kind, digest)?.is_none() {
                    remove(&path)?;
                    verified.broken.push(Path::new(&kind).join(digest.to_string()));
                }
            }
        }
        Ok(verified)
    }

    /// The kinds of records.
    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let folders = entries(&self.root)?.into_iter().filter(|path| path.is_dir());
        let names = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.filter(|name| ![WHOLE, PARTIAL, INCOMING].contains(&name.as_str())).collect())
    }

    /// The files of a folder that have a digest's name.
    fn files(&self, kind: &str) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
        let paths = entries(&self.root.join(kind))?.into_iter();
        let files =
            paths.filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path)));
        Ok(files.collect())
    }
}

/// The SHA-256 digests that a text names, with or without `sha256:`.
pub fn named(text: &[u8]) -> impl Iterator<Item = Digest> {
    let words = text.split(|byte| !byte.is_ascii_alphanumeric());
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

/// What is in a folder, in order; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let io = |error| StoreError::io(folder, error);
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let paths: io::Result<Vec<_>> = read.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(io)?;
    paths.sort();
    Ok(paths)
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
        _ => Ok(()),
    }
}

fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}
