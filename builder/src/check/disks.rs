//! Which disks a config chooses, among those that a node has.
//!
//! In: a config, the node's disks. Out: the disk that Talos would be installed on, and findings.
//!
//! Source: Talos `pkg/machinery/config/types/block/blockhelpers/blockhelpers.go` (`MatchDisks`),
//! `internal/app/machined/pkg/controllers/runtime/unattended_install.go`,
//! `internal/app/machined/pkg/runtime/v1alpha1/v1alpha1_sequencer_tasks.go` (`Install`): disks come
//! in the order of their names, the first that matches is taken, and a selector goes before a path.
//! COSI `pkg/state/impl/inmem/collection.go` (resources are listed by name).
//!
//! Not here: selectors themselves (`cel`), and what may go wrong with unknown disks (`install`).

use super::found::diagnostic;
use super::view::either;
use crate::cel::disks::Disk;
use crate::cel::{self, Bindings, Env, Program, Scope, SystemDisk, legacy};
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::report::Diagnostic;
use crate::talos::Version;

/// The disk that Talos would be installed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick<'d> {
    /// It.
    pub disk: &'d Disk,
    /// Those that the config would take as well, but that come later.
    pub others: Vec<&'d Disk>,
    /// Whether everything on it is cleared, not only what lies where Talos goes.
    pub wipe: bool,
}

/// How a config names the disk to install on.
#[derive(Clone, Debug)]
pub(super) enum Target<'a> {
    /// By a path in `/dev`.
    Path(&'a str, &'a Tree),
    /// By an expression, and where it, or what it was made of, is written.
    Expression(String, &'a Tree),
}

/// Kinds of documents that choose disks for volumes.
const VOLUMES: [&str; 4] =
    ["VolumeConfig", "UserVolumeConfig", "RawVolumeConfig", "SwapVolumeConfig"];

/// Finds the disk that Talos would be installed on. Nothing, where the config installs nowhere.
///
/// # Errors
///
/// What keeps Talos from finding one: a selector that it refuses, or that matches no disk.
pub fn pick<'d>(
    documents: &Documents,
    disks: &'d [Disk],
) -> Result<Option<Pick<'d>>, Vec<Diagnostic>> {
    let Some(target) = target(documents)? else { return Ok(None) };
    let mut all: Vec<&Disk> = disks.iter().collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    let (matching, tree) = match &target {
        Target::Path(path, tree) => {
            let is =
                |disk: &&Disk| disk.dev_path == *path || disk.symlinks.iter().any(|l| l == path);
            (all.iter().copied().filter(is).collect(), *tree)
        }
        Target::Expression(text, tree) => {
            let program = compile(documents, text, tree)?;
            (matching(&program, &all, tree)?, *tree)
        }
    };
    let mut matching: Vec<&Disk> = matching;
    if matching.is_empty() {
        let count = all.len();
        let message = format!("no disk is chosen to install on, of the {count} that the node has");
        let help = "compare the selector with `talosctl get disks`; Talos would wait for ever";
        return Err(vec![at(tree, diagnostic("install-no-match", message).help(help))]);
    }
    let disk = matching.remove(0);
    Ok(Some(Pick { disk, others: matching, wipe: wipes(documents) }))
}

/// Looks at what a config chooses among the disks.
pub(super) fn check(documents: &Documents, disks: &[Disk]) -> Vec<Diagnostic> {
    let (pick, mut findings) = match pick(documents, disks) {
        Ok(pick) => (pick, Vec::new()),
        Err(findings) => (None, findings),
    };
    let tree = target(documents).ok().flatten().map(|target| target.tree());
    if let (Some(pick), Some(tree)) = (&pick, tree) {
        findings.extend(picked(pick).map(|finding| at(tree, finding)));
    }
    findings.extend(volumes(documents, disks, pick.as_ref().map(|pick| pick.disk)));
    findings
}

/// What is wrong with the disk that is chosen.
fn picked(pick: &Pick<'_>) -> impl Iterator<Item = Diagnostic> {
    let name = describe(pick.disk);
    let ambiguous = (!pick.others.is_empty()).then(|| {
        let others: Vec<String> = pick.others.iter().take(4).map(|disk| describe(disk)).collect();
        let count = pick.others.len() + 1;
        let others = others.join(", ");
        let message =
            format!("the selector matches {count} disks: Talos takes {name}, not {others}");
        diagnostic("install-ambiguous", message)
            .help("choose by `serial` or `wwid`, which one disk alone has")
    });
    let why = match pick.disk {
        disk if disk.cdrom => Some("a drive for compact discs"),
        disk if disk.readonly => Some("read-only"),
        disk if disk.transport == "usb" => Some("on USB, as the medium may be"),
        _ => None,
    };
    let bad = why.map(|why| {
        let message = format!("Talos would be installed on {name}, which is {why}");
        diagnostic("install-bad-disk", message).help(
            "add `!disk.readonly && !disk.cdrom && disk.transport != \"usb\"` to the selector",
        )
    });
    ambiguous.into_iter().chain(bad)
}

/// A disk for people.
fn describe(disk: &Disk) -> String {
    let parts = [disk.model.trim(), disk.pretty_size.trim()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => format!("`{}`", disk.dev_path),
        parts => format!("`{}` ({})", disk.dev_path, parts.join(", ")),
    }
}

fn volumes(documents: &Documents, disks: &[Disk], system: Option<&Disk>) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for kind in VOLUMES {
        for volume in documents.all(kind) {
            let Some(tree) = volume.at(&["provisioning", "diskSelector", "match"]) else {
                continue;
            };
            let Some(text) = tree.text().filter(|text| !text.is_empty()) else { continue };
            let program = match compile(documents, text, tree) {
                Ok(program) => program,
                Err(refused) => {
                    findings.extend(refused);
                    continue;
                }
            };
            let is_system = |disk: &Disk| match system {
                None => SystemDisk::Unknown,
                Some(system) if system.dev_path == disk.dev_path => SystemDisk::Yes,
                Some(_) => SystemDisk::No,
            };
            // What cannot be told without the system's disk is not told.
            let mut all = disks.iter().map(|disk| {
                program.evaluate(&Bindings::Disk(disk, is_system(disk))).unwrap_or(true)
            });
            if !all.any(|matches| matches) {
                let name = volume.text_at(&["name"]).unwrap_or_default();
                let message = format!("no disk of the node is chosen for the volume `{name}`");
                let help =
                    "compare the selector with `talosctl get disks`; the volume waits for one";
                findings.push(at(tree, diagnostic("volume-no-match", message).help(help)));
            }
        }
    }
    findings
}

/// How a config names the disk to install on, if it does.
///
/// # Errors
///
/// An older selector that Talos refuses.
pub(super) fn target(documents: &Documents) -> Result<Option<Target<'_>>, Vec<Diagnostic>> {
    let newer = documents.get("UnattendedInstallConfig", None);
    if let Some(tree) = newer.and_then(|tree| tree.at(&["provisioning", "diskSelector", "match"])) {
        let text = tree.text().unwrap_or_default();
        return Ok(Some(Target::Expression(text.to_owned(), tree)));
    }
    let Some(install) = documents.main().and_then(|main| main.at(&["machine", "install"])) else {
        return Ok(None);
    };
    if let Some(tree) = install.get("diskSelector").filter(|tree| !tree.entries().is_empty()) {
        let entries = tree.entries().iter();
        let pairs: Vec<(&str, &str)> =
            entries.filter_map(|(key, value)| Some((key.as_str(), value.text()?))).collect();
        return match legacy::expression(&pairs) {
            Ok(text) => Ok(Some(Target::Expression(text, tree))),
            Err(error) => {
                let finding = diagnostic("selector-refused", error.to_string()).help(error.help);
                Err(vec![at(tree, finding)])
            }
        };
    }
    let disk = install.get("disk").and_then(|tree| Some((tree.text()?, tree)));
    Ok(disk.filter(|(path, _)| !path.is_empty()).map(|(path, tree)| Target::Path(path, tree)))
}

impl<'a> Target<'a> {
    /// Where it is written.
    pub(super) fn tree(&self) -> &'a Tree {
        match self {
            Self::Path(_, tree) | Self::Expression(_, tree) => tree,
        }
    }
}

/// Whether the whole disk is cleared: with the newer document, unless it says otherwise.
pub(super) fn wipes(documents: &Documents) -> bool {
    let newer = documents.get("UnattendedInstallConfig", None);
    let wipe = either(
        documents,
        "UnattendedInstallConfig",
        &["provisioning", "wipe"],
        &["machine", "install", "wipe"],
    );
    wipe.and_then(Tree::bool).unwrap_or(newer.is_some())
}

/// Reads an expression as the config's release of Talos does.
///
/// # Errors
///
/// An expression that it refuses.
pub(super) fn compile(
    documents: &Documents,
    text: &str,
    tree: &Tree,
) -> Result<Program, Vec<Diagnostic>> {
    let release = Version { major: 1, minor: documents.schema.minor, patch: 0, pre: None };
    let Some(env) = Env::new(Scope::Disk, &release) else {
        unreachable!("releases that have a schema have selectors")
    };
    cel::compile(env, text).map_err(|error| {
        let finding = diagnostic("selector-refused", format!("the selector is wrong: {error}"));
        let help =
            error.help.unwrap_or_else(|| "see what `disk` has in Talos' reference".to_owned());
        vec![at(tree, finding.help(help))]
    })
}

/// The disks that match, in their order. One that cannot be decided fails all, as in Talos.
fn matching<'d>(
    program: &Program,
    disks: &[&'d Disk],
    tree: &Tree,
) -> Result<Vec<&'d Disk>, Vec<Diagnostic>> {
    let mut matching = Vec::new();
    for disk in disks {
        match program.evaluate(&Bindings::Disk(disk, SystemDisk::No)) {
            Ok(true) => matching.push(*disk),
            Ok(false) => {}
            Err(error) => {
                let name = &disk.dev_path;
                let message = format!("the selector fails on the disk `{name}`: {error}");
                let help = "make it hold for every disk, or Talos chooses none";
                return Err(vec![at(tree, diagnostic("selector-refused", message).help(help))]);
            }
        }
    }
    Ok(matching)
}

/// A finding where a value is written, if it was.
fn at(tree: &Tree, finding: Diagnostic) -> Diagnostic {
    match tree.place() {
        Some(place) => finding.at(place),
        None => finding,
    }
}
