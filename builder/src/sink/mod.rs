//! Where images go: files written aside, synced, renamed.
