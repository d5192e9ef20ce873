//! What a site says of a machine whose config is made here.
//!
//! In: a node's mapping, the defaults' and the networks'. Out: [`Facts`], but for the addresses that
//! depend on the other nodes.
//!
//! Source: none, the file is ours.
//!
//! Not here: what becomes of the facts (`config::facts`).

use std::collections::BTreeMap;

use super::address::{self, Draft};
use super::field::{Fields, open, quote, text};
use super::file::Files;
use super::key::network::NETWORK;
use super::link;
use super::name::is_domain;
use super::network::Common;
use super::storage::secret;
use super::{registry, storage};
use crate::config::facts::Facts;
use crate::pki::secret::Secret;
use crate::report::Diagnostic;
use crate::talos::Role;

/// What all nodes have below what they say themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Below<'n> {
    /// `defaults`.
    pub(super) defaults: Option<Fields<'n>>,
    /// The site's `network`.
    pub(super) network: Option<Fields<'n>>,
}

/// A machine as it is known while the addresses of others are still open.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Its facts but for the network.
    pub(super) facts: Facts,
    /// Its network.
    pub(super) draft: Draft,
    /// Whether it says to which disk it installs, rightly or not.
    pub(super) says_disk: bool,
}

/// Looks for mistakes in what all nodes share, whoever uses it.
pub(super) fn check(below: Below<'_>, files: &mut Files<'_>, problems: &mut Vec<Diagnostic>) {
    below.network.iter().for_each(|network| drop(Common::read(network, problems)));
    if let Some(defaults) = below.defaults {
        drop(machine(&defaults, None, files, problems));
    }
}

/// Reads what a node says.
pub(super) fn node(
    node: Fields<'_>,
    below: Below<'_>,
    role: Option<Role>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Made {
    let own = node.own("network").and_then(|own| open(own, &NETWORK, problems));
    let fields = match own {
        Some(own) => Some(own.over(below.network)),
        None => below.network,
    };
    let common = fields.map(|fields| Common::read(&fields, problems)).unwrap_or_default();
    if let (Some(own), Some(Role::Worker)) = (own, role)
        && let Some(vip) = own.own("vip")
    {
        problems.push(link::no_vip(vip.place()));
    }
    let links = link::read(&node, problems);
    let draft = address::draft(&links, &common, role, &node.place(), problems);
    let layered = node.over(below.defaults);
    let mut facts = machine(&layered, below.defaults.as_ref(), files, problems);
    facts.hostname = hostname(&node, problems);
    Made { facts, draft, says_disk: storage::says_disk(&layered) }
}

/// What is neither name nor network.
fn machine(
    fields: &Fields<'_>,
    defaults: Option<&Fields<'_>>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Facts {
    Facts {
        install: storage::install(fields, problems),
        labels: scalars(fields, "labels", problems),
        annotations: scalars(fields, "annotations", problems),
        taints: scalars(fields, "taints", problems),
        registries: registry::registries(fields, files, problems),
        trusted_roots: registry::trusted_roots(fields, files, problems),
        proxy: registry::proxy(fields, problems),
        environment: environment(fields, problems),
        encryption: storage::encryption(fields, problems),
        user_volumes: storage::volumes(fields, defaults, problems),
        ..Facts::default()
    }
}

fn scalars(
    fields: &Fields<'_>,
    key: &str,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let entries = fields.map(key, problems);
    let entry = |entry: &&crate::yaml::Entry| {
        Some((entry.key.clone(), text(&entry.value, &entry.key, problems)?.value.to_owned()))
    };
    entries.iter().filter_map(entry).collect()
}

fn environment(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, Secret> {
    let entries = fields.map("env", problems);
    let entry = |entry: &&crate::yaml::Entry| {
        Some((entry.key.clone(), secret(&text(&entry.value, &entry.key, problems)?)))
    };
    entries.iter().filter_map(entry).collect()
}

/// The node's name, unless it says another, which may have a domain.
fn hostname(node: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> String {
    let name = node.own("name").and_then(|name| name.text()).unwrap_or_default();
    let Some(text) = node.text("hostname", problems) else { return name.to_owned() };
    if !is_domain(text.value) {
        let message = format!("{} is no host name", quote(text.value));
        let problem = Diagnostic::error("hostname", message).at(text.place);
        problems.push(problem.help("write it as in `cp-1.example.com`"));
    }
    text.value.to_owned()
}

#[cfg(test)]
mod tests;
