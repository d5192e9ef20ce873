//! The configs that `talosctl gen config` makes, as the release in question makes them.
//!
//! In: an [`Input`]. Out: its [`Documents`], in Talos' order and with Talos' values.
//!
//! Source: Talos `pkg/machinery/config/generate/` (`init.go`, `worker.go`, `network.go`,
//! `kubernetes.go`, `block.go`, `security_profile.go`) in the releases v1.12.7, v1.13.9 and
//! v1.14.1. In one thing it is not followed: what it does to AES-CBC (see `encryption_at_rest`).
//!
//! Not here: what is particular to a node (`facts`), and whether the result is valid (`valid`).

use super::documents::Documents;
use super::schema::{MAIN, Schema};
use super::tree::Tree;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::{Authority, Bundle, EncryptionSecret, pem};
use crate::talos::{Role, Version};

pub mod defaults;
mod multi;
mod single;

/// What a config is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The release that the config is for.
    pub talos: &'a Version,
    /// What the machine is.
    pub role: Role,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The URL of Kubernetes' API, `https://[2001:db8::10]:6443`.
    pub endpoint: &'a str,
    /// The version of Kubernetes without a `v`; see [`defaults::kubernetes`].
    pub kubernetes: &'a str,
    /// The disk to install to. Without one Talos 1.14 gets no install document, and an older one an
    /// install section that still lacks a disk.
    pub install_disk: Option<&'a str>,
    /// The installer's image; see [`defaults::installer_image`].
    pub install_image: &'a str,
    /// Further names and addresses for the certificates of Talos' and of Kubernetes' API.
    pub additional_sans: &'a [String],
    /// The DNS domain of the cluster; see [`defaults::DNS_DOMAIN`].
    pub dns_domain: &'a str,
    /// The networks of the pods, at most one a family; see [`super::facts::family::subnets`].
    pub pod_subnets: &'a [String],
    /// The networks of the services, as many as `pod_subnets`.
    pub service_subnets: &'a [String],
    /// Whether nodes find each other by the discovery service.
    pub discovery: bool,
    /// Whether nodes talk to each other by `KubeSpan`.
    pub kubespan: bool,
    /// The cluster's secrets.
    pub secrets: &'a Bundle,
}

/// The config that `talosctl gen config` of the release makes of the input, patches aside.
///
/// A worker's has the tokens, the identity of the cluster, and the certificates of the CAs of Talos
/// and Kubernetes: no private key, and nothing of etcd, the aggregator and encryption.
pub fn base(input: &Input<'_>) -> Documents {
    let mut documents = Documents::new(Schema::of(input.talos));
    if documents.schema.minor >= 14 {
        multi::write(input, &mut documents);
    } else {
        single::write(input, &mut documents);
    }
    documents
}

impl Input<'_> {
    fn is_control_plane(&self) -> bool {
        self.role == Role::ControlPlane
    }

    /// What the document of machine and cluster starts with in all releases.
    fn main<'d>(&self, documents: &'d mut Documents) -> &'d mut Tree {
        let role = if self.is_control_plane() { "controlplane" } else { "worker" };
        let entries = [
            ("type", role.into()),
            ("token", self.secrets.trustd_token().reveal().into()),
            ("ca", self.pair(self.secrets.os())),
            ("certSANs", texts(self.additional_sans)),
        ];
        let main = documents.open(MAIN, None);
        main.set("version", "v1alpha1");
        main.set("debug", false);
        main.set("persist", true);
        main.set("machine", Tree::map(entries));
        main
    }

    /// A CA as the document of machine and cluster has it: base64 of PEM, and on workers no key.
    fn pair(&self, ca: &Authority) -> Tree {
        let key = match self.role {
            Role::ControlPlane => key_base64(ca.key()),
            Role::Worker => "".into(),
        };
        Tree::map([("crt", certificate_base64(ca.certificate())), ("key", key)])
    }

    /// The reference of one of Kubernetes' images.
    fn image(&self, name: &str) -> Tree {
        format!("{name}:v{}", self.kubernetes).into()
    }
}

const KUBELET: &str = "ghcr.io/siderolabs/kubelet";
const KUBE_APISERVER: &str = "registry.k8s.io/kube-apiserver";
const KUBE_CONTROLLER_MANAGER: &str = "registry.k8s.io/kube-controller-manager";
const KUBE_PROXY: &str = "registry.k8s.io/kube-proxy";
const KUBE_SCHEDULER: &str = "registry.k8s.io/kube-scheduler";

/// The port of `KubePrism`, the load balancer in front of Kubernetes' API on every node.
const KUBE_PRISM_PORT: u32 = 7445;

/// The label that keeps load balancers of clouds off a node.
const EXCLUDE_FROM_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

fn certificate_base64(certificate: &Certificate) -> Tree {
    pem::to_base64(certificate.pem()).reveal().into()
}

fn key_base64(key: &PrivateKey) -> Tree {
    pem::to_base64(key.pem().reveal()).reveal().into()
}

fn texts(items: &[String]) -> Tree {
    Tree::list(items.iter().map(String::as_str))
}

/// The configuration of the admission plugin `PodSecurity`.
fn pod_security() -> Tree {
    let defaults = Tree::map([
        ("audit", "restricted".into()),
        ("audit-version", "latest".into()),
        ("enforce", "baseline".into()),
        ("enforce-version", "latest".into()),
        ("warn", "restricted".into()),
        ("warn-version", "latest".into()),
    ]);
    let exemptions = Tree::map([
        ("namespaces", Tree::list(["kube-system"])),
        ("runtimeClasses", texts(&[])),
        ("usernames", texts(&[])),
    ]);
    Tree::map([
        ("apiVersion", "pod-security.admission.config.k8s.io/v1alpha1".into()),
        ("defaults", defaults),
        ("exemptions", exemptions),
        ("kind", "PodSecurityConfiguration".into()),
    ])
}

/// The audit policy of Kubernetes' API server.
fn audit_policy() -> Tree {
    Tree::map([
        ("apiVersion", "audit.k8s.io/v1".into()),
        ("kind", "Policy".into()),
        ("rules", Tree::list([Tree::map([("level", "Metadata".into())])])),
    ])
}

/// What `KubeEtcdEncryptionConfig` holds for a bundle with this secret.
///
/// Kubernetes stores the name of the key with what it encrypts, so that the names are those that
/// Talos up to 1.13 gives them (`internal/app/machined/pkg/controllers/k8s/internal/k8stemplates/
/// apiserver.go`, `APIServerEncryptionConfig`). Talos 1.14.1 writes an AES-CBC secret as the key of
/// a `secretbox` (`config/generate/kubernetes.go`), with which nothing that the cluster has stored
/// can be read again; here it stays AES-CBC, with the `identity` that it has always had beside it.
pub(super) fn encryption_at_rest(secret: &EncryptionSecret) -> Tree {
    let keys = |name: &str, secret: &str| {
        let key = Tree::map([("name", name.into()), ("secret", secret.into())]);
        Tree::map([("keys", Tree::list([key]))])
    };
    let providers = match secret {
        EncryptionSecret::Secretbox(secret) => {
            vec![Tree::map([("secretbox", keys("key2", secret.reveal()))])]
        }
        EncryptionSecret::AesCbc(secret) => vec![
            Tree::map([("aescbc", keys("key1", secret.reveal()))]),
            Tree::map([("identity", Tree::empty())]),
        ],
    };
    let resource =
        Tree::map([("providers", Tree::list(providers)), ("resources", Tree::list(["secrets"]))]);
    Tree::map([("resources", Tree::list([resource]))])
}

#[cfg(test)]
mod tests;
