//! The initramfs with extensions.
//!
//! In: a base, extensions. Out: segments before and behind the base, joined.
//!
//! Source: Talos `pkg/imager/extensions/rebuild.go`, `contents.go`; Linux
//! `Documentation/driver-api/early-userspace/buffer-format.rst`,
//! `Documentation/arch/x86/microcode.rst`.
//!
//! Not here: what is in a layer (`pack`).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::asset::initramfs::{self, Initramfs};
use crate::blob::{Blob, Builder};
use crate::extension::firmware::{AMD, Firmware, FirmwareError, INTEL};
use crate::extension::list::{LIST, ListError};
use crate::extension::modules::{self, ModulesError};
use crate::extension::pack::PackError;
use crate::extension::{Extension, firmware, list, pack};
use crate::format::cpio::{self, CpioError};
use crate::inspect::damage::Damage;
use crate::inspect::initrd;
use crate::inspect::memo::Memo;
use crate::store::Store;

/// The folders that lead to microcode.
const MICROCODE_FOLDERS: [&str; 3] = ["kernel", "kernel/x86", "kernel/x86/microcode"];
/// The most microcode of a base that is read: that of all processors has some 20 MiB.
const MICROCODE_LIMIT: u64 = 256 << 20;
/// The most layers that the kernel's overlay takes (`OVL_MAX_STACK`).
const LAYERS_LIMIT: usize = 500;

/// Why extensions cannot be laid over a base.
#[derive(Debug, Error)]
pub enum LayError {
    /// Two extensions say that they are the same.
    #[error("the extensions `{0}` and `{1}` are both `{2}`")]
    SameName(String, String, String),
    /// More layers than the kernel takes.
    #[error("there would be {0} layers; the kernel takes 500")]
    Layers(usize),
    /// Firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// An extension's layer.
    #[error("extension `{extension}` cannot be packed")]
    Pack {
        /// The extension.
        extension: String,
        /// Why.
        #[source]
        error: PackError,
    },
    /// Kernel modules.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The base's list of layers.
    #[error(transparent)]
    List(#[from] ListError),
    /// A segment.
    #[error("the extensions' segment cannot be written")]
    Segment(#[from] CpioError),
    /// The base, or what was made of it.
    #[error("the initramfs cannot be unpacked: {0}")]
    Initramfs(Box<Damage>),
}

impl From<Damage> for LayError {
    fn from(damage: Damage) -> Self {
        Self::Initramfs(Box::new(damage))
    }
}

impl LayError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::SameName(..) => "drop one of them",
            Self::Layers(_) => "take fewer extensions",
            Self::Firmware(FirmwareError::Clash { .. }) => "drop one of the two extensions",
            Self::Firmware(_) => "build the extension without that link",
            Self::Modules(ModulesError::Release { .. }) => {
                "take the extension's release for the site's Talos version: modules fit one kernel"
            }
            Self::Modules(ModulesError::Kmod(_)) => {
                "the extensions' modules do not fit the base; take those of one Talos release"
            }
            Self::List(_) | Self::Initramfs(_) | Self::Modules(_) => {
                "check that `initramfs.xz` is of a Talos release"
            }
            Self::Segment(_) => "take smaller extensions: a layer has less than 4 GiB",
            Self::Pack { .. } => "check the free space and the permissions of the cache",
        }
    }
}

/// See [`super::lay_over`].
pub(super) fn lay_over(
    base: &Initramfs,
    extensions: &[Extension],
    epoch: u32,
    store: &Store,
    memo: &mut Memo,
) -> Result<Initramfs, LayError> {
    check_names(extensions)?;
    let mut parts = Vec::new();
    for extension in extensions {
        parts.push(firmware::split(&extension.name, &extension.root)?);
    }
    let names = extensions.iter().map(|extension| extension.name.as_str());
    firmware::check_together(names.zip(parts.iter().map(|(firmware, _)| firmware)))?;
    let indexes = modules::indexes(base, extensions, epoch, store, memo)?;

    let mut layers = Layers::of(base, indexes.is_some())?;
    let mut firmware = Vec::new();
    for (extension, (parts, root)) in extensions.iter().zip(&parts) {
        let packed = pack::pack(&extension.top, root, &parts.items, epoch, store);
        let error = |error| LayError::Pack { extension: extension.name.clone(), error };
        let packed = packed.map_err(error)?;
        layers.push(extension, packed.layer);
        firmware.extend(packed.firmware);
    }
    if let Some(indexes) = indexes {
        layers.list.push(list::layer(modules::IMAGE, &indexes.metadata));
        layers.images.insert(modules::IMAGE.to_owned(), indexes.layer);
    }
    let microcode = microcode(base, parts.iter().map(|(firmware, _)| firmware), epoch, memo)?;
    let segment = layers.segment(epoch)?;
    let mut whole = Builder::default().blob(&microcode).blob(&base.blob).align(4);
    for segment in firmware.iter().chain([&segment]) {
        whole = whole.blob(segment);
    }
    // Read as every initramfs from outside is: what no reader of ours unpacks is not given away.
    Ok(initramfs::read(&whole.finish(), memo)?)
}

fn check_names(extensions: &[Extension]) -> Result<(), LayError> {
    let mut known = BTreeMap::new();
    for extension in extensions {
        let name = extension.metadata.name.as_str();
        if let Some(other) = known.insert(name, &extension.name) {
            let (one, two) = (other.clone(), extension.name.clone());
            return Err(LayError::SameName(one, two, super::content::shown(name)));
        }
    }
    Ok(())
}

/// Layers for the segment, and the list of all.
struct Layers {
    list: Vec<serde_yaml::Value>,
    names: BTreeSet<String>,
    images: BTreeMap<String, Blob>,
}

impl Layers {
    /// Those of the base. Its layer of indexes goes where there is another: both have one name.
    fn of(base: &Initramfs, has_indexes: bool) -> Result<Self, ListError> {
        let mut list = list::layers(base)?;
        if has_indexes {
            list.retain(|layer| list::image(layer) != Some(modules::IMAGE));
        }
        Ok(Self { list, names: base.names.clone(), images: BTreeMap::new() })
    }

    fn push(&mut self, extension: &Extension, image: Blob) {
        let name = list::free_name(&self.list, &self.names);
        self.list.push(list::layer(&name, &extension.metadata));
        self.names.insert(name.clone());
        self.images.insert(name, image);
    }

    fn segment(self, epoch: u32) -> Result<Blob, LayError> {
        if self.list.len() > LAYERS_LIMIT {
            return Err(LayError::Layers(self.list.len()));
        }
        let mut files = self.images;
        let bytes = list::write(self.list)?;
        files.insert(LIST.to_owned(), Blob::from_bytes(LIST, bytes));
        let entries = files.into_iter().map(|(path, content)| cpio::Entry {
            path,
            permissions: 0o644,
            kind: cpio::Kind::File(content),
        });
        Ok(cpio::write(&entries.collect::<Vec<_>>(), epoch)?)
    }
}

/// The archive that goes before the base. Linux takes the first file of a name, so a base's own
/// microcode is taken over.
fn microcode<'a>(
    base: &Initramfs,
    firmware: impl Iterator<Item = &'a Firmware>,
    epoch: u32,
    memo: &mut Memo,
) -> Result<Blob, LayError> {
    let mut files = [(AMD, Vec::new()), (INTEL, Vec::new())];
    for firmware in firmware {
        files[0].1.extend(firmware.amd.iter().cloned());
        files[1].1.extend(firmware.intel.iter().cloned());
    }
    if files.iter().all(|(_, blobs)| blobs.is_empty()) {
        return Ok(Blob::default());
    }
    memo.allow(base.blob.len());
    let tree = initrd::unpack(&base.blob, memo)?;
    let folder = |path: &str| cpio::Entry {
        path: path.to_owned(),
        permissions: 0o755,
        kind: cpio::Kind::Dir,
    };
    let mut entries: Vec<_> = MICROCODE_FOLDERS.into_iter().map(folder).collect();
    for (path, blobs) in files {
        let own = tree.get(path).map(|file| tree.content(file, MICROCODE_LIMIT, memo));
        let blobs = own.transpose()?.into_iter().chain(blobs);
        let content = blobs.fold(Builder::default(), |all, blob| all.blob(&blob)).finish();
        if !content.is_empty() {
            let kind = cpio::Kind::File(content.labelled("microcode"));
            entries.push(cpio::Entry { path: path.to_owned(), permissions: 0o644, kind });
        }
    }
    Ok(cpio::write(&entries, epoch)?)
}
