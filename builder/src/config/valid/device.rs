//! The interfaces in the document of machine and cluster.
//!
//! In: its machine. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_validation.go`
//! (`ValidateNetworkDevices` and what it calls).
//!
//! Not here: the documents of links (`link`).

use std::collections::BTreeMap;

use super::found::Found;
use super::link::{WIREGUARD_KEY_HELP, is_wireguard_key};
use super::machine::Role;
use super::{go, view};
use crate::config::tree::Tree;

pub(super) fn check(machine: &Tree, role: Role, found: &mut Found) {
    let devices = view::items(machine, &["network", "interfaces"]);
    let mut members: BTreeMap<&str, &str> = BTreeMap::new();
    for device in devices {
        if role == Role::Worker {
            shared_address_of_worker(device, found);
        }
        masters(device, &mut members, found);
    }
    for device in devices.iter().filter(|device| !view::is_on(device, &["ignore"])) {
        selection(device, found);
        if let Some(bond) = view::pointer(device, &["bond"]) {
            bond_words(bond, found);
            bond_delays(bond, found);
            bond_modes(bond, found);
        }
        if let Some(wireguard) = view::pointer(device, &["wireguard"]) {
            peers(wireguard, found);
        }
        for vlan in view::items(device, &["vlans"]) {
            addresses(vlan, found);
        }
        addressing(device, &members, found);
        routes(device, found);
    }
}

fn shared_address_of_worker(device: &Tree, found: &mut Found) {
    let vlans = view::items(device, &["vlans"]).iter();
    for at in vlans.chain([device]).filter_map(|at| view::pointer(at, &["vip"])) {
        let message = "a worker has a shared address";
        found.refuse(at, "talos-vip-worker", message, "keep `vip` to control planes");
    }
}

/// Bonds and bridges: no link may be part of two.
fn masters<'t>(device: &'t Tree, members: &mut BTreeMap<&'t str, &'t str>, found: &mut Found) {
    let (bond, bridge) = (view::pointer(device, &["bond"]), view::pointer(device, &["bridge"]));
    if bond.is_some() && bridge.is_some() {
        let message = "an interface is both a bond and a bridge";
        found.refuse(device, "talos-device-both", message, "keep one of `bond` and `bridge`");
    }
    if let Some(bond) = bond
        && view::is_set(bond, &["interfaces"])
        && view::is_set(bond, &["deviceSelectors"])
    {
        let message = "a bond has both `interfaces` and `deviceSelectors`";
        found.refuse(bond, "talos-bond-selectors", message, "keep one of them");
    }
    let own = view::text(device, &["interface"]);
    for member in bridge.or(bond).map_or(&[][..], |at| view::items(at, &["interfaces"])) {
        let name = member.text().unwrap_or_default();
        if members.insert(name, own).is_some_and(|other| other != own) {
            let message = format!("`{name}` is part of two links");
            found.refuse(member, "talos-device-member", message, "take it out of one of them");
        }
    }
}

fn selection(device: &Tree, found: &mut Found) {
    let named = !view::text(device, &["interface"]).is_empty();
    let selector = view::pointer(device, &["deviceSelector"]);
    if named == selector.is_some() {
        let message = "an interface has neither a name nor a selector, or both";
        let help = "keep one of `interface` and `deviceSelector`";
        found.refuse(device, "talos-device-selection", message, help);
    }
    let keys = ["busPath", "hardwareAddr", "permanentAddr", "pciID", "driver"];
    if let Some(at) = selector
        && !keys.iter().any(|key| view::is_set(at, &[key]))
        && view::pointer(at, &["physical"]).is_none()
    {
        let message = "the selector of an interface is empty";
        found.refuse(at, "talos-device-selector", message, "add `permanentAddr`");
    }
}

/// The words that a bond's options may have.
const BOND_WORDS: [(&str, &[&str]); 8] = [
    (
        "mode",
        &[
            "balance-rr",
            "active-backup",
            "balance-xor",
            "broadcast",
            "802.3ad",
            "balance-tlb",
            "balance-alb",
        ],
    ),
    ("xmitHashPolicy", &["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"]),
    ("lacpRate", &["slow", "fast"]),
    (
        "arpValidate",
        &["none", "active", "backup", "all", "filter", "filter-active", "filter-backup"],
    ),
    ("arpAllTargets", &["any", "all"]),
    ("primaryReselect", &["always", "better", "failure"]),
    ("failOverMac", &["none", "active", "follow"]),
    ("adSelect", &["stable", "bandwidth", "count"]),
];

fn bond_words(bond: &Tree, found: &mut Found) {
    for (key, words) in BOND_WORDS {
        let word = view::text(bond, &[key]);
        if !word.is_empty() && !words.contains(&word) {
            let message = format!("a bond has no `{key}` of that name");
            let help = format!("write one of {}", words.join(", "));
            found.refuse(view::place(bond, &[key]), "talos-bond-word", message, help);
        }
    }
}

fn bond_delays(bond: &Tree, found: &mut Found) {
    let monitor = view::number(bond, &["miimon"]);
    for key in ["updelay", "downdelay"] {
        let delay = view::number(bond, &[key]);
        let multiple = if monitor == 0 { delay == 0 } else { delay % monitor == 0 };
        if !multiple {
            let message = format!("`{key}` of the bond is no multiple of `miimon`");
            let help = "write `miimon: 100` and a multiple of it";
            found.refuse(view::place(bond, &[key]), "talos-bond-delay", message, help);
        }
    }
}

/// Which options go with which modes; those that none goes with are first.
const BOND_OPTIONS: [(&str, i128, &[&str]); 10] = [
    ("arpIPTarget", 0, &[]),
    ("adActorSystem", 0, &[]),
    ("lacpRate", 0, &["802.3ad"]),
    ("adActorSysPrio", 0, &["802.3ad"]),
    ("adUserPortKey", 0, &["802.3ad"]),
    ("arpValidate", 0, &["balance-rr", "active-backup", "balance-xor", "broadcast"]),
    ("arpInterval", 0, &["balance-rr", "active-backup", "balance-xor", "broadcast"]),
    ("primary", 0, &["active-backup", "balance-alb", "balance-tlb"]),
    ("packetsPerSlave", 1, &["balance-rr"]),
    ("tlbDynamicLb", 0, &["balance-alb", "balance-tlb"]),
];

fn bond_modes(bond: &Tree, found: &mut Found) {
    let mode = match view::text(bond, &["mode"]) {
        mode if BOND_WORDS[0].1.contains(&mode) => mode,
        _ => "balance-rr",
    };
    for (key, above, modes) in BOND_OPTIONS {
        let set = view::is_set(bond, &[key]) && (above == 0 || view::number(bond, &[key]) > above);
        if set && !modes.contains(&mode) {
            let message = format!("a bond of mode `{mode}` has no `{key}`");
            let help = match modes {
                [] => "drop it: Talos does not have it".to_owned(),
                modes => format!("drop it, or take the mode {}", modes.join(" or ")),
            };
            found.refuse(view::place(bond, &[key]), "talos-bond-option", message, help);
        }
    }
}

fn peers(wireguard: &Tree, found: &mut Found) {
    if !is_wireguard_key(view::text(wireguard, &["privateKey"])) {
        let at = view::place(wireguard, &["privateKey"]);
        let message = "the private key of the WireGuard link is missing, or no key";
        found.refuse(at, "talos-wireguard-private-key", message, WIREGUARD_KEY_HELP);
    }
    for peer in view::items(wireguard, &["peers"]) {
        if !is_wireguard_key(view::text(peer, &["publicKey"])) {
            let at = view::place(peer, &["publicKey"]);
            let message = "the public key of the peer is missing, or no key";
            found.refuse(at, "talos-wireguard-public-key", message, WIREGUARD_KEY_HELP);
        }
        let endpoint = view::text(peer, &["endpoint"]);
        let host = go::split_host_port(endpoint).map(|(host, _)| host);
        let good =
            host.is_some_and(|host| !host.contains(':') || go::parse_address(host).is_some());
        if !endpoint.is_empty() && !good {
            let at = view::place(peer, &["endpoint"]);
            let message = "the endpoint of the peer has no port";
            found.refuse(at, "talos-wireguard-endpoint", message, "write `[2001:db8::1]:51820`");
        }
        for item in view::items(peer, &["allowedIPs"]) {
            if item.text().and_then(go::Prefix::parse_cidr).is_none() {
                let message = "a network of the peer is none";
                found.refuse(item, "talos-wireguard-network", message, "write `10.2.0.0/16`");
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    if text.contains('/') { go::Prefix::parse_cidr(text).is_some() } else { go::is_ip(text) }
}

/// The addresses of an interface or a VLAN.
fn addresses(link: &Tree, found: &mut Found) {
    let cidr = view::text(link, &["cidr"]);
    let items = view::items(link, &["addresses"]);
    if !cidr.is_empty() && !items.is_empty() {
        let at = view::place(link, &["cidr"]);
        let message = "an interface has both `cidr` and `addresses`";
        found.refuse(at, "talos-device-cidr", message, "move the former into the latter");
    }
    let wrong = |item: &&Tree| !item.text().is_some_and(is_address);
    let single = (!cidr.is_empty()).then(|| view::place(link, &["cidr"]));
    for at in items.iter().chain(single).filter(wrong) {
        let message = "an address of the interface is none";
        found.refuse(at, "talos-device-address", message, "write `192.0.2.10/24`");
    }
}

fn addressing(device: &Tree, members: &BTreeMap<&str, &str>, found: &mut Found) {
    addresses(device, found);
    let own = view::text(device, &["interface"]);
    let vip = view::pointer(device, &["vip"]);
    let addressed = view::is_on(device, &["dhcp"])
        || vip.is_some()
        || view::is_set(device, &["cidr"])
        || view::is_set(device, &["addresses"]);
    if members.contains_key(own) && addressed {
        let message = format!("`{own}` is part of a bond or bridge, and has addresses");
        found.refuse(device, "talos-device-member-address", message, "give them to the bond");
    }
    if view::is_set(device, &["cidr"]) {
        let at = view::place(device, &["cidr"]);
        let message = "`cidr` of interfaces is on its way out";
        found.warn(at, "talos-main-cidr", message, "write `addresses`");
    }
    if let Some(at) = vip.filter(|vip| !go::is_ip(view::text(vip, &["ip"]))) {
        let message = "the shared address is none";
        found.refuse(at, "talos-vip-address", message, "write `ip: 192.0.2.5`");
    }
}

fn routes(device: &Tree, found: &mut Found) {
    for route in view::items(device, &["routes"]) {
        let [network, gateway, source] =
            ["network", "gateway", "source"].map(|key| view::text(route, &[key]));
        let wrong = !network.is_empty() && go::Prefix::parse_cidr(network).is_none()
            || [gateway, source].iter().any(|text| !text.is_empty() && !go::is_ip(text));
        if wrong {
            let message = "a route has a network, a gateway or a source that is none";
            let help = "write `network: 0.0.0.0/0` and `gateway: 192.0.2.1`";
            found.refuse(route, "talos-device-route", message, help);
        }
        if network.is_empty() && gateway.is_empty() {
            let message = "a route has neither a network nor a gateway";
            found.refuse(route, "talos-device-route", message, "add one of them");
        }
    }
}
