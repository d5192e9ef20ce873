//! What comes of an overlay for one node.
//!
//! In: an [`Overlay`] and a [`Scope`]: the facts and values of the site. Out: an [`Expansion`]:
//! patches and manifests without placeholders.
//!
//! Source: etcd's `--initial-cluster` for what is built in, <https://etcd.io/docs/v3.6/op-guide/clustering/>.
//!
//! Not here: the patches' own rules and in which form a release takes manifests (`config`), and
//! where values are written (`site`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::Overlay;
use super::overlay::Manifest;
use super::template::{MAX_FILLED, Shape, Template};
use crate::report::{Diagnostic, Place};
use crate::talos::Role;
use crate::yaml::{self, Node, Scalar, Style, Value, emit};

/// What a site gives, by name. For a `file` the value is the file's text ([`Node::whole`]).
pub type Values = BTreeMap<String, Node>;

/// What placeholders stand for, for one node.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Where the site names the overlay for this node.
    pub place: Place,
    /// The cluster.
    pub cluster: Cluster<'a>,
    /// The node.
    pub node: Machine<'a>,
    /// All nodes of the site in order, this one among them.
    pub nodes: &'a [Machine<'a>],
}

/// What is the same for all nodes.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Its name.
    pub name: &'a str,
    /// The URL of Kubernetes' API.
    pub endpoint: &'a str,
    /// The networks of the pods.
    pub pod_subnets: &'a [String],
    /// The networks of the services.
    pub service_subnets: &'a [String],
    /// What the site gives for all nodes: manifests of the cluster know these alone, so that every
    /// control plane gets the same ones.
    pub values: &'a Values,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its host name.
    pub name: &'a str,
    /// What it is for the cluster.
    pub role: Role,
    /// Its fixed addresses; the first is that of etcd.
    pub addresses: &'a [IpAddr],
    /// What the site gives for it: its own, and those for all nodes where it has none.
    pub values: &'a Values,
}

/// What comes of an overlay for one node.
#[derive(Clone, Default)]
pub struct Expansion {
    /// The documents of each patch, in order.
    pub patches: Vec<Vec<Node>>,
    /// Names and texts of inline manifests; none for workers.
    pub manifests: Vec<(String, String)>,
}

/// The numbers and names, never the texts: rendered manifests hold keys.
impl fmt::Debug for Expansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.manifests.iter().map(|(name, _)| name).collect();
        write!(f, "{} patches, manifests {names:?}", self.patches.len())
    }
}

/// The port at which members of etcd talk to each other.
const ETCD_PEER_PORT: u16 = 2380;

/// What is built in, and whether it is a text.
const BUILT_IN: [(&str, Shape); 9] = [
    ("cluster.name", Shape::Text),
    ("cluster.endpoint", Shape::Text),
    ("cluster.pod_subnets", Shape::Tree),
    ("cluster.service_subnets", Shape::Tree),
    ("node.name", Shape::Text),
    ("node.address", Shape::Text),
    ("node.addresses", Shape::Tree),
    ("etcd.initial_cluster", Shape::Text),
    ("etcd.peer_url", Shape::Text),
];

/// What a name that is built in stands for.
pub(super) fn built_in(name: &str) -> Option<Shape> {
    BUILT_IN.into_iter().find(|(known, _)| *known == name).map(|(_, shape)| shape)
}

/// Whether a name that is built in stands for something else on each node.
pub(super) fn is_of_node(name: &str) -> bool {
    name.starts_with("node.") || name == "etcd.peer_url"
}

impl Overlay {
    /// What comes of it for a node with Talos `1.minor`. `name` is its name in messages.
    ///
    /// # Errors
    ///
    /// Values that are missing or of the wrong kind, addresses that a node does not have, a
    /// release that the overlay has nothing for.
    pub fn expand(
        &self,
        name: &str,
        scope: &Scope<'_>,
        minor: u32,
    ) -> Result<Expansion, Vec<Diagnostic>> {
        let mut filler = Filler { overlay: self, name, scope, left: MAX_FILLED, problems: vec![] };
        filler.check_release(minor);
        let role = scope.node.role;
        let mut expansion = Expansion::default();
        for patch in &self.patches {
            if patch.roles.contains(&role) && patch.releases.have(minor) {
                let given = Given { node: Some(&scope.node), values: scope.node.values };
                expansion.patches.extend(filler.fill(&patch.template, given));
            }
        }
        for manifest in self.manifests.iter().filter(|_| role == Role::ControlPlane) {
            if let Some(text) = filler.manifest(manifest) {
                expansion.manifests.push((manifest.name.clone(), text));
            }
        }
        // A mistake in a value for all nodes is one mistake.
        let mut problems = Vec::new();
        for problem in filler.problems {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(expansion) } else { Err(problems) }
    }
}

/// Where values come from.
#[derive(Clone, Copy)]
struct Given<'a> {
    /// The node, if it is for one.
    node: Option<&'a Machine<'a>>,
    values: &'a Values,
}

/// Why a name stands for nothing.
enum Lack {
    /// Nobody gives it and nobody must: what names it is left out.
    Optional,
    Problem(Diagnostic),
}

struct Filler<'a> {
    overlay: &'a Overlay,
    name: &'a str,
    scope: &'a Scope<'a>,
    left: u64,
    problems: Vec<Diagnostic>,
}

impl<'a> Filler<'a> {
    fn error(&self, code: &'static str, what: &str, help: String) -> Diagnostic {
        let message = format!("overlay `{}` {what}", self.name);
        Diagnostic::error(code, message).at(self.scope.place.clone()).help(help)
    }

    /// Says where an overlay would do nothing at all with a release.
    fn check_release(&mut self, minor: u32) {
        let Overlay { kernel_args, patches, manifests, .. } = self.overlay;
        let is_other =
            !kernel_args.amd64.is_empty() || !kernel_args.arm64.is_empty() || !manifests.is_empty();
        if is_other || patches.is_empty() || patches.iter().any(|patch| patch.releases.have(minor))
        {
            return;
        }
        let first = patches.iter().filter_map(|patch| patch.releases.since).map(|since| since.0);
        let help = match first.filter(|&first| first > minor).min() {
            Some(first) => format!("use Talos v1.{first} or newer, or drop the overlay"),
            None => "drop the overlay".to_owned(),
        };
        let what = format!("has nothing for Talos v1.{minor}");
        self.problems.push(self.error("overlay-release", &what, help));
    }

    /// Fills a template; nothing where it is left out, or cannot be filled, which is noted.
    fn fill(&mut self, template: &Template, given: Given<'_>) -> Option<Vec<Node>> {
        let mut values = BTreeMap::new();
        let mut problems = Vec::new();
        let mut is_left_out = false;
        for (name, at) in template.names() {
            match self.value(name, at, given) {
                Ok(value) => _ = values.insert(name, value),
                Err(Lack::Optional) => is_left_out = true,
                Err(Lack::Problem(problem)) => problems.push(problem),
            }
        }
        if is_left_out {
            return None;
        }
        if !problems.is_empty() {
            self.problems.extend(problems);
            return None;
        }
        template.fill(&values, &mut self.left).map_err(|problem| self.problems.push(problem)).ok()
    }

    fn value(&self, name: &str, at: &Node, given: Given<'_>) -> Result<Node, Lack> {
        let Some(declared) = self.overlay.values.get(name) else {
            return self.built_in(name, at, given.node);
        };
        match given.values.get(name) {
            Some(value) if declared.kind.takes(value) => Ok(value.clone()),
            Some(value) => {
                let want = declared.kind.name();
                let message = format!("the value `{name}` is {want}, and this is {}", value.kind());
                let problem = Diagnostic::error("overlay-value-kind", message).at(value.place());
                Err(Lack::Problem(problem.help(format!("`{name}` is {}", declared.about))))
            }
            None => match &declared.default {
                Some(default) => Ok(default.clone()),
                None if declared.required => {
                    let (whom, list) = match given.node {
                        Some(node) => (format!(" for node `{}`", node.name), "the node's `values`"),
                        None => (String::new(), "`defaults.values`"),
                    };
                    let what = format!("needs the value `{name}`{whom}");
                    let help = format!("write it in {list}: {}", declared.about);
                    Err(Lack::Problem(self.error("overlay-value-missing", &what, help)))
                }
                None => Err(Lack::Optional),
            },
        }
    }

    /// What is built in stands where the placeholder stands.
    fn built_in(&self, name: &str, at: &Node, node: Option<&Machine<'_>>) -> Result<Node, Lack> {
        let text = |text: &str| {
            let scalar = Scalar { text: text.to_owned(), style: Style::Text };
            at.with(Value::Scalar(scalar))
        };
        let list = |items: &[String]| {
            at.with(Value::Sequence(items.iter().map(|item| text(item)).collect()))
        };
        let node = node.unwrap_or(&self.scope.node);
        let cluster = &self.scope.cluster;
        Ok(match name {
            "cluster.name" => text(cluster.name),
            "cluster.endpoint" => text(cluster.endpoint),
            "cluster.pod_subnets" => list(cluster.pod_subnets),
            "cluster.service_subnets" => list(cluster.service_subnets),
            "node.name" => text(node.name),
            "node.address" => text(&self.address(node)?.to_string()),
            "node.addresses" => {
                self.address(node)?;
                list(&node.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>())
            }
            "etcd.peer_url" => text(&peer_url(self.address(node)?)),
            _ => {
                let members = self.scope.nodes.iter().filter(|n| n.role == Role::ControlPlane);
                let members = members.map(|member| {
                    Ok(format!("{}={}", member.name, peer_url(self.address(member)?)))
                });
                text(&members.collect::<Result<Vec<_>, Lack>>()?.join(","))
            }
        })
    }

    fn address(&self, node: &Machine<'_>) -> Result<IpAddr, Lack> {
        node.addresses.first().copied().ok_or_else(|| {
            let what = format!("needs a fixed address of node `{}`", node.name);
            let help = format!("give `{}` a static address, or drop the overlay", node.name);
            Lack::Problem(self.error("overlay-address", &what, help))
        })
    }

    /// The text of a manifest; nothing where it is left out.
    fn manifest(&mut self, manifest: &'a Manifest) -> Option<String> {
        let scope = self.scope;
        let documents: Vec<Node> = if manifest.each_node {
            let nodes = scope.nodes.iter();
            let given = nodes.map(|node| Given { node: Some(node), values: node.values });
            given.filter_map(|given| self.fill(&manifest.template, given)).flatten().collect()
        } else {
            let given = Given { node: None, values: scope.cluster.values };
            self.fill(&manifest.template, given)?
        };
        if documents.is_empty() {
            return None;
        }
        // A file's text stays as it is, comments and all.
        let text = match documents.as_slice() {
            [one] => one.text(),
            _ => None,
        };
        let Some(text) = text else {
            documents.iter().for_each(|document| self.check_object(document));
            return Some(emit::documents(&documents));
        };
        match yaml::parse(&documents[0].place().file, text.as_bytes()) {
            Ok(objects) => {
                let objects: Vec<_> = objects.iter().filter(|node| !node.is_null()).collect();
                if objects.is_empty() {
                    let error = Diagnostic::error("overlay-object", "there is no object in it");
                    let error = error.at(documents[0].place());
                    self.problems.push(error.help("write at least one object of Kubernetes"));
                }
                objects.into_iter().for_each(|object| self.check_object(object));
            }
            Err(problem) => self.problems.push(problem),
        }
        Some(text.to_owned())
    }

    fn check_object(&mut self, object: &Node) {
        let has = |key| object.get(key).and_then(Node::text).is_some_and(|text| !text.is_empty());
        if !has("apiVersion") || !has("kind") {
            let message = "an object of Kubernetes has `apiVersion` and `kind`, and this has not";
            let problem = Diagnostic::error("overlay-object", message).at(object.place());
            self.problems.push(problem.help("write both, as `kubectl` takes them"));
        }
    }
}

/// How etcd is told of a member.
fn peer_url(address: IpAddr) -> String {
    let address = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("https://{address}:{ETCD_PEER_PORT}")
}

#[cfg(test)]
mod tests;
