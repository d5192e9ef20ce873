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

use crate::blob::{Blob, Builder, Extent, Source};
use crate::parallel;
use crate::sink::Tell;
use crate::units::{KIB, MIB};

/// The bytes that are looked at together.
const BLOCK: usize = 4096;
/// The least zeros that are left out: so many fill the clusters or grains of most formats, and
/// shorter runs would cost more in calls than they save in room.
const LEAST: u64 = 64 * KIB;
/// The bytes read at once.
const PIECE: u64 = MIB;
/// The bytes that a thread takes at once, and how many threads there are at most.
const PART: u64 = 32 * MIB;
const THREADS: usize = 4;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The same bytes, with runs of zeros as zeros. `tell` is told of the length in all.
///
/// Several threads look, each at parts of their own; what is found does not depend on how many.
///
/// # Errors
///
/// Where the bytes cannot be read; and `tell`'s.
pub fn find_zeros(blob: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
    let starts = (0..blob.len()).step_by(usize::try_from(PART).expect("it fits in memory"));
    let parts: Vec<Blob> =
        starts.map(|start| blob.slice(start..blob.len().min(start + PART))).collect();
    let found = parallel::try_in_order(THREADS, &parts, |part| find(part, tell))?;
    Ok(found.iter().fold(Builder::default(), |out, part| out.blob(part)).finish())
}

fn find(blob: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
    let (mut room, mut out) = (Vec::new(), Builder::default());
    for extent in blob.extents() {
        if matches!(extent.source, Source::Zeros) {
            out = out.blob(&blob.slice(extent.start..extent.end()));
            tell(extent.len)?;
        } else {
            out = look(blob, extent, out, &mut room, tell)?;
        }
    }
    Ok(out.finish())
}

/// Adds an extent, without its zeros.
fn look(
    blob: &Blob,
    extent: &Extent,
    mut out: Builder,
    room: &mut Vec<u8>,
    tell: Tell<'_>,
) -> io::Result<Builder> {
    // Zeros end where a block is something else, or with the extent.
    let mut zeros = extent.start..extent.start;
    let mut end = |zeros: std::ops::Range<u64>| {
        if zeros.end - zeros.start >= LEAST {
            let before = blob.slice(out.len()..zeros.start);
            out = std::mem::take(&mut out).blob(&before).zeros("zeros", zeros.end - zeros.start);
        }
    };
    let mut at = extent.start;
    while at < extent.end() {
        let len = PIECE.min(extent.end() - at);
        room.resize(usize::try_from(len).expect("a piece fits in memory"), 0);
        blob.read_exact_at(room, at)?;
        for block in room.chunks(BLOCK) {
            at += block.len() as u64;
            if block == &ZEROS[..block.len()] {
                zeros.end = at;
            } else {
                end(std::mem::replace(&mut zeros, at..at));
            }
        }
        tell(len)?;
    }
    end(zeros);
    let rest = blob.slice(out.len()..extent.end());
    Ok(out.blob(&rest))
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
                prop_assert!(longest < (64 << 10) + 2 * BLOCK, "{longest}");
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
