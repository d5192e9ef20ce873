//! Flags → a verb; decides nothing.
//!
//! In: the command line. Out: a [`Cli`].
//!
//! Source: none; names follow `talosctl` where it has them.
//!
//! Not here: what the commands do (`verb`).

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::catalog::value::Format;

/// The formats that a disk can have by itself: an overlay has a base beside it.
const FORMATS: [Format; 10] = [
    Format::Raw,
    Format::Qcow2,
    Format::Qcow2Zlib,
    Format::Qcow2Zstd,
    Format::Vhd,
    Format::VhdDynamic,
    Format::Vhdx,
    Format::Vmdk,
    Format::VmdkStream,
    Format::Ova,
];

/// Turns one site file into bootable Talos Linux media, one per node, each with its machine config
/// inside.
#[derive(Clone, Debug, Parser)]
#[command(name = "talforge", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done; 1 a file of yours is wrong; 2 wrong usage; \
3 the machine said no (disk, permission); 4 the boot assets cannot be used; 5 a medium is not what \
it should be; 130 and 143 ended by a signal. `diff` ends with 1 where media differ.\n\nStart with `talforge init`, then `talforge build`.")]
pub struct Cli {
    /// Print events as JSON lines on standard output, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print errors only.
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Write a commented site file to start from.
    Init(Init),
    /// Make a cluster's secrets, as `talosctl gen secrets` does, or take them from a cluster.
    Secrets(Secrets),
    /// Say everything that is wrong with a site, without building it.
    Check(Check),
    /// Write each node's final machine config, and a talosconfig.
    Render(Render),
    /// Show what would be built for each node, and why; read and write nothing else.
    Plan(Plan),
    /// Look up what every reference of a site means, fetch it, and write `site.lock`.
    Lock(Lock),
    /// Build every node's medium, and read each back the way Talos will.
    Build(Build),
    /// Write a disk in another format.
    Convert(Convert),
    /// Join the manifests of a site that was built in shards.
    Merge(Merge),
    /// Put what was built into an OCI registry, an S3-compatible store or a folder.
    ///
    /// Each node's image goes there in layers, and nodes share those of what they have in common: a
    /// further node costs its own bytes. What is there already is not sent again, so that an export
    /// that was cut short goes on where it ended. Several may export to one place at once, such as
    /// shards.
    Export(Export),
    /// Take one node's image from where `export` has put it.
    ///
    /// What nodes have in common is kept in the store, so that a further node costs its own bytes.
    /// The store has the node's own bytes then, too: its secrets, for its owner alone to read. A
    /// file gets its name once it has the digest that it was built with.
    Fetch(Fetch),
    /// Put a machine config or kernel arguments on a finished ISO or raw disk; no site is needed.
    Customize(Customize),
    /// Show, put on or remove the machine config of a finished medium.
    Config(Config),
    /// Make an administrator's credentials for Talos' API, without asking the cluster.
    Talosconfig(Talosconfig),
    /// Make an administrator's credentials for Kubernetes, without asking the cluster.
    Kubeconfig(Kubeconfig),
    /// Turn another tool's site into one of ours.
    Import(Import),
    /// Show what is on a medium: layout, boot entries, command line, layers, the config found.
    Inspect(Inspect),
    /// Look after the store of what was fetched: list, prune, verify.
    ///
    /// The store has what builds fetched from registries and web servers, by digest, so that it is
    /// fetched once. It is `$XDG_CACHE_HOME/talforge`, or `~/.cache/talforge`. Every use reads a
    /// file to its end and fetches it again where it is broken, so all of it may be deleted at any
    /// time, if it can be fetched again.
    Store(Store),
    /// Tell what differs between two media: entries, arguments, layers, the config by its paths.
    Diff(Diff),
    /// Print the JSON Schema of a kind of file, for editors.
    Schema(Schema),
    /// Print completions for a shell.
    Completions(Completions),
}

/// Arguments of `init`.
#[derive(Clone, Debug, Args)]
pub struct Init {
    /// The file to write.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
}

/// Arguments of `plan`.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// Only these nodes.
    #[arg(long = "node", short = 'n', value_name = "NAME")]
    pub nodes: Vec<String>,
}

/// Arguments of `secrets`.
#[derive(Clone, Debug, Args)]
pub struct Secrets {
    /// The file to write; `-` is standard output.
    #[arg(long = "out", short, value_name = "FILE", default_value = "secrets.yaml")]
    pub out: PathBuf,
    /// Replace a file that is there. A cluster whose secrets are gone cannot be reached again.
    #[arg(long, short)]
    pub force: bool,
    /// The release of Talos that they are for, as its tag.
    #[arg(long, value_name = "VERSION", default_value = "v1.14.1")]
    pub talos: String,
    /// Take them from a control plane's machine config.
    #[arg(long, value_name = "FILE", conflicts_with = "from_kubernetes_pki")]
    pub from_controlplane_config: Option<PathBuf>,
    /// Take the CAs from the PKI folder of a cluster that kubeadm made; the rest is new.
    #[arg(long, value_name = "DIR")]
    pub from_kubernetes_pki: Option<PathBuf>,
    /// A file with the bootstrap token of that cluster; without one it is new.
    #[arg(long, value_name = "FILE", requires = "from_kubernetes_pki")]
    pub kubernetes_bootstrap_token_file: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// Say which of these disks a node would be installed on: the output of `talosctl get disks -o
    /// yaml`. Its `node` fields tell whose they are; `--node` does where they cannot.
    #[arg(long, value_name = "FILE")]
    pub disks: Option<PathBuf>,
    /// The node that has the disks.
    #[arg(long, short = 'n', value_name = "NAME", requires = "disks")]
    pub node: Option<String>,
    /// List all findings that there are, by their codes, and check nothing.
    #[arg(long, exclusive = true)]
    pub list: bool,
}

/// Arguments of `render`.
#[derive(Clone, Debug, Args)]
pub struct Render {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// Only these nodes.
    #[arg(long = "node", short = 'n', value_name = "NAME")]
    pub nodes: Vec<String>,
    /// The folder to write to. Without it one node's config goes to standard output.
    #[arg(long = "out", short, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `talosconfig`.
#[derive(Clone, Debug, Args)]
pub struct Talosconfig {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// What is common to both kinds of credentials.
    #[command(flatten)]
    pub credentials: Credentials,
    /// The file to write; `-` is standard output.
    #[arg(long = "out", short, value_name = "FILE", default_value = "talosconfig")]
    pub out: PathBuf,
    /// What they allow; may be given several times.
    #[arg(long = "role", value_name = "ROLE", default_value = "os:admin")]
    pub roles: Vec<String>,
}

/// Arguments of `kubeconfig`.
#[derive(Clone, Debug, Args)]
pub struct Kubeconfig {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// What is common to both kinds of credentials.
    #[command(flatten)]
    pub credentials: Credentials,
    /// The file to write; `-` is standard output.
    #[arg(long = "out", short, value_name = "FILE", default_value = "kubeconfig")]
    pub out: PathBuf,
}

/// How long credentials are good, and what to do with old ones.
#[derive(Clone, Debug, Args)]
pub struct Credentials {
    /// How long they are good: `8760h`, `30d`.
    #[arg(long, value_name = "TIME", default_value = "8760h", value_parser = lifetime)]
    pub lifetime: Duration,
    /// Replace a file that is there.
    #[arg(long, short)]
    pub force: bool,
}

/// Arguments of `import`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// A talhelper site: `talconfig.yaml`.
    #[arg(default_value = "talconfig.yaml")]
    pub site: PathBuf,
    /// The folder to write `site.yaml` and its files to.
    #[arg(long = "out", short, value_name = "DIR", default_value = "talforge")]
    pub out: PathBuf,
}

/// Reads a length of time: minutes, hours or days, the least being a minute and the most 100 years.
fn lifetime(text: &str) -> Result<Duration, String> {
    const MINUTE: u64 = 60;
    let unit = |unit| match unit {
        'm' => Some(MINUTE),
        'h' => Some(60 * MINUTE),
        'd' => Some(24 * 60 * MINUTE),
        _ => None,
    };
    let seconds = text.chars().last().and_then(unit).and_then(|unit| {
        let number = &text[..text.len() - 1];
        number.parse::<u64>().ok()?.checked_mul(unit)
    });
    match seconds {
        Some(seconds @ MINUTE..=3_155_760_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number and `m`, `h` or `d`, from `1m` to `36525d`".to_owned()),
    }
}

/// Arguments of `build`.
#[derive(Clone, Debug, Args)]
pub struct Build {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// The folder to write to.
    #[arg(long = "out", short, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Only these nodes.
    #[arg(long = "node", short = 'n', value_name = "NAME")]
    pub nodes: Vec<String>,
    /// Only the nodes of one shard, from `0/N` to `N-1/N`, for builds on N machines.
    ///
    /// I is counted from 0, as Kubernetes (`$(JOB_COMPLETION_INDEX)/100`), GitHub's matrices, Cloud
    /// Run and AWS Batch count, so that their variables need no arithmetic. Names of nodes are sorted
    /// and cut into N runs whose lengths differ by at most one; where a node is added, at most one
    /// node moves across each cut. Every shard checks the whole site. `talforge merge` joins their
    /// manifests.
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
    /// How many nodes to build at once; as many as there are processors, if not given. The media are
    /// the same.
    #[arg(long, short, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// Build all media anew, also those that would not change.
    #[arg(long)]
    pub force: bool,
    /// What comes from outside.
    #[command(flatten)]
    pub sources: Sources,
}

/// One of the parts into which a site's nodes are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Reads `I/N`: the shard's index, counted from 0, and how many there are.
    ///
    /// # Errors
    ///
    /// What is wrong with it, where it is not of that form or there is no such shard.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let is_plain = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|_| is_plain)
        };
        let parts = text.split_once('/').map(|(index, count)| (number(index), number(count)));
        match parts {
            Some((Some(_), Some(0))) => Err("a site is split into one shard or more".to_owned()),
            Some((Some(index), Some(count))) if index >= count => Err(format!(
                "shards are counted from 0: of {count} the last is `{}/{count}`",
                count - 1
            )),
            Some((Some(index), Some(count))) => Ok(Self { index, count }),
            _ => Err("write `I/N`: the shard's number, from 0, and how many there are".to_owned()),
        }
    }

    /// Its number, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many shards there are: one or more.
    pub fn count(self) -> u32 {
        self.count
    }
}

/// Where bytes from outside are kept, and whether they may be fetched.
#[derive(Clone, Debug, Args)]
pub struct Sources {
    /// The folder of the store, if it is not the usual one.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Fetch nothing: all must be in the store.
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `convert`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The format is told by the end of the file's name: `.raw`, `.img` or `.iso` for the \
bytes as they are, `.qcow2`, `.vhd`, `.vhdx` or `.vmdk`. With `.zst`, `.xz` or `.gz` after it the \
file is compressed; `.tar.gz` is an archive of `disk.raw`. Zeros are left out, where the format can."
)]
pub struct Convert {
    /// A disk or an ISO, in any format that `build` writes.
    pub disk: PathBuf,
    /// The file to write, readable by its owner alone. None may be there.
    pub out: PathBuf,
    /// The format, whatever the file's name.
    #[arg(long, value_parser = formats())]
    pub format: Option<Format>,
}

/// Reads the name of a format that a disk by itself can have.
fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(Format::name)).map(|name| {
        let found = FORMATS.into_iter().find(|format| format.name() == name);
        found.expect("the name is that of one of them")
    })
}

/// Arguments of `merge`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Files stay where they are. Both lists name them as the shards do, by paths from \
the shard's folder: `sha256sum --check SHA256SUMS` is for a folder that all shards' files were put \
into."
)]
pub struct Merge {
    /// The shards, all of them: folders that `talforge build --shard` wrote, or their
    /// `manifest.json`.
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
    /// The folder to write `manifest.json` and `SHA256SUMS` of the whole site to.
    #[arg(long = "out", short, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
}

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The place must be private: images hold machine configs, and those hold secrets. \
In a registry each node is a tag, and the site's lists are the tag `_site` (`_site-shard-I-of-N` of a \
shard); folders and buckets are OCI image layouts, which other programs can copy. Credentials are \
those of `docker login` and of AWS' tools: `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_REGION`, \
`AWS_ENDPOINT_URL`, `~/.aws`."
)]
pub struct Export {
    /// The folder that `talforge build -o` wrote.
    pub folder: PathBuf,
    /// Where to put it: `oci://HOST/REPOSITORY`, `s3://BUCKET/PREFIX`, or a folder (`dir:PATH`).
    pub to: String,
    /// Ask the registry or store without TLS. Who is on the way can read the nodes' secrets.
    #[arg(long)]
    pub plain_http: bool,
}

/// Arguments of `fetch`.
#[derive(Clone, Debug, Args)]
pub struct Fetch {
    /// Where it was put: `oci://HOST/REPOSITORY`, `s3://BUCKET/PREFIX`, or a folder (`dir:PATH`).
    pub from: String,
    /// The node.
    pub node: String,
    /// The folder to write to.
    #[arg(long = "out", short, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// What comes from outside.
    #[command(flatten)]
    pub sources: Sources,
    /// Ask the registry or store without TLS. Who is on the way can read the node's secrets.
    #[arg(long)]
    pub plain_http: bool,
}

/// Arguments of `lock`.
#[derive(Clone, Debug, Args)]
pub struct Lock {
    /// The site file.
    #[arg(default_value = "site.yaml")]
    pub site: PathBuf,
    /// Where what is fetched is kept.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct Inspect {
    /// An ISO, a disk, a UKI or an initramfs; in any format that `build` writes, and compressed too.
    pub image: PathBuf,
    /// Draw what lies where: partitions, files, sections, gaps, and what is one node's own.
    #[arg(long)]
    pub map: bool,
    /// Write the same drawing as an SVG to this file. None may be there.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Arguments of `customize`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["config", "kernel_args"]))]
#[command(group = ArgGroup::new("target").required(true).args(["out", "in_place"]))]
#[command(
    after_help = "The medium is an image in a file, as Talos' releases and its Image Factory \
have them, or one that talforge built; v1.12 or later for a config, and not compressed. What is not \
named stays as it is on the medium. `talforge config remove` takes all of it back, bit for bit."
)]
pub struct Customize {
    /// An ISO or a raw disk.
    pub medium: PathBuf,
    /// The machine config that Talos is to find; in clear, or encrypted with SOPS or age. It takes
    /// the place of one that is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A kernel argument to add; may be given several times. All take the place of those that were
    /// added before.
    #[arg(long = "karg", value_name = "ARG")]
    pub kernel_args: Vec<String>,
    /// The file to write, readable by its owner alone. None may be there.
    #[arg(long = "out", short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Change the medium itself. Whenever that is cut short, it boots as before or as it was to.
    #[arg(long)]
    pub in_place: bool,
}

/// Arguments of `config`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with a medium's machine config.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the machine config that Talos finds, as it is. It holds secrets.
    Show {
        /// An ISO, a disk, a UKI or an initramfs; in any format that `build` writes.
        medium: PathBuf,
    },
    /// Put a machine config on a medium, in place of one that is there. Kernel arguments stay.
    Set {
        /// An ISO or a raw disk. It is changed where it lies; `talforge customize -o` makes a copy.
        medium: PathBuf,
        /// The machine config; in clear, or encrypted with SOPS or age.
        config: PathBuf,
    },
    /// Take back all that was put on a medium, added kernel arguments too: then it is, bit for bit,
    /// what it was before. One that talforge built gets the form that it has without a config.
    Remove {
        /// An ISO or a raw disk. It is changed where it lies.
        medium: PathBuf,
    },
}

/// Arguments of `store`.
#[derive(Clone, Debug, Args)]
pub struct Store {
    /// The store, if it is not the usual one.
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What to do with the store.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Show what is in it: digest, length, last use, and where it is from.
    List,
    /// Remove what was not used for a while.
    Prune(Prune),
    /// Read all of it, and remove what is broken.
    Verify,
}

/// Arguments of `store prune`.
#[derive(Clone, Debug, Args)]
pub struct Prune {
    /// Keep every digest that this file names, such as a `site.lock`, and all that those name in
    /// turn; may be given several times.
    #[arg(long = "keep", value_name = "FILE")]
    pub keep: Vec<PathBuf>,
    /// How long something must not have been used: `30d`, `12h`.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = lifetime)]
    pub unused: Duration,
    /// Remove all that is not kept, however lately it was used.
    #[arg(long, conflicts_with = "unused")]
    pub all: bool,
}

/// Arguments of `diff`.
///
/// Each line has a sign: `+` is only in the second medium, `-` only in the first, `~` in both and
/// different. Secrets are not shown: of what may be one it is told that it differs.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing differs that a boot makes use of; 1 something does; \
2 wrong usage; 3 a file cannot be read; 5 a medium is damaged. With `--quiet` there is the exit \
code alone."
)]
pub struct Diff {
    /// An ISO, a disk, a UKI or an initramfs; in any format that `build` writes.
    pub before: PathBuf,
    /// Another one, of any kind.
    pub after: PathBuf,
}

/// Arguments of `schema`.
#[derive(Clone, Debug, Args)]
pub struct Schema {
    /// The kind of file.
    #[arg(value_enum, default_value_t = SchemaKind::Site)]
    pub kind: SchemaKind,
}

/// A kind of file that people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// `site.yaml`.
    Site,
    /// A file of `profiles/`.
    Profile,
    /// A file of `overlays/`.
    Overlay,
}

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
