//! What the machine and the file system of a folder give to a batch.
//!
//! In: an open folder. Out: room, how many files may be open, whether syncs tell of errors.
//!
//! Source: the manual pages getrlimit(2), fstatfs(2), statvfs(3), uname(2), syncfs(2); Linux
//! `include/uapi/linux/magic.h`.
//!
//! Not here: what is done with it (`file`).

use std::path::Path;

use rustix::process::{Resource, Rlimit};

use crate::sink::SinkError;
use crate::sink::copy::Home;
use crate::sink::folder::{Folder, Sharing};

/// File descriptors that are left to everything but waiting files.
const SPARE: u64 = 256;

/// The bounds of a block's size, in bytes, as far as we believe a file system.
const BLOCKS: std::ops::RangeInclusive<u64> = 512..=65_536;

/// FUSE hands syncfs to no server, so that it proves nothing.
const FUSE: u64 = 0x6573_5546;

/// The first release of Linux whose syncfs tells of errors.
const TELLING: (u32, u32) = (5, 8);

/// The room on a file system.
pub(super) struct Room {
    /// The bytes left for this user, where the file system tells.
    pub(super) free: Option<u64>,
    /// What it can do.
    pub(super) home: Home,
}

impl Room {
    /// What the file system of a folder has and can do; `path` is for messages.
    pub(super) fn of(folder: &Folder, path: &Path) -> Result<Self, SinkError> {
        let stat = rustix::fs::fstatvfs(folder.fd())
            .map_err(|e| SinkError::Write { path: path.to_owned(), source: e.into() })?;
        let is_block = stat.f_bsize.is_power_of_two() && BLOCKS.contains(&stat.f_bsize);
        let sharing_device = (folder.sharing == Sharing::Yes).then_some(folder.device);
        // Some FUSE file systems tell nothing: then all is 0.
        let tells = stat.f_blocks > 0;
        Ok(Self {
            free: tells.then(|| stat.f_bavail.saturating_mul(stat.f_frsize)),
            home: Home { sharing_device, block: if is_block { stat.f_bsize } else { 4096 } },
        })
    }
}

/// How many files may wait for their names, at most `most`: half of what the process may have open,
/// because those of a batch that is being put in place are open, too. The process takes as many file
/// descriptors as it is allowed to.
pub(super) fn most_waiting(most: usize) -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it stays as it is, fewer files wait.
    let _ = rustix::process::setrlimit(Resource::Nofile, wanted);
    let current = rustix::process::getrlimit(Resource::Nofile).current;
    let files = current.map(|current| current.saturating_sub(SPARE) / 2);
    files.and_then(|files| usize::try_from(files).ok()).unwrap_or(most).clamp(16, most)
}

/// Whether syncfs tells of errors on the folder's file system.
pub(super) fn is_told(folder: &Folder) -> bool {
    let kind = rustix::fs::fstatfs(folder.fd()).map(|stat| u64::try_from(stat.f_type));
    let release = rustix::system::uname();
    is_telling(&release.release().to_string_lossy()) && kind.is_ok_and(|kind| kind != Ok(FUSE))
}

/// Whether a kernel's release is new enough: `6.1.0-13-amd64`.
fn is_telling(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!(
        (numbers.next(), numbers.next()),
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= TELLING
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told_apart() {
        for (release, is_new) in [
            ("6.1.0-13-amd64", true),
            ("5.8", true),
            ("5.7.19", false),
            ("4.19.0", false),
            ("10.0", true),
            ("5.x", false),
            ("", false),
        ] {
            assert_eq!(is_telling(release), is_new, "{release}");
        }
    }

    #[test]
    fn as_many_files_wait_as_may_be_open() {
        let few = most_waiting(100);
        assert!((16..=100).contains(&few));
        assert!(most_waiting(4096) >= few);
    }
}
