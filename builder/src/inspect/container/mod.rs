//! What a medium is wrapped in: formats of virtual machines' disks, archives, compressed files.
//!
//! In: a file. Out: the disk (or the next wrapping) in it, as ranges of the file where they lie there
//! in plain, else as what must be unpacked first.
//!
//! Wrappings nest: an OVA holds a VMDK, `disk.qcow2.zst` a qcow2. [`open`] takes off one, and the
//! caller opens again what it got.
//!
//! Source: the head of each file names its own.
//!
//! Not here: the disk itself (`media`); where a backing file is looked for, and where the unpacked
//! bytes go (`verb::open`).

use crate::blob::Blob;
use crate::inspect::damage::Damage;

mod map;
mod uses;
mod qcow2;
mod vhd;
mod vhdx;
mod vmdk;
mod tar;
mod stream;
pub mod packed;

use map::Map;
use packed::Packed;

/// How many wrappings may lie in one another.
pub const DEPTH: usize = 4;

/// The longest medium that is unpacked: 1 TiB.
pub const LIMIT: u64 = 1 << 40;

/// One wrapping, and what is in it.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name, as profiles have it: `qcow2-zlib`, `vhd`, `zst`; or `tar`.
    pub format: &'static str,
    /// The length of what is in it, in bytes. Nothing where only unpacking tells.
    pub disk_len: Option<u64>,
    /// What is in it.
    pub content: Content,
}

/// What is in a wrapping.
#[derive(Clone, Debug)]
pub enum Content {
    /// Ranges of the file, and holes as zeros. Of the contents nothing was read.
    Mapped(Blob),
    /// Bytes that must be decoded.
    Packed(Packed),
}

/// Opens the outermost wrapping of `file`, or gives nothing where there is none: a raw disk, an ISO,
/// an initramfs.
///
/// `backing` gives the file on which an overlay rests, by the name that the overlay has for it: a
/// path beside the overlay, or anything that a hostile file says.
///
/// # Errors
///
/// [`Damage`] where the file says that it is a container, and does not read as one; also where it
/// cannot be read without being changed or without a key.
pub fn open(
    file: &Blob,
    backing: &dyn Fn(&str) -> Option<Blob>,
) -> Result<Option<Container>, Damage> {
    let mapped = match disk(file, backing)? {
        Some(disk) => Some(disk),
        None => tar::open(file)?,
    };
    if let Some((format, map)) = mapped {
        return Ok(Some(Container { format, disk_len: Some(map.len()), content: map.content() }));
    }
    let Some(coding) = stream::Coding::detect(file)? else { return Ok(None) };
    let content = Content::Packed(Packed::stream(file, coding));
    Ok(Some(Container { format: coding.name(), disk_len: None, content }))
}

/// The map of a disk in a virtual machine's format, or nothing where the file is in none.
fn disk(
    file: &Blob,
    backing: &dyn Fn(&str) -> Option<Blob>,
) -> Result<Option<(&'static str, Map)>, Damage> {
    let mut head = [0; 24];
    let len = usize::try_from(file.len()).map_or(head.len(), |len| len.min(head.len()));
    file.read_exact_at(&mut head[..len], 0).map_err(|e| Damage::read("file", 0, e))?;
    match &head {
        [b'Q', b'F', b'I', 0xfb, ..] => qcow2::open(file, backing).map(Some),
        [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => vhdx::open(file).map(Some),
        [b'K', b'D', b'M', b'V', ..] => vmdk::open(file).map(Some),
        [b'C', b'O', b'W', b'D', ..] => {
            Err(Damage::new("vmdk header", 0, "it is a sparse extent of an ESX host")
                .should("a VMDK in one file"))
        }
        head if head.starts_with(b"# Disk DescriptorFile") => {
            Err(Damage::new("vmdk descriptor", 0, "its disk lies in other files")
                .should("a VMDK in one file"))
        }
        _ => vhd::open(file),
    }
}

#[cfg(test)]
mod tests;
