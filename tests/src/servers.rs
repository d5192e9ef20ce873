//! Servers on this machine: Docker's registry, nginx, and an S3-compatible store.
//!
//! In: a folder. Out: hosts that answer until the test ends.
//!
//! Source: distribution/distribution, `docs/content/about/configuration.md`; nginx' documentation;
//! versity/versitygw, `README.md`.
//!
//! Not here: what they are asked.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::tools;

/// The programs that these need.
pub const TOOLS: [&str; 4] = ["docker-registry", "nginx", "openssl", "skopeo"];

/// The store that is built, as its Go module and version.
const S3: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// The key that it takes, and its secret.
pub const S3_KEY: (&str, &str) = ("tests", "not-secret-at-all");

/// A program that ends with the test.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it is: `localhost:PORT`.
    pub host: String,
    _running: Running,
}

impl Server {
    fn start(mut command: Command, port: u16) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running(command.spawn()?);
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = running.0.try_wait()?;
            ensure!(ended.is_none(), "a server ended: {ended:?}");
            ensure!(begin.elapsed() < Duration::from_secs(60), "nobody listens");
            std::thread::yield_now();
        }
        Ok(Self { host: format!("localhost:{port}"), _running: running })
    }

    /// Docker's registry, without TLS, with its files in a folder. It is found where it was when it
    /// is started on the same folder again.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn registry(root: &Path) -> Result<Self> {
        let before = root.join("port");
        let port = match fs::read_to_string(&before) {
            Ok(text) => text.parse()?,
            Err(_) => free_port()?,
        };
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            root.display()
        );
        fs::create_dir_all(root)?;
        fs::write(before, port.to_string())?;
        let path = root.join("config.yml");
        fs::write(&path, config)?;
        let mut command = Command::new(tools::find("docker-registry").context("the registry")?);
        command.arg("serve").arg(path);
        Self::start(command, port)
    }

    /// Docker's registry with TLS, which wants to be told that it is `me` who asks, with the password
    /// `word`; with its files in a folder; and the file of the CA to trust.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn guarded(root: &Path, work: &Path) -> Result<(Self, PathBuf)> {
        let ca = certificates(work)?;
        let port = free_port()?;
        let users = work.join("htpasswd").display().to_string();
        tools::stdout("htpasswd", &["-Bbc", &users, "me", "word"], work)?;
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", tls: {{certificate: \"{1}/tls.crt\", key: \"{1}/tls.key\"}}}}\n\
             auth: {{htpasswd: {{realm: tests, path: \"{users}\"}}}}\n",
            root.display(),
            work.display(),
        );
        let path = work.join("registry.yml");
        fs::write(&path, config)?;
        let mut command = Command::new(tools::find("docker-registry").context("the registry")?);
        command.arg("serve").arg(path);
        Ok((Self::start(command, port)?, ca))
    }

    /// An S3-compatible store whose buckets are the folders in `root`; it takes [`S3_KEY`].
    ///
    /// # Errors
    ///
    /// Where it cannot be built, or does not start.
    pub fn s3(root: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(versitygw()?);
        // Its memory of objects is beside them: not all file systems have extended attributes.
        let side = root.with_file_name("s3-side");
        fs::create_dir_all(&side)?;
        command.args(["--quiet", "--port", &format!("127.0.0.1:{port}"), "posix", "--sidecar"]);
        command.arg(side).arg(root);
        command.env("ROOT_ACCESS_KEY", S3_KEY.0).env("ROOT_SECRET_KEY", S3_KEY.1);
        Self::start(command, port)
    }

    /// Puts an image of an OCI layout into a registry, and gives its digest.
    ///
    /// # Errors
    ///
    /// Where `skopeo` fails.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> Result<String> {
        let from = format!("oci:{}:{tag}", layout.display());
        let into = format!("docker://{}/{name}", self.host);
        let args = ["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &into];
        tools::stdout("skopeo", &args, Path::new("/"))?;
        let args = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &into];
        Ok(tools::stdout("skopeo", &args, Path::new("/"))?.trim().to_owned())
    }

    /// nginx with TLS, and the files of a folder; and the file of the CA to trust.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn files(folder: &Path, work: &Path) -> Result<(Self, PathBuf)> {
        let ca = certificates(work)?;
        let port = free_port()?;
        let (root, files) = (work.display(), folder.display());
        let user = match tools::stdout("id", &["-u"], work)?.trim() {
            "0" => "user root;",
            _ => "",
        };
        let config = format!(
            "{user} daemon off; master_process off; worker_processes 1;\n\
             pid {root}/nginx.pid; error_log {root}/nginx.err;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;\n\
             fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n\
             server {{ listen 127.0.0.1:{port} ssl; server_name localhost;\n\
             ssl_certificate {root}/tls.crt; ssl_certificate_key {root}/tls.key;\n\
             location / {{ root {files}; }} }} }}\n"
        );
        let path = work.join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = Command::new(tools::find("nginx").context("nginx")?);
        command.arg("-c").arg(path);
        Ok((Self::start(command, port)?, ca))
    }
}

/// The store's program: the machine's, or one that Go builds into the target folder, once.
fn versitygw() -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    if let Some(path) = tools::find("versitygw") {
        return Ok(path);
    }
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).context("a test lies in `<target>/<profile>/deps`")?;
    let folder = target.join("tools");
    let path = folder.join("versitygw");
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&folder)?;
    let mut go = Command::new(tools::find("go").context("Go builds the store")?);
    go.args(["install", S3]).env("GOBIN", &folder).env("CGO_ENABLED", "0");
    // Debian's Go may be older than the store wants it.
    let out = go.env("GOTOOLCHAIN", "auto").output()?;
    ensure!(out.status.success(), "{S3}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(path)
}

/// Makes a CA and a certificate of `localhost`, and gives the CA's file.
fn certificates(work: &Path) -> Result<PathBuf> {
    let run = |text: &str| {
        let head = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2";
        let args: Vec<_> = head.split(' ').chain(text.split(' ')).collect();
        tools::stdout("openssl", &args, work)
    };
    run("-subj /CN=tests -keyout ca.key -out ca.crt")?;
    run("-subj /CN=localhost -CA ca.crt -CAkey ca.key -keyout tls.key -out tls.crt \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE")?;
    Ok(work.join("ca.crt"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
