//! Overrides of the OCI runtime spec, as far as types go.
//!
//! In: a free object. Out: findings.
//!
//! Source: `github.com/opencontainers/runtime-spec`, `specs-go/config.go`; Go `encoding/json`,
//! which takes keys in either case and leaves out those that it does not know.
//!
//! Not here: what the values mean, and the parts that hardly anyone overrides.

use super::found::Found;
use super::view;
use crate::config::tree::{Data, Tree};

/// A type in JSON.
enum Json {
    Text,
    Switch,
    /// A whole number, perhaps below zero.
    Number,
    /// A whole number that is not.
    Count,
    List(&'static Self),
    Map(&'static Self),
    Object(&'static [(&'static str, Self)]),
    Anything,
}

const TEXTS: Json = Json::List(&Json::Text);
const MAPPINGS: Json = Json::List(&Json::Object(&[
    ("containerID", Json::Count),
    ("hostID", Json::Count),
    ("size", Json::Count),
]));

const SPEC: Json = Json::Object(&[
    ("ociVersion", Json::Text),
    ("process", PROCESS),
    ("root", Json::Object(&[("path", Json::Text), ("readonly", Json::Switch)])),
    ("hostname", Json::Text),
    ("domainname", Json::Text),
    ("mounts", MOUNTS),
    ("hooks", Json::Object(&[])),
    ("annotations", Json::Map(&Json::Text)),
    ("linux", LINUX),
]);

const PROCESS: Json = Json::Object(&[
    ("terminal", Json::Switch),
    ("consoleSize", Json::Object(&[("height", Json::Count), ("width", Json::Count)])),
    ("user", USER),
    ("args", TEXTS),
    ("commandLine", Json::Text),
    ("env", TEXTS),
    ("cwd", Json::Text),
    ("capabilities", CAPABILITIES),
    ("rlimits", RLIMITS),
    ("noNewPrivileges", Json::Switch),
    ("apparmorProfile", Json::Text),
    ("oomScoreAdj", Json::Number),
    ("selinuxLabel", Json::Text),
]);

const USER: Json = Json::Object(&[
    ("uid", Json::Count),
    ("gid", Json::Count),
    ("umask", Json::Count),
    ("additionalGids", Json::List(&Json::Count)),
    ("username", Json::Text),
]);

const CAPABILITIES: Json = Json::Object(&[
    ("bounding", TEXTS),
    ("effective", TEXTS),
    ("inheritable", TEXTS),
    ("permitted", TEXTS),
    ("ambient", TEXTS),
]);

const RLIMITS: Json = Json::List(&Json::Object(&[
    ("type", Json::Text),
    ("hard", Json::Count),
    ("soft", Json::Count),
]));

const MOUNTS: Json = Json::List(&Json::Object(&[
    ("destination", Json::Text),
    ("type", Json::Text),
    ("source", Json::Text),
    ("options", TEXTS),
    ("uidMappings", MAPPINGS),
    ("gidMappings", MAPPINGS),
]));

const LINUX: Json = Json::Object(&[
    ("uidMappings", MAPPINGS),
    ("gidMappings", MAPPINGS),
    ("sysctl", Json::Map(&Json::Text)),
    ("resources", Json::Object(&[])),
    ("cgroupsPath", Json::Text),
    ("namespaces", Json::List(&Json::Object(&[("type", Json::Text), ("path", Json::Text)]))),
    ("devices", Json::List(&Json::Object(&[]))),
    ("seccomp", Json::Object(&[])),
    ("rootfsPropagation", Json::Text),
    ("maskedPaths", TEXTS),
    ("readonlyPaths", TEXTS),
    ("mountLabel", Json::Text),
    ("intelRdt", Json::Object(&[])),
    ("personality", Json::Object(&[])),
    ("timeOffsets", Json::Map(&Json::Anything)),
]);

/// Says which value of the overrides at a key is of a type that the spec does not have there.
pub(super) fn check(doc: &Tree, key: &str, found: &mut Found) {
    if let Some(at) = mismatch(view::place(doc, &[key]), &SPEC).filter(|_| doc.get(key).is_some()) {
        let message = "a value of the runtime spec is of another type there";
        let help = "see the OCI runtime spec: `config.md` and `config-linux.md`";
        found.refuse(at, "talos-runtime-spec", message, help);
    }
}

/// The first value that is not of its type.
fn mismatch<'t>(value: &'t Tree, wanted: &Json) -> Option<&'t Tree> {
    let good = match (wanted, value.data()) {
        (Json::Anything, _) | (_, Data::Null) => true,
        (Json::Text, Data::Text(_) | Data::Time(_)) | (Json::Switch, Data::Bool(_)) => true,
        (Json::Number, Data::Int(_)) => true,
        (Json::Count, Data::Int(number)) => *number >= 0,
        (Json::Number | Json::Count, Data::Float(number)) => number.fract() == 0.0,
        (Json::List(item), Data::List(items)) => {
            return items.iter().find_map(|value| mismatch(value, item));
        }
        (Json::Map(item), Data::Map(entries)) => {
            return entries.iter().find_map(|(_, value)| mismatch(value, item));
        }
        (Json::Object(fields), Data::Map(entries)) => {
            return entries.iter().find_map(|(key, value)| {
                let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
                field.and_then(|(_, wanted)| mismatch(value, wanted))
            });
        }
        _ => false,
    };
    (!good).then_some(value)
}
