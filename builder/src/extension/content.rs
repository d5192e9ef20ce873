//! The files of an extension, held to Talos' rules.
//!
//! In: an extension's tree. Out: its root alone, every folder listed; or all that is wrong with it.
//!
//! Source: Talos `pkg/machinery/extensions/extensions.go#AllowedPaths`, `validate.go`: a path is
//! allowed where its text starts with one of the list. What is meant there by its check of
//! permissions is done here, too; owners do not matter, since layers are packed as root's.
//!
//! Not here: the manifest, what becomes of the files (`pack`).

use std::collections::BTreeMap;

use crate::blob::Blob;
use crate::extension::problem::Wrong;
use crate::talos::Arch;
use crate::tree::{Entry, Kind, Tree};

/// Where extensions may have files, in releases up to 1.15. None was taken off the list since 1.10.
const ALLOWED: [&str; 19] = [
    "etc/cri/conf.d",
    "usr/lib/firmware",
    "usr/lib/modules",
    "usr/lib/ld-linux-x86-64.so.2",
    "usr/lib/ld-linux-aarch64.so.1",
    "usr/bin/ldconfig",
    "etc/ld.so.conf",
    "etc/ld.so.cache",
    "usr/bin/nvidia-modprobe",
    "usr/bin/nvidia-pcc",
    "usr/bin/nvidia-smi",
    "usr/bin/nvidia-ctk",
    "usr/bin/nvidia-cdi-hook",
    "usr/bin/nvme",
    "usr/lib/udev/rules.d",
    "usr/local",
    "usr/share/glvnd",
    "usr/share/egl",
    "etc/vulkan",
];

/// The most entries of an extension.
const ENTRIES_LIMIT: usize = 100_000;
/// The most folders that an extension does not list.
const FOLDERS_LIMIT: usize = 10_000;
/// The most bytes of its files together: a layer lies in a cpio archive, which has 32 bits for sizes.
const CONTENT_LIMIT: u64 = 4 << 30;
/// The most parts of a path.
const DEPTH_LIMIT: usize = 64;
/// The most bytes of a part, and of a link's target.
const PART_LIMIT: usize = 255;
const TARGET_LIMIT: usize = 4095;
/// The most problems of one extension that are told.
const PROBLEMS_LIMIT: usize = 100;
/// The most bytes of a path that a message shows.
const SHOWN_LIMIT: usize = 200;

/// A path for messages: short, and without what a terminal would act on.
pub(super) fn shown(path: &str) -> String {
    let text: String = path.chars().take(SHOWN_LIMIT).flat_map(char::escape_debug).collect();
    if text.len() < path.len() && path.len() > SHOWN_LIMIT { text + "…" } else { text }
}

/// The root of an extension: what is in its folder `rootfs`, each folder before what it holds.
///
/// # Errors
///
/// All that is wrong with the files, a hundred things at most.
pub(super) fn root(tree: &Tree) -> Result<Tree, Vec<Wrong>> {
    if tree.iter().nth(ENTRIES_LIMIT).is_some() {
        return Err(vec![Wrong::TooLarge("100000 files")]);
    }
    let mut wrong = Vec::new();
    let mut root = Tree::default();
    let mut folders = 0;
    let mut content = 0_u64;
    for (whole, entry) in tree.iter() {
        let Some(path) = whole.strip_prefix("rootfs/") else { continue };
        wrong.extend(check_entry(path, entry));
        if !is_name(path) {
            wrong.push(Wrong::Name(shown(path)));
            continue;
        }
        if let Kind::File(blob, _) = &entry.kind {
            content = content.saturating_add(blob.len());
        }
        folders += add_folders(&mut root, path, &mut wrong);
        root.insert(path, entry.clone());
        if folders > FOLDERS_LIMIT || content > CONTENT_LIMIT || wrong.len() >= PROBLEMS_LIMIT {
            break;
        }
    }
    wrong.truncate(PROBLEMS_LIMIT);
    if folders > FOLDERS_LIMIT {
        wrong.push(Wrong::TooLarge("10000 folders without an entry of their own"));
    }
    if content > CONTENT_LIMIT {
        wrong.push(Wrong::TooLarge("4 GiB"));
    }
    if wrong.is_empty() { Ok(root) } else { Err(wrong) }
}

fn is_name(path: &str) -> bool {
    let mut parts = 0;
    let good = path.split('/').inspect(|_| parts += 1).all(|part| part.len() <= PART_LIMIT);
    good && parts <= DEPTH_LIMIT
}

/// Adds the folders above a path that are not listed, and says how many.
fn add_folders(root: &mut Tree, path: &str, wrong: &mut Vec<Wrong>) -> usize {
    let mut added = 0;
    for (at, _) in path.match_indices('/') {
        let folder = &path[..at];
        match root.get(folder).map(|entry| &entry.kind) {
            Some(Kind::Folder) => {}
            Some(_) => wrong.push(Wrong::NoFolder(shown(folder))),
            None => {
                root.insert(folder, new_folder());
                added += 1;
            }
        }
    }
    added
}

/// A folder as every other.
pub(super) fn new_folder() -> Entry {
    Entry { mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind: Kind::Folder }
}

fn check_entry(path: &str, entry: &Entry) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let is_folder = matches!(entry.kind, Kind::Folder);
    let is_link = matches!(entry.kind, Kind::Symlink(_));
    if !is_folder && !ALLOWED.iter().any(|allowed| path.starts_with(allowed)) {
        wrong.push(Wrong::Place(shown(path)));
    }
    // A folder in which each may only remove his own is as safe as `/tmp`.
    if !is_link && entry.mode & 0o1002 == 0o002 {
        wrong.push(Wrong::Writable(shown(path)));
    }
    match &entry.kind {
        Kind::Other(what) => {
            wrong.push(Wrong::Special { path: shown(path), what: (*what).to_owned() });
        }
        Kind::Symlink(target) if !stays_inside(path, target) => {
            wrong.push(Wrong::Escape { path: shown(path), target: shown(target) });
        }
        Kind::Folder | Kind::File(..) | Kind::Symlink(_) => {}
    }
    wrong
}

/// Whether a link leads to a place in the root. An absolute one does.
fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.len() > TARGET_LIMIT || target.contains('\0') {
        return false;
    }
    let mut depth = if target.starts_with('/') { 0 } else { path.matches('/').count() };
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        depth = match (part, depth) {
            ("..", 0) => return false,
            ("..", _) => depth - 1,
            _ => depth + 1,
        };
    }
    true
}

/// Programs by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Programs {
    /// How many are for the target.
    pub(super) own: usize,
    /// How many are for the other architecture.
    pub(super) foreign: usize,
    /// The first of those.
    pub(super) first: String,
}

/// Counts ELF files by their processor. Firmware is passed over: it runs elsewhere. So are files
/// for processors that Talos does not run on, such as programs for the kernel's own machine (BPF).
///
/// # Errors
///
/// Where a file cannot be read.
pub(super) fn programs(root: &Tree, wanted: Arch) -> Result<Programs, Wrong> {
    let mut programs = Programs::default();
    for (path, entry) in root.iter().filter(|(path, _)| !path.starts_with("usr/lib/firmware/")) {
        let Kind::File(blob, _) = &entry.kind else { continue };
        let unreadable =
            |error: std::io::Error| Wrong::Unreadable { path: shown(path), why: error.to_string() };
        match machine(blob).map_err(unreadable)? {
            Some(arch) if arch == wanted => programs.own += 1,
            Some(_) => {
                programs.foreign += 1;
                if programs.foreign == 1 {
                    programs.first = shown(path);
                }
            }
            None => {}
        }
    }
    Ok(programs)
}

/// ELF specification, "ELF Header": the magic number, the byte order, and `e_machine` at 18.
fn machine(blob: &Blob) -> std::io::Result<Option<Arch>> {
    const LITTLE: u8 = 1;
    let mut head = [0; 20];
    if blob.len() < head.len() as u64 {
        return Ok(None);
    }
    blob.read_exact_at(&mut head, 0)?;
    if !head.starts_with(b"\x7fELF") || head[5] != LITTLE {
        return Ok(None);
    }
    // `EM_386`, `EM_X86_64`; `EM_ARM`, `EM_AARCH64`.
    Ok(match u16::from_le_bytes([head[18], head[19]]) {
        3 | 62 => Some(Arch::Amd64),
        40 | 183 => Some(Arch::Arm64),
        _ => None,
    })
}
