//! What differs between two kernel command lines, by argument.
//!
//! In: two lines. Out: arguments that are added, removed or changed.
//!
//! Source: Linux `Documentation/admin-guide/kernel-parameters.rst`; Talos
//! `pkg/machinery/constants/constants.go#KernelParam*` for those that hold configs and credentials.
//!
//! Not here: what the arguments do.

use std::collections::BTreeMap;

use super::{Part, Side, left_out};
use crate::config::secret;

/// Arguments that hold a config.
const CONFIGS: [&str; 2] = ["talos.config.inline", "talos.config.early"];
/// The argument that sets variables.
const ENVIRONMENT: &str = "talos.environment";
/// The variable that holds META's values.
const META: &str = "INSTALLER_META_BASE64";

/// Adds what differs. The order of keys does not matter to a kernel, that of a key's values does.
pub(super) fn compare(part: &mut Part, before: &str, after: &str) {
    let (old, new) = (by_key(before), by_key(after));
    let mut keys: Vec<&str> = Vec::new();
    keys.extend(before.split_ascii_whitespace().chain(after.split_ascii_whitespace()).map(key));
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(*key));
    for key in keys {
        let [old, new] = [&old, &new].map(|keys| keys.get(key).map_or(&[][..], Vec::as_slice));
        compare_key(part, key, old, new);
    }
}

fn compare_key(part: &mut Part, key: &str, before: &[&str], after: &[&str]) {
    if before == after {
        return;
    }
    let place = || format!("argument `{key}`");
    if let ([before], [after]) = (before, after) {
        return part.push(place, side(key, before), side(key, after));
    }
    let gone = left_out(before.iter().copied(), after.iter().copied());
    let added = left_out(after.iter().copied(), before.iter().copied());
    if gone.is_empty() && added.is_empty() {
        let all = |values: &[&str]| match values.iter().all(|value| is_open(key, value)) {
            true => Side::shown(&values.join(", ")),
            false => Side::Hidden,
        };
        return part.push(|| format!("order of `{key}`"), all(before), all(after));
    }
    gone.into_iter().for_each(|value| part.push(place, side(key, value), Side::Absent));
    added.into_iter().for_each(|value| part.push(place, Side::Absent, side(key, value)));
}

fn key(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(key, _)| key)
}

fn by_key(line: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for argument in line.split_ascii_whitespace() {
        let value = argument.split_once('=').map_or("", |(_, value)| value);
        keys.entry(key(argument)).or_default().push(value);
    }
    keys
}

fn side(key: &str, value: &str) -> Side {
    match (value, is_open(key, value)) {
        ("", true) => Side::shown("set"),
        (_, true) => Side::shown(value),
        (_, false) => Side::Hidden,
    }
}

/// Whether a value may be shown.
fn is_open(key: &str, value: &str) -> bool {
    if key == ENVIRONMENT {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        return name != META && !secret::is_name(name) && !secret::is_value(value);
    }
    !CONFIGS.contains(&key) && !secret::is_name(key) && !secret::is_value(value)
}
