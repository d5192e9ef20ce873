//! File formats, written.
//!
//! In: plain values and contents as blobs. Out: a [`Blob`](crate::blob::Blob).
//!
//! Source: each file names its specification.
//!
//! Not here: Talos, paths on this machine, clocks.

pub mod recorder;
pub mod cpio;
pub mod squashfs;
pub mod pe;
pub mod fat;
pub mod gpt;
pub mod mbr;
pub mod iso9660;
pub mod grub;
