//! The keys of nodes, and of what they have in common.
//!
//! In: nothing. Out: tables.
//!
//! Source: none, the file is ours.
//!
//! Not here: networks and disks (`network`, `storage`), and reading the values (`site::node`,
//! `site::facts`).

use super::cluster::{HOST, KERNEL_ARGS, SOURCE};
use super::network::{INTERFACE_KEY, LINK, MAC_KEY, NETWORK};
use super::storage::{ENCRYPTION, INSTALL, VOLUMES};
use super::{Key, PATCHES, PATH, SCALARS, SOME, Section, Shape, key, needed};

const PROFILE: Key = key(
    "profile",
    Shape::Profile,
    "The kind of medium, or a file of your own: ./mine.yaml. metal-iso if no one says",
);
const OVERLAYS: Key = key(
    "overlays",
    Shape::List(&Shape::Overlay),
    "Variations of medium and machine config; a node's come after the defaults'",
);
const ARGS: Key = key(
    "kernel_args",
    KERNEL_ARGS,
    "Kernel arguments to add, one an item; `-key` and `-key=value` take away",
);
const EXTENSIONS: Key = key(
    "extensions",
    Shape::List(&SOURCE),
    "System extensions besides those of `boot`: images, `tar:` archives, `dir:` folders; a node's come after the defaults'",
);
const EMBED: Key = key(
    "embed",
    Shape::WordOr("auto", &["auto", "addon", "initramfs", "volume", "none"]),
    "How the machine config gets into the medium",
);
const META: Key = key(
    "meta",
    Shape::Meta,
    "Values for Talos' META partition by their keys: 0x0a network, 0x0b download code, 0x0c to 0x0e your own, 0x0f UUID, 0x10 machine token",
);
const CONFIG_PATCHES: Key = key(
    "patches",
    PATCHES,
    "Patches of the machine config, after those of the cluster; a node's come after the defaults'",
);
const VALUES: Key = key("values", Shape::Map(&Shape::Any), "Values for overlays by their names");
const INSTALL_KEY: Key =
    key("install", Shape::Part(&INSTALL), "To which disk Talos installs itself, and how");
const LABELS: Key = key("labels", SCALARS, "Labels of the node in Kubernetes");
const ANNOTATIONS: Key = key("annotations", SCALARS, "Annotations of the node in Kubernetes");
const TAINTS: Key = key(
    "taints",
    SCALARS,
    "Taints of the node in Kubernetes: by key `VALUE:EFFECT`, or the effect alone",
);
const ENV: Key = key("env", SCALARS, "Environment variables of Talos' services");
const PROXY_KEY: Key = key("proxy", Shape::Part(&PROXY), "By whom the node reaches the outside");
const ROOTS: Key = key(
    "trusted_roots",
    Shape::Map(&PATH),
    "Further CAs that the node trusts: files of PEM, by a name for each",
);
const REGISTRIES_KEY: Key =
    key("registries", Shape::Part(&REGISTRIES), "Where the node's images come from");
const ENCRYPTION_KEY: Key =
    key("encryption", Shape::Part(&ENCRYPTION), "How Talos' own volumes are encrypted");

/// `defaults`.
pub(in crate::site) const DEFAULTS: Section = Section {
    name: "`defaults`",
    keys: &[
        PROFILE,
        OVERLAYS,
        ARGS,
        EXTENSIONS,
        EMBED,
        META,
        CONFIG_PATCHES,
        VALUES,
        INSTALL_KEY,
        LABELS,
        ANNOTATIONS,
        TAINTS,
        ENV,
        PROXY_KEY,
        ROOTS,
        REGISTRIES_KEY,
        ENCRYPTION_KEY,
        VOLUMES,
    ],
};

/// An item of `nodes`.
pub(in crate::site) const NODE: Section = Section {
    name: "a node",
    keys: &[
        needed(
            "name",
            Shape::Text("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"),
            "The machine's name, and that of its files",
        ),
        needed("role", Shape::Word(&["controlplane", "worker"]), "What it does in the cluster"),
        key(
            "config",
            PATH,
            "The file with its ready machine config, from this file's folder. Without one it is made of the cluster's secrets and of what the node says",
        ),
        PROFILE,
        OVERLAYS,
        ARGS,
        EXTENSIONS,
        EMBED,
        META,
        CONFIG_PATCHES,
        VALUES,
        key(
            "hostname",
            Shape::Text("^[A-Za-z0-9.-]{1,253}$"),
            "Its host name with a domain. Its name if you say nothing",
        ),
        MAC_KEY,
        INTERFACE_KEY,
        key(
            "address",
            Shape::OneOrMore(&HOST),
            "Its addresses; without a length they take that of the network's prefix",
        ),
        key("mtu", Shape::Number, "The largest packet in bytes"),
        key(
            "links",
            Shape::List(&Shape::Part(&LINK)),
            "Its links, where it has more than one, or bonds or VLANs",
        ),
        key("network", Shape::Part(&NETWORK), "Its own network; each key goes before the site's"),
        INSTALL_KEY,
        LABELS,
        ANNOTATIONS,
        TAINTS,
        ENV,
        PROXY_KEY,
        ROOTS,
        REGISTRIES_KEY,
        ENCRYPTION_KEY,
        VOLUMES,
    ],
};

/// The keys of a node of which its machine config is made.
pub(in crate::site) const FACTS: [&str; 17] = [
    "hostname",
    "mac",
    "interface",
    "address",
    "mtu",
    "links",
    "network",
    "install",
    "labels",
    "annotations",
    "taints",
    "env",
    "proxy",
    "trusted_roots",
    "registries",
    "encryption",
    "volumes",
];

/// `proxy`.
pub(in crate::site) const PROXY: Section = Section {
    name: "`proxy`",
    keys: &[
        key("http", SOME, "The proxy's URL for http"),
        key("https", SOME, "The proxy's URL for https"),
        key(
            "no_proxy",
            Shape::List(&SOME),
            "Hosts, domains, addresses and networks that are reached without",
        ),
    ],
};

/// `registries`.
pub(in crate::site) const REGISTRIES: Section = Section {
    name: "`registries`",
    keys: &[
        key(
            "mirrors",
            Shape::Map(&Shape::Part(&MIRROR)),
            "Mirrors by the registry's host; `*` is any",
        ),
        key("auth", Shape::Map(&Shape::Part(&AUTH)), "How to sign in, by the registry's host"),
        key("tls", Shape::Map(&Shape::Part(&TLS)), "How to trust a registry, by its host"),
    ],
};

/// The mirrors of a registry.
pub(in crate::site) const MIRROR: Section = Section {
    name: "a mirror",
    keys: &[
        key(
            "endpoints",
            Shape::List(&Shape::OneOf(&[WEB, Shape::Part(&ENDPOINT)])),
            "The mirrors' URLs, the first one being asked first",
        ),
        key("skip_fallback", Shape::Flag, "Whether the registry itself is never asked"),
    ],
};

const WEB: Shape = Shape::Text("^https?://.+$");

/// An endpoint of a mirror.
pub(in crate::site) const ENDPOINT: Section = Section {
    name: "an endpoint",
    keys: &[
        needed("url", WEB, "The mirror's URL"),
        key("override_path", Shape::Flag, "Whether the URL's path is the whole one"),
    ],
};

/// How to sign in to a registry.
pub(in crate::site) const AUTH: Section = Section {
    name: "a sign-in",
    keys: &[
        key("username", SOME, "The name; with `password`"),
        key("password", SOME, "The password; with `username`"),
        key("auth", SOME, "Both in one: base64 of name:password"),
        key("identity_token", SOME, "A token"),
    ],
};

/// How to trust a registry.
pub(in crate::site) const TLS: Section = Section {
    name: "a registry's TLS",
    keys: &[
        key("ca", PATH, "The file with its CA, PEM"),
        key("cert", PATH, "The file with the certificate to show, PEM; with `key`"),
        key("key", PATH, "The file with the certificate's key, PEM; with `cert`"),
        key("insecure", Shape::Flag, "Whether any certificate is trusted"),
    ],
};
