//! What of a disk belongs to nothing, so that what is there means nothing.
//!
//! In: a disk. Out: ranges.
//!
//! Free is what a GPT gives to no partition, but for the first of them and before, and the table's
//! copy at the end; and the free clusters of FAT32 volumes. All else is taken for used.
//!
//! Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (fatgen103), "Boot Sector and
//! BPB Structure"; ECMA-119, 8.1, for what an ISO is told by.
//!
//! Not here: whether there are zeros.

use std::io;
use std::ops::Range;

use crate::blob::{Blob, Source};
use crate::inspect::partitions::{self, Scheme};
use crate::units::MIB;

/// Room for the copy of the table at the disk's end, generously.
const BACKUP: u64 = MIB;

/// Where an ISO says that it is one.
const ISO_MARK: (u64, &[u8; 5]) = (32_769, b"CD001");

/// The bytes of a file allocation table that are looked at at once.
const WINDOW: usize = 16 << 10;

/// The free ranges, in order and apart.
pub(super) fn ranges(disk: &Blob) -> io::Result<Vec<Range<u64>>> {
    let table = match partitions::read(disk) {
        Ok(Some(table)) if matches!(table.scheme, Scheme::Gpt { .. }) => table,
        _ => return Ok(Vec::new()),
    };
    if is_iso(disk)? {
        return Ok(Vec::new());
    }
    let mut used: Vec<Range<u64>> = table.partitions.into_iter().map(|p| p.range).collect();
    used.sort_by_key(|range| (range.start, range.end));
    if used.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Ok(Vec::new());
    }
    let (mut free, mut at) = (Vec::new(), None);
    for range in used {
        let start = at.unwrap_or(range.start);
        push(&mut free, start..range.start);
        if let Some(volume) = disk.get(range.clone()) {
            clusters(&volume, |cluster| {
                push(&mut free, range.start + cluster.start..range.start + cluster.end);
            })?;
        }
        at = Some(range.end);
    }
    if let Some(at) = at {
        push(&mut free, at..disk.len().saturating_sub(BACKUP));
    }
    Ok(free)
}

fn push(free: &mut Vec<Range<u64>>, range: Range<u64>) {
    match free.last_mut() {
        _ if range.start >= range.end => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => free.push(range),
    }
}

fn is_iso(disk: &Blob) -> io::Result<bool> {
    let (at, mark) = ISO_MARK;
    let found = disk.get(at..at + mark.len() as u64).map(|found| found.to_vec()).transpose()?;
    Ok(found.is_some_and(|found| found == mark))
}

/// Gives the free clusters of a FAT32 volume, in order; none of anything else.
fn clusters(volume: &Blob, mut free: impl FnMut(Range<u64>)) -> io::Result<()> {
    let Some(shape) = Shape::read(volume)? else { return Ok(()) };
    let mut window = vec![0; WINDOW];
    let (mut number, end) = (0, shape.clusters + 2);
    while number < end {
        let left = usize::try_from((end - number) * 4).unwrap_or(WINDOW).min(WINDOW);
        let window = &mut window[..left];
        let start = shape.table + number * 4;
        let Some(part) = volume.get(start..start + left as u64) else { return Ok(()) };
        // Most of a table: nothing is read of it.
        if number >= 2 && part.extents().iter().all(|e| matches!(e.source, Source::Zeros)) {
            let next = number + left as u64 / 4;
            free(shape.start_of(number)..shape.start_of(next));
            number = next;
            continue;
        }
        part.read_exact_at(window, 0)?;
        for entry in window.chunks_exact(4) {
            let is_free = matches!(entry, [0, 0, 0, high] if high & 0x0f == 0);
            if is_free && number >= 2 {
                free(shape.start_of(number)..shape.start_of(number + 1));
            }
            number += 1;
        }
    }
    Ok(())
}

/// Where a FAT32 volume has what, in bytes.
struct Shape {
    table: u64,
    data: u64,
    cluster: u64,
    /// How many there are.
    clusters: u64,
}

impl Shape {
    /// Where a cluster starts. The first has the number 2.
    fn start_of(&self, number: u64) -> u64 {
        self.data + (number - 2) * self.cluster
    }

    /// Reads a boot sector; nothing where it is not that of a FAT32 volume in all its parts.
    fn read(volume: &Blob) -> io::Result<Option<Self>> {
        let Some(boot) = volume.get(0..512) else { return Ok(None) };
        let boot = boot.to_vec()?;
        let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let (sector, per_cluster, fats) = (short(11), u64::from(boot[13]), u64::from(boot[16]));
        let (table_sectors, sectors) = (long(36), long(32));
        let is_fat32 = boot[510..] == [0x55, 0xaa]
            && [512, 1024, 2048, 4096].contains(&sector)
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&fats)
            && short(17) == 0
            && short(22) == 0
            && table_sectors > 0;
        let table = short(14) * sector;
        let data = table + fats * table_sectors * sector;
        let cluster = per_cluster * sector;
        let end = volume.len().min(sectors * sector);
        if !is_fat32 || data >= end {
            return Ok(None);
        }
        let clusters = ((end - data) / cluster).min((table_sectors * sector / 4).saturating_sub(2));
        Ok(Some(Self { table, data, cluster, clusters }))
    }
}
