//! Disks and ISOs in the format and compression that is wanted.
//!
//! In: a disk, its format, its compression. Out: the file, as a blob.
//!
//! What nodes have in common is compressed and hashed for the first of them.
//!
//! Source: none.
//!
//! Not here: the formats themselves, and how files are written (`sink`).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::Blob;
use crate::catalog::value::{Compression, Format};
use crate::digest::Digest;
use crate::report::Diagnostic;
use crate::sink::digests::Digests;
use crate::sink::qcow2::{self, Backing, BackingFormat, Pack};
use crate::sink::vhd::{self, VhdError};
use crate::sink::vhdx::{self, VhdxError};
use crate::sink::vmdk::{self, VmdkError};
use crate::sink::{Tell, bmap, gz, ova, xz, zst};
use crate::units::SectorSize;
use crate::verb::{Cause, Failure, chain};

/// What brings media into formats: one for a whole build, so that it knows what it has done.
#[derive(Debug)]
pub(super) struct Formats {
    zlib: qcow2::Packer,
    zstd: qcow2::Packer,
    stream: vmdk::Packer,
    zst: zst::Packer,
    xz: xz::Packer,
    gz: gz::Packer,
    maps: bmap::Mapper,
    digests: Arc<Digests>,
    /// What overlays lie over: the disk, and its file with its name.
    bases: Mutex<Vec<(Blob, (String, Blob))>>,
}

/// A disk to be brought into a format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk<'a> {
    /// Its bytes.
    pub(super) blob: &'a Blob,
    /// Its logical sectors, where the format tells of them.
    pub(super) sector: SectorSize,
    /// The name of its file, where the format tells of it.
    pub(super) name: &'a str,
    /// The time that the format tells of, in seconds since 1970.
    pub(super) epoch: u32,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// The format has no room for the disk.
    #[error(transparent)]
    Vhd(#[from] VhdError),
    /// The format has no room for the disk.
    #[error(transparent)]
    Vhdx(#[from] VhdxError),
    /// The format has no room for the disk.
    #[error(transparent)]
    Vmdk(#[from] VmdkError),
    /// The disk could not be read, or a piece of the file not be kept.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl EncodeError {
    /// The failure of a file.
    pub(super) fn failure(&self, path: &str) -> Failure {
        let message = format!("`{path}`: {}", chain(self));
        match self {
            Self::Io(_) => {
                let help = "look at the room in the output folder, and at the boot assets";
                Failure::new(Cause::World, Diagnostic::error("encode", message).help(help))
            }
            _ => {
                let help = "make the disk smaller, or choose another format";
                Failure::new(Cause::Files, Diagnostic::error("encode", message).help(help))
            }
        }
    }
}

impl Formats {
    /// What is compressed lies in nameless files of `folder`. Where the files are written by a batch,
    /// `digests` are the batch's, which then need not be computed once more.
    pub(super) fn new(folder: &Path, digests: Arc<Digests>) -> Self {
        Self {
            zlib: qcow2::Packer::new(folder, Pack::Zlib),
            zstd: qcow2::Packer::new(folder, Pack::Zstd),
            stream: vmdk::Packer::new(folder),
            zst: zst::Packer::new(folder),
            xz: xz::Packer::new(folder),
            gz: gz::Packer::new(folder),
            maps: bmap::Mapper::default(),
            digests,
            bases: Mutex::default(),
        }
    }

    /// The disk in a format. An overlay is one over the base that [`Formats::base`] gives.
    pub(super) fn disk(
        &self,
        disk: &Disk<'_>,
        format: Format,
        tell: Tell<'_>,
    ) -> Result<Blob, EncodeError> {
        let Disk { blob, sector, name, epoch } = *disk;
        Ok(match format {
            Format::Raw => blob.clone(),
            Format::Qcow2 => qcow2::plain(blob),
            Format::Qcow2Zlib => self.zlib.pack(blob, tell)?,
            Format::Qcow2Zstd => self.zstd.pack(blob, tell)?,
            Format::Qcow2Overlay => {
                let (base, _) = self.base(blob)?;
                let backing = Backing { name: &base, format: BackingFormat::Qcow2 };
                qcow2::overlay(blob, &backing)
            }
            Format::Vhd => vhd::fixed(blob, epoch)?,
            Format::VhdDynamic => vhd::dynamic(blob, epoch)?,
            Format::Vhdx => vhdx::dynamic(blob, sector)?,
            Format::Vmdk => vmdk::sparse(blob, name)?,
            Format::VmdkStream => self.stream.pack(blob, tell)?,
            Format::Ova => {
                let vmdk = self.stream.pack(blob, tell)?;
                let digest = self.digests.of(&vmdk)?;
                ova::wrap(&vmdk, digest, &ova::Appliance { disk_bytes: blob.len(), epoch })
            }
        })
    }

    /// What overlays of a disk lie over: the name of the file, and what is in it. It is named by its
    /// bytes: so it is the same file for all who have it in common, whatever else is built.
    pub(super) fn base(&self, disk: &Blob) -> Result<(String, Blob), EncodeError> {
        let base = disk.base();
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = bases.iter().find(|(known, _)| known.is_same(&base)) {
            return Ok(file.clone());
        }
        let file = qcow2::plain(&base);
        let digest: Digest = self.digests.of(&file)?;
        let named = (format!("base-{}.qcow2", &digest.to_string()[..12]), file);
        bases.push((base, named.clone()));
        Ok(named)
    }

    /// A file, compressed. An archive's member has the time `epoch`.
    pub(super) fn pack(
        &self,
        file: Blob,
        compress: Compression,
        epoch: u32,
        tell: Tell<'_>,
    ) -> Result<Blob, EncodeError> {
        Ok(match compress {
            Compression::None => file,
            Compression::Zst => self.zst.pack(&file, tell)?,
            Compression::Xz => self.xz.pack(&file, tell)?,
            Compression::Gz => self.gz.pack(&file, tell)?,
            Compression::TarGz => self.gz.pack(&gz::archive(&file, epoch)?, tell)?,
        })
    }

    /// The block map of a raw disk.
    pub(super) fn map(&self, disk: &Blob) -> Result<Blob, EncodeError> {
        Ok(Blob::from_bytes("block map", self.maps.render(disk)?))
    }
}
