//! Which versions of Kubernetes a release of Talos runs.
//!
//! In: documents. Out: findings: what the node says of them, and `talosctl validate` does not.
//!
//! Source: Talos `pkg/machinery/compatibility` (`kubernetes_version.go`, `talos112`, `talos113`,
//! `talos114`), and the callers of its `ValidateKubernetesImageTag`.
//!
//! Not here: whether an image exists.

use super::view;
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::report::Diagnostic;

/// The oldest and the newest minor version of Kubernetes 1 that Talos 1.`minor` runs.
pub const fn range(minor: u32) -> (u32, u32) {
    match minor {
        0..=12 => (30, 35),
        13 => (31, 36),
        _ => (32, 37),
    }
}

/// The components in the document of machine and cluster, and whether only control planes run them.
const LEGACY: [(&[&str], bool); 4] = [
    (&["machine", "kubelet"], false),
    (&["cluster", "apiServer"], true),
    (&["cluster", "controllerManager"], true),
    (&["cluster", "scheduler"], true),
];

/// The documents that name an image of Kubernetes.
const KINDS: [&str; 5] = [
    "KubeletConfig",
    "KubeAPIServerConfig",
    "KubeControllerManagerConfig",
    "KubeSchedulerConfig",
    "KubeProxyConfig",
];

/// Says which components are of a version that the node would refuse.
pub fn check(documents: &Documents) -> Vec<Diagnostic> {
    let main = documents.main();
    let plane = main.is_some_and(|main| {
        matches!(view::text(main, &["machine", "type"]), "controlplane" | "init")
    });
    let legacy = LEGACY.iter().filter(|(_, planes_only)| plane || !planes_only);
    let legacy = legacy.filter_map(|(path, _)| main?.at(path));
    let own = documents.iter().filter(|document| KINDS.contains(&document.kind()));
    let own = own.map(|document| document.tree()).filter(|doc| !view::is_off(doc, &["enabled"]));
    legacy.chain(own).filter_map(|component| component_problem(component, documents)).collect()
}

/// What is wrong with the image of a component, if it names one. One that names none gets that of
/// Talos, or is refused by other rules.
fn component_problem(component: &Tree, documents: &Documents) -> Option<Diagnostic> {
    let text = component.text_at(&["image"])?;
    let at = view::place(component, &["image"]);
    let minor = documents.schema.minor;
    let (oldest, newest) = range(minor);
    let help = format!("write a tag from `v1.{oldest}.0` on, of Kubernetes 1.{newest} at most");
    let Some(version) = image_version(text) else {
        let message = "the image has no tag that is a version of Kubernetes";
        return Some(at.error("talos-kubernetes-tag", message).help(help));
    };
    let good = version >= (1, oldest.into(), 0) && version < (1, newest.into(), 99);
    let message = format!(
        "Talos 1.{minor} does not run Kubernetes {}.{}.{}",
        version.0, version.1, version.2
    );
    (!good).then(|| at.error("talos-kubernetes-version", message).help(help))
}

/// The version in the tag of an image: `…:v1.34.1@sha256:…`.
fn image_version(image: &str) -> Option<(u64, u64, u64)> {
    let (_, tag) = image.rsplit_once(":v")?;
    let tag = tag.split('@').next()?;
    let core = tag.split(['-', '+']).next()?;
    let mut numbers = core.splitn(3, '.').map(|number| {
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        if digits { number.parse().ok() } else { None }
    });
    let major = numbers.next()??;
    let minor = numbers.next().unwrap_or(Some(0))?;
    Some((major, minor, numbers.next().unwrap_or(Some(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tags() {
        let version = |tag: &str| image_version(&format!("ghcr.io/siderolabs/kubelet:{tag}"));
        assert_eq!(version("v1.34.1"), Some((1, 34, 1)));
        assert_eq!(version("v1.34.1-rc.0@sha256:abc"), Some((1, 34, 1)));
        assert_eq!(version("v1.34"), Some((1, 34, 0)));
        assert_eq!(version("1.34.1"), None);
        assert_eq!(version("vlatest"), None);
    }
}
