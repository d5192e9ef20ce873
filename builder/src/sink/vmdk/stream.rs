//! VMDKs for transport: grains compressed by deflate, in the disk's order, each after a marker that
//! says which it is, so that a file can be read front to back.
//!
//! In: a disk. Out: a file's blob.
//!
//! After the grains of a table comes the table; tables come without grains of zeros, and where there
//! are no others not at all. At the end are the directory and a footer: the header again, which now
//! says where the directory is.
//!
//! Source: VMware, "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents"; RFC 1950,
//! RFC 1951.
//!
//! Not here: sparse ones (`sparse`).

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::{Compress, Compression, FlushCompress, Status};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::{
    COMPRESSED, DESCRIPTOR, DESCRIPTOR_SECTORS, ENTRIES, GRAIN, Header, MARKERS, NEW_LINE_TEST,
    SECTOR, VmdkError, descriptor,
};
use crate::blob::{Blob, Builder, Source};
use crate::parallel;
use crate::sink::shelf::Shelf;
use crate::sink::{Tell, blocks};
use crate::units::align_up;

/// Where the grains start: the room that VMware's own files have before them.
const OVERHEAD: u64 = 128 * SECTOR;
/// The header's place of a directory that the footer tells.
const AT_END: u64 = u64::MAX;
/// The markers' types.
const GRAIN_TABLE: u32 = 1;
const GRAIN_DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;
const END_OF_STREAM: u32 = 0;
/// How many grains two threads compress before they are written: 8 MiB.
const BATCH: usize = 128;
/// The bytes of a grain.
const GRAIN_BYTES: usize = 64 << 10;
/// The most that deflate makes of a grain, and its marker: blocks that are not compressed have 5
/// bytes more, and there are few.
const ROOM: usize = GRAIN_BYTES + 1024;
/// The level of compression: the usual one.
const LEVEL: u32 = 6;

/// A marker before a grain.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct GrainMarker {
    lba: U64,
    size: U32,
}
const _: () = assert!(size_of::<GrainMarker>() == 12);

/// A marker before something else.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Marker {
    num_sectors: U64,
    size: U32,
    kind: U32,
    pad: [u8; 496],
}
const _: () = assert!(size_of::<Marker>() == 512);

/// A grain that was compressed, with its marker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Its number on the disk.
    grain: u32,
    /// How many sectors of the file it takes.
    sectors: u32,
}

/// Writes a disk whose length the format has.
pub(super) fn write(disk: &Blob, shelf: &Shelf<Arc<[Made]>>, tell: Tell<'_>) -> io::Result<Blob> {
    let told = AtomicU64::new(0);
    let count = |bytes: u64| {
        told.fetch_add(bytes, Ordering::Relaxed);
        tell(bytes)
    };
    let piece = shelf.piece(&common(disk), |source, out| compress(source, out, &count))?;
    tell(disk.len() - told.into_inner())?;
    let mut own = blocks::touched(disk, GRAIN, true).into_iter().flatten().peekable();
    let mut file = Stream::new(disk, piece.blob);
    for made in piece.facts.iter() {
        let number = u64::from(made.grain);
        while let Some(grain) = own.next_if(|&grain| grain < number) {
            file.own_grain(grain)?;
        }
        match own.next_if_eq(&number) {
            Some(grain) => {
                file.own_grain(grain)?;
                file.skip(*made);
            }
            None => file.made_grain(*made)?,
        }
    }
    for grain in own {
        file.own_grain(grain)?;
    }
    file.finish()
}

/// What nodes have in common, in extents that do not tell how long one node's own bytes are.
fn common(disk: &Blob) -> Blob {
    let (mut out, mut zeros) = (Builder::default(), 0);
    for extent in disk.base().extents() {
        match extent.source {
            Source::Zeros => zeros += extent.len,
            _ => {
                out = out.zeros("zeros", zeros).blob(&disk.slice(extent.start..extent.end()));
                zeros = 0;
            }
        }
    }
    out.zeros("zeros", zeros).finish()
}

/// Writes the grains of a disk that are not all zeros, compressed, with their markers.
fn compress(source: &Blob, out: &mut dyn Write, tell: Tell<'_>) -> io::Result<Arc<[Made]>> {
    let mut grains = blocks::touched(source, GRAIN, false).into_iter().flatten();
    let mut made = Vec::new();
    loop {
        let batch: Vec<u64> = grains.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(made.into());
        }
        let (front, back) = batch.split_at(batch.len() / 2);
        // Grains are compressed apart: who does it makes no difference to the bytes.
        let halves = parallel::try_in_order(2, &[front, back], |half| pack_all(source, half))?;
        for (grain, bytes) in halves.into_iter().flatten() {
            let sectors = number(bytes.len() as u64 / SECTOR)?;
            made.push(Made { grain: number(grain)?, sectors });
            out.write_all(&bytes)?;
        }
        let last = batch.last().map_or(0, |grain| ((grain + 1) * GRAIN).min(source.len()));
        let bytes = batch.len() as u64 * GRAIN - (align_up(last, GRAIN) - last);
        tell(bytes)?;
    }
}

fn pack_all(source: &Blob, grains: &[u64]) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut deflate = Compress::new(Compression::new(LEVEL), true);
    let mut out = Vec::new();
    for &grain in grains {
        let data = read(source, grain)?;
        if data.iter().all(|&byte| byte == 0) {
            continue;
        }
        deflate.reset();
        let mut packed = Vec::with_capacity(ROOM);
        let status = deflate.compress_vec(&data, &mut packed, FlushCompress::Finish)?;
        if status != Status::StreamEnd {
            return Err(io::Error::other("a grain has no room when it is compressed"));
        }
        let mut bytes = marker(grain, packed.len())?;
        bytes.extend(packed);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        out.push((grain, bytes));
    }
    Ok(out)
}

/// The bytes of a grain, zeros where the disk ends in it.
fn read(disk: &Blob, grain: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; GRAIN_BYTES];
    let at = grain * GRAIN;
    let len = usize::try_from(disk.len() - at).map_or(GRAIN_BYTES, |left| left.min(GRAIN_BYTES));
    disk.read_exact_at(&mut data[..len], at)?;
    Ok(data)
}

fn marker(grain: u64, len: usize) -> io::Result<Vec<u8>> {
    let lba = U64::new(grain * (GRAIN / SECTOR));
    let marker = GrainMarker { lba, size: U32::new(number(len as u64)?) };
    Ok(marker.as_bytes().to_vec())
}

/// A number of an entry.
fn number(n: u64) -> io::Result<u32> {
    let large = |_| io::Error::new(io::ErrorKind::InvalidInput, VmdkError::Packed);
    u32::try_from(n).map_err(large)
}

/// A file under way.
struct Stream<'a> {
    disk: &'a Blob,
    out: Builder,
    /// The grains that were compressed, and which of their bytes come next.
    piece: Blob,
    next: Range<u64>,
    /// The table under way: its number, its entries.
    table: u64,
    entries: Vec<u32>,
    /// Where the tables before it lie, 0 for none.
    directory: Vec<u32>,
}

impl<'a> Stream<'a> {
    fn new(disk: &'a Blob, piece: Blob) -> Self {
        let text = descriptor("streamOptimized", disk.len(), "disk.vmdk").into_bytes();
        let out = Builder::default()
            .bytes("vmdk header", header(disk.len(), AT_END).as_bytes())
            .bytes("vmdk descriptor", text)
            .fill_to((DESCRIPTOR + DESCRIPTOR_SECTORS) * SECTOR)
            .fill_to(OVERHEAD);
        let entries = vec![0; 512];
        Self { disk, out, piece, next: 0..0, table: 0, entries, directory: Vec::new() }
    }

    /// The sector that comes next.
    fn sector(&self) -> io::Result<u32> {
        number((self.out.len() + self.next.end - self.next.start) / SECTOR)
    }

    /// Enters a grain that comes next into its table.
    fn enter(&mut self, grain: u64) -> io::Result<()> {
        while self.table < grain / ENTRIES {
            self.end_table()?;
        }
        let at = usize::try_from(grain % ENTRIES).expect("a table has 512 entries");
        self.entries[at] = self.sector()?;
        Ok(())
    }

    /// Adds a grain from the piece: the next one there.
    fn made_grain(&mut self, made: Made) -> io::Result<()> {
        self.enter(made.grain.into())?;
        self.next.end += u64::from(made.sectors) * SECTOR;
        Ok(())
    }

    /// Leaves out a grain of the piece: the next one there.
    fn skip(&mut self, made: Made) {
        self.flush();
        let end = self.next.end + u64::from(made.sectors) * SECTOR;
        self.next = end..end;
    }

    /// Adds what is next of the piece.
    fn flush(&mut self) {
        let grains = self.piece.slice(self.next.clone()).labelled("vmdk grains");
        self.out = std::mem::take(&mut self.out).blob(&grains);
        self.next.start = self.next.end;
    }

    /// Adds a grain as it is: in two blocks that are not compressed, for one has 65535 bytes at
    /// most. Zeros beyond the disk's end are part of it.
    fn own_grain(&mut self, grain: u64) -> io::Result<()> {
        const HALF: u64 = GRAIN / 2;
        const BLOCKS: [[u8; 5]; 2] = [[0, 0, 0x80, 0xff, 0x7f], [1, 0, 0x80, 0xff, 0x7f]];
        const HEADER: [u8; 2] = [0x78, 0x01];
        self.enter(grain)?;
        self.flush();
        let sum =
            Blob::from_bytes("vmdk checksum", adler32(&read(self.disk, grain)?).to_be_bytes());
        let data = blocks::data(self.disk, &(grain..grain + 1), GRAIN);
        let len = HEADER.len() + 2 * BLOCKS[0].len() + GRAIN_BYTES + 4;
        let mut start = marker(grain, len)?;
        start.extend(HEADER);
        start.extend(BLOCKS[0]);
        self.out = std::mem::take(&mut self.out)
            .bytes("vmdk marker", start)
            .blob(&data.slice(0..HALF))
            .bytes("vmdk marker", BLOCKS[1])
            .blob(&data.slice(HALF..GRAIN))
            .blob(&sum.owned())
            .align(SECTOR);
        Ok(())
    }

    /// Ends a table, and adds it where it has grains.
    fn end_table(&mut self) -> io::Result<()> {
        let mut place = 0;
        if self.entries.iter().any(|&sector| sector != 0) {
            self.flush();
            place = self.special(GRAIN_TABLE, "vmdk grain table", &bytes_of(&self.entries))?;
            self.entries.fill(0);
        }
        self.directory.push(place);
        self.table += 1;
        Ok(())
    }

    /// Adds a marker and what it is of; gives where the latter lies.
    fn special(&mut self, kind: u32, label: &str, bytes: &[u8]) -> io::Result<u32> {
        let num_sectors = U64::new((bytes.len() as u64).div_ceil(SECTOR));
        let (size, kind) = (U32::new(0), U32::new(kind));
        let marker = Marker { num_sectors, size, kind, pad: [0; 496] };
        self.out = std::mem::take(&mut self.out).bytes("vmdk marker", marker.as_bytes());
        let place = self.sector()?;
        self.out = std::mem::take(&mut self.out).bytes(label, bytes).align(SECTOR);
        Ok(place)
    }

    fn finish(mut self) -> io::Result<Blob> {
        let tables = self.disk.len().div_ceil(GRAIN * ENTRIES);
        while self.table < tables {
            self.end_table()?;
        }
        let directory = bytes_of(&self.directory);
        let place = self.special(GRAIN_DIRECTORY, "vmdk grain directory", &directory)?;
        let footer = header(self.disk.len(), place.into());
        self.special(FOOTER, "vmdk footer", footer.as_bytes())?;
        self.special(END_OF_STREAM, "vmdk end", &[])?;
        Ok(self.out.finish())
    }
}

fn header(disk_len: u64, directory: u64) -> Header {
    Header {
        version: U32::new(3),
        flags: U32::new(NEW_LINE_TEST | COMPRESSED | MARKERS),
        gd_offset: U64::new(directory),
        over_head: U64::new(OVERHEAD / SECTOR),
        compress_algorithm: U16::new(1),
        ..Header::new(disk_len)
    }
}

fn bytes_of(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// RFC 1950, section 9.
fn adler32(bytes: &[u8]) -> u32 {
    const BASE: u64 = 65521;
    // The sums of a grain fit in 64 bits without a remainder taken.
    let (a, b) = bytes.iter().fold((1_u64, 0_u64), |(a, b), &byte| {
        let a = a + u64::from(byte);
        (a, b + a)
    });
    let low = |n: u64| u32::try_from(n % BASE).expect("a remainder of 65521 has 16 bits");
    low(b) << 16 | low(a)
}
