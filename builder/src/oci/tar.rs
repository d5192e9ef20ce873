//! The members of a tar archive, one after the other.
//!
//! In: a stream of bytes that nobody vouches for. Out: names, modes, links, contents.
//!
//! Programs read damaged and ambiguous archives differently, and so can be made to see different
//! files in one archive. What is ambiguous is refused here.
//!
//! Source: POSIX.1-2017, "pax Interchange Format"; GNU tar manual, "Basic Tar Format"; headers are
//! decoded by the crate `tar`.
//!
//! Not here: compression (`packing`), and what a member does to a tree (`merge`).

use std::collections::BTreeMap;
use std::io::{self, Read};

use ::tar::{EntryType, Header};
use thiserror::Error;

use super::error::shown;
use crate::blob::Blob;
use crate::tree::Tree;

/// The most bytes of a member's long names and extended attributes. Linux allows 64 KiB for one
/// attribute.
const EXTENSION_MAX: u64 = 1 << 20;
/// The most bytes of a path: Linux, `limits.h`.
pub(super) const PATH_MAX: usize = 4096;
/// The most folders on the way to a file. Those of images have some 20.
const DEPTH_MAX: usize = 128;
/// The bytes of a header; contents are padded to whole ones.
const BLOCK: usize = 512;

/// What is wrong with an archive.
#[derive(Debug, Error)]
pub enum TarError {
    /// It cannot be read, or what it is compressed with is damaged.
    #[error("it cannot be read or unpacked")]
    Io(#[source] io::Error),
    /// It ends within a member.
    #[error("it ends early: it is cut off")]
    Truncated,
    /// Something in it that cannot be read.
    #[error("{0}")]
    Damaged(&'static str),
    /// A member that cannot be used.
    #[error("`{name}`: {why}")]
    Member {
        /// Its name, as far as it can be shown.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// More than is allowed.
    #[error("{what}: more than {most} is not unpacked")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: u64,
    },
}

impl TarError {
    pub(super) fn member(name: &str, why: &'static str) -> Self {
        Self::Member { name: shown(name), why }
    }
}

/// An error of this kind may have come through a reader.
impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated,
            Err(error) => Self::Io(error),
        }
    }
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        Self::other(error)
    }
}

/// Bytes of which some are passed over.
pub(super) trait Input: Read {
    /// Passes over bytes.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` where there are not as many.
    fn skip(&mut self, len: u64) -> io::Result<()>;
}

/// A blob that is read front to back, nothing read of what is passed over.
#[derive(Debug)]
pub(super) struct Seeking {
    blob: Blob,
    at: u64,
}

impl Seeking {
    pub(super) fn new(blob: &Blob) -> Self {
        Self { blob: blob.clone(), at: 0 }
    }
}

impl Read for Seeking {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len() - self.at;
        let len = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        self.blob.read_exact_at(&mut out[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Input for Seeking {
    fn skip(&mut self, len: u64) -> io::Result<()> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.blob.len());
        self.at = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}

/// A member. Its bytes are read from [`Members`] before the next one is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path as a [`Tree`] has it.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) kind: MemberKind,
    /// Where its bytes start in the archive.
    pub(super) at: u64,
    /// How many there are: 0 for all but files.
    pub(super) len: u64,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Folder,
    File,
    /// Another name of what is at this path.
    HardLink(String),
    Symlink(String),
    Other(&'static str),
}

/// The members of an archive.
#[derive(Debug)]
pub(super) struct Members<R> {
    input: R,
    at: u64,
    /// The bytes of the member that were not read yet.
    left: u64,
    /// The bytes that follow it up to the next header.
    padding: u64,
    has_end: bool,
}

/// What was said of the member to come before its header.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// The records of a pax header that are used.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl<R: Input> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, at: 0, left: 0, padding: 0, has_end: false }
    }

    /// Whether the blocks of zeros came that end an archive. Some writers leave them out.
    pub(super) fn has_end(&self) -> bool {
        self.has_end
    }

    /// The next member; nothing at the end, and it must not be asked again then.
    pub(super) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut said = Extensions::default();
        loop {
            self.input.skip(self.left)?;
            self.at = self.at.checked_add(self.left).ok_or(TarError::Truncated)?;
            self.left = 0;
            let header = if self.is_padded()? { self.header()? } else { None };
            let Some(header) = header else {
                let is_over = said.name.is_none() && said.link.is_none() && said.pax.is_none();
                return if is_over { Ok(None) } else { Err(TarError::Truncated) };
            };
            let size = number(&header.as_old().size, header.entry_size());
            let size = size.ok_or(TarError::Damaged(NUMBER))?;
            let kind = header.entry_type();
            let twice = TarError::Damaged("a member is named twice");
            match kind {
                EntryType::GNULongName if said.name.is_none() => {
                    said.name = Some(until_zero(self.extension(size)?));
                }
                EntryType::GNULongLink if said.link.is_none() => {
                    said.link = Some(until_zero(self.extension(size)?));
                }
                EntryType::XHeader if said.pax.is_none() => {
                    said.pax = Some(Pax::parse(&self.extension(size)?)?);
                }
                EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader => {
                    return Err(twice);
                }
                EntryType::XGlobalHeader => {
                    if !Pax::parse(&self.extension(size)?)?.is_empty() {
                        let why = "a pax header is for all members: programs differ in that";
                        return Err(TarError::Damaged(why));
                    }
                }
                // A label of the whole archive, by GNU tar.
                _ if kind.as_byte() == b'V' => self.expect(size),
                _ => match self.member(&header, kind, size, std::mem::take(&mut said))? {
                    Some(member) => return Ok(Some(member)),
                    None => continue,
                },
            }
        }
    }

    /// Reads bytes of the member; none at its end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        if most == 0 {
            return Ok(0);
        }
        let len = self.input.read(&mut out[..most])?;
        if len == 0 {
            return Err(TarError::Truncated);
        }
        self.left -= len as u64;
        self.at += len as u64;
        Ok(len)
    }

    /// Passes over what follows a member up to the next header. Some writers, `umoci insert` among
    /// them, leave it out behind the last one, and readers let them.
    fn is_padded(&mut self) -> Result<bool, TarError> {
        let mut block = [0; BLOCK];
        while self.padding > 0 {
            let most = usize::try_from(self.padding).map_or(BLOCK, |padding| padding.min(BLOCK));
            let len = self.input.read(&mut block[..most])? as u64;
            if len == 0 {
                return Ok(false);
            }
            self.padding -= len;
            self.at += len;
        }
        Ok(true)
    }

    /// The next header; nothing where zeros or the end of the input end the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(TarError::Truncated),
                len => filled += len,
            }
        }
        self.at += block.len() as u64;
        if block == [0; BLOCK] {
            self.has_end = true;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The sum of the header's bytes, its own field taken as spaces.
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(TarError::Damaged("it is no tar archive, or a header in it is damaged"));
        }
        Ok(Some(header))
    }

    /// The bytes that tell of the next member.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_MAX {
            let what = "the bytes of one member's names and attributes";
            return Err(TarError::Limit { what, most: EXTENSION_MAX });
        }
        self.expect(size);
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match self.read(&mut piece)? {
                0 => return Ok(bytes),
                len => bytes.extend_from_slice(&piece[..len]),
            }
        }
    }

    /// The bytes of a member that come next.
    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The member of a header; nothing where it is the root folder.
    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        said: Extensions,
    ) -> Result<Option<Member>, TarError> {
        let pax = said.pax.unwrap_or_default();
        let name = one(said.name, pax.path)?.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = one(said.link, pax.link)?
            .or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
        let name = text(name)?;
        let wrong = |why| TarError::member(&name, why);
        let no_number = || TarError::member(&name, NUMBER);
        let old = header.as_old();
        let link = match link.map(text) {
            Some(link) => link?,
            None => String::new(),
        };
        let size = pax.size.unwrap_or(size);
        let kind = match kind {
            EntryType::Regular if header.as_ustar().is_none() && name.ends_with('/') => {
                MemberKind::Folder
            }
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Folder,
            EntryType::Link => {
                let target = Tree::path(&link).filter(|path| path.len() <= PATH_MAX);
                MemberKind::HardLink(target.ok_or_else(|| wrong("it links to no good path"))?)
            }
            EntryType::Symlink if link.is_empty() => return Err(wrong("it links nowhere")),
            EntryType::Symlink if link.len() >= PATH_MAX => return Err(wrong(LONG)),
            EntryType::Symlink => MemberKind::Symlink(link),
            EntryType::Char => MemberKind::Other("a character device"),
            EntryType::Block => MemberKind::Other("a block device"),
            EntryType::Fifo => MemberKind::Other("a pipe"),
            EntryType::GNUSparse => return Err(wrong(SPARSE)),
            _ => return Err(wrong("it is of a kind that is not known here")),
        };
        if size > 0 && kind != MemberKind::File {
            return Err(wrong(
                "it is no file and has a length: programs differ in what that means",
            ));
        }
        self.expect(size);
        let path = match Tree::path(&name) {
            None if is_root(&name) && kind == MemberKind::Folder => return Ok(None),
            None => return Err(wrong("its path leads out of the archive, or nowhere")),
            Some(path) => path,
        };
        if path.len() > PATH_MAX || path.bytes().filter(|b| *b == b'/').count() >= DEPTH_MAX {
            return Err(wrong(LONG));
        }
        Ok(Some(Member {
            mode: number(&old.mode, header.mode()).ok_or_else(no_number)? & 0o7777,
            uid: pax.uid.or_else(|| number(&old.uid, header.uid())).ok_or_else(no_number)?,
            gid: pax.gid.or_else(|| number(&old.gid, header.gid())).ok_or_else(no_number)?,
            xattrs: pax.xattrs,
            kind,
            at: self.at,
            len: size,
            path,
        }))
    }
}

const NUMBER: &str = "a number in its header is none";
const LONG: &str = "its path is too long";
const SPARSE: &str = "it is stored as a sparse file; pack it without `--sparse`";

fn is_root(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(|part| matches!(part, "" | "."))
}

/// A number of a header; one that was left blank is 0, as to other programs.
fn number<T: Default>(field: &[u8], read: io::Result<T>) -> Option<T> {
    let is_blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    read.ok().or_else(|| is_blank.then(T::default))
}

/// The name that was said, unless two were.
fn one(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, TarError> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(TarError::Damaged("a member is named twice")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn text(bytes: Vec<u8>) -> Result<String, TarError> {
    String::from_utf8(bytes).map_err(|error| {
        let name = String::from_utf8_lossy(error.as_bytes());
        TarError::member(&name, "its name is no UTF-8")
    })
}

impl Pax {
    /// Reads records `25 path=usr/share/x…\n`; what a later one says counts. A value may hold
    /// line ends: the length tells where it ends.
    fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        const MALFORMED: TarError = TarError::Damaged("a pax header in it is damaged");
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let space = bytes.iter().take(8).position(|b| *b == b' ').ok_or(MALFORMED)?;
            let len: usize = std::str::from_utf8(&bytes[..space])
                .ok()
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .ok_or(MALFORMED)?;
            let record = bytes.get(space + 1..len).ok_or(MALFORMED)?;
            bytes = &bytes[len..];
            let record = record.strip_suffix(b"\n").ok_or(MALFORMED)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| MALFORMED)?;
            pax.record(key, &record[equals + 1..])?;
        }
        Ok(pax)
    }

    fn record(&mut self, key: &str, value: &[u8]) -> Result<(), TarError> {
        // An empty value takes back what was said.
        let some = (!value.is_empty()).then(|| value.to_vec());
        let number = || match std::str::from_utf8(value) {
            Ok("") => Ok(None),
            Ok(text) => text.parse().map(Some).map_err(|_| TarError::Damaged(NUMBER)),
            Err(_) => Err(TarError::Damaged(NUMBER)),
        };
        match key {
            "path" => self.path = some,
            "linkpath" => self.link = some,
            "size" => self.size = number()?,
            "uid" => self.uid = number()?,
            "gid" => self.gid = number()?,
            _ if key.starts_with("GNU.sparse.") => return Err(TarError::Damaged(SPARSE)),
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let Self { path, link, size, uid, gid, xattrs } = self;
        path.is_none()
            && link.is_none()
            && size.is_none()
            && uid.is_none()
            && gid.is_none()
            && xattrs.is_empty()
    }
}
