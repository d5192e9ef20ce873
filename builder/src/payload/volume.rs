//! A machine config as the files of a volume that Talos looks for by its name.
//!
//! In: a node's plan. Out: the volume's name and files.
//!
//! Source: Talos `internal/app/machined/pkg/runtime/v1alpha1/platform/metal/metal.go`
//! (`readConfigFromISO`) and `platform/nocloud/metadata.go` (`configFromCD`, `MetadataConfig`);
//! cloud-init, "NoCloud" (<https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html>).
//!
//! There is no `network-config`: on `nocloud` a machine config has its network itself, and Talos
//! needs none to read the volume.
//!
//! Not here: the file system that the files lie in (`layout`).

use crate::blob::Blob;
use crate::plan::{Embedding, NodePlan};

/// What lies on a config volume.
#[derive(Clone, Debug)]
pub struct ConfigVolume {
    /// Its name, in the case that Talos compares: `metal-iso`, `cidata`.
    pub label: &'static str,
    /// Its files in its only folder, the config first.
    pub files: Vec<(&'static str, Blob)>,
}

impl ConfigVolume {
    /// The volume of a plan, or nothing where its config lies elsewhere.
    pub fn of(plan: &NodePlan) -> Option<Self> {
        let Embedding::Volume(config) = &plan.embed else { return None };
        let label = plan.platform.config_label()?;
        let config = Blob::from_bytes("config", config.bytes().as_ref());
        let files = if plan.platform.is_metal() {
            vec![("config.yaml", config)]
        } else {
            // A name is one label of letters, digits and hyphens: quoted, for it may be a number.
            let meta = format!("instance-id: \"{0}\"\nlocal-hostname: \"{0}\"\n", plan.name);
            vec![
                ("user-data", config),
                ("meta-data", Blob::from_bytes("meta-data", meta.into_bytes())),
            ]
        };
        Some(Self { label, files })
    }
}
