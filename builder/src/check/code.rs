//! The findings about a site, by their codes: how heavy each is, and what it means.
//!
//! In: a code. Out: its [`Code`].
//!
//! Source: none; each check cites its own.
//!
//! Not here: the codes of other rooms, which say what cannot be built at all.

use crate::report::Severity;

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its stable name.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it may be silenced though it is an error: it is a matter of judgement, or of what
    /// is outside the configs.
    pub judged: bool,
    /// What it means, in a line.
    pub about: &'static str,
}

impl Code {
    /// Whether a user may do without it.
    pub fn is_silenceable(&self) -> bool {
        self.judged || self.severity == Severity::Warning
    }
}

/// Finds a code by its name.
pub fn find(name: &str) -> Option<&'static Code> {
    let at = CODES.binary_search_by(|code| code.name.cmp(name)).ok()?;
    Some(&CODES[at])
}

const fn error(name: &'static str, about: &'static str) -> Code {
    Code { name, severity: Severity::Error, judged: false, about }
}

const fn judged(name: &'static str, about: &'static str) -> Code {
    Code { name, severity: Severity::Error, judged: true, about }
}

const fn warning(name: &'static str, about: &'static str) -> Code {
    Code { name, severity: Severity::Warning, judged: false, about }
}

/// All codes, by name.
pub const CODES: &[Code] = &[
    error("bgp-router-id", "a BGP instance has no router ID and no IPv4 address to take it from"),
    error("ca-expired", "a CA's certificate has expired"),
    warning("ca-expires-soon", "a CA's certificate expires within 90 days"),
    error("ca-foreign-key", "a CA's key does not belong to its certificate"),
    warning("ca-not-yet-valid", "a CA's certificate is not valid yet"),
    judged("cni-two", "Flannel is kept beside another network of pods"),
    error("date-bare", "an object of Kubernetes has a date without quotes, over which Talos stops"),
    warning("default-route-missing", "a node with addresses of its own has no default route"),
    warning("default-route-twice", "a node has two default routes of one metric"),
    warning("dhcp-lost", "links are described, which stops DHCP, and none gets an address"),
    judged("dns-masquerade", "DNS is forwarded to the host under Cilium's BPF masquerading"),
    warning("endpoint-nobody", "the cluster's endpoint is an address that no control plane has"),
    error("endpoint-url", "the cluster's endpoint is no URL of https"),
    error("endpoint-worker", "the cluster's endpoint is a worker"),
    warning("file-mode", "a file's mode is written in decimal"),
    error("fleet-address", "two nodes have one address"),
    error("fleet-cluster-name", "a config is of another cluster"),
    error("fleet-endpoint", "a config has another endpoint than the site"),
    error("fleet-hostname", "two nodes have one host name"),
    error("fleet-mac", "two nodes look for one MAC"),
    error("fleet-role", "a config has another role than the site"),
    judged("gateway-network", "a gateway is in no network of its link"),
    warning("image-cache-off", "a volume for cached images is there, and the cache is off"),
    warning("image-cache-volume", "the image cache is on, and no volume keeps it"),
    error("image-tag", "an image of Kubernetes has no tag with a version"),
    judged("install-ambiguous", "several disks match the selector to install by"),
    judged("install-bad-disk", "the disk to install on is on USB, read-only or for discs"),
    warning("install-disk-name", "the disk to install on is named by its number"),
    warning("install-loose", "the disk to install on is chosen by what several may have"),
    error("install-no-match", "no disk matches the selector to install by"),
    warning("install-none", "no disk is named to install on"),
    warning("install-usb", "the selector to install by may match the medium"),
    warning("install-wipe", "all of the disk is cleared before Talos is installed"),
    warning("installer-digest", "the installer's version cannot be told"),
    error("installer-gone", "the installer is named where there is none since Talos 1.14"),
    warning("installer-version", "the installer is of another release than the medium"),
    warning("iso-boot-order", "an ISO starts Talos from it again when it is installed"),
    error("kubernetes-skew", "parts of Kubernetes are too far apart"),
    error("kubernetes-unsupported", "Talos refuses the version of Kubernetes"),
    warning("kubernetes-version", "a part of Kubernetes is of another version than the site's"),
    warning("list-twice", "a list has an item twice"),
    error("mac-case", "a MAC to look for is in upper case, which never matches"),
    warning("manifest-variable", "a manifest has a variable that nothing replaces"),
    warning("mtu-octal", "an MTU was read in octal"),
    warning("planes-even", "the number of control planes is even"),
    warning("planes-many", "there are more than seven control planes"),
    warning(
        "planes-none",
        "there is no control plane: the site is workers for a cluster elsewhere",
    ),
    judged("proxy-two", "kube-proxy is kept beside Cilium in its place"),
    error("secrets-mixed", "nodes have secrets of different clusters"),
    error("selector-refused", "Talos refuses a selector of disks"),
    error("service-family", "a node has no address of the services' families"),
    warning("service-family-unsure", "a node's config has no address of a family of services"),
    error("subnet-differs", "nodes have different networks of pods or services"),
    error("subnet-families", "networks of pods and services are of unlike families"),
    error("subnet-overlap", "networks of pods, services or nodes overlap"),
    warning("time-servers", "images come from mirrors alone, and the time from the Internet"),
    error("vip-address", "a shared address is a node's own"),
    judged("vip-network", "a shared address is in no network of its link"),
    warning("vip-routed", "a shared address is on a link without neighbours"),
    error("vip-worker", "a worker has a shared address"),
    warning("volume-no-match", "no disk matches a volume's selector"),
    error("worker-key", "a worker holds a key that only control planes have"),
];
