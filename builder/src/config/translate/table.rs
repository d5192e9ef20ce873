//! The fields that a document has one to one, those that stay, and those that are gone.
//!
//! In: a fragment. Out: its values where Talos 1.14 has them.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/v1alpha1/v1alpha1_types.go` (the older
//! fields), `pkg/machinery/config/types/{cluster,cri,k8s,network,runtime}/` (the documents).
//!
//! Not here: fields whose value has to be looked at (`machine`, `cluster`, `install`, `links`).

use super::output::{self, Output};
use crate::config::tree::Tree;

/// Where a field is in Talos 1.14.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// Where it was.
    Stays,
    /// In a document without a name, at a path.
    Same(&'static str, &'static str),
    /// There as the opposite.
    Not(&'static str, &'static str),
    /// Nowhere: Talos always does what one of the values says. What to do about the other.
    Always(bool, &'static str),
    /// Nowhere: it has had no effect for long.
    Gone,
    /// Nowhere that is certain: why, and the new form.
    Refused(&'static str, &'static str),
}

use To::{Always, Gone, Not, Refused, Same, Stays};

const EXTRA_VOLUMES: To = Refused(
    "Talos 1.14 mounts nothing further into its static pods",
    "give the file to the program by `KubeAuditPolicyConfig`, `KubeAuthenticationConfig`, \
     `KubeAuthorizerConfig` or `KubeAdmissionControlConfig`, where it is one of theirs, or drop it",
);

/// All such fields, by their path.
pub(super) const ROWS: &[(&str, To)] = &[
    ("version", Stays),
    ("debug", Stays),
    ("persist", Stays),
    ("machine.type", Stays),
    ("machine.token", Stays),
    ("machine.ca", Stays),
    ("machine.acceptedCAs", Stays),
    ("machine.certSANs", Stays),
    ("machine.disks", Stays),
    ("machine.logging", Stays),
    ("machine.seccompProfiles", Stays),
    ("machine.features.diskQuotaSupport", Stays),
    ("machine.features.nodeAddressSortAlgorithm", Stays),
    ("cluster.token", Stays),
    ("cluster.etcd", Stays),
    ("cluster.externalCloudProvider", Stays),
    ("cluster.adminKubeconfig", Stays),
    ("machine.controlPlane.controllerManager.disabled", Not(CONTROLLER_MANAGER, "enabled")),
    ("machine.controlPlane.scheduler.disabled", Not(SCHEDULER, "enabled")),
    ("machine.kubelet.image", Same(KUBELET, "image")),
    ("machine.kubelet.clusterDNS", Same(KUBELET, "clusterDNS")),
    ("machine.kubelet.extraArgs", Same(KUBELET, "extraArgs")),
    ("machine.kubelet.extraConfig", Same(KUBELET, "config")),
    (
        "machine.kubelet.defaultRuntimeSeccompProfileEnabled",
        Same(KUBELET, "defaultRuntimeSeccompProfileEnabled"),
    ),
    (
        "machine.kubelet.credentialProviderConfig",
        Same("KubeCredentialProviderConfig", "configuration"),
    ),
    (
        "machine.kubelet.extraMounts",
        Refused(
            "Talos 1.14 mounts nothing further into the kubelet",
            "keep the data in a user volume, which pods reach below `/var/mnt`:\n\
             kind: UserVolumeConfig\nname: NAME\nvolumeType: directory",
        ),
    ),
    (
        "machine.kubelet.disableManifestsDirectory",
        Always(
            true,
            "write each static pod as a document:\nkind: KubeStaticPodConfig\nname: NAME\npod: ...",
        ),
    ),
    ("machine.kubelet.registerWithFQDN", Same(NODE, "registerWithFQDN")),
    ("machine.kubelet.skipNodeRegistration", Same(NODE, "skipNodeRegistration")),
    ("machine.kubelet.nodeIP.validSubnets", Same(NODE, "nodeIP.validSubnets")),
    ("machine.nodeLabels", Same(NODE, "labels")),
    ("machine.nodeAnnotations", Same(NODE, "annotations")),
    ("machine.nodeTaints", Same(NODE, "taints")),
    ("machine.env", Same("EnvironmentConfig", "variables")),
    ("machine.time.disabled", Not(TIME, "enabled")),
    ("machine.time.servers", Same(TIME, "ntp.servers")),
    ("machine.time.bootTimeout", Same(TIME, "bootTimeout")),
    ("machine.sysctls", Same("SysctlConfig", "params")),
    ("machine.sysfs", Same("SysfsConfig", "params")),
    ("machine.udev.rules", Same("UdevRulesConfig", "rules")),
    ("machine.baseRuntimeSpecOverrides", Same("CRIBaseRuntimeSpecConfig", "overrides")),
    ("machine.features.hostDNS.enabled", Same(RESOLVER, "hostDNS.enabled")),
    (
        "machine.features.hostDNS.forwardKubeDNSToHost",
        Same(RESOLVER, "hostDNS.forwardKubeDNSToHost"),
    ),
    ("machine.features.hostDNS.resolveMemberNames", Same(RESOLVER, "hostDNS.resolveMemberNames")),
    ("machine.features.imageCache.localEnabled", Same("ImageCacheConfig", "local.enabled")),
    ("machine.features.rbac", Always(true, "drop it: roles are always checked")),
    (
        "machine.features.apidCheckExtKeyUsage",
        Always(true, "drop it: the use of certificates is always checked"),
    ),
    ("machine.network.searchDomains", Same(RESOLVER, "searchDomains.domains")),
    ("machine.network.disableSearchDomain", Same(RESOLVER, "searchDomains.disableDefault")),
    ("machine.network.kubespan.enabled", Same(KUBESPAN, "enabled")),
    (
        "machine.network.kubespan.advertiseKubernetesNetworks",
        Same(KUBESPAN, "advertiseKubernetesNetworks"),
    ),
    ("machine.network.kubespan.allowDownPeerBypass", Same(KUBESPAN, "allowDownPeerBypass")),
    ("machine.network.kubespan.harvestExtraEndpoints", Same(KUBESPAN, "harvestExtraEndpoints")),
    ("machine.network.kubespan.mtu", Same(KUBESPAN, "mtu")),
    ("machine.network.kubespan.filters.endpoints", Same(KUBESPAN, "filters.endpoints")),
    (
        "machine.network.kubespan.filters.excludeAdvertisedNetworks",
        Same(KUBESPAN, "filters.excludeAdvertisedNetworks"),
    ),
    ("cluster.id", Same("DiscoveryIdentityConfig", "clusterID")),
    ("cluster.secret", Same("DiscoveryIdentityConfig", "clusterSecret")),
    ("cluster.clusterName", Same("KubeClusterConfig", "clusterName")),
    ("cluster.controlPlane.localAPIServerPort", Same(API_SERVER, "apiPort")),
    ("cluster.network.dnsDomain", Same("KubeNetworkConfig", "dnsDomain")),
    ("cluster.apiServer.image", Same(API_SERVER, "image")),
    ("cluster.apiServer.env", Same(API_SERVER, "env")),
    ("cluster.apiServer.certSANs", Same(API_SERVER, "certExtraSANs")),
    ("cluster.apiServer.resources", Same(API_SERVER, "resources")),
    ("cluster.apiServer.auditPolicy", Same("KubeAuditPolicyConfig", "configuration")),
    ("cluster.apiServer.disablePodSecurityPolicy", Gone),
    ("cluster.apiServer.extraVolumes", EXTRA_VOLUMES),
    ("cluster.controllerManager.image", Same(CONTROLLER_MANAGER, "image")),
    ("cluster.controllerManager.env", Same(CONTROLLER_MANAGER, "env")),
    ("cluster.controllerManager.extraArgs", Same(CONTROLLER_MANAGER, "extraArgs")),
    ("cluster.controllerManager.resources", Same(CONTROLLER_MANAGER, "resources")),
    ("cluster.controllerManager.extraVolumes", EXTRA_VOLUMES),
    ("cluster.scheduler.image", Same(SCHEDULER, "image")),
    ("cluster.scheduler.env", Same(SCHEDULER, "env")),
    ("cluster.scheduler.extraArgs", Same(SCHEDULER, "extraArgs")),
    ("cluster.scheduler.resources", Same(SCHEDULER, "resources")),
    ("cluster.scheduler.config", Same(SCHEDULER, "config")),
    ("cluster.scheduler.extraVolumes", EXTRA_VOLUMES),
    ("cluster.proxy.disabled", Not(PROXY, "enabled")),
    ("cluster.proxy.image", Same(PROXY, "image")),
    ("cluster.proxy.mode", Same(PROXY, "mode")),
    (
        "cluster.proxy.extraArgs",
        Refused(
            "Talos 1.14 gives kube-proxy a file, and kube-proxy then ignores most arguments",
            "write the setting as kube-proxy's file has it:\nkind: KubeProxyConfig\nconfig:\n  \
             ipvs:\n    strictARP: true",
        ),
    ),
    ("cluster.coreDNS.disabled", Not("KubeCoreDNSConfig", "enabled")),
    ("cluster.coreDNS.image", Same("KubeCoreDNSConfig", "image")),
];

const API_SERVER: &str = "KubeAPIServerConfig";
const CONTROLLER_MANAGER: &str = "KubeControllerManagerConfig";
const KUBELET: &str = "KubeletConfig";
const KUBESPAN: &str = "KubeSpanConfig";
const NODE: &str = "KubeNodeConfig";
const PROXY: &str = "KubeProxyConfig";
const RESOLVER: &str = "ResolverConfig";
const SCHEDULER: &str = "KubeSchedulerConfig";
const TIME: &str = "TimeSyncConfig";

/// The fields that Talos reads on control planes alone.
const CONTROL_PLANE: &[&str] = &[
    "machine.controlPlane",
    "cluster.controlPlane.localAPIServerPort",
    "cluster.network.cni",
    "cluster.aescbcEncryptionSecret",
    "cluster.secretboxEncryptionSecret",
    "cluster.aggregatorCA",
    "cluster.serviceAccount",
    "cluster.apiServer",
    "cluster.controllerManager",
    "cluster.proxy",
    "cluster.scheduler",
    "cluster.coreDNS",
    "cluster.extraManifests",
    "cluster.extraManifestHeaders",
    "cluster.inlineManifests",
    "cluster.allowSchedulingOnMasters",
    "cluster.allowSchedulingOnControlPlanes",
];

/// Takes out what only control planes read.
pub(super) fn drop_control_plane(rest: &mut Tree) {
    for path in CONTROL_PLANE {
        output::take(rest, path);
    }
}

/// Whether only control planes read the field at a path.
pub(super) fn control_plane(path: &str) -> bool {
    CONTROL_PLANE.iter().any(|field| below(path, field).is_some())
}

/// What follows a field's path in a path that leads to it or below it.
pub(super) fn below<'p>(path: &'p str, field: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(field)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// Translates the fields of the table.
pub(super) fn translate(rest: &mut Tree, output: &mut Output) {
    for &(path, to) in ROWS {
        let Some(value) = output::take(rest, path) else { continue };
        match to {
            Stays => {
                let path: Vec<&str> = path.split('.').collect();
                output.main.set_at(&path, value);
            }
            Same(kind, to) => output.put(kind, to, value),
            Not(kind, to) => {
                let enabled = value.bool() != Some(true);
                output.put(kind, to, Tree::from(enabled));
            }
            Always(always, _) if value.bool() == Some(always) => {}
            Always(always, help) => {
                let message = format!("Talos 1.14 takes `{path}` for {always} in any case");
                output.refuse(&value, message, help);
            }
            Gone => {}
            Refused(why, form) => {
                let message = format!("`{path}` cannot be translated: {why}");
                output.refuse(&value, message, form);
            }
        }
    }
}
