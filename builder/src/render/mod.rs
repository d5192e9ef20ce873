//! The final machine config of every node of a site.
//!
//! In: a [`Site`] and a time. Out: [`Rendered`] configs, checked the way Talos will; or everything
//! that is wrong with them.
//!
//! Source: Talos `cmd/talosctl/cmd/mgmt/gen/config.go` (the order: what is generated, patches for
//! all, patches for the role).
//!
//! Not here: what a config is made of (`config`), how the site says it (`site`), and what is wrong
//! only where one sees all nodes (`check`).
//!
//! # The order
//!
//! What `talosctl gen config` makes; the node's own facts; the patches for all nodes, for the
//! node's role, of its overlays in their order, for the node. Overlays' manifests come last. A ready
//! config takes the place of the first two, and is not touched where there is no patch.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::catalog::expand::{self, Machine, Scope};
use crate::config::documents::Documents;
use crate::config::facts;
use crate::config::facts::prefix::Prefix;
use crate::config::generate::{self, Input, defaults};
use crate::config::patch::Patch;
use crate::config::schema::{MAIN, OLDEST, Schema};
use crate::config::tree::Tree;
use crate::config::{MachineConfig, translate, valid};
use crate::parallel;
use crate::pki::Bundle;
use crate::report::{Diagnostic, Severity};
use crate::site::{Embed, Node, Site, Source, Text};
use crate::talos::Role;

/// The configs of a site.
#[derive(Debug)]
pub struct Rendered {
    /// One for each node of the site, in its order; none for a node that neither has a config nor
    /// can be given one.
    pub nodes: Vec<Option<Config>>,
    /// What is allowed but worth a look.
    pub warnings: Vec<Diagnostic>,
}

/// A node's config.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its text.
    pub text: MachineConfig,
    /// Its documents. None where the version of Talos is older than those whose configs are known.
    pub documents: Option<Documents>,
}

/// Reads the secrets that a site names.
///
/// # Errors
///
/// Everything that is wrong with them; that the site names none.
pub fn secrets(
    site: &Site,
    now: SystemTime,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Bundle, Vec<Diagnostic>> {
    let Some(source) = &site.cluster.secrets else {
        let problem = Diagnostic::error("no-secrets", "the site names no secrets of its cluster");
        let help = "make some with `talforge secrets`, and name them: `secrets: secrets.yaml`";
        return Err(vec![problem.help(help)]);
    };
    let Text::Bytes(bytes) = &source.text else {
        let problem = Diagnostic::error("no-secrets", "the cluster's secrets are no file");
        return Err(vec![problem.at(source.place.clone()).help("name their file")]);
    };
    let loaded = Bundle::parse(&source.file, bytes, now)?;
    warnings.extend(loaded.warnings);
    Ok(loaded.bundle)
}

/// Makes every node's config.
///
/// # Errors
///
/// Everything that is wrong, of all nodes; what several have in common is told once.
pub fn site(site: &Site, now: SystemTime) -> Result<Rendered, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let is_generated = |node: &&Node| node.config.is_none() && node.facts.is_some();
    let secrets = match site.nodes.iter().any(|node| is_generated(&node)) {
        true if site.cluster.secrets.is_some() => Some(secrets(site, now, &mut findings)?),
        _ => None,
    };
    let facts = site.nodes.iter().map(|node| node.facts.iter());
    let addresses: Vec<Vec<IpAddr>> =
        facts.map(|facts| facts.flat_map(|facts| facts.network.addresses()).collect()).collect();
    let machines = site.nodes.iter().zip(&addresses).map(|(node, addresses)| Machine {
        name: node.name.as_str(),
        role: node.role,
        addresses,
        values: &node.values,
    });
    let machines: Vec<_> = machines.collect();
    let shop = Shop::new(site, secrets.as_ref(), &machines, &mut findings);
    let nodes: Vec<_> = site.nodes.iter().zip(machines.iter().copied()).collect();
    let threads = parallel::processors().min(nodes.len().div_ceil(WORTH));
    let made = parallel::in_order(threads, &nodes, |(node, machine)| {
        let mut own = Vec::new();
        let config = shop.node(node, *machine, &mut own);
        (config, own)
    });
    let mut nodes = Vec::with_capacity(made.len());
    for (config, own) in made {
        findings.extend(own);
        nodes.push(config);
    }
    // What comes from a patch that several nodes share is said once.
    let mut told = BTreeSet::new();
    findings.retain(|f| told.insert((f.code, f.message.clone(), f.place.clone())));
    if has_error(&findings) {
        return Err(findings);
    }
    Ok(Rendered { nodes, warnings: findings })
}

/// The fewest nodes that are worth a thread.
const WORTH: usize = 32;

fn has_error(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// What all nodes share, made once.
struct Shop<'s> {
    site: &'s Site,
    schema: &'static Schema,
    secrets: Option<&'s Bundle>,
    kubernetes: String,
    installer: String,
    pods: Vec<String>,
    services: Vec<String>,
    bases: [OnceLock<Documents>; 2],
    patches: Vec<Patch>,
    role_patches: [Vec<Patch>; 2],
    machines: &'s [Machine<'s>],
}

impl<'s> Shop<'s> {
    fn new(
        site: &'s Site,
        secrets: Option<&'s Bundle>,
        machines: &'s [Machine<'s>],
        findings: &mut Vec<Diagnostic>,
    ) -> Self {
        let cluster = &site.cluster;
        let schema = Schema::of(&cluster.talos);
        let facts = site.nodes.iter().filter_map(|node| node.facts.as_ref());
        let (pods, services) = facts::family::subnets(&facts::family::common(facts));
        let texts = |given: &[Prefix], default: Vec<&str>| -> Vec<String> {
            match given {
                [] => default.into_iter().map(str::to_owned).collect(),
                given => given.iter().map(ToString::to_string).collect(),
            }
        };
        let (pods, services) =
            (texts(&cluster.pod_subnets, pods), texts(&cluster.service_subnets, services));
        let kubernetes = cluster.kubernetes.as_ref().map_or_else(
            || defaults::kubernetes(&cluster.talos).to_owned(),
            |version| version.to_string().trim_start_matches('v').to_owned(),
        );
        let installer = cluster.installer.clone();
        let installer = installer.unwrap_or_else(|| defaults::installer_image(&cluster.talos));
        let mut read = |sources: &[Source]| {
            sources.iter().filter_map(|source| patch(schema, source, findings)).collect()
        };
        let patches = read(&cluster.patches);
        let role_patches = [read(&cluster.controlplane), read(&cluster.worker)];
        let bases = Default::default();
        Self {
            site,
            schema,
            secrets,
            kubernetes,
            installer,
            pods,
            services,
            bases,
            patches,
            role_patches,
            machines,
        }
    }

    fn node(
        &self,
        node: &Node,
        machine: Machine<'s>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Config> {
        if self.site.cluster.talos.minor < OLDEST && self.site.cluster.talos.major <= 1 {
            return node.config.clone().map(|text| Config { text, documents: None });
        }
        let mut documents = self.start(node, findings)?;
        let patched = self.patch(node, machine, &mut documents, findings);
        if has_error(findings) {
            return None;
        }
        let text = match &node.config {
            Some(ready) if !patched => Ok(ready.clone()),
            _ => MachineConfig::parse(&self.file(node), documents.encode().into_bytes()),
        };
        let text = text.map_err(|errors| findings.extend(errors)).ok()?;
        let mode =
            if node.profile.platform.is_metal() { valid::Mode::Metal } else { valid::Mode::Cloud };
        let at_node = |finding: Diagnostic| match &finding.place {
            Some(_) => finding,
            None => {
                let message = format!("node `{}`: {}", node.name, finding.message);
                Diagnostic { message, place: Some(node.place.clone()), ..finding }
            }
        };
        findings.extend(valid::check(&documents, mode).into_iter().map(at_node));
        findings.extend(valid::kubernetes::check(&documents).into_iter().map(at_node));
        if let Some(facts) = &node.facts {
            findings.extend(facts::family::unserved(&documents, facts).into_iter().map(at_node));
        }
        Some(Config { text, documents: Some(documents) })
    }

    /// What a node's config is called in messages.
    fn file(&self, node: &Node) -> String {
        format!("{} ({})", self.site.path.display(), node.name)
    }

    /// The ready config, or what is generated with the node's facts in it.
    fn start(&self, node: &Node, findings: &mut Vec<Diagnostic>) -> Option<Documents> {
        if let Some(config) = &node.config {
            let read = Documents::decode(self.schema, &config.place().file, config.bytes());
            return read.map_err(|errors| findings.extend(errors)).ok();
        }
        let facts = node.facts.as_ref()?;
        if self.secrets.is_none() {
            if node.embed != Embed::None {
                let message =
                    format!("node `{}` has no `config`, and the cluster no `secrets`", node.name);
                let help = "name the node's config, or the secrets to make one of: `talforge secrets` writes some";
                let problem = Diagnostic::error("missing-config", message).at(node.place.clone());
                findings.push(problem.help(help));
            }
            return None;
        }
        let mut documents = self.base(node)?;
        let mut facts = facts.clone();
        if let Some(install) = &mut facts.install {
            install.image.get_or_insert_with(|| self.installer.clone());
        }
        match facts::apply(&mut documents, &facts) {
            Ok(()) => Some(documents),
            Err(problems) => {
                findings.extend(problems.into_iter().map(|problem| match problem.place {
                    Some(_) => problem,
                    None => problem.at(node.place.clone()),
                }));
                None
            }
        }
    }

    /// What Talos generates for a role, made once.
    fn base(&self, node: &Node) -> Option<Documents> {
        let slot = usize::from(node.role == Role::Worker);
        let secrets = self.secrets?;
        let make = || {
            let cluster = &self.site.cluster;
            generate::base(&Input {
                talos: &cluster.talos,
                role: node.role,
                cluster: cluster.name.as_str(),
                endpoint: cluster.endpoint.as_str(),
                kubernetes: &self.kubernetes,
                install_disk: None,
                install_image: &self.installer,
                additional_sans: &cluster.cert_sans,
                dns_domain: cluster.dns_domain.as_deref().unwrap_or(defaults::DNS_DOMAIN),
                pod_subnets: &self.pods,
                service_subnets: &self.services,
                discovery: cluster.discovery,
                kubespan: cluster.kubespan,
                secrets,
            })
        };
        Some(self.bases[slot].get_or_init(make).clone())
    }

    /// Applies all patches; whether there was any.
    fn patch(
        &self,
        node: &Node,
        machine: Machine<'s>,
        documents: &mut Documents,
        findings: &mut Vec<Diagnostic>,
    ) -> bool {
        let slot = usize::from(node.role == Role::Worker);
        let mut patched = false;
        let mut apply = |patch: &Patch, findings: &mut Vec<Diagnostic>| {
            patched = true;
            match translate::apply(documents, patch, node.role) {
                Ok(warnings) => findings.extend(warnings),
                Err(problems) => findings.extend(problems),
            }
        };
        for patch in self.patches.iter().chain(&self.role_patches[slot]) {
            apply(patch, findings);
        }
        let cluster = &self.site.cluster;
        let scope = Scope {
            place: node.place.clone(),
            cluster: expand::Cluster {
                name: cluster.name.as_str(),
                endpoint: cluster.endpoint.as_str(),
                pod_subnets: &self.pods,
                service_subnets: &self.services,
                values: &self.site.values,
            },
            node: machine,
            nodes: self.machines,
        };
        let mut manifests = Vec::new();
        for (name, overlay) in &node.overlays {
            match overlay.expand(name, &scope, self.schema.minor) {
                Ok(expansion) => {
                    for nodes in &expansion.patches {
                        match Patch::of(self.schema, nodes) {
                            Ok(patch) => apply(&patch, findings),
                            Err(problems) => findings.extend(problems),
                        }
                    }
                    manifests.extend(expansion.manifests);
                }
                Err(problems) => findings.extend(problems),
            }
        }
        for source in &node.patches {
            if let Some(patch) = self::patch(self.schema, source, findings) {
                apply(&patch, findings);
            }
        }
        for (name, text) in manifests {
            patched = true;
            inline_manifest(documents, &name, &text);
        }
        patched
    }
}

/// Reads a patch.
fn patch(
    schema: &'static Schema,
    source: &Source,
    findings: &mut Vec<Diagnostic>,
) -> Option<Patch> {
    let patch = match &source.text {
        Text::Bytes(bytes) => Patch::read(schema, &source.file, bytes),
        Text::Tree(node) => Patch::of(schema, std::slice::from_ref(node)),
    };
    patch.map_err(|problems| findings.extend(problems)).ok()
}

/// Puts a manifest into a control plane's config, in the form that its version has.
fn inline_manifest(documents: &mut Documents, name: &str, text: &str) {
    if documents.schema.kind("KubeInlineManifestConfig").is_some() {
        documents.open("KubeInlineManifestConfig", Some(name)).set("manifest", text);
        return;
    }
    let manifests = documents.open(MAIN, None).open("cluster").open("inlineManifests");
    manifests.items_mut().push(Tree::map([("name", name.into()), ("contents", text.into())]));
}

#[cfg(test)]
mod tests;
