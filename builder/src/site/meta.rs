//! Values for the META partition.
//!
//! In: the mapping `meta`. Out: values by their keys.
//!
//! Source: Talos `pkg/machinery/meta/constants.go` (keys) and `meta.go` (how values pass through
//! `talos.environment`); the room for values is that of `siderolabs/go-adv`, `adv/talos/talos.go`.
//!
//! Not here: the partition's bytes.

use std::collections::BTreeMap;

use super::field::{quote, text};
use crate::report::Diagnostic;
use crate::yaml::{Entry, Node};

/// Who uses a key.
enum Owner {
    /// Whoever builds the medium.
    User,
    /// Talos while it runs; the text says for what.
    Talos(&'static str),
    /// This program.
    Builder,
}

/// The keys that Talos knows, and their names.
const KEYS: [(u8, &str, Owner); 12] = [
    (0x06, "Upgrade", Owner::Talos("the boot entry to fall back to after an upgrade")),
    (0x07, "StagedUpgradeImageRef", Owner::Talos("the image of a staged upgrade")),
    (0x08, "StagedUpgradeInstallOptions", Owner::Talos("the options of a staged upgrade")),
    (0x09, "StateEncryptionConfig", Owner::Talos("how the STATE partition is encrypted")),
    (0x0a, "MetalNetworkPlatformConfig", Owner::User),
    (0x0b, "DownloadURLCode", Owner::User),
    (0x0c, "UserReserved1", Owner::User),
    (0x0d, "UserReserved2", Owner::User),
    (0x0e, "UserReserved3", Owner::User),
    (0x0f, "UUIDOverride", Owner::User),
    (0x10, "UniqueMachineToken", Owner::User),
    (0x11, "DiskImageBootloader", Owner::Builder),
];

/// The bytes that the records of a META partition may have together, eight bytes for each
/// record's head and twenty for the partition's included.
const ROOM: usize = 262_104;

/// Reads the mapping.
pub(super) fn read(node: &Node, problems: &mut Vec<Diagnostic>) -> BTreeMap<u8, String> {
    let mut values = BTreeMap::new();
    let Some(entries) = node.entries() else {
        let message = format!("`meta` must be a mapping, and this is {}", node.kind());
        let problem = Diagnostic::error("wrong-type", message).at(node.place());
        problems.push(problem.help("write keys and texts: `meta: {0x0c: rack 7}`"));
        return values;
    };
    for entry in entries {
        let Some((key, value)) = record(entry, problems) else { continue };
        if values.insert(key, value).is_some() {
            let message = format!("the META key {key:#04x} is given twice");
            let problem = Diagnostic::error("meta-key", message).at(entry.place.clone());
            problems.push(problem.help("drop one of them"));
        }
    }
    let bytes = values.values().fold(20, |sum: usize, value| sum + value.len() + 8);
    if bytes > ROOM {
        let message = format!("the META values have {bytes} bytes, and {ROOM} is the most");
        problems.push(Diagnostic::error("meta-too-large", message).at(node.place()));
    }
    values
}

fn record(entry: &Entry, problems: &mut Vec<Diagnostic>) -> Option<(u8, String)> {
    let Some(key) = key(&entry.key) else {
        let message = format!("{} is no META key", quote(&entry.key));
        let problem = Diagnostic::error("meta-key", message).at(entry.place.clone());
        problems.push(problem.help("use a number from 1 to 255 or from 0x01 to 0xff"));
        return None;
    };
    if let Some(problem) = owner(key) {
        let stop = !super::file::is_warning(&problem);
        problems.push(problem.at(entry.place.clone()));
        if stop {
            return None;
        }
    }
    let value = text(&entry.value, "meta", problems)?;
    // The value itself may be a secret: `UniqueMachineToken` is one.
    if let Some(sign) = [';', '\0'].into_iter().find(|&sign| value.value.contains(sign)) {
        let sign = sign.escape_default();
        let message = format!("the value of the META key {key:#04x} holds `{sign}`");
        let problem = Diagnostic::error("meta-value", message).at(value.place);
        problems.push(problem.help("write it without; Talos ends a value there"));
        return None;
    }
    Some((key, value.value.to_owned()))
}

/// A number from 1 to 255, decimal or hexadecimal. Other leading zeros are refused: to Talos' own
/// tools they mean an octal number.
fn key(text: &str) -> Option<u8> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u8::from_str_radix(hex, 16).ok()?
        }
        None if text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') => {
            text.parse().ok()?
        }
        _ => return None,
    };
    (number > 0).then_some(number)
}

fn owner(key: u8) -> Option<Diagnostic> {
    let warning = |message| Some(Diagnostic::warning("meta-key", message));
    match KEYS.iter().find(|(known, ..)| *known == key) {
        Some((_, _, Owner::User)) => None,
        Some((_, name, Owner::Talos(what))) => {
            warning(format!("the META key {key:#04x} ({name}) is Talos' own: {what}"))
        }
        Some((_, name, Owner::Builder)) => {
            let message = format!("the META key {key:#04x} ({name}) is set by this program");
            Some(Diagnostic::error("meta-key", message).help("drop it"))
        }
        None => warning(format!("Talos knows no META key {key:#04x}"))
            .map(|problem| problem.help("0x0c, 0x0d and 0x0e are free for you")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decimal_or_hexadecimal() {
        for (text, want) in [("1", 1), ("255", 255), ("0x0c", 12), ("0XC", 12), ("0xff", 255)] {
            assert_eq!(key(text), Some(want), "{text}");
        }
        for text in ["", "0", "0x", "0x0", "256", "0x100", "014", "-1", "+1", "c", "0x+1", "1e1"] {
            assert_eq!(key(text), None, "{text}");
        }
    }
}
