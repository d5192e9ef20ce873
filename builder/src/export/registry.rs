//! A repository of a registry.
//!
//! In: blobs and manifests. Out: the same in the repository, a tag for each node.
//!
//! Source: OCI Distribution Specification 1.1.
//!
//! Not here: how registries are asked (`crate::registry`).

use std::sync::Arc;

use crate::blob::Blob;
use crate::export::SITE;
use crate::export::error::ExportError;
use crate::export::place::{Lists, Place};
use crate::oci::artifact::Entry;
use crate::oci::reference::Reference;
use crate::oci::{Content as _, Descriptor, Unavailable};
use crate::registry::Client;
use crate::registry::error::RegistryError;

/// A repository.
#[derive(Debug)]
pub struct Repository {
    client: Client,
    /// Its name with the tag of the site's lists.
    name: Reference,
}

impl Repository {
    /// The repository of a name without a tag: `ghcr.io/me/site`.
    ///
    /// # Errors
    ///
    /// [`ExportError::Address`] where the name is none.
    pub fn new(client: Client, name: &str) -> Result<Self, ExportError> {
        let wrong = |_| ExportError::Address {
            text: format!("oci://{}", name.escape_default()),
            why: "it is no registry with a path of lower-case letters, digits and `/._-`",
        };
        let name = Reference::parse(&format!("{name}:{SITE}")).map_err(wrong)?;
        Ok(Self { client, name })
    }

    fn tagged(&self, tag: &str) -> Result<Reference, ExportError> {
        let text = format!("{}/{}:{tag}", self.name.registry(), self.name.repository());
        let why = |_| "a registry's tags have at most 128 letters, digits and `._-`".to_owned();
        Reference::parse(&text)
            .map_err(|error| ExportError::Node { node: tag.to_owned(), why: why(error) })
    }
}

impl Place for Repository {
    fn name(&self) -> String {
        format!("oci://{}/{}", self.name.registry(), self.name.repository())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, ExportError> {
        Ok(self.client.has_blob(&self.name, blob)?)
    }

    fn put(&self, blob: &Descriptor, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        Ok(self.client.push_blob(&self.name, blob, bytes)?)
    }

    fn publish(&self, entry: &Entry, bytes: &Arc<[u8]>) -> Result<(), ExportError> {
        let name = self.tagged(&entry.tag)?;
        Ok(self.client.push_manifest(&name, &entry.manifest, bytes)?)
    }

    /// A tag is there at once; the lists are an artifact alone.
    fn finish(&self, _: &Lists) -> Result<(), ExportError> {
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Descriptor, ExportError> {
        match self.client.resolve(&self.tagged(name)?) {
            Err(error) if error.is_absent() => {
                Err(ExportError::Absent { place: self.name(), node: name.to_owned() })
            }
            found => Ok(found?),
        }
    }

    fn get(&self, wanted: &Descriptor) -> Result<Blob, ExportError> {
        self.client.image(&self.name).get(wanted).map_err(|Unavailable(why)| {
            match why.downcast::<RegistryError>() {
                Ok(error) => ExportError::Registry(*error),
                Err(why) => ExportError::Artifact {
                    what: format!("sha256:{}", wanted.digest),
                    why: why.to_string(),
                },
            }
        })
    }
}
