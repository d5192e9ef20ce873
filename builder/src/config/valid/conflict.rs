//! What may not be set twice: here and there, or by two kinds of document.
//!
//! In: all documents. Out: findings.
//!
//! Source: Talos: each `V1Alpha1ConflictValidate` and `ConflictsWithKinds` under
//! `pkg/machinery/config/types`, and `New` in `pkg/machinery/config/container/container.go`.
//!
//! Not here: how to write the one as the other (`translate`).

use std::collections::BTreeMap;

use super::found::Found;
use super::{go, view};
use crate::config::documents::{Document, Documents};
use crate::config::leaf::amount;
use crate::config::tree::{Data, Tree};

/// When a place in the document of machine and cluster counts as set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// When it is there, be it empty.
    There,
    /// When it has another value than its type's zero.
    Set,
    /// When an item of the list is an address.
    Addresses,
}

/// The places that a kind of document takes the place of. Where a release does not have the kind,
/// its line does not count.
const PLACES: &[(&str, When, &[&[&str]])] = &[
    (
        "HostnameConfig",
        When::Set,
        &[&["machine", "network", "hostname"], &["machine", "features", "stableHostname"]],
    ),
    ("KubeSpanConfig", When::There, &[&["machine", "network", "kubespan"]]),
    ("ResolverConfig", When::There, &[&["machine", "network", "searchDomains"]]),
    ("ResolverConfig", When::Addresses, &[&["machine", "network", "nameservers"]]),
    ("ResolverConfig", When::Set, &[&["machine", "network", "disableSearchDomain"]]),
    (
        "TimeSyncConfig",
        When::Set,
        &[
            &["machine", "time", "disabled"],
            &["machine", "time", "servers"],
            &["machine", "time", "bootTimeout"],
        ],
    ),
    ("KubeAdmissionControlConfig", When::Set, &[&["cluster", "apiServer", "admissionControl"]]),
    ("KubeAuthorizerConfig", When::Set, &[&["cluster", "apiServer", "admissionControl"]]),
    ("KubeAggregatorCAConfig", When::There, &[&["cluster", "aggregatorCA"]]),
    ("KubeAPIServerConfig", When::There, &[&["cluster", "apiServer"]]),
    ("KubeAPIServerConfig", When::Set, &[&["cluster", "controlPlane", "localAPIServerPort"]]),
    ("KubeAPIServerCAConfig", When::There, &[&["cluster", "ca"]]),
    ("KubeAuditPolicyConfig", When::Set, &[&["cluster", "apiServer", "auditPolicy"]]),
    ("KubeClusterConfig", When::Set, &[&["cluster", "clusterName"]]),
    ("KubeClusterConfig", When::There, &[&["cluster", "controlPlane", "endpoint"]]),
    (
        "KubeControllerManagerConfig",
        When::There,
        &[&["cluster", "controllerManager"], &["machine", "controlPlane", "controllerManager"]],
    ),
    ("KubeCoreDNSConfig", When::There, &[&["cluster", "coreDNS"]]),
    ("KubeCredentialProviderConfig", When::There, &[&["machine", "kubelet"]]),
    ("KubeletConfig", When::There, &[&["machine", "kubelet"]]),
    (
        "KubeEtcdEncryptionConfig",
        When::Set,
        &[&["cluster", "secretboxEncryptionSecret"], &["cluster", "aescbcEncryptionSecret"]],
    ),
    ("KubeFlannelCNIConfig", When::There, &[&["cluster", "network"]]),
    ("KubeNetworkConfig", When::There, &[&["cluster", "network"]]),
    (
        "KubeNodeConfig",
        When::There,
        &[
            &["cluster", "allowSchedulingOnControlPlanes"],
            &["cluster", "allowSchedulingOnMasters"],
            &["machine", "kubelet", "skipNodeRegistration"],
            &["machine", "kubelet", "registerWithFQDN"],
            &["machine", "kubelet", "nodeIP"],
            &["machine", "nodeLabels"],
            &["machine", "nodeAnnotations"],
            &["machine", "nodeTaints"],
        ],
    ),
    ("KubePrismConfig", When::There, &[&["machine", "features", "kubePrism"]]),
    ("KubeProxyConfig", When::There, &[&["cluster", "proxy"]]),
    (
        "KubeSchedulerConfig",
        When::There,
        &[&["cluster", "scheduler"], &["machine", "controlPlane", "scheduler"]],
    ),
    ("KubeServiceAccountConfig", When::There, &[&["cluster", "serviceAccount"]]),
    (
        "KubeTalosAPIAccessConfig",
        When::There,
        &[&["machine", "features", "kubernetesTalosAPIAccess"]],
    ),
    ("CRIBaseRuntimeSpecConfig", When::There, &[&["machine", "baseRuntimeSpecOverrides"]]),
    ("ImageCacheConfig", When::There, &[&["machine", "features", "imageCache"]]),
    ("UnattendedInstallConfig", When::There, &[&["machine", "install"]]),
    ("DiscoveryIdentityConfig", When::Set, &[&["cluster", "id"], &["cluster", "secret"]]),
    ("DiscoveryServiceConfig", When::There, &[&["cluster", "discovery"]]),
];

/// Says what a document sets that the document of machine and cluster sets too.
pub(super) fn with_main(documents: &Documents, main: &Tree, found: &mut Found) {
    for document in documents.iter() {
        for (kind, when, paths) in PLACES.iter().filter(|(kind, ..)| *kind == document.kind()) {
            for path in *paths {
                if let Some(at) = view::pointer(main, path).filter(|at| counts(at, *when)) {
                    refuse(at, kind, path, found);
                }
            }
        }
        resolver(document, main, documents.schema.minor, found);
        volume(document, main, found);
    }
}

fn counts(at: &Tree, when: When) -> bool {
    match when {
        When::There => true,
        When::Set => match at.data() {
            Data::Text(text) if amount::duration(text) == Some(0) => false,
            _ => view::is_set(at, &[]),
        },
        When::Addresses => at
            .items()
            .iter()
            .any(|item| item.text().is_some_and(|t| go::parse_address(t).is_some())),
    }
}

fn refuse(at: &Tree, kind: &str, path: &[&str], found: &mut Found) {
    let path = path.join(".");
    let message = format!("`{path}` is set, and there is a {kind} too");
    let help = format!("drop `{path}`, or the document");
    found.refuse(at, "talos-conflict", message, help);
}

fn resolver(document: &Document, main: &Tree, minor: u32, found: &mut Found) {
    let path = ["machine", "features", "hostDNS"];
    let keys = ["enabled", "forwardKubeDNSToHost", "resolveMemberNames"];
    let set = |key: &&str| view::pointer(document.tree(), &["hostDNS", key]).is_some();
    if document.kind() == "ResolverConfig"
        && minor >= 14
        && keys.iter().any(set)
        && let Some(at) = view::pointer(main, &path)
    {
        refuse(at, "ResolverConfig", &path, found);
    }
}

fn volume(document: &Document, main: &Tree, found: &mut Found) {
    let key = match document.name() {
        "STATE" => "state",
        "EPHEMERAL" => "ephemeral",
        _ => return,
    };
    let path = ["machine", "systemDiskEncryption", key];
    let provider = view::text(document.tree(), &["encryption", "provider"]).to_lowercase();
    if document.kind() == "VolumeConfig"
        && !matches!(provider.as_str(), "" | "none")
        && let Some(at) = view::pointer(main, &path)
    {
        refuse(at, "VolumeConfig", &path, found);
    }
}

/// The kinds of documents of which no two may have one name.
const LINKS: &[&str] = &[
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "LinkConfig",
    "VethConfig",
    "VLANConfig",
    "VRFConfig",
    "WireguardConfig",
];
const GROUPS: [&[&str]; 3] =
    [LINKS, &["Layer2VIPConfig", "HCloudVIPConfig"], &["UserVolumeConfig", "ExistingVolumeConfig"]];

/// Says which two documents set up one link, one address or one volume.
pub(super) fn of_kinds(documents: &Documents, found: &mut Found) {
    let mut seen: BTreeMap<(usize, &str), &str> = BTreeMap::new();
    for document in documents.iter() {
        let group = GROUPS.iter().position(|kinds| kinds.contains(&document.kind()));
        let Some(group) = group else { continue };
        let peer = match document.kind() {
            "VethConfig" => document.tree().at(&["peer", "name"]).and_then(Tree::text),
            _ => None,
        };
        for name in [Some(document.name()), peer].into_iter().flatten() {
            let Some(other) = seen.insert((group, name), document.kind()) else { continue };
            let twins = other == document.kind() && peer.is_none() && other != "VethConfig";
            if !twins {
                let at = view::place(document.tree(), &["name"]);
                let message =
                    format!("`{name}` is set up by a {other} and by a {}", document.kind());
                found.refuse(at, "talos-same-name", message, "drop one, or rename it");
            }
        }
    }
}
