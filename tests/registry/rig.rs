//! Servers on this machine: Docker's registry, nginx, and one that goes wrong.
//!
//! In: an image made of noise. Out: their ports and what they were asked.
//!
//! Source: distribution/distribution, `docs/content/about/configuration.md`, and
//! `registry/storage/paths.go` (a registry's files).
//!
//! Not here: what the client makes of them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lab::noise::noise;
use lab::tools::{find, stdout};
use serde_json::{Value, json};
use talforge::digest::Digest;
use talforge::oci::Descriptor;
use talforge::oci::reference::Reference;
use talforge::registry::{Client, Host, Settings};
use talforge::report::progress::{Mode, Progress};
use talforge::store::Store;
use tempfile::TempDir;

/// How long a host may be silent, in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A program that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An image, and a folder for what a test needs.
pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) manifest: Vec<u8>,
}

/// The waits that a client would have waited.
pub(crate) type Waits = Arc<Mutex<Vec<Duration>>>;

impl Rig {
    /// An image of layers of these lengths.
    pub(crate) fn new(lens: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<_> = (1..).zip(lens).map(|(seed, len)| noise(seed, *len)).collect();
        let layer = |bytes: &Vec<u8>| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{}", Digest::of(bytes)),
                "size": bytes.len(),
            })
        };
        let config = b"{}".to_vec();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{}", Digest::of(&config)),
                "size": config.len(),
            },
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let rig = Self { folder, layers, manifest };
        let (blobs, manifests) = (rig.at("content/blobs"), rig.at("content/manifests"));
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&manifests).unwrap();
        for bytes in rig.layers.iter().chain([&config]) {
            fs::write(blobs.join(Digest::of(bytes).to_string()), bytes).unwrap();
        }
        fs::write(manifests.join(Digest::of(&rig.manifest).to_string()), &rig.manifest).unwrap();
        fs::write(manifests.join("v1"), &rig.manifest).unwrap();
        rig
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> Store {
        Store::at(self.at("store"))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// What the manifest says of a layer.
    pub(crate) fn layer(&self, index: usize) -> Descriptor {
        let bytes = &self.layers[index];
        Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar".into(),
            digest: Digest::of(bytes),
            len: bytes.len() as u64,
        }
    }

    pub(crate) fn all_layers(&self) -> Vec<Descriptor> {
        (0..self.layers.len()).map(|index| self.layer(index)).collect()
    }

    /// Settings that ask these hosts without TLS and wait for nothing.
    pub(crate) fn settings(&self, plain: &[&str]) -> (Settings, Waits) {
        let waits = Waits::default();
        let told = waits.clone();
        let host = Host { mirrors: Vec::new(), plain_http: true };
        let settings = Settings {
            hosts: plain.iter().map(|name| (name.to_string(), host.clone())).collect(),
            timeout: TIMEOUT,
            wait: Arc::new(move |time| told.lock().unwrap().push(time)),
            ..Settings::default()
        };
        (settings, waits)
    }

    pub(crate) fn client(&self, settings: Settings) -> Client {
        Client::new(settings, self.store(), quiet()).unwrap()
    }

    /// A client that asks this host without TLS.
    pub(crate) fn plain(&self, host: &str) -> Client {
        self.client(self.settings(&[host]).0)
    }

    /// Makes a CA and a certificate of `localhost`, and gives the CA's file.
    pub(crate) fn certificates(&self) -> PathBuf {
        let at = |name: &str| self.at(name).display().to_string();
        let (ca, ca_key, leaf, key) = (at("ca.crt"), at("ca.key"), at("tls.crt"), at("tls.key"));
        let common = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"];
        let common = [&common[..], &["ec_paramgen_curve:prime256v1", "-days", "2"]].concat();
        let own = ["-subj", "/CN=tests", "-keyout", &ca_key, "-out", &ca];
        stdout("openssl", &[&common[..], &own].concat(), self.folder.path()).unwrap();
        let of = [
            "-subj",
            "/CN=localhost",
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-keyout",
            &key,
            "-out",
            &leaf,
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        stdout("openssl", &[&common[..], &of].concat(), self.folder.path()).unwrap();
        ca.into()
    }

    /// A file of credentials as `docker login` writes it.
    pub(crate) fn login(&self, host: &str, pair: &str) -> PathBuf {
        let script = "import base64,sys;print(base64.b64encode(sys.argv[1].encode()).decode())";
        let auth = stdout("python3", &["-c", script, pair], self.folder.path()).unwrap();
        let config = json!({"auths": {host: {"auth": auth.trim()}}});
        let path = self.at("config.json");
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// The server that goes wrong; its host, and the file that tells what it was asked.
    pub(crate) fn wrong(&self, tls: bool) -> (Running, String, Log) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("registry/server.py");
        let log = self.at(if tls { "tls.log" } else { "log" });
        fs::write(&log, "").unwrap();
        let mut command = Command::new(find("python3").unwrap());
        command.arg(script).arg(self.at("content")).arg(&log).stdout(Stdio::piped());
        if tls {
            command.arg(self.at("tls.crt")).arg(self.at("tls.key"));
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        (Running(child), format!("localhost:{port}"), Log(log))
    }

    /// Docker's registry with the image in `img`, and its host. With TLS it wants to be told that
    /// it is `me` who asks, with the password `word`.
    pub(crate) fn docker_registry(&self, tls: bool) -> (Running, String) {
        let root = self.at(if tls { "registry-tls" } else { "registry" });
        self.fill(&root.join("docker/registry/v2"));
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            root.display()
        );
        if tls {
            let at = |name: &str| self.at(name).display().to_string();
            let users = at("htpasswd");
            stdout("htpasswd", &["-Bbc", &users, "me", "word"], self.folder.path()).unwrap();
            config += &format!(
                "  tls: {{certificate: \"{}\", key: \"{}\"}}\n\
                 auth: {{htpasswd: {{realm: tests, path: \"{users}\"}}}}\n",
                at("tls.crt"),
                at("tls.key")
            );
        }
        let path = root.join("config.yml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(find("docker-registry").unwrap());
        command.arg("serve").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        wait_for(port);
        (running, format!("localhost:{port}"))
    }

    /// Lays the image down as the registry would have.
    fn fill(&self, root: &Path) {
        let link = |path: String, digest: Digest| {
            let folder = root.join("repositories/img").join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("link"), format!("sha256:{digest}")).unwrap();
        };
        for bytes in self.layers.iter().chain([&b"{}".to_vec(), &self.manifest]) {
            let digest = Digest::of(bytes);
            let hex = digest.to_string();
            let folder = root.join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("data"), bytes).unwrap();
            link(format!("_layers/sha256/{hex}"), digest);
        }
        let digest = self.digest();
        link(format!("_manifests/revisions/sha256/{digest}"), digest);
        link("_manifests/tags/v1/current".into(), digest);
        link(format!("_manifests/tags/v1/index/sha256/{digest}"), digest);
    }

    /// nginx with TLS and the blobs as files below `/files/`, so many bytes a second where that is
    /// not 0; its host, and the file that tells how many bytes each answer had.
    pub(crate) fn nginx(&self, rate: u32) -> (Running, String, PathBuf) {
        let port = free_port();
        let root = self.folder.path().display();
        let log = self.at("nginx.log");
        let limit = if rate == 0 { String::new() } else { format!("limit_rate {rate};") };
        let user = match stdout("id", &["-u"], self.folder.path()).unwrap().trim() {
            "0" => "user root;",
            _ => "",
        };
        let config = format!(
            "{user} daemon off; master_process off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.err;\n\
             events {{ worker_connections 64; }}\n\
             http {{ log_format sent '$status $body_bytes_sent'; access_log {root}/nginx.log sent;\n\
             client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;\n\
             uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n\
             server {{ listen 127.0.0.1:{port} ssl; server_name localhost; ssl_certificate {root}/tls.crt;\n\
             ssl_certificate_key {root}/tls.key; {limit}\n\
             location /files/ {{ alias {root}/content/blobs/; }}\n\
             rewrite ^/old/(.*)$ https://localhost:{port}/files/$1 permanent; }} }}\n"
        );
        let path = self.at("nginx.conf");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(find("nginx").unwrap());
        command.arg("-c").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        wait_for(port);
        (running, format!("localhost:{port}"), log)
    }
}

/// What the server that goes wrong was asked.
pub(crate) struct Log(PathBuf);

impl Log {
    pub(crate) fn read(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was asked of paths with this in them.
    pub(crate) fn of(&self, part: &str) -> Vec<Value> {
        let has = |entry: &Value| entry["path"].as_str().unwrap().contains(part);
        self.read().into_iter().filter(has).collect()
    }

    /// The bytes of blobs that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.of("/blobs/").iter().map(|entry| entry["sent"].as_u64().unwrap()).sum()
    }
}

pub(crate) fn quiet() -> Progress {
    Progress::to(Mode::Quiet, Box::new(std::io::sink()), Box::new(std::io::sink()))
}

pub(crate) fn name(host: &str, repository: &str) -> Reference {
    Reference::parse(&format!("{host}/{repository}:v1")).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
fn wait_for(port: u16) {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody listens");
        std::thread::yield_now();
    }
}
