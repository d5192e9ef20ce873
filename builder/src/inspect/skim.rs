//! Talos' base in an initrd, known by its outside.
//!
//! In: a compressed segment. Out: its end and the names in it, if it is Talos' base; it is not
//! decoded beyond the first name.
//!
//! The base is one zstd frame of some tens of MiB, an archive sorted by name of `init` and
//! `rootfs.sqsh`. Whatever Talos' imager adds (`extensions.yaml`, `0.sqsh`) comes in segments of its
//! own, and would stand before `init` in a sorted archive. A smaller frame, or one that starts with
//! another name, is not taken for the base.
//!
//! Source: Talos `Dockerfile` (targets `initramfs-archive-*`), `pkg/imager/extensions/rebuild.go`;
//! RFC 8878, 3.1.1 (zstd frames and blocks).
//!
//! Not here: everything else in an initrd (`initrd`).

use super::cpio::{self, Entry, Facts, Item};
use super::damage::Damage;
use super::unpack::{Packing, Unpacker};
use crate::blob::Blob;
use crate::units::MIB;

/// A shorter frame is quickly decoded.
const LEAST: u64 = 4 * MIB;
/// The most blocks of a frame that are walked: 4 GiB of contents.
const BLOCKS_LIMIT: usize = 1 << 15;
/// The bytes that the first names may unpack to.
const HEAD_LIMIT: u64 = MIB;

/// What is in the segment that starts at `at`, or nothing where it does not look like the base.
///
/// # Errors
///
/// [`Damage`] where its start cannot be decoded.
pub(super) fn base(initrd: &Blob, at: u64, packing: Packing) -> Result<Option<Facts>, Damage> {
    if packing != Packing::Zstd || initrd.len() - at < LEAST {
        return Ok(None);
    }
    let Some(packed_len) = frame_len(initrd, at).filter(|len| *len >= LEAST) else {
        return Ok(None);
    };
    let mut allowance = HEAD_LIMIT;
    let mut unpacker = Unpacker::new(initrd, at, packing, &mut allowance)?;
    let Some(mut items) = first_names(&mut unpacker)? else { return Ok(None) };
    let Some(Item::Entry(init, _)) = items.last() else { return Ok(None) };
    let root = Entry { name: "rootfs.sqsh".to_owned(), mode: 0o100_644, ..init.clone() };
    items.push(Item::Entry(root, [].into()));
    items.push(Item::Trailer);
    Ok(Some(Facts { items, packed_len, unpacked_len: 0 }))
}

/// The entries up to `init`, where it is the first file.
fn first_names(unpacker: &mut Unpacker<'_>) -> Result<Option<Vec<Item>>, Damage> {
    let (Some(mut entry), [body, len]) = cpio::packed_entry(unpacker)? else { return Ok(None) };
    let mut items = Vec::new();
    if matches!(&*entry.name, "." | "./") && len == 0 {
        items.push(Item::Entry(entry, [].into()));
        let Some(()) = unpacker.skip(body - unpacker.offset())? else { return Ok(None) };
        let (Some(next), _) = cpio::packed_entry(unpacker)? else { return Ok(None) };
        entry = next;
    }
    let is_file = entry.mode & 0o170_000 == 0o100_000 && entry.links == 1;
    if !is_file || !matches!(&*entry.name, "init" | "./init") {
        return Ok(None);
    }
    items.push(Item::Entry(entry, [].into()));
    Ok(Some(items))
}

/// The length of a frame, by the headers of its blocks; nothing where they are not as they must be.
fn frame_len(blob: &Blob, at: u64) -> Option<u64> {
    let mut head = [0; 5];
    blob.read_exact_at(&mut head, at).ok()?;
    let descriptor = head[4];
    if descriptor & 0x08 != 0 {
        return None;
    }
    let is_single = descriptor & 0x20 != 0;
    let window = u64::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = [u64::from(is_single), 2, 4, 8][usize::from(descriptor >> 6)];
    let checksum = if descriptor & 0x04 != 0 { 4 } else { 0 };
    let mut next = at + head.len() as u64 + window + dictionary + content;
    for _ in 0..BLOCKS_LIMIT {
        let mut header = [0; 3];
        blob.read_exact_at(&mut header, next).ok()?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let size = match header >> 1 & 3 {
            0 | 2 => u64::from(header >> 3),
            1 => 1,
            _ => return None,
        };
        next += 3 + size;
        if header & 1 != 0 {
            let end = next + checksum;
            return (end <= blob.len()).then_some(end - at);
        }
    }
    None
}
