//! Configs for Talos 1.14: a document for every matter.
//!
//! In: an [`Input`]. Out: the documents. Certificates and keys are base64 of PEM in the document of
//! machine and cluster, and plain PEM in all others.
//!
//! Source: Talos `pkg/machinery/config/generate/` in v1.14.1.
//!
//! Not here: older releases (`single`).

use super::{
    EXCLUDE_FROM_LOAD_BALANCERS, Input, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_PRISM_PORT,
    KUBE_PROXY, KUBE_SCHEDULER, KUBELET, audit_policy, encryption_at_rest, pod_security, texts,
};
use crate::config::documents::Documents;
use crate::config::expression::literal;
use crate::config::tree::Tree;
use crate::pki::Authority;

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

pub(super) fn write(input: &Input<'_>, documents: &mut Documents) {
    let main = input.main(documents);
    main.set_at(&["machine", "features", "diskQuotaSupport"], true);
    main.set_at(&["cluster", "token"], input.secrets.bootstrap_token().reveal());
    if input.is_control_plane() {
        main.set_at(&["cluster", "etcd", "ca"], input.pair(input.secrets.etcd()));
    }
    machine(input, documents);
    kubernetes(input, documents);
    if input.is_control_plane() {
        control_plane(input, documents);
        components(input, documents);
    }
}

/// What concerns the machine itself.
fn machine(input: &Input<'_>, documents: &mut Documents) {
    if input.discovery {
        let service = documents.open("DiscoveryServiceConfig", Some("default"));
        service.set("endpoint", "https://discovery.talos.dev/");
    }
    let identity = documents.open("DiscoveryIdentityConfig", None);
    identity.set("clusterID", input.secrets.cluster_id().reveal());
    identity.set("clusterSecret", input.secrets.cluster_secret().reveal());
    if let Some(disk) = input.install_disk {
        let install = documents.open("UnattendedInstallConfig", None);
        install.set_at(&["installer", "image"], input.install_image);
        let disk = format!("disk.dev_path == {}", literal(disk));
        install.set_at(&["provisioning", "diskSelector", "match"], disk);
        install.set_at(&["provisioning", "wipe"], false);
    }
    let host_dns = [("enabled", true.into()), ("forwardKubeDNSToHost", true.into())];
    documents.open("ResolverConfig", None).set("hostDNS", Tree::map(host_dns));
    documents.open("VolumeConfig", Some("EPHEMERAL")).set_at(&["mount", "secure"], true);
    documents.open("FilesystemTrimConfig", None).set("interval", "168h0m0s");
    documents.open("SecurityProfileConfig", None).set("workloadIsolation", true);
    documents.open("HostnameConfig", None).set("auto", "stable");
    if input.kubespan {
        documents.open("KubeSpanConfig", None).set("enabled", true);
    }
}

/// What every machine needs to know of Kubernetes.
fn kubernetes(input: &Input<'_>, documents: &mut Documents) {
    let cluster = documents.open("KubeClusterConfig", None);
    cluster.set("clusterName", input.cluster);
    cluster.set("endpoint", input.endpoint);
    let node = documents.open("KubeNodeConfig", None);
    node.set("nodeIP", Tree::empty());
    if input.is_control_plane() {
        let labels = [(CONTROL_PLANE, "".into()), (EXCLUDE_FROM_LOAD_BALANCERS, "".into())];
        node.set("labels", Tree::map(labels));
        node.set("taints", Tree::map([(CONTROL_PLANE, "NoSchedule".into())]));
    }
    let kubelet = documents.open("KubeletConfig", None);
    kubelet.set("image", input.image(KUBELET));
    kubelet.set("config", Tree::empty());
    kubelet.set("defaultRuntimeSeccompProfileEnabled", true);
    let network = documents.open("KubeNetworkConfig", None);
    network.set("dnsDomain", input.dns_domain);
    network.set("podSubnets", texts(input.pod_subnets));
    network.set("serviceSubnets", texts(input.service_subnets));
    let ca = input.secrets.k8s();
    let authority = documents.open("KubeAPIServerCAConfig", None);
    if input.is_control_plane() {
        authority.set("issuingCA", issuing(ca));
    } else {
        authority.set("acceptedCAs", Tree::list([ca.certificate().pem()]));
    }
    documents.open("KubePrismConfig", None).set("port", KUBE_PRISM_PORT);
}

/// What only the control plane may know, and how its API server judges requests.
fn control_plane(input: &Input<'_>, documents: &mut Documents) {
    let secrets = input.secrets;
    let aggregator = documents.open("KubeAggregatorCAConfig", None);
    aggregator.set("issuingCA", issuing(secrets.k8s_aggregator()));
    let admission = documents.open("KubeAdmissionControlConfig", Some("PodSecurity"));
    admission.set("configuration", pod_security());
    documents.open("KubeAuditPolicyConfig", None).set("configuration", audit_policy());
    let paths = ["/livez", "/readyz", "/healthz"].map(|path| Tree::map([("path", path.into())]));
    let anonymous = [("conditions", Tree::list(paths)), ("enabled", true.into())];
    let authentication = [("anonymous", Tree::map(anonymous)), ("jwt", texts(&[]))];
    documents
        .open("KubeAuthenticationConfig", None)
        .set("configuration", Tree::map(authentication));
    documents.open("KubeAuthorizerConfig", Some("node")).set("type", "Node");
    documents.open("KubeAuthorizerConfig", Some("rbac")).set("type", "RBAC");
    let encryption = documents.open("KubeEtcdEncryptionConfig", None);
    encryption.set("config", encryption_at_rest(secrets.encryption()));
    let issuer = [
        ("privateKey", secrets.k8s_service_account().pem().reveal().into()),
        ("issuerURL", input.endpoint.into()),
    ];
    documents.open("KubeServiceAccountConfig", None).set("issuer", Tree::map(issuer));
}

/// The programs of the control plane, and what Talos installs into every cluster.
fn components(input: &Input<'_>, documents: &mut Documents) {
    let api_server = documents.open("KubeAPIServerConfig", None);
    api_server.set("image", input.image(KUBE_APISERVER));
    if !input.additional_sans.is_empty() {
        api_server.set("certExtraSANs", texts(input.additional_sans));
    }
    let manager = documents.open("KubeControllerManagerConfig", None);
    manager.set("image", input.image(KUBE_CONTROLLER_MANAGER));
    let scheduler = documents.open("KubeSchedulerConfig", None);
    scheduler.set("image", input.image(KUBE_SCHEDULER));
    scheduler.set("config", Tree::empty());
    let proxy = documents.open("KubeProxyConfig", None);
    proxy.set("image", input.image(KUBE_PROXY));
    proxy.set("config", Tree::empty());
    let flannel = documents.open("KubeFlannelCNIConfig", None);
    flannel.set("backendType", "vxlan");
    flannel.set("backendPort", 4789);
    documents.open("KubeCoreDNSConfig", None).set("enabled", true);
}

/// A CA as the documents of Kubernetes have it: plain PEM.
fn issuing(ca: &Authority) -> Tree {
    let key = ca.key().pem().reveal();
    Tree::map([("cert", ca.certificate().pem().into()), ("key", key.into())])
}
