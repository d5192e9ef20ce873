//! Config volumes: where Talos' platform code looks for a machine config by a volume's name.
//!
//! In: an ISO, or a disk's partitions. Out: the volumes that Talos would take, with their config.
//!
//! Talos looks for a file system on a whole device first, and an ISO is one: of partitions on it
//! nothing is known then. On disks it takes a volume by its file system's name or its partition's,
//! whichever is asked for, and the first in the order of partitions.
//!
//! Source: Talos `internal/app/machined/pkg/runtime/v1alpha1/platform/metal/metal.go`,
//! `platform/nocloud/{metadata,nocloud}.go`, `platform/internal/blockutils/blockutils.go`;
//! siderolabs/go-blockdevice `blkid/internal/chain/chain.go`.
//!
//! Not here: volumes on file systems other than FAT and ISO 9660.

use std::fmt;
use std::sync::Arc;

use super::damage::Damage;
use super::fat::Fat;
use super::field;
use super::iso::{self, Iso};
use super::partitions::{Partition, Scheme, Table};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::units::MIB;

/// The longest machine config that is read.
const CONFIG_LIMIT: u64 = 16 * MIB;

/// Which code of Talos looks for a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeker {
    /// That of the platform metal, where `talos.config=metal-iso` asks it to.
    Metal,
    /// That of the platform nocloud.
    Nocloud,
}

impl Seeker {
    /// Who looks for a config volume in a boot with this command line, if anyone does.
    pub fn of_line(cmdline: &str) -> Option<Self> {
        let first = |key: &str| {
            let value =
                |word: &'_ str| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
            cmdline.split_whitespace().find_map(value)
        };
        match first("talos.platform")?.as_str() {
            "metal" if first("talos.config")? == "metal-iso" => Some(Self::Metal),
            "nocloud" => Some(Self::Nocloud),
            _ => None,
        }
    }

    fn of_label(label: &str) -> Option<Self> {
        match label {
            "metal-iso" => Some(Self::Metal),
            "cidata" | "CIDATA" => Some(Self::Nocloud),
            _ => None,
        }
    }

    const fn config(self) -> &'static str {
        match self {
            Self::Metal => "config.yaml",
            Self::Nocloud => "user-data",
        }
    }
}

/// A volume that Talos would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The name by which it is found, in its case.
    pub label: String,
    /// Who looks for it.
    pub seeker: Seeker,
    /// The partition's number; nothing where it is the whole medium.
    pub partition: Option<u32>,
    /// The names of the files in its root.
    pub files: Vec<String>,
    /// The machine config on it.
    pub config: Option<Given>,
}

/// A machine config on a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// Its bytes. They are secret, and `Debug` does not show them.
    pub bytes: Arc<[u8]>,
    /// Their digest.
    pub digest: Digest,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = format_args!("{} bytes", self.bytes.len());
        f.debug_struct("Given").field("bytes", &bytes).field("digest", &self.digest).finish()
    }
}

/// A root folder's files by name; one on FAT is found in any case, as Linux does.
enum Root<'a> {
    Fat(&'a Fat),
    Iso(&'a Iso),
}

impl Root<'_> {
    fn names(&self) -> Result<Vec<String>, Damage> {
        Ok(match self {
            Self::Fat(fat) => {
                fat.list(None)?.into_iter().filter(|f| !f.is_dir()).map(|f| f.name).collect()
            }
            Self::Iso(iso) => {
                let files = iso.list(iso.root())?.into_iter();
                files.filter(|f| !f.is_dir).map(|f| f.name).collect()
            }
        })
    }

    fn content(&self, name: &str) -> Result<Option<Blob>, Damage> {
        Ok(match self {
            Self::Fat(fat) => match fat.find(name)?.filter(|f| !f.is_dir()) {
                Some(file) => Some(fat.content(&file)?),
                None => None,
            },
            Self::Iso(iso) => iso.find(name)?.filter(|f| !f.is_dir).map(|file| iso.content(&file)),
        })
    }
}

/// The volume that an ISO is, if its name is one that Talos looks for.
///
/// # Errors
///
/// [`Damage`] where the config cannot be read.
pub(super) fn of_iso(iso: &Iso) -> Result<Option<Volume>, Damage> {
    Seeker::of_label(&iso.volume_id)
        .map(|seeker| read(&iso.volume_id, seeker, None, &Root::Iso(iso)))
        .transpose()
}

/// The volumes among a disk's partitions, in their order, and notes. Talos reads no partition table
/// but GPT.
///
/// # Errors
///
/// [`Damage`] where a config cannot be read.
pub(super) fn of_disk(disk: &Blob, table: &Table) -> Result<(Vec<Volume>, Vec<String>), Damage> {
    let (mut volumes, mut notes) = (Vec::new(), Vec::new());
    if matches!(table.scheme, Scheme::Mbr) {
        return Ok((volumes, notes));
    }
    for partition in &table.partitions {
        let found = of_partition(&disk.slice(partition.range.clone()), partition);
        match found.map_err(|e| e.within(format!("partition {}", partition.number)))? {
            Some(volume) => volumes.push(volume),
            None if Seeker::of_label(&partition.name).is_some() => notes.push(format!(
                "partition {} is named `{}` and holds no volume that is read here",
                partition.number, partition.name
            )),
            None => {}
        }
    }
    Ok((volumes, notes))
}

fn of_partition(content: &Blob, partition: &Partition) -> Result<Option<Volume>, Damage> {
    let by = |own: &str| {
        let named = Seeker::of_label(&partition.name).map(|s| (partition.name.clone(), s));
        Seeker::of_label(own).map(|s| (own.to_owned(), s)).or(named)
    };
    if let Ok(fat) = Fat::read(content) {
        let Some((label, seeker)) = by(&fat.label()?.unwrap_or_default()) else { return Ok(None) };
        return read(&label, seeker, Some(partition.number), &Root::Fat(&fat)).map(Some);
    }
    if iso::is_iso(content)
        && let Ok(iso) = Iso::read(content)
    {
        let Some((label, seeker)) = by(&iso.volume_id) else { return Ok(None) };
        return read(&label, seeker, Some(partition.number), &Root::Iso(&iso)).map(Some);
    }
    Ok(None)
}

fn read(
    label: &str,
    seeker: Seeker,
    partition: Option<u32>,
    root: &Root<'_>,
) -> Result<Volume, Damage> {
    let name = seeker.config();
    let config = match root.content(name)? {
        Some(blob) => {
            let bytes = field::bytes(&blob, "config volume", 0..blob.len(), CONFIG_LIMIT);
            let bytes = bytes.map_err(|e| e.within(format!("`{name}`")))?;
            let digest = Digest::of(&bytes);
            Some(Given { bytes: bytes.into(), digest })
        }
        None => None,
    };
    let config = config.filter(|given| seeker == Seeker::Metal || is_config(&given.bytes));
    Ok(Volume { label: label.to_owned(), seeker, partition, files: root.names()?, config })
}

/// On nocloud the first line may say that the rest is something else.
fn is_config(bytes: &[u8]) -> bool {
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    !matches!(first, b"#cloud-config" | b"#include")
}

impl Volume {
    /// Where it lies, for a person.
    pub fn place(&self) -> String {
        match self.partition {
            Some(number) => format!("partition {number}"),
            None => "the whole medium".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
