//! The files of an image, joined from its layers.
//!
//! In: an image, its layers. Out: a blob for each file.
//!
//! Each layer is unpacked once, into a nameless file; what is zeros there takes no room.
//!
//! Source: RFC 8878.
//!
//! Not here: where layers come from (`place`), and whether the files are right: who writes them
//! compares their digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::blob::{Blob, Builder};
use crate::digest::Digest;
use crate::export::error::ExportError;
use crate::export::image::{Chunk, Image, Part};

/// What is looked for zeros at once.
const BLOCK: usize = 64 << 10;

/// A nameless file that layers are unpacked to.
struct Heap {
    file: File,
    end: u64,
    /// What lies in it, as runs that are data, by layer.
    found: BTreeMap<Digest, Vec<Run>>,
}

/// A run of an unpacked layer: its place in the layer, and in the file unless it is zeros.
#[derive(Clone, Debug)]
struct Run {
    len: u64,
    at: Option<u64>,
}

/// The files of an image, in its order. `layer` gives a layer as it is kept; `folder` has room for the
/// nameless file.
///
/// # Errors
///
/// Where a layer cannot be had, or does not unpack to what the image says; and where there is no
/// room.
pub fn join(
    image: &Image,
    layer: &dyn Fn(Digest) -> Result<Blob, ExportError>,
    folder: &Path,
) -> Result<Vec<Blob>, ExportError> {
    let room = |source| ExportError::Write { path: folder.to_owned(), source };
    let file = tempfile::tempfile_in(folder).map_err(room)?;
    let mut heap = Heap { file, end: 0, found: BTreeMap::new() };
    let chunks = image.files.iter().flat_map(|part| &part.chunks);
    let chunks = chunks.map(|chunk| (chunk.layer, chunk.len));
    for (digest, len) in chunks.chain(image.own.iter().map(|own| (own.layer, own.len))) {
        match heap.found.get(&digest) {
            None => {
                let bytes = unpack(&layer(digest)?, len, digest)?;
                heap.add(digest, &bytes).map_err(room)?;
            }
            Some(runs) if runs.iter().map(|run| run.len).sum::<u64>() == len => {}
            Some(_) => return Err(wrong(digest, "it is said to have several lengths")),
        }
    }
    let whole = Blob::from_file("layers", heap.file.try_clone().map_err(room)?).map_err(room)?;
    let runs = |digest: Digest| heap.found.get(&digest).map(Vec::as_slice).unwrap_or_default();
    let own =
        image.own.iter().fold(Builder::default(), |out, own| add(out, &whole, runs(own.layer)));
    let own = own.finish().labelled("own").owned();
    let mut taken = 0;
    let mut files = Vec::new();
    for part in &image.files {
        let base =
            part.chunks.iter().fold(Builder::default(), |out, Chunk { start, layer, .. }| {
                add(out.fill_to(*start), &whole, runs(*layer))
            });
        files.push(lay_over(&base.fill_to(part.len).finish(), part, &own, &mut taken));
    }
    Ok(files)
}

/// The base with own bytes in their ranges.
fn lay_over(base: &Blob, part: &Part, own: &Blob, taken: &mut u64) -> Blob {
    let mut out = Builder::default();
    for range in &part.own {
        let len = range.end - range.start;
        let before = out.len()..range.start;
        out = out.blob(&base.slice(before)).blob(&own.slice(*taken..*taken + len));
        *taken += len;
    }
    let rest = out.len()..part.len;
    out.blob(&base.slice(rest)).finish()
}

fn add(out: Builder, whole: &Blob, runs: &[Run]) -> Builder {
    runs.iter().fold(out, |out, run| match run.at {
        None => out.zeros("zeros", run.len),
        Some(at) => out.blob(&whole.slice(at..at + run.len)),
    })
}

impl Heap {
    fn add(&mut self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let mut runs: Vec<Run> = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let len = block.len() as u64;
            let is_zero = block.iter().all(|byte| *byte == 0);
            if !is_zero {
                self.file.write_all_at(block, self.end)?;
            }
            match runs.last_mut() {
                Some(last) if last.at.is_none() == is_zero => last.len += len,
                _ => runs.push(Run { len, at: (!is_zero).then_some(self.end) }),
            }
            self.end += if is_zero { 0 } else { len };
        }
        self.found.insert(digest, runs);
        Ok(())
    }
}

/// Unpacks a layer, whose length is known.
fn unpack(layer: &Blob, len: u64, digest: Digest) -> Result<Vec<u8>, ExportError> {
    let broken = |error: io::Error| wrong(digest, &error.to_string());
    let decoder = zstd::Decoder::new(layer.reader()).map_err(broken)?;
    let mut bytes = Vec::new();
    decoder.take(len + 1).read_to_end(&mut bytes).map_err(broken)?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(wrong(digest, &format!("it does not unpack to {len} bytes"))),
    }
}

fn wrong(digest: Digest, why: &str) -> ExportError {
    ExportError::Artifact { what: format!("the layer sha256:{digest}"), why: why.to_owned() }
}
