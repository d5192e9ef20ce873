//! The image that installs Talos on a node.
//!
//! In: `talosImageURL`, `schematic`, `machineSpec`, `imageFactory`. Out: the image's name.
//!
//! Source: talhelper `pkg/talos/nodeconfig.go`, `pkg/talos/schematic.go`, `pkg/config/defaults.go`;
//! Image Factory `pkg/schematic/schematic.go` (a schematic's identifier is the SHA-256 of it as
//! `gopkg.in/yaml.v3` writes it: keys in the order of the type, what says nothing left out).
//!
//! Not here: extensions and kernel arguments of the medium, which a schematic also names.

use sha2::{Digest as _, Sha256};

use super::talconfig::Member;
use super::value::{Data, Value};
use crate::report::Diagnostic;

/// The registry of Sidero's Image Factory.
const FACTORY: &str = "factory.talos.dev";

/// The image of a node, if it can be told.
pub(super) fn installer(
    file: &Value,
    member: &Member<'_>,
    version: &str,
    notes: &mut Vec<Diagnostic>,
) -> Option<String> {
    if let Some(url) = member.text("talosImageURL") {
        return Some(format!("{url}:{version}"));
    }
    let factory = file.get("imageFactory");
    if let Some(template) = factory.and_then(|factory| factory.get("installerURLTmpl")) {
        let message = "the template of the installer's name is not carried over";
        let note = Diagnostic::warning("import-installer", message).at(template.place());
        notes
            .push(note.help("name the image: `installer` of `cluster`, `install.image` of a node"));
        return None;
    }
    let registry = registry(file);
    let schematic = member.get("schematic");
    let id = match schematic.map(id) {
        None => hash("customization: {}\n"),
        Some(Some(id)) => id,
        Some(None) => {
            let message = "the identifier of this schematic cannot be told here";
            let place = schematic.map_or_else(|| member.node.place(), Value::place);
            let note = Diagnostic::warning("import-schematic", message).at(place);
            let help = "ask the Image Factory, and name the image: `install: {image: …}`";
            notes.push(note.help(help));
            return None;
        }
    };
    let spec = member.get("machineSpec");
    let mode = spec.and_then(|spec| spec.text_at("mode")).unwrap_or("metal");
    let secure = spec.is_some_and(|spec| spec.flag("secureboot"));
    let secure = if secure { "-secureboot" } else { "" };
    Some(format!("{registry}/{mode}-installer{secure}/{id}:{version}"))
}

/// The registry of the Image Factory.
pub(super) fn registry(file: &Value) -> &str {
    file.get("imageFactory").and_then(|factory| factory.text_at("registryURL")).unwrap_or(FACTORY)
}

/// The identifier of a schematic, where it holds nothing that readers and writers of YAML see
/// differently.
pub(super) fn id(schematic: &Value) -> Option<String> {
    canonical(schematic).map(|text| hash(&text))
}

fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn canonical(schematic: &Value) -> Option<String> {
    known(schematic, &["owner", "overlay", "customization"])?;
    let mut text = String::new();
    if let Some(owner) = schematic.text_at("owner") {
        text += &format!("owner: {}\n", word(owner)?);
    }
    if let Some(overlay) = schematic.get("overlay").filter(|overlay| !overlay.entries().is_empty())
    {
        known(overlay, &["image", "name", "options"])?;
        let part = |key| overlay.text_at(key).map_or(Some("\"\""), word);
        text += &format!("overlay:\n    image: {}\n    name: {}\n", part("image")?, part("name")?);
        if overlay.get("options").is_some_and(|options| !options.entries().is_empty()) {
            return None;
        }
    }
    let Some(custom) = schematic.get("customization") else {
        return Some(text + "customization: {}\n");
    };
    let inner = customization(custom)?;
    match inner.is_empty() {
        true => text.push_str("customization: {}\n"),
        false => text += &format!("customization:\n{inner}"),
    }
    Some(text)
}

fn customization(custom: &Value) -> Option<String> {
    // The rest is rare, and has values that are written in more than one way.
    known(custom, &["extraKernelArgs", "systemExtensions", "secureboot"])?;
    let mut text = String::new();
    let list = |value: Option<&Value>, column: usize| {
        let items = value.map_or(&[][..], Value::items).iter();
        items.map(|item| Some(format!("{:column$}- {}\n", "", word(item.text()?)?))).collect()
    };
    let args: Option<String> = list(custom.get("extraKernelArgs"), 8);
    let args = args?;
    if !args.is_empty() {
        text += &format!("    extraKernelArgs:\n{args}");
    }
    if let Some(extensions) = custom.get("systemExtensions") {
        known(extensions, &["officialExtensions"])?;
        let names: Option<String> = list(extensions.get("officialExtensions"), 12);
        let names = names?;
        if !names.is_empty() {
            text += &format!("    systemExtensions:\n        officialExtensions:\n{names}");
        }
    }
    if let Some(secure) = custom.get("secureboot") {
        known(secure, &["includeWellKnownCertificates"])?;
        if secure.flag("includeWellKnownCertificates") {
            text += "    secureboot:\n        includeWellKnownCertificates: true\n";
        }
    }
    Some(text)
}

/// Nothing, where a mapping has other keys that say something.
fn known(value: &Value, keys: &[&str]) -> Option<()> {
    let is_known = |(key, inner): &(String, Value)| keys.contains(&key.as_str()) || inner.is_null();
    let is_mapping = matches!(value.data(), Data::Map(_)) || value.is_null();
    (is_mapping && value.entries().iter().all(is_known)).then_some(())
}

/// A text that `gopkg.in/yaml.v3` writes as it is.
fn word(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+%".contains(c);
    let first = text.strip_prefix('-').unwrap_or(text);
    let starts = first.starts_with(|c: char| c.is_ascii_alphabetic());
    let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = starts
        && text.chars().all(fits)
        && !text.ends_with(':')
        && !meant.contains(&text.to_ascii_lowercase().as_str());
    is_plain.then_some(text)
}
