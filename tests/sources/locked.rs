//! The lock file, and the store behind it.
//!
//! In: a registry with an imager's image. Out: verdicts.
//!
//! Source: none.
//!
//! Not here: extensions (`layers`), other sources (`kinds`).

use std::fs;
use std::path::PathBuf;

use lab::qemu::{Firmware, Medium};
use lab::standin::TALOS;
use talforge::digest::Digest;

use crate::world::{DISK, Registry, Site, world};

const NODES: &[(&str, &str, &str)] = &[("pxe", "metal-pxe", "")];
const INITRAMFS: &str = "out/pxe/initramfs-metal-amd64.xz";

/// A registry with the imager, and a site that takes it from there.
fn imager(nodes: &[(&str, &str, &str)]) -> Option<(Registry, Site, String)> {
    let world = world()?;
    let registry = Registry::new().unwrap();
    let digest = registry.server.push(&world.path("imager"), TALOS, "img/imager:v1").unwrap();
    let host = &registry.server.host;
    let boot = format!("assets: \"oci://{host}/img/imager:v1\"\n{}", registry.keys());
    Some((registry, Site::new(&boot, nodes).unwrap(), digest))
}

/// The image's initramfs is what the built one begins with.
#[track_caller]
fn assert_is_of(site: &Site, standin: &lab::standin::Standin) {
    let built = fs::read(site.path(INITRAMFS)).unwrap();
    let base = fs::read(standin.file("initramfs.xz")).unwrap();
    assert!(built.starts_with(&base), "another initramfs");
}

#[test]
fn what_is_locked_is_built_until_it_is_locked_anew() {
    let Some((registry, site, first)) = imager(NODES) else { return };
    let world = world().unwrap();
    site.run(&["lock"]).unwrap().well().unwrap();
    assert_eq!(site.locked("imager:v1"), Some(first.clone()));
    let second = registry.server.push(&world.path("imager-2"), TALOS, "img/imager:v1").unwrap();
    assert_ne!(first, second);
    let lock = site.read("site.lock");

    site.run(&["build"]).unwrap().well().unwrap();
    assert_is_of(&site, &world.standin);
    assert_eq!(site.read("site.lock"), lock);
    let manifest: serde_json::Value =
        serde_json::from_str(&site.read("out/manifest.json")).unwrap();
    let told = &manifest["references"][0]["sha256"];
    assert_eq!(told.as_str().map(|hex| format!("sha256:{hex}")), Some(first.clone()));

    // Without the registry, and then without the store.
    let files = registry.stop();
    fs::remove_dir_all(site.path("out")).unwrap();
    site.run(&["build", "--offline"]).unwrap().well().unwrap();
    assert_is_of(&site, &world.standin);
    let refusal = site.refusal(&["build", "--force", "--offline", "--store", "empty"]);
    insta::assert_snapshot!("an_empty_store_offline", refusal);
    assert!(refusal.contains("imager"), "{refusal}");

    // Back, and asked anew.
    let _registry = Registry::at(files).unwrap();
    site.run(&["lock"]).unwrap().well().unwrap();
    assert_eq!(site.locked("imager:v1"), Some(second));
    assert_eq!(site.read("site.lock").matches("reference:").count(), 1, "the old one is dropped");
    site.run(&["build"]).unwrap().well().unwrap();
    assert_is_of(&site, &world.other);
}

#[test]
fn media_of_an_image_boot() {
    let nodes = [
        ("iso", "metal-iso", ", embed: addon"),
        ("disk", "metal-disk", ""),
        ("hybrid", "metal-iso-hybrid", ""),
    ];
    let Some((_registry, site, _)) = imager(&nodes) else { return };
    site.run(&["build"]).unwrap().well().unwrap();
    for (image, firmware, medium) in [
        ("out/iso.iso", Firmware::Ovmf, Medium::Cd),
        ("out/iso.iso", Firmware::Ovmf, Medium::Usb),
        ("out/disk.raw", Firmware::Ovmf, DISK),
        ("out/hybrid.iso", Firmware::SeaBios, Medium::Cd),
        ("out/hybrid.iso", Firmware::SeaBios, DISK),
    ] {
        site.boots(image, firmware, medium);
    }
}

#[test]
fn a_lock_file_that_was_edited_is_not_believed() {
    let Some((registry, site, digest)) = imager(NODES) else { return };
    site.run(&["lock"]).unwrap().well().unwrap();
    let lock = site.read("site.lock");
    let other = format!("sha256:{}", "0".repeat(64));
    fs::write(site.path("site.lock"), lock.replace(&digest, &other)).unwrap();
    insta::assert_snapshot!("an_edited_digest", site.refusal(&["build"]));
    let text = lock.replacen("length: ", "length: 1", 1);
    fs::write(site.path("site.lock"), text).unwrap();
    insta::assert_snapshot!("an_edited_length", site.refusal(&["build"]));
    fs::write(site.path("site.lock"), lock.replace(&digest, "sha256:12")).unwrap();
    insta::assert_snapshot!("a_broken_digest", site.refusal(&["build"]));
    assert!(!site.path("out/pxe").exists());

    // A reference that is not there is looked up and added.
    fs::write(site.path("site.lock"), "version: 1\nentries: []\n").unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    assert_eq!(site.read("site.lock"), lock);

    // The site says a digest itself: the lock file has no say in it.
    let host = &registry.server.host;
    let boot =
        |digest: &str| format!("assets: \"oci://{host}/img/imager@{digest}\"\n{}", registry.keys());
    site.write(&boot(&digest), NODES).unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    let imager = world().unwrap().path("imager-2");
    let second = registry.server.push(&imager, TALOS, "img/imager:v2").unwrap();
    let about = registry.server.push(&imager, TALOS, "img/imager:v3").unwrap();
    assert_eq!(second, about);
    let lock = site.read("site.lock");
    let (name, meaning) = lock.split_once("kind:").unwrap();
    let forged = format!("{name}kind:{}", meaning.replace(&digest, &second));
    fs::write(site.path("site.lock"), forged).unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    assert_is_of(&site, &world().unwrap().standin);
    assert_eq!(site.read("site.lock"), lock);
}

#[test]
fn a_layout_that_changed_under_its_digest_is_refused() {
    let Some(world) = world() else { return };
    let site = Site::new("assets: \"oci-layout:imager\"\n", NODES).unwrap();
    let put = |name: &str| {
        let script = format!("rm -rf imager && cp -r {} imager", world.path(name).display());
        lab::tools::stdout("sh", &["-ec", &script], &site.path("")).unwrap();
    };
    put("imager");
    site.run(&["build"]).unwrap().well().unwrap();
    put("imager-2");
    insta::assert_snapshot!("a_changed_layout", site.refusal(&["build"]));
    assert_is_of(&site, &world.standin);
    site.run(&["lock", "--offline"]).unwrap().well().unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    assert_is_of(&site, &world.other);
}

/// The store's files by their length, the longest first.
fn stored(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.path(".talforge/sha256")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    files
}

#[test]
fn what_the_lock_file_names_survives_a_prune_and_a_broken_file() {
    let Some((registry, site, _)) = imager(NODES) else { return };
    // Another image, which is not wanted any more afterwards.
    let other = world().unwrap().path("imager-2");
    registry.server.push(&other, TALOS, "img/other:v1").unwrap();
    let boot = |name: &str| {
        format!("assets: \"oci://{}/img/{name}:v1\"\n{}", registry.server.host, registry.keys())
    };
    for name in ["other", "imager"] {
        site.write(&boot(name), NODES).unwrap();
        site.run(&["build"]).unwrap().well().unwrap();
    }
    let before = Digest::of(&fs::read(site.path(INITRAMFS)).unwrap());
    let count = stored(&site).len();
    site.run(&["store", "--store", ".talforge", "prune", "--all", "--keep", "site.lock"])
        .unwrap()
        .well()
        .unwrap();
    assert!(stored(&site).len() < count, "the other image is gone");
    let files = registry.stop();
    fs::remove_dir_all(site.path("out")).unwrap();
    site.run(&["build", "--offline"]).unwrap().well().unwrap();
    assert_eq!(Digest::of(&fs::read(site.path(INITRAMFS)).unwrap()), before);

    // Every file of the store, broken in turn: all at once.
    for path in stored(&site) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let refusal = site.refusal(&["build", "--force", "--offline"]);
    insta::assert_snapshot!("a_broken_store_offline", refusal);
    let _registry = Registry::at(files).unwrap();
    site.run(&["build", "--force"]).unwrap().well().unwrap();
    assert_eq!(Digest::of(&fs::read(site.path(INITRAMFS)).unwrap()), before);
    site.run(&["store", "--store", ".talforge", "verify"]).unwrap().well().unwrap();
}

#[test]
fn two_builds_at_once_share_an_empty_store() {
    let Some((_registry, site, _)) = imager(NODES) else { return };
    let said = std::thread::scope(|scope| {
        let run = |out: &'static str| site.run(&["build", "--out", out]).unwrap();
        let other = scope.spawn(move || run("other"));
        [run("out"), other.join().unwrap()]
    });
    for said in said {
        said.well().unwrap();
    }
    let read = |out: &str| fs::read(site.path(&INITRAMFS.replace("out/", out))).unwrap();
    assert!(read("out/") == read("other/"));
    site.run(&["build", "--offline"]).unwrap().well().unwrap();
}
