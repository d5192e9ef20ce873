//! A finished medium, read the way firmware, kernel and Talos will.
