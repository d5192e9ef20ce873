//! The expressions of Talos' machine configs: selectors of disks, volumes and links.
//!
//! In: an expression, the release that is to read it, a disk or a link. Out: what is wrong with it,
//! or whether it selects the disk or the link.
//!
//! Talos compiles an expression at boot, on the node, and one that does not compile leaves the node
//! without its disk or its link. So the same is said here, before: what cel-go refuses is refused.
//! The crate `cel` is no help in that: it parses and evaluates but has no type checker, takes
//! unlike numbers for one another where cel-go does not, and brings a runtime of ANTLR.
//!
//! Source: the CEL language definition,
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md>; cel-go v0.26.1, v0.27.0 and
//! v0.31.0, which Talos v1.12.7, v1.13.9 and v1.14.1 are built with; Talos `pkg/machinery/cel`.
//!
//! Not here: which document has an expression where (`config`). Three things that cel-go knows are
//! not taken: making messages (`google.protobuf.Duration{…}`) and the names of enumerations' values
//! are refused, and times are checked but not evaluated, for neither a disk nor a link has one.

use std::fmt;

use crate::talos::Version;

mod ast;
mod call;
mod check;
pub mod disks;
mod env;
mod eval;
mod functions;
pub mod legacy;
mod lex;
pub mod links;
mod parse;
mod regexp;
mod schema;
mod types;
mod unify;
mod value;

/// How many characters an expression may have: cel-go's limit.
pub const MAX_TEXT: usize = 100_000;

/// What an expression is about: Talos' environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `disk` and `system_disk`: selectors of disks for volumes, and for the unattended install.
    Disk,
    /// `volume` and `disk`: selectors of existing volumes.
    Volume,
    /// `volume`, `disk`, `volume_id` and `system_disk`: members of volume groups and arrays.
    MemberVolume,
    /// `link`: selectors of link aliases.
    Link,
    /// The pressure of memory: when to kill. A condition.
    OomTrigger,
    /// The memory of a control group: whom to kill. A double.
    OomRanking,
}

/// A scope in a release of Talos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    scope: Scope,
    /// The minor version, no newer than what is known.
    minor: u32,
}

/// The releases of Talos 1 that are known.
const OLDEST_MINOR: u32 = 12;
const NEWEST_MINOR: u32 = 14;

impl Env {
    /// The environment of a release. A release newer than 1.14 is taken for 1.14.
    ///
    /// # Errors
    ///
    /// Nothing, where the release is older than 1.12, or has no such scope: members of volume
    /// groups came with 1.14.
    pub fn new(scope: Scope, talos: &Version) -> Option<Self> {
        let oldest = if scope == Scope::MemberVolume { 14 } else { OLDEST_MINOR };
        let minor = if talos.major > 1 { NEWEST_MINOR } else { talos.minor.min(NEWEST_MINOR) };
        talos.at_least(1, oldest).then_some(Self { scope, minor })
    }

    /// Whether values may be optional: `memory_max.orValue(0u)`.
    const fn has_optionals(self) -> bool {
        matches!(self.scope, Scope::OomTrigger | Scope::OomRanking)
    }

    /// The type that an expression must have.
    const fn result(self) -> types::Type {
        match self.scope {
            Scope::OomRanking => types::Type::Double,
            _ => types::Type::Bool,
        }
    }
}

/// What is wrong with an expression. Names and types are told, never a text in quotes or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The byte in the text where it is, from 0.
    pub offset: usize,
    /// What is wrong. Lower case, no full stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Error {
    /// Boxed: the rooms below are recursive, and a result is a part of every frame.
    fn new(offset: usize, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { offset, message: message.into(), help: None })
    }

    fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An expression that Talos accepts.
pub struct Program {
    ast: ast::Ast,
}

/// The number of its parts: texts in it may be serial numbers.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program of {} parts", self.ast.nodes.len())
    }
}

/// Reads an expression, and checks that its names exist, its types agree, and its result is what
/// the scope wants: true or false, or for [`Scope::OomRanking`] a double.
///
/// # Errors
///
/// The first thing that Talos would refuse.
pub fn compile(env: Env, text: &str) -> Result<Program, Error> {
    let mut ast = parse::parse(env, text).map_err(|error| *error)?;
    let found = check::check(env, &mut ast).map_err(|error| *error)?;
    let wanted = env.result();
    if found == wanted {
        return Ok(Program { ast });
    }
    let offset = ast.nodes[ast.root].offset;
    let error =
        Error::new(offset, format!("this is of type {found}, and must be of type {wanted}"));
    let bool_wanted = wanted == types::Type::Bool;
    Err(*if bool_wanted { error.help("compare it with something") } else { error })
}

/// Whether a disk is the one that Talos is installed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemDisk {
    /// Not known, as before Talos is installed: an expression that needs it fails.
    Unknown,
    /// It is another.
    No,
    /// It is.
    Yes,
}

/// What an expression is evaluated on.
#[derive(Clone, Copy, Debug)]
pub enum Bindings<'a> {
    /// A disk, for [`Scope::Disk`].
    Disk(&'a disks::Disk, SystemDisk),
    /// A link, for [`Scope::Link`].
    Link(&'a links::Link),
}

impl Program {
    /// Whether the expression selects what is bound.
    ///
    /// # Errors
    ///
    /// What fails only now: a division by zero, a number too large, an item that is not there, a
    /// variable that is not bound, or more work than any selector needs.
    pub fn evaluate(&self, bindings: &Bindings<'_>) -> Result<bool, Error> {
        eval::evaluate(&self.ast, bindings).map_err(|error| *error)
    }
}

#[cfg(test)]
mod tests;
