//! Boot assets from outside, opened and checked.
//!
//! In: a folder of loose files, or a ready UKI. Out: [`Assets`]: every file open, what it claims to
//! be, and known by its digest.
//!
//! Source: the layout of `/usr/install/<arch>/` in Talos' imager (`pkg/imager/profile/input.go`);
//! systemd `src/boot` for what its programs say of themselves.
//!
//! Not here: nodes, and what is built from the assets (`payload`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use thiserror::Error;

use crate::asset::initramfs::Initramfs;
use crate::asset::kernel::KernelError;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::format::pe::section::{INITRD, LINUX, OSREL, SDMAGIC, SPLASH, UNAME};
use crate::format::pe::{Image, Machine, PeError, SectionName};
use crate::inspect::damage::Damage;
use crate::inspect::memo::Memo;
use crate::site::AssetSource;
use crate::talos::Arch;

pub mod grub;
pub mod initramfs;
pub mod kernel;

/// systemd's programs name themselves in text that is no longer than this.
const MAGIC_LEN: u64 = 4096;

/// The boot assets of a site.
#[derive(Debug)]
pub struct Assets {
    /// The kernel.
    pub kernel: Blob,
    /// The kernel's release, where it is known.
    pub uname: Option<String>,
    /// The base initramfs.
    pub initramfs: Initramfs,
    /// systemd's stub.
    pub stub: Image,
    /// The stub's version, where it tells one: 257.
    pub stub_version: Option<u32>,
    /// systemd's boot loader.
    pub sd_boot: Blob,
    /// A picture for UKIs that are assembled.
    pub splash: Option<Blob>,
    /// The UKI as it was shipped, where the assets are one.
    pub ready_uki: Option<ReadyUki>,
    /// Every file that was opened.
    pub inputs: Vec<InputFile>,
}

/// A UKI that someone else assembled.
#[derive(Debug)]
pub struct ReadyUki {
    /// The whole file.
    pub blob: Blob,
    /// Whether it carries a signature.
    pub is_signed: bool,
}

/// A file that media are made from.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Its name below the assets' folder.
    pub name: String,
    /// Its bytes.
    pub blob: Blob,
    /// Their digest.
    pub digest: Digest,
}

/// Why assets cannot be used.
#[derive(Debug, Error)]
pub enum AssetError {
    /// A source that cannot be opened yet, by its scheme.
    #[error("boot assets from `{0}:` cannot be opened by this version")]
    Unsupported(String),
    /// A file is not there.
    #[error("the boot assets lack `{}`", .0.display())]
    Missing(PathBuf),
    /// A file cannot be opened or read.
    #[error("`{}` cannot be read", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The kernel is none.
    #[error("`{}` is {error}", .path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KernelError,
    },
    /// An EFI program is none.
    #[error("`{}` is no EFI program: {error}", .path.display())]
    Pe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<PeError>,
    },
    /// A file for another processor.
    #[error("`{}` is for {found}, the site is for {wanted}", .path.display())]
    Arch {
        /// The file.
        path: PathBuf,
        /// What it is for.
        found: Arch,
        /// What the site says.
        wanted: Arch,
    },
    /// An EFI program that is not the one that its name says.
    #[error("`{}` is not {wanted}: {found}", .path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// The initramfs is none, or damaged.
    #[error("`{}` is no initramfs that Linux unpacks: {error}", .path.display())]
    Initramfs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<Damage>,
    },
}

impl AssetError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Unsupported(_) => "take the files out of it, and name their folder, \
                 `assets: dir:assets`, or a UKI, `assets: uki:metal-amd64-uki.efi`"
                .to_owned(),
            Self::Missing(path) if path.ends_with("systemd-boot.efi") => {
                "take it from `/usr/install/<arch>/` of the Talos imager's image; a release's UKI \
                 does not hold it"
                    .to_owned()
            }
            Self::Missing(_) => "copy the files of `/usr/install/<arch>/` from the Talos imager's \
                 image into the folder that `boot.assets` names: vmlinuz, initramfs.xz, \
                 systemd-boot.efi, systemd-stub.efi"
                .to_owned(),
            Self::Io(..) => "check the path in `boot.assets` and the file's permissions".to_owned(),
            Self::Arch { found, .. } => {
                format!("set `boot.arch: {found}`, or take the assets of the other architecture")
            }
            Self::Kernel { .. }
            | Self::Pe { .. }
            | Self::Program { .. }
            | Self::Initramfs { .. } => "fetch the file again and compare its checksum".to_owned(),
        }
    }
}

/// Opens a site's boot assets and checks them.
///
/// # Errors
///
/// Where a file is missing, damaged, or not what it should be.
pub fn open(source: &AssetSource, arch: Arch, memo: &mut Memo) -> Result<Assets, AssetError> {
    let folder = Folder::of(source)?;
    let mut files = Files { folder: folder.path.clone(), arch, opened: Vec::new() };
    let sd_boot = files.open("systemd-boot.efi")?;
    check_program(&sd_boot, arch, "systemd-boot")?;
    let mut assets = match &folder.uki {
        Some(uki) => from_uki(&mut files, uki, sd_boot.blob, memo)?,
        None => from_files(&mut files, sd_boot.blob, memo)?,
    };
    assets.inputs = files.digests()?;
    Ok(assets)
}

/// The folder that holds the assets, and the ready UKI in it, if that is what it holds.
struct Folder {
    path: PathBuf,
    uki: Option<String>,
}

impl Folder {
    fn of(source: &AssetSource) -> Result<Self, AssetError> {
        match source {
            AssetSource::Uki(file) => {
                let name = file.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| AssetError::Missing(file.clone()))?;
                let path = file.parent().unwrap_or(Path::new("")).to_owned();
                Ok(Self { path, uki: Some(name.to_owned()) })
            }
            AssetSource::Dir(path) => {
                let uki = if path.join("vmlinuz").exists() { None } else { find_uki(path)? };
                Ok(Self { path: path.clone(), uki })
            }
            // The whole may have credentials.
            AssetSource::Other(source) => {
                let scheme = source.split(':').next().unwrap_or_default();
                Err(AssetError::Unsupported(scheme.to_owned()))
            }
        }
    }
}

fn unreadable(path: &Path, error: io::Error) -> AssetError {
    match error.kind() {
        io::ErrorKind::NotFound => AssetError::Missing(path.to_owned()),
        _ => AssetError::Io(path.to_owned(), error),
    }
}

/// The first `*-uki.efi` in the folder, by name.
fn find_uki(folder: &Path) -> Result<Option<String>, AssetError> {
    let io = |error| unreadable(folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        names.extend(entry.map_err(io)?.file_name().into_string());
    }
    names.sort();
    Ok(names.into_iter().find(|name| name.ends_with("-uki.efi")))
}

fn from_files(files: &mut Files, sd_boot: Blob, memo: &mut Memo) -> Result<Assets, AssetError> {
    let kernel = files.open("vmlinuz")?;
    let uname = check_kernel(&kernel, files.arch)?;
    let initramfs = files.open("initramfs.xz")?;
    let stub = files.open("systemd-stub.efi")?;
    let (image, stub_version) = check_program(&stub, files.arch, "systemd-stub")?;
    let splash = files.folder.join("splash.bmp").exists();
    let splash = splash.then(|| files.open("splash.bmp")).transpose()?;
    Ok(Assets {
        kernel: kernel.blob,
        uname,
        initramfs: read_initramfs(&initramfs, memo)?,
        stub: image,
        stub_version,
        sd_boot,
        splash: splash.map(|file| file.blob),
        ready_uki: None,
        inputs: Vec::new(),
    })
}

fn from_uki(
    files: &mut Files,
    name: &str,
    sd_boot: Blob,
    memo: &mut Memo,
) -> Result<Assets, AssetError> {
    let file = files.open(name)?;
    let (image, stub_version) = check_program(&file, files.arch, "systemd-stub")?;
    let part = |name| part(&file, &image, name);
    let kernel = Opened { path: file.path.clone(), blob: part(LINUX)? };
    let told = check_kernel(&kernel, files.arch)?;
    let uname = match image.section(UNAME) {
        Some(section) => Some(text(&file, &section.data())?),
        None => told,
    };
    let initramfs = Opened { path: file.path.clone(), blob: part(INITRD)? };
    Ok(Assets {
        kernel: kernel.blob,
        uname,
        initramfs: read_initramfs(&initramfs, memo)?,
        stub: image.before(OSREL),
        stub_version,
        sd_boot,
        splash: image.section(SPLASH).map(|section| section.data()),
        ready_uki: Some(ReadyUki { blob: file.blob.clone(), is_signed: image.is_signed() }),
        inputs: Vec::new(),
    })
}

fn part(file: &Opened, image: &Image, name: SectionName) -> Result<Blob, AssetError> {
    let section = image.section(name).ok_or_else(|| AssetError::Program {
        path: file.path.clone(),
        wanted: "a unified kernel image",
        found: format!("it has no section `{name}`"),
    })?;
    Ok(section.data())
}

fn text(file: &Opened, blob: &Blob) -> Result<String, AssetError> {
    let blob = blob.slice(0..blob.len().min(MAGIC_LEN));
    let bytes = blob.to_vec().map_err(|error| AssetError::Io(file.path.clone(), error))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
}

fn check_kernel(file: &Opened, wanted: Arch) -> Result<Option<String>, AssetError> {
    let path = || file.path.clone();
    let kernel =
        kernel::read(&file.blob).map_err(|error| AssetError::Kernel { path: path(), error })?;
    match kernel.arch {
        found if found != wanted => Err(AssetError::Arch { path: path(), found, wanted }),
        _ => Ok(kernel.release),
    }
}

fn read_initramfs(file: &Opened, memo: &mut Memo) -> Result<Initramfs, AssetError> {
    let path = || file.path.clone();
    initramfs::read(&file.blob, memo)
        .map_err(|error| AssetError::Initramfs { path: path(), error: Box::new(error) })
}

/// Reads a program of systemd's and its version: `#### LoaderInfo: systemd-stub 257.9-1 ####`.
fn check_program(
    file: &Opened,
    wanted: Arch,
    program: &'static str,
) -> Result<(Image, Option<u32>), AssetError> {
    let path = || file.path.clone();
    let image = Image::read(&file.blob)
        .map_err(|error| AssetError::Pe { path: path(), error: Box::new(error) })?;
    let found = match image.machine {
        Machine::Amd64 => Arch::Amd64,
        Machine::Arm64 => Arch::Arm64,
    };
    if found != wanted {
        return Err(AssetError::Arch { path: path(), found, wanted });
    }
    let magic = image.section(SDMAGIC).map(|section| text(file, &section.data())).transpose()?;
    let wrong = |found| AssetError::Program { path: path(), wanted: program, found };
    let magic = magic.ok_or_else(|| wrong("it has no section `.sdmagic`".to_owned()))?;
    let (_, version) = magic
        .split_once(program)
        .ok_or_else(|| wrong(format!("it calls itself `{}`", magic.escape_default())))?;
    let digits: String = version.trim_start().chars().take_while(char::is_ascii_digit).collect();
    Ok((image, digits.parse().ok()))
}

/// A file, open.
struct Opened {
    path: PathBuf,
    blob: Blob,
}

/// All files that were opened, while their digests are worked out beside all else.
struct Files {
    folder: PathBuf,
    arch: Arch,
    opened: Vec<Hashing>,
}

struct Hashing {
    name: String,
    path: PathBuf,
    blob: Blob,
    digest: JoinHandle<io::Result<Digest>>,
}

impl Files {
    fn open(&mut self, name: &str) -> Result<Opened, AssetError> {
        let path = self.folder.join(name);
        let io = |error| unreadable(&path, error);
        // Asked before it is opened: opening a pipe waits for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(io(io::Error::other("it is no plain file")));
        }
        let file = File::open(&path).map_err(io)?;
        let blob = Blob::from_file(name, file).map_err(io)?;
        let whole = blob.clone();
        let digest = thread::spawn(move || Digest::of_blob(&whole));
        let hashing = Hashing { name: name.to_owned(), path: path.clone(), blob, digest };
        let blob = hashing.blob.clone();
        self.opened.push(hashing);
        Ok(Opened { path, blob })
    }

    fn digests(self) -> Result<Vec<InputFile>, AssetError> {
        let finish = |file: Hashing| {
            let digest = file.digest.join().expect("hashing does not panic");
            let digest = digest.map_err(|error| AssetError::Io(file.path, error))?;
            Ok(InputFile { name: file.name, blob: file.blob, digest })
        };
        self.opened.into_iter().map(finish).collect()
    }
}
