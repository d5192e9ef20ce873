//! Disks as selectors see them, and as `talosctl get disks -o yaml` tells them.
//!
//! In: that command's output, of one node or several. Out: [`Disk`]s.
//!
//! Source: Talos `pkg/machinery/resources/block/disk.go#DiskSpec` of v1.12.7, v1.13.9 and v1.14.1;
//! `cmd/talosctl/cmd/talos/output/{yaml,json}.go`. JSON is read as the YAML that it is, one document
//! an object.
//!
//! Not here: which disk is chosen.

use std::borrow::Cow;
use std::sync::Arc;

use super::schema::DISK;
use super::value::Value;
use crate::report::Diagnostic;
use crate::yaml::{self, Node, Style};

/// The type of the resources.
const TYPE: &str = "Disks.block.talos.dev";

/// A disk of a node. What is not known is empty or zero, as in Talos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The node that has it, as `talosctl` was told.
    pub node: String,
    /// Its name: `sda`.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// The bytes of an access that it likes best.
    pub io_size: u64,
    /// The bytes of a sector.
    pub sector_size: u64,
    /// Whether it cannot be written to.
    pub readonly: bool,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// What the kernel finds its driver by.
    pub modalias: String,
    /// Its worldwide name.
    pub wwid: String,
    /// Its address on the bus.
    pub bus_path: String,
    /// Its class in `/sys`.
    pub sub_system: String,
    /// How it is connected: `nvme`, `sata`, `sas`, `usb`, `virtio`, `mmc`.
    pub transport: String,
    /// Whether it turns.
    pub rotational: bool,
    /// Whether it is a drive for compact discs.
    pub cdrom: bool,
    /// Its device: `/dev/sda`.
    pub dev_path: String,
    /// Its size for people.
    pub pretty_size: String,
    /// The disks that it is made of.
    pub secondary_disks: Vec<String>,
    /// Its UUID.
    pub uuid: String,
    /// Its other names: `/dev/disk/by-id/…`.
    pub symlinks: Vec<String>,
    /// Its firmware's version. Told from Talos 1.14 on.
    pub firmware_version: String,
}

impl Disk {
    /// The value of `disk`.
    pub(super) fn value(&self) -> Value {
        let text = |text: &str| Value::String(text.into());
        Value::Message(
            &DISK,
            Arc::new(vec![
                ("size", Value::Uint(self.size)),
                ("io_size", Value::Uint(self.io_size)),
                ("sector_size", Value::Uint(self.sector_size)),
                ("readonly", Value::Bool(self.readonly)),
                ("model", text(&self.model)),
                ("serial", text(&self.serial)),
                ("modalias", text(&self.modalias)),
                ("wwid", text(&self.wwid)),
                ("bus_path", text(&self.bus_path)),
                ("sub_system", text(&self.sub_system)),
                ("transport", text(&self.transport)),
                ("rotational", Value::Bool(self.rotational)),
                ("cdrom", Value::Bool(self.cdrom)),
                ("dev_path", text(&self.dev_path)),
                ("pretty_size", text(&self.pretty_size)),
                ("secondary_disks", Value::texts(&self.secondary_disks)),
                ("uuid", text(&self.uuid)),
                ("symlinks", Value::texts(&self.symlinks)),
                ("firmware_version", text(&self.firmware_version)),
            ]),
        )
    }
}

/// Reads the output of `talosctl get disks -o yaml`, or `-o json`. Keys that are not known are
/// passed over: a newer Talos may tell more.
///
/// # Errors
///
/// All that is wrong, with places: no YAML, another resource, a value of another type, no disks.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Disk>, Vec<Diagnostic>> {
    let documents = yaml::parse(file, &apart(bytes)).map_err(|problem| vec![problem])?;
    let (mut disks, mut problems) = (vec![], vec![]);
    for document in documents.iter().filter(|document| !document.is_null()) {
        let one = std::slice::from_ref(document);
        for resource in document.items().unwrap_or(one) {
            disks.extend(disk(resource, &mut problems));
        }
    }
    if disks.is_empty() && problems.is_empty() {
        let problem = Diagnostic::error("disks-none", format!("there are no disks in `{file}`"));
        problems.push(problem.help("write it with `talosctl get disks -o yaml`"));
    }
    if problems.is_empty() { Ok(disks) } else { Err(problems) }
}

/// JSON objects one after another are no YAML; a `---` before each that starts a line makes them
/// documents, and leaves all lines where they are.
fn apart(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                if depth == 0 && at > 0 && bytes[at - 1] == b'\n' {
                    out.extend_from_slice(b"--- ");
                }
                depth += 1;
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(byte);
    }
    Cow::Owned(out)
}

fn disk(resource: &Node, problems: &mut Vec<Diagnostic>) -> Option<Disk> {
    let text = |path: [&str; 2]| resource.get(path[0])?.get(path[1])?.text();
    let spec = resource.get("spec").filter(|spec| spec.entries().is_some());
    let Some(spec) = spec.filter(|_| text(["metadata", "type"]) == Some(TYPE)) else {
        let problem = Diagnostic::error("disks-resource", format!("this is no `{TYPE}` resource"));
        let help = "write the file with `talosctl get disks -o yaml`";
        problems.push(problem.at(resource.place()).help(help));
        return None;
    };
    let before = problems.len();
    let mut fields = Fields { spec, problems };
    let disk = Disk {
        node: resource.get("node").and_then(Node::text).unwrap_or_default().to_owned(),
        id: text(["metadata", "id"]).unwrap_or_default().to_owned(),
        size: fields.needed("size").map_or(0, |node| fields.number(node)),
        io_size: fields.uint("io_size"),
        sector_size: fields.uint("sector_size"),
        readonly: fields.switch("readonly"),
        model: fields.text("model"),
        serial: fields.text("serial"),
        modalias: fields.text("modalias"),
        wwid: fields.text("wwid"),
        bus_path: fields.text("bus_path"),
        sub_system: fields.text("sub_system"),
        transport: fields.text("transport"),
        rotational: fields.switch("rotational"),
        cdrom: fields.switch("cdrom"),
        dev_path: fields.needed("dev_path").map_or_else(String::new, |node| fields.scalar(node)),
        pretty_size: fields.text("pretty_size"),
        secondary_disks: fields.texts("secondary_disks"),
        uuid: fields.text("uuid"),
        symlinks: fields.texts("symlinks"),
        firmware_version: fields.text("firmware_version"),
    };
    (problems.len() == before).then_some(disk)
}

/// The keys of a spec. What is missing or nothing is empty or zero.
struct Fields<'a> {
    spec: &'a Node,
    problems: &'a mut Vec<Diagnostic>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.spec.get(key).filter(|node| !node.is_null())
    }

    fn wrong(&mut self, node: &Node, wanted: &str) {
        let message = format!("this is {}, and must be {wanted}", node.kind());
        let problem = Diagnostic::error("disks-value", message).at(node.place());
        self.problems.push(problem.help("leave the file as `talosctl` wrote it"));
    }

    /// A key that every disk has.
    fn needed(&mut self, key: &str) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() {
            let problem = Diagnostic::error("disks-value", format!("the disk has no `{key}`"));
            let problem = problem.at(self.spec.place());
            self.problems.push(problem.help("leave the file as `talosctl` wrote it"));
        }
        found
    }

    fn uint(&mut self, key: &str) -> u64 {
        self.get(key).map_or(0, |node| self.number(node))
    }

    fn number(&mut self, node: &Node) -> u64 {
        let plain = node.scalar().filter(|scalar| scalar.style == Style::Plain);
        let digits = plain.filter(|scalar| scalar.text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|scalar| scalar.text.parse().ok()).unwrap_or_else(|| {
            self.wrong(node, "a whole number below 2^64");
            0
        })
    }

    fn switch(&mut self, key: &str) -> bool {
        let Some(node) = self.get(key) else { return false };
        match node.scalar().filter(|scalar| scalar.style == Style::Plain) {
            Some(scalar) if scalar.text == "true" => true,
            Some(scalar) if scalar.text == "false" => false,
            _ => {
                self.wrong(node, "`true` or `false`");
                false
            }
        }
    }

    fn text(&mut self, key: &str) -> String {
        self.get(key).map_or_else(String::new, |node| self.scalar(node))
    }

    fn scalar(&mut self, node: &Node) -> String {
        match node.text() {
            Some(text) => text.to_owned(),
            None => {
                self.wrong(node, "a text");
                String::new()
            }
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.get(key) else { return vec![] };
        match node.items() {
            Some(items) => items.iter().map(|item| self.scalar(item)).collect(),
            None => {
                self.wrong(node, "a list of texts");
                vec![]
            }
        }
    }
}
