//! URLs that may be fetched from.
//!
//! In: text from a site, a registry or a redirect. Out: a [`Url`] without credentials in it.
//!
//! Source: RFC 3986, §3 (parts) and §4.2 (relative references).
//!
//! Not here: which of them is asked (`registry`).

use std::fmt;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// An absolute `http:` or `https:` URL. It prints without its query, which may be a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url(Uri);

impl Url {
    /// Reads an absolute URL.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is none")?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP => {}
            _ => return Err("it starts with neither `https://` nor `http://`"),
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.host().is_empty() {
            return Err("it names no host");
        }
        if authority.as_str().contains('@') {
            return Err("it has a user name or password in it");
        }
        Ok(Self(uri))
    }

    /// What a `Location` means here.
    pub(super) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let scheme_end = location.find("://");
        let path_start = location.find(['/', '?', '#']).unwrap_or(location.len());
        if scheme_end.is_some_and(|end| end < path_start) {
            return Self::parse(location);
        }
        let scheme = self.0.scheme_str().unwrap_or("https");
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let host = self.0.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let path = self.0.path();
        let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
        let base = match location.bytes().next() {
            Some(b'/') => "",
            Some(b'?') => path,
            _ => folder,
        };
        Self::parse(&format!("{scheme}://{host}{base}{location}"))
    }

    /// The same with query parameters added.
    pub(super) fn with_query(&self, parameters: &[(&str, &str)]) -> Result<Self, &'static str> {
        let text = self.0.to_string();
        let mark = if self.0.query().is_some() { '&' } else { '?' };
        Self::parse(&format!("{text}{mark}{}", form(parameters)))
    }

    /// The host with its port, in lower case, the scheme's own port left out.
    pub(super) fn host(&self) -> String {
        let host = self.0.host().unwrap_or_default().to_ascii_lowercase();
        match self.0.port_u16() {
            Some(443) if self.is_tls() => host,
            Some(80) if !self.is_tls() => host,
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// Whether TLS protects what is asked and answered.
    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Whether both are on one host, asked in one way, so that credentials for one are for the other.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        self.is_tls() == other.is_tls() && self.host() == other.host()
    }

    /// The last part of the path.
    pub(super) fn file_name(&self) -> &str {
        self.0.path().rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.authority().map(|authority| authority.as_str()).unwrap_or_default();
        write!(f, "{}://{host}{}", self.0.scheme_str().unwrap_or_default(), self.0.path())
    }
}

/// Parameters as `application/x-www-form-urlencoded`, which a query takes, too.
pub(super) fn form(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// RFC 3986, §2.1: all but the unreserved characters.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_no_good_are_refused() {
        for text in [
            "",
            "x",
            "/v2/",
            "ftp://a/",
            "https://",
            "https://u:p@a/",
            "https://u@a/",
            "file:///etc",
            "https://a b/",
            "https://a/\n",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_redirect_is_taken_from_where_it_was() {
        let base = Url::parse("https://a.b:5000/v2/x/blobs/1?q=2").unwrap();
        let join = |to: &str| base.join(to).map(|url| url.uri().to_string());
        assert_eq!(join("/x?s=1").as_deref(), Ok("https://a.b:5000/x?s=1"));
        assert_eq!(join("//c/x").as_deref(), Ok("https://c/x"));
        assert_eq!(join("http://c/x").as_deref(), Ok("http://c/x"));
        assert_eq!(join("2").as_deref(), Ok("https://a.b:5000/v2/x/blobs/2"));
        assert_eq!(join("?q=http://c").as_deref(), Ok("https://a.b:5000/v2/x/blobs/1?q=http://c"));
        assert!(join("https://u:p@c/").is_err());
        assert!(join("gopher://c/").is_err());
    }

    #[test]
    fn signatures_are_not_shown_and_ports_are_compared() {
        let url = Url::parse("https://A.b:443/x?X-Amz-Signature=abc").unwrap();
        assert_eq!(url.to_string(), "https://A.b:443/x");
        assert_eq!(url.host(), "a.b");
        let is_same = |to: &str| url.is_same_origin(&Url::parse(to).unwrap());
        assert!(is_same("https://a.B/y"));
        assert!(!is_same("https://a.b:444/y") && !is_same("http://a.b:443/"));
        assert!(!is_same("https://x.a.b/y"));
        let url = url.with_query(&[("scope", "repository:a/b:pull")]).unwrap();
        let query = "X-Amz-Signature=abc&scope=repository%3Aa%2Fb%3Apull";
        assert_eq!(url.uri().query(), Some(query));
    }
}
