//! The documents that a machine config may have, and since when.
//!
//! In: a document's `kind`. Out: its [`Kind`].
//!
//! Source: the calls of `registry.Register` under Talos `pkg/machinery/config/types/` in the
//! releases v1.10.0, v1.11.0, v1.12.0, v1.13.0 and v1.14.0-rc.1.
//!
//! Not here: the documents' keys.

use crate::yaml::meant::nearest;

/// What a document says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The document without a kind, of machine and cluster: with it a config is complete.
    V1Alpha1,
    /// A kind that Talos has had since 1.`since`, or before where that is 10.
    Known {
        /// Its name.
        name: &'static str,
        /// The minor version of Talos.
        since: u32,
    },
    /// A kind that no release up to 1.14 has, and the known one whose name is nearest.
    Unknown {
        /// What was meant.
        near: Option<&'static str>,
    },
}

impl Kind {
    /// Finds a kind by its name.
    pub(super) fn find(kind: &str) -> Self {
        let known = KINDS
            .iter()
            .flat_map(|&(since, names)| names.iter().map(move |&name| (name, since)))
            .find(|&(name, _)| name == kind);
        match known {
            Some((name, since)) => Self::Known { name, since },
            None => Self::Unknown { near: nearest(kind, names()) },
        }
    }
}

/// The names of all kinds that some release has.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// The kinds by the minor version of Talos 1 that brought them; 10 stands for it and all before.
const KINDS: [(u32, &[&str]); 5] = [
    (
        10,
        &[
            "EthernetConfig",
            "EventSinkConfig",
            "ExtensionServiceConfig",
            "KmsgLogConfig",
            "KubeSpanEndpointsConfig",
            "NetworkDefaultActionConfig",
            "NetworkRuleConfig",
            "PCIDriverRebindConfig",
            "SideroLinkConfig",
            "TrustedRootsConfig",
            "UserVolumeConfig",
            "VolumeConfig",
            "WatchdogTimerConfig",
        ],
    ),
    (11, &["ExistingVolumeConfig", "RawVolumeConfig", "SwapVolumeConfig", "ZswapConfig"]),
    (
        12,
        &[
            "BondConfig",
            "BridgeConfig",
            "DHCPv4Config",
            "DHCPv6Config",
            "DummyLinkConfig",
            "HCloudVIPConfig",
            "HostnameConfig",
            "Layer2VIPConfig",
            "LinkAliasConfig",
            "LinkConfig",
            "OOMConfig",
            "RegistryAuthConfig",
            "RegistryMirrorConfig",
            "RegistryTLSConfig",
            "ResolverConfig",
            "StaticHostConfig",
            "TimeSyncConfig",
            "VLANConfig",
            "WireguardConfig",
        ],
    ),
    (
        13,
        &[
            "BlackholeRouteConfig",
            "EnvironmentConfig",
            "ExternalVolumeConfig",
            "ImageVerificationConfig",
            "KubeSpanConfig",
            "RoutingRuleConfig",
            "TCPProbeConfig",
            "VRFConfig",
        ],
    ),
    (
        14,
        &[
            "BGPInstanceConfig",
            "CRIBaseRuntimeSpecConfig",
            "CRICustomizationConfig",
            "ContainerConfig",
            "DiscoveryIdentityConfig",
            "DiscoveryServiceConfig",
            "EtcFileConfig",
            "FilesystemScrubConfig",
            "FilesystemTrimConfig",
            "HTTPProbeConfig",
            "ImageCacheConfig",
            "KernelModuleConfig",
            "KubeAPIServerCAConfig",
            "KubeAPIServerConfig",
            "KubeAdmissionControlConfig",
            "KubeAggregatorCAConfig",
            "KubeAuditPolicyConfig",
            "KubeAuthenticationConfig",
            "KubeAuthorizerConfig",
            "KubeClusterConfig",
            "KubeControllerManagerConfig",
            "KubeCoreDNSConfig",
            "KubeCredentialProviderConfig",
            "KubeEtcdEncryptionConfig",
            "KubeExternalManifestConfig",
            "KubeFlannelCNIConfig",
            "KubeInlineManifestConfig",
            "KubeNetworkConfig",
            "KubeNodeConfig",
            "KubePrismConfig",
            "KubeProxyConfig",
            "KubeSchedulerConfig",
            "KubeServiceAccountConfig",
            "KubeStaticPodConfig",
            "KubeTalosAPIAccessConfig",
            "KubeletConfig",
            "LVMLogicalVolumeConfig",
            "LVMVolumeGroupConfig",
            "RAIDArrayConfig",
            "SecurityProfileConfig",
            "SysctlConfig",
            "SysfsConfig",
            "UdevRulesConfig",
            "UnattendedInstallConfig",
            "VethConfig",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_as_many_kinds_as_it_registers() {
        let mut sum = 0;
        let counts = KINDS.map(|(since, names)| {
            sum += names.len();
            (since, sum)
        });
        assert_eq!(counts, [(10, 13), (11, 17), (12, 36), (13, 44), (14, 89)]);
    }

    #[test]
    fn kinds_are_found_by_their_exact_names() {
        let vlan = Kind::Known { name: "VLANConfig", since: 12 };
        assert_eq!(Kind::find("VLANConfig"), vlan);
        assert_eq!(Kind::find("VlanConfig"), Kind::Unknown { near: Some("VLANConfig") });
        assert_eq!(Kind::find("Deployment"), Kind::Unknown { near: None });
    }
}
