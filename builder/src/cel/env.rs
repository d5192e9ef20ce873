//! The names that an expression may use.
//!
//! In: an environment. Out: variables, constants, types.
//!
//! Source: Talos `pkg/machinery/cel/celenv/celenv.go`, `pkg/machinery/resources/runtime/oom.go` of
//! v1.12.7, v1.13.9 and v1.14.1; cel-go `common/stdlib/standard.go#stdTypes`.
//!
//! Not here: functions (`functions`), fields (`schema`).

use super::schema::{DISK, LINK, LINK_PARTS, Message, VOLUME};
use super::types::{Head, Type};
use super::value::Value;
use super::{Env, Scope};

/// How many bytes a unit has.
const UNITS: [(&str, u64); 12] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];

/// The classes of control groups, in the order of their numbers from 0.
const CLASSES: [(&str, i64); 5] =
    [("Besteffort", 0), ("Burstable", 1), ("Guaranteed", 2), ("Podruntime", 3), ("System", 4)];

/// How the kernel's pressure of memory is measured.
const PRESSURES: [&str; 8] = [
    "memory_some_avg10",
    "memory_some_avg60",
    "memory_some_avg300",
    "memory_some_total",
    "memory_full_avg10",
    "memory_full_avg60",
    "memory_full_avg300",
    "memory_full_total",
];

/// What is measured of each class, beside its pressure.
const USAGES: [&str; 3] = ["memory_current", "memory_peak", "memory_max"];

/// The variables of an environment, those of [`Scope::OomTrigger`] aside that are made of parts.
pub(super) fn variables(env: Env) -> Vec<&'static str> {
    match env.scope {
        Scope::Disk => vec!["disk", "system_disk"],
        Scope::Volume => vec!["volume", "disk"],
        Scope::MemberVolume => vec!["volume", "disk", "volume_id", "system_disk"],
        Scope::Link => vec!["link"],
        Scope::OomTrigger => PRESSURES.into_iter().chain(["time_since_trigger"]).collect(),
        Scope::OomRanking => USAGES.into_iter().chain(["path", "class"]).collect(),
    }
}

/// All names that a person may have meant.
pub(super) fn names(env: Env) -> impl Iterator<Item = &'static str> {
    let units = UNITS.into_iter().filter(move |_| has_units(env)).map(|(unit, _)| unit);
    let classes = CLASSES.into_iter().filter(move |_| env.has_optionals()).map(|(class, _)| class);
    variables(env).into_iter().chain(units).chain(classes)
}

fn has_units(env: Env) -> bool {
    env.scope != Scope::Link
}

/// A variable's type.
pub(super) fn variable(env: Env, name: &str) -> Option<Type> {
    match env.scope {
        Scope::OomTrigger => trigger(name),
        Scope::OomRanking => match name {
            "path" => Some(Type::String),
            "class" => Some(Type::Int),
            _ if USAGES.contains(&name) => Type::made(Head::Optional, vec![Type::Uint]),
            _ => None,
        },
        _ if !variables(env).contains(&name) => None,
        _ => Some(match name {
            "disk" => Type::Message(&DISK),
            "volume" => Type::Message(&VOLUME),
            "link" => Type::Message(&LINK),
            "volume_id" => Type::String,
            _ => Type::Bool,
        }),
    }
}

/// `memory_some_avg10`, `d_…` for its change, `qos_…` and `d_qos_…` for the same of each class.
fn trigger(name: &str) -> Option<Type> {
    if name == "time_since_trigger" {
        return Some(Type::Duration);
    }
    let plain = name.strip_prefix("d_").unwrap_or(name);
    match plain.strip_prefix("qos_") {
        Some(of_class) if PRESSURES.contains(&of_class) || USAGES.contains(&of_class) => {
            Type::made(Head::Map, vec![Type::Int, Type::Double])
        }
        None if PRESSURES.contains(&plain) => Some(Type::Double),
        _ => None,
    }
}

/// A constant's value.
pub(super) fn constant(env: Env, name: &str) -> Option<Value> {
    if has_units(env)
        && let Some((_, bytes)) = UNITS.into_iter().find(|(unit, _)| *unit == name)
    {
        return Some(Value::Uint(bytes));
    }
    let class = CLASSES.into_iter().find(|(class, _)| env.has_optionals() && *class == name);
    class.map(|(_, number)| Value::Int(number))
}

/// The type that a name stands for: its own type, and its value.
pub(super) fn type_name(env: Env, name: &str) -> Option<(Type, Value)> {
    let message = |message: &'static Message| (message.name == name).then_some(message.name);
    let known = match name {
        "bool" => "bool",
        "bytes" => "bytes",
        "double" => "double",
        "int" => "int",
        "list" => "list",
        "map" => "map",
        "null_type" => "null_type",
        "string" => "string",
        "type" => "type",
        "uint" => "uint",
        "google.protobuf.Duration" => "google.protobuf.Duration",
        "google.protobuf.Timestamp" => "google.protobuf.Timestamp",
        "optional_type" if env.has_optionals() => "optional_type",
        _ => match env.scope {
            Scope::Disk => message(&DISK),
            Scope::Volume | Scope::MemberVolume => message(&DISK).or_else(|| message(&VOLUME)),
            Scope::Link => LINK_PARTS.into_iter().find_map(message),
            Scope::OomTrigger | Scope::OomRanking => None,
        }?,
    };
    Some((Type::made(Head::Type, vec![Type::Dyn])?, Value::Type(known)))
}
