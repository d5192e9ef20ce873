//! `talforge store`: what was fetched, and how long it stays.
//!
//! In: a store, files that name what to keep. Out: lists; less in the store.
//!
//! Source: none.
//!
//! Not here: how it is kept (`store`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;
use serde_json::json;

use crate::cli::{Prune, Store as Arguments, StoreCommand};
use crate::registry::ORIGIN;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::store::keep::{self, Entry, Unused};
use crate::store::{self, Store, StoreError};
use crate::verb::{Cause, Failure, chain, file};

/// The most bytes of a file that names what to keep.
const KEEP_LIMIT: u64 = 16 << 20;

/// Looks after the store.
///
/// # Errors
///
/// Where the store cannot be used, a file that names what to keep cannot be read, or something in
/// the store was broken.
pub fn store(args: &Arguments, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let store = at(args.store.as_deref(), &|name| std::env::var_os(name))?;
    match &args.command {
        StoreCommand::List => list(&store, now, progress),
        StoreCommand::Prune(args) => prune(&store, args, now, progress),
        StoreCommand::Verify => verify(&store, progress),
    }
}

/// The store that the arguments name, or the usual one.
///
/// # Errors
///
/// Where there is no usual one.
pub fn at(
    named: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Store, Failure> {
    let root = named.map(Path::to_owned).or_else(|| store::default_root(variable));
    root.map(Store::at).ok_or_else(|| {
        let problem = Diagnostic::error("store", "there is no home folder to have a store in");
        Failure::new(Cause::World, problem.help("name a folder with `--store`, or set `HOME`"))
    })
}

/// What a trouble with the store means for a command.
pub(super) fn failure(error: &StoreError) -> Failure {
    Failure::new(Cause::World, Diagnostic::error("store", chain(error)).help(error.help()))
}

fn list(store: &Store, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let entries = store.list().map_err(|error| failure(&error))?;
    let mut total = 0;
    for Entry { digest, len, used } in &entries {
        total += len;
        let origin = store.record(ORIGIN, *digest).map_err(|error| failure(&error))?;
        let origin = origin.map(|text| String::from_utf8_lossy(&text).into_owned());
        let age = now.duration_since(*used).unwrap_or_default();
        let seconds = used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        progress.event(json!({
            "event": "stored",
            "digest": format!("sha256:{digest}"),
            "len": len,
            "used": seconds,
            "origin": origin,
        }));
        let origin = origin.as_deref().unwrap_or("made here");
        let (size, age) = (HumanBytes(*len).to_string(), shown(age));
        progress.say(&format!("sha256:{digest} {size:>11} {age:>12}  {origin}"));
    }
    let (count, root) = (entries.len(), store.root().display().to_string());
    progress.event(json!({"event": "store", "root": root, "count": count, "len": total}));
    progress.note(&format!("{count} files, {} in `{root}`", HumanBytes(total)));
    Ok(())
}

/// How long ago something was used.
fn shown(age: Duration) -> String {
    const HOUR: u64 = 3600;
    match age.as_secs() {
        seconds if seconds < HOUR => format!("{} min ago", seconds / 60),
        seconds if seconds < 48 * HOUR => format!("{} h ago", seconds / HOUR),
        seconds => format!("{} days ago", seconds / (24 * HOUR)),
    }
}

fn prune(store: &Store, args: &Prune, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let mut named = BTreeSet::new();
    for path in &args.keep {
        let text = file::read(path, "file of what to keep", KEEP_LIMIT)?;
        let before = named.len();
        named.extend(keep::named(&text));
        if named.len() == before {
            let message = format!("`{}` names no digest to keep", path.display());
            progress.diagnostic(&Diagnostic::warning("keep", message));
        }
    }
    let unused = match args.all {
        true => Unused::Ever,
        false => Unused::Since(now.checked_sub(args.unused).unwrap_or(SystemTime::UNIX_EPOCH)),
    };
    let pruned = store.closure(&named).and_then(|keep| store.prune(&keep, unused));
    let pruned = pruned.map_err(|error| failure(&error))?;
    let (files, bytes) = (pruned.files, pruned.bytes);
    progress.event(json!({"event": "pruned", "count": files, "len": bytes}));
    progress.note(&format!("removed {files} files, {}", HumanBytes(bytes)));
    Ok(())
}

fn verify(store: &Store, progress: &Progress) -> Result<(), Failure> {
    let entries = store.list().map_err(|error| failure(&error))?;
    let task = progress.task("the store", entries.iter().map(|entry| entry.len).sum());
    let verified = store.verify(&|len| task.add(len)).map_err(|error| failure(&error))?;
    task.done("read");
    for path in &verified.broken {
        let message = format!("the store's `{}` was broken, and is removed", path.display());
        let help = "nothing is to be done; what needs it fetches it again";
        progress.diagnostic(&Diagnostic::warning("store-broken", message).help(help));
    }
    let (good, bytes, broken) = (verified.good, verified.bytes, verified.broken.len());
    progress.event(json!({"event": "verified", "count": good, "len": bytes, "broken": broken}));
    progress.note(&format!("{good} files, {} are whole; {broken} were not", HumanBytes(bytes)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        let shown = |seconds| shown(Duration::from_secs(seconds));
        assert_eq!(shown(59), "0 min ago");
        assert_eq!(shown(7200), "2 h ago");
        assert_eq!(shown(86_400 * 3), "3 days ago");
    }

    #[test]
    fn without_a_home_a_store_must_be_named() {
        assert_eq!(at(Some(Path::new("/s")), &|_| None).unwrap().root(), Path::new("/s"));
        assert_eq!(at(None, &|_| None).unwrap_err().exit_code(), 3);
    }
}
