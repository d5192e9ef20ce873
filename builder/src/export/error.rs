//! Why images cannot be put somewhere or taken from there.
//!
//! In: what files, places and artifacts are like. Out: errors without secrets.
//!
//! Source: none.
//!
//! Not here: exit codes (`verb`).

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::oci::error::OciError;
use crate::registry::aws::AwsError;
use crate::registry::error::{RegistryError, Trouble};

/// Why an image cannot be put somewhere or taken from there.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A place's name.
    #[error("`{text}` is no place for images: {why}")]
    Address {
        /// What was written, without what may be credentials.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The list of what was built.
    #[error("`{}` is no list of what was built: {why}", path.display())]
    List {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A node whose name no place can hold.
    #[error("the node `{node}` cannot be put there: {why}")]
    Node {
        /// Its name.
        node: String,
        /// Why.
        why: String,
    },
    /// A file that is not what was built.
    #[error("`{}` is not what was built: {why}", path.display())]
    Changed {
        /// Its path.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A file of this machine.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of this machine.
    #[error("`{}` cannot be written", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such node.
    #[error("`{place}` has no image of a node `{node}`")]
    Absent {
        /// The place.
        place: String,
        /// The node.
        node: String,
    },
    /// What a place has is not what it says, or breaks a limit.
    #[error("{what} cannot be used: {why}")]
    Artifact {
        /// Which part.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else changes the list of a place all the time.
    #[error("`{0}` is changed by others all the time")]
    Contended(String),
    /// A registry or store.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A key for a store.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A manifest or index.
    #[error(transparent)]
    Oci(#[from] OciError),
}

impl ExportError {
    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "export-place",
            Self::List { .. } => "export-manifest",
            Self::Node { .. } => "export-node",
            Self::Changed { .. } => "export-changed",
            Self::Read { .. } => "export-read",
            Self::Write { .. } => "export-write",
            Self::Absent { .. } => "export-absent",
            Self::Artifact { .. } | Self::Oci(_) => "export-artifact",
            Self::Contended(_) => "export-contended",
            Self::Registry(_) => "registry",
            Self::Aws(_) => "export-key",
        }
    }

    /// What to do, as an imperative.
    pub fn help(&self) -> String {
        match self {
            Self::Address { .. } => {
                "write `oci://HOST/REPOSITORY`, `s3://BUCKET/PREFIX` or `dir:PATH`".into()
            }
            Self::List { .. } => "name the folder that `talforge build -o` wrote".into(),
            Self::Node { .. } => "give it another name, or a smaller medium".into(),
            Self::Changed { .. } => "build it again".into(),
            Self::Read { .. } => "check the path and the file's permissions".into(),
            Self::Write { .. } => "look at the disk and the folder's permissions".into(),
            Self::Absent { .. } => {
                "check the node's name, and that `talforge export` was run to its end".into()
            }
            Self::Artifact { .. } | Self::Oci(_) => {
                "run `talforge export` again; if that does not help, do not trust the place".into()
            }
            Self::Contended(_) => "try again when fewer write there".into(),
            Self::Registry(RegistryError::Unavailable { tried, .. })
                if tried.iter().any(|attempt| matches!(attempt.trouble, Trouble::Plain)) =>
            {
                "use TLS, or say `--plain-http`".into()
            }
            Self::Registry(error) => error.help(),
            Self::Aws(error) => error.help().into(),
        }
    }
}
