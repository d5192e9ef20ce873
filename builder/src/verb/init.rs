//! `talforge init`: a site file to start from.
//!
//! In: where to write it. Out: the file; one that is there already stays as it is.
//!
//! Source: none.
//!
//! Not here: its text (`site`).

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};

use crate::cli::Init;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::site;
use crate::verb::{Cause, Failure};

/// Writes the file.
///
/// # Errors
///
/// Where it is there, or cannot be written.
pub fn init(args: &Init, progress: &Progress) -> Result<(), Failure> {
    let path = args.site.display();
    let fail = |error: std::io::Error| {
        let diagnostic = match error.kind() {
            ErrorKind::AlreadyExists => {
                Diagnostic::error("exists", format!("`{path}` is there already"))
                    .help("name another file: `talforge init other.yaml`")
            }
            _ => Diagnostic::error("write", format!("`{path}` cannot be written: {error}")),
        };
        Failure::new(Cause::World, diagnostic)
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&args.site).map_err(fail)?;
    file.write_all(site::starter().as_bytes()).map_err(fail)?;
    progress.note(&format!("wrote `{path}`; fill it in, then run `talforge plan {path}`"));
    Ok(())
}
