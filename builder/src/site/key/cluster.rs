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
            Shape::OneOrMore(&PATH),
            "Where kernel, initramfs and systemd-boot come from: an image, oci://ghcr.io/siderolabs/imager:v1.14.1, `oci-layout:` or `docker-archive:`; a release's files, `dir:`, `uki:`, `iso:`, `raw:`; or `https:`. What the first of several lacks is taken from the next. Paths start at this file's folder",
        ),
        key(
            "extensions",
            Shape::List(&SOURCE),
            "System extensions of every node: images, `tar:` archives, `dir:` folders",
        ),
        key(
            "artifacts",
            Shape::Map(&SOURCE),
            "Where the files of boards come from, by the name that the overlay has for them. If you say nothing, Sidero's own of the release",
        ),
        key(
            "registries",
            Shape::Map(&Shape::Part(&REGISTRY)),
            "How this program reaches registries and servers, by host",
        ),
        key(
            "signed_by",
            Shape::OneOf(&[Shape::Word(&["sidero"]), Shape::Part(&SIGNER)]),
            "Who must have signed what comes from outside",
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

/// A registry or server, as this program reaches it.
pub(in crate::site) const REGISTRY: Section = Section {
    name: "a registry",
    keys: &[
        key("mirrors", Shape::List(&SOME), "Hosts that are asked before it, in order"),
        key("plain_http", Shape::Flag, "Whether it is reached without TLS"),
    ],
};

/// `signed_by`.
pub(in crate::site) const SIGNER: Section = Section {
    name: "`signed_by`",
    keys: &[
        key("key", PATH, "The file with the public key of whoever signed, PEM"),
        key("identity", SOME, "Whom the certificate names: `*@siderolabs.com`; with `issuer`"),
        key("issuer", SOME, "Who vouched for that: `https://accounts.google.com`"),
    ],
};

/// Where a tree of files comes from.
pub(super) const SOURCE: Shape = SOME;

/// Kernel arguments.
pub(super) const KERNEL_ARGS: Shape = Shape::List(&Shape::Text("^[!#-~]+$"));

/// An address that may have the length of its network.
pub(super) const HOST: Shape = Shape::OneOf(&[ADDRESS, PREFIX]);
