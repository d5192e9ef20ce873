//! The map of a medium: printed, written as an SVG, told to programs.
//!
//! In: a medium that was opened. Out: bars and lines, a file, JSON.
//!
//! Source: none.
//!
//! Not here: what is mapped, and how it is drawn (`map`).

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};

use crate::blob::Blob;
use crate::inspect::Medium;
use crate::inspect::memo::Memo;
use crate::map::{self, Map, Region};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::private::{self, Old};
use crate::verb::{Cause, Failure};

/// Maps a medium under the name of its file.
pub(super) fn survey(
    image: &Path,
    blob: &Blob,
    medium: &Medium,
    memo: &mut Memo,
) -> Result<Map, Failure> {
    let name = image.file_name().unwrap_or(image.as_os_str()).to_string_lossy();
    map::survey(&name, blob, medium, memo).map_err(|damage| {
        let message = format!("`{}` cannot be mapped: {damage}", image.display());
        let help = "check that nothing writes to the medium, and try again";
        Failure::new(Cause::Medium, Diagnostic::error("damage", message).help(help))
    })
}

/// Prints a map, as wide as standard output is.
pub(super) fn print(map: &Map, progress: &Progress) {
    let page = progress.page();
    progress.print(map::text::draw(map, page.columns, page.paint).as_bytes());
}

/// Writes a map as an SVG. A file that is there stays: it may be a medium.
pub(super) fn write(map: &Map, file: &Path, progress: &Progress) -> Result<(), Failure> {
    let shown = file.display();
    private::write(file, map::svg::draw(map).as_bytes(), Old::Keep).map_err(|error| {
        let diagnostic = match error.kind() {
            ErrorKind::AlreadyExists => {
                Diagnostic::error("exists", format!("`{shown}` is there already"))
                    .help("name another file with `--svg`, or remove this one")
            }
            _ => Diagnostic::error("write", format!("`{shown}` cannot be written: {error}"))
                .help("name a file in a folder that is there and may be written to"),
        };
        Failure::new(Cause::World, diagnostic)
    })?;
    let written = json!({"event": "written", "what": "map", "file": shown.to_string()});
    progress.event(written);
    progress.note(&format!("wrote the map `{shown}`"));
    Ok(())
}

/// A region for a program, with what it holds.
pub(super) fn to_json(region: &Region) -> Value {
    json!({
        "start": region.range.start,
        "len": region.len(),
        "kind": region.kind.name(),
        "name": region.name,
        "own": region.is_own,
        "regions": region.parts.iter().map(to_json).collect::<Vec<_>>(),
    })
}
