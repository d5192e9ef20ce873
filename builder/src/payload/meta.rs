//! The META partition: Talos' key-value store that lives beside the system.
//!
//! In: values by key. Out: the partition's bytes ("ADV", auxiliary data vector).
//!
//! Source: siderolabs/go-adv `adv/talos/talos.go`; keys in Talos `pkg/machinery/meta/constants.go`.
//!
//! Not here: which values there are (`plan`).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::blob::{Blob, Builder};
use crate::catalog::META_BYTES;
use crate::digest::Digest;
use crate::units::KIB;

/// One copy of the store. Two equal ones open the partition.
const COPY_LEN: usize = 256 * 1024;
const FIRST_MAGIC: u32 = 0x5a4b_3c2d;
const LAST_MAGIC: u32 = 0xa5b4_c3d2;
/// The digest and the last magic close a copy.
const TAIL_LEN: usize = 32 + 4;
/// What Talos' own writer allows for `20 + Σ (8 + length)`.
const MAX_RECORDS: usize = COPY_LEN - 4 - TAIL_LEN;

/// The values are larger than the store.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the META values have {len} bytes with their headers; the partition holds {MAX_RECORDS}")]
pub struct MetaError {
    len: usize,
}

/// The partition that holds `values`, sorted by key. Without any it is of zeros, which Talos takes
/// for an empty store.
///
/// # Errors
///
/// Where the values do not fit.
pub fn partition(values: &BTreeMap<u8, String>) -> Result<Blob, MetaError> {
    if values.is_empty() {
        return Ok(Builder::default().zeros("meta", META_BYTES).finish());
    }
    let copy = copy(values)?;
    let image = Builder::default().bytes("meta", copy.as_slice()).bytes("meta, copy", copy);
    Ok(image.fill_to(META_BYTES).finish())
}

fn copy(values: &BTreeMap<u8, String>) -> Result<Vec<u8>, MetaError> {
    let len = 20 + values.values().map(|value| 8 + value.len()).sum::<usize>();
    if len > MAX_RECORDS {
        return Err(MetaError { len });
    }
    let mut copy = FIRST_MAGIC.to_be_bytes().to_vec();
    for (key, value) in values {
        let len = u32::try_from(value.len()).expect("the values fit in 256 KiB");
        copy.extend(u32::from(*key).to_be_bytes());
        copy.extend(len.to_be_bytes());
        copy.extend(value.as_bytes());
    }
    copy.resize(COPY_LEN - 4, 0);
    copy.extend(LAST_MAGIC.to_be_bytes());
    // The digest is over the whole copy, while its own place holds zeros.
    let digest = Digest::of(&copy);
    copy[COPY_LEN - TAIL_LEN..COPY_LEN - 4].copy_from_slice(&digest.0);
    Ok(copy)
}

const _: () = assert!(COPY_LEN as u64 == 256 * KIB);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_laid_out_so() {
        let values = BTreeMap::from([(0xa, "net".to_owned()), (0xc, "x".to_owned())]);
        let partition = partition(&values).unwrap();
        insta::assert_snapshot!(format!("{partition:?}"), @r"
        0x0000000000     262144 bytes meta
        0x0000040000     262144 bytes meta, copy
        0x0000080000     524288 zeros gap
        ");
        let bytes = partition.to_vec().unwrap();
        let head = b"\x5a\x4b\x3c\x2d\0\0\0\x0a\0\0\0\x03net\0\0\0\x0c\0\0\0\x01x\0\0\0\0";
        assert_eq!(&bytes[..head.len()], head);
        assert_eq!(bytes[COPY_LEN - 4..COPY_LEN], [0xa5, 0xb4, 0xc3, 0xd2]);
    }

    #[test]
    fn an_empty_store_is_zeros() {
        let partition = partition(&BTreeMap::new()).unwrap();
        assert_eq!(partition.len(), META_BYTES);
        assert!(partition.to_vec().unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let fits = MAX_RECORDS - 28;
        assert!(partition(&BTreeMap::from([(1, "x".repeat(fits))])).is_ok());
        let error = partition(&BTreeMap::from([(1, "x".repeat(fits + 1))])).unwrap_err();
        assert_eq!(error, MetaError { len: MAX_RECORDS + 1 });
    }
}
