//! A volume's division and its table of clusters, read from a volume that somebody else wrote.
//!
//! In: a volume. Out: chains of clusters, and what the table has for each.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03, sections 3 and 4.
//!
//! Not here: directories (`entry`), and changes (`edit`).

use std::ops::Range;

use crate::blob::Blob;
use crate::format::fat::edit::EditError;

/// The bytes of the table that are read at a time.
const WINDOW: u64 = 64 << 10;
/// The clusters below which a volume is FAT16.
const LEAST_CLUSTERS: u64 = 65_525;
/// The most clusters that 28 bits can count.
const MOST_CLUSTERS: u64 = 0x0fff_fff4;
/// The least value that ends a chain.
const END: u32 = 0x0fff_fff8;
/// The bits of an entry that count.
const MASK: u32 = 0x0fff_ffff;

/// How a volume is divided, and its table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    volume: Blob,
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// Bytes of a cluster.
    pub(super) cluster: u64,
    /// The first byte of each copy of the table.
    pub(super) copies: Vec<u64>,
    /// The first byte of the first cluster.
    data: u64,
    /// The clusters.
    pub(super) clusters: u32,
    /// The root directory's first cluster.
    pub(super) root: u32,
    /// Where the FSInfo lies.
    pub(super) info: u64,
    window: Window,
}

#[derive(Clone, Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Table {
    /// Reads the boot sector.
    pub(super) fn read(volume: &Blob) -> Result<Self, EditError> {
        let mut boot = [0; 512];
        volume.read_exact_at(&mut boot, 0)?;
        let byte = |at: usize| u64::from(boot[at]);
        let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let (sector, per_cluster, reserved, fats) = (short(11), byte(13), short(14), byte(16));
        let is_sector = (512..=4096).contains(&sector) && sector.is_power_of_two();
        if boot[510..] != [0x55, 0xaa] || !is_sector || !per_cluster.is_power_of_two() {
            return Err(EditError::Foreign("it has no FAT boot sector"));
        }
        let (fat, total) = (long(36), long(32));
        if short(17) != 0 || short(22) != 0 || fat == 0 || short(42) != 0 {
            return Err(EditError::Foreign("it is no FAT32"));
        }
        if !(1..=2).contains(&fats) || short(40) & 0x80 != 0 {
            return Err(EditError::Foreign("its tables are no mirrors of each other"));
        }
        let data = reserved + fats * fat;
        let clusters = total.saturating_sub(data) / per_cluster;
        let is_whole = total * sector <= volume.len() && (clusters + 2) * 4 <= fat * sector;
        if !(LEAST_CLUSTERS..=MOST_CLUSTERS).contains(&clusters) || !is_whole {
            return Err(EditError::Foreign("its sizes contradict each other"));
        }
        let info = short(48);
        if info == 0 || info >= reserved {
            return Err(EditError::Foreign("it has no FSInfo"));
        }
        let table = Self {
            volume: volume.clone(),
            sector,
            cluster: per_cluster * sector,
            copies: (0..fats).map(|n| (reserved + n * fat) * sector).collect(),
            data: data * sector,
            clusters: u32::try_from(clusters).expect("28 bits"),
            root: u32::try_from(long(44)).expect("it was read as 32 bits"),
            info: info * sector,
            window: Window::default(),
        };
        table.check(table.root)?;
        Ok(table)
    }

    /// The first byte of a cluster.
    pub(super) fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - 2) * self.cluster
    }

    /// The cluster that holds a byte of the volume, or nothing where it lies before them.
    pub(super) fn cluster_at(&self, offset: u64) -> Option<u32> {
        let index = offset.checked_sub(self.data)? / self.cluster;
        u32::try_from(index + 2).ok().filter(|cluster| *cluster < self.end())
    }

    /// The number after the last cluster's.
    pub(super) fn end(&self) -> u32 {
        self.clusters + 2
    }

    /// The bytes of a run of clusters.
    pub(super) fn bytes(&self, run: &Range<u32>) -> Range<u64> {
        let start = self.offset(run.start);
        start..start + u64::from(run.end - run.start) * self.cluster
    }

    fn check(&self, cluster: u32) -> Result<(), EditError> {
        match (2..self.end()).contains(&cluster) {
            true => Ok(()),
            false => Err(EditError::Damaged("a chain of clusters leaves the volume")),
        }
    }

    /// What the table has for a cluster, all 32 bits.
    pub(super) fn entry(&mut self, cluster: u32) -> Result<u32, EditError> {
        let at = self.copies[0] + 4 * u64::from(cluster);
        let window = &mut self.window;
        if at < window.start || at + 4 > window.start + window.bytes.len() as u64 {
            let last = self.copies[0] + 4 * u64::from(self.clusters + 2);
            let len = usize::try_from((last - at).min(WINDOW)).expect("64 KiB at most");
            window.bytes.resize(len, 0);
            self.volume.read_exact_at(&mut window.bytes, at)?;
            window.start = at;
        }
        let from = usize::try_from(at - window.start).expect("64 KiB at most");
        let entry = window.bytes[from..].first_chunk().expect("the window holds whole entries");
        Ok(u32::from_le_bytes(*entry))
    }

    /// How many clusters from this one on lead to the one behind them, as far as is read.
    fn straight(&mut self, cluster: u32) -> Result<u32, EditError> {
        self.entry(cluster)?;
        let at = self.copies[0] + 4 * u64::from(cluster);
        let from = usize::try_from(at - self.window.start).expect("64 KiB at most");
        let mut count = 0;
        let (entries, _) = self.window.bytes[from..].as_chunks::<4>();
        for entry in entries {
            if u32::from_le_bytes(*entry) & MASK != cluster + count + 1 {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// The runs of a chain, which has `most` clusters at most.
    pub(super) fn chain(&mut self, first: u32, most: u64) -> Result<Vec<Range<u32>>, EditError> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        let (mut cluster, mut left) = (first, u32::try_from(most).unwrap_or(u32::MAX));
        while left > 0 {
            self.check(cluster)?;
            let last = cluster + self.straight(cluster)?.min(left - 1);
            self.check(last)?;
            left -= last - cluster + 1;
            match runs.last_mut().filter(|run| run.end == cluster) {
                Some(run) => run.end = last + 1,
                None => runs.push(cluster..last + 1),
            }
            let next = self.entry(last)? & MASK;
            if next >= END {
                return Ok(runs);
            }
            cluster = next;
        }
        Err(EditError::Damaged("a chain of clusters does not end where it must"))
    }
}
