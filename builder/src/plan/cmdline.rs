//! Kernel command lines by Talos' rules.
