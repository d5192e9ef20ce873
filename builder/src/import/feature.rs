//! What talhelper has keys for, and a site patches.
//!
//! In: the cluster's and a node's keys. Out: documents of patches.
//!
//! Source: talhelper `pkg/generate/config.go`, `pkg/talos/nodeconfig.go`, `pkg/talos/input.go`,
//! `pkg/talos/multidocs.go`, `pkg/talos/volumeconfig.go`, `pkg/talos/extensionserviceconfig.go`.
//!
//! Not here: what a site has keys for (`site`), links (`network`), and the order of patches
//! (`patch`).

use super::files::Files;
use super::patch;
use super::talconfig::Member;
use super::value::{Data, Reader, Value};
use crate::report::Diagnostic;
use crate::talos::Role;
use crate::yaml::{Scalar, Style};

/// The label that Talos gives control planes, and that a node's own labels take away in talhelper.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What features are made with.
pub(super) struct Shop<'w, 'r, 'e> {
    pub(super) files: &'r mut Files<'w>,
    pub(super) reader: &'r mut Reader<'e>,
    pub(super) problems: &'r mut Vec<Diagnostic>,
    pub(super) notes: &'r mut Vec<Diagnostic>,
}

/// What the whole cluster has, and its control planes besides, as documents.
pub(super) fn cluster(file: &Value, shop: &mut Shop<'_, '_, '_>) -> [Vec<Value>; 2] {
    let mut all = Vec::new();
    let mut cluster = Vec::new();
    if let Some(cni) = file.get("cniConfig") {
        cluster.push(("network", file.map_here([("cni", cni.clone())])));
    }
    if let Some(manifests) = file.get("inlineManifests") {
        let items = manifests.items().iter();
        let items: Vec<Value> =
            items.filter_map(|item| shop.filled(item, "contents", "inline manifest")).collect();
        if !items.is_empty() {
            cluster.push(("inlineManifests", manifests.list_here(items)));
        }
    }
    let mut main = Vec::new();
    if let Some(sans) =
        file.get("additionalMachineCertSans").filter(|sans| !sans.items().is_empty())
    {
        main.push(("machine", file.map_here([("certSANs", sans.clone())])));
    }
    if !cluster.is_empty() {
        main.push(("cluster", file.map_here(cluster)));
    }
    if !main.is_empty() {
        all.push(file.map_here(main));
    }
    let mut own = Vec::new();
    let keys = ["allowSchedulingOnControlPlanes", "allowSchedulingOnMasters"];
    if keys.iter().any(|key| file.flag(key)) {
        own.push(("allowSchedulingOnControlPlanes", file.plain_here("true")));
    }
    if let Some(sans) =
        file.get("additionalApiServerCertSans").filter(|sans| !sans.items().is_empty())
    {
        own.push(("apiServer", file.map_here([("certSANs", sans.clone())])));
    }
    let own = match own.is_empty() {
        true => Vec::new(),
        false => vec![file.map_here([("cluster", file.map_here(own))])],
    };
    [all, own]
}

/// What a node has besides what a site has keys for, as documents.
pub(super) fn node(
    member: &Member<'_>,
    disk: Option<Value>,
    shop: &mut Shop<'_, '_, '_>,
) -> Vec<Value> {
    let at = member.node;
    let mut machine: Vec<(&str, Value)> = Vec::new();
    machine.extend(disk.map(|disk| ("install", disk)));
    if let Some(modules) = member.get("kernelModules").filter(|list| !list.items().is_empty()) {
        machine.push(("kernel", at.map_here([("modules", modules.clone())])));
    }
    if let Some(disks) = member.get("machineDisks").filter(|list| !list.items().is_empty()) {
        machine.push(("disks", disks.clone()));
    }
    if let Some(files) = member.get("machineFiles") {
        let items = files.items().iter();
        let items: Vec<Value> =
            items.filter_map(|item| shop.filled(item, "content", "machine file")).collect();
        if !items.is_empty() {
            machine.push(("files", files.list_here(items)));
        }
    }
    let sans = member.both("certSANs", "overrideMachineCertSANs");
    if !sans.is_empty() {
        machine.push(("certSANs", at.list_here(sans.into_iter().cloned())));
    }
    if let Some(labels) = member.get("nodeLabels")
        && member.role == Role::ControlPlane
        && !labels.entries().iter().any(|(key, _)| key == EXCLUDE)
    {
        let gone = labels.map_here([("$patch", labels.plain_here("delete"))]);
        machine.push(("nodeLabels", labels.map_here([(EXCLUDE, gone)])));
    }
    let mut documents = Vec::new();
    if !machine.is_empty() {
        documents.push(at.map_here([("machine", at.map_here(machine))]));
    }
    names(member, &mut documents);
    firewall(member, &mut documents);
    let lists = [
        ("extensionServices", "ExtensionServiceConfig"),
        ("volumes", "VolumeConfig"),
        ("userVolumes", "UserVolumeConfig"),
    ];
    for (key, kind) in lists {
        for item in member.get(key).map_or(&[][..], Value::items) {
            documents.push(document(item, kind, item.entries()));
        }
    }
    documents
}

/// The host name that Talos chooses, and search domains.
fn names(member: &Member<'_>, documents: &mut Vec<Value>) {
    let at = member.node;
    if member.node.flag("ignoreHostname") {
        let gone = at.map_here([("$patch", at.plain_here("delete"))]);
        let entries = [("hostname".to_owned(), gone), ("auto".to_owned(), at.plain_here("stable"))];
        documents.push(document(at, "HostnameConfig", &entries));
    }
    if member.flag("disableSearchDomain") {
        let off = at.map_here([("disableDefault", at.plain_here("true"))]);
        documents.push(document(at, "ResolverConfig", &[("searchDomains".to_owned(), off)]));
    }
}

fn firewall(member: &Member<'_>, documents: &mut Vec<Value>) {
    let Some(firewall) = member.get("ingressFirewall") else { return };
    // What says nothing is the first of Talos' actions.
    let action = firewall.text_at("defaultAction").unwrap_or("accept");
    let entries = [("ingress".to_owned(), firewall.word_here(action))];
    documents.push(document(firewall, "NetworkDefaultActionConfig", &entries));
    for rule in firewall.get("rules").map_or(&[][..], Value::items) {
        documents.push(document(rule, "NetworkRuleConfig", rule.entries()));
    }
}

/// A document of a kind.
fn document(at: &Value, kind: &str, entries: &[(String, Value)]) -> Value {
    let head = [("apiVersion", at.plain_here("v1alpha1")), ("kind", at.word_here(kind))];
    let head = head.map(|(key, value)| (key.to_owned(), value));
    let rest = entries.iter().filter(|(_, value)| !value.is_null()).cloned();
    at.made(Data::Map(head.into_iter().chain(rest).collect()))
}

impl Shop<'_, '_, '_> {
    /// An entry with its text, which may be in a file.
    fn filled(&mut self, item: &Value, key: &str, what: &str) -> Option<Value> {
        let entries = item.entries().iter().filter(|(name, _)| name != "skipEnvsubst");
        let mut entries: Vec<(String, Value)> = entries.cloned().collect();
        if let Some(text) = item.text_at(key)
            && let Some(path) = text.strip_prefix('@')
            && let Some((_, value)) = entries.iter_mut().find(|(name, _)| name == key)
        {
            *value = self.contents(item, path, !item.flag("skipEnvsubst"), what)?;
        }
        Some(item.made(Data::Map(entries))).filter(|item| patch::is_open(item, self))
    }

    fn contents(&mut self, at: &Value, path: &str, replaces: bool, what: &str) -> Option<Value> {
        let place = at.place();
        let file = self.files.read(path, Some(&place));
        let file = file.map_err(|problem| self.problems.push(problem)).ok()?;
        if file.opened.is_some() {
            let message =
                format!("the {what} `{}` is encrypted, and is not carried over", file.path);
            let note = Diagnostic::warning("import-secret", message).at(place);
            self.notes.push(note.help("write a patch with it, and encrypt that with sops"));
            return None;
        }
        let Ok(text) = std::str::from_utf8(file.plain()) else {
            let message = format!("the {what} `{}` is no text", file.path);
            let problem = Diagnostic::error("import-text", message).at(place);
            self.problems.push(problem.help("save it as UTF-8"));
            return None;
        };
        let scalar = Scalar { text: text.to_owned(), style: Style::Text };
        let value = at.made(Data::Scalar(scalar));
        if !replaces || !text.contains('$') {
            return Some(value);
        }
        self.reader.again_in(&value).map_err(|problems| self.problems.extend(problems)).ok()
    }
}
