//! Finished media, changed: put on, replaced, taken back; at any moment whole.
//!
//! In: media made here by ours and by foreign programs, random files, `strace`, QEMU. Out: verdicts.
//!
//! Source: strace(1) on `-e inject`.
//!
//! Not here: what a change is made of (`custom`'s own tests), and readers of media (`readers`).

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

mod crash;
mod media;
mod words;
mod killed;
