//! The readers of finished media against media made by foreign tools.

#[cfg(test)]
#[path = "readers/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "readers/volumes.rs"]
mod volumes;
#[cfg(test)]
#[path = "readers/initrds.rs"]
mod initrds;
#[cfg(test)]
#[path = "readers/media.rs"]
mod media;
#[cfg(test)]
#[path = "readers/hostile.rs"]
mod hostile;
