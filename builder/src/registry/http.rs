//! Questions and answers over HTTP, redirects included.
//!
//! In: a question: a method, a URL, headers, what is sent, credentials for its host alone. Out: an
//! answer, or what went wrong.
//!
//! Source: RFC 9110, §15.4 (redirects), §10.2.3 (`Retry-After`); the protocol itself is the crate
//! `ureq`, TLS is `rustls` with the machine's own certificates.
//!
//! Not here: which credentials (`auth`), and asking again (`transfer`).

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, HeaderName};
use ureq::http::{HeaderValue, Method, Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, BodyReader, Proxy, Timeout};
use zeroize::Zeroizing;

use crate::pki::secret::Secret;
use crate::registry::error::{RegistryError, Trouble};
use crate::registry::url::Url;
use crate::store::StoreError;

/// How often we are sent on. Docker's own client goes ten times, too.
const REDIRECTS: u32 = 10;
/// The least that must come in the time that a host may be silent, in bytes.
const FLOOR: u64 = 16 << 10;
/// The most bytes of an answer that says why there is none.
const REASON_LIMIT: u64 = 64 << 10;
/// The most bytes of a file of certificates.
const CERTIFICATES_LIMIT: u64 = 16 << 20;

/// What is asked with.
pub(super) struct Web {
    /// Made with the first question: reading the machine's certificates takes a while.
    agent: Mutex<Option<Agent>>,
    ca_file: Option<PathBuf>,
    proxy: Option<Proxy>,
    plain: BTreeSet<String>,
    timeout: Duration,
}

/// A question. Unless it only fetches, it is for its own host alone: no redirect is followed.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, String)>,
    /// For the URL's own host, and for no other that it may send us to.
    pub(super) authorization: Option<Secret>,
    pub(super) load: Load,
    /// Whether its headers are for the URL's own host alone, so that no redirect is followed.
    pub(super) is_pinned: bool,
}

/// What is sent with a question.
#[derive(Clone)]
pub(super) enum Load {
    /// Nothing.
    Nothing,
    /// Parameters, which may be secret.
    Form(Zeroizing<String>),
    /// Bytes of a media type.
    Bytes(Arc<[u8]>, String),
}

impl Ask {
    /// Fetches.
    pub(super) fn new(url: Url) -> Self {
        Self::by(Method::GET, url)
    }

    /// Asks by another method.
    pub(super) fn by(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            authorization: None,
            load: Load::Nothing,
            is_pinned: false,
        }
    }

    /// Sends parameters.
    pub(super) fn form(url: Url, form: Zeroizing<String>) -> Self {
        Self { load: Load::Form(form), ..Self::by(Method::POST, url) }
    }

    /// The same with bytes to send.
    pub(super) fn bytes(self, bytes: Arc<[u8]>, media_type: &str) -> Self {
        Self { load: Load::Bytes(bytes, media_type.to_owned()), ..self }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer whose body was not read yet.
pub(super) struct Answer {
    /// Who gave it, after all redirects.
    pub(super) url: Url,
    response: Response<Body>,
    timeout: Duration,
}

/// Why no question can be asked or answered.
pub(super) enum Fail {
    /// The host.
    Trouble(Trouble),
    /// Ourselves.
    Local(RegistryError),
}

impl From<Trouble> for Fail {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<RegistryError> for Fail {
    fn from(error: RegistryError) -> Self {
        Self::Local(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Local(error.into())
    }
}

impl Web {
    pub(super) fn new(
        ca_file: Option<PathBuf>,
        proxy: Option<Proxy>,
        plain: BTreeSet<String>,
        timeout: Duration,
    ) -> Self {
        Self { agent: Mutex::new(None), ca_file, proxy, plain, timeout }
    }

    /// Asks, and follows where that leads.
    pub(super) fn send(&self, ask: &Ask) -> Result<Answer, Fail> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            if !url.is_tls() && !self.plain.contains(&url.host()) {
                return Err(Trouble::Plain.into());
            }
            let response = self.once(ask, &url)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { url, response, timeout: self.timeout });
            }
            if ask.is_pinned || !matches!(ask.method, Method::GET | Method::HEAD) {
                return Err(Trouble::Redirect("what was sent is for one host alone").into());
            }
            let location = response.headers().get("location").and_then(|to| to.to_str().ok());
            let location = location.ok_or(Trouble::Redirect("it names no place"))?;
            let next = url.join(location).map_err(Trouble::Redirect)?;
            if url.is_tls() && !next.is_tls() {
                return Err(Trouble::Redirect("it has no TLS").into());
            }
            url = next;
        }
        Err(Trouble::Redirect("it is a loop").into())
    }

    fn once(&self, ask: &Ask, url: &Url) -> Result<Response<Body>, Fail> {
        let mut request = Request::builder().method(ask.method.clone()).uri(url.uri().clone());
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) =
            ask.authorization.as_ref().filter(|_| url.is_same_origin(&ask.url))
        {
            let value = HeaderValue::from_str(authorization.reveal());
            let mut value =
                value.map_err(|_| Trouble::Answer("a token with control characters"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let agent = self.agent()?;
        let invalid = |_| Trouble::Redirect("its name is none");
        let response = match &ask.load {
            Load::Form(form) => {
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                agent.run(request.body(form.as_bytes()).map_err(invalid)?)
            }
            Load::Bytes(bytes, media_type) => {
                let request = request.header("content-type", media_type);
                agent.run(request.body(&bytes[..]).map_err(invalid)?)
            }
            Load::Nothing => agent.run(request.body(()).map_err(invalid)?),
        };
        Ok(response.map_err(|error| self.trouble(error))?)
    }

    fn trouble(&self, error: ureq::Error) -> Trouble {
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                Trouble::Unreachable(format!("no answer in {} s", self.timeout.as_secs_f64()))
            }
            ureq::Error::Timeout(_) => Trouble::Stalled(self.timeout),
            ureq::Error::HostNotFound => Trouble::Unreachable("there is no such host".into()),
            ureq::Error::Io(error) => broken(&error, self.timeout),
            ureq::Error::Rustls(error) => Trouble::Tls(error.to_string()),
            ureq::Error::Tls(why) => Trouble::Tls(why.into()),
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
                Trouble::Unreachable("the proxy does not let us through".into())
            }
            ureq::Error::LargeResponseHeader(..) => Trouble::Answer("headers without end"),
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => Trouble::Answer("no HTTP"),
            _ => Trouble::Broken("without a reason".into()),
        }
    }

    fn agent(&self) -> Result<Agent, RegistryError> {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &*agent {
            return Ok(agent.clone());
        }
        let roots = RootCerts::new_with_certs(&certificates(self.ca_file.as_ref())?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let timeout = Some(self.timeout);
        let config = Config::builder()
            .tls_config(tls)
            .proxy(self.proxy.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("talforge/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout)
            .build();
        let made = Agent::new_with_config(config);
        *agent = Some(made.clone());
        Ok(made)
    }
}

/// The certificates of a file, or else the machine's own.
fn certificates(file: Option<&PathBuf>) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let Some(path) = file else {
        // Some of a machine's certificates may be broken; the host's own is found or not.
        let found = rustls_native_certs::load_native_certs().certs;
        return Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect());
    };
    let wrong = |why: &str| RegistryError::Certificates { path: path.clone(), why: why.to_owned() };
    let mut text = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(CERTIFICATES_LIMIT + 1).read_to_end(&mut text));
    read.map_err(|error| wrong(&error.to_string()))?;
    if text.len() as u64 > CERTIFICATES_LIMIT {
        return Err(wrong("they are more than any machine has"));
    }
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(wrong("they are no PEM")),
        }
    }
    if found.is_empty() { Err(wrong("there are none")) } else { Ok(found) }
}

/// What an error of a connection means.
fn broken(error: &io::Error, timeout: Duration) -> Trouble {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
        TimedOut, UnexpectedEof, WouldBlock,
    };
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Trouble::Tls(tls.to_string());
    }
    if let Some(ureq::Error::Timeout(_)) = inner.and_then(|inner| inner.downcast_ref()) {
        return Trouble::Stalled(timeout);
    }
    match error.kind() {
        AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown
        | NetworkUnreachable => Trouble::Unreachable(error.kind().to_string()),
        TimedOut | WouldBlock => Trouble::Stalled(timeout),
        UnexpectedEof => Trouble::Broken("before the end".into()),
        kind => Trouble::Broken(kind.to_string()),
    }
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All headers of a name.
    pub(super) fn headers(&self, name: &str) -> Vec<String> {
        let values = self.response.headers().get_all(name).iter();
        values.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect()
    }

    /// The length that the body is said to have.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The body, as it is: what is compressed for the way alone has other bytes.
    pub(super) fn body(self) -> Result<Flow, Trouble> {
        if self.header("content-encoding").is_some_and(|encoding| encoding != "identity") {
            return Err(Trouble::Answer("bytes that are compressed for the way"));
        }
        let reader = self.response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Flow { reader, timeout: self.timeout, since: Instant::now(), came: 0 })
    }

    /// The whole of a short body.
    pub(super) fn short(self, limit: u64) -> Result<Vec<u8>, Trouble> {
        if self.length().is_some_and(|length| length > limit) {
            return Err(Trouble::TooLong(limit));
        }
        let mut flow = self.body()?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let count = flow.read(&mut buffer)?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > limit {
                return Err(Trouble::TooLong(limit));
            }
        }
    }

    /// Why it is no success. Of what the registry says of it, only its code can hold no secret.
    pub(super) fn refusal(self) -> Trouble {
        let status = self.status();
        let seconds = self.header("retry-after").and_then(|text| text.trim().parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let code = self.short(REASON_LIMIT).ok().and_then(|body| code(&body));
        Trouble::Status { status, code, retry_after }
    }
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
}

/// The first code of a registry's refusal, `MANIFEST_UNKNOWN`, or that of an S3-compatible store,
/// `NoSuchBucket`.
fn code(body: &[u8]) -> Option<String> {
    let code = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.errors.into_iter().next()?.code,
        Err(_) => {
            let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
            rest.split_once("</Code>")?.0.to_owned()
        }
    };
    let is_code = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    is_code.then_some(code)
}

/// A body that must keep coming.
pub(super) struct Flow {
    reader: BodyReader<'static>,
    timeout: Duration,
    since: Instant,
    came: u64,
}

impl Flow {
    /// Reads on; 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        let count = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error, self.timeout)),
                Ok(count) => break count,
            }
        };
        self.came += count as u64;
        if self.since.elapsed() >= self.timeout {
            if count > 0 && self.came < FLOOR {
                return Err(Trouble::Stalled(self.timeout));
            }
            (self.since, self.came) = (Instant::now(), 0);
        }
        Ok(count)
    }
}
