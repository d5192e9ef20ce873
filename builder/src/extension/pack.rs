//! One extension as what the initramfs takes: a layer, and an archive of firmware.
//!
//! In: an extension's root without microcode. Out: a squashfs and a compressed cpio archive, kept in
//! the store, so that a second build does not compress them again.
//!
//! A layer has root's files alone, times of the plan, labels for SELinux and no other extended
//! attribute, as Talos' own layers. Files of one content are stored once.
//!
//! Source: Talos `internal/pkg/extensions/compress.go#Compress`: `mksquashfs -all-root -comp zstd
//! -xattrs-exclude .*`; `pkg/imager/extensions/rebuild.go`: `cpio -H newc | zstd`.
//!
//! Not here: which files are firmware (`firmware`).

use std::collections::BTreeMap;
use std::io;

use thiserror::Error;

use crate::blob::{Blob, Builder};
use crate::digest::{Digest, Hasher};
use crate::extension::firmware::{FOLDER, Item};
use crate::format::cpio::{self, CpioError};
use crate::format::squashfs::{self, Frame, SquashfsError};
use crate::store::{Incoming, Store, StoreError};
use crate::tree::{Entry, Kind, Tree};

/// Part of every record's key: another number for every change of what is made of the same files.
const RULES: &str = "extension 1";
/// The folder of records in the store.
const RECORDS: &str = "extension";
/// The level of compression of firmware, 1 to 22: 25 MB/s; level 18 saves another tenth at 1 MB/s.
const LEVEL: i32 = 9;
/// The multiple of bytes to which a compressed archive is filled up, so that any may follow.
const RECORD: u64 = 512;
/// The one extended attribute that layers have.
const LABEL: &str = "security.selinux";

/// Why an extension cannot be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The layer.
    #[error("its layer cannot be written")]
    Layer(#[from] SquashfsError),
    /// The archive of firmware.
    #[error("its firmware cannot be archived")]
    Archive(#[from] CpioError),
    /// The archive's compression.
    #[error("its firmware cannot be compressed")]
    Compress(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the initramfs takes of an extension.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// The layer.
    pub(super) layer: Blob,
    /// The segment with firmware, where there is any.
    pub(super) firmware: Option<Blob>,
}

/// Packs a root and firmware, or takes them from the store.
pub(super) fn pack(
    top: &Entry,
    root: &Tree,
    firmware: &[(String, Item)],
    epoch: u32,
    store: &Store,
) -> Result<Packed, PackError> {
    let key = key(top, root, firmware, epoch);
    if let Some(packed) = kept(key, store)? {
        return Ok(packed);
    }
    let (layer, data, frame) = write_layer(&nodes(top, root), epoch, store)?;
    let mut record = format!("{data} {frame}");
    let firmware = match firmware {
        [] => None,
        items => {
            let (digest, blob) = write_firmware(items, epoch, store)?;
            record += &format!(" {digest}");
            Some(blob)
        }
    };
    store.keep_record(RECORDS, key, record.as_bytes())?;
    Ok(Packed { layer, firmware })
}

/// What an earlier build made of the same files, if the store has all of it.
fn kept(key: Digest, store: &Store) -> Result<Option<Packed>, StoreError> {
    let Some(record) = store.record(RECORDS, key)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&record);
    let digests: Option<Vec<Digest>> = text.split(' ').map(|word| word.parse().ok()).collect();
    let Some([data, frame, firmware @ ..]) = digests.as_deref() else { return Ok(None) };
    let (Some(data), Some(frame)) = (store.get(*data)?, store.get(*frame)?) else {
        return Ok(None);
    };
    let unreadable = |error| StoreError::Io(RECORDS.into(), error);
    let Some(frame) = Frame::from_bytes(frame.to_vec().map_err(unreadable)?) else {
        return Ok(None);
    };
    let firmware = match firmware {
        [] => None,
        [digest, ..] => match store.get(*digest)? {
            Some(blob) => Some(pad(&blob)),
            None => return Ok(None),
        },
    };
    Ok(Some(Packed { layer: frame.around(&data), firmware }))
}

/// A digest of all that the bytes depend on.
fn key(top: &Entry, root: &Tree, firmware: &[(String, Item)], epoch: u32) -> Digest {
    let mut hasher = Hasher::default();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(RULES.as_bytes());
    add(&epoch.to_le_bytes());
    for (path, entry) in [("", top)].into_iter().chain(root.iter()) {
        add(path.as_bytes());
        add(&entry.mode.to_le_bytes());
        add(entry.xattrs.get(LABEL).map_or(&[], Vec::as_slice));
        match &entry.kind {
            Kind::Folder => add(b"folder"),
            Kind::File(_, digest) => add(&digest.0),
            Kind::Symlink(target) => add(format!("to {target}").as_bytes()),
            Kind::Other(what) => add(format!("is {what}").as_bytes()),
        }
    }
    add(b"firmware");
    for (path, item) in firmware {
        add(path.as_bytes());
        match item {
            Item::Folder => add(b"folder"),
            Item::File(mode, _, digest) => {
                add(&mode.to_le_bytes());
                add(&digest.0);
            }
        }
    }
    hasher.finish()
}

/// The layer's nodes. Of files of one content all but the first are copies.
///
/// The topmost layer's root is that of the machine: it is open to all, whatever the image says.
pub(super) fn nodes(top: &Entry, root: &Tree) -> Vec<squashfs::Node> {
    let mut nodes = vec![squashfs::Node {
        path: String::new(),
        permissions: 0o755,
        kind: squashfs::Kind::Dir,
        xattrs: labels(top),
    }];
    let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
    for (path, entry) in root.iter() {
        let kind = match &entry.kind {
            Kind::Folder => squashfs::Kind::Dir,
            Kind::Symlink(target) => squashfs::Kind::Symlink(target.clone()),
            Kind::File(blob, digest) => match known.get(digest) {
                Some(&index) => squashfs::Kind::Copy(index),
                None => {
                    known.insert(*digest, nodes.len());
                    squashfs::Kind::File(blob.clone())
                }
            },
            // Refused before (`content`).
            Kind::Other(_) => continue,
        };
        nodes.push(squashfs::Node {
            path: path.to_owned(),
            permissions: permissions(entry),
            kind,
            xattrs: labels(entry),
        });
    }
    nodes
}

/// Folders keep nine bits and are open to their owner, as Talos unpacks them.
fn permissions(entry: &Entry) -> u16 {
    let mode = match entry.kind {
        Kind::Folder => entry.mode & 0o777 | 0o700,
        _ => entry.mode & 0o7777,
    };
    u16::try_from(mode).expect("twelve bits fit")
}

fn labels(entry: &Entry) -> Vec<squashfs::Xattr> {
    let label = entry.xattrs.get(LABEL).filter(|value| !value.is_empty());
    let label = label.map(|value| squashfs::Xattr { name: LABEL.to_owned(), value: value.clone() });
    label.into_iter().collect()
}

fn write_layer(
    nodes: &[squashfs::Node],
    epoch: u32,
    store: &Store,
) -> Result<(Blob, Digest, Digest), PackError> {
    let mut incoming = store.incoming()?;
    let frame = squashfs::write_apart(nodes, epoch, &mut incoming)?;
    let (data_digest, data) = incoming.finish(None)?;
    let mut incoming = store.incoming()?;
    write_all(&mut incoming, frame.bytes())?;
    let (frame_digest, _) = incoming.finish(None)?;
    Ok((frame.around(&data), data_digest, frame_digest))
}

fn write_all(incoming: &mut Incoming, bytes: &[u8]) -> Result<(), PackError> {
    let written = io::Write::write_all(incoming, bytes);
    Ok(written.map_err(|error| StoreError::Io("incoming".into(), error))?)
}

/// A whole archive in one zstd frame: Linux unpacks frames one by one, each to its end.
fn write_firmware(
    items: &[(String, Item)],
    epoch: u32,
    store: &Store,
) -> Result<(Digest, Blob), PackError> {
    let mut entries: Vec<cpio::Entry> =
        FOLDER.match_indices('/').map(|(at, _)| folder(&FOLDER[..at])).collect();
    for (path, item) in items {
        entries.push(match item {
            Item::Folder => folder(path),
            Item::File(mode, blob, _) => cpio::Entry {
                path: path.clone(),
                permissions: u16::try_from(mode & 0o777).expect("nine bits fit"),
                kind: cpio::Kind::File(blob.clone()),
            },
        });
    }
    let archive = cpio::write(&entries, epoch)?;
    let mut encoder = zstd::Encoder::new(store.incoming()?, LEVEL).map_err(PackError::Compress)?;
    encoder.include_checksum(true).map_err(PackError::Compress)?;
    io::copy(&mut archive.reader(), &mut encoder).map_err(PackError::Compress)?;
    let incoming = encoder.finish().map_err(PackError::Compress)?;
    let (digest, blob) = incoming.finish(None)?;
    Ok((digest, pad(&blob)))
}

fn folder(path: &str) -> cpio::Entry {
    cpio::Entry { path: path.to_owned(), permissions: 0o755, kind: cpio::Kind::Dir }
}

fn pad(blob: &Blob) -> Blob {
    Builder::default().blob(&blob.labelled("firmware segment")).align(RECORD).finish()
}
