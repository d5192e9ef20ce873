//! A partition table of random bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::partitions;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(table)) = partitions::read(&Blob::from_bytes("input", data)) {
        for partition in &table.partitions {
            assert!(partition.range.end <= data.len() as u64);
        }
    }
});
