//! `values`: what a site gives its overlays.
//!
//! In: values as they are written, and the overlays that take them. Out: the same values, files in
//! the place of their paths.
//!
//! Source: none, the file is ours.
//!
//! Not here: what an overlay makes of its values (`catalog::expand`).

use std::collections::BTreeMap;

use super::field::quote;
use super::file::Files;
use crate::catalog::Overlay;
use crate::catalog::overlay::Kind;
use crate::report::Diagnostic;
use crate::yaml::Node;
use crate::yaml::meant::nearest;

/// The values that overlays take, by name, and whether each is a file.
pub(super) type Taken = BTreeMap<String, bool>;

/// What some overlays take. Where two disagree, it is a file.
pub(super) fn taken<'o>(overlays: impl IntoIterator<Item = &'o Overlay>) -> Taken {
    let mut taken = Taken::new();
    for (name, declared) in overlays.into_iter().flat_map(|overlay| &overlay.values) {
        *taken.entry(name.clone()).or_default() |= declared.kind == Kind::File;
    }
    taken
}

/// Puts the texts of files in the place of their paths.
pub(super) fn read(
    values: &BTreeMap<String, Node>,
    taken: &Taken,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Node> {
    let value = |(name, node): (&String, &Node)| {
        let is_file = taken.get(name).is_some_and(|&is_file| is_file);
        let node = if is_file { files.value(node, problems)? } else { node.clone() };
        Some((name.clone(), node))
    };
    values.iter().filter_map(value).collect()
}

/// Says which values no overlay takes. `whose` are the overlays: "of node `cp-1`".
pub(super) fn unknown(
    values: &BTreeMap<String, Node>,
    taken: &Taken,
    whose: &str,
    problems: &mut Vec<Diagnostic>,
) {
    for (name, node) in values.iter().filter(|(name, _)| !taken.contains_key(*name)) {
        let known = || taken.keys().map(String::as_str);
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if taken.is_empty() => "add the overlay to `overlays`, or drop it".to_owned(),
            None => format!("they take {}", known().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no overlay {whose} takes a value {}", quote(name));
        problems.push(Diagnostic::error("unknown-value", message).at(node.place()).help(help));
    }
}
