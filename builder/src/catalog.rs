//! The profiles and overlays that we ship: data, parsed once.
