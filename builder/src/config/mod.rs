//! Machine configs: the bytes of one node's, and what must be true of them.
//!
//! In: the bytes of a file. Out: a [`MachineConfig`]: the same bytes, checked, with a summary.
//!
//! Source: Talos `pkg/machinery/config/configloader/internal/decoder/decoder.go` (which documents
//! are which), `pkg/machinery/config/machine/machine.go` (types of machines),
//! `pkg/machinery/config/types/v1alpha1/v1alpha1_validation.go`.
//!
//! Not here: making and patching configs, the documents' own keys, and what a config must have for
//! a certain medium or version of Talos (`site`). No message quotes a value: most are secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;
use crate::report::{Diagnostic, Place};
use crate::yaml::{self, Node};

mod decode;
pub mod documents;
mod emit;
mod expression;
pub mod facts;
pub mod generate;
pub mod kinds;
pub mod leaf;
pub mod patch;
pub mod recover;
mod scalar;
pub mod schema;
pub mod secret;
pub mod translate;
pub mod tree;
pub mod valid;

use kinds::Kind;

/// The largest machine config that is taken, in bytes.
///
/// Talos' API takes messages of 32 MiB (`GRPCMaxMessageSize` in its
/// `pkg/machinery/constants/constants.go`), and one that shows a machine config holds it twice; a
/// config that could be booted with but never shown or changed again would be a trap. This is well
/// below, and ten times what a config full of manifests has.
pub const MAX_BYTES: u64 = 4 << 20;

/// A machine config, ready to be embedded: its bytes are never changed.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineConfig {
    bytes: Arc<[u8]>,
    digest: Digest,
    summary: Arc<Summary>,
}

#[derive(PartialEq, Eq)]
struct Summary {
    place: Place,
    documents: Vec<Document>,
    main: Option<Main>,
    secrets: Vec<(&'static str, bool)>,
}

/// One document of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// Where it starts.
    pub place: Place,
}

/// What the document without a kind says about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Main {
    /// The type of machine.
    pub machine_type: MachineType,
    /// Where the type stands, or `machine` where it has none.
    pub machine_type_place: Place,
    /// Whether it can install.
    pub install: Install,
    /// Where the install section stands, or `machine` where it has none.
    pub install_place: Place,
}

/// A type of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineType {
    /// `controlplane`, or its old name `init`.
    ControlPlane,
    /// `worker`, or its old name `join`.
    Worker,
    /// None is given. Talos then takes the machine for a worker.
    Missing,
}

/// The install section of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// There is none.
    Missing,
    /// It names no disk.
    WithoutDisk,
    /// It names a disk, or says how to choose one.
    Complete,
}

impl MachineConfig {
    /// Takes the bytes of a config. `file` is its path as the user would write it.
    ///
    /// # Errors
    ///
    /// Everything that would keep Talos from reading it at all.
    pub fn parse(file: &str, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Vec<Diagnostic>> {
        let bytes = bytes.into();
        let start = Place { file: file.to_owned(), line: 1, column: 1 };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(vec![too_large(file)]);
        }
        let nodes = yaml::parse(file, &bytes).map_err(|error| vec![error])?;
        let nodes: Vec<&Node> = nodes.iter().filter(|node| !node.is_null()).collect();
        if nodes.is_empty() {
            let error = Diagnostic::error("config-empty", "the machine config holds no document");
            return Err(vec![error.at(start)]);
        }
        let mut problems = Vec::new();
        let documents = documents(&nodes, &mut problems);
        let main = documents.iter().find(|document| document.kind == Kind::V1Alpha1);
        let main = main.and_then(|main| nodes.iter().find(|node| node.place() == main.place));
        let main = main.and_then(|node| main_document(node, &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        let secrets = secret::present(&nodes);
        let summary = Arc::new(Summary { place: start, documents, main, secrets });
        Ok(Self { digest: Digest::of(&bytes), bytes, summary })
    }

    /// The bytes, as the user wrote them.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The start of its file.
    pub fn place(&self) -> &Place {
        &self.summary.place
    }

    /// Its documents, in order.
    pub fn documents(&self) -> &[Document] {
        &self.summary.documents
    }

    /// What its document without a kind says. A config that has none is incomplete: Talos applies
    /// it and looks for the rest elsewhere.
    pub fn main(&self) -> Option<&Main> {
        self.summary.main.as_ref()
    }

    /// Whether it has a document of a kind.
    pub fn has(&self, kind: &str) -> bool {
        self.documents().iter().any(|d| matches!(d.kind, Kind::Known { name, .. } if name == kind))
    }

    /// The secrets that a config may hold, and whether this one does: yes or no, never a value.
    pub fn secrets(&self) -> &[(&'static str, bool)] {
        &self.summary.secrets
    }
}

/// The length and the digest, never the text.
impl fmt::Debug for MachineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineConfig({} bytes, {:?})", self.bytes.len(), self.digest)
    }
}

/// Says that a config is larger than [`MAX_BYTES`].
pub fn too_large(file: &str) -> Diagnostic {
    let limit = crate::units::Size(MAX_BYTES);
    let message = format!("the machine config is larger than {limit}");
    let place = Place { file: file.to_owned(), line: 1, column: 1 };
    Diagnostic::error("config-too-large", message)
        .at(place)
        .help("keep manifests out of it: `extraManifests` and KubeExternalManifestConfig take URLs")
}

/// Tells all documents' kinds. One whose kind cannot be told is a problem, and left out.
fn documents(nodes: &[&Node], problems: &mut Vec<Diagnostic>) -> Vec<Document> {
    let mut seen = BTreeMap::new();
    let mut documents = Vec::new();
    for node in nodes {
        let place = node.place();
        let kind = match kind(node) {
            Ok(kind) => kind,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let text = |key| node.get(key).and_then(Node::text).unwrap_or_default();
        let first = *seen.entry((text("kind"), text("name"))).or_insert(place.line);
        if first != place.line {
            let message = match kind {
                Kind::V1Alpha1 => "the config has a second document of machine and cluster",
                _ => "the config has a second document of this kind and name",
            };
            let help = format!("keep one of them; the first starts on line {first}");
            let problem = Diagnostic::error("config-duplicate", message);
            problems.push(problem.at(place.clone()).help(help));
        }
        documents.push(Document { kind, place });
    }
    documents
}

/// The keys of which the document without a kind has at least one.
const MAIN_KEYS: [&str; 4] = ["machine", "cluster", "debug", "persist"];

fn kind(node: &Node) -> Result<Kind, Diagnostic> {
    let error = |code, message: &str, at: &Node, help: &str| {
        Err(Diagnostic::error(code, message).at(at.place()).help(help))
    };
    if node.entries().is_none() {
        let message =
            format!("a document of a machine config is a mapping, and this is {}", node.kind());
        return error("config-document", &message, node, "is this the right file?");
    }
    let main = MAIN_KEYS.iter().any(|key| node.get(key).is_some());
    match (node.get("kind"), node.get("apiVersion")) {
        (None, None) if main => match node.get("version") {
            Some(version) if version.text() != Some("v1alpha1") => {
                error("config-version", "`version` is not `v1alpha1`", version, "write `v1alpha1`")
            }
            _ => Ok(Kind::V1Alpha1),
        },
        (None, _) => {
            let help =
                "a document has `kind` and `apiVersion`, or else `version: v1alpha1` and `machine`";
            error("config-kind", "the document has no `kind`", node, help)
        }
        (Some(_), None) => {
            let help = "write `apiVersion: v1alpha1` above `kind`";
            error("config-kind", "the document has a `kind` and no `apiVersion`", node, help)
        }
        (Some(_), Some(version)) if version.text() != Some("v1alpha1") => {
            error("config-version", "`apiVersion` is not `v1alpha1`", version, "write `v1alpha1`")
        }
        (Some(kind), Some(_)) => match kind.text() {
            Some(name) if !name.is_empty() => Ok(Kind::find(name)),
            _ => error("config-kind", "`kind` is no text", kind, "name the kind of document"),
        },
    }
}

fn main_document(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Main> {
    let missing = |at: &Node| {
        let problem = Diagnostic::error("config-machine", "the document has no `machine` section");
        problem.at(at.place()).help("add `machine` with at least `type`; Talos refuses it without")
    };
    let Some(machine) = node.get("machine").filter(|machine| machine.entries().is_some()) else {
        problems.push(missing(node.get("machine").unwrap_or(node)));
        return None;
    };
    let kind = machine.get("type");
    let machine_type = match kind.map(Node::scalar) {
        None => MachineType::Missing,
        Some(Some(scalar)) => match scalar.text.as_str() {
            "controlplane" | "init" => MachineType::ControlPlane,
            "worker" | "join" => MachineType::Worker,
            "" | "~" | "null" => MachineType::Missing,
            _ => return unknown_type(kind.unwrap_or(machine), problems),
        },
        Some(None) => return unknown_type(kind.unwrap_or(machine), problems),
    };
    let install = machine.get("install");
    Some(Main {
        machine_type,
        machine_type_place: kind.unwrap_or(machine).place(),
        install: install.map_or(Install::Missing, install_section),
        install_place: install.unwrap_or(machine).place(),
    })
}

fn unknown_type(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Main> {
    let problem = Diagnostic::error("config-type", "`machine.type` is no type of machine");
    problems.push(problem.at(node.place()).help("write `controlplane` or `worker`"));
    None
}

fn install_section(node: &Node) -> Install {
    let text = |key| node.get(key).and_then(Node::text).is_some_and(|text| !text.is_empty());
    let selector = node.get("diskSelector").and_then(Node::entries);
    match () {
        () if node.is_null() => Install::Missing,
        () if text("disk") || selector.is_some_and(|keys| !keys.is_empty()) => Install::Complete,
        () => Install::WithoutDisk,
    }
}

#[cfg(test)]
mod tests;
