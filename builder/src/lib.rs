//! talforge turns one site file into bootable Talos Linux media, one per node, each with that
//! node's machine config inside.
//!
//! # The one idea: describe bytes, don't carry them
//!
//! ```text
//! what the user wrote          what we ship (data)            what Sidero ships
//! site.yaml, configs           profiles/*, overlays/*         kernel, initramfs, stub, sd-boot, UKI
//!       │ parse                      │ parse                        │ open, verify
//!       ▼                            ▼                              ▼
//!     Site ───────── resolve ─▶ [NodePlan] ─────────────────▶ Assets
//!                                    │ build
//!     machine config ─▶ squashfs extension ─▶ cpio segment ─▶ config addon │ initramfs │ UKI
//!                                    │ lay out
//!              files → FAT (ESP) → GPT disk │ ISO │ loose files
//!                                    ▼
//!          ═════════  Image = Blob = list of extents (made bytes │ range of a file │ zeros)  ═════════
//!                                    │ write
//!                               sparse files
//! ```
//!
//! * **One direction.** Each arrow is one function from the last stage's type to its own.
//! * **A waist.** Above [`blob::Blob`] nobody knows sinks; below it nobody knows Talos.
//! * **Blobs nest.** A UKI, a FAT volume, an ISO are blobs made of blobs. An initramfs of 100 MiB is
//!   never copied before the sink, and two nodes share every extent but their few KiB.
//!
//! # Rooms
//!
//! Reading order is dependency order: a room may `use` only rooms above it in the list below.
//! `cargo xtask tidy` checks that.

pub mod units;
pub mod blob;
pub mod digest;
pub mod report;
pub mod format;
pub mod talos;
pub mod yaml;
pub mod catalog;
pub mod config;
pub mod site;
pub mod plan;
pub mod inspect;
pub mod asset;
pub mod payload;
pub mod layout;
pub mod sink;
pub mod cli;
pub mod verb;
