//! Flags → a verb; decides nothing.
//!
//! In: the command line. Out: a [`Cli`].
//!
//! Source: none; names follow `talosctl` where it has them.
//!
//! Not here: what the commands do (`verb`).

use std::path::PathBuf;

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
    /// Show what would be built for each node, and why; read and write nothing else.
    Plan(Plan),
    /// Build every node's medium, and read each back the way Talos will.
    Build(Build),
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
