//! The fields of `machine` whose values have to be looked at.
//!
//! In: a fragment. Out: its documents.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/v1alpha1/v1alpha1_types.go`,
//! `pkg/machinery/config/types/{block,cri,k8s,network,runtime}/`,
//! `internal/app/machined/pkg/runtime/v1alpha1/v1alpha1_sequencer_tasks.go` (`WriteUserFiles`).
//!
//! Not here: installs (`install`), registries (`registry`), interfaces (`links`).

use std::net::IpAddr;

use super::output::{self, Fields, Output};
use super::{install, links, registry};
use crate::config::MachineType;
use crate::config::tree::{Data, Tree};

/// Translates the section.
pub(super) fn translate(rest: &mut Tree, output: &mut Output) {
    install::translate(rest, output);
    hostname(rest, output);
    if let Some(interfaces) = output::take(rest, "machine.network.interfaces") {
        links::translate(&interfaces, output);
    }
    nameservers(rest, output);
    hosts(rest, output);
    registry::translate(rest, output);
    modules(rest, output);
    files(rest, output);
    encryption(rest, output);
    pods(rest, output);
    kube_prism(rest, output);
    talos_access(rest, output);
}

fn hostname(rest: &mut Tree, output: &mut Output) {
    let name = output::take(rest, "machine.network.hostname");
    let stable = output::take(rest, "machine.features.stableHostname");
    match (name, stable) {
        (Some(name), _) => {
            output.delete("HostnameConfig", None, &["auto"]);
            output.put("HostnameConfig", "hostname", name);
        }
        (None, Some(stable)) if stable.bool() == Some(true) => {
            output.put("HostnameConfig", "auto", Tree::from("stable"));
        }
        (None, Some(stable)) => {
            let message = "Talos 1.14 makes no hostname of an address";
            output.refuse(&stable, message, "name the host:\nkind: HostnameConfig\nhostname: ...");
        }
        (None, None) => {}
    }
}

fn nameservers(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "machine.network.nameservers") else { return };
    for server in list.items() {
        let Some(address) = server.text().and_then(|text| text.parse::<IpAddr>().ok()) else {
            output.invalid(server, "this nameserver is no address", "write its address");
            continue;
        };
        let item = Tree::map([("address", Tree::from(address.to_string()))]);
        let document = output.open("ResolverConfig", None, server);
        document.open("nameservers").items_mut().push(item);
    }
}

fn hosts(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "machine.network.extraHostEntries") else { return };
    for item in list.items() {
        let mut host = Fields::new("machine.network.extraHostEntries", item.clone());
        let ip = host.text("ip").and_then(|(_, text)| text.parse::<IpAddr>().ok());
        let aliases = host.items("aliases");
        host.finish(output);
        match ip {
            Some(ip) => {
                let document = output.open("StaticHostConfig", Some(&ip.to_string()), item);
                document.open("hostnames").items_mut().extend(aliases);
            }
            None => output.invalid(item, "this host has no address", "write its `ip`"),
        }
    }
}

fn modules(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "machine.kernel.modules") else { return };
    for item in list.items() {
        let mut module = Fields::new("machine.kernel.modules", item.clone());
        let name = module.text("name").map(|(_, name)| name);
        let parameters = module.items("parameters");
        module.finish(output);
        let Some(name) = name else {
            output.invalid(item, "this kernel module has no name", "write its `name`");
            continue;
        };
        let document = output.open("KernelModuleConfig", Some(&name), item);
        if !parameters.is_empty() {
            document.open("parameters").items_mut().extend(parameters);
        }
    }
}

/// The one file below `/etc/cri` that Talos takes from older configs.
const CRI_PART: &str = "/etc/cri/conf.d/20-customization.part";

/// Files in `/etc` that Talos writes itself, and directories of such.
const MANAGED: [&str; 19] = [
    "resolv.conf",
    "hosts",
    "machine-id",
    "extensions.yaml",
    "localtime",
    "os-release",
    "xattr.conf",
    "apparmor.d/",
    "apparmor/",
    "ca-certificates/",
    "cni/",
    "cri/",
    "iscsi/",
    "kubernetes/",
    "lvm/",
    "nvme/",
    "pki/",
    "selinux/",
    "ssl/",
];

fn files(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "machine.files") else { return };
    for item in list.items() {
        let path = item.text_at(&["path"]).unwrap_or_default().to_owned();
        let whole = matches!(item.text_at(&["op"]), Some("create" | "overwrite"));
        if path == CRI_PART {
            let content = item.get("content").cloned().unwrap_or_else(|| Tree::from(""));
            let document = output.open("CRICustomizationConfig", Some("machine-files"), item);
            document.set("content", content);
        } else if path.starts_with("/etc/kubernetes/manifests/") {
            let message = "Talos 1.14 reads no static pods from files";
            let help = "write it as a document:\nkind: KubeStaticPodConfig\nname: NAME\npod: ...";
            output.refuse(item, message, help);
        } else if let Some(name) = path.strip_prefix("/etc/") {
            etc_file(name, whole, item, output);
        } else {
            // Talos 1.14 writes such files still, and has no document for them.
            let files = output.main.open("machine").open("files");
            files.items_mut().push(item.clone());
        }
    }
}

fn etc_file(name: &str, whole: bool, item: &Tree, output: &mut Output) {
    let managed = MANAGED.iter().any(|managed| match managed.strip_suffix('/') {
        Some(directory) => name == directory || name.starts_with(managed),
        None => name == *managed,
    });
    let local =
        !name.is_empty() && !name.starts_with('.') && !name.split('/').any(|part| part == "..");
    if managed || !local {
        let message = "Talos writes this file itself";
        output.refuse(item, message, "drop it, and use the document for what it configures");
    } else if !whole {
        let message = "Talos 1.14 writes a file in `/etc` only as a whole";
        let help = "write the whole file:\nkind: EtcFileConfig\nname: PATH BELOW /etc\n\
                    mode: 0o644\ncontents: ...";
        output.refuse(item, message, help);
    } else {
        let document = output.open("EtcFileConfig", Some(name), item);
        for (from, to) in [("permissions", "mode"), ("content", "contents")] {
            if let Some(value) = item.get(from) {
                document.set(to, value.clone());
            }
        }
    }
}

fn encryption(rest: &mut Tree, output: &mut Output) {
    for (key, volume) in [("state", "STATE"), ("ephemeral", "EPHEMERAL")] {
        let path = format!("machine.systemDiskEncryption.{key}");
        let Some(section) = output::take(rest, &path) else { continue };
        if section.entries().is_empty() {
            continue;
        }
        let document = output.open("VolumeConfig", Some(volume), &section).open("encryption");
        for (key, value) in section.entries() {
            document.set(key, value.clone());
        }
        if section.get("provider").is_none() {
            output.beneath("VolumeConfig", Some(volume), &["encryption", "provider"], "luks2");
        }
    }
}

fn pods(rest: &mut Tree, output: &mut Output) {
    let Some(list) = output::take(rest, "machine.pods") else { return };
    for pod in list.items() {
        // The name by which Talos knows the pod of an older config.
        let part = |key| pod.text_at(&["metadata", key]).unwrap_or("default");
        let name = format!("{}-{}", part("namespace"), part("name"));
        output.open("KubeStaticPodConfig", Some(&name), pod).set("pod", pod.clone());
    }
}

fn kube_prism(rest: &mut Tree, output: &mut Output) {
    let Some(mut prism) = output::section(rest, "machine.features.kubePrism") else { return };
    let (enabled, port) = (prism.bool("enabled"), prism.take("port"));
    prism.finish(output);
    if enabled == Some(false) {
        output.delete("KubePrismConfig", None, &[]);
        return;
    }
    if enabled == Some(true) {
        output.beneath("KubePrismConfig", None, &["port"], Tree::from(Data::Int(7445)));
    }
    if let Some(port) = port {
        output.put("KubePrismConfig", "port", port);
    }
}

fn talos_access(rest: &mut Tree, output: &mut Output) {
    const KIND: &str = "KubeTalosAPIAccessConfig";
    let Some(value) = output::take(rest, "machine.features.kubernetesTalosAPIAccess") else {
        return;
    };
    let mut access = Fields::new("machine.features.kubernetesTalosAPIAccess", value.clone());
    let enabled = access.bool("enabled");
    match enabled {
        Some(false) => output.delete(KIND, None, &[]),
        Some(true) if output.role != MachineType::ControlPlane => {
            let message = "Talos takes `kubernetesTalosAPIAccess` on control planes alone";
            output.refuse(&value, message, "put it into a patch for control planes");
        }
        _ => {}
    }
    let mut some = false;
    for key in ["allowedRoles", "allowedKubernetesNamespaces"] {
        if let Some(list) = access.take(key).filter(|_| enabled != Some(false)) {
            output.put(KIND, key, list);
            some = true;
        }
    }
    if enabled == Some(true) {
        output.open(KIND, None, &value);
    } else if enabled.is_none() && some {
        let message = "Talos 1.14 allows the access as soon as it has the document";
        output.refuse(&value, message, "write `enabled: true` beside, if it is to be allowed");
    }
    access.finish(output);
}
