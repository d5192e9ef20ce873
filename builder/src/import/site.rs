//! The site file that an import writes.
//!
//! In: the cluster's keys, the nodes, and who names which patch. Out: the text of `site.yaml`.
//!
//! Source: talhelper `pkg/config/config.go` and `pkg/config/defaults.go` for what its keys mean.
//!
//! Not here: patches (`patch`), links (`network`) and images (`image`).

use zeroize::Zeroizing;

use super::emit;
use super::feature::Shop;
use super::patch::{self, Arranged, Shelf};
use super::talconfig::Member;
use super::value::{Data, Value};
use crate::config::facts::disk::{DiskKind, SizeMatch};
use crate::report::{Diagnostic, Paint};
use crate::talos::Role;
use crate::talos::Version;

/// Talos' networks of pods and services, which talhelper takes whatever the endpoint is.
const NETWORKS: [(&str, &str, &str); 2] = [
    ("clusterPodNets", "pod_subnets", "10.244.0.0/16"),
    ("clusterSvcNets", "service_subnets", "10.96.0.0/12"),
];

/// What a node gets besides what its keys say.
pub(super) struct Made {
    pub(super) links: Option<Value>,
    pub(super) install: Option<Value>,
    /// The image that installs Talos, as talhelper names it.
    pub(super) image: Option<String>,
}

/// The whole file.
pub(super) struct Draft<'v, 'm> {
    pub(super) file: &'v Value,
    pub(super) talos: &'m Version,
    pub(super) secrets: &'m str,
    pub(super) members: &'m [Member<'v>],
    pub(super) made: &'m [Made],
    pub(super) arranged: &'m Arranged,
    pub(super) shelf: &'m Shelf,
}

impl Draft<'_, '_> {
    /// Writes it. The findings so far become comments.
    pub(super) fn text(&self, source: &str, shop: &mut Shop<'_, '_, '_>) -> Zeroizing<String> {
        let file = self.file;
        let common = self.common_image();
        let mut entries = vec![
            ("version", file.plain_here("1")),
            ("cluster", self.cluster(common.as_deref(), shop)),
            ("boot", self.boot(shop)),
        ];
        let servers = self.common_servers();
        if let Some(servers) = servers {
            entries.push(("network", file.map_here([("nameservers", words(servers))])));
        }
        let nodes: Vec<Value> = (0..self.members.len())
            .map(|at| self.node(at, common.as_deref(), servers.is_some(), shop))
            .collect();
        entries.push(("nodes", file.list_here(nodes)));
        let mut text = Zeroizing::new(self.head(source, shop.notes));
        text.push_str(&emit::document(&file.map_here(entries)));
        text
    }

    fn head(&self, source: &str, notes: &[Diagnostic]) -> String {
        let mut text = format!("# Made of {} by `talforge import`.\n", comment(source));
        if self.arranged.is_spread {
            text += "#\n# Patches of all nodes change what patches of nodes or roles change too, and \
                     talhelper applies\n# them last: so each node names them, behind its own.\n";
        }
        if !notes.is_empty() {
            text += "#\n# What is not as it was:\n";
        }
        for (at, note) in notes.iter().enumerate() {
            if notes[..at].contains(note) {
                continue;
            }
            let lines = note.render(Paint::Plain);
            for (at, line) in lines.lines().enumerate() {
                let mark = if at == 0 { "# - " } else { "#   " };
                text += &format!("{mark}{}\n", comment(line.trim_start_matches("warning: ")));
            }
        }
        text + "\n"
    }

    fn cluster(&self, image: Option<&str>, shop: &mut Shop<'_, '_, '_>) -> Value {
        let file = self.file;
        let mut entries = Vec::new();
        for (key, ours) in [("clusterName", "name"), ("endpoint", "endpoint")] {
            let value = file.get(key).and_then(|value| needed(value, shop));
            entries.extend(value.map(|text| (ours, file.word_here(text))));
        }
        entries.push(("talos", file.plain_here(&self.talos.to_string())));
        let kubernetes = file.get("kubernetesVersion").and_then(|value| needed(value, shop));
        entries.extend(kubernetes.map(|version| {
            let version = version.trim_start_matches('v');
            ("kubernetes", file.word_here(&format!("v{version}")))
        }));
        entries.push(("secrets", file.word_here(self.secrets)));
        if let Some(domain) = file.get("domain").and_then(|value| needed(value, shop)) {
            entries.push(("dns_domain", file.word_here(domain)));
        }
        for (key, ours, default) in NETWORKS {
            let given = file.get(key).filter(|list| !list.items().is_empty());
            let given = given.filter(|list| needed_whole(list, shop));
            let nets = given.map_or_else(|| file.list_here([file.word_here(default)]), words);
            entries.push((ours, nets));
        }
        entries.extend(image.map(|image| ("installer", file.word_here(image))));
        let paths = |numbers: &[usize]| patch::paths(file, self.shelf, numbers);
        let Arranged { all, controlplane, worker, .. } = self.arranged;
        if !all.is_empty() {
            entries.push(("patches", paths(all)));
        }
        for (role, numbers) in [("controlplane", controlplane), ("worker", worker)] {
            if !numbers.is_empty() {
                entries.push((role, file.map_here([("patches", paths(numbers))])));
            }
        }
        file.map_here(entries)
    }

    fn boot(&self, shop: &mut Shop<'_, '_, '_>) -> Value {
        let file = self.file;
        let spec = |member: &Member<'_>, key| {
            let spec = member.get("machineSpec")?;
            spec.text_at(key).map(str::to_owned)
        };
        let arch = |member| spec(member, "arch").unwrap_or_else(|| "amd64".to_owned());
        let mut entries = vec![("assets", file.text_here("dir:assets"))];
        let mut arches: Vec<String> = self.members.iter().map(arch).collect();
        arches.dedup();
        match arches.as_slice() {
            [one] if one == "amd64" => {}
            [one] => entries.push(("arch", file.word_here(one))),
            _ => {
                let message =
                    "a site's media are for processors of one kind, and these are for two";
                let note = Diagnostic::warning("import-arch", message).at(file.place());
                shop.notes
                    .push(note.help("make a site for each: copy the file, and split the nodes"));
            }
        }
        file.map_here(entries)
    }

    fn node(
        &self,
        at: usize,
        common: Option<&str>,
        has_servers: bool,
        shop: &mut Shop<'_, '_, '_>,
    ) -> Value {
        let (member, made) = (&self.members[at], &self.made[at]);
        let file = member.node;
        let short = member.hostname.split('.').next().unwrap_or_default();
        let mut entries =
            vec![("name", file.word_here(short)), ("role", file.plain_here(member.role.name()))];
        if short != member.hostname {
            entries.push(("hostname", file.word_here(member.hostname)));
        }
        let spec = member.get("machineSpec");
        if spec.and_then(|spec| spec.text_at("bootMethod")) == Some("disk-image") {
            entries.push(("profile", file.plain_here("metal-disk")));
        }
        let arguments = arguments(member, shop);
        entries.extend(arguments.map(|arguments| ("kernel_args", arguments)));
        entries.extend(made.links.clone().map(|links| ("links", links)));
        if let Some(servers) = member.get("nameservers").filter(|_| !has_servers)
            && needed_whole(servers, shop)
        {
            entries.push(("network", file.map_here([("nameservers", words(servers))])));
        }
        if let Some(install) = &made.install {
            let image = made.image.as_deref().filter(|image| Some(*image) != common);
            let image = image.map(|image| ("image".to_owned(), file.word_here(image)));
            let install = install.entries().iter().cloned().chain(image);
            entries.push(("install", file.made(Data::Map(install.collect()))));
        }
        for (key, ours) in
            [("nodeLabels", "labels"), ("nodeAnnotations", "annotations"), ("nodeTaints", "taints")]
        {
            let map = member.get(key).and_then(|map| plain_texts(map, shop));
            entries.extend(map.map(|map| (ours, map)));
        }
        let patches = &self.arranged.nodes[at];
        if !patches.is_empty() {
            entries.push(("patches", patch::paths(file, self.shelf, patches)));
        }
        file.map_here(entries)
    }

    /// The image of the most nodes, where it is the same for all that have one.
    fn common_image(&self) -> Option<String> {
        let mut images = self.made.iter().map(|made| made.image.as_deref());
        let one = images.next()??;
        images.all(|image| image == Some(one)).then(|| one.to_owned())
    }

    /// The name servers, where all nodes have the same.
    fn common_servers(&self) -> Option<&Value> {
        let texts = |list: &Value| -> Vec<Option<String>> {
            list.items().iter().map(|item| item.text().map(str::to_owned)).collect()
        };
        let mut lists = self.members.iter().map(|member| member.get("nameservers"));
        let one = lists.next()??;
        let same = lists.all(|list| list.is_some_and(|list| texts(list) == texts(one)));
        (same && one.secret().is_none() && !one.items().is_empty()).then_some(one)
    }
}

/// A line of a comment: nothing in it may end it.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The kernel arguments of a node's schematic.
fn arguments(member: &Member<'_>, shop: &mut Shop<'_, '_, '_>) -> Option<Value> {
    let custom = member.get("schematic")?.get("customization")?;
    let list = custom.get("extraKernelArgs").filter(|list| !list.items().is_empty())?;
    needed_whole(list, shop).then(|| {
        let items = list.items().iter().filter_map(Value::text);
        list.list_here(items.map(|text| list.text_here(text)))
    })
}

/// The disk that a node is installed on: as a site says it, or else as a part of a patch.
pub(super) fn install(
    member: &Member<'_>,
    image: Option<&str>,
    shop: &mut Shop<'_, '_, '_>,
) -> (Option<Value>, Option<Value>) {
    let node = member.node;
    let disk = node.get("installDisk");
    let chosen = node.get("installDiskSelector");
    let Some(at) = disk.or(chosen).filter(|at| needed_whole(at, shop)) else { return (None, None) };
    let path = disk.and_then(Value::text);
    if let Some(path) = path.filter(|path| path.starts_with("/dev/") && chosen.is_none()) {
        return (Some(at.map_here([("disk", at.word_here(path))])), None);
    }
    if let (None, Some(selector)) = (path, chosen.and_then(selector)) {
        return (Some(at.map_here([("selector", selector)])), None);
    }
    let mut entries = Vec::new();
    entries.extend(disk.map(|disk| ("disk", disk.clone())));
    entries.extend(chosen.map(|chosen| ("diskSelector", chosen.clone())));
    entries.extend(image.map(|image| ("image", at.word_here(image))));
    (None, Some(at.map_here(entries)))
}

/// A disk's selector as a site says it, where that is the same.
fn selector(chosen: &Value) -> Option<Value> {
    let keys = ["model", "serial", "modalias", "uuid", "wwid"];
    let mut entries = Vec::new();
    for (key, value) in chosen.entries().iter().filter(|(_, value)| !value.is_null()) {
        let text = value.text()?;
        let ours = match key.as_str() {
            "busPath" => "bus_path",
            // Talos keeps the text.
            "size" if SizeMatch::parse(text)?.to_string() == text => "size",
            "type" if DiskKind::ALL.iter().any(|kind| kind.name() == text) => "type",
            key => keys.into_iter().find(|known| *known == key)?,
        };
        entries.push((ours, value.text_here(text)));
    }
    (!entries.is_empty()).then(|| chosen.map_here(entries))
}

/// A mapping of texts, without templates; nothing where it has none.
fn plain_texts(map: &Value, shop: &mut Shop<'_, '_, '_>) -> Option<Value> {
    if !needed_whole(map, shop) {
        return None;
    }
    let mut entries = Vec::new();
    for (key, value) in map.entries() {
        let text = value.text().unwrap_or_default();
        if text.contains("{{") {
            let message = format!("the value of `{key}` is a template, and is not carried over");
            let note = Diagnostic::warning("import-template", message).at(value.place());
            shop.notes.push(note.help("write out what it becomes"));
            continue;
        }
        entries.push((key.clone(), value.text_here(text)));
    }
    (!entries.is_empty()).then(|| map.made(Data::Map(entries)))
}

/// A list of names and addresses, quoted where they must be.
fn words(list: &Value) -> Value {
    let items = list.items().iter().filter_map(Value::text);
    list.list_here(items.map(|text| list.word_here(text)))
}

/// A text that the site file must have in plain.
pub(super) fn needed<'v>(value: &'v Value, shop: &mut Shop<'_, '_, '_>) -> Option<&'v str> {
    if needed_whole(value, shop) { value.text().filter(|text| !text.is_empty()) } else { None }
}

/// Whether a value may stand in the site file, which nothing encrypts.
pub(super) fn needed_whole(value: &Value, shop: &mut Shop<'_, '_, '_>) -> bool {
    let Some(variable) = value.secret() else { return true };
    let message = format!("the site file would show the secret variable `{variable}`");
    let problem = Diagnostic::error("import-secret", message).at(value.place());
    let help = format!("if it is no secret, move `{variable}` to `talenv.yaml`, which is plain");
    shop.problems.push(problem.help(help));
    false
}

/// Tells what media will not have.
pub(super) fn tell(file: &Value, member: &Member<'_>, version: &str, notes: &mut Vec<Diagnostic>) {
    let mut note = |code, message: String, at: &Value, help: String| {
        notes.push(Diagnostic::warning(code, message).at(at.place()).help(help));
    };
    if let Some(schematic) = member.get("schematic") {
        let custom = schematic.get("customization");
        let extensions = custom.and_then(|custom| custom.get("systemExtensions"));
        if extensions.is_some() || schematic.get("overlay").is_some() {
            let id = super::image::id(schematic).unwrap_or_else(|| "ID".to_owned());
            let registry = super::image::registry(file);
            let arch = member.get("machineSpec").and_then(|spec| spec.text_at("arch"));
            let arch = arch.unwrap_or("amd64");
            let message = "media have the extensions and overlays of a schematic only where their \
                           boot assets do";
            let help = format!(
                "take boot assets that have them: \
                 https://{registry}/image/{id}/{version}/metal-{arch}-uki.efi"
            );
            note("import-schematic", message.to_owned(), schematic, help);
        }
    }
    if let Some(schematic) = member.get("imageSchematic") {
        let help = "take boot assets that the Image Factory made of it".to_owned();
        note(
            "import-schematic",
            "`imageSchematic` is not carried over".to_owned(),
            schematic,
            help,
        );
    }
    let Some(spec) = member.get("machineSpec") else { return };
    if let Some(mode) = spec.text_at("mode").filter(|mode| *mode != "metal") {
        let help = "choose a profile: `talforge schema profile` tells what one may say".to_owned();
        note("import-mode", format!("the mode `{mode}` is not carried over"), spec, help);
    }
    if spec.flag("secureboot") {
        let help = "sign the finished media with your own tools".to_owned();
        note("import-secureboot", "media are not signed for Secure Boot".to_owned(), spec, help);
    }
    if spec.text_at("bootMethod") == Some("pxe") {
        let help = "choose a profile for it".to_owned();
        note("import-mode", "booting by PXE is not carried over".to_owned(), spec, help);
    }
}

/// The type of machine of a role.
pub(super) fn machine(role: Role) -> crate::config::MachineType {
    match role {
        Role::ControlPlane => crate::config::MachineType::ControlPlane,
        Role::Worker => crate::config::MachineType::Worker,
    }
}
