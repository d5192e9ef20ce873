//! An initrd, unpacked as Linux does it.
//!
//! In: the bytes that a boot loader hands to the kernel: newc archives one after another, plain or
//! compressed. Out: the files that Talos' first program finds.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`.
//!
//! Not here: what the files mean (`init`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use super::cpio::{self, Entry, Item};
use super::damage::Damage;
use super::field;
use super::memo::Memo;
use super::skim;
use super::unpack::{Packing, Unpacker};
use crate::blob::{Blob, Source};

/// The most files of an initrd.
const FILES_LIMIT: usize = 1 << 16;
/// The most compressed segments of an initrd.
const SEGMENTS_LIMIT: usize = 1024;
/// The directories that are there before anything is unpacked.
const BUILT_IN: [&str; 3] = ["", "dev", "root"];
/// The bits of a mode that say what kind of file it is.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// The files of an unpacked initrd.
#[derive(Debug)]
pub struct Tree {
    paths: BTreeMap<String, usize>,
    files: Vec<File>,
    /// The archives and compressed segments, in order.
    pub segments: Vec<Segment>,
    /// The entries of archives that are not compressed, in order.
    pub entries: Vec<Placed>,
    /// Files with several names, by inode, until their archive ends.
    links: BTreeMap<[u32; 4], usize>,
}

/// An entry of an archive that is not compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its bytes, from its header to the end of its padding.
    pub range: Range<u64>,
    /// The file's path; nothing for the entry that ends an archive.
    pub path: Option<String>,
}

/// A piece of an initrd.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it starts, in bytes.
    pub start: u64,
    /// Just past its end. For an archive that is not compressed: the end of its last entry.
    pub end: u64,
    /// How it is compressed, if it is.
    pub packing: Option<Packing>,
    bytes: Blob,
}

/// A file of an unpacked initrd.
#[derive(Clone, Debug)]
pub struct File {
    /// Type and permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The length in bytes.
    pub len: u64,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    /// The contents lie in the initrd as they are.
    Plain(Blob),
    /// The contents come out of a compressed segment; the first bytes may be at hand.
    Packed { segment: usize, offset: u64, kept: Arc<[u8]> },
}

impl File {
    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.mode & KIND == REGULAR
    }

    /// Whether its contents must be decoded first.
    pub fn is_packed(&self) -> bool {
        matches!(self.body, Body::Packed { .. })
    }

    fn is_dir(&self) -> bool {
        self.mode & KIND == DIRECTORY
    }
}

/// Unpacks an initrd. The contents of files stay where they are.
///
/// # Errors
///
/// [`Damage`] where the kernel would stop with "Initramfs unpacking failed", or leave a file out
/// without a word: its directory is not there.
pub fn unpack(initrd: &Blob, memo: &mut Memo) -> Result<Tree, Damage> {
    read(initrd, Depth::Whole, memo)
}

/// As [`unpack`], but where a compressed segment is Talos' own base, its contents are taken for
/// known: it is not decoded. Names and small files are those that [`unpack`] gives; `init` and
/// `rootfs.sqsh` have no contents.
///
/// # Errors
///
/// As [`unpack`], as far as that was read.
pub fn skim(initrd: &Blob, memo: &mut Memo) -> Result<Tree, Damage> {
    read(initrd, Depth::Names, memo)
}

/// How far compressed segments are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// To their ends.
    Whole,
    /// Those that may hold what nobody knows to their ends; Talos' base not.
    Names,
}

fn read(initrd: &Blob, depth: Depth, memo: &mut Memo) -> Result<Tree, Damage> {
    let root = File {
        mode: DIRECTORY | 0o755,
        uid: 0,
        gid: 0,
        len: 0,
        body: Body::Plain(Blob::default()),
    };
    let mut tree = Tree {
        paths: BUILT_IN.into_iter().map(|path| (path.to_owned(), 0)).collect(),
        files: vec![root],
        segments: Vec::new(),
        entries: Vec::new(),
        links: BTreeMap::new(),
    };
    let mut at = skip_zeros(initrd, 0)?;
    while at < initrd.len() {
        at = if at.is_multiple_of(4)
            && field::load::<[u8; 1]>(initrd, "initrd segment", at)? == *b"0"
        {
            tree.add_plain(initrd, at)?
        } else {
            tree.add_packed(initrd, at, depth, memo)?
        };
        at = skip_zeros(initrd, at)?;
    }
    Ok(tree)
}

impl Tree {
    /// The file at a path without a leading slash.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.paths.get(&clean(path)?).map(|&index| &self.files[index])
    }

    /// The compressed segment that a file comes out of, if it does.
    pub fn segment_of(&self, path: &str) -> Option<&Segment> {
        match self.get(path)?.body {
            Body::Packed { segment, .. } => self.segments.get(segment),
            Body::Plain(_) => None,
        }
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.keys().map(String::as_str).filter(|path| !path.is_empty())
    }

    /// A file's contents; those in a compressed segment are decoded up to `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Damage`] where they would be longer than `limit` in memory, or cannot be read.
    pub fn content(&self, file: &File, limit: u64, memo: &mut Memo) -> Result<Blob, Damage> {
        let (segment, offset, kept) = match &file.body {
            Body::Plain(blob) => return Ok(blob.clone()),
            Body::Packed { kept, .. } if kept.len() as u64 == file.len => {
                return Ok(Blob::from_bytes("file of an initrd", kept.clone()));
            }
            Body::Packed { segment, offset, kept } => (&self.segments[*segment], *offset, kept),
        };
        let damage = |wrong: String| Damage::new("initrd segment", segment.start, wrong);
        if file.len > limit || file.len > memo.allowance {
            let wrong = format!("a compressed file of it is {} bytes long", file.len);
            return Err(damage(wrong).should(format!("at most {limit}, to be looked into")));
        }
        let packing = segment.packing.expect("only a compressed segment holds packed files");
        let cut = || damage(format!("it ends before byte {}", offset + kept.len() as u64));
        let mut unpacker = Unpacker::new(&segment.bytes, 0, packing, &mut memo.allowance)?;
        unpacker.skip(offset)?.ok_or_else(cut)?;
        let len = usize::try_from(file.len).map_err(|_| damage("it does not fit memory".into()))?;
        let mut bytes = vec![0; len];
        unpacker.read_exact(&mut bytes)?.ok_or_else(cut)?;
        Ok(Blob::from_bytes("file of an initrd", bytes))
    }

    /// Writes a file's contents to `out`, decoded piece by piece.
    ///
    /// # Errors
    ///
    /// [`Damage`] where they are longer than `limit`, cannot be read, or `out` takes no more.
    pub fn copy(
        &self,
        file: &File,
        limit: u64,
        out: &mut dyn Write,
        memo: &mut Memo,
    ) -> Result<(), Damage> {
        let failed = |error: io::Error| Damage::read("copy of a file of the initrd", 0, error);
        let Body::Packed { segment, offset, .. } = &file.body else {
            let blob = self.content(file, limit, memo)?;
            io::copy(&mut blob.reader(), out).map_err(failed)?;
            return Ok(());
        };
        let segment = &self.segments[*segment];
        let damage = |wrong: String| Damage::new("initrd segment", segment.start, wrong);
        if file.len > limit {
            let wrong = format!("a compressed file of it is {} bytes long", file.len);
            return Err(damage(wrong).should(format!("at most {limit}")));
        }
        let cut = || damage("it ends inside of a file".into());
        let packing = segment.packing.expect("only a compressed segment holds packed files");
        let mut unpacker = Unpacker::new(&segment.bytes, 0, packing, &mut memo.allowance)?;
        unpacker.skip(*offset)?.ok_or_else(cut)?;
        let mut left = file.len;
        while left > 0 {
            let bytes = unpacker.peek()?;
            let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            if len == 0 {
                return Err(cut());
            }
            out.write_all(&bytes[..len]).map_err(failed)?;
            unpacker.consume(len);
            left -= len as u64;
        }
        Ok(())
    }

    /// The first bytes of a file, as far as they are at hand without decoding: 96 at least of a
    /// squashfs.
    ///
    /// # Errors
    ///
    /// [`Damage`] where they cannot be read.
    pub fn head(&self, file: &File) -> Result<Vec<u8>, Damage> {
        match &file.body {
            Body::Plain(blob) => field::bytes(blob, "file of an initrd", 0..blob.len().min(96), 96),
            Body::Packed { kept, .. } => Ok(kept.to_vec()),
        }
    }

    /// Adds one entry of a plain archive; gives where the next may start.
    fn add_plain(&mut self, initrd: &Blob, at: u64) -> Result<u64, Damage> {
        let (entry, next) = cpio::plain_entry(initrd, at)?;
        let ended = entry.is_none();
        let path = entry.as_ref().map(|entry| clean(&entry.name).unwrap_or_default());
        self.entries.push(Placed { range: at..next, path });
        if let Some(entry) = entry {
            let range = entry.body..entry.body + entry.len;
            let body = Body::Plain(field::slice(initrd, "cpio entry", range)?);
            self.add(&entry, body, at)?;
        }
        match self.segments.last_mut().filter(|s| s.packing.is_none() && s.end == at) {
            Some(segment) => segment.end = next,
            None => self.segments.push(Segment {
                start: at,
                end: next,
                packing: None,
                bytes: Blob::default(),
            }),
        }
        if ended {
            self.links.clear();
        }
        let after = skip_zeros(initrd, next)?;
        if after < initrd.len() && !after.is_multiple_of(4) {
            return Err(Damage::new(
                "initrd segment",
                after,
                "what follows an archive starts here",
            )
            .should("at a multiple of 4"));
        }
        // An entry of the same archive follows without a gap.
        Ok(if ended { after } else { next })
    }

    /// Adds the entries of a compressed segment; gives its end.
    fn add_packed(
        &mut self,
        initrd: &Blob,
        at: u64,
        depth: Depth,
        memo: &mut Memo,
    ) -> Result<u64, Damage> {
        let packing = Packing::detect(initrd, at)?;
        if self.segments.len() >= SEGMENTS_LIMIT {
            return Err(Damage::new("initrd segment", at, "it is one of more than 1024"));
        }
        let known = memo.get(initrd, at);
        let base = match (&known, depth) {
            (None, Depth::Names) => skim::base(initrd, at, packing)?.map(Arc::new),
            _ => None,
        };
        let facts = match known.or(base) {
            Some(facts) => facts,
            None => {
                let mut unpacker = Unpacker::new(initrd, at, packing, &mut memo.allowance)?;
                let part = format!("segment at {at:#x}");
                let facts = cpio::packed_facts(&mut unpacker).map_err(|e| e.within(part))?;
                let facts = Arc::new(facts);
                memo.put(initrd, at, facts.clone());
                facts
            }
        };
        let end = at + facts.packed_len;
        let bytes = field::slice(initrd, "initrd segment", at..end)?;
        let segment = self.segments.len();
        self.segments.push(Segment { start: at, end, packing: Some(packing), bytes });
        for item in &facts.items {
            match item {
                Item::Trailer => self.links.clear(),
                Item::Entry(entry, kept) => {
                    let body = Body::Packed { segment, offset: entry.body, kept: kept.clone() };
                    self.add(entry, body, at)?;
                }
            }
        }
        Ok(end)
    }

    /// Does what the kernel does with one entry.
    fn add(&mut self, entry: &Entry, body: Body, at: u64) -> Result<(), Damage> {
        let name = &entry.name;
        let damage = |wrong: &str| Damage::new("initrd segment", at, format!("`{name}` {wrong}"));
        let path = clean(name).ok_or_else(|| damage("leads out of the root"))?;
        if path.is_empty() {
            return Ok(());
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !self.paths.get(parent).is_some_and(|&index| self.files[index].is_dir()) {
            return Err(damage("has no directory before it, so the kernel leaves it out"));
        }
        let file = File { mode: entry.mode, uid: entry.uid, gid: entry.gid, len: entry.len, body };
        let old = self.paths.get(&path).map(|&index| self.files[index].is_dir());
        if old == Some(true) && !file.is_dir() && self.has_children(&path) {
            return Err(damage("cannot replace a directory that holds files"));
        }
        if old == Some(false) && file.is_dir() {
            self.paths.remove(&path);
        }
        let index = self.place(entry, file);
        self.paths.insert(path, index);
        if self.paths.len() > FILES_LIMIT {
            return Err(damage("is one of more than 65536 files"));
        }
        Ok(())
    }

    /// The index of the file; a further name of a file has that file's.
    fn place(&mut self, entry: &Entry, file: File) -> usize {
        if entry.links >= 2 && !file.is_dir() {
            let [ino, major, minor] = entry.inode;
            let key = [ino, major, minor, entry.mode & KIND];
            if let Some(&index) = self.links.get(&key) {
                // Only one of the names comes with the contents.
                if file.len > 0 {
                    self.files[index] = file;
                }
                return index;
            }
            self.links.insert(key, self.files.len());
        }
        self.files.push(file);
        self.files.len() - 1
    }

    fn has_children(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.paths.range(prefix.clone()..).next().is_some_and(|(p, _)| p.starts_with(&prefix))
    }
}

/// A path without `.` and doubled slashes, or nothing where it climbs.
fn clean(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// The offset of the first byte from `at` that is no NUL. Runs of zeros cost nothing.
fn skip_zeros(blob: &Blob, mut at: u64) -> Result<u64, Damage> {
    let mut buffer = [0; 4096];
    let mut piece = 16;
    while at < blob.len() {
        let index = blob.extents().partition_point(|e| e.end() <= at);
        let extent = &blob.extents()[index];
        if matches!(extent.source, Source::Zeros) {
            at = extent.end();
            continue;
        }
        let len = usize::try_from(extent.end() - at).map_or(piece, |left| left.min(piece));
        let bytes = &mut buffer[..len];
        blob.read_exact_at(bytes, at).map_err(|e| Damage::read("initrd segment", at, e))?;
        if let Some(zeros) = bytes.iter().position(|&b| b != 0) {
            return Ok(at + zeros as u64);
        }
        at += len as u64;
        piece = 4096;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    #[test]
    fn a_path_is_cleaned() {
        assert_eq!(clean("./usr//lib/"), Some("usr/lib".into()));
        assert_eq!(clean("a/../b"), None);
    }

    #[test]
    fn an_initrd_of_zeros_is_empty() {
        let zeros = Builder::default().zeros("zeros", 1 << 60).bytes("more", [0; 9]).finish();
        assert_eq!(unpack(&zeros, &mut Memo::default()).unwrap().paths().count(), 2);
    }

    #[test]
    fn what_the_kernel_cannot_unpack_is_named() {
        for (bytes, name) in [
            (&b"\x1f\x8b\x08\0\0\0\0\0"[..], "gzip"),
            (b"\x02\x21\x4c\x18\0\0\0\0", "lz4"),
            (b"\xfd7zXZ\0\0\x04", "CRC64"),
            (b"junk", "neither"),
            (b"070707000000", "old archive"),
            (b"070701", "ends past its container"),
        ] {
            let mut bytes = [&[0; 4], bytes].concat();
            if name == "old archive" {
                bytes.resize(200, b'0');
            }
            let blob = Blob::from_bytes("initrd", bytes);
            let damage = unpack(&blob, &mut Memo::default()).unwrap_err().to_string();
            assert!(damage.contains(name), "{damage}");
        }
    }
}
