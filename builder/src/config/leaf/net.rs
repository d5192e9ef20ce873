//! Addresses, networks, ports, URLs.
//!
//! In: a text. Out: whether Go takes it.
//!
//! Source: Go `net/netip` and `net/url`; Talos `pkg/machinery/nethelpers/hwaddr.go`,
//! `pkg/machinery/config/types/network/port_range.go`.
//!
//! Not here: what an address is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, perhaps with a zone; of an empty text Go makes one that is not valid.
pub(super) fn is_address(text: &str) -> bool {
    text.is_empty() || is_some_address(text)
}

fn is_some_address(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// An address without a zone, and a length.
pub(super) fn is_prefix(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some((address, bits)) = text.rsplit_once('/') else { return false };
    let plain = bits == "0" || (!bits.starts_with('0') && bits.bytes().all(|b| b.is_ascii_digit()));
    let bits: Option<u8> = if plain { bits.parse().ok() } else { None };
    let limit = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.is_some_and(|bits| bits <= limit)
}

/// `192.0.2.1:80` or `[2001:db8::1]:80`.
pub(super) fn is_address_port(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some((address, port)) = text.rsplit_once(':') else { return false };
    let port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.contains(':') && is_some_address(inner),
        None => address.parse::<Ipv4Addr>().is_ok(),
    };
    port && address
}

/// Hexadecimal digits in pairs, colons anywhere.
pub(super) fn is_hardware_address(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|&b| b != b':').collect();
    digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit)
}

/// Two ports with a hyphen between them; which is the larger is not asked here.
pub(super) fn is_port_range(text: &str) -> bool {
    let port = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
    };
    text.split_once('-').is_some_and(|(low, high)| port(low) && port(high))
}

/// Whether Go's `url.Parse` takes a text. It takes nearly all.
pub(super) fn is_url(text: &str) -> bool {
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    let url = Url::split(text);
    let segment = url.path.split('/').next().unwrap_or_default();
    // Behind a scheme, what does not begin with a slash is not looked into.
    let start = !url.scheme.is_empty() || !segment.contains(':');
    start && url.has_host() && escapes_are_whole(url.path) && escapes_are_whole(url.fragment)
}

/// An address of IPv6 behind its opening bracket, and perhaps a port.
fn is_literal(text: &str) -> bool {
    let Some((inner, port)) = text.rsplit_once(']') else { return false };
    let (address, zone) = match inner.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (inner, None),
    };
    let in_zone = |byte: u8| byte == b' ' || (byte != b'%' && byte < 0x80 && is_host_byte(byte));
    let zone_good = zone.is_none_or(|zone| {
        !zone.is_empty()
            && zone.bytes().all(is_host_byte)
            && escapes(zone, |b| b == b'%' || in_zone(b))
    });
    is_port(port) && address.parse::<Ipv6Addr>().is_ok() && zone_good
}

/// A host's name, and perhaps a port. Go lets a name have colons, except in the two schemes that
/// it knows well.
fn is_name(scheme: &str, text: &str) -> bool {
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let port = if web { text.find(':') } else { text.rfind(':') };
    let port = port.map_or("", |at| &text[at..]);
    is_port(port) && text.bytes().all(is_host_byte) && escapes(text, |b| b >= 0x80 || b == b'%')
}

/// Nothing, or a colon and digits, which may be none.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':').map(|port| port.bytes().all(|b| b.is_ascii_digit()));
    text.is_empty() || digits == Some(true)
}

/// What may stand in a host's name as it is: letters, digits, what is beyond ASCII, and RFC 3986's
/// marks with those that Go lets pass.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte)
}

/// Whether two hexadecimal digits follow each percent sign.
fn escapes_are_whole(text: &str) -> bool {
    escapes(text, |_| true)
}

/// The same, and whether the bytes that they stand for are good.
fn escapes(text: &str, good: impl Fn(u8) -> bool) -> bool {
    text.split('%').skip(1).all(|part| {
        let digits = part.get(..2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()).is_some_and(&good)
    })
}

/// The parts of a URL, each empty where there is none, as Go's `url.URL` has them.
#[derive(Clone, Copy)]
pub(super) struct Url<'t> {
    scheme: &'t str,
    /// What follows a scheme without a slash.
    opaque: &'t str,
    user: Option<&'t str>,
    host: &'t str,
    path: &'t str,
    query: &'t str,
    /// Whether the query is there, and empty.
    ends_in_query: bool,
    /// Whether slashes for a host are left out behind the scheme.
    omits_host: bool,
    fragment: &'t str,
}

impl<'t> Url<'t> {
    /// Whether its user and its host are good.
    fn has_host(&self) -> bool {
        let user = self.user.unwrap_or_default();
        let in_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
        let host = match self.host.rfind('[') {
            Some(0) => is_literal(&self.host[1..]),
            Some(_) => false,
            None => is_name(self.scheme, self.host),
        };
        host && user.bytes().all(in_user) && escapes_are_whole(user)
    }

    /// Takes a text apart; every text has parts.
    pub(super) fn split(text: &'t str) -> Self {
        let (text, fragment) = cut(text, '#');
        let (scheme, text) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            _ => ("", text),
        };
        let (rest, query) = cut(text, '?');
        let ends_in_query = query.is_empty() && rest.len() < text.len();
        let (mut opaque, mut authority, mut path) = ("", None, rest);
        if !scheme.is_empty() && !rest.starts_with('/') {
            (opaque, path) = (rest, "");
        } else if let Some(behind) = rest.strip_prefix("//")
            && (!scheme.is_empty() || !behind.starts_with('/'))
        {
            let (before, after) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            (authority, path) = (Some(before), after);
        }
        let (user, host) = match authority.unwrap_or_default().rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority.unwrap_or_default()),
        };
        let omits_host = !scheme.is_empty() && opaque.is_empty() && authority.is_none();
        Self { scheme, opaque, user, host, path, query, ends_in_query, omits_host, fragment }
    }

    /// This one with the parts of another laid over it, those that it has. Go cannot do so where
    /// both name a user.
    pub(super) fn with(self, other: &Self) -> Option<Self> {
        let over = |old: &'t str, new: &'t str| if new.is_empty() { old } else { new };
        if self.user.is_some() && other.user.is_some() {
            return None;
        }
        Some(Self {
            scheme: over(self.scheme, other.scheme),
            opaque: over(self.opaque, other.opaque),
            user: other.user.or(self.user),
            host: over(self.host, other.host),
            path: over(self.path, other.path),
            query: over(self.query, other.query),
            fragment: over(self.fragment, other.fragment),
            ..*other
        })
    }

    /// Puts the parts together, as Go's `URL.String` does.
    pub(super) fn join(self) -> String {
        let mut text = String::new();
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| text.push_str(part));
        if !self.scheme.is_empty() {
            put(&[self.scheme, ":"]);
        }
        if self.opaque.is_empty() {
            let has_authority = !self.host.is_empty() || self.user.is_some();
            let slashes = !self.scheme.is_empty() && !self.omits_host && !self.path.is_empty();
            if has_authority || slashes {
                put(&["//"]);
            }
            self.user.iter().for_each(|user| put(&[user, "@"]));
            put(&[self.host]);
            if !self.path.is_empty() && !self.path.starts_with('/') && !self.host.is_empty() {
                put(&["/"]);
            }
            put(&[self.path]);
        } else {
            put(&[self.opaque]);
        }
        if self.ends_in_query || !self.query.is_empty() {
            put(&["?", self.query]);
        }
        if !self.fragment.is_empty() {
            put(&["#", self.fragment]);
        }
        text
    }
}

fn cut(text: &str, mark: char) -> (&str, &str) {
    text.split_once(mark).unwrap_or((text, ""))
}

fn is_scheme(text: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) && text.bytes().all(letters)
}
