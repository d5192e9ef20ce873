//! Bytes that Talos reads at boot.
//!
//! In: a node's plan and the boot assets. Out: a [`Payload`]: UKI, addon, initramfs segment, META.
//!
//! Source: Talos `pkg/imager/imager.go`; systemd-stub(7) for what a stub takes from an addon since
//! when: `.initrd` since 257.
//!
//! Not here: partitions, volumes, paths on a medium (`layout`).

use thiserror::Error;

use crate::asset::Assets;
use crate::blob::{Blob, Builder};
use crate::format::pe::PeError;
use crate::payload::extension::ExtensionError;
use crate::payload::meta::MetaError;
use crate::payload::uki::{Parts, Reset};
use crate::plan::{Embedding, Line, Medium, NodePlan};

pub mod extension;
pub mod meta;
pub mod uki;

/// The first stub that takes an addon's `.initrd`.
const ADDON_INITRD_SINCE: u32 = 257;

/// What one node boots.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The UKI.
    pub uki: Blob,
    /// What lies beside the UKI, where the config is embedded so.
    pub addon: Option<Blob>,
    /// The config's segment, for boot loaders that take a second initramfs.
    pub segment: Option<Blob>,
    /// The whole initramfs for boot loaders that take only one.
    pub initramfs: Blob,
    /// The META partition.
    pub meta: Blob,
}

/// Why a plan has no payload.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// The stub would ignore the addon, and Talos would start without a config.
    #[error(
        "the boot assets' systemd-stub {found} ignores an initramfs in an addon; it takes one since {ADDON_INITRD_SINCE}"
    )]
    OldStub {
        /// Its version, as it tells it.
        found: String,
    },
    /// What is asked for would break the UKI's signature.
    #[error("the boot assets' UKI is signed; {0} would need another one")]
    Signed(&'static str),
    /// The config's segment.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The META values.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The UKI or the addon.
    #[error(transparent)]
    Pe(#[from] PeError),
}

impl PayloadError {
    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::OldStub { .. } => {
                Some("take boot assets of Talos v1.12 or newer, or set `embed: initramfs`")
            }
            Self::Signed(_) => Some(
                "set `embed: addon` and drop `kernel_args`, or take loose boot assets (`dir:`)",
            ),
            Self::Extension(_) => Some("check that `initramfs.xz` is of a Talos release"),
            Self::Meta(_) => Some("shorten the node's `meta` values"),
            Self::Pe(_) => None,
        }
    }
}

/// Builds what the plan's node boots.
///
/// # Errors
///
/// Where the assets cannot do what the plan wants, or something does not fit its format.
pub fn build(plan: &NodePlan, assets: &Assets) -> Result<Payload, PayloadError> {
    let config = plan.embed.config();
    let segment = config
        .map(|config| extension::segment(config.bytes(), &assets.initramfs, plan.epoch))
        .transpose()?;
    let initramfs = join(&assets.initramfs.blob, segment.as_ref());
    let addon = match (&plan.embed, &segment) {
        (Embedding::Addon(_), Some(segment)) => Some(addon(plan, assets, segment)?),
        _ => None,
    };
    let initrd = if addon.is_some() { &assets.initramfs.blob } else { &initramfs };
    let uki = uki(plan, assets, initrd)?;
    Ok(Payload { uki, addon, segment, initramfs, meta: meta::partition(&plan.meta)? })
}

/// The base and what follows it. Linux takes an uncompressed segment at a multiple of 4 bytes only.
fn join(base: &Blob, segment: Option<&Blob>) -> Blob {
    match segment {
        Some(segment) => Builder::default().blob(base).align(4).blob(segment).finish(),
        None => base.clone(),
    }
}

fn addon(plan: &NodePlan, assets: &Assets, segment: &Blob) -> Result<Blob, PayloadError> {
    if assets.stub_version.is_none_or(|version| version < ADDON_INITRD_SINCE) {
        let found = assets.stub_version.map_or("(of no version)".into(), |v| v.to_string());
        return Err(PayloadError::OldStub { found });
    }
    let uname = assets.uname.as_deref();
    Ok(uki::addon(assets.stub.machine, uname, segment, plan.epoch)?)
}

/// The UKI as it was shipped where the plan allows that, or one of our own.
fn uki(plan: &NodePlan, assets: &Assets, initrd: &Blob) -> Result<Blob, PayloadError> {
    let is_changed = matches!(plan.embed, Embedding::Initramfs(_));
    if let Some(ready) = &assets.ready_uki {
        match (is_changed, plan.line) {
            (false, Line::Usual | Line::Shipped) => return Ok(ready.blob.clone()),
            _ if !ready.is_signed => {}
            (true, _) => return Err(PayloadError::Signed("a config inside the initramfs")),
            (false, Line::Custom) => return Err(PayloadError::Signed("another command line")),
        }
    }
    let reset = match plan.medium {
        Medium::Iso { .. } => Some(Reset::Disk),
        Medium::Disk { .. } => Some(Reset::Maintenance),
        Medium::Files => None,
    };
    let parts = Parts {
        stub: &assets.stub,
        talos: &plan.talos,
        cmdline: &plan.cmdline,
        reset,
        uname: assets.uname.as_deref(),
        splash: assets.splash.as_ref(),
        kernel: &assets.kernel,
        initrd,
    };
    Ok(uki::assemble(&parts, plan.epoch)?)
}
