//! Images in layers that nodes share: in Docker's registry, in an S3-compatible store, in folders;
//! and what other programs make of them.
//!
//! In: a folder as a build leaves it. Out: verdicts.
//!
//! Source: OCI Image Format Specification 1.1; skopeo(1); strace(1) on `-e inject`.
//!
//! Not here: how files are split and joined, which unit tests show.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test itself does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::noise::noise;
use lab::product::{self, Said};
use lab::servers::{S3_KEY, Server};
use lab::tools::{self, have};
use serde_json::{Value, json};
use talforge::digest::Digest;
use tempfile::TempDir;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The length of a disk, what of it is data, and where a node's own bytes lie and how many there are.
const LEN: usize = 40 * MIB;
const DATA: [(usize, usize); 2] = [(0, 3 * MIB), (33 * MIB, MIB)];
const OWN: (usize, usize) = (MIB, 16 * KIB);
/// What all nodes have in common, as it is kept: noise does not compress.
const BASE: u64 = 4 << 20;
const NODES: usize = 20;

/// A folder as a build leaves it, and room.
struct Rig {
    folder: TempDir,
    names: Vec<String>,
}

impl Rig {
    fn new(nodes: usize) -> Self {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            names: (1..=nodes).map(|number| format!("w-{number:02}")).collect(),
        };
        let out = rig.at("out");
        fs::create_dir(&out).unwrap();
        let mut base = vec![0; LEN];
        for (at, len) in DATA {
            base[at..at + len].copy_from_slice(&noise(at as u64, len));
        }
        let mut list = serde_json::Map::new();
        let mut sums = String::new();
        for (seed, name) in (100..).zip(&rig.names) {
            base[OWN.0..OWN.0 + OWN.1].copy_from_slice(&noise(seed, OWN.1));
            let path = format!("{name}.raw");
            write_sparse(&out.join(&path), &base);
            let digest = Digest::of(&base);
            sums += &format!("{digest}  {path}\n");
            let file = json!({
                "path": path, "bytes": LEN, "sha256": digest.to_string(), "own": [[OWN.0, OWN.1]],
            });
            list.insert(name.clone(), json!({"plan": {}, "files": [file]}));
        }
        let list = json!({"version": 2, "cluster": "lab", "nodes": list});
        fs::write(out.join("manifest.json"), list.to_string()).unwrap();
        fs::write(out.join("SHA256SUMS"), sums).unwrap();
        rig
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, with variables.
    fn run(&self, by: &[&str], args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = product::command(by, self.folder.path(), args).unwrap();
        command.env("HOME", self.folder.path()).envs(variables.iter().copied());
        Said::of(command.output().unwrap())
    }

    /// Fetches a node, and compares it with what was built.
    fn fetch(&self, from: &[&str], node: &str, variables: &[(&str, &str)]) {
        let store = self.at("store").display().to_string();
        let args = [&["fetch"], from, &[node, "-o", "got", "--store", &store]].concat();
        self.run(&[], &args, variables).well().unwrap();
        let name = format!("{node}.raw");
        let (built, got) = (self.at("out").join(&name), self.at("got").join(&name));
        assert!(fs::read(built).unwrap() == fs::read(&got).unwrap(), "{node}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&got).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(got).unwrap();
    }

    /// The bytes of the blobs that the store has.
    fn stored(&self) -> u64 {
        bytes(&self.at("store/sha256"))
    }
}

/// Writes bytes, zeros as holes.
fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, block) in (0..).step_by(64 * KIB).zip(bytes.chunks(64 * KIB)) {
        if block.iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, block, at).unwrap();
        }
    }
}

/// The bytes of all files in a folder.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of =
        |path: PathBuf| if path.is_dir() { bytes(&path) } else { path.metadata().unwrap().len() };
    entries.map(|entry| of(entry.unwrap().path())).sum()
}

/// Many nodes cost one base, and each its own bytes and what names them.
fn costs_one_base(found: u64, nodes: usize) {
    let most = BASE + (nodes * (OWN.1 + 4 * KIB) + 64 * KIB) as u64;
    assert!((BASE..most).contains(&found), "{found} bytes of at most {most}");
}

fn sent(said: &Said) -> u64 {
    let events = said.events().unwrap();
    let last = events.iter().find(|event| event["event"] == "export").unwrap();
    last["sent_bytes"].as_u64().unwrap()
}

/// A file of credentials, as `docker login` writes it.
fn login(rig: &Rig, host: &str, pair: &str) -> String {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(pair);
    let path = rig.at("auth.json");
    fs::write(&path, json!({"auths": {host: {"auth": auth}}}).to_string()).unwrap();
    path.display().to_string()
}

fn skopeo(rig: &Rig, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(tools::find("skopeo").unwrap());
    let out = command.args(args).envs(variables.iter().copied()).current_dir(rig.folder.path());
    let out = out.output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn dockers_registry_has_twenty_nodes_for_one_base() {
    if !have(&["docker-registry", "openssl", "htpasswd", "skopeo"]) {
        return;
    }
    let rig = Rig::new(NODES);
    let (server, ca) = Server::guarded(&rig.at("registry"), rig.folder.path()).unwrap();
    let place = format!("oci://{}/lab/site", server.host);
    let ca = ca.display().to_string();
    let wrong = login(&rig, &server.host, "me:hunter2");
    let with = |file| [("SSL_CERT_FILE", ca.as_str()), ("REGISTRY_AUTH_FILE", file)];
    let export = ["--json", "export", "out", &place];
    for (variables, code) in [(&with(&wrong)[..], 3), (&with(&wrong)[..1], 3), (&[], 3)] {
        let said = rig.run(&[], &export, variables);
        assert_eq!(said.code, Some(code), "{}", said.text());
        assert!(!said.text().contains("hunter2") && !said.text().contains("bWU6aHVudGVyMg"));
    }
    assert_eq!(bytes(&rig.at("registry/docker/registry/v2/blobs")), 0);
    let right = login(&rig, &server.host, "me:word");
    let variables = with(&right);
    let first = rig.run(&[], &export, &variables).well().unwrap();
    costs_one_base(bytes(&rig.at("registry/docker/registry/v2/blobs")), NODES);
    costs_one_base(sent(&first), NODES);
    assert_eq!(sent(&rig.run(&[], &export, &variables).well().unwrap()), 0);
    // What others see.
    let image = format!("docker://{}/lab/site:w-07", server.host);
    let raw = skopeo(&rig, &["inspect", "--raw", "--tls-verify=false", &image], &variables);
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["artifactType"], "application/vnd.talforge.node.v1");
    let args =
        ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &image, "oci:copy:w-07"];
    skopeo(&rig, &args, &variables);
    rig.fetch(&["copy"], "w-07", &[]);
    let site = skopeo(
        &rig,
        &["inspect", "--raw", "--tls-verify=false", &image.replace("w-07", "_site")],
        &variables,
    );
    assert!(site.contains("SHA256SUMS") && site.contains("manifest.json"), "{site}");
    // Each further node costs its own bytes here, too.
    rig.fetch(&[&place], "w-01", &variables);
    let one = rig.stored();
    costs_one_base(one, 1);
    rig.fetch(&[&place], "w-02", &variables);
    assert!(rig.stored() - one < (OWN.1 + 8 * KIB) as u64);
    drop(server);
    rig.fetch(&[&place, "--offline"], "w-02", &[]);
    let store = rig.at("store").display().to_string();
    let gone = rig.run(&[], &["fetch", &place, "w-03", "--offline", "--store", &store], &[]);
    assert_eq!(gone.code, Some(3));
    assert!(gone.err.contains("run `talforge fetch oci://"), "{}", gone.err);
}

#[test]
fn a_registry_is_asked_without_tls_where_that_is_said() {
    if !have(&["docker-registry"]) {
        return;
    }
    let rig = Rig::new(2);
    let server = Server::registry(&rig.at("registry")).unwrap();
    let place = format!("oci://{}/site", server.host);
    let refused = rig.run(&[], &["export", "out", &place], &[]);
    assert_eq!(refused.code, Some(3));
    rig.run(&[], &["export", "out", &place, "--plain-http"], &[]).well().unwrap();
    rig.fetch(&[&place, "--plain-http"], "w-02", &[]);
    let none = rig.run(&[], &["fetch", &place, "w-03", "--plain-http"], &[]);
    assert_eq!(none.code, Some(1), "{}", none.err);
    assert!(none.err.contains("no image of a node `w-03`"), "{}", none.err);
}

#[test]
fn a_folder_is_a_layout_that_others_copy() {
    if !have(&["skopeo"]) {
        return;
    }
    let rig = Rig::new(NODES);
    let first = rig.run(&[], &["--json", "export", "out", "dir:images"], &[]).well().unwrap();
    costs_one_base(bytes(&rig.at("images")), NODES);
    costs_one_base(sent(&first), NODES);
    rig.fetch(&["images"], "w-20", &[]);
    let args = ["copy", "-q", "--insecure-policy", "oci:images:w-03", "oci:copy:w-03"];
    skopeo(&rig, &args, &[]);
    rig.fetch(&["copy"], "w-03", &[]);
    assert_eq!(
        fs::read(rig.at("images/manifest.json")).unwrap(),
        fs::read(rig.at("out/manifest.json")).unwrap()
    );
    // A layer that somebody changed.
    let largest = fs::read_dir(rig.at("images/blobs/sha256")).unwrap().map(|e| e.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut layer = fs::read(&largest).unwrap();
    layer[MIB] ^= 1;
    fs::write(&largest, layer).unwrap();
    let refused = rig.run(&[], &["fetch", "images", "w-03", "-o", "got"], &[]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(!rig.at("got/w-03.raw").exists());
    rig.run(&[], &["export", "out", "images"], &[]).well().unwrap();
    rig.fetch(&["images"], "w-03", &[]);
}

#[test]
fn a_bucket_has_twenty_nodes_for_one_base_and_forgets_none() {
    if tools::find("versitygw").is_none() && !have(&["go"]) {
        return;
    }
    let rig = Rig::new(NODES);
    let root = rig.at("buckets");
    fs::create_dir_all(root.join("lab")).unwrap();
    let server = Server::s3(&root).unwrap();
    let endpoint = format!("http://{}", server.host);
    let with = |secret| {
        [
            ("AWS_ACCESS_KEY_ID", S3_KEY.0),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ]
    };
    let place = "s3://lab/site one";
    let export = ["--json", "export", "out", place, "--plain-http"];
    for (args, variables, part) in [
        (&export[..], &with("hunter2hunter2")[..], "SignatureDoesNotMatch"),
        (&export[..4], &with(S3_KEY.1)[..], "without TLS"),
        (&export[..], &with(S3_KEY.1)[2..], "AWS_ACCESS_KEY_ID"),
        (
            &["--json", "export", "out", "s3://none", "--plain-http"],
            &with(S3_KEY.1)[..],
            "NoSuchBucket",
        ),
    ] {
        let said = rig.run(&[], args, variables);
        assert_eq!(said.code, Some(3), "{}", said.text());
        assert!(said.text().contains(part), "{part}: {}", said.text());
        assert!(!said.text().contains("hunter2") && !said.text().contains(S3_KEY.1));
    }
    let variables = with(S3_KEY.1);
    let first = rig.run(&[], &export, &variables).well().unwrap();
    let folder = root.join("lab/site one");
    costs_one_base(bytes(&folder), NODES);
    costs_one_base(sent(&first), NODES);
    assert_eq!(sent(&rig.run(&[], &export, &variables).well().unwrap()), 0);
    let from = [place, "--plain-http"];
    rig.fetch(&from, "w-01", &variables);
    let one = rig.stored();
    rig.fetch(&from, "w-02", &variables);
    assert!(rig.stored() - one < (OWN.1 + 8 * KIB) as u64);
    let offline = [place, "--plain-http", "--offline"];
    rig.fetch(&offline, "w-02", &variables);
    // Some that end at once, each with other nodes: all are there for `fetch`.
    let others: Vec<_> = (0..4).map(|number| rig.shard(number)).collect();
    std::thread::scope(|scope| {
        let rig = &rig;
        for other in &others {
            let args = ["export", other, place, "--plain-http"];
            scope.spawn(move || rig_run(rig, &args, &variables));
        }
    });
    for node in (0..4).map(|number| format!("s-{number}")) {
        assert!(folder.join(format!("nodes/{node}.json")).exists(), "{node}");
    }
    // This server looks at a condition and writes in two steps, between which another may write. What
    // the index lost by that, the next export puts back.
    for other in &others {
        rig_run(&rig, &["export", other, place, "--plain-http"], &variables);
    }
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let name = |entry: &Value| {
        entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned()
    };
    let names: BTreeSet<_> = index["manifests"].as_array().unwrap().iter().map(name).collect();
    for node in rig.names.iter().cloned().chain((0..4).map(|number| format!("s-{number}"))) {
        assert!(names.contains(&node), "{node} of {names:?}");
    }
    if have(&["skopeo"]) {
        fs::rename(&folder, rig.at("bucket")).unwrap();
        let args = ["copy", "-q", "--insecure-policy", "oci:bucket:w-03", "oci:copy:w-03"];
        skopeo(&rig, &args, &[]);
        rig.fetch(&["copy"], "w-03", &[]);
    }
}

fn rig_run(rig: &Rig, args: &[&str], variables: &[(&str, &str)]) {
    rig.run(&[], args, variables).well().unwrap();
}

impl Rig {
    /// A folder of one further node, as a shard of a site.
    fn shard(&self, number: u64) -> String {
        let folder = format!("shard-{number}");
        fs::create_dir(self.at(&folder)).unwrap();
        let bytes = noise(number, 5000);
        fs::write(self.at(&folder).join("x.raw"), &bytes).unwrap();
        let file = json!({
            "path": "x.raw", "bytes": bytes.len(), "sha256": Digest::of(&bytes).to_string(),
            "own": [[5, 50]],
        });
        let mut nodes = serde_json::Map::new();
        nodes.insert(format!("s-{number}"), json!({"files": [file]}));
        let list = json!({"shard": {"index": number, "count": 4}, "nodes": nodes});
        fs::write(self.at(&folder).join("manifest.json"), list.to_string()).unwrap();
        folder
    }
}

/// Killed at any rename of an export to a folder, each node that the folder shows is whole; and the
/// next export ends well.
#[test]
fn a_killed_export_shows_no_node_that_is_not_whole() {
    if !have(&["strace"]) {
        return;
    }
    let rig = Rig::new(3);
    let mut kills = 0;
    for number in 1..60 {
        let kill = format!("inject=rename,renameat,renameat2:signal=SIGKILL:when={number}");
        let by = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &kill];
        let said = rig.run(&by, &["export", "out", "images"], &[]);
        if said.code == Some(0) {
            break;
        }
        kills += 1;
        let index = fs::read(rig.at("images/index.json")).unwrap_or_else(|_| b"{}".to_vec());
        let index: Value = serde_json::from_slice(&index).unwrap();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
            if name != "_site" {
                rig.fetch(&["images"], name, &[]);
            }
        }
        if number % 5 == 0 {
            rig.run(&[], &["export", "out", "images"], &[]).well().unwrap();
            rig.fetch(&["images"], "w-01", &[]);
        }
        if rig.at("images").exists() {
            fs::remove_dir_all(rig.at("images")).unwrap();
        }
    }
    assert!(kills >= 8, "{kills} kills");
}

/// Killed while it sends to a registry, an export leaves tags of whole nodes alone.
#[test]
fn a_killed_push_leaves_no_tag_of_half_a_node() {
    if !have(&["strace", "docker-registry"]) {
        return;
    }
    let rig = Rig::new(2);
    let server = Server::registry(&rig.at("registry")).unwrap();
    let mut whole = 0;
    for number in [1, 4, 9, 16, 25, 36, 49] {
        let place = format!("oci://{}/kill-{number}", server.host);
        let kill = format!("inject=sendto,sendmsg,write,writev:signal=SIGKILL:when={number}");
        let by = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &kill];
        rig.run(&by, &["--quiet", "export", "out", &place, "--plain-http"], &[]);
        let tags = rig
            .at(&format!("registry/docker/registry/v2/repositories/kill-{number}/_manifests/tags"));
        for entry in fs::read_dir(tags).into_iter().flatten() {
            let tag = entry.unwrap().file_name().into_string().unwrap();
            if tag != "_site" {
                rig.fetch(&[&place, "--plain-http"], &tag, &[]);
                whole += 1;
            }
        }
        rig.run(&[], &["--quiet", "export", "out", &place, "--plain-http"], &[]).well().unwrap();
        rig.fetch(&[&place, "--plain-http"], "w-02", &[]);
    }
    assert!(whole < 14, "none was killed in time");
}
