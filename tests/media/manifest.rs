//! `manifest.json`: true to the byte, and without secrets.

use anyhow::{Context, Result, ensure};
use lab::tools;
use serde_json::Value;
use talforge::talos::Arch;

use crate::fixture::{self, CANARY, Site};
use crate::kinds::{Kind, build};

fn manifest(site: &Site) -> Result<Value> {
    Ok(serde_json::from_slice(&site.read("out/manifest.json")?)?)
}

fn number(value: &Value, key: &str) -> Result<usize> {
    let member = match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[key],
    };
    let number = member.as_u64().with_context(|| format!("no `{key}` in {value}"))?;
    Ok(usize::try_from(number)?)
}

/// Checks a file's extents against its bytes and those of the inputs.
fn check_extents(site: &Site, manifest: &Value, file: &Value) -> Result<()> {
    let path = file["path"].as_str().context("a file has a path")?;
    let bytes = site.read(&format!("out/{path}"))?;
    ensure!(number(file, "bytes")? == bytes.len(), "{path}: its length");
    let mut base = bytes.clone();
    for range in file["own"].as_array().context("a file has own ranges")? {
        let (start, len) = (number(range, "0")?, number(range, "1")?);
        ensure!(len > 0, "{path}: {range}");
        base.get_mut(start..start + len).with_context(|| format!("{path}: {range}"))?.fill(0);
    }
    let mut at = 0;
    let layout = file["layout"].as_str().context("a file has a layout")?;
    let layout = &manifest["layouts"][layout];
    ensure!(number(layout, "bytes")? == bytes.len(), "{path}: its layout's length");
    for extent in layout["extents"].as_array().context("a layout has extents")? {
        let (start, len) = (number(extent, "start")?, number(extent, "bytes")?);
        ensure!(start == at && len > 0, "{path}: a gap before {extent}");
        at = start + len;
        let here = bytes.get(start..at).with_context(|| format!("{path}: {extent}"))?;
        match extent["kind"].as_str() {
            Some("zeros") => ensure!(here.iter().all(|byte| *byte == 0), "{path}: {extent}"),
            Some("own") => {
                let rest = &base[start..at];
                ensure!(rest.iter().all(|byte| *byte == 0), "{path}: {extent}");
            }
            Some("made") => ensure!(extent["input"].is_null(), "{path}: {extent}"),
            Some("file") => {
                let input = &extent["input"];
                let name = input["name"].as_str().context("an input has a name")?;
                let source = site.read(&format!("assets/{name}"))?;
                let from = number(input, "offset")?;
                ensure!(source.get(from..from + len) == Some(here), "{path}: {extent}");
            }
            _ => ensure!(false, "{path}: {extent}"),
        }
    }
    ensure!(at == bytes.len(), "{path}: what comes after {at}");
    Ok(())
}

#[test]
fn extents_cover_every_file_and_say_where_its_bytes_come_from() {
    if !fixture::have(&["grub-mkimage"]) {
        return;
    }
    for arch in Arch::ALL {
        let kinds = [Kind::Iso, Kind::Hybrid, Kind::Disk512, Kind::Pxe];
        let (site, media) = build(arch, &kinds).unwrap();
        let manifest = manifest(&site).unwrap();
        let nodes = manifest["nodes"].as_object().unwrap();
        assert_eq!(nodes.len(), media.len());
        for file in nodes.values().flat_map(|node| node["files"].as_array().unwrap()) {
            check_extents(&site, &manifest, file).unwrap();
        }
    }
}

#[test]
fn digests_of_inputs_and_files_are_those_of_sha256sum() {
    if !fixture::have(&["sha256sum"]) {
        return;
    }
    let (site, _media) = build(Arch::Arm64, &[Kind::Iso, Kind::Pxe]).unwrap();
    let manifest = manifest(&site).unwrap();
    let sum = |path: &str| {
        let text = tools::stdout("sha256sum", &[path], site.folder()).unwrap();
        text.split_once(' ').unwrap().0.to_owned()
    };
    let mut inputs = Vec::new();
    for input in manifest["inputs"].as_array().unwrap() {
        let name = input["name"].as_str().unwrap();
        assert_eq!(input["sha256"], sum(&format!("assets/{name}")));
        assert_eq!(
            number(input, "bytes").unwrap(),
            site.read(&format!("assets/{name}")).unwrap().len()
        );
        inputs.push(name);
    }
    inputs.sort_unstable();
    assert_eq!(inputs, ["initramfs.xz", "systemd-boot.efi", "systemd-stub.efi", "vmlinuz"]);
    let config = sum("cp.yaml");
    for node in manifest["nodes"].as_object().unwrap().values() {
        let has_config = node["plan"]["embed"] != "none";
        let told = node["plan"]["config"]["sha256"].as_str();
        assert_eq!(told, has_config.then_some(config.as_str()));
        for file in node["files"].as_array().unwrap() {
            assert_eq!(file["sha256"], sum(&format!("out/{}", file["path"].as_str().unwrap())));
        }
    }
}

/// The folders that assets and media lie in are the builder's own business.
#[test]
fn the_manifest_holds_no_path_of_this_machine_and_no_time() {
    if !fixture::have(&[]) {
        return;
    }
    let (site, _media) = build(Arch::Amd64, &[Kind::Iso, Kind::Pxe]).unwrap();
    let text = String::from_utf8(site.read("out/manifest.json").unwrap()).unwrap();
    assert!(!text.contains(&site.folder().display().to_string()));
    let plan = &manifest(&site).unwrap()["nodes"]["iso-auto"]["plan"];
    assert_eq!(plan["epoch"], 315_532_800);
}

/// Each secret of the configs has a canary in it, as has META. No canary leaves its medium but by
/// `config show`.
#[test]
fn no_secret_is_said_or_listed() {
    if !fixture::have(&[]) {
        return;
    }
    let site = Site::new(Arch::Amd64).unwrap();
    site.write("disk-512.yaml", fixture::small_disk(512, "36MiB").as_bytes()).unwrap();
    let meta = format!("meta: {{0x0c: {CANARY}}}");
    site.nodes(&[
        "name: cp, role: controlplane, config: cp.yaml",
        &format!("name: disk, role: worker, config: w.yaml, profile: disk-512.yaml, {meta}"),
        "name: net, role: worker, config: w.yaml, profile: metal-pxe",
    ])
    .unwrap();
    let images = ["out/cp.iso", "out/disk.raw", "out/net/metal-amd64-uki.efi"];
    let inspect = images.map(|image| ["inspect", image]);
    let commands = [["build"].as_slice(), &["plan"], &["build", "-n", "cp"]];
    let commands = commands.into_iter().chain(inspect.iter().map(<[_; 2]>::as_slice));
    for command in commands {
        for mode in [None, Some("--json"), Some("--quiet")] {
            let args: Vec<_> = command.iter().copied().chain(mode).collect();
            let said = site.run(&args).unwrap().well().unwrap();
            assert!(!said.text().contains(CANARY) && !said.err.contains(CANARY), "{args:?}");
        }
    }
    for list in ["out/manifest.json", "out/SHA256SUMS"] {
        let text = String::from_utf8(site.read(list).unwrap()).unwrap();
        assert!(!text.contains(CANARY), "{list}");
    }
    let said = site.run(&["config", "show", "out/cp.iso"]).unwrap().well().unwrap();
    assert_eq!(said.text().matches(CANARY).count(), 5);
}
