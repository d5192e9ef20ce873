//! The same release by every kind of source.
//!
//! In: media and archives made by foreign programs. Out: verdicts.
//!
//! Source: none.
//!
//! Not here: what is read of each kind (the target `assets`).

use std::fs;

use lab::servers::Server;
use lab::standin::{Standin, TALOS};

use crate::world::{Registry, Site, world};

const NODES: &[(&str, &str, &str)] =
    &[("pxe", "metal-pxe", ""), ("iso", "metal-iso", ", embed: addon")];
const BUILT: [&str; 2] = ["out/pxe/kernel-amd64", "out/pxe/initramfs-metal-amd64.xz"];

#[test]
fn every_kind_of_source_gives_the_same_boot() {
    let Some(world) = world() else { return };
    let mut site = Site::new("assets: dir:loose\n", NODES).unwrap();
    world.media(&site.path("")).unwrap();
    let folder = |name: &str, files: &[(&str, &str)]| {
        fs::create_dir(site.path(name)).unwrap();
        for (from, to) in files {
            let from = match Standin::FILES.contains(from) {
                true => world.standin.file(from),
                false => site.path(from),
            };
            fs::copy(from, site.path(name).join(to)).unwrap();
        }
    };
    folder("loose", &Standin::FILES.map(|name| (name, name)));
    let released = [
        ("vmlinuz", "vmlinuz-amd64"),
        ("initramfs.xz", "initramfs-amd64.xz"),
        ("metal.efi", "metal-amd64-uki.efi"),
        ("metal.iso", "metal-amd64.iso"),
    ];
    folder("released", &released);
    folder("alone", &[("metal.efi", "metal-uki.efi")]);
    let work = tempfile::tempdir().unwrap();
    let (server, ca) = Server::files(&site.path(""), work.path()).unwrap();
    site.trust(&ca);
    let registry = Registry::new().unwrap();
    registry.server.push(&world.path("imager"), TALOS, "imager:v1").unwrap();
    let sources = [
        "dir:loose".to_owned(),
        "dir:released".into(),
        "oci-layout:imager".into(),
        format!("oci-layout:imager:{TALOS}"),
        "docker-archive:imager.tar".into(),
        format!("docker-archive:imager.tar:ghcr.io/siderolabs/imager:{TALOS}"),
        "iso:metal.iso".into(),
        "raw:metal.raw".into(),
        "raw:metal.raw.zst".into(),
        format!("https://{}/metal.iso", server.host),
        format!("https://{}/metal.raw.zst", server.host),
    ];
    let lists = [
        format!("[\"uki:alone/metal-uki.efi\", \"oci://{}/imager:v1\"]", registry.server.host),
        "[\"uki:alone/metal-uki.efi\", \"iso:metal.iso\"]".into(),
    ];
    let script = format!("cp -r {} imager", world.path("imager").display());
    lab::tools::stdout("sh", &["-ec", &script], &site.path("")).unwrap();
    let want = [fs::read(world.standin.file("vmlinuz")).unwrap(), {
        site.run(&["build"]).unwrap().well().unwrap();
        fs::read(site.path(BUILT[1])).unwrap()
    }];
    for source in sources.iter().map(|source| format!("\"{source}\"")).chain(lists) {
        fs::remove_dir_all(site.path("out")).unwrap();
        site.write(&format!("assets: {source}\n{}", registry.keys()), NODES).unwrap();
        let said = site.run(&["build"]).unwrap();
        assert_eq!(said.code, Some(0), "{source}: {}", said.err);
        for (built, want) in BUILT.iter().zip(&want) {
            assert!(fs::read(site.path(built)).unwrap() == *want, "{source}: {built}");
        }
        assert!(site.path("out/iso.iso").exists(), "{source}");
    }
    assert!(site.locked("metal.raw.zst").is_none() && site.locked("imager:v1").is_none());

    // What each lacks, or why it is none.
    let mut told = String::new();
    for source in [
        "uki:alone/metal-uki.efi",
        "raw:metal.iso.txt",
        "iso:imager.tar",
        "oci-layout:alone",
        "oci-layout:imager:v0",
        "docker-archive:metal.iso",
        "dir:alone",
        "metal.iso",
    ] {
        site.write(&format!("assets: \"{source}\"\n"), NODES).unwrap();
        told += &format!("{source}: {}\n", site.refusal(&["build"]));
    }
    let url = format!("https://{}/none.iso", server.host);
    site.write(&format!("assets: \"{url}\"\n"), NODES).unwrap();
    told += &format!("none.iso: {}", site.refusal(&["build"]));
    insta::assert_snapshot!(told);
}

#[test]
fn a_file_of_a_server_means_what_was_locked() {
    let Some(world) = world() else { return };
    let mut site = Site::new("", &[]).unwrap();
    let work = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    lab::foreign::iso::hybrid(&world.release(), &files.path().join("metal.iso")).unwrap();
    let (server, ca) = Server::files(files.path(), work.path()).unwrap();
    site.write(&format!("assets: \"https://{}/metal.iso\"\n", server.host), NODES).unwrap();
    insta::assert_snapshot!("a_server_that_nobody_vouches_for", site.refusal(&["build"]));
    assert!(!site.path("site.lock").exists());
    site.trust(&ca);
    site.run(&["build"]).unwrap().well().unwrap();
    let locked = site.locked("/metal.iso");
    assert!(locked.is_some());
    let built = fs::read(site.path(BUILT[1])).unwrap();

    // The server has something else now.
    let other = lab::foreign::release::Release::plain(&world.other);
    lab::foreign::iso::hybrid(&other, &files.path().join("metal.iso")).unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    assert!(fs::read(site.path(BUILT[1])).unwrap() == built);
    site.run(&["build", "--offline"]).unwrap().well().unwrap();
    fs::remove_dir_all(site.path(".talforge")).unwrap();
    insta::assert_snapshot!("a_file_that_changed", site.refusal(&["build", "--force"]));
    let refusal = site.refusal(&["build", "--offline", "--force"]);
    insta::assert_snapshot!("a_file_offline", refusal);
    assert_eq!(site.locked("/metal.iso"), locked);
    site.run(&["lock"]).unwrap().well().unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    assert!(fs::read(site.path(BUILT[1])).unwrap() != built);
}
