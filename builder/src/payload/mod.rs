//! Bytes that Talos reads at boot.
//!
//! In: a node's plan and the boot assets. Out: a [`Payload`]: UKI, addon, initramfs segment, META.
//!
//! Source: Talos `pkg/imager`, by the chapters named in each room.
//!
//! Not here: partitions, volumes, paths on a medium (`layout`).

pub mod meta;
