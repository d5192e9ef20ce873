//! What talforge says to programs, and how it keeps quiet.

use anyhow::{Result, ensure};
use serde_json::Value;
use talforge::talos::Arch;

use crate::fixture::{self, Site, config};

fn site() -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.nodes(&[
        "name: cp, role: controlplane, config: cp.yaml",
        "name: net, role: worker, config: w.yaml, profile: metal-pxe, embed: none",
    ])?;
    Ok(site)
}

/// All events of a command, each with its kind and version.
fn events(site: &Site, args: &[&str]) -> Result<Vec<Value>> {
    let said = site.run(args)?;
    ensure!(said.err.is_empty(), "{args:?}: {}", said.err);
    let events = said.events()?;
    for event in &events {
        ensure!(event["event"].is_string() && event["version"] == 1, "{event}");
    }
    Ok(events)
}

/// The kinds of events, each with what it is about.
fn told(events: &[Value]) -> String {
    let about = |event: &Value| {
        let keys = ["name", "state", "node", "path", "code"].map(|key| event[key].as_str());
        let words = [event["event"].as_str()].into_iter().chain(keys).flatten();
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    // How often a task tells that it runs depends on the machine.
    let steady = events.iter().filter(|event| event["state"] != "running");
    steady.map(about).collect()
}

#[test]
fn every_command_tells_programs_one_json_object_a_line() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    insta::assert_snapshot!(told(&events(&site, &["build", "--json"]).unwrap()), @r"
    diagnostic unused-config
    task cp.iso started
    task cp.iso done
    node cp
    task net/kernel-amd64 started
    task net/kernel-amd64 done
    task net/initramfs-metal-amd64.xz started
    task net/initramfs-metal-amd64.xz done
    task net/cmdline-metal-amd64 started
    task net/cmdline-metal-amd64 done
    task net/metal-amd64-uki.efi started
    task net/metal-amd64-uki.efi done
    node net
    written out/cp.iso
    written out/net/kernel-amd64
    written out/net/initramfs-metal-amd64.xz
    written out/net/cmdline-metal-amd64
    written out/net/metal-amd64-uki.efi
    ");
    let plans = events(&site, &["--json", "plan"]).unwrap();
    insta::assert_snapshot!(told(&plans), @r"
    diagnostic unused-config
    plan
    plan
    ");
    assert_eq!(plans[1]["plan"]["output"], "cp.iso");
    let media = events(&site, &["inspect", "out/cp.iso", "--json"]).unwrap();
    insta::assert_snapshot!(told(&media), @"medium");
    assert_eq!(media[0]["boots"][0]["config"]["sha256"], plans[1]["plan"]["config"]["sha256"]);
}

#[test]
fn a_failure_is_told_to_programs_as_a_diagnostic() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    site.write("cp.yaml", config("worker").as_bytes()).unwrap();
    let events = events(&site, &["build", "--json"]).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&events[1]).unwrap(), @r#"
    {
      "code": "role",
      "event": "diagnostic",
      "help": "name another config or role in site.yaml:5:5",
      "message": "node `cp` is a controlplane, and its config is a worker's",
      "place": {
        "column": 11,
        "file": "cp.yaml",
        "line": 6
      },
      "severity": "error",
      "version": 1
    }
    "#);
    assert_eq!(site.run(&["build", "--json"]).unwrap().code, Some(1));
    assert!(!site.path("out").exists());
}

#[test]
fn quiet_says_nothing_of_success_and_all_of_failure() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let said = site.run(&["build", "--quiet"]).unwrap().well().unwrap();
    assert_eq!((said.text().as_str(), said.err.as_str()), ("", ""));
    let said = site.run(&["build", "-q", "--node", "x"]).unwrap();
    assert_eq!((said.code, said.text().as_str()), (Some(1), ""));
    assert!(said.err.starts_with("error: "), "{}", said.err);
    let both = site.run(&["build", "--quiet", "--json"]).unwrap();
    assert_eq!(both.code, Some(2));
}
