//! `talforge inspect`: what is on a medium, for a person or a program.
//!
//! In: an image. Out: layout, boot entries, command lines, layers, the config found, and which
//! secrets it holds, by yes or no.
//!
//! Source: none.
//!
//! Not here: reading media (`inspect`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::blob::Blob;
use crate::cli::Inspect;
use crate::config::MachineConfig;
use crate::digest::Digest;
use crate::inspect::memo::Memo;
use crate::inspect::volume::Volume;
use crate::inspect::{self, Boot, Config, Firmware, Medium};
use crate::plan::cmdline::mask_meta;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::patch::{self, Leftover, PatchError};
use crate::units::Size;
use crate::verb::open::{Unwrapped, unwrap};
use crate::verb::{Cause, Failure, map};

/// Shows a medium.
///
/// # Errors
///
/// Where it cannot be opened or is damaged.
pub fn inspect(args: &Inspect, progress: &Progress) -> Result<(), Failure> {
    let path = args.image.display().to_string();
    let mut memo = Memo::default();
    let (blob, medium) = open(&args.image, &mut memo, progress)?;
    let is_mapped = args.map || args.svg.is_some();
    let survey = || map::survey(&args.image, &blob, &medium, &mut memo);
    let drawn = is_mapped.then(survey).transpose()?;
    if progress.is_json() {
        let mut event = to_json(&medium);
        if let Some(map) = &drawn {
            event["map"] = map::to_json(&map.root);
        }
        progress.event(event);
    } else if let (Some(map), true) = (&drawn, args.map) {
        map::print(map, progress);
    } else {
        progress.print(about(&path, &medium).as_bytes());
    }
    match drawn.as_ref().zip(args.svg.as_ref()) {
        Some((map, file)) => map::write(map, file, progress),
        None => Ok(()),
    }
}

/// Opens a medium, and tells where a change of it was cut short.
pub(super) fn open(
    image: &Path,
    memo: &mut Memo,
    progress: &Progress,
) -> Result<(Blob, Medium), Failure> {
    let path = image.display();
    match patch::leftover(image) {
        Ok(Leftover::Busy) => {
            let busy = PatchError::Busy { path: image.to_owned() };
            return Err(Failure::new(Cause::World, busy.diagnostic()));
        }
        Ok(Leftover::CutShort) => {
            let message = format!("a change of `{path}` was cut short");
            let help =
                "the next `talforge config set` or `remove` on it takes the change back first";
            progress.diagnostic(&Diagnostic::warning("medium-cut-short", message).help(help));
        }
        // A medium that cannot be opened is told of below.
        Ok(Leftover::None) | Err(_) => {}
    }
    let file = File::open(image).and_then(|file| Blob::from_file(&path.to_string(), file));
    let blob = file.map_err(|error| {
        let message = format!("`{path}` cannot be read: {error}");
        Failure::new(Cause::World, Diagnostic::error("read", message))
    })?;
    let Unwrapped { blob, containers } = unwrap(image, blob, progress)?;
    let mut medium = inspect::open(&blob, memo).map_err(|damage| {
        let message = format!("`{path}` does not boot as it is: {damage}");
        let help = "an image is an ISO, a raw disk, a UKI or an initramfs; build it again";
        Failure::new(Cause::Medium, Diagnostic::error("damage", message).help(help))
    })?;
    medium.containers = containers;
    Ok((blob, medium))
}

/// The configs that boots find; those of volumes where the medium boots nothing.
pub(super) fn configs(medium: &Medium) -> Vec<Config<'_>> {
    if medium.is_seed() {
        let volumes = medium.volumes.iter();
        return volumes.filter_map(|v| Some(Config::Volume(v, v.config.as_ref()?))).collect();
    }
    medium.boots.iter().filter_map(|boot| medium.config_of(boot)).collect()
}

/// The text for a person.
fn about(path: &str, medium: &Medium) -> String {
    let mut text = format!("{path}: {}", medium.title());
    text += &medium.volume_id.as_ref().map_or(String::new(), |id| format!(", volume `{id}`"));
    let doors: Vec<_> = medium.doors.iter().map(|d| d.name()).collect();
    if !doors.is_empty() {
        text += &format!("\nstarts by {}", doors.join(", "));
    }
    text += "\n\nlayout\n";
    for region in &medium.regions {
        let len = region.range.end - region.range.start;
        text += &format!("  {:#012x} {:>11}  {}\n", region.range.start, rough(len), region.label);
    }
    for boot in &medium.boots {
        text += &format!("\n{}", boot_text(boot, medium));
    }
    medium.volumes.iter().for_each(|volume| text += &volume_text(volume));
    text += &configs_text(medium);
    if let Some(meta) = &medium.meta {
        let keys: Vec<_> = meta.values.keys().map(|key| format!("{key:#04x}")).collect();
        let keys = if keys.is_empty() { "no values".to_owned() } else { keys.join(", ") };
        text += &format!("\nMETA: {keys}\n");
    }
    medium.notes.iter().for_each(|note| text += &format!("\nnote: {note}\n"));
    text
}

fn volume_text(volume: &Volume) -> String {
    let config = match &volume.config {
        Some(given) => format!("config   {}", given.digest),
        None => "config   none: Talos waits in maintenance mode".to_owned(),
    };
    let files = volume.files.join(", ");
    format!("\nvolume `{}`, {}\n  files    {files}\n  {config}\n", volume.label, volume.place())
}

fn boot_text(boot: &Boot, medium: &Medium) -> String {
    let mut text = format!("boot entry \"{}\"\n", boot.title);
    let mut line = |name: &str, value: String| text += &format!("  {name:<9}{value}\n");
    match &boot.firmware {
        Firmware::Uefi { uki, addons, .. } => {
            line("UEFI", if uki.is_empty() { "this UKI".to_owned() } else { uki.clone() });
            addons.iter().for_each(|addon| line("addon", addon.clone()));
        }
        Firmware::Bios { linux, initrds } => {
            line("BIOS", format!("{linux}, {}", initrds.join(", ")));
        }
        Firmware::Elsewhere => {}
    }
    if let Some(kernel) = &boot.kernel {
        line("kernel", kernel.clone());
    }
    if !boot.cmdline.is_empty() {
        line("cmdline", mask_meta(&boot.cmdline));
    }
    for layer in &boot.layers {
        line("layer", format!("{} ({} {})", layer.image, layer.name, layer.version));
    }
    match medium.config_of(boot) {
        None => line("config", "none: Talos waits in maintenance mode".to_owned()),
        Some(Config::Embedded(found)) => {
            line("config", format!("{} in {}", found.digest, found.image));
        }
        Some(Config::Volume(volume, given)) => {
            line("config", format!("{} on volume `{}`", given.digest, volume.label));
        }
    }
    text
}

/// Every config that is found, once.
fn configs_text(medium: &Medium) -> String {
    let found = configs(medium).into_iter();
    let configs: BTreeMap<Digest, Config<'_>> = found.map(|c| (c.digest(), c)).collect();
    let text = |config: &Config<'_>| {
        let how = match config {
            Config::Embedded(found) => format!(
                "mode {:04o}, owner {}:{}, {}",
                found.mode,
                found.uid,
                found.gid,
                found.label.as_deref().unwrap_or("no SELinux label"),
            ),
            Config::Volume(volume, _) => {
                format!("on volume `{}`, for all who may read the medium", volume.label)
            }
        };
        let len = config.bytes().len();
        let secrets = secrets_text(config.bytes());
        format!("\nmachine config {}\n  {len} bytes, {how}\n{secrets}", config.digest())
    };
    configs.values().map(text).collect()
}

/// What a config is found to hold, or nothing where it is no config.
fn secrets(bytes: &Arc<[u8]>) -> Option<Vec<(&'static str, bool)>> {
    let config = MachineConfig::parse("config.yaml", bytes.clone()).ok()?;
    Some(config.secrets().to_vec())
}

fn secrets_text(bytes: &Arc<[u8]>) -> String {
    let Some(secrets) = secrets(bytes) else { return "  it is no machine config\n".into() };
    let line = |(name, is_there): &(&str, bool)| {
        let answer = if *is_there { "yes" } else { "no" };
        format!("  {answer:<4} {name}\n")
    };
    secrets.iter().map(line).collect()
}

/// A size in the largest unit that keeps two digits before the point.
fn rough(bytes: u64) -> String {
    let unit = ["B", "KiB", "MiB", "GiB"]
        .iter()
        .zip([0, 10, 20, 30])
        .rfind(|(_, shift)| bytes >> shift >= 10)
        .unwrap_or((&"B", 0));
    match bytes % (1 << unit.1) {
        0 => Size(bytes).to_string(),
        _ => format!("~{}{}", bytes >> unit.1, unit.0),
    }
}

/// The same for a program.
fn to_json(medium: &Medium) -> Value {
    let region = |region: &inspect::Region| {
        let bytes = region.range.end - region.range.start;
        json!({"start": region.range.start, "bytes": bytes, "label": region.label})
    };
    json!({
        "event": "medium",
        "containers": medium.containers,
        "kind": medium.kind.to_string(),
        "volume_id": medium.volume_id,
        "starts_by": medium.doors.iter().map(|d| d.name()).collect::<Vec<_>>(),
        "layout": medium.regions.iter().map(region).collect::<Vec<_>>(),
        "boots": medium.boots.iter().map(|boot| boot_json(boot, medium)).collect::<Vec<_>>(),
        "volumes": medium.volumes.iter().map(volume_json).collect::<Vec<_>>(),
        "meta": medium.meta.as_ref().map(|meta| {
            meta.values.keys().map(|key| format!("{key:#04x}")).collect::<Vec<_>>()
        }),
        "notes": medium.notes,
    })
}

fn volume_json(volume: &Volume) -> Value {
    json!({
        "label": volume.label,
        "partition": volume.partition,
        "files": volume.files,
        "config": volume.config.as_ref().map(|given| config_json(&Config::Volume(volume, given))),
    })
}

fn boot_json(boot: &Boot, medium: &Medium) -> Value {
    let firmware = match &boot.firmware {
        Firmware::Uefi { esp, uki, addons } => {
            json!({"uefi": {"esp": esp, "uki": uki, "addons": addons}})
        }
        Firmware::Bios { linux, initrds } => json!({"bios": {"linux": linux, "initrds": initrds}}),
        Firmware::Elsewhere => json!("elsewhere"),
    };
    let layer = |layer: &inspect::init::Layer| json!({"image": layer.image, "name": layer.name, "version": layer.version});
    json!({
        "title": boot.title,
        "profile": boot.profile,
        "firmware": firmware,
        "kernel": boot.kernel,
        "stub": boot.stub,
        "cmdline": mask_meta(&boot.cmdline),
        "layers": boot.layers.iter().map(layer).collect::<Vec<_>>(),
        "config": medium.config_of(boot).as_ref().map(config_json),
    })
}

fn config_json(config: &Config<'_>) -> Value {
    let secrets = secrets(config.bytes()).map(|secrets| {
        secrets.into_iter().map(|(name, there)| (name.to_owned(), there.into())).collect()
    });
    let mut out = json!({
        "sha256": config.digest().to_string(),
        "bytes": config.bytes().len(),
        "secrets": secrets.map(Value::Object),
    });
    match config {
        Config::Embedded(found) => {
            out["layer"] = json!(found.image);
            out["mode"] = json!(format!("{:04o}", found.mode));
            out["uid"] = json!(found.uid);
            out["gid"] = json!(found.gid);
            out["selinux"] = json!(found.label);
        }
        Config::Volume(volume, _) => out["volume"] = json!(volume.label),
    }
    out
}
