//! Values with rules of their own: addresses, sizes, durations, choices, certificates.
//!
//! In: the name of a type; a text. Out: its [`Leaf`]; what is wrong with the text.
//!
//! Source: Talos `pkg/machinery/config/types/meta`, `nethelpers`, `config/types/block`,
//! `config/types/v1alpha1`; what Go's `net/netip`, `net/url` and `time` take.
//!
//! Not here: which key has which type (`schema`), and values that are no scalars (`decode`).

use super::schema::Schema;

pub(super) mod amount;
mod net;

/// A type with rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A length of time as Go writes it, `1h30m`.
    Duration,
    /// The mode of a file: a number, written in octal.
    FileMode,
    /// A number of bytes, `10GB`.
    DiskSize,
    /// A network, `2001:db8::/64`.
    Prefix,
    /// An address.
    Addr,
    /// An address and a port.
    AddrPort,
    /// A URL, or nothing.
    Url,
    /// The mapping of `crt` and `key`, each base64 of PEM.
    Pair,
    /// The mapping of `crt`, base64 of PEM.
    Certificate,
    /// The mapping of `key`, base64 of PEM.
    Key,
    /// The value of a program's argument: a text, or a list of texts.
    Argument,
    /// The endpoint of a cluster: a URL.
    Endpoint,
    /// A comparison with a disk's size, `> 500GB`.
    SizeMatcher,
    /// The list of `name` and `contents`.
    Manifests,
    /// Bytes in base64.
    Base64,
    /// A port or a range of them, `80-90`.
    PortRange,
    /// A MAC address.
    HardwareAddr,
    /// An expression in CEL.
    Expression,
    /// A number of bytes, `10GB`.
    ByteSize,
    /// The same, or a percentage.
    Size,
    /// One of the words of a choice ([`Schema::choice`]).
    Choice(&'static str),
}

impl Leaf {
    /// The one of a name that the schema has.
    pub(super) fn named(name: &'static str) -> Option<Self> {
        Some(match name {
            "time.Duration" => Self::Duration,
            "v1alpha1.FileMode" | "runtime.EtcFileMode" => Self::FileMode,
            "v1alpha1.DiskSize" => Self::DiskSize,
            "netip.Prefix" | "network.Prefix" | "meta.Prefix" => Self::Prefix,
            "netip.Addr" | "network.Addr" | "meta.Addr" => Self::Addr,
            "netip.AddrPort" | "network.AddrPort" | "meta.AddrPort" => Self::AddrPort,
            "meta.URL" => Self::Url,
            "x509.PEMEncodedCertificateAndKey" => Self::Pair,
            "x509.PEMEncodedCertificate" => Self::Certificate,
            "x509.PEMEncodedKey" => Self::Key,
            "meta.ArgValue" | "v1alpha1.ArgValue" => Self::Argument,
            "v1alpha1.Endpoint" => Self::Endpoint,
            "v1alpha1.InstallDiskSizeMatcher" => Self::SizeMatcher,
            "v1alpha1.ClusterInlineManifests" => Self::Manifests,
            "v1alpha1.Base64Bytes" => Self::Base64,
            "network.PortRange" => Self::PortRange,
            "nethelpers.HardwareAddr" => Self::HardwareAddr,
            "cel.Expression" => Self::Expression,
            "block.ByteSize" => Self::ByteSize,
            "block.Size" => Self::Size,
            // Types that are texts in Go, without rules when they are read.
            "v1alpha1.InstallDiskType"
            | "config.ContainerSecurityProfile"
            | "config.ContainerNetworkMode" => return None,
            choice => Self::Choice(choice),
        })
    }

    /// Whether Talos reads the leaf from a scalar's text, whatever the scalar would mean alone: a
    /// time is one then, too.
    pub(super) fn takes_any_text(self) -> bool {
        matches!(
            self,
            Self::Prefix
                | Self::Addr
                | Self::AddrPort
                | Self::HardwareAddr
                | Self::Expression
                | Self::ByteSize
                | Self::Size
                | Self::Choice(_)
        )
    }

    /// What is wrong with a text, and what to write instead; nothing where Talos takes it. No
    /// message holds the text.
    pub(super) fn refuse(self, schema: &Schema, text: &str) -> Option<(String, String)> {
        let refused = |good: bool, what: &str, write: &str| {
            (!good).then(|| (format!("this is no {what}"), format!("write {write}")))
        };
        match self {
            Self::Duration => refused(
                amount::duration(text).is_some(),
                "length of time",
                "one with a unit: `90s`, `1h30m`; there are no days",
            ),
            Self::DiskSize | Self::ByteSize => {
                let text = if self == Self::ByteSize { unsigned(schema, text) } else { text };
                let good = text.is_empty() && self == Self::ByteSize;
                refused(good || amount::bytes(text).is_some(), "size", "`10GB` or `512MiB`")
            }
            Self::Size if text.contains('%') => {
                let good = amount::is_percentage(unsigned(schema, text));
                refused(good, "percentage", "one from `0%` to `100%`")
            }
            Self::Size => {
                let good = text.is_empty() || amount::bytes(unsigned(schema, text)).is_some();
                refused(good, "size", "`10GB`, `512MiB` or `50%`")
            }
            Self::SizeMatcher => refused(
                amount::size_condition(text).is_some(),
                "condition on a size",
                "`>= 500GB`: one of `==`, `>`, `>=`, `<`, `<=`, and a size",
            ),
            Self::Prefix => {
                refused(net::is_prefix(text), "network", "an address and a length, `2001:db8::/64`")
            }
            Self::Addr => refused(net::is_address(text), "address", "`2001:db8::1` or `192.0.2.1`"),
            Self::AddrPort => {
                refused(net::is_address_port(text), "address with a port", "`[2001:db8::1]:51820`")
            }
            Self::Url | Self::Endpoint => {
                refused(net::is_url(text), "URL", "one such as `https://host.example:6443`")
            }
            Self::PortRange => refused(net::is_port_range(text), "range of ports", "`80-90`"),
            Self::HardwareAddr => {
                refused(net::is_hardware_address(text), "MAC address", "`52:54:00:12:34:56`")
            }
            Self::Choice(name) => {
                let words = schema.choice(name);
                let known = match name.ends_with("FailOverMAC") {
                    // The one that Talos reads by itself.
                    true => {
                        let number =
                            text.parse::<i8>().is_ok_and(|number| (0..=2).contains(&number));
                        number || text.is_empty() || words.iter().any(|(_, word)| text == *word)
                    }
                    false => words.iter().any(|(_, word)| text.eq_ignore_ascii_case(word)),
                };
                if known {
                    return None;
                }
                let words: Vec<&str> = words.iter().take(12).map(|(_, word)| *word).collect();
                Some(("no such choice".to_owned(), format!("write one of {}", words.join(", "))))
            }
            Self::FileMode
            | Self::Pair
            | Self::Certificate
            | Self::Key
            | Self::Argument
            | Self::Manifests
            | Self::Base64
            | Self::Expression => None,
        }
    }

    /// Whether a text is the type's zero value, which a patch's value must not be to count.
    pub(super) fn is_zero(self, schema: &Schema, text: &str) -> bool {
        match self {
            Self::Duration => amount::duration(text) == Some(0),
            Self::Choice(name) => {
                let zero = schema.choice(name).iter().find(|(number, _)| *number == 0);
                zero.is_some_and(|(_, word)| text.eq_ignore_ascii_case(word))
            }
            Self::DiskSize => amount::bytes(text) == Some(0),
            _ => text.is_empty(),
        }
    }
}

/// A size without its minus, which stands for what is left of a disk since Talos 1.13.
fn unsigned<'t>(schema: &Schema, text: &'t str) -> &'t str {
    match text.strip_prefix('-') {
        Some(text) if schema.minor >= 13 => text,
        _ => text,
    }
}

/// How a URL is merged: its parts, as Go's `net/url` takes them apart. Nothing is returned where Go
/// cannot merge them.
pub(super) fn merge_urls(left: &str, right: &str) -> Option<String> {
    net::Url::split(left).with(&net::Url::split(right)).map(net::Url::join)
}
