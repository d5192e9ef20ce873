//! PEM: DER as text, and that text once more in base64, as Talos' files hold it.
//!
//! In: texts, DER. Out: DER, texts.
//!
//! Source: RFC 7468, "Textual Encodings of PKIX, PKCS, and CMS Structures". What is read is what
//! Go's `encoding/pem` reads, since Talos does: text may stand around the block, and lines may have
//! any length. What is written has lines of 64.
//!
//! Not here: what the DER means (`key`, `certificate`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::secret::Secret;

/// The label of a certificate.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";

/// How many characters a line of base64 has.
const LINE: usize = 64;

/// The first block of a text.
pub(super) struct Block<'a> {
    /// What stands after `BEGIN`.
    pub(super) label: &'a str,
    /// What it holds.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The first well-formed block of a text, as Go's `pem.Decode` finds it.
pub(super) fn first_block(text: &str) -> Option<Block<'_>> {
    let mut rest = text;
    while let Some(begin) = find_line_start(rest, "-----BEGIN ") {
        rest = &rest[begin + "-----BEGIN ".len()..];
        if let Some(block) = block(rest) {
            return Some(block);
        }
    }
    None
}

/// Where a line starts with `mark`.
fn find_line_start(text: &str, mark: &str) -> Option<usize> {
    text.match_indices(mark)
        .map(|(at, _)| at)
        .find(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// The block whose label the text starts with.
fn block(text: &str) -> Option<Block<'_>> {
    let (line, body) = text.split_once('\n')?;
    let label = line.trim_end().strip_suffix("-----")?;
    // The next line of dashes must close the block: whatever else it is, base64 does not hold it.
    let end = find_line_start(body, "-----")?;
    let closing = body[end..].lines().next()?.trim_end();
    if closing.strip_prefix("-----END ")?.strip_suffix("-----")? != label {
        return None;
    }
    // A header (RFC 1421), such as that of an encrypted key, has a colon; base64 has none.
    let lines = body[..end].lines().filter(|line| !line.contains(':'));
    let mut packed = Zeroizing::new(String::with_capacity(end));
    lines.for_each(|line| packed.extend(line.chars().filter(|c| !c.is_ascii_whitespace())));
    let der = Zeroizing::new(STANDARD.decode(packed.as_bytes()).ok()?);
    Some(Block { label, der })
}

/// A block of PEM, with a line end after its last line.
pub(super) fn encode(label: &str, der: &[u8]) -> Secret {
    let packed = Zeroizing::new(STANDARD.encode(der));
    let room = packed.len() + packed.len() / LINE + 2 * label.len() + 40;
    let mut text = String::with_capacity(room);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = packed.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend(["-----END ", label, "-----\n"]);
    Secret::new(text)
}

/// The base64 of a PEM text, its last line end included, on one line: what a secrets bundle, a
/// talosconfig, a kubeconfig and most of a machine config hold.
pub fn to_base64(pem: &str) -> Secret {
    Secret::new(STANDARD.encode(pem))
}

/// The PEM text in a base64 that [`to_base64`] or Talos wrote; line ends in it do not count.
/// Nothing, where it is no base64 with its padding, or not of UTF-8 text.
pub fn from_base64(packed: &str) -> Option<Secret> {
    let room = String::with_capacity(packed.len());
    let mut plain = Zeroizing::new(room);
    plain.extend(packed.chars().filter(|c| !matches!(c, '\r' | '\n')));
    let bytes = Zeroizing::new(STANDARD.decode(plain.as_bytes()).ok()?);
    std::str::from_utf8(&bytes).ok().map(|text| Secret::new(text.to_owned()))
}
