//! Paths as a tree of directories, in the order in which ISO 9660 numbers them.
//!
//! In: paths of files. Out: directories, each with its children sorted.
//!
//! Source: ECMA-119, 2nd edition, 6.8 ("Directory Structure"), 6.9.1 ("Order of Path Table
//! Records"), 9.3, <https://ecma-international.org/publications-and-standards/standards/ecma-119/>.
//!
//! Not here: where they lie (`directory`).

use std::collections::BTreeMap;

use super::IsoError;
use super::name::{Identifier, Kind, Namer};

/// Directories and the files in them.
///
/// Invariant: the directories are ordered by level, then parent, then identifier; the root is
/// first and its own parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) directories: Vec<Directory>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// Nothing for the root.
    pub(super) identifier: Option<Identifier>,
    /// The index of the directory that holds it.
    pub(super) parent: usize,
    /// What it holds, in the order of directory records.
    pub(super) children: Vec<Child>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) identifier: Identifier,
    /// The true name.
    pub(super) name: String,
    pub(super) node: Node,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory, by its index in the tree.
    Directory(usize),
    /// A file, by its index in the paths that the tree was made from.
    File(usize),
}

/// The most directories on a path, the root with them.
const LEVELS: usize = 8;
/// The most bytes of a name that Linux shows whole from one Rock Ridge entry.
const LONGEST_NAME: usize = 250;
/// The most directories: a path table names parents in 16 bits.
const MOST_DIRECTORIES: usize = 0xffff;

/// A tree by true names, while paths are added.
#[derive(Debug)]
enum Sprout {
    Directory(BTreeMap<String, Sprout>),
    File(usize),
}

impl Tree {
    /// Makes a tree that holds files at `paths`.
    ///
    /// # Errors
    ///
    /// A path that is empty, absolute, twice there, too deep, or through a file; a name that is
    /// `.`, `..`, empty, too long, or holds a NUL.
    pub(super) fn grow<'a>(paths: impl Iterator<Item = &'a str>) -> Result<Self, IsoError> {
        let mut root = BTreeMap::new();
        for (file, path) in paths.enumerate() {
            plant(&mut root, path, file)?;
        }
        let first = Directory { identifier: None, parent: 0, children: Vec::new() };
        let mut directories = vec![first];
        let mut sprouts = vec![root];
        let mut next = 0;
        while next < directories.len() {
            for child in sorted(std::mem::take(&mut sprouts[next])) {
                let (identifier, name, sprout) = child;
                let node = match sprout {
                    Sprout::File(file) => Node::File(file),
                    Sprout::Directory(below) => {
                        let identifier = Some(identifier.clone());
                        directories.push(Directory { identifier, parent: next, children: vec![] });
                        sprouts.push(below);
                        Node::Directory(directories.len() - 1)
                    }
                };
                directories[next].children.push(Child { identifier, name, node });
            }
            next += 1;
        }
        if directories.len() > MOST_DIRECTORIES {
            return Err(IsoError::TooManyDirectories { count: directories.len() });
        }
        Ok(Self { directories })
    }

    /// How many directories the directory holds, itself and its parent not counted.
    pub(super) fn directories_in(&self, directory: usize) -> usize {
        let children = &self.directories[directory].children;
        children.iter().filter(|child| matches!(child.node, Node::Directory(_))).count()
    }
}

/// Gives the children of a directory identifiers, and sorts them by those.
fn sorted(children: BTreeMap<String, Sprout>) -> Vec<(Identifier, String, Sprout)> {
    let mut namer = Namer::default();
    let mut named: Vec<_> = children
        .into_iter()
        .map(|(name, sprout)| {
            let kind = match sprout {
                Sprout::Directory(_) => Kind::Directory,
                Sprout::File(_) => Kind::File,
            };
            (namer.name(&name, kind), name, sprout)
        })
        .collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

fn plant(root: &mut BTreeMap<String, Sprout>, path: &str, file: usize) -> Result<(), IsoError> {
    let error = |problem| Err(IsoError::Path { path: path.to_owned(), problem });
    if path.split('/').count() > LEVELS {
        return error("is more than 8 levels deep");
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..") || name.contains('\0')) {
        return error("has an empty name, `.`, `..` or a NUL in it");
    }
    if path.split('/').any(|name| name.len() > LONGEST_NAME) {
        return error("has a name of more than 250 bytes");
    }
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut here = root;
    for parent in parents.split('/').filter(|name| !name.is_empty()) {
        let sprout = here.entry(parent.to_owned());
        match sprout.or_insert_with(|| Sprout::Directory(BTreeMap::new())) {
            Sprout::Directory(below) => here = below,
            Sprout::File(_) => return error("goes through a file"),
        }
    }
    match here.insert(name.to_owned(), Sprout::File(file)) {
        None => Ok(()),
        Some(_) => error("is there twice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(paths: &[&str]) -> Result<Tree, IsoError> {
        Tree::grow(paths.iter().copied())
    }

    #[test]
    fn directories_are_numbered_level_by_level() {
        let tree = grow(&["b/x/f", "a/z/f", "a/y/f", "top", "b/w/f"]).unwrap();
        let lines: Vec<_> = tree
            .directories
            .iter()
            .map(|d| (d.identifier.as_ref().map_or(String::new(), Identifier::to_string), d.parent))
            .collect();
        let want = [("", 0), ("A", 0), ("B", 0), ("Y", 1), ("Z", 1), ("W", 2), ("X", 2)];
        assert_eq!(lines, want.map(|(name, parent)| (name.to_owned(), parent)));
        assert_eq!(tree.directories_in(0), 2);
        assert_eq!(tree.directories[0].children[2].node, Node::File(3));
    }

    #[test]
    fn a_file_name_sorts_as_if_padded_with_spaces() {
        let tree = grow(&["ab1.c", "ab.c1", "ab.c", "ab"]).unwrap();
        let names: Vec<_> = tree.directories[0].children.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["ab", "ab.c", "ab.c1", "ab1.c"]);
    }

    #[test]
    fn bad_paths_are_refused_by_name() {
        let long = "x".repeat(251);
        for (paths, want) in [
            (&["a//b"][..], "`a//b` has an empty name, `.`, `..` or a NUL in it"),
            (&["/a"], "`/a` has an empty name, `.`, `..` or a NUL in it"),
            (&[""], "`` has an empty name, `.`, `..` or a NUL in it"),
            (&["a/../b"], "`a/../b` has an empty name, `.`, `..` or a NUL in it"),
            (&["a", "a"], "`a` is there twice"),
            (&["a/b", "a"], "`a` is there twice"),
            (&["a", "a/b"], "`a/b` goes through a file"),
            (&["1/2/3/4/5/6/7/8/9"], "`1/2/3/4/5/6/7/8/9` is more than 8 levels deep"),
            (&[&long], &format!("`{long}` has a name of more than 250 bytes")),
        ] {
            assert_eq!(grow(paths).unwrap_err().to_string(), want);
        }
        assert!(grow(&["1/2/3/4/5/6/7/8"]).is_ok());
    }
}
