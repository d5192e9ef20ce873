//! Proofs of the site file against files: golden messages, the example, the schemas.
//!
//! `UPDATE=1` writes the goldens and schemas anew; the difference is then for a person to judge.

use std::fs;
use std::path::{Path, PathBuf};

use lab::tools::{have, stdout};
use serde_json::Value;
use talforge::site::{AssetSource, Site};
use talforge::{catalog, site};

/// The workspace's folder, as seen from this package's, in which tests run.
const ROOT: &str = "..";

/// Fails unless the file holds the text, or writes it there if `UPDATE` says so.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(path, text).expect("the tree can be written");
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(want, text, "{} differs; `UPDATE=1` writes it anew", path.display());
}

/// Reads a site where no age identity is known.
fn load(path: &Path) -> Result<Site, Vec<talforge::report::Diagnostic>> {
    site::load(path, &|_| None)
}

fn messages(result: Result<Site, Vec<talforge::report::Diagnostic>>) -> String {
    let problems = result.map_or_else(|problems| problems, |site| site.warnings);
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

/// The YAML files of a folder in the order of their names.
fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let paths =
        fs::read_dir(folder).expect("it is there").filter_map(Result::ok).map(|entry| entry.path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no YAML files");
    paths
}

#[test]
fn each_bad_site_is_told_as_in_its_golden() {
    for path in yaml_files("site/bad") {
        let result = load(&path);
        assert!(result.is_err(), "{} is read", path.display());
        golden(&path.with_extension("txt"), &messages(result));
    }
}

#[test]
fn every_problem_says_where_it_is() {
    for path in yaml_files("site/bad") {
        for problem in load(&path).unwrap_err() {
            assert!(problem.place.is_some(), "{problem}");
        }
    }
}

#[test]
fn the_example_loads_without_a_word() {
    let path = Path::new(ROOT).join("profiles/example/homelab/site.yaml");
    let site = load(&path).unwrap_or_else(|problems| panic!("{}", messages(Err(problems))));
    assert_eq!(messages(Ok(site.clone())), "");
    assert_eq!(site.boot.assets, [AssetSource::Dir(path.with_file_name("assets"))]);
    let nodes: Vec<_> = site
        .nodes
        .iter()
        .map(|node| format!("{} {} {}", node.name, node.role.name(), node.profile_name))
        .collect();
    assert_eq!(nodes, ["cp-1 controlplane metal-iso", "w-1 worker vm", "w-2 worker metal-disk"]);
    let secrets = site.nodes[0].config.as_ref().unwrap().secrets();
    let present: Vec<_> =
        secrets.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    assert_eq!(
        present,
        [
            "machine CA key",
            "machine token",
            "cluster CA key",
            "cluster secret",
            "bootstrap token",
            "etcd CA key",
            "aggregator CA key",
            "service account key",
            "encryption secret of etcd's data",
        ]
    );
}

/// A fabric of IPv6, one machine without a network outside, and machines with ready configs.
#[test]
fn whole_sites_load_without_a_word() {
    for name in ["ipv6-fabric", "edge-airgap", "homelab"] {
        let path = PathBuf::from(format!("sites/{name}/site.yaml"));
        let site = load(&path).unwrap_or_else(|problems| panic!("{}", messages(Err(problems))));
        assert_eq!(messages(Ok(site.clone())), "", "{name}");
        golden(&path.with_extension("txt"), &shown(&site));
    }
}

/// What is known of a site's cluster and nodes.
fn shown(site: &Site) -> String {
    let cluster = &site.cluster;
    let mut text = format!("{:?}\n{:?}\n", cluster.secrets, cluster.patches);
    for node in &site.nodes {
        let (name, config) = (&node.name, node.config.is_some());
        text.push_str(&format!("{name}: ready config {config}, patches {:?}\n", node.patches));
        let Some(facts) = &node.facts else { continue };
        text.push_str(&format!("  name {}, install {:?}\n", facts.hostname, facts.install));
        for link in &facts.network.links {
            text.push_str(&format!("  {:?}\n  {:?}\n", link.kind, link.settings));
        }
        text.push_str(&format!("  name servers {:?}\n", facts.network.nameservers));
    }
    text
}

#[test]
fn a_config_on_a_pipe_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    if !have(&["mkfifo"]) {
        return;
    }
    stdout("mkfifo", &["pipe.yaml"], dir.path()).unwrap();
    let text = "version: 1
cluster: {name: a, endpoint: \"https://a\", talos: v1.13.9}
boot: {assets: \"dir:a\"}
nodes: [{name: a, role: worker, config: pipe.yaml}, {name: b, role: worker, config: /dev/zero}]
";
    let path = dir.path().join("site.yaml");
    fs::write(&path, text).unwrap();
    let problems = load(&path).unwrap_err();
    assert_eq!(problems.iter().map(|p| p.code).collect::<Vec<_>>(), ["unreadable-file"; 2]);
}

#[test]
fn the_committed_schemas_are_current() {
    let schemas: [(&str, Value); 3] = [
        ("profiles/site.schema.json", site::schema()),
        ("profiles/profile.schema.json", catalog::profile_schema()),
        ("overlays/overlay.schema.json", catalog::overlay_schema()),
    ];
    for (path, schema) in schemas {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        golden(&Path::new(ROOT).join(path), &text);
    }
}

/// Validates YAML files given as `schema file` pairs; prints the ones that do not fit.
const VALIDATE: &str = "
import json, sys
try:
    import jsonschema, yaml
except ImportError:
    print('skipped'); sys.exit()
for schema, path in zip(sys.argv[1::2], sys.argv[2::2]):
    validator = jsonschema.Draft202012Validator(json.load(open(schema)))
    validator.check_schema(validator.schema)
    document = yaml.load(open(path), Loader=yaml.BaseLoader if 'site' in path else yaml.SafeLoader)
    print(path, 'fits' if validator.is_valid(document) else [e.message for e in validator.iter_errors(document)])
";

#[test]
fn an_independent_validator_agrees_with_the_schemas() {
    if !have(&["python3"]) {
        return;
    }
    let root = fs::canonicalize(ROOT).unwrap();
    let pair = |schema: &str, file: String| [schema.to_owned(), file];
    let mut args = vec!["-c".to_owned(), VALIDATE.to_owned()];
    for name in catalog::profile_names() {
        args.extend(pair("profiles/profile.schema.json", format!("profiles/{name}.yaml")));
    }
    for name in catalog::overlay_names() {
        args.extend(pair("overlays/overlay.schema.json", format!("overlays/{name}.yaml")));
    }
    let site = "profiles/site.schema.json";
    args.extend(pair(site, "profiles/example/homelab/site.yaml".to_owned()));
    args.extend(pair(site, "builder/src/site/starter.yaml".to_owned()));
    args.extend(pair("profiles/profile.schema.json", "tests/site/profiles/wrong.yaml".to_owned()));
    args.extend(pair(site, "tests/site/bad/not-yet.yaml".to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = stdout("python3", &args, &root).unwrap();
    if said.trim() == "skipped" {
        return;
    }
    for line in said.lines() {
        let wrong = line.starts_with("tests/");
        assert_eq!(line.ends_with(" fits"), !wrong, "{line}");
    }
}
