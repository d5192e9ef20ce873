//! Files packed node after node are as if packed alone, in every format.

use super::*;
use crate::sink::{gz, xz, zst};
use proptest::prelude::*;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

/// A stretch of a disk.
#[derive(Clone, Debug)]
enum Stretch {
    Zeros(u64),
    /// Bytes that compress somewhat.
    Shared(u32, usize),
    Own(usize),
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let len = prop::sample::select(vec![1, 511, 4096, 70_000, 300_000, CHUNK - 1, CHUNK + 9]);
    let zeros = prop::sample::select(vec![1_u64, 512, 300_000, CHUNK_BYTES, 3 * CHUNK_BYTES + 5]);
    let stretch = prop_oneof![
        zeros.prop_map(Stretch::Zeros),
        (any::<u32>(), len).prop_map(|(seed, len)| Stretch::Shared(seed, len)),
        prop::sample::select(vec![1_usize, 512, 5000, 70_000]).prop_map(Stretch::Own),
    ];
    prop::collection::vec(stretch, 0..7)
}

/// Half noise, half words that come again, near and far.
fn text(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut out: Vec<u8> = Vec::with_capacity(len + 16);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let back = (state >> 8) as usize % 300_000;
        match state % 3 {
            0 if back < out.len() => {
                let from = out.len() - 1 - back;
                out.extend_from_within(from..(from + 14).min(out.len()));
            }
            _ => out.extend(state.to_le_bytes()),
        }
    }
    out.truncate(len);
    out
}

/// A node's disk: its own bytes differ from those of others, perhaps in how well they compress.
fn disk(stretches: &[Stretch], shared: &[Arc<[u8]>], node: u32) -> Blob {
    let add = |disk: Builder, (stretch, bytes): (&Stretch, &Arc<[u8]>)| match stretch {
        Stretch::Zeros(len) => disk.zeros("zeros", *len),
        Stretch::Shared(..) => disk.bytes("shared", bytes.clone()),
        Stretch::Own(len) => {
            let bytes = match node % 2 {
                0 => vec![7; *len],
                _ => text(node, *len),
            };
            disk.blob(&Blob::from_bytes("own", bytes).owned())
        }
    };
    stretches.iter().zip(shared).fold(Builder::default(), add).finish()
}

fn shared_bytes(stretches: &[Stretch]) -> Vec<Arc<[u8]>> {
    let bytes = |stretch: &Stretch| match stretch {
        Stretch::Shared(seed, len) => text(*seed, *len).into(),
        _ => Arc::from([]),
    };
    stretches.iter().map(bytes).collect()
}

type Pack = Box<dyn Fn(&Blob, Tell<'_>) -> io::Result<Blob>>;
type Unpack = fn(Blob) -> Vec<u8>;

/// The formats: how each packs, beginning with nothing kept, and how it unpacks the first member,
/// stream or frame, behind which nothing may be.
fn formats(folder: &Path) -> [(&'static str, Pack, Unpack); 3] {
    let (gz, xz) = (gz::Packer::new(folder), xz::Packer::new(folder));
    let zst = zst::Packer::new(folder);
    let gunzip: Unpack = |packed| {
        let mut out = Vec::new();
        let mut reader = flate2::bufread::GzDecoder::new(io::BufReader::new(packed.reader()));
        reader.read_to_end(&mut out).unwrap();
        assert_eq!(reader.into_inner().bytes().count(), 0);
        out
    };
    let unxz: Unpack = |packed| {
        let mut out = Vec::new();
        lzma_rust2::XzReader::new(packed.reader(), false).read_to_end(&mut out).unwrap();
        out
    };
    let unzstd: Unpack = |packed| {
        let mut out = Vec::new();
        let reader = zstd::Decoder::new(packed.reader()).unwrap();
        let mut reader = reader.single_frame();
        reader.read_to_end(&mut out).unwrap();
        assert_eq!(reader.finish().bytes().count(), 0);
        out
    };
    [
        ("gz", Box::new(move |file, tell| gz.pack(file, tell)), gunzip),
        ("xz", Box::new(move |file, tell| xz.pack(file, tell)), unxz),
        ("zst", Box::new(move |file, tell| zst.pack(file, tell)), unzstd),
    ]
}

/// The bytes that no node has for its own.
fn common(packed: &Blob) -> Vec<u8> {
    let shared = packed.extents().iter().filter(|extent| !extent.is_own);
    shared.flat_map(|e| packed.slice(e.start..e.end()).to_vec().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3 } else { 200 }))]
    /// A packed file unpacks to what it was, does not depend on what was packed before, and what is
    /// not marked as a node's own is the same for all of them.
    #[test]
    fn nodes_packed_after_one_another_are_as_if_packed_alone(stretches in stretches()) {
        let shared = shared_bytes(&stretches);
        let folder = tempfile::tempdir().unwrap();
        let mut first: [Option<Vec<u8>>; 3] = Default::default();
        let after = formats(folder.path());
        for node in [0, 1, 3] {
            let disk = disk(&stretches, &shared, node);
            let bytes = disk.to_vec().unwrap();
            for (at, (name, pack, unpack)) in after.iter().enumerate() {
                let told = AtomicU64::new(0);
                let tell = |bytes| { told.fetch_add(bytes, Ordering::Relaxed); Ok(()) };
                let packed = pack(&disk, &tell).unwrap();
                prop_assert_eq!(told.into_inner(), disk.len(), "{}", name);
                prop_assert!(unpack(packed.clone()) == bytes, "{}", name);
                if node == 3 {
                    let (_, alone, _) = &formats(folder.path())[at];
                    let alone = alone(&disk, &|_| Ok(())).unwrap();
                    prop_assert!(alone.to_vec().unwrap() == packed.to_vec().unwrap(), "{}", name);
                }
                let common = common(&packed);
                let first = first[at].get_or_insert_with(|| common.clone());
                prop_assert!(*first == common, "{}", name);
            }
        }
    }

    /// Parts follow one another without a gap, none is empty, own bytes are in own parts, zeros are
    /// zeros, and few parts are kept.
    #[test]
    fn a_file_is_cut_into_parts(stretches in stretches(), times in 1_usize..30) {
        let shared = shared_bytes(&stretches);
        let once = disk(&stretches, &shared, 1);
        let file = (0..times).fold(Builder::default(), |b, _| b.blob(&once)).finish();
        let parts = cut(&file);
        let mut at = 0;
        for part in &parts {
            prop_assert_eq!(part.range.start, at);
            prop_assert!(part.range.end > at);
            at = part.range.end;
            let slice = file.slice(part.range.clone());
            prop_assert!(part.kind == Kind::Own || slice.own().is_empty());
            let is_zeros = slice.extents().iter().all(|e| matches!(e.source, Source::Zeros));
            prop_assert!(part.kind != Kind::Zeros || is_zeros);
        }
        prop_assert_eq!(at, file.len());
        let kept = parts.iter().filter(|p| p.kind == Kind::Shared && p.range.end - p.range.start >= GRAIN);
        prop_assert!(kept.count() <= KEPT);
    }
}

/// A disk that is full of own bytes here and there still keeps few pieces.
#[test]
fn a_file_of_many_parts_is_cut_coarsely() {
    let step =
        Builder::default().zeros("zeros", 300_000).blob(&Blob::from_bytes("own", [1]).owned());
    let step = step.finish();
    let file = (0..1000).fold(Builder::default(), |b, _| b.blob(&step)).finish();
    let parts = cut(&file);
    assert!(parts.len() <= 2 * KEPT + 1, "{parts:?}");
}

#[test]
fn what_nodes_share_is_compressed_once() {
    let folder = tempfile::tempdir().unwrap();
    static PRESSED: AtomicU64 = AtomicU64::new(0);
    let press: Press<()> = |bytes| {
        PRESSED.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok((bytes.to_vec(), ()))
    };
    let pieces = Pieces::new(folder.path(), press);
    let stretches =
        [Stretch::Shared(1, 9_000_000), Stretch::Own(5000), Stretch::Zeros(100 * CHUNK_BYTES)];
    let shared = shared_bytes(&stretches);
    for node in 0..10 {
        let disk = disk(&stretches, &shared, node);
        let packed = pieces.pack(&disk, &|_| Ok(())).unwrap();
        assert_eq!(packed.facts.len(), 3 + 1 + 99 + 1);
    }
    // Own bytes are widened to 64 KiB; of the zeros behind them, 99 chunks are whole.
    let own = 65_536;
    let before = 9_000_000 / own * own;
    let behind = 9_005_000 + 100 * CHUNK_BYTES - (before + own) - 99 * CHUNK_BYTES;
    assert_eq!(PRESSED.load(Ordering::Relaxed), before + 10 * own + CHUNK_BYTES + behind);
}

#[test]
fn an_end_that_is_wanted_ends_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Blob::from_bytes("base", text(1, 10_000_000));
    for (_, pack, _) in formats(folder.path()) {
        let error = pack(&disk, &|_| Err(io::ErrorKind::Interrupted.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
