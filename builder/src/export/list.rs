//! What was built: the nodes of `manifest.json`, as far as an export needs them.
//!
//! In: the folder that `talforge build` wrote. Out: nodes, their files, which bytes are their own.
//!
//! Source: `verb::manifest`, which writes it.
//!
//! Not here: what else is in it; it is put beside the images as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::export::SITE;
use crate::export::error::ExportError;
use crate::export::image::{FILE_MAX, ranges};
use crate::sink::name::{Name, SUMS};

/// The list's name.
const LIST: &str = "manifest.json";
/// The most bytes of a list.
const LIST_MAX: u64 = 512 << 20;

/// What a folder has.
#[derive(Clone, Debug)]
pub struct List {
    /// The nodes, by name.
    pub nodes: Vec<Node>,
    /// The tag of the lists: of the site, or of a shard of it.
    pub tag: String,
    /// The lists themselves, by their names in the folder.
    pub texts: Vec<(&'static str, Vec<u8>)>,
}

/// A node that was built.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: Vec<Built>,
}

/// A file that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its path in the folder.
    pub name: Name,
    /// Its length in bytes.
    pub len: u64,
    /// Its digest.
    pub digest: Digest,
    /// The ranges that are the node's own.
    pub own: Vec<Range<u64>>,
}

#[derive(Deserialize)]
struct WireList {
    shard: Option<WireShard>,
    nodes: BTreeMap<String, WireNode>,
}

#[derive(Deserialize)]
struct WireShard {
    index: u64,
    count: u64,
}

#[derive(Deserialize)]
struct WireNode {
    files: Vec<WireFile>,
}

#[derive(Deserialize)]
struct WireFile {
    path: String,
    bytes: u64,
    sha256: String,
    own: Option<Vec<(u64, u64)>>,
}

impl List {
    /// Reads the lists of a folder.
    ///
    /// # Errors
    ///
    /// Where there are none, or they are of another form.
    pub fn read(folder: &Path) -> Result<Self, ExportError> {
        let path = folder.join(LIST);
        let text = small(&path)?
            .ok_or_else(|| ExportError::List { path: path.clone(), why: "there is none".into() })?;
        let wrong = |why: String| ExportError::List { path: path.clone(), why };
        let wire: WireList =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let nodes = wire.nodes.into_iter().map(|(name, node)| {
            let files = node.files.into_iter().map(Built::read).collect::<Result<_, _>>();
            let files = files.map_err(|why| wrong(format!("node `{name}`: {why}")))?;
            Ok::<_, ExportError>(Node { name, files })
        });
        let tag = match wire.shard {
            Some(WireShard { index, count }) => format!("{SITE}-shard-{index}-of-{count}"),
            None => SITE.to_owned(),
        };
        let nodes = nodes.collect::<Result<_, _>>()?;
        let sums = small(&folder.join(SUMS))?.map(|sums| (SUMS, sums));
        Ok(Self { nodes, tag, texts: [(LIST, text)].into_iter().chain(sums).collect() })
    }
}

impl Built {
    fn read(wire: WireFile) -> Result<Self, String> {
        let name = Name::parse(&wire.path).map_err(|error| error.to_string())?;
        let wrong = |why: &str| format!("`{name}`: {why}");
        if wire.bytes > FILE_MAX {
            return Err(wrong("it is longer than any medium"));
        }
        let own =
            wire.own.ok_or_else(|| wrong("it does not say which bytes are the node's own"))?;
        let own = ranges(&own, wire.bytes).map_err(wrong)?;
        let digest = wire.sha256.parse().map_err(|_| wrong("it has no digest"))?;
        Ok(Self { len: wire.bytes, digest, own, name })
    }
}

/// The bytes of a list, if it is there.
fn small(path: &Path) -> Result<Option<Vec<u8>>, ExportError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LIST_MAX + 1).read_to_end(&mut text)) {
        Ok(len) if len as u64 > LIST_MAX => {
            Err(ExportError::List { path: path.into(), why: "it is longer than any".into() })
        }
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExportError::Read { path: PathBuf::from(path), source }),
    }
}
