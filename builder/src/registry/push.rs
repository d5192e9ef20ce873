//! Pushing to a registry: blobs, then manifests under their tags.
//!
//! In: bytes and their digests. Out: the same in a registry.
//!
//! A blob is sent whole, so that a cut costs that blob alone: callers keep them small. What the
//! registry has is not sent again. Mirrors are for pulling; a push goes to the registry itself.
//!
//! Source: OCI Distribution Specification 1.1, "Pushing blobs" (`POST` then `PUT`), "Pushing
//! manifests".
//!
//! Not here: what is pushed (`export`).

use std::sync::Arc;

use ureq::http::Method;

use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::oci::reference::Reference;
use crate::registry::auth::Work;
use crate::registry::error::{Attempt, RegistryError, Trouble};
use crate::registry::http::{Answer, Ask, Fail};
use crate::registry::transfer::Gate;
use crate::registry::{Client, Endpoint};

/// How a registry takes blobs.
const BYTES: &str = "application/octet-stream";

impl Client {
    /// Whether a repository has a blob.
    ///
    /// # Errors
    ///
    /// Where the registry does not tell.
    pub fn has_blob(&self, name: &Reference, blob: &Descriptor) -> Result<bool, RegistryError> {
        let text = format!("sha256:{}", blob.digest);
        self.pushing(name, &text, |endpoint, repository| {
            let ask = Ask::by(Method::HEAD, endpoint.at(repository, "blobs", &text)?);
            let answer = self.asked(ask, gate(endpoint, repository))?;
            match answer.status() {
                200 => Ok(answer.length().is_none_or(|len| len == blob.len)),
                404 => Ok(false),
                _ => Err(answer.refusal().into()),
            }
        })
    }

    /// Sends a blob to a repository.
    ///
    /// # Errors
    ///
    /// Where the registry does not take it.
    pub fn push_blob(
        &self,
        name: &Reference,
        blob: &Descriptor,
        bytes: &Arc<[u8]>,
    ) -> Result<(), RegistryError> {
        let text = format!("sha256:{}", blob.digest);
        self.pushing(name, &text, |endpoint, repository| {
            let gate = gate(endpoint, repository);
            let start = Ask::by(Method::POST, endpoint.at(repository, "blobs", "uploads/")?);
            let answer = self.asked(start.bytes(Arc::default(), BYTES), gate)?;
            if answer.status() != 202 {
                return Err(answer.refusal().into());
            }
            let place = answer.header("location").ok_or(Trouble::Answer("no place to send to"))?;
            let place = answer.url.join(place).map_err(Trouble::Redirect)?;
            if answer.url.is_tls() && !place.is_tls() {
                return Err(Trouble::Redirect("it has no TLS").into());
            }
            let is_registry = place.is_same_origin(&endpoint.base);
            let place = place.with_query(&[("digest", &text)]).map_err(Trouble::Redirect)?;
            let ask = Ask::by(Method::PUT, place).bytes(bytes.clone(), BYTES);
            let answer = self.asked(ask, if is_registry { gate } else { Gate::Open })?;
            taken(answer, blob.digest)
        })
    }

    /// Sends a manifest to a repository, under the tag that the name has. What it names is there.
    ///
    /// # Errors
    ///
    /// Where the registry does not take it.
    pub fn push_manifest(
        &self,
        name: &Reference,
        manifest: &Descriptor,
        bytes: &Arc<[u8]>,
    ) -> Result<(), RegistryError> {
        let digest = format!("sha256:{}", manifest.digest);
        let tag = name.tag().unwrap_or(&digest);
        self.pushing(name, tag, |endpoint, repository| {
            let ask = Ask::by(Method::PUT, endpoint.at(repository, "manifests", tag)?);
            let ask = ask.bytes(bytes.clone(), &manifest.media_type);
            taken(self.asked(ask, gate(endpoint, repository))?, manifest.digest)
        })
    }

    /// Asks the registry itself, and again where that may help.
    fn pushing<T>(
        &self,
        name: &Reference,
        part: &str,
        work: impl Fn(&Endpoint, &str) -> Result<T, Fail>,
    ) -> Result<T, RegistryError> {
        let what = format!("{}/{} {part}", name.registry(), name.repository());
        let own = self.endpoints(name.registry())?.pop();
        let own = own.expect("a registry stands behind its mirrors");
        let done = self.patiently(|| work(&own, name.repository()));
        done.map_err(|fail| not_sent(&what, &own.host, fail))
    }
}

/// Who must be shown that we may push.
fn gate<'a>(endpoint: &'a Endpoint, repository: &'a str) -> Gate<'a> {
    Gate::Registry(&endpoint.host, Work::Push(repository))
}

/// Sees to it that a registry has taken what it was sent.
fn taken(answer: Answer, sent: Digest) -> Result<(), Fail> {
    if answer.status() != 201 {
        return Err(answer.refusal().into());
    }
    let found =
        answer.header("docker-content-digest").and_then(|text| text.strip_prefix("sha256:"));
    match found.and_then(|hex| hex.parse().ok()) {
        Some(found) if found != sent => Err(Trouble::Digest(found).into()),
        _ => Ok(()),
    }
}

/// Why something was not sent.
pub(super) fn not_sent(what: &str, host: &str, fail: Fail) -> RegistryError {
    match fail {
        Fail::Trouble(trouble) => {
            let attempt = Attempt { host: host.to_owned(), trouble };
            RegistryError::NotSent { what: what.to_owned(), attempt }
        }
        Fail::Local(error) => error,
    }
}
