//! What Talos' first program makes of an unpacked initrd: its layers, and the machine config that
//! it finds in them.
//!
//! In: the files of an initrd. Out: the layers, and the machine config of the topmost that has one.
//!
//! Source: Talos `internal/app/init/main.go`, `pkg/machinery/extensions/config.go`,
//! `pkg/imager/embed.go`, <https://github.com/siderolabs/talos/tree/v1.13.0>.
//!
//! Not here: layers that hide a file by a whiteout, the base `rootfs.sqsh` (no release has a config
//! in it), and what the config says.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::damage::Damage;
use super::initrd::{File, Tree};
use super::memo::Memo;
use super::squashfs::{self, Squashfs};
use crate::digest::Digest;
use crate::units::MIB;

/// The list of layers, at the root of the initrd.
const LIST: &str = "extensions.yaml";
/// The lowest layer.
const ROOT: &str = "rootfs.sqsh";
/// Where Talos looks for an embedded machine config.
const CONFIG: &str = "usr/local/etc/talos/config.yaml";
/// The name of the extension that holds it: its version is the config's digest.
pub const CONFIG_EXTENSION: &str = "embedded-config";
/// The longest list that is read.
const LIST_LIMIT: u64 = MIB;
/// The longest machine config that is read.
const CONFIG_LIMIT: u64 = 16 * MIB;
/// The largest compressed layer that is looked into.
const LAYER_LIMIT: u64 = 64 * MIB;
/// The most layers that the kernel's overlay takes (`OVL_MAX_STACK`).
const LAYERS_LIMIT: usize = 500;

/// A layer over the base root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The image's path in the initrd.
    pub image: String,
    /// The extension's name.
    pub name: String,
    /// The extension's version.
    pub version: String,
}

/// A machine config, as Talos finds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Its bytes. They are secret, and `Debug` does not show them.
    pub bytes: Arc<[u8]>,
    /// Their digest.
    pub digest: Digest,
    /// The image of the layer that holds it.
    pub image: String,
    /// The version that the layer declares, which for an embedded config is its digest.
    pub version: String,
    /// The file's permissions.
    pub mode: u16,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
    /// The file's SELinux label.
    pub label: Option<String>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("digest", &self.digest)
            .field("image", &self.image)
            .field("version", &self.version)
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("label", &self.label)
            .finish()
    }
}

/// What the first program makes of an initrd.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// The machine config, where there is one.
    pub found: Option<Found>,
    /// What is odd but stops nothing.
    pub notes: Vec<String>,
}

/// Follows the first program.
///
/// # Errors
///
/// [`Damage`] where it would stop: the list is malformed, an image is missing or cannot be mounted;
/// or where the config is not the one that its layer declares.
pub fn start(tree: &Tree, memo: &mut Memo) -> Result<System, Damage> {
    let mut system = System { layers: layers(tree, memo)?, ..System::default() };
    for name in ["init", ROOT] {
        if tree.get(name).is_none() {
            system.notes.push(format!("the initrd has no `{name}`, so it does not boot by itself"));
        }
    }
    if tree.get(ROOT).is_some() {
        check_image(tree, ROOT)?;
    }
    for layer in &system.layers {
        check_image(tree, &layer.image)?;
    }
    for layer in system.layers.iter().rev() {
        let file = image(tree, &layer.image)?;
        if file.is_packed() && file.len > LAYER_LIMIT {
            system.notes.push(format!("layer `{}` is too large to be looked into", layer.image));
            continue;
        }
        let found = find(tree, layer, file, memo);
        if let Some(found) = found.map_err(|e| e.within(format!("layer `{}`", layer.image)))? {
            system.found = Some(found);
            break;
        }
    }
    Ok(system)
}

/// The machine config in the topmost of the layers whose images are at hand: `tree` may be a part of
/// an initrd that other parts come before.
///
/// # Errors
///
/// [`Damage`] where the list of layers or an image is damaged, or the config is not the one that its
/// layer declares.
pub fn config(tree: &Tree, memo: &mut Memo) -> Result<Option<Found>, Damage> {
    for layer in layers(tree, memo)?.iter().rev() {
        let Some(file) = tree.get(&layer.image).filter(|file| file.is_regular()) else { continue };
        if file.is_packed() && file.len > LAYER_LIMIT {
            continue;
        }
        let found = find(tree, layer, file, memo);
        if let Some(found) = found.map_err(|e| e.within(format!("layer `{}`", layer.image)))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The file `extensions.yaml`, as far as the first program reads it.
#[derive(Deserialize)]
struct List {
    layers: Option<Vec<ListedLayer>>,
}

#[derive(Deserialize)]
struct ListedLayer {
    image: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    name: Option<String>,
    version: Option<String>,
}

/// The layers that the first program would lay over the base system, the lowest first.
///
/// # Errors
///
/// [`Damage`] where their list is malformed.
pub fn layers(tree: &Tree, memo: &mut Memo) -> Result<Vec<Layer>, Damage> {
    let Some(file) = tree.get(LIST) else { return Ok(Vec::new()) };
    let damage = |wrong: String| Damage::new(LIST, 0, wrong);
    if !file.is_regular() || file.len > LIST_LIMIT {
        return Err(damage("it is no file of at most 1 MiB".into()));
    }
    let bytes = tree.content(file, LIST_LIMIT, memo)?;
    let bytes = bytes.to_vec().map_err(|e| Damage::read(LIST, 0, e))?;
    let layers = parse(&bytes).map_err(|why| damage(format!("it is malformed: {why}")))?;
    if layers.len() > LAYERS_LIMIT {
        return Err(damage(format!("it lists {} layers", layers.len())).should("500 at most"));
    }
    Ok(layers)
}

/// The layers of the first document of an `extensions.yaml`, as Go's decoder takes them.
///
/// # Errors
///
/// What is wrong; no document at all is. The text may quote the file, which holds nothing secret.
pub fn parse(bytes: &[u8]) -> Result<Vec<Layer>, String> {
    let is_blank = |line: &[u8]| matches!(line.trim_ascii_start(), [] | [b'#', ..]);
    let document = serde_yaml::Deserializer::from_slice(bytes).next();
    let Some(document) = document.filter(|_| !bytes.split(|&b| b == b'\n').all(is_blank)) else {
        return Err("it is empty".into());
    };
    let list = Option::<List>::deserialize(document).map_err(|e| e.to_string())?;
    let layers = list.and_then(|list| list.layers).unwrap_or_default();
    let layer = |listed: ListedLayer| {
        let metadata = listed.metadata.unwrap_or_default();
        Layer {
            image: listed.image.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            version: metadata.version.unwrap_or_default(),
        }
    };
    Ok(layers.into_iter().map(layer).collect())
}

fn image<'a>(tree: &'a Tree, path: &str) -> Result<&'a File, Damage> {
    let file = tree.get(path).filter(|file| file.is_regular());
    file.ok_or_else(|| Damage::new(LIST, 0, format!("the image `{path}` is not in the initrd")))
}

fn check_image(tree: &Tree, path: &str) -> Result<(), Damage> {
    let file = image(tree, path)?;
    let head = tree.head(file)?;
    squashfs::check_superblock(&head, file.len)
        .map(drop)
        .map_err(|e| e.within(format!("layer `{path}`")))
}

fn find(tree: &Tree, layer: &Layer, file: &File, memo: &mut Memo) -> Result<Option<Found>, Damage> {
    let image = Squashfs::read(&tree.content(file, LAYER_LIMIT, memo)?)?;
    let Some(config) = image.find(CONFIG)? else { return Ok(None) };
    let bytes = image.content(&config, CONFIG_LIMIT)?;
    let digest = Digest::of(&bytes);
    if layer.name == CONFIG_EXTENSION && layer.version != digest.to_string() {
        let wrong = format!("the config's digest is {digest}");
        return Err(Damage::new("embedded config", 0, wrong)
            .should(format!("as `{LIST}` has it: {}", layer.version)));
    }
    let label = image.security_xattr(&config, "selinux")?.map(|value| {
        let value = value.strip_suffix(&[0]).unwrap_or(&value);
        String::from_utf8_lossy(value).into_owned()
    });
    Ok(Some(Found {
        bytes: bytes.into(),
        digest,
        image: layer.image.clone(),
        version: layer.version.clone(),
        mode: config.mode,
        uid: config.uid,
        gid: config.gid,
        label,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(image: &str, name: &str, version: &str) -> Layer {
        Layer { image: image.into(), name: name.into(), version: version.into() }
    }

    #[test]
    fn a_list_is_read_as_go_reads_it() {
        let list = "layers:\n  - image: 0.sqsh\n    metadata: {name: a, version: 1.20, x: []}\n\
                    \x20 - {image: 1.sqsh}\nelse: 1\n---\nmore: [\n";
        let layers = parse(list.as_bytes()).unwrap();
        assert_eq!(layers, [layer("0.sqsh", "a", "1.20"), layer("1.sqsh", "", "")]);
        for empty in ["{}", "layers:", "---", "layers: []"] {
            assert_eq!(parse(empty.as_bytes()), Ok(Vec::new()), "{empty}");
        }
        for bad in ["", "# nothing\n", "layers: 1", "layers: [~]", "layers: [", "a", "layers: [1]"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_config_is_never_shown() {
        let found = Found {
            bytes: b"token: secret".as_slice().into(),
            digest: Digest::of(b""),
            image: "0.sqsh".into(),
            version: String::new(),
            mode: 0o400,
            uid: 0,
            gid: 0,
            label: None,
        };
        assert!(!format!("{found:?}").contains("secret"));
    }
}
