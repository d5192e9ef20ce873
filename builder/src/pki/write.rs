//! YAML with secrets in it, as go-yaml writes it.
//!
//! In: keys and values. Out: a text, in memory that is wiped.
//!
//! Source: go-yaml v4 (as Talos 1.14 has it): plain where any YAML reader reads a text, in double
//! quotes what YAML 1.2 takes for something else, in single quotes what YAML 1.1 does or what has a
//! sign of YAML in it. Key names: siderolabs/talos
//! `pkg/machinery/config/generate/secrets/secrets.go`.
//!
//! Not here: clients' files (`client`).

use zeroize::Zeroizing;

use super::pem::to_base64;
use super::secret::Secret;
use super::{Authority, Bundle, EncryptionSecret};

/// A line of YAML.
pub(super) struct Line<'a> {
    /// How many spaces it starts with.
    pub(super) indent: usize,
    /// What stands before the colon, as it is written; or all of the line's content.
    pub(super) key: &'a str,
    /// What stands there.
    pub(super) value: Content,
}

/// What stands on a line.
pub(super) enum Content {
    /// A key, and what is below it.
    Below,
    /// A key and a text.
    Text(Secret),
    /// A key and an empty list.
    EmptyList,
    /// An item of a list, in place of a key.
    Item,
}

impl<'a> Line<'a> {
    /// A key with others below it.
    pub(super) fn below(indent: usize, key: &'a str) -> Self {
        Self { indent, key, value: Content::Below }
    }

    /// A key and its value, quoted where it must be.
    pub(super) fn text(indent: usize, key: &'a str, value: &str) -> Self {
        Self { indent, key, value: Content::Text(scalar(value)) }
    }

    /// A key and the base64 of a PEM text.
    pub(super) fn pem(indent: usize, key: &'a str, pem: &str) -> Self {
        Self { indent, key, value: Content::Text(to_base64(pem)) }
    }
}

/// The text of lines. Its memory is taken at once: text that grows leaves copies behind.
pub(super) fn yaml(lines: &[Line<'_>]) -> Secret {
    let length = |line: &Line<'_>| {
        let value = match &line.value {
            Content::Text(text) => text.reveal().len(),
            Content::Below | Content::EmptyList | Content::Item => 0,
        };
        line.indent + line.key.len() + value + 8
    };
    let mut text = String::with_capacity(lines.iter().map(length).sum());
    for line in lines {
        text.extend(std::iter::repeat_n(' ', line.indent));
        match &line.value {
            Content::Below => text.extend([line.key, ":\n"]),
            Content::Text(value) => text.extend([line.key, ": ", value.reveal(), "\n"]),
            Content::EmptyList => text.extend([line.key, ": []\n"]),
            Content::Item => text.extend(["- ", line.key, "\n"]),
        }
    }
    Secret::new(text)
}

/// The text of a bundle.
pub(super) fn bundle(bundle: &Bundle) -> Secret {
    let (encryption, secret) = match &bundle.encryption {
        EncryptionSecret::Secretbox(secret) => ("secretboxencryptionsecret", secret),
        EncryptionSecret::AesCbc(secret) => ("aescbcencryptionsecret", secret),
    };
    let ca = |name, ca: &Authority| {
        [
            Line::below(4, name),
            Line::pem(8, "crt", ca.certificate().pem()),
            Line::pem(8, "key", ca.key().pem().reveal()),
        ]
    };
    let mut lines = vec![
        Line::below(0, "cluster"),
        Line::text(4, "id", bundle.cluster_id.reveal()),
        Line::text(4, "secret", bundle.cluster_secret.reveal()),
        Line::below(0, "secrets"),
        Line::text(4, "bootstraptoken", bundle.bootstrap_token.reveal()),
        Line::text(4, encryption, secret.reveal()),
        Line::below(0, "trustdinfo"),
        Line::text(4, "token", bundle.trustd_token.reveal()),
        Line::below(0, "certs"),
    ];
    lines.extend(ca("etcd", &bundle.etcd));
    lines.extend(ca("k8s", &bundle.k8s));
    lines.extend(ca("k8saggregator", &bundle.k8s_aggregator));
    lines.push(Line::below(4, "k8sserviceaccount"));
    lines.push(Line::pem(8, "key", bundle.k8s_service_account.pem().reveal()));
    lines.extend(ca("os", &bundle.os));
    yaml(&lines)
}

/// A text as a YAML scalar on one line.
pub(super) fn scalar(text: &str) -> Secret {
    let mut quoted = String::with_capacity(2 * text.len() + 2);
    if needs_escapes(text) || is_something_else(text) {
        double_quoted(text, &mut quoted);
    } else if has_sign(text) || is_old_something_else(text) {
        quoted.push('\'');
        text.split('\'').enumerate().for_each(|(n, part)| {
            quoted.push_str(if n > 0 { "''" } else { "" });
            quoted.push_str(part);
        });
        quoted.push('\'');
    } else {
        quoted.push_str(text);
    }
    Secret::new(quoted)
}

/// Whether it has characters that only double quotes can hold.
fn needs_escapes(text: &str) -> bool {
    text.chars().any(|c| !matches!(c, ' '..='~'))
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Whether a plain scalar would not end where the text does, or not be one.
fn has_sign(text: &str) -> bool {
    text.starts_with(|c| "#,[]{}&*!|>'\"%@`".contains(c))
        || ["---", "..."].iter().any(|mark| text.starts_with(mark))
        || matches!(text, "-" | "?" | ":")
        || text.ends_with(':')
        || text.contains(' ')
}

/// Whether YAML 1.2's core schema, with what go-yaml adds to it, takes a plain text for a number, a
/// switch, a time or nothing.
fn is_something_else(text: &str) -> bool {
    let words = ["", "~", "null", "true", "false"];
    let lower = text.to_ascii_lowercase();
    words.contains(&lower.as_str()) || is_number(&lower) || is_date(text)
}

fn is_number(lower: &str) -> bool {
    let lower = lower.trim_start_matches(['+', '-']);
    if matches!(lower, ".inf" | ".nan") {
        return true;
    }
    let plain: Zeroizing<String> = Zeroizing::new(lower.replace('_', ""));
    let digits = |prefix: &str, radix| {
        plain
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    // Rust reads `inf` and `nan` as numbers; YAML does not.
    let starts = lower.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_float = starts && plain.parse::<f64>().is_ok();
    is_float || digits("0x", 16) || digits("0o", 8) || digits("0b", 2)
}

/// Whether it starts as `2024-1-2` does.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut digits = |least, most| {
        let part = parts.next().unwrap_or_default();
        (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    digits(4, 4)
        && digits(1, 2)
        && parts.next().is_some_and(|day| day.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether YAML 1.1 takes a plain text for a switch, a number in base 60 or a merge.
fn is_old_something_else(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off", "<<"];
    let lower = text.to_ascii_lowercase();
    let mut parts = lower.trim_start_matches(['+', '-']).split(':');
    let digits = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_digit() || b"_.".contains(&b))
    };
    let base_60 = lower.contains(':') && parts.all(digits);
    words.contains(&lower.as_str()) || base_60
}
