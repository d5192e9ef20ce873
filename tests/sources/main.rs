//! The whole way, by the built program: sources from registries, servers, archives, media; what the
//! lock file holds; media that boot.
//!
//! In: images and media made by foreign programs, servers on this machine. Out: verdicts.
//!
//! Source: skopeo(1), distribution/distribution.
//!
//! Not here: the parts, which the targets `assets`, `oci`, `registry`, `extensions` prove alone.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

mod world;
mod locked;
mod kinds;
mod layers;
mod signed;
