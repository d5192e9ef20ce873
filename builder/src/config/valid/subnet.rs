//! The networks of pods and services.
//!
//! In: one KubeNetworkConfig. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/k8s/network.go`; the limits are those of
//! kube-controller-manager and kube-apiserver, which do not start above them.
//!
//! Not here: the networks of the document of machine and cluster, which Talos does not check.

use super::found::Found;
use super::go::{Prefix, width};
use super::{Context, view};
use crate::config::tree::Tree;

/// The most bits of a network of services that tell hosts apart.
const MAX_SERVICE_BITS: u32 = 20;

/// The most bits between the network of all pods and that of one node's.
const MAX_NODE_BITS: u32 = 16;

/// The fewest bits of any network that tell hosts apart.
const MIN_HOST_BITS: u32 = 4;

/// The length of a node's prefix, if it is one.
fn node_mask(doc: &Tree, key: &str, default: u32, max: u32, found: &mut Found) -> Option<u32> {
    let number = view::number(doc, &[key]);
    let mask = u32::try_from(number).ok().filter(|mask| *mask <= max);
    if mask.is_none() {
        let message = format!("`{key}` is not from 1 to {max}");
        found.refuse(view::place(doc, &[key]), "talos-node-mask", message, "drop the line");
    }
    mask.map(|mask| if mask == 0 { default } else { mask })
}

pub(super) fn check(doc: &Tree, _: Context, found: &mut Found) {
    let v4 = node_mask(doc, "nodeCIDRMaskSizeIPv4", 24, 32, found);
    let v6 = node_mask(doc, "nodeCIDRMaskSizeIPv6", 64, 128, found);
    subnets(doc, "podSubnets", found, |subnet| {
        let mask = (if subnet.address.is_ipv4() { v4 } else { v6 })?;
        match mask.checked_sub(subnet.bits) {
            None => Some(format!("is smaller than a node's share of it, a /{mask}")),
            Some(bits) if bits > MAX_NODE_BITS => Some(format!(
                "is more than {MAX_NODE_BITS} bits larger than a node's share of it, a /{mask}"
            )),
            Some(_) => None,
        }
    });
    subnets(doc, "serviceSubnets", found, |subnet| {
        let least = width(subnet.address) - MAX_SERVICE_BITS;
        (subnet.bits < least).then(|| format!("is larger than a /{least}"))
    });
    let count = |key: &str| view::items(doc, &[key]).len();
    if count("podSubnets") != count("serviceSubnets") {
        let at = view::place(doc, &["serviceSubnets"]);
        let message = "there are not as many networks of services as of pods";
        let help = "give one of each IP family that the cluster has to both";
        found.refuse(at, "talos-subnet-count", message, help);
    }
}

fn subnets(doc: &Tree, key: &str, found: &mut Found, limit: impl Fn(Prefix) -> Option<String>) {
    let at = view::place(doc, &[key]);
    let items = view::items(doc, &[key]);
    let mut families = Vec::new();
    for item in items {
        let text = item.text().unwrap_or_default();
        let problem = match Prefix::parse(text) {
            None => Some("is no network".to_owned()),
            Some(subnet) if !subnet.is_masked() => {
                Some("has bits set behind its prefix".to_owned())
            }
            Some(subnet) if subnet.host_bits() < MIN_HOST_BITS => Some("is too small".to_owned()),
            Some(subnet) => {
                families.push(subnet.address.is_ipv4());
                limit(subnet)
            }
        };
        if let Some(problem) = problem {
            let message = format!("`{text}` in `{key}` {problem}");
            let help = "write `10.244.0.0/16` and `fd00:10:244::/56` for pods, \
                        `10.96.0.0/12` and `fd00:10:96::/112` for services";
            found.refuse(item, "talos-subnet-size", message, help);
        }
    }
    let twice = families.len() == 2 && families[0] == families[1];
    if items.is_empty() || items.len() > 2 || twice {
        let message = format!("`{key}` has not one network, or one of each IP family");
        found.refuse(at, "talos-subnet-families", message, "write one, or an IPv4 and an IPv6 one");
    }
}
