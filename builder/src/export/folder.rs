//! A folder that is an OCI image layout.
//!
//! Several may export to it at once: `index.json` is changed by who holds the lock, and keeps what
//! others put there.
//!
//! In: blobs and manifests. Out: files, each whole or not there, and its owner's alone.
//!
//! Source: OCI Image Format Specification 1.1, `image-layout.md`.
//!
//! Not here: what is in the blobs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::export::error::ExportError;
use crate::export::place::{Lists, Place};
use crate::export::{INDEX, INDEX_MAX, LAYOUT, LAYOUT_TEXT};
use crate::oci::Descriptor;
use crate::oci::artifact::{Entry, add_to_index, find_in_index};
use crate::sink::private::{self, Old};

/// What is locked while the index is changed.
const LOCK: &str = ".talforge-lock";
/// What the names of files begin with that are not whole yet.
const TEMPORARY: &str = ".talforge-";
/// How long such a file is left alone: somebody may be writing it.
const STALE: Duration = Duration::from_secs(3600);

/// A folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    published: Mutex<Vec<Entry>>,
}

impl Folder {
    /// The folder of a path; it need not be there.
    pub fn at(root: PathBuf) -> Self {
        Self { root, published: Mutex::default() }
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join(format!("blobs/sha256/{digest}"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
        let failed = |source| ExportError::Write { path: path.to_owned(), source };
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        private::write(path, bytes, Old::Replace).map_err(failed)
    }

    /// The index, if it is there.
    fn index(&self) -> Result<Option<Vec<u8>>, ExportError> {
        let path = self.root.join(INDEX);
        let mut text = Vec::new();
        let read =
            File::open(&path).and_then(|file| file.take(INDEX_MAX + 1).read_to_end(&mut text));
        match read {
            Ok(len) if len as u64 > INDEX_MAX => {
                let why = format!("it has more than {INDEX_MAX} bytes");
                Err(ExportError::Artifact { what: path.display().to_string(), why })
            }
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ExportError::Read { path, source }),
        }
    }

    /// Removes what exports left that were killed long ago. `oci-layout` was written just now: its
    /// time is the clock. What cannot be removed does no harm.
    fn sweep(&self) {
        let time = |path: &Path| fs::symlink_metadata(path).and_then(|meta| meta.modified());
        let Ok(now) = time(&self.root.join(LAYOUT)) else { return };
        for folder in [self.root.clone(), self.root.join("blobs/sha256")] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
                let age = time(&path).ok().and_then(|then| now.duration_since(then).ok());
                if is_ours && age.is_some_and(|age| age > STALE) && !path.ends_with(LOCK) {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }

    /// Holds the lock until it is dropped.
    fn lock(&self) -> Result<File, ExportError> {
        let path = self.root.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let locked = file.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| ExportError::Write { path, source })
    }
}

impl Place for Folder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    /// What is broken there is put there again.
    fn has(&self, blob: &Descriptor) -> Result<bool, ExportError> {
        Ok(self.get(blob).is_ok())
    }

    fn put(&self, blob: &Descriptor, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        self.write(&self.blob(blob.digest), bytes)
    }

    fn publish(&self, entry: &Entry, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        self.put(&entry.manifest, bytes)?;
        self.published.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        Ok(())
    }

    fn finish(&self, lists: &Lists) -> Result<(), ExportError> {
        for (name, text) in lists {
            self.write(&self.root.join(name), text)?;
        }
        self.write(&self.root.join(LAYOUT), LAYOUT_TEXT)?;
        self.sweep();
        let _lock = self.lock()?;
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.root.join(INDEX);
        let shown = path.display().to_string();
        let index = add_to_index(self.index()?.as_deref(), &published, &shown)?;
        self.write(&path, &index)
    }

    fn find(&self, name: &str) -> Result<Descriptor, ExportError> {
        let shown = self.root.join(INDEX).display().to_string();
        let found = match self.index()? {
            Some(index) => find_in_index(&index, name, &shown)?,
            None => None,
        };
        found.ok_or_else(|| ExportError::Absent { place: self.name(), node: name.to_owned() })
    }

    fn get(&self, wanted: &Descriptor) -> Result<Blob, ExportError> {
        let path = self.blob(wanted.digest);
        let read = |source| ExportError::Read { path: path.clone(), source };
        let name = path.display().to_string();
        let blob = File::open(&path).and_then(|file| Blob::from_file(&name, file)).map_err(read)?;
        if blob.len() != wanted.len || Digest::of_blob(&blob).map_err(read)? != wanted.digest {
            let why = "it has not the length and digest that it should have".to_owned();
            return Err(ExportError::Artifact { what: format!("`{name}`"), why });
        }
        Ok(blob)
    }

    /// All is near.
    fn prefetch(&self, _: &[Descriptor]) -> Result<(), ExportError> {
        Ok(())
    }
}
