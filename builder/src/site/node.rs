//! `defaults` and `nodes` as they are written, before names are resolved.
//!
//! In: their mappings. Out: [`WrittenNode`]s.
//!
//! Source: none, the file is ours.
//!
//! Not here: profiles, overlays and configs behind the names (`resolve`), and what a config is made
//! of (`facts`).

use std::collections::BTreeMap;

use super::boot::{checked, kernel_args};
use super::field::{Fields, Written, choose, items, open, quote};
use super::file::Files;
use super::key::node::NODE;
use super::{Embed, NodeName, Source, TreeSource, meta, origin};
use crate::report::{Diagnostic, Place};
use crate::talos::Role;
use crate::yaml::Node;

/// The profile of a node for which neither it nor the defaults name one.
pub(super) const DEFAULT_PROFILE: &str = "metal-iso";

/// What a node and the defaults may both say.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) profile: Option<Written<String>>,
    pub(super) overlays: Vec<Written<String>>,
    pub(super) kernel_args: Vec<String>,
    pub(super) extensions: Vec<TreeSource>,
    pub(super) embed: Option<Written<Embed>>,
    pub(super) meta: BTreeMap<u8, String>,
    pub(super) patches: Vec<Source>,
    pub(super) values: BTreeMap<String, Node>,
}

/// A node as it is written.
#[derive(Debug)]
pub(super) struct WrittenNode<'n> {
    pub(super) name: Option<NodeName>,
    pub(super) role: Option<Role>,
    pub(super) config: Option<Written<String>>,
    /// Whether a config is named, rightly or not.
    pub(super) has_config: bool,
    pub(super) common: Common,
    /// All that it says.
    pub(super) fields: Fields<'n>,
    pub(super) place: Place,
}

/// Reads what a node and the defaults may both say.
pub(super) fn common(
    fields: &Fields<'_>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Common {
    const EMBEDS: [Embed; 5] =
        [Embed::Auto, Embed::Addon, Embed::Initramfs, Embed::Volume, Embed::None];
    let owned = |text: Written<&str>| Written { value: text.value.to_owned(), place: text.place };
    let embed =
        fields.text("embed", problems).and_then(|text| embed_mode(&text, &EMBEDS, problems));
    Common {
        profile: fields.text("profile", problems).map(owned),
        overlays: overlays(fields, problems).into_iter().map(owned).collect(),
        kernel_args: kernel_args(fields, problems),
        extensions: origin::trees(fields, "extensions", files.folder(), problems),
        embed,
        meta: fields.get("meta").map(|node| meta::read(node, problems)).unwrap_or_default(),
        patches: files.patches(fields, problems),
        values: fields
            .map("values", problems)
            .into_iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect(),
    }
}

fn embed_mode(
    text: &Written<&str>,
    modes: &[Embed],
    problems: &mut Vec<Diagnostic>,
) -> Option<Written<Embed>> {
    if text.value == "url" {
        let message = format!("`embed: {}` is not supported by this version", text.value);
        let problem = Diagnostic::error("unsupported-value", message).at(text.place.clone());
        problems.push(problem.help("use one of auto, addon, initramfs, volume, none"));
        return None;
    }
    let choices: Vec<_> = modes.iter().map(|&mode| (mode.name(), mode)).collect();
    let value = choose("embed", text, &choices, problems)?;
    Some(Written { value, place: text.place.clone() })
}

fn overlays<'n>(fields: &Fields<'n>, problems: &mut Vec<Diagnostic>) -> Vec<Written<&'n str>> {
    let mut overlays: Vec<Written<&str>> = Vec::new();
    for item in fields.texts("overlays", problems) {
        if overlays.iter().any(|overlay| overlay.value == item.value) {
            let message = format!("the overlay {} is named twice", quote(item.value));
            let problem = Diagnostic::error("duplicate-overlay", message);
            problems.push(problem.at(item.place).help("drop one of them"));
        } else {
            overlays.push(item);
        }
    }
    overlays
}

/// Reads `nodes`, and sees to it that no two have one name.
pub(super) fn nodes<'n>(
    node: &'n Node,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<WrittenNode<'n>> {
    let list = items(node, "nodes", problems);
    if list.is_empty() && node.items().is_some() {
        let problem = Diagnostic::error("no-nodes", "the site has no nodes").at(node.place());
        problems
            .push(problem.help("add one: `- {name: cp-1, role: controlplane, config: cp-1.yaml}`"));
    }
    let mut lines = BTreeMap::new();
    list.iter().filter_map(|item| self::node(item, &mut lines, files, problems)).collect()
}

/// Reads a node. `lines` are those of the names before it, in lower case.
fn node<'n>(
    item: &'n Node,
    lines: &mut BTreeMap<String, u32>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<WrittenNode<'n>> {
    let fields = open(item, &NODE, problems)?;
    let name = fields.need_text("name", "cp-1", problems);
    let name = name.and_then(|text| {
        let name = checked("node-name", &text, NodeName::parse, problems)?;
        claim(name.as_str(), &text.place, lines, problems);
        Some(name)
    });
    // In Kubernetes a node goes by its host name without the domain.
    if let Some(hostname) = fields.own("hostname").filter(|node| node.text().is_some()) {
        let label = hostname.text().and_then(|text| text.split('.').next()).unwrap_or_default();
        if !name.as_ref().is_some_and(|name| name.as_str().eq_ignore_ascii_case(label)) {
            claim(label, &hostname.place(), lines, problems);
        }
    }
    let roles = [Role::ControlPlane, Role::Worker].map(|role| (role.name(), role));
    let role = fields.need_text("role", "controlplane", problems);
    let role = role.and_then(|text| choose("role", &text, &roles, problems));
    let config = fields.text("config", problems);
    Some(WrittenNode {
        name,
        role,
        config: config.map(|text| Written { value: text.value.to_owned(), place: text.place }),
        has_config: fields.get("config").is_some(),
        common: common(&fields, files, problems),
        fields,
        place: fields.place(),
    })
}

/// Takes a name for the node on a line.
fn claim(
    name: &str,
    place: &Place,
    lines: &mut BTreeMap<String, u32>,
    problems: &mut Vec<Diagnostic>,
) {
    if let Some(line) = lines.insert(name.to_ascii_lowercase(), place.line) {
        let message = format!("the name {} is taken by the node on line {line}", quote(name));
        let problem = Diagnostic::error("duplicate-node", message).at(place.clone());
        problems.push(problem.help("names must differ in more than upper and lower case"));
    }
}

impl Common {
    /// The defaults with what a node says laid over them: overlays and patches are joined, values
    /// replaced one by one. Kernel arguments stay apart, as the overlays' come between them.
    pub(super) fn with(&self, node: &Self) -> Self {
        let mut merged = self.clone();
        merged.profile = node.profile.clone().or(merged.profile);
        merged.embed = node.embed.clone().or(merged.embed);
        for overlay in &node.overlays {
            if !merged.overlays.iter().any(|known| known.value == overlay.value) {
                merged.overlays.push(overlay.clone());
            }
        }
        for extension in &node.extensions {
            if !merged.extensions.contains(extension) {
                merged.extensions.push(extension.clone());
            }
        }
        merged.meta.extend(node.meta.iter().map(|(key, value)| (*key, value.clone())));
        merged.patches.extend(node.patches.iter().cloned());
        merged.values.extend(node.values.iter().map(|(name, value)| (name.clone(), value.clone())));
        merged
    }
}
