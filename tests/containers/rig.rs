//! Disks for foreign tools to wrap, and what the reader makes of their files.
//!
//! In: scripts. Out: contents, by the reader alone.
//!
//! Not here: what they must be.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use lab::noise::noise;
use lab::tools;
use talforge::blob::{Blob, Source};
use talforge::inspect::container::packed::UnpackError;
use talforge::inspect::container::{self, Container, Content};
use talforge::units::MIB;

/// The programs that wrap.
pub(crate) const PROGRAMS: &[&str] =
    &["bash", "bsdtar", "gzip", "qemu-img", "qemu-io", "tar", "xz", "zstd"];

/// The length of the disk, no multiple of any cluster.
pub(crate) const LEN: u64 = 5 * MIB + 3 * 512;

/// Runs a script in a folder.
pub(crate) fn shell(dir: &Path, script: &str) {
    tools::stdout("bash", &["-euo", "pipefail", "-c", script], dir).unwrap();
}

/// A folder with `disk.raw`, and its bytes.
pub(crate) fn folder() -> (tempfile::TempDir, Vec<u8>) {
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    let dir = tempfile::tempdir().unwrap();
    let bytes = DISK.get_or_init(disk);
    save(bytes, &dir.path().join("disk.raw"));
    (dir, bytes.clone())
}

/// Noise, words and holes, of lengths that no cluster has.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &noise(1, 70_000));
    put(200_000, &b"talos ".repeat(30_000));
    put(1 << 20, &noise(2, 300_000));
    put((2 << 20) + 4096, &noise(3, 512));
    put(3 << 20, &noise(4, 600_000));
    put((3 << 20) + 250_000, &vec![0; 200_000]);
    put(usize::try_from(LEN).unwrap() - 700, &noise(5, 700));
    bytes
}

/// Writes a file without its blocks of zeros.
fn save(bytes: &[u8], path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, index as u64 * 4096).unwrap();
        }
    }
}

/// A file as a blob.
pub(crate) fn blob(path: &Path) -> Blob {
    Blob::from_file("file", File::open(path).unwrap()).unwrap()
}

/// What was unwrapped.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) formats: Vec<&'static str>,
    pub(crate) content: Blob,
}

/// Unwraps a file as far as it goes. Backing files are those of its folder.
pub(crate) fn read(path: &Path) -> Result<Read, UnpackError> {
    unwrap(blob(path), &|name| {
        let file = File::open(path.with_file_name(name)).ok()?;
        Blob::from_file(name, file).ok()
    })
}

/// Unwraps a file as far as it goes.
pub(crate) fn unwrap(
    file: Blob,
    backing: &dyn Fn(&str) -> Option<Blob>,
) -> Result<Read, UnpackError> {
    let mut out = Read { formats: Vec::new(), content: file };
    while let Some(Container { format, disk_len, content }) =
        container::open(&out.content, backing)?
    {
        assert!(out.formats.len() < container::DEPTH, "{:?}", out.formats);
        out.formats.push(format);
        out.content = match content {
            Content::Mapped(blob) => blob,
            Content::Packed(packed) => {
                let file = tempfile::tempfile().unwrap();
                let mut told = 0;
                packed.unpack(&file, 64 * MIB, &mut |bytes| told += bytes)?;
                assert_eq!(told, packed.work());
                Blob::from_file("unpacked", file).unwrap()
            }
        };
        if let Some(len) = disk_len {
            assert_eq!(out.content.len(), len, "{format}");
        }
    }
    Ok(out)
}

/// Sees to it that a file is in these formats, and holds these bytes.
pub(crate) fn assert_holds(path: &Path, formats: &[&str], want: &[u8]) {
    let name = path.display();
    let read = read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read.formats, formats, "{name}");
    let got = read.content.to_vec().unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    let first = got.iter().zip(want).position(|(a, b)| a != b);
    assert_eq!(first, None, "{name}: the first byte that differs");
}

/// Whether the reader found no bytes where the disk has holes.
pub(crate) fn has_holes(content: &Blob) -> bool {
    content.extents().iter().any(|extent| matches!(extent.source, Source::Zeros))
}
