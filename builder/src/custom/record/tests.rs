//! Records, whole and damaged.

use proptest::prelude::*;

use super::*;

fn record() -> impl Strategy<Value = Record> {
    let old = (0usize..4, 1u64..99, 0u64..99, any::<bool>());
    prop::collection::vec(old, 0..9).prop_map(|olds| {
        let mut next = 0;
        let ranges = olds.into_iter().map(|(kind, len, gap, is_zero)| {
            let start = next + gap;
            next = start + len;
            let bytes = (!is_zero).then(|| vec![7; usize::try_from(len).unwrap()]);
            Old { kind: KINDS[kind], range: start..next, bytes }
        });
        Record { ranges: ranges.collect(), medium_len: 1 << 20, written: Digest([9; 32]) }
    })
}

proptest! {
    #[test]
    fn a_record_reads_as_it_was_written(record in record(), fill in 0usize..99) {
        let mut bytes = record.to_bytes();
        bytes.resize(bytes.len() + fill, 0);
        prop_assert_eq!(Record::read(&bytes).unwrap(), record);
    }

    /// One that is cut or has a byte changed is refused.
    #[test]
    fn a_damaged_record_is_refused(record in record(), at: usize, bits in 1u8.., cut: bool) {
        let mut bytes = record.to_bytes();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= bits }
        prop_assert!(Record::read(&bytes).is_err());
    }

    /// Whatever its digest vouches for, it does no harm.
    #[test]
    fn a_hostile_record_does_no_harm(mut body in prop::collection::vec(any::<u8>(), 72..400), count in 0u32..9) {
        body[..16].copy_from_slice(MAGIC);
        let len = body.len() as u64 + 32;
        body[16..24].copy_from_slice(&len.to_le_bytes());
        body[64..68].copy_from_slice(&count.to_le_bytes());
        let digest = Digest::of(&body);
        body.extend(digest.0);
        let _ = Record::read(&body);
    }
}
