//! The output folder: held for one process, swept, and the only way to a file's final name.
//!
//! In: a path. Out: [`Aside`] files without a name or with a temporary one, and the act of giving
//! them their final name.
//!
//! Source: the manual pages open(2) (`O_TMPFILE`), linkat(2), rename(2), flock(2),
//! ioctl_ficlone(2).
//!
//! Not here: what the files hold (`copy`), and when they are synced (`file`).

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sink::name::{Name, TEMPORARY};
use crate::sink::{Access, SinkError};

/// What the names of our temporary files end with.
const TEMPORARY_END: &str = ".tmp";

/// The file that is locked where a folder cannot be, as on NFS.
const LOCK: &str = ".talforge-lock";

/// The mode of everything until it is told otherwise.
const PRIVATE: u32 = 0o600;

/// How folders are opened: never through a symbolic link.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a file is while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hiding {
    /// Nowhere (`O_TMPFILE`): it ends with its process.
    Nameless,
    /// Under a temporary name, for file systems without `O_TMPFILE`.
    Named,
}

/// Whether files of the folder can share blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// They can: XFS, Btrfs, bcachefs.
    Yes,
    /// They cannot.
    No,
}

/// A locked folder, or file in it.
#[derive(Debug)]
struct Lock(Arc<OwnedFd>);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a process that was forked meanwhile and has not called
        // another program yet. Where this fails there is no harm but that.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The output folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    /// The file system's number, to tell whether a file is on it.
    pub(super) device: u64,
    /// Whether its files can share blocks.
    pub(super) sharing: Sharing,
    hiding: Hiding,
    made: AtomicU64,
    _lock: Lock,
}

/// A file that has not got its final name. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Aside {
    /// The file, open for reading and writing.
    pub(super) file: Arc<File>,
    name: Option<Temporary>,
}

/// A temporary name, empty once the file has another. Dropped, it is removed.
#[derive(Debug)]
struct Temporary {
    folder: Arc<OwnedFd>,
    name: String,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Where this fails the next run's sweep removes it.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

impl Folder {
    /// Opens the folder, which is made if missing (mode 0755), keeps other processes out of it, and
    /// removes the temporary files of runs that were killed.
    pub(super) fn open(path: &Path) -> Result<Self, SinkError> {
        let fd = Arc::new(make(path).map_err(|source| refused(path, source))?);
        let lock = lock(&fd, path, FlockOperation::NonBlockingLockExclusive)?;
        sweep(&fd)
            .map_err(|errno| SinkError::NotWritable { path: path.into(), source: errno.into() })?;
        Self::locked(fd, path, lock)
    }

    /// Opens a folder that is there. Others may do so at the same time, but none may have opened it
    /// alone, as [`Folder::open`] does.
    pub(super) fn share(path: &Path) -> Result<Self, SinkError> {
        let fd = Arc::new(enter(path).map_err(|source| refused(path, source))?);
        let lock = lock(&fd, path, FlockOperation::NonBlockingLockShared)?;
        Self::locked(fd, path, lock)
    }

    fn locked(fd: Arc<OwnedFd>, path: &Path, lock: Lock) -> Result<Self, SinkError> {
        let not_writable =
            |source: io::Error| SinkError::NotWritable { path: path.to_owned(), source };
        let device = rustix::fs::fstat(&*fd).map_err(|e| not_writable(e.into()))?.st_dev;
        let mut folder = Self {
            fd,
            path: path.to_owned(),
            device,
            sharing: Sharing::No,
            hiding: Hiding::Nameless,
            made: AtomicU64::new(0),
            _lock: lock,
        };
        folder.probe().map_err(not_writable)?;
        Ok(folder)
    }

    /// The path of a file in the folder, for messages.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The open folder, to sync its file system.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Makes a file aside, mode 0600 from the first instant.
    pub(super) fn aside(&self, name: &str) -> Result<Aside, SinkError> {
        let path = self.path_of(name);
        let aside =
            self.hidden().map_err(|source| SinkError::Write { path: path.clone(), source })?;
        admit(&aside.file, Access::Owner, path)?;
        Ok(aside)
    }

    /// Looks whether a file may get the name: a folder in its place, a symbolic link or another
    /// file system on its way are refused, before anything is written.
    pub(super) fn admits(&self, name: &Name) -> Result<(), SinkError> {
        let (_, file) = name.split();
        let Some(folder) = self.descend(name, Missing::Stop)? else { return Ok(()) };
        let stat = rustix::fs::statat(&folder, file, AtFlags::SYMLINK_NOFOLLOW);
        match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Directory) => {
                Err(SinkError::IsAFolder { path: self.path_of(name.as_str()) })
            }
            _ => Ok(()),
        }
    }

    /// Gives a file its final name, in place of what had it before.
    pub(super) fn place(&self, aside: Aside, name: &Name) -> Result<(), SinkError> {
        let folder = self.descend(name, Missing::Make)?.expect("missing folders were made");
        self.place_in(&folder, aside, name.split().1)
            .map_err(|source| SinkError::Place { path: self.path_of(name.as_str()), source })
    }

    /// Gives a file its name, which nobody may have; and syncs the folder.
    pub(super) fn place_new(&self, aside: Aside, name: &Name) -> Result<(), SinkError> {
        let path = || self.path_of(name.as_str());
        let linked = match &aside.name {
            None => link(&aside.file, &self.fd, name.as_str()),
            Some(temporary) => rustix::fs::linkat(
                &self.fd,
                &temporary.name,
                &self.fd,
                name.as_str(),
                AtFlags::empty(),
            ),
        };
        // A temporary name goes before the folder is synced.
        drop(aside);
        match linked {
            Ok(()) => self.sync(),
            Err(Errno::EXIST) => Err(SinkError::Exists { path: path() }),
            Err(errno) => Err(SinkError::Place { path: path(), source: errno.into() }),
        }
    }

    /// Removes a file of the folder; and syncs the folder.
    pub(super) fn remove(&self, name: &Name) -> Result<(), SinkError> {
        match rustix::fs::unlinkat(&self.fd, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(errno) => {
                Err(SinkError::Write { path: self.path_of(name.as_str()), source: errno.into() })
            }
        }
    }

    /// What a failed write means. `needed` are the bytes that the file takes.
    pub(super) fn failure(&self, path: PathBuf, needed: u64, source: io::Error) -> SinkError {
        if source.kind() != ErrorKind::StorageFull {
            return SinkError::Write { path, source };
        }
        let room = rustix::fs::fstatvfs(&self.fd);
        let free = room.map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize));
        SinkError::NoSpace { path, needed, free }
    }

    /// Syncs the names in the folder.
    fn sync(&self) -> Result<(), SinkError> {
        sync_folder(&self.fd)
            .map_err(|errno| SinkError::Sync { path: self.path.clone(), source: errno.into() })
    }

    /// Opens a folder inside, given by the path of [`Name::folders`], or the folder itself.
    pub(super) fn inner(&self, path: Option<&str>) -> Result<Arc<OwnedFd>, SinkError> {
        let mut fd = self.fd.clone();
        let mut so_far = self.path.clone();
        for part in path.into_iter().flat_map(|path| path.split('/')) {
            so_far.push(part);
            let next = retry_on_intr(|| rustix::fs::openat(&fd, part, FOLDER, Mode::empty()));
            fd = Arc::new(next.map_err(|errno| refused(&so_far, errno.into()))?);
        }
        Ok(fd)
    }

    /// Opens an existing regular file of the folder for reading.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            File::from(retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty()))?);
        let is_file = file.metadata()?.is_file();
        is_file.then_some(file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether the folder has a regular file of that name.
    pub(super) fn has(&self, name: &Name) -> bool {
        let Ok(Some(folder)) = self.descend(name, Missing::Stop) else { return false };
        let stat = rustix::fs::statat(&folder, name.split().1, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// Walks to the folder that a file lies in.
    fn descend(&self, name: &Name, missing: Missing) -> Result<Option<Arc<OwnedFd>>, SinkError> {
        let mut fd = self.fd.clone();
        for folder in name.folders() {
            let part = folder.rsplit_once('/').map_or(folder, |(_, part)| part);
            let path = || self.path_of(folder);
            match step(&fd, part, missing) {
                Ok(Some(next)) => fd = Arc::new(next),
                Ok(None) => return Ok(None),
                Err(errno) => return Err(refused(&path(), errno.into())),
            }
            // Neither a link nor a rename crosses file systems, nor do Btrfs' subvolumes let them.
            let stat = rustix::fs::fstat(&*fd).map_err(|e| refused(&path(), e.into()))?;
            if stat.st_dev != self.device {
                return Err(SinkError::OtherFileSystem { path: path() });
            }
        }
        Ok(Some(fd))
    }

    /// Finds out what the file system can do, by two empty files.
    fn probe(&mut self) -> io::Result<()> {
        let first = match self.nameless() {
            // The way to a name leads through `/proc`.
            Ok(file) if Path::new(&by_number(&file)).exists() => file,
            _ => {
                self.hiding = Hiding::Named;
                self.hidden()?.file
            }
        };
        let second = self.hidden()?;
        if rustix::fs::ioctl_ficlone(&*second.file, &*first).is_ok() {
            self.sharing = Sharing::Yes;
        }
        Ok(())
    }

    fn hidden(&self) -> io::Result<Aside> {
        match self.hiding {
            Hiding::Nameless => Ok(Aside { file: self.nameless()?, name: None }),
            Hiding::Named => self.named(),
        }
    }

    fn nameless(&self) -> io::Result<Arc<File>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PRIVATE);
        let fd = retry_on_intr(|| rustix::fs::openat(&self.fd, ".", flags, mode))?;
        Ok(Arc::new(File::from(fd)))
    }

    fn named(&self) -> io::Result<Aside> {
        let name = self.temporary();
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PRIVATE);
        let fd = retry_on_intr(|| rustix::fs::openat(&self.fd, &name, flags, mode))?;
        let name = Temporary { folder: self.fd.clone(), name };
        Ok(Aside { file: Arc::new(File::from(fd)), name: Some(name) })
    }

    fn temporary(&self) -> String {
        let made = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{TEMPORARY}{}-{made}{TEMPORARY_END}", std::process::id())
    }

    fn place_in(&self, folder: &OwnedFd, aside: Aside, name: &str) -> io::Result<()> {
        let Aside { file, name: temporary } = aside;
        let mut temporary = match temporary {
            Some(temporary) => temporary,
            None => match link(&file, folder, name) {
                Err(Errno::EXIST) => self.link_temporarily(&file)?,
                linked => return Ok(linked?),
            },
        };
        rustix::fs::renameat(&self.fd, &temporary.name, folder, name)?;
        temporary.name.clear();
        Ok(())
    }

    /// A link cannot take another file's place, but a rename can: so a name to rename from.
    fn link_temporarily(&self, file: &File) -> io::Result<Temporary> {
        let name = self.temporary();
        link(file, &self.fd, &name)?;
        Ok(Temporary { folder: self.fd.clone(), name })
    }
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy)]
enum Missing {
    Make,
    Stop,
}

/// One step down. Gives nothing where the folder is missing and is not to be made.
fn step(fd: &OwnedFd, part: &str, missing: Missing) -> rustix::io::Result<Option<OwnedFd>> {
    let open = || retry_on_intr(|| rustix::fs::openat(fd, part, FOLDER, Mode::empty()));
    match (open(), missing) {
        (Ok(next), _) => Ok(Some(next)),
        (Err(Errno::NOENT), Missing::Stop) => Ok(None),
        (Err(Errno::NOENT), Missing::Make) => {
            match rustix::fs::mkdirat(fd, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => open().map(Some),
                Err(errno) => Err(errno),
            }
        }
        (Err(errno), _) => Err(errno),
    }
}

/// Sets a file's mode, whatever the umask made of it, and looks whether the file system kept it.
pub(super) fn admit(file: &File, access: Access, path: PathBuf) -> Result<(), SinkError> {
    let wanted = match access {
        Access::Owner => PRIVATE,
        Access::World => 0o644,
    };
    // FAT refuses modes it cannot store; what counts is the mode that it shows.
    let set = file.set_permissions(Permissions::from_mode(wanted));
    let mode = match file.metadata() {
        Ok(metadata) => metadata.mode() & 0o7777,
        Err(source) => return Err(SinkError::Write { path, source }),
    };
    match (access, set) {
        (Access::Owner, _) if mode & 0o077 != 0 => Err(SinkError::NotPrivate { path, mode }),
        (_, Err(source)) if source.raw_os_error() != Some(Errno::PERM.raw_os_error()) => {
            Err(SinkError::Write { path, source })
        }
        _ => Ok(()),
    }
}

/// Opens the folder; makes it and those above it where missing, so that they outlast a power cut.
fn make(path: &Path) -> io::Result<OwnedFd> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && matches!(p.try_exists(), Ok(false)))
        .collect();
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    for made in missing {
        let parent = match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_folder(&OwnedFd::from(File::open(parent)?))?;
    }
    enter(path)
}

/// Opens the folder, which may be reached by a symbolic link: the user named it.
fn enter(path: &Path) -> io::Result<OwnedFd> {
    let flags = FOLDER.difference(OFlags::NOFOLLOW);
    Ok(retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?)
}

/// Syncs the names in a folder.
pub(super) fn sync_folder(fd: &OwnedFd) -> rustix::io::Result<()> {
    match retry_on_intr(|| rustix::fs::fsync(fd)) {
        // The file system has no such thing for folders, as POSIX allows.
        Err(Errno::INVAL) => Ok(()),
        synced => synced,
    }
}

fn refused(path: &Path, source: io::Error) -> SinkError {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::NOTDIR | Errno::EXIST | Errno::LOOP) => SinkError::NotAFolder { path },
        _ => SinkError::NotWritable { path, source },
    }
}

/// Locks the folder, or a file in it where folders cannot be locked. The lock ends with the process
/// at the latest, however that ends.
fn lock(fd: &Arc<OwnedFd>, path: &Path, how: FlockOperation) -> Result<Lock, SinkError> {
    let not_writable = |errno: Errno| SinkError::NotWritable {
        path: path.to_owned(),
        source: io::Error::from(errno),
    };
    let busy = || SinkError::Busy { path: path.to_owned() };
    match try_lock(fd, how) {
        Ok(()) => return Ok(Lock(fd.clone())),
        Err(Errno::WOULDBLOCK) => return Err(busy()),
        // NFS locks only what is open for writing, which no folder can be.
        Err(_) => {}
    }
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(PRIVATE);
    let file = retry_on_intr(|| rustix::fs::openat(fd, LOCK, flags, mode)).map_err(not_writable)?;
    match try_lock(&file, how) {
        Ok(()) => Ok(Lock(Arc::new(file))),
        Err(Errno::WOULDBLOCK) => Err(busy()),
        Err(errno) => Err(not_writable(errno)),
    }
}

fn try_lock(fd: &OwnedFd, how: FlockOperation) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::flock(fd, how))
}

/// Removes the temporary files of dead runs. All are: the lock is ours.
fn sweep(fd: &OwnedFd) -> rustix::io::Result<()> {
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        if entry.file_name().to_str().is_ok_and(is_temporary) {
            let removed = rustix::fs::unlinkat(fd, entry.file_name(), AtFlags::empty());
            // A folder of such a name is not ours.
            if !matches!(removed, Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM)) {
                return removed;
            }
        }
    }
    Ok(())
}

/// Whether it is `.talforge-<digits>-<digits>.tmp`.
fn is_temporary(name: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix(TEMPORARY)
        .and_then(|rest| rest.strip_suffix(TEMPORARY_END))
        .and_then(|middle| middle.split_once('-'))
        .is_some_and(|(process, count)| digits(process) && digits(count))
}

/// The way to a file without a name.
fn by_number(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn link(file: &File, folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    rustix::fs::linkat(CWD, by_number(file), folder, name, AtFlags::SYMLINK_FOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn put(folder: &Folder, at: &str, content: &[u8]) -> Result<(), SinkError> {
        let aside = folder.aside(at)?;
        (&*aside.file).write_all(content).unwrap();
        folder.place(aside, &name(at))
    }

    fn listing(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Both ways of hiding a file give the same: new, in place of an old one, in a folder inside.
    #[test]
    fn a_file_gets_its_name_however_it_was_hidden() {
        for hiding in [Hiding::Nameless, Hiding::Named] {
            let dir = tempfile::tempdir().unwrap();
            let mut folder = Folder::open(dir.path()).unwrap();
            folder.hiding = hiding;
            for content in ["first", "second"] {
                for at in ["a", "b/c/d"] {
                    put(&folder, at, content.as_bytes()).unwrap();
                    let path = dir.path().join(at);
                    assert_eq!(fs::read_to_string(&path).unwrap(), content);
                    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
                }
            }
            assert_eq!(listing(dir.path()), ["a", "b"], "{hiding:?}");
        }
    }

    #[test]
    fn a_file_that_is_dropped_leaves_nothing() {
        for hiding in [Hiding::Nameless, Hiding::Named] {
            let dir = tempfile::tempdir().unwrap();
            let mut folder = Folder::open(dir.path()).unwrap();
            folder.hiding = hiding;
            let aside = folder.aside("a").unwrap();
            assert_eq!(aside.file.metadata().unwrap().mode() & 0o7777, 0o600);
            drop(aside);
            assert!(listing(dir.path()).is_empty(), "{hiding:?}");
        }
    }

    #[test]
    fn a_symbolic_link_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), dir.path().join("w-1")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let want = dir.path().join("w-1");
        for result in [folder.admits(&name("w-1/vmlinuz")), put(&folder, "w-1/vmlinuz", b"x")] {
            let error = result.unwrap_err();
            assert!(matches!(&error, SinkError::NotAFolder { path } if *path == want), "{error:?}");
        }
        assert!(listing(elsewhere.path()).is_empty());
    }

    /// A link in the file's own place is replaced; what it points to stays.
    #[test]
    fn a_symbolic_link_in_the_files_place_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "precious").unwrap();
        symlink("precious", dir.path().join("a")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        put(&folder, "a", b"new").unwrap();
        assert!(fs::symlink_metadata(dir.path().join("a")).unwrap().is_file());
        assert_eq!(fs::read_to_string(dir.path().join("precious")).unwrap(), "precious");
    }

    #[test]
    fn a_folder_in_the_files_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(matches!(folder.admits(&name("a")), Err(SinkError::IsAFolder { .. })));
    }

    #[test]
    fn a_second_writer_is_told_that_the_folder_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(SinkError::Busy { .. })));
        // What a forked process would hold does not prolong it.
        let _inherited = first.fd.try_clone().unwrap();
        drop(first);
        Folder::open(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_is_shared_or_somebodys_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::share(dir.path()).unwrap();
        let second = Folder::share(dir.path()).unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(SinkError::Busy { .. })));
        drop((first, second));
        let alone = Folder::open(dir.path()).unwrap();
        assert!(matches!(Folder::share(dir.path()), Err(SinkError::Busy { .. })));
        drop(alone);
        Folder::share(dir.path()).unwrap();
    }

    /// A new file does not take another's name, however it was hidden, and leaves nothing then.
    #[test]
    fn a_new_file_takes_nobodys_name() {
        for hiding in [Hiding::Nameless, Hiding::Named] {
            let dir = tempfile::tempdir().unwrap();
            let mut folder = Folder::share(dir.path()).unwrap();
            folder.hiding = hiding;
            for content in ["first", "second"] {
                let aside = folder.aside("a").unwrap();
                (&*aside.file).write_all(content.as_bytes()).unwrap();
                let placed = folder.place_new(aside, &name("a"));
                let is_there = matches!(placed, Err(SinkError::Exists { .. }));
                assert_eq!(is_there, content == "second", "{hiding:?}: {placed:?}");
            }
            assert_eq!(listing(dir.path()), ["a"], "{hiding:?}");
            assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "first");
            folder.remove(&name("a")).unwrap();
            assert!(listing(dir.path()).is_empty());
        }
    }

    #[test]
    fn a_sweep_takes_our_temporaries_only() {
        let dir = tempfile::tempdir().unwrap();
        let others = [".talforge-1-x.tmp", ".talforge-lock", ".talforge-notes.tmp", "a.tmp"];
        for name in others.iter().chain(&[".talforge-1-2.tmp", ".talforge-99-1.tmp"]) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".talforge-7-7.tmp")).unwrap();
        Folder::open(dir.path()).unwrap();
        let mut want: Vec<_> = others.iter().chain(&[".talforge-7-7.tmp"]).collect();
        want.sort();
        assert_eq!(listing(dir.path()).iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn missing_folders_are_made_and_a_file_in_their_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Folder::open(&dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for at in ["file", "file/inner"] {
            let error = Folder::open(&dir.path().join(at)).unwrap_err();
            assert!(matches!(error, SinkError::NotAFolder { .. }), "{error:?}");
        }
    }
}
