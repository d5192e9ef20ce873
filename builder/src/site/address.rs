//! What links have in the end: addresses that are written, and those that are made.
//!
//! In: links and networks as they are written. Out: [`Network`]s; for all nodes together, addresses
//! that no two have.
//!
//! Source: none, the file is ours.
//!
//! Not here: how an address is made of a name (`config::facts::address`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Endpoint;
use super::field::Written;
use super::link::{self, Links, Main};
use super::network::{Common, Host, Own, Word};
use crate::config::facts::address::derive;
use crate::config::facts::network::{self, Dynamic, Network, Route, Settings};
use crate::config::facts::prefix::{Family, Mac, Prefix};
use crate::report::{Diagnostic, Place};
use crate::talos::Role;

/// The network of a node but for the addresses that are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// The network so far.
    pub(super) network: Network,
    /// Where made addresses go.
    main: Option<Main>,
    /// The networks, of which the main link gets an address each.
    wanted: Vec<Prefix>,
    /// The families in the order in which the main link is to have their addresses.
    order: Vec<Family>,
    /// The node's addresses that are written.
    fixed: Vec<Written<IpAddr>>,
    /// Addresses that are not the node's own, and whose they are.
    others: Vec<(IpAddr, &'static str)>,
    macs: Vec<Written<Mac>>,
}

/// What is known of a node while its links are put together.
struct Rest<'a> {
    common: &'a Common,
    is_worker: bool,
    place: &'a Place,
    draft: Draft,
}

/// Puts a node's network together. `place` is the node's.
pub(super) fn draft(
    links: &Links,
    common: &Common,
    role: Option<Role>,
    place: &Place,
    problems: &mut Vec<Diagnostic>,
) -> Draft {
    let draft = Draft { main: links.main, macs: links.macs.clone(), ..Draft::default() };
    let is_worker = role == Some(Role::Worker);
    let mut rest = Rest { common, is_worker, place, draft };
    rest.strangers();
    for (at, link) in links.links.iter().enumerate() {
        let main = |vlan| links.main == Some(Main { link: at, vlan });
        let mut settings = rest.settings(&link.own, main(None), &link.place, problems);
        let vlans: Vec<_> = link
            .vlans
            .iter()
            .enumerate()
            .map(|(at, vlan)| network::Vlan {
                id: vlan.id,
                settings: rest.settings(&vlan.own, main(Some(at)), &vlan.place, problems),
            })
            .collect();
        // The packets of a VLAN pass through its link.
        let main_vlan = links.main.filter(|main| main.link == at).and_then(|main| main.vlan);
        if let Some(vlan) = main_vlan.filter(|_| settings.mtu.is_none()) {
            settings.mtu = vlans[vlan].settings.mtu;
        }
        rest.draft.network.links.push(network::Link { kind: link.kind.clone(), settings, vlans });
    }
    if !links.is_said {
        rest.without_links(problems);
    }
    let network = &mut rest.draft.network;
    network.nameservers.clone_from(&common.nameservers);
    network.search_domains.clone_from(&common.search_domains);
    network.time.clone_from(&common.time);
    rest.draft
}

impl Rest<'_> {
    /// Notes addresses of the network that no node may have.
    fn strangers(&mut self) {
        let own = &self.common.own;
        let routers = own.gateways.iter().flatten().map(|router| (router.value, "the gateway"));
        let shared = own.vips.iter().flatten().map(|vip| (vip.value, "the shared address"));
        self.draft.others.extend(routers.chain(shared));
    }

    /// What a link has. Only the main one has what the network says.
    fn settings(
        &mut self,
        own: &Own,
        is_main: bool,
        place: &Place,
        problems: &mut Vec<Diagnostic>,
    ) -> Settings {
        if let Some(vip) = own.vips.iter().flatten().next().filter(|_| self.is_worker) {
            problems.push(link::no_vip(vip.place.clone()));
        }
        let words = self.words(own, is_main);
        let addresses = self.addresses(own, is_main, &words, place, problems);
        let is_static = words.contains(&Word::Static);
        let network = Own {
            gateways: self.common.own.gateways.clone().filter(|_| is_static),
            ..self.common.own.clone()
        };
        let all = if is_main { own.clone().or(network) } else { own.clone() };
        let gateways: Vec<_> = all.gateways.into_iter().flatten().map(|by| by.value).collect();
        let vips: Vec<_> = all.vips.into_iter().flatten().map(|vip| vip.value).collect();
        let others = &mut self.draft.others;
        others.extend(gateways.iter().map(|&router| (router, "the gateway")));
        others.extend(vips.iter().map(|&vip| (vip, "the shared address")));
        Settings {
            mtu: all.mtu,
            addresses,
            dynamic: dynamic(&words),
            routes: gateways
                .into_iter()
                .map(Route::default_by)
                .chain(all.routes.into_iter().flatten())
                .collect(),
            vips: if self.is_worker { Vec::new() } else { vips },
        }
    }

    /// Where addresses come from; what is not said follows from what there is.
    fn words(&self, own: &Own, is_main: bool) -> BTreeSet<Word> {
        let network = self.common.own.addressing.as_ref().filter(|_| is_main);
        if let Some(words) = own.addressing.as_ref().or(network) {
            return words.clone();
        }
        let has_prefix = is_main && !self.common.prefixes.is_empty();
        match own.addresses.as_ref().is_some_and(|all| !all.is_empty()) || has_prefix {
            true => BTreeSet::from([Word::Static]),
            false if is_main => BTreeSet::from([Word::Dynamic(Dynamic::Dhcp4)]),
            false => BTreeSet::new(),
        }
    }

    /// The addresses that are written, and whether more are wanted.
    fn addresses(
        &mut self,
        own: &Own,
        is_main: bool,
        words: &BTreeSet<Word>,
        place: &Place,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Prefix> {
        let written = own.addresses.as_deref().unwrap_or_default();
        let is_static = words.contains(&Word::Static);
        if let Some(first) = written.first().filter(|_| !is_static) {
            let message = "there is an address, and `addressing` is not `static`";
            let problem = Diagnostic::error("addressing", message).at(first.place.clone());
            problems.push(problem.help("add `static` to `addressing`, or drop the address"));
        }
        let prefixes = if is_main { self.common.prefixes.as_slice() } else { &[] };
        let mut addresses = Vec::new();
        for host in written {
            let Some(address) = whole(host, prefixes, problems) else { continue };
            self.draft.fixed.push(Written { value: address.address(), place: host.place.clone() });
            addresses.push(address);
        }
        if is_static && is_main {
            let families: Vec<_> = written.iter().map(|host| host.value.family()).collect();
            let wanted = prefixes.iter().map(|prefix| prefix.value);
            let wanted = wanted.filter(|prefix| !families.contains(&prefix.family()));
            self.draft.wanted = wanted.collect();
            self.draft.order = prefixes.iter().map(|prefix| prefix.value.family()).collect();
        }
        let gets_none = !is_main || self.draft.wanted.is_empty();
        if is_static && gets_none && written.is_empty() {
            let (message, help) = match is_main {
                true => (
                    "the node is static, and has no address",
                    "give it an `address`, or `network` a `prefix` from which it gets one",
                ),
                false => ("the link is static, and has no address", "give it `addresses`"),
            };
            let problem = Diagnostic::error("missing-address", message).at(place.clone());
            problems.push(problem.help(help));
        }
        addresses
    }

    /// Sees to it that nothing is lost that a link should have: without one, Talos asks for IPv4 by
    /// DHCP on all.
    fn without_links(&mut self, problems: &mut Vec<Diagnostic>) {
        let own = &self.common.own;
        let words = self.words(&Own::default(), true);
        let is_dhcp = words == BTreeSet::from([Word::Dynamic(Dynamic::Dhcp4)]);
        let vips = own.vips.is_some() && !self.is_worker;
        if !is_dhcp || vips || own.mtu.is_some() || own.routes.is_some() {
            let message = "nothing says which link of the node the network is on";
            problems.push(link::no_link(message, self.place.clone()));
        }
    }
}

impl Host {
    fn address(self) -> IpAddr {
        match self {
            Self::Whole(prefix) => prefix.address(),
            Self::Bare(address) => address,
        }
    }

    fn family(self) -> Family {
        Family::of(self.address())
    }
}

fn dynamic(words: &BTreeSet<Word>) -> BTreeSet<Dynamic> {
    let dynamic = |word: &Word| match word {
        Word::Static => None,
        Word::Dynamic(dynamic) => Some(*dynamic),
    };
    words.iter().filter_map(dynamic).collect()
}

/// The address with its length, which may be that of the network's prefix.
fn whole(
    host: &Written<Host>,
    prefixes: &[Written<Prefix>],
    problems: &mut Vec<Diagnostic>,
) -> Option<Prefix> {
    let address = match host.value {
        Host::Whole(prefix) => return Some(prefix),
        Host::Bare(address) => address,
    };
    let family = Family::of(address);
    let prefix = prefixes.iter().find(|prefix| prefix.value.family() == family);
    let usual = if family == Family::V4 { 24 } else { 64 };
    let problem = match prefix.map(|prefix| prefix.value) {
        Some(prefix) if prefix.contains(address) => {
            return prefix.with(address);
        }
        Some(prefix) => {
            let message = format!("`{address}` has no length, and is not in `{prefix}`");
            Diagnostic::error("address-prefix", message)
        }
        None => Diagnostic::error("address-length", format!("`{address}` has no length")),
    };
    let help = format!("write `{address}/{usual}`, with the length of its network");
    problems.push(problem.at(host.place.clone()).help(help));
    None
}

/// A node whose addresses are looked for.
#[derive(Debug)]
pub(super) struct Seeker<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Place,
    pub(super) draft: &'a mut Draft,
}

/// Gives each node the addresses that it wants, after all that are written. What two nodes have is a
/// problem.
pub(super) fn allocate(
    nodes: &mut [Seeker<'_>],
    endpoint: Option<&Endpoint>,
    problems: &mut Vec<Diagnostic>,
) {
    let mut taken = BTreeMap::new();
    for (address, whose) in nodes.iter().flat_map(|node| &node.draft.others) {
        taken.entry(*address).or_insert_with(|| (*whose).to_owned());
    }
    unique_cards(nodes, problems);
    for node in nodes.iter() {
        for fixed in &node.draft.fixed {
            let who = format!("node `{}` on line {}", node.name, fixed.place.line);
            if let Some(owner) = taken.insert(fixed.value, who).filter(|_| !is_local(fixed.value)) {
                let message = format!("the address `{}` is taken by {owner}", fixed.value);
                let problem = Diagnostic::error("duplicate-address", message);
                problems.push(problem.at(fixed.place.clone()).help("give each its own"));
            }
        }
    }
    // These may be a node's own.
    if let Some(address) = endpoint.and_then(Endpoint::address) {
        taken.entry(address).or_insert_with(|| "the cluster's endpoint".to_owned());
    }
    for address in nodes.iter().flat_map(|node| &node.draft.network.nameservers) {
        taken.entry(*address).or_insert_with(|| "a name server".to_owned());
    }
    for node in nodes {
        for prefix in std::mem::take(&mut node.draft.wanted) {
            match derive(prefix, node.name, &taken) {
                Ok(address) => {
                    taken.insert(address, format!("node `{}`", node.name));
                    prefix.with(address).into_iter().for_each(|address| node.draft.add(address));
                }
                Err(problem) => problems.push(problem.at(node.place.clone())),
            }
        }
    }
}

impl Draft {
    /// Gives the main link an address, in the order of the families.
    fn add(&mut self, address: Prefix) {
        let Some(main) = self.main else { return };
        let link = &mut self.network.links[main.link];
        let settings = match main.vlan {
            None => &mut link.settings,
            Some(vlan) => &mut link.vlans[vlan].settings,
        };
        settings.addresses.push(address);
        let order = |address: &Prefix| self.order.iter().position(|of| *of == address.family());
        settings.addresses.sort_by_key(|address| order(address).unwrap_or(usize::MAX));
    }
}

/// Addresses that are good on one link alone.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// A card is in one machine.
fn unique_cards(nodes: &[Seeker<'_>], problems: &mut Vec<Diagnostic>) {
    let mut seen = BTreeMap::new();
    for node in nodes {
        for mac in &node.draft.macs {
            if let Some((name, line)) = seen.insert(mac.value, (node.name, mac.place.line)) {
                let message = format!(
                    "the MAC address `{}` is that of node `{name}` on line {line}",
                    mac.value
                );
                let problem = Diagnostic::error("duplicate-mac", message).at(mac.place.clone());
                problems.push(problem.help("give each card once"));
            }
        }
    }
}
