//! Paths as a tree of directories.
//!
//! In: files. Out: which directory holds what, and how many clusters directories take.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03, section 7 ("Long File Names").
//!
//! Not here: short names, which `fatfs` makes up.

use std::collections::BTreeMap;

use super::{FatError, File};
use crate::units::Size;

/// The bytes of a directory entry.
pub(super) const SLOT: u64 = 32;
/// The characters of a name that an entry holds besides its short name.
const NAME_PART: usize = 13;

/// A directory: what it holds in order of name, by names in upper case.
#[derive(Debug, Default)]
pub(super) struct Tree<'a>(BTreeMap<String, (&'a str, Entry<'a>)>);

/// What a directory holds under a name.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// A directory.
    Dir(Tree<'a>),
    /// A file, by its index.
    File(usize),
}

impl<'a> Tree<'a> {
    /// The tree of `files`, their paths and lengths checked.
    pub(super) fn of(files: &'a [File]) -> Result<Self, FatError> {
        let mut root = Self::default();
        for (index, file) in files.iter().enumerate() {
            let path = file.path.as_str();
            if path.len() > 255 || !path.split('/').all(is_name) {
                return Err(FatError::Path(path.to_owned()));
            }
            if u32::try_from(file.content.len()).is_err() {
                let len = Size(file.content.len());
                return Err(FatError::FileTooLong { path: path.to_owned(), len });
            }
            root.insert(path, index).ok_or_else(|| FatError::Duplicate(path.to_owned()))?;
        }
        Ok(root)
    }

    /// Adds a file, or says that it cannot be told from another.
    fn insert(&mut self, path: &'a str, index: usize) -> Option<()> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(a, b)| (a, Some(b)));
        let key = name.to_ascii_uppercase();
        let Some(rest) = rest else {
            return self.0.insert(key, (name, Entry::File(index))).is_none().then_some(());
        };
        let (known, entry) = self.0.entry(key).or_insert((name, Entry::Dir(Self::default())));
        match entry {
            // One directory in two spellings could be shown in one of them only.
            Entry::Dir(dir) if *known == name => dir.insert(rest, index),
            _ => None,
        }
    }

    /// What the directory holds, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &Entry<'a>)> {
        self.0.values().map(|(name, entry)| (*name, entry))
    }

    /// The clusters of `cluster` bytes that the directory and those in it take. It is the root:
    /// besides what it holds, it has the label.
    pub(super) fn clusters(&self, cluster: u64) -> u64 {
        self.clusters_after(1, cluster)
    }

    fn clusters_after(&self, slots: u64, cluster: u64) -> u64 {
        let name_slots = |name: &str| 1 + name.len().div_ceil(NAME_PART) as u64;
        let slots = slots + self.entries().map(|(name, _)| name_slots(name)).sum::<u64>();
        let inner = self.entries().map(|(_, entry)| match entry {
            // `fatfs` gives `.` and `..` long names, too, which are mended away later.
            Entry::Dir(dir) => dir.clusters_after(4, cluster),
            Entry::File(_) => 0,
        });
        (slots * SLOT).div_ceil(cluster) + inner.sum::<u64>()
    }
}

/// Whether a long name may be so: the characters that the specification allows, all of ASCII.
fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "$%'-_@~`!(){}^#& .+,;=[]".contains(c);
    let is_edge = |c: char| matches!(c, ' ' | '.');
    !name.is_empty()
        && name.chars().all(is_fine)
        && !name.starts_with(is_edge)
        && !name.ends_with(is_edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Blob, Builder};
    use crate::format::fat::Place;

    fn file(path: &str) -> File {
        let content = Blob::default();
        File { path: path.into(), content, read_only: false, place: Place::First }
    }

    #[test]
    fn paths_that_fat_cannot_tell_apart_are_refused() {
        let error = |paths: [&str; 2]| Tree::of(&paths.map(file)).unwrap_err().to_string();
        insta::assert_snapshot!(error(["a/b", "A/c"]), @"`A/c` is in the volume twice, for FAT does not tell upper from lower case");
        insta::assert_snapshot!(error(["a/b", "a/B"]), @"`a/B` is in the volume twice, for FAT does not tell upper from lower case");
        insta::assert_snapshot!(error(["a", "a/b"]), @"`a/b` is in the volume twice, for FAT does not tell upper from lower case");
        insta::assert_snapshot!(error(["a/b", "a"]), @"`a` is in the volume twice, for FAT does not tell upper from lower case");
    }

    #[test]
    fn paths_that_fat_cannot_hold_are_refused() {
        for path in ["", "/a", "a/", "a//b", ".a", "a.", " a", "a:b", "ä", "..", &"x".repeat(256)]
        {
            assert!(matches!(Tree::of(&[file(path)]), Err(FatError::Path(_))), "{path}");
        }
    }

    #[test]
    fn a_file_of_4_gib_is_refused() {
        let content = Builder::default().zeros("long", 1 << 32).finish();
        let error = Tree::of(&[File { content, ..file("long") }]).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"`long` has 4GiB; a FAT volume holds files below 4GiB");
    }
}
