//! Patches, and an order of them with which a site renders what talhelper makes.
//!
//! In: the patches of cluster, groups and nodes. Out: files, and who names which.
//!
//! Source: talhelper `pkg/generate/config.go`, `pkg/patcher/patcher.go`, `pkg/config/nodeconfigs.go`:
//! what its keys say comes first; then a node's group's patches, the node's own, and last those of
//! all nodes. In a site those of all nodes come first, then the role's, then the node's.
//!
//! Not here: what patches do (`config::patch`).
//!
//! A patch of all nodes stays one where it touches nothing that a patch before it touches; else
//! every node names all its patches in talhelper's order. Likewise for a group's.

use zeroize::Zeroizing;

use super::emit;
use super::feature::Shop;
use super::value::{Data, Value};
use crate::config::patch::Patch;
use crate::config::schema::{MAIN, Schema};
use crate::report::{Diagnostic, Place};
use crate::talos::Role;
use crate::yaml::{self, Node};

/// A patch: its file by number, and what it touches.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) file: usize,
    touched: Touched,
}

/// What a patch changes.
#[derive(Clone)]
enum Touched {
    /// Anything, in an order that matters: operations of JSON 6902, lists with marks.
    Anything,
    /// The values at these paths, each of a document by kind and name.
    Paths(Vec<Path>),
}

#[derive(Clone)]
struct Path {
    kind: String,
    name: String,
    keys: Vec<String>,
}

/// The files of all patches; equal ones are one.
#[derive(Default)]
pub(super) struct Shelf {
    /// Paths from the site's folder, and bytes.
    pub(super) files: Vec<(String, Zeroizing<Vec<u8>>)>,
}

/// The patches of a node, in talhelper's order.
pub(super) struct Stack {
    pub(super) role: Role,
    pub(super) features: Vec<Piece>,
    pub(super) group: Vec<Piece>,
    pub(super) own: Vec<Piece>,
    /// Documents that are added after everything else.
    pub(super) last: Vec<Piece>,
}

/// The patches of a site by who names them.
pub(super) struct Arranged {
    pub(super) all: Vec<usize>,
    pub(super) controlplane: Vec<usize>,
    pub(super) worker: Vec<usize>,
    pub(super) nodes: Vec<Vec<usize>>,
    /// Whether the nodes name what all of them have.
    pub(super) is_spread: bool,
}

impl Shelf {
    /// Takes a file's bytes, under a name like the one given.
    fn add(&mut self, name: &str, bytes: Zeroizing<Vec<u8>>) -> usize {
        if let Some(known) = self.files.iter().position(|(_, other)| *other == bytes) {
            return known;
        }
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "yaml"));
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let stem: String = stem.chars().map(|c| if fits(c) { c } else { '-' }).take(100).collect();
        let is_free = |path: &String| self.files.iter().all(|(known, _)| known != path);
        let first = format!("patches/{stem}.{ending}");
        let more = (2_u32..).map(|n| format!("patches/{stem}-{n}.{ending}"));
        let path = std::iter::once(first.clone()).chain(more).find(is_free).unwrap_or(first);
        self.files.push((path, bytes));
        self.files.len() - 1
    }

    /// A patch of documents that are made here.
    pub(super) fn made(
        &mut self,
        name: &str,
        documents: &[Value],
        shop: &mut Shop<'_, '_, '_>,
    ) -> Option<Piece> {
        let open: Vec<&Value> = documents.iter().filter(|value| is_open(value, shop)).collect();
        if open.is_empty() {
            return None;
        }
        let mut text = Zeroizing::new(String::new());
        for (at, document) in open.iter().enumerate() {
            if at > 0 {
                text.push_str("---\n");
            }
            text.push_str(&emit::document(document));
        }
        let nodes = yaml::parse(name, text.as_bytes());
        let nodes = nodes.map_err(|problem| shop.problems.push(problem)).ok()?;
        let touched = touched(&nodes);
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Some(Piece { file: self.add(name, bytes), touched })
    }

    /// A patch in text that is made here.
    pub(super) fn text(
        &mut self,
        name: &str,
        text: &str,
        shop: &mut Shop<'_, '_, '_>,
    ) -> Option<Piece> {
        let nodes = yaml::parse(name, text.as_bytes());
        let nodes = nodes.map_err(|problem| shop.problems.push(problem)).ok()?;
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Some(Piece { file: self.add(name, bytes), touched: touched(&nodes) })
    }

    /// A patch of talhelper's: a text, or `@` and the path of a file.
    pub(super) fn given(
        &mut self,
        schema: &'static Schema,
        name: &str,
        patch: &Value,
        shop: &mut Shop<'_, '_, '_>,
    ) -> Option<Piece> {
        let Some(text) = patch.text() else {
            let problem = Diagnostic::error("import-patch", "a patch is a text or `@` and a path");
            shop.problems.push(problem.at(patch.place()).help("put it behind `|-`"));
            return None;
        };
        if let Some(path) = text.strip_prefix('@') {
            return self.file(schema, path, &patch.place(), shop);
        }
        if !is_open(patch, shop) || is_template(text, &patch.place(), shop) {
            return None;
        }
        let nodes = parse(schema, &patch.place(), text.as_bytes(), shop)?;
        let mut bytes = Zeroizing::new(text.as_bytes().to_vec());
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        Some(Piece { file: self.add(name, bytes), touched: touched(&nodes) })
    }

    /// A patch in a file; byte for byte, encrypted or not, where it has no variables.
    pub(super) fn file(
        &mut self,
        schema: &'static Schema,
        path: &str,
        at: &Place,
        shop: &mut Shop<'_, '_, '_>,
    ) -> Option<Piece> {
        let read = shop.files.read(path, Some(at));
        let read = read.map_err(|problem| shop.problems.push(problem)).ok()?;
        let text = String::from_utf8_lossy(read.plain());
        if text.trim().is_empty() || is_template(&text, at, shop) {
            return None;
        }
        let place = Place { file: read.path.clone(), line: 1, column: 1 };
        let nodes = yaml::parse(&read.path, read.plain());
        let nodes = nodes.map_err(|problem| shop.problems.push(problem)).ok()?;
        let name = read.path.rsplit('/').next().unwrap_or("patch.yaml");
        let mut values = Vec::new();
        let mut has_variables = false;
        for node in &nodes {
            let value = shop.reader.read(node);
            let (value, used) = value.map_err(|problems| shop.problems.extend(problems)).ok()?;
            has_variables |= used;
            values.push(value);
        }
        if !has_variables {
            let nodes = parse(schema, &place, read.plain(), shop)?;
            return Some(Piece { file: self.add(name, read.raw), touched: touched(&nodes) });
        }
        if read.opened.is_some() {
            let message = format!("the encrypted patch `{}` has variables in it", read.path);
            let note = Diagnostic::warning("import-secret", message).at(at.clone());
            let help = "write their values into it, encrypt it with sops, and name it in the site";
            shop.notes.push(note.help(help));
            return None;
        }
        let piece = self.made(name, &values, shop)?;
        parse(schema, &place, &self.files[piece.file].1, shop)?;
        Some(piece)
    }
}

/// Whether a value may be written as plain text; it is told where not.
pub(super) fn is_open(value: &Value, shop: &mut Shop<'_, '_, '_>) -> bool {
    let Some(variable) = value.secret() else { return true };
    let message =
        format!("this has the secret variable `{variable}` in it, and is not carried over");
    let note = Diagnostic::warning("import-secret", message).at(value.place());
    let help = "write it as a patch, encrypt that with sops, and name it in the site";
    shop.notes.push(note.help(help));
    false
}

/// Whether a text is a template of Go's, which is told.
fn is_template(text: &str, at: &Place, shop: &mut Shop<'_, '_, '_>) -> bool {
    if !text.contains("{{") {
        return false;
    }
    let message = "this patch is a template, and is not carried over";
    let note = Diagnostic::warning("import-template", message).at(at.clone());
    shop.notes.push(note.help("write out what it becomes, a patch for each node"));
    true
}

/// Reads a patch the way Talos does, and gives its documents.
fn parse(
    schema: &'static Schema,
    at: &Place,
    bytes: &[u8],
    shop: &mut Shop<'_, '_, '_>,
) -> Option<Vec<Node>> {
    let is_file = (at.line, at.column) == (1, 1);
    let label = if is_file { at.file.clone() } else { format!("{} (patch)", at.file) };
    // The lines of a text in a file are its own, and start below where it stands.
    let shift = |problem: Diagnostic| match problem.place {
        Some(_) if is_file => problem,
        _ => Diagnostic { place: Some(at.clone()), ..problem },
    };
    let nodes = yaml::parse(&label, bytes).map_err(|problem| vec![problem]);
    let nodes = nodes.and_then(|nodes| Patch::of(schema, &nodes).map(|_| nodes));
    nodes.map_err(|found| shop.problems.extend(found.into_iter().map(shift))).ok()
}

fn touched(nodes: &[Node]) -> Touched {
    let mut paths = Vec::new();
    for node in nodes.iter().filter(|node| !node.is_null()) {
        if node.entries().is_none() {
            return Touched::Anything;
        }
        let text = |key| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        let kind = Some(text("kind")).filter(|kind| !kind.is_empty());
        let is_main = kind.is_none();
        let start = Path {
            kind: kind.unwrap_or_else(|| MAIN.to_owned()),
            name: text("name"),
            keys: Vec::new(),
        };
        if !walk(node, is_main, &start, &mut paths) {
            return Touched::Anything;
        }
    }
    Touched::Paths(paths)
}

/// Lists the leaves of a value; whether they are all that it touches.
fn walk(node: &Node, is_main: bool, at: &Path, paths: &mut Vec<Path>) -> bool {
    let entries = node.entries().unwrap_or_default();
    if entries.is_empty() || node.get("$patch").is_some() {
        paths.push(at.clone());
        // An element of a list is told by its first key: marks are looked for in there too.
        return !node.items().is_some_and(|items| items.iter().any(has_mark));
    }
    let head = ["apiVersion", "kind", "name", "version", "debug", "persist"];
    let is_root = at.keys.is_empty();
    if is_root && !is_main {
        // The document itself: who adds it and who changes it do not depend on each other.
        paths.extend(entries.iter().all(|e| head.contains(&e.key.as_str())).then(|| at.clone()));
    }
    let inner =
        entries.iter().filter(|entry| !(is_root && !is_main && head.contains(&entry.key.as_str())));
    inner.fold(true, |all, entry| {
        let mut keys = at.keys.clone();
        keys.push(entry.key.clone());
        let path = Path { keys, ..at.clone() };
        walk(&entry.value, is_main, &path, paths) && all
    })
}

fn has_mark(node: &Node) -> bool {
    match (node.entries(), node.items()) {
        (Some(entries), _) => entries.iter().any(|e| e.key == "$patch" || has_mark(&e.value)),
        (_, Some(items)) => items.iter().any(has_mark),
        _ => false,
    }
}

/// Whether two patches make the same in either order.
fn commute(one: &Piece, other: &Piece, has_documents: bool) -> bool {
    match (&one.touched, &other.touched) {
        (Touched::Paths(one), Touched::Paths(other)) => {
            let apart = |a: &Path| other.iter().all(|b| are_apart(a, b, has_documents));
            one.iter().all(apart)
        }
        _ => false,
    }
}

fn are_apart(one: &Path, other: &Path, has_documents: bool) -> bool {
    if one.kind != other.kind {
        // What was a part of the main document may be one of its own.
        return !has_documents || (one.kind != MAIN && other.kind != MAIN);
    }
    let names_all = |path: &Path| path.name.is_empty() && path.keys.is_empty();
    if one.name != other.name && !names_all(one) && !names_all(other) {
        return true;
    }
    // A part of the main document that becomes one of its own is translated as a whole.
    let depth = if one.kind == MAIN && has_documents { 2 } else { usize::MAX };
    one.keys.iter().zip(&other.keys).take(depth).any(|(a, b)| a != b)
}

/// Decides who names which patch. `first` are those of all nodes that talhelper's keys make and
/// those of control planes, `global` the patches of all nodes.
pub(super) fn arrange(
    stacks: &[Stack],
    first: [&[Piece]; 2],
    global: &[Piece],
    has_documents: bool,
) -> Arranged {
    let numbers = |pieces: &[Piece]| pieces.iter().map(|piece| piece.file).collect::<Vec<_>>();
    let apart = |these: &[Piece], those: &[Piece]| {
        these.iter().all(|one| those.iter().all(|other| commute(one, other, has_documents)))
    };
    let before = |stack: &Stack| {
        let own = match stack.role {
            Role::ControlPlane => first[1],
            Role::Worker => &[],
        };
        apart(global, own)
            && apart(global, &stack.features)
            && apart(global, &stack.group)
            && apart(global, &stack.own)
    };
    let is_shared = global.is_empty() || stacks.iter().all(before);
    let mut arranged = Arranged {
        all: numbers(first[0]),
        controlplane: numbers(first[1]),
        worker: Vec::new(),
        nodes: Vec::new(),
        is_spread: !is_shared,
    };
    if is_shared {
        arranged.all.extend(numbers(global));
    }
    let group = |role: Role| {
        let mut of = stacks.iter().filter(|stack| stack.role == role);
        let one = of.next()?;
        let same = |stack: &Stack| numbers(&stack.group) == numbers(&one.group);
        let fits = |stack: &Stack| apart(&one.group, &stack.features);
        let mut all = stacks.iter().filter(|stack| stack.role == role);
        (of.all(same) && all.all(fits)).then(|| numbers(&one.group))
    };
    let groups = [group(Role::ControlPlane), group(Role::Worker)];
    arranged.controlplane.extend(groups[0].iter().flatten());
    arranged.worker.extend(groups[1].iter().flatten());
    for stack in stacks {
        let hoisted = match stack.role {
            Role::ControlPlane => groups[0].is_some(),
            Role::Worker => groups[1].is_some(),
        };
        let mut own = numbers(&stack.features);
        if !hoisted {
            own.extend(numbers(&stack.group));
        }
        own.extend(numbers(&stack.own));
        if !is_shared {
            own.extend(numbers(global));
        }
        own.extend(numbers(&stack.last));
        arranged.nodes.push(own);
    }
    arranged
}

/// A list of the files' paths.
pub(super) fn paths(at: &Value, shelf: &Shelf, numbers: &[usize]) -> Value {
    let paths = numbers.iter().map(|&number| at.word_here(&shelf.files[number].0));
    at.made(Data::List(paths.collect()))
}
