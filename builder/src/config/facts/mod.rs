//! What a site says about a node, and what becomes of it in the node's config.
//!
//! In: [`Facts`], and the documents that the node's config has so far. Out: the same documents with
//! the facts in them, in the form that the version of Talos has for each.
//!
//! Source: Talos `pkg/machinery/config/types/` in the releases v1.12.7, v1.13.9 and v1.14.1.
//!
//! Not here: the words of a site file (`site`), a cluster's own settings (`generate`), and Talos'
//! own rules (`valid`): checked here is what Talos would take and what would never work.

use std::collections::BTreeMap;

use super::documents::Documents;
use crate::pki::secret::Secret;
use crate::report::Diagnostic;

pub mod prefix;
pub mod network;
pub mod disk;
pub mod install;
pub mod volume;
pub mod node;
pub mod registry;
pub mod address;
pub mod family;
mod link;
mod lint;

use install::Install;
use network::Network;
use node::Proxy;
use registry::Registries;
use volume::{Encryption, SystemVolume, UserVolume};

/// What a site says about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its host name, with or without a domain.
    pub hostname: String,
    /// Its network.
    pub network: Network,
    /// How it is installed; none leaves the config's own.
    pub install: Option<Install>,
    /// Its labels in Kubernetes.
    pub labels: BTreeMap<String, String>,
    /// Its annotations in Kubernetes.
    pub annotations: BTreeMap<String, String>,
    /// Its taints in Kubernetes: by key `VALUE:EFFECT`, or the effect alone.
    pub taints: BTreeMap<String, String>,
    /// Where its images come from.
    pub registries: Registries,
    /// Further CAs that it trusts, PEM, by a name for each.
    pub trusted_roots: BTreeMap<String, String>,
    /// By whom it reaches the outside.
    pub proxy: Proxy,
    /// Environment variables of Talos' services.
    pub environment: BTreeMap<String, Secret>,
    /// How Talos' own volumes are encrypted.
    pub encryption: BTreeMap<SystemVolume, Encryption>,
    /// Volumes of the user's.
    pub user_volumes: Vec<UserVolume>,
}

/// Writes the facts into a config. Whether it is a control plane's, the config itself says, and
/// its version which form each fact takes. What the config says already gives way, except for
/// labels, annotations, taints and variables of other names.
///
/// # Errors
///
/// All that could never work, or that the version cannot do. The config is unchanged then.
pub fn apply(documents: &mut Documents, facts: &Facts) -> Result<(), Vec<Diagnostic>> {
    let minor = documents.schema.minor;
    let mut problems = Problems { node: &facts.hostname, found: Vec::new() };
    let names = link::Names::of(&facts.network, &mut problems);
    lint::check(&names, &mut problems);
    node::check(facts, &mut problems);
    facts.install.iter().for_each(|install| install::check(install, minor, &mut problems));
    volume::check(&facts.encryption, &facts.user_volumes, &mut problems);
    registry::check(&facts.registries, &mut problems);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    let kind = documents.main().and_then(|main| main.text_at(&["machine", "type"]));
    let is_controlplane = kind == Some("controlplane");
    node::write(documents, facts, is_controlplane);
    link::write(documents, &names, is_controlplane);
    facts.install.iter().for_each(|install| install::write(documents, install));
    volume::write(documents, &facts.encryption, &facts.user_volumes);
    registry::write(documents, &facts.registries);
    Ok(())
}

/// What is wrong with a node.
#[derive(Debug)]
struct Problems<'f> {
    node: &'f str,
    found: Vec<Diagnostic>,
}

impl Problems<'_> {
    /// Adds one: `SUBJECT of node NODE REST`.
    fn add(&mut self, code: &'static str, subject: &str, rest: &str, help: &str) {
        let message = format!("{subject} of node `{}` {rest}", self.node);
        self.found.push(Diagnostic::error(code, message).help(help));
    }
}

#[cfg(test)]
mod tests;
