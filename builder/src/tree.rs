//! A tree of files from outside: an image's, an archive's, a folder's.
//!
//! In: entries by path. Out: what lies where, contents as blobs that are known by their digests.
//!
//! Source: POSIX for modes.
//!
//! Not here: how such a tree is read (`oci`), and what its files mean (`asset`, `extension`).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::blob::Blob;
use crate::digest::Digest;

/// Entries by path: `usr/install/amd64/vmlinuz`.
///
/// Invariant: no path is empty, starts or ends with `/`, or has a part that is empty, `.` or `..`.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

/// A file or what else has a name.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its permission bits, and those of setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its owner's group.
    pub gid: u64,
    /// Its extended attributes, by name: `security.selinux`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file. A hard link is one, too.
    File(Blob, Digest),
    /// A symbolic link, to where it says.
    Symlink(String),
    /// Anything else, in a word: a device, a pipe.
    Other(&'static str),
}

impl Tree {
    /// An entry.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// A plain file's content.
    pub fn file(&self, path: &str) -> Option<(&Blob, &Digest)> {
        match &self.0.get(path)?.kind {
            Kind::File(blob, digest) => Some((blob, digest)),
            _ => None,
        }
    }

    /// All entries by path, in the order of the paths' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an entry at a path, in the place of what was there; what lay below a folder stays.
    ///
    /// # Panics
    ///
    /// Where the path is none. See [`Tree::path`] for those from outside.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        assert_eq!(Self::path(path).as_deref(), Some(path), "the caller cleaned the path");
        self.0.insert(path.to_owned(), entry);
    }

    /// Takes an entry away, and all that lies below it.
    pub fn remove(&mut self, path: &str) {
        self.0.remove(path);
        for path in below(&self.0, path) {
            self.0.remove(&path);
        }
    }

    /// The path of what is at a path when symbolic links are followed, as a process would whose
    /// root is this tree: `..` ends there, and no link leads out.
    ///
    /// # Errors
    ///
    /// Where nothing is there, or links lead in a circle.
    pub fn follow(&self, path: &str) -> Result<String, FollowError> {
        let step = |path: &str| match self.0.get(path).map(|entry| &entry.kind) {
            None => Step::Nothing,
            Some(Kind::Folder) => Step::Folder,
            Some(Kind::Symlink(target)) => Step::Symlink(target),
            Some(Kind::File(..) | Kind::Other(_)) => Step::Leaf,
        };
        match follow(path, &step)? {
            Followed::Is(path) => Ok(path),
            Followed::Missing { .. } => Err(FollowError::Nothing(path.to_owned())),
        }
    }

    /// A path as this tree has it, from one that may start with `/` or `./`, end with `/`, or have
    /// parts that are empty or `.`; nothing where it leads out of the tree, or nowhere.
    pub fn path(text: &str) -> Option<String> {
        let parts: Vec<_> =
            text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let is_good = !parts.is_empty() && parts.iter().all(|part| *part != "..");
        (is_good && !text.contains('\0')).then(|| parts.join("/"))
    }
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FollowError {
    /// Something on the way is not there.
    #[error("there is no `{0}`")]
    Nothing(String),
    /// Something on the way is neither a folder nor a link to one.
    #[error("`{0}` is no folder")]
    NoFolder(String),
    /// Links that lead to each other, or too many of them.
    #[error("more than {LINKS_MAX} symbolic links lead on from `{0}`")]
    Links(String),
    /// A path of links that is too long to be one.
    #[error("the links at `{0}` make a path of more than {PATH_MAX} bytes")]
    Long(String),
}

/// The most links on the way to one file: Linux, `path_resolution(7)`.
const LINKS_MAX: usize = 40;
/// The most bytes of a path: Linux, `limits.h`.
const PATH_MAX: usize = 4096;

/// What is at a path, before links are followed.
pub(crate) enum Step<'a> {
    Nothing,
    Folder,
    Symlink(&'a str),
    Leaf,
}

/// What is at a path, links followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Something is at this path, which has no links. It is empty for the root.
    Is(String),
    /// This folder is there, and these parts below it are not. No link and no `..` is among them.
    Missing { folder: String, rest: String },
}

/// Follows links in any tree; `step` says what is where.
pub(crate) fn follow<'a>(
    path: &str,
    step: &dyn Fn(&str) -> Step<'a>,
) -> Result<Followed, FollowError> {
    // The parts that are still to go, the next one last.
    let mut parts: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut len = path.len();
    let mut links = 0;
    let mut at = String::new();
    while let Some(part) = parts.pop() {
        len = len.saturating_sub(part.len() + 1);
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = if at.is_empty() { part.clone() } else { format!("{at}/{part}") };
        match step(&next) {
            Step::Folder => at = next,
            Step::Leaf if parts.iter().all(|part| part.is_empty()) => at = next,
            Step::Leaf => return Err(FollowError::NoFolder(next)),
            Step::Symlink(target) => {
                links += 1;
                len += target.len() + 1;
                if links > LINKS_MAX {
                    return Err(FollowError::Links(path.to_owned()));
                }
                if len > PATH_MAX {
                    return Err(FollowError::Long(path.to_owned()));
                }
                if target.starts_with('/') {
                    at.clear();
                }
                parts.extend(target.rsplit('/').map(str::to_owned));
            }
            Step::Nothing => {
                parts.push(part);
                parts.retain(|part| !matches!(part.as_str(), "" | "."));
                if parts.iter().any(|part| part == "..") {
                    return Err(FollowError::Nothing(next));
                }
                parts.reverse();
                return Ok(Followed::Missing { folder: at, rest: parts.join("/") });
            }
        }
    }
    Ok(Followed::Is(at))
}

/// The paths of all that lies below a path.
pub(crate) fn below<T>(entries: &BTreeMap<String, T>, path: &str) -> Vec<String> {
    // `0` follows `/`.
    let range = format!("{path}/")..format!("{path}0");
    entries.range(range).map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_tree() {
        assert_eq!(Tree::path("/usr//./install/").as_deref(), Some("usr/install"));
        for bad in ["", "/", ".", "..", "a/../b", "a\0b"] {
            assert_eq!(Tree::path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_lies_below_goes_with_its_folder() {
        let folder =
            || Entry { mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind: Kind::Folder };
        let mut tree = Tree::default();
        ["a", "a/b", "a/b/c", "ab"].iter().for_each(|path| tree.insert(path, folder()));
        tree.remove("a");
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["ab"]);
    }

    #[test]
    fn links_are_followed_within_the_tree() {
        let mut tree = Tree::default();
        let mut add = |path: &str, kind| {
            let entry = Entry { mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind };
            tree.insert(path, entry);
        };
        ["usr", "usr/lib", "a"].iter().for_each(|path| add(path, Kind::Folder));
        add("usr/lib/x", Kind::File(Blob::default(), Digest::of(b"")));
        add("lib", Kind::Symlink("usr/lib".into()));
        add("a/up", Kind::Symlink("../../../../usr//./lib/".into()));
        add("a/abs", Kind::Symlink("/lib/x".into()));
        add("loop", Kind::Symlink("a/loop".into()));
        add("a/loop", Kind::Symlink("/loop".into()));
        add("gone", Kind::Symlink("usr/none".into()));
        add("grow", Kind::Symlink(format!("{}grow", "./".repeat(1000))));
        let cases = [
            ("lib/x", Ok("usr/lib/x")),
            ("a/up/x", Ok("usr/lib/x")),
            ("a/abs", Ok("usr/lib/x")),
            ("lib", Ok("usr/lib")),
            ("loop", Err(FollowError::Links("loop".into()))),
            ("gone", Err(FollowError::Nothing("gone".into()))),
            ("usr/lib/x/y", Err(FollowError::NoFolder("usr/lib/x".into()))),
            ("none/../a", Err(FollowError::Nothing("none".into()))),
        ];
        for (path, want) in cases {
            assert_eq!(tree.follow(path).as_deref().map_err(Clone::clone), want, "{path}");
        }
        assert!(tree.follow("grow").is_err());
    }
}
