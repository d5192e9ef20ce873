//! `talforge check`: everything that is wrong with a site, without building it.
//!
//! In: the site file, and perhaps what is known of a node's disks. Out: findings.
//!
//! Source: none.
//!
//! Not here: the findings themselves (`site`, `render`, `check`).

use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use crate::catalog::Output;
use crate::cel::disks::{self, Disk};
use crate::check::disks::Pick;
use crate::check::{self, Fleet, Medium, Member, code};
use crate::cli::Check;
use crate::config::valid::codes::CODES as TALOS_CODES;
use crate::render::{self, Rendered};
use crate::report::progress::Progress;
use crate::report::{Diagnostic, Severity};
use crate::site::{self, Node, Site};
use crate::verb::{Cause, Failure, Loaded, clients, file, known_nodes};

/// The largest description of disks that is read, in bytes: some 10,000 disks.
const MAX_DISKS: u64 = 16 << 20;

/// Looks at a site and tells all that is worth telling.
///
/// # Errors
///
/// Where something must be mended before the site can be built.
pub fn check(args: &Check, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    if args.list {
        list(progress);
        return Ok(());
    }
    let described = match &args.disks {
        Some(path) => Some(Described::read(path, args.node.as_deref())?),
        None => None,
    };
    let (loaded, findings) = look(&args.site, now, described.as_ref());
    if let (Some(loaded), Some(described)) = (&loaded, &described) {
        known_nodes(&loaded.site, args.node.as_slice())?;
        described.tell(loaded, progress)?;
    }
    let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    if errors > 0 {
        return Err(Failure { cause: Cause::Files, diagnostics: findings });
    }
    findings.iter().for_each(|finding| progress.diagnostic(finding));
    let nodes = loaded.map_or(0, |loaded| loaded.site.nodes.len());
    progress.event(json!({"event": "checked", "nodes": nodes, "warnings": warnings}));
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    progress.note(&format!(
        "{} can be built; {}",
        count(nodes, "node"),
        count(warnings, "warning")
    ));
    Ok(())
}

/// Reads a site, makes its configs and looks at them: what there is of them, and all findings that
/// the site does not silence.
pub(super) fn examine(path: &Path, now: SystemTime) -> (Option<Loaded>, Vec<Diagnostic>) {
    look(path, now, None)
}

fn look(
    path: &Path,
    now: SystemTime,
    described: Option<&Described<'_>>,
) -> (Option<Loaded>, Vec<Diagnostic>) {
    let mut site = match site::load(path, &|name| std::env::var_os(name)) {
        Ok(site) => site,
        Err(findings) => return (None, findings),
    };
    let mut findings = std::mem::take(&mut site.warnings);
    let rendered = match render::site(&site, now) {
        Ok(rendered) => rendered,
        Err(more) => {
            findings.extend(more);
            return (None, findings);
        }
    };
    findings.extend_from_slice(&rendered.warnings);
    let disks = |node| described.map_or_else(Vec::new, |described| described.of(node));
    let disks: Vec<Vec<Disk>> = site.nodes.iter().map(disks).collect();
    findings.extend(check::fleet(&fleet(&site, &rendered, &disks, now)));
    let findings = silence(&site, findings);
    (Some(Loaded { site, rendered }), findings)
}

/// Takes out what the site does not want to hear, and tells of codes that do nothing.
fn silence(site: &Site, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let found: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    let (mut findings, foreign) = check::silence(findings, &site.cluster.silence);
    let is_known = |code: &str| {
        found.contains(&code)
            || site.silenced.contains(&code)
            || TALOS_CODES.iter().any(|(known, _)| *known == code)
    };
    let idle = foreign.into_iter().filter(|code| !is_known(code)).map(|code| {
        Diagnostic::warning("silence-unknown", format!("nothing here has the code `{code}`"))
            .help("drop it; `talforge check --list` shows the codes of configs")
    });
    findings.extend(idle);
    findings
}

fn fleet<'s>(
    site: &'s Site,
    rendered: &'s Rendered,
    disks: &'s [Vec<Disk>],
    now: SystemTime,
) -> Fleet<'s> {
    let nodes = site.nodes.iter().zip(&rendered.nodes).zip(disks);
    let members = nodes.filter_map(|((node, config), disks)| {
        Some(Member {
            name: node.name.as_str(),
            role: node.role,
            documents: config.as_ref()?.documents.as_ref()?,
            place: node.place.clone(),
            medium: medium(node),
            disks: Some(disks.as_slice()).filter(|disks| !disks.is_empty()),
        })
    });
    Fleet {
        cluster_name: site.cluster.name.as_str(),
        endpoint: site.cluster.endpoint.as_str(),
        talos: &site.cluster.talos,
        kubernetes: site.cluster.kubernetes.as_ref(),
        now,
        members: members.collect(),
    }
}

fn medium(node: &Node) -> Medium {
    match &node.profile.output {
        Output::Iso(iso) => {
            let taken =
                node.kernel_args.iter().any(|arg| arg.starts_with("-talos.halt_if_installed"));
            Medium::Iso { halts_if_installed: iso.halt_if_installed && !taken }
        }
        Output::Disk(_) => Medium::Disk,
        // Nothing is known of what a seed is put beside.
        Output::Pxe(_) | Output::Seed(_) => Medium::Pxe,
    }
}

/// Disks that a file describes, and the node that has them where the arguments say so.
struct Described<'a> {
    disks: Vec<Disk>,
    node: Option<&'a str>,
}

impl<'a> Described<'a> {
    fn read(path: &Path, node: Option<&'a str>) -> Result<Self, Failure> {
        let bytes = file::read(path, "description of disks", MAX_DISKS)?;
        let disks = disks::read(&path.display().to_string(), &bytes)
            .map_err(|diagnostics| Failure { cause: Cause::Files, diagnostics })?;
        Ok(Self { disks, node })
    }

    /// A node's disks: its name or its address stands beside them.
    fn of(&self, node: &Node) -> Vec<Disk> {
        let name = node.name.as_str();
        let address = clients::address(node).map(|address| address.to_string());
        let is_its = |disk: &&Disk| match self.node {
            Some(named) => named == name,
            None => disk.node == name || address.as_ref() == Some(&disk.node),
        };
        self.disks.iter().filter(is_its).cloned().collect()
    }

    /// Says which disk each node is installed on.
    fn tell(&self, loaded: &Loaded, progress: &Progress) -> Result<(), Failure> {
        let mut used = 0;
        for (node, config) in loaded.site.nodes.iter().zip(&loaded.rendered.nodes) {
            let disks = self.of(node);
            used += disks.len();
            let documents = config.as_ref().and_then(|config| config.documents.as_ref());
            if let Some(Ok(Some(pick))) = documents.map(|all| check::disks::pick(all, &disks)) {
                tell_pick(node.name.as_str(), &pick, progress);
            }
        }
        if used > 0 {
            return Ok(());
        }
        let message = "no node of the site has the disks of this file";
        let problem = Diagnostic::error("disks-node", message);
        let help = "name the node that has them: `--node cp-1`";
        Err(Failure::new(Cause::Files, problem.help(help)))
    }
}

/// Says which disk a node is installed on.
fn tell_pick(node: &str, pick: &Pick<'_>, progress: &Progress) {
    let disk = pick.disk;
    let others: Vec<&str> = pick.others.iter().map(|disk| disk.dev_path.as_str()).collect();
    progress.event(json!({
        "event": "disk", "node": node, "disk": disk.dev_path, "serial": disk.serial,
        "wipe": pick.wipe, "others": others,
    }));
    let size = crate::units::Size(disk.size);
    let what = match pick.wipe {
        true => "all of it is wiped",
        false => "its partition table is replaced if Talos is not on it already",
    };
    progress.say(&format!(
        "{node} is installed on {} (serial {}, {size}): {what}",
        disk.dev_path, disk.serial
    ));
}

/// All findings that can be made about configs, by their codes: ours, then Talos' own rules.
fn list(progress: &Progress) {
    for code in code::CODES {
        let severity = match code.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        list_code(code.name, severity, code.about, code.is_silenceable(), progress);
    }
    for (name, about) in TALOS_CODES {
        list_code(name, "talos", about, false, progress);
    }
}

fn list_code(name: &str, severity: &str, about: &str, silenceable: bool, progress: &Progress) {
    progress.event(json!({
        "event": "code", "code": name, "severity": severity, "about": about,
        "silenceable": silenceable,
    }));
    progress.say(&format!("{name:<32} {severity:<8} {about}"));
}
