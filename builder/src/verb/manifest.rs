//! `manifest.json`: what a build was made of, for programs and for whoever wants to know later.
//!
//! In: site, inputs, laid out files and their digests. Out: a JSON text.
//!
//! It holds no secret: a config shows by its digest alone.
//!
//! Source: none; `version` counts changes that a reader must know of.
//!
//! Not here: who writes it (`sink`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::asset::InputFile;
use crate::blob::{Blob, Extent, Source};
use crate::digest::Digest;
use crate::layout::OutputFile;
use crate::lock::Locked;
use crate::plan::NodePlan;
use crate::site::Site;
use crate::verb::supply::Supplier;

/// Its name in the output folder.
pub const MANIFEST: &str = "manifest.json";

/// A manifest under way.
#[derive(Debug)]
pub struct Manifest {
    head: Value,
    nodes: BTreeMap<String, Value>,
}

impl Manifest {
    /// Starts a manifest. Nodes of an earlier one in `out` whose files are still there stay in it,
    /// until they are built again.
    pub(super) fn new(
        site: &Site,
        inputs: &[InputFile],
        supplier: &Supplier<'_>,
        out: &Path,
    ) -> Self {
        let input = |input: &InputFile| {
            json!({
                "name": input.name, "bytes": input.blob.len(), "sha256": input.digest.to_string(),
            })
        };
        let reference = |(name, locked): (&str, &Locked)| json!({"reference": name, "sha256": locked.digest().to_string()});
        let head = json!({
            "version": 1,
            "talforge": env!("CARGO_PKG_VERSION"),
            "cluster": site.cluster.name.to_string(),
            "talos": site.cluster.talos.to_string(),
            "arch": site.boot.arch.name(),
            "references": supplier.used().map(reference).collect::<Vec<_>>(),
            "inputs": inputs.iter().map(input).collect::<Vec<_>>(),
        });
        Self { nodes: earlier(&head, out).unwrap_or_default(), head }
    }

    /// Adds a file of a node's medium.
    pub fn add(&mut self, plan: &NodePlan, file: &OutputFile, digest: Digest) {
        let plan_json = plan.to_json();
        let node = self.nodes.entry(plan.name.to_string()).or_default();
        if node["plan"] != plan_json || is_listed(node, &file.path) {
            *node = json!({"plan": plan_json, "files": []});
        }
        let extents: Vec<_> = file.blob.extents().iter().map(extent).collect();
        if let Some(files) = node["files"].as_array_mut() {
            files.push(json!({
                "path": file.path, "bytes": file.blob.len(), "sha256": digest.to_string(),
                "extents": extents,
            }));
        }
    }

    /// The text.
    pub fn finish(mut self) -> Blob {
        self.head["nodes"] = json!(self.nodes);
        Blob::from_bytes("manifest", format!("{:#}\n", self.head).into_bytes())
    }
}

fn is_listed(node: &Value, path: &str) -> bool {
    node["files"].as_array().is_some_and(|files| files.iter().any(|file| file["path"] == path))
}

/// The nodes of the manifest that is there, if it is of the same cluster, Talos and inputs.
fn earlier(head: &Value, out: &Path) -> Option<BTreeMap<String, Value>> {
    let text = std::fs::read(out.join(MANIFEST)).ok()?;
    let mut old: Value = serde_json::from_slice(&text).ok()?;
    let nodes = old.as_object_mut()?.remove("nodes")?;
    if old != *head {
        return None;
    }
    let mut nodes: BTreeMap<String, Value> = serde_json::from_value(nodes).ok()?;
    let is_there = |file: &Value| file["path"].as_str().is_some_and(|path| out.join(path).exists());
    nodes
        .retain(|_, node| node["files"].as_array().is_some_and(|files| files.iter().all(is_there)));
    Some(nodes)
}

fn extent(extent: &Extent) -> Value {
    let (kind, input) = match &extent.source {
        Source::Zeros => ("zeros", None),
        Source::Bytes(..) => ("made", None),
        Source::File(input, offset) => {
            ("file", Some(json!({"name": input.name, "offset": offset})))
        }
    };
    json!({
        "start": extent.start, "bytes": extent.len, "label": extent.label.to_string(),
        "kind": kind, "input": input,
    })
}
