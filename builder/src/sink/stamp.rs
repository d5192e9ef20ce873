//! What the system says of a file, to tell later whether it is still the one that was written.
//!
//! In: files. Out: a [`Stamp`] of each.
//!
//! Whoever changes a file, replaces it or only renames it changes what is said here: the time of the
//! last change (`ctime`) is the kernel's own and cannot be set.
//!
//! Source: the manual pages statx(2), inode(7).
//!
//! Not here: what the files hold.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Length, place and times of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The length in bytes.
    pub len: u64,
    /// The number of the file system, and the file's there.
    pub place: (u64, u64),
    /// When the bytes were last changed: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// When bytes, names or permissions were last changed, likewise.
    pub changed: (i64, i64),
}

impl Stamp {
    /// What is said of a file.
    pub fn of(about: &Metadata) -> Self {
        Self {
            len: about.len(),
            place: (about.dev(), about.ino()),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// What is said of the regular file at a path; nothing where there is none. A symbolic link is
    /// none.
    pub fn at(path: &Path) -> Option<Self> {
        let about = path.symlink_metadata().ok()?;
        about.is_file().then(|| Self::of(&about))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn whatever_is_done_to_a_file_changes_its_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let stamp = || Stamp::at(&path);
        assert_eq!(stamp(), None);
        fs::write(&path, "one").unwrap();
        let first = stamp().unwrap();
        assert_eq!(stamp(), Some(first));
        fs::copy(&path, folder.path().join("b")).unwrap();
        fs::rename(folder.path().join("b"), &path).unwrap();
        let second = stamp().unwrap();
        assert_ne!(second, first);
        let wanted = fs::Permissions::from_mode(0o640);
        // The kernel's clock ticks a few times a hundredth of a second.
        while stamp() == Some(second) {
            fs::set_permissions(&path, wanted.clone()).unwrap();
        }
        fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", &path).unwrap();
        assert_eq!(stamp(), None);
    }
}
