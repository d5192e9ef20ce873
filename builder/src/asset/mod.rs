//! Boot assets from outside, opened and checked.
