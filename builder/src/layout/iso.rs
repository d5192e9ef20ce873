//! An ISO that boots as CD and as USB stick, by UEFI and, where wanted, by BIOS.
//!
//! In: a node's payload, and GRUB's pieces for BIOS. Out: the whole image.
//!
//! Source: Talos `pkg/imager/iso/uefi.go`, `hybrid.go`, `iso.go#Label`, `grub.cfg`.
//!
//! Not here: the formats of ISO 9660, FAT, MBR and GPT.

use std::ops::Range;

use uuid::{Uuid, uuid};

use crate::asset::grub::Grub;
use crate::blob::Blob;
use crate::format::fat::{self, Label, Laid, Volume};
use crate::format::gpt::{self, Partition, PartitionName, Span, Table};
use crate::format::grub::{self, Entry};
use crate::format::iso9660::{self, BiosBoot, Boot, Content, File, Image, Placed, VolumeId};
use crate::format::mbr;
use crate::layout::disk::EFI_SYSTEM;
use crate::layout::esp::Memo;
use crate::layout::{FAT_SERIAL, LayoutError, Parts, esp, guid, volume};
use crate::payload::uki::Reset;
use crate::plan::Loader;
use crate::units::{Lba, SectorSize};

/// UEFI Specification's "basic data partition", as xorriso types an ISO's own partition.
const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
/// Attributes of such a partition: bit 0, "required", and bit 60, read-only.
const READ_ONLY: u64 = 1 << 60 | 1;
/// The most seconds that GRUB's menu waits, as in Talos' ISOs.
const GRUB_TIMEOUT: u32 = 3;

/// Lays out the ISO, with a boot image for BIOS where there is a GRUB.
///
/// # Errors
///
/// Where something does not fit its format.
pub fn lay_out(parts: &Parts<'_>, loader: &Loader, memo: &mut Memo) -> Result<Blob, LayoutError> {
    let esp = esp(parts, loader, memo)?;
    let mut files = shown(parts, loader, &esp);
    if let Some(grub) = parts.grub {
        files.extend(bios_files(parts, loader.timeout.min(GRUB_TIMEOUT)));
        let module = |(path, blob): &(String, Blob)| File {
            path: path.clone(),
            content: Content::Own(blob.clone()),
        };
        files.extend(grub.modules.iter().map(module));
    }
    let tag = format!("Talos-{}", parts.plan.talos);
    let config = parts.payload.volume.as_ref();
    files.extend(config.map(volume::iso_files).unwrap_or_default());
    let image = Image {
        volume_id: match config {
            Some(config) => VolumeId::new(config.label).expect("Talos' names are short"),
            None => volume_id(&tag),
        },
        volume_set_id: tag,
        epoch: parts.plan.epoch.into(),
        files,
        boot: Some(Boot { esp: esp.blob, bios: parts.grub.map(bios_boot) }),
    };
    let placed = iso9660::place(&image)?;
    let (system_area, backup) = match parts.grub {
        Some(grub) => hybrid_tables(&placed, grub)?,
        None => (plain_table(&placed), Vec::new()),
    };
    Ok(placed.emit(&image, &system_area, &backup))
}

/// The EFI partition, as small as its files and the limits of FAT32 allow.
fn esp(parts: &Parts<'_>, loader: &Loader, memo: &mut Memo) -> Result<Laid, LayoutError> {
    let files = esp::files(esp::Kind::Iso, parts, loader);
    let volume = Volume {
        len: memo.least_len(SectorSize::B512, &files)?,
        sector: SectorSize::B512,
        label: Label::new("EFI").expect("the label is short and in capitals"),
        serial: FAT_SERIAL,
        epoch: parts.plan.epoch.into(),
        hidden_sectors: 0,
        files,
    };
    Ok(memo.write(volume)?)
}

/// The EFI partition's files once more in the ISO's own tree, so that a person may copy them to a
/// stick. They take no room: the tree points into the partition.
fn shown(parts: &Parts<'_>, loader: &Loader, esp: &Laid) -> Vec<File> {
    let file = |file: fat::File| {
        let content = Content::InEsp { offset: esp.files[&file.path], len: file.content.len() };
        File { path: file.path, content }
    };
    esp::files(esp::Kind::Iso, parts, loader).into_iter().map(file).collect()
}

/// What GRUB starts: kernel, initramfs, and the config's segment behind it.
fn bios_files(parts: &Parts<'_>, timeout: u32) -> Vec<File> {
    let own = |path: &str, blob: Blob| File { path: path.into(), content: Content::Own(blob) };
    let mut files = vec![
        own("boot/vmlinuz", parts.assets.kernel.clone()),
        own("boot/initramfs.xz", parts.assets.initramfs.blob.clone()),
    ];
    let mut initrds = vec!["/boot/initramfs.xz"];
    if let Some(segment) = &parts.payload.segment {
        files.push(own("boot/config.cpio", segment.clone()));
        initrds.push("/boot/config.cpio");
    }
    let cmdline = &parts.plan.cmdline;
    let entry =
        |title, cmdline| Entry { title, kernel: "/boot/vmlinuz", cmdline, initrds: &initrds };
    let (usual, reset) = (cmdline.to_string(), cmdline.with(Reset::Disk.argument()));
    let menu = [entry("Talos ISO", &usual), entry("Reset Talos installation", &reset)];
    let menu = grub::iso_cfg(timeout, &menu);
    files.push(own("boot/grub/grub.cfg", Blob::from_bytes("grub.cfg", menu.into_bytes())));
    files
}

/// The tag in capitals, with `_` for `-` and `.`: Talos looks for its image cache on volumes whose
/// name starts with `TALOS_` (`iso.go#VolumeID`).
fn volume_id(tag: &str) -> VolumeId {
    let letter = |c: char| match c.to_ascii_uppercase() {
        '-' | '.' => Some('_'),
        c if c.is_ascii_alphanumeric() || c == '_' => Some(c),
        _ => None,
    };
    let id: String = tag.chars().filter_map(letter).take(32).collect();
    VolumeId::new(&id).expect("at most 32 letters, digits and `_`")
}

fn bios_boot(grub: &Grub) -> BiosBoot {
    BiosBoot { image: grub.image.clone(), path: "boot/grub/i386-pc/eltorito.img".to_owned() }
}

/// A boot record without code: the ISO's own partition, then the EFI partition.
fn plain_table(placed: &Placed) -> Vec<u8> {
    let esp = placed.esp.start.sector()..placed.esp.end.sector();
    let own = iso9660::SECOND_VOLUME.sector()..esp.start;
    let entry = |kind, sectors| mbr::Entry { kind, sectors };
    mbr::table(&[], &[entry(mbr::LINUX, own), entry(mbr::EFI_SYSTEM, esp)]).to_vec()
}

/// GRUB's code and a GUID partition table: the bytes for the image's start and for its end.
fn hybrid_tables(placed: &Placed, grub: &Grub) -> Result<(Vec<u8>, Vec<u8>), LayoutError> {
    let eltorito = placed.eltorito.expect("an image for BIOS has its boot image placed");
    let boot_code = grub::hybrid_code(&grub.boot_code, eltorito.sector());
    let esp = placed.esp.start.sector()..placed.esp.end.sector();
    let own = iso9660::SECOND_VOLUME.sector()..esp.start;
    let partition = |kind, name: &str, attributes, sectors: Range<u32>| Partition {
        kind,
        guid: guid::of_label(&format!("talforge ISO {name}")),
        name: PartitionName::new(name).expect("the name is short"),
        attributes,
        span: Span { start: Lba(sectors.start.into()), end: Lba(sectors.end.into()) },
    };
    let table = Table {
        disk: guid::of_label("talforge ISO"),
        sector: SectorSize::B512,
        len: placed.len_bytes(),
        entries: gpt::ENTRIES,
        partitions: vec![
            partition(BASIC_DATA, "ISO9660", READ_ONLY, own),
            partition(EFI_SYSTEM, "EFI", 0, esp),
        ],
        boot_code: boot_code.ok_or(LayoutError::BootCode)?.to_vec(),
    };
    let written = gpt::write(&table)?;
    Ok((written.primary, written.backup))
}
