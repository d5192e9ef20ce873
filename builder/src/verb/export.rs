//! `talforge export`: what was built, put where machines take it from.
//!
//! In: a folder that was built, a place. Out: an artifact for each node, and the site's lists.
//!
//! Source: none.
//!
//! Not here: what an artifact is (`crate::export`), and how places are opened (`place`).

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::cli::{Export, Sources};
use crate::digest::Digest;
use crate::export::list::{List, Node};
use crate::export::place::Place;
use crate::export::{Export as Work, error::ExportError};
use crate::parallel;
use crate::report::progress::Progress;
use crate::verb::Failure;
use crate::verb::place::{Asking, failure, open};

/// The most nodes at once: each has two chunks in memory.
const THREADS: usize = 4;

/// Exports all nodes of a folder. One whose files are wrong does not keep the others from being
/// exported.
///
/// # Errors
///
/// Where the folder is not what was built, or the place does not take it.
pub fn export(args: &Export, progress: &Progress) -> Result<(), Failure> {
    let list = List::read(&args.folder).map_err(|error| failure(&error))?;
    let sources = Sources { store: None, offline: false };
    let asking =
        Asking { sources: &sources, plain_http: args.plain_http, command: String::new(), progress };
    let place = open(&args.to, &asking).map_err(|error| failure(&error))?;
    place.ready().map_err(|error| failure(&error))?;
    let work = Work::new(&*place, &args.folder);
    let is_over = AtomicBool::new(false);
    let threads = parallel::processors().min(THREADS);
    let results = parallel::in_order(threads, &list.nodes, |node| {
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        let result = one(&work, node, progress);
        if result.as_ref().is_err_and(is_of_place) {
            is_over.store(true, Ordering::Relaxed);
        }
        Some((node.name.clone(), result))
    });
    let mut results: Vec<(String, Result<Digest, ExportError>)> =
        results.into_iter().flatten().collect();
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let done = results.iter().filter(|(_, result)| result.is_ok()).count();
    let is_whole = done == list.nodes.len();
    let finished = work.finish(is_whole.then_some(&list)).map_err(|error| failure(&error));
    let mut failures = Vec::new();
    for (node, result) in results {
        match result {
            Ok(manifest) if finished.is_ok() => tell(&*place, &node, manifest, progress),
            Ok(_) => {}
            Err(error) => failures.push(failure(&error)),
        }
    }
    failures.extend(finished.err());
    let (sent, all) = (work.sent(), list.nodes.len());
    progress.event(json!({
        "event": "export", "place": place.name(), "nodes": done, "of": all, "sent_bytes": sent,
    }));
    progress.note(&format!("{done} of {all} nodes are there; {sent} bytes were sent for it"));
    together(failures)
}

/// Whether an error is one of the place, so that other nodes meet it, too.
fn is_of_place(error: &ExportError) -> bool {
    matches!(
        error,
        ExportError::Registry(_) | ExportError::Write { .. } | ExportError::Contended(_)
    )
}

/// All failures as one, none told twice.
fn together(failures: Vec<Failure>) -> Result<(), Failure> {
    let Some(cause) = failures.iter().map(|failure| failure.cause).max() else { return Ok(()) };
    let mut diagnostics = Vec::new();
    for diagnostic in failures.into_iter().flat_map(|failure| failure.diagnostics) {
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    Err(Failure { cause, diagnostics })
}

fn one(
    work: &Work<'_, dyn Place>,
    node: &Node,
    progress: &Progress,
) -> Result<Digest, ExportError> {
    let task = progress.task(&node.name, node.files.iter().map(|file| file.len).sum());
    let manifest = work.node(node, &|bytes| {
        task.add(bytes);
        Ok(())
    })?;
    task.done("exported");
    Ok(manifest.digest)
}

fn tell(place: &dyn Place, node: &str, manifest: Digest, progress: &Progress) {
    progress.say(&format!("{manifest}  {} {node}", place.name()));
    progress.event(json!({
        "event": "exported", "place": place.name(), "node": node,
        "manifest_sha256": manifest.to_string(),
    }));
}
