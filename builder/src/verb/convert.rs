//! `talforge convert`: a disk in another format.
//!
//! In: a disk or an ISO in whatever format, the name of a file. Out: the file, which nobody else can read.
//!
//! Source: none.
//!
//! Not here: formats, and how files are written (`sink`).

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::blob::Blob;
use crate::catalog::value::{Compression, Format};
use crate::cli::Convert;
use crate::edit::Edit;
use crate::inspect::partitions;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::duplicate::{self, Duplicate};
use crate::sink::patch::{self, Leftover, PatchError};
use crate::sink::{SinkError, Tell, sparse};
use crate::units::SectorSize;
use crate::verb::encode::{Disk, EncodeError, Formats};
use crate::verb::open::unwrap;
use crate::verb::{Cause, Failure, epoch};

/// What ends of a file's name mean.
const NAMES: [(&str, Format); 8] = [
    (".raw", Format::Raw),
    (".img", Format::Raw),
    (".iso", Format::Raw),
    (".qcow2", Format::Qcow2),
    (".vhd", Format::Vhd),
    (".vhdx", Format::Vhdx),
    (".vmdk", Format::Vmdk),
    (".ova", Format::Ova),
];

/// The longer end first.
const SUFFIXES: [Compression; 4] =
    [Compression::TarGz, Compression::Zst, Compression::Xz, Compression::Gz];

/// Writes a disk in another format.
///
/// # Errors
///
/// Where the disk cannot be read or is in a format already, where the file's name tells none, and
/// where it cannot be written. Nothing is left of it then.
pub fn convert(args: &Convert, progress: &Progress) -> Result<(), Failure> {
    let (format, compress) = target(&args.out, args.format)?;
    if args.out.symlink_metadata().is_ok() {
        return Err(sink_failure(&SinkError::Exists { path: args.out.clone() }));
    }
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    folder.metadata().map_err(|source| {
        sink_failure(&SinkError::NotWritable { path: folder.to_owned(), source })
    })?;
    let disk = read(&args.disk, progress)?;
    let shown = args.out.display().to_string();
    let file = {
        let task = progress.task(&shown, disk.len());
        let tell = |bytes| {
            task.add(bytes);
            Ok(())
        };
        let name = args.out.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(compress.suffix()).unwrap_or(&name);
        let disk = Disk { blob: &disk, sector: sector(&disk), name, epoch: epoch()? };
        let file = encode(&disk, format, compress, folder, &tell);
        let file = file.map_err(|error| error.failure(&shown))?;
        task.done("converted");
        file
    };
    let task = progress.task(&shown, file.len());
    let copy = Duplicate::write(&file, &Edit::default(), &args.out, &task);
    copy.and_then(Duplicate::keep).map_err(|error| sink_failure(&error))?;
    task.done("written");
    progress.event(json!({
        "event": "converted", "path": shown, "format": format.name(),
        "compress": compress.name(), "disk_bytes": disk.len(), "bytes": file.len(),
    }));
    Ok(())
}

/// The format and compression of a file, from its name and from what was asked for.
fn target(out: &Path, asked: Option<Format>) -> Result<(Format, Compression), Failure> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let packed = SUFFIXES.into_iter().find(|compress| name.ends_with(compress.suffix()));
    let compress = packed.unwrap_or_default();
    let name = name.strip_suffix(compress.suffix()).unwrap_or(&name);
    let named = NAMES.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format);
    let format = match (asked.or(named), compress) {
        (Some(Format::Raw) | None, Compression::TarGz) => Format::Raw,
        (Some(format), Compression::TarGz) => {
            let message = format!("a `.tar.gz` holds a raw disk, not `{}`", format.name());
            let help = "end the file's name in `.gz` alone";
            let problem = Diagnostic::error("format-archive", message).help(help);
            return Err(Failure::new(Cause::Files, problem));
        }
        (Some(format), _) => format,
        (None, _) => {
            let message = format!("the name `{}` tells no format", out.display());
            let help = "end it in `.raw`, `.qcow2`, `.vhd`, `.vhdx` or `.vmdk`, or add `--format`";
            let problem = Diagnostic::error("format-unknown", message).help(help);
            return Err(Failure::new(Cause::Files, problem));
        }
    };
    Ok((format, compress))
}

/// A disk, its holes and its longer runs of zeros as such.
fn read(path: &Path, progress: &Progress) -> Result<Blob, Failure> {
    let shown = path.display().to_string();
    if matches!(patch::leftover(path), Ok(Leftover::CutShort)) {
        let message = format!("a change of `{shown}` was cut short");
        let help = "take it back first: `talforge config set` or `remove` on it does so";
        let problem = Diagnostic::error("medium-cut-short", message).help(help);
        return Err(Failure::new(Cause::Medium, problem));
    }
    let raw = patch::read(path).map_err(|error| {
        let problem = match &error {
            PatchError::NotAFile { what, .. } => {
                let message = format!("`{shown}` is {what}, and files alone are converted");
                Diagnostic::error(error.code(), message).help("name an image in a file")
            }
            _ => error.diagnostic(),
        };
        Failure::new(Cause::World, problem)
    })?;
    let raw = unwrap(path, raw, progress)?.blob;
    let task = progress.task(&shown, raw.len());
    let tell = |bytes| {
        task.add(bytes);
        Ok(())
    };
    let disk = sparse::find_zeros(&duplicate::without_holes(&raw), &tell)
        .map_err(|source| sink_failure(&SinkError::Read { name: shown, source }))?;
    task.done("read");
    Ok(disk)
}

/// The logical sectors of a disk, by its partition table; where there is none that can be read, those
/// of most disks.
fn sector(disk: &Blob) -> SectorSize {
    partitions::read(disk).ok().flatten().map_or(SectorSize::B512, |table| table.sector())
}

/// A disk in a format. What it needs meanwhile lies in nameless files of `folder`.
fn encode(
    disk: &Disk<'_>,
    format: Format,
    compress: Compression,
    folder: &Path,
    tell: Tell<'_>,
) -> Result<Blob, EncodeError> {
    let formats = Formats::new(folder, Arc::default());
    let file = formats.disk(disk, format, tell)?;
    formats.pack(file, compress, disk.epoch, tell)
}

fn sink_failure(error: &SinkError) -> Failure {
    Failure::new(Cause::World, error.diagnostic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_format_and_compression() {
        let told = |name: &str, asked| target(Path::new(name), asked).map_err(|f| f.diagnostics);
        let plain = Compression::None;
        assert_eq!(told("out/a.qcow2", None), Ok((Format::Qcow2, plain)));
        assert_eq!(told("A.IMG", None), Ok((Format::Raw, plain)));
        assert_eq!(told("a.vhd.xz", None), Ok((Format::Vhd, Compression::Xz)));
        assert_eq!(told("a.vmdk", Some(Format::VmdkStream)), Ok((Format::VmdkStream, plain)));
        assert_eq!(told("a", Some(Format::Qcow2Zstd)), Ok((Format::Qcow2Zstd, plain)));
        assert_eq!(told("a.tar.gz", None), Ok((Format::Raw, Compression::TarGz)));
        assert_eq!(told("a.raw.tar.gz", None), Ok((Format::Raw, Compression::TarGz)));
        assert_eq!(told("a.raw.gz", None), Ok((Format::Raw, Compression::Gz)));
        insta::assert_snapshot!(told("a.gz", None).unwrap_err()[0], @r"
        error: the name `a.gz` tells no format
        help: end it in `.raw`, `.qcow2`, `.vhd`, `.vhdx` or `.vmdk`, or add `--format`
        ");
        insta::assert_snapshot!(told("a.qcow2.tar.gz", None).unwrap_err()[0], @r"
        error: a `.tar.gz` holds a raw disk, not `qcow2`
        help: end the file's name in `.gz` alone
        ");
    }
}
