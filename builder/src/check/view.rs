//! A node's config as the checks look at it, whichever of Talos' two styles it is in.
//!
//! In: a node's documents. Out: a [`Node`] with its links, addresses and names.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_network_provider.go`,
//! `pkg/machinery/config/types/network/`, `pkg/machinery/config/container/container.go`
//! (`RunDefaultDHCPOperators`).
//!
//! Not here: what is wrong with it (the checks).

use crate::talos::Role;
use std::net::IpAddr;

use super::Member;
use crate::config::documents::Documents;
use crate::config::facts::prefix::{Family, Prefix};
use crate::config::tree::Tree;

/// The kinds of documents that describe a link; any of them stops Talos' own DHCP on all links.
pub(super) const LINK_KINDS: [&str; 8] = [
    "LinkConfig",
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "VLANConfig",
    "VRFConfig",
    "VethConfig",
    "WireguardConfig",
];

/// A node, its documents and what of its network is known.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) member: &'a Member<'a>,
    /// The links that are described, physical or not.
    pub(super) links: Vec<Link<'a>>,
    /// The shared addresses, and the links that they are on.
    pub(super) vips: Vec<Vip<'a>>,
    /// Whether Talos runs DHCP on links by itself.
    pub(super) default_dhcp: bool,
}

/// A link.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) name: &'a str,
    /// Where it is described.
    pub(super) tree: &'a Tree,
    pub(super) what: What,
    pub(super) addresses: Vec<(Prefix, &'a Tree)>,
    pub(super) routes: Vec<Route<'a>>,
    pub(super) dhcp4: bool,
    pub(super) dhcp6: bool,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It reaches other machines.
    Wire,
    /// It is there to have addresses.
    Dummy,
    /// It is a tunnel.
    Tunnel,
}

/// A route.
#[derive(Debug)]
pub(super) struct Route<'a> {
    pub(super) tree: &'a Tree,
    /// Nothing, where it is to everything.
    pub(super) destination: Option<Prefix>,
    pub(super) gateway: Option<IpAddr>,
    /// In the main table.
    pub(super) is_main: bool,
    pub(super) metric: i128,
}

/// A shared address.
#[derive(Debug)]
pub(super) struct Vip<'a> {
    pub(super) address: IpAddr,
    pub(super) link: &'a str,
    pub(super) tree: &'a Tree,
}

impl<'a> Node<'a> {
    pub(super) fn of(member: &'a Member<'a>) -> Self {
        let documents = member.documents;
        let mut node = Self { member, links: Vec::new(), vips: Vec::new(), default_dhcp: true };
        for kind in LINK_KINDS {
            node.links.extend(documents.all(kind).map(|tree| link(kind, tree)));
        }
        let peers = documents.all("VethConfig").filter_map(|tree| tree.get("peer"));
        node.links.extend(peers.map(|tree| link("VethConfig", tree)));
        node.default_dhcp = node.links.is_empty();
        for (kind, family) in [("DHCPv4Config", Family::V4), ("DHCPv6Config", Family::V6)] {
            for tree in documents.all(kind) {
                node.default_dhcp = false;
                node.dynamic(tree, family);
            }
        }
        for kind in ["Layer2VIPConfig", "HCloudVIPConfig"] {
            let vips = documents.all(kind).filter_map(|tree| {
                let address = tree.text_at(&["name"])?.parse().ok()?;
                Some(Vip { address, link: tree.text_at(&["link"]).unwrap_or_default(), tree })
            });
            node.vips.extend(vips);
        }
        let interfaces = node.main(&["machine", "network", "interfaces"]);
        interfaces.into_iter().flat_map(Tree::items).for_each(|tree| node.interface(tree));
        node
    }

    /// The value at a path of the document of machine and cluster.
    pub(super) fn main(&self, path: &[&str]) -> Option<&'a Tree> {
        self.member.documents.main()?.at(path)
    }

    /// The value at a path of the only document of a kind, or else at one of the older document.
    pub(super) fn either(&self, kind: &str, path: &[&str], main: &[&str]) -> Option<&'a Tree> {
        either(self.member.documents, kind, path, main)
    }

    pub(super) fn is_controlplane(&self) -> bool {
        self.member.role == Role::ControlPlane
    }

    /// The host name that the config gives, as written.
    pub(super) fn hostname(&self) -> Option<&'a Tree> {
        let found =
            self.either("HostnameConfig", &["hostname"], &["machine", "network", "hostname"]);
        found.filter(|tree| tree.text().is_some_and(|text| !text.is_empty()))
    }

    /// The addresses of its links.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Prefix, &'a Tree)> {
        self.links.iter().flat_map(|link| link.addresses.iter().copied())
    }

    /// Whether it gets addresses that are in no config.
    pub(super) fn is_dynamic(&self) -> bool {
        self.default_dhcp && self.links.is_empty()
            || self.links.iter().any(|link| link.dhcp4 || link.dhcp6)
    }

    /// Networks of pods, or of services.
    pub(super) fn subnets(&self, key: &str) -> Vec<(Prefix, &'a Tree)> {
        let found = self.either("KubeNetworkConfig", &[key], &["cluster", "network", key]);
        let subnets = found.into_iter().flat_map(Tree::items);
        subnets.filter_map(|tree| Some((Prefix::parse(tree.text()?)?, tree))).collect()
    }

    /// A link gets addresses of a family, and is described by that alone if by nothing else.
    fn dynamic(&mut self, tree: &'a Tree, family: Family) {
        let name = tree.text_at(&["name"]).unwrap_or_default();
        let at = self.links.iter().position(|link| link.name == name).unwrap_or_else(|| {
            self.links.push(Link { name, tree, ..Link::new(tree) });
            self.links.len() - 1
        });
        match family {
            Family::V4 => self.links[at].dhcp4 = true,
            Family::V6 => self.links[at].dhcp6 = true,
        }
    }

    /// A link as it was described before there were documents, and the VLANs on it.
    fn interface(&mut self, tree: &'a Tree) {
        if tree.get("ignore").and_then(Tree::bool) == Some(true) {
            return;
        }
        let name = tree.text_at(&["interface"]).unwrap_or_default();
        let dummy = tree.get("dummy").and_then(Tree::bool) == Some(true);
        let what = match () {
            () if dummy => What::Dummy,
            () if tree.get("wireguard").is_some() => What::Tunnel,
            () => What::Wire,
        };
        for tree in [tree].into_iter().chain(tree.get("vlans").into_iter().flat_map(Tree::items)) {
            let dhcp = tree.get("dhcp").and_then(Tree::bool) == Some(true);
            let option = |key| tree.at(&["dhcpOptions", key]).and_then(Tree::bool);
            let cidr = tree.get("cidr");
            let addresses = tree.get("addresses").into_iter().flat_map(Tree::items).chain(cidr);
            let addresses = addresses.filter_map(|tree| Some((address(tree.text()?)?, tree)));
            let routes = tree.get("routes").into_iter().flat_map(Tree::items);
            self.links.push(Link {
                name,
                what,
                addresses: addresses.collect(),
                routes: routes.map(|tree| route(tree, "network")).collect(),
                dhcp4: dhcp && option("ipv4") != Some(false),
                dhcp6: dhcp && option("ipv6") == Some(true),
                ..Link::new(tree)
            });
            let vip = tree.at(&["vip", "ip"]);
            self.vips.extend(vip.and_then(|tree| {
                Some(Vip { address: tree.text()?.parse().ok()?, link: name, tree })
            }));
        }
    }
}

impl<'a> Link<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self {
            name: "",
            tree,
            what: What::Wire,
            addresses: Vec::new(),
            routes: Vec::new(),
            dhcp4: false,
            dhcp6: false,
        }
    }

    /// The routes to everything, in the main table.
    pub(super) fn defaults(&self) -> impl Iterator<Item = &Route<'a>> {
        self.routes.iter().filter(|route| route.destination.is_none() && route.is_main)
    }
}

impl Route<'_> {
    /// The family of what it is for.
    pub(super) fn family(&self) -> Option<Family> {
        self.gateway.map(Family::of).or(self.destination.map(Prefix::family))
    }
}

/// The value at a path of the only document of a kind, or else at one of the older document.
pub(super) fn either<'a>(
    documents: &'a Documents,
    kind: &str,
    path: &[&str],
    main: &[&str],
) -> Option<&'a Tree> {
    let found = documents.get(kind, None).and_then(|tree| tree.at(path));
    found.or_else(|| documents.main()?.at(main))
}

fn link<'a>(kind: &str, tree: &'a Tree) -> Link<'a> {
    let addresses = tree.get("addresses").into_iter().flat_map(Tree::items);
    let addresses = addresses.filter_map(|tree| {
        let address = tree.get("address")?;
        Some((Prefix::parse(address.text()?)?, address))
    });
    let routes = tree.get("routes").into_iter().flat_map(Tree::items);
    Link {
        name: tree.text_at(&["name"]).unwrap_or_default(),
        what: match kind {
            "DummyLinkConfig" => What::Dummy,
            "WireguardConfig" | "VRFConfig" | "VethConfig" => What::Tunnel,
            _ => What::Wire,
        },
        addresses: addresses.collect(),
        routes: routes.map(|tree| route(tree, "destination")).collect(),
        ..Link::new(tree)
    }
}

fn route<'a>(tree: &'a Tree, destination: &str) -> Route<'a> {
    let table = tree.text_at(&["table"]);
    let destination = tree.text_at(&[destination]).and_then(Prefix::parse);
    Route {
        tree,
        destination: destination.filter(|prefix| prefix.length() > 0),
        gateway: tree.text_at(&["gateway"]).and_then(|text| text.parse().ok()),
        is_main: table.is_none_or(|table| matches!(table, "main" | "unspec" | "254")),
        metric: tree
            .get("metric")
            .and_then(Tree::int)
            .filter(|&metric| metric != 0)
            .unwrap_or(1024),
    }
}

/// An address with its network, or without: then it is a network of its own.
fn address(text: &str) -> Option<Prefix> {
    Prefix::parse(text).or_else(|| Some(Prefix::host(text.parse().ok()?)))
}
