//! Images that lie beside each other in a folder or in an archive of one.
//!
//! In: a path, and which images there are. Out: one of them, and content by digest.
//!
//! An archive is gone through once, its headers alone; contents are ranges of it.
//!
//! Source: none.
//!
//! Not here: how such a folder lists its images (`layout`, `archive`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{OciError, shown};
use super::manifest::DOCUMENT_MAX;
use super::packing::{Budget, Packing, packing};
use super::tar::{MemberKind, Members, Seeking, TarError};
use super::{Descriptor, Unavailable};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::tree::{Followed, Step, Tree, follow};

/// The most names that a message lists.
const NAMES_SHOWN: usize = 12;

/// A folder, or an archive of one.
#[derive(Debug)]
pub(super) struct Files {
    /// Its path, for messages.
    pub(super) name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Archive(Blob, BTreeMap<String, Node>),
}

#[derive(Debug)]
enum Node {
    Folder,
    File { at: u64, len: u64 },
    Link(String),
}

impl Files {
    /// Opens the folder or archive at a path.
    pub(super) fn open(path: &Path) -> Result<Self, OciError> {
        let name = path.display().to_string();
        let io = |source| OciError::Io { name: name.clone(), source };
        if fs::metadata(path).map_err(io)?.is_dir() {
            return Ok(Self { name, place: Place::Folder(path.to_owned()) });
        }
        let archive = Blob::from_file(&name, File::open(path).map_err(io)?).map_err(io)?;
        Self::of_archive(&name, archive)
    }

    /// Goes through an archive.
    pub(super) fn of_archive(name: &str, archive: Blob) -> Result<Self, OciError> {
        let io = |source| OciError::Io { name: name.to_owned(), source };
        if packing(&archive).map_err(io)? != Packing::None {
            let why = "it is compressed, but its parts are read where they lie; unpack it first";
            return Err(OciError::document(name, why));
        }
        let nodes = nodes(&archive).map_err(OciError::archive(name))?;
        Ok(Self { name: name.to_owned(), place: Place::Archive(archive, nodes) })
    }

    /// The path of a file, its links followed; nothing where there is none. A folder's own links
    /// are the system's to follow.
    pub(super) fn find(&self, path: &str) -> Option<String> {
        let path = Tree::path(path)?;
        let Place::Archive(_, nodes) = &self.place else { return Some(path) };
        let step = |path: &str| match nodes.get(path) {
            None => Step::Nothing,
            Some(Node::Folder) => Step::Folder,
            Some(Node::File { .. }) => Step::Leaf,
            Some(Node::Link(target)) => Step::Symlink(target),
        };
        match follow(&path, &step) {
            Ok(Followed::Is(path)) => Some(path),
            Ok(Followed::Missing { .. }) | Err(_) => None,
        }
    }

    /// A file, if it is there.
    pub(super) fn file(&self, path: &str) -> Result<Option<Blob>, OciError> {
        let Some(path) = self.find(path) else { return Ok(None) };
        match &self.place {
            Place::Archive(archive, nodes) => Ok(match nodes.get(&path) {
                Some(Node::File { at, len }) => Some(archive.slice(*at..at + len)),
                _ => None,
            }),
            Place::Folder(folder) => {
                let path = folder.join(path);
                let name = path.display().to_string();
                // A pipe in its place must not be waited for.
                let is_file = fs::metadata(&path).map(|status| status.is_file());
                let opened = is_file.and_then(|is_file| match is_file {
                    true => Blob::from_file(&name, File::open(&path)?).map(Some),
                    false => Err(io::Error::other("it is no file")),
                });
                match opened {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    opened => opened.map_err(OciError::io(&path)),
                }
            }
        }
    }

    /// The bytes of a small file, if it is there.
    pub(super) fn small(&self, path: &str) -> Result<Option<Vec<u8>>, OciError> {
        let Some(blob) = self.file(path)? else { return Ok(None) };
        let name = format!("{}: {}", self.name, shown(path));
        if blob.len() > DOCUMENT_MAX {
            let why = format!("it has {} bytes, and may have {DOCUMENT_MAX}", blob.len());
            return Err(OciError::document(&name, why));
        }
        blob.to_vec().map(Some).map_err(|source| OciError::Io { name, source })
    }
}

/// What is in an archive. Where a path comes twice, the later one counts.
fn nodes(archive: &Blob) -> Result<BTreeMap<String, Node>, TarError> {
    let budget = Budget::default();
    let mut members = Members::new(Seeking::new(archive));
    let mut nodes = BTreeMap::new();
    while let Some(member) = members.next()? {
        budget.member(member.path.len())?;
        for (at, _) in member.path.match_indices('/') {
            let folder = &member.path[..at];
            if !nodes.contains_key(folder) {
                budget.member(at)?;
                nodes.insert(folder.to_owned(), Node::Folder);
            }
        }
        let node = match member.kind {
            MemberKind::Folder => Node::Folder,
            MemberKind::HardLink(target) => Node::Link(format!("/{target}")),
            MemberKind::Symlink(target) => Node::Link(target),
            MemberKind::File => {
                let end = member.at.checked_add(member.len);
                end.filter(|end| *end <= archive.len()).ok_or(TarError::Truncated)?;
                Node::File { at: member.at, len: member.len }
            }
            MemberKind::Other(_) => continue,
        };
        nodes.insert(member.path, node);
    }
    Ok(nodes)
}

/// Images to pick from, and their content.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) files: Files,
    pub(super) images: Vec<Image>,
    /// Content that is in no file.
    pub(super) made: BTreeMap<Digest, Blob>,
    /// The files of content that is not at its usual place.
    pub(super) paths: BTreeMap<Digest, String>,
}

/// An image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// What it may be called by, beside its digest.
    pub(super) names: Vec<String>,
    pub(super) descriptor: Descriptor,
}

impl Shelf {
    /// The image of a name or digest; without one, the only image.
    pub(super) fn pick(&self, pick: Option<&str>) -> Result<Descriptor, OciError> {
        let digest = |image: &Image| format!("sha256:{}", image.descriptor.digest);
        let fits = |image: &&Image| match pick {
            None => true,
            Some(pick) => image.names.iter().any(|name| name == pick) || digest(image) == pick,
        };
        let found: Vec<&Image> = self.images.iter().filter(fits).collect();
        let name = &self.files.name;
        let why = match (found.as_slice(), pick) {
            ([first, rest @ ..], _) if rest.iter().all(|i| i.descriptor == first.descriptor) => {
                return Ok(first.descriptor.clone());
            }
            ([], Some(pick)) => format!("`{name}` has no image `{}`", shown(pick)),
            ([], None) => format!("`{name}` has no image"),
            (_, Some(pick)) => format!("`{name}` has several images `{}`", shown(pick)),
            (_, None) => format!("`{name}` has several images, and none is picked"),
        };
        let called = |image: &Image| match image.names.first() {
            Some(first) => shown(first),
            None => digest(image),
        };
        let mut there: Vec<String> = self.images.iter().map(called).collect();
        there.sort();
        // Of images with one name their digests tell which is which.
        if there.windows(2).any(|pair| pair[0] == pair[1]) {
            there = self.images.iter().map(|i| format!("{}@{}", called(i), digest(i))).collect();
            there.sort();
            there.dedup();
        }
        if there.len() > NAMES_SHOWN {
            there.truncate(NAMES_SHOWN);
            there.push("more".to_owned());
        }
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Err(OciError::Pick { why, there })
    }

    /// Content by its digest, verified.
    pub(super) fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable> {
        self.content(wanted).map_err(|error| Unavailable(Box::new(error)))
    }

    fn content(&self, wanted: &Descriptor) -> Result<Blob, OciError> {
        let made = self.made.get(&wanted.digest);
        if let Some(blob) = made.filter(|blob| blob.len() == wanted.len) {
            return Ok(blob.clone());
        }
        let usual = || format!("blobs/sha256/{}", wanted.digest);
        let path = self.paths.get(&wanted.digest).cloned().unwrap_or_else(usual);
        let what = format!("`{}` in `{}`", shown(&path), self.files.name);
        let blob = self.files.file(&path)?;
        let blob = blob.ok_or_else(|| OciError::document(&what, "it is not there"))?;
        if blob.len() != wanted.len {
            let why = format!("it has {} bytes, not {}", blob.len(), wanted.len);
            return Err(OciError::document(&what, why));
        }
        let io = |source| OciError::Io { name: what.clone(), source };
        let found = Digest::of_blob(&blob).map_err(io)?;
        if found != wanted.digest {
            let why = format!("its digest is sha256:{found}, not sha256:{}", wanted.digest);
            return Err(OciError::document(&what, why));
        }
        Ok(blob)
    }
}
