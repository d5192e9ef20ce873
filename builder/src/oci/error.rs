//! What can be wrong with an image.
//!
//! In: findings of this room. Out: one line a finding, for a person.
//!
//! Source: none.
//!
//! Not here: where an image was named, and what to do (`verb`).

use std::io;

use thiserror::Error;

use super::Unavailable;
use super::tar::TarError;
use crate::digest::Digest;
use crate::store::StoreError;

/// Why an image, an archive or a folder cannot be used.
#[derive(Debug, Error)]
pub enum OciError {
    /// Content that its place does not give.
    #[error(transparent)]
    Content(#[from] Unavailable),
    /// The store of unpacked files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder that the user named.
    #[error("`{name}` cannot be read")]
    Io {
        /// Its path.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest, index or config that breaks its specification or a limit.
    #[error("{what}: {why}")]
    Document {
        /// Which one.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// Content of a kind that is not used here.
    #[error("{what} is of the type `{media_type}`: {why}")]
    MediaType {
        /// Whose type it is.
        what: String,
        /// The type.
        media_type: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// No image for the architecture.
    #[error("there is no image for {wanted}, only for {there}")]
    Platform {
        /// What was asked for: `linux/arm64`.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// The image that was picked is not there, or none was picked and there are several.
    #[error("{why}; there is {there}")]
    Pick {
        /// What is wrong.
        why: String,
        /// The names of those that there are.
        there: String,
    },
    /// A layer, an archive or a folder.
    #[error("{what}: {why}")]
    Archive {
        /// Which one.
        what: String,
        /// What is wrong with it.
        #[source]
        why: TarError,
    },
    /// A layer that does not unpack to what the image's config says.
    #[error("the layer sha256:{layer} unpacks to sha256:{found}, not to sha256:{wanted}")]
    DiffId {
        /// The layer.
        layer: Digest,
        /// What the config says.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
}

impl OciError {
    pub(super) fn document(what: &str, why: impl Into<String>) -> Self {
        Self::Document { what: what.to_owned(), why: why.into() }
    }

    pub(super) fn archive(what: &str) -> impl FnOnce(TarError) -> Self {
        move |why| Self::Archive { what: what.to_owned(), why }
    }

    pub(super) fn io(name: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { name: name.display().to_string(), source }
    }
}

/// A text from outside for a message: what cannot be shown escaped, and not more than a line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_default).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}
