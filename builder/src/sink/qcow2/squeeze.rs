//! The clusters of a run, each compressed by itself, by two threads.
//!
//! In: a run of clusters. Out: those that get shorter, one behind another, and how long each is.
//!
//! Source: QEMU, `block/qcow2-threads.c`.
//!
//! Not here: where they lie in a file (`image`).

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::Pack;
use super::image::Clusters;
use crate::blob::Blob;
use crate::sink::Tell;
use crate::units::{MIB, PAYLOAD_ALIGN};

/// The bytes that are compressed before they are written and progress is told.
const BATCH: u64 = 4 * MIB;
/// The bits of deflate's window, which is all that readers have room for.
const WINDOW_BITS: u8 = 12;
/// The levels that QEMU compresses with, by deflate and by Zstandard.
const ZLIB_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// The clusters of a run that are not zeros, in order.
pub(super) type Squeezed = Arc<[Cluster]>;

/// A cluster that was compressed, or is better left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Its number in the run.
    pub(super) number: u64,
    /// The bytes that it takes, or nothing where compressing it saves less than a block.
    pub(super) packed: Option<u64>,
}

/// What became of a cluster.
enum Made {
    Zeros,
    Stored,
    Packed(Vec<u8>),
}

/// Compresses a run, and writes what was compressed.
pub(super) fn squeeze(
    source: &Blob,
    clusters: Clusters,
    pack: Pack,
    out: &mut dyn Write,
    tell: Tell<'_>,
) -> io::Result<Squeezed> {
    let numbers: Vec<u64> = clusters.data(source).into_iter().flatten().collect();
    let batch = usize::try_from(BATCH / clusters.bytes()).expect("a batch is small").max(2);
    let mut workers = [Worker::new(clusters, pack)?, Worker::new(clusters, pack)?];
    let mut squeezed = Vec::with_capacity(numbers.len());
    let mut told = 0;
    for numbers in numbers.chunks(batch) {
        for (number, made) in numbers.iter().zip(make(&mut workers, source, numbers)?) {
            let packed = match &made {
                Made::Zeros => continue,
                Made::Stored => None,
                Made::Packed(bytes) => {
                    out.write_all(bytes)?;
                    Some(bytes.len() as u64)
                }
            };
            squeezed.push(Cluster { number: *number, packed });
        }
        let done = numbers.last().map_or(told, |last| (last + 1) * clusters.bytes());
        let done = done.min(source.len());
        tell(done - told)?;
        told = done;
    }
    tell(source.len() - told)?;
    Ok(squeezed.into())
}

/// Makes something of each cluster, the even ones in this thread and the odd ones in another.
fn make(workers: &mut [Worker; 2], source: &Blob, numbers: &[u64]) -> io::Result<Vec<Made>> {
    let [here, there] = workers;
    let odd = || numbers.iter().skip(1).step_by(2).map(|n| there.make(source, *n)).collect();
    let (even, odd): (io::Result<Vec<_>>, io::Result<Vec<_>>) = thread::scope(|scope| {
        let odd = thread::Builder::new().spawn_scoped(scope, odd)?;
        let even = numbers.iter().step_by(2).map(|n| here.make(source, *n)).collect();
        Ok::<_, io::Error>((even, odd.join().expect("compressing does not panic")))
    })?;
    let (mut even, mut odd) = (even?.into_iter(), odd?.into_iter());
    Ok((0..numbers.len()).filter_map(|n| [&mut even, &mut odd][n % 2].next()).collect())
}

/// One thread's means.
struct Worker {
    codec: Codec,
    /// A cluster, as it is and compressed.
    plain: Vec<u8>,
    packed: Vec<u8>,
}

enum Codec {
    Zlib(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Worker {
    fn new(clusters: Clusters, pack: Pack) -> io::Result<Self> {
        let len = usize::try_from(clusters.bytes()).expect("a cluster fits in memory");
        let level = Compression::new(ZLIB_LEVEL);
        let codec = match pack {
            Pack::Zlib => Codec::Zlib(Compress::new_with_window_bits(level, false, WINDOW_BITS)),
            Pack::Zstd => Codec::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(Self {
            codec,
            plain: vec![0; len],
            packed: vec![0; zstd::zstd_safe::compress_bound(len)],
        })
    }

    fn make(&mut self, source: &Blob, number: u64) -> io::Result<Made> {
        let block = usize::try_from(PAYLOAD_ALIGN).expect("a block is small");
        let longest = self.plain.len() - block;
        let at = number * self.plain.len() as u64;
        // A disk's last cluster may be cut short.
        let left = usize::try_from(source.len() - at).unwrap_or(usize::MAX);
        let len = left.min(self.plain.len());
        let (now, rest) = self.plain.split_at_mut(len);
        source.read_exact_at(now, at)?;
        rest.fill(0);
        if self.plain.iter().all(|&byte| byte == 0) {
            return Ok(Made::Zeros);
        }
        let len = match &mut self.codec {
            Codec::Zlib(codec) => {
                codec.reset();
                let room = &mut self.packed[..longest];
                match codec.compress(&self.plain, room, FlushCompress::Finish)? {
                    Status::StreamEnd => codec.total_out(),
                    _ => return Ok(Made::Stored),
                }
            }
            Codec::Zstd(codec) => codec.compress_to_buffer(&self.plain, &mut self.packed)? as u64,
        };
        let len = usize::try_from(len).expect("it is in memory");
        Ok(match self.packed.get(..len) {
            Some(bytes) if len <= longest => Made::Packed(bytes.to_vec()),
            _ => Made::Stored,
        })
    }
}
