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
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::blob::{Blob, Extent, Source};
use crate::digest::{Digest, Hasher};
use crate::sink::meter::{Halt, Meter};
use crate::units::{KIB, MIB};

/// How many blobs' midstates are kept: one a profile and architecture is enough.
const TRAILS: usize = 8;

/// The most midstates kept of one blob: with about 112 bytes each, some 60 KiB.
const MARKS: usize = 512;

/// The bytes read at once.
const ROOM: u64 = 256 * KIB;

/// The bytes hashed before progress is told.
const PIECE: u64 = 16 * MIB;

/// A blob of which no more than this is hashed leaves no midstates of its own: the next one will
/// start where it did.
const SHORT: u64 = MIB;

/// Midstates of the last blobs. Several blobs may be hashed at once.
#[derive(Debug, Default)]
pub struct Digests(Mutex<Trails>);

/// The trails, the one used last at the end.
#[derive(Debug, Default)]
struct Trails {
    all: Vec<Trail>,
    made: u64,
}

/// The midstates of one blob.
#[derive(Clone, Debug)]
struct Trail {
    /// Its number: others come and go.
    id: u64,
    blob: Blob,
    /// The state after so many bytes, at borders of extents. There is always one for 0.
    marks: BTreeMap<u64, Hasher>,
}

/// A blob's digest under way: what is known of it already.
#[derive(Debug)]
pub(super) struct Begun {
    blob: Blob,
    /// The trail that has the longest prefix in common.
    known: Option<u64>,
    /// Where that trail is left.
    fork: u64,
    /// The state after so many bytes.
    at: u64,
    hasher: Hasher,
}

impl Begun {
    /// The bytes that are still to be hashed.
    pub(super) fn left(&self) -> u64 {
        self.blob.len() - self.at
    }
}

impl Digests {
    /// The digest of a blob that is written nowhere.
    ///
    /// # Errors
    ///
    /// Where a file that it is made of cannot be read.
    pub fn of(&self, blob: &Blob) -> io::Result<Digest> {
        self.finish(self.begin(blob), &Meter::silent()).map_err(|halt| match halt {
            Halt::Read { name, source } => {
                io::Error::new(source.kind(), format!("{name}: {source}"))
            }
            Halt::Write(error) => error,
            Halt::Stopped | Halt::Interrupted => io::ErrorKind::Interrupted.into(),
        })
    }

    /// Finds the longest beginning of a blob whose state is known.
    pub(super) fn begin(&self, blob: &Blob) -> Begun {
        let mut trails = self.trails();
        let fork = |trail: &Trail| {
            let fork = common_prefix(&trail.blob, blob);
            (trail.last_mark(fork).0, fork)
        };
        let forks = trails.all.iter().map(fork).enumerate();
        let longest = forks.max_by_key(|(_, marked)| *marked);
        let mut begun =
            Begun { blob: blob.clone(), known: None, fork: 0, at: 0, hasher: Hasher::default() };
        if let Some((at, (_, fork))) = longest {
            let trail = trails.all.remove(at);
            (begun.at, begun.hasher) = trail.last_mark(fork);
            (begun.known, begun.fork) = (Some(trail.id), fork);
            trails.all.push(trail);
        }
        begun
    }

    /// Hashes the rest of a blob.
    pub(super) fn finish(&self, begun: Begun, meter: &Meter<'_>) -> Result<Digest, Halt> {
        let (known, fork) = (begun.known, begun.fork);
        let is_short = begun.left() <= SHORT;
        let blob = begun.blob.clone();
        let (marks, hasher) = walk(begun, meter)?;
        let mut trails = self.trails();
        let known = trails.all.iter().position(|trail| Some(trail.id) == known);
        match known {
            Some(at) if is_short => {
                let at_fork = marks.get(&fork).map(|hasher| (fork, hasher.clone()));
                at_fork.into_iter().for_each(|(fork, hasher)| trails.all[at].mark(fork, hasher));
            }
            _ => trails.add(&blob, known, fork, marks),
        }
        Ok(hasher.finish())
    }

    fn trails(&self) -> MutexGuard<'_, Trails> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trails {
    /// Adds a blob's trail, with the marks that the known one has up to the fork.
    fn add(&mut self, blob: &Blob, known: Option<usize>, fork: u64, own: BTreeMap<u64, Hasher>) {
        let earlier = known.into_iter().flat_map(|at| self.all[at].marks.range(..=fork));
        let earlier = earlier.map(|(at, hasher)| (*at, hasher.clone()));
        let marks = std::iter::once((0, Hasher::default())).chain(earlier).collect();
        let mut trail = Trail { id: self.made, blob: blob.clone(), marks };
        own.into_iter().for_each(|(at, hasher)| trail.mark(at, hasher));
        self.made += 1;
        // A trail that is mostly this one has nothing that this one has not.
        if let Some(at) = known
            && fork >= blob.len() / 2
        {
            self.all.remove(at);
        }
        if self.all.len() == TRAILS {
            self.all.remove(0);
        }
        self.all.push(trail);
    }
}

impl Trail {
    /// The last state that is known of the first `fork` bytes.
    fn last_mark(&self, fork: u64) -> (u64, Hasher) {
        let last = self.marks.range(..=fork).next_back().expect("there is a mark for 0");
        (*last.0, last.1.clone())
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

/// Hashes to the end, leaving marks: now and then, and at the fork, where the next blob will likely
/// leave this one too.
fn walk(begun: Begun, meter: &Meter<'_>) -> Result<(BTreeMap<u64, Hasher>, Hasher), Halt> {
    let Begun { blob, fork, at: mut marked, mut hasher, .. } = begun;
    meter.hashed(marked)?;
    let spacing = (blob.len() / (MARKS as u64 / 2)).max(64 * KIB);
    let room = ROOM.min(blob.len() - marked).max(1);
    let mut room = vec![0; usize::try_from(room).expect("it fits in memory")];
    // Where it began, too: the trail that it began from may have gone meanwhile.
    let mut marks = BTreeMap::from([(marked, hasher.clone())]);
    let first = blob.extents().partition_point(|e| e.start < marked);
    for extent in &blob.extents()[first..] {
        hash(&mut hasher, &blob, extent, &mut room, meter)?;
        let at = extent.end();
        if at - marked >= spacing || at == fork || at == blob.len() {
            marks.insert(at, hasher.clone());
            marked = at;
        }
    }
    Ok((marks, hasher))
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
    use std::sync::atomic::Ordering;

    fn digest(digests: &Digests, blob: &Blob) -> Digest {
        let task = Progress::new(Mode::Quiet).task("test", blob.len());
        digests.finish(digests.begin(blob), &Meter::new(&task)).unwrap()
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
            let digests = Digests::default();
            for parts in &blobs {
                let blob = blob(parts);
                prop_assert_eq!(digest(&digests, &blob), Digest::of(&blob.to_vec().unwrap()));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        /// However many are hashed at once, each digest is that of its blob's bytes.
        #[test]
        fn digests_of_blobs_at_once_are_those_of_their_bytes(
            blobs in prop::collection::vec(parts(), 1..24), threads in 2_usize..7,
        ) {
            let digests = Digests::default();
            let blobs: Vec<_> = blobs.iter().map(|parts| blob(parts)).collect();
            let next = std::sync::atomic::AtomicUsize::new(0);
            let work = || {
                while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert_eq!(digest(&digests, blob), Digest::of(&blob.to_vec().unwrap()));
                }
            };
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
            prop_assert!(digests.trails().all.len() <= TRAILS);
            prop_assert!(digests.trails().all.iter().all(|t| t.marks.len() <= MARKS));
        }
    }

    /// The third image starts exactly where it leaves the second; so a hundred nodes cost the base
    /// once, or twice where the fork was not known yet.
    #[test]
    fn a_common_beginning_is_hashed_once() {
        let base = Blob::from_bytes("base", vec![1; 1 << 20]);
        let digests = Digests::default();
        for n in 0..100_u8 {
            let image = Builder::default()
                .blob(&base)
                .bytes("short", [1; 300])
                .bytes("config", [n; 5000])
                .bytes("backup gpt", [3; 512])
                .finish();
            let got = digest(&digests, &image);
            assert_eq!(got, Digest::of(&image.to_vec().unwrap()));
            let fork = (1 << 20) + 300;
            assert_eq!(digests.trails().all.len(), 1);
            assert_eq!(digests.trails().all[0].marks.contains_key(&fork), n > 0, "node {n}");
            assert!(digests.trails().all[0].marks.len() < 6);
        }
    }

    /// Two that began from the same states, of which the first to end takes these away with it.
    #[test]
    fn blobs_that_are_hashed_at_once_leave_what_the_next_begins_from() {
        let base = Blob::from_bytes("base", vec![1; 3 << 20]);
        let image = |n: u8| {
            let own = Builder::default().blob(&base).bytes("config", [n; 5000]);
            own.bytes("tail", vec![2; 2 << 20]).finish()
        };
        let digests = Digests::default();
        digest(&digests, &image(0));
        let task = Progress::new(Mode::Quiet).task("test", 0);
        let begun = [1, 2].map(|n| digests.begin(&image(n)));
        for begun in begun {
            digests.finish(begun, &Meter::new(&task)).unwrap();
        }
        for n in 3..9 {
            let begun = digests.begin(&image(n));
            assert!(begun.at >= base.len(), "image {n} begins at {}", begun.at);
            digests.finish(begun, &Meter::new(&task)).unwrap();
        }
    }

    #[test]
    fn the_marks_of_a_blob_of_many_extents_are_few() {
        let parts = [(1, 70_000), (2, 70_000)].repeat(1000);
        let many = blob(&parts);
        let digests = Digests::default();
        assert_eq!(digest(&digests, &many), Digest::of(&many.to_vec().unwrap()));
        assert!((200..=MARKS).contains(&digests.trails().all[0].marks.len()));
    }
}
