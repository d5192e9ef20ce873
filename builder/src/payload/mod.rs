//! Bytes that Talos reads at boot.
//!
//! In: a node's plan and the boot assets. Out: a [`Payload`]: UKI, addon, initramfs segment, META,
//! files of a config volume.
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
use crate::payload::uki::{AddonParts, Parts, Reset};
use crate::payload::volume::ConfigVolume;
use crate::plan::{Embedding, Line, Medium, NodePlan};

pub mod extension;
pub mod meta;
pub mod uki;
pub mod volume;

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
    /// The volume with the config, where it lies on one.
    pub volume: Option<ConfigVolume>,
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
            Self::OldStub { .. } => Some(
                "take boot assets of Talos v1.12 or newer, or set `embed: initramfs` or `embed: volume`",
            ),
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
    let inside = match &plan.embed {
        Embedding::Addon(config) | Embedding::Initramfs(config) => Some(config),
        Embedding::Volume(_) | Embedding::None => None,
    };
    let segment = inside
        .map(|config| extension::segment(config.bytes(), &assets.initramfs, plan.epoch))
        .transpose()?
        .map(|segment| segment.owned());
    let initramfs = join(&assets.initramfs.blob, segment.as_ref());
    let addon = match (&plan.embed, &segment) {
        (Embedding::Addon(_), Some(segment)) => Some(addon(plan, assets, segment)?.owned()),
        _ => None,
    };
    let initrd = if addon.is_some() { &assets.initramfs.blob } else { &initramfs };
    let uki = uki(plan, assets, initrd)?;
    let (mut meta, volume) = (meta::partition(&plan.meta)?, ConfigVolume::of(plan));
    if !plan.meta.is_empty() {
        meta = meta.owned();
    }
    Ok(Payload { uki, addon, segment, initramfs, meta, volume })
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
    let parts = AddonParts { uname, cmdline: None, segment: Some(segment) };
    Ok(uki::addon(assets.stub.machine, &parts, plan.epoch)?)
}

/// Whether the node boots the boot assets' own UKI, as it was shipped.
///
/// # Errors
///
/// [`PayloadError::Signed`] where it must not be, and another one would not have its signature.
pub fn keeps_uki(plan: &NodePlan, assets: &Assets) -> Result<bool, PayloadError> {
    let Some(ready) = &assets.ready_uki else { return Ok(false) };
    let change = match plan.line {
        _ if matches!(plan.embed, Embedding::Initramfs(_)) => "a config inside the initramfs",
        _ if !plan.extensions.is_empty() => "system extensions",
        Line::Custom => "another command line",
        Line::Usual if !fits(plan, &ready.cmdline) => "the command line of another kind of medium",
        Line::Usual | Line::Shipped => return Ok(true),
    };
    if ready.is_signed { Err(PayloadError::Signed(change)) } else { Ok(false) }
}

/// Whether a UKI's own command line does on the plan's medium: it is for the same platform, and does
/// not stop where Talos is installed if the medium is such a disk.
fn fits(plan: &NodePlan, cmdline: &str) -> bool {
    let platform = format!("talos.platform={}", plan.platform.name());
    let has = |wanted: &str| cmdline.split(' ').any(|arg| arg == wanted);
    let halts = has("talos.halt_if_installed=1");
    has(&platform) && !(halts && matches!(plan.medium, Medium::Disk { .. }))
}

/// The UKI as it was shipped where the plan allows that, or one of our own.
fn uki(plan: &NodePlan, assets: &Assets, initrd: &Blob) -> Result<Blob, PayloadError> {
    if let Some(ready) = &assets.ready_uki
        && keeps_uki(plan, assets)?
    {
        return Ok(ready.blob.clone());
    }
    let reset = match plan.medium {
        Medium::Iso { .. } => Some(Reset::Disk),
        Medium::Disk { .. } => Some(Reset::Maintenance),
        Medium::Files | Medium::Seed => None,
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
