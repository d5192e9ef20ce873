//! The list of layers, `extensions.yaml`.
//!
//! In: the base's list, metadata of more layers. Out: a list of all.
//!
//! Source: Talos `pkg/machinery/extensions/config.go#Config`, `metadata.go`.
//!
//! Not here: where the list lies and what the layers hold.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value};
use thiserror::Error;

use crate::asset::initramfs::Initramfs;
use crate::extension::manifest::Metadata;

/// The list's name, in the initramfs' root.
pub const LIST: &str = "extensions.yaml";

/// The base's list is not one.
#[derive(Debug, Error)]
#[error("`{LIST}` of the initramfs is no list of layers")]
pub struct ListError(#[source] Option<serde_yaml::Error>);

/// The layers of a base, the lowest first, as its list has them.
///
/// # Errors
///
/// Where the list is not one.
pub fn layers(base: &Initramfs) -> Result<Vec<Value>, ListError> {
    let Some(list) = &base.list else { return Ok(Vec::new()) };
    let mut list: Mapping = serde_yaml::from_slice(list).map_err(|e| ListError(Some(e)))?;
    match list.remove("layers") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Sequence(layers)) => Ok(layers),
        Some(_) => Err(ListError(None)),
    }
}

/// The list of layers as a file.
///
/// # Errors
///
/// Where a layer of the base cannot be written as it was read.
pub fn write(layers: Vec<Value>) -> Result<Vec<u8>, ListError> {
    let list = Mapping::from_iter([("layers".into(), Value::Sequence(layers))]);
    let list = serde_yaml::to_string(&list).map_err(|e| ListError(Some(e)))?;
    Ok(list.into_bytes())
}

/// A layer's item in the list.
pub fn layer(image: &str, metadata: &Metadata) -> Value {
    let constraint = map(vec![("talos", map(vec![("version", metadata.talos.as_str().into())]))]);
    let mut items = vec![
        ("name", metadata.name.as_str().into()),
        ("version", metadata.version.as_str().into()),
        ("author", metadata.author.as_str().into()),
        ("description", metadata.description.as_str().into()),
        ("compatibility", constraint),
    ];
    if !metadata.extra_info.is_empty() {
        items.push(("extraInfo", metadata.extra_info.as_str().into()));
    }
    map(vec![("image", image.into()), ("metadata", map(items))])
}

fn map(items: Vec<(&str, Value)>) -> Value {
    Value::Mapping(items.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The path of a layer's image in the initramfs, where the item tells one.
pub fn image(layer: &Value) -> Option<&str> {
    layer.get("image")?.as_str()
}

/// `N.sqsh` with the first number, from the count of layers on, that is not taken.
pub fn free_name(layers: &[Value], names: &BTreeSet<String>) -> String {
    (layers.len()..)
        .map(|n| format!("{n}.sqsh"))
        .find(|name| !names.contains(name))
        .expect("there are more numbers than names")
}
