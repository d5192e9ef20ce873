//! A store of bytes by their digests, that outlives the program.
//!
//! ```text
//! ~/.cache/talforge/          0700, its files 0600
//!   CACHEDIR.TAG              tells backups that all of this can be fetched again
//!   sha256/<64 digits>        bytes, under the digest that they have
//!   partial/<64 digits>       bytes on their way, under the digest that they should get
//!   incoming/<random>         bytes on their way whose digest nobody knows yet
//!   <kind>/<64 digits>        records: what was found out about a digest, after its own digest
//! ```
//!
//! Who writes a file under `partial` or `incoming` holds its lock (`flock`), so that many builds
//! share a store: one fetches, the others wait. A file gets its final name once it is whole; it is
//! not synced before that, since nobody trusts it: each use reads it to its end (once a run, while
//! its inode, time and length stay) and drops it where its digest is another.
//!
//! The time of last use is the file's access time, which is set here and not left to the mount.
//!
//! In: bytes and digests. Out: blobs, verified on every use.
//!
//! Source: XDG Base Directory Specification; <https://bford.info/cachedir/> (`CACHEDIR.TAG`).
//!
//! Not here: where bytes come from (`registry`).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use tempfile::{NamedTempFile, TempPath};
use thiserror::Error;

use crate::blob::Blob;
use crate::digest::{Digest, Hasher};

pub mod keep;
#[cfg(test)]
mod tests;

/// The folder of whole files.
const WHOLE: &str = "sha256";
/// The folder of files whose digests are known before they are whole.
const PARTIAL: &str = "partial";
/// The folder of files whose digests are not known.
const INCOMING: &str = "incoming";
/// How long a file in `incoming` is left alone. Its writer's lock says that it is at work; the time
/// is for the moment between making a file and locking it.
const STALE: Duration = Duration::from_secs(3600);
/// What a cache's tag starts with.
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
# talforge keeps here what it fetched, by digest. Everything can be fetched again.\n\
# `talforge store list` shows what it is, `talforge store prune` makes room.\n";

/// A folder of files that are named by their digests. Nothing is made before something is kept.
/// Its clones are one and the same.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// The files whose bytes were read to their end in this run.
    verified: Arc<Mutex<BTreeMap<Digest, Stamp>>>,
}

/// What tells that a file is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    len: u64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            len: meta.len(),
        })
    }
}

/// The bytes of a digest that are to be fetched.
#[derive(Debug)]
pub enum Download {
    /// They are here: another build fetched them meanwhile.
    Found(Blob),
    /// Those that are here so far. Nobody else fetches them until it is dropped.
    Partial(Incoming),
}

/// Bytes on their way into a [`Store`]. Dropped before its end, it leaves nothing, or what is there
/// to go on with if their digest is known.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    file: File,
    path: TempPath,
    wanted: Option<Digest>,
    hasher: Hasher,
    len: u64,
}

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder of it.
    #[error("the store's `{}` cannot be used", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Its disk is full.
    #[error("there is no room left on the disk of the store `{}`", .0.display())]
    Full(PathBuf),
    /// Bytes that are not those that were asked for.
    #[error("the bytes have the digest sha256:{found}, not sha256:{wanted}")]
    Digest {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
}

impl StoreError {
    fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(path.parent().unwrap_or(path).to_owned())
            }
            _ => Self::Io(path.to_owned(), error),
        }
    }

    /// What to do, as an imperative.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io(..) => "see that you may write to the store, or name another with `--store`",
            Self::Full(_) => {
                "make room with `talforge store prune`, or name a store on another disk with `--store`"
            }
            Self::Digest { .. } => "fetch them again; where they come from may have changed",
        }
    }
}

impl Store {
    /// The store in a folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), verified: Arc::default() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes of a digest, if they are there. They are read to their end and must have it; what
    /// has another is removed, as if it had never been there.
    ///
    /// # Errors
    ///
    /// Where they are there and cannot be read.
    pub fn get(&self, digest: Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.path(WHOLE, digest);
        let io = |error| StoreError::io(&path, error);
        let Some(file) = open(&path).map_err(io)? else { return Ok(None) };
        let stamp = Stamp::of(&file).map_err(io)?;
        // A store that cannot be written to serves, too.
        let _ = touch(&file);
        let blob = Blob::from_file(&format!("sha256:{digest}"), file).map_err(io)?;
        if lock(&self.verified).get(&digest) == Some(&stamp) {
            return Ok(Some(blob));
        }
        if Digest::of_blob(&blob).map_err(io)? != digest {
            remove_if(&path, stamp);
            return Ok(None);
        }
        lock(&self.verified).insert(digest, stamp);
        Ok(Some(blob))
    }

    /// Room for bytes whose digest is not known yet, or not trusted.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn incoming(&self) -> Result<Incoming, StoreError> {
        let folder = self.folder(INCOMING)?;
        let io = |error| StoreError::io(&folder, error);
        let (file, path) = tempfile::Builder::new().tempfile_in(&folder).map_err(io)?.into_parts();
        file.lock().map_err(io)?;
        sweep(&folder, &file).map_err(io)?;
        let store = self.clone();
        Ok(Incoming { store, file, path, wanted: None, hasher: Hasher::default(), len: 0 })
    }

    /// The bytes of a digest, of which there are `len`, or room for them. Where another build
    /// fetches them, this calls `waiting`, and waits.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn download(
        &self,
        digest: Digest,
        len: Option<u64>,
        waiting: &dyn Fn(),
    ) -> Result<Download, StoreError> {
        self.folder(PARTIAL)?;
        let path = self.path(PARTIAL, digest);
        let io = |error| StoreError::io(&path, error);
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock().map_err(io)?;
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // Who had the lock may have given the file its final name, or removed it.
            let is_same = |meta: fs::Metadata| file.metadata().is_ok_and(|m| m.ino() == meta.ino());
            if !fs::symlink_metadata(&path).is_ok_and(is_same) {
                if let Some(blob) = self.get(digest)? {
                    return Ok(Download::Found(blob));
                }
                continue;
            }
            if let Some(blob) = self.get(digest)? {
                fs::remove_file(&path).map_err(io)?;
                return Ok(Download::Found(blob));
            }
            let mut kept = TempPath::try_from_path(&path).map_err(io)?;
            kept.disable_cleanup(true);
            let mut incoming = Incoming {
                store: self.clone(),
                file,
                path: kept,
                wanted: Some(digest),
                hasher: Hasher::default(),
                len: 0,
            };
            incoming.take_up(len).map_err(io)?;
            return Ok(Download::Partial(incoming));
        }
    }

    /// A small text that was kept for a digest: what was found out about the bytes that have it.
    ///
    /// # Errors
    ///
    /// Where it is there and cannot be read.
    pub fn record(&self, kind: &str, key: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(kind, key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(&path, error)),
        };
        // Its own digest stands before it: a torn or edited one is none.
        let split = bytes.split_at_checked(64);
        let good = split.filter(|(sum, rest)| Digest::of(rest).to_string().as_bytes() == *sum);
        Ok(good.map(|(_, rest)| rest.to_vec()))
    }

    /// Keeps such a text.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn keep_record(&self, kind: &str, key: Digest, text: &[u8]) -> Result<(), StoreError> {
        let folder = self.folder(kind)?;
        let io = |error| StoreError::io(&folder, error);
        let mut file = NamedTempFile::new_in(self.folder(INCOMING)?).map_err(io)?;
        file.write_all(Digest::of(text).to_string().as_bytes()).map_err(io)?;
        file.write_all(text).map_err(io)?;
        file.persist(folder.join(key.to_string())).map_err(|e| io(e.error))?;
        Ok(())
    }

    fn path(&self, kind: &str, digest: Digest) -> PathBuf {
        self.root.join(kind).join(digest.to_string())
    }

    /// A folder of the store, made where it is not there.
    fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&path).map_err(|error| StoreError::io(&path, error))?;
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tag);
            // Without its tag the store serves as well.
            let _ = new.and_then(|mut file| file.write_all(TAG));
        }
        Ok(path)
    }
}

impl Incoming {
    /// The bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_all(bytes).map_err(|error| StoreError::io(&self.path, error))
    }

    /// Drops the bytes so far.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let again = self.file.set_len(0).and_then(|()| self.file.rewind());
        again.map_err(|error| StoreError::io(&self.path, error))?;
        (self.hasher, self.len) = (Hasher::default(), 0);
        Ok(())
    }

    /// Keeps the bytes under their digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Digest`] where they are not those of `wanted`, where that is given, or of
    /// [`Store::download`]; they are dropped then.
    pub fn finish(self, wanted: Option<Digest>) -> Result<(Digest, Blob), StoreError> {
        let found = self.hasher.finish();
        if let Some(wanted) = wanted.or(self.wanted).filter(|wanted| *wanted != found) {
            if self.wanted.is_some() {
                fs::remove_file(&self.path).map_err(|e| StoreError::io(&self.path, e))?;
            }
            return Err(StoreError::Digest { wanted, found });
        }
        self.store.folder(WHOLE)?;
        let path = self.store.path(WHOLE, found);
        let io = |error| StoreError::io(&path, error);
        self.file.set_len(self.len).map_err(io)?;
        // What was written is what was hashed; if the disk says otherwise, the next run sees it.
        let stamp = Stamp::of(&self.file).map_err(io)?;
        self.path.persist(&path).map_err(|error| io(error.error))?;
        // Whoever waits for it can have it now.
        self.file.unlock().map_err(io)?;
        lock(&self.store.verified).insert(found, stamp);
        let blob = Blob::from_file(&format!("sha256:{found}"), self.file).map_err(io)?;
        Ok((found, blob))
    }

    /// Reads what an earlier run left. More bytes than there should be are none of them.
    fn take_up(&mut self, len: Option<u64>) -> io::Result<()> {
        let there = self.file.metadata()?.len();
        if len.is_some_and(|len| there > len) {
            self.file.set_len(0)?;
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.len += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Incoming {
    /// Zeros become holes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const STEP: usize = 4096;
        let bytes = &bytes[..bytes.len().min(1 << 20)];
        let is_zero = |piece: &[u8]| piece.len() == STEP && piece.iter().all(|byte| *byte == 0);
        let mut rest = bytes;
        while !rest.is_empty() {
            let zeros = rest.chunks(STEP).take_while(|piece| is_zero(piece)).count() * STEP;
            let (hole, more) = rest.split_at(zeros);
            let data = more.chunks(STEP).take_while(|piece| !is_zero(piece)).map(<[u8]>::len).sum();
            let (data, more) = more.split_at(data);
            let skip = i64::try_from(hole.len()).map_err(io::Error::other)?;
            self.file.seek(SeekFrom::Current(skip))?;
            self.file.write_all(data)?;
            rest = more;
        }
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a plain file for reading, if it is there. Reading it is no use of it.
fn open(path: &Path) -> io::Result<Option<File>> {
    let open = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    };
    let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match open(safe | OFlags::NOATIME) {
        // Another's file.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(safe),
        other => other,
    };
    match file {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says that a file is used now.
fn touch(file: &File) -> io::Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: omit })?)
}

/// Removes a file that is still the one that was looked at, as far as that can be done.
fn remove_if(path: &Path, stamp: Stamp) {
    let same = |file: File| Stamp::of(&file).is_ok_and(|now| now == stamp);
    if open(path).is_ok_and(|file| file.is_some_and(same)) {
        // What cannot be removed is replaced by what is fetched, or read again and dropped again.
        let _ = fs::remove_file(path);
    }
}

/// Removes what programs left that ended before their time. `new` was made just now: its time is
/// the clock.
fn sweep(folder: &Path, new: &File) -> io::Result<()> {
    let now = new.metadata()?.modified()?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let age = meta.modified().ok().and_then(|then| now.duration_since(then).ok());
        if age.is_some_and(|age| age > STALE) {
            remove_unlocked(&path);
        }
    }
    Ok(())
}

/// Removes a file that nobody writes; says whether it did.
pub(super) fn remove_unlocked(path: &Path) -> bool {
    let file = open(path).ok().flatten();
    file.is_some_and(|file| file.try_lock().is_ok() && fs::remove_file(path).is_ok())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the store is when nobody says: `$XDG_CACHE_HOME/talforge`, or `~/.cache/talforge`.
pub fn default_root(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute);
    let home = variable("HOME").map(PathBuf::from).filter(absolute);
    cache
        .or_else(|| home.map(|home| home.join(".cache")))
        .map(|path| path.join(Path::new("talforge")))
}
