//! SHA-256 digests of bytes, and of blobs without holding them.
//!
//! In: bytes, blobs. Out: a [`Digest`].
//!
//! Source: FIPS 180-4, "Secure Hash Standard", by the crate `sha2`.
//!
//! Not here: which digests belong together (`sink`, `asset`).

use std::fmt;
use std::io;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::blob::{Blob, Extent, Source};

/// A SHA-256 digest. It prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of a blob, read in pieces of 1 MiB.
    ///
    /// # Errors
    ///
    /// Where a file of the blob cannot be read.
    pub fn of_blob(blob: &Blob) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        for extent in blob.extents() {
            hasher.extent(blob, extent, &mut buffer)?;
        }
        Ok(hasher.finish())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest has 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        if text.len() != 64 {
            return Err(DigestError);
        }
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(DigestError)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// A digest under way. Its clone is the state after all bytes so far (a "midstate").
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds one extent of a blob; `buffer` is room to read it into, of any length but 0.
    ///
    /// # Errors
    ///
    /// Where a file of the extent cannot be read.
    pub fn extent(&mut self, blob: &Blob, extent: &Extent, buffer: &mut [u8]) -> io::Result<()> {
        if let Source::Zeros = extent.source {
            buffer.fill(0);
        }
        let mut at = extent.start;
        while at < extent.end() {
            let left = usize::try_from(extent.end() - at).unwrap_or(usize::MAX);
            let chunk = left.min(buffer.len());
            let chunk = &mut buffer[..chunk];
            if !matches!(extent.source, Source::Zeros) {
                blob.read_exact_at(chunk, at)?;
            }
            self.0.update(&*chunk);
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Ends it.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    /// FIPS 180-4's example "abc".
    #[test]
    fn the_digest_of_abc_is_as_published() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), want);
        assert_eq!(want.parse(), Ok(Digest::of(b"abc")));
        for bad in ["", &want[1..], &want.to_uppercase(), &format!("{}é", &want[2..])] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
    }

    #[test]
    fn a_blob_has_the_digest_of_its_bytes() {
        let blob = Builder::default().bytes("a", [1; 3000]).zeros("b", 3 << 20).finish();
        let bytes = blob.to_vec().unwrap();
        assert_eq!(Digest::of_blob(&blob).unwrap(), Digest::of(&bytes));
    }
}
