//! The documents of links: what each kind must have, and addresses and routes.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/network`: `link.go`, `bond.go`, `bridge.go`,
//! `dummy.go`, `vlan.go`, `vrf.go`, `veth.go`, `wireguard.go`, `link_alias.go`.
//!
//! Not here: the links of the document of machine and cluster (`device`).

use super::found::Found;
use super::go;
use super::selector::{self, Scope};
use super::{Context, Rule, name, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("LinkConfig", plain),
    ("BridgeConfig", plain),
    ("DummyLinkConfig", plain),
    ("BondConfig", bond),
    ("VLANConfig", vlan),
    ("VRFConfig", vrf),
    ("VethConfig", veth),
    ("WireguardConfig", wireguard),
    ("LinkAliasConfig", alias),
];

fn plain(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "link", found);
    common(doc, found);
}

fn bond(doc: &Tree, context: Context, found: &mut Found) {
    plain(doc, context, found);
    if view::items(doc, &["links"]).is_empty() {
        let at = view::place(doc, &["links"]);
        found.refuse(
            at,
            "talos-bond-links",
            "the bond has no links",
            "name at least one in `links`",
        );
    }
    match view::pointer(doc, &["bondMode"]) {
        None => {
            let help = "write `bondMode: active-backup`, or `802.3ad` where the switch speaks LACP";
            found.refuse(doc, "talos-bond-mode", "the bond has no mode", help);
        }
        Some(_) if view::is_word(doc, &["bondMode"], "802.3ad") => {
            for key in ["miimon", "updelay", "downdelay"] {
                if view::pointer(doc, &[key]).is_none() {
                    let message = format!("the bond of mode `802.3ad` has no `{key}`");
                    let help =
                        "write `miimon: 100`, and `updelay` and `downdelay` as multiples of it";
                    found.warn(doc, "talos-bond-monitoring", message, help);
                }
            }
        }
        Some(_) => {}
    }
}

fn vlan(doc: &Tree, context: Context, found: &mut Found) {
    plain(doc, context, found);
    if !(1..=4094).contains(&view::number(doc, &["vlanID"])) {
        let at = view::place(doc, &["vlanID"]);
        let message = "the VLAN has no number from 1 to 4094";
        found.refuse(at, "talos-vlan-id", message, "write `vlanID: 100`");
    }
    if view::text(doc, &["parent"]).is_empty() {
        let help = "name the link that carries it in `parent`";
        found.refuse(doc, "talos-vlan-parent", "the VLAN has no parent", help);
    }
}

/// The routing tables of the kernel, which no VRF may have; 255 is `local`, 254 `main`.
const RESERVED_TABLES: [&str; 8] = ["", "unspec", "0", "default", "253", "main", "local", "254"];

fn vrf(doc: &Tree, context: Context, found: &mut Found) {
    plain(doc, context, found);
    let table = view::text(doc, &["table"]).to_lowercase();
    let number = view::number(doc, &["table"]);
    let reserved = match number {
        0 => RESERVED_TABLES.contains(&table.as_str()) || table == "255",
        number => (253..=255).contains(&number),
    };
    if reserved {
        let at = view::place(doc, &["table"]);
        let message = "the VRF has no routing table of its own";
        found.refuse(
            at,
            "talos-vrf-table",
            message,
            "write a number from 1 to 252: `table: \"100\"`",
        );
    }
}

fn veth(doc: &Tree, _: Context, found: &mut Found) {
    let ends: [(&[&str], &str); 2] =
        [(&["name"], "veth pair"), (&["peer", "name"], "peer of the veth pair")];
    for (path, which) in ends {
        if let Some(problem) = veth_name_problem(view::text(doc, path)) {
            let at = view::place(doc, path);
            let message = format!("the name of the {which} {problem}");
            found.refuse(
                at,
                "talos-veth-name",
                message,
                "write a name of at most 15 bytes: `veth0`",
            );
        }
    }
    let name = view::text(doc, &["name"]);
    if !name.is_empty() && name == view::text(doc, &["peer", "name"]) {
        let at = view::place(doc, &["peer", "name"]);
        let message = format!("both ends of the veth pair are named `{name}`");
        found.refuse(at, "talos-veth-same-name", message, "give the peer another name");
    }
    common(doc, found);
    if let Some(peer) = doc.get("peer") {
        common(peer, found);
    }
}

/// What keeps the kernel from taking a link's name.
fn veth_name_problem(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("is missing"),
        _ if name.len() > 15 => Some("has more than 15 bytes"),
        "." | ".." => Some("is a folder's"),
        _ if name.contains(['/', ':']) => Some("has a `/` or `:`"),
        _ if name.chars().any(|c| c.is_whitespace() || c.is_control()) => Some("has a space"),
        _ => None,
    }
}

/// Whether a text is a WireGuard key: 32 bytes in base64.
pub(super) fn is_wireguard_key(key: &str) -> bool {
    go::base64(key).is_some_and(|bytes| bytes.len() == 32)
}

pub(super) const WIREGUARD_KEY_HELP: &str =
    "write 32 bytes in base64, as `wg genkey` and `wg pubkey` do";

fn wireguard(doc: &Tree, context: Context, found: &mut Found) {
    plain(doc, context, found);
    if !is_wireguard_key(view::text(doc, &["privateKey"])) {
        let at = view::place(doc, &["privateKey"]);
        let message = "the private key of the WireGuard link is missing, or no key";
        found.refuse(at, "talos-wireguard-private-key", message, WIREGUARD_KEY_HELP);
    }
    if !(0..=65535).contains(&view::number(doc, &["listenPort"])) {
        let at = view::place(doc, &["listenPort"]);
        found.refuse(
            at,
            "talos-wireguard-port",
            "the port is not from 0 to 65535",
            "write `51820`",
        );
    }
    for peer in view::items(doc, &["peers"]) {
        if !is_wireguard_key(view::text(peer, &["publicKey"])) {
            let at = view::place(peer, &["publicKey"]);
            let message = "the public key of the peer is missing, or no key";
            found.refuse(at, "talos-wireguard-public-key", message, WIREGUARD_KEY_HELP);
        }
        let shared = view::text(peer, &["presharedKey"]);
        if !shared.is_empty() && !is_wireguard_key(shared) {
            let at = view::place(peer, &["presharedKey"]);
            let message = "the preshared key of the peer is no key";
            found.refuse(at, "talos-wireguard-preshared-key", message, WIREGUARD_KEY_HELP);
        }
        if view::duration(peer, &["persistentKeepaliveInterval"]) < 0 {
            let at = view::place(peer, &["persistentKeepaliveInterval"]);
            let message = "the interval is below zero";
            found.refuse(at, "talos-wireguard-keepalive", message, "write `25s`, or drop the line");
        }
    }
}

fn alias(doc: &Tree, context: Context, found: &mut Found) {
    let named = name::required(doc, "link alias", found);
    let alias = view::text(doc, &["name"]);
    if let Some((prefix, suffix)) = alias.split_once('%').filter(|_| named && context.minor >= 13)
        && (prefix.is_empty() || suffix != "d")
    {
        let at = view::place(doc, &["name"]);
        let message = format!("the alias `{alias}` has a `%` that is not the `%d` at its end");
        found.refuse(at, "talos-alias-pattern", message, "write `net%d` to number several links");
    }
    selector::required(doc, &["selector", "match"], Scope::Link, context, found);
}

/// Whether a text is a network, and not that of no address.
fn is_address_of_link(text: &str) -> bool {
    go::Prefix::parse(text).is_some_and(|prefix| !prefix.address.is_unspecified())
}

/// The addresses and routes that every link may have.
fn common(link: &Tree, found: &mut Found) {
    for address in view::items(link, &["addresses"]) {
        if !is_address_of_link(view::text(address, &["address"])) {
            let at = view::place(address, &["address"]);
            let message = "the address is missing, or is that of no host";
            let help = "write an address with the length of its prefix: `2001:db8::10/64`";
            found.refuse(at, "talos-link-address", message, help);
        }
    }
    for route in view::items(link, &["routes"]) {
        let destination = view::text(route, &["destination"]);
        if !destination.is_empty() && !is_address_of_link(destination) {
            let at = view::place(route, &["destination"]);
            let message = format!("`{destination}` is no destination that a route may have");
            let help = "drop `destination` for the default route";
            found.refuse(at, "talos-route-destination", message, help);
        }
        for (key, code) in [("gateway", "talos-route-gateway"), ("source", "talos-route-source")] {
            let text = view::text(route, &[key]);
            let good = go::parse_address(text).is_some_and(|address| !address.is_unspecified());
            if !text.is_empty() && !good {
                let at = view::place(route, &[key]);
                let message = format!("the {key} `{text}` of the route is no host's address");
                found.refuse(at, code, message, "write an address: `2001:db8::1`");
            }
        }
    }
}
