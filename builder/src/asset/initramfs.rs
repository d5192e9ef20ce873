//! The base initramfs: what it holds, as far as more segments must know.
//!
//! In: the file. Out: its list of layers and the names in its root. It is unpacked once, to see that
//! it is whole.
//!
//! Source: Talos `internal/app/init/main.go`, which reads `extensions.yaml` from the root.
//!
//! Not here: how Linux unpacks it (`inspect`).

use std::collections::BTreeSet;

use crate::blob::Blob;
use crate::inspect::damage::Damage;
use crate::inspect::initrd::{self, Tree};
use crate::inspect::memo::Memo;

/// A base initramfs.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    /// The file.
    pub blob: Blob,
    /// Its `extensions.yaml`, where there is one.
    pub list: Option<Vec<u8>>,
    /// The names in its root.
    pub names: BTreeSet<String>,
}

/// The list of layers, as Talos' own is a few KiB long.
const LIST: &str = "extensions.yaml";
const LIST_LIMIT: u64 = 1 << 20;

/// Unpacks an initramfs to see what it holds; `memo` then knows it, so that media made from it need
/// not be unpacked again.
///
/// # Errors
///
/// [`Damage`] where Linux would not unpack it.
pub fn read(blob: &Blob, memo: &mut Memo) -> Result<Initramfs, Damage> {
    memo.allow(blob.len());
    of(blob, &initrd::unpack(blob, memo)?, memo)
}

/// As [`read`], without a look into Talos' own base: what that holds is known. So an initramfs of
/// 100 MiB is read in a millisecond.
///
/// # Errors
///
/// [`Damage`] where Linux would not unpack it, as far as it was read.
pub fn skim(blob: &Blob, memo: &mut Memo) -> Result<Initramfs, Damage> {
    memo.allow(blob.len());
    of(blob, &initrd::skim(blob, memo)?, memo)
}

fn of(blob: &Blob, tree: &Tree, memo: &mut Memo) -> Result<Initramfs, Damage> {
    if tree.get("init").is_none() {
        return Err(Damage::new("initramfs", 0, "it has no `init`").should("that of Talos"));
    }
    let list = match tree.get(LIST) {
        Some(file) => {
            let content = tree.content(file, LIST_LIMIT, memo)?;
            let read = content.get(0..content.len().min(LIST_LIMIT)).map(|list| list.to_vec());
            read.transpose().map_err(|error| Damage::read("initramfs", 0, error))?
        }
        None => None,
    };
    let names = tree.paths().filter(|path| !path.contains('/')).map(str::to_owned).collect();
    Ok(Initramfs { blob: blob.clone(), list, names })
}

#[cfg(test)]
mod tests;
