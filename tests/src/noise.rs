//! Bytes to test with.
//!
//! In: a seed. Out: bytes that do not compress, and are the same everywhere.
//!
//! Source: G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (2003).
//!
//! Not here: secrets; these are as good as published.

/// Bytes that differ from seed to seed and from place to place.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
