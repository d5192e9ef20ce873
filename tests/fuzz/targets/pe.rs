//! A UKI of random bytes, and an addon to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::pe::Pe;
use talforge::inspect::uki::{Addon, Uki};

fuzz_target!(|data: &[u8]| {
    let file = Blob::from_bytes("input", data);
    let _ = Pe::read(&file);
    if let Ok(uki) = Uki::read(&file) {
        let _ = uki.profiles();
        let _ = Addon::read(&file, &uki);
    }
});
