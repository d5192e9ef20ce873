//! An archive of random bytes as an image layout, and as one of `docker save`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::oci::archive::Archive;
use talforge::oci::image::{self, Platform};
use talforge::oci::layout::Layout;
use talforge::talos::Arch;

fuzz_target!(|data: &[u8]| {
    let blob = Blob::from_bytes("input", data);
    if let Ok(layout) = Layout::of_archive("input", blob.clone())
        && let Ok(root) = layout.pick(None)
    {
        let _ = image::manifest(&layout, &root, Platform::Rather(Arch::Amd64));
    }
    if let Ok(archive) = Archive::of_archive("input", blob)
        && let Ok(root) = archive.pick(None)
    {
        let _ = image::manifest(&archive, &root, Platform::Rather(Arch::Amd64));
    }
});
