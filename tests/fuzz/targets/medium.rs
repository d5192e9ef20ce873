//! A medium of random bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::{self, memo::Memo};

fuzz_target!(|data: &[u8]| {
    let _ = inspect::open(&Blob::from_bytes("input", data), &mut Memo::default());
});
