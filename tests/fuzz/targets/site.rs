//! A site file of random bytes; every file that it names holds them, too.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use talforge::site;

fuzz_target!(|data: &[u8]| {
    let read = |_: &Path, _: u64| Ok(data.to_vec());
    let world = site::World { read: &read, variable: &|_| None };
    let _ = site::load_text(Path::new("site.yaml"), data, world);
});
