//! The config of a node's artifact: its files, and which layers they are made of.
//!
//! ```json
//! {"version": 1, "node": "cp-1",
//!  "own": [{"bytes": 16384, "layer": "sha256:…"}],
//!  "files": [{"path": "cp-1.raw", "bytes": 1306525696, "sha256": "…", "own": [[1048576, 16384]],
//!             "chunks": [{"start": 0, "bytes": 16777216, "layer": "sha256:…"}]}]}
//! ```
//!
//! A layer of a chunk is the chunk's bytes, one of own bytes is a part of all files' own bytes, one
//! file after another; each in one Zstandard frame. What neither covers is zeros.
//!
//! In: a node's files, cut; or the JSON. Out: the JSON; or the files, sound in themselves.
//!
//! Source: none, the form is ours; `version` counts changes that a reader must know of.
//!
//! Not here: the layers' bytes (`join`), and the manifest that names them (`oci::artifact`).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::export::error::ExportError;
use crate::oci::artifact::LAYERS_MAX;

/// The version of the form.
const VERSION: u32 = 1;
/// The longest chunk that is read, in bytes.
pub const CHUNK_MAX: u64 = 64 << 20;
/// The longest file, in bytes.
pub const FILE_MAX: u64 = 4 << 40;
/// The most files of a node.
const FILES_MAX: usize = 1024;

/// A node's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The node's name.
    pub node: String,
    /// The layers of own bytes, in order.
    pub own: Vec<Own>,
    /// Its files.
    pub files: Vec<Part>,
}

/// A layer of own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Their number.
    pub len: u64,
    /// The layer.
    pub layer: Digest,
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path in the output folder.
    pub path: String,
    /// Its length in bytes.
    pub len: u64,
    /// Its digest.
    pub digest: Digest,
    /// The ranges that are the node's own, in order, apart.
    pub own: Vec<Range<u64>>,
    /// The rest, as far as it is no zeros, in order, apart.
    pub chunks: Vec<Chunk>,
}

/// A chunk of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it lies, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The layer.
    pub layer: Digest,
}

#[derive(Deserialize, Serialize)]
struct WireImage {
    version: u32,
    node: String,
    own: Vec<WireOwn>,
    files: Vec<WirePart>,
}

#[derive(Deserialize, Serialize)]
struct WireOwn {
    bytes: u64,
    layer: String,
}

#[derive(Deserialize, Serialize)]
struct WirePart {
    path: String,
    bytes: u64,
    sha256: String,
    own: Vec<(u64, u64)>,
    chunks: Vec<WireChunk>,
}

#[derive(Deserialize, Serialize)]
struct WireChunk {
    start: u64,
    bytes: u64,
    layer: String,
}

/// Ranges of `[start, length]` as half-open ones, where they are in order, apart, not empty, and end
/// by `len`.
///
/// # Errors
///
/// What is wrong with them.
pub fn ranges(pairs: &[(u64, u64)], len: u64) -> Result<Vec<Range<u64>>, &'static str> {
    let mut found: Vec<Range<u64>> = Vec::with_capacity(pairs.len());
    for &(start, bytes) in pairs {
        let end = start.checked_add(bytes).filter(|end| *end <= len);
        let end = end.ok_or("a range ends past its file")?;
        if bytes == 0 || found.last().is_some_and(|last| last.end > start) {
            return Err("its ranges are not in order");
        }
        found.push(start..end);
    }
    Ok(found)
}

impl Image {
    /// The JSON: the same image is the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let named = |digest: &Digest| format!("sha256:{digest}");
        let chunk = |chunk: &Chunk| WireChunk {
            start: chunk.start,
            bytes: chunk.len,
            layer: named(&chunk.layer),
        };
        let part = |part: &Part| WirePart {
            path: part.path.clone(),
            bytes: part.len,
            sha256: part.digest.to_string(),
            own: part.own.iter().map(|range| (range.start, range.end - range.start)).collect(),
            chunks: part.chunks.iter().map(chunk).collect(),
        };
        let own = |own: &Own| WireOwn { bytes: own.len, layer: named(&own.layer) };
        let wire = WireImage {
            version: VERSION,
            node: self.node.clone(),
            own: self.own.iter().map(own).collect(),
            files: self.files.iter().map(part).collect(),
        };
        serde_json::to_vec(&wire).expect("numbers and texts are JSON")
    }

    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// [`ExportError::Artifact`] where it is not of the form, or breaks a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExportError> {
        let wrong = |why: String| ExportError::Artifact { what: "the image's config".into(), why };
        let wire: WireImage =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if wire.version != VERSION {
            return Err(wrong(format!("it is of version {}, not {VERSION}", wire.version)));
        }
        Self::read(wire).map_err(|why| wrong(why.to_owned()))
    }

    fn read(wire: WireImage) -> Result<Self, &'static str> {
        let layers =
            wire.own.len() + wire.files.iter().map(|part| part.chunks.len()).sum::<usize>();
        if wire.files.len() > FILES_MAX || layers > LAYERS_MAX * FILES_MAX {
            return Err("it has more files or chunks than any image");
        }
        let own = wire.own.into_iter().map(Own::read).collect::<Result<Vec<_>, _>>()?;
        let files = wire.files.into_iter().map(Part::read).collect::<Result<Vec<_>, _>>()?;
        let add = |sum: Option<u64>, len: u64| sum?.checked_add(len);
        let there = own.iter().map(|own| own.len).fold(Some(0), add);
        let ranges = files.iter().flat_map(|part| &part.own);
        let wanted = ranges.map(|range| range.end - range.start).fold(Some(0), add);
        if there.is_none() || there != wanted {
            return Err("its layers of own bytes are not as long as its own ranges");
        }
        Ok(Self { node: wire.node, own, files })
    }
}

fn layer(text: &str) -> Result<Digest, &'static str> {
    let hex = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
    hex.ok_or("a layer has no digest")
}

impl Own {
    fn read(wire: WireOwn) -> Result<Self, &'static str> {
        match wire.bytes {
            0..=CHUNK_MAX => Ok(Self { len: wire.bytes, layer: layer(&wire.layer)? }),
            _ => Err("a layer is longer than any"),
        }
    }
}

impl Part {
    fn read(wire: WirePart) -> Result<Self, &'static str> {
        if wire.bytes > FILE_MAX {
            return Err("a file is longer than any medium");
        }
        let digest = wire.sha256.parse().map_err(|_| "a file has no digest")?;
        let pairs: Vec<_> = wire.chunks.iter().map(|chunk| (chunk.start, chunk.bytes)).collect();
        // They must be apart, too.
        ranges(&pairs, wire.bytes)?;
        let chunk = |wire: &WireChunk| match wire.bytes {
            0..=CHUNK_MAX => {
                Ok(Chunk { start: wire.start, len: wire.bytes, layer: layer(&wire.layer)? })
            }
            _ => Err("a chunk is longer than any"),
        };
        Ok(Self {
            own: ranges(&wire.own, wire.bytes)?,
            chunks: wire.chunks.iter().map(chunk).collect::<Result<_, _>>()?,
            path: wire.path,
            len: wire.bytes,
            digest,
        })
    }
}
