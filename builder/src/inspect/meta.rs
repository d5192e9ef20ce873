//! Talos' META partition.
//!
//! In: the partition. Out: its values by key.
//!
//! Source: Talos `internal/pkg/meta/internal/adv/talos/talos.go`,
//! <https://github.com/siderolabs/talos/blob/v1.13.0/internal/pkg/meta/internal/adv/talos/talos.go>.
//!
//! Not here: what the values mean, and the older copy at the partition's end.

use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::damage::Damage;
use super::field;
use crate::blob::Blob;
use crate::units::{KIB, MIB};

/// The length of the partition: Talos takes no other for META.
pub const LEN: u64 = MIB;
/// The bytes of one of the two copies.
const COPY: u64 = 256 * KIB;
/// The bytes of its digest and of the magic number behind that.
const END: u64 = 36;
const MAGIC: [u8; 4] = [0x5a, 0x4b, 0x3c, 0x2d];
const END_MAGIC: [u8; 4] = [0xa5, 0xb4, 0xc3, 0xd2];

/// META's values by key, and whether both copies say the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// The values. Some are secret; none is shown by `Debug`.
    pub values: BTreeMap<u8, Vec<u8>>,
    /// What is odd but stops nothing.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lengths: BTreeMap<_, _> =
            self.values.iter().map(|(key, value)| (key, value.len())).collect();
        f.debug_struct("Meta").field("lengths", &lengths).field("notes", &self.notes).finish()
    }
}

/// Reads the first good copy. Zeros are an empty META.
///
/// # Errors
///
/// [`Damage`] where the partition is not 1 MiB long, or neither copy is good nor zeros: Talos takes
/// that for an empty META, and the values are lost.
pub fn read(partition: &Blob) -> Result<Meta, Damage> {
    if partition.len() != LEN {
        let wrong = format!("it has {} bytes", partition.len());
        return Err(Damage::new("meta partition", 0, wrong).should("1048576"));
    }
    let copy = |at| field::bytes(partition, "meta copy", at..at + COPY, COPY);
    let (first, second) = (copy(0)?, copy(COPY)?);
    let is_blank = is_zeros(&first) && first == second;
    let values = parse(&first);
    let (first, second) = match first == second {
        true => (values.clone(), values),
        false => (values, parse(&second)),
    };
    let note = |text: &str| vec![text.to_owned()];
    match (first, second) {
        (Some(values), second) if second.as_ref() == Some(&values) => {
            Ok(Meta { values, notes: Vec::new() })
        }
        (Some(values), _) => {
            Ok(Meta { values, notes: note("the second copy of META differs from the first") })
        }
        (None, Some(values)) => {
            Ok(Meta { values, notes: note("the first copy of META is damaged") })
        }
        (None, None) if is_blank => Ok(Meta { values: BTreeMap::new(), notes: Vec::new() }),
        (None, None) => Err(Damage::new("meta copy", 0, "neither copy is good")),
    }
}

/// Whether bytes are zeros: the first is, and each is as the one before.
fn is_zeros(bytes: &[u8]) -> bool {
    let [first, rest @ ..] = bytes else { return true };
    *first == 0 && *rest == bytes[..rest.len()]
}

/// Where a good copy's parts lie in the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// All of it.
    pub range: Range<u64>,
    /// Its magic number and its values, to the end of the last.
    pub values: Range<u64>,
    /// Each value by its key, in order, with the bytes before it that say so.
    pub keys: Vec<(u8, Range<u64>)>,
    /// The digest and the magic number at its end.
    pub end: Range<u64>,
}

/// Where the good copies of a partition lie, that have values. Nothing where it cannot be read.
pub fn copies(partition: &Blob) -> Vec<Copy> {
    let copy = |at: u64| {
        let bytes = field::bytes(partition, "meta copy", at..at + COPY, COPY).ok()?;
        let keys: Vec<_> = records(&bytes)?
            .into_iter()
            .map(|(key, value)| (key, at + value.start as u64 - 8..at + value.end as u64))
            .collect();
        let values = at..keys.last()?.1.end;
        Some(Copy { range: at..at + COPY, values, keys, end: at + COPY - END..at + COPY })
    };
    [0, COPY].into_iter().filter_map(copy).collect()
}

/// The values of a copy, or nothing where it is damaged.
fn parse(copy: &[u8]) -> Option<BTreeMap<u8, Vec<u8>>> {
    let records = records(copy)?;
    Some(records.into_iter().map(|(key, value)| (key, copy[value].to_vec())).collect())
}

/// The place of each value in a copy by its key, or nothing where the copy is damaged.
fn records(copy: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let (records, end) = copy.split_at_checked(copy.len().checked_sub(32 + END_MAGIC.len())?)?;
    let (sum, end_magic) = end.split_at(32);
    if !records.starts_with(&MAGIC) || end_magic != END_MAGIC {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update(records);
    hasher.update([0; 32]);
    hasher.update(end_magic);
    if *hasher.finalize() != *sum {
        return None;
    }
    let mut values = Vec::new();
    let mut at = 4;
    // Without an end there is room for no further record.
    while let Some(head) = records.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let [a, b, c, d, e, f, g, h] = *head;
        let key = u32::from_be_bytes([a, b, c, d]);
        let len = usize::try_from(u32::from_be_bytes([e, f, g, h])).ok()?;
        if key == 0 {
            break;
        }
        let value = at + 8..(at + 8).checked_add(len).filter(|&end| end <= records.len())?;
        at = value.end;
        values.push((u8::try_from(key).ok()?, value));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    /// A copy built by hand, not by the writer.
    fn copy(records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (key, value) in records {
            out.extend([0, 0, 0, *key]);
            out.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            out.extend_from_slice(value);
        }
        out.resize(usize::try_from(COPY - 36).unwrap(), 0);
        out.extend([0; 32]);
        out.extend(END_MAGIC);
        let sum = Sha256::digest(&out);
        let at = out.len() - 36;
        out[at..at + 32].copy_from_slice(&sum);
        out
    }

    fn partition(first: &[u8], second: &[u8]) -> Blob {
        let copies = Builder::default().bytes("first", first).bytes("second", second);
        copies.fill_to(LEN).finish()
    }

    #[test]
    fn values_are_read_from_the_first_good_copy() {
        let good = copy(&[(0x11, b"dual-boot"), (0x0a, b"addresses: []")]);
        let mut bad = good.clone();
        bad[9] ^= 1;
        let both = read(&partition(&good, &good)).unwrap();
        assert_eq!(both.values[&0x11], b"dual-boot");
        assert!(both.notes.is_empty());
        let second = read(&partition(&bad, &good)).unwrap();
        assert_eq!(second.values, both.values);
        assert_eq!(second.notes, ["the first copy of META is damaged"]);
        assert!(read(&partition(&bad, &bad)).is_err());
    }

    #[test]
    fn zeros_are_an_empty_meta() {
        assert!(read(&partition(&[], &[])).unwrap().values.is_empty());
        assert!(read(&Blob::default()).is_err());
    }
}
