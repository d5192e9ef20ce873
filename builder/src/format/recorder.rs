//! A sparse device that records what is written to it, for crates that want one.
