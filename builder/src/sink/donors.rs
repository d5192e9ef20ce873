//! Earlier images of a batch, whose blocks a later one can share.
//!
//! In: finished images. Out: the ranges that a new image has in common with one of them.
//!
//! Source: the manual page copy_file_range(2).
//!
//! Not here: the copying (`copy`), and whether the file system can share (`folder`).

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{Blob, Builder, Extent, Source};
use crate::units::align_up;

/// How many images are kept as donors: one a profile and architecture is enough.
const DONORS: usize = 8;

/// Images that others may take blocks from, several at once; the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Donors(Mutex<Vec<Donor>>);

#[derive(Debug)]
struct Donor {
    blob: Blob,
    file: Arc<File>,
    /// The file as one extent, the same for all that it gives to.
    written: Blob,
}

/// What a new image can take from an earlier one.
#[derive(Debug)]
pub(super) struct Gift {
    /// The earlier image.
    pub(super) file: Arc<File>,
    /// The same as a blob.
    pub(super) written: Blob,
    /// The ranges that are equal, in order and apart, each a whole number of blocks.
    pub(super) ranges: Vec<Range<u64>>,
    /// Whether most of the image's data are in them, so that it has little to give itself.
    pub(super) is_most: bool,
}

impl Gift {
    /// A file that was given the ranges: its bytes are read from it, those that were given from the
    /// earlier image, where they have been read before. They are the same on the disk.
    pub(super) fn seen_in(&self, file: &Blob) -> Blob {
        let mut seen = Builder::default();
        let mut at = 0;
        for Range { start, end } in self.ranges.iter().cloned() {
            seen = seen.blob(&file.slice(at..start)).blob(&self.written.slice(start..end));
            at = end;
        }
        seen.blob(&file.slice(at..file.len())).finish()
    }
}

impl Donors {
    /// The image that has most in common with `blob`, if any has a block.
    pub(super) fn gift(&self, blob: &Blob, block: u64) -> Option<Gift> {
        let mut donors = self.donors();
        let common = |donor: &Donor| Common::of(&donor.blob, blob);
        let (at, common) = donors
            .iter()
            .map(common)
            .enumerate()
            .filter(|(_, common)| common.data_bytes > 0)
            .max_by_key(|(_, common)| common.data_bytes)?;
        let donor = donors.remove(at);
        let is_most = common.is_most_of(blob);
        let ranges = whole_blocks(common.ranges, block);
        let (file, written) = (donor.file.clone(), donor.written.clone());
        let gift = Gift { file, written, ranges, is_most };
        donors.push(donor);
        (!gift.ranges.is_empty()).then_some(gift)
    }

    /// Adds an image, unless one that is much the same is here already.
    pub(super) fn add(&self, blob: &Blob, file: Arc<File>) {
        let mut donors = self.donors();
        let known = |donor: &Donor| Common::of(&donor.blob, blob).is_most_of(blob);
        if data_bytes(blob.extents()) == 0 || donors.iter().any(known) {
            return;
        }
        if donors.len() == DONORS {
            donors.remove(0);
        }
        // Without it others copy what they could share.
        if let Ok(written) = file.try_clone().and_then(|file| Blob::from_file("donor", file)) {
            donors.push(Donor { blob: blob.clone(), file, written });
        }
    }

    fn donors(&self) -> MutexGuard<'_, Vec<Donor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What two blobs have in common: extents at one place, from one source.
#[derive(Debug, Default)]
struct Common {
    /// Where, neighbours joined.
    ranges: Vec<Range<u64>>,
    /// How much of it is not zeros.
    data_bytes: u64,
}

impl Common {
    fn of(a: &Blob, b: &Blob) -> Self {
        let (mut a, mut b) = (a.extents(), b.extents());
        let mut common = Self::default();
        while let ([x, more_a @ ..], [y, more_b @ ..]) = (a, b) {
            if x.is_same_run(y) {
                common.push(x);
            }
            if x.end() <= y.end() {
                a = more_a;
            }
            if y.end() <= x.end() {
                b = more_b;
            }
        }
        common
    }

    fn is_most_of(&self, blob: &Blob) -> bool {
        self.data_bytes.saturating_mul(2) > data_bytes(blob.extents())
    }

    fn push(&mut self, extent: &Extent) {
        self.data_bytes += data_bytes(std::slice::from_ref(extent));
        match self.ranges.last_mut() {
            Some(last) if last.end == extent.start => last.end = extent.end(),
            _ => self.ranges.push(extent.start..extent.end()),
        }
    }
}

/// The bytes of the extents that are not zeros.
fn data_bytes(extents: &[Extent]) -> u64 {
    extents.iter().filter(|e| !matches!(e.source, Source::Zeros)).map(|e| e.len).sum()
}

/// The whole blocks of the ranges: file systems share nothing smaller.
fn whole_blocks(ranges: Vec<Range<u64>>, block: u64) -> Vec<Range<u64>> {
    let whole = |range: Range<u64>| align_up(range.start, block)..range.end - range.end % block;
    ranges.into_iter().map(whole).filter(|range| range.start < range.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn donor() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    /// An image and what it was given are read as one.
    #[test]
    fn what_was_given_is_read_from_the_giver() {
        let donors = Donors::default();
        let base = Blob::from_bytes("base", vec![1; 9000]);
        let image = |n: u8| Builder::default().blob(&base).bytes("own", vec![n; 8000]).finish();
        let file = |blob: &Blob| {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &blob.to_vec().unwrap()).unwrap();
            file
        };
        donors.add(&image(2), Arc::new(file(&image(2))));
        let gift = donors.gift(&image(3), 4096).unwrap();
        let written = Blob::from_file("image", file(&image(3))).unwrap();
        let seen = gift.seen_in(&written);
        assert_eq!(seen.to_vec().unwrap(), image(3).to_vec().unwrap());
        assert_eq!(seen.extents().len(), 2);
    }

    #[test]
    fn a_changed_middle_leaves_two_ranges_of_whole_blocks() {
        let base = Blob::from_bytes("base", vec![1; 9000]);
        let image = |config: &[u8]| {
            Builder::default()
                .blob(&base)
                .bytes("config", config)
                .fill_to(20_480)
                .blob(&base)
                .finish()
        };
        let donors = Donors::default();
        donors.add(&image(b"one"), donor());
        let gift = donors.gift(&image(b"two"), 4096).unwrap();
        // The first 9000 bytes; and from the gap, which starts at 9003, to the last whole block.
        assert_eq!(gift.ranges, [0..8192, 12_288..28_672]);
    }

    #[test]
    fn images_that_are_much_the_same_are_kept_once() {
        let base = Blob::from_bytes("base", vec![1; 9000]);
        let donors = Donors::default();
        for n in 0..20_u8 {
            let image = Builder::default().blob(&base).bytes("config", [n; 100]).finish();
            donors.add(&image, donor());
        }
        assert_eq!(donors.donors().len(), 1);
        for n in 0..20_u8 {
            donors.add(&Blob::from_bytes("other", vec![n; 9000]), donor());
        }
        assert_eq!(donors.donors().len(), DONORS);
    }

    #[test]
    fn an_image_with_nothing_in_common_gets_nothing() {
        let donors = Donors::default();
        donors.add(&Blob::from_bytes("a", vec![1; 9000]), donor());
        assert!(donors.gift(&Blob::from_bytes("b", vec![2; 9000]), 4096).is_none());
        let zeros = Builder::default().zeros("gap", 1 << 20).finish();
        assert!(donors.gift(&zeros, 4096).is_none());
    }
}
