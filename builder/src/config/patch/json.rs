//! JSON 6902: single operations on the document of machine and cluster.
//!
//! In: an item of a patch's list. Out: an [`Operation`], which changes a document.
//!
//! Source: RFC 6902 (operations), RFC 6901 (pointers).
//!
//! Not here: other documents, which have names that a pointer cannot tell.

use crate::config::decode;
use crate::config::schema::{MAIN, Schema, Type};
use crate::config::tree::{Data, Tree};
use crate::report::{Diagnostic, Place};
use crate::yaml::Node;

/// One operation.
#[derive(Clone, Debug)]
pub(in crate::config) struct Operation {
    verb: Verb,
    path: Vec<String>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Verb {
    Add(Node),
    Remove,
    Replace(Node),
    Move(Vec<String>),
    Copy(Vec<String>),
    Test(Node),
}

impl Operation {
    /// Reads an operation.
    pub(super) fn read(node: &Node) -> Result<Self, Diagnostic> {
        let error = |message: &str, help: &str| {
            Err(Diagnostic::error("patch-operation", message).at(node.place()).help(help))
        };
        if node.entries().is_none() {
            let help = "write `- {op: add, path: /machine/sysctls, value: …}`";
            return error("an item of a JSON 6902 patch is a mapping", help);
        }
        let pointer = |key: &str| {
            let found = node.get(key).and_then(Node::text).map(pointer);
            found.flatten().ok_or_else(|| {
                let message = format!("the operation has no pointer in `{key}`");
                let problem = Diagnostic::error("patch-operation", message).at(node.place());
                problem.help("a pointer is `/machine/network`; `~1` in it stands for a slash")
            })
        };
        let value = || {
            let problem = Diagnostic::error("patch-operation", "the operation has no `value`");
            node.get("value").cloned().ok_or_else(|| problem.at(node.place()).help("add it"))
        };
        let verb = match node.get("op").and_then(Node::text) {
            Some("add") => Verb::Add(value()?),
            Some("remove") => Verb::Remove,
            Some("replace") => Verb::Replace(value()?),
            Some("move") => Verb::Move(pointer("from")?),
            Some("copy") => Verb::Copy(pointer("from")?),
            Some("test") => Verb::Test(value()?),
            _ => {
                let help = "write one of add, remove, replace, move, copy, test";
                return error("the operation's `op` is none of JSON 6902", help);
            }
        };
        Ok(Self { verb, path: pointer("path")?, place: node.place() })
    }

    /// A finding about the operation.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error("patch-operation", message)
            .at(self.place.clone())
            .help("check the path against the config that `talforge render` shows")
    }

    /// Changes the document of machine and cluster.
    pub(super) fn apply(&self, schema: &'static Schema, main: &mut Tree) -> Result<(), Diagnostic> {
        let missing = || self.error("the path of this operation is not in the config");
        let Some(kind) = schema.kind(MAIN) else { return Err(missing()) };
        let root = schema.root(kind);
        let ty = type_at(schema, &root, &self.path).ok_or_else(missing)?;
        let read = |node: &Node| decode::value(schema, ty, node);
        match &self.verb {
            Verb::Add(node) => self.put(main, read(node)?, true),
            Verb::Replace(node) => self.put(main, read(node)?, false),
            Verb::Remove => take(main, &self.path).map(drop).ok_or_else(missing),
            Verb::Copy(from) => {
                let value = find(main, from).cloned().ok_or_else(missing)?;
                self.same_type(schema, &root, from, ty)?;
                self.put(main, value, true)
            }
            Verb::Move(from) => {
                self.same_type(schema, &root, from, ty)?;
                let value = take(main, from).ok_or_else(missing)?;
                self.put(main, value, true)
            }
            Verb::Test(node) => match find(main, &self.path) {
                Some(found) if *found == read(node)? => Ok(()),
                _ => Err(self.error("the config does not have the value that this tests for")),
            },
        }
    }

    fn same_type(
        &self,
        schema: &'static Schema,
        root: &Type,
        from: &[String],
        to: &Type,
    ) -> Result<(), Diagnostic> {
        let from = type_at(schema, root, from);
        let same = from.is_some_and(|from| format!("{:?}", from) == format!("{to:?}"));
        if same { Ok(()) } else { Err(self.error("the two values have different types in Talos")) }
    }

    fn put(&self, main: &mut Tree, value: Tree, add: bool) -> Result<(), Diagnostic> {
        let missing = || self.error("the path of this operation is not in the config");
        let Some((last, parents)) = self.path.split_last() else {
            *main = value;
            return Ok(());
        };
        let parent = find_mut(main, parents).ok_or_else(missing)?;
        let known = add || parent.get(last).is_some();
        match parent.data_mut() {
            Data::Map(_) if known => parent.set(last, value),
            Data::List(items) if add && last == "-" => items.push(value),
            Data::List(items) => {
                let at = index(last, items.len() + usize::from(add)).ok_or_else(missing)?;
                if add { items.insert(at, value) } else { items[at] = value }
            }
            _ => return Err(missing()),
        }
        Ok(())
    }
}

/// The type of what a pointer points to.
fn type_at<'s>(schema: &'static Schema, root: &'s Type, path: &[String]) -> Option<&'s Type> {
    let mut ty = root;
    for key in path {
        while let Type::Pointer(inner) = ty {
            ty = inner;
        }
        ty = match ty {
            Type::Struct(number) => &schema.structure(*number).field(key)?.ty,
            Type::Map(value) => value,
            Type::List(item) => item,
            Type::Free | Type::Any => &Type::Any,
            _ => return None,
        };
    }
    Some(ty)
}

/// A pointer's keys.
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let keys = text.strip_prefix('/')?.split('/');
    Some(keys.map(|key| key.replace("~1", "/").replace("~0", "~")).collect())
}

/// An index below a limit, without leading zeros.
fn index(key: &str, limit: usize) -> Option<usize> {
    let plain = key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
    key.parse().ok().filter(|&at| plain && at < limit)
}

fn find<'t>(tree: &'t Tree, path: &[String]) -> Option<&'t Tree> {
    path.iter().try_fold(tree, |tree, key| match tree.data() {
        Data::List(items) => items.get(index(key, items.len())?),
        _ => tree.get(key),
    })
}

fn find_mut<'t>(tree: &'t mut Tree, path: &[String]) -> Option<&'t mut Tree> {
    path.iter().try_fold(tree, |tree, key| match tree.data() {
        Data::List(items) => {
            let at = index(key, items.len())?;
            tree.items_mut().get_mut(at)
        }
        _ => tree.get_mut(key),
    })
}

fn take(tree: &mut Tree, path: &[String]) -> Option<Tree> {
    let (last, parents) = path.split_last()?;
    let parent = find_mut(tree, parents)?;
    match parent.data_mut() {
        Data::List(items) => {
            let at = index(last, items.len())?;
            Some(items.remove(at))
        }
        _ => parent.remove(last),
    }
}
