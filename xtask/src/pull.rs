//! Pulling an image, against `curl` of the same blobs and `sha256sum` of what it wrote.
//!
//! In: layers that do not compress, in Docker's registry on this machine. Out: times and memory.
//!
//! Source: OCI Distribution Specification 1.1, "Pushing Blobs".
//!
//! Not here: pulling when something goes wrong (`tests`).

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::noise::noise;
use lab::tools;
use serde_json::json;
use talforge::digest::Digest;

use crate::bench::{Row, clear, least, mib, timed, watched};

/// The layers of the image.
const LAYERS: u64 = 4;
/// The bytes of each.
const LAYER: usize = 125_000_000;
/// How long the registry may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A registry, which ends with this.
struct Registry {
    child: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures it.
pub(crate) fn rows(root: &Path, folder: &Path) -> Result<Vec<Row>> {
    let folder = folder.join("pull");
    fs::create_dir_all(&folder)?;
    let puller = puller(root)?;
    let registry = registry(&folder)?;
    let digests = push(&registry.host, &folder)?;
    let (store, mut memory) = (folder.join("store"), 0);
    let pull = least(|| {
        clear(&store)?;
        let mut command = Command::new(&puller);
        command.arg(&store).arg(format!("{}/img:v1", registry.host)).arg(&registry.host);
        let (time, peak) = watched(command.stdout(Stdio::null()))?;
        memory = memory.max(peak);
        Ok(time)
    })?;
    clear(&store)?;
    let out = folder.join("out");
    let url = |digest: &Digest| format!("http://{}/v2/img/blobs/sha256:{digest}", registry.host);
    let peer = |options: &str| {
        let gets = digests.iter().map(|digest| format!("-o {digest} {}", url(digest)));
        let gets = gets.collect::<Vec<_>>().join(" ");
        let script = format!("curl -sf {options} {gets} 2>/dev/null && sha256sum * >/dev/null");
        least(|| {
            clear(&out)?;
            fs::create_dir_all(&out)?;
            timed(Command::new("sh").args(["-c", &script]).current_dir(&out))
        })
    };
    let (single, parallel) = (peer("")?, peer("--parallel")?);
    clear(&folder)?;
    let (pull, single, parallel) =
        (pull.as_secs_f64(), single.as_secs_f64(), parallel.as_secs_f64());
    Ok(vec![
        Row::new("500 MB in 4 layers from a registry: pulled, hashed", pull, "s"),
        Row::new("  curl of them, then sha256sum", single, "s"),
        Row::new("  curl --parallel of them, then sha256sum", parallel, "s"),
        Row::new("  pull / the faster of both", pull / single.min(parallel), "×").at_most(1.25),
        Row::new("  peak memory", mib(memory), "MiB").at_most(64.0),
    ])
}

/// Builds the program that pulls and does nothing else.
fn puller(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build =
        ["build", "--release", "--quiet", "--locked", "--package", "lab", "--bin", "puller"];
    let status = Command::new(cargo).args(build).current_dir(root).status()?;
    ensure!(status.success(), "`cargo {}`: {status}", build.join(" "));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/puller"))
}

/// Starts Docker's registry in a folder.
fn registry(folder: &Path) -> Result<Registry> {
    let program = tools::find("docker-registry").context("`docker-registry` is not installed")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = format!(
        "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\n\
         storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        folder.join("registry").display()
    );
    let path = folder.join("config.yml");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let registry = Registry { child: command.spawn()?, host: format!("127.0.0.1:{port}") };
    let begin = Instant::now();
    while TcpStream::connect(&registry.host).is_err() {
        ensure!(begin.elapsed() < PATIENCE, "the registry does not listen");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(registry)
}

/// Pushes an image of noise as `img:v1`; gives its layers' digests.
fn push(host: &str, folder: &Path) -> Result<Vec<Digest>> {
    let blob = |bytes: &[u8]| -> Result<Digest> {
        let digest = Digest::of(bytes);
        let upload = ["-sf", "-X", "POST", "-o", "/dev/null", "-w", "%header{location}"];
        let start = format!("http://{host}/v2/img/blobs/uploads/");
        let place = tools::stdout("curl", &[&upload[..], &[&start]].concat(), folder)?;
        let place = format!("{}&digest=sha256:{digest}", place.trim());
        fs::write(folder.join("blob"), bytes)?;
        tools::stdout("curl", &["-sf", "-T", "blob", &place], folder)?;
        Ok(digest)
    };
    let layers = (0..LAYERS).map(|seed| blob(&noise(seed, LAYER))).collect::<Result<Vec<_>>>()?;
    let config = blob(b"{}")?;
    let descriptor = |digest: &Digest, len: usize| {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": len})
    };
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(&config, 2),
        "layers": layers.iter().map(|digest| descriptor(digest, LAYER)).collect::<Vec<_>>(),
    });
    fs::write(folder.join("blob"), manifest.to_string())?;
    let (kind, place) =
        (format!("Content-Type: {kind}"), format!("http://{host}/v2/img/manifests/v1"));
    tools::stdout("curl", &["-sf", "-H", &kind, "-T", "blob", &place], folder)?;
    Ok(layers)
}
