//! Machine configs: the bytes of one node's, and what must be true of them.
