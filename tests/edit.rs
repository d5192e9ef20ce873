//! Finished media, changed and taken back: the results judged by other people's programs.

#[cfg(test)]
#[path = "edit/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "edit/media.rs"]
mod media;
#[cfg(test)]
#[path = "edit/volumes.rs"]
mod volumes;
