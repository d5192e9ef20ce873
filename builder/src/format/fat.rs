//! FAT32 volumes, written whole, on the crate `fatfs`.
