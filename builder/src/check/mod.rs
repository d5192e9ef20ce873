//! What Talos cannot see, because it sees one node and no hardware: findings about a whole site.
//!
//! In: the final configs of all nodes, the media that they are on, and what is known of the nodes'
//! disks. Out: findings.
//!
//! Source: cited at each check; what Talos and Kubernetes do is theirs.
//!
//! Not here: what Talos' own validation refuses in one config (`config::valid`), and how a config
//! came to be. No message holds a secret: secrets are compared, never shown.

use std::time::SystemTime;

use crate::cel::disks::Disk;
use crate::config::documents::Documents;
use crate::report::{Diagnostic, Place, Severity};
use crate::talos::{Role, Version};

mod address;
mod certificate;
pub mod code;
pub mod disks;
mod duplicate;
mod endpoint;
mod family;
mod found;
mod install;
mod manifest;
mod network;
mod secret;
mod service;
mod version;
mod view;

use code::Code;
use found::Findings;
use view::Node;

/// A site's nodes, ready to be put on media.
#[derive(Clone, Debug)]
pub struct Fleet<'a> {
    /// The cluster's name.
    pub cluster_name: &'a str,
    /// The cluster's endpoint, a URL: `https://api.example.net:6443`.
    pub endpoint: &'a str,
    /// The release of Talos on the media.
    pub talos: &'a Version,
    /// The release of Kubernetes that the site names, if it does.
    pub kubernetes: Option<&'a Version>,
    /// When it is: certificates end.
    pub now: SystemTime,
    /// The nodes.
    pub members: Vec<Member<'a>>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its name in the site.
    pub name: &'a str,
    /// What the site says that it is.
    pub role: Role,
    /// Its final config.
    pub documents: &'a Documents,
    /// Where the site describes it.
    pub place: Place,
    /// What it boots from.
    pub medium: Medium,
    /// Its disks, where they are known: all that it has.
    pub disks: Option<&'a [Disk]>,
}

/// What a node boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// An ISO, on a disc, a stick or a virtual drive.
    Iso {
        /// Whether it stops on a node that has Talos already (`talos.halt_if_installed`).
        halts_if_installed: bool,
    },
    /// The disk that Talos stays on: nothing is installed.
    Disk,
    /// The network.
    Pxe,
}

/// Looks at all nodes of a site, alone and together.
///
/// The findings stand in the order of their checks. What several nodes have from one place is said
/// once.
pub fn fleet(fleet: &Fleet<'_>) -> Vec<Diagnostic> {
    let nodes: Vec<Node<'_>> = fleet.members.iter().map(Node::of).collect();
    let mut found = Findings::default();
    duplicate::check(&nodes, &mut found);
    endpoint::check(fleet, &nodes, &mut found);
    family::check(&nodes, &mut found);
    version::check(fleet, &nodes, &mut found);
    secret::check(&nodes, &mut found);
    certificate::check(&nodes, fleet.now, &mut found);
    manifest::check(&nodes, &mut found);
    for node in &nodes {
        address::check(node, &mut found);
        network::check(node, &mut found);
        service::check(node, &mut found);
        install::check(node, fleet.talos, &mut found);
    }
    found.into_diagnostics()
}

/// Takes out the findings that the user does not want to see, and tells which codes are none of
/// ours. A warning of any room can be silenced, and an error that [`Code::judged`] marks.
pub fn silence(findings: Vec<Diagnostic>, codes: &[String]) -> (Vec<Diagnostic>, Vec<String>) {
    let may_be = |finding: &Diagnostic| {
        finding.severity == Severity::Warning
            || code::find(finding.code).is_some_and(Code::is_silenceable)
    };
    let silent =
        |finding: &Diagnostic| may_be(finding) && codes.iter().any(|code| code == finding.code);
    let unknown = codes.iter().filter(|name| code::find(name).is_none()).cloned().collect();
    (findings.into_iter().filter(|finding| !silent(finding)).collect(), unknown)
}

#[cfg(test)]
mod tests;
