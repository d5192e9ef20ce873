//! From text to documents, by the rules of Go's decoder.
//!
//! In: the bytes of a config or a patch. Out: its documents, typed; or everything that Talos would
//! refuse to read, each with its place.
//!
//! Source: Talos `pkg/machinery/config/configloader/internal/decoder/decoder.go`;
//! `github.com/siderolabs/gen`, `xyaml` (unknown keys, null elements); go-yaml v4,
//! `internal/libyaml/constructor.go`.
//!
//! Not here: what a decoded config must hold (`valid`). One rule is stricter than Go's: the
//! contents of an alias are checked for unknown keys like all others.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::documents::Document;
use super::kinds::Kind;
use super::leaf::Leaf;
use super::scalar::{Scalar, plain, resolve};
use super::schema::{self, Field, Schema, Struct, Type};
use super::tree::{Data, Tree};
use crate::report::Diagnostic;
use crate::yaml::meant::nearest;
use crate::yaml::{self, Entry, Node, Style};

/// Reads a config: no document may come twice.
pub(super) fn config(
    schema: &'static Schema,
    file: &str,
    bytes: &[u8],
) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let nodes = yaml::parse(file, bytes).map_err(|error| vec![error])?;
    let sources = sources(bytes);
    let mut problems = Vec::new();
    let mut seen = BTreeMap::new();
    let mut documents = Vec::new();
    for node in nodes.iter().filter(|node| !node.is_null()) {
        let line = node.place().line;
        let source = sources.iter().rev().find(|(first, _)| *first <= line);
        // Talos 1.12 does not read `[::1]`: such a document is written anew, in quotes.
        let source = source.filter(|_| schema.minor >= 13 || !begins_with_colon(node));
        let Some(document) = document(schema, node, &mut problems) else { continue };
        let name = (document.kind(), document.name().to_owned());
        if let Some(first) = seen.insert(name, line) {
            let message = "the config has a second document of this kind and name";
            let help = format!("keep one of them; the first starts on line {first}");
            let problem = Diagnostic::error("config-duplicate", message).at(node.place());
            problems.push(problem.help(help));
        }
        documents.push(match source {
            Some((_, source)) => document.with_source(source),
            None => document,
        });
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

/// Whether some text in a value is written without quotes and begins with a colon.
fn begins_with_colon(node: &Node) -> bool {
    let scalar = node
        .scalar()
        .is_some_and(|scalar| scalar.style == Style::Plain && scalar.text.starts_with(':'));
    let items = node.items().unwrap_or_default().iter();
    let mut values = items.chain(node.entries().unwrap_or_default().iter().map(|e| &e.value));
    scalar || values.any(begins_with_colon)
}

/// The text of each document of a stream and the line on which it starts, counted from 1. A line
/// that begins with `---` or `...` is a border wherever it stands (YAML 1.2.2, chapter 9.1.2).
fn sources(bytes: &[u8]) -> Vec<(u32, &str)> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_border = |line: &str| {
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let mut sources = vec![(1, 0)];
    let mut offset = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if is_border(line) {
            let rest = line[3..].trim();
            let inline = !rest.is_empty() && !rest.starts_with('#');
            sources.push((number, if inline { offset + 3 } else { offset + line.len() }));
        }
        offset += line.len();
    }
    let ends = sources.iter().skip(1).map(|(_, start)| text[..*start].trim_end_matches('\n').len());
    let ends: Vec<usize> = ends.chain([text.len()]).collect();
    let cut = |((line, start), end): (&(u32, usize), usize)| {
        let chunk = text.get(*start..end).unwrap_or_default();
        // The border itself stands on the last line of the chunk before it.
        let last = chunk.rfind('\n').map_or(0, |at| at + 1);
        let chunk = if is_border(&chunk[last..]) { &chunk[..last] } else { chunk };
        (*line, chunk)
    };
    sources.iter().zip(ends).map(cut).collect()
}

/// Reads a value of a type.
pub(super) fn value(schema: &'static Schema, ty: &Type, node: &Node) -> Result<Tree, Diagnostic> {
    let mut problems = Vec::new();
    let value = Decoder { schema, problems: &mut problems }.value("this", ty, node);
    match (value, problems.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (None, None) => Ok(Tree::marked(node.mark(), Data::Null)),
        (_, Some(problem)) => Err(problem),
    }
}

/// Reads one document. What is wrong is told, and what is right of it returned.
pub(super) fn document(
    schema: &'static Schema,
    node: &Node,
    problems: &mut Vec<Diagnostic>,
) -> Option<Document> {
    let known = match super::kind(node) {
        Ok(kind) => kind,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let name = match known {
        Kind::V1Alpha1 => schema::MAIN,
        Kind::Known { name, .. } => name,
        Kind::Unknown { .. } => "",
    };
    let Some(kind) = schema.kind(name) else {
        let at = node.get("kind").unwrap_or(node).place();
        problems.push(unknown_kind(schema, &known).at(at));
        return None;
    };
    let mut decoder = Decoder { schema, problems };
    let mut tree = decoder.value("the document", &schema.root(kind), node)?;
    tree.remove("apiVersion");
    tree.remove("kind");
    Some(Document::new(kind, tree))
}

fn unknown_kind(schema: &Schema, kind: &Kind) -> Diagnostic {
    let minor = schema.minor;
    match kind {
        Kind::Known { name, since } => {
            let message = format!("Talos 1.{minor} does not know documents of kind `{name}`");
            let help = format!("it came with Talos 1.{since}: name that release, or drop it");
            Diagnostic::error("config-kind-unknown", message).help(help)
        }
        Kind::Unknown { near } => {
            let message = format!("Talos 1.{minor} does not know documents of this kind");
            let problem = Diagnostic::error("config-kind-unknown", message);
            match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("look the kind up in Talos' reference"),
            }
        }
        Kind::V1Alpha1 => unreachable!("every version has it"),
    }
}

struct Decoder<'p> {
    schema: &'static Schema,
    problems: &'p mut Vec<Diagnostic>,
}

impl Decoder<'_> {
    /// Reads a value. `what` names it in messages. Nothing is returned where it is null, which
    /// means that it is not there, and where it is wrong.
    fn value(&mut self, what: &str, ty: &Type, node: &Node) -> Option<Tree> {
        if let Type::Pointer(inner) = ty {
            return self.value(what, inner, node);
        }
        if node.is_null() && node.entries().is_none() {
            return None;
        }
        let data = match ty {
            Type::Text => self.text(what, node)?,
            Type::Bool => self.bool(what, node)?,
            Type::Int(least, most) => self.int(what, node, *least, *most)?,
            Type::Any => self.any(node)?,
            Type::Free => match node.entries() {
                Some(entries) => self.free(entries)?,
                None => return self.mismatch(what, "a mapping", node),
            },
            Type::List(item) => self.list(what, item, node)?,
            Type::Map(value) => self.map(what, value, node)?,
            Type::Struct(number) => self.structure(what, self.schema.structure(*number), node)?,
            Type::Leaf(leaf) => self.leaf(what, *leaf, node)?,
            Type::Pointer(_) => unreachable!("followed above"),
        };
        Some(Tree::marked(node.mark(), data))
    }

    fn text(&mut self, what: &str, node: &Node) -> Option<Data> {
        let Some(scalar) = node.scalar() else { return self.mismatch(what, "a text", node) };
        match resolve(node) {
            // Go keeps the text as it was written, whatever it would mean alone.
            Some(Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_)) => {
                Some(Data::Text(scalar.text.clone()))
            }
            Some(Scalar::Text(text, _)) => Some(Data::Text(text)),
            Some(Scalar::Time) if self.schema.minor < 14 => Some(Data::Text(scalar.text.clone())),
            Some(Scalar::Time) => {
                let message = format!("{what} takes a text, and a date without quotes is none");
                self.problem("config-type", node, message, "put it in quotes")
            }
            Some(Scalar::Null) => None,
            None => self.bad_tag(node),
        }
    }

    fn bool(&mut self, what: &str, node: &Node) -> Option<Data> {
        match resolve(node) {
            Some(Scalar::Bool(value)) => Some(Data::Bool(value)),
            Some(Scalar::Text(text, false)) => match text.as_str() {
                "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(Data::Bool(true)),
                "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(Data::Bool(false)),
                _ => self.mismatch(what, "`true` or `false` without quotes", node),
            },
            _ => self.mismatch(what, "`true` or `false` without quotes", node),
        }
    }

    fn int(&mut self, what: &str, node: &Node, least: i128, most: i128) -> Option<Data> {
        let value = match resolve(node) {
            Some(Scalar::Int(value)) => Some(value),
            // Talos 1.12 drops the fraction; later ones refuse the number.
            Some(Scalar::Float(value))
                if (value.fract() == 0.0 || self.schema.minor < 13) && value.abs() < 1e19 =>
            {
                format!("{:.0}", value.trunc()).parse().ok()
            }
            _ => None,
        };
        match value {
            Some(value) if (least..=most).contains(&value) => Some(Data::Int(value)),
            Some(_) => {
                let message = format!("{what} takes a number from {least} to {most}");
                self.problem("config-range", node, message, "write one of these")
            }
            None => self.mismatch(what, "a whole number without quotes", node),
        }
    }

    fn list(&mut self, what: &str, item: &Type, node: &Node) -> Option<Data> {
        let Some(items) = node.items() else { return self.mismatch(what, "a list", node) };
        let pointer = matches!(item, Type::Pointer(_));
        let mut list = Vec::with_capacity(items.len());
        for node in items {
            if node.is_null() && pointer {
                self.null_element(what, node);
            } else if node.is_null() && matches!(item, Type::Free | Type::Any) {
                list.push(Tree::marked(node.mark(), Data::Null));
            } else {
                list.extend(self.value(&format!("an item of {what}"), item, node));
            }
        }
        Some(Data::List(list))
    }

    fn map(&mut self, what: &str, value: &Type, node: &Node) -> Option<Data> {
        let Some(entries) = node.entries() else { return self.mismatch(what, "a mapping", node) };
        let mut map = Vec::with_capacity(entries.len());
        for entry in self.merged(entries)? {
            let (key, node) = (entry.key.as_str(), &entry.value);
            if !self.is_text_key(entry) {
                continue;
            }
            if !node.is_null() {
                let value = self.value(&format!("`{key}`"), value, node);
                map.extend(value.map(|value| (key.to_owned(), value)));
                continue;
            }
            let zero = match value {
                Type::Pointer(_) => {
                    self.null_element(what, node);
                    continue;
                }
                Type::Bool => Data::Bool(false),
                Type::Any => Data::Null,
                _ => Data::Text(String::new()),
            };
            map.push((key.to_owned(), Tree::marked(node.mark(), zero)));
        }
        Some(Data::Map(map))
    }

    fn structure(&mut self, what: &str, structure: &Struct, node: &Node) -> Option<Data> {
        let Some(entries) = node.entries() else { return self.mismatch(what, "a mapping", node) };
        let mut map = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(Field { key, ty, .. }) = structure.field(&entry.key) else {
                self.unknown_key(structure, entry);
                continue;
            };
            let value = self.value(&format!("`{key}`"), ty, &entry.value);
            map.extend(value.map(|value| ((*key).to_owned(), value)));
        }
        Some(Data::Map(map))
    }

    fn unknown_key(&mut self, structure: &Struct, entry: &Entry) {
        let keys = structure.fields.iter().map(|field| field.key);
        let help = match nearest(&entry.key, keys.clone()) {
            _ if entry.key == "<<" => "write out what the mapping holds".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", keys.collect::<Vec<_>>().join(", ")),
        };
        let message = match entry.key.as_str() {
            "<<" => "Talos takes `<<` for a key here, and it is none".to_owned(),
            _ => format!("Talos 1.{} does not know this key", self.schema.minor),
        };
        let problem = Diagnostic::error("config-unknown-key", message).at(entry.place.clone());
        self.problems.push(problem.help(help));
    }

    fn leaf(&mut self, what: &str, leaf: Leaf, node: &Node) -> Option<Data> {
        match leaf {
            Leaf::FileMode => self.int(what, node, 0, u32::MAX.into()),
            Leaf::Pair => self.secret_map(what, node, &["crt", "key"]),
            Leaf::Certificate => self.secret_map(what, node, &["crt"]),
            Leaf::Key => self.secret_map(what, node, &["key"]),
            Leaf::Argument if node.items().is_some() => self.list(what, &Type::Text, node),
            Leaf::Argument => self.text(what, node),
            Leaf::Manifests => self.manifests(what, node),
            Leaf::Base64 => {
                let text = self.text(what, node)?;
                self.base64(text, node)
            }
            Leaf::Duration
                if self.schema.minor >= 13 && matches!(resolve(node), Some(Scalar::Int(0))) =>
            {
                Some(Data::Text("0s".to_owned()))
            }
            // Talos 1.14 takes these for nanoseconds.
            Leaf::Duration if self.schema.minor >= 14 && is_whole_float(node) => {
                let data = self.int(what, node, i64::MIN.into(), i64::MAX.into())?;
                let Data::Int(value) = data else { return Some(data) };
                Some(Data::Text(format!("{value}ns")))
            }
            Leaf::Duration if !matches!(resolve(node), Some(Scalar::Text(..))) => {
                self.mismatch(what, "a length of time such as `90s`", node)
            }
            Leaf::PortRange if matches!(resolve(node), Some(Scalar::Int(_) | Scalar::Float(_))) => {
                self.int(what, node, 0, u16::MAX.into())
            }
            _ if leaf.takes_any_text() => {
                let Some(scalar) = node.scalar() else {
                    return self.mismatch(what, "a text", node);
                };
                let text = match resolve(node) {
                    Some(Scalar::Null) => return None,
                    Some(Scalar::Text(text, true)) => text,
                    Some(_) => scalar.text.clone(),
                    None => return self.bad_tag(node),
                };
                self.checked(what, leaf, Data::Text(text), node)
            }
            _ => {
                let text = self.text(what, node)?;
                self.checked(what, leaf, text, node)
            }
        }
    }

    fn checked(&mut self, what: &str, leaf: Leaf, data: Data, node: &Node) -> Option<Data> {
        let Data::Text(text) = &data else { return Some(data) };
        match leaf.refuse(self.schema, text) {
            None => Some(data),
            Some((reason, help)) => {
                self.problem("config-value", node, format!("{what}: {reason}"), &help)
            }
        }
    }

    fn secret_map(&mut self, what: &str, node: &Node, keys: &[&'static str]) -> Option<Data> {
        let Some(entries) = node.entries() else { return self.mismatch(what, "a mapping", node) };
        let mut map = Vec::new();
        for entry in entries {
            let Some(&key) = keys.iter().find(|key| **key == entry.key) else {
                let message = format!("Talos 1.{} does not know this key", self.schema.minor);
                let problem = Diagnostic::error("config-unknown-key", message);
                let problem = problem.at(entry.place.clone());
                self.problems.push(problem.help(format!("the keys here are {}", keys.join(", "))));
                continue;
            };
            if entry.value.is_null() {
                continue;
            }
            let Some(text) = self.text(&format!("`{key}`"), &entry.value) else { continue };
            // What `talosctl` writes in place of a key that it does not show.
            let redacted = key == "key" && matches!(&text, Data::Text(text) if text == "******");
            let data = if redacted { Some(text) } else { self.base64(text, &entry.value) };
            map.extend(data.map(|data| (key.to_owned(), Tree::marked(entry.value.mark(), data))));
        }
        Some(Data::Map(map))
    }

    fn base64(&mut self, data: Data, node: &Node) -> Option<Data> {
        let Data::Text(text) = data else { return Some(data) };
        // Go's decoder passes over line ends, and over nothing else.
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        if STANDARD.decode(&text).is_err() {
            let help = "encode the PEM text in base64, with its line end: `base64 -w0 FILE`";
            let message = "this is no base64".to_owned();
            return self.problem("config-base64", node, message, help);
        }
        Some(Data::Text(text))
    }

    fn manifests(&mut self, what: &str, node: &Node) -> Option<Data> {
        const KEYS: [&str; 2] = ["name", "contents"];
        let Some(items) = node.items() else { return self.mismatch(what, "a list", node) };
        let mut list = Vec::new();
        for item in items {
            let Some(entries) = item.entries() else {
                self.mismatch::<Data>("an inline manifest", "a mapping", item);
                continue;
            };
            let mut map = Tree::empty();
            for entry in entries {
                let Some(key) = KEYS.iter().find(|key| **key == entry.key) else {
                    let message = format!("Talos 1.{} does not know this key", self.schema.minor);
                    let problem = Diagnostic::error("config-unknown-key", message);
                    let problem = problem.at(entry.place.clone());
                    self.problems.push(problem.help("the keys here are name, contents"));
                    continue;
                };
                if entry.value.is_null() {
                    continue;
                }
                let Some(Data::Text(text)) = self.text(&format!("`{key}`"), &entry.value) else {
                    continue;
                };
                let text = match *key {
                    // Talos drops these before it looks at the text.
                    "contents" => text.trim_start_matches(['\t', '\n', '\u{b}', '\u{c}', '\r']),
                    _ => &text,
                };
                map.set(key, Tree::marked(entry.value.mark(), Data::Text(text.to_owned())));
            }
            list.push(Tree::marked(item.mark(), map.into_data()));
        }
        Some(Data::List(list))
    }

    /// A value that has no type: what go-yaml makes of it.
    fn any(&mut self, node: &Node) -> Option<Data> {
        if let Some(items) = node.items() {
            let items = items
                .iter()
                .filter_map(|item| self.any(item).map(|data| Tree::marked(item.mark(), data)));
            return Some(Data::List(items.collect()));
        }
        if let Some(entries) = node.entries() {
            return self.any_map(entries);
        }
        match resolve(node) {
            Some(Scalar::Null) => Some(Data::Null),
            Some(Scalar::Bool(value)) => Some(Data::Bool(value)),
            Some(Scalar::Int(value)) => Some(Data::Int(value)),
            Some(Scalar::Float(value)) => Some(Data::Float(value)),
            Some(Scalar::Text(text, _)) => Some(Data::Text(text)),
            Some(Scalar::Time) => Some(Data::Time(node.scalar()?.text.clone())),
            None => self.bad_tag(node),
        }
    }

    /// The mapping of an object of Kubernetes, whose keys are texts whatever they look like.
    fn free(&mut self, entries: &[Entry]) -> Option<Data> {
        let mut map = Vec::with_capacity(entries.len());
        for entry in self.merged(entries)? {
            if self.is_text_key(entry) {
                let data = self.any(&entry.value)?;
                map.push((entry.key.clone(), Tree::marked(entry.value.mark(), data)));
            }
        }
        Some(Data::Map(map))
    }

    /// A mapping whose keys Go takes for what they look like: numbers stay numbers. Nothing that
    /// reads these objects as JSON can use such a key.
    fn any_map(&mut self, entries: &[Entry]) -> Option<Data> {
        let mut map = Vec::with_capacity(entries.len());
        for entry in self.merged(entries)? {
            if !matches!(key(entry), Scalar::Text(..)) {
                let problem = Diagnostic::error("config-key", "this key is no text for Talos");
                self.problems.push(problem.at(entry.place.clone()).help("put it in quotes"));
                continue;
            }
            let data = self.any(&entry.value)?;
            map.push((entry.key.clone(), Tree::marked(entry.value.mark(), data)));
        }
        Some(Data::Map(map))
    }

    /// Whether a key that is to be a text is one: Go leaves out one that is nothing, and from 1.14
    /// on refuses a date.
    fn is_text_key(&mut self, entry: &Entry) -> bool {
        match key(entry) {
            Scalar::Null => false,
            Scalar::Time if self.schema.minor >= 14 => {
                let problem = Diagnostic::error("config-key", "a date without quotes is no key");
                self.problems.push(problem.at(entry.place.clone()).help("put it in quotes"));
                false
            }
            _ => true,
        }
    }

    /// The entries of a mapping without a type, with what `<<` brings in.
    fn merged<'n>(&mut self, entries: &'n [Entry]) -> Option<Vec<&'n Entry>> {
        let is_merge = |entry: &&Entry| entry.key == "<<" && entry.style == Style::Plain;
        let mut merged: Vec<_> = entries.iter().filter(|entry| !is_merge(entry)).collect();
        let Some(merge) = entries.iter().find(is_merge) else { return Some(merged) };
        let sources = match merge.value.items() {
            Some(items) => items,
            None => std::slice::from_ref(&merge.value),
        };
        for source in sources {
            let Some(entries) = source.entries() else {
                return self.mismatch("`<<`", "a mapping or a list of mappings", source);
            };
            for entry in self.merged(entries)? {
                if merged.iter().all(|known| known.key != entry.key) {
                    merged.push(entry);
                }
            }
        }
        Some(merged)
    }

    fn null_element(&mut self, what: &str, node: &Node) {
        let message = format!("{what} must not hold an empty item");
        self.problem::<Data>("config-null", node, message, "fill it or drop it");
    }

    fn bad_tag<T>(&mut self, node: &Node) -> Option<T> {
        let message = "the tag does not fit the value".to_owned();
        self.problem("config-tag", node, message, "drop the tag")
    }

    fn mismatch<T>(&mut self, what: &str, takes: &str, node: &Node) -> Option<T> {
        let message = format!("{what} takes {takes}, and this is {}", node.kind());
        let help = match node.kind() {
            "a text" => "look at quotes and spelling",
            _ => "look at the indentation",
        };
        self.problem("config-type", node, message, help)
    }

    fn problem<T>(
        &mut self,
        code: &'static str,
        node: &Node,
        message: String,
        help: &str,
    ) -> Option<T> {
        self.problems.push(Diagnostic::error(code, message).at(node.place()).help(help));
        None
    }
}

fn is_whole_float(node: &Node) -> bool {
    matches!(resolve(node), Some(Scalar::Float(value)) if value.fract() == 0.0)
}

/// What a key means alone.
fn key(entry: &Entry) -> Scalar {
    match entry.style {
        Style::Plain => plain(&entry.key),
        Style::Text => Scalar::Text(entry.key.clone(), false),
    }
}

#[cfg(test)]
mod tests;
