//! Single files that a command reads and writes, secrets among them.
//!
//! In: paths. Out: bytes; files with mode 0600.
//!
//! Source: none.
//!
//! Not here: the files that a site names (`site`), and media (`sink`).

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::private::{self, Old};
use crate::site;
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
    let fail = |problem| Failure::new(Cause::Files, problem);
    let bytes = site::file::read(path, limit).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| fail(site::file::unreadable(what, path, &error)))?;
    if bytes.len() as u64 > limit {
        let named = format!("{what} `{}`", path.display());
        return Err(fail(site::file::too_large(&named, limit)));
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
