//! The map of a medium, judged by fdisk, mtools, objdump, xmllint; and by what differs between nodes.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::tools;
use serde_json::Value;
use talforge::talos::Arch;

use crate::fixture::{self, Site, TALOS, config, small_disk};
use crate::kinds::{DISK_512, DISK_4096};
use crate::oracle::{self, Volume};

/// A region, as programs are told of it.
#[derive(Clone, Debug)]
struct Region {
    range: Range<u64>,
    kind: String,
    name: String,
    is_own: bool,
}

fn bytes<'a>(image: &'a [u8], range: &Range<u64>) -> Result<&'a [u8]> {
    let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
    image.get(start..end).with_context(|| format!("{range:?} lies past the image"))
}

/// The regions of a medium, outer ones first.
fn regions(site: &Site, image: &Path) -> Result<Vec<Region>> {
    let image = image.display().to_string();
    let said = site.run(&["--json", "inspect", "--map", &image])?.well()?;
    let events = said.events()?;
    let medium = events.iter().find(|event| event["event"] == "medium").context("no medium")?;
    let mut out = Vec::new();
    flatten(&medium["map"], &mut out)?;
    Ok(out)
}

fn flatten(value: &Value, out: &mut Vec<Region>) -> Result<()> {
    let number = |key: &str| value[key].as_u64().context("no number");
    let text = |key: &str| value[key].as_str().map(str::to_owned).context("no text");
    let (start, len) = (number("start")?, number("len")?);
    out.push(Region {
        range: start..start + len,
        kind: text("kind")?,
        name: text("name")?,
        is_own: value["own"].as_bool().context("no flag")?,
    });
    value["regions"].as_array().context("no list")?.iter().try_for_each(|part| flatten(part, out))
}

/// The bytes of a file, joined of its regions.
fn content(image: &[u8], regions: &[Region], path: &str) -> Result<Vec<u8>> {
    let (whole, part) = (format!("`{path}`"), format!("`{path}`, part "));
    let mut out = Vec::new();
    for region in regions {
        if region.name.split(" = ").any(|name| name == whole || name.starts_with(&part)) {
            out.extend_from_slice(bytes(image, &region.range)?);
        }
    }
    Ok(out)
}

/// The config, with another text in it.
fn own_config(number: usize) -> String {
    let old = format!("content: {}", fixture::CANARY);
    let new = format!("content: n{}", number.to_string().repeat(32));
    config("controlplane").replace(&old, &new)
}

/// A site with two nodes for each kind of medium, which differ in their own bytes alone.
fn pairs() -> Result<(Site, Vec<[PathBuf; 2]>)> {
    let site = Site::new(Arch::Amd64)?;
    site.write(DISK_512, small_disk(512, "36MiB").as_bytes())?;
    site.write(DISK_4096, small_disk(4096, "265MiB").as_bytes())?;
    let kinds = [
        ("iso", "metal-iso", "iso", ""),
        ("hybrid", "metal-iso-hybrid", "iso", ""),
        ("meta", DISK_512, "raw", ", meta: {0x0c: rack NODE}"),
        ("volume", DISK_512, "raw", ", embed: volume"),
        ("disk4k", DISK_4096, "raw", ""),
    ];
    for number in 0..2 {
        site.write(&format!("{number}.yaml"), own_config(number).as_bytes())?;
    }
    let (mut nodes, mut pairs) = (Vec::new(), Vec::new());
    for (name, profile, ending, more) in kinds {
        for number in 0..2 {
            let more = more.replace("NODE", &number.to_string());
            nodes.push(format!(
                "name: {name}-{number}, role: controlplane, config: {number}.yaml, \
                 profile: {profile}{more}"
            ));
        }
        pairs.push([0, 1].map(|number| site.path(&format!("out/{name}-{number}.{ending}"))));
    }
    site.nodes(&nodes.iter().map(String::as_str).collect::<Vec<_>>())?;
    site.build()?;
    Ok((site, pairs))
}

#[test]
fn a_map_tells_what_foreign_programs_and_other_nodes_media_tell() {
    if !fixture::have(&[&oracle::TOOLS[..], &["xmllint"]].concat()) {
        return;
    }
    let (site, pairs) = pairs().unwrap();
    for pair in &pairs {
        what_differs_is_told_as_own(&site, pair);
        files_and_sections_lie_where_mtools_and_objdump_find_them(&site, &pair[0]);
        xmllint_takes_the_drawing_and_it_is_the_same_each_time(&site, &pair[0]);
    }
}

fn what_differs_is_told_as_own(site: &Site, pair: &[PathBuf; 2]) {
    let images = pair.each_ref().map(|path| std::fs::read(path).unwrap());
    let maps = pair.each_ref().map(|path| regions(site, path).unwrap());
    let name = pair[0].display();
    for map in &maps {
        let own: Vec<_> = map.iter().filter(|region| region.is_own).collect();
        assert!(!own.is_empty(), "{name}");
        let longest = own.iter().map(|region| region.range.end - region.range.start).max();
        assert!(longest < Some(4 << 20), "{name}: {own:?}");
    }
    assert_eq!(images[0].len(), images[1].len(), "{name}");
    let is_own =
        |at: u64| maps.iter().flatten().any(|region| region.is_own && region.range.contains(&at));
    let mut differ = 0;
    // Whole sectors first: most are equal.
    for (sector, (a, b)) in (0u64..).zip(images[0].chunks(512).zip(images[1].chunks(512))) {
        if a == b {
            continue;
        }
        for (at, _) in (sector * 512..).zip(a.iter().zip(b)).filter(|(_, (a, b))| a != b) {
            differ += 1;
            assert!(is_own(at), "{name}: {at:#x} differs");
        }
    }
    assert!(differ > 16, "{name}");
}

fn files_and_sections_lie_where_mtools_and_objdump_find_them(site: &Site, path: &Path) {
    let map = regions(site, path).unwrap();
    let image = std::fs::read(path).unwrap();
    let sector = if path.ends_with("disk4k-0.raw") { 4096 } else { 512 };
    for partition in oracle::partitions(path, sector).unwrap() {
        let range = partition.start..partition.start + partition.len;
        assert!(map.iter().any(|r| r.kind == "partition" && r.range == range), "{range:?}");
    }
    let volume = Volume::of(path, sector).unwrap();
    for name in volume.names().unwrap() {
        let want = volume.content(&name).unwrap();
        assert!(content(&image, &map, &name).unwrap() == want, "{name} of {}", path.display());
        if !name.ends_with(&format!("Talos-{TALOS}.efi")) {
            continue;
        }
        for section in oracle::sections(Arch::Amd64, &want).unwrap() {
            let quoted = format!("`{}`", section.name);
            let named = |r: &&Region| r.name.split(" = ").any(|name| name == quoted);
            let found = map.iter().filter(named).any(|region| {
                let stored = bytes(&image, &region.range).unwrap();
                // What a section has in memory beyond its file is zeros.
                section.bytes.starts_with(stored) && !stored.is_empty()
            });
            assert!(found, "{} of {}", section.name, path.display());
        }
    }
}

#[test]
fn a_config_in_an_initramfs_is_told_apart_from_the_base() {
    if !fixture::have(&[]) {
        return;
    }
    let site = Site::new(Arch::Amd64).unwrap();
    let node = "name: cp, role: controlplane, config: cp.yaml, profile: metal-pxe";
    site.nodes(&[node]).unwrap();
    site.build().unwrap();
    let folder = site.path("out/cp");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |part: &str, path: &PathBuf| path.to_string_lossy().contains(part);
    let initramfs = files.into_iter().find(|path| named("initramfs", path)).unwrap();
    let base = site.read("assets/initramfs.xz").unwrap();
    let map = regions(&site, &initramfs).unwrap();
    let own: Vec<_> = map.iter().filter(|region| region.is_own).collect();
    let start = base.len().next_multiple_of(4) as u64;
    assert_eq!(own[0].range.start, start);
    let image = std::fs::read(&initramfs).unwrap();
    // Zeros fill it up.
    let rest = bytes(&image, &(own[0].range.end..image.len() as u64)).unwrap();
    assert!(rest.iter().all(|byte| *byte == 0));
    assert!(own.iter().any(|region| region.name.ends_with("machine config")), "{own:?}");
    assert!(map.iter().any(|region| region.kind == "archive" && !region.is_own));
}

fn xmllint_takes_the_drawing_and_it_is_the_same_each_time(site: &Site, path: &Path) {
    let image = path.display().to_string();
    for drawing in ["one.svg", "two.svg"] {
        site.run(&["inspect", "--map", "--svg", drawing, &image]).unwrap().well().unwrap();
    }
    tools::stdout("xmllint", &["--noout", "--nonet", "one.svg"], site.folder()).unwrap();
    let drawn = site.read("one.svg").unwrap();
    assert!(drawn == site.read("two.svg").unwrap());
    // A file that is there may be a medium.
    let again = site.run(&["inspect", "--svg", "one.svg", &image]).unwrap();
    assert_eq!(again.code, Some(3), "{}", again.err);
    assert!(again.err.contains("`one.svg` is there already"), "{}", again.err);
    assert!(drawn == site.read("one.svg").unwrap());
    for drawing in ["one.svg", "two.svg"] {
        std::fs::remove_file(site.path(drawing)).unwrap();
    }
    let text = site.run(&["inspect", "--map", &image]).unwrap().well().unwrap().text();
    assert!(text.is_ascii() && text.contains("# one node's own: "), "{text}");
    assert!(!text.contains('\x1b'));
}
