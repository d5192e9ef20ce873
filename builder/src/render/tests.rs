//! Proofs of the final configs: the order of what makes them, and what of a ready one stays.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::site::{self, World};

const SECRETS: &str = include_str!("../../../tests/talos-gen/secrets.yaml");
const READY: &str = include_str!("../../../tests/talos-gen/talos-1.13/worker.yaml");

/// A day on which the certificates of the fixtures are good.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn rendered(text: &str) -> Result<Rendered, Vec<Diagnostic>> {
    let read = |path: &Path, _: u64| match path.to_str() {
        Some("secrets.yaml") => Ok(SECRETS.into()),
        Some("ready.yaml") => Ok(READY.into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let world = World { read: &read, variable: &|_| None };
    super::site(&site::load_text(Path::new("site.yaml"), text.as_bytes(), world)?, now())
}

fn head(talos: &str, more: &str) -> String {
    format!(
        "version: 1\ncluster:\n  name: fabric\n  endpoint: https://[2001:db8::11]:6443\n  talos: {talos}\n{more}\
         boot: {{assets: \"dir:assets\"}}\n"
    )
}

const NODES: &str = "network: {prefix: \"2001:db8::/64\", gateway: \"2001:db8::1\"}\nnodes:\n  \
    - {name: cp-1, role: controlplane, mac: \"52:54:00:00:00:11\", address: \"2001:db8::11\", install: {disk: /dev/vda}}\n  \
    - {name: w-1, role: worker, mac: \"52:54:00:00:00:21\", install: {disk: /dev/vda}";

fn text(rendered: &Rendered, node: usize) -> String {
    String::from_utf8(rendered.nodes[node].as_ref().unwrap().text.bytes().to_vec()).unwrap()
}

#[test]
fn patches_come_in_order_and_the_last_word_is_the_nodes() {
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        let sysctl = |value: &str| format!("{{machine: {{sysctls: {{a.b: \"{value}\"}}}}}}");
        let cluster = format!(
            "  secrets: secrets.yaml\n  patches: [{}]\n  worker: {{patches: [{}]}}\n",
            sysctl("all"),
            sysctl("role")
        );
        let site = format!("{}{NODES}, patches: [{}]}}\n", head(talos, &cluster), sysctl("node"));
        let rendered = rendered(&site).unwrap();
        assert!(text(&rendered, 0).contains("a.b: all\n"), "{talos}");
        assert!(text(&rendered, 1).contains("a.b: node\n"), "{talos}");
        assert!(!text(&rendered, 1).contains("a.b: role\n"), "{talos}");
    }
}

#[test]
fn operations_of_json_6902_work_beside_other_documents() {
    let cluster = "  secrets: secrets.yaml\n  patches: [[{op: add, path: /machine/sysctls, value: {a.b: \"1\"}}]]\n";
    for talos in ["v1.13.9", "v1.14.1"] {
        let rendered = rendered(&format!("{}{NODES}}}\n", head(talos, cluster))).unwrap();
        let documents = rendered.nodes[1].as_ref().unwrap().documents.as_ref().unwrap();
        assert_eq!(documents.get("SysctlConfig", None).is_some(), talos == "v1.14.1");
        assert!(text(&rendered, 1).contains("a.b: '1'\n"), "{talos}");
    }
}

#[test]
fn a_ready_config_keeps_its_bytes_and_a_patched_one_those_of_other_documents() {
    let nodes = "nodes: [{name: w-1, role: worker, config: ready.yaml";
    let alone = rendered(&format!("{}{nodes}}}]\n", head("v1.13.9", ""))).unwrap();
    assert_eq!(text(&alone, 0), READY);
    let patch = "patches: [{apiVersion: v1alpha1, kind: KmsgLogConfig, name: a, url: \"tcp://[2001:db8::2]:514\"}]";
    let patched = rendered(&format!("{}{nodes}, {patch}}}]\n", head("v1.13.9", ""))).unwrap();
    let text = text(&patched, 0);
    assert!(text.starts_with(READY.trim_end()), "what no patch touches stays");
    assert!(
        text.ends_with("kind: KmsgLogConfig\nname: a\nurl: 'tcp://[2001:db8::2]:514'\n"),
        "{text}"
    );
}

#[test]
fn what_talos_would_refuse_is_refused_with_the_node() {
    let patch = "patches: [{machine: {certSANs: [x], nodeLabels: {\"a b\": c}}}]";
    let cluster = "  secrets: secrets.yaml\n";
    let problems = rendered(&format!("{}{NODES}, {patch}}}\n", head("v1.13.9", cluster)));
    let problems = problems.unwrap_err();
    let error = problems.iter().find(|p| p.severity == Severity::Error).unwrap();
    assert!(error.code.starts_with("talos-"), "{error}");
    assert_eq!(error.place.as_ref().unwrap().file, "site.yaml");
}

#[test]
fn a_mistake_that_nodes_share_is_told_once() {
    let cluster = "  secrets: secrets.yaml\n  patches: [{apiVersion: v1alpha1, kind: LinkConfig, $patch: delete}]\n";
    let rendered = rendered(&format!("{}{NODES}}}\n", head("v1.13.9", cluster))).unwrap();
    let told = rendered.warnings.iter().filter(|w| w.code == "patch-deletes-nothing").count();
    assert_eq!(told, 1);
}

#[test]
fn without_secrets_no_config_is_made() {
    let problems = rendered(&format!("{}{NODES}}}\n", head("v1.13.9", ""))).unwrap_err();
    assert!(problems.iter().all(|problem| problem.help.is_some()));
    assert!(problems.iter().any(|problem| problem.message.contains("cp-1")), "{problems:#?}");
}
