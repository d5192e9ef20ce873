//! What differs between two machine configs, by document and path.
//!
//! In: the configs that boot entries find. Out: parts.
//!
//! Source: Talos `pkg/machinery/config/merge/merge.go` and the `Merge` methods of its types: which
//! lists have items that are told by a key.
//!
//! Not here: what is a secret (`config::secret`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Part, Side, Topic, boot};
use crate::config::secret;
use crate::digest::Digest;
use crate::inspect::init::Found;
use crate::inspect::volume::Volume;
use crate::inspect::{Boot, Config, Medium};
use crate::yaml::{self, Node, Value};

/// The longest key or name that is shown in a path, in characters.
const NAME_LIMIT: usize = 64;

/// Lists whose items are told by the value of a key: the document's kind (empty: the one without),
/// the list's path with `*` for any item, the key.
const TOLD_BY: [(&str, &[&str], &str); 5] = [
    ("", &["machine", "network", "interfaces"], "interface"),
    ("", &["machine", "network", "interfaces", "*", "vlans"], "vlanId"),
    ("", &["cluster", "apiServer", "admissionControl"], "name"),
    ("ExtensionServiceConfig", &["configFiles"], "mountPath"),
    ("ImageVerificationConfig", &["rules"], "image"),
];

/// What differs between the configs of entries that both media have. Pairs of configs that several
/// entries find are compared once.
pub(super) fn parts(before: &Medium, after: &Medium) -> Vec<Part> {
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    let told = |medium: &Medium, boot: &Boot| medium.config_of(boot).as_ref().map(Told::of);
    let pairs = boot::pairs(&before.boots, &after.boots).into_iter();
    let mut pairs: Vec<_> = pairs.map(|(old, new)| (told(before, old), told(after, new))).collect();
    if before.is_seed() && after.is_seed() {
        pairs.push((Told::of_seed(before), Told::of_seed(after)));
    }
    for (old, new) in pairs {
        let digests = (old.as_ref().map(Told::digest), new.as_ref().map(Told::digest));
        if seen.insert(digests) {
            let mut part = Part::new(Topic::Config);
            compare(&mut part, old.as_ref(), new.as_ref());
            parts.push(part);
        }
    }
    parts
}

fn compare(part: &mut Part, before: Option<&Told>, after: Option<&Told>) {
    let none = Default::default;
    let [old, new] = [before, after].map(|told| told.map_or_else(none, |told| told.facts.clone()));
    let places = ["sha256", "mode", "owner", "SELinux label", "volume"];
    for (place, (old, new)) in places.into_iter().zip(old.iter().zip(&new)) {
        part.compare(place, old.as_deref(), new.as_deref());
    }
    let (Some(before), Some(after)) = (before, after) else { return };
    if before.digest() != after.digest() {
        texts(part, &before.bytes, &after.bytes);
    }
}

/// A config, and what is told of it beside its values: digest, mode, owner, label; or the volume
/// that it lies on.
struct Told {
    digest: Digest,
    bytes: Arc<[u8]>,
    facts: [Option<String>; 5],
}

impl Told {
    fn of(config: &Config<'_>) -> Self {
        let digest = config.digest();
        let mut facts = [const { None }; 5];
        facts[0] = Some(digest.to_string());
        match config {
            Config::Embedded(Found { mode, uid, gid, label, .. }) => {
                facts[1] = Some(format!("{mode:04o}"));
                facts[2] = Some(format!("{uid}:{gid}"));
                facts[3] = Some(label.as_deref().unwrap_or("none").to_owned());
            }
            Config::Volume(volume, _) => facts[4] = Some(volume.label.clone()),
        }
        Self { digest, bytes: config.bytes().clone(), facts }
    }

    fn of_seed(medium: &Medium) -> Option<Self> {
        let given =
            |volume: &Volume| Some(Self::of(&Config::Volume(volume, volume.config.as_ref()?)));
        medium.volumes.iter().find_map(given)
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

/// Adds what differs between the texts of two configs.
pub(super) fn texts(part: &mut Part, before: &[u8], after: &[u8]) {
    let read = |bytes| yaml::parse("config.yaml", bytes).ok();
    let (Some(old), Some(new)) = (read(before), read(after)) else {
        // Why not is no matter here: a message might quote it.
        let state = |is_read: bool| Side::shown(if is_read { "YAML" } else { "no YAML" });
        let sides = [before, after].map(|bytes| state(read(bytes).is_some()));
        let [before, after] = sides;
        return part.push(|| "text".into(), before, after);
    };
    let told = part.changes.len();
    let (old, new) = (documents(&old), documents(&new));
    for (name, document) in &old {
        match new.get(name) {
            Some(other) => Walk { part: &mut *part, name }.both(&mut Vec::new(), document, other),
            None => part.push(|| name.title(), Side::shown("a document"), Side::Absent),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        part.push(|| name.title(), Side::Absent, Side::shown("a document"));
    }
    if part.changes.len() == told {
        let same = Side::shown("the same values, written otherwise");
        part.push(|| "text".into(), same.clone(), same);
    }
}

/// What a document is told by: kind, name, and the number among those of the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    kind: String,
    name: String,
    number: u64,
}

impl Name {
    /// The title, with an end that separates it from a path.
    fn title(&self) -> String {
        let number = match self.number {
            0 => String::new(),
            n => format!(" #{}", n + 1),
        };
        match (self.kind.as_str(), self.name.as_str()) {
            ("", _) => format!("v1alpha1{number}"),
            (kind, "") => format!("{}{number}", cut(kind)),
            (kind, name) => format!("{} {}{number}", cut(kind), cut(name)),
        }
    }
}

fn documents(nodes: &[Node]) -> BTreeMap<Name, &Node> {
    let mut counts = BTreeMap::<(&str, &str), u64>::new();
    let mut documents = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.is_null()) {
        let text = |key| node.get(key).and_then(Node::text).unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let count = counts.entry((kind, name)).or_default();
        let name = Name { kind: kind.to_owned(), name: name.to_owned(), number: *count };
        *count += 1;
        documents.insert(name, node);
    }
    documents
}

/// A step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// A key.
    Key(&'a str),
    /// An item, by the value of a key.
    Told(&'a str, &'a str),
    /// An item, by its number.
    Item(usize),
}

/// A walk through two documents of one name.
struct Walk<'p> {
    part: &'p mut Part,
    name: &'p Name,
}

/// Which of two media has a value.
#[derive(Clone, Copy)]
enum Only {
    Before,
    After,
}

impl Walk<'_> {
    fn both<'a>(&mut self, path: &mut Vec<Step<'a>>, before: &'a Node, after: &'a Node) {
        match (before.value(), after.value()) {
            _ if before.is_null() && after.is_null() => {}
            (Value::Mapping(old), Value::Mapping(new)) => {
                let old: BTreeMap<_, _> = old.iter().map(|e| (e.key.as_str(), &e.value)).collect();
                let new: BTreeMap<_, _> = new.iter().map(|e| (e.key.as_str(), &e.value)).collect();
                let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
                for key in keys {
                    path.push(Step::Key(key));
                    self.either(path, old.get(key).copied(), new.get(key).copied());
                    path.pop();
                }
            }
            (Value::Sequence(old), Value::Sequence(new)) => match self.told_by(path) {
                Some(key) => self.told(path, key, old, new),
                None => self.items(path, old, new),
            },
            (Value::Scalar(old), Value::Scalar(new)) => {
                if old.text != new.text || before.is_null() != after.is_null() {
                    self.change(path, Some(before), Some(after));
                }
            }
            _ => self.change(path, Some(before), Some(after)),
        }
    }

    /// What may be in one of them only. Talos takes a null for nothing.
    fn either<'a>(
        &mut self,
        path: &mut Vec<Step<'a>>,
        before: Option<&'a Node>,
        after: Option<&'a Node>,
    ) {
        let there = |node: Option<&'a Node>| node.filter(|node| !node.is_null());
        match (there(before), there(after)) {
            (Some(before), Some(after)) => self.both(path, before, after),
            (Some(before), None) => self.leaves(path, before, Only::Before),
            (None, Some(after)) => self.leaves(path, after, Only::After),
            (None, None) => {}
        }
    }

    /// Every value below a node that only one of them has.
    fn leaves<'a>(&mut self, path: &mut Vec<Step<'a>>, node: &'a Node, only: Only) {
        match node.value() {
            Value::Mapping(entries) if !entries.is_empty() => {
                for entry in entries {
                    path.push(Step::Key(&entry.key));
                    self.leaves(path, &entry.value, only);
                    path.pop();
                }
            }
            Value::Sequence(items) if !items.is_empty() => {
                let key = self.told_by(path);
                for (number, item) in items.iter().enumerate() {
                    let told = key.and_then(|key| Some(Step::Told(key, text_of(item, key)?)));
                    path.push(told.unwrap_or(Step::Item(number)));
                    self.leaves(path, item, only);
                    path.pop();
                }
            }
            _ => match only {
                Only::Before => self.change(path, Some(node), None),
                Only::After => self.change(path, None, Some(node)),
            },
        }
    }

    /// Items that are told by a key; those that lack it, by their order.
    fn told<'a>(
        &mut self,
        path: &mut Vec<Step<'a>>,
        key: &'static str,
        before: &'a [Node],
        after: &'a [Node],
    ) {
        let (old, old_rest) = split(key, before);
        let (new, new_rest) = split(key, after);
        let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        for name in names {
            path.push(Step::Told(key, name));
            self.either(path, old.get(name).copied(), new.get(name).copied());
            path.pop();
        }
        for number in 0..old_rest.len().max(new_rest.len()) {
            path.push(Step::Item(number));
            self.either(path, old_rest.get(number).copied(), new_rest.get(number).copied());
            path.pop();
        }
    }

    /// Items that are told by nothing: what begins and ends both lists is the same, what is between
    /// is compared one by one.
    fn items<'a>(&mut self, path: &mut Vec<Step<'a>>, before: &'a [Node], after: &'a [Node]) {
        let same = |pair: &(&Node, &Node)| are_same(pair.0, pair.1);
        let head = before.iter().zip(after).take_while(same).count();
        let tails = before[head..].iter().rev().zip(after[head..].iter().rev());
        let tail = tails.take_while(same).count();
        let old = &before[head..before.len() - tail];
        let new = &after[head..after.len() - tail];
        for number in 0..old.len().max(new.len()) {
            path.push(Step::Item(head + number));
            self.either(path, old.get(number), new.get(number));
            path.pop();
        }
    }

    /// The key that tells the items of a list.
    fn told_by(&self, path: &[Step<'_>]) -> Option<&'static str> {
        let is = |(kind, list, _): &&(&str, &[&str], &str)| {
            let step = |(step, want): (&Step<'_>, &&str)| match step {
                Step::Key(key) => key == want,
                Step::Told(..) | Step::Item(_) => *want == "*",
            };
            self.name.kind == *kind && path.len() == list.len() && path.iter().zip(*list).all(step)
        };
        TOLD_BY.iter().find(is).map(|(.., key)| *key)
    }

    fn change(&mut self, path: &[Step<'_>], before: Option<&Node>, after: Option<&Node>) {
        let steps: Vec<&str> = path
            .iter()
            .map(|step| match step {
                Step::Key(key) => *key,
                Step::Told(..) | Step::Item(_) => "*",
            })
            .collect();
        let hides = secret::hides(&self.name.kind, &steps);
        let side = |node: Option<&Node>| match node {
            None => Side::Absent,
            Some(_) if hides => Side::Hidden,
            Some(node) => shown(node),
        };
        let title = (!self.name.kind.is_empty() || self.name.number > 0).then(|| self.name.title());
        let place =
            || title.map_or_else(|| text(path), |title| format!("[{title}] {}", text(path)));
        self.part.push(place, side(before), side(after));
    }
}

/// A value, if it is no secret by itself.
fn shown(node: &Node) -> Side {
    match node.value() {
        Value::Mapping(entries) if entries.is_empty() => Side::shown("{}"),
        Value::Mapping(entries) => Side::Shown(format!("<a mapping of {}>", entries.len())),
        Value::Sequence(items) if items.is_empty() => Side::shown("[]"),
        Value::Sequence(items) => Side::Shown(format!("<a list of {}>", items.len())),
        Value::Scalar(scalar) if secret::is_value(&scalar.text) => Side::Hidden,
        Value::Scalar(_) if node.is_null() => Side::shown("null"),
        Value::Scalar(scalar) if scalar.text.is_empty() => Side::shown("\"\""),
        Value::Scalar(scalar) => Side::shown(&scalar.text),
    }
}

/// The items by the value of a key, and those that have none or one that was there before.
fn split<'a>(key: &str, items: &'a [Node]) -> (BTreeMap<&'a str, &'a Node>, Vec<&'a Node>) {
    let (mut told, mut rest) = (BTreeMap::new(), Vec::new());
    for item in items {
        match text_of(item, key) {
            Some(name) if !told.contains_key(name) => drop(told.insert(name, item)),
            _ => rest.push(item),
        }
    }
    (told, rest)
}

fn text_of<'a>(item: &'a Node, key: &str) -> Option<&'a str> {
    item.get(key).and_then(Node::text).filter(|text| !text.is_empty())
}

/// Whether two values are the same, however they are written.
fn are_same(before: &Node, after: &Node) -> bool {
    match (before.value(), after.value()) {
        (Value::Scalar(old), Value::Scalar(new)) => {
            old.text == new.text && before.is_null() == after.is_null()
        }
        (Value::Sequence(old), Value::Sequence(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| are_same(old, new))
        }
        (Value::Mapping(old), Value::Mapping(new)) => {
            let new: BTreeMap<_, _> = new.iter().map(|e| (e.key.as_str(), &e.value)).collect();
            let same = |entry: &yaml::Entry| {
                new.get(entry.key.as_str()).is_some_and(|value| are_same(&entry.value, value))
            };
            old.len() == new.len() && old.iter().all(same)
        }
        _ => false,
    }
}

/// A path as people write it: `machine.network.interfaces[interface: eth0].mtu`.
fn text(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                let dot = if text.is_empty() { "" } else { "." };
                match key.contains(['.', '[', ' ']) || key.is_empty() {
                    true => text += &format!("{dot}\"{}\"", cut(key)),
                    false => text += &format!("{dot}{}", cut(key)),
                }
            }
            Step::Told(key, value) => text += &format!("[{key}: {}]", cut(value)),
            Step::Item(number) => text += &format!("[{number}]"),
        }
    }
    text
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(NAME_LIMIT) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
