//! Digests of many blobs that begin alike, without hashing the beginning again.
//!
//! In: blobs, one after another. Out: the digest of each.
//!
//! SHA-256 runs front to back: its state after a prefix (a "midstate") serves every blob with that
//! prefix. So a hundred images that differ in their last 64 KiB cost one image and a hundred times
//! 64 KiB. What lies after the first difference is hashed again, zeros too: the function has no
//! short cut for them.
//!
//! Source: FIPS 180-4, "Secure Hash Standard", section 6.2.
//!
//! Not here: digests that are looked up instead of computed (`asset`).

use std::collections::BTreeMap;
use std::io;

use crate::blob::{Blob, Extent, Source};
use crate::digest::{Digest, Hasher};
use crate::sink::meter::{Halt, Meter};
use crate::units::{KIB, MIB};

/// How many blobs' midstates are kept: one a profile and architecture is enough.
const TRAILS: usize = 8;

/// The most midstates kept of one blob: with about 112 bytes each, some 60 KiB.
const MARKS: usize = 512;

/// The bytes read at once.
const ROOM: usize = 1 << 20;

/// The bytes hashed before progress is told.
const PIECE: u64 = 16 * MIB;

/// Midstates of the last blobs, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Digests(Vec<Trail>);

/// The midstates of one blob.
#[derive(Clone, Debug)]
struct Trail {
    blob: Blob,
    /// The state after so many bytes, at borders of extents. There is always one for 0.
    marks: BTreeMap<u64, Hasher>,
}

impl Digests {
    /// The digest of a blob.
    pub(super) fn digest(&mut self, blob: &Blob, meter: &Meter<'_>) -> Result<Digest, Halt> {
        let (known, fork) = self.longest_prefix(blob);
        let mut trail = Trail::new(blob, known.map(|at| &self.0[at]), fork);
        let hasher = trail.walk(fork, meter)?;
        // A trail that is mostly this one has nothing that this one has not.
        if let Some(at) = known
            && fork >= blob.len() / 2
        {
            self.0.remove(at);
        }
        if self.0.len() == TRAILS {
            self.0.remove(0);
        }
        self.0.push(trail);
        Ok(hasher.finish())
    }

    /// The trail that has the longest prefix in common with a blob, and where it ends.
    fn longest_prefix(&self, blob: &Blob) -> (Option<usize>, u64) {
        let forks = self.0.iter().map(|trail| common_prefix(&trail.blob, blob)).enumerate();
        match forks.max_by_key(|(_, fork)| *fork) {
            Some((at, fork)) => (Some(at), fork),
            None => (None, 0),
        }
    }
}

impl Trail {
    /// A trail for `blob` with the marks that another one has up to the fork.
    fn new(blob: &Blob, known: Option<&Self>, fork: u64) -> Self {
        let known = known.iter().flat_map(|t| t.marks.range(..=fork));
        let marks = known.map(|(at, hasher)| (*at, hasher.clone()));
        let marks = std::iter::once((0, Hasher::default())).chain(marks).collect();
        Self { blob: blob.clone(), marks }
    }

    /// Hashes from the last mark to the end, leaving marks: now and then, and at the fork, where
    /// the next blob will likely leave this one too.
    fn walk(&mut self, fork: u64, meter: &Meter<'_>) -> Result<Hasher, Halt> {
        let blob = self.blob.clone();
        let last = self.marks.last_key_value().expect("there is a mark for 0");
        let (mut marked, mut hasher) = (*last.0, last.1.clone());
        meter.hashed(marked)?;
        let spacing = (blob.len() / (MARKS as u64 / 2)).max(64 * KIB);
        let mut room = vec![0; ROOM];
        let first = blob.extents().partition_point(|e| e.start < marked);
        for extent in &blob.extents()[first..] {
            hash(&mut hasher, &blob, extent, &mut room, meter)?;
            let at = extent.end();
            if at - marked >= spacing || at == fork || at == blob.len() {
                self.mark(at, hasher.clone());
                marked = at;
            }
        }
        Ok(hasher)
    }

    fn mark(&mut self, at: u64, hasher: Hasher) {
        if self.marks.len() == MARKS {
            // Every second one goes; the first, for 0, stays.
            let mut stays = false;
            self.marks.retain(|_, _| {
                stays = !stays;
                stays
            });
        }
        self.marks.insert(at, hasher);
    }
}

/// The length of what two blobs begin with, in whole extents.
fn common_prefix(a: &Blob, b: &Blob) -> u64 {
    let pairs = a.extents().iter().zip(b.extents());
    pairs.take_while(|(x, y)| x.is_same_run(y)).last().map_or(0, |(x, _)| x.end())
}

/// Hashes an extent, in pieces so that progress can be told.
fn hash(
    hasher: &mut Hasher,
    blob: &Blob,
    extent: &Extent,
    room: &mut [u8],
    meter: &Meter<'_>,
) -> Result<(), Halt> {
    let mut at = extent.start;
    while at < extent.end() {
        let len = PIECE.min(extent.end() - at);
        let piece = Extent { start: at, len, ..extent.clone() };
        let room_len = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
        hasher.extent(blob, &piece, &mut room[..room_len]).map_err(|e| unreadable(extent, e))?;
        meter.hashed(len)?;
        at += len;
    }
    Ok(())
}

fn unreadable(extent: &Extent, source: io::Error) -> Halt {
    let name = match &extent.source {
        Source::File(input, _) => input.name.clone(),
        _ => extent.label.to_string(),
    };
    Halt::Read { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;
    use crate::report::progress::{Mode, Progress};
    use proptest::prelude::*;

    fn digest(digests: &mut Digests, blob: &Blob) -> Digest {
        let task = Progress::new(Mode::Quiet).task("test", blob.len());
        digests.digest(blob, &Meter::new(&task)).unwrap()
    }

    /// A blob of parts, each one of a few contents: so that blobs often begin alike.
    fn blob(parts: &[(u8, usize)]) -> Blob {
        let add = |b: Builder, (kind, len): &(u8, usize)| match kind {
            0 => b.zeros("zeros", *len as u64),
            kind => b.bytes("part", vec![*kind; *len]),
        };
        parts.iter().fold(Builder::default(), add).finish()
    }

    fn parts() -> impl Strategy<Value = Vec<(u8, usize)>> {
        let part = (0_u8..3, prop::sample::select(vec![1_usize, 64, 70_000, 200_000]));
        prop::collection::vec(part, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Whatever came before, a digest is that of the blob's bytes.
        #[test]
        fn a_digest_does_not_depend_on_the_blobs_before(
            blobs in prop::collection::vec(parts(), 1..14),
        ) {
            let mut digests = Digests::default();
            for parts in &blobs {
                let blob = blob(parts);
                prop_assert_eq!(digest(&mut digests, &blob), Digest::of(&blob.to_vec().unwrap()));
            }
        }
    }

    /// The third image starts exactly where it leaves the second; so a hundred nodes cost the base
    /// once, or twice where the fork was not known yet.
    #[test]
    fn a_common_beginning_is_hashed_once() {
        let base = Blob::from_bytes("base", vec![1; 1 << 20]);
        let mut digests = Digests::default();
        for n in 0..100_u8 {
            let image = Builder::default()
                .blob(&base)
                .bytes("short", [1; 300])
                .bytes("config", [n; 5000])
                .bytes("backup gpt", [3; 512])
                .finish();
            let got = digest(&mut digests, &image);
            assert_eq!(got, Digest::of(&image.to_vec().unwrap()));
            let fork = (1 << 20) + 300;
            assert_eq!(digests.0.len(), 1);
            assert_eq!(digests.0[0].marks.contains_key(&fork), n > 0, "node {n}");
            assert!(digests.0[0].marks.len() < 6);
        }
    }

    #[test]
    fn the_marks_of_a_blob_of_many_extents_are_few() {
        let parts = [(1, 70_000), (2, 70_000)].repeat(1000);
        let many = blob(&parts);
        let mut digests = Digests::default();
        assert_eq!(digest(&mut digests, &many), Digest::of(&many.to_vec().unwrap()));
        assert!((200..=MARKS).contains(&digests.0[0].marks.len()));
    }
}
