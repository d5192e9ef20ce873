//! Archives in cpio's "newc" format, as the Linux kernel unpacks them at boot.
//!
//! In: directories and files with their contents. Out: one archive as a [`Blob`].
//!
//! Source: the Linux kernel's documentation, "initramfs buffer format",
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>; that numbers have eight
//! digits and names end in a NUL is from cpio(5).
//!
//! Not here: compression, hard links, devices, reading archives.

use std::collections::BTreeMap;

use crate::blob::{Blob, Builder};

/// The longest name that the kernel unpacks, its NUL included (`PATH_MAX`). Longer ones are skipped
/// without a word.
const MAX_NAME: usize = 4096;

/// The multiple of bytes to which an archive is filled up, as cpio does.
const RECORD: u64 = 512;

/// The name of the record that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// A directory or a file of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path from the root, without a leading slash: `usr/lib/firmware`.
    pub path: String,
    /// The twelve permission bits: `0o644`. Higher bits are dropped.
    pub permissions: u16,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file of these bytes.
    File(Blob),
}

/// Why entries make no archive.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// The path is empty, absolute, has an empty, `.` or `..` part or a NUL, or is too long.
    #[error("`{0}` is no path inside an archive")]
    Path(String),
    /// The path comes twice.
    #[error("`{0}` is in the archive twice")]
    Duplicate(String),
    /// The kernel makes no parents, so that the entry would be lost.
    #[error("`{0}` comes before the directory that holds it")]
    Orphan(String),
    /// The format has 32 bits for a size.
    #[error("`{path}` has {len} bytes; a cpio archive holds files below 4 GiB")]
    TooLarge {
        /// The file.
        path: String,
        /// Its length in bytes.
        len: u64,
    },
}

/// Writes an archive of `entries` in their order, all owned by root and last changed at `epoch`
/// (seconds since 1970).
///
/// # Errors
///
/// Where a path is not one, comes twice or before its directory, or a file is too long.
pub fn write(entries: &[Entry], epoch: u32) -> Result<Blob, CpioError> {
    check_paths(entries)?;
    let mut archive = Builder::default();
    for (inode, entry) in (1..).zip(entries) {
        let header = header(entry, inode, epoch)?;
        archive = archive.bytes("cpio header", header.record(&entry.path));
        if let Kind::File(content) = &entry.kind {
            archive = archive.blob(content).align(4);
        }
    }
    let trailer = Header { links: 1, ..Header::default() };
    Ok(archive.bytes("cpio trailer", trailer.record(TRAILER)).align(RECORD).finish())
}

fn check_paths(entries: &[Entry]) -> Result<(), CpioError> {
    let mut seen: BTreeMap<&str, &Kind> = BTreeMap::new();
    for Entry { path, kind, .. } in entries {
        let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
        if path.split('/').any(bad) || path.len() >= MAX_NAME || path == TRAILER {
            return Err(CpioError::Path(path.clone()));
        }
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !matches!(seen.get(parent), Some(Kind::Dir))) {
            return Err(CpioError::Orphan(path.clone()));
        }
        if seen.insert(path, kind).is_some() {
            return Err(CpioError::Duplicate(path.clone()));
        }
    }
    Ok(())
}

fn header(entry: &Entry, inode: u32, epoch: u32) -> Result<Header, CpioError> {
    let (kind, links, len) = match &entry.kind {
        Kind::Dir => (0o040_000, 2, 0),
        Kind::File(content) => (0o100_000, 1, content.len()),
    };
    let size =
        u32::try_from(len).map_err(|_| CpioError::TooLarge { path: entry.path.clone(), len })?;
    let mode = kind | u32::from(entry.permissions & 0o7777);
    Ok(Header { inode, mode, links, mtime: epoch, size })
}

/// The fields of a record's header that are not always 0.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    mtime: u32,
    size: u32,
}

impl Header {
    /// The header and the name after it, filled up to 4 bytes.
    fn record(&self, name: &str) -> Vec<u8> {
        let Self { inode, mode, links, mtime, size } = *self;
        let name_size = u32::try_from(name.len() + 1).expect("names are checked to be short");
        let (uid, gid, major, minor, check) = (0, 0, 0, 0, 0);
        let fields = [
            inode, mode, uid, gid, links, mtime, size, major, minor, major, minor, name_size, check,
        ];
        let mut record = String::from("070701");
        record.extend(fields.map(|field| format!("{field:08x}")));
        record.push_str(name);
        record.push('\0');
        let mut record = record.into_bytes();
        record.resize(record.len().next_multiple_of(4), 0);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(path: &str) -> Entry {
        Entry { path: path.into(), permissions: 0o755, kind: Kind::Dir }
    }

    fn file(path: &str, content: &[u8]) -> Entry {
        let kind = Kind::File(Blob::from_bytes(path, content));
        Entry { path: path.into(), permissions: 0o644, kind }
    }

    #[test]
    fn an_archive_is_laid_out_so() {
        let entries = [file("init", &[7; 5]), dir("usr"), file("usr/empty", &[])];
        let archive = write(&entries, 1).unwrap();
        insta::assert_snapshot!(format!("{archive:?}"), @r"
        0x0000000000        116 bytes cpio header
        0x0000000074          5 bytes init
        0x0000000079          3 zeros gap
        0x000000007c        116 bytes cpio header
        0x00000000f0        120 bytes cpio header
        0x0000000168        124 bytes cpio trailer
        0x00000001e4         28 zeros gap
        ");
        let head = archive.slice(0..116).to_vec().unwrap();
        insta::assert_snapshot!(head.escape_ascii().to_string(), @r"07070100000001000081a40000000000000000000000010000000100000005000000000000000000000000000000000000000500000000init\x00\x00");
    }

    #[test]
    fn what_the_kernel_would_lose_is_refused() {
        let error = |entries: &[Entry]| write(entries, 0).unwrap_err();
        assert_eq!(error(&[file("a/b", &[])]), CpioError::Orphan("a/b".into()));
        assert_eq!(error(&[file("a", &[]), dir("a/b")]), CpioError::Orphan("a/b".into()));
        assert_eq!(error(&[dir("a"), dir("a")]), CpioError::Duplicate("a".into()));
        for path in ["", "/a", "a/", "./a", "..", "a\0b", TRAILER, &"x".repeat(4096)] {
            assert_eq!(error(&[dir(path)]), CpioError::Path(path.into()));
        }
    }

    #[test]
    fn a_file_of_4_gib_is_refused() {
        let content = Builder::default().zeros("long", 1 << 32).finish();
        let entry = Entry { path: "long".into(), permissions: 0, kind: Kind::File(content) };
        let want = CpioError::TooLarge { path: "long".into(), len: 1 << 32 };
        assert_eq!(write(&[entry], 0).unwrap_err(), want);
    }

    #[test]
    fn an_archive_of_nothing_is_a_trailer() {
        assert_eq!(write(&[], 0).unwrap().len(), RECORD);
    }
}
