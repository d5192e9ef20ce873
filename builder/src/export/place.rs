//! Places that images are put to and taken from, and how they are written.
//!
//! ```text
//! oci://HOST/REPOSITORY        a repository: a tag for each node
//! s3://BUCKET/PREFIX           objects that are an OCI image layout, and `nodes/NAME.json`
//! dir:PATH, or a path          a folder that is an OCI image layout
//! ```
//!
//! In: what a person wrote. Out: an [`Address`]; what all places can do.
//!
//! Source: OCI Image Format Specification 1.1, `image-layout.md`.
//!
//! Not here: each of the places (`registry`, `bucket`, `folder`).

use std::path::PathBuf;
use std::sync::Arc;

use crate::blob::Blob;
use crate::export::error::ExportError;
use crate::oci::Descriptor;
use crate::oci::artifact::Entry;
use crate::parallel;

/// How many blobs are fetched at once.
const CONNECTIONS: usize = 4;
/// The lists of a site or a shard, by their names at the place.
pub type Lists = Vec<(String, Arc<[u8]>)>;

/// A place's name, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A repository: `ghcr.io/me/site`.
    Registry(String),
    /// A bucket, and what keys in it begin with.
    Bucket(String, String),
    /// A folder.
    Folder(PathBuf),
}

impl Address {
    /// Reads a place's name.
    ///
    /// # Errors
    ///
    /// [`ExportError::Address`] where it is none.
    pub fn parse(text: &str) -> Result<Self, ExportError> {
        let wrong = |why| {
            let shown = if text.contains('@') { "the place" } else { text };
            ExportError::Address { text: shown.to_owned(), why }
        };
        match text.split_once("://") {
            Some(("oci", repository)) => match repository.rsplit('/').next() {
                _ if !repository.contains('/') => Err(wrong("it names no repository")),
                Some(last) if last.contains([':', '@']) => {
                    Err(wrong("it has a tag or digest, and a tag is a node's name"))
                }
                _ => Ok(Self::Registry(repository.to_owned())),
            },
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.trim_matches('/');
                match bucket {
                    "" => Err(wrong("it names no bucket")),
                    _ if prefix.split('/').any(|part| part == "." || part == "..") => {
                        Err(wrong("its prefix has a part `.` or `..`"))
                    }
                    _ => Ok(Self::Bucket(bucket.to_owned(), prefix.to_owned())),
                }
            }
            Some(_) => Err(wrong("it is neither a registry, nor a bucket, nor a folder")),
            None => match text.strip_prefix("dir:").unwrap_or(text) {
                "" => Err(wrong("it names no folder")),
                path => Ok(Self::Folder(path.into())),
            },
        }
    }
}

/// A place. What it gives has the digest that was asked for.
pub trait Place: Sync {
    /// Its name, for messages.
    fn name(&self) -> String;

    /// Looks whether the place can be asked at all, before much is read and sent.
    ///
    /// # Errors
    ///
    /// Where it cannot.
    fn ready(&self) -> Result<(), ExportError> {
        Ok(())
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    ///
    /// Where that cannot be told.
    fn has(&self, blob: &Descriptor) -> Result<bool, ExportError>;

    /// Puts a blob there.
    ///
    /// # Errors
    ///
    /// Where it is not taken.
    fn put(&self, blob: &Descriptor, bytes: &Arc<[u8]>) -> Result<(), ExportError>;

    /// Puts a manifest there, under its name. What it names is there.
    ///
    /// # Errors
    ///
    /// Where it is not taken, or the place cannot have the name.
    fn publish(&self, entry: &Entry, bytes: &Arc<[u8]>) -> Result<(), ExportError>;

    /// Ends an export: now other programs find all that was published, and the lists.
    ///
    /// # Errors
    ///
    /// Where that is not taken.
    fn finish(&self, lists: &Lists) -> Result<(), ExportError>;

    /// The manifest of a name.
    ///
    /// # Errors
    ///
    /// [`ExportError::Absent`], and where that cannot be told.
    fn find(&self, name: &str) -> Result<Descriptor, ExportError>;

    /// A blob or a manifest.
    ///
    /// # Errors
    ///
    /// Where it cannot be had, or has another digest.
    fn get(&self, wanted: &Descriptor) -> Result<Blob, ExportError>;

    /// Brings blobs near, some at once, so that [`Place::get`] has them at hand.
    ///
    /// # Errors
    ///
    /// As [`Place::get`], the first that comes.
    fn prefetch(&self, wanted: &[Descriptor]) -> Result<(), ExportError> {
        let near = |descriptor: &Descriptor| self.get(descriptor).map(drop);
        parallel::try_in_order(CONNECTIONS, wanted, near).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let of = |text: &str| Address::parse(text).ok();
        let bucket = |name: &str, prefix: &str| Some(Address::Bucket(name.into(), prefix.into()));
        assert_eq!(of("oci://a.b:5/c/d"), Some(Address::Registry("a.b:5/c/d".into())));
        assert_eq!(of("s3://b"), bucket("b", ""));
        assert_eq!(of("s3://b/c/d/"), bucket("b", "c/d"));
        assert_eq!(of("dir:a"), Some(Address::Folder("a".into())));
        assert_eq!(of("../a"), Some(Address::Folder("../a".into())));
        for bad in [
            "",
            "dir:",
            "oci://a",
            "oci://a/b:c",
            "oci://a/b@c",
            "s3:///x",
            "s3://b/../c",
            "https://a/b",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let error = Address::parse("https://me:hunter2@a/b").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
