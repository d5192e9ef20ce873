//! The site file: what the user wrote, with every mistake in it at once.
//!
//! In: `site.yaml` and the files that it names. Out: a [`Site`], all names resolved and all
//! defaults filled in; or else every [`Diagnostic`], each with its place.
//!
//! Source: none, the file is ours; what Talos asks of a site is cited at each check.
//!
//! Not here: what is made of a site (`plan`), and opening boot assets (`asset`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::catalog::Profile;
use crate::config::MachineConfig;
use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, Version};

mod boot;
mod check;
mod field;
mod file;
mod key;
mod meta;
mod name;
mod node;
mod resolve;
mod schema;

/// The largest site file that is read, in bytes: room for some 10,000 nodes.
pub const MAX_BYTES: u64 = 4 << 20;

/// A whole site.
#[derive(Clone, Debug)]
pub struct Site {
    /// The site file.
    pub path: PathBuf,
    /// The cluster that the nodes join.
    pub cluster: Cluster,
    /// What all nodes boot from.
    pub boot: Boot,
    /// The nodes, in the order of the file; at least one.
    pub nodes: Vec<Node>,
    /// What is allowed but worth a look.
    pub warnings: Vec<Diagnostic>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Where its Kubernetes API is reached.
    pub endpoint: Endpoint,
    /// The Talos that its nodes run.
    pub talos: Version,
    /// The Kubernetes version, where the file tells it; nothing is made of it.
    pub kubernetes: Option<Version>,
}

/// What all nodes boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Kernel, initramfs, systemd-boot and stub, or a UKI.
    pub assets: AssetSource,
    /// The processors that the media are for.
    pub arch: Arch,
    /// A folder with GRUB's `i386-pc` files, for media that start under a BIOS, where the file
    /// names one.
    pub grub: Option<PathBuf>,
}

/// Where boot assets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssetSource {
    /// A folder of Talos' own files.
    Dir(PathBuf),
    /// One UKI.
    Uki(PathBuf),
}

/// One machine.
#[derive(Clone)]
pub struct Node {
    /// Its name; no two differ only in case.
    pub name: NodeName,
    /// What it does in the cluster.
    pub role: Role,
    /// Its machine config. There is one unless [`Node::embed`] is [`Embed::None`].
    pub config: Option<MachineConfig>,
    /// The profile as the file names it.
    pub profile_name: String,
    /// The profile.
    pub profile: Profile,
    /// The overlays as the file names them, in the order in which they are laid on.
    pub overlays: Vec<String>,
    /// Kernel arguments besides the profile's: those of all nodes, of the defaults, of the
    /// overlays and of the node, in this order.
    pub kernel_args: Vec<String>,
    /// Values for the META partition by their keys.
    pub meta: BTreeMap<u8, String>,
    /// How the config gets into the medium.
    pub embed: Embed,
    /// Where the node stands in the site file.
    pub place: Place,
}

/// Without the values of META, which may hold secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("config", &self.config)
            .field("profile_name", &self.profile_name)
            .field("overlays", &self.overlays)
            .field("kernel_args", &self.kernel_args)
            .field("meta", &self.meta.keys().collect::<Vec<_>>())
            .field("embed", &self.embed)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What a machine does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It runs etcd and the Kubernetes API.
    ControlPlane,
    /// It runs workloads.
    Worker,
}

impl Role {
    /// Talos' name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// How a machine config gets into a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Embed {
    /// As fits the medium.
    Auto,
    /// As an addon beside the UKI, which stays as Talos' makers signed it.
    Addon,
    /// Behind the initramfs.
    Initramfs,
    /// Not at all: Talos waits for it in maintenance mode.
    None,
}

impl Embed {
    /// The name that the site file has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Addon => "addon",
            Self::Initramfs => "initramfs",
            Self::None => "none",
        }
    }
}

/// A cluster's name: labels of RFC 1123 with dots between them, at most 253 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

/// A node's name: one label of RFC 1123, of 1 to 63 letters, digits and inner hyphens. It serves
/// as a file name as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

/// The URL of a cluster's Kubernetes API: `https`, a host, perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint(String);

/// Reads a file that the site names: at most the given number of bytes and one more, so that the
/// caller sees that it is larger.
pub type ReadFile<'a> = &'a dyn Fn(&Path, u64) -> io::Result<Vec<u8>>;

/// Reads a site and all files that it names, but no boot assets.
///
/// # Errors
///
/// Every mistake in them, those of the site file first, each file's in the order of its lines.
pub fn load(path: &Path) -> Result<Site, Vec<Diagnostic>> {
    let bytes = file::read(path, MAX_BYTES).map_err(|error| {
        let help = "check the path, or write one with `talforge init`";
        vec![file::unreadable("site file", path, &error).help(help)]
    })?;
    load_text(path, &bytes, &file::read)
}

/// Reads a site from its text; `read` opens the files that it names.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(path: &Path, text: &[u8], read: ReadFile<'_>) -> Result<Site, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let parts = resolve::site(path, text, read, &mut problems);
    let file = path.display().to_string();
    problems.sort_by_key(|problem| {
        let foreign = problem.place.as_ref().is_some_and(|place| place.file != file);
        (foreign, problem.place.clone(), problem.severity)
    });
    // What comes from the defaults, or from a file that several nodes share, is said once.
    problems.dedup();
    match parts {
        Some(site) if problems.iter().all(file::is_warning) => {
            Ok(Site { warnings: problems, ..site })
        }
        _ => Err(problems),
    }
}

/// The JSON Schema of a site file.
pub fn schema() -> serde_json::Value {
    schema::site()
}

/// A site file to start from, with comments.
pub fn starter() -> &'static str {
    include_str!("starter.yaml")
}

#[cfg(test)]
mod tests;
