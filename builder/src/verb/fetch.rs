//! `talforge fetch`: one node's image, from where it was put.
//!
//! In: a place, a node. Out: the node's files in the output folder, as they were built.
//!
//! Source: none.
//!
//! Not here: how images are put together (`crate::export`), and how places are opened (`place`).

use serde_json::json;

use crate::cli::Fetch;
use crate::export::error::ExportError;
use crate::export::take;
use crate::report::progress::Progress;
use crate::sink::file::Batch;
use crate::sink::name::Name;
use crate::verb::Failure;
use crate::verb::place::{Asking, failure, open, sink_failure};

/// Fetches a node's files. Each has the digest that the image says before it gets its name.
///
/// # Errors
///
/// Where the place does not have them, has something else, or the disk does not take them. Then
/// what was in the output folder is as it was.
pub fn fetch(args: &Fetch, progress: &Progress) -> Result<(), Failure> {
    let command = format!("talforge fetch {} {}", args.from, args.node);
    let asking = Asking { sources: &args.sources, plain_http: args.plain_http, command, progress };
    let place = open(&args.from, &asking).map_err(|error| failure(&error))?;
    let batch = Batch::open(&args.out).map_err(|error| sink_failure(&error))?;
    let (image, files) = take(&*place, &args.node, &args.out).map_err(|error| failure(&error))?;
    for (part, blob) in image.files.iter().zip(&files) {
        let name = Name::parse(&part.path).map_err(|error| sink_failure(&error))?;
        let task = progress.task(&part.path, blob.len());
        let written = batch.write(&name, blob, &task).map_err(|error| sink_failure(&error))?;
        if written.digest() != part.digest {
            let what = format!("`{}`", part.path);
            let why =
                format!("its digest is sha256:{}, not sha256:{}", written.digest(), part.digest);
            return Err(failure(&ExportError::Artifact { what, why }));
        }
        batch.keep(written).map_err(|error| sink_failure(&error))?;
        task.done("written");
    }
    for file in batch.finish(&[]).map_err(|error| sink_failure(&error))? {
        progress.say(&format!("{}  {}", file.digest, file.path.display()));
        progress.event(json!({
            "event": "written", "node": image.node, "path": file.path.display().to_string(),
            "bytes": file.len, "sha256": file.digest.to_string(),
        }));
    }
    Ok(())
}
