//! Reading a finished medium back, before it gets its name.
//!
//! In: the written files of a node, and its plan. Out: nothing, if firmware, kernel and Talos will
//! find in them what was meant; else what they would find instead.
//!
//! Source: none.
//!
//! Not here: how media are read (`inspect`).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::blob::Blob;
use crate::catalog::value::Firmware;
use crate::inspect::container::packed::UnpackError;
use crate::inspect::container::{self, Content, DEPTH, LIMIT};
use crate::inspect::damage::Damage;
use crate::inspect::memo::Memo;
use crate::inspect::{self, Boot, Config, Door, Medium};
use crate::payload::uki::Reset;
use crate::plan::cmdline::mask_meta;
use crate::plan::{self, Embedding, NodePlan};

/// Where the config must be readable by root alone.
const CONFIG_MODE: u16 = 0o400;
/// The label that Talos' policy expects of it.
const CONFIG_LABEL: &str = "system_u:object_r:system_state_t:s0";

/// What a medium holds that was not meant.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Damage(#[from] Damage),
    /// It cannot be unpacked.
    #[error("it cannot be unpacked")]
    Unpack(#[from] UnpackError),
    /// There is no room to unpack it.
    #[error("there is no room to unpack it")]
    Room(#[source] io::Error),
    /// Firmware cannot start it in every way that it should.
    #[error("firmware can start it by {found:?}, not by {wanted:?}")]
    Doors {
        /// The ways there are.
        found: BTreeSet<Door>,
        /// The ways there should be.
        wanted: BTreeSet<Door>,
    },
    /// A boot starts with another config, or none.
    #[error("its entry `{title}` finds {found}, not {wanted}")]
    Config {
        /// The boot menu entry.
        title: String,
        /// What Talos would find.
        found: String,
        /// What was meant.
        wanted: String,
    },
    /// A boot has another command line.
    #[error("its entry `{title}` has the command line `{found}`, not `{wanted}`")]
    Cmdline {
        /// The boot menu entry.
        title: String,
        /// What the kernel would get.
        found: String,
        /// What was meant.
        wanted: String,
    },
    /// META holds other values.
    #[error("its META partition does not hold the values that were meant")]
    Meta,
}

/// Takes a medium out of the format that its file has, where `base` is what the file refers to. What
/// must be unpacked goes to a nameless file in the folder `room`; without one it stays packed, bases
/// are not read, and there is no medium.
///
/// # Errors
///
/// Where the file is not of the format that it seems to be.
pub fn take_out(
    file: &Blob,
    base: Option<&(String, Blob)>,
    room: Option<&Path>,
) -> Result<Option<Blob>, Mismatch> {
    let backing =
        |name: &str| base.filter(|(known, _)| known == name).map(|(_, blob)| blob.clone());
    if base.is_some() && room.is_none() {
        return Ok(None);
    }
    let mut inside = file.clone();
    for _ in 0..DEPTH {
        let Some(container) = container::open(&inside, &backing)? else { break };
        inside = match (container.content, room) {
            (Content::Mapped(disk), _) => disk,
            (Content::Packed(_), None) => return Ok(None),
            (Content::Packed(packed), Some(room)) => {
                let out = tempfile::tempfile_in(room).map_err(Mismatch::Room)?;
                packed.unpack(&out, LIMIT, &mut |_| ())?;
                Blob::from_file("unpacked", out).map_err(Mismatch::Room)?
            }
        };
    }
    Ok(Some(inside))
}

/// Reads one file of a node's medium and compares it with the plan; a UKI that `keeps_line` has a
/// command line of its own.
///
/// # Errors
///
/// The first thing that is not as it was meant.
pub fn check(
    plan: &NodePlan,
    file: &Blob,
    keeps_line: bool,
    memo: &mut Memo,
) -> Result<(), Mismatch> {
    let medium = inspect::open(file, memo)?;
    check_doors(plan, &medium)?;
    check_seed(plan, &medium)?;
    for boot in &medium.boots {
        check_config(plan, &medium, boot)?;
        let is_uefi = matches!(boot.firmware, inspect::Firmware::Uefi { .. });
        if !(keeps_line && is_uefi) {
            check_cmdline(plan, boot)?;
        }
    }
    let has_meta = matches!(plan.medium, plan::Medium::Disk { .. });
    let found = medium.meta.map(|meta| meta.values).unwrap_or_default();
    let wanted = plan.meta.iter().map(|(key, value)| (*key, value.clone().into_bytes()));
    if has_meta && found != wanted.collect() { Err(Mismatch::Meta) } else { Ok(()) }
}

fn check_doors(plan: &NodePlan, medium: &Medium) -> Result<(), Mismatch> {
    let wanted: &[Door] = match &plan.medium {
        plan::Medium::Iso { firmware: Firmware::Uefi, .. } => &[Door::UefiCd, Door::UefiDisk],
        plan::Medium::Iso { .. } => &[Door::UefiCd, Door::UefiDisk, Door::BiosCd, Door::BiosDisk],
        plan::Medium::Disk { .. } => &[Door::UefiDisk],
        plan::Medium::Files | plan::Medium::Seed => &[],
    };
    let wanted: BTreeSet<Door> = wanted.iter().copied().collect();
    let is_whole = medium.boots.is_empty() == (plan.medium == plan::Medium::Seed);
    if is_whole && medium.doors.is_superset(&wanted) {
        return Ok(());
    }
    Err(Mismatch::Doors { found: medium.doors.clone(), wanted })
}

/// A seed has its config under the name that its platform looks for, and nothing else.
fn check_seed(plan: &NodePlan, medium: &Medium) -> Result<(), Mismatch> {
    let (plan::Medium::Seed, Some(config)) = (&plan.medium, plan.embed.config()) else {
        return Ok(());
    };
    if let [volume] = &medium.volumes[..]
        && plan.platform.config_label().is_some_and(|name| volume.label == name)
        && volume.config.as_ref().is_some_and(|given| given.bytes == *config.bytes())
    {
        return Ok(());
    }
    let found = medium.volumes.iter().map(|volume| format!("volume `{}`", volume.label));
    let found = found.collect::<Vec<_>>().join(", ");
    Err(Mismatch::Config {
        title: "seed".to_owned(),
        found: if found.is_empty() { "no volume".to_owned() } else { found },
        wanted: format!("config {}", config.digest()),
    })
}

fn check_config(plan: &NodePlan, medium: &Medium, boot: &Boot) -> Result<(), Mismatch> {
    let config = plan.embed.config();
    let found = medium.config_of(boot);
    let is_meant = match (&plan.embed, config, found) {
        (_, None, None) => true,
        (Embedding::Volume(_), Some(config), Some(Config::Volume(_, given))) => {
            given.bytes == *config.bytes()
        }
        (
            Embedding::Addon(_) | Embedding::Initramfs(_),
            Some(config),
            Some(Config::Embedded(found)),
        ) => {
            found.bytes == *config.bytes()
                && found.mode == CONFIG_MODE
                && (found.uid, found.gid) == (0, 0)
                && found.label.as_deref() == Some(CONFIG_LABEL)
        }
        _ => false,
    };
    if is_meant {
        return Ok(());
    }
    let found = match found {
        None => "no config".to_owned(),
        Some(Config::Embedded(found)) => {
            let label = found.label.as_deref().unwrap_or("no label");
            format!("config {} (mode {:o}, {label})", found.digest, found.mode)
        }
        Some(Config::Volume(volume, given)) => {
            format!("config {} on the volume `{}`", given.digest, volume.label)
        }
    };
    let wanted = config.map_or("no config".to_owned(), |c| format!("config {}", c.digest()));
    Err(Mismatch::Config { title: boot.title.clone(), found, wanted })
}

/// An entry has the plan's command line, or that and the argument that wipes. A bare initramfs has
/// none of its own.
fn check_cmdline(plan: &NodePlan, boot: &Boot) -> Result<(), Mismatch> {
    if boot.firmware == inspect::Firmware::Elsewhere {
        return Ok(());
    }
    let wanted = plan.cmdline.to_string();
    let resets = [Reset::Disk, Reset::Maintenance].map(|reset| plan.cmdline.with(reset.argument()));
    if boot.cmdline == wanted || resets.contains(&boot.cmdline) {
        return Ok(());
    }
    let (found, wanted) = (mask_meta(&boot.cmdline), plan.cmdline.shown());
    Err(Mismatch::Cmdline { title: boot.title.clone(), found, wanted })
}
