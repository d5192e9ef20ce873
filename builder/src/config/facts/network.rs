//! What a site says about a node's network.
//!
//! In: the site's words. Out: [`Network`] and what it is made of.
//!
//! Source: Talos `pkg/machinery/config/types/network/` (`link.go`, `bond.go`, `vlan.go`,
//! `time_sync.go`), `pkg/machinery/nethelpers/` (the names of modes).
//!
//! Not here: the documents (`link`), and what of it cannot work (`lint`).
//!
//! # Links that are not described
//!
//! Where no link is described at all, Talos asks for IPv4 by DHCP on every card. As soon as one link
//! is described, it asks on none: each further link that should have DHCP is to be described too,
//! with [`Dynamic::Dhcp4`]. Router advertisements it takes on every link that is up, described or
//! not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::prefix::{Mac, Prefix};

/// A node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The links. The first address of a family on one that has a default route is the node's.
    pub links: Vec<Link>,
    /// The name servers.
    pub nameservers: Vec<IpAddr>,
    /// The domains in which names without a dot are looked up.
    pub search_domains: Vec<String>,
    /// Where the time comes from; none is Talos' own choice, `time.cloudflare.com`.
    pub time: Option<Time>,
}

impl Network {
    /// The settings of all links, those of a link's VLANs behind its own.
    pub fn settings(&self) -> impl Iterator<Item = &Settings> {
        self.links.iter().flat_map(|link| {
            std::iter::once(&link.settings).chain(link.vlans.iter().map(|vlan| &vlan.settings))
        })
    }

    /// The fixed addresses, in the order of the links.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.settings().flat_map(|settings| &settings.addresses).map(|prefix| prefix.address())
    }
}

/// Where the time comes from. Without it a node waits: etcd does not start, and the cluster cannot
/// be bootstrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Time {
    /// NTP servers, by name or address.
    Servers(Vec<String>),
    /// PTP devices, `/dev/ptp0`.
    Ptp(Vec<String>),
    /// Nowhere: the machine's own clock is good.
    Off,
}

/// A link, and the VLANs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub kind: Kind,
    /// What it has.
    pub settings: Settings,
    /// The VLANs on it.
    pub vlans: Vec<Vlan>,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A card's port.
    Physical(Port),
    /// Several ports as one.
    Bond(Bond),
}

/// A port of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// By the kernel's name for it, `enp1s0`.
    Name(String),
    /// By what it is.
    Select {
        /// What it is.
        selector: Selector,
        /// What it is called from now on; none is `net0`, `net1` and so on, in the order of the
        /// site's links. So patches for several nodes can name it.
        alias: Option<String>,
    },
}

/// What a port is: all that is given must be true of it, and of no other. Texts may have `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Its permanent MAC address: not the one it has while it is part of a bond.
    pub mac: Option<Mac>,
    /// The kernel's driver, `mlx5_core`.
    pub driver: Option<String>,
    /// Its place, `0000:01:00.0`.
    pub bus_path: Option<String>,
    /// Its vendor's and product's numbers, `15B3:1017`.
    pub pci_id: Option<String>,
}

/// Several ports as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Its name, `bond0`.
    pub name: String,
    /// The ports.
    pub members: Vec<Port>,
    /// How they share the traffic.
    pub mode: BondMode,
    /// How dead ones are noticed.
    pub monitor: Monitor,
    /// How often the other side is asked to send LACP frames; only in mode 802.3ad.
    pub lacp_rate: Option<LacpRate>,
    /// Which port a frame takes; only in modes that choose.
    pub xmit_hash_policy: Option<HashPolicy>,
}

/// How the ports of a bond share the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondMode {
    /// In turn.
    BalanceRr,
    /// One at a time.
    ActiveBackup,
    /// By a hash.
    BalanceXor,
    /// All send all.
    Broadcast,
    /// By LACP.
    Lacp,
    /// By load, sending.
    BalanceTlb,
    /// By load, both ways.
    BalanceAlb,
}

impl BondMode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BalanceRr,
        Self::ActiveBackup,
        Self::BalanceXor,
        Self::Broadcast,
        Self::Lacp,
        Self::BalanceTlb,
        Self::BalanceAlb,
    ];

    /// Its name in Talos and Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BalanceRr => "balance-rr",
            Self::ActiveBackup => "active-backup",
            Self::BalanceXor => "balance-xor",
            Self::Broadcast => "broadcast",
            Self::Lacp => "802.3ad",
            Self::BalanceTlb => "balance-tlb",
            Self::BalanceAlb => "balance-alb",
        }
    }

    /// Whether a hash chooses the port.
    pub const fn hashes(self) -> bool {
        matches!(self, Self::BalanceXor | Self::Lacp | Self::BalanceTlb)
    }
}

/// How dead ports of a bond are noticed, in milliseconds. Linux' own value for all three is 0, with
/// which a bond never notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// How often the ports are looked at.
    pub miimon: u32,
    /// How long a port must be up before it is used.
    pub updelay: u32,
    /// How long a port must be down before it is dropped.
    pub downdelay: u32,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { miimon: 100, updelay: 200, downdelay: 200 }
    }
}

/// How often LACP frames are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LacpRate {
    /// Every 30 seconds.
    Slow,
    /// Every second.
    Fast,
}

impl LacpRate {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Slow, Self::Fast];

    /// Its name in Talos and Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Fast => "fast",
        }
    }
}

/// What the hash that chooses a port is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashPolicy {
    /// MAC addresses.
    Layer2,
    /// Addresses and ports.
    Layer34,
    /// MAC addresses and addresses.
    Layer23,
    /// As `Layer23`, inside of tunnels.
    Encap23,
    /// As `Layer34`, inside of tunnels.
    Encap34,
}

impl HashPolicy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Layer2, Self::Layer34, Self::Layer23, Self::Encap23, Self::Encap34];

    /// Its name in Talos and Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer2 => "layer2",
            Self::Layer34 => "layer3+4",
            Self::Layer23 => "layer2+3",
            Self::Encap23 => "encap2+3",
            Self::Encap34 => "encap3+4",
        }
    }
}

/// A VLAN on a link. It is called after the link, `bond0.100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its number, 1 to 4094.
    pub id: u16,
    /// What it has.
    pub settings: Settings,
}

/// What a link of any kind may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest packet in bytes; none is the link's own.
    pub mtu: Option<u32>,
    /// The addresses, each with its network's length.
    pub addresses: Vec<Prefix>,
    /// From where it gets further ones.
    pub dynamic: BTreeSet<Dynamic>,
    /// The routes.
    pub routes: Vec<Route>,
    /// Addresses that the control planes share by ARP and neighbour discovery, one of them having
    /// it. They come up when etcd runs, so never before the cluster is bootstrapped. On workers they
    /// are left out.
    pub vips: Vec<IpAddr>,
}

/// From where a link gets addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dynamic {
    /// Router advertisements, IPv6. Talos takes them wherever it gets them: this says that they are
    /// there.
    Slaac,
    /// DHCP, IPv4.
    Dhcp4,
    /// DHCP, IPv6. It gives addresses only: the default route comes by router advertisements.
    Dhcp6,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; none is everywhere: the default route.
    pub destination: Option<Prefix>,
    /// By whom; none is everyone on the link.
    pub gateway: Option<IpAddr>,
    /// From which of the node's addresses.
    pub source: Option<IpAddr>,
    /// The lower, the better; none is 1024.
    pub metric: Option<u32>,
    /// The largest packet in bytes; none is the link's.
    pub mtu: Option<u32>,
}

impl Route {
    /// The default route by a gateway.
    pub const fn default_by(gateway: IpAddr) -> Self {
        Self { destination: None, gateway: Some(gateway), source: None, metric: None, mtu: None }
    }

    /// Whether it goes everywhere. `0.0.0.0/0` and `::/0` do, though Talos refuses them in writing.
    pub fn is_default(&self) -> bool {
        self.destination.is_none_or(|destination| destination.length() == 0)
    }
}
