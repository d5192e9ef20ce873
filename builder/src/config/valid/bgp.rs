//! Instances of BGP: neighbours, and routes that one takes from another.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/network/bgp.go`.
//!
//! Not here: whether the instances that are named exist; Talos does not ask either.

use std::collections::BTreeSet;

use super::found::Found;
use super::go::Prefix;
use super::network::not_negative;
use super::{Context, Rule, go, name, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[("BGPInstanceConfig", instance)];

fn instance(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "BGP instance", found);
    if view::number(doc, &["localASN"]) == 0 {
        let message = "the BGP instance has no AS number";
        found.refuse(doc, "talos-bgp-asn", message, "add `localASN`: 64512 to 65534 are private");
    }
    let router = view::text(doc, &["routerID"]);
    if go::parse_address(router).is_some_and(|router| !router.is_ipv4()) {
        let at = view::place(doc, &["routerID"]);
        let message = format!("the router ID `{router}` is no IPv4 address");
        found.refuse(at, "talos-bgp-router-id", message, "write one of the form `192.0.2.1`");
    }
    neighbors(doc, found);
    imports(doc, found);
}

fn neighbors(doc: &Tree, found: &mut Found) {
    let neighbors = view::items(doc, &["neighbors"]);
    if neighbors.is_empty() {
        let at = view::place(doc, &["neighbors"]);
        let message = "the BGP instance has no neighbors";
        found.warn(at, "talos-bgp-neighbors", message, "add them under `neighbors`");
    }
    let mut seen = BTreeSet::new();
    for neighbor in neighbors {
        not_negative(neighbor, &["holdTime"], found);
        if let Some(bfd) = view::pointer(neighbor, &["bfd"]) {
            if view::is_set(doc, &["vrf"]) {
                let message = "BFD does not work in an instance that is bound to a VRF";
                found.refuse(bfd, "talos-bgp-bfd", message, "drop `bfd`, or `vrf`");
            }
            not_negative(bfd, &["transmitInterval"], found);
            not_negative(bfd, &["receiveInterval"], found);
        }
        let (address, link) = (view::text(neighbor, &["address"]), view::text(neighbor, &["link"]));
        if address.is_empty() == link.is_empty() {
            let message = "the neighbor has neither an address nor a link, or both";
            found.refuse(
                neighbor,
                "talos-bgp-neighbor",
                message,
                "keep one of `address` and `link`",
            );
            continue;
        }
        let key = go::parse_address(address).map_or_else(|| link.to_owned(), |a| a.to_string());
        if !seen.insert(key) {
            let message = "the neighbor is listed twice";
            found.refuse(neighbor, "talos-bgp-neighbor-twice", message, "drop one of them");
        }
    }
}

fn imports(doc: &Tree, found: &mut Found) {
    let mut sources = BTreeSet::new();
    let mut before: Vec<Prefix> = Vec::new();
    for import in view::items(doc, &["importRoutes"]) {
        let source = view::text(import, &["bgpInstance"]);
        let at = view::place(import, &["bgpInstance"]);
        if source.is_empty() || source == view::text(doc, &["name"]) {
            let message = "routes are imported from no other BGP instance";
            found.refuse(at, "talos-bgp-import-source", message, "name another in `bgpInstance`");
        }
        if !source.is_empty() && !sources.insert(source) {
            let message = format!("routes are imported from `{source}` twice");
            found.refuse(at, "talos-bgp-import-twice", message, "put all prefixes in one entry");
        }
        let items = view::items(import, &["prefixes"]);
        if items.is_empty() {
            let message = "the import has no prefixes";
            found.refuse(import, "talos-bgp-import-prefix", message, "add them under `prefixes`");
        }
        for item in items {
            let text = item.text().unwrap_or_default();
            let Some(prefix) = Prefix::parse(text).filter(|prefix| prefix.is_masked()) else {
                let message = format!("`{text}` is no network, or has bits set behind its prefix");
                found.refuse(item, "talos-bgp-import-prefix", message, "write `10.0.0.0/8`");
                continue;
            };
            if before.iter().any(|other| other.overlaps(prefix)) {
                let message = format!("`{text}` overlaps a prefix that is listed before");
                found.refuse(item, "talos-bgp-import-overlap", message, "drop one of them");
            }
            before.push(prefix);
        }
    }
}
