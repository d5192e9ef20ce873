//! Servers on this machine: Docker's registry and nginx.
//!
//! In: a folder. Out: hosts that answer until the test ends.
//!
//! Source: distribution/distribution, `docs/content/about/configuration.md`; nginx' documentation.
//!
//! Not here: what they are asked.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::tools;

/// The programs that these need.
pub const TOOLS: [&str; 4] = ["docker-registry", "nginx", "openssl", "skopeo"];

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
