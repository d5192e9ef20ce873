//! The lock file: what each reference of a site meant.
//!
//! In: the text of `site.lock`, references and digests. Out: the same.
//!
//! ```yaml
//! # Made by talforge: what the site file's references meant when they were looked up …
//! version: 1
//! entries:
//! - reference: ghcr.io/siderolabs/imager:v1.13.9
//!   kind: image
//!   digest: sha256:…
//!   length: 1609
//!   mediaType: application/vnd.oci.image.index.v1+json
//!   manifests:
//!     amd64: sha256:…
//! ```
//!
//! Source: none, the file is ours. Media types are those of the OCI Image Format Specification 1.1.
//!
//! Not here: finding out what a reference means (`registry`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::Digest;
use crate::report::{Diagnostic, Place};
use crate::talos::Arch;
use crate::yaml::{self, Node};

/// What the file starts with.
const HEAD: &str = "\
# Made by talforge: what the site file's references meant when they were looked up.
# Keep it with the site file. It is written anew; what is edited here is refused or lost.
";

/// The version of the file's form.
const VERSION: u32 = 1;

/// The types of manifests: what has one of these is for one architecture.
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

const ANEW: &str = "delete the file and have it made anew, or take it from version control again";

/// What the references of a site meant when they were last looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    entries: BTreeMap<String, Locked>,
}

/// What a reference meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// An image.
    Image {
        /// The digest of the index, or of the manifest where there is no index.
        digest: Digest,
        /// Its length in bytes.
        len: u64,
        /// Its type.
        media_type: String,
        /// The digests of the manifests that are used, by architecture.
        manifests: BTreeMap<Arch, Digest>,
    },
    /// A file.
    File {
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        len: u64,
    },
}

impl Locked {
    /// The digest that a reference stands for.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Image { digest, .. } | Self::File { digest, .. } => *digest,
        }
    }
}

impl Lock {
    /// Reads a lock file; `file` is its path, for messages.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        conflict(file, bytes)?;
        let documents = yaml::parse(file, bytes)?;
        let [root] = documents.as_slice() else {
            let place = Place { file: file.to_owned(), line: 1, column: 1 };
            let message = "a lock file is one YAML document";
            return Err(Diagnostic::error("lock-form", message).at(place).help(ANEW));
        };
        let [version, entries] = fields(root, ["version", "entries"], [])?.0;
        if version.text() != Some("1") {
            let message = match version.text() {
                Some(text) => {
                    format!("the lock file has the version `{text}`; this program reads 1")
                }
                None => "the version of a lock file is a number".to_owned(),
            };
            let help = "use the program that made it, or a newer one";
            return Err(Diagnostic::error("lock-version", message).at(version.place()).help(help));
        }
        let items = entries.items().ok_or_else(|| form(entries, "`entries` is a list"))?;
        let mut lock = Self::default();
        for item in items {
            let (reference, locked) = entry(item)?;
            if lock.entries.insert(reference.clone(), locked).is_some() {
                let message = format!("`{reference}` is locked twice");
                return Err(Diagnostic::error("lock-twice", message).at(item.place()).help(ANEW));
            }
        }
        Ok(lock)
    }

    /// The lock file: the same entries give the same text.
    pub fn emit(&self) -> String {
        let entries =
            self.entries.iter().map(|(reference, locked)| WireEntry::of(reference, locked));
        let wire = Wire { version: VERSION, entries: entries.collect() };
        let body = serde_yaml::to_string(&wire).expect("texts and numbers are YAML");
        format!("{HEAD}{body}")
    }

    /// What a reference meant, as it is written in the site.
    pub fn get(&self, reference: &str) -> Option<&Locked> {
        self.entries.get(reference)
    }

    /// Says what a reference means.
    pub fn set(&mut self, reference: &str, meaning: Locked) {
        self.entries.insert(reference.to_owned(), meaning);
    }

    /// Forgets what is not used any more.
    pub fn retain(&mut self, is_used: impl Fn(&str) -> bool) {
        self.entries.retain(|reference, _| is_used(reference));
    }

    /// All references and what they meant, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Locked)> {
        self.entries.iter().map(|(reference, locked)| (reference.as_str(), locked))
    }
}

/// The file as it is written, its keys in this order.
#[derive(Serialize)]
struct Wire<'a> {
    version: u32,
    entries: Vec<WireEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry<'a> {
    reference: &'a str,
    kind: &'static str,
    digest: String,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<BTreeMap<&'static str, String>>,
}

impl<'a> WireEntry<'a> {
    fn of(reference: &'a str, locked: &'a Locked) -> Self {
        let text = |digest: &Digest| format!("sha256:{digest}");
        let (kind, digest, length, media_type, manifests) = match locked {
            Locked::Image { digest, len, media_type, manifests } => {
                let manifests = manifests.iter().map(|(arch, of)| (arch.name(), text(of)));
                ("image", digest, *len, Some(media_type.as_str()), Some(manifests.collect()))
            }
            Locked::File { digest, len } => ("file", digest, *len, None, None),
        };
        Self { reference, kind, digest: text(digest), length, media_type, manifests }
    }
}

/// Looks for what a merge left behind, which YAML would call something else.
fn conflict(file: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
    let is_marker = |line: &[u8]| {
        let marks: [&[u8]; 3] = [b"<<<<<<<", b"=======", b">>>>>>>"];
        marks.iter().any(|mark| line.starts_with(mark))
    };
    let Some(at) = bytes.split(|byte| *byte == b'\n').position(is_marker) else { return Ok(()) };
    let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
    let place = Place { file: file.to_owned(), line, column: 1 };
    let message = "two versions of the lock file were merged, and differ here";
    let help = "take either version whole; what it lacks is looked up again";
    Err(Diagnostic::error("lock-conflict", message).at(place).help(help))
}

/// Reads an entry.
fn entry(node: &Node) -> Result<(String, Locked), Diagnostic> {
    let kind = node.get("kind").ok_or_else(|| form(node, "an entry has a `kind`"))?;
    let is_image = match kind.text() {
        Some("image") => true,
        Some("file") => false,
        _ => {
            let message = "an entry is of the kind `image` or `file`";
            let help = "use the program that made the file, or a newer one";
            return Err(Diagnostic::error("lock-kind", message).at(kind.place()).help(help));
        }
    };
    let (reference, digest, len, image) = if is_image {
        let keys = ["reference", "kind", "digest", "length", "mediaType", "manifests"];
        let [reference, _, digest, len, media_type, manifests] = fields(node, keys, [])?.0;
        (reference, digest, len, Some((media_type, manifests)))
    } else {
        let keys = ["reference", "kind", "digest", "length"];
        let [reference, _, digest, len] = fields(node, keys, [])?.0;
        (reference, digest, len, None)
    };
    let reference = text(reference, "a reference is a text")?;
    let (at, digest) = (digest, self::digest(digest)?);
    let number =
        |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let length = len.text().and_then(number);
    let len = length.ok_or_else(|| form(len, "a length is a whole number of bytes"))?;
    let Some((media_type, manifests)) = image else {
        return Ok((reference, Locked::File { digest, len }));
    };
    let media_type = text(media_type, "a media type is a text")?;
    let [amd64, arm64] = fields(manifests, [], ["amd64", "arm64"])?.1;
    let mut of = BTreeMap::new();
    for (arch, node) in [(Arch::Amd64, amd64), (Arch::Arm64, arm64)] {
        let Some(node) = node else { continue };
        let manifest = self::digest(node)?;
        if MANIFESTS.contains(&media_type.as_str()) && manifest != digest {
            let message = format!(
                "`{reference}` is no index, so that its manifest is sha256:{digest} itself, as at {}",
                at.place(),
            );
            return Err(Diagnostic::error("lock-digest", message).at(node.place()).help(ANEW));
        }
        of.insert(arch, manifest);
    }
    Ok((reference, Locked::Image { digest, len, media_type, manifests: of }))
}

/// The values of a mapping's keys: those that must be there, and those that may. There are no
/// others.
fn fields<'n, const N: usize, const M: usize>(
    node: &'n Node,
    needed: [&str; N],
    possible: [&str; M],
) -> Result<([&'n Node; N], [Option<&'n Node>; M]), Diagnostic> {
    let entries = node.entries().ok_or_else(|| form(node, "this is a mapping in a lock file"))?;
    let is_known = |key: &str| needed.contains(&key) || possible.contains(&key);
    if let Some(entry) = entries.iter().find(|entry| !is_known(&entry.key)) {
        let message = format!("the key `{}` is not known in a lock file", entry.key);
        let problem = Diagnostic::error("lock-unknown-key", message).at(entry.place.clone());
        return Err(problem.help("use the program that made the file, or a newer one"));
    }
    let mut found = [node; N];
    for (slot, key) in found.iter_mut().zip(needed) {
        *slot = node.get(key).ok_or_else(|| form(node, &format!("`{key}` is missing")))?;
    }
    Ok((found, possible.map(|key| node.get(key))))
}

fn form(node: &Node, message: &str) -> Diagnostic {
    Diagnostic::error("lock-form", message).at(node.place()).help(ANEW)
}

fn text(node: &Node, message: &str) -> Result<String, Diagnostic> {
    let text = node.text().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| form(node, message))
}

/// Reads `sha256:` and 64 digits.
fn digest(node: &Node) -> Result<Digest, Diagnostic> {
    let hex = node.text().and_then(|text| text.strip_prefix("sha256:"));
    hex.and_then(|hex| hex.parse().ok()).ok_or_else(|| {
        let message = "this is no digest: `sha256:` and 64 lower-case hexadecimal digits";
        Diagnostic::error("lock-digest", message).at(node.place()).help(ANEW)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Lock {
        let mut lock = Lock::default();
        let digest = Digest::of(b"index");
        let manifests =
            [(Arch::Amd64, Digest::of(b"amd64")), (Arch::Arm64, Digest::of(b"arm64"))].into();
        let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
        let image = Locked::Image { digest, len: 1609, media_type, manifests };
        lock.set("ghcr.io/siderolabs/imager:v1.13.9", image);
        let file = Locked::File { digest: Digest::of(b"file"), len: 99 };
        lock.set("https://example.org/metal-amd64.iso", file);
        lock
    }

    #[test]
    fn a_lock_file_is_read_as_it_was_written() {
        let text = sample().emit();
        insta::assert_snapshot!(text, @r#"
    # Made by talforge: what the site file's references meant when they were looked up.
    # Keep it with the site file. It is written anew; what is edited here is refused or lost.
    version: 1
    entries:
    - reference: ghcr.io/siderolabs/imager:v1.13.9
      kind: image
      digest: sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6
      length: 1609
      mediaType: application/vnd.oci.image.index.v1+json
      manifests:
        amd64: sha256:5861314d7fccb39c2192173240eab44fa35ca66426201ca2acd0630a6258dd51
        arm64: sha256:f69162950f235e3cdbbad33f1f912d1a504be90d8a37d002c735d6f3e3882265
    - reference: https://example.org/metal-amd64.iso
      kind: file
      digest: sha256:3b9c358f36f0a31b6ad3e14f309c7cf198ac9246e8316f9ce543d5b19ac02b80
      length: 99
    "#);
        assert_eq!(Lock::parse("site.lock", text.as_bytes()), Ok(sample()));
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let mut lock = sample();
        lock.retain(|reference| reference.starts_with("https:"));
        let left: Vec<_> = lock.iter().map(|(reference, _)| reference).collect();
        assert_eq!(left, ["https://example.org/metal-amd64.iso"]);
        assert!(lock.get(left[0]).is_some());
    }

    #[test]
    fn what_was_damaged_or_edited_is_refused_with_its_place() {
        let good = sample().emit();
        let hex = Digest::of(b"amd64").to_string();
        let plain = "application/vnd.oci.image.manifest.v1+json";
        let cases = [
            ("version: 1", "version: 2"),
            ("version: 1", "<<<<<<< HEAD\nversion: 1"),
            ("kind: file", "kind: signature"),
            ("length: 99", "length: -1"),
            ("length: 99", "length: 99\n  size: 99"),
            (hex.as_str(), &hex[1..]),
            (hex.as_str(), &hex.to_uppercase()),
            ("application/vnd.oci.image.index.v1+json", plain),
            ("https://example.org/metal-amd64.iso", "ghcr.io/siderolabs/imager:v1.13.9"),
            ("  length: 99\n", ""),
            ("manifests:", "manifests: {}\n  other:"),
            ("entries:", "entries: []\n---\nentries:"),
            ("    amd64:", "    riscv64:"),
        ];
        let said = cases.map(|(from, to)| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            Lock::parse("site.lock", text.as_bytes()).unwrap_err().to_string()
        });
        insta::assert_snapshot!(said.join("\n"), @r#"
    error: the lock file has the version `2`; this program reads 1
      --> site.lock:3:10
    help: use the program that made it, or a newer one
    error: two versions of the lock file were merged, and differ here
      --> site.lock:3:1
    help: take either version whole; what it lacks is looked up again
    error: an entry is of the kind `image` or `file`
      --> site.lock:14:9
    help: use the program that made the file, or a newer one
    error: a length is a whole number of bytes
      --> site.lock:16:11
    help: delete the file and have it made anew, or take it from version control again
    error: the key `size` is not known in a lock file
      --> site.lock:17:3
    help: use the program that made the file, or a newer one
    error: this is no digest: `sha256:` and 64 lower-case hexadecimal digits
      --> site.lock:11:12
    help: delete the file and have it made anew, or take it from version control again
    error: this is no digest: `sha256:` and 64 lower-case hexadecimal digits
      --> site.lock:11:12
    help: delete the file and have it made anew, or take it from version control again
    error: `ghcr.io/siderolabs/imager:v1.13.9` is no index, so that its manifest is sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6 itself, as at site.lock:7:11
      --> site.lock:11:12
    help: delete the file and have it made anew, or take it from version control again
    error: `ghcr.io/siderolabs/imager:v1.13.9` is locked twice
      --> site.lock:13:3
    help: delete the file and have it made anew, or take it from version control again
    error: `length` is missing
      --> site.lock:13:3
    help: delete the file and have it made anew, or take it from version control again
    error: the key `other` is not known in a lock file
      --> site.lock:11:3
    help: use the program that made the file, or a newer one
    error: a lock file is one YAML document
      --> site.lock:1:1
    help: delete the file and have it made anew, or take it from version control again
    error: the key `riscv64` is not known in a lock file
      --> site.lock:11:5
    help: use the program that made the file, or a newer one
    "#);
    }

    proptest! {
        #[test]
        fn any_entry_is_read_as_it_was_written(
            reference in "[ -~äß]{1,300}",
            media_type in "[ -~]{1,80}",
            len: u64,
            seed: [u8; 32],
            has_manifest: bool,
        ) {
            prop_assume!(!reference.trim().is_empty());
            let manifests = has_manifest.then_some((Arch::Arm64, Digest(seed)));
            let manifests = manifests.into_iter().collect();
            let mut lock = sample();
            lock.set(&reference, Locked::Image { digest: Digest(seed), len, media_type, manifests });
            let text = lock.emit();
            prop_assert_eq!(Lock::parse("site.lock", text.as_bytes()), Ok(lock), "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Lock::parse("site.lock", &bytes);
        }
    }
}
