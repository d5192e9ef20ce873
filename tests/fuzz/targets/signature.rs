//! A signature, a list of signatures, a key and a trusted root of random bytes; nothing signs them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use talforge::digest::Digest;
use talforge::signature::attached::{self, Attached, Listed};
use talforge::signature::key::PublicKey;
use talforge::signature::roots::Roots;
use talforge::signature::{Signee, Trust, blob};

static ROOTS: LazyLock<Option<Roots>> = LazyLock::new(|| Roots::public().ok());

/// A layer of each kind.
const MANIFEST: &[u8] = br#"{"layers": [
    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "size": 1,
     "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111"},
    {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": 1,
     "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
     "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}]}"#;

fuzz_target!(|data: &[u8]| {
    let Some(roots) = &*ROOTS else { panic!("the built-in root cannot be read") };
    let image = Digest([0x11; 32]);
    assert!(blob(&Trust::Sidero, Signee::Bytes(b"file"), data, roots).is_err());
    assert!(blob(&Trust::Sidero, Signee::Digest(image), data, roots).is_err());
    if let Ok(key) = PublicKey::parse(data) {
        let _ = blob(&Trust::Key(key), Signee::Bytes(b"file"), data, roots);
    }
    let _ = Roots::parse(data);
    for document in [data, MANIFEST] {
        for listed in attached::listed(document).unwrap_or_default() {
            let Listed::Signature(place) = listed else { continue };
            let signature = Attached { place, content: data.to_vec() };
            assert!(attached::image(&Trust::Sidero, image, &[signature], roots).is_err());
        }
    }
});
