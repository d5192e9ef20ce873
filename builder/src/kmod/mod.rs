//! Kernel modules: what each needs, and the indexes that modprobe reads.
//!
//! In: modules as ELF files, the kernel's own tables. Out: `modules.dep` and its like, the bytes
//! that depmod of kmod 34 writes.
//!
//! A module is read once and dropped: only its names are kept, so that a hundred megabytes of
//! modules cost a few of memory.
//!
//! Modules are those of Talos' machines, amd64 and arm64, so little-endian. Symbols' checksums are
//! not compared: depmod does so only when it is given those of the kernel.
//!
//! Where depmod prints a complaint and writes tables that lack something, this is an error: a
//! module that cannot be read, a circle, a name that the indexes cannot hold.
//!
//! Source: kmod's `tools/depmod.c`, `libkmod/libkmod-index.c`; `modules.dep(5)`, `depmod.d(5)`.
//!
//! Not here: where modules come from, and where the indexes go (`extension`).

use std::io;

use thiserror::Error;

use crate::blob::Blob;

mod names;
mod unpack;
mod elf;
mod choose;
mod graph;
mod trie;
mod builtin;
mod files;

#[cfg(test)]
mod tests;

/// What the indexes need to know of a module.
#[derive(Clone, Debug)]
pub struct Module {
    path: String,
    name: String,
    facts: elf::Facts,
}

/// The tables of the kernel's own build, as they lie beside `kernel/`. A missing one is as good as
/// an empty one.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `modules.order`: the paths of modules as `.ko`, one a line. Where two modules have one
    /// alias, modprobe tries the earlier first.
    pub order: Vec<u8>,
    /// `modules.builtin`: the paths of what is linked into the kernel, one a line.
    pub builtin: Vec<u8>,
    /// `modules.builtin.modinfo`: `<module>.<key>=<value>`, each ended by a NUL.
    pub builtin_modinfo: Vec<u8>,
}

/// One word of depmod's `search` directive, `depmod.d(5)`.
///
/// `external` is not among them: it stands for folders elsewhere, which Talos has none of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// `built-in`: the folders that no other word names.
    BuiltIn,
    /// A folder below `/lib/modules/<release>`, such as `extras`.
    Folder(String),
}

/// Modules that cannot be indexed.
#[derive(Debug, Error)]
pub enum KmodError {
    /// A path that is none of a module, or that the line of an index cannot hold.
    #[error("`{}` is no path of a kernel module", path.escape_debug())]
    Path {
        /// The path.
        path: String,
    },
    /// A module's bytes cannot be read or unpacked.
    #[error("kernel module `{path}` cannot be read")]
    Read {
        /// The module.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A module's bytes are not those of a module.
    #[error("kernel module `{path}`: {wrong}")]
    Damaged {
        /// The module.
        path: String,
        /// What is wrong.
        wrong: String,
    },
    /// More modules than depmod's own numbers can tell apart.
    #[error("{count} kernel modules are more than depmod can index, {}", choose::MAX_MODULES)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Modules that need each other, so that none can be loaded first.
    #[error("kernel modules need each other: {}", names.join(" -> "))]
    Circle {
        /// Their names; each needs the next, and the last is the first again.
        names: Vec<String>,
    },
    /// A name that a binary index cannot hold: it knows ASCII only.
    #[error("`{file}` cannot hold `{text}`, which is not ASCII")]
    NotAscii {
        /// The index.
        file: &'static str,
        /// The name or alias, its odd bytes escaped.
        text: String,
    },
    /// An index that would be longer than any kernel's modules make it.
    #[error("`{file}` would have more than {} MiB", trie::MAX_LEN >> 20)]
    TooLong {
        /// The index.
        file: &'static str,
    },
}

/// Whether depmod takes the file at `path`, below `/lib/modules/<release>`, for a module: by its
/// ending, and unless it lies in a folder `build` or `source`.
pub fn is_module(path: &str) -> bool {
    let mut folders = path.split('/');
    let name = folders.next_back().unwrap_or_default();
    let is_named = |ending: &&str| name.len() > ending.len() && name.ends_with(*ending);
    unpack::ENDINGS.iter().any(is_named) && folders.all(|f| f != "build" && f != "source")
}

impl Module {
    /// Reads the module at `path`, below `/lib/modules/<release>`: `kernel/fs/ext4/ext4.ko.zst`.
    ///
    /// # Errors
    ///
    /// [`KmodError::Path`], [`KmodError::Read`], [`KmodError::Damaged`].
    pub fn read(path: &str, content: &Blob) -> Result<Self, KmodError> {
        if !is_module(path) || !path.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(KmodError::Path { path: path.to_owned() });
        }
        let facts = unpack::unpack(content).map_err(elf::Fault::Read);
        let facts = facts.and_then(|plain| elf::read(&plain)).map_err(|fault| match fault {
            elf::Fault::Read(cause) => KmodError::Read { path: path.to_owned(), cause },
            elf::Fault::Wrong(wrong) => KmodError::Damaged { path: path.to_owned(), wrong },
        })?;
        Ok(Self { path: path.to_owned(), name: names::of_path(path.as_bytes()), facts })
    }

    /// Where it lies, below `/lib/modules/<release>`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The kernel's name for it: that of its file, without endings, `-` as `_`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Every file that depmod writes to `/lib/modules/<release>`, by name, in depmod's order.
///
/// Of modules with one name, one is taken: the one whose folder the earlier word of `search` names.
/// Where that does not tell, the order of `modules` stands for the order of depmod's walk: of those
/// in folders that a word names the last is taken, of others the first. No word at all is depmod's
/// `search updates`.
///
/// # Errors
///
/// [`KmodError::Circle`] where modules need each other, [`KmodError::NotAscii`],
/// [`KmodError::TooMany`], [`KmodError::TooLong`].
pub fn index(
    modules: &[Module],
    tables: &Tables,
    search: &[Search],
) -> Result<Vec<(&'static str, Vec<u8>)>, KmodError> {
    let chosen = choose::choose(modules, &tables.order, search)?;
    let exports = graph::Exports::of(&chosen);
    let needs = graph::Needs::of(&chosen, &exports)?;
    files::write(&chosen, &exports, &needs, tables)
}
