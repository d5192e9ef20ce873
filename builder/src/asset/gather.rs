//! Boot assets gathered: each piece from the best place that there is.
//!
//! In: a supply. Out: all pieces, or what is missing; those from different places are of one release.
//!
//! A loose file is better than one that must be taken out of a UKI, a UKI better than an ISO, an ISO
//! better than a disk; places that have nothing that still lacks are not opened.
//!
//! Source: Talos `pkg/imager/profile/input.go` (`/usr/install/<arch>`); the names of its releases'
//! files, `Makefile` and `.github/workflows`; `Dockerfile`, targets `installer-base` and `imager`.
//!
//! Not here: what files look like inside (`program`, `medium`, `unpack`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::asset::error::{AssetError, Lacking, Piece, Reason};
use crate::asset::input::{self, Folder, Inputs, Opened};
use crate::asset::medium::{self, Medium};
use crate::asset::program::{self, Program, Uki};
use crate::asset::release::{self, Got, Witness};
use crate::asset::unpack::{self, Packing};
use crate::asset::{Assets, ReadyUki, Supply, check_kernel, grub, initramfs};
use crate::blob::Blob;
use crate::inspect::memo::Memo;
use crate::inspect::{iso, partitions, pe};
use crate::store::Store;
use crate::talos::Arch;
use crate::tree::Tree;

/// The picture's file.
const SPLASH: &str = "splash.bmp";
/// GRUB's files in an image.
const TREE_GRUB: &str = "usr/lib/grub/i386-pc/";
/// A UKI in an installer's image.
const TREE_UKI: &str = "vmlinuz.efi";
/// The most files of GRUB's that are taken from an image.
const GRUB_FILES: usize = 4096;

/// Pieces on their way together.
pub(super) struct Gather<'a> {
    arch: Arch,
    store: &'a Store,
    inputs: &'a mut Inputs,
    kernel: Option<Got<Blob>>,
    initramfs: Option<Got<Blob>>,
    stub: Option<Got<Program>>,
    sd_boot: Option<Got<Blob>>,
    splash: Option<Blob>,
    ready: Option<ReadyUki>,
    uname: Option<String>,
    grub: Option<grub::Source>,
    /// The places that gave something, by the kernel and the initramfs that they have themselves.
    witnesses: Vec<Witness>,
    reasons: Vec<Reason>,
}

/// How a UKI is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// As it is, where it gives kernel and initramfs.
    Whole,
    /// For its parts.
    Parts,
}

impl<'a> Gather<'a> {
    pub(super) fn new(arch: Arch, store: &'a Store, inputs: &'a mut Inputs) -> Self {
        Self {
            arch,
            store,
            inputs,
            kernel: None,
            initramfs: None,
            stub: None,
            sd_boot: None,
            splash: None,
            ready: None,
            uname: None,
            grub: None,
            witnesses: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Takes what still lacks from a supply.
    ///
    /// # Errors
    ///
    /// Where a file of it that is needed cannot be used.
    pub(super) fn supply(&mut self, supply: &Supply) -> Result<(), AssetError> {
        match supply {
            Supply::Folder(path) => self.folder(path),
            Supply::File { name, blob } => {
                let file = self.inputs.add(name.clone(), name.clone(), blob.clone(), Vec::new());
                self.file(&file)
            }
            Supply::Tree(tree) => self.tree(tree),
            Supply::Several(supplies) => supplies.iter().try_for_each(|one| self.supply(one)),
        }
    }

    fn missing(&self) -> Vec<Piece> {
        let is_missing = |piece: &Piece| match piece {
            Piece::Kernel => self.kernel.is_none(),
            Piece::Initramfs => self.initramfs.is_none(),
            Piece::Stub => self.stub.is_none(),
            Piece::SdBoot => self.sd_boot.is_none(),
        };
        Piece::ALL.into_iter().filter(is_missing).collect()
    }

    /// Whether something is missing that a UKI can give.
    fn wants_uki(&self) -> bool {
        self.missing().iter().any(|piece| *piece != Piece::SdBoot)
    }

    /// A folder, and the one in it for the architecture: loose files first, then UKI, ISO and disk.
    fn folder(&mut self, path: &Path) -> Result<(), AssetError> {
        let about = path.metadata().map_err(|error| input::unreadable(path, error))?;
        if !about.is_dir() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(AssetError::Io(path.to_owned(), error));
        }
        let mut folders = vec![Folder::open(path.to_owned(), "")?];
        let inner = path.join(self.arch.name());
        if inner.is_dir() {
            folders.push(Folder::open(inner, &format!("{}/", self.arch))?);
        }
        folders.iter_mut().try_for_each(|folder| self.loose(folder))?;
        if !self.missing().is_empty() {
            folders.iter_mut().try_for_each(|folder| self.releases(folder))?;
        }
        Ok(())
    }

    fn loose(&mut self, folder: &mut Folder) -> Result<(), AssetError> {
        let arch = self.arch;
        let names = |piece: Piece| match piece {
            Piece::Kernel => vec![piece.file().to_owned(), format!("vmlinuz-{arch}")],
            Piece::Initramfs => vec![piece.file().to_owned(), format!("initramfs-{arch}.xz")],
            Piece::Stub | Piece::SdBoot => vec![piece.file().to_owned()],
        };
        let before = self.missing();
        for piece in &before {
            for name in names(*piece) {
                if self.missing().contains(piece)
                    && let Some(file) = self.inputs.open(folder, &name)?
                {
                    self.take(*piece, &file)?;
                }
            }
        }
        // The picture goes with the stub: a UKI is assembled of both.
        if before.contains(&Piece::Stub) && self.stub.is_some() {
            self.splash = self.inputs.open(folder, SPLASH)?.map(|file| file.blob);
        }
        let grub = folder.path.join("grub/i386-pc");
        if self.grub.is_none() && grub.is_dir() {
            self.grub = Some(grub::Source::Folder(grub));
        }
        Ok(())
    }

    /// Takes a loose file for what its name says.
    fn take(&mut self, piece: Piece, file: &Opened) -> Result<(), AssetError> {
        let got = Got { value: file.blob.clone(), place: file.shown.clone() };
        let program = |program| {
            let image = program::image(&file.shown, &file.blob, self.arch)?;
            program::systemd(&file.shown, image, program)
        };
        match piece {
            Piece::Kernel => self.kernel = Some(got),
            Piece::Initramfs => self.initramfs = Some(got),
            Piece::Stub => {
                let value = program("systemd-stub")?;
                self.stub = Some(Got { value, place: file.shown.clone() });
            }
            Piece::SdBoot => {
                program("systemd-boot")?;
                self.sd_boot = Some(got);
            }
        }
        Ok(())
    }

    /// A release's larger files in a folder, as long as something lacks that they may have.
    fn releases(&mut self, folder: &mut Folder) -> Result<(), AssetError> {
        let names = folder.names()?;
        let ends = |ends: &[&str]| best(&names, ends, self.arch);
        let uki = ends(&["-uki.efi"]);
        let iso = ends(&[".iso"]);
        let disk = ends(&[".raw", ".raw.zst", ".raw.xz", ".raw.gz"]);
        if let Some(name) = uki.filter(|_| self.wants_uki())
            && let Some(file) = self.inputs.open(folder, &name)?
        {
            self.uki(&file.shown, &file.blob, Use::Whole)?;
        }
        for name in [iso, disk].into_iter().flatten() {
            if !self.missing().is_empty()
                && let Some(file) = self.inputs.open(folder, &name)?
            {
                self.file(&file)?;
            }
        }
        let other = |name: &String| {
            let is_release = ["-uki.efi", ".iso", ".raw", ".zst", ".xz", ".gz"];
            is_other(name, self.arch)
                && (name.starts_with("vmlinuz-")
                    || is_release.iter().any(|end| name.ends_with(end)))
        };
        let files: Vec<_> = names.iter().filter(|name| other(name)).cloned().collect();
        if !files.is_empty() {
            self.reasons.push(Reason::PassedOver { files, arch: self.arch });
        }
        Ok(())
    }

    /// A file that is told apart by what is in it.
    fn file(&mut self, file: &Opened) -> Result<(), AssetError> {
        let io = |error| AssetError::Io(file.shown.clone().into(), error);
        let head = file.blob.slice(0..file.blob.len().min(8)).to_vec().map_err(io)?;
        let Some(packing) = Packing::of(&head) else {
            return self.plain(&file.shown, &file.blob);
        };
        // By its digest the store knows whether it was unpacked before.
        let packed = self.inputs.digest(file)?;
        let (disk, digest) = unpack::disk(&file.blob, packed, packing, self.store)
            .map_err(|error| AssetError::Unpack { name: file.shown.clone(), error })?;
        self.inputs.add_known(&format!("sha256:{digest}"), &disk, digest);
        self.plain(&file.shown, &disk)
    }

    fn plain(&mut self, name: &str, blob: &Blob) -> Result<(), AssetError> {
        let damaged = |error| AssetError::Medium { name: name.to_owned(), error: Box::new(error) };
        if iso::is_iso(blob) {
            let medium = medium::iso(name, blob, self.arch)?;
            return self.medium(medium);
        }
        if pe::is_pe(blob) {
            return self.uki(name, blob, Use::Whole);
        }
        match partitions::read(blob).map_err(damaged)? {
            Some(table) => {
                let medium = medium::disk(name, blob, &table, self.arch)?;
                self.medium(medium)
            }
            None => Err(AssetError::Foreign(name.to_owned())),
        }
    }

    fn medium(&mut self, medium: Medium) -> Result<(), AssetError> {
        let gives_boot = self.sd_boot.is_none() && medium.sd_boot.is_some();
        match medium.uki {
            Some((at, uki)) if self.wants_uki() => self.uki(&at, &uki, Use::Parts)?,
            Some((at, uki)) if gives_boot => {
                let uki = program::uki(&at, &uki, self.arch)?;
                self.witnesses.push(Witness::of(&at, &uki));
            }
            _ => {}
        }
        if let Some((place, value)) = medium.sd_boot.filter(|_| self.sd_boot.is_none()) {
            self.sd_boot = Some(Got { value, place });
        }
        if let Some((kernel, initramfs)) = medium.loose {
            let place = |path: &str| format!("{}: boot/{path}", medium.name);
            let got = |value, path| Got { value, place: place(path) };
            self.kernel.get_or_insert(got(kernel, "vmlinuz"));
            self.initramfs.get_or_insert(got(initramfs, "initramfs.xz"));
        }
        self.grub = self.grub.take().or(medium.grub.map(grub::Source::Iso));
        self.reasons.extend(medium.reason);
        Ok(())
    }

    /// Splits off a UKI what lacks. One that gives kernel and initramfs may be kept whole.
    fn uki(&mut self, name: &str, blob: &Blob, used: Use) -> Result<(), AssetError> {
        let uki = program::uki(name, blob, self.arch)?;
        let is_whole = used == Use::Whole && self.kernel.is_none() && self.initramfs.is_none();
        if uki.is_signed && !is_whole {
            return Err(AssetError::SecureBoot(name.to_owned()));
        }
        self.witnesses.push(Witness::of(name, &uki));
        if self.missing().contains(&Piece::SdBoot) && used == Use::Whole {
            self.reasons.push(Reason::UkiAlone);
        }
        let Uki { stub, kernel, initramfs, splash, uname, cmdline, is_signed, .. } = uki;
        let got = |value| Got { value, place: name.to_owned() };
        if is_whole {
            self.ready = Some(ReadyUki {
                blob: blob.clone(),
                is_signed,
                cmdline: cmdline.unwrap_or_default(),
            });
        }
        self.kernel.get_or_insert_with(|| got(kernel));
        self.initramfs.get_or_insert_with(|| got(initramfs));
        if self.stub.is_none() {
            self.stub = Some(Got { value: stub, place: name.to_owned() });
            self.splash = self.splash.take().or(splash);
        }
        self.uname = self.uname.take().or(uname);
        Ok(())
    }

    /// An image's files: those of Talos' imager, or of an installer.
    fn tree(&mut self, tree: &Tree) -> Result<(), AssetError> {
        let install = format!("usr/install/{}/", self.arch);
        let before = self.missing();
        for piece in &before {
            let path = format!("{install}{}", piece.file());
            if let Some((blob, digest)) = tree.file(&path) {
                let file = self.inputs.add_known(&path, blob, *digest);
                self.take(*piece, &file)?;
            }
        }
        let path = format!("{install}{TREE_UKI}");
        let uki = tree.file(&path);
        if let Some((blob, digest)) = uki.filter(|_| self.wants_uki()) {
            let file = self.inputs.add_known(&path, blob, *digest);
            self.uki(&file.shown, &file.blob, Use::Parts)?;
        }
        if self.grub.is_none() {
            self.grub = tree_grub(tree);
        }
        if !self.missing().is_empty() {
            self.reasons.extend(self.tree_reason(tree, &install));
        }
        Ok(())
    }

    /// Which of Talos' images it is, where that says why something is missing.
    fn tree_reason(&self, tree: &Tree, install: &str) -> Option<Reason> {
        let has = |folder: &str| tree.iter().any(|(path, _)| path.starts_with(folder));
        let other = |arch: &Arch| *arch != self.arch && has(&format!("usr/install/{arch}/"));
        let installers = ["usr/bin/installer", "bin/installer"];
        if has(install) {
            let lost = [Piece::Stub, Piece::SdBoot];
            let is_old = lost.iter().all(|piece| self.missing().contains(piece));
            let has_kernel = self.kernel.is_some() && self.initramfs.is_some();
            return (is_old && has_kernel).then_some(Reason::OldInstaller);
        }
        if let Some(arch) = Arch::ALL.into_iter().find(other) {
            return Some(Reason::OtherArch(arch));
        }
        match installers.iter().any(|path| tree.get(path).is_some()) {
            true => Some(Reason::InstallerBase),
            false => Some(Reason::NoInstall),
        }
    }

    /// The assets, without the inputs.
    ///
    /// # Errors
    ///
    /// Where a piece is missing, or damaged, or not of the release of the others.
    pub(super) fn finish(self, place: String, memo: &mut Memo) -> Result<Assets, AssetError> {
        let pieces = self.missing();
        let (Some(kernel), Some(initramfs), Some(stub), Some(sd_boot)) =
            (self.kernel, self.initramfs, self.stub, self.sd_boot)
        else {
            let lacking = Lacking { place, pieces, arch: self.arch, reasons: self.reasons };
            return Err(AssetError::Lacking(Box::new(lacking)));
        };
        let told = check_kernel(&kernel, self.arch)?;
        release::check(&kernel, &initramfs, told.as_deref(), &self.witnesses)?;
        let read = initramfs::read(&initramfs.value, memo).map_err(|error| {
            AssetError::Initramfs { name: initramfs.place.clone(), error: Box::new(error) }
        })?;
        let talos = self.witnesses.iter().find_map(Witness::talos).map(str::to_owned);
        Ok(Assets {
            talos,
            kernel: kernel.value,
            uname: self.uname.or(told),
            initramfs: read,
            stub: stub.value.image,
            stub_version: stub.value.version,
            sd_boot: sd_boot.value,
            splash: self.splash,
            ready_uki: self.ready,
            grub: self.grub,
            inputs: Vec::new(),
        })
    }
}

/// The first of the names by their order that end so and are for the architecture; one for Secure
/// Boot only where there is no other.
fn best(names: &[String], ends: &[&str], arch: Arch) -> Option<String> {
    let fits = |name: &&String| ends.iter().any(|end| name.ends_with(end)) && !is_other(name, arch);
    // Of a disk and the same disk compressed the shorter name comes first, which is the plain one.
    names.iter().filter(fits).min_by_key(|name| (name.contains("secureboot"), *name)).cloned()
}

/// Whether a name is that of a file for another architecture.
fn is_other(name: &str, arch: Arch) -> bool {
    let has = |arch: Arch| name.contains(arch.name());
    !has(arch) && Arch::ALL.into_iter().any(has)
}

/// GRUB's files in an image, if all that is needed first is there.
fn tree_grub(tree: &Tree) -> Option<grub::Source> {
    tree.file(&format!("{TREE_GRUB}{}", grub::CODE))?;
    let file = |(path, _): (&str, _)| {
        let name = path.strip_prefix(TREE_GRUB).filter(|name| !name.contains('/'))?;
        Some((name.to_owned(), tree.file(path)?.0.clone()))
    };
    let files: BTreeMap<_, _> = tree.iter().filter_map(file).take(GRUB_FILES).collect();
    Some(grub::Source::Files(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_chosen_by_name() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = names(&[
            "metal-amd64-secureboot.iso",
            "metal-amd64.iso",
            "metal-amd64.raw",
            "metal-amd64.raw.zst",
            "metal-arm64.iso",
            "x.iso",
        ]);
        let iso = |names: &[String], arch| best(names, &[".iso"], arch);
        assert_eq!(iso(&all, Arch::Amd64).as_deref(), Some("metal-amd64.iso"));
        assert_eq!(iso(&all, Arch::Arm64).as_deref(), Some("metal-arm64.iso"));
        assert_eq!(iso(&all[4..], Arch::Amd64).as_deref(), Some("x.iso"));
        let secure = iso(&all[..1], Arch::Amd64);
        assert_eq!(secure.as_deref(), Some("metal-amd64-secureboot.iso"));
        let disk = best(&all, &[".raw", ".raw.zst"], Arch::Amd64);
        assert_eq!(disk.as_deref(), Some("metal-amd64.raw"));
        assert_eq!(best(&all, &[".raw"], Arch::Arm64), None);
    }
}
