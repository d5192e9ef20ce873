//! Names in ISO 9660's own alphabet, for readers that know no Rock Ridge.
//!
//! In: the names of one directory. Out: for each an identifier that no other has.
//!
//! Source: ECMA-119, 2nd edition, 7.4.1 ("d-characters"), 7.5 ("File Identifier"), 7.6 ("Directory
//! Identifier"), 9.3 ("Order of Directory Records"), 10.2 (level 2, which bounds their lengths),
//! <https://ecma-international.org/publications-and-standards/standards/ecma-119/>.
//!
//! Not here: the true names, which Rock Ridge records (`record`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// A file's or a directory's identifier: d-characters only.
///
/// Its order is that of directory records: shorter parts count as padded with spaces, which come
/// before all d-characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identifier {
    base: String,
    /// Without the dot. A directory has none.
    extension: String,
    kind: Kind,
}

/// What an identifier stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// The most characters of base and extension together.
const MOST: usize = 30;
/// The most characters of an extension, so that the base keeps most of the room.
const MOST_EXTENSION: usize = 8;

/// A directory is written as its base, a file as `BASE.EXT;1`.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Directory => f.write_str(&self.base),
            Kind::File => write!(f, "{}.{};1", self.base, self.extension),
        }
    }
}

/// The identifiers given so far in one directory.
#[derive(Debug, Default)]
pub(super) struct Namer {
    /// Base and extension of each, with the next number to try where another wants the same.
    taken: BTreeMap<(String, String), u32>,
}

impl Namer {
    /// Gives `name` an identifier: in capitals, `_` for what is no d-character, cut to 30
    /// characters, and a number at the end of the base where that is taken.
    pub(super) fn name(&mut self, name: &str, kind: Kind) -> Identifier {
        let (base, extension) = split(name, kind);
        let mut wish = d_characters(base, MOST);
        let extension = d_characters(extension, MOST_EXTENSION);
        wish.truncate(MOST - extension.len());
        let mut base = wish.clone();
        while self.is_taken(&base, &extension) {
            let number = self.next_number(&wish, &extension).to_string();
            base.truncate(0);
            base.push_str(&wish[..wish.len().min(MOST - extension.len() - number.len())]);
            base.push_str(&number);
        }
        self.taken.insert((base.clone(), extension.clone()), 1);
        Identifier { base, extension, kind }
    }

    fn is_taken(&self, base: &str, extension: &str) -> bool {
        self.taken.contains_key(&(base.to_owned(), extension.to_owned()))
    }

    fn next_number(&mut self, base: &str, extension: &str) -> u32 {
        match self.taken.entry((base.to_owned(), extension.to_owned())) {
            Entry::Vacant(_) => 1,
            Entry::Occupied(mut next) => {
                *next.get_mut() += 1;
                *next.get() - 1
            }
        }
    }
}

fn split(name: &str, kind: Kind) -> (&str, &str) {
    match (kind, name.rfind('.')) {
        (Kind::File, Some(dot)) if dot > 0 => (&name[..dot], &name[dot + 1..]),
        _ => (name, ""),
    }
}

fn d_characters(text: &str, most: usize) -> String {
    let d = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    text.chars().take(most).map(d).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    fn names(all: &[&str]) -> Vec<String> {
        let mut namer = Namer::default();
        all.iter().map(|name| namer.name(name, Kind::File).to_string()).collect()
    }

    #[test]
    fn names_become_d_characters() {
        let all = ["grub.cfg", ".hidden", "a.tar.gz", "no-dot", "ends.", "über.txt"];
        let want = ["GRUB.CFG;1", "_HIDDEN.;1", "A_TAR.GZ;1", "NO_DOT.;1", "ENDS.;1", "_BER.TXT;1"];
        assert_eq!(names(&all), want);
        let directory = Namer::default().name("talos-v1.13.9.efi.extra.d", Kind::Directory);
        assert_eq!(directory.to_string(), "TALOS_V1_13_9_EFI_EXTRA_D");
    }

    #[test]
    fn names_that_would_fall_together_are_numbered() {
        assert_eq!(
            names(&["FOO1", "Foo", "foo", "fOO"]),
            ["FOO1.;1", "FOO.;1", "FOO2.;1", "FOO3.;1"]
        );
        let long = "x".repeat(40);
        let want = ["X".repeat(26), "X".repeat(25) + "1"].map(|base| base + ".EFIX;1");
        assert_eq!(names(&[&format!("{long}a.efix"), &format!("{long}b.efix")]), want);
    }

    proptest! {
        /// Whatever the names, identifiers differ and keep to level 2.
        #[test]
        fn identifiers_differ_and_fit(names in prop::collection::btree_set("[aA._~1]{1,36}", 0..60)) {
            let mut namer = Namer::default();
            let mut seen = BTreeSet::new();
            for (i, name) in names.iter().enumerate() {
                let kind = if i % 3 == 0 { Kind::Directory } else { Kind::File };
                let given = namer.name(name, kind);
                prop_assert!(!given.base.is_empty());
                prop_assert!(given.base.len() + given.extension.len() <= MOST);
                prop_assert!(seen.insert((given.base, given.extension)));
            }
        }
    }
}
