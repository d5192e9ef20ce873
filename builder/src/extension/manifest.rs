//! What an extension says of itself.
//!
//! In: `manifest.yaml`. Out: its metadata, as the list of layers has them.
//!
//! Source: Talos `pkg/machinery/extensions/metadata.go`, `load.go`; go-yaml reads the first document
//! and takes any scalar for a text.
//!
//! Not here: whether it fits the target (`constraint`).

use serde::Deserialize;
use serde_yaml::Value;

/// The most bytes of a manifest that is read. A release's has a few hundred.
pub const LIMIT: u64 = 64 << 10;

/// The one version of manifests that there is.
const VERSION: &str = "v1alpha1";

/// What an extension says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its name: `iscsi-tools`.
    pub name: String,
    /// Its version, in any form.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// What it does.
    pub description: String,
    /// The versions of Talos that it runs on; empty for all.
    pub talos: String,
    /// What its maker wishes to add; often empty.
    pub extra_info: String,
}

/// Why a manifest is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is no YAML of the right shape; why, in words.
    Yaml(String),
    /// Its `version` is another one.
    Version(String),
}

#[derive(Deserialize)]
struct Manifest {
    version: Option<String>,
    metadata: Option<RawMetadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    version: Option<String>,
    author: Option<String>,
    description: Option<String>,
    compatibility: Option<Compatibility>,
    extra_info: Option<String>,
}

#[derive(Deserialize)]
struct Compatibility {
    talos: Option<Constraint>,
}

#[derive(Deserialize)]
struct Constraint {
    version: Option<String>,
}

/// Reads a manifest: its metadata, and the keys that Talos passes over.
///
/// # Errors
///
/// Where Talos would refuse it.
pub(super) fn read(bytes: &[u8]) -> Result<(Metadata, Vec<String>), Malformed> {
    let yaml = |error: serde_yaml::Error| Malformed::Yaml(error.to_string());
    let document = || serde_yaml::Deserializer::from_slice(bytes).next();
    let empty = || Malformed::Yaml("it is empty".to_owned());
    let manifest = Option::<Manifest>::deserialize(document().ok_or_else(empty)?).map_err(yaml)?;
    let manifest = manifest.ok_or_else(empty)?;
    let version = manifest.version.unwrap_or_default();
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let raw = manifest.metadata.unwrap_or_default();
    let talos = raw.compatibility.and_then(|c| c.talos).and_then(|talos| talos.version);
    let metadata = Metadata {
        name: raw.name.unwrap_or_default(),
        version: raw.version.unwrap_or_default(),
        author: raw.author.unwrap_or_default(),
        description: raw.description.unwrap_or_default(),
        talos: talos.unwrap_or_default(),
        extra_info: raw.extra_info.unwrap_or_default(),
    };
    let whole = Value::deserialize(document().ok_or_else(empty)?).map_err(yaml)?;
    Ok((metadata, unknown(&whole)))
}

/// Each mapping of a manifest, and the keys that it may have.
const KEYS: [(&[&str], &[&str]); 4] = [
    (&[], &["version", "metadata"]),
    (&["metadata"], &["name", "version", "author", "description", "compatibility", "extraInfo"]),
    (&["metadata", "compatibility"], &["talos"]),
    (&["metadata", "compatibility", "talos"], &["version"]),
];

fn unknown(whole: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (path, known) in KEYS {
        let at = path.iter().try_fold(whole, |value, key| value.get(*key));
        let keys = at.and_then(Value::as_mapping).into_iter().flat_map(|map| map.keys());
        let keys = keys.map(|key| key.as_str().unwrap_or("?"));
        let others = keys.filter(|key| !known.contains(key));
        unknown.extend(others.map(|key| [path, &[key]].concat().join(".")));
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_go_reads_it() {
        let text = "version: v1alpha1\nmetadata:\n  name: a\n  version: 1.20\n  author:\n  \
                    description: true\n  extras: 1\n  compatibility:\n    talos:\n      \
                    version: \">= v1.5.0\"\n    os: x\n---\nmore: [\n";
        let (metadata, unknown) = read(text.as_bytes()).unwrap();
        let want = Metadata {
            name: "a".into(),
            version: "1.20".into(),
            description: "true".into(),
            talos: ">= v1.5.0".into(),
            ..Metadata::default()
        };
        assert_eq!(metadata, want);
        assert_eq!(unknown, ["metadata.extras", "metadata.compatibility.os"]);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for text in
            ["", "# a\n", "~", "a", "[]", "version: [", "version: v1alpha1\nversion: v1alpha1"]
        {
            assert!(matches!(read(text.as_bytes()), Err(Malformed::Yaml(_))), "{text:?}");
        }
        for (text, version) in [("{}", ""), ("version: v2", "v2"), ("metadata: {}", "")] {
            assert_eq!(read(text.as_bytes()), Err(Malformed::Version(version.into())));
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_at_once() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..30 {
            let last = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", [last.as_str(); 9].join(", "));
        }
        text += "version: v1alpha1\n";
        assert!(matches!(read(text.as_bytes()), Err(Malformed::Yaml(_))));
    }
}
