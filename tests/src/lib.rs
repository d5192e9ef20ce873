//! The bench: foreign tools, stand-in boot assets, machines under QEMU.

pub mod tools;
pub mod noise;
pub mod product;
pub mod servers;
pub mod apt;
pub mod parts;
pub mod standin;
pub mod report;
pub mod nvram;
pub mod qemu;
pub mod foreign;
pub mod talos;
