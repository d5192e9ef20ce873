//! Sites: every node's final config is one that Talos takes, for each release with only the version
//! changed.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lab::talos::{MINORS, Oracle, Said};
use serde_json::json;
use talforge::{render, site};

use crate::bench::{each_release, seeds};
use crate::draw::Dice;

/// The releases that sites are rendered for.
fn release(minor: u32) -> &'static str {
    ["v1.12.7", "v1.13.9", "v1.14.1"][MINORS.iter().position(|known| *known == minor).unwrap()]
}

/// Renders a site and asks Talos of each config. The number of nodes is returned.
fn judge(oracle: &mut Oracle, folder: &Path) -> usize {
    let site = site::load(&folder.join("site.yaml"), &|_| None);
    let site = site.unwrap_or_else(|problems| panic!("1.{}: {problems:#?}", oracle.minor));
    // Within the days of the certificates in the fixtures.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let rendered = render::site(&site, now);
    let rendered = rendered.unwrap_or_else(|problems| panic!("1.{}: {problems:#?}", oracle.minor));
    for (node, config) in site.nodes.iter().zip(&rendered.nodes) {
        let text = String::from_utf8(config.as_ref().unwrap().text.bytes().to_vec()).unwrap();
        let request = json!({"do": "validate", "config": text, "mode": "metal", "strict": true});
        let said = oracle.ask(&request).unwrap();
        let Said::Yes(answer) = &said else { panic!("{}: {}", node.name, said.reason()) };
        let errors = answer["errors"].as_array().map_or(0, Vec::len);
        assert_eq!(errors, 0, "{} on 1.{}: {answer}", node.name, oracle.minor);
    }
    site.nodes.len()
}

/// A copy of one of the folders in `sites`, for another release.
fn copy(name: &str, talos: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("sites").join(name);
    copy_folder(&from, to);
    let path = to.join("site.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.trim_start().starts_with("talos: ") {
        true => format!("  talos: {talos}"),
        false => line.to_owned(),
    });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

#[test]
fn shared_sites_are_taken_with_only_the_version_changed() {
    each_release(|oracle| {
        let folder = tempfile::tempdir().unwrap();
        for (name, nodes) in [("ipv6-fabric", 5), ("edge-airgap", 1)] {
            let to = folder.path().join(name);
            copy(name, release(oracle.minor), &to);
            assert_eq!(judge(oracle, &to), nodes, "{name}");
        }
    });
}

/// A site of random facts.
fn random_site(dice: &mut Dice, talos: &str) -> String {
    let v6 = dice.percent(60);
    let (prefix, gateway, vip, server) = match v6 {
        true => ("2001:db8:7::/64", "2001:db8:7::1", "2001:db8:7::a", "2001:db8::53"),
        false => ("172.30.0.0/16", "172.30.0.1", "172.30.0.10", "198.51.100.53"),
    };
    let host = if v6 { format!("[{vip}]") } else { vip.to_owned() };
    let mut text = format!(
        "version: 1\ncluster:\n  name: random\n  endpoint: https://{host}:6443\n  talos: {talos}\n  secrets: secrets.yaml\n"
    );
    let optional = [
        "  kubespan: true\n",
        "  discovery: false\n",
        "  dns_domain: random.example\n",
        "  cert_sans: [api.random.example]\n",
        "  patches: [{machine: {sysctls: {net.core.somaxconn: \"1024\"}}}]\n",
        "  controlplane: {patches: [{cluster: {allowSchedulingOnControlPlanes: true}}]}\n",
        "  worker: {patches: [[{op: add, path: /machine/sysctls, value: {a.b: \"1\"}}]]}\n",
    ];
    // Without discovery there is no KubeSpan.
    let first = usize::from(dice.percent(50));
    for (at, line) in optional.iter().enumerate() {
        if at != 1 - first && dice.percent(50) {
            text += line;
        }
    }
    text += &format!(
        "boot: {{assets: \"dir:assets\"}}\nnetwork:\n  addressing: static\n  prefix: {prefix}\n  gateway: {gateway}\n  \
         vip: {vip}\n  nameservers: [\"{server}\"]\n"
    );
    let overlays = ["single-node", "cilium", "registry-mirror", "self-bootstrap"];
    let chosen: Vec<&str> = overlays.into_iter().filter(|_| dice.percent(40)).collect();
    text += &format!("defaults:\n  overlays: [{}]\n", chosen.join(", "));
    if chosen.contains(&"registry-mirror") {
        text += "  values: {registry: \"https://registry.random.example\"}\n";
    }
    for (key, value) in [
        ("labels", "{rack.example/row: \"007\", country: \"no\"}"),
        ("annotations", "{a.example/b: \"1.20\"}"),
        ("taints", "{dedicated: \"gpu:NoSchedule\"}"),
        ("env", "{A: \"yes\"}"),
        ("proxy", "{http: \"http://proxy.example:3128\", no_proxy: [.example]}"),
        (
            "registries",
            "{mirrors: {docker.io: {endpoints: [\"https://m.example\"], skip_fallback: true}}}",
        ),
        ("encryption", "{ephemeral: [{node_id: true}]}"),
        ("volumes", "[{name: data, type: partition, match: \"!system_disk\", min_size: 10GiB}]"),
    ] {
        if dice.percent(40) {
            text += &format!("  {key}: {value}\n");
        }
    }
    text += "nodes:\n";
    for node in 0..1 + dice.below(5) {
        let role = if node < 3 { "controlplane" } else { "worker" };
        let disk = dice.pick(&[
            "disk: /dev/nvme0n1",
            "selector: {serial: \"S4*\", type: nvme}",
            "selector: {size: \">= 100GB\", model: X*}",
        ]);
        let link = match dice.below(4) {
            0 => format!("mac: \"52:54:00:00:00:{node:02x}\""),
            1 => "interface: enp1s0, mtu: 9000".to_owned(),
            2 => format!(
                "links: [{{bond: {{name: bond0, mode: 802.3ad, members: [{{mac: \"52:54:00:01:00:{node:02x}\"}}, \
                 {{interface: enp2s0}}]}}, vlans: [{{id: 100}}]}}]"
            ),
            _ => format!(
                "links: [{{mac: \"52:54:00:02:00:{node:02x}\", vlans: [{{id: 7, mtu: 1400}}]}}]"
            ),
        };
        text += &format!("  - {{name: n-{node}, role: {role}, install: {{{disk}}}, {link}}}\n");
    }
    text
}

#[test]
fn random_sites_are_taken_by_talos() {
    each_release(|oracle| {
        let folder = tempfile::tempdir().unwrap();
        let secrets = include_str!("../talos-gen/secrets.yaml");
        fs::write(folder.path().join("secrets.yaml"), secrets).unwrap();
        for seed in seeds(40) {
            let text = random_site(&mut Dice::new(seed), release(oracle.minor));
            fs::write(folder.path().join("site.yaml"), &text).unwrap();
            assert!(judge(oracle, folder.path()) > 0, "seed {seed}");
        }
    });
}
