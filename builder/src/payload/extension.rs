//! A machine config as Talos' virtual system extension, in a segment of the initramfs.
//!
//! In: a config and what the base initramfs holds. Out: a cpio segment that follows the base: one
//! squashfs layer with the config, and the list of all layers.
//!
//! Source: Talos `pkg/imager/embed.go#BuildEmbeddedConfigExtension`,
//! `internal/pkg/extensions/compress.go#Compress`, `pkg/machinery/extensions/config.go#Config`,
//! `internal/app/init/main.go`; Linux "Documentation/driver-api/early-userspace/buffer-format.rst".
//!
//! Not here: the formats of squashfs and cpio, and where the segment is put.

use thiserror::Error;

use crate::asset::initramfs::Initramfs;
use crate::blob::{Blob, Builder};
use crate::digest::Digest;
use crate::extension::list::{self, LIST, ListError};
use crate::extension::manifest::Metadata;
use crate::format::cpio::{self, CpioError};
use crate::format::squashfs::{self, SquashfsError};
use crate::units::KIB;

/// The folders that lead to the config; Talos looks in the last
/// (`pkg/machinery/constants/constants.go#EmbeddedConfigDirectory`).
const FOLDERS: [&str; 5] = ["", "usr", "usr/local", "usr/local/etc", "usr/local/etc/talos"];

/// Where Talos looks for the config.
const CONFIG: &str = "usr/local/etc/talos/config.yaml";

/// The label that Talos gives to its state (`constants.go#StateSelinuxLabel`). No NUL ends it.
const SELINUX_LABEL: &str = "system_u:object_r:system_state_t:s0";

/// Segments are padded to a multiple of this: so those of all nodes of a site are mostly of one
/// length, and their images differ in the segment's bytes alone. Linux passes over the zeros.
const SEGMENT_STEP: u64 = 16 * KIB;

/// Why a config makes no segment.
#[derive(Debug, Error)]
pub enum ExtensionError {
    /// The base's list is not one.
    #[error(transparent)]
    List(#[from] ListError),
    /// The layer could not be written.
    #[error("the config's layer cannot be written")]
    Layer(#[from] SquashfsError),
    /// The segment could not be written.
    #[error("the config's segment cannot be written")]
    Segment(#[from] CpioError),
}

/// Builds the segment that gives Talos `config`, to follow the initramfs `base`.
///
/// # Errors
///
/// Where the base's list of layers cannot be read.
pub fn segment(config: &[u8], base: &Initramfs, epoch: u32) -> Result<Blob, ExtensionError> {
    let mut layers = list::layers(base)?;
    let image = list::free_name(&layers, &base.names);
    layers.push(list::layer(&image, &metadata(Digest::of(config))));
    let list = list::write(layers)?;
    let file = |path: &str, content| cpio::Entry {
        path: path.to_owned(),
        permissions: 0o644,
        kind: cpio::Kind::File(content),
    };
    let entries = [
        file(&image, squashfs(config, epoch)?.labelled("config layer")),
        file(LIST, Blob::from_bytes(LIST, list)),
    ];
    // One run of bytes: it is small, and maps are easier to read so.
    let archive = cpio::write(&entries, epoch)?.to_vec().expect("bytes in memory can be read");
    let segment = Builder::default().bytes("config segment", archive);
    Ok(segment.align(SEGMENT_STEP).finish())
}

/// The config's squashfs: read by root alone, and labelled as Talos labels its state.
fn squashfs(config: &[u8], epoch: u32) -> Result<Blob, SquashfsError> {
    let folder = |path: &str| squashfs::Node {
        path: path.to_owned(),
        permissions: 0o755,
        kind: squashfs::Kind::Dir,
        xattrs: Vec::new(),
    };
    let mut nodes: Vec<_> = FOLDERS.into_iter().map(folder).collect();
    nodes.push(squashfs::Node {
        path: CONFIG.to_owned(),
        permissions: 0o400,
        kind: squashfs::Kind::File(Blob::from_bytes("config", config)),
        xattrs: vec![squashfs::Xattr {
            name: "security.selinux".to_owned(),
            value: SELINUX_LABEL.into(),
        }],
    });
    squashfs::write(&nodes, epoch)
}

/// The metadata of Talos' own extension.
fn metadata(config: Digest) -> Metadata {
    Metadata {
        name: "embedded-config".to_owned(),
        version: config.to_string(),
        author: "Imager".to_owned(),
        description: "Virtual extension which embeds the machine configuration.".to_owned(),
        talos: ">= 1.0.0".to_owned(),
        extra_info: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_yaml::{Mapping, Value};

    fn list_of(segment: &Blob) -> String {
        let bytes = segment.to_vec().unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let from = text.find("layers:").unwrap();
        let to = from + text[from..].find('\0').unwrap();
        text[from..to].to_owned()
    }

    #[test]
    fn the_first_layer_of_a_plain_base_is_number_0() {
        let segment = segment(b"machine: {}\n", &Initramfs::default(), 0).unwrap();
        insta::assert_snapshot!(list_of(&segment), @r"
        layers:
        - image: 0.sqsh
          metadata:
            name: embedded-config
            version: 2a5c1276ba1c0a483d83c671b8276645063d9bdb257415a6b259223fffdeb619
            author: Imager
            description: Virtual extension which embeds the machine configuration.
            compatibility:
              talos:
                version: '>= 1.0.0'
        ");
        assert_eq!(segment.len(), SEGMENT_STEP);
    }

    #[test]
    fn the_bases_layers_come_first_and_keep_their_names() {
        let list =
            "layers:\n    - image: 0.sqsh\n      metadata: {name: tools, version: \"1.20\"}\n";
        let names = ["init", "0.sqsh", "1.sqsh"].map(str::to_owned);
        let base =
            Initramfs { list: Some(list.into()), names: names.into(), ..Initramfs::default() };
        let list = list_of(&segment(b"a: b\n", &base, 0).unwrap());
        let layers: Mapping = serde_yaml::from_str(&list).unwrap();
        assert_eq!(layers["layers"][0]["metadata"]["version"], Value::from("1.20"));
        assert_eq!(layers["layers"][1]["image"], Value::from("2.sqsh"));
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        for list in ["- a\n", "layers: {a: b}\n", "layers: [\n"] {
            let base = Initramfs { list: Some(list.into()), ..Initramfs::default() };
            assert!(matches!(segment(b"a: b\n", &base, 0), Err(ExtensionError::List(_))), "{list}");
        }
    }
}
