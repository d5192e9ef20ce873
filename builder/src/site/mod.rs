//! The site file: what the user wrote, with every mistake in it at once.
//!
//! In: `site.yaml` and the files that it names. Out: a [`Site`], all names resolved and all
//! defaults filled in; or else every [`Diagnostic`], each with its place.
//!
//! Source: none, the file is ours; what Talos asks of a site is cited at each check.
//!
//! Not here: what is made of a site (`plan`), and opening boot assets (`asset`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::catalog::{Output, Overlay, Profile};
use crate::config::MachineConfig;
use crate::config::facts::Facts;
use crate::config::facts::prefix::Prefix;
use crate::oci::ImageSource;
use crate::registry::Host;
use crate::report::{Diagnostic, Place};
use crate::talos::{Arch, Role, Version};
use crate::yaml;

mod key;
mod field;
pub(crate) mod file;
mod name;
mod meta;
mod origin;
mod boot;
mod node;
mod network;
mod link;
mod address;
mod storage;
mod registry;
mod value;
mod facts;
mod check;
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
    /// Values for overlays that the defaults give, by their names. For a file it is the file's text,
    /// here and in the nodes.
    pub values: BTreeMap<String, yaml::Node>,
    /// What is allowed but worth a look.
    pub warnings: Vec<Diagnostic>,
    /// The codes of warnings that would stand there too, and that the file silences.
    pub silenced: Vec<&'static str>,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Where its Kubernetes API is reached.
    pub endpoint: Endpoint,
    /// The Talos that its nodes run.
    pub talos: Version,
    /// Where the file tells the Talos version.
    pub talos_place: Place,
    /// The Kubernetes version, where the file tells it; else it is the one that Talos ships with.
    pub kubernetes: Option<Version>,
    /// The cluster's secrets, where the file names some.
    pub secrets: Option<Source>,
    /// Patches for the configs of all nodes, in order.
    pub patches: Vec<Source>,
    /// Patches for those of control planes.
    pub controlplane: Vec<Source>,
    /// Patches for those of workers.
    pub worker: Vec<Source>,
    /// Names and addresses for certificates, besides the endpoint's.
    pub cert_sans: Vec<String>,
    /// The domain of services.
    pub dns_domain: Option<String>,
    /// The networks of pods, where the file tells them; else they follow the nodes' families.
    pub pod_subnets: Vec<Prefix>,
    /// The networks of services, likewise.
    pub service_subnets: Vec<Prefix>,
    /// The image that installs Talos, where the file tells it; else Talos' own.
    pub installer: Option<String>,
    /// Whether nodes find each other by Talos' discovery service.
    pub discovery: bool,
    /// Whether nodes reach each other through KubeSpan.
    pub kubespan: bool,
    /// Codes of warnings that are not to be told.
    pub silence: Vec<String>,
}

/// A text that the site names or holds: a patch, a secrets bundle. What is encrypted is decrypted
/// in memory, before anyone else sees it.
#[derive(Clone)]
pub struct Source {
    /// The file, as the user would write it: the site file itself for what it holds.
    pub file: String,
    /// Its text, or the documents that the site file holds.
    pub text: Text,
    /// Where the site names it.
    pub place: Place,
}

/// A text, read or still to be read.
#[derive(Clone)]
pub enum Text {
    /// Bytes of a file.
    Bytes(Arc<Zeroizing<Vec<u8>>>),
    /// A value of the site file.
    Tree(yaml::Node),
}

/// The file, never the text.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.file, self.place)
    }
}

/// The length or the place, never the text.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Tree(node) => node.fmt(f),
        }
    }
}

/// What all nodes boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Kernel, initramfs, systemd-boot and stub, or a UKI; at least one source. What the first lacks
    /// is taken from the next.
    pub assets: Vec<AssetSource>,
    /// The processors that the media are for.
    pub arch: Arch,
    /// A folder with GRUB's `i386-pc` files, for media that start under a BIOS, where the file
    /// names one.
    pub grub: Option<PathBuf>,
    /// Where the files of boards come from, by the names that overlays have for them; those that are
    /// not here are Sidero's own of the release.
    pub artifacts: BTreeMap<String, TreeSource>,
    /// How registries are reached, by host; those that are not here by TLS and without mirrors.
    pub registries: BTreeMap<String, Host>,
    /// Who must have signed images and files from outside, where the file says.
    pub signed_by: Option<Signer>,
}

/// Where boot assets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssetSource {
    /// A folder of Talos' own files.
    Dir(PathBuf),
    /// One UKI.
    Uki(PathBuf),
    /// An ISO.
    Iso(PathBuf),
    /// A raw disk, perhaps compressed.
    Raw(PathBuf),
    /// A container image.
    Image {
        /// As the site file has it, which is how the lock file names it.
        written: String,
        /// Where it is.
        source: ImageSource,
    },
    /// A file on a web server: a UKI, an ISO, a raw disk.
    Web(Url),
}

/// Where a tree of files comes from: a system extension, the artifacts of boards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeSource {
    /// What Sidero's catalogue of the release has under a name: `siderolabs/iscsi-tools`.
    Official(String),
    /// A container image.
    Image {
        /// As the site file has it, which is how the lock file names it.
        written: String,
        /// Where it is.
        source: ImageSource,
    },
    /// A tar archive, perhaps compressed.
    Tar(PathBuf),
    /// A folder.
    Dir(PathBuf),
}

impl TreeSource {
    /// What messages call it: its image's name, or its path.
    pub fn name(&self) -> String {
        match self {
            Self::Official(name) | Self::Image { written: name, .. } => name.clone(),
            Self::Tar(path) | Self::Dir(path) => path.display().to_string(),
        }
    }
}

/// Who must have signed what comes from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Those who make Talos.
    Sidero,
    /// Whoever has the private half of this key, a file of PEM.
    Key(PathBuf),
    /// Someone with a certificate of Sigstore's.
    Identity {
        /// Whom it names; `*` stands for any characters.
        identity: String,
        /// Who vouched for that.
        issuer: String,
    },
}

/// The URL of a file: `https://HOST/PATH`, or `http`. It holds no password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url(String);

/// One machine.
#[derive(Clone)]
pub struct Node {
    /// Its name; no two differ only in case.
    pub name: NodeName,
    /// What it does in the cluster.
    pub role: Role,
    /// Its ready machine config, where the file names one.
    pub config: Option<MachineConfig>,
    /// What the file says of the machine, of which its config is made where there is no ready one.
    /// A node with `embed: none` that says nothing of its own has neither.
    pub facts: Option<Facts>,
    /// Patches for its config alone, in order.
    pub patches: Vec<Source>,
    /// Values for its overlays by their names: its own, and those of the defaults where it has none.
    pub values: BTreeMap<String, yaml::Node>,
    /// The profile as the file names it.
    pub profile_name: String,
    /// The profile.
    pub profile: Profile,
    /// The overlays as the file names them, in the order in which they are laid on.
    pub overlays: Vec<(String, Overlay)>,
    /// Kernel arguments besides the profile's: those of all nodes, of the defaults, of the
    /// overlays and of the node, in this order.
    pub kernel_args: Vec<String>,
    /// System extensions: those of all nodes, of the defaults and its own, in this order, each once.
    pub extensions: Vec<TreeSource>,
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
            .field("facts", &self.facts)
            .field("patches", &self.patches)
            .field("overlays", &self.overlays.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("kernel_args", &self.kernel_args)
            .field("extensions", &self.extensions)
            .field("meta", &self.meta.keys().collect::<Vec<_>>())
            .field("embed", &self.embed)
            .field("place", &self.place)
            .finish_non_exhaustive()
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
    /// On a volume of its own, which Talos' platform code looks for.
    Volume,
    /// Not at all: Talos waits for it in maintenance mode.
    None,
}

impl Embed {
    /// What it comes to with a profile and a version of Talos: anything but [`Self::Auto`].
    pub fn settled(self, profile: &Profile, talos: &Version) -> Self {
        match (self, &profile.output) {
            (Self::None, _) => Self::None,
            (_, Output::Seed(_)) => Self::Volume,
            (Self::Auto, Output::Pxe(_)) => Self::Initramfs,
            (Self::Auto, _) if talos.reads_embedded_config() => Self::Addon,
            (Self::Auto, _) => Self::Volume,
            (how, _) => how,
        }
    }

    /// The name that the site file has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Addon => "addon",
            Self::Initramfs => "initramfs",
            Self::Volume => "volume",
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

/// The value of an environment variable.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// All that a site is read from besides its own text. The environment is asked for age identities,
/// where a file is encrypted.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Files.
    pub read: ReadFile<'a>,
    /// The environment.
    pub variable: Variable<'a>,
}

/// Its functions do not show.
impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// Reads a site and all files that it names, but no boot assets.
///
/// # Errors
///
/// Every mistake in them, those of the site file first, each file's in the order of its lines.
pub fn load(path: &Path, variable: Variable<'_>) -> Result<Site, Vec<Diagnostic>> {
    let bytes = file::read(path, MAX_BYTES).map_err(|error| {
        let help = "check the path, or write one with `talforge init`";
        vec![file::unreadable("site file", path, &error).help(help)]
    })?;
    load_text(path, &bytes, World { read: &file::read, variable })
}

/// Reads a site from its text.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(path: &Path, text: &[u8], world: World<'_>) -> Result<Site, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let parts = resolve::site(path, text, world, &mut problems);
    let file = path.display().to_string();
    problems.sort_by_key(|problem| {
        let foreign = problem.place.as_ref().is_some_and(|place| place.file != file);
        (foreign, problem.place.clone(), problem.severity)
    });
    // What comes from the defaults, or from a file that several nodes share, is said once.
    problems.dedup();
    match parts {
        Some(site) if problems.iter().all(file::is_warning) => {
            let silent = &site.cluster.silence;
            let (quiet, warnings): (Vec<_>, _) =
                problems.into_iter().partition(|problem| silent.iter().any(|c| c == problem.code));
            let silenced = quiet.into_iter().map(|problem| problem.code).collect();
            Ok(Site { warnings, silenced, ..site })
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
