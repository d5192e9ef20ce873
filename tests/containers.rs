//! The reader of containers against files made by foreign tools: QEMU's, GNU's and BSD's.

#[cfg(test)]
#[path = "containers/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "containers/disks.rs"]
mod disks;
#[cfg(test)]
#[path = "containers/archives.rs"]
mod archives;
#[cfg(test)]
#[path = "containers/hostile.rs"]
mod hostile;
