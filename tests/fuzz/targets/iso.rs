//! An ISO of random bytes, its files listed and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::iso::Iso;

fuzz_target!(|data: &[u8]| {
    // The first 32 KiB say nothing to this reader: they need not be found by chance.
    let mut bytes = vec![0; 16 * 2048];
    bytes.extend_from_slice(data);
    let Ok(iso) = Iso::read(&Blob::from_bytes("input", bytes)) else { return };
    let _ = iso.find("boot/grub/grub.cfg");
    for (_, file) in iso.walk().unwrap_or_default().iter().take(64) {
        assert_eq!(iso.content(file).len(), file.len());
    }
});
