//! Where payloads lie on a medium.
