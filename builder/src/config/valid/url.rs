//! URLs, taken apart.
//!
//! In: a text. Out: a [`Url`].
//!
//! Source: Go `net/url`; `github.com/siderolabs/net`, `ValidateEndpointURI`.
//!
//! Not here: what a URL must be like where it stands.

use super::go;

/// A URL that Go's `url.Parse` takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Url<'t> {
    /// What stands before the colon.
    pub(super) scheme: &'t str,
    /// Host and port, as they are written.
    pub(super) host: &'t str,
    /// The path.
    pub(super) path: &'t str,
    /// Whether it has a scheme and then neither slash nor host: `mailto:a`.
    pub(super) is_opaque: bool,
}

impl<'t> Url<'t> {
    /// Takes a text apart.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return None;
        }
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (scheme, rest) = scheme(text)?;
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        let is_opaque = !scheme.is_empty() && !rest.starts_with('/') && !rest.is_empty();
        if is_opaque {
            return Some(Self { scheme, is_opaque, ..Self::default() });
        }
        if scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return None;
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let good = is_host(host) && escapes_are_whole(path);
        good.then_some(Self { scheme, host, path, is_opaque })
    }

    /// The host without port and brackets.
    pub(super) fn hostname(&self) -> &'t str {
        self.split().0
    }

    /// The port, empty where there is none.
    pub(super) fn port(&self) -> &'t str {
        self.split().1
    }

    fn split(&self) -> (&'t str, &'t str) {
        if let Some(rest) = self.host.strip_prefix('[') {
            let (name, port) = rest.split_once(']').unwrap_or((rest, ""));
            return (name, port.strip_prefix(':').unwrap_or_default());
        }
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, port),
            _ => (self.host, ""),
        }
    }
}

fn scheme(text: &str) -> Option<(&str, &str)> {
    match text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.')) {
        Some(0) if text.starts_with(':') => None,
        Some(at) if at > 0 && text[at..].starts_with(':') => {
            let letter = text.starts_with(|c: char| c.is_ascii_alphabetic());
            letter.then(|| (&text[..at], &text[at + 1..]))
        }
        _ => Some(("", text)),
    }
}

fn is_host(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.rsplit_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
    let plain = !host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']);
    port && plain && (host.contains("%25") || !host.contains('%'))
}

fn escapes_are_whole(text: &str) -> bool {
    text.match_indices('%').all(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// What keeps a URL from being an endpoint; nothing where it is one.
pub(super) fn endpoint_problem(text: &str) -> Option<&'static str> {
    let Some(url) = Url::parse(text) else { return Some("is no URL") };
    if url.host.matches(':').count() > 2 && !(url.host.contains('[') && url.host.contains(']')) {
        return Some("has an IPv6 address without brackets");
    }
    if url.hostname().is_empty() {
        return Some("has no host");
    }
    let port = url.port();
    (!port.is_empty() && !go::is_port(port)).then_some("has a port that is not from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_go_does() {
        let url = Url::parse("https://u:p@[2001:db8::1]:6443/a?b#c").unwrap();
        assert_eq!(
            (url.scheme, url.hostname(), url.port(), url.path),
            ("https", "2001:db8::1", "6443", "/a")
        );
        for bad in ["a b://c", "https://h:x", ":a", "https://[::1", "https://h/%zz", "1a:b"] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
        assert!(Url::parse("mailto:a").unwrap().is_opaque);
    }

    #[test]
    fn an_endpoint_has_a_host_and_perhaps_a_port() {
        for good in ["https://a:6443", "https://[::1]", "tcp://1.2.3.4:1/x"] {
            assert_eq!(endpoint_problem(good), None, "{good}");
        }
        for bad in ["https://", "/path", "https://a:0", "https://a:70000", "host:6443"] {
            assert!(endpoint_problem(bad).is_some(), "{bad}");
        }
    }
}
