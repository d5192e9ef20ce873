//! What can be wrong with an extension, or odd.
//!
//! In: findings. Out: sentences, and what to do.
//!
//! Source: Talos `pkg/machinery/extensions/load.go`, `validate.go`.
//!
//! Not here: how it is found (`content`, `manifest`).

use thiserror::Error;

use crate::talos::{Arch, Version};

/// An extension that Talos would refuse, or that could not work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("extension `{extension}`: {wrong}")]
pub struct ExtensionProblem {
    /// The name by which the user knows it.
    pub extension: String,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with an extension.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// Something lies beside the manifest and the files.
    #[error("`{0}` lies beside `manifest.yaml` and `rootfs/`, where nothing may")]
    Stranger(String),
    /// There is no manifest.
    #[error("it has no file `manifest.yaml`")]
    NoManifest,
    /// There is no folder of files.
    #[error("it has no folder `rootfs`")]
    NoRootfs,
    /// The manifest cannot be read.
    #[error("`manifest.yaml` cannot be read: {0}")]
    Manifest(String),
    /// The manifest has another version.
    #[error("`manifest.yaml` has the version `{0}`; Talos reads `v1alpha1`")]
    ManifestVersion(String),
    /// The manifest has no name.
    #[error("`manifest.yaml` has no `metadata.name`")]
    Unnamed,
    /// The constraint cannot be understood.
    #[error("`metadata.compatibility.talos.version` is no range of versions: `{0}`")]
    Constraint(String),
    /// The extension is for other versions.
    #[error("it is for Talos {constraint}, the site is for {talos}")]
    Talos {
        /// The versions that it is for.
        constraint: String,
        /// The site's.
        talos: Version,
    },
    /// Programs are for another processor.
    #[error("its programs are for {found}, the site is for {wanted}: `{path}` is one of {count}")]
    Arch {
        /// What they are for.
        found: Arch,
        /// What the site says.
        wanted: Arch,
        /// The first.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// A file where extensions may have none.
    #[error("`{0}` lies where Talos allows no files of extensions")]
    Place(String),
    /// A device, a pipe, or the like.
    #[error("`{path}` is {what}; extensions have files, folders and links")]
    Special {
        /// Its path.
        path: String,
        /// What it is.
        what: String,
    },
    /// Everyone may write to it.
    #[error("`{0}` may be written to by everyone")]
    Writable(String),
    /// A link that leaves the root.
    #[error("the link `{path}` leads out of the root, to `{target}`")]
    Escape {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A name that a file system cannot hold, or a path that is too deep.
    #[error(
        "`{0}` is no path that a layer can hold: parts have 255 bytes at most, a path 64 parts"
    )]
    Name(String),
    /// A file has files below it.
    #[error("`{0}` is no folder, and something lies below it")]
    NoFolder(String),
    /// There is too much in it.
    #[error("it has more than {0}")]
    TooLarge(&'static str),
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

impl Wrong {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Talos { talos, .. } => {
                format!("take the extension's release for Talos {talos}, or another Talos")
            }
            Self::Arch { wanted, .. } => {
                format!("take the extension's image for {wanted}, or set `boot.arch`")
            }
            Self::Place(_) => "put the file below `rootfs/usr/local`".to_owned(),
            Self::Writable(_) => "take the permission away: `chmod o-w`".to_owned(),
            Self::Stranger(_)
            | Self::NoManifest
            | Self::NoRootfs
            | Self::Manifest(_)
            | Self::ManifestVersion(_)
            | Self::Unnamed
            | Self::Constraint(_) => "an extension is a file `manifest.yaml` of the version \
                 `v1alpha1` and a folder `rootfs`; if this is one, ask its maker"
                .to_owned(),
            Self::Special { .. } | Self::Escape { .. } | Self::Name(_) | Self::NoFolder(_) => {
                "build the extension without it".to_owned()
            }
            Self::TooLarge(_) => "divide it into several extensions".to_owned(),
            Self::Unreadable { .. } => "fetch the extension again".to_owned(),
        }
    }
}

/// What is odd about extensions but stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtensionNote {
    /// A key that Talos passes over.
    #[error("extension `{extension}`: `manifest.yaml` has the unknown key `{key}`")]
    Key {
        /// The extension.
        extension: String,
        /// The key, with those that hold it.
        key: String,
    },
    /// Some programs are for another processor.
    #[error("extension `{extension}`: `{path}` is for {found}, one of {count} of its programs")]
    Arch {
        /// The extension.
        extension: String,
        /// What they are for.
        found: Arch,
        /// The first.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// Two extensions have a file at one path.
    #[error(
        "`{path}` is in the extensions `{below}` and `{above}`; the machine sees that of `{above}`"
    )]
    Hidden {
        /// The path.
        path: String,
        /// The extension whose file is hidden.
        below: String,
        /// The extension whose file is seen.
        above: String,
    },
}
