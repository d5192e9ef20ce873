//! A changed copy of a file, beside it or elsewhere.
//!
//! In: a medium, an edit, a name that nobody has. Out: a file of that name, whole, mode 0600.
//!
//! The copy shares the medium's blocks where the file system can; else its data are copied and its
//! holes stay. It is changed before it has a name, so that no order of writes matters.
//!
//! Source: the manual pages `ioctl_ficlone(2)`, lseek(2) (`SEEK_DATA`), `copy_file_range(2)`.
//!
//! Not here: what is changed (`custom`), and changes of a file where it lies (`patch`).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::blob::{Blob, Builder, Source};
use crate::edit::{Edit, Write};
use crate::report::progress::Task;
use crate::sink::SinkError;
use crate::sink::copy::{self, Copier, Home};
use crate::sink::folder::{Aside, Folder};
use crate::sink::meter::{Halt, Meter};
use crate::sink::name::Name;

/// A changed copy that is complete but has no name yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Duplicate {
    folder: Folder,
    name: Name,
    aside: Aside,
}

impl Duplicate {
    /// Copies a medium and changes the copy. `progress` is told of the medium's length.
    ///
    /// # Errors
    ///
    /// [`SinkError::Exists`] where something has the name; whatever reading the medium or writing
    /// meets. Nothing is left of the copy then.
    ///
    /// # Panics
    ///
    /// Where the edit writes past the medium.
    pub fn write(
        medium: &Blob,
        edit: &Edit,
        out: &Path,
        progress: &Task,
    ) -> Result<Self, SinkError> {
        let (folder, name) = split(out)?;
        if out.symlink_metadata().is_ok() {
            return Err(SinkError::Exists { path: out.to_owned() });
        }
        let folder = Folder::share(folder)?;
        let aside = folder.aside(name.as_str())?;
        match fill(&aside.file, medium, edit, progress) {
            Ok(()) => Ok(Self { folder, name, aside }),
            Err(halt) => {
                drop(aside);
                Err(failure(&folder, halt, medium, out.to_owned()))
            }
        }
    }

    /// The copy as it was written, to be read back.
    ///
    /// # Errors
    ///
    /// Where the process has too many files open.
    pub fn blob(&self) -> io::Result<Blob> {
        Blob::from_file(self.name.as_str(), self.aside.file.try_clone()?)
    }

    /// Syncs the copy and gives it its name.
    ///
    /// # Errors
    ///
    /// Where the disk does not take it, or something got the name meanwhile: that stays.
    pub fn keep(self) -> Result<(), SinkError> {
        let path = self.folder.path_of(self.name.as_str());
        self.aside.file.sync_all().map_err(|source| SinkError::Sync { path, source })?;
        self.folder.place_new(self.aside, &self.name)
    }
}

/// The folder of a file, and its name there.
fn split(out: &Path) -> Result<(&Path, Name), SinkError> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_folder = out.as_os_str().as_encoded_bytes().ends_with(b"/") || out.is_dir();
    match out.file_name().and_then(|name| name.to_str()) {
        Some(name) if !is_folder => Ok((folder, Name::parse(name)?)),
        _ if is_folder => Err(SinkError::IsAFolder { path: out.to_owned() }),
        _ => Err(SinkError::Name {
            name: out.to_string_lossy().escape_debug().to_string(),
            why: "it is no text, or names no file",
        }),
    }
}

fn fill(out: &File, medium: &Blob, edit: &Edit, progress: &Task) -> Result<(), Halt> {
    if whole_file(medium).is_some_and(|file| rustix::fs::ioctl_ficlone(out, file).is_ok()) {
        progress.add(medium.len());
    } else {
        out.set_len(medium.len()).map_err(Halt::Write)?;
        Copier::default().copy(&without_holes(medium), None, out, &Meter::of_copier(progress))?;
    }
    for Write { at, bytes } in edit.steps().iter().flatten() {
        assert!(at + bytes.len() as u64 <= medium.len(), "an edit keeps the length");
        out.write_all_at(bytes, *at).map_err(Halt::Write)?;
    }
    Ok(())
}

/// The file whose bytes, from its first to its last, the blob is.
fn whole_file(medium: &Blob) -> Option<&File> {
    let [extent] = medium.extents() else { return None };
    match &extent.source {
        Source::File(input, 0) => {
            let len = input.file.metadata().ok()?.len();
            (len == extent.len).then_some(&input.file)
        }
        _ => None,
    }
}

/// The same bytes, those in holes of the file as zeros; as they are where no holes are told.
pub fn without_holes(medium: &Blob) -> Blob {
    let Some(file) = whole_file(medium) else { return medium.clone() };
    let mut out = Builder::default();
    while out.len() < medium.len() {
        let start = match rustix::fs::seek(file, SeekFrom::Data(out.len())) {
            Ok(start) => start.min(medium.len()),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => medium.len(),
            Err(_) => return medium.clone(),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(medium.len()),
            Err(_) => medium.len(),
        };
        let at = out.len();
        // It cannot be, but must not go on for ever.
        if start < at || end < start || end == at {
            return medium.clone();
        }
        out = out.zeros("hole", start - at).blob(&medium.slice(start..end));
    }
    out.finish()
}

fn failure(folder: &Folder, halt: Halt, medium: &Blob, path: PathBuf) -> SinkError {
    match halt {
        Halt::Read { name, source } => SinkError::Read { name, source },
        Halt::Write(source) => {
            let home = Home { sharing_device: None, block: 4096 };
            let needed = match source.kind() {
                ErrorKind::StorageFull => copy::needed(&without_holes(medium), None, home),
                _ => 0,
            };
            folder.failure(path, needed, source)
        }
        Halt::Stopped | Halt::Interrupted => {
            unreachable!("there is nobody who stops the copier")
        }
    }
}
