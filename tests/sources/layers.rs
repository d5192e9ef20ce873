//! System extensions from every kind of source, in what is planned, built, shown and booted.
//!
//! In: extensions as images, archives, folders, catalogues. Out: verdicts.
//!
//! Source: Image Factory `internal/artifacts/versions.go` (the catalogue's file).
//!
//! Not here: what is made of an extension (the target `extensions`).

use std::fs;

use lab::qemu::{Firmware, Medium};
use lab::standin::TALOS;

use crate::world::{DISK, Registry, Site, World, world};

/// The boot assets, and a mirror of Sidero's registry with a catalogue that names `net` and `tools`.
fn mirror(world: &World, site: &Site) -> (Registry, String) {
    let registry = Registry::new().unwrap();
    let mut list = String::new();
    for name in ["net", "tools"] {
        let at = format!("siderolabs/{name}:v1");
        let layout = world.path(&format!("{name}.image"));
        let digest = registry.server.push(&layout, TALOS, &at).unwrap();
        list += &format!("ghcr.io/{at}@{digest}\n");
    }
    fs::create_dir(site.path("catalogue")).unwrap();
    fs::write(site.path("catalogue/image-digests"), list).unwrap();
    let layout = site.path("catalogue.image");
    lab::foreign::image::of_folder(&site.path("catalogue"), &layout).unwrap();
    let name = format!("siderolabs/extensions:{TALOS}");
    registry.server.push(&layout, TALOS, &name).unwrap();
    let host = &registry.server.host;
    let boot = format!(
        "assets: \"dir:{}\"\n\
         registries: {{ghcr.io: {{mirrors: [\"{host}\"]}}, \"{host}\": {{plain_http: true}}}}\n",
        world.standin.folder.display()
    );
    (registry, boot)
}

/// The layers that a medium has, as `inspect` tells them.
fn shown(site: &Site, image: &str) -> Vec<String> {
    let said = site.run(&["--json", "inspect", image]).unwrap().well().unwrap();
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut open = vec![said.events().unwrap().remove(0)];
    while let Some(value) = open.pop() {
        if let Some(layers) = value.get("layers").and_then(|layers| layers.as_array()) {
            let name = |layer: &serde_json::Value| layer["name"].as_str().unwrap().to_owned();
            all.push(layers.iter().map(name).collect());
        }
        match value {
            serde_json::Value::Object(map) => open.extend(map.into_iter().map(|(_, of)| of)),
            serde_json::Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(!all.is_empty() && all.iter().all(|layers| *layers == all[0]), "{all:?}");
    all.remove(0)
}

#[test]
fn extensions_from_every_kind_of_source_boot_in_their_order() {
    let Some(world) = world() else { return };
    let site = Site::new("", &[]).unwrap();
    let (registry, boot) = mirror(world, &site);
    let host = registry.server.host.clone();
    for name in ["net.tar.gz", "tools"] {
        let script = format!("cp -r {} .", world.path(name).display());
        lab::tools::stdout("sh", &["-ec", &script], &site.path("")).unwrap();
    }
    let boot = |extensions: &str| format!("{boot}extensions: [{extensions}]\n");
    let nodes =
        [("plain", "metal-disk", ""), ("iso", "metal-iso", ", extensions: [\"tar:net.tar.gz\"]")];
    let order = [
        ("siderolabs/tools".to_owned(), "official"),
        (format!("{host}/siderolabs/tools:v1"), "image"),
        ("ghcr.io/siderolabs/tools:v1".into(), "mirrored image"),
        ("./tools".into(), "folder"),
        ("dir:tools".into(), "folder by its scheme"),
        (format!("oci-layout:{}", world.path("tools.image").display()), "layout"),
    ];
    for (source, kind) in &order {
        site.write(&boot(&format!("\"{source}\"")), &nodes).unwrap();
        site.run(&["build"]).unwrap().well().unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(shown(&site, "out/plain.raw"), ["tools", "embedded-config"], "{kind}");
        assert_eq!(shown(&site, "out/iso.iso"), ["tools", "net", "embedded-config"], "{kind}");
    }
    site.write(&boot("siderolabs/tools"), &nodes).unwrap();
    let plan = site.run(&["plan"]).unwrap().well().unwrap().text();
    assert!(plan.contains("\n  layers   siderolabs/tools, net.tar.gz\n"), "{plan}");
    site.run(&["lock"]).unwrap().well().unwrap();
    let lock = site.read("site.lock");
    assert_eq!(lock.matches("reference:").count(), 1, "the catalogue serves the look-up: {lock}");
    drop(registry);
    site.run(&["build", "--offline"]).unwrap().well().unwrap();
    for (image, medium) in [("out/iso.iso", Medium::Cd), ("out/plain.raw", DISK)] {
        let verdict = site.boots(image, Firmware::Ovmf, medium);
        let told = |key: &str| verdict.report.get(key).unwrap_or_default().to_owned();
        assert_eq!(told("layer.0"), "0.sqsh tools v1.1.0");
        match image {
            "out/iso.iso" => {
                assert_eq!(told("layer.1"), "1.sqsh net v1.0.0");
                assert_eq!(told("layers"), "3");
            }
            _ => assert_eq!(told("layers"), "2"),
        }
    }
}

#[test]
fn a_name_of_sidero_means_what_the_release_of_the_site_has() {
    let Some(world) = world() else { return };
    let site = Site::new("", &[]).unwrap();
    let (registry, boot) = mirror(world, &site);
    let nodes = [("plain", "metal-pxe", "")];
    let boot = format!("{boot}extensions: [siderolabs/tools]\n");
    site.write(&boot, &nodes).unwrap();
    site.run(&["build"]).unwrap().well().unwrap();

    // Another release has another catalogue, which is asked although the name was locked before.
    let text = site.read("site.yaml").replace(TALOS, "v1.13.8");
    fs::write(site.path("site.yaml"), text).unwrap();
    let digest =
        registry.server.push(&world.path("net.image"), TALOS, "siderolabs/tools:v2").unwrap();
    let line = format!("ghcr.io/siderolabs/tools:v2@{digest}\n");
    fs::write(site.path("catalogue/image-digests"), line).unwrap();
    let layout = site.path("second.image");
    lab::foreign::image::of_folder(&site.path("catalogue"), &layout).unwrap();
    registry.server.push(&layout, TALOS, "siderolabs/extensions:v1.13.8").unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    let lock = site.read("site.lock");
    assert!(lock.contains(&digest), "{lock}");
    assert_eq!(lock.matches("reference:").count(), 1, "{lock}");

    // One that the catalogue has not.
    let text = site.read("site.yaml").replace("siderolabs/tools", "siderolabs/none");
    fs::write(site.path("site.yaml"), text).unwrap();
    insta::assert_snapshot!("a_name_that_sidero_has_not", site.refusal(&["build"]));
}

#[test]
fn a_refused_extension_fails_the_nodes_that_want_it() {
    let Some(world) = world() else { return };
    let site = Site::new("", &[]).unwrap();
    let write = |path: &str, text: &str| {
        let path = site.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("bad/rootfs/home/x", "x");
    write("bad/rootfs/usr/local/y", "y");
    write("bad/stranger", "z");
    write(
        "bad/manifest.yaml",
        "version: v1alpha1\nmetadata:\n  name: bad\n  version: v1\n  author: A\n  description: B\n  \
         compatibility:\n    talos:\n      version: \"< v1.5.0\"\n",
    );
    let (registry, boot) = mirror(world, &site);
    let host = registry.server.host.clone();
    let wants = format!(", extensions: [\"dir:bad\", \"{host}/siderolabs/none:v1\", \"dir:gone\"]");
    let net = format!(", extensions: [\"{host}/siderolabs/net:v1\"]");
    let nodes = [
        ("good", "metal-pxe", ""),
        ("bad", "metal-iso", wants.as_str()),
        ("net", "metal-iso", &net),
    ];
    site.write(&boot, &nodes).unwrap();
    insta::assert_snapshot!("a_refused_extension", site.refusal(&["build"]));
    assert!(site.path("out/net.iso").exists() && site.path("out/good").exists());
    assert!(!site.path("out/bad.iso").exists());
    let locked = site.locked("net:v1");
    assert!(locked.is_some());

    // A registry that is away does not make the lock file forget.
    drop(registry);
    fs::remove_dir_all(site.path(".talforge")).unwrap();
    let said = site.run(&["build"]).unwrap();
    assert_eq!(said.code, Some(4), "{}", said.err);
    assert_eq!(site.locked("net:v1"), locked);
}
