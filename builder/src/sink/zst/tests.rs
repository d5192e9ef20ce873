//! Blocks stand alone.

use super::*;

/// A block of a frame: whether it is the last, its type, its length.
type Header = (bool, u32, usize);

/// The headers of blocks that are all there is.
fn headers(mut bytes: &[u8]) -> Vec<Header> {
    let mut out = Vec::new();
    while let [a, b, c, rest @ ..] = bytes {
        let header = u32::from_le_bytes([*a, *b, *c, 0]);
        let (kind, size) = (header >> 1 & 3, (header >> 3) as usize);
        out.push((header & 1 == 1, kind, size));
        bytes = &rest[if kind == 1 { 1 } else { size }..];
    }
    assert!(bytes.is_empty());
    out
}

/// No block ends the frame, and zeros take four bytes a block.
#[test]
fn a_chunk_becomes_blocks() {
    let (zeros, ()) = press(&vec![0; CHUNK]).unwrap();
    assert!(zeros.len() < 400, "{} bytes", zeros.len());
    for bytes in [vec![0; CHUNK], vec![0; 5], vec![], (0..=255).collect()] {
        let blocks = headers(&press(&bytes).unwrap().0);
        assert!(blocks.iter().all(|(is_last, kind, _)| !is_last && *kind < 3), "{blocks:?}");
        assert!(blocks.len() <= bytes.len().div_ceil(128 << 10));
    }
}

/// A chunk that would do well with the offsets and tables of the chunk before has none of them: its
/// blocks may come after any others.
#[test]
fn a_chunk_does_not_look_back() {
    let words: Vec<u8> =
        (0..60_000_u32).flat_map(|n| (n.wrapping_mul(n) >> 3).to_le_bytes()).collect();
    let (a, b) = (words.as_slice(), [&words[7..], &words[..7]].concat());
    let others = [vec![], vec![9; 1000], b"abcabcabc".repeat(5000), b.clone()];
    for before in others {
        let frame = [
            &MAGIC[..],
            &[0x00, WINDOW],
            &press(&before).unwrap().0,
            &press(a).unwrap().0,
            &press(&b).unwrap().0,
            &END,
        ]
        .concat();
        let out = zstd::decode_all(frame.as_slice()).unwrap();
        assert!(out == [&before, a, &b].concat());
    }
}
