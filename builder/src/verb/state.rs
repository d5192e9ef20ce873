//! What the last build of a folder has done, so that what would come out the same is left as it is.
//!
//! In: plans, what they are built from, written files. Out: which nodes are unchanged.
//!
//! A node is unchanged if its plan is, the digests of all that its medium is made from are, and the
//! system says of each of its files what it said when they were written: length, times, place. To
//! know the digests the boot assets must be opened, which takes longer than all else where nothing
//! has changed. So the same is done with them: where the system says of every file that the site
//! names what it said then, and `site.lock` is the same, their digests are those of then.
//!
//! The note is one of the folder's own files, but no output. A damaged one is as none.
//!
//! Source: Git, `Documentation/technical/racy-git.txt`, for what times of files can tell.
//!
//! Not here: what a plan decides (`plan`), and how the note is written (`sink`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::oci::ImageSource;
use crate::plan::NodePlan;
use crate::sink::file::{Written, noted};
use crate::sink::name::SUMS;
use crate::sink::stamp::Stamp;
use crate::site::{AssetSource, Site, TreeSource};
use crate::verb::manifest::MANIFEST;

/// The version of the note's form, and of what decides a medium's bytes beside the program's own.
const VERSION: u32 = 1;

/// The largest note that is read, in bytes: some 200,000 nodes.
const LONGEST: u64 = 256 << 20;

/// The most files that are looked at among a site's sources.
const SOURCES: usize = 20_000;

/// What is known of a folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The program that wrote the folder.
    program: String,
    /// The digest of the manifest.
    manifest: String,
    nodes: BTreeMap<String, Node>,
    files: BTreeMap<String, File>,
}

/// What a node was made from, and its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Node {
    plan: String,
    #[serde(flatten)]
    made_from: MadeFrom,
    /// Their paths and digests.
    files: Vec<(String, String)>,
}

/// What a node's medium is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeFrom {
    /// The digest of the digests of all files. Nothing where they are not known.
    pub(super) inputs: Option<String>,
    /// What the system said of the site's sources.
    pub(super) sources: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct File {
    len: u64,
    sha256: String,
    stamp: Stamp,
}

/// A file that is in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// Its path below the folder.
    pub(super) path: String,
    /// Its length in bytes.
    pub(super) len: u64,
    /// Its digest.
    pub(super) digest: Digest,
}

impl State {
    /// Reads what is known of a folder.
    pub(super) fn load(out: &Path) -> Self {
        Self::read(noted(out, LONGEST)).unwrap_or_else(Self::of_this_program)
    }

    fn of_this_program() -> Self {
        Self { program: program(), ..Self::default() }
    }

    fn read(note: Option<Vec<u8>>) -> Option<Self> {
        let note = note?;
        let end = note.iter().position(|byte| *byte == b'\n')?;
        let (digest, text) = (&note[..end], &note[end + 1..]);
        if digest != Digest::of(text).to_string().as_bytes() {
            return None;
        }
        let state: Self = serde_json::from_slice(text).ok()?;
        (state.program == program()).then_some(state)
    }

    /// The note: its digest, then its text.
    pub(super) fn render(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).expect("texts and numbers are JSON");
        let mut note = format!("{}\n", Digest::of(&text)).into_bytes();
        note.extend_from_slice(&text);
        note
    }

    /// A node's files, if they are what the plan would give from the same inputs.
    pub(super) fn unchanged(
        &self,
        plan: &NodePlan,
        inputs: Option<&String>,
        out: &Path,
    ) -> Option<Vec<Present>> {
        let node = self.nodes.get(plan.name.as_str())?;
        let is_same = inputs.is_some() && node.made_from.inputs.as_ref() == inputs;
        if !is_same || node.plan != plan_key(plan) {
            return None;
        }
        self.present(node, out)
    }

    /// All nodes' files, if nothing has to be done at all.
    pub(super) fn all_unchanged(
        &self,
        plans: &[NodePlan],
        sources: Option<&String>,
        out: &Path,
    ) -> Option<Vec<Vec<Present>>> {
        sources?;
        let all = plans.iter().map(|plan| {
            let node = self.nodes.get(plan.name.as_str())?;
            let is_same = node.made_from.sources.as_ref() == sources;
            let is_same = is_same && node.made_from.inputs.is_some();
            if is_same && node.plan == plan_key(plan) { self.present(node, out) } else { None }
        });
        let all = all.collect::<Option<Vec<_>>>()?;
        let manifest = std::fs::read(out.join(MANIFEST)).ok()?;
        let sums = std::fs::read_to_string(out.join(SUMS)).ok()?;
        let lines: BTreeSet<&str> = sums.lines().collect();
        // The lists are to forget files that are gone.
        let is_there = |line: &&str| {
            line.split_once("  ").is_some_and(|(_, path)| Stamp::at(&out.join(path)).is_some())
        };
        if !lines.iter().all(is_there) {
            return None;
        }
        let is_listed =
            |file: &Present| lines.contains(format!("{}  {}", file.digest, file.path).as_str());
        let is_whole = Digest::of(&manifest).to_string() == self.manifest
            && all.iter().flatten().all(is_listed);
        is_whole.then_some(all)
    }

    fn present(&self, node: &Node, out: &Path) -> Option<Vec<Present>> {
        let present = |(path, digest): &(String, String)| {
            let file = self.files.get(path).filter(|file| file.sha256 == *digest)?;
            let is_same = Stamp::at(&out.join(path)) == Some(file.stamp);
            let digest = digest.parse().ok()?;
            is_same.then(|| Present { path: path.clone(), len: file.len, digest })
        };
        node.files.iter().map(present).collect()
    }

    /// Says what a node was built from.
    pub(super) fn built(&mut self, plan: &NodePlan, made_from: MadeFrom, files: &[Present]) {
        let files = files.iter().map(|file| (file.path.clone(), file.digest.to_string()));
        let node = Node { plan: plan_key(plan), made_from, files: files.collect() };
        self.nodes.insert(plan.name.to_string(), node);
    }

    /// Says what was written in the end. What is known of files that no node has is dropped.
    pub(super) fn finish(&mut self, written: &[Written], manifest: Digest) {
        for file in written {
            let Written { name, len, digest, stamp, .. } = file;
            let facts = File { len: *len, sha256: digest.to_string(), stamp: *stamp };
            self.files.insert(name.to_string(), facts);
        }
        let used: BTreeSet<_> =
            self.nodes.values().flat_map(|node| node.files.iter().map(|(path, _)| path)).collect();
        self.files.retain(|path, _| used.contains(path));
        self.manifest = manifest.to_string();
    }
}

/// A digest of all that a plan decides.
fn plan_key(plan: &NodePlan) -> String {
    // All of its fields are in this form, the config by its digest; those that come later, too.
    Digest::of(format!("{plan:?}").as_bytes()).to_string()
}

/// What tells this program from others, and from itself of another day.
fn program() -> String {
    let about = std::env::current_exe().and_then(|path| path.metadata());
    let stamp = about.map(|about| Stamp::of(&about)).ok();
    format!("{VERSION} {} {stamp:?}", env!("CARGO_PKG_VERSION"))
}

/// A digest of what the system says of the files that a site's media are made from. Nothing where
/// they are too many, or where somebody else's word is to be asked for each time.
pub(super) fn sources(site: &Site, plans: &[NodePlan]) -> Option<String> {
    if site.boot.signed_by.is_some() {
        return None;
    }
    let mut walk = Walk { told: Hasher::default(), left: SOURCES };
    walk.tell(&format!("{:?}", site.boot));
    for source in &site.boot.assets {
        match source {
            AssetSource::Dir(path) => walk.path(path)?,
            AssetSource::Iso(path) | AssetSource::Raw(path) => walk.path(path)?,
            // What it has not may lie beside it.
            AssetSource::Uki(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                walk.path(parent.unwrap_or(Path::new(".")))?;
            }
            AssetSource::Image { source, .. } => walk.image(source)?,
            AssetSource::Web(_) => {}
        }
    }
    site.boot.grub.iter().try_for_each(|path| walk.path(path))?;
    let extensions = plans.iter().flat_map(|plan| &plan.extensions);
    let mut seen: Vec<&TreeSource> = Vec::new();
    for source in site.boot.artifacts.values().chain(extensions) {
        if !seen.contains(&source) {
            seen.push(source);
            walk.tree(source)?;
        }
    }
    Some(walk.told.finish().to_string())
}

/// The same, with what the lock file says of sources elsewhere.
pub(super) fn with_lock(sources: Option<&String>, site: &Site) -> Option<String> {
    let lock = std::fs::read(site.path.with_extension("lock")).unwrap_or_default();
    let text = format!("{} {}", sources?, Digest::of(&lock));
    Some(Digest::of(text.as_bytes()).to_string())
}

/// A walk over files.
struct Walk {
    told: Hasher,
    left: usize,
}

impl Walk {
    fn tell(&mut self, text: &str) {
        self.told.update(&(text.len() as u64).to_le_bytes());
        self.told.update(text.as_bytes());
    }

    fn image(&mut self, source: &ImageSource) -> Option<()> {
        match source {
            // The lock file says what it means.
            ImageSource::Registry(_) => Some(()),
            ImageSource::Layout { path, .. } | ImageSource::Archive { path, .. } => self.path(path),
        }
    }

    fn tree(&mut self, source: &TreeSource) -> Option<()> {
        match source {
            TreeSource::Official(_) => Some(()),
            TreeSource::Image { source, .. } => self.image(source),
            TreeSource::Tar(path) | TreeSource::Dir(path) => self.path(path),
        }
    }

    /// A file, or a folder with all that is in it. Nothing where it is too much.
    fn path(&mut self, path: &Path) -> Option<()> {
        let mut open: Vec<PathBuf> = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            self.left = self.left.checked_sub(1)?;
            let mut text = format!("{path:?} ");
            // Behind a link, too: what lies there is read.
            match path.metadata() {
                Ok(about) if about.is_dir() => {
                    let inside = path.read_dir().ok()?.take(self.left + 1);
                    let inside = inside.map(|entry| entry.map(|entry| entry.path()));
                    let mut inside = inside.collect::<Result<Vec<_>, _>>().ok()?;
                    inside.sort();
                    open.append(&mut inside);
                }
                Ok(about) => write!(text, "{:?}", Stamp::of(&about)).ok()?,
                Err(error) => write!(text, "{:?}", error.kind()).ok()?,
            }
            self.tell(&text);
        }
        Some(())
    }
}
