//! A site built in shards, by the built program, beside the same site built whole; and the sample
//! Job, as Kubernetes' own types read it.
//!
//! The media are seeds, which need no boot assets.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::product::{self, Said};
use lab::tools;
use serde_json::Value;
use tempfile::TempDir;

/// Where the sample lies, as seen from this package's folder.
const SAMPLE: &str = "../profiles/example/fleet";

/// The site `ipv6-fabric`, its media seeds, and with some workers more.
fn site(workers: u32) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("sites/ipv6-fabric");
    fs::create_dir(folder.path().join("patches"))?;
    for name in ["secrets.yaml", "patches/all.yaml", "patches/controlplane.yaml"] {
        fs::copy(from.join(name), folder.path().join(name))?;
    }
    let mut text = fs::read_to_string(from.join("site.yaml"))?;
    text = text.replace("metal-iso", "metal-seed").replace("metal-disk", "metal-seed");
    fs::write(folder.path().join("site.yaml"), text)?;
    (0..workers).try_for_each(|number| add(&folder, &format!("x-{number}"), number))?;
    Ok(folder)
}

/// Adds a worker to the site.
fn add(site: &TempDir, name: &str, number: u32) -> Result<()> {
    let path = site.path().join("site.yaml");
    let mut text = fs::read_to_string(&path)?;
    text += &format!(
        "  - {{name: {name}, role: worker, mac: \"52:54:00:00:09:{number:02x}\", \
         install: {{selector: {{serial: \"X{number}*\"}}}}}}\n"
    );
    Ok(fs::write(path, text)?)
}

fn run(site: &TempDir, args: &[&str]) -> Result<Said> {
    product::run(site.path(), args)
}

/// Builds all shards, each into a folder of its own; gives the folders.
fn build(site: &TempDir, count: u32) -> Result<Vec<String>> {
    (0..count)
        .map(|index| {
            let (shard, out) = (format!("{index}/{count}"), format!("of{count}-{index}"));
            run(site, &["build", "--shard", &shard, "--out", &out])?.well()?;
            Ok(out)
        })
        .collect()
}

fn merge(site: &TempDir, shards: &[String], out: &str) -> Result<Said> {
    let shards = shards.iter().map(String::as_str);
    let args: Vec<_> = ["merge", "--out", out].into_iter().chain(shards).collect();
    run(site, &args)
}

fn manifest(site: &TempDir, out: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(site.path().join(out).join("manifest.json"))?)?)
}

/// The names of a folder's media.
fn media(site: &TempDir, out: &str) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(site.path().join(out))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<BTreeSet<_>>>()?;
    Ok(names.into_iter().filter(|name| name.ends_with(".iso")).collect())
}

/// Fails unless two folders' lists say the same.
fn assert_lists(site: &TempDir, one: &str, other: &str) -> Result<()> {
    assert_eq!(manifest(site, one)?, manifest(site, other)?);
    let sums = |out: &str| fs::read_to_string(site.path().join(out).join("SHA256SUMS"));
    assert_eq!(sums(one)?, sums(other)?);
    Ok(())
}

#[test]
fn shards_are_the_site_that_is_built_whole() -> Result<()> {
    let site = site(4)?;
    run(&site, &["build", "--out", "whole"])?.well()?;
    for count in [1, 2, 4] {
        let mut shards = build(&site, count)?;
        for shard in &shards {
            let names = media(&site, shard)?;
            assert!(names.len() >= 9 / count as usize, "{names:?}");
            for name in names {
                let read = |out: &str| fs::read(site.path().join(out).join(&name));
                assert!(read(shard)? == read("whole")?, "{name} differs in {shard}");
            }
        }
        shards.reverse();
        let out = format!("merged-{count}");
        let said = merge(&site, &shards, &out)?.well()?;
        assert!(said.err.contains(&format!("{count} shards, 9 nodes, 9 files")), "{}", said.err);
        assert_lists(&site, "whole", &out)?;
    }
    Ok(())
}

#[test]
fn a_shard_without_nodes_is_built_and_counts() -> Result<()> {
    let site = site(0)?;
    run(&site, &["build", "--out", "whole"])?.well()?;
    let shards = build(&site, 8)?;
    let empty: Vec<_> =
        (0..8).zip(&shards).filter(|(_, out)| media(&site, out).unwrap().is_empty()).collect();
    assert_eq!(empty.len(), 3);
    let (index, out) = empty[0];
    let again = run(&site, &["build", "--shard", &format!("{index}/8"), "--out", out])?.well()?;
    assert!(again.err.contains(&format!("shard {index}/8 has no node to build")), "{}", again.err);
    merge(&site, &shards, "merged")?.well()?;
    assert_lists(&site, "whole", "merged")
}

#[test]
fn a_node_that_is_added_moves_others_and_lists_stay_right() -> Result<()> {
    let site = site(2)?;
    build(&site, 3)?;
    add(&site, "a-first", 99)?;
    run(&site, &["build", "--out", "whole"])?.well()?;
    let shards = build(&site, 3)?;
    let lens = shards.iter().map(|out| Ok(media(&site, out)?.len()));
    let lens = lens.collect::<Result<Vec<_>>>()?;
    assert!(lens.iter().sum::<usize>() > 8, "no node has moved: {lens:?}");
    merge(&site, &shards, "merged")?.well()?;
    assert_lists(&site, "whole", "merged")
}

#[test]
fn every_shard_checks_the_whole_site() -> Result<()> {
    let site = site(4)?;
    add(&site, "twin", 3)?;
    for shard in ["0/3", "1/3", "2/3"] {
        let said = run(&site, &["build", "--shard", shard, "--out", "out"])?;
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("52:54:00:00:09:03"), "{}", said.err);
    }
    assert!(!site.path().join("out").exists());
    Ok(())
}

#[test]
fn a_shard_and_names_both_apply() -> Result<()> {
    let site = site(0)?;
    let cut = ["build", "--shard", "0/2", "--node", "cp-1", "--node", "w-2", "--out", "some"];
    run(&site, &cut)?.well()?;
    assert_eq!(media(&site, "some")?, BTreeSet::from(["cp-1-seed.iso".to_owned()]));
    // That shard is not whole, and what it lacks is named.
    run(&site, &["build", "--shard", "1/2", "--out", "other"])?.well()?;
    let said = merge(&site, &["some".to_owned(), "other".to_owned()], "merged")?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("1 node was not built: cp-2"), "{}", said.err);
    assert!(!site.path().join("merged").exists());
    let unknown = run(&site, &["build", "--shard", "0/2", "--node", "nobody"])?;
    assert_eq!(unknown.code, Some(1), "{}", unknown.err);
    Ok(())
}

#[test]
fn a_shard_that_is_none_is_wrong_usage() -> Result<()> {
    let site = site(0)?;
    for (shard, why) in [
        ("3/3", "the last is `2/3`"),
        ("0/0", "one shard or more"),
        ("-1/3", "write `I/N`"),
        ("1", "write `I/N`"),
    ] {
        let said = run(&site, &["build", &format!("--shard={shard}")])?;
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains(why), "{}", said.err);
    }
    Ok(())
}

#[test]
fn shards_that_do_not_fit_are_not_merged() -> Result<()> {
    let site = site(0)?;
    let shards = build(&site, 3)?;
    let missing = merge(&site, &shards[1..], "merged")?;
    assert_eq!(missing.code, Some(1), "{}", missing.err);
    assert!(missing.err.contains("1 shard is missing: 0/3"), "{}", missing.err);
    // A shard's own manifest is not written over.
    let before = manifest(&site, &shards[0])?;
    let onto = merge(&site, &shards, &shards[0])?;
    assert_eq!(onto.code, Some(1), "{}", onto.err);
    assert_eq!(manifest(&site, &shards[0])?, before);
    run(&site, &["build", "--out", "whole"])?.well()?;
    let whole = merge(&site, &["whole".to_owned()], "merged")?;
    assert!(whole.err.contains("it is a whole site's"), "{}", whole.err);
    let path = site.path().join("site.yaml");
    fs::write(&path, fs::read_to_string(&path)?.replace("v1.13.9", "v1.14.1"))?;
    run(&site, &["build", "--shard", "2/3", "--out", &shards[2]])?.well()?;
    let other = merge(&site, &shards, "merged")?;
    assert!(other.err.contains("differ in `talos`: `v1.13.9` and `v1.14.1`"), "{}", other.err);
    assert!(!site.path().join("merged").exists());
    Ok(())
}

#[test]
fn programs_are_told_what_was_merged() -> Result<()> {
    let site = site(0)?;
    let shards = build(&site, 2)?;
    // A manifest may be named itself.
    let one = format!("{}/manifest.json", shards[0]);
    let said = run(&site, &["--json", "merge", &one, &shards[1], "-o", "merged"])?.well()?;
    let events = said.events()?;
    let last = events.last().context("there are events")?;
    assert_eq!((&last["event"], &last["shards"]), (&"merged".into(), &2.into()));
    assert_eq!((&last["nodes"], &last["files"]), (&5.into(), &5.into()));
    let built =
        run(&site, &["--json", "build", "--shard", "0/2", "-o", "again"])?.well()?.events()?;
    let shard = built.iter().find(|event| event["event"] == "shard").context("it is told")?;
    assert_eq!(
        (&shard["index"], &shard["count"], &shard["nodes"]),
        (&0.into(), &2.into(), &2.into())
    );
    Ok(())
}

/// The objects of a sample file, as Kubernetes' types have them, unknown fields being errors.
fn objects(file: &str) -> Result<Option<Vec<Value>>> {
    if !tools::have(&["go"]) {
        return Ok(None);
    }
    let input = fs::File::open(Path::new(SAMPLE).join(file))?;
    let mut go = Command::new("go");
    go.args(["run", "."]).current_dir("shard").stdin(Stdio::from(input));
    let out = go.output()?;
    ensure!(out.status.success(), "{file}: {}", String::from_utf8_lossy(&out.stderr));
    Said::of(out).events().map(Some)
}

/// What every pod of the sample keeps to.
fn is_confined(pod: &Value) -> Result<()> {
    let all = &pod["securityContext"];
    assert_eq!(all["runAsNonRoot"], true);
    assert_eq!(all["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let volumes = pod["volumes"].as_array().context("volumes")?;
    for container in pod["containers"].as_array().context("containers")? {
        let own = &container["securityContext"];
        assert_eq!(own["readOnlyRootFilesystem"], true);
        assert_eq!(own["allowPrivilegeEscalation"], false);
        assert_eq!(own["capabilities"]["drop"][0], "ALL");
        for mount in container["volumeMounts"].as_array().context("mounts")? {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
    }
    Ok(())
}

#[test]
fn kubernetes_types_read_the_sample_jobs() -> Result<()> {
    let Some(build) = objects("job.yaml")? else { return Ok(()) };
    let Some(merge) = objects("merge.yaml")? else { return Ok(()) };
    let [claim, job] = &build[..] else { panic!("{build:?}") };
    let [join] = &merge[..] else { panic!("{merge:?}") };
    let (spec, pod) = (&job["spec"], &job["spec"]["template"]["spec"]);
    assert_eq!(spec["completionMode"], "Indexed");
    // The API server wants it of Jobs with a policy of failures.
    assert_eq!(pod["restartPolicy"], "Never");
    is_confined(pod)?;
    is_confined(&join["spec"]["template"]["spec"])?;
    let script = pod["containers"][0]["args"][0].as_str().context("a script")?;
    let shard = format!("--shard \"$JOB_COMPLETION_INDEX/{}\"", spec["completions"]);
    assert!(script.contains(&shard), "{script}");
    for (pod, what) in [(pod, "the build"), (&join["spec"]["template"]["spec"], "the merge")] {
        let volumes = pod["volumes"].as_array().context("volumes")?;
        let claims = volumes.iter().map(|volume| &volume["persistentVolumeClaim"]["claimName"]);
        assert!(claims.into_iter().any(|name| *name == claim["metadata"]["name"]), "{what}");
    }
    Ok(())
}

/// The scripts of both Jobs, with folders of this machine, and without the registry.
#[test]
fn the_sample_jobs_scripts_run_on_the_sample_site() -> Result<()> {
    let (Some(build), Some(merge)) = (objects("job.yaml")?, objects("merge.yaml")?) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    ["site", "work", "lists"].iter().try_for_each(|name| fs::create_dir(at(name)))?;
    let text = fs::read_to_string(Path::new(SAMPLE).join("site.yaml"))?;
    // Seeds, so that nothing is fetched.
    fs::write(at("site/site.yaml"), text.replace("metal-iso", "metal-seed"))?;
    product::run(&at("site"), &["secrets"])?.well()?;
    let run = |job: &Value, index: &str| -> Result<()> {
        let script = job["spec"]["template"]["spec"]["containers"][0]["args"][0].as_str();
        let script = script.context("a script")?;
        let mut own: Vec<_> = script.lines().filter(|line| !line.contains("export")).collect();
        own.insert(0, "talforge() { \"$PROGRAM\" \"$@\"; }");
        let root = folder.path().display().to_string();
        let script = ["/site", "/work", "/lists"].iter().fold(own.join("\n"), |text, name| {
            text.replace(&format!(" {name}/"), &format!(" {root}{name}/"))
                .replace(&format!("\"{name}/"), &format!("\"{root}{name}/"))
        });
        let out = Command::new("/bin/sh")
            .args(["-ec", &script])
            .env("PROGRAM", product::program()?)
            .env("JOB_COMPLETION_INDEX", index)
            .output()?;
        ensure!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
        Ok(fs::remove_dir_all(at("work")).and_then(|()| fs::create_dir(at("work")))?)
    };
    for index in 0..100 {
        run(&build[1], &index.to_string())?;
    }
    run(&merge[0], "")?;
    let manifest: Value = serde_json::from_slice(&fs::read(at("lists/site/manifest.json"))?)?;
    assert_eq!(manifest["nodes"].as_object().context("nodes")?.len(), 6);
    Ok(())
}
