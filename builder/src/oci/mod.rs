//! Container images as files: references, manifests, layers.
//!
//! In: an image's layout, archive or blobs. Out: its files as a [`crate::tree::Tree`].
//!
//! Source: OCI Image Format Specification 1.1; Docker Image Specification 1.2.
//!
//! Not here: the network (`registry`).

use std::path::PathBuf;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::oci::reference::Reference;

pub mod reference;
pub mod error;
pub mod tar;
mod packing;
mod layer;
mod merge;
pub mod manifest;
pub mod artifact;
pub mod image;
pub mod unpack;
mod shelf;
pub mod layout;
pub mod archive;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// In a registry.
    Registry(Reference),
    /// In an OCI image layout: a folder, or a tar archive of one.
    Layout {
        /// The folder or archive.
        path: PathBuf,
        /// The tag (`org.opencontainers.image.ref.name`) or digest of the image, where the layout
        /// has several.
        pick: Option<String>,
    },
    /// In an archive that `docker save` wrote.
    Archive {
        /// The archive.
        path: PathBuf,
        /// The name of the image, where the archive has several.
        pick: Option<String>,
    },
}

/// What a manifest or an index says of a piece of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The kind of content: `application/vnd.oci.image.manifest.v1+json`.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
}

/// A place that has an image's content.
pub trait Content: Sync {
    /// The content that a descriptor names, its length and digest verified.
    ///
    /// # Errors
    ///
    /// Where it cannot be had, for a person: what and why, without secrets.
    fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable>;
}

/// Why content cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests;
