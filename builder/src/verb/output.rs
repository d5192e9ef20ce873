//! The files that a laid-out one becomes.
//!
//! In: a file as it was laid out. Out: what is written for it, and how that is looked at.
//!
//! Source: none.
//!
//! Not here: formats (`encode`), and when files are written (`fleet`).

use crate::blob::Blob;
use crate::catalog::value::{Compression, Format};
use crate::layout::{FileKind, OutputFile};
use crate::plan::{Medium, NodePlan};
use crate::sink::Tell;
use crate::units::SectorSize;
use crate::verb::encode::{Disk, EncodeError, Formats};

/// A file to write.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its path below the output folder.
    pub path: String,
    /// Its bytes.
    pub blob: Blob,
    /// What it is to its medium.
    pub form: Form,
}

/// What a file is to the medium that was laid out.
#[derive(Clone, Debug)]
pub enum Form {
    /// The medium, byte for byte: it is read back from the file.
    Plain,
    /// The medium in another format: it is taken out of the file and read. Where that means to unpack
    /// it, or to read a base, it is done for the first of a kind; of others it is read as it was laid
    /// out, for what they have in common with the first was read there.
    Encoded {
        /// The medium.
        medium: Blob,
        /// The kind.
        kind: (Format, Compression),
        /// What the file refers to, by its name.
        base: Option<(String, Blob)>,
    },
    /// A part that says nothing by itself.
    Part,
    /// What several nodes' files refer to, such as a base: it is written once, under one name, and
    /// is put in place no later than those.
    Shared,
}

/// The files that are written for one that was laid out, those first that others refer to. `tell` is
/// told of the medium's bytes where they are compressed.
///
/// # Errors
///
/// Where it cannot be brought into the format that the plan wants.
pub(super) fn encode(
    formats: &Formats,
    plan: &NodePlan,
    file: OutputFile,
    tell: Tell<'_>,
) -> Result<Vec<Output>, EncodeError> {
    let OutputFile { path, blob, kind } = file;
    let (format, compress, sector) = match (kind, &plan.medium) {
        (FileKind::Part, _) => return Ok(vec![Output { path, blob, form: Form::Part }]),
        (_, Medium::Disk { format, compress, sector, .. }) => (*format, *compress, *sector),
        (_, Medium::Iso { compress, .. }) => (Format::Raw, *compress, SectorSize::B512),
        (_, Medium::Files | Medium::Seed) => (Format::Raw, Compression::None, SectorSize::B512),
    };
    let is_disk = matches!(plan.medium, Medium::Disk { .. });
    let mut outputs = Vec::new();
    if (format, compress) == (Format::Raw, Compression::None) {
        let map = is_disk.then(|| formats.map(&blob)).transpose()?;
        let map =
            map.map(|map| Output { path: format!("{path}.bmap"), blob: map, form: Form::Part });
        outputs.push(Output { path, blob, form: Form::Plain });
        outputs.extend(map);
        return Ok(outputs);
    }
    let is_overlay = format == Format::Qcow2Overlay;
    let base = is_overlay.then(|| formats.base(&blob)).transpose()?;
    let shared = base.clone().map(|(path, blob)| Output { path, blob, form: Form::Shared });
    outputs.extend(shared);
    let name = format!("{}.{}", plan.name, format.extension());
    let disk = Disk { blob: &blob, sector, name: &name, epoch: plan.epoch };
    let file = formats.disk(&disk, format, tell)?;
    let file = formats.pack(file, compress, plan.epoch, tell)?;
    let form = Form::Encoded { medium: blob, kind: (format, compress), base };
    outputs.push(Output { path, blob: file, form });
    Ok(outputs)
}

/// Whether the medium is compressed, which takes a while.
pub(super) fn is_packed(plan: &NodePlan) -> bool {
    match &plan.medium {
        Medium::Disk { format, compress, .. } => {
            let is_packed = matches!(
                format,
                Format::Qcow2Zlib | Format::Qcow2Zstd | Format::VmdkStream | Format::Ova
            );
            is_packed || *compress != Compression::None
        }
        Medium::Iso { compress, .. } => *compress != Compression::None,
        Medium::Files | Medium::Seed => false,
    }
}
