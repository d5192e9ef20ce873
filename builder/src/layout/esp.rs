//! The EFI system partition: what firmware and systemd-boot look for, and under which names.
//!
//! In: a node's payload, a board's files. Out: the files of a FAT volume.
//!
//! Source: Talos `pkg/imager/iso/uefi.go#CreateUEFI`, `bootloader/sdboot/sdboot.go`; UEFI
//! Specification 2.10, "Removable Media Boot Behavior"; systemd-boot(7), systemd-stub(7).
//!
//! Not here: the volume's place on a medium.

use std::sync::Arc;

use crate::blob::Blob;
use crate::format::fat::{self, FatError, File, Laid, Place, Volume};
use crate::layout::Parts;
use crate::plan::Loader;
use crate::talos::Arch;
use crate::units::SectorSize;

/// How many volumes are remembered: one a kind of medium is enough.
const VOLUMES: usize = 8;

/// Volumes that were laid out before. Nodes of a site differ in their addon alone, and mostly not in
/// its length: all else of the volume is theirs, too. Its clones share what they know so far.
#[derive(Clone, Debug, Default)]
pub struct Memo(Vec<Arc<(Volume, Laid)>>);

impl Memo {
    /// Writes a volume, or takes an earlier one with another addon.
    ///
    /// # Errors
    ///
    /// As [`fat::write`].
    pub fn write(&mut self, volume: Volume) -> Result<Laid, FatError> {
        let known = |known: &Arc<(Volume, Laid)>| again(&known.0, &known.1, &volume);
        if let Some(laid) = self.0.iter().rev().find_map(known) {
            return Ok(laid);
        }
        let laid = fat::write(&volume)?;
        if self.0.len() == VOLUMES {
            self.0.remove(0);
        }
        self.0.push(Arc::new((volume, laid.clone())));
        Ok(laid)
    }

    /// The least length of a volume that holds `files`, which is known where such a one was written.
    ///
    /// # Errors
    ///
    /// As [`fat::least_len`].
    pub fn least_len(&self, sector: SectorSize, files: &[File]) -> Result<u64, FatError> {
        let is_such =
            |volume: &Volume| volume.sector == sector && same_places(&volume.files, files);
        match self.0.iter().rev().find(|known| is_such(&known.0)) {
            Some(known) => Ok(known.0.len),
            None => fat::least_len(sector, files),
        }
    }
}

fn again(old: &Volume, laid: &Laid, new: &Volume) -> Option<Laid> {
    let head = |v: &Volume| (v.len, v.sector, v.label, v.serial, v.epoch, v.hidden_sectors);
    if head(old) != head(new) || !same_places(&old.files, &new.files) {
        return None;
    }
    let changed =
        old.files.iter().zip(&new.files).filter(|(a, b)| !same_bytes(&a.content, &b.content));
    changed
        .map(|(_, file)| file)
        .try_fold(laid.clone(), |laid, file| laid.with(&file.path, &file.content))
}

/// Whether the files get the same names, attributes and places.
fn same_places(old: &[File], new: &[File]) -> bool {
    let same = |(a, b): (&File, &File)| {
        let key = |f: &File| (f.content.len(), f.read_only, f.place);
        a.path == b.path && key(a) == key(b)
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn same_bytes(a: &Blob, b: &Blob) -> bool {
    let (a, b) = (a.extents(), b.extents());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same_run(b))
}

/// The kind of medium that the partition lies on. Talos spells the boot loader's path in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk that boots for good: a running Talos looks for `EFI/boot/BOOT*.efi`, in this case.
    Disk,
    /// An ISO. It carries a random seed that cannot be written: systemd-boot 261 writes a missing
    /// one, which some firmware does not survive (<https://github.com/siderolabs/talos/issues/14029>).
    Iso,
}

/// The files, in the order in which they lie on the volume: those that a boot reads first come
/// first, and the node's own last.
pub fn files(kind: Kind, parts: &Parts<'_>, loader: &Loader) -> Vec<File> {
    let file =
        |path: String, content: Blob| File { path, content, read_only: false, place: Place::First };
    let plan = parts.plan;
    // A running Talos looks for `EFI/Linux/Talos-*.efi`, in this case.
    let uki = format!("EFI/Linux/Talos-{}.efi", plan.talos);
    let mut files = vec![
        file(loader_path(kind, plan.arch), parts.assets.sd_boot.clone()),
        file("loader/loader.conf".into(), loader_conf(loader)),
        file(uki.clone(), parts.payload.uki.clone()),
    ];
    if kind == Kind::Iso {
        let seed = file("loader/random-seed".into(), Blob::from_bytes("random seed", [0; 32]));
        files.push(File { read_only: true, ..seed });
    }
    files.extend(parts.board.iter().flat_map(|board| &board.esp).cloned());
    if let Some(addon) = &parts.payload.addon {
        let path = format!("{uki}.extra.d/talforge.addon.efi");
        files.push(File { place: Place::Last, ..file(path, addon.clone()) });
    }
    files
}

fn loader_path(kind: Kind, arch: Arch) -> String {
    let path = match (kind, arch) {
        (Kind::Disk, Arch::Amd64) => "EFI/boot/BOOTX64.efi",
        (Kind::Disk, Arch::Arm64) => "EFI/boot/BOOTAA64.efi",
        (Kind::Iso, Arch::Amd64) => "EFI/BOOT/BOOTX64.EFI",
        (Kind::Iso, Arch::Arm64) => "EFI/BOOT/BOOTAA64.EFI",
    };
    path.to_owned()
}

fn loader_conf(loader: &Loader) -> Blob {
    let mut text = format!("# systemd-boot configuration\n\ntimeout {}\n", loader.timeout);
    if let Some(enroll) = &loader.secure_boot_enroll {
        text += &format!("\nsecure-boot-enroll {enroll}\n");
    }
    Blob::from_bytes("loader.conf", text.into_bytes())
}
