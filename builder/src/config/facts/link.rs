//! Links as documents: what each is called, and what is written of it.
//!
//! In: a [`Network`]. Out: `LinkAliasConfig`, `LinkConfig`, `BondConfig`, `VLANConfig`,
//! `DHCPv4Config`, `DHCPv6Config` and `Layer2VIPConfig` documents.
//!
//! Source: Talos `pkg/machinery/config/types/network/` (`link.go`, `link_alias.go`, `bond.go`,
//! `vlan.go`, `dhcp4.go`, `dhcp6.go`, `layer2_vip.go`),
//! `internal/app/machined/pkg/controllers/network/link_alias_config.go`.
//!
//! Not here: what cannot work (`lint`).

use std::collections::BTreeSet;

use super::Problems;
use super::network::{Bond, Dynamic, Kind, Network, Port, Route, Selector, Settings};
use crate::config::documents::Documents;
use crate::config::expression;
use crate::config::tree::Tree;

/// A link under its name.
#[derive(Debug)]
pub(super) struct Named<'f> {
    /// The name, an alias or the kernel's.
    pub(super) name: String,
    /// What it is.
    pub(super) what: What<'f>,
    /// What it has.
    pub(super) settings: &'f Settings,
}

/// What a link is, others being named.
#[derive(Debug)]
pub(super) enum What<'f> {
    /// A card's port.
    Physical,
    /// A bond, and its ports' names.
    Bond(&'f Bond, Vec<String>),
    /// A VLAN of a number on a link.
    Vlan(u16, String),
}

/// All links under their names, and the ports that are given one.
#[derive(Debug)]
pub(super) struct Names<'f> {
    /// The links, in the site's order, VLANs behind the link that they are on.
    pub(super) links: Vec<Named<'f>>,
    /// The names that are given, each with the expression that is true of its port alone.
    pub(super) aliases: Vec<(String, String)>,
    taken: BTreeSet<&'f str>,
    next: u32,
}

impl<'f> Names<'f> {
    /// Names the links of a network.
    pub(super) fn of(network: &'f Network, problems: &mut Problems<'_>) -> Self {
        let taken = network.links.iter().flat_map(|link| match &link.kind {
            Kind::Physical(port) => given(port).into_iter().collect::<Vec<_>>(),
            Kind::Bond(bond) => {
                bond.members.iter().filter_map(given).chain([bond.name.as_str()]).collect()
            }
        });
        let mut names =
            Self { links: Vec::new(), aliases: Vec::new(), taken: taken.collect(), next: 0 };
        for link in &network.links {
            let (name, what) = match &link.kind {
                Kind::Physical(port) => (names.port(port, problems), What::Physical),
                Kind::Bond(bond) => {
                    let members = bond.members.iter().map(|port| names.port(port, problems));
                    let members = members.collect();
                    (bond.name.clone(), What::Bond(bond, members))
                }
            };
            let vlans = link.vlans.iter().map(|vlan| Named {
                name: format!("{name}.{}", vlan.id),
                what: What::Vlan(vlan.id, name.clone()),
                settings: &vlan.settings,
            });
            let vlans: Vec<_> = vlans.collect();
            names.links.push(Named { name, what, settings: &link.settings });
            names.links.extend(vlans);
        }
        names
    }

    /// Names a port. What a selector finds may be part of one link only.
    fn port(&mut self, port: &Port, problems: &mut Problems<'_>) -> String {
        let (selector, alias) = match port {
            Port::Name(name) => return name.clone(),
            Port::Select { selector, alias } => (selector, alias),
        };
        let expression = expression(selector);
        let name = alias.clone().unwrap_or_else(|| self.next_alias());
        if expression.is_empty() {
            let subject = format!("selector of link `{name}`");
            let help = "give one of `mac`, `driver`, `bus_path`, `pci_id`";
            problems.add("link-selector", &subject, "selects nothing", help);
        } else if self.aliases.iter().any(|(_, known)| *known == expression) {
            let subject = format!("selector of link `{name}`");
            let help = "describe each port once, be it as a link or as a part of a bond";
            problems.add("link-duplicate", &subject, "selects the same as another's", help);
        }
        self.aliases.push((name.clone(), expression));
        name
    }

    /// The first of `net0`, `net1` and so on that is free.
    fn next_alias(&mut self) -> String {
        loop {
            let name = format!("net{}", self.next);
            self.next += 1;
            if !self.taken.contains(name.as_str()) {
                return name;
            }
        }
    }
}

/// The name that the site gives a port.
fn given(port: &Port) -> Option<&str> {
    match port {
        Port::Name(name) => Some(name),
        Port::Select { alias, .. } => alias.as_deref(),
    }
}

/// What is true of the selected port; nothing for a selector that says nothing.
fn expression(selector: &Selector) -> String {
    let mac = selector.mac.map(|mac| format!("mac(link.permanent_addr) == \"{mac}\""));
    let glob =
        |pattern: Option<&str>, value| pattern.map(|pattern| expression::matches(pattern, value));
    // Linux has the numbers in upper case.
    let pci_id = selector.pci_id.as_ref().map(|id| id.to_ascii_uppercase());
    let terms = [
        mac,
        glob(selector.driver.as_deref(), "link.driver"),
        glob(selector.bus_path.as_deref(), "link.bus_path"),
        glob(pci_id.as_deref(), "link.pciid"),
    ];
    terms.into_iter().flatten().collect::<Vec<_>>().join(" && ")
}

/// Writes the documents.
pub(super) fn write(documents: &mut Documents, names: &Names<'_>, is_controlplane: bool) {
    for (name, expression) in &names.aliases {
        let alias = documents.open("LinkAliasConfig", Some(name));
        alias.set_at(&["selector", "match"], expression.as_str());
    }
    for link in &names.links {
        let name = link.name.as_str();
        let tree = match &link.what {
            What::Physical => documents.open("LinkConfig", Some(name)),
            What::Bond(bond, members) => {
                let tree = documents.open("BondConfig", Some(name));
                write_bond(tree, bond, members);
                tree
            }
            What::Vlan(id, parent) => {
                let tree = documents.open("VLANConfig", Some(name));
                tree.set("vlanID", u32::from(*id));
                tree.set("parent", parent.as_str());
                tree
            }
        };
        write_settings(tree, link.settings);
        for dynamic in &link.settings.dynamic {
            match dynamic {
                Dynamic::Dhcp4 => drop(documents.open("DHCPv4Config", Some(name))),
                Dynamic::Dhcp6 => drop(documents.open("DHCPv6Config", Some(name))),
                Dynamic::Slaac => {}
            }
        }
        for vip in link.settings.vips.iter().filter(|_| is_controlplane) {
            documents.open("Layer2VIPConfig", Some(&vip.to_string())).set("link", name);
        }
    }
}

fn write_bond(tree: &mut Tree, bond: &Bond, members: &[String]) {
    tree.set("links", Tree::list(members.iter().map(String::as_str)));
    tree.set("bondMode", bond.mode.name());
    tree.set("miimon", bond.monitor.miimon);
    tree.set("updelay", bond.monitor.updelay);
    tree.set("downdelay", bond.monitor.downdelay);
    if let Some(policy) = bond.xmit_hash_policy {
        tree.set("xmitHashPolicy", policy.name());
    }
    if let Some(rate) = bond.lacp_rate {
        tree.set("lacpRate", rate.name());
    }
}

/// Writes what links of all kinds may have. `up` is Talos' own default, written so that a link that
/// has nothing else is seen to be meant.
fn write_settings(tree: &mut Tree, settings: &Settings) {
    tree.set("up", true);
    if let Some(mtu) = settings.mtu {
        tree.set("mtu", mtu);
    }
    let addresses = settings.addresses.iter();
    let addresses: Vec<_> =
        addresses.map(|address| Tree::map([("address", address.to_string().into())])).collect();
    if !addresses.is_empty() {
        tree.set("addresses", Tree::list(addresses));
    }
    if !settings.routes.is_empty() {
        tree.set("routes", Tree::list(settings.routes.iter().map(route)));
    }
}

fn route(route: &Route) -> Tree {
    let text = |key, value: Option<String>| value.map(|value| (key, Tree::from(value)));
    let destination = route.destination.filter(|_| !route.is_default());
    let entries = [
        text("destination", destination.map(|destination| destination.to_string())),
        text("gateway", route.gateway.map(|gateway| gateway.to_string())),
        text("source", route.source.map(|source| source.to_string())),
        route.metric.map(|metric| ("metric", metric.into())),
        route.mtu.map(|mtu| ("mtu", mtu.into())),
    ];
    Tree::map(entries.into_iter().flatten())
}
