//! Zeros that a file stores as data, found by reading them.
//!
//! In: a file's bytes. Out: the same, runs of zeros as such.
//!
//! Images that were copied without care have no holes any more, but their free room is zeros still.
//!
//! Source: none.
//!
//! Not here: holes, of which the file system tells (`duplicate`).

use std::io;
use std::ops::Range;

use crate::blob::{Blob, Builder, Extent, Source};
use crate::sink::Tell;

/// The bytes that are looked at together.
const BLOCK: usize = 4096;
/// The least zeros that are left out: so many fill the clusters or grains of most formats, and
/// shorter runs would cost more in calls than they save in room.
const LEAST: usize = 16 * BLOCK;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The same bytes, with runs of zeros as zeros. `tell` is told of the length in all.
///
/// A run that is long enough has every sixteenth block somewhere. So one block of sixteen is read, and
/// those around it only where it is zeros.
///
/// # Errors
///
/// Where the bytes cannot be read; and `tell`'s.
pub fn find_zeros(blob: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
    let mut out = Builder::default();
    for extent in blob.extents() {
        if matches!(extent.source, Source::Zeros) {
            out = out.blob(&blob.slice(extent.start..extent.end()));
            tell(extent.len)?;
        } else {
            out = look(blob, extent, out, tell)?;
        }
    }
    Ok(out.finish())
}

/// Adds an extent, without its zeros.
fn look(blob: &Blob, extent: &Extent, mut out: Builder, tell: Tell<'_>) -> io::Result<Builder> {
    let mut room = [0; LEAST];
    let end = extent.end();
    // Before this nothing is left to be found.
    let mut at = extent.start;
    while end - at >= LEAST as u64 {
        let from = at;
        at += LEAST as u64;
        let (before, last) = room.split_at_mut(LEAST - BLOCK);
        blob.read_exact_at(last, at - BLOCK as u64)?;
        if *last == ZEROS {
            blob.read_exact_at(before, from)?;
            let data = before.chunks(BLOCK).rposition(|block| block != ZEROS);
            let start = from + data.map_or(0, |last| (last + 1) * BLOCK) as u64;
            let stop = end_of_zeros(blob, at..end, &mut room)?;
            if stop - start >= LEAST as u64 {
                let data = blob.slice(out.len()..start);
                out = out.blob(&data).zeros("zeros", stop - start);
            }
            at = end.min(stop + BLOCK as u64);
        }
        tell(at - from)?;
    }
    tell(end - at)?;
    let rest = blob.slice(out.len()..end);
    Ok(out.blob(&rest))
}

/// Where the first block starts that is not zeros, or the range's end.
fn end_of_zeros(blob: &Blob, range: Range<u64>, room: &mut [u8]) -> io::Result<u64> {
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).map_or(room.len(), |left| left.min(room.len()));
        blob.read_exact_at(&mut room[..len], at)?;
        for block in room[..len].chunks(BLOCK) {
            if *block != ZEROS[..block.len()] {
                return Ok(at);
            }
            at += block.len() as u64;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The bytes stay what they are, and no long run of zeros is data.
        #[test]
        fn long_runs_of_zeros_are_found(
            parts in prop::collection::vec((0_u8..2, 1_usize..300_000, any::<bool>()), 0..6),
        ) {
            let mut blob = Builder::default();
            for (byte, len, is_hole) in parts {
                blob = match (byte, is_hole) {
                    (0, true) => blob.zeros("hole", len as u64),
                    _ => blob.bytes("data", vec![byte; len]),
                };
            }
            let blob = blob.finish();
            let found = find_zeros(&blob, &|_| Ok(())).unwrap();
            prop_assert!(found.to_vec().unwrap() == blob.to_vec().unwrap());
            let data = found.extents().iter().filter(|e| !matches!(e.source, Source::Zeros));
            for extent in data {
                let bytes = found.slice(extent.start..extent.end()).to_vec().unwrap();
                let longest = bytes.split(|&byte| byte != 0).map(<[u8]>::len).max().unwrap();
                // A block at each end may be zeros in part.
                prop_assert!(longest < LEAST + 2 * BLOCK, "{longest}");
            }
        }
    }

    #[test]
    fn what_tell_says_ends_the_work() {
        let blob = Blob::from_bytes("data", vec![0; 100]);
        let tell = |_| Err(io::ErrorKind::Interrupted.into());
        assert_eq!(find_zeros(&blob, &tell).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
