//! Lists of checksums beside a release's files.
//!
//! In: `sha256sum.txt` and `sha512sum.txt` of a folder. Out: what each says of a file.
//!
//! Source: sha256sum(1), "the default mode is to print a line with: checksum, a space, a character
//! indicating input mode, and name for each FILE"; Talos `Makefile`, target `release`.
//!
//! Not here: whether a list is to be trusted (`signature`), and the files (`input`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256, Sha512};

use crate::asset::error::AssetError;
use crate::blob::Blob;
use crate::digest::Digest;

/// The lists, by name, and the hexadecimal digits of their checksums.
const LISTS: [(&str, usize); 2] = [("sha256sum.txt", 64), ("sha512sum.txt", 128)];
/// The longest list. A release's has some KiB.
const MOST: u64 = 1 << 20;

/// A checksum. It prints with its algorithm: `sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256.
    Sha256(Digest),
    /// SHA-512, in lower-case hexadecimal digits.
    Sha512(String),
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
            Self::Sha512(digits) => write!(f, "sha512:{digits}"),
        }
    }
}

/// What a list says of one file.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The list's name, as inputs have it.
    pub(super) list: String,
    /// The checksum.
    pub(super) sum: Sum,
}

/// The lists of a folder.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<List>);

/// One list.
#[derive(Debug)]
pub(super) struct List {
    /// Its name, as inputs have it.
    pub(super) name: String,
    /// Its very bytes: they are what a signature is for.
    pub(super) blob: Blob,
    sums: BTreeMap<String, Sum>,
}

impl Lists {
    /// Reads the lists of a folder, whose names get a `prefix`.
    ///
    /// # Errors
    ///
    /// Where a list is there and cannot be read, or is none.
    pub(super) fn read(folder: &Path, prefix: &str) -> Result<Self, AssetError> {
        let mut lists = Vec::new();
        for (file, digits) in LISTS {
            let path = folder.join(file);
            let io = |error| AssetError::Io(path.clone(), error);
            let shown = path.display().to_string();
            match path.metadata() {
                Ok(about) if !about.is_file() => continue,
                Ok(about) if about.len() > MOST => {
                    return Err(AssetError::SumLen { name: shown, len: about.len(), most: MOST });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io(error)),
            }
            let bytes = std::fs::read(&path).map_err(io)?;
            let sums =
                parse(&bytes, digits).map_err(|line| AssetError::SumLine { name: shown, line })?;
            let name = format!("{prefix}{file}");
            lists.push(List { blob: Blob::from_bytes(name.clone(), bytes), name, sums });
        }
        Ok(Self(lists))
    }

    /// What the lists say of a file of their folder.
    pub(super) fn of(&self, file: &str) -> Vec<Listed> {
        let listed = |list: &List| {
            let sum = list.sums.get(file)?.clone();
            Some(Listed { list: list.name.clone(), sum })
        };
        self.0.iter().filter_map(listed).collect()
    }

    /// The lists, each given out once.
    pub(super) fn drain(&mut self) -> Vec<(String, Blob)> {
        let given = self.0.iter_mut().filter(|list| !list.blob.is_empty());
        given.map(|list| (list.name.clone(), std::mem::take(&mut list.blob))).collect()
    }
}

/// The sums by name, or the first line that is none.
fn parse(bytes: &[u8], digits: usize) -> Result<BTreeMap<String, Sum>, usize> {
    let mut sums = BTreeMap::new();
    let text = str::from_utf8(bytes).map_err(|error| line_of(bytes, error.valid_up_to()))?;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (name, sum) = entry(line, digits).ok_or(index + 1)?;
        // Two sums for one file: no file can have both.
        if sums.insert(name, sum.clone()).is_some_and(|other| other != sum) {
            return Err(index + 1);
        }
    }
    Ok(sums)
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn entry(line: &str, digits: usize) -> Option<(String, Sum)> {
    let (sum, rest) = line.split_at_checked(digits)?;
    // The second character says how the file was read: as text or as it is.
    let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let sum = sum.to_ascii_lowercase();
    let is_hex = sum.bytes().all(|b| b.is_ascii_hexdigit());
    let sum = match digits {
        64 => Sum::Sha256(sum.parse().ok()?),
        _ => is_hex.then_some(Sum::Sha512(sum))?,
    };
    (!name.is_empty()).then(|| (name.to_owned(), sum))
}

/// Both checksums of a file under way; the longer one only where it is asked for.
#[derive(Debug, Default)]
pub(super) struct Both {
    sha256: Sha256,
    sha512: Option<Sha512>,
}

/// The checksums of a file.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    /// By which it is known.
    pub(super) digest: Digest,
    /// Where a list asks for it.
    sha512: Option<Sum>,
}

impl Both {
    /// For a file of which these things are said.
    pub(super) fn for_listed(listed: &[Listed]) -> Self {
        let long = listed.iter().any(|listed| matches!(listed.sum, Sum::Sha512(_)));
        Self { sha256: Sha256::new(), sha512: long.then(Sha512::new) }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha512.iter_mut().for_each(|sha512| sha512.update(bytes));
    }

    /// Ends them.
    pub(super) fn finish(self) -> Sums {
        let digits = |sha512: Sha512| {
            Sum::Sha512(sha512.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
        };
        Sums { digest: Digest(self.sha256.finalize().into()), sha512: self.sha512.map(digits) }
    }
}

impl Sums {
    /// Of a file that is known by its digest, and of which no list says anything.
    pub(super) fn known(digest: Digest) -> Self {
        Self { digest, sha512: None }
    }

    /// The checksum of the algorithm of `other`.
    pub(super) fn like(&self, other: &Sum) -> Sum {
        match other {
            Sum::Sha256(_) => Sum::Sha256(self.digest),
            Sum::Sha512(_) => self.sha512.clone().unwrap_or(Sum::Sha256(self.digest)),
        }
    }
}

#[cfg(test)]
mod tests;
