//! What a node needs of others: the time, images, names; and lists in which things stand twice.
//!
//! In: a node. Out: findings.
//!
//! Source: Talos `pkg/machinery/constants/constants.go` (`DefaultNTPServer`),
//! `internal/app/machined/pkg/controllers/cri/image_cache_config.go`,
//! `pkg/machinery/config/merge/merge.go` (patches add to lists).
//!
//! Not here: routes (`address`).

use std::collections::BTreeMap;

use super::found::Findings;
use super::view::{LINK_KINDS, Node};
use crate::config::tree::{Data, Tree};

/// Looks at a node's services.
pub(super) fn check(node: &Node<'_>, found: &mut Findings) {
    time(node, found);
    image_cache(node, found);
    twice(node, found);
    for document in node.member.documents.iter() {
        if let Some(date) = date(document.tree()) {
            let text = "has a date without quotes in an object of Kubernetes";
            let help = "put it in quotes: Talos stops as soon as it copies such a config";
            found.node("date-bare", node, Some(date), text, help);
        }
    }
}

/// The first date in a value that has no type: Talos' `pkg/machinery/config/types/meta`,
/// `deepCopyUnstructured`, knows none.
fn date(tree: &Tree) -> Option<&Tree> {
    match tree.data() {
        Data::Time(_) => Some(tree),
        Data::List(items) => items.iter().find_map(date),
        Data::Map(entries) => entries.iter().find_map(|(_, value)| date(value)),
        _ => None,
    }
}

/// Registries that may be asked for nothing but what they have hint at a site without the Internet.
fn time(node: &Node<'_>, found: &mut Findings) {
    let older =
        node.main(&["machine", "registries", "mirrors"]).into_iter().flat_map(Tree::entries);
    let older = older.map(|(_, mirror)| mirror);
    let mut mirrors = node.member.documents.all("RegistryMirrorConfig").chain(older);
    let last = |mirror: &&Tree| mirror.get("skipFallback").and_then(Tree::bool) == Some(true);
    let Some(mirror) = mirrors.find(last) else { return };
    let newer = node.member.documents.get("TimeSyncConfig", None);
    let list = |tree: Option<&Tree>, path: &[&str]| {
        tree.and_then(|tree| tree.at(path)).is_some_and(|list| !list.items().is_empty())
    };
    let older = node.main(&["machine", "time"]);
    let is = |tree: Option<&Tree>, key, value| {
        tree.and_then(|tree| tree.get(key)).and_then(Tree::bool) == Some(value)
    };
    let given = list(newer, &["ntp", "servers"])
        || list(newer, &["ptp", "devices"])
        || list(older, &["servers"])
        || is(newer, "enabled", false)
        || is(older, "disabled", true);
    if !given {
        let text = "takes images from mirrors alone, and the time from `time.cloudflare.com`";
        let help = "name a time server that it reaches: without the time etcd never starts";
        found.node("time-servers", node, Some(mirror), text, help);
    }
}

fn image_cache(node: &Node<'_>, found: &mut Findings) {
    let main = ["machine", "features", "imageCache", "localEnabled"];
    let enabled = node.either("ImageCacheConfig", &["local", "enabled"], &main);
    let is_on = enabled.and_then(Tree::bool) == Some(true);
    let volume = node.member.documents.get("VolumeConfig", Some("IMAGECACHE"));
    match volume {
        Some(volume) if !is_on => {
            let text = "has a volume for cached images, and does not use them";
            let help = "add ImageCacheConfig with `local.enabled: true`; before Talos 1.14, set \
                        `machine.features.imageCache.localEnabled: true`";
            found.node("image-cache-off", node, Some(volume), text, help);
        }
        None if is_on => {
            let text = "uses cached images, and keeps none when its medium is gone";
            let help = "add a VolumeConfig named `IMAGECACHE` with a size that holds them all";
            found.node("image-cache-volume", node, enabled, text, help);
        }
        _ => {}
    }
}

/// Lists that patches add to: in the older document, and in kinds of documents.
const MAIN_LISTS: [&[&str]; 7] = [
    &["machine", "certSANs"],
    &["machine", "network", "nameservers"],
    &["machine", "network", "searchDomains"],
    &["machine", "time", "servers"],
    &["cluster", "apiServer", "certSANs"],
    &["cluster", "extraManifests"],
    &["machine", "kubelet", "nodeIP", "validSubnets"],
];
const LISTS: [(&str, &[&str]); 6] = [
    ("KubeAPIServerConfig", &["certExtraSANs"]),
    ("ResolverConfig", &["nameservers"]),
    ("ResolverConfig", &["searchDomains", "domains"]),
    ("TimeSyncConfig", &["ntp", "servers"]),
    ("KubeNodeConfig", &["nodeIP", "validSubnets"]),
    ("RegistryMirrorConfig", &["endpoints"]),
];

fn twice(node: &Node<'_>, found: &mut Findings) {
    let documents = node.member.documents;
    let main = MAIN_LISTS.iter().filter_map(|path| Some((*path, node.main(path)?)));
    let newer = LISTS.iter().flat_map(|(kind, path)| {
        documents.all(kind).filter_map(|tree| Some((*path, tree.at(path)?)))
    });
    let links = LINK_KINDS.iter().flat_map(|kind| documents.all(kind));
    let addresses: &[&str] = &["addresses"];
    let links = links.filter_map(|tree| Some((addresses, tree.get("addresses")?)));
    for (path, list) in main.chain(newer).chain(links) {
        let mut seen = BTreeMap::new();
        for (number, item) in (1..).zip(list.items()) {
            let key = ["address", "url"].iter().find_map(|key| item.text_at(&[key]));
            let Some(key) = key.or_else(|| item.text()) else { continue };
            // The item is not shown: URLs may have passwords.
            if let Some(first) = seen.insert(key, number) {
                let list = path.join(".");
                let text = format!("has the item {first} of `{list}` again as item {number}");
                let help = "drop it from a patch: patches add to lists, and what they add stays";
                found.node("list-twice", node, Some(item), text, help);
            }
        }
    }
}
