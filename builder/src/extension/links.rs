//! Symbolic links of a tree, followed.
//!
//! In: a tree, a path. Out: the path that it leads to.
//!
//! Source: path_resolution(7), with the tree's root for `/`.
//!
//! Not here: what is done with the file.

use std::collections::{BTreeMap, VecDeque};

use crate::tree::{Kind, Tree};

/// The most links on the way to a file, as in Linux (`MAXSYMLINKS`).
const LINKS_LIMIT: usize = 40;

/// Where a path leads, each link on the way followed; the root is the empty path. Nothing where it
/// leads to no entry, or round in circles.
pub(super) fn resolve(tree: &Tree, path: &str) -> Option<String> {
    let mut todo: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        if let Kind::Symlink(target) = &tree.get(&at.join("/"))?.kind {
            links += 1;
            if links > LINKS_LIMIT {
                return None;
            }
            at.pop();
            if target.starts_with('/') {
                at.clear();
            }
            target.split('/').rev().for_each(|part| todo.push_front(part.to_owned()));
        }
    }
    Some(at.join("/"))
}

/// The names in each folder of a tree, sorted.
pub(super) fn children(tree: &Tree) -> BTreeMap<&str, Vec<&str>> {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, _) in tree.iter() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        children.entry(folder).or_default().push(name);
    }
    children.values_mut().for_each(|names| names.sort_unstable());
    children
}
