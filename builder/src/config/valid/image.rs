//! References of container images.
//!
//! In: a text. Out: whether it is one, and whether it has a digest.
//!
//! Source: `github.com/google/go-containerregistry`, `pkg/name`.
//!
//! Not here: which image is wanted where.

/// What a reference pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// A tag, which may move.
    Tag,
    /// A digest.
    Digest,
}

/// Reads a reference: `nginx`, `ghcr.io/org/app:v1`, `app@sha256:…`.
pub(super) fn pin(text: &str) -> Option<Pin> {
    if is_tagged(text) {
        return Some(Pin::Tag);
    }
    let (base, digest) = text.split_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    let digits = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (hex.len() == 64 && digits && is_tagged(base)).then_some(Pin::Digest)
}

fn is_tagged(text: &str) -> bool {
    match text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((base, tag)) => is_repository(base) && (tag.is_empty() || is_tag(tag)),
        None => is_repository(text),
    }
}

fn is_tag(tag: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    tag.len() <= 128 && tag.bytes().all(known)
}

fn is_repository(text: &str) -> bool {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", text),
    };
    let known = |b: u8| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.' | b'/')
    };
    let host_good =
        super::url::Url::parse(&format!("//{host}")).is_some_and(|url| url.host == host);
    host_good && (2..=255).contains(&path.len()) && path.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_the_container_registry_library_does() {
        let hex = "0123456789abcdef".repeat(4);
        for good in ["nginx", "nginx:1.27", "ghcr.io/a/b:v1", "localhost:5000/ab", "[::1]:5000/ab"]
        {
            assert_eq!(pin(good), Some(Pin::Tag), "{good}");
        }
        for good in [format!("nginx@sha256:{hex}"), format!("ghcr.io/a/b:v1@sha256:{hex}")] {
            assert_eq!(pin(&good), Some(Pin::Digest), "{good}");
        }
        for bad in ["", "a", "Nginx", "nginx:a b", "nginx@sha256:12", "nginx@", "a/b/c:d:e"] {
            assert_eq!(pin(bad), None, "{bad}");
        }
    }
}
