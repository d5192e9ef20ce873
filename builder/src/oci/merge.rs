//! Layers, laid over each other.
//!
//! In: what is in each, the lowest first. Out: a [`Tree`].
//!
//! A member goes where it would on a disk: symbolic links on the way to it are followed, within the
//! tree.
//!
//! Source: OCI Image Format Specification 1.1, `layer.md`, "Applying Changesets", "Whiteouts"; for
//! links on the way, containerd `pkg/archive/tar.go`.
//!
//! Not here: reading layers (`layer`).

use std::collections::{BTreeMap, BTreeSet};

use super::layer::{Item, Listing, What};
use super::packing::Budget;
use super::tar::{PATH_MAX, TarError};
use crate::tree::{Entry, FollowError, Followed, Kind, Step, Tree, below, follow};

/// What starts the name of a file that takes another one away.
const WHITEOUT: &str = ".wh.";
/// The name of a file that takes away what lower layers have in its folder; what else starts so is
/// AUFS' own.
const OPAQUE: &str = ".wh..wh..opq";
const RESERVED: &str = ".wh..wh.";

/// Whether names that start with `.wh.` take files away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// They do: it is a layer.
    Layer,
    /// They are names: it is an archive.
    Plain,
}

/// A tree under way.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    nodes: BTreeMap<String, Node>,
    names: Names,
    budget: &'a Budget,
}

#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    uid: u64,
    gid: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    what: NodeWhat,
}

#[derive(Clone, Debug)]
enum NodeWhat {
    Folder,
    /// The content is that of this item of this layer.
    File(usize, usize),
    Symlink(String),
    Other(&'static str),
}

impl Node {
    /// A folder of which nothing is said.
    fn folder() -> Self {
        let xattrs = BTreeMap::new();
        Self { mode: 0o755, uid: 0, gid: 0, xattrs, what: NodeWhat::Folder }
    }

    fn is_folder(&self) -> bool {
        matches!(self.what, NodeWhat::Folder)
    }
}

/// Contents that are wanted and were not stored: a layer and a path in it.
pub(super) type Missing = BTreeSet<(usize, String)>;

impl<'a> Merge<'a> {
    pub(super) fn new(names: Names, budget: &'a Budget) -> Self {
        Self { nodes: BTreeMap::new(), names, budget }
    }

    /// Lays a layer over those before it. What it takes away is theirs, wherever it says so.
    pub(super) fn apply(&mut self, layer: usize, listing: &Listing) -> Result<(), TarError> {
        let is_whiteout = |name: &str| self.names == Names::Layer && name.starts_with(WHITEOUT);
        let items = listing.items.iter().enumerate().map(|(index, item)| {
            let (parent, name) = item.path.rsplit_once('/').unwrap_or(("", &item.path));
            (index, item, parent, name)
        });
        let (whiteouts, others): (Vec<_>, Vec<_>) =
            items.partition(|(_, _, _, name)| is_whiteout(name));
        for (_, item, parent, name) in whiteouts {
            self.white_out(parent, name, item)?;
        }
        for (index, item, parent, name) in others {
            self.insert((layer, index), parent, name, item)?;
        }
        Ok(())
    }

    /// The tree, its contents those that are wanted, or those that were not stored.
    pub(super) fn finish(
        self,
        layers: &[Listing],
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Tree, Missing> {
        let mut tree = Tree::default();
        let mut missing = Missing::new();
        for (path, node) in self.nodes {
            let kind = match node.what {
                NodeWhat::Folder => Kind::Folder,
                NodeWhat::Symlink(target) => Kind::Symlink(target),
                NodeWhat::Other(_) | NodeWhat::File(..) if !wanted(&path) => continue,
                NodeWhat::Other(what) => Kind::Other(what),
                NodeWhat::File(layer, index) => {
                    let listing = &layers[layer];
                    let item = &listing.items[index];
                    let content = match &item.what {
                        What::File(Some(stored)) => listing.content(stored),
                        _ => None,
                    };
                    let Some((blob, digest)) = content else {
                        missing.insert((layer, item.path.clone()));
                        continue;
                    };
                    Kind::File(blob.labelled(path.as_str()), digest)
                }
            };
            let Node { mode, uid, gid, xattrs, .. } = node;
            tree.insert(&path, Entry { mode, uid, gid, xattrs, kind });
        }
        if missing.is_empty() { Ok(tree) } else { Err(missing) }
    }

    fn white_out(&mut self, parent: &str, name: &str, item: &Item) -> Result<(), TarError> {
        let hidden = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if matches!(hidden, "" | "." | "..") {
            return Err(TarError::member(&item.path, "it takes away what has no name"));
        }
        if name != OPAQUE && name.starts_with(RESERVED) {
            return Ok(());
        }
        let Followed::Is(parent) = self.follow(parent)? else { return Ok(()) };
        let gone = match (name, parent.as_str()) {
            (OPAQUE, "") => self.nodes.keys().cloned().collect(),
            (OPAQUE, parent) => below(&self.nodes, parent),
            (_, parent) => {
                let path = join(parent, hidden);
                let mut gone = below(&self.nodes, &path);
                gone.push(path);
                gone
            }
        };
        for path in gone {
            self.nodes.remove(&path);
        }
        Ok(())
    }

    fn insert(
        &mut self,
        content: (usize, usize),
        parent: &str,
        name: &str,
        item: &Item,
    ) -> Result<(), TarError> {
        let parent = self.folder(parent)?;
        let path = short(join(&parent, name))?;
        let what = match &item.what {
            What::Folder => NodeWhat::Folder,
            What::File(_) => NodeWhat::File(content.0, content.1),
            What::Symlink(target) => NodeWhat::Symlink(target.clone()),
            What::Other(what) => NodeWhat::Other(what),
            What::HardLink(target) => {
                let linked = self.linked(&path, target, item)?;
                self.put(path, linked);
                return Ok(());
            }
        };
        let Item { mode, uid, gid, xattrs, .. } = item.clone();
        self.put(path, Node { mode, uid, gid, xattrs, what });
        Ok(())
    }

    /// What a hard link links to.
    fn linked(&self, path: &str, target: &str, item: &Item) -> Result<Node, TarError> {
        let (parent, name) = target.rsplit_once('/').unwrap_or(("", target));
        let gone = || TarError::member(&item.path, "it is a hard link to what is not there");
        let Followed::Is(parent) = self.follow(parent)? else { return Err(gone()) };
        let target = join(&parent, name);
        let node = self.nodes.get(&target).filter(|_| target != path).ok_or_else(gone)?;
        match node.what {
            NodeWhat::Folder => Err(TarError::member(&item.path, "it is a hard link to a folder")),
            _ => {
                let xattrs = node.xattrs.iter().map(|(name, value)| name.len() + value.len());
                self.budget.member(path.len() + xattrs.sum::<usize>())?;
                Ok(node.clone())
            }
        }
    }

    /// Puts something in the place of what was there; a folder takes over what is in a folder.
    fn put(&mut self, path: String, node: Node) {
        if self.nodes.get(&path).is_some_and(Node::is_folder) && !node.is_folder() {
            for path in below(&self.nodes, &path) {
                self.nodes.remove(&path);
            }
        }
        self.nodes.insert(path, node);
    }

    /// The folder at a path, its links followed. What is missing is made, as `mkdir -p` does.
    fn folder(&mut self, path: &str) -> Result<String, TarError> {
        // What is on the way to a folder of the tree are folders.
        if path.is_empty() || self.nodes.get(path).is_some_and(Node::is_folder) {
            return Ok(path.to_owned());
        }
        match self.follow(path)? {
            Followed::Is(at)
                if at.is_empty() || self.nodes.get(&at).is_some_and(Node::is_folder) =>
            {
                Ok(at)
            }
            Followed::Is(_) => Err(TarError::member(path, "it is no folder, but has files")),
            Followed::Missing { folder, rest } => {
                let mut at = folder;
                for part in rest.split('/') {
                    at = short(join(&at, part))?;
                    self.budget.member(at.len())?;
                    self.nodes.insert(at.clone(), Node::folder());
                }
                Ok(at)
            }
        }
    }

    fn follow(&self, path: &str) -> Result<Followed, TarError> {
        let step = |path: &str| match self.nodes.get(path).map(|node| &node.what) {
            None => Step::Nothing,
            Some(NodeWhat::Folder) => Step::Folder,
            Some(NodeWhat::Symlink(target)) => Step::Symlink(target),
            Some(NodeWhat::File(..) | NodeWhat::Other(_)) => Step::Leaf,
        };
        follow(path, &step).map_err(|error| {
            let why = match error {
                FollowError::Nothing(_) => "the links on the way to it lead nowhere",
                FollowError::NoFolder(_) => "something on the way to it is no folder",
                FollowError::Links(_) => "the links on the way to it lead in a circle",
                FollowError::Long(_) => "the links on the way to it make too long a path",
            };
            TarError::member(path, why)
        })
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// A path, unless links made it longer than an archive could have it.
fn short(path: String) -> Result<String, TarError> {
    if path.len() <= PATH_MAX {
        return Ok(path);
    }
    Err(TarError::member(&path, "the links on the way to it make too long a path"))
}
