//! A bucket of an S3-compatible store, as an OCI image layout.
//!
//! ```text
//! nodes/NAME.json      the descriptor of a node's manifest: one object a node, so that exporters
//!                      of several shards cannot lose each other's; what `fetch` reads
//! blobs/sha256/…       content
//! oci-layout, index.json   for other programs
//! manifest.json, SHA256SUMS
//! ```
//!
//! `index.json` is replaced where it still is what was read (`If-Match`), or else read anew. A store
//! that does not know such conditions may lose a line of it where two exporters end at once; then
//! the next export mends it, and `fetch` does not care.
//!
//! In: blobs and manifests. Out: objects.
//!
//! Source: OCI Image Format Specification 1.1, `image-layout.md`; Amazon S3, "User Guide",
//! "Prevent object overwrites with conditional writes".
//!
//! Not here: how stores are asked (`crate::registry`).

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::export::error::ExportError;
use crate::export::place::{Lists, Place};
use crate::export::{INDEX, INDEX_MAX, LAYOUT, LAYOUT_TEXT};
use crate::oci::Descriptor;
use crate::oci::artifact::{Entry, add_to_index, descriptor, descriptor_json};
use crate::registry::Client;
use crate::registry::bucket::{Bucket, Condition, Outcome};

/// How often the index is read anew where others change it.
const TRIES: u32 = 32;
/// The most bytes of a node's descriptor.
const NODE_MAX: u64 = 64 << 10;

/// A part of a bucket.
#[derive(Debug)]
pub struct Objects {
    client: Client,
    bucket: Bucket,
    name: String,
    published: Mutex<Vec<Entry>>,
}

impl Objects {
    /// A bucket, whose name for messages is `name`.
    pub fn new(client: Client, bucket: Bucket, name: String) -> Self {
        Self { client, bucket, name, published: Mutex::default() }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.client.put_object(&self.bucket, key, &bytes.into(), &Condition::Always)?;
        Ok(())
    }
}

fn key(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

fn node_key(name: &str) -> String {
    format!("nodes/{name}.json")
}

impl Place for Objects {
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Whoever may not write to a store is told so before a body is sent, or else not at all: the
    /// connection ends.
    fn ready(&self) -> Result<(), ExportError> {
        self.client.object(&self.bucket, INDEX, INDEX_MAX)?;
        Ok(())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, ExportError> {
        Ok(self.client.has_object(&self.bucket, &key(blob.digest), blob.len)?)
    }

    fn put(&self, blob: &Descriptor, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        let key = key(blob.digest);
        self.client.put_object(&self.bucket, &key, bytes, &Condition::Always)?;
        Ok(())
    }

    fn publish(&self, entry: &Entry, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        self.put(&entry.manifest, bytes)?;
        self.write(&node_key(&entry.tag), &descriptor_json(&entry.manifest))?;
        self.published.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        Ok(())
    }

    fn finish(&self, lists: &Lists) -> Result<(), ExportError> {
        for (name, text) in lists {
            self.client.put_object(&self.bucket, name, text, &Condition::Always)?;
        }
        self.write(LAYOUT, LAYOUT_TEXT)?;
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = format!("{}: {INDEX}", self.name);
        for _ in 0..TRIES {
            let old = self.client.object(&self.bucket, INDEX, INDEX_MAX)?;
            let text = old.as_ref().map(|old| old.bytes.as_slice());
            let new = add_to_index(text, &published, &shown)?;
            if text == Some(&new) {
                return Ok(());
            }
            let condition = match &old {
                None => Condition::Absent,
                Some(old) => old.etag.clone().map_or(Condition::Always, Condition::Is),
            };
            // What was put is read once more: a store may take any condition for met.
            let (Outcome::Put | Outcome::Unmet) =
                self.client.put_object(&self.bucket, INDEX, &new.into(), &condition)?;
        }
        Err(ExportError::Contended(shown))
    }

    fn find(&self, name: &str) -> Result<Descriptor, ExportError> {
        let key = node_key(name);
        if let Some(found) = self.client.remembered(&self.bucket, &key)? {
            return Ok(found);
        }
        let absent = || ExportError::Absent { place: self.name.clone(), node: name.to_owned() };
        let found = self.client.object(&self.bucket, &key, NODE_MAX)?.ok_or_else(absent)?;
        let what = format!("{}: {key}", self.name);
        let value: Value = serde_json::from_slice(&found.bytes).map_err(|error| {
            ExportError::Artifact { what: what.clone(), why: error.to_string() }
        })?;
        let found = descriptor(&value, &what)?;
        self.client.remember(&self.bucket, &key, found.digest)?;
        Ok(found)
    }

    fn get(&self, wanted: &Descriptor) -> Result<Blob, ExportError> {
        Ok(self.client.stored_object(&self.bucket, &key(wanted.digest), wanted)?)
    }
}
