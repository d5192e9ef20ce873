//! Data blocks of files.
//!
//! In: files. Out: their blocks, in order, and where each file's lie.
//!
//! Source: the Linux kernel's `Documentation/filesystems/squashfs.rst`, section 3.1.
//!
//! Not here: fragments.

use std::io;

use super::metadata::{compress, length};
use super::{BLOCK_LOG, Kind, Node, SquashfsError};
use crate::blob::Blob;
use crate::parallel;

/// Set in a data block's size where the block is stored as it is.
const RAW: u32 = 1 << 24;
/// The blocks that are compressed at a time, 16 MiB of them.
const BATCH: usize = 128;

/// Where a file's blocks lie: the first one's offset, and the size of each as an inode tells it.
#[derive(Clone, Default)]
pub(super) struct Data {
    pub(super) start: u64,
    pub(super) sizes: Vec<u32>,
    /// The file's length in bytes.
    pub(super) len: u64,
}

/// A block that waits for its turn: its node, and its bytes.
struct Block {
    node: usize,
    bytes: Blob,
}

/// A block as it is stored, and its size as an inode tells it.
type Stored = io::Result<(u32, Blob)>;

/// Gives the data blocks of all files to `take`, in order, and for each node where its own are if
/// the first one lies at `start`.
pub(super) fn write(
    nodes: &[Node],
    level: u8,
    start: u64,
    take: &mut dyn FnMut(&Blob) -> io::Result<()>,
) -> Result<Vec<Data>, SquashfsError> {
    let mut files: Vec<Data> = vec![Data::default(); nodes.len()];
    let cores = parallel::processors();
    let mut next = start;
    let mut blocks = blocks(nodes).peekable();
    while blocks.peek().is_some() {
        let batch: Vec<_> = blocks.by_ref().take(BATCH).collect();
        for (block, stored) in batch.iter().zip(store_all(&batch, level, cores)) {
            let path = || nodes[block.node].path.clone();
            let error = |source| SquashfsError::Content { path: path(), source };
            let (size, stored) = stored.map_err(error)?;
            take(&stored).map_err(error)?;
            let file = &mut files[block.node];
            if file.sizes.is_empty() {
                file.start = next;
            }
            file.sizes.push(size);
            next += stored.len();
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        match &node.kind {
            Kind::File(content) => files[index].len = content.len(),
            Kind::Copy(of) => files[index] = files[*of].clone(),
            Kind::Dir | Kind::Symlink(_) => {}
        }
    }
    Ok(files)
}

fn blocks(nodes: &[Node]) -> impl Iterator<Item = Block> {
    nodes.iter().enumerate().flat_map(|(node, about)| {
        let content = if let Kind::File(content) = &about.kind { Some(content) } else { None };
        content.into_iter().flat_map(move |content| {
            let block = 1_u64 << BLOCK_LOG;
            let starts = (0..content.len().div_ceil(block)).map(move |index| index * block);
            starts.map(move |from| {
                let bytes = content.slice(from..content.len().min(from + block));
                Block { node, bytes }
            })
        })
    })
}

/// All blocks of a batch as they are stored, in its order, whichever thread was the first.
fn store_all(batch: &[Block], level: u8, cores: usize) -> Vec<Stored> {
    parallel::in_order(cores, batch, |block| store(&block.bytes, level))
}

fn store(block: &Blob, level: u8) -> Stored {
    let packed = compress(&block.to_vec()?, level)?;
    if (packed.len() as u64) < block.len() {
        return Ok((length(packed.len()), Blob::from_bytes("squashfs data", packed)));
    }
    let len = u32::try_from(block.len()).expect("a block has 128 KiB at most");
    Ok((len | RAW, block.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_same_on_any_number_of_cores() {
        let bytes = |n: u32| (0..9000 + n).map(move |i| (i.wrapping_mul(n) >> 3).to_le_bytes()[0]);
        let block =
            |n| Block { node: 0, bytes: Blob::from_bytes("b", bytes(n).collect::<Vec<_>>()) };
        let batch: Vec<_> = (1..40).map(block).collect();
        let all = |cores| {
            let stored = store_all(&batch, 3, cores).into_iter();
            stored
                .map(|block| block.map(|(n, blob)| (n, blob.to_vec().unwrap())).unwrap())
                .collect()
        };
        let one: Vec<_> = all(1);
        assert_eq!(one.len(), batch.len());
        assert!(one.windows(2).any(|pair| pair[0] != pair[1]));
        for cores in [2, 7, 100] {
            assert_eq!(all(cores), one, "{cores} cores");
        }
    }
}
