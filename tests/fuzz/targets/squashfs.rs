//! A squashfs of random bytes, one file looked for and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::inspect::squashfs::Squashfs;

fuzz_target!(|data: &[u8]| {
    let Ok(image) = Squashfs::read(&Blob::from_bytes("input", data)) else { return };
    for path in ["usr/local/etc/talos/config.yaml", "etc/os"] {
        if let Ok(Some(file)) = image.find(path) {
            let _ = image.content(&file, 1 << 20);
            let _ = image.security_xattr(&file, "selinux");
        }
    }
});
