//! `talforge merge`: the manifests of a site that was built in shards, as one.
//!
//! In: the manifests of all shards. Out: `manifest.json` and `SHA256SUMS` of the whole site, which are
//! those of a build that had not been split.
//!
//! What shards have in common is their manifests' head: program, cluster, Talos, boot assets. It must
//! be equal. `references` are joined, for a shard looks only at what its nodes need; and so are
//! `boards` and `layouts`, which nodes name. Nodes that a shard's folder has of earlier builds are
//! left out, as is what they alone name.
//!
//! Source: none; the manifest's form is that of `manifest`.
//!
//! Not here: which nodes a shard has (`shard`), and files other than lists: they stay where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::Merge;
use crate::digest::Digest;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::name::{Name, SUMS};
use crate::sink::private;
use crate::verb::manifest::{Document, MANIFEST, VERSION};
use crate::verb::shard::{Part, SHARD, digest_of};
use crate::verb::{Cause, Failure, file};

/// The most bytes of a manifest that are read.
const LONGEST: u64 = 256 << 20;
/// How many nodes or shards a message names.
const NAMED: usize = 10;
/// The fields of a manifest that need not be equal: they are joined.
const NODES: &str = "nodes";
const REFERENCES: &str = "references";
/// Those of them that hold what nodes have in common, by IDs.
const SHARED: [&str; 2] = ["boards", "layouts"];

/// Joins the shards' manifests.
///
/// # Errors
///
/// Where a manifest cannot be read or is none of a shard; where shards are missing, or are of
/// different sites; and where the lists cannot be written.
pub fn merge(args: &Merge, progress: &Progress) -> Result<(), Failure> {
    let mut diagnostics = Vec::new();
    let mut shards = Vec::new();
    for path in args.shards.iter().map(|path| manifest_of(path)) {
        match read(&path, &args.out) {
            Ok(shard) => shards.push(shard),
            Err(failure) if failure.cause == Cause::World => return Err(failure),
            Err(failure) => diagnostics.extend(failure.diagnostics),
        }
    }
    if !diagnostics.is_empty() {
        return Err(Failure { cause: Cause::Files, diagnostics });
    }
    let whole = join(shards);
    let whole = whole.map_err(|diagnostics| Failure { cause: Cause::Files, diagnostics })?;
    write(&args.out, &whole, progress)
}

/// A shard's manifest, taken apart.
#[derive(Clone, Debug)]
struct Shard {
    /// Where it was read.
    from: String,
    part: Part,
    nodes: Map<String, Value>,
    /// The fields of [`SHARED`], where they are there.
    shared: [Option<Map<String, Value>>; 2],
    references: Vec<Value>,
    /// All else.
    head: Map<String, Value>,
}

/// A whole site's lists.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    manifest: Value,
    files: BTreeMap<String, String>,
    nodes: usize,
    shards: u32,
}

/// The manifest that an argument means.
fn manifest_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(MANIFEST) } else { path.to_owned() }
}

/// Reads a shard's manifest, which may not be the one that is to be written.
fn read(path: &Path, out: &Path) -> Result<Shard, Failure> {
    let from = path.display().to_string();
    let text = file::read(path, "manifest", LONGEST)?;
    let is_same = |other: &Path| {
        let real = |path: &Path| fs::canonicalize(path).ok();
        real(path).is_some_and(|path| Some(path) == real(other))
    };
    if is_same(&out.join(MANIFEST)) {
        let message = format!("`{from}` is a shard's, and would be lost");
        let help = "name a folder with `--out` that is none of the shards'";
        return Err(Failure::new(Cause::Files, Diagnostic::error("merge-out", message).help(help)));
    }
    parse(&from, &text).map_err(|problem| Failure::new(Cause::Files, problem))
}

/// Takes a manifest apart.
fn parse(from: &str, text: &[u8]) -> Result<Shard, Diagnostic> {
    let wrong = |why: &str| {
        let message = format!("`{from}` is no manifest of a shard: {why}");
        Diagnostic::error("merge-manifest", message)
            .help("name folders that `talforge build --shard I/N` wrote")
    };
    let mut head: Map<String, Value> = serde_json::from_slice(text)
        .map_err(|error| wrong(&format!("no JSON object, at line {}", error.line())))?;
    let part = head.remove(SHARD).ok_or_else(|| wrong("it is a whole site's"))?;
    let part: Part = serde_json::from_value(part).map_err(|_| wrong("its `shard` is not ours"))?;
    if part.index >= part.count {
        return Err(wrong("it says to be one after the last"));
    }
    if head.get("version") != Some(&json!(VERSION)) {
        return Err(wrong("another version of the program wrote it"));
    }
    let mut map = |field: &str| match head.remove(field) {
        Some(Value::Object(map)) => Ok(Some(map)),
        None => Ok(None),
        Some(_) => Err(wrong(&format!("its `{field}` are no map"))),
    };
    let nodes = map(NODES)?.ok_or_else(|| wrong("it has no `nodes`"))?;
    let shared = [map(SHARED[0])?, map(SHARED[1])?];
    let references = match head.remove(REFERENCES) {
        Some(Value::Array(references)) => references,
        None => Vec::new(),
        Some(_) => return Err(wrong("its `references` are no list")),
    };
    Ok(Shard { from: from.to_owned(), part, nodes, shared, references, head })
}

/// Joins shards, or says all that keeps them apart.
fn join(mut shards: Vec<Shard>) -> Result<Whole, Vec<Diagnostic>> {
    // Messages and lists do not depend on the arguments' order.
    shards.sort_by(|a, b| (a.part.index, &a.from).cmp(&(b.part.index, &b.from)));
    let first = shards.first().ok_or_else(|| vec![error("there is no shard".to_owned(), "")])?;
    let problems: Vec<_> = shards
        .iter()
        .filter_map(|shard| differs(first, shard))
        .chain(incomplete(&shards))
        .chain(shards.iter().filter_map(unbuilt))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    same_nodes(&shards).map_err(|problem| vec![problem])?;
    let (mut head, count) = (first.head.clone(), first.part.count);
    let (mut files, mut references) = (BTreeMap::new(), BTreeMap::new());
    let (mut nodes, mut shared) = (Map::new(), [None, None]);
    for Shard { from, part, nodes: mut built, shared: named, references: looked, .. } in shards {
        built.retain(|name, _| part.nodes.binary_search(name).is_ok());
        built.iter().try_for_each(|(name, node)| list(&from, name, node, &mut files))?;
        nodes.append(&mut built);
        for (all, more) in shared.iter_mut().zip(named) {
            if let Some(more) = more {
                all.get_or_insert_with(Map::new).extend(more);
            }
        }
        looked.into_iter().try_for_each(|one| refer(&from, one, &mut references))?;
    }
    let used: BTreeSet<&str> = nodes.values().flat_map(names_of).collect();
    for (field, all) in SHARED.into_iter().zip(shared) {
        if let Some(mut all) = all {
            all.retain(|id, _| used.contains(id.as_str()));
            head.insert(field.to_owned(), Value::Object(all));
        }
    }
    head.insert(REFERENCES.to_owned(), references.into_values().collect());
    let count_of_nodes = nodes.len();
    head.insert(NODES.to_owned(), Value::Object(nodes));
    Ok(Whole { manifest: Value::Object(head), files, nodes: count_of_nodes, shards: count })
}

fn error(message: String, help: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error("merge", message);
    if help.is_empty() { diagnostic } else { diagnostic.help(help) }
}

/// What two shards do not have in common, and must.
fn differs(first: &Shard, other: &Shard) -> Option<Diagnostic> {
    let (a, b) = (&first.from, &other.from);
    if first.part.count != other.part.count {
        let (of, not) = (first.part.count, other.part.count);
        let message = format!("`{a}` is one of {of} shards, and `{b}` one of {not}");
        return Some(error(message, "build all of them with one `N` of `--shard I/N`"));
    }
    let fields: BTreeSet<_> = first.head.keys().chain(other.head.keys()).collect();
    if let Some(field) = fields.iter().find(|f| first.head.get(**f) != other.head.get(**f)) {
        let text = |shard: &Shard| match shard.head.get(*field) {
            Some(Value::String(text)) => Some(format!("`{text}`")),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let values = match (text(first), text(other)) {
            (Some(a), Some(b)) => format!(": {a} and {b}"),
            _ => String::new(),
        };
        let message = format!("`{a}` and `{b}` differ in `{field}`{values}");
        let help = "build all shards with one program, one site and one `site.lock`";
        return Some(error(message, help));
    }
    if first.part.site_nodes_sha256 != other.part.site_nodes_sha256 {
        let message = format!("`{a}` and `{b}` are of sites with different nodes");
        return Some(error(message, "build all shards again, from one site file"));
    }
    None
}

/// Which shards are missing, or there twice.
fn incomplete(shards: &[Shard]) -> Vec<Diagnostic> {
    let Some(count) = shards.first().map(|shard| shard.part.count) else { return Vec::new() };
    let twice = shards.windows(2).filter(|two| two[0].part.index == two[1].part.index).map(|two| {
        let (index, a, b) = (two[0].part.index, &two[0].from, &two[1].from);
        error(format!("`{a}` and `{b}` both are shard {index}/{count}"), "name one of them")
    });
    let mut problems: Vec<_> = twice.collect();
    let there: BTreeSet<_> = shards.iter().map(|shard| shard.part.index).collect();
    let missing = (0..count).filter(|index| !there.contains(index));
    // Not counted one by one: the number of shards is what a file says.
    let len = (count as usize).saturating_sub(there.len());
    if len > 0 {
        let names = missing.take(NAMED).map(|index| format!("{index}/{count}"));
        let message =
            format!("{} missing: {}", of(len, "shard is", "shards are"), some(names, len));
        problems.push(error(message, "build them, and name the folders of all shards"));
    }
    problems
}

/// The nodes that a shard should have and has not.
fn unbuilt(shard: &Shard) -> Option<Diagnostic> {
    let Part { index, count, nodes, .. } = &shard.part;
    let missing: Vec<_> = nodes.iter().filter(|name| !shard.nodes.contains_key(*name)).collect();
    let len = missing.len();
    let names = some(missing.into_iter().take(NAMED).map(String::clone), len);
    let message = format!(
        "shard {index}/{count} in `{}` is not whole: {} not built: {names}",
        shard.from,
        of(len, "node was", "nodes were"),
    );
    (len > 0).then(|| error(message, "build this shard again"))
}

/// Sees to it that each of the site's nodes is in one shard.
fn same_nodes(shards: &[Shard]) -> Result<(), Diagnostic> {
    let mut names: Vec<_> = shards.iter().flat_map(|shard| &shard.part.nodes).collect();
    names.sort_unstable();
    let is_sorted = shards.iter().all(|shard| shard.part.nodes.is_sorted());
    let digest = digest_of(&names).to_string();
    let is_whole = shards.iter().all(|shard| shard.part.site_nodes_sha256 == digest);
    if is_sorted && is_whole {
        return Ok(());
    }
    let message = "the shards' nodes, taken together, are not those of the site".to_owned();
    Err(error(message, "build all shards again, from one site file"))
}

/// Adds a node's files to the list.
fn list(
    from: &str,
    node: &str,
    value: &Value,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Vec<Diagnostic>> {
    let wrong = |why: String| {
        let message = format!("`{from}` is damaged: node `{node}`: {why}");
        vec![error(message, "build this shard again")]
    };
    let all = value["files"].as_array().ok_or_else(|| wrong("it has no `files`".to_owned()))?;
    for file in all {
        let (path, sha256) = (file["path"].as_str(), file["sha256"].as_str());
        let path = path.ok_or_else(|| wrong("a file has no `path`".to_owned()))?;
        let name = Name::parse(path).map_err(|error| wrong(error.to_string()))?;
        let digest = sha256.and_then(|text| text.parse::<Digest>().ok());
        let digest = digest.ok_or_else(|| wrong(format!("`{path}` has no `sha256`")))?.to_string();
        // Files that nodes share are there for each.
        let other = files.insert(name.to_string(), digest.clone());
        if other.is_some_and(|other| other != digest) {
            let message = format!("two nodes have files `{path}`, which differ; one is `{node}`");
            return Err(vec![error(message, "build all shards again, from one site file")]);
        }
    }
    Ok(())
}

/// Adds what a shard looked up.
fn refer(
    from: &str,
    one: Value,
    references: &mut BTreeMap<String, Value>,
) -> Result<(), Vec<Diagnostic>> {
    let name = one["reference"].as_str().unwrap_or_default().to_owned();
    match references.get(&name) {
        Some(other) if *other != one => {
            let message = format!("`{name}` means something else in `{from}` than in other shards");
            Err(vec![error(message, "build all shards with one `site.lock`")])
        }
        _ => {
            references.insert(name, one);
            Ok(())
        }
    }
}

/// The texts of a node's plan and files, the IDs of what it names among them.
fn names_of(node: &Value) -> impl Iterator<Item = &str> {
    let files = node["files"].as_array().into_iter().flatten();
    let parts = files.chain([&node["plan"]]).filter_map(Value::as_object);
    parts.flat_map(Map::values).filter_map(Value::as_str)
}

/// So many, in words.
fn of(len: usize, one: &str, many: &str) -> String {
    format!("{len} {}", if len == 1 { one } else { many })
}

/// The first few of many names.
fn some(names: impl Iterator<Item = String>, len: usize) -> String {
    let mut names: Vec<_> = names.collect();
    if len > names.len() {
        names.push(format!("and {} more", len - names.len()));
    }
    names.join(", ")
}

/// Writes both lists.
fn write(out: &Path, whole: &Whole, progress: &Progress) -> Result<(), Failure> {
    let sums: String =
        whole.files.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let manifest = Document::read(whole.manifest.to_string().as_bytes()).ok_or_else(|| {
        let message = "the shards' manifests are not as this program writes them".to_owned();
        let help = "build all shards again, with this program";
        Failure::new(Cause::Files, error(message, help))
    })?;
    let manifest = manifest.render();
    let lists = [(SUMS, sums.as_bytes()), (MANIFEST, manifest.as_bytes())];
    let put = || -> io::Result<()> {
        fs::create_dir_all(out)?;
        private::write_all(out, lists.map(|(name, bytes)| (name.to_owned(), bytes)))?;
        // They hold no secrets, and a build's are for all to read.
        lists.iter().try_for_each(|(name, _)| {
            fs::set_permissions(out.join(name), Permissions::from_mode(0o644))
        })
    };
    put().map_err(|error| {
        let message = format!("the lists cannot be written to `{}`: {error}", out.display());
        Failure::new(Cause::World, Diagnostic::error("write", message))
    })?;
    for (name, bytes) in lists {
        let path = out.join(name).display().to_string();
        progress.say(&format!("{}  {path}", Digest::of(bytes)));
        progress.event(json!({
            "event": "written", "path": path, "bytes": bytes.len(),
            "sha256": Digest::of(bytes).to_string(),
        }));
    }
    let (shards, nodes, files) = (whole.shards, whole.nodes, whole.files.len());
    progress.event(json!({"event": "merged", "shards": shards, "nodes": nodes, "files": files}));
    progress.note(&format!(
        "{shards} shards, {nodes} nodes, {files} files; paths are those in the shards' folders, where \
         the files stay"
    ));
    Ok(())
}

#[cfg(test)]
mod tests;
