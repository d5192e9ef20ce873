//! `$patch: delete`: what a patch takes out.
//!
//! In: a patch's document. Out: its [`Deletion`]s, and the document without them.
//!
//! Source: Talos `pkg/machinery/config/configloader/internal/decoder/delete.go`, `selector.go`.
//!
//! Not here: laying the rest over a config (`merge`).

use std::net::IpAddr;

use crate::config::documents::Documents;
use crate::config::leaf::Leaf;
use crate::config::schema::{MAIN, Schema, Type};
use crate::config::tree::{Data, Tree};
use crate::report::{Diagnostic, Place};
use crate::yaml::{Node, Value};

/// A value to be taken out of a document.
#[derive(Clone, Debug)]
pub(in crate::config) struct Deletion {
    kind: String,
    name: Option<String>,
    path: Vec<String>,
    /// For an item of a list: the key and the text that tell it.
    item: Option<(String, String)>,
    place: Place,
}

/// What a walk finds of a value: it stays, perhaps changed, or it goes.
enum Rest {
    Stays(Node),
    Goes,
}

/// Takes a document apart. Nothing is left of one that only deletes.
pub(super) fn split(root: &Node) -> Result<(Vec<Deletion>, Option<Node>), Diagnostic> {
    let mut walk = Walk { root, deletions: Vec::new() };
    let rest = match walk.node(root, None, &mut Vec::new())? {
        Rest::Stays(node) if !is_empty(&node) => Some(node),
        Rest::Stays(_) | Rest::Goes => None,
    };
    Ok((walk.deletions, rest))
}

/// Whether a document says nothing but what it is.
fn is_empty(node: &Node) -> bool {
    let known = |key: &str| matches!(key, "version" | "kind" | "name");
    let says_nothing = |entries: &[crate::yaml::Entry]| {
        entries.iter().all(|entry| known(&entry.key) && entry.value.scalar().is_some())
    };
    node.entries().is_some_and(says_nothing)
}

struct Walk<'n> {
    root: &'n Node,
    deletions: Vec<Deletion>,
}

impl Walk<'_> {
    fn node(
        &mut self,
        node: &Node,
        parent: Option<&Node>,
        path: &mut Vec<String>,
    ) -> Result<Rest, Diagnostic> {
        match node.value() {
            Value::Scalar(_) => Ok(Rest::Stays(node.clone())),
            Value::Mapping(entries) => {
                let delete = entries
                    .iter()
                    .find(|entry| entry.key == "$patch" && entry.value.text() == Some("delete"));
                if let Some(delete) = delete {
                    self.delete(node, parent, path, &delete.place)?;
                    return Ok(Rest::Goes);
                }
                let mut kept = Vec::with_capacity(entries.len());
                for entry in entries {
                    path.push(entry.key.clone());
                    let rest = self.node(&entry.value, Some(node), path)?;
                    path.pop();
                    if let Rest::Stays(value) = rest {
                        kept.push(entry.with(value));
                    }
                }
                let gone = kept.is_empty() && !entries.is_empty();
                Ok(if gone { Rest::Goes } else { Rest::Stays(node.with(Value::Mapping(kept))) })
            }
            Value::Sequence(items) => {
                let mut kept = Vec::with_capacity(items.len());
                for (number, item) in items.iter().enumerate() {
                    path.push(format!("[{number}]"));
                    let rest = self.node(item, Some(node), path)?;
                    path.pop();
                    if let Rest::Stays(item) = rest {
                        kept.push(item);
                    }
                }
                let gone = kept.is_empty() && !items.is_empty();
                Ok(if gone { Rest::Goes } else { Rest::Stays(node.with(Value::Sequence(kept))) })
            }
        }
    }

    fn delete(
        &mut self,
        node: &Node,
        parent: Option<&Node>,
        path: &[String],
        place: &Place,
    ) -> Result<(), Diagnostic> {
        let in_list = parent.is_some_and(|parent| parent.items().is_some());
        if !in_list && path.iter().any(|key| key.starts_with('[')) {
            let message = "`$patch: delete` does not reach into an item of a list";
            let problem = Diagnostic::error("patch-delete", message).at(place.clone());
            return Err(problem.help("delete the item and write it anew"));
        }
        let text = |key| self.root.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let kind = match (version.is_empty(), kind.is_empty()) {
            (true, true) if !path.is_empty() => MAIN.to_owned(),
            (false, false) => kind,
            _ => {
                let message = "`$patch: delete` needs `apiVersion` and `kind` beside it";
                let problem = Diagnostic::error("patch-delete", message).at(place.clone());
                return Err(problem.help("name the document that it is about"));
            }
        };
        let item = if in_list { Some(first_key(node, place)?) } else { None };
        let name = Some(text("name")).filter(|name| !name.is_empty() && kind != MAIN);
        let path = path.to_vec();
        self.deletions.push(Deletion { kind, name, path, item, place: place.clone() });
        Ok(())
    }
}

/// The first key of a list's item and its text, by which Talos finds the item.
fn first_key(item: &Node, place: &Place) -> Result<(String, String), Diagnostic> {
    let entries = item.entries().unwrap_or_default();
    let first = entries
        .iter()
        .find(|entry| !(entry.key == "$patch" && entry.value.text() == Some("delete")));
    match first {
        Some(entry) => {
            let text = entry.value.scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
            Ok((entry.key.clone(), text))
        }
        None => {
            let message = "`$patch: delete` does not say which item of the list";
            let problem = Diagnostic::error("patch-delete", message).at(place.clone());
            Err(problem.help("write the item's first key above it"))
        }
    }
}

impl Deletion {
    /// The path, where it is one in the document of machine and cluster.
    pub(super) fn path_in_main(&self) -> Option<Vec<String>> {
        let mut path = (self.kind == MAIN).then(|| self.path.clone())?;
        if let (Some(last), Some((_, text))) = (path.last_mut(), &self.item) {
            last.clone_from(text);
        }
        Some(path)
    }

    /// Takes the value out. A warning is returned where there is nothing to take, which Talos
    /// passes over without a word.
    pub(super) fn apply(
        &self,
        documents: &mut Documents,
    ) -> Result<Option<Diagnostic>, Diagnostic> {
        let schema = documents.schema;
        let kind = schema.kind(&self.kind);
        let wants_name = kind.is_some_and(|kind| kind.named);
        let named = wants_name == self.name.is_some();
        let name = self.name.as_deref();
        if !named || documents.get(&self.kind, name).is_none() {
            return Ok(Some(self.nothing(kind.is_some(), wants_name)));
        }
        if self.path.is_empty() {
            documents.remove(&self.kind, name);
            return Ok(None);
        }
        let (Some(kind), Some(tree)) = (kind, documents.get_mut(&self.kind, name)) else {
            return Ok(None);
        };
        self.descend(schema, &schema.root(kind), Some(tree), &self.path)?;
        Ok(None)
    }

    fn nothing(&self, known: bool, wants_name: bool) -> Diagnostic {
        let message = format!("this deletes nothing: the config has no such {}", self.kind);
        let help = match (known, wants_name, &self.name) {
            (false, ..) => "this version of Talos has no such kind: drop it".to_owned(),
            (true, true, None) => "write the document's `name`".to_owned(),
            (true, false, Some(_)) => "the kind has no names: drop `name`".to_owned(),
            _ => "check the name, or drop it".to_owned(),
        };
        Diagnostic::warning("patch-deletes-nothing", message).at(self.place.clone()).help(help)
    }

    /// Follows the path. What is absent and no pointer in Talos is an empty structure there.
    fn descend(
        &self,
        schema: &'static Schema,
        ty: &Type,
        tree: Option<&mut Tree>,
        path: &[String],
    ) -> Result<(), Diagnostic> {
        let (key, rest) = match path.split_first() {
            Some(split) => split,
            None => return Err(self.missing()),
        };
        match ty {
            Type::Pointer(inner) => match tree {
                Some(tree) => self.descend(schema, inner, Some(tree), path),
                None => Err(self.missing()),
            },
            Type::Struct(number) => {
                let field = schema.structure(*number).field(key).ok_or_else(|| self.missing())?;
                match (rest, tree) {
                    ([], Some(tree)) => _ = tree.remove(key),
                    ([], None) => {}
                    (_, tree) => {
                        let value = tree.and_then(|tree| tree.get_mut(key));
                        return self.descend(schema, &field.ty, value, rest);
                    }
                }
                Ok(())
            }
            Type::Map(value) => self.in_map(schema, value, tree, key, rest),
            Type::Free => self.in_map(schema, &Type::Any, tree, key, rest),
            Type::Any if matches!(tree.as_deref().map(Tree::data), Some(Data::Map(_))) => {
                self.in_map(schema, &Type::Any, tree, key, rest)
            }
            Type::List(item) => self.in_list(schema, item, tree, rest),
            Type::Leaf(Leaf::Manifests) => self.in_list(schema, ty, tree, rest),
            _ => Err(self.missing()),
        }
    }

    fn in_map(
        &self,
        schema: &'static Schema,
        value: &Type,
        tree: Option<&mut Tree>,
        key: &str,
        rest: &[String],
    ) -> Result<(), Diagnostic> {
        let tree = tree.filter(|tree| tree.get(key).is_some()).ok_or_else(|| self.missing())?;
        if rest.is_empty() {
            tree.remove(key);
            return Ok(());
        }
        self.descend(schema, value, tree.get_mut(key), rest)
    }

    fn in_list(
        &self,
        schema: &'static Schema,
        item: &Type,
        tree: Option<&mut Tree>,
        rest: &[String],
    ) -> Result<(), Diagnostic> {
        let mut item = item;
        while let Type::Pointer(inner) = item {
            item = inner;
        }
        let (Some(tree), Some((key, text)), []) = (tree, &self.item, rest) else {
            return Err(self.missing());
        };
        let field = match item {
            Type::Struct(number) => schema.structure(*number).field(key).map(|field| &field.ty),
            // What inline manifests are lists of.
            Type::Leaf(Leaf::Manifests) if matches!(key.as_str(), "name" | "contents") => {
                Some(&Type::Text)
            }
            _ => None,
        };
        let field = field.ok_or_else(|| self.missing())?;
        let found = tree.items().iter().position(|item| {
            told_by(schema, field, item.get(key).map(Tree::data)).is_some_and(|told| told == *text)
        });
        match found {
            Some(at) => {
                tree.items_mut().remove(at);
                Ok(())
            }
            None => Err(self.missing()),
        }
    }

    fn missing(&self) -> Diagnostic {
        let message = "what this deletes is not in the config";
        Diagnostic::error("patch-delete", message)
            .at(self.place.clone())
            .help("check the path, and the first key of a list's item; or drop it")
    }
}

/// The text by which Go tells a value of a type: for one that is no text, how it prints itself.
fn told_by(schema: &Schema, ty: &Type, data: Option<&Data>) -> Option<String> {
    match (ty, data) {
        (Type::Text, None) => Some(String::new()),
        (Type::Text, Some(Data::Text(text))) => Some(text.clone()),
        (Type::Pointer(inner), Some(_)) if matches!(**inner, Type::Leaf(_)) => {
            told_by(schema, inner, data)
        }
        (Type::Leaf(Leaf::Prefix | Leaf::Addr), Some(Data::Text(text))) => canonical(text),
        (Type::Leaf(Leaf::Choice(name)), data) => {
            let number = |number| schema.choice(name).iter().find(|(known, _)| *known == number);
            let word = |text: &str| {
                let mut words = schema.choice(name).iter();
                words.find(|(_, word)| text.eq_ignore_ascii_case(word))
            };
            let found = match data {
                Some(Data::Text(text)) => word(text),
                _ => number(0),
            };
            found.map(|(_, word)| (*word).to_owned())
        }
        (Type::Leaf(_), Some(Data::Text(text))) => Some(text.clone()),
        _ => None,
    }
}

/// How Go writes an address or a network.
fn canonical(text: &str) -> Option<String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.parse().ok()?;
    Some(match bits {
        Some(bits) => format!("{address}/{bits}"),
        None => address.to_string(),
    })
}
