//! What a registry must know of manifests: that they are some.
//!
//! In: their bytes. Out: their kind.
//!
//! Source: OCI Image Format Specification 1.1, `media-types.md`; Docker Image Manifest Version 2,
//! Schema 2.
//!
//! Not here: what is in them (`oci`).

use serde::Deserialize;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::registry::MANIFEST_LIMIT;

/// The kinds of manifests and indexes, as `Accept` takes them.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.docker.distribution.manifest.v2+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// Whether content of this kind is asked for among manifests.
pub(super) fn is_manifest(media_type: &str) -> bool {
    MANIFESTS.split(", ").any(|known| known == media_type)
}

/// The kind of a manifest or an index: what it says itself, else what the registry says, else what
/// its fields say. Nothing where it is none.
pub(super) fn media_type(bytes: &[u8], said: Option<&str>) -> Option<String> {
    let head: Head =
        serde_json::from_slice(bytes).ok().filter(|head: &Head| head.schema_version == 2)?;
    let said = said.and_then(|said| said.split(';').next()).map(str::trim);
    let guessed = match (&head.manifests, &head.layers) {
        (Some(_), _) => "application/vnd.oci.image.index.v1+json",
        (None, Some(_)) => "application/vnd.oci.image.manifest.v1+json",
        (None, None) => return None,
    };
    let kinds = [head.media_type.as_deref(), said, Some(guessed)];
    kinds.into_iter().flatten().find(|kind| is_manifest(kind)).map(str::to_owned)
}

/// The descriptor of a manifest that is in the store.
pub(super) fn descriptor(blob: &Blob, digest: Digest) -> Option<Descriptor> {
    let bytes = (blob.len() <= MANIFEST_LIMIT).then(|| blob.to_vec().ok()).flatten()?;
    Some(Descriptor { media_type: media_type(&bytes, None)?, digest, len: blob.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_manifest_is_found() {
        let index = "application/vnd.oci.image.index.v1+json";
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        let of = |text: &str, said| media_type(text.as_bytes(), said);
        assert_eq!(of(r#"{"schemaVersion":2,"manifests":[]}"#, None).as_deref(), Some(index));
        let own = format!(r#"{{"schemaVersion":2,"mediaType":"{docker}","layers":[]}}"#);
        assert_eq!(of(&own, Some(index)).as_deref(), Some(docker));
        let bare = r#"{"schemaVersion":2,"layers":[]}"#;
        let said = format!("{docker}; charset=utf-8");
        assert_eq!(of(bare, Some(&said)).as_deref(), Some(docker));
        for none in
            ["", "<html>", "{}", r#"{"schemaVersion":1,"layers":[]}"#, r#"{"schemaVersion":2}"#]
        {
            assert_eq!(of(none, Some(index)), None, "{none}");
        }
    }
}
