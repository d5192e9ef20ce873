//! What goes together with what: a node's config, role, profile and version of Talos.
//!
//! In: a node whose names are resolved. Out: problems.
//!
//! Source: cited at each check.
//!
//! Not here: mistakes that one value alone can have.

use super::Embed;
use super::boot::Talos;
use super::facts::Made;
use super::field::{Written, quote};
use super::key::node::FACTS;
use super::node::WrittenNode;
use crate::catalog::{FRONT, Output, Overlay, Profile, config_volume_bytes};
use crate::config::kinds::Kind;
use crate::config::{Install, MachineConfig, MachineType, Main};
use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, OLDEST_EMBEDDING, Role, Version};
use crate::units::{SectorSize, Size};

/// A node and what its names stand for; nothing, where that is wrong and was told.
pub(super) struct Parts<'a> {
    pub(super) written: &'a WrittenNode<'a>,
    pub(super) embed: Option<&'a Written<Embed>>,
    pub(super) profile: Option<(&'a Written<String>, &'a Profile)>,
    pub(super) overlays: &'a [(&'a Written<String>, Option<Overlay>)],
    pub(super) config: Option<&'a MachineConfig>,
    pub(super) made: Option<&'a Made>,
    pub(super) talos: Option<&'a Talos>,
    pub(super) arch: Option<Arch>,
    /// Whether the site has the secrets of which configs are made.
    pub(super) has_secrets: bool,
    /// Whether patches may bring what the config or the site lacks.
    pub(super) is_patched: bool,
}

/// Checks a node as far as it is known.
pub(super) fn node(parts: &Parts<'_>, problems: &mut Vec<Diagnostic>) {
    problems.extend(missing_config(parts));
    problems.extend(embedding(parts));
    problems.extend(architectures(parts));
    problems.extend(boards(parts));
    problems.extend(disk_size(parts));
    problems.extend(firmware(parts));
    problems.extend(unused_by_seed(parts));
    problems.extend(facts_beside_config(parts));
    problems.extend(made(parts));
    let Some(config) = parts.config else { return };
    problems.extend(unknown_kinds(config, parts.talos));
    let Some(main) = config.main() else {
        problems.push(incomplete(config));
        return;
    };
    problems.extend(role(parts, main));
    if !parts.is_patched {
        problems.extend(install(parts, config, main));
    }
}

impl Parts<'_> {
    fn embed(&self) -> Embed {
        self.embed.map_or(Embed::Auto, |embed| embed.value)
    }

    /// "node `cp-1`", in messages.
    fn who(&self) -> String {
        let name = self.written.name.as_ref();
        name.map_or_else(|| "the node".to_owned(), |name| format!("node `{name}`"))
    }
}

fn missing_config(parts: &Parts<'_>) -> Option<Diagnostic> {
    match (parts.embed(), parts.written.has_config) {
        (Embed::None, true) => {
            let place = parts.written.config.as_ref().map(|path| path.place.clone())?;
            let message = format!("the config of {} is not put on its medium", parts.who());
            let help = "drop `embed: none` to put it there";
            Some(Diagnostic::warning("unused-config", message).at(place).help(help))
        }
        (Embed::None, false) | (_, true) => None,
        (_, false) if parts.has_secrets => None,
        (_, false) => {
            let message = format!("{} has no `config`", parts.who());
            let help = "name its machine config, `config: configs/cp-1.yaml`; or name the \
                        cluster's secrets, of which one is made, `secrets: secrets.yaml` in \
                        `cluster`; or write `embed: none` and give it one over Talos' API";
            let place = parts.written.place.clone();
            Some(Diagnostic::error("missing-config", message).at(place).help(help))
        }
    }
}

/// What a node says of itself would be lost: a ready config is taken as it is, but for patches.
fn facts_beside_config(parts: &Parts<'_>) -> Vec<Diagnostic> {
    if !parts.written.has_config {
        return Vec::new();
    }
    let said = FACTS.iter().filter_map(|key| Some((key, parts.written.fields.own(key)?)));
    said.map(|(key, node)| {
        let message = format!("`{key}` does not go into the ready config of {}", parts.who());
        let help =
            format!("drop `{key}`, and change the config or add `patches`; or drop `config`");
        Diagnostic::error("config-and-facts", message).at(node.place()).help(help)
    })
    .collect()
}

/// Configs are made for the releases that read them from media. Talos `v1alpha1_validation.go`,
/// `Validate`: up to 1.13 a metal machine must be told its disk.
fn made(parts: &Parts<'_>) -> Option<Diagnostic> {
    let made = parts.made.filter(|_| parts.has_secrets)?;
    let talos = parts.talos?;
    if !talos.value.reads_embedded_config() {
        let message = format!("no machine configs are made for Talos {}", talos.value);
        let help = format!("use Talos {OLDEST_EMBEDDING} or newer, or give each node a `config`");
        let problem = Diagnostic::error("made-too-old", message).at(talos.place.clone());
        // Told already, where it is to be embedded.
        let is_told = matches!(parts.embed(), Embed::Addon | Embed::Initramfs);
        return (!is_told).then(|| problem.help(help));
    }
    let (_, profile) = parts.profile.filter(|(_, profile)| profile.platform.is_metal())?;
    if made.says_disk || parts.is_patched {
        return None;
    }
    let place = parts.written.place.clone();
    if talos.value.requires_install_section() {
        let message = format!(
            "nothing says to which disk {} installs, and Talos {} wants to know",
            parts.who(),
            talos.value
        );
        let help = "add `install: {disk: /dev/…}` or `install: {selector: {serial: …}}`, also \
                    where Talos is on the disk already";
        return Some(Diagnostic::error("missing-install", message).at(place).help(help));
    }
    if matches!(profile.output, Output::Disk(_)) {
        return None;
    }
    let message = format!("nothing says to which disk {} installs", parts.who());
    let help = "add `install`; without it Talos runs from the medium alone";
    Some(Diagnostic::warning("missing-install", message).at(place).help(help))
}

fn embedding(parts: &Parts<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    problems.extend(embed_too_old(parts));
    if let (Some(embed), Some((name, profile))) = (parts.embed, parts.profile)
        && let Some(why) = unfit(embed.value, profile)
    {
        let message = format!(
            "`embed: {}` does not fit the profile {}: {why}",
            embed.value.name(),
            quote(&name.value)
        );
        let problem = Diagnostic::error("embed-profile", message).at(embed.place.clone());
        problems.push(problem.help("write `embed: auto`, or drop the line"));
    }
    problems
}

/// Talos `pkg/machinery/imager/quirks/quirks.go`, `SupportsEmbeddedConfig`: an older one boots
/// and says nothing of the config that it does not read.
fn embed_too_old(parts: &Parts<'_>) -> Option<Diagnostic> {
    let talos = parts.talos.filter(|talos| !talos.value.reads_embedded_config())?;
    let (_, profile) = parts.profile?;
    let may_volume = unfit(Embed::Volume, profile).is_none();
    let help = match parts.embed() {
        Embed::None | Embed::Volume => return None,
        Embed::Auto if may_volume => return None,
        _ if may_volume => {
            format!("write `embed: volume`, or use Talos {OLDEST_EMBEDDING} or newer")
        }
        _ => format!(
            "use Talos {OLDEST_EMBEDDING} or newer, or write `embed: none` and give the nodes \
             their configs over Talos' API"
        ),
    };
    let place = parts.embed.map_or(&talos.place, |embed| &embed.place);
    let message = format!("Talos {} reads no machine config from its initramfs", talos.value);
    Some(Diagnostic::error("embed-too-old", message).at(place.clone()).help(help))
}

/// Why nothing would read the config, or there is none to read. On an ISO for both, a BIOS gets an
/// addon's config by GRUB.
fn unfit(embed: Embed, profile: &Profile) -> Option<&'static str> {
    match (embed, &profile.output) {
        (Embed::Addon, Output::Pxe(_)) => Some("without a UKI nothing reads it"),
        (Embed::Volume, Output::Pxe(_)) => Some("files for a network boot have no volume"),
        (Embed::Addon | Embed::Initramfs, Output::Seed(_)) => Some("a seed boots nothing"),
        (Embed::None, Output::Seed(_)) => Some("a seed holds a config and nothing else"),
        (Embed::Volume, _) if profile.platform.config_label().is_none() => {
            Some("on its platform Talos looks for no such volume, only on metal and nocloud")
        }
        _ => None,
    }
}

/// A seed boots nothing: what a node says of that would be passed over without a word.
fn unused_by_seed(parts: &Parts<'_>) -> Vec<Diagnostic> {
    let is_seed =
        parts.profile.is_some_and(|(_, profile)| matches!(profile.output, Output::Seed(_)));
    let keys = ["kernel_args", "extensions", "meta"].into_iter().filter(|_| is_seed);
    let said = keys.filter_map(|key| Some((key, parts.written.fields.own(key)?)));
    said.map(|(key, node)| {
        let message = format!("`{key}` of {} is for what boots, and a seed does not", parts.who());
        let help = format!("drop `{key}`, and say it of the medium that the machine boots");
        Diagnostic::error("seed-unused", message).at(node.place()).help(help)
    })
    .collect()
}

fn architectures(parts: &Parts<'_>) -> Vec<Diagnostic> {
    let Some(arch) = parts.arch else { return Vec::new() };
    let profile = parts.profile.map(|(name, profile)| ("profile", name, &profile.arch));
    let overlays = parts
        .overlays
        .iter()
        .filter_map(|(name, overlay)| Some(("overlay", *name, &overlay.as_ref()?.arch)));
    let wrong = profile.into_iter().chain(overlays).filter(|(_, _, all)| !all.contains(&arch));
    wrong
        .map(|(what, name, all)| {
            let all = all.iter().map(|arch| arch.name()).collect::<Vec<_>>().join(" and ");
            let name_shown = quote(&name.value);
            let message = format!("the {what} {name_shown} is for {all}, and the site for {arch}");
            let help = format!("choose another {what}, or change `arch` in `boot`");
            Diagnostic::error("arch", message).at(name.place.clone()).help(help)
        })
        .collect()
}

/// A node is one board at most, and its disk is one of 512-byte sectors: the boards' own firmware
/// reads SD cards, eMMC and USB sticks, and counts in these.
fn boards(parts: &Parts<'_>) -> Vec<Diagnostic> {
    let is_board =
        |overlay: &Option<Overlay>| overlay.as_ref().is_some_and(|o| o.artifacts().is_some());
    let mut boards =
        parts.overlays.iter().filter(|(_, overlay)| is_board(overlay)).map(|(name, _)| *name);
    let Some(first) = boards.next() else { return Vec::new() };
    let shown = quote(&first.value);
    let error = |code, message: String, at: &Written<String>, help: &str| {
        Diagnostic::error(code, message).at(at.place.clone()).help(help)
    };
    let twice = boards.map(|other| {
        let message = format!(
            "{} is the board {shown} already, not {} too",
            parts.who(),
            quote(&other.value)
        );
        error("board-twice", message, other, "name one board")
    });
    let mut problems: Vec<_> = twice.collect();
    let Some((profile, Profile { output, .. })) = parts.profile else { return problems };
    let profile = quote(&profile.value);
    match output {
        Output::Disk(disk) if disk.sector == SectorSize::B512 => {}
        Output::Disk(disk) => {
            let sector = disk.sector.bytes();
            let message = format!(
                "the board {shown} reads disks of 512-byte sectors, and the profile {profile} makes \
                 one of {sector}"
            );
            let help = "choose a profile with 512-byte sectors, such as `metal-disk`";
            problems.push(error("board-sector", message, first, help));
        }
        other => {
            let message = format!(
                "the board {shown} boots from a disk, and the profile {profile} makes none (`{}`)",
                other.name()
            );
            let help = "choose a profile that makes a disk, such as `metal-disk`";
            problems.push(error("board-medium", message, first, help));
        }
    }
    problems
}

fn disk_size(parts: &Parts<'_>) -> Option<Diagnostic> {
    let (name, profile) = parts.profile?;
    let Output::Disk(disk) = &profile.output else { return None };
    let talos = &parts.talos?.value;
    let front = parts.overlays.iter().find_map(|(_, overlay)| overlay.as_ref()?.first_partition());
    let config = match parts.embed().settled(profile, talos) {
        Embed::Volume => config_volume_bytes(disk.sector),
        _ => 0,
    };
    let besides = Size(front.unwrap_or(FRONT).bytes().saturating_add(config));
    let (size, least) = (disk.disk_size(talos, besides), disk.least_size(talos, besides));
    if size >= least {
        return None;
    }
    let shown = quote(&name.value);
    let message =
        format!("the disk of the profile {shown} is {size}, and its partitions need {least}");
    let help = format!("write `size: {least}` or `size: auto` in the profile");
    Some(Diagnostic::error("disk-size", message).at(name.place.clone()).help(help))
}

/// Our disks start by UEFI, on every platform.
fn firmware(parts: &Parts<'_>) -> Option<Diagnostic> {
    let (name, profile) = parts.profile?;
    if !profile.platform.knows_no_uefi() || !matches!(profile.output, Output::Disk(_)) {
        return None;
    }
    let message = format!(
        "the disk of {} starts by UEFI, and machines of `{}` start by BIOS",
        parts.who(),
        profile.platform.name()
    );
    let help = "take Talos' own image there, and give the machine its config as user data";
    Some(Diagnostic::warning("firmware", message).at(name.place.clone()).help(help))
}

/// Talos stops at a document whose kind it does not know, and tries again for ever.
fn unknown_kinds(config: &MachineConfig, talos: Option<&Talos>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for document in config.documents() {
        let problem = match document.kind {
            Kind::Known { name, since } => match talos {
                Some(talos) if !talos.value.at_least(1, since) => {
                    too_new(name, since, &talos.value)
                }
                _ => continue,
            },
            Kind::Unknown { near } => {
                let message = "this kind of document is unknown; Talos may refuse the whole config";
                let help = near.map_or_else(
                    || "compare it with the documentation of your Talos".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Diagnostic::warning("config-unknown-kind", message).help(help)
            }
            Kind::V1Alpha1 => continue,
        };
        problems.push(problem.at(document.place.clone()));
    }
    problems
}

fn too_new(name: &str, since: u32, talos: &Version) -> Diagnostic {
    let message = format!("Talos {talos} knows no {name}, and would refuse the whole config");
    let help = format!("use Talos v1.{since}.0 or newer, or drop the document");
    Diagnostic::error("config-too-new", message).help(help)
}

/// Talos `internal/app/machined/pkg/controllers/config/acquire.go`: a config without the document
/// of the machine is applied, and the next source is asked.
fn incomplete(config: &MachineConfig) -> Diagnostic {
    let message =
        "the config has no document with `machine`: Talos applies it and waits for the rest";
    let help = "give it the document that starts with `version: v1alpha1`, or bring that by other \
                ways, such as Talos' API";
    Diagnostic::warning("config-incomplete", message).at(config.place().clone()).help(help)
}

fn role(parts: &Parts<'_>, main: &Main) -> Option<Diagnostic> {
    let wanted = parts.written.role?;
    let place = main.machine_type_place.clone();
    let says = match (main.machine_type, wanted) {
        (MachineType::ControlPlane, Role::ControlPlane) | (MachineType::Worker, Role::Worker) => {
            return None;
        }
        (MachineType::Missing, Role::Worker) => {
            let message = "the config has no `machine.type`; Talos takes the machine for a worker";
            let problem = Diagnostic::warning("config-type", message).at(place);
            return Some(problem.help("write `type: worker`"));
        }
        (MachineType::ControlPlane, Role::Worker) => "a control plane's",
        (MachineType::Worker, Role::ControlPlane) => "a worker's",
        (MachineType::Missing, Role::ControlPlane) => "a worker's (it has no `machine.type`)",
    };
    let message = format!("{} is a {}, and its config is {says}", parts.who(), wanted.name());
    let help = format!("name another config or role in {}", parts.written.place);
    Some(Diagnostic::error("role", message).at(place).help(help))
}

/// Talos `v1alpha1_validation.go`, `Validate`: up to 1.13 a metal machine must be told its disk,
/// even where Talos is on it already; since 1.14 only a section that is there is looked at.
fn install(parts: &Parts<'_>, config: &MachineConfig, main: &Main) -> Option<Diagnostic> {
    let (_, profile) = parts.profile.filter(|(_, profile)| profile.platform.is_metal())?;
    let talos = &parts.talos?.value;
    let place = main.install_place.clone();
    let refused = match main.install {
        Install::Complete => return None,
        Install::Missing if talos.requires_install_section() => "has no `machine.install`",
        Install::WithoutDisk => "has no `disk` and no `diskSelector` in `machine.install`",
        Install::Missing => return never_installed(profile, config, place),
    };
    let message = format!("the config {refused}: Talos {talos} would refuse it at every boot");
    let help = "write `install: {disk: /dev/…}`, also where Talos is on the disk already";
    Some(Diagnostic::error("config-install", message).at(place).help(help))
}

/// What is started from a CD or over the network, and is told no disk, runs in memory for ever.
fn never_installed(profile: &Profile, config: &MachineConfig, place: Place) -> Option<Diagnostic> {
    if matches!(profile.output, Output::Disk(_)) || config.has("UnattendedInstallConfig") {
        return None;
    }
    let message = "nothing says where to install: Talos would run from the medium alone";
    let help = "add `machine.install` or an UnattendedInstallConfig document";
    Some(Diagnostic::warning("config-install", message).at(place).help(help))
}
