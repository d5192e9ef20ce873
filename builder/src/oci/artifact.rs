//! Artifacts: manifests whose content is no container image.
//!
//! In: a kind, a config, layers; or a manifest's JSON. Out: its JSON, the same bytes for the same
//! content; or what it has.
//!
//! Source: OCI Image Format Specification 1.1, `manifest.md` ("Guidelines for Artifact Usage"),
//! `annotations.md`, `image-layout.md`.
//!
//! Not here: manifests of images (`manifest`), and what kinds of artifacts there are (`export`).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Descriptor;
use super::error::{OciError, shown};
use super::manifest::{DOCUMENT_MAX, OCI_INDEX, OCI_MANIFEST, Wrong, digest, json as read_json};

/// The most layers of an artifact: their descriptors fit into a manifest.
pub const LAYERS_MAX: usize = 8192;
/// The name of a layer's file, for `oras` and its like.
const TITLE: &str = "org.opencontainers.image.title";
/// The name of a manifest in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What it is: `application/vnd.example.thing`.
    pub kind: String,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, one at least.
    pub layers: Vec<Layer>,
}

/// A layer of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its bytes.
    pub descriptor: Descriptor,
    /// The name of the file that it is, if it is one.
    pub title: Option<String>,
}

/// A manifest in the index of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub tag: String,
    /// Its kind.
    pub kind: String,
    /// Its bytes.
    pub manifest: Descriptor,
}

fn written(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": format!("sha256:{}", descriptor.digest),
        "size": descriptor.len,
    })
}

impl Artifact {
    /// The manifest.
    pub fn to_json(&self) -> Vec<u8> {
        let layer = |layer: &Layer| {
            let mut value = written(&layer.descriptor);
            if let Some(title) = &layer.title {
                value["annotations"] = json!({ TITLE: title });
            }
            value
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": self.kind,
            "config": written(&self.config),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        manifest.to_string().into_bytes()
    }

    /// Reads a manifest; `what` is it for messages.
    ///
    /// # Errors
    ///
    /// Where it is none of an artifact, or breaks the specification or a limit.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, OciError> {
        let wrong = |why: Wrong| why.of(what);
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(OciError::document(what, format!("it has more than {DOCUMENT_MAX} bytes")));
        }
        let wire: WireManifest = read_json(bytes).map_err(wrong)?;
        if wire.schema_version != 2 || wire.media_type != OCI_MANIFEST {
            return Err(OciError::document(what, "it is no manifest of OCI's form"));
        }
        if wire.layers.len() > LAYERS_MAX {
            return Err(OciError::document(what, format!("it has more than {LAYERS_MAX} layers")));
        }
        let layer = |wire: WireDescriptor| {
            let title = wire.annotations.get(TITLE).and_then(Value::as_str).map(str::to_owned);
            Ok(Layer { descriptor: wire.read()?, title })
        };
        let layers = wire.layers.into_iter().map(layer).collect::<Result<_, _>>().map_err(wrong)?;
        let config = wire.config.read().map_err(wrong)?;
        Ok(Self { kind: wire.artifact_type, config, layers })
    }
}

/// The index of a layout with entries added, or put in the place of those that have their names. What
/// else is there stays as it is. The same entries are the same bytes, in whatever order they came.
///
/// # Errors
///
/// Where there is an index that is none.
pub fn add_to_index(index: Option<&[u8]>, new: &[Entry], what: &str) -> Result<Vec<u8>, OciError> {
    let wrong = |why: Wrong| why.of(what);
    let empty = || json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
    let mut index: Value = index.map_or_else(|| Ok(empty()), read_json).map_err(wrong)?;
    let list = index.get_mut("manifests").and_then(Value::as_array_mut);
    let list = list.ok_or_else(|| OciError::document(what, "it is no index of a layout"))?;
    list.retain(|old| !new.iter().any(|entry| named(old) == Some(&entry.tag)));
    list.extend(new.iter().map(|entry| {
        let mut value = written(&entry.manifest);
        value["artifactType"] = json!(entry.kind);
        value["annotations"] = json!({ NAME: entry.tag });
        value
    }));
    list.sort_by(|a, b| named(a).cmp(&named(b)));
    Ok(format!("{index:#}\n").into_bytes())
}

/// The manifest that a layout's index has under a name.
///
/// # Errors
///
/// Where the index is none, or has a wrong descriptor there.
pub fn find_in_index(index: &[u8], tag: &str, what: &str) -> Result<Option<Descriptor>, OciError> {
    let wrong = |why: Wrong| why.of(what);
    let index: Value = read_json(index).map_err(wrong)?;
    let list = index["manifests"].as_array();
    let list = list.ok_or_else(|| OciError::document(what, "it is no index of a layout"))?;
    let Some(found) = list.iter().find(|entry| named(entry) == Some(tag)) else { return Ok(None) };
    descriptor(found, what).map(Some)
}

/// Reads a descriptor.
///
/// # Errors
///
/// Where it is none.
pub fn descriptor(value: &Value, what: &str) -> Result<Descriptor, OciError> {
    let wire: Result<WireDescriptor, _> = serde_json::from_value(value.clone());
    let wire = wire.map_err(|error| OciError::document(what, shown(&error.to_string())))?;
    wire.read().map_err(|why| why.of(what))
}

/// A descriptor as JSON.
pub fn descriptor_json(descriptor: &Descriptor) -> Vec<u8> {
    written(descriptor).to_string().into_bytes()
}

fn named(entry: &Value) -> Option<&str> {
    entry["annotations"][NAME].as_str()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u64,
    media_type: String,
    artifact_type: String,
    config: WireDescriptor,
    layers: Vec<WireDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: serde_json::Map<String, Value>,
}

impl WireDescriptor {
    fn read(self) -> Result<Descriptor, Wrong> {
        let digest = digest(&self.digest)?;
        Ok(Descriptor { media_type: self.media_type, digest, len: self.size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn of(text: &str) -> Descriptor {
        let (digest, len) = (Digest::of(text.as_bytes()), text.len() as u64);
        Descriptor { media_type: format!("application/{text}"), digest, len }
    }

    #[test]
    fn an_artifact_is_what_its_manifest_says() {
        let layers = vec![
            Layer { descriptor: of("one"), title: None },
            Layer { descriptor: of("two"), title: Some("two.txt".into()) },
        ];
        let artifact = Artifact { kind: "application/x".into(), config: of("config"), layers };
        let text = artifact.to_json();
        assert_eq!(Artifact::parse(&text, "x").unwrap(), artifact);
        for cut in 0..text.len() {
            assert!(Artifact::parse(&text[..cut], "x").is_err());
        }
        let image = String::from_utf8(text).unwrap().replace("artifactType", "other");
        assert!(Artifact::parse(image.as_bytes(), "x").is_err());
    }

    #[test]
    fn an_index_keeps_what_others_put_there_and_forgets_no_order() {
        let entry = |tag: &str, what: &str| Entry {
            tag: tag.into(),
            kind: "application/x".into(),
            manifest: of(what),
        };
        let foreign =
            br#"{"schemaVersion":2,"x":1,"manifests":[{"digest":"?","annotations":{"a":"b"}}]}"#;
        let one = add_to_index(Some(foreign), &[entry("b", "1")], "x").unwrap();
        let one = add_to_index(Some(&one), &[entry("a", "2"), entry("b", "3")], "x").unwrap();
        let two = add_to_index(Some(foreign), &[entry("a", "2")], "x").unwrap();
        let two = add_to_index(Some(&two), &[entry("b", "3")], "x").unwrap();
        assert_eq!(one, two);
        let text = String::from_utf8(one.clone()).unwrap();
        assert!(text.contains("\"x\": 1") && text.contains("\"digest\": \"?\""), "{text}");
        assert_eq!(find_in_index(&one, "b", "x").unwrap(), Some(of("3")));
        assert_eq!(find_in_index(&one, "c", "x").unwrap(), None);
        for bad in [&b"{}"[..], b"", b"[]", b"{\"manifests\":1}"] {
            assert!(add_to_index(Some(bad), &[], "x").is_err());
            assert!(find_in_index(bad, "a", "x").is_err());
        }
    }
}
