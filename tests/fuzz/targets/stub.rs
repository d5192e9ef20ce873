//! A stub of random bytes, and a kernel; what is read of the stub is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::asset::kernel;
use talforge::blob::Blob;
use talforge::format::pe::{Image, section};

fuzz_target!(|data: &[u8]| {
    let file = Blob::from_bytes("input", data);
    let _ = kernel::read(&file);
    if let Ok(image) = Image::read(&file) {
        let _ = image.append(&[(section::LINUX, file)], 0);
    }
});
