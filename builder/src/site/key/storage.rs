//! The keys of disks and volumes.
//!
//! In: nothing. Out: tables.
//!
//! Source: none, the file is ours.
//!
//! Not here: reading the values (`site::storage`).

use super::{Key, SOME, Section, Shape, key, needed};

const DISK: Key = key("disk", Shape::Text("^/dev/.+$"), "The disk's path: /dev/nvme0n1");
const SELECTOR: Key =
    key("selector", Shape::Part(&DISK_SELECTOR), "What the disk is; all of it must be true");
const MATCH: Key = key("match", SOME, "What the disk is, as an expression in CEL");

/// `install`.
pub(in crate::site) const INSTALL: Section = Section {
    name: "`install`",
    keys: &[
        DISK,
        SELECTOR,
        MATCH,
        key(
            "wipe",
            Shape::Flag,
            "Whether the disk is wiped as a whole first: false if you say nothing",
        ),
        key("image", SOME, "The image that installs Talos on this node"),
    ],
};

/// `selector` of a disk.
pub(in crate::site) const DISK_SELECTOR: Section = Section {
    name: "`selector`",
    keys: &[
        key("size", SOME, "Its size: \">= 200GB\""),
        key("model", SOME, "Its model; `*` is any text"),
        key("serial", SOME, "Its serial number; `*` is any text"),
        key("modalias", SOME, "Its modalias in Linux; `*` is any text"),
        key("uuid", SOME, "Its UUID; `*` is any text"),
        key("wwid", SOME, "Its world-wide name; `*` is any text"),
        key("type", Shape::Word(&["ssd", "hdd", "nvme", "sd"]), "Its technology"),
        key("bus_path", SOME, "Its place: /pci0000:00/0000:00:17.0/*"),
    ],
};

/// The keys of an encrypted volume.
pub(super) const KEYS: Shape = Shape::List(&Shape::Part(&KEY));

/// A key of an encrypted volume.
pub(in crate::site) const KEY: Section = Section {
    name: "a key",
    keys: &[
        key("static", SOME, "A passphrase, which the machine config holds"),
        key("node_id", Shape::Yes, "The machine's UUID: no secret"),
        key("tpm", Shape::OneOf(&[Shape::Yes, Shape::Part(&TPM)]), "The machine's TPM"),
        key("kms", Shape::Text("^https?://.+$"), "A key server's URL"),
        key(
            "lock_to_state",
            Shape::Flag,
            "Whether it opens the volume only together with the same node's STATE",
        ),
    ],
};

/// `tpm`.
pub(in crate::site) const TPM: Section = Section {
    name: "`tpm`",
    keys: &[
        key(
            "pcrs",
            Shape::List(&Shape::Number),
            "The registers that must be as they were, 0 to 23",
        ),
        key(
            "check_secure_boot",
            Shape::Flag,
            "Whether Secure Boot must be on when the key is made",
        ),
    ],
};

/// `volumes`.
pub(super) const VOLUMES: Key = key(
    "volumes",
    Shape::List(&Shape::Part(&VOLUME)),
    "Volumes of your own, under /var/mnt; a node's come after the defaults', and instead of those of the same name",
);

/// An item of `volumes`.
pub(in crate::site) const VOLUME: Section = Section {
    name: "a volume",
    keys: &[
        needed("name", SOME, "Its name"),
        key(
            "type",
            Shape::WordOr("partition", &["directory", "disk", "partition"]),
            "What it is made of",
        ),
        DISK,
        SELECTOR,
        MATCH,
        key("min_size", SOME, "The smallest that will do: 100GiB"),
        key("max_size", SOME, "The largest that it may be: 200GiB, 50%"),
        key("grow", Shape::Flag, "Whether it takes room that appears later"),
        key("filesystem", Shape::Word(&["xfs", "ext4"]), "Its file system: xfs if you say nothing"),
        key("encryption", KEYS, "Its keys, if it is encrypted"),
    ],
};

/// `encryption` of Talos' own volumes.
pub(in crate::site) const ENCRYPTION: Section = Section {
    name: "`encryption`",
    keys: &[
        key("state", KEYS, "Keys of the volume that holds the machine config"),
        key("ephemeral", KEYS, "Keys of the volume /var"),
    ],
};
