//! `cluster` and `boot`: what all nodes share.
//!
//! In: their mappings. Out: [`Cluster`] and [`Boot`].
//!
//! Source: none, the file is ours.
//!
//! Not here: the nodes.

use std::path::Path;

use super::field::{Fields, Written, open, quote};
use super::name::Wrong;
use super::{AssetSource, Boot, Cluster, ClusterName, Endpoint, key};
use crate::catalog::kernel_arg;
use crate::report::Diagnostic;
use crate::talos::{Arch, OLDEST, Version};
use crate::yaml::Node;
use crate::yaml::meant::nearest;

/// A version of Talos and where it is written.
pub(super) type Talos = Written<Version>;

/// Reads `cluster`, and its version of Talos by itself, which other checks need.
pub(super) fn cluster(
    node: &Node,
    problems: &mut Vec<Diagnostic>,
) -> (Option<Cluster>, Option<Talos>) {
    let Some(fields) = open(node, &key::CLUSTER, problems) else { return (None, None) };
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
    let cluster = || {
        let kubernetes = match kubernetes {
            None => None,
            Some(version) => Some(version?),
        };
        Some(Cluster { name: name?, endpoint: endpoint?, talos: talos.clone()?.value, kubernetes })
    };
    (cluster(), talos.clone())
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
    /// The boot assets.
    pub(super) assets: Option<AssetSource>,
    /// The architecture, where it is right; amd64 where none is given.
    pub(super) arch: Option<Arch>,
    /// GRUB's folder, where one is given.
    pub(super) grub: Option<Option<std::path::PathBuf>>,
    /// Arguments for every node.
    pub(super) kernel_args: Vec<String>,
}

impl BootPart {
    /// The whole, if all is right.
    pub(super) fn finish(self) -> Option<Boot> {
        Some(Boot { assets: self.assets?, arch: self.arch?, grub: self.grub? })
    }
}

/// Reads `boot`; `folder` is the site file's.
pub(super) fn boot(node: &Node, folder: &Path, problems: &mut Vec<Diagnostic>) -> BootPart {
    let Some(fields) = open(node, &key::BOOT, problems) else { return BootPart::default() };
    let assets = fields.need_text("assets", "dir:assets", problems);
    BootPart {
        assets: assets.and_then(|text| asset_source(&text, folder, problems)),
        arch: arch(&fields, problems),
        grub: match fields.get("grub") {
            None => Some(None),
            Some(_) => fields
                .text("grub", problems)
                .and_then(|text| path(&text, "grub", folder, problems))
                .map(Some),
        },
        kernel_args: kernel_args(&fields, problems),
    }
}

fn arch(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Arch> {
    let Some(_) = fields.get("arch") else { return Some(Arch::Amd64) };
    let text = fields.text("arch", problems)?;
    choose("arch", &text, &Arch::ALL.map(|arch| (arch.name(), arch)), problems)
}

/// Takes one of the named values.
pub(super) fn choose<T: Copy>(
    key: &str,
    text: &Written<&str>,
    choices: &[(&'static str, T)],
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    let found = choices.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
    if found.is_none() {
        let names = || choices.iter().map(|(name, _)| *name);
        let all = names().collect::<Vec<_>>().join(", ");
        let help = nearest(text.value, names())
            .map_or_else(|| format!("use one of {all}"), |near| format!("did you mean `{near}`?"));
        let message = format!("{} is no value of `{key}`", quote(text.value));
        problems.push(Diagnostic::error("value", message).at(text.place.clone()).help(help));
    }
    found
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

/// The schemes of `assets` that the design has and this version has not.
const LATER: [&str; 7] = ["oci", "oci-layout", "iso", "raw", "https", "http", "factory"];

const ASSETS_HELP: &str =
    "name a folder of Talos' files, `dir:assets`, or a UKI, `uki:metal-amd64-uki.efi`";

fn asset_source(
    text: &Written<&str>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<AssetSource> {
    let mut refuse = |message: String, help: &str| {
        let problem = Diagnostic::error("assets", message).at(text.place.clone());
        problems.push(problem.help(help));
        None
    };
    let (scheme, rest) = match text.value.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ if text.value.ends_with(".efi") => {
            let help = format!("write `uki:{}`", text.value);
            return refuse("a UKI is named by `uki:`".to_owned(), &help);
        }
        _ => ("dir", text.value),
    };
    let at = Written { value: rest, place: text.place.clone() };
    match scheme {
        "dir" => path(&at, "assets", folder, problems).map(AssetSource::Dir),
        "uki" => path(&at, "assets", folder, problems).map(AssetSource::Uki),
        _ if LATER.contains(&scheme) => {
            refuse(format!("`{scheme}:` is not supported by this version"), ASSETS_HELP)
        }
        _ => refuse(format!("{} is no source of boot assets", quote(scheme)), ASSETS_HELP),
    }
}

/// RFC 3986, chapter 3.1; one letter alone is none, but a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
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
