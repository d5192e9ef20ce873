//! `talconfig.yaml`: which keys it has, and what holds for a node.
//!
//! In: the file's [`Value`]. Out: [`Member`]s, each with what its group says.
//!
//! Source: talhelper `pkg/config/config.go` (keys), `pkg/config/nodeconfigs.go` (groups).
//!
//! Not here: what the keys become.

use super::value::{Data, Value};
use crate::report::Diagnostic;
use crate::talos::Role;
use crate::yaml::meant::nearest;

/// The keys of the file.
const TOP: [&str; 18] = [
    "clusterName",
    "talosVersion",
    "kubernetesVersion",
    "endpoint",
    "domain",
    "allowSchedulingOnMasters",
    "allowSchedulingOnControlPlanes",
    "additionalMachineCertSans",
    "additionalApiServerCertSans",
    "inlineManifests",
    "clusterPodNets",
    "clusterSvcNets",
    "cniConfig",
    "patches",
    "nodes",
    "imageFactory",
    "controlPlane",
    "worker",
];

/// The keys of a node alone.
const NODE: [&str; 9] = [
    "hostname",
    "ipAddress",
    "controlPlane",
    "installDisk",
    "installDiskSelector",
    "ignoreHostname",
    "overridePatches",
    "overrideExtraManifests",
    "overrideMachineCertSANs",
];

/// The keys of nodes and groups.
const GROUP: [&str; 22] = [
    "nodeLabels",
    "nodeAnnotations",
    "nodeTaints",
    "machineDisks",
    "machineFiles",
    "disableSearchDomain",
    "kernelModules",
    "nameservers",
    "networkInterfaces",
    "extraManifests",
    "certSANs",
    "patches",
    "talosImageURL",
    "noSchematicValidate",
    "schematic",
    "imageSchematic",
    "machineSpec",
    "ingressFirewall",
    "extensionServices",
    "volumes",
    "userVolumes",
    "filenameTmpl",
];

/// A node and its group.
pub(super) struct Member<'v> {
    pub(super) node: &'v Value,
    group: Option<&'v Value>,
    pub(super) hostname: &'v str,
    pub(super) role: Role,
}

/// Takes the nodes, and sees to it that the file is whole.
pub(super) fn members<'v>(
    file: &'v Value,
    problems: &mut Vec<Diagnostic>,
    notes: &mut Vec<Diagnostic>,
) -> Vec<Member<'v>> {
    for key in ["clusterName", "endpoint", "kubernetesVersion"] {
        if file.text_at(key).is_none() {
            let message = format!("`{key}` is missing");
            let problem = Diagnostic::error("import-missing", message).at(file.place());
            problems.push(problem.help("talhelper asks for it too: add it"));
        }
    }
    unknown(file, &[&TOP], notes);
    let groups = ["controlPlane", "worker"];
    groups
        .iter()
        .filter_map(|key| file.get(key))
        .for_each(|group| unknown(group, &[&GROUP], notes));
    let nodes = file.get("nodes").map_or(&[][..], Value::items);
    if nodes.is_empty() {
        let problem = Diagnostic::error("import-missing", "`nodes` has no node").at(file.place());
        problems.push(problem.help("list the nodes, each with `hostname` and `ipAddress`"));
    }
    let member = |node: &'v Value| {
        unknown(node, &[&NODE, &GROUP], notes);
        let Some(hostname) = node.text_at("hostname") else {
            let problem = Diagnostic::error("import-missing", "a node has no `hostname`");
            problems.push(problem.at(node.place()).help("name it: `hostname: node-1`"));
            return None;
        };
        let (role, group) = match node.flag("controlPlane") {
            true => (Role::ControlPlane, "controlPlane"),
            false => (Role::Worker, "worker"),
        };
        Some(Member { node, group: file.get(group), hostname, role })
    };
    nodes.iter().filter_map(member).collect()
}

impl<'v> Member<'v> {
    /// What holds for a key: the node's own, or else its group's. Neither is added to the other.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value> {
        let own = self.node.get(key).filter(|value| says(value, key));
        own.or_else(|| self.group?.get(key).filter(|value| says(value, key)))
    }

    /// A text that holds.
    pub(super) fn text(&self, key: &str) -> Option<&'v str> {
        self.get(key)?.text().filter(|text| !text.is_empty())
    }

    /// Whether a switch is on.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(Value::is_on)
    }

    /// A list to which both add, and what stands first: the group's patches, and the node's own of
    /// everything else. `switch` is the key by which the node's own take the place of the group's.
    pub(super) fn both(&self, key: &str, switch: &str) -> Vec<&'v Value> {
        let own = self.node.get(key);
        let group = self.group.and_then(|group| group.get(key));
        let group = group.filter(|_| own.is_none() || !self.node.flag(switch));
        let items = |list: Option<&'v Value>| list.map_or(&[][..], Value::items).iter();
        match key {
            "patches" => items(group).chain(items(own)).collect(),
            _ => items(own).chain(items(group)).collect(),
        }
    }

    /// The group's own patches, where they hold for the node.
    pub(super) fn group_patches(&self) -> &'v [Value] {
        let group = self.group.and_then(|group| group.get("patches"));
        let own = self.node.get("patches").is_some();
        match group {
            Some(group) if !(own && self.node.flag("overridePatches")) => group.items(),
            _ => &[],
        }
    }

    /// The node's own patches.
    pub(super) fn own_patches(&self) -> &'v [Value] {
        self.node.get("patches").map_or(&[], Value::items)
    }
}

/// Whether a value is other than what Go has for nothing, and so goes before the group's.
fn says(value: &Value, key: &str) -> bool {
    match value.data() {
        Data::Scalar(scalar) => {
            !scalar.text.is_empty() && (key != "disableSearchDomain" || value.is_on())
        }
        Data::List(_) => true,
        Data::Map(entries) if key == "machineSpec" => {
            let off = ["", "false", "no", "off"];
            entries.iter().any(|(_, value)| value.text().is_some_and(|text| !off.contains(&text)))
        }
        Data::Map(_) => true,
    }
}

/// Tells of keys that talhelper passes over.
fn unknown(value: &Value, known: &[&[&'static str]], notes: &mut Vec<Diagnostic>) {
    let names = || known.iter().flat_map(|keys| keys.iter().copied());
    for (key, inner) in value.entries() {
        if names().any(|name| name == key) {
            continue;
        }
        let key: String = key.chars().take(64).collect();
        let message = format!("talhelper has no key `{key}`, and neither is it carried over");
        let help = nearest(&key, names())
            .map_or_else(|| "drop it".to_owned(), |near| format!("did you mean `{near}`?"));
        notes.push(Diagnostic::warning("import-unknown-key", message).at(inner.place()).help(help));
    }
}
