//! A file that is there, changed where it lies: wholly or not at all.
//!
//! In: a medium's path, an edit. Out: the medium changed, its inode the same; or as it was.
//!
//! What is to change is kept beside the medium first, in `.NAME.talforge-undo` (mode 0600, as it
//! holds what the medium holds). The steps are synced one after another, so that a medium that was
//! left on the way boots as it did before or as it was to. Who opens it next for a change takes the
//! rest back ([`Medium::open`]).
//!
//! Source: the manual pages fsync(2), flock(2), open(2); "Files are hard",
//! <https://danluu.com/file-consistency/>.
//!
//! Not here: what is changed (`custom`), the journal's bytes (`journal`), copies (`duplicate`). A
//! medium's other hard links: a change that was cut short is found under the name that it had.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::blob::Blob;
use crate::edit::{Edit, Write};
use crate::report::Diagnostic;
use crate::sink::SinkError;
use crate::sink::folder::Folder;
use crate::sink::journal::{self, Journal};
use crate::sink::name::Name;

/// What the name of a journal ends with.
const JOURNAL_END: &str = ".talforge-undo";

/// What is put back at once where there is no room for more: a page.
const PAGE: usize = 4096;

/// Why a file could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// There is none.
    #[error("there is no medium `{path}`")]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// It is no regular file.
    #[error("`{path}` is {what}, and files alone are changed")]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It cannot be opened for a change, or not locked.
    #[error("`{path}` cannot be changed")]
    NotWritable {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process changes or copies it.
    #[error("another program is at work on `{path}`")]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// It became shorter while it was looked at, or the change is not for a file of its length.
    #[error("`{path}` is shorter than the change needs")]
    Short {
        /// Where.
        path: PathBuf,
    },
    /// More is to change than can be taken back.
    #[error("the change of `{path}` is too large to be made in place")]
    TooLarge {
        /// Where.
        path: PathBuf,
    },
    /// What should take back an earlier change is not for this file.
    #[error("`{journal}` is of an earlier change, and `{path}` is not as that left it")]
    Foreign {
        /// The medium.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// What should take back an earlier change is damaged, or may be somebody else's making.
    #[error("`{journal}`, which should take back an earlier change, {why}")]
    Untrusted {
        /// The journal.
        journal: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A change failed, and so did taking it back.
    #[error("the change of `{path}` stopped on its way, and could not be taken back")]
    Stuck {
        /// The medium.
        path: PathBuf,
        /// Why it could not be taken back.
        #[source]
        source: io::Error,
    },
    /// Writing or syncing failed; the file is as it was.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl PatchError {
    /// What to do, as an imperative.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "check the path",
            Self::NotAFile { .. } => {
                "name an image in a file; change it before it goes to a device"
            }
            Self::NotWritable { .. } => "mend its permissions, or write a copy: `-o other.iso`",
            Self::Busy { .. } => "wait for it to end",
            Self::Short { .. } => "look at what else writes to it, and try again",
            Self::TooLarge { .. } => "write a copy: `-o other.iso`",
            Self::Foreign { .. } => {
                "if the medium was replaced since, remove the journal; if not, take the medium anew"
            }
            Self::Untrusted { .. } => "remove it, and take the medium anew",
            Self::Stuck { .. } => {
                "look at the disk and its room; the next `talforge config remove` on the medium \
                 tries again, and until then the medium boots as before or as it was to"
            }
            Self::Sink(error) => error.help(),
        }
    }

    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "no-file",
            Self::NotAFile { .. } => "medium-not-a-file",
            Self::NotWritable { .. } => "medium-not-writable",
            Self::Busy { .. } => "medium-busy",
            Self::Short { .. } => "medium-short",
            Self::TooLarge { .. } => "medium-change-too-large",
            Self::Foreign { .. } => "undo-foreign",
            Self::Untrusted { .. } => "undo-untrusted",
            Self::Stuck { .. } => "medium-stuck",
            Self::Sink(error) => error.code(),
        }
    }

    /// The error as a finding: its cause in the message, what to do as help.
    pub fn diagnostic(&self) -> Diagnostic {
        if let Self::Sink(error) = self {
            return error.diagnostic();
        }
        let message = match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        };
        Diagnostic::error(self.code(), message).help(self.help())
    }
}

/// What an earlier change left beside a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing: it ended.
    None,
    /// It was cut short. The medium boots as before or as it was to; [`Medium::open`] takes it back.
    CutShort,
    /// It is not over: another process is at work.
    Busy,
}

/// What an earlier change left beside a medium, for who reads it only.
///
/// # Errors
///
/// Where the medium cannot be opened.
pub fn leftover(path: &Path) -> io::Result<Leftover> {
    let real = path.canonicalize()?;
    let journal = match (real.parent(), real.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => folder.join(journal_name(name)),
        _ => return Ok(Leftover::None),
    };
    if journal.symlink_metadata().is_err() {
        return Ok(Leftover::None);
    }
    let file = File::open(&real)?;
    match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
        Err(Errno::WOULDBLOCK) => Ok(Leftover::Busy),
        _ => Ok(Leftover::CutShort),
    }
}

fn journal_name(name: &str) -> String {
    format!(".{name}{JOURNAL_END}")
}

/// A medium, open and locked for a change. Nobody else changes or copies it while this lives.
#[derive(Debug)]
pub struct Medium {
    file: File,
    folder: Folder,
    path: PathBuf,
    journal: Name,
    was_cut_short: bool,
}

/// A medium that holds a change that can still be taken back. Dropped, it is taken back.
#[derive(Debug)]
pub struct Changed<'m> {
    medium: &'m Medium,
    /// What takes it back; nothing once that is decided, or where nothing was changed.
    journal: Option<Journal>,
}

/// Opens a medium to read it. While the blob or a part of it lives, nobody changes the medium.
///
/// # Errors
///
/// Where it is no regular file, cannot be read, or is being changed.
pub fn read(path: &Path) -> Result<Blob, PatchError> {
    let name = path.display().to_string();
    let unreadable =
        |source: io::Error| PatchError::from(SinkError::Read { name: name.clone(), source });
    let file = open(path, path, OFlags::RDONLY).map_err(|error| match error {
        PatchError::NotWritable { source, .. } => unreadable(source),
        other => other,
    })?;
    match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
        Err(Errno::WOULDBLOCK) => Err(PatchError::Busy { path: path.to_owned() }),
        // Some file systems lock nothing. Then nobody changes a medium there either.
        _ => Blob::from_file(&name, file).map_err(unreadable),
    }
}

/// Opens a regular file at `real`, which the user calls `path`.
fn open(real: &Path, path: &Path, access: OFlags) -> Result<File, PatchError> {
    let refused = |errno: Errno| unopened(path, errno.into());
    // Asked before it is opened: opening a device or a pipe does something.
    let found = rustix::fs::stat(real).map_err(refused)?;
    if let Some(what) = other_than_file(FileType::from_raw_mode(found.st_mode)) {
        return Err(PatchError::NotAFile { path: path.to_owned(), what });
    }
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = retry_on_intr(|| rustix::fs::openat(CWD, real, flags, Mode::empty()));
    file.map(File::from).map_err(refused)
}

impl Medium {
    /// Opens a medium for a change. One that was cut short is taken back first.
    ///
    /// # Errors
    ///
    /// Where it is no regular file, may not be written to, or is in use; where what is left of a
    /// change does not fit it: then nothing is touched.
    pub fn open(path: &Path) -> Result<Self, PatchError> {
        let not_writable = |source: io::Error| unopened(path, source);
        let real = path.canonicalize().map_err(not_writable)?;
        let (folder, name) = match (real.parent(), real.file_name().and_then(|n| n.to_str())) {
            (Some(folder), Some(name)) => (folder, name),
            _ => {
                let name = path.to_string_lossy().escape_debug().to_string();
                return Err(SinkError::Name { name, why: "it is no text" }.into());
            }
        };
        let file = open(&real, path, OFlags::RDWR)?;
        let locked =
            retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive));
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(PatchError::Busy { path: path.to_owned() }),
            Err(errno) => return Err(not_writable(errno.into())),
        }
        let journal = Name::parse(&journal_name(name))?;
        let folder = Folder::share(folder)?;
        let path = path.to_owned();
        let mut medium = Self { file, folder, path, journal, was_cut_short: false };
        medium.recover()?;
        Ok(medium)
    }

    /// The medium as it is now.
    ///
    /// # Errors
    ///
    /// Where the process has too many files open.
    pub fn blob(&self) -> io::Result<Blob> {
        Blob::from_file(&self.path.display().to_string(), self.file.try_clone()?)
    }

    /// Whether an earlier change had been cut short and was taken back when this was opened.
    pub fn was_cut_short(&self) -> bool {
        self.was_cut_short
    }

    /// Whether others than its owner may read the medium; and its mode.
    pub fn is_open_to_others(&self) -> Option<u32> {
        let mode = self.file.metadata().ok()?.mode() & 0o7777;
        (mode & 0o077 != 0).then_some(mode)
    }

    /// Makes a change: journal, steps, each on the disk before the next. The journal stays until
    /// [`Changed::keep`].
    ///
    /// # Errors
    ///
    /// Whatever writing meets. The medium is as it was then, but for [`PatchError::Stuck`].
    pub fn change(&mut self, edit: &Edit) -> Result<Changed<'_>, PatchError> {
        let blob = self.blob().map_err(|source| self.unreadable(source))?;
        if edit.ranges().last().is_some_and(|range| range.end > blob.len()) {
            return Err(PatchError::Short { path: self.path.clone() });
        }
        if !Journal::holds(edit) {
            return Err(PatchError::TooLarge { path: self.path.clone() });
        }
        if edit.is_empty() {
            return Ok(Changed { medium: self, journal: None });
        }
        let inode = self.file.metadata().map_err(|source| self.unreadable(source))?.ino();
        let journal = Journal::new(edit, &blob, inode).map_err(|e| self.unreadable(e))?;
        self.put_journal(&journal.encode())?;
        let changed = Changed { medium: self, journal: Some(journal) };
        match changed.medium.write(edit) {
            Ok(()) => Ok(changed),
            Err(error) => {
                changed.take_back()?;
                Err(error.into())
            }
        }
    }

    /// Takes back what is left of an earlier change.
    fn recover(&mut self) -> Result<(), PatchError> {
        let path = self.folder.path_of(self.journal.as_str());
        if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(());
        }
        let untrusted = |why| PatchError::Untrusted { journal: path.clone(), why };
        let file = self.folder.read(self.journal.as_str());
        let file = file.map_err(|_| untrusted("cannot be opened as a file"))?;
        let found = file.metadata().map_err(|_| untrusted("cannot be opened as a file"))?;
        let owner = self.file.metadata().map_err(|e| self.unreadable(e))?.uid();
        let users = [owner, rustix::process::geteuid().as_raw()];
        if !users.contains(&found.uid()) || found.mode() & 0o077 != 0 {
            return Err(untrusted("is another user's, or others may write to it"));
        }
        let mut bytes = Vec::new();
        let read = file.take(journal::MAX_BYTES + 1).read_to_end(&mut bytes);
        let len =
            read.map_err(|source| SinkError::Read { name: path.display().to_string(), source });
        let is_small = len? as u64 <= journal::MAX_BYTES;
        let journal = is_small.then(|| Journal::decode(&bytes)).flatten();
        let journal = journal.ok_or_else(|| untrusted("is damaged"))?;
        self.take_back(&journal)?;
        self.was_cut_short = true;
        Ok(())
    }

    /// Takes back whatever of an edit reached the medium, and removes the journal.
    fn take_back(&self, journal: &Journal) -> Result<(), PatchError> {
        let inode = self.file.metadata().map_err(|e| self.unreadable(e))?.ino();
        let medium = self.blob().map_err(|source| self.unreadable(source))?;
        let way = match journal.len == medium.len() && journal.inode == inode {
            true => journal.way_back(&medium).map_err(|source| self.unreadable(source))?,
            false => None,
        };
        let way = way.ok_or_else(|| PatchError::Foreign {
            path: self.path.clone(),
            journal: self.folder.path_of(self.journal.as_str()),
        })?;
        let stuck = |source| PatchError::Stuck { path: self.path.clone(), source };
        for step in way.steps() {
            step.iter().try_for_each(|write| self.put_back(write)).map_err(stuck)?;
            self.file.sync_data().map_err(stuck)?;
        }
        Ok(self.folder.remove(&self.journal)?)
    }

    /// Writes the journal and syncs it, before it gets its name.
    fn put_journal(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let path = self.folder.path_of(self.journal.as_str());
        let aside = self.folder.aside(self.journal.as_str())?;
        aside.file.write_all_at(bytes, 0).map_err(|source| {
            let needed = bytes.len() as u64;
            self.folder.failure(path.clone(), needed, source)
        })?;
        aside.file.sync_all().map_err(|source| SinkError::Sync { path, source })?;
        let placed = self.folder.place_new(aside, &self.journal);
        if let Err(SinkError::Sync { .. }) = placed {
            // Nothing was changed yet. Where this fails too, there is nothing to take back later.
            let _ = self.folder.remove(&self.journal);
        }
        placed
    }

    /// Writes the steps, each on the disk before the next.
    fn write(&self, edit: &Edit) -> Result<(), SinkError> {
        for step in edit.steps() {
            for Write { at, bytes } in step {
                self.file.write_all_at(bytes, *at).map_err(|source| {
                    self.folder.failure(self.path.clone(), bytes.len() as u64, source)
                })?;
            }
            self.file
                .sync_data()
                .map_err(|source| SinkError::Sync { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    /// Writes old bytes. Where there is no room for them they may be there: a hole that the change
    /// had no room in either.
    fn put_back(&self, write: &Write) -> io::Result<()> {
        match self.file.write_all_at(&write.bytes, write.at) {
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {}
            written => return written,
        }
        for (n, page) in write.bytes.chunks(PAGE).enumerate() {
            let at = write.at + (n * PAGE) as u64;
            if let Err(error) = self.file.write_all_at(page, at) {
                let mut found = vec![0; page.len()];
                self.file.read_exact_at(&mut found, at)?;
                if found != page {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn unreadable(&self, source: io::Error) -> PatchError {
        SinkError::Read { name: self.path.display().to_string(), source }.into()
    }
}

impl Changed<'_> {
    /// The medium as it was written, to be read back.
    ///
    /// # Errors
    ///
    /// Where the process has too many files open.
    pub fn blob(&self) -> io::Result<Blob> {
        self.medium.blob()
    }

    /// Lets the change stay: removes what could take it back.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be removed, or that does not reach the disk. The change is taken
    /// back then.
    pub fn keep(mut self) -> Result<(), PatchError> {
        let Some(journal) = self.journal.take() else { return Ok(()) };
        self.medium.folder.remove(&self.medium.journal).map_err(|error| {
            match self.medium.take_back(&journal) {
                Err(stuck @ PatchError::Stuck { .. }) => stuck,
                _ => error.into(),
            }
        })
    }

    /// Takes the change back.
    ///
    /// # Errors
    ///
    /// [`PatchError::Stuck`], and whatever keeps the journal from being removed.
    pub fn take_back(mut self) -> Result<(), PatchError> {
        match self.journal.take() {
            Some(journal) => self.medium.take_back(&journal),
            None => Ok(()),
        }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        if let Some(journal) = self.journal.take() {
            // Where this fails the journal stays, and who opens the medium next tries again.
            let _ = self.medium.take_back(&journal);
        }
    }
}

fn unopened(path: &Path, source: io::Error) -> PatchError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => PatchError::Missing { path },
        _ => PatchError::NotWritable { path, source },
    }
}

/// What a thing is that is no regular file.
fn other_than_file(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile => None,
        FileType::Directory => Some("a folder"),
        FileType::BlockDevice => Some("a block device"),
        FileType::CharacterDevice => Some("a character device"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("no file"),
    }
}
