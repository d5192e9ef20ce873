//! Versions that go together: of Talos, its installer, Kubernetes and its parts.
//!
//! In: the site's versions, nodes. Out: findings.
//!
//! Source: Talos `pkg/machinery/compatibility/talos1*/`, `kubernetes_image.go`; Kubernetes,
//! "Version Skew Policy", <https://kubernetes.io/releases/version-skew-policy/>.
//!
//! Not here: whether an image exists.

use super::Fleet;
use super::found::Findings;
use super::view::Node;
use crate::config::tree::Tree;
use crate::talos::Version;

/// The minor versions of Kubernetes 1 that a minor version of Talos 1 runs: oldest and newest.
const SUPPORTED: [(u32, u32, u32); 3] = [(12, 30, 35), (13, 31, 36), (14, 32, 37)];

/// How many minor versions a kubelet may be older than the API server.
const KUBELET_LAG: u32 = 3;

/// Where the installer was up to Talos 1.13.
const OLD_INSTALLER: &str = "ghcr.io/siderolabs/installer";

/// Parts of Kubernetes, and where their images are named: kind of document, path, older path.
const PARTS: [(Part, &str, &[&str]); 5] = [
    (Part::Kubelet, "KubeletConfig", &["machine", "kubelet", "image"]),
    (Part::ApiServer, "KubeAPIServerConfig", &["cluster", "apiServer", "image"]),
    (Part::Manager, "KubeControllerManagerConfig", &["cluster", "controllerManager", "image"]),
    (Part::Scheduler, "KubeSchedulerConfig", &["cluster", "scheduler", "image"]),
    (Part::Proxy, "KubeProxyConfig", &["cluster", "proxy", "image"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Kubelet,
    ApiServer,
    Manager,
    Scheduler,
    Proxy,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::ApiServer => "kube-apiserver",
            Self::Manager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Proxy => "kube-proxy",
        }
    }
}

/// A part of Kubernetes on a node.
struct Running<'n, 'a> {
    node: &'n Node<'a>,
    part: Part,
    version: Version,
    tree: &'a Tree,
}

/// Looks at all versions.
pub(super) fn check(fleet: &Fleet<'_>, nodes: &[Node<'_>], found: &mut Findings) {
    let mut running = Vec::new();
    for node in nodes {
        installer(fleet, node, found);
        for (part, kind, main) in PARTS {
            let Some(tree) = node.either(kind, &["image"], main) else { continue };
            let Some(image) = tree.text().filter(|text| !text.is_empty()) else { continue };
            match kubernetes(image) {
                Some(version) => running.push(Running { node, part, version, tree }),
                None => {
                    let text =
                        format!("has an image of {} without a tag such as `:v1.37.0`", part.name());
                    let help = "give the tag; a digest may follow it, and cannot stand alone";
                    found.node("image-tag", node, Some(tree), text, help);
                }
            }
        }
    }
    for one in &running {
        supported(fleet, one, found);
    }
    skew(&running, found);
}

/// The version in an image's tag, as Talos reads it: from the last `:v` to the digest.
fn kubernetes(image: &str) -> Option<Version> {
    let (_, tag) = image.rsplit_once(":v")?;
    let tag = tag.split('@').next()?;
    Version::parse(tag).or_else(|| Version::parse(&format!("{tag}.0")))
}

fn supported(fleet: &Fleet<'_>, one: &Running<'_, '_>, found: &mut Findings) {
    let version = &one.version;
    let range = SUPPORTED.iter().find(|(minor, ..)| *minor == fleet.talos.minor);
    let fits = |&(_, oldest, newest): &(u32, u32, u32)| {
        version.major == 1 && (oldest..=newest).contains(&version.minor)
    };
    if let Some(range) = range.filter(|range| fleet.talos.major == 1 && !fits(range)) {
        let text = format!(
            "has {} {version}, and Talos {} runs 1.{} to 1.{} only",
            one.part.name(),
            fleet.talos,
            range.1,
            range.2
        );
        let help = "take a version in that range: Talos refuses the whole config at boot";
        found.node("kubernetes-unsupported", one.node, Some(one.tree), text, help);
    }
    if let Some(wanted) = fleet.kubernetes.filter(|wanted| *wanted != version) {
        let text =
            format!("has {} {version}, and the site names Kubernetes {wanted}", one.part.name());
        let help = "drop the image from the patch, or change the site's version";
        found.node("kubernetes-version", one.node, Some(one.tree), text, help);
    }
}

fn skew(running: &[Running<'_, '_>], found: &mut Findings) {
    let minor = |one: &Running<'_, '_>| (one.version.major, one.version.minor);
    let servers = || running.iter().filter(|one| one.part == Part::ApiServer);
    let oldest = servers().min_by_key(|one| minor(one));
    let newest = servers().max_by_key(|one| minor(one));
    let (Some(oldest), Some(newest)) = (oldest, newest) else { return };
    if minor(newest).1 > minor(oldest).1 + 1 {
        let text = format!(
            "has kube-apiserver {}, and node `{}` has {}",
            newest.version, oldest.node.member.name, oldest.version
        );
        let help = "keep all API servers within one minor version";
        found.node("kubernetes-skew", newest.node, Some(newest.tree), text, help);
    }
    for one in running.iter().filter(|one| one.part != Part::ApiServer) {
        let name = one.part.name();
        if minor(one) > minor(oldest) {
            let text =
                format!("has {name} {}, newer than kube-apiserver {}", one.version, oldest.version);
            let help = "upgrade the API servers first, or take the older version here";
            found.node("kubernetes-skew", one.node, Some(one.tree), text, help);
            continue;
        }
        let lag = match one.part {
            Part::Kubelet | Part::Proxy => KUBELET_LAG,
            Part::ApiServer | Part::Manager | Part::Scheduler => 1,
        };
        if minor(one).1 + lag < minor(newest).1 {
            let text = format!(
                "has {name} {}, too old for kube-apiserver {}",
                one.version, newest.version
            );
            let help = format!("take one at most {lag} minor versions older than the API server");
            found.node("kubernetes-skew", one.node, Some(one.tree), text, help);
        }
    }
}

fn installer(fleet: &Fleet<'_>, node: &Node<'_>, found: &mut Findings) {
    let main = ["machine", "install", "image"];
    let Some(tree) = node.either("UnattendedInstallConfig", &["installer", "image"], &main) else {
        return;
    };
    let Some(image) = tree.text().filter(|text| !text.is_empty()) else { return };
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[path..].find(':') {
        Some(colon) => (&name[..path + colon], Some(&name[path + colon + 1..])),
        None => (name, None),
    };
    let version = tag.and_then(Version::parse);
    let effective = version.as_ref().unwrap_or(fleet.talos);
    if repository == OLD_INSTALLER && effective.at_least(1, 14) {
        let text = format!("installs from `{OLD_INSTALLER}`, which ends with Talos 1.13");
        let help = "take `factory.talos.dev/metal-installer/SCHEMATIC:TAG`, or a mirror of it";
        found.node("installer-gone", node, Some(tree), text, help);
    }
    match (version, tag, digest) {
        (Some(version), ..) if version != *fleet.talos => {
            let text = format!("installs Talos {version}, and its medium has {}", fleet.talos);
            let help = format!("use the tag `{}`: else it boots into another release", fleet.talos);
            found.node("installer-version", node, Some(tree), text, help);
        }
        (None, None, Some(_)) => {
            let text = "names its installer by digest alone, so that its version cannot be told";
            let help = format!("put the tag `:{}` before the digest", fleet.talos);
            found.node("installer-digest", node, Some(tree), text, help);
        }
        (None, None, None) => {
            let text = "names its installer without a tag, which means `latest`";
            let help = format!("add `:{}`", fleet.talos);
            found.node("installer-digest", node, Some(tree), text, help);
        }
        _ => {}
    }
}
