//! squashfs 4.0 images with extended attributes.
