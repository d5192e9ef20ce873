//! Archives in cpio's "newc" format.
