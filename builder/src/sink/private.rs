//! Files that only their owner may read.
//!
//! In: paths and bytes. Out: each file, whole or not at all.
//!
//! Source: the manual pages open(2), link(2), rename(2), syncfs(2).
//!
//! Not here: media, which come in batches (`file`).

use std::io::{self, Write as _};
use std::path::Path;

use tempfile::Builder;

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// It stays, and that is an error.
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes a file with mode 0600: aside first, synced, then put in place. Nobody sees a part of it,
/// and a file that must stay is never touched, not even between a look and a write.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`], or what the machine says.
pub fn write(path: &Path, bytes: &[u8], old: Old) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = Builder::new().prefix(".talforge-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match old {
        Old::Keep => file.persist_noclobber(path).map_err(|error| error.error)?,
        Old::Replace => file.persist(path).map_err(|error| error.error)?,
    };
    std::fs::File::open(folder)?.sync_all()
}

/// Writes files into a folder as [`write()`] does, replacing those that are there; but syncs them all
/// at once, before the first gets its name.
///
/// # Errors
///
/// What the machine says. Files that have their names by then keep them.
pub fn write_all<'f>(
    folder: &Path,
    files: impl IntoIterator<Item = (String, &'f [u8])>,
) -> io::Result<()> {
    let mut aside = Vec::new();
    for (name, bytes) in files {
        let mut file = Builder::new().prefix(".talforge-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        // Closed: a process may have a thousand files open, and there may be more nodes.
        aside.push((name, file.into_temp_path()));
    }
    let home = std::fs::File::open(folder)?;
    rustix::fs::syncfs(&home)?;
    for (name, file) in aside {
        file.persist(folder.join(name)).map_err(|error| error.error)?;
    }
    home.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_and_stays_unless_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.yaml");
        write(&path, b"one", Old::Keep).unwrap();
        let error = write(&path, b"two", Old::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write(&path, b"two", Old::Replace).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_files_get_their_names_together() {
        let folder = tempfile::tempdir().unwrap();
        let files = (0..1500).map(|n| (format!("{n}.yaml"), b"x".as_slice()));
        write_all(folder.path(), files).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1500);
    }
}
