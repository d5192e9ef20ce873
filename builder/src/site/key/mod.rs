//! The keys that each part of a site file may have.
//!
//! In: a key. Out: whether it belongs, and what to say if not.
//!
//! Source: none, the file is ours.
//!
//! Not here: reading the keys' values, and the JSON Schema that is made of these tables (`schema`).

use crate::yaml::meant::nearest;

pub(super) mod cluster;
pub(super) mod network;
pub(super) mod node;
pub(super) mod storage;

/// A mapping of the site file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name in messages.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

/// A key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether the mapping is nothing without it.
    pub(super) needed: bool,
    /// What its value looks like.
    pub(super) shape: Shape,
    /// What it is, for editors.
    pub(super) about: &'static str,
}

/// A key that may be left out.
const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, needed: false, shape, about }
}

/// A key that must be given.
const fn needed(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, needed: true, shape, about }
}

/// What a value looks like, as far as a schema can say it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Anything.
    Any,
    /// A text that fits a pattern.
    Text(&'static str),
    /// Any scalar, taken as a text.
    Scalar,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// `off`, which to some readers of YAML is `false`.
    Off,
    /// `true`, where there is nothing else to say.
    Yes,
    /// One of some words.
    Word(&'static [&'static str]),
    /// One of some words, taken where none is given.
    WordOr(&'static str, &'static [&'static str]),
    /// A list.
    List(&'static Shape),
    /// One, or a list of them.
    OneOrMore(&'static Shape),
    /// A mapping of any keys.
    Map(&'static Shape),
    /// One of several shapes.
    OneOf(&'static [Shape]),
    /// A mapping of known keys.
    Part(&'static Section),
    /// The version of the file's format.
    Version,
    /// The name of a profile, or its file.
    Profile,
    /// The name of an overlay, or its file.
    Overlay,
    /// Values of META.
    Meta,
}

/// A path.
const PATH: Shape = Shape::Text("^.+$");

/// A text that says something.
const SOME: Shape = Shape::Text("^.+$");

/// What any mapping of scalars is.
const SCALARS: Shape = Shape::Map(&Shape::Scalar);

/// The patches of a config.
const PATCHES: Shape =
    Shape::List(&Shape::OneOf(&[PATH, Shape::Map(&Shape::Any), Shape::List(&Shape::Any)]));

/// The file itself.
pub(super) const SITE: Section = Section {
    name: "the site file",
    keys: &[
        needed("version", Shape::Version, "The version of the file's format: 1"),
        needed("cluster", Shape::Part(&cluster::CLUSTER), "The cluster that the nodes join"),
        needed("boot", Shape::Part(&cluster::BOOT), "What all nodes boot from"),
        key(
            "network",
            Shape::Part(&network::NETWORK),
            "The network of all nodes whose configs are made here",
        ),
        key("defaults", Shape::Part(&node::DEFAULTS), "What holds for nodes that say no other"),
        needed("nodes", Shape::List(&Shape::Part(&node::NODE)), "The machines"),
        key("silence", Shape::List(&SOME), "Codes of warnings that are not to be told"),
    ],
};

/// Where a key may belong that is none here, the likeliest place first.
const SECTIONS: [&Section; 8] = [
    &SITE,
    &cluster::CLUSTER,
    &cluster::BOOT,
    &node::NODE,
    &network::NETWORK,
    &network::LINK,
    &network::BOND,
    &storage::INSTALL,
];

/// What a site may come to say in a later version, and what to do today.
const LATER: [(&str, &str); 3] = [
    (
        "schematic",
        "list its `extensions`, or name what the Image Factory made of it: `assets: iso:metal-amd64.iso`",
    ),
    ("secure_boot", "sign the finished media with your own tools"),
    ("secureboot", "sign the finished media with your own tools"),
];

/// Why a key is refused: a code, and what to do.
pub(super) enum Refused {
    /// A later version may take it.
    Later(&'static str),
    /// It is no key here.
    Unknown(String),
}

impl Section {
    /// The names of its keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.keys.iter().map(|key| key.name)
    }

    /// Whether it has a key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Its keys, for messages.
    pub(super) fn list(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    /// Nothing, where the key belongs here.
    pub(super) fn refuse(&self, name: &str) -> Option<Refused> {
        if self.has(name) {
            return None;
        }
        if let Some((_, help)) = LATER.iter().find(|(later, _)| *later == name) {
            return Some(Refused::Later(help));
        }
        let elsewhere = SECTIONS.iter().find(|section| section.has(name));
        let near = nearest(name, self.names());
        Some(Refused::Unknown(match (near, elsewhere) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(section)) => format!("it belongs to {}", section.name),
            (None, None) => format!("the keys here are {}", self.list()),
        }))
    }
}
