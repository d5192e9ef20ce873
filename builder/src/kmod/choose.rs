//! Which modules are indexed, and in what order.
//!
//! In: all modules, `modules.order`, the words of `search`. Out: one module a name, numbered.
//!
//! Modules that `modules.order` lacks, as extensions' own, keep the order of depmod's hash table, as
//! they do under glibc, whose `qsort` is stable. That of musl is not, so Talos' imager may number
//! them otherwise; it matters only where two of them have one alias.
//!
//! Source: kmod's `tools/depmod.c` (`depmod_module_is_higher_priority`, `depmod_modules_sort`);
//! `depmod.d(5)`.
//!
//! Not here: what the numbers are for (`graph`, `trie`).

use std::collections::BTreeMap;

use super::names::{self, MAX_NAME};
use super::{KmodError, Module, Search};

/// The most modules that can be numbered: depmod counts in 16 bits.
pub(super) const MAX_MODULES: usize = 65_534;
/// The buckets of depmod's table of modules.
const BUCKETS: u32 = 512;

/// The modules to index; a module's number is its index.
///
/// Those in `modules.order` come first and in that order, then the others in that of depmod's table.
pub(super) fn choose<'a>(
    modules: &'a [Module],
    order: &[u8],
    search: &[Search],
) -> Result<Vec<&'a Module>, KmodError> {
    let mut by_name: BTreeMap<&str, &Module> = BTreeMap::new();
    for module in modules {
        let held = by_name.entry(&module.name).or_insert(module);
        if is_preferred(module, held, search) {
            *held = module;
        }
    }
    if by_name.len() > MAX_MODULES {
        return Err(KmodError::TooMany { count: by_name.len() });
    }
    let mut chosen: Vec<&Module> = by_name.into_values().collect();
    chosen.sort_by_key(|module| names::bucket(module.name.as_bytes(), BUCKETS));
    if let Some(places) = places(order) {
        let place = |module: &&Module| places.get(plain_path(module)).copied();
        chosen.sort_by_key(|module| place(module).unwrap_or(usize::MAX));
    }
    Ok(chosen)
}

/// Whether `new` takes the place of `held`, which was found before.
///
/// Of two in one folder that a word names, the new one is preferred: depmod looks at the old one's
/// folder only where the new one's is another.
fn is_preferred(new: &Module, held: &Module, search: &[Search]) -> bool {
    let default = [Search::Folder("updates".to_owned())];
    let words = if search.is_empty() { &default } else { search };
    let (mut rest, mut new_rank, mut held_rank) = (None, None, None);
    // The last word weighs least.
    for (rank, word) in words.iter().rev().enumerate() {
        match word {
            Search::BuiltIn => rest = Some(rank),
            Search::Folder(folder) if lies_in(new, folder) => new_rank = Some(rank),
            Search::Folder(folder) if lies_in(held, folder) => held_rank = Some(rank),
            Search::Folder(_) => (),
        }
    }
    new_rank.or(rest) > held_rank.or(rest)
}

fn lies_in(module: &Module, folder: &str) -> bool {
    module.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The module's path as `modules.order` has it, without the ending of its packing.
fn plain_path(module: &Module) -> &[u8] {
    let path = module.path.as_bytes();
    let file_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let end = file_at + module.name.len() + ".ko".len();
    &path[..end.min(path.len())]
}

/// The number of the line on which a path first stands. Nothing where a line is longer than depmod
/// reads or the last does not end: depmod does not believe such a file.
fn places(order: &[u8]) -> Option<BTreeMap<&[u8], usize>> {
    let mut places = BTreeMap::new();
    for (number, line) in order.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.len() > MAX_NAME || line.contains(&0) {
            return None;
        }
        places.entry(line.strip_suffix(b"\n")?).or_insert(number);
    }
    Some(places)
}
