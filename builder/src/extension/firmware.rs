//! Firmware and microcode, which do not go into an extension's layer.
//!
//! In: an extension's root. Out: microcode for the first bytes of the initramfs, firmware for the
//! initramfs itself, and the root without them.
//!
//! Drivers ask for firmware before there are layers, so Talos takes it out of extensions and lays it
//! into the initramfs, where it follows links as it copies. `/init` then binds that folder over the
//! root file system's own of the same name, so that firmware there would be hidden. No release since
//! 1.10 has any: the folder is made empty (`Dockerfile`, targets `rootfs-base-*`). So there is
//! nothing to save.
//!
//! Source: Talos `internal/pkg/extensions/compress.go#Compress`, `internal/app/init/main.go`; Linux
//! `Documentation/arch/x86/microcode.rst`.
//!
//! Not here: the archives that they go into (`pack`, `lay`).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::extension::content::shown;
use crate::extension::links;
use crate::tree::{Kind, Tree};

/// Where firmware lies, in extensions and in the initramfs (since Talos 1.10).
pub(super) const FOLDER: &str = "usr/lib/firmware";
/// Where Linux looks for Intel's microcode, in the first archive of the initramfs.
pub(super) const INTEL: &str = "kernel/x86/microcode/GenuineIntel.bin";
/// Where Linux looks for AMD's.
pub(super) const AMD: &str = "kernel/x86/microcode/AuthenticAMD.bin";

/// The most files and folders of an initramfs that the reader takes (`inspect::initrd`), with some
/// left for all else.
const ENTRIES_LIMIT: usize = 60_000;
/// The deepest folder below the firmware's, links to folders followed.
const DEPTH_LIMIT: usize = 32;

/// Firmware of an extension.
#[derive(Clone, Debug, Default)]
pub(super) struct Firmware {
    /// Intel's microcode, in order of name.
    pub(super) intel: Vec<Blob>,
    /// AMD's.
    pub(super) amd: Vec<Blob>,
    /// All else by path in the initramfs, folders before what they hold. Empty where the extension
    /// has no folder for firmware.
    pub(super) items: Vec<(String, Item)>,
}

/// A file or folder of firmware.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A folder.
    Folder,
    /// A file: its permissions, bytes and their digest.
    File(u32, Blob, Digest),
}

/// Firmware that cannot be laid into the initramfs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FirmwareError {
    /// A link that leads nowhere.
    #[error("extension `{0}`: the link `{1}` leads to no file of the extension")]
    Dangling(String, String),
    /// Folders within folders by links.
    #[error("extension `{0}`: `{1}` is too deep; links may lead round in circles")]
    Deep(String, String),
    /// More than an initramfs can have.
    #[error("extension `{0}` has more than 60000 files of firmware, links to folders followed")]
    Many(String),
    /// A file in one extension, a folder in another.
    #[error("`{path}` is a file in the extension `{file}` and a folder in `{folder}`")]
    Clash {
        /// The path.
        path: String,
        /// The extension with the file.
        file: String,
        /// The extension with the folder.
        folder: String,
    },
}

/// Takes firmware and microcode out of an extension's root; `name` is the extension's, for errors.
pub(super) fn split(name: &str, root: &Tree) -> Result<(Firmware, Tree), FirmwareError> {
    let mut firmware = Firmware::default();
    let mut rest = root.clone();
    if root.get(FOLDER).is_none() {
        return Ok((firmware, rest));
    }
    let mut walk = Walk { name, root, children: links::children(root), items: Vec::new() };
    walk.add(FOLDER, FOLDER, 0)?;
    for (path, item) in walk.items {
        match (microcode(&path), item) {
            (Some(INTEL), Item::File(_, blob, _)) => firmware.intel.push(blob),
            (Some(_), Item::File(_, blob, _)) => firmware.amd.push(blob),
            (_, item) => firmware.items.push((path, item)),
        }
    }
    rest.remove(FOLDER);
    Ok((firmware, rest))
}

/// The file that a path's microcode goes into, if it is some: `intel-ucode/*` and
/// `amd-ucode/microcode_amd*.bin`.
fn microcode(path: &str) -> Option<&'static str> {
    let (folder, name) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    match folder {
        "intel-ucode" if !name.contains('/') => Some(INTEL),
        "amd-ucode" => {
            let rest = name.strip_prefix("microcode_amd")?.strip_suffix(".bin")?;
            (!rest.contains('/')).then_some(AMD)
        }
        _ => None,
    }
}

struct Walk<'a> {
    name: &'a str,
    root: &'a Tree,
    children: BTreeMap<&'a str, Vec<&'a str>>,
    items: Vec<(String, Item)>,
}

impl Walk<'_> {
    /// Adds what is at the path `from` as `to`, and all below it.
    fn add(&mut self, from: &str, to: &str, depth: usize) -> Result<(), FirmwareError> {
        let name = || self.name.to_owned();
        let dangling = || FirmwareError::Dangling(name(), shown(from));
        let found = links::resolve(self.root, from).ok_or_else(dangling)?;
        if self.items.len() >= ENTRIES_LIMIT {
            return Err(FirmwareError::Many(name()));
        }
        if depth > DEPTH_LIMIT {
            return Err(FirmwareError::Deep(name(), shown(from)));
        }
        match self.root.get(&found).map(|entry| (entry.mode, &entry.kind)) {
            Some((mode, Kind::File(blob, digest))) => {
                let item = Item::File(mode & 0o777, blob.clone(), *digest);
                self.items.push((to.to_owned(), item));
                return Ok(());
            }
            Some((_, Kind::Folder)) => self.items.push((to.to_owned(), Item::Folder)),
            // A link may lead to the root itself.
            None if found.is_empty() => self.items.push((to.to_owned(), Item::Folder)),
            _ => return Err(dangling()),
        }
        let names = self.children.get(found.as_str()).cloned().unwrap_or_default();
        for name in names {
            let below = if found.is_empty() { name.to_owned() } else { format!("{found}/{name}") };
            self.add(&below, &format!("{to}/{name}"), depth + 1)?;
        }
        Ok(())
    }
}

/// Whether the firmware of several extensions, by their names, makes one tree.
///
/// # Errors
///
/// Where a path is a file in one and a folder in another.
pub(super) fn check_together<'a>(
    all: impl Iterator<Item = (&'a str, &'a Firmware)>,
) -> Result<(), FirmwareError> {
    let mut seen: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for (name, firmware) in all {
        for (path, item) in &firmware.items {
            let is_folder = matches!(item, Item::Folder);
            let (other, was_folder) = *seen.entry(path).or_insert((name, is_folder));
            if was_folder != is_folder {
                let (file, folder) = if is_folder { (other, name) } else { (name, other) };
                let (file, folder) = (file.to_owned(), folder.to_owned());
                return Err(FirmwareError::Clash { path: shown(path), file, folder });
            }
        }
    }
    Ok(())
}
