//! Bytes that Talos reads at boot.
