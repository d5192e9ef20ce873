//! Containers that Talos runs itself.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/container`.
//!
//! Not here: which container waits for which (`whole`).

use std::collections::BTreeSet;

use super::found::Found;
use super::image::{self, Pin};
use super::{Context, Rule, view};
use crate::config::leaf::amount;
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[("ContainerConfig", container)];

fn container(doc: &Tree, _: Context, found: &mut Found) {
    let name = view::text(doc, &["name"]);
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(known) {
        let at = view::place(doc, &["name"]);
        let message = "the container has no name of lower-case letters, digits and `-`";
        found.refuse(at, "talos-container-name", message, "write at most 63 of them");
    }
    let at = view::place(doc, &["image"]);
    match image::pin(view::text(doc, &["image"])) {
        None => {
            let message = "the container has no image, or one whose name cannot be read";
            found.refuse(at, "talos-container-image", message, "write `registry.example/app:v1`");
        }
        Some(Pin::Tag) => {
            let message = "the image of the container has no digest: it may change at a restart";
            found.warn(at, "talos-container-digest", message, "add `@sha256:…`");
        }
        Some(Pin::Digest) => {}
    }
    for variable in view::items(doc, &["environment"]) {
        if !variable.text().is_some_and(|text| text.contains('=')) {
            let message = "an entry of the environment has no `=`";
            found.refuse(variable, "talos-container-environment", message, "write `KEY=value`");
        }
    }
    mounts(doc, found);
    security(doc, found);
    resources(doc, found);
    dependencies(doc, found);
}

fn absolute(tree: &Tree, path: &[&str], found: &mut Found) {
    let at = view::place(tree, path);
    let text = view::text(tree, path);
    if !text.starts_with('/') {
        let message = format!("`{}` is no path from the root", path.join("."));
        found.refuse(at, "talos-container-path", message, "begin it with `/`");
    }
}

const MOUNT_OPTIONS: [&str; 8] =
    ["ro", "rw", "noexec", "nosuid", "nodev", "noatime", "rbind", "rshared"];

fn mounts(doc: &Tree, found: &mut Found) {
    let mut destinations = BTreeSet::new();
    for mount in view::items(doc, &["mounts"]) {
        let kinds = ["userVolume", "tmpfs", "hostPath"];
        let mut given =
            kinds.iter().filter_map(|kind| Some((*kind, view::pointer(mount, &[kind])?)));
        let (Some((kind, what)), None) = (given.next(), given.next()) else {
            let message = "the mount is of no kind, or of several";
            let help = "keep one of `userVolume`, `tmpfs` and `hostPath`";
            found.refuse(mount, "talos-container-mount", message, help);
            continue;
        };
        if kind == "userVolume" && view::text(what, &["name"]).is_empty() {
            let message = "the mount names no volume";
            found.refuse(what, "talos-container-volume", message, "name a user volume in `name`");
        }
        if kind == "hostPath" {
            absolute(what, &["source"], found);
        }
        absolute(what, &["destination"], found);
        let options: Vec<&str> =
            view::items(what, &["options"]).iter().filter_map(Tree::text).collect();
        let unknown = options.iter().any(|option| !MOUNT_OPTIONS.contains(option));
        if unknown || (options.contains(&"ro") && options.contains(&"rw")) {
            let at = view::place(what, &["options"]);
            let message = "an option of the mount is unknown, or it is both `ro` and `rw`";
            let help = format!("keep to {}", MOUNT_OPTIONS.join(", "));
            found.refuse(at, "talos-container-option", message, help);
        }
        let destination = view::text(what, &["destination"]);
        if destination.starts_with('/') && !destinations.insert(destination) {
            let at = view::place(what, &["destination"]);
            let message = format!("two mounts have the destination `{destination}`");
            found.refuse(at, "talos-container-twice", message, "give each its own");
        }
    }
}

fn security(doc: &Tree, found: &mut Found) {
    let words = [
        (["security", "profile"], ["restricted", "privileged"], "talos-container-profile"),
        (["network", "mode"], ["none", "host"], "talos-container-network"),
    ];
    for (path, known, code) in words {
        let text = view::text(doc, &path);
        if !text.is_empty() && !known.contains(&text) {
            let message = format!("`{}` has no value that Talos knows", path.join("."));
            let help = format!("write `{}` or `{}`", known[0], known[1]);
            found.refuse(view::place(doc, &path), code, message, help);
        }
    }
    let list = |key| view::items(doc, &["security", "capabilities", key]);
    for item in list("add").iter().chain(list("drop")) {
        let name = item.text().unwrap_or_default();
        let known = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let all = name == "ALL" && list("add").iter().any(|added| std::ptr::eq(added, item));
        let both = list("add").contains(item) && list("drop").contains(item);
        if name.is_empty() || !known || name.starts_with("CAP_") || all || both {
            let message = "a capability has no name that may stand there";
            let help = "write `NET_ADMIN`, without `CAP_`, once; for all, `profile: privileged`";
            found.refuse(item, "talos-container-capability", message, help);
        }
    }
    for key in ["uid", "gid"] {
        if view::number(doc, &["runAs", key]) < 0 {
            let at = view::place(doc, &["runAs", key]);
            let message = format!("`runAs.{key}` is below zero");
            found.refuse(at, "talos-negative", message, "drop the sign, or the line");
        }
    }
}

fn resources(doc: &Tree, found: &mut Found) {
    let memory = view::text(doc, &["resources", "limits", "memory"]);
    if !memory.is_empty() && amount::bytes(memory).is_none() {
        let at = view::place(doc, &["resources", "limits", "memory"]);
        let message = "the limit of memory is no size";
        found.refuse(at, "talos-container-memory", message, "write `512MiB`");
    }
    let cpu = view::text(doc, &["resources", "limits", "cpu"]);
    let count = cpu.strip_suffix('m').filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let count = count.and_then(|text| text.parse::<u64>().ok());
    if !cpu.is_empty() && count.is_none_or(|count| count == 0) {
        let at = view::place(doc, &["resources", "limits", "cpu"]);
        let message = "the limit of the processor is not in thousandths";
        found.refuse(at, "talos-container-cpu", message, "write `1500m` for one and a half");
    }
}

const NETWORK_CONDITIONS: [&str; 4] = ["addresses", "connectivity", "hostname", "etcfiles"];

fn dependencies(doc: &Tree, found: &mut Found) {
    for path in view::items(doc, &["dependsOn", "paths"]) {
        absolute(path, &[], found);
    }
    for condition in view::items(doc, &["dependsOn", "networks"]) {
        if !condition.text().is_some_and(|text| NETWORK_CONDITIONS.contains(&text)) {
            let message = "the container waits for a state of the network that there is not";
            let help = format!("keep to {}", NETWORK_CONDITIONS.join(", "));
            found.refuse(condition, "talos-container-condition", message, help);
        }
    }
    for other in view::items(doc, &["dependsOn", "containers"]) {
        let other_name = other.text().unwrap_or_default();
        if other_name.is_empty() || other_name == view::text(doc, &["name"]) {
            let message = "the container waits for itself, or for one without a name";
            found.refuse(other, "talos-container-itself", message, "name another");
        }
    }
}
