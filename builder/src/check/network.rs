//! A node's links by MAC, and its routing daemon.
//!
//! In: a node. Out: findings.
//!
//! Source: Talos `pkg/machinery/cel/celenv/celenv.go` (`mac()` gives lower case),
//! `internal/app/machined/pkg/controllers/network/device_config.go` (a selector is compared with
//! lower case), `pkg/machinery/config/types/network/bgp.go` (a router's number is taken from the
//! first announced IPv4 address).
//!
//! Not here: MACs that two nodes have (`duplicate`).

use super::duplicate::selected_macs;
use super::found::Findings;
use super::view::Node;
use crate::config::facts::prefix::Family;
use crate::config::tree::Tree;

/// Looks at a node's links.
pub(super) fn check(node: &Node<'_>, found: &mut Findings) {
    for (mac, tree) in selected_macs(node) {
        // What Talos sets on a link is bytes; only what it looks for is compared as text.
        let is_set = node.member.documents.iter().any(|document| {
            document.tree().get("hardwareAddr").is_some_and(|own| std::ptr::eq(own, tree))
        });
        if !is_set && mac.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let text =
                format!("looks for the MAC `{mac}`, which no link has: Talos knows lower case");
            let help = format!("write `{}`", mac.to_ascii_lowercase());
            found.node("mac-case", node, Some(tree), text, help);
        }
    }
    routers(node, found);
}

/// A BGP speaker without a number never starts, and says so in one line of the log.
fn routers(node: &Node<'_>, found: &mut Findings) {
    for instance in node.member.documents.all("BGPInstanceConfig") {
        if instance.text_at(&["routerID"]).is_some() {
            continue;
        }
        let advertised = instance.get("advertise").into_iter().flat_map(Tree::items);
        let mut advertised = advertised.filter_map(Tree::text);
        let has_v4 = advertised.any(|name| {
            let links = node.links.iter().filter(|link| link.name == name);
            let mut addresses = links.clone().flat_map(|link| &link.addresses);
            addresses.any(|(address, _)| address.family() == Family::V4)
                || links.clone().any(|link| link.dhcp4)
        });
        if !has_v4 {
            let text = "has a BGP instance without a router ID, and announces no IPv4 address to \
                        take it from, so that it never starts";
            let help = "set `routerID` to an IPv4 address that no other router has; it need not \
                        be anybody's";
            found.node("bgp-router-id", node, Some(instance), text, help);
        }
    }
}
