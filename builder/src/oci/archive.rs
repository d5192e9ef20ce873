//! Archives that `docker save` and `podman save` write.
//!
//! In: its path. Out: the images in it, and their content; nothing is extracted.
//!
//! Such an archive has configs and layers, but no manifests: those are made here.
//!
//! Source: Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
//!
//! Not here: OCI image layouts, as newer ones are at the same time (`layout`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::error::{OciError, shown};
use super::layout::Layout;
use super::manifest::{
    Config, LAYERS_MAX, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Wrong, json, manifest,
};
use super::packing::{Packing, packing};
use super::shelf::{Files, Image, Shelf};
use super::{Content, Descriptor, Unavailable};
use crate::blob::Blob;
use crate::digest::Digest;

/// The most images of an archive: all their configs are read.
const IMAGES_MAX: usize = 64;

/// An archive of images.
#[derive(Debug)]
pub struct Archive(Shelf);

impl Archive {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn open(path: &Path) -> Result<Self, OciError> {
        Self::of(Files::open(path)?)
    }

    /// Opens one that is a blob; `name` is for messages.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn of_archive(name: &str, archive: Blob) -> Result<Self, OciError> {
        Self::of(Files::of_archive(name, archive)?)
    }

    fn of(files: Files) -> Result<Self, OciError> {
        if files.small("oci-layout")?.is_some() {
            return Ok(Self(Layout::of(files)?.into_shelf()));
        }
        let Some(list) = files.small("manifest.json")? else {
            let why = "it is no archive of `docker save`: there is no `manifest.json` in it";
            return Err(OciError::document(&files.name, why));
        };
        let wrong = |why: Wrong| why.of(&format!("{}: manifest.json", files.name));
        let list: Vec<Saved> = json(&list).map_err(wrong)?;
        if list.len() > IMAGES_MAX {
            let why = format!("it has more than {IMAGES_MAX} images");
            return Err(OciError::document(&files.name, why));
        }
        let (images, made, paths) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let shelf = Shelf { files, images, made, paths };
        let mut reading = Reading { shelf, digests: BTreeMap::new() };
        for saved in list {
            reading.image(saved)?;
        }
        Ok(Self(reading.shelf))
    }

    /// The image of a name or digest; without one, the only image.
    ///
    /// # Errors
    ///
    /// Where there is none, or several. The error has the names of those that there are.
    pub fn pick(&self, pick: Option<&str>) -> Result<Descriptor, OciError> {
        self.0.pick(pick)
    }
}

impl Content for Archive {
    fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable> {
        self.0.get(wanted)
    }
}

/// An image in the archive's list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// An archive under reading.
struct Reading {
    shelf: Shelf,
    /// The digests of compressed layers, by path.
    digests: BTreeMap<String, Digest>,
}

impl Reading {
    fn image(&mut self, saved: Saved) -> Result<(), OciError> {
        let name = self.shelf.files.name.clone();
        let missing =
            |path: &str| OciError::document(&name, format!("there is no `{}` in it", shown(path)));
        let bytes = self.shelf.files.small(&saved.config)?;
        let bytes = bytes.ok_or_else(|| missing(&saved.config))?;
        let wrong = |why: Wrong| why.of(&format!("{name}: {}", shown(&saved.config)));
        let diff_ids = Config::parse(&bytes).map_err(wrong)?.diff_ids;
        let paths = saved.layers.unwrap_or_default();
        if diff_ids.len() != paths.len() || paths.len() > LAYERS_MAX {
            let (layers, ids) = (paths.len(), diff_ids.len());
            let why = format!("it has {layers} layers, and its config {ids} digests of them");
            return Err(wrong(Wrong::Text(format!("{why}; {LAYERS_MAX} are allowed"))));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in paths.iter().zip(diff_ids) {
            let blob = self.shelf.files.file(path)?.ok_or_else(|| missing(path))?;
            let path = self.shelf.files.find(path).ok_or_else(|| missing(path))?;
            let io = |source| OciError::Io { name: format!("{name}: {}", shown(&path)), source };
            let (packed, digest) = match packing(&blob).map_err(io)? {
                // What the config says is verified when it is read.
                Packing::None => ("", diff_id),
                Packing::Gzip => ("+gzip", self.digest(&path, &blob).map_err(io)?),
                Packing::Zstd => ("+zstd", self.digest(&path, &blob).map_err(io)?),
                Packing::Xz | Packing::Bzip2 | Packing::Lz4 => {
                    let what = format!("{name}: {}", shown(&path));
                    let why = "it is compressed with something else than gzip or zstd";
                    return Err(OciError::document(&what, why));
                }
            };
            let media_type = format!("{OCI_LAYER}{packed}");
            layers.push(Descriptor { media_type, digest, len: blob.len() });
            self.shelf.paths.insert(digest, path);
        }
        let config = self.keep(OCI_CONFIG, bytes);
        let descriptor = self.keep(OCI_MANIFEST, manifest(&config, &layers));
        let names = saved.repo_tags.unwrap_or_default();
        self.shelf.images.push(Image { names, descriptor });
        Ok(())
    }

    /// The digest of a compressed layer, found out once.
    fn digest(&mut self, path: &str, blob: &Blob) -> std::io::Result<Digest> {
        if let Some(digest) = self.digests.get(path) {
            return Ok(*digest);
        }
        let digest = Digest::of_blob(blob)?;
        self.digests.insert(path.to_owned(), digest);
        Ok(digest)
    }

    /// Keeps bytes that are no file of the archive.
    fn keep(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let (digest, len) = (Digest::of(&bytes), bytes.len() as u64);
        self.shelf.made.insert(digest, Blob::from_bytes("image document", bytes));
        Descriptor { media_type: media_type.to_owned(), digest, len }
    }
}
