//! Proof of imports: a site that is made of talhelper's renders the configs that talhelper makes.
//!
//! `tests/talhelper/*/golden/` are what talhelper at commit 39b69792 writes with `genconfig
//! --offline-mode` for the `talconfig.yaml` beside them and the throw-away secrets of
//! `tests/talos-gen/secrets.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use talforge::config::documents::{Document, Documents};
use talforge::config::tree::Tree;
use talforge::import::{self, Imported};
use talforge::render;
use talforge::site::{self, World};

/// The documents by kind and name, without what says what Talos does anyway, and with selectors of
/// links in the words of a site.
fn meaning(documents: &Documents) -> BTreeMap<(String, String), Tree> {
    let mut meant = BTreeMap::new();
    for document in documents.iter() {
        let mut tree = document.tree().clone();
        let drop = |tree: &mut Tree, key: &str, value: Tree| {
            if tree.get(key) == Some(&value) {
                tree.remove(key);
            }
        };
        match document.kind() {
            "LinkConfig" | "BondConfig" | "VLANConfig" => drop(&mut tree, "up", true.into()),
            "HostnameConfig" if tree.get("hostname").is_some() => {
                drop(&mut tree, "auto", "off".into());
            }
            "ResolverConfig" => {
                if let Some(domains) = tree.get_mut("searchDomains") {
                    drop(domains, "disableDefault", false.into());
                }
                drop(&mut tree, "searchDomains", Tree::empty());
            }
            "LinkAliasConfig" => {
                let selector = tree.text_at(&["selector", "match"]).expect("the examples are good");
                let mac = selector.strip_prefix("glob(\"").and_then(|rest| {
                    let mac = rest.strip_suffix("\", mac(link.hardware_addr))");
                    let mac = mac.or_else(|| rest.strip_suffix("\", mac(link.permanent_addr))"));
                    mac.filter(|mac| !mac.contains('*'))
                });
                let same = mac.map(|mac| format!("mac(link.permanent_addr) == \"{mac}\""));
                if let Some(same) = same {
                    tree.set_at(&["selector", "match"], same);
                }
            }
            _ => {}
        }
        for key in ["apiVersion", "kind"] {
            tree.remove(key);
        }
        if document.kind() == "BondConfig" {
            for key in ["miimon", "updelay", "downdelay"] {
                drop(&mut tree, key, 0_u32.into());
            }
        }
        meant.insert((document.kind().to_owned(), document.name().to_owned()), tree);
    }
    meant
}

/// The same as text, in the order in which Talos writes keys.
fn written(documents: &Documents) -> BTreeMap<(String, String), String> {
    let one = |((kind, name), tree): ((String, String), Tree)| {
        let mut alone = Documents::new(documents.schema);
        alone.push(Document::new(
            documents.schema.kind(&kind).expect("the examples are good"),
            tree,
        ));
        ((kind, name), alone.encode())
    };
    meaning(documents).into_iter().map(one).collect()
}

/// A folder with an example of talhelper's and its secrets.
fn example(name: &str, secrets: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("the examples are good");
    copy(&Path::new("talhelper").join(name), folder.path());
    fs::copy("talos-gen/secrets.yaml", folder.path().join(secrets)).expect("the examples are good");
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the examples are good");
    for entry in fs::read_dir(from).expect("the examples are good") {
        let path = entry.expect("the examples are good").path();
        let to = to.join(path.file_name().expect("the examples are good"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("the examples are good");
        }
    }
}

fn import(folder: &Path) -> Imported {
    let read = |path: &Path, _: u64| fs::read(path);
    let world = World { read: &read, variable: &|_| None };
    import::talhelper(&folder.join("talconfig.yaml"), &world).expect("the examples are good")
}

fn write(imported: &Imported, folder: &Path) -> PathBuf {
    for (path, bytes) in &imported.files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("the examples are good"))
            .expect("the examples are good");
        fs::write(path, bytes).expect("the examples are good");
    }
    folder.join("site.yaml")
}

#[test]
fn an_import_renders_what_talhelper_makes() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for name in ["home", "cluster", "six"] {
        let given = example(name, "talsecret.yaml");
        let imported = import(given.path());
        let out = tempfile::tempdir().expect("the examples are good");
        let path = write(&imported, out.path());
        let text = fs::read_to_string(&path).expect("the examples are good");
        let site = site::load(&path, &|_| None);
        let site = site.unwrap_or_else(|found| panic!("{name}: {found:#?}\n{text}"));
        let rendered = render::site(&site, now);
        let rendered = rendered.unwrap_or_else(|found| panic!("{name}: {found:#?}\n{text}"));
        for (node, config) in site.nodes.iter().zip(rendered.nodes) {
            let facts = node.facts.as_ref().expect("the examples are good");
            let node = facts.hostname.as_str();
            let ours =
                config.expect("the examples are good").documents.expect("the examples are good");
            let golden = fs::read(given.path().join(format!("golden/{node}.yaml")))
                .expect("the examples are good");
            let theirs =
                Documents::decode(ours.schema, node, &golden).expect("the examples are good");
            compare(&format!("{name}: {node}"), &written(&ours), &written(&theirs));
        }
    }
}

/// talhelper itself cannot: it gives operations to Talos, which refuses them beside a second
/// document. Here they do what they say.
#[test]
fn operations_are_carried_and_done() {
    let rendered = rendered("homelab", "v1.12.4");
    let main = rendered["k1"].main().expect("the examples are good");
    let limit = main.text_at(&["machine", "sysctls", "net.core.somaxconn"]);
    assert_eq!(limit, Some("65535"));
    assert!(
        rendered["k2"].main().expect("the examples are good").at(&["machine", "sysctls"]).is_none()
    );
}

#[test]
fn a_newer_release_renders_too() {
    for (name, old) in [("home", "v1.12.4"), ("cluster", "1.13.9"), ("six", "v1.13.9")] {
        let rendered = rendered_as(name, old, "v1.14.1");
        assert!(rendered.values().all(|documents| documents.len() > 5), "{name}");
    }
}

fn rendered(name: &str, release: &str) -> BTreeMap<String, Documents> {
    rendered_as(name, release, release)
}

/// What an example renders, of another release.
fn rendered_as(name: &str, old: &str, new: &str) -> BTreeMap<String, Documents> {
    let given = example(name, "talsecret.yaml");
    let path = given.path().join("talconfig.yaml");
    let text = fs::read_to_string(&path).expect("the examples are good");
    assert!(text.contains(old));
    fs::write(&path, text.replace(old, new)).expect("the examples are good");
    let out = tempfile::tempdir().expect("the examples are good");
    let path = write(&import(given.path()), out.path());
    let site = site::load(&path, &|_| None).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let rendered = render::site(&site, now).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
    let names = site.nodes.iter().map(|node| node.name.to_string());
    names
        .zip(rendered.nodes)
        .map(|(name, config)| {
            (name, config.expect("the examples are good").documents.expect("the examples are good"))
        })
        .collect()
}

type Written = BTreeMap<(String, String), String>;

fn compare(what: &str, ours: &Written, theirs: &Written) {
    let kinds = |written: &Written| written.keys().cloned().collect::<Vec<_>>();
    assert_eq!(kinds(ours), kinds(theirs), "{what}");
    for (kind, text) in ours {
        let only = |one: &str, other: &str| -> Vec<String> {
            let other: BTreeSet<&str> = other.lines().collect();
            one.lines().filter(|line| !other.contains(line)).map(str::to_owned).collect()
        };
        let (here, there) = (only(text, &theirs[kind]), only(&theirs[kind], text));
        assert!(
            *text == theirs[kind],
            "{what}: {kind:?}: only in ours {here:#?}, only in talhelper's {there:#?}"
        );
    }
}
