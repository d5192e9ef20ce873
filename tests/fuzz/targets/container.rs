//! A container of random bytes, over itself where it is an overlay, and what is in it, in turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::container::{self, Content};

fuzz_target!(|data: &[u8]| {
    let file = Blob::from_bytes("input", data);
    let mut next = file.clone();
    for _ in 0..container::DEPTH {
        let Ok(Some(found)) = container::open(&next, &|_| Some(file.clone())) else { return };
        next = match found.content {
            Content::Mapped(disk) => disk,
            Content::Packed(packed) => {
                let out = tempfile::tempfile().expect("there is room for a file");
                if packed.unpack(&out, 1 << 24, &mut |_| ()).is_err() {
                    return;
                }
                Blob::from_file("unpacked", out).expect("its length is known")
            }
        };
        assert!(found.disk_len.is_none_or(|len| len == next.len()));
    }
});
