//! Opening a medium in whatever it is wrapped: a disk of a virtual machine, an archive, a compressed
//! file.
//!
//! In: a file. Out: the medium in it, and what it was wrapped in.
//!
//! What must be unpacked goes to a file without a name, which nobody else can open and which is gone
//! with this process: in the folder that `TMPDIR` names, else beside the medium, where there is most
//! likely room for it, else where the system has its temporary files.
//!
//! Source: QEMU `docs/system/qemu-block-drivers.rst.inc` for what names a backing file may have.
//!
//! Not here: the wrappings (`inspect::container`), and the medium (`inspect`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use crate::blob::Blob;
use crate::inspect::container::packed::{Packed, UnpackError};
use crate::inspect::container::{self, Container, Content, DEPTH, LIMIT};
use crate::inspect::damage::Damage;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::verb::{Cause, Failure, chain};

/// A medium, taken out of what it was wrapped in.
#[derive(Debug)]
pub(super) struct Unwrapped {
    /// The medium's bytes.
    pub(super) blob: Blob,
    /// What it was wrapped in, the outermost first: `zst`, `qcow2`.
    pub(super) containers: Vec<&'static str>,
}

/// Takes a medium out of what it is wrapped in. `path` is where its file lies.
///
/// # Errors
///
/// Where a wrapping is damaged or cannot be unpacked.
pub(super) fn unwrap(path: &Path, file: Blob, progress: &Progress) -> Result<Unwrapped, Failure> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let backing = |name: &str| beside(folder, name);
    let mut out = Unwrapped { blob: file, containers: Vec::new() };
    while let Some(Container { format, content, .. }) =
        container::open(&out.blob, &backing).map_err(|damage| damaged(path, &damage))?
    {
        if out.containers.len() == DEPTH {
            let damage = Damage::new("file", 0, format!("it is wrapped more than {DEPTH} times"));
            return Err(damaged(path, &damage));
        }
        out.containers.push(format);
        out.blob = match content {
            Content::Mapped(blob) => blob,
            Content::Packed(packed) => unpack(path, folder, &packed, progress)?,
        };
    }
    Ok(out)
}

fn damaged(path: &Path, damage: &Damage) -> Failure {
    let message = format!("`{}` cannot be opened: {damage}", path.display());
    let help = "copy or build it again, or make a plain disk of it with `qemu-img convert`";
    Failure::new(Cause::Medium, Diagnostic::error("damage", message).help(help))
}

/// The file that an overlay names, if it is a plain file in the overlay's own folder. Links are not
/// followed: what a foreign file says must not make us open others' files.
fn beside(folder: &Path, name: &str) -> Option<Blob> {
    let mut parts = Path::new(name).components();
    let (Some(Component::Normal(only)), None) = (parts.next(), parts.next()) else { return None };
    if only.as_encoded_bytes() != name.as_bytes() {
        return None;
    }
    // A pipe would keep us waiting.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.cast_signed()).open(folder.join(only)).ok()?;
    let is_plain = file.metadata().is_ok_and(|about| about.is_file());
    if is_plain { Blob::from_file(name, file).ok() } else { None }
}

/// Unpacks to a file without a name.
fn unpack(
    path: &Path,
    folder: &Path,
    packed: &Packed,
    progress: &Progress,
) -> Result<Blob, Failure> {
    let shown = path.display();
    let world = |error: &io::Error| {
        let message = format!("`{shown}` cannot be unpacked: {error}");
        let help = "set `TMPDIR` to a folder with room for the whole disk";
        Failure::new(Cause::World, Diagnostic::error("unpack", message).help(help))
    };
    let out = nameless(folder).map_err(|error| world(&error))?;
    let task = progress.task(&shown.to_string(), packed.work());
    packed.unpack(&out, LIMIT, &mut |bytes| task.add(bytes)).map_err(|error| match &error {
        UnpackError::Damage(damage) => damaged(path, damage),
        UnpackError::Write(cause) => world(cause),
        UnpackError::TooLong(..) => {
            let message = format!("`{shown}` cannot be unpacked: {}", chain(&error));
            let help = "no medium is like that; if this one is, unpack it with its own tool first";
            Failure::new(Cause::Medium, Diagnostic::error("damage", message).help(help))
        }
    })?;
    task.done("unpacked");
    Blob::from_file(&shown.to_string(), out).map_err(|error| world(&error))
}

/// An empty file without a name.
fn nameless(folder: &Path) -> io::Result<File> {
    let chosen = std::env::var_os("TMPDIR").filter(|chosen| !chosen.is_empty()).map(PathBuf::from);
    match chosen {
        Some(chosen) => tempfile::tempfile_in(chosen),
        None => tempfile::tempfile_in(folder).or_else(|_| tempfile::tempfile()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::report::progress::Mode;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn a_file_in_a_file_in_a_file_is_opened_up_to_a_depth() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.gz");
        let quiet = Progress::to(Mode::Quiet, Box::new(io::sink()), Box::new(io::sink()));
        let mut bytes = b"a disk".to_vec();
        for depth in 0..=DEPTH {
            let file = Blob::from_bytes("file", bytes.as_slice());
            let opened = unwrap(&path, file, &quiet).unwrap();
            assert_eq!(opened.containers.len(), depth);
            assert_eq!(opened.blob.to_vec().unwrap(), b"a disk");
            bytes = gz(&bytes);
        }
        let file = Blob::from_bytes("file", bytes);
        let failure = unwrap(&path, file, &quiet).unwrap_err();
        assert!(failure.diagnostics[0].message.contains("more than 4 times"), "{failure:?}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "nothing stays behind");
    }

    #[test]
    fn a_backing_file_is_taken_from_the_same_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(folder.path().join("outside"), b"outside").unwrap();
        std::fs::write(inner.join("base.qcow2"), b"base").unwrap();
        std::os::unix::fs::symlink("../outside", inner.join("link")).unwrap();
        let found = |name: &str| beside(&inner, name).map(|blob| blob.to_vec().unwrap());
        assert_eq!(found("base.qcow2").unwrap(), b"base");
        let absolute = inner.join("base.qcow2").display().to_string();
        for name in [
            "",
            ".",
            "..",
            "../outside",
            "link",
            "./base.qcow2",
            "base.qcow2/",
            "none",
            &absolute,
            "json:{}",
            "nbd:localhost:1",
            "base.qcow2\0",
            "x/../base.qcow2",
        ] {
            assert!(found(name).is_none(), "{name:?}");
        }
    }
}
