//! The identities of disks and partitions.
//!
//! In: a label. Out: the GUID that Talos' own images have for it.
//!
//! Source: Talos `pkg/makefs/makefs.go#GUIDFromLabel`; RFC 9562, section 5.8 (UUID version 8).
//!
//! Not here: partition types, which are constants of who uses them.

use uuid::Uuid;

use crate::digest::Digest;

/// The disk's own label in Talos' images.
pub const DISK: &str = "talos-image-disk";

/// The GUID of a label: equal in all images, so that images of many nodes share their tables. Talos
/// finds its partitions by label and disk.
pub fn of_label(label: &str) -> Uuid {
    let digest = Digest::of(&[&[0; 16], label.as_bytes()].concat());
    let bytes = digest.0.first_chunk().expect("a digest has 32 bytes");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of Talos' images since 1.13.
    #[test]
    fn labels_have_the_guids_of_talos_images() {
        let guid = |label| of_label(label).to_string();
        assert_eq!(guid(DISK), "d92d45b3-cde9-8760-be9f-a2a71fac8d11");
        assert_eq!(guid("EFI"), "bca5174b-0118-8a6a-af0b-2c6e1585acae");
        assert_eq!(guid("META"), "cf04f137-101e-8ec6-9627-fa3f51cdabb8");
    }
}
