//! Names of output files, which cannot lead out of the output folder.
//!
//! In: text such as `cp-1.iso` or `w-1/vmlinuz`. Out: a [`Name`].
//!
//! Source: GNU coreutils manual, "md5sum invocation": names with a backslash or a line break are
//! written in another form, which no reader of `SHA256SUMS` needs to know because we refuse them.
//!
//! Not here: symbolic links, which only the file system knows (`folder`).

use std::fmt;

use crate::sink::SinkError;

/// The list of digests that a batch keeps in its folder.
pub const SUMS: &str = "SHA256SUMS";

/// What a batch keeps in its folder for the next one.
pub const STATE: &str = ".talforge-state";

/// What the names of our own temporary files begin with.
pub(super) const TEMPORARY: &str = ".talforge-";

/// The longest part of a path, in bytes, on every usual file system.
const LONGEST_PART: usize = 255;

/// The path of an output file, relative to its folder: parts joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// [`SinkError::Name`] where it is absolute, has a part that is empty, `.`, `..` or too long,
    /// holds a control character or a backslash, or is one that a batch uses itself.
    pub fn parse(text: &str) -> Result<Self, SinkError> {
        match flaw(text) {
            None => Ok(Self(text.to_owned())),
            Some(why) => Err(SinkError::Name { name: text.escape_debug().to_string(), why }),
        }
    }

    /// The name of the list of digests.
    pub(super) fn sums() -> Self {
        Self(SUMS.to_owned())
    }

    /// The name of what is kept for the next batch.
    pub(super) fn state() -> Self {
        Self(STATE.to_owned())
    }

    /// The name as it was read.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders on the way, each with its path so far, and the file's own name.
    pub(super) fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((folders, file)) => (Some(folders), file),
            None => (None, &self.0),
        }
    }

    /// The paths of the folders on the way, outermost first: `a`, `a/b` for `a/b/c`.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn flaw(text: &str) -> Option<&'static str> {
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if text.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    if text.contains('\\') {
        return Some("it holds a backslash");
    }
    if text == SUMS || text.starts_with(TEMPORARY) {
        return Some("it is one that the builder uses itself");
    }
    text.split('/').find_map(|part| match part {
        "" => Some("a part of it is empty"),
        "." | ".." => Some("it leads to another folder"),
        long if long.len() > LONGEST_PART => Some("a part of it is longer than 255 bytes"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let long = "x".repeat(256);
        for text in [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
            "a\\b",
            "\u{85}",
            SUMS,
            ".talforge-1-2.tmp",
            &long,
        ] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_knows_its_folders() {
        let name = Name::parse("w-1/EFI/vmlinuz; rm -rf ü").unwrap();
        assert_eq!(name.folders().collect::<Vec<_>>(), ["w-1", "w-1/EFI"]);
        assert_eq!(name.split(), (Some("w-1/EFI"), "vmlinuz; rm -rf ü"));
        assert_eq!(Name::parse("cp-1.iso").unwrap().split(), (None, "cp-1.iso"));
    }
}
