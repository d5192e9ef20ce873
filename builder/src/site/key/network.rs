//! The keys of networks and links.
//!
//! In: nothing. Out: tables.
//!
//! Source: Talos `pkg/machinery/nethelpers/` for the names of modes.
//!
//! Not here: reading the values (`site::network`, `site::link`).

use super::cluster::HOST;
use super::{Key, SOME, Section, Shape, key, needed};

/// An address.
pub(super) const ADDRESS: Shape = Shape::Text("^[0-9A-Fa-f:.]+$");

/// A network.
pub(super) const PREFIX: Shape = Shape::Text("^[0-9A-Fa-f:.]+/[0-9]{1,3}$");

/// The address of a card.
pub(super) const MAC: Shape = Shape::Text("^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$");

const ADDRESSING: Key = key(
    "addressing",
    Shape::OneOrMore(&Shape::Word(&["static", "slaac", "dhcpv4", "dhcpv6"])),
    "Where addresses come from. If you say nothing: static where there is an address or a prefix, else dhcpv4",
);
const GATEWAY: Key =
    key("gateway", Shape::OneOrMore(&ADDRESS), "The routers, at most one of each family");
const VIP: Key = key(
    "vip",
    Shape::OneOrMore(&ADDRESS),
    "Addresses that the control planes share; one of them has it, once etcd runs",
);
const MTU: Key = key("mtu", Shape::Number, "The largest packet in bytes");
const ROUTES: Key = key("routes", Shape::List(&Shape::Part(&ROUTE)), "Further routes");
const ADDRESSES: Key =
    key("addresses", Shape::OneOrMore(&HOST), "The addresses, with the lengths of their networks");
const MAIN: Key = key(
    "main",
    Shape::Flag,
    "Whether this is the one to which `address` and `network` apply. If no one says, the first link or its only VLAN",
);

/// `network`.
pub(in crate::site) const NETWORK: Section = Section {
    name: "`network`",
    keys: &[
        ADDRESSING,
        key(
            "prefix",
            Shape::OneOrMore(&PREFIX),
            "The nodes' networks, at most one of each family. A static node without an address gets one from here, which depends on its name and the network alone",
        ),
        GATEWAY,
        key("nameservers", Shape::List(&ADDRESS), "The name servers"),
        key(
            "search_domains",
            Shape::List(&SOME),
            "Domains in which names without a dot are looked up",
        ),
        key(
            "time",
            Shape::OneOf(&[Shape::Off, Shape::Part(&TIME)]),
            "Where the time comes from: {servers: […]}, {ptp: […]}, or off",
        ),
        VIP,
        MTU,
        ROUTES,
    ],
};

/// `time`.
pub(in crate::site) const TIME: Section = Section {
    name: "`time`",
    keys: &[
        key("servers", Shape::List(&SOME), "NTP servers, by name or address"),
        key("ptp", Shape::List(&SOME), "PTP devices: /dev/ptp0"),
    ],
};

/// An item of `routes`.
pub(in crate::site) const ROUTE: Section = Section {
    name: "a route",
    keys: &[
        key("to", PREFIX, "Where to; everywhere if you say nothing"),
        key("via", ADDRESS, "By which router; none is everyone on the link"),
        key("source", ADDRESS, "From which of the node's addresses"),
        key("metric", Shape::Number, "The lower, the better; 1024 if you say nothing"),
        key("mtu", Shape::Number, "The largest packet in bytes"),
    ],
};

pub(super) const MAC_KEY: Key = key("mac", MAC, "The card's permanent MAC address");
pub(super) const INTERFACE_KEY: Key =
    key("interface", SOME, "The kernel's name of the link: enp1s0");
const DRIVER: Key = key("driver", SOME, "The kernel's driver: mlx5_core; `*` is any text");
const BUS_PATH: Key = key("bus_path", SOME, "The card's place: 0000:01:00.0; `*` is any text");
const PCI_ID: Key = key("pci_id", SOME, "Vendor and product: 15B3:1017; `*` is any text");
const ALIAS: Key =
    key("alias", SOME, "What the link is called from now on; net0, net1 … if you say nothing");

/// An item of `links`.
pub(in crate::site) const LINK: Section = Section {
    name: "a link",
    keys: &[
        MAC_KEY,
        DRIVER,
        BUS_PATH,
        PCI_ID,
        INTERFACE_KEY,
        ALIAS,
        key("bond", Shape::Part(&BOND), "Several ports as one"),
        ADDRESSING,
        ADDRESSES,
        GATEWAY,
        ROUTES,
        MTU,
        VIP,
        MAIN,
        key("vlans", Shape::List(&Shape::Part(&VLAN)), "The VLANs on the link"),
    ],
};

/// An item of `vlans`.
pub(in crate::site) const VLAN: Section = Section {
    name: "a VLAN",
    keys: &[
        needed("id", Shape::Number, "Its number, 1 to 4094"),
        ADDRESSING,
        ADDRESSES,
        GATEWAY,
        ROUTES,
        MTU,
        VIP,
        MAIN,
    ],
};

/// `bond`.
pub(in crate::site) const BOND: Section = Section {
    name: "a bond",
    keys: &[
        needed("name", SOME, "Its name: bond0"),
        needed(
            "mode",
            Shape::Word(&[
                "balance-rr",
                "active-backup",
                "balance-xor",
                "broadcast",
                "802.3ad",
                "balance-tlb",
                "balance-alb",
            ]),
            "How its ports share the traffic",
        ),
        needed("members", Shape::List(&Shape::Part(&MEMBER)), "Its ports"),
        key("lacp_rate", Shape::Word(&["slow", "fast"]), "How often LACP frames are asked for"),
        key(
            "xmit_hash_policy",
            Shape::Word(&["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"]),
            "Which port a frame takes",
        ),
        key("miimon", Shape::Number, "How often ports are looked at, in milliseconds: 100"),
        key("updelay", Shape::Number, "How long a port must be up before it is used: 200"),
        key("downdelay", Shape::Number, "How long a port must be down before it is dropped: 200"),
    ],
};

/// An item of a bond's `members`.
pub(in crate::site) const MEMBER: Section =
    Section { name: "a port", keys: &[MAC_KEY, DRIVER, BUS_PATH, PCI_ID, INTERFACE_KEY, ALIAS] };
