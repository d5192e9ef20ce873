//! Boards: what a single-board computer's firmware must find on a disk before Talos starts.
//!
//! In: an overlay's `artifacts`, `first_partition`, `raw` and `esp`, and a node's values. Out: a
//! [`Board`]: which files of the board's image go where.
//!
//! Source: the programs in `installers/` of <https://github.com/siderolabs/sbc-rockchip>,
//! <https://github.com/siderolabs/sbc-raspberrypi>, <https://github.com/siderolabs/sbc-allwinner>
//! and <https://github.com/siderolabs/sbc-jetson>; Talos `pkg/machinery/overlay/overlay.go`.
//!
//! Not here: the files themselves (`asset::board`) and how a disk is made of them (`layout`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::expand::Values;
use super::overlay::{Declared, Kind};
use super::template::{MAX_FILLED, Shape, Template};
use super::{FRONT, Overlay};
use crate::report::{Diagnostic, Place};
use crate::talos::Arch;
use crate::tree::Tree;
use crate::units::{GIB, MIB, Size};
use crate::yaml::Node;

/// What a node's disk has for its board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The overlay's name.
    pub name: String,
    /// The name of the image with the board's files.
    pub artifacts: String,
    /// Where the first partition starts, in bytes: whole MiB.
    pub first_partition: Size,
    /// What is written to the disk itself.
    pub raw: Vec<Raw>,
    /// What the EFI partition has besides, in order; a later file takes the place of an earlier one.
    pub esp: Vec<Esp>,
}

/// A file that is written to the disk itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its path in the image, below `artifacts/`.
    pub from: String,
    /// The byte of the disk at which it starts.
    pub at: Size,
}

/// What goes to the EFI partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Esp {
    /// A file of the image.
    File {
        /// Its path in the image, below `artifacts/`.
        from: String,
        /// Its path on the partition.
        to: String,
    },
    /// All that a folder of the image holds.
    Folder {
        /// Its path in the image, below `artifacts/`.
        from: String,
        /// The folder's path on the partition; empty for the root.
        to: String,
    },
    /// A file of its own.
    Text {
        /// Its bytes.
        text: String,
        /// Its path on the partition.
        to: String,
    },
}

/// What an overlay says of a board, its values still open.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    artifacts: String,
    first_partition: Size,
    raw: Vec<(Raw, Option<String>)>,
    esp: Vec<Item>,
}

impl Spec {
    pub(super) fn artifacts(&self) -> &str {
        &self.artifacts
    }

    pub(super) const fn first_partition(&self) -> Size {
        self.first_partition
    }
}

#[derive(Clone, Debug)]
enum Item {
    Known(Esp),
    Text { template: Template, to: String },
}

/// The keys of an overlay that are for boards.
pub(super) struct Written {
    pub(super) artifacts: Option<ImageName>,
    pub(super) first_partition: Front,
    pub(super) raw: Vec<RawFile>,
    pub(super) esp: Vec<EspFile>,
}

/// The name of an image in Sidero's catalogue: lower-case letters, digits and inner hyphens.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ImageName(String);

impl TryFrom<String> for ImageName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = (1..=63).contains(&text.len())
            && text.bytes().all(good)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_name {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no image's name; write it as `sbc-rockchip`"))
    }
}

impl JsonSchema for ImageName {
    fn schema_name() -> Cow<'static, str> {
        "ImageName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            "examples": ["sbc-rockchip"]
        })
    }
}

/// Where a first partition starts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Front(Size);

/// The most that may lie before the first partition; the boards that we know have 11 MiB.
const MAX_FRONT: u64 = GIB;

impl Default for Front {
    fn default() -> Self {
        Self(FRONT)
    }
}

impl TryFrom<String> for Front {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let size = Size::parse(&text)?;
        if (MIB..=MAX_FRONT).contains(&size.bytes()) && size.bytes().is_multiple_of(MIB) {
            return Ok(Self(size));
        }
        Err(format!("`{text}` is no place for the first partition; write whole MiB, 1MiB to 1GiB"))
    }
}

impl JsonSchema for Front {
    fn schema_name() -> Cow<'static, str> {
        "Front".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[1-9][0-9]*(MiB|GiB)$", "examples": ["11MiB"]})
    }
}

/// A place on a disk, in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct At(Size);

impl TryFrom<String> for At {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Size::parse(&text)? {
            at if at.bytes() < MAX_FRONT => Ok(Self(at)),
            at => Err(format!("{at} is no place before the first partition")),
        }
    }
}

impl JsonSchema for At {
    fn schema_name() -> Cow<'static, str> {
        "At".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["32KiB"]
        })
    }
}

/// A file that is written to the disk itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct RawFile {
    /// Its path in the image, below `artifacts/`.
    from: String,
    /// Where on the disk it starts: `32KiB`.
    at: At,
    /// The value, `true` or `false`, with which it is not written.
    unless: Option<String>,
}

/// What goes to the EFI partition: `from` the image, or a `text`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct EspFile {
    /// The path in the image, below `artifacts/`, of a file or, with a `/` at its end, of a folder
    /// all of which is taken.
    from: Option<String>,
    /// The file's text, with placeholders.
    text: Option<String>,
    /// The path on the partition; with a `/` at its end that of a folder, `/` alone being the root.
    to: String,
}

/// Reads what an overlay says of a board.
///
/// # Errors
///
/// Keys without `artifacts`, an architecture that has no boards, paths and placeholders that are
/// none.
pub(super) fn read(
    written: Written,
    arch: &[Arch],
    root: &Node,
    values: &BTreeMap<String, Declared>,
) -> Result<Option<Spec>, Diagnostic> {
    let Written { artifacts, first_partition, raw, esp } = written;
    let Some(ImageName(artifacts)) = artifacts else {
        let of_boards = ["first_partition", "raw", "esp"];
        return match of_boards.iter().find_map(|key| Some((key, root.get(key)?))) {
            None => Ok(None),
            Some((key, node)) => {
                let message = format!("`{key}` is for boards, and this overlay is for none");
                let error = Diagnostic::error("overlay-board", message).at(node.place());
                Err(error.help("name the image with the board's files: `artifacts: sbc-…`"))
            }
        };
    };
    let place = |key: &str| root.get(key).map_or_else(|| root.place(), Node::place);
    if arch != [Arch::Arm64] {
        let error = Diagnostic::error("overlay-board", "boards have arm64 processors alone");
        return Err(error.at(place("arch")).help("write `arch: [arm64]`"));
    }
    let items = |key: &str| root.get(key).and_then(Node::items).unwrap_or_default().iter();
    let raw = items("raw").zip(raw).map(|(node, raw)| raw_file(node, raw, values));
    let raw = raw.collect::<Result<_, _>>()?;
    let esp = items("esp").zip(esp).map(|(node, file)| item(node, file, values));
    let esp = esp.collect::<Result<_, _>>()?;
    Ok(Some(Spec { artifacts, first_partition: first_partition.0, raw, esp }))
}

/// A path that leads into the image or the partition, as it is written.
fn path(text: &str, at: &Node) -> Result<String, Diagnostic> {
    if Tree::path(text).as_deref() == Some(text) {
        return Ok(text.to_owned());
    }
    let message = format!("`{}` is no path below a folder", text.escape_debug());
    let error = Diagnostic::error("overlay-board-path", message).at(at.place());
    Err(error.help("write names with `/` between them, none of them empty, `.` or `..`"))
}

fn raw_file(
    node: &Node,
    raw: RawFile,
    values: &BTreeMap<String, Declared>,
) -> Result<(Raw, Option<String>), Diagnostic> {
    let RawFile { from, at: At(at), unless } = raw;
    let from = path(&from, node.get("from").unwrap_or(node))?;
    if let Some(name) = &unless
        && values.get(name).is_none_or(|declared| declared.kind != Kind::Text)
    {
        let message = format!("no value of the kind `text` is named `{name}`");
        let at = node.get("unless").unwrap_or(node).place();
        let help = "declare it under `values`, with `default: false`";
        return Err(Diagnostic::error("overlay-board", message).at(at).help(help));
    }
    Ok((Raw { from, at }, unless))
}

fn item(
    node: &Node,
    file: EspFile,
    values: &BTreeMap<String, Declared>,
) -> Result<Item, Diagnostic> {
    let EspFile { from, text, to } = file;
    let error = |message: &str, help: &str| {
        Err(Diagnostic::error("overlay-board", message).at(node.place()).help(help))
    };
    let at = |key: &str| node.get(key).unwrap_or(node);
    match (from, text) {
        (Some(from), None) => match (from.strip_suffix('/'), to.strip_suffix('/')) {
            (Some(from), Some(to)) => {
                let from = path(from, at("from"))?;
                let to = if to.is_empty() { String::new() } else { path(to, at("to"))? };
                Ok(Item::Known(Esp::Folder { from, to }))
            }
            (None, None) => {
                let (from, to) = (path(&from, at("from"))?, path(&to, at("to"))?);
                Ok(Item::Known(Esp::File { from, to }))
            }
            _ => error(
                "one of `from` and `to` is a folder, and the other is a file",
                "let both end with `/`, or none",
            ),
        },
        (None, Some(_)) => {
            let shape = |name: &str| {
                values.get(name).map(|declared| match declared.kind {
                    Kind::Text | Kind::File => Shape::Text,
                    Kind::List | Kind::Tree => Shape::Tree,
                })
            };
            let template = Template::plain(at("text"), &shape)?;
            Ok(Item::Text { template, to: path(&to, at("to"))? })
        }
        (Some(_), Some(_)) => error("a file has `from` or `text`, not both", "drop one of them"),
        (None, None) => error("a file has neither `from` nor `text`", "say what it holds"),
    }
}

impl Overlay {
    /// What a disk has for the overlay's board, where it is for one. `name` is the overlay's, `place`
    /// where the site has the node whose values these are.
    ///
    /// # Errors
    ///
    /// Values that are missing or of the wrong kind.
    pub fn board(
        &self,
        name: &str,
        place: &Place,
        values: &Values,
    ) -> Result<Option<Board>, Diagnostic> {
        let Some(spec) = &self.board else { return Ok(None) };
        let given = Given { overlay: name, declared: &self.values, values, place };
        let mut raw = Vec::new();
        for (file, unless) in &spec.raw {
            let is_left_out = unless.as_ref().map_or(Ok(false), |name| given.switch(name))?;
            if !is_left_out {
                raw.push(file.clone());
            }
        }
        let mut left = MAX_FILLED;
        let mut esp = Vec::new();
        for item in &spec.esp {
            match item {
                Item::Known(file) => esp.push(file.clone()),
                Item::Text { template, to } => {
                    let text = given.fill(template, &mut left)?;
                    esp.extend(text.map(|text| Esp::Text { text, to: to.clone() }));
                }
            }
        }
        let (artifacts, first_partition) = (spec.artifacts.clone(), spec.first_partition);
        Ok(Some(Board { name: name.to_owned(), artifacts, first_partition, raw, esp }))
    }
}

/// Where values come from.
struct Given<'a> {
    overlay: &'a str,
    declared: &'a BTreeMap<String, Declared>,
    values: &'a Values,
    place: &'a Place,
}

impl Given<'_> {
    /// A value; nothing where nobody gives it and nobody must.
    fn value(&self, name: &str) -> Result<Option<Node>, Diagnostic> {
        let Some(declared) = self.declared.get(name) else { return Ok(None) };
        match self.values.get(name).or(declared.default.as_ref()) {
            Some(value) if declared.kind.takes(value) => Ok(Some(value.clone())),
            Some(value) => {
                let (want, is) = (declared.kind.name(), value.kind());
                let message = format!("the value `{name}` is {want}, and this is {is}");
                let problem = Diagnostic::error("overlay-value-kind", message).at(value.place());
                Err(problem.help(format!("`{name}` is {}", declared.about)))
            }
            None if declared.required => {
                let message = format!("overlay `{}` needs the value `{name}`", self.overlay);
                let problem = Diagnostic::error("overlay-value-missing", message);
                let help = format!("write it in the node's `values`: {}", declared.about);
                Err(problem.at(self.place.clone()).help(help))
            }
            None => Ok(None),
        }
    }

    /// A value that is `true` or `false`; one that nobody gives is `false`.
    fn switch(&self, name: &str) -> Result<bool, Diagnostic> {
        let Some(value) = self.value(name)? else { return Ok(false) };
        match value.text() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => {
                let message = format!("the value `{name}` is neither `true` nor `false`");
                let problem = Diagnostic::error("overlay-value-kind", message).at(value.place());
                Err(problem.help(format!("write `{name}: true` or `{name}: false`")))
            }
        }
    }

    /// A text with its values; nothing where it names one that nobody gives.
    fn fill(&self, template: &Template, left: &mut u64) -> Result<Option<String>, Diagnostic> {
        let mut values = BTreeMap::new();
        for (name, _) in template.names() {
            let Some(value) = self.value(name)? else { return Ok(None) };
            values.insert(name, value);
        }
        let filled = template.fill(&values, left)?;
        Ok(filled.first().and_then(Node::text).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests;
