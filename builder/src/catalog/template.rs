//! Texts with placeholders, filled on the parsed tree.
//!
//! In: YAML with `${name}` in its scalars. Out: a [`Template`], and with values its documents.
//!
//! Source: none, the form is ours. A scalar that is one placeholder becomes the value, whatever it
//! is; in a longer one stands the value's text, and the whole is a text. `$${` is a `${`. As values
//! go into the tree and not into the text, none can end a quote or start a key.
//!
//! Not here: which names there are and what they stand for (`overlay`, `expand`).

use std::collections::BTreeMap;

use crate::report::Diagnostic;
use crate::yaml::{Entry, Node, Scalar, Style, Value, block};

/// How much may come of an overlay for one node: values and bytes of texts. A machine config is no
/// larger in bytes.
pub(super) const MAX_FILLED: u64 = 4 << 20;

/// YAML documents with placeholders.
#[derive(Clone, Debug)]
pub(super) struct Template {
    documents: Vec<Node>,
    /// The names in it, and where each stands first.
    names: BTreeMap<String, Node>,
}

/// What a name may stand for in a template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A scalar.
    Text,
    /// Anything; it cannot stand within a text.
    Tree,
}

/// A piece of a scalar.
enum Piece<'t> {
    Text(&'t str),
    Name(&'t str),
}

/// Takes a scalar apart; nothing where a placeholder does not end.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // The first `$` of `$${` goes.
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let end = rest[at..].find('}')? + at;
        pieces.push(Piece::Name(&rest[at + 2..end]));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Some(pieces)
}

impl Template {
    /// Reads a template out of the file that it stands in. `shape` knows the names.
    ///
    /// # Errors
    ///
    /// What is no YAML, and placeholders that are unknown or stand where they cannot.
    pub(super) fn read(
        text: &Node,
        file: &str,
        shape: &dyn Fn(&str) -> Option<Shape>,
    ) -> Result<Self, Diagnostic> {
        let documents = block::parse(text, file)?;
        let documents: Vec<_> = documents.into_iter().filter(|node| !node.is_null()).collect();
        if documents.is_empty() {
            let error = Diagnostic::error("overlay-empty", "there is no document in this text");
            return Err(error.at(text.place()).help("write YAML behind `|`, or drop the entry"));
        }
        let mut names = BTreeMap::new();
        documents.iter().try_for_each(|node| check(node, shape, &mut names))?;
        Ok(Self { documents, names })
    }

    /// Takes a text as it stands: no YAML, and every placeholder in it stands for a text.
    ///
    /// # Errors
    ///
    /// Placeholders that are unknown or stand for no text.
    pub(super) fn plain(
        text: &Node,
        shape: &dyn Fn(&str) -> Option<Shape>,
    ) -> Result<Self, Diagnostic> {
        let mut names = BTreeMap::new();
        check(text, shape, &mut names)?;
        if let Some(name) = names.keys().find(|name| shape(name) != Some(Shape::Text)) {
            let message = format!("`{name}` is no text and cannot stand in one");
            let error = Diagnostic::error("overlay-placeholder", message).at(text.place());
            return Err(error.help("name a value of the kind `text` or `file`"));
        }
        Ok(Self { documents: vec![text.clone()], names })
    }

    /// The documents, with their placeholders.
    pub(super) fn documents(&self) -> &[Node] {
        &self.documents
    }

    /// The names in it, each with the first scalar that has it.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.names.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// Puts values in. `left` is what may still come of the overlay.
    ///
    /// # Errors
    ///
    /// Where too much would come of it.
    pub(super) fn fill(
        &self,
        values: &BTreeMap<&str, Node>,
        left: &mut u64,
    ) -> Result<Vec<Node>, Diagnostic> {
        self.documents.iter().map(|node| fill(node, values, left)).collect()
    }
}

fn check(
    node: &Node,
    shape: &dyn Fn(&str) -> Option<Shape>,
    names: &mut BTreeMap<String, Node>,
) -> Result<(), Diagnostic> {
    let error = |message: String, at, help: &str| {
        Err(Diagnostic::error("overlay-placeholder", message).at(at).help(help))
    };
    match node.value() {
        Value::Sequence(items) => items.iter().try_for_each(|item| check(item, shape, names)),
        Value::Mapping(entries) => entries.iter().try_for_each(|entry| {
            if entry.key.contains("${") {
                let message = "a key has no placeholders".to_owned();
                return error(message, entry.place.clone(), "write the key itself");
            }
            check(&entry.value, shape, names)
        }),
        Value::Scalar(scalar) => {
            let Some(pieces) = pieces(&scalar.text) else {
                let message = "a placeholder has no end".to_owned();
                return error(message, node.place(), "write `${name}`, or `$${` for a `${`");
            };
            for piece in &pieces {
                let Piece::Name(name) = piece else { continue };
                match shape(name) {
                    None => {
                        let message = format!("nothing is named `{name}`");
                        let help = "declare it under `values`; see the README for what is built in";
                        return error(message, node.place(), help);
                    }
                    Some(Shape::Tree) if pieces.len() > 1 => {
                        let message = format!("`{name}` is no text and cannot stand within one");
                        return error(message, node.place(), "let it stand alone");
                    }
                    Some(_) => _ = names.entry((*name).to_owned()).or_insert(node.clone()),
                }
            }
            Ok(())
        }
    }
}

fn fill(node: &Node, values: &BTreeMap<&str, Node>, left: &mut u64) -> Result<Node, Diagnostic> {
    spend(1, node, left)?;
    let value = match node.value() {
        Value::Sequence(items) => {
            let items = items.iter().map(|item| fill(item, values, left));
            Value::Sequence(items.collect::<Result<_, _>>()?)
        }
        Value::Mapping(entries) => {
            let entries = entries.iter().map(|entry| {
                spend(entry.key.len(), node, left)?;
                Ok(entry.with(fill(&entry.value, values, left)?))
            });
            Value::Mapping(entries.collect::<Result<Vec<Entry>, Diagnostic>>()?)
        }
        Value::Scalar(scalar) => {
            let pieces = pieces(&scalar.text).unwrap_or_default();
            if let [Piece::Name(name)] = pieces[..] {
                let Some(value) = values.get(name) else { return Ok(node.clone()) };
                weigh(value, left)?;
                return Ok(value.clone());
            }
            let mut text = String::new();
            let mut style = scalar.style;
            for piece in pieces {
                let piece = match piece {
                    Piece::Text(text) => text,
                    Piece::Name(name) => {
                        style = Style::Text;
                        values.get(name).and_then(Node::text).unwrap_or_default()
                    }
                };
                spend(piece.len(), node, left)?;
                text.push_str(piece);
            }
            Value::Scalar(Scalar { text, style })
        }
    };
    Ok(node.with(value))
}

/// Counts all that is in a value, up to the limit.
fn weigh(value: &Node, left: &mut u64) -> Result<(), Diagnostic> {
    spend(1, value, left)?;
    match value.value() {
        Value::Scalar(scalar) => spend(scalar.text.len(), value, left),
        Value::Sequence(items) => items.iter().try_for_each(|item| weigh(item, left)),
        Value::Mapping(entries) => entries.iter().try_for_each(|entry| {
            spend(entry.key.len(), value, left)?;
            weigh(&entry.value, left)
        }),
    }
}

fn spend(amount: usize, at: &Node, left: &mut u64) -> Result<(), Diagnostic> {
    let amount = u64::try_from(amount).unwrap_or(u64::MAX);
    *left = left.checked_sub(amount).ok_or_else(|| {
        let limit = crate::units::Size(MAX_FILLED);
        let message = format!("more than {limit} would come of this overlay for one node");
        let help = "a machine config is not larger; keep manifests outside by their URLs";
        Diagnostic::error("overlay-too-large", message).at(at.place()).help(help)
    })?;
    Ok(())
}
