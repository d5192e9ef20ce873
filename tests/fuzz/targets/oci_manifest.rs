//! A manifest, an index or a config of random bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::digest::Digest;
use talforge::oci::image::{self, Platform};
use talforge::oci::{Content, Descriptor, Unavailable};
use talforge::talos::Arch;

/// Gives the same bytes whatever is asked for: an index names itself.
struct Same(Blob);

impl Content for Same {
    fn get(&self, _: &Descriptor) -> Result<Blob, Unavailable> {
        Ok(self.0.clone())
    }
}

fuzz_target!(|data: &[u8]| {
    let content = Same(Blob::from_bytes("input", data));
    for media_type in [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ] {
        let (digest, len) = (Digest::of(data), data.len() as u64);
        let root = Descriptor { media_type: media_type.to_owned(), digest, len };
        let _ = image::manifest(&content, &root, Platform::Only(Arch::Amd64));
        let _ = image::manifest(&content, &root, Platform::Rather(Arch::Arm64));
    }
});
