//! `defaults` and `nodes` as they are written, before names are resolved.
//!
//! In: their mappings. Out: [`WrittenNode`]s.
//!
//! Source: none, the file is ours.
//!
//! Not here: profiles, overlays and configs behind the names (`resolve`).

use std::collections::BTreeMap;

use super::boot::{checked, choose, kernel_args};
use super::field::{Fields, Written, items, open, quote};
use super::{Embed, NodeName, Role, key, meta};
use crate::report::{Diagnostic, Place};
use crate::yaml::Node;

/// The profile of a node for which neither it nor the defaults name one.
pub(super) const DEFAULT_PROFILE: &str = "metal-iso";

/// What a node and the defaults may both say.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) profile: Option<Written<String>>,
    pub(super) overlays: Vec<Written<String>>,
    pub(super) kernel_args: Vec<String>,
    pub(super) embed: Option<Written<Embed>>,
    pub(super) meta: BTreeMap<u8, String>,
}

/// A node as it is written.
#[derive(Debug)]
pub(super) struct WrittenNode {
    pub(super) name: Option<NodeName>,
    pub(super) role: Option<Role>,
    pub(super) config: Option<Written<String>>,
    /// Whether a config is named, rightly or not.
    pub(super) has_config: bool,
    pub(super) common: Common,
    pub(super) place: Place,
}

/// Reads `defaults`.
pub(super) fn defaults(node: Option<&Node>, problems: &mut Vec<Diagnostic>) -> Common {
    let fields = node.and_then(|node| open(node, &key::DEFAULTS, problems));
    fields.map_or_else(Common::default, |fields| common(&fields, problems))
}

fn common(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Common {
    const EMBEDS: [Embed; 4] = [Embed::Auto, Embed::Addon, Embed::Initramfs, Embed::None];
    let owned = |text: Written<&str>| Written { value: text.value.to_owned(), place: text.place };
    let embed =
        fields.text("embed", problems).and_then(|text| embed_mode(&text, &EMBEDS, problems));
    Common {
        profile: fields.text("profile", problems).map(owned),
        overlays: overlays(fields, problems).into_iter().map(owned).collect(),
        kernel_args: kernel_args(fields, problems),
        embed,
        meta: fields.get("meta").map(|node| meta::read(node, problems)).unwrap_or_default(),
    }
}

fn embed_mode(
    text: &Written<&str>,
    modes: &[Embed],
    problems: &mut Vec<Diagnostic>,
) -> Option<Written<Embed>> {
    if let "volume" | "url" = text.value {
        let message = format!("`embed: {}` is not supported by this version", text.value);
        let problem = Diagnostic::error("unsupported-value", message).at(text.place.clone());
        problems.push(problem.help("use one of auto, addon, initramfs, none"));
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
pub(super) fn nodes(node: &Node, problems: &mut Vec<Diagnostic>) -> Vec<WrittenNode> {
    let list = items(node, "nodes", problems);
    if list.is_empty() && node.items().is_some() {
        let problem = Diagnostic::error("no-nodes", "the site has no nodes").at(node.place());
        problems
            .push(problem.help("add one: `- {name: cp-1, role: controlplane, config: cp-1.yaml}`"));
    }
    let mut lines = BTreeMap::new();
    list.iter().filter_map(|item| self::node(item, &mut lines, problems)).collect()
}

/// Reads a node. `lines` are those of the names before it, in lower case.
fn node(
    item: &Node,
    lines: &mut BTreeMap<String, u32>,
    problems: &mut Vec<Diagnostic>,
) -> Option<WrittenNode> {
    let fields = open(item, &key::NODE, problems)?;
    let name = fields.need_text("name", "cp-1", problems);
    let name = name.and_then(|text| {
        let name = checked("node-name", &text, NodeName::parse, problems)?;
        if let Some(line) = lines.insert(name.as_str().to_ascii_lowercase(), text.place.line) {
            let message = format!("the name `{name}` is taken by the node on line {line}");
            let problem = Diagnostic::error("duplicate-node", message).at(text.place);
            problems.push(problem.help("names must differ in more than upper and lower case"));
        }
        Some(name)
    });
    let roles = [Role::ControlPlane, Role::Worker].map(|role| (role.name(), role));
    let role = fields.need_text("role", "controlplane", problems);
    let role = role.and_then(|text| choose("role", &text, &roles, problems));
    let config = fields.text("config", problems);
    Some(WrittenNode {
        name,
        role,
        config: config.map(|text| Written { value: text.value.to_owned(), place: text.place }),
        has_config: fields.get("config").is_some(),
        common: common(&fields, problems),
        place: fields.place(),
    })
}

impl Common {
    /// The defaults with what a node says laid over them: overlays are joined, values of META
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
        merged.meta.extend(node.meta.iter().map(|(key, value)| (*key, value.clone())));
        merged
    }
}
