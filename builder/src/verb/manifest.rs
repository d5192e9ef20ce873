//! `manifest.json`: what a build was made of, for programs and for whoever wants to know later.
//!
//! In: site, inputs, written files and their digests. Out: a JSON text, version 2:
//!
//! ```json
//! {
//! "version": 2,
//! "talforge": "0.1.0",
//! "cluster": "homelab", "talos": "v1.14.1", "arch": "amd64",
//! "references": [{"reference": "ghcr.io/…", "sha256": "…"}],
//! "inputs": [{"name": "vmlinuz", "bytes": 14149568, "sha256": "…"}],
//! "boards": {"ID": {"overlay": "rock64", …}},
//! "layouts": {"ID": {"bytes": 112197632, "extents": [
//!   {"start": 0, "bytes": 32768, "label": "system area", "kind": "made"},
//!   {"start": 1048576, "bytes": 90348852, "label": "initramfs.xz", "kind": "file",
//!    "input": {"name": "initramfs.xz", "offset": 0}}]}},
//! "nodes": {
//!   "cp-1": {"plan": {"node": "cp-1", …}, "files": [
//!     {"path": "cp-1.iso", "bytes": 112197632, "sha256": "…", "own": [[112132096, 16384]],
//!      "layout": "ID"}]}
//! }
//! }
//! ```
//!
//! What nodes share is in it once: `layouts` has the extents of files, `boards` what plans say of
//! boards; an ID is the start of the digest of what it stands for. A shard of a site says which one it is, by
//! [`Part`]: `"shard": {"index": 3, "count": 10, …}`. Each node is on a line of its own.
//!
//! It holds no secret: a config shows by its digest alone.
//!
//! Source: none; `version` counts changes that a reader must know of.
//!
//! Not here: who writes it (`sink`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::asset::InputFile;
use crate::blob::{Blob, Extent, Source};
use crate::digest::Digest;
use crate::lock::Locked;
use crate::plan::NodePlan;
use crate::site::Site;
use crate::verb::shard::Part;
use crate::verb::supply::Supplier;

/// Its name in the output folder.
pub const MANIFEST: &str = "manifest.json";

/// The version of its form.
pub const VERSION: u32 = 2;

/// The digits of a digest that are an ID.
const ID_DIGITS: usize = 16;

/// The whole text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// What is true of all nodes.
    #[serde(flatten)]
    pub head: Head,
    /// What plans say of boards, by ID.
    #[serde(default)]
    pub boards: BTreeMap<String, Value>,
    /// The extents of files, by ID.
    #[serde(default)]
    pub layouts: BTreeMap<String, Layout>,
    /// The nodes, by name.
    #[serde(default)]
    pub nodes: BTreeMap<String, NodeEntry>,
}

/// What is true of all nodes of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// The version of the program.
    pub talforge: String,
    /// The cluster's name.
    pub cluster: String,
    /// The release of Talos: `v1.14.1`.
    pub talos: String,
    /// The processors: `amd64`.
    pub arch: String,
    /// Which shard of the site it is, if it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Part>,
    /// References of the site, and what they meant.
    pub references: Vec<Referenced>,
    /// The files that media were made from.
    pub inputs: Vec<Used>,
}

/// A reference of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referenced {
    /// As the site has it.
    pub reference: String,
    /// The digest that it stood for, as 64 digits.
    pub sha256: String,
}

/// A file that media were made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Its name below the assets' folder, or in the image.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest, as 64 digits.
    pub sha256: String,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// What was decided for it, as `talforge plan --json` has it; `board` is an ID here.
    pub plan: Box<RawValue>,
    /// Its files, those that several nodes have among them.
    pub files: Vec<FileEntry>,
}

/// A file of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path below the folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest, as 64 digits.
    pub sha256: String,
    /// The ranges that are the node's own bytes, in order, as start and length. With zeros there the
    /// file is that of any other node of its kind.
    pub own: Vec<(u64, u64)>,
    /// The ID of its extents.
    pub layout: String,
}

/// Where the bytes of files lie that differ in nodes' own bytes alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The length of the file.
    pub bytes: u64,
    /// Its extents, without a gap.
    pub extents: Vec<Run>,
}

/// An extent of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where it starts.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
    /// What it is.
    pub label: String,
    /// Where its bytes come from.
    pub kind: Kind,
    /// The input, and where in it; for [`Kind::File`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<From>,
}

/// Where an extent's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nowhere: they are zeros.
    Zeros,
    /// They were made, for all nodes alike.
    Made,
    /// From a file.
    File,
    /// A node's own bytes, and the zeros around them.
    Own,
}

/// A place in an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// The input's name.
    pub name: String,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// A manifest under way.
#[derive(Debug)]
pub struct Manifest {
    document: Document,
    /// The layouts met last, by the blobs that have them.
    known: Vec<(Vec<Run>, String)>,
    /// Nodes that an earlier manifest had.
    earlier: BTreeSet<String>,
}

/// How many layouts are known again without being written out: some for each profile.
const KNOWN: usize = 16;

impl Manifest {
    /// Starts a manifest. Nodes of an earlier one in `out` whose files are still there stay in it,
    /// until they are built again.
    pub(super) fn new(
        site: &Site,
        inputs: &[InputFile],
        supplier: &Supplier<'_>,
        shard: Option<Part>,
        out: &Path,
    ) -> Self {
        let input = |input: &InputFile| Used {
            name: input.name.clone(),
            bytes: input.blob.len(),
            sha256: input.digest.to_string(),
        };
        let reference = |(name, locked): (&str, &Locked)| Referenced {
            reference: name.to_owned(),
            sha256: locked.digest().to_string(),
        };
        let head = Head {
            version: VERSION,
            talforge: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: site.cluster.name.to_string(),
            talos: site.cluster.talos.to_string(),
            arch: site.boot.arch.name().to_owned(),
            shard,
            references: supplier.used().map(reference).collect(),
            inputs: inputs.iter().map(input).collect(),
        };
        let document = earlier(&head, out).unwrap_or_else(|| Document {
            head,
            boards: BTreeMap::new(),
            layouts: BTreeMap::new(),
            nodes: BTreeMap::new(),
        });
        let earlier = document.nodes.keys().cloned().collect();
        Self { document, known: Vec::new(), earlier }
    }

    /// What an earlier manifest has of a node's files.
    pub(super) fn earlier(&self, node: &str) -> Option<&[FileEntry]> {
        let entry = self.earlier.contains(node).then(|| self.document.nodes.get(node));
        Some(&entry.flatten()?.files)
    }

    /// Adds a node's medium: its files and their digests.
    pub(super) fn add(&mut self, plan: &NodePlan, files: &[(&str, &Blob, Digest)]) {
        let mut plan_json = plan.to_json();
        if let Some(board) = plan_json.get_mut("board").filter(|board| !board.is_null()) {
            let id = id(board.to_string().as_bytes());
            let whole = std::mem::replace(board, Value::from(id.clone()));
            self.document.boards.insert(id, whole);
        }
        let plan_json = serde_json::value::to_raw_value(&plan_json);
        let files = files.iter().map(|(path, blob, digest)| FileEntry {
            path: (*path).to_owned(),
            bytes: blob.len(),
            sha256: digest.to_string(),
            own: blob.own().iter().map(|own| (own.start, own.end - own.start)).collect(),
            layout: self.layout(blob),
        });
        let files = files.collect();
        let entry = NodeEntry { plan: plan_json.expect("a plan is JSON"), files };
        self.earlier.remove(plan.name.as_str());
        self.document.nodes.insert(plan.name.to_string(), entry);
    }

    /// The ID of a file's extents, which are listed then.
    fn layout(&mut self, blob: &Blob) -> String {
        let extents = runs(blob);
        if let Some((_, id)) = self.known.iter().find(|(known, _)| *known == extents) {
            return id.clone();
        }
        let layout = Layout { bytes: blob.len(), extents: extents.clone() };
        let id = id(&serde_json::to_vec(&layout).expect("a layout is JSON"));
        self.document.layouts.insert(id.clone(), layout);
        if self.known.len() == KNOWN {
            self.known.remove(0);
        }
        self.known.push((extents, id.clone()));
        id
    }

    /// The text.
    pub(super) fn finish(mut self) -> Blob {
        self.document.prune();
        Blob::from_bytes("manifest", self.document.render().into_bytes())
    }
}

impl Document {
    /// Reads a manifest; nothing where it is none of this version.
    pub fn read(text: &[u8]) -> Option<Self> {
        let document: Self = serde_json::from_slice(text).ok()?;
        (document.head.version == VERSION).then_some(document)
    }

    /// Drops what no node refers to.
    pub fn prune(&mut self) {
        let files = self.nodes.values().flat_map(|node| &node.files);
        let used: BTreeSet<_> = files.map(|file| file.layout.as_str()).collect();
        self.layouts.retain(|id, _| used.contains(id.as_str()));
        if self.boards.is_empty() {
            return;
        }
        let board = |node: &NodeEntry| {
            let plan: Value = serde_json::from_str(node.plan.get()).ok()?;
            Some(plan["board"].as_str()?.to_owned())
        };
        let used: BTreeSet<_> = self.nodes.values().filter_map(board).collect();
        self.boards.retain(|id, _| used.contains(id));
    }

    /// The text: the same document gives the same. Each entry of a map is on a line of its own.
    pub fn render(&self) -> String {
        let head = serde_json::to_value(&self.head).expect("a head is JSON");
        let mut text = "{\n".to_owned();
        // In the order of the struct's fields, so that the version comes first.
        for key in
            ["version", "talforge", "cluster", "talos", "arch", "shard", "references", "inputs"]
        {
            if let Some(value) = head.get(key) {
                text += &format!("\"{key}\": {value},\n");
            }
        }
        map(&mut text, "boards", &self.boards);
        text += ",\n";
        map(&mut text, "layouts", &self.layouts);
        text += ",\n";
        map(&mut text, "nodes", &self.nodes);
        text += "\n}\n";
        text
    }
}

fn map<T: Serialize>(text: &mut String, key: &str, entries: &BTreeMap<String, T>) {
    *text += &format!("\"{key}\": {{");
    for (at, (name, entry)) in entries.iter().enumerate() {
        let name = Value::from(name.as_str());
        let entry = serde_json::to_string(entry).expect("what a manifest has is JSON");
        let comma = if at > 0 { "," } else { "" };
        *text += &format!("{comma}\n  {name}: {entry}");
    }
    *text += if entries.is_empty() { "}" } else { "\n}" };
}

fn id(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()[..ID_DIGITS].to_owned()
}

/// The manifest that is there, if it is of the same cluster, Talos and inputs; with the nodes alone
/// whose files are there.
fn earlier(head: &Head, out: &Path) -> Option<Document> {
    let mut document = Document::read(&std::fs::read(out.join(MANIFEST)).ok()?)?;
    // Whichever shard it was of: `merge` takes a shard's own nodes alone.
    document.head.shard.clone_from(&head.shard);
    if document.head != *head {
        return None;
    }
    let is_there = |file: &FileEntry| out.join(&file.path).exists();
    document.nodes.retain(|_, node| node.files.iter().all(is_there));
    Some(document)
}

/// Whether the manifest in a folder is of this part of a site, or of the whole.
pub(super) fn is_of(out: &Path, part: Option<&Part>) -> bool {
    let document = std::fs::read(out.join(MANIFEST)).ok().and_then(|text| Document::read(&text));
    document.is_some_and(|document| document.head.shard.as_ref() == part)
}

/// A file's extents; a node's own bytes and the zeros around them are one, so that a longer config
/// does not make another layout.
fn runs(blob: &Blob) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for extent in blob.extents() {
        let next = run(extent);
        let (kind, before) = (next.kind, runs.last().map(|run| run.kind));
        let is_part = matches!(
            (before, kind),
            (Some(Kind::Own), Kind::Own | Kind::Zeros) | (Some(Kind::Zeros), Kind::Own)
        );
        match runs.last_mut().filter(|_| is_part) {
            Some(last) => {
                last.bytes += next.bytes;
                (last.kind, last.label) = (Kind::Own, "own".to_owned());
            }
            None => runs.push(next),
        }
    }
    runs
}

fn run(extent: &Extent) -> Run {
    let (start, bytes) = (extent.start, extent.len);
    if extent.is_own {
        return Run { start, bytes, label: "own".to_owned(), kind: Kind::Own, input: None };
    }
    let (kind, input) = match &extent.source {
        Source::Zeros => (Kind::Zeros, None),
        Source::Bytes(..) => (Kind::Made, None),
        Source::File(input, offset) => {
            (Kind::File, Some(From { name: input.name.clone(), offset: *offset }))
        }
    };
    Run { start, bytes, label: extent.label.to_string(), kind, input }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    fn document(nodes: &[&str]) -> Document {
        let head = Head {
            version: VERSION,
            talforge: "0.1.0".into(),
            cluster: "fabric".into(),
            talos: "v1.14.1".into(),
            arch: "amd64".into(),
            shard: Some(Part {
                index: 2,
                count: 3,
                nodes: Vec::new(),
                site_nodes_sha256: "00".into(),
            }),
            references: Vec::new(),
            inputs: vec![Used { name: "vmlinuz".into(), bytes: 3, sha256: "00".into() }],
        };
        let file = |name: &str| FileEntry {
            path: format!("{name}.iso"),
            bytes: 10,
            sha256: "00".into(),
            own: vec![(4, 2)],
            layout: "used".into(),
        };
        let node = |name: &&str| {
            let plan = serde_json::value::to_raw_value(&serde_json::json!({"board": "rock"}));
            ((*name).to_owned(), NodeEntry { plan: plan.unwrap(), files: vec![file(name)] })
        };
        let layout = Layout { bytes: 10, extents: Vec::new() };
        Document {
            head,
            boards: [("rock".to_owned(), Value::from(1)), ("other".to_owned(), Value::from(2))]
                .into(),
            layouts: [("used".to_owned(), layout.clone()), ("unused".to_owned(), layout)].into(),
            nodes: nodes.iter().map(node).collect(),
        }
    }

    #[test]
    fn a_manifest_reads_as_itself_and_has_a_line_a_node() {
        let mut written = document(&["a", "b\"ü"]);
        written.prune();
        let text = written.render();
        insta::assert_snapshot!(text, @r#"
        {
        "version": 2,
        "talforge": "0.1.0",
        "cluster": "fabric",
        "talos": "v1.14.1",
        "arch": "amd64",
        "shard": {"count":3,"index":2,"nodes":[],"site_nodes_sha256":"00"},
        "references": [],
        "inputs": [{"bytes":3,"name":"vmlinuz","sha256":"00"}],
        "boards": {
          "rock": 1
        },
        "layouts": {
          "used": {"bytes":10,"extents":[]}
        },
        "nodes": {
          "a": {"plan":{"board":"rock"},"files":[{"path":"a.iso","bytes":10,"sha256":"00","own":[[4,2]],"layout":"used"}]},
          "b\"ü": {"plan":{"board":"rock"},"files":[{"path":"b\"ü.iso","bytes":10,"sha256":"00","own":[[4,2]],"layout":"used"}]}
        }
        }
        "#);
        let read = Document::read(text.as_bytes()).unwrap();
        assert_eq!(read.head, written.head);
        assert_eq!(read.render(), text);
        assert!(
            Document::read(text.replace("\"version\": 2", "\"version\": 3").as_bytes()).is_none()
        );
        assert!(Document::read(&text.as_bytes()[..text.len() / 2]).is_none());
    }

    /// Own bytes and the zeros around them are one run, however long the config is.
    #[test]
    fn configs_of_other_lengths_make_no_other_layout() {
        let image = |config: usize| {
            let own = Blob::from_bytes("config", vec![7; config]).owned();
            let head = Builder::default().bytes("head", [1; 100]).zeros("gap", 28).blob(&own);
            head.fill_to(4096).bytes("end", [2; 4]).finish()
        };
        let runs = runs(&image(10));
        assert_eq!(runs, super::runs(&image(900)));
        let told: Vec<_> = runs.iter().map(|run| (run.start, run.bytes, run.kind)).collect();
        assert_eq!(told, [(0, 100, Kind::Made), (100, 3996, Kind::Own), (4096, 4, Kind::Made)]);
    }
}
