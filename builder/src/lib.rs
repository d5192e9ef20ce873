//! talforge turns one site file into bootable Talos Linux media, one per node, each with that
//! node's machine config inside.
//!
//! # The one idea: describe bytes, don't carry them
//!
//! ```text
//! what the user wrote          what we ship (data)            what Sidero ships
//! site.yaml, secrets, patches   profiles/*, overlays/*         kernel, initramfs, stub, sd-boot, UKI
//!       │ parse                      │ parse                        │ open, verify
//!       ▼                            ▼                              ▼
//!     Site ── render ─▶ configs ── resolve ─▶ [NodePlan] ────▶ Assets
//!                          │ check           │ build
//!                          ▼ findings        ▼
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
//! `cargo xtask tidy` checks that. What a room must *not* know keeps it small:
//!
//! | room | what it is | what it does not know |
//! |---|---|---|
//! | [`units`], [`blob`], [`digest`] | sizes, byte strings made of extents, SHA-256 | what bytes mean |
//! | [`report`] | diagnostics and progress; alone prints | who calls it |
//! | [`mod@format`] | writers: cpio, squashfs, PE, FAT, GPT, MBR, ISO 9660, `grub.cfg` | Talos, paths, time |
//! | [`talos`] | versions, and what each can do since when | |
//! | [`yaml`] | what people write, as trees with places | what it means |
//! | [`sops`] | encrypted files, opened in memory alone | what is in them, where they lie |
//! | [`pki`] | a cluster's secrets: CAs, keys, tokens; clients' credentials | machine configs, files, the clock |
//! | [`cel`] | selectors of disks and links, compiled and evaluated | which documents have them |
//! | [`catalog`], [`config`], [`site`] | what people write, and the data that we ship | the network |
//! | [`check`] | what Talos cannot see, because it sees one node | how configs are made, files, the clock |
//! | [`import`] | other tools' sites, as ours | what is made of a site |
//! | [`render`] | every node's final config: generated, patched, held to Talos' rules | media |
//! | [`plan`] | every node's medium, wholly decided; command lines | files, the clock |
//! | [`inspect`] | readers, which share no code with the writers | how media are made |
//! | [`asset`] | boot assets from outside, opened and checked | nodes |
//! | [`payload`] | the bytes that Talos reads at boot | partitions |
//! | [`layout`] | where payloads lie on a medium | YAML |
//! | [`sink`] | files written aside, synced, renamed | anything but blobs and names |
//! | [`cli`], [`verb`] | flags; one function a command | |
//!
//! # Promises, and who keeps them
//!
//! * Same inputs, same bytes: no clock, no randomness, no hash order below `verb` (clippy's
//!   `disallowed-*`); every time on a medium is the plan's epoch. [`pki`] alone draws random
//!   numbers, for keys, which reach media only as what the user wrote.
//! * A file under its final name is complete and verified: [`sink`] syncs before it names, and
//!   [`verb::readback`] opens what was written, by [`inspect`], before that.
//! * A further node costs its own bytes: its addon lies at the end of the EFI partition, padded to
//!   one length, so that tables, checksums ([`sink`]'s midstates) and volumes
//!   ([`layout::esp::Memo`]) are those of the node before.
//! * Secrets show nowhere but in media: configs print as length and digest.

pub mod units;
pub mod blob;
pub mod edit;
pub mod digest;
pub mod report;
pub mod tree;
pub mod format;
pub mod kmod;
pub mod talos;
pub mod yaml;
pub mod sops;
pub mod pki;
pub mod cel;
pub mod store;
pub mod oci;
pub mod registry;
pub mod signature;
pub mod catalog;
pub mod config;
pub mod site;
pub mod import;
pub mod check;
pub mod render;
pub mod plan;
pub mod inspect;
pub mod lock;
pub mod asset;
pub mod payload;
pub mod layout;
pub mod sink;
pub mod cli;
pub mod verb;
