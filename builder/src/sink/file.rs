//! A batch of files in one folder: each written aside, all synced at once, then put in place.
//!
//! In: names and blobs. Out: files under those names and `SHA256SUMS`.
//!
//! The order is what makes it safe: data and lengths reach the disk before any name does. So a name
//! never leads to a file that a crash has cut short. A batch that fails leaves every name as it
//! was, except that of a long batch ([`PENDING`]) the files put in place before stay.
//!
//! Source: the manual pages fsync(2), syncfs(2), rename(2); Linux 5.8 or newer for syncfs to tell of
//! errors, which is why each file is asked too.
//!
//! Not here: what is in the files, and reading them back (`inspect`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::io::retry_on_intr;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::report::progress::Task;
use crate::sink::copy::{self, Copier, Home};
use crate::sink::digests::Digests;
use crate::sink::donors::{Donors, Gift};
use crate::sink::folder::{Aside, Folder, Sharing, admit, sync_folder};
use crate::sink::meter::{Halt, Meter};
use crate::sink::name::{Name, SUMS};
use crate::sink::sums::{self, Sums};
use crate::sink::{Access, SinkError};

/// How many files wait for their names at once: each takes a file descriptor, of which a process
/// has 1024 if nobody asks for more. When so many wait, they are put in place.
pub const PENDING: usize = 128;

/// Up to so many files are synced one by one. More are synced with all else on their file system,
/// which takes a tenth of the time, if other programs have not written much there.
const FEW: usize = 4;

/// The bounds of a block's size, in bytes, as far as we believe a file system.
const BLOCKS: std::ops::RangeInclusive<u64> = 512..=65_536;

/// Files on their way into one folder.
///
/// For each: [`Batch::write`], look at [`Pending::blob`], [`Batch::keep`]; at the end
/// [`Batch::finish`]. A file that is dropped instead of kept is gone.
#[derive(Debug)]
pub struct Batch {
    folder: Folder,
    copier: Copier,
    donors: Donors,
    digests: Digests,
    names: BTreeSet<Name>,
    kept: Vec<Pending>,
    written: Vec<Written>,
}

/// A file that is complete but has no name yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Pending {
    name: Name,
    blob: Blob,
    digest: Digest,
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

    /// The file as it was written, as one extent, to be read back.
    ///
    /// # Errors
    ///
    /// Where the process has too many files open.
    pub fn blob(&self) -> io::Result<Blob> {
        Blob::from_file(self.name.as_str(), self.aside.file.try_clone()?)
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
            copier: Copier::default(),
            folder,
            donors: Donors::default(),
            digests: Digests::default(),
            names: BTreeSet::new(),
            kept: Vec::new(),
            written: Vec::new(),
        })
    }

    /// Writes a blob aside, and computes its digest meanwhile.
    ///
    /// `progress` is told of the blob's length in all, zeros and shared bytes included.
    ///
    /// # Errors
    ///
    /// [`SinkError::NoSpace`] before a byte is written where the room is too small; and whatever
    /// reading the blob or writing meets. Nothing is left of the file then.
    pub fn write(
        &mut self,
        name: &Name,
        blob: &Blob,
        progress: &Task,
    ) -> Result<Pending, SinkError> {
        self.is_new(name)?;
        self.folder.admits(name)?;
        let path = self.folder.path_of(name.as_str());
        let room = self.room(&path)?;
        let gift = match room.home.sharing_device {
            Some(_) => self.donors.gift(blob, room.home.block),
            None => None,
        };
        let needed = copy::needed(blob, gift.as_ref(), room.home);
        if room.free.is_some_and(|free| needed > free) {
            return Err(SinkError::NoSpace { path, needed, free: room.free.unwrap_or(0) });
        }
        let aside = self.folder.aside(name.as_str())?;
        let file = aside.file.clone();
        let digest = match self.fill(&file, blob, gift.as_ref(), progress) {
            Ok(digest) => digest,
            Err(halt) => {
                drop(aside);
                return Err(self.failure(halt, path, needed));
            }
        };
        Ok(Pending { name: name.clone(), blob: blob.clone(), digest, aside })
    }

    /// Takes a file that was found right into the batch. Later ones may share its blocks.
    ///
    /// # Errors
    ///
    /// [`SinkError::Twice`] where the batch has a file of that name; else, in a long batch, as
    /// [`Batch::finish`].
    pub fn keep(&mut self, pending: Pending) -> Result<(), SinkError> {
        self.is_new(&pending.name)?;
        self.names.insert(pending.name.clone());
        if self.folder.sharing == Sharing::Yes {
            self.donors.add(&pending.blob, pending.aside.file.clone());
        }
        self.kept.push(pending);
        if self.kept.len() == PENDING { self.place(&[]) } else { Ok(()) }
    }

    /// Syncs what was kept, puts it in place, then the list of digests, then `extras`; and gives
    /// all files of the batch, in the order in which they were kept.
    ///
    /// The list keeps its lines for other files that still exist. A batch of nothing writes nothing.
    ///
    /// # Errors
    ///
    /// Where the disk does not take the data, or a name cannot be given.
    pub fn finish(mut self, extras: &[Extra]) -> Result<Vec<Written>, SinkError> {
        if !self.kept.is_empty() || !extras.is_empty() {
            self.place(extras)?;
        }
        Ok(self.written)
    }

    fn is_new(&self, name: &Name) -> Result<(), SinkError> {
        match self.names.contains(name) {
            true => Err(SinkError::Twice { name: name.to_string() }),
            false => Ok(()),
        }
    }

    /// Copies in this thread and hashes in another. Whichever fails ends both.
    fn fill(
        &mut self,
        file: &File,
        blob: &Blob,
        gift: Option<&Gift>,
        progress: &Task,
    ) -> Result<Digest, Halt> {
        file.set_len(blob.len()).map_err(Halt::Write)?;
        let meter = Meter::new(progress);
        let (copier, digests) = (&mut self.copier, &mut self.digests);
        let (copied, hashed) = thread::scope(|scope| {
            let hash = || meter.watch(digests.digest(blob, &meter));
            let hasher = thread::Builder::new().spawn_scoped(scope, hash).map_err(Halt::Write)?;
            let copied = meter.watch(copier.copy(blob, gift, file, &meter));
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
            Halt::Stopped => unreachable!("one of the two stopped the other for a reason"),
        }
    }

    /// What the file system has and can do.
    fn room(&self, path: &Path) -> Result<Room, SinkError> {
        let stat = rustix::fs::fstatvfs(self.folder.fd())
            .map_err(|e| SinkError::Write { path: path.to_owned(), source: e.into() })?;
        let is_block = stat.f_bsize.is_power_of_two() && BLOCKS.contains(&stat.f_bsize);
        let sharing_device = (self.folder.sharing == Sharing::Yes).then_some(self.folder.device);
        // Some FUSE file systems tell nothing: then all is 0.
        let tells = stat.f_blocks > 0;
        Ok(Room {
            free: tells.then(|| stat.f_bavail.saturating_mul(stat.f_frsize)),
            home: Home { sharing_device, block: if is_block { stat.f_bsize } else { 4096 } },
        })
    }

    fn place(&mut self, extras: &[Extra]) -> Result<(), SinkError> {
        let own = self.own_files(extras)?;
        let kept = std::mem::take(&mut self.kept);
        let asides = kept.iter().map(|pending| (&pending.name, &pending.aside));
        let asides: Vec<_> = asides.chain(own.iter().map(|(name, aside)| (name, aside))).collect();
        self.sync(&asides)?;
        let names: Vec<_> = asides.into_iter().map(|(name, _)| name.clone()).collect();
        for Pending { name, blob, digest, aside } in kept {
            self.folder.place(aside, &name)?;
            let path = self.folder.path_of(name.as_str());
            self.written.push(Written { name, path, len: blob.len(), digest });
        }
        for (name, aside) in own {
            self.folder.place(aside, &name)?;
        }
        self.sync_folders(&names)
    }

    /// Syncs files that have no name yet. An error is final: the kernel has dropped the pages.
    fn sync(&self, asides: &[(&Name, &Aside)]) -> Result<(), SinkError> {
        let not_synced = |name: &str, source| {
            let path = self.folder.path_of(name);
            SinkError::Sync { path, source }
        };
        if asides.len() > FEW {
            let synced = retry_on_intr(|| rustix::fs::syncfs(self.folder.fd()));
            synced.map_err(|errno| not_synced("", errno.into()))?;
        }
        for (name, aside) in asides {
            aside.file.sync_all().map_err(|source| not_synced(name.as_str(), source))?;
        }
        Ok(())
    }

    /// Syncs the folder and those in it that have got names.
    fn sync_folders(&self, names: &[Name]) -> Result<(), SinkError> {
        let inner: BTreeSet<_> = names.iter().flat_map(Name::folders).map(Some).collect();
        for folder in inner.into_iter().chain([None]) {
            let fd = self.folder.inner(folder)?;
            sync_folder(&fd).map_err(|errno| SinkError::Sync {
                path: self.folder.path_of(folder.unwrap_or("")),
                source: errno.into(),
            })?;
        }
        Ok(())
    }

    /// Writes the list of digests, where there is something to list, and the extras aside.
    fn own_files(&mut self, extras: &[Extra]) -> Result<Vec<(Name, Aside)>, SinkError> {
        let mut own = Vec::new();
        if !self.kept.is_empty() {
            let list = sums::render(&self.sums()).into_bytes();
            own.push((Name::sums(), self.small(&Name::sums(), &list, Access::World)?));
        }
        for Extra { name, content, access } in extras {
            self.is_new(name)?;
            self.folder.admits(name)?;
            self.names.insert(name.clone());
            let content = content
                .to_vec()
                .map_err(|source| SinkError::Read { name: name.to_string(), source })?;
            own.push((name.clone(), self.small(name, &content, *access)?));
        }
        Ok(own)
    }

    fn small(&mut self, name: &Name, bytes: &[u8], access: Access) -> Result<Aside, SinkError> {
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
    fn sums(&self) -> Sums {
        // No list, or none that can be read: the new one holds this batch only.
        let mut sums = self.folder.read(SUMS).and_then(sums::read).unwrap_or_default();
        sums.retain(|name, _| self.folder.has(name));
        sums.extend(self.written.iter().map(|file| (file.name.clone(), file.digest)));
        sums.extend(self.kept.iter().map(|file| (file.name.clone(), file.digest)));
        sums
    }
}

/// The room on a file system.
struct Room {
    /// The bytes left for this user, where the file system tells.
    free: Option<u64>,
    home: Home,
}
