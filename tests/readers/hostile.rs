//! Samples with random bytes changed: the readers end, soon and without a panic.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lab::tools::have;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use talforge::blob::{Blob, Builder};
use talforge::inspect::{self, memo::Memo};
use talforge::units::MIB;

use crate::rig::{PROGRAMS, blob, rig};

/// The longest that one reader may take for one sample; debug builds are several times slower
/// than what users run.
const LIMIT: Duration = Duration::from_millis(1000);

/// Where the structures of the samples are: changes elsewhere would hit contents.
const SAMPLES: &[(&str, &[(u64, u64)])] = &[
    (
        "disk.raw",
        &[(440, 1600), (MIB, MIB + 512), (MIB + 0x4000, MIB + 0x6000), (0x19_0000, 0x1a_0000)],
    ),
    ("uefi.iso", &[(440, 512), (0x8000, 0xd000)]),
    ("hybrid.iso", &[(0, 4096), (0x8000, 0x2_0000)]),
    ("whole.efi", &[(0, 1024), (0x2000, 0x5000)]),
    ("both.xz", &[(0, 9000)]),
    ("xz.xz", &[(0, 9000)]),
    ("zstd.xz", &[(0, 9000)]),
];

#[derive(Clone, Debug)]
enum Change {
    Byte(u8),
    Word(u32),
    Zeros(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let word = prop_oneof![
        any::<u32>(),
        Just(0),
        Just(u32::MAX),
        Just(1),
        0..0x2000u32,
        any::<u8>().prop_map(|shift| 1 << (shift % 32)),
    ];
    prop_oneof![
        any::<u8>().prop_map(Change::Byte),
        word.prop_map(Change::Word),
        any::<u8>().prop_map(Change::Zeros)
    ]
}

/// The blob with a change at a place.
fn apply(blob: &Blob, at: u64, change: &Change) -> Blob {
    let mut new = match change {
        Change::Byte(byte) => vec![*byte],
        Change::Word(word) => word.to_le_bytes().to_vec(),
        Change::Zeros(count) => vec![0; usize::from(*count)],
    };
    new.truncate(usize::try_from(blob.len() - at).unwrap());
    let after = blob.slice(at + new.len() as u64..blob.len());
    Builder::default().blob(&blob.slice(0..at)).bytes("change", new).blob(&after).finish()
}

#[test]
fn changed_samples_end_soon_and_without_a_panic() {
    if !have(PROGRAMS) {
        return;
    }
    for (name, ranges) in SAMPLES {
        let sample = blob(&rig().join(name));
        let places = prop::collection::vec(
            (prop::sample::select(ranges.to_vec()), any::<u64>(), change()),
            1..6,
        );
        let cut = prop::option::weighted(0.1, 0..sample.len());
        let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let damaged = Cell::new(0);
        let run = TestRunner::new_with_rng(config, rng).run(&(places, cut), |(places, cut)| {
            let mut changed = sample.clone();
            for ((start, end), place, change) in places {
                let end = end.min(sample.len());
                changed = apply(&changed, start + place % (end - start), &change);
            }
            let changed = changed.slice(0..cut.unwrap_or(changed.len()));
            let start = Instant::now();
            let read = inspect::open(&changed, &mut Memo::default());
            let took = start.elapsed();
            damaged.set(damaged.get() + u32::from(read.is_err()));
            prop_assert!(took < LIMIT, "{name}: {took:?} {read:?}");
            Ok(())
        });
        run.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(damaged.get() > 20, "{name}: the changes do not reach the structures");
    }
}
