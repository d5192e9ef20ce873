//! Overlays: variations of a medium and of machine configs, as data.
//!
//! In: the text of an overlay file. Out: an [`Overlay`], its templates read and its names known.
//!
//! Source: none, the file is ours; patches are Talos' own, manifests are Kubernetes' objects.
//!
//! Not here: what comes of it for a node (`expand`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::template::{Shape, Template};
use super::value::{self, FileVersion};
use super::{KernelArgs, Overlay, board, expand, read};
use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, Role};
use crate::yaml::{Node, Value};

/// A value that a site gives an overlay.
#[derive(Clone, Debug)]
pub struct Declared {
    /// What it is for, in a line.
    pub about: String,
    /// What it is.
    pub kind: Kind,
    /// Whether nothing goes without it.
    pub required: bool,
    /// What stands where nobody gives it.
    pub default: Option<Node>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Kind {
    /// A text, a number or a switch.
    Text,
    /// A list.
    List,
    /// Anything that is not nothing.
    Tree,
    /// A file's path, from the site file's folder; the value is the file's text.
    File,
}

impl Kind {
    /// Whether a node is one.
    pub(super) fn takes(self, node: &Node) -> bool {
        match self {
            Self::Text | Self::File => node.text().is_some(),
            Self::List => node.items().is_some(),
            Self::Tree => !node.is_null(),
        }
    }

    /// In a word for messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::List => "a list",
            Self::Tree => "a value",
            Self::File => "a file's path",
        }
    }
}

/// A change to machine configs.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub(super) roles: Vec<Role>,
    pub(super) releases: Releases,
    pub(super) template: Template,
}

/// The minor releases of Talos that something is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Releases {
    pub(super) since: Option<Minor>,
    pub(super) until: Option<Minor>,
}

impl Releases {
    /// Whether `1.minor` is one of them.
    pub(super) fn have(self, minor: u32) -> bool {
        self.since.is_none_or(|since| since.0 <= minor)
            && self.until.is_none_or(|until| until.0 >= minor)
    }
}

/// Kubernetes objects.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) each_node: bool,
    pub(super) template: Template,
}

/// A minor release of Talos: `1.14`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minor(pub(super) u32);

impl<'de> Deserialize<'de> for Minor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let number = text.strip_prefix("1.").filter(|text| !text.starts_with(['+', '0']));
        number.and_then(|text| text.parse().ok()).map(Self).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no minor release of Talos; write it as \"1.14\""))
        })
    }
}

impl JsonSchema for Minor {
    fn schema_name() -> Cow<'static, str> {
        "Minor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^1\\.[1-9][0-9]*$"})
    }
}

/// The name of a value or a manifest: lower-case letters, digits, and `_` or `-` inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let is_name = text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(good);
        if is_name {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no name; use lower-case letters, digits, `_` and `-`"))
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"})
    }
}

/// A variation that can be laid over any profile: of the medium, of machine configs, or both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Overlay")]
pub(super) struct File {
    /// The version of this file's format.
    #[serde(rename = "version")]
    _version: FileVersion,
    /// What it changes, in a line.
    about: String,
    /// The architectures that it is for.
    #[serde(deserialize_with = "value::architectures")]
    #[schemars(with = "Vec<value::ArchName>", length(min = 1))]
    arch: Vec<Arch>,
    /// Kernel arguments to add, or with a leading `-` to take away.
    #[serde(default)]
    kernel_args: KernelArgs,
    /// What a site may give in `values`, by name.
    #[serde(default)]
    values: BTreeMap<Name, DeclaredFile>,
    /// Changes to machine configs, in order.
    #[serde(default)]
    patches: Vec<PatchFile>,
    /// Kubernetes objects that every control plane gets as inline manifests.
    #[serde(default)]
    manifests: Vec<ManifestFile>,
    /// The name that Sidero's catalogue of overlays has for the image with the files of a board:
    /// `sbc-rockchip`. What follows is for boards alone.
    artifacts: Option<board::ImageName>,
    /// Where the first partition starts, in whole MiB. The entries of the partition table move back
    /// by what that is more than 1 MiB, so that the board's firmware has room before them.
    #[serde(default)]
    first_partition: board::Front,
    /// What is written to the disk itself.
    #[serde(default)]
    raw: Vec<board::RawFile>,
    /// What the EFI partition has besides Talos' own files; a later one takes the place of an
    /// earlier one of its name.
    #[serde(default)]
    esp: Vec<board::EspFile>,
}

/// A value that a site gives.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct DeclaredFile {
    /// What it is for, in a line.
    about: String,
    /// What it is; `file` is a path, and the value is the file's text.
    kind: Kind,
    /// Whether it must be given. What names another value that nobody gives is left out.
    #[serde(default)]
    required: bool,
    /// What stands where nobody gives it.
    #[serde(default, rename = "default")]
    #[schemars(with = "serde_json::Value")]
    _default: serde::de::IgnoredAny,
}

/// A change to machine configs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct PatchFile {
    /// The machines whose configs it changes.
    #[serde(default = "both")]
    #[schemars(length(min = 1))]
    roles: Vec<Role>,
    /// The first minor release of Talos that it is for: "1.14".
    since: Option<Minor>,
    /// The last minor release of Talos that it is for: "1.13".
    until: Option<Minor>,
    /// A patch as Talos takes them, with placeholders.
    #[serde(rename = "patch")]
    _patch: String,
}

fn both() -> Vec<Role> {
    vec![Role::ControlPlane, Role::Worker]
}

/// Kubernetes objects.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct ManifestFile {
    /// The name of the inline manifest.
    name: Name,
    /// Whether the objects are there once for each node, with that node's values.
    #[serde(default)]
    each_node: bool,
    /// The objects, with placeholders.
    #[serde(rename = "objects")]
    _objects: String,
}

impl Overlay {
    /// Reads an overlay.
    ///
    /// # Errors
    ///
    /// The first mistake in it.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let (written, root): (File, Node) = read(file, bytes, "overlay")?;
        // It has been read, and so is UTF-8. Places count from behind a byte order mark.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let values = values(written.values, &root)?;
        let patches = entries(&root, "patches", "patch").zip(written.patches);
        let patches = patches.map(|(node, written)| patch(&node, written, text, &values));
        let patches = patches.collect::<Result<_, _>>()?;
        let manifests = entries(&root, "manifests", "objects").zip(written.manifests);
        let manifests = manifests.map(|(node, written)| manifest(&node, written, text, &values));
        let manifests: Vec<Manifest> = manifests.collect::<Result<_, _>>()?;
        for (number, manifest) in manifests.iter().enumerate() {
            if manifests[..number].iter().any(|before| before.name == manifest.name) {
                let message = format!("two manifests are named `{}`", manifest.name);
                let at = manifest.template.documents().first().map(Node::place);
                let error = Diagnostic::error("overlay-name", message).help("rename one of them");
                return Err(Diagnostic { place: at, ..error });
            }
        }
        let File { about, arch, kernel_args, artifacts, first_partition, raw, esp, .. } = written;
        let written = board::Written { artifacts, first_partition, raw, esp };
        let board = board::read(written, &arch, &root, &values)?;
        Ok(Self { about, arch, kernel_args, values, patches, manifests, board })
    }
}

/// The texts at a key of each item of a list.
fn entries<'n>(root: &'n Node, list: &str, key: &'n str) -> impl Iterator<Item = Node> + 'n {
    let items = root.get(list).and_then(Node::items).unwrap_or_default();
    items.iter().filter_map(move |item| item.get(key).cloned())
}

fn values(
    written: BTreeMap<Name, DeclaredFile>,
    root: &Node,
) -> Result<BTreeMap<String, Declared>, Diagnostic> {
    let mut values = BTreeMap::new();
    for (Name(name), declared) in written {
        let DeclaredFile { about, kind, required, .. } = declared;
        let default = root.get("values").and_then(|values| values.get(&name)?.get("default"));
        let error = |message: String, at: Place, help| {
            Err(Diagnostic::error("overlay-value-default", message).at(at).help(help))
        };
        if let Some(default) = default {
            if required {
                let message = format!("`{name}` must be given, so that its default never stands");
                return error(message, default.place(), "drop `required` or `default`");
            }
            if kind == Kind::File {
                let message = format!("`{name}` is a file, which cannot come with an overlay");
                return error(message, default.place(), "drop the default");
            }
            if !kind.takes(default) {
                let message = format!("the default of `{name}` is {}", default.kind());
                return error(message, default.place(), "let it be what `kind` says");
            }
        }
        let default = default.cloned();
        values.insert(name, Declared { about, kind, required, default });
    }
    Ok(values)
}

/// What a name in a template may stand for.
fn shape(name: &str, values: &BTreeMap<String, Declared>) -> Option<Shape> {
    let declared = values.get(name).map(|declared| match declared.kind {
        Kind::Text | Kind::File => Shape::Text,
        Kind::List | Kind::Tree => Shape::Tree,
    });
    declared.or_else(|| expand::built_in(name))
}

fn patch(
    node: &Node,
    written: PatchFile,
    file: &str,
    values: &BTreeMap<String, Declared>,
) -> Result<Patch, Diagnostic> {
    let PatchFile { roles, since, until, .. } = written;
    let error = |message: &str, help: &str| {
        Err(Diagnostic::error("overlay-range", message).at(node.place()).help(help))
    };
    if roles.is_empty() {
        return error("this patch is for no machine", "name a role, or drop `roles`");
    }
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return error("this patch is for no release", "let `since` be no later than `until`");
    }
    let template = Template::read(node, file, &|name| shape(name, values))?;
    let odd = template.documents().iter().find(|document| {
        let is_node = matches!(document.value(), Value::Mapping(_) | Value::Sequence(_));
        !is_node && document.text().is_none_or(|text| !text.starts_with("${"))
    });
    if let Some(odd) = odd {
        let message = format!("a patch is a mapping or a list of operations, not {}", odd.kind());
        let error = Diagnostic::error("overlay-patch", message).at(odd.place());
        return Err(error.help("write it as talosctl takes it"));
    }
    Ok(Patch { roles, releases: Releases { since, until }, template })
}

fn manifest(
    node: &Node,
    written: ManifestFile,
    file: &str,
    values: &BTreeMap<String, Declared>,
) -> Result<Manifest, Diagnostic> {
    let ManifestFile { name: Name(name), each_node, .. } = written;
    let template = Template::read(node, file, &|name| shape(name, values))?;
    let of_node = template.names().find(|(name, _)| !each_node && expand::is_of_node(name));
    if let Some((placeholder, at)) = of_node {
        let message = format!("`{placeholder}` differs from node to node, and `{name}` does not");
        let error = Diagnostic::error("overlay-placeholder", message).at(at.place());
        return Err(error.help("write `each_node: true` to have the objects once for each node"));
    }
    Ok(Manifest { name, each_node, template })
}
