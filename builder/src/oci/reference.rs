//! The names of images.
//!
//! In: `ghcr.io/siderolabs/imager:v1.13.9@sha256:…`. Out: its parts.
//!
//! Source: OCI Distribution Specification 1.1, "Pulling manifests" (the grammar of names and tags);
//! distribution/reference, `reference.go` (where the registry's name ends).
//!
//! Not here: short names (`imager`) and default registries: a registry is always named.

use std::fmt;

use thiserror::Error;

use crate::digest::Digest;

/// An image's name in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` names no image: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl Reference {
    /// Reads a name, without a scheme.
    ///
    /// # Errors
    ///
    /// Where a part is missing or breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why| ReferenceError { text: text.escape_default().to_string(), why };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let hex = digest.strip_prefix("sha256:");
                let digest = hex.and_then(|hex| hex.parse().ok());
                (
                    name,
                    Some(digest.ok_or_else(|| wrong("its digest is no `sha256:` and 64 digits"))?),
                )
            }
            None => (text, None),
        };
        let (registry, path) = name
            .split_once('/')
            .ok_or_else(|| wrong("it names no registry, as `ghcr.io/` does"))?;
        if !is_registry(registry) {
            return Err(wrong("it starts with no registry, as `ghcr.io/` is one"));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_repository(repository) {
            return Err(wrong(
                "its path has something else than lower-case letters, digits and `/._-`",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag has something else than letters, digits and `._-`"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(wrong("it has neither a tag nor a digest"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry's host, with its port where one is given: `ghcr.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `siderolabs/imager`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of its manifest, where it is pinned.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same image, pinned.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

/// A host name or address with an optional port. One without a dot, a port or `localhost` would be
/// the first part of a path.
fn is_registry(text: &str) -> bool {
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    let is_host = text == "localhost" || text.contains(['.', ':']);
    is_host && text.len() <= 255 && text.bytes().all(host_byte)
}

fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        part.bytes().all(byte) && edge(part.bytes().next()) && edge(part.bytes().last())
    };
    text.len() <= 255 && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=128).contains(&text.len()) && !text.starts_with(['.', '-']) && text.bytes().all(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown_again() {
        let digest = "0".repeat(64);
        for text in [
            "ghcr.io/siderolabs/imager:v1.13.9",
            "localhost/a:b",
            "localhost:5000/a/b_c/d-e:v1",
            "[::1]:5000/a:b",
            &format!("ghcr.io/a/b@sha256:{digest}"),
            &format!("ghcr.io/a/b:v1@sha256:{digest}"),
        ] {
            assert_eq!(Reference::parse(text).map(|name| name.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for text in [
            "",
            "imager:v1",
            "siderolabs/imager:v1",
            "ghcr.io/a",
            "ghcr.io/A:v1",
            "ghcr.io/../a:v1",
            "ghcr.io/a:",
            "ghcr.io/a:b:c",
            "ghcr.io/a@sha256:00",
            "ghcr.io/a@md5:00",
            "u:p@ghcr.io/a:b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
