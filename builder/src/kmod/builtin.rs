//! What is linked into the kernel, by the tables of its build.
//!
//! In: `modules.builtin`, `modules.builtin.modinfo`. Out: names, and aliases with theirs.
//!
//! Source: kmod's `tools/depmod.c` (`output_builtin_bin`, `output_builtin_alias_bin`); Linux
//! `Documentation/kbuild/kbuild.rst`, "modules.builtin".
//!
//! Not here: how that is written (`files`).

use super::names::{self, MAX_NAME};

/// The names of the modules, in the order of lines. What starts with no letter is no line, and one
/// that is longer than depmod reads is several.
pub(super) fn modules(table: &[u8]) -> impl Iterator<Item = String> {
    let lines = table.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.flat_map(|line| line.chunks(MAX_NAME));
    let lines = lines.filter(|line| line.first().is_some_and(u8::is_ascii_alphabetic));
    lines.map(names::of_path).filter(|name| !name.is_empty())
}

/// Aliases, as they are written, and the names of their modules. An entry that does not end is
/// none, and neither is one that is longer than depmod reads.
pub(super) fn aliases(table: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let entries = table.split_inclusive(|byte| *byte == 0);
    entries.filter_map(|entry| {
        let entry = entry.strip_suffix(&[0])?;
        let (module, rest) = entry.split_at(entry.iter().position(|byte| *byte == b'.')?);
        let alias = rest.strip_prefix(b".alias=")?;
        let is_short = module.len() <= MAX_NAME && alias.len() <= MAX_NAME;
        (is_short && !module.is_empty() && !alias.is_empty()).then_some((alias, module))
    })
}
