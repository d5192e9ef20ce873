//! A raw disk that boots by UEFI: an EFI partition, META, and one for the config where it lies on a
//! volume; and what a board needs before them.
//!
//! In: a node's payload, the disk's sizes, perhaps a board. Out: the whole disk.
//!
//! Source: Talos `bootloader/sdboot/sdboot.go#GenerateAssets`,
//! `internal/pkg/partition/partition.go#NewPartitionOptions`; a running Talos adds its own
//! partitions behind these.
//!
//! Not here: the partition table's format.

use uuid::{Uuid, uuid};

use crate::blob::Blob;
use crate::catalog::{FRONT, META_BYTES, config_volume_bytes};
use crate::format::fat::{Label, Volume};
use crate::format::gpt::{self, Partition, PartitionName, Table};
use crate::layout::esp::Memo;
use crate::layout::{FAT_SERIAL, LayoutError, Parts, esp, guid, volume};
use crate::plan::Loader;
use crate::units::SectorSize;

/// UEFI Specification, "Defined GPT Partition Entry - Partition Type GUIDs".
pub(crate) const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// The Discoverable Partitions Specification, "Generic Linux Data Partition".
const LINUX_DATA: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// A disk's sizes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Its logical sectors.
    pub sector: SectorSize,
    /// The length of the EFI partition in bytes, whole MiB.
    pub esp_bytes: u64,
    /// The length of the disk in bytes, whole MiB; at least that of the partitions, of what lies
    /// before them and 1 MiB.
    pub disk_bytes: u64,
}

/// Lays out the disk.
///
/// # Errors
///
/// Where the payload does not fit the EFI partition.
pub fn lay_out(
    parts: &Parts<'_>,
    space: Space,
    loader: &Loader,
    memo: &mut Memo,
) -> Result<Blob, LayoutError> {
    let front = parts.board.map_or(FRONT, |board| board.first_partition).bytes();
    let mut lens = vec![space.esp_bytes, META_BYTES];
    lens.extend(parts.payload.volume.as_ref().map(|_| config_volume_bytes(space.sector)));
    let spans = gpt::place(space.sector, front, &lens);
    let esp_start = spans[0].start.0;
    let volume = Volume {
        len: space.esp_bytes,
        sector: space.sector,
        label: Label::new("EFI").expect("the label is short and in capitals"),
        serial: FAT_SERIAL,
        epoch: parts.plan.epoch.into(),
        hidden_sectors: u32::try_from(esp_start).expect("1 GiB has few sectors"),
        files: esp::files(esp::Kind::Disk, parts, loader),
    };
    let esp = memo.write(volume)?.blob;
    let partition = |kind, label: &str, span| Partition {
        kind,
        guid: guid::of_label(label),
        name: PartitionName::new(label).expect("the label is short"),
        attributes: 0,
        span,
    };
    let mut partitions =
        vec![partition(EFI_SYSTEM, "EFI", spans[0]), partition(LINUX_DATA, "META", spans[1])];
    let mut contents = vec![(0, esp), (1, parts.payload.meta.clone())];
    if let Some(config) = &parts.payload.volume {
        let blob = volume::fat(parts.plan, config, space.sector, spans[2]);
        contents.push((2, blob.map_err(LayoutError::ConfigVolume)?));
        partitions.push(partition(LINUX_DATA, config.label, spans[2]));
    }
    let table = Table {
        disk: guid::of_label(guid::DISK),
        sector: space.sector,
        len: space.disk_bytes,
        entries: gpt::entries_before(space.sector, front),
        partitions,
        boot_code: Vec::new(),
    };
    let raw = parts.board.map_or(&[][..], |board| &board.raw);
    Ok(gpt::assemble(&table, &contents, raw)?)
}
