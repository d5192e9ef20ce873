//! GUID partition tables, written whole, on the crate `gpt`.
