//! `cluster` and `boot`: what all nodes share.
//!
//! In: their mappings. Out: [`Cluster`] and [`Boot`], and the files that they name.
//!
//! Source: none, the file is ours.
//!
//! Not here: the nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::field::{FLAG, Fields, Form, Written, choose, open, quote, value};
use super::file::Files;
use super::key::cluster::{BOOT, CLUSTER, ROLE};
use super::name::{Wrong, is_domain};
use super::network::subnets;
use super::{AssetSource, Boot, Cluster, ClusterName, Endpoint, Signer, TreeSource, origin};
use crate::catalog::kernel_arg;
use crate::config::facts::prefix::{Family, Prefix};
use crate::pki;
use crate::registry::Host;
use crate::report::Diagnostic;
use crate::talos::{Arch, OLDEST, Version};
use crate::yaml::Node;

/// A version of Talos and where it is written.
pub(super) type Talos = Written<Version>;

/// A domain.
const DOMAIN: Form<String> = Form {
    what: "no domain",
    example: "cluster.local",
    parse: |text| is_domain(text).then(|| text.to_owned()),
};

/// A name or an address for certificates; a name may start with `*.`.
const SAN: Form<String> = Form {
    what: "no name or address",
    example: "api.example.com",
    parse: |text| {
        let name = text.strip_prefix("*.").unwrap_or(text);
        (is_domain(name) || text.parse::<IpAddr>().is_ok()).then(|| text.to_owned())
    },
};

/// The reference of an image.
const IMAGE: Form<String> = Form {
    what: "no reference of an image",
    example: "ghcr.io/siderolabs/installer:v1.13.9",
    parse: |text| text.bytes().all(|b| b.is_ascii_graphic()).then(|| text.to_owned()),
};

/// What `cluster` says, as far as it is right.
#[derive(Debug, Default)]
pub(super) struct ClusterPart {
    /// The whole, if all is right.
    pub(super) cluster: Option<Cluster>,
    /// Its version of Talos by itself, which other checks need.
    pub(super) talos: Option<Talos>,
    /// Its endpoint by itself.
    pub(super) endpoint: Option<Endpoint>,
    /// Whether it names secrets, rightly or not.
    pub(super) has_secrets: bool,
    /// Whether it has patches, rightly or not, of which a config may get what the site lacks.
    pub(super) has_patches: bool,
}

/// Reads `cluster`.
pub(super) fn cluster(
    node: &Node,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> ClusterPart {
    let Some(fields) = open(node, &CLUSTER, problems) else { return ClusterPart::default() };
    let name = fields.need_text("name", "home", problems);
    let name = name.and_then(|name| checked("cluster-name", &name, ClusterName::parse, problems));
    let endpoint = fields.need_text("endpoint", "https://192.0.2.10:6443", problems);
    let endpoint = endpoint.and_then(|text| checked("endpoint", &text, Endpoint::parse, problems));
    let talos = fields.need_text("talos", "v1.13.9", problems);
    let talos = talos.and_then(|text| talos_version(&text, problems));
    let kubernetes = fields.text("kubernetes", problems).map(|text| {
        const HELP: &str = "write all three numbers: `v1.35.4`";
        let parse = |text: &str| Version::parse(text).ok_or(("is no version", HELP));
        checked("kubernetes-version", &text, parse, problems)
    });
    let secrets = fields.text("secrets", problems);
    let secrets = secrets.map(|name| files.source("secrets bundle", &name, SECRETS, problems));
    let (pod_subnets, service_subnets) = services(&fields, problems);
    let mut role = |key: &str| {
        let fields = fields.part(key, &ROLE, problems);
        fields.map(|fields| files.patches(&fields, problems)).unwrap_or_default()
    };
    let (controlplane, worker) = (role("controlplane"), role("worker"));
    let patches = files.patches(&fields, problems);
    let has_patches = ["patches", "controlplane", "worker"];
    let part = ClusterPart {
        cluster: None,
        talos: talos.clone(),
        endpoint: endpoint.clone(),
        has_secrets: fields.get("secrets").is_some(),
        has_patches: has_patches.iter().any(|key| fields.get(key).is_some()),
    };
    let sans = fields.texts("cert_sans", problems);
    let sans = sans.iter().filter_map(|san| value(san, &SAN, problems)).map(|san| san.value);
    let cert_sans = sans.collect();
    let dns_domain = fields.value("dns_domain", &DOMAIN, problems).map(|domain| domain.value);
    let installer = fields.value("installer", &IMAGE, problems).map(|image| image.value);
    let discovery = fields.value("discovery", &FLAG, problems).is_none_or(|flag| flag.value);
    let kubespan = fields.flag("kubespan", problems);
    let cluster = || {
        let talos = talos?;
        Some(Cluster {
            name: name?,
            endpoint: endpoint?,
            talos: talos.value,
            talos_place: talos.place,
            kubernetes: all_or_none(kubernetes)?,
            secrets: all_or_none(secrets)?,
            patches,
            controlplane,
            worker,
            cert_sans,
            dns_domain,
            pod_subnets,
            service_subnets,
            installer,
            discovery,
            kubespan,
            silence: Vec::new(),
        })
    };
    ClusterPart { cluster: cluster(), ..part }
}

/// The largest file with a bundle that is read, in bytes; encrypted it is larger than plain.
const SECRETS: u64 = 4 * pki::MAX_BYTES;

/// What is not given is right; what is given and wrong is not.
fn all_or_none<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// The networks of pods and of services, which must be of the same families.
fn services(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> (Vec<Prefix>, Vec<Prefix>) {
    let pods = subnets(fields, "pod_subnets", problems);
    let services = subnets(fields, "service_subnets", problems);
    let families = |all: &[Written<Prefix>]| -> Vec<Family> {
        all.iter().map(|net| net.value.family()).collect()
    };
    if let (Some(_), Some(first)) = (pods.first(), services.first())
        && families(&pods) != families(&services)
    {
        let message = "`service_subnets` and `pod_subnets` are not of the same families";
        let problem = Diagnostic::error("subnet-families", message).at(first.place.clone());
        problems.push(problem.help("give both the same families in the same order"));
    }
    let values = |all: Vec<Written<Prefix>>| all.into_iter().map(|net| net.value).collect();
    (values(pods), values(services))
}

/// Reads a text with a type's own constructor.
pub(super) fn checked<T>(
    code: &'static str,
    text: &Written<&str>,
    parse: impl Fn(&str) -> Result<T, Wrong>,
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    parse(text.value)
        .map_err(|(wrong, help)| {
            // A URL with a user in it may hold a password.
            let secret = code == "endpoint" && text.value.contains('@');
            let shown = if secret { "the URL".to_owned() } else { quote(text.value) };
            let problem = Diagnostic::error(code, format!("{shown} {wrong}"));
            problems.push(problem.at(text.place.clone()).help(help));
        })
        .ok()
}

fn talos_version(text: &Written<&str>, problems: &mut Vec<Diagnostic>) -> Option<Talos> {
    const HELP: &str = "write the release's whole tag: `v1.13.9`";
    let parse = |text: &str| Version::parse(text).ok_or(("is no version of Talos", HELP));
    let version = checked("talos-version", text, parse, problems)?;
    if !version.at_least(OLDEST.major, OLDEST.minor) {
        let message = format!("Talos {version} is too old: media are made for {OLDEST} and newer");
        let problem = Diagnostic::error("talos-too-old", message).at(text.place.clone());
        problems.push(problem.help(format!("use Talos {OLDEST} or newer")));
        return None;
    }
    Some(Written { value: version, place: text.place.clone() })
}

/// What `boot` says: the parts that all nodes share, and arguments for each of them.
#[derive(Debug, Default)]
pub(super) struct BootPart {
    /// The boot assets, where all of them are right.
    pub(super) assets: Option<Vec<AssetSource>>,
    /// The architecture, where it is right; amd64 where none is given.
    pub(super) arch: Option<Arch>,
    /// GRUB's folder, where one is given.
    pub(super) grub: Option<Option<std::path::PathBuf>>,
    /// System extensions of every node.
    pub(super) extensions: Vec<TreeSource>,
    /// Where the files of boards come from.
    pub(super) artifacts: BTreeMap<String, TreeSource>,
    /// How registries are reached.
    pub(super) registries: BTreeMap<String, Host>,
    /// Who must have signed.
    pub(super) signed_by: Option<Signer>,
    /// Arguments for every node.
    pub(super) kernel_args: Vec<String>,
}

impl BootPart {
    /// The whole, if all is right.
    pub(super) fn finish(self) -> Option<Boot> {
        Some(Boot {
            assets: self.assets?,
            arch: self.arch?,
            grub: self.grub?,
            artifacts: self.artifacts,
            registries: self.registries,
            signed_by: self.signed_by,
        })
    }
}

/// Reads `boot`; `folder` is the site file's.
pub(super) fn boot(node: &Node, folder: &Path, problems: &mut Vec<Diagnostic>) -> BootPart {
    let Some(fields) = open(node, &BOOT, problems) else { return BootPart::default() };
    BootPart {
        assets: assets(&fields, folder, problems),
        arch: arch(&fields, problems),
        grub: match fields.get("grub") {
            None => Some(None),
            Some(_) => fields
                .text("grub", problems)
                .and_then(|text| path(&text, "grub", folder, problems))
                .map(Some),
        },
        extensions: origin::trees(&fields, "extensions", folder, problems),
        artifacts: origin::artifacts(&fields, folder, problems),
        registries: origin::hosts(&fields, problems),
        signed_by: origin::signer(&fields, folder, problems),
        kernel_args: kernel_args(&fields, problems),
    }
}

fn assets(
    fields: &Fields<'_>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<Vec<AssetSource>> {
    let node = fields.need("assets", "dir:assets", problems)?;
    let items = if node.items().is_some() {
        super::field::items(node, "assets", problems)
    } else {
        std::slice::from_ref(node)
    };
    if items.is_empty() {
        let message = "`assets` names nothing to boot from";
        problems.push(Diagnostic::error("assets", message).at(node.place()));
        return None;
    }
    let mut source = |item| {
        let text = super::field::text(item, "assets", problems)?;
        origin::assets(&text, folder, problems)
    };
    let sources: Vec<_> = items.iter().map(&mut source).collect();
    sources.into_iter().collect()
}

fn arch(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Arch> {
    let Some(_) = fields.get("arch") else { return Some(Arch::Amd64) };
    let text = fields.text("arch", problems)?;
    choose("arch", &text, &Arch::ALL.map(|arch| (arch.name(), arch)), problems)
}

/// Reads `kernel_args`, leaving out the wrong ones.
pub(super) fn kernel_args(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Vec<String> {
    let mut args = Vec::new();
    for item in fields.texts("kernel_args", problems) {
        match kernel_arg::check(item.value) {
            Ok(()) => args.push(item.value.to_owned()),
            Err(why) => {
                let problem = Diagnostic::error("kernel-arg", why.message);
                problems.push(problem.at(item.place).help(why.help));
            }
        }
    }
    args
}

/// A path, from the site file's folder.
pub(super) fn path(
    text: &Written<&str>,
    key: &str,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<std::path::PathBuf> {
    if text.value.is_empty() || text.value.contains(char::is_control) {
        let message = format!("`{key}` is no path");
        problems.push(Diagnostic::error("path", message).at(text.place.clone()));
        return None;
    }
    Some(folder.join(text.value))
}
