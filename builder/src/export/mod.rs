//! Images in layers that nodes share, put where machines and people take them from.
//!
//! A node's image is an OCI artifact: a config that says which files it has, a layer for each chunk
//! of what it has in common with others, and layers of its own bytes. Content is kept by digest, so
//! that a further node costs its own bytes. The form is the same everywhere:
//!
//! ```text
//! tag NAME ─▶ manifest (artifactType …node.v1)
//!               ├ config    files: path, length, digest, own ranges, chunks     `image`
//!               ├ layers    chunks of the base, Zstandard: the same for all nodes
//!               └ layers    own bytes, Zstandard: they hold the node's secrets
//! tag _site ─▶ manifest (artifactType …site.v1): `manifest.json`, `SHA256SUMS`
//! ```
//!
//! What is named by something is put before it: blobs, then manifests, then tags. So an export that
//! was cut short shows no node that is not whole, and the next one goes on from there.
//!
//! In: a folder that was built, a place; or a place and a node. Out: artifacts; or the node's files.
//!
//! Source: OCI Image Format Specification 1.1, `manifest.md` ("Guidelines for Artifact Usage").
//!
//! Not here: how places are asked (`registry`), and how files are written (`sink`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Blob;
use crate::digest::Digest;
use crate::export::error::ExportError;
use crate::export::image::{Chunk, Image, Own, Part};
use crate::export::list::{Built, List, Node};
use crate::export::place::{Lists, Place};
use crate::export::split::{CHUNK, Piece, sparse, split};
use crate::oci::Descriptor;
use crate::oci::artifact::{Artifact, Entry, LAYERS_MAX, Layer};
use crate::oci::manifest::DOCUMENT_MAX;
use crate::sink::Tell;

pub mod error;
pub mod split;
pub mod image;
pub mod join;
pub mod list;
pub mod place;
pub mod folder;
pub mod registry;
pub mod bucket;
#[cfg(test)]
mod tests;

/// The tag of a site's lists. No node has it: a host's name does not begin with `_`.
pub const SITE: &str = "_site";
/// The kinds of artifacts and blobs.
const NODE_KIND: &str = "application/vnd.talforge.node.v1";
const SITE_KIND: &str = "application/vnd.talforge.site.v1";
const CONFIG: &str = "application/vnd.talforge.node.config.v1+json";
const CHUNKS: &str = "application/vnd.talforge.chunk.v1+zstd";
const OWNS: &str = "application/vnd.talforge.own.v1+zstd";
/// The config of an artifact that has none: OCI Image Format Specification 1.1, `manifest.md`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The files of a layout: OCI Image Format Specification 1.1, `image-layout.md`.
const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
/// The most bytes of an index that is read: some 100,000 nodes.
const INDEX_MAX: u64 = 64 << 20;
/// How hard is compressed. It must stay, or the base of an earlier export is not that of the next.
const LEVEL: i32 = 3;

/// An export under way. It may be used by several threads.
#[derive(Debug)]
pub struct Export<'a, P: Place + ?Sized> {
    place: &'a P,
    folder: &'a Path,
    /// The length of a chunk in bytes.
    chunk: u64,
    /// The layers of chunks, by the chunks' digests. Who needs one that another makes waits for it.
    chunks: Mutex<BTreeMap<Digest, Slot>>,
    sent: AtomicU64,
}

type Slot = Arc<Mutex<Option<Descriptor>>>;

/// A node's artifact under way.
#[derive(Default)]
struct Draft {
    files: Vec<Part>,
    chunks: Vec<Chunk>,
    /// The layers so far, each once.
    layers: Vec<Descriptor>,
    own: Vec<Own>,
    own_layers: Vec<Descriptor>,
    /// Own bytes that are in no layer yet.
    rest: Vec<u8>,
}

/// Either kind of failure of a pass over a file.
enum Halt {
    Io(io::Error),
    Export(ExportError),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<'a, P: Place + ?Sized> Export<'a, P> {
    /// An export of what was built in a folder.
    pub fn new(place: &'a P, folder: &'a Path) -> Self {
        Self { place, folder, chunk: CHUNK, chunks: Mutex::default(), sent: AtomicU64::new(0) }
    }

    /// The bytes that were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Puts a node's image there. `tell` is told of every byte of its files.
    ///
    /// # Errors
    ///
    /// Where a file is not what was built, or the place does not take it. The place does not show
    /// the node then, or as it was before.
    pub fn node(&self, node: &Node, tell: Tell<'_>) -> Result<Descriptor, ExportError> {
        if node.name.starts_with('_') || node.name.contains('/') {
            let why = "it is no host's name".to_owned();
            return Err(ExportError::Node { node: node.name.clone(), why });
        }
        let mut draft = Draft::default();
        for file in &node.files {
            self.file(file, &mut draft, tell)?;
        }
        // An artifact has one layer at least.
        if !draft.rest.is_empty() || draft.own.is_empty() {
            self.own(&mut draft)?;
        }
        let layers = [draft.layers, draft.own_layers].concat();
        if layers.len() > LAYERS_MAX {
            let why = format!("it has more than {LAYERS_MAX} chunks of 16 MiB");
            return Err(ExportError::Node { node: node.name.clone(), why });
        }
        let image = Image { node: node.name.clone(), own: draft.own, files: draft.files };
        let config = image.to_json();
        if config.len() as u64 > DOCUMENT_MAX {
            let why = "it has more ranges of own bytes than an image's config can list".to_owned();
            return Err(ExportError::Node { node: node.name.clone(), why });
        }
        let config = self.put(CONFIG, config)?;
        let layer = |descriptor| Layer { descriptor, title: None };
        let layers = layers.into_iter().map(layer).collect();
        self.publish(&node.name, Artifact { kind: NODE_KIND.into(), config, layers })
    }

    /// Ends it: puts the lists there, if all nodes are, and makes what is there known.
    ///
    /// # Errors
    ///
    /// Where the place does not take it.
    pub fn finish(&self, list: Option<&List>) -> Result<(), ExportError> {
        let mut lists = Lists::new();
        if let Some(list) = list {
            let mut layers = Vec::new();
            for (name, text) in &list.texts {
                let kind = if name.ends_with(".json") { "application/json" } else { "text/plain" };
                let descriptor = self.put(kind, text.clone())?;
                layers.push(Layer { descriptor, title: Some((*name).to_owned()) });
                let shard = list.tag.strip_prefix(SITE).unwrap_or_default();
                let (stem, end) = name.split_once('.').unwrap_or((name, ""));
                let dot = if end.is_empty() { "" } else { "." };
                lists.push((format!("{stem}{shard}{dot}{end}"), text.as_slice().into()));
            }
            let config = self.put(EMPTY, b"{}".to_vec())?;
            self.publish(&list.tag, Artifact { kind: SITE_KIND.into(), config, layers })?;
        }
        self.place.finish(&lists)
    }

    /// Puts the layers of one file there.
    fn file(&self, built: &Built, draft: &mut Draft, tell: Tell<'_>) -> Result<(), ExportError> {
        let path = self.folder.join(built.name.as_str());
        let read = |source| ExportError::Read { path: path.clone(), source };
        let changed = |why: &str| ExportError::Changed { path: path.clone(), why: why.to_owned() };
        let file = File::open(&path).map_err(read)?;
        if !file.metadata().map_err(read)?.is_file() {
            return Err(changed("it is no plain file"));
        }
        let file = sparse(built.name.as_str(), file).map_err(read)?;
        if file.len() != built.len {
            return Err(changed("it has another length"));
        }
        let mut take = |piece: Piece<'_>| self.take(piece, draft).map_err(Halt::Export);
        let digest = match split(&file, &built.own, self.chunk, &mut take, tell) {
            Ok(digest) => digest,
            Err(Halt::Io(error)) => return Err(read(error)),
            Err(Halt::Export(error)) => return Err(error),
        };
        if digest != built.digest {
            return Err(changed("it has another digest"));
        }
        draft.files.push(Part {
            path: built.name.to_string(),
            len: built.len,
            digest,
            own: built.own.clone(),
            chunks: std::mem::take(&mut draft.chunks),
        });
        Ok(())
    }

    fn take(&self, piece: Piece<'_>, draft: &mut Draft) -> Result<(), ExportError> {
        match piece {
            Piece::Base { start, bytes } => {
                let layer = self.chunk(bytes)?;
                draft.chunks.push(Chunk { start, len: bytes.len() as u64, layer: layer.digest });
                if !draft.layers.contains(&layer) {
                    draft.layers.push(layer);
                }
            }
            Piece::Own(mut bytes) => {
                let full = usize::try_from(self.chunk).expect("a chunk fits in memory");
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(full - draft.rest.len()));
                    draft.rest.extend_from_slice(now);
                    bytes = later;
                    if draft.rest.len() == full {
                        self.own(draft)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The layer of a chunk, which is made and put there once.
    fn chunk(&self, bytes: &[u8]) -> Result<Descriptor, ExportError> {
        let slot = lock(&self.chunks).entry(Digest::of(bytes)).or_default().clone();
        let mut made = lock(&slot);
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let descriptor = self.put(CHUNKS, compressed(bytes)?)?;
        *made = Some(descriptor.clone());
        Ok(descriptor)
    }

    /// Makes a layer of the own bytes so far.
    fn own(&self, draft: &mut Draft) -> Result<(), ExportError> {
        let descriptor = self.put(OWNS, compressed(&draft.rest)?)?;
        draft.own.push(Own { len: draft.rest.len() as u64, layer: descriptor.digest });
        draft.rest.clear();
        if !draft.own_layers.contains(&descriptor) && !draft.layers.contains(&descriptor) {
            draft.own_layers.push(descriptor);
        }
        Ok(())
    }

    fn publish(&self, tag: &str, artifact: Artifact) -> Result<Descriptor, ExportError> {
        let bytes = artifact.to_json();
        let manifest = described(MANIFEST, &bytes);
        let entry = Entry { tag: tag.to_owned(), kind: artifact.kind, manifest };
        self.place.publish(&entry, &bytes.into())?;
        Ok(entry.manifest)
    }

    fn put(&self, media_type: &str, bytes: Vec<u8>) -> Result<Descriptor, ExportError> {
        let descriptor = described(media_type, &bytes);
        if !self.place.has(&descriptor)? {
            self.place.put(&descriptor, &bytes.into())?;
            self.sent.fetch_add(descriptor.len, Ordering::Relaxed);
        }
        Ok(descriptor)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    let (digest, len) = (Digest::of(bytes), bytes.len() as u64);
    Descriptor { media_type: media_type.to_owned(), digest, len }
}

/// One frame; the same bytes for the same bytes.
fn compressed(bytes: &[u8]) -> Result<Vec<u8>, ExportError> {
    zstd::bulk::compress(bytes, LEVEL).map_err(|error| ExportError::Artifact {
        what: "a layer".into(),
        why: format!("it cannot be compressed: {error}"),
    })
}

/// A node's image, and its files; `folder` has room for what is unpacked.
///
/// # Errors
///
/// Where the place does not have it, or has something else.
pub fn take<P: Place + ?Sized>(
    place: &P,
    node: &str,
    folder: &Path,
) -> Result<(Image, Vec<Blob>), ExportError> {
    let manifest = place.find(node)?;
    let what = format!("the manifest sha256:{}", manifest.digest);
    let artifact = Artifact::parse(&small(place, &manifest, &what)?, &what)?;
    let wrong = |why: &str| ExportError::Artifact { what: what.clone(), why: why.to_owned() };
    if artifact.kind != NODE_KIND || artifact.config.media_type != CONFIG {
        return Err(wrong("it is not that of a node's image"));
    }
    let image = Image::parse(&small(place, &artifact.config, "the image's config")?)?;
    if image.node != node {
        return Err(wrong("it is another node's"));
    }
    let layers: BTreeMap<_, _> =
        artifact.layers.iter().map(|layer| (layer.descriptor.digest, &layer.descriptor)).collect();
    let all: Vec<_> = layers.values().map(|layer| (*layer).clone()).collect();
    place.prefetch(&all)?;
    let layer = |digest| match layers.get(&digest) {
        Some(descriptor) => place.get(descriptor),
        None => Err(wrong("it lacks a layer that the image's config names")),
    };
    let files = join::join(&image, &layer, folder)?;
    Ok((image, files))
}

/// The bytes of a manifest or config.
fn small<P: Place + ?Sized>(
    place: &P,
    wanted: &Descriptor,
    what: &str,
) -> Result<Vec<u8>, ExportError> {
    let wrong = |why: String| ExportError::Artifact { what: what.to_owned(), why };
    if wanted.len > DOCUMENT_MAX {
        return Err(wrong(format!("it has more than {DOCUMENT_MAX} bytes")));
    }
    place.get(wanted)?.to_vec().map_err(|error| wrong(error.to_string()))
}
