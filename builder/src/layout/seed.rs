//! An ISO with a machine config and nothing to boot.
//!
//! In: a node's plan. Out: the whole image, which is found as a CD, as a stick and as a disk.
//!
//! Source: as `volume`.
//!
//! Not here: the format of ISO 9660.

use crate::blob::Blob;
use crate::format::iso9660::{self, Image, VolumeId};
use crate::layout::{LayoutError, volume};
use crate::payload::volume::ConfigVolume;
use crate::plan::NodePlan;

/// Lays out the seed.
///
/// # Errors
///
/// Where the plan has no config for it, or the config does not fit.
pub fn lay_out(plan: &NodePlan) -> Result<Blob, LayoutError> {
    let config = ConfigVolume::of(plan).ok_or(LayoutError::EmptySeed)?;
    let image = Image {
        volume_id: VolumeId::new(config.label).expect("Talos' names are short"),
        volume_set_id: config.label.to_owned(),
        epoch: plan.epoch.into(),
        files: volume::iso_files(&config),
        boot: None,
    };
    Ok(iso9660::place(&image)?.emit(&image, &[], &[]))
}
