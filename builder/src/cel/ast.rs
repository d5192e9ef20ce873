//! An expression as a tree.
//!
//! In: nothing. Out: [`Ast`], nodes in one vector that name each other by number: a tree of any
//! shape is dropped without recursion.
//!
//! Source: cel-go `common/ast/expr.go`. What are calls of `&&` and `||` there are lists of terms
//! here, and macros stay what was written.
//!
//! Not here: how text becomes one (`parse`).

use super::value::Value;

/// A node's number.
pub(super) type Id = usize;

/// A tree.
#[derive(Debug, Default)]
pub(super) struct Ast {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    /// The place in the text: of operators and calls that of the sign, else that of the start.
    pub(super) offset: usize,
    pub(super) kind: Kind,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Kind {
    Literal(Value),
    /// A name; a leading `.` is part of it.
    Name(String),
    /// `operand.field`
    Select {
        operand: Id,
        field: String,
    },
    /// `has(operand.field)`
    Has {
        operand: Id,
        field: String,
    },
    /// `operand.?field`
    OptionalSelect {
        operand: Id,
        field: String,
    },
    /// `function(args)`, `target.function(args)`, or an operator by its sign.
    Call {
        function: String,
        target: Option<Id>,
        args: Vec<Id>,
    },
    /// `a && b && c`
    And(Vec<Id>),
    /// `a || b || c`
    Or(Vec<Id>),
    /// `[a, ?b]`
    List(Vec<Item>),
    /// `{a: b, ?c: d}`
    Map(Vec<Entry>),
    /// A macro over the items of a list or the keys of a map.
    Fold(Fold),
    /// `target.optMap(name, body)`, `target.optFlatMap(name, body)`
    Bind {
        target: Id,
        name: String,
        body: Id,
        flat: bool,
    },
}

/// An item of a list; an optional one may be absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) value: Id,
    pub(super) optional: bool,
}

/// An entry of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Id,
    pub(super) value: Item,
}

/// `range.all(name, body)` and its like.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) how: How,
    pub(super) range: Id,
    pub(super) name: String,
    /// The condition of `map(name, filter, body)`.
    pub(super) filter: Option<Id>,
    pub(super) body: Id,
}

/// What a macro makes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}
