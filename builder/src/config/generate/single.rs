//! Configs for Talos 1.12 and 1.13: nearly all in the document of machine and cluster.
//!
//! In: an [`Input`]. Out: the documents.
//!
//! Source: Talos `pkg/machinery/config/generate/` in v1.12.7 and v1.13.9.
//!
//! Not here: Talos 1.14 (`multi`).

use super::{
    EXCLUDE_FROM_LOAD_BALANCERS, Input, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_PRISM_PORT,
    KUBE_PROXY, KUBE_SCHEDULER, KUBELET, audit_policy, key_base64, pod_security, texts,
};
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::pki::EncryptionSecret;

pub(super) fn write(input: &Input<'_>, documents: &mut Documents) {
    // KubeSpan has a document of its own since 1.13; before, `network` is there even if it is empty.
    let network = documents.schema.minor < 13;
    let main = input.main(documents);
    let machine = main.open("machine");
    machine.set("kubelet", kubelet(input));
    if network {
        machine.set("network", Tree::empty());
        if input.kubespan {
            machine.set_at(&["network", "kubespan", "enabled"], true);
        }
    }
    machine.set("install", install(input));
    machine.set("features", features());
    if input.is_control_plane() {
        machine.set("nodeLabels", Tree::map([(EXCLUDE_FROM_LOAD_BALANCERS, "".into())]));
    }
    main.set("cluster", cluster(input));
    documents.open("HostnameConfig", None).set("auto", "stable");
    if input.kubespan && !network {
        documents.open("KubeSpanConfig", None).set("enabled", true);
    }
}

fn kubelet(input: &Input<'_>) -> Tree {
    Tree::map([
        ("image", input.image(KUBELET)),
        ("defaultRuntimeSeccompProfileEnabled", true.into()),
        ("disableManifestsDirectory", true.into()),
    ])
}

fn install(input: &Input<'_>) -> Tree {
    let mut install = Tree::empty();
    if let Some(disk) = input.install_disk {
        install.set("disk", disk);
    }
    install.set("image", input.install_image);
    install.set("wipe", false);
    install.set("grubUseUKICmdline", true);
    install
}

fn features() -> Tree {
    let kube_prism = [("enabled", true.into()), ("port", KUBE_PRISM_PORT.into())];
    let host_dns = [("enabled", true.into()), ("forwardKubeDNSToHost", true.into())];
    Tree::map([
        ("diskQuotaSupport", true.into()),
        ("kubePrism", Tree::map(kube_prism)),
        ("hostDNS", Tree::map(host_dns)),
    ])
}

fn cluster(input: &Input<'_>) -> Tree {
    let secrets = input.secrets;
    let network = [
        ("dnsDomain", input.dns_domain.into()),
        ("podSubnets", texts(input.pod_subnets)),
        ("serviceSubnets", texts(input.service_subnets)),
    ];
    let mut cluster = Tree::map([
        ("id", secrets.cluster_id().reveal().into()),
        ("secret", secrets.cluster_secret().reveal().into()),
        ("controlPlane", Tree::map([("endpoint", input.endpoint.into())])),
        ("clusterName", input.cluster.into()),
        ("network", Tree::map(network)),
        ("token", secrets.bootstrap_token().reveal().into()),
    ]);
    if input.is_control_plane() {
        // Talos' generator writes only the first of the two for these releases, and so loses the
        // other; the API server of either is still started with whichever is there.
        let (key, secret) = match secrets.encryption() {
            EncryptionSecret::Secretbox(secret) => ("secretboxEncryptionSecret", secret),
            EncryptionSecret::AesCbc(secret) => ("aescbcEncryptionSecret", secret),
        };
        cluster.set(key, secret.reveal());
    }
    cluster.set("ca", input.pair(secrets.k8s()));
    if input.is_control_plane() {
        control_plane(input, &mut cluster);
    }
    cluster.set("discovery", discovery(input));
    if input.is_control_plane() {
        cluster.set_at(&["etcd", "ca"], input.pair(secrets.etcd()));
    }
    cluster
}

/// What only machines of the control plane have, up to `scheduler`.
fn control_plane(input: &Input<'_>, cluster: &mut Tree) {
    let secrets = input.secrets;
    cluster.set("aggregatorCA", input.pair(secrets.k8s_aggregator()));
    cluster.set_at(&["serviceAccount", "key"], key_base64(secrets.k8s_service_account()));
    let plugin = [("name", "PodSecurity".into()), ("configuration", pod_security())];
    let api_server = cluster.open("apiServer");
    api_server.set("image", input.image(KUBE_APISERVER));
    if !input.additional_sans.is_empty() {
        api_server.set("certSANs", texts(input.additional_sans));
    }
    api_server.set("admissionControl", Tree::list([Tree::map(plugin)]));
    api_server.set("auditPolicy", audit_policy());
    cluster.set_at(&["controllerManager", "image"], input.image(KUBE_CONTROLLER_MANAGER));
    cluster.set_at(&["proxy", "image"], input.image(KUBE_PROXY));
    cluster.set_at(&["scheduler", "image"], input.image(KUBE_SCHEDULER));
}

fn discovery(input: &Input<'_>) -> Tree {
    let registries =
        [("kubernetes", Tree::map([("disabled", true.into())])), ("service", Tree::empty())];
    Tree::map([("enabled", input.discovery.into()), ("registries", Tree::map(registries))])
}
