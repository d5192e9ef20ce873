//! OCI image layouts: a folder, or a tar archive of one.
//!
//! In: its path. Out: the images in it, and their content; nothing is extracted.
//!
//! Source: OCI Image Format Specification 1.1, `image-layout.md`, `annotations.md`; for the name of
//! an image in what Docker and containerd write, containerd `core/images/annotations.go`.
//!
//! Not here: archives of the older form of `docker save` (`archive`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::error::{OciError, shown};
use super::manifest::{Document, Item, OCI_INDEX, Wrong, index, json};
use super::shelf::{Files, Image, Shelf};
use super::{Content, Descriptor, Unavailable};
use crate::blob::Blob;
use crate::digest::Digest;

/// Where an image's names are, the one that tells most first.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image layout.
#[derive(Debug)]
pub struct Layout(Shelf);

impl Layout {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn open(path: &Path) -> Result<Self, OciError> {
        Self::of(Files::open(path)?)
    }

    /// Opens the one in an archive; `name` is for messages.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn of_archive(name: &str, archive: Blob) -> Result<Self, OciError> {
        Self::of(Files::of_archive(name, archive)?)
    }

    pub(super) fn of(files: Files) -> Result<Self, OciError> {
        let wrong = |why: Wrong| why.of(&format!("{}: oci-layout", files.name));
        let Some(marker) = files.small("oci-layout")? else {
            let why = "it is no OCI image layout: there is no `oci-layout` in it";
            return Err(OciError::document(&files.name, why));
        };
        let marker: Marker = json(&marker).map_err(wrong)?;
        if !marker.image_layout_version.starts_with("1.") {
            let version = shown(&marker.image_layout_version);
            return Err(wrong(Wrong::Text(format!("it is of version {version}, not 1"))));
        }
        let Some(list) = files.small("index.json")? else {
            return Err(OciError::document(&files.name, "there is no `index.json` in it"));
        };
        let wrong = |why: Wrong| why.of(&format!("{}: index.json", files.name));
        let items = match Document::parse(&list, OCI_INDEX).map_err(wrong)? {
            Document::Index(items) => items,
            Document::Manifest { .. } => Vec::new(),
        };
        let mut made = BTreeMap::new();
        let images = images(items, &mut made);
        Ok(Self(Shelf { files, images, made, paths: BTreeMap::new() }))
    }

    /// The image of a name or digest; without one, the only image.
    ///
    /// # Errors
    ///
    /// Where there is none, or several. The error has the names of those that there are.
    pub fn pick(&self, pick: Option<&str>) -> Result<Descriptor, OciError> {
        self.0.pick(pick)
    }

    pub(super) fn into_shelf(self) -> Shelf {
        self.0
    }
}

impl Content for Layout {
    fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable> {
        self.0.get(wanted)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// The images of a layout. Those of one name that are for several machines are one image, whose
/// index is made here.
fn images(items: Vec<Item>, made: &mut BTreeMap<Digest, Blob>) -> Vec<Image> {
    let mut groups: BTreeMap<Vec<String>, Vec<Item>> = BTreeMap::new();
    for item in items.into_iter().filter(|item| !item.is_attestation()) {
        let names = NAMES.iter().filter_map(|key| item.annotations.get(*key).cloned()).collect();
        groups.entry(names).or_default().push(item);
    }
    let mut images = Vec::new();
    for (names, items) in groups {
        let platforms: BTreeSet<_> =
            items.iter().filter_map(|item| item.platform.as_ref()).collect();
        if items.len() > 1 && platforms.len() == items.len() {
            let bytes = index(&items);
            let descriptor = Descriptor {
                media_type: OCI_INDEX.to_owned(),
                digest: Digest::of(&bytes),
                len: bytes.len() as u64,
            };
            made.insert(descriptor.digest, Blob::from_bytes("image index", bytes));
            images.push(Image { names, descriptor });
        } else {
            let image = |item: Item| Image { names: names.clone(), descriptor: item.descriptor };
            images.extend(items.into_iter().map(image));
        }
    }
    images
}
