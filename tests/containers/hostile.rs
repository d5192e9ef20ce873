//! Containers with random bytes changed: the reader ends, soon and without a panic.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lab::tools::have;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use talforge::blob::{Blob, Builder};
use talforge::inspect::container::packed::UnpackError;

use crate::rig::{PROGRAMS, blob, folder, shell, unwrap};

/// The longest that one sample may take; debug builds are several times slower than what users
/// run.
const LIMIT: Duration = Duration::from_millis(1000);

/// Samples, what makes them of a small disk, and where their structures are.
const SAMPLES: &[(&str, &[(u64, u64)])] = &[
    (
        "-O qcow2 -o cluster_size=4096",
        &[(0, 112), (0x1000, 0x1010), (0x2000, 0x2040), (0x3000, 0x5000)],
    ),
    ("-O qcow2 -o cluster_size=16k,extended_l2=on", &[(0, 112), (0x4000, 0x1_4000)]),
    ("-c -O qcow2 -o cluster_size=4096", &[(0, 112), (0x3000, 0x8000)]),
    ("-O vpc -o force_size=on", &[(0, 0x800)]),
    (
        "-O vhdx",
        &[
            (0x1_0000, 0x1_0050),
            (0x3_0000, 0x3_0050),
            (0x20_0000, 0x20_0100),
            (0x30_0000, 0x30_0010),
        ],
    ),
    ("-O vmdk", &[(0, 80), (512, 1000), (0x2800, 0x6000)]),
    ("-O vmdk -o subformat=streamOptimized", &[(0, 80), (512, 1000), (0x1_0000, 0x1_1000)]),
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
        Change::Word(word) => word.to_be_bytes().to_vec(),
        Change::Zeros(count) => vec![0; usize::from(*count)],
    };
    new.truncate(usize::try_from(blob.len() - at).unwrap());
    let after = blob.slice(at + new.len() as u64..blob.len());
    Builder::default().blob(&blob.slice(0..at)).bytes("change", new).blob(&after).finish()
}

#[test]
fn changed_containers_end_soon_and_without_a_panic() {
    if !have(PROGRAMS) {
        return;
    }
    let (dir, _) = folder();
    shell(dir.path(), "head -c 600064 disk.raw > small");
    for (options, ranges) in SAMPLES {
        shell(dir.path(), &format!("qemu-img convert -f raw {options} small out"));
        let sample = blob(&dir.path().join("out"));
        assert!(unwrap(sample.clone(), &|_| None).is_ok(), "{options}");
        let places = prop::collection::vec(
            (prop::sample::select(ranges.to_vec()), any::<u64>(), change()),
            1..4,
        );
        let cut = prop::option::weighted(0.1, 0..sample.len());
        let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
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
            let read = unwrap(changed, &|_| None);
            let took = start.elapsed();
            damaged.set(damaged.get() + u32::from(read.is_err()));
            let write = matches!(read, Err(UnpackError::Write(_)));
            prop_assert!(took < LIMIT && !write, "{options}: {took:?} {read:?}");
            Ok(())
        });
        run.unwrap_or_else(|e| panic!("{options}: {e}"));
        assert!(damaged.get() > 20, "{options}: the changes do not reach the structures");
    }
}
