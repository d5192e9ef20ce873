//! Single files that a command reads and writes, secrets among them.
//!
//! In: paths. Out: bytes; files with mode 0600.
//!
//! Source: none.
//!
//! Not here: the files that a site names (`site`), and media (`sink`).

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::private::{self, Old};
use crate::verb::{Cause, Failure};

/// What a file is, for the words that go with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrecy {
    /// What it is, in a word or two.
    pub(super) what: &'static str,
    /// What to know of it.
    pub(super) advice: &'static str,
}

/// Reads a plain file of at most `limit` bytes.
pub(super) fn read(path: &Path, what: &str, limit: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let fail = |error: io::Error| {
        let diagnostic = match error.kind() {
            ErrorKind::NotFound => {
                Diagnostic::error("no-file", format!("there is no {what} `{shown}`"))
                    .help("check the path")
            }
            _ => {
                let message = format!("the {what} `{shown}` cannot be read: {error}");
                Diagnostic::error("unreadable-file", message)
            }
        };
        Failure::new(Cause::Files, diagnostic)
    };
    // Asked before it is opened: opening a pipe waits for its other end.
    if !path.metadata().map_err(fail)?.is_file() {
        return Err(fail(io::Error::other("it is no plain file")));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(fail)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        let message = format!("the {what} `{shown}` is larger than {}", crate::units::Size(limit));
        let diagnostic = Diagnostic::error("file-too-large", message);
        return Err(Failure::new(Cause::Files, diagnostic.help("is this the right file?")));
    }
    Ok(bytes)
}

/// Writes a file that only its owner may read, or standard output where the path is `-`.
pub(super) fn write(
    path: &Path,
    bytes: &[u8],
    force: bool,
    secrecy: Secrecy,
    progress: &Progress,
) -> Result<(), Failure> {
    let Secrecy { what, advice } = secrecy;
    if path.as_os_str() == "-" {
        progress.print(bytes);
        return Ok(());
    }
    let shown = path.display();
    let old = if force { Old::Replace } else { Old::Keep };
    private::write(path, bytes, old).map_err(|error| {
        let diagnostic = match error.kind() {
            ErrorKind::AlreadyExists => {
                Diagnostic::error("exists", format!("`{shown}` is there already"))
                    .help("name another file with `--out`, or replace it with `--force`")
            }
            _ => Diagnostic::error("write", format!("`{shown}` cannot be written: {error}")),
        };
        Failure::new(Cause::World, diagnostic)
    })?;
    progress
        .event(serde_json::json!({"event": "written", "what": what, "file": shown.to_string()}));
    progress.note(&format!("wrote the {what} `{shown}`{advice}"));
    Ok(())
}
