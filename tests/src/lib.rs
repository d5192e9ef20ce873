//! The bench: foreign tools, stand-in boot assets, machines under QEMU.

pub mod tools;
