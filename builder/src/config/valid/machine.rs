//! The document of machine and cluster: its machine.
//!
//! In: the document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_validation.go` (`Config.Validate`,
//! `KubeletConfig.Validate`), `v1alpha1_logging.go`, `pkg/machinery/config/machine`.
//!
//! Not here: the cluster (`cluster`), interfaces (`device`).

use std::collections::BTreeSet;

use super::found::Found;
use super::network::{kubespan_mtu, subnets};
use super::url::Url;
use super::{Context, Mode, block, cluster, device, go, k8s, name, plane, spec, view};
use crate::config::tree::Tree;

/// What a machine is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    ControlPlane,
    Worker,
    Unknown,
}

/// What a document of machine and cluster says that its machine is.
pub(super) fn role(main: &Tree) -> Role {
    match view::text(main, &["machine", "type"]) {
        "controlplane" | "init" => Role::ControlPlane,
        "worker" | "join" | "" => Role::Worker,
        _ => Role::Unknown,
    }
}

pub(super) fn check(main: &Tree, context: Context, found: &mut Found) {
    let Some(machine) = view::pointer(main, &["machine"]) else {
        let message = "the document has no `machine` section";
        return found.refuse(main, "talos-machine", message, "add `machine` with `type` and `ca`");
    };
    let role = role(main);
    kind(machine, role, found);
    cluster::check(main, role, context, found);
    if context.mode == Mode::Metal {
        install(machine, context, found);
    }
    extensions(machine, found);
    features(main, machine, role, context, found);
    authority(machine, role, found);
    disks(machine, found);
    system_encryption(machine, found);
    logging(machine, found);
    deprecated(machine, context, found);
    name::node(machine, ["nodeLabels", "nodeAnnotations", "nodeTaints"], found);
    if view::pointer(machine, &["network"]).is_some() {
        device::check(machine, role, found);
    }
    kubespan(main, context, found);
    subnets(machine, &["kubelet", "nodeIP", "validSubnets"], "subnet of the node's address", found);
    if let Some(kubelet) = view::pointer(machine, &["kubelet"]) {
        plane::kubelet_fields(kubelet, "extraConfig", found);
    }
    if view::is_off(main, &["persist"]) {
        let at = view::place(main, &["persist"]);
        found.refuse(at, "talos-persist", "`persist` is off", "drop the line");
    }
    spec::check(machine, "baseRuntimeSpecOverrides", found);
}

fn kind(machine: &Tree, role: Role, found: &mut Found) {
    let kind = view::text(machine, &["type"]);
    let at = view::place(machine, &["type"]);
    if role == Role::Unknown {
        let message = format!("Talos has no machines of type `{kind}`");
        let help = "write `controlplane` or `worker`";
        found.refuse(at, "talos-machine-type", message, help);
    } else if role == Role::Worker && kind != "worker" {
        let message = "the machine is a worker, and does not say so in full";
        found.warn(at, "talos-main-machine-type", message, "write `type: worker`");
    }
}

fn install(machine: &Tree, context: Context, found: &mut Found) {
    let Some(install) = view::pointer(machine, &["install"]) else {
        if context.minor < 14 {
            let message = "the machine has no `install` section, which Talos wants on metal";
            let help = "add `machine.install` with `disk: /dev/sda`";
            found.refuse(machine, "talos-install", message, help);
        }
        return;
    };
    let selector = view::pointer(install, &["diskSelector"]);
    let kind = view::text(install, &["diskSelector", "type"]);
    let named = !view::text(install, &["diskSelector", "name"]).is_empty();
    if let Some(at) =
        selector.filter(|_| named || !matches!(kind, "" | "nvme" | "sd" | "hdd" | "ssd"))
    {
        let message = "the selector of the disk has a `name`, or a type that Talos does not know";
        let help = "drop `name`; write `type: ssd`, `hdd`, `nvme` or `sd`";
        found.refuse(at, "talos-install-selector", message, help);
    }
    if selector.is_none() && view::text(install, &["disk"]).is_empty() {
        let message = "the `install` section says nothing of a disk";
        found.refuse(install, "talos-install-disk", message, "add `disk: /dev/sda`");
    }
    if view::is_set(install, &["extraKernelArgs"]) && view::is_on(install, &["grubUseUKICmdline"]) {
        let at = view::place(install, &["extraKernelArgs"]);
        let message = "`extraKernelArgs` have no effect with `grubUseUKICmdline: true`";
        let help = "drop one; with the latter, the arguments are those of the image";
        found.refuse(at, "talos-install-arguments", message, help);
    }
}

fn extensions(machine: &Tree, found: &mut Found) {
    let extensions = view::items(machine, &["install", "extensions"]);
    let mut seen = BTreeSet::new();
    for extension in extensions {
        if !seen.insert(view::text(extension, &["image"])) {
            let message = "a system extension is listed twice";
            found.refuse(extension, "talos-install-extension", message, "drop one of them");
        }
    }
    if !extensions.is_empty() {
        let at = view::place(machine, &["install", "extensions"]);
        let message = "Talos no longer installs extensions that the config lists";
        let help = "take boot assets and an installer that have them, from an Image Factory";
        found.warn(at, "talos-main-extensions", message, help);
    }
}

fn features(main: &Tree, machine: &Tree, role: Role, context: Context, found: &mut Found) {
    let dns = ["features", "hostDNS"];
    let at = view::place(machine, &dns);
    let on = |key| view::is_on(machine, &["features", "hostDNS", key]);
    let (enabled, forward) = (on("enabled"), on("forwardKubeDNSToHost"));
    let help = "write `enabled: true` and `forwardKubeDNSToHost: true`";
    if context.mode == Mode::Container && context.minor < 14 && !(enabled && forward) {
        let message = "in a container, Talos needs its own DNS on the host";
        found.refuse(at, "talos-container-mode-dns", message, help);
    }
    if context.minor >= 13 && forward && !enabled {
        let message = "`forwardKubeDNSToHost` is on, and `hostDNS.enabled` is not";
        found.refuse(at, "talos-host-dns", message, help);
    }
    let access = ["features", "kubernetesTalosAPIAccess"];
    let access = view::place(machine, &access);
    if view::is_on(machine, &["features", "kubernetesTalosAPIAccess", "enabled"]) {
        if role != Role::ControlPlane {
            let message = "access to Talos' API from Kubernetes is for control planes alone";
            found.refuse(access, "talos-api-access", message, "drop it from workers");
        }
        k8s::roles(view::items(access, &["allowedRoles"]), context, found);
    }
    let algorithm = view::text(main, &["machine", "features", "nodeAddressSortAlgorithm"]);
    if !algorithm.is_empty() && !matches!(algorithm.to_lowercase().as_str(), "v1" | "v2") {
        let at = view::place(machine, &["features", "nodeAddressSortAlgorithm"]);
        let message = "Talos has no such way to sort addresses";
        found.refuse(at, "talos-address-sort", message, "write `v2`");
    }
}

/// The CA of Talos' API: whole on control planes, without its key on workers.
fn authority(machine: &Tree, role: Role, found: &mut Found) {
    let ca = view::pointer(machine, &["ca"]);
    let accepted = view::is_set(machine, &["acceptedCAs"]);
    let at = ca.unwrap_or(machine);
    let (cert, key) =
        (view::is_set(machine, &["ca", "crt"]), view::is_set(machine, &["ca", "key"]));
    if ca.is_none() && !accepted {
        let message = "the machine has no CA of Talos' API";
        found.refuse(at, "talos-machine-ca", message, "add `machine.ca` from the secrets bundle");
    }
    if role == Role::ControlPlane && !key && (ca.is_some() || accepted) {
        let message = "a control plane has no key of the CA of Talos' API";
        found.refuse(at, "talos-machine-ca-key", message, "add `machine.ca.key`");
    }
    if role == Role::Worker && key {
        let message = "a worker has the key of the CA of Talos' API";
        found.refuse(at, "talos-worker-ca-key", message, "empty `machine.ca.key`");
    }
    if role == Role::Worker && ca.is_some() && !cert && !accepted {
        let message = "a worker has no certificate of the CA of Talos' API";
        found.refuse(at, "talos-machine-ca", message, "add `machine.ca.crt`");
    }
}

fn disks(machine: &Tree, found: &mut Found) {
    for disk in view::items(machine, &["disks"]) {
        let partitions = view::items(disk, &["partitions"]);
        let before_last = partitions.split_last().map_or(&[][..], |(_, before)| before);
        for partition in before_last {
            let size = partition.get("size").and_then(block::size);
            if size.unwrap_or_default() == 0 {
                let message = "a partition without a size, which takes all room, is not the last";
                found.refuse(partition, "talos-disk-partition", message, "give it a `size`");
            }
        }
    }
}

fn system_encryption(machine: &Tree, found: &mut Found) {
    for key in ["state", "ephemeral"] {
        if let Some(encryption) = view::pointer(machine, &["systemDiskEncryption", key]) {
            block::keys(encryption, &["static", "nodeID", "kms", "tpm"], found);
        }
    }
}

fn logging(machine: &Tree, found: &mut Found) {
    for destination in view::items(machine, &["logging", "destinations"]) {
        let url = Url::parse(view::text(destination, &["endpoint"])).unwrap_or_default();
        let known = matches!(url.scheme.to_lowercase().as_str(), "tcp" | "udp");
        if !known || url.host.is_empty() {
            let at = view::place(destination, &["endpoint"]);
            let message = "the destination of logs has no URL of `tcp` or `udp` with a host";
            found.refuse(at, "talos-logging-endpoint", message, "write `udp://host.example:514`");
        }
        if view::text(destination, &["format"]) != "json_lines" {
            let at = view::place(destination, &["format"]);
            let message = "Talos has no such format of logs";
            found.refuse(at, "talos-logging-format", message, "write `format: json_lines`");
        }
    }
}

fn deprecated(machine: &Tree, context: Context, found: &mut Found) {
    if context.minor < 14 {
        return;
    }
    let sections = [
        ("files", "talos-main-files", "write an EtcFileConfig or CRICustomizationConfig"),
        ("baseRuntimeSpecOverrides", "talos-main-runtime-spec", "write a CRIBaseRuntimeSpecConfig"),
    ];
    for (key, code, help) in sections {
        if view::is_set(machine, &[key]) {
            let message = format!("`machine.{key}` is on its way out");
            found.warn(view::place(machine, &[key]), code, message, help);
        }
    }
}

fn kubespan(main: &Tree, context: Context, found: &mut Found) {
    let path = ["machine", "network", "kubespan"];
    let Some(kubespan) = view::pointer(main, &path).filter(|at| view::is_on(at, &["enabled"]))
    else {
        return;
    };
    if view::number(kubespan, &["mtu"]) != 0 {
        kubespan_mtu(kubespan, &["mtu"], found);
    }
    subnets(kubespan, &["filters", "endpoints"], "filter of KubeSpan", found);
    for item in view::items(kubespan, &["filters", "excludeAdvertisedNetworks"]) {
        if item.text().and_then(go::Prefix::parse).is_none() {
            let message = "a network that KubeSpan is to leave out is none";
            found.refuse(item, "talos-subnet", message, "write `10.0.0.0/8`");
        }
    }
    let complete = view::is_on(main, &["cluster", "discovery", "enabled"])
        && !view::text(main, &["cluster", "id"]).is_empty()
        && !view::text(main, &["cluster", "secret"]).is_empty();
    if context.minor < 14 && !complete {
        let message = "KubeSpan is on without discovery, or without the cluster's ID and secret";
        let help = "write `cluster.discovery.enabled: true`, and keep `cluster.id` and `.secret`";
        found.refuse(kubespan, "talos-kubespan-discovery", message, help);
    }
}
