//! talforge turns one site file into bootable Talos Linux media, one per node, each with that
//! node's machine config inside.
//!
//! # The one idea: describe bytes, don't carry them
//!
//! ```text
//! what the user wrote          what we ship (data)       what Sidero ships: files, ISOs, disks, images
//! site.yaml, secrets, patches   profiles/*, overlays/*         │ lock, fetch, verify
//!       │ parse                      │ parse                     ▼
//!     Site ── render ─▶ configs ── resolve ─▶ [NodePlan] ────▶ Assets ◀─ laid over ─ system extensions
//!                          │ check           │ build
//!                          ▼ findings        ▼
//!     machine config ─▶ squashfs extension ─▶ cpio segment ─▶ config addon │ initramfs │ UKI
//!                                    │ lay out
//!              files → FAT (ESP) → GPT disk │ ISO │ loose files        finished medium ─▶ edit
//!                                    ▼                                         ▼
//!          ═════════  Image = Blob = list of extents (made bytes │ range of a file │ zeros)  ═════════
//!                                    │ write
//!        sparse files, copies, changes in place │ qcow2, VHD, VMDK … │ .zst, .xz, .gz │ registry, bucket
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
//! | [`units`], [`blob`], [`edit`], [`digest`] | sizes, byte strings made of extents, changes to them, SHA-256 | what bytes mean |
//! | [`parallel`] | work on many items by several threads | what the work is |
//! | [`report`] | diagnostics and progress; alone prints | who calls it |
//! | [`mod@format`] | writers: cpio, squashfs, PE, FAT, GPT, MBR, ISO 9660, `grub.cfg` | Talos, paths, time |
//! | [`tree`] | files by path, as images and archives have them | where they come from |
//! | [`kmod`] | kernel modules and modprobe's indexes of them, as depmod makes them | Talos |
//! | [`talos`] | versions, and what each can do since when | |
//! | [`yaml`] | what people write, as trees with places | what it means |
//! | [`sops`] | encrypted files, opened in memory alone | what is in them, where they lie |
//! | [`pki`] | a cluster's secrets: CAs, keys, tokens; clients' credentials | machine configs, files, the clock |
//! | [`cel`] | selectors of disks and links, compiled and evaluated | which documents have them |
//! | [`store`] | what was fetched, by digest, verified on every use | where it comes from |
//! | [`oci`] | images: references, manifests, layers as trees | the network |
//! | [`registry`] | registries and web servers, asked and resumed | what the bytes mean |
//! | [`signature`] | who signed what came from outside | who fetched it |
//! | [`catalog`], [`config`], [`site`] | what people write, and the data that we ship | the network |
//! | [`check`] | what Talos cannot see, because it sees one node | how configs are made, files, the clock |
//! | [`import`] | other tools' sites, as ours | what is made of a site |
//! | [`render`] | every node's final config: generated, patched, held to Talos' rules | media |
//! | [`plan`] | every node's medium, wholly decided; command lines | files, the clock |
//! | [`inspect`] | readers, which share no code with the writers | how media are made |
//! | [`difference`] | what differs between two media | how media are made, and how it is told |
//! | [`map`] | what lies where on a medium, as a tree; drawn as text and SVG | terminals, files |
//! | [`lock`] | what each reference of a site meant | how that is found out |
//! | [`asset`] | boot assets from whatever there is of a release, opened and checked | nodes, the network |
//! | [`extension`] | system extensions, checked, packed, laid over the base initramfs | nodes' configs |
//! | [`payload`] | the bytes that Talos reads at boot | partitions |
//! | [`layout`] | where payloads lie on a medium | YAML |
//! | [`custom`] | a finished medium, changed, and taken back bit for bit | sites, how a change is written |
//! | [`sink`] | files written aside, synced, renamed; formats of disks, compression | anything but blobs and names |
//! | [`export`] | images in layers that nodes share, put where others take them from | sites, how media are made |
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
//!   one length, so that tables, checksums ([`sink::digests`]) and volumes ([`layout::esp::Memo`])
//!   are those of the node before. Extents are marked as a node's own ([`blob::Blob::own`]), and every
//!   format keeps the marks: so what is compressed ([`sink::shelf`]), laid over a base or put into a
//!   registry ([`export`]) is made once for what nodes have in common.
//! * Nodes are built by several threads, and nothing depends on how many: files go to their names
//!   together, results are told in the order of the site.
//! * What comes from outside is what `site.lock` says: [`store`] and [`registry`] compare digests on
//!   every use, and a reference that was looked up once is not asked for again.
//! * A finished medium that is changed boots as before or as it was to, whenever it is cut short:
//!   [`edit::Edit`] has steps, and [`sink`] syncs between them.
//! * Secrets show nowhere but in media: configs print as length and digest.

pub mod units;
pub mod parallel;
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
pub mod difference;
pub mod map;
pub mod lock;
pub mod asset;
pub mod extension;
pub mod payload;
pub mod layout;
pub mod custom;
pub mod sink;
pub mod export;
pub mod cli;
pub mod verb;
