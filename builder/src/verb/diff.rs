//! `talforge diff`: what differs between two media, for a person or a program.
//!
//! In: two images. Out: their differences, and by the exit code whether there are any.
//!
//! Source: exit codes as of `diff(1)` and `cmp(1)`; signs as in a patch.
//!
//! Not here: comparing (`difference`).

use serde_json::{Value, json};

use crate::cli::Diff;
use crate::difference::{self, Change, Difference, Part, Side, Subject, Topic};
use crate::inspect::memo::Memo;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::verb::inspect::open;
use crate::verb::{Cause, Failure};

/// Tells what differs.
///
/// # Errors
///
/// Where a medium cannot be opened or is damaged; and, without a word, where something differs.
pub fn diff(args: &Diff, progress: &Progress) -> Result<(), Failure> {
    let mut memo = Memo::default();
    let before = open(&args.before, &mut memo, progress)?;
    let after = open(&args.after, &mut memo, progress)?;
    let [old, new] = [&before, &after].map(|(blob, medium)| Subject { blob, medium });
    let found = difference::of(old, new).map_err(|error| {
        let message = format!("the media cannot be read: {error}");
        Failure::new(Cause::World, Diagnostic::error("read", message))
    })?;
    for part in &found.parts {
        part.changes.iter().for_each(|change| progress.event(event(part, change)));
    }
    let count: u64 = found.parts.iter().map(|p| p.changes.len() as u64 + p.more).sum();
    progress.event(json!({
        "event": "compared",
        "before": args.before.display().to_string(),
        "after": args.after.display().to_string(),
        "identical": found.first_byte.is_none(),
        "first_byte": found.first_byte,
        "differences": count,
    }));
    text(&found).lines().for_each(|line| progress.say(line));
    match found.parts.is_empty() {
        true => Ok(()),
        false => Err(Failure { cause: Cause::Differ, diagnostics: Vec::new() }),
    }
}

/// The text for a person.
fn text(found: &Difference) -> String {
    let parts: Vec<_> = found.parts.iter().map(part_text).collect();
    match (found.first_byte, parts.is_empty()) {
        (None, _) => "the media are the same, bit for bit\n".to_owned(),
        (Some(at), true) => {
            format!("nothing differs that a boot makes use of; the bytes do, first at {at:#x}\n")
        }
        (Some(_), false) => parts.join("\n"),
    }
}

fn part_text(part: &Part) -> String {
    let mut text = match part.topic {
        Topic::Medium => "medium\n".to_owned(),
        Topic::Layout => "layout\n".to_owned(),
        Topic::Boot => format!("boot entry {}\n", part.entries.join(", ")),
        Topic::Config => "machine config\n".to_owned(),
        Topic::Meta => "META\n".to_owned(),
    };
    part.changes.iter().for_each(|change| text += &format!("  {}\n", change_text(change)));
    if part.more > 0 {
        text += &format!("  and {} more\n", part.more);
    }
    text
}

fn change_text(change: &Change) -> String {
    let Change { place, before, after } = change;
    let show = |side: &Side| match side {
        Side::Shown(text) => text.clone(),
        Side::Hidden | Side::Absent => "<hidden>".to_owned(),
    };
    match (before, after) {
        (Side::Absent, side) => format!("+ {place}: {}", show(side)),
        (side, Side::Absent) => format!("- {place}: {}", show(side)),
        (Side::Hidden, Side::Hidden) => format!("~ {place}: differs, and is not shown"),
        (old, new) if old == new => format!("~ {place}: {}", show(old)),
        (old, new) => format!("~ {place}: {} → {}", show(old), show(new)),
    }
}

/// The same for a program.
fn event(part: &Part, change: &Change) -> Value {
    let side = |side: &Side| match side {
        Side::Absent | Side::Hidden => Value::Null,
        Side::Shown(text) => text.as_str().into(),
    };
    let Change { place, before, after } = change;
    let is_hidden = [before, after].contains(&&Side::Hidden);
    json!({
        "event": "difference",
        "topic": part.topic.name(),
        "entries": part.entries,
        "place": place,
        "change": match (before, after) {
            (Side::Absent, _) => "added",
            (_, Side::Absent) => "removed",
            _ => "changed",
        },
        "before": side(before),
        "after": side(after),
        "hidden": is_hidden,
    })
}

#[cfg(test)]
mod tests;
