//! A finished medium, changed: a config put in, replaced, taken out.
//!
//! In: a medium, and what it is to hold. Out: the [`Edit`] that does it.
//!
//! A UKI is never touched: what a node adds lies beside it on the EFI system partition, as an addon
//! that systemd-stub takes (`<uki>.extra.d/talforge.addon.efi`). Beside the addon lies a record of
//! every byte that was changed, so that a medium is taken back to what it was bit for bit. Where a
//! BIOS starts the medium by GRUB from an ISO, menu and config for it lie on the EFI system partition
//! as well, and the ISO's own folders point there: the medium does not grow.
//!
//! A medium that talforge built with a config has an addon and no record. It is taken back to a form
//! of its own, the same for every config: the EFI system partition as if there had never been an
//! addon; the ISO's folders keep the addon and `boot/config.cpio` as empty files; what both held
//! is zeros.
//!
//! Source: systemd-stub(7) for addons; Talos `pkg/imager/iso` and `pkg/imager/out.go` for media.
//!
//! Not here: writing it to a disk (`sink`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::custom::error::CustomError;
use crate::custom::medium::Medium;
use crate::edit::Edit;
use crate::inspect::Door;
use crate::talos::{Arch, Version};

pub mod error;
mod found;
pub mod medium;
mod menu;
mod past;
mod plan;
mod record;

/// What a medium is to hold beyond its pristine form. All of it empty: the pristine form.
#[derive(Clone, Default)]
pub struct Change {
    /// The machine config, as Talos is to find it.
    pub config: Option<Arc<[u8]>>,
    /// Arguments that follow the medium's own kernel command line, one each: `console=ttyS1`.
    pub kernel_args: Vec<String>,
    /// The time of what is written, in seconds since 1970.
    pub epoch: u32,
}

/// Configs are secret.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config.as_ref().map(|config| format!("{} bytes", config.len()));
        f.debug_struct("Change")
            .field("config", &config)
            .field("kernel_args", &self.kernel_args)
            .field("epoch", &self.epoch)
            .finish()
    }
}

/// How a medium is changed.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The writes. After each step, and with any part of the next, every door leads to the old
    /// config or to the new one.
    pub edit: Edit,
    /// The doors that find the change: the ways by which firmware can start the medium.
    pub doors: BTreeSet<Door>,
    /// What the user should know.
    pub notes: Vec<Note>,
}

/// What a user should know of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// The UKI is signed: where Secure Boot is on, its stub takes no addon that is not.
    Signed {
        /// The UKI's path on its EFI system partition.
        uki: String,
    },
    /// A disk that a BIOS starts, too: that half is as it was.
    BiosUnchanged,
    /// The medium's own command line has the argument's key already. Which of both counts is up to
    /// who reads it.
    Repeated {
        /// The argument.
        arg: String,
    },
}

impl Note {
    /// A stable name for programs: `signed-uki`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signed { .. } => "signed-uki",
            Self::BiosUnchanged => "bios-unchanged",
            Self::Repeated { .. } => "repeated-arg",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed { uki } => write!(
                f,
                "`{uki}` is signed; where Secure Boot is on, the config and arguments beside it are passed over"
            ),
            Self::BiosUnchanged => {
                write!(f, "a BIOS starts this disk from a partition that is not changed")
            }
            Self::Repeated { arg } => {
                write!(f, "the medium's own command line has a value for `{arg}`, too")
            }
        }
    }
}

/// What is on a medium now.
#[derive(Clone)]
pub struct Custom {
    /// The machine config that Talos finds.
    pub config: Option<Arc<[u8]>>,
    /// The kernel arguments that were added.
    pub kernel_args: Vec<String>,
    /// The release of Talos, where the medium says it.
    pub talos: Option<Version>,
    /// The processor that it is for.
    pub arch: Arch,
    /// Whether it has talforge's marks: config and arguments lie beside the UKI.
    pub is_ours: bool,
}

/// Configs are secret.
impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config.as_ref().map(|config| format!("{} bytes", config.len()));
        f.debug_struct("Custom")
            .field("config", &config)
            .field("kernel_args", &self.kernel_args)
            .field("talos", &self.talos)
            .field("arch", &self.arch)
            .field("is_ours", &self.is_ours)
            .finish()
    }
}

/// What is on a medium.
///
/// # Errors
///
/// Where what lies beside its UKIs is damaged.
pub fn read(medium: &Medium) -> Result<Custom, CustomError> {
    found::read(medium)
}

/// The platform that the medium's own kernel command line names: `metal`.
///
/// # Errors
///
/// As [`read`].
pub fn platform(medium: &Medium) -> Result<Option<String>, CustomError> {
    for own in &medium.ukis {
        for profile in own.uki.profiles()? {
            let mut words = profile.cmdline.split_ascii_whitespace();
            if let Some(name) = words.find_map(|word| word.strip_prefix("talos.platform=")) {
                return Ok(Some(name.to_owned()));
            }
        }
    }
    Ok(None)
}

/// How the medium comes to hold just `change`, whatever was put on it before.
///
/// # Errors
///
/// Where the medium cannot do what is asked for, or has no room.
pub fn set(medium: &Medium, change: &Change) -> Result<Plan, CustomError> {
    plan::plan(medium, change)
}

/// How the medium gets back to its pristine form. A medium that has it needs no write.
///
/// # Errors
///
/// Where the medium was changed by others since.
pub fn remove(medium: &Medium) -> Result<Plan, CustomError> {
    set(medium, &Change::default())
}

/// Whether every door of the medium leads to just `change`. It reads by [`crate::inspect`] alone, and
/// only what a change writes: [`Medium::after`] gives such a medium.
///
/// # Errors
///
/// The first thing that is not as it was meant.
pub fn check(medium: &Medium, change: &Change) -> Result<(), CustomError> {
    found::check(medium, change)
}

#[cfg(test)]
mod tests;
