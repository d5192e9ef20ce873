//! From names to what they stand for: profiles, overlays, machine configs, facts.
//!
//! In: the text of a site file. Out: the [`Site`], where all is right.
//!
//! Source: none, the file is ours.
//!
//! Not here: what goes together with what (`check`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::address::{self, Seeker};
use super::boot::{self, BootPart, ClusterPart};
use super::check::{self, Parts};
use super::facts::{self, Below, Made};
use super::field::{Fields, Written, open, quote};
use super::file::Files;
use super::key::{SITE, network::NETWORK, node::DEFAULTS, node::FACTS};
use super::node::{self, Common, DEFAULT_PROFILE, WrittenNode};
use super::{Embed, MAX_BYTES, Node, Site, TreeSource, World, value};
use crate::config::facts::Facts;
use crate::report::{Diagnostic, Place};
use crate::units::Size;
use crate::yaml::{self, Node as Tree, Value};

/// The most bytes of text that a site may have when aliases are followed.
const MAX_TEXT: u64 = 4 * MAX_BYTES;

/// The most bytes of text that all nodes may get from `defaults` and `network` together.
const MAX_SHARED: u64 = 256 << 20;

/// Reads a whole site. Nothing comes back only where there are problems.
pub(super) fn site(
    path: &Path,
    text: &[u8],
    world: World<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Site> {
    let root = root(path, text, problems)?;
    let fields = open(&root, &SITE, problems)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Files::new(folder, world);
    version(&fields, problems);
    let silence = fields.strings("silence", problems);
    let cluster = fields.need("cluster", "{name: …, endpoint: …, talos: …}", problems);
    let cluster = cluster.map(|node| boot::cluster(node, &mut files, problems));
    let boot = fields.need("boot", "{assets: \"dir:assets\"}", problems);
    let boot = boot.map(|node| boot::boot(node, folder, problems)).unwrap_or_default();
    let mut open = |key, section| fields.get(key).and_then(|node| open(node, section, problems));
    let below = Below { defaults: open("defaults", &DEFAULTS), network: open("network", &NETWORK) };
    let defaults = below.defaults.map(|fields| node::common(&fields, &mut files, problems));
    facts::check(below, &mut files, problems);
    let nodes = fields.need("nodes", "[{name: cp-1, role: controlplane, config: …}]", problems);
    let nodes = nodes.map(|node| node::nodes(node, &mut files, problems)).unwrap_or_default();
    shared_text(&fields, nodes.len(), problems)?;

    let shared = Shared {
        cluster: cluster.unwrap_or_default(),
        boot,
        defaults: defaults.unwrap_or_default(),
        below,
    };
    let nodes = shared.nodes(&nodes, &mut files, problems);
    let values = shared.values(nodes.as_deref(), &mut files, problems);
    let mut cluster = shared.cluster.cluster?;
    cluster.silence = silence;
    Some(Site {
        path: path.to_owned(),
        cluster,
        boot: shared.boot.finish()?,
        nodes: nodes?,
        values,
        warnings: Vec::new(),
        silenced: Vec::new(),
    })
}

/// The one document of the file.
fn root(path: &Path, text: &[u8], problems: &mut Vec<Diagnostic>) -> Option<Tree> {
    let file = path.display().to_string();
    let place = Place { file: file.clone(), line: 1, column: 1 };
    if text.len() as u64 > MAX_BYTES {
        let message = format!("the site file is larger than {}", Size(MAX_BYTES));
        problems.push(Diagnostic::error("site-too-large", message).at(place));
        return None;
    }
    let documents = yaml::parse(&file, text).map_err(|error| problems.push(error)).ok()?;
    let mut documents = documents.into_iter().filter(|node| !node.is_null());
    let root = documents.next();
    if root.is_none() {
        let problem = Diagnostic::error("site-empty", "the site file is empty").at(place.clone());
        problems.push(problem.help("`talforge init` writes one to start from"));
    }
    if let Some(second) = documents.next() {
        let problem = Diagnostic::error("site-documents", "a site file has one document alone");
        problems.push(problem.at(second.place()).help("drop the `---` line and what follows"));
    }
    let root = root?;
    if weight(&root) > MAX_TEXT {
        let message =
            format!("the site has more than {} of text, aliases followed", Size(MAX_TEXT));
        problems.push(Diagnostic::error("site-too-large", message).at(place));
        return None;
    }
    Some(root)
}

/// The bytes of all texts in a tree, and some for each value.
fn weight(node: &Tree) -> u64 {
    const VALUE: u64 = 16;
    let inside: u64 = match node.value() {
        Value::Scalar(scalar) => scalar.text.len() as u64,
        Value::Sequence(items) => items.iter().map(weight).sum(),
        Value::Mapping(entries) => {
            entries.iter().map(|entry| weight(&entry.value) + entry.key.len() as u64).sum()
        }
    };
    inside + VALUE
}

/// Sees to it that what all nodes share is not too much for their number.
fn shared_text(fields: &Fields<'_>, nodes: usize, problems: &mut Vec<Diagnostic>) -> Option<()> {
    let shared = [fields.get("defaults"), fields.get("network")].into_iter().flatten();
    let each: u64 = shared.map(weight).sum();
    if each.saturating_mul(nodes as u64) <= MAX_SHARED {
        return Some(());
    }
    let message = format!("`defaults` and `network` say too much for {nodes} nodes");
    let problem = Diagnostic::error("site-too-large", message).at(fields.place());
    problems.push(problem.help("make several sites of it"));
    None
}

fn version(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(text) = fields.need_text("version", "1", problems) else { return };
    if text.value != "1" {
        let message = format!("{} is no version of the site file", quote(text.value));
        let problem = Diagnostic::error("site-version", message).at(text.place);
        problems.push(problem.help("this program reads version 1"));
    }
}

/// What all nodes share, where it is right.
struct Shared<'n> {
    cluster: ClusterPart,
    boot: BootPart,
    defaults: Common,
    below: Below<'n>,
}

/// What is known of a node while the addresses of others are still open.
struct Half<'w> {
    written: &'w WrittenNode<'w>,
    node: Option<Node>,
    made: Option<Made>,
}

impl Shared<'_> {
    /// Each node is looked at, also after one that is wrong.
    fn nodes(
        &self,
        written: &[WrittenNode<'_>],
        files: &mut Files<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Vec<Node>> {
        // What is wrong with what all nodes share was told, and is not told anew for each.
        let told = |problem: &Diagnostic| (problem.place.clone(), problem.message.clone());
        let shared: BTreeSet<_> = problems.iter().map(told).collect();
        let mut halves = Vec::new();
        for node in written {
            let mut own = Vec::new();
            halves.push(self.resolve(node, files, &mut own));
            own.retain(|problem| !shared.contains(&told(problem)));
            problems.extend(own);
        }
        let mut seekers: Vec<_> = halves
            .iter_mut()
            .filter_map(|half| {
                let draft = &mut half.made.as_mut()?.draft;
                let name = half.written.name.as_ref()?.as_str();
                Some(Seeker { name, place: &half.written.place, draft })
            })
            .collect();
        address::allocate(&mut seekers, self.cluster.endpoint.as_ref(), problems);
        let whole = |half: Half<'_>| {
            let facts = half.made.map(|made| Facts { network: made.draft.network, ..made.facts });
            Some(Node { facts, ..half.node? })
        };
        halves.into_iter().map(whole).collect()
    }

    /// The values of the defaults, each of which some overlay takes.
    fn values(
        &self,
        nodes: Option<&[Node]>,
        files: &mut Files<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> BTreeMap<String, Tree> {
        let Some(nodes) = nodes else { return BTreeMap::new() };
        let overlays = nodes.iter().flat_map(|node| &node.overlays);
        let taken = value::taken(overlays.map(|(_, overlay)| overlay));
        value::unknown(&self.defaults.values, &taken, "of the site", problems);
        value::read(&self.defaults.values, &taken, files, problems)
    }

    fn resolve<'w>(
        &self,
        written: &'w WrittenNode<'w>,
        files: &mut Files<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Half<'w> {
        let common = self.defaults.with(&written.common);
        let profile_name = common.profile.clone().unwrap_or_else(|| Written {
            value: DEFAULT_PROFILE.to_owned(),
            place: written.place.clone(),
        });
        let profile = files.profile(&profile_name, problems);
        let overlays: Vec<_> =
            common.overlays.iter().map(|name| (name, files.overlay(name, problems))).collect();
        let config = written.config.as_ref().and_then(|path| files.config(path, problems));
        let embed = common.embed.as_ref().map_or(Embed::Auto, |embed| embed.value);
        let made = self
            .wants_facts(written, embed)
            .then(|| facts::node(written.fields, self.below, written.role, files, problems));
        let parts = Parts {
            written,
            embed: common.embed.as_ref(),
            profile: profile.as_ref().map(|profile| (&profile_name, profile)),
            overlays: &overlays,
            config: config.as_ref(),
            made: made.as_ref(),
            talos: self.cluster.talos.as_ref(),
            arch: self.boot.arch,
            has_secrets: self.cluster.has_secrets,
            is_patched: self.cluster.has_patches || !common.patches.is_empty(),
        };
        check::node(&parts, problems);
        let taken = value::taken(overlays.iter().filter_map(|(_, overlay)| overlay.as_ref()));
        if overlays.iter().all(|(_, overlay)| overlay.is_some()) {
            value::unknown(&written.common.values, &taken, "of the node", problems);
        }
        let values = value::read(&common.values, &taken, files, problems);

        let node = || {
            let arch = self.boot.arch?;
            let overlays = overlays
                .iter()
                .map(|(name, overlay)| Some((name.value.clone(), overlay.clone()?)))
                .collect::<Option<Vec<_>>>()?;
            let args = [&self.boot.kernel_args, &self.defaults.kernel_args].into_iter().flatten();
            let overlaid = overlays.iter().flat_map(|(_, overlay)| overlay.kernel_args.of(arch));
            let own = &written.common.kernel_args;
            Some(Node {
                name: written.name.clone()?,
                role: written.role?,
                config: config.clone(),
                facts: None,
                kernel_args: args.chain(overlaid).chain(own).cloned().collect(),
                patches: common.patches.clone(),
                values: values.clone(),
                profile_name: profile_name.value.clone(),
                profile: profile.clone()?,
                overlays,
                extensions: self.extensions(&common),
                meta: common.meta.clone(),
                embed,
                place: written.place.clone(),
            })
        };
        let node = node();
        Half { written, node, made }
    }

    /// The extensions of all nodes, and then those of the defaults and of the node; each once.
    fn extensions(&self, common: &Common) -> Vec<TreeSource> {
        let mut extensions = self.boot.extensions.clone();
        let more = common.extensions.iter().filter(|more| !self.boot.extensions.contains(more));
        extensions.extend(more.cloned());
        extensions
    }

    /// Whether a node's config is made here. One that gets none on its medium may say nothing.
    fn wants_facts(&self, written: &WrittenNode<'_>, embed: Embed) -> bool {
        let says = || FACTS.iter().any(|key| written.fields.own(key).is_some());
        !written.has_config && (embed != Embed::None || says())
    }
}
