//! The types of Talos' machine configs: which keys a document has, and what each holds.
//!
//! In: a minor version of Talos 1. Out: its [`Schema`].
//!
//! Source: Talos `pkg/machinery/config/types/` in the releases v1.12.7, v1.13.9 and v1.14.1, read
//! by reflection (`cargo xtask schema` writes the files beside this one anew). Talos' own JSON
//! Schema is no source: it refuses what Talos writes itself, and misses kinds.
//!
//! Not here: what the values of a type may be (`leaf`), and what must be true of several (`valid`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::leaf::Leaf;
use crate::talos::Version;

/// What Talos 1.`minor` reads.
#[derive(Debug)]
pub struct Schema {
    /// The minor version of Talos 1.
    pub minor: u32,
    kinds: BTreeMap<&'static str, Kind>,
    structs: Vec<Struct>,
    choices: BTreeMap<&'static str, Vec<(u32, &'static str)>>,
}

/// A kind of document.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name; [`MAIN`] for the one that has none.
    pub name: &'static str,
    /// Whether its documents have names, and there may be several.
    pub named: bool,
    /// Whether Talos refuses it on workers.
    pub controlplane: bool,
    root: usize,
}

/// The name that the document of machine and cluster, which has no `kind`, goes by.
pub const MAIN: &str = "v1alpha1";

/// A structure.
#[derive(Debug)]
pub struct Struct {
    /// Its name in Talos, `network.BondConfigV1Alpha1`.
    pub name: &'static str,
    /// Its keys, in the order in which Talos writes them.
    pub fields: Vec<Field>,
}

/// A key of a structure.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What it holds.
    pub ty: Type,
    /// Whether a patch's value takes the place of the old one as a whole.
    pub replace: bool,
}

/// What a key may hold.
#[derive(Debug)]
pub enum Type {
    /// A text.
    Text,
    /// A switch.
    Bool,
    /// A whole number within bounds, both included.
    Int(i128, i128),
    /// Anything at all.
    Any,
    /// A mapping of anything, as Kubernetes' own objects are.
    Free,
    /// What may be absent: in Go a pointer. A value that is present counts, be it zero.
    Pointer(Box<Self>),
    /// A list.
    List(Box<Self>),
    /// A mapping from texts.
    Map(Box<Self>),
    /// A structure, by its number: see [`Schema::structure`].
    Struct(usize),
    /// A value with rules of its own.
    Leaf(Leaf),
}

/// The oldest minor version of Talos 1 that configs are made for.
pub const OLDEST: u32 = 12;

/// The newest minor version of Talos 1 that is known.
pub const NEWEST: u32 = 14;

impl Schema {
    /// That of a release. A newer one than [`NEWEST`] is read as the newest, an older one than
    /// [`OLDEST`] as the oldest.
    pub fn of(version: &Version) -> &'static Self {
        let newer = version.major > 1;
        Self::of_minor(if newer { NEWEST } else { version.minor })
    }

    /// That of Talos 1.`minor`, within the bounds of [`Schema::of`].
    pub fn of_minor(minor: u32) -> &'static Self {
        static ALL: [LazyLock<Schema>; 3] = [
            LazyLock::new(|| read(12, include_str!("talos-1.12.txt"))),
            LazyLock::new(|| read(13, include_str!("talos-1.13.txt"))),
            LazyLock::new(|| read(14, include_str!("talos-1.14.txt"))),
        ];
        match minor {
            0..=12 => &ALL[0],
            13 => &ALL[1],
            _ => &ALL[2],
        }
    }

    /// The kind of that name; [`MAIN`] is one too.
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// All kinds' names, [`MAIN`] included.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }

    /// What the documents of a kind hold.
    pub fn root(&self, kind: &Kind) -> Type {
        Type::Struct(kind.root)
    }

    /// The words of a choice and the numbers that Talos keeps for them.
    pub fn choice(&self, name: &str) -> &[(u32, &'static str)] {
        self.choices.get(name).map_or(&[], Vec::as_slice)
    }

    /// A structure, by its number in [`Type::Struct`].
    pub fn structure(&self, number: usize) -> &Struct {
        &self.structs[number]
    }
}

impl Struct {
    /// The field of a key.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

/// Reads one of the files beside this one. They are ours, so that what is wrong with one shows in
/// the first test.
fn read(minor: u32, text: &'static str) -> Schema {
    let names = text.lines().filter_map(|line| line.strip_prefix("struct "));
    let numbers: BTreeMap<&str, usize> =
        names.enumerate().map(|(number, name)| (first(name), number)).collect();
    let mut schema =
        Schema { minor, kinds: BTreeMap::new(), structs: Vec::new(), choices: BTreeMap::new() };
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("kind ") {
            let mut words = kind.split(' ');
            let name = words.next().unwrap_or_default();
            let root = words.next().and_then(|root| numbers.get(root));
            let Some(&root) = root else { unreachable!("{name} has a structure") };
            let mut kind = Kind { name, named: false, controlplane: false, root };
            for word in words {
                kind.named |= word == "named";
                kind.controlplane |= word == "controlplane";
            }
            schema.kinds.insert(name, kind);
        } else if let Some(name) = line.strip_prefix("struct ") {
            schema.structs.push(Struct { name: first(name), fields: Vec::new() });
        } else if let Some(choice) = line.strip_prefix("choice ") {
            let mut words = choice.split(' ');
            let name = words.next().unwrap_or_default();
            let pair = |word: &'static str| word.split_once('=');
            let words =
                words.filter_map(pair).filter_map(|(n, word)| Some((n.parse().ok()?, word)));
            schema.choices.insert(name, words.collect());
        } else if let Some(structure) = schema.structs.last_mut() {
            structure.fields.extend(field(line.trim_start(), &numbers));
        }
    }
    schema
}

fn first(words: &'static str) -> &'static str {
    words.split(' ').next().unwrap_or_default()
}

fn field(line: &'static str, numbers: &BTreeMap<&str, usize>) -> Option<Field> {
    let mut words = line.split(' ');
    let key = words.next()?;
    let ty = ty(words.next()?, numbers);
    Some(Field { key, ty, replace: words.any(|flag| flag == "replace") })
}

/// Reads a type: `*T`, `[]T`, `{key}T`, `@struct`, `!leaf=kind`, `kind=leaf` or a plain name. `0`
/// and `+` mark types with rules of their own for emptiness and for merging, which `merge` knows.
fn ty(text: &'static str, numbers: &BTreeMap<&str, usize>) -> Type {
    let text = text.trim_start_matches(['0', '+']);
    let boxed = |rest| Box::new(ty(rest, numbers));
    if let Some(rest) = text.strip_prefix('*') {
        return Type::Pointer(boxed(rest));
    }
    if let Some(rest) = text.strip_prefix("[]") {
        return Type::List(boxed(rest));
    }
    if let Some((_, rest)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return Type::Map(boxed(rest));
    }
    if let Some(name) = text.strip_prefix('@') {
        return match numbers.get(name) {
            _ if name.ends_with(".Unstructured") => Type::Free,
            Some(&number) => Type::Struct(number),
            None => unreachable!("{name} is described"),
        };
    }
    let leaf = text.strip_prefix('!').map(|leaf| leaf.split('=').next().unwrap_or_default());
    let leaf = leaf.or_else(|| text.split_once('=').map(|(_, leaf)| leaf));
    if let Some(leaf) = leaf.and_then(Leaf::named) {
        return Type::Leaf(leaf);
    }
    match text.split('=').next().unwrap_or_default() {
        "string" => Type::Text,
        "bool" => Type::Bool,
        "any" => Type::Any,
        "int" | "int64" => Type::Int(i64::MIN.into(), i64::MAX.into()),
        "int32" => Type::Int(i32::MIN.into(), i32::MAX.into()),
        "uint" | "uint64" => Type::Int(0, u64::MAX.into()),
        "uint32" => Type::Int(0, u32::MAX.into()),
        "uint16" => Type::Int(0, u16::MAX.into()),
        "uint8" => Type::Int(0, u8::MAX.into()),
        other => unreachable!("{other} is a type"),
    }
}

#[cfg(test)]
mod tests;
