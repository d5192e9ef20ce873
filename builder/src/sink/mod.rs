//! Where images go: files written aside, synced, renamed; or one that is there, changed.
//!
//! In: blobs and the names of files; edits. Out: files under those names, each complete, and the list
//! `SHA256SUMS` beside them; files changed wholly or not at all.
//!
//! A sink knows blobs and destinations, not Talos. What it promises of a file: under its final name
//! there is nothing, what was there before, or the whole of the new; it is nobody else's to read at
//! any instant; zeros take no room; and where the file system can share blocks, what an image has
//! in common with an earlier one takes no room either.
//!
//! Source: the manual pages open(2) (`O_TMPFILE`), `copy_file_range(2)`, `syncfs(2)`, `flock(2)`;
//! "Files are hard", <https://danluu.com/file-consistency/>, for the order of sync and rename.
//!
//! Not here: what an image holds, and whether what was written is what was meant (`inspect`).

use std::io;
use std::path::PathBuf;

use crate::report::Diagnostic;

pub mod name;
mod folder;
mod meter;
mod donors;
mod copy;
pub mod digests;
mod sums;
mod host;
pub mod stamp;
pub mod file;
pub mod private;
mod journal;
pub mod patch;
pub mod duplicate;
pub mod sparse;
pub mod shelf;
mod blocks;
pub mod qcow2;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
pub mod ova;
mod pieces;
pub mod zst;
pub mod xz;
pub mod gz;
pub mod bmap;

/// Told of bytes of the source that are done with; where it gives an error, the work ends with it.
pub type Tell<'a> = &'a (dyn Fn(u64) -> io::Result<()> + Sync);

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner (mode 0600): it may hold a secret.
    Owner,
    /// Everyone (mode 0644).
    World,
}

/// Why a file could not be written. No final name holds anything half-done after it.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A name that could leave the output folder, or that the list of digests cannot hold.
    #[error("`{name}` is no name for an output file: {why}")]
    Name {
        /// The name, with control characters escaped.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two files of one batch have one name.
    #[error("two outputs are named `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
    /// Something other than a folder is where a folder must be. Symbolic links count as such,
    /// except for the output folder itself.
    #[error("`{path}` is not a folder")]
    NotAFolder {
        /// Where.
        path: PathBuf,
    },
    /// A folder is where the file must be.
    #[error("`{path}` is a folder, and a file is to be written there")]
    IsAFolder {
        /// Where.
        path: PathBuf,
    },
    /// A folder inside the output folder lies on another file system.
    #[error("`{path}` is on another file system than the output folder")]
    OtherFileSystem {
        /// Where.
        path: PathBuf,
    },
    /// A file has the name that a new one was to get.
    #[error("`{path}` is there already")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Another process writes to the folder.
    #[error("another build is writing to `{path}`")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made, opened, locked or written to.
    #[error("`{path}` is not writable")]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system keeps no permissions, so that others could read the file.
    #[error("`{path}` would be readable by others (mode {mode:04o})")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// The mode that it got.
        mode: u32,
    },
    /// The disk is too full.
    #[error("`{path}` needs {needed} bytes, and {free} bytes are free there")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What its data take, in bytes; zeros take nothing.
        needed: u64,
        /// What the file system has left for this user, in bytes.
        free: u64,
    },
    /// A file that the image is made of could not be read.
    #[error("`{name}` could not be read")]
    Read {
        /// The input's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("`{path}` could not be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk did not take what was written. Whether a second try would help cannot be known: the
    /// kernel drops such pages, so it is not tried.
    #[error("`{path}` did not reach the disk")]
    Sync {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The batch was told to end, or had ended already.
    #[error("writing to `{path}` was stopped")]
    Stopped {
        /// The folder, or the file under way.
        path: PathBuf,
    },
    /// The finished file could not be given its name.
    #[error("`{path}` could not be put in place")]
    Place {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SinkError {
    /// What to do, as an imperative.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Name { .. } => "use a relative path of printable characters without `..`",
            Self::Twice { .. } => "give one of them another name",
            Self::NotAFolder { .. } => "move it away, or choose another output folder",
            Self::IsAFolder { .. } => "move it away, or choose another output folder",
            Self::OtherFileSystem { .. } => "name that folder itself as the output folder",
            Self::Exists { .. } => "name another file, or remove this one first",
            Self::Busy { .. } => "wait for it to end, or choose another output folder",
            Self::NotWritable { .. } => "choose another output folder, or mend its permissions",
            Self::NotPrivate { .. } => {
                "choose a folder on another file system, or mount this one with `umask=077`"
            }
            Self::NoSpace { .. } => "free some room, or choose another output folder",
            Self::Read { .. } => "look at the file and the disk it is on, then build again",
            Self::Stopped { .. } => "build again",
            Self::Write { .. } | Self::Sync { .. } | Self::Place { .. } => {
                "look at the disk of the output folder, then build again"
            }
        }
    }

    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "output-name",
            Self::Twice { .. } => "output-twice",
            Self::NotAFolder { .. } => "output-not-a-folder",
            Self::IsAFolder { .. } => "output-is-a-folder",
            Self::OtherFileSystem { .. } => "output-other-file-system",
            Self::Exists { .. } => "exists",
            Self::Busy { .. } => "output-busy",
            Self::NotWritable { .. } => "output-not-writable",
            Self::NotPrivate { .. } => "output-not-private",
            Self::NoSpace { .. } => "output-no-space",
            Self::Read { .. } => "input-read",
            Self::Write { .. } => "output-write",
            Self::Sync { .. } => "output-sync",
            Self::Stopped { .. } => "output-stopped",
            Self::Place { .. } => "output-place",
        }
    }

    /// The error as a finding: its cause in the message, what to do as help.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        };
        Diagnostic::error(self.code(), message).help(self.help())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_how_to_mend_it() {
        let full = SinkError::NoSpace { path: "out/cp-1.iso".into(), needed: 4096, free: 512 };
        insta::assert_snapshot!(full.diagnostic(), @r"
        error: `out/cp-1.iso` needs 4096 bytes, and 512 bytes are free there
        help: free some room, or choose another output folder
        ");
        let source = io::Error::from_raw_os_error(5);
        let sync = SinkError::Sync { path: "out/cp-1.iso".into(), source };
        insta::assert_snapshot!(sync.diagnostic(), @r"
        error: `out/cp-1.iso` did not reach the disk: Input/output error (os error 5)
        help: look at the disk of the output folder, then build again
        ");
    }
}
