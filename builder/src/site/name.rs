//! Names of clusters and nodes, and endpoints.
//!
//! In: texts. Out: the names, or what is wrong with them.
//!
//! Source: RFC 1123, chapter 2.1 (labels); RFC 3986, chapter 3 (URLs); Talos
//! `cmd/talosctl/cmd/mgmt/gen/config.go` (an endpoint has the scheme `https` and a host).
//!
//! Not here: whether a name is taken (`node`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ClusterName, Endpoint, NodeName, Url};

/// What is wrong with a text, and what to write.
pub(super) type Wrong = (&'static str, &'static str);

/// RFC 1123: letters, digits and inner hyphens, 63 at most.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is labels of RFC 1123 with dots between them, 253 characters at most.
pub(super) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

impl NodeName {
    /// Takes a name.
    ///
    /// # Errors
    ///
    /// Where it is no label of RFC 1123.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let help = "use letters, digits and inner hyphens, 63 at most, as in `cp-1`";
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(("is no host name", help)) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClusterName {
    /// Takes a name.
    ///
    /// # Errors
    ///
    /// Where it is no series of labels of RFC 1123.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let help = "use letters, digits, inner hyphens and dots, as in `home` or `lab.example`";
        if is_domain(text) { Ok(Self(text.to_owned())) } else { Err(("is no cluster name", help)) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Url {
    /// Takes the URL of a file.
    ///
    /// # Errors
    ///
    /// Where it is no `https` or `http` URL of a host and a path, or holds a user's name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let (authority, path) =
            rest.and_then(|rest| rest.split_once('/')).ok_or("this is no URL of a file")?;
        if authority.contains('@') {
            return Err("a URL must not hold a user's name or password");
        }
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('#');
        let is_file = !path.is_empty() && !path.ends_with('/') && !authority.is_empty();
        if is_plain && is_file {
            Ok(Self(text.to_owned()))
        } else {
            Err("this is no URL of a file")
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of its path, without a query.
    pub fn file_name(&self) -> &str {
        let path = self.0.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

impl Endpoint {
    /// The address of its host, where that is none by name.
    pub fn address(&self) -> Option<IpAddr> {
        let authority = self.0.strip_prefix("https://")?.trim_end_matches('/');
        let (host, _) = split_port(authority)?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Takes a URL.
    ///
    /// # Errors
    ///
    /// Where it is no `https` URL of a host and perhaps a port.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        const EXAMPLE: &str =
            "write it as in `https://192.0.2.10:6443` or `https://[2001:db8::10]:6443`";
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(("is no `https://` URL", EXAMPLE));
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if !matches!(tail, "" | "/") {
            return Err(("has something behind its host and port", "drop the path"));
        }
        if authority.contains('@') {
            return Err(("has a user in it", "drop all up to the `@`"));
        }
        let (host, port) = split_port(authority).ok_or(("has no valid host", EXAMPLE))?;
        if !is_host(host) {
            return Err(("has no valid host", EXAMPLE));
        }
        if !port.is_none_or(is_port) {
            return Err(("has no valid port", "use a number from 1 to 65535"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Host and port; an IPv6 address must be in brackets, which stay.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return if rest.is_empty() {
            Some((host, None))
        } else {
            Some((host, Some(rest.strip_prefix(':')?)))
        };
    }
    match authority.split_once(':') {
        None => Some((authority, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    // A last label of digits makes it an IPv4 address (WHATWG URL, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    is_domain(host)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_host() {
        for text in [
            "https://192.0.2.10:6443",
            "https://[2001:db8::10]:6443",
            "https://[::1]",
            "https://k8s.example.com",
            "https://k8s:1/",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn endpoints_by_address_tell_it() {
        let address = |text| Endpoint::parse(text).unwrap().address().map(|at| at.to_string());
        assert_eq!(address("https://192.0.2.10:6443").as_deref(), Some("192.0.2.10"));
        assert_eq!(address("https://[2001:DB8::10]/").as_deref(), Some("2001:db8::10"));
        assert_eq!(address("https://k8s.example.com:6443"), None);
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "192.0.2.10:6443",
            "http://192.0.2.10:6443",
            "https://",
            "https://:6443",
            "https://2001:db8::10:6443",
            "https://[2001:db8::10",
            "https://[2001:db8::10]6443",
            "https://[fe80::1%eth0]",
            "https://192.0.2.256",
            "https://192.0.2",
            "https://a..b",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://a:",
            "https://a/b",
            "https://a?b",
            "https://user:hunter2@a",
            "https://a b",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn node_names_are_labels() {
        assert!(NodeName::parse("cp-1").is_ok() && NodeName::parse(&"a".repeat(63)).is_ok());
        for text in ["", "-a", "a-", "a.b", "a_b", "..", "a/b", "ä", &"a".repeat(64)] {
            assert!(NodeName::parse(text).is_err(), "{text}");
        }
        assert!(ClusterName::parse("lab.example").is_ok() && ClusterName::parse("a b").is_err());
    }
}
