//! A layer or an archive, unpacked: what is in it, and the contents that are wanted.
//!
//! In: its blob. Out: its members in their order; the wanted contents, one after the other in one
//! blob of the store, so that thousands of small files are one open file and one sync.
//!
//! What is in a layer is kept in the store: one that was unpacked before is not unpacked again,
//! and not even fetched.
//!
//! Source: OCI Image Format Specification 1.1, `layer.md`.
//!
//! Not here: what a member does to those below it (`merge`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::packing::{Budget, Piped, unpacked};
use super::tar::{Member, MemberKind, Members, TarError};
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::store::{Incoming, Store, StoreError};
use crate::tree::Tree;
use crate::units::{GIB, PAYLOAD_ALIGN};

/// The most bytes of a file: what the header of a file in an initramfs can say.
const FILE_MAX: u64 = 4 * GIB - 1;
/// The kind of record that keeps a layer's members; another form of them has another name.
pub(super) const RECORD: &str = "unpacked-1";
/// The bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// What is in a layer.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// The digest of the archive, decompressed.
    pub(super) diff_id: Digest,
    pub(super) items: Vec<Item>,
    /// Whether the archive says that it ends.
    pub(super) has_end: bool,
    contents: Option<(Digest, Blob)>,
}

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) what: What,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    /// A file; its content where that was wanted.
    File(Option<Stored>),
    HardLink(String),
    Symlink(String),
    Other(&'static str),
}

/// A content among those of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    at: u64,
    len: u64,
    digest: Digest,
}

/// Why something is not unpacked: it, or the store.
#[derive(Debug)]
pub(super) enum Failure {
    Archive(TarError),
    Store(StoreError),
}

impl<E: Into<TarError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Archive(error.into())
    }
}

impl Item {
    /// The bytes of memory that it takes, roughly.
    pub(super) fn names(&self) -> usize {
        let xattrs: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let target = match &self.what {
            What::HardLink(target) | What::Symlink(target) => target.len(),
            What::Folder | What::File(_) | What::Other(_) => 0,
        };
        self.path.len() + target + xattrs
    }
}

impl Listing {
    /// The content of a file, if it was stored.
    pub(super) fn content(&self, stored: &Stored) -> Option<(Blob, Digest)> {
        let blob = match &self.contents {
            _ if stored.len == 0 => Blob::default(),
            Some((_, contents)) => contents.get(stored.at..stored.at.checked_add(stored.len)?)?,
            None => return None,
        };
        Some((blob, stored.digest))
    }

    /// Whether all wanted contents are here.
    pub(super) fn has(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.items.iter().all(|item| item.what != What::File(None) || !wanted(&item.path))
    }

    /// The paths of the contents that are here.
    pub(super) fn stored(&self) -> BTreeSet<&str> {
        let is_stored = |item: &&Item| matches!(item.what, What::File(Some(_)));
        self.items.iter().filter(is_stored).map(|item| item.path.as_str()).collect()
    }
}

/// Contents on their way into the store.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    store: &'a Store,
    incoming: Option<Incoming>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, incoming: None }
    }

    /// Adds a file that is read by `read`, which gives 0 at its end.
    pub(super) fn add(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, TarError>,
    ) -> Result<Stored, Failure> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; PIECE];
        let (mut at, mut len) = (0, 0);
        loop {
            let count = read(&mut buffer)?;
            if count == 0 {
                return Ok(Stored { at, len, digest: hasher.finish() });
            }
            let incoming = match &mut self.incoming {
                Some(incoming) => incoming,
                None => self.incoming.insert(self.store.incoming().map_err(Failure::Store)?),
            };
            if len == 0 {
                // File systems share blocks, so that each file starts with one.
                let gap = incoming.len().wrapping_neg() % PAYLOAD_ALIGN;
                let gap = usize::try_from(gap).expect("a gap is less than a page");
                incoming.write_all(&vec![0; gap])?;
                at = incoming.len();
            }
            len += count as u64;
            if len > FILE_MAX {
                return Err(TarError::Limit { what: "the bytes of a file", most: FILE_MAX }.into());
            }
            hasher.update(&buffer[..count]);
            incoming.write_all(&buffer[..count])?;
        }
    }

    /// Keeps them.
    pub(super) fn finish(self) -> Result<Option<(Digest, Blob)>, Failure> {
        let incoming = self.incoming.map(|incoming| incoming.finish(None));
        incoming.transpose().map_err(Failure::Store)
    }
}

impl Listing {
    /// What is in a folder of the disk, whose contents were added.
    pub(super) fn of(items: Vec<Item>, contents: Contents<'_>) -> Result<Self, Failure> {
        let contents = contents.finish()?;
        Ok(Self { diff_id: Digest([0; 32]), items, has_end: true, contents })
    }
}

/// Unpacks a layer.
pub(super) fn unpack(
    layer: &Blob,
    wanted: &dyn Fn(&str) -> bool,
    store: &Store,
    budget: &Budget,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Listing, Failure> {
    let mut contents = Contents::new(store);
    let mut failure = None;
    let result = unpacked(layer, budget, watch, |input| {
        let read = members(input, wanted, &mut contents, budget);
        read.or_else(|error| match error {
            Failure::Archive(error) => Err(error),
            Failure::Store(error) => {
                failure = Some(error);
                Ok((Vec::new(), false))
            }
        })
    });
    if let Some(error) = failure {
        return Err(Failure::Store(error));
    }
    let ((items, has_end), diff_id) = result?;
    Ok(Listing { diff_id, items, has_end, contents: contents.finish()? })
}

fn members(
    input: &mut Piped,
    wanted: &dyn Fn(&str) -> bool,
    contents: &mut Contents<'_>,
    budget: &Budget,
) -> Result<(Vec<Item>, bool), Failure> {
    let mut members = Members::new(input);
    let mut items = Vec::new();
    while let Some(member) = members.next()? {
        let Member { path, mode, uid, gid, xattrs, kind, len, .. } = member;
        let what = match kind {
            MemberKind::Folder => What::Folder,
            MemberKind::File if len > FILE_MAX => {
                let what = "the bytes of a file";
                return Err(TarError::Limit { what, most: FILE_MAX }.into());
            }
            MemberKind::File if wanted(&path) => {
                What::File(Some(contents.add(|out| members.read(out))?))
            }
            MemberKind::File => What::File(None),
            MemberKind::HardLink(target) => What::HardLink(target),
            MemberKind::Symlink(target) => What::Symlink(target),
            MemberKind::Other(what) => What::Other(what),
        };
        let item = Item { path, mode, uid, gid, xattrs, what };
        budget.member(item.names())?;
        items.push(item);
    }
    Ok((items, members.has_end()))
}

/// A listing as the store keeps it.
#[derive(Deserialize, Serialize)]
struct Record {
    diff_id: String,
    has_end: bool,
    contents: Option<String>,
    items: Vec<RecordItem>,
}

#[derive(Deserialize, Serialize)]
struct RecordItem {
    path: String,
    mode: u32,
    uid: u64,
    gid: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    what: RecordWhat,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum RecordWhat {
    Folder,
    File,
    Stored { at: u64, len: u64, digest: String },
    Hardlink(String),
    Symlink(String),
    Char,
    Block,
    Pipe,
}

/// What is known of a layer that was unpacked before, its contents verified.
pub(super) fn recall(store: &Store, layer: Digest) -> Result<Option<Listing>, StoreError> {
    let record = store.record(RECORD, layer)?;
    let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let Some(record) = record else { return Ok(None) };
    let contents = match record.contents.as_deref().map(str::parse::<Digest>) {
        None => None,
        Some(Err(_)) => return Ok(None),
        Some(Ok(digest)) => match store.get(digest)? {
            Some(blob) => Some((digest, blob)),
            None => return Ok(None),
        },
    };
    let Ok(diff_id) = record.diff_id.parse() else { return Ok(None) };
    let items: Option<_> = record.items.into_iter().map(RecordItem::read).collect();
    let Some(items) = items else { return Ok(None) };
    let listing = Listing { diff_id, items, has_end: record.has_end, contents };
    let is_whole = listing.items.iter().all(|item| match &item.what {
        What::File(Some(stored)) => listing.content(stored).is_some(),
        _ => true,
    });
    Ok(is_whole.then_some(listing))
}

/// Keeps what is known of a layer.
pub(super) fn remember(store: &Store, layer: Digest, listing: &Listing) -> Result<(), StoreError> {
    let record = Record {
        diff_id: listing.diff_id.to_string(),
        has_end: listing.has_end,
        contents: listing.contents.as_ref().map(|(digest, _)| digest.to_string()),
        items: listing.items.iter().map(RecordItem::of).collect(),
    };
    let text = serde_json::to_vec(&record).expect("texts and numbers are JSON");
    store.keep_record(RECORD, layer, &text)
}

const CHAR: &str = "a character device";
const BLOCK: &str = "a block device";

impl RecordItem {
    fn of(item: &Item) -> Self {
        let what = match &item.what {
            What::Folder => RecordWhat::Folder,
            What::File(None) => RecordWhat::File,
            What::File(Some(Stored { at, len, digest })) => {
                RecordWhat::Stored { at: *at, len: *len, digest: digest.to_string() }
            }
            What::HardLink(target) => RecordWhat::Hardlink(target.clone()),
            What::Symlink(target) => RecordWhat::Symlink(target.clone()),
            What::Other(CHAR) => RecordWhat::Char,
            What::Other(BLOCK) => RecordWhat::Block,
            What::Other(_) => RecordWhat::Pipe,
        };
        let encode = |(name, value): (&String, &Vec<u8>)| (name.clone(), STANDARD.encode(value));
        Self {
            path: item.path.clone(),
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            xattrs: item.xattrs.iter().map(encode).collect(),
            what,
        }
    }

    /// Nothing where it breaks a rule that members of archives keep.
    fn read(self) -> Option<Item> {
        let is_path = |path: &str| Tree::path(path).as_deref() == Some(path);
        let what = match self.what {
            RecordWhat::Folder => What::Folder,
            RecordWhat::File => What::File(None),
            RecordWhat::Stored { at, len, digest } => {
                What::File(Some(Stored { at, len, digest: digest.parse().ok()? }))
            }
            RecordWhat::Hardlink(target) => What::HardLink(is_path(&target).then_some(target)?),
            RecordWhat::Symlink(target) => What::Symlink(target),
            RecordWhat::Char => What::Other(CHAR),
            RecordWhat::Block => What::Other(BLOCK),
            RecordWhat::Pipe => What::Other("a pipe"),
        };
        let decode = |(name, value): (String, String)| Some((name, STANDARD.decode(value).ok()?));
        let xattrs = self.xattrs.into_iter().map(decode).collect::<Option<_>>()?;
        let Self { path, mode, uid, gid, .. } = self;
        (is_path(&path) && mode <= 0o7777).then_some(())?;
        Some(Item { path, mode, uid, gid, xattrs, what })
    }
}
