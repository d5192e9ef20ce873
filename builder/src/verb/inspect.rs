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

use serde_json::{Value, json};

use crate::blob::Blob;
use crate::cli::Inspect;
use crate::config::MachineConfig;
use crate::digest::Digest;
use crate::inspect::init::Found;
use crate::inspect::memo::Memo;
use crate::inspect::{self, Boot, Door, Firmware, Kind, Medium};
use crate::plan::cmdline::mask_meta;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::units::Size;
use crate::verb::{Cause, Failure};

/// Shows a medium.
///
/// # Errors
///
/// Where it cannot be opened, is damaged, or no config is found that was asked for.
pub fn inspect(args: &Inspect, progress: &Progress) -> Result<(), Failure> {
    let path = args.image.display();
    let file = File::open(&args.image).and_then(|file| Blob::from_file(&path.to_string(), file));
    let blob = file.map_err(|error| {
        let message = format!("`{path}` cannot be read: {error}");
        Failure::new(Cause::World, Diagnostic::error("read", message))
    })?;
    let medium = inspect::open(&blob, &mut Memo::default()).map_err(|damage| {
        let message = format!("`{path}` does not boot as it is: {damage}");
        let help = "an image is an ISO, a raw disk, a UKI or an initramfs; build it again";
        Failure::new(Cause::Medium, Diagnostic::error("damage", message).help(help))
    })?;
    if args.config {
        return print_config(&path.to_string(), &medium, progress);
    }
    if progress.is_json() {
        progress.event(to_json(&medium));
    } else {
        progress.print(about(&path.to_string(), &medium).as_bytes());
    }
    Ok(())
}

/// Prints the config that all boots find.
fn print_config(path: &str, medium: &Medium, progress: &Progress) -> Result<(), Failure> {
    let fail = |code, message: String, help| {
        Err(Failure::new(Cause::Medium, Diagnostic::error(code, message).help(help)))
    };
    let found: Vec<&Found> = medium.boots.iter().filter_map(|boot| boot.found.as_ref()).collect();
    match found.first() {
        None => fail(
            "no-config",
            format!("`{path}` holds no machine config"),
            "Talos would wait in maintenance mode; build the medium with a config",
        ),
        Some(first) if found.iter().any(|other| other.digest != first.digest) => fail(
            "two-configs",
            format!("the boot entries of `{path}` find different machine configs"),
            "run `talforge inspect` without `--config` to see which",
        ),
        Some(first) => {
            progress.print(&first.bytes);
            Ok(())
        }
    }
}

fn kind(medium: &Medium) -> String {
    match medium.kind {
        Kind::Iso => "ISO".to_owned(),
        Kind::Disk { sector } => format!("raw disk, {}-byte sectors", sector.bytes()),
        Kind::Uki => "unified kernel image".to_owned(),
        Kind::Initrd => "initramfs".to_owned(),
    }
}

fn door(door: Door) -> &'static str {
    match door {
        Door::UefiCd => "UEFI as CD",
        Door::UefiDisk => "UEFI as disk or USB stick",
        Door::BiosCd => "BIOS as CD",
        Door::BiosDisk => "BIOS as disk or USB stick",
    }
}

/// The text for a person.
fn about(path: &str, medium: &Medium) -> String {
    let mut text = format!("{path}: {}", kind(medium));
    text += &medium.volume_id.as_ref().map_or(String::new(), |id| format!(", volume `{id}`"));
    let doors: Vec<_> = medium.doors.iter().map(|d| door(*d)).collect();
    if !doors.is_empty() {
        text += &format!("\nstarts by {}", doors.join(", "));
    }
    text += "\n\nlayout\n";
    for region in &medium.regions {
        let len = region.range.end - region.range.start;
        text += &format!("  {:#012x} {:>11}  {}\n", region.range.start, rough(len), region.label);
    }
    for boot in &medium.boots {
        text += &format!("\n{}", boot_text(boot));
    }
    text += &configs_text(medium);
    if let Some(meta) = &medium.meta {
        let keys: Vec<_> = meta.values.keys().map(|key| format!("{key:#04x}")).collect();
        let keys = if keys.is_empty() { "no values".to_owned() } else { keys.join(", ") };
        text += &format!("\nMETA: {keys}\n");
    }
    medium.notes.iter().for_each(|note| text += &format!("\nnote: {note}\n"));
    text
}

fn boot_text(boot: &Boot) -> String {
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
    match &boot.found {
        None => line("config", "none: Talos waits in maintenance mode".to_owned()),
        Some(found) => line("config", format!("{} in {}", found.digest, found.image)),
    }
    text
}

/// Every config that is found, once.
fn configs_text(medium: &Medium) -> String {
    let found = medium.boots.iter().filter_map(|boot| boot.found.as_ref());
    let configs: BTreeMap<Digest, &Found> = found.map(|found| (found.digest, found)).collect();
    let text = |found: &&Found| {
        format!(
            "\nmachine config {}\n  {} bytes, mode {:04o}, owner {}:{}, {}\n{}",
            found.digest,
            found.bytes.len(),
            found.mode,
            found.uid,
            found.gid,
            found.label.as_deref().unwrap_or("no SELinux label"),
            secrets_text(found),
        )
    };
    configs.values().map(text).collect()
}

/// What a config is found to hold, or nothing where it is no config.
fn secrets(found: &Found) -> Option<Vec<(&'static str, bool)>> {
    let config = MachineConfig::parse("config.yaml", found.bytes.clone()).ok()?;
    Some(config.secrets().to_vec())
}

fn secrets_text(found: &Found) -> String {
    let Some(secrets) = secrets(found) else { return "  it is no machine config\n".into() };
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
        "kind": kind(medium),
        "volume_id": medium.volume_id,
        "starts_by": medium.doors.iter().map(|d| door(*d)).collect::<Vec<_>>(),
        "layout": medium.regions.iter().map(region).collect::<Vec<_>>(),
        "boots": medium.boots.iter().map(boot_json).collect::<Vec<_>>(),
        "meta": medium.meta.as_ref().map(|meta| {
            meta.values.keys().map(|key| format!("{key:#04x}")).collect::<Vec<_>>()
        }),
        "notes": medium.notes,
    })
}

fn boot_json(boot: &Boot) -> Value {
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
        "config": boot.found.as_ref().map(config_json),
    })
}

fn config_json(found: &Found) -> Value {
    let secrets = secrets(found).map(|secrets| {
        secrets.into_iter().map(|(name, there)| (name.to_owned(), there.into())).collect()
    });
    json!({
        "sha256": found.digest.to_string(),
        "bytes": found.bytes.len(),
        "layer": found.image,
        "mode": format!("{:04o}", found.mode),
        "uid": found.uid,
        "gid": found.gid,
        "selinux": found.label,
        "secrets": secrets.map(Value::Object),
    })
}
