//! A batch of files in one folder: each written aside, all synced at once, then put in place.
//!
//! In: names and blobs, from several threads. Out: files under those names and `SHA256SUMS`.
//!
//! The order is what makes it safe: data and lengths reach the disk before any name does. So a name
//! never leads to a file that a crash has cut short. A batch that fails leaves every name as it
//! was, except that of a long batch ([`MOST`], [`MUCH`]) the files put in place before stay.
//!
//! Source: the manual pages fsync(2), syncfs(2), rename(2); Linux 5.8 or newer for syncfs to tell of
//! errors: each file is asked, too, where it does not (`host`).
//!
//! Not here: what is in the files, and reading them back (`inspect`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::retry_on_intr;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::report::progress::Task;
use crate::sink::copy::{self, Copier};
use crate::sink::digests::Digests;
use crate::sink::donors::{Donors, Gift};
use crate::sink::folder::{Aside, Folder, Sharing, admit, sync_folder};
use crate::sink::host::{self, Room};
use crate::sink::meter::{Halt, Meter};
use crate::sink::name::{Name, STATE, SUMS};
use crate::sink::stamp::Stamp;
use crate::sink::sums::{self, Sums};
use crate::sink::{Access, SinkError};
use crate::units::MIB;

/// How many files wait for their names at once, at most: each takes a file descriptor. When so many
/// wait, or as many as the process may have open, they are put in place.
pub const MOST: usize = 4096;

/// How many bytes of data wait for their names, about. When so many wait they are put in place: what
/// is on the disk by then stays, and little is lost when a long batch is cut short.
pub const MUCH: u64 = 4096 * MIB;

/// Up to so many files are synced one by one. More are synced with all else on their file system,
/// which takes a tenth of the time, if other programs have not written much there.
const FEW: usize = 4;

/// What is left to hash must be longer than this to be worth a thread beside the one that copies.
const LONG: u64 = 4 * MIB;

/// Files on their way into one folder.
///
/// For each: [`Batch::write`], look at [`Pending::blob`], [`Batch::keep`]; at the end
/// [`Batch::finish`]. A file that is dropped instead of kept is gone.
#[derive(Debug)]
pub struct Batch {
    folder: Folder,
    copier: Copier,
    donors: Donors,
    digests: Arc<Digests>,
    /// How many files may wait here.
    most: usize,
    /// Whether syncfs tells of errors.
    is_told: bool,
    stop: Arc<AtomicBool>,
    waiting: Mutex<Waiting>,
    /// Held by whoever puts files in place.
    placed: Mutex<Vec<Written>>,
    shared: Mutex<BTreeMap<Name, Arc<Mutex<Option<Shared>>>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    names: BTreeSet<Name>,
    kept: Vec<Kept>,
    /// What the kept files take on the disk, in bytes.
    bytes: u64,
    /// Files that stay as they are.
    known: Vec<(Name, Digest)>,
    /// Whether some could not be put in place: the batch has failed.
    is_broken: bool,
}

/// A file that was found right.
#[derive(Debug)]
struct Kept {
    name: Name,
    len: u64,
    digest: Digest,
    aside: Aside,
}

/// A file that several have.
#[derive(Debug)]
struct Shared {
    blob: Blob,
    digest: Digest,
}

/// A file that is complete but has no name yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Pending {
    name: Name,
    blob: Blob,
    digest: Digest,
    /// What it takes on the disk, in bytes.
    taken: u64,
    /// Whether it has much that others may share, and an earlier file has not.
    is_donor: bool,
    gift: Option<Gift>,
    aside: Aside,
}

/// A file under its final name.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its name in the folder.
    pub name: Name,
    /// Its path: the folder's, as it was given, and the name.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Its digest.
    pub digest: Digest,
    /// What the system says of it, once it has its name.
    pub stamp: Stamp,
}

/// A small file that comes with a batch, such as a manifest. `SHA256SUMS` does not list it.
#[derive(Clone, Debug)]
pub struct Extra {
    /// Its name in the folder.
    pub name: Name,
    /// What it holds: it is read into memory.
    pub content: Blob,
    /// Who may read it.
    pub access: Access,
}

impl Pending {
    /// The name that the file will get.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The digest of the blob that was written.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.blob.len()
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.blob.is_empty()
    }

    /// The file as it was written, to be read back. Where it shares blocks with an earlier file of
    /// the batch they are read from that.
    ///
    /// # Errors
    ///
    /// Where the process has too many files open.
    pub fn blob(&self) -> io::Result<Blob> {
        let file = Blob::from_file(self.name.as_str(), self.aside.file.try_clone()?)?;
        Ok(self.gift.as_ref().map_or(file.clone(), |gift| gift.seen_in(&file)))
    }
}

impl Batch {
    /// Opens a folder for one batch; makes it if missing (mode 0755), and removes what a killed run
    /// left there. Until the batch is dropped no other process gets the folder.
    ///
    /// # Errors
    ///
    /// Where the folder is in use, or cannot be made or written to.
    pub fn open(dir: &Path) -> Result<Self, SinkError> {
        let folder = Folder::open(dir)?;
        Ok(Self {
            most: host::most_waiting(MOST),
            is_told: host::is_told(&folder),
            copier: Copier::default(),
            folder,
            donors: Donors::default(),
            digests: Arc::default(),
            stop: Arc::default(),
            waiting: Mutex::default(),
            placed: Mutex::default(),
            shared: Mutex::default(),
        })
    }

    /// The same batch, which ends soon after `stop` has become true: what is being written is given
    /// up, and nothing more gets its name.
    pub fn until(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// Writes a blob aside, and computes its digest meanwhile.
    ///
    /// `progress` is told of the blob's length in all, zeros and shared bytes included.
    ///
    /// # Errors
    ///
    /// [`SinkError::NoSpace`] before a byte is written where the room is too small; and whatever
    /// reading the blob or writing meets. Nothing is left of the file then.
    pub fn write(&self, name: &Name, blob: &Blob, progress: &Task) -> Result<Pending, SinkError> {
        is_new(&lock(&self.waiting), name)?;
        self.folder.admits(name)?;
        let path = self.folder.path_of(name.as_str());
        let room = Room::of(&self.folder, &path)?;
        let gift = match room.home.sharing_device {
            Some(_) => self.donors.gift(blob, room.home.block),
            None => None,
        };
        let taken = copy::needed(blob, gift.as_ref(), room.home);
        if room.free.is_some_and(|free| taken > free) {
            let free = room.free.unwrap_or(0);
            return Err(SinkError::NoSpace { path, needed: taken, free });
        }
        let aside = self.folder.aside(name.as_str())?;
        let file = aside.file.clone();
        let digest = match self.fill(&file, blob, gift.as_ref(), progress) {
            Ok(digest) => digest,
            Err(halt) => {
                drop(aside);
                return Err(self.failure(halt, path, taken));
            }
        };
        let is_donor =
            self.folder.sharing == Sharing::Yes && !gift.as_ref().is_some_and(|g| g.is_most);
        let (name, blob) = (name.clone(), blob.clone());
        Ok(Pending { name, blob, digest, taken, is_donor, gift, aside })
    }

    /// Writes a file that several have, once: who asks for it again, with the same blob, gets its
    /// digest. It is kept.
    ///
    /// # Errors
    ///
    /// [`SinkError::Twice`] where another blob has the name; else as [`Batch::write`] and
    /// [`Batch::keep`].
    pub fn write_shared(
        &self,
        name: &Name,
        blob: &Blob,
        progress: &Task,
    ) -> Result<Digest, SinkError> {
        let slot = lock(&self.shared).entry(name.clone()).or_default().clone();
        let mut shared = lock(&slot);
        match &*shared {
            Some(shared) if shared.blob.is_same(blob) => {
                progress.add(blob.len());
                Ok(shared.digest)
            }
            Some(_) => Err(SinkError::Twice { name: name.to_string() }),
            None => {
                let pending = self.write(name, blob, progress)?;
                let digest = pending.digest;
                self.keep(pending)?;
                *shared = Some(Shared { blob: blob.clone(), digest });
                Ok(digest)
            }
        }
    }

    /// Takes a file that was found right into the batch. Later ones may share its blocks.
    ///
    /// # Errors
    ///
    /// As [`Batch::keep_all`].
    pub fn keep(&self, pending: Pending) -> Result<(), SinkError> {
        self.keep_all(vec![pending])
    }

    /// Takes files that belong together into the batch: they are put in place together.
    ///
    /// # Errors
    ///
    /// [`SinkError::Twice`] where the batch has a file of one's name; else, in a long batch, as
    /// [`Batch::finish`]: the batch takes no more files then.
    pub fn keep_all(&self, files: Vec<Pending>) -> Result<(), SinkError> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_broken {
            return Err(SinkError::Stopped { path: self.folder.path_of("") });
        }
        let mut names = BTreeSet::new();
        for file in &files {
            is_new(&waiting, &file.name)?;
            if !names.insert(file.name.clone()) {
                return Err(SinkError::Twice { name: file.name.to_string() });
            }
        }
        waiting.names.append(&mut names);
        for Pending { name, blob, digest, taken, is_donor, aside, .. } in files {
            if is_donor {
                self.donors.add(&blob, aside.file.clone());
            }
            waiting.bytes = waiting.bytes.saturating_add(taken);
            waiting.kept.push(Kept { name, len: blob.len(), digest, aside });
        }
        if waiting.kept.len() < self.most && waiting.bytes < MUCH {
            return Ok(());
        }
        waiting.bytes = 0;
        let kept = std::mem::take(&mut waiting.kept);
        drop(waiting);
        self.place(kept, &[], None)
    }

    /// What it knows of digests, for others that ask for those of the same bytes.
    pub fn digests(&self) -> Arc<Digests> {
        self.digests.clone()
    }

    /// Says that a file of the folder stays as it is: the list of digests has it, unless it is
    /// written after all.
    pub fn stays(&self, name: &Name, digest: Digest) {
        lock(&self.waiting).known.push((name.clone(), digest));
    }

    /// The files that were put in place so far.
    pub fn placed(&self) -> Vec<Written> {
        lock(&self.placed).clone()
    }

    /// Syncs what was kept, puts it in place, then the list of digests, then `extras`; and gives
    /// all files of the batch.
    ///
    /// The list keeps its lines for other files that still exist. A batch of nothing writes nothing.
    ///
    /// # Errors
    ///
    /// Where the disk does not take the data, or a name cannot be given.
    pub fn finish(self, extras: &[Extra]) -> Result<Vec<Written>, SinkError> {
        self.end(extras, None)
    }

    /// As [`Batch::finish`]; then `state` is told of all files, and what it gives is kept for the
    /// next batch under the name [`STATE`], mode 0600. It is not synced: it must tell itself whether
    /// it is whole.
    ///
    /// # Errors
    ///
    /// As [`Batch::finish`].
    pub fn finish_with(
        &self,
        extras: &[Extra],
        state: impl FnOnce(&[Written]) -> Vec<u8>,
    ) -> Result<Vec<Written>, SinkError> {
        let mut state = Some(state);
        self.end(extras, Some(&mut |files| state.take().map_or_else(Vec::new, |s| s(files))))
    }

    fn end(&self, extras: &[Extra], state: Option<Note<'_>>) -> Result<Vec<Written>, SinkError> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_broken {
            return Err(SinkError::Stopped { path: self.folder.path_of("") });
        }
        let kept = std::mem::take(&mut waiting.kept);
        let is_all = kept.is_empty() && waiting.known.is_empty() && extras.is_empty();
        drop(waiting);
        if !is_all {
            self.place(kept, extras, state)?;
        }
        Ok(self.placed())
    }

    /// Copies and hashes at once. Whichever fails ends both.
    fn fill(
        &self,
        file: &File,
        blob: &Blob,
        gift: Option<&Gift>,
        progress: &Task,
    ) -> Result<Digest, Halt> {
        file.set_len(blob.len()).map_err(Halt::Write)?;
        let meter = Meter::new(progress).until(&self.stop);
        let begun = self.digests.begin(blob);
        if begun.left() <= LONG {
            self.copier.copy(blob, gift, file, &meter)?;
            return self.digests.finish(begun, &meter);
        }
        let (copied, hashed) = thread::scope(|scope| {
            let hash = || meter.watch(self.digests.finish(begun, &meter));
            let hasher = thread::Builder::new().spawn_scoped(scope, hash).map_err(Halt::Write)?;
            let copied = meter.watch(self.copier.copy(blob, gift, file, &meter));
            Ok((copied, hasher.join().expect("hashing does not panic")))
        })?;
        match (copied, hashed) {
            (Ok(()), hashed) => hashed,
            (Err(Halt::Stopped), Err(halt)) => Err(halt),
            (Err(halt), _) => Err(halt),
        }
    }

    fn failure(&self, halt: Halt, path: PathBuf, needed: u64) -> SinkError {
        match halt {
            Halt::Read { name, source } => SinkError::Read { name, source },
            Halt::Write(source) => self.folder.failure(path, needed, source),
            Halt::Interrupted => SinkError::Stopped { path },
            Halt::Stopped => unreachable!("one of the two stopped the other for a reason"),
        }
    }

    /// Puts files in place, or breaks the batch.
    fn place(
        &self,
        kept: Vec<Kept>,
        extras: &[Extra],
        state: Option<Note<'_>>,
    ) -> Result<(), SinkError> {
        let mut placed = lock(&self.placed);
        let done = self.place_all(kept, extras, state, &mut placed);
        if done.is_err() {
            lock(&self.waiting).is_broken = true;
        }
        done
    }

    fn place_all(
        &self,
        kept: Vec<Kept>,
        extras: &[Extra],
        state: Option<Note<'_>>,
        placed: &mut Vec<Written>,
    ) -> Result<(), SinkError> {
        self.goes_on()?;
        let own = self.own_files(&kept, extras, placed)?;
        let asides = kept.iter().map(|file| (&file.name, &file.aside));
        let asides: Vec<_> = asides.chain(own.iter().map(|(name, aside)| (name, aside))).collect();
        self.sync(&asides)?;
        self.goes_on()?;
        let names: Vec<_> = asides.into_iter().map(|(name, _)| name.clone()).collect();
        for Kept { name, len, digest, aside } in kept {
            let path = self.folder.path_of(name.as_str());
            let file = aside.file.clone();
            self.folder.place(aside, &name)?;
            let about = file.metadata();
            let about = about.map_err(|source| SinkError::Place { path: path.clone(), source })?;
            placed.push(Written { name, path, len, digest, stamp: Stamp::of(&about) });
        }
        for (name, aside) in own {
            self.folder.place(aside, &name)?;
        }
        if !names.is_empty() {
            self.sync_folders(&names)?;
        }
        match state {
            Some(state) => self.note(&state(placed)),
            None => Ok(()),
        }
    }

    /// Whether nobody has told the batch to end.
    fn goes_on(&self) -> Result<(), SinkError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(SinkError::Stopped { path: self.folder.path_of("") }),
            false => Ok(()),
        }
    }

    /// Keeps something for the next batch.
    fn note(&self, bytes: &[u8]) -> Result<(), SinkError> {
        let name = Name::state();
        let aside = self.small(&name, bytes, Access::Owner)?;
        self.folder.place(aside, &name)
    }

    /// Syncs files that have no name yet. An error is final: the kernel has dropped the pages.
    fn sync(&self, asides: &[(&Name, &Aside)]) -> Result<(), SinkError> {
        let not_synced = |name: &str, source| {
            let path = self.folder.path_of(name);
            SinkError::Sync { path, source }
        };
        if asides.len() > FEW {
            self.sync_all()?;
        }
        if asides.len() <= FEW || !self.is_told {
            for (name, aside) in asides {
                let synced = aside.file.sync_all();
                synced.map_err(|source| not_synced(name.as_str(), source))?;
            }
        }
        Ok(())
    }

    /// Syncs the whole file system.
    fn sync_all(&self) -> Result<(), SinkError> {
        retry_on_intr(|| rustix::fs::syncfs(self.folder.fd())).map_err(|errno| SinkError::Sync {
            path: self.folder.path_of(""),
            source: errno.into(),
        })
    }

    /// Syncs the folder and those in it that have got names.
    fn sync_folders(&self, names: &[Name]) -> Result<(), SinkError> {
        let inner: BTreeSet<_> = names.iter().flat_map(Name::folders).map(Some).collect();
        if inner.len() > FEW && self.is_told {
            return self.sync_all();
        }
        for folder in inner.into_iter().chain([None]) {
            let fd = self.folder.inner(folder)?;
            sync_folder(&fd).map_err(|errno| SinkError::Sync {
                path: self.folder.path_of(folder.unwrap_or("")),
                source: errno.into(),
            })?;
        }
        Ok(())
    }

    /// Writes the list of digests, where it says something else now, and the extras aside.
    fn own_files(
        &self,
        kept: &[Kept],
        extras: &[Extra],
        placed: &[Written],
    ) -> Result<Vec<(Name, Aside)>, SinkError> {
        let mut own = Vec::new();
        let mut old = Vec::new();
        // No list, or none that can be read: the new one holds this batch only.
        let read = self.folder.read(SUMS).and_then(|file| sums::bytes(file, &mut old));
        let list = sums::render(&self.sums(&old, kept, placed)).into_bytes();
        if !list.is_empty() && (read.is_err() || list != old) {
            own.push((Name::sums(), self.small(&Name::sums(), &list, Access::World)?));
        }
        for Extra { name, content, access } in extras {
            let mut waiting = lock(&self.waiting);
            is_new(&waiting, name)?;
            waiting.names.insert(name.clone());
            drop(waiting);
            self.folder.admits(name)?;
            let content = content
                .to_vec()
                .map_err(|source| SinkError::Read { name: name.to_string(), source })?;
            own.push((name.clone(), self.small(name, &content, *access)?));
        }
        Ok(own)
    }

    fn small(&self, name: &Name, bytes: &[u8], access: Access) -> Result<Aside, SinkError> {
        let aside = self.folder.aside(name.as_str())?;
        let path = self.folder.path_of(name.as_str());
        if let Err(error) = aside.file.write_all_at(bytes, 0) {
            drop(aside);
            return Err(self.failure(Halt::Write(error), path, bytes.len() as u64));
        }
        admit(&aside.file, access, path)?;
        Ok(aside)
    }

    /// The earlier list's lines for files that still exist, with this batch's over them.
    fn sums(&self, old: &[u8], kept: &[Kept], placed: &[Written]) -> Sums {
        let mut sums = sums::read(old);
        sums.retain(|name, _| self.folder.has(name));
        sums.extend(lock(&self.waiting).known.iter().cloned());
        sums.extend(placed.iter().map(|file| (file.name.clone(), file.digest)));
        sums.extend(kept.iter().map(|file| (file.name.clone(), file.digest)));
        sums
    }
}

/// What is asked for something to keep for the next batch.
type Note<'a> = &'a mut dyn FnMut(&[Written]) -> Vec<u8>;

/// The note that the last batch has kept in a folder, up to `limit` bytes; nothing where there is
/// none.
pub fn noted(dir: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join(STATE)).ok()?;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn is_new(waiting: &Waiting, name: &Name) -> Result<(), SinkError> {
    match waiting.names.contains(name) {
        true => Err(SinkError::Twice { name: name.to_string() }),
        false => Ok(()),
    }
}

/// What a panic of another thread left behind is still good: lists, each entry whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
