//! Objects of S3-compatible stores.
//!
//! In: a bucket, keys, bytes. Out: the same in the bucket; objects in the store, verified.
//!
//! Source: Amazon S3, "API Reference" (`PutObject`, `GetObject`, `HeadObject`), "User Guide",
//! "Prevent object overwrites with conditional writes".
//!
//! Not here: how questions are signed (`sigv4`), and what objects mean (`export`).

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use ureq::http::Method;
use ureq::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::blob::Blob;
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::registry::aws::Aws;
use crate::registry::error::{RegistryError, Trouble};
use crate::registry::http::{Ask, Fail, Load};
use crate::registry::push::not_sent;
use crate::registry::sigv4::{self, Signed, Stamp};
use crate::registry::transfer::{Gate, Request};
use crate::registry::url::Url;
use crate::registry::{Client, Endpoint, LIMIT, Network, TAG, manifest, offline};

/// Gives the time, which signatures have.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A bucket, or the part of it below a prefix.
pub struct Bucket {
    /// What keys are added to.
    base: Url,
    region: String,
    key: super::aws::Key,
    clock: Clock,
}

/// Without its key.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What must be so for an object to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// It is not there.
    Absent,
    /// It is the one that has this `ETag`.
    Is(String),
}

/// What came of putting an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Put,
    /// It is not: the condition was not met.
    Unmet,
}

/// A small object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its `ETag`, where the store has them.
    pub etag: Option<String>,
}

impl Bucket {
    /// A bucket, and what all keys in it begin with: nothing, or a path without slashes at its ends.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Url`] where the endpoint is no URL, or the bucket's name is none.
    pub fn new(aws: Aws, bucket: &str, prefix: &str, clock: Clock) -> Result<Self, RegistryError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let wrong = |url: &str, why| RegistryError::Url { url: url.to_owned(), why };
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err(wrong(&format!("s3://{bucket}"), "it names no bucket"));
        }
        let region = &aws.region;
        if region.is_empty() || !region.bytes().all(is_name) {
            return Err(wrong("AWS_REGION", "it is no region"));
        }
        let place = match &aws.endpoint {
            // Other stores know buckets by path, and have no name for each.
            Some(endpoint) => format!("{}/{bucket}/", endpoint.trim_end_matches('/')),
            // A certificate for `*.s3.…` is none for a name with more dots.
            None if bucket.contains('.') => format!("https://s3.{region}.amazonaws.com/{bucket}/"),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com/"),
        };
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{}/", encoded(prefix)),
        };
        let base = Url::parse(&format!("{place}{prefix}")).map_err(|why| {
            let endpoint = aws.endpoint.as_deref().filter(|text| !text.contains('@'));
            wrong(endpoint.unwrap_or("AWS_ENDPOINT_URL"), why)
        })?;
        if base.uri().query().is_some() {
            return Err(wrong("AWS_ENDPOINT_URL", "it has a query"));
        }
        Ok(Self { base, region: aws.region, key: aws.key, clock })
    }

    /// The host, with its port.
    pub fn host(&self) -> String {
        self.base.host()
    }

    fn at(&self, key: &str) -> Result<Url, Trouble> {
        let url = Url::parse(&format!("{}{}", self.base, encoded(key)));
        url.map_err(|_| Trouble::Answer("a key that makes no URL"))
    }

    /// The same question, signed.
    pub(super) fn signed(&self, ask: Ask) -> Result<Ask, Fail> {
        let stamp = Stamp::of((self.clock)());
        let load = match &ask.load {
            Load::Bytes(bytes, _) => Digest::of(bytes),
            Load::Form(_) | Load::Nothing => Digest::of(b""),
        };
        let (host, path) = (ask.url.host(), ask.url.uri().path().to_owned());
        let method = ask.method.as_str();
        let signed = Signed { method, host: &host, path: &path, headers: &[], load };
        let authorization = sigv4::authorization(&signed, &self.key, &self.region, &stamp);
        let mut ask = Ask { authorization: Some(authorization), is_pinned: true, ..ask };
        let header = |ask: Ask, name: &'static str, value: String| {
            ask.header(HeaderName::from_static(name), value)
        };
        ask = header(ask, "x-amz-content-sha256", load.to_string());
        ask = header(ask, "x-amz-date", stamp.time);
        if let Some(token) = &self.key.token {
            ask = header(ask, "x-amz-security-token", token.reveal().to_owned());
        }
        Ok(ask)
    }
}

/// RFC 3986, §2.1: all but the unreserved characters and slashes.
fn encoded(key: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    key.bytes().map(byte).collect()
}

impl Client {
    /// Whether a bucket has an object of this length.
    ///
    /// # Errors
    ///
    /// Where the store does not tell.
    pub fn has_object(&self, bucket: &Bucket, key: &str, len: u64) -> Result<bool, RegistryError> {
        self.storing(bucket, key, || {
            let ask = Ask::by(Method::HEAD, bucket.at(key)?);
            let answer = self.asked(ask, Gate::Bucket(bucket))?;
            match answer.status() {
                200 => Ok(answer.length() == Some(len)),
                // Whoever may not list is told 403 of what is not there.
                403 | 404 => Ok(false),
                _ => Err(answer.refusal().into()),
            }
        })
    }

    /// Puts an object into a bucket.
    ///
    /// # Errors
    ///
    /// Where the store does not take it.
    pub fn put_object(
        &self,
        bucket: &Bucket,
        key: &str,
        bytes: &Arc<[u8]>,
        condition: &Condition,
    ) -> Result<Outcome, RegistryError> {
        self.storing(bucket, key, || {
            let mut ask = Ask::by(Method::PUT, bucket.at(key)?);
            ask = ask.bytes(bytes.clone(), "application/octet-stream");
            ask = match condition {
                Condition::Always => ask,
                Condition::Absent => ask.header(IF_NONE_MATCH, "*"),
                Condition::Is(etag) => ask.header(IF_MATCH, etag),
            };
            let answer = self.asked(ask, Gate::Bucket(bucket))?;
            match answer.status() {
                200..300 => Ok(Outcome::Put),
                409 | 412 if *condition != Condition::Always => Ok(Outcome::Unmet),
                404 if matches!(condition, Condition::Is(_)) => Ok(Outcome::Unmet),
                _ => Err(answer.refusal().into()),
            }
        })
    }

    /// A small object of a bucket, if it is there.
    ///
    /// # Errors
    ///
    /// Where the store does not give it.
    pub fn object(
        &self,
        bucket: &Bucket,
        key: &str,
        limit: u64,
    ) -> Result<Option<Object>, RegistryError> {
        self.reading(bucket, key, || {
            let found = self.patiently(|| {
                let answer = self.asked(Ask::new(bucket.at(key)?), Gate::Bucket(bucket))?;
                if answer.status() != 200 {
                    return Err(answer.refusal().into());
                }
                let etag = answer.header("etag").map(str::to_owned);
                let length = answer.length();
                let bytes = answer.short(limit)?;
                match length {
                    Some(wanted) if wanted != bytes.len() as u64 => {
                        Err(Trouble::Broken("before the end".into()).into())
                    }
                    _ => Ok(Some(Object { bytes, etag })),
                }
            });
            match found {
                Err(Fail::Trouble(Trouble::Status { status: 404, code, .. }))
                    if code.as_deref() != Some("NoSuchBucket") =>
                {
                    Ok(None)
                }
                other => other,
            }
        })
    }

    /// The manifest that a record of a bucket tells of, from the store, where nothing may be fetched.
    ///
    /// # Errors
    ///
    /// Where it is not there.
    pub fn remembered(
        &self,
        bucket: &Bucket,
        key: &str,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let Network::Offline { command } = &self.settings.network else { return Ok(None) };
        let what = format!("{}{key}", bucket.base);
        let record = self.store.record(TAG, Digest::of(what.as_bytes()))?;
        let digest = record.and_then(|text| super::digest_of(&text));
        if let Some(digest) = digest
            && let Some(blob) = self.store.get(digest)?
            && let Some(found) = manifest::descriptor(&blob, digest)
        {
            return Ok(Some(found));
        }
        Err(offline(&what, command))
    }

    /// Remembers which manifest a record of a bucket tells of.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written to.
    pub fn remember(&self, bucket: &Bucket, key: &str, found: Digest) -> Result<(), RegistryError> {
        let what = format!("{}{key}", bucket.base);
        let text = format!("sha256:{found}");
        Ok(self.store.keep_record(TAG, Digest::of(what.as_bytes()), text.as_bytes())?)
    }

    /// An object of a bucket whose digest is known, from the store, or else fetched into it.
    ///
    /// # Errors
    ///
    /// Where it cannot be had, or is another.
    pub fn stored_object(
        &self,
        bucket: &Bucket,
        key: &str,
        wanted: &Descriptor,
    ) -> Result<Blob, RegistryError> {
        let what = format!("{}{key}", bucket.base);
        let blob = match (self.store.get(wanted.digest)?, &self.settings.network) {
            (Some(blob), _) => blob,
            (None, Network::Offline { command }) => return Err(offline(&what, command)),
            (None, Network::Online) => self.reading(bucket, key, || {
                if wanted.len > LIMIT {
                    return Err(Trouble::TooLong(LIMIT).into());
                }
                let request = Request {
                    url: bucket.at(key)?,
                    gate: Gate::Bucket(bucket),
                    digest: Some(wanted.digest),
                    len: Some(wanted.len),
                    limit: LIMIT,
                    accept: "*/*",
                    label: wanted.digest.to_string()[..12].to_owned(),
                };
                Ok(self.fetch(&request)?.1)
            })?,
        };
        match blob.len() {
            len if len == wanted.len => Ok(blob),
            found => Err(RegistryError::Length { what, wanted: wanted.len, found }),
        }
    }

    /// Reads from a bucket.
    fn reading<T>(
        &self,
        bucket: &Bucket,
        key: &str,
        work: impl Fn() -> Result<T, Fail>,
    ) -> Result<T, RegistryError> {
        let endpoint =
            Endpoint { host: bucket.host(), base: bucket.base.clone(), prefix: String::new() };
        self.each(&format!("{}{key}", bucket.base), &[endpoint], |_| work())
    }

    /// Writes to a bucket, and again where that may help.
    fn storing<T>(
        &self,
        bucket: &Bucket,
        key: &str,
        work: impl Fn() -> Result<T, Fail>,
    ) -> Result<T, RegistryError> {
        let what = format!("{}{key}", bucket.base);
        self.patiently(work).map_err(|fail| not_sent(&what, &bucket.host(), fail))
    }
}
