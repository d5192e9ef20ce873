//! The functions and operators of CEL: what they take, and what they give.
//!
//! In: a name. Out: its overloads.
//!
//! Source: cel-go `common/stdlib/standard.go` without the comparisons of unlike numbers, which an
//! environment must ask for (`checker/env.go#crossTypeNumericComparisonOverloads`), and
//! `cel/library.go#optionalLib`; Talos `pkg/machinery/cel/celenv/celenv.go`; the same in
//! v1.12.7, v1.13.9 and v1.14.1.
//!
//! Not here: what they do (`call`), macros (`parse`), `&&` and `||`, which take any number of terms.

use super::types::{Head, Type};
use super::unify::{Known, TooComplex};
use super::{Env, Scope};

/// A type in a signature.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    Bool,
    Bytes,
    Double,
    Duration,
    Dyn,
    Int,
    String,
    Timestamp,
    Uint,
    /// Any type, the same wherever it stands in a signature.
    A,
    /// Any other type.
    B,
    ListA,
    MapAB,
    TypeA,
    OptionalA,
    OptionalB,
    OptionalListA,
    OptionalMapAB,
    ListOptionalA,
    MapDynDouble,
}

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// Whether it is written behind its first argument.
    pub(super) member: bool,
    /// What it takes, what it is written behind included.
    pub(super) takes: &'static [Sort],
    /// What it gives.
    pub(super) gives: Sort,
}

use Sort::{
    A, B, Bool, Bytes, Double, Duration, Dyn, Int, ListA, ListOptionalA, MapAB, MapDynDouble,
    OptionalA, OptionalB, OptionalListA, OptionalMapAB, String as Text, Timestamp, TypeA, Uint,
};

const fn f(takes: &'static [Sort], gives: Sort) -> Overload {
    Overload { member: false, takes, gives }
}

const fn m(takes: &'static [Sort], gives: Sort) -> Overload {
    Overload { member: true, takes, gives }
}

/// A function's name and its overloads.
type Function = (&'static str, &'static [Overload]);

const ORDER: &[Overload] = &[
    f(&[Bool, Bool], Bool),
    f(&[Int, Int], Bool),
    f(&[Uint, Uint], Bool),
    f(&[Double, Double], Bool),
    f(&[Text, Text], Bool),
    f(&[Bytes, Bytes], Bool),
    f(&[Timestamp, Timestamp], Bool),
    f(&[Duration, Duration], Bool),
];

const ARITHMETIC: &[Overload] =
    &[f(&[Double, Double], Double), f(&[Int, Int], Int), f(&[Uint, Uint], Uint)];

const OF_TIME: &[Overload] = &[m(&[Timestamp], Int), m(&[Timestamp, Text], Int)];

const OF_TIME_OR_DURATION: &[Overload] =
    &[m(&[Timestamp], Int), m(&[Timestamp, Text], Int), m(&[Duration], Int)];

const TEXTS: &[Overload] = &[m(&[Text, Text], Bool)];

const STANDARD: &[Function] = &[
    ("?:", &[f(&[Bool, A, A], A)]),
    ("!", &[f(&[Bool], Bool)]),
    ("-_", &[f(&[Double], Double), f(&[Int], Int)]),
    ("==", &[f(&[A, A], Bool)]),
    ("!=", &[f(&[A, A], Bool)]),
    ("<", ORDER),
    ("<=", ORDER),
    (">", ORDER),
    (">=", ORDER),
    ("*", ARITHMETIC),
    ("/", ARITHMETIC),
    ("%", &[f(&[Int, Int], Int), f(&[Uint, Uint], Uint)]),
    (
        "+",
        &[
            f(&[Bytes, Bytes], Bytes),
            f(&[Double, Double], Double),
            f(&[Duration, Duration], Duration),
            f(&[Duration, Timestamp], Timestamp),
            f(&[Timestamp, Duration], Timestamp),
            f(&[Int, Int], Int),
            f(&[ListA, ListA], ListA),
            f(&[Text, Text], Text),
            f(&[Uint, Uint], Uint),
        ],
    ),
    (
        "-",
        &[
            f(&[Double, Double], Double),
            f(&[Duration, Duration], Duration),
            f(&[Int, Int], Int),
            f(&[Timestamp, Duration], Timestamp),
            f(&[Timestamp, Timestamp], Duration),
            f(&[Uint, Uint], Uint),
        ],
    ),
    ("[]", &[f(&[ListA, Int], A), f(&[MapAB, A], B)]),
    ("in", &[f(&[A, ListA], Bool), f(&[A, MapAB], Bool)]),
    (
        "size",
        &[
            f(&[Bytes], Int),
            m(&[Bytes], Int),
            f(&[ListA], Int),
            m(&[ListA], Int),
            f(&[MapAB], Int),
            m(&[MapAB], Int),
            f(&[Text], Int),
            m(&[Text], Int),
        ],
    ),
    ("type", &[f(&[A], TypeA)]),
    ("bool", &[f(&[Bool], Bool), f(&[Text], Bool)]),
    ("bytes", &[f(&[Bytes], Bytes), f(&[Text], Bytes)]),
    ("double", &[f(&[Double], Double), f(&[Int], Double), f(&[Text], Double), f(&[Uint], Double)]),
    ("duration", &[f(&[Duration], Duration), f(&[Text], Duration)]),
    ("dyn", &[f(&[A], Dyn)]),
    (
        "int",
        &[
            f(&[Int], Int),
            f(&[Double], Int),
            f(&[Duration], Int),
            f(&[Text], Int),
            f(&[Timestamp], Int),
            f(&[Uint], Int),
        ],
    ),
    (
        "string",
        &[
            f(&[Text], Text),
            f(&[Bool], Text),
            f(&[Bytes], Text),
            f(&[Double], Text),
            f(&[Duration], Text),
            f(&[Int], Text),
            f(&[Timestamp], Text),
            f(&[Uint], Text),
        ],
    ),
    ("timestamp", &[f(&[Timestamp], Timestamp), f(&[Int], Timestamp), f(&[Text], Timestamp)]),
    ("uint", &[f(&[Uint], Uint), f(&[Double], Uint), f(&[Int], Uint), f(&[Text], Uint)]),
    ("contains", TEXTS),
    ("endsWith", TEXTS),
    ("startsWith", TEXTS),
    ("matches", &[f(&[Text, Text], Bool), m(&[Text, Text], Bool)]),
    ("getFullYear", OF_TIME),
    ("getMonth", OF_TIME),
    ("getDayOfYear", OF_TIME),
    ("getDayOfMonth", OF_TIME),
    ("getDate", OF_TIME),
    ("getDayOfWeek", OF_TIME),
    ("getHours", OF_TIME_OR_DURATION),
    ("getMinutes", OF_TIME_OR_DURATION),
    ("getSeconds", OF_TIME_OR_DURATION),
    ("getMilliseconds", OF_TIME_OR_DURATION),
];

/// Nanoseconds, which the cel-go of Talos 1.14 takes no more.
const DURATION_OF_INT: &[Function] = &[("duration", &[f(&[Int], Duration)])];

const GLOB: &[Function] = &[("glob", &[f(&[Text, Text], Bool)])];

const MAC: &[Function] = &[("mac", &[f(&[Bytes], Text)])];

const VECTORS: &[Function] =
    &[("multiply_qos_vectors", &[f(&[MapDynDouble, MapDynDouble], Double)])];

const OPTIONAL: &[Function] = &[
    ("optional.of", &[f(&[A], OptionalA)]),
    ("optional.ofNonZeroValue", &[f(&[A], OptionalA)]),
    ("optional.none", &[f(&[], OptionalA)]),
    ("value", &[m(&[OptionalA], A)]),
    ("hasValue", &[m(&[OptionalA], Bool)]),
    ("or", &[m(&[OptionalA, OptionalA], OptionalA)]),
    ("orValue", &[m(&[OptionalA, A], A)]),
    (
        "[?]",
        &[
            f(&[ListA, Int], OptionalA),
            f(&[OptionalListA, Int], OptionalA),
            f(&[MapAB, A], OptionalB),
            f(&[OptionalMapAB, A], OptionalB),
        ],
    ),
    ("[]", &[f(&[OptionalListA, Int], OptionalA), f(&[OptionalMapAB, A], OptionalB)]),
    ("last", &[m(&[ListA], OptionalA)]),
    ("first", &[m(&[ListA], OptionalA)]),
    ("optional.unwrap", &[f(&[ListOptionalA], ListA)]),
    ("unwrapOpt", &[m(&[ListOptionalA], ListA)]),
];

/// The tables of an environment.
fn tables(env: Env) -> impl Iterator<Item = &'static Function> {
    let glob = matches!(env.scope, Scope::Disk | Scope::MemberVolume | Scope::Link);
    let when = |table: &'static [Function], is: bool| if is { table } else { &[] };
    STANDARD
        .iter()
        .chain(when(DURATION_OF_INT, env.minor < 14))
        .chain(when(GLOB, glob))
        .chain(when(MAC, env.scope == Scope::Link))
        .chain(when(VECTORS, env.scope == Scope::OomTrigger))
        .chain(when(OPTIONAL, env.has_optionals()))
}

/// The ways to call a function; none, where there is no such function.
pub(super) fn overloads(env: Env, name: &str) -> Vec<&'static Overload> {
    let named = tables(env).filter(|(own, _)| *own == name);
    named.flat_map(|(_, overloads)| overloads.iter()).collect()
}

/// The names of an environment's functions, without operators.
pub(super) fn names(env: Env) -> impl Iterator<Item = &'static str> {
    tables(env).map(|(name, _)| *name).filter(|name| name.starts_with(|c: char| c.is_alphabetic()))
}

/// The types of a signature, its `A` and `B` new.
pub(super) fn signature(
    known: &mut Known,
    overload: &Overload,
) -> Result<(Vec<Type>, Type), TooComplex> {
    let (a, b) = (known.fresh(), known.fresh());
    let of = |sort: Sort| instance(known, sort, &a, &b);
    let takes: Result<_, _> = overload.takes.iter().copied().map(of).collect();
    Ok((takes?, instance(known, overload.gives, &a, &b)?))
}

fn instance(known: &Known, sort: Sort, a: &Type, b: &Type) -> Result<Type, TooComplex> {
    let list = |of: &Type| known.made(Head::List, vec![of.clone()]);
    let map = || known.made(Head::Map, vec![a.clone(), b.clone()]);
    let optional = |of: Type| known.made(Head::Optional, vec![of]);
    match sort {
        Bool => Ok(Type::Bool),
        Bytes => Ok(Type::Bytes),
        Double => Ok(Type::Double),
        Duration => Ok(Type::Duration),
        Dyn => Ok(Type::Dyn),
        Int => Ok(Type::Int),
        Text => Ok(Type::String),
        Timestamp => Ok(Type::Timestamp),
        Uint => Ok(Type::Uint),
        A => Ok(a.clone()),
        B => Ok(b.clone()),
        ListA => list(a),
        MapAB => map(),
        TypeA => known.made(Head::Type, vec![a.clone()]),
        OptionalA => optional(a.clone()),
        OptionalB => optional(b.clone()),
        OptionalListA => optional(list(a)?),
        OptionalMapAB => optional(map()?),
        ListOptionalA => list(&optional(a.clone())?),
        MapDynDouble => known.made(Head::Map, vec![Type::Dyn, Type::Double]),
    }
}
