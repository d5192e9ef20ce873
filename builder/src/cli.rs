//! Flags → a verb; decides nothing.
//!
//! In: the command line. Out: a [`Cli`].
//!
//! Source: none; names follow `talosctl` where it has them.
//!
//! Not here: what the commands do (`verb`).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Turns one site file into bootable Talos Linux media, one per node, each with its machine config
/// inside.
#[derive(Clone, Debug, Parser)]
#[command(name = "talforge", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done; 1 a file of yours is wrong; 2 wrong usage; \
3 the machine said no (disk, permission); 4 the boot assets cannot be used; 5 a medium is not what \
it should be.\n\nStart with `talforge init`, then `talforge build`.")]
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
    /// Build every node's medium, and read each back the way Talos will.
    Build(Build),
    /// Make an administrator's credentials for Talos' API, without asking the cluster.
    Talosconfig(Talosconfig),
    /// Make an administrator's credentials for Kubernetes, without asking the cluster.
    Kubeconfig(Kubeconfig),
    /// Turn another tool's site into one of ours.
    Import(Import),
    /// Show what is on a medium: layout, boot entries, command line, layers, the config found.
    Inspect(Inspect),
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
}

/// Arguments of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct Inspect {
    /// An ISO, a raw disk, a UKI or an initramfs.
    pub image: PathBuf,
    /// Print the machine config found, and nothing else. It holds secrets.
    #[arg(long)]
    pub config: bool,
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
