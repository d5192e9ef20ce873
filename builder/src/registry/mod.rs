//! Bytes from registries and web servers.
//!
//! Whatever is fetched has a digest: that of the reference, of the manifest that names it, or the
//! one that it is found to have, which is then told. It goes into the store under that, and comes
//! from the store from then on.
//!
//! A host is asked by TLS; without it only where the settings say so. A mirror is asked before the
//! host that it mirrors, and what each said is in the error. Credentials are sent to the host that
//! they are for and nowhere else.
//!
//! In: references, digests, URLs; bytes to be sent. Out: verified blobs in the store.
//!
//! Source: OCI Distribution Specification 1.1; RFC 9110; Amazon S3's API reference.
//!
//! Not here: what the bytes mean (`oci`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::Proxy;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::oci::reference::Reference;
use crate::oci::{Content, Descriptor, Unavailable};
use crate::parallel;
use crate::pki::secret::Secret;
use crate::registry::auth::Work;
use crate::registry::error::{Attempt, RegistryError, Trouble};
use crate::registry::http::{Fail, Web};
use crate::registry::manifest::MANIFESTS;
use crate::registry::transfer::{Gate, Request};
use crate::registry::url::Url;
use crate::report::progress::Progress;
use crate::store::{Download, Store, StoreError};

mod auth;
pub mod aws;
pub mod bucket;
mod credentials;
pub mod error;
mod http;
mod manifest;
mod push;
mod sigv4;
mod transfer;
mod url;

/// The blobs that are fetched at once.
const CONNECTIONS: usize = 4;
/// The most bytes of a manifest or an index: OCI Distribution Specification 1.1, "Pushing
/// manifests", has registries take 4 MiB at least, and none takes more.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// The most bytes of any other content.
const LIMIT: u64 = 16 << 30;
/// The records that tell where a blob is from.
pub const ORIGIN: &str = "origin";
/// The records that tell what a tag last meant, under the digest of the reference's text.
const TAG: &str = "tag";
/// The records that tell what a URL last gave, under the digest of the URL.
const URL: &str = "url";

/// How a registry is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Who is asked before it: `mirror.lan:5000`, or `harbor.lan/ghcr` where it mirrors below a path.
    pub mirrors: Vec<String>,
    /// Whether it is asked without TLS, where anybody on the way can read along.
    pub plain_http: bool,
}

/// What is done about a wait: the thread rests, unless a test says otherwise.
pub type Wait = Arc<dyn Fn(Duration) + Send + Sync>;

/// Whether anything may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// What is not in the store is fetched.
    Online,
    /// What is not in the store is an error.
    Offline {
        /// The command that fetches it, for the error.
        command: String,
    },
}

/// How hosts are asked.
#[derive(Clone)]
pub struct Settings {
    /// Registries and mirrors that are not asked the usual way, by host and port.
    pub hosts: BTreeMap<String, Host>,
    /// Files of credentials; the first that has some for a host is right. Those that are not there
    /// have none.
    pub credential_files: Vec<PathBuf>,
    /// A file of the CAs that are trusted, in place of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Who is asked to ask.
    pub proxy: Option<Proxy>,
    /// How long a host may be silent.
    pub timeout: Duration,
    /// How waits between tries are waited.
    pub wait: Wait,
    /// Whether anything may be fetched.
    pub network: Network,
}

impl Settings {
    /// The settings that the environment has: `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`,
    /// `SSL_CERT_FILE`, and `HTTPS_PROXY` and its like, which are read as the process has them.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let ca_file = variable("SSL_CERT_FILE").filter(|value| !value.is_empty());
        Self {
            credential_files: credentials::files(variable),
            ca_file: ca_file.map(PathBuf::from),
            proxy: Proxy::try_from_env(),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    /// No credentials, no proxy, the machine's own CAs, half a minute.
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            credential_files: Vec::new(),
            ca_file: None,
            proxy: None,
            timeout: Duration::from_secs(30),
            wait: Arc::new(std::thread::park_timeout),
            network: Network::Online,
        }
    }
}

/// Without the proxy, which may have a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hosts", &self.hosts)
            .field("timeout", &self.timeout)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// Fetches into a store.
pub struct Client {
    settings: Settings,
    store: Store,
    progress: Progress,
    web: Web,
    /// Values of `Authorization`, by host and repository.
    tokens: Mutex<BTreeMap<(String, String), Secret>>,
}

/// Without its tokens.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.settings)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// A registry or a mirror of it.
#[derive(Debug)]
struct Endpoint {
    /// The host with its port, as credentials are kept under it.
    host: String,
    /// What its `/v2/` is.
    base: Url,
    /// The path below that which it mirrors under: `ghcr/`, or nothing.
    prefix: String,
}

impl Endpoint {
    /// What it calls a repository.
    fn repository(&self, name: &Reference) -> String {
        format!("{}{}", self.prefix, name.repository())
    }

    fn at(&self, repository: &str, kind: &str, name: &str) -> Result<Url, Trouble> {
        let url = self.base.join(&format!("{repository}/{kind}/{name}"));
        url.map_err(|_| Trouble::Answer("a name that makes no URL"))
    }
}

impl Client {
    /// A client. Nothing is read or asked before it has something to do.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Url`] where a mirror of the settings is no host.
    pub fn new(
        settings: Settings,
        store: Store,
        progress: Progress,
    ) -> Result<Self, RegistryError> {
        let plain = settings.hosts.iter().filter(|(_, host)| host.plain_http);
        let plain = plain.map(|(name, _)| name.to_ascii_lowercase()).collect();
        let (ca_file, proxy) = (settings.ca_file.clone(), settings.proxy.clone());
        let web = Web::new(ca_file, proxy, plain, settings.timeout);
        let client = Self { settings, store, progress, web, tokens: Mutex::default() };
        for name in client.settings.hosts.keys() {
            client.endpoints(name)?;
        }
        Ok(client)
    }

    /// What a reference means: its manifest or index, which is in the store then. Where the
    /// reference has no digest a registry is asked each time.
    ///
    /// # Errors
    ///
    /// Where the manifest cannot be had.
    pub fn resolve(&self, name: &Reference) -> Result<Descriptor, RegistryError> {
        if let Some(digest) = name.digest()
            && let Some(blob) = self.store.get(digest)?
            && let Some(found) = manifest::descriptor(&blob, digest)
        {
            return Ok(found);
        }
        let key = Digest::of(name.to_string().as_bytes());
        if let Network::Offline { command } = &self.settings.network {
            let record = self.store.record(TAG, key)?;
            let digest = record.and_then(|text| digest_of(&text));
            if let Some(digest) = digest
                && let Some(blob) = self.store.get(digest)?
                && let Some(found) = manifest::descriptor(&blob, digest)
            {
                return Ok(found);
            }
            return Err(offline(name, command));
        }
        let wanted = name.tag().unwrap_or_default();
        let wanted = name.digest().map_or(wanted.to_owned(), |digest| format!("sha256:{digest}"));
        self.each(&name.to_string(), &self.endpoints(name.registry())?, |endpoint| {
            let found = self.manifest(endpoint, name, &wanted, name.digest(), None)?;
            if name.digest().is_none() {
                self.store.keep_record(TAG, key, format!("sha256:{}", found.digest).as_bytes())?;
            }
            Ok(found)
        })
    }

    /// An image's content: manifests and blobs by digest, from the store, or else fetched into it.
    pub fn image<'a>(&'a self, name: &Reference) -> impl Content + 'a {
        Image { client: self, name: name.clone() }
    }

    /// Several blobs of an image, some at a time, in their order. The first that cannot be had ends
    /// it; what was fetched by then stays.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be had.
    pub fn fetch_all(
        &self,
        name: &Reference,
        wanted: &[Descriptor],
    ) -> Result<Vec<Blob>, RegistryError> {
        parallel::try_in_order(CONNECTIONS, wanted, |descriptor| self.content(name, descriptor))
    }

    /// A file of a web server. With a digest it comes from the store if it is there; without one it
    /// is fetched, and its digest told.
    ///
    /// # Errors
    ///
    /// Where it cannot be had, or has another digest.
    pub fn file(&self, url: &str, wanted: Option<Digest>) -> Result<(Digest, Blob), RegistryError> {
        let key = Digest::of(url.as_bytes());
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let place = Url::parse(url).map_err(|why| {
            let url = if shown.contains('@') { "the URL" } else { shown };
            RegistryError::Url { url: url.to_owned(), why }
        })?;
        let is_online = self.settings.network == Network::Online;
        let known = match wanted {
            None if !is_online => self.store.record(URL, key)?.and_then(|text| digest_of(&text)),
            other => other,
        };
        if let Some(digest) = known
            && let Some(blob) = self.store.get(digest)?
        {
            return Ok((digest, blob));
        }
        if let Network::Offline { command } = &self.settings.network {
            return Err(offline(&place, command));
        }
        let request = Request {
            label: place.file_name().to_owned(),
            gate: Gate::Open,
            digest: wanted,
            len: None,
            limit: LIMIT,
            accept: "*/*",
            url: place.clone(),
        };
        let endpoint = Endpoint { host: place.host(), base: place.clone(), prefix: String::new() };
        let (digest, blob) =
            self.each(&place.to_string(), &[endpoint], |_| self.fetch(&request))?;
        self.store.keep_record(ORIGIN, digest, place.to_string().as_bytes())?;
        self.store.keep_record(URL, key, format!("sha256:{digest}").as_bytes())?;
        Ok((digest, blob))
    }

    /// A manifest or a blob of an image.
    fn content(&self, name: &Reference, wanted: &Descriptor) -> Result<Blob, RegistryError> {
        let digest = wanted.digest;
        let shown = format!("{}/{}@sha256:{digest}", name.registry(), name.repository());
        let blob = match (self.store.get(digest)?, &self.settings.network) {
            (Some(blob), _) => blob,
            (None, Network::Offline { command }) => return Err(offline(&shown, command)),
            (None, Network::Online) => {
                let endpoints = self.endpoints(name.registry())?;
                self.each(&shown, &endpoints, |endpoint| self.ask_for(endpoint, name, wanted))?
            }
        };
        match blob.len() {
            len if len == wanted.len => Ok(blob),
            found => Err(RegistryError::Length { what: shown, wanted: wanted.len, found }),
        }
    }

    fn ask_for(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        wanted: &Descriptor,
    ) -> Result<Blob, Fail> {
        let digest = wanted.digest;
        let text = format!("sha256:{digest}");
        if manifest::is_manifest(&wanted.media_type) {
            self.manifest(endpoint, name, &text, Some(digest), Some(wanted.len))?;
            let blob = self.store.get(digest)?;
            return Ok(blob.ok_or(Trouble::Answer("a manifest that is gone again"))?);
        }
        if wanted.len > LIMIT {
            return Err(Trouble::TooLong(LIMIT).into());
        }
        let short = name.repository().rsplit('/').next().unwrap_or_default();
        let repository = endpoint.repository(name);
        let request = Request {
            url: endpoint.at(&repository, "blobs", &text)?,
            gate: Gate::Registry(&endpoint.host, Work::Pull(&repository)),
            digest: Some(digest),
            len: Some(wanted.len),
            limit: LIMIT,
            accept: "*/*",
            label: format!("{short} {}", &digest.to_string()[..12]),
        };
        let (_, blob) = self.fetch(&request)?;
        self.keep_origin(digest, name)?;
        Ok(blob)
    }

    /// Fetches a manifest into the store.
    fn manifest(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        asked: &str,
        digest: Option<Digest>,
        len: Option<u64>,
    ) -> Result<Descriptor, Fail> {
        let repository = endpoint.repository(name);
        let request = Request {
            url: endpoint.at(&repository, "manifests", asked)?,
            gate: Gate::Registry(&endpoint.host, Work::Pull(&repository)),
            digest,
            len,
            limit: MANIFEST_LIMIT,
            accept: MANIFESTS,
            label: String::new(),
        };
        let mut is_second = false;
        let (short, found) = loop {
            let short = self.short(&request)?;
            let found = Digest::of(&short.bytes);
            if digest.or(short.said).is_none_or(|wanted| wanted == found) {
                break (short, found);
            }
            if is_second {
                return Err(Trouble::Digest(found).into());
            }
            is_second = true;
        };
        let media_type = manifest::media_type(&short.bytes, short.media_type.as_deref());
        let media_type = media_type.ok_or(Trouble::Answer("no manifest"))?;
        let mut incoming = self.store.incoming()?;
        incoming.append(&short.bytes)?;
        let (digest, blob) = incoming.finish(Some(found))?;
        self.keep_origin(digest, name)?;
        Ok(Descriptor { media_type, digest, len: blob.len() })
    }

    /// Fetches one content from one place, and once more from its start where what came is wrong.
    fn fetch(&self, request: &Request) -> Result<(Digest, Blob), Fail> {
        let mut is_second = false;
        loop {
            let mut incoming = match request.digest {
                Some(digest) => match self.claim(digest, request)? {
                    Download::Found(blob) => return Ok((digest, blob)),
                    Download::Partial(incoming) => incoming,
                },
                None => self.store.incoming()?,
            };
            let trouble = match self.pull(request, &mut incoming) {
                Ok(task) => match incoming.finish(None) {
                    Ok(found) => {
                        if let Some(task) = task {
                            task.done("fetched");
                        }
                        return Ok(found);
                    }
                    Err(StoreError::Digest { found, .. }) => Trouble::Digest(found),
                    Err(error) => return Err(error.into()),
                },
                Err(Fail::Trouble(trouble @ (Trouble::Length { .. } | Trouble::TooLong(_)))) => {
                    incoming.restart()?;
                    trouble
                }
                Err(fail) => return Err(fail),
            };
            if is_second {
                return Err(trouble.into());
            }
            is_second = true;
        }
    }

    fn claim(&self, digest: Digest, request: &Request) -> Result<Download, StoreError> {
        let waiting = || {
            let label = &request.label;
            self.progress.note(&format!("{label}: another build fetches it; waiting"));
        };
        self.store.download(digest, request.len, &waiting)
    }

    fn keep_origin(&self, digest: Digest, name: &Reference) -> Result<(), StoreError> {
        let origin = match (name.tag(), name.registry(), name.repository()) {
            (Some(tag), registry, repository) => format!("{registry}/{repository}:{tag}"),
            (None, registry, repository) => format!("{registry}/{repository}"),
        };
        self.store.keep_record(ORIGIN, digest, origin.as_bytes())
    }

    /// Asks one after another until one has it.
    fn each<T>(
        &self,
        what: &str,
        endpoints: &[Endpoint],
        ask: impl Fn(&Endpoint) -> Result<T, Fail>,
    ) -> Result<T, RegistryError> {
        let mut tried = Vec::new();
        for endpoint in endpoints {
            match ask(endpoint) {
                Ok(found) => return Ok(found),
                Err(Fail::Trouble(trouble)) => {
                    tried.push(Attempt { host: endpoint.host.clone(), trouble });
                }
                Err(Fail::Local(error)) => return Err(error),
            }
        }
        Err(RegistryError::Unavailable { what: what.to_owned(), tried })
    }

    /// Who is asked for a registry's content, in order.
    fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
        // Docker Hub's name in references is not that of its registry.
        let own = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let mirrors = self.settings.hosts.get(registry).map(|host| host.mirrors.as_slice());
        let names = mirrors.unwrap_or_default().iter().map(String::as_str).chain([own]);
        names.map(|name| self.endpoint(name)).collect()
    }

    fn endpoint(&self, name: &str) -> Result<Endpoint, RegistryError> {
        let (host, prefix) = name.split_once('/').unwrap_or((name, ""));
        let is_plain = self.settings.hosts.get(host).is_some_and(|host| host.plain_http);
        let scheme = if is_plain { "http" } else { "https" };
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let wrong = |why| {
            let url = if name.contains('@') { "a mirror" } else { name };
            RegistryError::Url { url: url.to_owned(), why }
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]/".contains(&byte);
        if host.is_empty() || !name.bytes().all(is_name) {
            return Err(wrong("it is no host with a path"));
        }
        let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(wrong)?;
        Ok(Endpoint { host: host.to_owned(), base, prefix })
    }
}

/// An image in a registry.
#[derive(Debug)]
struct Image<'a> {
    client: &'a Client,
    name: Reference,
}

impl Content for Image<'_> {
    fn get(&self, wanted: &Descriptor) -> Result<Blob, Unavailable> {
        let blob = self.client.content(&self.name, wanted);
        blob.map_err(|error| Unavailable(Box::new(error)))
    }
}

fn offline(what: &impl fmt::Display, command: &str) -> RegistryError {
    RegistryError::Offline { what: what.to_string(), command: command.to_owned() }
}

/// The digest that a record is.
fn digest_of(text: &[u8]) -> Option<Digest> {
    std::str::from_utf8(text).ok()?.strip_prefix("sha256:")?.parse().ok()
}
