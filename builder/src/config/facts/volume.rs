//! Volumes: encryption of Talos' own, and those of the user.
//!
//! In: [`Encryption`], [`UserVolume`]. Out: `VolumeConfig` and `UserVolumeConfig` documents.
//!
//! Source: Talos `pkg/machinery/config/types/block/` (`encryption.go`, `volume_config.go`,
//! `user_volume_config.go`).
//!
//! Not here: which expressions and sizes there are (`valid`).

use std::collections::BTreeMap;

use super::Problems;
use super::disk::Disk;
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::pki::secret::Secret;

/// A volume of Talos' own that can be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemVolume {
    /// The machine config and the node's identity.
    State,
    /// `/var`: images, logs, etcd's data.
    Ephemeral,
}

impl SystemVolume {
    /// Its name in Talos.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Ephemeral => "EPHEMERAL",
        }
    }
}

/// How a volume is encrypted, with LUKS 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The keys, each of which opens it; the first has slot 0.
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it comes from.
    pub source: KeySource,
    /// Whether it opens the volume only together with the STATE volume of the same node.
    pub lock_to_state: bool,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A passphrase in the machine config: of use for EPHEMERAL, where STATE is encrypted better.
    Static(Secret),
    /// The machine's UUID and the volume's name: it keeps a disk from being read elsewhere, and is
    /// no secret.
    NodeId,
    /// The machine's TPM.
    Tpm {
        /// The registers that must be as they were, 0 to 23; none at all is Talos' own choice.
        pcrs: Vec<u8>,
        /// Whether Secure Boot must be on when the key is made.
        check_secure_boot: bool,
    },
    /// A server's.
    Kms {
        /// The server's URL.
        endpoint: String,
    },
}

/// A volume of the user's, under `/var/mnt/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserVolume {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub backing: Backing,
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A directory on EPHEMERAL.
    Directory,
    /// A whole disk.
    Disk(Formatted),
    /// A partition of its own.
    Partition {
        /// Where, and how it is formatted.
        on: Formatted,
        /// The smallest that will do, `100GiB`.
        min_size: Option<String>,
        /// The largest that it may be, `200GiB` or `50%`.
        max_size: Option<String>,
        /// Whether it takes room that appears later.
        grow: bool,
    },
}

/// A volume's disk and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The disk.
    pub disk: Disk,
    /// The file system; none is Talos' own choice, XFS.
    pub filesystem: Option<Filesystem>,
    /// How it is encrypted.
    pub encryption: Option<Encryption>,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// XFS.
    Xfs,
    /// ext4.
    Ext4,
}

impl Filesystem {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Xfs, Self::Ext4];

    /// Its name in Talos.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
        }
    }
}

/// Says what is wrong.
pub(super) fn check(
    system: &BTreeMap<SystemVolume, Encryption>,
    user: &[UserVolume],
    problems: &mut Problems<'_>,
) {
    for (volume, encryption) in system {
        let subject = format!("encryption of volume `{}`", volume.name());
        check_encryption(&subject, encryption, problems);
        if *volume == SystemVolume::State && encryption.keys.iter().any(|key| key.lock_to_state) {
            let help = "lock keys of other volumes only";
            problems.add("volume-lock", &subject, "is locked to the volume itself", help);
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for volume in user {
        let subject = format!("volume `{}`", volume.name);
        if !names.insert(&volume.name) {
            let help = "give each volume a name of its own";
            problems.add("volume-duplicate", &subject, "is there twice", help);
        }
        if let Backing::Partition { min_size: None, max_size: None, .. } = volume.backing {
            let help = "give `min_size` or `max_size`";
            problems.add("volume-size", &subject, "has no size", help);
        }
        if let Backing::Disk(on) | Backing::Partition { on, .. } = &volume.backing {
            on.disk.check(&subject, problems);
            let subject = format!("encryption of {subject}");
            on.encryption.iter().for_each(|found| check_encryption(&subject, found, problems));
        }
    }
}

fn check_encryption(subject: &str, encryption: &Encryption, problems: &mut Problems<'_>) {
    if encryption.keys.is_empty() {
        problems.add("volume-keys", subject, "has no keys", "list at least one key");
    }
    for key in &encryption.keys {
        let (wrong, help) = match &key.source {
            KeySource::Static(passphrase) if passphrase.reveal().is_empty() => {
                ("has a passphrase that is empty", "give a passphrase, or another kind of key")
            }
            KeySource::Tpm { pcrs, .. } if pcrs.iter().any(|&pcr| pcr > 23) => {
                ("names a register that no TPM has", "use 0 to 23")
            }
            KeySource::Kms { endpoint } if endpoint.is_empty() => {
                ("has a key server without a URL", "give its URL, `https://kms.example`")
            }
            _ => continue,
        };
        problems.add("volume-keys", subject, wrong, help);
    }
}

/// Writes them down.
pub(super) fn write(
    documents: &mut Documents,
    system: &BTreeMap<SystemVolume, Encryption>,
    user: &[UserVolume],
) {
    for (volume, encryption) in system {
        let tree = documents.open("VolumeConfig", Some(volume.name()));
        tree.set("encryption", encryption_tree(encryption));
    }
    for volume in user {
        let tree = documents.open("UserVolumeConfig", Some(&volume.name));
        match &volume.backing {
            Backing::Directory => tree.set("volumeType", "directory"),
            Backing::Disk(on) => {
                tree.set("volumeType", "disk");
                write_formatted(tree, on);
            }
            Backing::Partition { on, min_size, max_size, grow } => {
                write_formatted(tree, on);
                let tree = tree.open("provisioning");
                if *grow {
                    tree.set("grow", true);
                }
                for (key, size) in [("minSize", min_size), ("maxSize", max_size)] {
                    size.iter().for_each(|size| tree.set(key, size.as_str()));
                }
            }
        }
    }
}

fn write_formatted(tree: &mut Tree, on: &Formatted) {
    tree.set_at(&["provisioning", "diskSelector", "match"], on.disk.expression());
    if let Some(filesystem) = on.filesystem {
        tree.set_at(&["filesystem", "type"], filesystem.name());
    }
    if let Some(encryption) = &on.encryption {
        tree.set("encryption", encryption_tree(encryption));
    }
}

fn encryption_tree(encryption: &Encryption) -> Tree {
    let keys = (0u32..).zip(&encryption.keys).map(|(slot, key)| {
        let mut tree = Tree::map([("slot", slot.into())]);
        match &key.source {
            KeySource::Static(passphrase) => {
                tree.set_at(&["static", "passphrase"], passphrase.reveal());
            }
            KeySource::NodeId => tree.set("nodeID", Tree::empty()),
            KeySource::Kms { endpoint } => tree.set_at(&["kms", "endpoint"], endpoint.as_str()),
            KeySource::Tpm { pcrs, check_secure_boot } => {
                let tpm = tree.open("tpm");
                if !pcrs.is_empty() {
                    let pcrs = pcrs.iter().map(|&pcr| u32::from(pcr));
                    tpm.set_at(&["options", "pcrs"], Tree::list(pcrs));
                }
                if *check_secure_boot {
                    tpm.set("checkSecurebootStatusOnEnroll", true);
                }
            }
        }
        if key.lock_to_state {
            tree.set("lockToState", true);
        }
        tree
    });
    Tree::map([("provider", "luks2".into()), ("keys", Tree::list(keys))])
}
