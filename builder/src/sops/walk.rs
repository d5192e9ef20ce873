//! The walk over the documents, which decrypts and checks the MAC as it goes.
//!
//! In: the documents, the `sops` mapping, the data key. Out: the plain documents as YAML.
//!
//! Source: SOPS 3.13, `sops.go`, `Tree.Decrypt` and `walkBranch`: the MAC is SHA-512 over the plain
//! values in their order, of all documents; `cmd/sops/common/common.go`, `DecryptTree`, for how it
//! is kept. An item of a list has the path of its list.
//!
//! Not here: the form of an encrypted value (`super::cipher`), YAML (`super::write`).

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::KEY;
use super::cipher::{DataKey, Sealed};
use super::metadata::{Metadata, Scope};
use super::value::{self, Value};
use super::write::{After, At, First, Writer};
use crate::report::{Diagnostic, Place};
use crate::yaml::{self, Entry, Node, Scalar, Style};

/// What a MAC of the encrypted values alone is also of, first: the SHA-256 of `sops`.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Decrypts the documents of a file, and checks its MAC.
pub(super) fn decrypt(
    documents: &[Node],
    metadata: &Metadata<'_>,
    key: &DataKey,
) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let (plain, computed) = walk(documents, metadata, key)?;
    let kept = Sealed::parse(metadata.mac.text)
        .and_then(|sealed| key.open(sealed, metadata.last_modified));
    if kept.is_some_and(|kept| kept.as_slice() == computed.as_bytes()) {
        return Ok(plain);
    }
    let message = "the MAC does not fit: a value was changed, added, removed or moved since SOPS \
                   encrypted the file";
    Err(Diagnostic::error("sops-mac", message)
        .at(metadata.mac.node.place())
        .help("take the file anew from where it was encrypted, and change it with `sops edit`"))
}

/// The plain documents of a file, and the MAC that it should have.
pub(super) fn walk(
    documents: &[Node],
    metadata: &Metadata<'_>,
    key: &DataKey,
) -> Result<(Zeroizing<Vec<u8>>, String), Diagnostic> {
    let start = Place { line: 1, column: 1, ..metadata.mac.node.place() };
    let mut hash = Sha512::new();
    if metadata.scope == Scope::Encrypted {
        hash.update(ENCRYPTED_ONLY);
    }
    let mut walk = Walk { metadata, key, hash, path: String::new(), out: Writer::new(start) };
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            walk.out.separator()?;
        }
        walk.document(document)?;
    }
    let mac = walk.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((walk.out.finish(), mac))
}

/// Where the walk is.
struct Walk<'a> {
    metadata: &'a Metadata<'a>,
    key: &'a DataKey,
    /// The MAC so far.
    hash: Sha512,
    /// The keys above, each with a colon.
    path: String,
    out: Writer,
}

/// A scalar, read.
enum Read<'a> {
    /// It stays as it is written.
    Kept(&'a str),
    /// It was encrypted, or cannot be written as it was.
    Value(Value<'a>),
}

impl Walk<'_> {
    fn document(&mut self, node: &Node) -> Result<(), Diagnostic> {
        match node.entries() {
            Some(entries) => {
                let entries = entries.iter().filter(|entry| entry.key != KEY);
                self.mapping(entries, At::DOCUMENT, false)
            }
            None if node.is_null() => self.out.empty(At::DOCUMENT, "{}"),
            None => {
                let message =
                    format!("a document that SOPS encrypts is a mapping, not {}", node.kind());
                let help = "take the file anew from where it was encrypted";
                Err(Diagnostic::error("sops-document", message).at(node.place()).help(help))
            }
        }
    }

    /// A collection or scalar; `named` says whether the rule names a key above it.
    fn node(&mut self, node: &Node, at: At, named: bool) -> Result<(), Diagnostic> {
        match node.value() {
            yaml::Value::Mapping(entries) => self.mapping(entries.iter(), at, named),
            yaml::Value::Sequence(items) => self.sequence(items, at, named),
            yaml::Value::Scalar(scalar) => match self.scalar(node, scalar, named)? {
                Read::Value(Value::Comment) => {
                    Err(changed(node, "a comment stands where a value should"))
                }
                read => self.write(&read, at),
            },
        }
    }

    fn mapping<'n>(
        &mut self,
        entries: impl Iterator<Item = &'n Entry>,
        at: At,
        named: bool,
    ) -> Result<(), Diagnostic> {
        let mut first = First::Yes;
        for entry in entries {
            self.out.start(at, first)?;
            first = First::No;
            self.out.key(&entry.key, at.column)?;
            let above = self.path.len();
            self.path.push_str(&entry.key);
            self.path.push(':');
            let named = named || self.metadata.rule.names(&entry.key);
            self.node(&entry.value, at.inner(After::Key), named)?;
            self.path.truncate(above);
        }
        if first == First::Yes { self.out.empty(at, "{}") } else { Ok(()) }
    }

    /// SOPS keeps the comments of a list as items; those are left out.
    fn sequence(&mut self, items: &[Node], at: At, named: bool) -> Result<(), Diagnostic> {
        let mut first = First::Yes;
        for item in items {
            let read = match item.value() {
                yaml::Value::Scalar(scalar) => Some(self.scalar(item, scalar, named)?),
                _ => None,
            };
            if matches!(read, Some(Read::Value(Value::Comment))) {
                continue;
            }
            self.out.start(at, first)?;
            first = First::No;
            self.out.dash()?;
            match read {
                Some(read) => self.write(&read, at.inner(After::Dash))?,
                None => self.node(item, at.inner(After::Dash), named)?,
            }
        }
        if first == First::Yes { self.out.empty(at, "[]") } else { Ok(()) }
    }

    fn write(&mut self, read: &Read<'_>, at: At) -> Result<(), Diagnostic> {
        match read {
            Read::Kept(text) => self.out.verbatim(at, text),
            Read::Value(value) => self.out.value(at, value),
        }
    }

    /// Reads a scalar, and adds it to the MAC.
    fn scalar<'n>(
        &mut self,
        node: &Node,
        scalar: &'n Scalar,
        named: bool,
    ) -> Result<Read<'n>, Diagnostic> {
        let value = value::written(node, scalar)?;
        if matches!(value, Value::Null) {
            return Ok(Read::Value(value));
        }
        let is_encrypted = self.metadata.rule.encrypts(named, scalar);
        let value = if is_encrypted { self.open(node, &value)? } else { value };
        if is_encrypted || self.metadata.scope == Scope::All {
            self.hash.update(value.hashed());
        }
        // A text of several lines would need the indentation that it had.
        let is_kept = !is_encrypted
            && node.tag().is_none()
            && scalar.style == Style::Plain
            && !scalar.text.contains('\n');
        Ok(if is_kept { Read::Kept(&scalar.text) } else { Read::Value(value) })
    }

    fn open(&mut self, node: &Node, value: &Value<'_>) -> Result<Value<'static>, Diagnostic> {
        let text = match value {
            // SOPS leaves an empty text as it is.
            Value::Text("") => return Ok(Value::Text("")),
            Value::Text(text) => text,
            _ => return Err(plain(node)),
        };
        let sealed = Sealed::parse(text).ok_or_else(|| plain(node))?;
        let kind = sealed.kind;
        let message =
            "this value was changed, or moved from another place, since SOPS encrypted it";
        let bytes = self.key.open(sealed, &self.path).ok_or_else(|| changed(node, message))?;
        if kind == "comment" {
            self.out.spend(bytes.len())?;
        }
        let message = "this value is not of the type that stands beside it";
        value::opened(kind, bytes).ok_or_else(|| changed(node, message))
    }
}

fn plain(node: &Node) -> Diagnostic {
    let message = "this should be a value encrypted by SOPS, and is not";
    Diagnostic::error("sops-plain-value", message)
        .at(node.place())
        .help("change encrypted files with `sops edit` alone")
}

fn changed(node: &Node, message: &str) -> Diagnostic {
    Diagnostic::error("sops-value", message)
        .at(node.place())
        .help("take the file anew from where it was encrypted")
}
