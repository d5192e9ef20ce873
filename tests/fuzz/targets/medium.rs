//! A medium of random bytes, read and drawn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::{self, memo::Memo};
use talforge::map;
use talforge::report::Paint;

fuzz_target!(|data: &[u8]| {
    let (blob, mut memo) = (Blob::from_bytes("input", data), Memo::default());
    let Ok(medium) = inspect::open(&blob, &mut memo) else { return };
    if let Ok(map) = map::survey("input", &blob, &medium, &mut memo) {
        map::text::draw(&map, 80, Paint::Ansi);
        map::svg::draw(&map);
    }
});
