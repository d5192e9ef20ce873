//! A FAT volume of random bytes, its files listed and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::fat::Fat;

fuzz_target!(|data: &[u8]| {
    let Ok(fat) = Fat::read(&Blob::from_bytes("input", data)) else { return };
    let _ = fat.label();
    let _ = fat.find("EFI/Linux");
    for file in fat.list(None).unwrap_or_default().iter().take(64) {
        if file.is_dir() {
            let _ = fat.list(Some(file));
        } else if let Ok(blob) = fat.content(file) {
            assert_eq!(blob.len(), file.len);
        }
    }
});
