//! Deletions of older fields as deletions of what Talos 1.14 has in their place.
//!
//! In: the paths of `$patch: delete` marks. Out: what is to be deleted.
//!
//! Source: Talos `pkg/machinery/config/configloader/internal/decoder/delete.go`.
//!
//! Not here: finding the marks (`patch`).

use super::output::Output;
use super::table::{self, ROWS, To};
use crate::config::MachineType;
use crate::config::schema::MAIN;
use crate::config::tree::Tree;
use crate::report::Diagnostic;

/// Sections that one kind of document has, and nothing else: without them Talos does what it does
/// without any document of the kind.
const WHOLE: &[(&str, &[&str])] = &[
    ("machine.install", &["UnattendedInstallConfig"]),
    ("machine.time", &["TimeSyncConfig"]),
    ("machine.udev", &["UdevRulesConfig"]),
    ("machine.network.kubespan", &["KubeSpanConfig"]),
    ("machine.network.extraHostEntries", &["StaticHostConfig"]),
    ("machine.registries", &["RegistryMirrorConfig", "RegistryAuthConfig", "RegistryTLSConfig"]),
    ("machine.registries.mirrors", &["RegistryMirrorConfig"]),
    ("machine.registries.config", &["RegistryAuthConfig", "RegistryTLSConfig"]),
    ("machine.kernel", &["KernelModuleConfig"]),
    ("machine.kernel.modules", &["KernelModuleConfig"]),
    ("machine.features.kubePrism", &["KubePrismConfig"]),
    ("machine.features.imageCache", &["ImageCacheConfig"]),
    ("machine.features.kubernetesTalosAPIAccess", &["KubeTalosAPIAccessConfig"]),
    ("cluster.discovery", &["DiscoveryServiceConfig"]),
    ("cluster.coreDNS", &["KubeCoreDNSConfig"]),
    ("cluster.apiServer.admissionControl", &["KubeAdmissionControlConfig"]),
    ("cluster.inlineManifests", &["KubeInlineManifestConfig"]),
];

/// Lists and mappings whose elements are documents, by their names.
const ELEMENTS: &[(&str, &[&str])] = &[
    ("machine.network.extraHostEntries", &["StaticHostConfig"]),
    ("machine.registries.mirrors", &["RegistryMirrorConfig"]),
    ("machine.registries.config", &["RegistryAuthConfig", "RegistryTLSConfig"]),
    ("machine.kernel.modules", &["KernelModuleConfig"]),
    ("cluster.apiServer.admissionControl", &["KubeAdmissionControlConfig"]),
    ("cluster.inlineManifests", &["KubeInlineManifestConfig"]),
];

/// Values within documents that more than the fields of the table have.
const VALUES: &[(&str, &str, &str)] = &[
    ("machine.install.disk", "UnattendedInstallConfig", "provisioning.diskSelector"),
    ("machine.install.diskSelector", "UnattendedInstallConfig", "provisioning.diskSelector"),
    ("machine.install.image", "UnattendedInstallConfig", "installer.image"),
    ("machine.network.nameservers", "ResolverConfig", "nameservers"),
    ("machine.features.hostDNS", "ResolverConfig", "hostDNS"),
    ("machine.kubelet.nodeIP", "KubeNodeConfig", "nodeIP"),
    ("cluster.network.cni.flannel.extraArgs", "KubeFlannelCNIConfig", "extraArgs"),
];

/// A mapping that keeps its keys, although not all of them.
const ARGUMENTS: (&str, To) =
    ("cluster.apiServer.extraArgs", To::Same("KubeAPIServerConfig", "extraArgs"));

/// Translates all marks. `fragment` is what they stand in.
pub(super) fn translate(deletes: &[Vec<String>], fragment: &Tree, output: &mut Output) {
    for path in deletes {
        let dotted = path.join(".");
        if output.role != MachineType::ControlPlane && table::control_plane(&dotted) {
            continue;
        }
        if !delete(path, &dotted, output) {
            output.problem(refused(&dotted, fragment));
        }
    }
}

fn delete(path: &[String], dotted: &str, output: &mut Output) -> bool {
    if let Some((_, kinds)) = WHOLE.iter().find(|(field, _)| *field == dotted) {
        kinds.iter().for_each(|kind| output.delete(kind, None, &[]));
        return true;
    }
    if let Some((name, parents)) = path.split_last() {
        let parents = parents.join(".");
        if let Some((_, kinds)) = ELEMENTS.iter().find(|(field, _)| *field == parents) {
            kinds.iter().for_each(|kind| output.delete(kind, Some(name), &[]));
            return true;
        }
    }
    for (field, to) in ROWS.iter().copied().chain([ARGUMENTS]) {
        if table::below(dotted, field).is_none() {
            continue;
        }
        // Keys may have dots in them: they are counted, not split again.
        let tail = path.iter().skip(field.split('.').count()).map(String::as_str);
        match to {
            To::Stays => {
                output.delete(MAIN, None, &field.split('.').chain(tail).collect::<Vec<_>>());
            }
            To::Same(kind, to) | To::Not(kind, to) => {
                output.delete(kind, None, &to.split('.').chain(tail).collect::<Vec<_>>());
            }
            To::Always(..) | To::Gone | To::Refused(..) => {}
        }
        return true;
    }
    let value = VALUES.iter().find(|(field, ..)| *field == dotted);
    if let Some((_, kind, to)) = value {
        output.delete(kind, None, &to.split('.').collect::<Vec<_>>());
    }
    value.is_some()
}

fn refused(dotted: &str, fragment: &Tree) -> Diagnostic {
    let message = format!("deleting `{dotted}` has no certain counterpart in Talos 1.14");
    fragment.error("translate-delete", message).help(
        "delete the document that has it now, or a value of it:\n\
         apiVersion: v1alpha1\nkind: KIND\n$patch: delete",
    )
}
