//! Disks in QEMU's own format, version 3: plain, compressed, or one node's bytes over a base.
//!
//! In: a disk. Out: a file's blob.
//!
//! Metadata come first, then the clusters that are not zeros. What metadata say depends on where a
//! disk has data and where those are a node's own, never on what a node's own bytes are: so nodes
//! whose layouts are equal have all of a file in common but their own bytes.
//!
//! Source: QEMU, `docs/interop/qcow2.rst`, `block/qcow2-threads.c` (deflate without a header and with
//! a window of 12 bits; a frame of Zstandard a cluster).
//!
//! Not here: how files are written (`file`).

use std::io;
use std::iter;
use std::ops::Range;
use std::path::Path;

use crate::blob::{Blob, Builder};
use crate::sink::Tell;
use crate::sink::shelf::{Piece, Shelf};
use crate::units::PAYLOAD_ALIGN;

mod image;
mod squeeze;

use image::{Clusters, Entry, Form, Image};
use squeeze::{Cluster, Squeezed};

/// Clusters of 64 KiB, as `qemu-img` makes them: their tables are small.
const CLUSTER: u32 = 16;
/// Clusters of 8 KiB, as Talos' own qcow2 images have them: an overlay takes at least six.
const OVERLAY_CLUSTER: u32 = 13;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// By deflate, which everything reads.
    Zlib,
    /// By Zstandard, which QEMU 5.1 and newer read.
    Zstd,
}

/// The file that an overlay is over. It holds [`Blob::base`] of the same disk.
#[derive(Clone, Copy, Debug)]
pub struct Backing<'a> {
    /// Its path, relative to the overlay's folder; at most 1021 bytes, or QEMU refuses it.
    pub name: &'a str,
    /// Its format.
    pub format: BackingFormat,
}

/// The format of a file that an overlay is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingFormat {
    /// A raw disk.
    Raw,
    /// A qcow2.
    Qcow2,
}

impl BackingFormat {
    /// QEMU's name of it.
    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Backing<'_> {
    /// The path, such that QEMU takes no part of it for a protocol: `a:b` would be one.
    fn path(&self) -> String {
        match self.name.find([':', '/']) {
            Some(at) if self.name[at..].starts_with(':') => format!("./{}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// A disk, its zeros left out. Its length is rounded up to whole sectors of 512 bytes.
///
/// What lies at a multiple of 4096 in the disk lies at one in the file, so that blocks can be shared.
pub fn plain(disk: &Blob) -> Blob {
    let clusters = Clusters::new(CLUSTER, disk.len());
    write_plain(disk, clusters, &clusters.data(disk), None)
}

/// A disk's clusters in which bytes are a node's own, over a base that has all others.
pub fn overlay(disk: &Blob, backing: &Backing<'_>) -> Blob {
    let clusters = Clusters::new(OVERLAY_CLUSTER, disk.len());
    let own = clusters.touched(disk.own().into_iter());
    write_plain(disk, clusters, &own, Some(backing))
}

fn write_plain(
    disk: &Blob,
    clusters: Clusters,
    written: &[Range<u64>],
    backing: Option<&Backing<'_>>,
) -> Blob {
    let mut file = Data::new(disk, clusters);
    written.iter().for_each(|run| file.plain(run));
    file.image(None, backing).emit()
}

/// A file's data as they grow.
#[derive(Debug)]
struct Data<'a> {
    disk: &'a Blob,
    clusters: Clusters,
    entries: Vec<Entry>,
    bytes: Builder,
}

impl<'a> Data<'a> {
    fn new(disk: &'a Blob, clusters: Clusters) -> Self {
        Self { disk, clusters, entries: Vec::new(), bytes: Builder::default() }
    }

    /// Adds clusters as they are.
    fn plain(&mut self, run: &Range<u64>) {
        let bytes = std::mem::take(&mut self.bytes).align(self.clusters.bytes());
        let (start, step) = (bytes.len(), self.clusters.bytes());
        let entry = |cluster| {
            let at = start + (cluster - run.start) * step;
            Entry { cluster, at, form: Form::Plain }
        };
        self.entries.extend(run.clone().map(entry));
        self.bytes = bytes.blob(&self.clusters.slice(self.disk, run));
    }

    /// Adds the clusters of a run that were compressed.
    fn packed(&mut self, run: &Range<u64>, piece: &Piece<Squeezed>) {
        let before = std::mem::take(&mut self.bytes).align(PAYLOAD_ALIGN);
        let mut at = before.len();
        for Cluster { number, packed } in piece.facts.iter() {
            if let Some(len) = packed {
                let cluster = run.start + number;
                self.entries.push(Entry { cluster, at, form: Form::Packed(*len) });
                at += len;
            }
        }
        self.bytes = before.blob(&piece.blob);
    }

    fn image<'b>(mut self, pack: Option<Pack>, backing: Option<&'b Backing<'b>>) -> Image<'b> {
        self.entries.sort_unstable_by_key(|entry| entry.cluster);
        Image {
            len: self.disk.len(),
            clusters: self.clusters,
            pack,
            backing,
            entries: self.entries,
            data: self.bytes.align(self.clusters.bytes()).finish(),
        }
    }
}

/// Writes disks with compressed clusters. What nodes have in common is compressed once.
#[derive(Debug)]
pub struct Packer {
    pack: Pack,
    shelf: Shelf<Squeezed>,
}

impl Packer {
    /// A packer that keeps what it has compressed in nameless files of a folder.
    pub fn new(folder: &Path, pack: Pack) -> Self {
        Self { pack, shelf: Shelf::new(folder) }
    }

    /// A disk, its zeros left out and its clusters compressed, where that saves a block.
    ///
    /// Clusters with a node's own bytes are stored as they are, behind all others: so they cost no
    /// time, and nothing else in the file depends on how well they would have compressed. `tell` is
    /// told of the disk's length in all.
    ///
    /// # Errors
    ///
    /// Where the disk cannot be read or the folder not be written to; and `tell`'s.
    pub fn pack(&self, disk: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
        let clusters = Clusters::new(CLUSTER, disk.len());
        let own = clusters.touched(disk.own().into_iter());
        let mut file = Data::new(disk, clusters);
        let mut told = 0;
        let mut made = Vec::new();
        for run in runs(&clusters.data(disk), &own) {
            let source = clusters.slice(disk, &run);
            let mut is_made = false;
            let piece = self.shelf.piece(&source, |source, out| {
                is_made = true;
                squeeze::squeeze(source, clusters, self.pack, out, tell)
            })?;
            if !is_made {
                tell(source.len())?;
            }
            told += source.len();
            made.push((run, piece));
        }
        for (run, piece) in &made {
            let stored = piece.facts.iter().filter(|cluster| cluster.packed.is_none());
            let first = stored.map(|cluster| (run.start + cluster.number) * clusters.bytes());
            let stored = clusters.touched(first.map(|at| at..at + clusters.bytes()));
            stored.iter().for_each(|run| file.plain(run));
        }
        made.iter().for_each(|(run, piece)| file.packed(run, piece));
        own.iter().for_each(|run| file.plain(run));
        tell(disk.len().saturating_sub(told))?;
        Ok(file.image(Some(self.pack), None).emit())
    }
}

/// The runs between a node's own clusters, each from its first cluster with data to its last.
fn runs(data: &[Range<u64>], own: &[Range<u64>]) -> Vec<Range<u64>> {
    let starts = iter::once(0).chain(own.iter().map(|own| own.end));
    let ends = own.iter().map(|own| own.start).chain(iter::once(u64::MAX));
    let run = |(from, to): (u64, u64)| {
        let first = data.partition_point(|range| range.end <= from);
        let last = data.partition_point(|range| range.start < to);
        let start = data.get(first)?.start.max(from);
        let end = data[..last].last()?.end.min(to);
        (start < end).then_some(start..end)
    };
    starts.zip(ends).filter_map(run).collect()
}

#[cfg(test)]
mod tests;
