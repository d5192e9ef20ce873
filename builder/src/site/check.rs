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
use crate::catalog::{Output, Overlay, Profile};
use crate::config::kinds::Kind;
use crate::config::{Install, MachineConfig, MachineType, Main};
use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, OLDEST_EMBEDDING, Role, Version};

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
    problems.extend(disk_size(parts));
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
        // Told already, where it is to be embedded.
        let message = format!("no machine configs are made for Talos {}", talos.value);
        let help = format!("use Talos {OLDEST_EMBEDDING} or newer, or give each node a `config`");
        let problem = Diagnostic::error("made-too-old", message).at(talos.place.clone());
        return (parts.embed() == Embed::None).then(|| problem.help(help));
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

/// Talos `pkg/machinery/imager/quirks/quirks.go`, `SupportsEmbeddedConfig`: an older one boots
/// and says nothing of the config that it does not read.
fn embedding(parts: &Parts<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if parts.embed() == Embed::None {
        return problems;
    }
    if let Some(talos) = parts.talos
        && !talos.value.reads_embedded_config()
    {
        let place = parts.embed.map_or(&talos.place, |embed| &embed.place);
        let message = format!("Talos {} reads no machine config from its boot medium", talos.value);
        let help = format!(
            "use Talos {OLDEST_EMBEDDING} or newer, or write `embed: none` and give the nodes \
             their configs over Talos' API"
        );
        let problem = Diagnostic::error("embed-too-old", message);
        problems.push(problem.at(place.clone()).help(help));
    }
    if let (Some(embed), Some((name, profile))) = (parts.embed, parts.profile)
        && embed.value == Embed::Addon
        && let Some(why) = no_addon(&profile.output)
    {
        let message =
            format!("`embed: addon` does not fit the profile {}: {why}", quote(&name.value));
        let problem = Diagnostic::error("embed-profile", message).at(embed.place.clone());
        problems.push(problem.help("write `embed: auto`, or drop the line"));
    }
    problems
}

/// Why nothing would read an addon. On an ISO for both, a BIOS gets its config by GRUB.
const fn no_addon(output: &Output) -> Option<&'static str> {
    match output {
        Output::Pxe(_) => Some("without a UKI nothing reads it"),
        Output::Iso(_) | Output::Disk(_) => None,
    }
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

fn disk_size(parts: &Parts<'_>) -> Option<Diagnostic> {
    let (name, profile) = parts.profile?;
    let Output::Disk(disk) = &profile.output else { return None };
    let talos = &parts.talos?.value;
    let (size, least) = (disk.disk_size(talos), disk.least_size(talos));
    if size >= least {
        return None;
    }
    let shown = quote(&name.value);
    let message =
        format!("the disk of the profile {shown} is {size}, and its partitions need {least}");
    let help = format!("write `size: {least}` or `size: auto` in the profile");
    Some(Diagnostic::error("disk-size", message).at(name.place.clone()).help(help))
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
