//! Credentials for registries, from the files and programs that other tools put them into.
//!
//! In: a registry's host, files. Out: a user's name and password, or an identity token.
//!
//! Source: docker/cli, `docs/reference/commandline/login.md` (`auths`, `credsStore`, `credHelpers`);
//! containers/image, `docs/containers-auth.json.5.md`; docker/docker-credential-helpers, `README.md`
//! (the programs' protocol).
//!
//! Not here: how they are sent (`auth`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pki::secret::Secret;

/// The most bytes of a file of credentials, and of what a program says.
const LIMIT: u64 = 1 << 20;
/// How long a program may take: it may ask its user for a password.
const PATIENCE: Duration = Duration::from_secs(120);
/// Docker Hub's name in files of credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What a registry takes.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// Where they come from, for messages.
    pub(super) from: String,
    /// What they are.
    pub(super) kind: Kind,
}

/// The two kinds that there are.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A user's name and password.
    Basic {
        /// The name.
        user: Secret,
        /// The password.
        password: Secret,
    },
    /// An OAuth 2 refresh token.
    Identity(Secret),
}

/// A file of credentials, as Docker and Podman write it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
}

/// Where credentials are, the first that has some for a host being right.
pub(super) fn files(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = path("HOME");
    let docker = path("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let auth_json = |folder: PathBuf| folder.join("containers/auth.json");
    [
        path("REGISTRY_AUTH_FILE"),
        docker.map(|folder| folder.join("config.json")),
        path("XDG_RUNTIME_DIR").map(auth_json),
        config.map(auth_json),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The credentials for a repository on a host, if any file has some.
///
/// # Errors
///
/// What is wrong with a file or program, without what is in it.
pub(super) fn find(
    files: &[PathBuf],
    host: &str,
    repository: &str,
) -> Result<Option<Credentials>, String> {
    for path in files {
        let Some(config) = read(path)? else { continue };
        if let Some(found) = look(&config, path, host, repository)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<Config>, String> {
    let shown = path.display();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("`{shown}` cannot be read: {error}")),
    };
    let mut text = Zeroizing::new(Vec::new());
    let length = file.take(LIMIT + 1).read_to_end(&mut text);
    let length = length.map_err(|error| format!("`{shown}` cannot be read: {error}"))? as u64;
    if length > LIMIT {
        return Err(format!("`{shown}` is longer than a file of credentials"));
    }
    // What the parser says may show a value.
    let config = serde_json::from_slice(&text);
    let config = config.map_err(|e| format!("`{shown}` is no such JSON from line {}", e.line()))?;
    Ok(Some(config))
}

fn look(
    config: &Config,
    path: &Path,
    host: &str,
    repository: &str,
) -> Result<Option<Credentials>, String> {
    let is_hub = matches!(host, "docker.io" | "registry-1.docker.io" | "index.docker.io");
    let names =
        |key: &str, wanted: &str| bare(key) == wanted || (is_hub && bare(key) == "index.docker.io");
    if let Some((key, program)) = config.cred_helpers.iter().find(|(key, _)| names(key, host)) {
        return ask(program, key, path);
    }
    // `host/a/b`, `host/a`, `host`: the longest is right.
    let mut wanted = format!("{host}/{repository}");
    loop {
        if let Some((key, entry)) = config.auths.iter().find(|(key, _)| names(key, &wanted)) {
            let from = format!("`{}`, under `{}`", path.display(), bare(key));
            if let Some(kind) = entry.kind().map_err(|why| format!("{from}, {why}"))? {
                return Ok(Some(Credentials { from, kind }));
            }
        }
        match wanted.rfind('/') {
            Some(at) => wanted.truncate(at),
            None => break,
        }
    }
    match &config.creds_store {
        Some(program) if !program.is_empty() => {
            ask(program, if is_hub { DOCKER_HUB } else { host }, path)
        }
        _ => Ok(None),
    }
}

/// A key without the parts that say nothing: `https://ghcr.io/v2/` is `ghcr.io`.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key)
}

impl Entry {
    fn kind(&self) -> Result<Option<Kind>, &'static str> {
        let full = |text: &&Zeroizing<String>| !text.is_empty();
        let secret = |text: &str| Secret::new(text.to_owned());
        if let Some(token) = self.identitytoken.as_ref().filter(full) {
            return Ok(Some(Kind::Identity(secret(token))));
        }
        if let Some(auth) = self.auth.as_ref().filter(full) {
            let bytes = STANDARD.decode(auth.as_bytes()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| "has an `auth` that is no Base64")?;
            let text = std::str::from_utf8(&bytes).map_err(|_| "has an `auth` that is no text")?;
            let (user, password) =
                text.split_once(':').ok_or("has an `auth` that is no `user:password`")?;
            // Docker itself has written NULs after passwords.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Kind::Basic { user: secret(user), password: secret(password) }));
        }
        match (&self.username, &self.password) {
            (Some(user), Some(password)) if !user.is_empty() => {
                Ok(Some(Kind::Basic { user: secret(user), password: secret(password) }))
            }
            _ => Ok(None),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    username: Zeroizing<String>,
    secret: Zeroizing<String>,
}

/// Asks a credential helper. Its name is part of a program's name and no path.
fn ask(name: &str, server: &str, path: &Path) -> Result<Option<Credentials>, String> {
    let program = format!("docker-credential-{name}");
    let from = format!("`{program}`, which `{}` names", path.display());
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(byte) {
        return Err(format!("`{}` names a program that cannot be one", path.display()));
    }
    let (said, is_ok) = run(&program, server).map_err(|why| format!("{from}, {why}"))?;
    if !is_ok {
        // The protocol's own words, on standard output.
        let text = String::from_utf8_lossy(&said);
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(format!("{from}, does not give them")),
        };
    }
    let told: Told = serde_json::from_slice(&said)
        .map_err(|_| format!("{from}, says something else than credentials"))?;
    let secret = Secret::new(told.secret.to_string());
    let kind = match told.username.as_str() {
        "<token>" => Kind::Identity(secret),
        user => Kind::Basic { user: Secret::new(user.to_owned()), password: secret },
    };
    Ok(Some(Credentials { from, kind }))
}

/// Runs `program get` and gives what it said and whether it went well.
fn run(program: &str, server: &str) -> Result<(Zeroizing<Vec<u8>>, bool), &'static str> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|_| "cannot be started")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    if let Some(mut stdin) = stdin {
        // A program that ends without reading says so by its exit code.
        let _ = stdin.write_all(server.as_bytes());
    }
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Zeroizing::new(Vec::new());
        let read = stdout.map(|out| out.take(LIMIT).read_to_end(&mut said));
        // Nobody waits any more where it took too long.
        let _ = sender.send(read.map(|read| read.map(|_| said)));
    });
    let said = receiver.recv_timeout(PATIENCE);
    if said.is_err() {
        // It is gone already, then.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|_| "cannot be waited for")?;
    let said = said.map_err(|_| "takes too long")?;
    // It has sent what we got; there is nothing left that could fail.
    let _ = reader.join();
    match said {
        Some(Ok(said)) => Ok((said, status.success())),
        _ => Err("cannot be read from"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, host: &str, repository: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let found = find(&[folder.path().join("none"), path], host, repository)?;
        Ok(found.map(|found| match found.kind {
            Kind::Basic { user, password } => format!("{} {}", user.reveal(), password.reveal()),
            Kind::Identity(token) => format!("token {}", token.reveal()),
        }))
    }

    #[test]
    fn credentials_are_found_under_all_the_names_that_tools_write() {
        let auth = STANDARD.encode("me:my:word");
        for key in
            ["r.io:5000", "https://r.io:5000", "https://r.io:5000/v2/", "http://r.io:5000/v1/"]
        {
            let config = format!("{{\"auths\":{{\"{key}\":{{\"auth\":\"{auth}\"}}}}}}");
            assert_eq!(found(&config, "r.io:5000", "a/b"), Ok(Some("me my:word".into())), "{key}");
            for host in ["r.io", "x.r.io:5000", "r.io:5001"] {
                assert_eq!(found(&config, host, "a/b"), Ok(None));
            }
        }
        let hub = format!("{{\"auths\":{{\"{DOCKER_HUB}\":{{\"auth\":\"{auth}\"}}}}}}");
        assert_eq!(found(&hub, "docker.io", "library/a"), Ok(Some("me my:word".into())));
        let config = r#"{"auths":{"r.io":{"username":"a","password":"b"},"r.io/x":{"identitytoken":"t"},"e":{}}}"#;
        assert_eq!(found(config, "r.io", "y/z"), Ok(Some("a b".into())));
        assert_eq!(found(config, "r.io", "x/z"), Ok(Some("token t".into())));
        assert_eq!(found(config, "e", "x"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_in_it() {
        for config in [
            r#"{"auths":{"r.io":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r.io":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r.io":"hunter2"}}"#,
            r#"{"auths":{"r.io":{"auth":["hunter2"]}}}"#,
            r#"hunter2"#,
            r#"{"credHelpers":{"r.io":"../hunter2"}}"#,
            r#"{"credsStore":"no-such-helper-here"}"#,
        ] {
            let error = found(config, "r.io", "a").unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("config.json"), "{error}");
        }
    }

    #[test]
    fn files_are_looked_for_where_docker_and_podman_put_them() {
        let with = |pairs: &'static [(&str, &str)]| {
            let files = files(&move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            });
            files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let home = with(&[("HOME", "/h")]);
        assert_eq!(home, ["/h/.docker/config.json", "/h/.config/containers/auth.json"]);
        let all = with(&[
            ("REGISTRY_AUTH_FILE", "/a"),
            ("DOCKER_CONFIG", "/d"),
            ("XDG_RUNTIME_DIR", "/r"),
        ]);
        assert_eq!(all, ["/a", "/d/config.json", "/r/containers/auth.json"]);
        assert_eq!(with(&[]), Vec::<String>::new());
    }
}
