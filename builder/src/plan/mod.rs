//! Site × catalog → node plans: wholly decided, printable; equal plans make equal bytes.
pub mod cmdline;
