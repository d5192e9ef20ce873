//! Files that a site names.
//!
//! In: paths. Out: bytes, never more than a limit allows.
//!
//! Source: none.
//!
//! Not here: boot assets, which are large and are read in place (`asset`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::field::quote;
use crate::report::{Diagnostic, Severity};

/// Reads at most `limit` bytes and one more of a plain file.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a pipe waits for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says that a file cannot be read.
pub(super) fn unreadable(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    let path = quote(&path.display().to_string());
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no {what} {path}");
        return Diagnostic::error("no-file", message).help("check the path");
    }
    Diagnostic::error("unreadable-file", format!("the {what} {path} cannot be read: {error}"))
}

/// Whether it stops nothing.
pub(super) fn is_warning(problem: &Diagnostic) -> bool {
    problem.severity == Severity::Warning
}
