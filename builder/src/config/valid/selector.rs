//! Expressions of CEL in a config.
//!
//! In: an expression, what it is about. Out: findings.
//!
//! Source: Talos `pkg/machinery/cel` (`ParseBool`, `ParseDouble`).
//!
//! Not here: the language (`cel`).

use super::found::Found;
use super::{Context, view};
use crate::cel::{self, Env};
use crate::config::tree::Tree;
use crate::talos::Version;

pub(super) use crate::cel::Scope;

/// Says so where there is no expression, or Talos would not compile it.
pub(super) fn required(
    doc: &Tree,
    path: &[&str],
    scope: Scope,
    context: Context,
    found: &mut Found,
) {
    if view::text(doc, path).is_empty() {
        let message = format!("`{}` is missing", path.join("."));
        let help = match scope {
            Scope::Link => "write `mac(link.permanent_addr) == \"52:54:00:12:34:56\"`",
            Scope::Disk => "write `system_disk`, or `disk.transport == \"nvme\"`",
            _ => "write `volume.partition_label == \"DATA\"`",
        };
        found.refuse(view::place(doc, path), "talos-selector", message, help);
    }
    optional(doc, path, scope, context, found);
}

/// Says so where Talos would not compile an expression.
pub(super) fn optional(
    doc: &Tree,
    path: &[&str],
    scope: Scope,
    context: Context,
    found: &mut Found,
) {
    let text = view::text(doc, path);
    if let Some((problem, help)) = problem(text, scope, context).filter(|_| !text.is_empty()) {
        let message = format!("the expression does not compile: {problem}");
        found.refuse(view::place(doc, path), "talos-expression", message, help);
    }
}

/// What is wrong with an expression, and what to do.
fn problem(text: &str, scope: Scope, context: Context) -> Option<(String, String)> {
    let version = Version { major: 1, minor: context.minor, patch: 0, pre: None };
    let env = Env::new(scope, &version)?;
    let error = cel::compile(env, text).err()?;
    let help = error.help.unwrap_or_else(|| {
        let place = error.offset.saturating_add(1);
        format!("mend it at byte {place}, or try it with `talosctl`")
    });
    Some((error.message, help))
}
