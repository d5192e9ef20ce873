//! The keys of what all nodes share: the cluster, and what is booted.
//!
//! In: nothing. Out: tables.
//!
//! Source: none, the file is ours.
//!
//! Not here: reading the values (`site::boot`).

use super::network::{ADDRESS, PREFIX};
use super::{PATCHES, PATH, SOME, Section, Shape, key, needed};

const RELEASE: Shape = Shape::Text(r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$");

/// A name of DNS.
const DOMAIN: Shape = Shape::Text("^[A-Za-z0-9.-]{1,253}$");

/// `cluster`.
pub(in crate::site) const CLUSTER: Section = Section {
    name: "`cluster`",
    keys: &[
        needed("name", DOMAIN, "The cluster's name"),
        needed(
            "endpoint",
            Shape::Text("^https://[^/@?#]+/?$"),
            "Where the Kubernetes API is reached: https, a host, perhaps a port. An IPv6 address stands in brackets",
        ),
        needed(
            "talos",
            RELEASE,
            "The release of Talos, as its tag: v1.13.9. Machine configs are embedded since v1.12.0",
        ),
        key(
            "kubernetes",
            RELEASE,
            "The version of Kubernetes that the nodes run. If you say nothing, the one that this Talos ships with",
        ),
        key(
            "secrets",
            PATH,
            "The file with the cluster's secrets bundle, as `talosctl gen secrets` writes it; SOPS and age are opened. Of it the configs are made of the nodes that have none",
        ),
        key(
            "patches",
            PATCHES,
            "Patches of all nodes' machine configs, in order: files, or the patches themselves, as talosctl takes them",
        ),
        key(
            "controlplane",
            Shape::Part(&ROLE),
            "What the machine configs of control planes have besides",
        ),
        key("worker", Shape::Part(&ROLE), "What the machine configs of workers have besides"),
        key(
            "cert_sans",
            Shape::List(&SOME),
            "Names and addresses that certificates are to hold, besides the endpoint's and the nodes' own",
        ),
        key("dns_domain", DOMAIN, "The domain of services: cluster.local if you say nothing"),
        key(
            "pod_subnets",
            Shape::List(&PREFIX),
            "The networks of pods, at most one of each family. If you say nothing, Talos' own for the nodes' families",
        ),
        key("service_subnets", Shape::List(&PREFIX), "The networks of services, likewise"),
        key(
            "installer",
            SOME,
            "The image that installs Talos. If you say nothing, that of the release",
        ),
        key(
            "discovery",
            Shape::Flag,
            "Whether nodes find each other by a discovery service: true if you say nothing",
        ),
        key(
            "kubespan",
            Shape::Flag,
            "Whether nodes talk to each other through KubeSpan: false if you say nothing",
        ),
    ],
};

/// `controlplane` and `worker` in `cluster`.
pub(in crate::site) const ROLE: Section = Section {
    name: "a role",
    keys: &[key(
        "patches",
        PATCHES,
        "Patches of the machine configs of this role, after those of all nodes",
    )],
};

/// `boot`.
pub(in crate::site) const BOOT: Section = Section {
    name: "`boot`",
    keys: &[
        needed(
            "assets",
            PATH,
            "Where kernel, initramfs and systemd-boot come from: `dir:` and a folder of Talos' files, or `uki:` and a UKI. Paths start at this file's folder",
        ),
        key("arch", Shape::WordOr("amd64", &["amd64", "arm64"]), "The machines' processors"),
        key("grub", PATH, "A folder with GRUB's i386-pc files, for media that start under a BIOS"),
        key(
            "kernel_args",
            KERNEL_ARGS,
            "Kernel arguments of every node, one an item; `-key` and `-key=value` take away",
        ),
    ],
};

/// Kernel arguments.
pub(super) const KERNEL_ARGS: Shape = Shape::List(&Shape::Text("^[!#-~]+$"));

/// An address that may have the length of its network.
pub(super) const HOST: Shape = Shape::OneOf(&[ADDRESS, PREFIX]);
