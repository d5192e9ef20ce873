//! Manifests, indexes and configs of images.
//!
//! In: their JSON. Out: which blobs an image has, and for which machines it is.
//!
//! Source: OCI Image Format Specification 1.1, `manifest.md`, `image-index.md`, `config.md`,
//! `descriptor.md`, `media-types.md`; Docker's "Image Manifest Version 2, Schema 2".
//!
//! Not here: which image of an index is taken (`image`), and what layers hold (`layer`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{OciError, shown};
use super::{Content, Descriptor};
use crate::digest::Digest;

/// The most bytes of a manifest, index or config: what registries take at most.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// The most layers of an image. Docker's own limit is 127.
pub const LAYERS_MAX: usize = 512;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An image for one architecture: what its manifest and its config say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its own digest, length and type.
    pub descriptor: Descriptor,
    /// The config.
    pub config: Descriptor,
    /// The architecture, in Go's name, where the config has one: `amd64`.
    pub architecture: Option<String>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer, as manifest and config have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The layer as it is kept, compressed.
    pub descriptor: Descriptor,
    /// The digest of the archive that it unpacks to.
    pub diff_id: Digest,
}

/// An index or a manifest.
#[derive(Clone, Debug)]
pub(super) enum Document {
    Index(Vec<Item>),
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
}

/// An image in an index.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) descriptor: Descriptor,
    pub(super) platform: Option<Platform>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// The machines that an image is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", shown(&self.os), shown(&self.architecture))
    }
}

/// What an image's config says that is used here.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) os: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) diff_ids: Vec<Digest>,
}

/// A descriptor as documents have it.
fn written(descriptor: &Descriptor) -> Value {
    let Descriptor { media_type, digest, len } = descriptor;
    serde_json::json!({
        "mediaType": media_type,
        "digest": format!("sha256:{digest}"),
        "size": len,
    })
}

/// An index, written: the same images in the same order are the same bytes.
pub(super) fn index(items: &[Item]) -> Vec<u8> {
    let item = |item: &Item| {
        let mut entry = written(&item.descriptor);
        if let Some(Platform { os, architecture }) = &item.platform {
            entry["platform"] = serde_json::json!({ "os": os, "architecture": architecture });
        }
        entry
    };
    let items: Vec<_> = items.iter().map(item).collect();
    let index =
        serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": items });
    index.to_string().into_bytes()
}

/// A manifest, written.
pub(super) fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": written(config),
        "layers": layers.iter().map(written).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

impl Document {
    /// Fetches and reads one.
    pub(super) fn get(content: &dyn Content, wanted: &Descriptor) -> Result<Self, OciError> {
        let what = format!("the manifest sha256:{}", wanted.digest);
        match wanted.media_type.as_str() {
            OCI_INDEX | DOCKER_LIST | OCI_MANIFEST | DOCKER_MANIFEST => {}
            other => return Err(no_image(&what, other)),
        }
        let bytes = fetch(content, wanted, &what)?;
        let read = Self::parse(&bytes, &wanted.media_type);
        read.map_err(|why| why.of(&what))
    }

    /// Reads one whose descriptor has the type.
    pub(super) fn parse(bytes: &[u8], media_type: &str) -> Result<Self, Wrong> {
        let wire: WireDocument = json(bytes)?;
        if wire.schema_version != 2 {
            return Err(Wrong::Text(format!(
                "it is of schema version {}, not 2",
                wire.schema_version
            )));
        }
        if let Some(own) = wire.media_type.filter(|own| own != media_type) {
            let why = format!("it calls itself `{}`, its descriptor `{media_type}`", shown(&own));
            return Err(Wrong::Text(why));
        }
        let is_index = matches!(media_type, OCI_INDEX | DOCKER_LIST);
        match (wire.manifests, wire.config, wire.layers) {
            (Some(items), None, None) if is_index => {
                let items: Result<_, _> = items.into_iter().map(Item::read).collect();
                Ok(Self::Index(items?))
            }
            (None, Some(config), Some(layers)) if !is_index => {
                let config = config.read()?;
                match config.media_type.as_str() {
                    OCI_CONFIG | DOCKER_CONFIG => {}
                    other => return Err(Wrong::Type("its config", other.to_owned(), ARTIFACT)),
                }
                if layers.len() > LAYERS_MAX {
                    return Err(Wrong::Text(format!("it has more than {LAYERS_MAX} layers")));
                }
                let layers: Result<_, _> = layers.into_iter().map(layer).collect();
                Ok(Self::Manifest { config, layers: layers? })
            }
            // A document that is both was two images to two programs: CVE-2021-41190.
            _ if is_index => Err(Wrong::Text("an index has `manifests` and nothing else".into())),
            _ => Err(Wrong::Text("a manifest has `config` and `layers` and nothing else".into())),
        }
    }
}

impl Config {
    /// Fetches and reads one.
    pub(super) fn get(content: &dyn Content, wanted: &Descriptor) -> Result<Self, OciError> {
        let what = format!("the config sha256:{}", wanted.digest);
        let bytes = fetch(content, wanted, &what)?;
        Self::parse(&bytes).map_err(|why| why.of(&what))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        let wire: WireConfig = json(bytes)?;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let diff_ids: Result<_, _> = wire.rootfs.diff_ids.iter().map(|text| digest(text)).collect();
        Ok(Self { os: some(wire.os), architecture: some(wire.architecture), diff_ids: diff_ids? })
    }
}

/// The refusal of what is neither an index nor a manifest.
fn no_image(what: &str, media_type: &str) -> OciError {
    let why = match media_type {
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => {
            "schema 1 is withdrawn; push the image again with a newer program"
        }
        _ => "it is neither an index nor a manifest of an image",
    };
    OciError::MediaType { what: what.to_owned(), media_type: shown(media_type), why }
}

const ARTIFACT: &str = "it is no container image";

/// The bytes of a document, within its limit.
fn fetch(content: &dyn Content, wanted: &Descriptor, what: &str) -> Result<Vec<u8>, OciError> {
    if wanted.len > DOCUMENT_MAX {
        let why = format!("it has {} bytes, and may have {DOCUMENT_MAX}", wanted.len);
        return Err(OciError::document(what, why));
    }
    let bytes = content.get(wanted)?.to_vec();
    bytes.map_err(|source| OciError::Io { name: what.to_owned(), source })
}

/// What is wrong with a document whose name is not known here.
#[derive(Debug)]
pub(super) enum Wrong {
    Text(String),
    Type(&'static str, String, &'static str),
}

impl Wrong {
    pub(super) fn of(self, what: &str) -> OciError {
        match self {
            Self::Text(why) => OciError::document(what, why),
            Self::Type(part, media_type, why) => OciError::MediaType {
                what: format!("{what}: {part}"),
                media_type: shown(&media_type),
                why,
            },
        }
    }
}

/// Reads JSON of bounded length. Text after it is an error.
pub(super) fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Wrong> {
    // Its messages quote names and values of the text.
    serde_json::from_slice(bytes).map_err(|error| Wrong::Text(shown(&error.to_string())))
}

/// Reads `sha256:` and 64 digits.
pub(super) fn digest(text: &str) -> Result<Digest, Wrong> {
    let hex = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
    let why = || format!("`{}` is no digest of the kind `sha256:…`", shown(text));
    hex.ok_or_else(|| Wrong::Text(why()))
}

/// Checks a layer's type.
fn layer(wire: WireDescriptor) -> Result<Descriptor, Wrong> {
    let layer = wire.read()?;
    let kind = layer.media_type.as_str();
    let packing = kind.strip_prefix(OCI_LAYER).map(|packing| packing.replace('+', "."));
    let packing = packing.or_else(|| kind.strip_prefix(DOCKER_LAYER).map(str::to_owned));
    let why = match packing.as_deref() {
        Some("" | ".gzip" | ".zstd") => return Ok(layer),
        Some(_) => "it is compressed in a way that is not known here",
        None if kind.contains(".foreign.") || kind.contains(".nondistributable.") => {
            "it is not distributed with the image"
        }
        None => ARTIFACT,
    };
    Err(Wrong::Type("a layer", layer.media_type, why))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<Vec<WireDescriptor>>,
    config: Option<WireDescriptor>,
    layers: Option<Vec<WireDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct WireConfig {
    os: Option<String>,
    architecture: Option<String>,
    rootfs: WireRootfs,
}

#[derive(Deserialize)]
struct WireRootfs {
    // Go writes an empty list as nothing.
    #[serde(default, deserialize_with = "list")]
    diff_ids: Vec<String>,
}

fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl WireDescriptor {
    fn read(self) -> Result<Descriptor, Wrong> {
        let digest = digest(&self.digest)?;
        Ok(Descriptor { media_type: self.media_type, digest, len: self.size })
    }
}

impl Item {
    fn read(mut wire: WireDescriptor) -> Result<Self, Wrong> {
        let platform = wire.platform.take();
        let annotations = wire.annotations.take().unwrap_or_default().into_iter();
        let text = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        let annotations = annotations.filter_map(text).collect();
        Ok(Self { descriptor: wire.read()?, platform, annotations })
    }

    /// Whether it says something of another image, and is none. BuildKit's "attestation manifests".
    pub(super) fn is_attestation(&self) -> bool {
        let unknown = |p: &Platform| p.os == "unknown" && p.architecture == "unknown";
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(unknown)
    }
}
