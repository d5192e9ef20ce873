//! An initrd of random bytes, and the system that Talos makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::memo::Memo;
use talforge::inspect::{init, initrd};

fuzz_target!(|data: &[u8]| {
    let mut memo = Memo::default();
    memo.allow(data.len() as u64);
    if let Ok(tree) = initrd::unpack(&Blob::from_bytes("input", data), &mut memo) {
        let _ = init::start(&tree, &mut memo);
        for path in tree.paths() {
            let _ = tree.get(path).map(|file| tree.content(file, 1 << 20, &mut memo));
        }
    }
});
